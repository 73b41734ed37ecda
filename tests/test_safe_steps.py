"""``step="safe"``, multiples of the edge, and decreasing steps that begin with either."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow import theory
from fastflow.networks import Chain


def test_safe_steps_are_those_of_each_start(make_problem):
    """The loss falls at every step, and no warning comes; the steps are in ``runs.step``."""
    problems = [make_problem("regression by gram", (4, 3)) for _ in range(2)]
    network, start = ff.DeepLinear(3), ff.inits.Gaussian(0.5)
    for step in ("safe", ff.Decreasing("safe", power=1.0, scale=10)):
        method = ff.GradientDescent(step=step, max_steps=60)
        runs = ff.train(problems, network, start, method, 3, record=ff.Record(np.arange(61), factors=True))
        first = [factor[:, 0] for factor in runs.history.factors]
        for run, problem in enumerate(runs.problem_index):
            factors = [factor[run] for factor in first]
            safe = theory.safe_step(problems[problem], network, factors)
            assert runs.step[run] == pytest.approx(safe.step, rel=1e-13)
            assert safe.step == pytest.approx(0.999 * theory.descent_region(problems[problem], factors).step, rel=1e-12)
            assert "descent_region" in safe.reason
        assert np.all(np.diff(runs.history.loss, axis=1) < 0)
    assert "step='safe'" in repr(ff.GradientDescent(step="safe"))


def test_safe_step_of_identical_starts(rng):
    target = rng.standard_normal((4, 4))
    problem, network = ff.MatrixEstimation(target + target.T), ff.DeepLinear(3)
    start = ff.inits.Identity(0.2, of="factor").draw(Chain((4, 4, 4, 4)), rng)
    safe = theory.safe_step(problem, network, start)
    assert "monotone_step" in safe.reason
    norm = np.linalg.norm(target + target.T, 2)
    assert safe.step == pytest.approx(0.999 * theory.monotone_step(3, 0.2, norm))
    mean = ff.MatrixEstimation(target + target.T, normalization="mean")
    assert theory.safe_step(mean, network, start).step == pytest.approx(safe.step * 16 / 2)
    assert "descent_region" in theory.safe_step(ff.MatrixEstimation(target), network, start).reason


@pytest.mark.parametrize("kind", ["estimation", "regression by gram"])
def test_multiples_of_the_edge(kind, make_problem):
    problems, network = [make_problem(kind, (4, 3)) for _ in range(2)], ff.DeepLinear(2)
    for step in (0.3 * theory.edge, theory.edge * 0.6 / 2, ff.Decreasing(0.3 * theory.edge)):
        runs = ff.train(problems, network, runs=2, method=ff.GradientDescent(step=step, max_steps=1))
        edges = [0.3 * theory.stability_edge(problem, network) for problem in problems]
        np.testing.assert_allclose(runs.step, np.repeat(edges, 2), rtol=1e-12)
    for words in ("0.3 edge", "0.3edge", " 3e-1 * edge "):
        assert ff.GradientDescent(words).step == 0.3 * theory.edge
    assert ff.GradientDescent("edge").step == theory.edge
    assert ff.GradientDescent(str(0.1 * 3 * theory.edge)).step == 0.1 * 3 * theory.edge  # to the last bit
    assert repr(0.3 * theory.edge) == "0.3 * fastflow.theory.edge"
    assert 0.5 * theory.edge == theory.edge / 2


def test_a_multiple_of_the_edge_on_a_diagonal_network(rng):
    problem = ff.CompressedSensing(rng.standard_normal((3, 6)), rng.standard_normal(3))
    network = ff.DiagonalLinear(2)
    runs = ff.train(problem, network, method=ff.GradientDescent(step=0.8 * theory.edge, max_steps=1))
    assert runs.step[0] == pytest.approx(0.8 * theory.stability_edge(problem, network))
    with pytest.raises(ValueError, match="no step is known to be safe for a DiagonalLinear"):
        ff.train(problem, network, method=ff.GradientDescent(step="safe"))


def test_bad_steps(make_problem):
    with pytest.raises(TypeError, match=r"step must be a number, 'safe', or like '0\.5 edge', got 'save'"):
        ff.GradientDescent(step="save")
    for words in ("edges", "x edge", "0.5 edge edge"):
        with pytest.raises(TypeError, match=f"first must be a number.*got '{words}'"):
            ff.Decreasing(words)
    for words in ("0 edge", "-1edge", "nan * edge"):
        with pytest.raises(ValueError, match="multiple must be"):
            ff.GradientDescent(words)
    with pytest.raises(ValueError, match="multiple must be greater than 0"):
        ff.GradientDescent(step=0 * theory.edge)
    with pytest.raises(ValueError, match="power must be at most 1"):
        ff.Decreasing("safe", power=1.5)
    with pytest.raises(ValueError, match=r"MatrixCompletion do not determine W.*use step=None"):
        ff.train(make_problem("completion", (4, 4)), ff.DeepLinear(2), method=ff.GradientDescent(step="safe"), runs=2)
