"""The limit of the flow beside basis pursuit, and beside gradient descent that goes there."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import statistics
import time
from typing import Any, NamedTuple

import numpy as np

import fastflow as ff
from benchmarks.report import Table, number
from benchmarks.tasks import Array


class Setting(NamedTuple):
    """Sparse recovery with a Gaussian matrix of its own for each trial, and what is asked of the ratios."""

    n: int
    m: int
    sparsity: int
    depth: int
    alpha: float
    trials: int
    times_pursuit: str = ""


SETTINGS = (
    Setting(128, 48, 12, 2, 1e-6, 2000, "10"),
    Setting(128, 48, 12, 3, 1e-4, 2000),
    Setting(256, 128, 30, 2, 1e-6, 200, "12"),
)
DESCENT_TRIALS, DESCENT_STEPS, DISTANCES = 4, 2_000_000, (1e-2, 1e-6)
PURSUIT_SECONDS = 4.0


def draw(setting: Setting, trials: int) -> tuple[Array, Array]:
    """Matrices (trials, m, n) and values (trials, m); trial i is the same whatever their number."""
    matrices, values = [], []
    for trial in range(trials):
        rng = np.random.default_rng([setting.n, trial])
        matrix = rng.standard_normal((setting.m, setting.n)) / np.sqrt(setting.m)
        support = rng.choice(setting.n, setting.sparsity, replace=False)
        matrices.append(matrix)
        values.append(matrix[:, support] @ rng.standard_normal(setting.sparsity))
    return np.array(matrices), np.array(values)


def pursue(matrix: Array, values: Array) -> Array:
    """The solution of least l1 norm by SciPy's HiGHS, as a user would call it."""
    from scipy.optimize import linprog

    n = matrix.shape[1]
    found = linprog(np.ones(2 * n), A_eq=np.hstack([matrix, -matrix]), b_eq=values, method="highs")
    return np.asarray(found.x[:n] - found.x[n:])


def _pursuit_rate(setting: Setting, seconds: float) -> float:
    """Basis pursuits a second in one process."""
    matrices, values = draw(setting, 32)
    pursue(matrices[0], values[0])
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        pursue(matrices[count % 32], values[count % 32])
        count += 1
    return count / (time.perf_counter() - started)


def _descent_seconds(setting: Setting, limits: Array, threads: int) -> list[tuple[float, bool]]:
    """Seconds a trial for gradient descent at half the stability edge to come within each of `DISTANCES` of the limit.

    And whether all trials did; where one did not in `DESCENT_STEPS`, the time of these steps.
    """
    matrices, values = draw(setting, len(limits))
    problems = [ff.CompressedSensing(*data, truth=limit) for *data, limit in zip(matrices, values, limits, strict=True)]
    record = ff.Record(
        500,
        loss=False,
        gradient_norm=False,
        l1_norm=False,
        l2_norm=False,
        support_size=False,
        support_recovery=False,
        effective_alpha=False,
    )
    method = ff.GradientDescent(max_steps=DESCENT_STEPS, tol=0)
    network, init = ff.DiagonalLinear(setting.depth), ff.inits.Constant(setting.alpha)
    ff.train(problems, network, init, ff.GradientDescent(max_steps=2, tol=0), threads=threads, progress=False)
    runs = ff.train(problems, network, init, method, threads=threads, record=record, progress=False)
    assert runs.history is not None
    assert runs.history.error is not None
    assert runs.history.steps is not None
    found = []
    for distance in DISTANCES:
        near = runs.history.error <= distance
        reached = bool(near.any(axis=1).all())
        steps = np.where(near.any(axis=1), runs.history.steps[near.argmax(axis=1)], DESCENT_STEPS)
        found.append((float(np.mean(steps)) / DESCENT_STEPS * runs.seconds / len(problems), reached))
    return found


def flow_limit(threads: int, repetitions: int, quick: bool) -> Table:
    """Trials a second, in one run on the same cores: two processes of HiGHS, two threads of fastflow."""
    header = [
        "n, m, s",
        "depth",
        "alpha",
        "fastflow, trials/s",
        "Newton steps",
        "HiGHS, trials/s",
        "times HiGHS",
        "goal",
    ]
    for distance in DISTANCES:
        header += [f"descent to {distance:g}, s a trial", "times it"]
    header += ["goal"]
    table = Table("The limit of the flow, one measurement matrix for each trial", header)
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(threads, context) as pool:
        for setting in SETTINGS[:1] if quick else SETTINGS:
            matrices, values = draw(setting, 50 if quick else setting.trials)
            ff.flow_limit(matrices[:2], values[:2], setting.alpha, setting.depth, threads=threads)
            rates, pursuits, result = [], [], None
            for _ in range(repetitions):
                started = time.perf_counter()
                result = ff.flow_limit(matrices, values, setting.alpha, setting.depth, threads=threads)
                rates.append(len(matrices) / (time.perf_counter() - started))
                seconds = [PURSUIT_SECONDS / (20 if quick else 1)] * threads
                pursuits.append(sum(pool.map(_pursuit_rate, [setting] * threads, seconds)))
            assert result is not None
            if not result.converged.all():
                raise RuntimeError(f"{np.sum(~result.converged)} limits were not found at {setting}")
            ratio = statistics.median(ours / theirs for ours, theirs in zip(rates, pursuits, strict=True))
            rate = statistics.median(rates)
            descents = [] if quick else _descent_seconds(setting, result.x[:DESCENT_TRIALS], threads)
            cells: list[Any] = [f"{setting.n}, {setting.m}, {setting.sparsity}", setting.depth, f"{setting.alpha:g}"]
            cells += [number(rate), f"{np.mean(result.steps):.1f}", number(statistics.median(pursuits))]
            cells += [number(ratio, 2), setting.times_pursuit]
            for seconds_a_trial, reached in descents or [(float("nan"), True)] * len(DISTANCES):
                more = "" if reached else "> "
                cells += [more + number(seconds_a_trial), more + number(seconds_a_trial * rate, 2)]
            table.rows.append([*map(str, cells), "1000"])
    table.remarks = (
        f"Medians; HiGHS: `scipy.optimize.linprog` in {threads} processes. Descent: fastflow's own, {DESCENT_TRIALS} "
        f"trials on {threads} threads at half the stability edge, until x is so near the limit, relative "
        f"to its norm; > where not all came there in {DESCENT_STEPS:,} steps, whose time is then given."
    )
    return table
