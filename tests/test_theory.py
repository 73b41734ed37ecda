"""What is known beforehand: the metric of the balanced flow, the edge of stability, the monotone step."""

from __future__ import annotations

import re
from dataclasses import replace

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow import theory
from fastflow.networks import Chain

DEPTHS = [1, 2, 3, 4, 6]


def eigenvalue(first, second, depth):
    """``sum_j s_r^{2(N-j)/N} s_s^{2(j-1)/N}``, where the power 0 is 1 also at 0."""
    return sum(first ** (2 * (depth - j) / depth) * second ** (2 * (j - 1) / depth) for j in range(1, depth + 1))


def balanced_factors(product, widths):
    """Balanced factors of a given product."""
    return ff.inits.Balanced(product=product).draw(Chain(widths), np.random.default_rng())


def hessian(problem, factors, width=1e-5):
    """The Hessian of the oracle's loss by all factors, from central differences of the oracle's gradient."""
    columns = []
    for j, factor in enumerate(factors):
        for entry in np.ndindex(factor.shape):
            gradients = []
            for sign in (1, -1):
                moved = [f.copy() for f in factors]
                moved[j][entry] += sign * width
                gradients.append(np.concatenate([g.ravel() for g in naive.gradient(problem, moved)]))
            columns.append((gradients[0] - gradients[1]) / (2 * width))
    matrix = np.array(columns)
    return (matrix + matrix.T) / 2


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shape", [(5, 5), (6, 4), (3, 5)], ids=str)
def test_metric_inverse_has_the_eigenvalues_of_its_formula(depth, shape, rng):
    """On every ``u_r v_s^T`` of full singular bases; W has rank 2, so powers of zeros occur."""
    left = np.linalg.qr(rng.standard_normal((shape[0], shape[0])))[0]
    right = np.linalg.qr(rng.standard_normal((shape[1], shape[1])))[0]
    values = np.zeros(max(shape))
    values[:2] = 3.0, 0.7
    product = (left[:, : min(shape)] * values[: min(shape)]) @ right[:, : min(shape)].T
    for r in range(shape[0]):
        for s in range(shape[1]):
            direction = np.outer(left[:, r], right[:, s])
            expected = eigenvalue(values[r], values[s], depth) * direction
            got = theory.metric_inverse(product, direction, depth)
            largest = eigenvalue(3.0, 3.0, depth)  # rounding of its size reaches every entry
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13 * largest)


