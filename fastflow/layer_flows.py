"""The runs of one call of `train` that follow the gradient flow of layers: chains, and independent diagonal factors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastflow.architectures import Architecture, Chain, Hadamard
from fastflow.batch import PENDING_BYTES, Batch, Queue, keep_pending
from fastflow.checks import FloatArray
from fastflow.kernels.flow.chebyshev import chebyshev
from fastflow.kernels.flow.dormand_prince import dormand_prince
from fastflow.kernels.flow.layer_flow import FlowEnds, FlowRuns, Methods, flow_memory, layer_flow_slice
from fastflow.kernels.losses.any_loss import as_any_loss
from fastflow.kernels.networks.chain_field import chain_field
from fastflow.kernels.networks.diagonal_field import hadamard_field
from fastflow.kernels.queues import PLACE
from fastflow.kernels.trace import Trace
from fastflow.memory import require_memory
from fastflow.methods import GradientFlow
from fastflow.problems import Problem
from fastflow.records import History, Record, empty_histories
from fastflow.runs import Runs
from fastflow.status import Status
from fastflow.threads import next_budget

FIRST_BUDGET = 1000
"""Gradient evaluations of the first slice."""

AT_REST = (Status.CONVERGED, Status.CRITICAL, Status.STALLED)
"""Ends after which the flow is where it was."""


class LayerFlows(Batch):
    """All runs of one call, as `Batch` has them, by `kernels.flow.layer_flow`.

    Parameters
    ----------
    problems : list of problems of one class and shape
    title : one of the problems in words
    architecture : Chain, or Hadamard with independent factors
    method : GradientFlow
    starts : which starts each problem has
    record : Record or None, at the method's times
    """

    def __init__(
        self,
        problems: Sequence[Any],
        title: str,
        architecture: Architecture,
        method: GradientFlow,
        starts: Sequence[int],
        record: Record | None,
    ) -> None:
        runs, parameters = len(problems) * len(starts), architecture.parameter_count
        size = int(np.prod(architecture.solution_shape))
        first: Problem = problems[0]
        has_truth, dtype = first.truth is not None, np.dtype(np.float64)
        self.times: FloatArray = np.asarray(method.times)
        shapes: dict[str, tuple[int, ...]] = {}
        if self.times.size:
            record = Record(product=True) if record is None else record
            shapes = record.shapes(architecture, has_truth=has_truth)
        entries = sum(int(np.prod(shape)) for shape in shapes.values())
        needed = 8 * runs * (parameters + size + self.times.size * entries)
        require_memory(needed, f"the results of {runs} runs", "take fewer runs, or record less")
        self.problems, self.architecture, self.dtype, self.flow = problems, architecture, dtype, method
        self.problem = as_any_loss(first.kernel_data(problems, dtype), size)
        self.weights = np.array([p.weight for p in problems], np.float64)
        self.truths = np.array([np.ravel(p.truth) for p in problems] if has_truth else np.zeros((0, 0)), dtype)
        self.run_index = np.tile(np.asarray(starts, np.int64), len(problems))
        integers = [np.zeros(runs, np.int64) for _ in range(3)]
        self.state: Any = FlowRuns(
            factors=np.zeros((runs, parameters)),
            solution=np.zeros((runs, size)),
            loss=np.full(runs, np.nan),
            status=np.full(runs, Status.RUNNING, np.int64),
            steps=integers[0],
            recorded=integers[1],
            problem=np.repeat(np.arange(len(problems)), len(starts)),
            time=np.zeros(runs),
            rate=np.zeros(runs),
            evaluations=integers[2],
        )
        gradient_tol = -1.0 if method.gradient_tol is None else method.gradient_tol
        atol = 0.0 if method.atol is None else method.atol
        # The product of many factors that err alike errs more than they do.
        rtol = method.rtol * min(1.0, 3 / architecture.factors_multiplied)
        self.flow_ends = FlowEnds(method.t_max, method.tol, gradient_tol, method.max_steps, rtol, atol)
        self.histories = empty_histories(shapes, runs, self.times.size, dtype)
        self.seconds, self.threads, self.flops, self.flops_per_step = 0.0, 1, 0.0, 0
        self.description = {
            "problem": (f"{len(problems)} x " if len(problems) > 1 else "") + title,
            "network": architecture.network,
            "method": repr(method),
            "dtype": "float64",
        }

    def worker(self) -> Any:
        return _Worker(self)

    def compile(self) -> None:
        self.worker().advance(np.zeros(0, np.int64), 1)

    def finish(self) -> Runs:
        state, histories = self.state, self.histories
        waiting = np.flatnonzero((state.status == Status.RUNNING) & ~np.isfinite(state.loss))
        if waiting.size:
            worker = self.worker()
            for run in waiting:
                worker.evaluate(run)
        for run in np.flatnonzero(np.isin(state.status, AT_REST)):
            recorded = state.recorded[run]
            if 0 < recorded < self.times.size:
                for values in histories.values():
                    values[run, recorded:] = values[run, recorded - 1]
        history = None
        if self.times.size:
            kept: dict[str, Any] = dict(histories)
            if "factors" in kept:
                kept["factors"] = self.architecture.unpack(kept["factors"])
            history = History(times=self.times, **kept)
        return self.results(np.full(len(state.loss), np.nan), history)


class _Worker:
    """One thread's memory, and its kernel calls."""

    def __init__(self, batch: LayerFlows) -> None:
        self.batch = batch
        architecture, state, histories = batch.architecture, batch.state, batch.histories
        like = state.factors[0]
        if isinstance(architecture, Chain):
            self.field: Any = chain_field(batch.problem, batch.weights, architecture.widths, like)
        else:
            assert isinstance(architecture, Hadamard)
            form = (architecture.depth, architecture.signed, architecture.identical)
            self.field = hadamard_field(batch.problem, batch.weights, architecture.size, form, like)
        self.memory, self.methods = flow_memory(like.size), Methods(dormand_prince(), chebyshev())
        size, parameters = state.solution.shape[1], like.size
        wants_product = not set(architecture.of_products).isdisjoint(histories)
        wants_factors = not set(architecture.of_factors).isdisjoint(histories)
        row = size * wants_product + parameters * wants_factors
        # Room for all times of a run, so that a step always finds it, and more where that is little.
        capacity = max(2 * batch.times.size + 2, PENDING_BYTES // (8 * row)) if row else 0
        numbers = np.zeros((0, 0))
        self.trace = Trace(
            moments=batch.times,
            loss=histories.get("loss", numbers),
            gradient_norm=histories.get("gradient_norm", numbers),
            balancedness=histories.get("balancedness", numbers),
            error=histories.get("error", numbers),
            truths=batch.truths,
            pending_products=np.zeros((capacity * wants_product, size)),
            pending_factors=np.zeros((capacity * wants_factors, parameters)),
            pending_at=np.zeros((capacity, 2), np.int64),
            pending_count=np.zeros(1, np.int64),
        )

    def advance(self, queue: NDArray[np.int64], budget: int) -> int:
        """Take the runs of a queue further by so many evaluations."""
        b = self.batch
        spent: int = layer_flow_slice(
            self.field, self.methods, b.state, queue, b.flow_ends, self.trace, budget, self.memory
        )
        return spent

    def evaluate(self, run: int) -> None:
        """The loss and the solution of a run that has not begun."""
        self.advance(np.array([run]), 1)
        self.memory = flow_memory(self.batch.state.factors.shape[1])

    def run(self, queue: Queue, should_stop: Callable[[], bool]) -> None:
        """Take runs from the shared queue to their ends, until there are none or it is told to stop."""
        budget, mine = FIRST_BUDGET, np.zeros(0, np.int64)
        try:
            while not should_stop():
                if self.memory.at[PLACE] == len(mine):
                    mine = queue.take(1)
                    self.memory.at[PLACE] = 0
                    if len(mine) == 0:
                        return
                started = time.perf_counter()
                spent = self.advance(mine, budget)
                keep_pending(self.batch, self.trace)
                elapsed = time.perf_counter() - started
                if spent >= budget:
                    budget = next_budget(budget, elapsed)
        finally:
            keep_pending(self.batch, self.trace)
