"""Where the gradient flow of a diagonal network ends, without following it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, as_count, as_number
from fastflow.dual.careful import ACCURATE, BOLD, FIRST_BUDGET, empty_limits, solve_with_care
from fastflow.dual.stacks import FEWER, NUMBER_BYTES, as_problems, pose_runs
from fastflow.dual.worker import CarefulWorker
from fastflow.equality import by_value
from fastflow.kernels.dual.limit import LimitProblems, Limits, LimitWorkspace, limit_slice, limit_workspace
from fastflow.kernels.queues import PLACE
from fastflow.memory import require_memory
from fastflow.networks import Hadamard
from fastflow.problems import Problem
from fastflow.scheduling import first_budget, work_through
from fastflow.status import Status
from fastflow.threads import one_blas_thread, thread_count

DEFAULT_TOL, DEFAULT_STEPS = 1e-10, 200

LIMIT_NUMBERS = 8
"""Numbers that a limit has beside its arrays."""


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
    error : array (...), what an entry of x may be off by, relative to the largest; an estimate
    condition : array (...), by how much x moves, so measured, for relative changes of A or of the starts. Where
        ``min sum c_i |x_i|, A x = y`` has several solutions, as with entries -1 and 1, that is of the order of
        ``(u/alpha)^{L-2}``, u the largest ``|x_i|^{1/L}``: x is the limit for just these floats
    rank : int array (...), that of A, of the columns of entries that do not tend to 0

    Examples
    --------
    >>> limit = ff.flow_limit([[1.0, 0.5]], [1.0], alpha=1e-6)
    >>> limit.x.round(3).tolist(), ff.Status(int(limit.status)).label
    ([1.0, 0.0], 'converged')
    """

    x: FloatArray
    dual: FloatArray
    status: NDArray[np.int64]
    steps: NDArray[np.int64]
    residual: FloatArray
    error: FloatArray
    condition: FloatArray
    rank: NDArray[np.int64]

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Where ``status`` is ``Status.CONVERGED``."""
        return np.asarray(self.status == Status.CONVERGED)


def flow_limit(
    matrix: ArrayLike,
    values: ArrayLike,
    alpha: ArrayLike,
    depth: float = 2,
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
    depth : number, L: 1, 2, or from 2.01 to 8, whole or not
    signed : bool
        False leaves v out: ``x = w^L``, which is nonnegative for L >= 2.
    negative : like alpha, the start of v, by default that of u
    tol : float > 0
        A problem has converged when ``||A x - y|| <= tol ||y||``, most end far below, and when the estimated error of x
        is at most 1e-8 (or tol, if that is larger) of its largest entry.
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
    MemoryError
        when the work takes more memory than there is

    Warns
    -----
    UserWarning
        where round-off decides the rank of A: ``rank`` is what was taken

    Notes
    -----
    Where several x have the least l1 norm, which is common with entries -1, 0 and 1 or repeated columns, the limit from
    small starts is decided by bits of A and of the starts far below the last (`LimitResult.condition`). It is found by
    exact arithmetic on the numbers as they stand, in hundredths of a second a problem.

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
        limits.error.reshape(batch),
        limits.condition.reshape(batch),
        limits.rank.reshape(batch),
    )


def find_limits(problems: LimitProblems, tol: float, max_steps: int, threads: int) -> Limits:
    """The limits of all problems, which were checked before."""
    search = LimitSearch(problems, tol, max_steps)
    count = len(problems.matrix_of)
    with one_blas_thread():
        search.compile()
        work_through(count, min(threads, count), search.worker)
    search.warn(3)
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
    return np.where((limits.status != Status.CONVERGED)[:, None], np.nan, limits.x)


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
        require_memory(NUMBER_BYTES * count * (m + n + LIMIT_NUMBERS), f"the limits of {count} problems", FEWER)
        self.limits = empty_limits(count, m, n)
        self.has_fast_way = m <= n  # which is for full row rank
        self.ended = np.zeros(count, bool)

    def compile(self) -> None:
        """Compile the kernel, or load it, in this thread, where Ctrl-C is heard."""
        if self.has_fast_way:
            self.take_steps(np.zeros(0, np.int64), 0, limit_workspace(1, 1))

    def take_steps(self, runs: NDArray[np.int64], budget: int, workspace: LimitWorkspace) -> int:
        """Take runs some steps further on the fast way; how many steps."""
        taken: int = limit_slice(self.problems, BOLD, self.tol, self.max_steps, self.limits, runs, budget, workspace)
        return taken

    def worker(self) -> LimitWorker:
        """One thread's memory."""
        return LimitWorker(self)

    def warn(self, stacklevel: int = 1) -> None:
        """Warn where round-off decided a rank; ``stacklevel`` from the caller of this method."""
        unsure = np.flatnonzero(self.limits.unsure)
        if unsure.size:
            warnings.warn(
                f"round-off decides the rank of the matrix in {unsure.size} of {len(self.ended)} problems: singular "
                "values of the first, rows and columns scaled, below max(m, n) eps of the largest were taken for 0, "
                f"which leaves {self.limits.rank[unsure[0]]}. The limit may be another one for the rank of the exact "
                "numbers: leave out rows that say nothing new",
                stacklevel=stacklevel + 1,
            )

    def take_care(self, runs: NDArray[np.int64]) -> Iterator[None]:
        """Solve these on the slower paths, one after the other, a slice of work for each item."""
        for run in runs.tolist():
            yield from solve_with_care(self.problems, run, self.tol, self.max_steps, self.limits)
            self.ended[run] = True


class LimitWorker(CarefulWorker):
    """One thread's part of a `LimitSearch`."""

    def __init__(self, search: LimitSearch) -> None:
        self.search = search
        self.m, self.n = search.problems.values.shape[1], search.problems.mirrors.scale.shape[1]
        super().__init__(self.m, self.n)
        self.first_budget = first_budget(FIRST_BUDGET, self.operations)
        self.ask_for_memory(self.m, self.n, squares=2)
        self.workspace = limit_workspace(self.m, self.n)
        self.place = self.workspace.at

    def take_steps(self, runs: NDArray[np.int64], budget: int) -> int:
        if not self.search.has_fast_way:
            self.place[PLACE] = len(runs)
            return 0
        return self.search.take_steps(runs, budget, self.workspace)

    def look_at(self, runs: NDArray[np.int64]) -> Iterator[None] | None:
        search = self.search
        lost = (search.limits.status[runs] != Status.CONVERGED) | (search.limits.error[runs] > ACCURATE)
        search.ended[runs[~lost]] = True
        return search.take_care(runs[lost]) if lost.any() else None
