"""Exact arithmetic on floats: in integers at a fixed point, and modulo a prime."""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray

PRIME = 2**61 - 1
"""The rank of a matrix modulo this is at most its rank, and less for no matrix but one that was made so."""

BITS_OF_X = 160
"""Bits of x below its largest entry, in `exact_residual`."""

SPARE_DIGITS = 10
"""Decimal digits beyond those that are asked for."""

Integers = NDArray[np.object_]
"""Integers of any size."""


def fixed(values: Iterable[float], bits: int) -> Integers:
    """``values 2^bits``, cut to integers."""
    return np.array([_shifted(*math.frexp(value), bits) for value in np.asarray(values, np.float64).tolist()], object)


def _shifted(mantissa: float, exponent: int, bits: int) -> int:
    whole, shift = int(math.ldexp(mantissa, 53)), exponent - 53 + bits
    return whole << shift if shift >= 0 else whole >> -shift


def floating(integers: Integers, bits: int) -> FloatArray:
    """``integers 2^-bits``, each correctly rounded."""
    unit = 1 << bits
    return np.array([integer / unit for integer in integers.tolist()], np.float64)


def fixed_matrix(matrix: FloatArray) -> tuple[Integers, int]:
    """A matrix as integers without loss, and the bits of its fixed point."""
    finest = int(np.frexp(matrix[matrix != 0])[1].min(initial=53))
    bits = max(0, 53 - finest)
    return fixed(matrix.ravel(), bits).reshape(matrix.shape), bits


def fixed_end(start: float, k: float, bits: int) -> int:
    """``start^{-k} / k``, k > 0, as an integer at a fixed point: cut, or, where k is not whole, within 1 of that."""
    if k == int(k):
        end = 1 / (int(k) * Fraction(start) ** int(k))
        return (end.numerator << bits) // end.denominator
    whole_digits = max(0.0, -k * math.log10(start) - math.log10(k))
    with decimal.localcontext(prec=math.ceil(bits * math.log10(2) + whole_digits) + SPARE_DIGITS):
        power = decimal.Decimal(start) ** decimal.Decimal(-k)
        return int(power / decimal.Decimal(k) * (1 << bits))


def multiplied(integers: Integers, bits: float) -> Integers:
    """``integers 2^bits``; bits >= 0 need not be whole, and then the power has 53 bits."""
    whole = math.floor(bits)
    product: Integers = (integers * (int(2.0 ** (bits - whole) * 2**52) << whole)) >> 52
    return product


def exact_rank(matrix: FloatArray) -> int:
    """The rank of a matrix of floats as they stand: no rounding, by elimination modulo a prime of 61 bits."""
    left, rank = fixed_matrix(matrix)[0] % PRIME, 0
    for column in range(matrix.shape[1]):
        others = np.flatnonzero(left[rank:, column]) + rank
        if not others.size:
            continue
        left[[rank, others[0]]] = left[[others[0], rank]]
        left[rank] = left[rank] * pow(int(left[rank, column]), -1, PRIME) % PRIME
        below = left[rank + 1 :, column].copy()
        left[rank + 1 :] = (left[rank + 1 :] - below[:, None] * left[rank]) % PRIME
        rank += 1
        if rank == len(left):
            break
    return rank


def exact_residual(matrix: FloatArray, values: FloatArray, x: FloatArray) -> FloatArray:
    """``y - A x``, exact but for what x has more than `BITS_OF_X` below its largest entry, then rounded once."""
    (a, matrix_bits), (y, value_bits) = fixed_matrix(matrix), fixed_matrix(values)
    bits = max(BITS_OF_X - int(np.frexp(np.abs(x).max())[1]), value_bits - matrix_bits, 0)
    return floating(y * (1 << (bits + matrix_bits - value_bits)) - a @ fixed(x, bits), bits + matrix_bits)
