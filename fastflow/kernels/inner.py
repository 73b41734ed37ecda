"""Products of a matrix with vectors, and the gradient of ``1/2 ||A x - y||^2`` in one pass over A.

An inner product has the fixed order of summation of `fastflow.kernels.elementwise`, whatever the tile or block, so that
a run has the same bits alone, with others of its matrix, and at any block size.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.elementwise import (
    PARTIAL_BYTES,
    ROWS_AT_ONCE,
    add_rows,
    clear_at,
    dot_rows,
    emit_added_rows,
    emit_dots,
    for_row_counts,
    half_square_at,
    lanes_splat,
    row_pointers,
    rows_together,
)
from fastflow.kernels.jit import jit, jit_internal
from fastflow.kernels.layouts import item_bytes
from fastflow.kernels.products import VECTOR_BYTES, share
from fastflow.kernels.simd import Vector, constant, for_vectors, switch
from fastflow.kernels.target import SHAPE
from fastflow.kernels.tiles import PANEL_DEPTH, pack_rows, panel_memory, tile

_SUMS = SHAPE.tile_rows * SHAPE.tile_vectors * SHAPE.vector_bytes // PARTIAL_BYTES
DOT_TILE = {24: (3, 8), 6: (3, 2)}.get(_SUMS, (1, 2))
"""Members by rows of a `dot_tile`: as many sets of partial sums as the registers hold."""

COLUMN_BYTES = 2**12
"""Bytes of each vector that `dot_tile` takes at most, so that a tile's vectors stay in the first-level cache."""

BLOCK_BYTES = 3 * 2**17
"""Bytes of a matrix that members go through together, so that it is read once from beyond the second-level cache."""

ROW_BYTES = 3 * 2**13
"""Bytes of the rows of a block that one run takes at once: most of a first-level cache, beside two vectors."""

LEAST_ROWS = min(4, ROWS_AT_ONCE)
"""Rows at once of even the longest: the sums of fewer would wait for each other more than for the second level."""


