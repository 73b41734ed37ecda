"""Nonnegative recovery from partial Fourier measurements, and the flow as a solver of nonnegative least squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHAS, STEP = np.geomspace(1e-6, 1e-2, 5), 0.2
START, TIMES = 1e-3, np.geomspace(1, 1e5, 16)
"""Of the flow that solves nonnegative least squares."""


def compute(n: int, steps: int, trials: int, seed: int = 1, threads: int | None = None) -> Data:
    """Errors along descent by alpha, and of random least squares what the flow's loss exceeds the least one by."""
    rng, network = np.random.default_rng(seed), ff.DiagonalLinear(2, signed=False)
    truth = np.zeros(n)
    truth[: max(1, n // 200)] = np.abs(rng.standard_normal(max(1, n // 200)))
    operator = ff.operators.PartialFourier(n, rng.choice(n, int(0.881 * n), replace=False))
    problem = ff.CompressedSensing(operator, operator @ truth, truth=truth)
    moments = np.unique(np.geomspace(1, steps, 100).astype(int))
    record, init = ff.Record(moments, error=True), ff.inits.Constant(ff.each(ALPHAS))
    runs = ff.train(problem, network, init, ff.GradientDescent(STEP, steps, tol=0), record=record, threads=threads)

    A, y = rng.standard_normal((trials, 30, 20)) / np.sqrt(30), rng.standard_normal((trials, 30))
    best = np.array([ff.baselines.nonnegative_least_squares(*pair) for pair in zip(A, y, strict=True)])
    least = 0.5 * np.sum((np.einsum("tmn,tn->tm", A, best) - y) ** 2, axis=-1)
    flow = ff.gradient_flow(A, y, START, TIMES, signed=False, threads=threads)
    limit = ff.flow_limit(A, y, START, signed=False, threads=threads).x
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = np.where(best > 0, best * np.log(best / START**2), 0)
    return {
        "step": moments.astype(float),
        "error": runs.history.error,  # (alphas, moments)
        "excess": flow.loss - least[:, None],  # (trials, times)
        "bound": 0.5 * np.sum(entropy - best + START**2, axis=1)[:, None] / TIMES,
        "off": np.abs(limit - best).max(axis=1),
    }


def draw(data: Data) -> Figure:
    """Draw errors along descent, and what is left of the loss along the flow."""
    from fastflow.gallery.style import POINTS, SERIES, THEORY, floored, medians, panels

    figure, (recovery, squares) = panels(
        ("Partial Fourier, descent with step 0.2", "steps", "relative l2 error"),
        ("The flow as a solver of NNLS, 30 x 20", "time t", "loss above the least one"),
    )
    for number, (alpha, error) in enumerate(zip(ALPHAS, data["error"], strict=True)):
        marker, shade = "osv^D"[number], str(0.15 + 0.15 * number)
        recovery.loglog(data["step"], error, marker=marker, markersize=2.5, color=shade, linewidth=0.6)
        recovery.plot([], [], marker, color=shade, label=f"alpha = {alpha:.0e}")
    recovery.legend()
    excess = floored(squares, data["excess"], 1e-12)
    squares.loglog(TIMES, excess.T, ".", color=POINTS, markersize=3, alpha=0.4)
    medians(squares, TIMES, excess.T, SERIES[0], "median, 95% interval")
    squares.plot(TIMES, data["bound"].max(axis=0), color=THEORY, label="bound D(x*, x(0)) / t, largest")
    squares.legend()
    return figure


def check(data: Data) -> Verdict:
    """Whether the error falls with alpha, and the flow's loss to the least one within its bound."""
    last, off = data["error"][:, -1], float(data["off"].max())
    falls = bool(np.all(np.diff(last) > 0))
    under = bool(np.all(data["excess"] <= data["bound"] * (1 + 1e-6)))
    words = (
        f"errors at the end are {last[0]:.1e} to {last[-1]:.1e} and {'fall' if falls else 'do not fall'} with alpha; "
        f"the loss is {'' if under else 'not '}under its bound at all times, limits are off by {off:.1e} from NNLS"
    )
    return Verdict(falls and under and off < 1e-6 and last[0] < 1e-2, words)


NONNEGATIVE = Entry(
    name="nonnegative-fourier",
    source="Chou, Maly, Verdun 2022, arXiv:2207.08437",
    claim="Two equal nonnegative factors from small starts recover sparse nonnegative vectors from partial Fourier "
    "measurements, and their flow solves nonnegative least squares.",
    taken="n = 10,000, 88.1% of the frequencies, n/200 positive entries, alpha 1e-6 to 1e-2, step 0.2, 10,000 steps",
    chosen="n = 1000 by default, the problems of least squares, and the bound of a mirror flow on the excess of the "
    "loss, 1/(2t) sum (x* ln(x*/alpha^2) - x* + alpha^2)",
    sizes={
        TINY: {"n": 200, "steps": 1000, "trials": 2},
        DEFAULT: {"n": 1000, "steps": 10_000, "trials": 20},
        FULL: {"n": 10_000, "steps": 10_000, "trials": 100},
    },
    counted="steps",
    compute=compute,
    draw=draw,
    check=check,
)
