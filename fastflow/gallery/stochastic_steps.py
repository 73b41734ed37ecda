"""Large steps and noise: the test loss of descent and of stochastic descent against the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES, ALPHA = ("gradient descent", "stochastic, one sample"), 0.1


def compute(steps: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """The test loss and the gain by step, method and trial, NaN where it has not converged."""
    methods = ff.GradientDescent(max_steps=1_000_000), ff.StochasticGradientDescent(max_steps=1_000_000)
    step = np.geomspace(1e-2, 1, steps)
    axes = {"method.step": step.tolist(), "method": dict(zip(NAMES, methods, strict=True))}
    words = ff.ensembles.Sparse(30, 20, 3, test=1000), ff.DiagonalLinear(2), ff.inits.Constant(ALPHA)
    asked = ["test_loss", "gain"]
    result = ff.Study(*words, axes=axes, trials=trials, seed=seed, outcomes=asked).run(threads=threads)
    ended = result.outcomes["status"] == ff.Status.CONVERGED
    kept = {name: np.where(ended if name == "test_loss" else ended[..., None], result[name], np.nan) for name in asked}
    return {"step": step, **kept}


def draw(data: Data) -> Figure:
    """Draw test losses at steps with which nine in ten trials converge, and how many do."""
    from fastflow.gallery.style import SERIES, medians, panels, rates

    trials = data["test_loss"].shape[-1]
    figure, (loss, share) = panels(
        ("steps at which 90% converge", "step (no unit)", "test loss over that of the smallest step"),
        (f"{trials} trials, 95% intervals", "step (no unit)", "share that converges"),
    )
    for i, (name, series) in enumerate(zip(NAMES, SERIES, strict=False)):
        found, x = data["test_loss"][:, i], data["step"] * 1.02**i
        ended = np.isfinite(found)
        most = np.flatnonzero(ended.mean(axis=1) >= 0.9)
        of_all = ended[most].all(axis=0)
        loss.axhline(1, color="0.6", linewidth=0.8, zorder=0)
        medians(loss, x[most], (found[most] / found[most[0]])[:, of_all], series, f"{name}, {of_all.sum()} trials")
        rates(share, x, ended.sum(axis=1), trials, series, name)
    loss.set(xscale="log", ylim=(0, None), xlim=(0.9 * data["step"][0], 1.1 * data["step"][-1]))
    loss.legend(title="medians, 95% intervals", loc="lower left", fontsize="small")
    share.set(xscale="log", ylim=(-0.03, 1.03))
    return figure


def check(data: Data) -> Verdict:
    """Compare, trial by trial, the largest and the smallest step with which nine in ten converge."""
    ratio, ends = [], []
    for i in range(len(NAMES)):
        found = data["test_loss"][:, i]
        most = np.flatnonzero(np.isfinite(found).mean(axis=1) >= 0.9)
        ends.append(data["step"][most[[0, -1]]])
        ratio.append(float(np.nanmedian(found[most[-1]] / found[most[0]])))
    words = "; ".join(
        f"{name}: from step {first:.2g} to {last:.2g} the test loss becomes {r:.2f} of what it was (median)"
        for name, (first, last), r in zip(NAMES, ends, ratio, strict=True)
    )
    return Verdict(ratio[0] >= 1 > ratio[1], words)


STOCHASTIC_STEPS = Entry(
    name="large-steps",
    source="Even, Pesme, Gunasekar, Flammarion 2023, arXiv:2302.08982",
    claim="Large steps improve what stochastic gradient descent finds, and not what gradient descent finds.",
    taken="x = u o u - v o v, 30 unknowns, 20 samples, 3 nonzeros, alpha = 0.1, batches of one, steps from 0.01 on",
    chosen="Gaussian nonzeros; up to 1e6 steps; what has not converged then, or diverged, counts as not converged",
    sizes={
        TINY: {"steps": 5, "trials": 4},
        DEFAULT: {"steps": 17, "trials": 50},
        FULL: {"steps": 33, "trials": 500},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
