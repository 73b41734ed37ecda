"""The SIMD intrinsics: a register tile for small dense products, and a dot product with a fixed order of summation.

Two rules keep the bits the same on every vector width, so that compiled variants can be checked against each other:

* an element of a product is one chain ``acc = fma(a_ik, b_kj, acc)`` in the order of k, from +0;
* a dot product runs over ``PARTIAL_BYTES`` worth of partial sums (8 for float64, 16 for float32), each an FMA chain,
  which are then added in a fixed tree.
"""

from __future__ import annotations

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.target import SHAPE

PARTIAL_BYTES = 64
"""Bytes of partial sums in `dot`: part of the result's definition, so never the width of the machine's vectors."""

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


class _Vector:
    """Emits operations on vectors of ``lanes`` floats of one type."""

    def __init__(self, context, builder, dtype: types.Float, lanes: int) -> None:
        self.builder, self.lanes, self.size = builder, lanes, dtype.bitwidth // 8
        self.scalar = context.get_value_type(dtype)
        self.type = ir.VectorType(self.scalar, lanes)
        self.mask_type = ir.VectorType(I1, lanes)
        self.zero = ir.Constant(self.type, None)
        self._suffix = f"v{lanes}f{dtype.bitwidth}"

    def _intrinsic(self, name: str, returns, arguments):
        function_type, full_name = ir.FunctionType(returns, arguments), name.format(self._suffix)
        return cgutils.get_or_insert_function(self.builder.module, function_type, full_name)

    def _pointer(self, base, offset):
        return self.builder.bitcast(self.builder.gep(base, [offset]), self.type.as_pointer())

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

    def fma(self, a, b, c):
        return self.builder.call(self._intrinsic("llvm.fma.{}", self.type, [self.type] * 3), [a, b, c])

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


def _flat(context, builder, array_type, value):
    """The data pointer of a one-dimensional contiguous array."""
    return context.make_array(array_type)(context, builder, value).data


def _are_flat_floats(*arrays) -> bool:
    return all(
        isinstance(a, types.Array)
        and a.ndim == 1
        and a.layout == "C"
        and isinstance(a.dtype, types.Float)
        and a.dtype == arrays[0].dtype
        for a in arrays
    )


def _no_unrolling(module):
    """Loop metadata (a node that names itself first) that keeps each tile at the size that it was written in."""
    disable = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    node = ir.MDValue(module, [disable], name=str(len(module.metadata)))
    node.operands = (node, disable)
    return node


def _counted_loop(builder, count, initial, body):
    """``state = initial; for k in range(count): state = body(k, state)`` with the state in SSA registers; count >= 1."""
    before = builder.block
    loop, after = builder.append_basic_block("loop"), builder.append_basic_block("after")
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
    branch.set_metadata("llvm.loop", _no_unrolling(builder.module))
    builder.position_at_end(after)
    return following


@intrinsic
def vector_lanes(typingctx, array):
    """How many elements of ``array`` one vector register of the target holds (a compile-time constant)."""
    lanes = SHAPE.vector_bytes // (array.dtype.bitwidth // 8)

    def codegen(context, builder, signature, arguments):
        return context.get_constant(types.intp, lanes)

    return types.intp(array), codegen


