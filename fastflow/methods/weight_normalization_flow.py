"""The gradient flow of a diagonal network with weight normalisation, in time and at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike

from fastflow.checks import FloatArray, as_number
from fastflow.dual.normalized import MOST_RATIO, normalized_starts
from fastflow.dual.normalized_flow import LEAST_RTOL, Ends, Followed, follow_normalized
from fastflow.inits import Init
from fastflow.methods.base import Execution
from fastflow.methods.gradient_flow import TOL, GradientFlow
from fastflow.methods.one_by_one import OneByOne
from fastflow.networks import DiagonalLinear, Hadamard, Network
from fastflow.problems import Problem, VectorProblem
from fastflow.records import Record
from fastflow.setting import Setting


@dataclass(frozen=True, eq=False, repr=False)
class WeightNormalizationFlow(GradientFlow):
    """The flow that small steps of `WeightNormalization` follow, of ``x = w o w``, by its dual: `normalized_flow`.

    Parameters
    ----------
    times : array (times,), when the history is recorded
    t_max : float > 0
        A run ends at this time; infinity, the default, is the limit, which Newton's method finds without following the
        flow (`normalized_limit`).
    rtol : float >= 1e-12, for the error of an entry of x, relative to itself
    atol : None, as there is none
    tol : None or float >= 0
        The loss at which a run ends; None takes 1e-20 times the loss of the product 0 on the way to a ``t_max``, and
        none on the way to the limit.
    max_steps : int >= 1, of the integrator
    gradient_tol : None, as there is none
    ratio : float from 1e-9 to 1e9, what the rate of u is of that of r

    Notes
    -----
    From ``||u|| = 1``, which the flow conserves, for ``DiagonalLinear(2, signed=False)``. A start has entries of 0 or
    from 1e-12 to 1e3 in size. The limit minimises ``s KL(x/s || x_0/s_0) + ratio/2 (s - s_0)^2``, ``s = sum x``, over
    what fits: a large ratio finds nearly the least l1 norm from starts with ``s_0`` below it.

    H.-H. Chou, H. Rauhut, R. Ward, Robust implicit regularization via weight normalization, arXiv:2305.05448.

    Examples
    --------
    >>> method = ff.WeightNormalizationFlow(ratio=30.0)
    """

    ratio: float = 1.0

    label: ClassVar[str] = "weight-normalization-flow"
    title: ClassVar[str] = "flow with weight normalization"
    networks: ClassVar[tuple[type[Network], ...]] = (DiagonalLinear,)
    is_common: ClassVar[bool] = False
    takes_any_depth: ClassVar[bool] = False
    takes_operators: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rtol < LEAST_RTOL:
            raise ValueError(f"rtol must be at least {LEAST_RTOL:g}, got {self.rtol:g}")
        for name in ("atol", "gradient_tol"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} does not apply to the flow of the dual: leave it out")
        ratio = as_number("ratio", self.ratio, least=1 / MOST_RATIO)
        if ratio > MOST_RATIO:
            raise ValueError(f"ratio must be at most {MOST_RATIO:g}, got {ratio:g}")
        object.__setattr__(self, "ratio", ratio)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, ratio={self.ratio:g})"

    def check(
        self,
        network: Network,
        init: Init | None = None,
        record: Record | None = None,
        dtype: DTypeLike = np.float64,
        problem: Problem | None = None,
    ) -> None:
        super().check(network, init, record, dtype, problem)
        if network != DiagonalLinear(2, signed=False):
            raise ValueError(
                f"{type(self).__name__} is that of x = w o w, DiagonalLinear(2, signed=False), got {network}: "
                "WeightNormalization takes all diagonal networks"
            )

    def begin(self, setting: Setting) -> Execution:
        return _NormalizedFlow(setting, self)


class _NormalizedFlow(OneByOne):
    """The runs of one call."""

    method: WeightNormalizationFlow

    def __init__(self, setting: Setting, method: WeightNormalizationFlow) -> None:
        super().__init__(setting, method)
        to_the_limit = method.tol is None and method.t_max == np.inf
        self.tol = setting.loss_tolerances(0.0 if to_the_limit else method.tol, TOL)

    def admit(self) -> None:
        super().admit()
        self.starts = self.factors.copy()
        self.solution[:] = self.starts**2
        for run, start in enumerate(self.solution):
            normalized_starts(start, len(start))
            self.loss[run] = self.loss_at(run, start)

    def follow(self, run: int) -> None:
        """Take a run to its end."""
        method, problem = self.method, self._problem(run)
        matrix, values = np.asarray(problem.matrix, np.float64), np.asarray(problem.values, np.float64)
        tol = float(self.tol[self.setting.problem_index[run]])
        ends = Ends(method.rtol, tol, method.max_steps, problem.weight)
        times = np.append(self.times, method.t_max)
        self._keep(run, follow_normalized(matrix, values, self.solution[run].copy(), method.ratio, times, ends))

    def _problem(self, run: int) -> VectorProblem:
        return self.setting.problems[int(self.setting.problem_index[run])].of_vector()

    def _keep(self, run: int, followed: Followed) -> None:
        """Set the results and the histories of a run."""
        end = followed.x[-1]
        if not np.isfinite(end).all():  # as far as it came
            reached = followed.x[np.isfinite(followed.x).all(axis=1)]
            end = reached[-1] if len(reached) else self.solution[run]
        self.record(run, followed.x[:-1])
        self.solution[run], self.factors[run] = end, self.factors_of(run, end)
        self.loss[run] = self.loss_at(run, end)
        self.status[run], self.steps[run] = followed.status, followed.steps

    def factors_of(self, run: int, products: FloatArray) -> FloatArray:
        """The factor of which x is the square, with the signs of the start, which the flow keeps."""
        return np.copysign(np.sqrt(products), self.starts[run])

    def loss_at(self, run: int, product: FloatArray) -> float:
        return self._problem(run).loss(product)

    def slope_at(self, run: int, product: FloatArray) -> FloatArray:
        return self._problem(run).gradient(product)

    def gradient_norms(self, run: int, products: FloatArray, slopes: FloatArray) -> FloatArray:
        architecture = self.setting.architecture
        assert isinstance(architecture, Hadamard)
        return architecture.gradient_norm(architecture.unpack(self.factors_of(run, products)), slopes)
