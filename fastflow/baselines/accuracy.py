"""Accuracy: how a baseline says that what it found misses the tolerance that it states."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


def fall_short(message: str, stacklevel: int = 1) -> None:
    """Say that a solution misses the tolerance that its baseline states: a warning, or in a study the trial's status.

    Parameters
    ----------
    message : str, by how much, and what to try
    stacklevel : int, 1 for the line that calls this, 2 for the caller of that, as in `warnings.warn`

    Examples
    --------
    In the ``solve`` of a baseline of your own:

    >>> if residual > tol:
    ...     fastflow.baselines.fall_short(f"came to a residual of {residual:.1g}, not to {tol:.1g}")
    """
    collected = _collected.get()
    if collected is None:
        warnings.warn(message, stacklevel=stacklevel + 1)
    else:
        collected.append(message)


@contextmanager
def shortfalls() -> Iterator[list[str]]:
    """Collect what `fall_short` is told in a block of this thread, instead of warning.

    Yields
    ------
    list of str, the messages
    """
    collected: list[str] = []
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)
