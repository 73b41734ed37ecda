"""Rows of the Walsh-Hadamard transform, by its butterflies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray
from fastflow.operators.base import Operator, as_rows, as_size


class SubsampledHadamard(Operator):
    """Rows of Sylvester's Hadamard matrix over ``sqrt(m)``, so that columns have norm 1.

    Parameters
    ----------
    n : int, the length of x, a power of 2
        ``H_kj = (-1)^b``, b the number of binary digits that are 1 in k and in j.
    rows : int array (m,), which rows are measured, from 0 to n - 1, no two equal

    Raises
    ------
    TypeError, ValueError
        for another n, and for rows that are none of the matrix, or given twice

    Examples
    --------
    >>> A = ff.operators.SubsampledHadamard(4, [0, 1])
    >>> np.allclose(A.toarray() @ A.toarray().T, 2 * np.eye(2))
    True
    """

    is_complex = False

    def __init__(self, n: int, rows: ArrayLike) -> None:
        n = as_size(n)
        if n & (n - 1):
            raise ValueError(f"n must be a power of 2, got {n}")
        self.chosen = as_rows(rows, n)
        self.shape = len(self.chosen), n

    @property
    def flops(self) -> int:
        n = self.shape[1]
        return n * (n.bit_length() - 1)

    def forward(self, vectors: FloatArray) -> FloatArray:
        measured: FloatArray = np.take(walsh_hadamard(vectors), self.chosen, axis=1)
        measured *= vectors.dtype.type(1 / math.sqrt(self.shape[0]))
        return measured

    def adjoint(self, residuals: FloatArray) -> FloatArray:
        spread = np.zeros((len(residuals), self.shape[1]), residuals.dtype)
        spread[:, self.chosen] = residuals
        spread *= residuals.dtype.type(1 / math.sqrt(self.shape[0]))
        return walsh_hadamard(spread)


def walsh_hadamard(vectors: FloatArray) -> FloatArray:
    """``H x`` of each vector (k, n), n a power of 2."""
    whole = vectors
    k, n = vectors.shape
    half = 1
    while half < n:
        pairs = whole.reshape(k, n // (2 * half), 2, half)
        whole = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2).reshape(k, n)
        half *= 2
    return whole if whole is not vectors else vectors.copy()
