"""How far a flow's next step goes, whether it is taken, and by which method: the numbers of one run.

Each run chooses its own steps: their length by an estimate of the error, and the method by which of the two of
`stabilised` came further for a gradient evaluation when last tried: that of Dormand and Prince at first, the stabilised
one, with as many stages as the largest eigenvalue of the Hessian asks for, from where stability is what limits the
steps.

The error of a step is held to ``rtol`` times the norm of the factors and, where the gradient grows, on the way out of a
saddle, to `GROWING` rtol of the step itself: what leaves the saddle may be far smaller than the factors, and its
relative error is an error in the time of escape.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.flow.chebyshev import Chebyshev
from fastflow.kernels.flow.dormand_prince import DormandPrince
from fastflow.kernels.flow.stabilised import (
    GRADIENT,
    OF_ERROR,
    OF_OTHER,
    OF_POINT,
    OF_SLOPE,
    OF_STEP,
    POINT,
    SLOPE,
    STATE,
    Step,
    finish_nonstiff,
    finish_stabilised,
    lay_out_nonstiff,
    lay_out_stabilised,
)
from fastflow.kernels.vectors.elementwise import copy, dot
from fastflow.kernels.vectors.inner import has_digits, norm

NONSTIFF, STABILISED = 0, 1
"""The two methods that a run changes between."""

NONSTIFF_SHARE, STABILISED_SHARE = 1.0, 2.0
"""Of the estimates of the methods, which are of lower orders than what they estimate, in what is held to the tolerance
(measured)."""

GROWING, DECAYING = 8.0, 0.1
"""The error over that of the step: at most so many rtol where the gradient grows, at most so much where it does not."""

ROUNDING = 1e-15
"""What rounding does to the factors in a step, over their norm; times the step over the shortest time scale."""

TRIAL, LOST, WAIT, LONGEST_WAIT = 4, 2, 4, 64
"""Steps in which the other method is tried, after how many a trial without prospects ends, and steps between trials:
doubled by each that changes nothing."""

VANISHING = 0.3
"""What of the step the estimate of order 3, as a share of the step and to the power 9/4, is taken for at the least."""

STIFF = 0.75
"""The step times the rate at which slopes change, over what is trusted of it, from which on the stabilised method is
tried."""

ROOMY = 2.5
"""So many times longer a step could be by its error alone where the stabilised method, of a lower order, is tried."""

SMALLEST = 1e-8
"""Errors below this, over the tolerance, are taken for as much."""

LEAST_TREND = 0.5
"""Where errors grow from step to step, the next one is shortened by at most so much for that they will again."""

MANY, DENSE = 3, (0.5, 0.75)
"""So many times in so much of a step, by method, are interpolated, in no more of it than that."""

KEPT = 0.98
"""What a step that is not stabilised leaves of the largest rate: it sees less of it where what is stiff has died
down."""

REFRESH = 20
"""Steps of the stabilised method for which the largest rate is trusted; four times fewer where the gradient grows."""


class Methods(NamedTuple):
    """The coefficients of the method where nothing is stiff, and of the stabilised ones."""

    nonstiff: DormandPrince
    stabilised: Chebyshev


class Progress(NamedTuple):
    """A run under way: ``at`` and ``numbers`` by the names below, and its `Step`."""

    at: np.ndarray
    numbers: np.ndarray
    step: Step


PHASE, STAGE, WHICH, RECORD, METHOD, SINCE, TRIED, RESTED, PAUSE, STILL, END = range(11)
"""The places of `Progress.at`: what the slope that was asked for is for, the stage of the step, which of the
stabilised methods takes it, the next record, the method, steps since the rate was computed (negative: it begins anew),
steps of the trial so far (-1: none), steps since the last trial, and until the next one, whether the last step changed
nothing, and how the run has ended."""

TIME, LENGTH, RATE, LOSS, NORM, SIZE = range(6)
"""The places of `Progress.numbers`: time, length of the next step, largest rate, loss, norms of the gradient and of the
factors."""

OTHER_LENGTH, PROGRESS, LAST_LENGTH, LAST_ERROR, SPARE = range(6, 11)
"""Length and progress per evaluation of the method that a trial may come back to; of the last step of this method
length (0: none) and error, and how many times longer it could have been by that, stability aside."""

WANTED, TAKEN, MOMENT, SEEN, NEW_LOSS, ERROR_ALONE, ERROR = range(11, 18)
"""Of the step under way: the length that it should have, the one that it has so that it meets a time, its end, a lower
bound of the largest rate that it has seen (0: none), the loss at its end, and its error over what is allowed, stability
aside, and with that."""


@jit_inline
def begin_run(progress):
    """Have a run at time 0, its state and gradient at hand."""
    at, numbers = progress.at, progress.numbers
    at[:] = 0
    at[SINCE], at[TRIED] = -1, -1
    numbers[:] = 0
    numbers[LENGTH] = -1


@jit_internal
def lay_out_probe(progress):
    """Write a point a little down the gradient, by which `first_length` finds one, to `POINT`."""
    step, short = progress.step, short_length(progress.numbers)
    for k in range(step.vectors.shape[1]):
        step.vectors[POINT, k] = step.vectors[STATE, k] - short * step.vectors[GRADIENT, k]


@jit_inline
def short_length(numbers):
    """How far a hundredth of the factors' norm is at the first pace."""
    return 0.01 * numbers[SIZE] / numbers[NORM] if numbers[SIZE] > 0 else 1e-6


