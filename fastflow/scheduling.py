"""Scheduling: the queue of runs, the budget of a slice, the progress bar.

Threads take runs from one queue and work on them in slices, kernel calls of about a twentieth of a second, between
which they look whether they should stop. Which thread takes which run, and where a slice ends, changes no bit of any
run.
"""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastflow.journal import LOGGER, Journal
from fastflow.kernels.compile.watch import watching_compilation
from fastflow.kernels.queues import PLACE
from fastflow.notebooks import bar_class, in_notebook
from fastflow.threads import interruptibly, run_workers

if TYPE_CHECKING:
    from tqdm import tqdm

SLICE_SECONDS = 0.05
"""What a call of a kernel should take, so that Ctrl-C need not wait."""

MOST_GROWTH = 8.0
"""How many times the work of one slice the next may get."""

COMPILE_SECONDS = 2.0
"""Compiling that takes longer is told of."""

SHARES = 4
"""A thread takes one in so many of its equal part of the runs that are left."""

ALONE = 64
"""Runs that a thread takes at once where there is no other to leave some to."""


SLOW = 4e9
"""Operations a second that a slow processor does at least, where a kernel's work is some."""


def first_budget(most: int, operations: float) -> int:
    """The first slice of work whose units take so many operations: ``most``, or what is no longer than a slice."""
    return max(1, min(most, int(SLICE_SECONDS * SLOW / max(operations, 1.0))))


Result = TypeVar("Result")


def call_for(operations: float) -> Callable[[Callable[[], Result]], Result]:
    """What calls work whose units take so many operations: `interruptibly` where one is longer than a slice."""
    return interruptibly if operations > SLICE_SECONDS * SLOW else _call


def _call(function: Callable[[], Result]) -> Result:
    return function()


def next_budget(budget: int, seconds: float, wanted: float | None = None) -> int:
    """How much work the next slice gets if ``budget`` took so long, where it should take ``wanted``, or as usual."""
    wanted = SLICE_SECONDS if wanted is None else wanted
    return max(1, int(budget * min(MOST_GROWTH, wanted / max(seconds, 1e-6))))


class Queue:
    """The runs that no worker has taken yet.

    Parameters
    ----------
    runs : int array, or how many runs there are
    threads : int, how many workers share them
    """

    def __init__(self, runs: int | NDArray[np.int64], threads: int) -> None:
        self._runs = np.arange(runs) if isinstance(runs, int) else runs
        self._threads, self._next, self._lock = threads, 0, threading.Lock()

    def __len__(self) -> int:
        return len(self._runs)

    def take(self, least: int) -> NDArray[np.int64]:
        """The next runs: many while there are many, so that calls are few, then few, so that threads end together.

        A multiple of ``least``, as long as there are as many: runs that go together have none idle among them.
        """
        total = len(self._runs)
        least = max(least, ALONE if self._threads == 1 else 1)
        with self._lock:
            first = self._next
            parts = (total - first) // (SHARES * self._threads * least)
            self._next = min(total, first + least * max(1, parts))
            return self._runs[first : self._next]


class Worker(ABC):
    """One thread's memory, and how it takes runs from the queue to their ends, slice by slice."""

    first_budget: int = 1
    """The work of the first slice."""
    members: int = 1
    """How many runs go together."""
    slice_seconds: float | None = None
    """What a slice should take, if not `SLICE_SECONDS`."""
    runs: NDArray[np.int64] = np.zeros(0, np.int64)
    """Those that it has in hand."""

    @abstractmethod
    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        """Take runs further by so much work; how much was done, less than ``budget`` only if nothing is left to do."""

    @abstractmethod
    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the runs that `advance` should be given again."""

    def settle(self) -> None:  # noqa: B027, since most have nothing to do
        """Keep what a slice has brought; safe to interrupt and to repeat."""

    def work(self, queue: Queue, should_stop: Callable[[], bool]) -> None:
        """Take runs from the queue to their ends, until there are none or it is told to stop."""
        budget = self.first_budget
        try:
            while not should_stop():
                self.runs = self.unfinished(self.runs)
                if len(self.runs) < self.members:
                    self.runs = np.concatenate([self.runs, queue.take(self.members)])
                if not len(self.runs):
                    return
                started = time.perf_counter()
                done = self.advance(self.runs, budget)
                self.settle()
                if done >= budget:
                    budget = next_budget(budget, time.perf_counter() - started, self.slice_seconds)
        finally:
            self.settle()


class Team(ABC):
    """Threads that have no run, and help those that have one."""

    @abstractmethod
    def leading(self) -> AbstractContextManager[None]:
        """The time in which this thread has runs."""

    @abstractmethod
    def help(self, should_stop: Callable[[], bool]) -> None:
        """Help until nobody leads, or until told to stop."""


class QueueWorker(Worker):
    """A worker whose kernel goes through the runs that it is given one after the other, and keeps its place."""

    place: NDArray[np.int64]
    """Of which the first entry is the kernel's place among the runs; it is theirs in number when all have ended."""

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.place[PLACE] < len(runs):
            return runs
        self.place[PLACE] = 0
        return runs[:0]


