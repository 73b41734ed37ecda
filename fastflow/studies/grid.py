"""The grid of a study: which objects stand in which cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fastflow.checks import shown
from fastflow.studies.axes import Follower, applied, parse_axes
from fastflow.studies.spec import WORDS

MOST_CELLS = 1_000_000
"""Of one study."""

Place = tuple[int, ...]
"""A position on each of some axes."""


class Grid:
    """The cells of a study: its axes, and the objects that stand in each cell.

    Parameters
    ----------
    words : name -> object, the ensemble, network, init and method; None for what is not needed, or is an axis
    axes : name -> values, as `fastflow.Study` takes them

    Attributes
    ----------
    words : as given
    axes : tuple of Axis
    followers : tuple of Follower, what moves along with them

    Raises
    ------
    ValueError, TypeError
        for axes that are none of these words
    """

    def __init__(self, words: Mapping[str, object], axes: Mapping[str, object]) -> None:
        self.words = words
        self.axes, self.followers = parse_axes(axes, words)
        if self.cells > MOST_CELLS:
            raise ValueError(
                f"the axes have {self.cells} cells together, more than the {MOST_CELLS} that a study may have: give "
                "them fewer values, or make several studies"
            )
        self._of_word = {word: self._axes_of(word) for word in WORDS}
        self._made: dict[tuple[str, Place], object] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def cells(self) -> int:
        """The number of cells."""
        return math.prod(self.shape)

    def axes_of(self, word: str) -> list[int]:
        """Which of the axes an object of a word depends on: those of its fields, and of what moves along."""
        return self._of_word[word]

    def _axes_of(self, word: str) -> list[int]:
        own = {i for i, axis in enumerate(self.axes) if axis.word == word}
        return sorted(own.union(*(follower.of for follower in self.followers if follower.axis.word == word)))

    def place(self, cell: int) -> Place:
        """Where a cell is on all axes, by its position in the flat array of cells."""
        return tuple(int(i) for i in np.unravel_index(cell, self.shape))

    def at(self, word: str, place: Sequence[int]) -> object:
        """The object of a word at a place on all axes, made once for all cells that share it.

        Raises
        ------
        ValueError, TypeError
            for a value that the object does not take, with the axis and the value
        """
        return self._part(word, tuple(place[i] for i in self._of_word[word]))

    def each(self, word: str) -> dict[Place, object]:
        """All objects of a word, by their places on its own axes."""
        sizes = [self.shape[i] for i in self._of_word[word]]
        return {place: self._part(word, place) for place in np.ndindex(*sizes)}

    def where(self, places: Mapping[str, Place]) -> str:
        """The first cell with these places on the axes of some words, in words."""
        full = [0] * len(self.axes)
        for word, place in places.items():
            for i, at in zip(self._of_word[word], place, strict=True):
                full[i] = at
        return self.described(full)

    def described(self, place: Sequence[int]) -> str:
        """A place on all axes in words."""
        own = zip(self.axes, place, strict=True)
        along = [(follower.axis, self._position(follower, place)) for follower in self.followers]
        return ", ".join(f"{axis.name} = {shown(axis.values[i])}" for axis, i in (*own, *along))

    def _part(self, word: str, place: Place) -> object:
        """The object of a word at a place on its own axes."""
        key = word, place
        if key not in self._made:
            thing, fields = self.words[word], []
            full = [0] * len(self.axes)
            for i, position in zip(self._of_word[word], place, strict=True):
                axis, full[i] = self.axes[i], position
                if axis.word == word and axis.field is None:
                    thing = axis.objects[position]
                elif axis.word == word:
                    fields.append((axis, position))
            along = [follower for follower in self.followers if follower.axis.word == word]
            fields += [(follower.axis, self._position(follower, full)) for follower in along]
            self._made[key] = applied(thing, fields)
        return self._made[key]

    def _position(self, follower: Follower, place: Sequence[int]) -> int:
        """Which of its values something that moves along has at a place on all axes."""
        sizes = [self.shape[i] for i in follower.of]
        return int(np.ravel_multi_index([place[i] for i in follower.of], sizes))
