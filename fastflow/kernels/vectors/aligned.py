"""Memory for kernels: it starts on a cache line, and lies in few pages where it is large."""

from __future__ import annotations

import contextlib
import math
import mmap
import sys

import numpy as np
from numpy.typing import DTypeLike

CACHE_LINE = 64
"""Bytes of a line of the processor's caches."""

HUGE_PAGE = 2**21
"""Bytes of what Linux takes for one page, where it may: columns of a wide matrix each lie on a small page of their own,
and a processor knows where some tens of those are."""

LARGE = 2 * HUGE_PAGE
"""From so many bytes on memory asks for such pages."""


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Zeros that start on a cache line, so that no vector of a lane straddles two (NumPy aligns to 16 bytes)."""
    count = math.prod(shape) * np.dtype(dtype).itemsize
    huge = count >= LARGE and sys.platform == "linux"
    line = HUGE_PAGE if huge else CACHE_LINE
    memory = _mapped(count + line) if huge else np.zeros(count + line, np.uint8)
    start = -memory.__array_interface__["data"][0] % line
    return memory[start : start + count].view(dtype).reshape(shape)


def _mapped(count: int) -> np.ndarray:
    """So many zeros of a byte that nobody has had, in huge pages if there are such: what was given back may lie in
    small ones.

    Raises
    ------
    MemoryError
        where there is not so much
    """
    try:  # private, so that a process that is forked gets a copy of its own when it writes
        memory = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for {count / 2**30:.3g} GiB of kernels' arrays") from error
    with contextlib.suppress(OSError):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


class _Writable:
    """What NumPy takes for an array that may be written to, at the place of one that may not."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def only_read(array: np.ndarray) -> np.ndarray:
    """An array as kernels take it that only read it: Numba would compile them again for what may not be written to."""
    return array if array.flags.writeable else np.asarray(_Writable(array))
