"""The flow of the product: against the flow of the layers, on matrices of every rank, and to its end."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import fastflow as ff
from fastflow import theory
from fastflow.networks import Chain

TIMES = np.array([0.0, 0.1, 1.0, 6.0])


def layer_flow(problem, factors, times, rtol=1e-12):
    """The products at times of the flow of all layers, from the oracle's gradient."""
    shapes = [factor.shape for factor in factors]
    bounds = np.cumsum([0, *(factor.size for factor in factors)])

    def unpack(y):
        return [y[a:b].reshape(s) for a, b, s in zip(bounds, bounds[1:], shapes, strict=False)]

    def velocity(_, y):
        return -np.concatenate([g.ravel() for g in naive.gradient(problem, unpack(y))])

    start = np.concatenate([factor.ravel() for factor in factors])
    solution = solve_ivp(velocity, (0, times[-1]), start, "DOP853", t_eval=times, rtol=rtol, atol=1e-14)
    return np.array([naive.chain_product(unpack(y)) for y in solution.y.T])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize(("shape", "rank"), [((4, 4), 4), ((5, 3), 3), ((3, 5), 2), ((4, 4), 1)], ids=str)
def test_product_of_the_flow_of_layers(shape, rank, depth, make_problem, rng):
    """Square and rectangular, of full rank and not, for every kind of problem in turn."""
    kinds = ["completion", "sensing", "estimation", "regression by gram", "regression by samples"]
    normalization = "mean" if rank == 2 else "sum"
    problem = make_problem(kinds[depth], shape, normalization=normalization)
    product = 0.5 * rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    network, init = ff.DeepLinear(depth), ff.inits.Balanced(product=product)
    factors = init.draw(Chain(network.widths_for(shape)), rng)
    expected = layer_flow(problem, factors, TIMES)
    errors = []
    for rtol in (1e-6, 1e-9):
        method = ff.ProductFlow(times=TIMES, t_max=TIMES[-1], rtol=rtol, tol=0)
        runs = ff.train(problem, network, init, method)
        history = runs.history
        errors.append(np.abs(history.product[0] - expected).max() / np.abs(expected).max())
        assert errors[-1] < 100 * rtol
        if depth > 1:
            assert np.all(ff.metrics.numerical_rank(history.product[0], 1e-13) == rank)
    assert errors[1] < 0.1 * errors[0] or errors[1] < 1e-11
    assert runs.status[0] == ff.Status.MAX_TIME
    np.testing.assert_allclose(history.loss[0], [problem.loss(w) for w in history.product[0]], rtol=1e-12)
    norms = [np.sqrt(sum(np.sum(g**2) for g in naive.gradient(problem, factors)))]
    np.testing.assert_allclose(history.gradient_norm[0, :1], norms, rtol=1e-10)
    np.testing.assert_allclose(naive.chain_product([f[0] for f in runs.factors]), runs.solution[0], atol=1e-12)
    assert ff.metrics.balancedness(runs.factors)[0] < 1e-12 * max(np.sum(f**2) for f in runs.factors)


@pytest.mark.parametrize(("shape", "rank"), [((4, 4), 4), ((5, 3), 3), ((3, 5), 2), ((4, 4), 2)], ids=str)
def test_product_of_gradient_flow(shape, rank, make_problem, rng):
    """The layers' flow by `GradientFlow`, from the same balanced start."""
    for depth, kind in ((2, "completion"), (3, "regression by gram"), (4, "sensing")):
        problem = make_problem(kind, shape)
        product = 0.5 * rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
        init = ff.inits.Balanced(product=product)
        layers, alone = (
            ff.train(problem, ff.DeepLinear(depth), init, method(times=TIMES, t_max=TIMES[-1], rtol=1e-8, tol=0))
            for method in (ff.GradientFlow, ff.ProductFlow)
        )
        scale = np.abs(alone.history.product).max()
        np.testing.assert_allclose(layers.history.product, alone.history.product, rtol=0, atol=1e-6 * scale)
        assert ff.metrics.balancedness(layers.factors)[0] < 1e-6 * scale


