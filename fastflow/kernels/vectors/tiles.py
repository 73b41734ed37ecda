"""Register tiles for small dense products, one run at a time (`tile`) or one run per SIMD lane (`lane_tile`).

One rule keeps the bits the same in both, and on every vector width, so that compiled variants can be checked against
each other: an element of a product is one chain ``acc = fma(a_ik, b_kj, acc)`` in the order of k, from +0.
"""

from __future__ import annotations

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.simd import (
    I32,
    I64,
    Vector,
    chosen,
    constant,
    counted_loop,
    for_vectors,
    opaque,
    switch,
)
from fastflow.kernels.vectors.steps import Steps

PANEL_DEPTH = 256 if SHAPE.vector_bytes == 64 else 128
"""Rows of a packed panel, which stays in the caches beside the rows of A that it meets, while C comes and goes once for
each panel (measured)."""


MOST_VECTORS = SHAPE.tile_vectors + (SHAPE.wide_rows > 0)
"""Vectors of the widest tile."""

HALVED = (
    {SHAPE.tile_vectors: SHAPE.tile_rows - 2, MOST_VECTORS: SHAPE.wide_rows - 1} if SHAPE.vector_bytes == 64 else {}
)
"""By the vectors of a tile, from how many rows on it has code of its own where at most half of the last vector is in
use: FMAs of half a vector, which many processors with AVX-512 do at twice the rate."""

PANELS = 4
"""Panels of B that a tile of the rows of A meets where A is large (measured)."""