def test_metric_inverse_is_the_flow_of_the_product(make_problem, make_factors):
    """One small step of gradient descent from a balanced start moves W by ``-step A_W(E)``."""
    for depth in (1, 2, 3, 5):
        problem = make_problem("completion", (5, 4))
        start = naive.chain_product(make_factors((4, 4, 5)))
        method = ff.GradientDescent(step=1e-7, max_steps=1, tol=0)
        runs = ff.train(problem, ff.DeepLinear(depth), ff.inits.Balanced(product=start), method)
        velocity = (runs.solution[0] - start) / 1e-7
        expected = -theory.metric_inverse(start, problem.gradient(start), depth)
        np.testing.assert_allclose(velocity, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("shape", [(5, 5), (6, 3), (1, 4)], ids=str)
def test_stability_edge_of_estimation(depth, shape, rng):
    target = rng.standard_normal(shape)
    largest = np.linalg.norm(target, 2)
    problem = ff.MatrixEstimation(target)
    expected = 2 / (depth * largest ** (2 - 2 / depth))
    assert theory.stability_edge(problem, ff.DeepLinear(depth)) == pytest.approx(expected, rel=1e-8)
    mean = replace(problem, normalization="mean")
    assert theory.stability_edge(mean, ff.DeepLinear(depth)) == pytest.approx(expected * target.size / 2, rel=1e-8)


@pytest.mark.parametrize("widths", [(4, 5), (4, 4, 5), (4, 2, 5), (4, 5, 3, 5), (3, 4, 2, 3, 4)], ids=str)
def test_stability_edge_is_that_of_the_hessian_where_the_residual_vanishes(kind, widths, make_problem, rng):
    """``2 / lambda_max`` of the Hessian at balanced factors of the expected solution, with data that it fits.

    Of regression, whose minimum over a rank is known, with the residual that a bottleneck leaves there.
    """
    truth = rng.standard_normal((widths[-1], widths[0]))
    problem = make_problem(kind, truth.shape, truth)
    edge = theory.stability_edge(problem, ff.DeepLinear(widths=widths))
    solution = problem.expected_solution(min(widths))
    residual = problem.residual(solution)
    if kind == "estimation":
        fitted = replace(problem, target=solution)
    elif kind.startswith("regression"):
        fitted = problem
    else:
        fitted = replace(problem, values=problem.values + residual)
    assert fitted is problem or fitted.loss(solution) < 1e-25
    largest = np.linalg.eigvalsh(hessian(fitted, balanced_factors(solution, widths)))[-1]
    assert edge == pytest.approx(2 / largest, rel=1e-6)


@pytest.mark.parametrize("size", [2, 10, 100])
@pytest.mark.parametrize("stretch", [1.2, 1.5, 3.0])
def test_stability_edge_where_the_leading_singular_pair_is_not_the_leading_eigenvector(size, stretch):
    """``u_1 v_1^T`` is an exact eigenvector here, but inputs that stretch another direction have a larger one."""
    values, inputs = np.linspace(2, 1, size), np.eye(size)
    inputs[-1, -1] = stretch
    problem = ff.LinearRegression(inputs, np.diag(values) @ inputs, samples="columns")
    depth = 2
    largest = max(eigenvalue(2, 2, depth), stretch**2 * eigenvalue(2, 1, depth))
    assert theory.stability_edge(problem, ff.DeepLinear(depth)) == pytest.approx(2 / largest, rel=1e-3)


@pytest.mark.parametrize("kind", ["estimation", "regression by gram"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_gradient_descent_converges_just_below_the_edge_and_oscillates_just_above(kind, depth, make_problem, rng):
    """From 63 starts that are 1e-9 off solutions, 700 steps at 0.99 and 1.01 of the edge; 504 draws in all."""
    network, draws = ff.DeepLinear(depth), 63
    problems, starts = [], []
    for _ in range(draws):
        left, right = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
        truth = (left * rng.uniform(0.7, 1.5, 4)) @ right
        problems.append(make_problem(kind, (4, 4), truth))
        factors = balanced_factors(truth, network.widths_for((4, 4)))
        starts.append([f + 1e-9 * rng.standard_normal(f.shape) for f in factors])
    start = ff.inits.Explicit([np.array(stack) for stack in zip(*starts, strict=True)])
    initial = np.array([naive.loss(problem, factors) for problem, factors in zip(problems, starts, strict=True)])

    below = ff.train(problems, network, start, ff.GradientDescent(0.99 * theory.edge, max_steps=700, tol=0))
    assert np.all(below.loss < 1e-2 * initial)
    method, record = (
        ff.GradientDescent(1.01 * theory.edge, max_steps=700, tol=0),
        ff.Record([600, 698, 699, 700], product=True),
    )
    above = ff.train(problems, network, start, method, record=record)
    assert np.all(above.history.loss[:, 1] > 10 * above.history.loss[:, 0])
    steps = np.diff(above.history.product[:, 1:], axis=1)
    cosine = np.sum(steps[:, 0] * steps[:, 1], axis=(1, 2)) / np.prod(np.linalg.norm(steps, axis=(2, 3)), axis=1)
    assert np.all(cosine < -0.99)


def test_the_default_step_is_half_the_edge_and_is_shown(kind, make_problem):
    problem, network = make_problem(kind, (4, 3)), ff.DeepLinear(2)
    runs = ff.train(problem, network, runs=3, method=ff.GradientDescent(max_steps=1))
    edge = theory.stability_edge(problem, network)
    np.testing.assert_array_equal(runs.step, 0.5 * edge)
    shown = re.search(r"step size +(\S+)", runs.summary())
    assert shown is not None
    assert float(shown[1]) == pytest.approx(0.5 * edge, rel=1e-3)


def test_the_default_step_is_that_of_each_problem(make_problem):
    problems, network = [make_problem("estimation", (4, 3)) for _ in range(3)], ff.DeepLinear(2)
    runs = ff.train(problems, network, runs=2, method=ff.GradientDescent(max_steps=1))
    edges = [theory.stability_edge(problem, network) for problem in problems]
    np.testing.assert_array_equal(runs.step, 0.5 * np.repeat(edges, 2))


def test_a_warning_of_a_step_above_the_edge_points_at_the_caller(make_problem):
    problem, network = make_problem("estimation", (4, 3)), ff.DeepLinear(2)
    edge = theory.stability_edge(problem, network)
    with pytest.warns(UserWarning, match=re.escape(f"edge {edge:.3g}")) as caught:
        ff.train(problem, network, runs=1, method=ff.GradientDescent(step=1.1 * edge, max_steps=1))
    assert [warning.filename for warning in caught] == [__file__]
    ff.train(problem, network, runs=1, method=ff.GradientDescent(step=0.99 * edge, max_steps=1))


def test_a_solution_of_zero_has_no_edge():
    zero = ff.MatrixEstimation(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"W = 0.*give a step"):
        theory.stability_edge(zero, ff.DeepLinear(2))
    assert theory.stability_edge(zero, ff.DeepLinear(1)) == pytest.approx(2)
    with pytest.raises(ValueError, match="give a step"):
        ff.train(zero, ff.DeepLinear(2), runs=1)
    ff.train(zero, ff.DeepLinear(2), runs=1, method=ff.GradientDescent(step=0.1, max_steps=1))


def test_monotone_step_formula():
    assert theory.monotone_step(2, 0.1, 4.0) == pytest.approx(1 / (4 * 4.0), rel=1e-14)
    assert theory.monotone_step(3, 0.1, 8.0) == pytest.approx(1 / (7 * 16.0), rel=1e-14)
    assert theory.monotone_step(3, 5.0, 8.0) == pytest.approx(1 / (7 * 625.0), rel=1e-14)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((1, 0.1, 1.0), ValueError, "depth must be at least 2"),
        ((2.5, 0.1, 1.0), TypeError, "depth must be an integer"),
        ((2, 0.0, 1.0), ValueError, "scale must be greater than 0"),
        ((2, 0.1, -1.0), ValueError, "norm must be at least 0"),
    ],
)
def test_monotone_step_of_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        theory.monotone_step(*arguments)


@pytest.mark.parametrize("kind", ["estimation", "completion", "sensing", "regression by gram"])
@pytest.mark.parametrize("widths", [(9, 9, 9), (9, 2, 9)])
def test_an_edge_costs_no_more_than_it_may(kind, widths, make_problem, monkeypatch):
    problem, network = make_problem(kind, (9, 9)), ff.DeepLinear(widths=widths)
    exact = theory.stability_edge(problem, network, 1e-3)
    assert theory.stability_edge(problem, network, 1e-3, 1e12) == exact

    def refused(*_, **__):
        raise AssertionError("this costs more than it may")

    for name in ("svd", "lstsq"):
        monkeypatch.setattr(np.linalg, name, refused)
    with pytest.raises(ValueError, match="costs more"):
        theory.stability_edge(problem, network, 1e-3, 1e3)


@pytest.mark.parametrize("kind", ["completion", "sensing"])
def test_an_edge_that_does_not_come_is_given_up(kind, make_problem):
    problem, network = make_problem(kind, (9, 9)), ff.DeepLinear(2)
    turn = problem.loss_flops + 4 * 9**2 * 18
    with pytest.raises(ValueError, match="costs more"):
        theory.stability_edge(problem, network, 1e-15, 40 * 9**3 + problem.estimate_flops + 3 * turn)


def test_a_number_for_a_step_is_compared_where_that_costs_a_hundredth(monkeypatch):
    """Of one run of two steps nothing is decomposed; of many, or small ones, a step above the edge is warned of."""
    large = ff.MatrixEstimation(np.diag(np.linspace(1, 2, 120)))
    small = ff.MatrixEstimation(np.diag([1.0, 2.0]))
    init, method = ff.inits.Identity(0.1), ff.GradientDescent(10.0, 2)
    with pytest.warns(UserWarning, match="above the linear stability edge"):
        ff.train(small, ff.DeepLinear(2), init, method, threads=1)

    def refused(*_, **__):
        raise AssertionError("this costs more than it may")

    monkeypatch.setattr(np.linalg, "svd", refused)
    assert ff.train(large, ff.DeepLinear(2), init, ff.GradientDescent(10.0, 2, tol=0.0), threads=1).steps[0] == 2
