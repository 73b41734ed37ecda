"""The style of the gallery: theory as lines, simulation as points, colours and marks that differ in grey, too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

THEORY, POINTS, OTHER = "black", "#0072B2", "#E69F00"  # of the palette of Okabe and Ito, dark to light


class Series(NamedTuple):
    """How one of several is drawn: by colour, and where there is none by mark and line."""

    color: str
    marker: str
    line: str


SERIES = (
    Series("#00427A", "o", "-"),
    Series("#D55E00", "s", "--"),
    Series("#56B4E9", "^", "-."),
    Series("#009E73", "D", ":"),
)
"""First, second, third and fourth, such as depths."""


def panel(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure of one panel with labelled axes."""
    figure, axes = panels((title, x, y), size=(6.4, 4.2))
    return figure, axes[0]


def panels(
    *labels: tuple[str, str, str], columns: int | None = None, size: tuple[float, float] = (5.0, 4.2)
) -> tuple[Figure, list[Axes]]:
    """A figure of panels, of each the title and what its axes are; in one row, or row by row of so many."""
    columns = columns or len(labels)
    rows = -(-len(labels) // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for axes, (title, x, y) in zip(grid, labels, strict=True):
        axes.set(title=title, xlabel=x, ylabel=y)
    return figure, grid


def medians(axes: Axes, x: NDArray[np.float64], values: NDArray[np.float64], series: Series, label: str) -> None:
    """Medians over the last axis, with their 95% intervals by order statistics, for which no law is assumed.

    Fewer than six values have no such interval: bars are then from the least to the largest.
    """
    ordered = np.sort(values, axis=-1)
    count = ordered.shape[-1]
    rank = int(stats.binom.ppf(0.025, count, 0.5))
    low, high = (ordered[..., max(rank - 1, 0)], ordered[..., min(count - rank, count - 1)])
    middle = np.median(ordered, axis=-1)
    axes.errorbar(
        x, middle, (middle - low, high - middle), fmt=series.marker, color=series.color, ms=4, capsize=2, label=label
    )


def rates(
    axes: Axes, x: NDArray[np.float64], found: NDArray[np.float64], trials: int, series: Series, label: str
) -> None:
    """Shares of the trials, with Wilson's 95% intervals."""
    share = found / trials
    intervals = [stats.binomtest(int(k), trials).proportion_ci(method="wilson") for k in found]
    low, high = np.array(intervals).T
    bars = np.maximum((share - low, high - share), 0)
    axes.errorbar(x, share, bars, fmt=series.marker, color=series.color, ms=4, capsize=2, label=label)


def floored(axes: Axes, values: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """Values not below a floor, which a line of the picture then says is one."""
    if np.any(values < floor) and not any(line.get_gid() == "floor" for line in axes.lines):
        axes.axhline(floor, color="0.6", linewidth=0.8).set_gid("floor")
        axes.text(0.01, floor, f"{floor:g} and below", transform=axes.get_yaxis_transform(), va="bottom", color="0.4")
    return np.maximum(values, floor)
