"""Baselines that stand where a method stands: no network, no start, and the same `solve` of a problem for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from fastflow.baselines import low_rank, sparse
from fastflow.baselines.base import Baseline
from fastflow.baselines.systems import as_weights
from fastflow.checks import FloatArray, as_count, as_number, brief_repr, frozen, one_of
from fastflow.operators import Operator
from fastflow.problems import LinearRegression, MatrixCompletion, MatrixEstimation, MatrixSensing, Problem


@runtime_checkable
class LinearSystem(Protocol):
    """What observes ``A x = y`` of a vector x: `CompressedSensing`, and a user's problem that has the same arrays."""

    @property
    def matrix(self) -> FloatArray | Operator:
        """A, (m, n)."""

    @property
    def values(self) -> FloatArray:
        """y, (m,)."""


class OfVectors(Baseline):
    """What the baselines for vectors share."""

    def check(self, problem: Problem) -> None:
        _system(self, problem)


@dataclass(frozen=True, eq=False, repr=False)
class BasisPursuit(OfVectors):
    """Least l1 norm among what fits: `basis_pursuit`, for ``CompressedSensing``.

    Parameters
    ----------
    weights : array (n,) of numbers > 0, or None
    nonnegative : bool

    Examples
    --------
    >>> problem = ff.CompressedSensing([[1.0, 0.5]], [1.0])
    >>> ff.baselines.BasisPursuit().solve(problem).round(3).tolist()
    [1.0, 0.0]
    """

    weights: ArrayLike | None = None
    nonnegative: bool = False

    label: ClassVar[str] = "basis pursuit"

    def __post_init__(self) -> None:
        _freeze_weights(self)

    def __repr__(self) -> str:
        return brief_repr(self)

    def solve(self, problem: Problem) -> FloatArray:
        system = _system(self, problem)
        return sparse.basis_pursuit(system.matrix, system.values, self.weights, self.nonnegative)


@dataclass(frozen=True, eq=False, repr=False)
class LeastNorm(OfVectors):
    """Least (weighted) l2 norm among the least-squares solutions: `least_norm`, for ``CompressedSensing``.

    Parameters
    ----------
    weights : array (n,) of numbers > 0, or None

    Examples
    --------
    >>> problem = ff.CompressedSensing([[1.0, 0.5]], [1.0])
    >>> ff.baselines.LeastNorm().solve(problem).round(3).tolist()
    [0.8, 0.4]
    """

    weights: ArrayLike | None = None

    label: ClassVar[str] = "least norm"

    def __post_init__(self) -> None:
        _freeze_weights(self)

    def __repr__(self) -> str:
        return brief_repr(self)

    def solve(self, problem: Problem) -> FloatArray:
        system = _system(self, problem)
        return sparse.least_norm(system.matrix, system.values, self.weights)


@dataclass(frozen=True)
class NonnegativeLeastSquares(OfVectors):
    """Least squares subject to ``x >= 0``: `nonnegative_least_squares`, for ``CompressedSensing``.

    Parameters
    ----------
    method : "active-set", "flow", or None for the first of an array and the second of an operator

    Examples
    --------
    >>> problem = ff.CompressedSensing([[1.0, 0.5]], [1.0])
    >>> ff.baselines.NonnegativeLeastSquares().solve(problem).round(3).tolist()
    [1.0, 0.0]
    """

    method: str | None = None

    label: ClassVar[str] = "nonnegative least squares"

    def __post_init__(self) -> None:
        if self.method is not None:
            one_of("method", self.method, sparse.NONNEGATIVE_METHODS)

    def check(self, problem: Problem) -> None:
        is_by_products = isinstance(_system(self, problem).matrix, Operator)
        if is_by_products and self.method == sparse.ACTIVE_SET:
            raise _lacks_entries(self)

    def solve(self, problem: Problem) -> FloatArray:
        self.check(problem)
        system = _system(self, problem)
        return sparse.nonnegative_least_squares(system.matrix, system.values, method=self.method)


