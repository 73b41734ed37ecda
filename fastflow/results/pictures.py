"""Pictures of histories and vectors. Matplotlib is imported when one is drawn, and no global state of it is touched."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.baselines import basis_pursuit
from fastflow.checks import FloatArray, NumberArray, one_of
from fastflow.problems import CompressedSensing
from fastflow.records import QUANTITIES, History, Panel, Quantity
from fastflow.results.figures import Given, figure_of, literal, new_figure, panels_of

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
PALETTE = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""The colours of several, of which each has a line."""
BAND_ALPHA = 0.25
PANEL_SIZE = (4.3, 3.4)
TITLE_LETTERS = 54
"""How many letters of the title go above one panel."""
LABEL_GAP = 0.045
"""The least distance between the labels of two curves, as a part of the height of the axes."""

PANELS = tuple(quantity for quantity in QUANTITIES if quantity.label)
"""What has a panel of its own."""


class Drawn(NamedTuple):
    """The runs of one call, as a picture of their history takes them.

    Attributes
    ----------
    history : History
    kept : bool array (runs,), which runs are drawn
    steps : int array (runs,), where each run ended
    about : the ``description`` of the runs
    """

    history: History
    kept: NDArray[np.bool_]
    steps: NDArray[np.int64]
    about: Mapping[str, str]

    @property
    def moments(self) -> tuple[str, NumberArray]:
        """What the history is against, and where: after the step by which every run had ended all curves are flat."""
        axis, moments = self.history.axis
        end = int(np.isfinite(moments).sum())
        if axis == "step":
            end = int(np.searchsorted(moments, self.steps[self.kept].max())) + 1
        return axis, moments[:end]


def draw_history(
    several: Mapping[str, Drawn], quantities: str | Sequence[str] | None = None, ax: Given = None
) -> Figure:
    """Draw the panels of what was recorded: the median over runs, and the band from their 10% to their 90% quantile.

    Parameters
    ----------
    several : label -> what is drawn in each panel, all against steps or all against times; of one the label is not
    quantities : which panels; default all that were recorded of every one
    ax : the user's own axes, one for each panel

    Raises
    ------
    ValueError
        when nothing that has a panel was recorded, or not what is asked for; when no run is kept; when some are against
        steps and others against times
    ImportError
        without matplotlib
    """
    for label, one in several.items():
        if not one.kept.any():
            of = f" of {label!r}" if len(several) > 1 else ""
            raise ValueError(f"every run{of} diverged, so there is nothing to draw: take a smaller step or start")
    panels = _panels(several, quantities)
    against = {one.moments[0] for one in several.values()}
    if len(against) > 1:
        raise ValueError(f"runs in one picture must be recorded against the same, got {' and '.join(sorted(against))}")
    if ax is None:
        columns = 2 if len(panels) == 4 else len(panels)
        rows = len(panels) // columns
        figure = new_figure(PANEL_SIZE[0] * columns, PANEL_SIZE[1] * rows + 0.5)
        figure.suptitle(literal(_title(several, TITLE_LETTERS * columns)), fontsize="medium")
        places = list(figure.subplots(rows, columns, squeeze=False).flat)
    else:
        places = panels_of(ax, len(panels))
        figure = figure_of(places)
    for axes, quantity in zip(places, panels, strict=True):
        _draw_panel(axes, quantity, several)
    if len(several) > 1:
        places[0].legend(fontsize="small")
    return figure


def _panels(several: Mapping[str, Drawn], quantities: str | Sequence[str] | None) -> list[Quantity]:
    """What is drawn, of what all have recorded."""
    there = [q for q in PANELS if all(q.name in one.history.recorded for one in several.values())]
    if not there:
        every = " of all of these runs" if len(several) > 1 else ""
        raise ValueError(f"nothing to draw was recorded{every}: record one of {', '.join(q.name for q in PANELS)}")
    if quantities is None:
        return there
    names = [quantities] if isinstance(quantities, str) else list(quantities)
    known = {quantity.name: quantity for quantity in there}
    for name in names:
        one_of("quantities", name, known)
    if not names:
        raise ValueError(f"quantities must name at least one of {', '.join(known)}")
    return [known[name] for name in names]


