"""Limits by products for L > 2 and small starts, where all but the entries of basis pursuit are next to nothing.

There ``A diag(dx/dz) A^T`` is singular as far as floats tell: its parts differ by the power 2 L - 2 of the start. But
then the limit is that of least squares on the support of basis pursuit, with the ends of the mirror's domain for costs,
beside entries that the dual variable gives: those are found first, and corrected until x = x(A^T u) and A x = y.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow import kernels
from fastflow.baselines.least_l1 import pursue
from fastflow.checks import FloatArray
from fastflow.kernels.dual.mirror import BOTH, UP, mirror_inverse
from fastflow.operators import Operator
from fastflow.operators.products import products_of

ROUNDS = 10
"""Corrections, at most."""

SETTLED = 1e-13
"""What a correction moves an entry of x by, relative to the largest, when no more are needed."""

LARGEST_GAP = 1e-9
"""The duality gap of basis pursuit up to which its support is taken."""

STRICT = 1e-9
"""How far inside of the domain, relative, the dual must be off the support."""


class SupportLimit(NamedTuple):
    """A limit.

    Attributes
    ----------
    x : array (n,)
    error : float, what an entry may be off by, relative to the largest: the last correction, and all off the support
    theta : array (n,), where the mirror nearly has x, for a dual in the range of ``A^T``
    """

    x: FloatArray
    error: float
    theta: FloatArray


def limit_by_support(operator: Operator, values: FloatArray, mirror: kernels.Mirror) -> SupportLimit | None:
    """The limit of a flow from small starts, L > 2, or None where this does not tell it.

    Parameters
    ----------
    operator : Operator, A
    values : array (rows,), y
    mirror : Mirror of n coordinates, all with one positive side, or all with two equal ones
    """
    two_sided = bool((mirror.sides == BOTH).all())
    if not (mirror.depth > 2 and (two_sided or (mirror.sides == UP).all())):
        return None
    if two_sided and (mirror.upper != mirror.lower).any():
        return None
    costs = mirror.upper
    try:
        pursued = pursue(operator, values, costs / costs.max(), nonnegative=not two_sided)
    except ValueError:  # no x fits
        return None
    x, u = pursued.x.copy(), pursued.multipliers * costs.max()
    places = np.flatnonzero(x)
    if pursued.gap > LARGEST_GAP or not places.size:
        return None
    largest, signs = float(np.abs(x).max()), np.sign(x[places])
    products, off = products_of(operator), np.delete(np.arange(len(x)), places)
    columns = products.columns(places, np.ones(len(places)))
    theta, z, point, slope = (np.zeros_like(x) for _ in range(4))
    moved = np.inf
    for _ in range(ROUNDS):
        mirror_inverse(mirror, 1.0, np.where(x != 0, x, mirror.scale), theta)
        kernels.mirror_dual(mirror, theta, z)
        slopes = products.transposed(u)
        u = u + columns.turned.least_squares(z[places] - slopes[places])
        slopes = products.transposed(u)
        inside = slopes if not two_sided else np.abs(slopes)
        if (inside[off] >= (1 - STRICT) * costs[off]).any():
            return None
        z[off] = slopes[off]
        z[places] = 0
        at_support = theta[places].copy()
        kernels.mirror_theta(mirror, z, theta)
        theta[places] = at_support
        kernels.mirror_point(mirror, theta, point, slope)
        point[places] = x[places]
        change = columns.least_squares(values - products.times(point))
        moved = float(np.abs(change).max()) / largest
        x = point.copy()
        x[places] += change
        if (np.sign(x[places]) != signs).any() or not np.isfinite(x).all():
            return None
        if moved <= SETTLED:
            break
    return SupportLimit(x, moved + float(np.abs(x[off]).sum()) / largest, theta)
