"""The gradient flow of layers: closed forms, conservation laws, limits, and extended precision.

`test_flow_accuracy` has its errors against SciPy.
"""

from __future__ import annotations

import functools

import naive
import numba
import numpy as np
import pytest
from conftest import KINDS
from test_flow_accuracy import flat

import fastflow as ff
from fastflow import scheduling, theory
from fastflow.kernels.flow.chebyshev import ERROR_WEIGHT, MANY, MOVE, WEIGHT, chebyshev
from fastflow.kernels.flow.control import Methods
from fastflow.kernels.flow.dense_output import lay_out_further, nonstiff_point, nonstiff_weights, stabilised_point
from fastflow.kernels.flow.dormand_prince import ORDERS, ROWS, SLOPES, STABLE, dormand_prince
from fastflow.kernels.flow.layer_flow import flow_memory
from fastflow.kernels.flow.stabilised import (
    FIRST_SLOPE,
    GRADIENT,
    HERE,
    OF_ERROR,
    OF_POINT,
    OF_SLOPE,
    OF_STEP,
    POINT,
    SLOPE,
    STATE,
    Step,
    finish_nonstiff,
    finish_stabilised,
    lay_out_nonstiff,
    lay_out_stabilised,
    step_memory,
)
from fastflow.kernels.losses import any_loss, completion
from fastflow.kernels.losses.any_loss import as_any_loss
from fastflow.kernels.networks import chain_field as chain_field_module
from fastflow.kernels.networks.chain_field import one_chain_field
from fastflow.kernels.networks.vector_field import slope_of
from fastflow.kernels.vectors.combine import ESTIMATES
from fastflow.methods import gradient_flow
from fastflow.methods.base import nbytes_of
from fastflow.records import tracing
from fastflow.theory.hessian import Hessian

# Coefficients


def test_the_stabilised_methods_have_their_order_and_are_stable():
    """``R(z) = e^z + O(z^5)``, ``|R| <= 1`` on the interval, and order 3; the estimate is of order 4."""
    table = chebyshev()
    for i, stages in enumerate(table.stages):
        rows, last = table.rows[table.first[i] : table.first[i + 1]], table.last[i]
        z = np.concatenate([-np.geomspace(1e-2, 0.5, 20), -np.linspace(0, table.length[i], 30 * stages)])
        powers = [np.ones_like(z), 1 + rows[1, MOVE] * z]
        c = [0.0, rows[1, MOVE]]
        for mu, nu, rest, m, lag, _, _ in rows[2:]:
            powers.append(mu * powers[-1] + nu * powers[-2] + rest + z * (m * powers[-1] + lag))
            c.append(mu * c[-1] + nu * c[-2] + m + lag)
            assert np.all(np.abs(powers[-1]) <= 1 + 1e-9)
        new = 1 + z * (rows[:, WEIGHT] @ powers)
        error = z * (rows[:, ERROR_WEIGHT] @ powers + last * new)
        assert np.all(np.abs(new) <= 1 + 1e-9)
        assert np.all(np.abs(new - np.exp(z))[:20] <= 0.01 * np.abs(z[:20]) ** 5 + 1e-12)
        for power in range(3):
            assert rows[:, WEIGHT] @ np.power(c, power) == pytest.approx(1 / (power + 1), rel=5 / stages**4 + 1e-10)
            assert rows[:, ERROR_WEIGHT] @ np.power(c, power) + last == pytest.approx(0, abs=1 / stages**4 + 1e-10)
        # what is not met of the tree of order 4 that has no linear part is what the estimate is scaled to
        defect = rows[:, WEIGHT] @ np.power(c, 3) - 1 / 4
        assert rows[:, ERROR_WEIGHT] @ np.power(c, 3) + last == pytest.approx(
            defect, rel=1e-6 if stages <= MANY else 0.01
        )
        np.testing.assert_allclose(np.abs(error[:5]), 0.4 * np.abs(z[:5]) ** 4 / 24, rtol=0.1, atol=1e-12)
        assert np.abs(error).max() < 10
    assert np.all(table.length[table.stages >= 14] > 0.33 * table.stages[table.stages >= 14] ** 2)


