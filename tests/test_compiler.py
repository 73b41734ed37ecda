"""What Numba's own pipeline gets wrong, and ours must not."""

from __future__ import annotations

import gc
from typing import NamedTuple

import numpy as np
from numba import types

from fastflow.kernels.compile.garbage import uncollected
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


@jit
def turn(buffers, n):
    """Copies that outlive what they are copies of, and copies that do not."""
    here, there = buffers.first, buffers.second
    last = here
    for i in range(n):
        if i > 2:
            last[0] += 1  # of the turn before, whatever `here` has become
        here, there = there, here
        held = here
        held[1] += i
        if i % 2:
            last = held
    pair = (last, n)
    again = pair
    return again[0][0] + again[1]


def test_a_copy_is_what_it_was_a_copy_of_when_it_was_made():
    results = []
    for function in (turn.py_func, turn):
        buffers = Buffers(np.arange(3.0), np.arange(3.0) + 10)
        results.append((function(buffers, 8), buffers.first.tolist(), buffers.second.tolist()))
    assert results[0] == results[1]


def test_the_collector_is_on_again_after_the_last_block_and_off_where_it_was_off():
    assert gc.isenabled()
    with uncollected():
        with uncollected():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
