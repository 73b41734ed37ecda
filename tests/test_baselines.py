"""Baselines: optimality conditions with certificates of their own, closed forms, and what no solution has."""

from __future__ import annotations

import re
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize

import fastflow as ff
from fastflow import baselines, theory
from fastflow.streams import Streams
from fastflow.studies.setup import problem_key

GAP = 1e-8
A23, Y2 = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]), np.array([1.0, 2.0])
NAN = np.nan


def sparse_system(rng, m, n, s, nonnegative=False):
    matrix, truth = rng.standard_normal((m, n)) / np.sqrt(m), np.zeros(n)
    truth[rng.permutation(n)[:s]] = rng.exponential(size=s) if nonnegative else rng.standard_normal(s)
    return matrix, matrix @ truth, truth


def dual_bound(matrix, values, weights, nonnegative):
    """``max <y, lam>`` subject to ``A^T lam <= w``, in absolute value unless nonnegative: a program of its own."""
    rows = matrix.T if nonnegative else np.vstack([matrix.T, -matrix.T])
    limits = weights if nonnegative else np.concatenate([weights, weights])
    result = scipy.optimize.linprog(-values, A_ub=rows, b_ub=limits, bounds=(None, None), method="highs-ipm")
    assert result.status == 0
    return result.x, values @ result.x


# Vectors


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("m", "n"), [(1, 6), (3, 8), (20, 50), (20, 21), (7, 7)])
def test_basis_pursuit_is_optimal(m, n, weighted, nonnegative, rng):
    """Feasible, and complementary to a feasible point of the dual program of the same value."""
    matrix, values, _ = sparse_system(rng, m, n, max(1, m), nonnegative)
    weights = rng.uniform(0.2, 3, n) if weighted else np.ones(n)
    x = baselines.basis_pursuit(matrix, values, weights if weighted else None, nonnegative)
    assert np.linalg.norm(matrix @ x - values) <= 1e-12 * np.linalg.norm(values)
    assert not nonnegative or (x >= 0).all()
    lam, bound = dual_bound(matrix, values, weights, nonnegative)
    slopes = (matrix.T @ lam) / weights
    assert np.max(slopes if nonnegative else np.abs(slopes)) <= 1 + GAP
    assert weights @ np.abs(x) == pytest.approx(bound, rel=GAP)
    np.testing.assert_allclose(slopes[x != 0], np.sign(x[x != 0]), rtol=0, atol=1e-6)
    assert np.count_nonzero(x) <= m


