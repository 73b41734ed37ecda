"""How threads that have no run help those that have one: with the large products of chains, part by part."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatDType
from fastflow.kernels.vectors.team import assist, make_board, show_board
from fastflow.scheduling import Team

TURNS = 20_000
"""Turns for which a helper looks at a board on which nothing comes, some tens of nanoseconds each."""

NOBODY_SECONDS = 1e-3
"""After which a helper looks again where nobody has begun."""


class Helping(Team):
    """Threads that share the products of chains.

    Parameters
    ----------
    leaders : int, how many threads will have runs
    threads : int, how many there are
    dtype : of all arithmetic
    """

    def __init__(self, leaders: int, threads: int, dtype: FloatDType) -> None:
        self._left, self._zero = leaders, dtype.type(0)
        # Where all have a run at first, somebody helps when the first is done.
        self._helpers = max(1, threads // leaders - 1)
        self._lock, self._numbers = threading.Lock(), itertools.count()
        self._boards: dict[int, NDArray[np.int64]] = {}

    @staticmethod
    def compile(dtype: FloatDType) -> None:
        """Compile what helpers call."""
        assist(dtype.type(0), make_board(), 0)

    def show(self, board: NDArray[np.int64]) -> None:
        """Have helpers look at the board of this thread's kernels."""
        show_board(board, self._helpers)
        with self._lock:
            self._boards[threading.get_ident()] = board

    @contextmanager
    def leading(self) -> Iterator[None]:
        try:
            yield
        finally:
            with self._lock:
                self._left -= 1
                self._boards.pop(threading.get_ident(), None)

    def help(self, should_stop: Callable[[], bool]) -> None:
        turn = next(self._numbers)  # so that helpers begin at one board each
        while not should_stop():
            with self._lock:
                left, boards = self._left, list(self._boards.values())
            if not left:
                return
            if boards:
                assist(self._zero, boards[turn % len(boards)], TURNS)
                turn += 1
            time.sleep(0 if boards else NOBODY_SECONDS)
