"""Identical starts of chains, as theorems take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastflow.checks import as_number
from fastflow.inits.base import ChainInit, Factors
from fastflow.networks import Architecture, Chain


@dataclass(frozen=True)
class Identity(ChainInit):
    """Scaled identities (rectangular ones where the widths differ), the same in every run.

    Parameters
    ----------
    scale, of : as those of `Gaussian`
    perturbation : float >= 0
        The last factor is smaller by this multiple of the identity: ``(alpha - perturbation) I`` beside ``alpha I``.
        Any positive value lets a product of two or more factors reach negative eigenvalues, which an exactly
        identical start never does (Chou, Gieshoff, Maly, Rauhut, arXiv:2011.13772).

    Examples
    --------
    >>> architecture = ff.DeepLinear(2).architecture(ff.MatrixEstimation(np.eye(2)))
    >>> ff.inits.Identity(0.1, of="factor").draw(architecture, np.random.default_rng(0))[0].tolist()
    [[0.1, 0.0], [0.0, 0.1]]
    """

    perturbation: float = 0.0

    @property
    def random(self) -> bool:
        return False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "perturbation", as_number("perturbation", self.perturbation, least=0))

    def unscaled(self, chain: Chain, rng: np.random.Generator) -> Factors:
        return [np.eye(rows, columns) for rows, columns in chain.factor_shapes]

    def product_energy(self, chain: Chain) -> float:
        return float(min(chain.widths))

    def draw(self, architecture: Architecture, rng: np.random.Generator) -> Factors:
        factors = super().draw(architecture, rng)
        assert isinstance(architecture, Chain)
        if self.perturbation:
            alpha = self.factor_scale(architecture)
            if self.perturbation >= alpha:
                raise ValueError(
                    f"perturbation must be less than the scale {alpha:g} of a factor, got {self.perturbation:g}"
                )
            factors[-1] = (alpha - self.perturbation) * np.eye(*factors[-1].shape)
        return factors
