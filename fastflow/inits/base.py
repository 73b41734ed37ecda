"""What every init brings, and the parameters that most of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray, as_number, one_of
from fastflow.each import Each
from fastflow.equality import by_value
from fastflow.networks import Architecture, Chain, DeepLinear, Network
from fastflow.streams import Streams

Factors = list[FloatArray]
WHOSE = ("factor", "product")


class RuleMemory(NamedTuple):
    """What an update rule remembers of runs, with which they go on as if they had never stopped.

    Attributes
    ----------
    rule : str, whose memory it is: that of a method of the same name
    slots : array (runs, slots * parameters), numbers for each entry of the factors, such as velocities
    rates : array (runs, 2), numbers for each run
    begun : int array (runs,), the steps at which the memory began
    """

    rule: str
    slots: FloatArray
    rates: FloatArray
    begun: NDArray[np.int64]


@by_value()
class Init(ABC):
    """The factors at step 0.

    Examples
    --------
    >>> architecture = ff.DeepLinear(2).architecture(ff.MatrixEstimation(np.eye(3)))
    >>> [factor.shape for factor in ff.inits.Gaussian(0.1).draw(architecture, np.random.default_rng(0))]
    [(3, 3), (3, 3)]
    """

    networks: ClassVar[tuple[type[Network], ...]]
    """What it can start."""
    steps: NDArray[np.int64] | None = None
    """The steps that each run has already taken; None where all begin."""
    memory: RuleMemory | None = None
    """What the rule remembers by which each run came there; None where all begin."""

    @property
    def random(self) -> bool:
        """Whether starts differ."""
        return True

    @property
    def per_run(self) -> tuple[Each, ...]:
        """What has a value for each run."""
        return ()

    def of_run(self, run: int) -> Init:
        """This init as run ``run`` of a call has it, without values for the others."""
        return self

    @abstractmethod
    def draw(self, architecture: Architecture, rng: np.random.Generator) -> Factors:
        """The factors of one run, in the order of its architecture."""

    def drawing(self, architecture: Architecture) -> Callable[[np.random.Generator], FloatArray]:
        """A function that draws the factors of one run as `draw` does, flat: for the starts of many runs."""

        def draw(rng: np.random.Generator) -> FloatArray:
            return np.concatenate([factor.ravel() for factor in self.draw(architecture, rng)])

        return draw

    def title(self, architecture: Architecture) -> str:
        """This init in words."""
        return repr(self)

    def count(self, architecture: Architecture) -> int | None:
        """How many starts there are; None where that is for the user to say.

        Raises
        ------
        ValueError
            for factors that are not of this architecture
        """
        return None

    def fill(
        self,
        architecture: Architecture,
        seed: int,
        trials: NDArray[np.int64],
        starts: NDArray[np.int64],
        factors: FloatArray,
    ) -> None:
        """Set ``factors`` (runs, parameters) to the starts of runs, which are such a start of such a trial each.

        Raises
        ------
        ValueError
            for a start that is 0, or not finite, in the dtype of ``factors``
        """
        stream = Streams(seed, "init", architecture.stream_key)
        draw = None if self.per_run else self.drawing(architecture)
        with np.errstate(over="ignore"):  # what does not fit the dtype is refused below
            for run, (trial, start) in enumerate(zip(trials.tolist(), starts.tolist(), strict=True)):
                own = self.of_run(run).drawing(architecture) if draw is None else draw
                factors[run] = own(stream(trial, start))
        if not np.isfinite(factors).all() or not factors.any(axis=1).all():
            raise ValueError(f"a start of {self} is zero or not finite in {factors.dtype.name}: choose another scale")


@dataclass(frozen=True)
class ScaledInit(Init):
    """What the random and the identity starts share.

    ``scale`` is a number > 0, or `fastflow.each` of them, ``of`` "product" or "factor", whose scale it is (see
    `fastflow.inits`).
    """

    scale: float | Each = 1e-3
    of: str = "product"

    def __post_init__(self) -> None:
        if not isinstance(self.scale, Each):
            object.__setattr__(self, "scale", as_number("scale", self.scale, above=0))
        one_of("of", self.of, WHOSE)

    @property
    def per_run(self) -> tuple[Each, ...]:
        return (self.scale,) if isinstance(self.scale, Each) else ()

    def of_run(self, run: int) -> Init:
        return replace(self, scale=float(self.scale.values[run])) if isinstance(self.scale, Each) else self

    @property
    def number(self) -> float:
        """The scale of one run.

        Raises
        ------
        TypeError
            where each run has one of its own
        """
        if isinstance(self.scale, Each):
            raise TypeError(f"scale is {self.scale}, and one start has one scale: take init.of_run(i)")
        return self.scale


@dataclass(frozen=True)
class ChainInit(ScaledInit):
    """Scaled matrices, which start a chain of factors."""

    networks: ClassVar[tuple[type[Network], ...]] = (DeepLinear,)

    @abstractmethod
    def unscaled(self, chain: Chain, rng: np.random.Generator) -> Factors:
        """What ``of="factor"`` multiplies."""

    @abstractmethod
    def product_energy(self, chain: Chain) -> float:
        """``E ||W||_F^2`` of the product of unscaled factors."""

    def factor_scale(self, chain: Chain) -> float:
        """What each factor is multiplied by."""
        return self.number if self.of == "factor" else chain.factor_scale(self.number, self.product_energy(chain))

    def draw(self, architecture: Architecture, rng: np.random.Generator) -> Factors:
        assert isinstance(architecture, Chain)
        scale = self.factor_scale(architecture)
        return [scale * factor for factor in self.unscaled(architecture, rng)]


def balanced_factors(left: FloatArray, roots: FloatArray, right: FloatArray, widths: Sequence[int]) -> Factors:
    """Balanced factors of ``left diag(roots^N) right``, left and right with orthonormal columns and rows."""
    hidden = (np.eye(width, len(roots)) for width in widths[1:-1])
    return [(after * roots) @ before.T for before, after in pairwise([right.T, *hidden, left])]
