"""Register tiles for small dense products, one run at a time (`tile`) or one run per SIMD lane (`lane_tile`).

One rule keeps the bits the same in both, and on every vector width, so that compiled variants can be checked against
each other: an element of a product is one chain ``acc = fma(a_ik, b_kj, acc)`` in the order of k, from +0.
"""

from __future__ import annotations

import llvmlite.ir as ir
from numba import types
from numba.extending import intrinsic

from fastflow.kernels.simd import I32, I64, Vector, are_contiguous, constant, counted_loop, data_pointer, switch
from fastflow.kernels.target import SHAPE


@intrinsic
def address(typingctx, array, offset):
    """Where element ``offset`` of a contiguous array lies, in either layout, as an integer.

    Tiles take addresses: an array costs nine arguments a call, which is what a product of tiny matrices costs in all.
    An address keeps nothing alive; see `keep`.
    """
    if not are_contiguous(None, array):
        return None
    lanes = SHAPE.vector_bytes // (array.dtype.bitwidth // 8) if array.ndim == 2 else 1

    def codegen(context, builder, signature, arguments):
        pointer = data_pointer(context, builder, signature.args[0], arguments[0])
        element = builder.gep(pointer, [builder.mul(arguments[1], constant(lanes))])
        return builder.ptrtoint(element, I64)

    return types.intp(array, types.intp), codegen


@intrinsic
def item_bytes(typingctx, zero):
    """Bytes of a number of the type of ``zero``, at compile time."""
    size = zero.bitwidth // 8
    return types.intp(zero), lambda context, builder, signature, arguments: context.get_constant(types.intp, size)


@intrinsic
def keep(typingctx, array):
    """Nothing, but a use of the array: Numba must not free what lies at an `address` before this."""
    return types.void(array), lambda context, builder, signature, arguments: context.get_dummy_value()


def _pointer(vector, builder, value):
    return builder.inttoptr(value, vector.scalar.as_pointer())


