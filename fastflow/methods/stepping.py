"""Methods that take steps of a size that the user chooses: what they say of them, and how their runs go."""

from __future__ import annotations

import contextlib
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.arrays import as_array
from fastflow.checks import FloatArray, as_count, as_floats, as_number, frozen, shown
from fastflow.each import Each
from fastflow.inits import Init
from fastflow.inits.base import RuleMemory
from fastflow.kernels.descent.descend import Ends, RunState, StepRule, descend
from fastflow.kernels.descent.moving import make_mover
from fastflow.kernels.networks.chain_group import board_of
from fastflow.kernels.rules.rule import RATES, Descent, slot_count
from fastflow.kernels.trace import Trace
from fastflow.methods.aside import Aside, AsideWorker
from fastflow.methods.base import Execution, Method
from fastflow.methods.helping import Helping
from fastflow.methods.measuring import raise_failure_of
from fastflow.methods.schedules import SAFE, Cyclic, Decreasing, Piecewise, Schedule, as_step
from fastflow.networks import Architecture, Network
from fastflow.problems import Problem
from fastflow.records import Record, Tracing, recording_at_steps
from fastflow.scheduling import Queue, Team, first_budget
from fastflow.setting import DTYPES, Setting
from fastflow.status import Status
from fastflow.theory import Edge, edge, safe_step, stability_edge
from fastflow.theory.safety import check_knows_safe_steps
from fastflow.threads import interruptibly

DEFAULT_STEPS = 100_000

TOL, REST = 1e-10, 1e-6
"""The excess of the loss up to which a run has converged, and may be at rest, where the user names none: over the loss
of the product 0."""

HALF_EDGE = 0.5 * edge
"""The step where the user names none."""

COMPARED = 0.01
"""The share of the gradients of all runs, at most, for which a step is compared with the edge."""

NOTHING = 1e7
"""Operations that always may be done for that: a quarter of a millisecond."""

ROUGH = 1e-3
"""How accurately the edge is found that a step given as a number is compared with."""


