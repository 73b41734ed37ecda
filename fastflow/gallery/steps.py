"""Which steps gradient descent of a deep linear network converges with, by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS, INIT, MOST = (2, 3, 5, 8), ff.inits.Balanced(0.5), 20_000
REST = (ff.Status.CONVERGED, ff.Status.CRITICAL, ff.Status.STALLED)


def compute(n: int, steps: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """How many runs come to rest, by depth and step over the edge, and whether safe steps lower the loss."""
    rng, share = np.random.default_rng(seed), np.geomspace(0.1, 3, steps)
    inputs = rng.standard_normal((trials, n, 4 * n)) / np.sqrt(4 * n)
    truth = rng.standard_normal((trials, n // 2, n)) / np.sqrt(n // 2)
    problems = [ff.LinearRegression(x, w @ x, samples="columns") for x, w in zip(inputs, truth, strict=True)]
    found, edges, safe, rises = [], [], [], []
    for depth in DEPTHS:
        words = problems, ff.DeepLinear(depth), INIT
        options = {"runs": 1, "seed": seed, "threads": threads}
        calls = [ff.train(*words, ff.GradientDescent(s * ff.theory.edge, int(MOST / s)), **options) for s in share]
        found.append([int(np.isin(runs.status, REST).sum()) for runs in calls])
        edges.append(calls[0].step / share[0])
        record = ff.Record(np.arange(200))
        careful = ff.train(*words, ff.GradientDescent("safe", 199), record=record, **options)
        safe.append(careful.step)
        rises.append(np.diff(careful.history.loss, axis=1).max(axis=1))
    return {
        "share": share,
        "found": np.array(found, dtype=float),  # (depths, steps)
        "trials": np.array(float(trials)),
        "edge": np.array(edges),  # (depths, trials)
        "safe": np.array(safe),
        "rise": np.array(rises),
    }


def draw(data: Data) -> Figure:
    """Draw the share of runs that come to rest against the step, and the median edge and safe step of each depth."""
    from fastflow.gallery.style import SERIES, panel, rates

    figure, axes = panel("Regression from balanced starts", "step size", "share of runs that come to rest")
    for depth, found, edge, safe, series in zip(DEPTHS, data["found"], data["edge"], data["safe"], SERIES, strict=True):
        middle = np.median(edge)
        rates(axes, data["share"] * middle, found, int(data["trials"]), series, f"N = {depth}")
        axes.plot(data["share"] * middle, found / data["trials"], color=series.color, linewidth=0.6)
        axes.axvline(middle, color=series.color, linestyle=series.line, linewidth=1)
        axes.plot(np.median(safe), 0.02, "|", color=series.color, markersize=12, markeredgewidth=2)
    axes.plot([], [], "k", linewidth=1, label="edge of stability at the minimum")
    axes.plot([], [], "k|", markersize=12, markeredgewidth=2, label="safe from the start on")
    axes.set(xscale="log", ylim=(0, 1.05))
    axes.legend(fontsize="small", loc="center left")
    return figure


def check(data: Data) -> Verdict:
    """Whether safe steps lower the loss, and where runs stop to converge."""
    share, rate = data["share"], data["found"] / data["trials"]
    below, beyond = float(rate[:, share < 0.9].min()), float(rate[:, share > 1.1].max())
    falls = bool(np.all(data["rise"] <= 0))
    lower = bool(np.all(np.diff(np.median(data["edge"], axis=1)) < 0))
    part = np.median(data["safe"] / data["edge"], axis=1)
    words = (
        f"with safe steps ({part.min():.1e} to {part.max():.1e} of the edge) the loss {'falls' if falls else 'rises'}; "
        f"below 0.9 of the edge at least {below:.0%} come to rest, beyond 1.1 at most {beyond:.0%}; the edge "
        f"{'falls' if lower else 'does not fall'} with depth"
    )
    return Verdict(falls and below == 1 and beyond < 0.5 and lower, words)


STEPS = Entry(
    name="step-sizes",
    source="Nguegnang, Rauhut, Terstiege 2021, arXiv:2108.02040",
    claim="Gradient descent of deep linear networks converges with steps that are known beforehand, and with larger "
    "ones up to a limit that falls with depth.",
    taken="regression, balanced starts, constant steps, the structure of the bound (constants: ff.theory.safe_step)",
    chosen="n inputs, n/2 outputs, N = 2, 3, 5, 8, Gaussian data, 20,000 steps at the edge and in proportion more of "
    "smaller ones; the limit is seen as the edge of stability at the minimum, and within 0.9 and 1.1 of it nothing "
    "is judged",
    sizes={
        TINY: {"n": 4, "steps": 4, "trials": 3},
        DEFAULT: {"n": 6, "steps": 15, "trials": 20},
        FULL: {"n": 20, "steps": 31, "trials": 100},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
