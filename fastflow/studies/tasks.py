"""Tasks: some trials of some cells, from random numbers to outcomes, in one thread; what executors are sent.

What a trial comes to depends on its own setup and number alone: not on the task, its company, the order or the process.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastflow.baselines import Baseline, shortfalls
from fastflow.checks import as_floats
from fastflow.methods import Method, StackedMethod, SystemStack, execute
from fastflow.metrics import relative_errors
from fastflow.setting import entries_of, pose_trials
from fastflow.status import Status
from fastflow.streams import Streams
from fastflow.studies.nodes import Node, this_node
from fastflow.studies.outcomes import Outcomes, joined, make_outcomes
from fastflow.studies.setup import NUMBER_BYTES, Setup, problem_key
from fastflow.threads import interruptibly, one_blas_thread, stopped_by

STACK_BYTES = 2**24
"""Problems are drawn into memory by stacks of this size."""


class Piece(NamedTuple):
    """The trials first to last, without the last, of a cell, whose place is in words in ``where``."""

    cell: int
    setup: Setup
    where: str
    first: int
    last: int


Told = tuple[tuple[Status, str], ...]
"""What there is to say of trials that ended so: where the first of them stands, and why."""


class Finished(NamedTuple):
    """The outcomes of a piece, of which ``first`` is the first trial, and what there is to say of them."""

    cell: int
    first: int
    outcomes: Outcomes
    told: Told = ()


class Report(NamedTuple):
    """What a task hands back: outcomes, the seconds that they took it, on what kind of node, and what took too long."""

    finished: list[Finished]
    seconds: float
    node: Node
    late: Piece | None = None


class TrialError(Exception):
    """A trial raised an exception, which this one says the place of."""


RAISE, RECORD = "raise", "record"
ON_ERROR = (RAISE, RECORD)
"""What becomes of a study when a trial raises: it ends, or the trial has failed and the others go on."""


def run_task(
    pieces: Sequence[Piece],
    on_error: str = RAISE,
    asked_to_stop: Callable[[], bool] | None = None,
    timeout: float = math.inf,
) -> Report:
    """Compute the pieces, one after the other; if asked to stop, or out of time, those that are done by then.

    Parameters
    ----------
    pieces : sequence of Piece
    on_error : one of `ON_ERROR`
    asked_to_stop : says whether to stop; what a piece is doing then is left behind
    timeout : seconds for all of them; what a piece is doing then is left behind, too

    Raises
    ------
    TrialError
        when one of them raises, and is not to be recorded
    """
    finished: list[Finished] = []
    late: Piece | None = None
    started = time.perf_counter()

    def is_late() -> bool:
        return time.perf_counter() - started > timeout

    def should_stop() -> bool:
        return is_late() or (asked_to_stop is not None and asked_to_stop())

    may_be_left = asked_to_stop is not None or timeout < math.inf
    with one_blas_thread(), stopped_by(should_stop):
        for piece in pieces:
            if should_stop():
                break
            run = functools.partial(_run_or_record, piece, on_error)
            try:
                finished.append(interruptibly(run) if may_be_left else run())
            except KeyboardInterrupt:
                if not should_stop():
                    raise
                late = piece if is_late() else None
                break
    return Report(finished, time.perf_counter() - started, this_node(), late)


Tell = Callable[[Status, int, str], None]
"""Told how a trial ended, its number, and why."""


def _say_nothing(status: Status, trial: int, message: str) -> None:
    """Tell nobody."""


def _run_or_record(piece: Piece, on_error: str) -> Finished:
    """The outcomes of a piece; where a trial raises, and that is to be recorded, those of each trial by itself."""
    told: dict[Status, str] = {}
    first, last = piece.first, piece.last

    def tell(status: Status, trial: int, message: str) -> None:
        told.setdefault(status, f"{piece.where}, trial {trial}: {message}")

    try:
        outcomes = run_piece(piece.setup, first, last, tell)
        return Finished(piece.cell, first, outcomes, tuple(told.items()))
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        # That memory lacks, or a file cannot be written, says nothing of a trial: elsewhere it may end well.
        if on_error == RAISE or isinstance(error, MemoryError | OSError):
            hint = "" if on_error == RECORD else "; on_error='record' takes such a trial for failed and goes on"
            raise TrialError(f"{piece.where}, {trials_of(piece)}: {message}{hint}") from error
        if last - first == 1:
            return failed(piece, message)
    each = [_run_or_record(piece._replace(first=i, last=i + 1), on_error) for i in range(first, last)]
    every = {status: text for one in reversed(each) for status, text in one.told}  # the first of each last
    return Finished(piece.cell, first, joined([one.outcomes for one in each]), tuple(every.items()))


def failed(piece: Piece, why: str) -> Finished:
    """The outcomes of a piece whose trials have failed, and why."""
    none, zero = np.full(piece.last - piece.first, np.nan), np.zeros(piece.last - piece.first)
    outcomes = make_outcomes(none, none, zero, zero, np.full(len(none), Status.FAILED))
    told = (Status.FAILED, f"{piece.where}, {trials_of(piece)}: {why}")
    return Finished(piece.cell, piece.first, outcomes, (told,))


def trials_of(piece: Piece) -> str:
    """The trials of a piece in words."""
    return f"trial {piece.first}" + f" to {piece.last - 1}" * (piece.last - piece.first > 1)


def run_piece(setup: Setup, first: int, last: int, tell: Tell = _say_nothing) -> Outcomes:
    """The outcomes of the trials first to last of a cell, by stacks of problems that fit the memory.

    ``tell`` is called for trials of baselines whose solution is not finite or not as accurate as stated.
    """
    size, run = _way(setup, first, tell)
    stack = max(1, STACK_BYTES // (NUMBER_BYTES * size)) if size else last - first
    return joined([run(i, min(i + stack, last)) for i in range(first, last, stack)])


def _way(setup: Setup, first: int, tell: Tell) -> tuple[int, Callable[[int, int], Outcomes]]:
    """How many numbers a trial's problem has, 0 where trials share one, and what gives the outcomes of trials."""
    method = setup.method
    shape = setup.ensemble.system_shape
    if isinstance(method, StackedMethod) and shape is not None and setup.fresh and setup.starts == 1:
        return shape[0] * shape[1], lambda i, j: _run_stack(setup, method, shape, i, j)
    size = entries_of(setup.problem(first)) if setup.fresh else 0
    if isinstance(method, Method):
        return size, lambda i, j: _run_method(setup, method, i, j)
    return size, lambda i, j: _run_baseline(setup, method, i, j, tell)


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


def _run_baseline(setup: Setup, baseline: Baseline, first: int, last: int, tell: Tell) -> Outcomes:
    """By a baseline: what is not finite has diverged, what misses the tolerance that it states is inaccurate."""
    rows = []
    for trial in range(first, last):
        problem = setup.problem(trial)
        started = time.perf_counter()
        with shortfalls() as missed:
            found = baseline.solve(problem)
        seconds = time.perf_counter() - started
        solution = as_floats("the solution", found, None, finite=False)
        if _long(solution.shape) != _long(problem.shape):  # a matrix of one row may come as a vector
            raise ValueError(f"the solution must have the shape {problem.shape}, got {solution.shape}")
        error, loss, status = np.nan, np.nan, Status.CONVERGED
        if np.isfinite(solution).all():
            with np.errstate(over="ignore", invalid="ignore"):
                loss = problem.loss(solution.reshape(problem.shape))
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
    return make_outcomes(*zip(*rows, strict=True))


def _long(shape: tuple[int, ...]) -> list[int]:
    """A shape without its axes of length 1."""
    return [size for size in shape if size != 1]
