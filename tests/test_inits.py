"""Inits: what each promises of its factors, exactly where it is exact, else with a stated confidence."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow.networks import Chain
from fastflow.streams import stream

inits = ff.inits
WIDTHS = [(4, 3), (5, 5, 5), (3, 6, 4), (6, 2, 5), (2, 3, 4, 5), (7, 4, 4, 1), (4, 4, 2, 6, 3)]
RANDOM = [inits.Gaussian, inits.Uniform, inits.Orthogonal, inits.Balanced]
SIGMAS = 5.0


def start(init, widths, seed=0):
    """The factors of one start."""
    return init.draw(Chain(widths), stream(seed, "test", widths))


def energy(factors):
    """``||W||_F^2`` of the product."""
    return float(np.sum(naive.chain_product(factors) ** 2))


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("init", [*RANDOM, inits.Identity], ids=lambda init: init.__name__)
def test_factors_have_the_shapes_of_the_widths(init, widths):
    factors = start(init(0.5), widths)
    assert [f.shape for f in factors] == [(after, before) for before, after in pairwise(widths)]
    assert all(np.isfinite(f).all() for f in factors)


@pytest.mark.parametrize("scale", [1e-3, 2.0])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("init", [inits.Gaussian, inits.Uniform, inits.Orthogonal], ids=lambda init: init.__name__)
def test_scale_of_the_product_in_the_mean(init, widths, scale, rng):
    """``E ||W||_F^2 = scale^2 min_j d_j``: the mean of 2000 draws is within 5 standard errors (p < 1e-6 for each)."""
    draws = np.array([energy(init(scale).draw(Chain(widths), rng)) for _ in range(2000)])
    expected = scale**2 * min(widths)
    assert abs(draws.mean() - expected) <= SIGMAS * draws.std() / np.sqrt(draws.size) + 1e-12 * expected


@pytest.mark.parametrize("scale", [1e-3, 2.0])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("init", [inits.Identity, inits.Balanced], ids=lambda init: init.__name__)
def test_scale_of_the_product_exactly(init, widths, scale):
    assert energy(start(init(scale), widths)) == pytest.approx(scale**2 * min(widths), rel=1e-13)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_the_product_of_identities_is_scale_times_the_identity(widths):
    product = naive.chain_product(start(inits.Identity(0.3), widths))
    expected = np.zeros_like(product)
    np.fill_diagonal(expected[: min(widths), : min(widths)], 0.3)
    np.testing.assert_allclose(product, expected, rtol=1e-14)


def test_scale_of_the_factors(rng):
    widths = (60, 50, 70)
    for factor in inits.Gaussian(0.1, of="factor").draw(Chain(widths), rng):
        # The standard deviation of a sample variance of n normals is sqrt(2/n).
        assert abs(factor.var() / 0.01 - 1) < SIGMAS * np.sqrt(2 / factor.size)
        assert abs(factor.mean()) < SIGMAS * 0.1 / np.sqrt(factor.size)
    for factor in inits.Uniform(0.1, of="factor").draw(Chain(widths), rng):
        assert np.abs(factor).max() <= 0.1
        assert np.abs(factor).max() > 0.0995
        assert abs(3 * factor.var() / 0.01 - 1) < SIGMAS * np.sqrt(0.8 / factor.size)
    for factor in inits.Identity(0.1, of="factor").draw(Chain(widths), rng):
        np.testing.assert_array_equal(factor, 0.1 * np.eye(*factor.shape))


@pytest.mark.parametrize("widths", [(5, 5), (7, 3, 4, 6)], ids=str)
def test_orthogonal_factors_have_orthonormal_rows_or_columns(widths, rng):
    for factor in inits.Orthogonal(2.0, of="factor").draw(Chain(widths), rng):
        gram = factor.T @ factor if factor.shape[0] >= factor.shape[1] else factor @ factor.T
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), rtol=0, atol=4e-14)


def test_orthogonal_factors_are_haar(rng):
    """Of a Haar matrix of size d > 1 the trace has mean 0 and variance 1, and an entry mean 0 and variance 1/d."""
    traces, corners = np.empty(4000), np.empty(4000)
    for i in range(4000):
        (factor,) = inits.Orthogonal(1.0, of="factor").draw(Chain((3, 3)), rng)
        traces[i], corners[i] = np.trace(factor), factor[2, 2]
    for values, variance in ((traces, 1), (corners, 1 / 3)):
        assert abs(values.mean()) < SIGMAS * np.sqrt(variance / values.size)
        squares = values**2
        assert abs(squares.mean() - variance) < SIGMAS * squares.std() / np.sqrt(values.size)


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
@pytest.mark.parametrize("of", ["product", "factor"])
def test_balanced_factors_are_balanced(widths, of, rng):
    """To 1e-14 of the squared norms, from a random product and from a given one, which they multiply to."""
    low_rank = rng.standard_normal((widths[-1], min(widths))) @ rng.standard_normal((min(widths), widths[0]))
    depth = len(widths) - 1
    for init in (inits.Balanced(0.7, of=of), inits.Balanced(product=low_rank), inits.Balanced(3, of, low_rank)):
        factors = start(init, widths)
        size = max(np.sum(f**2) for f in factors)
        assert naive.chain_balancedness(factors) <= 1e-14 * size
    times = 3 if of == "product" else 3**depth
    for init, product in (
        (inits.Balanced(product=low_rank), low_rank),
        (inits.Balanced(3, of, low_rank), times * low_rank),
    ):
        got = naive.chain_product(start(init, widths))
        np.testing.assert_allclose(got, product, rtol=0, atol=1e-13 * np.abs(product).max())


def test_a_random_balanced_start_has_the_smallest_width_as_its_rank():
    product = naive.chain_product(start(inits.Balanced(1.0), (7, 5, 3, 6)))
    assert ff.metrics.numerical_rank(product, 1e-12) == 3


def test_the_perturbed_identity():
    factors = start(inits.Identity(0.1, of="factor", perturbation=1e-3), (3, 3, 3))
    np.testing.assert_array_equal(factors[0], 0.1 * np.eye(3))
    np.testing.assert_allclose(factors[1], 0.099 * np.eye(3), rtol=1e-15)


@pytest.mark.parametrize("init", RANDOM, ids=lambda init: init.__name__)
@pytest.mark.parametrize("of", ["product", "factor"])
def test_starts_of_all_scales_share_their_random_numbers(init, of):
    widths = (4, 3, 5)
    small, large = (start(init(scale, of=of), widths, seed=3) for scale in (1e-4, 10.0))
    for first, second in zip(small, large, strict=True):
        np.testing.assert_allclose(
            first / np.linalg.norm(first), second / np.linalg.norm(second), rtol=1e-13, atol=1e-16
        )
    other = start(init(10.0, of=of), widths, seed=4)
    assert not np.allclose(large[0], other[0])


@pytest.mark.parametrize("init", RANDOM, ids=lambda init: init.__name__)
def test_train_starts_where_the_init_says(init, make_problem):
    """Start r of problem p is drawn from the stream (seed, "init", widths, p, r), whatever else is trained."""
    problems = [make_problem("estimation", (4, 3)) for _ in range(2)]
    runs = ff.train(
        problems, ff.DeepLinear(2), init(0.2), ff.GradientDescent(step=1.0, max_steps=0), runs=[5, 2], seed=9
    )
    for run, (trial, number) in enumerate([(0, 5), (0, 2), (1, 5), (1, 2)]):
        expected = init(0.2).draw(Chain((3, 3, 4)), stream(9, "init", (3, 3, 4), trial, number))
        for got, wanted in zip(runs.factors, expected, strict=True):
            np.testing.assert_array_equal(got[run], wanted)


def test_explicit_takes_one_start_or_one_for_each_run(rng):
    factors = [rng.standard_normal((3, 5)), rng.standard_normal((4, 3))]
    one = inits.Explicit(factors)
    assert one.count(Chain((5, 3, 4))) is None
    stacked = inits.Explicit([np.stack([f, 2 * f]) for f in factors])
    assert stacked.count(Chain((5, 3, 4))) == 2
    problem, method = ff.MatrixEstimation(np.ones((4, 5))), ff.GradientDescent(step=1e-3, max_steps=0)
    runs = ff.train(problem, ff.DeepLinear(widths=(5, 3, 4)), stacked, method)
    assert len(runs) == 2
    np.testing.assert_allclose(runs.solution[1], 4 * factors[1] @ factors[0], rtol=1e-14)


def test_default_hidden_widths_are_the_smaller_of_the_two_ends():
    assert ff.DeepLinear(4).widths_for((3, 8)) == (8, 3, 3, 3, 3)
    assert ff.DeepLinear().widths_for((8, 3)) == (3, 3, 3, 8)
    assert ff.DeepLinear(1).widths_for((2, 3)) == (3, 2)
    assert ff.DeepLinear(widths=[3, 9, 2]).widths_for((2, 3)) == (3, 9, 2)