@jit_internal
def first_length(progress, order, rtol, atol):
    """A first step by the size of the gradient and of its change along it (Hairer, Norsett, Wanner, II.4)."""
    numbers, step = progress.numbers, progress.step
    change, short, sizes = step.vectors[SLOPE], short_length(numbers), step.sizes
    for k in range(change.size):
        change[k] -= step.vectors[GRADIENT, k]
    dot(change, change, change.size, sizes)
    pace = max(math.sqrt(sizes[0]) / short, numbers[NORM]) / (atol + rtol * numbers[SIZE])
    numbers[LENGTH] = min(100 * short, (0.01 / pace) ** (1 / order))


@jit_internal
def plan_step(methods, moments, t_max, progress):
    """Choose the length of the next step, and begin it."""
    at, numbers, table = progress.at, progress.numbers, methods.stabilised
    method, wanted = at[METHOD], numbers[LENGTH]
    if method == STABILISED and numbers[RATE] > 0:
        wanted = min(wanted, table.length[table.length.size - 1] / numbers[RATE])
    # A time that is asked for is met exactly, without a sliver of a step before it. Many are interpolated, in a step so
    # short that this is as exact.
    goal, record = t_max, at[RECORD]
    last_of_many = record + MANY - 1
    if last_of_many < moments.size and moments[last_of_many] < numbers[TIME] + DENSE[method] * wanted:
        wanted *= DENSE[method]
    elif record < moments.size:
        goal = min(goal, moments[record])
    left, length, meets = goal - numbers[TIME], wanted, False
    if wanted >= left:
        length, meets = left, True
    elif 2 * wanted > left:
        length = left / 2
    numbers[WANTED], numbers[TAKEN] = wanted, length
    numbers[MOMENT] = goal if meets else numbers[TIME] + length
    at[STAGE] = 0
    if method == STABILISED:
        at[WHICH] = min(np.searchsorted(table.length, length * numbers[RATE]), table.length.size - 1)


@jit_inline
def stages_of(methods, progress):
    """How many slopes the step under way asks for."""
    stages = methods.nonstiff.stages
    if progress.at[METHOD] == STABILISED:
        stages = methods.stabilised.stages[progress.at[WHICH]]
    return stages


@jit_inline
def lay_out_stage(methods, progress):
    """Lay out the next stage of the step under way; the rows of its point and of its slope."""
    at, length, step = progress.at, progress.numbers[TAKEN], progress.step
    at[STAGE] += 1
    goal = SLOPE
    if at[METHOD] == NONSTIFF:
        row, goal = lay_out_nonstiff(methods.nonstiff, step, length, at[STAGE])
    else:
        row = lay_out_stabilised(methods.stabilised, step, at[WHICH], length, at[STAGE])
    return row, goal


@jit_inline
def finish_step(methods, rtol, atol, progress, loss):
    """Measure the step, of which all slopes are there."""
    at, numbers, step = progress.at, progress.numbers, progress.step
    numbers[SEEN], numbers[NEW_LOSS] = 0, loss
    if at[METHOD] == NONSTIFF:
        numbers[SEEN] = finish_nonstiff(methods.nonstiff, step, numbers[TAKEN])
    else:
        finish_stabilised(methods.stabilised, step, at[WHICH], numbers[TAKEN])
    if not has_digits(step.sizes[OF_SLOPE] * step.sizes[OF_SLOPE]):
        step.sizes[OF_SLOPE] = norm(step.vectors[SLOPE])
    _measure_error(methods, rtol, atol, progress)


@jit_inline
def _order(methods, progress):
    return methods.nonstiff.order if progress.at[METHOD] == NONSTIFF else 4


@jit_inline
def _rate(progress):
    """The largest rate, as the step that has been measured leaves it."""
    rate, seen = progress.numbers[RATE], progress.numbers[SEEN]
    return max(seen, KEPT * rate) if seen > 0 else rate


@jit_inline
def grows(progress):
    """Whether the gradient does in the step that has been measured."""
    return progress.step.sizes[OF_SLOPE] > progress.numbers[NORM]


