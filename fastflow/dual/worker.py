"""The worker of searches on duals: a fast way for many problems, and care for those that it leaves in doubt."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastflow.dual.careful import EXACT, newton_operations, take_slice
from fastflow.dual.stacks import NUMBER_BYTES
from fastflow.kernels.queues import PLACE
from fastflow.memory import require_memory
from fastflow.scheduling import QueueWorker, call_for


class CarefulWorker(QueueWorker):
    """One thread's part of a search through problems of shape (m, n), which hears Ctrl-C at any size.

    Parameters
    ----------
    m, n : int
    """

    def __init__(self, m: int, n: int) -> None:
        self.operations = newton_operations(m, n)
        self._careful: Iterator[None] | None = None

    @staticmethod
    def ask_for_memory(m: int, n: int, squares: int) -> None:
        """Ask for what one thread works with, so many matrices (m, m) among it."""
        numbers = 3 * m * n + squares * m**2
        require_memory(NUMBER_BYTES * numbers, f"work on a problem of shape {(m, n)}", "take fewer threads")

    @abstractmethod
    def take_steps(self, runs: NDArray[np.int64], budget: int) -> int:
        """Take runs some steps further on the fast way; how many steps."""

    @abstractmethod
    def look_at(self, runs: NDArray[np.int64]) -> Iterator[None] | None:
        """Look at runs that the fast way has left: what care those in doubt take, a slice for each item, or None."""

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        if self._careful is not None:
            if not call_for(EXACT * self.operations)(functools.partial(take_slice, self._careful)):
                self._careful = None
            return 0
        before = int(self.place[PLACE])
        taken = call_for(self.operations)(functools.partial(self.take_steps, runs, budget))
        self._careful = self.look_at(runs[before : self.place[PLACE]])
        return taken

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        return runs if self._careful is not None else super().unfinished(runs)
