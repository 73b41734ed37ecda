"""The gradient flow of layered networks, a queue of runs one after the other and a slice of work at a time.

Each run chooses its own steps: their length by an estimate of the error, the number of stages by the largest eigenvalue
of the Hessian, and the order by which of the two methods of `stabilised` came further for a gradient evaluation when
last tried. A run has the same bits whatever its company and wherever slices end.

The error of a step is held to ``rtol`` times the norm of the factors and, where the gradient grows, on the way out of a
saddle, to `GROWING` rtol of the step itself: what leaves the saddle may be far smaller than the factors, and its
relative error is an error in the time of escape.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.descent import relative_error
from fastflow.kernels.elementwise import copy, dot
from fastflow.kernels.jit import jit, jit_inline
from fastflow.kernels.stabilised import (
    FOURTH,
    MOST_STAGES,
    SECOND,
    Step,
    largest_rate,
    second_length,
    second_stages,
    step_memory,
    try_step,
)
from fastflow.kernels.vector_field import field_balancedness, slope
from fastflow.status import Status

RUNNING, CONVERGED, CRITICAL = (int(Status.RUNNING), int(Status.CONVERGED), int(Status.CRITICAL))
STALLED, MAX_STEPS, DIVERGED = (int(Status.STALLED), int(Status.MAX_STEPS), int(Status.DIVERGED))
MAX_TIME = int(Status.MAX_TIME)

FOURTH_SHARE = 0.05
"""Of the estimate of `rock4`, one order below what it estimates, in what is held to the tolerance (measured)."""

SECOND_GROWING, SECOND_DECAYING = 12.0, 1.0
"""RKC2's estimate may be ``12 rtol^{3/2}`` where the gradient grows, so that its error, too, falls in proportion to
rtol, and ``rtol^{1.1}`` where it does not, and errors die out (measured)."""

GROWING, DECAYING = 20.0, 0.1
"""The error over that of the step: at most so many rtol where the gradient grows, at most so much where it does not."""

ROUNDING = 1e-15
"""What rounding does to the factors in a step, over their norm; times the step over the shortest time scale."""

REST = 1e-12
"""A run rests where the gradient is this small beside the largest rate times the factors."""

TRIAL, LOST, WAIT, LONGEST_WAIT = 10, 4, 20, 160
"""Steps in which the other method is tried (RKC2 first has to damp what the order 4 leaves in stiff directions), after
how many a trial without prospects ends, and steps between trials: doubled by each that changes nothing."""

STIFF = 8
"""Stages of the order 4 from which on RKC2 is tried at all."""

REFRESH, LAZY = 20, 5
"""Steps for which the largest rate is trusted, at most; so many times as many while it does not bind."""

BINDS = 1.5
"""The step times the largest rate from which on stability may bind: a quarter of what the order 4 bears at least."""


class FlowEnds(NamedTuple):
    """``t_max``, ``tol`` on the loss, ``gradient_tol`` (negative: `REST`), ``max_steps``, and rtol, atol of factors."""

    t_max: float
    tol: float
    gradient_tol: float
    max_steps: int
    rtol: float
    atol: float


class FlowRuns(NamedTuple):
    """Where each run is; first axis runs.

    As `RunState`, and ``time``, ``rate`` (the largest eigenvalue of the Hessian last seen), ``evaluations`` of
    gradients, a product of the Hessian with a vector counted as two.
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


class FlowTrace(NamedTuple):
    """What is recorded at the given ``times`` (k,), not decreasing; the rest as in `descent.Trace`."""

    times: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    balancedness: np.ndarray
    error: np.ndarray
    truths: np.ndarray
    pending_products: np.ndarray
    pending_factors: np.ndarray
    pending_at: np.ndarray
    pending_count: np.ndarray


class FlowMemory(NamedTuple):
    """The run under way: ``at`` and ``numbers`` by the names below, and its `Step`."""

    at: np.ndarray
    numbers: np.ndarray
    step: Step


# The places of `FlowMemory.at`: the place in the queue, whether its run has begun, the next record, the method, steps
# since the rate was computed, steps of the trial so far (-1: none), steps since the last trial, and until the next one,
# whether the last step changed nothing.
PLACE, BEGUN, RECORD, METHOD, SINCE, TRIED, RESTED, PAUSE, STILL = range(9)

# The places of `FlowMemory.numbers`: time, length of the next step, largest rate, loss, norms of the gradient and of
# the factors, length and progress per evaluation of the method that a trial may come back to.
TIME, LENGTH, RATE, LOSS, NORM, SIZE, OTHER_LENGTH, PROGRESS = range(8)


