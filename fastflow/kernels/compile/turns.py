"""Processes that start together need the same kernels: one compiles each, and the others wait for its file.

A lock is a file beside that of the compiled version, locked for as long as its process lives at most. It is removed
with the lock: who still waits for the removed file gets its turn later, and finds what was compiled.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from numba.core.event import trigger_event

try:
    import fcntl
except ImportError:  # no such locks here: each process compiles for itself
    fcntl = None  # type: ignore[assignment]

WAITING = "fastflow:waiting"
"""The kind of Numba's events that tell of waiting for another process."""

PATIENCE = 120.0
"""Seconds for which another process is waited for that may have been stopped; after that, never again."""

SHORTEST, LONGEST = 0.002, 0.05
"""Seconds between looks at a lock, twice as many each time."""

_waited_in_vain = False


@contextlib.contextmanager
def turn_to_compile(path: Path, mode: int) -> Iterator[None]:
    """Let no other process be in a block of the same path, if that can be had within `PATIENCE`."""
    descriptor = None if fcntl is None or _waited_in_vain else _open(path, mode)
    if descriptor is None:
        yield
        return
    try:
        locked = _wait(descriptor)
        try:
            yield
        finally:
            if locked:
                with contextlib.suppress(OSError):
                    path.unlink()
                with contextlib.suppress(OSError):  # a process that was forked meanwhile has the descriptor, too
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _open(path: Path, mode: int) -> int | None:
    """A descriptor of a file that is made if need be; None where it cannot be written."""
    with contextlib.suppress(OSError):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
    return None


def _wait(descriptor: int) -> bool:
    """Whether the lock could be had: at once, or when another process has let it go."""
    global _waited_in_vain
    if _lock(descriptor):
        return True
    with trigger_event(WAITING):
        began, pause = time.monotonic(), SHORTEST
        while time.monotonic() - began < PATIENCE:
            time.sleep(pause)
            if _lock(descriptor):
                return True
            pause = min(2 * pause, LONGEST)
    _waited_in_vain = True
    return False


def _lock(descriptor: int) -> bool:
    """Whether the lock was free, and is this process's now; also where the file system knows no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
