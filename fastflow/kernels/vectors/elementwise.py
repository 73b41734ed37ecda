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

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.layouts import lanes_of
from fastflow.kernels.vectors.simd import (
    Vector,
    are_contiguous,
    constant,
    counted_loop,
    data_pointer,
    for_vectors,
    for_vectors_back,
    switch,
)

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


@intrinsic
def subtract(typingctx, c, a, b, size):
    """``c[i] = a[i] - b[i]`` for ``i < size``, in either layout."""
    if not are_contiguous(None, c, a, b):
        return None
    signature = types.void(c, a, b, types.intp)

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, c.dtype, _lanes(c))
        c_base, a_base, b_base = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in range(3))

        def body(offset, mask):
            difference = builder.fsub(vector.load(a_base, offset, mask), vector.load(b_base, offset, mask))
            vector.store(difference, c_base, offset, mask)

        for_vectors(builder, vector, _numbers(builder, c, arguments[3]), body)
        return context.get_dummy_value()

    return signature, codegen


def _residual(masked_by_nan: bool):
    @intrinsic
    def residual(typingctx, c, a, b, size, result):
        if not are_contiguous(None, c, a, b, result):
            return None
        signature = types.void(c, a, b, types.intp, result)

        def codegen(context, builder, signature, arguments):
            c_base, a_base, b_base, result_base = (
                data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 2, 4)
            )

            def factors(vector, offset, mask):
                subtrahend = vector.load(b_base, offset, mask)
                difference = builder.fsub(vector.load(a_base, offset, mask), subtrahend)
                if masked_by_nan:
                    known = builder.fcmp_ordered("ord", subtrahend, subtrahend)
                    difference = builder.select(known, difference, vector.zero)
                vector.store(difference, c_base, offset, mask)
                return difference, difference

            emit = _sum_of_lanes if c.ndim == 2 else _sum_of_one
            emit(context, builder, c.dtype, factors, arguments[3], result_base, 0.5)
            return context.get_dummy_value()

        return signature, codegen

    return residual


residual = _residual(masked_by_nan=False)
"""``residual(c, a, b, size, result)``: ``c[i] = a[i] - b[i]`` for ``i < size``, and ``result = 1/2 sum c[i]^2``, summed
as by `dot`."""

residual_known = _residual(masked_by_nan=True)
"""`residual` where ``b[i]`` is a number; 0 where it is NaN."""


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


ROWS_AT_ONCE = 8 if SHAPE.vector_bytes == PARTIAL_BYTES else 4
"""Rows of a matrix that are taken together: what meets them is read once, and sums hide each other's latency."""


@jit_inline
def rows_together(left, most):
    """How many of the rows that are left go together, of which `dot_rows` and its like know 1, 2, 4, `ROWS_AT_ONCE`."""
    rows = most
    while rows > left:
        rows >>= 1
    return rows


def for_row_counts(builder, rows, emit):
    """``emit(count)`` for the number of rows, as `rows_together` gives it."""
    counts = [count for count in (1, 2, 4, 8) if count <= ROWS_AT_ONCE]
    switch(builder, rows, {count: (lambda count=count: emit(count)) for count in counts})


def row_pointers(builder, matrix, first, stride, count):
    """Pointers to so many rows of a row-major matrix."""
    return [builder.gep(matrix, [builder.mul(builder.add(first, constant(i)), stride)]) for i in range(count)]


def emit_dots(builder, vector, pointers, x, columns):
    """The inner products of rows with x, as one vector; ``vector`` is one of `PARTIAL_BYTES`."""
    sums = Dots(builder, vector, pointers, x)
    for_vectors(builder, vector, columns, sums.add, unroll=False)
    return sums.totals()


class Dots:
    """The inner products of rows with x while a loop over their columns is emitted; of `emit_dots`."""

    def __init__(self, builder, vector, pointers, x) -> None:
        self.builder, self.vector, self.pointers, self.x = builder, vector, pointers, x
        self.sums = [cgutils.alloca_once_value(builder, vector.zero) for _ in pointers]

    def add(self, offset, mask) -> None:
        """What a vector of columns adds."""
        right = self.vector.load(self.x, offset, mask)
        for pointer, total in zip(self.pointers, self.sums, strict=True):
            left = self.vector.load(pointer, offset, mask)
            self.builder.store(self.vector.fma(left, right, self.builder.load(total)), total)

    def totals(self):
        """The inner products, as one vector."""
        return self.vector.sums([self.builder.load(total) for total in self.sums])


