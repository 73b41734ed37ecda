"""Elementwise passes over contiguous arrays, and dot products with a fixed order of summation.

They serve both layouts: one run (flat arrays), and one run per lane (arrays (elements, lanes)), in which a sum or a
step is one number per lane. A dot product runs over `PARTIAL_BYTES` worth of partial sums (8 for float64, 16 for
float32), each an FMA chain, which are then added in a fixed tree; so its bits do not depend on the layout or the vector
width.
"""

from __future__ import annotations

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.layouts import lanes_of
from fastflow.kernels.simd import (
    I64,
    Vector,
    are_contiguous,
    constant,
    counted_loop,
    data_pointer,
    for_vectors,
    switch,
)
from fastflow.kernels.target import SHAPE

PARTIAL_BYTES = 64
"""Bytes of partial sums in `dot`: part of the result's definition, so never the width of the machine's vectors."""


def _lanes(array: types.Array) -> int:
    return SHAPE.vector_bytes // (array.dtype.bitwidth // 8)


def _numbers(builder, array: types.Array, size):
    """How many numbers ``size`` elements of an array of either layout are."""
    return builder.mul(size, constant(_lanes(array))) if array.ndim == 2 else size


def _elements(context, builder, kind):
    """The vectors of a kind of storage, and how many numbers a number of its elements are."""
    dtype, of_lanes = lanes_of(kind)
    vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
    return vector, lambda size: builder.mul(size, constant(vector.lanes)) if of_lanes else size


def _difference(masked_by_nan: bool):
    @intrinsic
    def subtract(typingctx, c, a, b, size):
        if not are_contiguous(None, c, a, b):
            return None
        signature = types.void(c, a, b, types.intp)

        def codegen(context, builder, signature, arguments):
            vector = Vector(context, builder, c.dtype, _lanes(c))
            c_base, a_base, b_base = (
                data_pointer(context, builder, array_type, value)
                for array_type, value in zip(signature.args[:3], arguments[:3], strict=True)
            )

            def body(offset, mask):
                subtrahend = vector.load(b_base, offset, mask)
                difference = builder.fsub(vector.load(a_base, offset, mask), subtrahend)
                if masked_by_nan:
                    known = builder.fcmp_ordered("ord", subtrahend, subtrahend)
                    difference = builder.select(known, difference, vector.zero)
                vector.store(difference, c_base, offset, mask)

            for_vectors(builder, vector, _numbers(builder, c, arguments[3]), body)
            return context.get_dummy_value()

        return signature, codegen

    return subtract


subtract = _difference(masked_by_nan=False)
"""``subtract(c, a, b, size)``: ``c[i] = a[i] - b[i]`` for ``i < size``, in either layout."""

subtract_known = _difference(masked_by_nan=True)
"""``subtract_known(c, a, b, size)``: `subtract` where ``b[i]`` is a number, 0 where it is NaN."""


def _copy(builder, vector, c_base, a_base, size):
    def body(offset, mask):
        vector.store(vector.load(a_base, offset, mask), c_base, offset, mask)

    for_vectors(builder, vector, size, body)


@intrinsic
def copy_at(typingctx, kind, c, a, size):
    """``c[i] = a[i]`` for ``i < size`` elements at addresses."""
    n = types.intp
    signature = types.void(kind, n, n, n)

    def codegen(context, builder, signature, arguments):
        vector, numbers = _elements(context, builder, kind)
        _copy(builder, vector, vector.at(arguments[1]), vector.at(arguments[2]), numbers(arguments[3]))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def copy(typingctx, c, a, size):
    """``c[i] = a[i]`` for ``i < size``, in either layout. (A slice assignment would compile Numba's error message.)"""
    if not are_contiguous(None, c, a):
        return None
    signature = types.void(c, a, types.intp)

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, c.dtype, _lanes(c))
        c_base, a_base = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in range(2))
        _copy(builder, vector, c_base, a_base, _numbers(builder, c, arguments[2]))
        return context.get_dummy_value()

    return signature, codegen


ROWS_AT_ONCE = 4
"""Rows of a matrix that `dot_rows` and `add_rows` take together, so that the other operand is read once for all."""


