"""Least squares of linear measurements, by their entries or by their products."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.checks import FloatArray
from fastflow.memory import require_work
from fastflow.operators import Operator
from fastflow.operators.products import products_of
from fastflow.problems.reduced import BLOCK, reduced, solved


def fitted(matrix: FloatArray, values: FloatArray) -> FloatArray:
    """What least squares fits of values (m,) or (m, k): their projection on the range of a matrix (m, n)."""
    projection: FloatArray = matrix @ solve_least_squares(matrix, values)[0]
    return projection


SOLVED = 4.5
"""Copies of a matrix that is not reduced before that least squares takes (measured)."""


def solve_least_squares(matrix: FloatArray, values: FloatArray) -> tuple[FloatArray, int]:
    """The least-squares solution of least norm, in float64, and the rank of the matrix.

    Nothing is copied where the matrix has more rows than columns, but some rows at a time.

    Parameters
    ----------
    matrix : array (m, n)
    values : array (m,) or (m, k)

    Raises
    ------
    MemoryError
        for more than memory, before any work
    """
    rows, columns = matrix.shape
    rcond = float(np.finfo(float).eps) * max(rows, columns)
    if rows > columns:
        require_work(columns**2 + BLOCK, SOLVED, "least squares with a matrix")
        solution, rank = solved(reduced(matrix, values.reshape(rows, -1)), rcond)
        return solution.reshape(columns, *values.shape[1:]), rank
    require_work(matrix.size, SOLVED, "least squares with a matrix")
    found = np.linalg.lstsq(matrix.astype(np.float64), values.astype(np.float64), rcond=rcond)
    return found[0], int(found[2])


def singular_values(matrix: FloatArray) -> FloatArray:
    """The singular values of a matrix with at least as many rows as columns, largest first, in float64."""
    require_work(matrix.shape[1] ** 2 + BLOCK, SOLVED, "the singular values of a matrix")
    root = reduced(matrix, np.zeros((len(matrix), 0))).root
    values: FloatArray = np.linalg.svd(root, compute_uv=False)
    return values


BY_PRODUCTS = 1e-10
"""How accurately least squares are solved by products: of a residual, and of a gradient, relative to their sizes."""


def solve_by_products(operator: Operator, values: FloatArray, rtol: float = BY_PRODUCTS) -> FloatArray:
    """The least-squares solution of least norm, in float64, by LSMR.

    Parameters
    ----------
    operator : Operator
    values : array (rows,)
    rtol : float, as `BY_PRODUCTS`

    Raises
    ------
    ValueError
        where so many products as there are rows and columns do not bring it there
    """
    found = _least_squares_by_products(operator, values, rtol)
    if not found.is_solved:
        raise ValueError(
            f"least squares by products did not come to {rtol:g} in {operator.rows + operator.shape[1]} turns: rows of "
            "A depend on each other"
        )
    return found.x


class _Found(NamedTuple):
    """Least squares by products: x, the norms of its residual and its gradient, of A, and the condition, by LSMR."""

    x: FloatArray
    is_solved: bool
    residual: float
    gradient: float
    size: float
    condition: float


def _least_squares_by_products(operator: Operator, values: FloatArray, rtol: float) -> _Found:
    from scipy.sparse.linalg import lsmr

    linear, given = products_of(operator).linear(), values.astype(np.float64)
    x, stop, _, *norms = lsmr(linear, given, atol=rtol, btol=rtol, conlim=0, maxiter=sum(linear.shape))
    residual, gradient, size, condition, _ = (float(norm) for norm in norms)
    return _Found(np.asarray(x), stop != OUT_OF_TURNS, residual, gradient, size, condition)


def least_loss_by_products(operator: Operator, values: FloatArray) -> float:
    """A lower bound of ``1/2 ||A x - y||^2``: what LSMR comes to, less ``1/2 ||g||^2 / s^2``.

    g is the gradient there, and s the smallest singular value that is not 0, as LSMR estimates it. It is 0 where LSMR
    does not come to an end.

    Parameters
    ----------
    operator : Operator
    values : array (rows,)

    Returns
    -------
    float
    """
    found = _least_squares_by_products(operator, values, BY_PRODUCTS)
    if not (found.is_solved and found.size):
        return 0.0
    smallest = found.size / max(found.condition, 1.0)
    return max(0.0, 0.5 * (found.residual**2 - (found.gradient / smallest) ** 2))


OUT_OF_TURNS = 7
"""How LSMR says that it has not converged."""
