"""Pictures of histories and vectors. Matplotlib is imported when one is drawn, and no global state of it is touched."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastflow.baselines import basis_pursuit
from fastflow.checks import FloatArray, NumberArray
from fastflow.problems import CompressedSensing
from fastflow.records import QUANTITIES, History, Panel
from fastflow.results.figures import literal, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import ColorType

Dashes = tuple[int, tuple[int, int]]
"""How a line is broken, as matplotlib takes it."""

QUANTILES = (0.1, 0.5, 0.9)
MOST_VALUES = 10
"""How many singular values are drawn, the largest ones."""

BLUE = "#0072B2"  # of the palette of Okabe and Ito, which colour-blind readers can tell apart
ORANGE = "#D55E00"
BAND_ALPHA = 0.25
PANEL_SIZE = (4.3, 3.4)
TITLE_LETTERS = 54
"""How many letters of the title go above one panel."""
LABEL_GAP = 0.045
"""The least distance between the labels of two curves, as a part of the height of the axes."""

PANELS = tuple(quantity for quantity in QUANTITIES if quantity.label)
"""What has a panel of its own."""


def draw_history(
    history: History, kept: NDArray[np.bool_], steps: NDArray[np.int64], about: Mapping[str, str]
) -> Figure:
    """Draw the panels of what was recorded: the median over runs, and the band from their 10% to their 90% quantile.

    Parameters
    ----------
    history : History
    kept : bool array (runs,), which runs are drawn
    steps : int array (runs,), where each run ended
    about : the ``description`` of the runs

    Raises
    ------
    ValueError
        when nothing that has a panel was recorded, or no run is kept
    ImportError
        without matplotlib
    """
    panels = [quantity for quantity in PANELS if quantity.name in history.recorded]
    if not panels:
        raise ValueError(f"nothing to draw was recorded: record one of {', '.join(q.name for q in PANELS)}")
    if not kept.any():
        raise ValueError("every run diverged, so there is nothing to draw: take a smaller step or a smaller start")
    # After the step by which every run had ended, all curves are flat.
    axis, moments = history.axis
    end = int(np.isfinite(moments).sum())
    if axis == "step":
        end = int(np.searchsorted(moments, steps[kept].max())) + 1
    moments = moments[:end]
    columns = 2 if len(panels) == 4 else len(panels)
    rows = len(panels) // columns
    figure = new_figure(PANEL_SIZE[0] * columns, PANEL_SIZE[1] * rows + 0.5)
    figure.suptitle(literal(_title(about, kept, TITLE_LETTERS * columns)), fontsize="medium")
    for axes, quantity in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=True):
        quantiles = _quantiles(getattr(history, quantity.name)[kept, :end])
        _scale_steps(axes, axis, moments)
        axes.set_ylabel(quantity.label)
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if quantity.panel is Panel.VALUES:
            _draw_singular_values(axes, moments, quantiles[..., :MOST_VALUES], several=kept.sum() > 1)
            continue
        _draw(axes, moments, quantiles, BLUE, several=kept.sum() > 1)
        if quantity.panel is Panel.LOSS:
            _scale_loss(axes, quantiles)
        else:
            _scale_number(axes, quantiles)
    return figure


def draw_recovery(
    solution: FloatArray,
    steps: NDArray[np.int64],
    history: History | None,
    problem: CompressedSensing,
    about: Mapping[str, str],
    alphas: Sequence[float],
    *,
    nonnegative: bool,
) -> Figure:
    """Draw the recovered vector beside basis pursuit and the truth, and how l1 norm and error came about.

    Parameters
    ----------
    solution : array (runs, n)
    steps : int array (runs,), where each run ended
    history : History or None
    problem : CompressedSensing
    about : the ``description`` of the runs
    alphas : where each run started, or none
    nonnegative : whether x is

    Raises
    ------
    ValueError
        when no run has a finite end
    ImportError
        without matplotlib
    """
    kept = np.flatnonzero(np.isfinite(solution).all(axis=1))
    if not kept.size:
        raise ValueError("every run diverged, so there is nothing to draw: take a smaller step or a smaller start")
    try:
        pursuit = basis_pursuit(problem.matrix, problem.values, nonnegative=nonnegative)
    except ValueError:  # no x fits
        pursuit = None
    starts = np.array(alphas if len(alphas) else [np.nan] * len(solution))[kept]
    kept, starts = kept[np.argsort(-starts)], np.sort(starts)[::-1]
    lines: dict[str, tuple[FloatArray | None, str, Dashes]] = {
        "basis pursuit": (pursuit, ORANGE, (0, (5, 3))),
        "truth": (None if problem.truth is None else np.asarray(problem.truth), "black", (0, (1, 2))),
    }
    known = {name: (vector, colour, dashes) for name, (vector, colour, dashes) in lines.items() if vector is not None}
    reference = "truth" if problem.truth is not None else "basis pursuit"
    target = known[reference][0] if reference in known and np.any(known[reference][0]) else None
    against = _against(solution, steps, history, kept, starts)
    columns = 1 if against is None else 2 if target is None else 3
    figure = new_figure(PANEL_SIZE[0] * columns, PANEL_SIZE[1] + 0.5)
    text = f"{about['network']} on {about['problem']} by {about['method']}"
    figure.suptitle(literal(textwrap.fill(text, TITLE_LETTERS * columns)), fontsize="medium")
    panels = figure.subplots(1, columns, squeeze=False)[0]
    for axes in panels:
        axes.grid(alpha=0.3, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    name = "recovered" if np.isnan(starts[-1]) else rf"recovered, $\alpha$ = {starts[-1]:g}"
    _draw_vectors(panels[0], solution[kept[-1]], name, known)
    if against is None:
        return figure
    label, positions, curves = against
    names = [rf"$\alpha$ = {start:g}" for start in starts] if len(curves) > 1 else [""]
    for axes in panels[1:]:
        _scale_steps(axes, label, positions)
    for i, (curve, name) in enumerate(zip(curves, names, strict=True)):
        colour = BLUE if len(curves) == 1 else _shade(i, len(curves))
        style: dict[str, object] = {"color": colour, "label": name}
        if len(positions) < 30:
            style |= {"marker": "o", "clip_on": label in ("step", "time")}  # time 0 is far off a logarithmic axis
        panels[1].plot(positions, np.abs(curve).sum(axis=-1), **style)
        if target is not None:
            panels[2].plot(positions, np.linalg.norm(curve - target, axis=-1) / np.linalg.norm(target), **style)
    for name, (vector, colour, dashes) in known.items():
        panels[1].axhline(np.abs(vector).sum(), color=colour, linestyle=dashes, label=name)
    panels[1].set_ylabel(r"$\ell_1$ norm of x")
    panels[1].legend(fontsize="small")
    if target is not None:
        panels[2].set_ylabel(f"relative error of x, to {'the ' * (reference == 'truth')}{reference}")
        panels[2].set_yscale("log")
    return figure


def draw_images(images: Mapping[str, FloatArray]) -> Figure:
    """Grey pictures side by side, all in the scale of the first, each under its name.

    Parameters
    ----------
    images : name -> array (rows, columns)

    Returns
    -------
    matplotlib.figure.Figure
    """
    first = next(iter(images.values()))
    lines = max(name.count("\n") + 1 for name in images)
    figure = new_figure(2.4 * len(images), 2.45 + 0.25 * lines)
    for axes, (name, image) in zip(figure.subplots(1, len(images), squeeze=False)[0], images.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=first.min(), vmax=first.max(), interpolation="nearest")
        axes.set_title(name, fontsize="medium")
        axes.set_axis_off()
    return figure


def _against(
    solution: FloatArray,
    steps: NDArray[np.int64],
    history: History | None,
    kept: NDArray[np.int64],
    starts: FloatArray,
) -> tuple[str, NumberArray, list[FloatArray]] | None:
    """What solutions are drawn against: its name, where, and the solutions there, curve by curve."""
    if history is not None and history.product is not None:
        axis, moments = history.axis
        end = int(np.isfinite(moments).sum())
        if axis == "step":
            end = int(np.searchsorted(moments, steps[kept].max())) + 1
        return axis, moments[:end], [history.product[run, :end] for run in kept]
    if len(kept) > 1 and not np.isnan(starts).any():
        return r"$\alpha$, the start of every factor", starts, [solution[kept]]
    return None


def _shade(i: int, count: int) -> ColorType:
    """Colours from light to dark."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.85 * (1 - i / max(count - 1, 1)))


