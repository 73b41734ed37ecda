"""Steps known to be safe beforehand: no violation on 500 random draws of each bound."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow import metrics, theory
from fastflow.networks import Chain
from fastflow.theory.regions import observe

DEPTHS = [2, 3, 4, 5]
DRAWS = 125


def transposed(stack):
    return np.swapaxes(stack, -1, -2)


def products_and_gradients(factors, inputs, outputs):
    """W and the gradients of ``1/2 ||W X - Y||^2`` of stacks (draws, ...)."""
    product = naive.chain_product(factors)
    gradient = (product @ inputs - outputs) @ transposed(inputs)
    gradients = []
    for j in range(len(factors)):
        g = gradient
        for factor in reversed(factors[j + 1 :]):
            g = transposed(factor) @ g
        for factor in factors[:j]:
            g = g @ transposed(factor)
        gradients.append(g)
    return product, gradients


def losses(product, inputs, outputs):
    return 0.5 * np.sum((product @ inputs - outputs) ** 2, axis=(1, 2))


@pytest.mark.parametrize("depth", DEPTHS)
def test_descent_region_holds(depth, rng):
    """From 125 unbalanced starts of a depth: the loss falls as promised, and no bound of the region is passed."""
    widths = [(3, 2, 4), (3, 2, 3, 4), (2, 3, 3, 2, 2), (3, 3, 2, 3, 2, 3)][depth - 2]
    size = rng.uniform(0.3, 1.5, DRAWS)[:, None, None]
    factors = [size * rng.standard_normal((DRAWS, b, a)) / np.sqrt(a) for a, b in pairwise(widths)]
    inputs = rng.standard_normal((DRAWS, widths[0], 6)) / 2
    outputs = rng.standard_normal((DRAWS, widths[-1], 6))
    problems = [ff.LinearRegression(x, y, samples="columns") for x, y in zip(inputs, outputs, strict=True)]
    regions = [theory.descent_region(p, [f[i] for f in factors], sigma=0.3) for i, p in enumerate(problems)]
    step, smoothness, factor_norm, product_norm = (np.array(values) for values in zip(*regions, strict=True))
    largest = np.zeros(DRAWS)
    product, gradients = products_and_gradients(factors, inputs, outputs)
    loss = losses(product, inputs, outputs)
    for k in range(60):
        size = step / (1 + k / 40) ** np.where(np.arange(DRAWS) % 2, 0.5, 0)  # decreasing steps are allowed, too
        factors = [f - size[:, None, None] * g for f, g in zip(factors, gradients, strict=True)]
        fall = 0.3 * size * sum(np.sum(g**2, axis=(1, 2)) for g in gradients)
        product, gradients = products_and_gradients(factors, inputs, outputs)
        before, loss = loss, losses(product, inputs, outputs)
        assert np.all(loss <= before - fall + 1e-13 * before)
        assert np.all(np.linalg.norm(product, 2, axis=(1, 2)) <= product_norm * (1 + 1e-12))
        largest = np.maximum(largest, [np.linalg.norm(f, 2, axis=(1, 2)) for f in factors]).max(axis=0)
    assert np.all(largest <= factor_norm * (1 + 1e-12))
    for i in range(0, DRAWS, 12):
        point = [f[i] for f in factors]
        assert theory.sharpness(problems[i], point) <= smoothness[i]
        assert theory.smallest_curvature(problems[i], point) >= -smoothness[i]


def test_the_norm_of_a_factor_is_bounded_by_the_product_and_the_defect(rng):
    """``||W_j||_2^2 <= ||W||_2^{2/N} + 3/2 sum_j ||C_j||_2``."""
    for depth in DEPTHS:
        factors = [rng.uniform(0, 2, (DRAWS, 1, 1)) * rng.standard_normal((DRAWS, 3, 3)) for _ in range(depth)]
        product = np.linalg.norm(naive.chain_product(factors), 2, axis=(1, 2))
        delta = sum(np.linalg.norm(c, 2, axis=(1, 2)) for c in metrics.balancedness_defects(factors))
        largest = np.max([np.linalg.norm(f, 2, axis=(1, 2)) for f in factors], axis=0)
        assert np.all(largest**2 <= product ** (2 / depth) + 1.5 * delta)


@pytest.mark.parametrize("depth", DEPTHS)
def test_monotone_step_holds(depth, rng):
    """The exact recursion of eigenvalues: the loss falls, they stay positive, and tend to the positive part."""
    eigenvalues = rng.standard_normal((DRAWS, 5)) * 10 ** rng.uniform(-1, 1, (DRAWS, 1))
    alpha = 10 ** rng.uniform(-1, 0.5, DRAWS)
    norms = np.abs(eigenvalues).max(axis=1)
    step = np.array([theory.monotone_step(depth, a, y) for a, y in zip(alpha, norms, strict=True)])[:, None] * (
        1 - 1e-9
    )
    d = np.repeat(alpha[:, None], 5, axis=1)
    loss = np.sum((d**depth - eigenvalues) ** 2, axis=1)
    for _ in range(300):
        d = d - step * d ** (depth - 1) * (d**depth - eigenvalues)
        before, loss = loss, np.sum((d**depth - eigenvalues) ** 2, axis=1)
        assert np.all(loss <= before * (1 + 1e-14))
        assert d.min() > 0
    limit = np.maximum(eigenvalues, 0)
    assert np.all(np.abs(d**depth - limit) <= np.abs(alpha[:, None] ** depth - limit) + 1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_linear_rate_holds(depth, rng):
    """The excess falls at least exponentially, from 125 starts near enough and balanced enough; none else has a step.

    Such steps are tiny, so that after some of them the rest is followed as the flow that they approach.
    """
    kappa, shape = 1.7, (3, 2)
    inputs = np.sqrt(kappa) * np.linalg.qr(rng.standard_normal((5, 2)))[0].T
    starts, solutions, rates = [], [], []
    while len(rates) < DRAWS:
        solution = rng.standard_normal(shape) + 2 * np.eye(*shape)
        problem = ff.LinearRegression(inputs, solution @ inputs, samples="columns")
        start = solution + rng.uniform(0, 0.3) * rng.standard_normal(shape)
        factors = ff.inits.Balanced(product=start).draw(Chain((2, *[2] * (depth - 1), 3)), rng)
        factors = [f + 10 ** rng.uniform(-9, -3) * rng.standard_normal(f.shape) for f in factors]
        rate = theory.linear_rate(problem, factors)
        margin = np.linalg.svd(solution, compute_uv=False)[-1] - np.linalg.norm(naive.chain_product(factors) - solution)
        assert rate.margin == pytest.approx(margin, abs=1e-12)
        assert (rate.step > 0) == (margin > 0 and rate.balancedness <= rate.allowed)
        if rate.step > 0:
            starts.append(factors)
            solutions.append(solution)
            rates.append(rate)
    factors, solutions = [np.array(stack) for stack in zip(*starts, strict=True)], np.array(solutions)
    step, decay = np.array([rate.step for rate in rates]), np.array([rate.decay for rate in rates])

    def moved(factors, by):
        outputs = solutions @ inputs
        gradients = products_and_gradients(factors, inputs, outputs)[1]
        return [-by[:, None, None] * g for g in gradients]

    def log_excess():
        return np.log(np.sum((naive.chain_product(factors) - solutions) ** 2, axis=(1, 2)))

    first = log_excess()
    for k in range(1, 6):
        factors = [f + g for f, g in zip(factors, moved(factors, step), strict=True)]
        assert np.all(log_excess() - first <= -decay * step * k * (1 - 1e-4) + 1e-15)
    fastest = depth * kappa * np.linalg.norm(solutions, 2, axis=(1, 2)) ** (2 - 2 / depth)
    first, length = log_excess(), 0.2 / fastest
    for k in range(1, 301):  # by the classical method of order 4
        a = moved(factors, length)
        b = moved([f + x / 2 for f, x in zip(factors, a, strict=True)], length)
        c = moved([f + x / 2 for f, x in zip(factors, b, strict=True)], length)
        d = moved([f + x for f, x in zip(factors, c, strict=True)], length)
        factors = [f + (p + 2 * q + 2 * r + s) / 6 for f, p, q, r, s in zip(factors, a, b, c, d, strict=True)]
        assert np.all(log_excess() - first <= np.maximum(-decay * length * k, -40) * (1 - 1e-4))


def test_what_is_observed(make_problem, rng):
    target = rng.standard_normal((3, 4))
    mean = ff.MatrixEstimation(target, normalization="mean")
    assert observe(mean)[:2] == pytest.approx((2 / 12, 2 / 12))
    whole = ff.MatrixCompletion.from_dense(target)
    operators = rng.standard_normal((15, 3, 4))
    sensing = ff.MatrixSensing(operators, np.sum(operators * target, axis=(1, 2)))
    spectrum = np.linalg.svd(operators.reshape(15, 12), compute_uv=False) ** 2
    for problem, ends in ((whole, (1, 1)), (sensing, (spectrum[0], spectrum[-1]))):
        seen = observe(problem)
        assert (seen.largest, seen.smallest) == pytest.approx(ends)
        np.testing.assert_allclose(seen.solution, target, atol=1e-12)
        assert seen.floor < 1e-20
    for kind in ("completion", "sensing", "regression by samples"):
        with pytest.raises(ValueError, match="do not determine W"):
            observe(make_problem(kind, (4, 4)))


def test_bad_regions():
    problem, factors = ff.MatrixEstimation(np.eye(2)), [np.eye(2)] * 2
    with pytest.raises(ValueError, match="sigma must be between 0 and 1"):
        theory.descent_region(problem, factors, sigma=1.0)
    with pytest.raises(ValueError, match="whitened"):
        theory.linear_rate(ff.LinearRegression(np.diag([1.0, 2.0]), np.eye(2), samples="columns"), factors)
