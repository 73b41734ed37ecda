"""Rows of ``A x = y`` turned so that what small weights add to ``A diag(d) A^T`` is not lost beside large ones."""

from __future__ import annotations

import math

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.vectors.inner import norm


@jit_internal
def rotate_rows(a, y, dual, basis, m, n, basis_columns, weights, size, reflector, sums):
    """Multiply A, y and lam by the orthogonal matrix that makes the columns of the largest weights triangular.

    What small weights add to ``A diag(d) A^T`` drowns in the round-off of the large ones, although they alone decide
    where the large ones have no say. Rows that have exact zeros in the large columns keep the two apart.

    A (m, n), y (m,), lam (m,) and basis (m, basis_columns), which is multiplied as well, flat; weights (n,). Scratch:
    size (n,), reflector (m,), sums (the larger of n and basis_columns).
    """
    for k in range(m):
        size[:] = 0
        for i in range(k, m):
            row = a[i * n : (i + 1) * n]
            for j in range(n):
                size[j] += row[j] * row[j]
        for j in range(n):
            size[j] *= weights[j]
        pivot = 0
        for j in range(n):
            if size[j] > size[pivot]:
                pivot = j
        if not size[pivot] > 0:
            break
        for i in range(k, m):
            reflector[i] = a[i * n + pivot]
        length = math.copysign(norm(reflector[k:]), reflector[k])
        reflector[k] += length
        factor = 1 / (length * reflector[k])
        _reflect(a, k, m, n, reflector, factor, sums)
        _reflect(basis, k, m, basis_columns, reflector, factor, sums)
        _reflect(y, k, m, 1, reflector, factor, sums)
        _reflect(dual, k, m, 1, reflector, factor, sums)
        a[k * n + pivot] = -length
        for i in range(k + 1, m):
            a[i * n + pivot] = 0


@jit_internal
def _reflect(matrix, k, m, columns, reflector, factor, sums):
    """``M -= factor v (v^T M)`` for the rows k to m of a flat matrix."""
    sums[:columns] = 0
    for i in range(k, m):
        row = matrix[i * columns : (i + 1) * columns]
        for j in range(columns):
            sums[j] += reflector[i] * row[j]
    for i in range(k, m):
        row, share = matrix[i * columns : (i + 1) * columns], factor * reflector[i]
        for j in range(columns):
            row[j] -= share * sums[j]
