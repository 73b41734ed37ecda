"""Products of a matrix with vectors, and the gradient of ``1/2 ||A x - y||^2`` in one pass over A.

An inner product has the fixed order of summation of `vectors.elementwise`, whatever the block, so that a run
has the same bits alone and with others of its matrix (`networks.panels`).
"""

from __future__ import annotations

import math

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.compile.levels import LEVELS
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.elementwise import (
    PARTIAL_BYTES,
    ROWS_AT_ONCE,
    Dots,
    add_rows,
    add_scaled_rows,
    clear_at,
    dot,
    dot_rows,
    emit_added_rows,
    emit_dots,
    for_row_counts,
    lanes_splat,
    row_pointers,
    rows_together,
)
from fastflow.kernels.vectors.layouts import item_bytes
from fastflow.kernels.vectors.simd import I64, Vector, constant, for_vectors

ROW_BYTES = 3 * LEVELS.first // 4
"""Bytes of the rows of a block that one run takes at once: most of a first-level cache, beside two vectors."""

LEAST_ROWS = min(4, ROWS_AT_ONCE)
"""Rows at once of even the longest: the sums of fewer would wait for each other more than for the second level."""

PIPED_BYTES = LEVELS.first // 2
"""Bytes of the rows of a block of which the next one comes while it is gone over a second time."""

MEETING = 2**11
"""Rows of a multiple of these bytes meet in few sets of the first-level cache, which holds fewer of them then."""

BLOCK_BYTES, BLOCK_ROWS = LEVELS.second // 2, 64
"""Of rows that several runs go over before the next ones: half of a second-level cache, and no more than so many."""

LEAST_SQUARE_32, LEAST_SQUARE_64 = 1e-30, 1e-300
"""Sums of squares below these may have lost digits to squares that are not normal numbers, in either precision."""


