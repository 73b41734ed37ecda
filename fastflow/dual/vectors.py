"""Two vectors: diagonal networks as ``x = u^L - v^L``, which their duals know, and back.

Identical factors are that. Two independent factors are that, too, in other coordinates: ``p = (u_1 + u_2)/2`` and
``q = (u_1 - u_2)/2`` follow ``p' = -g p``, ``q' = +g q``, and ``u_1 u_2 = p^2 - q^2``; what grows alike adds up,
``p^2 + s^2`` and ``q^2 + r^2`` with r and s the same halves of v.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastflow.checks import FloatArray
from fastflow.networks import Hadamard

NEWTON_STEPS = 12
"""More than enough for the last bit from where `vectors_at` starts."""


def as_two_vectors(form: Hadamard, factors: list[FloatArray]) -> tuple[FloatArray, FloatArray | None]:
    """Starts (..., n) of u and v with ``x = u^L - v^L`` for the flow of these factors; None for v if x is ``u^L``."""
    if form.identical or form.depth == 1:
        return factors[0], factors[1] if form.signed else None
    p, q = _halves(factors[:2])
    if not form.signed:
        return np.abs(p), np.abs(q)
    r, s = _halves(factors[2:])
    return np.hypot(p, s), np.hypot(q, r)


def factors_at(form: Hadamard, start: list[FloatArray], x: FloatArray) -> list[FloatArray]:
    """The factors to which the flow from a start has come when the product is x, all (..., n)."""
    positive, negative = as_two_vectors(form, start)
    u, v = vectors_at(form.depth, positive, negative, x)
    if form.identical or form.depth == 1:
        return [u, v] if form.signed else [u]
    assert negative is not None
    up, down = u / np.where(positive > 0, positive, 1), v / np.where(negative > 0, negative, 1)
    p, q = _halves(start[:2])
    factors: list[FloatArray] = [up * p + down * q, up * p - down * q]
    if form.signed:
        r, s = _halves(start[2:])
        factors += [down * r + up * s, down * r - up * s]
    return factors


def vectors_at(
    depth: float, positive: FloatArray, negative: FloatArray | None, x: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """u and v with ``u^L - v^L = x`` to which the flow from these starts comes; v is 0 if negative is None.

    A start of 0 stays 0 for L >= 2. Else the flow conserves ``u + v`` (L = 1), ``u v`` (L = 2), ``u^{2-L} + v^{2-L}``
    (L > 2).
    """
    if negative is None:
        return (x if depth == 1 else np.maximum(x, 0) ** (1 / depth)), np.zeros_like(x)
    if depth == 1:
        return (positive + negative + x) / 2, (positive + negative - x) / 2
    two = (positive > 0) & (negative > 0)
    positive_side, negative_side = positive > 0, negative > 0
    positive, other = np.where(two, positive, 1.0), np.where(two, negative, 1.0)
    if depth == 2:
        conserved = positive * other
        larger = np.sqrt((abs(x) + np.hypot(x, 2 * conserved)) / 2)
        smaller = conserved / larger
    else:
        k, t = angles_at(depth, positive, other, x)
        larger, smaller = (k * (1 + np.exp(sign * 2 * t)) ** (1 / (depth - 2)) for sign in (1, -1))
    alone = abs(x) ** (1 / depth)
    return (
        np.where(two, np.where(x >= 0, larger, smaller), np.where(positive_side & (x > 0), alone, 0.0)),
        np.where(two, np.where(x >= 0, smaller, larger), np.where(negative_side & (x < 0), alone, 0.0)),
    )


def angles_at(depth: float, positive: FloatArray, negative: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """k and t of two sides and L > 2, where x is: k^{2-L} is the conserved ``u^{2-L} + v^{2-L}``, and t >= 0.

    The larger of ``u^{L-2}`` and ``v^{L-2}`` is ``k^{L-2} (1 + e^{2t})``, the smaller ``k^{L-2} (1 + e^{-2t})``, so
    that ``|x| = k^L 2^{P+1} cosh(t)^P sinh(P t)``, P = L/(L-2): solved by Newton on asinh, from above.
    """
    power = depth / (depth - 2)
    k = (positive ** (2.0 - depth) + negative ** (2.0 - depth)) ** (-1 / (depth - 2))
    size = np.abs(x) / k**depth / 2 ** (power + 1)
    goal = np.arcsinh(size)
    t = np.minimum(goal / power, np.log1p(2 * size) / (2 * power) + np.log(2) / 2)
    for _ in range(NEWTON_STEPS):
        reached = np.cosh(t) ** power * np.sinh(power * t)
        slope = power * np.cosh(t) ** (power - 1) * np.cosh((power + 1) * t) / np.hypot(1, reached)
        before, t = t, np.maximum(t - (np.arcsinh(reached) - goal) / slope, 0)
        if np.array_equal(t, before, equal_nan=True):  # nowhere less, so that no entry's company changes its bits
            break
    return k, t


def _halves(factors: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    first, second = factors
    return (first + second) / 2, (first - second) / 2
