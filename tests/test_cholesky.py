"""Symmetric systems from the register tiles, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from fastflow import kernels
from fastflow.kernels.vectors.cholesky import (
    BLOCK,
    factor_normal,
    normal_matrix,
    normal_workspace,
    set_transposed,
    solve_normal,
    stride_of,
)


@kernels.jit
def solve(a, d, b, m, n, work):
    """The solution of ``A diag(d) A^T c = b`` in place of b, and how many pivots were round-off."""
    set_transposed(a, m, n, work)
    normal_matrix(a, d, m, n, work)
    short = factor_normal(m, work)
    solve_normal(b, m, work)
    return short


@pytest.mark.parametrize("m", [1, 2, 3, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 5])
@pytest.mark.parametrize("extra", [0, 1, 7, 40])
def test_against_numpy(m, extra, rng):
    n = m + extra
    a, d, b = rng.standard_normal((m, n)), rng.uniform(0.5, 2, n), rng.standard_normal(m)
    work = normal_workspace(m, n)
    c = b.copy()
    assert solve(a.ravel(), d, c, m, n, work) == 0
    matrix = a * d @ a.T
    upper = np.triu(work.upper.reshape(m, stride_of.py_func(m))[:, :m])
    np.testing.assert_allclose(upper.T @ upper, matrix, atol=1e-14 * np.linalg.norm(matrix))
    assert np.linalg.norm(matrix @ c - b) <= 1e-14 * np.linalg.cond(matrix) * np.linalg.norm(b)


def test_equations_that_follow_from_others_get_no_weight(rng):
    """A row that comes twice: its second pivot is round-off, and the solution solves what can be solved."""
    a, d = rng.standard_normal((12, 20)), rng.uniform(0.5, 2, 20)
    a[9] = a[4]
    work = normal_workspace(12, 20)
    matrix = a * d @ a.T
    b = matrix @ rng.standard_normal(12)
    c = b.copy()
    assert solve(a.ravel(), d, c, 12, 20, work) == 1
    assert c[9] == 0
    np.testing.assert_allclose(matrix @ c, b, atol=1e-11)


def test_a_matrix_of_zeros_gives_zeros():
    work = normal_workspace(5, 6)
    b = np.ones(5)
    assert solve(np.zeros(30), np.ones(6), b, 5, 6, work) == 5
    assert not b.any()
