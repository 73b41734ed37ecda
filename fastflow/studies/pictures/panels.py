"""Panels: a figure with its title, and what panels share: ticks, rims of curves, a colour bar, a legend."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import TYPE_CHECKING

import numpy as np

from fastflow.results.figures import Given, figure_of, new_figure, panels_of
from fastflow.results.pictures import PANEL_SIZE
from fastflow.studies.pictures.arrangement import Arrangement, AxisArray, Result, are_whole
from fastflow.studies.predictions import PROGRAMS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from matplotlib.patheffects import withStroke

TEX = re.compile(r"[$^{}]|\\\w+")
"""What of a title takes no room, about."""

LETTERS = 66
"""Letters of a small title over one panel."""


def make_figure(
    arrangement: Arrangement, result: Result, text: str, ax: Given = None, unsaid: Container[str] = ()
) -> tuple[Figure, list[Axes]]:
    """A figure with its title, and a panel for each combination of the values of other axes.

    Axes of the user's own, ``ax``, are taken as they are, and the title of their figure is his.
    Of the result's setting the parameters that are ``unsaid`` are not stated.
    """
    count = len(arrangement.cells)
    if ax is not None:
        panels = panels_of(ax, count)
        _name_panels(panels, arrangement)
        return figure_of(panels), panels
    last = len(arrangement.axes[arrangement.others[-1]]) if arrangement.others else 1
    columns = last if count % last == 0 and 1 < last <= 4 else min(count, 3)
    rows = -(-count // columns)
    figure = new_figure(PANEL_SIZE[0] * columns + 0.8, PANEL_SIZE[1] * rows + 0.9)
    said = [arrangement.named(name, value) for name, value in result.setting.items() if name not in unsaid]
    lines = (*_wrapped(said, ", ", columns),)
    figure.suptitle("\n".join((*lines, *_wrapped(text.split("; "), "; ", columns))), fontsize="small")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for empty in panels[count:]:
        empty.remove()
    _name_panels(panels[:count], arrangement)
    return figure, panels[:count]


def _name_panels(panels: list[Axes], arrangement: Arrangement) -> None:
    """Each panel's title, the values of the other axes, if there are others."""
    for axes, cell in zip(panels, arrangement.cells, strict=True):
        text = ", ".join(arrangement.named(name, value) for name, value in arrangement.parameters(cell).items())
        if text:
            axes.set_title(text, fontsize="medium")


def label_outer(panels: list[Axes], ax: Given) -> None:
    """No labels between panels of a figure of our own."""
    if ax is None:
        for axes in panels:
            axes.label_outer()


def _wrapped(parts: list[str], between: str, columns: int) -> list[str]:
    """Lines of a title over so many panels, broken between the parts only."""
    lines: list[str] = []
    for part in parts:
        if lines and len(TEX.sub("", lines[-1] + between + part)) <= LETTERS * columns:
            lines[-1] += between + part
        else:
            lines.append(part)
    return lines


def mark_whole(axis: Axis, values: AxisArray) -> None:
    """No ticks between integers on an axis that has nothing else."""
    from matplotlib.ticker import MaxNLocator

    if are_whole(values) and axis.get_scale() == "linear":
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def halo() -> list[withStroke]:
    """A white rim, without which a curve is lost on some of the colours, or in grey."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=3.2, foreground="white", alpha=0.8)]


def _columns(panels: list[Axes]) -> int:
    """In how many columns panels lie, as far as a grid tells."""
    places = [axes.get_subplotspec() for axes in panels]
    return len({None if place is None else place.colspan.start for place in places})


def draw_colour_bar(figure: Figure, panels: list[Axes], mesh: QuadMesh, label: str) -> None:
    """One for all panels, as wide as that of one panel."""
    columns = _columns(panels)
    figure.colorbar(mesh, ax=panels, label=label, fraction=0.08 / columns, pad=0.02)


def draw_legend(figure: Figure, panels: list[Axes], ax: Given = None) -> None:
    """Below all panels, with what occurs in any of them; of the user's own axes in the last one."""
    known = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    known = dict(sorted(known.items(), key=lambda item: item[0] in PROGRAMS.values()))
    if ax is not None:
        panels[-1].legend(list(known.values()), list(known), fontsize="small")
        return
    columns = 3 * _columns(panels)
    figure.legend(
        list(known.values()), list(known), loc="outside lower center", ncols=columns, fontsize="small", frameon=False
    )


def trials_each(result: Result) -> str:
    """How many trials there are in the cells that have any."""
    counts = np.asarray(result.trials)[np.asarray(result.trials) > 0]
    low, high = counts.min(), counts.max()
    return f"{high} trials per cell" if low == high else f"{low} to {high} trials per cell"
