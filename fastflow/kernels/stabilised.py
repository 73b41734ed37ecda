"""Stabilised explicit steps of the gradient flow, of order 2 and 4, and the largest eigenvalue that they need.

The Jacobian of a gradient flow is minus the Hessian, so what is stiff lies on the negative real axis. RKC2 (Sommeijer,
Shampine, Verwer, J. Comput. Appl. Math. 88, 1998) has s stages and is stable down to ``-0.65 s^2``; `rock4` is of
order 4. Both need s gradients a step, the one at the new point included.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.curvature import curve, visit
from fastflow.kernels.elementwise import copy, dot
from fastflow.kernels.jit import jit_inline, jit_internal
from fastflow.kernels.vector_field import slope

SECOND, FOURTH = 0, 1
"""The two methods."""

MOST_STAGES = 500
"""Of RKC2."""

SAFETY, CLOSE = 1.15, 0.04
"""The power iteration's eigenvalue comes from below; it ends when a turn changes it by less than this share."""

DAMPING = 2 / 13

FIRST_TURNS, TURNS = 12, 8
"""Of the power iteration, at the start of a run and later."""


class Step(NamedTuple):
    """A run under way and scratch, n the number of parameters.

    ``state``, ``gradient`` (n,) where it is; ``points`` (3, n), whose last row is the new point; ``slopes`` (5, n),
    the last is the gradient there; ``power`` (n,) the eigenvector of the Hessian, ``image`` (n,) scratch. ``sizes``
    (4,): the norms of the error, the step, the new point, and the gradient there.
    """

    state: np.ndarray
    gradient: np.ndarray
    points: np.ndarray
    slopes: np.ndarray
    power: np.ndarray
    image: np.ndarray
    sizes: np.ndarray


def step_memory(parameters: int) -> Step:
    """A `Step` for so many parameters."""
    vectors = [np.zeros(parameters) for _ in range(4)]
    return Step(
        vectors[0],
        vectors[1],
        np.zeros((3, parameters)),
        np.zeros((5, parameters)),
        vectors[2],
        vectors[3],
        np.zeros(4),
    )


@jit_internal
def largest_rate(field, index, step, begins):
    """The largest eigenvalue of the Hessian in magnitude, a little above, by power iteration at ``step.state``.

    Also returns the gradient evaluations that this was worth.
    """
    state, power, image, weight = step.state, step.power, step.image, field.weights[index]
    numbers = step.sizes
    copy(field.curvature.factors, state, state.size)
    visit(field.curvature, field.problem, index, weight)
    if begins:
        # A direction without a bias for any, the same in every run: x -> 69069 x + 1 modulo 2^31.
        seed = 12345
        for k in range(power.size):
            seed = (69069 * seed + 1) % 2**31
            power[k] = seed / 2**31 - 0.5
    dot(power, power, power.size, numbers)
    size, radius, spent = math.sqrt(numbers[0]), 0.0, 1
    for turn in range(FIRST_TURNS if begins else TURNS):
        for k in range(power.size):
            power[k] /= size
        curve(field.curvature, field.problem, index, weight, power, image)
        copy(power, image, power.size)
        spent += 2
        dot(power, power, power.size, numbers)
        size, last = math.sqrt(numbers[0]), radius
        radius = size
        if not size > 0 or (turn > 0 and abs(radius - last) <= CLOSE * radius):
            break
    if not size > 0:
        power[:] = 1.0
    return SAFETY * radius, spent


@jit_inline
def second_stages(length, rate):
    """The stages that RKC2 needs for a step of this length."""
    return max(2, int(math.sqrt(1 + 1.54 * length * rate)) + 1)


@jit_inline
def second_length(stages, rate):
    """The longest step of RKC2 with so many stages."""
    return (stages**2 - 1) / (1.54 * rate) if rate > 0 else np.inf


