"""Stochastic gradient descent: steps along the gradient of some samples."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.arrays import AnyArray, as_array
from fastflow.checks import FloatArray, as_count, as_floats, as_number, brief_repr, frozen, kind_of, shown
from fastflow.each import Each
from fastflow.inits import Init
from fastflow.kernels.descent.batches import Looks, descend_by_batches, group_of_batch
from fastflow.kernels.descent.descend import RunState, StepRule
from fastflow.kernels.descent.moving import make_mover
from fastflow.kernels.descent.order import Order, make_batch
from fastflow.kernels.trace import Trace
from fastflow.methods.base import Execution, Method, nbytes_of
from fastflow.methods.gradient_descent import GradientDescent
from fastflow.methods.schedules import SAFE, Decreasing, Schedule
from fastflow.methods.stepping import DEFAULT_STEPS, Rows, Stepping, SteppingMethod, SteppingWorker
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.records import Record, Tracing
from fastflow.scheduling import first_budget
from fastflow.setting import DTYPES, Setting
from fastflow.streams import Streams
from fastflow.theory import Edge

PASSES = 10
"""A run is looked at after so many passes over the samples, where the user names no number of steps."""


@dataclass(frozen=True, eq=False, repr=False)
class StochasticGradientDescent(Method):
    """``W_j <- W_j - step * G_j`` with the gradients of ``m/b`` times the loss of b of the m samples, others each step.

    Samples are the columns of a LinearRegression, the measurements of CompressedSensing and MatrixSensing, the observed
    entries of MatrixCompletion, all entries of MatrixEstimation. The mean of these gradients over all batches is the
    full gradient; a batch of all samples without noise is `GradientDescent`, bit for bit and with its ends.

    Parameters
    ----------
    step : None, float > 0, ``c * theory.edge``, a schedule, or array (K,) of positive steps
        As of `GradientDescent`, but for two: None takes ``b/m`` times half the edge, with which no batch of the
        smallest size b is unstable at the expected solution; and "safe" is refused, as no step lowers the loss at
        every step.
    batch_size : None, int, or int array (K,)
        The samples of a step, in 1 .. m; an array for each of the first K steps. None is 1, or what ``order`` has.
    order : None or int array (K, batch)
        The samples of each of the first K steps, numbered from 0, the same for all runs. None draws them, for each run
        from a stream of its own, keyed by (seed, "method", trial, run).
    replacement : bool
        Whether the samples of a batch are drawn independently. Else they are taken in passes, each in a random order of
        its own; what is left when a pass has no whole batch any more waits for the next one.
    label_noise : float >= 0, `Decreasing`, or array (K,)
        The standard deviation of what is added to each label (measurement, output, entry) of a batch, drawn anew at
        every step. Records and ends are of the labels as they are.
    max_steps : int >= 0
        A run ends at this step, counted from its very start; None means 100,000, or the K of the shortest array.
    tol : None or float >= 0
        A run ends where its loss, of all samples, is found to be at most this; None as of `GradientDescent`.
    gradient_tol : None or float >= 0
        The same for the norm of the full gradient; 0 and None switch it off.
    look : None or int >= 1
        The loss is found at steps that are multiples of this, and at ``max_steps``; a run ends nowhere else, but where
        the residuals of a batch are not finite. None is ``ceil(10 m / b)``, ten passes over the samples.
    update : None, or `Momentum`, `Adam`, `Muon`, `SharpnessAware`, ...: a method that takes steps
        The rule that takes the gradients of batches in the place of full ones, with what is its own, such as
        ``Momentum(momentum=0.9)``; step and ends are said here. Without ``step`` those whose steps are numbers take
        1e-3. None is the step along the gradient itself.

    Raises
    ------
    TypeError, ValueError
        for an empty batch, one with more samples than there are, an order that names a sample that there is not,
        negative noise, and a problem that is not made of samples (CustomProblem)

    Notes
    -----
    Word q of a run's stream is ``numpy.random.Philox(key=key).random_raw(q + 1)[q]``. In pass e, which begins with the
    order 0 .. m - 1, place i changes with place ``i + floor((m - i) w / 2^64)``, w word ``e m + i``, and batches are
    the places one after the other; with replacement sample i of all that a run takes is ``floor(m w / 2^64)``, w word
    i. Noise is made of the words of ``Philox(counter=[0, 1, 0, 0], key=key)`` by Box and Muller.

    Laws: for x = u o u - v o v, ``|u v|`` falls by the exponential of the *gain* (Even, Pesme, Gunasekar, Flammarion,
    arXiv:2302.08982); label noise leads to sparse solutions from any start (HaoChen, Wei, Lee, Ma, arXiv:2006.08680).

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> A = np.random.default_rng(0).standard_normal((20, 40)) / np.sqrt(20)
    >>> problem = ff.CompressedSensing(A, A[:, 0])
    >>> runs = ff.train(problem, method=ff.StochasticGradientDescent(0.1, batch_size=2, max_steps=20_000), threads=1)
    >>> bool(runs.loss[0] < 1e-4 * problem.zero_loss())
    True
    """

    step: float | str | Edge | Schedule | Each | ArrayLike | None = None
    batch_size: int | ArrayLike | None = None
    order: ArrayLike | None = None
    replacement: bool = False
    label_noise: float | Decreasing | ArrayLike = 0.0
    max_steps: int | None = None
    tol: float | None = None
    gradient_tol: float | None = None
    look: int | None = None
    update: SteppingMethod | None = None

    label: ClassVar[str] = "sgd"
    title: ClassVar[str] = "stochastic gradient descent"
    parts: ClassVar[tuple[type, ...]] = GradientDescent.parts
    has_steps: ClassVar[bool] = True
    dtypes: ClassVar[tuple[str, ...]] = DTYPES

    def __post_init__(self) -> None:
        if not isinstance(self.replacement, bool | np.bool_):
            raise TypeError(f"replacement must be True or False, got {shown(self.replacement)}")
        order = None if self.order is None else _as_order(self.order, self.replacement)
        noise, sizes = _as_noise(self.label_noise), _as_sizes(self.batch_size, order)
        lengths = [len(given) for given in (order, noise, sizes) if isinstance(given, np.ndarray)]
        step, most = self.step, self.max_steps
        if not (step is None or isinstance(step, str | Edge | Schedule | Each)) and as_array("step", step).ndim > 0:
            lengths.append(len(as_array("step", step)))
        most = min(lengths, default=DEFAULT_STEPS) if most is None else as_count("max_steps", most, 0)
        if lengths and most > min(lengths):
            raise ValueError(
                f"max_steps is {most}, but an array that says what each step does has {min(lengths)} entries"
            )
        _check_update(self.update)
        descent = replace(
            GradientDescent() if self.update is None else self.update,
            step=step,
            max_steps=most,
            tol=self.tol,
            gradient_tol=self.gradient_tol,
        )
        if descent.named_step == SAFE:
            raise ValueError(
                "no step is safe for batches, whose steps may raise the loss: give a number, or '0.1 edge'"
            )
        fields: dict[str, object] = {"step": descent.step, "max_steps": descent.max_steps}
        fields |= {"tol": descent.tol, "gradient_tol": descent.gradient_tol}
        fields |= {"order": order, "label_noise": noise, "batch_size": sizes, "replacement": bool(self.replacement)}
        if self.look is not None:
            fields["look"] = as_count("look", self.look, 1)
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return brief_repr(self)

    @functools.cached_property
    def descent(self) -> SteppingMethod:
        """The steps that all samples together would take."""
        update = GradientDescent() if self.update is None else self.update
        return replace(update, step=self.step, max_steps=self.max_steps, tol=self.tol, gradient_tol=self.gradient_tol)

    def check(
        self,
        network: Network,
        init: Init | None = None,
        record: Record | None = None,
        dtype: DTypeLike = np.float64,
        problem: Problem | None = None,
    ) -> None:
        super().check(network, init, record, dtype, problem)
        self.descent.check(network, init, record, dtype)

    @property
    def per_run(self) -> tuple[Each, ...]:
        return self.descent.per_run

    @property
    def draws(self) -> bool:
        return self.order is None or not isinstance(self.label_noise, float) or self.label_noise > 0

    @property
    def batch_sizes(self) -> NDArray[np.int64]:
        """The sizes of batches that there are."""
        return np.atleast_1d(np.asarray(self.batch_size))[: max(self.max_steps or 0, 1)]

    def check_problem(self, network: Network, problem: Problem) -> None:
        self._check_samples(network.pose(problem))

    def _check_samples(self, problem: Problem) -> None:
        count, largest = problem.sample_count, int(self.batch_sizes.max())
        if largest > count:
            raise ValueError(f"batch_size must be at most {count}, the samples that there are, got {largest}")
        if isinstance(self.order, np.ndarray) and self.order.max() >= count:
            raise ValueError(f"order must name samples 0 .. {count - 1}, got {self.order.max()}")

    def begin(self, setting: Setting) -> Execution:
        for problem in setting.problems:
            self._check_samples(problem)
        noisy = not isinstance(self.label_noise, float) or self.label_noise > 0
        whole = all(self.batch_sizes.min() == problem.sample_count for problem in setting.problems)
        if not whole or noisy or self.replacement or self.order is not None:
            return _Batches(setting, self)
        execution = self.descent.begin(setting)
        execution.words = repr(self)
        return execution

    def briefest(self) -> StochasticGradientDescent:
        return replace(self, step=1e-9 if self.step is None or self.per_run else self.step, max_steps=0)

    def first_step(self, problem: Problem, network: Network, factors: Sequence[FloatArray]) -> float | None:
        step = self.descent.first_step(problem, network, factors)
        assert step is not None
        return step * self.default_share(network.pose(problem)) if self.step is None else step

    def describe_step(self, step: float, edge: float | None) -> str | None:
        if edge is None or not self.descent.knows_edge:
            return "no theorem here is about batches"
        return f"{step / edge:.3g} times the linear stability edge; up to b/m times it no batch is unstable"

    def default_share(self, problem: Problem) -> float:
        """The share of the default step of all samples that is the default: of an edge that of the smallest batch."""
        if not isinstance(self.descent.default_step, Edge):
            return 1.0
        return float(self.batch_sizes.min()) / problem.sample_count

    def step_sizes(self, first: float, count: int) -> FloatArray:
        return self.descent.step_sizes(first, count)

    def matching_flow(self, times: FloatArray, rtol: float) -> Method:
        return self.descent.matching_flow(times, rtol)


def _check_update(update: SteppingMethod | None) -> None:
    if update is None:
        return
    if not isinstance(update, SteppingMethod):
        raise TypeError(
            f"update must be a method that takes steps, such as Momentum(momentum=0.9), got {kind_of(update)}"
        )
    others = replace(update, step=None, max_steps=None, tol=None, gradient_tol=None)
    if update != others:
        raise ValueError(
            "update says the rule alone: step, max_steps, tol and gradient_tol are those of StochasticGradientDescent"
        )


def _as_order(order: ArrayLike, replacement: bool) -> NDArray[np.int64]:
    array = as_array("order", order)
    if array.dtype.kind not in "iu" or array.ndim != 2 or array.size == 0:
        raise TypeError(f"order must be an array of integers (steps, batch), got {array.dtype} of shape {array.shape}")
    if array.min() < 0:
        raise ValueError(f"order must name samples from 0 on, got {array.min()}")
    if replacement:
        raise ValueError("an order says itself which samples are taken again: leave replacement out")
    return _integers(array)


def _as_sizes(sizes: int | ArrayLike | None, order: NDArray[np.int64] | None) -> int | NDArray[np.int64]:
    if order is not None:
        width = order.shape[1]
        if sizes is not None and not np.array_equal(sizes, width):
            raise ValueError(f"order has {width} samples a step, but batch_size is {shown(sizes)}: leave it out")
        return width
    if sizes is None:
        return 1
    array = as_array("batch_size", sizes)
    if array.ndim == 0:
        return as_count("batch_size", sizes, 1)
    if array.dtype.kind not in "iu" or array.ndim != 1 or array.size == 0:
        raise TypeError(f"batch_size must be an integer or an array (K,) of integers, got {shown(sizes)}")
    if array.min() < 1:
        raise ValueError(f"batch_size must be at least 1, got {array.min()}")
    return _integers(array)


def _integers(array: AnyArray) -> NDArray[np.int64]:
    integers = array.astype(np.int64)
    integers.flags.writeable = False
    return integers


def _as_noise(noise: float | Decreasing | ArrayLike) -> float | Decreasing | FloatArray:
    if isinstance(noise, Decreasing):
        if not isinstance(noise.first, float):
            raise TypeError(f"label_noise begins with a number, got {shown(noise.first)}")
        return noise
    if as_array("label_noise", noise).ndim == 0:
        return as_number("label_noise", noise, least=0)
    array = as_floats("label_noise", noise, 1).astype(np.float64)
    if array.min() < 0:
        raise ValueError(f"label_noise must be at least 0, got {array.min():g}")
    return frozen(array)


class _Batches(Stepping):
    """The runs of one call, by `kernels.descend_by_batches`."""

    frames: ClassVar[int] = 7

    def __init__(self, setting: Setting, method: StochasticGradientDescent) -> None:
        super().__init__(setting, method.descent)
        self.words = repr(method)
        problems, runs, sizes = setting.problems, setting.runs, method.batch_sizes
        counts = np.array([problem.sample_count for problem in problems])
        if method.step is None:
            self.step *= np.array([method.default_share(problem) for problem in problems])[setting.problem_index]
        self.largest, self.most_samples = int(sizes.max()), int(counts.max())
        noise = method.label_noise
        first, power, scale, sequence = np.zeros(runs), 0.0, 1.0, np.zeros(0)
        if isinstance(noise, Decreasing):
            assert isinstance(noise.first, float)
            first[:], power, scale = noise.first, noise.power, noise.scale
        elif isinstance(noise, np.ndarray):
            first[:], sequence = 1.0, noise.copy()
        elif noise:
            first[:] = noise
        self.order = Order(
            size=int(sizes[0]),
            sizes=sizes.copy() if isinstance(method.batch_size, np.ndarray) else np.zeros(0, np.int64),
            given=method.order.copy() if isinstance(method.order, np.ndarray) else np.zeros((0, 0), np.int64),
            replacement=method.replacement,
            noise=StepRule(first, power, scale, sequence),
            keys=np.zeros((runs, 2), np.uint64),
        )
        every = np.array([math.ceil(PASSES * count / sizes[0]) for count in counts], np.int64)
        if method.look is not None:
            every[:] = method.look
        self.looks = Looks(every, self.ends._replace(gradient_tol=max(self.ends.gradient_tol, 0.0)))
        self.flops_per_step = min(self.whole_flops, max(1, self.whole_flops * self.largest // int(counts[0])))

    def limit_steps(self, most: int) -> None:
        super().limit_steps(most)
        self.looks = self.looks._replace(ends=self.looks.ends._replace(max_steps=most))

    def kernel_problem(self) -> NamedTuple:
        return self.setting.problems[0].kernel_samples(self.setting.problems, self.setting.dtype)

    def data_bytes(self, setting: Setting) -> int:
        return Execution.data_bytes(self, setting)

    def draw(self) -> None:
        super().draw()
        setting, streams = self.setting, Streams(self.setting.seed, "method")
        for run in range(setting.runs):
            self.order.keys[run] = streams.key(int(setting.trial_index[run]), int(setting.run_index[run]))

    def worker(self) -> _BatchesWorker:
        return _BatchesWorker(self)

    def compile(self) -> None:
        worker = self.worker()
        self.workspace_bytes = nbytes_of((worker.batches, worker.batch, worker.mover), (self.problem, self.state))
        worker.advance(np.zeros(0, np.int64), 0)


class _BatchesWorker(SteppingWorker):
    """One thread's workspaces, and its kernel calls."""

    execution: _Batches

    def __init__(self, execution: _Batches) -> None:
        e = self.execution = execution
        self.first_budget = first_budget(64, e.flops_per_step)
        setting = e.setting
        self.batches = setting.architecture.make_batches(e.problem, e.factors, e.largest)
        self.batch = make_batch(e.largest, e.most_samples, self.batches.samples.outputs, setting.dtype)
        self.of_batch = group_of_batch(self.batches, self.batch)
        self.mover = make_mover(e.method.rule, self.of_batch.factors, 1, e.factors.shape[1])
        self.members = 1
        self.plan_slices(2 * e.whole_flops)  # where a slice ends it evaluates the loss of all samples
        self.tracing = Tracing(e.recording, e.truths, e.solution.shape[1], e.factors.shape[1], 8, setting.dtype)

    def _descend(self, state: RunState, runs: NDArray[np.int64], rows: Rows, trace: Trace, budget: int) -> int:
        e = self.execution
        noise = e.order.noise._replace(first=e.order.noise.first[rows])
        taken: int = descend_by_batches(
            e.weights,
            e.kernel_shape,
            state,
            runs,
            e.rule._replace(first=e.rule.first[rows]),
            e.order._replace(keys=e.order.keys[rows], noise=noise),
            self.batch,
            e.looks,
            trace,
            budget,
            self.batches,
            self.of_batch,
            self.mover,
        )
        return taken
