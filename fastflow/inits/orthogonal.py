"""Orthogonal starts of chains."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastflow.checks import FloatArray
from fastflow.inits.base import ChainInit, Factors
from fastflow.networks import Chain


@dataclass(frozen=True)
class Orthogonal(ChainInit):
    """Independent Haar matrices with orthonormal rows or columns (whichever are fewer), scaled.

    Parameters
    ----------
    scale : float > 0, or `fastflow.each` of them, one for each run
    of : "product" or "factor"
        Whose scale it is: see `fastflow.inits`.

    Examples
    --------
    >>> architecture = ff.DeepLinear(2).architecture(ff.MatrixEstimation(np.eye(3)))
    >>> W, V = ff.inits.Orthogonal(0.1, of="factor").draw(architecture, np.random.default_rng(0))
    >>> bool(np.allclose(W @ W.T, 0.01 * np.eye(3)))
    True
    """

    def unscaled(self, chain: Chain, rng: np.random.Generator) -> Factors:
        return [_haar(rows, columns, rng) for rows, columns in chain.factor_shapes]

    def product_energy(self, chain: Chain) -> float:
        # A factor that lowers the dimension from d to d' keeps d'/d of the squared norm on average, others all of it.
        shrink = (min(1.0, rows / columns) for rows, columns in chain.factor_shapes)
        return chain.widths[0] * math.prod(shrink)


def _haar(rows: int, columns: int, rng: np.random.Generator) -> FloatArray:
    """A matrix from the Haar measure, with orthonormal columns if rows >= columns, else orthonormal rows."""
    gaussian = rng.standard_normal((rows, columns) if rows >= columns else (columns, rows))
    q, r = np.linalg.qr(gaussian)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if rows >= columns else np.ascontiguousarray(q.T)
