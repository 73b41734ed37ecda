"""Coefficients of a stabilised explicit Runge-Kutta method of order 3 (4 where f is linear), made when first asked for.

s stages have the stability polynomial ``R(z) = w(z) P(z)`` of ROCK4 (Abdulle, SIAM J. Sci. Comput. 23, 2002): ``R(z) =
e^z + O(z^5)``, ``|R| <= 0.95`` down to about ``z = -0.348 s^2``. P, of degree s - 4, is orthogonal with the weight
``w^2 / sqrt(1 - x^2)`` where ``x = a + kappa z`` lies in [-1, 1], so that ``w P`` swings between nearly equal heights.
w has four zeros ``1 - (u +- i v) / s^2``: three of these numbers meet the conditions of order, one sets the height, and
the length of the interval hardly depends on ``a = 1 + A / s^2``.

ROCK4 takes its stages by the recurrence of P and finishes with four stages whose stability polynomial is w. But w is
large, like ``s^8 / 6600`` far down the interval, where a small P makes up for it; what is not linear meets w alone.
(Measured on a matrix completion: an error like ``h^5``, up to 37 times the length of the step.) So the stages here are
those of RKC2 (Sommeijer, Shampine, Verwer, J. Comput. Appl. Math. 88, 1998),

    g_j = (1 - mu_j - nu_j) y + mu_j g_{j-1} + nu_j g_{j-2} + h (m_j f(g_{j-1}) + l_j f(y)),

stable on all of the interval and of order 2 each, and the new point is ``y + h sum_j b_j f(g_j)``: the b_j, of the
order of 1/s, are the coefficients of ``(R - 1) / z`` in the basis of the stages' stability polynomials. As stages are
of order 2, R alone makes the method one of order 3. (The first stage is only of order 1: it is put so close to y that
0.0005 of one condition of order 3 is left at 5 stages, and ``s^-4`` of that later.) Another such combination, with the
slope at the new point, estimates the error: what is not met of the conditions of order 4, and `LINEAR` times ``h^4
y'''' / 24`` where f is linear, filtered like ``z^4 / (1 - z/3)^4``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit

SHIFT = 5.76872
"""A: where z = 0 lies to the right of the interval."""

HEIGHT = (8.6288, 81.0, 640.0)
"""The real part u of the first zero, ``h_0 + h_1/s^2 + h_2/s^4``: fitted so that the swings of R are 0.95 high."""

FIRST_ZEROS = (7.8678, -4.07542, 21.1914)
"""Imaginary part v of the first zero of w, and both parts u, v of the second, at 14 stages."""

DEGREES = (*range(5, 17), 18, 20, 22, 24, 26, 28, 30, 33, 36, 39, 42, 46, 50, 54, 59, 64, 70, 76, 82, 89, 97, 105, 114)
DEGREES += (124, 135, 147, 160, 174, 189, 208, 235, 270, 310, 355, 405)
"""The numbers of stages of the methods that there are."""

PAIRS = 4
"""The degree of the factor w of the stability polynomial."""

DAMPING = 2 / 13
"""The damping of the stages: their Chebyshev polynomials are taken from ``1 + DAMPING / s^2`` down to -1."""

NEAR = 64
"""The first stage is so many times nearer to y than in RKC2."""

LINEAR = 0.4
"""The estimate over ``z^4 / 24`` where f is linear, whose error is of order 5; less of it is harder to filter."""

MANY = 60
"""With more stages the estimate meets the last of its conditions to a hundredth by itself."""

POLE = 3.0
"""Where the filter of the estimate of the error has its pole."""


MU, NU, REST, MOVE, LAG, WEIGHT, ERROR_WEIGHT = range(7)
"""The columns of `Chebyshev.rows`. Stage j is ``MU Y_{j-1} + NU Y_{j-2} + REST y + h (MOVE f_{j-1} + LAG f_0)``; its
slope has the `WEIGHT` in the new point and the `ERROR_WEIGHT` in the estimate of the error."""


class Chebyshev(NamedTuple):
    """The coefficients of all methods: how many ``stages`` each has, and its stability interval ``[-length, 0]``.

    ``rows`` (total, 7), of stage j of method i in row ``first[i] + j``, with named columns. ``last`` (methods,): the
    weight of the slope at the new point in the estimate of the error.
    """

    stages: np.ndarray
    length: np.ndarray
    first: np.ndarray
    rows: np.ndarray
    last: np.ndarray


@functools.cache
def chebyshev() -> Chebyshev:
    """The coefficients of all methods of `DEGREES`, made once."""
    zeros = zeros_of_w()
    rows, lengths, last = zip(*(_weighted_stages(degree, zeros[degree]) for degree in DEGREES), strict=True)
    made = (np.array(DEGREES), np.array(lengths), np.cumsum([0, *map(len, rows)]), np.concatenate(rows), np.array(last))
    for array in made:
        array.flags.writeable = False
    return Chebyshev(*made)


def zeros_of_w() -> dict[int, np.ndarray]:
    """v of the first zero, u and v of the second, for each of `DEGREES`."""
    middle = DEGREES.index(14)
    zeros: dict[int, np.ndarray] = {}
    for order in (DEGREES[middle::-1], DEGREES[middle:]):
        zero = np.array(FIRST_ZEROS)
        for degree in order:
            zero = zeros[degree] = _solve_zeros(degree, zero)
    return zeros


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


def _w(degree: int, zero: np.ndarray) -> np.ndarray:
    """The zeros of w, a row ``real, imaginary`` for each pair."""
    square, h = degree**2, HEIGHT
    u = h[0] + h[1] / square + h[2] / square**2
    return np.array([[1 - u / square, zero[0] / square], [1 - zero[1] / square, zero[2] / square]])


def polynomials(degree: int, zero: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b of P, and the Taylor coefficients of w P at z = 0 by x, over its value."""
    roots, shift, jet = _w(degree, zero), 1 + SHIFT / degree**2, np.zeros(5)
    a, b = orthogonal_polynomials(degree - PAIRS, *roots, shift, jet)
    for root in roots:
        jet = np.convolve(jet, [(shift - root[0]) ** 2 + root[1] ** 2, 2 * (shift - root[0]), 1])[:5]
    return a, b, jet / jet[0]


