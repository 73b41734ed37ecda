"""Philox4x64-10, the counter-based generator of `numpy.random.Philox`, bit for bit; indices and normals from its words.

Word q of lane s under a key is ``numpy.random.Philox(counter=[0, s, 0, 0], key=key).random_raw(q + 1)[q]``: any word of a
stream can be had without those before it, so that a run that goes on needs nothing but the number of its step.

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

INDICES, NORMALS = 0, 1
"""The lanes of a run's stream: what its indices, and what its normals are made from."""

BLOCK = 4
"""Words that one counter gives."""

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
WEYL = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


class Words(NamedTuple):
    """Where a stream is being read: its key, (2,), and of each lane the last block, (2, 4), with its number, (2,).

    ``normals`` (2,) are those of the pair whose number is ``pair[0]``.
    """

    key: np.ndarray
    words: np.ndarray
    block: np.ndarray
    normals: np.ndarray
    pair: np.ndarray


def words() -> Words:
    """Memory for reading one stream at a time."""
    return Words(np.zeros(2, np.uint64), np.zeros((2, BLOCK), np.uint64), np.full(2, -1), np.zeros(2), np.full(1, -1))


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
def philox_block(key, lane, block, out):
    """Write the four words of a block of a lane to ``out``."""
    first, second = MULTIPLIERS
    a, b, c, d = np.uint64(block) + np.uint64(1), np.uint64(lane), np.uint64(0), np.uint64(0)
    k, other = key[0], key[1]
    for _ in range(ROUNDS):
        low, high = wide_product(first, a)
        lower, higher = wide_product(second, c)
        a, b, c, d = higher ^ b ^ k, lower, high ^ d ^ other, low
        k, other = k + WEYL[0], other + WEYL[1]
    out[0], out[1], out[2], out[3] = a, b, c, d


@jit_inline
def seek(words, key):
    """Read another stream."""
    words.key[0], words.key[1] = key[0], key[1]
    words.block[:] = -1
    words.pair[0] = -1


@jit_inline
def word_at(words, lane, number):
    """Word ``number`` of a lane of the stream."""
    block = number // BLOCK
    if words.block[lane] != block:
        philox_block(words.key, lane, block, words.words[lane])
        words.block[lane] = block
    return words.words[lane, number % BLOCK]


@jit_inline
def index_at(words, number, count):
    """Index ``floor(count w / 2^64)`` in 0 .. count - 1 from word w with this number; each but for ``count / 2^64``."""
    return np.int64(wide_product(word_at(words, INDICES, number), np.uint64(count))[1])


@jit_inline
def normal_at(words, number):
    """Normal ``number`` of the stream, by Box and Muller from a pair of words v, w of its own lane.

    Normals 2p and 2p + 1 are ``sqrt(-2 ln a)`` times the cosine and the sine of ``2 pi b``, where ``a = (floor(v / 2^11)
    + 1) / 2^53`` and ``b = floor(w / 2^11) / 2^53`` from words 2p and 2p + 1.
    """
    pair = number // 2
    if words.pair[0] != pair:
        shift, unit = np.uint64(11), 2.0**-53
        a = (np.float64(word_at(words, NORMALS, 2 * pair) >> shift) + 1.0) * unit
        b = np.float64(word_at(words, NORMALS, 2 * pair + 1) >> shift) * unit
        radius, angle = math.sqrt(-2.0 * math.log(a)), 2.0 * math.pi * b
        words.normals[0], words.normals[1] = radius * math.cos(angle), radius * math.sin(angle)
        words.pair[0] = pair
    return words.normals[number % 2]