def test_gradient_descent_approaches_the_flow_linearly_in_the_step(make_problem):
    """At equal times: half the step, half the distance."""
    problem, network, start = make_problem("completion", (4, 4)), ff.DeepLinear(3), ff.inits.Balanced(0.5)
    times = np.linspace(0, 4, 9)
    flow = ff.train(problem, network, start, ff.ProductFlow(times, 4.0, 1e-10, tol=0), 2).history.product
    distances = []
    for halvings in range(3):
        step, per_time = 0.02 / 2**halvings, 25 * 2**halvings
        record = ff.Record(np.arange(9) * per_time, product=True)
        method = ff.GradientDescent(step=step, max_steps=8 * per_time, tol=0)
        descent = ff.train(problem, network, start, method, 2, record=record).history.product
        distances.append(np.linalg.norm(descent - flow, axis=(2, 3)).max(axis=1))
    np.testing.assert_allclose(np.divide(distances[:-1], distances[1:]), 2, rtol=0.05)


@pytest.mark.parametrize("depth", [2, 3])
def test_modes_of_an_identical_start(depth, rng):
    """Against the closed form, as long as round-off that is not symmetric has not grown: the limit is a saddle."""
    vectors, eigenvalues = np.linalg.qr(rng.standard_normal((4, 4)))[0], np.array([3.0, 1.0, 0.0, -1.0])
    target = (vectors * eigenvalues) @ vectors.T
    problem, alpha = ff.MatrixEstimation((target + target.T) / 2), 1e-2
    times = theory.half_time(3.0, alpha, depth) * np.array([0.5, 1, 1.5, 4])
    runs = ff.train(
        problem, ff.DeepLinear(depth), ff.inits.Identity(alpha, of="factor"), ff.ProductFlow(times, times[-1], 1e-10)
    )
    modes = theory.mode_value(times[:, None], eigenvalues, alpha, depth)
    expected = (vectors * modes[:, None, :]) @ vectors.T
    np.testing.assert_allclose(runs.history.product[0], expected, rtol=0, atol=1e-7)


def test_the_flow_ends_at_the_global_minimum_over_its_rank(rng):
    """An autoencoder from balanced starts of rank 2: the projector on the leading directions, and a minimum."""
    inputs = np.diag([3.0, 2.0, 1.0, 0.5]) @ np.linalg.qr(rng.standard_normal((9, 4)))[0].T
    problem, network = ff.LinearRegression.autoencoder(inputs, samples="columns"), ff.DeepLinear(widths=(4, 2, 4))
    runs = ff.train(problem, network, ff.inits.Balanced(0.1), ff.ProductFlow(times=[1e-3, np.inf]), runs=3)
    minimum = theory.global_minimum(problem, 2)
    np.testing.assert_array_equal(runs.status, ff.Status.CRITICAL)
    np.testing.assert_allclose(runs.loss, minimum.value, rtol=1e-12)
    np.testing.assert_allclose(runs.solution, np.broadcast_to(minimum.solution, runs.solution.shape), atol=1e-8)
    np.testing.assert_array_equal(runs.history.product[:, -1], runs.solution)
    assert theory.critical_point(problem, network, [f[0] for f in runs.factors]).kind == "minimum"
    again = ff.train(problem, network, runs.last, ff.ProductFlow())
    np.testing.assert_allclose(again.solution, runs.solution, atol=1e-8)


def test_the_sign_of_the_determinant_stays(rng):
    """A target of determinant -1 from one of +1: the flow comes to a singular matrix, and never through it."""
    problem = ff.MatrixEstimation(np.diag([2.0, 1.0, -0.5]))
    method = ff.ProductFlow(np.geomspace(0.1, 1e3, 12), 1e3)
    runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Balanced(product=0.1 * np.eye(3)), method)
    values = runs.history.singular_values[0]
    assert values[-1, 2] < 1e-10
    assert np.all(np.linalg.slogdet(runs.history.product[0])[0] >= 0)
    assert runs.loss[0] == pytest.approx(0.5**2 / 2, rel=1e-6)


