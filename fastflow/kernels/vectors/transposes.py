"""Runs one per lane, (elements, lanes), brought to rows, (lanes, elements), and back, block by block.

Element by element, every number would be an access of its own; a square block of numbers is some vectors, which are
transposed in registers.
"""

from __future__ import annotations

import llvmlite.ir as ir
from numba import types
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.vectors.layouts import VECTOR_BYTES, address, keep
from fastflow.kernels.vectors.simd import I32, Vector, constant, for_each

BLOCK_BYTES = min(32, VECTOR_BYTES)
"""Bytes of the vectors of a block: those of AVX-512 take twice as long to shuffle (measured)."""


@jit_inline
def rows_from_lanes(laid_out, places, rows, column):
    """``rows[lane, column + k] = laid_out[places[k], lane]`` for every k.

    Parameters
    ----------
    laid_out : array (elements, lanes)
    places : int64 array (numbers,)
    rows : array (lanes, at least column + numbers)
    column : int
    """
    size, lanes = places.size, laid_out.shape[1]
    if size >= lanes:
        zero, numbers, to = laid_out.dtype.type(0), address(laid_out, 0), address(rows[0], column)
        _rows_by_blocks(zero, numbers, address(places, 0), size, to, rows.shape[1])
    else:
        for lane in range(lanes):
            for k in range(size):
                rows[lane, column + k] = laid_out[places[k], lane]
    keep(laid_out)
    keep(places)
    keep(rows)


@jit_inline
def lanes_from_rows(laid_out, places, rows, column):
    """What `rows_from_lanes` has brought, back to where it was."""
    size, lanes = places.size, laid_out.shape[1]
    if size >= lanes:
        zero, numbers, to = laid_out.dtype.type(0), address(laid_out, 0), address(rows[0], column)
        _lanes_by_blocks(zero, numbers, address(places, 0), size, to, rows.shape[1])
    else:
        for lane in range(lanes):
            for k in range(size):
                laid_out[places[k], lane] = rows[lane, column + k]
    keep(laid_out)
    keep(places)
    keep(rows)


def _transposed(builder, vectors):
    """Vectors, as many as each has lanes, with row and column exchanged: halves first, then quarters, ..."""
    count = half = len(vectors)
    while half > 1:
        half //= 2
        swapped = list(vectors)
        for i in (i for i in range(count) if not i & half):
            # Of each pair of rows the right half of the upper one changes places with the left half of the lower one.
            upper = [lane if not lane & half else count + lane - half for lane in range(count)]
            lower = [lane + half if not lane & half else count + lane for lane in range(count)]
            for row, lanes in ((i, upper), (i + half, lower)):
                mask = ir.Constant(ir.VectorType(I32, count), lanes)
                swapped[row] = builder.shuffle_vector(vectors[i], vectors[i + half], mask)
        vectors = swapped
    return vectors


def _by_blocks(to_rows):
    def function(typingctx, zero, laid_out, places, size, rows, pitch):
        signature = types.void(zero, *[types.intp] * 5)

        def codegen(context, builder, signature, arguments):
            _, laid_out, places, size, rows, pitch = arguments
            number_bytes = zero.bitwidth // 8
            lanes, vector = VECTOR_BYTES // number_bytes, Vector(context, builder, zero, BLOCK_BYTES // number_bytes)
            count = vector.lanes
            laid_base, row_base = vector.at(laid_out), vector.at(rows)
            place_base = builder.inttoptr(places, ir.IntType(64).as_pointer())

            def body(block):
                # The last block begins so early that it is a whole one.
                first, last = builder.mul(block, constant(count)), builder.sub(size, constant(count))
                first = builder.select(builder.icmp_signed("<", first, last), first, last)
                numbers = [builder.add(first, constant(i)) for i in range(count)]
                elements = [builder.load(builder.gep(place_base, [number])) for number in numbers]
                elements = [builder.mul(element, constant(lanes)) for element in elements]
                for part in range(0, lanes, count):
                    in_lanes = [(laid_base, builder.add(element, constant(part))) for element in elements]
                    rows = [builder.mul(pitch, constant(part + i)) for i in range(count)]
                    in_rows = [(row_base, builder.add(row, first)) for row in rows]
                    source, target = (in_lanes, in_rows) if to_rows else (in_rows, in_lanes)
                    turned = _transposed(builder, [vector.load(*place) for place in source])
                    for value, place in zip(turned, target, strict=True):
                        vector.store(value, *place)

            blocks = builder.sdiv(builder.add(size, constant(count - 1)), constant(count))
            for_each(builder, blocks, body)
            return context.get_dummy_value()

        return signature, codegen

    return function


_rows_by_blocks, _lanes_by_blocks = intrinsic(_by_blocks(True)), intrinsic(_by_blocks(False))
