"""Elementary functions of whole vectors of float64: without branches, and with the same bits for every vector width.

Each splits its argument as Cody and Waite do (Software Manual for the Elementary Functions, 1980), ``x = k log(2) + r``
or ``x = 2^k (1 + f)``, has a polynomial of r, or of ``s = f / (2 + f)`` (``log(1 + f) = 2 artanh(s)``), and carries
what each large sum loses to the end, by sums of two floats (T. J. Dekker, A floating-point technique for extending the
available precision, Numerische Mathematik 18 (1971) 224-242). Largest errors found, in units of the last place: 0.6 for
`exp` (0.75 below the normal numbers), 0.9 for `expm1`, 0.65 for `log` and `log1p`, 1 for `asinh`, and for `power` at
most ``0.65 + |exponent| / 16``.
"""

from __future__ import annotations

import math

from fastflow.kernels.vectors.formulas import Numbers, copysign, fma, sqrt

LOG2_HIGH, LOG2_LOW = float.fromhex("0x1.62e42fefa3800p-1"), float.fromhex("0x1.ef35793c76730p-45")
"""log(2) in two parts, the first of so few bits that a product with any exponent is exact."""

EXP_TAIL = (
    0.16666666666666669,
    0.041666666666666664,
    0.008333333333330065,
    0.0013888888888886554,
    0.00019841269863040545,
    2.4801587317135164e-05,
    2.7557268480309837e-06,
    2.755728298405574e-07,
    2.510037583265122e-08,
    2.0911229729822826e-09,
)
"""``(e^r - 1 - r - r^2/2) / r^3`` by powers of r, where ``|r| <= log(2) / 2``: ``mpmath.chebyfit``."""

LOG_TAIL = (
    0.6666666666666666,
    0.4000000000000088,
    0.28571428570803614,
    0.2222222239171392,
    0.1818179564013282,
    0.15386239702819343,
    0.13268773138531442,
    0.13086626149151975,
)
"""``(2 artanh(s) - 2 s) / s^3`` by powers of ``s^2``, where ``|s| <= (sqrt(2) - 1)^2``: ``mpmath.chebyfit``."""

ROUNDER = 1.5 * 2.0**52
"""A number added to this is rounded to a whole one, which then is in the last bits."""

BIAS, FRACTION_BITS = 1023, 52
HALF_ROOT = 0x3FE6A09E667F3BCD
"""The bits of ``sqrt(1/2)``, the least fraction of `log`."""

WHOLE_BITS = 0x433 << FRACTION_BITS
"""The bits of ``2^52``: the last bits of a number from there on are a whole number that is added."""

FAR = 2.0**28
"""From here on ``asinh(x) = log(2 x)``."""

EXPONENT_MASK = 0xFFF << FRACTION_BITS
OVERFLOW, UNDERFLOW = 710.0, -746.0
"""Where e^x is certainly infinite, and certainly 0."""


