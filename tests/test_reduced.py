"""Tall least squares by blocks of rows: the normal equations of the whole, at any condition, and nothing copied."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import fastflow as ff
from fastflow.problems import reduced
from fastflow.problems.gram import regression_by_gram
from fastflow.problems.least_squares import singular_values, solve_least_squares

EPS = np.finfo(float).eps


@pytest.mark.parametrize("shape", [(40, 7), (700, 7), (7, 7), (5, 9), (3, 1)])
def test_reduced_equations_have_the_loss_of_all(shape, rng, monkeypatch):
    monkeypatch.setattr(reduced, "BLOCK", 100)
    monkeypatch.setattr(reduced, "ROWS", 3)
    (m, n), k = shape, 2
    matrix, values, x = rng.standard_normal((m, n)), rng.standard_normal((m, k)), rng.standard_normal((n, k))
    found = reduced.reduced(matrix, values)
    assert not np.tril(found.root, -1).any()
    loss = np.sum((found.root @ x - found.seen) ** 2) + found.rest
    assert loss == pytest.approx(np.sum((matrix @ x - values) ** 2), rel=100 * m * EPS)


@pytest.mark.parametrize("weakest", [1.0, 1e-7, 1e-13, 0.0])
def test_tall_least_squares_are_those_of_a_decomposition(weakest, rng):
    left, right = np.linalg.qr(rng.standard_normal((300, 6)))[0], np.linalg.qr(rng.standard_normal((6, 6)))[0]
    sizes = np.array([1, 1, 1, 1, 1, weakest])
    matrix, values = (left * sizes) @ right.T, rng.standard_normal(300)
    solution, rank = solve_least_squares(matrix, values)
    wanted, _, wanted_rank, _ = np.linalg.lstsq(matrix, values, rcond=None)
    assert rank == wanted_rank == 6 - (weakest < 300 * EPS)
    # A direction of size s errs by eps / s relative to what it carries, which is itself 1 / s.
    weak = max(weakest, 300 * EPS) if rank == 6 else 1.0
    np.testing.assert_allclose(solution, wanted, rtol=0, atol=1e3 * EPS / weak**2)
    np.testing.assert_allclose(singular_values(matrix), np.linalg.svd(matrix, compute_uv=False), rtol=0, atol=1e2 * EPS)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gram_matrices_by_blocks_are_exact_where_numbers_are(dtype, rng, monkeypatch):
    monkeypatch.setattr(reduced, "BLOCK", 200)
    monkeypatch.setattr(reduced, "ROWS", 3)
    inputs = rng.integers(-5, 6, (70, 400)).astype(dtype)
    (gram,) = regression_by_gram([(inputs, np.ones((1, 400), dtype))], dtype).gram
    np.testing.assert_array_equal(gram.reshape(70, 70), inputs @ inputs.T)


def posed(kind, rng):
    """A problem with 8 MB of data that many equations determine."""
    if kind == "sensing":
        operators = rng.standard_normal((20000, 10, 5))
        operators.flags.writeable = False
        return ff.MatrixSensing(operators, rng.standard_normal(20000)), operators.reshape(20000, 50)
    data = rng.standard_normal((20000, 50) if kind == "compressed" else (50, 20000))
    data.flags.writeable = False
    if kind == "compressed":
        return ff.CompressedSensing(data, rng.standard_normal(20000)), data
    return ff.LinearRegression(data, rng.standard_normal((1, 20000)), samples="columns"), data.T


@pytest.mark.parametrize("kind", ["sensing", "compressed", "regression"])
def test_what_is_asked_of_tall_problems_copies_no_data(kind, rng, monkeypatch):
    monkeypatch.setattr(reduced, "BLOCK", 2**15)
    problem, matrix = posed(kind, rng)
    values = problem.outputs[0] if kind == "regression" else problem.values
    tracemalloc.start()
    least = problem.least_loss() if kind == "compressed" else problem.least_loss(5)
    if kind != "compressed":
        problem.spectrum()
    if kind != "sensing":
        problem.kernel_data([problem], np.float64)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    residual = matrix @ np.linalg.lstsq(matrix, values, rcond=None)[0] - values
    assert least == pytest.approx(0.5 * residual @ residual, rel=1e-11)
    assert taken < 0.3 * matrix.nbytes
