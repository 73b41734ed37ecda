"""One limit with care: reduced to what of y can be reached, on slower paths, refined at ties, and judged."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow import kernels
from fastflow.checks import FloatArray
from fastflow.dual.accuracy import measure
from fastflow.dual.exact import exact_rank, exact_residual
from fastflow.dual.face import sign_face
from fastflow.dual.refinement import Refinement
from fastflow.dual.vectors import vectors_at
from fastflow.kernels.dual.certainty import EPSILON, FLOOR, Certainty
from fastflow.kernels.dual.dual_flow import Flows, flow_slice
from fastflow.kernels.dual.flow_work import FlowControl, flow_workspace
from fastflow.kernels.dual.limit import LimitProblems, Limits, limit_slice, limit_workspace
from fastflow.kernels.dual.limit_step import LimitPath
from fastflow.kernels.dual.mirror import BOTH, DOWN, NEITHER, UP, Mirror, make_mirror, mirror_point, mirror_row
from fastflow.kernels.queues import PLACE
from fastflow.kernels.vectors.revealing import even_rows
from fastflow.memory import require_memory
from fastflow.scheduling import first_budget, next_budget
from fastflow.status import Status

FLOW_STEPS = 500
"""Steps of the flow in time for every Newton step allowed, where these do not lead to the limit."""

CAREFUL_STEPS = 10
"""Steps on a slower path for every step allowed on the fast one."""

FOLLOWED_AT_ONCE = 50
"""Steps of the flow in one slice, at most."""

DONE = object()
"""What comes after the last slice."""

FIRST_BUDGET = 8
"""Newton steps in the first slice, at most."""

CAREFUL = LimitPath(shrink=0.85, reduction=2.0, overshoot=1.0, rotates=True)
TANGENTS = CAREFUL._replace(near=np.inf)
BOLD = LimitPath(shrink=0.6, reduction=10.0, overshoot=3.0, rotates=False)

ACCURATE = 1e-8
"""The error, relative to the largest entry of x, up to which a limit is taken as it is and has converged."""

FITS = 4
"""Corrections of least squares by exact residuals: each leaves eps times the condition of the columns."""

NOTHING = 1e-14
"""A projection of y that is this share of y is 0."""

CLEAR = 1e-10
"""Singular values above this share of the largest are no round-off."""


EXACT = 400
"""Operations on floats that take as long as one on Python's integers."""


CAREFUL_BYTES = 240
"""What care takes for each entry of A, with decompositions and Python's integers."""


def newton_operations(m: int, n: int) -> float:
    """Operations of a step on a problem of shape (m, n), of `flow_limit` or of the flow: a matrix and its factor."""
    return float(m) * m * (n + m / 3)


def empty_limits(count: int, m: int, n: int) -> Limits:
    """Room for so many limits."""
    return Limits(
        np.zeros((count, n)),
        np.zeros((count, m)),
        np.full(count, np.inf),
        np.zeros(count, np.int64),
        np.full(count, int(Status.INACCURATE)),
        np.full(count, np.inf),
        np.full(count, np.inf),
        np.full(count, m),
        np.zeros(count, np.bool_),
    )


class Range(NamedTuple):
    """The range of a matrix.

    Attributes
    ----------
    units : array (m,), powers of 2 that make its rows alike
    rows : int array (rank,), independent rows
    basis : array (m, rank), orthonormal
    unsure : bool, whether exact arithmetic finds another rank
    """

    units: FloatArray
    rows: NDArray[np.int64]
    basis: FloatArray
    unsure: bool


def range_of(matrix: FloatArray) -> Range:
    """The range of a matrix; with rows and columns made even, singular values count from ``max(m, n) eps`` on."""
    from scipy.linalg import qr

    m, n = matrix.shape
    units = np.ones(m)
    even_rows(np.ascontiguousarray(matrix).ravel(), m, n, units)
    even = matrix * units[:, None]
    lengths = np.linalg.norm(even, axis=0)
    even = even[:, lengths > 0] / lengths[lengths > 0]
    if not even.size:
        return Range(units, np.zeros(0, np.int64), np.zeros((m, 0)), False)
    left, sizes, _ = np.linalg.svd(even, full_matrices=False)
    rank, unsure = int(np.sum(sizes > max(m, n) * np.finfo(float).eps * sizes[0])), False
    if rank < min(m, n) or sizes[rank - 1] < CLEAR * sizes[0]:
        exact = exact_rank(matrix)
        rank, unsure = min(rank, exact), rank < exact
    rows = np.sort(qr(even.T, mode="r", pivoting=True)[1][:rank])
    return Range(units, rows, np.linalg.qr(left[:, :rank] / units[:, None])[0], unsure)


