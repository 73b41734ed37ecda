"""Autoencoders and regression through a bottleneck: the rank at which gradient flows end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS, PROBLEMS = (2, 3, 5), ("autoencoder", "regression")


def compute(d: int, rank: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """The rank reached and the loss over the least one of that rank, by problem, depth and start."""
    problems = ff.ensembles.Autoencoder(d, 3 * d, d), ff.ensembles.Regression(d, 3 * d, d, noise=0.1)
    networks = {f"N = {depth}": ff.DeepLinear(widths=(d, *[rank] * (depth - 1), d)) for depth in DEPTHS}
    axes = {"ensemble": dict(zip(PROBLEMS, problems, strict=True)), "network": networks}
    options = {"trials": trials, "problem": "per cell", "seed": seed, "outcomes": ["numerical_rank"]}
    study = ff.Study(init=ff.inits.Balanced(0.3), method=ff.GradientFlow(), axes=axes, **options)
    result = study.run(threads=threads)
    firsts = [study.setup(cell).problem(0) for cell in (0, len(DEPTHS))]
    least = [[ff.theory.global_minimum(problem, k).value for k in range(1, rank + 1)] for problem in firsts]
    return {"rank": result["numerical_rank"], "loss": result["loss"], "least": np.array(least)}


def draw(data: Data) -> Figure:
    """Draw which share of the starts came to which rank, with intervals."""
    from fastflow.gallery.style import SERIES, panels, rates

    most, trials = data["least"].shape[1], data["rank"].shape[-1]
    ranks = np.arange(most + 1)
    labels = [(f"{name}, bottleneck {most}", "rank reached", "share of the starts") for name in PROBLEMS]
    figure, both = panels(*labels)
    for axes, found in zip(both, data["rank"], strict=True):
        for i, (depth, series) in enumerate(zip(DEPTHS, SERIES, strict=False)):
            counts = np.sum(found[i] == ranks[:, None], axis=1)
            rates(axes, ranks + 0.15 * (i - 1), counts, trials, series, f"N = {depth}")
        axes.set(xticks=ranks, ylim=(-0.03, 1.03))
    both[0].legend(title=f"{trials} balanced starts each, 95% intervals", loc="center left")
    return figure


def check(data: Data) -> Verdict:
    """Ask whether every start came to the least loss of the rank that it reached, two layers to the full rank."""
    rank, most = data["rank"].astype(int), data["least"].shape[1]
    least = np.take_along_axis(data["least"][:, None], np.maximum(rank, 1).reshape(2, 1, -1) - 1, axis=2)
    off = np.abs(data["loss"] / least.reshape(rank.shape) - 1)
    there = float(np.mean((off < 1e-6) & (rank > 0)))
    full = [float(np.mean(rank[:, i] == most)) for i in range(len(DEPTHS))]
    shares = ", ".join(f"{share:.1%} for N = {depth}" for depth, share in zip(DEPTHS, full, strict=True))
    words = f"{there:.1%} of the starts end at the least loss of their rank; rank {most} is reached by {shares}"
    return Verdict(there > 0.99 and full[0] > 0.99, words)


AUTOENCODERS = Entry(
    name="rank-reached",
    source="Bah, Rauhut, Terstiege, Westdickenberg 2019, arXiv:1910.05505",
    claim="From almost every start the flow ends at the least loss of some rank, of two layers at the global minimum.",
    taken="autoencoders and regression, 3 d samples, bottlenecks r = d/2, balanced starts, N = 2 and 5",
    chosen="N = 3, sizes, flat spectra, noise of 0.1 in the regression, starts of scale 0.3, all inner widths r",
    sizes={
        TINY: {"d": 4, "rank": 2, "trials": 3},
        DEFAULT: {"d": 8, "rank": 4, "trials": 200},
        FULL: {"d": 10, "rank": 5, "trials": 1000},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
