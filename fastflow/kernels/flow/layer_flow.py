"""The gradient flow of layered networks, a queue of runs one after the other and a slice of work at a time.

Each run chooses its own steps: their length by an estimate of the error, and the method by which of the two of
`stabilised` came further for a gradient evaluation when last tried: that of Dormand and Prince at first, the stabilised
one, with as many stages as the largest eigenvalue of the Hessian asks for, from where stability is what limits the
steps. A run has the same bits whatever its company and wherever slices end.

The error of a step is held to ``rtol`` times the norm of the factors and, where the gradient grows, on the way out of a
saddle, to `GROWING` rtol of the step itself: what leaves the saddle may be far smaller than the factors, and its
relative error is an error in the time of escape.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.endings import CONVERGED, CRITICAL, DIVERGED, MAX_STEPS, MAX_TIME, RUNNING, STALLED
from fastflow.kernels.flow.chebyshev import Chebyshev
from fastflow.kernels.flow.dense_output import more_slopes, nonstiff_point, stabilised_point
from fastflow.kernels.flow.dormand_prince import DormandPrince
from fastflow.kernels.flow.stabilised import (
    OF_ERROR,
    OF_OTHER,
    OF_POINT,
    OF_SLOPE,
    OF_STEP,
    Step,
    largest_rate,
    nonstiff_step,
    stabilised_step,
    step_memory,
)
from fastflow.kernels.networks.vector_field import copies, field_balancedness, slope_of
from fastflow.kernels.queues import PLACE
from fastflow.kernels.trace import has_room, write_record
from fastflow.kernels.vectors.elementwise import copy, dot
from fastflow.kernels.vectors.inner import has_digits, norm, norm_of

NONSTIFF, STABILISED = 0, 1
"""The two methods that a run changes between."""

NONSTIFF_SHARE, STABILISED_SHARE = 1.0, 2.0
"""Of the estimates of the methods, which are of lower orders than what they estimate, in what is held to the tolerance
(measured)."""

GROWING, DECAYING = 8.0, 0.1
"""The error over that of the step: at most so many rtol where the gradient grows, at most so much where it does not."""

ROUNDING = 1e-15
"""What rounding does to the factors in a step, over their norm; times the step over the shortest time scale."""

REST = 1e-12
"""A run rests where the gradient is this small beside the largest rate times the factors."""

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


class FlowEnds(NamedTuple):
    """When a run ends, and how accurate it is.

    ``t_max``; ``tol`` (problems,) on the loss; ``gradient_tol`` (negative: `REST`); ``max_steps``; ``rtol`` and
    ``atol`` of factors.
    """

    t_max: float
    tol: np.ndarray
    gradient_tol: float
    max_steps: int
    rtol: float
    atol: float


class FlowRuns(NamedTuple):
    """Where each run is; first axis runs.

    ``factors`` (runs, parameters), ``solution`` (runs, d_N * d_0) or (runs, n), ``loss``, ``status``, ``steps``,
    ``recorded`` (records written), ``problem`` (index of the run's problem), ``time``, ``rate`` (the largest eigenvalue
    of the Hessian last seen), ``evaluations`` of gradients, a product of the Hessian with a vector counted as two.
    """

    factors: np.ndarray
    solution: np.ndarray
    loss: np.ndarray
    status: np.ndarray
    steps: np.ndarray
    recorded: np.ndarray
    problem: np.ndarray
    time: np.ndarray
    rate: np.ndarray
    evaluations: np.ndarray


class FlowMemory(NamedTuple):
    """The run under way: ``at`` and ``numbers`` by the names below, and its `Step`."""

    at: np.ndarray
    numbers: np.ndarray
    step: Step


# The places of `FlowMemory.at` after `PLACE`: whether the run has begun, the next record, the method, steps since the
# rate was computed (negative: it begins anew), steps of the trial so far (-1: none), steps since the last trial, and
# until the next one, whether the last step changed nothing.
BEGUN, RECORD, METHOD, SINCE, TRIED, RESTED, PAUSE, STILL = range(1, 9)

# The places of `FlowMemory.numbers`: time, length of the next step, largest rate, loss, norms of the gradient and of
# the factors, length and progress per evaluation of the method that a trial may come back to; of the last step of this
# method length (0: none) and error, and how many times longer it could have been by that, stability aside.
TIME, LENGTH, RATE, LOSS, NORM, SIZE, OTHER_LENGTH, PROGRESS, LAST_LENGTH, LAST_ERROR, SPARE = range(11)


def flow_memory(parameters: int) -> FlowMemory:
    """A `FlowMemory` for runs of so many parameters."""
    return FlowMemory(np.zeros(STILL + 1, np.int64), np.zeros(SPARE + 1), step_memory(parameters))


@jit
def layer_flow_slice(field, methods, runs, queue, ends, trace, budget, memory):
    """Take the runs of a queue some steps further, one after the other; returns the gradient evaluations spent.

    It goes on where it was in ``memory``, and ends with ``memory.at[PLACE] == queue.size``. Wherever it returns, what
    ``runs`` has of each run is true of it; a trace with little room left for products or factors makes it return, too.
    """
    at, numbers, step, spent = memory.at, memory.numbers, memory.step, 0
    state, gradient, sizes = step.state, step.gradient, step.sizes
    while at[PLACE] < queue.size and spent < budget and not _is_full(trace):
        run = queue[at[PLACE]]
        index, before, begins = runs.problem[run], runs.evaluations[run], at[BEGUN] == 0
        end = RUNNING
        if begins:
            copy(state, runs.factors[run], state.size)
            _begin(runs, run, memory)
        else:
            if at[METHOD] == STABILISED and (at[SINCE] < 0 or at[SINCE] >= REFRESH):
                numbers[RATE], turns = largest_rate(field, index, step, at[SINCE] < 0)
                runs.evaluations[run] += turns
                at[SINCE] = 0
            end = _end(field, ends, runs, run, memory)
            if end == RUNNING:
                if numbers[LENGTH] < 0:
                    numbers[LENGTH] = _first_length(field, index, methods.nonstiff.order, ends, memory)
                    runs.evaluations[run] += 1
                _go(field, index, methods, ends, trace, runs, run, memory)
                end = _end(field, ends, runs, run, memory)
        spent += runs.evaluations[run] - before
        ended = end in (CONVERGED, CRITICAL, STALLED)
        due = at[RECORD] < trace.moments.size and (ended or trace.moments[at[RECORD]] <= numbers[TIME])
        pauses = end != RUNNING or spent >= budget or _is_full(trace)
        if begins or pauses or due:
            # The product was that of the point last tried.
            numbers[LOSS] = slope_of(field, index, state, step.slope)
            if begins:
                copy(gradient, step.slope, state.size)
                numbers[NORM], numbers[SIZE] = norm_of(gradient, sizes), norm_of(state, sizes)
        while due:
            ended = ended and trace.moments[at[RECORD]] <= numbers[TIME]  # the state at the end is written once
            _write(field, index, trace, run, state, numbers[LOSS], numbers[NORM], memory)
            due = at[RECORD] < trace.moments.size and (ended or trace.moments[at[RECORD]] <= numbers[TIME])
        if pauses:
            copy(runs.factors[run], state, state.size)
            copy(runs.solution[run], field.product, field.product.size)
            runs.loss[run], runs.time[run] = numbers[LOSS], numbers[TIME]
            runs.rate[run], runs.recorded[run] = numbers[RATE], at[RECORD]
        if end != RUNNING:
            runs.status[run] = end
            at[PLACE] += 1
            at[BEGUN] = 0
    return spent


@jit_inline
def _begin(runs, run, memory):
    at, numbers = memory.at, memory.numbers
    at[BEGUN], at[RECORD], at[METHOD], at[SINCE], at[TRIED], at[RESTED], at[PAUSE] = 1, 0, NONSTIFF, -1, -1, 0, 0
    at[STILL] = 0
    numbers[TIME], numbers[OTHER_LENGTH], numbers[PROGRESS], numbers[RATE], numbers[LENGTH] = 0, 0, 0, 0, -1
    numbers[LAST_LENGTH] = 0
    runs.steps[run] = 0
    runs.evaluations[run] += 1


@jit_internal
def _first_length(field, index, order, ends, memory):
    """A first step by the size of the gradient and of its change along it (Hairer, Norsett, Wanner, II.4)."""
    numbers, step = memory.numbers, memory.step
    state, sizes = step.state, step.sizes
    short = 0.01 * numbers[SIZE] / numbers[NORM] if numbers[SIZE] > 0 else 1e-6
    for k in range(state.size):
        step.point[k] = state[k] - short * step.gradient[k]
    slope_of(field, index, step.point, step.slope)
    for k in range(state.size):
        step.slope[k] -= step.gradient[k]
    dot(step.slope, step.slope, state.size, sizes)
    change = max(math.sqrt(sizes[0]) / short, numbers[NORM]) / (ends.atol + ends.rtol * numbers[SIZE])
    return min(100 * short, (0.01 / change) ** (1 / order))


@jit_inline
def _go(field, index, methods, ends, trace, runs, run, memory):
    """Try one step; take it if its error allows."""
    at, numbers, step, table = memory.at, memory.numbers, memory.step, methods.stabilised
    sizes, method = step.sizes, at[METHOD]
    wanted = numbers[LENGTH]
    if method == STABILISED and numbers[RATE] > 0:
        wanted = min(wanted, table.length[table.length.size - 1] / numbers[RATE])
    # A time that is asked for is met exactly, without a sliver of a step before it. Many are interpolated, in a step so
    # short that this is as exact.
    goal, record = ends.t_max, at[RECORD]
    last_of_many = record + MANY - 1
    if last_of_many < trace.moments.size and trace.moments[last_of_many] < numbers[TIME] + DENSE[method] * wanted:
        wanted *= DENSE[method]
    elif record < trace.moments.size:
        goal = min(goal, trace.moments[record])
    left, length, meets = goal - numbers[TIME], wanted, False
    if wanted >= left:
        length, meets = left, True
    elif 2 * wanted > left:
        length = left / 2
    stages, rate = methods.nonstiff.stages, numbers[RATE]
    if method == NONSTIFF:
        loss, seen = nonstiff_step(field, index, methods.nonstiff, step, length)
        rate = max(seen, KEPT * rate) if seen > 0 else rate
        order, share, safety = methods.nonstiff.order, NONSTIFF_SHARE, 0.9
    else:
        which = min(np.searchsorted(table.length, length * rate), table.length.size - 1)
        loss = stabilised_step(field, index, table, step, which, length)
        stages, order, share, safety = table.stages[which], 4, STABILISED_SHARE, 0.8
    runs.steps[run] += 1
    runs.evaluations[run] += stages
    if not has_digits(sizes[OF_SLOPE] * sizes[OF_SLOPE]):
        sizes[OF_SLOPE] = norm(step.slope)
    grows = sizes[OF_SLOPE] > numbers[NORM]
    of_step = (GROWING * ends.rtol / share if grows else DECAYING) * sizes[OF_STEP]
    rounding = ROUNDING * (1 + length * rate) * numbers[SIZE]
    allowed = (ends.atol + ends.rtol * max(numbers[SIZE], sizes[OF_POINT])) / share
    error = sizes[OF_ERROR]
    if method == NONSTIFF and sizes[OF_STEP] > 0:
        # The estimate of order 5 may vanish; with that of order 3 it seldom does.
        error = max(error, VANISHING * sizes[OF_STEP] * min(1.0, sizes[OF_OTHER] / sizes[OF_STEP]) ** (9 / 4))
    error /= min(allowed, max(of_step, rounding))
    spare = max(error, SMALLEST) ** (-1 / order)
    if method == NONSTIFF:  # whose estimate hardly sees what is stiff and not stable
        error = max(error, (length * rate / methods.nonstiff.trusted) ** order)
    factor, cut_short = 0.1, length < wanted
    if math.isfinite(error) and math.isfinite(loss):
        factor = max(0.1, safety * max(error, SMALLEST) ** (-1 / order))
    if error <= 1 and math.isfinite(loss):
        moment = goal if meets else numbers[TIME] + length
        if at[RECORD] < trace.moments.size and trace.moments[at[RECORD]] < moment:
            _write_between(field, index, methods, trace, runs, run, length, moment, memory)
        numbers[TIME] = moment
        copy(step.state, step.point, step.state.size)
        copy(step.gradient, step.slope, step.state.size)
        numbers[LOSS], numbers[SIZE], numbers[NORM] = loss, sizes[OF_POINT], sizes[OF_SLOPE]
        at[STILL] = sizes[OF_STEP] == 0 and length * rate > 1
        if method == STABILISED:
            at[SINCE] += REFRESH // 4 if grows else 1
        else:
            numbers[RATE] = rate
        error = max(error, SMALLEST)
        if numbers[LAST_LENGTH] > 0:
            # What errors have grown by since the last step, for steps as long, they will again.
            trend = length / numbers[LAST_LENGTH] * (numbers[LAST_ERROR] / error) ** (1 / order)
            factor *= min(max(trend, LEAST_TREND), 1.0)
        numbers[LAST_LENGTH], numbers[LAST_ERROR], numbers[SPARE] = length, error, spare
        numbers[LENGTH] = length * min(factor, 5.0)
        if cut_short:
            numbers[LENGTH] = max(wanted, min(length * factor, 2 * wanted))
        _choose_method(memory, methods.nonstiff, length, stages, 2 * length < wanted)
    else:
        if method == STABILISED:
            at[SINCE] = REFRESH
        numbers[LENGTH] = length * min(factor, 0.8)


@jit_inline
def _write_between(field, index, methods, trace, runs, run, length, moment, memory):
    """The records of the times within the step that was found good, from the interpolant of its method."""
    at, numbers, step = memory.at, memory.numbers, memory.step
    kept = (step.sizes[OF_POINT], step.sizes[OF_SLOPE], step.sizes[OF_STEP])
    nonstiff = at[METHOD] == NONSTIFF
    if nonstiff:
        more_slopes(field, index, methods.nonstiff, step, length)
        runs.evaluations[run] += methods.nonstiff.slopes - methods.nonstiff.stages - 1
    while at[RECORD] < trace.moments.size and trace.moments[at[RECORD]] < moment:
        share = (trace.moments[at[RECORD]] - numbers[TIME]) / length
        if nonstiff:
            nonstiff_point(methods.nonstiff, step, length, share)
        else:
            stabilised_point(step, length, share)
        loss = slope_of(field, index, step.a, step.b)
        runs.evaluations[run] += 1
        _write(field, index, trace, run, step.a, loss, norm_of(step.b, step.sizes), memory)
    step.sizes[OF_POINT], step.sizes[OF_SLOPE], step.sizes[OF_STEP] = kept


@jit_inline
def _choose_method(memory, table, length, stages, cut_short):
    """Now and then try the other method for some steps, and keep the one that comes further for an evaluation."""
    at, numbers = memory.at, memory.numbers
    progress, rate = length / stages, numbers[RATE]
    if at[TRIED] < 0:
        at[RESTED] += 1
        # The method where nothing is stiff goes no further than its estimate is trusted.
        promising = progress * rate < table.trusted / table.stages
        if at[METHOD] == NONSTIFF:
            promising = length * rate > STIFF * table.trusted and numbers[SPARE] > ROOMY
        if at[RESTED] >= at[PAUSE] and not cut_short and promising:
            numbers[OTHER_LENGTH], numbers[PROGRESS] = numbers[LENGTH], progress
            at[METHOD], at[TRIED], numbers[LAST_LENGTH] = NONSTIFF + STABILISED - at[METHOD], 0, 0
            if at[METHOD] == STABILISED:
                at[SINCE] = -1
            else:
                numbers[LENGTH] = min(2 * numbers[LENGTH], table.trusted / rate)
    else:
        at[TRIED] += 1
        lost = at[TRIED] >= LOST and progress < 0.5 * numbers[PROGRESS] and not cut_short
        if lost or (at[TRIED] >= TRIAL and not cut_short):
            at[TRIED], at[RESTED] = -1, 0
            if progress > numbers[PROGRESS]:
                at[PAUSE] = WAIT
            else:
                at[METHOD], at[PAUSE] = (
                    NONSTIFF + STABILISED - at[METHOD],
                    max(WAIT, min(2 * at[PAUSE], LONGEST_WAIT)),
                )
                numbers[LENGTH], numbers[LAST_LENGTH] = numbers[OTHER_LENGTH], 0
                if at[METHOD] == STABILISED:
                    at[SINCE] = -1


@jit_inline
def _end(field, ends, runs, run, memory):
    """How the run under way stands."""
    numbers = memory.numbers
    norm, rest = numbers[NORM], ends.gradient_tol / math.sqrt(copies(field))
    if rest < 0:
        rest = REST * numbers[RATE] * numbers[SIZE]
    end = RUNNING
    if not math.isfinite(numbers[LOSS]) or numbers[LENGTH] == 0:
        end = DIVERGED
    elif 0 <= numbers[LOSS] <= ends.tol[runs.problem[run]]:
        end = CONVERGED
    elif norm <= rest:
        end = CRITICAL
    elif memory.at[STILL]:
        end = STALLED
    elif numbers[TIME] >= ends.t_max:
        end = MAX_TIME
    elif runs.steps[run] >= ends.max_steps:
        end = MAX_STEPS
    return end


@jit_inline
def _write(field, index, trace, run, state, loss, norm, memory):
    """The record of a state, whose product the field has."""
    if trace.balancedness.size > 0:
        trace.balancedness[run, memory.at[RECORD]] = field_balancedness(field, state)
    write_record(trace, run, memory.at[RECORD], index, loss, math.sqrt(copies(field)) * norm, field.product, state)
    memory.at[RECORD] += 1


@jit_inline
def _is_full(trace):
    """Whether a step might find no room in the trace: equal times may all be due at once."""
    return not has_room(trace, trace.moments.size + 2)
