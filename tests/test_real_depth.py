"""Depths L that are not whole: the flow ``u' = -g u^{L-1}`` and its limit, between those of whole depths."""

from __future__ import annotations

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow.checks import as_depth

INIT = ff.inits.Constant(1e-2)


def problem(rng, m=4, n=9):
    """Gaussian measurements of three entries."""
    matrix, truth = rng.standard_normal((m, n)), np.zeros(n)
    truth[:3] = 1.0, -0.5, 2.0
    return matrix, matrix @ truth, truth


@pytest.mark.parametrize("alpha", [1.0, 1e-3, 1e-12])
@pytest.mark.parametrize("depth", [2.01, 2.25, 2.5, np.pi, 7.9])
def test_limits_against_many_digits(depth, alpha, rng):
    """Equal and unequal starts, and without v; also at depth 2.01, where ``x ~ cosh^201``."""
    matrix, values, _ = problem(rng, 3, 6)
    for signed, spread in ((True, 0.0), (True, 0.7), (False, 0.0)):
        positive, negative = (alpha * np.exp(spread * rng.uniform(-1, 0, 6) * np.sign(alpha - 0.5)) for _ in range(2))
        reached = values if signed else matrix @ np.abs(rng.standard_normal(6))
        other = negative if signed else None
        result = ff.flow_limit(matrix, reached, positive, depth, signed=signed, negative=other)
        assert result.converged
        expected = naive.exact_flow_limit(matrix, reached, positive, other, depth, result.x)
        print(depth, alpha, signed, np.abs(result.x - expected).max(), float(result.error))
        assert (
            np.abs(result.x - expected).max() <= result.error * np.abs(expected).max() <= 1e-8 * np.abs(expected).max()
        )


@pytest.mark.parametrize(("depth", "gap"), [(2.02, None), (3 - 1e-7, 3), (3 + 1e-7, 3)])
def test_limits_and_flows_are_continuous_in_depth(depth, gap, rng):
    """To the first order: 1e-7 from depth 3, and, by extrapolation from 2.04, 2.02 and 2.01, at depth 2."""
    matrix, values, _ = problem(rng)

    def paths(depth):
        flow = ff.gradient_flow(matrix, values, 0.1, [0.3, 3.0, np.inf], depth, rtol=1e-10)
        return np.vstack([flow.x, ff.flow_limit(matrix, values, 0.1, depth).x])

    if gap is not None:
        np.testing.assert_allclose(paths(depth), paths(gap), rtol=0, atol=1e-5)
        return
    far, middle, near = (paths(2 + k) for k in (0.04, 0.02, 0.01))
    assert np.abs(near - paths(2)).max() > 1e-4
    np.testing.assert_allclose((8 * near - 6 * middle + far) / 3, paths(2), rtol=0, atol=1e-4)


@pytest.mark.parametrize("depth", [2.5, 3.5])
def test_flows_against_lsoda(depth, rng):
    matrix, values, truth = problem(rng)
    network, times = ff.DiagonalLinear(depth), [0.5, 20.0]
    setting = (ff.CompressedSensing(matrix, values, truth=truth), network, INIT)
    runs = ff.train(*setting, ff.GradientFlow(times, rtol=1e-10), record=ff.Record().with_product())
    start = np.full(9, 1e-2)
    for i, time in enumerate(times):
        expected = naive.flow(matrix, values, start, start, depth, time, rtol=1e-11, atol=1e-16)
        np.testing.assert_allclose(runs.history.product[0, i], expected, rtol=0, atol=1e-7)
    limit = ff.train(*setting, ff.FlowLimit())
    np.testing.assert_allclose(runs.solution, limit.solution, rtol=0, atol=1e-7)
    u, v = (factor[0] for factor in limit.factors)
    np.testing.assert_allclose(u**depth - v**depth, limit.solution[0], rtol=0, atol=1e-13)
    np.testing.assert_allclose(u ** (2 - depth) + v ** (2 - depth), 2 * 1e-2 ** (2 - depth), rtol=1e-9)
    slopes = [u ** (depth - 1), v ** (depth - 1)]  # one of the L equal factors
    gradient = matrix.T @ (matrix @ limit.solution[0] - values)
    norm = network.architecture(setting[0]).gradient_norm([f[:1] for f in limit.factors], gradient[None])
    assert norm[0] == pytest.approx(np.sqrt(depth) * np.linalg.norm(np.concatenate(slopes) * np.tile(gradient, 2)))


