"""Panels: a figure with its title, and what panels share: ticks, rims of curves, a colour bar, a legend."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from fastflow.results.figures import new_figure
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


def make_figure(arrangement: Arrangement, result: Result, text: str) -> tuple[Figure, list[Axes]]:
    """A figure with its title, and a panel for each combination of the values of other axes."""
    count = len(arrangement.cells)
    last = len(arrangement.axes[arrangement.others[-1]]) if arrangement.others else 1
    columns = last if count % last == 0 and 1 < last <= 4 else min(count, 3)
    rows = -(-count // columns)
    figure = new_figure(PANEL_SIZE[0] * columns + 0.8, PANEL_SIZE[1] * rows + 0.9)
    lines = (*_wrapped([arrangement.named(name, value) for name, value in result.setting.items()], ", ", columns),)
    figure.suptitle("\n".join((*lines, *_wrapped(text.split("; "), "; ", columns))), fontsize="small")
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for empty in panels[count:]:
        empty.remove()
    for axes, cell in zip(panels, arrangement.cells, strict=False):
        axes.set_title(
            ", ".join(arrangement.named(name, value) for name, value in arrangement.parameters(cell).items()),
            fontsize="medium",
        )
    return figure, panels[:count]


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


def draw_colour_bar(figure: Figure, panels: list[Axes], mesh: QuadMesh, label: str) -> None:
    """One for all panels, as wide as that of one panel."""
    columns = len({axes.get_subplotspec().colspan.start for axes in panels})  # type: ignore[union-attr]
    figure.colorbar(mesh, ax=panels, label=label, fraction=0.08 / columns, pad=0.02)


def draw_legend(figure: Figure, panels: list[Axes]) -> None:
    """Below all panels, with what occurs in any of them."""
    known = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    known = dict(sorted(known.items(), key=lambda item: item[0] in PROGRAMS.values()))
    columns = 3 * len({axes.get_subplotspec().colspan.start for axes in panels})  # type: ignore[union-attr]
    figure.legend(
        list(known.values()), list(known), loc="outside lower center", ncols=columns, fontsize="small", frameon=False
    )


def trials_each(result: Result) -> str:
    """How many trials there are in the cells that have any."""
    counts = np.asarray(result.trials)[np.asarray(result.trials) > 0]
    low, high = counts.min(), counts.max()
    return f"{high} trials per cell" if low == high else f"{low} to {high} trials per cell"
