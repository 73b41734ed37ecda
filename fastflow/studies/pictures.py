"""Pictures of studies: maps of rates and times, and slices with intervals. Matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray, one_of
from fastflow.results.pictures import BLUE, ORANGE
from fastflow.studies.layouts import (
    ACROSS,
    Layout,
    Result,
    bare,
    edges_of,
    is_logarithmic,
    is_numeric,
    label_of,
    layout_of,
    map_layout,
    named,
)
from fastflow.studies.panels import draw_colour_bar, draw_legend, halo, make_figure, mark_whole
from fastflow.studies.predictions import PROGRAMS, predicted
from fastflow.studies.statistics import wilson
from fastflow.studies.transitions import boundary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEVELS = (0.1, 0.5, 0.9)
BESIDE = ("#009E73", "#CC79A7", "#F0E442")  # more of the palette of Okabe and Ito
MOST_LINES = 6
MARKERS = "osD^vP"
DECADE = 10
"""From this ratio on colours are logarithmic."""

QUANTITIES = {
    "seconds": "median seconds per trial",
    "steps": "median steps",
    "error": "median relative error",
    "loss": "median loss",
}


def plot(
    result: Result,
    kind: str | None = None,
    *,
    program: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    **options: Any,
) -> Figure:
    """A picture of the study; by default a map of rates where two axes are numbers, otherwise curves with intervals.

    Further axes are panels of maps, and lines of curves.

    Parameters
    ----------
    result : the result of a study
    kind : "map" (see `rate_map`), "slices" (see `slices`), or what a cell took: one of `QUANTITIES` (see `time_map`)
    **options : those of the function that draws this kind
    program : "l1", "nonnegative l1", "nuclear" or None, whose statistical dimension is drawn, see `predicted`
    parameters : name -> value, the parameters of the ensemble that are no axes

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot; ``figure.savefig("phase.png")`` writes it.

    Raises
    ------
    ValueError
        where no cell has trials
    ImportError
        without matplotlib
    """
    if kind is None:
        kind = "map" if sum(map(is_numeric, result.axes.values())) > 1 else "slices"
    if one_of("kind", kind, ("map", "slices", *QUANTITIES)) in QUANTITIES:
        return time_map(result, kind, **options)
    draw = rate_map if kind == "map" else slices
    return draw(result, program=program, parameters=parameters, **options)


def rate_map(
    result: Result,
    *,
    x: str | None = None,
    y: str | None = None,
    along: str | None = None,
    program: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    beside: Mapping[str, Result] | None = None,
) -> Figure:
    """The rate of success over two axes, with the fitted 10%, 50% and 90% curves and the statistical dimension.

    Parameters
    ----------
    x, y : str, the axes that lie horizontally and vertically; by default m or delta lies horizontally
    along : x or y, default x: the axis along which curves are fitted, one for each value of the other
    beside : name -> other results with these two axes alone, whose 50% curve is drawn in every panel
    result, program, parameters : as in `plot`

    Returns
    -------
    matplotlib.figure.Figure, one panel for each combination of values of the other axes, see `plot`
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    layout = map_layout(result, x, y)
    fitted = layout.x if along is None else one_of("along", along, layout.drawn)
    figure, panels = make_figure(layout, result, f"success: {result.success}; {_trials(result)}")
    colours = ListedColormap(colormaps["Blues"](np.linspace(0.08, 0.78, 256)))
    for axes, cell in zip(panels, layout.cells, strict=True):
        k, n = layout.cut(result.successes, cell), layout.cut(result.trials, cell)
        rates = np.divide(k, n, out=np.full(k.shape, np.nan), where=n > 0)
        mesh = _draw_cells(axes, layout, rates, cmap=colours, vmin=0, vmax=1)
        _draw_fits(axes, layout, k, n, fitted)
        for colour, (name, other) in zip(BESIDE, (beside or {}).items(), strict=False):
            _draw_other(axes, layout, other, fitted, label=f"50%, {name}", color=colour)
        if program is not None:
            _draw_curve(axes, layout, program, {**(parameters or {}), **layout.parameters(cell)})
    draw_colour_bar(figure, panels, mesh, "rate of success")
    draw_legend(figure, panels)
    return figure


