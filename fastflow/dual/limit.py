"""Where the gradient flow of a diagonal network ends, without following it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow import kernels
from fastflow.checks import FloatArray, as_count, as_number
from fastflow.dual.stacks import as_problems, pose_runs
from fastflow.equality import by_value
from fastflow.kernels.dual.dual_flow import FlowControl, Flows, flow_slice, flow_workspace
from fastflow.kernels.dual.limit import LimitProblems, Limits, limit_slice, limit_workspace
from fastflow.kernels.dual.limit_step import LimitPath
from fastflow.kernels.dual.mirror import BOTH, DOWN, NEITHER, UP, Mirror, mirror_point, mirror_row
from fastflow.kernels.queues import PLACE
from fastflow.networks import Hadamard
from fastflow.problems import Problem
from fastflow.scheduling import QueueWorker, next_budget, work_through
from fastflow.status import Status
from fastflow.threads import one_blas_thread, thread_count

DEFAULT_TOL, DEFAULT_STEPS = 1e-10, 200

FLOW_STEPS = 500
"""Steps of the flow in time for every Newton step allowed, where these do not lead to the limit."""

CAREFUL_STEPS = 10
"""Steps on a slower path for every step allowed on the fast one."""

FOLLOWED_AT_ONCE = 50
"""Steps of the flow in one slice."""

DONE = object()
"""What comes after the last slice."""

CAREFUL = LimitPath(shrink=0.85, reduction=2.0, overshoot=1.0, rotates=True)
TANGENTS = CAREFUL._replace(near=np.inf)
BOLD = LimitPath(shrink=0.6, reduction=10.0, overshoot=3.0, rotates=False)


@by_value(hashable=False)
class LimitResult(NamedTuple):
    """Limits of gradient flows; the leading axes are those of the stack of problems.

    Attributes
    ----------
    x : array (..., n), the limit
    dual : array (..., m), lam, the integral of ``y - A x`` over all time: ``x = x(A^T lam)``. Where only part of y can
        be reached, and the integral diverges, the lam of that part, for the coordinates that do not tend to 0
    status : int array (...), see `Status`: CONVERGED, INACCURATE or DIVERGED
    steps : int array (...), Newton steps, and those of the flow where it had to be followed
    residual : array (...), the norm of ``A x - y``, where only part of y can be reached of what is left to that part
    """

    x: FloatArray
    dual: FloatArray
    status: NDArray[np.int64]
    steps: NDArray[np.int64]
    residual: FloatArray

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Where ``status`` is ``Status.CONVERGED``."""
        return np.asarray(self.status == Status.CONVERGED)


