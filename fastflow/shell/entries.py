"""Entries of a matrix: hidden ones, masked ones, and those that a table lists by their places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.arrays import AnyArray
from fastflow.checks import FloatArray, as_floats, as_number
from fastflow.problems import MatrixCompletion
from fastflow.shell.arrays import MATRIX, MISSING, OBSERVED, TRIPLETS
from fastflow.streams import stream

TRIPLET_NAMES = (
    frozenset(["row", "rows", "i"]),
    frozenset(["column", "columns", "col", "cols", "j"]),
    frozenset(["value", "values", "entry", "x"]),
)
"""What columns of triplets are called."""


def hide_entries(
    problem: MatrixCompletion, fraction: float, seed: int = 0
) -> tuple[MatrixCompletion, MatrixCompletion]:
    """Split the observed entries at random: what is left to train on, and what is hidden.

    The entries are put in a random order that depends on the seed, the shape and their number alone, and the first
    ones are hidden: a larger fraction hides the same ones and more.

    Parameters
    ----------
    problem : MatrixCompletion with m entries
    fraction : float in (0, 1); the nearest whole number of entries is hidden
    seed : int

    Raises
    ------
    ValueError
        when that would hide no entry, or all
    """
    fraction = as_number("the fraction to hide", fraction, above=0)
    total = problem.values.size
    count = round(fraction * total)
    if fraction >= 1:
        raise ValueError(f"the fraction to hide must be less than 1, got {fraction:g}")
    if not 0 < count < total:
        raise ValueError(f"hiding {count} of {total} entries leaves nothing to compare: choose another fraction")
    order = stream(seed, "hide", problem.shape, total).permutation(total)

    def part(which: NDArray[np.int64]) -> MatrixCompletion:
        which = np.sort(which)
        return MatrixCompletion(
            problem.shape,
            problem.rows[which],
            problem.cols[which],
            problem.values[which],
            truth=problem.truth,
            normalization=problem.normalization,
            warn=False,
        )

    return part(order[count:]), part(order[:count])


def hidden_by(mask: AnyArray, means: str | None) -> tuple[NDArray[np.bool_], str]:
    """Where entries are missing, and how that was read."""
    if means is None and mask.dtype != np.bool_:
        raise ValueError(
            f"mask has dtype {mask.dtype}, which does not say whether 1 is an entry that is there: say "
            f"--mask {OBSERVED}, or --mask {MISSING}"
        )
    true = as_floats("mask", mask, None)
    if not np.isin(true, (0, 1)).all():
        raise ValueError("mask must have entries True and False, or 1 and 0")
    if means == OBSERVED:
        return true == 0, f"mask: entries that are {OBSERVED} are true"
    hint = f", as numpy.ma has it (else --mask {OBSERVED})" if means is None else ""
    return true == 1, f"mask: entries that are {MISSING} are true{hint}"


def are_triplets(matrix: AnyArray, names: Sequence[str], layout: str | None) -> bool:
    """Whether the rows of a table, with columns of such names, are row, column and value of an entry.

    Raises
    ------
    ValueError
        where they may be that, and may be a matrix
    """
    if layout is not None:
        return layout == TRIPLETS
    if matrix.ndim != 2 or matrix.shape[1] != len(TRIPLET_NAMES) or len(matrix) < 2:
        return False
    if names and all(name.lower() in known for name, known in zip(names, TRIPLET_NAMES, strict=True)):
        return True
    places = matrix[:, :2]
    if matrix.dtype.kind not in "iuf" or not (np.isfinite(matrix).all() and np.all(places == np.floor(places))):
        return False
    if places.min() < 0 or len(np.unique(places, axis=0)) < len(places):
        return False
    raise ValueError(
        f"the three columns could be row, column and value of an entry: say --layout {TRIPLETS}, or --layout {MATRIX}"
    )


class Triplets(NamedTuple):
    """Entries by their places.

    Attributes
    ----------
    rows, columns : int arrays (m,), from 0 on
    values : array (m,)
    first : what the file counts from, 0 or 1
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: FloatArray
    first: int


def as_triplets(table: AnyArray) -> Triplets:
    """The rows (row, column, value) of a table.

    Raises
    ------
    TypeError, ValueError
        for what is none
    """
    triplets = as_floats("the triplets", table, 2)
    if triplets.shape[1] != len(TRIPLET_NAMES):
        raise ValueError(f"triplets are row, column and value, got {triplets.shape[1]} columns")
    places = triplets[:, :2].astype(np.int64)
    if places.min() < 0 or np.any(places != triplets[:, :2]):
        raise ValueError("rows and columns of triplets must be whole numbers from 0 or 1 on")
    first = int(places.min() > 0)
    return Triplets(places[:, 0] - first, places[:, 1] - first, triplets[:, 2], first)
