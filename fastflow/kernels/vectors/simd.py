"""Emitting SIMD code: vectors of floats, masked loads and stores, and loops whose state stays in registers.

What `vectors.tiles` and `vectors.elementwise` build their intrinsics from.
"""

from __future__ import annotations

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


class Vector:
    """Emits operations on vectors of ``lanes`` floats of one type."""

    def __init__(self, context, builder, dtype: types.Float, lanes: int) -> None:
        self.builder, self.lanes, self.size = builder, lanes, dtype.bitwidth // 8
        self.scalar = context.get_value_type(dtype)
        self.type = ir.VectorType(self.scalar, lanes)
        self.mask_type = ir.VectorType(I1, lanes)
        self.bits_type = ir.VectorType(ir.IntType(dtype.bitwidth), lanes)
        self.zero = ir.Constant(self.type, None)
        self._suffix = f"v{lanes}f{dtype.bitwidth}"

    def _intrinsic(self, name: str, returns, arguments):
        function_type, full_name = (ir.FunctionType(returns, arguments), name.format(self._suffix))
        return cgutils.get_or_insert_function(self.builder.module, function_type, full_name)

    def _pointer(self, base, offset):
        return self.builder.bitcast(self.builder.gep(base, [offset]), self.type.as_pointer())

    def at(self, address):
        """The pointer of an address."""
        return self.builder.inttoptr(address, self.scalar.as_pointer())

    def splat(self, scalar):
        vector_type = ir.VectorType(scalar.type, self.lanes)
        undefined = ir.Constant(vector_type, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, undefined, zeros)

    def first(self, count):
        """The mask of the first ``count`` lanes."""
        index = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        return self.builder.icmp_signed("<", index, self.splat(count))

    def each(self, name: str, *vectors):
        """LLVM's intrinsic of that name, of each lane."""
        return self.builder.call(self._intrinsic(f"llvm.{name}.{{}}", self.type, [self.type] * len(vectors)), vectors)

    def fma(self, a, b, c):
        return self.each("fma", a, b, c)

    def load(self, base, offset, mask=None):
        pointer = self._pointer(base, offset)
        if mask is None:
            return self.builder.load(pointer, align=self.size)
        arguments = [pointer.type, I32, self.mask_type, self.type]
        load = self._intrinsic("llvm.masked.load.{}.p0", self.type, arguments)
        return self.builder.call(load, [pointer, ir.Constant(I32, self.size), mask, self.zero])

    def store(self, value, base, offset, mask=None):
        pointer = self._pointer(base, offset)
        if mask is None:
            self.builder.store(value, pointer, align=self.size)
            return
        arguments = [self.type, pointer.type, I32, self.mask_type]
        store = self._intrinsic("llvm.masked.store.{}.p0", ir.VoidType(), arguments)
        self.builder.call(store, [value, pointer, ir.Constant(I32, self.size), mask])

    def as_kind(self, kind, vector):
        """A vector of this kind as one of another: its first lanes, or all of them with zeros behind."""
        if kind.lanes == self.lanes:
            return vector
        lanes = ir.Constant(ir.VectorType(I32, kind.lanes), list(range(kind.lanes)))
        return self.builder.shuffle_vector(vector, self.zero, lanes)

    def store_each(self, values, base, offsets, masks=None):
        """Store vectors, each at its offset, by its mask."""
        for value, offset, mask in zip(values, offsets, masks or [None] * len(offsets), strict=True):
            self.store(value, base, offset, mask)

    def sum(self, vector):
        """The sum of the lanes: upper half plus lower half, down to one."""
        lanes = self.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (
                self.builder.shuffle_vector(
                    vector, vector, ir.Constant(ir.VectorType(I32, lanes), list(range(start, start + lanes)))
                )
                for start in (0, lanes)
            )
            vector = self.builder.fadd(low, high)
        return self.builder.extract_element(vector, ir.Constant(I32, 0))

    def sums(self, vectors):
        """The `sum` of each of 1, 2, 4, ... vectors, at most as many as there are lanes, as one vector of as many.

        The halves of two vectors are added at once, so that all sums cost little more than one.
        """
        parts, segments, width = list(vectors), 1, self.lanes
        while width > 1:
            # A part holds the partial sums of so many vectors, ``width`` of each.
            sources, half, added = min(2, len(parts)), width // 2, []
            starts = [k * width for k in range(sources * segments)]
            kind = ir.VectorType(I32, half * len(starts))
            low, high = (ir.Constant(kind, [i + j for i in starts for j in range(k, k + half)]) for k in (0, half))
            for pair in zip(parts[::sources], parts[sources - 1 :: sources], strict=True):
                added.append(self.builder.fadd(*(self.builder.shuffle_vector(*pair, lanes) for lanes in (low, high))))
            parts, segments, width = added, segments * sources, half
        return parts[0]


