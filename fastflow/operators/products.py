"""Matrices by their products with vectors: of operators, of some of their columns, of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray
from fastflow.operators.base import Operator

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

SPARE_TURNS = 200
"""Turns of LSMR beyond those that exact numbers would need."""

ROUND_OFF = 1e-15
"""What LSMR is asked for, relative: all that there is."""


class MatrixProducts(NamedTuple):
    """A matrix by its products: of an operator, of some of its columns, of an array.

    Attributes
    ----------
    shape : (rows, columns)
    times : function of a vector (columns,), ``A x``
    transposed : function of a vector (rows,), ``A^T r``
    """

    shape: tuple[int, int]
    times: Callable[[FloatArray], FloatArray]
    transposed: Callable[[FloatArray], FloatArray]

    def columns(self, places: NDArray[np.int64], scale: FloatArray) -> MatrixProducts:
        """Some of the columns, each multiplied by a number."""

        def times(vector: FloatArray) -> FloatArray:
            spread = np.zeros(self.shape[1])
            spread[places] = scale * vector
            return self.times(spread)

        return MatrixProducts(
            (self.shape[0], len(places)), times, lambda residual: scale * self.transposed(residual)[places]
        )

    @property
    def turned(self) -> MatrixProducts:
        """The transpose."""
        return MatrixProducts((self.shape[1], self.shape[0]), self.transposed, self.times)

    def least_squares(self, values: FloatArray, rtol: float = ROUND_OFF) -> FloatArray:
        """The x of least ``||A x - y||``, of these of least norm, by LSMR: as near as it comes."""
        from scipy.sparse.linalg import lsmr

        if 0 in self.shape or not values.any():
            return np.zeros(self.shape[1])
        turns = 2 * min(self.shape) + SPARE_TURNS
        return np.asarray(lsmr(self.linear(), values, atol=rtol, btol=rtol, conlim=0, maxiter=turns)[0])

    def linear(self) -> LinearOperator:
        """What SciPy's solvers, and those that follow them, take."""
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator(
            self.shape,
            lambda vector: self.times(np.ravel(vector)),
            rmatvec=lambda residual: self.transposed(np.ravel(residual)),
            dtype=np.float64,
        )


def products_of(operator: Operator) -> MatrixProducts:
    """The products of the real form of an operator, in float64."""
    return MatrixProducts(
        (operator.rows, operator.shape[1]),
        lambda vector: operator.forward(np.array(vector, np.float64, ndmin=2))[0],
        lambda residual: operator.adjoint(np.array(residual, np.float64, ndmin=2))[0],
    )


def typical_column(operator: Operator) -> float:
    """The root mean square of the norms of columns, within some percent; 1 for the zero matrix."""
    return float(np.sqrt(operator.energy / operator.shape[1])) or 1.0


def slopes_left(operator: Operator, values: FloatArray, x: FloatArray, places: NDArray[np.int64]) -> float:
    """The largest ``|a_i^T (A x - y)|`` of some columns, relative to the norms of a typical column and of y."""
    size = float(np.linalg.norm(values))
    if not size or not len(places):
        return 0.0
    products = products_of(operator)
    slopes = products.transposed(products.times(x) - values)[places]
    return float(np.abs(slopes).max()) / (typical_column(operator) * size)
