"""Gradient descent on a deep linear network, a block of runs and a slice of steps at a time.

`descend` takes each run of a block through its steps, one run at a time over one workspace, so that a run's memory stays
in the first levels of cache. It returns after a given number of steps, wherever it is: all that it needs to go on is
in `RunState`, and going on gives the bits of never having stopped. Its caller looks at the clock and at Ctrl-C there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.chain import ChainWorkspace, chain_balancedness, chain_gradient, chain_product
from fastflow.kernels.jit import jit, jit_inline
from fastflow.kernels.losses import LossWorkspace, loss_gradient
from fastflow.kernels.products import copy
from fastflow.kernels.simd import dot
from fastflow.status import Status

RUNNING, CONVERGED, CRITICAL = int(Status.RUNNING), int(Status.CONVERGED), int(Status.CRITICAL)
STALLED, MAX_STEPS, DIVERGED = int(Status.STALLED), int(Status.MAX_STEPS), int(Status.DIVERGED)


class RunState(NamedTuple):
    """Where each run is; first axis runs.

    ``factors`` (runs, parameters), ``solution`` (runs, d_N * d_0), ``loss``, ``status`` and ``steps`` (steps taken so
    far), ``recorded`` (entries of the trace written so far), ``problem`` (index of the run's problem).
    ``solution`` and ``loss`` belong to ``factors`` whenever `descend` has returned and has visited the run.
    """

    factors: np.ndarray
    solution: np.ndarray
    loss: np.ndarray
    status: np.ndarray
    steps: np.ndarray
    recorded: np.ndarray
    problem: np.ndarray


class StepRule(NamedTuple):
    """The step of run r at step k: ``first[r] / (1 + k / scale) ** power``, or ``sequence[k]`` if that is not empty."""

    first: np.ndarray
    power: float
    scale: float
    sequence: np.ndarray


class Ends(NamedTuple):
    """When a run ends: at step ``max_steps``, at ``loss <= tol``, at ``||gradient|| <= gradient_tol`` (0: never)."""

    max_steps: int
    tol: float
    gradient_tol: float


class Trace(NamedTuple):
    """What is recorded at the given steps.

    ``steps`` (records,) increasing; ``loss``, ``gradient_norm``, ``balancedness``, ``error``: (runs, records), or (0, 0)
    if not wanted. ``truths`` (problems, d_N * d_0), or (0, 0).
    Products and factors go to ``pending_products`` and ``pending_factors`` (capacity, ...), for which
    ``pending_at[i] = (run, record)`` and ``pending_count[0]`` say what they are; the caller empties them.
    """

    steps: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    balancedness: np.ndarray
    error: np.ndarray
    truths: np.ndarray
    pending_products: np.ndarray
    pending_factors: np.ndarray
    pending_at: np.ndarray
    pending_count: np.ndarray


@jit
def descend(problem, weights, widths, state, first_run, end_run, rule, ends, trace, budget, chain, work):
    """Advance the runs ``first_run <= r < end_run`` that have not ended, by at most ``budget`` steps together.

    Parameters
    ----------
    problem : NamedTuple of `fastflow.kernels.losses`
    weights : float64 array (problems,); a problem's loss is its weight times ``1/2 sum r_i^2``
    widths : int64 array (N + 1,)
    state : RunState
    first_run, end_run : int, the block
    rule : StepRule
    ends : Ends
    trace : Trace
    budget : int; 0 only evaluates loss and solution of every run that has not ended
    chain, work : ChainWorkspace, LossWorkspace

    Returns
    -------
    int, the steps taken. The block is done when no run in it is RUNNING; a full ``trace.pending_products`` or
    ``trace.pending_factors`` also makes it return.
    """
    used = 0
    for run in range(first_run, end_run):
        if state.status[run] != RUNNING:
            continue
        factors, index, k = state.factors[run], state.problem[run], state.steps[run]
        weight, record = weights[index], state.recorded[run]
        while record < trace.steps.size and trace.steps[record] < k:
            record += 1
        while True:
            chain_product(factors, widths, chain)
            loss = weight * loss_gradient(problem, index, chain.product, widths[0], work)
            if used >= budget or _is_full(trace):
                break
            due = record < trace.steps.size and trace.steps[record] == k
            end, norm = _end_by_loss(loss, k, ends), np.nan
            if end != DIVERGED:
                chain_gradient(factors, widths, work.gradient, chain)
                if due or ends.gradient_tol > 0:
                    norm = weight * _norm(chain.gradient)
                    if ends.gradient_tol > 0 and norm <= ends.gradient_tol and end != CONVERGED:
                        end = CRITICAL
                if due:
                    _write_record(trace, run, record, index, loss, norm, factors, widths, chain)
                    record += 1
            if end == RUNNING:
                moved = _take_step(factors, chain.gradient, weight * _step(rule, run, k))
                if not moved and rule.sequence.size == 0:
                    end = STALLED
            if end != RUNNING:
                # The state at the end, which the rest of the history repeats.
                if end != DIVERGED and record < trace.steps.size:
                    norm = weight * _norm(chain.gradient)
                    _write_record(trace, run, record, index, loss, norm, factors, widths, chain)
                    record += 1
                state.status[run] = end
                break
            k += 1
            used += 1
        state.loss[run], state.steps[run], state.recorded[run] = loss, k, record
        copy(state.solution[run], 0, chain.product, 0, chain.product.size)
        if (used >= budget and budget > 0) or _is_full(trace):
            break
    return used


@jit_inline
def _end_by_loss(loss, k, ends):
    if not np.isfinite(loss):
        return DIVERGED
    if loss <= ends.tol:
        return CONVERGED
    if k >= ends.max_steps:
        return MAX_STEPS
    return RUNNING


@jit_inline
def _step(rule, run, k):
    if rule.sequence.size > 0:
        return rule.sequence[k]
    if rule.power == 0:
        return rule.first[run]
    return rule.first[run] / (1 + k / rule.scale) ** rule.power


@jit_inline
def _take_step(factors, gradient, step):
    """``factors -= step * gradient``; whether any bit changed."""
    step = factors.dtype.type(step)
    moved = False
    for i in range(factors.size):
        before = factors[i]
        after = before - step * gradient[i]
        moved |= after != before
        factors[i] = after
    return moved


@jit_inline
def _norm(x):
    return np.sqrt(np.float64(dot(x, 0, x, 0, x.size)))


@jit_inline
def _is_full(trace):
    # Two places must be left: one visit of a run can write a record that is due, and then its end.
    capacity = max(trace.pending_products.shape[0], trace.pending_factors.shape[0])
    return 0 < capacity < trace.pending_count[0] + 2


@jit_inline
def _write_record(trace, run, record, index, loss, norm, factors, widths, chain):
    if trace.loss.size > 0:
        trace.loss[run, record] = loss
    if trace.gradient_norm.size > 0:
        trace.gradient_norm[run, record] = norm
    if trace.balancedness.size > 0:
        trace.balancedness[run, record] = chain_balancedness(factors, widths, chain)
    if trace.error.size > 0:
        trace.error[run, record] = relative_error(chain.product, trace.truths[index])
    pending = trace.pending_count[0]
    if trace.pending_products.size > 0:
        copy(trace.pending_products[pending], 0, chain.product, 0, chain.product.size)
    if trace.pending_factors.size > 0:
        copy(trace.pending_factors[pending], 0, factors, 0, factors.size)
    if trace.pending_products.size + trace.pending_factors.size > 0:
        trace.pending_at[pending, 0], trace.pending_at[pending, 1] = run, record
        trace.pending_count[0] = pending + 1


@jit_inline
def relative_error(x, truth):
    """``||x - truth|| / ||truth||`` of two flat arrays, summed in float64."""
    difference, size = 0.0, 0.0
    for i in range(x.size):
        difference += np.float64(x[i] - truth[i]) ** 2
        size += np.float64(truth[i]) ** 2
    return np.sqrt(difference) / np.sqrt(size)
