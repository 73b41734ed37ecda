"""Beyond the edge of stability one mode of gradient descent doubles its period, and becomes chaotic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SECOND = np.sqrt(5) - 1
"""Where period 2 becomes period 4: ``d1 d2 = 1/h`` and ``d1^2 + d2^2 = 1 + 1/h`` lose their stability."""


def compute(steps: int, settle: int) -> Data:
    """Orbits of ``d <- d - h d (d^2 - 1)`` for steps h from 0.8 to 1.5 of the edge."""
    orbits = ff.theory.bifurcation(2, np.linspace(0.8, 1.5, steps), settle=settle)
    return {"step": orbits.steps, "value": orbits.values, "period": orbits.period.astype(float)}


def apart(h: NDArray[np.float64]) -> NDArray[np.float64]:
    """``d1^2 - d2^2`` of the orbit of period 2: from ``(d1 + d2)^2 = 1 + 3/h`` and ``(d1 - d2)^2 = 1 - 1/h``."""
    return np.sqrt((1 + 3 / h) * (1 - 1 / h))


def draw(data: Data) -> Figure:
    """Draw where the orbits go, and the orbit of period 2 that theory has."""
    from fastflow.gallery.style import POINTS, THEORY, panel

    figure, axes = panel("One mode of two layers", "step / edge of stability", "eigenvalue d^2 after many steps")
    axes.plot(data["step"], data["value"], ".", color=POINTS, markersize=1.5, rasterized=True)
    h = np.linspace(1, SECOND, 200)
    for sign in (1, -1):
        axes.plot(h, (1 + 1 / h + sign * apart(h)) / 2, color=THEORY, linewidth=1)
    for edge in (1, SECOND):
        axes.axvline(edge, color=THEORY, linestyle="--", linewidth=0.8)
    axes.plot([], [], ".", color=POINTS, label="gradient descent")
    axes.plot([], [], color=THEORY, linewidth=1, label="orbit of period 2, in closed form")
    axes.plot([], [], color=THEORY, linestyle="--", linewidth=0.8, label="steps 1 and sqrt(5) - 1")
    axes.legend(loc="lower left")
    return figure


def check(data: Data) -> Verdict:
    """Compare periods with the two thresholds, and the orbit with the one of theory."""
    step, period, value = data["step"], data["period"], data["value"]
    one, two = step < 0.99, (step > 1.01) & (step < SECOND - 0.01)
    right = np.mean(np.concatenate([period[one] == 1, period[two] == 2]))
    h = step[two]
    off = np.abs(np.ptp(value[two], axis=1) - apart(h)).max()
    beyond = bool(np.all(period[step > SECOND + 0.01] != 2))
    words = f"{right:.1%} of the periods below {SECOND:.4f} are as predicted, orbits of period 2 are off by {off:.1e}"
    return Verdict(bool(right == 1 and off < 1e-6 and beyond), words)


BIFURCATIONS = Entry(
    name="bifurcations",
    source="Beyond the edge of stability, one mode of a balanced chain (fastflow.theory.bifurcation)",
    claim="Gradient descent converges below the edge, has period 2 up to sqrt(5) - 1 times it, and not beyond.",
    taken="two layers, eigenvalue 1: the edge is the step 1",
    chosen="steps from 0.8 to 1.5; those within 0.01 of a threshold, where convergence is slow, are not judged",
    sizes={
        TINY: {"steps": 15, "settle": 5000},
        DEFAULT: {"steps": 701, "settle": 20_000},
        FULL: {"steps": 7001, "settle": 20_000},
    },
    counted="steps",
    compute=compute,
    draw=draw,
    check=check,
)