def time_map(result: Result, quantity: str = "seconds", *, x: str | None = None, y: str | None = None) -> Figure:
    """The median over the trials of each cell of what they took, over two axes.

    The colours are logarithmic where the medians differ by a factor of ten or more.

    Parameters
    ----------
    quantity : "seconds", "steps", "error" or "loss"
    result, x, y : as in `rate_map`

    Returns
    -------
    matplotlib.figure.Figure, see `rate_map`
    """
    from matplotlib.colors import LogNorm, Normalize

    one_of("quantity", quantity, QUANTITIES)
    layout = map_layout(result, x, y)
    values = np.asarray(result.outcomes[quantity], np.float64)
    values = np.where(values >= 0, values, np.nan)
    medians = np.full(values.shape[:-1], np.nan)
    there = ~np.isnan(values).all(axis=-1)
    medians[there] = np.nanmedian(values[there], axis=-1)
    figure, panels = make_figure(layout, result, f"{QUANTITIES[quantity]}; {_trials(result)}")
    positive = medians[np.isfinite(medians) & (medians > 0)]
    norm: Any = None
    if positive.size:
        low, high = positive.min(), positive.max()
        norm = LogNorm(low, high) if high >= DECADE * low else Normalize(low, high)
    for axes, cell in zip(panels, layout.cells, strict=True):
        shown = layout.cut(medians, cell)
        mesh = _draw_cells(axes, layout, np.where(shown > 0, shown, np.nan), cmap="viridis", norm=norm)
    draw_colour_bar(figure, panels, mesh, QUANTITIES[quantity])
    return figure