def _draw_vectors(
    axes: Axes, found: FloatArray, name: str, others: Mapping[str, tuple[FloatArray, str, Dashes]]
) -> None:
    """Entries against their numbers: stems for what was found, crosses and circles for others' nonzero ones."""
    numbers = np.arange(len(found))
    axes.vlines(numbers, 0, found, color=BLUE, linewidth=1.0)
    axes.plot(numbers, found, "o", color=BLUE, markersize=3, label=name)
    marks = {"basis pursuit": ("x", 7), "truth": ("o", 9)}
    for other, (vector, colour, _) in others.items():
        shape, size = marks[other]
        there = np.flatnonzero(vector)
        axes.plot(
            there, np.asarray(vector)[there], shape, color=colour, markersize=size, markerfacecolor="none", label=other
        )
    axes.set_xlabel("coordinate i")
    axes.set_ylabel(r"$x_i$")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.25 * (high - low))  # room for the legend
    axes.legend(fontsize="small", loc="upper center", ncols=2)


def _title(about: Mapping[str, str], kept: NDArray[np.bool_], letters: int) -> str:
    """What is drawn, in lines of so many letters."""
    count, diverged = int(kept.sum()), int((~kept).sum())
    text = f"Median and 10-90% band of {count} runs" if count > 1 else "One run"
    text += f" of {about['network']} on {about['problem']} from {about['init']}"
    if diverged:
        text += f"; {diverged} more diverged and {'are' if diverged > 1 else 'is'} not drawn"
    return textwrap.fill(text, letters)


