"""Maps: rates of success, and what trials took, over two axes of a study."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray, one_of
from fastflow.results.figures import Given, literal
from fastflow.results.pictures import ORANGE
from fastflow.studies.pictures.arrangement import (
    Arrangement,
    Result,
    arrange_map,
    edges_of,
    is_logarithmic,
    numbers_in,
)
from fastflow.studies.pictures.panels import (
    draw_colour_bar,
    draw_legend,
    halo,
    label_outer,
    make_figure,
    mark_whole,
    trials_each,
)
from fastflow.studies.predictions import PROGRAMS, predicted
from fastflow.studies.transitions import boundary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

Counts = NDArray[np.int64]

HALF = 0.5
LEVELS = (0.1, HALF, 0.9)
"""Rates whose crossings are drawn."""

BESIDE = ("#009E73", "#CC79A7", "#F0E442")
"""More of the palette of Okabe and Ito, for the curves of other results."""

DECADE = 10
"""From this ratio on colours are logarithmic."""

BELOW_FITS, ABOVE_FITS = 1.9, 3
"""Where matplotlib stacks curves, of which fitted ones are at 2."""

CURVE_POINTS = 200
"""At how many places a theoretical curve is drawn."""

MEDIANS = {
    "seconds": "median seconds per trial",
    "steps": "median steps",
    "error": "median relative error",
    "loss": "median loss",
}
"""How the colour bar of a map of medians is called, where it is not by the name of the outcome."""


def rate_map(
    result: Result,
    *,
    x: str | None = None,
    y: str | None = None,
    along: str | None = None,
    program: str | None = None,
    parameters: Mapping[str, object] | None = None,
    beside: Mapping[str, Result] | None = None,
    ax: Given = None,
) -> Figure:
    """The rate of success over two axes, with the fitted 10%, 50% and 90% curves and the statistical dimension.

    Parameters
    ----------
    x, y : str, the axes that lie horizontally and vertically; by default m or delta lies horizontally
    along : x or y, default x: the axis along which curves are fitted, one for each value of the other
    beside : name -> other results with these two axes alone, whose 50% curve is drawn in every panel
    result, program, parameters, ax : as in `plot`

    Returns
    -------
    matplotlib.figure.Figure, one panel for each combination of values of the other axes, see `plot`
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, Normalize

    arrangement = arrange_map(result, x, y)
    fitted = arrangement.x if along is None else one_of("along", along, arrangement.drawn)
    figure, panels = make_figure(arrangement, result, f"success: {result.success}; {trials_each(result)}", ax)
    colours = ListedColormap(colormaps["Blues"](np.linspace(0.08, 0.78, 256)))
    for axes, cell in zip(panels, arrangement.cells, strict=True):
        k, n = arrangement.cut(result.successes, cell), arrangement.cut(result.trials, cell)
        rates = np.divide(k, n, out=np.full(k.shape, np.nan), where=n > 0)
        mesh = draw_cells(axes, arrangement, rates, colours, Normalize(0, 1))
        _draw_fits(axes, arrangement, k, n, fitted)
        for colour, (name, other) in zip(BESIDE, (beside or {}).items(), strict=False):
            _draw_other(axes, arrangement, other, fitted, f"50%, {name}", colour)
        if program is not None:
            _draw_curve(axes, arrangement, program, {**(parameters or {}), **arrangement.parameters(cell)})
    label_outer(panels, ax)
    draw_colour_bar(figure, panels, mesh, "rate of success")
    draw_legend(figure, panels, ax)
    return figure


def time_map(
    result: Result,
    quantity: str = "seconds",
    *,
    x: str | None = None,
    y: str | None = None,
    ax: Given = None,
) -> Figure:
    """The median over the trials of each cell of what they took, over two axes.

    The colours are logarithmic where the medians are positive and differ by a factor of ten or more.

    Parameters
    ----------
    quantity : the label of an outcome that is a number, such as "seconds"
    result, x, y, ax : as in `rate_map`

    Returns
    -------
    matplotlib.figure.Figure, see `rate_map`
    """
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize

    one_of("quantity", quantity, numbers_in(result))
    arrangement = arrange_map(result, x, y)
    medians = result.quantiles(quantity, 0.5).value
    title = median_title(quantity)
    figure, panels = make_figure(arrangement, result, f"{title}; {trials_each(result)}", ax)
    finite = medians[np.isfinite(medians)]
    norm: Normalize | None = None
    positive = finite[finite > 0]
    if positive.size and quantity in MEDIANS:  # of which 0 is no value on a logarithmic scale
        medians, finite = np.where(medians > 0, medians, np.nan), positive
    if finite.size:
        low, high = finite.min(), finite.max()
        norm = LogNorm(low, high) if low > 0 and high >= DECADE * low else Normalize(low, high)
    for axes, cell in zip(panels, arrangement.cells, strict=True):
        mesh = draw_cells(axes, arrangement, arrangement.cut(medians, cell), colormaps["viridis"], norm)
    label_outer(panels, ax)
    draw_colour_bar(figure, panels, mesh, title)
    return figure


