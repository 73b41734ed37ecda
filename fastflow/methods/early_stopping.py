"""Early stopping: runs end where the loss of measurements that are held out was least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow.checks import FloatArray, as_count, brief_repr, kind_of
from fastflow.each import Each
from fastflow.inits import Init
from fastflow.memory import require_memory
from fastflow.methods.base import Execution, Method
from fastflow.methods.gradient_descent import GradientDescent
from fastflow.methods.stepping import Stepping, SteppingMethod, Watch
from fastflow.methods.stochastic import StochasticGradientDescent
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.records import Record
from fastflow.setting import DTYPES, Setting
from fastflow.status import Status

LOOKS = 1000
"""How often a run is looked at where the user names no number of steps."""


@dataclass(frozen=True, eq=False, repr=False)
class EarlyStopping(Method):
    """Any method that takes steps, until the loss of measurements that are held out falls no further.

    Parameters
    ----------
    method : None, or a method such as `StochasticGradientDescent`, `GradientDescent` or `Momentum`
        What takes the steps, with its own ends; None is ``GradientDescent()``.
    every : None or int >= 1
        The loss of the problem's ``test`` is found at steps that are multiples of this. None is a thousandth of
        ``max_steps``.
    patience : int >= 1
        A run ends STOPPED where so many looks have found no smaller one, and is then back where that was least, with
        its steps. Ends of the method leave it where it is.

    Raises
    ------
    ValueError
        for a problem without a ``test``: `Problem.hold_out` makes one of its own measurements, an ensemble with
        ``test=`` has one for each trial of a study

    Notes
    -----
    The history goes on to where a run was stopped: `Record` has ``test_loss``. A ``gradient_tol`` of None is 0.

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> rng = np.random.default_rng(0)
    >>> A, x = rng.standard_normal((60, 100)) / np.sqrt(60), np.arange(100) < 3
    >>> problem = ff.CompressedSensing(A, A @ x + 0.1 * rng.standard_normal(60), truth=x).hold_out(15)
    >>> descent = ff.GradientDescent(0.05, 20_000)
    >>> stopped = ff.train(problem, method=ff.EarlyStopping(descent, every=50, patience=20), threads=1)
    >>> ff.Status(stopped.status[0]).name
    'STOPPED'
    >>> bool(stopped.error[0] < ff.train(problem, method=descent, threads=1).error[0])
    True
    """

    method: SteppingMethod | StochasticGradientDescent | None = None
    every: int | None = None
    patience: int = 100

    label: ClassVar[str] = "early-stopping"
    title: ClassVar[str] = "early stopping"
    is_common: ClassVar[bool] = False
    has_steps: ClassVar[bool] = True
    needs_test: ClassVar[bool] = True
    takes_operators: ClassVar[bool] = True
    dtypes: ClassVar[tuple[str, ...]] = DTYPES

    def __post_init__(self) -> None:
        if self.method is not None and not isinstance(self.method, SteppingMethod | StochasticGradientDescent):
            raise TypeError(f"method must take steps, as GradientDescent does, got {kind_of(self.method)}")
        if self.every is not None:
            object.__setattr__(self, "every", as_count("every", self.every, 1))
        object.__setattr__(self, "patience", as_count("patience", self.patience, 1))

    def __repr__(self) -> str:
        return brief_repr(self)

    @property
    def steps(self) -> SteppingMethod | StochasticGradientDescent:
        """What takes the steps."""
        return GradientDescent() if self.method is None else self.method

    @property
    def max_steps(self) -> int | None:  # type: ignore[override]
        """That of what takes the steps."""
        return self.steps.max_steps

    @property
    def per_run(self) -> tuple[Each, ...]:
        return self.steps.per_run

    @property
    def draws(self) -> bool:
        return self.steps.draws

    def check(
        self,
        network: Network,
        init: Init | None = None,
        record: Record | None = None,
        dtype: DTypeLike = np.float64,
        problem: Problem | None = None,
    ) -> None:
        super().check(network, init, record, dtype, problem)
        self.steps.check(network, init, record, dtype, problem)

    def check_problem(self, network: Network, problem: Problem) -> None:
        if problem.test is None:
            raise ValueError(
                f"{type(self).__name__} needs measurements that are held out: use problem.hold_out(count), or an "
                "ensemble with test="
            )

    def begin(self, setting: Setting) -> Execution:
        for problem in setting.problems:
            self.check_problem(setting.network, problem)
        execution = self.steps.begin(setting)
        assert isinstance(execution, Stepping)
        every = max(1, (self.max_steps or 0) // LOOKS) if self.every is None else self.every
        execution.watch = _TestLoss(execution, every, self.patience)
        execution.words = repr(self)
        return execution

    def briefest(self) -> EarlyStopping:
        return replace(self, method=self.steps.briefest())

    def first_step(self, problem: Problem, network: Network, factors: Sequence[FloatArray]) -> float | None:
        return self.steps.first_step(problem, network, factors)

    def describe_step(self, step: float, edge: float | None) -> str | None:
        return self.steps.describe_step(step, edge)

    def step_sizes(self, first: float, count: int) -> FloatArray:
        return self.steps.step_sizes(first, count)

    def matching_flow(self, times: FloatArray, rtol: float) -> Method:
        raise TypeError(f"{type(self).__name__} ends before the flow does: compare the method that it stops")


class _TestLoss(Watch):
    """The least loss of what is held out, and where each run was then.

    Raises
    ------
    MemoryError
        when the places take more memory than there is
    """

    def __init__(self, execution: Stepping, every: int, patience: int) -> None:
        state, runs = execution.state, execution.setting.runs
        kept = ("factors", "solution", "loss", "steps", "memory", "rates")
        require_memory(sum(getattr(state, name).nbytes for name in kept), "the best places of runs", "take fewer runs")
        self.every, self.patience = every, patience
        self.best = {name: getattr(state, name).copy() for name in kept}
        self.least, self.since = np.full(runs, np.inf), np.zeros(runs, np.int64)

    def look(self, execution: Stepping, runs: NDArray[np.int64]) -> None:
        setting, state = execution.setting, execution.state
        for run in runs.tolist():
            test = setting.problems[int(setting.problem_index[run])].test
            assert test is not None
            loss = test.loss(state.solution[run].reshape(test.shape))
            if loss < self.least[run]:
                self.least[run], self.since[run] = loss, 0
                for name, values in self.best.items():
                    values[run] = getattr(state, name)[run]
                continue
            self.since[run] += 1
            if self.since[run] >= self.patience:
                for name, values in self.best.items():
                    getattr(state, name)[run] = values[run]
                state.status[run] = Status.STOPPED