@jit_internal
def _measure_error(methods, rtol, atol, progress):
    numbers, sizes, length, nonstiff = (
        progress.numbers,
        progress.step.sizes,
        progress.numbers[TAKEN],
        progress.at[METHOD] == NONSTIFF,
    )
    share, rate, order = NONSTIFF_SHARE if nonstiff else STABILISED_SHARE, _rate(progress), _order(methods, progress)
    of_step = (GROWING * rtol / share if grows(progress) else DECAYING) * sizes[OF_STEP]
    rounding = ROUNDING * (1 + length * rate) * numbers[SIZE]
    allowed = (atol + rtol * max(numbers[SIZE], sizes[OF_POINT])) / share
    error = sizes[OF_ERROR]
    if nonstiff and sizes[OF_STEP] > 0:
        # The estimate of order 5 may vanish; with that of order 3 it seldom does.
        error = max(error, VANISHING * sizes[OF_STEP] * min(1.0, sizes[OF_OTHER] / sizes[OF_STEP]) ** (9 / 4))
    error /= min(allowed, max(of_step, rounding))
    numbers[ERROR_ALONE] = error
    if nonstiff:  # whose estimate hardly sees what is stiff and not stable
        error = max(error, (length * rate / methods.nonstiff.trusted) ** order)
    numbers[ERROR] = error


@jit_inline
def is_good(progress):
    """Whether the step that has been measured is taken."""
    return progress.numbers[ERROR] <= 1 and math.isfinite(progress.numbers[NEW_LOSS])


@jit_internal
def conclude_step(methods, progress):
    """Take the step that has been measured if its error allows, and say how long the next one should be."""
    at, numbers, step = progress.at, progress.numbers, progress.step
    sizes, method, length, wanted = step.sizes, at[METHOD], numbers[TAKEN], numbers[WANTED]
    alone, error = numbers[ERROR_ALONE], numbers[ERROR]
    order, rate, safety = _order(methods, progress), _rate(progress), 0.9 if method == NONSTIFF else 0.8
    spare = max(alone, SMALLEST) ** (-1 / order)
    factor, cut_short = 0.1, length < wanted
    if math.isfinite(error) and math.isfinite(numbers[NEW_LOSS]):
        factor = max(0.1, safety * max(error, SMALLEST) ** (-1 / order))
    if is_good(progress):
        if method == STABILISED:
            at[SINCE] += REFRESH // 4 if grows(progress) else 1
        else:
            numbers[RATE] = rate
        at[STILL] = sizes[OF_STEP] == 0 and length * rate > 1
        copy(step.vectors[STATE], step.vectors[POINT], step.vectors.shape[1])
        copy(step.vectors[GRADIENT], step.vectors[SLOPE], step.vectors.shape[1])
        numbers[TIME], numbers[LOSS] = numbers[MOMENT], numbers[NEW_LOSS]
        numbers[SIZE], numbers[NORM] = sizes[OF_POINT], sizes[OF_SLOPE]
        error = max(error, SMALLEST)
        if numbers[LAST_LENGTH] > 0:
            # What errors have grown by since the last step, for steps as long, they will again.
            trend = length / numbers[LAST_LENGTH] * (numbers[LAST_ERROR] / error) ** (1 / order)
            factor *= min(max(trend, LEAST_TREND), 1.0)
        numbers[LAST_LENGTH], numbers[LAST_ERROR], numbers[SPARE] = length, error, spare
        numbers[LENGTH] = length * min(factor, 5.0)
        if cut_short:
            numbers[LENGTH] = max(wanted, min(length * factor, 2 * wanted))
        _choose_method(progress, methods.nonstiff, length, stages_of(methods, progress), 2 * length < wanted)
    else:
        if method == STABILISED:
            at[SINCE] = REFRESH
        numbers[LENGTH] = length * min(factor, 0.8)


@jit_internal
def _choose_method(progress, table, length, stages, cut_short):
    """Now and then try the other method for some steps, and keep the one that comes further for an evaluation."""
    at, numbers = progress.at, progress.numbers
    pace, rate = length / stages, numbers[RATE]
    if at[TRIED] < 0:
        at[RESTED] += 1
        # The method where nothing is stiff goes no further than its estimate is trusted.
        promising = pace * rate < table.trusted / table.stages
        if at[METHOD] == NONSTIFF:
            promising = length * rate > STIFF * table.trusted and numbers[SPARE] > ROOMY
        if at[RESTED] >= at[PAUSE] and not cut_short and promising:
            numbers[OTHER_LENGTH], numbers[PROGRESS] = numbers[LENGTH], pace
            at[METHOD], at[TRIED], numbers[LAST_LENGTH] = NONSTIFF + STABILISED - at[METHOD], 0, 0
            if at[METHOD] == STABILISED:
                at[SINCE] = -1
            else:
                numbers[LENGTH] = min(2 * numbers[LENGTH], table.trusted / rate)
    else:
        at[TRIED] += 1
        lost = at[TRIED] >= LOST and pace < 0.5 * numbers[PROGRESS] and not cut_short
        if lost or (at[TRIED] >= TRIAL and not cut_short):
            at[TRIED], at[RESTED] = -1, 0
            if pace > numbers[PROGRESS]:
                at[PAUSE] = WAIT
            else:
                at[METHOD], at[PAUSE] = (
                    NONSTIFF + STABILISED - at[METHOD],
                    max(WAIT, min(2 * at[PAUSE], LONGEST_WAIT)),
                )
                numbers[LENGTH], numbers[LAST_LENGTH] = numbers[OTHER_LENGTH], 0
                if at[METHOD] == STABILISED:
                    at[SINCE] = -1
