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

from fastflow.kernels.compile.jit import jit, jit_inline
from fastflow.kernels.dual.certainty import EPSILON, certainty
from fastflow.kernels.dual.mirror import BOTH, mirror_move, mirror_point, mirror_row
from fastflow.kernels.dual.rosenbrock import DENSE, GAMMA, NODE, ORDER, RATE, STAGE, STAGES, STEP, WEIGHT
from fastflow.kernels.endings import CONVERGED, CRITICAL, DIVERGED, MAX_STEPS, MAX_TIME, RUNNING
from fastflow.kernels.queues import PLACE
from fastflow.kernels.vectors.cholesky import (
    NormalWorkspace,
    factor_normal,
    normal_matrix,
    normal_workspace,
    solve_normal,
)
from fastflow.kernels.vectors.elementwise import copy, subtract
from fastflow.kernels.vectors.inner import norm, times, transposed_times
from fastflow.kernels.vectors.products import transpose
from fastflow.kernels.vectors.revealing import pivot_solutions, reveal_rank
from fastflow.kernels.vectors.rotation import rotate_rows

ROUNDING = 1e-14
"""What the rounding of x does to a step, relative to x."""

STIFFEST = 1e14
"""The length of a step times the stiffest rate, where even a rotation has not kept the slow directions apart."""

LARGEST_STEP = 1e300
"""Times end here; a flow at rest would take longer and longer steps."""


class FlowControl(NamedTuple):
    """What is asked of a flow: ``times`` (k,), not decreasing; how accurately; when to stop (see `gradient_flow`).

    A negative ``tol`` is a share of the loss of x = 0.
    """

    times: np.ndarray
    rtol: float
    atol: float
    tol: float
    max_steps: int


class Flows(NamedTuple):
    """What is found of flows: ``x`` (problems, k, n), ``loss`` (problems, k), ``status`` and ``steps`` (problems,).

    Times that are not reached are left as they were. ``error`` (problems, k) is what the rounding of z may have done to
    x, relative to its largest entry (`certainty`).
    """

    x: np.ndarray
    loss: np.ndarray
    status: np.ndarray
    steps: np.ndarray
    error: np.ndarray


