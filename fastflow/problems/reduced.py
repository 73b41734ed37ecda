"""Least squares with many equations: a QR decomposition, block of rows after block of rows, leaves as many as unknowns.

``[A Y] = Q [R S; 0 T]``, so that ``||A X - Y||^2 = ||R X - S||^2 + ||T||^2``: neither A nor Q is copied, and nothing
is squared, so that R knows weak directions of A as well as A does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray

BLOCK = 2**20
"""Numbers of a block of rows, about."""

ROWS = 256
"""Rows that a block has at least."""

PANEL = 32
"""Columns that are taken away at a time."""

CERTAIN = 10
"""How far from a threshold a condition must be that is an estimate."""


class Reduced(NamedTuple):
    """What a QR decomposition leaves of ``A X = Y``, in float64.

    Attributes
    ----------
    root : array (n, n), R, upper triangular
    seen : array (n, k), S
    rest : float, ``||T||^2``: what no X fits, where A has the rank n
    """

    root: NDArray[np.float64]
    seen: NDArray[np.float64]
    rest: float


def rows_at_a_time(columns: int) -> int:
    """How many rows a block has of so many columns."""
    return max(ROWS, BLOCK // max(columns, 1))


def reduced(matrix: FloatArray, values: FloatArray, root: NDArray[np.float64] | None = None) -> Reduced:
    """Equations ``A X = Y``, brought to as many as there are unknowns.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m, k), Y
    root : array (n, n) of zeros in Fortran order, where R is to lie

    Returns
    -------
    Reduced
    """
    from scipy.linalg import lapack

    (m, n), k = matrix.shape, values.shape[1]
    root = np.zeros((n, n), order="F") if root is None else root
    seen, rest, step = np.zeros((n, k), order="F"), 0.0, rows_at_a_time(n + k)
    for first in range(0, m, step):
        # In float64 and Fortran order, as LAPACK writes over them.
        rows = np.array(matrix[first : first + step], np.float64, order="F")
        right = np.array(values[first : first + step], np.float64, order="F")
        root, rows, factor, _ = lapack.dtpqrt(0, min(PANEL, n), root, rows, overwrite_a=1, overwrite_b=1)
        if k:
            seen, right, _ = lapack.dtpmqrt(0, rows, factor, seen, right, trans="T", overwrite_a=1, overwrite_b=1)
        rest += float(np.sum(right**2))
    return Reduced(root, seen, rest)


def solved(equations: Reduced, rcond: float) -> tuple[FloatArray, int]:
    """The X of least norm that minimises ``||R X - S||``, and the rank of R.

    Directions that are weaker than ``rcond``, relative to the strongest, count as none. Only where there may be such
    ones, R is decomposed, and copied.

    Parameters
    ----------
    equations : Reduced
    rcond : float
    """
    from scipy.linalg import lapack

    root, seen = equations.root, equations.seen
    if CERTAIN * rcond * _condition(root) < 1:
        return lapack.dtrtrs(root, seen)[0], len(root)
    solution, _, rank, _ = np.linalg.lstsq(root, seen, rcond=rcond)
    return solution, int(rank)


def _condition(root: NDArray[np.float64]) -> float:
    """A bound of the condition of R, ``||R||_2^2 <= ||R||_1 ||R||_inf``, as good as LAPACK estimates those norms."""
    from scipy.linalg import lapack

    squared = 1.0
    for norm in ("1", "I"):
        # R is its own LU decomposition.
        inverse, _ = lapack.dgecon(root, lapack.dlange(norm, root), norm=norm)
        squared *= inverse
    return float(1 / np.sqrt(squared)) if squared > 0 else np.inf
