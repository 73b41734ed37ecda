"""Estimation: all of a matrix is observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastflow.checks import FloatArray, as_floats
from fastflow.kernels.losses.estimation import Estimation
from fastflow.problems.base import MatrixProblem, stacked
from fastflow.problems.minimum import Minimum, minimum_over_rank


@dataclass(frozen=True, eq=False, repr=False)
class MatrixEstimation(MatrixProblem):
    """All of a matrix is observed: ``1/2 ||W - target||_F^2``.

    Parameters
    ----------
    target : array (d_N, d_0)
    truth : array (d_N, d_0) or None, what errors are measured against
    test : problem of the same unknown, or None: measurements that are held out (`Problem.hold_out`)
    normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and entries that are not finite real numbers

    Examples
    --------
    >>> problem = ff.MatrixEstimation([[3.0, 0], [0, 1]])
    >>> problem.loss(np.zeros((2, 2))), problem.minimum(rank=1).value
    (5.0, 0.5)
    """

    target: FloatArray
    name: ClassVar[str] = "estimation"
    knows_minimum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._set(target=as_floats("target", self.target, 2))
        self._check_common()

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d_N, d_0) of W."""
        return self.target.shape[0], self.target.shape[1]

    @property
    def residual_count(self) -> int:
        return self.target.size

    def residual(self, product: ArrayLike) -> FloatArray:
        return (self._of_shape(product) - self.target).ravel()

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * (self._of_shape(product) - self.target)

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return self._of_shape(direction, "direction")

    def explained(self, residual: FloatArray) -> FloatArray:
        return self._residuals(residual)

    def estimate(self) -> FloatArray:
        return self.target

    def spectrum(self) -> FloatArray:
        return np.ones(1)

    def direct_target(self) -> FloatArray:
        return self.target

    def minimum(self, rank: int) -> Minimum:
        """The target cut to the rank."""
        return minimum_over_rank(np.asarray(self.target, np.float64), np.eye(self.shape[1]), 0.0, self.weight, rank)

    @classmethod
    def examples(cls, width: int) -> Sequence[Self | list[Self]]:
        return (cls(np.ones((width, width))),)

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        return Estimation(stacked([p.target for p in problems], dtype))
