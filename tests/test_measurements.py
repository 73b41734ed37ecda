"""Measurements as the field has them: complex ones of a real unknown."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff


def complex_normal(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def test_complex_measurements_have_the_gradient_of_their_real_part(rng):
    """``Re(A^H (A x - y))``, and ``1/2 sum |r_i|^2``; W likewise."""
    matrix, values, x = complex_normal(rng, 4, 7), complex_normal(rng, 4), rng.standard_normal(7)
    problem, residual = ff.CompressedSensing(matrix, values), matrix @ x - values
    assert problem.residual_count == 8
    np.testing.assert_allclose(problem.residual(x), [*residual.real, *residual.imag], rtol=0, atol=1e-14)
    assert problem.loss(x) == pytest.approx(0.5 * np.sum(np.abs(residual) ** 2), rel=1e-14)
    np.testing.assert_allclose(problem.gradient(x), (matrix.conj().T @ residual).real, rtol=0, atol=1e-13)
    mean = ff.CompressedSensing(matrix, values, normalization="mean")
    assert mean.loss(x) == pytest.approx(np.mean(mean.residual(x) ** 2), rel=1e-14)
    operators, product = matrix.reshape(4, 1, 7), x[None]
    sensing = ff.MatrixSensing(operators, values)
    assert sensing.shape == (1, 7)
    np.testing.assert_allclose(sensing.gradient(product)[0], problem.gradient(x), rtol=0, atol=1e-13)


def test_descent_on_complex_measurements_is_that_of_the_formula(rng):
    """50 steps in complex arithmetic; a forgotten ``Re`` would leave the real numbers."""
    matrix, values = complex_normal(rng, 3, 8) / 4, complex_normal(rng, 3)
    step, u, v = 0.05, np.full(8, 0.3), np.full(8, 0.3)
    method = ff.GradientDescent(step, 50, tol=0.0)
    runs = ff.train(
        ff.CompressedSensing(matrix, values), ff.DiagonalLinear(2), ff.inits.Constant(0.3, of="factor"), method
    )
    for _ in range(50):
        gradient = (matrix.conj().T @ (matrix @ (u**2 - v**2) - values)).real
        u, v = u - step * gradient * u, v + step * gradient * v
    np.testing.assert_allclose(runs.solution[0], u**2 - v**2, rtol=0, atol=1e-13)


def test_complex_measurements_are_kept_once_in_real_form(rng):
    matrix, values = complex_normal(rng, 3, 5).astype(np.complex64), complex_normal(rng, 3).astype(np.complex64)
    problem = ff.CompressedSensing(matrix, values)
    assert problem.matrix.dtype == np.float32
    np.testing.assert_array_equal(problem.matrix, [*matrix.real, *matrix.imag])
    assert problem.matrix.flags.owndata
    assert not problem.matrix.flags.writeable
    assert problem == ff.CompressedSensing(np.vstack([matrix.real, matrix.imag]), np.r_[values.real, values.imag])


def test_an_array_that_nobody_can_write_is_taken_as_it_is(rng):
    """Read-only, in C order, and the owner of its memory; a view of what can be written is copied."""
    matrix = rng.standard_normal((3, 5))
    view = matrix[:]
    view.flags.writeable = False
    assert not np.shares_memory(ff.CompressedSensing(view, np.ones(3)).matrix, matrix)
    assert not np.shares_memory(ff.CompressedSensing(matrix, np.ones(3)).matrix, matrix)
    matrix.flags.writeable = False
    assert ff.CompressedSensing(matrix, np.ones(3)).matrix is matrix


@pytest.mark.parametrize(
    ("matrix", "values", "error", "words"),
    [
        (np.eye(2) * 1j, np.ones(2), TypeError, r"matrix is complex and values are real: give .astype\(complex\)"),
        (np.eye(2), np.ones(2) * 1j, TypeError, "values are complex and matrix is real, .* give .real"),
        (np.eye(2) * 1j, np.ones(3) * 1j, ValueError, r"each of the 2 rows of matrix, got shape \(3,\)"),
        (np.eye(2) * complex(0, np.nan), np.ones(2) * 1j, ValueError, "matrix must be finite"),
        (np.ones(2) * 1j, np.ones(2) * 1j, ValueError, "2 dimension"),
    ],
)
def test_complex_and_real_are_not_mixed(matrix, values, error, words):
    with pytest.raises(error, match=words):
        ff.CompressedSensing(matrix, values)
