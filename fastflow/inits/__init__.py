"""Inits: the factors at step 0.

Each draws unscaled and then scales, so that starts of different scales share their random numbers. ``of="factor"``
multiplies N(0, 1) entries, U(-1, 1) entries, the identity or an orthonormal Q by ``scale``; ``of="product"`` makes
``E ||W||_F^2 = scale^2 min_j d_j``, as ``W = scale I`` has. In a DiagonalLinear network that is said of each of the
products ``u_1 o ... o u_L`` and ``v_1 o ... o v_L``: ``E ||.||^2 = scale^2 n``.
"""

from fastflow.inits.balanced import Balanced
from fastflow.inits.base import Init
from fastflow.inits.constant import Constant
from fastflow.inits.entries import Gaussian, Uniform
from fastflow.inits.explicit import Explicit
from fastflow.inits.identity import Identity
from fastflow.inits.orthogonal import Orthogonal

__all__ = ["Balanced", "Constant", "Explicit", "Gaussian", "Identity", "Init", "Orthogonal", "Uniform"]

INITS: tuple[type[Init], ...] = (Gaussian, Uniform, Orthogonal, Balanced, Identity, Constant, Explicit)
"""Every init that there is."""
