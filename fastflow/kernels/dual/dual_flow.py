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

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_internal
from fastflow.kernels.dual.certainty import certainty
from fastflow.kernels.dual.flow_rest import judge
from fastflow.kernels.dual.flow_work import (
    BEGUN,
    COLUMN,
    LATER,
    LENGTH,
    PASSED,
    REJECTED,
    ROUNDING,
    SIZE,
    STIFF,
    TIME,
    TIME_REST,
    VALUES,
    allowed_error,
)
from fastflow.kernels.dual.mirror import mirror_move, mirror_point, mirror_row
from fastflow.kernels.dual.rosenbrock import DENSE, GAMMA, NODE, ORDER, RATE, STAGE, STAGES, STEP, WEIGHT
from fastflow.kernels.endings import CONVERGED, CRITICAL, RUNNING
from fastflow.kernels.queues import PLACE
from fastflow.kernels.vectors.cholesky import (
    factor_normal,
    normal_matrix,
    set_transposed,
    solve_normal,
    stride_of,
)
from fastflow.kernels.vectors.elementwise import copy, subtract
from fastflow.kernels.vectors.inner import norm, times, transposed_times
from fastflow.kernels.vectors.rotation import rotate_rows

STIFFEST = 1e14
"""The length of a step times the stiffest rate, where even a rotation has not kept the slow directions apart."""

LARGEST_STEP = 1e300
"""Times end here; a flow at rest would take longer and longer steps."""


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
        status = judge(mirror, control, flows.steps[i], work)
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


@jit_internal
def _begin(mirror, control, work):
    """Set a problem's start, and the length of a first step in which x changes by little."""
    a, y, numbers = work.matrix, work.values, work.numbers
    m, n = y.size, mirror.scale.size
    set_transposed(a, m, n, work.normal)
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
    numbers[LATER] = allowed_error(control, size, size) / steep if size > 0 else np.inf
    relative = steep / size if size > 0 else 0.0
    for i in range(n):
        relative = max(relative, work.slope[i] / size if size > 0 else 0.0)
    rate = largest * norm(work.residual) * relative
    numbers[LENGTH] = min(control.rtol ** (1 / ORDER) / rate, LARGEST_STEP)


@jit_internal
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
            tolerance = min(tolerance, allowed_error(control, abs(work.new_x[i]), numbers[SIZE]) / work.new_slope[i])
        # The rounding of A x, as if y were rounded so, as far as z follows within the step.
        followed = length / (1 + length * numbers[COLUMN] ** 2 * work.new_slope[i])
        error = abs(work.change[i]) / (tolerance + rounding * followed)
        if not error <= worst:  # a NaN stays
            worst = error
    return worst


@jit_internal
def _factor(a, m, n, work):
    """The factor of ``1/(h GAMMA) - J``; returns how many pivots are round-off."""
    normal, numbers, stiffest, stride = work.normal, work.numbers, 0.0, stride_of(m)
    normal_matrix(a, work.slope, m, n, normal)
    for j in range(m):
        stiffest = max(stiffest, normal.upper[j * stride + j])
        normal.upper[j * stride + j] += 1 / (numbers[LENGTH] * GAMMA)
    numbers[STIFF] = stiffest
    return factor_normal(m, normal)


@jit_internal
def _rotate(a, y, work):
    """Rotate the rows anew by the slopes, so that the slow directions do not drown in the fast ones."""
    m, n = y.size, work.x.size
    copy(work.matrix, a, m * n)
    copy(work.values, y, m)
    rotate_rows(
        work.matrix, work.values, work.step, work.step, m, n, 0, work.slope, work.new_x, work.residual, work.change
    )
    set_transposed(work.matrix, m, n, work.normal)
    _residual(work.matrix, work.values, work.x, work.residual)
    transposed_times(work.matrix, m, n, work.residual, work.push)


@jit_internal
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


@jit_internal
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


@jit_internal
def _choose_length(error, work):
    numbers, accepted, factor = work.numbers, error <= 1, 0.2
    if error == error:
        factor = min(max(0.9 * max(error, 1e-10) ** (-1 / ORDER), 0.2), 6.0)
    if accepted and numbers[REJECTED]:
        factor = min(factor, 1.0)
    numbers[REJECTED] = not accepted
    numbers[LENGTH] = min(numbers[LENGTH] * factor, LARGEST_STEP)


@jit_internal
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


@jit_internal
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


@jit_internal
def _keep(flows, i, k, x, residual):
    copy(flows.x[i, k], x, x.size)
    flows.loss[i, k] = 0.5 * norm(residual) ** 2


@jit_internal
def _rounding(mirror, theta, x, slope, work):
    """What the rounding of z, in all steps, may have done to x."""
    columns, span = work.normal.transposed, work.normal.upper
    return certainty(mirror, work.summed, theta, x, slope, columns, 0.0, 0.0, np.empty(x.size, np.int64), span).error


@jit_internal
def _combine(weights, count, stages, out):
    """``out = sum_j weights[j] stages[j]`` over the first ``count`` stages."""
    for k in range(out.size):
        out[k] = 0.0
    for j in range(count):
        for k in range(out.size):
            out[k] += weights[j] * stages[j, k]


@jit_internal
def _residual(a, y, x, out):
    """``y - A x``."""
    times(a, y.size, x.size, x, out)
    subtract(out, y, out, y.size)
