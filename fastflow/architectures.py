"""Architectures: a network over an unknown of one shape. Where its factors lie, and what can be measured of them.

The factors of one run lie one after the other in flat storage, as the kernels take them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastflow import metrics
from fastflow.checks import FloatArray
from fastflow.kernels.networks.chain_group import make_group
from fastflow.kernels.networks.diagonal_together import make_vector_group

if TYPE_CHECKING:
    from fastflow.inits import Drawn

NEED_TRUTH = frozenset({"error", "support_recovery"})
"""What can be recorded only where the problem has a truth."""


class Architecture(ABC):
    """What `train`, records and results need to know of a network."""

    of_products: ClassVar[Collection[str]]
    """The records that are made from products."""
    of_factors: ClassVar[Collection[str]]
    """The records that are made from factors."""
    solution_axes: ClassVar[tuple[str, ...]]
    """The names of the axes of the solution."""

    @property
    @abstractmethod
    def factors_multiplied(self) -> int:
        """How many factors are multiplied, N or L."""

    @property
    @abstractmethod
    def solution_shape(self) -> tuple[int, ...]:
        """The shape of the product."""

    @property
    @abstractmethod
    def factor_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the factors, in the order in which they lie."""

    @property
    @abstractmethod
    def factor_axes(self) -> dict[str, tuple[str, ...]]:
        """The factors' names, in that order, and the names of their axes."""

    @property
    @abstractmethod
    def network(self) -> str:
        """The network in words."""

    @property
    @abstractmethod
    def stream_key(self) -> Sequence[Any]:
        """What a start's stream of random numbers is keyed by."""

    @property
    @abstractmethod
    def kernel_shape(self) -> NDArray[np.int64]:
        """What the kernels are told about the shape."""

    @property
    @abstractmethod
    def gradient_flops(self) -> int:
        """Floating-point operations of the product and its gradient by every factor, those of products only."""

    @property
    @abstractmethod
    def record_shapes(self) -> dict[str, tuple[int, ...]]:
        """What can be recorded of a run at one step, each with its shape."""

    @property
    @abstractmethod
    def attributes(self) -> dict[str, Any]:
        """The architecture as numbers that JSON can hold; `architecture_of` reads them."""

    @abstractmethod
    def draw(self, init: Drawn, rng: np.random.Generator) -> list[FloatArray]:
        """The factors of one start."""

    @abstractmethod
    def make_group(self, problem: Any, like: FloatArray, runs: int) -> Any:
        """The kernels' memory for runs that go together, of which there are so many."""

    @abstractmethod
    def measures(self, solutions: FloatArray) -> dict[str, FloatArray]:
        """What a summary says of solutions (runs, ...), by name."""

    @abstractmethod
    def records(
        self, products: FloatArray, factors: list[FloatArray], truths: FloatArray, wanted: Collection[str]
    ) -> dict[str, FloatArray]:
        """The wanted records of `of_products` and `of_factors`, from stacks of products, factors and truths."""

    @property
    def parameter_count(self) -> int:
        """The number of entries of all factors together."""
        return sum(map(math.prod, self.factor_shapes))

    def unpack(self, flat: Any) -> list[Any]:
        """Views of the factors in flat storage (..., parameters), each (..., *shape)."""
        factors, at = [], 0
        for shape in self.factor_shapes:
            size = math.prod(shape)
            factors.append(flat[..., at : at + size].reshape(*flat.shape[:-1], *shape))
            at += size
        return factors


def chain_product(factors: Sequence[FloatArray]) -> FloatArray:
    """``W_N ... W_1`` of factors first to last, each (..., d_j, d_{j-1})."""
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    return product


