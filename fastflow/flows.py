"""Flows: the runs of one call of `train` that follow the gradient flow of a DiagonalLinear network, or take its limit.

Both see a network as ``x = u^L - v^L`` (`flow_limit`, `gradient_flow`). Two independent factors are that, too, in
other coordinates: ``p = (u_1 + u_2)/2`` and ``q = (u_1 - u_2)/2`` follow ``p' = -g p``, ``q' = +g q``, and
``u_1 u_2 = p^2 - q^2``; what grows alike adds up, ``p^2 + s^2`` and ``q^2 + r^2`` with r and s the same halves of v.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastflow.architectures import Architecture, Hadamard
from fastflow.batch import draw_factors, progress_bar, relative_errors, start_title
from fastflow.checks import FloatArray
from fastflow.flow_limit import flow_limit
from fastflow.gradient_flow import gradient_flow
from fastflow.inits import Init
from fastflow.layer_flows import LayerFlows
from fastflow.memory import require_memory
from fastflow.methods import FlowLimit, GradientFlow
from fastflow.problems import CompressedSensing
from fastflow.records import History, Record, empty_histories
from fastflow.runs import Runs
from fastflow.stacks import allowed_starts, wrong_starts
from fastflow.status import Status
from fastflow.theory_records import TheoryRecords

BLOCK_SECONDS = 0.5
NEWTON_STEPS = 12
"""More than enough for the last bit from where `vectors_at` starts."""


class FlowBatch(ABC):
    """All runs of one call, taken to their ends in blocks, so that an interrupt loses no more than one.

    Parameters
    ----------
    problems : list of CompressedSensing of one shape
    title : one of the problems in words
    architecture : Hadamard, with identical factors or with two
    method : FlowLimit or GradientFlow
    starts : which starts each problem has
    """

    def __init__(
        self,
        problems: Sequence[CompressedSensing],
        title: str,
        architecture: Hadamard,
        method: FlowLimit | GradientFlow,
        starts: Sequence[int],
    ) -> None:
        if len({p.matrix.shape for p in problems}) > 1:
            raise ValueError("problems in one list must have the same number of measurements")
        runs, n = len(problems) * len(starts), architecture.size
        require_memory(
            8 * runs * (2 * architecture.parameter_count + 3 * n) + self.history_bytes(runs, architecture),
            f"the results of {runs} runs",
            "take fewer runs, or record less",
        )
        self.architecture, self.method, self.problems = architecture, method, problems
        self.matrices = np.array([p.matrix for p in problems], np.float64)
        self.values = np.array([p.values for p in problems], np.float64)
        self.weights = np.array([p.weight for p in problems])
        self.problem_index = np.repeat(np.arange(len(problems)), len(starts))
        self.run_index = np.tile(np.asarray(starts, np.int64), len(problems))
        self.truths = np.array([p.truth for p in problems] if problems[0].truth is not None else np.zeros((0, n)))
        self.factors = np.zeros((runs, architecture.parameter_count))
        self.x = np.zeros((runs, n))
        self.loss = np.full(runs, np.nan)
        self.status = np.full(runs, Status.RUNNING, np.int64)
        self.steps = np.zeros(runs, np.int64)
        self.threads, self.seconds = 1, 0.0
        self.description = {
            "problem": (f"{len(problems)} x " if len(problems) > 1 else "") + title,
            "network": architecture.network,
            "method": repr(method),
            "dtype": "float64",
        }

    @abstractmethod
    def compile(self) -> None:
        """Compile the kernels, or load them, in this thread, where Ctrl-C is heard."""

    @abstractmethod
    def solve(self, block: slice) -> None:
        """Take a block of runs to their ends: x, status, steps."""

    def history_bytes(self, runs: int, architecture: Hadamard) -> int:
        """Bytes that the histories will take."""
        return 0

    def history(self) -> History | None:
        """What was recorded."""
        return None

    def draw(self, init: Init, seed: int) -> None:
        """Set the factors of every run to their start.

        Raises
        ------
        ValueError
            for starts that no flow of the form ``x = u^L - v^L`` has
        """
        self.description |= {"seed": str(seed), "init": start_title(init, self.architecture)}
        draw_factors(init, self.architecture, seed, self.problem_index, self.run_index, self.factors)
        self.ends = self.factors.copy()
        self.positive, self.negative = as_two_vectors(self.architecture, self.architecture.unpack(self.factors))
        depth, identical = self.architecture.depth, self.architecture.identical or self.architecture.depth == 1
        starts = [self.positive] if self.negative is None else [self.positive, self.negative]
        wrong = wrong_starts(np.concatenate(starts, axis=None), depth)
        if wrong.size:
            whose = "u and v" if identical else "of (u_1 + u_2)/2 and (u_1 - u_2)/2"
            raise ValueError(
                f"{type(self.method).__name__} needs starts {whose} that are {allowed_starts(depth)}; got "
                f"{wrong[0]:g}: GradientDescent takes any start"
            )
        self.x[:] = self.positive**self.architecture.depth
        if self.negative is not None:
            self.x -= self.negative**self.architecture.depth

    def run(self, threads: int, progress: bool | None) -> None:
        """Take every run to its end, or as far as an exception lets it come."""
        runs, first = len(self.x), 0
        self.threads = threads = min(threads, runs)
        size = threads
        started = time.perf_counter()
        try:
            with progress_bar(progress, runs) as bar:
                while first < runs:
                    began = time.perf_counter()
                    block = slice(first, min(first + size, runs))
                    self.solve(block)
                    start = self.architecture.unpack(self.factors[block])
                    self.ends[block] = np.concatenate(factors_at(self.architecture, start, self.x[block]), axis=1)
                    first = block.stop
                    size = max(threads, int(size * min(8.0, BLOCK_SECONDS / (time.perf_counter() - began))))
                    if bar is not None:
                        bar.update(first - bar.n)
        finally:
            self.seconds = time.perf_counter() - started

    def finish(self) -> Runs:
        """The results; runs that have not ended are where they started."""
        for run, i in enumerate(self.problem_index):
            residual = np.einsum("mn,n->m", self.matrices[i], self.x[run]) - self.values[i]
            self.loss[run] = 0.5 * self.weights[i] * np.sum(residual**2)
        return Runs(
            solution=self.x,
            loss=self.loss,
            status=self.status,
            steps=self.steps,
            error=relative_errors(self.x, self.truths, self.problem_index) if len(self.truths) else None,
            step=np.full(len(self.x), np.nan),
            problem_index=self.problem_index,
            run_index=self.run_index,
            architecture=self.architecture,
            history=self.history(),
            seconds=self.seconds,
            threads=self.threads,
            flops=0.0,
            description=self.description,
            flat_factors=self.ends,
        )

    def arguments(self, block: slice, weights: FloatArray) -> dict[str, Any]:
        """What the functions of stacks of arrays are told; A and y times the square roots of weights (problems,)."""
        one = len(self.problems) == 1
        roots = np.sqrt(weights[0] if one else weights[self.problem_index[block]])
        which: Any = 0 if one else self.problem_index[block]
        return {
            "matrix": self.matrices[which] * roots[..., None, None],
            "values": self.values[which] * roots[..., None],
            "alpha": self.positive[block],
            "depth": self.architecture.depth,
            "signed": self.negative is not None,
            "negative": None if self.negative is None else self.negative[block],
            "threads": self.threads,
        }


class LimitBatch(FlowBatch):
    """Runs by `FlowLimit`."""

    method: FlowLimit

    def compile(self) -> None:
        flow_limit([[1.0]], [1.0], 1.0, threads=1)

    def solve(self, block: slice) -> None:
        limits = flow_limit(
            **self.arguments(block, np.ones_like(self.weights)), tol=self.method.tol, max_steps=self.method.max_steps
        )
        lost = limits.status == Status.DIVERGED
        self.x[block], self.steps[block] = np.where(lost[:, None], np.nan, limits.x), limits.steps
        self.status[block] = limits.status


class TimedBatch(FlowBatch):
    """Runs by `GradientFlow`; histories by a `Record`, at the method's times."""

    method: GradientFlow

    def __init__(
        self,
        problems: Sequence[CompressedSensing],
        title: str,
        architecture: Hadamard,
        method: GradientFlow,
        starts: Sequence[int],
        record: Record | None,
    ) -> None:
        self.times = np.asarray(method.times)
        self.shapes = {}
        if self.times.size:
            record = Record(product=True) if record is None else record
            self.shapes = record.shapes(architecture, has_truth=problems[0].truth is not None)
        super().__init__(problems, title, architecture, method, starts)
        self.histories = empty_histories(self.shapes, len(self.x), self.times.size, np.float64)

    def draw(self, init: Init, seed: int) -> None:
        super().draw(init, seed)
        self.theory = TheoryRecords(
            self.problems, self.architecture, self.problem_index, self.factors.copy(), self.histories
        )

    def compile(self) -> None:
        gradient_flow([[1.0]], [1.0], 1.0, [1.0], threads=1)

    def history_bytes(self, runs: int, architecture: Hadamard) -> int:
        entries = sum(int(np.prod(shape)) for shape in self.shapes.values())
        return 8 * runs * self.times.size * (entries + architecture.size)

    def history(self) -> History | None:
        if not self.times.size:
            return None
        kept: dict[str, Any] = dict(self.histories)
        if "factors" in kept:
            kept["factors"] = self.architecture.unpack(kept["factors"])
        return History(times=self.times, **kept)

    def solve(self, block: slice) -> None:
        method = self.method
        flow = gradient_flow(
            **self.arguments(block, self.weights),
            times=np.append(self.times, method.t_max),
            rtol=method.rtol,
            atol=method.atol,
            tol=method.tol,
            max_steps=method.max_steps,
        )
        for run, products in zip(range(block.start, block.stop), flow.x, strict=True):
            reached = np.flatnonzero(np.isfinite(products).all(axis=1))
            if reached.size:
                self.x[run] = products[reached[-1]]
            if flow.status[run - block.start] == Status.DIVERGED:
                self.x[run] = np.nan
            self._record(run, products[: self.times.size], flow.loss[run - block.start])
        self.status[block], self.steps[block] = flow.status, flow.steps

    def _record(self, run: int, products: FloatArray, loss: FloatArray) -> None:
        """Set the histories of a run from its products (times, n); NaN where there are none."""
        reached = np.isfinite(products).all(axis=1)
        if not reached.any():
            return
        products = products[reached]
        start = [vector[run] for vector in self.architecture.unpack(self.factors)]
        factors = factors_at(self.architecture, start, products)
        truths = np.broadcast_to(self.truths[self.problem_index[run]], products.shape) if len(self.truths) else products
        made = self.architecture.records(products, factors, truths, self.histories)
        made |= {"loss": loss[: reached.size][reached], "factors": np.concatenate(factors, axis=1)}
        if "gradient_norm" in self.histories:
            gradient = self.problems[self.problem_index[run]].gradient
            g = np.array([gradient(x) for x in products])
            made["gradient_norm"] = self.architecture.gradient_norm(factors, g)
        if "balancedness" in self.histories:
            made["balancedness"] = self.architecture.balancedness(factors)
        if "error" in self.histories:
            made["error"] = relative_errors(products, truths, np.arange(len(products)))
        made |= self.theory.make(np.full(len(products), run), products, factors)
        for name, values in made.items():
            if name in self.histories:
                self.histories[name][run, reached] = values


