"""Gradient descent and what moves by another rule, a queue of runs and a slice of steps at a time.

`descend` takes the runs of a queue through their steps, as many at a time as its group has members. A member whose
run has ended takes the next run of the queue. It returns after a given number of steps, wherever it is: all that it
needs to go on is in `RunState`, and going on gives the bits of never having stopped. Its caller looks at the clock and
at Ctrl-C there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_inline
from fastflow.kernels.descent.moving import keep_memory, load_memory
from fastflow.kernels.endings import CONVERGED, CRITICAL, DIVERGED, MAX_STEPS, RUNNING, STALLED
from fastflow.kernels.losses.loss import settled_loss
from fastflow.kernels.networks.group import (
    balancedness,
    extract_member,
    forward,
    gradient_norms,
    group_places,
    load_member,
    measure,
    radial_slope,
)
from fastflow.kernels.rules.rule import sweep_back, take_steps, tell_numbers
from fastflow.kernels.trace import has_room, next_record, write_record
from fastflow.kernels.vectors.elementwise import copy


class RunState(NamedTuple):
    """Where each run is; first axis runs.

    ``factors`` (runs, parameters), ``solution`` (runs, d_N * d_0) or (runs, n), ``loss``, ``status`` and ``steps``
    (steps taken so far), ``recorded`` (entries of the trace written so far), ``problem`` (index of the run's problem).
    ``memory`` (runs, slots * parameters), ``rates`` (runs, `RATES`) and ``begun`` (the step from which on they have
    been kept) are what the rule remembers, see `rules.rule`.
    ``solution`` and ``loss`` belong to ``factors`` whenever `descend` has returned and has visited the run.
    """

    factors: np.ndarray
    solution: np.ndarray
    loss: np.ndarray
    status: np.ndarray
    steps: np.ndarray
    recorded: np.ndarray
    problem: np.ndarray
    memory: np.ndarray
    rates: np.ndarray
    begun: np.ndarray


class StepRule(NamedTuple):
    """The step of run r at step k.

    ``first[r] / (1 + k / scale) ** power``, or ``first[r] * sequence[k]`` if that is not empty.
    """

    first: np.ndarray
    power: float
    scale: float
    sequence: np.ndarray


LOOK = 1000
"""A run is asked whether it is at rest where its step is a multiple of this."""

REMAINDER = 4.0
"""At rest, as many steps as ``max_steps`` at the rate of this one would not divide the excess by e to this power."""


class Ends(NamedTuple):
    """When a run ends.

    At step ``max_steps``; at a loss of at most its problem's ``tol`` (problems,); at a gradient norm of at most
    ``gradient_tol``, or, where that is negative, at rest: at a loss of at most ``rest`` (problems,) that hardly falls
    (`REMAINDER`) and is what is left of parts of W that die. The excess is what the loss has above its problem's
    ``least`` (problems,). 0 for ``gradient_tol``: no test of either kind.
    """

    max_steps: int
    tol: np.ndarray
    gradient_tol: float
    rest: np.ndarray
    least: np.ndarray


@jit
def descend(problem, weights, widths, state, queue, rule, ends, trace, budget, group, mover):
    """Advance the runs of a queue that have not ended, by about ``budget`` steps together.

    Parameters
    ----------
    problem : the NamedTuple of a problem, see `losses.loss`
    weights : float64 array (problems,); a problem's loss is its weight times ``1/2 sum r_i^2``
    widths : int64 array, the shape that the group was made for: (d_0, ..., d_N), or (n,) of a diagonal network
    state : RunState
    queue : int64 array, the runs
    rule : StepRule
    ends : Ends
    trace : Trace, whose moments are steps
    budget : int; 0 only evaluates loss and solution of every run that has not ended
    group : a `networks.group`, whose contents mean nothing between calls
    mover : a `rules.rule.Mover`, likewise, with the rule by which the group moves

    Returns
    -------
    int, the steps taken. The queue is done when no run in it is RUNNING; a trace with little room left for products or
    factors also makes it return.
    """
    members = group.run.size
    varying = rule.power != 0 or rule.sequence.size > 0
    group.run[:] = -1
    group.idle[:] = 1
    group.step[:], group.weight[:], mover.sizes[:] = 0, 1, 0
    group.least[:] = -1
    at = group_places(group, widths)
    cursor, active, used, ticks, countdown = 0, 0, 0, 0, 0
    while True:
        if countdown <= 0:
            # Members that are free take the next runs.
            for member in range(members):
                while group.run[member] < 0 and cursor < queue.size:
                    if state.status[queue[cursor]] == RUNNING:
                        _admit(problem, weights, state, rule, ends, trace, queue[cursor], ticks, member, group, mover)
                        active += 1
                    cursor += 1
        if active == 0:
            break
        forward(group, at, widths)
        measure(group, widths[0])
        # A member can write what is due and then its end; twice, for the visit that sees that the trace is nearly full.
        pause = used >= budget or not has_room(trace, 4 * members)
        if varying:
            for member in range(members):
                if group.run[member] >= 0:
                    step = step_at(rule, group.run[member], group.offset[member] + ticks)
                    group.step[member], mover.sizes[member] = group.weight[member] * step, step

        look = countdown <= 0 or pause or ends.gradient_tol > 0
        for member in range(members):
            loss = group.work.loss[member]
            look |= not (loss > group.least[member] and loss < np.inf and group.moved[member] | group.idle[member])
        if not look:
            tell_numbers(mover.rule, mover, group, ticks)
        # Where a slice or all runs end nobody asks for the gradient, but for a record, as of a run that has stalled.
        asked, moved = not look, False
        if look:
            for member in range(members):
                if group.run[member] >= 0:
                    goes_on = not pause and _asks_for_gradient(trace, ends, group, member, ticks)
                    asked |= goes_on or not group.moved[member]
        if asked:
            moved = sweep_back(mover.rule, mover, group, at, widths, ticks, not look)
        if look:
            if asked:
                gradient_norms(group)
            countdown = np.iinfo(np.int64).max
            for member in range(members):
                run, k = group.run[member], group.offset[member] + ticks
                if run < 0:
                    continue
                weight, record = group.weight[member], group.record[member]
                loss = weight * group.work.loss[member]
                norm = weight * group.norm[member]
                if not group.moved[member] and rule.sequence.size == 0:
                    # The step before this one changed nothing, so it was not taken: k - 1 is the end.
                    end, due, k = STALLED, False, k - 1
                elif pause:
                    end, due = RUNNING, False
                else:
                    end = _end(loss, norm, k, state.problem[run], ends, group, member, -np.inf)
                    due = record < trace.moments.size and trace.moments[record] == k and end != DIVERGED
                if due or end != RUNNING or pause:
                    extract_member(group, member)
                    if end != DIVERGED:
                        settled = settled_loss(
                            problem, state.problem[run], group.row.product, widths[0], group.work.loss[member]
                        )
                        loss = weight * settled
                        if end in (CONVERGED, CRITICAL):
                            end = _end(loss, norm, k, state.problem[run], ends, group, member, 0.0)
                # What is due now, and the state at an end, which the rest of the history repeats.
                writes = min(int(due) + int(end != RUNNING and end != DIVERGED), trace.moments.size - record)
                for _ in range(writes):
                    record_member(trace, run, record, state.problem[run], loss, norm, widths, group)
                    record += 1
                group.record[member] = record
                if end != RUNNING or pause:
                    leave_member(state, run, loss, k, record, end, group)
                    keep_memory(mover.rule, mover, group, member, state.memory[run], state.rates[run])
                    group.run[member], group.idle[member] = -1, 1
                    group.step[member], group.least[member] = 0, -1
                    group.weight[member], mover.sizes[member] = 1, 0
                    active -= 1
                    countdown = 0
                else:
                    countdown = min(countdown, _next_event(trace, ends, record, k) - k)
        if pause:
            if budget > 0 or trace.pending_count[0] > 0:
                break
            continue
        if look:
            tell_numbers(mover.rule, mover, group, ticks)
        if asked and not moved:
            take_steps(mover.rule, mover, group, at, widths, ticks)
        ticks += 1
        used += active
        countdown -= 1
    return used


@jit_inline
def _admit(problem, weights, state, rule, ends, trace, run, ticks, member, group, mover):
    """Make a run a member of the group."""
    index, k, record = state.problem[run], state.steps[run], state.recorded[run]
    load_member(group, member, state.factors[run], problem, index)
    load_memory(mover.rule, mover, group, member, state.memory[run], state.rates[run], state.begun[run])
    record = next_record(trace, record, k)
    group.run[member], group.idle[member], group.moved[member] = run, 0, 1
    group.offset[member], group.record[member] = k - ticks, record
    # A little early, so that rounding here hides no loss that is at most tol; `_end` decides.
    group.weight[member], group.least[member] = weights[index], _a_little_over(ends.tol[index]) / weights[index]
    group.step[member], mover.sizes[member] = weights[index] * rule.first[run], rule.first[run]


@jit_inline
def _a_little_over(tol):
    return tol + 1e-9 * abs(tol)


@jit_inline
def _end(loss, norm, k, index, ends, group, member, lowest):
    """How a run stands; a loss below ``lowest`` has not converged: if it is no sum of squares it may go on falling."""
    end = RUNNING
    if not np.isfinite(loss):
        end = DIVERGED
    elif lowest <= loss <= ends.tol[index]:
        end = CONVERGED
    elif _rests(loss, norm, k, index, ends, group, member):
        end = CRITICAL
    elif k >= ends.max_steps:
        end = MAX_STEPS
    return end


@jit_inline
def _asks_for_gradient(trace, ends, group, member, ticks):
    """Whether somebody needs the gradient of a member where it is: all do but one that ends here, unseen."""
    k = group.offset[member] + ticks
    tested = ends.gradient_tol > 0 or (ends.gradient_tol < 0 and k % LOOK == 0)
    return k < ends.max_steps or tested or group.record[member] < trace.moments.size


@jit_inline
def _rests(loss, norm, k, index, ends, group, member):
    rests = False
    if ends.gradient_tol >= 0:
        rests = 0 < ends.gradient_tol >= norm
    elif k % LOOK == 0 and loss <= ends.rest[index]:
        weight, excess = group.weight[member], loss - ends.least[index]
        fall = group.step[member] / weight * norm**2
        # Of what dies, 1/2 ||W||^2 is left, and <E, W> is twice that; on a plateau it is what still has to grow.
        if fall * ends.max_steps <= REMAINDER * excess:
            rests = weight * radial_slope(group, member) >= excess
    return rests


@jit_inline
def _next_event(trace, ends, record, k):
    """The next step after k at which a run must be looked at, whatever its loss."""
    event = ends.max_steps
    if ends.gradient_tol < 0:
        event = min(event, k - k % LOOK + LOOK)
    if record < trace.moments.size:
        event = min(event, trace.moments[record])
    return event


@jit_inline
def step_at(rule, run, k):
    """What a `StepRule` says for a run at a step."""
    if rule.sequence.size > 0:
        # At the last step of all the end comes first.
        step = rule.first[run] * rule.sequence[min(k, rule.sequence.size - 1)]
    elif rule.power == 0:
        step = rule.first[run]
    else:
        step = rule.first[run] / (1 + k / rule.scale) ** rule.power
    return step


@jit_inline
def leave_member(state, run, loss, k, record, end, group):
    """Write to its run where the member is that `extract_member` has brought."""
    copy(state.factors[run], group.row_factors, group.row_factors.size)
    copy(state.solution[run], group.row.product, group.row.product.size)
    state.loss[run], state.steps[run], state.recorded[run] = loss, k, record
    state.status[run] = end


@jit_inline
def record_member(trace, run, record, index, loss, norm, widths, group):
    """Write one record of the member that `extract_member` has brought."""
    if trace.balancedness.size > 0:
        trace.balancedness[run, record] = balancedness(group, widths)
    write_record(trace, run, record, index, loss, norm, group.row.product, group.row_factors)
