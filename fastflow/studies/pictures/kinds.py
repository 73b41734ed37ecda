"""Which picture of a study is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastflow.checks import one_of
from fastflow.studies.pictures.arrangement import Result, is_numeric, numbers_in
from fastflow.studies.pictures.lines import outcome_lines, slices
from fastflow.studies.pictures.maps import rate_map, time_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAP, SLICES = "map", "slices"


def plot(
    result: Result,
    kind: str | None = None,
    *,
    program: str | None = None,
    parameters: Mapping[str, object] | None = None,
    **options: Any,
) -> Figure:
    """A picture of the study; by default a map of rates where two axes are numbers, otherwise curves with intervals.

    Further axes are panels of maps, and lines of curves.

    Parameters
    ----------
    result : the result of a study
    kind : "map" (see `rate_map`), "slices" (see `slices`), or the label of an outcome that is a number
        Its medians, as `time_map` draws them, or where no two axes are numbers, or ``along`` is given, `outcome_lines`.
    **options : those of the function that draws this kind
        And ``ax``, matplotlib axes of your own to draw into: one, or a sequence of as many as the picture has panels.
        The title of their figure is left to you, and the legend lies in the last of them.
    program : "l1", "nonnegative l1", "nuclear" or None, whose statistical dimension is drawn, see `predicted`
    parameters : name -> value, the parameters of the ensemble that are no axes

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it, ``figure.savefig("phase.png")`` writes it, ``figure.show()`` hands it to pyplot.

    Raises
    ------
    ValueError
        where no cell has trials
    ImportError
        without matplotlib
    """
    if kind is None:
        kind = MAP if sum(map(is_numeric, result.axes.values())) > 1 else SLICES
    if one_of("kind", kind, (MAP, SLICES, *numbers_in(result))) not in (MAP, SLICES):
        flat = sum(map(is_numeric, result.axes.values())) > 1 and "along" not in options
        return time_map(result, kind, **options) if flat else outcome_lines(result, kind, **options)
    draw = rate_map if kind == MAP else slices
    return draw(result, program=program, parameters=parameters, **options)