def flow_batch(
    problems: Sequence[Any],
    title: str,
    architecture: Architecture,
    method: FlowLimit | GradientFlow,
    starts: Sequence[int],
    record: Record | None,
) -> FlowBatch | LayerFlows:
    """The batch that a method and an architecture need."""
    if isinstance(method, FlowLimit):
        assert isinstance(architecture, Hadamard)
        return LimitBatch(problems, title, architecture, method, starts)
    if isinstance(architecture, Hadamard) and (architecture.identical or architecture.depth <= 2):
        if method.gradient_tol is not None:
            raise ValueError("gradient_tol does not apply to a flow that is integrated by its dual: leave it out")
        return TimedBatch(problems, title, architecture, method, starts, record)
    return LayerFlows(problems, title, architecture, method, starts, record)


def as_two_vectors(form: Hadamard, factors: list[FloatArray]) -> tuple[FloatArray, FloatArray | None]:
    """Starts (..., n) of u and v with ``x = u^L - v^L`` for the flow of these factors; None for v if x is ``u^L``."""
    if form.identical or form.depth == 1:
        return factors[0], factors[1] if form.signed else None
    p, q = _halves(factors[:2])
    if not form.signed:
        return np.abs(p), np.abs(q)
    r, s = _halves(factors[2:])
    return np.hypot(p, s), np.hypot(q, r)


