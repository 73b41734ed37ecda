"""The gradient flow: by its dual where there is one, by the flow of layers elsewhere."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.arrays import as_array
from fastflow.checks import FloatArray, as_count, as_number, as_times, frozen
from fastflow.dual import FlowSearch, factors_at
from fastflow.dual.flow import FlowWorker
from fastflow.inits import Init
from fastflow.kernels.dual.flow_work import FlowControl
from fastflow.kernels.flow.chebyshev import chebyshev
from fastflow.kernels.flow.control import Methods
from fastflow.kernels.flow.dormand_prince import dormand_prince
from fastflow.kernels.flow.layer_flow import FlowEnds, FlowRuns, flow_memory, layer_flow_slice
from fastflow.kernels.losses.any_loss import as_any_loss
from fastflow.kernels.trace import Trace
from fastflow.mapping import Sizes
from fastflow.methods.aside import Aside, AsideWorker
from fastflow.methods.base import Execution, Method
from fastflow.methods.dual_execution import DualExecution
from fastflow.methods.measuring import raise_failure_of
from fastflow.metrics import relative_errors
from fastflow.networks import Architecture, Hadamard, Network
from fastflow.problems import Problem
from fastflow.records import Record, Tracing, recording_at_times
from fastflow.scheduling import Queue, first_budget
from fastflow.setting import Setting
from fastflow.status import Status
from fastflow.threads import interruptibly

TOL = 1e-20
"""The loss up to which a run has converged where the user names none: over the loss of the product 0."""

LOOSE = 3e-6
"""The tolerance of factors from which on steps of order 5 come further for an evaluation than those of order 8
(measured)."""

AT_REST = (Status.CONVERGED, Status.CRITICAL, Status.STALLED)
"""Ends after which the flow is where it was."""

LONGEST_STEP = 100
"""Evaluations of the gradient that a step may take where the flow is stiff, or that finding out takes."""

ERRING_ALIKE = 3
"""How many factors may err alike before their product errs by more than was asked for."""


@dataclass(frozen=True, eq=False)
class GradientFlow(Method):
    """The flow ``W_j' = -(gradient by W_j)`` of all factors, in time, by an integrator that controls its error.

    Of identical or two independent diagonal factors by the dual (`fastflow.gradient_flow`); of all else, and where A is
    an operator, by explicit steps of order 8 (of order 5 at loose tolerances) and, where the flow is stiff, stabilised
    ones of order 3, each run with steps of its own (`fastflow.kernels.flow.layer_flow`).

    Parameters
    ----------
    times : array (times,), at least 0 and not decreasing
        When the history is recorded; none by default. Steps end at them, or, where many fall within a step, they are
        interpolated within the same error.
    t_max : float > 0
        A run ends at this time; infinity, the default, is where the flow comes to rest (which can be far, see Notes).
    rtol, atol : float
        Tolerances. By the dual: for the error of an entry of the product, ``atol + rtol |x_i|``; None for atol takes
        rtol times the size that the data ask for. Else: for the error of all factors of a run in norm, ``atol + rtol
        ||(W_1, ..., W_N)||_F`` in each step, and where the gradient grows 8 rtol of the step itself, so that a flow
        leaves a saddle when it should; from four layers on 3/N of that. None for atol is 0. Factors and product then
        come out wrong by about rtol of their largest norm along the run, mostly by less than 10 rtol; by more where the
        flow itself amplifies errors, as it does after long rests near saddles.
    tol : None or float >= 0
        A run ends when its loss is at most this (absolute); None takes 1e-20 times the loss of the product 0, whatever
        the units of the data.
    max_steps : int >= 1
        Steps of the integrator, those that it rejects included.
    gradient_tol : None or float >= 0
        A run ends when the norm of its gradient by all factors is at most this. None is where the flow rests as far as
        rounding tells: 1e-12 times the largest eigenvalue of the Hessian and the norm of the factors. Not of the dual.

    Notes
    -----
    What a run came to rest at may be a minimum or a saddle: `theory.critical_point` says which. A flow that starts
    within rounding of a saddle's stable set, such as `inits.Identity` for a matrix with negative eigenvalues, leaves
    the saddle by rounding or not at all. A run that goes on from ``runs.last`` starts at time 0 again.

    What the data do not determine, and what a zero eigenvalue of the target leaves, may die like a power of time: by
    itself a mode y of N balanced factors falls like ``t^{-N / (2 N - 2)}``, and the gradient, like ``1/t`` times the
    factor's distance from rest, takes until ``t = 10^7`` and later to fall to the default ``gradient_tol``. Steps of
    such a flow grow to 57,000 over the largest eigenvalue and no further, so a run may need all of ``max_steps``,
    which its status then says. A ``t_max``, or ``gradient_tol=1e-6``, ends it where nothing visible happens any more.

    With an operator a flow from a small start is slow at its end, too: what is left of the data is fitted by entries as
    small as the start, at rates like their squares. `FlowLimit` finds where it leads, and ``t_max`` ends it before.

    Examples
    --------
    >>> method = ff.GradientFlow(times=[1.0, 10.0], t_max=10)
    """

    times: ArrayLike = ()
    t_max: float = math.inf
    rtol: float = 1e-8
    atol: float | None = None
    tol: float | None = None
    max_steps: int = 100_000
    gradient_tol: float | None = None

    def __post_init__(self) -> None:
        times = as_times("times", self.times) if as_array("times", self.times).size else np.zeros(0)
        t_max = math.inf if self.t_max == math.inf else as_number("t_max", self.t_max, above=0)
        if times.size and times[-1] > t_max:
            raise ValueError(f"times go to {times[-1]:g}, past t_max = {t_max:g}")
        object.__setattr__(self, "times", frozen(times))
        object.__setattr__(self, "t_max", t_max)
        object.__setattr__(self, "rtol", as_number("rtol", self.rtol, least=1e-13))
        if self.atol is not None:
            object.__setattr__(self, "atol", as_number("atol", self.atol, least=0))
        if self.tol is not None:
            object.__setattr__(self, "tol", as_number("tol", self.tol, least=0))
        object.__setattr__(self, "max_steps", as_count("max_steps", self.max_steps, 1))
        if self.gradient_tol is not None:
            object.__setattr__(self, "gradient_tol", as_number("gradient_tol", self.gradient_tol, least=0))

    def __repr__(self) -> str:
        atol = "" if self.atol is None else f", atol={self.atol:g}"
        tol = "" if self.tol is None else f", tol={self.tol:g}"
        rest = "" if self.gradient_tol is None else f", gradient_tol={self.gradient_tol:g}"
        return (
            f"{type(self).__name__}(times=<{np.size(self.times)} times>, t_max={self.t_max:g}, "
            f"rtol={self.rtol:g}{atol}{tol}, max_steps={self.max_steps}{rest})"
        )

    label: ClassVar[str] = "flow"
    title: ClassVar[str] = "gradient flow"
    takes_any_depth: ClassVar[bool] = True
    takes_operators: ClassVar[bool] = True

    def check(
        self,
        network: Network,
        init: Init | None = None,
        record: Record | None = None,
        dtype: DTypeLike = np.float64,
        problem: Problem | None = None,
    ) -> None:
        super().check(network, init, record, dtype, problem)
        name = type(self).__name__
        if not network.has_flow:
            raise TypeError(f"{name} knows no flow of a {type(network).__name__} network: use {self.elsewhere}")
        if record is not None:
            if not np.size(self.times):
                raise ValueError(f"{name} records at its times and has none: use {name}(times=...)")
            if record.says_when:
                raise ValueError(f"{name} records at its times, so Record's steps and spacing must be left out")
        if problem is not None and self.gradient_tol is not None and _has_dual(network.architecture(problem), problem):
            raise ValueError("gradient_tol does not apply to a flow that is integrated by its dual: leave it out")
        if problem is not None and problem.is_matrix_free and not network.is_counted:
            raise ValueError(
                f"{name} of an operator goes by factors, of which {network} has no whole number: take a whole depth, "
                "or FlowLimit, or give A.toarray() where there is room"
            )

    @property
    def accuracy(self) -> str:
        return f" to rtol = {self.rtol:g}"

    def begin(self, setting: Setting) -> Execution:
        by_dual = _has_dual(setting.architecture, setting.problems[0])
        return (_DualFlow if by_dual else _LayerFlow)(setting, self)

    def briefest(self) -> Self:
        return replace(self, max_steps=1)


def _has_dual(architecture: Architecture, problem: Problem) -> bool:
    """Whether the flow of all factors is that of two vectors, and goes by its dual, which takes all entries of A."""
    of_two_vectors = isinstance(architecture, Hadamard) and (architecture.identical or architecture.depth <= 2)
    return of_two_vectors and not problem.is_matrix_free


class _DualFlow(DualExecution):
    """The runs of one call of a diagonal network, by the dual of their flow."""

    method: GradientFlow
    is_weighted = True

    def __init__(self, setting: Setting, method: GradientFlow) -> None:
        self.times = np.asarray(method.times)
        recording = recording_at_times(setting.record, setting.architecture, self.times, setting.has_truth)
        super().__init__(setting, method, recording)

    def work_sizes(self, setting: Setting) -> Sizes:
        return {"x": ((setting.runs, len(self.times) + 1, *setting.architecture.solution_shape), setting.dtype)}

    def admit(self) -> None:
        super().admit()
        method = self.method
        atol = -1.0 if method.atol is None else method.atol
        moments = np.append(self.times, method.t_max)
        control = FlowControl(moments, method.rtol, atol, -TOL if method.tol is None else method.tol, method.max_steps)
        self.search = FlowSearch(self.posed, control, self.work["x"])

    def compile(self) -> None:
        self.search.compile()

    def worker(self) -> _DualWorker:
        return _DualWorker(self)

    def keep(self, runs: NDArray[np.int64]) -> None:
        """Set what runs have come to, whose flows have ended."""
        flows = self.search.flows
        for run in runs.tolist():
            reached = np.flatnonzero(np.isfinite(flows.x[run]).all(axis=1))
            if reached.size:
                self.solution[run] = flows.x[run, reached[-1]]
            if flows.status[run] == Status.DIVERGED:
                self.solution[run] = np.nan
            self._record(run, flows.x[run, : self.times.size], flows.loss[run])
        self.place_factors(runs)
        self.steps[runs], self.status[runs] = flows.steps[runs], flows.status[runs]

    def _record(self, run: int, products: FloatArray, loss: FloatArray) -> None:
        """Set the histories of a run from its products (times, n); NaN where there are none."""
        reached = np.flatnonzero(np.isfinite(products).all(axis=1))
        if not reached.size:
            return
        products, index = products[reached], int(self.setting.problem_index[run])
        factors = factors_at(self.architecture, self.architecture.unpack(self.starts[run]), products)
        made = {"loss": loss[reached]}
        wanted = self.recording.histories
        if "gradient_norm" in wanted:
            gradient = self.setting.problems[index].gradient
            made["gradient_norm"] = self.architecture.gradient_norm(factors, np.array([gradient(x) for x in products]))
        if "balancedness" in wanted:
            made["balancedness"] = self.architecture.balancedness(factors)
        if "error" in wanted:
            made["error"] = relative_errors(products, self.truths, np.full(len(products), index))
        self.recording.write(run, reached, made)
        self.recording.keep(np.full(len(products), run), reached, products, np.concatenate(factors, axis=1))

    def settle(self) -> None:
        super().settle()
        at_start = np.where(self.times == 0, 1.0, np.nan)
        for run in np.flatnonzero(self.status == Status.RUNNING).tolist():
            self._record(run, at_start[:, None] * self.solution[run], at_start * self.loss[run])


class _DualWorker(FlowWorker):
    """One thread's part of a `_DualFlow`."""

    def __init__(self, execution: _DualFlow) -> None:
        super().__init__(execution.search)
        self.execution = execution

    def settle(self) -> None:
        self.execution.keep_ended(self.runs, self.search.ended[self.runs])


