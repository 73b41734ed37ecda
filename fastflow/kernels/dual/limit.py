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

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.dual.certainty import EPSILON, absolute_times, certainty
from fastflow.kernels.dual.limit_step import (
    BEFORE,
    BOOST,
    GAP,
    MATRIX,
    NEAR,
    REACH,
    REDUCTION,
    RESIDUAL,
    SHARE,
    SHORT,
    VALUES,
    next_boost,
    on_its_side,
    secants,
    share_of_step,
    unit,
)
from fastflow.kernels.dual.mirror import (
    BOTH,
    NEITHER,
    Mirror,
    growth,
    mirror_inverse,
    mirror_move,
    mirror_point,
    mirror_row,
)
from fastflow.kernels.dual.two_sided import logarithms
from fastflow.kernels.endings import CONVERGED, DIVERGED, INACCURATE, RUNNING
from fastflow.kernels.queues import PLACE
from fastflow.kernels.vectors.cholesky import (
    NormalWorkspace,
    factor_normal,
    normal_matrix,
    normal_workspace,
    set_transposed,
    solve_normal,
)
from fastflow.kernels.vectors.elementwise import copy
from fastflow.kernels.vectors.inner import norm, norm_of, times, transposed_times
from fastflow.kernels.vectors.revealing import even_rows
from fastflow.kernels.vectors.rotation import rotate_rows

ROUND_OFF = 2e-15
"""Entries of the residual below this share of the norm of y are round-off."""

GOAL = 1e-13
"""A relative residual that is not improved on."""

HELD_UP = -1
"""How a problem stands whose residual gets no smaller before its equations are rotated."""

STAGE = 1
"""The place of `LimitWorkspace.at` after `PLACE`: the stage of the problem, one of the following."""

WAITING, STRAIGHT, ROTATED = range(3)


class LimitProblems(NamedTuple):
    """Problem i has row ``matrix_of[i]`` of ``matrices`` (A's, m n flat), and so for values (m) and mirrors."""

    matrices: np.ndarray
    values: np.ndarray
    mirrors: Mirror
    matrix_of: np.ndarray
    values_of: np.ndarray
    mirror_of: np.ndarray


class Limits(NamedTuple):
    """Limits of flows: ``x`` (problems, n), ``dual`` (problems, m); arrays (problems,) of what `LimitResult` names.

    ``unsure`` says whether round-off decides ``rank``.
    """

    x: np.ndarray
    dual: np.ndarray
    residual: np.ndarray
    steps: np.ndarray
    status: np.ndarray
    error: np.ndarray
    condition: np.ndarray
    rank: np.ndarray
    unsure: np.ndarray


class LimitWorkspace(NamedTuple):
    """The problem under way, and scratch.

    ``at`` and ``numbers`` have named places; ``matrix`` (m n), ``values`` (m), are its A and y, with rows multiplied
    by ``units`` (m), and by ``basis`` (m m) where `_rotate` has been; ``dual`` is lam; ``theta`` stands for z and ``x``
    for itself; ``point`` and ``tangent`` are x and dx/dz at theta (boost left out), ``image`` is ``A point``;
    ``log_scale`` is the logarithm of the scale of the mirror.
    """

    at: np.ndarray
    numbers: np.ndarray
    matrix: np.ndarray
    values: np.ndarray
    units: np.ndarray
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
    log_scale: np.ndarray
    order: np.ndarray
    normal: NormalWorkspace


def limit_workspace(m: int, n: int) -> LimitWorkspace:
    """Memory for one problem of shape (m, n) at a time."""
    sizes = (SHORT + 1, m * n, m, m, m * m, m, n, n, n, n, m, n, n, n, n, m, m, n)
    arrays = (np.zeros(size) for size in sizes)
    return LimitWorkspace._make([np.zeros(STAGE + 1, np.int64), *arrays, np.zeros(n, np.int64), normal_workspace(m, n)])


@jit
def limit_slice(problems, path, tol, max_steps, limits, queue, budget, work):
    """Take the problems of a queue some Newton steps further, one after the other; returns how many steps were taken.

    It goes on where ``work`` is, and has ended with ``work.at[PLACE] == queue.size``.
    """
    m, n = work.values.size, work.theta.size
    taken = 0
    while taken < budget and work.at[PLACE] < queue.size:
        i = queue[work.at[PLACE]]
        mirror = mirror_row(problems.mirrors, problems.mirror_of[i])
        if work.at[STAGE] == WAITING:
            _take(problems, i, work)
            set_transposed(work.matrix, m, n, work.normal)
            work.at[STAGE], limits.steps[i] = STRAIGHT, 1
            _begin(mirror, path, problems, i, work)
        else:
            _advance(mirror, path, problems, i, work)
            limits.steps[i] += 1
        taken += 1
        status = _judge(tol, max_steps, limits.steps[i], work)
        if status == HELD_UP:
            _rotate(work)
            work.numbers[RESIDUAL] = work.numbers[GAP] = np.inf
        elif status != RUNNING:
            limits.residual[i], limits.status[i] = work.numbers[RESIDUAL], status
            copy(limits.x[i], work.point, n)
            if work.at[STAGE] == ROTATED:
                transposed_times(work.basis, m, m, work.dual, limits.dual[i])
            else:
                copy(limits.dual[i], work.dual, m)
            residual, moved = work.numbers[RESIDUAL], _last_move(work)
            _give_back(problems, i, limits, work)
            limits.error[i], limits.condition[i] = np.inf, np.inf
            if status == CONVERGED and work.numbers[SHORT] == 0:
                residual = max(residual, EPSILON * work.numbers[MATRIX] * norm(work.point))
                absolute_times(problems.matrices[problems.matrix_of[i]], limits.dual[i], work.change)
                sure = certainty(
                    mirror,
                    work.change,
                    work.theta,
                    work.point,
                    work.tangent,
                    work.normal.transposed,
                    residual,
                    moved,
                    work.order,
                    work.normal.upper,
                )
                limits.error[i], limits.condition[i] = sure.error, sure.condition
            work.at[PLACE], work.at[STAGE] = work.at[PLACE] + 1, WAITING
    return taken