class Found(NamedTuple):
    """A limit by doubles, of some coordinates; ``dual`` for the rows of the whole problem."""

    x: FloatArray
    dual: FloatArray
    status: int
    steps: int
    error: float
    condition: float


class CarefulProblem:
    """One problem of a stack, reduced to what of y can be reached and to coordinates that do not tend to 0.

    Parameters
    ----------
    problems : LimitProblems
    i : int, which
    tol : float
    max_steps : int, on the fast path
    """

    def __init__(self, problems: LimitProblems, i: int, tol: float, max_steps: int) -> None:
        self.m, self.n = problems.values.shape[1], problems.mirrors.scale.shape[1]
        self.matrix = problems.matrices[problems.matrix_of[i]].reshape(self.m, self.n)
        self.values = problems.values[problems.values_of[i]]
        self.mirror: Mirror = mirror_row.py_func(problems.mirrors, problems.mirror_of[i])
        self.tol, self.max_steps, self.depth = tol, max_steps, self.mirror.depth
        sides = self.mirror.sides
        self.keep, self.reached, self.doubtful = sides != NEITHER, self.values, False
        if self.depth > 1 and np.any((sides == UP) | (sides == DOWN)):
            self.reached, self.keep, self.doubtful = sign_face(self.matrix, self.values, sides)
        self.part = np.ascontiguousarray(self.matrix[:, self.keep])
        self.range = range_of(self.part)
        self.rank = len(self.range.rows)
        if self.rank < self.m:
            self.reached = self.range.basis @ (self.range.basis.T @ self.reached)
            if np.linalg.norm(self.reached) <= NOTHING * np.linalg.norm(self.values):
                self.reached = np.zeros(self.m)

    def solve(self, first: Found | None) -> Generator[None, None, Found]:
        """The limit, of all coordinates; ``first`` is what the fast path found, if it is of the whole problem."""
        x, mirror = np.zeros(self.n), self.mirror
        if self.rank == 0:
            mirror_point(mirror, mirror.rest, x, np.zeros(self.n))
            x[~self.keep] = 0
            return Found(x, np.zeros(self.m), int(Status.CONVERGED), 0, 0.0, 1.0)
        # The rows as they are, but for powers of 2, for what is decided by the last bit, and orthonormal ones.
        self.rows = np.ascontiguousarray((self.part * self.range.units[:, None])[self.range.rows])
        self.row_values = (self.reached * self.range.units)[self.range.rows]
        projected = (
            8 * EPSILON * float(np.linalg.norm(self.values)) if self.rank < self.m and self.reached.any() else 0.0
        )
        self.rounded = projected * self.range.units[self.range.rows]
        left, sizes, right = np.linalg.svd(self.part * self.range.units[:, None], full_matrices=False)
        self.left, self.right = left[:, : self.rank] / sizes[: self.rank], right[: self.rank]
        found = first if first is not None else (yield from self._search(0))
        if found.status == Status.DIVERGED:
            return found._replace(x=np.full(self.n, np.nan))
        # What the kernel says of orthonormal rows does not know that these are rounded.
        found = found._replace(**self._measure(found)._asdict())
        if not found.error <= ACCURATE and self.rank == self.part.shape[1] < self.m:
            found = self._fitted(found)
        if not found.error <= ACCURATE and self.depth > 2:
            found = yield from self._refine(found)
        x[self.keep] = found.x
        return found._replace(x=x)

    def _search(self, j: int) -> Generator[None, None, Found]:
        """The limit from starts multiplied by ``2^j``, by doubles: on paths from fast to slow, then by the flow."""
        mirror = self.mirror
        if j == 0:
            mirrors = Mirror(self.depth, *(array[None, self.keep] for array in mirror[1:]))
        else:
            positive, negative = mirror.positive[self.keep], mirror.negative[self.keep]
            mirrors = make_mirror(positive[None] * 2.0**j, negative[None] * 2.0**j, self.depth)
        zero, steps = np.zeros(1, np.int64), 0
        values = self.left.T @ (self.reached * self.range.units)
        reduced = LimitProblems(self.right.reshape(1, -1), values[None], mirrors, zero, zero, zero)
        for path in (BOLD, CAREFUL, TANGENTS):
            limits = empty_limits(1, self.rank, self.right.shape[1])
            allowed = self.max_steps if path is BOLD else CAREFUL_STEPS * self.max_steps
            yield from _one(reduced, path, limits, self.tol, allowed)
            steps += int(limits.steps[0])
            if limits.status[0] == Status.CONVERGED:
                break
        else:
            if j == 0:
                steps += yield from _follow(reduced, self.tol, self.max_steps, limits)
        dual = self.left @ limits.dual[0] * self.range.units
        return Found(
            limits.x[0], dual, int(limits.status[0]), steps, float(limits.error[0]), float(limits.condition[0])
        )

    def _measure(self, found: Found) -> Certainty:
        """How certain a limit by doubles is, by the rows as they are."""
        sides, positive, negative = (
            array[self.keep] for array in (self.mirror.sides, self.mirror.positive, self.mirror.negative)
        )
        if self.depth == 1:
            slope, room = np.abs(sides).astype(float), np.full(len(sides), np.inf)
        else:
            u, v = vectors_at(self.depth, positive, negative, found.x)
            slope, room = self.depth * (u ** (2 * self.depth - 2) + v ** (2 * self.depth - 2)), np.full_like(u, np.inf)
            if self.depth > 2:
                with np.errstate(divide="ignore"):
                    room = np.maximum(u, v) ** float(2 - self.depth) / (self.depth - 2)
        dual = (found.dual / self.range.units)[self.range.rows]
        if self.rank < self.m:
            dual = np.linalg.lstsq(self.rows.T, self.part.T @ found.dual, rcond=None)[0]
        return measure(self.rows, self.row_values, found.x, slope, dual, room, self.rounded)

    def _fitted(self, found: Found) -> Found:
        """The least squares, which are unique, by exact residuals."""
        lengths = np.linalg.norm(self.part, axis=0)
        inverse, x = np.linalg.pinv(self.part / lengths), found.x
        for _ in range(FITS):
            change = inverse @ exact_residual(self.part, self.values, x) / lengths
            x = x + change
        largest, sides = float(np.abs(x).max()), self.mirror.sides[self.keep]
        if largest == 0 or np.any((sides != BOTH) & (sides * x < 0)):
            return found
        error = FLOOR + 10 * float(np.abs(change).max()) / largest
        return found._replace(x=x, error=min(found.error, error))

    def _refine(self, first: Found) -> Generator[None, None, Found]:
        """The limit by exact dual residuals, or what was found before with its error."""
        positive, negative = self.mirror.positive[self.keep], self.mirror.negative[self.keep]
        down = self.mirror.sides[self.keep] == DOWN
        signs = np.where(down, -1.0, 1.0)
        positive, negative = np.where(down, negative, positive), np.where(down, 0.0, negative)
        allowed = CAREFUL_STEPS * self.max_steps
        refinement = Refinement(
            self.rows * signs, self.row_values, positive, negative, self.depth, self.rounded, allowed
        )
        steps = 0

        def find(j: int) -> Generator[None, None, FloatArray | None]:
            nonlocal steps
            found = first if j == 0 else (yield from self._search(j))
            steps += 0 if j == 0 else found.steps
            return found.x * signs if found.status == Status.CONVERGED else None

        refined = yield from refinement.run(find)
        if refined is None:
            return first._replace(steps=first.steps + steps)
        dual = np.zeros(self.m)
        dual[self.range.rows] = refined.dual
        dual *= self.range.units
        if self.rank < self.m:
            dual = self.range.basis @ (self.range.basis.T @ dual)
        return Found(
            refined.x * signs,
            dual,
            int(Status.CONVERGED),
            first.steps + steps + refined.steps,
            refined.error,
            refined.condition,
        )

    def judge(self, found: Found) -> int:
        """The status of a limit: whether it fits, whether nothing fits better, and whether its error is small."""
        if found.status != Status.CONVERGED:
            return found.status
        x, allowed = found.x, self.tol * np.linalg.norm(self.values)
        allowed += 1e-13 * np.linalg.norm(np.abs(self.matrix) @ np.abs(x))
        lengths = np.linalg.norm(self.matrix, axis=0)
        slopes = self.matrix.T @ (self.matrix @ x - self.values) / np.where(lengths > 0, lengths, 1.0)
        sides = np.where(self.keep, BOTH if self.depth == 1 else self.mirror.sides, self.mirror.sides)
        missed = np.where(self.keep, np.abs(slopes), np.maximum(0, -sides * slopes))
        good = (
            np.linalg.norm(self.part @ x[self.keep] - self.reached) <= allowed
            and np.all(missed <= allowed)
            and found.error <= max(ACCURATE, self.tol)
            and not self.doubtful
        )
        return int(Status.CONVERGED if good else Status.INACCURATE)


