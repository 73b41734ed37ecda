"""What a matrix is like before it is solved with: the size of its rows, and a factorisation that shows its rank."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit
from fastflow.kernels.vectors.inner import norm_of

UNEVEN = 1024.0
"""Rows whose norms differ by more are in different units."""


class Revealed(NamedTuple):
    """``A^T = lower diag(pivots) upper``, of the rank that was found.

    Attributes
    ----------
    lower : array (n, rank), 1 in row ``columns[k]`` of column k and 0 in the rows of earlier pivots
    pivots : array (rank,)
    upper : array (rank, m), 1 in column ``rows[k]`` of row k and 0 in the columns of earlier pivots
    columns, rows : int arrays (rank,), where the pivots are: columns and rows of A
    """

    lower: np.ndarray
    pivots: np.ndarray
    upper: np.ndarray
    columns: np.ndarray
    rows: np.ndarray


@jit
def even_rows(a, m, n, units):
    """Powers of 2 that make the norms of the rows of A (m n) about 1; all 1 where the rows are of a size.

    Parameters
    ----------
    a : array (m n)
    m, n : int
    units : array (m,) that is filled
    """
    least, most = np.inf, 0.0
    for j in range(m):
        units[j] = norm_of(a[j * n : (j + 1) * n], units[j:])
        if units[j] > 0:
            least, most = min(least, units[j]), max(most, units[j])
    if most > UNEVEN * least:
        for j in range(m):
            exponent = math.frexp(units[j])[1] if 0 < units[j] < np.inf else 0
            units[j] = math.ldexp(1.0, -exponent)
    else:
        units[:] = 1.0


@jit
def reveal_rank(a, weights, round_off):
    """Factor ``A^T`` by elimination with complete pivoting, as the rows of ``diag(weights) A^T`` choose the pivots.

    Weights over many orders then keep apart what happens at each: both factors are well conditioned up to their
    weights. Entries below ``round_off`` times the norm of their own column of A are set to 0.
    (J. Demmel, M. Gu, S. Eisenstat, I. Slapnicar, K. Veselic, Z. Drmac, Linear Algebra Appl. 299 (1999) 21.)

    Parameters
    ----------
    a : array (m, n), A
    weights : array (n,), at least 0
    round_off : float

    Returns
    -------
    Revealed
    """
    m, n = a.shape
    most = min(m, n)
    left = np.empty((n, m))
    least = np.empty(n)
    for i in range(n):
        total = 0.0
        for j in range(m):
            left[i, j] = a[j, i]
            total += a[j, i] * a[j, i]
        least[i] = round_off * math.sqrt(total)
    lower, upper, pivots = np.zeros((n, most)), np.zeros((most, m)), np.zeros(most)
    columns, rows = np.zeros(most, np.int64), np.zeros(most, np.int64)
    free_columns, free_rows = np.ones(n, np.bool_), np.ones(m, np.bool_)
    rank = 0
    while rank < most:
        best, p, q = 0.0, -1, -1
        for i in range(n):
            if free_columns[i]:
                for j in range(m):
                    if free_rows[j]:
                        if abs(left[i, j]) <= least[i]:
                            left[i, j] = 0.0
                        if weights[i] * abs(left[i, j]) > best:
                            best, p, q = weights[i] * abs(left[i, j]), i, j
        if p < 0:
            break
        pivot = left[p, q]
        columns[rank], rows[rank], pivots[rank] = p, q, pivot
        free_columns[p], free_rows[q] = False, False
        lower[p, rank], upper[rank, q] = 1.0, 1.0
        for j in range(m):
            if free_rows[j]:
                upper[rank, j] = left[p, j] / pivot
        for i in range(n):
            if free_columns[i]:
                share = left[i, q] / pivot
                lower[i, rank] = share
                if share != 0:
                    for j in range(m):
                        if free_rows[j]:
                            left[i, j] -= share * left[p, j]
        rank += 1
    return Revealed(lower[:, :rank].copy(), pivots[:rank], upper[:rank], columns[:rank], rows[:rank])


@jit
def pivot_solutions(found, right):
    """Solve ``A_p x = b`` for the pivot columns A_p of a `Revealed`, in least squares, for many b.

    Parameters
    ----------
    found : Revealed
    right : array (m, k), the b's

    Returns
    -------
    array (rank, k)
    """
    rank, m = found.upper.shape
    many = right.shape[1]
    factor, out = np.zeros((rank, rank)), np.zeros((rank, many))
    for i in range(rank):
        for j in range(i + 1):
            total = 0.0
            for k in range(m):
                total += found.upper[i, k] * found.upper[j, k]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = math.sqrt(total) if i == j else total / factor[j, j]
        for c in range(many):
            total = 0.0
            for k in range(m):
                total += found.upper[i, k] * right[k, c]
            for k in range(i):
                total -= factor[i, k] * out[k, c]
            out[i, c] = total / factor[i, i]
    for c in range(many):
        for i in range(rank - 1, -1, -1):
            for k in range(i + 1, rank):
                out[i, c] -= factor[k, i] * out[k, c]
            out[i, c] /= factor[i, i]
        for i in range(rank - 1, -1, -1):
            out[i, c] /= found.pivots[i]
            for k in range(i + 1, rank):
                out[i, c] -= found.lower[found.columns[k], i] * out[k, c]
    return out