@jit_inline
def _take(problems, number, work):
    """A and y as they were given, but that rows of very different size are multiplied by powers of 2."""
    m, n = work.values.size, work.theta.size
    copy(work.matrix, problems.matrices[problems.matrix_of[number]], m * n)
    copy(work.values, problems.values[problems.values_of[number]], m)
    even_rows(work.matrix, m, n, work.units)
    for j in range(m):
        if work.units[j] != 1:
            work.values[j] *= work.units[j]
            for i in range(j * n, (j + 1) * n):
                work.matrix[i] *= work.units[j]


@jit_inline
def _give_back(problems, number, limits, work):
    """lam, and the residual, for rows in the units in which they were given."""
    m, n = work.values.size, work.theta.size
    for j in range(m):
        if work.units[j] != 1:
            a, y = problems.matrices[problems.matrix_of[number]], problems.values[problems.values_of[number]]
            times(a, m, n, work.point, work.left)
            for k in range(m):
                work.left[k] -= y[k]
                limits.dual[number, k] *= work.units[k]
            limits.residual[number] = norm(work.left)
            break


@jit_inline
def _begin(mirror, path, problems, number, work):
    """Choose boost so that the problem is easy, and take a step along the tangents at ``z = 0``."""
    a, y, numbers = work.matrix, work.values, work.numbers
    m, n = y.size, mirror.scale.size
    work.dual[:] = 0
    copy(work.theta, mirror.rest, n)
    logarithms(mirror.scale, work.log_scale)
    mirror_point(mirror, work.theta, work.point, work.tangent)
    copy(work.slope, work.tangent, n)
    if path.rotates:
        _rotate_anew(problems, number, work)
    numbers[SHORT] = _factor(a, m, n, work)
    two_sided = True
    for i in range(n):
        two_sided = two_sided and mirror.sides[i] in (NEITHER, BOTH)
    boost = 1.0
    times(a, m, n, work.point, work.image)
    if mirror.depth > 1 and not two_sided:
        # The start and y have the same size in the norm that counts here.
        of_start, of_values = _size(work.image, m, work), _size(y, m, work)
        if of_start > 0 and of_values > 0:
            boost = of_values / of_start
    for j in range(m):
        work.step[j] = y[j] - boost * work.image[j]
    solve_normal(work.step, m, work.normal)
    transposed_times(a, m, n, work.step, work.change)
    power = growth(mirror.depth)
    steep = 4.0 if mirror.depth == 2 else power * 2 ** (1 + power)  # dx/dtheta at 0, beside the scale
    largest = 0.0
    for i in range(n):
        work.x[i] = boost * work.point[i] + work.slope[i] * work.change[i]
        if mirror.sides[i] == BOTH:
            largest = max(largest, abs(work.x[i]) / (mirror.scale[i] * steep))
        else:
            work.x[i] = on_its_side(mirror.sides[i], work.x[i], boost * work.point[i], mirror.depth)
    if mirror.depth > 1 and two_sided:
        boost = max(1.0, largest / (NEAR * unit(mirror.depth)))
        if path.rotates:
            # Unequal starts: x begins at boost (a^L - b^L), which should not be far beyond where it ends.
            boost = min(boost, max(1.0, norm(y) / (norm(a) * max(norm(work.point), 1e-300))))
    numbers[BOOST], numbers[REDUCTION], numbers[SHARE] = math.log(boost), 0.0, 1.0
    numbers[VALUES], numbers[MATRIX] = norm(y), norm_of(a, work.left)
    numbers[BEFORE], numbers[RESIDUAL], numbers[GAP] = np.inf, np.inf, np.inf


