"""Pictures of where steps beyond the edge of stability lead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastflow.results.figures import Given, figure_of, new_figure, panels_of
from fastflow.results.pictures import PANEL_SIZE
from fastflow.theory.large_steps import PERIODS, Bifurcation, Period

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: Mapping[Period, str] = {
    Period.ONE: "#000000",
    Period.TWO: "#0072B2",
    Period.FOUR: "#009E73",
    Period.EIGHT: "#E69F00",
    Period.APERIODIC: "#D55E00",
}
"""Of the palette of Okabe and Ito, which colour-blind readers can tell apart."""

POINTS = 200_000
"""At most so many points are drawn in a panel."""


def draw_bifurcations(orbits: Sequence[Bifurcation], ax: Given) -> Figure:
    """Draw the values of each mode over its eigenvalue against the step over its edge, and where the period changes."""
    if ax is None:
        figure = new_figure(PANEL_SIZE[0] * len(orbits), PANEL_SIZE[1] + 0.4)
        panels = list(figure.subplots(1, len(orbits), squeeze=False)[0])
    else:
        panels = panels_of(ax, len(orbits))
    for axes, orbit in zip(panels, orbits, strict=True):
        every = max(1, orbit.values.size // POINTS)
        steps = np.repeat(orbit.steps / orbit.edge, orbit.values.shape[1])[::every]
        values, periods = orbit.values.ravel()[::every], np.repeat(orbit.period, orbit.values.shape[1])[::every]
        for which in (*PERIODS, Period.APERIODIC):
            of_it = (periods == which) & np.isfinite(values)
            if of_it.any():
                axes.plot(steps[of_it], values[of_it] / orbit.eigenvalue, ",", color=COLOURS[which], rasterized=True)
                axes.plot([], [], "o", color=COLOURS[which], markersize=4, label=which.label)
        axes.axvline(1, color="0.6", linewidth=0.8, zorder=0)
        axes.set_title(f"depth {orbit.depth}", fontsize="medium")
        axes.set_xlabel("step over the edge of stability")
        axes.set_ylabel("singular value over the target's")
        axes.legend(fontsize="small", frameon=False, loc="lower left")
    return figure_of(panels)
