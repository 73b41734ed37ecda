"""Ctrl-C while kernels are compiled stops the compiler, but not where it would be swallowed and leave half a kernel.

LLVM calls Python back, by ctypes, to hand over what it has compiled; an exception that is raised there is printed and
lost, and the kernel with it. As Python handles a signal at the first line of Python after it, one that comes while LLVM
is at work is often handled just there. It is raised a moment later, and again as long as nothing has come of it.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from types import FrameType

CALLED_BACK = ("_raw_object_cache_notify", "_raw_object_cache_getbuffer")
"""The functions of llvmlite that LLVM calls."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

POSTPONED = 0.02
"""Seconds after which a signal that came where LLVM calls back is handled."""

SWALLOWED = 0.5
"""Seconds after which an exception that a handler has raised, and that has not ended the block, is raised again."""

Handler = Callable[[int, FrameType | None], object]

_guarding = threading.local()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Handle signals in the block as outside of it, but none while LLVM calls back, and none is lost."""
    outside = threading.current_thread() is not threading.main_thread() or getattr(_guarding, "on", False)
    before = {} if outside else {int(number): signal.getsignal(number) for number in SIGNALS}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    if not handlers:
        yield
        return
    owed = _Owed(handlers)
    _guarding.on = True
    try:
        for number in handlers:
            signal.signal(number, owed.handle)
        yield
    finally:
        owed.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        _guarding.on = False
        owed.pay()


class _Owed:
    """The signals that have come in a block and have not ended it."""

    def __init__(self, handlers: dict[int, Handler]) -> None:
        self.handlers = handlers
        self.raised: dict[int, BaseException | None] = {}
        """By number, what its handler has raised; None if it has not been asked yet."""
        self.reminded: set[int] = set()
        self.closing = threading.Event()
        self.reminders: SimpleQueue[tuple[int, float]] = SimpleQueue()  # to which a handler may add at any moment
        self.reminder = threading.Thread(target=self._remind, name="fastflow-interrupts", daemon=True)
        self.reminder.start()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Do as the handler outside does, unless that would be lost here."""
        reminded = number in self.reminded
        self.reminded.discard(number)
        if reminded and number not in self.raised:
            return  # it has been handled since
        if self.closing.is_set() or _is_called_back(frame):
            self.raised.setdefault(number, None)
            self.reminders.put((number, POSTPONED))
            return
        swallowed = self.raised.get(number)
        try:
            if reminded and swallowed is not None:
                raise swallowed
            self.handlers[number](number, frame)
        except BaseException as error:
            self.raised[number] = error
            self.reminders.put((number, SWALLOWED))
            raise
        self.raised.pop(number, None)

    def close(self) -> None:
        """Handle nothing from here on, but what comes is still owed."""
        self.closing.set()
        self.reminders.put((0, 0.0))
        self.reminder.join()

    def pay(self) -> None:
        """Handle what is owed, but for the exception that is on its way already."""
        on_its_way = sys.exc_info()[1]
        for number, error in self.raised.items():
            if error is None:
                self.handlers[number](number, None)
            elif error is not on_its_way:
                raise error

    def _remind(self) -> None:
        while not self.closing.is_set():
            number, seconds = self.reminders.get()
            if not self.closing.wait(seconds) and number in self.raised:
                self.reminded.add(number)
                _thread.interrupt_main(signal.Signals(number))


def _is_called_back(frame: FrameType | None) -> bool:
    """Whether a frame is within what LLVM calls."""
    while frame is not None:
        if frame.f_code.co_name in CALLED_BACK:
            return True
        frame = frame.f_back
    return False
