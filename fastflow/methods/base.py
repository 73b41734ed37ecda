"""What every method brings: a word that the user says, and how it is executed.

A method is a frozen dataclass that says which dynamics is followed, and for how long; its execution has the arrays of
all runs of one call and takes these to their ends. `execute` is the road from one to the other.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow import scheduling
from fastflow.arrays import AnyArray
from fastflow.checks import FloatArray
from fastflow.each import Each
from fastflow.equality import by_value
from fastflow.inits import Init
from fastflow.inits.base import RuleMemory
from fastflow.kernels.losses.measured import failure_of
from fastflow.mapping import Sizes
from fastflow.memory import require_memory
from fastflow.methods.measuring import MeasuringFailed
from fastflow.metrics import relative_errors
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.problems.base import DATA_COPIES
from fastflow.records import Record, Recording
from fastflow.results import Interrupted, OperatorError, Runs
from fastflow.scheduling import Team, Worker, first_budget, telling_of_compiling, work_through
from fastflow.setting import Setting
from fastflow.status import Status
from fastflow.threads import one_blas_thread


@by_value()
class Method(ABC):
    """Which dynamics takes the factors from their start to the end."""

    label: ClassVar[str]
    """Its name on the command line."""
    title: ClassVar[str]
    """The dynamics in words, for titles of pictures."""
    parts: ClassVar[tuple[type, ...]] = ()
    """The classes of objects that its fields may hold, which files name by their kind."""
    networks: ClassVar[tuple[type[Network], ...]] = (Network,)
    """What it trains."""
    dtypes: ClassVar[tuple[str, ...]] = ("float64",)
    """The precisions that it computes in."""
    elsewhere: ClassVar[str] = "GradientDescent"
    """What takes the networks that it does not."""

    is_common: ClassVar[bool] = True
    """Whether `warmup` compiles it unasked."""
    takes_any_depth: ClassVar[bool] = False
    """Whether it takes networks whose depth is not whole (`Network.is_counted`)."""

    has_steps: ClassVar[bool] = False
    """Whether it takes steps of sizes that the user chooses."""

    needs_test: ClassVar[bool] = False
    """Whether problems must have measurements that are held out."""

    takes_operators: ClassVar[bool] = False
    """Whether it takes problems that are known by products alone (`Problem.is_matrix_free`)."""

    max_steps: int | None

    @property
    def per_run(self) -> tuple[Each, ...]:
        """What has a value for each run."""
        return ()

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers of each run's own, so that runs from one start differ."""
        return False

    @property
    def accuracy(self) -> str:
        """How accurately it follows a flow, in words that may stand after one."""
        return ""

    def check(
        self,
        network: Network,
        init: Init | None = None,
        record: Record | None = None,
        dtype: DTypeLike = np.float64,
        problem: Problem | None = None,
    ) -> None:
        """Whether this method takes such a setting.

        Parameters
        ----------
        network : Network
        init : Init, where one is at hand
        record : Record or None
        dtype : of all arithmetic
        problem : one of the problems, where one is at hand

        Raises
        ------
        TypeError, ValueError
            where it does not, with what would
        """
        name, precision = type(self).__name__, np.dtype(dtype)
        if not isinstance(network, self.networks):
            takes = " or a ".join(kind.__name__ for kind in self.networks)
            raise TypeError(f"{name} needs a {takes} network, got {type(network).__name__}: use {self.elsewhere}")
        if not (network.is_counted or self.takes_any_depth):
            raise ValueError(f"{name} needs a whole number of factors, got {network}: use FlowLimit or GradientFlow")
        if precision.name not in self.dtypes:
            raise ValueError(f"{name} computes in {' or '.join(self.dtypes)}, got dtype {precision}")
        if problem is not None:
            if problem.is_matrix_free and not self.takes_operators:
                raise ValueError(
                    f"{name} needs all entries of A, and this problem has an operator for it: use GradientDescent, or "
                    "another method that takes steps along the whole gradient, or give A.toarray() where there is room"
                )
            self.check_problem(network, problem)

    def check_problem(self, network: Network, problem: Problem) -> None:  # noqa: B027, since most take any
        """Whether this method takes such a problem, on a network that it takes; it raises as `check`."""

    @abstractmethod
    def begin(self, setting: Setting) -> Execution:
        """The runs of one call, by this method, before they are drawn."""

    @abstractmethod
    def briefest(self) -> Self:
        """This method with as few steps as there may be, for which it must compile the same."""

    def first_step(self, problem: Problem, network: Network, factors: Sequence[FloatArray]) -> float | None:
        """The first step from a start, or the largest of an explicit sequence; None for what has no steps of its own.

        Parameters
        ----------
        problem, network : as they are trained
        factors : the start, first to last
        """
        return None

    def describe_step(self, step: float, edge: float | None) -> str | None:
        """What is known of its steps, in words; None where it is what is known of gradient descent.

        Parameters
        ----------
        step : float, the first, or the largest of an explicit sequence
        edge : float or None, the stability edge of gradient descent, where that is known
        """
        return None

    def step_sizes(self, first: float, count: int) -> FloatArray:
        """The sizes of so many steps from the start on, of which ``first`` is the first unless they are given.

        Raises
        ------
        TypeError
            for a method that has none
        """
        raise TypeError(f"{type(self).__name__} has no steps")

    def matching_flow(self, times: FloatArray, rtol: float) -> Method:
        """The flow that the steps follow as they become small, at such times.

        Raises
        ------
        TypeError
            for a method that has no steps
        """
        raise TypeError(f"{type(self).__name__} has no steps")


