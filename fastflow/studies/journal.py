"""The journal of a running study: a line a minute through `logging`, where no terminal shows a bar."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

LOGGER = logging.getLogger("fastflow.studies")
"""Told at the level INFO, which shows nothing unless somebody has asked for it."""

EVERY_SECONDS = 60.0


class Journal:
    """What is said of a run from time to time.

    Parameters
    ----------
    progress : as in `fastflow.Study.run`; with False, or with a bar, nothing is said
    """

    def __init__(self, progress: bool | None) -> None:
        silent = progress is not None or sys.stderr is None or sys.stderr.isatty()
        self._started = time.monotonic()
        self._next = float("inf") if silent else self._started + EVERY_SECONDS

    def tell(self, computed: int, done: int, left: int, failed: Callable[[], int]) -> None:
        """Say how things stand, if a minute has passed since the last time.

        Parameters
        ----------
        computed : int, trials of this run
        done, left : int, trials that there are in all, and that are still to be computed
        failed : gives how many have failed or diverged
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + EVERY_SECONDS
        rate = computed / (now - self._started)
        when = f"about {left / rate:.0f} s left" if rate else "nobody knows when it ends"
        LOGGER.info(
            "%d of %d trials done, %.3g a second, %s; %d failed or diverged", done, done + left, rate, when, failed()
        )