PANEL_BYTES = (PANEL_DEPTH + SHAPE.vector_bytes // 4) * MOST_VECTORS * SHAPE.vector_bytes
"""Room for a packed panel: whole vectors, and lines up to a multiple of the lanes."""


@intrinsic
def panel_memory(typingctx, zero):
    """The address of memory for `PANELS` packed panels of the widest tile, `PANEL_BYTES` each.

    It is on the stack of the function that asks; what is not used takes no memory.
    """
    signature = types.intp(zero)

    def codegen(context, builder, signature, arguments):
        lanes = SHAPE.vector_bytes // (zero.bitwidth // 8)
        vector = Vector(context, builder, zero, lanes)
        room = cgutils.alloca_once(builder, vector.type, size=PANELS * PANEL_BYTES // SHAPE.vector_bytes)
        return builder.ptrtoint(room, I64)

    return signature, codegen


def _multiples(builder, stride, count):
    """``i * stride`` for ``i < count``, each in a register of its own.

    LLVM would go from one to the next by a chain of additions in each turn of the loop, which take the FMAs' places.
    """
    return [opaque(builder, builder.mul(constant(i), stride)) if i else constant(0) for i in range(count)]


@intrinsic
def tile_column(
    typingctx,
    zero,
    count,
    rows,
    vectors,
    used,
    c,
    ldc,
    a,
    a_row,
    a_col,
    b,
    ldb,
    depth,
    tail,
    resume,
    factor,
    steps,
    moved,
):
    """Register tiles of ``C = A B``, ``count`` of them one below the other, accumulators in registers over all of k.

    ``C[i, j] = sum_k A[i, k] B[k, j]`` for ``i < count * rows``, ``j < vectors * lanes``, where ``C[i, j]`` is element
    ``i*ldc + j`` from the address ``c``, ``A[i, k]`` element ``i*a_row + k*a_col`` from ``a`` and ``B[k, j]`` element
    ``k*ldb + j`` from ``b``; elements are of the type of ``zero``.
    ``A`` is read as broadcast scalars through two strides, so ``A`` and ``A^T`` cost the same. Of each last vector
    ``used`` lanes (1 to lanes) are in use, and ``tail`` are stored. ``rows`` and ``vectors`` of a tile run up to the
    target's `SimdShape`; each pair is its own straight-line loop; ``count``, ``depth`` >= 1. With ``resume`` the chains
    go on from what ``C`` holds.

    Where ``factor`` is not 0, ``W = W - step * C`` for the W at that address. W has the strides of C. C is then not
    stored, W in whole vectors (`Padded`), and ``steps`` and ``moved`` are those of `take_steps_at`; what is behind
    ``tail`` does not count as moved.
    """
    dtype, n = zero, types.intp
    signature = types.void(dtype, n, n, n, n, n, n, n, n, n, n, n, n, n, types.boolean, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, count, rows, vectors, used, c, ldc, a, a_row, a_col, b, ldb, depth, tail, resume, factor, *others = arguments
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        b_base, mask = vector.at(b), vector.first(tail)
        is_whole = builder.icmp_signed("==", tail, constant(vector.lanes))
        steps = Steps(builder, vector, factor, *others, of_lanes=False)
        half = Vector(context, builder, dtype, vector.lanes // 2)

        def emit(row_count, vector_count, halved=False):
            kinds = [vector] * (vector_count - 1) + [half if halved else vector]
            a_rows = _multiples(builder, a_row, row_count)
            columns = [constant(v * vector.lanes) for v in range(vector_count)]
            c_rows = [builder.mul(constant(i), ldc) for i in range(row_count)]
            places = [builder.add(row, column) for row in c_rows for column in columns]
            masks = [mask if column is columns[-1] else None for _ in c_rows for column in columns]
            c_down, a_down = (builder.mul(constant(row_count * vector.size), stride) for stride in (ldc, a_row))

            def tile(number, state):
                c_at, a_at, factor_at = state
                c_base, a_base = vector.at(c_at), vector.at(a_at)

                def load():
                    return [vector.load(c_base, *place) for place in zip(places, masks, strict=True)]

                def body(k, accumulators):
                    b_row = builder.mul(k, ldb)
                    places_of_b = [builder.add(b_row, column) for column in columns]
                    b_vectors = [kind.load(b_base, place) for kind, place in zip(kinds, places_of_b, strict=True)]
                    a_offset, following = builder.mul(k, a_col), []
                    for i, a_offset_of_row in enumerate(a_rows):
                        scalar = builder.load(builder.gep(a_base, [builder.add(a_offset, a_offset_of_row)]))
                        for v, (kind, b_vector) in enumerate(zip(kinds, b_vectors, strict=True)):
                            following.append(kind.fma(kind.splat(scalar), b_vector, accumulators[i * vector_count + v]))
                    return following

                start = chosen(builder, resume, load, lambda: [vector.zero] * len(places))
                start = [vector.as_kind(kind, value) for kind, value in zip(kinds * row_count, start, strict=True)]
                sums = [
                    kind.as_kind(vector, total)
                    for kind, total in zip(kinds * row_count, counted_loop(builder, depth, start, body), strict=True)
                ]
                with builder.if_else(steps.wanted) as (step, keep):
                    with step:
                        steps.take(sums, places, masks, vector.at(factor_at))
                    # Many processors are slow at masked stores.
                    with keep, builder.if_else(is_whole) as (whole, partial):
                        with whole:
                            vector.store_each(sums, c_base, places)
                        with partial:
                            vector.store_each(sums, c_base, places, masks)
                return [builder.add(c_at, c_down), builder.add(a_at, a_down), builder.add(factor_at, c_down)]

            counted_loop(builder, count, [c, a, factor], tile)

        shapes = [(r, v) for v in range(1, SHAPE.tile_vectors + 1) for r in range(1, SHAPE.tile_rows + 1)]
        shapes += [(r, MOST_VECTORS) for r in range(1, SHAPE.wide_rows + 1)]
        base = SHAPE.tile_rows + 1
        cases = {v * base + r: (lambda r=r, v=v: emit(r, v)) for r, v in shapes}
        key = builder.add(builder.mul(vectors, constant(base)), rows)
        beyond, is_half = base * (MOST_VECTORS + 1), builder.icmp_signed("<=", used, constant(half.lanes))
        for v, least in HALVED.items():
            halved = [(r, v) for r in range(least, base) if (r, v) in shapes]
            cases |= {beyond + v * base + r: (lambda r=r, v=v: emit(r, v, True)) for r, v in halved}
            fits = builder.and_(is_half, builder.icmp_signed("==", vectors, constant(v)))
            fits = builder.and_(fits, builder.icmp_signed(">=", rows, constant(least)))
            key = builder.select(fits, builder.add(key, constant(beyond)), key)
        switch(builder, key, cases)
        steps.report()
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def lane_tile(typingctx, zero, rows, columns, c, ldc, a, a_row, a_col, b, b_row, b_col, depth, factor, steps, moved):
    """One register tile of ``C = A B`` for as many runs at once as a vector has lanes: one run per lane.

    Strides count elements, each of which is a vector of lanes: ``C[i, j]`` is element ``i*ldc + j`` from the address
    ``c``, ``A[i, k]`` element ``i*a_row + k*a_col`` from ``a``, ``B[k, j]`` element ``k*b_row + j*b_col`` from ``b``.
    Both operands have two strides, so transposes are free, and no lane is wasted however small the matrix is. ``rows``
    and ``columns`` run up to the target's `SimdShape`; ``depth`` >= 1. Where ``factor`` is not 0, see `tile_column`.
    """
    dtype, n = zero, types.intp
    signature = types.void(dtype, n, n, n, n, n, n, n, n, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, rows, columns, c, ldc, a, a_row, a_col, b, b_row, b_col, depth, *stepping = arguments
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        c_base, a_base, b_base = (vector.at(value) for value in (c, a, b))
        steps = Steps(builder, vector, *stepping, of_lanes=True)

        def lanes(offset):
            return builder.mul(offset, constant(vector.lanes))

        def emit(row_count, column_count):
            a_steps = _multiples(builder, lanes(a_row), row_count)
            b_steps = _multiples(builder, lanes(b_col), column_count)

            def body(k, accumulators):
                b_at, a_at = lanes(builder.mul(k, b_row)), lanes(builder.mul(k, a_col))
                b_vectors = [vector.load(b_base, builder.add(b_at, step)) for step in b_steps]
                following = []
                for i, step in enumerate(a_steps):
                    a_vector = vector.load(a_base, builder.add(a_at, step))
                    for j, b_vector in enumerate(b_vectors):
                        following.append(vector.fma(a_vector, b_vector, accumulators[i * column_count + j]))
                return following

            sums = counted_loop(builder, depth, [vector.zero] * (row_count * column_count), body)
            c_rows = [builder.mul(constant(i), ldc) for i in range(row_count)]
            places = [lanes(builder.add(c_row, constant(j))) for c_row in c_rows for j in range(column_count)]
            steps.take_or_store(sums, c_base, places)

        shapes = [(r, s) for r in range(1, SHAPE.lane_rows + 1) for s in range(1, SHAPE.lane_columns + 1)]
        base = SHAPE.lane_columns + 1
        cases = {r * base + s: (lambda r=r, s=s: emit(r, s)) for r, s in shapes}
        switch(builder, builder.add(builder.mul(rows, constant(base)), columns), cases)
        steps.report()
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def pack_rows(typingctx, zero, c, a, lda, depth, vectors, tail):
    """Copy a panel of a matrix to where it is contiguous: ``depth`` rows of ``vectors`` vectors; at addresses.

    Row k of the panel is ``a[k*lda:]``, ``(vectors - 1) * lanes + tail`` elements long, and zeros to the end of its
    last vector; it goes to ``c[k*vectors*lanes:]``.
    """
    dtype, n = zero, types.intp
    signature = types.void(dtype, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, c, a, lda, depth, vectors, tail = arguments
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        c_base, a_base = (vector.at(value) for value in (c, a))
        mask = vector.first(tail)

        def emit(count):
            def body(k, state):
                source, target = builder.mul(k, lda), builder.mul(k, constant(count * vector.lanes))
                for v in range(count):
                    step = constant(v * vector.lanes)
                    loaded = vector.load(a_base, builder.add(source, step), mask if v == count - 1 else None)
                    vector.store(loaded, c_base, builder.add(target, step))
                return state

            counted_loop(builder, depth, [], body)

        switch(builder, vectors, {v: (lambda v=v: emit(v)) for v in range(1, MOST_VECTORS + 1)})
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def pack_columns(typingctx, zero, c, ldc, a, lda, depth, tail):
    """`pack_rows` of one vector of columns of a transposed matrix: ``c[k*ldc + j] = a[j*lda + k]``; at addresses.

    ``k < depth``, ``j < tail``; what is beyond in that vector is undefined, and so are the lines of ``c`` behind
    ``depth`` up to a multiple of the lanes.
    """
    dtype, n = zero, types.intp
    signature = types.void(dtype, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, c, ldc, a, lda, depth, tail = arguments
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        c_base, a_base = (vector.at(value) for value in (c, a))
        last = builder.sub(tail, constant(1))
        sources = []
        for j in range(vector.lanes):  # lines that are not there repeat the last one that is
            inside = builder.icmp_signed("<=", constant(j), last)
            sources.append(builder.mul(builder.select(inside, constant(j), last), lda))

        chunk = Vector(context, builder, dtype, CHUNK_BYTES // (dtype.bitwidth // 8))

        def block(k, mask):
            if mask is None:
                lines = [
                    _joined(
                        builder,
                        [
                            chunk.load(a_base, builder.add(source, builder.add(k, constant(part))))
                            for source in sources[i :: chunk.lanes]
                        ],
                    )
                    for part in range(0, vector.lanes, chunk.lanes)
                    for i in range(chunk.lanes)
                ]
                widest = chunk.lanes // 2
            else:
                lines = [vector.load(a_base, builder.add(source, k), mask) for source in sources]
                widest = vector.lanes // 2
            for line, transposed in enumerate(_transposed(builder, vector.lanes, lines, widest)):
                vector.store(transposed, c_base, builder.mul(builder.add(k, constant(line)), ldc))

        for_vectors(builder, vector, depth, block)
        return context.get_dummy_value()

    return signature, codegen


CHUNK_BYTES = 16
"""Parts of a vector that can be loaded into their place: larger blocks are transposed by loads, which are cheaper than
shuffles."""


def _joined(builder, parts):
    """The vector of all numbers of some short vectors, a power of two many."""
    while len(parts) > 1:
        both = ir.Constant(ir.VectorType(I32, 2 * parts[0].type.count), list(range(2 * parts[0].type.count)))
        parts = [builder.shuffle_vector(*pair, both) for pair in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _transposed(builder, lanes, lines, widest):
    """The transpose of a block of ``lanes`` vectors, in registers, all but its blocks wider than ``widest``."""
    lines = list(lines)
    # Swap ever smaller blocks across the diagonal: after the stage of width h, line i has its h-bit transposed.
    half = widest
    while half:
        keep_low = [j if not j & half else lanes + (j ^ half) for j in range(lanes)]
        keep_high = [j ^ half if not j & half else lanes + j for j in range(lanes)]
        for i in range(lanes):
            if not i & half:
                low, high = lines[i], lines[i | half]
                for line, pattern in ((i, keep_low), (i | half, keep_high)):
                    indices = ir.Constant(ir.VectorType(I32, lanes), pattern)
                    lines[line] = builder.shuffle_vector(low, high, indices)
        half //= 2
    return lines