@dataclass(frozen=True)
class Chain(Architecture):
    """``W = W_N ... W_1`` with ``W_j`` of shape ``(d_j, d_{j-1})``, one after the other from W_1.

    Attributes
    ----------
    widths : (d_0, ..., d_N)
    """

    widths: tuple[int, ...]

    of_products = (
        "singular_values",
        "effective_rank",
        "product",
        "numerical_rank",
        "determinant_sign",
        "limit_distance",
    )
    of_factors = ("factors", "sharpness")
    solution_axes = ("row", "column")

    @property
    def factors_multiplied(self) -> int:
        return len(self.widths) - 1

    @property
    def solution_shape(self) -> tuple[int, int]:
        return self.widths[-1], self.widths[0]

    @property
    def factor_shapes(self) -> list[tuple[int, ...]]:
        return [(after, before) for before, after in pairwise(self.widths)]

    @property
    def factor_axes(self) -> dict[str, tuple[str, ...]]:
        return {f"factor_{j}": (f"width_{j}", f"width_{j - 1}") for j in range(1, len(self.widths))}

    @property
    def network(self) -> str:
        return f"DeepLinear(widths={self.widths})"

    @property
    def stream_key(self) -> Sequence[Any]:
        return self.widths

    @property
    def kernel_shape(self) -> NDArray[np.int64]:
        return np.array(self.widths, np.int64)

    @property
    def gradient_flops(self) -> int:
        """Swept from the cheaper side."""
        sizes = list(map(math.prod, self.factor_shapes))
        return 6 * min(self.widths[0] * sum(sizes[1:]), self.widths[-1] * sum(sizes[:-1]))

    @property
    def record_shapes(self) -> dict[str, tuple[int, ...]]:
        square = self.solution_shape[0] == self.solution_shape[1]
        return {
            "loss": (),
            "gradient_norm": (),
            "balancedness": (),
            "effective_rank": (),
            "error": (),
            "singular_values": (min(self.solution_shape),),
            "product": self.solution_shape,
            "factors": (self.parameter_count,),
            "numerical_rank": (),
            **({"determinant_sign": ()} if square else {}),
            "sharpness": (),
            "limit_distance": (),
        }

    @property
    def attributes(self) -> dict[str, Any]:
        return {"widths": list(self.widths)}

    def draw(self, init: Drawn, rng: np.random.Generator) -> list[FloatArray]:
        return init.factors(self.widths, rng)

    def make_group(self, problem: Any, like: FloatArray, runs: int) -> Any:
        return make_group(problem, self.widths, like, runs)

    def measures(self, solutions: FloatArray) -> dict[str, FloatArray]:
        return {"effective rank": metrics.effective_rank(solutions)}

    def records(
        self, products: FloatArray, factors: list[FloatArray], truths: FloatArray, wanted: Collection[str]
    ) -> dict[str, FloatArray]:
        made, finite = {"product": products}, np.isfinite(products).all(axis=(1, 2))
        if not {"singular_values", "effective_rank", "numerical_rank"}.isdisjoint(wanted):
            values = np.full((len(products), min(self.solution_shape)), np.nan, products.dtype)
            values[finite] = metrics.singular_values(products[finite])
            made |= {"singular_values": values, "effective_rank": metrics.effective_rank_of_values(values)}
            made["numerical_rank"] = np.where(
                finite, metrics.numerical_rank_of_values(values, self.solution_shape), np.nan
            )
        if "determinant_sign" in wanted:
            signs = np.full(len(products), np.nan)
            signs[finite] = np.linalg.slogdet(products[finite])[0]
            made["determinant_sign"] = signs
        return made


