"""Steps of the gradient flow: of order 8 or 5 where it is not stiff, stabilised of order 3 where it is.

The Jacobian of a gradient flow is minus the Hessian, so what is stiff lies on the negative real axis, down to minus the
largest eigenvalue. `dormand_prince` and `chebyshev` have the methods.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.flow.chebyshev import ERROR_WEIGHT, LAG, MOVE, MU, NU, REST, WEIGHT
from fastflow.kernels.flow.dormand_prince import SLOPES, add_slopes
from fastflow.kernels.networks.curvature import curve, visit
from fastflow.kernels.networks.vector_field import slope
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.combine import combine_at, squares_at
from fastflow.kernels.vectors.elementwise import copy, dot
from fastflow.kernels.vectors.layouts import address, keep

SAFETY, CLOSE = 1.15, 0.04
"""The power iteration's eigenvalue comes from below; it ends when a turn changes it by less than this share."""

FIRST_TURNS, TURNS = 12, 8
"""Of the power iteration, where it begins and later."""

GUESSED = 3.0
"""Of the direction in which slopes changed, in the one that the power iteration begins with, beside a random one."""

SURE = 1e-12
"""Points that differ by less than this, over their norm, say nothing about the rate at which slopes change."""


OF_ERROR, OF_STEP, OF_POINT, OF_SLOPE, OF_OTHER = range(5)
"""The places of `Step.sizes`: the norms of the estimate of the error, of the step, of the new point, of the gradient
there, and of a second estimate, which only steps of order 8 have. What follows is scratch."""

SIZES = 7
"""The length of `Step.sizes`."""


class Step(NamedTuple):
    """A run under way and scratch, n the number of parameters.

    ``state``, ``gradient`` (n,) where it is; ``point`` and ``slope`` (n,) where a step leads and the gradient there;
    ``slopes`` (16 n,) of the stages of a `DormandPrince`; ``a`` to ``d`` (n,) scratch; ``power`` (n,) the eigenvector
    of the Hessian, or how slopes changed in a step that is not stabilised, ``image`` (n,) scratch. ``sizes`` (`SIZES`,)
    has named places; ``factors`` and ``weights`` (16,) are scratch.
    """

    state: np.ndarray
    gradient: np.ndarray
    point: np.ndarray
    slope: np.ndarray
    slopes: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray
    power: np.ndarray
    image: np.ndarray
    sizes: np.ndarray
    factors: np.ndarray
    weights: np.ndarray


def step_memory(parameters: int) -> Step:
    """A `Step` for so many parameters."""
    state, gradient, point, there, a, b, c, d, power, image = (
        aligned_zeros((parameters,), np.float64) for _ in range(10)
    )
    slopes, numbers = aligned_zeros((SLOPES * parameters,), np.float64), [np.zeros(n) for n in (SIZES, SLOPES, SLOPES)]
    return Step(state, gradient, point, there, slopes, a, b, c, d, power, image, *numbers)


@jit_internal
def largest_rate(field, index, step, begins):
    """The largest eigenvalue of the Hessian in magnitude, a little above, by power iteration at ``step.state``.

    Also returns the gradient evaluations that this was worth. Where it ``begins``, it does so near the direction in
    which slopes changed in the last `nonstiff_step`.
    """
    state, power, image, weight = step.state, step.power, step.image, field.weights[index]
    numbers = step.sizes
    copy(field.curvature.factors, state, state.size)
    visit(field.curvature, field.problem, index, weight)
    if begins:
        dot(power, power, power.size, numbers)
        scale = math.sqrt(numbers[0] / power.size)
        guessed = GUESSED / scale if 0 < scale < math.inf else 0.0
        # Beside it a direction without a bias for any, the same in every run: x -> 69069 x + 1 modulo 2^31.
        seed = 12345
        for k in range(power.size):
            seed = (69069 * seed + 1) % 2**31
            power[k] = (guessed * power[k] if guessed > 0 else 0.0) + seed / 2**31 - 0.5
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