class FlowWorkspace(NamedTuple):
    """The problem under way, and scratch.

    ``at`` and ``numbers`` have the places named below.
    ``theta``, ``x``, ``slope`` (n,), ``residual`` (m,), ``push = A^T residual`` (n,) belong to where the flow is; the
    ``new_`` ones to the point under trial, ``slow`` (m,) and ``slow_push`` (n,) are f_s of `rosenbrock` and
    ``A^T f_s``. ``stages`` (8, m) are the v_j of `rosenbrock`; ``step`` (m,) and ``change`` (n,) are scratch.
    ``summed`` (n,) is the sum over all steps of the absolute values that made z. ``matrix`` (m n) and ``values`` (m,)
    are A and y, multiplied by an orthogonal matrix where `_rotate` has been.
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
    slow_push: np.ndarray
    change: np.ndarray
    summed: np.ndarray
    residual: np.ndarray
    slow: np.ndarray
    step: np.ndarray
    stages: np.ndarray
    matrix: np.ndarray
    values: np.ndarray
    normal: NormalWorkspace


BEGUN, PASSED = 1, 2
"""The places of `FlowWorkspace.at` after `PLACE`: whether the problem has begun, and how many times it has passed."""

# The places of `FlowWorkspace.numbers`: the time in two floats, the next step, whether the last one was rejected, the
# largest norm of a column, the size of x that y asks for, its tolerance over what an error in z does to it, ||y||, the
# largest rate.
TIME, TIME_REST, LENGTH, REJECTED, COLUMN, SIZE, LATER, VALUES, STIFF = range(9)


def flow_workspace(m: int, n: int) -> FlowWorkspace:
    """Memory for one problem of shape (m, n) at a time."""
    return FlowWorkspace(
        at=np.zeros(PASSED + 1, np.int64),
        numbers=np.zeros(STIFF + 1),
        theta=np.zeros(n),
        x=np.zeros(n),
        slope=np.zeros(n),
        new_theta=np.zeros(n),
        new_x=np.zeros(n),
        new_slope=np.zeros(n),
        push=np.zeros(n),
        slow_push=np.zeros(n),
        change=np.zeros(n),
        summed=np.zeros(n),
        residual=np.zeros(m),
        slow=np.zeros(m),
        step=np.zeros(m),
        stages=np.zeros((STAGES, m)),
        matrix=np.zeros(m * n),
        values=np.zeros(m),
        normal=normal_workspace(m, n),
    )


@jit
def flow_slice(problems, control, flows, queue, budget, work):
    """Take the problems of a queue some steps further, one after the other; returns how many steps were tried.

    It goes on where it was in ``work.at``, and ends with ``work.at[PLACE] == queue.size``.
    """
    tried = 0
    while tried < budget and work.at[PLACE] < queue.size:
        i = queue[work.at[PLACE]]
        a, y = problems.matrices[problems.matrix_of[i]], problems.values[problems.values_of[i]]
        mirror = mirror_row(problems.mirrors, problems.mirror_of[i])
        if work.at[BEGUN] == 0:
            copy(work.matrix, a, a.size)
            copy(work.values, y, y.size)
            _begin(mirror, control, work)
            work.at[BEGUN], work.at[PASSED], flows.steps[i] = 1, 0, 0
            while work.at[PASSED] < control.times.size and control.times[work.at[PASSED]] == 0:
                _keep(flows, i, work.at[PASSED], work.x, work.residual)
                work.at[PASSED] += 1
        else:
            error = _try_step(a, y, mirror, control, work)
            if error <= 1:
                _keep_inside(mirror, control, flows, i, work)
                _accept(work)
            _choose_length(error, work)
            flows.steps[i] += 1
        tried += 1
        status = _judge(mirror, control, flows.steps[i], work)
        if status != RUNNING:
            flows.status[i] = status
            if status in (CONVERGED, CRITICAL):
                for k in range(work.at[PASSED], control.times.size):
                    if status == CRITICAL and control.times[k] == np.inf:
                        _polish(a, y, mirror, work)
                    flows.error[i, k] = _rounding(mirror, work.theta, work.x, work.slope, work)
                    _keep(flows, i, k, work.x, work.residual)
            work.at[PLACE] += 1
            work.at[BEGUN] = 0
    return tried


@jit
def _begin(mirror, control, work):
    """Set a problem's start, and the length of a first step in which x changes by little."""
    a, y, numbers = work.matrix, work.values, work.numbers
    m, n = y.size, mirror.scale.size
    transpose(work.normal.transposed, a, m, n)
    copy(work.theta, mirror.rest, n)
    mirror_point(mirror, work.theta, work.x, work.slope)
    _residual(a, y, work.x, work.residual)
    transposed_times(a, m, n, work.residual, work.push)
    work.summed[:] = 0
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
def _try_step(original, values, mirror, control, work):
    """A step of the length chosen, to the ``new_`` fields; returns its error over the tolerance."""
    a, m, n, numbers, stages, normal = work.matrix, values.size, work.x.size, work.numbers, work.stages, work.normal
    if _factor(a, m, n, work) > 0:
        _rotate(original, values, work)
        if _factor(a, m, n, work) > 0 and numbers[LENGTH] * numbers[STIFF] > STIFFEST:
            numbers[LENGTH] = STIFFEST / numbers[STIFF]
            _factor(a, m, n, work)
    length = numbers[LENGTH]
    for j in range(m):
        work.step[j] = work.residual[j] / (length * GAMMA)
    solve_normal(work.step, m, normal)
    copy(work.slow, work.step, m)
    transposed_times(a, m, n, work.step, work.slow_push)
    for i in range(STAGES):
        _move(NODE[i] * length, STAGE[i], i, a, mirror, work)
        for j in range(n):
            straight = (WEIGHT[i] - GAMMA) * length * work.slope[j] * work.slow_push[j]
            work.change[j] = work.x[j] - work.new_x[j] - straight
        times(a, m, n, work.change, stages[i])
        _combine(RATE[i], i, stages, work.step)
        for j in range(m):
            stages[i, j] += work.step[j] / length
        solve_normal(stages[i], m, normal)
    _move(length, STEP, STAGES, a, mirror, work)
    # What the step does wrong in z, coordinate by coordinate.
    transposed_times(a, m, n, stages[STAGES - 1], work.change)
    rounding = ROUNDING * numbers[COLUMN] ** 2 * norm(work.x)
    worst = 0.0
    for i in range(n):
        tolerance = numbers[LATER]
        if work.new_slope[i] > 0:
            tolerance = min(tolerance, _tolerance(control, abs(work.new_x[i]), numbers[SIZE]) / work.new_slope[i])
        # The rounding of A x, as if y were rounded so, as far as z follows within the step.
        followed = length / (1 + length * numbers[COLUMN] ** 2 * work.new_slope[i])
        error = abs(work.change[i]) / (tolerance + rounding * followed)
        if not error <= worst:  # a NaN stays
            worst = error
    return worst


