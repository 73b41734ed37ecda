"""Coefficients of a stabilised explicit Runge-Kutta method of order 4, made here when first asked for.

The method is of the kind of ROCK4 (Abdulle, SIAM J. Sci. Comput. 23, 2002): s stages have the stability polynomial
``R(z) = w(z) P(z)``, ``R(z) = e^z + O(z^5)``, ``|R| <= 0.95`` down to about ``z = -0.348 s^2``. P, of degree s - 4, is
orthogonal with the weight ``w^2 / sqrt(1 - x^2)`` where ``x = a + kappa z`` lies in [-1, 1], so its three-term
recurrence is a recurrence of stages, and ``w P`` swings between nearly equal heights. w has four zeros
``1 - (u +- i v) / s^2``: three of these numbers meet the conditions of order, one sets the height, and the length of
the interval hardly depends on ``a = 1 + A / s^2``. A finishing method of four stages, the least in size that meets
the eight conditions of order 4 together with P (by Newton), has the stability polynomial w. Its slopes and the one
at the new point give an estimate of the error of order 4 (that is, of a solution of order 3).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastflow.kernels.jit import jit

SHIFT = 5.76872
"""A: where z = 0 lies to the right of the interval."""

HEIGHT = (8.6288, 81.0, 640.0)
"""The real part u of the first zero, ``h_0 + h_1/s^2 + h_2/s^4``: fitted so that the swings of R are 0.95 high."""

FIRST_ZEROS = (7.8678, -4.07542, 21.1914)
"""The others at 14 stages: v, and u, v of the second."""

FIRST_FINISH = np.array([0.396, -0.29, 0.7515, -0.093, 0.1618, 0.976, 0.0256, 0.488, 0.319, 0.167])
"""The finishing method at 14 stages, over the share of the step that it takes."""

DEGREES = (*range(5, 17), 18, 20, 22, 24, 26, 28, 30, 33, 36, 39, 42, 46, 50, 54, 59, 64, 70, 76, 82, 89, 97, 105, 114)
DEGREES += (124, 135, 147, 160, 174, 189, 200)
"""The numbers of stages that there are."""

LAST = 4
"""Stages of the finishing method."""

TREES = np.array([1, 1 / 2, 1 / 3, 1 / 6, 1 / 4, 1 / 8, 1 / 12, 1 / 24])
"""What the elementary weights of a method of order 4 are: of the trees t, [t], [t t], [[t]], [t t t], ..., [[[t]]]."""


class Rock4(NamedTuple):
    """Of each method: how many ``stages``, its stability interval ``[-length, 0]``, and coefficients.

    ``recurrence`` (total, 3), from row ``first[i]`` on: ``g_j = mu h f(g_{j-1}) + nu g_{j-1} + kappa g_{j-2}`` for
    j = 1 .. s - 4. ``inner`` (methods, 4, 4), ``outer`` (methods, 4): the finishing method from there. ``error``
    (methods, 5): the weights of its slopes and the new one in the estimate of the error.
    """

    stages: np.ndarray
    length: np.ndarray
    first: np.ndarray
    recurrence: np.ndarray
    inner: np.ndarray
    outer: np.ndarray
    error: np.ndarray


@functools.cache
def rock4() -> Rock4:
    """All methods of `DEGREES`."""
    middle = DEGREES.index(14)
    zeros: dict[int, np.ndarray] = {}
    finishes: dict[int, np.ndarray] = {}
    for order in (DEGREES[middle::-1], DEGREES[middle:]):
        zero, finish = np.array(FIRST_ZEROS), FIRST_FINISH
        for degree in order:
            zero = zeros[degree] = _solve_zeros(degree, zero)
            weights = _elementary_weights(_recurrence(degree, zero)[0])
            finish = _solve_finish(weights, finish)
            finishes[degree] = finish * (1 - weights[0])
    rows, lengths = zip(*(_recurrence(degree, zeros[degree]) for degree in DEGREES), strict=True)
    inner = np.array([_unpack(finishes[degree])[0] for degree in DEGREES])
    outer = np.array([_unpack(finishes[degree])[1] for degree in DEGREES])
    error = np.array(
        [_error_weights(_elementary_weights(row), a, b) for row, a, b in zip(rows, inner, outer, strict=True)]
    )
    first = np.cumsum([0, *map(len, rows)])
    made = (np.array(DEGREES), np.array(lengths), first, np.concatenate(rows), inner, outer, error)
    for array in made:
        array.flags.writeable = False
    return Rock4(*made)


@jit
def orthogonal_polynomials(count, pair, other, shift, jet):
    """The recurrence ``b_k p_{k+1} = (x - a_k) p_k - b_{k-1} p_{k-1}`` of orthonormal polynomials, k < ``count``.

    The weight is ``w^2 / sqrt(1 - x^2)`` on [-1, 1], w with zeros ``pair[0] +- i pair[1]`` and ``other`` alike, by
    Stieltjes' procedure at Chebyshev points, enough of them to be exact. The Taylor coefficients of ``p_count`` at
    ``x = shift`` go to ``jet`` (5,).

    Returns
    -------
    arrays (count,) a, b
    """
    points = count + 8
    x, weight = np.empty(points), np.empty(points)
    before, now = np.zeros(points), np.ones(points)
    for i in range(points):
        x[i] = np.cos((i + 0.5) * np.pi / points)
        one, two = (x[i] - pair[0]) ** 2 + pair[1] ** 2, (x[i] - other[0]) ** 2 + other[1] ** 2
        weight[i] = (one * two) ** 2
    weight /= weight.sum()
    a, b, last = np.zeros(count), np.zeros(count), 0.0
    earlier, later = np.zeros(5), np.zeros(5)
    jet[:] = 0
    jet[0] = 1
    for k in range(count):
        for i in range(points):
            a[k] += weight[i] * x[i] * now[i] ** 2
        total = 0.0
        for i in range(points):
            value = (x[i] - a[k]) * now[i] - last * before[i]
            before[i], now[i] = now[i], value
            total += weight[i] * value**2
        b[k] = np.sqrt(total)
        for i in range(points):
            now[i] /= b[k]
        for i in range(5):
            later[i] = (shift - a[k]) * jet[i] - last * earlier[i]
            if i > 0:
                later[i] += jet[i - 1]
        for i in range(5):
            earlier[i], jet[i] = jet[i], later[i] / b[k]
        last = b[k]
    return a, b


def _polynomial(degree: int, zero: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b of P, and the Taylor coefficients of w P at z = 0 by x, over its value."""
    square, h = degree**2, HEIGHT
    u = h[0] + h[1] / square + h[2] / square**2
    pair, other = np.array([1 - u / square, zero[0] / square]), np.array([1 - zero[1] / square, zero[2] / square])
    shift, jet = 1 + SHIFT / square, np.zeros(5)
    a, b = orthogonal_polynomials(degree - LAST, pair, other, shift, jet)
    for root in (pair, other):
        jet = np.convolve(jet, [(shift - root[0]) ** 2 + root[1] ** 2, 2 * (shift - root[0]), 1])[:5]
    return a, b, jet / jet[0]


