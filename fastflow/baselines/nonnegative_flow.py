"""Nonnegative least squares by descent of ``x = w o w`` from a small start, and least squares on what that leaves.

The gradient flow of an overparametrised x ends at nonnegative least squares (Chou, Maly, Verdun, arXiv:2207.08437),
by products alone; entries that it sends to 0 it may approach by a power of time only. So quasi-Newton steps replace
small ones, and where these have told which entries are positive, least squares on those finish.
"""

from __future__ import annotations

import numpy as np

from fastflow.baselines.nonnegative import SignedLeastSquares
from fastflow.checks import FloatArray
from fastflow.operators.products import ROUND_OFF, MatrixProducts

START = 1e-2
"""Entries of w at the start, relative to what one column alone would take."""

STAGES, STEPS = 12, 200
"""How often descent goes on, and quasi-Newton steps of each time."""

PIVOTS = 60
"""Times that least squares are solved on what is positive, after each."""

MEMORY = 20
"""Pairs of vectors that L-BFGS-B keeps."""

VANISHED = 1e-12
"""Entries that a step along a line leaves up to this share of the largest are 0."""


def descend_on_squares(products: MatrixProducts, values: FloatArray, unit: float, tol: float) -> SignedLeastSquares:
    """Minimise ``||A x - y||`` subject to ``x >= 0``, by products.

    Parameters
    ----------
    products : MatrixProducts
    values : array (m,), y
    unit : float > 0, about the norm of a column
    tol : float > 0
        It ends when the slopes ``a_i^T (A x - y) / (unit ||y||)`` miss the conditions of optimality by no more.

    Returns
    -------
    SignedLeastSquares, the best that was met
    """
    from scipy.optimize import minimize

    n, size = products.shape[1], float(np.linalg.norm(values))
    best = SignedLeastSquares(np.zeros(n), 0.0)
    if size == 0:
        return best
    y = values / size

    def slopes_at(x: FloatArray) -> FloatArray:
        return products.transposed(products.times(x / unit) - y) / unit

    def objective(w: FloatArray) -> tuple[float, FloatArray]:
        residual = products.times(w * w / unit) - y
        return 0.5 * float(residual @ residual), 2 * w * products.transposed(residual) / unit

    steepest = float(-slopes_at(best.x).min())
    best = SignedLeastSquares(best.x, max(steepest, 0.0))
    if steepest <= tol:
        return best
    w = np.full(n, START * np.sqrt(steepest))
    options = {"maxiter": STEPS, "maxfun": 2 * STEPS, "ftol": 0, "gtol": 0, "maxcor": MEMORY}
    for _ in range(STAGES):
        w = np.asarray(minimize(objective, w, jac=True, method="L-BFGS-B", options=options).x)
        x = w * w
        x[x <= np.maximum(slopes_at(x), 0)] = 0
        for _ in range(PIVOTS):
            x, ends = _to_least_squares(products, y, unit, x)
            slopes = slopes_at(x)
            missed = float(max(np.abs(slopes[x > 0]).max(initial=0), -slopes[x == 0].min(initial=0)))
            if missed < best.missed:
                best = SignedLeastSquares(x * size / unit, missed)
            if missed <= tol:
                return best
            if ends:
                break
    return best


def _to_least_squares(products: MatrixProducts, y: FloatArray, unit: float, x: FloatArray) -> tuple[FloatArray, bool]:
    """The way from x to least squares on its support, until an entry is 0; and whether it led to the end."""
    places = np.flatnonzero(x)
    # Where many x fit alike that moves x the least; relative to x, as the flow does, so that few entries reach 0.
    scale = np.sqrt(x[places]) if len(places) >= products.shape[0] else np.ones(len(places))
    columns = products.columns(places, scale / unit)
    change = np.zeros_like(x)
    change[places] = scale * columns.least_squares(y - products.times(x / unit), ROUND_OFF)
    falling = x + change < 0
    if not falling.any():
        return x + change, True
    share = float(np.min(x[falling] / -change[falling]))
    moved = np.maximum(x + share * change, 0)
    moved[falling & (moved <= VANISHED * moved.max())] = 0
    return moved, False
