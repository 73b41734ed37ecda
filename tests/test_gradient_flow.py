"""The gradient flow in time: the integrator's order, x(t) against the factors' own equations, and the flow's laws."""

from __future__ import annotations

import functools
import itertools

import mpmath
import naive
import numpy as np
import pytest
from mpmath import mpf
from scipy.optimize import brentq, nnls

import fastflow as ff
from fastflow import kernels
from fastflow.kernels.dual import rosenbrock
from fastflow.kernels.dual.dual_flow import Flows, flow_slice
from fastflow.kernels.dual.flow_work import FlowControl, flow_workspace
from fastflow.kernels.dual.limit import LimitProblems
from fastflow.kernels.queues import PLACE
from fastflow.methods import GradientFlow
from fastflow.status import Status

RTOL = 1e-8


def sparse_problem(rng, m, n, sparsity, noise=0.0):
    """A, y and the truth of a compressed sensing problem."""
    matrix = rng.standard_normal((m, n)) / np.sqrt(m)
    truth = np.zeros(n)
    truth[rng.choice(n, sparsity, replace=False)] = rng.choice([-1, 1], sparsity) * (0.5 + rng.random(sparsity))
    return matrix, matrix @ truth + noise * rng.standard_normal(m), truth


def pace(alpha, depth):
    """The time that the flow needs to find its first entries, for data of size 1."""
    if depth == 1:
        return 1.0
    return 1 + np.log(1 / min(alpha, 1)) if depth == 2 else 1 + alpha ** (2.0 - depth) / (depth - 2)


def factor_flow(matrix, values, positive, negative, depth, times):
    """The oracle, to 1e-12 or the best that LSODA can do."""
    tiny = 1e-13 * min(1.0, np.min(positive), 1.0 if negative is None or np.min(negative) == 0 else np.min(negative))
    return naive.flow(matrix, values, positive, negative, depth, times, rtol=1e-12, atol=tiny)


def error_allowed(matrix, values, x, rtol):
    """Ten times what one step may do: a flow takes hundreds, whose errors shrink on the way."""
    size = np.linalg.norm(values) / np.linalg.norm(matrix, axis=0).max()
    return 10 * rtol * (size + np.abs(x))


# The integrator


@functools.cache
def trees(order):
    """The rooted trees with that many vertices, each the sorted tuple of its branches."""
    if order == 1:
        return [()]
    found = set()
    for sizes in partitions(order - 1, order - 1):
        found.update(tuple(sorted(branches)) for branches in itertools.product(*map(trees, sizes)))
    return sorted(found)


def partitions(total, largest):
    if total == 0:
        yield ()
    for first in range(min(total, largest), 0, -1):
        for rest in partitions(total - first, first):
            yield first, *rest


def vertices(tree):
    return 1 + sum(map(vertices, tree))


def density(tree):
    return vertices(tree) * np.prod([density(branch) for branch in tree], initial=1.0)


def order_defects(weights, order, share=1.0):
    """Of the conditions on ``sum_i weights_i u_i``, the step up to ``share`` (Hairer and Wanner, part II, IV.7)."""
    gamma = np.linalg.inv(np.eye(rosenbrock.STAGES) / rosenbrock.GAMMA - rosenbrock.RATE)
    alpha = rosenbrock.STAGE @ gamma

    def elementary(tree):
        through = alpha + gamma if len(tree) == 1 else alpha
        return np.prod([np.ones(len(gamma)), *(through @ elementary(branch) for branch in tree)], axis=0)

    return np.array([weights @ gamma @ elementary(tree) - share**order / density(tree) for tree in trees(order)])


def dense_weights(share):
    inner = rosenbrock.DENSE[0] + share * (rosenbrock.DENSE[1] + share * rosenbrock.DENSE[2])
    return share * (rosenbrock.STEP + (1 - share) * inner)