def _solve_zeros(degree: int, zero: np.ndarray) -> np.ndarray:
    """The zeros for which ``w P`` is ``e^z`` up to ``z^4``: one condition sets the scale of x, three are left."""

    def defect(zero: np.ndarray) -> np.ndarray:
        jet = polynomials(degree, zero)[2]
        return np.array([2 * jet[2] / jet[1] ** 2, 6 * jet[3] / jet[1] ** 3, 24 * jet[4] / jet[1] ** 4]) - 1

    for _ in range(30):
        now = defect(zero)
        slopes = np.array([(defect(zero + step) - now) / 1e-6 for step in 1e-6 * np.eye(3)]).T
        change = np.linalg.solve(slopes, now)
        zero = zero - change
        if np.abs(change).max() < 1e-12 * np.abs(zero).max():
            break
    return zero


def _stability(degree: int, zero: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """The stability polynomial R as a function, and how far down ``|R| <= 1`` holds."""
    a, b, jet = polynomials(degree, zero)
    roots, shift = _w(degree, zero), 1 + SHIFT / degree**2

    def values(x: np.ndarray) -> np.ndarray:
        earlier, now, last = np.zeros_like(x), np.ones_like(x), 0.0
        for k in range(degree - PAIRS):
            earlier, now = now, ((x - a[k]) * now - last * earlier) / b[k]
            last = b[k]
        for root in roots:
            now = now * ((x - root[0]) ** 2 + root[1] ** 2)
        return now

    at_zero = values(np.array([shift]))[0]
    return lambda z: values(shift + z / jet[1]) / at_zero, (1 + shift) * jet[1]


def _weighted_stages(s: int, zero: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The rows of `Chebyshev`, the length of the interval, and the last weight of the estimate, of s stages."""
    stability, length = _stability(s, zero)
    # Chebyshev polynomials T_j, T_j', T_j'' at w0
    w0 = 1 + DAMPING / s**2
    w1, t, d, e = (1 + w0) / length, np.ones(s), np.zeros(s), np.zeros(s)
    t[1], d[1] = w0, 1
    for j in range(2, s):
        t[j], d[j] = 2 * w0 * t[j - 1] - t[j - 2], 2 * w0 * d[j - 1] - d[j - 2] + 2 * t[j - 1]
        e[j] = 2 * w0 * e[j - 1] - e[j - 2] + 4 * d[j - 1]
    # the stages' stability polynomials a_j + b_j T_j(w0 + w1 z), of order 2 from the second on
    b = np.zeros(s)
    b[2:] = e[2:] / d[2:] ** 2
    b[0], b[1] = b[2], b[2] / NEAR
    a = 1 - b * t
    rows = np.zeros((s, ERROR_WEIGHT + 1))
    rows[1, [REST, MOVE]] = 1, b[1] * w1
    trees = np.zeros((s, 3))  # the elementary weights of t, [t] and [[t]] of the stages
    trees[1, 0] = rows[1, MOVE]
    for j in range(2, s):
        mu, nu, m = 2 * w0 * b[j] / b[j - 1], -b[j] / b[j - 2], 2 * w1 * b[j] / b[j - 1]
        rows[j, [MU, NU, REST, MOVE, LAG]] = mu, nu, 1 - mu - nu, m, -a[j - 1] * m
        trees[j] = mu * trees[j - 1] + nu * trees[j - 2] + m * np.array([1, *trees[j - 1, :2]])
        trees[j, 0] += rows[j, LAG]
    # (R - 1) / z in the basis of the stages, by way of Chebyshev polynomials
    points = 2 * s
    x = np.cos((np.arange(points) + 0.5) * np.pi / points)
    z, values = (x - w0) / w1, np.polynomial.chebyshev.chebvander(x, s - 1)
    weights = 2 / points * (values.T @ ((stability(z) - 1) / z)) / b
    weights[0] = weights[0] * b[0] / 2 - weights[1:] @ a[1:]
    rows[:, WEIGHT] = weights
    # The estimate is nearest to a filtered z^4 / 24 among those that are the error of the tree [t t t], and so on.
    slopes = z[:, None] * np.column_stack([a + b * values, stability(z)])
    q, r = np.linalg.qr(slopes)
    errors = np.linalg.solve(r, q.T @ (LINEAR * z**4 / 24 / (1 - z / POLE) ** 4))
    trees = np.vstack([trees, [1, 1 / 2, 1 / 6]])
    conditions = np.column_stack([np.ones(s + 1), trees, trees[:, 0] ** 3])
    left = np.array([0, 0, 0, LINEAR / 24, weights @ trees[:s, 0] ** 3 - 1 / 4]) - conditions.T @ errors
    if s > MANY:
        conditions, left = conditions[:, :4], left[:4]
    errors += np.linalg.solve(r, np.linalg.lstsq(np.linalg.solve(r.T, conditions).T, left, rcond=None)[0])
    rows[:, ERROR_WEIGHT] = errors[:s]
    return rows, length, errors[s]
