"""Ctrl-C while kernels are compiled stops the compiler, but not where it would be swallowed and leave half a kernel.

LLVM calls Python back, by ctypes, to hand over what it has compiled; an exception that is raised there is printed and
lost, and the kernel with it. What comes then is raised when the kernel is whole.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

CALLED_BACK = ("_raw_object_cache_notify", "_raw_object_cache_getbuffer")
"""The functions of llvmlite that LLVM calls."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

Handler = Callable[[int, FrameType | None], object]

_guarding = threading.local()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Handle signals in the block as outside of it, but none while LLVM calls back, and none is lost."""
    outside = threading.current_thread() is not threading.main_thread() or getattr(_guarding, "on", False)
    before = {} if outside else {number: signal.getsignal(number) for number in SIGNALS}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    if not handlers:
        yield
        return
    lost: list[tuple[Handler, int]] = []

    def guard(handler: Handler) -> Handler:
        def handle(number: int, frame: FrameType | None) -> None:
            lost.append((handler, number))
            if not _is_called_back(frame):
                handler(number, frame)
                lost.pop()  # it was handled, and nothing was raised that may yet be swallowed

        return handle

    _guarding.on = True
    try:
        for each, outer in handlers.items():
            signal.signal(each, guard(outer))
        yield
    finally:
        for each, outer in handlers.items():
            signal.signal(each, outer)
        _guarding.on = False
    for handler, number in lost:
        handler(number, None)


def _is_called_back(frame: FrameType | None) -> bool:
    """Whether a frame is within what LLVM calls."""
    while frame is not None:
        if frame.f_code.co_name in CALLED_BACK:
            return True
        frame = frame.f_back
    return False