def test_the_bound_on_l1_holds_between_whole_depths(rng):
    """``||x||_1`` of the limit, and where small starts tend to: the least l1 norm."""
    matrix, values, _ = problem(rng, 6, 12)
    least = np.abs(ff.baselines.basis_pursuit(matrix, values)).sum()
    for depth in (2.2, 2.5, 3.3):
        for alpha in (0.1, 1e-3):
            x = ff.flow_limit(matrix, values, alpha, depth).x
            excess = np.abs(x).sum() - least
            assert -1e-9 <= excess <= ff.theory.l1_excess_bound(depth, alpha, 12, least)


def test_what_takes_it_and_what_does_not(rng, tmp_path):
    matrix, values, truth = problem(rng)
    data, network = ff.CompressedSensing(matrix, values, truth=truth), ff.DiagonalLinear(2.5)
    runs = ff.train(data, network, ff.inits.Gaussian(1e-3), ff.FlowLimit(), runs=3)
    runs.save(tmp_path / "runs.npz")
    assert ff.load(tmp_path / "runs.npz").architecture == runs.architecture
    assert "FlowLimit says" in str(ff.check(data, network, INIT, ff.FlowLimit()))
    for whole in (3.0, np.float64(3), np.int32(3)):
        assert ff.DiagonalLinear(whole) == ff.DiagonalLinear(3)
        assert isinstance(ff.DiagonalLinear(whole).depth, int)
    for call in (
        lambda: ff.train(data, network, INIT),
        lambda: ff.check(data, network, INIT, ff.GradientDescent(0.1)),
    ):
        with pytest.raises(ValueError, match=r"GradientDescent needs a whole number of factors.*use FlowLimit or Gr"):
            call()
    for call in (
        lambda: ff.theory.sharpness(data, runs.factors, network),
        lambda: ff.theory.critical_point(data, network, runs.factors),
        lambda: ff.train(data, network, INIT, ff.GradientFlow([1.0]), record=ff.Record(sharpness=True)),
    ):
        with pytest.raises(ValueError, match="take a whole depth"):
            call()
    with pytest.raises(ValueError, match=r"depth must be an integer where factors are not identical, got 2\.5"):
        ff.DiagonalLinear(2.5, identical=False)


@pytest.mark.parametrize(
    ("depth", "error", "message"),
    [
        (1.5, ValueError, "depth must be 1 or at least 2, got 1.5: between, factors can reach 0 in finite time"),
        (0.5, ValueError, "depth must be at least 1, got 0.5"),
        (2.001, ValueError, "depth must be 2 or at least 2.01, got 2.001, so near to 2: take 2"),
        (8.5, ValueError, "depth must be at most 8, got 8.5"),
        (np.nan, ValueError, "depth must be finite, got nan"),
        ("2.5", TypeError, "depth must be an integer, got '2.5'"),
    ],
)
def test_depths_that_are_none(depth, error, message):
    for call in (
        lambda: as_depth("depth", depth, 2.01, 8),
        lambda: ff.flow_limit([[1.0]], [1.0], 0.1, depth),
        lambda: ff.gradient_flow([[1.0]], [1.0], 0.1, [1.0], depth),
    ):
        with pytest.raises(error, match=message):
            call()
    with pytest.raises(
        error, match=message.replace("depth must be at most", "depth of a DiagonalLinear network must be at most")
    ):
        ff.DiagonalLinear(depth)