@dataclass(frozen=True)
class OracleLeastSquares(OfVectors):
    """Least squares on the support of the truth: `oracle_least_squares`, for ``CompressedSensing`` with a truth.

    Examples
    --------
    >>> problem = ff.CompressedSensing([[1.0, 0.5]], [1.0], truth=[0.0, 2.0])
    >>> ff.baselines.OracleLeastSquares().solve(problem).round(3).tolist()
    [0.0, 2.0]
    """

    label: ClassVar[str] = "oracle least squares"

    def check(self, problem: Problem) -> None:
        super().check(problem)
        if problem.truth is None:
            raise ValueError("OracleLeastSquares needs a problem with a truth, whose support it is told")

    def solve(self, problem: Problem) -> FloatArray:
        self.check(problem)
        system = _system(self, problem)
        assert problem.truth is not None
        return sparse.oracle_least_squares(system.matrix, system.values, np.ravel(problem.truth) != 0)


@dataclass(frozen=True)
class NuclearNorm(Baseline):
    """Least nuclear norm among what fits: `nuclear_norm_completion` and `nuclear_norm_sensing`, for their problems.

    Parameters
    ----------
    tol : float > 0, the relative duality gap to reach
    max_steps : int >= 1

    Examples
    --------
    >>> problem = ff.MatrixCompletion.from_dense([[1.0, 1], [1, np.nan]])
    >>> ff.baselines.NuclearNorm().solve(problem).shape
    (2, 2)
    """

    tol: float = 1e-7
    max_steps: int = 20_000

    label: ClassVar[str] = "nuclear norm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tol", as_number("tol", self.tol, above=0))
        object.__setattr__(self, "max_steps", as_count("max_steps", self.max_steps, 1))

    def check(self, problem: Problem) -> None:
        if not isinstance(problem, MatrixCompletion | MatrixSensing):
            raise _misfit(self, problem, "MatrixCompletion or MatrixSensing")
        if problem.is_matrix_free:
            raise _lacks_entries(self)

    def solve(self, problem: Problem) -> FloatArray:
        self.check(problem)
        if isinstance(problem, MatrixCompletion):
            dense = np.full(problem.shape, np.nan)
            dense[problem.rows, problem.cols] = problem.values
            return low_rank.nuclear_norm_completion(dense, tol=self.tol, max_steps=self.max_steps).solution
        assert isinstance(problem, MatrixSensing)
        assert not isinstance(problem.operators, Operator)
        return low_rank.nuclear_norm_sensing(
            problem.operators, problem.values, tol=self.tol, max_steps=self.max_steps
        ).solution


@dataclass(frozen=True)
class BestRank(Baseline):
    """The nearest matrix of a rank: `best_rank`, for ``MatrixEstimation``.

    Parameters
    ----------
    rank : int >= 0

    Examples
    --------
    >>> ff.baselines.BestRank(1).solve(ff.MatrixEstimation(np.diag([3.0, 1]))).round(3).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """

    rank: int

    label: ClassVar[str] = "best rank"

    def __post_init__(self) -> None:
        object.__setattr__(self, "rank", as_count("rank", self.rank, 0))

    def check(self, problem: Problem) -> None:
        if not isinstance(problem, MatrixEstimation):
            raise _misfit(self, problem, "MatrixEstimation")

    def solve(self, problem: Problem) -> FloatArray:
        self.check(problem)
        assert isinstance(problem, MatrixEstimation)
        return low_rank.best_rank(problem.target, self.rank)


def _freeze_weights(baseline: BasisPursuit | LeastNorm) -> None:
    if baseline.weights is not None:
        object.__setattr__(baseline, "weights", frozen(as_weights(baseline.weights)))


class _System(NamedTuple):
    """The arrays of a `LinearSystem`."""

    matrix: FloatArray | Operator
    values: FloatArray


def _system(baseline: Baseline, problem: Problem) -> LinearSystem:
    """A problem that observes ``A x = y``, which LinearRegression with one output does, too."""
    if isinstance(problem, LinearRegression):
        posed = problem.of_vector()
        return _System(posed.entries(type(baseline).__name__), posed.values)
    if not isinstance(problem, LinearSystem):
        raise _misfit(
            baseline,
            problem,
            "CompressedSensing, LinearRegression with one output, and what else has a matrix and values",
        )
    return problem


def _lacks_entries(baseline: Baseline) -> ValueError:
    return ValueError(
        f"{type(baseline).__name__} needs all entries of A, and the problem has an operator for it: give A.toarray() "
        "where there is room for them"
    )


def _misfit(baseline: Baseline, problem: Problem, fitting: str) -> TypeError:
    return TypeError(f"{type(baseline).__name__} solves {fitting}, got {type(problem).__name__}")
