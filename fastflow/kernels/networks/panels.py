"""Products of one matrix A with many vectors at once, one run per SIMD lane, and A^T with what they leave.

A is packed into panels of `PANEL_ROWS` rows in which entry (j, q) lies beside entry (j + 1, q). From these both
products read A as scalars, in blocks that lie together; the vectors are those of the runs, and no sum crosses lanes.
All of A is packed once, or, where that would take too much memory, some rows at a time in each step, which then go
through both products before the next ones are read.

The bits are those of `vectors.inner.measure_rows` for each run alone. There an inner product has `PARTS`
partial sums, element k going to the sum k mod `PARTS`, which are then added in a tree. So here coordinates are kept in
an order (`panel_order`) in which those of one partial sum follow each other, and the sums in the order of the tree.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.losses.shared_matrix import PANEL_ROWS, lanes_of_vector, parts_of
from fastflow.kernels.networks.hadamard import hadamard_step
from fastflow.kernels.vectors.elementwise import PARTIAL_BYTES, half_square_at
from fastflow.kernels.vectors.layouts import VECTOR_BYTES, OfLanes, address, item_bytes
from fastflow.kernels.vectors.products import share
from fastflow.kernels.vectors.simd import Vector, chosen, constant, counted_loop, no_loads_before, switch

TILE_STRIPS = SHAPE.tile_vectors

BLOCK_ROWS = 32
"""Rows of A that all runs go through together, so that it is read once from beyond the second-level cache."""

BLOCK_COLUMNS = 32
"""Columns of A that all runs go through together when A^T is multiplied."""

PACKED_SHARE = 32
"""A block of packed rows has at most this part of a matrix, but at least a panel."""

PACKED_LINES = 8
"""Lines of each of the rows of a panel that are packed together, so that they stay in the first-level cache."""


def partial_room(dtype: np.dtype) -> int:
    """Numbers of scratch for the partial sums of `residuals`."""
    return (parts_of(dtype).bit_length() - 1) * TILE_STRIPS * BLOCK_ROWS * lanes_of_vector(dtype)


def slope_room(dtype: np.dtype) -> int:
    """Numbers of scratch for the gradients of `descend_together`."""
    return TILE_STRIPS * BLOCK_COLUMNS * lanes_of_vector(dtype)


def block_room(m: int, n: int) -> int:
    """Numbers of scratch for the rows that `residuals` packs at a time, of m rows of n numbers."""
    rows = m // PACKED_SHARE // PANEL_ROWS * PANEL_ROWS
    return max(PANEL_ROWS, min(BLOCK_ROWS, rows)) * n


@intrinsic
def strip_tile(typingctx, zero, transposed, strips, c, c_strip, a, a_jump, b, b_strip, depth, sums, levels, known):
    """``C[i, s] = sum_t A[i, t] B[t, s]`` for `PANEL_ROWS` rows i and some strips s of runs, accumulators in registers.

    At addresses; strides count numbers. ``B[t, s]`` is the vector of lanes at ``s*b_strip + t*lanes`` from ``b``, and
    ``C[i, s]`` likewise. ``A[i, t]`` is the number ``i + t*PANEL_ROWS`` from ``a``, in one panel; or if ``transposed``
    that at ``i*PANEL_ROWS + t`` for the first `PANEL_ROWS` of t, and as many lie ``a_jump`` numbers further each time.
    Before C is stored the sums of as many ``levels`` are added to it one after the other, which lie at ``sums`` as C
    does at ``c`` for strips of `BLOCK_ROWS`; and unless ``known`` is 0, ``known[i]`` is subtracted. If ``transposed``,
    the sums go on from what is stored at ``c`` where there are ``levels``.
    """
    n, flag = types.intp, types.boolean
    signature = types.void(zero, flag, n, n, n, n, n, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, transposed, strips, c, c_strip, a, a_jump, b, b_strip, depth, sums, levels, known = arguments
        vector = Vector(context, builder, zero, SHAPE.vector_bytes // (zero.bitwidth // 8))
        c_base, a_base, b_base, sums_base, known_base = (vector.at(value) for value in (c, a, b, sums, known))
        rows = range(PANEL_ROWS)

        def emit(count, of_columns):
            places = [(i, s) for i in rows for s in range(count)]
            b_bases = [builder.gep(b_base, [builder.mul(constant(s), b_strip)]) for s in range(count)]
            steps = [constant(i * PANEL_ROWS if of_columns else i) for i in rows]

            def add(numbers, at, totals):
                right = [vector.load(base, at) for base in b_bases]
                left = [vector.splat(builder.load(builder.gep(numbers, [step]))) for step in steps]
                return [vector.fma(left[i], right[s], total) for (i, s), total in zip(places, totals, strict=True)]

            def along(t, totals):
                numbers = builder.gep(a_base, [builder.mul(t, constant(PANEL_ROWS))])
                return add(numbers, builder.mul(t, constant(vector.lanes)), totals)

            def across(pair, totals):
                # Two at a time: what finds the place shares the processor's ports with the products.
                t = builder.mul(pair, constant(2))
                block = builder.mul(builder.lshr(t, constant(PANEL_ROWS.bit_length() - 1)), a_jump)
                first = builder.add(block, builder.and_(t, constant(PANEL_ROWS - 1)))
                for more in range(2):
                    numbers = builder.gep(a_base, [builder.add(first, constant(more))])
                    at = builder.mul(builder.add(t, constant(more)), constant(vector.lanes))
                    totals = add(numbers, at, totals)
                    no_loads_before(builder)
                return totals

            def add_level(level, totals):
                start = builder.mul(level, constant(TILE_STRIPS * BLOCK_ROWS * vector.lanes))
                offsets = (builder.add(start, constant((s * BLOCK_ROWS + i) * vector.lanes)) for i, s in places)
                return [
                    builder.fadd(vector.load(sums_base, offset), total)
                    for offset, total in zip(offsets, totals, strict=True)
                ]

            def subtract(totals):
                values = [vector.splat(builder.load(builder.gep(known_base, [constant(i)]))) for i in rows]
                return [builder.fsub(total, values[i]) for (i, _), total in zip(places, totals, strict=True)]

            offsets = [builder.add(builder.mul(constant(s), c_strip), constant(i * vector.lanes)) for i, s in places]
            some, given = (builder.icmp_signed("!=", value, constant(0)) for value in (levels, known))
            zeros = [vector.zero] * len(places)
            if of_columns:
                begun = chosen(builder, some, lambda: [vector.load(c_base, at) for at in offsets], lambda: zeros)
                chains = counted_loop(builder, builder.lshr(depth, constant(1)), begun, across)
            else:
                chains = counted_loop(builder, depth, zeros, along)
                summed = chosen(builder, some, lambda: counted_loop(builder, levels, chains, add_level), lambda: chains)
                chains = chosen(builder, given, lambda: subtract(summed), lambda: summed)
            for offset, total in zip(offsets, chains, strict=True):
                vector.store(total, c_base, offset)

        forms = [(count, of_columns) for count in range(1, TILE_STRIPS + 1) for of_columns in (0, 1)]
        key = builder.add(builder.mul(strips, constant(2)), builder.zext(transposed, strips.type))
        switch(builder, key, {2 * count + way: (lambda count=count, way=way: emit(count, way)) for count, way in forms})
        return context.get_dummy_value()

    return signature, codegen


@jit_inline
def residuals_of_rows(zero, panels, values, first, rows, m, n, strips, x, residual, partial):
    """``A x - y`` of each run for some rows, which begin with the ``first`` and whose panels lie at ``panels``."""
    size = item_bytes(zero)
    lanes, parts = VECTOR_BYTES // size, PARTIAL_BYTES // size
    chunk, level_bytes = n // parts, TILE_STRIPS * BLOCK_ROWS * VECTOR_BYTES
    strip = 0
    while strip < strips:
        count = share(strips - strip, TILE_STRIPS)
        for part in range(parts):
            levels = 0
            while (part >> levels) & 1:
                levels += 1
            whole = part == parts - 1
            b = x + (strip * n + part * chunk) * VECTOR_BYTES
            for j in range(0, rows, PANEL_ROWS):
                a = panels + (j * n + part * chunk * PANEL_ROWS) * size
                sums, known = partial + j * VECTOR_BYTES, 0
                c, c_strip = sums + levels * level_bytes, BLOCK_ROWS * lanes
                if whole:
                    c, c_strip = residual + (strip * m + first + j) * VECTOR_BYTES, m * lanes
                    known = values + (first + j) * size
                strip_tile(zero, False, count, c, c_strip, a, 0, b, n * lanes, chunk, sums, levels, known)
        strip += count


@jit_inline
def add_slopes_of_rows(zero, panels, first, rows, m, n, strips, residual, gradient):
    """Add to ``A^T r`` of each run what the same rows have to it; the ``first`` of all begin it."""
    lanes, strip = VECTOR_BYTES // item_bytes(zero), 0
    while strip < strips:
        some = share(strips - strip, TILE_STRIPS)
        b = residual + (strip * m + first) * VECTOR_BYTES
        for k in range(0, n, PANEL_ROWS):
            c, a = gradient + (strip * n + k) * VECTOR_BYTES, panels + k * PANEL_ROWS * item_bytes(zero)
            strip_tile(zero, True, some, c, n * lanes, a, n * PANEL_ROWS, b, m * lanes, rows, c, first, 0)
        strip += some


@jit_internal
def residuals(zero, panels, matrix, block, values, m, n, strips, x, residual, gradient, partial, loss, measurements):
    """``A x - y`` and ``1/2 ||.||^2`` of each run, with the bits of `measure_rows`.

    At addresses: x (strips, n, lanes), residual (strips, m, lanes), loss (strips, lanes), ``partial`` scratch of
    `partial_room`; m and n are those of the panels, of whose rows so many are ``measurements``. Where ``block`` has
    room, which is `block_room`, A has no panels: by turns some rows of ``matrix``, A by rows, become such in it, and
    ``gradient`` (strips, n, lanes) gets ``A^T r`` as well.
    """
    by_turns, turn = block.size > 0, BLOCK_ROWS
    if by_turns:
        turn = block.size // n
    for first in range(0, m, turn):
        rows, at = min(turn, m - first), panels + first * n * item_bytes(zero)
        if by_turns:
            at = address(block, 0)
            pack_panels(matrix, matrix.size // measurements, first, rows, n, block)
        residuals_of_rows(zero, at, values, first, rows, m, n, strips, x, residual, partial)
        if by_turns:
            add_slopes_of_rows(zero, at, first, rows, m, n, strips, residual, gradient)
    for strip in range(strips):
        at = residual + strip * m * VECTOR_BYTES
        half_square_at(OfLanes(zero), at, measurements, loss + strip * VECTOR_BYTES)


@jit_internal
def pack_panels(matrix, length, first, rows, n, block):
    """Panels of n columns of some rows of A, from the ``first`` on, which have this length; the rest is 0."""
    parts, there = PARTIAL_BYTES // block.itemsize, min(rows, matrix.size // length - first)
    chunk, lines = n // parts, length // parts
    if there < rows or lines < chunk:
        block[: rows * n] = 0
    for j in range(0, there, PANEL_ROWS):
        source, to, some = (first + j) * length, j * n, min(PANEL_ROWS, there - j)
        for line in range(0, chunk, PACKED_LINES):
            for part in range(parts):
                column, place = reversed_bits(part, parts), to + part * chunk * PANEL_ROWS
                for t in range(line, min(line + PACKED_LINES, lines)):
                    pack_column(block, place + t * PANEL_ROWS, matrix, source + t * parts + column, length, some)
                if line + PACKED_LINES > lines and lines * parts + column < length:
                    at = source + lines * parts + column
                    pack_column(block, place + lines * PANEL_ROWS, matrix, at, length, some)


@jit_inline
def pack_column(block, place, matrix, at, length, rows):
    """One column of a panel of so many rows."""
    if rows == PANEL_ROWS:  # without a loop
        for i in range(PANEL_ROWS):
            block[place + i] = matrix[at + i * length]
    else:
        for i in range(rows):
            block[place + i] = matrix[at + i * length]


@jit_inline
def reversed_bits(number, below):
    """A number below a power of 2, its bits in the other order."""
    turned = 0
    while below > 1:
        turned, number, below = 2 * turned + (number & 1), number >> 1, below >> 1
    return turned


@jit_internal
def descend_together(zero, panels, m, n, strips, residual, gradient, factors, x, step, moved, count, form, now):
    """``A^T r`` of each run, and with ``now`` the step of all factors by it, block by block.

    At addresses: residual (strips, m, lanes), factors (strips, count, n, lanes), x (strips, n, lanes), step and moved
    (strips, lanes). ``gradient`` (strips, n, lanes), or with ``now`` scratch of `slope_room`.
    """
    size = item_bytes(zero)
    lanes = VECTOR_BYTES // size
    for first in range(0, n, BLOCK_COLUMNS):
        columns = min(BLOCK_COLUMNS, n - first)
        strip = 0
        while strip < strips:
            some = share(strips - strip, TILE_STRIPS)
            slopes, slope_strip = gradient, BLOCK_COLUMNS * lanes
            if not now:
                slopes, slope_strip = gradient + (strip * n + first) * VECTOR_BYTES, n * lanes
            for k in range(0, columns, PANEL_ROWS):
                c, a = slopes + k * VECTOR_BYTES, panels + (first + k) * PANEL_ROWS * size
                b = residual + strip * m * VECTOR_BYTES
                strip_tile(zero, True, some, c, slope_strip, a, n * PANEL_ROWS, b, m * lanes, m, c, 0, 0)
            if now:
                for s in range(some):
                    at = strip + s
                    hadamard_step(
                        OfLanes(zero),
                        factors + (at * count * n + first) * VECTOR_BYTES,
                        x + (at * n + first) * VECTOR_BYTES,
                        slopes + s * BLOCK_COLUMNS * VECTOR_BYTES,
                        step + at * VECTOR_BYTES,
                        moved + at * lanes * 8,
                        columns,
                        n,
                        form,
                    )
            strip += some
