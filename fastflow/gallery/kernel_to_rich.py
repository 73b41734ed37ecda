"""From the kernel regime to the rich one: the size of the start, and how unequal its factors are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATIOS = (1, 10, 100)
"""Starts of the one factor over those of the other."""


def start(n: int, ratio: float, size: float) -> ff.inits.Explicit:
    """Factors ``u_1 = v_1`` and ``u_2 = v_2 = u_1 / ratio`` of which the mean square is ``size^2``."""
    one = size * ratio * np.sqrt(2 / (1 + ratio**2))
    return ff.inits.Explicit([np.full(n, one), np.full(n, one / ratio)] * 2)


def compute(n: int, m: int, sizes: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """The l1 and l2 norms of limits over the least ones, by the ratio and the size of the starts."""
    size = np.geomspace(1e-3, 1e2, sizes)
    starts = {f"{ratio}, {i}": start(n, ratio, size[i]) for ratio in RATIOS for i in range(sizes)}
    methods = {"limit": ff.FlowLimit(), "l1": ff.baselines.BasisPursuit(), "l2": ff.baselines.LeastNorm()}
    words = ff.ensembles.Sparse(n, m, max(1, m // 20), coefficients="sign"), ff.DiagonalLinear(2, identical=False)
    options = {"trials": trials, "seed": seed, "outcomes": ["l1_norm", "l2_norm"]}
    result = ff.Study(*words, axes={"init": starts, "method": methods}, **options).run(threads=threads)
    shape = len(RATIOS), sizes, 3, trials
    l1, l2 = (result[name].astype(np.float64).reshape(shape) for name in ("l1_norm", "l2_norm"))
    bound = ff.theory.l1_excess_bound(2, size[:, None], n, l1[0, :, 1]) / l1[0, :, 1]
    return {"size": size, "l1": l1[:, :, 0] / l1[:, :, 1] - 1, "l2": l2[:, :, 0] / l2[:, :, 2] - 1, "bound": bound}


def draw(data: Data) -> Figure:
    """Draw the excess of both norms by the geometric mean of the starts, and the bound where the factors are equal."""
    from fastflow.gallery.style import SERIES, THEORY, floored, medians, panels

    x = "geometric mean of the starts (no unit)"
    figure, both = panels(("Rich: least l1 norm", x, "excess l1 norm / least"), ("Kernel: least l2 norm", x, ""))
    both[1].set_ylabel("excess l2 norm / least")
    for axes, name in zip(both, ("l1", "l2"), strict=True):
        axes.set(xscale="log", yscale="log")
        for ratio, excess, series in zip(RATIOS, floored(axes, data[name], 1e-7), SERIES, strict=False):
            geometric = data["size"] * np.sqrt(2 * ratio / (1 + ratio**2))
            medians(axes, geometric, excess, series, f"factors 1 : {ratio}")
    both[0].plot(data["size"], data["bound"].max(axis=1), color=THEORY, label="bound, factors 1 : 1")
    both[0].legend(title="medians, 95% intervals")
    return figure


def check(data: Data) -> Verdict:
    """Compare the two ends with the two programs, unequal starts with equal ones of the same mean square."""
    l1, l2 = data["l1"][:, 0].max(), data["l2"][:, -1].max()
    apart = max(float(np.max(np.abs(data[name] - data[name][:1]))) for name in ("l1", "l2"))
    under = bool(np.all(data["l1"][0] <= data["bound"] + 1e-7))
    words = (
        f"l1 norms from the smallest starts exceed the least by at most {l1:.1e}, {'' if under else 'not '}all under "
        f"the bound, l2 norms from the largest by {l2:.1e}; unequal starts differ from equal ones by {apart:.1e}"
    )
    return Verdict(bool(l1 < 0.1 and l2 < 0.1 and apart < 1e-5 and under), words)


KERNEL_TO_RICH = Entry(
    name="kernel-to-rich",
    source="Woodworth et al. 2020, arXiv:2002.09277; Azulay et al. 2021, arXiv:2102.09769",
    claim="Small starts lead to the least l1 norm, large ones to the least l2 norm, and unequal factors to where equal "
    "ones of the same mean square do, so that unequal ones must be smaller to be rich.",
    taken="x = u_1 o u_2 - v_1 o v_2, d = 1000 and 100 Gaussian measurements, 5 nonzeros",
    chosen="the limits themselves instead of 10^7 epochs, ratios 1, 10, 100 of the factors, no noise, nonzeros +-1",
    sizes={
        TINY: {"n": 20, "m": 10, "sizes": 3, "trials": 2},
        DEFAULT: {"n": 300, "m": 60, "sizes": 11, "trials": 10},
        FULL: {"n": 1000, "m": 100, "sizes": 21, "trials": 20},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
