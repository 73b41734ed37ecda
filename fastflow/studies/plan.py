"""The plan: which trials are still to be done, in which order, and when a cell has enough of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.streams import stream
from fastflow.studies.design import Design
from fastflow.studies.held import Held
from fastflow.studies.outcomes import Arrays, Field, fill_up, is_whole, rows_of
from fastflow.studies.pilot import count_after, pilot_of
from fastflow.studies.tasks import Piece


class Order(NamedTuple):
    """What is to be computed: trials first to last, without the last, of some cells, one cell after the other."""

    cells: NDArray[np.int64]
    first: int
    last: int


def order_of(design: Design, shard: tuple[int, int], adaptive: bool = False) -> Order:
    """What share i of k computes, its cells in random order: what is done at any time covers the map evenly.

    Of cells that have the same outcomes the first alone. Where there are more shares than cells each is of one cell,
    and of a part of its trials.

    Raises
    ------
    ValueError
        for more shares than there are trials, and for parts of the trials of adaptive studies
    """
    i, k = shard
    cells = np.arange(design.cells)
    if design.has_twins:
        cells = np.array([cell for cell in cells.tolist() if design.twins(cell)[0] == cell])
    cells = stream(design.seed, "order").permutation(cells)
    if k <= len(cells):
        return Order(cells[i::k], 0, design.trials)
    if pilot_of(design.trials, adaptive):
        raise ValueError(
            f"{len(cells)} cells make no {k} shares of an adaptive study: the first trials of a cell decide about the "
            f"others, which only one share can know; take up to {len(cells)}"
        )
    if k > len(cells) * design.trials:
        raise ValueError(f"{len(cells)} cells of {design.trials} trials make no {k} shares")
    at, part = i % len(cells), i // len(cells)
    parts = -(-(k - at) // len(cells))  # so many shares have this cell
    first, last = design.trials * part // parts, design.trials * (part + 1) // parts
    return Order(cells[at : at + 1], first, last)


def held_by(design: Design, order: Order) -> Held:
    """All cells that have outcomes when those of the order are computed."""
    cells = order.cells
    if design.has_twins:
        cells = np.unique(np.concatenate([design.twins(cell) for cell in cells.tolist()]))
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
    order : what is to be computed, see `order_of`
    adaptive : whether a cell may have enough before it has all trials
    """

    def __init__(self, design: Design, arrays: Arrays, held: Held, order: Order, adaptive: bool) -> None:
        self.design, self.adaptive, self._held = design, adaptive, held
        self._flat = rows_of(arrays, held.count, design.trials)
        self._has_twins = design.has_twins
        self._order: Iterator[int] = iter(order.cells.tolist())
        self._first, self._last = order.first, order.last
        self._waiting: deque[tuple[int, int, int]] = deque()
        self._unfinished: dict[int, int] = {}
        rows = [held.row(cell) for cell in order.cells.tolist()]
        done = is_whole(self._flat, design.fields, rows)[:, order.first : order.last]
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
        missing = self._first + np.flatnonzero(~done[self._first : min(wanted, self._last)])
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
