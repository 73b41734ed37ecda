"""The driver: shuffles cells, cuts them into tasks, hands these out, and keeps what comes back."""

from __future__ import annotations

import contextlib
import functools
import math
import queue
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, ThreadPoolExecutor, wait

import numpy as np

from fastflow.journal import Journal
from fastflow.scheduling import progress_bar, telling_of_compiling
from fastflow.status import Status
from fastflow.studies.design import Design
from fastflow.studies.errors import StoreError
from fastflow.studies.executors import Crew, Future
from fastflow.studies.held import Held
from fastflow.studies.nodes import Node, difference, this_node
from fastflow.studies.outcomes import (
    NEVER,
    NOT_DONE,
    Arrays,
    fill_up,
    has_none,
    lacks,
    partial_of,
    rows_of,
)
from fastflow.studies.plan import Plan
from fastflow.studies.result import StudyResult
from fastflow.studies.spec import Table, fields_of
from fastflow.studies.store import Store
from fastflow.studies.tasks import RECORD, Finished, Piece, TrialError, failed, trials_of
from fastflow.studies.tries import TRIES, Tries
from fastflow.threads import hearing

TASK_SECONDS = 0.25
"""What a task should take: many times what handing it out costs, and short enough for a bar that moves."""

POLL_SECONDS = 0.1
"""How long the driver waits for a task to end before it looks at the clock."""

GRACE_SECONDS = 0.5
"""How long tasks may go on when time is up."""

FLUSH_SECONDS = 2.0
"""What is new is stored as often, at most."""

FLUSH_SHARE = 0.05
"""Of the time writing may take no more than this: where it takes long, it is done less often."""


SILENCE_SECONDS = 120.0
"""Where tasks have a time limit: how long after it something should have come back, compiled in the first place."""

NAMED = 3
"""How many of the pieces that were set aside an error names."""

FIRST_TRIALS = 4
"""Trials of the first tasks, when nobody knows how long one takes."""

LATEST = 0.3
"""How much the latest task counts in the mean time of a trial."""


class StudyError(RuntimeError):
    """A study that could not go on, since a trial raised or the executor failed.

    Attributes
    ----------
    result : `StudyResult`, what was done, which a store has, too

    Examples
    --------
    >>> class Fails:
    ...     def solve(self, problem):
    ...         raise ZeroDivisionError("no such number")
    >>> study = ff.Study(ff.ensembles.Sparse(n=9, sparsity=2), method=Fails(), axes={"m": [5]}, trials=3)
    >>> try:
    ...     result = study.run(threads=1)
    ... except ff.StudyError as error:
    ...     result = error.result
    >>> result.complete
    False
    """

    result: StudyResult


class StudyInterrupted(KeyboardInterrupt):
    """Ctrl-C during a study, a `KeyboardInterrupt`.

    Attributes
    ----------
    result : `StudyResult`, what was done, which a store has, too

    Examples
    --------
    >>> ensemble, method = ff.ensembles.Sparse(n=9, sparsity=2), ff.baselines.LeastNorm()
    >>> study = ff.Study(ensemble, method=method, axes={"m": [5]}, trials=3)
    >>> try:
    ...     result = study.run(threads=1)
    ... except ff.StudyInterrupted as interrupted:  # after Ctrl-C
    ...     result = interrupted.result
    >>> result.complete
    True
    """

    result: StudyResult


