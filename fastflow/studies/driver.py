"""The driver: shuffles cells, cuts them into tasks, hands these out, and keeps what comes back."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from fastflow.checks import as_count, as_number, shown
from fastflow.memory import require_memory
from fastflow.scheduling import telling_of_compiling
from fastflow.studies import growth
from fastflow.studies.design import Design
from fastflow.studies.executors import Crew, Future
from fastflow.studies.held import Held
from fastflow.studies.outcomes import BYTES, Arrays, empty_outcomes
from fastflow.studies.plan import Plan, held_by, order_of
from fastflow.studies.result import StudyResult
from fastflow.studies.store import Store, StoreError, attach, create, locked, read_arrays, read_table, recover
from fastflow.studies.tasks import Finished, TrialError

if TYPE_CHECKING:
    from tqdm import tqdm

TASK_SECONDS = 0.25
"""What a task should take: many times what handing it out costs, and short enough for a bar that moves."""

POLL_SECONDS = 0.1
"""How long the driver waits for a task to end before it looks at the clock."""

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
) -> StudyResult:
    """What `Study.run` does, where the arguments are explained."""
    shard = _as_shard(shard, design)
    if max_seconds is not None:
        max_seconds = as_number("max_seconds", max_seconds, above=0)
    task_seconds = TASK_SECONDS if task_seconds is None else as_number("task_seconds", task_seconds, above=0)
    order = order_of(design, shard)
    held = held_by(design, order)
    require_memory(
        held.count * design.trials * BYTES, f"the outcomes of {held.count} x {design.trials} trials", "take fewer"
    )
    if store is not None and not isinstance(store, str | Path):
        raise TypeError(f"store must be the path of a folder, got {shown(store)}")
    with contextlib.ExitStack() as stack:
        kept = None
        if store is None:
            arrays = empty_outcomes(held.array_shape(design.trials))
        else:
            kept, arrays, held = _open(Path(store).resolve(), design, held, repair, stack)
        crew = Crew(executor, threads)
        stack.callback(crew.close)
        plan = Plan(design, arrays, held, order, adaptive)
        driver = _Driver(design, arrays, held, kept, crew, plan, task_seconds)
        return driver.run(max_seconds, progress)


def _as_shard(shard: tuple[int, int] | None, design: Design) -> tuple[int, int]:
    if shard is None:
        return 0, 1
    if np.shape(shard) != (2,):
        raise TypeError(f"shard must be (i, k), share i of k, got {shown(shard)}")
    i, k = as_count("shard[0]", shard[0], 0), as_count("shard[1]", shard[1], 1)
    if i >= k:
        raise ValueError(f"shard must be (i, k) with i in 0 .. k - 1, got ({i}, {k})")
    if k > design.cells:
        raise ValueError(f"{design.cells} cells make no {k} shares")
    return i, k


def _open(
    path: Path, design: Design, held: Held, repair: bool, stack: contextlib.ExitStack
) -> tuple[Store, Arrays, Held]:
    """The store at a path, made or grown to what is wanted, locked; what is in it, and of which cells."""
    stack.enter_context(locked(path))
    recover(path)
    table = design.describe()
    if not path.exists():
        arrays = empty_outcomes(held.array_shape(design.trials))
        return create(path, table, arrays, held), arrays, held
    old = read_table(path)
    why = growth.conflict(old, table) or growth.lacking(old, table)
    if why is not None:
        raise StoreError(f"the store {path} is of another study: {why}")
    found, has = read_arrays(path, repair=repair)
    arrays, held = growth.moved(found, has, old, table, held)
    if arrays is not found:
        return create(path, table, arrays, held), arrays, held
    store = attach(path, arrays["status"].shape)
    if old != table:  # another success
        store.describe(table)
    return store, arrays, held


class _Driver:
    """One run: what is handed out, what came back, what is not yet stored."""

    def __init__(
        self,
        design: Design,
        arrays: Arrays,
        held: Held,
        store: Store | None,
        crew: Crew,
        plan: Plan,
        task_seconds: float,
    ) -> None:
        self.design, self.arrays, self.held, self.store = design, arrays, held, store
        self.crew, self.plan = crew, plan
        self.flat = {name: array.reshape(held.count, design.trials) for name, array in arrays.items()}
        self.back: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self.out: set[Future] = set()
        self.dirty: set[tuple[int, ...]] = set()
        self.unshown = 0
        self.next_flush = time.monotonic() + FLUSH_SECONDS
        self.task_seconds, self.seconds_per_trial = task_seconds, task_seconds / FIRST_TRIALS
        self.failure: BaseException | None = None
        self.computed = 0

    def run(self, max_seconds: float | None, progress: bool | None) -> StudyResult:
        """Until all is done, time is up, or something is wrong."""
        started = time.monotonic()
        with telling_of_compiling(progress), _bar(progress, self.plan.total, self.plan.done) as self.bar:
            try:
                while True:
                    in_time = max_seconds is None or time.monotonic() - started < max_seconds
                    if self.failure is None and in_time:
                        self._hand_out()
                    elif not in_time:
                        self._call_back()
                    if not self.out:
                        break
                    self._take_back()
                    if time.monotonic() >= self.next_flush:
                        self._flush()
            except KeyboardInterrupt:
                self.failure = StudyInterrupted("interrupted")
                self._wind_up()
            except StoreError as error:
                self.failure = error
                self._wind_up()
            if not isinstance(self.failure, StoreError):
                try:
                    self._flush()
                except StoreError as error:
                    self.failure = error
        seconds = time.monotonic() - started
        result = StudyResult(self.design.describe(), self.arrays, self.held, self.design, seconds, self.computed)
        if self.failure is None:
            return result
        raise self._told(result)

    def _told(self, result: StudyResult) -> StudyError | StudyInterrupted | StoreError:
        """The failure, with what was done."""
        done = f"{int(result.trials.sum())} of {self.held.count * self.design.trials} trials are done"
        where = "" if self.store is None else f" and stored in {self.store.path}; the same call goes on from there"
        told: StudyError | StudyInterrupted | StoreError
        if isinstance(self.failure, StudyInterrupted):
            told = StudyInterrupted(f"interrupted: {done}{where}; .result has them")
        elif isinstance(self.failure, StoreError):
            told = StoreError(*self.failure.args)
        else:
            trial = isinstance(self.failure, TrialError)
            what = f"{self.failure}" if trial else f"the executor failed: {self.failure!r}"
            told = StudyError(f"{what} ({done}{where}; .result has them)")
            told.__cause__ = self.failure
        told.result = result
        return told

    def _hand_out(self) -> None:
        """Keep every worker busy, and as many tasks waiting."""
        while len(self.out) < 2 * self.crew.workers + 1:
            left = max(1, self.plan.left // (2 * self.crew.workers))
            pieces = self.plan.take(max(1, min(left, int(self.task_seconds / self.seconds_per_trial))))
            if not pieces:
                return
            try:
                future = self.crew.submit(pieces)
            except RuntimeError as error:  # a pool that has broken takes nothing more
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
        trials = 0
        for finished in report.finished:
            self._keep(finished)
            trials += len(finished.outcomes.status)
        if trials:
            latest = report.seconds / trials
            self.seconds_per_trial = max(1e-6, (1 - LATEST) * self.seconds_per_trial + LATEST * latest)

    def _keep(self, finished: Finished) -> None:
        first, last = finished.first, finished.first + len(finished.outcomes.status)
        for cell in self.plan.twins(finished.cell).tolist():
            row = self.held.row(cell)
            if self.store is not None:
                self.dirty.update(self.store.chunks_of(self.held.place(cell), first, last))
            for name, values in finished.outcomes._asdict().items():  # the status last, as an interrupt may come
                self.flat[name][row, first:last] = values
        self.plan.finished(finished.cell, last - first)
        self.unshown += last - first
        self.computed += last - first
        if self.store is None:
            self._show()

    def _flush(self) -> None:
        """Store what is new."""
        began = time.monotonic()
        if self.store is not None and self.dirty:
            with ThreadPoolExecutor(1) as pool:  # which an interrupt waits for, where one in Zarr's midst would not
                pool.submit(self.store.write, self.arrays, self.dirty).result()
            self.dirty.clear()
        self._show()
        now = time.monotonic()
        self.next_flush = now + max(FLUSH_SECONDS, (now - began) / FLUSH_SHARE)

    def _show(self) -> None:
        if self.bar is not None and self.unshown:
            self.bar.total = self.bar.n + self.unshown + self.plan.left  # less than all where cells have enough
            self.bar.update(self.unshown)
        self.unshown = 0

    def _wind_up(self) -> None:
        """Stop the workers, and keep what they have done by now."""
        self._call_back()
        with contextlib.suppress(KeyboardInterrupt):
            self.crew.stop()
            for future in list(self.out):
                if future.done():
                    self._keep_all(future)


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
