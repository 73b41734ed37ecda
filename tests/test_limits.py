"""Limits that theorems give: global minima over a rank, the positive part, and that flows end there."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow import theory
from fastflow.networks import Chain


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize("samples", [9, 4, 3], ids=lambda k: f"{k} samples")
def test_global_minimum_is_one(samples, rank, rng):
    """Its value is the loss at its solution, and no other matrix of the rank beats it."""
    inputs, outputs = rng.standard_normal((4, samples)), rng.standard_normal((3, samples))
    for normalization in ("sum", "mean"):
        problem = ff.LinearRegression(inputs, outputs, normalization=normalization, samples="columns")
        minimum = theory.global_minimum(problem, rank)
        assert problem.loss(minimum.solution) == pytest.approx(minimum.value, rel=1e-10, abs=1e-13)
        assert np.linalg.matrix_rank(minimum.solution) <= rank
        assert minimum.determined == minimum.unique == (samples >= 4)
        for _ in range(50):
            other = rng.standard_normal((3, rank)) @ rng.standard_normal((rank, 4))
            for near in (other, minimum.solution + 0.01 * other if rank == 3 else other):
                assert problem.loss(near) >= minimum.value * (1 - 1e-12)


def test_global_minimum_of_the_autoencoder(rng):
    """``1/2 sum_{i > r} lambda_i(X X^T)`` at ``U_r U_r^T``, with fewer samples than dimensions as well."""
    for samples in (12, 5):
        inputs = rng.standard_normal((8, samples))
        values, vectors = np.linalg.eigh(inputs @ inputs.T)
        minimum = theory.global_minimum(ff.LinearRegression.autoencoder(inputs, samples="columns"), 3)
        assert minimum.value == pytest.approx(0.5 * values[:-3].sum(), rel=1e-12)
        np.testing.assert_allclose(minimum.solution, vectors[:, -3:] @ vectors[:, -3:].T, atol=1e-11)


@pytest.mark.parametrize("rank", [1, 2])
def test_two_layers_find_the_global_minimum_of_few_samples(rank, rng):
    """``X X^T`` is singular: the value is unique, the minimiser of least norm only one of many."""
    problem = ff.LinearRegression(rng.standard_normal((4, 3)), rng.standard_normal((3, 3)), samples="columns")
    minimum = theory.global_minimum(problem, rank)
    runs = ff.train(
        problem, ff.DeepLinear(widths=(4, rank, 3)), ff.inits.Gaussian(0.5), ff.GradientFlow(rtol=1e-6), runs=20
    )
    np.testing.assert_allclose(runs.loss, minimum.value, rtol=1e-9)
    assert np.all(np.linalg.norm(runs.solution, axis=(1, 2)) > np.linalg.norm(minimum.solution) * (1 - 1e-9))
    seen = np.asarray(problem.inputs)
    np.testing.assert_allclose(runs.solution @ seen, [minimum.solution @ seen] * 20, atol=1e-6)


def test_ties_are_not_unique():
    assert not theory.global_minimum(ff.MatrixEstimation(np.diag([2.0, 1.0, 1.0])), 2).unique
    assert theory.global_minimum(ff.MatrixEstimation(np.diag([2.0, 1.0, 1.0])), 1).unique
    assert theory.global_minimum(ff.MatrixEstimation(np.diag([2.0, 0.0, 0.0])), 2).unique
    with pytest.raises(TypeError, match="got MatrixCompletion"):
        theory.global_minimum(ff.MatrixCompletion.from_dense([[1.0, np.nan]], warn=False), 1)


def test_runs_end_at_the_predicted_limits(rng):
    vectors = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    target = (vectors * [3.0, 1.0, -1.0, -2.0]) @ vectors.T
    problem = ff.MatrixEstimation((target + target.T) / 2)
    identical = ff.inits.Identity(0.1, of="factor")
    factors = identical.draw(Chain((4, 4, 4)), rng)
    limit = theory.predicted_limit(problem, factors)
    np.testing.assert_allclose(limit.solution, (vectors[:, :2] * [3.0, 1.0]) @ vectors[:, :2].T, atol=1e-13)
    assert "0.1 I: the positive part of the target, a saddle" in limit.reason
    method = ff.GradientDescent(step=0.1, max_steps=800, tol=0)
    runs = ff.train(problem, ff.DeepLinear(2), identical, method, runs=1)
    np.testing.assert_allclose(runs.solution[0], limit.solution, atol=1e-8)

    start = ff.inits.Gaussian(0.1).draw(Chain((4, 2, 4)), rng)
    limit = theory.predicted_limit(problem, start)
    runs = ff.train(problem, ff.DeepLinear(widths=(4, 2, 4)), ff.inits.Explicit(start), method)
    np.testing.assert_allclose(runs.solution[0], limit.solution, atol=1e-8)
    assert runs.loss[0] == pytest.approx(limit.value, rel=1e-10)
    assert "rank 2, from almost every start" in limit.reason
    assert "or over a smaller one" in theory.predicted_limit(problem, [*start, np.eye(4)]).reason
    assert "convex" in theory.predicted_limit(problem, [np.eye(4)]).reason


def test_no_limit_is_predicted_where_none_is_known(make_problem, rng):
    for kind in ("completion", "sensing", "regression by samples"):
        assert theory.predicted_limit(make_problem(kind, (4, 4)), [np.eye(4)] * 2) is None
    with pytest.raises(ValueError, match="symmetric"):
        theory.positive_part([[0.0, 1.0], [0.0, 0.0]])
