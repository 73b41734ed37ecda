"""Statistical dimensions: known tables, quadrature of their equations at many digits, and what they are means of."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from fastflow import theory

SHARES = [0.01, 0.05, 0.10, 0.20, 0.30, 0.50, 0.75]
TABLES = {
    False: [0.061244, 0.203900, 0.328794, 0.511130, 0.645572, 0.831300, 0.959668],
    True: [0.052219, 0.167082, 0.265304, 0.409903, 0.521490, 0.695631, 0.863582],
}
RANKS = [0.02, 0.05, 0.10, 0.20, 0.30, 0.50, 0.80]
NUCLEAR = [0.091749, 0.202145, 0.351144, 0.571690, 0.725255, 0.905417, 0.994194]

both = pytest.mark.parametrize("nonnegative", [False, True])


@both
def test_the_tables_of_the_l1_norm(nonnegative):
    got = theory.l1_statistical_dimension(SHARES, 1, nonnegative=nonnegative)
    np.testing.assert_allclose(got, TABLES[nonnegative], rtol=0, atol=5.1e-7)


def test_the_table_of_the_nuclear_norm():
    got = theory.nuclear_statistical_dimension(200 * np.array(RANKS), (200, 200)) / 200**2
    np.testing.assert_allclose(got, NUCLEAR, rtol=0, atol=5.1e-7)


@both
@pytest.mark.parametrize("share", [1e-30, 1e-6, 0.003, 0.1, 0.6, 0.99, 1 - 1e-7])
def test_the_l1_norm_at_40_digits(share, nonnegative):
    """The stationary t of ``tau/(1-tau) = c (sqrt(2/pi) e^{-t^2/2}/t - erfc(t/sqrt 2))`` and the value there."""
    with mpmath.workdps(40):
        tau, half = mpmath.mpf(share), mpmath.mpf(1) / (2 if nonnegative else 1)

        def density(t):
            return half * mpmath.sqrt(2 / mpmath.pi) * mpmath.exp(-t * t / 2)

        def tail(t):
            return half * mpmath.erfc(t / mpmath.sqrt(2))

        def equation(log_t):
            t = mpmath.exp(log_t)
            return mpmath.log(density(t) / t - tail(t)) - mpmath.log(tau / (1 - tau))

        t = mpmath.exp(mpmath.findroot(equation, (mpmath.log("1e-8"), mpmath.log(15)), solver="anderson"))
        expected = tau * (1 + t**2) + (1 - tau) * ((1 + t**2) * tail(t) - t * density(t))
    assert theory.l1_statistical_dimension(share, 1, nonnegative=nonnegative) == pytest.approx(
        float(expected), rel=1e-13
    )


def nuclear_at_25_digits(rank, shape):
    """Delta from the equations in x (the squared singular value), by quadrature."""
    with mpmath.workdps(25):
        small, large = map(mpmath.mpf, sorted(shape))
        nu, rho = small / large, mpmath.mpf(rank) / large
        y = (nu - rho) / (1 - rho)
        a, b = (1 - mpmath.sqrt(y)) ** 2, (1 + mpmath.sqrt(y)) ** 2

        def integral(function, t):
            low = max(a, t)
            middle = (low + b) / 2
            # From both ends the substitution x = end +- v^2 removes the square roots of the edges.
            weight = lambda x: mpmath.sqrt(max((b - x) * (x - a), 0)) / x  # noqa: E731
            below = mpmath.quad(
                lambda v: 2 * v * function(low + v * v) * weight(low + v * v), [0, mpmath.sqrt(middle - low)]
            )
            above = mpmath.quad(lambda v: 2 * v * function(b - v * v) * weight(b - v * v), [0, mpmath.sqrt(b - middle)])
            return below + above

        def equation(t):
            return mpmath.log(integral(lambda x: mpmath.sqrt(x / t) - 1, t) * (1 - rho) / (2 * mpmath.pi * rho))

        t = mpmath.findroot(
            equation, (b * mpmath.mpf("1e-6"), b * (1 - mpmath.mpf("1e-6"))), solver="anderson", tol=1e-30
        )
        spread = integral(lambda x: (mpmath.sqrt(x) - mpmath.sqrt(t)) ** 2, t)
        share = rho * (nu + 1 - rho + (1 - rho) * t) + (1 - rho) ** 2 / (2 * mpmath.pi) * spread
        return float(share * large**2)


@pytest.mark.parametrize(
    ("rank", "shape"),
    [(1, (100, 100)), (30, (100, 100)), (95, (100, 100)), (3, (40, 60)), (30, (60, 40)), (2, (5, 500)), (60, (99, 100)),
     (0.5, (1, 3))],
    ids=str,
)  # fmt: skip
def test_the_nuclear_norm_at_25_digits(rank, shape):
    assert theory.nuclear_statistical_dimension(rank, shape) == pytest.approx(
        nuclear_at_25_digits(rank, shape), rel=1e-12
    )


def least_distances(base, linear, fixed, free):
    """``min_t base - 2 linear t + fixed t^2 + sum_i (free_i - t)_+^2`` for each row, by ternary search."""
    low, high = np.zeros(len(base)), np.full(len(base), free.max())

    def value(t):
        return base - 2 * linear * t + fixed * t**2 + np.sum(np.maximum(free - t[:, None], 0) ** 2, axis=1)

    for _ in range(100):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        lower = value(left) < value(right)
        low, high = np.where(lower, low, left), np.where(lower, right, high)
    return value(low)


@both
@pytest.mark.parametrize(("s", "n"), [(3, 60), (40, 200), (150, 200)])
def test_the_l1_norm_is_an_expected_distance(s, n, nonnegative, rng):
    """The mean of ``dist^2(g, descent cone's polar)`` of 2000 draws is delta, up to ``2 sqrt(n/s)`` below and noise."""
    g = rng.standard_normal((2000, n))
    free = g[:, s:] if nonnegative else np.abs(g[:, s:])
    distances = least_distances(np.sum(g[:, :s] ** 2, axis=1), np.sum(g[:, :s], axis=1), s, free)
    noise = 5 * distances.std() / np.sqrt(len(g))
    bound = theory.l1_statistical_dimension(s, n, nonnegative=nonnegative)
    assert bound - 2 * np.sqrt(n / s) - noise < distances.mean() < bound + noise


@pytest.mark.parametrize(("rank", "shape"), [(2, (30, 30)), (12, (30, 30)), (4, (20, 60)), (10, (60, 20))], ids=str)
def test_the_nuclear_norm_is_an_expected_distance(rank, shape, rng):
    """``dist^2(G, t (I_r + N))``, ``||N||_2 <= 1`` on the complement, in the mean of 300 draws: to 1% of p q."""
    g = rng.standard_normal((300, *shape))
    corner, rest = g[:, :rank, :rank], g[:, rank:, rank:]
    base = np.sum(g**2, axis=(1, 2)) - np.sum(rest**2, axis=(1, 2))
    trace = np.trace(corner, axis1=1, axis2=2)
    distances = least_distances(base, trace, rank, np.linalg.svd(rest, compute_uv=False))
    size = shape[0] * shape[1]
    assert distances.mean() / size == pytest.approx(theory.nuclear_statistical_dimension(rank, shape) / size, abs=0.01)


def test_both_ends():
    for nonnegative in (False, True):
        ends = theory.l1_statistical_dimension([0, 1, 128], [128, 1, 128], nonnegative=nonnegative)
        np.testing.assert_array_equal(ends, [0, 1, 128])
        np.testing.assert_array_equal(theory.l1_critical_sparsity([0, 128], 128, nonnegative=nonnegative), [0, 128])
    for shape in [(1, 1), (1, 5), (7, 3), (30, 30)]:
        full, size = min(shape), shape[0] * shape[1]
        np.testing.assert_array_equal(theory.nuclear_statistical_dimension([0, full], shape), [0, size])
        np.testing.assert_array_equal(theory.nuclear_critical_rank([0, size], shape), [0, full])


@pytest.mark.parametrize(
    "dimension",
    [
        lambda s: theory.l1_statistical_dimension(s, 1),
        lambda s: theory.l1_statistical_dimension(s, 1, nonnegative=True),
        lambda s: theory.nuclear_statistical_dimension(40 * s, (40, 40)) / 1600,
        lambda s: theory.nuclear_statistical_dimension(40 * s, (990, 40)) / (990 * 40),
    ],
    ids=["l1", "l1, x >= 0", "square", "990 x 40"],
)
def test_it_grows_with_the_share_and_exceeds_it(dimension):
    """In s also concave: a minimum over t of functions that are linear in s (l1), so an upper bound at all sizes."""
    shares = np.linspace(0, 1, 201)
    values = dimension(shares)
    assert (np.diff(values) >= 0).all()
    assert (values >= shares - 1e-15).all()
    assert (np.diff(values, 2) <= 1e-13).all()


def test_knowing_the_sign_helps():
    shares = np.linspace(0.01, 0.99, 50)
    known = theory.l1_statistical_dimension(shares, 1, nonnegative=True)
    assert (known < theory.l1_statistical_dimension(shares, 1)).all()


@both
def test_critical_sparsity_is_the_inverse(nonnegative, rng):
    s = 100 * rng.random((3, 7))
    measurements = theory.l1_statistical_dimension(s, 100, nonnegative=nonnegative)
    np.testing.assert_allclose(theory.l1_critical_sparsity(measurements, 100, nonnegative=nonnegative), s, rtol=1e-10)


def test_critical_rank_is_the_inverse(rng):
    for shape in [(20, 20), (8, 30), (30, 8)]:
        ranks = 0.9 * min(shape) * rng.random(9)
        measurements = theory.nuclear_statistical_dimension(ranks, shape)
        np.testing.assert_allclose(theory.nuclear_critical_rank(measurements, shape), ranks, rtol=1e-10)


def test_arrays_and_numbers_agree():
    s, n = np.array([[1], [5]]), np.array([10, 20, 40])
    values = theory.l1_statistical_dimension(s, n)
    assert values.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        assert isinstance(theory.l1_statistical_dimension(s[i, 0], n[j]), float)
        assert theory.l1_statistical_dimension(s[i, 0], n[j]) == pytest.approx(values[i, j], rel=1e-14)
    transposed = theory.nuclear_statistical_dimension([1, 2, 3], (12, 7))
    np.testing.assert_array_equal(theory.nuclear_statistical_dimension([1, 2, 3], (7, 12)), transposed)
    assert theory.nuclear_statistical_dimension(2, (7, 12)) == pytest.approx(transposed[1], rel=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.l1_statistical_dimension(11, 10), ValueError, "sparsity must be between 0 and 10, got 11"),
        (lambda: theory.l1_statistical_dimension([3, -1], 10), ValueError, "sparsity must be between 0 and 10, got -1"),
        (lambda: theory.l1_statistical_dimension(np.nan, 10), ValueError, "sparsity must be finite"),
        (lambda: theory.l1_statistical_dimension(0, 0), ValueError, "n must be greater than 0, got 0"),
        (lambda: theory.l1_statistical_dimension("many", 5), TypeError, "sparsity must be an array of real numbers"),
        (lambda: theory.l1_statistical_dimension([1, 2], [3, 4, 5]), ValueError, "sparsity and n do not broadcast"),
        (lambda: theory.l1_critical_sparsity(11, 10), ValueError, "measurements must be between 0 and 10, got 11"),
        (lambda: theory.nuclear_statistical_dimension(4, (3, 9)), ValueError, "rank must be between 0 and 3, got 4"),
        (lambda: theory.nuclear_statistical_dimension(1, 9), ValueError, "shape must be two positive integers, got 9"),
        (lambda: theory.nuclear_statistical_dimension(1, (3, 0)), ValueError, r"shape\[1\] must be at least 1"),
        (lambda: theory.nuclear_critical_rank(28, (3, 9)), ValueError, "measurements must be between 0 and 27, got 28"),
    ],
)  # fmt: skip
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_finite_dimension_of_cones_that_are_known():
    """A half-space where all is support, n - 1/2; wedges of 90 and 45 degrees in the plane, 1/2 + angle / pi."""
    dimension = theory.l1_finite_dimension
    noise = 5 / np.sqrt(100_000)
    for found, exact in (
        (dimension(7, 7, samples=100_000), 6.5),
        (dimension(1, 1, samples=100_000), 0.5),
        (dimension(1, 2, samples=100_000), 1.0),
        (dimension(1, 2, nonnegative=True, samples=100_000), 0.75),
        (theory.nuclear_finite_dimension(1, (1, 1), samples=100_000), 0.5),
    ):
        assert found == pytest.approx(exact, abs=noise)
    full = theory.nuclear_finite_dimension(4, (4, 5), samples=20_000)
    assert full == pytest.approx(theory.nuclear_finite_dimension(4, (4, 5), seed=1, samples=20_000), abs=0.5)
    np.testing.assert_array_equal(dimension([0, 0], 9), 0)
    assert theory.nuclear_finite_dimension(0, (3, 4)) == 0


