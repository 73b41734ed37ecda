"""Metrics against their definitions, on one matrix and on stacks."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastflow as ff
from fastflow import metrics

OF_ONE_MATRIX = {
    "effective_rank": metrics.effective_rank,
    "entropy_rank": metrics.entropy_rank,
    "stable_rank": metrics.stable_rank,
    "numerical_rank": metrics.numerical_rank,
    "nuclear_norm": metrics.nuclear_norm,
    "schatten_norm": lambda matrix: metrics.schatten_norm(matrix, 2 / 3),
}
RANKS = ["effective_rank", "entropy_rank", "stable_rank", "numerical_rank"]


def of_values(values, rng, shape=(7, 5)):
    """A matrix with the given singular values."""
    left = np.linalg.qr(rng.standard_normal((shape[0], shape[0])))[0][:, : len(values)]
    right = np.linalg.qr(rng.standard_normal((shape[1], shape[1])))[0][:, : len(values)]
    return (left * values) @ right.T


def test_definitions(rng):
    values = np.array([8.0, 4.0, 2.0, 2.0, 0.0])
    matrix = of_values(values, rng)
    shares = values[:4] / 16
    expected = {
        "effective_rank": 16 / 8,
        "entropy_rank": np.exp(-np.sum(shares * np.log(shares))),
        "stable_rank": (64 + 16 + 4 + 4) / 64,
        "numerical_rank": 4,
        "nuclear_norm": 16,
    }
    for name, value in expected.items():
        assert getattr(metrics, name)(matrix) == pytest.approx(value, rel=1e-13), name
    np.testing.assert_allclose(metrics.singular_values(matrix), values, atol=1e-14)
    for p in (0.5, 2 / 3, 1.0, 2.0, 5.0):
        assert metrics.schatten_norm(matrix, p) == pytest.approx(np.sum(values**p) ** (1 / p), rel=1e-7)
    assert metrics.schatten_norm(matrix, np.inf) == pytest.approx(8, rel=1e-13)
    assert metrics.schatten_norm(matrix, 2) == pytest.approx(np.linalg.norm(matrix), rel=1e-13)
    assert metrics.schatten_norm(matrix, 1) == pytest.approx(metrics.nuclear_norm(matrix), rel=1e-13)


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 6), columns=st.integers(1, 6), scale=st.floats(1e-150, 1e150))
def test_ranks_are_between_one_and_the_rank_and_know_no_scale(seed, rows, columns, scale):
    matrix = np.random.default_rng(seed).standard_normal((rows, columns))
    for name in RANKS:
        rank = getattr(metrics, name)(matrix)
        assert 1 - 1e-12 <= rank <= min(rows, columns) + 1e-12
        assert getattr(metrics, name)(scale * matrix) == pytest.approx(rank, rel=1e-12)


@pytest.mark.parametrize("name", RANKS)
def test_ranks_of_special_matrices(name, rng):
    rank = getattr(metrics, name)
    assert rank(3 * np.eye(4)) == pytest.approx(4)
    assert rank(np.outer(rng.standard_normal(5), rng.standard_normal(3))) == pytest.approx(1, abs=1e-12)
    assert rank(np.zeros((3, 4))) == 0


@pytest.mark.parametrize("name", OF_ONE_MATRIX)
def test_a_stack_gives_what_its_matrices_give(name, rng):
    stack = rng.standard_normal((2, 3, 4, 6))
    stack[1, 2] = 0
    metric = OF_ONE_MATRIX[name]
    values = metric(stack)
    assert values.shape == (2, 3)
    for index in np.ndindex(2, 3):
        alone = metric(stack[index])
        assert np.ndim(alone) == 0
        assert alone == pytest.approx(values[index], rel=1e-13)


@pytest.mark.parametrize("name", OF_ONE_MATRIX)
def test_float32_and_integers(name, rng):
    matrix = rng.integers(-3, 4, (5, 3))
    metric = OF_ONE_MATRIX[name]
    assert metric(matrix) == pytest.approx(metric(matrix.astype(float)))
    assert metric(matrix.astype(np.float32)) == pytest.approx(metric(matrix.astype(float)), rel=1e-5)


def test_numerical_rank_counts_above_the_tolerance(rng):
    matrix = of_values(np.array([1.0, 1e-3, 1e-9, 1e-15]), rng)
    assert metrics.numerical_rank(matrix) == 3
    assert metrics.numerical_rank(matrix, tol=1e-6) == 2
    assert metrics.numerical_rank(matrix, tol=0.5) == 1
    assert metrics.numerical_rank(1e100 * matrix, tol=1e-6) == 2


def test_balancedness_against_the_oracle(make_factors):
    factors = make_factors((4, 6, 3, 5))
    assert metrics.balancedness(factors) == pytest.approx(naive.chain_balancedness(factors), rel=1e-14)
    assert metrics.balancedness(factors[:1]) == 0
    others = make_factors((4, 6, 3, 5))
    stacked = [np.stack(pair) for pair in zip(factors, others, strict=True)]
    expected = [naive.chain_balancedness(factors), naive.chain_balancedness(others)]
    np.testing.assert_allclose(metrics.balancedness(stacked), expected, rtol=1e-14)


def test_relative_error(rng):
    truth, other = rng.standard_normal((2, 5, 4))
    assert metrics.relative_error(truth, truth) == 0
    assert metrics.relative_error(3 * truth, truth) == pytest.approx(2)
    expected = np.linalg.norm(other - truth) / np.linalg.norm(truth)
    assert metrics.relative_error(other, truth) == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(metrics.relative_error(np.stack([other, truth]), truth), [expected, 0], rtol=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: metrics.effective_rank(np.zeros(3)), ValueError, r"matrix or a stack .* shape \(3,\)"),
        (lambda: metrics.effective_rank(np.zeros((3, 0))), ValueError, r"shape \(3, 0\)"),
        (lambda: metrics.nuclear_norm(np.eye(2, dtype=complex)), TypeError, "of real numbers, got dtype complex128"),
        (lambda: metrics.nuclear_norm([["a"]]), TypeError, "matrix must be an array of real numbers"),
        (lambda: metrics.schatten_norm(np.eye(2), 0), ValueError, "p must be greater than 0"),
        (lambda: metrics.schatten_norm(np.eye(2), "1"), TypeError, "p must be a number"),
        (lambda: metrics.numerical_rank(np.eye(2), tol=-1), ValueError, "tol must be at least 0"),
        (lambda: metrics.balancedness([]), ValueError, "factors is empty"),
        (lambda: metrics.relative_error(np.eye(2), np.eye(3)), ValueError, r"same shape, got \(2, 2\) and \(3, 3\)"),
        (lambda: metrics.relative_error(np.eye(2), np.zeros((2, 2))), ValueError, "truth is the zero matrix"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_metrics_of_a_result(make_problem):
    """The metrics take what `train` gives, as it is."""
    runs = ff.train(make_problem("estimation", (4, 3)), ff.DeepLinear(2), runs=5)
    assert metrics.effective_rank(runs.solution).shape == (5,)
    assert metrics.balancedness(runs.factors).shape == (5,)


@pytest.mark.parametrize("name", OF_ONE_MATRIX)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_costs_its_own_member_only(name, bad, rng):
    stack = rng.standard_normal((2, 3, 4, 6))
    expected = np.asarray(OF_ONE_MATRIX[name](stack), float)
    stack[1, 0, 2, 3] = bad
    expected[1, 0] = np.nan
    np.testing.assert_array_equal(OF_ONE_MATRIX[name](stack), expected)
    assert np.isnan(OF_ONE_MATRIX[name](stack[1, 0]))
    assert np.isnan(metrics.singular_values(stack)[1, 0]).all()


def test_sharpness_of_a_stack_with_a_run_that_diverged(make_factors):
    problem, stack = ff.MatrixEstimation(np.diag([2.0, 1.0, 0.5])), [np.array([np.eye(3)] * 3) for _ in range(2)]
    stack[0][1, 0, 0] = np.nan
    for function in (ff.theory.sharpness, ff.theory.smallest_curvature):
        values = function(problem, stack)
        assert np.isnan(values[1])
        assert values[0] == values[2] == function(problem, [np.eye(3)] * 2)
    region = ff.theory.descent_region(problem, stack)
    assert np.isnan(region.step[1])
    assert region.step[0] == region.step[2] > 0
    with pytest.raises(ValueError, match="factors must be finite"):
        ff.theory.sharpness(problem, [stack[0][1], stack[1][1]])


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-160, 1e150, 1e200, 1e300])
def test_norms_of_what_has_no_squares(size):
    truth, other = np.diag([3.0, 4.0]), np.diag([3.0, 5.0])
    assert metrics.relative_error(size * other, size * truth) == pytest.approx(0.2, rel=1e-14)
    np.testing.assert_allclose(
        metrics.relative_error(np.array([size * other, truth]), size * truth)[0], 0.2, rtol=1e-14
    )
    assert metrics.l2_norm(size * np.array([3.0, 4.0])) == pytest.approx(5 * size, rel=1e-14)
    one, two = np.eye(3) * size**0.5, np.eye(3) * (2 * size) ** 0.5
    assert metrics.balancedness([one, two]) == pytest.approx(size * 3**0.5, rel=1e-13)
    assert metrics.balancedness_of_vectors([np.diag(one), np.diag(two)]) == pytest.approx(size * 3**0.5, rel=1e-13)
    assert metrics.schatten_norm(size * truth, 2) == pytest.approx(5 * size, rel=1e-14)


def test_norms_in_float32():
    matrix = np.diag(np.float32([3e-30, 4e-30]))
    assert metrics.relative_error(2 * matrix, matrix) == pytest.approx(1, rel=1e-6)
    assert metrics.relative_error(np.float32(1e38) * np.eye(2, dtype=np.float32), matrix) > 1e37