def data_pointer(context, builder, array_type, value):
    """The data pointer of a contiguous array."""
    return context.make_array(array_type)(context, builder, value).data


def are_contiguous(ndim: int | None, *arrays) -> bool:
    """Whether all are C-contiguous float arrays of one dtype, of ``ndim`` dimensions (None: of any number)."""
    return all(
        isinstance(a, types.Array)
        and ndim in (None, a.ndim)
        and a.layout == "C"
        and isinstance(a.dtype, types.Float)
        and a.dtype == arrays[0].dtype
        for a in arrays
    )


def constant(value: int):
    """A 64-bit integer constant."""
    return ir.Constant(I64, value)


def opaque(builder, value):
    """An integer of which the compiler does not know where it comes from."""
    kind = ir.FunctionType(value.type, [value.type])
    return builder.asm(kind, "", "=r,0", [value], False)


def no_loads_before(builder):
    """What is loaded after this is not loaded before: it would take the registers of sums that go on."""
    builder.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)


def _no_unrolling(module):
    """Loop metadata (a node that names itself first) that keeps each tile at the size that it was written in."""
    disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    node = ir.MDValue(module, [disable], name=str(len(module.metadata)))
    node.operands = (node, disable)
    return node


def counted_loop(builder, count, initial, body, unroll=False):
    """``state = initial; for k in range(count): state = body(k, state)``, the state in SSA registers; count >= 1."""
    before = builder.block
    loop, after = (builder.append_basic_block("loop"), builder.append_basic_block("after"))
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(I64)
    state = [builder.phi(value.type) for value in initial]
    following = body(k, state)
    next_k = builder.add(k, ir.Constant(I64, 1))
    k.add_incoming(ir.Constant(I64, 0), before)
    k.add_incoming(next_k, builder.block)
    for phi, first, last in zip(state, initial, following, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(last, builder.block)
    branch = builder.cbranch(builder.icmp_signed("<", next_k, count), loop, after)
    if not unroll:
        branch.set_metadata("llvm.loop", _no_unrolling(builder.module))
    builder.position_at_end(after)
    return following


def for_each(builder, count, body):
    """``for k in range(count): body(k)``, where there may be none."""
    with builder.if_then(builder.icmp_signed(">", count, constant(0))):

        def emit(k, state):
            body(k)
            return state

        counted_loop(builder, count, [], emit)


def chosen(builder, condition, if_true, if_false):
    """The values of ``if_true()`` or of ``if_false()``, of which only one is executed."""
    values, blocks = [], []
    with builder.if_else(condition) as branches:
        for branch, emit in zip(branches, (if_true, if_false), strict=True):
            with branch:
                values.append(emit())
                blocks.append(builder.block)
    result = []
    for pair in zip(*values, strict=True):
        phi = builder.phi(pair[0].type)
        for value, block in zip(pair, blocks, strict=True):
            phi.add_incoming(value, block)
        result.append(phi)
    return result


def switch(builder, key, cases):
    """``emit()`` of the case whose number ``key`` has; cases is a dict of number -> emit."""
    done = builder.append_basic_block("done")
    switch = builder.switch(key, done)
    for number, emit in cases.items():
        block = builder.append_basic_block(f"case{number}")
        switch.add_case(constant(number), block)
        builder.position_at_end(block)
        emit()
        builder.branch(done)
    builder.position_at_end(done)


def for_vectors_back(builder, vector, size, body):
    """`for_vectors` from the last to the first."""
    whole = builder.sdiv(size, constant(vector.lanes))
    end = builder.mul(whole, constant(vector.lanes))
    rest = builder.sub(size, end)
    with builder.if_then(builder.icmp_signed(">", rest, constant(0))):
        body(end, vector.first(rest))
    with builder.if_then(builder.icmp_signed(">", whole, constant(0))):

        def emit(k, state):
            offset = builder.sub(state[0], constant(vector.lanes))
            body(offset, None)
            return [offset]

        counted_loop(builder, whole, [end], emit)


def for_vectors(builder, vector, size, body, unroll=True):
    """``body(offset, mask)`` over ``size`` numbers: whole vectors with mask None, then the rest masked."""
    whole = builder.sdiv(size, constant(vector.lanes))
    with builder.if_then(builder.icmp_signed(">", whole, constant(0))):

        def emit(k, state):
            body(builder.mul(k, constant(vector.lanes)), None)
            return state

        counted_loop(builder, whole, [], emit, unroll)
    offset = builder.mul(whole, constant(vector.lanes))
    rest = builder.sub(size, offset)
    with builder.if_then(builder.icmp_signed(">", rest, constant(0))):
        body(offset, vector.first(rest))