@intrinsic
def dot_tile(typingctx, zero, members, rows, c, ldc, x, ldx, a, lda, y, columns, partial, first, last):
    """``C[i, j] = <x_i, a_j> - y_j`` for ``i < members``, ``j < rows``, at most `DOT_TILE`; rows a power of 2.

    At addresses (`fastflow.kernels.layouts.address`) of elements of the type of ``zero``: ``C[i, j]`` is element
    ``i*ldc + j`` from ``c``, x_i starts at element ``i*ldx`` from ``x``, a_j at ``j*lda`` from ``a``. Columns may come
    in several calls: all but the ``first`` go on with the partial sums, `PARTIAL_BYTES` for each (i, j), that lie at
    ``partial``, and all but the ``last`` leave them there.
    """
    dtype, n = zero, types.intp
    flag = types.boolean
    signature = types.void(dtype, n, n, n, n, n, n, n, n, n, n, n, flag, flag)

    def codegen(context, builder, signature, arguments):
        _, members, rows, c, ldc, x, ldx, a, lda, y, columns, partial, first, last = arguments
        vector = Vector(context, builder, dtype, PARTIAL_BYTES // (dtype.bitwidth // 8))
        c_base, x_base, a_base, y_base, partial_base = (vector.at(value) for value in (c, x, a, y, partial))

        def emit(member_count, row_count):
            x_bases = [builder.gep(x_base, [builder.mul(constant(i), ldx)]) for i in range(member_count)]
            a_bases = [builder.gep(a_base, [builder.mul(constant(j), lda)]) for j in range(row_count)]
            totals = [cgutils.alloca_once_value(builder, vector.zero) for _ in range(member_count * row_count)]
            for k, total in enumerate(totals):
                with builder.if_else(first) as (start, go_on):
                    with start:
                        builder.store(vector.zero, total)
                    with go_on:
                        builder.store(vector.load(partial_base, constant(k * vector.lanes)), total)

            def body(offset, mask):
                left = [vector.load(base, offset, mask) for base in x_bases]
                for j, base in enumerate(a_bases):
                    right = vector.load(base, offset, mask)
                    for i in range(member_count):
                        total = totals[i * row_count + j]
                        builder.store(vector.fma(right, left[i], builder.load(total)), total)

            for_vectors(builder, vector, columns, body, unroll=False)
            few = Vector(context, builder, dtype, row_count)
            with builder.if_else(last) as (finish, leave):
                with finish:
                    known = few.load(y_base, constant(0))
                    for i in range(member_count):
                        values = vector.sums([builder.load(totals[i * row_count + j]) for j in range(row_count)])
                        few.store(builder.fsub(values, known), c_base, builder.mul(constant(i), ldc))
                with leave:
                    for k, total in enumerate(totals):
                        vector.store(builder.load(total), partial_base, constant(k * vector.lanes))

        most_members, most_rows = DOT_TILE
        shapes = [(i, j) for i in range(1, most_members + 1) for j in (1, 2, 4, 8) if j <= most_rows]
        key = builder.add(builder.mul(members, constant(most_rows + 1)), rows)
        switch(builder, key, {i * (most_rows + 1) + j: (lambda i=i, j=j: emit(i, j)) for i, j in shapes})
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def measure_block(typingctx, zero, residual, values, matrix, columns, rows, x, gradient):
    """``residual[i] = <row i, x> - values[i]``, and that times row i added to ``gradient``, for ``i < rows``.

    ``rows`` is as `rows_together` has it: they are still in the first-level cache when they are added. At addresses of
    elements of the type of ``zero``, the matrix row-major with the given number of columns.
    """
    n = types.intp
    signature = types.void(zero, n, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        sums = Vector(context, builder, zero, PARTIAL_BYTES // (zero.bitwidth // 8))
        vector = Vector(context, builder, zero, SHAPE.vector_bytes // (zero.bitwidth // 8))
        columns, rows = arguments[4:6]
        residual, values, matrix, x, gradient = (vector.at(arguments[i]) for i in (1, 2, 3, 6, 7))

        def emit(count):
            pointers = row_pointers(builder, matrix, constant(0), columns, count)
            few, at = Vector(context, builder, zero, count), constant(0)
            left = builder.fsub(emit_dots(builder, sums, pointers, x, columns), few.load(values, at))
            few.store(left, residual, at)
            emit_added_rows(builder, vector, gradient, lanes_splat(vector, left), pointers, columns)

        for_row_counts(builder, rows, emit)
        return context.get_dummy_value()

    return signature, codegen


@jit_internal
def measure_rows(zero, matrix, values, m, n, x, residual, gradient):
    """``r = A x - y`` and ``A^T r`` in one pass over A (m, n), row-major; at addresses of elements like ``zero``."""
    size = item_bytes(zero)
    most = rows_together(max(LEAST_ROWS, ROW_BYTES // (n * size)), ROWS_AT_ONCE)
    clear_at(zero, gradient, n)
    first = 0
    while first < m:
        rows = rows_together(m - first, most)
        at = first * size
        measure_block(zero, residual + at, values + at, matrix + n * at, n, rows, x, gradient)
        first += rows


@jit
def times(a, m, n, x, out):
    """``out = A x``, A (m, n) flat and row-major."""
    first = 0
    while first < m:
        rows = rows_together(m - first, ROWS_AT_ONCE)
        dot_rows(out[first:], a, first, n, rows, x)
        first += rows


@jit
def transposed_times(a, m, n, c, out):
    """``out = A^T c``, A (m, n) flat and row-major."""
    out[:] = 0
    first = 0
    while first < m:
        rows = rows_together(m - first, ROWS_AT_ONCE)
        add_rows(out, c[first:], a, first, n, rows)
        first += rows


@jit
def norm(v):
    """The Euclidean norm, also where squares would overflow or vanish; NaN where an entry is."""
    largest = 0.0
    for value in v:
        if math.isnan(value):
            return value
        largest = max(largest, abs(value))
    if largest == 0 or not math.isfinite(largest):
        return largest
    total = 0.0
    for value in v:
        total += (value / largest) ** 2
    return largest * math.sqrt(total)


class SharedMatrix(NamedTuple):
    """``r = A x - y`` with one A and y for every run, so that a product serves all members of a group.

    ``matrix`` (m * n,), A row-major; ``values`` (m,), y.
    """

    matrix: np.ndarray
    values: np.ndarray


def partial_size(members: int, dtype: np.dtype[Any]) -> int:
    """Elements of scratch for the partial sums of so many members and a tile's rows."""
    return (members + DOT_TILE[0]) * DOT_TILE[1] * PARTIAL_BYTES // dtype.itemsize


@jit_internal
def measure_together(zero, matrix, values, m, n, x, residual, gradient, partial, members):
    """`measure_rows` for members one after the other: x (members, n), residual (members, m), gradient (members, n).

    ``partial`` is scratch of `partial_size` elements. At addresses (`fastflow.kernels.layouts.address`) of elements of
    the type of ``zero``.
    """
    size = item_bytes(zero)
    depth = min(PANEL_DEPTH, max(BLOCK_BYTES // (n * size), 1))
    if depth > DOT_TILE[1]:
        depth -= depth % DOT_TILE[1]
    first = 0
    while first < m:
        rows = min(depth, m - first)
        a, r = matrix + first * n * size, residual + first * size
        _dots_together(zero, a, values + first * size, m, n, x, r, partial, members, rows)
        _add_together(zero, a, m, n, r, gradient, members, rows, first > 0)
        first += rows


@jit_internal
def _dots_together(zero, matrix, values, m, n, x, residual, partial, members, block):
    """The residuals of a block of rows."""
    size = item_bytes(zero)
    most_members, most_rows = DOT_TILE
    lanes = PARTIAL_BYTES // size
    pieces = (n * size + COLUMN_BYTES - 1) // COLUMN_BYTES
    piece = ((n + pieces - 1) // pieces + lanes - 1) // lanes * lanes
    j = 0
    while j < block:
        rows = rows_together(block - j, most_rows)
        for k in range(0, n, piece):
            columns, right = min(piece, n - k), matrix + (j * n + k) * size
            for i in range(0, members, most_members):
                count = min(most_members, members - i)
                to, left = residual + (i * m + j) * size, x + (i * n + k) * size
                sums = partial + i * most_rows * PARTIAL_BYTES
                y = values + j * size
                dot_tile(zero, count, rows, to, m, left, n, right, n, y, columns, sums, k == 0, k + piece >= n)
        j += rows


@jit_internal
def _add_together(zero, matrix, m, n, residual, gradient, members, block, resume):
    """The block's share of the gradients: chains of FMAs in the order of all rows, see `tile`."""
    size = item_bytes(zero)
    lanes = VECTOR_BYTES // size
    panel = panel_memory(zero)
    left = (n + lanes - 1) // lanes
    while left > 0:
        vectors = share(left, SHAPE.tile_vectors)
        left -= vectors
        j = left * lanes
        tail = min(n - j, vectors * lanes) - (vectors - 1) * lanes
        pack_rows(zero, panel, matrix + j * size, n, block, vectors, tail)
        i = 0
        while i < members:
            rows = share(members - i, SHAPE.tile_rows)
            to, a = gradient + (i * n + j) * size, residual + i * m * size
            tile(zero, rows, vectors, to, n, a, m, 1, panel, vectors * lanes, block, tail, resume)
            i += rows


@jit_internal
def measure_members(zero, matrix, values, m, n, x, residual, gradient, loss, partial, members):
    """`measure_rows` for members one after the other, with the bits of each alone, and ``1/2 ||r||^2`` of each.

    x (members, n), residual (members, m), gradient (members, n), loss (members,); ``partial`` is scratch of
    `partial_size` elements, or anything for one member.
    """
    size = item_bytes(zero)
    if members == 1:
        measure_rows(zero, matrix, values, m, n, x, residual, gradient)
    else:
        measure_together(zero, matrix, values, m, n, x, residual, gradient, partial, members)
    for member in range(members):
        half_square_at(zero, residual + member * m * size, m, loss + member * size)