def factors_at(form: Hadamard, start: list[FloatArray], x: FloatArray) -> list[FloatArray]:
    """The factors to which the flow from a start has come when the product is x, all (..., n)."""
    positive, negative = as_two_vectors(form, start)
    u, v = vectors_at(form.depth, positive, negative, x)
    if form.identical or form.depth == 1:
        return [u, v] if form.signed else [u]
    assert negative is not None
    up, down = u / np.where(positive > 0, positive, 1), v / np.where(negative > 0, negative, 1)
    p, q = _halves(start[:2])
    factors: list[FloatArray] = [up * p + down * q, up * p - down * q]
    if form.signed:
        r, s = _halves(start[2:])
        factors += [down * r + up * s, down * r - up * s]
    return factors


def vectors_at(
    depth: int, positive: FloatArray, negative: FloatArray | None, x: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """u and v with ``u^L - v^L = x`` to which the flow from these starts comes; v is 0 if negative is None.

    A start of 0 stays 0 for L >= 2. Else the flow conserves ``u + v`` (L = 1), ``u v`` (L = 2), ``u^{2-L} + v^{2-L}``
    (L >= 3).
    """
    if negative is None:
        return (x if depth == 1 else np.maximum(x, 0) ** (1 / depth)), np.zeros_like(x)
    if depth == 1:
        return (positive + negative + x) / 2, (positive + negative - x) / 2
    two = (positive > 0) & (negative > 0)
    positive_side, negative_side = positive > 0, negative > 0
    positive, other = np.where(two, positive, 1.0), np.where(two, negative, 1.0)
    if depth == 2:
        conserved = positive * other
        larger = np.sqrt((abs(x) + np.hypot(x, 2 * conserved)) / 2)
        smaller = conserved / larger
    else:
        # With k^{2-L} what is conserved, u^{L-2} = k^{L-2} (1 + e^{2t}) and v^{L-2} = k^{L-2} (1 + e^{-2t}), so that
        # |x| = k^L 2^{P+1} cosh(t)^P sinh(P t), P = L/(L-2): by Newton on asinh, from above.
        power = depth / (depth - 2)
        k = (positive ** (2.0 - depth) + other ** (2.0 - depth)) ** (-1 / (depth - 2))
        size = np.abs(x) / k**depth / 2 ** (power + 1)
        goal = np.arcsinh(size)
        t = np.minimum(goal / power, np.log1p(2 * size) / (2 * power) + np.log(2) / 2)
        for _ in range(NEWTON_STEPS):
            reached = np.cosh(t) ** power * np.sinh(power * t)
            slope = power * np.cosh(t) ** (power - 1) * np.cosh((power + 1) * t) / np.hypot(1, reached)
            change = (np.arcsinh(reached) - goal) / slope
            t = np.maximum(t - change, 0)
            if np.all(np.abs(change) <= 1e-8 * t):  # the next change would be its square
                break
        larger, smaller = (k * (1 + np.exp(sign * 2 * t)) ** (1 / (depth - 2)) for sign in (1, -1))
    alone = abs(x) ** (1 / depth)
    return (
        np.where(two, np.where(x >= 0, larger, smaller), np.where(positive_side & (x > 0), alone, 0.0)),
        np.where(two, np.where(x >= 0, smaller, larger), np.where(negative_side & (x < 0), alone, 0.0)),
    )


def _halves(factors: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    first, second = factors
    return (first + second) / 2, (first - second) / 2
