"""Which coordinates of a network with starts of 0 do not tend to 0, and what of y these reach."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.baselines.nonnegative import signed_least_squares
from fastflow.checks import FloatArray
from fastflow.kernels.dual.mirror import BOTH, DOWN, NEITHER

ROUND_OFF = 1e-15
"""Of an inner product of vectors of norm 1, for the root of their number of entries."""

ZERO, POSITIVE = 10.0, 1e4
"""Up to so many round-offs is 0, from so many on is not; what lies between is undecided."""

OPTIMAL = 1e-10
"""What the conditions of optimality may be missed by."""

SPANNED, APART = 1e-10, 1e-7
"""Distances from a cone, relative to the vector, that count as 0 and as not 0."""


class Face(NamedTuple):
    """The face of ``{x : signs of x}`` on which all least squares lie.

    Attributes
    ----------
    reached : array (m,), the nearest point to y
    keep : bool array (n,), the coordinates that are not 0 in all solutions
    doubtful : bool, whether round-off decides any of this
    """

    reached: FloatArray
    keep: NDArray[np.bool_]
    doubtful: bool


def sign_face(matrix: FloatArray, values: FloatArray, sides: NDArray[np.int64]) -> Face:
    """The face on which the least squares of ``A x = y`` lie where ``sides`` gives signs to entries of x.

    By nonnegative least squares x; a slope ``a_i^T (A x - y) > 0`` says that entry i is 0 in all solutions. Of entries
    that are 0 here with a slope of 0, i can be positive if ``-a_i`` is in the cone of the others and the span of those
    that are positive: the residual of nonnegative least squares again, which else is a plane that shuts out i, and all
    others on its side.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y
    sides : int array (n,) of `kernels.dual.mirror`

    Returns
    -------
    Face
    """
    m = len(matrix)
    signs = np.where(sides == DOWN, -1.0, 1.0)
    lengths = np.linalg.norm(matrix, axis=0)
    there = np.flatnonzero((sides != NEITHER) & (lengths > 0))
    free = sides[there] == BOTH
    columns = matrix[:, there] * signs[there] / lengths[there]
    x, missed = signed_least_squares(columns, values, free)
    doubtful = missed > OPTIMAL
    size, left = np.linalg.norm(values), columns @ x - values
    round_off = ROUND_OFF * np.sqrt(m)
    found = free | (x > ZERO * round_off * size)
    candidates = ~found
    if np.linalg.norm(left) > POSITIVE * round_off * size:
        # Slopes as cosines; their round-off is that of the residual.
        cosines = columns.T @ left / np.linalg.norm(left)
        noise = round_off * (1 + size / np.linalg.norm(left))
        candidates &= cosines <= ZERO * noise
        undecided = ~found & (cosines > ZERO * noise) & (cosines < POSITIVE * noise)
    else:
        undecided = np.zeros_like(found)
    grown, unclear = _can_grow(columns[:, found], columns[:, candidates])
    places = np.flatnonzero(candidates)[grown]
    found[places] = True
    if undecided.any():  # they matter if they could be positive
        all_of_them = candidates | undecided
        more, _ = _can_grow(columns[:, found & ~all_of_them], columns[:, all_of_them])
        doubtful |= bool(more.sum() > grown.sum())
    keep = (sides == BOTH) | ((lengths == 0) & (sides != NEITHER))
    keep[there[found]] = True
    return Face(columns @ x, keep, bool(doubtful or unclear))


def _can_grow(span: FloatArray, cone: FloatArray) -> tuple[NDArray[np.bool_], bool]:
    """Which columns of the cone have weights > 0 in sums, of weights >= 0, that are in the span; is any unclear?"""
    count = cone.shape[1]
    can, unclear = np.zeros(count, bool), False
    if not count:
        return can, unclear
    if span.shape[1]:
        left, sizes, _ = np.linalg.svd(span, full_matrices=False)
        basis = left[:, sizes > max(span.shape) * np.finfo(float).eps * sizes[0]]
        cone = cone - basis @ (basis.T @ cone)
        cone = cone - basis @ (basis.T @ cone)
    lengths = np.linalg.norm(cone, axis=0)
    can |= lengths <= SPANNED
    unclear |= bool(np.any(~can & (lengths < APART)))
    cone = cone / np.where(can, 1.0, lengths)
    alive, open_ones = ~can, ~can
    while open_ones.any():
        i = int(np.flatnonzero(open_ones)[0])
        others = np.flatnonzero(alive & (np.arange(count) != i))
        weights, missed = signed_least_squares(cone[:, others], -cone[:, i], np.zeros(len(others), bool))
        plane = cone[:, others] @ weights + cone[:, i]
        distance = np.linalg.norm(plane)
        if distance <= SPANNED:
            can[i] = True
            can[others[weights > SPANNED]] = True
        else:
            unclear |= bool(distance < APART or missed > OPTIMAL)
            alive &= ~(cone.T @ plane > APART * distance)
            alive[i] = False
        open_ones = alive & ~can
    return can, unclear
