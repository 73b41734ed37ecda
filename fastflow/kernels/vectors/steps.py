"""Steps of gradient descent, ``W = W - step * G``: emitted where the gradient still is in registers, or is in memory.

A step also says whether it changed a bit of the factors: a run whose step changes none has stalled.
"""

from __future__ import annotations

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.layouts import lanes_of
from fastflow.kernels.vectors.simd import I64, Vector, constant, for_vectors


class Steps:
    """Emits steps of factors at an address; ``steps`` and ``moved`` are the addresses of `take_steps_at`."""

    def __init__(self, builder, vector, factor, steps, moved, of_lanes):
        self.builder, self.vector, self.of_lanes = builder, vector, of_lanes
        self.base, self.step_base = vector.at(factor), vector.at(steps)
        self.moved_base = builder.inttoptr(moved, I64.as_pointer())
        self.wanted = builder.icmp_unsigned("!=", factor, constant(0))
        self.unchanged = ir.Constant(vector.bits_type, None)
        self.changed = cgutils.alloca_once_value(builder, self.unchanged)

    def negative_step(self):
        if self.of_lanes:
            step = self.vector.load(self.step_base, constant(0))
        else:
            step = self.vector.splat(self.builder.load(self.step_base))
        return self.builder.fneg(step)

    def one(self, step, gradient, offset, mask=None, base=None):
        """The step of one vector of factors, of those at ``base`` if it is given; returns the bits that it changed."""
        base = self.base if base is None else base
        before = self.vector.load(base, offset, mask)
        after = self.vector.fma(step, gradient, before)
        self.vector.store(after, base, offset, mask)
        return self.builder.xor(*(self.builder.bitcast(value, self.vector.bits_type) for value in (before, after)))

    def take(self, gradients, offsets, counted, base=None):
        """The steps of vectors at these offsets, of which the lanes of the masks ``counted`` (None: all) can move.

        One of several alternatives; `report` comes after all of them.
        """
        step, changed, changed_of_masked, mask = self.negative_step(), self.unchanged, self.unchanged, None
        for gradient, offset, its_mask in zip(gradients, offsets, counted, strict=True):
            bits = self.one(step, gradient, offset, base=base)
            if its_mask is None:
                changed = self.builder.or_(changed, bits)
            else:
                changed_of_masked, mask = self.builder.or_(changed_of_masked, bits), its_mask
        if mask is not None:
            changed = self.builder.or_(changed, self.builder.select(mask, changed_of_masked, self.unchanged))
        self.builder.store(self.builder.or_(changed, self.builder.load(self.changed)), self.changed)

    def take_or_store(self, gradients, base, offsets):
        """The steps of whole vectors where they are ``wanted``; else these are stored from ``base`` on."""
        with self.builder.if_else(self.wanted) as (step, keep):
            with step:
                self.take(gradients, offsets, [None] * len(offsets))
            with keep:
                self.vector.store_each(gradients, base, offsets)

    def report(self):
        """Set ``moved`` of the runs of which bits have changed, if there was a step."""
        with self.builder.if_then(self.wanted):
            self._report(self.builder.load(self.changed))

    def _report(self, changed):
        builder, vector = self.builder, self.vector
        flags = builder.icmp_unsigned("!=", changed, self.unchanged)
        if self.of_lanes:
            wide = ir.VectorType(I64, vector.lanes)
            moved = builder.bitcast(self.moved_base, wide.as_pointer())
            builder.store(builder.or_(builder.zext(flags, wide), builder.load(moved, align=8)), moved, align=8)
        else:
            together = builder.bitcast(flags, ir.IntType(vector.lanes))
            any_of_them = builder.icmp_unsigned("!=", together, ir.Constant(together.type, 0))
            builder.store(builder.or_(builder.zext(any_of_them, I64), builder.load(self.moved_base)), self.moved_base)


@intrinsic
def take_steps_at(typingctx, kind, factors, gradient, steps, moved, size):
    """``w[i] = fma(-step, g[i], w[i])`` for ``i < size`` elements at addresses, and whether a bit changed.

    One run takes the step at ``steps``; lanes take one each. ``moved``, the address of an int64 each, is set to 1 where
    an element changed a bit, and left where none did.
    """
    n = types.intp
    signature = types.void(kind, n, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        dtype, of_lanes = lanes_of(kind)
        vector = Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        taking = Steps(builder, vector, arguments[1], *arguments[3:5], of_lanes=of_lanes)
        gradient_base, step = vector.at(arguments[2]), taking.negative_step()
        changed = taking.changed

        def body(offset, mask):
            bits = taking.one(step, vector.load(gradient_base, offset, mask), offset, mask)
            builder.store(builder.or_(builder.load(changed), bits), changed)

        size = builder.mul(arguments[5], constant(vector.lanes)) if of_lanes else arguments[5]
        for_vectors(builder, vector, size, body, unroll=False)
        taking.report()
        return context.get_dummy_value()

    return signature, codegen