class _LayerFlow(Execution):
    """The runs of one call of all flows that do not go by a dual, by `kernels.layer_flow`."""

    method: GradientFlow

    def __init__(self, setting: Setting, method: GradientFlow) -> None:
        times = np.asarray(method.times)
        recording = recording_at_times(setting.record, setting.architecture, times, setting.has_truth)
        super().__init__(setting, method, recording)
        runs, first = setting.runs, setting.problems[0]
        self.flops_per_evaluation = setting.architecture.gradient_flops + first.loss_flops
        self.weights = setting.weights
        self.problem = as_any_loss(first.kernel_data(setting.problems, setting.dtype), self.solution.shape[1])
        self.state = FlowRuns(
            factors=self.factors,
            solution=self.solution,
            loss=self.loss,
            status=self.status,
            steps=self.steps,
            recorded=np.zeros(runs, np.int64),
            problem=setting.problem_index,
            time=np.zeros(runs),
            rate=np.zeros(runs),
            evaluations=np.zeros(runs, np.int64),
        )
        gradient_tol = -1.0 if method.gradient_tol is None else method.gradient_tol
        atol = 0.0 if method.atol is None else method.atol
        rtol = method.rtol * min(1.0, ERRING_ALIKE / setting.architecture.factors_multiplied)
        tol = setting.loss_tolerances(method.tol, TOL)
        self.ends = FlowEnds(method.t_max, tol, gradient_tol, method.max_steps, rtol, atol)
        self.spares: list[_LayerWorker] = []  # that have not worked yet

    def data_bytes(self, setting: Setting) -> int:
        return setting.problems[0].kernel_bytes(setting.problems, setting.dtype)

    def compile(self) -> None:
        worker = self.worker()
        given = (self.problem, self.weights, self.truths, *self.recording.histories.values())
        self.workspace_bytes = worker.nbytes((worker.field, worker.memory), given, self.state)
        worker.advance(np.zeros(0, np.int64), 1)
        self.spares.append(worker)

    def worker(self) -> _LayerWorker:
        with contextlib.suppress(IndexError):
            return self.spares.pop()
        return _LayerWorker(self)

    def settle(self) -> None:
        self.settle_waiting(lambda runs: self.worker().evaluate(runs), self.problem, self.flops_per_evaluation)
        for run in np.flatnonzero(np.isin(self.status, AT_REST)).tolist():
            self.recording.repeat_last(run, int(self.state.recorded[run]))


