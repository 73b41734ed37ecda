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
    In the ``solve`` of a baseline of your own, from which a study collects it:

    >>> with ff.baselines.shortfalls() as said:
    ...     ff.baselines.fall_short("came to a residual of 0.1, not to 1e-06")
    >>> said
    ['came to a residual of 0.1, not to 1e-06']
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

    Examples
    --------
    >>> with ff.baselines.shortfalls() as said:
    ...     ff.baselines.fall_short("came to a residual of 0.1, not to 1e-06")
    >>> said
    ['came to a residual of 0.1, not to 1e-06']
    """
    collected: list[str] = []
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)
