"""Sensing: linear measurements of a matrix are observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.checks import FloatArray
from fastflow.kernels.losses.sensing import Sensing, SharedSensing
from fastflow.kernels.vectors.aligned import only_read
from fastflow.operators import Operator, is_operator
from fastflow.operators.rationed import Rationed
from fastflow.problems.base import MatrixProblem, stacked
from fastflow.problems.least_squares import (
    fitted,
    least_loss_by_products,
    singular_values,
    solve_by_products,
    solve_least_squares,
)
from fastflow.problems.measurements import as_measured_by, as_measurements, measured_by_operators


@dataclass(frozen=True, eq=False, repr=False)
class MatrixSensing(MatrixProblem):
    """Linear measurements are observed: ``1/2 sum (<A_i, W> - values_i)^2``.

    Parameters
    ----------
    operators : array (m, d_N, d_0), real or complex, or an operator on matrices
        That is `fastflow.operators.RankOne`, or any operator as ``fastflow.operators.OnMatrices(A, (d_N, d_0))``.
    values : array (m,), complex where the operators are
    truth : array (d_N, d_0) or None, what errors are measured against
    test : problem of the same unknown, or None: measurements that are held out (`Problem.hold_out`)
    normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and entries that are not finite numbers

    Notes
    -----
    W is real; of complex measurements ``sum_kl (A_i)_kl W_kl`` the problem keeps the real form, with 2m operators:
    first the real parts, then the imaginary ones (`CompressedSensing`).

    Examples
    --------
    >>> problem = ff.MatrixSensing([np.eye(2), np.ones((2, 2))], [2.0, 4.0])
    >>> problem.loss(np.ones((2, 2)))
    0.0
    """

    operators: FloatArray | Operator
    values: FloatArray
    name: ClassVar[str] = "sensing"

    def __post_init__(self) -> None:
        if is_operator(self.operators):
            operator, values = as_measured_by(self.operators, self.values, 3, "operators")
            if operator.unknown_shape is None:
                raise TypeError(
                    "operators is an operator on vectors: give ff.operators.OnMatrices(operators, (d_N, d_0)), or it "
                    "to CompressedSensing"
                )
            self._set(operators=operator, values=values)
        else:
            assert not isinstance(self.operators, Operator)
            operators, values = as_measurements("operators", self.operators, 3, self.values)
            self._set(operators=operators, values=values)
        self._check_common()

    def _part(self, samples: NDArray[np.int64]) -> Self:
        if isinstance(self.operators, Operator):
            return super()._part(samples)
        return replace(self, operators=self.operators[samples], values=self.values[samples])

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d_N, d_0) of W."""
        if isinstance(self.operators, Operator):
            assert self.operators.unknown_shape is not None
            return self.operators.unknown_shape
        return self.operators.shape[1], self.operators.shape[2]

    @property
    def is_matrix_free(self) -> bool:
        return isinstance(self.operators, Operator)

    def rationed(self, gradients: int) -> Self:
        if isinstance(self.operators, Operator):
            return replace(self, operators=Rationed(self.operators, 2 * gradients))
        return self

    @property
    def residual_count(self) -> int:
        return self.values.size

    def _measured(self, matrix: FloatArray) -> FloatArray:
        """The measurements of a matrix."""
        flat = matrix.ravel()
        if isinstance(self.operators, Operator):
            return self.operators.forward(flat[None])[0]
        return self.operators.reshape(len(self.operators), -1) @ flat

    def _transposed(self, residual: FloatArray) -> FloatArray:
        """The sum of residuals times operators."""
        if isinstance(self.operators, Operator):
            return self.operators.adjoint(np.array(residual)[None])[0].reshape(self.shape)
        return (residual @ self.operators.reshape(len(self.operators), -1)).reshape(self.shape)

    def residual(self, product: ArrayLike) -> FloatArray:
        return self._measured(self._of_shape(product)) - self.values

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * self._transposed(self.residual(product))

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return self._transposed(self._measured(self._of_shape(direction, "direction")))

    def explained(self, residual: FloatArray) -> FloatArray:
        if isinstance(self.operators, Operator):
            return self._measured(solve_by_products(self.operators, self._residuals(residual)))
        return fitted(self.operators.reshape(len(self.operators), -1), self._residuals(residual))

    def estimate(self) -> FloatArray:
        """``sum values_i A_i`` over ``sum ||A_i||^2 / (d_N d_0)``: unbiased for operators with independent entries."""
        given = self.operators
        # Matrix by matrix, so that no copy of all is made.
        energy = given.energy if isinstance(given, Operator) else sum(float(np.sum(one**2)) for one in given)
        scale = self.shape[0] * self.shape[1] / max(energy, np.finfo(float).tiny)
        return scale * self._transposed(self.values)

    def spectrum(self) -> FloatArray | None:
        """The singular values of the operators as vectors; None of what has no entries."""
        if isinstance(self.operators, Operator) or self.residual_count < self.shape[0] * self.shape[1]:
            return None
        return singular_values(self.operators.reshape(len(self.operators), -1))

    def least_squares(self) -> FloatArray:
        if isinstance(self.operators, Operator):
            return solve_by_products(self.operators, self.values).reshape(self.shape)
        flat = self.operators.reshape(len(self.operators), -1)
        return solve_least_squares(flat, self.values)[0].reshape(self.shape)

    def least_loss(self, rank: int) -> float:
        size = self.shape[0] * self.shape[1]
        if isinstance(self.operators, Operator):
            missed = least_loss_by_products(self.operators, self.values) if self.residual_count > size else 0.0
            return self.weight * missed
        return self.loss(self.least_squares()) if self.residual_count >= size else 0.0

    @property
    def loss_flops(self) -> int:
        return 2 * self.operators.flops if isinstance(self.operators, Operator) else 4 * self.operators.size

    @classmethod
    def examples(cls, width: int) -> Sequence[Self | list[Self]]:
        one = cls(np.ones((1, width, width)), np.ones(1))
        return one, [one]

    @classmethod
    def kernel_bytes(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> int:
        first = problems[0].operators
        lies = shared and not isinstance(first, Operator) and first.dtype == dtype
        return problems[0].values.nbytes if lies else super().kernel_bytes(problems, dtype, shared=shared)

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        arrays = [p.operators for p in problems if not isinstance(p.operators, Operator)]
        if len(arrays) < len(problems):
            return measured_by_operators([p.operators for p in problems], [p.values for p in problems], dtype)
        if shared:
            (problem,) = problems
            matrices = only_read(arrays[0].astype(dtype, copy=False).ravel())
            return SharedSensing(matrices, problem.values.astype(dtype))
        return Sensing(stacked(arrays, dtype), stacked([p.values for p in problems], dtype))
