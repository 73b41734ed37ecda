"""The grid of a study: which objects stand in which cell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from fastflow.checks import shown
from fastflow.studies.axes import Axis, applied, parse_axes
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

    Raises
    ------
    ValueError, TypeError
        for axes that are none of these words
    """

    def __init__(self, words: Mapping[str, object], axes: Mapping[str, object]) -> None:
        self.words = words
        self.axes: tuple[Axis, ...] = parse_axes(axes, words)
        if self.cells > MOST_CELLS:
            raise ValueError(
                f"the axes have {self.cells} cells together, more than the {MOST_CELLS} that a study may have: give "
                "them fewer values, or make several studies"
            )
        self._of_word = {word: [i for i, axis in enumerate(self.axes) if axis.word == word] for word in WORDS}
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
        """Which of the axes are those of a word."""
        return self._of_word[word]

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
        return ", ".join(f"{axis.name} = {shown(axis.values[i])}" for axis, i in zip(self.axes, place, strict=True))

    def _part(self, word: str, place: Place) -> object:
        """The object of a word at a place on its own axes."""
        key = word, place
        if key not in self._made:
            thing, fields = self.words[word], []
            for i, position in zip(self._of_word[word], place, strict=True):
                axis = self.axes[i]
                if axis.field is None:
                    thing = axis.objects[position]
                else:
                    fields.append((axis, position))
            self._made[key] = applied(thing, fields)
        return self._made[key]
