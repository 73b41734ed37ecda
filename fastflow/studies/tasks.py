"""Tasks: some trials of some cells, from random numbers to outcomes, in one thread; what executors are sent.

What a trial comes to depends on its own setup and number alone: not on the task, its company, the order or the process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fastflow.memory import available_memory
from fastflow.status import Status
from fastflow.studies.asked import NotImportable
from fastflow.studies.ends import Ends
from fastflow.studies.leaving import Process, worker
from fastflow.studies.nodes import Node, this_node
from fastflow.studies.outcomes import NEVER, Arrays, has_none, joined, make_outcomes, nothing, with_asked
from fastflow.studies.setup import NUMBER_BYTES, Setup
from fastflow.studies.solving import Tell, way_to_ends
from fastflow.threads import interruptibly, one_blas_thread, stopped_by

STACK_BYTES = 2**24
"""Problems are drawn into memory by stacks of this size."""


class Piece(NamedTuple):
    """The trials first to last, without the last, of a cell, whose place is in words in ``where``.

    Nothing is computed beside one that is ``alone``, so what memory it does not get is more than it may have.
    """

    cell: int
    setup: Setup
    where: str
    first: int
    last: int
    alone: bool = False


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
    """What a task hands back.

    Attributes
    ----------
    finished : the outcomes of its pieces, of the last of them perhaps but the first trials
    seconds : that they took it
    node : on what kind of node
    late : what took too long, None for nothing
    starved : what did not get its memory, perhaps since there was other work beside it; None for nothing
    leaving : bool, whether the process was told to end, and will
    """

    finished: list[Finished]
    seconds: float
    node: Node
    late: Piece | None = None
    starved: Piece | None = None
    leaving: bool = False


class TrialError(Exception):
    """A trial raised an exception, which this one says the place of."""


class OutcomeError(Exception):
    """An outcome that was asked for raised an exception, which this one says the name of."""


class StarvedError(Exception):
    """A piece did not get the memory that it asked for, with other work beside it."""


NO_FAULT = (OSError, NotImportable)
"""What says nothing of a trial, which may end well elsewhere; so it is with memory where there is other work."""

LITTLE_MEMORY = 2**26
"""Bytes; with less left the shortage is that of the whole process, whatever a trial asks for."""


RAISE, RECORD = "raise", "record"
ON_ERROR = (RAISE, RECORD)
"""What becomes of a study when a trial raises: it ends, or the trial has failed and the others go on."""


def run_task(
    pieces: Sequence[Piece],
    on_error: str = RAISE,
    asked_to_stop: Callable[[], bool] | None = None,
    timeout: float = math.inf,
    most_seconds: float = math.inf,
    home: Process | None = None,
) -> Report:
    """Compute the pieces, one after the other; if asked to stop, or out of time, the trials that are done by then.

    Parameters
    ----------
    pieces : sequence of Piece
    on_error : one of `ON_ERROR`
    asked_to_stop : says whether to stop; what the task is doing then is left behind
    timeout : seconds for all of them; what the task is doing then is left behind, too
    most_seconds : after which nothing more is begun; pieces are then computed in parts, as large as there is time for
    home : the process of the driver; any other one hears SIGTERM meanwhile, and stops

    Raises
    ------
    TrialError
        when one of them raises, and is not to be recorded
    """
    done: list[list[Finished]] = []
    begun: list[Piece] = []
    starved: list[Piece] = []
    began = time.perf_counter()

    def left(of: float) -> float:
        return of - (time.perf_counter() - began)

    with worker.at_work(home) as hears, one_blas_thread():

        def should_stop() -> bool:
            told = hears and worker.told.is_set()
            return told or left(timeout) < 0 or (asked_to_stop is not None and asked_to_stop())

        def work() -> None:
            for piece in pieces:
                done.append([])
                for part in _parts(piece, left, most_seconds):
                    if should_stop() or (begun and left(most_seconds) < 0):
                        return
                    begun.append(part)
                    try:
                        done[-1].append(_run_or_record(part, on_error))
                    except StarvedError:
                        starved.append(part)
                        return

        late: Piece | None = None
        with stopped_by(should_stop):
            try:
                if hears or asked_to_stop is not None or timeout < math.inf:
                    interruptibly(work)
                else:
                    work()
            except KeyboardInterrupt:
                if not should_stop():
                    raise
                late = begun[-1] if begun and left(timeout) < 0 else None
        whole = [list(parts) for parts in done]  # work that was left behind may go on
        if late is not None and (late.cell, late.first) in {(one.cell, one.first) for parts in whole for one in parts}:
            late = None  # it has come to its end just now
        told_to_end = hears and worker.told.is_set()
    finished = [_together(parts) for parts in whole if parts]
    return Report(finished, -left(0), this_node(), late, starved[0] if starved else None, told_to_end)


def _parts(piece: Piece, left: Callable[[float], float], most: float) -> Iterator[Piece]:
    """A piece, whole; where a task has but so many seconds, in parts that grow as long as there is time for them."""
    first, count = piece.first, 1 if most < math.inf else piece.last - piece.first
    while first < piece.last:
        before, last = left(most), min(first + count, piece.last)
        yield piece._replace(first=first, last=last)
        if last < piece.last:
            each = (before - left(most)) / (last - first)
            count = max(1, min(2 * count, int(left(most) / max(each, 1e-9))))
        first = last


def _together(parts: Sequence[Finished]) -> Finished:
    """Outcomes of parts of a piece that follow each other; of what there is to say the first of each."""
    if len(parts) == 1:
        return parts[0]
    told = {what: text for one in reversed(parts) for what, text in one.told}
    return Finished(parts[0].cell, parts[0].first, joined([one.outcomes for one in parts]), tuple(told.items()))


def _say_nothing(what: Status | str, trial: int, message: str) -> None:
    """Tell nobody."""


def _run_or_record(piece: Piece, on_error: str) -> Finished:
    """The outcomes of a piece; where a trial raises, and that is to be recorded, those of each trial by itself."""
    told: dict[Status | str, str] = {}
    first, last = piece.first, piece.last
    fatal: Errors = (Exception,) if on_error == RAISE else NO_FAULT if piece.alone else (MemoryError, *NO_FAULT)

    def tell(what: Status | str, trial: int, message: str) -> None:
        told.setdefault(what, f"{piece.where}, trial {trial}: {message}")

    try:
        outcomes = run_piece(piece.setup, first, last, tell, fatal)
        return Finished(piece.cell, first, outcomes, tuple(told.items()))
    except Exception as error:
        message = str(error) if isinstance(error, OutcomeError) else f"{type(error).__name__}: {error}"
        cause = error.__cause__ if isinstance(error, OutcomeError) else error
        if isinstance(cause, MemoryError) and on_error == RECORD:
            if (available_memory() or math.inf) < LITTLE_MEMORY:
                fatal = (MemoryError,)
            elif not piece.alone:
                raise StarvedError from error
        if isinstance(cause, fatal):
            then = (
                "gives such a trial NaN instead" if isinstance(error, OutcomeError) else "takes such a trial for failed"
            )
            hint = "" if on_error == RECORD else f"; on_error='record' {then} and goes on"
            raise TrialError(f"{piece.where}, {trials_of(piece)}: {message}{hint}") from error
        if last - first == 1:
            return failed(piece, message)
    return _together([_run_or_record(piece._replace(first=i, last=i + 1), on_error) for i in range(first, last)])


def failed(piece: Piece, why: str) -> Finished:
    """The outcomes of a piece whose trials have failed, and why."""
    count = piece.last - piece.first
    none, zero = np.full(count, np.nan), np.zeros(count)
    kept = make_outcomes(none, none, zero, zero, np.full(count, Status.FAILED))
    asked = {label: nothing(one.field, count) for label, one in piece.setup.asked.items() if one.is_stated}
    told = (Status.FAILED, f"{piece.where}, {trials_of(piece)}: {why}")
    return Finished(piece.cell, piece.first, with_asked(kept, asked), (told,))


def trials_of(piece: Piece) -> str:
    """The trials of a piece in words."""
    return f"trial {piece.first}" + f" to {piece.last - 1}" * (piece.last - piece.first > 1)


Errors = tuple[type[Exception], ...]
"""Kinds of them."""


def run_piece(setup: Setup, first: int, last: int, tell: Tell = _say_nothing, fatal: Errors = (Exception,)) -> Arrays:
    """The outcomes of the trials first to last of a cell, by stacks of problems that fit the memory.

    ``tell`` is called for trials of baselines whose solution is not finite or not as accurate as stated, and for those
    that have not got an outcome, though they have a solution. Where an outcome of one trial raises what is not
    ``fatal``, it has not got that.
    """
    size, run = way_to_ends(setup, first, tell)
    stack = max(1, STACK_BYTES // (NUMBER_BYTES * size)) if size else last - first
    parts = [run(i, min(i + stack, last)) for i in range(first, last, stack)]
    return joined([with_asked(ends.kept, _asked_of(setup, ends, tell, fatal)) for ends in parts])


def _asked_of(setup: Setup, ends: Ends, tell: Tell, fatal: Errors) -> Arrays:
    """What the study asks of trials that have ended, by its labels."""
    found: Arrays = {}
    lost = np.isin(ends.kept["status"], NEVER)
    for label, one in setup.asked.items():
        try:
            values = one.evaluate(ends)
        except Exception as error:
            names = one.is_function and not isinstance(error, MemoryError | OSError)  # the trial and the error
            message = f"the outcome {label!r}: {error if names else f'{type(error).__name__}: {error}'}"
            # One trial at a time is looked at where errors are recorded; then the others keep theirs.
            if len(ends) > 1 or isinstance(error, fatal):
                raise OutcomeError(message) from error
            tell(label, ends.first, message)
            if one.is_stated:
                found[label] = nothing(one.field, 1)
            continue
        if not one.is_stated:  # this is a trial that should tell, unless it has none
            if not lost.all():
                found[label] = values
            continue
        without = np.flatnonzero(has_none(values, one.field) & ~lost)
        if without.size and not one.may_lack:
            tell(label, ends.first + int(without[0]), f"the outcome {label!r} is NaN")
        found[label] = values
    return found
