"""Kernels that count no references to arrays: whoever calls one holds its arrays until it returns.

Numba counts a reference to an array for each variable that has it, and for each field of a NamedTuple: an atomic
addition, and another one at the end, as long as a product of tiny matrices. A function that makes no array of its own
and returns none has no use for that: what it has are arrays of its caller, and parts of them. It does without
(measured: the gradient of a chain of 4 x 4 matrices in a third of the time, the limit of a flow in five sixths).

What Numba compiles apart for a function, such as `ravel` of an array, goes on counting, and hands its arrays over with
a count that the function would never take back. So whatever is not known to hand on makes arrays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from numba import types
from numba.core import ir

if TYPE_CHECKING:
    from numba.core.compiler import StateDict

Intrinsic = TypeVar("Intrinsic")

TAKEN_FROM = ("getattr", "getitem", "static_getitem", "exhaust_iter", "getiter")
"""Expressions that take a part of an array or of a tuple."""

PASSED_ON = ("build_tuple", "cast", "phi", "iternext", "pair_first")
"""Expressions whose arrays are those of the variables that they are made of."""

HARMLESS = (ir.Del, ir.Jump, ir.Branch, ir.Return, ir.StaticRaise)
"""Statements that make nothing."""

_intrinsics: set[object] = set()


def hands_on(intrinsic: Intrinsic) -> Intrinsic:
    """Decorate an intrinsic whose arrays are those, or parts of those, that it is given."""
    _intrinsics.add(intrinsic)
    return intrinsic


@contextlib.contextmanager
def counting_where_needed(state: StateDict) -> Iterator[None]:
    """For the block, have Numba count references where the function at hand needs it, and only there."""
    context = state.targetctx
    if not _makes_arrays(state):
        state.targetctx = context.subtarget(enable_nrt=False)
    try:
        yield
    finally:
        state.targetctx = context


def _makes_arrays(state: StateDict) -> bool:
    """Whether a function may make something that is counted, or hands that to its caller."""

    def is_counted(kind: types.Type) -> bool:
        return bool(state.targetctx.data_model_manager[kind].contains_nrt_meminfo())

    def makes(one: ir.Stmt) -> bool:
        if isinstance(one, ir.Assign):
            made = isinstance(one.value, ir.Expr) and is_counted(state.typemap[one.target.name])
            return made and not _hands_on(one.value, state)
        if isinstance(one, ir.SetItem | ir.StaticSetItem):
            return is_counted(state.typemap[one.value.name])  # arrays that may overlap go by way of a copy
        return not isinstance(one, HARMLESS)

    if is_counted(state.return_type):
        return True
    return any(makes(one) for block in state.func_ir.blocks.values() for one in block.body)


def _hands_on(value: ir.Expr, state: StateDict) -> bool:
    """Whether the arrays of a value are those, or parts of those, that it is made of."""
    if value.op == "call":
        called = state.typemap[value.func.name]
        if isinstance(called, types.Function):
            return called.typing_key in _intrinsics
        return isinstance(called, types.NamedTupleClass)
    if value.op not in TAKEN_FROM:
        return value.op in PASSED_ON
    whole = state.typemap[value.value.name]
    if isinstance(whole, types.BaseTuple):
        return True
    # Of an array: other indices choose entries, which makes a new array, and attributes may be objects of their own.
    if value.op == "getitem":
        index = state.typemap[value.index.name]
        places = index if isinstance(index, types.BaseTuple) else (index,)
        part = all(isinstance(place, types.Integer | types.SliceType) for place in places)
    else:
        part = value.op == "getiter" or (value.op == "static_getitem" and isinstance(value.index, int | slice))
    return part and isinstance(whole, types.Array)
