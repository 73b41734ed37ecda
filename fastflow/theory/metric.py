"""The metric of the balanced flow on matrices of one rank, and its inverse ``A_W``.

In the singular bases of W both are diagonal (`fastflow.networks.singular_bases`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_count, as_floats
from fastflow.metrics import quiet
from fastflow.networks.singular_bases import singular_bases

TANGENT_TOL = 1e-8
"""The share of a direction's norm that may be normal to the matrices of a rank where it counts as tangent."""


@quiet
def metric_inverse(product: ArrayLike, direction: ArrayLike, depth: int) -> FloatArray:
    """``A_W(Z) = sum_j (W W^T)^{(N-j)/N} Z (W^T W)^{(j-1)/N}``, j = 1 .. N; the power 0 is the identity.

    The balanced gradient flow of ``f(W_N ... W_1)`` moves the product by ``dW/dt = -A_W(grad f(W))`` (Arora, Cohen,
    Hazan 2018; Bah, Rauhut, Terstiege, Westdickenberg, arXiv:1910.05505). For N >= 2 what it moves by is tangent to the
    matrices of the rank of W, so the rank stays.

    Parameters
    ----------
    product : array (..., d_N, d_0), W
    direction : array (..., d_N, d_0), Z
    depth : int, N

    Returns
    -------
    array (..., d_N, d_0)

    Examples
    --------
    >>> W, Z = np.diag([4.0, 1]), np.diag([1.0, 1])
    >>> ff.theory.metric_inverse(W, Z, depth=2).round(12).tolist()  # 2 s on the diagonal
    [[8.0, 0.0], [0.0, 2.0]]
    """
    at, direction, depth = _checked(product, direction, depth)
    bases = singular_bases(at, depth)
    return bases.scale(direction, bases.eigenvalues)


@quiet
def metric(product: ArrayLike, direction: ArrayLike, depth: int) -> FloatArray:
    """``A_W^{-1}(Z)`` of Z tangent at W to the matrices of the rank of W: the inverse of `metric_inverse` there.

    The metric of which the balanced flow is the gradient flow is ``<Z_1, Z_2>_W = <A_W^{-1}(Z_1), Z_2>``, which is
    ``numpy.sum(metric(W, Z_1, N) * Z_2)``; for N >= 2 it equals (arXiv:1910.05505)

        (sin(pi/N)/pi) int_0^inf t^{1/N} tr[(t I + W W^T)^{-1} Z_1 (t I + W^T W)^{-1} Z_2^T] dt.

    Parameters
    ----------
    product : array (..., d_N, d_0), W
    direction : array (..., d_N, d_0), Z
    depth : int, N

    Returns
    -------
    array (..., d_N, d_0)

    Raises
    ------
    ValueError
        for N >= 2 if Z is not tangent: if ``u^T Z v != 0`` for some u, v with ``u^T W = 0``, ``W v = 0``

    Examples
    --------
    >>> W, Z = np.diag([4.0, 1]), np.diag([1.0, 1])
    >>> ff.theory.metric(W, Z, depth=2).round(12).tolist()  # 1 / (2 s) on the diagonal
    [[0.125, 0.0], [0.0, 0.5]]
    """
    at, direction, depth = _checked(product, direction, depth)
    bases = singular_bases(at, depth)
    if depth == 1:
        return bases.scale(direction, bases.eigenvalues)
    outside = np.linalg.norm(bases.scale(direction, bases.normal), axis=(-2, -1))
    size = np.linalg.norm(direction, axis=(-2, -1))
    if np.any(outside > TANGENT_TOL * size):
        share = float(np.max(outside / np.where(size > 0, size, 1)))
        raise ValueError(
            f"direction must be tangent to the matrices of the rank of the product: {share:.2g} of its norm is not; "
            "A_W(Z) and any Z = W B + C W are"
        )
    return bases.scale(direction, np.where(bases.normal, 0, 1 / np.where(bases.normal, 1, bases.eigenvalues)))


def _checked(product: ArrayLike, direction: ArrayLike, depth: int) -> tuple[FloatArray, FloatArray, int]:
    at, moved = (
        as_floats(name, a, None).astype(np.float64) for name, a in zip(_NAMES, (product, direction), strict=True)
    )
    for name, array in zip(_NAMES, (at, moved), strict=True):
        if array.ndim < 2:
            raise ValueError(f"{name} must be a matrix or a stack (..., d_N, d_0), got shape {array.shape}")
    if at.shape[-2:] != moved.shape[-2:]:
        raise ValueError(f"direction must have the shape {at.shape[-2:]} of the product, got {moved.shape[-2:]}")
    return at, moved, as_count("depth", depth, 1)


_NAMES = ("product", "direction")
