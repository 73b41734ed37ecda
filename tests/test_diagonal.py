"""Diagonal linear networks: kernels against the oracle, the laws of their descent, and what `train` makes of them."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from test_bits import assert_same

import fastflow as ff
from fastflow import kernels, scheduling
from fastflow.kernels.losses import shared_matrix
from fastflow.kernels.losses.shared_matrix import padded_columns, share_matrix
from fastflow.kernels.networks import diagonal_group, diagonal_together, panels
from fastflow.kernels.networks.diagonal_group import make_diagonal_group
from fastflow.kernels.networks.diagonal_together import make_vector_group
from fastflow.kernels.networks.group import backward, forward, group_places, load_member, measure
from fastflow.kernels.networks.hadamard import Form, hadamard_gradient, hadamard_product, hadamard_step
from fastflow.kernels.vectors import inner
from fastflow.kernels.vectors.elementwise import half_square_at
from fastflow.kernels.vectors.layouts import address
from fastflow.methods import Execution
from fastflow.networks import Hadamard
from fastflow.problems import CompressedSensing, compressed, gram
from fastflow.records import tracing
from fastflow.status import Status

inits = ff.inits
FORMS = [
    Form(depth, signed, identical) for depth in range(1, 9) for signed in (True, False) for identical in (True, False)
]
EPS = {"float64": 1e-14, "float32": 5e-6}


@pytest.fixture
def make_sensing(rng):
    """``make_sensing(m, n, sparsity=None, **options)``: Gaussian measurements of a sparse vector, or random values."""

    def make(m, n, sparsity=None, **options):
        matrix = rng.standard_normal((m, n)) / np.sqrt(m)
        if sparsity is None:
            return ff.CompressedSensing(matrix, rng.standard_normal(m), **options)
        truth = np.zeros(n)
        truth[rng.choice(n, sparsity, replace=False)] = rng.choice([-1.0, 1.0], sparsity) * rng.uniform(1, 2, sparsity)
        return ff.CompressedSensing(matrix, matrix @ truth, truth=truth, **options)

    return make


def sides_of(factors, depth, signed):
    """The oracle's sides from ``Runs.factors`` of one run, (n,) each."""
    factors = [np.asarray(factor, np.float64) for factor in factors]
    per_side = len(factors) // (1 + signed)
    return [
        (factors[i * per_side : (i + 1) * per_side] if per_side == depth else [factors[i]] * depth)
        for i in range(1 + signed)
    ]


# Kernels


@kernels.jit
def _product(factors, x, form):
    hadamard_product(factors, x, form)


@kernels.jit
def _gradient(factors, g, gradient, form):
    hadamard_gradient(factors, g, gradient, form)


@kernels.jit
def _step(factors, at, x, g, step, n, form):
    moved = np.zeros(1, np.int64)
    places = address(factors, at), address(x, 0), address(g, 0), address(step, 0), address(moved, 0)
    hadamard_step(x.dtype.type(0), *places, n, n, form)
    return moved[0]


def drawn(form, n, rng, dtype):
    count = (1 + form.signed) * (1 if form.identical else form.depth)
    return [rng.uniform(0.5, 1.5, n).astype(dtype) * rng.choice([-1, 1], n).astype(dtype) for _ in range(count)]


def test_hadamard_kernels(dtype, rng):
    """Product, gradient, and one step with the product after it, at every remainder of the vector width."""
    for form in FORMS:
        for n in (1, 5, 16, 27):
            vectors = drawn(form, n, rng, dtype)
            sides = sides_of(vectors, form.depth, form.signed)
            flat, g = np.concatenate(vectors), rng.standard_normal(n).astype(dtype)
            x, gradient = np.full(n, np.nan, dtype), np.full(flat.size, np.nan, dtype)
            _product(flat, x, form)
            size = max(np.abs(np.prod(side, axis=0)).max() for side in sides)
            np.testing.assert_allclose(x, naive.hadamard_product(sides), rtol=0, atol=EPS[dtype.name] * size)
            _gradient(flat, g, gradient, form)
            wanted = naive.hadamard_gradient(sides, g.astype(np.float64))
            kept = np.concatenate([h for side in wanted for h in (side[:1] if form.identical else side)])
            np.testing.assert_allclose(gradient, kept, rtol=50 * EPS[dtype.name])

            moved, at = np.concatenate([np.full(3, 9, dtype), flat, np.full(3, 9, dtype)]), 3
            assert _step(moved, at, x, g, np.array([0.125], dtype), n, form) == 1
            assert np.all(moved[:3] == 9)
            assert np.all(moved[-3:] == 9)
            after = moved[3:-3]
            rounding = np.finfo(dtype).eps * np.abs(flat).max()
            np.testing.assert_allclose(
                after, flat - 0.125 * kept, rtol=0, atol=50 * EPS[dtype.name] * np.abs(kept).max() + rounding
            )
            again = np.full(n, np.nan, dtype)
            _product(after.copy(), again, form)
            np.testing.assert_array_equal(x, again, err_msg=f"{form}, n = {n}: x is not that of the factors")
            before = moved.copy()
            assert _step(moved, at, x, g, np.zeros(1, dtype), n, form) == 0
            np.testing.assert_array_equal(moved, before)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_gradient_against_differences_of_the_loss(form, rng, make_sensing):
    """Of independent factors by each; of identical ones the common gradient of L equal factors, each moved alone."""
    problem, n = make_sensing(4, 6), 6
    vectors = drawn(form, n, rng, np.float64)
    sides = sides_of(vectors, form.depth, form.signed)
    flat = [w for side in sides for w in side]

    def loss(moved):
        parts = [moved[i : i + form.depth] for i in range(0, len(moved), form.depth)]
        return naive.vector_loss_gradient(problem, naive.hadamard_product(parts))[0]

    differences = naive.numerical_gradient(loss, flat)
    g, gradient = problem.gradient(naive.hadamard_product(sides)), np.full(n * len(vectors), np.nan)
    _gradient(np.concatenate(vectors), g, gradient, form)
    stride = form.depth if form.identical else 1
    wanted = np.concatenate(differences[::stride])
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-8 * max(1, np.abs(wanted).max()))