def _quantiles(values: FloatArray) -> FloatArray:
    """`QUANTILES` over the runs, (3, steps, ...); NaN where no run has a value."""
    result = np.full((len(QUANTILES), *values.shape[1:]), np.nan)
    known = ~np.isnan(values).all(axis=0)
    result[:, known] = np.nanquantile(values[:, known].astype(np.float64), QUANTILES, axis=0)
    return result


def _draw(axes: Axes, steps: NumberArray, quantiles: FloatArray, colour: ColorType, *, several: bool) -> None:
    """The median (steps,) of ``quantiles`` (3, steps), and the band if there are several runs."""
    low, median, high = quantiles
    if several:
        axes.fill_between(steps, low, high, color=colour, alpha=BAND_ALPHA, linewidth=0)
    axes.plot(steps, median, color=colour, linewidth=1.6, marker="o" if len(steps) == 1 else None)


def _draw_singular_values(axes: Axes, steps: NumberArray, quantiles: FloatArray, *, several: bool) -> None:
    """Curves from dark (the largest value) to light, each with its name at its right end."""
    from matplotlib import colormaps

    count = quantiles.shape[-1]
    colours = colormaps["viridis"](0.82 * np.linspace(0, 1, count) ** 0.6)
    for i in reversed(range(count)):  # the largest in front
        _draw(axes, steps, quantiles[..., i], colours[i], several=several)
    if not np.nanmax(quantiles) > 0:
        return
    # From twice the largest value down to a tenth of where the largest has come from: what lies below never took part,
    # or is round-off, and many decades of it would squeeze the plateaus above. But four decades at least.
    leading = quantiles[1, :, 0]
    top = 2 * float(np.nanmax(quantiles))
    bottom = min(float(np.nanmin(leading[leading > 0])) / 10, 1e-4 * top)
    axes.set_yscale("log")
    axes.set_ylim(bottom, top)
    ends = [quantiles[1, ~np.isnan(quantiles[1, :, i]), i][-1] for i in range(count)]
    heights = np.log(np.maximum(ends, bottom) / bottom) / np.log(top / bottom)
    for first, last in _label_groups(heights):
        text = rf"$\sigma_{{{first + 1}}}$"
        if last > first:
            between = r"\ldots, " if last > first + 1 else ""
            text = rf"$\sigma_{{{first + 1}}}, {between}\sigma_{{{last + 1}}}$"
        axes.annotate(
            text,
            (1, heights[first : last + 1].mean()),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            color=colours[first],
            fontsize="small",
            verticalalignment="center",
        )


def _label_groups(heights: FloatArray) -> list[tuple[int, int]]:
    """Cut decreasing heights into (first, last) groups so that neighbours' labels are `LABEL_GAP` apart."""
    groups = [(i, i) for i in range(len(heights))]
    while True:
        centres = [heights[first : last + 1].mean() for first, last in groups]
        gaps = -np.diff(centres)
        if not gaps.size or gaps.min() >= LABEL_GAP:
            return groups
        at = int(gaps.argmin())
        groups[at : at + 2] = [(groups[at][0], groups[at + 1][1])]


def _scale_steps(axes: Axes, label: str, steps: NumberArray) -> None:
    """Logarithmic; steps with 0 beside them, or linear if they were recorded so, or are few."""
    from matplotlib.ticker import SymmetricalLogLocator

    axes.set_xlabel(label)
    positive = steps[steps > 0]
    if label != "step" and len(positive) > 1:
        axes.set_xscale("log")
        axes.set_xlim(positive[0], positive[-1])
        return
    if len(steps) > 1:
        axes.set_xlim(steps[0], steps[-1])
    if len(positive) < 2 or np.median(positive) > positive[-1] / 4:
        return
    threshold = float(positive[0])
    axes.set_xscale("symlog", linthresh=threshold, linscale=0.3)
    axes.xaxis.set_minor_locator(SymmetricalLogLocator(base=10, linthresh=threshold, subs=range(2, 10)))


def _scale_loss(axes: Axes, quantiles: FloatArray) -> None:
    """Logarithmic, down to 1e-12 of the largest loss: what is below that is the round-off of the residuals.

    A loss that is negative by more than that, which a user's own may be, leaves the axis linear.
    """
    positive = quantiles[quantiles > 0]
    top = positive.max() if positive.size else 0.0
    if positive.size and not np.any(quantiles < -1e-12 * top):
        axes.set_yscale("log")
        axes.set_ylim(max(positive.min() / 2, 1e-12 * top), 2 * top)


def _scale_number(axes: Axes, quantiles: FloatArray) -> None:
    """Linear for numbers of one size, logarithmic with plain ticks for numbers of several."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    positive = quantiles[quantiles > 0]
    if not positive.size or positive.max() < 4 * positive.min():
        return
    axes.set_yscale("log")
    if positive.max() < 1000 * positive.min():
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