def _draw_panel(axes: Axes, quantity: Quantity, several: Mapping[str, Drawn]) -> None:
    """One quantity of one or several: of several a colour each."""
    axes.set_ylabel(quantity.label)
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    label, moments = max((one.moments for one in several.values()), key=lambda found: found[1][-1])
    _scale_steps(axes, label, moments)
    colours = (
        [BLUE] if len(several) == 1 else [*PALETTE, *map(_shade, range(len(several)), [len(several)] * len(several))]
    )
    every = []
    for colour, (name, one) in zip(colours, several.items(), strict=False):
        _, moments = one.moments
        quantiles = _quantiles(getattr(one.history, quantity.name)[one.kept, : len(moments)])
        band = int(one.kept.sum()) > 1
        if quantity.panel is Panel.VALUES and len(several) == 1:
            _draw_singular_values(axes, moments, quantiles[..., :MOST_VALUES], several=band)
            return
        for i, part in enumerate(
            np.moveaxis(quantiles[..., :MOST_VALUES], -1, 0) if quantiles.ndim > 2 else [quantiles]
        ):
            _draw(axes, moments, part, colour, several=band, label="" if i else literal(name))
        every.append(quantiles.ravel())
    found = np.concatenate(every)
    if quantity.panel is Panel.LOSS:
        _scale_loss(axes, found)
    elif quantity.panel is Panel.VALUES:
        _scale_values(axes, found)
    else:
        _scale_number(axes, found)


def draw_recovery(
    solution: FloatArray,
    steps: NDArray[np.int64],
    history: History | None,
    problem: CompressedSensing,
    about: Mapping[str, str],
    alphas: Sequence[float],
    *,
    nonnegative: bool,
    ax: Given = None,
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
        pursuit = basis_pursuit(problem.entries("basis pursuit"), problem.values, nonnegative=nonnegative)
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
    if ax is None:
        figure = new_figure(PANEL_SIZE[0] * columns, PANEL_SIZE[1] + 0.5)
        text = f"{about['network']} on {about['problem']} by {about['method']}"
        figure.suptitle(literal(textwrap.fill(text, TITLE_LETTERS * columns)), fontsize="medium")
        panels = list(figure.subplots(1, columns, squeeze=False)[0])
    else:
        panels = panels_of(ax, columns)
        figure = figure_of(panels)
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


def draw_images(images: Mapping[str, FloatArray], ax: Given = None) -> Figure:
    """Grey pictures side by side, all in the scale of the first, each under its name.

    Parameters
    ----------
    images : name -> array (rows, columns)
    ax : the user's own axes, one for each image

    Returns
    -------
    matplotlib.figure.Figure
    """
    first = next(iter(images.values()))
    if ax is None:
        lines = max(name.count("\n") + 1 for name in images)
        figure = new_figure(2.4 * len(images), 2.45 + 0.25 * lines)
        panels = list(figure.subplots(1, len(images), squeeze=False)[0])
    else:
        panels = panels_of(ax, len(images))
        figure = figure_of(panels)
    for axes, (name, image) in zip(panels, images.items(), strict=True):
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


def _title(several: Mapping[str, Drawn], letters: int) -> str:
    """What is drawn, in lines of so many letters."""
    counts = [int(one.kept.sum()) for one in several.values()]
    diverged = sum(int((~one.kept).sum()) for one in several.values())
    many = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    text = f"Median and 10-90% band of {many} runs" if max(counts) > 1 else "One run"
    if len(several) > 1:
        text += " each"
    words = {word: {one.about[word] for one in several.values()} for word in ("network", "problem", "init")}
    for word, before in (("network", "of"), ("problem", "on"), ("init", "from")):
        if len(words[word]) == 1:
            text += f" {before} {next(iter(words[word]))}"
    if diverged:
        text += f"; {diverged} more diverged and {'are' if diverged > 1 else 'is'} not drawn"
    return textwrap.fill(text, letters)


def _quantiles(values: FloatArray) -> FloatArray:
    """`QUANTILES` over the runs, (3, steps, ...); NaN where no run has a value."""
    result = np.full((len(QUANTILES), *values.shape[1:]), np.nan)
    known = ~np.isnan(values).all(axis=0)
    result[:, known] = np.nanquantile(values[:, known].astype(np.float64), QUANTILES, axis=0)
    return result


def _draw(
    axes: Axes, steps: NumberArray, quantiles: FloatArray, colour: ColorType, *, several: bool, label: str = ""
) -> None:
    """The median (steps,) of ``quantiles`` (3, steps), and the band if there are several runs."""
    low, median, high = quantiles
    if several:
        axes.fill_between(steps, low, high, color=colour, alpha=BAND_ALPHA, linewidth=0)
    axes.plot(steps, median, color=colour, linewidth=1.6, marker="o" if len(steps) == 1 else None, label=label or None)


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


def _scale_values(axes: Axes, quantiles: FloatArray) -> None:
    """Logarithmic, down to the round-off of the largest value."""
    positive = quantiles[quantiles > 0]
    if positive.size:
        axes.set_yscale("log")
        top = 2 * float(positive.max())
        axes.set_ylim(max(float(positive.min()) / 2, 1e-8 * top), top)


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
