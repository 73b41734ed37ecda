"""`train` by the gradient flow and by its limit: what the functions of arrays give, in the words of `train`."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow import scheduling
from fastflow.dual.vectors import vectors_at
from fastflow.methods import Execution, flow_limit, gradient_flow
from fastflow.networks import Hadamard

EVERY = [
    ff.DiagonalLinear(depth, signed=signed, identical=identical)
    for depth in (1, 2, 3)
    for signed in (True, False)
    for identical in (True, False)
    if identical or depth <= 2
]


@pytest.fixture
def make_sensing(rng):
    """``make_sensing(m, n, sparsity)``: a problem with a truth, nonnegative, so that every network reaches it."""

    def make(m=12, n=30, sparsity=3, **options):
        matrix, truth = rng.standard_normal((m, n)) / np.sqrt(m), np.zeros(n)
        truth[rng.choice(n, sparsity, replace=False)] = 0.5 + rng.random(sparsity)
        return ff.CompressedSensing(matrix, matrix @ truth, truth=truth, **options)

    return make


def product(network, factors):
    """x of factors, each (..., n)."""
    half = len(factors) // (2 if network.signed else 1)
    power = network.depth if network.identical else 1
    sides = [np.prod(np.array(side) ** power, axis=0) for side in (factors[:half], factors[half:]) if side]
    return sides[0] - sides[1] if network.signed else sides[0]


def positive_start(network, n, runs, rng, scale=0.1):
    """Starts (runs, n) of every factor, which no two of them share."""
    count = len(Hadamard(n, network.depth, network.signed, network.identical).factor_shapes)
    return [scale * (0.5 + rng.random((runs, n))) for _ in range(count)]


def label(network):
    return f"depth {network.depth}{' signed' * network.signed}{' identical' * network.identical}"


@pytest.mark.parametrize("network", EVERY, ids=label)
def test_limit_and_flow_are_where_gradient_descent_with_small_steps_goes(make_sensing, rng, network):
    """From different starts of every factor, those of two independent ones of any sign; factors and all."""
    problem = make_sensing(6, 8, 2, normalization="mean")
    starts = positive_start(network, 8, 2, rng, 0.4)
    if not network.identical and network.depth == 2:
        starts = [start * rng.choice([-1, 1], start.shape) for start in starts]
    init = ff.inits.Explicit(starts)
    step, steps = 1e-3, 40_000
    if not network.signed and (network.identical or network.depth == 1):
        problem = make_sensing(6, 8, 8, normalization="mean")  # some x > 0 fits
    down = ff.train(
        problem, network, init, ff.GradientDescent(step, steps, tol=0), record=ff.Record([0, 500, 5000], product=True)
    )
    flow = ff.train(problem, network, init, ff.GradientFlow(times=step * down.history.steps, t_max=step * steps))
    assert np.all(flow.status != ff.Status.MAX_STEPS)
    np.testing.assert_allclose(flow.history.product, down.history.product, rtol=0, atol=2e-2)
    np.testing.assert_allclose(flow.history.product[:, 0], down.history.product[:, 0], rtol=0, atol=1e-12)
    for reached, expected in zip(flow.factors, down.factors, strict=True):
        np.testing.assert_allclose(reached, expected, rtol=0, atol=2e-2)
    end = ff.train(problem, network, init, ff.FlowLimit())
    assert np.all(end.status == ff.Status.CONVERGED)
    rest = ff.train(problem, network, init, ff.GradientFlow())
    assert rest.history is None
    np.testing.assert_allclose(rest.solution, end.solution, rtol=0, atol=1e-5)
    for runs in (flow, end, rest):
        np.testing.assert_allclose(product(network, runs.factors), runs.solution, rtol=0, atol=1e-13)
        np.testing.assert_allclose(runs.loss, [problem.loss(x) for x in runs.solution], rtol=1e-6, atol=1e-25)
        np.testing.assert_allclose(
            runs.error, np.linalg.norm(runs.solution - problem.truth, axis=1) / np.linalg.norm(problem.truth)
        )


@pytest.mark.parametrize("network", [network for network in EVERY if network.depth > 1], ids=label)
def test_a_limit_is_at_rest(make_sensing, rng, network):
    """Gradient descent from there stops at once, and the limit from there is the same."""
    problem = make_sensing(6, 8, 8)
    first = ff.train(problem, network, ff.inits.Explicit(positive_start(network, 8, 3, rng)), ff.FlowLimit())
    again = ff.train(problem, network, first.last, ff.FlowLimit())
    np.testing.assert_allclose(again.solution, first.solution, rtol=0, atol=1e-9)
    after = ff.train(problem, network, first.last, ff.GradientDescent(1e-3, max_steps=10**6))
    assert np.array_equal(after.steps, first.steps)


@pytest.mark.parametrize("depth", range(1, 9))
def test_vectors_of_a_product(rng, depth):
    """u and v have the product asked for, and what the flow conserves, for products of any size."""
    positive, negative = (10 ** rng.uniform(-3, 0, 400) for _ in range(2))
    negative[:100] = 0 if depth > 1 else 1
    x = 10 ** rng.uniform(-20, 3, 400) * rng.choice([-1, 1], 400)
    x[:100] = abs(x[:100])
    x[::7] = 0
    u, v = vectors_at(depth, positive, negative, x)
    np.testing.assert_allclose(u**depth - v**depth, x, rtol=1e-12, atol=1e-14)
    if depth == 1:
        np.testing.assert_allclose(u + v, positive + negative, atol=1e-12)
        return
    assert np.all(np.minimum(u, v)[100:] > 0)
    assert np.all(v[:100] == 0)
    u, v, positive, negative = (array[100:] for array in (u, v, positive, negative))
    if depth == 2:
        np.testing.assert_allclose(u * v, positive * negative, rtol=1e-12)
    else:
        power = 2.0 - depth
        np.testing.assert_allclose(u**power + v**power, positive**power + negative**power, rtol=1e-12)


def test_a_list_of_problems_and_one_problem_for_all(make_sensing):
    """A row a run, each with the bits that `flow_limit` and `gradient_flow` give, whatever the threads."""
    problems = [make_sensing() for _ in range(3)]
    network, init, times = ff.DiagonalLinear(3), ff.inits.Gaussian(1e-2), [0.5, 3.0]
    for method in (ff.FlowLimit(tol=1e-9), ff.GradientFlow(times)):
        every = ff.train(problems, network, init, method, runs=2, seed=4, threads=2)
        assert np.array_equal(every.problem_index, [0, 0, 1, 1, 2, 2])
        assert np.array_equal(every.run_index, [0, 1] * 3)
        start = ff.train(problems, network, init, ff.GradientDescent(max_steps=0), runs=2, seed=4).factors
        for i, problem in enumerate(problems):
            rows = slice(2 * i, 2 * i + 2)
            alone = ff.train(problem, network, ff.inits.Explicit([f[rows] for f in start]), method, threads=1)
            for name in ("solution", "loss", "status", "steps", "flat_factors"):
                assert np.array_equal(getattr(alone, name), getattr(every, name)[rows])
            u, v = (f[rows] for f in start)
            if isinstance(method, ff.FlowLimit):
                expected = ff.flow_limit(problem.matrix, problem.values, u, 3, negative=v, tol=1e-9)
                assert np.array_equal(expected.x, alone.solution)
                assert np.array_equal(expected.steps, alone.steps)
            else:
                expected = ff.gradient_flow(
                    problem.matrix, problem.values, u, [*times, np.inf], 3, negative=v, tol=1e-20
                )
                assert np.array_equal(expected.x[:, :2], alone.history.product)
                assert np.array_equal(expected.loss[:, :2], alone.history.loss)
                assert np.array_equal(expected.x[:, 2], alone.solution)


def test_regression_with_one_output(rng):
    inputs, weights = rng.standard_normal((10, 6)), rng.standard_normal(10)
    regression = ff.LinearRegression(inputs, [weights @ inputs], samples="columns")
    sensing = ff.CompressedSensing(inputs.T, weights @ inputs)
    for method in (ff.FlowLimit(), ff.GradientFlow([1.0])):
        both = [ff.train(problem, ff.DiagonalLinear(), method=method) for problem in (regression, sensing)]
        assert np.array_equal(both[0].solution, both[1].solution)
        assert both[0].description["problem"].startswith("LinearRegression")


def test_what_is_recorded_of_a_flow(make_sensing, tmp_path):
    """All that products and factors give, at the times asked for; saved and read back."""
    problem, times = make_sensing(), np.array([0.0, 1.0, 4.0, np.inf])
    network, init = ff.DiagonalLinear(), ff.inits.Constant(0.01)
    record = ff.Record(product=True, factors=True)
    runs = ff.train(problem, network, init, ff.GradientFlow(times), record=record)
    history = runs.history
    assert history.steps is None
    assert np.array_equal(history.times, times)
    products = history.product
    assert np.array_equal(products[:, -1], runs.solution)
    np.testing.assert_allclose(history.loss[0], [problem.loss(x) for x in products[0]], rtol=1e-9, atol=1e-23)
    assert np.array_equal(history.l1_norm, np.abs(products).sum(axis=-1))
    assert np.array_equal(history.support_size, ff.metrics.support(products).sum(axis=-1))
    np.testing.assert_allclose(
        history.error[0],
        [np.linalg.norm(x - problem.truth) for x in products[0]] / np.linalg.norm(problem.truth),
        rtol=1e-12,
    )
    np.testing.assert_allclose(history.effective_alpha, 0.01, rtol=1e-12)  # which the flow conserves
    u, v = history.factors
    np.testing.assert_allclose(u**2 - v**2, products, atol=1e-14)
    assert history.balancedness is None
    slopes = [
        2 * np.sum(problem.gradient(x) ** 2 * (a**2 + b**2)) for x, a, b in zip(products[0], u[0], v[0], strict=True)
    ]
    np.testing.assert_allclose(history.gradient_norm[0], np.sqrt(slopes), rtol=1e-9, atol=1e-15)
    back = ff.load(runs.save(tmp_path / "flow")).history
    assert back.steps is None
    for name in ("times", "loss", "product"):
        assert np.array_equal(getattr(back, name), getattr(history, name))
    pytest.importorskip("xarray")
    assert np.array_equal(runs.to_xarray().record_time, times)
    default = ff.train(problem, network, init, ff.GradientFlow(times)).history
    assert np.array_equal(default.product, products)
    assert default.factors is None
    few = ff.train(problem, network, init, ff.GradientFlow(times), record=ff.Record(loss=False, error=False)).history
    assert few.product is few.loss is few.error is None
    assert [axes.get_xlabel() for axes in runs.plot().axes] == ["time"] * 4


def test_the_flow_keeps_what_independent_factors_are_unbalanced_by(make_sensing, rng):
    """``u_2^2 - u_1^2`` in every coordinate, so ``balancedness`` as well; the gradient's norm is that of descent."""
    problem, network = make_sensing(), ff.DiagonalLinear(identical=False)
    init = ff.inits.Explicit([0.3 * rng.standard_normal(30) for _ in range(4)])
    flow = ff.train(problem, network, init, ff.GradientFlow([0.0, 1.0, np.inf])).history
    descent = ff.train(problem, network, init, ff.GradientDescent(0.01, 1), record=ff.Record([0])).history
    start = flow.balancedness[0, 0]
    assert start > 0.1
    np.testing.assert_allclose(flow.balancedness, start, rtol=1e-9)
    assert descent.balancedness[0, 0] == pytest.approx(start, rel=1e-12)
    assert flow.gradient_norm[0, 0] == pytest.approx(descent.gradient_norm[0, 0], rel=1e-12)


