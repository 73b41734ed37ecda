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
from fastflow.networks import Architecture, Network
from fastflow.problems import CompressedSensing
from fastflow.setting import default_network, entries_of, pose_trials
from fastflow.status import Status
from fastflow.streams import Streams
from fastflow.studies.asked import NotImportable, record_for
from fastflow.studies.ends import Ends, Trained
from fastflow.studies.nodes import Node, this_node
from fastflow.studies.outcomes import NEVER, Arrays, has_none, joined, make_outcomes, nothing, with_asked
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


Told = tuple[tuple[Status | str, str], ...]
"""What there is to say of trials that ended so, or have not got the outcome of that name: where the first of them
stands, and why."""


class Finished(NamedTuple):
    """The outcomes of a piece, of which ``first`` is the first trial, and what there is to say of them."""

    cell: int
    first: int
    outcomes: Arrays
    told: Told = ()


class Report(NamedTuple):
    """What a task hands back: outcomes, the seconds that they took it, on what kind of node, and what took too long."""

    finished: list[Finished]
    seconds: float
    node: Node
    late: Piece | None = None


class TrialError(Exception):
    """A trial raised an exception, which this one says the place of."""


class OutcomeError(Exception):
    """An outcome that was asked for raised an exception, which this one says the name of."""


NO_FAULT = (MemoryError, OSError, NotImportable)
"""What says nothing of a trial: elsewhere it may end well."""


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


Tell = Callable[[Status | str, int, str], None]
"""Told how a trial ended, or which outcome it has not got; its number, and why."""


def _say_nothing(what: Status | str, trial: int, message: str) -> None:
    """Tell nobody."""


def _run_or_record(piece: Piece, on_error: str) -> Finished:
    """The outcomes of a piece; where a trial raises, and that is to be recorded, those of each trial by itself."""
    told: dict[Status | str, str] = {}
    first, last = piece.first, piece.last

    def tell(what: Status | str, trial: int, message: str) -> None:
        told.setdefault(what, f"{piece.where}, trial {trial}: {message}")

    try:
        outcomes = run_piece(piece.setup, first, last, tell, on_error)
        return Finished(piece.cell, first, outcomes, tuple(told.items()))
    except Exception as error:
        message = str(error) if isinstance(error, OutcomeError) else f"{type(error).__name__}: {error}"
        if on_error == RAISE or isinstance(error.__cause__ if isinstance(error, OutcomeError) else error, NO_FAULT):
            hint = "" if on_error == RECORD else "; on_error='record' takes such a trial for failed and goes on"
            raise TrialError(f"{piece.where}, {trials_of(piece)}: {message}{hint}") from error
        if last - first == 1:
            return failed(piece, message)
    each = [_run_or_record(piece._replace(first=i, last=i + 1), on_error) for i in range(first, last)]
    every = {status: text for one in reversed(each) for status, text in one.told}  # the first of each last
    return Finished(piece.cell, first, joined([one.outcomes for one in each]), tuple(every.items()))


def failed(piece: Piece, why: str) -> Finished:
    """The outcomes of a piece whose trials have failed, and why."""
    count = piece.last - piece.first
    none, zero = np.full(count, np.nan), np.zeros(count)
    kept = make_outcomes(none, none, zero, zero, np.full(count, Status.FAILED))
    asked = {label: nothing(one.field, count) for label, one in piece.setup.asked.items()}
    told = (Status.FAILED, f"{piece.where}, {trials_of(piece)}: {why}")
    return Finished(piece.cell, piece.first, with_asked(kept, asked), (told,))


def trials_of(piece: Piece) -> str:
    """The trials of a piece in words."""
    return f"trial {piece.first}" + f" to {piece.last - 1}" * (piece.last - piece.first > 1)


def run_piece(setup: Setup, first: int, last: int, tell: Tell = _say_nothing, on_error: str = RAISE) -> Arrays:
    """The outcomes of the trials first to last of a cell, by stacks of problems that fit the memory.

    ``tell`` is called for trials of baselines whose solution is not finite or not as accurate as stated, and for those
    that have not got an outcome, though they have a solution.
    """
    size, run = _way(setup, first, tell)
    stack = max(1, STACK_BYTES // (NUMBER_BYTES * size)) if size else last - first
    parts = [run(i, min(i + stack, last)) for i in range(first, last, stack)]
    return joined([with_asked(ends.kept, _asked_of(setup, ends, tell, on_error)) for ends in parts])


def _asked_of(setup: Setup, ends: Ends, tell: Tell, on_error: str) -> Arrays:
    """What the study asks of trials that have ended, by its labels."""
    found: Arrays = {}
    lost = np.isin(ends.kept["status"], NEVER)
    for label, one in setup.asked.items():
        try:
            values = one.evaluate(ends)
        except Exception as error:
            message = f"the outcome {label!r}: {error if one.is_function else f'{type(error).__name__}: {error}'}"
            # One trial at a time is looked at where errors are recorded; then the others keep theirs.
            if on_error == RAISE or len(ends) > 1 or isinstance(error, NO_FAULT):
                raise OutcomeError(message) from error
            tell(label, ends.first, message)
            values = nothing(one.field, 1)
        else:
            without = np.flatnonzero(has_none(values, one.field) & ~lost)
            if without.size and not one.may_lack:
                tell(label, ends.first + int(without[0]), f"the outcome {label!r} is NaN")
        found[label] = values
    return found


def _way(setup: Setup, first: int, tell: Tell) -> tuple[int, Callable[[int, int], Ends]]:
    """How many numbers a trial's problem has, 0 where trials share one, and what brings trials to their ends."""
    method = setup.method
    shape = setup.ensemble.system_shape
    if isinstance(method, StackedMethod) and shape is not None and setup.fresh and setup.starts == 1:
        return shape[0] * shape[1], lambda i, j: _run_stack(setup, method, shape, i, j)
    size = entries_of(setup.problem(first)) if setup.fresh else 0
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
