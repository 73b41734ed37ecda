"""`ff.check`: what is said of settings whose facts are known."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import fastflow as ff
from fastflow import _check, theory
from fastflow.theory import curvature


def test_a_setting_of_which_all_is_known():
    target = np.diag([2.0, 1.0, -0.5])
    problem, network, init = ff.MatrixEstimation(target), ff.DeepLinear(3), ff.inits.Identity(0.2, of="factor")
    setting = ff.check(problem, network, init, ff.GradientDescent(step="safe"))
    assert setting.balanced
    assert setting.balancedness == 0
    assert setting.edge == pytest.approx(2 / (3 * 2 ** (4 / 3)))
    assert setting.safe.step == setting.step == pytest.approx(0.999 * theory.monotone_step(3, 0.2, 2.0))
    np.testing.assert_allclose(setting.limit.solution, np.diag([2.0, 1.0, 0.0]), atol=1e-14)
    assert setting.rate.margin == pytest.approx(0.5 - np.linalg.norm(0.008 * np.eye(3) - target))
    text = str(setting)
    for words in (
        "keeps its rank 3 and the sign of its determinant",
        "the positive part of the target",
        "is not > 0",
        "monotone_step",
        "the loss falls at every step",
    ):
        assert words in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 102


def test_a_setting_of_which_little_is_known(make_problem):
    problem, network = make_problem("completion", (4, 3)), ff.DeepLinear(3)
    init = ff.inits.Gaussian(0.1)
    edge = theory.stability_edge(problem, network)
    setting = ff.check(problem, network, init, ff.GradientDescent(step=1.5 * theory.edge), seed=3, run=5)
    start = ff.train(problem, network, init, ff.GradientDescent(max_steps=0), runs=[5], seed=3)
    assert setting.balancedness == pytest.approx(ff.metrics.balancedness(start.factors)[0])
    assert not setting.balanced
    assert (setting.safe, setting.rate, setting.limit) == (None, None, None)
    assert setting.step == pytest.approx(1.5 * edge)
    text = " ".join(str(setting).split())
    for words in ("not balanced", "do not determine W", "none is known beforehand", "1.5 times the edge"):
        assert words in text


def test_steps_are_judged(make_problem):
    problem, network = make_problem("regression by gram", (3, 3)), ff.DeepLinear(2)
    for step, words in (
        (None, "stable at the expected solution; no theorem"),
        (1e-9, "the loss falls at every step"),
        (np.array([1e-9, 1e9]), "times the edge of stability"),
        (ff.Decreasing(1e-9), "the loss falls at every step"),
    ):
        setting = ff.check(problem, network, ff.inits.Gaussian(0.1), ff.GradientDescent(step=step))
        assert words in setting.notes[-1]


def test_a_start_near_the_solution_and_a_solution_of_zero():
    target = np.diag([2.0, 1.5])
    near = ff.check(ff.MatrixEstimation(target), ff.DeepLinear(2), ff.inits.Balanced(product=target + 0.01))
    assert near.rate.step > 0
    assert "bring the excess down" in str(near)
    zero = ff.check(ff.MatrixEstimation(np.zeros((2, 2))), ff.DeepLinear(2), ff.inits.Identity(0.1))
    assert zero.edge is None
    assert "no stability edge" in " ".join(str(zero).split())


@pytest.mark.parametrize(
    ("network", "init", "words"),
    [
        (ff.DiagonalLinear(2), ff.inits.Constant(1e-3), "2 factors of each side start with equal squares"),
        (ff.DiagonalLinear(2), ff.inits.Constant(1e-3), "above the 3 of the truth"),
        (ff.DiagonalLinear(3, signed=False), ff.inits.Constant(0.1), "the smaller the start"),
        (ff.DiagonalLinear(2, identical=False), ff.inits.Gaussian(0.1), "ends where FlowLimit says"),
        (ff.DiagonalLinear(3, identical=False), ff.inits.Gaussian(0.1), "none is known beforehand for 3 independent"),
        (ff.DiagonalLinear(1), ff.inits.Gaussian(0.1), "least-squares solution nearest to the start"),
        (ff.DiagonalLinear(2), ff.inits.Explicit([-np.ones(3)] * 2), "from starts of u and v that are 0 or from"),
    ],
)
def test_diagonal_networks(network, init, words):
    truth = np.array([1.0, 0.0, -2.0])
    problem = ff.CompressedSensing(np.eye(2, 3) + 0.1, (np.eye(2, 3) + 0.1) @ truth, truth=truth)
    setting = ff.check(problem, network, init)
    assert words in " ".join(str(setting).split())
    assert setting.balanced == (network.identical or network.depth == 1)
    assert (setting.limit, setting.safe) == (None, None)
    if "above the" in words:
        bound = theory.l1_excess_bound(2, 1e-3, 3, 3.0)
        assert f"at most {bound:.3g} above" in " ".join(str(setting).split())
        limit = ff.train(problem, network, init, ff.FlowLimit()).solution[0]
        assert np.abs(limit).sum() - 3 <= bound


def test_what_one_factor_and_a_deficient_start_keep(rng):
    problem = ff.MatrixEstimation(rng.standard_normal((4, 3)))
    one = ff.check(problem, ff.DeepLinear(1), ff.inits.Gaussian(0.1))
    assert "keeps neither rank nor sign" in one.notes[0]
    start = ff.inits.Balanced(product=0.1 * np.outer(rng.standard_normal(4), rng.standard_normal(3)))
    deficient = ff.check(problem, ff.DeepLinear(2), start)
    assert "keeps its rank 1" in deficient.notes[0]
    assert "rank 1, that of the balanced start" in deficient.notes[-1]
    assert deficient.limit.value == pytest.approx(theory.global_minimum(problem, 1).value)
    flow = ff.train(problem, ff.DeepLinear(2), start, ff.ProductFlow())
    np.testing.assert_allclose(flow.solution[0], deficient.limit.solution, atol=1e-8)


def test_one_start_of_many_and_methods_without_a_step(rng):
    problem, network = ff.MatrixEstimation(rng.standard_normal((3, 3))), ff.DeepLinear(2)
    starts = [rng.standard_normal((4, 3, 3)) for _ in range(2)]
    setting = ff.check(problem, network, ff.inits.Explicit(starts), ff.GradientFlow(rtol=1e-6), run=2)
    assert setting.balancedness == pytest.approx(ff.metrics.balancedness([start[2] for start in starts]))
    assert setting.step is None
    assert "GradientFlow has none" in setting.notes[-1]
    assert "rtol = 1e-06" in setting.notes[-1]
    with pytest.raises(ValueError, match="run must be less than 4"):
        ff.check(problem, network, ff.inits.Explicit(starts), run=4)
    for arguments, words in (
        ((np.eye(3), network, ff.inits.Gaussian()), "check takes one problem"),
        (([problem], network, ff.inits.Gaussian()), "check takes one problem"),
        ((problem, 2, ff.inits.Gaussian()), "network must be"),
        ((problem, network, 0.1), "init must be"),
        ((problem, network, ff.inits.Gaussian(), 0.1), "method must be"),
        ((problem, network, ff.inits.Constant()), "Constant does not start a DeepLinear"),
    ):
        with pytest.raises(TypeError, match=words):
            ff.check(*arguments)


MATRIX, VECTOR = ff.MatrixEstimation(np.eye(4)), ff.CompressedSensing(np.eye(2, 3), np.ones(2))
FACTORS, NETWORK = [np.eye(4)] * 2, ff.DeepLinear(2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: theory.stability_edge(np.eye(4), NETWORK), TypeError, "problem must be one problem"),
        (lambda: theory.stability_edge(MATRIX, 2), TypeError, "network must be a DeepLinear or"),
        (lambda: theory.sharpness("x", FACTORS), TypeError, "problem must be one problem"),
        (lambda: theory.sharpness(MATRIX, []), ValueError, "factors is empty"),
        (lambda: theory.critical_point([MATRIX], NETWORK, FACTORS), TypeError, "problem must be one problem"),
        (lambda: theory.safe_step(MATRIX, None, FACTORS), TypeError, "network must be"),
        (lambda: theory.safe_step(MATRIX, NETWORK, [np.eye(3)] * 2), ValueError, "chain to W, which is 4 x 4"),
        (lambda: theory.descent_region(VECTOR, FACTORS), TypeError, "DeepLinear network factors a matrix"),
        (lambda: theory.descent_region(MATRIX, "ab"), TypeError, "factors must be a sequence of matrices"),
        (lambda: theory.descent_region(MATRIX, [np.eye(4), np.ones((2, 4, 4))]), ValueError, "or all stacks"),
        (lambda: theory.linear_rate(MATRIX, [np.eye(4), np.ones((4, 3))]), ValueError, "chain to W"),
        (lambda: theory.linear_rate(MATRIX, [np.eye(4) * 1j]), TypeError, "factor 1 must be an array of real"),
        (lambda: theory.predicted_limit(MATRIX, [np.ones((2, 4, 4))] * 2), ValueError, "takes one start"),
        (lambda: theory.predicted_limit(3, FACTORS), TypeError, "problem must be one problem"),
    ],
)
def test_wrong_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_examples_in_docstrings():
    for module in (_check, curvature):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0