def _polynomial(x: Numbers, coefficients: tuple[float, ...]) -> Numbers:
    value = x.like(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = fma(value, x, coefficient)
    return value


class _Split:
    """``e^(high + low) = 2^k (1 + head + tail)``, the 1 and the head together rounded once: ``one_more``."""

    def __init__(self, high: Numbers, low: Numbers | None = None) -> None:
        self.shifted = fma(high, 1 / math.log(2), ROUNDER)
        self.k = self.shifted - ROUNDER
        reduced = fma(self.k, -LOG2_HIGH, high)
        r = fma(self.k, -LOG2_LOW, reduced)
        rest = fma(self.k, -LOG2_LOW, reduced - r)
        if low is not None:
            rest = rest + low
        square = r * r
        curved = square * fma(r, _polynomial(r, EXP_TAIL), 0.5)
        self.one_more = 1 + r
        self.tail = (r - (self.one_more - 1)) + fma(rest, self.one_more + curved, curved)

    def powers(self) -> tuple[Numbers, Numbers, Numbers]:
        """Two powers of 2 whose product is ``2^k``, and the reciprocal of the second."""
        half = fma(self.k, 0.5, ROUNDER)
        first, second = half.bits() + BIAS, self.shifted.bits() - half.bits()
        powers = (first, second + BIAS, half.bits() - self.shifted.bits() + BIAS)
        return tuple((power << FRACTION_BITS).numbers() for power in powers)  # type: ignore[return-value]


def _within(x: Numbers, least: float, largest: float) -> Numbers:
    """x, but no less and no more than these; a NaN stays."""
    x = (x > largest).choose(x.like(largest), x)
    return (x < least).choose(x.like(least), x)


def _exp_of_two(high: Numbers, low: Numbers | None) -> Numbers:
    """``e^(high + low)``, where low is what high has lost by rounding."""
    if low is not None:
        low = (abs(high) < 2 * OVERFLOW).choose(low, 0.0)
    split = _Split(_within(high, UNDERFLOW, OVERFLOW), low)
    first, second, _ = split.powers()
    return (split.one_more + split.tail) * first * second


def exp(x: Numbers) -> Numbers:
    """``e^x``."""
    return _exp_of_two(x, None)


def expm1(x: Numbers) -> Numbers:
    """``e^x - 1``."""
    split = _Split(_within(x, -60.0, OVERFLOW))
    first, second, reciprocal = split.powers()
    # e^x = second (large + small), and 1 = second reciprocal.
    large, small = split.one_more * first, split.tail * first
    difference = large - reciprocal
    taken = difference - large
    lost = (large - (difference - taken)) - (reciprocal + taken)
    return copysign((difference + (lost + small)) * second, x)


def _logarithm(x: Numbers, low: Numbers | None = None, doublings: Numbers | None = None) -> tuple[Numbers, Numbers]:
    """``log(2^doublings (x + low))`` in two floats that do not overlap by much, for a normal x and a small low."""
    above = x.bits() - HALF_ROOT
    exponent = (above + ((BIAS + 1) << FRACTION_BITS)) >> FRACTION_BITS
    k = (exponent | WHOLE_BITS).numbers() - (2.0**FRACTION_BITS + BIAS + 1)
    f = (x.bits() - (above & EXPONENT_MASK)).numbers() - 1
    if doublings is not None:
        k = k + doublings
    s = f / (2 + f)
    square, half = s * s, 0.5 * f
    curved = half * f
    tail = s * fma(square, _polynomial(square, LOG_TAIL), curved)
    of_exponent = k * LOG2_HIGH
    first = of_exponent + f
    high = first - curved
    lost = (f - (first - of_exponent)) + (((first - high) - curved) - fma(half, f, -curved))
    if low is not None:
        lost = lost + low / x
    return high, tail + fma(k, LOG2_LOW, lost)


def _ended(value: Numbers, x: Numbers) -> Numbers:
    """A logarithm of x with its ends: -inf at 0, NaN below, inf at inf."""
    value = (x < math.inf).choose(value, x)
    value = (x < 0.0).choose(x.like(math.nan), value)
    return (abs(x) < math.ulp(0.0)).choose(x.like(-math.inf), value)


def _logarithm_of_any(x: Numbers) -> tuple[Numbers, Numbers]:
    """`_logarithm` of a number that may be too small to be normal."""
    small = x < 2.0 ** (1 - BIAS)
    doublings = small.choose(x.like(-FRACTION_BITS), 0.0)
    return _logarithm(small.choose(x * 2.0**FRACTION_BITS, x), None, doublings)


def log(x: Numbers) -> Numbers:
    """The natural logarithm."""
    high, low = _logarithm_of_any(x)
    return _ended(high + low, x)


def log1p(x: Numbers) -> Numbers:
    """``log(1 + x)``."""
    total = 1 + x
    taken = total - 1
    high, low = _logarithm(total, (1 - (total - taken)) + (x - taken))
    return copysign(_ended(high + low, total), x)


def asinh(x: Numbers) -> Numbers:
    """``log(x + sqrt(1 + x^2))``."""
    size = abs(x)
    far = size > FAR
    near = far.choose(x.like(1.0), size)
    square = near * near
    total = 1 + square
    taken = total - 1
    lost = fma(near, near, -square) + ((1 - (total - taken)) + (square - taken))
    root = sqrt(total)
    of_root = (fma(-root, root, total) + lost) / (2 * root)
    argument = root + near
    low = of_root + (near - (argument - root))
    argument = far.choose(size, argument)
    high, low = _logarithm(argument, far.choose(x.like(0.0), low), far.choose(x.like(1.0), 0.0))
    return copysign(_ended(high + low, argument), x)


def power(x: Numbers, exponent: Numbers | float) -> Numbers:
    """``x^exponent``, x >= 0, by a logarithm in two floats."""
    high, low = _logarithm_of_any(x)
    rounded = high + low
    low = low - (rounded - high)
    high = _ended(rounded, x)
    product = high * exponent
    return _exp_of_two(product, fma(high, exponent, -product) + low * exponent)
