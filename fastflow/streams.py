"""Streams of random numbers, keyed by values and never by positions in a grid.

A stream is a counter-based generator (Philox) whose key is a digest of what it is for, for instance
``(seed, "init", widths, trial, run)``. Adding a run, a trial or a value changes no other stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

Key = int | float | str | Sequence["Key"]


def encode(value: Key) -> str:
    """An exact, unambiguous spelling of a key: integers in decimal, floats in hexadecimal, strings by length."""
    if isinstance(value, str):
        return f"s{len(value)}:{value}"
    if isinstance(value, bool | np.bool_):
        return f"b{int(value)}"
    if isinstance(value, int | np.integer):
        return f"i{int(value)}"
    if isinstance(value, float | np.floating):
        return f"f{float(value).hex()}"
    if isinstance(value, Sequence):
        return f"({','.join(map(encode, value))})"
    raise TypeError(f"a stream is keyed by integers, floats, strings and sequences of them, got {value!r}")


def stream(*key: Key) -> np.random.Generator:
    """The generator of the given key."""
    digest = hashlib.blake2b(encode(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
