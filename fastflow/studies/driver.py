"""The driver: shuffles cells, cuts them into tasks, hands these out, and keeps what comes back."""

from __future__ import annotations

import contextlib
import functools
import queue
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from fastflow.checks import as_count, as_number, one_of, shown
from fastflow.memory import require_memory
from fastflow.scheduling import telling_of_compiling
from fastflow.status import Status
from fastflow.studies import growth
from fastflow.studies.design import Design
from fastflow.studies.errors import StoreError
from fastflow.studies.executors import Crew, Future
from fastflow.studies.held import Held
from fastflow.studies.journal import Journal
from fastflow.studies.layout import require_zarr, store_path
from fastflow.studies.locks import Lock, locked
from fastflow.studies.nodes import difference, this_node
from fastflow.studies.outcomes import (
    NEVER,
    NOT_DONE,
    Arrays,
    bytes_of,
    empty_outcomes,
    fill_up,
    has_none,
    lacks,
    partial_of,
    rows_of,
)
from fastflow.studies.plan import Order, Plan, held_by, order_of, share_with_twins
from fastflow.studies.result import StudyResult
from fastflow.studies.snapshot import read_store
from fastflow.studies.spec import Table, fields_of
from fastflow.studies.store import Store, attach, create, mend_document, recover
from fastflow.studies.tasks import ON_ERROR, RAISE, Finished, TrialError

if TYPE_CHECKING:
    from tqdm import tqdm

WORKING = 1.6
"""What a running study takes for its outcomes, over what these take in the end (measured)."""

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


FIRST_TRIALS = 4
"""Trials of the first tasks, when nobody knows how long one takes."""

LATEST = 0.3
"""How much the latest task counts in the mean time of a trial."""


class StudyError(RuntimeError):
    """A study that could not go on, since a trial raised or the executor failed.

    Attributes
    ----------
    result : `StudyResult`, what was done, which a store has, too
    """

    result: StudyResult


class StudyInterrupted(KeyboardInterrupt):
    """Ctrl-C during a study, a `KeyboardInterrupt`.

    Attributes
    ----------
    result : `StudyResult`, what was done, which a store has, too
    """

    result: StudyResult


def run_study(
    design: Design,
    executor: object = None,
    store: str | Path | None = None,
    threads: int | None = None,
    shard: tuple[int, int] | None = None,
    max_seconds: float | None = None,
    progress: bool | None = None,
    adaptive: bool = False,
    repair: bool = False,
    task_seconds: float | None = None,
    on_error: str = RAISE,
) -> StudyResult:
    """What `Study.run` does, where the arguments are explained."""
    shard = _as_shard(shard, design)
    if max_seconds is not None:
        max_seconds = as_number("max_seconds", max_seconds, above=0)
    task_seconds = TASK_SECONDS if task_seconds is None else as_number("task_seconds", task_seconds, above=0)
    one_of("on_error", on_error, ON_ERROR)
    order = order_of(design, shard, adaptive)
    held = held_by(design, order)
    size = int(WORKING * held.count * design.trials * bytes_of(design.fields))
    require_memory(size, f"the outcomes of {held.count} x {design.trials} trials", "take fewer")
    with contextlib.ExitStack() as stack:
        kept = None
        arrays, pilots = {}, False
        table: Table = design.describe()
        if store is None:
            arrays = empty_outcomes(held.array_shape(design.trials), design.fields)
        else:
            path = store_path(store).resolve()  # not a link, which would have a lock of its own
            require_zarr()
            lock = stack.enter_context(locked(path))
            kept, arrays, held = _open(path, design, held, repair, lock)
            pilots, table = kept.facts.adaptive, growth.with_outcomes(table, kept.facts.table)
        crew = Crew(executor, threads, on_error)
        stack.callback(crew.close)
        shared = share_with_twins(design, fields_of(table), arrays, held)
        _tell_of_reruns(design, arrays, held, order)
        plan = Plan(design, arrays, held, order, adaptive)
        driver = _Driver(design, table, arrays, held, kept, crew, plan, task_seconds, pilots=pilots or adaptive)
        driver.changed(shared)
        return driver.run(max_seconds, progress)


