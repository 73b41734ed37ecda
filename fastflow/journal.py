"""The journal of long work: a line from time to time through `logging`, where no terminal shows a bar."""

from __future__ import annotations

import logging
import sys
import time

LOGGER = logging.getLogger("fastflow")
"""Told at the level INFO, which shows nothing unless somebody has asked for it; the shell does."""

FIRST_SECONDS, EVERY_SECONDS = 10.0, 60.0
"""When the first line comes; each wait is twice as long as the last, up to a minute."""


class Journal:
    """What is said of a call from time to time.

    Parameters
    ----------
    progress : as in `fastflow.train` and `fastflow.Study.run`; with False, or with a bar, nothing is said
    topic : str, the logger's name below ``fastflow``
    unit : str, what is counted, such as trial
    """

    def __init__(self, progress: bool | None, topic: str, unit: str) -> None:
        silent = progress is not None or sys.stderr is None or sys.stderr.isatty()
        self._logger, self._unit = LOGGER.getChild(topic), unit
        self._started = self._told = time.monotonic()
        self._computed = 0
        self._wait = min(FIRST_SECONDS, EVERY_SECONDS)
        self._next = float("inf") if silent else self._started + self._wait

    @property
    def is_due(self) -> bool:
        """Whether it is time for a line."""
        return time.monotonic() >= self._next

    def tell(self, computed: int, done: int, left: int, more: str = "") -> None:
        """Say how things stand, by the rate since the last line, of which compiling is no part, or else of all.

        Parameters
        ----------
        computed : int, units of this call
        done, left : int, units that there are in all, and that are still to be computed
        more : str, what else there is to say
        """
        now = time.monotonic()
        self._wait = min(2 * self._wait, EVERY_SECONDS)
        self._next = now + self._wait
        seconds = now - self._started
        rate = (computed - self._computed) / (now - self._told) or computed / seconds
        self._told, self._computed = now, computed
        when = f", {rate:.3g} a second, about {left / rate:.0f} s left" if rate else f" after {seconds:.0f} s"
        self._logger.info("%d of %d %ss done%s%s", done, done + left, self._unit, when, more)