def _emit_measured(context, builder, zero, places, columns, rows, pointers_of):
    """Measure so many rows, at most as many as `rows_together` has it, at the pointers that there are for a number."""
    sums = Vector(context, builder, zero, PARTIAL_BYTES // (zero.bitwidth // 8))
    vector = Vector(context, builder, zero, SHAPE.vector_bytes // (zero.bitwidth // 8))
    residual, values, matrix, x, gradient = map(vector.at, places)

    def emit(count):
        pointers = pointers_of(matrix, count)
        few, at = Vector(context, builder, zero, count), constant(0)
        left = builder.fsub(emit_dots(builder, sums, pointers, x, columns), few.load(values, at))
        few.store(left, residual, at)
        with builder.if_then(builder.icmp_signed("!=", places[4], constant(0))):
            # Of rows that are too long to stay in the first-level cache, the ends are there.
            stay = builder.icmp_signed("<=", columns, constant(ROW_BYTES // (count * vector.size)))
            with builder.if_else(stay) as branches:
                for branch, backwards in zip(branches, (False, True), strict=True):
                    with branch:
                        splats = lanes_splat(vector, left)
                        emit_added_rows(builder, vector, gradient, splats, pointers, columns, backwards)

    for_row_counts(builder, rows, emit)
    return context.get_dummy_value()


@intrinsic
def measure_block(typingctx, zero, residual, values, matrix, columns, rows, x, gradient):
    """``residual[i] = <row i, x> - values[i]``, and that times row i added to ``gradient``, for ``i < rows``.

    ``rows`` is as `rows_together` has it: they are still in the first-level cache when they are added. At addresses of
    elements of the type of ``zero``, the matrix row-major with the given number of columns. Where ``gradient`` is 0
    nothing is added to it.
    """
    n = types.intp
    signature = types.void(zero, n, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, residual, values, matrix, columns, rows, x, gradient = arguments

        def pointers_of(matrix, count):
            return row_pointers(builder, matrix, constant(0), columns, count)

        places = (residual, values, matrix, x, gradient)
        return _emit_measured(context, builder, zero, places, columns, rows, pointers_of)

    return signature, codegen


@intrinsic
def measure_next(typingctx, zero, residual, values, matrix, columns, rows, x, gradient):
    """Rows ``i < rows`` times their residuals, added to ``gradient``, and the residuals of as many rows after them.

    At addresses as for `measure_block`, and with its bits. In one loop: while rows of the next block come from memory,
    those of this one go from the first-level cache.
    """
    n = types.intp
    signature = types.void(zero, n, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        zero, columns = signature.args[0], arguments[4]
        vector = Vector(context, builder, zero, PARTIAL_BYTES // (zero.bitwidth // 8))
        residual, values, matrix, x, gradient = (vector.at(arguments[i]) for i in (1, 2, 3, 6, 7))

        def emit(count):
            few, after = Vector(context, builder, zero, count), constant(count)
            here = row_pointers(builder, matrix, constant(0), columns, count)
            there = row_pointers(builder, matrix, after, columns, count)
            factors = lanes_splat(vector, few.load(residual, constant(0)))
            dots = Dots(builder, vector, there, x)

            def body(offset, mask):
                dots.add(offset, mask)
                add_scaled_rows(vector, gradient, factors, here, offset, mask)

            for_vectors(builder, vector, columns, body, unroll=False)
            few.store(builder.fsub(dots.totals(), few.load(values, after)), residual, after)

        for_row_counts(builder, arguments[5], emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def measure_picked(typingctx, zero, residual, values, matrix, picked, columns, rows, x, gradient):
    """`measure_block` of rows of the matrix whose numbers, int64, lie at ``picked``."""
    n = types.intp
    signature = types.void(zero, n, n, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, residual, values, matrix, picked, columns, rows, x, gradient = arguments
        numbers = builder.inttoptr(picked, I64.as_pointer())

        def pointers_of(matrix, count):
            chosen = [builder.load(builder.gep(numbers, [constant(i)])) for i in range(count)]
            return [builder.gep(matrix, [builder.mul(number, columns)]) for number in chosen]

        places = (residual, values, matrix, x, gradient)
        return _emit_measured(context, builder, zero, places, columns, rows, pointers_of)

    return signature, codegen


@intrinsic
def dot_rows_at(typingctx, zero, result, matrix, pitch, columns, rows, x):
    """`dot_rows` at addresses: of rows that lie ``pitch`` elements apart."""
    n = types.intp
    signature = types.void(zero, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, zero, PARTIAL_BYTES // (zero.bitwidth // 8))
        pitch, columns, rows = arguments[3:6]
        result, matrix, x = (vector.at(arguments[i]) for i in (1, 2, 6))

        def emit(count):
            pointers = row_pointers(builder, matrix, constant(0), pitch, count)
            few = Vector(context, builder, zero, count)
            few.store(emit_dots(builder, vector, pointers, x, columns), result, constant(0))

        for_row_counts(builder, rows, emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_rows_at(typingctx, zero, c, factors, matrix, pitch, columns, rows):
    """`add_rows` at addresses: of rows that lie ``pitch`` elements apart."""
    n = types.intp
    signature = types.void(zero, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, zero, SHAPE.vector_bytes // (zero.bitwidth // 8))
        pitch, columns, rows = arguments[4:7]
        c, factors, matrix = (vector.at(arguments[i]) for i in (1, 2, 3))

        def emit(count):
            pointers = row_pointers(builder, matrix, constant(0), pitch, count)
            splats = [vector.splat(builder.load(builder.gep(factors, [constant(i)]))) for i in range(count)]
            emit_added_rows(builder, vector, c, splats, pointers, columns)

        for_row_counts(builder, rows, emit)
        return context.get_dummy_value()

    return signature, codegen


@jit_internal
def times_at(zero, a, pitch, m, n, x, out):
    """``out = A x`` at addresses, A (m, n) with rows ``pitch`` elements apart."""
    size, first = item_bytes(zero), 0
    while first < m:
        rows = rows_together(m - first, ROWS_AT_ONCE)
        dot_rows_at(zero, out + first * size, a + first * pitch * size, pitch, n, rows, x)
        first += rows


@jit_internal
def transposed_times_at(zero, a, pitch, m, n, c, out):
    """``out = A^T c`` at addresses, A (m, n) with rows ``pitch`` elements apart."""
    clear_at(zero, out, n)
    add_combination_at(zero, out, c, a, pitch, n, m)


@jit_inline
def add_combination_at(zero, out, c, a, pitch, n, m):
    """``out += A^T c`` at addresses, A (m, n) with rows ``pitch`` elements apart."""
    size, first = item_bytes(zero), 0
    while first < m:
        rows = rows_together(m - first, ROWS_AT_ONCE)
        add_rows_at(zero, out, c + first * size, a + first * pitch * size, pitch, n, rows)
        first += rows


@jit_inline
def _rows_within(capacity, row, most, least):
    """How many rows of so many bytes go together, as `rows_together` has it: at most ``most``, at least ``least``."""
    rows = most
    while rows > least and rows * row > capacity:
        rows >>= 1
    return rows


@jit_internal
def measure_rows(zero, matrix, values, m, n, x, residual, gradient):
    """``r = A x - y`` and ``A^T r`` in one pass over A (m, n), row-major; at addresses of elements like ``zero``."""
    clear_at(zero, gradient, n)
    _add_measured(zero, matrix, values, m, n, x, residual, gradient)


@jit_internal
def measure_rows_for_all(zero, matrix, values, m, n, members, x, residual, gradient):
    """`measure_rows` for several x (members, n), with the same bits; residual (members, m), gradient (members, n)."""
    size = item_bytes(zero)
    clear_at(zero, gradient, members * n)
    first, block = 0, _rows_within(BLOCK_BYTES, n * size, BLOCK_ROWS, LEAST_ROWS)
    while first < m:
        rows, at = min(block, m - first), first * size
        for i in range(members):
            where, slope = residual + i * m * size + at, i * n * size
            _add_measured(zero, matrix + n * at, values + at, rows, n, x + slope, where, gradient + slope)
        first += rows


@jit_internal
def _add_measured(zero, matrix, values, m, n, x, residual, gradient):
    """`measure_rows`, added to what there is of the gradient."""
    size = item_bytes(zero)
    row, first = n * size, 0
    rows = _rows_within(PIPED_BYTES, row, LEAST_ROWS if row % MEETING == 0 else ROWS_AT_ONCE, LEAST_ROWS)
    if 3 * rows <= m and rows * row <= PIPED_BYTES and row % (2 * MEETING) != 0:
        measure_block(zero, residual, values, matrix, n, rows, x, 0)
        while first + 2 * rows <= m:
            at = first * size
            measure_next(zero, residual + at, values + at, matrix + n * at, n, rows, x, gradient)
            first += rows
        add_rows_at(zero, gradient, residual + first * size, matrix + first * row, n, n, rows)
        first += rows
    most = _rows_within(ROW_BYTES, row, ROWS_AT_ONCE, LEAST_ROWS)
    if most * row > ROW_BYTES and row % MEETING != 0:  # they do not stay: more of them come from far away at a time
        most = ROWS_AT_ONCE
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


@jit_internal
def transposed_times(a, m, n, c, out):
    """``out = A^T c``, A (m, n) flat and row-major."""
    out[:] = 0
    first = 0
    while first < m:
        rows = rows_together(m - first, ROWS_AT_ONCE)
        add_rows(out, c[first:], a, first, n, rows)
        first += rows


@jit_internal
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


@jit_internal
def has_digits(square):
    """Whether a sum of squares has neither overflowed nor lost digits to squares that are not normal numbers."""
    least = LEAST_SQUARE_32 if item_bytes(square) == 4 else LEAST_SQUARE_64
    return square > least and square < np.inf


@jit_internal
def norm_of(x, square):
    """The Euclidean norm, from the sum of squares, to ``square[0]``, where that has its digits."""
    dot(x, x, x.size, square)
    if has_digits(square[0]):
        return np.sqrt(np.float64(square[0]))
    return norm(x)
