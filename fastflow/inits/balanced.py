"""Balanced starts of chains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import as_floats, frozen
from fastflow.each import Each
from fastflow.inits.base import Factors, ScaledInit, balanced_factors
from fastflow.networks import Architecture, Chain, DeepLinear, Network


@dataclass(frozen=True, eq=False)
class Balanced(ScaledInit):
    """Exactly balanced factors, ``W_{j+1}^T W_{j+1} = W_j W_j^T``, of a given or a random product.

    ``W_N ... W_1 = U S V^T`` is split into ``W_j = F_j S^{1/N} F_{j-1}^T`` with ``F_0 = V``, ``F_N = U`` and the
    first columns of the identity between.

    Parameters
    ----------
    scale, of : as those of `Gaussian`; they multiply the product by ``scale`` or by ``scale**N``. With a given product
        the default scale is 1.
    product : array (d_N, d_0) of rank at most ``min_j d_j``, the same start in every run; or None, a random one in
        every run: the leading part of rank ``min_j d_j`` of a Gaussian matrix, normalised to
        ``||W||_F^2 = scale^2 min_j d_j`` exactly

    Examples
    --------
    >>> architecture = ff.DeepLinear(3).architecture(ff.MatrixEstimation(np.eye(3)))
    >>> factors = ff.inits.Balanced(0.1).draw(architecture, np.random.default_rng(0))
    >>> bool(ff.metrics.balancedness(factors) < 1e-12)
    True
    """

    networks: ClassVar[tuple[type[Network], ...]] = (DeepLinear,)

    scale: float | Each | None = None  # type: ignore[assignment]
    product: ArrayLike | None = None

    def __post_init__(self) -> None:
        if self.scale is None:
            object.__setattr__(self, "scale", 1.0 if self.product is not None else ScaledInit.scale)
        super().__post_init__()
        if self.product is not None:
            object.__setattr__(self, "product", frozen(as_floats("product", self.product, 2)))

    @property
    def random(self) -> bool:
        return self.product is None

    def draw(self, architecture: Architecture, rng: np.random.Generator) -> Factors:
        assert isinstance(architecture, Chain)
        widths = architecture.widths
        depth, rank = len(widths) - 1, min(widths)
        shape = (widths[-1], widths[0])
        scale = self.number
        if self.product is None:
            matrix = rng.standard_normal(shape)
        else:
            matrix = np.asarray(self.product)
            if matrix.shape != shape:
                raise ValueError(f"product must have the shape {shape} of W, got {matrix.shape}")
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        if self.product is None:
            values[:rank] *= math.sqrt(rank / np.sum(values[:rank] ** 2))
        elif np.any(values[rank:] > 1e-12 * values[0]):
            raise ValueError(f"product has rank above the smallest width {rank}, so these factors cannot have it")
        # What is 0 but for round-off must be 0: its root, 5e-6 of 1e-16 at depth 3, would be seen.
        values[values <= max(shape) * np.finfo(float).eps * values[0]] = 0
        roots = values[:rank] ** (1 / depth) * (scale if self.of == "factor" else scale ** (1 / depth))
        return balanced_factors(left[:, :rank], roots, right[:rank], widths)
