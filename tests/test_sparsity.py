"""The bounds of the l1 excess: above what the flow's limit has, and below what the theorem states."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow import theory


def flow_limit(matrix, values, depth, alpha):
    """The limit of ``w' = -A^T (A w^L - y) w^{L-1}`` from alpha, ``U(A^T lam)^L``: damped Newton on the dual."""
    edge = np.inf if depth == 2 else alpha ** (2.0 - depth) / (depth - 2)

    def root(z):
        return alpha * np.exp(z) if depth == 2 else ((depth - 2) * (edge - z)) ** (-1 / (depth - 2))

    lam = np.zeros(len(values))
    for _ in range(500):
        w = root(matrix.T @ lam)
        residual = matrix @ w**depth - values
        if np.linalg.norm(residual) < 1e-11 * np.linalg.norm(values):
            return w**depth
        direction = -np.linalg.solve((matrix * (depth * w ** (2 * depth - 2))) @ matrix.T, residual)
        t = min(1.0, 3 / np.abs(matrix.T @ direction).max()) if depth == 2 else 1.0

        def objective(lam):
            z = matrix.T @ lam
            return 0.5 * np.sum(root(z) ** 2) - values @ lam if z.max() < edge else np.inf

        start = objective(lam)
        while objective(lam + t * direction) > start + 1e-4 * t * (residual @ direction) + 1e-14 * abs(start):
            t /= 2
            if t < 1e-12:
                break
        lam = lam + t * direction
    assert np.linalg.norm(residual) < 1e-8 * np.linalg.norm(values)
    return w**depth


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_bound_holds_over_500_draws(depth, signed, rng):
    """Against the least l1 norm and against another solution, from starts of all sizes; 1/10 of it occurs."""
    closest = 0.0
    for _ in range(500):
        m = int(rng.integers(1, 5))
        n = m + int(rng.integers(1, 8))
        matrix = rng.standard_normal((m, n))
        other = np.where(rng.random(n) < 0.5, rng.exponential(size=n), 0.01)
        if signed:
            other = np.where(other == 0.01, 0, other) * rng.choice([-1, 1], n)
            other[0] += other[0] == 0
        values, alpha = matrix @ other, 10 ** rng.uniform(-4 if depth == 2 else -1.3, 0)
        doubled = np.hstack([matrix, -matrix]) if signed else matrix
        norm = flow_limit(doubled, values, depth, alpha).sum()
        least = np.abs(ff.baselines.basis_pursuit(matrix, values, nonnegative=not signed)).sum()
        bound = theory.l1_excess_bound(depth, alpha, n, least, signed=signed)
        assert -1e-7 * least < norm - least <= bound + 1e-7 * least
        size = np.abs(other).sum()
        assert norm - size <= theory.l1_excess_bound(depth, alpha, n, size, signed=signed) + 1e-7 * size
        closest = max(closest, (norm - least) / bound)
    assert closest > 0.1


@pytest.mark.parametrize("signed", [False, True])
def test_it_is_never_above_the_theorem_for_depth_2(signed, rng):
    """``(Q^2 + n/e) / (2 log(1/alpha) - 1)``, n for 2n where signed."""
    alpha, norm = 10 ** rng.uniform(-12, np.log10(np.exp(-0.5)) - 1e-3, 1000), 10 ** rng.uniform(-4, 4, 1000)
    for n in (1, 2, 30, 10_000):
        theorem = (norm**2 + n * (1 + signed) / np.e) / (2 * np.log(1 / alpha) - 1)
        assert (theory.l1_excess_bound(2, alpha, n, norm, signed=signed) <= theorem * (1 + 1e-12)).all()


