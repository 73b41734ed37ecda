"""Memory for kernels: it starts on a cache line, and lies in few pages where it is large."""

from __future__ import annotations

import contextlib
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
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    large = count >= LARGE
    memory = _huge_zeros(count) if large else np.zeros(count + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % (HUGE_PAGE if large else CACHE_LINE)
    return memory[start : start + count].view(dtype).reshape(shape)


def _huge_zeros(count: int) -> np.ndarray:
    """So many bytes from the next huge page on, if there are such: what was given back may lie in small ones."""
    if sys.platform != "linux":
        return np.zeros(count + HUGE_PAGE, np.uint8)
    # Private, so that a process that is forked gets a copy of its own when it writes.
    memory = mmap.mmap(-1, count + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
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