def flow_limit(
    matrix: ArrayLike,
    values: ArrayLike,
    alpha: ArrayLike,
    depth: int = 2,
    *,
    signed: bool = True,
    negative: ArrayLike | None = None,
    tol: float = DEFAULT_TOL,
    max_steps: int = DEFAULT_STEPS,
    threads: int | None = None,
) -> LimitResult:
    """The limit of the gradient flow of ``1/2 ||A x - y||^2``, ``x = u^L - v^L`` entrywise, for t to infinity.

    The flow is ``u' = -g u^{L-1}``, ``v' = +g v^{L-1}``, ``g = A^T (A x - y)``, from ``u(0) = alpha`` and ``v(0) =
    negative``. Its limit is found by solving ``A x(A^T lam) = y``, m equations in m unknowns, where ``x(z)`` is the
    mirror map of the flow (`kernels.Mirror`); some 15 Newton steps replace 10^5 to 10^7 steps of gradient descent.

    Parameters
    ----------
    matrix : array (..., m, n), A
    values : array (..., m), y
    alpha : float, array (n,) or array (..., n): the start of u
        From 1e-12 to 1e3, or 0, where u stays 0; any number up to 1e3 in size if L = 1.
    depth : int, L, 1 to 8
    signed : bool
        False leaves v out: ``x = w^L``, which is nonnegative for L >= 2.
    negative : like alpha, the start of v, by default that of u
    tol : float > 0
        A problem has converged when ``||A x - y|| <= tol ||y||``; most end far below.
    max_steps : int >= 1
        Newton steps for one problem, after which two slower paths are tried, of 10 times as many steps each, and then
        the flow itself is followed, for at most 500 times as many. (Starts u(0) != v(0) at random over many orders may
        need the first of these.)
    threads : int or None, the CPUs that this process may use

    Returns
    -------
    LimitResult
        Leading axes are those of all arguments, broadcast; the same bits whatever the threads and the other problems.

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, entries that are not finite, and starts outside of what float64 can hold

    Notes
    -----
    Factors that differ, ``x = w_1 w_2``, are ``u^2 - v^2`` with ``u(0) = |w_1 + w_2| / 2``, ``v(0) = |w_1 - w_2| / 2``.

    Where no x reaches y, x tends to least squares. For nonnegative x the limit then lies among the solutions of
    nonnegative least squares, where some entries are 0 that the flow approaches only by a power of time (Chou, Maly,
    Verdun, arXiv:2207.08437). Sources: Woodworth et al., arXiv:2002.09277; Chou, Maly, Rauhut, arXiv:2112.11027.

    Examples
    --------
    >>> fastflow.flow_limit([[1.0, 2.0]], [1.0], alpha=1e-6).x.round(3)
    array([0. , 0.5])
    """
    tol, max_steps = as_number("tol", tol, above=0), as_count("max_steps", max_steps, 1)
    problems, batch = as_problems(matrix, values, alpha, depth, signed, negative)
    limits = find_limits(problems, tol, max_steps, thread_count(threads))
    return LimitResult(
        limits.x.reshape(*batch, limits.x.shape[1]),
        limits.dual.reshape(*batch, limits.dual.shape[1]),
        limits.status.reshape(batch),
        limits.steps.reshape(batch),
        limits.residual.reshape(batch),
    )


def find_limits(problems: LimitProblems, tol: float, max_steps: int, threads: int) -> Limits:
    """The limits of all problems, which were checked before."""
    search = LimitSearch(problems, tol, max_steps)
    count = len(problems.matrix_of)
    with one_blas_thread():
        search.compile()
        work_through(count, min(threads, count), search.worker)
    return search.limits


def limits_from(
    problems: Sequence[Problem],
    architecture: Hadamard,
    problem_index: NDArray[np.int64],
    starts: FloatArray,
    whose: str = "FlowLimit",
) -> FloatArray:
    """The limits x (runs, n) of the flows of posed problems from starts (runs, parameters); NaN where none was found.

    Raises
    ------
    ValueError
        for starts, and factors, whose flow has no known limit
    """
    posed = pose_runs(problems, architecture, problem_index, np.asarray(starts, np.float64), whose)
    limits = find_limits(posed, DEFAULT_TOL, DEFAULT_STEPS, 1)
    return np.where((limits.status == Status.DIVERGED)[:, None], np.nan, limits.x)


class LimitSearch:
    """The search for the limits of many problems: the fast way where it leads to tol, and the careful ones elsewhere.

    Attributes
    ----------
    limits : Limits, what has been found
    ended : bool array (problems,), where that is final
    """

    def __init__(self, problems: LimitProblems, tol: float, max_steps: int) -> None:
        self.problems, self.tol, self.max_steps = problems, tol, max_steps
        count, m, n = len(problems.matrix_of), problems.values.shape[1], problems.mirrors.scale.shape[1]
        self.limits = empty_limits(count, m, n)
        self.ended = np.zeros(count, bool)

    def compile(self) -> None:
        """Compile the kernel, or load it, in this thread, where Ctrl-C is heard."""
        LimitWorker(self).advance(np.zeros(0, np.int64), 0)

    def worker(self) -> LimitWorker:
        """One thread's memory."""
        return LimitWorker(self)

    def take_care(self, runs: NDArray[np.int64]) -> Iterator[None]:
        """Solve these on the slower paths, one after the other, a slice of work for each item."""
        for run in runs.tolist():
            yield from _solve_with_care(self.problems, run, self.tol, self.max_steps, self.limits)
            self.ended[run] = True


