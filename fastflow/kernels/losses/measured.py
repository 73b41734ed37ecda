"""Losses that Python measures: of problems whose data are products that only a user's object, or a library, can make.

The kernels call back, once for all members of a group, with the addresses of their products, gradients and losses. What
is called gets these as arrays and holds the interpreter's lock meanwhile, unless it releases that, as FFTs do. What it
raises is kept, and from then on every loss is NaN, so that the kernel comes to its end at once; whoever called the
kernel asks for `failure_of` its problem, and lets nobody read what it wrote.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import weakref
from collections.abc import Callable
from typing import NamedTuple

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import formula, loss_gradient, loss_hessian, scratch_size
from fastflow.kernels.vectors.elementwise import residual
from fastflow.kernels.vectors.layouts import address, keep
from fastflow.kernels.vectors.simd import I64

MOST_ENTRIES = 2**20
"""Entries of the vectors that are measured together, at most, unless one alone has more."""

NOBODY_IDLE = 0
"""The address of no array."""

CALLBACK, NUMBER = 0, 1
"""The entries of ``Measured.handle``."""


class Measured(NamedTuple):
    """Data of a loss that Python measures.

    Attributes
    ----------
    handle : int64 array (2,), the address of what is called, and the number under which it finds the measure
    values : array (problems, rows), in the dtype of all arithmetic
    """

    handle: np.ndarray
    values: np.ndarray


Measure = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]
"""Given the index of a problem and products (members, size), writes gradients (members, size) and losses (members,).

``~index`` is that problem as if 0 were observed: its gradient is the Hessian times the product."""


class _Measuring:
    """A measure, and what it has raised."""

    def __init__(self, measure: Measure, size: int, dtype: np.dtype) -> None:
        self.measure, self.size = measure, size
        self.dtype = dtype
        self.number = ctypes.c_double if dtype == np.float64 else ctypes.c_float
        self.failure: BaseException | None = None

    def array(self, at: int, *shape: int) -> np.ndarray:
        """What lies at an address."""
        memory = (self.number * math.prod(shape)).from_address(at)
        return np.frombuffer(memory, self.dtype).reshape(shape)

    def __call__(self, index: int, products: int, gradients: int, losses: int, members: int, idle: int) -> None:
        loss = self.array(losses, members)
        try:
            if self.failure is None:
                free = np.zeros(members, np.int64)
                if idle != NOBODY_IDLE:
                    free = np.frombuffer((ctypes.c_int64 * members).from_address(idle), np.int64)
                with np.errstate(all="ignore"):
                    whole = self.array(products, members, self.size), self.array(gradients, members, self.size)
                    self._measure(index, *whole, loss, free)
        except BaseException as failure:  # Ctrl-C, too: nothing may pass through compiled code
            self.failure = failure
        if self.failure is not None:
            loss[:] = np.nan

    def _measure(
        self, index: int, products: np.ndarray, gradients: np.ndarray, losses: np.ndarray, free: np.ndarray
    ) -> None:
        """Measure the members that are not free and have not diverged: others ask nothing of the user's object."""
        finite = np.isfinite(np.einsum("ij->i", products))
        at_work = finite & (free == 0)
        if at_work.all():
            self.measure(index, products, gradients, losses)
            return
        losses[:], gradients[:] = np.where(free, 0, np.nan), np.where(free, 0, np.nan)[:, None]
        if at_work.any():
            some, of_these = np.empty_like(products[at_work]), np.empty_like(losses[at_work])
            self.measure(index, products[at_work], some, of_these)
            gradients[at_work], losses[at_work] = some, of_these


_MEASURING: dict[int, _Measuring] = {}
_NUMBERS = itertools.count()


@functools.cache
def _callback() -> ctypes._FuncPointer:
    integers = [ctypes.c_int64] * 7
    return ctypes.CFUNCTYPE(None, *integers)(lambda number, *places: _MEASURING[number](*places))


def measured_by(measure: Measure, values: np.ndarray, size: int) -> Measured:
    """A problem that a function measures.

    Parameters
    ----------
    measure : Measure
        It may be called from several threads at once.
    values : array (problems, rows), what is observed
    size : int, the entries of the unknown
    """
    number, address_of = next(_NUMBERS), ctypes.cast(_callback(), ctypes.c_void_p).value
    handle = np.array([address_of, number], np.int64)
    _MEASURING[number] = _Measuring(measure, size, values.dtype)
    weakref.finalize(handle, _MEASURING.pop, number)
    return Measured(handle, values)


@functools.singledispatch
def failure_of(problem: NamedTuple) -> BaseException | None:
    """What the measure of a problem has raised, if it has one and this has."""
    return None


@failure_of.register
def _failure_of_measured(problem: Measured) -> BaseException | None:
    return _MEASURING[int(problem.handle[NUMBER])].failure


def members_of(runs: int, problems: int, size: int, most: int) -> int:
    """How many of so many runs are measured together: of one problem up to ``most``, and to `MOST_ENTRIES` entries."""
    return max(1, min(runs, most, MOST_ENTRIES // size)) if problems == 1 else 1


@intrinsic
def call_back(typingctx, handle, index, products, gradients, losses, members, idle):
    """Call what lies at the address in ``handle`` with the number there, and the rest, which are integers.

    ``products``, ``gradients``, ``losses`` and ``idle`` are addresses; the last of an int64 for each member, which is 1
    where that is free, or `NOBODY_IDLE`.
    """
    integers = [types.int64] * 6

    def codegen(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        data = builder.bitcast(array.data, I64.as_pointer())
        entries = [builder.load(builder.gep(data, [ir.Constant(I64, entry)])) for entry in (CALLBACK, NUMBER)]
        function = ir.FunctionType(ir.VoidType(), [I64] * 7)
        builder.call(builder.inttoptr(entries[0], function.as_pointer()), [entries[1], *arguments[1:]])
        return context.get_dummy_value()

    return types.void(handle, *integers), codegen


@formula(Measured)
def _measured(problem, index, product, columns, work):
    i = np.intp
    at, g, loss = address(product, i(0)), address(work.gradient, i(0)), address(work.loss, i(0))
    call_back(problem.handle, index, at, g, loss, i(1), NOBODY_IDLE)
    keep(product)
    keep(work)


@implements(loss_hessian, Measured)
def _measured_hessian(problem, index, product, direction, columns, work):
    loss_gradient(problem, ~index, direction, columns, work)


@scratch_size.register(Measured)
def _scratch_size(problem: Measured, size: int) -> int:
    return 1


@jit
def subtract_values(residuals, values, losses):
    """``r <- r - y`` in each row of residuals (members, rows), and the losses ``1/2 ||r||^2``, (members,)."""
    for member in range(len(residuals)):
        residual(residuals[member], residuals[member], values, values.size, losses[member : member + 1])
