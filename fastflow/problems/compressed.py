"""Compressed sensing: linear measurements of a vector are observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow.checks import FloatArray, frozen
from fastflow.kernels.losses.sensing import Sensing
from fastflow.kernels.losses.shared_matrix import LARGE, packed_bytes, padded_bytes, padded_columns, share_matrix
from fastflow.operators import Operator, is_operator
from fastflow.operators.rationed import Rationed
from fastflow.problems.base import VectorProblem, stacked
from fastflow.problems.gram import gram_bytes, is_small_beside, regression_by_gram
from fastflow.problems.measurements import as_measured_by, as_measurements, measured_by_operators

DECOMPOSITION = 10
"""What least squares and the largest eigenvalue of ``A A^T`` cost, over the product of its size and its fewer rows or
columns (of Householder and bidiagonal reductions, roughly)."""

FEW = 8
"""So many runs go over the rows of a large matrix together as fast as over its panels (measured)."""

DECOMPOSED = 10**7
"""Up to that product they cost next to nothing."""


@dataclass(frozen=True, eq=False, repr=False)
class CompressedSensing(VectorProblem):
    """Linear measurements of a vector x are observed: ``1/2 ||A x - y||^2``.

    Parameters
    ----------
    matrix : A, (m, n), real or complex: an array, a sparse matrix of SciPy, an operator
        An operator is one of `fastflow.operators`, or an object with ``shape``, ``matvec`` and ``rmatvec``, such as a
        ``scipy.sparse.linalg.LinearOperator`` (`fastflow.operators.as_operator`).
    values : array (m,), y, complex where A is
    truth : array (n,) or None, what errors are measured against
    test : problem of the same unknown, or None: measurements that are held out (`Problem.hold_out`)
    normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and entries that are not finite numbers

    Notes
    -----
    x is real whatever A is. Of complex measurements the problem keeps the real form, ``matrix`` (2m, n) and ``values``
    (2m,): first the real parts, then the imaginary ones. So each of them is two residuals, the loss is
    ``1/2 sum |r_i|^2``, and its gradient ``Re(A^H r)``. An operator stays as it is, and its values have this form.

    What needs the entries of A refuses an operator. Where one raises during `fastflow.train`, that is an
    `fastflow.OperatorError`, which has all that was done; where it gives NaN the run has diverged.

    Examples
    --------
    >>> problem = ff.CompressedSensing([[1.0, 0.5]], [1.0])
    >>> problem.loss([0.0, 0.0]), problem.gradient([0.0, 0.0]).tolist()
    (0.5, [-1.0, -0.5])
    """

    matrix: FloatArray | Operator
    values: FloatArray
    name: ClassVar[str] = "compressed sensing"

    def __post_init__(self) -> None:
        if is_operator(self.matrix):
            # From the user to here there are __init__ and this.
            operator, values = as_measured_by(self.matrix, self.values, stacklevel=3)
            if operator.unknown_shape is not None:
                raise TypeError(f"matrix is an operator on {operator.unknown_shape} matrices: give it to MatrixSensing")
            self._set(matrix=operator, values=values)
        else:
            assert not isinstance(self.matrix, Operator)
            matrix, values = as_measurements("matrix", self.matrix, 2, self.values)
            self._set(matrix=matrix, values=values)
        self._check_common()

    def _part(self, samples: NDArray[np.int64]) -> Self:
        if isinstance(self.matrix, Operator):
            return super()._part(samples)
        return replace(self, matrix=self.matrix[samples], values=self.values[samples])

    def rationed(self, gradients: int) -> Self:
        if isinstance(self.matrix, Operator):
            return replace(self, matrix=Rationed(self.matrix, 2 * gradients))
        small = self.matrix.size * min(self.matrix.shape) <= DECOMPOSED
        if small or DECOMPOSITION * min(self.matrix.shape) <= 4 * gradients:
            return self
        raise ValueError(f"the entries of A tell no more than {gradients} gradients cost")

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
        solution, rank = self.solved()
        return frozen(solution), rank

    @property
    def prefers_gram(self) -> bool:
        """Whether to go through ``A^T A``: when n <= m, where it is read in one pass as A is, and has fewer rows.

        Where n > m solutions are not unique, and the loss could not be measured from one of them without cancellation
        (`fastflow.kernels.RegressionByGram`). Of a large A it is made where it, and its root, are small beside A.
        """
        if isinstance(self.matrix, Operator):
            return False
        return self.matrix.shape[1] <= self.matrix.shape[0] and is_small_beside(self.matrix)

    @property
    def loss_flops(self) -> int:
        measurements, size = self.matrix.shape
        if isinstance(self.matrix, Operator):
            return 2 * self.matrix.flops
        return 2 * size * min(size, 2 * measurements) if self.prefers_gram else 4 * self.matrix.size

    def is_worth_sharing(self, runs: int) -> bool:
        return isinstance(self.matrix, Operator) or self.matrix.nbytes < LARGE or runs > FEW

    @classmethod
    def examples(cls, width: int) -> Sequence[Self | list[Self]]:
        wide = cls(np.ones((1, width)), np.ones(1))
        return wide, [wide], cls(np.ones((1, 1)), np.ones(1))

    @classmethod
    def kernel_bytes(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> int:
        if any(p.is_matrix_free for p in problems):
            return super().kernel_bytes(problems, dtype, shared=shared)
        arrays = [p.entries("descent") for p in problems]
        if all(p.prefers_gram for p in problems):
            return gram_bytes([(a.T, p.values[None]) for a, p in zip(arrays, problems, strict=True)], dtype)
        packed = packed_bytes(arrays[0].shape, dtype) if shared else 0
        return padded_bytes(arrays, dtype) + packed + sum(p.values.nbytes for p in problems)

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        if any(p.is_matrix_free for p in problems):
            return measured_by_operators([p.matrix for p in problems], [p.values for p in problems], dtype)
        if all(p.prefers_gram for p in problems):
            return regression_by_gram([(p.entries("descent").T, p.values[None]) for p in problems], dtype)
        if shared:
            (problem,) = problems
            return share_matrix(problem.entries("descent"), problem.values, dtype)
        return cls.kernel_samples(problems, dtype)

    @classmethod
    def kernel_samples(cls, problems: Sequence[Self], dtype: DTypeLike) -> NamedTuple:
        if len({len(p.values) for p in problems}) > 1:
            raise ValueError("problems in one list must have the same number of measurements")
        return Sensing(
            padded_columns([p.entries("a step along some samples") for p in problems], dtype),
            stacked([p.values for p in problems], dtype),
        )
