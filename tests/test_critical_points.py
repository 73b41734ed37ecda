"""Kinds of critical points whose second derivatives vanish in some direction, against points nearby and minima."""

from __future__ import annotations

from typing import NamedTuple

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow import theory
from fastflow.networks import Chain
from fastflow.theory.critical_points import _OnRank


def balanced(product, widths):
    return ff.inits.Balanced(product=product).draw(Chain(widths), np.random.default_rng())


PLANE = ff.CompressedSensing(np.eye(2), np.ones(2))


@pytest.mark.parametrize("depth", range(2, 9))
@pytest.mark.parametrize("signed", [True, False])
def test_a_factor_that_waits_at_zero(depth, signed):
    """(1, 0) for y = (1, 1): (1, 1e-3^{1/L}) has less loss, at whatever depth, which no second derivative shows."""
    network = ff.DiagonalLinear(depth, signed)
    sides = [np.array([1.0, 0.0]), np.zeros(2)][: 2 if signed else 1]
    assert theory.critical_point(PLANE, network, sides).kind == "saddle"
    independent = [side for side in sides for _ in range(depth)]
    point = theory.critical_point(PLANE, ff.DiagonalLinear(depth, signed, identical=False), independent)
    assert point.kind == "saddle"
    assert (abs(point.smallest) < 1e-12) == (depth > 2)
    there = [np.array([1.0, 1.0]), np.zeros(2)][: 2 if signed else 1]
    assert theory.critical_point(PLANE, network, there).kind == "minimum"
    # The slope of the coordinate at 0 vanishes, so that nothing is lost there.
    still = ff.CompressedSensing(np.eye(2), np.array([1.0, 0.0]))
    assert theory.critical_point(still, network, sides).kind == "minimum"
    assert theory.critical_point(PLANE, network, [np.zeros(2)] * len(sides)).kind == "saddle"


def test_the_other_sign_is_reached_by_factors_that_move_apart():
    """y = (1, -1) without v: some factor of the second entry turns negative, others positive."""
    problem = ff.CompressedSensing(np.eye(2), np.array([1.0, -1.0]))
    assert theory.critical_point(problem, ff.DiagonalLinear(3, signed=False), [np.array([1.0, 0.0])]).kind == "saddle"


@pytest.mark.parametrize("weak", [1e-2, 1e-4, 1e-5])
def test_weak_directions_count_by_what_they_leave_of_the_data(weak):
    matrix, values = np.diag([1.0, weak]), np.array([1.0, weak])
    vector = ff.CompressedSensing(matrix, values)
    for depth in (3, 4):
        point = theory.critical_point(vector, ff.DiagonalLinear(depth), [np.array([1.0, 0.0]), np.zeros(2)])
        assert point.kind == "saddle"
    nearly_parallel = ff.CompressedSensing(np.array([[1.0, 1.0], [0.0, weak]]), np.array([1.0, weak]))
    point = theory.critical_point(nearly_parallel, ff.DiagonalLinear(3), [np.array([1.0, 0.0]), np.zeros(2)])
    assert point.kind == "saddle"
    regression = ff.LinearRegression(matrix, matrix, samples="columns")
    for depth in (2, 3):
        network = ff.DeepLinear(depth)
        assert theory.critical_point(regression, network, [np.diag([1.0, 0.0])] * depth).kind == "saddle"
        assert theory.critical_point(regression, network, [np.eye(2)] * depth).kind == "minimum"


def test_random_sparse_minima_and_saddles(rng):
    """Least squares on some columns: a minimum iff it is one on all of them; the way down is tried."""
    for _ in range(40):
        m, n, depth = 4, 5, int(rng.integers(3, 6))
        matrix, support = rng.standard_normal((m, n)), np.flatnonzero(rng.random(n) < 0.5)
        x = np.zeros(n)
        truth = rng.random(n) * (rng.random(n) < 0.5)
        x[support] = truth[support]
        values = matrix @ truth if rng.random() < 0.5 else matrix[:, support] @ truth[support]
        x[support] = np.linalg.lstsq(matrix[:, support], values, rcond=None)[0]
        problem = ff.CompressedSensing(matrix, values)
        u = np.where(x > 0, x, 0) ** (1 / depth)
        v = np.where(x < 0, -x, 0) ** (1 / depth)
        point = theory.critical_point(problem, ff.DiagonalLinear(depth), [u, v])
        best = np.linalg.norm(matrix @ np.linalg.lstsq(matrix, values, rcond=None)[0] - values)
        is_minimum = np.linalg.norm(matrix @ x - values) <= best + 1e-9
        assert point.kind == ("minimum" if is_minimum else "saddle")


def test_noisy_completion_through_a_bottleneck(rng):
    """The residual stays, and many directions are flat: the second derivative on the matrices of rank 2 tells."""
    truth = rng.standard_normal((9, 2)) @ rng.standard_normal((2, 8))
    seen = np.where(rng.random((9, 8)) < 0.8, truth + 0.3 * rng.standard_normal((9, 8)), np.nan)
    problem, network = ff.MatrixCompletion.from_dense(seen), ff.DeepLinear(widths=(8, 2, 3, 9))
    method = ff.GradientFlow(rtol=1e-6, gradient_tol=1e-9)
    runs = ff.train(problem, network, ff.inits.Gaussian(0.5), method, runs=2)
    assert runs.loss.min() > 1e-2
    assert [point.kind for point in theory.critical_point(problem, network, runs.factors)] == ["minimum"] * 2


