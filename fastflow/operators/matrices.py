"""Operators on matrices: what measures a matrix W as the vector of its rows, one after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastflow.arrays import as_array
from fastflow.checks import FloatArray, as_count, as_floats, frozen, shown
from fastflow.operators.base import Operator
from fastflow.operators.users import adapted


class OnMatrices(Operator):
    """An operator on the entries of a matrix W (d_N, d_0), row after row.

    Parameters
    ----------
    operator : what `as_operator` takes, with d_N d_0 columns
    shape : (d_N, d_0)

    Raises
    ------
    TypeError, ValueError
        as `as_operator`, and for another number of columns

    Examples
    --------
    >>> A = ff.operators.OnMatrices(ff.operators.PartialCosine(6, [0, 2]), (2, 3))
    >>> ff.MatrixSensing(A, [1.0, 0.0]).shape
    (2, 3)
    """

    def __init__(self, operator: object, shape: tuple[int, int]) -> None:
        self.operator = adapted(operator, stacklevel=2)
        if as_array("shape", shape).shape != (2,):
            raise TypeError(f"shape must be (d_N, d_0), got {shown(shape)}")
        self.unknown_shape = as_count("shape[0]", shape[0], 1), as_count("shape[1]", shape[1], 1)
        self.shape, self.is_complex = self.operator.shape, self.operator.is_complex
        rows, columns = self.unknown_shape
        if rows * columns != self.shape[1]:
            raise ValueError(
                f"an operator on {rows} x {columns} matrices must have {rows * columns} columns, got {self.shape[1]}"
            )

    @property
    def rank(self) -> int:
        return self.operator.rank

    @property
    def energy(self) -> float:
        return self.operator.energy

    @property
    def flops(self) -> int:
        return self.operator.flops

    def forward(self, vectors: FloatArray) -> FloatArray:
        return self.operator.forward(vectors)

    def adjoint(self, residuals: FloatArray) -> FloatArray:
        return self.operator.adjoint(residuals)


class RankOne(Operator):
    """Measurements ``a_i^T W b_i`` of a matrix W, of which the vectors are kept.

    Parameters
    ----------
    left : array (m, d_N), the a_i
    right : array (m, d_0), the b_i

    Raises
    ------
    TypeError, ValueError
        for arrays that are not finite real numbers, or of different numbers of rows

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> A = ff.operators.RankOne([[1.0, 2.0]], [[3.0, 0.0]])
    >>> A @ np.ravel([[1.0, 5.0], [1.0, 5.0]])
    array([9.])
    """

    is_complex = False

    def __init__(self, left: ArrayLike, right: ArrayLike) -> None:
        self.left = frozen(as_floats("left", left, 2).astype(np.float64))
        self.right = frozen(as_floats("right", right, 2).astype(np.float64))
        if len(self.left) != len(self.right):
            raise ValueError(f"left and right must have as many rows, got {len(self.left)} and {len(self.right)}")
        self.unknown_shape = self.left.shape[1], self.right.shape[1]
        self.shape = len(self.left), self.left.shape[1] * self.right.shape[1]

    @property
    def energy(self) -> float:
        return float(np.sum(np.sum(self.left**2, axis=1) * np.sum(self.right**2, axis=1)))

    @property
    def flops(self) -> int:
        return 2 * self.shape[0] * self.shape[1]

    def forward(self, vectors: FloatArray) -> FloatArray:
        left, right = (side.astype(vectors.dtype, copy=False) for side in (self.left, self.right))
        # One by one, so that none has other bits in other company.
        return np.array([np.sum((left @ w.reshape(self.unknown_shape)) * right, axis=1) for w in vectors])

    def adjoint(self, residuals: FloatArray) -> FloatArray:
        left, right = (side.astype(residuals.dtype, copy=False) for side in (self.left, self.right))
        return np.array([(left.T @ (r[:, None] * right)).ravel() for r in residuals])