@both
@pytest.mark.parametrize(("s", "n"), [(3, 60), (40, 200)])
def test_the_finite_dimension_of_the_l1_norm_is_the_expected_distance(s, n, nonnegative, rng):
    """Beside distances found by ternary search; it lies below the bound, and by no more than the theorem says."""
    g = rng.standard_normal((4000, n))
    free = g[:, s:] if nonnegative else np.abs(g[:, s:])
    distances = least_distances(np.sum(g[:, :s] ** 2, axis=1), np.sum(g[:, :s], axis=1), s, free)
    found = theory.l1_finite_dimension(s, n, nonnegative=nonnegative)
    assert distances.mean() == pytest.approx(found, abs=5 * distances.std() / np.sqrt(len(g)))
    bound = theory.l1_statistical_dimension(s, n, nonnegative=nonnegative)
    assert bound - 2 * np.sqrt(n / s) < found < bound - 0.2
    again = theory.l1_finite_dimension(s, n, nonnegative=nonnegative, seed=1)
    assert again == pytest.approx(found, abs=5 * np.sqrt(2 / 20_000))
    assert again != found


@pytest.mark.parametrize(("rank", "shape"), [(2, (12, 12)), (3, (8, 20))], ids=str)
def test_the_finite_dimension_of_the_nuclear_norm_is_the_expected_distance(rank, shape, rng):
    g = rng.standard_normal((3000, *shape))
    corner, rest = g[:, :rank, :rank], g[:, rank:, rank:]
    base = np.sum(g**2, axis=(1, 2)) - np.sum(rest**2, axis=(1, 2))
    trace = np.trace(corner, axis1=1, axis2=2)
    distances = least_distances(base, trace, rank, np.linalg.svd(rest, compute_uv=False))
    noise = distances.std() / np.sqrt(len(g))
    found = theory.nuclear_finite_dimension(rank, shape, samples=3000)
    assert distances.mean() == pytest.approx(found, abs=6 * noise)


def test_a_finite_dimension_in_any_company():
    several = theory.l1_finite_dimension([[2, 5], [9, 2]], 20, samples=100)
    assert several.shape == (2, 2)
    assert several[0, 1] == theory.l1_finite_dimension(5, 20, samples=100)
    assert several[0, 0] == several[1, 1]


def test_what_has_no_finite_dimension():
    with pytest.raises(ValueError, match=r"sparsity must be an integer in 0 .. 5, got 6"):
        theory.l1_finite_dimension(6, 5)
    with pytest.raises(ValueError, match=r"rank must be an integer in 0 .. 3, got 1.5"):
        theory.nuclear_finite_dimension(1.5, (3, 4))
    with pytest.raises(ValueError, match="samples must be at least 2, got 1"):
        theory.l1_finite_dimension(1, 5, samples=1)
