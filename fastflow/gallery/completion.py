"""Low-rank completion and sensing by depth, beside the least nuclear norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS, START, COUNTS = (1, 2, 3, 4), 1e-3, (0.2, 0.35, 0.5)
KINDS = ("completion", "sensing")


def draw_problem(kind: str, n: int, rank: int, m: int, rng: np.random.Generator) -> ff.problems.Problem:
    """A matrix of norm n of a rank, of which m entries or Gaussian measurements are seen; the loss is their mean."""
    truth = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
    truth *= n / np.linalg.norm(truth)
    if kind == "completion":
        seen = rng.permutation(n * n).reshape(n, n) < m
        dense = np.where(seen, truth, np.nan)
        return ff.MatrixCompletion.from_dense(dense, truth=truth, normalization="mean", warn=False)
    operators = rng.standard_normal((m, n, n)) / n
    values = np.einsum("kij,ij->k", operators, truth)
    return ff.MatrixSensing(operators, values, truth=truth, normalization="mean")


def compute(n: int, rank: int, steps: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """Relative errors by depth and of the least nuclear norm, from few to many observations."""
    rng, data = np.random.default_rng(seed), {"n": np.array(float(n))}
    method, convex = ff.SharedRate(1e-3, steps, tol=1e-6), ff.baselines.NuclearNorm(tol=1e-4)
    for kind in KINDS:
        deep, least = [], []
        for share in COUNTS:
            problems = [draw_problem(kind, n, rank, int(share * n * n), rng) for _ in range(trials)]
            words = {"runs": 1, "seed": seed, "threads": threads}
            runs = [ff.train(problems, ff.DeepLinear(N), ff.inits.Gaussian(START), method, **words) for N in DEPTHS]
            deep.append([one.error for one in runs])
            least.append([ff.metrics.relative_error(convex.solve(one), one.truth) for one in problems])
        data[kind] = np.array(deep)  # (counts, depths, trials)
        data[f"{kind}, convex"] = np.array(least)
    return data


def draw(data: Data) -> Figure:
    """Draw the error by depth and number of observations, and that of the least nuclear norm."""
    from fastflow.gallery.style import SERIES, THEORY, Series, floored, medians, panels

    labels = [(kind, "share of observations m / n^2", "relative error, median and 95% interval") for kind in KINDS]
    figure, axes = panels(*labels)
    for kind, one in zip(KINDS, axes, strict=True):
        one.set(yscale="log")
        for place, (depth, series) in enumerate(zip(DEPTHS, SERIES, strict=True)):
            values = floored(one, data[kind][:, place], 1e-5)
            medians(one, np.array(COUNTS) + 0.006 * (place - 2), values, series, f"N = {depth}")
        values = floored(one, data[f"{kind}, convex"], 1e-5)
        medians(one, np.array(COUNTS) + 0.018, values, Series(THEORY, "_", "-"), "least nuclear norm")
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def check(data: Data) -> Verdict:
    """Compare depths, and both with the nuclear norm, where there are few observations."""
    words, better = [], True
    for kind in KINDS:
        middle = np.median(data[kind][0], axis=-1)
        convex = float(np.median(data[f"{kind}, convex"][0]))
        better = better and bool(middle[0] > middle[1] > middle[2] and middle[2] < convex)
        words.append(f"{kind}: {', '.join(f'{error:.2g}' for error in middle)} and {convex:.2g}")
    share = f"errors for N = 1, 2, 3, 4 and the least nuclear norm from {COUNTS[0]:g} n^2 observations"
    return Verdict(better, f"{share}, {'; '.join(words)}")


COMPLETION = Entry(
    name="matrix-completion",
    source="Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655",
    claim="From few observations deeper factorisations recover low-rank matrices better than two factors do, and "
    "better than the least nuclear norm.",
    taken="||W||_F = n, N = 1 to 4, Gaussian starts of scale 1e-3, mean-square loss to 1e-6, one adaptive rate, "
    "Gaussian measurements with entries N(0, 1)/n; n = 100 and rank 5 for the full size",
    chosen="observations of 0.2, 0.35 and 0.5 n^2 (the source has 2000 and 5000 of 10,000); smaller n and fewer steps",
    sizes={
        TINY: {"n": 12, "rank": 1, "steps": 12_000, "trials": 3},
        DEFAULT: {"n": 20, "rank": 1, "steps": 30_000, "trials": 6},
        FULL: {"n": 100, "rank": 5, "steps": 1_000_000, "trials": 10},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
