"""Formulas over whole vectors of floats: Python's operators emit the arithmetic, which an elementwise pass takes along.

A formula rounds as it is written, each operation by itself (`fma` is one). So an element has the same bits in every
place of an array and for every width of the vectors.
"""

from __future__ import annotations

from collections.abc import Callable

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.simd import Vector, constant, data_pointer, for_each, for_vectors


class _Emitted:
    """A value of a formula, a lane for each of some elements."""

    def __init__(self, vector: Vector, value: ir.Value) -> None:
        self.vector, self.value = vector, value


class Numbers(_Emitted):
    """A vector of floats in a formula; Python's numbers beside it are constants."""

    def like(self, other: Numbers | float) -> Numbers:
        """A number as a vector of as many."""
        if isinstance(other, Numbers):
            return other
        return Numbers(self.vector, ir.Constant(self.vector.type, [float(other)] * self.vector.lanes))

    def _with(self, emit: Callable[..., ir.Value], other: Numbers | float) -> Numbers:
        return Numbers(self.vector, emit(self.value, self.like(other).value))

    def __add__(self, other: Numbers | float) -> Numbers:
        return self._with(self.vector.builder.fadd, other)

    def __sub__(self, other: Numbers | float) -> Numbers:
        return self._with(self.vector.builder.fsub, other)

    def __mul__(self, other: Numbers | float) -> Numbers:
        return self._with(self.vector.builder.fmul, other)

    def __truediv__(self, other: Numbers | float) -> Numbers:
        return self._with(self.vector.builder.fdiv, other)

    def __radd__(self, other: float) -> Numbers:
        return self.like(other) + self

    def __rsub__(self, other: float) -> Numbers:
        return self.like(other) - self

    def __rmul__(self, other: float) -> Numbers:
        return self.like(other) * self

    def __rtruediv__(self, other: float) -> Numbers:
        return self.like(other) / self

    def __neg__(self) -> Numbers:
        return Numbers(self.vector, self.vector.builder.fneg(self.value))

    def __abs__(self) -> Numbers:
        return Numbers(self.vector, self.vector.each("fabs", self.value))

    def __lt__(self, other: Numbers | float) -> Lanes:
        return self._compared("<", other)

    def __gt__(self, other: Numbers | float) -> Lanes:
        return self._compared(">", other)

    def _compared(self, operator: str, other: Numbers | float) -> Lanes:
        condition = self.vector.builder.fcmp_ordered(operator, self.value, self.like(other).value)
        return Lanes(self.vector, condition)

    def bits(self) -> Bits:
        """The bits of each number."""
        return Bits(self.vector, self.vector.builder.bitcast(self.value, self.vector.bits_type))


class Lanes(_Emitted):
    """For which lanes something holds: nothing does of a NaN."""

    def choose(self, yes: Numbers, no: Numbers | float) -> Numbers:
        """``yes`` where it holds, ``no`` elsewhere."""
        return Numbers(self.vector, self.vector.builder.select(self.value, yes.value, yes.like(no).value))


class Bits(_Emitted):
    """A vector of integers as long as the floats; sums are modulo ``2^bits``."""

    def _with(self, emit: Callable[..., ir.Value], other: Bits | int) -> Bits:
        if isinstance(other, int):
            other = Bits(self.vector, ir.Constant(self.vector.bits_type, [other] * self.vector.lanes))
        return Bits(self.vector, emit(self.value, other.value))

    def __add__(self, other: Bits | int) -> Bits:
        return self._with(self.vector.builder.add, other)

    def __sub__(self, other: Bits | int) -> Bits:
        return self._with(self.vector.builder.sub, other)

    def __and__(self, other: Bits | int) -> Bits:
        return self._with(self.vector.builder.and_, other)

    def __or__(self, other: Bits | int) -> Bits:
        return self._with(self.vector.builder.or_, other)

    def __lshift__(self, count: int) -> Bits:
        return self._with(self.vector.builder.shl, count)

    def __rshift__(self, count: int) -> Bits:
        """Zeros come in from the left."""
        return self._with(self.vector.builder.lshr, count)

    def numbers(self) -> Numbers:
        """The floats that have these bits."""
        return Numbers(self.vector, self.vector.builder.bitcast(self.value, self.vector.type))


def fma(a: Numbers, b: Numbers | float, c: Numbers | float) -> Numbers:
    """``a b + c``, rounded once."""
    return Numbers(a.vector, a.vector.fma(a.value, a.like(b).value, a.like(c).value))


def sqrt(x: Numbers) -> Numbers:
    """The square root, rounded once."""
    return Numbers(x.vector, x.vector.each("sqrt", x.value))


def copysign(size: Numbers, sign: Numbers) -> Numbers:
    """A number of the size of one and the sign of another."""
    return Numbers(size.vector, size.vector.each("copysign", size.value, sign.value))


def larger(a: Numbers, b: Numbers | float) -> Numbers:
    """The larger of two; b where a is NaN."""
    return (a > b).choose(a, b)