@jit_inline
def _advance(mirror, path, problems, number, work):
    """One step: boost, slopes, the linear system, and how much of the step z takes."""
    a, y, numbers = work.matrix, work.values, work.numbers
    m, n = y.size, mirror.scale.size
    was_final = numbers[BOOST] == 0
    numbers[BOOST] = next_boost(mirror.depth, path, numbers)
    boost = math.exp(numbers[BOOST])
    quadratic = numbers[GAP] <= NEAR * unit(mirror.depth) and numbers[RESIDUAL] <= 1e-3 * numbers[BEFORE] < np.inf
    if not (was_final and quadratic):  # else the last factor still serves
        mirror_inverse(mirror, boost, work.x, work.other)
        secants(mirror, boost, path, work)
        if path.rotates:
            _rotate_anew(problems, number, work)
        _factor(a, m, n, work)
    for j in range(m):
        work.step[j] = y[j] - boost * work.image[j]
        if work.at[STAGE] == ROTATED and abs(work.step[j]) < ROUND_OFF * numbers[VALUES]:
            work.step[j] = 0  # divided by slopes that only a rotation sets free, round-off would not be small
    solve_normal(work.step, m, work.normal)
    transposed_times(a, m, n, work.step, work.change)
    for i in range(n):
        moved = boost * work.point[i] + work.slope[i] * work.change[i]
        work.x[i] = on_its_side(mirror.sides[i], moved, work.x[i], mirror.depth)
    copy(work.other, work.theta, n)
    before = numbers[RESIDUAL]
    share = _move(mirror, boost, numbers[REACH], work)
    if numbers[RESIDUAL] > 100 * max(before, 0.1 * numbers[VALUES]):
        # Far too far for what was left to do: no coordinate further out than 1.
        copy(work.theta, work.other, n)
        share = _move(mirror, boost, -np.inf, work)
    for j in range(m):
        work.dual[j] += share * work.step[j]
    numbers[SHARE], numbers[BEFORE] = share, before if was_final else np.inf


@jit_internal
def _move(mirror, boost, reach, work):
    """Take theta along ``work.change``, as far as `share_of_step` says, and evaluate there; returns the share."""
    m, n = work.values.size, work.theta.size
    share = share_of_step(mirror, work.log_scale, work.theta, work.change, reach)
    for i in range(n):
        work.moved[i] = share * work.change[i]
    mirror_move(mirror, work.moved, work.theta)
    mirror_point(mirror, work.theta, work.point, work.tangent)
    times(work.matrix, m, n, work.point, work.image)
    for j in range(m):
        work.left[j] = work.values[j] - boost * work.image[j]
    work.numbers[RESIDUAL] = norm(work.left)
    return share


@jit_inline
def _last_move(work):
    """The largest change of an entry of x that one more step, with the last factor, would make."""
    m, n, moved = work.values.size, work.theta.size, 0.0
    copy(work.step, work.left, m)
    solve_normal(work.step, m, work.normal)
    transposed_times(work.matrix, m, n, work.step, work.change)
    for i in range(n):
        moved = max(moved, abs(work.tangent[i] * work.change[i]))
    return moved


@jit_internal
def _judge(tol, max_steps, steps, work):
    """How the problem under way stands."""
    numbers = work.numbers
    residual = numbers[RESIDUAL]
    if numbers[BOOST] == 0:
        if residual <= GOAL * numbers[VALUES]:
            return CONVERGED
        if 0.2 * numbers[BEFORE] < residual < np.inf:
            round_off = 1e-14 * numbers[MATRIX] * norm(work.point)
            if residual <= max(10 * GOAL * numbers[VALUES], round_off):
                return CONVERGED
            if work.at[STAGE] == STRAIGHT and residual < 1e-4 * numbers[VALUES]:
                return HELD_UP
            if residual <= tol * numbers[VALUES] and residual > 0.7 * numbers[BEFORE]:
                return CONVERGED
    if math.isnan(residual):
        return DIVERGED
    return INACCURATE if steps >= max_steps else RUNNING


@jit_internal
def _rotate(work):
    """`rotate_rows` of A, y and lam by the slopes."""
    a, y, dual, basis = work.matrix, work.values, work.dual, work.basis
    m, n = y.size, work.theta.size
    if work.at[STAGE] != ROTATED:
        basis[:] = 0
        for i in range(m):
            basis[i * m + i] = 1
    work.at[STAGE] = ROTATED
    rotate_rows(a, y, dual, basis, m, n, m, work.slope, work.other, work.step, work.change)
    set_transposed(a, m, n, work.normal)
    times(a, m, n, work.point, work.image)


@jit_inline
def _rotate_anew(problems, number, work):
    """`_rotate` of the A and y that were given: rotated again and again they would gather round-off."""
    m = work.values.size
    if work.at[STAGE] == ROTATED:
        transposed_times(work.basis, m, m, work.dual, work.step)
        copy(work.dual, work.step, m)
        _take(problems, number, work)
        work.at[STAGE] = STRAIGHT
    _rotate(work)


@jit_internal
def _factor(a, m, n, work):
    normal_matrix(a, work.slope, m, n, work.normal)
    return factor_normal(m, work.normal)


@jit_internal
def _size(v, m, work):
    """The norm of v that belongs to the inverse of the factored matrix."""
    copy(work.step, v, m)
    solve_normal(work.step, m, work.normal)
    total = 0.0
    for j in range(m):
        total += work.step[j] * v[j]
    return math.sqrt(max(0.0, total))
