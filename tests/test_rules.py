"""Update rules: each against its textbook in NumPy, and the law by which each is known to be right."""

from __future__ import annotations

import os
import pickle
from typing import NamedTuple

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow.kernels.rules.adaptive import RMSpropRule
from fastflow.kernels.rules.elementwise import take_rule_steps_at
from fastflow.kernels.vectors.layouts import VECTOR_BYTES, OfLanes, address

RNG = np.random.default_rng(11)
TARGET = RNG.standard_normal((4, 3))
MATRIX = ff.MatrixEstimation(TARGET)
A = RNG.standard_normal((6, 14)) / np.sqrt(6)
VECTOR = ff.CompressedSensing(A, A @ np.where(np.arange(14) < 2, 1.0, 0.0))
ENDS = {"tol": 0, "gradient_tol": 0}
OF_LANES = VECTOR_BYTES // 8
"""Runs that travel together in the lanes of a vector."""

RULES = {
    "heavy ball": (ff.Momentum, 0.004, {"momentum": 0.9}),
    "decay": (ff.Momentum, 0.01, {"momentum": 0.5, "weight_decay": 0.1}),
    "nesterov": (ff.Momentum, 0.004, {"momentum": 0.9, "nesterov": True}),
    "by the book": (ff.Momentum, 0.01, {"momentum": "(k-1)/(k+2)", "nesterov": True}),
    "layerwise": (ff.LayerwiseDescent, 0.01, {"multiples": (1, 0.5, 2, 0, 3, 1)}),
    "sign": (ff.SignDescent, 1e-3, {}),
    "rmsprop": (ff.RMSprop, 1e-3, {"average": 0.9, "epsilon": 1e-3, "weight_decay": 0.01}),
    "adam": (ff.Adam, 1e-3, {"averages": (0.9, 0.99), "epsilon": 1e-3, "weight_decay": 0.01}),
    "normalized": (ff.NormalizedDescent, 1e-3, {}),
    "shared": (ff.SharedRate, 1e-3, {"average": 0.9, "epsilon": 1e-4}),
    "long": (ff.BarzilaiBorwein, 0.01, {"kind": "long"}),
    "short": (ff.BarzilaiBorwein, 0.01, {"kind": "short"}),
    "sharpness": (ff.SharpnessAware, 0.02, {"radius": 0.05}),
    "muon": (ff.Muon, 1e-3, {"momentum": 0.9, "weight_decay": 0.01}),
    "muon of nesterov": (ff.Muon, 1e-3, {"momentum": 0.9, "nesterov": True}),
}
OF_VECTORS = {"polar": (ff.WeightNormalization, 0.01, {"ratio": 3.0})}
CHAOTIC = {
    "sharpness": 60,
    "sign": 30,
    "rmsprop": 100,
    "normalized": 200,
    "long": 20,
    "short": 30,
    "muon": 60,
    "muon of nesterov": 60,
}
"""The steps after which round-off is no longer of its own size: signs flip, steps are quotients of small numbers."""


def start_and_end(runs, run):
    return tuple([factor[run, at] for factor in runs.history.factors] for at in (0, 1))


def train(problem, network, scale, method, runs, dtype=np.float64, record=True):
    kept = ff.Record(np.array([0, method.max_steps]), factors=True) if record else None
    return ff.train(problem, network, ff.inits.Gaussian(scale), method, runs, record=kept, dtype=dtype)