class Driver:
    """One run: what is handed out, what came back, what is not yet stored."""

    def __init__(
        self,
        design: Design,
        table: Table,
        arrays: Arrays,
        held: Held,
        store: Store | None,
        crew: Crew,
        plan: Plan,
        task_seconds: float | None,
        timeout: float,
        on_error: str,
        *,
        pilots: bool,
    ) -> None:
        self.pilots = pilots
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="fastflow-store")
        self.whose = "the executor"
        self.design, self.arrays, self.held, self.store = design, arrays, held, store
        self.crew, self.plan, self.table, self.fields = crew, plan, table, fields_of(table)
        self.flat = rows_of(arrays, held.count, design.trials)
        self.back: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.out: dict[Future, list[Piece]] = {}
        self.tries = Tries()
        self.aside: list[str] = []
        self.timeout, self.on_error = timeout, on_error
        self.broken: BaseException | None = None
        self.leaving = False
        self.cancelled = 0
        self.heard = time.monotonic()
        self.dirty: set[tuple[int, ...]] = set()
        self.unshown = 0
        self.next_flush = time.monotonic() + FLUSH_SECONDS
        self.task_seconds = TASK_SECONDS if task_seconds is None else task_seconds
        self.seconds_per_trial = self.task_seconds / FIRST_TRIALS
        self.failure: BaseException | None = None
        self.computed = 0
        self.told: dict[Status | str, str] = {}
        self.elsewhere = ""
        self.seconds = math.nan
        self.makers: tuple[Node, ...] = () if store is None else store.facts.makers
        self.counts: Counter[Status | str] = Counter()

    def changed(self, cells: Iterable[int]) -> None:
        """Some cells have outcomes that are not stored."""
        if self.store is not None:
            for cell in cells:
                self.dirty.update(self.store.chunks_of(self.held.place(cell), 0, self.design.trials))

    def run(self, max_seconds: float | None, progress: bool | None) -> StudyResult:
        """Until all is done, time is up, or something is wrong."""
        started, self.journal = time.monotonic(), Journal(progress, "studies", "trial")
        # Cells come in random order, so the mean rate of all trials is that of those to come.
        bar = progress_bar(progress, self.plan.total, "trial", done=self.plan.done, smoothing=0)
        with telling_of_compiling(progress), bar as self.bar, hearing() as raise_again:
            try:
                self._describe(tuple(name for name in self.fields if name not in self.design.fields))
                while True:
                    raise_again()
                    late = -np.inf if max_seconds is None else time.monotonic() - started - max_seconds
                    away = self._is_away()
                    if late >= 0:
                        self._call_back()
                        if late >= GRACE_SECONDS:
                            self.crew.ask_to_stop()
                    elif self.failure is None and not away:
                        self._hand_out()
                    if not self.out and not (away and late < 0):
                        break
                    self._take_back()
                    if self.journal.is_due:
                        done, failed = self.plan.total - self.plan.left, self._failed_count()
                        self.journal.tell(self.computed, done, self.plan.left, f"; {failed} failed or diverged")
                    if time.monotonic() >= self.next_flush:
                        self._flush()
                self._flush()
                self._describe()
                if self.aside:
                    raise TrialError(self._set_aside())
                complete = self.held.is_whole and bool(np.all(self.arrays["status"] != NOT_DONE))
                if complete and not self.plan.adaptive:  # so no outcome has decided how many there are
                    self.pilots = False
                    self._describe()
            except KeyboardInterrupt:
                self.failure = StudyInterrupted("interrupted")
            except StoreError as error:
                self.failure = error
            except Exception as error:
                self.failure, self.whose = error, "the study"
            if self.failure is not None:
                self._wind_up()
        self.seconds = time.monotonic() - started
        result = self._result()
        for what, text in self.told.items():
            how = f"ended as {what.label}" if isinstance(what, Status) else f"have no outcome {what!r}"
            trials = f"{self.counts[what]} trial{'s' * (self.counts[what] > 1)} of this run"
            warnings.warn(f"{trials} {how}; the first: {text}", stacklevel=4)
        if self.tries.deaths:
            times = f"{self.tries.deaths} time{'s' * (self.tries.deaths > 1)}"
            warnings.warn(f"workers died {times}; what they were at was tried again", stacklevel=4)
        if self.elsewhere:
            warnings.warn(
                f"some trials were computed by {self.elsewhere}: their last bits may differ from those of others",
                stacklevel=4,
            )
        result.left = self.plan.left
        if self.failure is None:
            return result
        raise self._failed(result)

    def _result(self) -> StudyResult:
        """What was done."""
        return StudyResult(
            self.table,
            self.arrays,
            self.held,
            self.design,
            self.seconds,
            self.computed,
            adaptive=self.pilots,
            makers=self.makers,
        )

    def interrupted(self) -> StudyError | StudyInterrupted | StoreError:
        """An interrupt outside of the work, with what was done."""
        self.failure = StudyInterrupted("interrupted")
        self._wind_up()
        return self._failed(self._result())

    def _failed(self, result: StudyResult) -> StudyError | StudyInterrupted | StoreError:
        """The failure, with what was done."""
        done = f"{np.count_nonzero(self.arrays['status'] != NOT_DONE)} of {self.held.count * self.design.trials} trials"
        kept = "" if self.store is None else f" and stored in {self.store.path}; the same call goes on from there"
        where = f"{done} are done{kept}"
        told: StudyError | StudyInterrupted | StoreError
        if isinstance(self.failure, StudyInterrupted):
            told = StudyInterrupted(f"interrupted: {where}; .result has them")
        elif isinstance(self.failure, StoreError):
            told = StoreError(*self.failure.args)
        else:
            trial = isinstance(self.failure, TrialError)
            what = f"{self.failure}" if trial else f"{self.whose} failed: {self.failure!r}"
            told = StudyError(f"{what} ({where}; .result has them)")
        told.__cause__ = self.failure
        told.result = result
        return told

    def _failed_count(self) -> int:
        """How many trials have failed or diverged."""
        return int(np.count_nonzero(np.isin(self.arrays["status"], NEVER)))

    def _is_away(self) -> bool:
        """Whether tasks must wait for a scheduler that is away. If it is lost, that is the failure: none comes back."""
        try:
            return self.crew.is_away()
        except ConnectionError as error:
            self.failure = self.failure or error
            self.out.clear()
            return False

    def _hand_out(self) -> None:
        """Keep every worker busy, and as many tasks waiting."""
        while len(self.out) < 2 * self.crew.workers + 1 and self.failure is None:
            if self.broken is not None:
                if self.out:  # what was out when it broke comes back first
                    return
                if not self.crew.renew():
                    self.failure = self.broken
                    return
                self.broken, self.leaving = None, False
            pieces = self._next()
            if not pieces:
                return
            pieces = [piece for piece in pieces if not self._is_given_up(piece)]
            if not pieces:
                continue
            try:
                future = self.crew.submit(pieces)
            except self.crew.deaths as error:
                self.broken = error
                self.tries.again(pieces)
                continue
            except Exception as error:  # one that takes nothing more
                self.failure = error
                return
            self.heard = self.heard if self.out else time.monotonic()
            self.out[future] = pieces
            future.add_done_callback(self.back.put)

    def _next(self) -> list[Piece]:
        """What to hand out next; nothing where nothing is left, or what is out must come back before."""
        pieces = self.tries.next(not self.out)
        while self.tries.aside:
            self._put_aside(*self.tries.aside.popleft())
        if pieces is not None:
            return pieces
        left = max(1, self.plan.left // (2 * self.crew.workers))
        return self.plan.take(max(1, min(left, int(self.task_seconds / self.seconds_per_trial))))

    def _is_given_up(self, piece: Piece) -> bool:
        """Whether a piece should not be tried; it is then put aside."""
        why = self.tries.given_up.get(piece.cell)
        if why is not None:
            self._put_aside(piece, why)
        return why is not None

    def _put_aside(self, piece: Piece, why: str) -> None:
        """Take a piece for failed, or not for done, and go on without it."""
        known = self.flat["status"][self.held.row(piece.cell), piece.first : piece.last]
        if self.on_error == RECORD and np.all(known == NOT_DONE):  # else it was run again for another outcome
            self._keep(failed(piece, why))
        else:
            self.aside.append(f"{piece.where}, {trials_of(piece)}: {why}")

    def _set_aside(self) -> str:
        """In words, what has been put aside."""
        more = f"; and {len(self.aside) - NAMED} more" if len(self.aside) > NAMED else ""
        return "; ".join(self.aside[:NAMED]) + more

    def _call_back(self) -> None:
        """Take back what no worker has begun."""
        for future in list(self.out):
            if future.cancel():
                del self.out[future]

    def _take_back(self) -> None:
        """Keep what the next task to end has computed, if one does soon."""
        try:
            future = self.back.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if time.monotonic() - self.heard > 2 * self.timeout + SILENCE_SECONDS:
                self._end_silence()
            return
        if future in self.out:  # else it was cancelled
            self.heard = time.monotonic()
            self._keep_all(future)

    def _end_silence(self) -> None:
        """Nothing comes back: end a pool of processes, whose tasks are then tried again; there is no other way."""
        if not self.crew.end_processes():
            out = [f"{piece.where}, {trials_of(piece)}" for pieces in self.out.values() for piece in pieces]
            raise TrialError(f"the executor gives no answer; it was at {'; '.join(out[:NAMED])}")
        self.heard = time.monotonic()

    def _keep_all(self, future: Future) -> None:
        """Keep what a task that has ended has computed."""
        pieces = self.out.pop(future)
        try:
            report = future.result()
        except KeyboardInterrupt:  # a worker heard the Ctrl-C that was meant for all
            raise
        except self.crew.deaths as error:
            breaks = isinstance(error, BrokenExecutor)
            lost = self.tries.again if breaks and self.leaving else self.tries.lost
            lost(pieces)
            self.broken = error if breaks else self.broken
            return
        except CancelledError as error:  # not by us: a scheduler was lost, and may be back
            self.cancelled += 1
            if self.cancelled > TRIES * (2 * self.crew.workers + 1):
                self.failure = self.failure or error
            self.tries.again(pieces)
            return
        except BaseException as error:
            if self.failure is None:
                self.failure = error
            self._call_back()
            return
        self.cancelled = 0
        self.leaving = self.leaving or report.leaving
        left = {(piece.cell, piece.first): piece for piece in pieces}
        for finished in report.finished:
            key, count = (finished.cell, finished.first), len(finished.outcomes["status"])
            left[key] = left[key]._replace(first=finished.first + count)
        rest = list(left.values())
        for tried, again in ((report.late, self._try_late), (report.starved, self.tries.starved)):
            if tried is not None:
                again(tried)
                rest = [_after(piece, tried) for piece in rest]
        self.tries.again([piece for piece in rest if piece.first < piece.last])
        self.elsewhere = self.elsewhere or difference(report.node, this_node())
        if report.node not in self.makers and report.finished:
            self.makers += (report.node,)
        trials = 0
        for finished in report.finished:
            self._keep(finished)
            trials += len(finished.outcomes["status"])
        if trials:
            latest = report.seconds / trials
            self.seconds_per_trial = max(1e-6, (1 - LATEST) * self.seconds_per_trial + LATEST * latest)

    def _try_late(self, piece: Piece) -> None:
        self.tries.late(piece, self.timeout)

    def _keep(self, finished: Finished) -> None:
        first, last = finished.first, finished.first + len(finished.outcomes["status"])
        for cell in self.plan.twins(finished.cell).tolist():
            row = self.held.row(cell)
            if self.store is not None:
                self.dirty.update(self.store.chunks_of(self.held.place(cell), first, last))
            known = {name: array[row, first:last] for name, array in self.flat.items()}
            if np.any(known["status"] != NOT_DONE):
                self._compare(cell, first, known, finished.outcomes)
            fill_up(known, finished.outcomes, self.fields)  # the status last, as an interrupt may come
        self.plan.finished(finished.cell, last - first)
        self.unshown += last - first
        self.computed += last - first
        status = finished.outcomes["status"]
        for what, text in finished.told:
            self.told.setdefault(what, text)
            if isinstance(what, Status):
                those = status == what
            else:
                those = has_none(finished.outcomes[what], self.fields[what]) & ~np.isin(status, NEVER)
            self.counts[what] += int(np.count_nonzero(those))
        if self.store is None:
            self._show()

    def _compare(self, cell: int, first: int, known: Arrays, outcomes: Arrays) -> None:
        """See that trials that were run again for another outcome have come out as they did."""
        done = known["status"] != NOT_DONE
        for name, values in outcomes.items():
            if name == "seconds":
                continue
            there, field = done & ~lacks(known[name], self.fields[name]), self.fields[name]
            equal = (values == known[name]) | ((values != values) & (known[name] != known[name]))
            wrong = there & ~equal.all(axis=tuple(range(1, equal.ndim))) if field.shape else there & ~equal
            if wrong.any():
                at = int(np.argmax(wrong))
                raise TrialError(
                    f"{self.design.where(cell)}, trial {first + at} came to another {name} than the store has, "
                    f"{values[at]} for {known[name][at]}, when it was run again for an outcome that it lacks: another "
                    "machine, or other versions, computed it; take a new store"
                )

    def _describe(self, unasked: tuple[str, ...] = ()) -> None:
        """Store which study this is, with its success, whether pilots decide, and what trials may lack.

        That is what they lack now, and what this run does not ask for.
        """
        if self.store is not None:
            lacking = {*unasked, *partial_of(self.arrays, self.fields)}
            partial = tuple(name for name in self.fields if name in lacking)
            self._write(functools.partial(self.store.describe, self.table, self.pilots, partial, self.makers))

    def _flush(self) -> None:
        """Store what is new."""
        began = time.monotonic()
        if self.store is not None and self.dirty:
            facts = self.store.facts
            if self.makers != facts.makers:  # before there is anything of another one
                known = facts.table, facts.adaptive, facts.partial
                self._write(functools.partial(self.store.describe, *known, self.makers))
            self._write(functools.partial(self._write_dirty, frozenset(self.dirty)))
        self._show()
        now = time.monotonic()
        self.next_flush = now + max(FLUSH_SECONDS, (now - began) / FLUSH_SHARE)

    def _write_dirty(self, dirty: frozenset[tuple[int, ...]]) -> None:
        """Write some chunks, which are clean then, whether or not anybody waits for it."""
        assert self.store is not None
        self.store.write(self.arrays, dirty)
        self.dirty -= dirty

    def _write(self, write: Callable[[], None]) -> None:
        """Let the writer's thread do it, which an interrupt waits for, where one in Zarr's midst would not.

        The lock is the writer's, too: whatever interrupts this thread, the store is ours until the last byte.
        """
        assert self.store is not None
        written = self.writer.submit(self.store.lock.held_for, write)
        interrupt: KeyboardInterrupt | None = None
        while not written.done():
            try:
                wait([written])
            except KeyboardInterrupt as error:
                interrupt = error
        written.result()
        if interrupt is not None:
            raise interrupt

    def _show(self) -> None:
        if self.bar is not None and self.unshown:
            self.bar.total = self.bar.n + self.unshown + self.plan.left  # less than all where cells have enough
            self.bar.update(self.unshown)
        self.unshown = 0

    def _wind_up(self) -> None:
        """Stop the workers, and keep what they have done by now, where it can be kept."""
        with contextlib.suppress(KeyboardInterrupt):
            self._call_back()
            self.crew.stop()
            for future in list(self.out):
                if future.done():
                    self._keep_all(future)
        while not isinstance(self.failure, StoreError):
            try:
                self._flush()
                break
            except KeyboardInterrupt:
                self.failure = StudyInterrupted("interrupted")
            except StoreError as error:
                self.failure = error


def _after(piece: Piece, tried: Piece) -> Piece:
    """What follows in a piece on its first trials."""
    is_of_it = piece.cell == tried.cell and piece.first == tried.first
    return piece._replace(first=tried.last) if is_of_it else piece
