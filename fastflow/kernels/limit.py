"""The limit of a diagonal network's gradient flow: ``A x = y``, ``x = x(z)``, ``z = A^T lam``, by a Newton method.

Each coordinate is held twice: x, which moves along straight lines and keeps ``A x = y``, and theta, which stands for z
and keeps ``z = A^T lam``. What a step drives to 0 is their distance from the curve x(z). The curve is replaced by the
line through its points at x and at z; with d the slopes of these lines the step solves

    A diag(d) A^T (change of lam) = y - A x(z).

A secant is steep where z has overshot and flat where x has, so that full steps are taken from far away, where tangents
at either point would need many damped ones; when x and z meet it becomes the tangent, and the convergence quadratic.

Small starts make the curve's knees sharp. So the start is first multiplied by ``boost^(1/L)``, which makes the problem
easy, and boost goes to 1 with the steps, by as much as they allow: the path of an interior-point method.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.cholesky import NormalWorkspace, factor_normal, normal_matrix, normal_workspace, solve_normal
from fastflow.kernels.elementwise import ROWS_AT_ONCE, add_rows, dot_rows
from fastflow.kernels.jit import jit, jit_inline
from fastflow.kernels.mirror import Mirror, mirror_inverse, mirror_move, mirror_point, mirror_row
from fastflow.kernels.products import transpose

NEAR = 0.3
"""Within this of each other (in theta) x and z have met: the tangent serves better than the secant."""

GOAL = 1e-13
"""A relative residual that is not improved on."""

RUNNING, CONVERGED, TOO_SLOW, NOT_FINITE, STALLED = range(5)
WAITING, STRAIGHT, ROTATED = range(3)


class LimitProblems(NamedTuple):
    """Problem i has row ``matrix_of[i]`` of ``matrices`` (A's, m n flat), and so for values (m) and mirrors."""

    matrices: np.ndarray
    values: np.ndarray
    mirrors: Mirror
    matrix_of: np.ndarray
    values_of: np.ndarray
    mirror_of: np.ndarray


class LimitPath(NamedTuple):
    """How fast boost goes to 1, how far past the largest x a step may take z (in theta), and when equations are rotated.

    ``shrink`` is the factor of log boost for a step at L = 2, ``reduction`` that of ``boost^(-k/L)`` at L >= 3.
    ``rotates`` says whether to `_rotate` whenever pivots drown, or only when nothing else helps.
    """

    shrink: float
    reduction: float
    overshoot: float
    rotates: bool


class Limits(NamedTuple):
    """What is found: ``x`` (problems, n), ``dual`` (problems, m), ``residual``, ``steps``, ``status`` (problems,)."""

    x: np.ndarray
    dual: np.ndarray
    residual: np.ndarray
    steps: np.ndarray
    status: np.ndarray


class LimitWorkspace(NamedTuple):
    """The problem under way, and scratch.

    ``at`` is its place in the queue and its stage; ``matrix`` (m n), ``values`` (m), are its A and y, which `_rotate`
    may have multiplied by ``basis`` (m m); ``dual`` is lam; ``theta`` stands for z and ``x`` for itself; ``point`` and
    ``tangent`` are x and dx/dz at theta (boost left out), ``image`` is ``A point``.
    """

    at: np.ndarray
    numbers: np.ndarray
    matrix: np.ndarray
    values: np.ndarray
    basis: np.ndarray
    dual: np.ndarray
    theta: np.ndarray
    x: np.ndarray
    point: np.ndarray
    tangent: np.ndarray
    image: np.ndarray
    slope: np.ndarray
    other: np.ndarray
    change: np.ndarray
    moved: np.ndarray
    step: np.ndarray
    left: np.ndarray
    normal: NormalWorkspace


# The places of `LimitWorkspace.numbers`.
BOOST, REDUCTION, SHARE, RESIDUAL, BEFORE, GAP, REACH, VALUES, MATRIX = range(9)


def limit_workspace(m: int, n: int) -> LimitWorkspace:
    """Memory for one problem of shape (m, n) at a time."""
    sizes = (9, m * n, m, m * m, m, n, n, n, n, m, n, n, n, n, m, m)
    arrays = [np.zeros(size) for size in sizes]
    return LimitWorkspace(np.zeros(2, np.int64), *arrays, normal=normal_workspace(m, n))


@jit
def limit_slice(problems, path, tol, max_steps, limits, queue, budget, work):
    """Take the problems of a queue some Newton steps further, one after the other; returns how many steps were taken.

    It goes on where ``work`` is, and has ended with ``work.at[0] == queue.size``.
    """
    taken = 0
    while taken < budget and work.at[0] < queue.size:
        i = queue[work.at[0]]
        mirror = mirror_row(problems.mirrors, problems.mirror_of[i])
        if work.at[1] == WAITING:
            work.matrix[:], work.values[:] = (
                problems.matrices[problems.matrix_of[i]],
                problems.values[problems.values_of[i]],
            )
            transpose(work.normal.transposed, 0, work.matrix, 0, work.values.size, mirror.scale.size)
            work.at[1], limits.steps[i] = STRAIGHT, 1
            _begin(mirror, path, work)
        else:
            _advance(mirror, path, work)
            limits.steps[i] += 1
        taken += 1
        status = _judge(tol, max_steps, limits.steps[i], work)
        if status == STALLED:
            _rotate(work)
            work.numbers[RESIDUAL] = work.numbers[GAP] = np.inf
        elif status != RUNNING:
            limits.x[i], limits.residual[i], limits.status[i] = work.point, work.numbers[RESIDUAL], status
            limits.dual[i] = work.dual
            if work.at[1] == ROTATED:
                _transposed_times(work.basis, work.values.size, work.values.size, work.dual, limits.dual[i])
            work.at[0] += 1
            work.at[1] = WAITING
    return taken


@jit
def _times(a, m, n, x, out):
    """``out = A x``."""
    for first in range(0, m, ROWS_AT_ONCE):
        dot_rows(out[first:], a, first, n, min(ROWS_AT_ONCE, m - first), x)


@jit
def _transposed_times(a, m, n, c, out):
    """``out = A^T c``."""
    out[:] = 0
    for first in range(0, m, ROWS_AT_ONCE):
        add_rows(out, c[first:], a, first, n, min(ROWS_AT_ONCE, m - first))


@jit
def _norm(v):
    """The Euclidean norm, also where squares would overflow or vanish."""
    largest = 0.0
    for value in v:
        largest = max(largest, abs(value))
    if largest == 0 or not math.isfinite(largest):
        return largest
    total = 0.0
    for value in v:
        total += (value / largest) ** 2
    return largest * math.sqrt(total)


@jit
def _begin(mirror, path, work):
    """Choose boost so that the problem is easy, and take a step along the tangents at ``z = 0``."""
    a, y, numbers = work.matrix, work.values, work.numbers
    m, n = y.size, mirror.scale.size
    work.dual[:] = 0
    work.theta[:] = mirror.rest
    mirror_point(mirror, work.theta, work.point, work.tangent)
    work.slope[:] = work.tangent
    short = _factor(a, m, n, work)
    if path.rotates and short > 0:
        _rotate(work)
        _factor(a, m, n, work)
    two_sided = True
    for i in range(n):
        two_sided = two_sided and mirror.sides[i] in (0, 2)
    boost = 1.0
    _times(a, m, n, work.point, work.image)
    if mirror.depth > 1 and not two_sided:
        # The start and y have the same size in the norm that counts here.
        of_start, of_values = _size(work.image, m, work), _size(y, m, work)
        if of_start > 0 and of_values > 0:
            boost = of_values / of_start
    work.step[:] = y - boost * work.image
    solve_normal(work.step, m, work.normal)
    _transposed_times(a, m, n, work.step, work.change)
    power = _power(mirror.depth)
    unit = 4.0 if mirror.depth == 2 else power * 2 ** (1 + power)  # dx/dtheta at 0, beside the scale
    largest = 0.0
    for i in range(n):
        work.x[i] = boost * work.point[i] + work.slope[i] * work.change[i]
        if mirror.sides[i] == 2:
            largest = max(largest, abs(work.x[i]) / (mirror.scale[i] * unit))
        else:
            work.x[i] = _on_its_side(mirror.sides[i], work.x[i], boost * work.point[i], mirror.depth)
    if mirror.depth > 1 and two_sided:
        boost = max(1.0, largest / NEAR)
    numbers[BOOST], numbers[REDUCTION], numbers[SHARE] = math.log(boost), 0.0, 1.0
    numbers[VALUES], numbers[MATRIX] = _norm(y), _norm(a)
    numbers[BEFORE], numbers[RESIDUAL], numbers[GAP] = np.inf, np.inf, np.inf


@jit
def _advance(mirror, path, work):
    """One step: boost, slopes, the linear system, and how much of the step z takes."""
    a, y, numbers = work.matrix, work.values, work.numbers
    m, n = y.size, mirror.scale.size
    was_final = numbers[BOOST] == 0
    numbers[BOOST] = _next_boost(mirror.depth, path, numbers)
    boost = math.exp(numbers[BOOST])
    quadratic = numbers[GAP] <= NEAR and numbers[RESIDUAL] <= 1e-3 * numbers[BEFORE]
    if not (was_final and quadratic):  # else the last factor still serves
        mirror_inverse(mirror, boost, work.x, work.other)
        _secants(mirror, boost, path, work)
        short = _factor(a, m, n, work)
        if path.rotates and short > 0 and numbers[RESIDUAL] > 1e-8 * numbers[VALUES]:
            _rotate(work)
            _factor(a, m, n, work)
    for j in range(m):
        work.step[j] = y[j] - boost * work.image[j]
    solve_normal(work.step, m, work.normal)
    _transposed_times(a, m, n, work.step, work.change)
    for i in range(n):
        moved = boost * work.point[i] + work.slope[i] * work.change[i]
        work.x[i] = _on_its_side(mirror.sides[i], moved, work.x[i], mirror.depth)
    work.other[:] = work.theta
    before = numbers[RESIDUAL]
    share = _move(mirror, boost, numbers[REACH], work)
    if numbers[RESIDUAL] > 100 * max(before, 0.1 * numbers[VALUES]):
        # Far too far for what was left to do: no coordinate further out than 1.
        work.theta[:] = work.other
        share = _move(mirror, boost, -np.inf, work)
    for j in range(m):
        work.dual[j] += share * work.step[j]
    numbers[SHARE], numbers[BEFORE] = share, before


@jit
def _move(mirror, boost, reach, work):
    """Take theta along ``work.change``, as far as `_share_of_step` says, and evaluate there; returns the share."""
    m, n = work.values.size, work.theta.size
    share = _share_of_step(mirror, work.theta, work.change, reach)
    for i in range(n):
        work.moved[i] = share * work.change[i]
    mirror_move(mirror, work.moved, work.theta)
    mirror_point(mirror, work.theta, work.point, work.tangent)
    _times(work.matrix, m, n, work.point, work.image)
    for j in range(m):
        work.left[j] = work.values[j] - boost * work.image[j]
    work.numbers[RESIDUAL] = _norm(work.left)
    return share


@jit
def _judge(tol, max_steps, steps, work):
    """How the problem under way stands."""
    numbers = work.numbers
    residual = numbers[RESIDUAL]
    if numbers[BOOST] == 0:
        if residual <= GOAL * numbers[VALUES]:
            return CONVERGED
        if 0.2 * numbers[BEFORE] < residual < np.inf:
            round_off = 1e-14 * numbers[MATRIX] * _norm(work.point)
            if residual <= max(10 * GOAL * numbers[VALUES], round_off):
                return CONVERGED
            if work.at[1] == STRAIGHT and residual < 1e-4 * numbers[VALUES]:
                return STALLED
            if residual <= tol * numbers[VALUES] and residual > 0.7 * numbers[BEFORE]:
                return CONVERGED
    if math.isnan(residual):
        return NOT_FINITE
    return TOO_SLOW if steps >= max_steps else RUNNING


@jit
def _rotate(work):
    """Multiply A, y and lam by the orthogonal matrix that makes the columns of the largest slopes triangular.

    What small slopes add to ``A diag(d) A^T`` drowns in the round-off of the large ones, although they alone decide
    where the large ones have no say. Rows that have exact zeros in the large columns keep the two apart.
    """
    a, y, dual, basis = work.matrix, work.values, work.dual, work.basis
    m, n = y.size, work.theta.size
    if work.at[1] != ROTATED:
        basis[:] = 0
        for i in range(m):
            basis[i * m + i] = 1
    work.at[1] = ROTATED
    size, reflector = work.other, work.step
    for k in range(m):
        size[:] = 0
        for i in range(k, m):
            row = a[i * n : (i + 1) * n]
            for j in range(n):
                size[j] += row[j] * row[j]
        for j in range(n):
            size[j] *= work.slope[j]
        pivot = np.argmax(size)
        if not size[pivot] > 0:
            break
        for i in range(k, m):
            reflector[i] = a[i * n + pivot]
        length = math.copysign(_norm(reflector[k:]), reflector[k])
        reflector[k] += length
        factor = 1 / (length * reflector[k])
        _reflect(a, k, m, n, reflector, factor, work.change)
        _reflect(basis, k, m, m, reflector, factor, work.change)
        _reflect(y, k, m, 1, reflector, factor, work.change)
        _reflect(dual, k, m, 1, reflector, factor, work.change)
        a[k * n + pivot] = -length
        for i in range(k + 1, m):
            a[i * n + pivot] = 0
    transpose(work.normal.transposed, 0, a, 0, m, n)
    _times(a, m, n, work.point, work.image)


@jit
def _reflect(matrix, k, m, columns, reflector, factor, sums):
    """``M -= factor v (v^T M)`` for the rows k to m of a flat matrix."""
    sums[:columns] = 0
    for i in range(k, m):
        row = matrix[i * columns : (i + 1) * columns]
        for j in range(columns):
            sums[j] += reflector[i] * row[j]
    for i in range(k, m):
        row, share = matrix[i * columns : (i + 1) * columns], factor * reflector[i]
        for j in range(columns):
            row[j] -= share * sums[j]


@jit
def _factor(a, m, n, work):
    normal_matrix(a, work.slope, m, n, work.normal)
    return factor_normal(m, work.normal)


@jit
def _size(v, m, work):
    """The norm of v that belongs to the inverse of the factored matrix."""
    work.step[:] = v
    solve_normal(work.step, m, work.normal)
    return math.sqrt(max(0.0, np.dot(work.step, v)))


@jit_inline
def _power(depth):
    """P: x grows like ``e^{2 P theta}``."""
    return depth / (depth - 2) if depth > 2 else 1.0


@jit_inline
def _on_its_side(sides, moved, x, depth):
    """A one-sided x keeps its sign: it loses at most nine tenths of itself."""
    if sides == 2 or depth == 1:
        return moved
    return sides * max(sides * moved, 0.1 * abs(x))


@jit
def _next_boost(depth, path, numbers):
    """The logarithm of the next boost: nearer to 0, the faster the more of the last step could be taken."""
    now, share = numbers[BOOST], numbers[SHARE]
    if depth <= 2:
        factor = path.shrink if share > 0.9 else math.sqrt(path.shrink) if share > 0.5 else 1.0
        return now * factor if abs(now) > 1 else 0.0
    reduction = 1.0
    if share > 0.9:
        reduction = max(numbers[REDUCTION], path.reduction)
        numbers[REDUCTION] = min(reduction**1.5, 1e6)
    else:
        numbers[REDUCTION] = 0.0
        if share > 0.6:
            reduction = math.sqrt(path.reduction)
    return math.copysign(max(abs(now) - _power(depth) * math.log(reduction), 0.0), now)


@jit
def _secants(mirror, boost, path, work):
    """The slopes of the lines through the curve at z and at x; how far apart these are, and the largest x."""
    depth, theta, other = mirror.depth, work.theta, work.other
    gap, largest = 0.0, 0.0
    for i in range(theta.size):
        sides = mirror.sides[i]
        work.slope[i] = boost * work.tangent[i]
        if depth == 1 or sides == 0:
            continue
        largest = max(largest, abs(work.x[i]))
        apart = theta[i] - other[i]
        gap = max(gap, abs(apart))
        if abs(apart) > NEAR:
            if depth > 2:
                apart = _dual_difference(mirror, i, sides, 1, math.exp(2 * theta[i]), math.exp(2 * other[i]))
            work.slope[i] = (boost * work.point[i] - work.x[i]) / apart
    work.numbers[GAP] = gap
    work.numbers[REACH] = math.log(largest / boost) + 2 * _power(depth) * path.overshoot


@jit_inline
def _dual_difference(mirror, i, sides, sign, large, other):
    """``z(s) - z(t)``, L >= 3, from ``large = e^{2s}`` and ``other = e^{2t}``; for sign -1 of the mirrored map."""
    if sides == 2:
        return (mirror.upper[i] + mirror.lower[i]) * ((large - other) / ((1 + large) * (1 + other)))
    if sides == sign:
        return (mirror.upper[i] if sign == 1 else mirror.lower[i]) * (1 / other - 1 / large)
    return (mirror.lower[i] if sign == 1 else mirror.upper[i]) * (large - other)


@jit
def _share_of_step(mirror, theta, change, reach):
    """The largest share of a change of z that takes no x past ``e^reach``, and no theta that is beyond by more than 1."""
    share = 1.0
    if mirror.depth == 1:
        return share
    rate = 1 / (2 * _power(mirror.depth))
    for i in range(theta.size):
        sides, sign = mirror.sides[i], 1 if change[i] > 0 else -1
        if sides != 2 and sides != sign:
            continue
        out = sign * theta[i]
        far = max(out + 1, rate * (reach - math.log(mirror.scale[i])))
        if mirror.depth == 2:
            room = far - out
        else:
            room = _dual_difference(mirror, i, sides, sign, math.exp(2 * far), math.exp(2 * out))
        if room < share * abs(change[i]):
            share = room / abs(change[i])
    return share
