"""Estimation: all of a matrix is observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from numpy.typing import ArrayLike, DTypeLike

from fastflow.checks import FloatArray, as_floats
from fastflow.kernels.losses.estimation import Estimation
from fastflow.problems.base import MatrixProblem, stacked


@dataclass(frozen=True, eq=False, repr=False)
class MatrixEstimation(MatrixProblem):
    """All of a matrix is observed: ``1/2 ||W - target||_F^2``.

    Parameters
    ----------
    target : array (d_N, d_0)
    truth, normalization
        What errors are measured against, an array of the shape of W, and "sum" or "mean": see `Problem`.

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and entries that are not finite real numbers
    """

    target: FloatArray
    name: ClassVar[str] = "estimation"

    def __post_init__(self) -> None:
        self._set(target=as_floats("target", self.target, 2))
        self._check_common()

    @property
    def shape(self) -> tuple[int, int]:
        return self.target.shape[0], self.target.shape[1]

    @property
    def residual_count(self) -> int:
        return self.target.size

    def residual(self, product: ArrayLike) -> FloatArray:
        return (self._of_shape(product) - self.target).ravel()

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * (self._of_shape(product) - self.target)

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return direction

    def estimate(self) -> FloatArray:
        return self.target

    @classmethod
    def kernel_data(cls, problems: Sequence[MatrixEstimation], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        return Estimation(stacked([p.target for p in problems], dtype))
