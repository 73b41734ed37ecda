"""Runs one per lane, (elements, lanes), brought to rows, (lanes, elements), and back, block by block.

Element by element, every number would be an access of its own; a square block of numbers is some vectors, which are
transposed in registers.
"""

from __future__ import annotations

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.vectors.layouts import VECTOR_BYTES
from fastflow.kernels.vectors.simd import I32, Vector, are_contiguous, constant, for_each

BLOCK_BYTES = min(32, VECTOR_BYTES)
"""Bytes of the vectors of a block: those of AVX-512 take twice as long to shuffle (measured)."""


@intrinsic
def rows_from_lanes(typingctx, laid_out, places, rows, column):
    """``rows[lane, column + k] = laid_out[places[k], lane]`` for every k; ``column`` may be one of each lane's own.

    Parameters
    ----------
    laid_out : array (elements, lanes)
    places : int64 array (numbers,)
    rows : array (lanes, at least column + numbers), or (lanes, ..., ...), of which each lane has so many in a row
    column : int, or int64 array (lanes,)
    """
    return _exchange(laid_out, places, rows, column, to_rows=True)


@intrinsic
def lanes_from_rows(typingctx, laid_out, places, rows, column):
    """What `rows_from_lanes` has brought, back to where it was."""
    return _exchange(laid_out, places, rows, column, to_rows=False)


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


def _exchange(laid_out, places, rows, column, to_rows):
    """The signature and the code of what brings numbers from lanes to rows, or back."""
    if not (
        are_contiguous(None, laid_out, rows) and laid_out.ndim == 2 and rows.ndim in (2, 3) and places.layout == "C"
    ):
        return None
    number_bytes = laid_out.dtype.bitwidth // 8
    lanes, count = VECTOR_BYTES // number_bytes, BLOCK_BYTES // number_bytes
    column = column if isinstance(column, types.Array) and column.layout == "C" else types.intp

    def codegen(context, builder, signature, arguments):
        given = [
            context.make_array(kind)(context, builder, a)
            for kind, a in zip(signature.args[:3], arguments[:3], strict=True)
        ]
        (size,), (_, pitch, *more) = (cgutils.unpack_tuple(builder, array.shape) for array in given[1:])
        for length in more:
            pitch = builder.mul(pitch, length)
        laid_base, place_base, row_base = (array.data for array in given)
        if column is types.intp:
            columns = [arguments[3]] * lanes
        else:
            base = context.make_array(column)(context, builder, arguments[3]).data
            columns = [builder.load(builder.gep(base, [constant(lane)])) for lane in range(lanes)]
        row_starts = [builder.add(builder.mul(pitch, constant(lane)), columns[lane]) for lane in range(lanes)]

        def move(first, count):
            """Bring so many numbers of each lane, from ``first`` on, in square blocks."""
            vector = Vector(context, builder, laid_out.dtype, count)
            numbers = [builder.add(first, constant(i)) for i in range(count)]
            elements = [builder.load(builder.gep(place_base, [number])) for number in numbers]
            elements = [builder.mul(element, constant(lanes)) for element in elements]
            for part in range(0, lanes, count):
                in_lanes = [(laid_base, builder.add(element, constant(part))) for element in elements]
                in_rows = [(row_base, builder.add(start, first)) for start in row_starts[part : part + count]]
                source, target = (in_lanes, in_rows) if to_rows else (in_rows, in_lanes)
                turned = _transposed(builder, [vector.load(*place) for place in source])
                for value, place in zip(turned, target, strict=True):
                    vector.store(value, *place)

        def move_block(block):
            # The last block begins so early that it is a whole one.
            first, last = builder.mul(block, constant(count)), builder.sub(size, constant(count))
            move(builder.select(builder.icmp_signed("<", first, last), first, last), count)

        with builder.if_else(builder.icmp_signed("<", size, constant(count))) as (few, many):
            with few:
                for_each(builder, size, lambda number: move(number, 1))
            with many:
                blocks = builder.sdiv(builder.add(size, constant(count - 1)), constant(count))
                for_each(builder, blocks, move_block)
        return context.get_dummy_value()

    return types.void(laid_out, places, rows, column), codegen
