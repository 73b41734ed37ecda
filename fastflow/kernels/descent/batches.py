"""Stochastic gradient descent: one run after the other, each step along the gradient of some samples.

Gradient descent has steps of its own (`networks.batches`). Any other rule moves a group whose problem is the batch, as
it moves one whose problem is that of all samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.compile.protocol import chooses, implements, protocol
from fastflow.kernels.descent.descend import Ends, leave_member, record_member, step_at
from fastflow.kernels.descent.moving import keep_memory, load_memory
from fastflow.kernels.descent.order import find_place, order_places, take_batch
from fastflow.kernels.endings import CONVERGED, CRITICAL, DIVERGED, MAX_STEPS, RUNNING
from fastflow.kernels.losses.batch import BatchLoss
from fastflow.kernels.networks.batches import batch_begin, batch_places, batch_rest, batch_step
from fastflow.kernels.networks.diagonal_batches import (
    DiagonalBatchPlaces,
    label_of_sample,
    product_with_row,
    row_of_sample,
    step_to,
)
from fastflow.kernels.networks.group import (
    backward,
    extract_member,
    forward,
    gradient_norms,
    group_places,
    load_member,
    measure,
)
from fastflow.kernels.networks.hadamard import hadamard_product
from fastflow.kernels.rules.rule import Descent, take_steps, tell_numbers
from fastflow.kernels.trace import has_room, next_record


class Looks(NamedTuple):
    """When a run is looked at, its loss of all samples found, and what ends it then.

    At ``max_steps`` and where its step is a multiple of what ``every`` (problems,) has for its problem.
    """

    every: np.ndarray
    ends: Ends


def group_of_batch(batches, batch):
    """The group of a `networks.batches`, whose problem is the batch; it shares all memory with that of all samples."""
    loss = BatchLoss(batches.samples, batch.picked, batch.labels, np.zeros(1, np.int64))
    return batches.group._replace(problem=loss)


@protocol
def step_by_batch(rule, mover, of_batch, places, zero, widths, weight, step, count, size, k):
    """Take step k by a rule along a batch of so many samples; whether the residuals of these are finite.

    Parameters
    ----------
    rule, mover : the NamedTuple of a rule, and its `rules.rule.Mover`
    of_batch : the group of the run, whose problem is the batch
    places : `networks.batches.batch_places`
    zero : of the numbers' type
    widths : of the network
    weight : float, of the loss
    step : float
    count, size, k : int, all samples, those of the batch, and the number of the step
    """


@implements(step_by_batch, Descent, inline=True)
def _descend(rule, mover, of_batch, places, zero, widths, weight, step, count, size, k):
    length = of_batch.row_factors.dtype.type(weight * step * count / size)
    return batch_step(places, zero, widths, length, size)


@implements(step_by_batch, tuple)
def _by_rule(rule, mover, of_batch, places, zero, widths, weight, step, count, size, k):
    share = weight * count / size  # by which its gradient is, on average, that of the loss
    at = group_places(of_batch, widths)
    of_batch.problem.taken[0] = size
    forward(of_batch, at, widths)
    measure(of_batch, widths[0])
    finite = np.isfinite(of_batch.work.loss[0])
    if finite:
        of_batch.weight[0], of_batch.step[0], of_batch.offset[0] = share, share * step, k
        mover.sizes[0], mover.written[0] = step, np.nan
        backward(of_batch, at, widths, False)
        tell_numbers(rule, mover, of_batch, 0)
        take_steps(rule, mover, of_batch, at, widths, 0)
    return finite


@protocol
def take_batches(
    places, zero, rule, mover, of_batch, widths, weight, steps, noises, order, run, k, event, first, count
):
    """Take step k and those up to an event, each along its batch.

    Parameters
    ----------
    places : `networks.batches.batch_places`
    zero : of the numbers' type
    rule, mover, of_batch, widths, weight : as for `step_by_batch`
    steps, noises : `descend.StepRule`, of the steps and of the standard deviation of label noise
    order : `order.OrderPlaces`
    run, k, event, first, count : int, the run, the two steps, and the samples, of which there are so many

    Returns
    -------
    int, bool : the step that comes next, before which the residuals of its batch were not finite, if the event is not
    reached
    """


@jit_inline
def _each_by_itself(
    places, zero, rule, mover, of_batch, widths, weight, steps, noises, order, run, k, event, first, count
):
    step, noise, at, finite = steps.first[run], noises.first[run], k, True
    varying, noise_varies = _varies(steps), _varies(noises)
    while finite and at < event:
        if varying:
            step = step_at(steps, run, at)
        if noise_varies:
            noise = step_at(noises, run, at)
        size = take_batch(zero, order, at, first, count, noise)
        finite = step_by_batch(rule, mover, of_batch, places, zero, widths, weight, step, count, size, at)
        at += int(finite)
    return at, finite


@jit_inline
def _varies(rule):
    return rule.power != 0 or rule.sequence.size > 0


@implements(take_batches, tuple)
def _take_batches(
    places, zero, rule, mover, of_batch, widths, weight, steps, noises, order, run, k, event, first, count
):
    batch_begin(places, zero, widths)
    at, finite = _each_by_itself(
        places, zero, rule, mover, of_batch, widths, weight, steps, noises, order, run, k, event, first, count
    )
    batch_rest(places, zero, widths)
    return at, finite


@chooses(take_batches, DiagonalBatchPlaces)
def _take_rows(places, zero, rule, *_):
    return _down_rows if rule.instance_class is Descent else _each_by_itself.py_func


def _down_rows(places, zero, rule, mover, of_batch, widths, weight, steps, noises, order, run, k, event, first, count):
    batch_begin(places, zero, widths)
    if order.size == 1 and not order.varied:
        at, finite = _row_by_row(places, zero, of_batch.step, weight, steps, noises, order, run, k, event, first, count)
    else:
        at, finite = _each_by_itself(
            places, zero, rule, mover, of_batch, widths, weight, steps, noises, order, run, k, event, first, count
        )
    batch_rest(places, zero, widths)
    if not finite:  # x may be that of a step before
        hadamard_product(of_batch.factors, of_batch.product[: widths[0]], of_batch.form)
    return at, finite


@jit_internal
def _row_by_row(places, zero, like, weight, steps, noises, order, run, k, event, first, count):
    """`take_batches` of one sample each: the pass that takes a step finds what the next one needs of x."""
    step, noise, at = step_at(steps, run, k), step_at(noises, run, k), k
    varying, noise_varies = _varies(steps), _varies(noises)
    take_batch(zero, order, at, first, count, noise)
    row = row_of_sample(places, zero)
    left = product_with_row(zero, places, row) - label_of_sample(places, zero)
    while left - left == 0 and at < event:
        if varying:
            step = step_at(steps, run, at)
        length, following, x = like.dtype.type(weight * step * count), row, places.product
        at += 1
        if at < event:
            if noise_varies:
                noise = step_at(noises, run, at)
            take_batch(zero, order, at, first, count, noise)
            following, x = row_of_sample(places, zero), np.intp(0)
        inner = step_to(zero, places, x, row, left, length, following)
        left = inner - label_of_sample(places, zero) if at < event else zero
        row = following
    return at, left - left == 0


@jit
def descend_by_batches(
    weights, widths, state, queue, rule, order, batch, looks, trace, budget, batches, of_batch, mover
):
    """Advance the runs of a queue that have not ended, by about ``budget`` steps together.

    A step goes ``step weight m / b`` along the gradient of ``1/2 sum r_i^2`` over a batch of b of the m samples, which
    is the full gradient on average.

    Parameters
    ----------
    weights : float64 array (problems,); a problem's loss is its weight times ``1/2 sum r_i^2``
    widths : int64 array, the shape that the group was made for: (d_0, ..., d_N), or (n,) of a diagonal network
    state : `descend.RunState`
    queue : int64 array, the runs
    rule : `descend.StepRule`
    order : `order.Order`
    batch : `order.Batch`
    looks : Looks
    trace : Trace, whose moments are steps
    budget : int; 0 only evaluates loss and solution of every run that has not ended
    batches : a `networks.batches`
    of_batch : its group, with the batch as a `losses.batch.BatchLoss` for its problem
    mover : a `rules.rule.Mover` for it, with the rule by which it moves

    Returns
    -------
    int, the steps taken. The queue is done when no run in it is RUNNING; a trace with little room left for products or
    factors also makes it return.
    """
    group, samples, ends = batches.group, batches.samples, looks.ends
    zero = group.row_factors.dtype.type(0)
    at, places = group_places(group, widths), order_places(order, batch, samples)
    to_move = batch_places(batches, batch, at)
    group.run[:] = 0
    used = 0
    for place in range(queue.size):
        run = queue[place]
        if state.status[run] != RUNNING:
            continue
        index, k, record = state.problem[run], state.steps[run], state.recorded[run]
        every = looks.every[index]
        first, weight = samples.bounds[index], weights[index]
        count = samples.bounds[index + 1] - first
        load_member(group, 0, state.factors[run], group.problem, index)
        load_memory(mover.rule, mover, group, 0, state.memory[run], state.rates[run], state.begun[run])
        record = next_record(trace, record, k)
        find_place(order, batch, places, run, k, count)
        finite, pause = True, False
        while state.status[run] == RUNNING and not pause:
            forward(group, at, widths)
            measure(group, widths[0])
            loss, norm = weight * group.work.loss[0], np.nan
            if ends.gradient_tol > 0 or record < trace.moments.size:  # else nobody asks
                backward(group, at, widths, False)
                gradient_norms(group)
                norm = weight * group.norm[0]
            pause = used >= budget or not has_room(trace, 4)
            end = RUNNING
            if not pause:
                if not finite:
                    end = DIVERGED
                elif k % every == 0 or k >= ends.max_steps:
                    end = _end(loss, norm, k, ends.tol[index], ends)
                due = record < trace.moments.size and trace.moments[record] == k and end != DIVERGED
                # What is due now, and the state at an end, which the rest of the history repeats.
                writes = min(int(due) + int(end != RUNNING and end != DIVERGED), trace.moments.size - record)
                if writes > 0:
                    extract_member(group, 0)
                for _ in range(writes):
                    record_member(trace, run, record, index, loss, norm, widths, group)
                    record += 1
            if pause or end != RUNNING:
                extract_member(group, 0)
                leave_member(state, run, loss, k, record, end, group)
                keep_memory(mover.rule, mover, group, 0, state.memory[run], state.rates[run])
            else:
                # As far as there is nothing to look at.
                event = min(ends.max_steps, k - k % every + every, k + budget - used)
                if record < trace.moments.size:
                    event = min(event, trace.moments[record])
                begun = k
                k, finite = take_batches(
                    to_move,
                    zero,
                    mover.rule,
                    mover,
                    of_batch,
                    widths,
                    weight,
                    rule,
                    order.noise,
                    places,
                    run,
                    k,
                    event,
                    first,
                    count,
                )
                used += k - begun
        if pause and (budget > 0 or trace.pending_count[0] > 0):
            break
    return used


@jit_inline
def _end(loss, norm, k, tol, ends):
    end = RUNNING
    if not np.isfinite(loss):
        end = DIVERGED
    elif loss <= tol:
        end = CONVERGED
    elif 0 < ends.gradient_tol >= norm:
        end = CRITICAL
    elif k >= ends.max_steps:
        end = MAX_STEPS
    return end
