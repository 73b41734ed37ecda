"""The metric of the balanced flow: its inverse, its integral formula, and directions it does not measure."""

from __future__ import annotations

import numpy as np
import pytest

from fastflow import theory

SHAPES = [(5, 5), (6, 4), (3, 5)]


def of_rank(shape, rank, rng, low=0.3):
    """A matrix of a rank whose other singular values are from ``low`` to 2."""
    left = np.linalg.qr(rng.standard_normal((shape[0], rank)))[0]
    right = np.linalg.qr(rng.standard_normal((shape[1], rank)))[0]
    return (left * np.linspace(2, low, rank)) @ right.T


def tangent(product, rng):
    """A random direction ``W B + C W``."""
    rows, columns = product.shape
    return product @ rng.standard_normal((columns, columns)) + rng.standard_normal((rows, rows)) @ product


@pytest.mark.parametrize("depth", [2, 3, 4, 7])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_metric_is_inverse_on_tangent_directions(shape, missing, depth, rng):
    product = of_rank(shape, min(shape) - missing, rng)
    direction = tangent(product, rng)
    for first, second in ((theory.metric, theory.metric_inverse), (theory.metric_inverse, theory.metric)):
        back = first(product, second(product, direction, depth), depth)
        np.testing.assert_allclose(back, direction, rtol=0, atol=1e-11 * np.abs(direction).max())


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_metric_is_its_integral(shape, missing, depth, rng):
    """``(sin(pi/N)/pi) int t^{1/N} tr[(tI + WW^T)^{-1} Z_1 (tI + W^TW)^{-1} Z_2^T] dt`` with ``t = e^v``.

    By the trapezoidal rule, which converges exponentially for such integrands, in the singular basis: dense solves are
    singular at small t.
    """
    product = of_rank(shape, min(shape) - missing, rng)
    first, second = tangent(product, rng), tangent(product, rng)
    left, values, right = np.linalg.svd(product)
    values[len(values) - missing :] = 0
    squares = [np.append(values**2, np.zeros(size - len(values))) for size in shape]
    turned = [left.T @ z @ right.T for z in (first, second)]
    # Where one singular value is 0 the integrand falls as t^{1/N} to the left, as t^{-1+1/N} to the right.
    v = np.linspace(-40 * depth, 45 * depth, 4001)
    t = np.exp(v)[:, None, None]
    weight = np.sin(np.pi / depth) / np.pi * (v[1] - v[0])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        kernel = t ** (1 + 1 / depth) / (t + squares[0][:, None]) / (t + squares[1][None])
    terms = np.where(turned[0] * turned[1] != 0, kernel * turned[0] * turned[1], 0)
    normal = (squares[0][:, None] == 0) & (squares[1][None] == 0)
    expected = weight * np.sum(np.where(normal, 0, terms))
    assert np.sum(theory.metric(product, first, depth) * second) == pytest.approx(expected, rel=1e-9)


def test_close_singular_values_do_not_cancel():
    """``(s^2 - r^2) / (s^{2/3} - r^{2/3})`` at relative distance 1e-15 has no digit right, the sum all."""
    values = np.array([2.0, 2.0 * (1 + 2e-15)])
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    got = theory.metric_inverse(np.diag(values), swap, 3)
    np.testing.assert_allclose(got, 3 * 2 ** (4 / 3) * swap, rtol=1e-13, atol=1e-14)


def test_stacks_and_depth_one(rng):
    products = np.array([of_rank((4, 3), rank, rng) for rank in (1, 2, 3)])
    directions = np.array([tangent(product, rng) for product in products])
    for function in (theory.metric, theory.metric_inverse):
        one_by_one = [function(p, z, 3) for p, z in zip(products, directions, strict=True)]
        np.testing.assert_allclose(function(products, directions, 3), one_by_one, rtol=1e-13)
        np.testing.assert_allclose(function(products, directions, 1), directions, rtol=1e-12, atol=1e-13)


def test_bad_directions(rng):
    product = of_rank((4, 3), 2, rng)
    with pytest.raises(ValueError, match=r"direction must be tangent .* of its norm is not"):
        theory.metric(product, rng.standard_normal((4, 3)), 3)
    np.testing.assert_allclose(theory.metric(product, np.zeros((4, 3)), 3), 0)
    with pytest.raises(ValueError, match=r"direction must have the shape \(4, 3\)"):
        theory.metric_inverse(product, np.ones((3, 4)), 3)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        theory.metric_inverse(product, product, 0)
    with pytest.raises(ValueError, match="product must be a matrix"):
        theory.metric(np.ones(3), np.ones(3), 2)
