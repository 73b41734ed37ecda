"""Compressed sensing: linear measurements of a vector are observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow.checks import FloatArray, as_floats, frozen
from fastflow.kernels.losses.sensing import Sensing
from fastflow.kernels.losses.shared_matrix import padded_columns, share_matrix
from fastflow.problems.base import VectorProblem, solve_least_squares, stacked
from fastflow.problems.gram import regression_by_gram


@dataclass(frozen=True, eq=False, repr=False)
class CompressedSensing(VectorProblem):
    """Linear measurements of a vector x are observed: ``1/2 ||A x - y||^2``.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y
    truth : array (n,) or None, what errors are measured against
    test : problem of the same unknown, or None: measurements that are held out (`Problem.hold_out`)
    normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and entries that are not finite real numbers
    """

    matrix: FloatArray
    values: FloatArray
    name: ClassVar[str] = "compressed sensing"

    def __post_init__(self) -> None:
        matrix, values = as_floats("matrix", self.matrix, 2), as_floats("values", self.values, 1)
        if values.shape != matrix.shape[:1]:
            raise ValueError(
                f"values must have one entry for each of the {len(matrix)} rows of the matrix, got shape {values.shape}"
            )
        self._set(matrix=matrix, values=values)
        self._check_common()

    def _part(self, samples: NDArray[np.int64]) -> Self:
        return replace(self, matrix=self.matrix[samples], values=self.values[samples])

    @property
    def title(self) -> str:
        return f"{type(self).__name__} {self.matrix.shape[0]} x {self.matrix.shape[1]}"

    def estimate(self) -> FloatArray:
        """The least-squares solution of least norm, times n over the rank of A.

        That is the least-squares solution where it is unique; elsewhere it is unbiased for a row space that is
        uniformly distributed, since the projection on it then keeps rank/n of any x on average.
        """
        solution, rank = self._least_squares
        return solution * (self.shape[0] / max(rank, 1))

    def least_squares(self) -> FloatArray:
        """The x of least loss, and of those of least norm."""
        return self._least_squares[0]

    @cached_property
    def _least_squares(self) -> tuple[FloatArray, int]:
        """`least_squares`, and the rank of A."""
        solution, rank = solve_least_squares(self.matrix, self.values)
        return frozen(solution), rank

    @property
    def prefers_gram(self) -> bool:
        """Whether to go through ``A^T A``: when n <= m, where it is read in one pass as A is, and has fewer rows.

        Where n > m solutions are not unique, and the loss could not be measured from one of them without cancellation
        (`fastflow.kernels.RegressionByGram`).
        """
        return self.matrix.shape[1] <= self.matrix.shape[0]

    @property
    def loss_flops(self) -> int:
        measurements, size = self.matrix.shape
        return 2 * size * min(size, 2 * measurements) if self.prefers_gram else 4 * self.matrix.size

    @classmethod
    def examples(cls, width: int) -> Sequence[Self | list[Self]]:
        wide = cls(np.ones((1, width)), np.ones(1))
        return wide, [wide], cls(np.ones((1, 1)), np.ones(1))

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        if all(p.prefers_gram for p in problems):
            return regression_by_gram([(p.matrix.T, p.values[None]) for p in problems], dtype)
        if shared:
            (problem,) = problems
            return share_matrix(problem.matrix, problem.values, dtype)
        return cls.kernel_samples(problems, dtype)

    @classmethod
    def kernel_samples(cls, problems: Sequence[Self], dtype: DTypeLike) -> NamedTuple:
        if len({len(p.values) for p in problems}) > 1:
            raise ValueError("problems in one list must have the same number of measurements")
        return Sensing(
            padded_columns([p.matrix for p in problems], dtype), stacked([p.values for p in problems], dtype)
        )
