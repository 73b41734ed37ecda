"""Factors that the user gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.arrays import as_array, as_list
from fastflow.checks import FloatArray, as_floats, frozen, shown
from fastflow.equality import by_value
from fastflow.inits.base import Factors, Init, RuleMemory
from fastflow.networks import Architecture, Network


@by_value(hashable=False)
@dataclass(frozen=True, eq=False, repr=False)
class Explicit(Init):
    """Factors that the user gives.

    Parameters
    ----------
    arrays : sequence of arrays
        For a DeepLinear network its N factors, first to last: (d_j, d_{j-1}) for one start, (runs, d_j, d_{j-1}) for a
        start a run. For a DiagonalLinear network u and v, or u_1, ..., u_L, v_1, ..., v_L if factors are not
        identical: (n,) or (runs, n); without those of v if it is not signed.
    steps : int array (runs,) or None
        The steps that each run has already taken, so that schedules, records and ``max_steps`` go on from there.

    Examples
    --------
    >>> init = ff.inits.Explicit([np.full((4, 2, 2), 0.1), np.full((4, 2, 2), 0.2)])  # four starts of two factors
    """

    arrays: Sequence[ArrayLike]
    steps: NDArray[np.int64] | None = None
    memory: RuleMemory | None = field(default=None, init=False)

    networks: ClassVar[tuple[type[Network], ...]] = (Network,)

    @property
    def random(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Explicit(<arrays {', '.join(str(np.shape(array)) for array in self.arrays)}>)"

    def __post_init__(self) -> None:
        given = as_list("arrays", self.arrays) if isinstance(self.arrays, Sequence) else []
        if not given:
            raise TypeError("arrays must be a sequence of factors, first to last")
        # What a run has come to may have diverged; what a user makes up may not.
        going_on = self.steps is not None
        checked = [as_floats(f"factor {j + 1}", array, (1, 2, 3), finite=not going_on) for j, array in enumerate(given)]
        if len({array.ndim for array in checked}) > 1:
            raise ValueError("factors must all be one start, or all stacks (runs, ...) of starts")
        if not going_on:
            checked = [frozen(array) for array in checked]
        object.__setattr__(self, "arrays", tuple(checked))
        if self.steps is not None:
            steps, runs = as_array("steps", self.steps), len(checked[0])
            if steps.dtype.kind not in "iu" or steps.shape != (runs,) or np.any(steps < 0):
                raise ValueError(f"steps must be {runs} nonnegative integers, got {shown(self.steps)}")
            object.__setattr__(self, "steps", frozen(steps.astype(np.int64)))

    def remembering(self, memory: RuleMemory | None) -> Explicit:
        """These factors, with what the rule remembers by which each run came there."""
        other = Explicit(self.arrays, self.steps)
        object.__setattr__(other, "memory", memory)
        return other

    def count(self, architecture: Architecture) -> int | None:
        """The number of runs, or None for one start that every run shares.

        Raises
        ------
        ValueError
            when these are no factors of this architecture
        """
        given, needed = [np.shape(array) for array in self.arrays], architecture.factor_shapes
        stacks = len(given[0]) > len(needed[0])
        if stacks and len({shape[0] for shape in given}) > 1:
            raise ValueError(f"factors have different numbers of runs: {[shape[0] for shape in given]}")
        if [shape[stacks:] for shape in given] != needed:
            if architecture.network.is_chain:
                _check_chain(given)
            raise ValueError(
                f"the factors given have shapes {shown(given)}, the network needs {shown(needed)}, or stacks "
                "(runs, ...) of them"
            )
        if self.steps is not None and not stacks:
            raise ValueError("steps belong to stacks of factors, one start a run; these are one start for all runs")
        return given[0][0] if stacks else None

    def title(self, architecture: Architecture) -> str:
        return f"Explicit({self.count(architecture) or 1} starts)"

    def draw(self, architecture: Architecture, rng: np.random.Generator) -> Factors:
        """The first of them."""
        stacks, dtype = self.count(architecture) is not None, np.result_type(*self.arrays)
        return [np.array(np.asarray(array)[0] if stacks else array, dtype) for array in self.arrays]

    def fill(
        self,
        architecture: Architecture,
        seed: int,
        trials: NDArray[np.int64],
        starts: NDArray[np.int64],
        factors: FloatArray,
    ) -> None:
        runs, first = self.count(architecture) or 1, 0
        with np.errstate(over="ignore"):  # what does not fit the dtype diverges
            for array in self.arrays:
                flat = np.reshape(array, (runs, -1))
                factors[:, first : first + flat.shape[1]] = flat
                first += flat.shape[1]


def _check_chain(shapes: Sequence[tuple[int, ...]]) -> None:
    """Refuse matrices, or stacks of them, of which two neighbours cannot be multiplied.

    Raises
    ------
    ValueError
        with the first two of them
    """
    for j, (first, second) in enumerate(pairwise(shapes), start=1):
        if len(first) > 1 and first[-2] != second[-1]:
            raise ValueError(
                f"factors do not chain: factor {j} has {first[-2]} rows, factor {j + 1} has {second[-1]} columns"
            )