@jit_internal
def stabilised_step(field, index, table, step, which, length):
    """A step of method ``which`` of a `Chebyshev`: fills ``point``, ``slope`` and ``sizes``; returns the loss there."""
    n, h, stages, first = step.state.size, length, table.stages[which], table.first[which]
    rows, i = table.rows, np.intp
    state, gradient, new, error = (
        address(step.state, i(0)),
        address(step.gradient, i(0)),
        address(step.point, i(0)),
        address(step.d, i(0)),
    )
    now, before = step.a, step.b
    combine_at(new, (1.0, -h * rows[first, WEIGHT]), (state, gradient), (), (), n)
    combine_at(error, (-h * rows[first, ERROR_WEIGHT],), (gradient,), (), (), n)
    combine_at(address(now, i(0)), (1.0, -h * rows[first + 1, MOVE]), (state, gradient), (), (), n)
    copy(before, step.state, n)
    here = address(step.slope, i(0))
    for j in range(1, stages):
        slope(field, index, now, step.slope)
        weights = (-h * rows[first + j, WEIGHT], -h * rows[first + j, ERROR_WEIGHT])
        row, target, factors = first + j + 1, address(before, i(0)), (0.0, 0.0, 0.0, 0.0, 0.0)
        if j < stages - 1:
            factors = (-h * rows[row, MOVE], rows[row, MU], rows[row, NU], rows[row, REST], -h * rows[row, LAG])
            sources = (here, address(now, i(0)), target, state, gradient)
            combine_at(target, factors, sources, (new, error), weights, n)
        else:
            combine_at(target, (1.0,), (here,), (new, error), weights, n)
        now, before = before, now
    loss = slope(field, index, step.point, step.slope)
    change = address(step.c, i(0))
    combine_at(change, (-1.0, 1.0), (state, new), (), (), n)
    combine_at(error, (-h * table.last[which], 1.0), (here, error), (), (), n)
    squares_at((error, change, new, here), n, address(step.sizes, i(0)))
    keep(step)
    keep(now)
    keep(before)
    for k in range(OF_OTHER):
        step.sizes[k] = math.sqrt(step.sizes[k])
    return loss


@jit_internal
def nonstiff_step(field, index, table, step, length):
    """A step of a `DormandPrince`: fills ``point``, ``slope`` and ``sizes``; returns the loss there.

    Also returns a lower bound of the largest rate at which slopes change; 0 where there is none.
    """
    n, h, i, slopes, sizes, loss = step.state.size, length, np.intp, step.slopes, step.sizes, 0.0
    stages, first = table.stages, table.first[table.stages]
    copy(slopes[2 * n : 3 * n], step.gradient, n)
    for stage in range(1, stages):
        add_slopes(
            step.a, 1.0, step.state, table.points[stage], -h, slopes, table.first[stage], max(stage, 3), step.factors
        )
        row = stage
        if stage < 3:
            row = 2 - stage
        slope(field, index, step.a, slopes[row * n : (row + 1) * n])
    add_slopes(step.point, 1.0, step.state, table.points[stages], -h, slopes, first, stages, step.factors)
    loss = slope(field, index, step.point, step.slope)
    copy(slopes[stages * n : (stages + 1) * n], step.slope, n)
    state, last, new, here = (
        address(step.state, i(0)),
        address(step.a, i(0)),
        address(step.point, i(0)),
        address(step.slope, i(0)),
    )
    apart, change, estimated = address(step.b, i(0)), address(step.c, i(0)), address(step.d, i(0))
    combine_at(apart, (-1.0, 1.0), (last, new), (), (), n)
    bent = address(step.power, i(0))
    combine_at(bent, (-1.0, 1.0), (address(slopes, (stages - 1) * n), here), (), (), n)
    squares_at((apart, bent), n, address(sizes, i(0)))
    apart_size, rate = math.sqrt(sizes[0]), 0.0
    slopes_apart = math.sqrt(sizes[1])
    combine_at(change, (-1.0, 1.0), (state, new), (), (), n)
    add_slopes(step.d, 0.0, step.state, table.errors[0], h, slopes, first, stages + 1, step.factors)
    squares_at((estimated, change, new, here), n, address(sizes, i(0)))
    sizes[OF_OTHER] = 0
    if table.estimates > 1:
        add_slopes(step.a, 0.0, step.state, table.errors[1], h, slopes, first, stages + 1, step.factors)
        squares_at((last,), n, address(sizes, i(OF_OTHER)))
    keep(step)
    if apart_size > SURE * math.sqrt(sizes[OF_POINT]):
        rate = slopes_apart / apart_size
    error = math.sqrt(sizes[OF_ERROR] + 0.01 * sizes[OF_OTHER])
    sizes[OF_ERROR] = sizes[OF_ERROR] / error if error > 0 else 0.0
    for k in range(OF_STEP, OF_OTHER + 1):
        sizes[k] = math.sqrt(sizes[k])
    return loss, rate
