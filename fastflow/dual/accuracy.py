"""How accurate a limit is, measured: slower and sharper than `kernels.dual.certainty`, and exact on dependence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray
from fastflow.dual.equations import Equations
from fastflow.dual.exact import exact_rank
from fastflow.kernels.dual.certainty import DRIFT, EPSILON, FLOOR, FOUND, NEARLY, TIED, Certainty

NEAR_SPAN = 1e-6
"""A column nearer to the span of others, relative to its norm, is dependent on them, exactly or but for round-off."""


def measure(
    matrix: FloatArray,
    values: FloatArray,
    x: FloatArray,
    slope: FloatArray,
    dual: FloatArray,
    room: FloatArray,
    rounded: FloatArray,
    *,
    exact: bool = False,
) -> Certainty:
    """What `kernels.dual.certainty` estimates, more slowly and more sharply: entry by entry of ``A x - y``.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y
    x, slope : arrays (n,), the limit and dx/dz there
    dual : array (m,), lam
    room : array (n,), the distances of z from the ends of its domain
    rounded : array (m,), what the values may be off by
    exact : bool, whether z is known better than lam
    """
    largest = float(np.abs(x).max())
    if largest == 0:
        return Certainty(0.0, 1.0)
    size = np.abs(matrix).T @ np.abs(dual)
    amplified = float(np.max(size * slope)) / largest
    seen = matrix.any(axis=0)
    found = seen & (np.abs(x) > FOUND * largest)
    active = found | (seen & (room <= TIED * size))
    noise = 8 * EPSILON * (np.abs(matrix) @ np.abs(x) + np.abs(values)) + np.abs(matrix @ x - values)
    noise += rounded
    if not exact:
        noise += np.abs(matrix[:, ~active]) @ (DRIFT * size * slope)[~active]
    order = np.argsort(-np.abs(x), kind="stable")
    basis, weakest, dependent = _independent(matrix, order[active[order]])
    shortest = float(np.linalg.norm(matrix[:, active], axis=0).min(initial=np.inf))
    error = float(Equations(matrix, slope).reach(noise).max())
    if weakest < NEAR_SPAN or not (dependent or exact):
        error = max(error, float(np.linalg.norm(noise)) / (weakest * shortest) if weakest > 0 else np.inf)
    # What is not quite tied may take the place of what was found, where that is hardly seen in A x.
    basis = _independent(matrix, order[found[order]])[0]
    for i in np.flatnonzero(seen & ~found & (room <= NEARLY * size)):
        length, tied = float(np.linalg.norm(matrix[:, i])), room[i] <= TIED * size[i]
        distance = float(np.linalg.norm(_apart(matrix[:, i] / length, basis)))
        if tied and distance < NEAR_SPAN and exact_rank(matrix[:, [*np.flatnonzero(found), i]]) <= basis.shape[1]:
            continue
        if basis.shape[1] < len(matrix):
            apart = distance if tied else max(distance, room[i] / size[i])
            error = max(error, float(np.linalg.norm(noise)) / (apart * length))
    error = FLOOR + 2 * error / largest
    if not dependent:
        return Certainty(error, max(1.0, 1 / weakest))
    return Certainty(error if exact else error + DRIFT * amplified, max(1.0, amplified))


def _independent(matrix: FloatArray, order: NDArray[np.intp]) -> tuple[FloatArray, float, bool]:
    """Of columns, an orthonormal basis; the least distance of one from the span of those before; and is one in it?

    Distances are relative to the norm of the column. Those that are in the span by exact arithmetic do not count.
    """
    weakest, dependent, basis, independent = 1.0, False, np.zeros((len(matrix), 0)), np.zeros(0, np.intp)
    for i in order:
        column = _apart(matrix[:, i] / np.linalg.norm(matrix[:, i]), basis)
        distance, together = float(np.linalg.norm(column)), np.append(independent, i)
        if basis.shape[1] == len(matrix) or (distance < NEAR_SPAN and exact_rank(matrix[:, together]) < len(together)):
            dependent = True
            continue
        weakest, independent, basis = min(weakest, distance), together, np.column_stack([basis, column / distance])
    return basis, weakest, dependent


def _apart(vector: FloatArray, basis: FloatArray) -> FloatArray:
    """What of a vector is orthogonal to a basis."""
    for _ in range(2):
        vector = vector - basis @ (basis.T @ vector)
    return vector