@jit
def _factor(a, m, n, work):
    """The factor of ``1/(h GAMMA) - J``; returns how many pivots are round-off."""
    normal, numbers, stiffest = work.normal, work.numbers, 0.0
    normal_matrix(a, work.slope, m, n, normal)
    for j in range(m):
        stiffest = max(stiffest, normal.upper[j * m + j])
        normal.upper[j * m + j] += 1 / (numbers[LENGTH] * GAMMA)
    numbers[STIFF] = stiffest
    return factor_normal(m, normal)


@jit
def _rotate(a, y, work):
    """Rotate the rows anew by the slopes, so that the slow directions do not drown in the fast ones."""
    m, n = y.size, work.x.size
    copy(work.matrix, a, m * n)
    copy(work.values, y, m)
    rotate_rows(
        work.matrix, work.values, work.step, work.step, m, n, 0, work.slope, work.new_x, work.residual, work.change
    )
    transpose(work.normal.transposed, work.matrix, m, n)
    _residual(work.matrix, work.values, work.x, work.residual)
    transposed_times(work.matrix, m, n, work.residual, work.push)


@jit
def _move(time, weights, count, a, mirror, work):
    """theta, x and slope where lam is larger by ``time`` times the slow residual and by the weighted sum of stages."""
    m, n = work.residual.size, work.x.size
    _combine(weights, count, work.stages, work.step)
    transposed_times(a, m, n, work.step, work.change)
    for i in range(n):
        work.change[i] += time * work.slow_push[i]
    copy(work.new_theta, work.theta, n)
    mirror_move(mirror, work.change, work.new_theta)
    mirror_point(mirror, work.new_theta, work.new_x, work.new_slope)


@jit
def _accept(work):
    """Go to where the step under trial leads."""
    a, y, numbers, n = work.matrix, work.values, work.numbers, work.x.size
    copy(work.theta, work.new_theta, n)
    copy(work.x, work.new_x, n)
    copy(work.slope, work.new_slope, n)
    _combine(STEP, STAGES, work.stages, work.step)
    for j in range(y.size):
        row, size = a[j * n : (j + 1) * n], abs(work.step[j]) + numbers[LENGTH] * abs(work.slow[j])
        for i in range(n):
            work.summed[i] += abs(row[i]) * size
    _residual(a, y, work.x, work.residual)
    transposed_times(a, y.size, n, work.residual, work.push)
    before, rest = numbers[TIME], numbers[TIME_REST] + numbers[LENGTH]
    numbers[TIME] = before + rest
    big, small = max(before, rest), min(before, rest)
    numbers[TIME_REST] = small - (numbers[TIME] - big)


@jit
def _choose_length(error, work):
    numbers, accepted, factor = work.numbers, error <= 1, 0.2
    if error == error:
        factor = min(max(0.9 * max(error, 1e-10) ** (-1 / ORDER), 0.2), 6.0)
    if accepted and numbers[REJECTED]:
        factor = min(factor, 1.0)
    numbers[REJECTED] = not accepted
    numbers[LENGTH] = min(numbers[LENGTH] * factor, LARGEST_STEP)


@jit
def _keep_inside(mirror, control, flows, problem, work):
    """Keep x at the times that the step passes; leaves the ``new_`` fields as it found them, at the step's end."""
    a, y, numbers, times = work.matrix, work.values, work.numbers, control.times
    weights = np.empty(STAGES)
    first = work.at[PASSED]
    while work.at[PASSED] < times.size:
        share = ((times[work.at[PASSED]] - numbers[TIME]) - numbers[TIME_REST]) / numbers[LENGTH]
        if not share <= 1:
            break
        for i in range(STAGES):
            inner = DENSE[0, i] + share * (DENSE[1, i] + share * DENSE[2, i])
            weights[i] = share * (STEP[i] + (1 - share) * inner)
        _move(share * numbers[LENGTH], weights, STAGES, a, mirror, work)
        _residual(a, y, work.new_x, work.step)
        _keep(flows, problem, work.at[PASSED], work.new_x, work.step)
        flows.error[problem, work.at[PASSED]] = _rounding(mirror, work.new_theta, work.new_x, work.new_slope, work)
        work.at[PASSED] += 1
    if work.at[PASSED] > first:
        _move(numbers[LENGTH], STEP, STAGES, a, mirror, work)


