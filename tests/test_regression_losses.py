"""Losses of regression whose steps go through ``X X^T``: sums of squares in all digits, and so the ends they decide."""

from __future__ import annotations

import os

import mpmath
import numpy as np
import pytest

import fastflow as ff
from fastflow.networks import Chain
from fastflow.theory.hessian import Hessian


def exact_loss(problem, product):
    """``1/2 ||W X - Y||^2`` in 60 digits."""
    with mpmath.workdps(60):
        residual = mpmath.matrix(np.asarray(product, float)) * mpmath.matrix(problem.inputs) - mpmath.matrix(
            problem.outputs
        )
        return float(0.5 * problem.weight * mpmath.fsum(r**2 for r in residual))


def weak(rng, spread, samples=9, noise=0.0, rows=2, columns=3):
    """X with singular values from 1 down to ``spread``, Y of a truth of like size."""
    left, right = (np.linalg.qr(rng.standard_normal((n, columns)))[0] for n in (columns, samples))
    inputs = (left * np.geomspace(1, spread, columns)) @ right.T
    truth = rng.standard_normal((rows, columns))
    return ff.LinearRegression(
        inputs, truth @ inputs + noise * rng.standard_normal((rows, samples)), samples="columns"
    ), left


@pytest.mark.parametrize("layout", ["lanes", "one", "list"])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_is_wrong_along_weak_directions_only(layout, noise, dtype, rng):
    """There ``<D, D X X^T>`` is round-off; from far along them the loss is what it is, and so is the end."""
    if dtype == np.float32 and layout == "one" and "FASTFLOW_WHOLE" not in os.environ:
        pytest.skip("alike in lanes: where the environment has FASTFLOW_WHOLE")
    columns = 3 if layout != "one" else 60
    made = [weak(rng, 1e-6, 2 * columns, noise, 2, columns) for _ in range(2)]
    problems = [problem for problem, _ in made] if layout == "list" else made[0][0]
    far = [np.outer(rng.standard_normal(2), left[:, -1]) * 10 ** rng.uniform(3, 8) for _, left in made]
    starts = np.array(far if layout == "list" else far[:1] * 2)
    method = ff.GradientDescent(step=1e-30, max_steps=2, tol=1e-3)
    record = ff.Record([0, 1])
    init = ff.inits.Explicit([starts.astype(dtype)])
    runs = ff.train(problems, ff.DeepLinear(1), init, method, dtype=dtype, record=record)
    for run, index in enumerate(runs.problem_index):
        problem = problems[index] if layout == "list" else problems
        wanted = exact_loss(problem, runs.solution[run])
        assert runs.loss[run] == pytest.approx(wanted, rel=1e-9, abs=1e-25)
        assert runs.history.loss[run, -1] == runs.loss[run] >= 0
        assert (runs.status[run] == ff.Status.CONVERGED) == (wanted <= 1e-3)


def test_no_loss_is_negative_or_another(rng):
    """Random draws of conditions, sizes, noise and depths, where steps are taken, too."""
    for draw in range(60):
        problem, _ = weak(rng, 10 ** rng.uniform(-7, 0), int(rng.integers(3, 12)), rng.choice([0, 1e-8, 1e-3]))
        dtype = ("float32", "float64")[draw % 2]
        method = ff.GradientDescent(max_steps=50, tol=rng.choice([1e-4, 1e-10, 1e-20]))
        init = ff.inits.Gaussian(10 ** rng.uniform(-1, 0.3))
        runs = ff.train(problem, ff.DeepLinear(int(rng.integers(1, 3))), init, method, runs=3, dtype=dtype)
        for run in range(3):
            if runs.status[run] == ff.Status.DIVERGED:
                continue
            wanted = exact_loss(problem, runs.solution[run])
            assert runs.loss[run] == pytest.approx(wanted, rel=1e-8, abs=1e-26)
            assert runs.loss[run] >= 0
            assert runs.status[run] != ff.Status.CONVERGED or wanted <= method.tol * (1 + 1e-8)


def test_recording_changes_no_end(rng):
    """A step that is looked at more closely for a record ends no run that goes on where it is not recorded."""
    problem, left = weak(rng, 1e-5)
    start = [np.outer(rng.standard_normal(2), left[:, -1]) * 1e4 + rng.standard_normal((2, 3))]
    method = ff.GradientDescent(step=0.5, max_steps=300, tol=1e-3)
    few = ff.train(problem, ff.DeepLinear(1), ff.inits.Explicit(start), method)
    all_steps = ff.train(problem, ff.DeepLinear(1), ff.inits.Explicit(start), method, record=ff.Record(np.arange(301)))
    assert few.steps[0] == all_steps.steps[0]
    assert few.status[0] == all_steps.status[0]
    np.testing.assert_array_equal(few.solution, all_steps.solution)