def nbytes_of(made: object, given: object = ()) -> int:
    """Bytes of the arrays in nested tuples that are not in those given, too, nor views of these."""
    shared = {id(_owner(array)) for array in _arrays_of(given)}
    return sum(array.nbytes for array in _arrays_of(made) if id(_owner(array)) not in shared)


def _owner(array: AnyArray) -> object:
    """What has the memory of an array."""
    return array if array.base is None else array.base


def _arrays_of(thing: object) -> Iterator[AnyArray]:
    if isinstance(thing, np.ndarray):
        yield thing
    elif isinstance(thing, tuple):
        for part in thing:
            yield from _arrays_of(part)


SETTLING_SECONDS = 0.5
"""What finding the losses of runs that have not begun may take."""


class Execution(ABC):
    """All runs of one call: the arrays that are worked on, and how they come to their ends.

    Parameters
    ----------
    setting : Setting
    method : Method
    recording : Recording, of what is kept along the way

    Attributes
    ----------
    factors : array (runs, parameters), the start, then where each run is
    solution : array (runs, size), the product, flat
    work : dict, name: array, what `work_sizes` asks for, full of NaN
    loss, status, steps : arrays (runs,)
    step : array (runs,), the first step of each run; NaN where there is none
    threads, seconds, flops : what the work took
    workspace_bytes : int, what one thread needs beside, where that is known
    words : str, the method as results name it

    Raises
    ------
    MemoryError
        when the results take more memory than there is
    """

    work_bytes: int = 0
    """How many more numbers for each parameter of each run it needs."""

    def __init__(self, setting: Setting, method: Method, recording: Recording) -> None:
        self.setting, self.method, self.recording = setting, method, recording
        self.words = repr(method)
        architecture, runs, dtype = setting.architecture, setting.runs, setting.dtype
        parameters, size = architecture.parameter_count, math.prod(architecture.solution_shape)
        numbers = runs * ((1 + self.work_bytes) * parameters + size)
        beside = numbers * dtype.itemsize + self.data_bytes(setting)
        self.work = recording.open(runs, dtype, beside, self.work_sizes(setting))
        self.truths = setting.truths
        self.factors, self.solution = np.zeros((runs, parameters), dtype), np.zeros((runs, size), dtype)
        self.loss, self.status = np.full(runs, np.nan), np.full(runs, Status.RUNNING, np.int64)
        self.steps, self.step = np.zeros(runs, np.int64), np.full(runs, np.nan)
        self.threads, self.seconds, self.flops = 1, 0.0, 0.0
        self.workspace_bytes = 0

    def data_bytes(self, setting: Setting) -> int:
        """What is made of the problems' data beside them, at most, in bytes."""
        return DATA_COPIES * setting.data_entries * setting.dtype.itemsize

    def work_sizes(self, setting: Setting) -> Sizes:
        """The arrays of all moments that the work needs beside the histories, which lie where these do."""
        return {}

    def draw(self) -> None:
        """Set the factors of every run to their start."""
        self.setting.draw(self.factors)

    def admit(self) -> None:
        """Look at the starts, now that there are any.

        Raises
        ------
        ValueError
            for starts that the method does not take, and records that these do not have
        """
        setting = self.setting
        self.recording.prepare(setting.problems, setting.architecture, setting.problem_index, self.truths, self.factors)

    def compile(self) -> None:  # noqa: B027, since not everything compiles
        """Compile kernels, or load them, in this thread: others would wait for it where Ctrl-C does not reach."""

    @abstractmethod
    def worker(self) -> Worker:
        """One thread's memory, and how it takes runs further."""

    def team(self, leaders: int, threads: int) -> Team | None:
        """How threads without a run help those that have one, at most so many of all; None where they can't."""
        return None

    @property
    def ended(self) -> int:
        """How many runs have ended."""
        return int(np.count_nonzero(self.status != Status.RUNNING))

    def run(self, threads: int, progress: bool | None) -> None:
        """Take every run to its end, or as far as an exception lets it come."""
        runs = self.setting.runs
        alone = min(threads, runs)
        team = self.team(alone, threads) if threads > 1 else None
        self.threads = threads = alone if team is None else threads
        require_memory(alone * self.workspace_bytes, f"the work of {alone} threads", "take fewer threads")
        started = time.perf_counter()
        try:
            work_through(runs, threads, self.worker, ended=lambda: self.ended, progress=progress, team=team)
        finally:
            self.seconds = time.perf_counter() - started

    def settle_waiting(
        self, evaluate: Callable[[NDArray[np.int64]], object], problem: NamedTuple, operations: float
    ) -> None:
        """Find loss and solution of runs that have not begun, or leave them NaN where that takes too long or can't be.

        Parameters
        ----------
        evaluate : function of the numbers of some runs, which sets theirs
        problem : what the kernels are told of the problems
        operations : what it takes for one of them
        """
        waiting = np.flatnonzero((self.status == Status.RUNNING) & ~np.isfinite(self.loss))
        until = time.perf_counter() + SETTLING_SECONDS
        at = 0 if failure_of(problem) is None else len(waiting)
        while at < len(waiting) and operations < SETTLING_SECONDS * scheduling.SLOW and time.perf_counter() < until:
            few = waiting[at : at + first_budget(len(waiting), operations)]
            evaluate(few)
            at += len(few)
        self.solution[waiting[at:]] = np.nan

    @abstractmethod
    def settle(self) -> None:
        """Bring loss, solution and histories of every run to where it is, ended or not."""

    def remembered(self) -> RuleMemory | None:
        """What an update rule remembers of the runs."""
        return None

    def finish(self, stacklevel: int = 1) -> Runs:
        """The results.

        Parameters
        ----------
        stacklevel : int, of warnings of what was recorded, from the caller of this method
        """
        self.settle()
        setting = self.setting
        truths = self.truths
        return Runs(
            solution=self.solution.reshape(-1, *setting.architecture.solution_shape),
            loss=self.loss,
            status=self.status,
            steps=self.steps,
            error=relative_errors(self.solution, truths, setting.problem_index) if truths.size else None,
            step=self.step,
            problem_index=setting.problem_index,
            run_index=setting.run_index,
            architecture=setting.architecture,
            history=self.recording.history(setting.architecture, stacklevel + 1),
            seconds=self.seconds,
            threads=self.threads,
            flops=self.flops,
            description=setting.description(self.words),
            flat_factors=self.factors,
            memory=self.remembered(),
        )


def execute(
    setting: Setting, method: Method, threads: int = 1, progress: bool | None = False, stacklevel: int = 1
) -> Runs:
    """Take the runs of a setting, which the method has been asked for, to their ends.

    Parameters
    ----------
    setting : Setting
    method : Method
    threads : int
    progress : show a bar on standard error; None if that is a terminal, after a second
    stacklevel : int, of warnings, from the caller of this function

    Returns
    -------
    Runs

    Raises
    ------
    Interrupted
        on Ctrl-C, with the runs as they are
    """
    with one_blas_thread():
        with telling_of_compiling(progress):
            execution = method.begin(setting)
            execution.draw()
            execution.admit()
            execution.compile()
        try:
            execution.run(threads, progress)
        except KeyboardInterrupt:
            raise Interrupted(execution.finish(stacklevel + 1)) from None
        except MeasuringFailed as failed:
            raised = failed.__cause__
            words = f"{type(raised).__name__}: {raised}"
            raise OperatorError(execution.finish(stacklevel + 1), words) from raised
        return execution.finish(stacklevel + 1)
