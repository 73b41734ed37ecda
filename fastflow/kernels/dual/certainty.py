"""How far rounding may have moved a limit: the part of the error that its residual does not show.

The limit is exact for a dual point ``z = A^T lam`` that is wrong by the rounding of its terms. At L >= 3 the entries
that the flow has found lie within ``d = u^{-k}/k`` of the end ``c = a^{-k}/k`` of z's domain, a share ``(a/u)^k`` of
c; so relative errors of d are ``(u/a)^k`` times those of z. Where the columns that are active (found, or within
rounding of that) are independent, ``A x = y`` pins x all the same. Where they are not, which is a tie of
``min sum c_i |x_i|``, it moves by as much. Columns that are nearly dependent multiply the residual instead.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_internal
from fastflow.kernels.dual.mirror import BOTH, DOWN, NEITHER, UP
from fastflow.kernels.vectors.elementwise import add_scaled_at, dot
from fastflow.kernels.vectors.inner import norm_of
from fastflow.kernels.vectors.layouts import address, keep

EPSILON = 2.0**-52

DRIFT = 32 * EPSILON
"""What z may be off by after all steps, as a share of what it is the sum of."""

FLOOR = 4096 * EPSILON
"""What no estimate goes below."""

FOUND = 1e-8
"""An entry of this share of the largest is active."""

TIED = 1e-10
"""So is one whose distance to the end of its domain is this share of what its z is the sum of."""

NEARLY = 1e-2
"""And of this share, one that could take the place of active ones, where their columns are alike."""

WEAKEST = 1e-6
"""Columns whose distance from the span of others is below this share of their norms are dependent."""


class Certainty(NamedTuple):
    """``error``, about what x may be off by, and ``condition``, what it moves by for relative changes of A and starts.

    Both relative to the largest entry of x.
    """

    error: float
    condition: float


@jit
def certainty(mirror, size, theta, x, slope, columns, residual, moved, order, span):
    """How certain a limit is.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    size : array (n,), ``|A|^T |lam|``, or how many roundings of what size have gone into z in all
    theta, x, slope : arrays (n,), where the coordinates are, and what `mirror_point` has there
    columns : array (n m), ``A^T``, or ``(Q A)^T`` for an orthogonal Q
    residual : float, ``||A x - y||`` with A as ``columns`` have it
    moved : float, the largest change of an entry of x that a Newton step for this residual makes
    order, span : arrays, int (n,) and (m m), scratch

    Returns
    -------
    Certainty
    """
    n = x.size
    m = columns.size // n
    largest, square = 0.0, np.empty(1)
    for i in range(n):
        largest = max(largest, abs(x[i]))
    if largest == 0:
        return Certainty(0.0, 1.0)
    for i in range(n):
        order[i] = i
    amplified, active, near, loose = 0.0, 0, n, 0.0
    for i in range(n):
        amplified = max(amplified, size[i] * slope[i] / largest)
    i = 0
    while i < near:
        # Active ones come to the front of the order, near ones to its end.
        k = order[i]
        room = 0.0 if abs(x[k]) > FOUND * largest and size[k] > 0 else _room(mirror, k, theta[k])
        if room <= TIED * size[k]:
            order[i], order[active] = order[active], k
            active, i = active + 1, i + 1
        elif room <= NEARLY * size[k]:
            near -= 1
            order[i], order[near] = order[near], k
        else:
            i += 1
        if room > TIED * size[k] and DRIFT * size[k] * slope[k] > EPSILON * largest:
            loose += DRIFT * size[k] * slope[k] * norm_of(columns[k * m : (k + 1) * m], square)
    weakest, shortest = 1.0, np.inf
    if active <= m:
        for i in range(active):
            column = columns[order[i] * m : (order[i] + 1) * m]
            length = norm_of(column, square)
            shortest = min(shortest, length)
            weakest = min(weakest, _extend(column, length, span, i, m, square) if length > 0 else 0.0)
    if active > m or weakest < WEAKEST:
        return Certainty(FLOOR + DRIFT * amplified + 4 * moved / largest, max(1.0, amplified))
    left = residual + loose
    reach = 4 * left / (weakest * shortest * largest) if shortest < np.inf else 0.0
    if active < m:
        for i in range(near, n):
            k = order[i]
            column = columns[k * m : (k + 1) * m]
            length = norm_of(column, square)
            apart = max(_extend(column, length, span, active, m, square), _room(mirror, k, theta[k]) / size[k])
            reach = max(reach, 4 * left / (apart * length * largest))
    return Certainty(FLOOR + DRIFT * min(amplified, m / weakest) + max(4 * moved / largest, reach), 1 / weakest)


@jit_internal
def absolute_times(a, dual, size):
    """``size = |A|^T |lam|``; A (m n) flat, lam (m,), size (n,)."""
    n = size.size
    for i in range(n):
        size[i] = 0.0
    for j in range(dual.size):
        row, factor = a[j * n : (j + 1) * n], abs(dual[j])
        for i in range(n):
            size[i] += abs(row[i]) * factor


@jit_internal
def _room(mirror, i, theta):
    """How far z is from the nearer end of its domain."""
    sides = mirror.sides[i]
    if mirror.depth <= 2 or sides == NEITHER:
        return np.inf
    if sides == BOTH:
        return (mirror.upper[i] + mirror.lower[i]) / (1 + math.exp(2 * abs(theta)))
    if sides == UP:
        return mirror.upper[i] * math.exp(-2 * theta)
    return mirror.lower[i] * math.exp(2 * theta) if sides == DOWN else np.inf


@jit_internal
def _extend(column, length, span, count, m, share):
    """Add a column to an orthonormal basis of ``count`` rows; its distance from their span, relative to its length.

    ``share`` (1,) is scratch.
    """
    new = span[count * m : (count + 1) * m]
    for j in range(m):
        new[j] = column[j] / length
    for k in range(count):
        old = span[k * m : (k + 1) * m]
        dot(old, new, m, share)
        add_scaled_at(0.0, address(new, np.intp(0)), -share[0], address(old, np.intp(0)), np.intp(m))
    left = norm_of(new, share)
    if left > 0:
        for j in range(m):
            new[j] /= left
    keep(span)
    return left
