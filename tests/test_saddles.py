"""From saddle to saddle: the path of vanishing starts against exact fractions, flows, limits and basis pursuit."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow.dual.saddles import saddle_paths
from fastflow.status import Status

MATRIX, VALUES = np.array([[1, 0.5, 0.7, 0], [0.5, 1, 0.1, 0.7]]), np.array([1.0, 0.0])


def draws(rng, count, m, n):
    """Gaussian systems, of sparse vectors and of dense values in turn."""
    matrices = rng.standard_normal((count, m, n))
    truths = np.where(rng.random((count, n)) < 0.2, rng.standard_normal((count, n)), 0)
    values = np.einsum("kmn,kn->km", matrices, truths)
    values[::2] = rng.standard_normal((len(values[::2]), m))
    return matrices, values


def test_the_fixture_is_exact():
    """The saddles of MATH.md, and the times at which coordinates come to 1: 1, 1 + 3, 4 + 80/49."""
    path = saddle_paths(MATRIX, VALUES)
    expected = [[0, 0, 0, 0], [0.8, 0, 0, 0], [0, 0, 1.4, 0], [0, 0, 10 / 7, -10 / 49]]
    np.testing.assert_allclose(path.points, expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(path.times, [0, 1, 4, 4 + 80 / 49], rtol=1e-13)
    assert path.converged
    assert path.jumps == 3
    assert ff.theory.saddle_path(ff.CompressedSensing(MATRIX, VALUES)) == path


@pytest.mark.parametrize(("depth", "alpha", "near"), [(2, 1e-12, 0.15), (2.5, 1e-10, 0.01), (3, 1e-6, 0.01)])
def test_flows_from_small_starts_rest_at_the_saddles(depth, alpha, near):
    """In the middle between two jumps, whose times depend on L by their unit alone; for L = 2 to ``1/log(1/alpha)``."""
    path = saddle_paths(MATRIX, VALUES)
    times = path.in_time(alpha, depth)
    moments = np.append((times[1:] + times[:-1]) / 2, 2 * times[-1])
    flow = ff.gradient_flow(MATRIX, VALUES, alpha, moments, depth, rtol=1e-6)
    np.testing.assert_allclose(flow.x, path.points, rtol=0, atol=near)


def test_ends_are_the_limits_of_vanishing_starts_and_basis_pursuit(rng):
    """Of 40 draws; with L = 3, where 1e-12 is small enough for float64 to see no difference."""
    matrices, values = draws(rng, 40, 5, 12)
    path = saddle_paths(matrices, values)
    limits = ff.flow_limit(matrices, values, 1e-12, 3)
    assert np.all(path.converged & limits.converged)
    np.testing.assert_allclose(path.x, limits.x, rtol=0, atol=1e-10 * np.abs(limits.x).max())
    for i in range(0, 40, 4):
        np.testing.assert_allclose(path.x[i], ff.baselines.basis_pursuit(matrices[i], values[i]), rtol=0, atol=1e-9)
    losses = np.linalg.norm(np.einsum("kmn,kjn->kjm", matrices, path.points) - values[:, None], axis=2)
    falls = np.diff(losses, axis=1)
    assert np.all(falls[np.isfinite(falls)] < 0)
    alone = [saddle_paths(matrices[i], values[i]) for i in range(5)]
    for i, one in enumerate(alone):
        np.testing.assert_array_equal(one.points, path.points[i, : one.jumps + 1])


def test_nonnegative_paths(rng):
    """Without v: the end is that of `flow_limit`, or nonnegative least squares where nothing fits."""
    matrices, values = draws(rng, 10, 4, 8)
    path = saddle_paths(matrices, values, signed=False)
    assert np.all(path.converged)
    assert np.nanmin(path.points) >= 0
    slopes = np.einsum("kmn,km->kn", matrices, values - np.einsum("kmn,kn->km", matrices, path.x))
    assert slopes.max() <= 1e-12 * np.abs(values).max() * 10
    np.testing.assert_allclose(slopes * path.x, 0, atol=1e-12)
    fits = np.flatnonzero(np.abs(slopes).max(axis=1) < 1e-9)[:3]
    limits = ff.flow_limit(matrices[fits], values[fits], 1e-12, 3, signed=False)
    np.testing.assert_allclose(path.x[fits], limits.x, rtol=0, atol=1e-9)


def test_what_floats_do_not_decide_is_said():
    """Two that come to their thresholds at once; repeated columns; a degenerate corner; and too many jumps."""
    assert saddle_paths(np.eye(2), [1.0, 1.0]).status == Status.INACCURATE
    assert saddle_paths(np.eye(2), [1.0, 0.999]).converged
    assert saddle_paths([[1.0, 1.0, 0.3]], [1.0]).status == Status.INACCURATE
    tied = saddle_paths([[1.0, 1, 1], [3, 0, 1]], [3.0, 3])  # which least l1 norm has several solutions of
    assert tied.status == Status.INACCURATE
    assert saddle_paths(MATRIX, VALUES, max_jumps=2).status == Status.MAX_STEPS
    assert saddle_paths(MATRIX, 0 * VALUES).jumps == 0
    overdetermined = saddle_paths(MATRIX.T[:, :1], np.arange(4.0))
    assert overdetermined.converged
    np.testing.assert_allclose(overdetermined.x, MATRIX[0] @ np.arange(4.0) / (MATRIX[0] @ MATRIX[0]))


def test_units():
    """x and times follow A and y in other units, also where squares are no floats; a mean has its own time."""
    path = saddle_paths(MATRIX, VALUES)
    for of_matrix, of_values in ((3.0, 0.1), (2.0**600, 2.0**-600)):
        other = saddle_paths(of_matrix * MATRIX, of_values * VALUES)
        assert other.converged
        np.testing.assert_allclose(other.points, path.points * (of_values / of_matrix), rtol=1e-13, atol=0)
        np.testing.assert_allclose(other.times * of_matrix * of_values, path.times, rtol=1e-13)
    mean = ff.theory.saddle_path(ff.CompressedSensing(MATRIX, VALUES, normalization="mean"))
    np.testing.assert_allclose(mean.points, path.points, rtol=0, atol=1e-14)
    np.testing.assert_allclose(mean.times, path.times, rtol=1e-13)  # 1/m sum r^2 is 1/2 sum r^2 for m = 2
    assert path.in_time(1e-6)[1] == pytest.approx(6 * np.log(10))
    assert path.in_time(1e-3, 4)[1] == pytest.approx(1e6 / 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: saddle_paths(MATRIX, [1.0]), ValueError, "values must have one entry for each of the 2 rows"),
        (lambda: saddle_paths(MATRIX, VALUES, max_jumps=0), ValueError, "max_jumps must be at least 1, got 0"),
        (lambda: saddle_paths(MATRIX, [np.nan, 0]), ValueError, "values must be finite"),
        (lambda: saddle_paths([MATRIX] * 3, [VALUES] * 2), ValueError, "the leading axes do not broadcast"),
        (lambda: saddle_paths(MATRIX, VALUES).in_time(1.0), ValueError, "alpha must be less than 1, got 1"),
        (lambda: saddle_paths(MATRIX, VALUES).in_time(0.1, 1), ValueError, "a linear flow has no saddles"),
        (lambda: ff.theory.saddle_path(ff.MatrixEstimation(np.eye(2))), TypeError, "needs a DeepLinear network"),
        (lambda: ff.theory.saddle_path(3), TypeError, "problem must be one problem"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
