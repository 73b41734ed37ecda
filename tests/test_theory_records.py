"""Records that theory helps to make: ranks, signs of determinants, sharpness, the distance to the predicted limit."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow import theory

THEORY = {"numerical_rank": True, "determinant_sign": True, "sharpness": True, "limit_distance": True}


def test_they_are_what_they_say(make_problem, tmp_path):
    problem = make_problem("regression by gram", (3, 3))
    record = ff.Record(np.arange(0, 61, 20), product=True, factors=True, **THEORY)
    method = ff.GradientDescent(max_steps=60)
    runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.5), method, 3, record=record)
    h, limit = runs.history, theory.global_minimum(problem).solution
    np.testing.assert_array_equal(h.numerical_rank, ff.metrics.numerical_rank(h.product))
    np.testing.assert_array_equal(h.determinant_sign, np.sign(np.linalg.det(h.product)))
    np.testing.assert_allclose(h.limit_distance, np.linalg.norm(h.product - limit, axis=(2, 3)), rtol=1e-12)
    for run in range(3):
        for at in range(4):
            factors = [f[run, at] for f in h.factors]
            assert h.sharpness[run, at] == pytest.approx(theory.sharpness(problem, factors), rel=1e-12)
    loaded = ff.load(runs.save(tmp_path / "runs"))
    np.testing.assert_array_equal(loaded.history.sharpness, h.sharpness)
    assert "history_limit_distance" in runs.to_xarray()


def test_of_the_flow_of_layers(make_problem):
    problem = make_problem("completion", (3, 3))
    record = ff.Record(product=True, factors=True, numerical_rank=True, determinant_sign=True, sharpness=True)
    method = ff.GradientFlow(times=[0.0, 1.0, 4.0], t_max=4.0)
    runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Balanced(0.5), method, 2, record=record)
    h = runs.history
    np.testing.assert_array_equal(h.numerical_rank, ff.metrics.numerical_rank(h.product))
    np.testing.assert_array_equal(h.determinant_sign, np.sign(np.linalg.det(h.product)))
    assert h.sharpness[1, 2] == pytest.approx(theory.sharpness(problem, [f[1, 2] for f in h.factors]), rel=1e-12)


def test_they_cost_nothing_unasked(make_problem):
    runs = ff.train(make_problem("estimation", (3, 3)), runs=2, record=ff.Record(3))
    assert set(THEORY).isdisjoint(runs.history.recorded)


def test_sharpness_goes_to_the_edge_of_stability(rng):
    """Where the step is too large for the minimum that it started to, sharpness comes to 2 / step or below."""
    problem = ff.MatrixEstimation(np.diag([1.0, 0.3]))
    factors = [3.0 * np.eye(2), np.diag([1.0, 0.3]) / 3.0 + 1e-3]
    record = ff.Record(np.arange(0, 2001, 100), sharpness=True)
    method = ff.GradientDescent(step=0.3, max_steps=2000, tol=0)
    runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Explicit(factors), method, record=record)
    ratio = runs.history.sharpness[0] * runs.step[0] / 2
    assert ratio[0] > 1.2
    assert ratio[-1] <= 1 + 1e-6
    assert runs.loss[0] < 1e-20


def test_sharpness_of_a_diagonal_network(rng):
    problem = ff.CompressedSensing(rng.standard_normal((3, 6)), rng.standard_normal(3))
    network = ff.DiagonalLinear(2)
    record = ff.Record([0, 1], sharpness=True, factors=True)
    method = ff.GradientDescent(step=1e-2, max_steps=1)
    runs = ff.train(problem, network, ff.inits.Constant(0.5), method, record=record)
    last = [factor[0, 1] for factor in runs.history.factors]
    assert runs.history.sharpness[0, 1] == pytest.approx(theory.sharpness(problem, last, network), rel=1e-12)
    assert "determinant_sign" not in runs.history.recorded


@pytest.mark.parametrize("identical", [True, False])
def test_of_diagonal_networks_and_their_flow(identical, rng):
    """The limit is that of the flow from each start, for each problem; descent and the flow have the same records."""
    problems = [ff.CompressedSensing(rng.standard_normal((3, 6)), rng.standard_normal(3)) for _ in range(2)]
    network, start = ff.DiagonalLinear(2, identical=identical), ff.inits.Gaussian(0.5)
    record = {"sharpness": True, "limit_distance": True, "factors": True, "product": True}
    flow = ff.train(problems, network, start, ff.GradientFlow([0.0, 0.5, 1e4]), runs=2, record=ff.Record(**record))
    method = ff.GradientDescent(max_steps=20)
    down = ff.train(problems, network, start, method, runs=2, record=ff.Record([0, 20], **record))
    limits = ff.train(problems, network, start, ff.FlowLimit(), runs=2).solution
    for history in (flow.history, down.history):
        np.testing.assert_allclose(
            history.limit_distance, np.linalg.norm(history.product - limits[:, None], axis=2), atol=1e-13
        )
        for run, problem in enumerate(flow.problem_index):
            last = [factor[run, -1] for factor in history.factors]
            assert history.sharpness[run, -1] == pytest.approx(theory.sharpness(problems[problem], last, network))
    np.testing.assert_allclose(flow.history.limit_distance[:, 0], down.history.limit_distance[:, 0], rtol=1e-10)
    assert np.all(flow.history.limit_distance[:, -1] < 1e-6)
    three = ff.DiagonalLinear(3, identical=False)
    with pytest.raises(ValueError, match=r"limit_distance needs a predicted limit.*3 independent ones"):
        ff.train(problems, three, start, method, runs=2, record=ff.Record(3, limit_distance=True))


def test_a_flip_of_the_determinant_is_said():
    """A large step takes the smallest singular value through 0, which the flow from a balanced start cannot."""
    problem, network, start = ff.MatrixEstimation(np.diag([1.0, -1.0])), ff.DeepLinear(3), [np.diag([1.0, 0.9])] * 3
    record = ff.Record(np.arange(11), determinant_sign=True)
    method = ff.GradientDescent(step=np.full(10, 0.8))
    with pytest.warns(UserWarning, match=r"sign in 1 of 1 runs, first in run 0 between 0 and \d+: ") as caught:
        runs = ff.train(problem, network, ff.inits.Explicit(start), method, record=record)
    assert [warning.filename for warning in caught] == [__file__]
    assert set(runs.history.determinant_sign[0]) == {1, -1}
    # From a start that is not balanced the flow itself may do that, so nothing is said.
    unbalanced = ff.inits.Explicit([*start[:2], 1.1 * start[0]])
    runs = ff.train(problem, network, unbalanced, method, record=record)
    assert set(runs.history.determinant_sign[0]) == {1, -1}


def test_a_singular_product_has_no_sign(rng):
    """Behind a bottleneck, from a start of less than full rank, and where a mode has died: round-off is no sign."""
    problem, times = ff.MatrixEstimation(rng.standard_normal((3, 3))), np.linspace(0, 5, 40)
    record, method = ff.Record(determinant_sign=True), ff.GradientFlow(times, t_max=5.0)
    narrow = ff.DeepLinear(widths=(3, 2, 3))
    for network, init in (
        (narrow, ff.inits.Gaussian(0.5)),
        (narrow, ff.inits.Balanced(0.5)),
        (ff.DeepLinear(2), ff.inits.Balanced(product=0.5 * np.outer(rng.standard_normal(3), rng.standard_normal(3)))),
    ):
        runs = ff.train(problem, network, init, method, record=record)  # warns of no flips
        np.testing.assert_array_equal(runs.history.determinant_sign, 0)
    steps = ff.Record(np.arange(30), determinant_sign=True)
    runs = ff.train(problem, narrow, ff.inits.Balanced(0.5), ff.GradientDescent(max_steps=29), record=steps, runs=4)
    np.testing.assert_array_equal(runs.history.determinant_sign, 0)
    dies = ff.ProductFlow([0.0, 1.0, 30.0], t_max=30.0)
    start = ff.inits.Balanced(product=0.5 * np.eye(2))
    runs = ff.train(ff.MatrixEstimation(np.diag([1.0, -1.0])), ff.DeepLinear(2), start, dies, record=record)
    np.testing.assert_array_equal(runs.history.determinant_sign[0], [1, 1, 0])


def test_a_flip_by_way_of_zero_is_seen():
    """From + to - where the record between found the product singular."""
    from fastflow.records.quantities import _flips

    class Balanced:
        balanced = np.array([True, True, False, True])

    signs = np.array([[1.0, 0, -1], [1, 0, 1], [1, 0, -1], [0, 1, 1]])
    said = _flips(Balanced(), signs, np.array([0, 5, 9]))
    assert "in 1 of 4 runs, first in run 0 between 5 and 9" in said


def test_signs_along_the_flow_of_the_product(rng):
    problem = ff.MatrixEstimation(np.diag([1.0, -1.0]))
    method = ff.ProductFlow(times=[0.0, 1.0, 5.0], t_max=5.0)
    start = ff.inits.Balanced(product=0.5 * np.eye(2))
    runs = ff.train(problem, ff.DeepLinear(2), start, method, record=ff.Record(**THEORY))
    np.testing.assert_array_equal(runs.history.determinant_sign, 1)
    expected = np.linalg.norm(runs.solution[0] - np.diag([1.0, 0.0]))  # the positive part: every factor starts equal
    assert runs.history.limit_distance[0, -1] == pytest.approx(expected, rel=1e-9)
    # Sharpness is the same at all balanced factors of a product, those of the flow of layers among them.
    layers = ff.train(problem, ff.DeepLinear(2), start, ff.GradientFlow([5.0], 5.0), record=ff.Record(sharpness=True))
    assert runs.history.sharpness[0, -1] == pytest.approx(layers.history.sharpness[0, 0], rel=1e-6)


def test_a_limit_that_is_not_known_is_refused(make_problem):
    with pytest.raises(ValueError, match=r"none is known for MatrixCompletion.*leave it out"):
        ff.train(make_problem("completion", (3, 3)), runs=1, record=ff.Record(3, limit_distance=True))