@intrinsic
def dot_rows(typingctx, result, matrix, first, columns, rows, x):
    """``result[i] = <row first + i of matrix, x>`` for ``i < rows``, at most `ROWS_AT_ONCE`; in the order of `dot`.

    Flat arrays, the matrix row-major with the given number of columns.
    """
    if not are_contiguous(1, result, matrix, x):
        return None
    dtype, n = x.dtype, types.intp
    signature = types.void(result, matrix, n, n, n, x)

    def codegen(context, builder, signature, arguments):
        result_value, matrix_value, first, columns, rows, x_value = arguments
        vector = Vector(context, builder, dtype, PARTIAL_BYTES // (dtype.bitwidth // 8))
        result_base = data_pointer(context, builder, signature.args[0], result_value)
        x_base = data_pointer(context, builder, signature.args[5], x_value)
        matrix_base = data_pointer(context, builder, signature.args[1], matrix_value)

        def emit(count):
            bases = [
                builder.gep(matrix_base, [builder.mul(builder.add(first, constant(i)), columns)]) for i in range(count)
            ]
            totals = [cgutils.alloca_once_value(builder, vector.zero) for _ in range(count)]
            for total in totals:
                builder.store(vector.zero, total)

            def body(offset, mask):
                right = vector.load(x_base, offset, mask)
                for base, total in zip(bases, totals, strict=True):
                    builder.store(vector.fma(vector.load(base, offset, mask), right, builder.load(total)), total)

            for_vectors(builder, vector, columns, body)
            for i, total in enumerate(totals):
                builder.store(vector.sum(builder.load(total)), builder.gep(result_base, [constant(i)]))

        switch(builder, rows, {count: (lambda count=count: emit(count)) for count in range(1, ROWS_AT_ONCE + 1)})
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_rows(typingctx, c, factors, matrix, first, columns, rows):
    """``c += sum_i factors[i] * row first + i of matrix`` for ``i < rows``, at most `ROWS_AT_ONCE`; FMAs in that order.

    Flat arrays, the matrix row-major with the given number of columns, which is the length of ``c``.
    """
    if not are_contiguous(1, c, factors, matrix):
        return None
    dtype, n = c.dtype, types.intp
    signature = types.void(c, factors, matrix, n, n, n)

    def codegen(context, builder, signature, arguments):
        c_value, factors_value, matrix_value, first, columns, rows = arguments
        vector = Vector(context, builder, dtype, _lanes(c))
        c_base = data_pointer(context, builder, signature.args[0], c_value)
        factor_base = data_pointer(context, builder, signature.args[1], factors_value)
        matrix_base = data_pointer(context, builder, signature.args[2], matrix_value)

        def emit(count):
            bases = [
                builder.gep(matrix_base, [builder.mul(builder.add(first, constant(i)), columns)]) for i in range(count)
            ]
            factors = [vector.splat(builder.load(builder.gep(factor_base, [constant(i)]))) for i in range(count)]

            def body(offset, mask):
                total = vector.load(c_base, offset, mask)
                for base, factor in zip(bases, factors, strict=True):
                    total = vector.fma(factor, vector.load(base, offset, mask), total)
                vector.store(total, c_base, offset, mask)

            for_vectors(builder, vector, columns, body)

        switch(builder, rows, {count: (lambda count=count: emit(count)) for count in range(1, ROWS_AT_ONCE + 1)})
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def take_steps_at(typingctx, kind, factors, gradient, steps, moved, size):
    """``w[i] = fma(-step, g[i], w[i])`` for ``i < size`` elements at addresses, and whether a bit changed.

    One run takes the step at ``steps``; lanes take one each. ``moved``, the address of an int64 each, is set to 1 where
    an element changed a bit, and left where none did.
    """
    n = types.intp
    signature = types.void(kind, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        vector, numbers = _elements(context, builder, kind)
        factor_base, gradient_base, step_base = (vector.at(address) for address in arguments[1:4])
        moved_base = builder.inttoptr(arguments[4], I64.as_pointer())
        if lanes_of(kind)[1]:
            step = vector.load(step_base, constant(0))
        else:
            step = vector.splat(builder.load(step_base))
        step = builder.fneg(step)
        changed = cgutils.alloca_once_value(builder, ir.Constant(vector.bits_type, None))

        def body(offset, mask):
            before = vector.load(factor_base, offset, mask)
            after = vector.fma(step, vector.load(gradient_base, offset, mask), before)
            vector.store(after, factor_base, offset, mask)
            differs = builder.xor(*(builder.bitcast(value, vector.bits_type) for value in (before, after)))
            builder.store(builder.or_(builder.load(changed), differs), changed)

        builder.store(ir.Constant(vector.bits_type, None), changed)
        for_vectors(builder, vector, numbers(arguments[5]), body)
        wide = ir.VectorType(I64, vector.lanes)
        flags = builder.icmp_unsigned("!=", builder.load(changed), ir.Constant(vector.bits_type, None))
        flags = builder.zext(flags, wide)
        if lanes_of(kind)[1]:
            moved_vector = builder.bitcast(moved_base, wide.as_pointer())
            builder.store(builder.or_(flags, builder.load(moved_vector, align=8)), moved_vector, align=8)
        else:
            total = builder.load(moved_base)
            for lane in range(vector.lanes):
                total = builder.or_(total, builder.extract_element(flags, constant(lane)))
            builder.store(total, moved_base)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def dot(typingctx, x, y, size, result):
    """``result = sum_i x[i] y[i]`` over ``size`` elements, in the fixed order of this module.

    Flat arrays give ``result[0]``, arrays (elements, lanes) give ``result[lane]``.
    """
    if not are_contiguous(None, x, y, result):
        return None
    dtype = x.dtype
    partials = PARTIAL_BYTES // (dtype.bitwidth // 8)
    signature = types.void(x, y, types.intp, result)
    emit = _dot_of_lanes if x.ndim == 2 else _dot_of_one

    def codegen(context, builder, signature, arguments):
        x_base, y_base, result_base = (
            data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 3)
        )
        emit(context, builder, dtype, partials, x_base, y_base, arguments[2], result_base)
        return context.get_dummy_value()

    return signature, codegen


def _dot_of_one(context, builder, dtype, partials, x_base, y_base, size, result_base):
    # One vector of all partial sums; LLVM splits it where the machine's vectors are narrower.
    vector = Vector(context, builder, dtype, partials)
    total = cgutils.alloca_once_value(builder, vector.zero)

    def body(offset, mask):
        product = vector.fma(vector.load(x_base, offset, mask), vector.load(y_base, offset, mask), builder.load(total))
        builder.store(product, total)

    for_vectors(builder, vector, size, body)
    builder.store(vector.sum(builder.load(total)), result_base)


def _dot_of_lanes(context, builder, dtype, partials, x_base, y_base, size, result_base):
    # A vector of lanes for each partial sum; element i goes to partial sum i mod partials.
    vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
    sums = [cgutils.alloca_once_value(builder, vector.zero) for _ in range(partials)]

    def accumulate(element, partial):
        offset = builder.mul(element, constant(vector.lanes))
        x, y = vector.load(x_base, offset), vector.load(y_base, offset)
        builder.store(vector.fma(x, y, builder.load(sums[partial])), sums[partial])

    whole = builder.sdiv(size, constant(partials))
    with builder.if_then(builder.icmp_signed(">", whole, constant(0))):

        def rounds(k, state):
            first = builder.mul(k, constant(partials))
            for partial in range(partials):
                accumulate(builder.add(first, constant(partial)), partial)
            return state

        counted_loop(builder, whole, [], rounds)
    first = builder.mul(whole, constant(partials))
    for partial in range(partials - 1):
        element = builder.add(first, constant(partial))
        with builder.if_then(builder.icmp_signed("<", element, size)):
            accumulate(element, partial)
    totals = [builder.load(total) for total in sums]
    while len(totals) > 1:
        half = len(totals) // 2
        totals = [builder.fadd(low, high) for low, high in zip(totals[:half], totals[half:], strict=True)]
    vector.store(totals[0], result_base, constant(0))