@kernels.jit
def _measure(matrix, values, n, x, residual, gradient, loss):
    zero, places = x.dtype.type(0), (address(x, 0), address(residual, 0), address(gradient, 0))
    inner.measure_rows(zero, address(matrix, 0), address(values, 0), values.size, n, *places)
    half_square_at(zero, address(residual, 0), values.size, address(loss, 0))


@kernels.jit
def _together(group, widths):
    at = group_places(group, widths)
    forward(group, at, widths)
    backward(group, at, widths, False)


@kernels.jit
def _alone(group, widths, factors):
    at = group_places(group, widths)
    load_member(group, 0, factors, group.problem, 0)
    forward(group, at, widths)
    measure(group, widths[0])


def test_a_problem_that_knows_no_diagonal_networks_is_measured_by_its_loss(rng):
    """One run at a time: what a new problem gets without doing anything for it."""
    target, factors = rng.standard_normal((1, 5)), rng.standard_normal(10)
    group = make_diagonal_group(kernels.Estimation(target), 5, 10, (2, True, True), np.zeros(1), 30)
    _alone(group, np.array([5]), factors)
    left = factors[:5] ** 2 - factors[5:] ** 2 - target[0]
    assert group.work.loss == pytest.approx(0.5 * np.sum(left**2), rel=1e-14)
    assert group.work.gradient == pytest.approx(left, rel=1e-14, abs=1e-14)


@pytest.mark.parametrize("members", [8, 20, 40])
def test_a_shared_matrix_gives_each_member_its_bits_alone(members, dtype, rng):
    """And the oracle's residual and gradient, at sizes around the tiles' and the blocks'."""
    for m, n in ((1, 1), (2, 3), (3, 8), (5, 13), (7, 24), (13, 61), (70, 150), (150, 4), (7, 1111)):
        matrix, values = rng.standard_normal((m, n)).astype(dtype), rng.standard_normal(m).astype(dtype)
        x = rng.standard_normal((members, n)).astype(dtype)
        shared = share_matrix(matrix, values, dtype)
        group = make_vector_group(shared, n, n, (2, False, True), np.zeros(1, dtype), members)
        strips, columns, lanes = group.product.shape
        assert strips * lanes - lanes < members <= strips * lanes
        laid_out = np.zeros((strips * lanes, columns), dtype)
        laid_out[:members, shared.order >= 0] = x[:, shared.order[shared.order >= 0]]
        group.product[:] = laid_out.reshape(strips, lanes, columns).swapaxes(1, 2)
        _together(group, np.array([n]))
        residual, slopes = (
            a.swapaxes(1, 2).reshape(strips * lanes, -1) for a in (group.work.scratch, group.work.gradient)
        )
        gradient = np.full((members, n), np.nan, dtype)
        gradient[:, shared.order[shared.order >= 0]] = slopes[:members, shared.order >= 0]
        wide = matrix.astype(np.float64)
        wanted = x @ wide.T - values
        np.testing.assert_allclose(residual[:members, :m], wanted, rtol=0, atol=20 * n * EPS[dtype.name])
        np.testing.assert_allclose(gradient, wanted @ wide, rtol=0, atol=100 * (m + n) * EPS[dtype.name])
        losses = group.work.loss[:members]
        np.testing.assert_allclose(losses, 0.5 * np.sum(wanted**2, axis=1), rtol=200 * n * EPS[dtype.name])
        padded = padded_columns([matrix], dtype)[0]
        for member in range(members):
            for a, size in ((matrix.ravel(), n), (padded, padded.size // m)):
                vector = np.zeros(size, dtype)
                vector[:n] = x[member]
                alone = np.full(m, np.nan, dtype), np.full(size, np.nan, dtype), np.full(1, np.nan, dtype)
                _measure(a, values, size, vector, *alone)
                np.testing.assert_array_equal(residual[member, :m], alone[0], f"m = {m}, n = {n}")
                np.testing.assert_array_equal(gradient[member], alone[1][:n], f"m = {m}, n = {n}")
                np.testing.assert_array_equal(losses[member], alone[2][0], f"m = {m}, n = {n}")


# Descent


def network_of(form):
    return ff.DiagonalLinear(form.depth, form.signed, form.identical)


@pytest.mark.parametrize("normalization", ["sum", "mean"])
@pytest.mark.parametrize(("m", "n"), [(7, 11), (12, 5)], ids=["by rows", "by gram"])
def test_against_the_oracle(m, n, normalization, make_sensing):
    """Depths 1 to 8, one problem per run and shared, with the recorded loss and gradient norm at every step."""
    problems = [make_sensing(m, n, normalization=normalization) for _ in range(2)]
    record, method = ff.Record(np.arange(21)), ff.GradientDescent(step=0.01, max_steps=20, tol=0)
    for form in FORMS:
        for given in (problems, problems[1]):
            runs = ff.train(given, network_of(form), inits.Uniform(1.0, of="factor"), method, runs=3, record=record)
            start = ff.train(
                given, network_of(form), inits.Uniform(1.0, of="factor"), ff.GradientDescent(0.01, 0), runs=3
            )
            for run in (1, len(runs) - 1):
                problem = problems[1] if given is not problems else problems[runs.problem_index[run]]
                sides = sides_of([f[run] for f in start.factors], form.depth, form.signed)
                gradients = naive.hadamard_gradient(sides, problem.gradient(naive.hadamard_product(sides)))
                norm = np.sqrt(sum(np.sum(h**2) for side in gradients for h in side))
                assert runs.history.gradient_norm[run, 0] == pytest.approx(norm, rel=1e-12), form
                ends, losses = naive.diagonal_descent(problem, sides, 0.01, 20)
                np.testing.assert_allclose(runs.history.loss[run], losses, rtol=1e-10, err_msg=str(form))
                got = sides_of([f[run] for f in runs.factors], form.depth, form.signed)
                for side, wanted in zip(got, ends, strict=True):
                    np.testing.assert_allclose(side, wanted, rtol=0, atol=1e-11 * np.abs(wanted).max())
                np.testing.assert_allclose(runs.solution[run], naive.hadamard_product(ends), rtol=0, atol=1e-10)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3, 5, 8])
