"""Flows whose runs NumPy follows: one after the other, in the calling thread."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray
from fastflow.methods.base import Execution
from fastflow.methods.gradient_flow import GradientFlow
from fastflow.metrics import relative_errors
from fastflow.records import recording_at_times
from fastflow.scheduling import Worker
from fastflow.setting import Setting
from fastflow.status import Status


class OneByOne(Execution):
    """The runs of one call; those that have not ended are at their start.

    Parameters
    ----------
    setting : Setting
    method : GradientFlow
    untold : names of quantities of the record that the flow does not tell
    """

    method: GradientFlow
    work_bytes = 1

    def __init__(self, setting: Setting, method: GradientFlow, untold: tuple[str, ...] = ()) -> None:
        self.times = np.asarray(method.times)
        recording = recording_at_times(setting.record, setting.architecture, self.times, setting.has_truth)
        for name in untold:
            recording.shapes.pop(name, None)
        super().__init__(setting, method, recording)

    @abstractmethod
    def follow(self, run: int) -> None:
        """Take a run to its end."""

    @abstractmethod
    def loss_at(self, run: int, product: FloatArray) -> float:
        """The loss of a run's problem."""

    @abstractmethod
    def slope_at(self, run: int, product: FloatArray) -> FloatArray:
        """The gradient of that loss."""

    @abstractmethod
    def gradient_norms(self, run: int, products: FloatArray, slopes: FloatArray) -> FloatArray:
        """The norm of the gradient by the factors, of products and their slopes (times, ...)."""

    @abstractmethod
    def factors_of(self, run: int, products: FloatArray) -> FloatArray:
        """The factors at products (times, ...), flat, or (times, 0) where nobody asks."""

    def worker(self) -> _OneByOneWorker:
        return _OneByOneWorker(self)

    def run(self, threads: int, progress: bool | None) -> None:
        super().run(1, progress)

    def settle(self) -> None:
        at_start = np.where(self.times == 0, 1.0, np.nan)
        for run in np.flatnonzero(self.status == Status.RUNNING).tolist():
            product = self.solution[run].reshape(self.setting.architecture.solution_shape)
            self.record(run, np.multiply.outer(at_start, product))

    def record(self, run: int, products: FloatArray) -> None:
        """Set the histories of a run from its products (times, ...); NaN where there are none."""
        flat = products.reshape(len(products), self.solution.shape[1])
        reached = np.flatnonzero(np.isfinite(flat).all(axis=1))
        if not reached.size:
            return
        products, flat = products[reached], flat[reached]
        made = {"loss": np.array([self.loss_at(run, product) for product in products])}
        if "gradient_norm" in self.recording.histories:
            slopes = np.array([self.slope_at(run, product) for product in products])
            made["gradient_norm"] = self.gradient_norms(run, products, slopes)
        if "error" in self.recording.histories:
            index = np.full(len(products), self.setting.problem_index[run])
            made["error"] = relative_errors(flat, self.truths, index)
        self.recording.write(run, reached, made)
        self.recording.keep(np.full(len(products), run), reached, flat, self.factors_of(run, products))


class _OneByOneWorker(Worker):
    """Follows one run after the other."""

    def __init__(self, execution: OneByOne) -> None:
        self.execution = execution

    def advance(self, runs: NDArray[np.int64], budget: int) -> int:
        self.execution.follow(int(runs[0]))
        return 0

    def unfinished(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        return runs[self.execution.status[runs] == Status.RUNNING]
