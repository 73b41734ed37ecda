"""Streams of random numbers, keyed by values and never by positions in a grid.

A stream is a counter-based generator (Philox) whose key is a digest of what it is for, for instance
``(seed, "init", widths, trial, run)``. Adding a run, a trial or a value changes no other stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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


class Streams:
    """The streams of the keys ``(*prefix, *numbers)``, by one generator that is set anew, at a fraction of the cost.

    A generator that was given is a different one after the next call.
    """

    def __init__(self, *prefix: Key) -> None:
        # The encoding of (*prefix, *numbers) less what the numbers add.
        self._digest = hashlib.blake2b(encode((*prefix, 0)).removesuffix("i0)").encode(), digest_size=16)
        self._philox = np.random.Philox(key=0)
        self._start = self._philox.state
        self._generator = np.random.Generator(self._philox)

    def key(self, *numbers: int) -> NDArray[np.uint64]:
        """The key of Philox, (2,), for ``(*prefix, *numbers)``."""
        digest = self._digest.copy()
        digest.update(f"{','.join(f'i{number:d}' for number in numbers)})".encode())
        return np.frombuffer(digest.digest(), "<u8")

    def __call__(self, *numbers: int) -> np.random.Generator:
        """The generator of ``(*prefix, *numbers)`` at its beginning."""
        self._start["state"]["key"][:] = self.key(*numbers)
        self._philox.state = self._start
        return self._generator
