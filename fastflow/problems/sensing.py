"""Sensing: linear measurements of a matrix are observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.checks import FloatArray
from fastflow.kernels.losses.sensing import Sensing, SharedSensing
from fastflow.problems.base import MatrixProblem, fitted, stacked
from fastflow.problems.measurements import as_measurements


@dataclass(frozen=True, eq=False, repr=False)
class MatrixSensing(MatrixProblem):
    """Linear measurements are observed: ``1/2 sum (<A_i, W> - values_i)^2``.

    Parameters
    ----------
    operators : array (m, d_N, d_0), real or complex
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
    """

    operators: FloatArray
    values: FloatArray
    name: ClassVar[str] = "sensing"

    def __post_init__(self) -> None:
        operators, values = as_measurements("operators", self.operators, 3, self.values)
        self._set(operators=operators, values=values)
        self._check_common()

    def _part(self, samples: NDArray[np.int64]) -> Self:
        return replace(self, operators=self.operators[samples], values=self.values[samples])

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d_N, d_0) of W."""
        return self.operators.shape[1], self.operators.shape[2]

    @property
    def residual_count(self) -> int:
        return self.values.size

    def _flat(self) -> FloatArray:
        return self.operators.reshape(len(self.operators), -1)

    def residual(self, product: ArrayLike) -> FloatArray:
        return self._flat() @ self._of_shape(product).ravel() - self.values

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * (self.residual(product) @ self._flat()).reshape(self.shape)

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return ((self._flat() @ self._of_shape(direction, "direction").ravel()) @ self._flat()).reshape(self.shape)

    def explained(self, residual: FloatArray) -> FloatArray:
        return fitted(self._flat(), self._residuals(residual))

    def estimate(self) -> FloatArray:
        """``sum values_i A_i`` over ``sum ||A_i||^2 / (d_N d_0)``: unbiased for operators with independent entries."""
        scale = self.shape[0] * self.shape[1] / max(float(np.sum(self.operators**2)), np.finfo(float).tiny)
        return scale * (self.values @ self._flat()).reshape(self.shape)

    def spectrum(self) -> FloatArray | None:
        if self.residual_count < self.shape[0] * self.shape[1]:
            return None
        values: FloatArray = np.linalg.svd(self._flat().astype(np.float64), compute_uv=False)
        return values

    def least_squares(self) -> FloatArray:
        solution: FloatArray = np.linalg.lstsq(
            self._flat().astype(np.float64), self.values.astype(np.float64), rcond=None
        )[0]
        return solution.reshape(self.shape)

    @property
    def loss_flops(self) -> int:
        return 4 * self.operators.size

    @classmethod
    def examples(cls, width: int) -> Sequence[Self | list[Self]]:
        one = cls(np.ones((1, width, width)), np.ones(1))
        return one, [one]

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        if shared:
            (problem,) = problems
            return SharedSensing(problem.operators.astype(dtype).ravel(), problem.values.astype(dtype))
        return Sensing(stacked([p.operators for p in problems], dtype), stacked([p.values for p in problems], dtype))
