"""Slices: rates of success along one axis of a study, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray, one_of
from fastflow.results.figures import Given, literal
from fastflow.results.pictures import BLUE
from fastflow.studies.axes import Value
from fastflow.studies.pictures.arrangement import (
    ACROSS,
    Arrangement,
    AxisArray,
    Result,
    arrange,
    bare,
    is_logarithmic,
    is_numeric,
    numbers_in,
)
from fastflow.studies.pictures.maps import median_title
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
    along, lines = axes_of(result, along)
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


def outcome_lines(result: Result, outcome: str, *, along: str | None = None, ax: Given = None) -> Figure:
    """The medians of an outcome along one axis, with the band from the 10% to the 90% quantile of the trials.

    Parameters
    ----------
    outcome : the label of one that is a number
    along : str, by default m or delta, or else the last axis of numbers
    result, ax : as in `plot`

    Returns
    -------
    matplotlib.figure.Figure
        Lines and panels as those of `slices`.
    """
    one_of("outcome", outcome, numbers_in(result))
    along, lines = axes_of(result, along)
    arrangement = arrange(result, along, lines)
    title = median_title(outcome)
    figure, panels = make_figure(
        arrangement, result, f"{title}, and 10% to 90% of the trials; {trials_each(result)}", ax
    )
    found = result.quantiles(outcome, (0.1, 0.5, 0.9)).value
    positive = bool(np.all(found[np.isfinite(found)] > 0)) and is_logarithmic(found[np.isfinite(found)])
    for axes, cell in zip(panels, arrangement.cells, strict=True):
        values = arrangement.values(along)
        numeric = is_numeric(values)
        places = values.astype(np.float64) if numeric else np.arange(len(values), dtype=np.float64)
        low, middle, high = (arrangement.cut(found[..., i], cell) for i in range(3))
        names = arrangement.values(arrangement.y) if arrangement.y is not None else [""]
        chosen = chosen_of(np.flatnonzero(~np.isnan(middle).all(axis=1)))
        for i, colour in zip(chosen, colours_of(len(chosen)), strict=True):
            label = arrangement.named(arrangement.y, names[i]) if arrangement.y is not None else "median"
            axes.plot(places, middle[i], color=colour, marker=".", linewidth=1.5, label=label)
            axes.fill_between(places, low[i], high[i], color=colour, alpha=0.2, linewidth=0)
        label_places(axes, arrangement, values, places)
        axes.set(ylabel=title)
        if positive:
            axes.set_yscale("log")
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    label_outer(panels, ax)
    draw_legend(figure, panels, ax)
    return figure


def axes_of(result: Result, along: str | None) -> tuple[str, str | None]:
    """The axis that lies horizontally, and the one whose values are lines."""
    names = list(result.axes)
    numeric = [name for name in names if is_numeric(result.axes[name])]
    if along is None:
        along = next((name for name in numeric if bare(name) in ACROSS), (numeric or names)[-1])
    one_of("along", along, names)
    others = [name for name in names if name != along]
    return along, max(others, key=lambda name: len(result.axes[name]), default=None)


def chosen_of(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `MOST_LINES` of some rows, spread evenly."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_LINES)).round().astype(int))]


def label_places(axes: Axes, arrangement: Arrangement, values: AxisArray, places: FloatArray) -> None:
    """What stands along the horizontal axis."""
    axes.set(xlabel=arrangement.label(arrangement.x))
    if not is_numeric(values):
        axes.set_xticks(places, [literal(str(value)) for value in values])
        axes.set_xlim(-0.5, len(places) - 0.5)
        return
    if is_logarithmic(places):
        axes.set_xscale("log")
    mark_whole(axes.xaxis, values)


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
    chosen = chosen_of(np.flatnonzero(n.any(axis=1)))
    k, n = k[chosen], n[chosen]
    low, high = wilson(k, n)
    fits = boundary(places, k, n, logarithmic=logarithmic) if numeric else None
    labels: list[str | None] = [None if program is None else PROGRAMS[program]] + [None] * len(chosen)
    expected = [_expected(arrangement, cell, names[i], program, parameters) for i in chosen]
    shared = len(set(expected)) == 1  # then it is of no line in particular
    colours = colours_of(len(chosen))
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
    axes.set(ylabel="rate of success", ylim=(-0.03, 1.03))
    label_places(axes, arrangement, values, places)


def _expected(
    arrangement: Arrangement, cell: tuple[int, ...], name: Value, program: str | None, parameters: Mapping[str, object]
) -> float | None:
    """Where the statistical dimension is on one line of slices."""
    if program is None:
        return None
    fixed = {**parameters, **arrangement.parameters(cell), **({} if arrangement.y is None else {arrangement.y: name})}
    found = predicted(program, arrangement.x, fixed)
    return None if found is None else float(found)


def colours_of(count: int) -> list[Colour]:
    """Colours from dark to light, or the one of single curves."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    return [to_rgba(BLUE)] if count == 1 else list(colormaps["viridis"](np.linspace(0, 0.85, count)))
