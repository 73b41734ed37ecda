"""Baselines for a vector x from ``A x = y``: least l1 norm, lasso, nonnegative and other least squares."""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow.arrays import as_array
from fastflow.baselines.accuracy import fall_short
from fastflow.baselines.nonnegative import signed_least_squares
from fastflow.baselines.systems import CONSISTENT, as_system, as_weights, equilibrated, heard, row_space
from fastflow.checks import FloatArray, as_count, as_floats, as_number
from fastflow.equality import by_value

TIGHT = 1e-6
"""Inequalities of the dual that are equations up to this are taken for such when its multipliers are polished."""

LINEAR_PROGRAM, PATH, SIGNED, DECOMPOSED, RESTRICTED = 40, 4, 5, 5, 2
"""Copies of their matrix that solvers take at their peak (measured): HiGHS has positive and negative parts, sparse."""

GAP = 1e-8
"""The relative duality gap up to which a linear program counts as solved."""


def basis_pursuit(
    matrix: ArrayLike, values: ArrayLike, weights: ArrayLike | None = None, nonnegative: bool = False
) -> FloatArray:
    """``min sum w_i |x_i|`` subject to ``A x = y``, and ``x >= 0`` if nonnegative.

    A vertex of the solutions where they are many. HiGHS through SciPy, with a least-squares solve on the support found.

    Parameters
    ----------
    matrix : array (m, n), A; of any rank
    values : array (m,), y
    weights : array (n,) of numbers > 0, w; None for ones
    nonnegative : bool

    Returns
    -------
    array (n,)
        With ``||A x - y|| <= 1e-9 ||y||``, rows in very different units being brought to like ones, and a relative
        duality gap of at most 1e-8.

    Raises
    ------
    ValueError
        where no x fits

    Warns
    -----
    UserWarning
        where the tolerances are not met

    Examples
    --------
    >>> ff.baselines.basis_pursuit([[1.0, 0.5]], [1.0]).tolist()
    [1.0, 0.0]
    """
    from scipy.optimize import linprog

    a, y, _ = equilibrated(*as_system(matrix, values, LINEAR_PROGRAM, "basis_pursuit"))
    cost = np.ones(a.shape[1]) if weights is None else as_weights(weights, a.shape[1])
    basis, image = row_space(a, y)[2:]
    if not y.any():
        return np.zeros(a.shape[1])
    # Orthonormal rows and values of order 1: HiGHS measures feasibility absolutely.
    unit = np.abs(image).max()
    solve = functools.partial(
        linprog,
        cost / cost.max() if nonnegative else np.concatenate([cost, cost]) / cost.max(),
        A_eq=basis if nonnegative else np.hstack([basis, -basis]),
        b_eq=image / unit,
        method="highs-ds",  # the simplex method: it ends at a vertex
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    result = heard(basis.size, solve)
    if result.status == 2 and nonnegative:
        raise ValueError("no x >= 0 fits the values: nonnegative_least_squares comes nearest")
    if result.status != 0:
        raise RuntimeError(f"HiGHS did not solve the linear program: {result.message}")
    parts = unit * np.maximum(result.x, 0)
    x = heard(a.size, lambda: _refined(a, y, parts if nonnegative else parts[: a.shape[1]] - parts[a.shape[1] :]))
    bound = _lower_bound(basis, image, result.eqlin.marginals * cost.max(), cost, x, nonnegative)
    missed, gap = np.linalg.norm(a @ x - y) / np.linalg.norm(y), 1 - bound / (cost @ np.abs(x))
    if missed > CONSISTENT or gap > GAP:
        fall_short(
            f"basis pursuit was solved only to a relative residual of {missed:.1g} and a relative duality gap of "
            f"{gap:.1g}, not to {CONSISTENT:g} and {GAP:g}",
            stacklevel=2,
        )
    return x


def _lower_bound(
    basis: FloatArray, image: FloatArray, multipliers: FloatArray, cost: FloatArray, x: FloatArray, nonnegative: bool
) -> float:
    """What no solution costs less than, from the solver's multipliers or from those next to them that fit x exactly.

    Any multipliers give a bound. HiGHS's satisfy the equations on the support of x, and the inequalities elsewhere, to
    its tolerance, which the bound multiplies; the nearest ones that satisfy the equations exactly can be off elsewhere,
    and where the inequalities that are nearly equations are made such, they are not (a degenerate vertex has m).
    """
    slopes = basis.T @ multipliers / cost
    signs = np.where(x != 0, np.sign(x), np.sign(slopes))
    candidates = [multipliers]
    for fitted in (x != 0, (x != 0) | (signs * slopes > 1 - TIGHT if not nonnegative else slopes > 1 - TIGHT)):
        wanted = (cost * signs)[fitted] - basis[:, fitted].T @ multipliers
        candidates.append(multipliers + np.linalg.lstsq(basis[:, fitted].T, wanted, rcond=None)[0])
    bounds = []
    for candidate in candidates:
        slopes = basis.T @ candidate / cost
        bounds.append(float(image @ candidate) / max(1, np.max(slopes if nonnegative else np.abs(slopes))))
    return max(bounds)


def _refined(a: FloatArray, y: FloatArray, x: FloatArray) -> FloatArray:
    """The solution on the support of x, of x without its round-off if that fits as well; its signs are those of x."""
    for floor in (1e-6 * np.abs(x).max(), 1e-9 * np.abs(x).max(), 0.0):
        support = np.abs(x) > floor
        refined = np.zeros_like(x)
        refined[support] = np.linalg.lstsq(a[:, support], y, rcond=None)[0]
        if np.all(refined * x >= 0) and np.linalg.norm(a @ refined - y) <= np.linalg.norm(a @ x - y):
            return refined
    return x


@by_value(hashable=False)
class LassoPath(NamedTuple):
    """Solutions of the lasso.

    Attributes
    ----------
    penalties : array (k,), largest first
    solutions : array (k, n)
    gaps : array (k,), duality gaps: the objective exceeds its minimum by at most this

    Examples
    --------
    >>> path = ff.baselines.lasso_path(np.eye(2), [3.0, 1.0], penalties=[2.0, 0.5])
    >>> path.solutions.round(6).tolist()
    [[1.0, 0.0], [2.5, 0.5]]
    """

    penalties: FloatArray
    solutions: FloatArray
    gaps: FloatArray


def lasso_path(
    matrix: ArrayLike,
    values: ArrayLike,
    penalties: ArrayLike | None = None,
    nonnegative: bool = False,
    *,
    tol: float = 1e-8,
    max_steps: int = 10_000,
) -> LassoPath:
    """``min 1/2 ||A x - y||^2 + penalty ||x||_1`` for many penalties, and ``x >= 0`` if nonnegative.

    scikit-learn's coordinate descent, which needs the extra ``baselines``. It stops at duality gaps of ``tol ||y||^2``,
    and warns where it did not reach them in ``max_steps`` sweeps.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y
    penalties : array (k,) of numbers > 0; None for 100 from the least one with solution 0 down to 1e-3 of it
    nonnegative : bool
    tol : float > 0
    max_steps : int >= 1

    Returns
    -------
    LassoPath

    Raises
    ------
    ImportError
        without scikit-learn
    ValueError, TypeError
        for shapes that do not match, and penalties that are not greater than 0

    Examples
    --------
    >>> path = ff.baselines.lasso_path(np.eye(2), [3.0, 1.0], penalties=[2.0, 0.5])
    >>> path.solutions.round(6).tolist()
    [[1.0, 0.0], [2.5, 0.5]]
    """
    try:
        from sklearn.linear_model import lasso_path as path
    except ImportError as error:
        raise ImportError("the lasso path needs scikit-learn: pip install 'fastflow[baselines]'") from error

    a, y = as_system(matrix, values, PATH, "lasso_path")
    correlations = a.T @ y if nonnegative else np.abs(a.T @ y)
    if penalties is None:
        # Where no entry can grow the path is 0 throughout, whatever the penalties.
        levels = max(correlations.max(), np.finfo(np.float64).tiny) * np.geomspace(1, 1e-3, 100)
    else:
        levels = np.sort(as_floats("penalties", penalties, 1).astype(np.float64))[::-1]
        if levels[-1] <= 0:
            raise ValueError(f"every penalty must be greater than 0, got {levels[-1]:g}")
    tol, max_steps = as_number("tol", tol, above=0), as_count("max_steps", max_steps, 1)
    solutions = np.zeros((len(levels), a.shape[1]))
    open_levels = levels < correlations.max()
    if open_levels.any():
        solve = functools.partial(
            path,
            np.asfortranarray(a),
            y,
            alphas=levels[open_levels] / len(y),
            positive=nonnegative,
            tol=tol,
            max_iter=max_steps,
        )
        solutions[open_levels] = heard(a.size, solve)[1].T
    residuals = y - solutions @ a.T
    slopes = residuals @ a if nonnegative else np.abs(residuals @ a)
    dual = residuals * np.minimum(1, levels / np.maximum(slopes.max(axis=1), levels))[:, None]
    primal = 0.5 * np.sum(residuals**2, axis=1) + levels * np.abs(solutions).sum(axis=1)
    return LassoPath(levels, solutions, primal - 0.5 * (y @ y - np.sum((y - dual) ** 2, axis=1)))


def nonnegative_least_squares(matrix: ArrayLike, values: ArrayLike) -> FloatArray:
    """``min ||A x - y||^2`` subject to ``x >= 0``, by active sets (SciPy), with columns of norm 1.

    One solution where they are many, with linearly independent columns on its support.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y

    Returns
    -------
    array (n,), with ``a_i^T (A x - y) >= -1e-9 ||a_i|| ||y||`` for every column, and 0 within that on the support

    Warns
    -----
    UserWarning
        where the tolerance is not met

    Examples
    --------
    >>> ff.baselines.nonnegative_least_squares([[1.0, -1.0]], [-2.0]).round(6).tolist()
    [0.0, 2.0]
    """
    a, y = as_system(matrix, values, SIGNED, "nonnegative_least_squares")
    x, missed = heard(a.size, lambda: signed_least_squares(a, y, np.zeros(a.shape[1], bool)))
    if missed > CONSISTENT:
        fall_short(
            f"nonnegative least squares was solved only to a relative gradient of {missed:.1g}: the matrix is "
            "ill-conditioned",
            stacklevel=2,
        )
    return x


def least_norm(matrix: ArrayLike, values: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """``min sum x_i^2 / w_i`` subject to ``A x = y``; where no x fits, among the x of least ``||A x - y||``.

    The limit of gradient flow at depth 1 from 0, and of a diagonal network of depth L as its start alpha_i grows, with
    ``w_i = alpha_i^{2L-2}``. By a singular value decomposition: exact up to round-off times the condition of
    ``A diag(w)^{1/2}``; where some x fits, rows in very different units are brought to like ones before.

    Parameters
    ----------
    matrix : array (m, n), A; of any rank
    values : array (m,), y
    weights : array (n,) of numbers > 0, w; None for ones
        A large weight makes its entry cheap.

    Returns
    -------
    array (n,)

    Warns
    -----
    UserWarning
        where no x fits and rows differ in size by so much that least squares does not see the smallest

    Examples
    --------
    >>> ff.baselines.least_norm([[1.0, 0.5]], [1.0]).round(6).tolist()
    [0.8, 0.4]
    """
    a, y = as_system(matrix, values, DECOMPOSED, "least_norm")
    roots = np.ones(a.shape[1]) if weights is None else np.sqrt(as_weights(weights, a.shape[1]))
    like, right, units = equilibrated(a, y)
    x: FloatArray = roots * heard(a.size, lambda: np.linalg.lstsq(like * roots, right, rcond=None)[0])
    if np.all(np.abs(like @ x - right) <= CONSISTENT * (np.abs(like) @ np.abs(x) + np.abs(right))):
        return x
    if units.max() * max(a.shape) * np.finfo(np.float64).eps > 1:
        warnings.warn(
            f"no x fits, and the rows of the matrix differ in size by a factor of {units.max():.0e}: least squares "
            "does not see the smallest; give rows in like units",
            stacklevel=2,
        )
    nearest: FloatArray = roots * heard(a.size, lambda: np.linalg.lstsq(a * roots, y, rcond=None)[0])
    return nearest


def oracle_least_squares(matrix: ArrayLike, values: ArrayLike, support: ArrayLike) -> FloatArray:
    """``min ||A x - y||^2`` over the x that vanish off a known support; of these the one of least norm.

    By a singular value decomposition: exact up to round-off times the condition of the columns on the support.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y
    support : bool array (n,), or int array of places in 0 .. n - 1

    Returns
    -------
    array (n,)

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and places that there are not

    Examples
    --------
    >>> ff.baselines.oracle_least_squares([[1.0, 0.5]], [1.0], support=[1]).round(6).tolist()
    [0.0, 2.0]
    """
    a, y = as_system(matrix, values, RESTRICTED, "oracle_least_squares")
    n = a.shape[1]
    places = as_array("support", support)
    if places.size == 0:
        places = np.zeros(0, int)
    if places.ndim != 1:
        raise ValueError(f"support must have 1 dimension, got shape {places.shape}")
    if places.dtype.kind not in "biu":
        raise TypeError(f"support must be a boolean array ({n},) or integers, got dtype {places.dtype}")
    if places.dtype.kind == "b":
        if places.shape != (n,):
            raise ValueError(f"support must have one entry for each of {n} unknowns, got shape {places.shape}")
        places = np.nonzero(places)[0]
    outside = places[(places < 0) | (places >= n)]
    if outside.size:
        raise ValueError(f"support must be in 0 .. {n - 1}, got {outside[0]}")
    places = np.unique(places)
    x = np.zeros(n)
    x[places] = heard(a.size, lambda: np.linalg.lstsq(a[:, places], y, rcond=None)[0])
    return x