def solve_with_care(problems: LimitProblems, i: int, tol: float, max_steps: int, limits: Limits) -> Iterator[None]:
    """Find the limit of problem i on the slower paths; yields between slices of work."""
    limits.error[i] = limits.condition[i] = np.inf
    try:
        yield from _solve(problems, i, tol, max_steps, limits)
    except (np.linalg.LinAlgError, ArithmeticError):  # of a library, or of numbers beyond floats
        if limits.status[i] != Status.DIVERGED:
            limits.status[i] = Status.INACCURATE


def take_slice(work: Iterator[None]) -> bool:
    """Do a slice of work, if any is left, whatever NumPy is told to do where numbers overflow."""
    with np.errstate(all="ignore"):
        return next(work, DONE) is not DONE


def _solve(problems: LimitProblems, i: int, tol: float, max_steps: int, limits: Limits) -> Iterator[None]:
    entries = problems.matrices.shape[1]
    require_memory(CAREFUL_BYTES * entries, f"a problem of {entries} entries that needs care", "take fewer threads")
    problem = CarefulProblem(problems, i, tol, max_steps)
    first = None
    if limits.status[i] == Status.CONVERGED and problem.rank == problem.m and problem.keep.all():
        first = Found(limits.x[i].copy(), limits.dual[i].copy(), int(limits.status[i]), 0, np.inf, np.inf)
    found = yield from problem.solve(first)
    limits.x[i], limits.dual[i], limits.status[i] = found.x, found.dual, problem.judge(found)
    limits.residual[i] = np.linalg.norm(problem.matrix @ found.x - problem.reached)
    limits.error[i], limits.condition[i] = found.error, found.condition
    limits.rank[i], limits.unsure[i] = problem.rank, problem.range.unsure
    limits.steps[i] += found.steps


