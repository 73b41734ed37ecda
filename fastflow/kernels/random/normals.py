"""Many standard normals of one stream: those of `numpy.random.Generator` over `numpy.random.Philox`, bit for bit.

NumPy makes a word at a time, and looks at each by itself. Here words are made by blocks, and what the ziggurat takes at
once, 99 of 100 words, is made of eight words without a branch. Words that it does not are looked at in NumPy's order.

Source: Marsaglia, Tsang, The ziggurat method for generating random variables (2000), as NumPy has it.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.random.philox import BLOCK, philox_block

WORDS = 256
"""Words that are made together."""

TOGETHER = 8
"""Normals that are made together, where no word needs a second look."""

LAYERS, LAYER_BITS = 256, 9
"""The layers of the ziggurat, and how many bits of a word say which layer and which sign."""

MAGNITUDE = np.uint64(2**52 - 1)

FEWEST = 1000
"""Fewer normals than this are NumPy's own: its state takes as long to read and write."""

TRIED, SEED = 2**15, 2000
"""How many normals must be NumPy's before any is made here, and of which stream: some ten are of the tail."""


class Ziggurat(NamedTuple):
    """Of each layer the magnitudes that are inside at once, the width of a unit of them, and the density at its edge.

    ``edge`` is where the tail begins, ``inverse`` one over it, as NumPy has it.
    """

    inside: np.ndarray
    width: np.ndarray
    density: np.ndarray
    edge: float
    inverse: float


class StreamState(NamedTuple):
    """Where a generator is: the state of `numpy.random.Philox`, and scratch.

    ``key`` (2,), ``counter`` (4,), ``buffer`` (4,) uint64 as there, the upper half of the counter being 0; ``place``
    int64: words used of the buffer (NumPy's ``buffer_pos``), and the next word and the end of those in ``words``.
    """

    key: np.ndarray
    counter: np.ndarray
    buffer: np.ndarray
    place: np.ndarray
    words: np.ndarray


USED, NEXT, END = range(3)


@intrinsic
def _signed(typingctx, x, word):
    """x with another sign where the last bit of a word is 1."""

    def codegen(context, builder, signature, arguments):
        bits = ir.IntType(64)
        sign = builder.shl(arguments[1], ir.Constant(bits, 63))
        return builder.bitcast(builder.xor(builder.bitcast(arguments[0], bits), sign), ir.DoubleType())

    return types.float64(types.float64, types.uint64), codegen


@jit
def fill_normals(state, ziggurat, out):
    """Fill ``out`` (numbers,) with the next normals of a stream, whose `StreamState` moves on."""
    _begin(state)
    inside, width, words, place = ziggurat.inside, ziggurat.width, state.words, state.place
    layers, bits, sign = np.uint64(LAYERS - 1), np.uint64(LAYER_BITS), np.uint64(LAYER_BITS - 1)
    done = 0
    while done + TOGETHER <= out.size:
        if place[NEXT] + TOGETHER > place[END]:
            _refill(state)
        first, outside = place[NEXT], 0
        for i in range(TOGETHER):
            word = words[first + i]
            layer, magnitude = word & layers, (word >> bits) & MAGNITUDE
            outside |= np.int64(magnitude >= inside[layer]) << i
            out[done + i] = _signed(np.float64(np.int64(magnitude)) * width[layer], word >> sign)
        if outside:  # those before the first that is, and that one
            taken = 0
            while not outside >> taken & 1:
                taken += 1
            place[NEXT] += taken
            out[done + taken] = _normal(state, ziggurat)
            done += taken + 1
        else:
            place[NEXT] += TOGETHER
            done += TOGETHER
    for i in range(done, out.size):
        out[i] = _normal(state, ziggurat)
    _end(state)


@jit_internal
def _normal(state, ziggurat):
    """The next normal, by as many words as it takes."""
    edge, inverse = ziggurat.edge, ziggurat.inverse
    while True:
        word = _next(state)
        layer, magnitude = np.int64(word & np.uint64(LAYERS - 1)), (word >> np.uint64(LAYER_BITS)) & MAGNITUDE
        x = _signed(np.float64(np.int64(magnitude)) * ziggurat.width[layer], word >> np.uint64(LAYER_BITS - 1))
        if magnitude < ziggurat.inside[layer]:
            return x
        if layer == 0:
            while True:
                beyond = -inverse * math.log1p(-_uniform(state))
                height = -math.log1p(-_uniform(state))
                if height + height > beyond * beyond:
                    return _signed(edge + beyond, magnitude >> np.uint64(8))
        else:
            below, above = ziggurat.density[layer], ziggurat.density[layer - 1]
            if (above - below) * _uniform(state) + below < math.exp(-0.5 * x * x):
                return x


