"""The gradient flow of layered networks, a queue of runs and a slice of work at a time.

A run asks for one slope after the other, and goes on when it has it: `control` says how far its steps go. The runs that
are under way are as many as its field has members, each at a place of its own in a step of its own, whose slopes are
evaluated together where that is faster. A run has the same bits whatever its company and wherever slices end.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.endings import CONVERGED, CRITICAL, DIVERGED, MAX_STEPS, MAX_TIME, RUNNING, STALLED
from fastflow.kernels.flow.control import (
    END,
    ERROR,
    LENGTH,
    LOSS,
    METHOD,
    MOMENT,
    NONSTIFF,
    NORM,
    PHASE,
    RATE,
    RECORD,
    REFRESH,
    SINCE,
    SIZE,
    STABILISED,
    STAGE,
    STILL,
    TAKEN,
    TIME,
    Progress,
    begin_run,
    conclude_step,
    finish_step,
    first_length,
    is_good,
    lay_out_probe,
    lay_out_stage,
    plan_step,
    stages_of,
)
from fastflow.kernels.flow.dense_output import lay_out_further, nonstiff_point, stabilised_point
from fastflow.kernels.flow.stabilised import (
    BEFORE,
    FIRST_SLOPE,
    GRADIENT,
    HERE,
    IMAGE,
    POINT,
    SLOPE,
    STATE,
    Step,
    largest_rate,
    step_memory,
)
from fastflow.kernels.networks.vector_field import (
    bring_product,
    copies,
    field_balancedness,
    load_problem,
    slope_of,
    slopes_together,
)
from fastflow.kernels.trace import has_room, write_record
from fastflow.kernels.vectors.elementwise import copy
from fastflow.kernels.vectors.inner import norm_of

REST = 1e-12
"""A run rests where the gradient is this small beside the largest rate times the factors."""

BEGINNING, PROBING, STEPPING, FURTHER, BETWEEN, ARRIVED = range(6)
"""What a slope is for: that of the start, of a point near it, of a stage of a step, of a further stage for the
interpolant, of a record within the step, of the state for a record or at the end."""


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
    of the Hessian last seen), ``evaluations`` of gradients (0: it has not begun), a product of the Hessian with a
    vector counted as two.
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
    """The runs under way, one of each member of a field: first axis members, but of ``asked`` and ``visited``.

    ``run`` (members,), -1 where there is none; ``at``, ``numbers`` and ``step`` of their `Progress`; ``asked`` (2,
    members), the rows of the point at which each asks for the slope, and to which that goes; ``visited`` likewise,
    where slices end; ``losses`` (members,) there.
    """

    run: np.ndarray
    at: np.ndarray
    numbers: np.ndarray
    step: Step
    asked: np.ndarray
    visited: np.ndarray
    losses: np.ndarray


def flow_memory(members: int, parameters: int) -> FlowMemory:
    """A `FlowMemory` for so many members, of so many parameters each."""
    step, asked = step_memory(members, parameters), np.full((2, members), -1)
    at, numbers = np.zeros((members, END + 1), np.int64), np.zeros((members, ERROR + 1))
    return FlowMemory(np.full(members, -1), at, numbers, step, asked, asked.copy(), np.zeros(members))


@jit_inline
def _of_member(memory, member):
    """The `Progress` of one member."""
    step = memory.step
    its = Step(step.vectors[member], step.sizes[member], step.factors[member], step.weights[member])
    return Progress(memory.at[member], memory.numbers[member], its)


@jit
def layer_flow_slice(field, methods, runs, queue, ends, trace, budget, memory):
    """Take the runs of a queue that have not ended some steps further; returns the gradient evaluations spent.

    It goes on where it was in ``memory``, with what has no run yet from the queue. Wherever it returns, what ``runs``
    has of each run is true of it, but that records within the step under way may have been written; a trace with little
    room left for products or factors makes it return, too.
    """
    members, spent, cursor, active = memory.run.size, 0, 0, 0
    for member in range(members):
        active += memory.run[member] >= 0
    while True:
        for member in range(members):
            while memory.run[member] < 0 and cursor < queue.size:
                run = queue[cursor]
                cursor += 1
                if runs.status[run] == RUNNING and runs.evaluations[run] == 0:
                    _begin(field, runs, run, memory, member)
                    active += 1
        if active == 0:
            break
        if spent >= budget or not _has_room(trace):
            _visit_states(field, runs, memory)
            break
        together = slopes_together(field, memory.step.vectors, memory.asked, memory.losses)
        for member in range(members):
            run = memory.run[member]
            if run >= 0 and _has_room(trace):  # else it asks again
                its, index = _of_member(memory, member), runs.problem[run]
                vectors, point, goal = its.step.vectors, memory.asked[0, member], memory.asked[1, member]
                if not together:
                    memory.losses[member] = slope_of(field, index, vectors[point], vectors[goal])
                spent += 1
                if its.at[PHASE] == STEPPING and its.at[STAGE] < stages_of(methods, its):
                    memory.asked[0, member], memory.asked[1, member] = lay_out_stage(methods, its)
                else:
                    spent += _go_on(field, methods, ends, trace, runs, memory, member, together)
                    active -= memory.run[member] < 0
    return spent


@jit_inline
def _has_room(trace):
    """Whether a run is sure to find room in the trace: equal times may all be due at once."""
    return has_room(trace, trace.moments.size + 2)


@jit_inline
def _begin(field, runs, run, memory, member):
    """Make a run a member."""
    its, factors = _of_member(memory, member), runs.factors[run]
    begin_run(its)
    copy(its.step.vectors[STATE], factors, factors.size)
    load_problem(field, member, runs.problem[run])
    memory.run[member], its.at[PHASE], its.at[END] = run, BEGINNING, RUNNING
    _ask(memory.asked, member, STATE, SLOPE)
    runs.steps[run], runs.evaluations[run] = 0, 1


@jit_internal
def _visit_states(field, runs, memory):
    """Write to their runs where the members are."""
    for member in range(memory.run.size):
        memory.visited[0, member] = -1 if memory.run[member] < 0 else STATE
        memory.visited[1, member] = IMAGE
    together = slopes_together(field, memory.step.vectors, memory.visited, memory.losses)
    for member in range(memory.run.size):
        run = memory.run[member]
        if run >= 0:
            its = _of_member(memory, member)
            if not together:
                vectors = its.step.vectors
                memory.losses[member] = slope_of(field, runs.problem[run], vectors[STATE], vectors[IMAGE])
            _leave(field, runs, run, its, memory.losses[member], member, together)


@jit_inline
def _leave(field, runs, run, its, loss, member, together):
    """Write to a run where it is; its product is the one last evaluated."""
    numbers, state = its.numbers, its.step.vectors[STATE]
    if together:
        bring_product(field, member)
    copy(runs.factors[run], state, state.size)
    copy(runs.solution[run], field.product, field.product.size)
    runs.loss[run], runs.time[run] = loss, numbers[TIME]
    runs.rate[run], runs.recorded[run] = numbers[RATE], its.at[RECORD]


@jit_inline
def _go_on(field, methods, ends, trace, runs, memory, member, together):
    """Use a slope that was asked for, the last one of a step or one that is none of its stages; ask for the next one.

    Or end the run. Returns the evaluations that products of the Hessian were worth.
    """
    its, run, loss = _of_member(memory, member), memory.run[member], memory.losses[member]
    at, numbers, vectors, index = its.at, its.numbers, its.step.vectors, runs.problem[run]
    phase, within, spent = at[PHASE], False, 0
    if phase == STEPPING:
        finish_step(methods, ends.rtol, ends.atol, its, loss)
        within = is_good(its) and _is_due_within(trace, its)
    elif phase in (FURTHER, BETWEEN):
        within = True
        runs.evaluations[run] += 1
        if phase == BETWEEN:
            norm = norm_of(vectors[BEFORE], its.step.factors)
            _write(field, index, trace, run, vectors[HERE], loss, norm, its, member, together)
    elif phase == PROBING:
        runs.evaluations[run] += 1
        first_length(its, methods.nonstiff.order, ends.rtol, ends.atol)
    else:
        numbers[LOSS] = loss
        if phase == BEGINNING:
            copy(vectors[GRADIENT], vectors[SLOPE], vectors.shape[1])
            numbers[NORM] = norm_of(vectors[GRADIENT], its.step.factors)
            numbers[SIZE] = norm_of(vectors[STATE], its.step.factors)
        _write_due(field, index, trace, run, its, member, together)
    if not (within and _ask_within(methods, trace, its, memory.asked, member)):
        if phase == STEPPING or within:
            runs.steps[run] += 1
            runs.evaluations[run] += stages_of(methods, its)
            conclude_step(methods, its)
            at[PHASE] = STEPPING
        if phase == ARRIVED and at[END] != RUNNING:
            _leave(field, runs, run, its, loss, member, together)
            runs.status[run] = at[END]
            memory.run[member] = memory.asked[0, member] = -1
        else:
            spent = _ask_next(field, methods, ends, trace, runs, run, its, memory.asked, member)
    return spent


@jit_inline
def _is_due_within(trace, its):
    """Whether the next record falls into the step under way."""
    record = its.at[RECORD]
    return record < trace.moments.size and trace.moments[record] < its.numbers[MOMENT]


@jit_inline
def _ask(asked, member, point, goal):
    asked[0, member], asked[1, member] = point, goal


@jit_internal
def _ask_within(methods, trace, its, asked, member):
    """Ask for the next slope within a step that is good, for the interpolant and at records; whether there is one."""
    at, step, length, nonstiff = its.at, its.step, its.numbers[TAKEN], its.at[METHOD] == NONSTIFF
    if nonstiff and at[STAGE] + 1 < methods.nonstiff.slopes:
        at[STAGE] += 1
        at[PHASE] = FURTHER
        lay_out_further(methods.nonstiff, step, length, at[STAGE])
        _ask(asked, member, HERE, FIRST_SLOPE + at[STAGE])
        return True
    if _is_due_within(trace, its):
        share = (trace.moments[at[RECORD]] - its.numbers[TIME]) / length
        if nonstiff:
            nonstiff_point(methods.nonstiff, step, length, share)
        else:
            stabilised_point(step, length, share)
        at[PHASE] = BETWEEN
        _ask(asked, member, HERE, BEFORE)
        return True
    return False


@jit_inline
def _ask_next(field, methods, ends, trace, runs, run, its, asked, member):
    """Ask for the slope at the state, if that is due or the end, or for the first one of the next step."""
    at, numbers, index, arrives, spent = its.at, its.numbers, runs.problem[run], False, 0
    if at[PHASE] == STEPPING:
        at[END] = _end(field, ends, runs, run, its)
        arrives = at[END] != RUNNING or _is_due(trace, its, False)
    if not arrives and at[PHASE] != PROBING:
        if at[METHOD] == STABILISED and (at[SINCE] < 0 or at[SINCE] >= REFRESH):
            numbers[RATE], spent = largest_rate(field, index, its.step, at[SINCE] < 0)
            runs.evaluations[run] += spent
            at[SINCE] = 0
        at[END] = _end(field, ends, runs, run, its)
        arrives = at[END] != RUNNING
    if arrives:
        at[PHASE] = ARRIVED
        _ask(asked, member, STATE, SLOPE)
    elif numbers[LENGTH] < 0:
        at[PHASE] = PROBING
        lay_out_probe(its)
        _ask(asked, member, POINT, SLOPE)
    else:
        at[PHASE] = STEPPING
        plan_step(methods, trace.moments, ends.t_max, its)
        asked[0, member], asked[1, member] = lay_out_stage(methods, its)
    return spent


@jit_inline
def _end(field, ends, runs, run, its):
    """How the run under way stands."""
    numbers = its.numbers
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
    elif its.at[STILL]:
        end = STALLED
    elif numbers[TIME] >= ends.t_max:
        end = MAX_TIME
    elif runs.steps[run] >= ends.max_steps:
        end = MAX_STEPS
    return end


@jit_inline
def _is_due(trace, its, ended):
    """Whether a record of the state is."""
    record = its.at[RECORD]
    return record < trace.moments.size and (ended or trace.moments[record] <= its.numbers[TIME])


@jit_internal
def _write_due(field, index, trace, run, its, member, together):
    """The records of the state, whose slope was asked for: those that are due, and one of an end."""
    numbers, state, end = its.numbers, its.step.vectors[STATE], its.at[END]
    ended = end in (CONVERGED, CRITICAL, STALLED)
    while _is_due(trace, its, ended):
        ended = ended and _is_due(trace, its, False)  # the state at the end is written once
        _write(field, index, trace, run, state, numbers[LOSS], numbers[NORM], its, member, together)


@jit_inline
def _write(field, index, trace, run, state, loss, norm, its, member, together):
    """The record of a state, whose slope was asked for."""
    record = its.at[RECORD]
    if together:
        bring_product(field, member)
    if trace.balancedness.size > 0:
        trace.balancedness[run, record] = field_balancedness(field, state)
    write_record(trace, run, record, index, loss, math.sqrt(copies(field)) * norm, field.product, state)
    its.at[RECORD] += 1
