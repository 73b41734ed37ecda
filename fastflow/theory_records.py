"""What is recorded with the help of the theory: sharpness, the distance to a predicted limit, signs of determinants."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastflow import metrics
from fastflow.architectures import Architecture, Chain, Hadamard
from fastflow.checks import FloatArray
from fastflow.networks import DeepLinear, DiagonalLinear, Network
from fastflow.theory import predicted_limit, sharpness

BALANCED = 1e-6
"""The largest defect of a start that counts as balanced, relative to the largest squared norm of a factor."""


class TheoryRecords:
    """What `Record` asks of the theory, for the runs of one call.

    Parameters
    ----------
    problems : list of problems, as the network poses them
    architecture : Architecture
    problem_index : int array (runs,), which problem each run has
    starts : array (runs, parameters), flat
    wanted : the names of what is recorded

    Raises
    ------
    ValueError
        when the distance to a limit is asked for that is not known
    """

    def __init__(
        self,
        problems: Sequence[Any],
        architecture: Architecture,
        problem_index: NDArray[np.int64],
        starts: FloatArray,
        wanted: Collection[str],
    ) -> None:
        self.problems, self.architecture, self.index, self.wanted = problems, architecture, problem_index, wanted
        self.limits: FloatArray = np.zeros((0, 0))
        self.network = network_of(architecture)
        self.balanced = np.zeros(0, bool)
        if "limit_distance" in wanted:
            if isinstance(architecture, Chain):
                self.limits = np.array([self._limit(run, flat) for run, flat in enumerate(starts)])
            else:
                self.limits = self._flow_limits(starts)
        if "determinant_sign" in wanted:
            factors = architecture.unpack(starts)
            largest = np.max([np.sum(np.asarray(f, np.float64) ** 2, axis=(1, 2)) for f in factors], axis=0)
            self.balanced = metrics.balancedness(factors) <= BALANCED * largest

    def make(self, runs: NDArray[np.int64], products: FloatArray, factors: list[FloatArray]) -> dict[str, FloatArray]:
        """The records of such runs with such products and factors, one of each a record."""
        made: dict[str, FloatArray] = {}
        if "limit_distance" in self.wanted:
            away = products - self.limits[runs]
            made["limit_distance"] = np.linalg.norm(away.reshape(len(away), -1), axis=1)
        if "sharpness" in self.wanted:
            made["sharpness"] = np.array([self._sharpness(run, [f[k] for f in factors]) for k, run in enumerate(runs)])
        return made

    def warn_of_flips(self, signs: FloatArray, moments: NDArray[Any], stacklevel: int) -> None:
        """Say which balanced runs changed the sign (runs, records) of their determinant, which the flow does not do."""
        flips = (signs[:, 1:] * signs[:, :-1] < 0) & self.balanced[:, None]
        runs = np.flatnonzero(flips.any(axis=1))
        if runs.size:
            at = int(np.argmax(flips[runs[0]]))
            warnings.warn(
                f"the determinant of the product changed its sign in {runs.size} of {len(signs)} runs, first in run "
                f"{runs[0]} between {moments[at]:g} and {moments[at + 1]:g}: the flow from their balanced start never "
                "does that, the finite step or round-off did; take smaller steps, or ProductFlow, which keeps the sign",
                stacklevel=stacklevel + 1,
            )

    def _limit(self, run: int, flat: FloatArray) -> FloatArray:
        problem = self.problems[int(self.index[run])]
        limit = predicted_limit(problem, self.architecture.unpack(flat))
        if limit is None:
            raise ValueError(
                f"limit_distance needs a predicted limit, and none is known for {problem.title}: leave it out"
            )
        return limit.solution

    def _flow_limits(self, starts: FloatArray) -> FloatArray:
        """The limits of all runs of a diagonal network."""
        from fastflow.inits import Explicit
        from fastflow.methods import FlowLimit
        from fastflow.train import train

        start = Explicit(self.architecture.unpack(np.asarray(starts, np.float64)))
        try:
            return train(self.problems, self.network, start, FlowLimit(), threads=1, progress=False).solution
        except ValueError as error:
            raise ValueError(f"limit_distance needs a predicted limit, and there is none: {error}") from error

    def _sharpness(self, run: int, factors: list[FloatArray]) -> float:
        if not all(np.isfinite(factor).all() for factor in factors):
            return np.nan
        return float(sharpness(self.problems[int(self.index[run])], factors, self.network))


def network_of(architecture: Architecture) -> Network:
    """The network of an architecture."""
    if isinstance(architecture, Chain):
        return DeepLinear(widths=architecture.widths)
    assert isinstance(architecture, Hadamard)
    return DiagonalLinear(architecture.depth, architecture.signed, architecture.identical)
