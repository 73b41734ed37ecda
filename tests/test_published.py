"""Published studies, redone at small size: what their theorems say holds of what studies keep."""

from __future__ import annotations

import warnings

import numpy as np
import published
import pytest

import fastflow as ff


def test_sharpness_and_l1_norm_against_the_step():
    """Below the critical step descent ends where the flow does, above no minimum is sharper than 2 over the step."""
    result = published.sharpness_by_step(n=8, m=4, trials=4, steps=3)
    steps = np.array(result.axes["step"])
    converged = result.outcomes["status"] == ff.Status.CONVERGED
    assert converged[0].all()
    assert np.all((result["sharpness"] * steps[:, None])[converged] <= 2 * (1 + 1e-6))
    problems = [result.design.setup(0).problem(trial) for trial in range(4)]
    words = ff.DiagonalLinear(2), ff.inits.Constant(0.1)
    flow = ff.train(problems, *words, ff.FlowLimit(), threads=1)
    assert result["l1_norm"][0] == pytest.approx(ff.metrics.l1_norm(flow.solution), rel=0.05)


def test_excess_of_the_l1_norm():
    """No limit has less than the least l1 norm, and from equal starts the excess falls as they do."""
    result = published.excess_l1(n=20, m=10, trials=3, alphas=3)
    limit, least = result["l1_norm"][..., 0, :], result["l1_norm"][..., 1, :]
    assert np.all(limit >= least * (1 - 1e-7))
    equal = np.diagonal(limit - least)  # (trials, alphas)
    assert np.all(np.diff(equal, axis=-1) > -1e-9)
    assert equal[:, 0].max() < 0.1 * equal[:, -1].max()
    assert np.array_equal(least, np.broadcast_to(least[0, 0], least.shape))


def test_divergence_by_step_and_scale():
    """No minimum is flatter than the bound says, none that is reached is sharper than 2 over the step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = published.divergence(n=3, samples=8, depth=4, trials=4, steps=3)
    steps = np.array(result.axes["step"])[:, None, None]
    ended = np.isin(result.outcomes["status"], (ff.Status.CONVERGED, ff.Status.CRITICAL, ff.Status.STALLED))
    residual = result.outcomes["loss"]
    assert np.all((result["sharpness"] * steps)[ended] <= 2 * (1 + 1e-4))
    least = np.nanmin(np.where(ended, residual, np.nan), axis=(0, 1))
    minima = ended & (residual <= least * (1 + 1e-6))
    assert minima.any()
    assert np.all(result["sharpness"][minima] >= result["flattest"][minima] * (1 - 1e-6))
    rates = np.mean(result.outcomes["status"] == ff.Status.DIVERGED, axis=(1, 2))
    assert rates[0] == 0
    assert rates[-1] > 0.5


def test_rank_that_flows_reach():
    """From almost every start the bottleneck is full, and the limit is the one that is predicted."""
    descent = ff.GradientDescent(max_steps=20_000)  # whose kernels other tests have compiled
    result = published.rank_reached(n=4, samples=8, trials=5, most=2, method=descent)
    assert np.array_equal(result["numerical_rank"], [[1] * 5, [2] * 5])
    assert np.all(result["limit_distance"] < 1e-3)


@pytest.mark.parametrize("study", published.STUDIES)
def test_each_is_fifteen_lines(study):
    import inspect

    source = inspect.getsource(published.STUDIES[study][0]).splitlines()
    assert len(source) <= 15  # with the name and a line on what it is