def test_order_conditions():
    """All 17 trees up to order 5 for the step; order 4, and no more, without the last stage and inside the step."""
    assert [len(trees(order)) for order in range(1, 6)] == [1, 1, 2, 4, 9]
    embedded = rosenbrock.STEP - np.eye(rosenbrock.STAGES)[-1]
    for order in range(1, 6):
        assert np.abs(order_defects(rosenbrock.STEP, order)).max() < 2e-13
        lower = [order_defects(embedded, order)]
        lower += [order_defects(dense_weights(share), order, share) for share in (0.2, 0.5, 0.9)]
        for defects in lower:
            assert np.abs(defects).max() < 2e-13 if order < 5 else np.abs(defects).max() > 1e-4


def test_straight_stages():
    """``WEIGHT`` and ``NODE`` are the stages of ``y' = 1``: the step is the time, its error 0, and so inside."""
    assert pytest.approx(1, abs=1e-13) == rosenbrock.STEP @ rosenbrock.WEIGHT
    assert rosenbrock.WEIGHT[-1] == 0
    assert rosenbrock.RATE[-1] @ rosenbrock.WEIGHT == pytest.approx(-1, abs=1e-12)
    assert rosenbrock.NODE[-3:] == pytest.approx([1, 1, 1], abs=5e-14)
    assert dense_weights(0.3) @ rosenbrock.WEIGHT == pytest.approx(0.3, abs=1e-13)


def test_stability():
    """``|R(z)| <= 1`` on the imaginary axis, hence on the left half-plane, and ``R(-infinity) = 0``."""

    def growth(z):
        stages = np.zeros(rosenbrock.STAGES, complex)
        for i in range(rosenbrock.STAGES):
            right = z * (1 + rosenbrock.STAGE[i] @ stages) + rosenbrock.RATE[i] @ stages
            stages[i] = right / (1 / rosenbrock.GAMMA - z)
        return abs(1 + rosenbrock.STEP @ stages)

    assert max(growth(1j * size) for size in np.geomspace(1e-3, 1e6, 500)) <= 1 + 1e-9
    assert growth(-1e7) < 1e-5


# x(t)