def work_through(
    runs: int | NDArray[np.int64],
    threads: int,
    make_worker: Callable[[], Worker],
    *,
    ended: Callable[[], int] | None = None,
    progress: bool | None = False,
    team: Team | None = None,
) -> None:
    """Take runs to their ends, or as far as an exception lets them come.

    Parameters
    ----------
    runs : int array, or how many runs there are
    threads : int
    make_worker : function that makes the worker of one thread, called there
    ended : function that counts the runs that have ended, for the bar
    progress : show a bar on standard error; None if that is a terminal, after a second, and a journal where it is none
    team : Team, in which threads help that have no run, or none any more; without one they end
    """
    queue = Queue(runs, threads)
    journal = Journal(progress if ended else False, "train", "run")
    before = ended() if ended else 0

    leaders = min(threads, len(queue))
    numbers = itertools.count()  # whose next is one step, so that no two threads get the same

    def work(should_stop: Callable[[], bool]) -> None:
        if team is None:
            make_worker().work(queue, should_stop)
            return
        if next(numbers) < leaders:
            with team.leading():
                make_worker().work(queue, should_stop)
        team.help(should_stop)

    with progress_bar(progress, len(queue)) as bar:

        def show() -> None:
            if ended is None:
                return
            if bar is not None:
                bar.update(ended() - bar.n)
            if journal.is_due:
                done = ended()
                journal.tell(done - before, done, len(queue) - done)

        run_workers(work, threads, show)
        show()


_told_of_compiling = threading.Event()


def telling_of_compiling(progress: bool | None) -> AbstractContextManager[None]:
    """Say once in a process that kernels are being compiled, where that takes a while.

    Parameters
    ----------
    progress : whether to, on standard error; None if that is a terminal, and in notebooks, elsewhere through `logging`
    """
    if progress is False or _told_of_compiling.is_set():
        return nullcontext()
    seen = progress or in_notebook() or (sys.stderr is not None and sys.stderr.isatty())
    return watching_compilation(functools.partial(_tell, seen), COMPILE_SECONDS)


def _tell(seen: bool) -> None:
    if _told_of_compiling.is_set():
        return
    _told_of_compiling.set()
    words = "compiling for a first call of this kind, which can take a minute"
    if seen:
        print(f"fastflow: {words}", file=sys.stderr, flush=True)
    else:
        LOGGER.info(words)


def progress_bar(
    progress: bool | None, total: int, unit: str = "run", *, done: int = 0, smoothing: float = 0.3
) -> AbstractContextManager[tqdm[NoReturn] | None]:
    """A bar on standard error, or of a notebook, after the first second.

    Parameters
    ----------
    progress : whether to show one; None where there is a terminal, or a notebook
    total, done : int, of how many units, and how many there are already
    unit : str
    smoothing : of the rate, 0 for the mean of all
    """
    if progress is False:
        return nullcontext()
    disable = None if progress is None and not in_notebook() else False
    bar = bar_class()
    return bar(total=total, initial=done, unit=unit, delay=1, disable=disable, leave=False, smoothing=smoothing)
