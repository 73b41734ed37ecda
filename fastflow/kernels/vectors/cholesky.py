"""Symmetric systems ``A diag(d) A^T c = b`` from the register tiles: the product, its Cholesky factor, the solve.

Only upper triangles are formed and read; flat, row-major storage, in whole vectors where products read it. A pivot that
is round-off is taken as infinite, which sets that component of every solution to 0: with a rank that is short the
others solve what can be solved.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy
from fastflow.kernels.vectors.layouts import address, keep
from fastflow.kernels.vectors.products import transpose
from fastflow.kernels.vectors.row_tiles import row_product
from fastflow.kernels.vectors.simd import Vector, constant

TILE_ROWS = SHAPE.tile_rows
LANES = SHAPE.vector_bytes // 8
BLOCK = 2 * TILE_ROWS
"""Rows that a step of the factorisation takes together."""

ROUND_OFF = 1e-12
"""A pivot below this share of its diagonal entry is round-off."""


class NormalWorkspace(NamedTuple):
    """``upper`` (m s) holds the matrix, then its factor U, ``A diag(d) A^T = U^T U``; s is `stride_of` m.

    ``transposed`` (n m) and ``padded`` (n s) are ``A^T``, by `set_transposed`; the others are scratch: ``scaled``
    (TILE_ROWS n), ``panel`` (BLOCK s), ``inverse`` (BLOCK BLOCK), ``diagonal`` (m), ``scratch`` (2 BLOCK BLOCK).
    """

    upper: np.ndarray
    transposed: np.ndarray
    padded: np.ndarray
    scaled: np.ndarray
    panel: np.ndarray
    inverse: np.ndarray
    diagonal: np.ndarray
    scratch: np.ndarray


def normal_workspace(m: int, n: int) -> NormalWorkspace:
    """Memory for systems of m equations whose matrix A is (m, n)."""
    stride = stride_of.py_func(m)
    sizes = (m * stride, n * m, n * stride, TILE_ROWS * n, BLOCK * stride, BLOCK * BLOCK, m, 2 * BLOCK * BLOCK)
    return NormalWorkspace(*(aligned_zeros((size,), np.float64) for size in sizes))


@jit_inline
def stride_of(m):
    """From one row of m numbers to the next, so that each begins a vector, and may be read in whole ones."""
    return (m + LANES - 1) // LANES * LANES


@jit_inline
def set_transposed(a, m, n, work):
    """``A^T`` for `normal_matrix` and whoever reads its rows; A (m, n) flat."""
    transpose(work.transposed, a, m, n)
    stride = stride_of(m)
    for j in range(n):
        copy(work.padded[j * stride : j * stride + m], work.transposed[j * m : (j + 1) * m], m)


@jit_inline
def normal_matrix(a, d, m, n, work):
    """``A diag(d) A^T`` into ``work.upper``, from its diagonal on to the right; A (m, n) flat, d (n,)."""
    scaled, stride, i64 = work.scaled, stride_of(m), np.intp
    for first in range(0, m, TILE_ROWS):
        rows = min(TILE_ROWS, m - first)
        for i in range(rows):
            row, out = a[(first + i) * n : (first + i + 1) * n], scaled[i * n : (i + 1) * n]
            for j in range(n):
                out[j] = row[j] * d[j]
        row_product(
            0.0,
            address(work.upper, i64(first * stride + first)),
            i64(stride),
            address(scaled, i64(0)),
            i64(n),
            i64(1),
            address(work.padded, i64(first)),
            i64(stride),
            i64(1),
            i64(rows),
            i64(n),
            i64(stride - first),
        )
    keep(scaled)


@jit_inline
def factor_normal(m, work):
    """Factor what `normal_matrix` left in ``work.upper``; returns how many pivots were round-off."""
    upper, panel, inverse, stride, i64 = work.upper, work.panel, work.inverse, stride_of(m), np.intp
    for i in range(m):
        work.diagonal[i] = upper[i * stride + i]
    short = 0
    for first in range(0, m, BLOCK):
        rows, columns = min(BLOCK, m - first), stride - first
        if first > 0:
            at = address(upper, i64(first))
            row_product(
                0.0,
                address(panel, i64(0)),
                i64(stride),
                at,
                i64(1),
                i64(stride),
                at,
                i64(stride),
                i64(1),
                i64(rows),
                i64(first),
                i64(columns),
            )
            for p in range(rows):
                start = (first + p) * stride + first
                left, right = upper[start : start + columns], panel[p * stride : p * stride + columns]
                for j in range(p, columns):
                    right[j] = left[j] - right[j]
        else:
            for p in range(rows):
                for j in range(p, columns):
                    panel[p * stride + j] = upper[p * stride + j]
        short += _factor_block(panel, stride, rows, work.diagonal[first:], inverse, work.scratch)
        for p in range(rows):
            for j in range(p):
                panel[p * stride + j] = panel[j * stride + p]
        row_product(
            0.0,
            address(upper, i64(first * stride + first)),
            i64(stride),
            address(inverse, i64(0)),
            i64(BLOCK),
            i64(1),
            address(panel, i64(0)),
            i64(stride),
            i64(1),
            i64(rows),
            i64(rows),
            i64(columns),
        )
        for p in range(rows):
            reciprocal = inverse[p * BLOCK + p]
            upper[(first + p) * stride + first + p] = 1 / reciprocal if reciprocal > 0 else np.inf
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
def _factor_block(panel, stride, rows, diagonal, inverse, scratch):
    """The inverse of the Cholesky factor L of the symmetric leading block of the panel, lower, zeros above.

    Whole rows of U and of the inverse at a time, as vectors: each step takes its part from all rows below, and an entry
    meets the same differences of products in the same order as it would by itself.
    """
    square, size, i64 = BLOCK * BLOCK, 8 * BLOCK, np.intp
    left, factor, inverted = address(scratch, i64(0)), address(scratch, i64(square)), address(inverse, i64(0))
    short = 0
    for j in range(rows):
        for i in range(j, rows):
            scratch[j * BLOCK + i] = panel[j * stride + i]
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
    upper, stride = work.upper, stride_of(m)
    for k in range(m):
        row = upper[k * stride : k * stride + m]
        value = b[k] / row[k]
        b[k] = value
        for j in range(k + 1, m):
            b[j] -= value * row[j]
    for k in range(m - 1, -1, -1):
        row = upper[k * stride : k * stride + m]
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
