"""Measurements that are held out, and runs that end where their loss was least."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow.status import Status
from fastflow.studies.setup import Setup
from fastflow.studies.spec import build, describe

RNG = np.random.default_rng(8)
A, SPARSE = RNG.standard_normal((30, 60)) / np.sqrt(30), (np.arange(60) < 2).astype(float)
NOISY = ff.CompressedSensing(A, A @ SPARSE + 0.1 * RNG.standard_normal(30), truth=SPARSE).hold_out(8)
NETWORK, INIT = ff.DiagonalLinear(2), ff.inits.Constant(0.01)


def end_of(losses, every, patience, moments):
    """The steps of the least loss and of the look at which a run is stopped, by the rule; ``losses`` at all moments."""
    least, best, since = np.inf, None, 0
    for k, loss in zip(moments[::every].tolist(), losses[::every].tolist(), strict=True):
        if loss < least:
            least, best, since = loss, k, 0
            continue
        since += 1
        if since == patience:
            return best, k
    raise ValueError("never stopped")


@pytest.mark.parametrize(
    "method",
    [ff.GradientDescent(0.05, 4000, tol=0), ff.StochasticGradientDescent(0.01, 2, max_steps=4000, tol=0)],
    ids=lambda method: method.label,
)
def test_a_run_ends_where_the_test_loss_was_least(method):
    """By the test losses of the run that is not stopped, and with its bits."""
    moments = np.arange(0, 4001, 25)
    record = ff.Record(moments, test_loss=True)
    whole = ff.train(NOISY, NETWORK, INIT, method, record=record)
    stopping = ff.EarlyStopping(method, every=100, patience=5)
    stopped = ff.train(NOISY, NETWORK, INIT, stopping, record=record)
    losses = whole.history.test_loss[0]
    best, at = end_of(losses, 4, 5, moments)
    assert stopped.status[0] == Status.STOPPED
    assert stopped.steps[0] == best < at < 4000
    assert stopped.error[0] < whole.error[0]
    assert NOISY.test.loss(stopped.solution[0]) == losses[moments == best][0]
    np.testing.assert_array_equal(stopped.history.loss[0, : at // 25 + 1], whole.history.loss[0, : at // 25 + 1])
    np.testing.assert_array_equal(stopped.history.test_loss[0, at // 25 :], losses[at // 25])
    short = ff.train(NOISY, NETWORK, INIT, type(method)(method.step, max_steps=best, tol=0, **batches(method)))
    np.testing.assert_array_equal(stopped.flat_factors, short.flat_factors)


def batches(method):
    return {"batch_size": method.batch_size} if hasattr(method, "batch_size") else {}


def test_ends_of_the_method_stay_its_ends():
    """A run that converges, diverges or comes to max_steps before is what it is without."""
    for options in ({"max_steps": 150}, {"max_steps": 4000, "tol": 1.0}):
        plain = ff.train(NOISY, NETWORK, INIT, ff.GradientDescent(0.05, **options))
        watched = ff.train(NOISY, NETWORK, INIT, ff.EarlyStopping(ff.GradientDescent(0.05, **options), 40, 1000))
        for name in ("flat_factors", "loss", "status", "steps"):
            np.testing.assert_array_equal(getattr(watched, name), getattr(plain, name))
    with pytest.warns(UserWarning, match="above the linear stability edge"), np.errstate(all="ignore"):
        lost = ff.train(NOISY, NETWORK, INIT, ff.EarlyStopping(ff.GradientDescent(50.0, 500), 40, 1000))
    assert lost.status[0] == Status.DIVERGED


def parts_of(problem):
    """Rows of what is measured, with what came of it."""
    match problem:
        case ff.CompressedSensing():
            return [(tuple(row), value) for row, value in zip(problem.matrix, problem.values, strict=True)]
        case ff.MatrixSensing():
            return [(tuple(a.ravel()), value) for a, value in zip(problem.operators, problem.values, strict=True)]
        case ff.MatrixCompletion():
            return list(zip(problem.rows, problem.cols, problem.values, strict=True))
        case ff.LinearRegression():
            return [(tuple(x), tuple(y)) for x, y in zip(problem.inputs.T, problem.outputs.T, strict=True)]
    raise TypeError(problem)


def test_what_is_held_out_and_what_is_left_are_all():
    inputs, target = RNG.standard_normal((3, 12)), RNG.standard_normal((1, 3))
    for problem in (
        ff.CompressedSensing(RNG.standard_normal((9, 4)), RNG.standard_normal(9), normalization="mean"),
        ff.MatrixSensing(RNG.standard_normal((9, 2, 3)), RNG.standard_normal(9)),
        ff.MatrixCompletion.from_dense(RNG.standard_normal((3, 3))),
        ff.LinearRegression(inputs, target @ inputs, samples="columns", truth=target),
    ):
        split = problem.hold_out(4, seed=1)
        assert len(parts_of(split.test)) == 4
        assert sorted(parts_of(split) + parts_of(split.test)) == sorted(parts_of(problem))
        assert split == problem.hold_out(4, seed=1) != problem.hold_out(4, seed=2)
        assert (split.normalization, split.test.normalization) == (problem.normalization, "mean")
    assert split.of_vector().test.values.shape == (4,)
    np.testing.assert_allclose(split.of_vector().test.loss(target[0]), 0, atol=1e-25)


BAD = [
    (lambda: NOISY.hold_out(22), ValueError, "count must be less than 22, the samples that there are, got 22"),
    (lambda: NOISY.hold_out(0), ValueError, "count must be at least 1, got 0"),
    (lambda: ff.MatrixEstimation(np.eye(3)).hold_out(2), TypeError, "MatrixEstimation has no measurements that can be"),
    (lambda: ff.CompressedSensing(A, A[:, 0], test="t"), TypeError, "test must be a problem, got str"),
    (
        lambda: ff.CompressedSensing(A[:, :5], A[:, 0], test=NOISY),
        ValueError,
        r"test must be of the same x .* \(5,",
    ),
    (lambda: ff.EarlyStopping(ff.GradientFlow()), TypeError, "method must take steps, .* got GradientFlow"),
    (lambda: ff.EarlyStopping(every=0), ValueError, "every must be at least 1"),
    (lambda: ff.EarlyStopping(patience=0), ValueError, "patience must be at least 1"),
    (
        lambda: ff.train(ff.CompressedSensing(A, A[:, 0]), method=ff.EarlyStopping()),
        ValueError,
        r"EarlyStopping needs measurements that are held out: use problem.hold_out\(count\)",
    ),
    (
        lambda: ff.train(ff.CompressedSensing(A, A[:, 0]), record=ff.Record(test_loss=True)),
        ValueError,
        "test_loss needs measurements that are held out",
    ),
    (lambda: ff.flow_distance(NOISY, method=ff.EarlyStopping()), TypeError, "ends before the flow does"),
]


@pytest.mark.parametrize(("call", "error", "says"), BAD, ids=range(len(BAD)))
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_a_study_draws_the_test_of_each_trial():
    ensemble = ff.ensembles.Sparse(20, m=10, sparsity=2, test=5)
    method = ff.EarlyStopping(ff.StochasticGradientDescent(0.01, 2, update=ff.Momentum(momentum=0.5)), every=10)
    setup = Setup(ensemble, NETWORK, INIT, method, 3, True, 1)
    drawn, test = setup.problem(4), setup.test(4)
    np.testing.assert_array_equal(drawn.test.matrix, test.matrix)
    np.testing.assert_array_equal(drawn.matrix, setup._replace(method=ff.GradientDescent()).problem(4).matrix)
    assert setup._replace(method=ff.GradientDescent()).problem(4).test is None
    assert build(describe(method)) == method
    study = ff.Study(ensemble, NETWORK, INIT, method, axes={"m": [8, 10]}, trials=2)
    assert "EarlyStopping" in str(study)
    with pytest.raises(ValueError, match="EarlyStopping needs measurements that are held out"):
        ff.Study(ff.ensembles.Sparse(20, sparsity=2), NETWORK, INIT, method, axes={"m": [8, 10]}, trials=2)


@pytest.mark.parametrize("first", [0, 100])
def test_averages_are_those_of_the_iterates(first):
    """Of all of them, or of a tail; an end counts once, and what goes on begins anew."""
    problem, steps = ff.CompressedSensing(A, A @ SPARSE, truth=SPARSE), np.arange(first, 4001)
    record = ff.Record(steps, product=True, average=True, average_loss=True, average_error=True)
    runs = ff.train(problem, NETWORK, INIT, ff.GradientDescent(0.05, 4000, tol=1e-2), record=record)
    ended = int(runs.steps[0])
    assert first + 10 < ended < 4000
    x = runs.history.product[0, : ended - first + 1]
    means = np.cumsum(x, axis=0) / np.arange(1, len(x) + 1)[:, None]
    np.testing.assert_allclose(runs.history.average[0, : len(x)], means, rtol=1e-12)
    np.testing.assert_allclose(runs.history.average[0, len(x) :], means[-1:].repeat(4000 - ended, axis=0), rtol=1e-12)
    loss = 0.5 * np.sum((means @ A.T - problem.values) ** 2, axis=1)
    np.testing.assert_allclose(runs.history.average_loss[0, : len(x)], loss, rtol=1e-9)
    error = np.linalg.norm(means - SPARSE, axis=1) / np.linalg.norm(SPARSE)
    np.testing.assert_allclose(runs.history.average_error[0, : len(x)], error, rtol=1e-9)
