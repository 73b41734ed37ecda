"""Tasks: some trials of some cells, from random numbers to outcomes, in one thread; what executors are sent.

What a trial comes to depends on its own setup and number alone: not on the task, its company, the order or the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastflow.baselines import Baseline
from fastflow.methods import Method, StackedMethod, SystemStack, execute
from fastflow.metrics import relative_errors
from fastflow.problems import Problem
from fastflow.setting import pose_trials
from fastflow.status import Status
from fastflow.streams import Streams
from fastflow.studies.outcomes import Outcomes, joined, make_outcomes
from fastflow.studies.setup import Setup, problem_key
from fastflow.threads import one_blas_thread, stopped_by

STACK_BYTES = 2**24
"""Problems are drawn into memory by stacks of this size."""

NUMBER_BYTES = 8
"""Bytes of an entry of what is drawn."""


class Piece(NamedTuple):
    """The trials first to last, without the last, of a cell, whose place is in words in ``where``."""

    cell: int
    setup: Setup
    where: str
    first: int
    last: int


class Finished(NamedTuple):
    """The outcomes of a piece, of which ``first`` is the first trial."""

    cell: int
    first: int
    outcomes: Outcomes


class Report(NamedTuple):
    """What a task hands back: outcomes, and the seconds that they took it."""

    finished: list[Finished]
    seconds: float


class TrialError(Exception):
    """A trial raised an exception, which this one says the place of."""


def run_task(pieces: Sequence[Piece], asked_to_stop: Callable[[], bool] | None = None) -> Report:
    """Compute the pieces, one after the other; if asked to stop, those that are done by then.

    Raises
    ------
    TrialError
        when one of them raises
    """
    finished: list[Finished] = []
    started = time.perf_counter()
    with one_blas_thread(), stopped_by(asked_to_stop or _never):
        for piece in pieces:
            if asked_to_stop is not None and asked_to_stop():
                break
            try:
                finished.append(Finished(piece.cell, piece.first, run_piece(piece.setup, piece.first, piece.last)))
            except KeyboardInterrupt:
                if asked_to_stop is not None and asked_to_stop():
                    break
                raise
            except Exception as error:
                span = f"trial {piece.first}" + f" to {piece.last - 1}" * (piece.last - piece.first > 1)
                raise TrialError(f"{piece.where}, {span}: {type(error).__name__}: {error}") from error
    return Report(finished, time.perf_counter() - started)


def _never() -> bool:
    return False


def run_piece(setup: Setup, first: int, last: int) -> Outcomes:
    """The outcomes of the trials first to last of a cell, by stacks of problems that fit the memory."""
    size, run = _way(setup, first)
    stack = max(1, STACK_BYTES // (NUMBER_BYTES * size)) if size else last - first
    return joined([run(i, min(i + stack, last)) for i in range(first, last, stack)])


def _way(setup: Setup, first: int) -> tuple[int, Callable[[int, int], Outcomes]]:
    """How many numbers a trial's problem has, 0 where trials share one, and what gives the outcomes of trials."""
    method = setup.method
    shape = setup.ensemble.system_shape
    if isinstance(method, StackedMethod) and shape is not None and setup.fresh and setup.starts == 1:
        return shape[0] * shape[1], lambda i, j: _run_stack(setup, method, shape, i, j)
    size = _entries(setup.problem(first)) if setup.fresh else 0
    if isinstance(method, Method):
        return size, lambda i, j: _run_method(setup, method, i, j)
    return size, lambda i, j: _run_baseline(setup, method, i, j)


def _entries(problem: Problem) -> int:
    return sum(value.size for value in vars(problem).values() if isinstance(value, np.ndarray))


def _run_stack(setup: Setup, method: StackedMethod, shape: tuple[int, int], first: int, last: int) -> Outcomes:
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
    return make_outcomes(
        error=relative_errors(ends.solution, truths, np.arange(count)),
        loss=ends.loss,
        steps=ends.steps,
        seconds=np.full(count, ends.seconds / count),
        status=ends.status,
    )


def _run_method(setup: Setup, method: Method, first: int, last: int) -> Outcomes:
    """By runs of the method; of several starts of a trial the one with the least loss counts, and the steps of all."""
    assert setup.network is not None
    assert setup.init is not None
    problem = [setup.problem(trial) for trial in range(first, last)] if setup.fresh else setup.problem(first)
    trials, starts = last - first, setup.starts
    setting = pose_trials(problem, setup.network, setup.init, np.arange(first, last), starts, setup.seed)
    runs = execute(setting, method)
    loss = runs.loss.reshape(trials, starts)
    best = np.argmin(np.where(np.isnan(loss), np.inf, loss), axis=1)
    chosen = np.arange(trials) * starts + best
    return make_outcomes(
        error=np.full(trials, np.nan) if runs.error is None else runs.error[chosen],
        loss=runs.loss[chosen],
        steps=runs.steps.reshape(trials, starts).sum(axis=1),
        seconds=np.full(trials, runs.seconds / trials),
        status=runs.status[chosen],
    )


def _run_baseline(setup: Setup, baseline: Baseline, first: int, last: int) -> Outcomes:
    """By a baseline; what it could not solve has diverged."""
    rows = []
    for trial in range(first, last):
        problem = setup.problem(trial)
        started = time.perf_counter()
        try:
            solution = np.asarray(baseline.solve(problem))
        except (RuntimeError, np.linalg.LinAlgError):
            rows.append((np.nan, np.nan, 0, time.perf_counter() - started, Status.DIVERGED))
            continue
        seconds = time.perf_counter() - started
        error = np.nan
        if problem.truth is not None:
            error = relative_errors(solution.reshape(1, -1), np.reshape(problem.truth, (1, -1)), np.zeros(1, int))[0]
        rows.append((error, problem.loss(solution), 0, seconds, Status.CONVERGED))
    return make_outcomes(*zip(*rows, strict=True))
