"""Stochastic gradient descent: one run after the other, each step along the gradient of some samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_inline
from fastflow.kernels.descent.descend import Ends, leave_member, record_member, step_at
from fastflow.kernels.descent.order import find_place, order_places, take_batch
from fastflow.kernels.endings import CONVERGED, CRITICAL, DIVERGED, MAX_STEPS, RUNNING
from fastflow.kernels.networks.batches import batch_places, batch_rest, batch_step
from fastflow.kernels.networks.group import (
    backward,
    extract_member,
    forward,
    gradient_norms,
    group_places,
    load_member,
    measure,
)
from fastflow.kernels.trace import has_room, next_record


class Looks(NamedTuple):
    """When a run is looked at, its loss of all samples found, and what ends it then.

    At ``max_steps`` and where its step is a multiple of what ``every`` (problems,) has for its problem.
    """

    every: np.ndarray
    ends: Ends


@jit
def descend_by_batches(weights, widths, state, queue, rule, order, batch, looks, trace, budget, batches):
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

    Returns
    -------
    int, the steps taken. The queue is done when no run in it is RUNNING; a trace with little room left for products or
    factors also makes it return.
    """
    group, samples, ends = batches.group, batches.samples, looks.ends
    zero = group.row_factors.dtype.type(0)
    at, places = group_places(group, widths), order_places(order, batch, samples)
    to_move = batch_places(batches, batch, at)
    varying = rule.power != 0 or rule.sequence.size > 0
    noise_varies = order.noise.power != 0 or order.noise.sequence.size > 0
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
        record = next_record(trace, record, k)
        find_place(order, batch, places, run, k, count)
        step, noise = rule.first[run], order.noise.first[run]
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
            else:
                # As far as there is nothing to look at.
                event = min(ends.max_steps, k - k % every + every, k + budget - used)
                if record < trace.moments.size:
                    event = min(event, trace.moments[record])
                begun = k
                while finite and k < event:
                    if varying:
                        step = step_at(rule, run, k)
                    if noise_varies:
                        noise = step_at(order.noise, run, k)
                    size = take_batch(zero, places, k, first, count, noise)
                    length = group.row_factors.dtype.type(weight * step * count / size)
                    finite = batch_step(to_move, zero, widths, length, size)
                    k += int(finite)
                batch_rest(to_move, zero, widths)
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
