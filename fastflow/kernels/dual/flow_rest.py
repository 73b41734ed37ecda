"""How a dual flow stands: at rest, which is where nothing has any way left to go, at its last time, or under way."""

from __future__ import annotations

import math

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.dual.certainty import EPSILON
from fastflow.kernels.dual.flow_work import COLUMN, LENGTH, PASSED, ROUNDING, SIZE, TIME, VALUES, allowed_error
from fastflow.kernels.dual.mirror import BOTH
from fastflow.kernels.endings import CONVERGED, CRITICAL, DIVERGED, MAX_STEPS, MAX_TIME, RUNNING
from fastflow.kernels.vectors.inner import norm
from fastflow.kernels.vectors.revealing import pivot_solutions, reveal_rank


@jit_internal
def judge(mirror, control, steps, work):
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
    if _gradient(mirror, work) <= rest and not can_move(mirror, control, work):
        return CRITICAL
    if not numbers[LENGTH] > 0 or not math.isfinite(numbers[TIME]):
        return DIVERGED
    return MAX_STEPS if steps >= control.max_steps else RUNNING


@jit_internal
def _gradient(mirror, work):
    """The largest entry of the gradient of the loss by x; where it pushes x to 0, no more than x has left to go."""
    numbers, largest = work.numbers, 0.0
    for i in range(work.x.size):
        push, sides = work.push[i], mirror.sides[i]
        if mirror.depth > 1 and sides != BOTH:
            push = max(sides * push, min(-sides * push, abs(work.x[i]) * numbers[COLUMN] ** 2))
        largest = max(largest, abs(push))
    return largest


@jit_internal
def can_move(mirror, control, work):
    """Whether some x would still move by more than a tenth of its tolerance, and more than rounding explains.

    By a solution of ``A dx = y - A x``, in the columns that move first: directions that A hardly sees have hardly any
    gradient, and all time to move. Entries that are pushed to 0 and are there do not count.
    """
    numbers, x, m = work.numbers, work.x, work.residual.size
    n = x.size
    weights, right = np.zeros(n), np.zeros((m, m + 1))
    for i in range(n):
        gone = mirror.depth > 1 and mirror.sides[i] != BOTH and mirror.sides[i] * work.push[i] < 0
        if not (gone and abs(x[i]) <= 0.1 * allowed_error(control, abs(x[i]), numbers[SIZE])):
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
        if abs(moves[k, m]) > 0.1 * allowed_error(control, abs(x[i]), numbers[SIZE]) + noise:
            return True
    return False
