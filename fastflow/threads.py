"""Threads: how many, a pool that can be interrupted, and a BLAS that keeps to one of them meanwhile."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from fastflow.checks import as_count
from fastflow.kernels.compile.interrupts import SIGNALS

POLL_SECONDS = 0.1


def thread_count(threads: int | None) -> int:
    """The number of threads to use: as given, or the CPUs that this process may use."""
    if threads is not None:
        return as_count("threads", threads, 1)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas_libraries() -> list[dict[str, str]]:
    """What threadpoolctl knows of each BLAS that NumPy and SciPy have in this process."""
    import scipy.linalg  # noqa: F401, whose BLAS is then there to be asked

    return [library for library in threadpool_info() if library["user_api"] == "blas"]


class _BlasPin:
    """One BLAS thread while anybody needs it so: the first to come saves the setting, the last to go restores it."""

    def __init__(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            # Whoever held the lock in the parent is no thread of the child, whose BLAS keeps the setting that it found.
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._limits: threadpool_limits | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        lock = self._lock
        with lock:
            if self._users == 0:
                self._limits = threadpool_limits(1, user_api="blas")
            self._users += 1
        try:
            yield
        finally:
            with lock:
                if lock is self._lock:  # else this is a child that was forked in here
                    self._users -= 1
                    if self._users == 0:
                        assert self._limits is not None
                        self._limits.restore_original_limits()
                        self._limits = None


one_blas_thread = _BlasPin()
"""Context manager: BLAS runs on one thread, so that it neither competes with a pool nor lets its blocking show."""


class _Stop(threading.local):
    """Whether what runs in this thread should stop, for threads that hear no Ctrl-C."""

    asked: Callable[[], bool] | None = None


_stop = _Stop()


@contextmanager
def stopped_by(asked: Callable[[], bool]) -> Iterator[None]:
    """So told, `interruptibly` and `run_workers` raise `KeyboardInterrupt` in this thread and block."""
    _stop.asked = asked
    try:
        yield
    finally:
        _stop.asked = None


def is_told_to_stop() -> bool:
    """Whether this thread has been told to stop, or left behind."""
    return _stop.asked is not None and _stop.asked()


@contextmanager
def hearing() -> Iterator[Callable[[], None]]:
    """Give a function that raises what the handler of a signal has raised in the block, if that has been lost.

    NumPy clears whatever is raised while it asks an operand for what it knows of arrays; where that is an
    `enum.IntEnum`, Python's own code answers, and may be where the signal is handled. What the garbage collector calls
    loses exceptions, too.
    """
    raised: list[BaseException] = []
    here = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in SIGNALS} if here else {}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}

    def hear(number: int, frame: FrameType | None) -> None:
        try:
            handlers[signal.Signals(number)](number, frame)
        except BaseException as error:
            raised.append(error)
            raise

    def raise_again() -> None:
        if raised:
            raise raised.pop()

    for number in handlers:
        signal.signal(number, hear)
    try:
        yield raise_again
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


Result = TypeVar("Result")


def interruptibly(function: Callable[[], Result]) -> Result:
    """Call what hears no Ctrl-C, in a thread of its own that is left behind on Ctrl-C, or once told (`stopped_by`).

    For what may take long and lets other threads run meanwhile, as HiGHS, LAPACK and kernels do. What is left behind is
    told to stop, too, and may go on until it asks: nobody may read what it writes.
    """
    answer: Future[Result] = Future()
    left, context = threading.Event(), contextvars.copy_context()
    errors = np.errstate(**np.geterr())  # which NumPy 1 has by thread, not in the context

    def call() -> None:
        try:
            with stopped_by(left.is_set), errors:
                answer.set_result(context.run(function))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=call, name="fastflow solver", daemon=True).start()
    try:
        with hearing() as raise_again:
            while not wait([answer], timeout=POLL_SECONDS).done:
                raise_again()
                if is_told_to_stop():
                    raise KeyboardInterrupt
    finally:
        left.set()
    return answer.result()


Worker = Callable[[Callable[[], bool]], None]


def run_workers(worker: Worker, count: int, on_poll: Callable[[], None]) -> None:
    """Run ``worker(should_stop)`` in ``count`` threads at once, or in this thread if ``count`` is 1.

    A worker calls ``should_stop()`` about ten times a second and returns soon after it says so. An exception in one,
    or Ctrl-C here, stops all and is raised when they have returned. ``on_poll`` is called in this thread as often.
    """
    with hearing() as raise_again:

        def poll() -> bool:
            on_poll()
            raise_again()
            if is_told_to_stop():
                raise KeyboardInterrupt
            return False

        if count == 1:
            worker(poll)
        else:
            _run_in_pool(worker, count, poll)


def _run_in_pool(worker: Worker, count: int, poll: Callable[[], object]) -> None:
    stop = threading.Event()

    def work() -> None:
        with stopped_by(stop.is_set):
            worker(stop.is_set)

    with ThreadPoolExecutor(count, thread_name_prefix="fastflow") as pool:
        futures = [pool.submit(work) for _ in range(count)]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=POLL_SECONDS, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                poll()
        finally:
            stop.set()
