"""Singular-mode dynamics of symmetric estimation: against the equation, integrals to 30 digits, and known tables."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from fastflow import theory
from fastflow.metrics import effective_rank_of_values

DEPTHS = [2, 3, 4, 7]
CASES = {  # lambda, alpha, value
    "rising": (1.3, 0.05, 0.7),
    "rising from far below": (4.0, 1e-3, 3.999),
    "rising to far below": (4.0, 1e-2, 1e-3),
    "falling": (0.4, 1.2, 0.5),
    "falling, nearly null": (1e-12, 1.2, 0.05),
    "dying": (-2.0, 0.9, 0.01),
    "dying slowly": (-1e-9, 0.8, 1e-5),
    "null": (0.0, 0.9, 0.02),
}


def exact_time(value, eigenvalue, alpha, depth):
    """``int dx e^x / y'`` over ``x = log y``, to 30 digits, finer towards the end, where it may be singular."""
    with mpmath.workdps(30):
        lam, power = mpmath.mpf(eigenvalue), 2 - mpmath.mpf(2) / depth
        first, last = depth * mpmath.log(alpha), mpmath.log(value)
        shares = [k / mpmath.mpf(8) for k in range(8)] + [1 - mpmath.mpf(2) ** -k for k in range(4, 40)] + [1]
        points = [first + share * (last - first) for share in shares]
        return float(
            mpmath.quad(lambda x: mpmath.exp(x) / (depth * mpmath.exp(power * x) * (lam - mpmath.exp(x))), points)
        )


@pytest.mark.parametrize("depth", DEPTHS)
def test_mode_time_is_its_integral(depth):
    cases = [(lam, alpha, value) for lam, alpha, value in CASES.values() if (value - alpha**depth) * (lam - value) > 0]
    assert len(cases) >= 4
    lam, alpha, value = np.array(cases).T
    got = theory.mode_time(value, lam, alpha, depth)
    np.testing.assert_allclose(got, [exact_time(v, x, a, depth) for x, a, v in cases], rtol=1e-13)
    # In terms of times: the value of a mode that rises late and fast is decided by the last bits of the time.
    back = theory.mode_value(got, lam, alpha, depth)
    np.testing.assert_allclose(theory.mode_time(back, lam, alpha, depth), got, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, *DEPTHS])
def test_mode_value_follows_its_equation(depth):
    times, alpha = np.geomspace(1e-3, 30, 12), 0.7
    for lam in (2.0, 0.1, 0.0, -1.5):
        solution = solve_ivp(
            lambda _, d, lam=lam: -(d ** (depth - 1)) * (d**depth - lam), (0, 30), [alpha], t_eval=times, rtol=1e-12,
            atol=1e-13, method="Radau",
        )  # fmt: skip
        got = theory.mode_value(times, lam, alpha, depth)
        np.testing.assert_allclose(got, solution.y[0] ** depth, rtol=0, atol=1e-11)


def test_closed_form_of_depth_two():
    t, lam, alpha = np.array([0.0, 0.3, 2.0]), np.array([[3.0], [-1.0]]), 0.2
    growth = np.exp(-2 * lam * t)
    expected = lam * alpha**2 / (lam * growth + alpha**2 * (1 - growth))
    np.testing.assert_allclose(theory.mode_value(t, lam, alpha, 2), expected, rtol=1e-14)
    np.testing.assert_allclose(theory.mode_value(t, 0.0, alpha, 2), alpha**2 / (1 + 2 * alpha**2 * t), rtol=1e-14)


def test_effective_rank_plateaus():
    """The times at which the effective rank enters and leaves its plateaus, as known to three digits."""
    known = {
        2: [(0.422, 1.02), (0.760, 1.02), (1.400, 1.48), (3.906, 1.52), (5.294, 1.58)],
        3: [(1.956, 1.02), (3.972, 1.02), (4.344, 1.48), (20.014, 1.52), (21.224, 1.58)],
        4: [(4.852, 1.02), (9.784, 1.02), (10.06, 1.48), (49.11, 1.52), (50.156, 1.58)],
    }
    eigenvalues = np.array([10.0, 5.0, 1.0] + [0.0] * 17)
    for depth, places in known.items():
        for time, edge in places:
            around = np.array([time - 1.2e-2, time + 2e-3])  # the table rounds up to some multiple of 2e-3
            values = theory.mode_value(around[:, None], eigenvalues, 1e-4 ** (1 / depth), depth)
            low, high = sorted(effective_rank_of_values(values))
            assert low <= edge <= high, (depth, time, low, high)


