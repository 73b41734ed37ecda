"""Baselines where A is known by its products: against the dense solvers, and against what optimality asks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.linalg import aslinearoperator

import fastflow as ff
from fastflow import baselines

FITS, GAP = 1e-9, 1e-8


def measured(rng, n=64, m=20, entries=4, signed=True):
    """Partial Fourier measurements of a sparse vector, and their dense real form."""
    operator = ff.operators.PartialFourier(n, rng.permutation(n)[:m])
    truth = np.zeros(n)
    truth[rng.permutation(n)[:entries]] = rng.uniform(0.5, 2, entries) * (rng.choice([-1, 1], entries) if signed else 1)
    return operator, operator.forward(np.eye(n)).T, truth


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("nonnegative", [False, True])
def test_basis_pursuit_is_that_of_the_dense_program(nonnegative, weighted, rng):
    """Above the transition the truth, below it a vertex with the least norm; a warning would be an error here."""
    for entries in (3, 20):
        operator, dense, truth = measured(rng, entries=entries, signed=not nonnegative)
        weights = rng.uniform(0.5, 2, 64) if weighted else None
        x = baselines.basis_pursuit(operator, operator @ truth, weights, nonnegative)
        values = dense @ truth
        expected = baselines.basis_pursuit(dense, values, weights, nonnegative)
        cost = np.ones(64) if weights is None else weights
        assert np.linalg.norm(dense @ x - values) <= FITS * np.linalg.norm(values)
        assert cost @ np.abs(x) == pytest.approx(cost @ np.abs(expected), rel=GAP)
        assert not (nonnegative and (x < 0).any())
        if entries == 3:
            np.testing.assert_allclose(x, truth, rtol=0, atol=1e-8)


def test_what_no_x_fits_is_refused(rng):
    operator = ff.operators.PartialCosine(12, np.arange(12))
    with pytest.raises(ValueError, match=r"no x >= 0 fits the values.*what nonnegative_least_squares finds"):
        baselines.basis_pursuit(operator, operator @ -np.ones(12), nonnegative=True)
    tall = aslinearoperator(rng.standard_normal((9, 4)))
    with pytest.raises(ValueError, match="no x fits the values"):
        baselines.basis_pursuit(tall, rng.standard_normal(9))


@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_lasso_is_that_of_the_dense_solver(nonnegative, rng):
    operator, dense, truth = measured(rng)
    values = dense @ truth
    path = baselines.lasso_path(operator, operator @ truth, [1.0, 0.1, 0.01], nonnegative, tol=1e-11)
    expected = baselines.lasso_path(dense, values, [1.0, 0.1, 0.01], nonnegative, tol=1e-12, max_steps=10**6)
    assert (path.gaps <= 1e-11 * (values @ values)).all()
    for level, x, other in zip(path.penalties, path.solutions, expected.solutions, strict=True):
        reached, least = (0.5 * np.sum((dense @ z - values) ** 2) + level * np.abs(z).sum() for z in (x, other))
        assert reached == pytest.approx(least, abs=2e-11 * (values @ values))
    whole = baselines.lasso_path(operator, operator @ truth, nonnegative=nonnegative)
    assert whole.penalties.shape == (100,)
    assert not whole.solutions[0].any()
    with pytest.warns(UserWarning, match=r"came to a duality gap of .* steps, not to 1e-08"):
        baselines.lasso_path(operator, operator @ truth, [1e-3], nonnegative, max_steps=1)


def optimal(matrix, values, x):
    """Whether x >= 0 is of least ``||A x - y||``, as `nonnegative_least_squares` states."""
    slopes = matrix.T @ (matrix @ x - values) / np.linalg.norm(matrix, axis=0) / np.linalg.norm(values)
    return (x >= 0).all() and slopes.min() >= -FITS and np.abs(slopes[x > 0]).max(initial=0) <= FITS


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (30, 30)])
def test_nonnegative_least_squares_by_the_flow_is_optimal(shape, rng):
    """Of Gaussian and of positive columns, with noise, without it, and where x = 0 is best."""
    for positive in (False, True):
        matrix = rng.standard_normal(shape)
        matrix = np.abs(matrix) if positive else matrix
        fitting = matrix @ np.maximum(rng.standard_normal(shape[1]), 0)
        for values in (fitting, fitting + rng.standard_normal(shape[0])):
            x = baselines.nonnegative_least_squares(matrix, values, method="flow")
            assert optimal(matrix, values, x)
            by_sets = baselines.nonnegative_least_squares(matrix, values)
            assert np.linalg.norm(matrix @ x - values) == pytest.approx(
                np.linalg.norm(matrix @ by_sets - values), abs=1e-7 * np.linalg.norm(values)
            )
        assert not baselines.nonnegative_least_squares(np.abs(matrix), -np.abs(fitting) - 1, method="flow").any()


def test_nonnegative_least_squares_of_operators(rng):
    operator, dense, truth = measured(rng, signed=False)
    fitting = baselines.nonnegative_least_squares(operator, operator @ truth)
    assert optimal(dense, dense @ truth, fitting)
    noisy = dense @ truth + 0.1 * rng.standard_normal(len(dense))
    problem = ff.CompressedSensing(operator, noisy)
    x = baselines.NonnegativeLeastSquares().solve(problem)
    assert optimal(dense, noisy, x)
    for ask in (
        baselines.NonnegativeLeastSquares("active-set").check,
        baselines.NonnegativeLeastSquares("active-set").solve,
    ):
        with pytest.raises(ValueError, match="needs all entries of A"):
            ask(problem)
    with pytest.raises(ValueError, match='take method="flow"'):
        baselines.nonnegative_least_squares(operator, operator @ truth, method="active-set")


def test_least_squares_of_operators_are_those_of_their_dense_forms(rng):
    operator, dense, truth = measured(rng)
    noisy, weights = dense @ truth + 0.1 * rng.standard_normal(len(dense)), rng.uniform(0.5, 2, 64)
    problem, plain = (ff.CompressedSensing(a, noisy, truth=truth) for a in (operator, dense))
    for baseline in (baselines.LeastNorm(), baselines.LeastNorm(weights), baselines.OracleLeastSquares()):
        baseline.check(problem)
        np.testing.assert_allclose(baseline.solve(problem), baseline.solve(plain), rtol=0, atol=1e-8)


def test_baselines_of_operators_in_a_study():
    study = ff.Study(
        ff.ensembles.Sparse(n=64, sparsity=3, matrix="cosine", coefficients="positive"),
        method=baselines.NonnegativeLeastSquares(),
        axes={"m": [8, 24]},
        trials=2,
        seed=1,
    )
    result = study.run(threads=1)
    assert set(result.to_dataframe().status) == {ff.Status.CONVERGED}
