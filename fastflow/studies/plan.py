"""The plan: which trials are still to be done, in which order, and when a cell has enough of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from fastflow.streams import stream
from fastflow.studies.design import Design
from fastflow.studies.held import Held
from fastflow.studies.outcomes import Arrays, Field, fill_up, is_whole, rows_of
from fastflow.studies.pilot import count_after, pilot_of
from fastflow.studies.tasks import Piece


def order_of(design: Design, shard: tuple[int, int]) -> NDArray[np.int64]:
    """The cells that share i of k computes, in random order: what is done at any time covers the map evenly.

    Of cells that have the same outcomes the first alone.
    """
    cells = np.arange(design.cells)
    if design.has_twins:
        cells = np.array([cell for cell in cells.tolist() if design.twins(cell)[0] == cell])
    return stream(design.seed, "order").permutation(cells)[shard[0] :: shard[1]]


def held_by(design: Design, order: NDArray[np.int64]) -> Held:
    """All cells that have outcomes when those of the order are computed."""
    cells = np.unique(np.concatenate([design.twins(cell) for cell in order.tolist()])) if design.has_twins else order
    return Held(design.shape, None if len(cells) == design.cells else np.sort(cells))


def share_with_twins(design: Design, fields: Mapping[str, Field], arrays: Arrays, held: Held) -> list[int]:
    """Give cells that have the same outcomes what any of them has, and say which cells have got some.

    They differ after a crash between the writing of their chunks, and where values of axes are new.
    """
    flat, changed, seen = rows_of(arrays, held.count, design.trials), [], set()
    whole = is_whole(flat, design.fields)
    for cell in held.all_cells.tolist() if design.has_twins else ():
        if cell in seen:
            continue
        twins = np.intersect1d(design.twins(cell), held.all_cells)
        seen.update(twins.tolist())
        rows = np.searchsorted(held.all_cells, twins)
        done = whole[rows]
        source = rows[done.argmax(axis=0)]  # of each trial the first twin that has it
        for lacking, row in zip(done.any(axis=0) & ~done, rows, strict=True):
            at = np.flatnonzero(lacking)
            if at.size:
                found = {name: values[source[at], at] for name, values in flat.items()}
                mine = {name: values[row, at] for name, values in flat.items()}
                fill_up(mine, found, fields)
                for name, values in mine.items():  # the status last
                    flat[name][row, at] = values
                changed.append(int(held.all_cells[row]))
    return changed


class Plan:
    """What is left to do of a design.

    Parameters
    ----------
    design : Design
    arrays : its outcomes, in which is seen what is done
    held : which cells these have
    order : the cells to compute, one after the other, see `order_of`
    adaptive : whether a cell may have enough before it has all trials
    """

    def __init__(self, design: Design, arrays: Arrays, held: Held, order: NDArray[np.int64], adaptive: bool) -> None:
        self.design, self.adaptive, self._held = design, adaptive, held
        self._flat = rows_of(arrays, held.count, design.trials)
        self._has_twins = design.has_twins
        self._order: Iterator[int] = iter(order.tolist())
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._unfinished: dict[int, int] = {}
        rows = [held.row(cell) for cell in order.tolist()]
        done = is_whole(self._flat, design.fields, rows)
        self.done = int(np.count_nonzero(done))
        self.total = done.size
        self.left = self.total - self.done

    def twins(self, cell: int) -> NDArray[np.int64]:
        """The cells that have the outcomes of this one."""
        return self.design.twins(cell) if self._has_twins else np.array([cell])

    def take(self, trials: int) -> list[Piece]:
        """The next pieces, so many trials together; none if there is nothing to hand out now."""
        pieces: list[Piece] = []
        while trials > 0:
            if not self._waiting and not self._refill():
                break
            cell, first, last = self._waiting.popleft()
            if last - first > trials:
                self._waiting.appendleft((cell, first + trials, last))
                last = first + trials
            pieces.append(Piece(cell, self.design.setup(cell), self.design.where(cell), first, last))
            trials -= last - first
        return pieces

    def finished(self, cell: int, trials: int) -> None:
        """So many trials of a cell are in; where it has not enough, more are to be done."""
        self.left -= trials
        self._unfinished[cell] -= trials
        if self._unfinished[cell] == 0:
            del self._unfinished[cell]
            if self.adaptive:
                self._open(cell)

    def _refill(self) -> bool:
        """Open the next cell that has something to do; False if there is none."""
        for cell in self._order:
            self._open(cell)
            if self._waiting:
                return True
        return False

    def _open(self, cell: int) -> None:
        """Queue what a cell lacks."""
        done = is_whole(self._flat, self.design.fields, self._held.row(cell))
        wanted = self._wanted(cell, done)
        missing = np.flatnonzero(~done[:wanted])
        if self.adaptive and not missing.size:
            self.left -= int(np.count_nonzero(~done))
        if not missing.size:
            return
        ends = np.flatnonzero(np.diff(missing, append=missing[-1] + 2) > 1)
        starts = np.concatenate([[0], ends[:-1] + 1])
        self._waiting.extend((cell, int(missing[a]), int(missing[b]) + 1) for a, b in zip(starts, ends, strict=True))
        self._unfinished[cell] = int(missing.size)

    def _wanted(self, cell: int, done: NDArray[np.bool_]) -> int:
        """How many trials a cell should have, as far as its pilot tells."""
        trials = self.design.trials
        pilot = pilot_of(trials, self.adaptive)
        if not pilot:
            return trials
        if not done[:pilot].all():
            return pilot
        outcomes = {name: array[self._held.row(cell), :pilot] for name, array in self._flat.items()}
        return count_after(int(self.design.success.of(outcomes).sum()), trials)
