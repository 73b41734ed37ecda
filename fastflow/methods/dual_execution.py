"""What executions of diagonal networks by their dual share."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fastflow.dual import as_two_vectors, factors_at, pose_runs
from fastflow.methods.base import Execution, Method
from fastflow.networks import Hadamard
from fastflow.records import Recording
from fastflow.setting import Setting
from fastflow.status import Status


class DualExecution(Execution):
    """Runs whose product is found first, and then the factors from which it is one.

    Runs that have not ended are where they started.
    """

    work_bytes = 2
    is_weighted: ClassVar[bool] = False
    """Whether the weight of a loss counts: the limit of its flow does not know it, its time does."""

    def __init__(self, setting: Setting, method: Method, recording: Recording) -> None:
        super().__init__(setting, method, recording)
        assert isinstance(setting.architecture, Hadamard)
        self.architecture = setting.architecture

    def admit(self) -> None:
        architecture = self.architecture
        self.starts = self.factors.copy()
        self.pose()
        super().admit()
        positive, negative = as_two_vectors(architecture, architecture.unpack(self.starts))
        self.solution[:] = positive**architecture.depth
        if negative is not None:
            self.solution -= negative**architecture.depth

    def pose(self) -> None:
        """Look at the starts, and have the problems as the search takes them."""
        setting, whose = self.setting, type(self.method).__name__
        self.posed = pose_runs(
            setting.problems,
            self.architecture,
            setting.problem_index,
            self.starts,
            whose,
            weighted=self.is_weighted,
        )

    @abstractmethod
    def keep(self, runs: NDArray[np.int64]) -> None:
        """Set what runs have come to, whose work has ended."""

    def keep_ended(self, runs: NDArray[np.int64], ended: NDArray[np.bool_]) -> None:
        """Set what those of the runs have come to that have ended since."""
        self.keep(runs[ended & (self.status[runs] == Status.RUNNING)])

    def place_factors(self, runs: NDArray[np.int64]) -> None:
        """Set the factors of runs to those that their products have."""
        starts = self.architecture.unpack(self.starts[runs])
        self.factors[runs] = np.concatenate(factors_at(self.architecture, starts, self.solution[runs]), axis=1)

    def settle(self) -> None:
        for run, i in enumerate(self.setting.problem_index):
            problem = self.setting.problems[i].of_vector()
            if problem.is_matrix_free:
                self.loss[run] = problem.loss(self.solution[run])
                continue
            matrix, values = np.asarray(problem.entries("the dual"), np.float64), np.asarray(problem.values, np.float64)
            residual = np.einsum("mn,n->m", matrix, self.solution[run]) - values
            self.loss[run] = 0.5 * problem.weight * np.sum(residual**2)