class LimitWorker(QueueWorker):
    """One thread's part of a `LimitSearch`."""

    first_budget = 8

    def __init__(self, search: LimitSearch) -> None:
        self.search = search
        self.m, self.n = search.problems.values.shape[1], search.problems.mirrors.scale.shape[1]
        self.workspace = limit_workspace(self.m, self.n)
        self.place = self.workspace.at
        self.careful: Iterator[None] | None = None

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        search, before = self.search, int(self.place[PLACE])
        if self.careful is not None:
            if next(self.careful, DONE) is DONE:
                self.careful = None
            return 0
        taken = 0
        if self.m <= self.n:  # the fast way is for full row rank
            taken = limit_slice(
                search.problems, BOLD, search.tol, search.max_steps, search.limits, runs, budget, self.workspace
            )
        else:
            self.place[PLACE] = len(runs)
        passed = runs[before : self.place[PLACE]]
        lost = search.limits.status[passed] != Status.CONVERGED
        search.ended[passed[~lost]] = True
        if lost.any():
            self.careful = search.take_care(passed[lost])
        return taken

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        return runs if self.careful is not None else super().unfinished(runs)


def empty_limits(count: int, m: int, n: int) -> Limits:
    """Room for so many limits."""
    return Limits(
        np.zeros((count, n)),
        np.zeros((count, m)),
        np.full(count, np.inf),
        np.zeros(count, np.int64),
        np.full(count, int(Status.INACCURATE)),
    )


def _solve_with_care(
    problems: LimitProblems,
    i: int,
    tol: float,
    max_steps: int,
    limits: Limits,
) -> Iterator[None]:
    """One problem, reduced to what of y can be reached and to coordinates that do not tend to 0, on the slower path."""
    m, n = problems.values.shape[1], problems.mirrors.scale.shape[1]
    matrix = problems.matrices[problems.matrix_of[i]].reshape(m, n)
    values = problems.values[problems.values_of[i]]
    depth, *maps = problems.mirrors
    maps = [array[problems.mirror_of[i]] for array in maps]
    sides, reached = maps[0], values
    keep = sides != NEITHER
    if depth > 1 and np.any((sides == UP) | (sides == DOWN)):
        reached, keep = _nonnegative_face(matrix, values, sides)
    left, sizes, right = np.linalg.svd(matrix[:, keep], full_matrices=False)
    rank = int(np.sum(sizes > max(m, n) * np.finfo(float).eps * sizes[:1].sum()))
    left, sizes, right = left[:, :rank], sizes[:rank], right[:rank]
    reached = left @ (left.T @ reached)
    x, dual = np.zeros(n), np.zeros(m)
    status, steps = int(Status.CONVERGED), 0
    if rank == 0:
        mirror = Mirror(depth, *maps)
        mirror_point(mirror, mirror.rest, x, np.zeros(n))
        x[~keep] = 0
    else:
        zero = np.zeros(1, np.int64)
        mirrors = Mirror(depth, *(array[None, keep] for array in maps))
        reduced = LimitProblems(right.reshape(1, -1), (left.T @ reached / sizes)[None], mirrors, zero, zero, zero)
        for path in (BOLD, CAREFUL, TANGENTS):
            found = empty_limits(1, rank, int(keep.sum()))
            allowed = max_steps if path is BOLD else CAREFUL_STEPS * max_steps
            yield from _one(reduced, path, found, tol, allowed)
            steps += int(found.steps[0])
            if found.status[0] == Status.CONVERGED:
                break
        else:
            steps += yield from _follow(reduced, tol, max_steps, found)
        x[keep], dual, status = found.x[0], left @ (found.dual[0] / sizes), int(found.status[0])
    limits.x[i], limits.dual[i], limits.status[i] = x, dual, status
    limits.residual[i] = np.linalg.norm(matrix @ x - reached)
    limits.steps[i] += steps


