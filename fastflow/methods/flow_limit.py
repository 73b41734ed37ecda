"""The limit of the gradient flow of a diagonal network, without following it."""

from __future__ import annotations

import functools
import time
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow import kernels
from fastflow.checks import FloatArray, as_count, as_number
from fastflow.dual import LimitSearch, check_identical, find_limits, flow_limit, mirrors_of
from fastflow.dual.by_products import LimitByProducts, ProductsLimit, reached_values
from fastflow.dual.careful import take_slice
from fastflow.dual.limit import LimitWorker
from fastflow.inits import Init
from fastflow.kernels.dual.limit import LimitProblems
from fastflow.kernels.dual.mirror import BOTH
from fastflow.methods.base import Execution
from fastflow.methods.dual_execution import DualExecution
from fastflow.methods.measuring import MeasuringFailed
from fastflow.methods.stacked import StackedMethod, StackEnds, SystemStack
from fastflow.networks import DiagonalLinear, Hadamard, Network
from fastflow.operators import Operator
from fastflow.problems import Problem
from fastflow.records import Record, no_recording
from fastflow.results import Runs
from fastflow.scheduling import SLICE_SECONDS, Worker
from fastflow.setting import Setting
from fastflow.status import Status


@dataclass(frozen=True)
class FlowLimit(StackedMethod):
    """The limit of the gradient flow of a diagonal network, without following it: see `fastflow.flow_limit`.

    Parameters
    ----------
    tol : float > 0; a run has converged when ``||A x - y|| <= tol ||y||`` and x is certain to 1e-8 of its largest entry
    max_steps : int >= 1, Newton steps

    Notes
    -----
    Where A is an operator the steps of Newton's method are found by conjugate gradients. A run has then converged when
    the residual is at most tol ||y||, and the last step moved no entry of x by more than 1e-8 of the largest. What of y
    no x reaches is left out first, by least squares. Small starts at L > 2 may be INACCURATE there.

    Examples
    --------
    >>> method = ff.FlowLimit()
    """

    tol: float = 1e-10
    max_steps: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "tol", as_number("tol", self.tol, above=0))
        object.__setattr__(self, "max_steps", as_count("max_steps", self.max_steps, 1))

    label: ClassVar[str] = "limit"
    title: ClassVar[str] = "limit of the flow"
    takes_any_depth: ClassVar[bool] = True
    takes_operators: ClassVar[bool] = True
    networks: ClassVar[tuple[type[Network], ...]] = (DiagonalLinear,)
    elsewhere: ClassVar[str] = "GradientFlow, as only diagonal networks have a closed-form limit"

    def check(
        self,
        network: Network,
        init: Init | None = None,
        record: Record | None = None,
        dtype: DTypeLike = np.float64,
        problem: Problem | None = None,
    ) -> None:
        super().check(network, init, record, dtype, problem)
        assert isinstance(network, DiagonalLinear)
        check_identical(network.identical, network.depth, type(self).__name__)
        if record is not None:
            raise ValueError("FlowLimit has no history to record: use GradientFlow(times=...) or GradientDescent")

    def begin(self, setting: Setting) -> Execution:
        if setting.problems[0].is_matrix_free:
            return _LimitsByProducts(setting, self)
        return _Limits(setting, self)

    def briefest(self) -> FlowLimit:
        return replace(self, max_steps=1)

    def solve_stack(
        self, stack: SystemStack, network: Network, init: Init, seed: int, trials: NDArray[np.int64]
    ) -> StackEnds:
        assert isinstance(network, DiagonalLinear)
        count, m, n = stack.matrices.shape
        form = Hadamard(n, network.depth, network.signed, network.identical)
        _compile_limits()
        started = time.perf_counter()
        alike = not init.random  # one start for all
        if alike and isinstance(init, Hashable):
            mirrors = _mirror(init, form)
        else:
            mirrors = _mirrors(init, form, seed, trials[:1] if alike else trials)
        own = np.arange(count)
        mirror_of = np.zeros(count, np.int64) if alike else own
        posed = LimitProblems(stack.matrices.reshape(count, m * n), stack.values, mirrors, own, own, mirror_of)
        limits = find_limits(posed, self.tol, self.max_steps, 1)
        lost = limits.status == Status.DIVERGED
        x = np.where(lost[:, None], np.nan, limits.x)
        # The residual that a limit comes with is that of what of y can be reached, so of all of y where all can.
        if stack.independent and m <= n and np.all(mirrors.sides == BOTH):
            residual = limits.residual
        else:
            residual = np.linalg.norm(np.einsum("kmn,kn->km", stack.matrices, x) - stack.values, axis=1)
        loss = np.where(lost, np.nan, 0.5 * residual**2)
        return StackEnds(x, loss, limits.steps, limits.status, time.perf_counter() - started)