@pytest.mark.parametrize("depth", [2, 3])
def test_starts_of_zero(make_sensing, rng, depth):
    """They stay: limit, flow and descent agree, with u, v or both of a coordinate at 0."""
    problem, network, n = make_sensing(4, 12, 3), ff.DiagonalLinear(depth), 12
    u, v = 0.2 + rng.random(n), 0.2 + rng.random(n)
    u[:2] = v[1:3] = 0
    init = ff.inits.Explicit([u, v])
    limit, rest = (ff.train(problem, network, init, method) for method in (ff.FlowLimit(), ff.GradientFlow()))
    assert limit.status[0] == ff.Status.CONVERGED
    np.testing.assert_allclose(rest.solution, limit.solution, rtol=0, atol=1e-6)
    down = ff.train(problem, network, init, ff.GradientDescent(1e-3, 100_000, tol=1e-20))
    np.testing.assert_allclose(down.solution, limit.solution, rtol=0, atol=2e-3)
    for runs in (limit, rest, down):
        x, (end_u, end_v) = runs.solution[0], (f[0] for f in runs.factors)
        assert x[0] < 0 == x[1] < x[2]
        assert not end_u[:2].any()
        assert not end_v[1:3].any()
        np.testing.assert_allclose(end_u**depth - end_v**depth, x, rtol=0, atol=1e-12)
    nothing = ff.train(problem, network, ff.inits.Explicit([np.zeros(n)] * 2), ff.FlowLimit())
    assert not nothing.solution.any()
    constant = ff.train(problem, network, ff.inits.Constant(u, negative=v), ff.FlowLimit())
    assert np.array_equal(constant.solution, limit.solution)


