"""The flow of the product of a balanced chain: a reference for that of layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from fastflow.checks import FloatArray
from fastflow.inits import Balanced, Init
from fastflow.methods.base import Execution
from fastflow.methods.gradient_flow import TOL, GradientFlow
from fastflow.methods.one_by_one import OneByOne
from fastflow.methods.product_path import Ends, Followed, ProductPath, check_balanced, follow
from fastflow.networks import Chain, DeepLinear, Network
from fastflow.problems import MatrixProblem, Problem
from fastflow.records import Record, Source
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

    Examples
    --------
    >>> method = ff.ProductFlow(times=[1.0, 10.0])
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


class _ProductFlow(OneByOne):
    """The runs of one call."""

    method: ProductFlow

    def __init__(self, setting: Setting, method: ProductFlow) -> None:
        super().__init__(setting, method, untold=("balancedness", "factors"))
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

    def follow(self, run: int) -> None:
        """Take a run to its end."""
        method, problem = self.method, self._problem(run)
        start = self.solution[run].reshape(self.architecture.solution_shape)
        scale = max(_size(problem), float(np.linalg.norm(start, 2)))
        atol = method.rtol if method.atol is None else method.atol / scale
        tol = float(self.tol[self.setting.problem_index[run]])
        ends = Ends(method.t_max, method.rtol, atol, tol, method.gradient_tol, method.max_steps)
        self._keep(run, follow(self.paths[run], problem.loss, scale, self.times, ends))

    def _problem(self, run: int) -> MatrixProblem:
        return self.setting.problems[int(self.setting.problem_index[run])].of_matrix()

    def _place(self, run: int, product: FloatArray) -> None:
        self.solution[run] = product.ravel()
        self.loss[run] = self.loss_at(run, product)

    def _keep(self, run: int, followed: Followed) -> None:
        """Set the results and the histories of a run."""
        path = self.paths[run]
        if followed.status == Status.DIVERGED:
            self.solution[run] = self.loss[run] = self.factors[run] = np.nan
        else:
            self._place(run, path.product(followed.end))
            ends = path.factors(followed.end, self.architecture.widths)
            self.factors[run] = np.concatenate([factor.ravel() for factor in ends])
        self.record(run, followed.products)
        self.status[run], self.steps[run] = followed.status, followed.steps

    def loss_at(self, run: int, product: FloatArray) -> float:
        return self._problem(run).loss(product)

    def slope_at(self, run: int, product: FloatArray) -> FloatArray:
        return self._problem(run).gradient(product)

    def gradient_norms(self, run: int, products: FloatArray, slopes: FloatArray) -> FloatArray:
        moved = metric_inverse(products, slopes, self.paths[run].depth)
        norms: FloatArray = np.sqrt(np.maximum(np.sum(slopes * moved, axis=(1, 2)), 0))
        return norms

    def factors_of(self, run: int, products: FloatArray) -> FloatArray:
        if not self.recording.needs(Source.FACTORS):
            return np.zeros((len(products), 0))
        # Of all balanced factors the records say the same: orthogonal matrices turn them.
        return np.array([self._balanced(product) for product in products])

    def _balanced(self, product: FloatArray) -> FloatArray:
        """Balanced factors of a product, flat."""
        factors = Balanced(product=product).draw(self.architecture, np.random.default_rng())
        return np.concatenate([factor.ravel() for factor in factors])


def _size(problem: MatrixProblem) -> float:
    """The size of the solution that the data point to."""
    return float(np.linalg.norm(problem.expected_solution(min(problem.shape)), 2))