def flow_memory(parameters: int) -> FlowMemory:
    """A `FlowMemory` for runs of so many parameters."""
    return FlowMemory(np.zeros(9, np.int64), np.zeros(8), step_memory(parameters))


@jit
def layer_flow_slice(field, table, runs, queue, ends, trace, budget, memory):
    """Take the runs of a queue some steps further, one after the other; returns the gradient evaluations spent.

    It goes on where it was in ``memory``, and ends with ``memory.at[PLACE] == queue.size``. Wherever it returns, what
    ``runs`` has of each run is true of it; a trace with little room left for products or factors makes it return, too.
    """
    at, numbers, step, spent = memory.at, memory.numbers, memory.step, 0
    state, gradient, slopes, sizes = step.state, step.gradient, step.slopes, step.sizes
    while at[PLACE] < queue.size and spent < budget and not _is_full(trace):
        run = queue[at[PLACE]]
        index, before, begins = runs.problem[run], runs.evaluations[run], at[BEGUN] == 0
        end = RUNNING
        if begins:
            copy(state, runs.factors[run], state.size)
            _begin(runs, run, memory)
        else:
            trusted = LAZY * REFRESH if numbers[LENGTH] * numbers[RATE] < BINDS else REFRESH
            if at[SINCE] >= trusted or numbers[RATE] < 0:
                numbers[RATE], turns = largest_rate(field, index, step, numbers[RATE] < 0)
                runs.evaluations[run] += turns
                at[SINCE] = 0
                if numbers[LENGTH] < 0:
                    numbers[LENGTH] = _first_length(ends, memory)
            end = _end(ends, runs, run, memory)
            if end == RUNNING:
                _go(field, index, table, ends, trace, runs, run, memory)
                end = _end(ends, runs, run, memory)
        spent += runs.evaluations[run] - before
        ended = end in (CONVERGED, CRITICAL, STALLED)
        due = at[RECORD] < trace.times.size and (ended or trace.times[at[RECORD]] <= numbers[TIME])
        pauses = end != RUNNING or spent >= budget or _is_full(trace)
        if begins or pauses or due:
            # The product was that of the point last tried.
            numbers[LOSS] = slope(field, index, state, slopes[0])
            if begins:
                copy(gradient, slopes[0], state.size)
                dot(gradient, gradient, state.size, sizes)
                dot(state, state, state.size, sizes[1:])
                numbers[NORM], numbers[SIZE] = math.sqrt(sizes[0]), math.sqrt(sizes[1])
        while due:
            ended = ended and trace.times[at[RECORD]] <= numbers[TIME]  # the state at the end is written once
            _write(field, index, trace, run, at[RECORD], memory)
            at[RECORD] += 1
            due = at[RECORD] < trace.times.size and (ended or trace.times[at[RECORD]] <= numbers[TIME])
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
    at[BEGUN], at[RECORD], at[METHOD], at[SINCE], at[TRIED], at[RESTED], at[PAUSE] = 1, 0, FOURTH, 0, -1, 0, WAIT
    at[STILL] = 0
    numbers[TIME], numbers[OTHER_LENGTH], numbers[PROGRESS], numbers[RATE], numbers[LENGTH] = 0, 0, 0, -1, -1
    runs.steps[run] = 0
    runs.evaluations[run] += 1


@jit_inline
def _first_length(ends, memory):
    """A short step beside the time in which the factors, or their slowest combination, change."""
    numbers = memory.numbers
    scale = numbers[SIZE] / numbers[NORM] if numbers[NORM] > 0 else np.inf
    if numbers[RATE] > 0:
        scale = min(scale, 1 / numbers[RATE])
    return ends.rtol**0.25 * scale