def _solve_zeros(degree: int, zero: np.ndarray) -> np.ndarray:
    """The zeros for which ``w P`` is ``e^z`` up to ``z^4``: one condition sets the scale of x, three are left."""

    def defect(zero: np.ndarray) -> np.ndarray:
        jet = _polynomial(degree, zero)[2]
        return np.array([2 * jet[2] / jet[1] ** 2, 6 * jet[3] / jet[1] ** 3, 24 * jet[4] / jet[1] ** 4]) - 1

    for _ in range(30):
        now = defect(zero)
        slopes = np.array([(defect(zero + step) - now) / 1e-6 for step in 1e-6 * np.eye(3)]).T
        change = np.linalg.solve(slopes, now)
        zero = zero - change
        if np.abs(change).max() < 1e-12 * np.abs(zero).max():
            break
    return zero


def _recurrence(degree: int, zero: np.ndarray) -> tuple[np.ndarray, float]:
    """mu, nu, kappa of the stages (degree - 4, 3), and how far down ``|R| <= 1`` holds."""
    a, b, jet = _polynomial(degree, zero)
    shift, scale = 1 + SHIFT / degree**2, 1 / jet[1]
    value, earlier, rows = 1.0, 0.0, []
    for k in range(degree - LAST):
        before = b[k - 1] if k else 0.0
        new = ((shift - a[k]) * value - before * earlier) / b[k]
        kappa = -before / b[k] * earlier / new
        rows.append((scale / b[k] * value / new, 1 - kappa, kappa))
        earlier, value = value, new
    return np.array(rows), (1 + shift) / scale


def _derivative(w: np.ndarray) -> np.ndarray:
    """What the elementary weights of a stage make of those of ``h f`` there; last axis trees."""
    one = np.ones_like(w[..., 0])
    t, tt, bush, tall = (w[..., i] for i in range(4))
    return np.stack([one, t, t**2, tt, t**3, t * tt, bush, tall], axis=-1)


def _elementary_weights(recurrence: np.ndarray) -> np.ndarray:
    """The weights of the trees up to order 4 of the last stage of a recurrence."""
    before, now = np.zeros(8), np.zeros(8)
    for mu, nu, kappa in recurrence:
        before, now = now, mu * _derivative(now) + nu * now + kappa * before
    return now


def _unpack(finish: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inner (..., 4, 4) and outer (..., 4) coefficients of finishing methods (..., 10)."""
    inner = np.zeros((*finish.shape[:-1], LAST, LAST))
    inner[..., [1, 2, 2, 3, 3, 3], [0, 0, 1, 0, 1, 2]] = finish[..., :6]
    return inner, finish[..., 6:]


def _slopes_after(weights: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The weights of the trees in each of four slopes (..., 4, 8), from where those of the state are ``weights``."""
    slopes: list[np.ndarray] = []
    for i in range(LAST):
        state = np.broadcast_to(weights, (*inner.shape[:-2], 8))
        for j, slope in enumerate(slopes):
            state = state + inner[..., i, j, None] * slope
        slopes.append(_derivative(state))
    return np.stack(slopes, axis=-2)


def _solve_finish(weights: np.ndarray, finish: np.ndarray) -> np.ndarray:
    """The finishing method (10,), over its share of the step: nearest to a given one, then by Newton of least norm."""
    share = 1 - weights[0]

    def defect(finish: np.ndarray) -> np.ndarray:
        inner, outer = _unpack(finish * share)
        return (weights + np.einsum("...i,...it->...t", outer, _slopes_after(weights, inner))) / TREES - 1

    for _ in range(30):
        now = defect(finish)
        slopes = (defect(finish + 1e-7 * np.eye(10)) - now).T / 1e-7
        change = np.linalg.lstsq(slopes, now, rcond=None)[0]
        finish = finish - change
        if np.abs(change).max() < 1e-14:
            break
    return finish


def _error_weights(weights: np.ndarray, inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """The combination of five slopes that vanishes up to order 3, scaled to ``h^4 y''''/24`` where f is linear."""
    slopes = np.vstack([_slopes_after(weights, inner), _derivative(TREES)])
    null: np.ndarray = np.linalg.svd(slopes[:, :4].T)[2][-1]
    return null / (null @ slopes[:, 7]) / 24
