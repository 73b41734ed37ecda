"""Elementary functions of whole vectors, against mpmath: to the last bit or so, at all ends, the same bits anywhere."""

from __future__ import annotations

import hashlib
import math
import warnings

import mpmath
import numpy as np
import pytest

from fastflow import kernels
from fastflow.kernels.vectors import elementary
from fastflow.kernels.vectors.formulas import elementwise, elementwise_with_maxima

LARGEST_ERRORS = {"exp": 0.85, "expm1": 0.95, "log": 0.7, "log1p": 0.8, "asinh": 1.1}
"""In units of the last place; numbers below the normal ones are rounded twice."""

POINTS = 2000


def _kernel(function):
    over_elements = elementwise(lambda x: (function(x),))

    @kernels.jit
    def kernel(x, out):
        over_elements(x.size, (x,), (), (out,))

    return kernel


KERNELS = {name: _kernel(getattr(elementary, name)) for name in LARGEST_ERRORS}
_powers = elementwise(lambda x, exponent: (elementary.power(x, exponent),))
_largest = elementwise_with_maxima(2)(lambda x: (x + 1, x, -x))


@kernels.jit
def power(x, exponent, out):
    _powers(x.size, (x,), (exponent,), (out,))


@kernels.jit
def largest(x, out):
    return _largest(x.size, (x,), (), (out,))


def evaluate(name, x):
    out = np.empty_like(x)
    KERNELS[name](x, out)
    return out


def points(name, rng):
    """Any bits at all, all sizes, and where the function, or a piece of it, begins or ends."""
    bits = rng.integers(0, 2**64, POINTS, dtype=np.uint64).view(np.float64)
    sizes = np.exp(rng.uniform(-40, 40, POINTS)) * rng.choice([-1, 1], POINTS)
    tiny = 2.0 ** rng.integers(-1074, -1000, 50) * rng.choice([-1, 1], 50)
    near_one = 1 + rng.uniform(-1, 1, POINTS) * np.exp(rng.uniform(-36, 0, POINTS))
    halves = (rng.integers(-1074, 1024, POINTS) + 0.5) * math.log(2) * (1 + rng.uniform(-1e-15, 1e-15, POINTS))
    edges = 2.0 ** rng.integers(-1000, 1000, POINTS) * math.sqrt(2) * (1 + rng.uniform(-1e-15, 1e-15, POINTS))
    own = {
        "exp": [halves, rng.uniform(-745.2, 709.8, POINTS)],
        "expm1": [halves, rng.uniform(-40, 709.8, POINTS), rng.uniform(-1, 1, POINTS)],
        "log": [near_one, edges, rng.uniform(0.6, 0.8, POINTS)],
        "log1p": [near_one - 1, -near_one, edges - 1, rng.uniform(-0.4, 0.6, POINTS)],
        "asinh": [rng.uniform(-2, 2, POINTS), edges, 2.0**28 * near_one],
    }
    x = np.concatenate([bits, sizes, tiny, *own[name]])
    x = x[np.isfinite(x)]
    return np.abs(x) if name == "log" else x[x > -1] if name == "log1p" else x


def units(exact):
    """The unit of the last place of the float next to a number."""
    size = abs(float(exact))
    return mpmath.mpf(math.ulp(size)) if size < math.inf else mpmath.mpf(2) ** 971


def error(found, exact):
    """In units of the last place; 0 for the infinity of what rounds to it."""
    if math.isinf(found):
        return 0.0 if abs(exact) >= mpmath.mpf(2) ** 1024 - mpmath.mpf(2) ** 970 else math.inf
    return float(abs(mpmath.mpf(found) - exact) / units(exact))


@pytest.mark.parametrize("name", KERNELS)
def test_against_mpmath(name, rng):
    x = points(name, rng)
    found = evaluate(name, x)
    with mpmath.workdps(50):
        for one, value in zip(x.tolist(), found.tolist(), strict=True):
            if name in ("exp", "expm1") and abs(one) > 1e4:
                assert value == (math.inf if one > 0 else {"exp": 0.0, "expm1": -1.0}[name])
            elif not (name == "log" and one == 0):
                exact = getattr(mpmath, name)(mpmath.mpf(one))
                assert error(value, exact) <= LARGEST_ERRORS[name], one


@pytest.mark.parametrize("exponent", [1.0, 4 / 3, 1.5, 5 / 3, 2.0, 3.0, 5.0, 51.0, 201.0, 0.5, -2.3])
def test_powers_against_mpmath(exponent, rng):
    size = 700 / max(1, abs(exponent))
    x = np.concatenate([np.exp(rng.uniform(-size, size, POINTS)), 1 + np.exp(rng.uniform(-20, size, POINTS))])
    found = np.empty_like(x)
    power(x, exponent, found)
    with mpmath.workdps(50):
        for one, value in zip(x.tolist(), found.tolist(), strict=True):
            assert error(value, mpmath.mpf(one) ** mpmath.mpf(exponent)) <= 0.65 + abs(exponent) / 16, one


