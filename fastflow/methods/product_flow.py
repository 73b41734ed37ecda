"""The flow of the product of a balanced chain: a reference for that of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow.checks import FloatArray
from fastflow.inits import Balanced, Init
from fastflow.methods.base import Execution
from fastflow.methods.gradient_flow import TOL, GradientFlow
from fastflow.methods.product_path import Ends, Followed, ProductPath, check_balanced, follow
from fastflow.metrics import relative_errors
from fastflow.networks import Chain, DeepLinear, Network
from fastflow.problems import MatrixProblem, Problem
from fastflow.records import Record, Source, recording_at_times
from fastflow.scheduling import Worker
from fastflow.setting import Setting
from fastflow.status import Status
from fastflow.theory import metric_inverse


@dataclass(frozen=True, eq=False, repr=False)
class ProductFlow(GradientFlow):
    """The flow of the product W alone, ``dW/dt = -A_W(E)``, that balanced factors have (`theory.metric_inverse`).

    A reference for the flow of the layers of a DeepLinear network, in NumPy: on the matrices of the rank of the start,
    which it keeps exactly, with the sign of the determinant of a square W.

    Parameters
    ----------
    times : array (times,), when the history is recorded
    t_max : float > 0, where a run ends; infinity is where the flow comes to rest
    rtol, atol : float
        Tolerances of the product, ``atol + rtol ||W||``; None for atol takes rtol times the size of the solution.
    tol : None or float >= 0, the loss at which a run ends; None takes 1e-20 times the loss of the product 0
    max_steps : int >= 1, steps of the integrator
    gradient_tol : None or float >= 0, the gradient norm at which a run ends; None is where rounding hides it

    Notes
    -----
    A start that is not balanced is refused: its product has no flow of its own. ``runs.factors`` are balanced factors
    of the product, not the ones that the flow of layers, which turns what is hidden, comes to.

    A step costs 12 gradients by W and as many singular value decompositions of a matrix (rank, rank): a millisecond for
    small ones. Where the flow is stiff for long, steps are implicit, and one costs as many gradients as there are
    unknowns, now and then, and the factorisation of a matrix of that size.
    """

    label: ClassVar[str] = "product-flow"
    title: ClassVar[str] = "flow of the product"
    networks: ClassVar[tuple[type[Network], ...]] = (DeepLinear,)
    elsewhere: ClassVar[str] = "GradientFlow or FlowLimit"

    def check(
        self,
        network: Network,
        init: Init | None = None,
        record: Record | None = None,
        dtype: DTypeLike = np.float64,
        problem: Problem | None = None,
    ) -> None:
        super().check(network, init, record, dtype, problem)
        if problem is None:
            return
        if not problem.has_gradient:
            raise TypeError(
                f"ProductFlow needs a gradient in NumPy, which a {type(problem).__name__} has not: use GradientDescent"
            )
        if init is not None:
            check_balanced(init.of_run(0).draw(network.architecture(problem), np.random.default_rng(0)))

    def begin(self, setting: Setting) -> Execution:
        return _ProductFlow(setting, self)


class _ProductFlow(Execution):
    """The runs of one call, one after the other in the calling thread; those that have not ended are at their start."""

    method: ProductFlow
    work_bytes = 1

    def __init__(self, setting: Setting, method: ProductFlow) -> None:
        self.times = np.asarray(method.times)
        recording = recording_at_times(setting.record, setting.architecture, self.times, setting.has_truth)
        for name in list(recording.shapes):  # what the product does not tell
            if name in ("balancedness", "factors"):
                del recording.shapes[name]
        super().__init__(setting, method, recording)
        assert isinstance(setting.architecture, Chain)
        self.architecture = setting.architecture
        self.tol = setting.loss_tolerances(method.tol, TOL)

    def admit(self) -> None:
        setting = self.setting
        self.paths = [
            ProductPath(setting.problems[int(i)].gradient, self.architecture.unpack(flat))
            for i, flat in zip(setting.problem_index, self.factors, strict=True)
        ]
        for run, path in enumerate(self.paths):
            self._place(run, path.product(path.start))
        super().admit()

    def worker(self) -> _ProductWorker:
        return _ProductWorker(self)

    def run(self, threads: int, progress: bool | None) -> None:
        super().run(1, progress)

    def follow(self, run: int) -> None:
        """Take a run to its end."""
        method, problem = self.method, self._problem(run)
        start = self.solution[run].reshape(self.architecture.solution_shape)
        scale = max(_size(problem), float(np.linalg.norm(start, 2)))
        atol = method.rtol if method.atol is None else method.atol / scale
        tol = float(self.tol[self.setting.problem_index[run]])
        ends = Ends(method.t_max, method.rtol, atol, tol, method.gradient_tol, method.max_steps)
        self._keep(run, follow(self.paths[run], problem.loss, scale, self.times, ends))

    def settle(self) -> None:
        at_start = np.where(self.times == 0, 1.0, np.nan)
        for run in np.flatnonzero(self.status == Status.RUNNING).tolist():
            product = self.solution[run].reshape(self.architecture.solution_shape)
            self._record(run, at_start[:, None, None] * product)

    def _problem(self, run: int) -> MatrixProblem:
        return self.setting.problems[int(self.setting.problem_index[run])].of_matrix()

    def _place(self, run: int, product: FloatArray) -> None:
        self.solution[run] = product.ravel()
        self.loss[run] = self._problem(run).loss(product)

    def _keep(self, run: int, followed: Followed) -> None:
        """Set the results and the histories of a run."""
        path = self.paths[run]
        if followed.status == Status.DIVERGED:
            self.solution[run] = self.loss[run] = self.factors[run] = np.nan
        else:
            self._place(run, path.product(followed.end))
            ends = path.factors(followed.end, self.architecture.widths)
            self.factors[run] = np.concatenate([factor.ravel() for factor in ends])
        self._record(run, followed.products)
        self.status[run], self.steps[run] = followed.status, followed.steps

    def _record(self, run: int, products: FloatArray) -> None:
        """Set the histories of a run from its products (times, d_N, d_0); NaN where there are none."""
        reached = np.flatnonzero(np.isfinite(products).all(axis=(1, 2)))
        if not reached.size:
            return
        products, problem = products[reached], self._problem(run)
        flat = products.reshape(len(products), -1)
        made = {"loss": np.array([problem.loss(product) for product in products])}
        if "gradient_norm" in self.recording.histories:
            slopes = np.array([problem.gradient(product) for product in products])
            moved = metric_inverse(products, slopes, self.paths[run].depth)
            made["gradient_norm"] = np.sqrt(np.maximum(np.sum(slopes * moved, axis=(1, 2)), 0))
        if "error" in self.recording.histories:
            index = np.full(len(products), self.setting.problem_index[run])
            made["error"] = relative_errors(flat, self.truths, index)
        self.recording.write(run, reached, made)
        factors = np.zeros((len(products), 0))
        if self.recording.needs(Source.FACTORS):  # the same of all balanced factors: orthogonal matrices turn them
            factors = np.array([self._balanced(product) for product in products])
        self.recording.keep(np.full(len(products), run), reached, flat, factors)

    def _balanced(self, product: FloatArray) -> FloatArray:
        """Balanced factors of a product, flat."""
        factors = Balanced(product=product).draw(self.architecture, np.random.default_rng())
        return np.concatenate([factor.ravel() for factor in factors])


class _ProductWorker(Worker):
    """Follows one run after the other."""

    def __init__(self, execution: _ProductFlow) -> None:
        self.execution = execution

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        self.execution.follow(int(runs[0]))
        return 0

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        return runs[self.execution.status[runs] == Status.RUNNING]


def _size(problem: MatrixProblem) -> float:
    """The size of the solution that the data point to."""
    return float(np.linalg.norm(problem.expected_solution(min(problem.shape)), 2))
