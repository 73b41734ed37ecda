"""Hessian-vector products against the oracle, against differences of gradients, and as a symmetric operator."""

from __future__ import annotations

from typing import NamedTuple

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow.theory.hessian import Hessian

WIDTHS = [(5, 4), (7, 3, 2), (2, 3, 7), (9, 5, 4, 6), (6, 4, 5, 9), (3, 2, 1, 4, 5, 8), (1, 6, 3, 1)]


def flat(factors):
    return np.concatenate([factor.ravel() for factor in factors])


@pytest.mark.parametrize("normalization", ["sum", "mean"])
def test_hessian_of_chains(kind, normalization, make_problem, make_factors):
    for widths in WIDTHS:
        problem = make_problem(kind, (widths[-1], widths[0]), normalization=normalization)
        factors, direction = make_factors(widths), make_factors(widths)
        hessian = Hessian(problem, ff.DeepLinear(widths=widths), factors)
        assert hessian.loss == pytest.approx(naive.loss(problem, factors), rel=1e-12)
        wanted = flat(naive.gradient(problem, factors))
        np.testing.assert_allclose(hessian.gradient, wanted, rtol=0, atol=1e-13 * np.abs(wanted).max())
        wanted = flat(naive.hessian_times(problem, factors, direction))
        np.testing.assert_allclose(
            hessian.times(flat(direction)), wanted, rtol=0, atol=1e-12 * np.abs(wanted).max(), err_msg=str(widths)
        )


def test_hessian_of_chains_by_differences_of_gradients(make_problem, make_factors):
    widths = (6, 4, 5, 9)
    problem = make_problem("completion", (9, 6))
    factors, direction = make_factors(widths), make_factors(widths)
    ends = [
        flat(naive.gradient(problem, [f + t * v for f, v in zip(factors, direction, strict=True)]))
        for t in (1e-3, -1e-3, 2e-3, -2e-3)
    ]
    wanted = (8 * (ends[0] - ends[1]) - (ends[2] - ends[3])) / 12e-3
    got = Hessian(problem, ff.DeepLinear(widths=widths), factors).times(flat(direction))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())


@pytest.mark.parametrize("measurements", [4, 20])
def test_hessian_of_diagonal_networks(measurements, rng):
    """For each form, in the dense and in the Gram form of the data."""
    n = 6
    problem = ff.CompressedSensing(rng.standard_normal((measurements, n)), rng.standard_normal(measurements))
    assert problem.prefers_gram == (measurements > n)
    for depth in (1, 2, 3, 5):
        for signed in (True, False):
            sides = [[rng.standard_normal(n) for _ in range(depth)] for _ in range(2 if signed else 1)]
            direction = rng.standard_normal(n * depth * len(sides))

            def gradient(w, depth=depth, signed=signed):
                vectors = w.reshape(2 if signed else 1, depth, n)
                _, g = naive.vector_loss_gradient(problem, naive.hadamard_product([list(side) for side in vectors]))
                return np.concatenate([np.ravel(s) for s in naive.hadamard_gradient([list(v) for v in vectors], g)])

            w = np.concatenate([np.concatenate(side) for side in sides])
            network = ff.DiagonalLinear(depth, signed=signed, identical=False)
            hessian = Hessian(problem, network, w if depth * len(sides) > 1 else [w])
            np.testing.assert_allclose(hessian.gradient, gradient(w), rtol=1e-11, atol=1e-11)
            h = 1e-3
            wanted = 8 * (gradient(w + h * direction) - gradient(w - h * direction))
            wanted = (wanted - gradient(w + 2 * h * direction) + gradient(w - 2 * h * direction)) / (12 * h)
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(hessian.times(direction), wanted, rtol=0, atol=1e-7 * scale)


def test_the_operator_is_symmetric_and_finds_the_largest_eigenvalue_at_a_balanced_minimum(rng):
    """``N s_1^{2-2/N}`` where the residual vanishes."""
    from scipy.sparse.linalg import eigsh

    depth, left, right = 3, *(np.linalg.qr(rng.standard_normal((d, 4)))[0] for d in (7, 5))
    values = np.array([3.0, 2, 1, 0.5])
    root = np.diag(values ** (1 / depth))
    factors = [root @ right.T, root, left @ root]
    hessian = Hessian(
        ff.MatrixEstimation(left @ np.diag(values) @ right.T), ff.DeepLinear(widths=(5, 4, 4, 7)), factors
    )
    v, w = rng.standard_normal((2, hessian.size))
    assert v @ hessian.times(w) == pytest.approx(w @ hessian.times(v), rel=1e-12)
    largest = eigsh(hessian.operator(), 1, v0=v, return_eigenvectors=False)
    assert largest[0] == pytest.approx(depth * 3 ** (2 - 2 / depth), rel=1e-10)


class Quartic(NamedTuple):
    """``1/4 sum (W - target)^4``."""

    target: np.ndarray


def test_hessian_of_a_problem_of_the_users_own(make_factors, rng):
    def formula(problem, index, product, gradient):
        loss = 0.0
        for i in range(product.size):
            r = product[i] - problem.target[index, i]
            gradient[i] = r**3
            loss += r**4 / 4
        return loss

    ff.kernels.add_problem(Quartic, formula)
    widths, target = (3, 2, 4), rng.standard_normal((4, 3))
    factors, direction = make_factors(widths), make_factors(widths)
    hessian = Hessian(ff.CustomProblem((4, 3), Quartic(target.ravel())), ff.DeepLinear(widths=widths), factors)

    def gradient(t):
        moved = [f + t * v for f, v in zip(factors, direction, strict=True)]
        return flat(naive.chain_gradient(moved, (naive.chain_product(moved) - target) ** 3))

    wanted = (8 * (gradient(1e-3) - gradient(-1e-3)) - (gradient(2e-3) - gradient(-2e-3))) / 12e-3
    got = hessian.times(flat(direction))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-7 * np.abs(wanted).max())


def test_what_does_not_fit_is_said(make_factors):
    problem, network = ff.MatrixEstimation(np.eye(3)), ff.DeepLinear(2)
    with pytest.raises(ValueError, match="shapes"):
        Hessian(problem, network, make_factors((3, 2, 3)))
    with pytest.raises(ValueError, match="18 entries"):
        Hessian(problem, network, np.ones(17))
    with pytest.raises(ValueError, match="finite"):
        Hessian(problem, network, np.full(18, np.nan))
    with pytest.raises(ValueError, match="direction"):
        Hessian(problem, network, np.ones(18)).times(np.ones(4))
    with pytest.raises(ValueError, match="identical=False"):
        Hessian(ff.CompressedSensing(np.eye(3), np.ones(3)), ff.DiagonalLinear(2), np.ones(6))
