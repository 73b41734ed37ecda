"""Whether Numba is compiling, and for how long: what a user who waits is told."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from numba.core.event import Event, Listener, install_listener

from fastflow.kernels.compile.turns import WAITING


class _Watch(Listener):
    """Calls ``tell`` once when compiling, all of it together, has taken so many seconds."""

    def __init__(self, tell: Callable[[], None], after: float) -> None:
        self._tell, self._left, self._depth = tell, after, 0
        self._timer: threading.Timer | None = None

    def on_start(self, event: Event) -> None:
        self._depth += 1
        if self._depth == 1 and self._left > 0:
            self._begun = time.monotonic()
            self._timer = threading.Timer(self._left, self._tell)
            self._timer.daemon = True
            self._timer.start()

    def on_end(self, event: Event) -> None:
        self._depth -= 1
        if self._depth == 0 and self._timer is not None:
            self._left -= time.monotonic() - self._begun
            self.stop()

    def stop(self) -> None:
        """Say nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@contextlib.contextmanager
def watching_compilation(tell: Callable[[], None], after: float) -> Iterator[None]:
    """Call ``tell`` once, in another thread, if kernels are compiled in this block for so many seconds together.

    What is only loaded from the cache does not count. Compilation in other threads of the process does, and waiting for
    another process that compiles.
    """
    watch = _Watch(tell, after)
    with install_listener("numba:compile", watch), install_listener(WAITING, watch):
        try:
            yield
        finally:
            watch.stop()