@dataclass(frozen=True, eq=False, repr=False)
class SteppingMethod(Method):
    """What takes steps of a size that the user chooses, by a rule that its subclass says.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `GradientDescent`
    """

    step: float | str | Edge | Schedule | Each | ArrayLike | None = None
    max_steps: int | None = None
    tol: float | None = None
    gradient_tol: float | None = None

    def __post_init__(self) -> None:
        step = self.step
        limit = DEFAULT_STEPS
        if step is not None and not isinstance(step, Schedule):
            if isinstance(step, str | Edge | Each) or as_array("step", step).ndim == 0:
                step = as_step("step", step)
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
        """The first step: None, a number, or what stands for one; NaN of a sequence, and of one for each run."""
        step = self.step.first if isinstance(self.step, Schedule) else self.step
        return step if step is None or isinstance(step, float | str | Edge) else math.nan

    @property
    def per_run(self) -> tuple[Each, ...]:
        step = self.step.first if isinstance(self.step, Schedule) else self.step
        return (step,) if isinstance(step, Each) else ()

    parts: ClassVar[tuple[type, ...]] = (Decreasing, Cyclic, Piecewise)
    is_common: ClassVar[bool] = False
    has_steps: ClassVar[bool] = True
    dtypes: ClassVar[tuple[str, ...]] = DTYPES
    takes_operators: ClassVar[bool] = True

    knows_edge: ClassVar[bool] = True
    """Whether its steps are to be compared with the linear stability edge."""
    default_step: ClassVar[float | Edge] = HALF_EDGE
    """The step where the user names none."""
    gradients: ClassVar[int] = 1
    """How many gradients a step takes."""

    @property
    def rule(self) -> NamedTuple:
        """What the kernels are told of the rule by which it moves."""
        return Descent()

    @property
    def remembers(self) -> str | None:
        """The name of what its rule remembers from one step to the next; None where that is nothing."""
        return None

    @property
    def stable_share(self) -> float:
        """Up to which multiple of the edge of gradient descent a step is stable; infinite where that is not known."""
        return 1.0

    def memory(self, architecture: Architecture) -> FloatArray | float:
        """What the rule remembers of each entry of the factors at first."""
        return 0.0

    def describe_step(self, step: float, edge: float | None) -> str | None:
        if type(self.rule) is Descent:
            return None
        if edge is None or not self.knows_edge or math.isinf(self.stable_share):
            return "no theorem here is about this rule"
        share = step / (self.stable_share * edge)
        return f"{share:.3g} times what is linearly stable at the expected solution by this rule"

    def matching_flow(self, times: FloatArray, rtol: float) -> Method:
        raise TypeError(f"{type(self).__name__} does not follow the gradient flow step by step: GradientDescent does")

    def _check_number(
        self, name: str, *, above: float | None = None, least: float | None = None, below: float | None = None
    ) -> None:
        """Make a field the number that it must be."""
        number = as_number(name, getattr(self, name), above=above, least=least, below=below)
        object.__setattr__(self, name, number)

    @property
    def own_fields(self) -> str:
        """What it is beside its steps and ends, as its ``repr`` shows it."""
        own = [field for field in fields(self) if field.name not in _COMMON]
        return "".join(f", {field.name}={getattr(self, field.name)!r}" for field in own)

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
            if type(self.rule) is not Descent:
                raise ValueError(
                    f"no step of {type(self).__name__} is known to be safe: {SAFE!r} is for GradientDescent"
                )
            check_knows_safe_steps(network)

    def begin(self, setting: Setting) -> Execution:
        return Stepping(setting, self)

    def briefest(self) -> Self:
        # No step is taken: any number will do to compile with.
        return replace(self, step=1e-9 if self.step is None or self.per_run else self.step, max_steps=0)

    def first_step(self, problem: Problem, network: Network, factors: Sequence[FloatArray]) -> float | None:
        if self.sequence.size:
            return float(self.sequence.max())
        if self.per_run:
            return float(self.per_run[0].values.max())
        step = self.default_step if self.named_step is None else self.named_step
        if step == SAFE:
            return float(safe_step(problem, network, factors).step)
        return step.step(problem, network) if isinstance(step, Edge) else float(step)

    def step_sizes(self, first: float, count: int) -> FloatArray:
        if self.sequence.size:
            return self.sequence[:count]
        if isinstance(self.step, Schedule):
            return self.step.sizes(first, count)
        return np.full(count, first)

    def __repr__(self) -> str:
        if isinstance(self.step, np.ndarray):
            step = f"<{self.step.size} steps>"
        else:
            step = repr(self.step)
        ends = {"tol": self.tol, "gradient_tol": self.gradient_tol}
        given = "".join(f", {name}={value:g}" for name, value in ends.items() if value is not None)
        return f"{type(self).__name__}(step={step}, max_steps={self.max_steps}{self.own_fields}{given})"


_COMMON = ("step", "max_steps", "tol", "gradient_tol")


@dataclass(frozen=True, eq=False, repr=False)
class FreeStepMethod(SteppingMethod):
    """A `SteppingMethod` whose steps are numbers: no stability edge is known for them.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `SignDescent`
    """

    knows_edge: ClassVar[bool] = False
    default_step: ClassVar[float | Edge] = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.named_step, str | Edge):
            raise ValueError(
                f"step of {type(self).__name__} must be a number, as no stability edge and no safe step is known for "
                f"it, got {shown(str(self.named_step))}"
            )


class Watch(ABC):
    """What looks at runs that take steps every so many of these, and may end them."""

    every: int
    """The steps from one look to the next."""

    @abstractmethod
    def look(self, execution: Stepping, runs: NDArray[np.int64]) -> None:
        """Look at runs that have not ended, the loss and solution of which are at hand."""