def _one(problem: LimitProblems, path: LimitPath, found: Limits, tol: float, max_steps: int) -> Iterator[None]:
    """One problem on one path, slice by slice."""
    m, n = problem.values.shape[1], problem.mirrors.scale.shape[1]
    work, queue = limit_workspace(m, n), np.zeros(1, np.int64)
    budget = first_budget(FIRST_BUDGET, newton_operations(m, n))
    while work.at[PLACE] == 0:
        started = time.perf_counter()
        limit_slice(problem, path, tol, max_steps, found, queue, budget, work)
        budget = next_budget(budget, time.perf_counter() - started)
        yield


def _follow(problem: LimitProblems, tol: float, max_steps: int, found: Limits) -> Generator[None, None, int]:
    """One problem with orthonormal rows by its flow in time; how many steps that took."""
    m, n = problem.values.shape[1], problem.mirrors.scale.shape[1]
    control = FlowControl(np.array([np.inf]), 1e-6, -1.0, 0.0, FLOW_STEPS * max_steps)
    flows = Flows(np.zeros((1, 1, n)), np.zeros((1, 1)), np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros((1, 1)))
    work, queue = flow_workspace(m, n), np.zeros(1, np.int64)
    budget = first_budget(FOLLOWED_AT_ONCE, newton_operations(m, n))
    while work.at[PLACE] == 0:
        flow_slice(problem, control, flows, queue, budget, work)
        yield
    x, y = flows.x[0, 0], problem.values[0]
    residual, round_off = np.linalg.norm(problem.matrices.reshape(m, n) @ x - y), 1e-14 * m * np.linalg.norm(x)
    if flows.status[0] == Status.CRITICAL and residual <= max(tol * np.linalg.norm(y), round_off):
        z = np.zeros(n)
        kernels.mirror_dual(mirror_row.py_func(problem.mirrors, 0), work.theta, z)
        found.x[0], found.dual[0], found.status[0] = x, problem.matrices.reshape(m, n) @ z, int(Status.CONVERGED)
    return int(flows.steps[0])
