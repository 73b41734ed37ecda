"""Symmetric systems ``A diag(d) A^T c = b`` from the register tiles: the product, its Cholesky factor, the solve.

Only upper triangles are formed and read; flat, row-major storage. A pivot that is round-off is taken as infinite, which
sets that component of every solution to 0: with a rank that is short the others solve what can be solved.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.layouts import address, keep
from fastflow.kernels.vectors.row_tiles import row_product
from fastflow.kernels.vectors.simd import Vector, constant

TILE_ROWS = SHAPE.tile_rows
BLOCK = 2 * TILE_ROWS
"""Rows that a step of the factorisation takes together."""

ROUND_OFF = 1e-12
"""A pivot below this share of its diagonal entry is round-off."""


class NormalWorkspace(NamedTuple):
    """``upper`` (m m) holds the matrix, then its factor U, ``A diag(d) A^T = U^T U``; the others are scratch.

    ``transposed`` (n m) is ``A^T``, which `normal_matrix` reads beside A; ``scaled`` (m n), ``panel`` (BLOCK m),
    ``inverse`` (BLOCK BLOCK), ``diagonal`` (m), ``scratch`` (2 BLOCK BLOCK).
    """

    upper: np.ndarray
    transposed: np.ndarray
    scaled: np.ndarray
    panel: np.ndarray
    inverse: np.ndarray
    diagonal: np.ndarray
    scratch: np.ndarray


def normal_workspace(m: int, n: int) -> NormalWorkspace:
    """Memory for systems of m equations whose matrix A is (m, n)."""
    sizes = (m * m, n * m, m * n, BLOCK * m, BLOCK * BLOCK, m, 2 * BLOCK * BLOCK)
    return NormalWorkspace(*(np.zeros(size) for size in sizes))


@jit_inline
def normal_matrix(a, d, m, n, work):
    """``A diag(d) A^T`` into ``work.upper``, from its diagonal on to the right; A (m, n) flat, d (n,)."""
    scaled, i64 = work.scaled, np.intp
    for i in range(m):
        row, out = a[i * n : (i + 1) * n], scaled[i * n : (i + 1) * n]
        for j in range(n):
            out[j] = row[j] * d[j]
    for i in range(0, m, TILE_ROWS):
        row_product(
            0.0,
            address(work.upper, i64(i * m + i)),
            i64(m),
            address(scaled, i64(i * n)),
            i64(n),
            i64(1),
            address(work.transposed, i64(i)),
            i64(m),
            i64(1),
            i64(min(TILE_ROWS, m - i)),
            i64(n),
            i64(m - i),
        )
    keep(scaled)


@jit_inline
def factor_normal(m, work):
    """Factor what `normal_matrix` left in ``work.upper``; returns how many pivots were round-off."""
    upper, panel, inverse, i64 = work.upper, work.panel, work.inverse, np.intp
    for i in range(m):
        work.diagonal[i] = upper[i * m + i]
    short = 0
    for first in range(0, m, BLOCK):
        rows, columns = min(BLOCK, m - first), m - first
        if first > 0:
            at = address(upper, i64(first))
            row_product(
                0.0,
                address(panel, i64(0)),
                i64(m),
                at,
                i64(1),
                i64(m),
                at,
                i64(m),
                i64(1),
                i64(rows),
                i64(first),
                i64(columns),
            )
            for p in range(rows):
                start = (first + p) * m + first
                left, right = upper[start : start + columns], panel[p * m : p * m + columns]
                for j in range(p, columns):
                    right[j] = left[j] - right[j]
        else:
            for p in range(rows):
                for j in range(p, columns):
                    panel[p * m + j] = upper[p * m + j]
        short += _factor_block(panel, m, rows, work.diagonal[first:], inverse, work.scratch)
        for p in range(rows):
            for j in range(p):
                panel[p * m + j] = panel[j * m + p] if j < p else 0.0
        row_product(
            0.0,
            address(upper, i64(first * m + first)),
            i64(m),
            address(inverse, i64(0)),
            i64(BLOCK),
            i64(1),
            address(panel, i64(0)),
            i64(m),
            i64(1),
            i64(rows),
            i64(rows),
            i64(columns),
        )
        for p in range(rows):
            upper[(first + p) * m + first + p] = 1 / inverse[p * BLOCK + p] if inverse[p * BLOCK + p] > 0 else np.inf
    keep(panel)
    keep(inverse)
    return short


def _row_intrinsic(emit):
    """An intrinsic that makes `BLOCK` numbers at an address of themselves, of a number, and of those at another."""

    @intrinsic
    def rows(typingctx, target, number, source):
        def codegen(context, builder, signature, arguments):
            vector = Vector(context, builder, types.float64, SHAPE.vector_bytes // 8)
            target, source, number = vector.at(arguments[0]), vector.at(arguments[2]), vector.splat(arguments[1])
            for first in map(constant, range(0, BLOCK, vector.lanes)):
                made = emit(builder, vector.load(target, first), number, vector.load(source, first))
                vector.store(made, target, first)
            return context.get_dummy_value()

        return types.void(types.intp, types.float64, types.intp), codegen

    return rows


_scale_row = _row_intrinsic(lambda builder, row, number, other: builder.fmul(other, number))
_take_share = _row_intrinsic(lambda builder, row, number, other: builder.fsub(row, builder.fmul(number, other)))


@jit_internal
def _factor_block(panel, m, rows, diagonal, inverse, scratch):
    """The inverse of the Cholesky factor L of the symmetric leading block of the panel, lower, zeros above.

    Whole rows of U and of the inverse at a time, as vectors: each step takes its part from all rows below, and an entry
    meets the same differences of products in the same order as it would by itself.
    """
    square, size, i64 = BLOCK * BLOCK, 8 * BLOCK, np.intp
    left, factor, inverted = address(scratch, i64(0)), address(scratch, i64(square)), address(inverse, i64(0))
    short = 0
    for j in range(rows):
        for i in range(j, rows):
            scratch[j * BLOCK + i] = panel[j * m + i]
        for c in range(BLOCK):
            inverse[j * BLOCK + c] = 0.0
    for j in range(rows):
        reciprocal = 0.0
        if scratch[j * BLOCK + j] > ROUND_OFF * diagonal[j]:
            reciprocal = 1 / math.sqrt(scratch[j * BLOCK + j])
        else:
            short += 1
        _scale_row(factor + j * size, reciprocal, left + j * size)
        _scale_row(inverted + j * size, reciprocal, inverted + j * size)
        inverse[j * BLOCK + j] = reciprocal
        for i in range(j + 1, rows):
            share = scratch[square + j * BLOCK + i]
            _take_share(left + i * size, share, factor + j * size)
            _take_share(inverted + i * size, share, inverted + j * size)
    keep(scratch)
    keep(inverse)
    return short


@jit
def solve_normal(b, m, work):
    """Overwrite b with c, ``U^T U c = b``, for the factor in ``work.upper``."""
    upper = work.upper
    for k in range(m):
        row = upper[k * m : (k + 1) * m]
        value = b[k] / row[k]
        b[k] = value
        for j in range(k + 1, m):
            b[j] -= value * row[j]
    for k in range(m - 1, -1, -1):
        row = upper[k * m : (k + 1) * m]
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        j = k + 1
        while j + 3 < m:
            s0 += row[j] * b[j]
            s1 += row[j + 1] * b[j + 1]
            s2 += row[j + 2] * b[j + 2]
            s3 += row[j + 3] * b[j + 3]
            j += 4
        while j < m:
            s0 += row[j] * b[j]
            j += 1
        b[k] = (b[k] - ((s0 + s1) + (s2 + s3))) / row[k]
