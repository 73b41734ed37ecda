"""Limits of flows where A is known by its products: those of the dense solvers, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import fastflow as ff

CONVERGED, INACCURATE = ff.Status.CONVERGED, ff.Status.INACCURATE
ROWS = {"fourier": (64, 14), "cosine": (48, 20), "circulant": (31, 12)}


def posed(rng, kind, noise=0.0):
    """A problem of a sparse vector, and its real form as arrays."""
    n, m = ROWS[kind]
    rows = rng.permutation(n)[:m]
    if kind == "circulant":
        operator = ff.operators.Circulant(rng.standard_normal(n) / 4, rows)
    else:
        operator = {"fourier": ff.operators.PartialFourier, "cosine": ff.operators.PartialCosine}[kind](n, rows)
    truth = np.zeros(n)
    truth[rng.permutation(n)[:3]] = 1.0, 2.0, 0.5
    values = operator.forward(truth[None])[0] + noise * rng.standard_normal(operator.rows)
    return ff.CompressedSensing(operator, values, truth=truth), operator.forward(np.eye(n)).T, values


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kind", ROWS)
def test_the_limit_is_that_of_the_dense_solver(kind, depth, rng):
    problem, matrix, values = posed(rng, kind)
    for signed in (True, False):
        for alpha in (0.3, 1e-2, 1e-4):
            network = ff.DiagonalLinear(depth, signed=signed)
            runs = ff.train(problem, network, ff.inits.Constant(alpha, of="factor"), ff.FlowLimit(tol=1e-9))
            dense = ff.flow_limit(matrix, values, alpha, depth, signed=signed)
            assert runs.status[0] == CONVERGED
            assert np.sqrt(2 * runs.loss[0]) <= 1e-9 * np.linalg.norm(values)
            np.testing.assert_allclose(runs.solution[0], dense.x, rtol=0, atol=1e-7 * np.abs(dense.x).max())
            factors = [factor[0] for factor in runs.factors]
            product = factors[0] ** depth - (factors[1] ** depth if signed else 0)
            np.testing.assert_allclose(product, runs.solution[0], rtol=0, atol=1e-12)


def test_starts_that_differ_and_those_that_are_0(rng):
    problem, matrix, values = posed(rng, "fourier")
    up, down = rng.uniform(0.05, 0.2, (2, 64))
    down[:5] = 0
    runs = ff.train(problem, ff.DiagonalLinear(2), ff.inits.Explicit([up, down]), ff.FlowLimit(tol=1e-9))
    dense = ff.flow_limit(matrix, values, up, 2, negative=down)
    assert runs.status[0] == CONVERGED
    np.testing.assert_allclose(runs.solution[0], dense.x, rtol=0, atol=1e-7)
    network = ff.DiagonalLinear(2, identical=False)
    init = ff.inits.Uniform(0.1, of="factor")
    independent = ff.train(problem, network, init, ff.FlowLimit(tol=1e-9), 2)
    expected = ff.train(ff.CompressedSensing(matrix, values), network, init, ff.FlowLimit(), 2)
    np.testing.assert_allclose(independent.solution, expected.solution, rtol=0, atol=1e-7)


def test_what_no_x_reaches_is_left_out(rng):
    """More real measurements than unknowns, with noise: the limit is that of least squares, and so is its residual."""
    operator = ff.operators.PartialFourier(9, np.arange(9))
    truth = np.zeros(9)
    truth[3] = 1
    values = operator.forward(truth[None])[0] + 0.1 * rng.standard_normal(18)
    problem = ff.CompressedSensing(operator, values)
    runs = ff.train(problem, ff.DiagonalLinear(2), ff.inits.Constant(0.1, of="factor"), ff.FlowLimit(tol=1e-8))
    assert runs.status[0] == CONVERGED
    np.testing.assert_allclose(runs.solution[0], problem.least_squares(), rtol=0, atol=1e-7)
    nowhere = ff.CompressedSensing(operator, -values)  # of which no x >= 0 is a limit with a small residual
    runs = ff.train(nowhere, ff.DiagonalLinear(2, signed=False), ff.inits.Constant(0.1), ff.FlowLimit())
    assert runs.status[0] == INACCURATE


def test_what_is_not_reached_is_not_said_to_be(rng):
    problem, _, values = posed(rng, "cosine")
    start = ff.inits.Constant(1e-4, of="factor")
    short = ff.train(problem, ff.DiagonalLinear(2), start, ff.FlowLimit(max_steps=3))
    assert (short.status[0], short.steps[0]) == (INACCURATE, 3)
    small = ff.train(problem, ff.DiagonalLinear(3), ff.inits.Constant(1e-12, of="factor"), ff.FlowLimit())
    reached = np.sqrt(2 * small.loss[0]) <= 1e-10 * np.linalg.norm(values)
    assert (small.status[0] == CONVERGED) <= reached


def test_bits_of_limits_depend_on_no_threads_and_no_company(rng):
    problem, _, _ = posed(rng, "fourier")
    init = ff.inits.Uniform(0.1, of="factor")
    whole = ff.train(problem, ff.DiagonalLinear(2), init, ff.FlowLimit(), 3, threads=2)
    alone = ff.train(problem, ff.DiagonalLinear(2), init, ff.FlowLimit(), [2], threads=1)
    np.testing.assert_array_equal(alone.solution[0], whole.solution[2])
    np.testing.assert_array_equal(alone.flat_factors[0], whole.flat_factors[2])


def test_what_an_operator_raises_and_nan_in_a_search(rng):
    matrix = rng.standard_normal((6, 12))
    calls = []

    def product(x):
        calls.append(1)
        if len(calls) == 30:
            raise OSError("gone")
        return matrix @ x

    once = LinearOperator((6, 12), product, rmatvec=lambda r: matrix.T @ r, dtype=float)
    init, method = ff.inits.Uniform(0.1, of="factor"), ff.FlowLimit()
    problem = ff.CompressedSensing(once, np.ones(6))
    with pytest.raises(ff.OperatorError, match="raised OSError: gone") as caught:
        ff.train(problem, ff.DiagonalLinear(2), init, method, 4, threads=1)
    assert ff.Status.RUNNING in caught.value.runs.status
    expected = ff.train(
        ff.CompressedSensing(aslinearoperator(matrix), np.ones(6)), ff.DiagonalLinear(2), init, method, 4
    )
    np.testing.assert_array_equal(ff.train(problem, ff.DiagonalLinear(2), init, method, 4).solution, expected.solution)
    wrong = LinearOperator(
        (6, 12),
        lambda x: matrix @ x * (np.nan if len(calls) > 10**6 else 1),
        rmatvec=lambda r: matrix.T @ r,
        dtype=float,
    )
    problem = ff.CompressedSensing(wrong, np.ones(6))
    calls.extend([1] * 10**6)
    runs = ff.train(problem, ff.DiagonalLinear(2), init, method, 1)
    assert runs.status[0] == ff.Status.DIVERGED
    assert np.isnan(runs.solution).all()


@pytest.mark.parametrize(("depth", "alpha", "signed"), [(3, 1e-6, True), (3, 1e-6, False), (4, 1e-5, True)])
def test_limits_from_small_starts_at_greater_depths(depth, alpha, signed, rng):
    """Where curvatures differ by more than floats can tell the support of basis pursuit leads to the dense limit."""
    n, m = 128, 32
    operator = ff.operators.PartialFourier(n, rng.permutation(n)[:m])
    truth = np.zeros(n)
    truth[rng.permutation(n)[:4]] = 1.0, 2.0, 0.5, 1.5
    problem = ff.CompressedSensing(operator, operator @ truth)
    network = ff.DiagonalLinear(depth, signed=signed)
    runs = ff.train(problem, network, ff.inits.Constant(alpha, of="factor"), ff.FlowLimit())
    dense = ff.flow_limit(operator.forward(np.eye(n)).T, problem.values, alpha, depth, signed=signed)
    assert (runs.status[0], dense.status) == (CONVERGED, CONVERGED)
    np.testing.assert_allclose(runs.solution[0], dense.x, rtol=0, atol=1e-7)