@jit
def _polish(a, y, mirror, work):
    """From a flow at rest on to its limit by Newton's method, as long as that halves the residual."""
    m, n = y.size, work.x.size
    work.numbers[LENGTH] = LARGEST_STEP
    while True:
        _rotate(a, y, work)
        _factor(work.matrix, m, n, work)
        before = norm(work.residual)
        copy(work.step, work.residual, m)
        solve_normal(work.step, m, work.normal)
        transposed_times(work.matrix, m, n, work.step, work.change)
        copy(work.new_theta, work.theta, n)
        mirror_move(mirror, work.change, work.new_theta)
        mirror_point(mirror, work.new_theta, work.new_x, work.new_slope)
        _residual(work.matrix, work.values, work.new_x, work.step)
        if not norm(work.step) < 0.5 * before:
            break
        copy(work.theta, work.new_theta, n)
        copy(work.x, work.new_x, n)
        copy(work.slope, work.new_slope, n)
        copy(work.residual, work.step, m)


@jit
def _keep(flows, i, k, x, residual):
    copy(flows.x[i, k], x, x.size)
    flows.loss[i, k] = 0.5 * norm(residual) ** 2


@jit
def _judge(mirror, control, steps, work):
    """How the problem under way stands."""
    numbers, times = work.numbers, control.times
    if work.at[PASSED] == times.size:
        return MAX_TIME
    tol = control.tol if control.tol >= 0 else -control.tol * 0.5 * numbers[VALUES] ** 2
    if 0.5 * norm(work.residual) ** 2 <= tol:
        return CONVERGED
    rest = 10 * ROUNDING * numbers[COLUMN] * (numbers[VALUES] + numbers[COLUMN] * norm(work.x))
    if times[work.at[PASSED]] == np.inf:
        rest = max(rest, 0.1 * control.rtol * numbers[COLUMN] ** 2 * numbers[SIZE])
    if _gradient(mirror, work) <= rest and not _can_move(mirror, control, work):
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
        if mirror.depth > 1 and sides != BOTH:
            push = max(sides * push, min(-sides * push, abs(work.x[i]) * numbers[COLUMN] ** 2))
        largest = max(largest, abs(push))
    return largest


@jit
def _can_move(mirror, control, work):
    """Whether some x would still move by more than a tenth of its tolerance, and more than rounding explains.

    By a solution of ``A dx = y - A x``, in the columns that move first: directions that A hardly sees have hardly any
    gradient, and all time to move. Entries that are pushed to 0 and are there do not count.
    """
    numbers, x, m = work.numbers, work.x, work.residual.size
    n = x.size
    weights, right = np.zeros(n), np.zeros((m, m + 1))
    for i in range(n):
        gone = mirror.depth > 1 and mirror.sides[i] != BOTH and mirror.sides[i] * work.push[i] < 0
        if not (gone and abs(x[i]) <= 0.1 * _tolerance(control, abs(x[i]), numbers[SIZE])):
            weights[i] = math.sqrt(work.slope[i])
    for j in range(m):
        right[j, m] = work.residual[j]
        right[j, j] = 8 * EPSILON * (abs(work.values[j]) + numbers[COLUMN] * norm(x))
    found = reveal_rank(work.matrix.reshape(m, n), weights, 64 * m * EPSILON)
    moves = pivot_solutions(found, right)
    for k in range(found.pivots.size):
        i = found.columns[k]
        noise = 0.0
        for j in range(m):
            noise += abs(moves[k, j])
        if abs(moves[k, m]) > 0.1 * _tolerance(control, abs(x[i]), numbers[SIZE]) + noise:
            return True
    return False


@jit
def _rounding(mirror, theta, x, slope, work):
    """What the rounding of z, in all steps, may have done to x."""
    columns, span = work.normal.transposed, work.normal.upper
    return certainty(mirror, work.summed, theta, x, slope, columns, 0.0, 0.0, np.empty(x.size, np.int64), span).error


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
