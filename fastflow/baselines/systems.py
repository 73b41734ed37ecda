"""Linear systems as they come: checked, and freed of the rows that say nothing new."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_floats
from fastflow.memory import require_work
from fastflow.threads import interruptibly

CONSISTENT = 1e-9
"""The largest ``||A x - y|| / ||y||`` at which a system counts as solved."""

UNIT_BITS = 10
"""Rows are brought to a like size by powers of 2 to this: those that differ by less stay as they are."""


LARGE = 20_000
"""Entries of a matrix from which on solvers may take so long that they are made to hear Ctrl-C."""

Result = TypeVar("Result")


def heard(entries: int, solve: Callable[[], Result]) -> Result:
    """Call a solver, or a decomposition, of a matrix of so many entries; of many so that Ctrl-C is heard."""
    return interruptibly(solve) if entries > LARGE else solve()


def as_system(matrix: ArrayLike, values: ArrayLike, copies: float, what: str) -> tuple[FloatArray, FloatArray]:
    """A matrix (m, n) and values (m,), both float64, whose solver ``what`` takes so many copies of the matrix.

    Raises
    ------
    TypeError, ValueError
        for what is no system
    MemoryError
        where the copies are more than the memory that there is
    """
    a, y = as_floats("matrix", matrix, 2), as_floats("values", values, 1)
    if len(y) != len(a):
        raise ValueError(f"values must have one entry for each of the {len(a)} rows of matrix, got shape {y.shape}")
    require_work(a.size, copies, f"{what} with a matrix")
    return a.astype(np.float64), y.astype(np.float64)


def as_weights(weights: ArrayLike, n: int | None = None) -> FloatArray:
    """Positive weights, float64; as many as there are unknowns."""
    array = as_floats("weights", weights, 1).astype(np.float64)
    if n is not None and array.shape != (n,):
        raise ValueError(f"weights must have one entry for each of {n} unknowns, got shape {array.shape}")
    if array.min() <= 0:
        raise ValueError(f"every weight must be greater than 0, got {array.min():g}")
    return array


def equilibrated(matrix: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The equations ``A x = y`` with rows of like size, and what each was multiplied by: a power of ``2^UNIT_BITS``.

    The least singular values of rows in unlike units are round-off of the largest, and their equations would be lost.
    """
    exponents = np.frexp(np.abs(matrix).max(axis=1))[1]
    shifts = UNIT_BITS * np.round((exponents.max() - exponents) / UNIT_BITS).astype(np.int64)
    shifts[~matrix.any(axis=1)] = 0
    return np.ldexp(matrix, shifts[:, None]), np.ldexp(values, shifts), np.ldexp(1.0, shifts)


class RowSpace(NamedTuple):
    """``A = left diag(singular) basis`` without what is 0: ``A x = y`` is ``basis x = image``.

    Attributes
    ----------
    left : array (m, rank), orthonormal columns but for the units of rows (`equilibrated`)
    singular : array (rank,), positive
    basis : array (rank, n), orthonormal rows
    image : array (rank,)
    """

    left: FloatArray
    singular: FloatArray
    basis: FloatArray
    image: FloatArray


def row_space(matrix: FloatArray, values: FloatArray, unknown: str = "x") -> RowSpace:
    """The row space of a system that has a solution.

    Raises
    ------
    ValueError
        where it has none: ``||A x - y|| > 1e-9 ||y||`` for every x, rows being `equilibrated`
    """
    matrix, values, units = equilibrated(matrix, values)
    left, singular, basis = heard(matrix.size, lambda: np.linalg.svd(matrix, full_matrices=False))
    rank = int(np.sum(singular > max(matrix.shape) * np.finfo(np.float64).eps * singular[0]))
    left, singular, basis = left[:, :rank], singular[:rank], basis[:rank]
    coordinates = left.T @ values
    size, missed = np.linalg.norm(values), np.linalg.norm(values - left @ coordinates)
    if missed > CONSISTENT * size:
        raise ValueError(
            f"no {unknown} fits the values: of {len(values)} measurements {rank} are independent, and the best fit "
            f"misses {missed / size:.2g} of the norm of the values"
        )
    return RowSpace(units[:, None] * left, singular, basis, coordinates / singular)
