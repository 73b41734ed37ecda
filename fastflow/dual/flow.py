"""The gradient flow of diagonal networks, in time: for stacks of arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, as_count, as_number, as_times
from fastflow.dual.careful import ACCURATE, empty_limits, solve_with_care
from fastflow.dual.limit import DEFAULT_STEPS, DEFAULT_TOL
from fastflow.dual.stacks import FEWER, NUMBER_BYTES, as_problems
from fastflow.dual.worker import CarefulWorker
from fastflow.equality import by_value
from fastflow.kernels.dual.dual_flow import Flows, flow_slice
from fastflow.kernels.dual.flow_work import FlowControl, flow_workspace
from fastflow.kernels.dual.limit import LimitProblems
from fastflow.memory import require_memory
from fastflow.scheduling import work_through
from fastflow.status import Status
from fastflow.threads import thread_count

AT_THE_LIMIT = 1e-8
"""A flow whose residual is this share of y has come to its limit."""


@by_value(hashable=False)
class Flow(NamedTuple):
    """The gradient flow of problems of shape ``...``, as `gradient_flow` returns it.

    Attributes
    ----------
    times : array (times,)
    x : array (..., times, n)
        NaN at times that were not reached.
    loss : array (..., times)
        ``1/2 ||A x - y||^2``.
    status : integer array (...)
        How it ended: a `Status`.
    steps : integer array (...)
        The steps of the integrator, those that it rejected included.

    Examples
    --------
    >>> flow = ff.gradient_flow([[1.0, 0.5]], [1.0], alpha=0.1, times=[1.0, 10.0])
    >>> flow.x.shape, ff.Status(int(flow.status)).label
    ((2, 2), 'max time')
    """

    times: FloatArray
    x: FloatArray
    loss: FloatArray
    status: NDArray[np.int64]
    steps: NDArray[np.int64]


def gradient_flow(
    matrix: ArrayLike,
    values: ArrayLike,
    alpha: ArrayLike,
    times: ArrayLike,
    depth: float = 2,
    *,
    signed: bool = True,
    negative: ArrayLike | None = None,
    rtol: float = 1e-8,
    atol: float | None = None,
    tol: float = 0.0,
    max_steps: int = 100_000,
    threads: int | None = None,
) -> Flow:
    """The gradient flow of ``1/2 ||A x - y||^2`` by identical factors of ``x = u^L - v^L`` (or ``x = u^L``), in time.

    The flow ``u' = -g u^{L-1}``, ``v' = +g v^{L-1}``, ``g = A^T (A x - y)``, from ``u(0) = alpha``,
    ``v(0) = negative``, by its dual ``lam' = y - A x(A^T lam)``, ``lam(0) = 0``: m unknowns, stiff, integrated by a
    Rosenbrock method of order 5. One step of gradient descent with a small step h is the time h.

    Parameters
    ----------
    matrix : array (..., m, n), A
    values : array (..., m), y
    alpha : float, array (n,) or array (..., n)
        Where u starts: from 1e-12 to 1e3, or 0, where u stays 0; any number up to 1e3 in size if L = 1.
    times : array (times,)
        At least 0 and not decreasing; infinity stands for the limit, found from where the flow is at rest by Newton's
        method (`flow_limit` is the faster way).
    depth : number, L: 1, 2, or from 2.01 to 8, whole or not
    signed : bool
        False for the network ``x = u^L``.
    negative : like alpha
        Where v starts; by default where u does.
    rtol, atol : float
        Tolerances for the error of an entry of x: ``atol + rtol |x_i|``. ``atol`` is by default rtol times
        ``||y|| / max ||a_i||`` (a_i the columns of A), or the start if y = 0.
    tol : float >= 0
        The flow ends when its loss is at most this (absolute); its end is its value at later times.
    max_steps : int >= 1
    threads : int or None
        None takes the CPUs that this process may use.

    Returns
    -------
    `Flow`

    Raises
    ------
    ValueError, TypeError
        for arrays that are not finite or do not fit together, and starts outside of what float64 can hold
    MemoryError
        when the work takes more memory than there is

    Notes
    -----
    The dual's solutions never move apart, so errors of steps do not grow; the error that is controlled is that of lam,
    by what it can do to x now and later. Leading dimensions broadcast. What is at one time does not depend on
    the other times, nor a problem's result on other problems or threads.

    At L >= 3 and small starts an entry of x comes up within a time of the order of 1, after a time of the order of
    ``alpha^{2-L}``: the rounding of the time itself, of A and of y (1e-16) then says how well x is determined while it
    comes up, and how well it can be found.

    A flow also ends where the gradient of the loss by x vanishes, or pushes to 0 only entries that are 0: to rounding,
    or if only infinity is left to a tenth of rtol, relative to ``max ||a_i|| ||y||``; and no entry of x, in whatever
    direction, has more than a tenth of its tolerance left to go.

    Where several x have the least l1 norm, L >= 3 and the start is small, the end is decided by digits that steps in
    time do not carry (see `flow_limit`, which the x at infinity is then taken from). At finite times such a flow is
    INACCURATE.

    References
    ----------
    H.-H. Chou, J. Maly, H. Rauhut, More is less: inducing sparsity via overparameterization, arXiv:2112.11027.

    Examples
    --------
    >>> flow = ff.gradient_flow([[1.0, 0.5]], [1.0], alpha=0.1, times=[1.0, 100.0])
    >>> (flow.x @ [1.0, 0.5]).round(4).tolist()
    [0.0791, 1.0]
    """
    problems, batch = as_problems(matrix, values, alpha, depth, signed, negative)
    moments = as_times("times", times)
    control = FlowControl(
        moments,
        as_number("rtol", rtol, least=1e-13),
        -1.0 if atol is None else as_number("atol", atol, least=0),
        as_number("tol", tol, least=0),
        as_count("max_steps", max_steps, 1),
    )
    search = FlowSearch(problems, control)
    count = len(problems.matrix_of)
    search.compile()
    work_through(count, min(thread_count(threads), count), search.worker)
    flows, n = search.flows, problems.mirrors.scale.shape[1]
    return Flow(
        moments,
        flows.x.reshape(*batch, moments.size, n),
        flows.loss.reshape(*batch, moments.size),
        flows.status.reshape(batch),
        flows.steps.reshape(batch),
    )


class FlowSearch:
    """The flows of many problems, which were checked before.

    Parameters
    ----------
    problems : LimitProblems
    control : FlowControl
    x : array (problems, times, n), full of NaN, of the one who calls; None where it is to be made

    Attributes
    ----------
    flows : Flows, what has been found; NaN at times that were not reached, and status 0 before the end
    ended : bool array (problems,), where that is final
    """

    def __init__(self, problems: LimitProblems, control: FlowControl, x: FloatArray | None = None) -> None:
        self.problems, self.control = problems, control
        count, n, moments = len(problems.matrix_of), problems.mirrors.scale.shape[1], len(control.times)
        numbers = count * moments * (2 if x is not None else n + 2)
        require_memory(NUMBER_BYTES * numbers, f"the flows of {count} problems", FEWER)
        self.flows = Flows(
            x=np.full((count, moments, n), np.nan) if x is None else x,
            loss=np.full((count, moments), np.nan),
            status=np.zeros(count, np.int64),
            steps=np.zeros(count, np.int64),
            error=np.zeros((count, moments)),
        )
        self.ended = np.zeros(count, bool)

    def compile(self) -> None:
        """Compile the kernel, or load it, in this thread, where Ctrl-C is heard."""
        self.worker().take_steps(np.zeros(0, np.int64), 0)

    def worker(self) -> FlowWorker:
        """One thread's memory."""
        return FlowWorker(self)

    def doubtful(self, runs: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the runs have an x that round-off may decide."""
        worst = self.flows.error[runs].max(axis=1, initial=0)
        ended = np.isin(self.flows.status[runs], (Status.CONVERGED, Status.CRITICAL, Status.MAX_TIME))
        return np.asarray(ended & ~(worst <= max(ACCURATE, self.control.rtol)))

    def take_care(self, runs: NDArray[np.int64], statuses: NDArray[np.int64]) -> Iterator[None]:
        """Judge doubtful runs one after the other: at infinity x is the limit, which exact arithmetic may find."""
        problems, flows, forever = self.problems, self.flows, self.control.times == np.inf
        m, n = problems.values.shape[1], flows.x.shape[2]
        for run, status in zip(runs.tolist(), statuses.tolist(), strict=True):
            places = (array[[run]] for array in problems[-3:])
            alone, limits = LimitProblems(*problems[:-3], *places), empty_limits(1, m, n)
            matrix = problems.matrices[alone.matrix_of[0]].reshape(m, n)
            values = problems.values[alone.values_of[0]]
            at_limit = np.all(2 * flows.loss[run, forever] <= (AT_THE_LIMIT * np.linalg.norm(values)) ** 2)
            if forever.any() and (status == Status.CRITICAL or (status == Status.CONVERGED and at_limit)):
                yield from solve_with_care(alone, 0, DEFAULT_TOL, DEFAULT_STEPS, limits)
                if limits.status[0] == Status.CONVERGED:
                    flows.x[run, forever] = limits.x[0]
                    flows.loss[run, forever] = 0.5 * np.sum((matrix @ limits.x[0] - values) ** 2)
                    flows.error[run, forever] = limits.error[0]
            flows.status[run] = status
            if self.doubtful(np.array([run]))[0]:
                flows.status[run] = Status.INACCURATE
            self.ended[run] = True


class FlowWorker(CarefulWorker):
    """One thread's part of a `FlowSearch`."""

    def __init__(self, search: FlowSearch) -> None:
        self.search = search
        m, n = search.problems.values.shape[1], search.problems.mirrors.scale.shape[1]
        super().__init__(m, n)
        self.ask_for_memory(m, n, squares=1)
        self.workspace = flow_workspace(m, n)
        self.place = self.workspace.at

    def take_steps(self, runs: NDArray[np.int64], budget: int) -> int:
        search = self.search
        tried: int = flow_slice(search.problems, search.control, search.flows, runs, budget, self.workspace)
        return tried

    def look_at(self, runs: NDArray[np.int64]) -> Iterator[None] | None:
        search, in_doubt = self.search, self.search.doubtful(runs)
        search.ended[runs[~in_doubt]] = True
        doubtful = runs[in_doubt]
        if not doubtful.size:
            return None
        statuses = search.flows.status[doubtful]
        search.flows.status[doubtful] = Status.RUNNING
        return search.take_care(doubtful, statuses)