@pytest.mark.parametrize("order", ORDERS)
def test_the_other_methods_have_their_order_where_f_is_linear(order):
    """``R(z) = e^z + O(z^9)``, also within the step to order 7, and ``|R| <= 1`` as far as it is said to be stable.

    And so for order 5, within the step to 4.
    """
    table, within = dormand_prince(order), order - 1
    z = -np.concatenate([np.geomspace(0.2, 0.5, 10), np.linspace(0, STABLE[order], 200)])
    slopes = np.zeros((SLOPES, z.size))
    for stage in range(table.slopes):
        assert np.all(table.points[stage, : table.first[stage]] == 0)
        slopes[ROWS[stage]] = z * (1 + table.points[stage] @ slopes)
    new = 1 + table.points[table.stages] @ slopes
    assert np.all(np.abs(new - np.exp(z))[:10] < {8: 1e-5, 5: 2e-3}[order] * np.abs(z[:10]) ** (order + 1))
    assert np.all(np.abs(new) <= 1)
    for estimate, of in zip(table.errors, {8: (5, 3), 5: (4,)}[order], strict=False):
        # one more than what it vanishes with, in the step
        assert 0 < np.abs(estimate @ slopes)[0] < 0.05 * np.abs(z[0]) ** (of + 1)
    assert ESTIMATES[table.stages + 1 - table.first[table.stages]] == table.estimates
    for share in (0.2, 0.7):
        weights = np.zeros(SLOPES)
        nonstiff_weights.py_func(weights, table, share)
        got = 1 + weights @ slopes
        assert np.all(np.abs(got - np.exp(share * z))[:10] < {8: 1e-4, 5: 1e-2}[order] * np.abs(z[:10]) ** (within + 1))


@numba.njit
def take_step(field, methods, step, which, length, shares, points):
    """A step of method ``which``, or of that where nothing is stiff if negative; and where it is at shares of it.

    Returns the rate that it has seen.
    """
    stages, goal, rate = methods.nonstiff.stages, SLOPE, 0.0
    if which >= 0:
        stages = methods.stabilised.stages[which]
    for stage in range(1, stages + 1):
        if which >= 0:
            row = lay_out_stabilised(methods.stabilised, step, which, length, stage)
        else:
            row, goal = lay_out_nonstiff(methods.nonstiff, step, length, stage)
        slope_of(field, 0, step.vectors[row], step.vectors[goal])
    if which >= 0:
        finish_stabilised(methods.stabilised, step, which, length)
    else:
        rate = finish_nonstiff(methods.nonstiff, step, length)
        for stage in range(stages + 1, methods.nonstiff.slopes):
            lay_out_further(methods.nonstiff, step, length, stage)
            slope_of(field, 0, step.vectors[HERE], step.vectors[FIRST_SLOPE + stage])
    for i in range(shares.size):
        if which >= 0:
            stabilised_point(step, length, shares[i])
        else:
            nonstiff_point(methods.nonstiff, step, length, shares[i])
        points[i] = step.vectors[HERE]
    return rate


