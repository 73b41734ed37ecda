"""What quantities are made from: the runs of one call, and the products and factors of some of them at some moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastflow import metrics
from fastflow.checks import FloatArray
from fastflow.dual import limits_from
from fastflow.networks import Architecture, Hadamard
from fastflow.problems import Problem
from fastflow.theory import predicted_limit

BALANCED_ENOUGH = 1e-6
"""The largest balancedness, relative to its scale, of a start whose determinant is watched: float32 starts are, too."""


@dataclass(frozen=True, eq=False)
class Subject:
    """The runs of one call, as quantities know them.

    Attributes
    ----------
    problems : sequence of problems, as the network poses them
    architecture : Architecture
    problem_index : int array (runs,), which problem each run has
    truths : array (problems, size), flat; (0, 0) where there are none
    starts : array (runs, parameters), flat
        Not a copy: what is made of starts is made before any work, when a quantity prepares, and kept.
    axis : "steps" or "times", what moments are
    """

    problems: Sequence[Problem]
    architecture: Architecture
    problem_index: NDArray[np.int64]
    truths: FloatArray
    starts: FloatArray
    axis: str = "steps"

    @cached_property
    def balanced(self) -> NDArray[np.bool_]:
        """Which runs started balanced."""
        return self.architecture.balanced(self.architecture.unpack(self.starts), BALANCED_ENOUGH)

    @cached_property
    def log_alphas(self) -> FloatArray:
        """``ln |u v|`` of every start of one u and one v, (runs, n)."""
        return log_alphas(self.architecture.unpack(self.starts))

    @cached_property
    def limits(self) -> FloatArray:
        """The predicted limit of every run, (runs, *solution_shape).

        Raises
        ------
        ValueError
            where none is known
        """
        if isinstance(self.architecture, Hadamard):
            try:
                return limits_from(self.problems, self.architecture, self.problem_index, self.starts)
            except ValueError as error:
                raise ValueError(f"limit_distance needs a predicted limit, and there is none: {error}") from error
        network = self.architecture.network
        if not network.is_chain:
            raise ValueError(
                f"limit_distance needs a predicted limit, and none is known for a {type(network).__name__} network: "
                "leave it out"
            )
        return np.array([self._limit(run, flat) for run, flat in enumerate(self.starts)])

    @cached_property
    def _averages(self) -> dict[int, tuple[int, int, FloatArray]]:
        """Of each run the last entry of its record, how many there are, and the sum of their products."""
        return {}

    def average(self, run: int, entry: int, product: FloatArray) -> FloatArray:
        """The mean of what was recorded of a run up to an entry, which has this product; of -1 of what there is.

        Entries must come in their order; one that has come is not taken again.
        """
        last, count, total = self._averages.get(run, (-1, 0, np.zeros(product.shape)))
        if entry > last:
            count, total = count + 1, total + product
            self._averages[run] = entry, count, total
        return total / count if count else np.full(product.shape, np.nan)

    def _limit(self, run: int, flat: FloatArray) -> FloatArray:
        problem = self.problems[int(self.problem_index[run])]
        limit = predicted_limit(problem, self.architecture.unpack(flat))
        if limit is None:
            raise ValueError(
                f"limit_distance needs a predicted limit, and none is known for {problem.title}: leave it out"
            )
        return limit.solution


def log_alphas(factors: Sequence[FloatArray]) -> FloatArray:
    """``ln |u v|`` of u and v, each (..., n), without forming a product that might vanish; of 0 minus infinity."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithms = [np.log(np.abs(factor.astype(np.float64))) for factor in factors]
    return np.asarray(logarithms[0] + logarithms[1])


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Products and factors at some moments, of such a run each.

    Attributes
    ----------
    subject : Subject
    runs : int array (moments,)
    products : array (moments, *solution_shape), or empty where no quantity needs them
    flat_factors : array (moments, parameters), likewise
    entries : int array (moments,), which records of their runs these are; -1 where a run has ended before its moment
    """

    subject: Subject
    runs: NDArray[np.int64]
    products: FloatArray
    flat_factors: FloatArray
    entries: NDArray[np.int64] | None = None

    @property
    def architecture(self) -> Architecture:
        """The architecture of the runs."""
        return self.subject.architecture

    @cached_property
    def factors(self) -> list[FloatArray]:
        """The factors, first to last, (moments, *shape) each."""
        return self.architecture.unpack(self.flat_factors)

    @property
    def truths(self) -> FloatArray:
        """The truth at every moment, flat."""
        return self.subject.truths[self.subject.problem_index[self.runs]]

    @property
    def limits(self) -> FloatArray:
        """The predicted limit at every moment."""
        return self.subject.limits[self.runs]

    @cached_property
    def averages(self) -> FloatArray:
        """The means of the products that were recorded of each run up to each moment, (moments, *solution_shape)."""
        assert self.entries is not None
        each = zip(self.runs.tolist(), self.entries.tolist(), self.products, strict=True)
        return np.array([self.subject.average(run, entry, product) for run, entry, product in each])

    @cached_property
    def finite(self) -> NDArray[np.bool_]:
        """Where the product is finite."""
        return np.asarray(np.isfinite(self.products.reshape(len(self.products), -1)).all(axis=1))

    @cached_property
    def singular_values(self) -> FloatArray:
        """The singular values of the products, NaN where these are not finite."""
        values = np.full((len(self.products), min(self.products.shape[1:])), np.nan, self.products.dtype)
        values[self.finite] = metrics.singular_values(self.products[self.finite])
        return values

    def where_finite(self, function: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """A number of each finite product, NaN for the others."""
        values = np.full(len(self.products), np.nan)
        values[self.finite] = function(self.products[self.finite])
        return values

    def each(self, function: Callable[[Problem, list[FloatArray]], float]) -> FloatArray:
        """A number of every moment's problem and factors, NaN where factors are not finite."""
        values = np.full(len(self.flat_factors), np.nan)
        for moment in np.flatnonzero(np.isfinite(self.flat_factors).all(axis=1)):
            problem = self.subject.problems[int(self.subject.problem_index[self.runs[moment]])]
            values[moment] = function(problem, [factor[moment] for factor in self.factors])
        return values