def _tell_of_reruns(design: Design, arrays: Arrays, held: Held, order: Order) -> None:
    """Say how many trials are to be run again for outcomes that they lack."""
    flat = rows_of(arrays, held.count, design.trials)
    rows = [held.row(cell) for cell in order.cells.tolist()]
    done, again = flat["status"][rows] != NOT_DONE, []
    done[:, : order.first] = done[:, order.last :] = False
    for name in design.asked:
        lacking = done & lacks(flat[name][rows], design.fields[name])
        if lacking.any():
            again.append((name, lacking))
    if again:
        count = np.count_nonzero(np.any([lacking for _, lacking in again], axis=0))
        warnings.warn(
            f"{count} trials that the store has lack outcomes ({', '.join(name for name, _ in again)}): they are run "
            "again for these, and must come out as they did",
            stacklevel=4,
        )


def _as_shard(shard: tuple[int, int] | None, design: Design) -> tuple[int, int]:
    if shard is None:
        return 0, 1
    if np.shape(shard) != (2,):
        raise TypeError(f"shard must be (i, k), share i of k, got {shown(shard)}")
    i, k = as_count("shard[0]", shard[0], 0), as_count("shard[1]", shard[1], 1)
    if i >= k:
        raise ValueError(f"shard must be (i, k) with i in 0 .. k - 1, got ({i}, {k})")
    return i, k


def _open(path: Path, design: Design, held: Held, repair: bool, lock: Lock) -> tuple[Store, Arrays, Held]:
    """The store at a path, made or grown to what is wanted; what is in it, and of which cells."""
    recover(path)
    table: Table = design.describe()
    if not path.exists():
        arrays = empty_outcomes(held.array_shape(design.trials), design.fields)
        return create(path, table, arrays, held, lock), arrays, held
    if repair:
        mend_document(path)
    found = read_store(path, repair=repair)
    old = found.facts.table
    why = growth.conflict(old, table) or growth.lacking(old, table)
    if why is not None:
        raise StoreError(f"the store {path} is of another study: {why}")
    table = growth.with_outcomes(table, old)
    arrays, held = growth.moved(found.arrays, found.held, old, table, held)
    if arrays is not found.arrays or not found.sound:
        return create(path, table, arrays, held, lock, adaptive=found.facts.adaptive), arrays, held
    return attach(path, found.facts, arrays["status"].shape, lock), arrays, held


