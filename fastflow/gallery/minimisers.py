"""Which solution of least l1 norm small starts come to, where there are several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS = (2, 3, 4)
A, Y = np.array([[1.0, 1, 1], [3, 0, 1]]), np.array([3.0, 3])
"""Every ``(1 - t, 2 (1 - t), 3 t)``, t in [0, 1], is a solution of least l1 norm."""


def predicted(depth: int) -> float:
    """The t of the least ``sum x ln x`` for two layers, and of the largest ``sum x^{2/L}`` for more."""
    if depth == 2:
        return float(2 ** (2 / 3) / (3 + 2 ** (2 / 3)))
    return float(1 / (1 + (3 ** (2 / depth) / (1 + 2 ** (2 / depth))) ** (-depth / (depth - 2))))


def compute(alphas: int, threads: int | None = None) -> Data:
    """The t of the flow's limit, by depth and start alpha, and how far the limit is from the line of solutions."""
    alpha = np.geomspace(1e-6, 1, alphas)
    x = np.array([ff.flow_limit(A, Y, np.full((alphas, 3), alpha[:, None]), L, threads=threads).x for L in DEPTHS])
    return {"alpha": alpha, "t": x[..., 2] / 3, "l1_norm": np.abs(x).sum(axis=-1)}


def draw(data: Data) -> Figure:
    """Draw where on the line of solutions the limits are, and the ends that theory has."""
    from fastflow.gallery.style import SERIES, panel

    figure, axes = panel("min |x|_1, A x = y, with many solutions", "start alpha (no unit)", "t: x = (1-t, 2(1-t), 3t)")
    for depth, t, series in zip(DEPTHS, data["t"], SERIES, strict=False):
        axes.semilogx(data["alpha"], t, series.marker, color=series.color, markersize=4, label=f"L = {depth}")
        axes.axhline(predicted(depth), color=series.color, linestyle=series.line, linewidth=1)
    axes.legend(title="limit of the flow; lines: alpha to 0")
    return figure


def check(data: Data) -> Verdict:
    """Compare the limits from the smallest start with the predicted ones."""
    small = np.argmin(data["alpha"])
    off = max(abs(t[small] - predicted(depth)) for depth, t in zip(DEPTHS, data["t"], strict=True))
    excess = float(np.max(data["l1_norm"][:, small] - 3))
    words = f"from alpha = {data['alpha'][small]:g} t is off by at most {off:.1e}, the l1 norm by {excess:.1e}"
    return Verdict(bool(off < 1e-3 and excess < 1e-3), words)


MINIMISERS = Entry(
    name="which-minimiser",
    source="Wind, Antun, Hansen 2023, arXiv:2307.07410",
    claim="Of several solutions of least l1 norm small starts choose one that depends on the depth, and that is known.",
    taken="least sum |x| ln|x| for two layers, largest sum |x|^(2/L) for more",
    chosen="the matrix [[1, 1, 1], [3, 0, 1]], y = (3, 3), L = 2, 3, 4, starts from 1 to 1e-6, limits without time",
    sizes={TINY: {"alphas": 3}, DEFAULT: {"alphas": 25}, FULL: {"alphas": 121}},
    counted="alphas",
    compute=compute,
    draw=draw,
    check=check,
)