@jit_internal
def try_step(field, index, table, step, method, which, length):
    """A step from ``step.state``: fills the last rows of ``points`` and ``slopes`` and ``sizes``; returns the loss.

    ``which`` is the number of stages of `SECOND`, and the row of the table (`Rock4`) for `FOURTH`.
    """
    state, gradient, points, slopes, sizes = step.state, step.gradient, step.points, step.slopes, step.sizes
    n, h, now, before = state.size, length, 0, 1
    new_point, new_slope = points[2], slopes[4]
    # RKC2's recurrence by those of Chebyshev polynomials at w0 and their first two derivatives
    stages, first, inner = which, 0, 0
    w0, w1, b, b_last, b_before = 1.0, 0.0, 0.0, 0.0, 0.0
    t_last, t_before, d_last, d_before, e_last, e_before = 1.0, 1.0, 1.0, 0.0, 0.0, 0.0
    if method == SECOND:
        w0 = 1 + DAMPING / stages**2
        root = math.sqrt(w0 * w0 - 1)
        angle = stages * math.log(w0 + root)
        w1 = math.sinh(angle) * root**2 / (math.cosh(angle) * stages * root - w0 * math.sinh(angle))
        b_last = b_before = 1 / (2 * w0) ** 2
        t_last = w0
        lead, inner = w1 * b_last * h, stages - 1
    else:
        first, stages = table.first[which], table.stages[which]
        lead, inner = table.recurrence[first, 0] * h, stages - 5
    point, other = points[0], points[1]
    for k in range(n):
        point[k] = state[k] - lead * gradient[k]
        other[k] = state[k]
    loss = 0.0
    for turn in range(stages):
        late = turn - inner  # of the order 4, the number of the finishing stage
        at, to = now, 0
        if turn == stages - 1:
            at, to = 2, 4
        elif method == FOURTH and late > 0:
            at, to = before, late
        loss = slope(field, index, points[at], slopes[to])
        point, other, here = points[now], points[before], slopes[0]
        if turn == stages - 1:
            pass
        elif method == SECOND:
            t = 2 * w0 * t_last - t_before
            d = 2 * w0 * d_last - d_before + 2 * t_last
            e = 2 * w0 * e_last - e_before + 4 * d_last
            b = e / d**2
            mu, nu, a = 2 * w0 * b / b_last, -b / b_before, 1 - t_last * b_last
            rest, move = 1 - mu - nu, mu * w1 / w0 * h
            target = new_point if turn == stages - 2 else other
            for k in range(n):
                target[k] = mu * point[k] + nu * other[k] + rest * state[k] - move * (here[k] - a * gradient[k])
            t_before, t_last, d_before, d_last, e_before, e_last = t_last, t, d_last, d, e_last, e
            b_before, b_last = b_last, b
            now, before = before, now
        elif late < 0:
            row = first + turn + 1
            move, nu, kappa = table.recurrence[row, 0] * h, table.recurrence[row, 1], table.recurrence[row, 2]
            for k in range(n):
                other[k] = nu * point[k] + kappa * other[k] - move * here[k]
            now, before = before, now
        elif late == 0:
            a = h * table.inner[which, 1, 0]
            for k in range(n):
                other[k] = point[k] - a * slopes[0, k]
        elif late == 1:
            a, b = h * table.inner[which, 2, 0], h * table.inner[which, 2, 1]
            for k in range(n):
                other[k] = point[k] - a * slopes[0, k] - b * slopes[1, k]
        elif late == 2:
            a, b, c = h * table.inner[which, 3, 0], h * table.inner[which, 3, 1], h * table.inner[which, 3, 2]
            for k in range(n):
                other[k] = point[k] - a * slopes[0, k] - b * slopes[1, k] - c * slopes[2, k]
        else:
            a, b = h * table.outer[which, 0], h * table.outer[which, 1]
            c, d = h * table.outer[which, 2], h * table.outer[which, 3]
            for k in range(n):
                new_point[k] = point[k] - a * slopes[0, k] - b * slopes[1, k] - c * slopes[2, k] - d * slopes[3, k]
    error, change = points[0], points[1]
    if method == SECOND:
        for k in range(n):
            change[k] = new_point[k] - state[k]
            error[k] = -0.8 * change[k] - 0.4 * h * (gradient[k] + new_slope[k])
    else:
        weights = table.error[which]
        a, b, c, d, e = h * weights[0], h * weights[1], h * weights[2], h * weights[3], h * weights[4]
        for k in range(n):
            change[k] = new_point[k] - state[k]
            error[k] = a * slopes[0, k] + b * slopes[1, k] + c * slopes[2, k] + d * slopes[3, k] + e * new_slope[k]
    dot(error, error, n, sizes)
    dot(change, change, n, sizes[1:])
    dot(new_point, new_point, n, sizes[2:])
    dot(new_slope, new_slope, n, sizes[3:])
    for k in range(4):
        sizes[k] = math.sqrt(sizes[k])
    return loss