class Stepping(Execution):
    """The runs of one call, by `kernels.descend`."""

    method: SteppingMethod
    watch: Watch | None = None
    helping: Helping | None = None
    """Where threads without a run help."""
    shares: bool = False
    """Whether a run has products that are worth sharing."""
    frames: ClassVar[int] = 6
    """From where a step is warned of up to the caller of `train`."""

    def __init__(self, setting: Setting, method: SteppingMethod) -> None:
        assert method.max_steps is not None
        self.work_bytes = slots = slot_count(method.rule)
        recording = recording_at_steps(setting.record, setting.architecture, method.max_steps, setting.has_truth)
        super().__init__(setting, method, recording)
        recording.taken = self.steps
        first = setting.problems[0]
        self.weights, self.kernel_shape = setting.weights, setting.architecture.kernel_shape
        self.whole_flops = setting.architecture.gradient_flops + first.loss_flops
        self.flops_per_step = method.gradients * self.whole_flops
        self.operations = setting.operations_of(self.flops_per_step)
        self.runs_per_worker = setting.runs
        self.spares: list[SteppingWorker] = []  # that have not worked yet, and are as dear as a step of a wide chain
        self.state = RunState(
            factors=self.factors,
            solution=self.solution,
            loss=self.loss,
            status=self.status,
            steps=self.steps,
            recorded=np.zeros(setting.runs, np.int64),
            problem=setting.problem_index,
            memory=np.full(
                (setting.runs, slots * self.factors.shape[1]), method.memory(setting.architecture), setting.dtype
            ),
            rates=np.zeros((setting.runs, RATES)),
            begun=np.zeros(setting.runs, np.int64),
        )
        self.step[:] = self._step_sizes()[setting.problem_index]
        for each in method.per_run:
            self.step[:] = each.values
        power, scale = 0.0, 1.0
        first_steps, sequence = self.step, method.sequence.copy()
        if isinstance(method.step, Decreasing):
            power, scale = method.step.power, method.step.scale
        elif isinstance(method.step, Schedule):
            sequence = method.step.multiples(method.max_steps)
        elif sequence.size:
            first_steps = np.ones(setting.runs)
        self.rule = StepRule(first_steps, power, scale, sequence)
        gradient_tol = method.gradient_tol
        if method.tol is not None:
            tol = np.full(len(setting.problems), method.tol)
            self.ends = Ends(method.max_steps, tol, gradient_tol or 0.0, tol, tol)
        else:
            least, sizes = setting.least_losses, setting.loss_sizes
            if gradient_tol is None:
                gradient_tol = -1.0 if type(method.rule) is Descent else 0.0
            self.ends = Ends(method.max_steps, TOL * sizes + least, gradient_tol, REST * sizes + least, least)
        # Last, as what is asked of the problems above takes memory of its own while it is found.
        self.problem = self.kernel_problem()

    def kernel_problem(self) -> NamedTuple:
        """What the kernels are told of the problems."""
        setting = self.setting
        return setting.problems[0].kernel_data(setting.problems, setting.dtype, shared=_shares_data(setting))

    def data_bytes(self, setting: Setting) -> int:
        return setting.problems[0].kernel_bytes(setting.problems, setting.dtype, shared=_shares_data(setting))

    def _step_sizes(self) -> FloatArray:
        """The (first) step for each problem; NaN for an explicit sequence, and for what depends on a run's start.

        Of one for each run the largest, of which alone may be said that it is above the edge.
        """
        setting, method = self.setting, self.method
        problems, network = setting.problems, setting.network
        step = method.default_step if method.named_step is None else method.named_step
        for each in method.per_run:
            step = float(each.values.max())
        if isinstance(step, str) or method.sequence.size:  # "safe" is the one word for a step
            return np.full(len(problems), np.nan)
        if isinstance(step, Edge):
            return np.array([step.step(problem, network) for problem in problems])
        if setting.shared and method.knows_edge and not isinstance(method.step, Schedule):
            # A list would pay for it once a problem.
            assert method.max_steps is not None
            most = int(COMPARED * setting.runs * method.max_steps)
            try:
                operations = max(NOTHING, most * float(self.whole_flops))
                edge_at = stability_edge(problems[0].rationed(most), network, ROUGH, operations)
                found = method.stable_share * edge_at
            except ValueError:
                found = np.inf
            if step > found:
                warnings.warn(
                    f"step {step:g} is above the linear stability edge {found:.3g} at the expected solution: "
                    f"{method.title} will oscillate or diverge there; step=None takes half that of gradient descent",
                    stacklevel=self.frames,
                )
        return np.full(len(problems), step)

    def draw(self) -> None:
        super().draw()
        if self.setting.init.steps is not None:
            self.steps[:] = self.setting.init.steps
        self.state.begun[:] = self.steps
        self._remember(self.setting.init.memory)
        self.steps_before = int(self.steps.sum())

    def _remember(self, memory: RuleMemory | None) -> None:
        """Go on with what the rule remembers, if it is of this rule."""
        state = self.state
        if memory is None or memory.rule != self.method.remembers or memory.slots.shape != state.memory.shape:
            return
        with np.errstate(over="ignore"):  # what does not fit the dtype diverges
            state.memory[:] = memory.slots
        state.rates[:], state.begun[:] = memory.rates, memory.begun

    def remembered(self) -> RuleMemory | None:
        name, state = self.method.remembers, self.state
        return None if name is None else RuleMemory(name, state.memory, state.rates, state.begun)

    def admit(self) -> None:
        super().admit()
        if self.method.named_step != SAFE:
            return
        architecture = self.setting.architecture
        for i, problem in enumerate(self.setting.problems):
            runs = np.flatnonzero(self.setting.problem_index == i)
            self.step[runs] = safe_step(problem, self.setting.network, architecture.unpack(self.factors[runs])).step

    def compile(self) -> None:
        worker = self.worker()
        given = (self.problem, self.state, self.truths, *self.recording.histories.values())
        self.workspace_bytes = worker.nbytes((worker.group, worker.mover), given, self.state)
        self.shares = worker.board is not None
        if self.shares:
            Helping.compile(self.setting.dtype)
        worker.advance(np.zeros(0, np.int64), 0)
        self.spares.append(worker)

    def team(self, leaders: int, threads: int) -> Team | None:
        self.helping = Helping(leaders, threads, self.setting.dtype) if self.shares else None
        return self.helping

    def worker(self) -> SteppingWorker:
        with contextlib.suppress(IndexError):
            spare = self.spares.pop()
            if spare.runs_per_worker == self.runs_per_worker:
                return spare
        return SteppingWorker(self)

    def run(self, threads: int, progress: bool | None) -> None:
        self.runs_per_worker = -(-self.setting.runs // min(threads, self.setting.runs))
        try:
            if self.watch is None:
                super().run(threads, progress)
            else:
                self._run_watched(self.watch, threads, progress)
        finally:
            self.flops = float(self.flops_per_step * (self.steps.sum() - self.steps_before))

    def limit_steps(self, most: int) -> None:
        """Let runs end at this step."""
        self.ends = self.ends._replace(max_steps=most)

    def _run_watched(self, watch: Watch, threads: int, progress: bool | None) -> None:
        """Take every run to its end, from one look to the next."""
        most, seconds = self.ends.max_steps, 0.0
        # The test for rest knows max_steps, which here is that of a look.
        self.ends = self.ends._replace(gradient_tol=max(self.ends.gradient_tol, 0.0))
        step = int(self.steps.min()) // watch.every * watch.every
        while True:
            step = min(step, most)
            self.limit_steps(step)
            try:
                super().run(threads, progress)
                there = self.steps == step
                waiting = self._not_at_their_end(most)
                self.status[waiting] = Status.RUNNING
                watch.look(self, waiting[there[waiting]])
            finally:
                seconds += self.seconds
                self.seconds = seconds
                self.limit_steps(most)
                waiting = np.union1d(self._not_at_their_end(most), np.flatnonzero(self.status == Status.RUNNING))
                self.status[waiting] = Status.RUNNING
                self._forget_records(waiting)
            if step == most or not waiting.size:
                return
            step += watch.every

    def _not_at_their_end(self, most: int) -> NDArray[np.int64]:
        """The runs that have ended at the step of a look."""
        return np.flatnonzero((self.status == Status.MAX_STEPS) & (self.steps < most))

    def _forget_records(self, runs: NDArray[np.int64]) -> None:
        """Take back what was recorded of runs as of the end, which has not come."""
        moments, recorded = self.recording.moments, self.state.recorded
        due = np.searchsorted(moments, self.steps[runs], side="right")
        for run, entry in zip(runs.tolist(), due.tolist(), strict=True):
            if recorded[run] > entry:
                recorded[run] = entry
                self.recording.forget(run, entry)

    def settle(self) -> None:
        self.settle_waiting(lambda runs: self.worker().advance(runs, 0), self.problem, self.whole_flops)
        for run in np.flatnonzero((self.status != Status.RUNNING) & (self.status != Status.DIVERGED)):
            self.recording.repeat_last(int(run), int(self.state.recorded[run]))


def _shares_data(setting: Setting) -> bool:
    """Whether the data are laid out for many runs."""
    return setting.shared and setting.problems[0].is_worth_sharing(setting.runs)


Rows = slice | NDArray[np.int64]
"""Of which runs the rows of a state are."""


class SteppingWorker(AsideWorker[RunState]):
    """One thread's workspaces, and its kernel calls."""

    def __init__(self, execution: Stepping) -> None:
        e = self.execution = execution
        self.first_budget = first_budget(64, e.operations)
        self.runs_per_worker = e.runs_per_worker
        self.group = e.setting.architecture.make_group(e.problem, e.factors, self.runs_per_worker)
        self.board = board_of(self.group)
        self.members = len(self.group.run)
        # A slice evaluates where it ends: one step of each member is two gradients.
        self.plan_slices(2 * self.members * e.operations)
        size, parameters = e.solution.shape[1], e.factors.shape[1]
        self.mover = make_mover(e.method.rule, self.group.factors, self.members, parameters)
        self.tracing = Tracing(e.recording, e.truths, size, parameters, 8 * self.members, e.setting.dtype)

    def work(self, queue: Queue, should_stop: Callable[[], bool]) -> None:
        helping = self.execution.helping
        if helping is not None and self.board is not None:
            helping.show(self.board)
        super().work(queue, should_stop)

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        """Take runs some steps further; a budget of 0 only evaluates them."""
        e = self.execution
        if not self.is_aside or budget == 0:
            taken = self._descend(e.state, runs, slice(None), self.tracing.trace, budget)
            raise_failure_of(e.problem)
            return taken
        few = runs[: self.members]
        aside = Aside(e.state, few, self.tracing)
        taken = interruptibly(lambda: self._descend(aside.state, aside.rows, few, aside.trace, budget))
        raise_failure_of(e.problem)
        self.aside = aside
        return taken

    def _descend(self, state: RunState, runs: NDArray[np.int64], rows: Rows, trace: Trace, budget: int) -> int:
        """Call the kernel; ``rows`` says of which runs the rows of the state are."""
        e = self.execution
        taken: int = descend(
            e.problem,
            e.weights,
            e.kernel_shape,
            state,
            runs,
            e.rule._replace(first=e.rule.first[rows]),
            e.ends,
            trace,
            budget,
            self.group,
            self.mover,
        )
        return taken

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        return runs[self.execution.status[runs] == Status.RUNNING]
