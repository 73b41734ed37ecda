"""Sparse matrices, by their entries that are not 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from fastflow.arrays import AnyArray, as_array
from fastflow.checks import FloatArray, as_floats
from fastflow.equality import by_value
from fastflow.operators.base import Operator

if TYPE_CHECKING:
    from scipy import sparse


@runtime_checkable
class Sparse(Protocol):
    """Sparse matrices and arrays of SciPy, and those of other libraries that can become one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Measurements and unknowns."""

    def tocsr(self) -> sparse.csr_array:
        """The matrix in compressed rows."""


@by_value("shape", "is_complex", "entries", "columns", "ends")
class SparseMatrix(Operator):
    """A sparse matrix in compressed rows; a complex one with its real and then its imaginary parts as rows.

    Parameters
    ----------
    matrix : sparse matrix or array of SciPy, of any format

    Raises
    ------
    TypeError, ValueError
        for entries that are not finite numbers, and for what is no matrix
    """

    def __init__(self, matrix: Sparse) -> None:
        from scipy import sparse

        if len(matrix.shape) != 2 or 0 in matrix.shape:
            raise ValueError(f"a sparse matrix of measurements must have 2 dimensions and entries, got {matrix.shape}")
        rows = sparse.csr_array(matrix.tocsr())
        self.is_complex = as_array("the entries of the sparse matrix", rows.data).dtype.kind == "c"
        self.shape = int(rows.shape[0]), int(rows.shape[1])
        if self.is_complex:
            rows = sparse.vstack([rows.real, rows.imag], format="csr")
        rows = sparse.csr_array(rows, copy=True)
        rows.sum_duplicates()
        if rows.data.size:
            rows.data = as_floats("the entries of the sparse matrix", rows.data, 1)
        else:
            rows.data = rows.data.astype(np.float64)
        self.entries, self.columns, self.ends = rows.data, rows.indices, rows.indptr
        self._forward, self._adjoint = rows, rows.T

    @property
    def flops(self) -> int:
        return 2 * self.entries.size

    def forward(self, vectors: FloatArray) -> FloatArray:
        return products(self._forward, vectors)

    def adjoint(self, residuals: FloatArray) -> FloatArray:
        return products(self._adjoint, residuals)


def products(matrix: sparse.sparray, vectors: FloatArray) -> FloatArray:
    """``M v`` of each vector, one by one: SciPy's sums over several columns need not have the bits of one."""
    made: AnyArray = np.empty((len(vectors), matrix.shape[0]), vectors.dtype)
    for row, vector in zip(made, vectors, strict=True):
        row[:] = matrix @ vector
    return made
