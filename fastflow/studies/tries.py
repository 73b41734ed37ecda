"""Tries: what did not come back of what was handed out, how it is tried again, and what of it is set aside.

Where a worker has died, nobody knows of which of the tasks that were out. They are suspects, who are tried in halves,
with nothing beside them: who comes back is cleared, and who is left alone in the end is the one. What takes too long is
known, and tried again one trial at a time, among the others. No bit of any outcome depends on how often it was tried.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence

from fastflow.studies.tasks import Piece

TRIES = 3
"""How often a trial is tried before it is set aside, and of how many trials so set aside a cell is given up."""


class Tries:
    """What is to be tried again.

    Attributes
    ----------
    deaths : int, how often workers died
    aside : the pieces that have been set aside, and why, until the driver takes them
    given_up : cell -> why, those of which nothing more should be tried
    """

    def __init__(self) -> None:
        self.deaths = 0
        self.aside: deque[tuple[Piece, str]] = deque()
        self.given_up: dict[int, str] = {}
        self._again: deque[list[Piece]] = deque()
        self._lost: list[Piece] = []
        self._groups: list[list[Piece]] = []
        self._group: deque[Piece] = deque()
        self._alone = False
        self._count: Counter[tuple[int, int]] = Counter()
        self._failed: Counter[int] = Counter()

    def next(self, idle: bool) -> list[Piece] | None:
        """The next pieces to be tried again: none if what is out must come back before, None if there are none.

        ``idle`` says that nothing is out.
        """
        if not self._group and (self._lost or self._groups or self._alone):
            if not idle:
                return []
            self._narrow()
            self._group.extend(self._groups.pop() if self._groups else ())
            self._alone = bool(self._group)
        if self._group:
            return [self._group.popleft()]
        return self._again.popleft() if self._again else None

    def again(self, pieces: Sequence[Piece]) -> None:
        """Pieces came back undone, which is not their fault."""
        if pieces:
            self._again.append(list(pieces))

    def lost(self, pieces: Sequence[Piece]) -> None:
        """A worker died while these were out, perhaps of one of them."""
        self._lost.extend(pieces)
        if self._group:  # not yet handed out
            self._groups.append(list(self._group))
            self._group.clear()

    def late(self, piece: Piece, seconds: float) -> None:
        """A piece was given up after so many seconds."""
        for one in _trials(piece):
            if not self._tried(one, f"took longer than {seconds:g} s"):
                self._again.append([one])

    def starved(self, piece: Piece) -> None:
        """A piece did not get its memory, perhaps since there was other work: it is tried with nothing beside it."""
        self._groups.append([piece._replace(alone=True)])

    def _narrow(self) -> None:
        """Part the pieces that were lost into halves; what was alone is tried again, or set aside."""
        pieces, self._lost = self._lost, []
        if not pieces:
            return
        self.deaths += 1
        if len(pieces) > 1:
            for one in (one for piece in pieces for one in _trials(piece)):
                self._count[one.cell, one.first] += 1
            middle = len(pieces) // 2
            self._groups += [pieces[middle:], pieces[:middle]]
            return
        (piece,) = pieces
        if piece.last - piece.first == 1:
            if not self._tried(piece, "its worker died"):
                self._groups.append([piece])
            return
        middle = (piece.first + piece.last) // 2
        self._count.update((piece.cell, trial) for trial in range(piece.first, piece.last))
        self._groups += [[piece._replace(first=middle)], [piece._replace(last=middle)]]

    def _tried(self, one: Piece, why: str) -> bool:
        """Whether a trial has been tried often enough, and so is set aside."""
        self._count[one.cell, one.first] += 1
        if self._count[one.cell, one.first] < TRIES:
            return False
        self._failed[one.cell] += 1
        self.aside.append((one, f"{why}, {TRIES} times and more"))
        if self._failed[one.cell] == TRIES:
            self.given_up[one.cell] = f"not tried any more: of {TRIES} trials of this cell each {why} so often"
        return True


def _trials(piece: Piece) -> Iterator[Piece]:
    """The trials of a piece, each alone."""
    return (piece._replace(first=trial, last=trial + 1) for trial in range(piece.first, piece.last))
