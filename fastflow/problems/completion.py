"""Completion: some entries of a matrix are observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.checks import FloatArray, as_floats, shown
from fastflow.kernels.losses.completion import Completion
from fastflow.problems.base import MatrixProblem


@dataclass(frozen=True, eq=False, repr=False)
class MatrixCompletion(MatrixProblem):
    """Some entries are observed: ``1/2 sum (W[row, col] - value)^2``.

    Parameters
    ----------
    shape : (d_N, d_0), the shape of W
    rows, cols : integer arrays (m,), each place at most once
    values : array (m,)
    truth : array (d_N, d_0) or None, what errors are measured against
    normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, places outside of W or twice, and entries that are not finite real numbers
    """

    shape: tuple[int, int]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    values: FloatArray
    name: ClassVar[str] = "completion"

    def __post_init__(self) -> None:
        shape = tuple(np.atleast_1d(self.shape).tolist())
        if len(shape) != 2 or any(not isinstance(d, int) or d < 1 for d in shape):
            raise ValueError(f"shape must be two positive integers, got {shown(self.shape)}")
        if np.size(self.values) == 0:
            raise ValueError("no entry is observed: rows, cols and values are empty")
        values = as_floats("values", self.values, 1)
        places = {}
        for axis, (name, size) in enumerate((("rows", shape[0]), ("cols", shape[1]))):
            index = np.asarray((self.rows, self.cols)[axis])
            if index.dtype.kind not in "iu":
                raise TypeError(f"{name} must be integers, got dtype {index.dtype}")
            if index.shape != values.shape:
                raise ValueError(f"{name} must have the shape {values.shape} of values, got {index.shape}")
            if index.min() < 0 or index.max() >= size:
                outside = index[(index < 0) | (index >= size)][0]
                raise ValueError(f"{name} must be in 0 .. {size - 1}, got {outside}")
            places[name] = index.astype(np.int64)
        self._set(shape=shape, values=values, **places)
        entries, counts = np.unique(self._entries(), return_counts=True)
        if counts.max() > 1:
            row, col = divmod(int(entries[counts > 1][0]), shape[1])
            raise ValueError(f"entry ({row}, {col}) is observed {counts.max()} times; each may be given once")
        self._check_common()

    @classmethod
    def from_dense(cls, matrix: ArrayLike, *, truth: ArrayLike | None = None, normalization: str = "sum") -> Self:
        """From a matrix whose unobserved entries are NaN.

        Parameters
        ----------
        matrix : array (d_N, d_0)
        truth : array (d_N, d_0) or None, what errors are measured against
        normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum

        Returns
        -------
        MatrixCompletion

        Raises
        ------
        ValueError
            when no entry is observed
        """
        dense = as_floats("matrix", matrix, 2, nan_allowed=True)
        rows, cols = np.nonzero(~np.isnan(dense))
        if rows.size == 0:
            raise ValueError("no entry is observed: every entry of the matrix is NaN")
        shape = dense.shape[0], dense.shape[1]
        return cls(shape, rows, cols, dense[rows, cols], truth=truth, normalization=normalization)

    def _entries(self) -> NDArray[np.int64]:
        return self.rows * self.shape[1] + self.cols

    @property
    def residual_count(self) -> int:
        return self.values.size

    def residual(self, product: ArrayLike) -> FloatArray:
        return self._of_shape(product)[self.rows, self.cols] - self.values

    def _scatter(self, values: FloatArray) -> FloatArray:
        dense = np.zeros(self.shape, values.dtype)
        dense[self.rows, self.cols] = values
        return dense

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * self._scatter(self.residual(product))

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return self._scatter(direction[self.rows, self.cols])

    def explained(self, residual: FloatArray) -> FloatArray:
        return residual

    def estimate(self) -> FloatArray:
        """The observed entries over the observed fraction: unbiased when entries are missing at random."""
        return self._scatter(self.values) * (self.shape[0] * self.shape[1] / self.values.size)

    def spectrum(self) -> FloatArray | None:
        """All 1 where every entry is observed; None elsewhere."""
        return np.ones(1) if self.residual_count == self.shape[0] * self.shape[1] else None

    @classmethod
    def examples(cls, width: int) -> Sequence[Self | list[Self]]:
        return (cls.from_dense(np.ones((width, width))),)

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        return Completion(
            np.concatenate([p._entries() for p in problems]),
            np.concatenate([p.values for p in problems]).astype(dtype),
            np.cumsum([0] + [p.values.size for p in problems], dtype=np.int64),
        )
