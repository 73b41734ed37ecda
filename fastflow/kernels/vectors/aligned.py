"""Memory for kernels: it starts on a cache line."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

CACHE_LINE = 64
"""Bytes of a line of the processor's caches."""


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Zeros that start on a cache line, so that no vector of a lane straddles two (NumPy aligns to 16 bytes)."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(count + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + count].view(dtype).reshape(shape)


class _Writable:
    """What NumPy takes for an array that may be written to, at the place of one that may not."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def only_read(array: np.ndarray) -> np.ndarray:
    """An array as kernels take it that only read it: Numba would compile them again for what may not be written to."""
    return array if array.flags.writeable else np.asarray(_Writable(array))
