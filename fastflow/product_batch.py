"""The runs of one call of `train` that follow the flow of the product."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastflow.architectures import Chain
from fastflow.batch import draw_factors, progress_bar, relative_errors, start_title
from fastflow.checks import FloatArray
from fastflow.inits import Balanced, Init
from fastflow.memory import require_memory
from fastflow.methods import ProductFlow
from fastflow.problems import MatrixProblem
from fastflow.product_flow import Ends, Followed, ProductPath, follow
from fastflow.records import History, Record, empty_histories
from fastflow.runs import Runs
from fastflow.status import Status
from fastflow.theory import metric_inverse
from fastflow.theory_records import TheoryRecords

OF_FACTORS = ("balancedness", "factors")
"""What the product does not tell."""


class ProductBatch:
    """All runs of one call, one after the other in the calling thread.

    Parameters
    ----------
    problems : list of matrix problems of one class and shape
    title : one of the problems in words
    architecture : Chain
    method : ProductFlow
    starts : which starts each problem has
    record : Record or None
    """

    def __init__(
        self,
        problems: Sequence[MatrixProblem],
        title: str,
        architecture: Chain,
        method: ProductFlow,
        starts: Sequence[int],
        record: Record | None,
    ) -> None:
        runs, size = len(problems) * len(starts), math.prod(architecture.solution_shape)
        self.times = np.asarray(method.times)
        self.shapes: dict[str, tuple[int, ...]] = {}
        if self.times.size:
            record = Record(product=True) if record is None else record
            self.shapes = record.shapes(architecture, has_truth=problems[0].truth is not None)
            for name in OF_FACTORS:
                self.shapes.pop(name, None)
        kept = self.times.size * sum(math.prod(shape) for shape in self.shapes.values())
        require_memory(
            8 * runs * (2 * architecture.parameter_count + size + kept),
            f"the results of {runs} runs",
            "take fewer runs, or record less",
        )
        self.problems, self.architecture, self.method = problems, architecture, method
        self.problem_index = np.repeat(np.arange(len(problems)), len(starts))
        self.run_index = np.tile(np.asarray(starts, np.int64), len(problems))
        has_truth = problems[0].truth is not None
        self.truths = np.array(
            [np.asarray(p.truth, np.float64).ravel() for p in problems] if has_truth else np.zeros((0, 0))
        )
        self.factors = np.zeros((runs, architecture.parameter_count))
        self.solution = np.zeros((runs, *architecture.solution_shape))
        self.loss = np.full(runs, np.nan)
        self.status = np.full(runs, Status.RUNNING, np.int64)
        self.steps = np.zeros(runs, np.int64)
        self.histories = empty_histories(self.shapes, runs, self.times.size, np.float64)
        self.seconds = 0.0
        self.description = {
            "problem": (f"{len(problems)} x " if len(problems) > 1 else "") + title,
            "network": architecture.network,
            "method": repr(method),
            "dtype": "float64",
        }

    def draw(self, init: Init, seed: int) -> None:
        """Set the factors of every run to their start.

        Raises
        ------
        ValueError
            for starts that are not balanced
        """
        self.description |= {"seed": str(seed), "init": start_title(init, self.architecture)}
        draw_factors(init, self.architecture, seed, self.problem_index, self.run_index, self.factors)
        self.paths = [
            ProductPath(self.problems[int(i)].gradient, self.architecture.unpack(flat))
            for i, flat in zip(self.problem_index, self.factors, strict=True)
        ]
        for run, path in enumerate(self.paths):
            self._place(run, path.product(path.start))
        self.theory = TheoryRecords(
            self.problems, self.architecture, self.problem_index, self.factors.copy(), self.histories
        )

    def compile(self) -> None:
        """Nothing is compiled."""

    def run(self, threads: int, progress: bool | None) -> None:
        """Take every run to its end, or as far as an exception lets it come."""
        started = time.perf_counter()
        try:
            with progress_bar(progress, len(self.paths)) as bar:
                for run, path in enumerate(self.paths):
                    problem = self.problems[self.problem_index[run]]
                    scale = max(_size(problem), float(np.linalg.norm(self.solution[run], 2)))
                    method = self.method
                    atol = method.rtol if method.atol is None else method.atol / scale
                    ends = Ends(method.t_max, method.rtol, atol, method.tol, method.gradient_tol, method.max_steps)
                    self._keep(run, follow(path, problem.loss, scale, self.times, ends))
                    if bar is not None:
                        bar.update(1)
        finally:
            self.seconds = time.perf_counter() - started

    def finish(self) -> Runs:
        """The results; runs that have not ended are where they started."""
        kept: dict[str, Any] = dict(self.histories)
        flat = self.solution.reshape(len(self.loss), -1)
        return Runs(
            solution=self.solution,
            loss=self.loss,
            status=self.status,
            steps=self.steps,
            error=relative_errors(flat, self.truths, self.problem_index) if self.truths.size else None,
            step=np.full(len(self.loss), np.nan),
            problem_index=self.problem_index,
            run_index=self.run_index,
            architecture=self.architecture,
            history=History(times=self.times, **kept) if self.times.size else None,
            seconds=self.seconds,
            threads=1,
            flops=0.0,
            description=self.description,
            flat_factors=self.factors,
        )

    def _place(self, run: int, product: FloatArray) -> None:
        self.solution[run] = product
        self.loss[run] = self.problems[self.problem_index[run]].loss(product)

    def _keep(self, run: int, followed: Followed) -> None:
        """Set the results and the histories of a run."""
        path = self.paths[run]
        self.status[run], self.steps[run] = followed.status, followed.steps
        if followed.status == Status.DIVERGED:
            self.solution[run] = self.loss[run] = self.factors[run] = np.nan
        else:
            self._place(run, path.product(followed.end))
            ends = path.factors(followed.end, self.architecture.widths)
            self.factors[run] = np.concatenate([factor.ravel() for factor in ends])
        reached = np.isfinite(followed.products).all(axis=(1, 2))
        if not reached.any():
            return
        products, index = followed.products[reached], self.problem_index[run]
        problem = self.problems[index]
        made = self.architecture.records(products, [], products, self.histories)
        factors: list[FloatArray] = []
        if "sharpness" in self.histories:  # the same at all balanced factors, which are turned by orthogonal matrices
            balanced = [_balanced(product, self.architecture.widths) for product in products]
            factors = [np.array(stack) for stack in zip(*balanced, strict=True)]
        made |= self.theory.make(np.full(len(products), run), products, factors)
        made["loss"] = np.array([problem.loss(product) for product in products])
        if "gradient_norm" in self.histories:
            slopes = np.array([problem.gradient(product) for product in products])
            moved = metric_inverse(products, slopes, path.depth)
            made["gradient_norm"] = np.sqrt(np.maximum(np.sum(slopes * moved, axis=(1, 2)), 0))
        if "error" in self.histories:
            flat = products.reshape(len(products), -1)
            made["error"] = relative_errors(flat, self.truths, np.full(len(products), index))
        for name, values in made.items():
            if name in self.histories:
                self.histories[name][run, reached] = values


def _balanced(product: FloatArray, widths: tuple[int, ...]) -> list[FloatArray]:
    """Balanced factors of a product."""
    return Balanced(product=product).factors(widths, np.random.default_rng())


def _size(problem: MatrixProblem) -> float:
    """The size of the solution that the data point to."""
    return float(np.linalg.norm(problem.expected_solution(min(problem.shape)), 2))
