"""Studies: the default phase diagram beside basis pursuit and JAX, and what the layer and executors cost."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

import numpy as np

import fastflow as ff
from benchmarks import tasks, timing
from benchmarks.limits import pursue
from benchmarks.report import Table, number
from benchmarks.tasks import Array
from fastflow.streams import stream
from fastflow.studies import tasks as solving
from fastflow.studies.ends import Trial

N, ALPHA, DEPTH = 128, 1e-6, 2
PURSUITS, DESCENTS, DESCENT_STEPS, DISTANCE = 120, 6, 2_000_000, 1e-3
EMPTY_TASKS = 500


@dataclasses.dataclass(frozen=True)
class Nothing:
    """A baseline that does nothing."""

    def solve(self, problem: Any) -> Array:
        return np.zeros(problem.shape)


def largest(trial: Trial) -> float:
    """A cheap outcome of a user: the largest entry."""
    return float(trial.solution.max())


def least(trial: Trial) -> float:
    """A cheap outcome of a user: the least entry."""
    return float(trial.solution.min())


def mean(trial: Trial) -> float:
    """A cheap outcome of a user: the mean of the entries."""
    return float(trial.solution.mean())


def off_by(trial: Trial) -> float:
    """A cheap outcome of a user: the largest error of an entry."""
    assert trial.truth is not None
    return float(np.abs(trial.solution - trial.truth).max())


def digits(trial: Trial) -> float:
    """A cheap outcome of a user: how many digits are right."""
    return -float(np.log10(trial.error))


def place(trial: Trial) -> int:
    """A cheap outcome of a user: where the largest entry is."""
    return int(trial.solution.argmax())


OF_USERS = (largest, least, mean, off_by, digits, place)
TEN: tuple[Any, ...] = ("l1_norm", "l2_norm", "support_size", "support_recovery", *OF_USERS)
"""Ten cheap outcomes, six of them functions that are called trial by trial."""


def default_map(trials: int = 50, values: int = 31, outcomes: Sequence[Any] = ()) -> ff.Study:
    """The study of ``fastflow phase``, or one of fewer values over the same range."""
    whole = np.arange(1, 32) * (N // 32)
    chosen = whole[np.unique(np.linspace(0, 30, values).astype(int))]
    words = (ff.ensembles.Sparse(N), ff.DiagonalLinear(DEPTH), ff.inits.Constant(ALPHA), ff.FlowLimit())
    asked = [ff.Outcome(one, 1, shape=(), dtype="float64") if callable(one) else one for one in outcomes]
    return ff.Study(*words, axes={"m": chosen, "sparsity": chosen // 2}, trials=trials, outcomes=asked)


def _sampled(study: ff.Study, count: int) -> list[int]:
    cells: list[int] = stream(0, "benchmark").choice(study.cells, count, replace=False).tolist()
    return cells


def _pursuit_seconds(cells: list[int]) -> float:
    """Seconds of HiGHS for one trial of each cell, in one process."""
    study = default_map()
    problems: list[Any] = [study.setup(cell).problem(0) for cell in cells]
    pursue(problems[0].matrix, problems[0].values)
    started = time.perf_counter()
    for problem in problems:
        pursue(problem.matrix, problem.values)
    return time.perf_counter() - started


def _wall(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _shares(study: ff.Study) -> tuple[float, float, float, float]:
    """CPU seconds of a study in one thread: of all, of drawing problems, of finding limits, of what is asked for."""
    spent = {"draw": 0.0, "solve": 0.0, "ask": 0.0}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = time.thread_time()
            result = function(*arguments)
            spent[name] += time.thread_time() - started
            return result

        return call

    started = time.process_time()
    with (
        mock.patch.object(ff.FlowLimit, "solve_stack", timed("solve", ff.FlowLimit.solve_stack)),
        mock.patch.object(ff.ensembles.Sparse, "fill", timed("draw", ff.ensembles.Sparse.fill)),
        mock.patch.object(solving, "_asked_of", timed("ask", solving._asked_of)),
    ):
        study.run(threads=1, progress=False)
    return time.process_time() - started, spent["draw"], spent["solve"], spent["ask"]


def _descent_seconds(study: ff.Study, threads: int) -> list[float]:
    """For sampled cells, seconds a trial of JAX's gradient descent to `DISTANCE` of the limit, by its time per step.

    Steps are counted by fastflow's own descent at half the stability edge; where they do not suffice they count as they
    are, so that the ratio is a lower bound.
    """
    seconds = []
    for cell in _sampled(study, DESCENTS):
        setup = study.setup(cell)
        problems: list[Any] = [setup.problem(trial) for trial in range(threads)]
        limits = ff.train(problems, setup.network, setup.init, setup.method, threads=threads, progress=False).solution
        aimed = [ff.CompressedSensing(p.matrix, p.values, truth=x) for p, x in zip(problems, limits, strict=True)]
        record = ff.Record(np.arange(0, DESCENT_STEPS + 1, 1000), loss=False, gradient_norm=False)
        method = ff.GradientDescent(max_steps=DESCENT_STEPS, tol=0)
        runs = ff.train(aimed, setup.network, setup.init, method, threads=threads, record=record, progress=False)
        assert runs.history is not None
        assert runs.history.error is not None
        near = runs.history.error <= DISTANCE
        steps = np.where(near.any(axis=1), runs.history.steps[near.argmax(axis=1)], DESCENT_STEPS)
        ensemble: Any = setup.ensemble
        task = tasks.diagonal(N, ensemble.measurements, 16)
        peer = importlib.import_module("benchmarks.peer_jax")
        ways = [peer.plain_diagonal(task, threads), *peer.tuned_diagonal(task, threads)]
        counts = [timing.calibrate(way.advance, 0.3) for way in ways]
        each = min(timing.seconds_of(way.advance, k) / k for way, k in zip(ways, counts, strict=True))
        seconds.append(float(np.mean(steps)) * each / 16)
    return seconds


@contextlib.contextmanager
def _executors(threads: int) -> Iterator[dict[str, Any]]:
    """Every executor that is installed, with so many processes."""
    with contextlib.ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        pool = stack.enter_context(concurrent.futures.ProcessPoolExecutor(threads, context))
        found: dict[str, Any] = {"threads": None, "process pool": pool}
        if importlib.util.find_spec("loky"):
            import loky

            found["loky"] = loky.get_reusable_executor(max_workers=threads)
            stack.callback(found["loky"].shutdown, kill_workers=True)
        if importlib.util.find_spec("distributed"):
            from distributed import Client, LocalCluster

            options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
            cluster = stack.enter_context(LocalCluster(threads, **options))
            found["dask"] = stack.enter_context(Client(cluster))
        yield found


def _empty_rate(executor: Any, threads: int) -> float:
    """Tasks a second through the driver, of one trial that does nothing each."""
    ensemble = ff.ensembles.Sparse(n=2, m=1, sparsity=1)
    study = ff.Study(
        ensemble, method=Nothing(), axes={"noise": [float(i) for i in range(10)]}, trials=EMPTY_TASKS // 10
    )
    own: dict[str, Any] = {} if executor is not None else {"threads": threads}
    return EMPTY_TASKS / _wall(lambda: study.run(executor, progress=False, task_seconds=1e-12, **own))


def studies(threads: int, repetitions: int, quick: bool) -> Table:
    """The default map and its overheads, all in one run on the same cores."""
    table = Table(f"Studies: the phase diagram of n = {N}, 31 x 31 cells, 50 trials", ["what", "measured", "goal"])

    def add(what: str, measured: str, goal: str = "") -> None:
        table.rows.append([what, measured, goal])
        print(f"{what}: {measured} ({goal})", flush=True)

    whole, part = default_map(2 if quick else 50), default_map(5 if quick else 50, 5 if quick else 9)
    part.run(threads=threads, progress=False)
    walls, pursuits = [], []
    with concurrent.futures.ProcessPoolExecutor(threads, multiprocessing.get_context("spawn")) as pool:
        for _ in range(1 if quick else max(1, repetitions // 2)):
            walls.append(_wall(lambda: whole.run(threads=threads, progress=False)) * 50 / whole.trials)
            cells = _sampled(whole, 12 if quick else PURSUITS)
            spent = sum(pool.map(_pursuit_seconds, [cells[i::threads] for i in range(threads)]))
            pursuits.append(spent / len(cells) * whole.cells * 50 / threads)
    wall = statistics.median(walls)
    add(f"seconds, {threads} threads, kernels compiled", number(wall), "30")
    add("trials a second", number(whole.cells * 50 / wall, 4))
    add(f"SciPy's HiGHS, seconds in {threads} processes (sampled cells)", number(statistics.median(pursuits)))
    ratios = [p / w for p, w in zip(pursuits, walls, strict=True)]
    add("times HiGHS", number(statistics.median(ratios), 2), "8")
    if importlib.util.find_spec("jax") and not quick:
        seconds = _descent_seconds(whole, threads)
        ratio = statistics.mean(seconds) * whole.cells * 50 / wall
        add("times gradient descent in JAX (sampled cells, lower bound)", number(ratio), "1000")
    measured = [_shares(part) for _ in range(repetitions)]
    layer = statistics.median((whole - draw - solve) / solve for whole, draw, solve, _ in measured)
    add("the layer, all but drawing and limits: share of the time of the limits (CPU)", f"{layer:.1%}", "5%")
    drawing = statistics.median(draw / solve for _, draw, solve, _ in measured)
    add("drawing problems: share of the time of the limits (CPU)", f"{drawing:.1%}")
    asking = default_map(part.trials, 5 if quick else 9, TEN)
    ten = statistics.median(ask / solve for _, _, solve, ask in (_shares(asking) for _ in range(repetitions)))
    add("ten cheap outcomes: share of the time of the limits (CPU)", f"{ten:.1%}", "10%")
    with _executors(threads) as executors:
        for name, executor in executors.items():
            _empty_rate(executor, threads)  # starts the workers
            rate = statistics.median(_empty_rate(executor, threads) for _ in range(1 if quick else 3))
            add(f"empty tasks a second, {name}", number(rate, 3))
        if "dask" in executors:
            shares = []
            part.run(executors["dask"], progress=False)
            for _ in range(repetitions):
                plain = _wall(lambda: part.run(threads=threads, progress=False))
                shares.append(_wall(lambda: part.run(executors["dask"], progress=False)) / plain - 1)
            add("dask with worker processes beside threads, more time", f"{statistics.median(shares):.1%}", "15%")
    table.remarks = (
        f"Medians. HiGHS: `scipy.optimize.linprog` for one trial of {PURSUITS} cells drawn at random, extrapolated. "
        f"JAX: for {DESCENTS} such cells, its time per step times the steps to within {DISTANCE:g} of the limit, "
        f"counted up to {DESCENT_STEPS} (so this is a lower bound), extrapolated. Empty tasks go one by one through "
        "the driver."
    )
    return table