def _one(problem: LimitProblems, path: LimitPath, found: Limits, tol: float, max_steps: int) -> Iterator[None]:
    """One problem on one path, slice by slice."""
    m, n = problem.values.shape[1], problem.mirrors.scale.shape[1]
    work, queue, budget = limit_workspace(m, n), np.zeros(1, np.int64), LimitWorker.first_budget
    while work.at[PLACE] == 0:
        started = time.perf_counter()
        limit_slice(problem, path, tol, max_steps, found, queue, budget, work)
        budget = next_budget(budget, time.perf_counter() - started)
        yield


def _follow(problem: LimitProblems, tol: float, max_steps: int, found: Limits) -> Generator[None, None, int]:
    """One problem with orthonormal rows by its flow in time; how many steps that took."""
    m, n = problem.values.shape[1], problem.mirrors.scale.shape[1]
    control = FlowControl(np.array([np.inf]), 1e-6, -1.0, 0.0, FLOW_STEPS * max_steps)
    flows = Flows(np.zeros((1, 1, n)), np.zeros((1, 1)), np.zeros(1, np.int64), np.zeros(1, np.int64))
    work, queue = flow_workspace(m, n), np.zeros(1, np.int64)
    while work.at[PLACE] == 0:
        flow_slice(problem, control, flows, queue, FOLLOWED_AT_ONCE, work)
        yield
    x, y = flows.x[0, 0], problem.values[0]
    residual, round_off = np.linalg.norm(problem.matrices.reshape(m, n) @ x - y), 1e-14 * m * np.linalg.norm(x)
    if flows.status[0] == Status.CRITICAL and residual <= max(tol * np.linalg.norm(y), round_off):
        z = np.zeros(n)
        kernels.mirror_dual(mirror_row.py_func(problem.mirrors, 0), work.theta, z)
        found.x[0], found.dual[0], found.status[0] = x, problem.matrices.reshape(m, n) @ z, int(Status.CONVERGED)
    return int(flows.steps[0])


def _nonnegative_face(
    matrix: FloatArray, values: FloatArray, sides: NDArray[np.int64]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """What of y the one-sided coordinates let be reached, and which coordinates can then be other than 0.

    By nonnegative least squares, and by the linear program ``max sum t, A x = s y_+, x >= t, 0 <= t <= 1``, in which s,
    free, lets every entry that can be positive be 1.
    """
    from scipy.optimize import linprog, nnls

    up, down = np.flatnonzero(sides > 0), np.flatnonzero((sides == BOTH) | (sides == DOWN))
    columns = np.hstack([matrix[:, up], -matrix[:, down]])
    reached = columns @ nnls(columns, values)[0] if columns.any() else np.zeros_like(values)
    size = max(np.linalg.norm(reached), np.finfo(float).tiny)
    if np.linalg.norm(reached) <= 1e-14 * np.linalg.norm(values):
        reached = np.zeros_like(reached)
    one_sided = np.flatnonzero(np.concatenate([sides[up], -sides[down]]) == 1)
    weights = columns.shape[1] + 1
    equalities = np.hstack([columns / abs(columns).max(initial=1e-300), -reached[:, None] / size])
    equalities = np.hstack([equalities, np.zeros((len(values), len(one_sided)))])
    bounds = np.zeros((len(one_sided), weights + len(one_sided)))
    bounds[np.arange(len(one_sided)), one_sided] = -1
    bounds[np.arange(len(one_sided)), weights + np.arange(len(one_sided))] = 1
    cost = np.concatenate([np.zeros(weights), -np.ones(len(one_sided))])
    limits = [(0, None)] * weights + [(0, 1)] * len(one_sided)
    solution = linprog(cost, bounds, np.zeros(len(one_sided)), equalities, np.zeros(len(values)), limits)
    keep = sides == BOTH
    if solution.status == 0:
        found = one_sided[solution.x[weights:] > 0.5]
        keep[np.concatenate([up, down])[found]] = True
    return reached, keep