class _Driver:
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
        task_seconds: float,
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
        self.out: set[Future] = set()
        self.dirty: set[tuple[int, ...]] = set()
        self.unshown = 0
        self.next_flush = time.monotonic() + FLUSH_SECONDS
        self.task_seconds, self.seconds_per_trial = task_seconds, task_seconds / FIRST_TRIALS
        self.failure: BaseException | None = None
        self.computed = 0
        self.told: dict[Status | str, str] = {}
        self.elsewhere = ""
        self.counts: Counter[Status | str] = Counter()

    def changed(self, cells: Iterable[int]) -> None:
        """Some cells have outcomes that are not stored."""
        if self.store is not None:
            for cell in cells:
                self.dirty.update(self.store.chunks_of(self.held.place(cell), 0, self.design.trials))

    def run(self, max_seconds: float | None, progress: bool | None) -> StudyResult:
        """Until all is done, time is up, or something is wrong."""
        started, self.journal = time.monotonic(), Journal(progress)
        with telling_of_compiling(progress), _bar(progress, self.plan.total, self.plan.done) as self.bar:
            try:
                self._describe(tuple(name for name in self.fields if name not in self.design.fields))
                while True:
                    late = -np.inf if max_seconds is None else time.monotonic() - started - max_seconds
                    if late >= 0:
                        self._call_back()
                        if late >= GRACE_SECONDS:
                            self.crew.ask_to_stop()
                    elif self.failure is None:
                        self._hand_out()
                    if not self.out:
                        break
                    self._take_back()
                    self.journal.tell(
                        self.computed, self.plan.total - self.plan.left, self.plan.left, self._failed_count
                    )
                    if time.monotonic() >= self.next_flush:
                        self._flush()
                self._flush()
                self._describe()
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
        seconds = time.monotonic() - started
        result = StudyResult(
            self.table, self.arrays, self.held, self.design, seconds, self.computed, adaptive=self.pilots
        )
        for what, text in self.told.items():
            how = f"ended as {what.label}" if isinstance(what, Status) else f"have no outcome {what!r}"
            trials = f"{self.counts[what]} trial{'s' * (self.counts[what] > 1)} of this run"
            warnings.warn(f"{trials} {how}; the first: {text}", stacklevel=4)
        if self.elsewhere:
            warnings.warn(
                f"some trials were computed by {self.elsewhere}: their last bits may differ from those of others",
                stacklevel=4,
            )
        result.left = self.plan.left
        if self.failure is None:
            return result
        raise self._failed(result)

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

    def _hand_out(self) -> None:
        """Keep every worker busy, and as many tasks waiting."""
        while len(self.out) < 2 * self.crew.workers + 1:
            left = max(1, self.plan.left // (2 * self.crew.workers))
            pieces = self.plan.take(max(1, min(left, int(self.task_seconds / self.seconds_per_trial))))
            if not pieces:
                return
            try:
                future = self.crew.submit(pieces)
            except Exception as error:  # a pool that has broken takes nothing more
                self.failure = error
                return
            self.out.add(future)
            future.add_done_callback(self.back.put)

    def _call_back(self) -> None:
        """Take back what no worker has begun."""
        for future in list(self.out):
            if future.cancel():
                self.out.discard(future)

    def _take_back(self) -> None:
        """Keep what the next task to end has computed, if one does soon."""
        try:
            future = self.back.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        if future in self.out:  # else it was cancelled
            self._keep_all(future)

    def _keep_all(self, future: Future) -> None:
        """Keep what a task that has ended has computed."""
        self.out.discard(future)
        try:
            report = future.result()
        except KeyboardInterrupt:  # a worker heard the Ctrl-C that was meant for all
            raise
        except BaseException as error:
            if self.failure is None:
                self.failure = error
            self._call_back()
            return
        self.elsewhere = self.elsewhere or difference(report.node, this_node())
        trials = 0
        for finished in report.finished:
            self._keep(finished)
            trials += len(finished.outcomes["status"])
        if trials:
            latest = report.seconds / trials
            self.seconds_per_trial = max(1e-6, (1 - LATEST) * self.seconds_per_trial + LATEST * latest)

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
            self._write(functools.partial(self.store.describe, self.table, self.pilots, partial))

    def _flush(self) -> None:
        """Store what is new."""
        began = time.monotonic()
        if self.store is not None and self.dirty:
            self._write(functools.partial(self.store.write, self.arrays, frozenset(self.dirty)))
            self.dirty.clear()
        self._show()
        now = time.monotonic()
        self.next_flush = now + max(FLUSH_SECONDS, (now - began) / FLUSH_SHARE)

    def _write(self, write: Callable[[], None]) -> None:
        """Let the writer's thread do it, which an interrupt waits for, where one in Zarr's midst would not.

        The lock is the writer's, too: whatever interrupts this thread, the store is ours until the last byte.
        """
        assert self.store is not None
        self.store.lock.hold()

        def write_and_let_go(lock: Lock) -> None:
            try:
                write()
            finally:
                lock.let_go()

        written = self.writer.submit(write_and_let_go, self.store.lock)
        interrupt: KeyboardInterrupt | None = None
        while not written.done():
            try:
                wait([written])
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt
        written.result()

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
        if not isinstance(self.failure, StoreError):
            try:
                self._flush()
            except KeyboardInterrupt:
                self.failure = StudyInterrupted("interrupted")
            except StoreError as error:
                self.failure = error


@contextlib.contextmanager
def _bar(progress: bool | None, total: int, done: int) -> Iterator[tqdm[NoReturn] | None]:
    """A bar over trials; its rate is the mean of all, as cells come in random order."""
    if progress is False:
        yield None
        return
    from tqdm import tqdm

    disable = None if progress is None else False
    with tqdm(total=total, initial=done, unit="trial", delay=1, disable=disable, leave=False, smoothing=0) as bar:
        yield bar
