"""The gradient flow of a diagonal network, by its dual ``lam' = y - A x(A^T lam)``, ``lam(0) = 0``: m unknowns, stiff.

The right-hand side is the negative gradient of a convex function of lam. So the Jacobian ``-A diag(dx/dz) A^T`` is
symmetric and negative: a step of the Rosenbrock method needs one Cholesky factor. And two solutions never move apart:
what a step does wrong in lam is not amplified later, errors add up at most. Hence the error that is controlled is that
of lam, times what it can do to x now, or later where x is as large as y asks for.

lam itself is not kept. What is kept is theta, which stands for ``z = A^T lam`` without loss (`mirror`), and
which every step moves by ``A^T`` times the step. Time is kept in two floats, because at small starts and L >= 3 what
happens happens in a time that is tiny beside the time at which it does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.cholesky import NormalWorkspace, factor_normal, normal_matrix, normal_workspace, solve_normal
from fastflow.kernels.elementwise import copy, subtract
from fastflow.kernels.inner import norm, times, transposed_times
from fastflow.kernels.jit import jit, jit_inline
from fastflow.kernels.mirror import mirror_move, mirror_point, mirror_row
from fastflow.kernels.products import transpose
from fastflow.kernels.rosenbrock import DENSE, GAMMA, NODE, ORDER, RATE, STAGE, STAGES, STEP, WEIGHT
from fastflow.status import Status

ROUNDING = 1e-14
"""What the rounding of x does to a step, relative to x."""

STIFFEST = 1e14
"""The length of a step times the stiffest rate: beyond, the Cholesky factor would lose the slow directions."""

LARGEST_STEP = 1e300
"""Times end here; a flow at rest would take longer and longer steps."""

RUNNING, CONVERGED, CRITICAL = (int(Status.RUNNING), int(Status.CONVERGED), int(Status.CRITICAL))
MAX_STEPS, DIVERGED, MAX_TIME = (int(Status.MAX_STEPS), int(Status.DIVERGED), int(Status.MAX_TIME))


class FlowControl(NamedTuple):
    """What is asked for: ``times`` (k,), not decreasing; how accurately; when to stop (see `gradient_flow`)."""

    times: np.ndarray
    rtol: float
    atol: float
    tol: float
    max_steps: int


class Flows(NamedTuple):
    """What is found: ``x`` (problems, k, n), ``loss`` (problems, k), ``status`` and ``steps`` (problems,).

    Times that are not reached are left as they were.
    """

    x: np.ndarray
    loss: np.ndarray
    status: np.ndarray
    steps: np.ndarray


class FlowWorkspace(NamedTuple):
    """The problem under way, and scratch.

    ``at`` is its place in the queue, whether it has begun, and how many times it has passed; ``numbers`` see below.
    ``theta``, ``x``, ``slope`` (n,), ``residual`` (m,), ``push = A^T residual`` (n,) belong to where the flow is; the
    ``new_`` ones to the point under trial. ``stages`` (8, m) are the v_j of `rosenbrock`; ``step`` (m,) and
    ``change`` (n,) are scratch.
    """

    at: np.ndarray
    numbers: np.ndarray
    theta: np.ndarray
    x: np.ndarray
    slope: np.ndarray
    new_theta: np.ndarray
    new_x: np.ndarray
    new_slope: np.ndarray
    push: np.ndarray
    change: np.ndarray
    residual: np.ndarray
    step: np.ndarray
    stages: np.ndarray
    normal: NormalWorkspace


# The places of `FlowWorkspace.numbers`: the time in two floats, the next step, whether the last one was rejected, the
# largest norm of a column, the size of x that y asks for, its tolerance over what an error in z does to it, ||y||.
TIME, TIME_REST, LENGTH, REJECTED, COLUMN, SIZE, LATER, VALUES = range(8)


def flow_workspace(m: int, n: int) -> FlowWorkspace:
    """Memory for one problem of shape (m, n) at a time."""
    return FlowWorkspace(
        at=np.zeros(3, np.int64),
        numbers=np.zeros(8),
        theta=np.zeros(n),
        x=np.zeros(n),
        slope=np.zeros(n),
        new_theta=np.zeros(n),
        new_x=np.zeros(n),
        new_slope=np.zeros(n),
        push=np.zeros(n),
        change=np.zeros(n),
        residual=np.zeros(m),
        step=np.zeros(m),
        stages=np.zeros((STAGES, m)),
        normal=normal_workspace(m, n),
    )


@jit
def flow_slice(problems, control, flows, queue, budget, work):
    """Take the problems of a queue some steps further, one after the other; returns how many steps were tried.

    It goes on where it was in ``work.at``, and ends with ``work.at[0] == queue.size``.
    """
    tried = 0
    while tried < budget and work.at[0] < queue.size:
        i = queue[work.at[0]]
        a, y = problems.matrices[problems.matrix_of[i]], problems.values[problems.values_of[i]]
        mirror = mirror_row(problems.mirrors, problems.mirror_of[i])
        if work.at[1] == 0:
            _begin(a, y, mirror, control, work)
            work.at[1], work.at[2], flows.steps[i] = 1, 0, 0
            while work.at[2] < control.times.size and control.times[work.at[2]] == 0:
                _keep(flows, i, work.at[2], work.x, work.residual)
                work.at[2] += 1
        else:
            error = _try_step(a, y, mirror, control, work)
            if error <= 1:
                _keep_inside(a, y, mirror, control, flows, i, work)
                _accept(a, y, work)
            _choose_length(error, work)
            flows.steps[i] += 1
        tried += 1
        status = _judge(mirror, control, flows.steps[i], work)
        if status != RUNNING:
            flows.status[i] = status
            if status in (CONVERGED, CRITICAL):
                for k in range(work.at[2], control.times.size):
                    _keep(flows, i, k, work.x, work.residual)
            work.at[0] += 1
            work.at[1] = 0
    return tried


@jit
def _begin(a, y, mirror, control, work):
    """The start, and a first step in which x changes by little."""
    m, n, numbers = y.size, mirror.scale.size, work.numbers
    transpose(work.normal.transposed, a, m, n)
    copy(work.theta, mirror.rest, n)
    mirror_point(mirror, work.theta, work.x, work.slope)
    _residual(a, y, work.x, work.residual)
    transposed_times(a, m, n, work.residual, work.push)
    largest = 0.0
    for j in range(n):
        column = work.normal.transposed[j * m : (j + 1) * m]
        largest = max(largest, norm(column))
    numbers[TIME], numbers[TIME_REST], numbers[REJECTED] = 0.0, 0.0, 0.0
    numbers[COLUMN], numbers[VALUES] = largest, norm(y)
    size = numbers[VALUES] / largest if largest > 0 else 0.0
    if size == 0:
        for i in range(n):
            size = max(size, abs(work.x[i]))
    numbers[SIZE] = size
    steep = mirror.depth * size ** (2 - 2 / mirror.depth)
    numbers[LATER] = _tolerance(control, size, size) / steep if size > 0 else np.inf
    relative = steep / size if size > 0 else 0.0
    for i in range(n):
        relative = max(relative, work.slope[i] / size if size > 0 else 0.0)
    rate = largest * norm(work.residual) * relative
    numbers[LENGTH] = min(control.rtol ** (1 / ORDER) / rate, LARGEST_STEP)


@jit
def _try_step(a, y, mirror, control, work):
    """A step of the length chosen, to the ``new_`` fields; returns its error over the tolerance."""
    m, n, numbers, stages, normal = y.size, work.x.size, work.numbers, work.stages, work.normal
    normal_matrix(a, work.slope, m, n, normal)
    stiffest = 0.0
    for j in range(m):
        stiffest = max(stiffest, normal.upper[j * m + j])
    if numbers[LENGTH] * stiffest > STIFFEST:
        numbers[LENGTH] = STIFFEST / stiffest
    length = numbers[LENGTH]
    for j in range(m):
        normal.upper[j * m + j] += 1 / (length * GAMMA)
    factor_normal(m, normal)
    for i in range(STAGES):
        _move(NODE[i] * length, STAGE[i], i, a, mirror, work)
        for j in range(n):
            work.change[j] = work.x[j] - work.new_x[j] - WEIGHT[i] * length * work.slope[j] * work.push[j]
        times(a, m, n, work.change, stages[i])
        _combine(RATE[i], i, stages, work.step)
        for j in range(m):
            stages[i, j] += work.step[j] / length
        solve_normal(stages[i], m, normal)
    _move(length, STEP, STAGES, a, mirror, work)
    tolerance = numbers[LATER]
    for i in range(n):
        if work.new_slope[i] > 0:
            here = _tolerance(control, abs(work.new_x[i]), numbers[SIZE]) / work.new_slope[i]
            tolerance = min(tolerance, here)
    # The rounding of A x, as if y were rounded so: a step cannot be more accurate.
    rounding = ROUNDING * length * numbers[COLUMN] * norm(work.x)
    return numbers[COLUMN] * norm(stages[STAGES - 1]) / (tolerance + numbers[COLUMN] * rounding)


@jit
def _move(time, weights, count, a, mirror, work):
    """theta, x and slope where lam is larger by ``time`` times the residual and by the weighted sum of the stages."""
    m, n = work.residual.size, work.x.size
    _combine(weights, count, work.stages, work.step)
    transposed_times(a, m, n, work.step, work.change)
    for i in range(n):
        work.change[i] += time * work.push[i]
    copy(work.new_theta, work.theta, n)
    mirror_move(mirror, work.change, work.new_theta)
    mirror_point(mirror, work.new_theta, work.new_x, work.new_slope)


@jit
def _accept(a, y, work):
    """The step is taken."""
    numbers = work.numbers
    n = work.x.size
    copy(work.theta, work.new_theta, n)
    copy(work.x, work.new_x, n)
    copy(work.slope, work.new_slope, n)
    _residual(a, y, work.x, work.residual)
    transposed_times(a, y.size, n, work.residual, work.push)
    before, rest = numbers[TIME], numbers[TIME_REST] + numbers[LENGTH]
    numbers[TIME] = before + rest
    big, small = max(before, rest), min(before, rest)
    numbers[TIME_REST] = small - (numbers[TIME] - big)


@jit
def _choose_length(error, work):
    numbers = work.numbers
    accepted = error <= 1
    factor = 0.2
    if error == error:
        factor = min(max(0.9 * max(error, 1e-10) ** (-1 / ORDER), 0.2), 6.0)
    if accepted and numbers[REJECTED]:
        factor = min(factor, 1.0)
    numbers[REJECTED] = not accepted
    numbers[LENGTH] = min(numbers[LENGTH] * factor, LARGEST_STEP)


@jit
def _keep_inside(a, y, mirror, control, flows, problem, work):
    """Keep x at the times that the step passes; leaves the ``new_`` fields as it found them, at the step's end."""
    numbers, times = work.numbers, control.times
    weights = np.empty(STAGES)
    first = work.at[2]
    while work.at[2] < times.size:
        share = ((times[work.at[2]] - numbers[TIME]) - numbers[TIME_REST]) / numbers[LENGTH]
        if not share <= 1:
            break
        for i in range(STAGES):
            inner = DENSE[0, i] + share * (DENSE[1, i] + share * DENSE[2, i])
            weights[i] = share * (STEP[i] + (1 - share) * inner)
        _move(share * numbers[LENGTH], weights, STAGES, a, mirror, work)
        _residual(a, y, work.new_x, work.step)
        _keep(flows, problem, work.at[2], work.new_x, work.step)
        work.at[2] += 1
    if work.at[2] > first:
        _move(numbers[LENGTH], STEP, STAGES, a, mirror, work)


