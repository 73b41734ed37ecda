"""Gradient descent: a constant step, decreasing steps, a sequence, or a step that is known to be safe."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.arrays import as_array
from fastflow.checks import FloatArray, as_count, as_floats, as_number, frozen, shown
from fastflow.inits import Init
from fastflow.kernels.descent.descend import Ends, RunState, StepRule, descend
from fastflow.kernels.trace import Trace
from fastflow.methods.aside import ASIDE_SECONDS, Aside, goes_aside
from fastflow.methods.base import Execution, Method, nbytes_of
from fastflow.methods.gradient_flow import GradientFlow
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.records import Record, Tracing, recording_at_steps
from fastflow.scheduling import SLICE_SECONDS, Worker, first_budget
from fastflow.setting import DTYPES, Setting
from fastflow.status import Status
from fastflow.theory import Edge, edge, safe_step, stability_edge
from fastflow.theory.safety import check_knows_safe_steps
from fastflow.threads import interruptibly

SAFE = "safe"

DEFAULT_STEPS = 100_000

TOL, REST = 1e-10, 1e-6
"""The excess of the loss up to which a run has converged, and may be at rest, where the user names none: over the loss
of the product 0."""

HALF_EDGE = 0.5 * edge
"""The step where the user names none."""

ROUGH = 1e-3
"""How accurately the edge is found that a step given as a number is compared with."""


@dataclass(frozen=True)
class Decreasing:
    """The decreasing steps ``first / (1 + k / scale) ** power``, k = 0, 1, ...

    Parameters
    ----------
    first : float > 0, "safe", or a multiple of ``theory.edge``, also as "0.5 edge"; see `GradientDescent`
    power : float > 0; up to 1 the steps sum to infinity, which convergence theorems ask for
    scale : float > 0, the number of steps after which the step has fallen by ``2**power``
    """

    first: float | str | Edge
    power: float = 0.5
    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", _as_step("first", self.first))
        for name in ("power", "scale"):
            object.__setattr__(self, name, as_number(name, getattr(self, name), above=0))
        if self.first == SAFE and self.power > 1:
            raise ValueError(
                f"steps that fall with power {self.power:g} have a finite sum, so gradients need not tend to 0: "
                "with first='safe', power must be at most 1"
            )


def _as_step(name: str, step: Edge | ArrayLike) -> float | str | Edge:
    """One step: a number, or what stands for one."""
    if isinstance(step, str) and step != SAFE:
        read = Edge.read(step)
        if read is None:
            raise TypeError(f"{name} must be a number, {SAFE!r}, or like '0.5 edge', got {shown(step)}")
        return read
    return step if isinstance(step, str | Edge) else as_number(name, step, above=0)


@dataclass(frozen=True, eq=False)
class GradientDescent(Method):
    """``W_j <- W_j - step * G_j`` for all factors at once.

    Parameters
    ----------
    step : None, float > 0, "safe", ``c * theory.edge``, `Decreasing`, or array (K,) of positive steps
        None takes half the linear stability edge at the expected solution (`theory.stability_edge`), from the data of
        each problem, ``c * theory.edge`` (in words "0.9 edge") any multiple; ``runs.summary()`` shows it. "safe" is the
        step from which on the loss is known to fall at every step, from each run's start (`theory.safe_step`); it is
        much smaller. An array is the explicit sequence of the first K steps.
    max_steps : int >= 0
        A run ends at this step, counted from its very start; None means 100,000, or K for an explicit sequence.
    tol : None or float >= 0
        A run ends when its loss is at most this (absolute). None takes 1e-10 times the loss of the product 0, above the
        least loss where a formula or the data tell it, whatever the units of the data; nothing of a CustomProblem.
    gradient_tol : None or float >= 0
        A run ends when the norm of its gradient by all factors is at most this; 0 switches the test off. None is 0
        where ``tol`` is given, and else ends runs of which only what dies like a power of time is left: at every 1000th
        step, those whose loss is at most 1e-6 times that of the product 0, above the least loss as for ``tol``; falls
        so slowly that at the rate of this step ``max_steps`` more would not divide that excess by ``e^4``; and would
        fall if the product shrank, ``<E, W>`` being at least the excess. That is not so on a plateau, where something
        has still to grow: a plateau is never taken for an end.
    """

    step: float | str | Edge | Decreasing | ArrayLike | None = None
    max_steps: int | None = None
    tol: float | None = None
    gradient_tol: float | None = None

    def __post_init__(self) -> None:
        step = self.step
        limit = DEFAULT_STEPS
        if step is not None and not isinstance(step, Decreasing):
            if isinstance(step, str | Edge) or as_array("step", step).ndim == 0:
                step = _as_step("step", step)
            else:
                step = frozen(as_floats("step", step, 1).astype(np.float64))
                if step.min() <= 0:
                    raise ValueError(f"every step must be greater than 0, got {step.min():g}")
                limit = step.size
        max_steps = limit if self.max_steps is None else as_count("max_steps", self.max_steps, 0)
        if isinstance(step, np.ndarray) and max_steps > step.size:
            raise ValueError(f"max_steps is {max_steps}, but the sequence of steps has only {step.size} entries")
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "max_steps", max_steps)
        for name in ("tol", "gradient_tol"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, as_number(name, getattr(self, name), least=0))

    @property
    def sequence(self) -> FloatArray:
        """The explicit steps, empty if there are none."""
        return self.step if isinstance(self.step, np.ndarray) else np.zeros(0)

    @property
    def named_step(self) -> float | str | Edge | None:
        """The first step: None, a number, or what stands for one; of an explicit sequence NaN."""
        if isinstance(self.step, Decreasing):
            return self.step.first
        return self.step if self.step is None or isinstance(self.step, float | str | Edge) else math.nan

    def __repr__(self) -> str:
        if isinstance(self.step, np.ndarray):
            step = f"<{self.step.size} steps>"
        else:
            step = repr(self.step)
        ends = {"tol": self.tol, "gradient_tol": self.gradient_tol}
        given = "".join(f", {name}={value:g}" for name, value in ends.items() if value is not None)
        return f"GradientDescent(step={step}, max_steps={self.max_steps}{given})"

    label: ClassVar[str] = "descent"
    title: ClassVar[str] = "gradient descent"
    parts: ClassVar[tuple[type, ...]] = (Decreasing,)
    has_steps: ClassVar[bool] = True
    dtypes: ClassVar[tuple[str, ...]] = DTYPES

    def check(
        self,
        network: Network,
        init: Init | None = None,
        record: Record | None = None,
        dtype: DTypeLike = np.float64,
        problem: Problem | None = None,
    ) -> None:
        super().check(network, init, record, dtype, problem)
        if self.named_step == SAFE:
            check_knows_safe_steps(network)

    def begin(self, setting: Setting) -> Execution:
        return _Descent(setting, self)

    def briefest(self) -> GradientDescent:
        # No step is taken: any number will do to compile with.
        return replace(self, step=1e-9 if self.step is None else self.step, max_steps=0)

    def first_step(self, problem: Problem, network: Network, factors: Sequence[FloatArray]) -> float | None:
        if self.sequence.size:
            return float(self.sequence.max())
        step = HALF_EDGE if self.named_step is None else self.named_step
        if step == SAFE:
            return float(safe_step(problem, network, factors).step)
        return step.step(problem, network) if isinstance(step, Edge) else float(step)

    def step_sizes(self, first: float, count: int) -> FloatArray:
        if self.sequence.size:
            return self.sequence[:count]
        if isinstance(self.step, Decreasing):
            return np.asarray(first / (1 + np.arange(count) / self.step.scale) ** self.step.power)
        return np.full(count, first)

    def matching_flow(self, times: FloatArray, rtol: float) -> GradientFlow:
        return GradientFlow(times, t_max=max(float(times[-1]), np.nextafter(0, 1)), rtol=rtol, tol=0)


class _Descent(Execution):
    """The runs of one call, by `kernels.descend`."""

    method: GradientDescent

    def __init__(self, setting: Setting, method: GradientDescent) -> None:
        assert method.max_steps is not None
        recording = recording_at_steps(setting.record, setting.architecture, method.max_steps, setting.has_truth)
        super().__init__(setting, method, recording)
        first = setting.problems[0]
        self.problem = first.kernel_data(setting.problems, setting.dtype, shared=setting.shared)
        self.weights, self.kernel_shape = setting.weights, setting.architecture.kernel_shape
        self.flops_per_step = setting.architecture.gradient_flops + first.loss_flops
        self.runs_per_worker = setting.runs
        self.state = RunState(
            factors=self.factors,
            solution=self.solution,
            loss=self.loss,
            status=self.status,
            steps=self.steps,
            recorded=np.zeros(setting.runs, np.int64),
            problem=setting.problem_index,
        )
        self.step[:] = self._step_sizes()[setting.problem_index]
        power, scale = 0.0, 1.0
        if isinstance(method.step, Decreasing):
            power, scale = method.step.power, method.step.scale
        self.rule = StepRule(self.step, power, scale, method.sequence.copy())
        gradient_tol = method.gradient_tol
        if method.tol is not None:
            tol = np.full(len(setting.problems), method.tol)
            self.ends = Ends(method.max_steps, tol, gradient_tol or 0.0, tol, tol)
        else:
            least, sizes = setting.least_losses, setting.loss_sizes
            gradient_tol = -1.0 if gradient_tol is None else gradient_tol
            self.ends = Ends(method.max_steps, TOL * sizes + least, gradient_tol, REST * sizes + least, least)

    def _step_sizes(self) -> FloatArray:
        """The (first) step for each problem; NaN for an explicit sequence, and for what depends on a run's start."""
        setting, method = self.setting, self.method
        problems, network = setting.problems, setting.network
        step = HALF_EDGE if method.named_step is None else method.named_step
        if isinstance(step, str) or method.sequence.size:  # "safe" is the one word for a step
            return np.full(len(problems), np.nan)
        if isinstance(step, Edge):
            return np.array([step.step(problem, network) for problem in problems])
        if setting.shared and not isinstance(method.step, Decreasing):
            # For one problem a rough edge costs next to nothing; a list would pay for it once a problem.
            try:
                found = stability_edge(problems[0], network, rtol=ROUGH)
            except ValueError:
                found = np.inf
            if step > found:
                warnings.warn(
                    f"step {step:g} is above the linear stability edge {found:.3g} at the expected solution: "
                    "gradient descent will oscillate or diverge there; step=None takes half the edge",
                    stacklevel=6,
                )
        return np.full(len(problems), step)

    def draw(self) -> None:
        super().draw()
        if self.setting.init.steps is not None:
            self.steps[:] = self.setting.init.steps
        self.steps_before = int(self.steps.sum())

    def admit(self) -> None:
        super().admit()
        if self.method.named_step != SAFE:
            return
        architecture = self.setting.architecture
        for i, problem in enumerate(self.setting.problems):
            runs = np.flatnonzero(self.setting.problem_index == i)
            self.step[runs] = safe_step(problem, self.setting.network, architecture.unpack(self.factors[runs])).step

    def compile(self) -> None:
        worker, recorded = self.worker(), tuple(self.recording.histories.values())
        self.workspace_bytes = nbytes_of(
            (worker.group, worker.tracing.trace), (self.problem, self.state, self.truths, recorded)
        )
        if worker.is_aside:  # copies of the runs in hand, and of what they hand over
            self.workspace_bytes += nbytes_of(worker.tracing.trace, (self.truths, recorded))
            self.workspace_bytes += worker.members * nbytes_of(self.state) // self.setting.runs
        worker.advance(np.zeros(0, np.int64), 0)

    def worker(self) -> _DescentWorker:
        return _DescentWorker(self)

    def run(self, threads: int, progress: bool | None) -> None:
        self.runs_per_worker = -(-self.setting.runs // min(threads, self.setting.runs))
        try:
            super().run(threads, progress)
        finally:
            self.flops = float(self.flops_per_step * (self.steps.sum() - self.steps_before))

    def settle(self) -> None:
        self.settle_waiting(lambda runs: self.worker().advance(runs, 0), self.flops_per_step)
        for run in np.flatnonzero((self.status != Status.RUNNING) & (self.status != Status.DIVERGED)):
            self.recording.repeat_last(int(run), int(self.state.recorded[run]))


class _DescentWorker(Worker):
    """One thread's workspaces, and its kernel calls."""

    def __init__(self, execution: _Descent) -> None:
        e = self.execution = execution
        self.first_budget = first_budget(64, e.flops_per_step)
        self.group = e.setting.architecture.make_group(e.problem, e.factors, e.runs_per_worker)
        self.members = len(self.group.run)
        # A slice evaluates where it ends: one step of each member is two gradients.
        self.is_aside = goes_aside(2 * self.members * e.flops_per_step)
        self.slice_seconds = ASIDE_SECONDS if self.is_aside else SLICE_SECONDS
        self.aside: Aside[RunState] | None = None
        size, parameters = e.solution.shape[1], e.factors.shape[1]
        self.tracing = Tracing(e.recording, e.truths, size, parameters, 8 * self.members, e.setting.dtype)

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        """Take runs some steps further; a budget of 0 only evaluates them."""
        e = self.execution
        if not self.is_aside or budget == 0:
            return self._descend(e.state, runs, e.rule, self.tracing.trace, budget)
        few = runs[: self.members]
        aside = Aside(e.state, few, self.tracing)
        rule = e.rule._replace(first=e.rule.first[few])
        taken = interruptibly(lambda: self._descend(aside.state, aside.rows, rule, aside.trace, budget))
        self.aside = aside
        return taken

    def _descend(self, state: RunState, runs: NDArray[np.int64], rule: StepRule, trace: Trace, budget: int) -> int:
        e = self.execution
        taken: int = descend(e.problem, e.weights, e.kernel_shape, state, runs, rule, e.ends, trace, budget, self.group)
        return taken

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        return runs[self.execution.status[runs] == Status.RUNNING]

    def settle(self) -> None:
        if self.aside is not None:
            self.aside.put_back()
            self.aside = None
        self.tracing.keep()
