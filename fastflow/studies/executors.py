"""Executors: what tasks are handed to. Anything with ``submit(f, *args)`` that gives a future will do.

Of a future is asked that ``result()`` gives the value or raises, ``cancel()``, and ``add_done_callback(f)``: those of
`concurrent.futures`, loky, dask.distributed (``client.get_executor()``) and mpi4py.futures.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastflow.checks import shown
from fastflow.studies.tasks import Piece, run_task
from fastflow.threads import thread_count


class Crew:
    """An executor, how many work in it, and how to make them stop.

    Parameters
    ----------
    executor : that of the user, which is left open; None for threads of this process
    threads : how many, without an executor; default the CPUs that this process may use
    """

    def __init__(self, executor: Any, threads: int | None) -> None:
        self._asked_to_stop = threading.Event()
        self._own = executor is None
        if executor is None:
            self.workers = thread_count(threads)
            executor = ThreadPoolExecutor(self.workers, thread_name_prefix="fastflow-study")
            self._run: Any = functools.partial(run_task, asked_to_stop=self._asked_to_stop.is_set)
        else:
            if threads is not None:
                raise ValueError("threads are those of fastflow's own pool: give threads or an executor")
            if hasattr(executor, "get_executor"):  # a dask Client, whose futures are of another kind
                executor = executor.get_executor(pure=False)
            if not callable(getattr(executor, "submit", None)):
                raise TypeError(f"executor must have submit(f, *args), got {shown(executor)}")
            self.workers = _workers(executor)
            self._run = run_task
        self._executor = executor

    def submit(self, pieces: Sequence[Piece]) -> Any:
        """Hand a task over."""
        return self._executor.submit(self._run, pieces)

    def stop(self) -> None:
        """Make running tasks of our own threads end soon, and wait for them."""
        self._asked_to_stop.set()
        if self._own:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """Shut down an executor of our own."""
        if self._own:
            self._asked_to_stop.set()
            self._executor.shutdown(wait=True, cancel_futures=True)


def _workers(executor: Any) -> int:
    """How many tasks an executor runs at once, as far as it says."""
    client: Any = getattr(executor, "_client", None)
    if hasattr(client, "nthreads"):
        return max(1, sum(client.nthreads().values()))
    for name in ("num_workers", "_max_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    return os.cpu_count() or 1
