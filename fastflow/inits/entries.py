"""Starts with independent entries, which any network can have."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastflow.checks import FloatArray
from fastflow.inits.base import Factors, ScaledInit
from fastflow.networks import Architecture, Network


@dataclass(frozen=True)
class EntryInit(ScaledInit):
    """Independent entries, scaled. Those of identical factors are positive (`DiagonalLinear`), unless L = 1."""

    networks: ClassVar[tuple[type[Network], ...]] = (Network,)

    @abstractmethod
    def entries(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Unscaled entries."""

    @abstractmethod
    def moment(self, order: float) -> float:
        """``E |w|^order`` of an unscaled entry w, order >= 2."""

    def draw(self, architecture: Architecture, rng: np.random.Generator) -> Factors:
        return architecture.unpack(self.drawing(architecture)(rng))

    def drawing(self, architecture: Architecture) -> Callable[[np.random.Generator], FloatArray]:
        scale = architecture.entry_scale(self.number, self.moment) if self.of == "product" else self.number
        size, positive = (architecture.parameter_count,), architecture.starts_positive

        def draw(rng: np.random.Generator) -> FloatArray:
            entries = self.entries(size, rng)  # of all factors at once: the same numbers as one after the other
            return scale * (np.abs(entries) if positive else entries)

        return draw


@dataclass(frozen=True)
class Gaussian(EntryInit):
    """Independent N(0, 1) entries, scaled; their magnitudes for identical factors of a DiagonalLinear network.

    Parameters
    ----------
    scale : float > 0, or `fastflow.each` of them, one for each run
    of : "product" or "factor"
        Whose scale it is: see `fastflow.inits`.

    Examples
    --------
    >>> init = ff.inits.Gaussian(1e-3)  # of the product
    >>> init = ff.inits.Gaussian(0.1, of="factor")
    """

    def entries(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        return rng.standard_normal(shape)

    def moment(self, order: float) -> float:
        if order % 2 == 0:
            return float(math.prod(range(int(order) - 1, 0, -2)))
        return 2 ** (order / 2) * math.gamma((order + 1) / 2) / math.sqrt(math.pi)


@dataclass(frozen=True)
class Uniform(EntryInit):
    """Independent U(-1, 1) entries, scaled; their magnitudes for identical factors of a DiagonalLinear network.

    Parameters
    ----------
    scale : float > 0, or `fastflow.each` of them, one for each run
    of : "product" or "factor"
        Whose scale it is: see `fastflow.inits`.

    Examples
    --------
    >>> init = ff.inits.Uniform(1e-3)  # of the product
    >>> init = ff.inits.Uniform(0.1, of="factor")
    """

    def entries(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        return rng.uniform(-1, 1, shape)

    def moment(self, order: float) -> float:
        return 1 / (order + 1)
