"""Steps of the gradient flow: of order 8 or 5 where it is not stiff, stabilised of order 3 where it is.

The Jacobian of a gradient flow is minus the Hessian, so what is stiff lies on the negative real axis, down to minus the
largest eigenvalue. `dormand_prince` and `chebyshev` have the methods.

A step asks for one slope after the other: each stage, 1 to the number that the method has, is laid out at a point, and
whoever takes the step writes the slope there before the next one; the last point is where the step leads. So the steps
of several runs, whatever their stages and methods, can have their slopes evaluated together.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.flow.chebyshev import ERROR_WEIGHT, LAG, MOVE, MU, NU, REST, WEIGHT
from fastflow.kernels.flow.dormand_prince import ROWS, SLOPES, add_slopes
from fastflow.kernels.networks.curvature import curve, visit
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.combine import combine_at, measure_step_at, squares_at
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

ESTIMATED, FACTORS = 2 * SLOPES, 2 * SLOPES + SIZES
"""The place of `Step.factors` from which on squares go, and its length."""

STATE, POINT, SLOPE, HERE, BEFORE, CHANGE, ERROR, POWER, IMAGE, FIRST_SLOPE = range(10)
"""The rows of `Step.vectors`: where the run is; where a step leads and the gradient there; the point of a stage, and of
the one before it; scratch for the step and the estimate of its error; the eigenvector of the Hessian, or how slopes
changed in a step that is not stabilised; scratch; the slopes of a `DormandPrince` in its order."""

GRADIENT = FIRST_SLOPE + ROWS[0]
"""The row of the gradient where the run is: that of the first of these slopes."""

VECTORS = FIRST_SLOPE + SLOPES
"""How many rows there are."""


class Step(NamedTuple):
    """A run under way and scratch.

    ``vectors`` (`VECTORS`, parameters) has named rows, ``sizes`` (`SIZES`,) has named places; ``factors`` (`FACTORS`,)
    and ``weights`` (`SLOPES`,) are scratch.
    """

    vectors: np.ndarray
    sizes: np.ndarray
    factors: np.ndarray
    weights: np.ndarray


def step_memory(members: int, parameters: int) -> Step:
    """The `Step` of each of some members: the first axis of each array is theirs."""
    vectors = aligned_zeros((members * VECTORS * parameters,), np.float64).reshape(members, VECTORS, parameters)
    return Step(vectors, *(np.zeros((members, length)) for length in (SIZES, FACTORS, SLOPES)))


@jit_inline
def place_of(step, row):
    """The address of a row of `Step.vectors`."""
    return address(step.vectors[row], np.intp(0))


@jit_internal
def largest_rate(field, index, step, begins):
    """The largest eigenvalue of the Hessian in magnitude, a little above, by power iteration at the state.

    Also returns the gradient evaluations that this was worth. Where it ``begins``, it does so near the direction in
    which slopes changed in the last step of a `DormandPrince`.
    """
    state, power, image, weight = step.vectors[STATE], step.vectors[POWER], step.vectors[IMAGE], field.weights[index]
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
def lay_out_stabilised(table, step, which, length, stage):
    """Lay out a stage of method ``which`` of a `Chebyshev`; the row of its point, whose slope goes to `SLOPE`."""
    n, h, j, stages, first = step.vectors.shape[1], length, stage - 1, table.stages[which], table.first[which]
    rows, slope = table.rows, place_of(step, SLOPE)
    state, gradient, new, error = (
        place_of(step, STATE),
        place_of(step, GRADIENT),
        place_of(step, POINT),
        place_of(step, ERROR),
    )
    # Of the last two points one was before the other: they change places from stage to stage.
    row, last = HERE, BEFORE
    if stage % 2 == 0:
        row, last = BEFORE, HERE
    target, now = place_of(step, row), place_of(step, last)
    if stage == 1:
        combine_at(new, (1.0, -h * rows[first, WEIGHT]), (state, gradient), (), (), n)
        combine_at(error, (-h * rows[first, ERROR_WEIGHT],), (gradient,), (), (), n)
        combine_at(target, (1.0, -h * rows[first + 1, MOVE]), (state, gradient), (), (), n)
        copy(step.vectors[BEFORE], step.vectors[STATE], n)
    else:
        weights = (-h * rows[first + j, WEIGHT], -h * rows[first + j, ERROR_WEIGHT])
        if stage < stages:
            at = first + stage
            factors = (-h * rows[at, MOVE], rows[at, MU], rows[at, NU], rows[at, REST], -h * rows[at, LAG])
            combine_at(target, factors, (slope, now, target, state, gradient), (new, error), weights, n)
        else:
            combine_at(target, (1.0,), (slope,), (new, error), weights, n)
            row = POINT
    keep(step)
    return row


@jit_internal
def finish_stabilised(table, step, which, length):
    """Fill ``sizes``, with the slope at the new point at hand."""
    n = step.vectors.shape[1]
    state, new, slope = place_of(step, STATE), place_of(step, POINT), place_of(step, SLOPE)
    change, error = place_of(step, CHANGE), place_of(step, ERROR)
    combine_at(change, (-1.0, 1.0), (state, new), (), (), n)
    combine_at(error, (-length * table.last[which], 1.0), (slope, error), (), (), n)
    squares_at((error, change, new, slope), n, address(step.sizes, np.intp(0)))
    keep(step)
    for k in range(OF_OTHER):
        step.sizes[k] = math.sqrt(step.sizes[k])


@jit_internal
def lay_out_nonstiff(table, step, length, stage):
    """Lay out a stage of a `DormandPrince`; the rows of its point and of its slope."""
    n, stages, slopes = step.vectors.shape[1], table.stages, place_of(step, FIRST_SLOPE)
    row, goal, end = HERE, FIRST_SLOPE + stage, max(stage, 3)
    if stage < 3:
        goal = FIRST_SLOPE + 2 - stage
    if stage == stages:
        row, goal, end = POINT, SLOPE, stages
    place, state = place_of(step, row), place_of(step, STATE)
    add_slopes(place, 1.0, state, table.points[stage], -length, slopes, table.first[stage], end, step.factors, n)
    keep(step)
    return row, goal


@jit_internal
def finish_nonstiff(table, step, length):
    """Fill ``sizes``, with the slope at the new point at hand.

    Returns a lower bound of the largest rate at which slopes change; 0 where there is none.
    """
    n, i, sizes, first, end = step.vectors.shape[1], np.intp, step.sizes, table.first[table.stages], table.stages + 1
    for k in range(end - first):
        for estimate in range(2):
            step.factors[estimate * SLOPES + k] = length * table.errors[estimate, first + k]
    places = address(step.factors, i(0))
    results = places + 8 * ESTIMATED
    measure_step_at(
        place_of(step, STATE),
        place_of(step, HERE),
        place_of(step, POINT),
        place_of(step, SLOPE),
        place_of(step, POWER),
        place_of(step, FIRST_SLOPE + first),
        places,
        n,
        end - first,
        results,
    )
    keep(step)
    squares = step.factors[ESTIMATED:]
    sizes[OF_STEP], sizes[OF_POINT], sizes[OF_SLOPE] = (
        math.sqrt(squares[2]),
        math.sqrt(squares[3]),
        math.sqrt(squares[4]),
    )
    error, other = squares[5], 0.0
    if table.estimates > 1:
        other = squares[6]
    both = math.sqrt(error + 0.01 * other)
    sizes[OF_ERROR], sizes[OF_OTHER] = error / both if both > 0 else 0.0, math.sqrt(other)
    apart, bent, rate = math.sqrt(squares[0]), math.sqrt(squares[1]), 0.0
    if apart > SURE * sizes[OF_POINT]:
        rate = bent / apart
    return rate
