"""Batches: all runs of one call of `train`, shared out among threads and cut into slices of steps.

A slice is a kernel call of about a twentieth of a second, between which threads look whether they should stop. Which
thread takes which run, and where a slice ends, changes no bit of any run: a run depends on its own problem, start and
step rule alone.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastflow.architectures import Architecture
from fastflow.checks import FloatArray
from fastflow.inits import Explicit, Init
from fastflow.kernels.descent.descend import Ends, RunState, StepRule, descend
from fastflow.kernels.trace import Trace
from fastflow.memory import require_memory
from fastflow.methods import Decreasing, GradientDescent
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.records import History, Record, empty_histories
from fastflow.runs import Runs
from fastflow.status import Status
from fastflow.streams import stream
from fastflow.theory import safe_step
from fastflow.theory_records import TheoryRecords
from fastflow.threads import next_budget, run_workers

FIRST_BUDGET = 64
PENDING_BYTES = 2**22


class Batch:
    """All runs of one call: the arrays that the kernels work on, and how to take them to their ends.

    Parameters
    ----------
    problems : list of problems of one class and shape
    title : one of the problems in words
    shared : whether the user gave one problem for all runs, not a list
    architecture : Architecture
    method : GradientDescent
    step_sizes : array (problems,), the (first) step for each
    starts : which starts each problem has
    record : Record or None
    dtype : float64 or float32
    """

    def __init__(
        self,
        problems: Sequence[Any],
        title: str,
        shared: bool,
        architecture: Architecture,
        method: GradientDescent,
        step_sizes: FloatArray,
        starts: Sequence[int],
        record: Record | None,
        dtype: np.dtype[Any],
    ) -> None:
        assert method.max_steps is not None
        runs, parameters = len(problems) * len(starts), architecture.parameter_count
        size = math.prod(architecture.solution_shape)
        first: Problem = problems[0]
        has_truth = first.truth is not None
        needed = runs * (parameters + size) * dtype.itemsize
        if record is not None:
            needed += record.nbytes(architecture, runs, method.max_steps, dtype, has_truth=has_truth)
        require_memory(needed, f"the results of {runs} runs", "take fewer runs, or record less")
        self.architecture, self.dtype, self.method = architecture, dtype, method
        self.problem = first.kernel_data(problems, dtype, shared=shared)
        self.weights = np.array([p.weight for p in problems])
        truths = [np.ravel(p.truth) for p in problems] if has_truth else np.zeros((0, 0))
        self.truths = np.array(truths, dtype)
        problem_index = np.repeat(np.arange(len(problems)), len(starts))
        self.run_index = np.tile(np.asarray(starts, np.int64), len(problems))
        self.state = RunState(
            factors=np.zeros((runs, parameters), dtype),
            solution=np.zeros((runs, size), dtype),
            loss=np.full(runs, np.nan),
            status=np.full(runs, Status.RUNNING, np.int64),
            steps=np.zeros(runs, np.int64),
            recorded=np.zeros(runs, np.int64),
            problem=problem_index,
        )
        power, scale = 0.0, 1.0
        if isinstance(method.step, Decreasing):
            power, scale = method.step.power, method.step.scale
        self.rule = StepRule(step_sizes[problem_index], power, scale, method.sequence.copy())
        self.ends = Ends(method.max_steps, method.tol, method.gradient_tol)
        self.record_steps = np.zeros(0, np.int64) if record is None else record.grid(method.max_steps)
        shapes = {} if record is None else record.shapes(architecture, has_truth=has_truth)
        self.histories = empty_histories(shapes, runs, len(self.record_steps), dtype)
        self.problems = problems
        self.runs_per_worker = len(self.state.loss)
        self.seconds = 0.0
        self.flops_per_step = architecture.gradient_flops + first.loss_flops
        self.threads, self.flops = 1, 0.0
        self.description = {
            "problem": (f"{len(problems)} x " if len(problems) > 1 else "") + title,
            "network": architecture.network,
            "method": repr(method),
            "dtype": dtype.name,
        }

    def draw(self, init: Init, seed: int) -> None:
        """Set the factors of every run to their start."""
        state = self.state
        self.description["seed"] = str(seed)
        self.description["init"] = start_title(init, self.architecture)
        draw_factors(init, self.architecture, seed, state.problem, self.run_index, state.factors)
        if isinstance(init, Explicit) and init.steps is not None:
            state.steps[:] = init.steps
        self.theory = TheoryRecords(self.problems, self.architecture, state.problem, state.factors, self.histories)

    def take_safe_steps(self, problems: Sequence[Any], network: Network) -> None:
        """Set the first step of every run to the one that is safe from its start."""
        for i, problem in enumerate(problems):
            runs = np.flatnonzero(self.state.problem == i)
            factors = self.architecture.unpack(self.state.factors[runs])
            self.rule.first[runs] = safe_step(problem, network, factors).step

    def worker(self) -> Any:
        """A thread's memory, whose ``run(queue, should_stop)`` takes runs to their ends."""
        return _Worker(self)

    def compile(self) -> None:
        """Compile the kernel, or load it, in this thread: others would wait for it where Ctrl-C does not reach."""
        self.worker().descend(np.zeros(0, np.int64), 0)

    def run(self, threads: int, progress: bool | None) -> None:
        """Take every run to its end, or as far as an exception lets it come."""
        self.threads = threads = min(threads, len(self.state.loss))
        self.runs_per_worker = -(-len(self.state.loss) // threads)
        before = self.state.steps.sum()
        queue = Queue(len(self.state.loss), threads)

        def work(should_stop: Callable[[], bool]) -> None:
            self.worker().run(queue, should_stop)

        started = time.perf_counter()
        try:
            with progress_bar(progress, queue.total) as bar:

                def show() -> None:
                    if bar is not None:
                        bar.update(self.ended - bar.n)

                run_workers(work, threads, show)
                show()
        finally:
            self.seconds = time.perf_counter() - started
            self.flops = float(self.flops_per_step * (self.state.steps.sum() - before))

    @property
    def ended(self) -> int:
        """How many runs have ended."""
        return int(np.count_nonzero(self.state.status != Status.RUNNING))

    def finish(self) -> Runs:
        """The results; runs that have not ended are evaluated where they are."""
        state = self.state
        if self.ended < len(state.loss):
            self.worker().descend(np.arange(len(state.loss)), 0)
        for run in np.flatnonzero((state.status != Status.RUNNING) & (state.status != Status.DIVERGED)):
            recorded = state.recorded[run]
            if 0 < recorded < len(self.record_steps):
                for values in self.histories.values():
                    values[run, recorded:] = values[run, recorded - 1]
        history = None
        if self.record_steps.size:
            kept: dict[str, Any] = dict(self.histories)
            if "factors" in kept:
                kept["factors"] = self.architecture.unpack(kept["factors"])
            history = History(self.record_steps, **kept)
        return self.results(self.rule.first, history)

    def results(self, step: FloatArray, history: History | None) -> Runs:
        """What is known of the runs as they are, with the steps that were used."""
        state = self.state
        if history is not None and history.determinant_sign is not None:
            self.theory.warn_of_flips(history.determinant_sign, history.axis[1], stacklevel=4)
        return Runs(
            solution=state.solution.reshape(-1, *self.architecture.solution_shape),
            loss=state.loss,
            status=state.status,
            steps=state.steps,
            error=relative_errors(state.solution, self.truths, state.problem) if self.truths.size else None,
            step=step,
            problem_index=state.problem,
            run_index=self.run_index,
            architecture=self.architecture,
            history=history,
            seconds=self.seconds,
            threads=self.threads,
            flops=self.flops,
            description=self.description,
            flat_factors=state.factors,
        )


def start_title(init: Init, architecture: Architecture) -> str:
    """An init in words."""
    return f"Explicit({init.count(architecture) or 1} starts)" if isinstance(init, Explicit) else repr(init)


def draw_factors(
    init: Init,
    architecture: Architecture,
    seed: int,
    trials: NDArray[np.int64],
    starts: NDArray[np.int64],
    factors: FloatArray,
) -> None:
    """Fill ``factors`` (runs, parameters) with the start of every run, which is such a start of such a problem."""
    if isinstance(init, Explicit):
        with np.errstate(over="ignore"):  # what does not fit the dtype diverges
            factors[:] = init.flat(architecture)
        return
    with np.errstate(over="ignore"):  # what does not fit the dtype is refused below
        for run, (trial, start) in enumerate(zip(trials, starts, strict=True)):
            rng = stream(seed, "init", architecture.stream_key, int(trial), int(start))
            for target, drawn in zip(architecture.unpack(factors[run]), architecture.draw(init, rng), strict=True):
                target[...] = drawn
    if not np.isfinite(factors).all() or not factors.any(axis=1).all():
        raise ValueError(f"a start of {init} is zero or not finite in {factors.dtype.name}: choose another scale")


def relative_errors(solutions: FloatArray, truths: FloatArray, problem: NDArray[np.int64]) -> FloatArray:
    """``||x - truth|| / ||truth||`` of flat solutions (runs, size), each of such a problem."""
    with np.errstate(over="ignore", invalid="ignore"):  # runs that diverged have no finite error
        differences = solutions.astype(np.float64) - truths[problem]
        errors: FloatArray = np.linalg.norm(differences, axis=1) / np.linalg.norm(truths, axis=1)[problem]
    return errors


class Queue:
    """The runs that no worker has taken yet."""

    def __init__(self, total: int, threads: int) -> None:
        self.total, self._threads, self._next, self._lock = total, threads, 0, threading.Lock()

    def take(self, least: int) -> NDArray[np.int64]:
        """The next runs: many while there are many, so that calls are few, then few, so that threads end together."""
        with self._lock:
            first = self._next
            self._next = min(self.total, first + max(least, (self.total - first) // (4 * self._threads)))
            return np.arange(first, self._next)


class _Worker:
    """One thread's workspaces, and its kernel calls."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        architecture, state, histories = batch.architecture, batch.state, batch.histories
        self.shape = architecture.kernel_shape
        self.group = architecture.make_group(batch.problem, state.factors, batch.runs_per_worker)
        size, members = state.solution.shape[1], len(self.group.run)
        # Enough pending matrices to keep the calls few, not so many that a slice's singular values take seconds.
        wants_product = not set(architecture.of_products).isdisjoint(histories)
        wants_factors = not set(architecture.of_factors).isdisjoint(histories)
        row = size * wants_product + state.factors.shape[1] * wants_factors
        capacity = max(8 * members, PENDING_BYTES // (8 * row)) if row else 0
        if "sharpness" in histories:
            capacity = 8 * members  # each takes milliseconds
        numbers = np.zeros((0, 0))
        self.trace = Trace(
            moments=batch.record_steps,
            loss=histories.get("loss", numbers),
            gradient_norm=histories.get("gradient_norm", numbers),
            balancedness=histories.get("balancedness", numbers),
            error=histories.get("error", numbers),
            truths=batch.truths,
            pending_products=np.zeros((capacity * wants_product, size), batch.dtype),
            pending_factors=np.zeros((capacity * wants_factors, state.factors.shape[1]), batch.dtype),
            pending_at=np.zeros((capacity, 2), np.int64),
            pending_count=np.zeros(1, np.int64),
        )

    def descend(self, queue: NDArray[np.int64], budget: int) -> int:
        """Take the runs of a queue some steps further; a budget of 0 only evaluates them."""
        b = self.batch
        taken: int = descend(
            b.problem, b.weights, self.shape, b.state, queue, b.rule, b.ends, self.trace, budget, self.group
        )
        return taken

    def run(self, queue: Queue, should_stop: Callable[[], bool]) -> None:
        """Take runs from the shared queue to their ends, until there are none or it is told to stop."""
        status, members = self.batch.state.status, len(self.group.run)
        mine = np.zeros(0, np.int64)
        budget = FIRST_BUDGET
        try:
            while not should_stop():
                mine = mine[status[mine] == Status.RUNNING]
                if len(mine) < members:
                    mine = np.concatenate([mine, queue.take(members)])
                if len(mine) == 0:
                    return
                started = time.perf_counter()
                taken = self.descend(mine, budget)
                keep_pending(self.batch, self.trace)
                elapsed = time.perf_counter() - started
                if taken >= budget:
                    budget = next_budget(budget, elapsed)
        finally:
            keep_pending(self.batch, self.trace)


def keep_pending(batch: Batch, trace: Any) -> None:
    """Move the pending products and factors of a trace into the histories; safe to interrupt and to repeat."""
    count = int(trace.pending_count[0])
    if count == 0:
        return
    at = (trace.pending_at[:count, 0], trace.pending_at[:count, 1])
    flat = trace.pending_factors[:count]
    products = trace.pending_products[:count].reshape(-1, *batch.architecture.solution_shape)
    factors = batch.architecture.unpack(flat) if flat.size else []
    truths = batch.truths[batch.state.problem[at[0]]] if batch.truths.size else batch.truths
    made = batch.architecture.records(products, factors, truths, batch.histories)
    made |= batch.theory.make(at[0], products, factors)
    for name, values in (made | {"factors": flat}).items():
        if name in batch.histories:
            batch.histories[name][at] = values
    trace.pending_count[0] = 0


def progress_bar(progress: bool | None, runs: int) -> AbstractContextManager[Any]:
    """A bar over runs after the first second; by default only where standard error is a terminal."""
    if progress is False:
        return nullcontext()
    from tqdm import tqdm

    return tqdm(total=runs, unit="run", delay=1, disable=None if progress is None else False, leave=False)
