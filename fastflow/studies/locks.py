"""Locks: one process writes a store, and nobody else until its last byte."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import socket
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from fastflow.studies.errors import StoreError

_handles: set[int] = set()
"""Of the locks that this process holds."""


@functools.cache
def _let_go_in_children() -> None:
    """A forked worker that outlives a killed driver must not keep its lock: the child closes what it inherited."""

    def close() -> None:
        for handle in _handles:
            os.close(handle)
        _handles.clear()

    os.register_at_fork(after_in_child=close)


class Lock:
    """The lock of a store, which belongs to all who hold it; the last to let go gives it up.

    Parameters
    ----------
    path : its file
    handle : of that file, locked; None where there are no locks
    """

    def __init__(self, path: Path, handle: int | None) -> None:
        self._path, self._handle, self._owner = path, handle, os.getpid()
        self._holders, self._counting = 1, threading.Lock()

    def hold(self) -> None:
        """Hold it, too: the thread that writes goes on when the one that waits for it has been interrupted."""
        with self._counting:
            self._holders += 1

    def let_go(self) -> None:
        """Hold it no longer."""
        with self._counting:
            self._holders -= 1
            if self._holders or self._handle is None or os.getpid() != self._owner:
                return
            if self.is_held():
                self._path.unlink(missing_ok=True)
            _handles.discard(self._handle)
            os.close(self._handle)

    def is_held(self) -> bool:
        """Whether the file at its place is still the one that is locked."""
        if self._handle is None:
            return True
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.lstat(self._path), os.fstat(self._handle))
        return False


@contextlib.contextmanager
def locked(path: Path) -> Iterator[Lock]:
    """Hold the lock of a store; it ends with the process, however that ends.

    Raises
    ------
    StoreError
        when another driver holds it, or there can be none at this place

    Warns
    -----
    UserWarning
        on a file system without locks, where the user keeps two drivers apart
    """
    lock = _take(path, path.with_name(path.name + ".lock"))
    try:
        yield lock
    finally:
        lock.let_go()


def holder_of(path: Path) -> str | None:
    """Who writes a store, in words, by its lock file; None where nobody does. The lock itself is not touched."""
    try:
        holder = path.with_name(path.name + ".lock").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    number, _, host = holder.removeprefix("process ").partition(" on ")
    if host != socket.gethostname() or not number.isdigit():
        return holder or None
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:  # it was killed, and its file is left
        return None
    except OSError:
        return holder
    return holder


def _take(path: Path, file: Path) -> Lock:
    """The lock of a store, whose file this is."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: the user keeps two drivers apart
        return Lock(file, None)
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise StoreError(f"{file}, the lock of the store, is a link, whose target is left alone") from error
            raise StoreError(f"the store {path} cannot be made: {error.strerror or error}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise StoreError(
                f"the store {path} is being written by {holder}; read it meanwhile with open_study"
            ) from None
        except OSError as error:
            warnings.warn(
                f"the file system of {path} has no locks ({error.strerror}): keep other drivers off this store",
                stacklevel=5,
            )
            break
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(file), os.fstat(handle)):
                break
        os.close(handle)  # the one before took its file away between our opening and locking it
    _let_go_in_children()
    _handles.add(handle)
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return Lock(file, handle)
