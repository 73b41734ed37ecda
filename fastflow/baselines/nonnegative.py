"""Least squares with signs, by SciPy's solvers, whose answers are held against the conditions of optimality."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.baselines.apart import active_sets
from fastflow.checks import FloatArray


class SignedLeastSquares(NamedTuple):
    """A minimum of ``||A x - y||`` where some x_i must be at least 0.

    Attributes
    ----------
    x : array (n,)
    missed : float
        By how much the slopes ``a_i^T (A x - y) / (||a_i|| ||y||)`` are below 0, or other than 0 where they must be 0.
    """

    x: FloatArray
    missed: float


def signed_least_squares(matrix: FloatArray, values: FloatArray, free: NDArray[np.bool_]) -> SignedLeastSquares:
    """Minimise ``||A x - y||`` subject to ``x_i >= 0`` for all i that are not free.

    With columns of norm 1: by the active sets of Lawson and Hanson; where these do not settle, or not at an optimum (as
    happens in SciPy 1.12 to 1.15), by those of Stark and Parker, and the better of the two is taken.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y
    free : bool array (n,)

    Returns
    -------
    SignedLeastSquares
    """
    from scipy.optimize import lsq_linear

    units, size = np.linalg.norm(matrix, axis=0), np.linalg.norm(values)
    units = np.where(units > 0, units, 1.0)
    if size == 0 or not matrix.any():  # without columns SciPy aborts
        return SignedLeastSquares(np.zeros(matrix.shape[1]), 0.0)
    a, y = matrix / units, values / size
    best = SignedLeastSquares(np.zeros(a.shape[1]), np.inf)

    def keep(x: FloatArray) -> SignedLeastSquares:
        candidates = [best]
        for tried in (x, _settled(a, y, x, free)):
            slopes = a.T @ (a @ tried - y)
            fixed = free | (tried > 0)
            missed = max(np.abs(slopes[fixed]).max(initial=0), -slopes[~fixed].min(initial=0))
            if np.all(np.isfinite(tried)):
                candidates.append(SignedLeastSquares(tried, float(missed)))
        return min(candidates, key=lambda candidate: candidate.missed)

    try:
        parts = active_sets(np.hstack([a, -a[:, free]]), y, 30 * a.shape[1])
        x = parts[: a.shape[1]].copy()
        x[free] -= parts[a.shape[1] :]
        best = keep(x)
    except (RuntimeError, np.linalg.LinAlgError):
        pass
    if best.missed > 1e-12:
        try:
            found = lsq_linear(a, y, (np.where(free, -np.inf, 0.0), np.full(a.shape[1], np.inf)), method="bvls")
            best = keep(np.where(free, found.x, np.maximum(found.x, 0)))
        except (RuntimeError, ValueError, np.linalg.LinAlgError):
            pass
    return SignedLeastSquares(best.x / units * size, best.missed)


def _settled(a: FloatArray, y: FloatArray, x: FloatArray, free: NDArray[np.bool_]) -> FloatArray:
    """Least squares on the support of x, if its signs stay; else x."""
    support = free | (x > 0)
    settled = np.zeros_like(x)
    settled[support] = np.linalg.lstsq(a[:, support], y, rcond=None)[0]
    return settled if np.all(free | (settled >= 0)) else x
