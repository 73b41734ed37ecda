"""Rules with a formula for each entry of the factors alone, emitted as vectors where the factors lie.

A `Formula` is told the numbers of each member's step, which `write_numbers` has brought up to date, the entries of the
factors and of their gradient, and what the rule remembers of them. Its arithmetic is that of IEEE, operation by
operation, but for quotients on AVX-512 (`Arithmetic.over`): its bits depend on no layout.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.compile.protocol import implements, protocol
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.rules.rule import number_count, slot_count
from fastflow.kernels.vectors.layouts import lanes_of
from fastflow.kernels.vectors.simd import I64, Vector, constant, for_vectors

AVX_512, DOUBLE = 64, 8
"""Bytes of a register of it, and of a number."""

Emit = Callable[..., tuple[object, tuple[object, ...]]]


class Formula(NamedTuple):
    """``emit(arithmetic, numbers, w, g, slots) -> (w, slots)`` afterwards, all of them vectors.

    ``elsewhere``: w is not where the run is, which is in the first slot; both are there afterwards.
    """

    numbers: int
    slots: int
    emit: Emit
    elsewhere: bool


FORMULAS: dict[type, Formula] = {}


@protocol
def write_numbers(rule, numbers, member, step, weight):
    """Write what a formula is told of a member's steps of one size.

    Parameters
    ----------
    rule : the NamedTuple of a rule
    numbers : array (numbers, members)
    member : int
    step : float; 0 where there is no run
    weight : float, by which the gradient at hand must be multiplied to be that of the loss; 1 where there is no run
    """


@protocol
def varies(rule):
    """Whether its numbers change from step to step where the size of the steps does not."""


@protocol
def vary_numbers(rule, numbers, rates, member, step, weight, k, alike):
    """`write_numbers` of those that change from step to step, k counted from where the member's memory began.

    Asked of every member at every step of a rule that `varies`. ``rates`` (`RATES`, members) is what the rule remembers
    of a member beside its slots, 0 at first. ``alike``: the member before has the same step, weight and k, so that its
    numbers will do.
    """


@implements(varies, tuple, inline=True)
def _constant(rule):
    return False


@implements(vary_numbers, tuple, inline=True)
def _leave_numbers(rule, numbers, rates, member, step, weight, k, alike):
    pass


def formula(rule: type, numbers: int, slots: int = 0, elsewhere: bool = False) -> Callable[[Emit], Emit]:
    """Decorate the formula of a rule."""

    def register(emit: Emit) -> Emit:
        FORMULAS[rule] = Formula(numbers, slots, emit, elsewhere)
        slot_count.register(rule)(lambda rule: slots)
        number_count.register(rule)(lambda rule: numbers)
        return emit

    return register


class Arithmetic:
    """Operations on vectors."""

    def __init__(self, builder, vector):
        self.builder, self.vector = builder, vector
        self.fma, self.zero = vector.fma, vector.zero
        self.add, self.sub, self.mul = builder.fadd, builder.fsub, builder.fmul

    def over(self, x, y):
        """The quotient ``x / y`` of positive y, NaN where y is subnormal or infinite; to one unit in the last place.

        Square roots and quotients share one slow unit. The quotient of 512-bit registers of doubles comes from
        multiplications, which run beside the roots: by a reciprocal of 14 bits, of error e, and ``1 + e + e^2 + e^3``.
        """
        b, vector = self.builder, self.vector
        if vector.lanes * vector.size != AVX_512 or vector.size != DOUBLE or SHAPE.vector_bytes != AVX_512:
            return b.fdiv(x, y)
        mask = ir.IntType(8)
        kind = ir.FunctionType(vector.type, [vector.type, vector.type, mask])
        estimate = cgutils.get_or_insert_function(b.module, kind, "llvm.x86.avx512.rcp14.pd.512")
        guess = b.call(estimate, [y, vector.zero, ir.Constant(mask, 255)])
        error = self.fma(b.fneg(guess), y, ir.Constant(vector.type, [1.0] * vector.lanes))
        more = self.fma(error, self.fma(error, error, error), error)
        rough = b.fmul(x, guess)
        return self.fma(rough, more, rough)

    def sqrt(self, x):
        return self.builder.call(self.vector._intrinsic("llvm.sqrt.{}", x.type, [x.type]), [x])

    def with_sign(self, size, x):
        """``size``, which is not negative, with the sign of x; 0 where x is 0, NaN where it is."""
        b = self.builder
        copied = b.call(self.vector._intrinsic("llvm.copysign.{}", x.type, [x.type] * 2), [size, x])
        return b.select(b.fcmp_ordered("ord", x, x), b.select(b.fcmp_ordered("==", x, self.zero), x, copied), x)


class Moves:
    """Emits steps by the formula of a rule, given by its Numba type.

    ``memory`` and ``numbers`` are addresses, one slot or number of a member following the other at distances in bytes.
    """

    def __init__(self, builder, vector, of_lanes, rule, memory, slot_bytes, numbers, number_bytes):
        self.builder, self.vector = builder, vector
        self.formula = FORMULAS[rule.instance_class]
        self.arithmetic = Arithmetic(builder, vector)
        self.slots = [
            vector.at(builder.add(memory, builder.mul(slot_bytes, constant(i)))) for i in range(self.formula.slots)
        ]
        places = [
            vector.at(builder.add(numbers, builder.mul(number_bytes, constant(i)))) for i in range(self.formula.numbers)
        ]
        if of_lanes:
            self.numbers = [vector.load(place, constant(0)) for place in places]
        else:
            self.numbers = [vector.splat(builder.load(place)) for place in places]
        self.unchanged = ir.Constant(vector.bits_type, None)
        self.changed = cgutils.alloca_once_value(builder, self.unchanged)
        builder.store(self.unchanged, self.changed)

    def one(self, before, gradient, offset, mask):
        """The factors after the step of a vector of them at an offset, whose memory moves along."""
        remembered = [self.vector.load(slot, offset, mask) for slot in self.slots]
        after, kept = self.formula.emit(self.arithmetic, self.numbers, before, gradient, remembered)
        for slot, value in zip(self.slots, kept, strict=True):
            self.vector.store(value, slot, offset, mask)
        bits = self.builder.load(self.changed)
        first = 1 if self.formula.elsewhere else 0
        for old, new in list(zip((before, *remembered), (after, *kept), strict=True))[first:]:
            old, new = (self.builder.bitcast(value, self.vector.bits_type) for value in (old, new))
            different = self.builder.xor(old, new)
            if mask is not None:
                different = self.builder.select(mask, different, self.unchanged)
            bits = self.builder.or_(bits, different)
        self.builder.store(bits, self.changed)
        return after

    def report(self, moved_base, of_lanes):
        """Set ``moved`` of the runs of which bits have changed."""
        builder, vector = self.builder, self.vector
        flags = builder.icmp_unsigned("!=", builder.load(self.changed), self.unchanged)
        if of_lanes:
            wide = ir.VectorType(I64, vector.lanes)
            moved = builder.bitcast(moved_base, wide.as_pointer())
            builder.store(builder.or_(builder.zext(flags, wide), builder.load(moved, align=8)), moved, align=8)
        else:
            together = builder.bitcast(flags, ir.IntType(vector.lanes))
            any_of_them = builder.icmp_unsigned("!=", together, ir.Constant(together.type, 0))
            builder.store(builder.or_(builder.zext(any_of_them, I64), builder.load(moved_base)), moved_base)


@intrinsic
def take_rule_steps_at(
    typingctx, kind, rule, factors, gradient, memory, slot_bytes, numbers, number_bytes, moved, size
):
    """`steps.take_steps_at` by the formula of a rule, for ``size`` elements at addresses.

    ``moved``, the address of an int64 for each run, is set to 1 where a factor or what the rule remembers of it changed
    a bit, and left where none did.
    """
    n = types.intp
    signature = types.void(kind, rule, *[n] * 8)

    def codegen(context, builder, signature, arguments):
        _, _, factors, gradient, memory, slot_bytes, numbers, number_bytes, moved, size = arguments
        dtype, of_lanes = lanes_of(kind)
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        moves = Moves(builder, vector, of_lanes, rule, memory, slot_bytes, numbers, number_bytes)
        factor_base, gradient_base = vector.at(factors), vector.at(gradient)

        def body(offset, mask):
            before, slope = vector.load(factor_base, offset, mask), vector.load(gradient_base, offset, mask)
            vector.store(moves.one(before, slope, offset, mask), factor_base, offset, mask)

        size = builder.mul(size, constant(vector.lanes)) if of_lanes else size
        for_vectors(builder, vector, size, body, unroll=False)
        moves.report(builder.inttoptr(moved, I64.as_pointer()), of_lanes)
        return context.get_dummy_value()

    return signature, codegen