@pytest.mark.parametrize("start", ["signed", "nonnegative", "unequal", "one side"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_against_the_factors(rng, depth, start):
    """From alpha = 1 to where the factors' own equations are still solved to 1e-12: through every phase of the flow."""
    matrix, values, truth = sparse_problem(rng, 5, 10, 2)
    if start == "nonnegative":
        values = matrix @ np.abs(truth)
    for alpha in (1.0, 0.1, 0.01, 1e-4)[: 3 if depth == 4 else 4]:
        unequal = alpha * (0.3 + rng.random(10))
        negative = {"signed": alpha, "nonnegative": None, "unequal": unequal, "one side": 0.0}[start]
        times = np.concatenate([[0.0], pace(alpha, depth) * np.geomspace(0.03, 100, 12)])
        expected = factor_flow(matrix, values, alpha, negative, depth, times)
        options = {"signed": False} if negative is None else {"negative": negative}
        for rtol in (1e-5, RTOL):
            flow = ff.gradient_flow(matrix, values, alpha, times, depth, rtol=rtol, **options)
            assert np.all(np.abs(flow.x - expected) <= error_allowed(matrix, values, expected, rtol) + 1e-11)
        assert flow.loss == pytest.approx(0.5 * np.sum((flow.x @ matrix.T - values) ** 2, axis=1), rel=2e-6, abs=1e-24)
        assert np.all(np.diff(flow.loss) <= 1e-14 * flow.loss[0])
        assert flow.status in (Status.MAX_TIME, Status.CRITICAL)


def test_error_falls_with_the_tolerance(rng):
    """As the tolerance does, over six powers of ten, from one to another by a tenth at the least."""
    matrix, values, _ = sparse_problem(rng, 6, 15, 3)
    times = np.geomspace(1, 1e3, 20)
    expected = factor_flow(matrix, values, 0.01, 0.01, 2, times)
    worst = []
    for rtol in (1e-4, 1e-6, 1e-8, 1e-10):
        x = ff.gradient_flow(matrix, values, 0.01, times, rtol=rtol).x
        worst.append(np.max(np.abs(x - expected) / error_allowed(matrix, values, expected, rtol)))
    assert max(worst) <= 1
    assert all(later * 1e-2 <= 0.1 * sooner for sooner, later in itertools.pairwise(worst))


@pytest.mark.parametrize(
    ("depth", "alpha"), [(2, 1e-12), (3, 1e-2), (3, 1e-6), (3, 1e-12), (4, 1e-6), (5, 1e-4), (8, 0.01)]
)
def test_one_unknown_at_small_starts(depth, alpha):
    """m = n = 1: the time to reach u is an integral, here in 50 digits; x(t) to what the rounding of t leaves of it."""
    a, y = 0.7, 1.3
    shares = np.array([0.1, 0.5, 0.9, 0.999])
    with mpmath.workdps(50):

        def reach(u):
            cuts = [mpf(alpha), *(mpf(10) ** k for k in range(-60, 1) if alpha < mpf(10) ** k < u), u]
            return mpmath.quad(lambda w: 1 / (a * (y - a * w**depth) * w ** (depth - 1)), cuts)

        expected = shares * y / a
        times = [reach(mpf(x) ** (mpf(1) / depth)) for x in expected]
        times = np.array([float(t) for t in times])
    flow = ff.gradient_flow([[a]], [y], alpha, times, depth, signed=False)
    rates = depth * expected ** (2 - 2 / depth) * a * (y - a * expected)
    assert np.all(np.abs(flow.x[:, 0] - expected) <= 10 * RTOL + 1e-14 * times * rates)


def test_closed_form_of_depth_2():
    """A the identity: ``x' = 2 x (y - x)`` for each entry, from x = 1e-24 on."""
    values = np.array([3.0, 1.0, 0.2])
    start, times = 1e-12, np.array([0.0, 8.0, 9.4, 10.0, 27.0, 29.0, 130.0, 150.0])[:, None]
    with mpmath.workdps(60):
        expected = np.array(
            [
                [float(y / (1 + (y / mpf(start) ** 2 - 1) * mpmath.exp(-2 * y * mpf(t)))) for y in map(mpf, values)]
                for t in times[:, 0]
            ]
        )
    flow = ff.gradient_flow(np.eye(3), values, start, times[:, 0], signed=False)
    assert flow.x == pytest.approx(expected, rel=20 * RTOL)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_stays_on_its_curve(rng, depth):
    """z of x(t), coordinate by coordinate, is ``A^T lam`` for some lam, at every time."""
    matrix, values, _ = sparse_problem(rng, 4, 9, 2)
    alpha = 0.3
    flow = ff.gradient_flow(matrix, values, alpha, np.geomspace(0.01, 1e3, 15), depth, rtol=1e-10)
    end = 1e3 if depth < 3 else alpha ** (2 - depth) / (depth - 2) * (1 - 1e-12)

    def dual(x):
        return brentq(lambda z: float(naive.mirror_point(alpha, alpha, z, depth)[0]) - x, -end, end, xtol=1e-14)

    with np.errstate(over="ignore"):
        for x in flow.x:
            z = np.array([dual(entry) for entry in x])
            lam = np.linalg.lstsq(matrix.T, z, rcond=None)[0]
            assert z == pytest.approx(matrix.T @ lam, abs=1e-8 * (1 + np.abs(z).max()))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_scaling(rng, depth):
    """``y -> s y, alpha -> s^{1/L} alpha`` scales x by s, time by ``s^{2/L - 2}``; A -> c A, y -> c y time by 1/c^2."""
    matrix, values, _ = sparse_problem(rng, 5, 12, 3)
    alpha, times = 0.2, np.geomspace(0.1, 1e3, 10)
    flow = ff.gradient_flow(matrix, values, alpha, times, depth)
    s, c = 37.0, 1e-3
    scaled = ff.gradient_flow(matrix, s * values, s ** (1 / depth) * alpha, times * s ** (2 / depth - 2), depth)
    assert scaled.x / s == pytest.approx(flow.x, abs=20 * RTOL * np.linalg.norm(values))
    assert scaled.steps == pytest.approx(flow.steps, rel=0.05)
    scaled = ff.gradient_flow(c * matrix, c * values, alpha, times / c**2, depth)
    assert scaled.x == pytest.approx(flow.x, abs=20 * RTOL * np.linalg.norm(values))


def test_permuting_and_flipping_columns(rng):
    """Columns in another order, some with their sign flipped: x likewise."""
    matrix, values, _ = sparse_problem(rng, 5, 12, 3)
    order, signs = rng.permutation(12), rng.choice([-1, 1], 12)
    times = np.geomspace(0.1, 1e3, 10)
    flow = ff.gradient_flow(matrix, values, 0.01, times, 3)
    changed = ff.gradient_flow((matrix * signs)[:, order], values, 0.01, times, 3)
    assert changed.x == pytest.approx((flow.x * signs)[:, order], abs=20 * RTOL * np.linalg.norm(values))


# The end


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_signed_limit(rng, depth):
    """At infinity a least-squares solution, with y in the range of A or not, m < n, duplicate rows, m > n."""
    matrix, values, _ = sparse_problem(rng, 5, 10, 2)
    tall = rng.standard_normal((9, 4))
    for a, y in [
        (matrix, values),
        (np.vstack([matrix, matrix]), np.concatenate([values, values + 1])),
        (tall, rng.standard_normal(9)),
    ]:
        flow = ff.gradient_flow(a, y, 0.1, [1.0, np.inf], depth)
        best = np.linalg.lstsq(a, y, rcond=None)[0]
        assert a @ flow.x[1] == pytest.approx(a @ best, abs=1e-8 * np.linalg.norm(y))
        assert flow.status == Status.CRITICAL
        assert np.all(flow.x[1] == ff.gradient_flow(a, y, 0.1, [np.inf, np.inf], depth).x)


def test_a_deep_network_from_a_small_start_comes_to_its_limit(rng):
    """Entries come up within a time of 1 after times of 1e24; what is found is 1e40 times as fast as what is not."""
    matrix, values, _ = sparse_problem(rng, 8, 20, 3)
    flow = ff.gradient_flow(matrix, values, 1e-4, [np.inf], 8)
    assert flow.status == Status.CRITICAL
    np.testing.assert_allclose(flow.x[0], ff.flow_limit(matrix, values, 1e-4, 8).x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_nonnegative_without_a_dual_minimiser(rng, depth):
    """Solutions on the boundary only, or none: lam grows for ever, entries fall to 0 like powers of t."""
    matrix = rng.standard_normal((8, 6))
    boundary = matrix @ np.array([1.0, 0.5, 0, 0, 0, 0.7])
    for values in (boundary, rng.standard_normal(8)):
        times = np.geomspace(0.1, 1e4, 15)
        flow = ff.gradient_flow(matrix, values, 0.3, times, depth, signed=False)
        expected = factor_flow(matrix, values, 0.3, None, depth, times)
        assert np.all(np.abs(flow.x - expected) <= error_allowed(matrix, values, expected, RTOL))
        end = ff.gradient_flow(matrix, values, 0.3, [np.inf], depth, signed=False)
        assert end.status == Status.CRITICAL
        assert end.x[0] == pytest.approx(nnls(matrix, values)[0], abs=1e-6)
        far = ff.gradient_flow(matrix, values, 0.3, [1e12], depth, signed=False)
        assert np.all(far.x > 0)


def test_early_stopping(rng):
    """With noise, the flow is nearer to the truth on its way than at its end."""
    matrix, values, truth = sparse_problem(rng, 40, 100, 3, noise=0.1)
    times = np.append(np.geomspace(1, 1e5, 40), np.inf)
    flow = ff.gradient_flow(matrix, values, 1e-4, times, rtol=1e-6)
    errors = np.linalg.norm(flow.x - truth, axis=1)
    assert 0 < errors.argmin() < len(times) - 1
    assert errors.min() < 0.5 * errors[-1]


def test_tol_and_max_steps(rng):
    """A flow ends at the loss asked for and stays there; times that the steps do not reach are NaN."""
    matrix, values, _ = sparse_problem(rng, 5, 10, 2)
    times = np.geomspace(1, 30, 30)
    full = ff.gradient_flow(matrix, values, 0.1, times)
    assert full.status == Status.MAX_TIME
    early = ff.gradient_flow(matrix, values, 0.1, times, tol=0.01)
    assert early.status == Status.CONVERGED
    assert early.steps < full.steps
    running = full.loss > 0.01
    assert 2 < running.sum() < len(times) - 2
    assert np.array_equal(early.x[running], full.x[running])
    assert np.all(early.loss[~running] <= 0.01)
    assert np.array_equal(early.x[-1], early.x[-2])
    short = ff.gradient_flow(matrix, values, 0.1, times, max_steps=30)
    assert short.status == Status.MAX_STEPS
    assert short.steps == 30
    reached = ~np.isnan(short.loss)
    assert 0 < reached.sum() < len(times)
    assert np.all(np.isnan(short.x[~reached]))
    assert np.array_equal(short.x[reached], full.x[reached])


# Stacks, bits


def test_bits_do_not_depend_on_company(rng):
    """Nor on threads, on the other times, on how kernel calls slice the work."""
    matrix = rng.standard_normal((5, 1, 6, 14))
    values, alpha = rng.standard_normal((2, 6)), 0.05 + rng.random((5, 1, 14))
    times = np.geomspace(0.1, 100, 8)
    flow = ff.gradient_flow(matrix, values, alpha, times, 3, threads=2)
    assert (flow.x.shape, flow.loss.shape, flow.steps.shape) == ((5, 2, 8, 14), (5, 2, 8), (5, 2))
    again = ff.gradient_flow(matrix, values, alpha, times, 3, threads=1)
    assert all(np.array_equal(one, other) for one, other in zip(flow, again, strict=True))
    alone = ff.gradient_flow(matrix[3, 0], values[1], alpha[3, 0], times[2::3], 3)
    assert np.array_equal(alone.x, flow.x[3, 1, 2::3])


def test_slices_of_any_size(rng):
    """One step a call, or all: the same bits, in the same number of steps."""
    n, times = 9, np.array([0.5, 3.0])
    zero = np.zeros(1, np.int64)
    a = rng.standard_normal((1, 4 * n))
    mirrors = kernels.make_mirror(np.full((1, n), 0.1), np.full((1, n), 0.1), 2)
    problems = LimitProblems(a, rng.standard_normal((1, 4)), mirrors, zero, zero, zero)
    found = []
    for budget in (1, 7, 10**6):
        flows = Flows(np.zeros((1, 2, n)), np.zeros((1, 2)), *np.zeros((2, 1), np.int64), np.zeros((1, 2)))
        work = flow_workspace(4, n)
        calls = 0
        while work.at[PLACE] == 0:
            control = FlowControl(times, 1e-6, -1.0, 0.0, 1000)
            assert flow_slice(problems, control, flows, zero, budget, work) <= budget
            calls += 1
        assert calls == -(-(flows.steps[0] + 1) // budget)
        found.append(flows)
    assert all(np.array_equal(flows.x, found[0].x) for flows in found)


# Edges and refusals


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_edges(rng, depth, signed):
    """A zero column keeps its start, y = 0 and A = 0 are no trouble, nor are one row and one column."""
    matrix, values, _ = sparse_problem(rng, 4, 7, 2)
    matrix[:, 2] = 0
    negative = 0.2 if signed else None
    times = np.array([0.0, 0.0, 0.5, 20.0, 2000.0])
    start = 0.2**depth * (not signed)
    for a, y in [
        (matrix, values),
        (matrix, 0 * values),
        (0 * matrix, values),
        (matrix[:1], values[:1]),
        (matrix[:, :1], values),
    ]:
        flow = ff.gradient_flow(a, y, 0.2, times, depth, signed=signed)
        expected = factor_flow(a, y, 0.2, negative, depth, times)
        assert flow.x == pytest.approx(expected, abs=1e-7)
        assert np.all(flow.x[:2] == pytest.approx(start, rel=1e-14))
        end = ff.gradient_flow(a, y, 0.2, [np.inf], depth, signed=signed)
        best = nnls(a, y)[0] if depth > 1 and not signed else np.linalg.lstsq(a, y, rcond=None)[0]
        assert a @ end.x[0] == pytest.approx(a @ best, abs=1e-7)
    flow = ff.gradient_flow(matrix, values, 0.2, times, depth, signed=signed)
    assert np.all(flow.x[:, 2] == pytest.approx(start, rel=1e-14))


A, Y = np.ones((2, 3)), np.ones(2)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((A[0], Y, 0.1, [1]), {}, r"matrix must have 2 .*dimension\(s\), got shape \(3,\)"),
        (
            (A, np.ones(3), 0.1, [1]),
            {},
            r"values must have one entry for each of the 2 rows of matrix, got shape \(3,\)",
        ),
        ((A, [1, np.nan], 0.1, [1]), {}, r"values must be finite, got nan at index \(1,\)"),
        ((A, Y, 1e4, [1]), {}, "alpha must be 0 or from 1e-12 to 1000, .* got 10000"),
        ((A, Y, -1.0, [1]), {}, "alpha must be 0 or from 1e-12 to 1000, .* got -1"),
        ((A, Y, [1, 2], [1]), {}, "alpha must be a number or have one entry for each of the 3 columns"),
        ((A, Y, 1e-60, [1]), {"depth": 8}, "alpha must be 0 or from 1e-12 to 1000, .* got 1e-60"),
        ((A, Y, 0.1, [1]), {"negative": -1}, "negative must be 0 or from 1e-12 to 1000, .* got -1"),
        ((A, Y, 0.1, [1]), {"negative": 1, "signed": False}, "negative is the start of v"),
        ((A, Y, 0.1, [2, 1]), {}, "times must not decrease, got 2 before 1"),
        ((A, Y, 0.1, [-1]), {}, "times must be at least 0, got -1"),
        ((A, Y, 0.1, [np.nan]), {}, "times must be at least 0, got nan"),
        ((A, Y, 0.1, []), {}, "times is empty"),
        ((A, Y, 0.1, [1]), {"depth": 9}, "depth must be at most 8, got 9"),
        ((A, Y, 0.1, [1]), {"rtol": 0}, "rtol must be at least 1e-13, got 0"),
        ((A, Y, 0.1, [1]), {"atol": -1}, "atol must be at least 0, got -1"),
        ((A, Y, 0.1, [1]), {"threads": 0}, "threads must be at least 1, got 0"),
        ((A[None].repeat(2, 0), Y[None].repeat(3, 0), 0.1, [1]), {}, r"do not broadcast: matrix \(2,\), values \(3,\)"),
    ],
)
def test_bad_input(arguments, options, message):
    """Refused before any work, in the user's words."""
    with pytest.raises(ValueError, match=message):
        ff.gradient_flow(*arguments, **options)


def test_method():
    """The method is checked when it is made, and stays as it was."""
    times = np.array([0.0, 1.0])
    method = GradientFlow(times=times, t_max=5)
    times[0] = 9
    assert (method.times[0], method.t_max) == (0, 5)
    for options, message in [
        ({"times": [3.0, 2.0]}, "times must not decrease"),
        ({"times": [3.0], "t_max": 2}, "times go to 3, past t_max = 2"),
        ({"t_max": 0}, "t_max must be greater than 0"),
        ({"rtol": 1e-20}, "rtol must be at least 1e-13"),
        ({"atol": -1}, "atol must be at least 0"),
        ({"max_steps": 0}, "max_steps must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            GradientFlow(**options)