@dataclass(frozen=True)
class Hadamard(Architecture):
    """``x = u_1 o ... o u_L``, less ``v_1 o ... o v_L`` if signed: one vector u, then one v, if factors are identical.

    Attributes
    ----------
    size : int, n
    depth : int, L
    signed, identical : bool
    """

    size: int
    depth: int
    signed: bool
    identical: bool

    of_products = ("l1_norm", "l2_norm", "support_size", "support_recovery", "product", "limit_distance")
    of_factors = ("effective_alpha", "factors", "sharpness")
    solution_axes = ("coordinate",)

    @property
    def factors_multiplied(self) -> int:
        return self.depth

    @property
    def solution_shape(self) -> tuple[int]:
        return (self.size,)

    @property
    def sides(self) -> str:
        """``"uv"`` if signed, else ``"u"``."""
        return "uv" if self.signed else "u"

    @property
    def factor_shapes(self) -> list[tuple[int, ...]]:
        return [(self.size,)] * len(self.factor_axes)

    @property
    def factor_axes(self) -> dict[str, tuple[str, ...]]:
        numbers = [""] if self.identical else [f"_{j}" for j in range(1, self.depth + 1)]
        return {f"factor_{side}{number}": ("coordinate",) for side in self.sides for number in numbers}

    @property
    def network(self) -> str:
        return f"DiagonalLinear(depth={self.depth}, signed={self.signed}, identical={self.identical})"

    @property
    def stream_key(self) -> Sequence[Any]:
        return "diagonal", self.size, len(self.factor_axes)

    @property
    def kernel_shape(self) -> NDArray[np.int64]:
        return np.array(self.solution_shape, np.int64)

    @property
    def gradient_flops(self) -> int:
        return 0

    @property
    def record_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
            (
                "loss",
                "gradient_norm",
                "l1_norm",
                "l2_norm",
                "support_size",
                "error",
                "support_recovery",
                "sharpness",
                "limit_distance",
            ),
            (),
        )
        if self.signed:
            shapes["effective_alpha"] = (3,)
        if not self.identical:
            shapes["balancedness"] = ()
        return shapes | {"product": self.solution_shape, "factors": (self.parameter_count,)}

    @property
    def attributes(self) -> dict[str, Any]:
        return {"size": self.size, "depth": self.depth, "signed": int(self.signed), "identical": int(self.identical)}

    def draw(self, init: Drawn, rng: np.random.Generator) -> list[FloatArray]:
        return init.vectors(self, rng)

    def make_group(self, problem: Any, like: FloatArray, runs: int) -> Any:
        form = (self.depth, self.signed, self.identical)
        return make_vector_group(problem, self.size, self.parameter_count, form, like, runs)

    def measures(self, solutions: FloatArray) -> dict[str, FloatArray]:
        return {"l1 norm": metrics.l1_norm(solutions), "support size": metrics.support(solutions).sum(axis=-1)}

    def sides_of(self, factors: list[FloatArray]) -> list[list[FloatArray]]:
        """The L factors of u, and those of v if signed."""
        count = len(factors) // len(self.sides)
        sides = [factors[at : at + count] for at in range(0, len(factors), count)]
        return [side * self.depth for side in sides] if self.identical else sides

    def gradient_norm(self, factors: list[FloatArray], gradient: FloatArray) -> FloatArray:
        """The norm (...) of the gradient by all L factors of each side, given that by x; all (..., n)."""
        total = np.zeros(gradient.shape[:-1])
        for side in self.sides_of(factors):
            for j in range(self.depth):
                others = np.prod([gradient, *side[:j], *side[j + 1 :]], axis=0)
                total += np.sum(others**2, axis=-1)
        return np.sqrt(total)

    def balancedness(self, factors: list[FloatArray]) -> FloatArray:
        """The larger of `metrics.balancedness_of_vectors` of both sides, (...)."""
        return np.max([metrics.balancedness_of_vectors(side) for side in self.sides_of(factors)], axis=0)

    def records(
        self, products: FloatArray, factors: list[FloatArray], truths: FloatArray, wanted: Collection[str]
    ) -> dict[str, FloatArray]:
        made: dict[str, FloatArray] = {}
        if not set(wanted).isdisjoint(self.of_products):
            made |= {
                "product": products,
                "l1_norm": metrics.l1_norm(products),
                "l2_norm": metrics.l2_norm(products),
                "support_size": metrics.support(products).sum(axis=-1),
            }
        if "support_recovery" in wanted:
            made["support_recovery"] = metrics.support_recovery(products, truths)
        if "effective_alpha" in wanted:
            alpha = metrics.effective_alpha(factors, self.depth)
            made["effective_alpha"] = np.stack([alpha.min(-1), np.median(alpha, -1), alpha.max(-1)], axis=-1)
        return made


def architecture_of(attributes: Mapping[str, Any]) -> Architecture:
    """The architecture with these `attributes`; others among them are ignored."""
    if "widths" in attributes:
        return Chain(tuple(attributes["widths"]))
    return Hadamard(attributes["size"], attributes["depth"], bool(attributes["signed"]), bool(attributes["identical"]))