def test_diagonal_networks_and_flows(rng):
    """Their data come by the same road; the flow takes its gradient from the root, too, and reaches weak directions."""
    problem, left = weak(rng, 1e-4, noise=0.1, rows=1)
    one = problem.of_vector()
    assert one.prefers_gram
    far = 1e5 * left[:, -1]
    runs = ff.train(one, ff.DiagonalLinear(1, signed=False), ff.inits.Explicit([far]), ff.GradientDescent(max_steps=1))
    assert runs.loss[0] == pytest.approx(exact_loss(problem, runs.solution), rel=1e-9)
    flow = ff.train(
        problem, ff.DeepLinear(1), ff.inits.Explicit([far[None]]), ff.GradientFlow([1e6, 1e8], t_max=1e8, rtol=1e-8),
        record=ff.Record(product=True),
    )  # fmt: skip
    best = problem.estimate()
    values, vectors = np.linalg.eigh(problem.inputs @ problem.inputs.T)
    singular = np.linalg.svd(problem.inputs, compute_uv=False)[::-1]
    for at, time in enumerate([1e6, 1e8]):
        decay = (vectors * np.exp(-time * singular**2)) @ vectors.T
        wanted = best + (far[None] - best) @ decay
        np.testing.assert_allclose(flow.history.product[0, at], wanted, rtol=0, atol=1e-6 * np.abs(far).max())
        assert flow.history.loss[0, at] == pytest.approx(problem.loss(flow.history.product[0, at]), rel=1e-9)
    assert values.size == 3
    hessian = Hessian(problem, Chain((3, 1)).network, [far[None]])
    assert hessian.loss == pytest.approx(exact_loss(problem, far[None]), rel=1e-9)


@pytest.mark.parametrize("size", [1e-100, 1e90])
@pytest.mark.parametrize("width", [2, 60])
def test_gradient_norms_whose_squares_float64_has_not(size, width):
    factors = [np.eye(width) / size, np.eye(width) * size]
    problem = ff.MatrixEstimation(1e70 * np.eye(width)) if size > 1 else ff.MatrixEstimation(1e-70 * np.eye(width))
    factors = factors if size > 1 else [size * np.eye(width)] * 2
    error = factors[1] @ factors[0] - problem.target
    entries = np.concatenate([(factors[1].T @ error).ravel(), (error @ factors[0].T).ravel()])
    wanted = np.abs(entries).max() * np.linalg.norm(entries / np.abs(entries).max())
    method = ff.GradientDescent(step=1e-300, max_steps=0, tol=0)
    init, network = ff.inits.Explicit(factors), ff.DeepLinear(2)
    runs = ff.train(problem, network, init, method, record=ff.Record([0]))
    assert runs.history.gradient_norm[0, 0] == pytest.approx(wanted, rel=1e-14)
    flow = ff.train(problem, network, init, ff.GradientFlow([0.0], t_max=1e-300, tol=0))
    assert flow.history.gradient_norm[0, 0] == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("identical", [True, False])
@pytest.mark.parametrize("runs", [1, 16])
@pytest.mark.parametrize("size", [1e-90, 1e90])
def test_gradient_norms_of_diagonal_networks(size, runs, identical, rng):
    problem, network = (
        ff.CompressedSensing(rng.standard_normal((2, 3)), np.ones(2)),
        ff.DiagonalLinear(3, True, identical),
    )
    starts = [np.full((runs, 3), size)] * (2 if identical else 6)
    method = ff.GradientDescent(step=1e-300, max_steps=0, tol=0)
    made = ff.train(problem, network, ff.inits.Explicit(starts), method, record=ff.Record([0]))
    wanted = np.linalg.norm(problem.matrix.T @ np.ones(2)) * np.sqrt(6) * size**2
    np.testing.assert_allclose(made.history.gradient_norm[:, 0], wanted, rtol=1e-13)


@pytest.mark.parametrize("size", [1e-12, 1e3])
def test_gradient_norms_of_the_dual_flow(size, rng):
    problem = ff.CompressedSensing(1e-70 * rng.standard_normal((2, 3)), 1e-70 * np.ones(2))
    method = ff.GradientFlow([0.0], t_max=1.0)
    flow = ff.train(problem, ff.DiagonalLinear(3), ff.inits.Constant(size), method)
    wanted = np.linalg.norm(1e70 * problem.matrix.T @ np.ones(2)) * np.sqrt(6) * size**2
    assert flow.history.gradient_norm[0, 0] * 1e140 == pytest.approx(wanted, rel=1e-12)


def test_gradient_norms_in_float32():
    """Squares of 1e-15 vanish in float32, and a gradient_tol must not take that for a critical point."""
    factors = [np.float32(1e-12) * np.eye(2, dtype=np.float32)] * 3
    method = ff.GradientDescent(step=1e-3, max_steps=0, tol=0, gradient_tol=1e-26)
    problem = ff.MatrixEstimation(np.eye(2))
    runs = ff.train(
        problem, ff.DeepLinear(3), ff.inits.Explicit(factors), method, dtype="float32", record=ff.Record([0])
    )
    assert runs.history.gradient_norm[0, 0] == pytest.approx(1e-24 * 6**0.5, rel=1e-6)
    assert runs.status[0] == ff.Status.MAX_STEPS


def test_balancedness_and_errors_beyond_squares():
    factors = [1e90 * np.eye(2), 2e90 * np.eye(2)]
    truth = 1e-180 * np.eye(2)
    problem = ff.MatrixEstimation(truth, truth=truth)
    record = ff.Record([0], balancedness=True)
    small = [1e-90 * np.eye(2), 3e-90 * np.eye(2)]
    method = ff.GradientDescent(step=1e-300, max_steps=0, tol=0)
    runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Explicit(small), method, record=record)
    assert runs.history.error[0, 0] == pytest.approx(2, rel=1e-14)
    assert runs.error[0] == pytest.approx(2, rel=1e-14)
    assert runs.history.balancedness[0, 0] == pytest.approx(8e-180 * 2**0.5, rel=1e-13)
    assert ff.metrics.balancedness(factors) == pytest.approx(3e180 * 2**0.5, rel=1e-14)
