"""The ends of the Hessian's spectrum: at balanced minima, at saddles, and against the dense Hessian of the oracle."""

from __future__ import annotations

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow import theory
from fastflow.networks import Chain


def balanced(product, widths):
    return ff.inits.Balanced(product=product).draw(Chain(widths), np.random.default_rng())


def dense_hessian(problem, factors):
    sizes = [f.size for f in factors]
    bounds = np.cumsum([0, *sizes])
    columns = []
    for unit in np.eye(bounds[-1]):
        direction = [unit[a:b].reshape(f.shape) for a, b, f in zip(bounds, bounds[1:], factors, strict=False)]
        columns.append(np.concatenate([h.ravel() for h in naive.hessian_times(problem, factors, direction)]))
    return np.array(columns)


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_sharpness_at_balanced_minima(depth, rng):
    """``N s_1^{2-2/N}`` where the residual vanishes: 125 draws of shape, widths, size and rank."""
    for _ in range(125):
        widths = rng.integers(1, 5, depth + 1)
        rank = rng.integers(1, widths.min() + 1)
        target = (
            rng.standard_normal((widths[-1], rank)) @ rng.standard_normal((rank, widths[0])) * 10 ** rng.uniform(-3, 3)
        )
        expected = depth * np.linalg.norm(target, 2) ** (2 - 2 / depth)
        got = theory.sharpness(ff.MatrixEstimation(target), balanced(target, tuple(map(int, widths))))
        assert got == pytest.approx(expected, rel=1e-10), (widths, rank)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("shape", [(6, 6), (5, 9)], ids=str)
def test_sharpness_by_lanczos_at_balanced_minima(shape, depth, rng):
    """The same, with more parameters than a matrix is formed for."""
    target = rng.standard_normal(shape)
    problem, widths = ff.MatrixEstimation(target), ff.DeepLinear(depth).widths_for(shape)
    expected = depth * np.linalg.norm(target, 2) ** (2 - 2 / depth)
    assert theory.sharpness(problem, balanced(target, widths)) == pytest.approx(expected, rel=1e-10)


def test_ends_of_the_spectrum_anywhere(kind, make_problem, make_factors):
    for widths in ((3, 2, 4), (6, 5, 7, 5)):
        problem, factors = make_problem(kind, (widths[-1], widths[0])), make_factors(widths)
        values = np.linalg.eigvalsh(dense_hessian(problem, factors))
        scale = np.abs(values).max()
        assert theory.sharpness(problem, factors) == pytest.approx(values[-1], abs=1e-9 * scale)
        assert theory.smallest_curvature(problem, factors) == pytest.approx(values[0], abs=1e-9 * scale)


def test_sharpness_of_runs_and_of_diagonal_networks(make_problem, make_factors, rng):
    problem, stack = make_problem("estimation", (4, 3)), [make_factors((3, 3, 4)) for _ in range(3)]
    one_by_one = [theory.sharpness(problem, factors) for factors in stack]
    got = theory.sharpness(problem, [np.array(f) for f in zip(*stack, strict=True)])
    np.testing.assert_array_equal(got, one_by_one)

    a, u = rng.standard_normal((3, 5)), 0.5 + rng.random(5)
    sensing = ff.CompressedSensing(a, a @ u**3)
    network = ff.DiagonalLinear(3, signed=False)
    expected = np.linalg.eigvalsh((a * 3 * u**4) @ a.T)[-1]
    assert theory.sharpness(sensing, [u], network) == pytest.approx(expected, rel=1e-10)
    assert theory.sharpness(sensing, [u] * 3, ff.DiagonalLinear(3, False, False)) == pytest.approx(expected, rel=1e-10)
    with pytest.raises(ValueError, match="give the network"):
        theory.sharpness(sensing, [u])


