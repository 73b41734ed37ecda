"""Leaving: a worker process that is told to end (SIGTERM) hands back what it has, and ends then.

So batch systems tell the processes of a job that its time is up. Without this a process ends at once, and what its task
had done is computed again.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, cast

LEAVE_SECONDS = 2.0
"""How long a process that was told to end goes on, for what it has to reach the driver."""


Process = tuple[str, int]
"""The name of a node, and the number of a process on it."""


class _Loop(Protocol):
    """What runs in the main thread of a dask worker."""

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Call something there."""


class _Worker:
    """This process, as far as it works for a driver in another one."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self._at_work = 0
        self._lock = threading.Lock()

    @contextmanager
    def at_work(self, home: Process | None) -> Iterator[bool]:
        """A task for the driver whose process is ``home``, if one is named; True where it hears SIGTERM meanwhile.

        In a process that was told to end no other task is begun: it sleeps until it ends.
        """
        if home is None or home == this_process() or not self._listen():
            yield False
            return
        with self._lock:
            self._at_work += 1
        try:
            if self.told.is_set():
                time.sleep(2 * LEAVE_SECONDS)
            yield True
        finally:
            with self._lock:
                self._at_work -= 1

    def _listen(self) -> bool:
        """Hear SIGTERM, where nobody else does; only a main thread can say so, a dask worker's when it next may."""
        handler = signal.getsignal(signal.SIGTERM)
        if self.told.is_set():
            return True
        if handler == signal.SIG_DFL and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._hear)
            return True
        if handler == signal.SIG_DFL and (loop := _loop_of_dask()) is not None:
            loop.add_callback(self._listen_in_loop)
            return True
        return handler == self._hear

    def _listen_in_loop(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._hear)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """Tell the tasks, and end when they have had time to answer; at once where there are none, or told again."""
        signal.signal(number, signal.SIG_DFL)
        self.told.set()
        wait = LEAVE_SECONDS if self._at_work else 0.0
        threading.Thread(target=self._end, args=(wait,), name="fastflow end", daemon=True).start()

    def _end(self, wait: float) -> None:
        time.sleep(wait)
        os.kill(os.getpid(), signal.SIGTERM)


def this_process() -> Process:
    """What tells this process from all others, on all nodes."""
    return platform.node(), os.getpid()


def _loop_of_dask() -> _Loop | None:
    """The loop of the dask worker in whose thread this is, None in no such thread."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return cast(_Loop, distributed.get_worker().loop)
    except ValueError:
        return None


worker = _Worker()
