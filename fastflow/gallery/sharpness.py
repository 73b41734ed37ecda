"""Sharpness and l1 norm of what descent finds, against its step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES, ALPHA = ("sharpness", "l1_norm"), 0.1


def compute(n: int, m: int, steps: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """Final sharpness and l1 norm over those of the flow's limit, by the step over ``eta_c = 2 / sharpness`` of that.

    NaN where a trial has not converged; ``diverged`` says where it diverged.
    """
    words = ff.ensembles.Sparse(n, m, max(1, m // 8)), ff.DiagonalLinear(2), ff.inits.Constant(ALPHA)
    asked = {"outcomes": list(NAMES), "trials": trials, "seed": seed}
    flow = ff.Study(*words, ff.FlowLimit(), axes={"m": [m]}, **asked).run(threads=threads)
    step = np.geomspace(0.25, 4, steps) * 2 / np.median(flow["sharpness"])
    method = ff.GradientDescent(max_steps=200_000)
    result = ff.Study(*words, method, axes={"step": step.tolist()}, **asked).run(threads=threads)
    ended = result.outcomes["status"] == ff.Status.CONVERGED
    found = {name: np.where(ended, result[name], np.nan) / flow[name] for name in NAMES}
    lost = (result.outcomes["status"] == ff.Status.DIVERGED).astype(float)
    return {"step": step[:, None] * flow["sharpness"] / 2, **found, "diverged": lost}


def draw(data: Data) -> Figure:
    """Draw every trial that converged, with the bound 2/step, and how many diverged."""
    from fastflow.gallery.style import POINTS, SERIES, THEORY, panels, rates

    x = "step / critical step of the flow's limit"
    figure, (sharp, norm, lost) = panels(
        (f"{data['step'].shape[1]} problems, trials that converged", x, "sharpness / that of the flow's limit"),
        ("the same trials", x, "l1 norm / that of the flow's limit"),
        ("all trials, 95% intervals", x, "share that diverged"),
        size=(4.2, 4.2),
    )
    flat = data["step"].ravel()
    for axes, name in zip((sharp, norm), NAMES, strict=True):
        axes.plot(flat, data[name].ravel(), ".", color=POINTS, markersize=3)
    fine = np.geomspace(flat.min(), flat.max(), 200)
    sharp.plot(fine, np.minimum(1, 1 / fine), color=THEORY, linewidth=1, label="the flow's, and at most 2/step")
    sharp.set(yscale="log", yticks=[0.2, 0.5, 1], yticklabels=["0.2", "0.5", "1"])
    sharp.legend(loc="lower left")
    edges = np.geomspace(flat.min(), flat.max() * (1 + 1e-9), 13)
    which = np.digitize(flat, edges) - 1
    for i in range(len(edges) - 1):
        of_it = data["diverged"].ravel()[which == i]
        if of_it.size:
            centre = np.array([np.sqrt(edges[i] * edges[i + 1])])
            rates(lost, centre, np.array([of_it.sum()]), of_it.size, SERIES[0], "")
    lost.set(ylim=(-0.03, 1.03))
    for axes in (sharp, norm, lost):
        axes.axvline(1, color=THEORY, linestyle="--", linewidth=0.8)
        axes.set(
            xscale="log",
            xlim=(0.9 * flat.min(), 1.1 * flat.max()),
            xticks=[0.2, 0.5, 1, 2, 5],
            xticklabels=["0.2", "0.5", "1", "2", "5"],
        )
        axes.minorticks_off()
    return figure


def check(data: Data) -> Verdict:
    """Compare with the flow below the critical step, and with the bound and the l1 norms above it."""
    x, sharp, norm = data["step"], data["sharpness"], data["l1_norm"]
    ended, below, above = np.isfinite(sharp), x < 0.9, x > 1.1
    off = float(np.median(np.abs(sharp[ended & below] - 1)))
    over = float(np.max((sharp * x)[ended & (x >= 1)]))
    low, high = float(np.median(norm[ended & below])), float(np.median(norm[ended & above]))
    words = (
        f"below 0.9 of the critical step sharpness is {off:.1%} off the flow's (median), beyond 1 at most {over:.6f} "
        f"times 2/step; the median l1 norm is {low:.3f} of the flow's below 0.9, {high:.3f} beyond 1.1"
    )
    return Verdict(bool(off < 0.05 and over <= 1 + 1e-4 and high > low), words)


SHARPNESS = Entry(
    name="sharpness",
    source="Fojtik, Matveev, Chou, Kutyniok, Maly 2025, arXiv:2505.21423",
    claim="Up to a critical step descent finds what the flow finds; beyond it what is flatter, of a larger l1 norm.",
    taken="diagonal networks, final sharpness and l1 norm against the step, the critical step eta_c of the flow",
    chosen="x = u o u - v o v from 0.1, Gaussian measurements, sizes, each trial over its own eta_c, up to 2e5 steps",
    sizes={
        TINY: {"n": 8, "m": 4, "steps": 4, "trials": 4},
        DEFAULT: {"n": 100, "m": 40, "steps": 25, "trials": 20},
        FULL: {"n": 100, "m": 40, "steps": 49, "trials": 200},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
