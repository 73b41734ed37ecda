"""The one place where fastflow's kernels are compiled, and how."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from numba import types
from numba.core import config, sigutils
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import NumbaError
from numba.core.registry import CPUDispatcher

from fastflow.kernels.compile.cache import KernelCache
from fastflow.kernels.compile.compiler import KernelCompiler
from fastflow.kernels.compile.garbage import uncollected
from fastflow.kernels.compile.interrupts import interruptible

if config.DISABLE_JIT:
    raise ImportError("fastflow is compiled by Numba, which NUMBA_DISABLE_JIT switches off: unset it")

Check = Callable[..., None]
"""What is given Numba's types of the arguments of a kernel, and raises TypeError for wrong ones."""


class Kernel(CPUDispatcher):
    """Numba's dispatcher, which Ctrl-C may interrupt, and which other processes find by its name."""

    def compile(self, sig: object) -> object:
        with interruptible(), uncollected(), global_compiler_lock, self._turn(sig):
            return super().compile(sig)

    def _turn(self, sig: object) -> contextlib.AbstractContextManager[None]:
        """This process's turn to compile; one that was sent by value has no cache, and goes at once."""
        kept = isinstance(self._cache, KernelCache)
        return self._cache.turn(sig, self.targetctx) if kept else contextlib.nullcontext()

    def __reduce__(self) -> str | tuple[Any, ...]:
        function = self.py_func
        found = getattr(sys.modules.get(function.__module__), function.__qualname__, None)
        if found is self and function.__module__ != "__main__":
            return _kernel_of, (function.__module__, function.__qualname__)
        reduced: tuple[Any, ...] = super().__reduce__()
        return reduced


class PublicKernel(Kernel):
    """A kernel that looks at the types of its arguments before it is compiled for them."""

    check: Check

    def compile(self, sig: object) -> object:
        arguments, _ = sigutils.normalize_signature(sig)
        try:
            self.check(*map(types.unliteral, arguments))
        except TypeError as error:
            raise TypeError(f"{self.__name__}: {error}") from None
        return super().compile(sig)

    def typeof_pyval(self, val: object) -> types.Type:
        try:
            return super().typeof_pyval(val)
        except NumbaError:
            return types.pyobject  # which the check refuses in its words

    def __call__(self, *arguments: object, **named: object) -> object:
        # Numba takes a tuple for one that it has seen by less than it looks at in arrays.
        for argument in (*arguments, *named.values()):
            for array in argument if isinstance(argument, tuple) else ():
                plain = isinstance(array, np.ndarray) and not isinstance(array, np.ma.MaskedArray)
                if isinstance(array, np.ndarray) and not (plain and array.dtype.isnative and array.flags.aligned):
                    of = type(argument).__name__
                    raise TypeError(
                        f"{self.__name__}: an array of {of} is masked, has swapped bytes, or is not aligned"
                    )
        return super().__call__(*arguments, **named)


class InternalKernel(Kernel):
    """A kernel that only other kernels call, where it is linked in (`linking`); Python cannot enter it."""

    def __call__(self, *_: object, **__: object) -> object:
        raise TypeError(f"{self.__name__} is for compiled code")


def _kernel_of(module: str, name: str) -> Kernel:
    """The kernel of that name, where another process has it."""
    kernel: Kernel = getattr(importlib.import_module(module), name)
    return kernel


def jit(function: Callable[..., object]) -> Kernel:
    """Compile a kernel: nopython, no GIL, cached on disk, IEEE arithmetic (no fastmath anywhere).

    Unlike that of ``numba.njit(cache=True)``, what it keeps on disk goes stale when any of fastflow's kernels changes.

    Parameters
    ----------
    function : a function in the part of Python that Numba compiles

    Returns
    -------
    Numba's dispatcher

    Examples
    --------
    >>> @ff.kernels.jit
    ... def total(x):
    ...     s = 0.0
    ...     for value in x:
    ...         s += value
    ...     return s
    >>> total(np.arange(4.0))
    6.0
    """
    return _compile(function)


def jit_public(check: Check) -> Callable[[Callable[..., object]], Kernel]:
    """Decorate a kernel that users call: one that looks at the types of its arguments, and at their sizes itself.

    Parameters
    ----------
    check : function that is given Numba's types of the arguments, and raises TypeError for wrong ones
    """

    def decorate(function: Callable[..., object]) -> Kernel:
        kernel = _compile(function, PublicKernel)
        kernel.check = check
        return kernel

    return decorate


def jit_internal(function: Callable[..., object]) -> Kernel:
    """Compile a kernel that only other kernels call: it becomes machine code as a part of theirs."""
    return _compile(function, InternalKernel, no_cpython_wrapper=True)


def jit_inline(function: Callable[..., object]) -> Kernel:
    """Compile a kernel that becomes part of each kernel that calls it.

    Every library that Numba builds compiles all that it calls once more. A tower of kernels would compile its register
    tiles at each storey; inlined storeys leave one.
    """
    return _compile(function, inline="always")


# Wrappers for C callbacks are for nobody here, and a tenth of the time that compiling takes.
OPTIONS = {"error_model": "numpy", "no_cfunc_wrapper": True, "pipeline_class": KernelCompiler}


def _compile(function: Callable[..., object], kind: type[Kernel] = Kernel, **options: object) -> Kernel:
    if not isinstance(function, FunctionType):
        raise TypeError(f"a kernel is compiled from a function, got {function!r}")
    given = {"nopython": True, "boundscheck": None, "nogil": True, **OPTIONS, **options}
    kernel = kind(function, targetoptions=given, pipeline_class=given.pop("pipeline_class"))
    kernel._cache = KernelCache(function)
    return kernel
