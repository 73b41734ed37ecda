"""What every network brings: a word that the user says, and its architecture over an unknown of one shape."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray
from fastflow.equality import by_value
from fastflow.problems import Problem

BALANCED = 1e-9
"""The largest balancedness of factors that are balanced but for round-off, relative to their `balance_scale`."""

EXACTLY = 1e-13
"""The same where theorems on balanced starts are said of factors: what weak directions lack by more than round-off lets
them turn their sign."""


Attributes = Mapping[str, float | list[int]]
"""An architecture as numbers that JSON can hold."""


class Group(Protocol):
    """The kernels' memory for runs that go together, see `fastflow.kernels.networks.group`."""

    @property
    def run(self) -> NDArray[np.int64]:
        """The run of each member, -1 where there is none, (members,)."""

    @property
    def factors(self) -> FloatArray:
        """Those of all members, as the group lays them out."""


class OfSamples(Protocol):
    """What a problem is made of, see `fastflow.kernels.losses.samples`."""

    @property
    def outputs(self) -> int:
        """The labels that a sample has."""


class Batches(Protocol):
    """The kernels' memory for steps along batches, see `fastflow.kernels.networks.batches`."""

    @property
    def samples(self) -> OfSamples:
        """What samples are like."""


class Curvature(Protocol):
    """The kernels' memory for one point, see `fastflow.kernels.networks.curvature`."""

    @property
    def factors(self) -> FloatArray:
        """The point, (parameters,)."""

    @property
    def gradient(self) -> FloatArray:
        """The gradient there by all factors, (parameters,)."""


class Field(Protocol):
    """The kernels' memory for a vector field, see `fastflow.kernels.networks.vector_field`."""

    @property
    def product(self) -> FloatArray:
        """The product W or x, flat."""

    @property
    def curvature(self) -> Curvature:
        """Memory for Hessian-vector products."""

    @property
    def members(self) -> int:
        """How many runs go together."""


@by_value()
class Network(ABC):
    """How the unknown is factored, whatever its size."""

    is_chain: ClassVar[bool] = False
    """Whether W is a product ``W_N ... W_1`` of matrices that are the factors, of which theorems on chains hold."""

    has_flow: ClassVar[bool] = False
    """Whether its architecture makes the field of its flow (`Architecture.make_field`)."""
    has_hessian: ClassVar[bool] = False
    """Whether its architecture makes Hessian-vector products (`Architecture.make_curvature`)."""

    @property
    def is_counted(self) -> bool:
        """Whether there is a whole number of factors, which descent, and all that is said factor by factor, needs."""
        return True

    @abstractmethod
    def pose(self, problem: Problem) -> Problem:
        """The problem as this network sees it.

        Raises
        ------
        TypeError, ValueError
            for a problem whose unknown this network does not factor
        """

    @abstractmethod
    def architecture(self, problem: Problem) -> Architecture:
        """The factors for the unknown of a problem."""