def test_second_derivative_on_the_matrices_of_a_rank(rng):
    """Along curves of matrices of rank 2, by differences of the loss."""
    inputs, outputs = rng.standard_normal((5, 9)), rng.standard_normal((6, 9))
    problem = ff.LinearRegression(inputs, outputs, normalization="mean", samples="columns")
    point = theory.global_minimum(problem, 2)
    curvature = _OnRank(problem, point.solution, 2)
    left, values, right = np.linalg.svd(point.solution)
    v = rng.standard_normal(curvature.size)
    inner, down, across = np.split(v, [4, 4 + 4 * 2])
    inner, down, across = inner.reshape(2, 2), down.reshape(4, 2), across.reshape(2, 3)

    def loss(t):
        core = np.diag(values[:2]) + t * inner
        product = (left[:, :2] @ core + t * left[:, 2:] @ down) @ np.linalg.inv(core)
        return problem.loss(product @ (core @ right[:2] + t * across @ right[2:]))

    h = 1e-3
    wanted = (-loss(2 * h) + 16 * loss(h) - 30 * loss(0) + 16 * loss(-h) - loss(-2 * h)) / (12 * h**2)
    assert v @ curvature.times(v) == pytest.approx(wanted, rel=1e-6)
    matrix = np.array([curvature.times(unit) for unit in np.eye(curvature.size)])
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    assert np.linalg.eigvalsh(matrix)[0] > 0


def test_ties_and_what_stays_undecided():
    """Minima that are many lie on a valley; a plateau that goes down in fourth order only is not told apart."""
    tied = ff.MatrixEstimation(np.eye(3))
    widths = (3, 1, 3)
    point = theory.critical_point(tied, ff.DeepLinear(widths=widths), balanced(np.diag([1.0, 0, 0]), widths))
    assert point.kind == "minimum"
    # Completion through one unit: x_1 y_1 = 1 and x_2 y_2 = 1 with y_1 = 0 elsewhere unseen: no W fits better.
    unseen = ff.MatrixCompletion((2, 2), [0], [0], [1.0], warn=False)
    point = theory.critical_point(
        unseen, ff.DeepLinear(widths=(2, 1, 2)), [np.array([[1.0, 0.0]]), np.array([[1.0], [0.0]])]
    )
    assert point.kind == "minimum"


class Double(NamedTuple):
    """``1/4 sum (W^2 - 1)^2 + 1/2 sum tilt W``: not convex in W."""

    tilt: np.ndarray


def test_a_problem_of_the_users_own_is_not_taken_for_convex():
    def formula(problem, index, product, gradient):
        loss = 0.0
        for i in range(product.size):
            gradient[i] = product[i] ** 3 - product[i]
            loss += (product[i] ** 2 - 1) ** 2 / 4
        return loss

    ff.kernels.add_problem(Double, formula)
    problem = ff.CustomProblem((1, 1), Double(np.zeros(1)))
    one = ff.DeepLinear(1)
    assert theory.critical_point(problem, one, [np.ones((1, 1))]).kind == "minimum"
    assert theory.critical_point(problem, one, [np.zeros((1, 1))]).kind == "saddle"
    assert theory.critical_point(problem, ff.DeepLinear(2), [np.ones((1, 1))] * 2).kind == "undecided"
    assert theory.critical_point(problem, ff.DeepLinear(3), [np.zeros((1, 1))] * 3).kind == "undecided"


def test_one_run_that_diverged_costs_the_others_nothing():
    stack = [np.array([np.eye(2), np.full((2, 2), np.nan)])] * 2
    first, second = theory.critical_point(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2), stack)
    assert (first.kind, second.kind) == ("minimum", "undecided")
    assert np.isnan(second.largest)


def test_ways_down_from_saddles_of_chains(rng):
    """Where the kind is a saddle some point nearby has less loss, where it is a minimum none of many has."""
    target = np.diag([3.0, 2.0, 1.0])
    for depth, kept in ((3, (0, 1)), (3, (0, 2)), (4, (1, 2)), (3, (0, 1, 2))):
        problem, widths = ff.MatrixEstimation(target), (3,) * (depth + 1)
        product = np.diag([target[i, i] if i in kept else 0 for i in range(3)])
        factors = balanced(product, widths)
        point = theory.critical_point(problem, ff.DeepLinear(depth), factors)
        lower = any(
            naive.loss(problem, [f + s * rng.standard_normal(f.shape) for f in factors])
            < naive.loss(problem, factors) - 1e-14
            for s in np.geomspace(1e-3, 0.3, 200)
        )
        assert point.kind == ("minimum" if len(kept) == 3 else "saddle")
        if point.kind == "minimum":
            assert not lower