def test_identical_equals_independent_with_equal_starts(depth, signed, make_sensing, rng):
    """The convention: L equal factors, each with its own gradient; their common step has no factor L."""
    problem, alpha = make_sensing(6, 10), rng.uniform(0.5, 1.0, 10)
    init = inits.Constant(alpha, negative=0.9 * alpha if signed else None)
    method = ff.GradientDescent(step=0.01, max_steps=200, tol=0)
    record = ff.Record(20)
    one, many = (
        ff.train(problem, ff.DiagonalLinear(depth, signed, identical), init, method, record=record)
        for identical in (True, False)
    )
    np.testing.assert_allclose(one.solution, many.solution, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(one.history.loss, many.history.loss, rtol=1e-10)
    np.testing.assert_allclose(one.history.gradient_norm, many.history.gradient_norm, rtol=1e-10)
    for side in range(1 + signed):
        for factor in many.factors[side * depth : (side + 1) * depth]:
            np.testing.assert_allclose(factor, one.factors[side], rtol=1e-11)


@pytest.mark.parametrize("depth", [2, 3])
def test_a_diagonal_network_is_a_deep_linear_one_with_diagonal_factors(depth, rng):
    """Estimation of a diagonal matrix from ``alpha I`` moves the diagonal as A = I does: gradients are separate."""
    values, alpha = np.array([2.0, 0.7, 0.1, -0.5]), 0.3
    method = ff.GradientDescent(step=0.02, max_steps=3000, tol=0)
    matrix = ff.train(
        ff.MatrixEstimation(np.diag(values)), ff.DeepLinear(depth), inits.Identity(alpha, "factor"), method
    )
    problem = ff.CompressedSensing(np.eye(4), values)
    vector = ff.train(problem, ff.DiagonalLinear(depth, signed=False), inits.Constant(alpha), method)
    np.testing.assert_allclose(vector.solution[0], np.diag(matrix.solution[0]), rtol=0, atol=1e-12)


def test_depth_two_keeps_the_identities_of_its_finite_steps(make_sensing):
    """``x = alpha_inf^2 (ratio - 1/ratio)`` with ``ratio = prod (1 - h g)/(1 + h g)``, ``alpha_inf^2 = alpha^2 prod
    (1 - h^2 g^2)``, to 1e-11 over 10^5 steps."""
    problem, alpha, steps, h = make_sensing(12, 30, 3), 0.05, 10**5, 0.05
    method = ff.GradientDescent(step=h, max_steps=steps, tol=0)
    record = ff.Record(np.arange(steps + 1), product=True)
    runs = ff.train(problem, ff.DiagonalLinear(2), inits.Constant(alpha), method, record=record)
    assert runs.status[0] in (Status.MAX_STEPS, Status.STALLED)
    products = runs.history.product[0, : runs.steps[0]]
    g = (products @ problem.matrix.T - problem.values) @ problem.matrix
    assert np.abs(h * g).max() < 1
    log_ratio = np.sum(np.log1p(-h * g) - np.log1p(h * g), axis=0)
    scale = alpha**2 * np.exp(np.sum(np.log1p(-((h * g) ** 2)), axis=0))
    np.testing.assert_allclose(scale * 2 * np.sinh(log_ratio), runs.solution[0], rtol=0, atol=1e-11)
    u, v = (factor[0] for factor in runs.factors)
    np.testing.assert_allclose(u * v, scale, rtol=1e-9)
    np.testing.assert_allclose(ff.metrics.effective_alpha([u, v], 2), np.sqrt(scale), rtol=1e-9)
    # Its limit is that of the flow from starts that the steps have shifted, and not that of the flow from alpha.
    shifted = [alpha * np.exp(np.sum(np.log1p(-sign * h * g) + sign * h * g, axis=0)) for sign in (1, -1)]
    limit = ff.flow_limit(problem.matrix, problem.values, shifted[0], 2, negative=shifted[1]).x
    np.testing.assert_allclose(runs.solution[0], limit, rtol=0, atol=1e-9)
    assert np.abs(limit - ff.flow_limit(problem.matrix, problem.values, alpha, 2).x).max() > 1e-7


def test_a_small_start_recovers_a_sparse_vector_and_a_large_one_does_not(make_sensing):
    """alpha -> 0 is basis pursuit; alpha large the solution of least norm (Woodworth et al., arXiv:2002.09277)."""
    problem = make_sensing(40, 100, 4)
    small = ff.train(
        problem, ff.DiagonalLinear(), inits.Constant(1e-6), ff.GradientDescent(max_steps=50_000, tol=1e-16)
    )
    assert small.error[0] < 1e-3
    assert ff.metrics.support_recovery(small.solution[0], problem.truth) == 1
    large = ff.train(problem, ff.DiagonalLinear(), inits.Constant(10.0), ff.GradientDescent(1e-4, 200_000, tol=1e-16))
    least_norm = np.linalg.lstsq(problem.matrix, problem.values, rcond=None)[0]
    np.testing.assert_allclose(large.solution[0], least_norm, atol=1e-4 * np.abs(least_norm).max())


def test_unequal_and_per_coordinate_starts(make_sensing, rng):
    """x starts at ``alpha^L - negative^L``; a coordinate with a larger scale learns first."""
    problem = ff.CompressedSensing(np.eye(2), [1.0, 1.0])
    runs = ff.train(
        problem,
        ff.DiagonalLinear(3),
        inits.Constant([0.2, 0.1], negative=[0.1, 0.1]),
        ff.GradientDescent(0.01, 200, tol=0),
        record=ff.Record([0, 200], product=True),
    )
    np.testing.assert_allclose(runs.history.product[0, 0], [0.2**3 - 0.1**3, 0], atol=1e-15)
    assert runs.solution[0, 0] > runs.solution[0, 1] > 0


def test_nonnegative_networks_stay_nonnegative(make_sensing):
    """From Gaussian starts, whose magnitudes identical factors take, at every depth from 2 on."""
    for depth in (2, 3, 4, 5):
        problem = make_sensing(6, 9)
        network = ff.DiagonalLinear(depth, signed=False)
        runs = ff.train(
            problem, network, inits.Gaussian(0.5, of="factor"), ff.GradientDescent(0.01, 300, tol=0), runs=5
        )
        assert np.all(runs.solution >= 0)
        assert np.all(runs.factors[0] >= 0)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_sign_of_an_entry(depth, make_sensing, rng):
    """For even depths it changes nothing; for odd ones that coordinate keeps its sign."""
    problem, u = make_sensing(6, 9), rng.uniform(0.2, 0.5, (1, 9))
    method, network = ff.GradientDescent(0.01, 500, tol=0), ff.DiagonalLinear(depth, signed=False)
    flipped = u * np.where(np.arange(9) < 4, -1, 1)
    one, other = (ff.train(problem, network, inits.Explicit([start]), method) for start in (u, flipped))
    if depth % 2 == 0:
        np.testing.assert_array_equal(one.solution, other.solution)
    else:
        assert np.all(other.solution[0, :4] <= 0)


def test_regression_with_one_output_is_compressed_sensing(rng, make_sensing):
    for samples in (4, 20):
        inputs, outputs = rng.standard_normal((6, samples)), rng.standard_normal((1, samples))
        method, network = ff.GradientDescent(1e-3, 100, tol=0), ff.DiagonalLinear(3)
        truth = rng.standard_normal((1, 6))
        regression = ff.LinearRegression(inputs, outputs, truth=truth, normalization="mean", samples="columns")
        sensing = ff.CompressedSensing(inputs.T, outputs[0], truth=truth[0], normalization="mean")
        one, other = (ff.train(p, network, inits.Gaussian(0.5), method, runs=3) for p in (regression, sensing))
        assert_same(one, other)
        assert one.solution.shape == (3, 6)
        assert "LinearRegression" in one.description["problem"]


# Steps


@pytest.mark.parametrize("normalization", ["sum", "mean"])
@pytest.mark.parametrize(
    "form", [Form(L, s, i) for L in (1, 2, 3, 5) for s in (True, False) for i in (True, False)], ids=str
)
def test_stability_edge_is_that_of_the_hessian(form, normalization, rng):
    """``2 / lambda_max`` of the Hessian by all factors at the solution, from differences of the oracle's gradient."""
    x = np.array([1.0, 0.5, 2.0, 1.5]) * (np.array([1, -1, 1, -1]) if form.signed else 1)
    matrix = rng.standard_normal((6, 4))
    problem = ff.CompressedSensing(matrix, matrix @ x, normalization=normalization)
    roots = [np.maximum(side * x, 0) ** (1 / form.depth) for side in ((1, -1) if form.signed else (1,))]
    flat = [root for root in roots for _ in range(form.depth)]
    if form.depth == 1 and form.signed:
        flat = [x, np.zeros(4)]

    def gradient(values):
        vectors = list(values.reshape(len(flat), 4))
        sides = [vectors[i : i + form.depth] for i in range(0, len(vectors), form.depth)]
        g = naive.vector_loss_gradient(problem, naive.hadamard_product(sides))[1]
        return np.concatenate([h for side in naive.hadamard_gradient(sides, g) for h in side])

    point, width = np.concatenate(flat), 1e-5
    columns = [(gradient(point + e) - gradient(point - e)) / (2 * width) for e in width * np.eye(point.size)]
    largest = np.linalg.eigvalsh((np.array(columns) + np.array(columns).T) / 2)[-1]
    assert ff.theory.stability_edge(problem, network_of(form)) == pytest.approx(2 / largest, rel=1e-5)


def test_the_estimate_is_the_solution_where_it_is_unique_and_unbiased_elsewhere(rng):
    matrix, x = rng.standard_normal((9, 4)), rng.standard_normal(4)
    np.testing.assert_allclose(ff.CompressedSensing(matrix, matrix @ x).estimate(), x, rtol=1e-12)
    estimates = []
    for _ in range(2000):
        matrix = rng.standard_normal((2, 4))
        estimates.append(ff.CompressedSensing(matrix, matrix @ x).estimate())
    deviation = np.std(estimates, axis=0) / np.sqrt(len(estimates))
    assert np.all(np.abs(np.mean(estimates, axis=0) - x) < 5 * deviation)


def test_the_default_step_is_half_the_edge(make_sensing):
    problem = make_sensing(8, 16, 2)
    runs = ff.train(problem, method=ff.GradientDescent(max_steps=10))
    assert runs.step[0] == 0.5 * ff.theory.stability_edge(problem, ff.DiagonalLinear())
    assert runs.description["network"] == "DiagonalLinear(depth=2, signed=True, identical=True)"
    assert len(runs) == 1
    with pytest.warns(UserWarning, match="above the linear stability edge"):
        ff.train(problem, method=ff.GradientDescent(step=3 * runs.step[0] * 2, max_steps=1))


# Bits


RECORD = ff.Record(steps=30, product=True, factors=True)
CASES = [(5, 13), (9, 4), (16, 40)]


@pytest.mark.parametrize("identical", [True, False])
@pytest.mark.parametrize(("m", "n", "dtype"), [(*case, np.float64) for case in CASES] + [(16, 40, np.float32)])
def test_bits_of_threads_company_and_sharing(m, n, dtype, identical, make_sensing, monkeypatch):
    problem, network = make_sensing(m, n, 2), ff.DiagonalLinear(3, identical=identical)
    method = ff.GradientDescent(max_steps=300, tol=1e-3, gradient_tol=1e-4)
    options = {"record": RECORD, "dtype": dtype}
    init = inits.Gaussian(0.5)
    whole = ff.train(problem, network, init, method, runs=41, threads=1, **options)
    assert len(set(whole.steps.tolist())) > 3 or m > n, "the runs should end at different steps"
    assert_same(whole, ff.train(problem, network, init, method, runs=41, threads=3, **options))
    assert_same(whole, ff.train([problem], network, init, method, runs=41, threads=2, **options))
    assert_same(whole, ff.train(problem, network, init, method, runs=[17, 3], **options), [17, 3])
    assert_same(whole, ff.train(problem, network, init, method, runs=[40], **options), [40])
    monkeypatch.setattr(diagonal_group, "ROWS", 5)
    monkeypatch.setattr(diagonal_together, "MEMBERS", 8)
    monkeypatch.setattr(scheduling, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(tracing, "PENDING_BYTES", 1)
    assert_same(whole, ff.train(problem, network, init, method, runs=41, threads=2, **options))


def test_bits_of_inputs_of_any_layout(make_sensing):
    problem = make_sensing(7, 12)
    strided = np.repeat(np.asfortranarray(problem.matrix), 2, axis=1)[:, ::2]
    strided.flags.writeable = False
    method = ff.GradientDescent(0.05, 100, tol=0)
    one, other = (
        ff.train(ff.CompressedSensing(matrix, problem.values), method=method) for matrix in (problem.matrix, strided)
    )
    assert_same(one, other)


def test_going_on_is_never_having_stopped(make_sensing, tmp_path):
    problems = [make_sensing(6, 15, 2) for _ in range(3)]
    network, init = ff.DiagonalLinear(2, identical=False), inits.Uniform(0.5)
    whole = ff.train(problems, network, init, ff.GradientDescent(max_steps=400, tol=1e-6), runs=2)
    part = ff.train(problems, network, init, ff.GradientDescent(max_steps=150, tol=1e-6), runs=2)
    assert_same(whole, ff.train(problems, network, part.last, ff.GradientDescent(max_steps=400, tol=1e-6)))
    loaded = ff.load(part.save(tmp_path / "part"))
    assert_same(whole, ff.train(problems, network, loaded.last, ff.GradientDescent(max_steps=400, tol=1e-6)))


def test_interrupted_and_continued(make_sensing, monkeypatch):
    """Ctrl-C between slices keeps what was done; going on gives the bits of never having stopped."""
    problem, network, method = make_sensing(6, 15), ff.DiagonalLinear(3), ff.GradientDescent(0.01, 500, tol=0)
    whole = ff.train(problem, network, inits.Gaussian(0.5), method, runs=9)
    monkeypatch.setattr(scheduling, "SLICE_SECONDS", 0.0)
    polls = []

    def worker_here(worker, count, on_poll):
        def should_stop():
            polls.append(None)
            if len(polls) == 8:
                raise KeyboardInterrupt
            return False

        worker(should_stop)

    with monkeypatch.context() as patch:
        patch.setattr(scheduling, "run_workers", worker_here)
        with pytest.raises(ff.Interrupted) as caught:
            ff.train(problem, network, inits.Gaussian(0.5), method, runs=9)
    part = caught.value.runs
    assert Status.RUNNING in part.status
    for run in range(9):
        assert part.loss[run] == pytest.approx(problem.loss(part.solution[run]), rel=1e-12)
    assert_same(whole, ff.train(problem, network, part.last, method))


# Ends, records, results


def test_every_end(make_sensing):
    """Converged, stalled at a zero start, diverged, critical: each run its own."""
    problem = make_sensing(6, 10, 1)
    good = ff.train(problem, method=ff.GradientDescent(max_steps=20_000, tol=1e-12))
    assert good.status[0] == Status.CONVERGED
    assert good.loss[0] <= 1e-12
    starts = np.array([np.full(10, 0.1), np.zeros(10), np.full(10, 1e3)])
    runs = ff.train(problem, ff.DiagonalLinear(), inits.Explicit([starts, starts]), ff.GradientDescent(0.1, 300, tol=0))
    assert runs.status.tolist()[1:] == [Status.STALLED, Status.DIVERGED]
    assert runs.steps[1] == 0
    alone = ff.train(problem, ff.DiagonalLinear(), inits.Explicit([starts[0]] * 2), ff.GradientDescent(0.1, 300, tol=0))
    assert_same(runs, alone, [0])
    critical = ff.train(
        problem, ff.DiagonalLinear(), inits.Explicit([starts[1:2]] * 2), ff.GradientDescent(0.1, 300, gradient_tol=1e-9)
    )
    assert critical.status[0] == Status.CRITICAL


@pytest.mark.parametrize("identical", [True, False])
def test_records_against_their_definitions(identical, make_sensing):
    problem, network = make_sensing(10, 20, 3), ff.DiagonalLinear(3, identical=identical)
    record = ff.Record(15, product=True, factors=True)
    runs = ff.train(
        problem, network, inits.Gaussian(0.3), ff.GradientDescent(max_steps=400, tol=0), runs=3, record=record
    )
    h, x = runs.history, runs.history.product
    assert h.singular_values is None
    assert [f.shape for f in h.factors] == [(3, len(h.steps), 20)] * (2 if identical else 6)
    if identical:
        assert h.balancedness is None
    else:
        sides = np.array(h.factors).reshape(2, 3, 3, len(h.steps), 20) ** 2
        defects = np.linalg.norm(sides[:, 1:] - sides[:, :-1], axis=-1)
        np.testing.assert_allclose(h.balancedness, defects.max(axis=(0, 1)), rtol=1e-10)
    np.testing.assert_allclose(h.l1_norm, np.abs(x).sum(-1), rtol=1e-14)
    np.testing.assert_allclose(h.l2_norm, np.sqrt((x**2).sum(-1)), rtol=1e-14)
    np.testing.assert_allclose(
        h.error, np.linalg.norm(x - problem.truth, axis=-1) / np.linalg.norm(problem.truth), rtol=1e-12
    )
    support = np.abs(x) > 1e-3 * np.abs(x).max(-1, keepdims=True)
    np.testing.assert_array_equal(h.support_size, support.sum(-1))
    there = problem.truth != 0
    np.testing.assert_allclose(h.support_recovery, (support & there).sum(-1) / (support | there).sum(-1), rtol=1e-14)
    magnitudes = np.abs(np.prod(h.factors, axis=0)) ** (0.5 if identical else 1 / 6)
    wanted = np.stack([magnitudes.min(-1), np.median(magnitudes, -1), magnitudes.max(-1)], -1)
    np.testing.assert_allclose(h.effective_alpha, wanted, rtol=1e-12)
    for run in range(3):
        np.testing.assert_allclose(h.loss[run], [problem.loss(point) for point in x[run]], rtol=1e-10)
    np.testing.assert_array_equal(x[:, -1], runs.solution)
    taken = sum(getattr(h, name).nbytes for name in h.recorded if name != "factors") + sum(f.nbytes for f in h.factors)
    assert taken == record.nbytes(runs.architecture, 3, 400)


def test_save_load_xarray_summary_and_plot(make_sensing, tmp_path):
    problem = make_sensing(10, 20, 3)
    runs = ff.train(
        problem, ff.DiagonalLinear(2), inits.Gaussian(0.1), ff.GradientDescent(max_steps=200), runs=4, record=RECORD
    )
    loaded = ff.load(runs.save(tmp_path / "diagonal"))
    assert_same(runs, loaded)
    assert loaded.architecture == runs.architecture == Hadamard(20, 2, True, True)
    assert [f.shape for f in loaded.factors] == [(4, 20)] * 2
    summary = runs.summary()
    assert "DiagonalLinear(depth=2" in summary
    assert "CompressedSensing 10 x 20" in summary
    assert "l1 norm" in summary
    assert "support size" in summary
    data = runs.to_xarray()
    assert data["solution"].dims == ("run", "coordinate")
    assert data["history_factor_u"].dims == ("run", "record", "coordinate")
    assert data["history_effective_alpha"].shape == (4, len(runs.history.steps), 3)
    assert data.attrs["depth"] == 2
    labels = [axes.get_ylabel() for axes in runs.plot().axes]
    assert len(labels) == 4
    assert any("norm of x" in label for label in labels)


# Edge and bad input


def test_edge_input(make_sensing, rng):
    """A zero column stays at its start, duplicate rows, one row, one column, a matrix of low rank, values of zero."""
    matrix = rng.standard_normal((4, 6))
    matrix[:, 2] = 0
    sensing, method = ff.CompressedSensing(matrix, np.ones(4)), ff.GradientDescent(max_steps=2000)
    runs = ff.train(sensing, init=ff.inits.Constant(1e-3), method=method)
    assert runs.solution[0, 2] == 0
    assert runs.factors[0][0, 2] == 1e-3
    doubled = ff.CompressedSensing(np.vstack([matrix, matrix]), np.ones(8))
    assert doubled.prefers_gram
    once = ff.train(
        ff.CompressedSensing(np.sqrt(2) * matrix, np.full(4, np.sqrt(2))), method=ff.GradientDescent(0.01, 500)
    )
    twice = ff.train(doubled, method=ff.GradientDescent(0.01, 500))
    np.testing.assert_allclose(twice.solution, once.solution, rtol=0, atol=1e-9)
    low_rank = np.outer(rng.standard_normal(7), rng.standard_normal(5))
    inconsistent = ff.CompressedSensing(low_rank, rng.standard_normal(7))
    runs = ff.train(inconsistent, ff.DiagonalLinear(), method=ff.GradientDescent(max_steps=20_000))
    least = (
        0.5
        * np.linalg.norm(low_rank @ np.linalg.lstsq(low_rank, inconsistent.values, rcond=None)[0] - inconsistent.values)
        ** 2
    )
    assert runs.loss[0] == pytest.approx(least, rel=1e-6)
    for shape in ((1, 5), (5, 1), (1, 1)):
        problem = ff.CompressedSensing(np.ones(shape), np.ones(shape[0]))
        assert ff.train(problem, method=ff.GradientDescent(max_steps=5000)).status[0] == Status.CONVERGED
    zero = ff.CompressedSensing(matrix, np.zeros(4))
    with pytest.raises(ValueError, match=r"solution x = 0, .* give a step"):
        ff.train(zero)
    runs = ff.train(zero, method=ff.GradientDescent(0.1, 100, tol=0))
    assert np.all(runs.solution == 0)


EYE = np.eye(3)


def sensing(**options):
    return ff.CompressedSensing(EYE, np.ones(3), **options)


BAD = [
    (lambda: ff.CompressedSensing(np.ones(3), np.ones(3)), ValueError, r"matrix must have 2 dimension\(s\)"),
    (lambda: ff.CompressedSensing(EYE, np.ones(4)), ValueError, "one entry for each of the 3 rows of matrix"),
    (lambda: ff.CompressedSensing(EYE * np.nan, np.ones(3)), ValueError, "matrix must be finite, got nan"),
    (lambda: ff.CompressedSensing(EYE, [1.0, np.nan, 0.0]), ValueError, "values must be finite, got nan"),
    (lambda: ff.CompressedSensing(np.zeros((0, 3)), []), ValueError, "matrix is empty"),
    (lambda: sensing(truth=np.ones(4)), ValueError, r"truth must have the shape \(3,\) of x, got \(4,\)"),
    (lambda: sensing(truth=np.zeros(3)), ValueError, "truth is the zero vector"),
    (lambda: sensing().loss(np.ones(4)), ValueError, r"x must have shape \(3,\), got \(4,\)"),
    (lambda: ff.DiagonalLinear(0), ValueError, "depth must be at least 1, got 0"),
    (lambda: ff.DiagonalLinear(9), ValueError, "depth of a DiagonalLinear network must be at most 8, got 9"),
    (lambda: ff.DiagonalLinear(signed=1), TypeError, "signed must be True or False, got 1"),
    (lambda: inits.Constant(0), ValueError, "scale must be greater than 0, got 0"),
    (lambda: inits.Constant(-1e-3), ValueError, "scale must be greater than 0"),
    (lambda: inits.Constant([0.1, -0.1]), ValueError, "every entry of scale must be at least 0, got -0.1"),
    (lambda: inits.Constant(0.1, negative=-1), ValueError, "negative must be at least 0"),
    (lambda: inits.Constant(0.1, of="both"), ValueError, "of must be one of 'factor', 'product'"),
    (lambda: inits.Constant("small"), TypeError, "scale must be a number"),
    (
        lambda: ff.train(sensing(), init=inits.Constant([0.1] * 4)),
        ValueError,
        r"scale must be a number or have the shape \(3,\)",
    ),
    (
        lambda: ff.train(sensing(), ff.DiagonalLinear(signed=False), inits.Constant(0.1, negative=0.1)),
        ValueError,
        "signed=False",
    ),
    (lambda: ff.train(sensing(), init=inits.Constant(0.1), runs=2), ValueError, "all runs would be equal: runs=1"),
    (lambda: ff.train(sensing(), ff.DeepLinear(2)), TypeError, "CompressedSensing needs a DiagonalLinear network"),
    (
        lambda: ff.train(ff.MatrixEstimation(EYE), ff.DiagonalLinear()),
        TypeError,
        "MatrixEstimation needs a DeepLinear network",
    ),
    (
        lambda: ff.train(ff.LinearRegression(EYE, EYE, samples="columns"), ff.DiagonalLinear()),
        ValueError,
        "one output, got 3 outputs",
    ),
    (
        lambda: ff.train(sensing(), init=inits.Identity()),
        TypeError,
        "Identity does not start a DiagonalLinear network; of fastflow.inits Gaussian, Uniform, Constant",
    ),
    (
        lambda: ff.train(ff.MatrixEstimation(EYE), init=inits.Constant()),
        TypeError,
        "Constant does not start a DeepLinear network",
    ),
    (
        lambda: ff.train(sensing(), init=inits.Explicit([np.ones(3)])),
        ValueError,
        r"shapes \[\(3,\)\], the network needs \[\(3,\), \(3,\)\]",
    ),
    (lambda: ff.train(sensing(), init=inits.Explicit([np.ones(4)] * 2)), ValueError, "factors given have shapes"),
    (
        lambda: ff.train([ff.CompressedSensing(np.ones((m, 9)), np.ones(m)) for m in (2, 3)]),
        ValueError,
        "same number of measurements",
    ),
    (lambda: ff.train([sensing(), ff.CompressedSensing(np.eye(4), np.ones(4))]), ValueError, "one class and shape"),
    (lambda: ff.metrics.effective_alpha([np.ones(3)] * 3, 2), ValueError, "has 2 or 4 vectors, got 3"),
    (lambda: ff.metrics.support_recovery(np.ones(3), np.ones(4)), ValueError, "same length"),
    (lambda: ff.metrics.l1_norm(2.0), ValueError, "expected a vector"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[case[2][:40] for case in BAD])
def test_bad_input(call, error, message, monkeypatch):
    def work(*arguments):
        raise AssertionError("work was done before the input was checked")

    monkeypatch.setattr(Execution, "run", work)
    with pytest.raises(error, match=message) as caught:
        call()
    assert len(str(caught.value)) < 300


# Starts


def test_scale_of_starts(rng):
    """``E ||u_1 o ... o u_L||^2 = scale^2 n`` by the product, N(0, scale^2) and U(-scale, scale) by the factor."""
    for identical in (True, False):
        form = Hadamard(20_000, 3, True, identical)
        for init in (inits.Gaussian(0.3), inits.Uniform(0.3)):
            for side in sides_of(init.draw(form, rng), 3, True):
                energies = np.prod(side, axis=0) ** 2
                assert abs(energies.mean() - 0.09) < 5 * energies.std() / np.sqrt(energies.size)
        for vector in inits.Gaussian(0.3, of="factor").draw(form, rng):
            assert abs(np.mean(vector**2) / 0.09 - 1) < 5 * np.sqrt(2 / vector.size)
            assert (vector.min() >= 0) == identical
        for vector in inits.Uniform(0.3, of="factor").draw(form, rng):
            assert 0.299 < np.abs(vector).max() <= 0.3
    form = Hadamard(3, 4, True, True)
    u, v = inits.Constant(0.3, of="product", negative=[0.1, 0.2, 0.4]).draw(form, rng)
    np.testing.assert_allclose(u**4, 0.3)
    np.testing.assert_allclose(v**4, [0.1, 0.2, 0.4])
    assert inits.Gaussian(1.0).draw(Hadamard(100, 1, False, True), rng)[0].min() < 0


def test_depths_of_identical_factors_share_their_starts():
    problem, method = ff.CompressedSensing(np.eye(5), np.ones(5)), ff.GradientDescent(0.1, 0)
    starts = [
        ff.train(problem, ff.DiagonalLinear(depth), inits.Gaussian(0.5, of="factor"), method, runs=3).factors
        for depth in (2, 3, 7)
    ]
    for other in starts[1:]:
        np.testing.assert_array_equal(starts[0], other)


@pytest.mark.parametrize("shape", [(1, 5), (21, 40), (70, 152), (150, 1030)])
def test_runs_that_go_over_the_rows_of_a_large_matrix_together_have_the_bits_of_each_alone(
    rng, dtype, monkeypatch, shape
):
    matrix, values = rng.standard_normal(shape) / np.sqrt(shape[0]), rng.standard_normal(shape[0])
    problem = ff.CompressedSensing(matrix, values)
    words = (problem, ff.DiagonalLinear(2), ff.inits.Uniform(0.1), ff.GradientDescent(1e-2, 30))
    made = []

    def make(*given):
        made.append(make_diagonal_group(*given))
        return made[-1]

    packed = ff.train(*words, runs=7, dtype=dtype, threads=1)
    monkeypatch.setattr(diagonal_together, "make_diagonal_group", make)
    for module in (compressed, diagonal_group, shared_matrix):  # the rows lie as the user has them, in no whole lines
        monkeypatch.setattr(module, "LARGE", 0)
    together = ff.train(*words, runs=7, dtype=dtype, threads=1)
    assert [group.run.size for group in made] == [7]
    alone = ff.train(*words, runs=1, dtype=dtype, threads=1)
    np.testing.assert_array_equal(together.solution, packed.solution)
    np.testing.assert_array_equal(together.loss, packed.loss)
    np.testing.assert_array_equal(together.solution[:1], alone.solution)


@pytest.mark.parametrize("shape", [(1, 5), (21, 40), (70, 152), (300, 77)])
def test_a_large_matrix_is_packed_some_rows_at_a_time_with_the_same_bits(rng, dtype, monkeypatch, shape):
    matrix, values = rng.standard_normal(shape) / np.sqrt(shape[0]), rng.standard_normal(shape[0])
    problem = ff.CompressedSensing(matrix.astype(dtype), values.astype(dtype))
    methods = [ff.GradientDescent(1e-2, 30)]
    if dtype == np.float64:
        kinds = ff.Adam, ff.LayerwiseDescent, ff.SharpnessAware, ff.NormalizedDescent, ff.StochasticGradientDescent
        methods += [kind(1e-2, max_steps=30) for kind in kinds]
    words, record = (problem, ff.DiagonalLinear(2), ff.inits.Uniform(0.1)), ff.Record(4)
    monkeypatch.setattr(CompressedSensing, "prefers_gram", False)
    packed = [ff.train(*words, method, runs=21, dtype=dtype, record=record) for method in methods]
    for module in (compressed, shared_matrix):
        monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(panels, "PACKED_SHARE", 5)
    data = CompressedSensing.kernel_data([problem], dtype, shared=True)
    assert not data.panels.size
    assert np.shares_memory(data.matrix, problem.matrix)
    for method, whole in zip(methods, packed, strict=True):
        by_turns = ff.train(*words, method, runs=21, dtype=dtype, record=record)
        for name in ("solution", "loss", "status", "flat_factors"):
            np.testing.assert_array_equal(getattr(by_turns, name), getattr(whole, name), f"{method.label}, {name}")
        for name in ("loss", "gradient_norm"):
            of_both = getattr(by_turns.history, name), getattr(whole.history, name)
            np.testing.assert_array_equal(*of_both, f"{method.label}, {name}")


def test_few_runs_go_over_the_rows_of_a_large_matrix(rng, monkeypatch):
    problem = ff.CompressedSensing(rng.standard_normal((20, 40)), rng.standard_normal(20))
    assert problem.is_worth_sharing(2)
    monkeypatch.setattr(compressed, "LARGE", 0)
    assert [problem.is_worth_sharing(runs) for runs in (8, 9)] == [False, True]


@pytest.mark.parametrize("shape", [(40, 40), (90, 10), (101, 10)])
def test_a_large_matrix_gets_no_large_gram_matrix(rng, monkeypatch, shape):
    """It would take memory beside it; without one, descent comes to the same."""
    matrix, values = rng.standard_normal(shape) / np.sqrt(shape[0]), rng.standard_normal(shape[0])
    vectors = ff.CompressedSensing(matrix, values), ff.DiagonalLinear(2)
    matrices = ff.LinearRegression(matrix.T, values[None], samples="columns"), ff.DeepLinear(1)
    method = ff.GradientDescent(1e-2, 50)
    assert vectors[0].prefers_gram
    small = [ff.train(*words, ff.inits.Gaussian(0.1), method, 20) for words in (vectors, matrices)]
    for module in (gram, compressed, shared_matrix):
        monkeypatch.setattr(module, "LARGE", 0)
    for (problem, network), before in zip((vectors, matrices), small, strict=True):
        assert problem.prefers_gram == (shape[0] > 10 * shape[1])
        large = ff.train(problem, network, ff.inits.Gaussian(0.1), method, 20)
        np.testing.assert_allclose(large.solution, before.solution, rtol=0, atol=1e-12)
        np.testing.assert_allclose(large.loss, before.loss, rtol=1e-12)
        np.testing.assert_array_equal(large.status, before.status)