def test_depth_one_starts_anywhere(make_sensing, rng):
    """The limit is the start plus the least change that fits: ``x_0 + A^+ (y - A x_0)``."""
    problem = make_sensing(6, 12, 3)
    for signed in (True, False):
        starts = [rng.standard_normal((2, 12)) for _ in range(1 + signed)]
        starts[0][:, 0] = 0
        x = starts[0] - starts[1] if signed else starts[0]
        wanted = x + (problem.values - x @ problem.matrix.T) @ np.linalg.pinv(problem.matrix).T
        for method, near in ((ff.FlowLimit(), 1e-12), (ff.GradientFlow(), 1e-7)):
            runs = ff.train(problem, ff.DiagonalLinear(1, signed), ff.inits.Explicit(starts), method)
            np.testing.assert_allclose(runs.solution, wanted, rtol=0, atol=near)


def test_a_flow_that_does_not_come_to_its_end(make_sensing):
    """It stays where it was at the last of the times, and can go on."""
    problem, network = make_sensing(), ff.DiagonalLinear(3)
    whole = ff.train(problem, network, ff.inits.Constant(0.1), ff.GradientFlow([1.0]))
    part = ff.train(
        problem, network, ff.inits.Constant(0.1), ff.GradientFlow([1.0, 1e9], max_steps=int(whole.steps[0]) // 2)
    )
    assert part.status[0] == ff.Status.MAX_STEPS
    assert np.array_equal(part.solution, part.history.product[:, 0])
    assert np.isnan(part.history.product[:, 1]).all()
    rest = ff.train(problem, network, part.last, ff.GradientFlow())
    np.testing.assert_allclose(rest.solution, whole.solution, rtol=0, atol=1e-6)


def test_ends(make_sensing):
    """What a limit was not brought to is not called converged; inconsistent values come to least squares."""
    problem = make_sensing()
    runs = ff.train(problem, ff.DiagonalLinear(3), ff.inits.Constant(1e-6), ff.FlowLimit(max_steps=1))
    assert runs.status[0] == ff.Status.INACCURATE
    assert "larger tol or max_steps" in runs.summary()
    tall = ff.CompressedSensing(problem.matrix.T, np.arange(30.0))
    runs = ff.train(tall, ff.DiagonalLinear(), ff.inits.Constant(0.1), ff.FlowLimit())
    assert runs.status[0] == ff.Status.CONVERGED
    np.testing.assert_allclose(runs.solution[0], np.linalg.lstsq(tall.matrix, tall.values, rcond=None)[0], rtol=1e-7)
    np.testing.assert_allclose(runs.loss[0], tall.loss(runs.solution[0]), rtol=1e-12)


SENSING = ff.CompressedSensing(np.eye(2, 3), np.ones(2))
DIAGONAL, CONSTANT = ff.DiagonalLinear(), ff.inits.Constant()


@pytest.mark.parametrize("method", [ff.FlowLimit(), ff.GradientFlow()], ids=["limit", "flow"])
@pytest.mark.parametrize(
    ("network", "init", "options", "error", "message"),
    [
        (DIAGONAL, CONSTANT, {"runs": 2}, ValueError, "all runs would be equal: runs=1"),
        (DIAGONAL, CONSTANT, {"dtype": np.float32}, ValueError, "computes in float64"),
        (DIAGONAL, CONSTANT, {"threads": 0}, ValueError, "threads must be at least 1"),
        (DIAGONAL, ff.inits.Explicit([-np.ones(3), np.ones(3)]), {}, ValueError, "needs starts u and v that are 0 or"),
        (DIAGONAL, ff.inits.Explicit([np.ones(3), -np.ones(3)]), {}, ValueError, "got -1: GradientDescent takes any"),
        (ff.DiagonalLinear(1), ff.inits.Explicit([np.full(3, 1e4)] * 2), {}, ValueError, "from -1000 to 1000; got 1"),
        (
            ff.DiagonalLinear(2, signed=False, identical=False),
            ff.inits.Explicit([np.full(3, 1e-13)] * 2),
            {},
            ValueError,
            "needs starts of \\(u_1 \\+ u_2\\)/2 and .* 0 or from 1e-12",
        ),
    ],
)
def test_what_does_not_combine(method, network, init, options, error, message, monkeypatch):
    def work(*arguments):
        raise AssertionError("work was done before the input was checked")

    monkeypatch.setattr(Execution, "run", work)
    with pytest.raises(error, match=message) as caught:
        ff.train(SENSING, network, init, method, **options)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"problem": ff.MatrixEstimation(np.eye(2)), "method": ff.FlowLimit()},
            "FlowLimit needs a DiagonalLinear network, got DeepLinear: use GradientFlow, as only diagonal",
        ),
        (
            {"network": ff.DiagonalLinear(3, identical=False), "method": ff.FlowLimit()},
            "needs identical factors, or two independent ones, got 3 independent ones: use .* GradientFlow",
        ),
        ({"method": ff.FlowLimit(), "record": ff.Record()}, "FlowLimit has no history to record: use"),
        ({"method": ff.GradientFlow(), "record": ff.Record()}, "records at its times and has none"),
        ({"method": ff.GradientFlow([1.0]), "record": ff.Record(7)}, "steps and spacing must be left"),
        ({"init": ff.inits.Constant(1e-13), "method": ff.FlowLimit()}, "from 1e-12 to 1000, .* got 1e-13"),
        ({"init": ff.inits.Constant(1.0, negative=1e4), "method": ff.FlowLimit()}, "from 1e-12 to 1000, .* got 10000"),
        (
            {"problem": [SENSING, ff.CompressedSensing(np.eye(3), np.ones(3))], "method": ff.FlowLimit()},
            "the same number of measurements",
        ),
    ],
)
def test_refused(arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        ff.train(**{"problem": SENSING} | arguments)


@pytest.mark.parametrize("method", [ff.FlowLimit(), ff.GradientFlow([1.0])], ids=["limit", "flow"])
def test_interrupt_keeps_what_was_done(make_sensing, monkeypatch, method):
    """Runs that had ended are kept, the others are at their start; going on from there ends as if in one go."""
    problem, network, init = make_sensing(), ff.DiagonalLinear(3), ff.inits.Gaussian(1e-2)
    whole = ff.train(problem, network, init, method, runs=6, threads=1)
    worker = flow_limit._LimitsWorker if isinstance(method, ff.FlowLimit) else gradient_flow._DualWorker
    advance = worker.advance

    def interrupted(self, runs, budget):
        if self.execution.ended == 4:
            raise KeyboardInterrupt
        return advance(self, runs, budget)

    with monkeypatch.context() as patch:
        patch.setattr(worker, "advance", interrupted)
        patch.setattr(scheduling, "ALONE", 1)  # runs are taken one by one
        with pytest.raises(ff.Interrupted, match="4 of 6 runs") as caught:
            ff.train(problem, network, init, method, runs=6, threads=1)
    part = caught.value.runs
    assert np.array_equal(part.status[:4], whole.status[:4])
    assert np.array_equal(part.solution[:4], whole.solution[:4])
    assert np.all(part.status[4:] == ff.Status.RUNNING)
    u, v = part.factors
    np.testing.assert_allclose(part.solution[4:], (u**3 - v**3)[4:], rtol=0, atol=1e-16)
    rest = ff.train(problem, network, ff.inits.Explicit([u[4:], v[4:]]), method)
    np.testing.assert_allclose(rest.solution, whole.solution[4:], rtol=0, atol=1e-8)