@jit
def _keep(flows, i, k, x, residual):
    copy(flows.x[i, k], x, x.size)
    flows.loss[i, k] = 0.5 * norm(residual) ** 2


@jit
def _judge(mirror, control, steps, work):
    """How the problem under way stands."""
    numbers, times = work.numbers, control.times
    if work.at[2] == times.size:
        return MAX_TIME
    if 0.5 * norm(work.residual) ** 2 <= control.tol:
        return CONVERGED
    rest = 10 * ROUNDING * numbers[COLUMN] * (numbers[VALUES] + numbers[COLUMN] * norm(work.x))
    if times[work.at[2]] == np.inf:
        rest = max(rest, 0.1 * control.rtol * numbers[COLUMN] ** 2 * numbers[SIZE])
    if _gradient(mirror, work) <= rest:
        return CRITICAL
    if not numbers[LENGTH] > 0 or not math.isfinite(numbers[TIME]):
        return DIVERGED
    return MAX_STEPS if steps >= control.max_steps else RUNNING


@jit
def _gradient(mirror, work):
    """The largest entry of the gradient of the loss by x; where it pushes x to 0, no more than x has left to go."""
    numbers, largest = work.numbers, 0.0
    for i in range(work.x.size):
        push, sides = work.push[i], mirror.sides[i]
        if mirror.depth > 1 and sides != 2:
            push = max(sides * push, min(-sides * push, abs(work.x[i]) * numbers[COLUMN] ** 2))
        largest = max(largest, abs(push))
    return largest


@jit_inline
def _tolerance(control, x, size):
    """The error that an entry may have."""
    return (control.atol if control.atol >= 0 else control.rtol * size) + control.rtol * x


@jit
def _combine(weights, count, stages, out):
    """``out = sum_j weights[j] stages[j]`` over the first ``count`` stages."""
    for k in range(out.size):
        out[k] = 0.0
    for j in range(count):
        for k in range(out.size):
            out[k] += weights[j] * stages[j, k]


@jit
def _residual(a, y, x, out):
    """``y - A x``."""
    times(a, y.size, x.size, x, out)
    subtract(out, y, out, y.size)