@intrinsic
def tile(typingctx, zero, rows, vectors, c, ldc, a, a_row, a_col, b, ldb, depth, tail):
    """One register tile of ``C = A B``, accumulators in registers over the whole of k.

    ``C[i, j] = sum_k A[i, k] B[k, j]`` for ``i < rows``, ``j < (vectors - 1) * lanes + tail``, where ``C[i, j]`` is
    element ``i*ldc + j`` from the address ``c``, ``A[i, k]`` element ``i*a_row + k*a_col`` from ``a`` and ``B[k, j]``
    element ``k*ldb + j`` from ``b``; elements are of the type of ``zero``.
    ``A`` is read as broadcast scalars through two strides, so ``A`` and ``A^T`` cost the same; the last vector is
    masked to ``tail`` lanes (1 to lanes), so any width works without padding. ``rows`` and ``vectors`` run up to the
    target's `SimdShape`; each pair is its own straight-line loop; ``depth`` >= 1.
    """
    dtype, n = zero, types.intp
    signature = types.void(dtype, n, n, n, n, n, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, rows, vectors, c, ldc, a, a_row, a_col, b, ldb, depth, tail = arguments
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        c_base, a_base, b_base = (_pointer(vector, builder, value) for value in (c, a, b))
        mask = vector.first(tail)

        def emit(row_count, vector_count):
            def masked(v):
                return mask if v == vector_count - 1 else None

            def body(k, accumulators):
                b_row = builder.mul(k, ldb)
                b_vectors = [
                    vector.load(b_base, builder.add(b_row, constant(v * vector.lanes)), masked(v))
                    for v in range(vector_count)
                ]
                a_offset, following = builder.mul(k, a_col), []
                for i in range(row_count):
                    scalar = builder.load(builder.gep(a_base, [builder.add(a_offset, builder.mul(constant(i), a_row))]))
                    broadcast = vector.splat(scalar)
                    for v in range(vector_count):
                        accumulator = accumulators[i * vector_count + v]
                        following.append(vector.fma(broadcast, b_vectors[v], accumulator))
                return following

            sums = counted_loop(builder, depth, [vector.zero] * (row_count * vector_count), body)
            for i in range(row_count):
                c_row = builder.mul(constant(i), ldc)
                for v in range(vector_count):
                    offset = builder.add(c_row, constant(v * vector.lanes))
                    vector.store(sums[i * vector_count + v], c_base, offset, masked(v))

        shapes = [(r, v) for v in range(1, SHAPE.tile_vectors + 1) for r in range(1, SHAPE.tile_rows + 1)]
        base = SHAPE.tile_rows + 1
        cases = {v * base + r: (lambda r=r, v=v: emit(r, v)) for r, v in shapes}
        switch(builder, builder.add(builder.mul(vectors, constant(base)), rows), cases)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def lane_tile(typingctx, zero, rows, columns, c, ldc, a, a_row, a_col, b, b_row, b_col, depth):
    """One register tile of ``C = A B`` for as many runs at once as a vector has lanes: one run per lane.

    Strides count elements, each of which is a vector of lanes: ``C[i, j]`` is element ``i*ldc + j`` from the address
    ``c``, ``A[i, k]`` element ``i*a_row + k*a_col`` from ``a``, ``B[k, j]`` element ``k*b_row + j*b_col`` from ``b``.
    Both operands have two strides, so transposes are free, and no lane is wasted however small the matrix is. ``rows``
    and ``columns`` run up to ``SHAPE.lane_tile``; ``depth`` >= 1.
    """
    dtype, n = zero, types.intp
    signature = types.void(dtype, n, n, n, n, n, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, rows, columns, c, ldc, a, a_row, a_col, b, b_row, b_col, depth = arguments
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        c_base, a_base, b_base = (_pointer(vector, builder, value) for value in (c, a, b))

        def lanes(offset):
            return builder.mul(offset, constant(vector.lanes))

        def emit(row_count, column_count):
            a_steps = [lanes(builder.mul(constant(i), a_row)) for i in range(row_count)]
            b_steps = [lanes(builder.mul(constant(j), b_col)) for j in range(column_count)]

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
            for i in range(row_count):
                c_row = builder.mul(constant(i), ldc)
                for j in range(column_count):
                    vector.store(sums[i * column_count + j], c_base, lanes(builder.add(c_row, constant(j))))

        side = SHAPE.lane_tile
        shapes = [(r, s) for r in range(1, side + 1) for s in range(1, side + 1)]
        cases = {r * (side + 1) + s: (lambda r=r, s=s: emit(r, s)) for r, s in shapes}
        switch(builder, builder.add(builder.mul(rows, constant(side + 1)), columns), cases)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def transpose_block(typingctx, c, c0, ldc, a, a0, lda, rows, columns):
    """``C = A^T`` for one block of at most one vector by one vector, in registers; flat arrays.

    ``A[i, j]`` is ``a[a0 + i*lda + j]`` for ``i < rows``, ``j < columns``, and ``C[j, i]`` is ``c[c0 + j*ldc + i]``.
    """
    if not are_contiguous(1, c, a):
        return None
    dtype = c.dtype
    n = types.intp
    signature = types.void(c, n, n, a, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        c, c0, ldc, a, a0, lda, rows, columns = arguments
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        c_base = builder.gep(data_pointer(context, builder, signature.args[0], c), [c0])
        a_base = builder.gep(data_pointer(context, builder, signature.args[3], a), [a0])

        def mask(index, count, width):
            """``width`` lanes in the lines before ``count``, none behind."""
            inside = builder.icmp_signed("<", constant(index), count)
            return vector.first(builder.select(inside, width, constant(0)))

        lines = [
            vector.load(a_base, builder.mul(constant(i), lda), mask(i, rows, columns)) for i in range(vector.lanes)
        ]
        # Swap ever smaller blocks across the diagonal: after the stage of width h, line i has its h-bit transposed.
        half = vector.lanes // 2
        while half:
            keep_low = [j if not j & half else vector.lanes + (j ^ half) for j in range(vector.lanes)]
            keep_high = [j ^ half if not j & half else vector.lanes + j for j in range(vector.lanes)]
            for i in range(vector.lanes):
                if not i & half:
                    low, high = lines[i], lines[i | half]
                    for line, pattern in ((i, keep_low), (i | half, keep_high)):
                        indices = ir.Constant(ir.VectorType(I32, vector.lanes), pattern)
                        lines[line] = builder.shuffle_vector(low, high, indices)
            half //= 2
        for j in range(vector.lanes):
            vector.store(lines[j], c_base, builder.mul(constant(j), ldc), mask(j, columns, rows))
        return context.get_dummy_value()

    return signature, codegen
