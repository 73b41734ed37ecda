"""The gradient flow of a diagonal network with weight normalisation, in time and at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow.checks import FloatArray, as_number
from fastflow.dual.normalized import MOST_RATIO, normalized_starts
from fastflow.dual.normalized_flow import LEAST_RTOL, Ends, Followed, follow_normalized
from fastflow.inits import Init
from fastflow.methods.base import Execution
from fastflow.methods.gradient_flow import TOL, GradientFlow
from fastflow.metrics import relative_errors
from fastflow.networks import DiagonalLinear, Hadamard, Network
from fastflow.problems import Problem, VectorProblem
from fastflow.records import Record, recording_at_times
from fastflow.scheduling import Worker
from fastflow.setting import Setting
from fastflow.status import Status


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
    """

    ratio: float = 1.0

    label: ClassVar[str] = "weight-normalization-flow"
    title: ClassVar[str] = "flow with weight normalization"
    networks: ClassVar[tuple[type[Network], ...]] = (DiagonalLinear,)
    is_common: ClassVar[bool] = False
    takes_any_depth: ClassVar[bool] = False

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


class _NormalizedFlow(Execution):
    """The runs of one call, one after the other in the calling thread; those that have not ended are at their start."""

    method: WeightNormalizationFlow
    work_bytes = 1

    def __init__(self, setting: Setting, method: WeightNormalizationFlow) -> None:
        self.times = np.asarray(method.times)
        recording = recording_at_times(setting.record, setting.architecture, self.times, setting.has_truth)
        super().__init__(setting, method, recording)
        to_the_limit = method.tol is None and method.t_max == np.inf
        self.tol = setting.loss_tolerances(0.0 if to_the_limit else method.tol, TOL)

    def admit(self) -> None:
        super().admit()
        self.starts = self.factors.copy()
        self.solution[:] = self.starts**2
        for run, start in enumerate(self.solution):
            normalized_starts(start, len(start))
            self.loss[run] = self._problem(run).loss(start)

    def run(self, threads: int, progress: bool | None) -> None:
        super().run(1, progress)

    def worker(self) -> _NormalizedWorker:
        return _NormalizedWorker(self)

    def follow(self, run: int) -> None:
        """Take a run to its end."""
        method, problem = self.method, self._problem(run)
        matrix, values = np.asarray(problem.matrix, np.float64), np.asarray(problem.values, np.float64)
        tol = float(self.tol[self.setting.problem_index[run]])
        ends = Ends(method.rtol, tol, method.max_steps, problem.weight)
        times = np.append(self.times, method.t_max)
        self._keep(run, follow_normalized(matrix, values, self.solution[run].copy(), method.ratio, times, ends))

    def settle(self) -> None:
        at_start = np.where(self.times == 0, 1.0, np.nan)
        for run in np.flatnonzero(self.status == Status.RUNNING).tolist():
            self._record(run, at_start[:, None] * self.solution[run])

    def _problem(self, run: int) -> VectorProblem:
        return self.setting.problems[int(self.setting.problem_index[run])].of_vector()

    def _keep(self, run: int, followed: Followed) -> None:
        """Set the results and the histories of a run."""
        end = followed.x[-1]
        if not np.isfinite(end).all():  # as far as it came
            reached = followed.x[np.isfinite(followed.x).all(axis=1)]
            end = reached[-1] if len(reached) else self.solution[run]
        self._record(run, followed.x[:-1])
        self.solution[run], self.factors[run] = end, self._factors(run, end)
        self.loss[run] = self._problem(run).loss(end)
        self.status[run], self.steps[run] = followed.status, followed.steps

    def _factors(self, run: int, x: FloatArray) -> FloatArray:
        """The factor of which x (..., n) is the square, with the signs of the start, which the flow keeps."""
        return np.copysign(np.sqrt(x), self.starts[run])

    def _record(self, run: int, products: FloatArray) -> None:
        """Set the histories of a run from its products (times, n); NaN where there are none."""
        reached = np.flatnonzero(np.isfinite(products).all(axis=1))
        if not reached.size:
            return
        products, problem, architecture = products[reached], self._problem(run), self.setting.architecture
        assert isinstance(architecture, Hadamard)
        factors = self._factors(run, products)
        made = {"loss": np.array([problem.loss(x) for x in products])}
        if "gradient_norm" in self.recording.histories:
            slopes = np.array([problem.gradient(x) for x in products])
            made["gradient_norm"] = architecture.gradient_norm(architecture.unpack(factors), slopes)
        if "error" in self.recording.histories:
            index = np.full(len(products), self.setting.problem_index[run])
            made["error"] = relative_errors(products, self.truths, index)
        self.recording.write(run, reached, made)
        self.recording.keep(np.full(len(products), run), reached, products, factors)


class _NormalizedWorker(Worker):
    """Follows one run after the other."""

    def __init__(self, execution: _NormalizedFlow) -> None:
        self.execution = execution

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        self.execution.follow(int(runs[0]))
        return 0

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        return runs[self.execution.status[runs] == Status.RUNNING]
