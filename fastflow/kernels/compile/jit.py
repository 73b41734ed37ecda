"""The one place where fastflow's kernels are compiled, and where it is decided what may be cached on disk.

Numba's disk cache has two gaps that would give wrong numbers here. It looks at the file of the function that it
caches, not at the files of the functions called from there, so an edited callee goes unnoticed. And it caches code
that was specialised on a user's class by that class's name, so an edited class meets its old code, and a script
that cannot import it fails. `KernelCache` closes both.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numba
from numba import types
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.dispatcher import Dispatcher

from fastflow.kernels.compile.compiler import KernelCompiler

if TYPE_CHECKING:
    from numba.core.base import BaseContext
    from numba.core.compiler import CompileResult
    from numba.core.typing import Signature

PACKAGE = __name__.split(".", 1)[0]


@functools.cache
def kernels_stamp(folder: Path = Path(__file__).parents[1]) -> str:
    """A digest of all source files of the kernels, in all folders: what compiled code and its constants come from."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_our_type(numba_type: types.Type) -> bool:
    """Whether a type is Numba's own or is built from fastflow's own classes, all the way down."""
    if isinstance(numba_type, types.NamedTuple | types.NamedUniTuple):
        module = numba_type.instance_class.__module__
        if module.split(".", 1)[0] != PACKAGE:
            return False
    if isinstance(numba_type, types.BaseTuple):
        return all(is_our_type(member) for member in numba_type)
    return not isinstance(numba_type, types.Dispatcher | types.Function | types.ClassInstanceType)


def cache_path() -> str | None:
    """Where compiled kernels are kept, a folder for each of theirs; None where none can be written."""
    cache = getattr(_compile(_nothing), "_cache", None)
    if not isinstance(cache, KernelCache):
        return None
    own = Path(cache.cache_path)  # of this file's folder: one beside the sources, or one of several of Numba's
    return str(own.parents[1] / "*" / own.name if own.name == "__pycache__" else own.parent)


def _nothing() -> None:
    """A kernel that does nothing."""


class _Index(IndexDataCacheFile):
    """Index of a kernel's cached versions as Numba keeps it, empty if it names classes that are no longer there."""

    def _load_index(self) -> dict[object, str]:
        try:
            return super()._load_index()
        except (AttributeError, ImportError):  # written by another fastflow
            return {}


class KernelCache(FunctionCache):
    """Numba's function cache, stale when any kernel file changes and closed to signatures with foreign classes."""

    def __init__(self, py_func: Callable[..., object]) -> None:
        super().__init__(py_func)
        stamp = (self._impl.locator.get_source_stamp(), kernels_stamp())
        self._cache_file = _Index(
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=stamp
        )

    def load_overload(
        self, sig: Signature | tuple[types.Type, ...], target_context: BaseContext
    ) -> CompileResult | None:
        if all(map(is_our_type, _argument_types(sig))):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Signature | tuple[types.Type, ...], data: CompileResult) -> None:
        if all(map(is_our_type, _argument_types(sig))):
            super().save_overload(sig, data)


def _argument_types(sig: Signature | tuple[types.Type, ...]) -> tuple[types.Type, ...]:
    return tuple(getattr(sig, "args", sig))


def jit(function: Callable[..., object]) -> Dispatcher:
    """Compile a kernel: nopython, no GIL, cached on disk, IEEE arithmetic (no fastmath anywhere).

    Unlike that of ``numba.njit(cache=True)``, what it keeps on disk goes stale when any of fastflow's kernels changes.

    Parameters
    ----------
    function : a function in the part of Python that Numba compiles

    Returns
    -------
    Numba's dispatcher
    """
    return _compile(function)


def jit_internal(function: Callable[..., object]) -> Dispatcher:
    """Compile a kernel that only other kernels call: it has no code that unpacks Python's objects.

    Called from Python it crashes, as it would from a wrong address, which is what these kernels take.
    """
    return _compile(function, no_cpython_wrapper=True)


def jit_inline(function: Callable[..., object]) -> Dispatcher:
    """Compile a kernel that becomes part of each kernel that calls it.

    Every library that Numba builds compiles all that it calls once more. A tower of kernels would compile its register
    tiles at each storey; inlined storeys leave one.
    """
    return _compile(function, inline="always")


# Wrappers for C callbacks are for nobody here, and a tenth of the time that compiling takes.
OPTIONS = {"error_model": "numpy", "no_cfunc_wrapper": True, "pipeline_class": KernelCompiler}


def _compile(function: Callable[..., object], **options: object) -> Dispatcher:
    dispatcher = numba.njit(nogil=True, **OPTIONS, **options)(function)
    with contextlib.suppress(RuntimeError):  # no writable folder for the cache: compile in every process
        dispatcher._cache = KernelCache(function)
    return dispatcher
