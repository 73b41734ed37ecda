"""What Numba's own pipeline gets wrong, and ours must not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types

from fastflow.kernels.compile.jit import jit
from fastflow.kernels.compile.protocol import implements, protocol


class Buffers(NamedTuple):
    first: np.ndarray
    second: np.ndarray


@protocol
def length(array):
    """The size of an array."""


@implements(length, types.Array, inline=True)
def _length(array):
    return array.size


@jit
def alternate(buffers, n):
    total = 0
    for i in range(n):
        if i % 2:
            total += length(buffers.second)
            buffers.first[i] = i
        else:
            pair = (buffers, 1)
            total += length(pair[0].second)
            pair[0].first[i] = -1  # Numba's own compiler drops this store, because an overload was inlined before it
    return total


def test_stores_into_fields_survive_the_inlining_of_overloads():
    buffers = Buffers(np.zeros(5), np.zeros(3))
    assert alternate(buffers, 5) == 15
    assert buffers.first.tolist() == [-1, 1, -1, 3, -1]
