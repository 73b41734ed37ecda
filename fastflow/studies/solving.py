"""Solving: trials of a cell, drawn and brought to their ends, by stacks, by runs of a method or by a baseline."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import numpy as np

from fastflow.baselines import Baseline, shortfalls
from fastflow.checks import as_floats
from fastflow.methods import Method, StackedMethod, SystemStack, execute
from fastflow.metrics import relative_errors
from fastflow.networks import Architecture, Network
from fastflow.problems import CompressedSensing
from fastflow.setting import default_network, pose_trials
from fastflow.status import Status
from fastflow.streams import Streams
from fastflow.studies.asked import record_for
from fastflow.studies.ends import Ends, Trained
from fastflow.studies.outcomes import make_outcomes
from fastflow.studies.setup import Setup, problem_key

Tell = Callable[[Status | str, int, str], None]
"""Told how a trial ended, or which outcome it has not got; its number, and why."""


def way_to_ends(setup: Setup, first: int, tell: Tell) -> tuple[int, Callable[[int, int], Ends]]:
    """How many numbers a trial's problem has, 0 where trials share one, and what brings trials to their ends."""
    method = setup.method
    shape = setup.ensemble.system_shape
    if isinstance(method, StackedMethod) and shape is not None and setup.fresh and setup.starts == 1:
        return shape[0] * shape[1], lambda i, j: _run_stack(setup, method, shape, i, j)
    size = setup.problem(first).entries_count if setup.fresh else 0
    if isinstance(method, Method):
        return size, lambda i, j: _run_method(setup, method, i, j)
    return size, lambda i, j: _run_baseline(setup, method, i, j, tell)


def _run_stack(setup: Setup, method: StackedMethod, shape: tuple[int, int], first: int, last: int) -> Ends:
    """By arrays, since making problems of them would cost what a fifth of the work on small ones does."""
    count, (m, n) = last - first, shape
    matrices, values, truths = np.empty((count, m, n)), np.empty((count, m)), np.zeros((count, n))
    draw = Streams(*problem_key(setup.ensemble, setup.seed))
    for i in range(count):
        setup.ensemble.fill(draw(first + i), matrices[i], values[i], truths[i])
    assert setup.network is not None
    assert setup.init is not None
    stack = SystemStack(matrices, values, setup.ensemble.rows_independent)
    ends = method.solve_stack(stack, setup.network, setup.init, setup.seed, np.arange(first, last))
    kept = make_outcomes(
        error=relative_errors(ends.solution, truths, np.arange(count)),
        loss=ends.loss,
        steps=ends.steps,
        seconds=np.full(count, ends.seconds / count),
        status=ends.status,
    )
    return Ends(
        first,
        kept,
        ends.solution,
        truths,
        setup.problem,
        setup.test,
        functools.partial(_architecture_over, setup.network, n),
        functools.partial(_train, setup, method, first, last),
    )


def _run_method(setup: Setup, method: Method, first: int, last: int) -> Ends:
    """By runs of the method; of several starts of a trial the one with the least loss counts, and the steps of all."""
    trained = _train(setup, method, first, last)
    setting, runs, chosen = trained
    trials = last - first
    kept = make_outcomes(
        error=np.full(trials, np.nan) if runs.error is None else runs.error[chosen],
        loss=runs.loss[chosen],
        steps=runs.steps.reshape(trials, setup.starts).sum(axis=1),
        seconds=np.full(trials, runs.seconds / trials),
        status=runs.status[chosen],
    )
    return Ends(
        first,
        kept,
        runs.solution[chosen],
        setting.truths[setting.problem_index[chosen]] if setting.has_truth else None,
        setup.problem,
        setup.test,
        lambda: setting.architecture,
        lambda: trained,
        method.max_steps or 0,
    )


def _train(setup: Setup, method: Method, first: int, last: int) -> Trained:
    """Trials as runs of the method."""
    assert setup.network is not None
    assert setup.init is not None
    problem = [setup.problem(trial) for trial in range(first, last)] if setup.fresh else setup.problem(first)
    trials, starts = last - first, setup.starts
    record = record_for(setup.asked, method)
    setting = pose_trials(problem, setup.network, setup.init, np.arange(first, last), starts, setup.seed, record)
    runs = execute(setting, method)
    loss = runs.loss.reshape(trials, starts)
    best = np.argmin(np.where(np.isnan(loss), np.inf, loss), axis=1)
    return Trained(setting, runs, np.arange(trials) * starts + best)


@functools.lru_cache(64)
def _architecture_over(network: Network, n: int) -> Architecture:
    """The architecture over the unknown of a system, made once for all of one size."""
    return network.architecture(network.pose(CompressedSensing(np.ones((1, n)), np.ones(1))))


def _architecture(setup: Setup, trial: int) -> Architecture:
    """The architecture over the unknown of a trial: of a baseline that of a network that could have its solution."""
    problem = setup.problem(trial)
    network = default_network(problem) if setup.network is None else setup.network
    return network.architecture(network.pose(problem))


def _run_baseline(setup: Setup, baseline: Baseline, first: int, last: int, tell: Tell) -> Ends:
    """By a baseline: what is not finite has diverged, what misses the tolerance that it states is inaccurate."""
    rows, solutions, truths = [], [], []
    for trial in range(first, last):
        problem = setup.problem(trial)
        started = time.perf_counter()
        with shortfalls() as missed:
            found = baseline.solve(problem)
        seconds = time.perf_counter() - started
        solution = as_floats("the solution", found, None, finite=False)
        if _long(solution.shape) != _long(problem.shape):  # a matrix of one row may come as a vector
            raise ValueError(f"the solution must have the shape {problem.shape}, got {solution.shape}")
        solution = solution.reshape(problem.shape)
        error, loss, status = np.nan, np.nan, Status.CONVERGED
        if np.isfinite(solution).all():
            with np.errstate(over="ignore", invalid="ignore"):
                loss = problem.loss(solution)
            if problem.truth is not None:
                truth = np.reshape(problem.truth, (1, -1))
                error = relative_errors(solution.reshape(1, -1), truth, np.zeros(1, int))[0]
        if missed:
            status = Status.INACCURATE
            tell(status, trial, missed[0])
        if not np.isfinite(loss):
            status = Status.DIVERGED
            tell(status, trial, f"the solution of {baseline.kind.__name__}, or its loss, is not finite")
        rows.append((error, loss, 0, seconds, status))
        solutions.append(solution)
        truths.append(None if problem.truth is None else np.ravel(problem.truth))
    known = [truth for truth in truths if truth is not None]
    return Ends(
        first,
        make_outcomes(*zip(*rows, strict=True)),
        np.array(solutions, np.float64),
        np.array(known) if len(known) == len(truths) else None,
        setup.problem,
        setup.test,
        functools.partial(_architecture, setup, first),
        None,
    )


def _long(shape: tuple[int, ...]) -> list[int]:
    """A shape without its axes of length 1."""
    return [size for size in shape if size != 1]
