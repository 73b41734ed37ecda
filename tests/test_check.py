"""`theory.check`: what is said of settings whose facts are known."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import fastflow as ff
from fastflow import theory
from fastflow.theory import checking, curvature


def test_a_setting_of_which_all_is_known():
    target = np.diag([2.0, 1.0, -0.5])
    problem, network, init = ff.MatrixEstimation(target), ff.DeepLinear(3), ff.inits.Identity(0.2, of="factor")
    setting = theory.check(problem, network, init, ff.GradientDescent(step="safe"))
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
    setting = theory.check(problem, network, init, ff.GradientDescent(step=1.5 * theory.edge), seed=3, run=5)
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
        setting = theory.check(problem, network, ff.inits.Gaussian(0.1), ff.GradientDescent(step=step))
        assert words in setting.notes[-1]


def test_a_diagonal_network_and_a_start_near_the_solution():
    vector = ff.CompressedSensing(np.eye(2, 3), np.ones(2))
    setting = theory.check(vector, ff.DiagonalLinear(2), ff.inits.Constant(0.1))
    assert setting.balancedness is None
    assert "no step is known to be safe" in setting.notes[1]
    target = np.diag([2.0, 1.5])
    near = theory.check(ff.MatrixEstimation(target), ff.DeepLinear(2), ff.inits.Balanced(product=target + 0.01))
    assert near.rate.step > 0
    assert "bring the excess down" in str(near)
    zero = theory.check(ff.MatrixEstimation(np.zeros((2, 2))), ff.DeepLinear(2), ff.inits.Identity(0.1))
    assert zero.edge is None
    assert "no stability edge" in " ".join(str(zero).split())


def test_examples_in_docstrings():
    for module in (checking, curvature):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0
