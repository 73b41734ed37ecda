"""Philox4x64-10, the counter-based generator of `numpy.random.Philox`, bit for bit; indices and normals from its words.

Word q of lane s under a key is ``numpy.random.Philox(counter=[0, s, 0, 0], key=key).random_raw(q + 1)[q]``. Any word of
a stream can be had without those before it, so that a run that goes on needs nothing but the number of its step.

Source: Salmon, Moraes, Dror, Shaw, Parallel random numbers: as easy as 1, 2, 3 (2011).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import llvmlite.ir as ir
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.vectors.layouts import address, integer_at, number_at, set_integer, set_number

INDICES, NORMALS = 0, 1
"""The lanes of a run's stream: what its indices, and what its normals are made from."""

BLOCK = 4
"""Words that one counter gives."""

AHEAD = 16
"""Words that are made together: the rounds of one block wait for each other, those of several do not."""

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
WEYL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)

KEY, PAIR, LANES = 0, 2, 3
"""Where in `Words` the key lies, the number of the last pair of normals, and what each lane has."""


class Words(NamedTuple):
    """Where a stream is being read.

    ``numbers`` int64: the two words of the key, the number of the pair of normals that ``normals`` (2,) has, and of
    each lane the number of the last `AHEAD` words, and these.
    """

    numbers: np.ndarray
    normals: np.ndarray


class WordPlaces(NamedTuple):
    """The addresses of `Words`, which must be kept alive while they are in use."""

    numbers: int
    normals: int


def make_words() -> Words:
    """Memory for reading one stream at a time."""
    return Words(np.zeros(LANES + 2 * (1 + AHEAD), np.int64), np.zeros(2))


@jit_inline
def word_places(words):
    """The `WordPlaces` of `Words`."""
    return WordPlaces(address(words.numbers, 0), address(words.normals, 0))


@intrinsic
def wide_product(typingctx, a, b):
    """The low and the high 64 bits of a product of unsigned 64-bit integers."""
    word = types.uint64
    signature = types.UniTuple(word, 2)(word, word)

    def codegen(context, builder, signature, arguments):
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        high = builder.lshr(product, ir.Constant(wide, 64))
        return cgutils.pack_array(builder, [builder.trunc(part, ir.IntType(64)) for part in (product, high)])

    return signature, codegen


@jit_internal
def philox_block(k, other, lane, block):
    """The four words of a block of a lane, under a key of two words."""
    first, second = MULTIPLIERS
    a, b, c, d = np.uint64(block) + np.uint64(1), np.uint64(lane), np.uint64(0), np.uint64(0)
    for _ in range(ROUNDS):
        low, high = wide_product(first, a)
        lower, higher = wide_product(second, c)
        a, b, c, d = higher ^ b ^ k, lower, high ^ d ^ other, low
        k, other = k + WEYL[0], other + WEYL[1]
    return a, b, c, d


@jit_inline
def seek(words, key):
    """Read the stream of another key, (2,)."""
    words.numbers[:] = -1
    words.numbers[KEY], words.numbers[KEY + 1] = np.int64(key[0]), np.int64(key[1])


@jit_inline
def word_at(words, lane, number):
    """Word ``number`` of a lane of the stream at `WordPlaces`."""
    at, place = words.numbers + 8 * (LANES + lane * (1 + AHEAD)), number & (AHEAD - 1)
    if integer_at(at) != number - place:
        _make_words(words.numbers + 8 * KEY, at, lane, number - place)
    return np.uint64(integer_at(at + 8 * (1 + place)))


@jit_internal
def _make_words(key, at, lane, first):
    """The words from number ``first`` on."""
    k, other = np.uint64(integer_at(key)), np.uint64(integer_at(key + 8))
    set_integer(at, first)
    for i in range(AHEAD // BLOCK):
        a, b, c, d = philox_block(k, other, lane, first // BLOCK + i)
        place = at + 8 * (1 + BLOCK * i)
        set_integer(place, np.int64(a))
        set_integer(place + 8, np.int64(b))
        set_integer(place + 16, np.int64(c))
        set_integer(place + 24, np.int64(d))


@jit_inline
def index_at(words, number, count):
    """Index ``floor(count w / 2^64)`` in 0 .. count - 1 from word w with this number; each but for ``count / 2^64``."""
    return np.int64(wide_product(word_at(words, INDICES, number), np.uint64(count))[1])


@jit_internal
def normal_at(words, number):
    """Normal ``number`` of the stream, by Box and Muller from a pair of words v, w of its own lane.

    Normals 2p and 2p + 1 are ``sqrt(-2 ln a)`` times the cosine and the sine of ``2 pi b``, where ``a = (floor(v /
    2^11) + 1) / 2^53`` and ``b = floor(w / 2^11) / 2^53`` from words 2p and 2p + 1.
    """
    pair = number // 2
    if integer_at(words.numbers + 8 * PAIR) != pair:
        shift, unit = np.uint64(11), 2.0**-53
        a = (np.float64(word_at(words, NORMALS, 2 * pair) >> shift) + 1.0) * unit
        b = np.float64(word_at(words, NORMALS, 2 * pair + 1) >> shift) * unit
        radius, angle = math.sqrt(-2.0 * math.log(a)), 2.0 * math.pi * b
        set_number(0.0, words.normals, radius * math.cos(angle))
        set_number(0.0, words.normals + 8, radius * math.sin(angle))
        set_integer(words.numbers + 8 * PAIR, pair)
    return number_at(0.0, words.normals + 8 * (number % 2))