@pytest.mark.parametrize("order", ORDERS)
def test_steps_are_those_of_the_oracle(order, make_problem, make_factors):
    widths, methods, shares = (4, 4, 3, 5), Methods(dormand_prince(order), chebyshev()), np.array([0.25, 0.8])
    problem, factors = make_problem("completion", (5, 4)), make_factors(widths)
    data = as_any_loss(problem.kernel_data([problem], np.dtype(float)), 20)
    step, w = Step(*(array[0] for array in step_memory(1, 43))), flat(factors)
    field = one_chain_field(data, np.array([problem.weight]), widths, w)
    shapes = [factor.shape for factor in factors]
    cuts = np.cumsum([factor.size for factor in factors])[:-1]

    def slope(w):
        return flat(naive.gradient(problem, [x.reshape(s) for x, s in zip(np.split(w, cuts), shapes, strict=True)]))

    for which, length in ((0, 0.05), (9, 0.1), (-1, 0.05)):
        points = np.zeros((2, w.size))
        step.vectors[STATE], step.vectors[GRADIENT] = w, slope(w)
        seen = take_step(field, methods, step, which, length, shares, points)
        if which >= 0:
            new, error = naive.stabilised_step(slope, w, methods.stabilised, which, length)
            size, g = np.linalg.norm(error), length * np.array([slope(w), slope(new)])
            wanted = [
                (1 + 2 * x) * (1 - x) ** 2 * w + x**2 * (3 - 2 * x) * new - x * (1 - x) * ((1 - x) * g[0] - x * g[1])
                for x in shares
            ]
        else:
            new, size, wanted, rate = naive.nonstiff_step(slope, w, length, shares, order)
            assert seen == pytest.approx(rate, rel=1e-9)
        np.testing.assert_allclose(step.vectors[POINT], new, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(points, wanted, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(step.vectors[SLOPE], slope(new), rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(step.sizes[OF_ERROR], size, rtol=1e-6, atol=1e-13)
        sizes = [np.linalg.norm(x) for x in (new - w, new, slope(new))]
        np.testing.assert_allclose(step.sizes[[OF_STEP, OF_POINT, OF_SLOPE]], sizes, rtol=1e-9)


def test_sparse_completions_have_the_bits_of_dense_ones(make_problem, make_factors, monkeypatch):
    problem, factors = make_problem("completion", (5, 4)), make_factors((4, 3, 5))
    dense = Hessian(problem, ff.DeepLinear(widths=(4, 3, 5)), factors)
    monkeypatch.setattr(completion, "SPARSE", 0)
    sparse = Hessian(problem, ff.DeepLinear(widths=(4, 3, 5)), factors)
    assert (dense._problem.kind, sparse._problem.kind) == (any_loss.KNOWN, any_loss.COMPLETION)
    assert dense.loss == sparse.loss
    np.testing.assert_array_equal(dense.gradient, sparse.gradient)
    np.testing.assert_array_equal(dense.times(flat(factors)), sparse.times(flat(factors)))


def test_many_times_cost_little_and_are_as_exact(make_problem):
    """Of 200 times not each takes a step; and their products are as exact as those of few."""
    problem, network, init = make_problem("completion", (4, 5)), ff.DeepLinear(3), ff.inits.Gaussian(0.3)
    times = np.geomspace(0.1, 100, 200)

    def run(times, rtol):
        return ff.train(problem, network, init, ff.GradientFlow(times, t_max=100, rtol=rtol, tol=0), runs=1)

    for rtol in (1e-4, 1e-7):
        many, few = run(times, rtol), run(times[::100], rtol)
        wanted = np.array([run([t], 1e-11).history.product[0, 0] for t in times[5::40]])
        got = many.history.product[0, 5::40]
        assert np.abs(got - wanted).max() < 10 * rtol * np.abs(wanted).max()
        assert many.steps[0] < min(3 * few.steps[0] + 10, 180)


# Laws


def test_balancedness_is_conserved_to_the_tolerance(make_problem):
    problem, network = make_problem("completion", (5, 4)), ff.DeepLinear(widths=(4, 4, 3, 5))
    for rtol in (1e-4, 1e-7):
        method = ff.GradientFlow(rtol=rtol, times=[0.0, 0.1, 1, 10, 100], t_max=100)
        runs = ff.train(problem, network, ff.inits.Gaussian(0.5), method, runs=3, record=ff.Record(factors=True))
        for j in range(2):
            lower, upper = runs.history.factors[j], runs.history.factors[j + 1]
            defect = np.swapaxes(upper, -1, -2) @ upper - lower @ np.swapaxes(lower, -1, -2)
            size = np.sum(upper**2, axis=(-1, -2)).max()
            assert np.abs(defect - defect[:, :1]).max() < 10 * rtol * size


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_modes_of_symmetric_estimation_follow_their_closed_form(depth, rng):
    """Values in time, in the eigenbasis of Y, and the times at which they have grown to a tenth and to a half."""
    basis, eigenvalues, alpha = np.linalg.qr(rng.standard_normal((4, 4)))[0], np.array([2.0, 1.0, 0.3, 0.0]), 0.1
    target = basis @ np.diag(eigenvalues) @ basis.T
    problem, init = ff.MatrixEstimation((target + target.T) / 2), ff.inits.Identity(alpha, of="factor")
    shares = np.array([0.1, 0.5])
    rises = [theory.escape_time(eigenvalues[:3], alpha, depth, share) for share in shares]
    times = np.unique(np.concatenate([[0.0], *rises, np.geomspace(0.1, 2, 8) * rises[1][2]]))
    runs = ff.train(problem, ff.DeepLinear(depth), init, ff.GradientFlow(times, t_max=times[-1], rtol=1e-8, tol=0))
    got = np.diagonal(basis.T @ runs.history.product[0] @ basis, axis1=-2, axis2=-1)
    np.testing.assert_allclose(got, theory.mode_value(times[:, None], eigenvalues, alpha, depth), rtol=0, atol=1e-6)
    for share, of_share in zip(shares, rises, strict=True):
        for i, (time, value) in enumerate(zip(of_share, eigenvalues, strict=False)):
            reached = got[np.flatnonzero(times == time)[0], i]
            rate = depth * reached ** (2 - 2 / depth) * (value - reached)
            assert time + (share * value - reached) / rate == pytest.approx(time, rel=1e-6)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_plateaus_of_the_effective_rank(depth):
    """Of diag(10, 5, 1, 0, ...), n = 20, product started at 1e-4 I: at known times (MATH.md), and as the modes say."""
    times = {
        2: [0.422, 0.760, 1.400, 3.906, 5.294],
        3: [1.956, 3.972, 4.344, 20.014, 21.224],
        4: [4.852, 9.784, 10.06, 49.11, 50.156],
    }[depth]
    edges = [1.02, 1.02, 1.48, 1.52, 1.58]
    eigenvalues = np.array([10.0, 5, 1] + [0] * 17)
    problem, init = ff.MatrixEstimation(np.diag(eigenvalues)), ff.inits.Identity(1e-4, of="product")
    method = ff.GradientFlow(times, t_max=times[-1], rtol=1e-9)
    history = ff.train(problem, ff.DeepLinear(depth), init, method).history
    modes = theory.mode_value(np.array(times)[:, None], eigenvalues, 1e-4 ** (1 / depth), depth)
    np.testing.assert_allclose(history.effective_rank[0], modes.sum(axis=1) / modes.max(axis=1), rtol=0, atol=1e-6)
    np.testing.assert_allclose(history.effective_rank[0], edges, rtol=0, atol=5e-3)


def test_descent_approaches_the_flow_in_proportion_to_the_step(make_problem):
    problem, network, init = make_problem("sensing", (4, 4)), ff.DeepLinear(2), ff.inits.Gaussian(0.5)
    flow = ff.train(problem, network, init, ff.GradientFlow([2.0], t_max=2, rtol=1e-10), runs=1).history.product[0, 0]
    distances = []
    for step in (0.02, 0.01, 0.005):
        method = ff.GradientDescent(step, max_steps=round(2 / step), tol=0)
        distances.append(np.linalg.norm(ff.train(problem, network, init, method, runs=1).solution[0] - flow))
        apart = ff.flow_distance(problem, network, init, method, runs=1, steps=[0, round(1 / step), round(2 / step)])
        np.testing.assert_allclose(apart.times, [0, 1, 2], rtol=1e-12)
        assert apart.distance[0, 0] == 0
        assert apart.distance[0, 2] == pytest.approx(distances[-1] / np.linalg.norm(flow), rel=0.01)
    np.testing.assert_allclose(np.divide(distances[:-1], distances[1:]), 2, rtol=0.05)
    with pytest.raises(TypeError, match=r"method must take steps that a flow is compared with, got GradientFlow"):
        ff.flow_distance(problem, network, init, ff.GradientFlow(), runs=1)
    decreasing = ff.GradientDescent(ff.Decreasing(0.05, scale=10), max_steps=3, tol=0)
    apart = ff.flow_distance(problem, network, init, decreasing, runs=1, steps=[0, 1, 3])
    np.testing.assert_allclose(apart.times, np.array([0, 0.05, 0.05 * (1 + 1.1**-0.5 + 1.2**-0.5)]), rtol=1e-12)


@pytest.mark.parametrize("identical", [True, False])
def test_descent_of_vectors_approaches_their_flow_in_proportion_to_the_step(identical, rng):
    """From x = 0, too, where neither has moved."""
    problem = ff.CompressedSensing(rng.standard_normal((4, 8)) / 2, rng.standard_normal(4))
    network, init = ff.DiagonalLinear(3, identical=identical), ff.inits.Constant(0.5)
    apart = [
        ff.flow_distance(problem, network, init, ff.GradientDescent(step, round(2 / step), tol=0), steps=3).distance[0]
        for step in (0.01, 0.005)
    ]
    assert apart[0][0] == 0
    assert apart[0][-1] / apart[1][-1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("balanced", [True, False])
def test_almost_every_start_of_two_layers_finds_the_best_autoencoder(balanced, rng):
    """Half the sum of the discarded eigenvalues, at the projector on the leading ones; 1000 starts."""
    inputs = rng.standard_normal((8, 24)) * np.linspace(1, 2, 8)[:, None] / 4
    problem, network = ff.LinearRegression.autoencoder(inputs, samples="columns"), ff.DeepLinear(widths=(8, 3, 8))
    init = ff.inits.Balanced(0.3) if balanced else ff.inits.Gaussian(0.3)
    runs = ff.train(problem, network, init, ff.GradientFlow(rtol=1e-4), runs=1000)
    values, vectors = np.linalg.eigh(inputs @ inputs.T)
    assert np.all(runs.status == ff.Status.CRITICAL)
    np.testing.assert_allclose(runs.loss, values[:5].sum() / 2, rtol=0, atol=1e-8)
    projector = vectors[:, 5:] @ vectors[:, 5:].T
    np.testing.assert_allclose(runs.solution, np.broadcast_to(projector, (1000, 8, 8)), rtol=0, atol=1e-8)
    point = ff.theory.critical_point(problem, network, [factor[0] for factor in runs.factors])
    assert point.kind == "minimum"
    deeper = ff.train(problem, ff.DeepLinear(widths=(8, 3, 5, 8)), init, ff.GradientFlow(rtol=1e-4), runs=200)
    for loss, product in zip(deeper.loss, deeper.solution, strict=True):
        rank = round(np.trace(product))  # of a projector on leading eigenvectors, whatever their number
        assert loss == pytest.approx(values[: 8 - rank].sum() / 2, abs=1e-8)
        leading = vectors[:, 8 - rank :]
        np.testing.assert_allclose(product, leading @ leading.T, rtol=0, atol=1e-8)


@pytest.mark.parametrize("depth", [2, 3])
def test_a_saddle_is_left_when_the_true_flow_leaves_it(depth):
    """A second direction 1e-9 in size beside one that is fitted: against the same flow in 40 digits."""
    import mpmath

    target, last = np.diag([1.0, 0.5]), 60 if depth == 2 else 80
    factors = [np.array([[0.4, 1e-9], [2e-9, 1e-9]]), np.array([[0.6, -1e-9], [1e-9, 2e-9]])]
    if depth == 3:  # one more, that is not small there: of three small ones none would grow exponentially
        factors.insert(1, np.array([[0.9, 0.1], [-0.2, 0.7]]))
    problem, network = ff.MatrixEstimation(target), ff.DeepLinear(depth)
    times = np.array([10.0, 20, 35, 38, 40, 42, 45, 50, 55, 60, 70, 80])
    times = times[times <= last]
    method = ff.GradientFlow(times, t_max=last, rtol=1e-6, tol=0, gradient_tol=0)
    got = ff.train(problem, network, ff.inits.Explicit(factors), method).history.product[0]
    wanted = []
    with mpmath.workdps(40):
        y, w = mpmath.matrix(target.tolist()), [mpmath.matrix(f.tolist()) for f in factors]
        now, h = mpmath.mpf(0), mpmath.mpf(1) / 20

        def product(w):
            return functools.reduce(lambda p, f: f * p, w)

        def rates(w):
            rates = []
            for j in range(depth):
                rate = y - product(w)
                for f in reversed(w[j + 1 :]):
                    rate = f.T * rate
                for f in w[:j]:
                    rate = rate * f.T
                rates.append(rate)
            return rates

        for time in times:
            while now < time - h / 2:  # the classical method of order 4: an error of h^4
                a = rates(w)
                b = rates([x + h / 2 * p for x, p in zip(w, a, strict=True)])
                c = rates([x + h / 2 * p for x, p in zip(w, b, strict=True)])
                d = rates([x + h * p for x, p in zip(w, c, strict=True)])
                w = [x + h / 6 * (p + 2 * q + 2 * r + s) for x, p, q, r, s in zip(w, a, b, c, d, strict=True)]
                now += h
            wanted.append(np.array(product(w).tolist(), float))
    print(np.array(wanted)[:, 1, 1])
    assert wanted[2][1, 1] < 0.1 < 0.4 < wanted[-1][1, 1]  # the saddle is left between
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5)
    if depth == 2:
        saddle = ff.theory.critical_point(problem, network, [np.diag([1.0, 0.0])] * 2)
        assert saddle.kind == "saddle"
        assert saddle.smallest == pytest.approx(-0.5)
    assert ff.theory.critical_point(problem, network, factors).kind == "not critical"
    assert ff.theory.critical_point(problem, network, np.zeros(4 * depth)).kind == "saddle"


# Runs


def test_ends(make_problem, make_factors):
    truth = naive.chain_product(make_factors((4, 2, 4)))
    problem, network, init = make_problem("estimation", (4, 4), truth), ff.DeepLinear(2), ff.inits.Gaussian(0.5)
    runs = ff.train(problem, network, init, ff.GradientFlow(rtol=1e-4), runs=2)
    assert np.all(runs.status == ff.Status.CONVERGED)
    assert np.all(runs.loss <= 1e-20 * problem.zero_loss())
    assert np.all(runs.error < 1e-9)
    early = ff.train(problem, network, init, ff.GradientFlow(rtol=1e-4, gradient_tol=1e-3), runs=2)
    assert np.all(early.status == ff.Status.CRITICAL)
    assert np.all(early.steps < runs.steps)
    few = ff.train(problem, network, init, ff.GradientFlow([0.0, 1e9], rtol=1e-4, max_steps=7), runs=2)
    assert np.all(few.status == ff.Status.MAX_STEPS)
    assert np.all(few.steps == 7)
    assert np.all(np.isfinite(few.history.loss[:, 0]))
    assert np.all(np.isnan(few.history.loss[:, 1]))
    timed = ff.train(problem, network, init, ff.GradientFlow([0.5, 0.5, 2], t_max=2, rtol=1e-4), runs=2)
    assert np.all(timed.status == ff.Status.MAX_TIME)
    np.testing.assert_array_equal(timed.history.product[:, 2], timed.solution)
    np.testing.assert_array_equal(timed.history.product[:, 0], timed.history.product[:, 1])
    assert np.all(np.isnan(timed.step))
    late = ff.train(problem, network, init, ff.GradientFlow([1e6], rtol=1e-4), runs=2)
    assert np.all(late.history.loss[:, 0] <= 1e-20 * problem.zero_loss())
    onwards = ff.train(problem, network, timed.last, ff.GradientFlow(rtol=1e-4))
    assert np.all(onwards.status == ff.Status.CONVERGED)
    lost = ff.train(problem, network, ff.inits.Gaussian(1e150), ff.GradientFlow(), runs=1)
    assert lost.status[0] == ff.Status.DIVERGED


def test_bits_do_not_depend_on_threads_company_or_slices(make_problem, monkeypatch):
    problem, network, init = make_problem("completion", (4, 5)), ff.DeepLinear(3), ff.inits.Gaussian(0.3)
    method = ff.GradientFlow([0.1, 3.0], t_max=20, rtol=1e-5)
    one = ff.train(problem, network, init, method, runs=6, threads=1)
    two = ff.train([problem, problem], network, init, method, runs=[4, 2], threads=2)
    np.testing.assert_array_equal(two.solution[:2], one.solution[[4, 2]])
    monkeypatch.setattr(scheduling, "SLICE_SECONDS", 0.0)
    cut = ff.train(problem, network, init, method, runs=6, threads=2)
    for name in ("solution", "loss", "steps", "status", "flat_factors"):
        np.testing.assert_array_equal(getattr(cut, name), getattr(one, name), name)
    for name in ("loss", "gradient_norm", "balancedness", "product", "singular_values"):
        np.testing.assert_array_equal(getattr(cut.history, name), getattr(one.history, name), name)


@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if kind != "sensing"), "sparse completion"])
def test_lanes_have_the_bits_of_one_run_after_the_other(kind, make_problem, monkeypatch):
    """Of two problems, with times within steps and at their ends, from where nothing is stiff to where it is."""
    if kind == "sparse completion":
        monkeypatch.setattr(completion, "SPARSE", 0)
    problems = [
        make_problem(kind.split()[-1] if "sparse" in kind else kind, (3, 5), normalization=scale)
        for scale in ("sum", "mean")
    ]
    network, init = ff.DeepLinear(widths=(5, 4, 4, 3)), ff.inits.Gaussian(0.3)
    record = ff.Record(product=True, factors=True)
    for rtol in (1e-3, 1e-8):
        method = ff.GradientFlow([0.0, 0.1, 0.1, *np.linspace(1, 3, 20), 50], t_max=300, rtol=rtol)

        def train(runs, threads=1, method=method):
            return ff.train(problems, network, init, method, runs=runs, threads=threads, record=record)

        with monkeypatch.context() as patch:
            patch.setattr(chain_field_module, "LANE_WIDTH", {})
            expected = train(7)
        assert np.any(expected.steps > expected.steps.min() + 5)  # they do not end together
        for runs in (7, 1):
            with monkeypatch.context() as patch:
                # There is so little room for records that runs wait for those of others to be taken away.
                patch.setattr(tracing, "PENDING_BYTES", 1)
                got = train(runs, threads=2)
            rows = np.concatenate([np.arange(runs), 7 + np.arange(runs)])
            for values in ("solution", "loss", "steps", "status", "flat_factors"):
                np.testing.assert_array_equal(getattr(got, values), getattr(expected, values)[rows], values)
            for values in ("loss", "gradient_norm", "balancedness", "product"):
                recorded = getattr(expected.history, values)[rows]
                np.testing.assert_array_equal(getattr(got.history, values), recorded, values)


