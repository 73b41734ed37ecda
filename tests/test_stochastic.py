"""Stochastic gradient descent: which samples, with which labels, and where the steps lead."""

from __future__ import annotations

import functools
import os

import naive as textbook
import numpy as np
import pytest
from scipy.optimize import linprog

import fastflow as ff
from fastflow.kernels.random import philox
from fastflow.streams import Streams
from fastflow.studies.spec import build, describe

RNG = np.random.default_rng(16)
SGD = ff.StochasticGradientDescent


def raw(key, count, lane=0):
    """The first words of a lane of a stream, by NumPy."""
    return np.random.Philox(key=key, counter=[0, lane, 0, 0]).random_raw(count)


def drawn(key, samples, sizes, replacement):
    """The samples of each step, from NumPy's words."""
    words = [int(word) for word in raw(key, samples * (2 + sum(sizes) // max(samples - max(sizes), 1)))]
    if replacement:
        picked = iter(words[: sum(sizes)])
        return [[samples * next(picked) >> 64 for _ in range(size)] for size in sizes]
    steps, number, place, order = [], -1, samples, []
    for size in sizes:
        if place + size > samples:
            number, place, order = number + 1, 0, list(range(samples))
        for i in range(place, place + size):
            j = i + ((samples - i) * words[number * samples + i] >> 64)
            order[i], order[j] = order[j], order[i]
        steps.append(order[place : place + size])
        place += size
    return steps


def normals(key, count):
    """The normals of a stream, from NumPy's words."""
    words = raw(key, 2 * ((count + 1) // 2), 1) >> np.uint64(11)
    radius = np.sqrt(-2 * np.log((words[0::2] + 1.0) * 2.0**-53))
    angle = 2 * np.pi * words[1::2] * 2.0**-53
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).ravel()[:count]


def chain(factors):
    return functools.reduce(lambda product, factor: factor @ product, factors)


def move_chain(factors, gradient, step):
    moved = []
    for j, factor in enumerate(factors):
        left = chain(factors[j + 1 :]) if factors[j + 1 :] else np.eye(len(factor))
        right = chain(factors[:j]) if j else np.eye(factor.shape[1])
        moved.append(factor - step * left.T @ gradient @ right.T)
    return moved


def move_diagonal(factors, gradient, step, depth):
    if len(factors) == 2:
        u, v = factors
        return [u - step * gradient * u ** (depth - 1), v + step * gradient * v ** (depth - 1)]
    sides = [(-1, factors[:depth]), (1, factors[depth:])]
    return [
        w + sign * step * gradient * np.prod([other for k, other in enumerate(side) if k != j], axis=0)
        for sign, side in sides
        for j, w in enumerate(side)
    ]


def x_of(factors, depth):
    if len(factors) == 2:
        return factors[0] ** depth - factors[1] ** depth
    return np.prod(factors[:depth], axis=0) - np.prod(factors[depth:], axis=0)


def sensed(problem):
    """Rows, labels and the shape of the residuals of a sample, (samples, outputs): ``rows[i] @ columns of W``."""
    if isinstance(problem, ff.LinearRegression):
        rows = [np.kron(np.eye(len(problem.outputs)), x) for x in problem.inputs.T]
        return np.array(rows), problem.outputs.T
    if isinstance(problem, ff.CompressedSensing):
        return problem.matrix[:, None], problem.values[:, None]
    if isinstance(problem, ff.MatrixSensing):
        return problem.operators.reshape(len(problem.values), 1, -1), problem.values[:, None]
    if isinstance(problem, ff.MatrixEstimation):
        return np.eye(problem.target.size)[:, None], problem.target.reshape(-1, 1)
    rows = np.zeros((len(problem.values), 1, int(np.prod(problem.shape))))
    rows[np.arange(len(rows)), 0, problem.rows * problem.shape[1] + problem.cols] = 1
    return rows, problem.values[:, None]


def moves(problem, network, batches, noise=0.0, key=None):
    """What moves factors by a step along each of the batches in turn."""
    rows, labels = sensed(problem)
    taken, matrix = 0, isinstance(network, ff.DeepLinear)
    strangers = None if key is None else normals(key, sum(map(len, batches)) * labels.shape[1])
    for batch in batches:
        wanted = labels[batch]
        if strangers is not None:
            wanted = wanted + noise * strangers[taken : taken + wanted.size].reshape(wanted.shape)
            taken += wanted.size

        def move(factors, step, batch=batch, wanted=wanted):
            depth = len(factors) if matrix else network.depth
            w = (chain(factors) if matrix else x_of(factors, depth)).ravel()
            residual = np.einsum("sow,w->so", rows[batch], w) - wanted
            gradient = np.einsum("sow,so->w", rows[batch], residual) * problem.weight * len(rows) / len(batch)
            if matrix:
                return move_chain(factors, gradient.reshape(problem.shape), step)
            return move_diagonal(factors, gradient, step, depth)

        yield move


def naive(problem, network, factors, steps, batches, noise=0.0, key=None):
    """The factors after the last batch, in NumPy; ``steps`` (count,)."""
    for step, move in zip(steps, moves(problem, network, batches, noise, key), strict=True):
        factors = move(factors, step)
    return factors


def matrix_problems(rows=9, columns=8):
    target = RNG.standard_normal((rows, columns))
    seen = RNG.permutation(rows * columns)[:13]
    inputs = RNG.standard_normal((columns, 9)) / 3
    operators = RNG.standard_normal((11, rows, columns)) / 4
    return {
        "estimation": ff.MatrixEstimation(target),
        "completion": ff.MatrixCompletion(
            (rows, columns), *np.divmod(seen, columns), target.ravel()[seen], warn=False, normalization="mean"
        ),
        "sensing": ff.MatrixSensing(operators, np.tensordot(operators, target, 2)),
        "regression": ff.LinearRegression(inputs, target @ inputs + 0.1, samples="columns"),
    }


def vector_problem(m=8, n=11):
    matrix = RNG.standard_normal((m, n)) / np.sqrt(m)
    return ff.CompressedSensing(matrix, matrix @ np.where(np.arange(n) < 2, 1.0, 0.0))


def factors_of(network, problem, scale=0.6):
    shapes = network.architecture(problem).factor_shapes
    return [scale * (0.2 + RNG.random(s) if len(s) == 1 else RNG.standard_normal(s)) for s in shapes]


def test_words_are_numpys():
    key = Streams(5, "method").key(3, 1)
    np.testing.assert_array_equal(key, Streams(5, "method")(3, 1).bit_generator.state["state"]["key"])
    for lane in (0, 1):
        words = np.zeros(4000, np.uint64)
        write_words(key, lane, words)
        np.testing.assert_array_equal(words, raw(key, len(words), lane))


@ff.kernels.jit
def write_words(key, lane, words):
    for block in range(words.size // 4):
        four = philox.philox_block(key[0], key[1], lane, block)
        for i in range(4):
            words[4 * block + i] = four[i]


STEPS = 1000


@pytest.mark.parametrize("name", ["estimation", "completion", "sensing", "regression"])
def test_chains_go_where_numpy_goes(name):
    problem, noise = matrix_problems()[name], 0.05
    step = {"completion": 0.01, "regression": 0.001}.get(name, 0.002)
    for widths, size, options in [
        ((8, 6, 9), 2, {}),
        ((8, 9), 2, {"replacement": True}),
        ((8, 3, 7, 9), 8, {"label_noise": noise}),
        ((8, 30, 30, 9), 1, {}),  # by vectors, but for measurements
    ]:
        network = ff.DeepLinear(widths=widths)
        factors = factors_of(network, problem, 0.15)
        method = SGD(step, size, max_steps=STEPS, tol=0, **options)
        runs = ff.train(problem, network, ff.inits.Explicit(factors), method, seed=7, threads=1)
        key = Streams(7, "method").key(0, 0)
        batches = drawn(key, problem.sample_count, [size] * STEPS, "replacement" in options)
        wanted = naive(
            problem, network, factors, [step] * STEPS, batches, noise, key if "label_noise" in options else None
        )
        for ours, theirs in zip(runs.factors, wanted, strict=True):
            np.testing.assert_allclose(ours[0], theirs, rtol=1e-9, atol=1e-11, err_msg=f"{widths} {size}")


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_diagonal_networks_go_where_numpy_goes(depth):
    problem = vector_problem()
    for identical, size, options in [
        (True, 1, {}),
        (True, 3, {"replacement": True, "label_noise": 0.05}),
        (False, 8, {"label_noise": 0.05}),
    ]:
        network = ff.DiagonalLinear(depth, identical=identical)
        factors = factors_of(network, problem)
        method = SGD(ff.Decreasing(0.02, 0.5, 100.0), size, max_steps=STEPS, tol=0, **options)
        runs = ff.train(problem, network, ff.inits.Explicit(factors), method, seed=7, threads=1)
        key = Streams(7, "method").key(0, 0)
        batches = drawn(key, problem.sample_count, [size] * STEPS, "replacement" in options)
        steps = 0.02 / (1 + np.arange(STEPS) / 100.0) ** 0.5
        wanted = naive(problem, network, factors, steps, batches, 0.05, key if "label_noise" in options else None)
        for ours, theirs in zip(runs.factors, wanted, strict=True):
            np.testing.assert_allclose(ours[0], theirs, rtol=1e-9, atol=1e-11, err_msg=f"{identical} {size}")


def test_an_order_and_schedules_are_kept_to():
    problem = vector_problem()
    network, count = ff.DiagonalLinear(2), 300
    factors = factors_of(network, problem)
    start = ff.inits.Explicit(factors)
    steps = RNG.uniform(0.01, 0.03, count)
    order = RNG.integers(0, 8, (count, 3))
    runs = ff.train(problem, network, start, SGD(steps, order=order, tol=0), threads=1)
    wanted = naive(problem, network, factors, steps, list(order))
    np.testing.assert_allclose(runs.factors[0][0], wanted[0], rtol=1e-11)
    assert runs.steps[0] == count
    sizes, noise = RNG.integers(1, 8, count), RNG.uniform(0, 0.1, count)
    method = SGD(0.02, sizes, label_noise=noise, tol=0)
    runs = ff.train(problem, network, start, method, seed=3, threads=1)
    key = Streams(3, "method").key(0, 0)
    batches, strangers, taken = drawn(key, 8, list(sizes), False), normals(key, int(sizes.sum())), 0
    wanted = factors
    for batch, deviation in zip(batches, noise, strict=True):
        labels = problem.values.copy()
        labels[batch] += deviation * strangers[taken : taken + len(batch)]
        noisy = ff.CompressedSensing(problem.matrix, labels)
        wanted, taken = naive(noisy, network, wanted, [0.02], [batch]), taken + len(batch)
    np.testing.assert_allclose(runs.factors[1][0], wanted[1], rtol=1e-11)
    # A run that goes on takes what it would have taken.
    part = ff.train(
        problem, network, start, SGD(0.02, sizes, label_noise=noise, tol=0, max_steps=117), seed=3, threads=1
    )
    onwards = ff.train(problem, network, part.last, method, seed=3, threads=1)
    np.testing.assert_array_equal(onwards.flat_factors, runs.flat_factors)


RULES = {
    "heavy ball": (ff.Momentum(momentum=0.9), 0.002),
    "nesterov": (ff.Momentum(momentum=0.9, nesterov=True, weight_decay=0.1), 0.002),
    "adam": (ff.Adam(epsilon=1e-3), 1e-3),
    "rmsprop": (ff.RMSprop(average=0.9, epsilon=1e-3), 1e-3),
    "sign": (ff.SignDescent(), 1e-3),
    "normalized": (ff.NormalizedDescent(), 1e-3),
    "shared": (ff.SharedRate(), 1e-3),
    "sharpness": (ff.SharpnessAware(radius=0.05), 0.005),
    "muon": (ff.Muon(momentum=0.9), 1e-3),
    "polar": (ff.WeightNormalization(ratio=3.0), 0.005),
}
WHOLE = [(name, rule) for name in ("estimation", "completion", "sensing", "regression", "vector") for rule in RULES]
SOME = [("vector", "heavy ball")]


@pytest.mark.parametrize(("name", "rule"), WHOLE if "FASTFLOW_WHOLE" in os.environ else SOME)
def test_rules_take_the_gradients_of_batches(name, rule):
    """As their textbooks do with those of all samples; ascent and descent of a step are along one batch.

    Every rule on every problem where the environment has FASTFLOW_WHOLE.
    """
    update, step = RULES[rule]
    problem = vector_problem() if name == "vector" else matrix_problems()[name]
    network = ff.DiagonalLinear(2) if name == "vector" else ff.DeepLinear(widths=(8, 8, 9))
    if not isinstance(network, update.networks):
        pytest.skip("muon is for matrices, weight normalization for vectors")
    count, factors = 60 if rule == "muon" else 200, factors_of(network, problem, 0.3)
    method = SGD(step, 2, label_noise=0.05, max_steps=count, tol=0, update=update)
    runs = ff.train(problem, network, ff.inits.Explicit(factors), method, seed=7, threads=1)
    key = Streams(7, "method").key(0, 0)
    batches = drawn(key, problem.sample_count, [2] * count, False)
    each = [move for move in moves(problem, network, batches, 0.05, key) for _ in range(update.gradients)]

    def gradients(factors):
        return [f - moved for f, moved in zip(factors, each.pop(0)(factors, 1.0), strict=True)]

    alike = 2 if name == "vector" else 1
    options = {name: getattr(update, name) for name in vars(update) if name not in ("step", "max_steps", "tol")}
    wanted = textbook.descend_by(update.label, gradients, factors, step, count, alike=alike, **options)
    for ours, theirs in zip(runs.factors, wanted, strict=True):
        np.testing.assert_allclose(ours[0], theirs, rtol=1e-8, atol=1e-10)


def test_balancedness_changes_by_its_laws_under_batches():
    """``C <- C + h^2 (G_{j+1}^T G_{j+1} - G_j G_j^T)`` of the gradients used; of the heavy ball that of test_rules."""
    network, b = ff.DeepLinear(widths=(5, 4, 6, 3)), 0.9
    problem = ff.MatrixEstimation(RNG.standard_normal((3, 5)) / 3)
    updates = ((None, 300), (ff.Momentum(momentum=b), 500))
    for update, count in updates if "FASTFLOW_WHOLE" in os.environ else updates[:1]:
        record = ff.Record(np.arange(count + 1), factors=True)
        method = SGD(0.005, 4, max_steps=count, tol=0, update=update)
        runs = ff.train(problem, network, ff.inits.Gaussian(0.3), method, [3], record=record)
        factors = [factor[0] for factor in runs.history.factors]
        velocities = [np.diff(factor, axis=0) for factor in factors]
        wanted = textbook.balancedness_defects([factor[0] for factor in factors])
        drift, old = [0.0 * c for c in wanted], [0.0 * c for c in wanted]
        for k in range(count):
            new = textbook.balancedness_defects([velocity[k] for velocity in velocities])
            if update is not None:
                drift = [b * (d + 2 * q) for d, q in zip(drift, old, strict=True)]
            wanted = [c + d + q for c, d, q in zip(wanted, drift, new, strict=True)]
            old = new
        got = textbook.balancedness_defects([factor[-1] for factor in factors])
        start = textbook.balancedness_defects([factor[0] for factor in factors])
        for ours, law, before in zip(got, wanted, start, strict=True):
            np.testing.assert_allclose(ours, law, atol=1e-13)
            assert np.abs(ours - before).max() > 1e-4


def test_a_rule_goes_on_along_batches_with_what_it_remembers(tmp_path):
    network, init = ff.DiagonalLinear(2), ff.inits.Gaussian(0.3)
    problem, update = vector_problem(), ff.Momentum(momentum=0.9)
    runs = [ff.train(problem, network, init, SGD(0.002, 2, max_steps=k, update=update), 2) for k in (70, 150)]
    kept = ff.load(runs[0].save(tmp_path / "runs"))
    assert kept == runs[0]
    onwards = ff.train(problem, network, kept.last, SGD(0.002, 2, max_steps=150, update=update))
    np.testing.assert_array_equal(onwards.flat_factors, runs[1].flat_factors)
    anew = ff.inits.Explicit(runs[0].factors, steps=runs[0].steps)
    other = ff.train(problem, network, anew, SGD(0.002, 2, max_steps=150, update=update))
    assert np.any(other.flat_factors != runs[1].flat_factors)


def test_a_batch_of_all_samples_is_gradient_descent():
    problems, init, record = [vector_problem()] * 2, ff.inits.Gaussian(0.1), ff.Record()
    for network in (ff.DiagonalLinear(2), ff.DiagonalLinear(3, identical=False)):
        ours = ff.train(problems, network, init, SGD(0.05, 8, max_steps=2000), runs=2, record=record)
        theirs = ff.train(problems, network, init, ff.GradientDescent(0.05, 2000), runs=2, record=record)
        for name in ("flat_factors", "loss", "status", "steps"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        np.testing.assert_array_equal(ours.history.loss, theirs.history.loss)
        # A batch at a time it is the same but for round-off.
        order = np.tile(np.arange(8), (2000, 1))
        steps = ff.train(problems, network, init, SGD(0.05, order=order, tol=0), runs=2)
        np.testing.assert_allclose(steps.flat_factors, theirs.flat_factors, rtol=1e-6)


def test_the_mean_over_all_batches_is_the_full_gradient():
    """By the steps that single batches take from one point, of all 28 pairs out of 8."""
    problem, network = vector_problem(), ff.DiagonalLinear(2)
    factors = factors_of(network, problem)
    pairs, start = [(i, j) for i in range(8) for j in range(i)], ff.inits.Explicit(factors)
    moved = [ff.train(problem, network, start, SGD(0.1, order=[pair], tol=0), threads=1).flat_factors for pair in pairs]
    whole = ff.train([problem], network, start, ff.GradientDescent(0.1, 1, tol=0), threads=1)
    np.testing.assert_allclose(np.mean(moved, axis=0), whole.flat_factors, rtol=1e-14)


def test_the_gain_is_the_sum_that_theory_has():
    """``x = |u v| 2 sinh(2 G)`` and ``|u v| = alpha^2 exp(-gain)`` for whatever gradients were used (MATH.md, 5)."""
    problem, network, alpha, step = vector_problem(), ff.DiagonalLinear(2), 0.3, 0.02
    record = ff.Record(steps=20, gain=True, product=True)
    method = SGD(step, 2, label_noise=0.1, max_steps=STEPS, tol=0)
    runs = ff.train(problem, network, ff.inits.Constant(alpha), method, seed=4, record=record, threads=1)
    key = Streams(4, "method").key(0, 0)
    batches, strangers = drawn(key, 8, [2] * STEPS, False), normals(key, 2 * STEPS)
    u, v = np.full(11, alpha), np.full(11, alpha)
    gain, ratio, at = np.zeros(11), np.zeros(11), 0
    for k, batch in enumerate([*batches, None]):
        if k == runs.history.steps[at]:
            spread = np.array([gain.min(), np.median(gain), gain.max()])
            np.testing.assert_allclose(runs.history.gain[0, at], spread, rtol=1e-9, atol=1e-12)
            x = alpha**2 * np.exp(-gain) * 2 * np.sinh(ratio)
            np.testing.assert_allclose(runs.history.product[0, at], x, rtol=1e-9, atol=1e-13)
            at += 1
        if batch is None:
            break
        residual = problem.matrix[batch] @ (u * u - v * v) - problem.values[batch] - 0.1 * strangers[2 * k : 2 * k + 2]
        h = step * 8 / 2 * residual @ problem.matrix[batch]
        gain -= 0.5 * np.log((1 - h**2) ** 2)
        ratio += np.log(np.abs((1 - h) / (1 + h)))
        u, v = u * (1 - h), v * (1 + h)
    assert at == len(runs.history.steps)


def test_published_numbers():
    """The public notebook of tml-epfl on sharpness-aware minimisation, with all samples of each step given in turn."""
    rng = np.random.RandomState(0)
    inputs = rng.multivariate_normal(np.zeros(30), np.eye(30), 20)
    fresh = rng.multivariate_normal(np.zeros(30), np.eye(30), 1000)
    theta = rng.randn(30)
    theta[3:] = 0
    theta = np.abs(theta) / np.linalg.norm(theta)
    problem = ff.CompressedSensing(inputs, inputs @ theta)
    network = ff.DiagonalLinear(2, signed=False, identical=False)
    order = np.tile(np.arange(20), (10_001, 1))
    for alpha, gamma, published in [(0.1, 5 / 30, 0.015056044189449159), (0.02, 5 / 30, 0.0006337885714222886)]:
        start = ff.inits.Explicit([np.full(30, alpha), np.zeros(30)])
        runs = ff.train(problem, network, start, SGD(gamma / 20, order=order, tol=0), threads=1)
        error = np.mean((fresh @ (runs.solution[0] - theta)) ** 2) / 2
        np.testing.assert_allclose(error, published, rtol=1e-10)
    # One sample a step, by the stream of the notebook after the five runs before.
    order = rng.randint(20, size=(6, 10_001))[5, :, None]
    start = ff.inits.Explicit([np.full(30, 0.1), np.zeros(30)])
    runs = ff.train(problem, network, start, SGD(10 / 90 / 20, order=order, tol=0), threads=1)
    error = np.mean((fresh @ (runs.solution[0] - theta)) ** 2) / 2
    np.testing.assert_allclose(error, 0.00917508147156238, rtol=1e-10)


def sparse_problems(runs, n=20, m=10):
    rng = np.random.default_rng(3)
    matrix, truths = rng.standard_normal((runs, m, n)) / np.sqrt(m), np.zeros((runs, n))
    truths[:, :2] = rng.choice([-1.0, 1.0], (runs, 2))
    return [ff.CompressedSensing(a, a @ x, truth=x) for a, x in zip(matrix, truths, strict=True)]


def test_runs_from_one_start_differ_by_what_they_draw():
    (problem,), network, init = sparse_problems(1), ff.DiagonalLinear(2), ff.inits.Constant(1.0)
    method = SGD(0.01, 1, tol=0, max_steps=100)
    runs = ff.train(problem, network, init, method, runs=3)
    assert len(np.unique(runs.solution, axis=0)) == 3
    np.testing.assert_array_equal(ff.train(problem, network, init, method, runs=[2]).solution[0], runs.solution[2])
    given = SGD(0.01, order=np.zeros((100, 1), int), tol=0)
    with pytest.raises(ValueError, match="all runs would be equal"):
        ff.train(problem, network, init, given, runs=3)


def test_label_noise_is_sparser_than_gradient_descent_and_the_less_so_the_deeper():
    """By l1 norms, from a large start: small noise goes down ``sum |x|^{2 - 2/L}``; at the end there is none."""
    problems, runs = sparse_problems(200), 200
    noise = np.repeat([1.0, 0.0], [8000, 2000])
    norms = {}
    for depth, step in ((2, 0.01), (4, 0.005)):
        network, init = ff.DiagonalLinear(depth), ff.inits.Constant(1.0)
        noisy = ff.train(problems, network, init, SGD(step, 1, label_noise=noise, tol=0))
        norms[depth] = np.abs(noisy.solution).sum(1)
    plain = ff.train(problems, ff.DiagonalLinear(2), ff.inits.Constant(1.0), ff.GradientDescent(0.01, 10_000))
    for gap in (np.abs(plain.solution).sum(1) - norms[2], norms[4] - norms[2]):
        assert gap.mean() > 3 * gap.std(ddof=1) / np.sqrt(runs)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_label_noise_ends_at_its_linear_program(alpha):
    """``min sum ||A_j||^2 x_j`` over what fits, whatever the start: columns of unequal norms tell it from least l1."""
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((5, 12)) / np.sqrt(5) * (0.5 + 2 * rng.random(12))
    values, cost = matrix[:, :2].sum(1), np.sum(matrix**2, axis=0)
    least, l1 = (linprog(c, A_eq=matrix, b_eq=values).x for c in (cost, np.ones(12)))
    problem, network = ff.CompressedSensing(matrix, values), ff.DiagonalLinear(2, signed=False)
    noise = np.repeat([0.8, 0.0], [300_000, 30_000])
    noisy = ff.train(problem, network, ff.inits.Constant(alpha), SGD(0.004, 1, label_noise=noise, tol=0), threads=1)
    plain = ff.train(problem, network, ff.inits.Constant(alpha), ff.GradientDescent(0.01, 50_000), threads=1)
    np.testing.assert_allclose(noisy.solution[0] @ matrix.T, values, atol=0.02)
    assert cost @ noisy.solution[0] <= 1.02 * (cost @ least)
    assert min(cost @ l1, cost @ plain.solution[0]) >= 1.3 * (cost @ least)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: SGD(batch_size=0), ValueError, "batch_size must be at least 1, got 0"),
        (lambda: SGD(batch_size=[2, 0]), ValueError, "batch_size must be at least 1, got 0"),
        (lambda: SGD(batch_size=1.5), TypeError, "batch_size must be an integer"),
        (lambda: SGD(batch_size=2, order=[[1]]), ValueError, "order has 1 samples a step, but batch_size is 2"),
        (lambda: SGD(order=[1, 2]), TypeError, "order must be an array of integers"),
        (lambda: SGD(order=[[0.5]]), TypeError, "order must be an array of integers"),
        (lambda: SGD(order=[[-1]]), ValueError, "order must name samples from 0 on, got -1"),
        (lambda: SGD(order=[[1]], replacement=True), ValueError, "leave replacement out"),
        (lambda: SGD(order=[[1]], max_steps=2), ValueError, "max_steps is 2, but an array .* has 1 entries"),
        (lambda: SGD(replacement=1), TypeError, "replacement must be True or False"),
        (lambda: SGD(label_noise=-0.1), ValueError, "label_noise must be at least 0"),
        (lambda: SGD(label_noise=[0.1, -1]), ValueError, "label_noise must be at least 0, got -1"),
        (lambda: SGD(label_noise=ff.Decreasing("safe")), TypeError, "label_noise begins with a number"),
        (lambda: SGD(label_noise=np.nan), ValueError, "label_noise must be finite"),
        (lambda: SGD("safe"), ValueError, "no step is safe for batches"),
        (lambda: SGD(-1.0), ValueError, "step must be greater than 0"),
        (lambda: SGD(look=0), ValueError, "look must be at least 1"),
        (lambda: SGD(update="adam"), TypeError, "update must be a method that takes steps, .* got str"),
        (lambda: SGD(update=ff.Adam(1e-3)), ValueError, "update says the rule alone"),
        (lambda: SGD("0.5 edge", update=ff.Adam()), ValueError, "step of Adam must be a number"),
        (lambda: ff.train(vector_problem(), method=SGD(update=ff.Muon())), TypeError, "Muon needs a DeepLinear"),
        (
            lambda: ff.train(vector_problem(), method=SGD(batch_size=9)),
            ValueError,
            "batch_size must be at most 8, .* got 9",
        ),
        (
            lambda: ff.train(vector_problem(), method=SGD(order=[[8]])),
            ValueError,
            r"order must name samples 0 \.\. 7, got 8",
        ),
    ],
)
def test_bad_input(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_study_and_its_file_know_it():
    for method in (
        SGD("0.5 edge", 4, replacement=True),
        SGD(0.1, [1, 2], label_noise=ff.Decreasing(0.1)),
        SGD(order=[[0, 1]]),
        SGD(0.1, 2, update=ff.Momentum(momentum=0.5)),
    ):
        assert build(describe(method)) == method


def test_a_run_that_diverged_leaves_nothing_behind():
    """Steps along entries go over whole vectors, whose ends are no numbers of the run."""
    problem, network = matrix_problems()["completion"], ff.DeepLinear(widths=(8, 30, 30, 9))
    init, options = ff.inits.Gaussian(0.15), {"max_steps": 100, "tol": 0}
    with pytest.warns(UserWarning, match="above the linear stability edge"):
        both = ff.train(problem, network, init, SGD(ff.each([1e308, 0.01]), 1, **options), 2, seed=7, threads=1)
    alone = ff.train(problem, network, init, SGD(0.01, 1, **options), [1], seed=7, threads=1)
    assert list(both.status) == [ff.Status.DIVERGED, ff.Status.MAX_STEPS]
    np.testing.assert_array_equal(both.flat_factors[1], alone.flat_factors[0])


def test_too_long_a_step_diverges():
    runs = ff.train([vector_problem()], method=SGD(50.0, 2), runs=1)
    assert runs.status[0] == ff.Status.DIVERGED
    assert runs.steps[0] < 100