def slices(
    result: Result,
    *,
    along: str | None = None,
    program: str | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Figure:
    """Rates of success along one axis with Wilson's 95% intervals, fitted curves, and the statistical dimension.

    Parameters
    ----------
    along : str, by default m or delta, or else the last axis of numbers
    result, program, parameters : as in `plot`

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
    layout = layout_of(result, along, lines)
    figure, panels = make_figure(
        layout, result, f"success: {result.success}; {_trials(result)}; 95% intervals of rates and of the 50% crossing"
    )
    for axes, cell in zip(panels, layout.cells, strict=True):
        _draw_slices(axes, layout, result, cell, program, dict(parameters or {}))
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.label_outer()
    draw_legend(figure, panels)
    return figure


def _draw_cells(axes: Axes, layout: Layout, values: FloatArray, **style: Any) -> Any:
    """Coloured cells; hatched where there is no value."""
    assert layout.y is not None
    x, y = layout.values(layout.x), layout.values(layout.y)
    axes.patch.set(facecolor="white", hatch="////", edgecolor="0.82", linewidth=0)
    mesh = axes.pcolormesh(
        edges_of(x), edges_of(y), np.ma.masked_invalid(values), linewidth=0, rasterized=True, **style
    )
    axes.set(xlabel=label_of(layout.x), ylabel=label_of(layout.y))
    if is_logarithmic(x):
        axes.set_xscale("log")
    if is_logarithmic(y):
        axes.set_yscale("log")
    mark_whole(axes, layout)
    axes.set(xlim=edges_of(x)[[0, -1]], ylim=edges_of(y)[[0, -1]])
    axes.label_outer()
    return mesh


def _draw_fits(axes: Axes, layout: Layout, k: NDArray[Any], n: NDArray[Any], fitted: str) -> None:
    """The crossings of `LEVELS`, fitted along an axis for each value of the other."""
    for level in LEVELS:
        half = level == 0.5
        axes.plot(
            *_crossings(layout, k, n, fitted, level),
            color="black",
            linewidth=1.8 if half else 0.9,
            linestyle="-" if half else (0, (4, 2)),
            label="50%, fitted" if half else "10% and 90%" if level == LEVELS[0] else None,
        )


def _draw_other(axes: Axes, layout: Layout, other: Result, fitted: str, **style: Any) -> None:
    """The 50% crossings of another result."""
    if set(other.axes) != set(layout.drawn):
        raise ValueError(
            f"what is drawn beside must have the axes {' and '.join(layout.drawn)}, got {', '.join(other.axes)}"
        )
    its = Layout(dict(other.axes), layout.x, layout.y, [], [()])
    k, n = its.cut(other.successes, ()), its.cut(other.trials, ())
    curve = _crossings(its, k, n, fitted, 0.5)
    axes.plot(*curve, linewidth=1.8, linestyle=(0, (1, 1)), zorder=3, path_effects=halo(), **style)


def _crossings(
    layout: Layout, k: NDArray[Any], n: NDArray[Any], fitted: str, level: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The curve of crossings, x and y, NaN where there is none within the values."""
    assert layout.y is not None
    if fitted == layout.y:
        k, n = k.T, n.T
    values, places = layout.values(fitted), layout.values(layout.y if fitted == layout.x else layout.x)
    found = boundary(values, k, n, level, resamples=0, logarithmic=is_logarithmic(values)).value
    found = np.where(np.isfinite(found), found, np.nan)
    return (found, places) if fitted == layout.x else (places, found)


def _draw_curve(axes: Axes, layout: Layout, program: str, parameters: dict[str, Any]) -> None:
    """The statistical dimension, as a curve along one of the axes."""
    assert layout.y is not None
    for along, other in ((layout.x, layout.y), (layout.y, layout.x)):
        ends = edges_of(layout.values(other))
        space = np.geomspace if is_logarithmic(layout.values(other)) else np.linspace
        places = space(ends[0], ends[-1], 200)
        places = places[places >= 0]
        found = predicted(program, along, {**parameters, other: places})
        if found is not None:
            curve = (found, places) if along == layout.x else (places, found)
            style: dict[str, Any] = {
                "color": ORANGE,
                "linewidth": 1.8,
                "path_effects": halo(),
                "zorder": 1.9,
            }  # below the fits
            axes.plot(*curve, label=PROGRAMS[program], **style)
            return


def _draw_slices(
    axes: Axes, layout: Layout, result: Result, cell: tuple[int, ...], program: str | None, parameters: dict[str, Any]
) -> None:
    """Rates with intervals, fits, the intervals of their 50% crossings, and where the statistical dimension is."""
    values = layout.values(layout.x)
    numeric = is_numeric(values)
    places = values.astype(np.float64) if numeric else np.arange(len(values), dtype=np.float64)
    logarithmic = numeric and is_logarithmic(places)
    k, n = layout.cut(result.successes, cell), layout.cut(result.trials, cell)
    names = layout.values(layout.y) if layout.y is not None else [""]
    chosen = np.flatnonzero(n.any(axis=1))
    chosen = chosen[np.unique(np.linspace(0, len(chosen) - 1, min(len(chosen), MOST_LINES)).round().astype(int))]
    k, n = k[chosen], n[chosen]
    low, high = wilson(k, n)
    fits = boundary(places, k, n, logarithmic=logarithmic) if numeric else None
    labels: list[str | None] = [None if program is None else PROGRAMS[program]] + [None] * len(chosen)
    expected = [_expected(layout, cell, names[i], program, parameters) for i in chosen]
    shared = len(set(expected)) == 1  # then it is of no line in particular
    colours = _colours(len(chosen))
    for place, colour, label in zip(expected, ["0.3"] if shared else colours, labels, strict=False):
        if place is not None:
            axes.axvline(place, color=colour, linewidth=1.2, linestyle=(0, (1, 2)), label=label)
    for i, colour in enumerate(colours):
        there = n[i] > 0
        tried, rate = places[there], k[i, there] / n[i, there]
        bars = np.maximum([rate - low[i, there], high[i, there] - rate], 0)
        label = named(layout.y, names[chosen[i]]) if layout.y is not None else "rate"
        faint = (*colour[:3], 0.4)
        axes.errorbar(tried, rate, bars, fmt=MARKERS[i], color=colour, ecolor=faint, markersize=4, label=label)
        if fits is not None and len(tried) > 1:
            fine = np.geomspace(tried[0], tried[-1], 400) if logarithmic else np.linspace(tried[0], tried[-1], 400)
            axes.plot(fine, fits.rates(fine)[i], color=colour, linewidth=1.5)
            if np.isfinite(fits.value[i]):
                ends = np.clip([fits.low[i], fits.high[i]], tried[0], tried[-1])
                axes.plot(ends, [0.5, 0.5], color=colour, linewidth=4, solid_capstyle="butt")
    axes.set(xlabel=label_of(layout.x), ylabel="rate of success", ylim=(-0.03, 1.03))
    if logarithmic:
        axes.set_xscale("log")
    if not numeric:
        axes.set_xticks(places, [str(value) for value in values])
        axes.set_xlim(-0.5, len(places) - 0.5)
    else:
        mark_whole(axes, layout)


def _expected(
    layout: Layout, cell: tuple[int, ...], name: Any, program: str | None, parameters: dict[str, Any]
) -> float | None:
    """Where the statistical dimension is on one line of slices."""
    if program is None:
        return None
    fixed = {**parameters, **layout.parameters(cell), **({} if layout.y is None else {layout.y: name})}
    found = predicted(program, layout.x, fixed)
    return None if found is None else float(found)


def _colours(count: int) -> list[Any]:
    """Colours from dark to light, or the one of single curves."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    return [to_rgba(BLUE)] if count == 1 else list(colormaps["viridis"](np.linspace(0, 0.85, count)))


def _trials(result: Result) -> str:
    """How many trials there are in the cells that have any."""
    counts = np.asarray(result.trials)[np.asarray(result.trials) > 0]
    low, high = counts.min(), counts.max()
    return f"{high} trials per cell" if low == high else f"{low} to {high} trials per cell"