@pytest.mark.parametrize("nonnegative", [False, True])
def test_basis_pursuit_recovers_sparse_vectors_above_the_transition(nonnegative, rng):
    """At 1.4 times the statistical dimension, to the last digits and with the zeros exact."""
    n, s = 120, 12
    m = int(1.4 * theory.l1_statistical_dimension(s, n, nonnegative=nonnegative))
    for _ in range(5):
        matrix, values, truth = sparse_system(rng, m, n, s, nonnegative)
        x = baselines.basis_pursuit(matrix, values, nonnegative=nonnegative)
        np.testing.assert_allclose(x, truth, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(x != 0, truth != 0)


def test_one_measurement_goes_to_the_cheapest_entry(rng):
    for _ in range(20):
        row, weights, value = rng.standard_normal(5), rng.uniform(0.5, 2, 5), rng.standard_normal()
        best = np.argmax(np.abs(row) / weights)
        expected = np.where(np.arange(5) == best, value / row, 0)
        np.testing.assert_allclose(baselines.basis_pursuit([row], [value], weights), expected, rtol=1e-12)


@pytest.mark.parametrize(("seed", "weighted"), [(634, True), (954, True), (1170, False)])
def test_basis_pursuit_keeps_its_tolerances_where_highs_alone_does_not(seed, weighted):
    """HiGHS's own multipliers left gaps of 1e-7, and its round-off on the support a residual of 3e-9: both warned."""
    rng = np.random.default_rng([7, seed])
    n = int(rng.choice([40, 100, 128]))
    m = int(rng.integers(8, n))
    sparsity = int(rng.integers(1, m // 2))
    matrix = rng.standard_normal((m, n)) / np.sqrt(m)
    weights = np.exp(rng.uniform(-4, 4, n)) if weighted else None
    truth = np.zeros(n)
    truth[rng.choice(n, sparsity, replace=False)] = rng.standard_normal(sparsity)
    x = baselines.basis_pursuit(matrix, matrix @ truth, weights)  # a warning is an error here
    cost = np.ones(n) if weights is None else weights
    assert cost @ np.abs(x) <= cost @ np.abs(truth) * (1 + 1e-9)
    assert np.linalg.norm(matrix @ (x - truth)) <= 1e-12 * np.linalg.norm(matrix @ truth)


def test_basis_pursuit_transforms_as_its_data(rng):
    """Permuted columns, flipped signs, scaled columns under scaled weights, mixed rows, other units."""
    matrix, values, _ = sparse_system(rng, 12, 30, 12)
    x = baselines.basis_pursuit(matrix, values)
    order, signs, scales = rng.permutation(30), rng.choice([-1, 1], 30), rng.uniform(0.5, 2, 30)
    close = {"rtol": 1e-9, "atol": 1e-11}
    np.testing.assert_allclose(baselines.basis_pursuit(matrix[:, order], values), x[order], **close)
    np.testing.assert_allclose(baselines.basis_pursuit(matrix * signs, values), x * signs, **close)
    np.testing.assert_allclose(baselines.basis_pursuit(matrix * scales, values, scales), x / scales, **close)
    mixed = rng.standard_normal((12, 12))
    np.testing.assert_allclose(baselines.basis_pursuit(mixed @ matrix, mixed @ values), x, **close)
    for a, y in [(1e-120, 1.0), (1e9, 1e-30), (1.0, 1e100)]:
        got = baselines.basis_pursuit(a * matrix, y * values)
        np.testing.assert_allclose(got * (a / y), x, **close)
    steep = np.logspace(0, -11, 12)
    np.testing.assert_allclose(
        baselines.basis_pursuit(steep[:, None] * matrix, steep * values), x, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("nonnegative", [False, True])
def test_dependent_rows_change_nothing(nonnegative, rng):
    """Duplicate and combined rows, more rows than columns, a zero column, a zero row."""
    matrix, values, truth = sparse_system(rng, 8, 20, 2, nonnegative)
    x = baselines.basis_pursuit(matrix, values, nonnegative=nonnegative)
    mixing = np.vstack([np.eye(8), np.eye(8)[:3], np.zeros(8), rng.standard_normal((20, 8))])
    more = baselines.basis_pursuit(mixing @ matrix, mixing @ values, nonnegative=nonnegative)
    np.testing.assert_allclose(more, x, rtol=1e-9, atol=1e-12)
    wider = baselines.basis_pursuit(np.insert(matrix, 4, 0, axis=1), values, nonnegative=nonnegative)
    np.testing.assert_allclose(wider, np.insert(x, 4, 0), rtol=1e-9, atol=1e-12)
    tall = rng.standard_normal((30, 20))
    np.testing.assert_allclose(baselines.basis_pursuit(tall, tall @ truth, nonnegative=nonnegative), truth, atol=1e-12)


def test_values_of_zero_have_the_solution_zero():
    for a in (A23, np.zeros((2, 3))):
        for solve in (baselines.basis_pursuit, baselines.least_norm, baselines.nonnegative_least_squares):
            np.testing.assert_array_equal(solve(a, np.zeros(2)), np.zeros(3))
        assert not baselines.lasso_path(a, np.zeros(2)).solutions.any()
        np.testing.assert_array_equal(baselines.oracle_least_squares(a, np.zeros(2), [1]), np.zeros(3))
    assert not baselines.nuclear_norm_sensing(np.ones((2, 3, 4)), np.zeros(2)).solution.any()
    result = baselines.nuclear_norm_completion([[0, NAN], [0, NAN]])
    assert not result.solution.any()
    assert result.gap == 0


def test_what_a_solver_gets_wrong_is_not_passed_on_in_silence(rng, monkeypatch):
    """An answer that is 1e-3 off, and a solver that gives up."""
    matrix, values, _ = sparse_system(rng, 5, 12, 12)
    linprog, nnls = scipy.optimize.linprog, scipy.optimize.nnls

    def off(*arguments, **options):
        result = linprog(*arguments, **options)
        result.x = result.x + 1e-3 * rng.random(result.x.shape)
        return result

    with monkeypatch.context() as patched:
        patched.setattr(scipy.optimize, "linprog", off)
        with pytest.warns(
            UserWarning, match="basis pursuit was solved only to a relative residual of .* gap of"
        ) as caught:
            baselines.basis_pursuit(matrix, values)
        assert [warning.filename for warning in caught] == [__file__]
        patched.setattr(scipy.optimize, "linprog", lambda *a, **o: SimpleNamespace(status=1, message="too many steps"))
        with pytest.raises(RuntimeError, match="HiGHS did not solve the linear program: too many steps"):
            baselines.basis_pursuit(matrix, values)
        patched.setattr(scipy.optimize, "nnls", lambda *a, **o: (nnls(*a, **o)[0] + 1e-3, 0.0))
        right = baselines.nonnegative_least_squares(matrix, values)  # another solver was asked
        slopes = matrix.T @ (matrix @ right - values)
        assert np.all(slopes > -1e-9)
        assert abs(slopes @ right) < 1e-9
        patched.setattr(scipy.optimize, "lsq_linear", lambda a, *_, **o: SimpleNamespace(x=np.ones(a.shape[1])))
        with pytest.warns(UserWarning, match="nonnegative least squares was solved only to a relative gradient"):
            baselines.nonnegative_least_squares(matrix, values)


@pytest.mark.parametrize("nonnegative", [False, True])
def test_the_lasso_path_is_optimal(nonnegative, rng):
    """``A^T (y - A x)`` is the penalty where x > 0, its negative where x < 0, and between them elsewhere."""
    matrix, truth = rng.standard_normal((25, 60)), np.zeros(60)
    truth[:6] = rng.exponential(size=6) + 0.2
    values = matrix @ truth + 0.1 * rng.standard_normal(25)
    path = baselines.lasso_path(matrix, values, nonnegative=nonnegative, tol=1e-12)
    assert path.solutions.shape == (100, 60)
    assert (np.diff(path.penalties) < 0).all()
    assert path.penalties[-1] == pytest.approx(1e-3 * path.penalties[0], rel=1e-12)
    assert (np.abs(path.gaps) <= 1.01e-12 * (values @ values)).all()
    assert not path.solutions[0].any()
    assert path.solutions[1].any()
    for penalty, x in zip(path.penalties, path.solutions, strict=True):
        slopes = matrix.T @ (values - matrix @ x)
        tolerance = 1e-4 * path.penalties[0]
        assert np.max(slopes if nonnegative else np.abs(slopes)) <= penalty + tolerance
        np.testing.assert_allclose(slopes[x != 0], penalty * np.sign(x[x != 0]), rtol=0, atol=tolerance)
        assert not nonnegative or (x >= 0).all()


def test_the_lasso_of_orthonormal_columns_is_the_soft_threshold(rng):
    matrix, penalties = np.linalg.qr(rng.standard_normal((9, 5)))[0], [0.01, 2.0, 0.3, 50.0]
    values = 3 * rng.standard_normal(9)
    path = baselines.lasso_path(matrix, values, penalties, tol=1e-14)
    np.testing.assert_array_equal(path.penalties, sorted(penalties, reverse=True))
    for penalty, x in zip(path.penalties, path.solutions, strict=True):
        z = matrix.T @ values
        np.testing.assert_allclose(x, np.sign(z) * np.maximum(np.abs(z) - penalty, 0), rtol=0, atol=1e-7)


def test_the_gaps_of_the_lasso_bound_what_is_missing(rng):
    """Against the objective of the same path solved to 1e-14; a path that is cut short has larger gaps, and warns."""
    matrix, values = rng.standard_normal((20, 40)), rng.standard_normal(20)
    exact = baselines.lasso_path(matrix, values, tol=1e-14, max_steps=10**6)

    def objective(path):
        residuals = values - path.solutions @ matrix.T
        return 0.5 * np.sum(residuals**2, axis=1) + path.penalties * np.abs(path.solutions).sum(axis=1)

    rough = baselines.lasso_path(matrix, values, tol=1e-2)
    missing = objective(rough) - objective(exact)
    assert (missing <= rough.gaps + 1e-12).all()
    assert missing.max() > 1e-6
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        baselines.lasso_path(matrix, values, max_steps=1)
    assert "did not converge" in str(caught[0].message)


def test_the_lasso_path_ends_at_basis_pursuit(rng):
    """Its l1 norms are smaller, by at most ``<lam, y - A x>`` with lam from basis pursuit, which tends to 0."""
    matrix, values, _ = sparse_system(rng, 15, 40, 15)
    lam, norm = dual_bound(matrix, values, np.ones(40), False)
    assert np.abs(baselines.basis_pursuit(matrix, values)).sum() == pytest.approx(norm, rel=GAP)
    path = baselines.lasso_path(matrix, values, np.geomspace(1e-1, 1e-4, 10), tol=1e-12, max_steps=10**6)
    missing = norm - np.abs(path.solutions).sum(axis=1)
    assert (missing > -1e-7 * norm).all()
    assert (missing <= (values - path.solutions @ matrix.T) @ lam + 1e-7 * norm).all()
    assert missing[-1] < 0.05 * missing[0]


def test_without_scikit_learn_the_lasso_path_says_which_extra_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'fastflow[baselines]'")):
        baselines.lasso_path(A23, Y2)


@pytest.mark.parametrize(("m", "n"), [(1, 4), (6, 15), (30, 12), (10, 10)])
def test_nonnegative_least_squares_is_optimal(m, n, rng):
    """``x >= 0``, ``A^T (A x - y) >= 0``, and one of both is 0 everywhere; in any units."""
    matrix, values = rng.standard_normal((m, n)), rng.standard_normal(m)
    matrix[:, -1] = 0
    for a, y in [(1.0, 1.0), (1e-100, 1e30), (1e8, 1e-8)]:
        x = baselines.nonnegative_least_squares(a * matrix, y * values) * (a / y)
        slopes = matrix.T @ (matrix @ x - values)
        tolerance = 1e-12 * np.linalg.norm(matrix, 2) * np.linalg.norm(values)
        assert (x >= 0).all()
        assert slopes.min() > -tolerance
        assert np.abs(slopes[x > 0]).max(initial=0) < tolerance


def test_nonnegative_least_squares_of_what_fits_fits(rng):
    matrix, values, truth = sparse_system(rng, 30, 50, 5, nonnegative=True)
    np.testing.assert_allclose(baselines.nonnegative_least_squares(matrix, values), truth, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("m", "n", "rank"), [(1, 5, 1), (6, 15, 6), (6, 15, 3), (20, 8, 8), (20, 8, 3)])
def test_least_norm_is_optimal(m, n, rank, weighted, rng):
    """The normal equations hold, and ``x / w``, the gradient of half the norm, is orthogonal to the kernel of A."""
    matrix = rng.standard_normal((m, rank)) @ rng.standard_normal((rank, n))
    values, weights = rng.standard_normal(m), rng.uniform(0.1, 5, n) if weighted else np.ones(n)
    x = baselines.least_norm(matrix, values, weights if weighted else None)
    np.testing.assert_allclose(matrix.T @ (matrix @ x - values), 0, atol=1e-11 * np.linalg.norm(matrix, 2) ** 2)
    kernel = np.linalg.svd(matrix)[2][rank:]
    np.testing.assert_allclose(kernel @ (x / weights), 0, atol=1e-11 * max(1, np.abs(x / weights).max()))


def test_a_large_weight_makes_an_entry_cheap():
    np.testing.assert_allclose(baselines.least_norm([[1.0, 1.0]], [1.0], [3.0, 1.0]), [0.75, 0.25], rtol=1e-14)
    np.testing.assert_allclose(baselines.basis_pursuit([[1.0, 1.0]], [1.0], [3.0, 1.0]), [0, 1], rtol=1e-14)


def test_the_oracle_is_the_projection_on_the_columns_that_it_is_told(rng):
    matrix, values, truth = sparse_system(rng, 15, 40, 5)
    support = np.nonzero(truth)[0]
    np.testing.assert_allclose(baselines.oracle_least_squares(matrix, values, truth != 0), truth, atol=1e-13)
    noisy = values + 0.1 * rng.standard_normal(15)
    x = baselines.oracle_least_squares(matrix, noisy, support)
    assert set(np.nonzero(x)[0]) == set(support)
    np.testing.assert_allclose(matrix[:, support].T @ (matrix @ x - noisy), 0, atol=1e-13)
    np.testing.assert_array_equal(baselines.oracle_least_squares(matrix, noisy, [*support, *support[::-1]]), x)
    np.testing.assert_array_equal(baselines.oracle_least_squares(matrix, noisy, []), np.zeros(40))
    np.testing.assert_array_equal(baselines.oracle_least_squares(matrix, noisy, np.zeros(40, bool)), np.zeros(40))
    twice = np.hstack([matrix, matrix[:, support]])
    shared = baselines.oracle_least_squares(twice, noisy, [*support, *range(40, 45)])
    np.testing.assert_allclose(shared[support], x[support] / 2, rtol=1e-10)


# Matrices


def check_certificate(result, operators, values):
    """W fits; ``Y = sum_i multipliers_i A_i`` has norm 1 at most, and the gap that is stated."""
    solution = result.solution
    fit = np.einsum("mij,ij->m", operators, solution) - values
    assert np.linalg.norm(fit) <= 1e-11 * np.linalg.norm(values)
    certificate = np.einsum("m,mij->ij", result.multipliers, operators)
    assert np.linalg.norm(certificate, 2) <= 1 + 1e-9
    norm = np.linalg.norm(solution, "nuc")
    assert (norm - np.sum(certificate * solution)) / norm == pytest.approx(result.gap, abs=1e-10)
    assert norm - values @ result.multipliers == pytest.approx(result.gap * norm, abs=1e-9 * norm)


@pytest.mark.parametrize(
    ("shape", "rank", "m"),
    [((6, 6), 1, 30), ((6, 6), 3, 12), ((5, 12), 2, 50), ((12, 5), 2, 20), ((4, 4), 4, 16), ((4, 4), 3, 25),
     ((1, 6), 1, 3), ((7, 7), 2, 1)],
    ids=str,
)  # fmt: skip
def test_nuclear_norm_sensing_is_optimal(shape, rank, m, rng):
    operators = rng.standard_normal((m, *shape)) * np.logspace(0, 2, m)[:, None, None]
    truth = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    values = np.einsum("mij,ij->m", operators, truth)
    result = baselines.nuclear_norm_sensing(operators, values)
    assert result.gap <= 1e-7
    check_certificate(result, operators, values)
    # Dependent operators change nothing but the multipliers.
    mixing = np.vstack([np.eye(m), rng.standard_normal((3, m))])
    again = baselines.nuclear_norm_sensing(np.tensordot(mixing, operators, 1), mixing @ values)
    check_certificate(again, np.tensordot(mixing, operators, 1), mixing @ values)
    assert np.linalg.norm(again.solution, "nuc") == pytest.approx(np.linalg.norm(result.solution, "nuc"), rel=1e-6)


@pytest.mark.parametrize(
    ("shape", "rank", "share"),
    [((8, 8), 1, 0.7), ((12, 12), 3, 0.3), ((6, 20), 2, 0.6), ((20, 6), 2, 0.4), ((5, 5), 5, 1.0), ((1, 6), 1, 0.5)],
    ids=str,
)  # fmt: skip
def test_nuclear_norm_completion_is_optimal(shape, rank, share, rng):
    truth = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    observed = rng.random(shape) < share
    observed[0, 0] = True
    result = baselines.nuclear_norm_completion(np.where(observed, truth, NAN))
    np.testing.assert_array_equal(result.solution[observed], truth[observed])
    assert result.gap <= 1e-7
    places = np.argwhere(observed)
    operators = np.zeros((len(places), *shape))
    operators[np.arange(len(places)), *places.T] = 1
    check_certificate(result, operators, truth[observed])


def test_nuclear_norms_that_are_known(rng):
    """One measurement; the 2 x 2 completion of Razin and Cohen; a vector; a row that nothing is known of."""
    operator = rng.standard_normal((4, 6))
    left, values, right = np.linalg.svd(operator)
    result = baselines.nuclear_norm_sensing([operator], [3.0], tol=1e-10)
    np.testing.assert_allclose(result.solution, 3 / values[0] * np.outer(left[:, 0], right[0]), atol=1e-4)
    assert np.linalg.norm(result.solution, "nuc") == pytest.approx(3 / values[0], rel=1e-9)
    result = baselines.nuclear_norm_completion([[NAN, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(result.solution, [[0, 1], [1, 0]], atol=1e-7)
    np.testing.assert_allclose(baselines.nuclear_norm_completion([[2.0, NAN, -1.0]]).solution, [[2, 0, -1]], atol=1e-7)
    outer = np.outer([1.0, 2.0, -1.0], [1.0, 0.5, 2.0])
    outer[1] = NAN
    np.testing.assert_allclose(baselines.nuclear_norm_completion(outer).solution[1], 0, atol=1e-6)


def test_nuclear_norm_recovers_low_rank_matrices_above_the_transition(rng):
    """At 1.4 times the statistical dimension."""
    shape, rank = (12, 16), 2
    m = int(1.4 * theory.nuclear_statistical_dimension(rank, shape))
    for _ in range(5):
        truth = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
        operators = rng.standard_normal((m, *shape))
        result = baselines.nuclear_norm_sensing(operators, np.einsum("mij,ij->m", operators, truth), tol=1e-9)
        np.testing.assert_allclose(result.solution, truth, atol=1e-5)


def test_the_nuclear_norm_is_less_than_that_of_other_matrices_that_fit(rng):
    truth = rng.standard_normal((9, 2)) @ rng.standard_normal((2, 7))
    observed = rng.random((9, 7)) < 0.5
    result = baselines.nuclear_norm_completion(np.where(observed, truth, NAN))
    for size in (1e-3, 0.1, 1.0):
        for _ in range(30):
            other = result.solution + np.where(observed, 0, size * rng.standard_normal((9, 7)))
            assert np.linalg.norm(other, "nuc") > (1 - 1e-7) * np.linalg.norm(result.solution, "nuc")


def test_a_gap_that_is_not_reached_is_told(rng):
    observed = np.where(rng.random((10, 10)) < 0.5, rng.standard_normal((10, 10)), NAN)
    with pytest.warns(UserWarning, match="a relative duality gap of .* in 3 steps, not to 1e-12") as caught:
        result = baselines.nuclear_norm_completion(observed, tol=1e-12, max_steps=3)
    assert [warning.filename for warning in caught] == [__file__]
    assert result.steps == 3
    exact = baselines.nuclear_norm_completion(observed, tol=1e-9)
    norm = np.linalg.norm(result.solution, "nuc")
    assert 1e-12 < result.gap < 1
    assert (1 - result.gap) * norm <= np.linalg.norm(exact.solution, "nuc") <= norm


@pytest.mark.parametrize("shape", [(6, 6), (3, 8), (8, 3), (1, 4)], ids=str)
def test_best_rank_misses_the_singular_values_that_it_leaves_out(shape, rng):
    matrix = rng.standard_normal(shape)
    values = np.linalg.svd(matrix, compute_uv=False)
    for rank in range(min(shape) + 1):
        best = baselines.best_rank(matrix, rank)
        assert ff.metrics.numerical_rank(best, 1e-10) == rank
        missed = np.linalg.svd(matrix - best, compute_uv=False)[: len(values) - rank]
        np.testing.assert_allclose(missed, values[rank:], atol=1e-13)
    np.testing.assert_allclose(best, matrix, atol=1e-13)


# Where a method stands


class Sensing(SimpleNamespace):
    """A problem that observes ``A x = y``."""


def test_each_solves_the_problems_that_it_fits(rng):
    matrix, values, truth = sparse_system(rng, 8, 20, 3, nonnegative=True)
    weights = rng.uniform(0.5, 2, 20)
    problem = Sensing(matrix=matrix, values=values, truth=truth)
    for method, expected in [
        (baselines.BasisPursuit(), baselines.basis_pursuit(matrix, values)),
        (baselines.BasisPursuit(weights, True), baselines.basis_pursuit(matrix, values, weights, True)),
        (baselines.LeastNorm(), baselines.least_norm(matrix, values)),
        (baselines.LeastNorm(weights), baselines.least_norm(matrix, values, weights)),
        (baselines.NonnegativeLeastSquares(), baselines.nonnegative_least_squares(matrix, values)),
        (baselines.OracleLeastSquares(), truth),
    ]:
        np.testing.assert_allclose(method.solve(problem), expected, rtol=0, atol=1e-13)
    regression = ff.LinearRegression(matrix.T, values[None], truth=truth[None], samples="columns")
    np.testing.assert_allclose(
        baselines.LeastNorm().solve(regression), baselines.least_norm(matrix, values), atol=1e-13
    )
    np.testing.assert_allclose(baselines.OracleLeastSquares().solve(regression), truth, atol=1e-13)
    dense = rng.standard_normal((5, 4))
    observed = np.where(rng.random((5, 4)) < 0.6, dense, NAN)
    order = rng.permutation(np.argwhere(~np.isnan(observed)))
    completion = ff.MatrixCompletion((5, 4), *order.T, dense[tuple(order.T)], warn=False)
    expected = baselines.nuclear_norm_completion(observed).solution
    np.testing.assert_array_equal(baselines.NuclearNorm().solve(completion), expected)
    operators, measured = rng.standard_normal((7, 3, 4)), rng.standard_normal(7)
    expected = baselines.nuclear_norm_sensing(operators, measured, tol=1e-4).solution
    got = baselines.NuclearNorm(tol=1e-4).solve(ff.MatrixSensing(operators, measured))
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(
        baselines.BestRank(2).solve(ff.MatrixEstimation(dense)), baselines.best_rank(dense, 2)
    )


ESTIMATION = ff.MatrixEstimation(np.eye(3))
VECTORS = (
    "CompressedSensing, LinearRegression with one output, and what else has a matrix and values, got MatrixEstimation"
)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: baselines.BasisPursuit().solve(ESTIMATION), TypeError, f"BasisPursuit solves {VECTORS}"),
        (lambda: baselines.LeastNorm().solve(ESTIMATION), TypeError, f"LeastNorm solves {VECTORS}"),
        (lambda: baselines.NonnegativeLeastSquares().solve(ESTIMATION), TypeError, f"Squares solves {VECTORS}"),
        (lambda: baselines.OracleLeastSquares().solve(ESTIMATION), TypeError, f"OracleLeastSquares solves {VECTORS}"),
        (
            lambda: baselines.OracleLeastSquares().solve(Sensing(matrix=A23, values=Y2, truth=None)),
            ValueError,
            "OracleLeastSquares needs a problem with a truth",
        ),
        (
            lambda: baselines.NuclearNorm().solve(ESTIMATION),
            TypeError,
            "NuclearNorm solves MatrixCompletion or MatrixSensing, got MatrixEstimation",
        ),
        (
            lambda: baselines.BestRank(1).solve(ff.MatrixSensing(np.ones((1, 2, 2)), [1.0])),
            TypeError,
            "BestRank solves MatrixEstimation, got MatrixSensing",
        ),
        (lambda: baselines.NuclearNorm(tol=0), ValueError, "tol must be greater than 0"),
        (lambda: baselines.NuclearNorm(max_steps=0), ValueError, "max_steps must be at least 1"),
        (lambda: baselines.BestRank(-1), ValueError, "rank must be at least 0, got -1"),
        (lambda: baselines.BasisPursuit([1.0, 0.0]), ValueError, "every weight must be greater than 0, got 0"),
        (lambda: baselines.LeastNorm([1.0, NAN]), ValueError, "weights must be finite"),
        # Arrays
        (
            lambda: baselines.basis_pursuit(A23, [1.0]),
            ValueError,
            r"one entry for each of the 2 rows .* got shape \(1,\)",
        ),
        (lambda: baselines.basis_pursuit([1.0], [1.0]), ValueError, r"matrix must have 2 dimension\(s\)"),
        (lambda: baselines.basis_pursuit(A23 * 1j, Y2), TypeError, "matrix must be an array of real numbers"),
        (lambda: baselines.basis_pursuit(A23, [1, NAN]), ValueError, r"values must be finite, got nan at index \(1,\)"),
        (lambda: baselines.basis_pursuit(A23 * NAN, Y2), ValueError, "matrix must be finite"),
        (lambda: baselines.basis_pursuit(np.zeros((0, 3)), []), ValueError, "matrix is empty"),
        (lambda: baselines.basis_pursuit(A23, Y2, [1, 2]), ValueError, r"for each of 3 unknowns, got shape \(2,\)"),
        (lambda: baselines.basis_pursuit(A23, Y2, [1, 2, -1]), ValueError, "every weight must be greater than 0"),
        (
            lambda: baselines.basis_pursuit([[1, 1], [1, 1], [0, 0]], [1, 2, 0]),
            ValueError,
            r"no x fits the values: of 3 measurements 1 are independent, and the best fit misses 0\.32",
        ),
        (
            lambda: baselines.basis_pursuit([[1, 0], [0, 1], [1, 1]], [1, 1, 3]),
            ValueError,
            "no x fits the values: of 3",
        ),
        (lambda: baselines.basis_pursuit(np.zeros((1, 2)), [1]), ValueError, "of 1 measurements 0 are independent"),
        (lambda: baselines.basis_pursuit([[1, 1]], [-1], nonnegative=True), ValueError, "no x >= 0 fits the values"),
        (lambda: baselines.lasso_path(A23, [1.0]), ValueError, "one entry for each of the 2 rows"),
        (lambda: baselines.lasso_path(A23, Y2, [1, 0]), ValueError, "every penalty must be greater than 0, got 0"),
        (lambda: baselines.lasso_path(A23, Y2, tol=0), ValueError, "tol must be greater than 0"),
        (lambda: baselines.lasso_path(A23, Y2, max_steps=0), ValueError, "max_steps must be at least 1"),
        (lambda: baselines.nonnegative_least_squares(A23, [1.0]), ValueError, "one entry for each of the 2 rows"),
        (lambda: baselines.least_norm(A23, [1.0]), ValueError, "one entry for each of the 2 rows"),
        (lambda: baselines.least_norm(A23, Y2, [1, 0, 1]), ValueError, "every weight must be greater than 0"),
        (lambda: baselines.oracle_least_squares(A23, Y2, [3]), ValueError, r"support must be in 0 \.\. 2, got 3"),
        (lambda: baselines.oracle_least_squares(A23, Y2, [-1]), ValueError, r"support must be in 0 \.\. 2, got -1"),
        (lambda: baselines.oracle_least_squares(A23, Y2, [True]), ValueError, r"of 3 unknowns, got shape \(1,\)"),
        (lambda: baselines.oracle_least_squares(A23, Y2, [0.5]), TypeError, "support must be a boolean array"),
        (lambda: baselines.oracle_least_squares(A23, Y2, [[1]]), ValueError, "support must have 1 dimension"),
        (lambda: baselines.nuclear_norm_completion([[NAN, NAN]]), ValueError, "no entry is observed"),
        (lambda: baselines.nuclear_norm_completion([[np.inf, NAN]]), ValueError, "matrix must be finite"),
        (lambda: baselines.nuclear_norm_completion([[1.0]], tol=0), ValueError, "tol must be greater than 0"),
        (lambda: baselines.nuclear_norm_completion([[1.0]], max_steps=0), ValueError, "max_steps must be at least 1"),
        (lambda: baselines.nuclear_norm_sensing(np.ones((2, 3, 4)), [1.0]), ValueError, r"of 2 operators, got \(1,\)"),
        (lambda: baselines.nuclear_norm_sensing(A23, Y2), ValueError, r"operators must have 3 dimension\(s\)"),
        (
            lambda: baselines.nuclear_norm_sensing(np.ones((2, 3, 4)), [1.0, 2.0]),
            ValueError,
            "no W fits the values: of 2 measurements 1 are independent",
        ),
        (lambda: baselines.best_rank(A23, 3), ValueError, "rank must be at most 2, got 3"),
        (lambda: baselines.best_rank(A23, 1.5), TypeError, "rank must be an integer"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_float32_and_other_layouts_are_taken_and_nothing_is_changed(rng):
    matrix, values, truth = sparse_system(rng, 12, 20, 2)
    single = np.asfortranarray(matrix, np.float32)
    single.flags.writeable = False
    x = baselines.basis_pursuit(single, values.astype(np.float32))
    assert x.dtype == np.float64
    np.testing.assert_allclose(x, truth, atol=1e-5)
    before = matrix.copy()
    for solve in (
        baselines.basis_pursuit,
        baselines.least_norm,
        baselines.nonnegative_least_squares,
        baselines.lasso_path,
    ):
        solve(matrix, values)
        np.testing.assert_array_equal(matrix, before)


def test_every_baseline_is_registered_and_has_a_label():
    classes = {thing for thing in vars(baselines).values() if isinstance(thing, type)}
    wanted = {cls for cls in classes if issubclass(cls, baselines.Baseline) and cls is not baselines.Baseline}
    assert set(baselines.BASELINES) == wanted
    assert len({cls.label for cls in baselines.BASELINES}) == len(wanted)


def test_what_becomes_a_baseline():
    class Zero:
        def solve(self, problem):
            return np.zeros(problem.shape).tolist()

    own = baselines.LeastNorm()
    assert baselines.as_baseline(own) is own
    found = baselines.as_baseline(Zero())
    found.check(ESTIMATION)
    assert found.solve(ESTIMATION).shape == (3, 3)
    assert found.kind is Zero
    for nothing in (Zero, ff.GradientDescent(), None):
        with pytest.raises(TypeError, match="must be a method or a baseline"):
            baselines.as_baseline(nothing)
    with pytest.raises(ValueError, match="needs a problem with a truth"):
        baselines.OracleLeastSquares().check(ff.CompressedSensing(np.ones((1, 2)), [1.0]))


UNITS = [np.array([1e8, 1e-8]), np.array([1.0, 1e-30]), np.array([1e-200, 1e100]), np.array([1e3, 1.0])]


@pytest.mark.parametrize("units", UNITS, ids=str)
def test_rows_in_any_units(units):
    """``x_1 + x_3 = 1``, ``x_2 - x_3 = 1``: least l1 norm (1, 1, 0), least norm (1, 1, 0) + (-t, t, t) with t = 0."""
    a = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]])
    right, rows = a @ [1.0, 1.0, 0.0], units[:, None] * a
    np.testing.assert_allclose(baselines.basis_pursuit(rows, units * right), [1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(baselines.basis_pursuit(rows, units * right, nonnegative=True), [1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(baselines.least_norm(rows, units * right), [1, 1, 0], atol=1e-12)
    weights = np.array([1.0, 4.0, 2.0])
    expected = baselines.least_norm(a, right, weights)
    np.testing.assert_allclose(baselines.least_norm(rows, units * right, weights), expected, atol=1e-12)
    operators = np.stack([np.diag([1.0, 0.0]), np.diag([1.0, -1.0])])
    solution = baselines.nuclear_norm_sensing(units[:, None, None] * operators, units * [2.0, 1.0])
    np.testing.assert_allclose(solution.solution, np.diag([2.0, 1.0]), atol=1e-5)
    adjoint = np.tensordot(solution.multipliers, units[:, None, None] * operators, 1)
    np.testing.assert_allclose(adjoint, np.eye(2), atol=1e-4)


def test_rows_that_least_squares_does_not_see():
    """Where no x fits the largest rows decide; what they leave is not found where the others are their round-off."""
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1e-20]])
    with pytest.warns(UserWarning, match="does not see the smallest"):
        x = baselines.least_norm(rows, np.array([1.0, 3.0, 1e-20]))
    assert x[0] == pytest.approx(2)
    like = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1e-6]])
    np.testing.assert_allclose(baselines.least_norm(like, np.array([1.0, 3.0, 1e-6])), [2, 1], rtol=1e-9)


def test_multipliers_of_degenerate_vertices_are_polished():
    """At 40 nonzeros of 96 measurements 56 inequalities of the dual are equations: HiGHS's multipliers miss by 2e-8."""
    matrix = np.random.default_rng(18).standard_normal((40, 60)) / np.sqrt(40)
    ensemble = ff.ensembles.Sparse(n=128).replaced(m=96, sparsity=40)
    problems = [ensemble.draw(Streams(*problem_key(ensemble, 0))(trial)) for trial in (17, 18, 19)]
    for problem in [*problems, ff.CompressedSensing(matrix, matrix[:, 3] - matrix[:, 5])]:
        x = baselines.basis_pursuit(problem.matrix, problem.values)  # a gap above 1e-8 would warn
        assert np.linalg.norm(problem.matrix @ x - problem.values) <= 1e-9 * np.linalg.norm(problem.values)