def median_title(outcome: str) -> str:
    """How the medians of an outcome are called."""
    return MEDIANS.get(outcome) or literal(f"median {outcome.replace('_', ' ')}")


def draw_cells(
    axes: Axes, arrangement: Arrangement, values: FloatArray, colours: Colormap, norm: Normalize | None
) -> QuadMesh:
    """Coloured cells; hatched where there is no value."""
    assert arrangement.y is not None
    x, y = arrangement.values(arrangement.x), arrangement.values(arrangement.y)
    axes.patch.set(facecolor="white", hatch="////", edgecolor="0.82", linewidth=0)
    shown = np.ma.masked_invalid(values)
    mesh = axes.pcolormesh(edges_of(x), edges_of(y), shown, linewidth=0, rasterized=True, cmap=colours, norm=norm)
    axes.set(xlabel=arrangement.label(arrangement.x), ylabel=arrangement.label(arrangement.y))
    if is_logarithmic(x):
        axes.set_xscale("log")
    if is_logarithmic(y):
        axes.set_yscale("log")
    for axis, values_along in ((axes.xaxis, x), (axes.yaxis, y)):
        mark_whole(axis, values_along)
    axes.set(xlim=edges_of(x)[[0, -1]], ylim=edges_of(y)[[0, -1]])
    return mesh


def _draw_fits(axes: Axes, arrangement: Arrangement, k: Counts, n: Counts, fitted: str) -> None:
    """The crossings of `LEVELS`, fitted along an axis for each value of the other."""
    for level in LEVELS:
        half = level == HALF
        curve = _crossings(arrangement, k, n, fitted, level)
        if curve is None:
            continue
        axes.plot(
            *curve,
            color="black",
            linewidth=1.8 if half else 0.9,
            linestyle="-" if half else (0, (4, 2)),
            label="50%, fitted" if half else "10% and 90%",
        )


def _draw_other(axes: Axes, arrangement: Arrangement, other: Result, fitted: str, label: str, colour: str) -> None:
    """The 50% crossings of another result."""
    if set(other.axes) != set(arrangement.drawn):
        raise ValueError(
            f"what is drawn beside must have the axes {' and '.join(arrangement.drawn)}, got {', '.join(other.axes)}"
        )
    its = Arrangement(dict(other.axes), arrangement.x, arrangement.y, [], [()])
    k, n = its.cut(other.successes, ()), its.cut(other.trials, ())
    curve = _crossings(its, k, n, fitted, HALF)
    if curve is None:
        return
    dotted = (0, (1, 1))
    axes.plot(
        *curve, label=label, color=colour, linewidth=1.8, linestyle=dotted, zorder=ABOVE_FITS, path_effects=halo()
    )


def _crossings(
    arrangement: Arrangement, k: Counts, n: Counts, fitted: str, level: float
) -> tuple[FloatArray, FloatArray] | None:
    """The curve of crossings, x and y, NaN where there is none within the values; None where there is none at all."""
    assert arrangement.y is not None
    if fitted == arrangement.y:
        k, n = k.T, n.T
    values, places = (
        arrangement.values(fitted),
        arrangement.values(arrangement.y if fitted == arrangement.x else arrangement.x),
    )
    found = boundary(values, k, n, level, resamples=0, logarithmic=is_logarithmic(values)).value
    if not np.isfinite(found).any():
        return None
    found = np.where(np.isfinite(found), found, np.nan)
    return (found, places) if fitted == arrangement.x else (places, found)


def _draw_curve(axes: Axes, arrangement: Arrangement, program: str, parameters: Mapping[str, object]) -> None:
    """The statistical dimension, as a curve along one of the axes, below the fits."""
    assert arrangement.y is not None
    for along, other in ((arrangement.x, arrangement.y), (arrangement.y, arrangement.x)):
        ends = edges_of(arrangement.values(other))
        space = np.geomspace if is_logarithmic(arrangement.values(other)) else np.linspace
        places = space(ends[0], ends[-1], CURVE_POINTS)
        places = places[places >= 0]
        found = predicted(program, along, {**parameters, other: places})
        if found is not None:
            found = np.broadcast_to(found, places.shape)  # the same for all where the other axis does not matter
            curve = (found, places) if along == arrangement.x else (places, found)
            axes.plot(
                *curve, label=PROGRAMS[program], color=ORANGE, linewidth=1.8, path_effects=halo(), zorder=BELOW_FITS
            )
            return
