"""Deep linear networks: a matrix as a product of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow import metrics
from fastflow.arrays import as_list
from fastflow.checks import FloatArray, as_count, shown
from fastflow.kernels.losses.samples import samples_of
from fastflow.kernels.networks.chain_batches import chain_batches
from fastflow.kernels.networks.chain_curvature import chain_curvature
from fastflow.kernels.networks.chain_field import chain_field
from fastflow.kernels.networks.chain_group import make_group
from fastflow.networks.base import EXACTLY, Architecture, Attributes, Batches, Curvature, Field, Group, Network
from fastflow.networks.singular_bases import singular_bases
from fastflow.problems import MatrixProblem, Problem
from fastflow.streams import stream

DEEPEST = 10_000
"""The largest depth of a network, which has so many factors."""

POWER_ITERATIONS = 1000
"""After so many turns a power iteration ends with what it has."""

DECOMPOSITION = 40
"""What the singular vectors of a matrix cost, over the product of its size and its shorter side (measured)."""

TOO_DEAR = "the stability edge costs more operations than it may"

NOISE = 0.1
"""The norm of what a power iteration starts with besides a unit matrix, so that no eigenvector is missed."""


@dataclass(frozen=True)
class DeepLinear(Network):
    """``W = W_N...W_1`` with ``W_j`` of shape ``(d_j, d_{j-1})``.

    Parameters
    ----------
    depth : int, the number N of factors; the hidden widths are then ``min(d_0, d_N)``, unless a width is given
    widths : (d_0, ..., d_N), instead of a depth
    width : int, that of every hidden layer, of two factors or more; a number, so that it may be the axis of a study

    Examples
    --------
    >>> problem = ff.MatrixEstimation(np.zeros((6, 4)))
    >>> [ff.DeepLinear(3).architecture(problem).widths, ff.DeepLinear(2, width=1).architecture(problem).widths]
    [(4, 4, 4, 6), (4, 1, 6)]
    """

    is_chain: ClassVar[bool] = True
    has_flow: ClassVar[bool] = True
    has_hessian: ClassVar[bool] = True

    depth: int | None = None
    widths: tuple[int, ...] | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        depth, widths = self.depth, self.widths
        if widths is not None:
            is_list = isinstance(widths, Sequence | np.ndarray) and not isinstance(widths, str)
            given = as_list("widths", widths) if is_list else []
            if len(given) < 2:
                raise ValueError(f"widths must be (d_0, ..., d_N) with at least two entries, got {shown(widths)}")
            widths = tuple(as_count(f"widths[{j}]", width, 1) for j, width in enumerate(given))
            if depth is not None and as_count("depth", depth, 1) != len(widths) - 1:
                raise ValueError(
                    f"depth {depth} contradicts widths {shown(widths)}, which have depth {len(widths) - 1}"
                )
            depth = len(widths) - 1
        else:
            depth = 3 if depth is None else as_count("depth", depth, 1, DEEPEST)
        if self.width is not None:
            object.__setattr__(self, "width", as_count("width", self.width, 1))
            if widths is not None:
                raise ValueError(f"width {self.width} and widths {shown(widths)} are both given: leave one out")
            if depth == 1:
                raise ValueError(f"a network of depth 1 has no hidden layer, which could have the width {self.width}")
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "widths", widths)

    def widths_for(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """The widths (d_0, ..., d_N) for a product of the given shape (d_N, d_0).

        Raises
        ------
        ValueError
            when the widths that were given do not end in that shape
        """
        rows, columns = shape
        if self.widths is None:
            assert self.depth is not None
            hidden = min(shape) if self.width is None else self.width
            return (columns, *[hidden] * (self.depth - 1), rows)
        if (self.widths[-1], self.widths[0]) != (rows, columns):
            raise ValueError(
                f"widths {shown(self.widths)} do not chain to the problem: W is {rows} x {columns}, "
                f"so widths must start with {columns} and end with {rows}"
            )
        return self.widths

    def architecture(self, problem: Problem) -> Chain:
        """The chain of factors for a problem of a matrix."""
        return Chain(self.widths_for(problem.of_matrix().shape))

    def pose(self, problem: Problem) -> MatrixProblem:
        """The problem as this network sees it."""
        return problem.of_matrix()


@dataclass(frozen=True)
class Chain(Architecture):
    """``W = W_N...W_1`` with ``W_j`` of shape ``(d_j, d_{j-1})``, one after the other from W_1.

    Attributes
    ----------
    widths : (d_0, ..., d_N)
    """

    widths: tuple[int, ...]

    solution_axes = ("row", "column")

    @classmethod
    def of(cls, factors: Sequence[FloatArray]) -> Chain:
        """The chain that has these factors, (..., d_j, d_{j-1}) each."""
        return cls((factors[0].shape[-1], *(factor.shape[-2] for factor in factors)))

    @property
    def network(self) -> DeepLinear:
        return DeepLinear(widths=self.widths)

    @property
    def title(self) -> str:
        return f"DeepLinear(widths={self.widths})"

    @property
    def factors_multiplied(self) -> int:
        return len(self.widths) - 1

    @property
    def solution_shape(self) -> tuple[int, int]:
        return self.widths[-1], self.widths[0]

    @property
    def factor_shapes(self) -> list[tuple[int, int]]:
        return [(after, before) for before, after in pairwise(self.widths)]

    @property
    def factor_axes(self) -> dict[str, tuple[str, ...]]:
        return {f"factor_{j}": (f"width_{j}", f"width_{j - 1}") for j in range(1, len(self.widths))}

    @property
    def stream_key(self) -> Sequence[int | str]:
        return self.widths

    @property
    def attributes(self) -> Attributes:
        return {"widths": list(self.widths)}

    @classmethod
    def read(cls, attributes: Attributes) -> Chain | None:
        match attributes:
            case {"widths": [*widths]}:
                checked = DeepLinear(widths=tuple(widths)).widths
                assert checked is not None
                return cls(checked)
        return None

    @property
    def gradient_flops(self) -> int:
        """Swept from the cheaper side."""
        sizes = list(map(math.prod, self.factor_shapes))
        return 6 * min(self.widths[0] * sum(sizes[1:]), self.widths[-1] * sum(sizes[:-1]))

    def entry_scale(self, scale: float, moment: Callable[[float], float]) -> float:
        energy = math.prod(self.widths) * moment(2) ** self.factors_multiplied
        return self.factor_scale(scale, energy)

    def factor_scale(self, scale: float, energy: float) -> float:
        """What each factor is multiplied by so that ``E ||W||_F^2`` becomes ``scale^2 min d_j`` where it was energy."""
        return (scale * math.sqrt(min(self.widths) / energy)) ** (1 / self.factors_multiplied)

    def balancedness(self, factors: Sequence[FloatArray]) -> FloatArray:
        return np.asarray(metrics.balancedness(factors))

    def balance_scale(self, factors: Sequence[FloatArray]) -> FloatArray:
        """The largest ``||W_j||_F^2``."""
        return np.asarray(np.max([np.sum(np.asarray(f, np.float64) ** 2, axis=(-2, -1)) for f in factors], axis=0))

    def describe_balance(self, factors: Sequence[FloatArray]) -> str:
        if len(factors) == 1:
            return "Balance: one factor has nothing to balance; W follows dW/dt = -E, and keeps neither rank nor sign."
        if not self.balanced(factors, EXACTLY):
            return (
                f"Balance: the start is not balanced, max ||C_j||_F = {float(self.balancedness(factors)):.3g}; the "
                "flow conserves every C_j, but the product has no flow of its own."
            )
        rank = int(np.linalg.matrix_rank(factors[0]))
        invertible = self.widths[0] == self.widths[-1] == rank
        kept = f"its rank {rank}" + (" and the sign of its determinant" if invertible else "")
        return f"Balance: the start is balanced, so the product follows dW/dt = -A_W(E) and keeps {kept}."

    def expected_solution(self, problem: Problem) -> FloatArray:
        return problem.of_matrix().expected_solution(min(self.widths)).astype(np.float64)

    def least_loss(self, problem: Problem) -> float:
        return problem.of_matrix().least_loss(min(self.widths)) if problem.has_gradient else -np.inf

    def largest_curvature(self, problem: Problem, rtol: float, operations: float = math.inf) -> float:
        """That of ``Z -> A_W(M^T M Z)``, M the derivative of the residuals: ``N ||W||_2^{2-2/N}`` if M is the identity.

        The metric's inverse ``A_W`` is that of `fastflow.theory.metric_inverse`; see the base class for the rest.
        """
        posed, depth = problem.of_matrix(), self.factors_multiplied
        rows, columns = posed.shape
        left = operations - DECOMPOSITION * rows * columns * min(rows, columns) - posed.estimate_flops
        if left < 0:
            raise ValueError(TOO_DEAR)
        solution = self.expected_solution(posed)
        if not solution.any() and depth > 1:
            raise ValueError(
                "the data point to the solution W = 0, where a product of factors has no stability edge: give a step"
            )
        if posed.direct_target() is not None:
            return posed.weight * depth * float(np.linalg.norm(solution, 2)) ** (2 - 2 / depth)
        bases = singular_bases(solution, depth)
        # Power iteration from the leading singular pair, and enough of everything else that no eigenvector is missed.
        noise = stream("stability edge", posed.shape).standard_normal(posed.shape)
        direction = np.outer(bases.left[:, 0], bases.right[0]) + NOISE * noise / np.linalg.norm(noise)
        largest = 0.0
        turn = posed.loss_flops + 4 * rows * columns * (rows + columns)
        turns = int(min(POWER_ITERATIONS, left / turn))
        for _ in range(turns):
            image = posed.normal_operator(direction)
            moved = bases.scale(image, bases.eigenvalues)
            estimate = float(np.sum(image * moved) / np.sum(direction * image))
            converged = abs(estimate - largest) <= rtol * estimate
            largest = estimate
            if converged:
                break
            direction = moved / np.linalg.norm(moved)
        else:
            if turns < POWER_ITERATIONS:
                raise ValueError(TOO_DEAR)
        return posed.weight * largest

    def measures(self, solutions: FloatArray) -> dict[str, FloatArray]:
        return {"effective rank": np.asarray(metrics.effective_rank(solutions))}

    measured: ClassVar[str] = "effective rank: nuclear over operator norm, not that by entropy (metrics.entropy_rank)"

    @property
    def kernel_shape(self) -> NDArray[np.int64]:
        return np.array(self.widths, np.int64)

    def make_group(self, problem: NamedTuple, like: FloatArray, runs: int) -> Group:
        return make_group(problem, self.widths, like, runs)

    def make_batches(self, problem: NamedTuple, like: FloatArray, largest: int) -> Batches:
        samples = samples_of(problem, self.widths[0])
        return chain_batches(make_group(samples, self.widths, like, 1, "one"), samples, self.widths, largest)

    def make_field(self, problem: NamedTuple, weights: FloatArray, like: FloatArray) -> Field:
        return chain_field(problem, weights, self.widths, like)

    def make_curvature(self, problem: NamedTuple, like: FloatArray) -> Curvature:
        return chain_curvature(problem, self.widths, like)


def chain_product(factors: Sequence[FloatArray]) -> FloatArray:
    """``W_N ... W_1`` of factors first to last, each (..., d_j, d_{j-1})."""
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    return product
