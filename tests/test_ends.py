"""The ends of gradient descent that the user does not name: done where a user would say so, in any units."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow.status import Status

UNITS = (1e-6, 1.0, 1e6)


def rest_of(problem, runs):
    """The loss above the least, over that of the product 0."""
    least = runs.architecture.least_loss(problem)
    return (runs.loss - least) / problem.zero_loss()


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_zero_modes_that_die_like_a_power_of_time_end(depth):
    """All defaults: nearly all runs end before max_steps, with a loss that is the square of what has yet to die."""
    problem = ff.MatrixEstimation(np.diag([3.0, 1, 0, 0]))
    runs = ff.train(problem, ff.DeepLinear(depth), runs=64, progress=False)
    done = np.isin(runs.status, (Status.CONVERGED, Status.CRITICAL))
    assert np.mean(done) >= 0.9
    assert (rest_of(problem, runs)[done] <= 1e-6).all()
    critical = np.flatnonzero(runs.status == Status.CRITICAL)
    assert critical.size
    assert (runs.steps[critical] % 1000 == 0).all()
    longer = ff.GradientDescent(max_steps=int(runs.steps[critical].max()) + 100_000, tol=0)
    on = ff.train(problem, ff.DeepLinear(depth), runs.last, longer, progress=False)
    fell = runs.loss[critical] / on.loss[critical]
    assert np.median(fell) <= np.exp(4)  # a tail falls less than its tangent, but for what is out of balance


COMPLETED = np.where(np.eye(4) > 0, np.nan, np.outer([1.0, 2, 1, 3], np.ones(4)))
INPUTS, OUTPUTS = np.vander(np.linspace(-1, 1, 30), 3).T, np.cos(np.arange(60.0)).reshape(2, 30)


@pytest.mark.parametrize(
    "make",
    [
        lambda c: ff.MatrixEstimation(c * np.diag([3.0, 1, 0, 0])),
        lambda c: ff.MatrixCompletion.from_dense(c * COMPLETED),
        lambda c: ff.LinearRegression(INPUTS, c * OUTPUTS, samples="columns"),
        lambda c: ff.CompressedSensing(np.cos(np.arange(200.0).reshape(10, 20) ** 2), c * np.arange(1.0, 11)),
        lambda c: ff.CompressedSensing(np.cos(np.arange(200.0).reshape(20, 10) ** 2), c * np.arange(1.0, 21)),
    ],
    ids=["estimation", "completion", "regression", "wide sensing", "tall sensing"],
)
def test_units_of_the_data_change_no_status(make):
    """Multiplying the data by c multiplies the product by c, and changes no status, and steps by rounding alone."""
    method = ff.GradientDescent(max_steps=20_000)
    results = [ff.train(make(c), method=method, progress=False) for c in UNITS]
    for c, runs in zip(UNITS, results, strict=True):
        np.testing.assert_array_equal(runs.status, results[1].status)
        np.testing.assert_allclose(runs.steps, results[1].steps, rtol=1e-3, atol=1000)
        np.testing.assert_allclose(
            runs.solution / c, results[1].solution, atol=1e-4 * np.abs(results[1].solution).max()
        )


@pytest.mark.parametrize("network", [ff.DeepLinear(2), ff.DeepLinear(3), ff.DeepLinear(widths=(3, 2, 3))], ids=repr)
def test_plateaus_are_no_ends(network):
    """A mode that starts far smaller than its target is waited for, though almost all of the loss is gone."""
    small = 2e-4  # its loss is 4e-8 of all
    problem = ff.MatrixEstimation(np.diag([1.0, small, 0]))
    init = ff.inits.Balanced(product=np.diag([1e-3, 1e-9, 0]))
    for max_steps in (3000, 10_000):
        runs = ff.train(problem, network, init, ff.GradientDescent(max_steps=max_steps), progress=False)
        assert abs(runs.solution[0, 1, 1] - small) < 0.1 * small or runs.status[0] == Status.MAX_STEPS


def test_the_least_loss_is_what_data_and_network_allow(rng):
    """Noise is no reason to go on: the loss ends 1e-10 of that of the product 0 above its minimum."""
    inputs, outputs = rng.standard_normal((3, 40)), rng.standard_normal((2, 40))
    problem = ff.LinearRegression(inputs, outputs, samples="columns")
    for widths, rank in (((3, 2, 2), 2), ((3, 1, 2), 1)):
        least = problem.minimum(rank).value
        runs = ff.train(problem, ff.DeepLinear(widths=widths), runs=20, progress=False)
        assert (runs.status == Status.CONVERGED).all()
        assert (runs.loss - least <= 1.01e-10 * problem.zero_loss()).all()
    matrix, values = rng.standard_normal((40, 5)), rng.standard_normal(40)
    sensing = ff.CompressedSensing(matrix, values)
    runs = ff.train(sensing, progress=False)
    assert runs.status[0] == Status.CONVERGED
    expected = np.linalg.lstsq(matrix, values, rcond=None)[0]
    np.testing.assert_allclose(runs.solution[0], expected, atol=1e-3)


def test_small_targets_are_not_done_at_the_start():
    runs = ff.train(ff.MatrixEstimation(1e-5 * np.eye(3), truth=1e-5 * np.eye(3)), runs=5, progress=False)
    assert (runs.status == Status.CONVERGED).all()
    assert (runs.steps > 0).all()
    assert (runs.error < 1e-4).all()


@pytest.mark.parametrize("network", [ff.DiagonalLinear(2), ff.DiagonalLinear(3, identical=False)], ids=repr)
def test_units_of_the_data_change_no_end_of_a_flow(network):
    """By the dual, and by the flow of layers: the end is the same in any units, and 1e-20 of the loss at 0 is one."""
    matrix, values = np.cos(np.arange(40.0).reshape(4, 10) ** 2), np.arange(1.0, 5)
    statuses = set()
    for c in UNITS:
        problem = ff.CompressedSensing(matrix, c * values)
        runs = ff.train(problem, network, method=ff.GradientFlow(), progress=False)
        statuses.add(int(runs.status[0]))
        assert runs.loss[0] <= (1e-20 if runs.status[0] == Status.CONVERGED else 1e-16) * problem.zero_loss()
    assert len(statuses) == 1
    assert statuses <= {Status.CONVERGED, Status.CRITICAL}


def test_tolerances_of_the_user_count_as_given():
    """A tol is absolute, and switches the test for rest off; gradient_tol alone leaves the default tol."""
    problem, network = ff.MatrixEstimation(np.diag([3.0, 1, 0, 0])), ff.DeepLinear(2)
    runs = ff.train(problem, network, method=ff.GradientDescent(tol=1e-6), runs=5, progress=False)
    assert (runs.status == Status.CONVERGED).all()
    assert (runs.loss > 1e-8).all()
    assert (runs.loss <= 1e-6).all()
    runs = ff.train(problem, network, method=ff.GradientDescent(max_steps=50_000, tol=0), runs=5, progress=False)
    assert (runs.status == Status.MAX_STEPS).all()
    method = ff.GradientDescent(max_steps=3000, gradient_tol=0)
    assert (ff.train(problem, network, method=method, runs=5, progress=False).status == Status.MAX_STEPS).all()
