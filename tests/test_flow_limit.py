"""The limit of the gradient flow of diagonal networks: against integration, many digits, and the theorems about it."""

from __future__ import annotations

import hypothesis
import naive
import numpy as np
import pytest
from hypothesis import strategies as st

import fastflow as ff

DEPTHS = (1, 2, 3, 4)


def draw(rng, m, n, sparsity=None, nonnegative=False):
    """A Gaussian matrix, and the values of a sparse truth (None: of a dense one)."""
    matrix, truth = rng.standard_normal((m, n)) / np.sqrt(m), np.zeros(n)
    support = rng.choice(n, sparsity or n, replace=False)
    truth[support] = rng.standard_normal(support.size)
    if nonnegative:
        truth = abs(truth)
    return matrix, matrix @ truth, truth


def relative(x, expected):
    return np.linalg.norm(x - expected) / np.linalg.norm(expected)


def check_ends(result, matrix, values):
    """``A x = y``, converged, with the dual that proves it where depth does not hide it in round-off."""
    assert result.converged.all()
    residual = np.linalg.norm(np.einsum("...mn,...n->...m", matrix, result.x) - values, axis=-1)
    assert np.all(residual <= 1e-10 * np.linalg.norm(values, axis=-1))
    assert np.all(abs(result.residual - residual) <= 1e-13 * np.linalg.norm(values, axis=-1))


# Against an integrator


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "nonnegative"])
@pytest.mark.parametrize("alpha", [1.0, 0.3, 0.1, 0.01])
@pytest.mark.parametrize("depth", DEPTHS)
def test_against_lsoda(depth, alpha, signed, rng):
    """From unequal starts too; the integrator's own error is what its residual and a looser tolerance show."""
    n, m = 6, 3
    matrix, values, _ = draw(rng, m, n, nonnegative=not signed)
    for spread in (0.0, 0.5):
        positive = alpha * np.exp(spread * rng.uniform(-1, 1, n))
        negative = alpha * np.exp(spread * rng.uniform(-1, 1, n)) if signed else None
        result = ff.flow_limit(matrix, values, positive, depth, signed=signed, negative=negative)
        time = 1e3 * alpha ** min(0, 4 - 2 * depth)
        fine, coarse = (
            naive.flow(matrix, values, positive, negative, depth, time, rtol=rtol, atol=1e-3 * rtol * alpha)
            for rtol in (1e-11, 1e-9)
        )
        own = np.linalg.norm(fine - coarse) + 100 * np.linalg.norm(matrix @ fine - values)
        print(depth, alpha, signed, spread, relative(result.x, fine), own)
        assert np.linalg.norm(result.x - fine) <= 1e-7 * np.linalg.norm(fine) + own
        assert own <= 1e-5 * np.linalg.norm(fine)


# Against many digits


@pytest.mark.parametrize("alpha", [1e3, 1.0, 1e-2, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_against_sixty_digits(depth, alpha, rng):
    """Dense and sparse truths, equal and unequal starts, to 1e-10 of the norm of x."""
    m, n = 3, 6
    for sparsity in (None, 1, 2):
        for spread in (0.0, 0.7):
            matrix, values, _ = draw(rng, m, n, sparsity)
            positive, negative = (np.clip(alpha * np.exp(spread * rng.uniform(-1, 1, n)), 1e-12, 1e3) for _ in range(2))
            result = ff.flow_limit(matrix, values, positive, depth, negative=negative)
            check_ends(result, matrix, values)
            expected = naive.exact_flow_limit(matrix, values, positive, negative, depth, result.x)
            print(depth, alpha, sparsity, spread, relative(result.x, expected))
            assert relative(result.x, expected) <= 1e-10


@pytest.mark.parametrize("alpha", [10.0, 0.3, 1e-4, 1e-12])
@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_nonnegative_against_sixty_digits(depth, alpha, rng):
    m, n = 3, 6
    matrix, values, _ = draw(rng, m, n, nonnegative=True)
    result = ff.flow_limit(matrix, values, alpha, depth, signed=False)
    check_ends(result, matrix, values)
    expected = naive.exact_flow_limit(matrix, values, np.full(n, alpha), None, depth, result.x)
    print(depth, alpha, relative(result.x, expected))
    assert relative(result.x, expected) <= 1e-10