@jit_inline
def _uniform(state):
    return np.float64(np.int64(_next(state) >> np.uint64(11))) * 2.0**-53


@jit_internal
def _next(state):
    """The next word."""
    if state.place[NEXT] == state.place[END]:
        _refill(state)
    state.place[NEXT] += 1
    return state.words[state.place[NEXT] - 1]


@jit_inline
def _begin(state):
    """Words begin with what is left of the buffer."""
    used = state.place[USED]
    for i in range(used, BLOCK):
        state.words[i - used] = state.buffer[i]
    state.place[NEXT], state.place[END] = 0, BLOCK - used


@jit_internal
def _refill(state):
    """What is left of the words, and as many blocks as there is room for."""
    words, place = state.words, state.place
    k, other, lane, number = state.key[0], state.key[1], state.counter[1], state.counter[0]
    first, left = place[NEXT], place[END] - place[NEXT]
    for i in range(left):
        words[i] = words[first + i]
    blocks = (words.size - left) // BLOCK
    for j in range(blocks):
        a, b, c, d = philox_block(k, other, lane, number + np.uint64(j))
        at = left + BLOCK * j
        words[at], words[at + 1], words[at + 2], words[at + 3] = a, b, c, d
    state.counter[0] = number + np.uint64(blocks)
    place[NEXT], place[END] = 0, left + BLOCK * blocks


@jit_inline
def _end(state):
    """The counter and the buffer of the last word that was used."""
    place, counter = state.place, state.counter
    left = place[END] - place[NEXT]
    counter[0] -= np.uint64(left // BLOCK)
    place[USED] = BLOCK - left % BLOCK
    if counter[0] > 0:
        block = philox_block(state.key[0], state.key[1], counter[1], counter[0] - np.uint64(1))
        for i in range(BLOCK):
            state.buffer[i] = block[i]


@functools.cache
def ziggurat() -> Ziggurat | None:
    """NumPy's tables, as Numba has them; None where they are not found, or do not lead to NumPy's numbers."""
    try:
        from numba.np.random import _constants as its
    except ImportError:
        return None
    try:
        edge, inverse = float(its.ziggurat_nor_r), float(its.ziggurat_nor_inv_r)
        tables = Ziggurat(its.ki_double, its.wi_double, its.fi_double, edge, inverse)
    except AttributeError:
        return None
    found = np.empty(TRIED)
    fill_from(np.random.Philox(key=SEED), tables, found)
    expected = np.random.Generator(np.random.Philox(key=SEED)).standard_normal(TRIED)
    return tables if np.array_equal(found, expected) else None


def standard_normals(rng: np.random.Generator, out: np.ndarray) -> np.ndarray:
    """Fill a C-contiguous float64 array as ``rng.standard_normal(out=out)`` does, in half the time if rng is a Philox.

    Parameters
    ----------
    rng : numpy.random.Generator, which goes on as after the call that this is like
    out : array

    Returns
    -------
    array, ``out``
    """
    bits = rng.bit_generator
    if isinstance(bits, np.random.Philox) and out.size >= FEWEST and out.flags.c_contiguous:
        tables = ziggurat()
        if tables is not None and fill_from(bits, tables, out.reshape(-1)):
            return out
    rng.standard_normal(out=out)
    return out


def fill_from(bits: np.random.Philox, tables: Ziggurat, out: np.ndarray) -> bool:
    """`fill_normals` from where a generator is, which goes on behind them; whether that could be done."""
    its = bits.state
    counter, key, used = its["state"]["counter"], its["state"]["key"], its["buffer_pos"]
    if counter[2] or counter[3] or counter[0] >> np.uint64(62):  # far beyond where any stream comes
        return False
    state = StreamState(key, counter, its["buffer"], np.array([used, 0, 0]), np.empty(WORDS, np.uint64))
    fill_normals(state, tables, out)
    its["buffer_pos"] = int(state.place[USED])
    bits.state = its
    return True