@intrinsic
def tile(typingctx, rows, vectors, c, c0, ldc, a, a0, a_row, a_col, b, b0, ldb, depth, tail):
    """One register tile of ``C = A B``, accumulators in registers over the whole of k.

    ``C[i, j] = sum_k A[i, k] B[k, j]`` for ``i < rows``, ``j < (vectors - 1) * lanes + tail``, where ``C[i, j]`` is
    ``c[c0 + i*ldc + j]``, ``A[i, k]`` is ``a[a0 + i*a_row + k*a_col]`` and ``B[k, j]`` is ``b[b0 + k*ldb + j]``.
    ``A`` is read as broadcast scalars through two strides, so ``A`` and ``A^T`` cost the same; the last vector is
    masked to ``tail`` lanes (1 to lanes), so any width works without padding. ``rows`` and ``vectors`` run up to the
    target's `SimdShape`; each pair is its own straight-line loop. Arrays are flat; ``depth`` >= 1.
    """
    if not _are_flat_floats(c, a, b):
        return None
    dtype = c.dtype
    n = types.intp
    signature = types.void(n, n, c, n, n, a, n, n, n, b, n, n, n, n)

    def codegen(context, builder, signature, arguments):
        rows, vectors, c, c0, ldc, a, a0, a_row, a_col, b, b0, ldb, depth, tail = arguments
        vector = _Vector(context, builder, dtype, SHAPE.vector_bytes // (dtype.bitwidth // 8))
        c_base = builder.gep(_flat(context, builder, signature.args[2], c), [c0])
        a_base = builder.gep(_flat(context, builder, signature.args[5], a), [a0])
        b_base = builder.gep(_flat(context, builder, signature.args[9], b), [b0])
        mask = vector.first(tail)

        def constant(value):
            return ir.Constant(I64, value)

        def emit(row_count, vector_count):
            def masked(v):
                return mask if v == vector_count - 1 else None

            def body(k, accumulators):
                b_row = builder.mul(k, ldb)
                b_vectors = [
                    vector.load(b_base, builder.add(b_row, constant(v * vector.lanes)), masked(v))
                    for v in range(vector_count)
                ]
                a_offset, following = builder.mul(k, a_col), []
                for i in range(row_count):
                    scalar = builder.load(
                        builder.gep(a_base, [builder.add(a_offset, builder.mul(constant(i), a_row))])
                    )
                    broadcast = vector.splat(scalar)
                    for v in range(vector_count):
                        accumulator = accumulators[i * vector_count + v]
                        following.append(vector.fma(broadcast, b_vectors[v], accumulator))
                return following

            sums = _counted_loop(builder, depth, [vector.zero] * (row_count * vector_count), body)
            for i in range(row_count):
                c_row = builder.mul(constant(i), ldc)
                for v in range(vector_count):
                    offset = builder.add(c_row, constant(v * vector.lanes))
                    vector.store(sums[i * vector_count + v], c_base, offset, masked(v))

        done = builder.append_basic_block("tile_done")
        key = builder.add(builder.mul(vectors, constant(SHAPE.tile_rows + 1)), rows)
        switch = builder.switch(key, done)
        for vector_count in range(1, SHAPE.tile_vectors + 1):
            for row_count in range(1, SHAPE.tile_rows + 1):
                case = builder.append_basic_block(f"tile_{row_count}x{vector_count}")
                switch.add_case(constant(vector_count * (SHAPE.tile_rows + 1) + row_count), case)
                builder.position_at_end(case)
                emit(row_count, vector_count)
                builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def dot(typingctx, x, x0, y, y0, size):
    """``sum_i x[x0 + i] y[y0 + i]`` over ``size`` elements, in the fixed order of this module; flat arrays."""
    if not _are_flat_floats(x, y):
        return None
    dtype = x.dtype
    n = types.intp
    signature = dtype(x, n, y, n, n)

    def codegen(context, builder, signature, arguments):
        x, x0, y, y0, size = arguments
        vector = _Vector(context, builder, dtype, PARTIAL_BYTES // (dtype.bitwidth // 8))
        x_base = builder.gep(_flat(context, builder, signature.args[0], x), [x0])
        y_base = builder.gep(_flat(context, builder, signature.args[2], y), [y0])
        lanes = ir.Constant(I64, vector.lanes)
        whole = builder.sdiv(size, lanes)
        partial = cgutils.alloca_once_value(builder, vector.zero)
        with builder.if_then(builder.icmp_signed(">", whole, ir.Constant(I64, 0))):

            def body(k, state):
                offset = builder.mul(k, lanes)
                return [vector.fma(vector.load(x_base, offset), vector.load(y_base, offset), state[0])]

            builder.store(_counted_loop(builder, whole, [vector.zero], body)[0], partial)
        offset = builder.mul(whole, lanes)
        mask = vector.first(builder.sub(size, offset))
        rest = vector.fma(
            vector.load(x_base, offset, mask), vector.load(y_base, offset, mask), builder.load(partial)
        )
        return vector.sum(rest)

    return signature, codegen