def gradients_of(problem, network):
    """The gradient of a list of factors, as fastflow has them, in plain NumPy."""
    if isinstance(network, ff.DeepLinear):
        return lambda factors: naive.gradient(problem, factors)
    count = network.depth if not network.identical else 1

    def gradients(factors):
        sides = [factors[at : at + count] * (network.depth // count) for at in range(0, len(factors), count)]
        slopes = naive.hadamard_gradient(sides, naive.vector_loss_gradient(problem, naive.hadamard_product(sides))[1])
        return [slope for side in slopes for slope in side[:count]]

    return gradients


NETWORKS = {
    "chain": (MATRIX, ff.DeepLinear(widths=(3, 5, 5, 4)), 0.5),
    "wide chain": (ff.MatrixEstimation(np.diag(np.arange(1.0, 52.0) / 51)), ff.DeepLinear(2), 0.5),
    "one factor": (MATRIX, ff.DeepLinear(1), 0.5),
    "diagonal": (VECTOR, ff.DiagonalLinear(2), 0.5),
    "independent": (VECTOR, ff.DiagonalLinear(3, identical=False), 0.5),
}


WIDE = ("heavy ball", "shared", "sharpness", "muon")
"""A rule of each kind: those that every suite steps along by one run at a time."""


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_that_of_its_textbook(rule, network):
    """In all layouts: runs in lanes, padded, alone, and many by one matrix."""
    kind, step, options = RULES[rule]
    problem, words, scale = NETWORKS[network]
    if network == "wide chain" and rule not in WIDE and "FASTFLOW_WHOLE" not in os.environ:
        pytest.skip("alike alone and in lanes: where the environment has FASTFLOW_WHOLE")
    if "multiples" in options:
        count = len(words.architecture(words.pose(problem)).factor_shapes)
        options = {"multiples": options["multiples"][:count]}
    if not isinstance(words, kind.networks):
        pytest.skip("a diagonal network has no singular values")
    if kind is ff.Muon and network == "chain":  # of which no gradient has a rank that it must have
        words = ff.DeepLinear(widths=(3, 3, 4))
    count = CHAOTIC.get(rule, 1000)
    if network == "wide chain":  # plain NumPy takes its time
        count = min(count // 3, 40)
    method, gradients = kind(step, max_steps=count, **ENDS, **options), gradients_of(problem, words)
    # In one run of the wide chain a singular value of Muon's momentum goes through 0, where digits decide.
    for number in {"chain": (3,), "wide chain": (1 if kind is ff.Muon else 3,)}.get(network, (1, 9)):
        runs = train(problem, words, scale, method, number)
        assert not np.any(runs.status == ff.Status.DIVERGED)
        for run in {0, number - 1}:
            start, end = start_and_end(runs, run)
            alike = words.depth if getattr(words, "identical", False) else 1
            ends = naive.descend_by(kind.label, gradients, start, step, count, alike=alike, **options)
            for got, wanted in zip(end, ends, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9)


PROBLEMS = {
    "estimation": MATRIX,
    "completion": ff.MatrixCompletion.from_dense(np.where(RNG.random((4, 3)) < 0.7, TARGET, np.nan)),
    "sensing": ff.MatrixSensing(OPERATORS := RNG.standard_normal((8, 4, 3)) / 3, np.tensordot(OPERATORS, TARGET, 2)),
    "regression": ff.LinearRegression(INPUTS := RNG.standard_normal((3, 9)) / 3, TARGET @ INPUTS, samples="columns"),
    "vector": VECTOR,
}
WHOLE = [
    (rule, name, depth, dtype)
    for rule in RULES | OF_VECTORS
    for name in PROBLEMS
    for depth in range(1, 9 if name == "vector" else 6)
    for dtype in ("float64", "float32")
    if issubclass(ff.DiagonalLinear if name == "vector" else ff.DeepLinear, (RULES | OF_VECTORS)[rule][0].networks)
]
SOME = [("heavy ball", "estimation", 5, "float64"), ("adam", "vector", 8, "float64"), ("polar", "vector", 3, "float64")]
CLOSE = {"float64": 1e-8, "float32": 5e-3}


@pytest.mark.parametrize(("rule", "name", "depth", "dtype"), WHOLE if "FASTFLOW_WHOLE" in os.environ else SOME)
def test_rules_of_all_problems_depths_and_precisions(rule, name, depth, dtype):
    """Everything where the environment has FASTFLOW_WHOLE; float32 by what it rounds to over so many steps."""
    kind, step, options = (RULES | OF_VECTORS)[rule]
    problem, words = PROBLEMS[name], ff.DiagonalLinear(depth) if name == "vector" else ff.DeepLinear(depth)
    if "multiples" in options:
        options = {"multiples": options["multiples"][: len(words.architecture(words.pose(problem)).factor_shapes)]}
    if name != "vector":  # of which no factor's gradient lacks a rank
        words = ff.DeepLinear(widths=(3, *[3] * (depth - 1), 4))
    if name == "sensing" and rule in ("by the book", "sharpness"):  # whose steps are beyond their edge there
        step /= 4
    count = CHAOTIC.get(rule, 1000) // (1 if dtype == "float64" else 4)
    if (rule, name, depth) == ("long", "completion", 4):  # where a later quotient is a step to 1e12
        count = 5
    method, gradients = kind(step, max_steps=count, **ENDS, **options), gradients_of(problem, words)
    runs = train(problem, words, 0.7, method, 2, np.dtype(dtype))
    start, end = start_and_end(runs, 1)
    alike = depth if name == "vector" else 1
    ends = naive.descend_by(kind.label, gradients, start, step, count, alike=alike, **options)
    for got, wanted in zip(end, ends, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=CLOSE[dtype])


def path(problem, network, init, method):
    """The factors of one run at every step, each (steps + 1, ...)."""
    record = ff.Record(np.arange(method.max_steps + 1), factors=True)
    runs = ff.train(problem, network, init, method, record=record, runs=1)
    return [factor[0] for factor in runs.history.factors], runs.history


# What is gradient descent, bit for bit


@pytest.mark.parametrize("network", NETWORKS)
def test_no_momentum_is_gradient_descent(network):
    problem, words, scale = NETWORKS[network]
    ends = {"max_steps": 60, **ENDS}
    for number in (1, 9) if "chain" not in network else (3,):
        down = train(problem, words, scale, ff.GradientDescent(0.01, **ends), number, record=False)
        rules = [ff.Momentum(0.01, momentum=0, nesterov=nesterov, **ends) for nesterov in (False, True)]
        for method in (*rules, ff.LayerwiseDescent(0.01, **ends)):
            runs = train(problem, words, scale, method, number, record=False)
            np.testing.assert_array_equal(runs.flat_factors, down.flat_factors)


@pytest.mark.parametrize("network", ["chain", "diagonal"])
@pytest.mark.parametrize("kind", [ff.SharedRate, ff.NormalizedDescent])
def test_one_rate_for_all_is_gradient_descent_with_the_steps_that_it_took(kind, network):
    """Which follow from the norms of its gradients."""
    problem, words, scale = NETWORKS[network]
    count, b = 300, 0.99
    record = ff.Record(np.arange(count + 1))
    runs = ff.train(problem, words, ff.inits.Gaussian(scale), kind(1e-3, count, **ENDS), 9, record=record)
    for run, norms in enumerate(runs.history.gradient_norm):
        steps, square, weights = [], 0.0, 0.0
        for norm in norms[:-1]:
            square, weights = b * square + (1 - b) * (norm * norm), b * weights + (1 - b)
            shared = 1e-3 / (np.sqrt(square / weights) + 1e-4)
            steps.append(shared if kind is ff.SharedRate else 1e-3 / norm)
        down = ff.GradientDescent(np.array(steps), **ENDS)
        again = ff.train(problem, words, ff.inits.Gaussian(scale), down, [run])
        np.testing.assert_array_equal(again.flat_factors[0], runs.flat_factors[run])


@pytest.mark.parametrize("network", ["diagonal", "independent"])
def test_norms_are_those_of_a_run_alone(network):
    """In strips of lanes, whose coordinates lie in an order of their own; where squares overflow or vanish, too."""
    problem, words, _ = NETWORKS[network]
    rng, record = np.random.default_rng(8), ff.Record(np.arange(2))
    scale = np.array([0.5, 0.5, 0.5, 1e-140, 0.5, 1e90, 0.5, 0.5, 0.5])[:, None]
    starts = [scale * rng.standard_normal((9, *shape)) for shape in words.architecture(problem).factor_shapes]
    options = {"record": record, "threads": 1}
    runs = ff.train(problem, words, ff.inits.Explicit(starts), ff.SharedRate(1e-3, 1, **ENDS), **options)
    for run in range(9):
        start = ff.inits.Explicit([factor[run] for factor in starts])
        alone = ff.train(problem, words, start, ff.SharedRate(1e-3, 1, **ENDS), **options)
        np.testing.assert_array_equal(alone.history.gradient_norm[0], runs.history.gradient_norm[run])


@ff.kernels.jit
def take_steps(rule, factors, gradient, memory, numbers, moved):
    take_rule_steps_at(
        OfLanes(0.0),
        rule,
        address(factors, 0),
        address(gradient, 0),
        address(memory, 0),
        memory.size * 8,
        address(numbers, 0),
        numbers.shape[1] * 8,
        address(moved, 0),
        len(factors),
    )


def test_adaptive_quotients_have_all_digits():
    """The move of RMSprop from gradients of all sizes, to 4 units in the last place: of roots, sums and a quotient."""
    lanes, b, eps = OF_LANES, 0.75, 1e-8
    gradient = 10.0 ** RNG.uniform(-140, 140, (1000, lanes)) * RNG.choice([-1.0, 1.0], (1000, lanes))
    gradient[:50] = RNG.choice([0.0, 1e-8, 1e-30], (50, lanes))
    factors, memory = np.zeros((1000, lanes)), np.zeros((1000, lanes))
    numbers = np.repeat([[-1.0], [eps], [1.0], [b], [np.sqrt(1 - b)]], lanes, axis=1)
    moved = np.zeros(lanes, np.int64)
    take_steps(RMSpropRule(b, eps, 0.0), factors, gradient, memory, numbers, moved)
    wanted = -gradient / (np.sqrt((1 - b) * gradient**2) + eps)
    np.testing.assert_allclose(factors, wanted, rtol=4 * np.finfo(float).eps)
    np.testing.assert_array_equal(memory, gradient**2)
    assert np.all(moved == 1)


SCHEDULES = {
    "cyclic": (ff.Cyclic(0.01, (1, 3, 0.5)), np.resize([0.01, 0.03, 0.005], 50)),
    "piecewise": (ff.Piecewise(0.01, (20, 30), (2, 0.5)), np.repeat([0.01, 0.02, 0.005], (20, 10, 20))),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_is_its_steps(schedule):
    steps, sequence = SCHEDULES[schedule]
    whole = train(MATRIX, ff.DeepLinear(3), 0.5, ff.GradientDescent(steps, 50, **ENDS), 2, record=False)
    again = train(MATRIX, ff.DeepLinear(3), 0.5, ff.GradientDescent(sequence, 50, **ENDS), 2, record=False)
    np.testing.assert_allclose(whole.flat_factors, again.flat_factors, rtol=1e-12)
    half = train(MATRIX, ff.DeepLinear(3), 0.5, ff.GradientDescent(steps, 25, **ENDS), 2, record=False)
    onwards = ff.train(MATRIX, ff.DeepLinear(3), half.last, ff.GradientDescent(steps, 50, **ENDS))
    np.testing.assert_array_equal(onwards.flat_factors, whole.flat_factors)


# Laws


def test_heavy_ball_changes_the_balancedness_by_its_law():
    """``D <- b (D + 2 Q(old V))``, ``C <- C + D + Q(new V)``, where V is the change of the factors."""
    target, b, count = RNG.standard_normal((3, 5)) / 3, 0.9, 200
    words, method = ff.DeepLinear(widths=(5, 4, 6, 3)), ff.Momentum(0.005, count, momentum=b, **ENDS)
    factors, _ = path(ff.MatrixEstimation(target), words, ff.inits.Gaussian(0.3), method)
    velocities = [np.diff(factor, axis=0) for factor in factors]
    wanted = naive.balancedness_defects([factor[0] for factor in factors])
    drift, old = [0.0 * c for c in wanted], [0.0 * c for c in wanted]
    for k in range(count):
        new = naive.balancedness_defects([velocity[k] for velocity in velocities])
        drift = [b * (d + 2 * q) for d, q in zip(drift, old, strict=True)]
        wanted = [c + d + q for c, d, q in zip(wanted, drift, new, strict=True)]
        old = new
    got = naive.balancedness_defects([factor[-1] for factor in factors])
    for ours, law in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, law, atol=1e-12)
    assert max(np.abs(law).max() for law in wanted) > 1e-3


def test_steps_by_factor_change_a_balancedness_of_their_own():
    """``W_{j+1}^T W_{j+1} / c_{j+1} - W_j W_j^T / c_j`` changes by ``h^2`` of ``c_{j+1} G^T G - c_j G G^T``."""
    h, multiples, count = 0.02, (1.0, 0.5, 2.0), 100
    roots = np.sqrt(multiples)
    method = ff.LayerwiseDescent(h, count, multiples=multiples, **ENDS)
    factors, _ = path(MATRIX, ff.DeepLinear(3), ff.inits.Gaussian(0.5), method)
    scaled = [factor / root for factor, root in zip(factors, roots, strict=True)]
    wanted = naive.balancedness_defects([factor[0] for factor in scaled])
    for k in range(count):
        slopes = naive.gradient(MATRIX, [factor[k] for factor in factors])
        slopes = naive.balancedness_defects([root * g for root, g in zip(roots, slopes, strict=True)])
        wanted = [c + h**2 * g for c, g in zip(wanted, slopes, strict=True)]
    got = naive.balancedness_defects([factor[-1] for factor in scaled])
    for ours, law in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, law, atol=1e-13)


def test_weight_decay_shrinks_the_balancedness_by_its_law():
    """``C <- (1 - h mu)^2 C + h^2 (G_{j+1}^T G_{j+1} - G_j G_j^T)``."""
    h, mu, count = 0.02, 0.5, 100
    method = ff.Momentum(h, count, momentum=0, weight_decay=mu, **ENDS)
    factors, _ = path(MATRIX, ff.DeepLinear(3), ff.inits.Gaussian(0.5), method)
    wanted = naive.balancedness_defects([factor[0] for factor in factors])
    for k in range(count):
        slopes = naive.balancedness_defects(naive.gradient(MATRIX, [factor[k] for factor in factors]))
        wanted = [(1 - h * mu) ** 2 * c + h**2 * g for c, g in zip(wanted, slopes, strict=True)]
    got = naive.balancedness_defects([factor[-1] for factor in factors])
    for ours, law in zip(got, wanted, strict=True):
        np.testing.assert_allclose(ours, law, atol=1e-13)


def test_weight_decay_of_a_diagonal_network_ends_at_the_lasso():
    """``f + mu |x|_1``, whose conditions hold: the gradient is ``-mu sign(x)`` where x is, and at most mu elsewhere."""
    mu, h, alpha = 0.2, 0.1, 0.5
    options = {"momentum": 0, "weight_decay": mu, **ENDS}
    (u, v), _ = path(VECTOR, ff.DiagonalLinear(2), ff.inits.Constant(alpha), ff.Momentum(h, 50, **options))
    slopes = np.array([naive.vector_loss_gradient(VECTOR, a * a - b * b)[1] for a, b in zip(u, v, strict=True)])
    law = alpha**2 * np.prod((1 - h * mu) ** 2 - (h * slopes[:-1]) ** 2, axis=0)
    np.testing.assert_allclose(u[-1] * v[-1], law, rtol=1e-12)
    method = ff.Momentum(h, 200_000, **options)
    x = ff.train(VECTOR, ff.DiagonalLinear(2), ff.inits.Constant(alpha), method).solution[0]
    g = naive.vector_loss_gradient(VECTOR, x)[1]
    there = np.abs(x) > 1e-6
    assert 0 < there.sum() < 14
    np.testing.assert_allclose(g[there], -mu * np.sign(x[there]), atol=1e-10)
    assert np.all(np.abs(g[~there]) < mu)


GAUGES = {
    ff.GradientDescent(0.02, 60, **ENDS): True,
    ff.Momentum(0.01, 60, **ENDS): True,
    ff.SharedRate(0.01, 60, **ENDS): True,
    ff.SharpnessAware(0.02, 60, radius=0.1, **ENDS): True,
    ff.Muon(0.01, 60, **ENDS): True,
    ff.Adam(0.01, 60, **ENDS): False,
    ff.RMSprop(0.01, 60, **ENDS): False,
    ff.SignDescent(0.01, 60, **ENDS): False,
}


@pytest.mark.parametrize("method", GAUGES, ids=lambda method: method.label)
def test_which_rules_see_the_basis(method):
    """From ``(U, V)`` and ``(U Q, Q^T V)``, Q orthogonal: the product's path is the same, or is not."""
    rng = np.random.default_rng(3)
    down, up = 0.5 * rng.standard_normal((5, 3)), 0.5 * rng.standard_normal((4, 5))
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    stacks = [np.stack([down, turn.T @ down]), np.stack([up, up @ turn])]
    one, other = ff.train(MATRIX, ff.DeepLinear(widths=(3, 5, 4)), ff.inits.Explicit(stacks), method).solution
    assert (np.abs(one - other).max() < 1e-10) == GAUGES[method]
    assert np.abs(one - other).max() < 1e-10 or np.abs(one - other).max() > 1e-3


def test_signs_move_every_entry_by_one_step():
    factors, _ = path(MATRIX, ff.DeepLinear(3), ff.inits.Gaussian(0.5), ff.SignDescent(2.0**-10, 50, **ENDS))
    for factor in factors:
        np.testing.assert_allclose(np.abs(np.diff(factor, axis=0)), 2.0**-10, rtol=1e-12)


def test_muon_moves_all_singular_values_alike():
    h = 2.0**-10
    factors, _ = path(MATRIX, ff.DeepLinear(widths=(3, 3, 4)), ff.inits.Gaussian(0.5), ff.Muon(h, 50, **ENDS))
    for factor in factors:
        np.testing.assert_allclose(np.linalg.svd(np.diff(factor, axis=0), compute_uv=False), h, rtol=1e-9)


@pytest.mark.parametrize(("b", "nesterov"), [(0.3, False), (0.9, False), (0.3, True), (0.9, True)])
def test_momentum_is_stable_up_to_its_own_edge(b, nesterov):
    """``h < 2 (1+b) / lambda``, of Nesterov over ``1 + 2b``, lambda = ``N s^(2-2/N)``."""
    problem, words = ff.MatrixEstimation(np.diag([2.0, 1.0, 0.5])), ff.DeepLinear(3)
    near = [np.diag([2.0, 1.0, 0.5]) ** (1 / 3) + 1e-7 * RNG.standard_normal((3, 3)) for _ in range(3)]
    edge = ff.theory.stability_edge(problem, words)
    assert edge == pytest.approx(2 / (3 * 2.0 ** (4 / 3)))
    for share, converges in ((0.97, True), (1.03, False)):
        h = share * edge * (1 + b) / (1 + 2 * b if nesterov else 1)
        method = ff.Momentum(h, 2000, momentum=b, nesterov=nesterov, tol=1e-26, gradient_tol=0)
        with np.errstate(all="ignore"):
            if converges:
                runs = ff.train(problem, words, ff.inits.Explicit(near), method)
            else:
                with pytest.warns(UserWarning, match="above the linear stability edge"):
                    runs = ff.train(problem, words, ff.inits.Explicit(near), method)
        assert bool(runs.status[0] == ff.Status.CONVERGED) is converges


def test_momentum_has_paths_of_its_intrinsic_step():
    """They agree for equal ``h / (1-b)^2`` at equal times ``k h / (1-b)``, up to ``1 - b`` (Papazov et al. 2024)."""
    ends = []
    for b in (0.9, 0.95, 0.975):
        method = ff.Momentum((1 - b) ** 2, round(2 / (1 - b)), momentum=b, **ENDS)
        ends.append(ff.train(VECTOR, ff.DiagonalLinear(2), ff.inits.Constant(0.5), method).solution[0])
    far, near = (np.abs(ends[i] - ends[i + 1]).max() for i in (0, 1))
    assert far < 0.1
    assert far / near == pytest.approx(2, rel=0.3)
    plain = ff.train(VECTOR, ff.DiagonalLinear(2), ff.inits.Constant(0.5), ff.GradientDescent(0.001, 2000, **ENDS))
    assert np.abs(plain.solution[0] - ends[2]).max() > 3 * near  # whose step is another


@pytest.mark.parametrize(
    ("alpha", "gamma", "wanted"),
    [
        (0.1, 5 / 30, 0.015056044189449159),
        (0.02, 5 / 30, 0.0006337885714222886),
        (0.1, 10 / 30, 0.015747762611708224),
    ],
)
def test_published_test_losses(alpha, gamma, wanted):
    """The public notebook of tml-epfl on diagonal networks ``x = u o v``; their loss is ``1/2n sum r_i^2``."""
    draw = np.random.RandomState(0)
    inputs, unseen = (draw.multivariate_normal(np.zeros(30), np.eye(30), count) for count in (20, 1000))
    theta = draw.randn(30)
    theta[3:] = 0
    theta = np.abs(theta) / np.linalg.norm(theta)
    words = ff.DiagonalLinear(2, signed=False, identical=False)
    start = ff.inits.Explicit([np.full(30, alpha), np.zeros(30)])
    problem, steps = ff.CompressedSensing(inputs, inputs @ theta), {"max_steps": 10_001, **ENDS}
    x = ff.train(problem, words, start, ff.GradientDescent(gamma / 20, **steps)).solution[0]
    assert np.mean((unseen @ (x - theta)) ** 2) / 2 == pytest.approx(wanted, rel=1e-10)


# A user's own


class Heavy(NamedTuple):
    """Momentum."""

    momentum: float


def heavy(rule, factors, gradient, memory, step, k):
    for i in range(factors.size):
        memory[0, i] = rule.momentum * memory[0, i] - step * gradient[i]
        factors[i] += memory[0, i]


class Poisoned(NamedTuple):
    """What makes a factor NaN at a step."""

    when: int


def poisoned(rule, factors, gradient, memory, step, k):
    factors -= step * gradient
    if k == rule.when:
        factors[0] = np.nan


class Wrong(NamedTuple):
    """What is told wrong functions of."""

    number: float


def past_the_end(rule, factors, gradient, memory, step, k):
    factors[factors.size] = 0


def without_memory(rule, factors, gradient, memory, step, k):
    memory[0, 0] += 1


def returning(rule, factors, gradient, memory, step, k):
    return factors - step * gradient


def uncompilable(rule, factors, gradient, memory, step, k):
    factors -= rule.velocity * gradient


def test_a_rule_of_ones_own():
    ff.kernels.add_rule(Heavy, heavy, slots=1)
    words = ff.DeepLinear(widths=(3, 5, 5, 4))
    own = ff.CustomRule(0.004, 500, update=Heavy(0.9), **ENDS)
    again = pickle.loads(pickle.dumps(own))
    assert again.update == own.update
    runs = train(MATRIX, words, 0.5, own, 9, record=False)
    ours = train(MATRIX, words, 0.5, ff.Momentum(0.004, 500, momentum=0.9, **ENDS), 9, record=False)
    np.testing.assert_allclose(runs.flat_factors, ours.flat_factors, atol=1e-12)
    alone = ff.train(MATRIX, words, ff.inits.Gaussian(0.5), own, [7], threads=1)
    np.testing.assert_array_equal(alone.flat_factors[0], runs.flat_factors[7])


def test_a_rule_that_makes_a_number_nan_diverges():
    ff.kernels.add_rule(Poisoned, poisoned)
    runs = train(MATRIX, ff.DeepLinear(3), 0.5, ff.CustomRule(0.01, 100, update=Poisoned(30)), 3, record=False)
    assert np.all(runs.status == ff.Status.DIVERGED)
    assert np.all(runs.steps == 31)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (past_the_end, "reads or writes past the end of an array"),
        (without_memory, "reads or writes past the end of an array"),
        (returning, "must change factors and memory in place, and returns"),
        (uncompilable, "cannot be compiled: .*velocity"),
    ],
)
def test_a_wrong_function_is_found_when_the_method_is_made(function, says):
    ff.kernels.add_rule(Wrong, function)
    with pytest.raises(ValueError, match=f"^{function.__name__} of Wrong {says}"):
        ff.CustomRule(0.1, update=Wrong(1.0))


