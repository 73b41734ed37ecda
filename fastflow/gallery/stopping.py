"""Early stopping against the lasso, and the average of the iterates against the lasso path."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHA, NOISE, STEP, END = 1e-12, 0.1, 0.02, 200.0


def compute(n: int, m: int, sparsity: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """Errors along descent, of its average, and along the lasso path, and how far the average is from the path."""
    rng, steps = np.random.default_rng(seed), int(END / STEP)
    A, truth = rng.choice([-1.0, 1.0], (trials, m, n)) / np.sqrt(m), np.zeros((trials, n))
    truth[:, :sparsity] = rng.choice([-1.0, 1.0], (trials, sparsity))
    y = np.einsum("tmn,tn->tm", A, truth) + NOISE * rng.standard_normal((trials, m))
    problems = [ff.CompressedSensing(a, b, truth=x) for a, b, x in zip(A, y, truth, strict=True)]
    moments = np.arange(0, steps + 1, 20)
    record = ff.Record(moments, error=True, product=True, average=True, average_error=True)
    words = ff.DiagonalLinear(2), ff.inits.Constant(ALPHA), ff.GradientDescent(STEP, steps, tol=0)
    found = ff.train(problems, *words, runs=1, threads=threads, record=record).history
    time = STEP * moments.astype(np.float64)
    seen = np.arange(len(time) // 8, len(time), len(time) // 40)
    path = [ff.baselines.lasso_path(a, b, np.log(1 / ALPHA) / time[seen]) for a, b in zip(A, y, strict=True)]
    lasso, size = np.array([one.solutions for one in path]), np.linalg.norm(truth, axis=1)[:, None]
    return {
        "time": time,
        "error": found.error,  # (trials, moments)
        "average_error": found.average_error,
        "seen": time[seen],
        "lasso_error": np.linalg.norm(lasso - truth[:, None], axis=2) / size,
        "average_off": np.linalg.norm(found.average[:, seen] - lasso, axis=2) / size,
        "iterate_off": np.linalg.norm(found.product[:, seen] - lasso, axis=2) / size,
    }


def draw(data: Data) -> Figure:
    """Draw errors in time, and distances from the lasso with the penalty that belongs to each time."""
    from fastflow.gallery.style import SERIES, floored, medians, panels

    figure, (error, distance) = panels(
        ("Errors, medians over trials", "time t; penalty = log(1/alpha) / t", "relative l2 error"),
        ("Distance from the lasso with that penalty", "time t", "relative l2 distance, 95% interval"),
    )
    for name, label, series in zip(("error", "average_error"), ("descent", "its average"), SERIES, strict=False):
        low, middle, high = np.quantile(data[name], (0.1, 0.5, 0.9), axis=0)
        error.fill_between(data["time"], low, high, color=series.color, alpha=0.2, linewidth=0)
        error.plot(data["time"], middle, series.line, color=series.color, label=label)
    medians(error, data["seen"], data["lasso_error"].T, SERIES[3], "lasso")
    error.set(ylim=(0, 1.05))
    error.legend(title="bands: 10 to 90%, bars: 95% intervals")
    distance.set(yscale="log")
    for name, label, series in zip(("iterate_off", "average_off"), ("descent", "its average"), SERIES, strict=False):
        medians(distance, data["seen"], floored(distance, data[name].T, 1e-3), series, label)
    distance.legend()
    return figure


def check(data: Data) -> Verdict:
    """Compare the best errors, and the distances of average and iterate from the lasso path."""
    best, lasso = np.median(data["error"].min(axis=1)), np.median(data["lasso_error"].min(axis=1))
    last = np.median(data["error"][:, -1])
    average, iterate = (np.median(data[name], axis=0) for name in ("average_off", "iterate_off"))
    words = (
        f"the best error of descent is {best:.3f}, of the lasso {lasso:.3f}, at the end {last:.3f}; the average is "
        f"within {average.max():.3f} of the lasso path at all times, the iterate within {iterate.max():.3f}"
    )
    return Verdict(bool(best < lasso and best < last and average.max() < 0.1 * iterate.max()), words)


STOPPING = Entry(
    name="early-stopping",
    source="Vaskevicius, Kanade, Rebeschini 2019, arXiv:1909.05122; Berthier 2025, arXiv:2509.18766, for the average",
    claim="Descent of a diagonal network that is stopped in time errs less than the best lasso, and the average of "
    "its iterates follows the lasso path, with penalty log(1/alpha) / t at time t.",
    taken="x = u^2 - v^2, alpha = 1e-12, Rademacher designs, +-1 entries, noise; the full size has 25 of 10,000 "
    "entries and 500 measurements",
    chosen="columns of norm 1, noise 0.1 a measurement, step 0.02; the average is that of every 20th iterate",
    sizes={
        TINY: {"n": 40, "m": 20, "sparsity": 2, "trials": 3},
        DEFAULT: {"n": 500, "m": 120, "sparsity": 6, "trials": 10},
        FULL: {"n": 10_000, "m": 500, "sparsity": 25, "trials": 10},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
