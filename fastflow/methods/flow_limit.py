"""The limit of the gradient flow of a diagonal network, without following it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow.checks import as_count, as_number
from fastflow.dual import LimitSearch, check_identical
from fastflow.dual.limit import LimitWorker
from fastflow.inits import Init
from fastflow.methods.base import Execution, Method
from fastflow.methods.dual_execution import DualExecution
from fastflow.networks import DiagonalLinear, Network
from fastflow.problems import Problem
from fastflow.records import Record, no_recording
from fastflow.setting import Setting
from fastflow.status import Status


@dataclass(frozen=True)
class FlowLimit(Method):
    """The limit of the gradient flow of a diagonal network, without following it: see `fastflow.flow_limit`.

    Parameters
    ----------
    tol : float > 0; a run has converged when ``||A x - y|| <= tol ||y||``
    max_steps : int >= 1, Newton steps
    """

    tol: float = 1e-10
    max_steps: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "tol", as_number("tol", self.tol, above=0))
        object.__setattr__(self, "max_steps", as_count("max_steps", self.max_steps, 1))

    label: ClassVar[str] = "limit"
    networks: ClassVar[tuple[type[Network], ...]] = (DiagonalLinear,)
    elsewhere: ClassVar[str] = "GradientFlow, as only diagonal networks have a closed-form limit"

    def check(
        self,
        network: Network,
        init: Init | None = None,
        record: Record | None = None,
        dtype: DTypeLike = np.float64,
        problem: Problem | None = None,
    ) -> None:
        super().check(network, init, record, dtype, problem)
        assert isinstance(network, DiagonalLinear)
        check_identical(network.identical, network.depth, type(self).__name__)
        if record is not None:
            raise ValueError("FlowLimit has no history to record: use GradientFlow(times=...) or GradientDescent")

    def begin(self, setting: Setting) -> Execution:
        return _Limits(setting, self)

    def briefest(self) -> FlowLimit:
        return replace(self, max_steps=1)


class _Limits(DualExecution):
    """The runs of one call, by Newton's method on their duals."""

    method: FlowLimit

    def __init__(self, setting: Setting, method: FlowLimit) -> None:
        super().__init__(setting, method, no_recording("steps"))

    def admit(self) -> None:
        super().admit()
        self.search = LimitSearch(self.posed, self.method.tol, self.method.max_steps)

    def compile(self) -> None:
        self.search.compile()

    def worker(self) -> _LimitsWorker:
        return _LimitsWorker(self)

    def keep(self, runs: NDArray[np.int64]) -> None:
        """Set what runs have come to, whose limits have been found."""
        limits = self.search.limits
        lost = limits.status[runs] == Status.DIVERGED
        self.solution[runs] = np.where(lost[:, None], np.nan, limits.x[runs])
        self.place_factors(runs)
        self.steps[runs], self.status[runs] = limits.steps[runs], limits.status[runs]


class _LimitsWorker(LimitWorker):
    """One thread's part of `_Limits`."""

    def __init__(self, execution: _Limits) -> None:
        super().__init__(execution.search)
        self.execution, self.mine = execution, np.zeros(0, np.int64)

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        self.mine = runs
        return super().advance(runs, budget)

    def settle(self) -> None:
        ended = self.search.ended[self.mine]
        self.execution.keep(self.mine[ended & (self.execution.status[self.mine] == Status.RUNNING)])