# Input

BAD = [
    (lambda: ff.Momentum(momentum=1), ValueError, "momentum must be less than 1, got 1"),
    (lambda: ff.Momentum(momentum=-0.1), ValueError, "momentum must be at least 0, got -0.1"),
    (lambda: ff.Momentum(momentum=np.nan), ValueError, "momentum must be finite, got nan"),
    (lambda: ff.Momentum(momentum="k"), ValueError, "momentum must be a number or '\\(k-1\\)/\\(k\\+2\\)', got 'k'"),
    (lambda: ff.Momentum(momentum="(k-1)/(k+2)"), ValueError, "needs nesterov=True"),
    (lambda: ff.Momentum(nesterov=1), TypeError, "nesterov must be True or False, got 1"),
    (lambda: ff.Momentum(weight_decay=-1), ValueError, "weight_decay must be at least 0, got -1"),
    (lambda: ff.Adam(averages=0.9), TypeError, "averages must be two numbers"),
    (lambda: ff.Adam(averages=(0.9, 1.0)), ValueError, r"averages\[1\] must be less than 1, got 1"),
    (lambda: ff.Adam(epsilon=0), ValueError, "epsilon must be greater than 0, got 0"),
    (lambda: ff.Adam("0.5 edge"), ValueError, "step of Adam must be a number"),
    (lambda: ff.SharedRate("safe"), ValueError, "step of SharedRate must be a number"),
    (lambda: ff.LayerwiseDescent(multiples=(1, -1)), ValueError, "multiples must be at least 0"),
    (
        lambda: train(MATRIX, ff.DeepLinear(3), 1, ff.LayerwiseDescent(0.1, 1, multiples=(1, 1)), 1),
        ValueError,
        "multiples must be one for each of the 3 factors, got 2",
    ),
    (lambda: ff.SharpnessAware(radius=-1), ValueError, "radius must be at least 0, got -1"),
    (lambda: ff.BarzilaiBorwein(kind="medium"), ValueError, "kind must be"),
    (lambda: ff.Muon(iterations=0), ValueError, "iterations must be"),
    (lambda: ff.Cyclic(0.1, ()), ValueError, "factors"),
    (lambda: ff.Cyclic(0.1, (1, -1)), ValueError, "factors must be numbers greater than 0"),
    (lambda: ff.Cyclic("safe", (1,)), ValueError, "'safe' is for Decreasing"),
    (lambda: ff.Piecewise(0.1, (5, 5), (1, 2)), ValueError, "starts must increase"),
    (lambda: ff.Piecewise(0.1, (5,), (1, 2)), ValueError, "starts must be 2 steps"),
    (lambda: ff.CustomRule(0.1), TypeError, "no update rule is known for NoneType"),
    (lambda: ff.kernels.add_rule(int, heavy), TypeError, "must be a NamedTuple class"),
    (lambda: ff.kernels.add_rule(Heavy, 3), TypeError, "function must be a function"),
    (lambda: ff.kernels.add_rule(Heavy, heavy, -1), ValueError, "slots must be an integer, at least 0"),
    (lambda: train(MATRIX, ff.DeepLinear(2), 1, ff.Momentum("safe", 1), 1), ValueError, "known to be safe"),
    (lambda: train(VECTOR, ff.DiagonalLinear(2), 1, ff.Muon(1e-3, 1), 1), TypeError, "Muon needs a DeepLinear network"),
    (lambda: ff.flow_distance(MATRIX, method=ff.Momentum(0.1)), TypeError, "does not follow the gradient flow"),
]


@pytest.mark.parametrize(("call", "error", "says"), BAD, ids=range(len(BAD)))
def test_bad_input(call, error, says):
    with pytest.raises(error, match=says):
        call()


if __name__ == "__main__":
    import sys

    for network in sys.argv[1].split(","):
        for rule in sys.argv[2].split(",") if len(sys.argv) > 2 else RULES:
            try:
                test_a_rule_is_that_of_its_textbook(rule, network)
                print("ok", network, rule, flush=True)
            except BaseException as e:
                print("BAD", network, rule, str(e)[:600], flush=True)
