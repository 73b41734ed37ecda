"""Hadamard products ``x = u_1 o ... o u_L`` (less ``v_1 o ... o v_L``), their gradients, and one step of descent.

The factors of one run are one flat array: u_1, ..., u_L and, if signed, v_1, ..., v_L, each (n,); or u and v alone,
when the factors are identical and run as one. With the gradient ``g`` by x, the gradient by ``u_j`` is g times the
product of the other u's, and by ``v_j`` minus g times that of the other v's. A `Form` says which of these a network is.
"""

from __future__ import annotations

from typing import NamedTuple

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.rules.elementwise import Moves
from fastflow.kernels.vectors.elementwise import PARTIAL_BYTES
from fastflow.kernels.vectors.layouts import lanes_of
from fastflow.kernels.vectors.simd import I64, Vector, constant, for_each, for_vectors, switch

DEEPEST = 8
"""The greatest depth L: `hadamard_step` has straight-line code for each."""


class Form(NamedTuple):
    """``depth`` L in 1 .. `DEEPEST`; ``signed``: whether there is a v; ``identical``: whether one u stands for L."""

    depth: int
    signed: bool
    identical: bool


@jit_inline
def hadamard_product(factors, x, form):
    """``x``, (n,), from the factors of one run, (parameters,)."""
    n = x.size
    apart = 0 if form.identical else n  # from one factor of a side to the next
    other = n if form.identical else form.depth * n
    if form.depth == 2 and form.signed:  # the usual form, by whole vectors
        for i in range(n):
            x[i] = factors[i] * factors[i + apart] - factors[i + other] * factors[i + other + apart]
        return
    for i in range(n):
        x[i] = _side(factors, i, apart, form)
        if form.signed:
            x[i] -= _side(factors, i + other, apart, form)


@jit_inline
def _side(factors, at, apart, form):
    """One product of L factors at one coordinate, from the first to the last."""
    product = factors[at]
    for j in range(1, form.depth):
        product *= factors[at + j * apart]
    return product


@jit_inline
def hadamard_gradient(factors, g, gradient, form):
    """The gradient by every factor, (parameters,), given the gradient ``g`` by x, (n,)."""
    n, count = g.size, 1 if form.identical else form.depth
    for side in range(2 if form.signed else 1):
        first = side * count * n
        for j in range(count):
            at = first + j * n
            for i in range(n):
                gradient[at + i] = g[i] if side == 0 else -g[i]
            for k in range(1, form.depth):
                other = j + k if j + k < count else j + k - count
                place = first if form.identical else first + other * n
                for i in range(n):
                    gradient[at + i] *= factors[place + i]


@intrinsic
def hadamard_squares(typingctx, kind, factors, g, n, size, sides, form, result):
    """The sum of squares of `hadamard_gradient` of one run per lane, in the order of `dot`, its bits.

    At addresses: factors (sides * factors of a side, size, lanes) and g (size, lanes), the n coordinates in the order
    of `shared_matrix.panel_order` and zeros where there is none; ``result`` (lanes,).
    """
    address = types.intp
    signature = types.void(kind, *[address] * 5, form, address)

    def codegen(context, builder, signature, arguments):
        _, factors, g, n, size, sides, form_value, result = arguments
        dtype, _ = lanes_of(kind)
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        base, g_base = vector.at(factors), vector.at(g)
        depth, _, identical = form_fields(builder, form_value)
        alone = builder.icmp_signed("!=", identical, constant(0))
        count = builder.select(alone, constant(1), depth)
        parts = PARTIAL_BYTES // vector.size
        chunk, lanes = builder.sdiv(size, constant(parts)), constant(vector.lanes)
        slope, total = (cgutils.alloca_once(builder, vector.type) for _ in range(2))
        totals = []
        for part in range(parts):
            builder.store(vector.zero, total)

            def add(factor, part=part):
                """Add what a factor has of this partial sum: every ``parts``-th coordinate, which lie together."""
                side = builder.sdiv(factor, count)
                first, own = builder.mul(side, count), builder.srem(factor, count)
                residue = builder.and_(builder.sub(constant(part), builder.mul(factor, n)), constant(parts - 1))
                start = builder.mul(_reversed_bits(builder, residue, parts), chunk)

                def add_one(i):
                    place = builder.mul(builder.add(start, i), lanes)
                    builder.store(vector.load(g_base, place), slope)

                    def multiply(k):
                        other = builder.add(builder.add(own, k), constant(1))
                        behind = builder.icmp_signed(">=", other, count)
                        other = builder.select(behind, builder.sub(other, count), other)
                        other = builder.select(alone, constant(0), other)
                        at = builder.mul(builder.add(first, other), builder.mul(size, lanes))
                        value = vector.load(base, builder.add(at, place))
                        builder.store(builder.fmul(builder.load(slope), value), slope)

                    for_each(builder, builder.sub(depth, constant(1)), multiply)
                    value = builder.load(slope)
                    builder.store(vector.fma(value, value, builder.load(total)), total)

                for_each(builder, chunk, add_one)

            for_each(builder, builder.mul(sides, count), add)
            totals.append(builder.load(total))
        while len(totals) > 1:
            half = len(totals) // 2
            totals = [builder.fadd(low, high) for low, high in zip(totals[:half], totals[half:], strict=True)]
        vector.store(totals[0], vector.at(result), constant(0))
        return context.get_dummy_value()

    return signature, codegen


