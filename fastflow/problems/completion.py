"""Completion: some entries of a matrix are observed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.arrays import as_array, as_parted
from fastflow.checks import FloatArray, as_floats, shown
from fastflow.kernels.losses.completion import Completion
from fastflow.problems.base import MatrixProblem

MOST_LISTED = 8
"""How many rows or columns a warning names."""


@dataclass(frozen=True, eq=False, repr=False)
class MatrixCompletion(MatrixProblem):
    """Some entries are observed: ``1/2 sum (W[row, col] - value)^2``.

    Parameters
    ----------
    shape : (d_N, d_0), the shape of W
    rows, cols : integer arrays (m,), each place at most once
    values : array (m,)
    truth : array (d_N, d_0) or None, what errors are measured against
    test : problem of the same unknown, or None: measurements that are held out (`Problem.hold_out`)
    normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum
    warn : bool, whether to warn of rows and columns that have no observed entry

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, places outside of W or twice, and entries that are not finite real numbers

    Warns
    -----
    UserWarning
        where a row or column has no observed entry: nothing of it can be learned

    Examples
    --------
    >>> problem = ff.MatrixCompletion.from_dense([[1.0, np.nan], [2.0, 4.0]])
    >>> problem.values.tolist(), problem.loss(np.zeros((2, 2)))
    ([1.0, 2.0, 4.0], 10.5)
    """

    shape: tuple[int, int]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    values: FloatArray
    _: KW_ONLY
    warn: bool = field(default=True, repr=False, compare=False)
    name: ClassVar[str] = "completion"

    def __post_init__(self) -> None:
        shape = tuple(np.atleast_1d(as_array("shape", self.shape)).tolist())
        if len(shape) != 2 or any(not isinstance(d, int) or d < 1 for d in shape):
            raise ValueError(f"shape must be two positive integers, got {shown(self.shape)}")
        if as_array("values", self.values).size == 0:
            raise ValueError("no entry is observed: rows, cols and values are empty")
        values = as_floats("values", self.values, 1)
        places = {}
        for axis, (name, size) in enumerate((("rows", shape[0]), ("cols", shape[1]))):
            index = as_array(name, (self.rows, self.cols)[axis])
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
        if self.warn:
            self._warn_of_unobserved(stacklevel=4)

    def _part(self, samples: NDArray[np.int64]) -> Self:
        rows, cols, values = self.rows[samples], self.cols[samples], self.values[samples]
        return replace(self, rows=rows, cols=cols, values=values, warn=False)

    @property
    def unobserved(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows, and the columns, of which nothing is observed, so that nothing of them can be learned."""
        rows, columns = (
            np.setdiff1d(np.arange(size), index) for size, index in zip(self.shape, (self.rows, self.cols), strict=True)
        )
        return rows, columns

    def _warn_of_unobserved(self, stacklevel: int) -> None:
        parts = [
            f"{name}{'s' if len(missing) > 1 else ''} {', '.join(map(str, missing[:MOST_LISTED].tolist()))}"
            + (f" and {len(missing) - MOST_LISTED} more" if len(missing) > MOST_LISTED else "")
            for name, missing in zip(("row", "column"), self.unobserved, strict=True)
            if len(missing)
        ]
        if parts:
            warnings.warn(
                f"nothing is observed of {' and '.join(parts)} (from 0 on) of the {self.shape[0]} x {self.shape[1]} "
                "matrix, so nothing can be learned there: leave them out, or observe an entry of each",
                stacklevel=stacklevel,
            )

    @classmethod
    def from_dense(
        cls,
        matrix: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        truth: ArrayLike | None = None,
        normalization: str = "sum",
        warn: bool = True,
    ) -> Self:
        """From a matrix whose unobserved entries are NaN, or masked.

        Parameters
        ----------
        matrix : array (d_N, d_0), or masked array of `numpy.ma`
        mask : bool array (d_N, d_0) or None
            True where an entry is *not* observed, as `numpy.ma` has it; of what is observed give ``mask=~observed``.
        truth : array (d_N, d_0) or None, what errors are measured against
        normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum
        warn : bool, whether to warn of rows and columns that have no observed entry

        Returns
        -------
        MatrixCompletion

        Raises
        ------
        ValueError, TypeError
            when no entry is observed, and for a mask that is not boolean or has another shape

        Examples
        --------
        >>> import numpy as np, fastflow as ff
        >>> matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> ff.MatrixCompletion.from_dense(matrix, mask=matrix > 3).values.tolist()
        [1.0, 2.0, 3.0]
        """
        if mask is not None:
            matrix = _masked(matrix, mask)
        dense = as_floats("matrix", matrix, 2, nan_allowed=True)
        rows, cols = np.nonzero(~np.isnan(dense))
        if rows.size == 0:
            raise ValueError("no entry is observed: every entry of the matrix is NaN or masked")
        shape, values = (dense.shape[0], dense.shape[1]), dense[rows, cols]
        problem = cls(shape, rows, cols, values, truth=truth, normalization=normalization, warn=False)
        if warn:
            problem._warn_of_unobserved(stacklevel=3)
        return problem

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
        return self._scatter(self._of_shape(direction, "direction")[self.rows, self.cols])

    def explained(self, residual: FloatArray) -> FloatArray:
        return self._residuals(residual)

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


def _masked(matrix: ArrayLike, mask: ArrayLike) -> ArrayLike:
    """A matrix with a mask beside its own."""
    hidden = as_array("mask", mask)
    if hidden.dtype != np.bool_:
        raise TypeError(
            f"mask must be boolean, True where an entry is not observed (~observed), got dtype {hidden.dtype}"
        )
    entries, missing = as_parted("matrix", matrix)
    if hidden.shape != entries.shape:
        raise ValueError(f"mask must have the shape {entries.shape} of matrix, got {hidden.shape}")
    return np.ma.array(entries, mask=hidden if missing is None else hidden | missing)
