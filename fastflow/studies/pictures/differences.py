"""Where two methods differ: the difference of their rates of success on common draws, over one or two axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastflow.results.figures import Given, literal
from fastflow.studies.paired import Paired
from fastflow.studies.pictures.arrangement import Result, arrange, arrange_map, bare, is_numeric, named
from fastflow.studies.pictures.lines import axes_of, chosen_of, colours_of, label_places
from fastflow.studies.pictures.maps import draw_cells
from fastflow.studies.pictures.panels import draw_colour_bar, draw_legend, label_outer, make_figure
from fastflow.studies.stated import STATED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SURE = 0.05
"""Below this p-value, adjusted for all cells, two rates differ."""


def difference_map(
    result: Result,
    found: Paired,
    *,
    x: str | None = None,
    y: str | None = None,
    along: str | None = None,
    ax: Given = None,
) -> Figure:
    """Draw the rate of success of the first minus that of the second, with a dot where McNemar's test tells them apart.

    A map over two axes of numbers, where there are two and ``along`` is not given; else lines with intervals.

    Parameters
    ----------
    result : the part of a result that has the first alone
    found : Paired, of the same cells
    x, y, along, ax : as in `fastflow.studies.pictures.plot`

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        where there is no other axis, or no cell has pairs
    """
    if not found.axes:
        raise ValueError("there is one cell, which no picture is of: look at the numbers")
    words = [
        named(found.axis, value) if is_numeric(value) else literal(str(value)) for value in (found.first, found.second)
    ]
    label = f"rate of {words[0]} - rate of {words[1]}"
    counts = found.pairs[found.pairs > 0]
    if not counts.size:
        raise ValueError("no trial is done by both, so there is nothing to draw")
    pairs = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    sure = f"dots: McNemar's exact test, p < {SURE:g} after Holm"
    text = f"{label}; success: {result.success}; {pairs} common draws per cell; {sure}"
    flat = along is None and sum(map(is_numeric, result.axes.values())) > 1
    if not flat:
        along, lines = axes_of(result, along)
    arrangement = arrange_map(result, x, y) if flat else arrange(result, str(along), lines)
    unsaid = STATED.get(found.axis, (bare(found.axis),))  # what is that of the first alone
    figure, panels = make_figure(arrangement, result, text, ax, unsaid)
    told = found.p_adjusted < SURE
    for axes, cell in zip(panels, arrangement.cells, strict=True):
        rate, dots = arrangement.cut(found.rate, cell), arrangement.cut(told, cell)
        values = arrangement.values(arrangement.x)
        places = values.astype(np.float64) if is_numeric(values) else np.arange(len(values), dtype=np.float64)
        if flat:
            from matplotlib import colormaps
            from matplotlib.colors import Normalize

            assert arrangement.y is not None
            mesh = draw_cells(axes, arrangement, rate, colormaps["PuOr"], Normalize(-1, 1))
            at_y, at_x = np.nonzero(dots)
            heights = arrangement.values(arrangement.y)[at_y]
            axes.plot(places[at_x], heights, "o", color="white", markeredgecolor="black", markersize=4)
            continue
        low, high = arrangement.cut(found.rate_low, cell), arrangement.cut(found.rate_high, cell)
        there = arrangement.cut(found.pairs, cell) > 0
        names = arrangement.values(arrangement.y) if arrangement.y is not None else [""]
        rows = chosen_of(np.flatnonzero(there.any(axis=1)))
        for i, colour in zip(rows, colours_of(len(rows)), strict=True):
            name = arrangement.named(arrangement.y, names[i]) if arrangement.y is not None else "difference"
            some = there[i]
            axes.plot(places[some], rate[i, some], color=colour, linewidth=1.5, label=name)
            axes.fill_between(places[some], low[i, some], high[i, some], color=colour, alpha=0.2, linewidth=0)
            sure_here = some & dots[i]
            axes.plot(places[sure_here], rate[i, sure_here], "o", color=colour, markersize=5)
        axes.axhline(0, color="0.4", linewidth=0.8)
        label_places(axes, arrangement, values, places)
        axes.set(ylabel=label)
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    label_outer(panels, ax)
    if flat:
        draw_colour_bar(figure, panels, mesh, label)
    else:
        draw_legend(figure, panels, ax)
    return figure