def _reversed_bits(builder, number, parts):
    """A number below ``parts``, a power of 2, with its bits in reverse."""
    bits, result = parts.bit_length() - 1, constant(0)
    for bit in range(bits):
        one = builder.and_(builder.lshr(number, constant(bit)), constant(1))
        result = builder.or_(result, builder.shl(one, constant(bits - 1 - bit)))
    return result


def _emit_step(builder, vector, base, stride, size, up, form, slope_at, hand_on, changed=None):
    """Emit the step of every factor along ``slope_at(offset, mask)``, by the straight-line code of each form.

    ``up`` is the step as a vector; x afterwards goes to ``hand_on(x, offset, mask)``; the bits that change are gathered
    in ``changed``, if that is wanted.
    """
    down = builder.fneg(up)
    depth, signed, identical = form_fields(builder, form)

    def emit(depth, signed, identical):
        count = 1 if identical else depth

        def side(offset, mask, first, steps, slope):
            """Move one side's factors; their product afterwards."""
            places = [
                builder.add(offset, builder.mul(stride, constant(first + j))) if first + j else offset
                for j in range(count)
            ]
            before = [vector.load(base, place, mask) for place in places]
            after = []
            for factor, others in zip(before, _products_of_others(builder, before, depth), strict=True):
                gradient = slope if others is None else builder.fmul(slope, others)
                after.append(vector.fma(steps, gradient, factor))
            for place, old, new in zip(places, before, after, strict=True):
                vector.store(new, base, place, mask)
                if changed is not None:
                    bits = builder.xor(*(builder.bitcast(value, vector.bits_type) for value in (new, old)))
                    builder.store(builder.or_(builder.load(changed), bits), changed)
            product = after[0]
            for j in range(1, depth):
                product = builder.fmul(product, after[j % count])
            return product

        def body(offset, mask):
            slope = slope_at(offset, mask)
            product = side(offset, mask, 0, down, slope)
            if signed:
                product = builder.fsub(product, side(offset, mask, count, up, slope))
            hand_on(product, offset, mask)

        for_vectors(builder, vector, size, body, unroll=False)

    forms = [(d, s, i) for d in range(1, DEEPEST + 1) for s in (0, 1) for i in (0, 1)]
    key = builder.add(builder.mul(depth, constant(4)), builder.add(builder.mul(signed, constant(2)), identical))
    switch(builder, key, {4 * d + 2 * s + i: (lambda d=d, s=s, i=i: emit(d, s, i)) for d, s, i in forms})


