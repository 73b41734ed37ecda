"""Which cells of a study arrays hold: all of them, along its axes, or those of a share, one after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fastflow.equality import by_value

Scalar = TypeVar("Scalar", bound=np.generic)


@by_value()
@dataclass(frozen=True, eq=False)
class Held:
    """The cells that arrays hold.

    Attributes
    ----------
    shape : how many values each axis of the study has
    cells : int array, increasing: their places in the flat array of all cells; None for all
    """

    shape: tuple[int, ...]
    cells: NDArray[np.int64] | None = None

    @property
    def all_cells(self) -> NDArray[np.int64]:
        """Their places in the flat array of all cells, in the order of the rows."""
        return np.arange(math.prod(self.shape)) if self.cells is None else self.cells

    @property
    def count(self) -> int:
        """How many they are."""
        return math.prod(self.shape) if self.cells is None else len(self.cells)

    @property
    def is_whole(self) -> bool:
        """Whether they are all cells of the study."""
        return self.count == math.prod(self.shape)

    def array_shape(self, trials: int) -> tuple[int, ...]:
        """The shape of arrays over these cells and so many trials."""
        return (*self.shape, trials) if self.cells is None else (len(self.cells), trials)

    def row(self, cell: int) -> int:
        """Which of them a cell is."""
        return cell if self.cells is None else int(np.searchsorted(self.cells, cell))

    def place(self, cell: int) -> tuple[int, ...]:
        """Where a cell is in the arrays."""
        if self.cells is None:
            return tuple(int(i) for i in np.unravel_index(cell, self.shape))
        return (self.row(cell),)

    def spread(self, values: NDArray[Scalar], fill: float = 0) -> NDArray[Scalar]:
        """An array over all cells, with a value for those that are not held."""
        if self.cells is None:
            return values
        spread = np.full((math.prod(self.shape), *values.shape[1:]), fill, values.dtype)
        spread[self.cells] = values
        return spread.reshape(*self.shape, *values.shape[1:])
