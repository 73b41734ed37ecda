"""Slices: rates of success along one axis of a study, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fastflow.checks import one_of
from fastflow.results.figures import Given, literal
from fastflow.results.pictures import BLUE
from fastflow.studies.axes import Value
from fastflow.studies.pictures.arrangement import (
    ACROSS,
    Arrangement,
    Result,
    arrange,
    bare,
    is_logarithmic,
    is_numeric,
)
from fastflow.studies.pictures.panels import draw_legend, label_outer, make_figure, mark_whole, trials_each
from fastflow.studies.predictions import PROGRAMS, predicted
from fastflow.studies.statistics import wilson
from fastflow.studies.transitions import boundary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = 6
MARKERS = "osD^vP"
"""One for each line."""

Colour = tuple[float, float, float, float]

CURVE_POINTS = 400
"""At how many places a fitted curve is drawn."""


def slices(
    result: Result,
    *,
    along: str | None = None,
    program: str | None = None,
    parameters: Mapping[str, object] | None = None,
    ax: Given = None,
) -> Figure:
    """Rates of success along one axis with Wilson's 95% intervals, fitted curves, and the statistical dimension.

    Parameters
    ----------
    along : str, by default m or delta, or else the last axis of numbers
    result, program, parameters, ax : as in `plot`

    Returns
    -------
    matplotlib.figure.Figure
        Lines, at most `MOST_LINES`, for the values of the longest of the other axes, panels for those of the others;
        see `plot`.
    """
    names = list(result.axes)
    numeric = [name for name in names if is_numeric(result.axes[name])]
    if along is None:
        along = next((name for name in numeric if bare(name) in ACROSS), (numeric or names)[-1])
    one_of("along", along, names)
    others = [name for name in names if name != along]
    lines = max(others, key=lambda name: len(result.axes[name]), default=None)
    arrangement = arrange(result, along, lines)
    figure, panels = make_figure(
        arrangement,
        result,
        f"success: {result.success}; {trials_each(result)}; 95% intervals of rates and of the 50% crossing",
        ax,
    )
    for axes, cell in zip(panels, arrangement.cells, strict=True):
        _draw_slices(axes, arrangement, result, cell, program, dict(parameters or {}))
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    label_outer(panels, ax)
    draw_legend(figure, panels, ax)
    return figure


def _draw_slices(
    axes: Axes,
    arrangement: Arrangement,
    result: Result,
    cell: tuple[int, ...],
    program: str | None,
    parameters: Mapping[str, object],
) -> None:
    """Rates with intervals, fits, the intervals of their 50% crossings, and where the statistical dimension is."""
    values = arrangement.values(arrangement.x)
    numeric = is_numeric(values)
    places = values.astype(np.float64) if numeric else np.arange(len(values), dtype=np.float64)
    logarithmic = numeric and is_logarithmic(places)
    k, n = arrangement.cut(result.successes, cell), arrangement.cut(result.trials, cell)
    names = arrangement.values(arrangement.y) if arrangement.y is not None else [""]
    chosen = np.flatnonzero(n.any(axis=1))
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), MOST_LINES)).round().astype(int))]
    k, n = k[chosen], n[chosen]
    low, high = wilson(k, n)
    fits = boundary(places, k, n, logarithmic=logarithmic) if numeric else None
    labels: list[str | None] = [None if program is None else PROGRAMS[program]] + [None] * len(chosen)
    expected = [_expected(arrangement, cell, names[i], program, parameters) for i in chosen]
    shared = len(set(expected)) == 1  # then it is of no line in particular
    colours = _colours(len(chosen))
    for place, colour, label in zip(expected, ["0.3"] if shared else colours, labels, strict=False):
        if place is not None:
            axes.axvline(place, color=colour, linewidth=1.2, linestyle=(0, (1, 2)), label=label)
    for i, colour in enumerate(colours):
        there = n[i] > 0
        tried, rate = places[there], k[i, there] / n[i, there]
        bars = np.maximum([rate - low[i, there], high[i, there] - rate], 0)
        label = arrangement.named(arrangement.y, names[chosen[i]]) if arrangement.y is not None else "rate"
        faint = (*colour[:3], 0.4)
        axes.errorbar(tried, rate, bars, fmt=MARKERS[i], color=colour, ecolor=faint, markersize=4, label=label)
        if fits is not None and len(tried) > 1:
            fine = (
                np.geomspace(tried[0], tried[-1], CURVE_POINTS)
                if logarithmic
                else np.linspace(tried[0], tried[-1], CURVE_POINTS)
            )
            axes.plot(fine, fits.rates(fine)[i], color=colour, linewidth=1.5)
            if np.isfinite(fits.value[i]):
                ends = np.clip([fits.low[i], fits.high[i]], tried[0], tried[-1])
                axes.plot(ends, [0.5, 0.5], color=colour, linewidth=4, solid_capstyle="butt")
    axes.set(xlabel=arrangement.label(arrangement.x), ylabel="rate of success", ylim=(-0.03, 1.03))
    if logarithmic:
        axes.set_xscale("log")
    if not numeric:
        axes.set_xticks(places, [literal(str(value)) for value in values])
        axes.set_xlim(-0.5, len(places) - 0.5)
    else:
        mark_whole(axes.xaxis, values)


def _expected(
    arrangement: Arrangement, cell: tuple[int, ...], name: Value, program: str | None, parameters: Mapping[str, object]
) -> float | None:
    """Where the statistical dimension is on one line of slices."""
    if program is None:
        return None
    fixed = {**parameters, **arrangement.parameters(cell), **({} if arrangement.y is None else {arrangement.y: name})}
    found = predicted(program, arrangement.x, fixed)
    return None if found is None else float(found)


def _colours(count: int) -> list[Colour]:
    """Colours from dark to light, or the one of single curves."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    return [to_rgba(BLUE)] if count == 1 else list(colormaps["viridis"](np.linspace(0, 0.85, count)))