@intrinsic
def hadamard_step(typingctx, kind, factors, x, g, step, moved, size, stride, form):
    """One step of every factor, and x after it: ``w <- fma(-step, g o (product of the others), w)``.

    At addresses, in either layout: factors, each of which begins ``stride`` elements after the one before, x and g
    (size,), the step; lanes have one each. One pass over memory. ``moved``, the address of an int64 each, is set to 1
    where an entry of a factor changed its value, and left where none did.
    """
    n = types.intp
    signature = types.void(kind, n, n, n, n, n, n, n, form)

    def codegen(context, builder, signature, arguments):
        stride, form_value = arguments[7:]
        dtype, of_lanes = lanes_of(kind)
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        base, x_base, g_base, step_base = (vector.at(value) for value in arguments[1:5])
        moved_base, size = builder.inttoptr(arguments[5], I64.as_pointer()), arguments[6]
        if of_lanes:
            size, stride = (builder.mul(number, constant(vector.lanes)) for number in (size, stride))
            up = vector.load(step_base, constant(0))
        else:
            up = vector.splat(builder.load(step_base))
        unchanged = ir.Constant(vector.bits_type, None)
        changed = cgutils.alloca_once_value(builder, unchanged)
        builder.store(unchanged, changed)

        def slope_at(offset, mask):
            return vector.load(g_base, offset, mask)

        def hand_on(product, offset, mask):
            vector.store(product, x_base, offset, mask)

        _emit_step(builder, vector, base, stride, size, up, form_value, slope_at, hand_on, changed)
        wide = ir.VectorType(I64, vector.lanes)
        flags = builder.zext(builder.icmp_unsigned("!=", builder.load(changed), unchanged), wide)
        if of_lanes:
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
def hadamard_step_along(typingctx, zero, factors, x, g, share, step, row, size, form):
    """`hadamard_step` of one run along ``share`` times g, which need not be in memory; ``<row, x>`` after it.

    At addresses of numbers of the type of ``zero``, as ``share``, ``step`` and the inner product are, which is summed
    in the order of `dot`. Factors, x, g and the row have ``size`` numbers each, with zeros behind, of whole vectors of
    `PARTIAL_BYTES`. x is written unless its address is 0. Nothing is said of what moved.
    """
    n = types.intp
    signature = zero(zero, n, n, n, zero, zero, n, n, form)

    def codegen(context, builder, signature, arguments):
        _, factors, x, g, share, step, row, size, form_value = arguments
        vector = Vector(context, builder, zero, PARTIAL_BYTES // (zero.bitwidth // 8))
        base, x_base, g_base, row_base = (vector.at(value) for value in (factors, x, g, row))
        shares, up = vector.splat(share), vector.splat(step)
        total, wanted = cgutils.alloca_once_value(builder, vector.zero), builder.icmp_signed("!=", x, constant(0))
        builder.store(vector.zero, total)

        def slope_at(offset, mask):
            return builder.fmul(shares, vector.load(g_base, offset, mask))

        def hand_on(product, offset, mask):
            with builder.if_then(wanted):
                vector.store(product, x_base, offset, mask)
            its = vector.load(row_base, offset, mask)
            builder.store(vector.fma(its, product, builder.load(total)), total)

        _emit_step(builder, vector, base, size, size, up, form_value, slope_at, hand_on)
        return vector.sum(builder.load(total))

    return signature, codegen


@intrinsic
def hadamard_rule_step(
    typingctx, kind, rule, factors, x, g, memory, slot_bytes, numbers, number_bytes, moved, size, stride, form
):
    """`hadamard_step` by the formula of a rule, whose memory lies as the factors do.

    The gradients are those of `hadamard_step`, bit for bit. ``memory``, ``numbers`` and what tells their places are
    those of `rules.elementwise`. ``moved`` is set to 1 where a factor or what the rule remembers changed a bit.
    """
    n = types.intp
    signature = types.void(kind, rule, *[n] * 10, form)

    def codegen(context, builder, signature, arguments):
        _, _, factors, x, g, memory, slot_bytes, numbers, number_bytes, moved, size, stride, form_value = arguments
        dtype, of_lanes = lanes_of(kind)
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        base, x_base, g_base = (vector.at(value) for value in (factors, x, g))
        if of_lanes:
            size, stride = (builder.mul(number, constant(vector.lanes)) for number in (size, stride))
        moves = Moves(builder, vector, of_lanes, rule, memory, slot_bytes, numbers, number_bytes)
        depth, signed, identical = form_fields(builder, form_value)
        alone = builder.icmp_signed("!=", identical, constant(0))
        count = builder.select(alone, constant(1), depth)
        one = ir.Constant(vector.type, [1.0] * vector.lanes)
        behind = cgutils.alloca_once(builder, vector.type, size=DEEPEST)
        product, before, after, total = (cgutils.alloca_once(builder, vector.type) for _ in range(4))

        def multiply(place, factor):
            builder.store(builder.fmul(builder.load(place), factor), place)

        # Straight-line code for u o u - v o v alone: by form, as in `hadamard_step`, a rule would be compiled dozens of
        # times.
        def body(offset, mask):
            slope = vector.load(g_base, offset, mask)

            def move_side(side):
                first = builder.mul(side, count)
                place = lambda j: builder.add(offset, builder.mul(stride, builder.add(j, first)))  # noqa: E731
                down = builder.select(builder.icmp_signed("==", side, constant(0)), slope, builder.fneg(slope))
                builder.store(one, product)
                with builder.if_else(alone) as (one_for_all, each):
                    with one_for_all:
                        factor = vector.load(base, place(constant(0)), mask)
                        for_each(builder, builder.sub(depth, constant(1)), lambda j: multiply(product, factor))
                        builder.store(builder.load(product), behind)
                    with each:

                        def back(k):
                            j = builder.sub(builder.sub(count, k), constant(1))
                            builder.store(builder.load(product), builder.gep(behind, [j]))
                            multiply(product, vector.load(base, place(j), mask))

                        for_each(builder, count, back)
                builder.store(one, before)
                builder.store(one, product)

                def move(j):
                    factor = vector.load(base, place(j), mask)
                    others = builder.fmul(builder.load(before), builder.load(builder.gep(behind, [j])))
                    multiply(before, factor)
                    new = moves.one(factor, builder.fmul(down, others), place(j), mask)
                    vector.store(new, base, place(j), mask)
                    builder.store(new, after)
                    multiply(product, new)

                for_each(builder, count, move)
                for_each(builder, builder.sub(depth, count), lambda j: multiply(product, builder.load(after)))
                is_first = builder.icmp_signed("==", side, constant(0))
                whole = builder.load(product)
                builder.store(builder.select(is_first, whole, builder.fsub(builder.load(total), whole)), total)

            builder.store(vector.zero, total)
            for_each(builder, builder.add(signed, constant(1)), move_side)
            vector.store(builder.load(total), x_base, offset, mask)

        def body_of_squares(offset, mask):
            slope = vector.load(g_base, offset, mask)

            def square_after(place, gradient):
                factor = vector.load(base, place, mask)
                new = moves.one(factor, builder.fmul(gradient, factor), place, mask)
                vector.store(new, base, place, mask)
                return builder.fmul(new, new)

            builder.store(square_after(offset, slope), total)
            with builder.if_then(builder.icmp_signed("!=", signed, constant(0))):
                negative = square_after(builder.add(offset, stride), builder.fneg(slope))
                builder.store(builder.fsub(builder.load(total), negative), total)
            vector.store(builder.load(total), x_base, offset, mask)

        squares = builder.and_(alone, builder.icmp_signed("==", depth, constant(2)))
        with builder.if_else(squares) as (most_common, other):
            with most_common:
                for_vectors(builder, vector, size, body_of_squares, unroll=False)
            with other:
                for_vectors(builder, vector, size, body, unroll=False)
        moves.report(builder.inttoptr(moved, I64.as_pointer()), of_lanes)
        return context.get_dummy_value()

    return signature, codegen


def form_fields(builder, form):
    """Depth, signed and identical of the `Form` that a value is, as 64-bit integers."""
    fields = (builder.extract_value(form, i) for i in range(3))
    return [builder.zext(field, I64) if field.type != I64 else field for field in fields]


def _products_of_others(builder, factors, depth):
    """For each factor the product of the others, None where there are none; ``u^{L-1}`` if one stands for all."""
    if depth == 1:
        return [None]
    if len(factors) == 1:
        power = factors[0]
        for _ in range(depth - 2):
            power = builder.fmul(power, factors[0])
        return [power]
    prefixes, suffixes = [None], [None]
    for factor in factors[:-1]:
        prefixes.append(factor if prefixes[-1] is None else builder.fmul(prefixes[-1], factor))
    for factor in reversed(factors[1:]):
        suffixes.append(factor if suffixes[-1] is None else builder.fmul(factor, suffixes[-1]))
    others = []
    for prefix, suffix in zip(prefixes, reversed(suffixes), strict=True):
        others.append(suffix if prefix is None else prefix if suffix is None else builder.fmul(prefix, suffix))
    return others
