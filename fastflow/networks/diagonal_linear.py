"""Diagonal linear networks: a vector as an entrywise product of vectors, or as a difference of two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow import metrics
from fastflow.checks import FloatArray, as_count, as_depth, shown
from fastflow.kernels.dual.mirror import SHALLOWEST
from fastflow.kernels.losses.samples import samples_of
from fastflow.kernels.networks.diagonal_batches import diagonal_batches
from fastflow.kernels.networks.diagonal_curvature import hadamard_curvature
from fastflow.kernels.networks.diagonal_field import hadamard_field
from fastflow.kernels.networks.diagonal_group import make_diagonal_group
from fastflow.kernels.networks.diagonal_together import make_vector_group
from fastflow.kernels.networks.hadamard import DEEPEST
from fastflow.networks.base import (
    BALANCED,
    EXACTLY,
    Architecture,
    Attributes,
    Batches,
    Curvature,
    Field,
    Group,
    Network,
)
from fastflow.operators import Operator
from fastflow.operators.spectra import largest_of_gram
from fastflow.problems import Problem, VectorProblem


@dataclass(frozen=True)
class DiagonalLinear(Network):
    """``x = u_1 o...o u_L``, an entrywise product; if signed less another one, ``v_1 o...o v_L``.

    This is `DeepLinear` with diagonal matrices. From a small start gradient descent finds (nearly) the solution of
    least l1 norm (Woodworth et al., arXiv:2002.09277; Chou, Maly, Rauhut, arXiv:2112.11027).

    Parameters
    ----------
    depth : number, L: 1, 2, or from 2.01 to 8
        The number of factors where it is whole. Where it is not, factors must be identical, and run as the one vector
        u (and v) below, whose flow asks for ``u^{L-1}`` alone: for methods that follow the flow by its dual.
    signed : bool
        Without it x is the one product, and stays nonnegative if factors are identical, L >= 2 and the start is
        nonnegative.
    identical : bool
        Factors that start equal stay equal, and then run as one vector u (and one v), ``x = u^L - v^L``, with the
        dynamics that the L equal factors have, each with a gradient of its own::

            u' = -g o u^{L-1},   v' = +g o v^{L-1},   g = A^T (A x - y)

        One shared variable with the loss ``1/2 ||A u^L - y||^2`` would have L times this gradient: L times the step.
        Without ``identical`` every factor has a start of its own.

    Notes
    -----
    For even L the sign of an entry of u changes nothing; for odd L >= 3 an identical network can never change it, so
    that a coordinate that starts at ``u < 0`` keeps ``u^L <= 0``. Random starts of identical factors are
    therefore positive, unless L = 1. An entry that starts at 0 stays there for L >= 2.

    The flow from u = v = alpha ends where ``sum_i |x_i|``, less terms with fractional norms ``|x_i|^{2/L}`` that weigh
    ``alpha^{L-2}``, is least among all x that fit (L > 2); from large starts, where ``sum_i x_i^2`` is. So depths that
    are not whole go from the entropy of L = 2, which feels alpha by its logarithm, to the fractional norms of L = 3,
    4, ... without a gap. Between 1 and 2 a factor can reach 0 in finite time, and the flow is not determined beyond.

    Examples
    --------
    >>> ff.DiagonalLinear(depth=3, signed=False)
    DiagonalLinear(depth=3, signed=False, identical=True)
    """

    has_flow: ClassVar[bool] = True
    has_hessian: ClassVar[bool] = True

    depth: float = 2
    signed: bool = True
    identical: bool = True

    def __post_init__(self) -> None:
        depth = as_depth("depth", self.depth, SHALLOWEST, None)
        if depth > DEEPEST:
            raise ValueError(f"depth of a DiagonalLinear network must be at most {DEEPEST}, got {depth}")
        object.__setattr__(self, "depth", depth)
        for name in ("signed", "identical"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise TypeError(f"{name} must be True or False, got {shown(getattr(self, name))}")
            object.__setattr__(self, name, bool(getattr(self, name)))
        if not (self.identical or self.is_counted):
            raise ValueError(
                f"depth must be an integer where factors are not identical, got {depth:g}: there are so many of them"
            )

    @property
    def is_counted(self) -> bool:
        return isinstance(self.depth, int)

    def architecture(self, problem: Problem) -> Hadamard:
        """The vectors for a problem of a vector."""
        return Hadamard(problem.of_vector().shape[0], self.depth, self.signed, self.identical)

    def pose(self, problem: Problem) -> VectorProblem:
        """The problem as this network sees it."""
        return problem.of_vector()


@dataclass(frozen=True)
class Hadamard(Architecture):
    """``x = u_1 o ... o u_L``, less ``v_1 o ... o v_L`` if signed: one vector u, then one v, if factors are identical.

    Attributes
    ----------
    size : int, n
    depth : float, L, an int where it is whole
    signed, identical : bool
    """

    size: int
    depth: float
    signed: bool
    identical: bool

    solution_axes = ("coordinate",)

    @property
    def network(self) -> DiagonalLinear:
        return DiagonalLinear(self.depth, self.signed, self.identical)

    @property
    def title(self) -> str:
        return f"DiagonalLinear(depth={self.depth}, signed={self.signed}, identical={self.identical})"

    @property
    def factors_multiplied(self) -> float:
        return self.depth

    @property
    def solution_shape(self) -> tuple[int]:
        return (self.size,)

    @property
    def factor_shapes(self) -> list[tuple[int, ...]]:
        return [(self.size,)] * len(self.factor_axes)

    @property
    def factor_axes(self) -> dict[str, tuple[str, ...]]:
        numbers = [""] if self.identical else [f"_{j}" for j in range(1, self.count + 1)]
        return {f"factor_{side}{number}": ("coordinate",) for side in self.sides for number in numbers}

    @property
    def stream_key(self) -> Sequence[int | str]:
        return "diagonal", self.size, len(self.factor_axes)

    @property
    def attributes(self) -> Attributes:
        return {"size": self.size, "depth": self.depth, "signed": int(self.signed), "identical": int(self.identical)}

    @classmethod
    def read(cls, attributes: Attributes) -> Hadamard | None:
        match attributes:
            case {
                "size": int(size),
                "depth": int() | float() as depth,
                "signed": int(signed),
                "identical": int(identical),
            }:
                network = DiagonalLinear(depth, bool(signed), bool(identical))
                return cls(as_count("size", size, 1), network.depth, network.signed, network.identical)
        return None

    @property
    def gradient_flops(self) -> int:
        return 0

    @property
    def sides(self) -> str:
        """``"uv"`` if signed, else ``"u"``."""
        return "uv" if self.signed else "u"

    @property
    def has_balance(self) -> bool:
        return not self.identical

    @property
    def starts_positive(self) -> bool:
        return self.identical and self.depth > 1

    @property
    def count(self) -> int:
        """L, of a network that `is_counted`.

        Raises
        ------
        ValueError
            for a depth that is not whole
        """
        if isinstance(self.depth, int):
            return self.depth
        raise ValueError(f"there is no whole number of factors in {self.network}: take a whole depth")

    @property
    def form(self) -> tuple[int, bool, bool]:
        """L, and whether signed and identical, as the kernels take them."""
        return self.count, self.signed, self.identical

    def entry_scale(self, scale: float, moment: Callable[[float], float]) -> float:
        energy = moment(2 * self.depth) if self.identical else moment(2) ** self.depth
        return (scale / math.sqrt(energy)) ** (1 / self.depth)

    def balancedness(self, factors: Sequence[FloatArray]) -> FloatArray:
        """The larger of `metrics.balancedness_of_vectors` of both sides, (...)."""
        return np.max([np.asarray(metrics.balancedness_of_vectors(side)) for side in self.sides_of(factors)], axis=0)

    def balance_scale(self, factors: Sequence[FloatArray]) -> FloatArray:
        """The largest square of an entry."""
        return np.asarray(np.max([np.max(np.asarray(f, np.float64) ** 2, axis=-1) for f in factors], axis=0))

    def balanced(self, factors: Sequence[FloatArray], tolerance: float = BALANCED) -> NDArray[np.bool_]:
        """Whether the factors of each entry have equal squares up to a tolerance relative to the largest of them."""
        every = np.asarray(True)
        for side in self.sides_of(factors):
            squares = np.asarray(side, np.float64) ** 2
            largest = np.max(squares, axis=0)
            every = every & np.all(largest - np.min(squares, axis=0) <= tolerance * largest, axis=-1)
        return every

    def describe_balance(self, factors: Sequence[FloatArray]) -> str:
        if self.depth == 1:
            return "Balance: one factor has nothing to balance; x follows a linear flow."
        if not self.network.is_counted:
            return f"Balance: of identical factors, u (and v) to the power {self.depth:g}; none changes its sign."
        if self.balanced(factors, EXACTLY):
            return (
                f"Balance: the {self.depth} factors of each side start with equal squares, and the flow keeps them so: "
                "no entry of a factor changes its sign."
            )
        return (
            "Balance: the factors of a side start with squares that differ by "
            f"{float(self.balancedness(factors)):.3g} in norm; the flow conserves these differences, entry by entry."
        )

    @property
    def independent(self) -> Hadamard:
        counted = self.network.is_counted
        return replace(self, identical=False) if self.identical and counted and self.depth > 1 else self

    def independent_factors(self, factors: Sequence[FloatArray]) -> list[FloatArray]:
        return [factor for side in self.sides_of(factors) for factor in side]

    def expected_solution(self, problem: Problem) -> FloatArray:
        """The estimate of the problem, without its negative entries if there is no v."""
        solution = problem.estimate()
        return solution if self.signed else np.maximum(solution, 0)

    def least_loss(self, problem: Problem) -> float:
        return problem.of_vector().least_loss()

    def largest_curvature(self, problem: Problem, rtol: float, operations: float = math.inf) -> float:
        """That of ``A diag(s) A^T``, s_i the sum of squares of the derivatives of x_i by all factors.

        Near a solution the residual moves by ``r <- (I - step A diag(s) A^T) r``, where
        ``s_i = L (u_i^{2L-2} + v_i^{2L-2})`` if all L factors of each side are equal, and ``L |x_i|^{2-2/L}`` (2 for
        L = 1) where they come from a small start, so that only one side has grown. A large start has a larger one.
        """
        posed, depth = problem.of_vector(), self.depth
        solution = self.expected_solution(posed)
        if depth > 1 and not solution.any():
            raise ValueError(
                "the data point to the solution x = 0, where a product of factors has no stability edge: give a step"
            )
        slopes = depth * np.abs(solution) ** (2 - 2 / depth)
        if depth == 1:
            slopes = np.full(len(solution), float(len(self.sides)))
        if isinstance(posed.matrix, Operator):
            largest = largest_of_gram(posed.matrix, np.sqrt(slopes), rtol)
        else:
            largest = self._largest_of_entries(posed.matrix.astype(np.float64) * np.sqrt(slopes))
        if largest <= 0:
            raise ValueError("the measurement matrix is zero, so that no step is too large: give a step")
        return posed.weight * largest

    @staticmethod
    def _largest_of_entries(scaled: FloatArray) -> float:
        """The largest eigenvalue of ``A A^T``."""
        gram = scaled @ scaled.T if scaled.shape[0] <= scaled.shape[1] else scaled.T @ scaled
        return float(np.linalg.eigvalsh(gram)[-1])

    def gradient_norm(self, factors: Sequence[FloatArray], gradient: FloatArray) -> FloatArray:
        """The norm (...) of the gradient by all L factors of each side, given that by x; all (..., n)."""
        total, slopes = np.zeros(gradient.shape[:-1]), []
        if not self.network.is_counted:  # as L factors have it, each with ``g u^{L-1}``
            slopes = [np.sqrt(self.depth) * gradient * factor ** (self.depth - 1) for factor in factors]
            return metrics.euclidean_norms(np.concatenate(slopes, axis=-1))
        for side in self.sides_of(factors):
            for j in range(self.count):
                slopes.append(np.prod([gradient, *side[:j], *side[j + 1 :]], axis=0))
                total += metrics.sums_of_squares(slopes[-1])
        return metrics.beyond_squares(np.sqrt(total), np.concatenate(slopes, axis=-1))

    def sides_of(self, factors: Sequence[FloatArray]) -> list[list[FloatArray]]:
        """The L factors of u, and those of v if signed; one of each where L is not whole."""
        count = len(factors) // len(self.sides)
        sides = [list(factors[at : at + count]) for at in range(0, len(factors), count)]
        copies = self.count if self.network.is_counted else 1
        return [side * copies for side in sides] if self.identical else sides

    def measures(self, solutions: FloatArray) -> dict[str, FloatArray]:
        return {"l1 norm": metrics.l1_norm(solutions), "support size": metrics.support(solutions).sum(axis=-1)}

    @property
    def kernel_shape(self) -> NDArray[np.int64]:
        return np.array(self.solution_shape, np.int64)

    def make_group(self, problem: NamedTuple, like: FloatArray, runs: int) -> Group:
        return make_vector_group(problem, self.size, self.parameter_count, self.form, like, runs)

    def make_batches(self, problem: NamedTuple, like: FloatArray, largest: int) -> Batches:
        group = make_diagonal_group(problem, self.size, self.parameter_count, self.form, like, 1)
        return diagonal_batches(group, samples_of(problem, self.size), largest)

    def make_field(self, problem: NamedTuple, weights: FloatArray, like: FloatArray) -> Field:
        return hadamard_field(problem, weights, self.size, self.form, like)

    def make_curvature(self, problem: NamedTuple, like: FloatArray) -> Curvature:
        return hadamard_curvature(problem, self.size, self.form, like)