def _mirrors(init: Init, form: Hadamard, seed: int, trials: NDArray[np.int64]) -> kernels.Mirror:
    """The mirror maps of the first starts of trials."""
    factors: FloatArray = np.zeros((len(trials), form.parameter_count))
    init.fill(form, seed, trials, np.zeros_like(trials), factors)
    return mirrors_of(form, factors, FlowLimit.__name__)


@functools.lru_cache(16)
def _mirror(init: Init, form: Hadamard) -> kernels.Mirror:
    """The mirror map of a start that is the same in all trials, for all stacks that have it."""
    return _mirrors(init, form, 0, np.zeros(1, np.int64))


@functools.cache
def _compile_limits() -> None:
    """Compile the kernels, or load them, so that it counts as no stack's time."""
    flow_limit([[1.0]], [1.0], 1.0, threads=1)


class _Limits(DualExecution):
    """The runs of one call, by Newton's method on their duals."""

    method: FlowLimit

    def __init__(self, setting: Setting, method: FlowLimit) -> None:
        super().__init__(setting, method, no_recording("steps"))

    def admit(self) -> None:
        super().admit()
        self.search = LimitSearch(self.posed, self.method.tol, self.method.max_steps)

    def compile(self) -> None:
        self.search.compile()

    def finish(self, stacklevel: int = 1) -> Runs:
        self.search.warn(stacklevel + 1)
        return super().finish(stacklevel + 1)

    def worker(self) -> _LimitsWorker:
        return _LimitsWorker(self)

    def keep(self, runs: NDArray[np.int64]) -> None:
        """Set what runs have come to, whose limits have been found."""
        limits = self.search.limits
        lost = limits.status[runs] == Status.DIVERGED
        self.solution[runs] = np.where(lost[:, None], np.nan, limits.x[runs])
        self.place_factors(runs)
        self.steps[runs], self.status[runs] = limits.steps[runs], limits.status[runs]


class _LimitsWorker(LimitWorker):
    """One thread's part of `_Limits`."""

    def __init__(self, execution: _Limits) -> None:
        super().__init__(execution.search)
        self.execution = execution

    def settle(self) -> None:
        self.execution.keep_ended(self.runs, self.search.ended[self.runs])


class _LimitsByProducts(DualExecution):
    """The runs of one call where A is known by its products."""

    method: FlowLimit

    def __init__(self, setting: Setting, method: FlowLimit) -> None:
        super().__init__(setting, method, no_recording("steps"))
        if not all(problem.is_matrix_free for problem in setting.problems):
            raise ValueError("either every problem of a list has an operator for its matrix, or none")

    def pose(self) -> None:
        self.mirrors = mirrors_of(self.architecture, self.starts, type(self.method).__name__)

    def compile(self) -> None:
        one = kernels.make_mirror(np.ones(1), None, 2.0)
        numbers: list[FloatArray] = [np.zeros(1) for _ in range(3)]
        kernels.mirror_point(one, *numbers)
        kernels.mirror_move(one, *numbers[:2])

    def worker(self) -> _ProductsWorker:
        return _ProductsWorker(self)

    def begin_search(self, run: int) -> LimitByProducts:
        """The search for the limit of a run."""
        problem = self.setting.problems[int(self.setting.problem_index[run])].of_vector()
        assert isinstance(problem.matrix, Operator)
        mirror = kernels.Mirror(self.mirrors.depth, *(array[run] for array in self.mirrors[1:]))
        return LimitByProducts(problem.matrix, reached_values(problem), mirror, self.method.tol, self.method.max_steps)

    def keep(self, runs: NDArray[np.int64]) -> None:
        self.place_factors(runs)

    def keep_found(self, run: int, found: ProductsLimit) -> None:
        """Set what a run has come to."""
        self.solution[run] = np.nan if found.status == Status.DIVERGED else found.x
        self.keep(np.array([run]))
        self.steps[run], self.status[run] = found.steps, found.status


class _ProductsWorker(Worker):
    """One thread's part of `_LimitsByProducts`."""

    def __init__(self, execution: _LimitsByProducts) -> None:
        self.execution = execution
        self.search: LimitByProducts | None = None
        self.work_left: Iterator[None] = iter(())

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        until, run = time.perf_counter() + SLICE_SECONDS, int(runs[0])
        try:
            if self.search is None:
                self.search = self.execution.begin_search(run)
                self.work_left = self.search.search()
            while time.perf_counter() < until:
                if not take_slice(self.work_left):
                    self.execution.keep_found(run, self.search.found)
                    self.search = None
                    break
        except Exception as error:
            raise MeasuringFailed from error
        return 0

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        return runs[self.execution.status[runs] == Status.RUNNING]
