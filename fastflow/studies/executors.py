"""Executors: what tasks are handed to. Anything with ``submit(f, *args)`` that gives a future will do.

Of a future is asked that ``result()`` gives the value or raises, ``cancel()``, and ``add_done_callback(f)``: those of
`concurrent.futures`, loky, dask.distributed (``client.get_executor()``) and mpi4py.futures.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Protocol, runtime_checkable

from fastflow.checks import shown
from fastflow.studies.leaving import this_process
from fastflow.studies.tasks import RAISE, Piece, Report, run_task
from fastflow.threads import thread_count

START_SECONDS = 120.0
"""How long new processes may take until one of them answers."""


class Future(Protocol):
    """A task that was handed over."""

    def result(self) -> Report:
        """The report of the task, which is waited for; raises what the task raised."""

    def done(self) -> bool:
        """Whether it has ended."""

    def cancel(self) -> bool:
        """Take the task back, if nobody has begun it; whether that was so."""

    def add_done_callback(self, function: Callable[[Future], object], /) -> object:
        """Call a function of this future when it has ended."""


@runtime_checkable
class Submits(Protocol):
    """An executor: that of `concurrent.futures` and what is like it, or a dask ``Client``."""

    @property
    def submit(self) -> Callable[..., Future]:
        """``submit(f, *args)`` gives a future of ``f(*args)``."""


@runtime_checkable
class _Client(Protocol):
    """A dask client, whose own futures are of another kind."""

    def get_executor(self, *, pure: bool) -> Submits:
        """An executor whose futures are those of `concurrent.futures`."""


class Crew:
    """An executor, how many work in it, and how to make them stop.

    Parameters
    ----------
    executor : that of the user, which is left open; None for threads of this process
    threads : how many, without an executor; default the CPUs that this process may use
    on_error : one of `ON_ERROR`
    timeout : seconds that a task may take
    most_seconds : after which a task begins nothing more

    Attributes
    ----------
    workers : int, how many tasks it runs at once, as far as it says
    deaths : what futures raise whose worker has died
    """

    def __init__(
        self,
        executor: object,
        threads: int | None,
        on_error: str = RAISE,
        timeout: float = math.inf,
        most_seconds: float = math.inf,
    ) -> None:
        self.deaths: tuple[type[BaseException], ...] = (BrokenExecutor,)
        self._asked_to_stop = threading.Event()
        self._pool: Executor | None = None
        self._processes: ProcessPoolExecutor | None = None
        self._executor: object = None
        run = functools.partial(run_task, on_error=on_error, timeout=timeout, most_seconds=most_seconds)
        self._run: Callable[[Sequence[Piece]], Report] = run
        self._submit: Callable[..., Future]
        if executor is None:
            self.workers = thread_count(threads)
            self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="fastflow-study")
            self._submit = self._pool.submit
            self._run = functools.partial(run, asked_to_stop=self._asked_to_stop.is_set)
        else:
            if threads is not None:
                raise ValueError("threads are those of fastflow's own pool: give threads or an executor")
            if isinstance(executor, _Client):
                executor = executor.get_executor(pure=False)
            if not isinstance(executor, Submits):
                raise TypeError(f"executor must have submit(f, *args), got {shown(executor)}{_way_out(executor)}")
            self._executor = executor
            self.workers = _workers(executor)
            self._submit = executor.submit
            self._run = functools.partial(run, home=this_process())
            if type(executor) is ProcessPoolExecutor:
                self._processes = executor
            if _client_of(executor) is not None:
                self.deaths += (sys.modules["distributed"].KilledWorker,)

    def submit(self, pieces: Sequence[Piece]) -> Future:
        """Hand a task over."""
        return self._submit(self._run, pieces)

    def is_away(self) -> bool:
        """Whether a dask client looks for its scheduler, and tasks must wait; ConnectionError once it has given up."""
        status = getattr(_client_of(self._executor), "status", "")
        if status in ("closing", "closed"):  # its futures would not say so
            raise ConnectionError("the dask client is closed, or has lost its scheduler")
        return bool(status == "connecting")

    def renew(self) -> bool:
        """Put another process pool in the place of one that a worker's death has broken; False where none works."""
        broken = self._processes
        if broken is None:
            return False
        # There is no other way to ask a pool how it was made.
        count, context, initializer, arguments = (
            getattr(broken, name) for name in ("_max_workers", "_mp_context", "_initializer", "_initargs")
        )
        fresh = ProcessPoolExecutor(
            count, context, initializer, arguments, max_tasks_per_child=getattr(broken, "_max_tasks_per_child", None)
        )
        if self._pool is not None:
            self._pool.shutdown(wait=False)
        self._pool = self._processes = fresh
        self._submit = fresh.submit
        with contextlib.suppress(BrokenExecutor, TimeoutError):
            fresh.submit(run_task, []).result(START_SECONDS)  # else no trial is to blame
            return True
        return False

    def end_processes(self) -> bool:
        """End the workers of a process pool, which do not answer; False if it is none."""
        workers = getattr(self._processes, "_processes", None)
        for worker in list((workers or {}).values()):
            with contextlib.suppress(ValueError):  # it has ended by itself
                worker.kill()
        return bool(workers)

    def ask_to_stop(self) -> None:
        """Make running tasks of our own threads end soon."""
        self._asked_to_stop.set()

    def stop(self) -> None:
        """Make running tasks of our own pool end soon, and wait for them."""
        self.ask_to_stop()
        if self._pool is not None:
            if self._pool is self._processes:
                self.end_processes()
            self._pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Shut down an executor of our own."""
        if self._pool is not None:
            self.stop()


def _client_of(executor: object) -> object:
    """The dask client of an executor, None if it has none."""
    client: object = getattr(executor, "_client", None)
    return client


def _way_out(executor: object) -> str:
    """What is meant by a string or a path in the place of an executor."""
    if isinstance(executor, str) and "://" in executor:
        return f"; a dask scheduler there is dask.distributed.Client({executor!r})"
    return f"; a store is store={shown(executor)}" if isinstance(executor, str | os.PathLike) else ""


def _workers(executor: object) -> int:
    """How many tasks an executor runs at once, as far as it says."""
    threads_of = getattr(_client_of(executor), "nthreads", None)
    if threads_of is not None:
        return max(1, sum(threads_of().values()))
    for name in ("num_workers", "_max_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    return os.cpu_count() or 1
