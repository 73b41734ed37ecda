"""Products of square matrices so small that a loop over the inner index would end before it has paid for its start:
straight-line code, one run per SIMD lane.

The bits are those of `vectors.tiles`: an element is one FMA chain in the order of the inner index, from +0.
"""

from __future__ import annotations

from numba import types
from numba.extending import intrinsic

from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.simd import Vector, constant, switch
from fastflow.kernels.vectors.steps import Steps

NARROWEST, WIDEST = 2, 5
"""Widths that have code of their own."""

SUMS = 4 if SHAPE.vector_bytes == 64 else 8
"""So many sums at a time, or more, as far as there are registers for them: they hide the latency of an FMA, and few of
them are stored while the next ones are summed (measured)."""

STEPPING = 4 if SHAPE.registers > 16 else 2
"""Registers for an element of A, a zero, and for what steps: the step, and what has changed. Where registers are few,
as many sums are worth more (measured)."""


def _blocks(size: int, others: int) -> tuple[int, int]:
    """How many columns of B are kept in registers, and how many rows of A meet them at once.

    There are so many ``others`` beside them and the sums.
    """
    room = SHAPE.registers - others
    parts = next(parts for parts in range(1, size + 1) if (size + 1) * -(-size // parts) <= room)
    columns = -(-size // parts)
    rows = max(1, min(-(-SUMS // columns), (room - size * columns) // columns, size))
    return columns, -(-size // -(-size // rows))


def _emit_product(vector, size, a, b, keep, others=2):
    """Emit ``C = A B``; ``a(i, k)`` and ``b(k, j)`` load elements, ``keep(sums, offsets)`` takes some of C.

    Of ``others`` that need registers there are an element of A and a zero at least.
    """
    width, height = _blocks(size, others)
    for first in range(0, size, width):
        columns = range(first, min(first + width, size))
        right = {(k, j): b(k, j) for k in range(size) for j in columns}
        for top in range(0, size, height):
            rows = range(top, min(top + height, size))
            sums = {(i, j): vector.zero for i in rows for j in columns}
            for k in range(size):
                for i in rows:
                    left = a(i, k)
                    for j in columns:
                        sums[i, j] = vector.fma(left, right[k, j], sums[i, j])
            keep(list(sums.values()), [constant((i * size + j) * vector.lanes) for i, j in sums])


def _loads(vector, address, size, transposed=False):
    """What loads an element of a matrix at an address, or of its transpose."""
    base = vector.at(address)

    def load(i, j):
        row, column = (j, i) if transposed else (i, j)
        return vector.load(base, constant((row * size + column) * vector.lanes))

    return load


def _for_width(builder, width, emit):
    """The code for the width that there is."""
    switch(builder, width, {size: (lambda size=size: emit(size)) for size in range(NARROWEST, WIDEST + 1)})


@intrinsic
def tiny_product(typingctx, zero, width, c, a, b):
    """``C = A B`` of matrices (width, width) of one run per lane, row-major; at addresses."""
    n = types.intp
    signature = types.void(zero, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, width, c, a, b = arguments
        vector = Vector(context, builder, zero, SHAPE.vector_bytes // (zero.bitwidth // 8))

        c_base = vector.at(c)

        def store(sums, offsets):
            vector.store_each(sums, c_base, offsets)

        def emit(size):
            _emit_product(vector, size, _loads(vector, a, size), _loads(vector, b, size), store)

        _for_width(builder, width, emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def tiny_turn(typingctx, zero, width, through, factor, sweep, prefix, gradient, stepping, steps, moved):
    """One turn of a sweep back through a chain, of matrices (width, width) of one run per lane; at addresses.

    ``through = W^T S`` and ``gradient = S P^T`` for the ``factor`` W, the ``sweep`` S and the ``prefix`` P. Where
    ``stepping`` is not 0 it is the address of factors that take a step by the gradient instead, with what
    `take_steps_at` takes.
    """
    n = types.intp
    signature = types.void(zero, n, n, n, n, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, width, through, factor, sweep, prefix, gradient, *stepping = arguments
        vector = Vector(context, builder, zero, SHAPE.vector_bytes // (zero.bitwidth // 8))
        steps = Steps(builder, vector, *stepping, of_lanes=True)
        through_base, gradient_base = vector.at(through), vector.at(gradient)

        def store(sums, offsets):
            vector.store_each(sums, through_base, offsets)

        def step(sums, offsets):
            steps.take_or_store(sums, gradient_base, offsets)

        def emit(size):
            given = _loads(vector, sweep, size)
            _emit_product(vector, size, _loads(vector, factor, size, True), given, store)
            _emit_product(vector, size, given, _loads(vector, prefix, size, True), step, STEPPING)

        _for_width(builder, width, emit)
        steps.report()
        return context.get_dummy_value()

    return signature, codegen
