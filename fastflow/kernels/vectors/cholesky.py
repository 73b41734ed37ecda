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
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy, subtract
from fastflow.kernels.vectors.inner import add_combination_at, times_at, transposed_times_at
from fastflow.kernels.vectors.layouts import address, keep, number_at, set_number
from fastflow.kernels.vectors.row_tiles import row_product
from fastflow.kernels.vectors.simd import Vector, constant, for_each
from fastflow.kernels.vectors.tiles import pack_columns

TILE_ROWS = SHAPE.tile_rows
LANES = SHAPE.vector_bytes // 8
BLOCK = 2 * TILE_ROWS
"""Rows that a step of the factorisation takes together."""

ROUND_OFF = 1e-12
"""A pivot below this share of its diagonal entry is round-off."""


class NormalWorkspace(NamedTuple):
    """``upper`` (m s) holds the matrix, then its factor U, ``A diag(d) A^T = U^T U``; s is `stride_of` m.

    ``inverse`` (s' BLOCK), s' whole blocks, has the inverses of the blocks on the diagonal of ``U^T``; ``transposed``
    (n m) and ``padded`` (n' s, n' whole vectors) are ``A^T``, by `set_transposed`; the others are scratch: ``scaled``
    (TILE_ROWS n), ``panel`` (BLOCK s), ``diagonal`` (m), ``scratch`` (BLOCK (BLOCK + 1)).
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
    blocks = (m + BLOCK - 1) // BLOCK
    sizes = (
        m * stride,
        n * m,
        (n + LANES - 1) // LANES * LANES * stride,
        TILE_ROWS * n,
        BLOCK * stride,
        blocks * BLOCK * BLOCK,
        m,
        BLOCK * (BLOCK + 1),
    )
    return NormalWorkspace(*(aligned_zeros((size,), np.float64) for size in sizes))


@jit_inline
def stride_of(m):
    """From one row of m numbers to the next, so that each begins a vector, and may be read in whole ones."""
    return (m + LANES - 1) // LANES * LANES


@jit_inline
def set_transposed(a, m, n, work):
    """``A^T`` for `normal_matrix` and whoever reads its rows; A (m, n) flat."""
    stride, i64 = stride_of(m), np.intp
    for first in range(0, m, LANES):
        pack_columns(
            0.0,
            address(work.padded, i64(first)),
            i64(stride),
            address(a, i64(first * n)),
            i64(n),
            i64(n),
            i64(min(LANES, m - first)),
        )
    keep(work.padded)
    for j in range(n):
        copy(work.transposed[j * m : (j + 1) * m], work.padded[j * stride : j * stride + m], m)


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
                right = panel[p * stride : p * stride + columns]
                subtract(right, upper[(first + p) * stride + first : (first + p + 1) * stride], right, columns)
        else:
            copy(panel, upper, rows * stride)
        inverted, factor = address(inverse, i64(first * BLOCK)), work.scratch[BLOCK:]
        short += _factor_block(panel, stride, rows, work.diagonal[first:], inverted, work.scratch)
        for p in range(rows):
            row = upper[(first + p) * stride + first : (first + p + 1) * stride]
            copy(row, factor[p * BLOCK :], min(BLOCK, columns))
        if columns > BLOCK:
            row_product(
                0.0,
                address(upper, i64(first * stride + first + BLOCK)),
                i64(stride),
                inverted,
                i64(BLOCK),
                i64(1),
                address(panel, i64(BLOCK)),
                i64(stride),
                i64(1),
                i64(rows),
                i64(rows),
                i64(columns - BLOCK),
            )
    keep(panel)
    keep(inverse)
    return short


@intrinsic
def _take_shares(typingctx, row, source, factor, left, inverse):
    """What the rows above leave of a row of `BLOCK` numbers at an address, to ``left``, and of its row of the inverse.

    ``source - sum_j s_j factor_j`` and ``-sum_j s_j inverse_j`` over the rows j above, ``s_j = factor_j[row]``.
    """

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, types.float64, SHAPE.vector_bytes // 8)
        source, factor, left, inverse = map(vector.at, arguments[1:])
        first = builder.mul(arguments[0], constant(BLOCK))
        parts = [(base, constant(place)) for base in (factor, inverse) for place in range(0, BLOCK, vector.lanes)]
        totals = [cgutils.alloca_once(builder, vector.type) for _ in parts]
        for total, (base, place) in zip(totals, parts, strict=True):
            builder.store(vector.load(source, place) if base is factor else vector.zero, total)

        def take(j):
            above = builder.mul(j, constant(BLOCK))
            share = vector.splat(builder.load(builder.gep(factor, [builder.add(above, arguments[0])])))
            for total, (base, place) in zip(totals, parts, strict=True):
                taken = builder.fmul(share, vector.load(base, builder.add(above, place)))
                builder.store(builder.fsub(builder.load(total), taken), total)

        for_each(builder, arguments[0], take)
        for total, (base, place) in zip(totals, parts, strict=True):
            target, at = (left, place) if base is factor else (inverse, builder.add(first, place))
            vector.store(builder.load(total), target, at)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), codegen


@intrinsic
def _scale_row(typingctx, target, number, source):
    """`BLOCK` numbers at an address times a number, to another address."""

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, types.float64, SHAPE.vector_bytes // 8)
        target, source, number = vector.at(arguments[0]), vector.at(arguments[2]), vector.splat(arguments[1])
        for place in map(constant, range(0, BLOCK, vector.lanes)):
            vector.store(builder.fmul(vector.load(source, place), number), target, place)
        return context.get_dummy_value()

    return types.void(types.intp, types.float64, types.intp), codegen


@jit_internal
def _factor_block(panel, stride, rows, diagonal, inverse, scratch):
    """The inverse of the Cholesky factor L of the symmetric leading block of the panel, at an address, lower, zeros
    above.

    Whole rows of U and of the inverse at a time, as vectors.
    """
    size, i64 = 8 * BLOCK, np.intp
    left, factor = address(scratch, i64(0)), address(scratch, i64(BLOCK))
    short = 0
    for j in range(rows):
        _take_shares(i64(j), address(panel, i64(j * stride)), factor, left, inverse)
        reciprocal, pivot = 0.0, number_at(0.0, left + 8 * j)
        if pivot > ROUND_OFF * diagonal[j]:
            reciprocal = 1 / math.sqrt(pivot)
        else:
            short += 1
        _scale_row(factor + j * size, reciprocal, left)
        _scale_row(inverse + j * size, reciprocal, inverse + j * size)
        set_number(0.0, inverse + j * size + 8 * j, reciprocal)
    keep(scratch)
    keep(panel)
    return short


@jit
def solve_normal(b, m, work):
    """Overwrite b with c, ``U^T U c = b``, for the factor in ``work.upper``."""
    stride, size, i64 = stride_of(m), 8, np.intp
    at, part, upper = address(b, i64(0)), address(work.scratch, i64(0)), address(work.upper, i64(0))
    for first in range(0, m, BLOCK):
        rows = min(BLOCK, m - first)
        after, inverse = first + rows, address(work.inverse, i64(first * BLOCK))
        times_at(0.0, inverse, i64(BLOCK), i64(rows), i64(rows), at + first * size, part)
        for j in range(rows):
            b[first + j] = work.scratch[j]
            work.scratch[j] = -work.scratch[j]
        beside = upper + (first * stride + after) * size
        add_combination_at(0.0, at + after * size, part, beside, i64(stride), i64(m - after), i64(rows))
    for block in range((m + BLOCK - 1) // BLOCK - 1, -1, -1):
        first = block * BLOCK
        rows = min(BLOCK, m - first)
        after = first + rows
        beside = upper + (first * stride + after) * size
        times_at(0.0, beside, i64(stride), i64(rows), i64(m - after), at + after * size, part)
        for j in range(rows):
            work.scratch[j] = b[first + j] - work.scratch[j]
        inverse = address(work.inverse, i64(first * BLOCK))
        transposed_times_at(0.0, inverse, i64(BLOCK), i64(rows), i64(rows), part, at + first * size)
    keep(b)
    keep(work)