@pytest.mark.parametrize("depth", [1, *DEPTHS])
def test_ends_and_what_is_never_reached(depth):
    lam, alpha = np.array([2.0, 0.0, -2.0]), 0.5
    limit = np.array([2.0, 0.0, -2.0 if depth == 1 else 0.0])
    np.testing.assert_array_equal(theory.mode_value(np.inf, lam, alpha, depth), limit)
    np.testing.assert_allclose(theory.mode_value(0.0, lam, alpha, depth), alpha**depth, rtol=1e-15)
    np.testing.assert_array_equal(theory.mode_time(limit, lam, alpha, depth), np.inf)
    np.testing.assert_array_equal(theory.mode_time([3.0, 1.0, 1.0], lam, alpha, depth), np.inf)
    assert theory.mode_time(alpha**depth, 2.0, alpha, depth) == 0
    rest = theory.mode_value([0.0, 1.0, np.inf], alpha**depth, alpha, depth)
    np.testing.assert_allclose(rest, alpha**depth, rtol=1e-15)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_escape_and_half_times(depth):
    lam, alpha = np.array([3.0, 0.5]), 1e-4
    half = theory.half_time(lam, alpha, depth)
    np.testing.assert_allclose(theory.mode_value(half, lam, alpha, depth), lam / 2, rtol=1e-6)
    escape = theory.escape_time(lam, alpha, depth)
    assert np.all(escape < half)
    leading = np.log(lam / alpha**2) / (2 * lam) if depth == 2 else alpha ** (2.0 - depth) / ((depth - 2) * lam)
    np.testing.assert_allclose(escape, leading, rtol=0.15 if depth == 2 else 1e-3)
    np.testing.assert_array_equal(theory.half_time([0.0, -1.0, 1e-9], 0.1, depth)[:2], np.inf)
    assert theory.half_time(0.1, 0.9, depth) == 0


def test_digits_where_terms_cancel_or_leave_float64():
    """One factor next to a large eigenvalue, and starts ``alpha^N`` that underflow or overflow."""
    times = np.array([0.0, 1e-20, 1e-16, 1.0, np.inf])
    with mpmath.workdps(40):
        start = mpmath.mpf(1e-13)
        wanted = [float(start * mpmath.exp(-t) + 1000 * (1 - mpmath.exp(-t))) for t in map(mpmath.mpf, times)]
    np.testing.assert_allclose(theory.mode_value(times, 1000.0, 1e-13, 1), wanted, rtol=1e-15)
    assert theory.mode_value(0.0, 1000.0, 1e-13, 1) == 1e-13
    for alpha, depth in ((1e-200, 2), (1e-155, 2), (1e-120, 3), (1e-70, 5)):
        with mpmath.workdps(40):
            log_start = depth * mpmath.log(mpmath.mpf(alpha))
            if depth == 2:
                half = -log_start / 2  # log(1 - alpha^2) is 0
            else:
                power = 2 - mpmath.mpf(2) / depth
                half = mpmath.exp((1 - power) * log_start) / (depth * (power - 1))
        assert theory.half_time(1.0, alpha, depth) == pytest.approx(float(half), rel=1e-12)
        values = theory.mode_value(np.array([0.0, 0.5, 2.0, np.inf]) * float(half), 1.0, alpha, depth)
        assert values[0] == pytest.approx(alpha**depth, rel=1e-3, abs=1e-323)
        assert 0 <= values[1] < 1e-50
        np.testing.assert_allclose(values[2:], 1, atol=1e-12)
        np.testing.assert_array_equal(theory.mode_value([1.0, np.inf], [[0.0], [-1.0]], 1e-200, depth), 0)
    # From above the start is forgotten: for lambda = 0 what is left is ((2N - 2) t)^{-N/(2N-2)}.
    for depth in DEPTHS:
        got = theory.mode_value([0.1, 10.0], 0.0, 1e200, depth)
        np.testing.assert_allclose(
            got, ((2 * depth - 2) * np.array([0.1, 10.0])) ** (-depth / (2 * depth - 2)), rtol=1e-13
        )


@pytest.mark.parametrize(("alpha", "depth"), [(1e-100, 3), (1e-30, 8), (1e-12, 5)])
def test_a_mode_that_waits_long(alpha, depth):
    """``y = alpha^N (1 - t/T)^{-N/(N-2)}`` until shortly before T, however far away that is."""
    shares = np.array([0.1, 0.5, 0.9, 0.99, 2.0])
    values = theory.mode_value(shares * theory.half_time(1.0, alpha, depth), 1.0, alpha, depth)
    wanted = alpha**depth * (1 - shares[:-1]) ** (-depth / (depth - 2))
    np.testing.assert_allclose(values, [*wanted, 1], rtol=1e-10)


def test_bad_modes():
    with pytest.raises(ValueError, match="alpha must be greater than 0"):
        theory.mode_value(1.0, 1.0, 0.0, 2)
    with pytest.raises(ValueError, match="t must be at least 0, got -1"):
        theory.mode_value(-1.0, 1.0, 0.1, 2)
    with pytest.raises(ValueError, match="t and eigenvalue and alpha do not broadcast"):
        theory.mode_value([1.0, 2.0], [1.0, 2.0, 3.0], 0.1, 3)
    with pytest.raises(ValueError, match="share must be between 0 and 1"):
        theory.escape_time(1.0, 0.1, 3, share=1.0)
