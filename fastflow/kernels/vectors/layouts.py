"""Layouts: how the numbers of a run lie in memory, and how kernels name them.

There are three, which a kind tells apart. Offsets and strides count elements in all of them.

* one run: arrays (elements,); kind: a zero of the numbers' type;
* one run, each row of a matrix filled up to whole vectors, which then lie on whole cache lines; kind: a `Padded`. What
  is in the padding reaches no number of the run: it is in no chain of a product, and no end is judged by it;
* one run per lane: arrays (elements, lanes), lanes as many as a vector register holds; kind: an `OfLanes`.

Kernels that are called for every matrix take addresses instead of arrays: an array costs its reference count at each
assignment and nine words at each call, as much as a product of tiny matrices. An address keeps nothing alive: see
`keep`. A kind goes along with the addresses, and says how to read them.
"""

from __future__ import annotations

from typing import NamedTuple

from numba import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from fastflow.kernels.compile.counting import hands_on
from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.compile.protocol import chooses, implements, protocol
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.simd import I64, constant, data_pointer

VECTOR_BYTES = SHAPE.vector_bytes

CROWDED_BYTES = 512
"""Rows that are a multiple of this apart share few places of the first-level cache."""


class Padded(NamedTuple):
    """The kind of storage with rows of whole vectors; ``zero`` is of the numbers' type.

    ``team`` is the address of the board on which large products are shared with other threads (`vectors.team`), or 0.
    """

    zero: float
    team: int


class OfLanes(NamedTuple):
    """The kind of storage with one run per SIMD lane; ``zero`` is of the numbers' type."""

    zero: float


@protocol
def kind_of(array):
    """The kind of the layout of an array: what `product_at` and its like are told by."""


@chooses(kind_of, types.Array, inline=True)
def _kind_of(array):
    if array.ndim == 1:
        return lambda array: array.dtype.type(0)
    return lambda array: OfLanes(array.dtype.type(0))


@protocol
def number_of(kind):
    """A zero of the numbers' type of a kind."""


@implements(number_of, types.Float, inline=True)
def _number(kind):
    return kind


@implements(number_of, Padded, OfLanes, inline=True)
def _number_of_kind(kind):
    return kind.zero


@protocol
def pitch(kind, columns):
    """From one row of a matrix to the next, in elements."""


@implements(pitch, Padded, inline=True)
def _padded_pitch(kind, columns):
    return padded_width(columns, item_bytes(kind.zero))


@implements(pitch, types.Float, OfLanes, inline=True)
def _pitch(kind, columns):
    return columns


@jit_internal
def padded_width(columns, itemsize):
    """The elements of a row of `Padded` storage."""
    lanes = VECTOR_BYTES // itemsize
    width = (columns + lanes - 1) // lanes * lanes
    return width + lanes if (width * itemsize) % CROWDED_BYTES == 0 else width


@protocol
def element_bytes(kind):
    """Bytes of an element: of a number, or of a vector of lanes."""


@implements(element_bytes, types.Float, inline=True)
def _bytes_of_number(kind):
    return item_bytes(kind)


@implements(element_bytes, Padded, inline=True)
def _bytes_of_padded(kind):
    return item_bytes(kind.zero)


@implements(element_bytes, OfLanes, inline=True)
def _bytes_of_lanes(kind):
    return VECTOR_BYTES


@intrinsic
def address(typingctx, array, offset):
    """Where element ``offset`` of a contiguous array lies, in either layout, as an integer; 0 of one of any shape.

    It keeps nothing alive; see `keep`.
    """
    if not isinstance(array, types.Array) or array.layout != "C":
        return None
    lanes = SHAPE.vector_bytes // (array.dtype.bitwidth // 8) if array.ndim == 2 else 1

    def codegen(context, builder, signature, arguments):
        pointer = data_pointer(context, builder, signature.args[0], arguments[0])
        element = builder.gep(pointer, [builder.mul(arguments[1], constant(lanes))])
        return builder.ptrtoint(element, I64)

    return types.intp(array, types.intp), codegen


@hands_on
@intrinsic
def flattened(typingctx, array):
    """A contiguous array as one of (elements,): a view, which Numba's `ravel` would count a reference for."""
    if not isinstance(array, types.Array) or array.layout != "C":
        return None
    flat = array.copy(ndim=1)

    def codegen(context, builder, signature, arguments):
        given = context.make_array(array)(context, builder, arguments[0])
        made = context.make_array(flat)(context, builder)
        populate_array(
            made,
            data=given.data,
            shape=[given.nitems],
            strides=[given.itemsize],
            itemsize=given.itemsize,
            meminfo=given.meminfo,
            parent=given.parent,
        )
        return impl_ret_borrowed(context, builder, flat, made._getvalue())

    return flat(array), codegen


@intrinsic
def item_bytes(typingctx, zero):
    """Bytes of a number of the type of ``zero``, at compile time."""
    size = zero.bitwidth // 8
    return types.intp(zero), lambda context, builder, signature, arguments: context.get_constant(types.intp, size)


@intrinsic
def integer_at(typingctx, at):
    """The int64 at an address."""

    def codegen(context, builder, signature, arguments):
        return builder.load(builder.inttoptr(arguments[0], I64.as_pointer()))

    return types.int64(types.intp), codegen


@intrinsic
def set_integer(typingctx, at, value):
    """Store an int64 at an address."""

    def codegen(context, builder, signature, arguments):
        builder.store(arguments[1], builder.inttoptr(arguments[0], I64.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@intrinsic
def number_at(typingctx, zero, at):
    """The number, of the type of ``zero``, at an address."""

    def codegen(context, builder, signature, arguments):
        kind = context.get_value_type(zero).as_pointer()
        return builder.load(builder.inttoptr(arguments[1], kind))

    return zero(zero, types.intp), codegen


@intrinsic
def set_number(typingctx, zero, at, value):
    """Store a number of the type of ``zero`` at an address."""

    def codegen(context, builder, signature, arguments):
        kind = context.get_value_type(zero).as_pointer()
        builder.store(arguments[2], builder.inttoptr(arguments[1], kind))
        return context.get_dummy_value()

    return types.void(zero, types.intp, zero), codegen


@intrinsic
def keep(typingctx, value):
    """Nothing, but a use of an array or tuple of arrays: Numba must not free what lies at an `address` before this."""
    return types.void(value), lambda context, builder, signature, arguments: context.get_dummy_value()


def lanes_of(kind: types.Type) -> tuple[types.Float, bool]:
    """The number type of a kind's Numba type, and whether there is one run per lane."""
    return (kind, False) if isinstance(kind, types.Float) else (kind[0], not is_padded(kind))


def is_padded(kind: types.Type) -> bool:
    """Whether a kind's Numba type is that of `Padded`."""
    return not isinstance(kind, types.Float) and kind.instance_class is Padded