def test_few_runs_are_shared_among_threads(make_problem, monkeypatch):
    """Though all of them would find place in the lanes of one; and the memory of a step is counted once."""
    taken, take = [], scheduling.Queue.take

    def taking(self, least):
        runs = take(self, least)
        taken.append(len(runs))
        return runs

    monkeypatch.setattr(scheduling.Queue, "take", taking)
    problem, network, init = make_problem("completion", (4, 5)), ff.DeepLinear(3), ff.inits.Gaussian(0.3)
    ff.train(problem, network, init, ff.GradientFlow(t_max=1, rtol=1e-5), runs=4, threads=2)
    assert max(taken) == 2
    memory = flow_memory(2, 1000)
    assert nbytes_of(memory) < 1.2 * memory.step.vectors.nbytes


def test_an_interrupted_flow_is_where_it_was(make_problem, monkeypatch):
    problem, network, init = make_problem("sensing", (4, 4)), ff.DeepLinear(2), ff.inits.Gaussian(0.3)

    def interrupt(self, queue, should_stop):
        self.advance(queue.take(1), 50)
        raise KeyboardInterrupt

    monkeypatch.setattr(gradient_flow._LayerWorker, "work", interrupt)
    with pytest.raises(ff.Interrupted) as caught:
        ff.train(problem, network, init, ff.GradientFlow([1e3]), runs=2, threads=1)
    runs = caught.value.runs
    assert list(runs.status) == [ff.Status.RUNNING] * 2
    for run in range(2):
        factors = [factor[run] for factor in runs.factors]
        assert runs.loss[run] == pytest.approx(naive.loss(problem, factors), rel=1e-12)
        np.testing.assert_allclose(runs.solution[run], naive.chain_product(factors), rtol=1e-12, atol=1e-14)


def test_what_does_not_combine():
    problem = ff.MatrixEstimation(np.eye(2))
    with pytest.raises(ValueError, match="gradient_tol must be at least 0"):
        ff.GradientFlow(gradient_tol=-1)
    with pytest.raises(ValueError, match="float64"):
        ff.train(problem, method=ff.GradientFlow(), dtype=np.float32)
    with pytest.raises(ValueError, match="gradient_tol does not apply"):
        ff.train(ff.CompressedSensing(np.eye(2), np.ones(2)), method=ff.GradientFlow(gradient_tol=1e-3))
