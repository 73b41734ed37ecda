"""Output: lines, warnings, signals and exit codes of the shell."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from fastflow.checks import printable

Handler = Callable[[int, FrameType | None], object] | signal.Handlers
"""What a signal is handled by: a function, or one of `signal`'s constants."""

DONE, FAILED, WRONG_INPUT, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
"""How a command may end; incomplete is a study that was stopped by its time, or a merge that lacks trials."""


def check_writable(folder: Path) -> None:
    """Make the folder, and find out now rather than after hours whether results can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"cannot write to the folder {folder}: {error.strerror or error}") from None


def say(text: str) -> None:
    """Print, now, what a terminal may be shown; a reader who has left, as in ``... | head``, stops no training."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    shown = "\n".join(map(printable, text.split("\n"))).encode(encoding, "backslashreplace").decode(encoding)
    try:
        print(shown, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str, code: int) -> int:
    """Say on standard error what is wrong, and give the exit code back."""
    print(f"fastflow: {printable(message)}", file=sys.stderr)
    return code


def interrupt(*_: object) -> NoReturn:
    """Handle a signal as Ctrl-C is handled."""
    raise KeyboardInterrupt


@contextlib.contextmanager
def handling(handler: Handler, *signals: signal.Signals) -> Iterator[None]:
    """Handle signals this way in the block; outside the main thread, where Python cannot, leave them as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, handler)) for number in signals]
    try:
        yield
    finally:
        for number, previous in before:
            signal.signal(number, signal.SIG_DFL if previous is None else previous)


@contextlib.contextmanager
def journal_on_stderr() -> Iterator[None]:
    """Print what fastflow tells of long work through `logging`, which it does where standard error is no terminal."""
    logger, handler = logging.getLogger("fastflow"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Print a warning as one line, without the place in the source that gave it."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        complain(f"warning: {message}", DONE)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