@jit_inline
def _go(field, index, table, ends, trace, runs, run, memory):
    """Try one step; take it if its error allows."""
    at, numbers, step = memory.at, memory.numbers, memory.step
    sizes, rate, method = step.sizes, numbers[RATE], at[METHOD]
    wanted = numbers[LENGTH]
    if method == FOURTH:
        longest = table.length[table.length.size - 1] / rate if rate > 0 else np.inf
    else:
        longest = second_length(MOST_STAGES, rate)
    wanted = min(wanted, longest)
    # The next time that is asked for is met exactly, without a sliver of a step before it.
    goal = ends.t_max
    if at[RECORD] < trace.times.size:
        goal = min(goal, trace.times[at[RECORD]])
    left, length, meets = goal - numbers[TIME], wanted, False
    if wanted >= left:
        length, meets = left, True
    elif 2 * wanted > left:
        length = left / 2
    if method == FOURTH:
        which = min(np.searchsorted(table.length, length * rate), table.length.size - 1)
        stages = table.stages[which]
    else:
        which = stages = min(second_stages(length, rate), MOST_STAGES)
    loss = try_step(field, index, table, step, method, which, length)
    runs.steps[run] += 1
    runs.evaluations[run] += stages
    grows = sizes[3] > numbers[NORM]
    share = FOURTH_SHARE
    if method == SECOND:
        share = 1 / min(1.0, SECOND_GROWING * ends.rtol**0.5 if grows else SECOND_DECAYING * ends.rtol**0.1)
    of_step = (GROWING * ends.rtol / share if grows else DECAYING) * sizes[1]
    rounding = ROUNDING * (1 + length * rate) * numbers[SIZE]
    allowed = (ends.atol + ends.rtol * max(numbers[SIZE], sizes[2])) / share
    error = sizes[0] / min(allowed, max(of_step, rounding))
    factor = 0.1
    if math.isfinite(error) and math.isfinite(loss):
        factor = min(5.0, max(0.1, 0.8 * max(error, 1e-8) ** (-1 / (4 if method == FOURTH else 3))))
    if error <= 1 and math.isfinite(loss):
        numbers[TIME] = goal if meets else numbers[TIME] + length
        copy(step.state, step.points[2], step.state.size)
        copy(step.gradient, step.slopes[4], step.state.size)
        numbers[LOSS], numbers[SIZE], numbers[NORM] = loss, sizes[2], sizes[3]
        at[STILL] = sizes[1] == 0 and length * rate > 1
        at[SINCE] += REFRESH // 4 if grows else 1
        numbers[LENGTH] = max(length * factor, wanted) if length < wanted else length * factor
        _choose_method(memory, length / stages, stages, length < wanted)
    else:
        at[SINCE] = LAZY * REFRESH
        numbers[LENGTH] = length * min(factor, 0.8)


@jit_inline
def _choose_method(memory, progress, stages, cut_short):
    """Now and then try the other method for some steps, and keep the one that comes further for an evaluation."""
    at, numbers = memory.at, memory.numbers
    if at[TRIED] < 0:
        at[RESTED] += 1
        if at[RESTED] >= at[PAUSE] and not cut_short and (at[METHOD] == SECOND or stages >= STIFF):
            numbers[OTHER_LENGTH], numbers[PROGRESS] = numbers[LENGTH], progress
            at[METHOD], at[TRIED] = SECOND + FOURTH - at[METHOD], 0
    else:
        at[TRIED] += 1
        lost = at[TRIED] >= LOST and progress < 0.3 * numbers[PROGRESS] and not cut_short
        if lost or (at[TRIED] >= TRIAL and not cut_short):
            at[TRIED], at[RESTED] = -1, 0
            if progress > numbers[PROGRESS]:
                at[PAUSE] = WAIT
            else:
                at[METHOD], at[PAUSE] = SECOND + FOURTH - at[METHOD], min(2 * at[PAUSE], LONGEST_WAIT)
                numbers[LENGTH] = numbers[OTHER_LENGTH]


@jit_inline
def _end(ends, runs, run, memory):
    """How the run under way stands."""
    numbers = memory.numbers
    norm, rest = numbers[NORM], ends.gradient_tol
    if rest < 0:
        rest = REST * numbers[RATE] * numbers[SIZE]
    end = RUNNING
    if not math.isfinite(numbers[LOSS]) or numbers[LENGTH] == 0:
        end = DIVERGED
    elif numbers[LOSS] <= ends.tol:
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
def _write(field, index, trace, run, record, memory):
    state = memory.step.state
    if trace.loss.size > 0:
        trace.loss[run, record] = memory.numbers[LOSS]
    if trace.gradient_norm.size > 0:
        trace.gradient_norm[run, record] = memory.numbers[NORM]
    if trace.balancedness.size > 0:
        trace.balancedness[run, record] = field_balancedness(field, state)
    if trace.error.size > 0:
        trace.error[run, record] = relative_error(field.product, trace.truths[index])
    pending = trace.pending_count[0]
    if trace.pending_products.size > 0:
        copy(trace.pending_products[pending], field.product, field.product.size)
    if trace.pending_factors.size > 0:
        copy(trace.pending_factors[pending], state, state.size)
    if trace.pending_products.size + trace.pending_factors.size > 0:
        trace.pending_at[pending, 0], trace.pending_at[pending, 1] = run, record
        trace.pending_count[0] = pending + 1


@jit_inline
def _is_full(trace):
    """Whether a step might find no room in the trace: equal times may all be due at once."""
    capacity = max(trace.pending_products.shape[0], trace.pending_factors.shape[0])
    return 0 < capacity <= trace.pending_count[0] + trace.times.size + 1