class Architecture(ABC):
    """A network over an unknown of one shape: where its factors lie, and what holds of them.

    The factors of one run lie one after the other in flat storage, as the kernels take them.
    """

    solution_axes: ClassVar[tuple[str, ...]]
    """The names of the axes of the solution."""

    @property
    @abstractmethod
    def network(self) -> Network:
        """The network that gives this architecture."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The network in words."""

    @property
    @abstractmethod
    def factors_multiplied(self) -> float:
        """How many factors are multiplied, N or L, an int where the network `is_counted <Network.is_counted>`."""

    @property
    @abstractmethod
    def solution_shape(self) -> tuple[int, ...]:
        """The shape of the product."""

    @property
    @abstractmethod
    def factor_shapes(self) -> Sequence[tuple[int, ...]]:
        """The shapes of the factors, all with as many axes, in the order in which they lie."""

    @property
    @abstractmethod
    def factor_axes(self) -> dict[str, tuple[str, ...]]:
        """The factors' names, in that order, and the names of their axes."""

    @property
    @abstractmethod
    def stream_key(self) -> Sequence[int | str]:
        """What a start's stream of random numbers is keyed by."""

    @property
    @abstractmethod
    def attributes(self) -> Attributes:
        """The architecture as numbers that JSON can hold; `read` reads them."""

    @classmethod
    @abstractmethod
    def read(cls, attributes: Attributes) -> Architecture | None:
        """The architecture with these `attributes`, or None if they are those of another kind."""

    @property
    @abstractmethod
    def gradient_flops(self) -> int:
        """Floating-point operations of the product and its gradient by every factor, those of products only."""

    @property
    def sides(self) -> str:
        """A letter for each of the products of vectors whose difference is x; none where factors are matrices."""
        return ""

    @property
    def has_balance(self) -> bool:
        """Whether factors have a balance of their own to record."""
        return True

    @property
    def starts_positive(self) -> bool:
        """Whether entries that start at random must be positive, since they cannot change their sign."""
        return False

    @abstractmethod
    def entry_scale(self, scale: float, moment: Callable[[float], float]) -> float:
        """What random entries are multiplied by so that the product has the size that ``scale`` asks for.

        Parameters
        ----------
        scale : float
            ``E ||W||_F^2`` is to be ``scale^2 min_j d_j``, of each product of vectors ``scale^2 n``.
        moment : function of an even k, ``E |w|^k`` of an unscaled entry w
        """

    @abstractmethod
    def balancedness(self, factors: Sequence[FloatArray]) -> FloatArray:
        """How far factors (..., *shape) are from balanced, (...): 0 where the flow keeps them equal."""

    @abstractmethod
    def balance_scale(self, factors: Sequence[FloatArray]) -> FloatArray:
        """The size (...) of factors (..., *shape) that their `balancedness` is relative to."""

    @abstractmethod
    def describe_balance(self, factors: Sequence[FloatArray]) -> str:
        """Whether a start is balanced and what the flow from there keeps, in one sentence."""

    def balanced(self, factors: Sequence[FloatArray], tolerance: float = BALANCED) -> NDArray[np.bool_]:
        """Whether factors (..., *shape) are balanced up to a tolerance relative to their `balance_scale`, (...)."""
        return np.asarray(self.balancedness(factors) <= tolerance * self.balance_scale(factors))

    @property
    def independent(self) -> Architecture:
        """The architecture with a variable for every factor: this one, unless one variable stands for several."""
        return self

    def independent_factors(self, factors: Sequence[FloatArray]) -> list[FloatArray]:
        """The factors of the `independent` architecture that are equal to these."""
        return list(factors)

    def expected_solution(self, problem: Problem) -> FloatArray:
        """The solution that the data of a posed problem point to, as far as this architecture can reach it.

        Raises
        ------
        ValueError
            where none is known
        """
        raise ValueError(f"nothing is known of the solution that a {type(self.network).__name__} network comes to")

    def least_loss(self, problem: Problem) -> float:
        """A lower bound of the loss of a posed problem over what this architecture reaches; minus infinity for none."""
        return -np.inf

    def largest_curvature(self, problem: Problem, rtol: float, operations: float = math.inf) -> float:
        """The largest eigenvalue of the Hessian by all factors at balanced factors of the `expected_solution`.

        Residuals that remain there are taken as zero.

        Parameters
        ----------
        problem : as the network poses it
        rtol : float > 0
            Where an iteration must find the eigenvalue, it ends when a turn changes it by less than this share.
        operations : float, how many of floating point it may cost, about

        Raises
        ------
        ValueError
            where it is 0, not known, or costs more
        """
        raise ValueError(f"no stability edge is known for a {type(self.network).__name__} network: give a step")

    @abstractmethod
    def measures(self, solutions: FloatArray) -> dict[str, FloatArray]:
        """What a summary says of solutions (runs, ...), by name."""

    measured: ClassVar[str] = ""
    """What a summary says of the names of these measures, where one means several things in the field."""

    @property
    @abstractmethod
    def kernel_shape(self) -> NDArray[np.int64]:
        """What the kernels are told about the shape, of which the first entry is d_0, or n."""

    @abstractmethod
    def make_group(self, problem: NamedTuple, like: FloatArray, runs: int) -> Group:
        """The kernels' memory for descent of runs that go together, of which there are so many."""

    def make_batches(self, problem: NamedTuple, like: FloatArray, largest: int) -> Batches:
        """The kernels' memory for steps of one run along batches, of which the largest has so many samples.

        Parameters
        ----------
        problem : as `Problem.kernel_samples` has it
        like : array of the dtype of all arithmetic
        largest : int
        """
        raise NotImplementedError(f"a {type(self.network).__name__} network has no kernels for batches")

    def make_field(self, problem: NamedTuple, weights: FloatArray, like: FloatArray) -> Field:
        """The kernels' memory for the vector field of the flow of runs; ``like`` is flat.

        Of a network that `has_flow <Network.has_flow>`.
        """
        raise NotImplementedError(f"the flow of a {type(self.network).__name__} network has no kernels")

    def make_curvature(self, problem: NamedTuple, like: FloatArray) -> Curvature:
        """The kernels' memory for Hessian-vector products at one point; ``like`` is flat.

        Of a network that `has_hessian <Network.has_hessian>`.
        """
        raise NotImplementedError(f"the Hessian of a {type(self.network).__name__} network has no kernels")

    @property
    def parameter_count(self) -> int:
        """The number of entries of all factors together."""
        return sum(map(math.prod, self.factor_shapes))

    def unpack(self, flat: FloatArray) -> list[FloatArray]:
        """Views of the factors in flat storage (..., parameters), each (..., *shape)."""
        factors, at = [], 0
        for shape in self.factor_shapes:
            size = math.prod(shape)
            factors.append(flat[..., at : at + size].reshape(*flat.shape[:-1], *shape))
            at += size
        return factors
