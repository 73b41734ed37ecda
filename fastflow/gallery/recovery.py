"""Sparse recovery by the flow of a diagonal network: measurements against sparsity, and the excess l1 norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS, START = (1, 2, 3), 1e-6
ALPHAS = np.geomspace(1e-6, 1e-1, 6)


def compute(n: int, cells: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """Rates of recovery by depth, measurements and sparsity, and the excess of the l1 norm by the start alpha."""
    networks = {f"L = {depth}": ff.DiagonalLinear(depth) for depth in DEPTHS}
    m, sparsity = np.linspace(2, n, cells).astype(int), np.linspace(1, 0.3 * n, 1 + cells // 4).astype(int)
    result = ff.Study(
        ff.ensembles.Sparse(n),
        init=ff.inits.Constant(START),
        method=ff.FlowLimit(),
        axes={"network": networks, "sparsity": sparsity.tolist(), "m": m.tolist()},
        trials=trials,
        seed=seed,
    ).run(threads=threads)
    crossing = result.boundary(along="m")

    rng, few, count = np.random.default_rng(seed), max(1, n // 20), 2 * trials
    A, truth = rng.standard_normal((count, 2 * n // 5, n)) / np.sqrt(2 * n // 5), np.zeros((count, n))
    truth[:, :few] = rng.standard_normal((count, few))
    y = np.einsum("tmn,tn->tm", A, truth)
    least = np.array([np.abs(ff.baselines.basis_pursuit(*pair)).sum() for pair in zip(A, y, strict=True)])
    norms = [[np.abs(ff.flow_limit(A, y, a, L, threads=threads).x).sum(-1) for a in ALPHAS] for L in DEPTHS[1:]]
    bound = [[ff.theory.l1_excess_bound(L, a, n, least) for a in ALPHAS] for L in DEPTHS[1:]]
    return {
        "sparsity": sparsity.astype(float),
        "m": m.astype(float),
        "rates": result.rates,
        "crossing": np.array([crossing.value, crossing.low, crossing.high]),  # (3, depths, sparsities)
        "predicted": np.asarray(ff.theory.l1_statistical_dimension(sparsity, n)),
        "excess": np.array(norms) - least,  # (depths, alphas, trials)
        "bound": np.array(bound),
    }


def draw(data: Data) -> Figure:
    """Draw the measurements at which half of the trials recover, and the excess of the l1 norm with its bound."""
    from fastflow.gallery.style import SERIES, THEORY, floored, medians, panels

    figure, (edge, norm) = panels(
        (f"Recovery from alpha = {START:g}, n = {data['m'][-1]:.0f}", "nonzeros s", "measurements m at rate 1/2"),
        (f"n/20 nonzeros, m = {2 * data['m'][-1] // 5:.0f}", "start alpha (no unit)", "excess l1 norm"),
    )
    for depth, (value, low, high), series in zip(DEPTHS, data["crossing"].swapaxes(0, 1), SERIES, strict=False):
        last = data["m"][-1]
        there, top = np.minimum(value, last), np.minimum(high, last)
        bars, style = (there - low, top - there), {"color": series.color, "markersize": 4.0}
        edge.errorbar(data["sparsity"], there, bars, fmt=series.marker, capsize=2, label=f"L = {depth}", **style)
    edge.plot(data["sparsity"], data["predicted"], color=THEORY, label="statistical dimension")
    edge.legend(loc="best")
    for depth, excess, bound, series in zip(DEPTHS[1:], data["excess"], data["bound"], SERIES[1:], strict=False):
        norm.loglog(ALPHAS, bound.max(axis=-1), color=series.color, linestyle=series.line, label=f"bound, L = {depth}")
        medians(norm, ALPHAS, floored(norm, excess, 1e-10), series, f"median, L = {depth}")
    norm.legend()
    return figure


def check(data: Data) -> Verdict:
    """Compare crossings with the statistical dimension, and every trial's excess with its bound."""
    under = bool(np.all(data["excess"] <= data["bound"] + 1e-9))
    late, low, high = data["crossing"][:, 1:] - data["predicted"]
    plain = float(np.max(data["rates"][0][:, :-1]))
    n = data["m"][-1]
    near = bool(np.all(low <= 0.1 * n) and np.all(high >= -0.1 * n))
    words = (
        f"L = 2, 3 recover {late.min():+.1f} to {late.max():+.1f} measurements after the statistical dimension (n = "
        f"{n:.0f}), L = 1 in at most {plain:.0%} with m < n; the excess is {'' if under else 'not '}under its bound"
    )
    return Verdict(under and near and plain == 0, words)


RECOVERY = Entry(
    name="sparse-recovery",
    source="Chou, Maly, Rauhut 2021, arXiv:2112.11027",
    claim="Two or more layers recover sparse vectors from about as few measurements as basis pursuit, with an l1 "
    "norm that exceeds the least one by no more than a bound; one layer does not.",
    taken="x = u^L - v^L, L = 1, 2, 3, Gaussian measurements, alpha = 1e-6, and the bound of the excess",
    chosen="the flow's limit instead of long descent; sizes; about is that the 95% interval meets the statistical "
    "dimension within 0.1 n",
    sizes={
        TINY: {"n": 20, "cells": 5, "trials": 4},
        DEFAULT: {"n": 100, "cells": 26, "trials": 20},
        FULL: {"n": 200, "cells": 51, "trials": 100},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
