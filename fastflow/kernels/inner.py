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

from fastflow.kernels.elementwise import PARTIAL_BYTES, ROWS_AT_ONCE, add_rows, dot_rows
from fastflow.kernels.jit import jit, jit_inline, jit_internal
from fastflow.kernels.layouts import address, item_bytes, keep
from fastflow.kernels.products import row_product
from fastflow.kernels.simd import Vector, constant, for_vectors, switch
from fastflow.kernels.target import SHAPE

_SUMS = SHAPE.tile_rows * SHAPE.tile_vectors * SHAPE.vector_bytes // PARTIAL_BYTES
DOT_TILE = {24: (4, 6), 6: (2, 3)}.get(_SUMS, (1, 2))
"""Members by rows of a `dot_tile`: as many sets of partial sums as the registers hold."""

COLUMN_BYTES = 2**12
"""Bytes of each vector that `dot_tile` takes at once, so that a tile's vectors stay in the first-level cache."""


@intrinsic
def dot_tile(typingctx, zero, members, rows, c, ldc, x, ldx, a, lda, y, columns, partial, first, last):
    """``C[i, j] = <x_i, a_j> - y_j`` for ``i < members``, ``j < rows``, at most `DOT_TILE`; sums in registers.

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
            with builder.if_else(last) as (finish, leave):
                with finish:
                    for j in range(row_count):
                        known = builder.load(builder.gep(y_base, [constant(j)]))
                        for i in range(member_count):
                            value = vector.sum(builder.load(totals[i * row_count + j]))
                            place = builder.add(builder.mul(constant(i), ldc), constant(j))
                            builder.store(builder.fsub(value, known), builder.gep(c_base, [place]))
                with leave:
                    for k, total in enumerate(totals):
                        vector.store(builder.load(total), partial_base, constant(k * vector.lanes))

        most_members, most_rows = DOT_TILE
        shapes = [(i, j) for i in range(1, most_members + 1) for j in range(1, most_rows + 1)]
        key = builder.add(builder.mul(members, constant(most_rows + 1)), rows)
        switch(builder, key, {i * (most_rows + 1) + j: (lambda i=i, j=j: emit(i, j)) for i, j in shapes})
        return context.get_dummy_value()

    return signature, codegen


@jit_inline
def block_rows(columns, size):
    """Rows of a block that `measure_rows` takes at once, for elements of ``size`` bytes.

    As many as leave half of a first-level cache of 32 kB to the two vectors; the size changes no bit.
    """
    return max(1, min(ROWS_AT_ONCE, 2**14 // (columns * size)))


@jit_inline
def measure_rows(matrix, values, x, residual, gradient):
    """``r = A x - y`` and ``A^T r`` in one pass over A, flat and row-major."""
    n, m = len(x), values.size
    at_once = block_rows(n, item_bytes(x.dtype.type(0)))
    gradient[:] = 0
    for first in range(0, m, at_once):
        # The rows are still in the first-level cache when their multiples are added.
        rows, part = min(at_once, m - first), residual[first:]
        dot_rows(part, matrix, first, n, rows, x)
        for i in range(rows):
            part[i] -= values[first + i]
        add_rows(gradient, part, matrix, first, n, rows)


@jit
def times(a, m, n, x, out):
    """``out = A x``, A (m, n) flat and row-major."""
    for first in range(0, m, ROWS_AT_ONCE):
        dot_rows(out[first:], a, first, n, min(ROWS_AT_ONCE, m - first), x)


@jit
def transposed_times(a, m, n, c, out):
    """``out = A^T c``, A (m, n) flat and row-major."""
    out[:] = 0
    for first in range(0, m, ROWS_AT_ONCE):
        add_rows(out, c[first:], a, first, n, min(ROWS_AT_ONCE, m - first))


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
    most_members, most_rows = DOT_TILE
    block = COLUMN_BYTES // size
    for j in range(0, m, most_rows):
        rows = min(most_rows, m - j)
        for k in range(0, n, block):
            columns, right = min(block, n - k), matrix + (j * n + k) * size
            for i in range(0, members, most_members):
                count = min(most_members, members - i)
                to, left = residual + (i * m + j) * size, x + (i * n + k) * size
                sums = partial + i * most_rows * PARTIAL_BYTES
                y = values + j * size
                dot_tile(zero, count, rows, to, m, left, n, right, n, y, columns, sums, k == 0, k + block >= n)
    row_product(zero, gradient, n, residual, m, 1, matrix, n, 1, members, m, n)


@jit_inline
def measure_shared(problem, x, members, residual, gradient, partial):
    """Residuals and gradients of members one after the other, flat, against a `SharedMatrix`; same bits as alone.

    ``partial`` is scratch of `partial_size` elements.
    """
    n, m, i = len(x) // members, problem.values.size, np.intp
    if members == 1:
        measure_rows(problem.matrix, problem.values, x, residual, gradient)
    else:
        measure_together(
            x.dtype.type(0),
            address(problem.matrix, i(0)),
            address(problem.values, i(0)),
            i(m),
            i(n),
            address(x, i(0)),
            address(residual, i(0)),
            address(gradient, i(0)),
            address(partial, i(0)),
            i(members),
        )
        keep(problem.matrix)
        keep(problem.values)
        keep(x)
        keep(residual)
        keep(gradient)
        keep(partial)