class _LayerWorker(AsideWorker[FlowRuns]):
    """One thread's memory, and its kernel calls; its work is counted in evaluations of the gradient."""

    def __init__(self, execution: _LayerFlow) -> None:
        e = self.execution = execution
        operations = e.setting.operations_of(e.flops_per_evaluation)
        self.first_budget = first_budget(1000, operations)
        self.plan_slices(LONGEST_STEP * operations)
        like, size = e.factors[0], e.solution.shape[1]
        self.field = e.setting.architecture.make_field(e.problem, e.weights, like)
        self.members = self.field.members
        self.methods = Methods(dormand_prince(5 if e.ends.rtol >= LOOSE else 8), chebyshev())
        # Room for all times of a run, so that a step always finds it.
        least = 2 * len(e.recording.moments) + 2
        self.tracing = Tracing(e.recording, e.truths, size, like.size, least, e.setting.dtype)
        self._begin()

    def _begin(self) -> None:
        self.memory = flow_memory(self.field.members, self.execution.factors.shape[1])

    def work(self, queue: Queue, should_stop: Callable[[], bool]) -> None:
        """As all workers do; of few runs every thread gets some, though they would find place in the lanes of one."""
        self.members = min(self.field.members, -(-len(queue) // self.execution.threads))
        super().work(queue, should_stop)

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        return runs[self.execution.status[runs] == Status.RUNNING]

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        e = self.execution
        if not self.is_aside or not runs.size:
            return self._flow(e.state, runs, self.tracing.trace, budget)
        # One run at a time: that under way is the first in hand, and the only one among the copies.
        aside = Aside(e.state, runs[:1], self.tracing)
        spent = interruptibly(lambda: self._flow(aside.state, aside.rows, aside.trace, budget))
        self.aside = aside
        return spent

    def _flow(self, state: FlowRuns, runs: NDArray[np.int64], trace: Trace, budget: int) -> int:
        ends = self.execution.ends
        spent: int = layer_flow_slice(self.field, self.methods, state, runs, ends, trace, budget, self.memory)
        raise_failure_of(self.execution.problem)
        return spent

    def evaluate(self, runs: NDArray[np.int64]) -> None:
        """The loss, the solution and the record at time 0 of runs that have not begun."""
        for run in runs.tolist():
            self._begin()
            self.advance(np.array([run]), 1)
            self.settle()