def smaller(a: Numbers, b: Numbers | float) -> Numbers:
    """The smaller of two; b where a is NaN."""
    return (a < b).choose(a, b)


Formula = Callable[..., tuple[Numbers, ...]]


def elementwise(formula: Formula):
    """An intrinsic ``(size, arrays, numbers, out)`` that goes over the first ``size`` elements of float64 arrays.

    ``formula(*arrays, *numbers)`` gives what goes to the arrays ``out``. ``arrays``, ``numbers``, ``out`` are tuples.
    """
    return _pass_over_elements(formula, 0)


def elementwise_with_maxima(maxima: int) -> Callable[[Formula], object]:
    """`elementwise`, of a formula that gives so many more numbers, of which the largest ones are returned, as a tuple.

    0 where none is larger; NaNs do not count.
    """
    return lambda formula: _pass_over_elements(formula, maxima)


def _pass_over_elements(formula: Formula, maxima: int):
    @intrinsic
    def over_elements(typingctx, size, arrays, numbers, out):
        if not all(_is_tuple_of_vectors(kind) for kind in (arrays, out)):
            return None
        returned = types.UniTuple(types.float64, maxima) if maxima else types.void
        signature = returned(types.intp, arrays, types.UniTuple(types.float64, len(numbers)), out)

        def codegen(context, builder, signature, arguments):
            vector = Vector(context, builder, types.float64, SHAPE.vector_bytes // 8)
            size, *tuples = arguments
            sources, targets = (
                [
                    _Elements(context, vector, kind, builder.extract_value(tuples[place], i))
                    for i, kind in enumerate(signature.args[1 + place])
                ]
                for place in (0, 2)
            )
            factors = [
                Numbers(vector, vector.splat(builder.extract_value(tuples[1], i)))
                for i in range(len(signature.args[2]))
            ]
            largest = [cgutils.alloca_once(builder, vector.type) for _ in range(maxima)]
            for place in largest:
                builder.store(vector.zero, place)

            def body(offset, mask):
                loaded = [Numbers(vector, array.load(offset, mask, size)) for array in sources]
                found = formula(*loaded, *factors)
                for value, array in zip(found, targets, strict=False):
                    array.store(value.value, offset, mask, size)
                for value, place in zip(found[len(targets) :], largest, strict=True):
                    before = Numbers(vector, builder.load(place))
                    counted = value if mask is None else Lanes(vector, mask).choose(value, 0.0)
                    builder.store(larger(counted, before).value, place)

            for_vectors(builder, vector, size, body, unroll=False)
            if not maxima:
                return context.get_dummy_value()
            return context.make_tuple(
                builder, returned, [_largest_lane(builder, vector, builder.load(place)) for place in largest]
            )

        return signature, codegen

    return over_elements


def _is_tuple_of_vectors(kind: types.Type) -> bool:
    return isinstance(kind, types.BaseTuple) and all(
        isinstance(array, types.Array) and array.dtype == types.float64 and array.ndim == 1 for array in kind
    )


class _Elements:
    """Vectors of elements of an array; those of one that is not contiguous go one by one through a buffer."""

    def __init__(self, context, vector: Vector, kind: types.Array, value) -> None:
        self.vector, self.base, self.buffer = vector, data_pointer(context, vector.builder, kind, value), None
        if kind.layout != "C":
            strides = context.make_array(kind)(context, vector.builder, value).strides
            self.stride = vector.builder.extract_value(strides, 0)
            self.buffer = cgutils.alloca_once(vector.builder, vector.scalar, vector.lanes)

    def load(self, offset, mask, size):
        if self.buffer is None:
            return self.vector.load(self.base, offset, mask)
        self._through_buffer(offset, size, to_buffer=True)
        return self.vector.load(self.buffer, constant(0), mask)

    def store(self, value, offset, mask, size):
        if self.buffer is None:
            self.vector.store(value, self.base, offset, mask)
            return
        self.vector.store(value, self.buffer, constant(0), mask)
        self._through_buffer(offset, size, to_buffer=False)

    def _through_buffer(self, offset, size, to_buffer: bool) -> None:
        builder = self.vector.builder
        left, lanes = builder.sub(size, offset), constant(self.vector.lanes)
        count = builder.select(builder.icmp_signed("<", left, lanes), left, lanes)

        def copy(k):
            element = builder.mul(builder.add(offset, k), self.stride)
            pointers = (cgutils.pointer_add(builder, self.base, element), builder.gep(self.buffer, [k]))
            source, target = pointers if to_buffer else pointers[::-1]
            builder.store(builder.load(source), target)

        for_each(builder, count, copy)


def _largest_lane(builder, vector, value):
    lanes = [builder.extract_element(value, constant(lane)) for lane in range(vector.lanes)]
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [
            builder.select(builder.fcmp_ordered(">", low, high), low, high)
            for low, high in zip(lanes[:half], lanes[half:], strict=True)
        ]
    return lanes[0]