def add_scaled_rows(vector, c, factors, pointers, offset, mask):
    """Add a vector of columns of rows, each times its factor, to those of c; of `emit_added_rows`."""
    total = vector.load(c, offset, mask)
    for pointer, factor in zip(pointers, factors, strict=True):
        total = vector.fma(factor, vector.load(pointer, offset, mask), total)
    vector.store(total, c, offset, mask)


def emit_added_rows(builder, vector, c, factors, pointers, columns, backwards=False):
    """``c += sum_i factors[i] * row i``, the factors being vectors of equal lanes; maybe from the last column on."""

    def body(offset, mask):
        add_scaled_rows(vector, c, factors, pointers, offset, mask)

    if backwards:
        for_vectors_back(builder, vector, columns, body)
    else:
        for_vectors(builder, vector, columns, body, unroll=False)


def lanes_splat(vector, few):
    """Each lane of a vector of few lanes as a vector of equal lanes."""
    return [vector.splat(vector.builder.extract_element(few, constant(i))) for i in range(few.type.count)]


@intrinsic
def dot_rows(typingctx, result, matrix, first, columns, rows, x):
    """``result[i] = <row first + i of matrix, x>`` for ``i < rows``, see `rows_together`; in the order of `dot`.

    Flat arrays, the matrix row-major with the given number of columns.
    """
    if not are_contiguous(1, result, matrix, x):
        return None
    dtype, n = x.dtype, types.intp
    signature = types.void(result, matrix, n, n, n, x)

    def codegen(context, builder, signature, arguments):
        _, _, first, columns, rows, _ = arguments
        vector = Vector(context, builder, dtype, PARTIAL_BYTES // (dtype.bitwidth // 8))
        result_base, matrix_base, x_base = (
            data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 5)
        )

        def emit(count):
            pointers = row_pointers(builder, matrix_base, first, columns, count)
            few = Vector(context, builder, dtype, count)
            few.store(emit_dots(builder, vector, pointers, x_base, columns), result_base, constant(0))

        for_row_counts(builder, rows, emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_rows(typingctx, c, factors, matrix, first, columns, rows):
    """``c += sum_i factors[i] * row first + i of matrix`` for ``i < rows``, see `rows_together`; FMAs in that order.

    Flat arrays, the matrix row-major with the given number of columns, which is the length of ``c``.
    """
    if not are_contiguous(1, c, factors, matrix):
        return None
    dtype, n = c.dtype, types.intp
    signature = types.void(c, factors, matrix, n, n, n)

    def codegen(context, builder, signature, arguments):
        _, _, _, first, columns, rows = arguments
        vector = Vector(context, builder, dtype, _lanes(c))
        c_base, factor_base, matrix_base = (
            data_pointer(context, builder, signature.args[i], arguments[i]) for i in range(3)
        )

        def emit(count):
            pointers = row_pointers(builder, matrix_base, first, columns, count)
            factors = [vector.splat(builder.load(builder.gep(factor_base, [constant(i)]))) for i in range(count)]
            emit_added_rows(builder, vector, c_base, factors, pointers, columns)

        for_row_counts(builder, rows, emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def dot(typingctx, x, y, size, result):
    """``result = sum_i x[i] y[i]`` over ``size`` elements, in the fixed order of this module.

    Flat arrays give ``result[0]``, arrays (elements, lanes) give ``result[lane]``.
    """
    if not are_contiguous(None, x, y, result):
        return None
    signature = types.void(x, y, types.intp, result)

    def codegen(context, builder, signature, arguments):
        x_base, y_base, result_base = (
            data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 1, 3)
        )

        def factors(vector, offset, mask):
            return vector.load(x_base, offset, mask), vector.load(y_base, offset, mask)

        emit = _sum_of_lanes if x.ndim == 2 else _sum_of_one
        emit(context, builder, x.dtype, factors, arguments[2], result_base)
        return context.get_dummy_value()

    return signature, codegen


def _sum_of_one(context, builder, dtype, factors, size, result_base, scale=1.0):
    """``scale`` times the sum of the products of the vectors that ``factors(vector, offset, mask)`` gives."""
    # One vector of all partial sums; LLVM splits it where the machine's vectors are narrower.
    vector = Vector(context, builder, dtype, PARTIAL_BYTES // (dtype.bitwidth // 8))
    total = cgutils.alloca_once_value(builder, vector.zero)

    def body(offset, mask):
        x, y = factors(vector, offset, mask)
        builder.store(vector.fma(x, y, builder.load(total)), total)

    for_vectors(builder, vector, size, body)
    result = vector.sum(builder.load(total))
    if scale != 1:
        result = builder.fmul(result, ir.Constant(vector.scalar, scale))
    builder.store(result, result_base)


@intrinsic
def half_square_at(typingctx, kind, x, size, result):
    """``result = 1/2 sum x_i^2`` over ``size`` elements in the order of `dot`, at addresses."""
    n = types.intp
    signature = types.void(kind, n, n, n)
    dtype, of_lanes = lanes_of(kind)
    emit = _sum_of_lanes if of_lanes else _sum_of_one

    def codegen(context, builder, signature, arguments):
        at = Vector(context, builder, dtype, 1).at

        def factors(vector, offset, mask):
            x = vector.load(at(arguments[1]), offset, mask)
            return x, x

        emit(context, builder, dtype, factors, arguments[2], at(arguments[3]), 0.5)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def clear_at(typingctx, zero, x, size):
    """``x_i = 0`` for ``i < size`` numbers of the type of ``zero`` from an address."""
    signature = types.void(zero, types.intp, types.intp)

    def codegen(context, builder, signature, arguments):
        vector = Vector(context, builder, zero, SHAPE.vector_bytes // (zero.bitwidth // 8))
        base = vector.at(arguments[1])
        for_vectors(
            builder, vector, arguments[2], lambda offset, mask: vector.store(vector.zero, base, offset, mask), False
        )
        return context.get_dummy_value()

    return signature, codegen


def _scaled(added: bool):
    @intrinsic
    def scaled(typingctx, zero, c, factor, x, size):
        signature = types.void(zero, types.intp, zero, types.intp, types.intp)

        def codegen(context, builder, signature, arguments):
            vector = Vector(context, builder, zero, SHAPE.vector_bytes // (zero.bitwidth // 8))
            _, c, factor, x, size = arguments
            c_base, x_base, factors = vector.at(c), vector.at(x), vector.splat(factor)

            def body(offset, mask):
                value = builder.fmul(factors, vector.load(x_base, offset, mask))
                if added:
                    value = builder.fadd(vector.load(c_base, offset, mask), value)
                vector.store(value, c_base, offset, mask)

            for_vectors(builder, vector, size, body, unroll=False)
            return context.get_dummy_value()

        return signature, codegen

    return scaled


scale_at = _scaled(added=False)
"""``scale_at(zero, c, factor, x, size)``: ``c_i = factor x_i`` for ``i < size`` numbers of a type, at addresses."""

add_scaled_at = _scaled(added=True)
"""As `scale_at`, ``c_i + factor x_i``, the product rounded before."""


def _sum_of_lanes(context, builder, dtype, factors, size, result_base, scale=1.0):
    # A vector of lanes for each partial sum; element i goes to partial sum i mod partials.
    partials = PARTIAL_BYTES // (dtype.bitwidth // 8)
    vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
    sums = [cgutils.alloca_once_value(builder, vector.zero) for _ in range(partials)]

    def accumulate(element, partial):
        x, y = factors(vector, builder.mul(element, constant(vector.lanes)), None)
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
    result = totals[0]
    if scale != 1:
        result = builder.fmul(result, ir.Constant(vector.type, [scale] * vector.lanes))
    vector.store(result, result_base, constant(0))