def test_a_stiff_flow_goes_on_implicitly():
    """Inputs of condition 1e8: an explicit method would take 1e8 steps."""
    inputs = np.diag([1e2, 1.0, 1e-2])
    problem = ff.LinearRegression(inputs, inputs @ np.diag([1.0, 2.0, 3.0]), samples="columns")
    runs = ff.train(
        problem, ff.DeepLinear(2), ff.inits.Balanced(product=np.eye(3)), ff.ProductFlow(t_max=1e6, rtol=1e-7)
    )
    assert runs.steps[0] < 5000
    np.testing.assert_allclose(runs.solution[0], np.diag([1.0, 2.0, 3.0]), rtol=0, atol=3e-6)  # ten times rtol, of 3


def test_what_product_flow_does_not_take(make_problem):
    problem = make_problem("completion", (4, 3))
    method = ff.ProductFlow(times=[1.0])
    with pytest.raises(ValueError, match=r"needs a balanced start.*take inits.Balanced"):
        ff.train(problem, ff.DeepLinear(3), ff.inits.Gaussian(0.1), method, runs=2)
    with pytest.raises(ValueError, match="W = 0, where it rests"):
        ff.train(problem, ff.DeepLinear(2), ff.inits.Explicit([np.zeros((3, 3)), np.zeros((4, 3))]), method)
    vector = ff.CompressedSensing(np.eye(3), np.ones(3))
    with pytest.raises(TypeError, match="ProductFlow needs a DeepLinear network"):
        ff.train(vector, ff.DiagonalLinear(2), method=method)
    with pytest.raises(ValueError, match="float64"):
        ff.train(problem, ff.DeepLinear(2), ff.inits.Balanced(), method, dtype=np.float32)
    with pytest.raises(ValueError, match=r"has none: use ProductFlow\(times=...\)"):
        ff.train(problem, ff.DeepLinear(2), ff.inits.Balanced(), ff.ProductFlow(), record=ff.Record())
    assert "ProductFlow(times=<1 times>" in repr(method)


def test_balanced_factors_of_a_deficient_product_are_deficient(rng):
    """The root of a round-off singular value would be 5e-6."""
    product = np.outer(rng.standard_normal(5), rng.standard_normal(4))
    for factor in ff.inits.Balanced(product=product).draw(Chain((4, 4, 4, 5)), rng):
        assert np.linalg.svd(factor, compute_uv=False)[1] < 1e-15


def test_trial_stages_that_overflow_are_steps_too_long():
    """One mode of depth 6, y' = 6 y^{5/3} (1 - y): near 1 a stage of a long step leaves the range of numbers."""
    problem, start = ff.MatrixEstimation([[1.0]]), ff.inits.Balanced(product=[[0.01]])
    runs = ff.train(problem, ff.DeepLinear(6), start, ff.ProductFlow(rtol=1e-4), progress=False)
    assert runs.status[0] in (ff.Status.CONVERGED, ff.Status.CRITICAL)
    assert runs.solution[0, 0, 0] == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("depth", [2, 3, 6])
def test_times_within_a_step_are_as_accurate_as_its_end(depth):
    """What joins the steps of an integrator has no control of its error: 200 times within 30 steps, to 10 rtol."""
    rng = np.random.default_rng(3)
    problem = ff.MatrixEstimation(rng.standard_normal((3, 3)))
    start, times = ff.inits.Balanced(product=0.05 * rng.standard_normal((3, 3))), np.linspace(0.05, 12, 200)

    def products(rtol):
        method = ff.ProductFlow(times, 12.0, rtol, tol=0)
        return ff.train(problem, ff.DeepLinear(depth), start, method, progress=False).history.product[0]

    rtol = 1e-4
    exact = products(1e-10)
    error = np.linalg.norm(products(rtol) - exact, axis=(1, 2)).max()
    assert error <= 10 * rtol * np.linalg.norm(exact, axis=(1, 2)).max()