@pytest.mark.parametrize("depth", [3, 4, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_it_is_never_above_the_theorem_for_more_depth(depth, signed, rng):
    """``(L/2) alpha^{L-2} n^{1-2/L} X^{2/L}`` at the largest X that it allows, n for 2n where signed."""
    alpha, norm = 10 ** rng.uniform(-12, 3, 1000), 10 ** rng.uniform(-4, 4, 1000)
    for n in (1, 2, 30, 10_000):
        bound = theory.l1_excess_bound(depth, alpha, n, norm, signed=signed)
        slope = (n * (1 + signed)) ** (1 - 2 / depth)
        assert (bound <= depth / 2 * alpha ** (depth - 2) * slope * (norm + bound) ** (2 / depth) * (1 + 1e-10)).all()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_both_sides_have_the_same_entropy(depth, signed, rng):
    """``n H(X / n) = H(Q)``, the equation that the bound solves, and X is on the branch where the left side grows."""
    n = 40 * (1 + signed)
    alpha, norm = 10 ** rng.uniform(-3, 1, 200), 10 ** rng.uniform(-2, 2, 200)

    def entropy(x):
        if depth == 2:
            return x * np.log(x / alpha**2) - x
        return 2 * x / (depth * alpha ** (depth - 2)) - x ** (2 / depth)

    total = norm + theory.l1_excess_bound(depth, alpha, 40, norm, signed=signed)
    error = n * entropy(total / n) - entropy(norm)
    assert (np.abs(error) <= 1e-9 * (np.abs(entropy(norm)) + np.abs(entropy(total)))).all()
    assert (n * entropy(1.001 * total / n) > entropy(norm)).all()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_the_scale_is_the_inverse_of_the_bound(depth, signed, rng):
    alpha, norm = 10 ** rng.uniform(-10, 2, (20, 1)), 10 ** rng.uniform(-3, 3, 5)
    bound = theory.l1_excess_bound(depth, alpha, 50, norm, signed=signed)
    assert bound.shape == (20, 5)
    got = theory.l1_excess_scale(depth, bound, 50, norm, signed=signed)
    np.testing.assert_allclose(got, np.broadcast_to(alpha, got.shape), rtol=2e-11)
    smaller = theory.l1_excess_bound(depth, alpha / 2, 50, norm, signed=signed)
    assert (smaller < bound).all()


@pytest.mark.parametrize("depth", [2, 3, 8])
def test_the_scale_of_the_problem_does_not_matter(depth):
    """Starts times c and values times c^L: the flow's limit, its norm and its excess are c^L times as large."""
    bound = theory.l1_excess_bound(depth, 0.02, 60, 3.0)
    for c in (1e-3, 7.0, 1e4):
        assert theory.l1_excess_bound(depth, 0.02 * c, 60, 3.0 * c**depth) == pytest.approx(c**depth * bound, rel=1e-10)


def test_known_values():
    """None where one coordinate has all of the norm; e n alpha^2 and (L alpha^{L-2} / 2)^{L/(L-2)} n at Q = 0."""
    assert theory.l1_excess_bound(2, 1e-3, 1, 5.0, signed=False) == pytest.approx(0, abs=1e-300)
    assert theory.l1_excess_bound(2, 0.1, 7, 0.0) == pytest.approx(np.e * 14 * 0.01, rel=1e-12)
    assert theory.l1_excess_bound(3, 0.1, 7, 0.0, signed=False) == pytest.approx((0.15) ** 3 * 7, rel=1e-12)
    assert isinstance(theory.l1_excess_bound(3, 0.1, 7, 1.0), float)
    assert isinstance(theory.l1_excess_scale(3, 0.1, 7, 1.0), float)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: theory.l1_excess_bound(1, 0.1, 5, 1.0), ValueError, "depth must be at least 2, got 1"),
        (lambda: theory.l1_excess_bound(2, 0.0, 5, 1.0), ValueError, "scale must be greater than 0, got 0"),
        (lambda: theory.l1_excess_bound(2, 0.1, 0, 1.0), ValueError, "n must be at least 1, got 0"),
        (lambda: theory.l1_excess_bound(2, 0.1, 5, -1.0), ValueError, "norm must be at least 0, got -1"),
        (lambda: theory.l1_excess_bound(2, [0.1, np.nan], 5, 1.0), ValueError, "scale must be finite"),
        (lambda: theory.l1_excess_bound(2, "small", 5, 1.0), TypeError, "scale must be an array of real numbers"),
        (lambda: theory.l1_excess_bound(2, [0.1, 1], 5, [1, 2, 3]), ValueError, "scale and norm do not broadcast"),
        (lambda: theory.l1_excess_scale(2, 0.0, 5, 1.0), ValueError, "excess must be greater than 0, got 0"),
        (
            lambda: theory.l1_excess_scale(2, [1.0, 1e-3], 100, 50.0),
            ValueError,
            r"excess of 0\.001 over 50 requires a start of 10\^-57526 at depth 2, which float64 cannot hold",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