INF, NAN = math.inf, math.nan
ENDS = {
    "exp": [(INF, INF), (-INF, 0), (NAN, NAN), (0.0, 1), (-0.0, 1), (709.79, INF), (-745.2, 0), (-745.13, 5e-324)],
    "expm1": [(INF, INF), (-INF, -1), (NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (5e-324, 5e-324), (710, INF), (-50, -1)],
    "log": [(INF, INF), (-INF, NAN), (NAN, NAN), (0.0, -INF), (-0.0, -INF), (-5e-324, NAN), (1.0, 0.0)],
    "log1p": [(INF, INF), (-INF, NAN), (NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (-2.0, NAN)],
    "asinh": [(INF, INF), (-INF, -INF), (NAN, NAN), (0.0, 0.0), (-0.0, -0.0), (-5e-324, -5e-324)],
}


@pytest.mark.parametrize("name", KERNELS)
def test_ends(name):
    x, expected = (np.array(column, float) for column in zip(*ENDS[name], strict=True))
    found = evaluate(name, x)
    np.testing.assert_array_equal(found, expected)
    known = ~np.isnan(x) & ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))


def test_ends_of_powers():
    x, found = np.array([0.0, INF, NAN, -1.0, 1.0]), np.empty(5)
    power(x, 1.5, found)
    np.testing.assert_array_equal(found, [0, INF, NAN, NAN, 1])
    power(x, -2.0, found)
    np.testing.assert_array_equal(found, [INF, 0, NAN, NAN, 1])


@pytest.mark.parametrize("name", KERNELS)
def test_the_same_bits_in_every_place_and_layout(name, rng):
    x = points(name, rng)[:203]
    whole = evaluate(name, x)
    for start, stop in ((0, 1), (3, 10), (5, 13), (1, 203)):
        np.testing.assert_array_equal(evaluate(name, x[start:stop]), whole[start:stop])
    spread, found = np.repeat(x, 3)[::3], np.zeros(3 * x.size)
    KERNELS[name](spread, found[::3])
    np.testing.assert_array_equal(found[::3], whole)
    assert not found[1::3].any()


DIGESTS = {
    "exp": "c0ea84c117da5d9f",
    "expm1": "4b9155e98940c00c",
    "log": "40132b1b2fc22fd8",
    "log1p": "b9f86575e4bec962",
    "asinh": "90d75b55d903dcf5",
}
"""The first digits of SHA-256 of what there is at some thousand points, on every processor."""


@pytest.mark.parametrize("name", KERNELS)
def test_the_same_bits_on_every_processor(name):
    bits = np.random.Generator(np.random.PCG64(7)).integers(0, 2**64, 10000, dtype=np.uint64).view(np.float64)
    x = np.concatenate([bits[np.abs(bits) < 1e300], np.linspace(-40, 40, 5001)])
    x = np.abs(x) if name.startswith("log") else x
    assert hashlib.sha256(evaluate(name, x).tobytes()).hexdigest()[:16] == DIGESTS[name]


def test_largest_of_a_pass():
    """NaNs do not count, and 0 is the least that is returned."""
    for size in (0, 1, 7, 8, 29):
        x = -np.arange(1.0, size + 1)
        out = np.empty(size)
        assert largest(x, out) == (0, size)
        np.testing.assert_array_equal(out, x + 1)
    assert largest(np.array([1.0, NAN, 3.0, NAN]), np.empty(4)) == (3, 0)


def test_coefficients_are_chebyshev_fits():
    with mpmath.workdps(60):
        half = mpmath.log(2) / 2 * (1 + mpmath.mpf(2) ** -30)
        least = ((mpmath.sqrt(2) - 1) / (mpmath.sqrt(2) + 1)) ** 2 * (1 + mpmath.mpf(2) ** -30)

        def exp_tail(r):
            return mpmath.mpf(1) / 6 + r / 24 if abs(r) < 1e-10 else (mpmath.expm1(r) - r - r * r / 2) / r**3

        def log_tail(square):
            s = mpmath.sqrt(square)
            return mpmath.mpf(2) / 3 if square < 1e-20 else (2 * mpmath.atanh(s) - 2 * s) / (s * square)

        for kept, tail, interval in (
            (elementary.EXP_TAIL, exp_tail, [-half, half]),
            (elementary.LOG_TAIL, log_tail, [0, least]),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of an order in which they may come no more
                fit = [float(value) for value in mpmath.chebyfit(tail, interval, len(kept))]
            np.testing.assert_allclose(kept, fit if fit[0] > fit[-1] else fit[::-1], rtol=1e-15)
        assert float(mpmath.log(2) - mpmath.mpf(elementary.LOG2_HIGH)) == elementary.LOG2_LOW
