"""Weight normalisation: a small l1 norm from a start that is not small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FLOOR = 1e-13
"""An excess below this is round-off of norms of about 1."""


def compute(n: int, m: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """The excess of the l1 norm over the least one, by the ratio of the rates of u and r, from x(0) = 0.25/n."""
    rng, ratio = np.random.default_rng(seed), np.geomspace(0.1, 1e4, 11)
    A = rng.standard_normal((trials, m, n)) / np.sqrt(m)
    truth = np.zeros((trials, n))
    truth[:, : max(1, m // 8)] = 1 / max(1, m // 8)
    y, start = np.einsum("tmn,tn->tm", A, truth), np.full(n, 0.25 / n)
    least = np.array([ff.baselines.basis_pursuit(a, b, nonnegative=True).sum() for a, b in zip(A, y, strict=True)])
    limits = [ff.normalized_limit(A, y, start, kappa).x.sum(axis=-1) for kappa in ratio]
    plain = ff.flow_limit(A, y, np.sqrt(0.25 / n), signed=False, threads=threads).x.sum(axis=-1)
    bound = np.array([ff.theory.normalized_excess_bound(ratio, start, q) for q in least])
    return {"ratio": ratio, "excess": np.array(limits).T - least[:, None], "plain": plain - least, "bound": bound}


def draw(data: Data) -> Figure:
    """Draw the excess of every trial with medians and their intervals, the plain network's, and the bound."""
    from fastflow.gallery.style import OTHER, POINTS, SERIES, THEORY, floored, medians, panel

    figure, axes = panel("Weight normalisation, x(0) = 0.25/n", "ratio of rates (no unit)", "excess l1 norm")
    excess = floored(axes, data["excess"], FLOOR)
    axes.loglog(data["ratio"], excess.T, ".", color=POINTS, markersize=3, alpha=0.4)
    medians(axes, data["ratio"], excess.T, SERIES[0], "median of the limits, 95% interval")
    axes.plot(data["ratio"], data["bound"].max(axis=0), color=THEORY, label="bound")
    axes.axhline(np.median(data["plain"]), color=OTHER, linestyle="--", label="without it, median")
    axes.legend(loc="center right")
    return figure


def check(data: Data) -> Verdict:
    """Compare with the bound, and at the largest ratio with the network that is not normalised."""
    under = bool(np.all(data["excess"] <= data["bound"] + 1e-9))
    share = float(np.max(data["excess"][:, -1] / data["plain"]))
    return Verdict(
        under and share < 0.01,
        f"the excess is {'' if under else 'not '}under the bound everywhere, and at ratio {data['ratio'][-1]:g} "
        f"at most {share:.1e} of that without normalisation",
    )


NORMALIZED = Entry(
    name="weight-normalisation",
    source="Chou, Rauhut, Ward 2023, arXiv:2305.05448",
    claim="With weight normalisation the l1 norm of the limit is nearly least from a start that is not small.",
    taken="x = w o w, w = r u/||u||, and the program that its flow's limit solves",
    chosen="Gaussian measurements, nonnegative truths of sum 1, ratios of rates from 0.1 to 1e4, sizes",
    sizes={
        TINY: {"n": 16, "m": 8, "trials": 2},
        DEFAULT: {"n": 100, "m": 40, "trials": 10},
        FULL: {"n": 200, "m": 80, "trials": 50},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