@pytest.mark.parametrize("depth", [2, 3])
def test_kinds_of_critical_points_of_an_autoencoder(depth, rng):
    """Every subset of the leading directions is one; only the leading ones, of full rank, are a minimum."""
    inputs = np.diag([3.0, 2.0, 1.5, 1.0]) @ np.linalg.qr(rng.standard_normal((6, 4)))[0].T
    problem, widths = ff.LinearRegression.autoencoder(inputs, samples="columns"), (4, *[2] * (depth - 1), 4)
    for subset, kind in [((0, 1), "minimum"), ((0, 2), "saddle"), ((0,), "saddle"), ((), "saddle"), ((3,), "saddle")]:
        projector = np.zeros((4, 4))
        projector[subset, subset] = 1
        factors = balanced(projector, widths)
        point = theory.critical_point(problem, ff.DeepLinear(widths=widths), factors)
        assert point.gradient_norm < 1e-13
        assert point.kind == kind, (subset, point)
        if kind == "minimum":
            assert point.smallest > -1e-12
        if depth == 2 and kind == "saddle":  # down the direction the loss falls
            ends = np.cumsum([f.size for f in factors])[:-1]
            parts = [part.reshape(f.shape) for part, f in zip(np.split(point.direction, ends), factors, strict=True)]
            moved = naive.loss(problem, [f + 1e-3 * v for f, v in zip(factors, parts, strict=True)])
            assert moved < naive.loss(problem, factors)


def test_ends_of_flows_whose_hessian_has_many_zeros(rng):
    """Completion with hundreds of flat directions, where an accuracy relative to the smallest eigenvalue is none."""
    truth = rng.standard_normal((12, 1)) @ rng.standard_normal((1, 12))
    problem = ff.MatrixCompletion.from_dense(np.where(rng.random((12, 12)) < 0.5, truth, np.nan))
    network = ff.DeepLinear(2)
    runs = ff.train(problem, network, ff.inits.Gaussian(0.1), ff.GradientFlow(rtol=1e-5), runs=2)
    values = np.linalg.eigvalsh(dense_hessian(problem, [factor[0] for factor in runs.factors]))
    assert np.sum(np.abs(values) < 1e-6 * values[-1]) > 100
    points = theory.critical_point(problem, network, runs.factors)
    assert [point.kind for point in points] == ["minimum"] * 2
    assert points[0].smallest == pytest.approx(values[0], abs=1e-7 * values[-1])
    assert points[0].largest == pytest.approx(values[-1], rel=1e-9)
    assert theory.smallest_curvature(problem, runs.factors)[0] == pytest.approx(values[0], abs=1e-8 * values[-1])


def test_critical_points_of_all_runs(rng):
    """A list of them; also of identical factors of a vector, and flat."""
    problem, network = ff.MatrixEstimation(np.diag([2.0, 1.0, 0.5])), ff.DeepLinear(2)
    stack = [np.array([np.diag([s, 1.0, r]) for s, r in ((2, 0.5), (0, 0.5), (2, 1))]), np.array([np.eye(3)] * 3)]
    stack[1][1, 0, 0] = 0
    points = theory.critical_point(problem, network, stack)
    assert [point.kind for point in points] == ["minimum", "saddle", "not critical"]
    vector = ff.CompressedSensing(np.eye(2, 3), np.array([4.0, 1.0]))
    network = ff.DiagonalLinear(2, signed=False)
    points = theory.critical_point(vector, network, [np.array([[2.0, 1, 0], [2, 0, 0]])])
    assert [point.kind for point in points] == ["minimum", "saddle"]
    assert theory.critical_point(vector, network, [np.array([0.0, 1, 0])]).kind == "saddle"


def test_a_saddle_that_the_second_derivatives_do_not_show():
    point = theory.critical_point(ff.MatrixEstimation(np.eye(5)), ff.DeepLinear(3), np.zeros(75))
    assert (point.kind, point.smallest, point.largest, point.gradient_norm) == ("saddle", 0, 0, 0)
    elsewhere = theory.critical_point(ff.MatrixEstimation(np.eye(3)), ff.DeepLinear(2), [0.5 * np.eye(3)] * 2)
    assert elsewhere.kind == "not critical"
    nothing = theory.critical_point(ff.MatrixEstimation(np.zeros((5, 5))), ff.DeepLinear(3), [np.zeros((5, 5))] * 3)
    assert nothing.kind == "minimum"  # the Hessian vanishes, and so does the loss
