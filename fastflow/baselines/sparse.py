"""Baselines for a vector x from ``A x = y``: least l1 norm, lasso, nonnegative and other least squares."""

from __future__ import annotations

import functools
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.arrays import as_array
from fastflow.baselines.accuracy import fall_short
from fastflow.baselines.least_l1 import TIGHT, lasso_levels, pursue, steepest
from fastflow.baselines.nonnegative import SignedLeastSquares, signed_least_squares
from fastflow.baselines.nonnegative_flow import descend_on_squares
from fastflow.baselines.systems import CONSISTENT, as_system, as_weights, equilibrated, heard, row_space
from fastflow.checks import FloatArray, as_count, as_floats, as_number, one_of
from fastflow.equality import by_value
from fastflow.operators import Operator, is_operator
from fastflow.operators.products import MatrixProducts, products_of, slopes_left, typical_column
from fastflow.problems.measurements import as_measured_by

LINEAR_PROGRAM, PATH, SIGNED, DECOMPOSED, RESTRICTED = 40, 4, 5, 5, 2
"""Copies of their matrix that solvers take at their peak (measured): HiGHS has positive and negative parts, sparse."""

GAP = 1e-8
"""The relative duality gap up to which a linear program counts as solved."""


def basis_pursuit(
    matrix: ArrayLike | Operator, values: ArrayLike, weights: ArrayLike | None = None, nonnegative: bool = False
) -> FloatArray:
    """``min sum w_i |x_i|`` subject to ``A x = y``, and ``x >= 0`` if nonnegative.

    Of an array HiGHS through SciPy, which ends at a vertex of the solutions where they are many; of an operator the
    proximal method of multipliers with Newton's (Li, Sun, Toh 2018). Then least squares on the support found.

    Parameters
    ----------
    matrix : array (m, n), A, of any rank, or an operator (`fastflow.operators.as_operator`)
    values : array (m,), y, complex where an operator is
    weights : array (n,) of numbers > 0, w; None for ones
    nonnegative : bool

    Returns
    -------
    array (n,)
        With ``||A x - y|| <= 1e-9 ||y||``, rows of an array in very different units being brought to like ones, and a
        relative duality gap of at most 1e-8.

    Raises
    ------
    ValueError
        where no x fits

    Warns
    -----
    UserWarning
        where the tolerances are not met, as may be with an operator where the solution has as many entries as there are
        measurements

    Examples
    --------
    >>> ff.baselines.basis_pursuit([[1.0, 0.5]], [1.0]).tolist()
    [1.0, 0.0]
    """
    from scipy.optimize import linprog

    if is_operator(matrix):
        operator, observed = as_measured_by(matrix, values, stacklevel=2)
        n = operator.shape[1]
        cost = np.ones(n) if weights is None else as_weights(weights, n)
        if not observed.any():
            return np.zeros(n)
        wanted = functools.partial(pursue, operator, observed.astype(np.float64), cost, nonnegative)
        pursued = heard(n * operator.rows, wanted)
        _judge_pursuit(pursued.missed, pursued.gap)
        return pursued.x
    assert not isinstance(matrix, Operator)
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
    _judge_pursuit(float(np.linalg.norm(a @ x - y) / np.linalg.norm(y)), float(1 - bound / (cost @ np.abs(x))))
    return x


def _judge_pursuit(missed: float, gap: float) -> None:
    """Say where a relative residual, or a relative duality gap, is more than `basis_pursuit` states."""
    if missed > CONSISTENT or gap > GAP:
        fall_short(
            f"basis pursuit was solved only to a relative residual of {missed:.1g} and a relative duality gap of "
            f"{gap:.1g}, not to {CONSISTENT:g} and {GAP:g}",
            stacklevel=3,
        )


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
    matrix: ArrayLike | Operator,
    values: ArrayLike,
    penalties: ArrayLike | None = None,
    nonnegative: bool = False,
    *,
    tol: float = 1e-8,
    max_steps: int = 10_000,
) -> LassoPath:
    """``min 1/2 ||A x - y||^2 + penalty ||x||_1`` for many penalties, and ``x >= 0`` if nonnegative.

    scikit-learn's coordinate descent, which needs the extra ``baselines``, or for an operator the method of
    `basis_pursuit`. They stop at duality gaps of ``tol ||y||^2``, and warn where ``max_steps`` sweeps, or Newton steps,
    do not lead there.

    Parameters
    ----------
    matrix : array (m, n), A, or an operator (`fastflow.operators.as_operator`)
    values : array (m,), y, complex where an operator is
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
        for an array without scikit-learn
    ValueError, TypeError
        for shapes that do not match, and penalties that are not greater than 0

    Examples
    --------
    >>> path = ff.baselines.lasso_path(np.eye(2), [3.0, 1.0], penalties=[2.0, 0.5])
    >>> path.solutions.round(6).tolist()
    [[1.0, 0.0], [2.5, 0.5]]
    """
    tol, max_steps = as_number("tol", tol, above=0), as_count("max_steps", max_steps, 1)
    if is_operator(matrix):
        operator, observed = as_measured_by(matrix, values, stacklevel=2)
        observed = observed.astype(np.float64)
        levels = _penalties(penalties, products_of(operator).transposed(observed), nonnegative)
        descend = functools.partial(lasso_levels, operator, observed, levels, nonnegative, tol, max_steps)
        solved = heard(operator.rows * operator.shape[1], descend)
        return LassoPath(levels, np.array([one.x for one in solved]), np.array([one.gap for one in solved]))
    assert not isinstance(matrix, Operator)
    try:
        from sklearn.linear_model import lasso_path as path
    except ImportError as error:
        raise ImportError("the lasso path needs scikit-learn: pip install 'fastflow[baselines]'") from error

    a, y = as_system(matrix, values, PATH, "lasso_path")
    correlations = a.T @ y
    levels = _penalties(penalties, correlations, nonnegative)
    solutions = np.zeros((len(levels), a.shape[1]))
    open_levels = levels < steepest(correlations, nonnegative)
    if open_levels.any():
        solve = functools.partial(
            path,
            np.asfortranarray(a),
            y,
            alphas=levels[open_levels] / len(y),
            positive=nonnegative,
            random_state=0,  # or it draws from NumPy's global generator, in vain
            tol=tol,
            max_iter=max_steps,
        )
        solutions[open_levels] = heard(a.size, solve)[1].T
    residuals = y - solutions @ a.T
    slopes = residuals @ a if nonnegative else np.abs(residuals @ a)
    dual = residuals * np.minimum(1, levels / np.maximum(slopes.max(axis=1), levels))[:, None]
    primal = 0.5 * np.sum(residuals**2, axis=1) + levels * np.abs(solutions).sum(axis=1)
    return LassoPath(levels, solutions, primal - 0.5 * (y @ y - np.sum((y - dual) ** 2, axis=1)))


def _penalties(penalties: ArrayLike | None, correlations: FloatArray, nonnegative: bool) -> FloatArray:
    """Those of `lasso_path`, largest first, from ``A^T y``."""
    if penalties is None:
        # Where no entry can grow the path is 0 throughout, whatever the penalties.
        first = max(steepest(correlations, nonnegative), float(np.finfo(np.float64).tiny))
        return first * np.geomspace(1, 1e-3, 100)
    levels: FloatArray = np.sort(as_floats("penalties", penalties, 1).astype(np.float64))[::-1]
    if levels[-1] <= 0:
        raise ValueError(f"every penalty must be greater than 0, got {levels[-1]:g}")
    return levels


NONNEGATIVE_METHODS = FLOW, ACTIVE_SET = "flow", "active-set"


def nonnegative_least_squares(
    matrix: ArrayLike | Operator, values: ArrayLike, *, method: str | None = None
) -> FloatArray:
    """``min ||A x - y||^2`` subject to ``x >= 0``.

    One solution where they are many: of active sets one with linearly independent columns on its support, of the flow
    one that its steps decide (its own limit is `fastflow.flow_limit`).

    Parameters
    ----------
    matrix : array (m, n), A, or an operator (`fastflow.operators.as_operator`)
    values : array (m,), y, complex where an operator is
    method : "active-set", "flow", or None for the first of an array and the second of an operator
        Active sets are those of Lawson and Hanson (SciPy). The flow is descent of ``x = w o w`` from a small start, as
        Chou, Maly, Verdun (arXiv:2207.08437) have it, by quasi-Newton steps, with least squares on the entries that
        stay: it takes products alone, so that it is the one for operators, and for thousands of unknowns.

    Returns
    -------
    array (n,), with ``a_i^T (A x - y) >= -1e-9 ||a_i|| ||y||`` for every column, and 0 within that on the support
        Of an operator ``||a_i||`` stands for the root mean square over all columns.

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and active sets of an operator

    Warns
    -----
    UserWarning
        where the tolerance is not met

    Examples
    --------
    >>> ff.baselines.nonnegative_least_squares([[1.0, -1.0]], [-2.0]).round(6).tolist()
    [0.0, 2.0]
    """
    if method is not None:
        one_of("method", method, NONNEGATIVE_METHODS)
    if is_operator(matrix):
        if method == ACTIVE_SET:
            raise ValueError('active sets need all entries of A, which an operator has not: take method="flow"')
        operator, observed = as_measured_by(matrix, values, stacklevel=2)
        unit, products = typical_column(operator), products_of(operator)
        x, missed = heard(
            operator.rows * operator.shape[1],
            lambda: descend_on_squares(products, observed.astype(np.float64), unit, CONSISTENT),
        )
    else:
        assert not isinstance(matrix, Operator)
        a, y = as_system(matrix, values, SIGNED, "nonnegative_least_squares")
        solve = _by_flow if method == FLOW else _by_active_sets
        x, missed = heard(a.size, functools.partial(solve, a, y))
    if missed > CONSISTENT:
        fall_short(
            f"nonnegative least squares was solved only to a relative gradient of {missed:.1g}: the matrix is "
            "ill-conditioned",
            stacklevel=2,
        )
    return x


def _by_active_sets(a: FloatArray, y: FloatArray) -> SignedLeastSquares:
    return signed_least_squares(a, y, np.zeros(a.shape[1], bool))


def _by_flow(a: FloatArray, y: FloatArray) -> SignedLeastSquares:
    """`descend_on_squares` with columns of norm 1."""
    units = np.linalg.norm(a, axis=0)
    units = np.where(units > 0, units, 1.0)
    even = a / units
    x, missed = descend_on_squares(
        MatrixProducts(a.shape, lambda vector: even @ vector, lambda residual: residual @ even), y, 1.0, CONSISTENT
    )
    return SignedLeastSquares(x / units, missed)


def least_norm(matrix: ArrayLike | Operator, values: ArrayLike, weights: ArrayLike | None = None) -> FloatArray:
    """``min sum x_i^2 / w_i`` subject to ``A x = y``; where no x fits, among the x of least ``||A x - y||``.

    The limit of gradient flow at depth 1 from 0, and of a diagonal network of depth L as its start alpha_i grows, with
    ``w_i = alpha_i^{2L-2}``. By a singular value decomposition: exact up to round-off times the condition of
    ``A diag(w)^{1/2}``; where some x fits, rows in very different units are brought to like ones before. Of an operator
    by LSMR.

    Parameters
    ----------
    matrix : array (m, n), A, of any rank, or an operator (`fastflow.operators.as_operator`)
    values : array (m,), y, complex where an operator is
    weights : array (n,) of numbers > 0, w; None for ones
        A large weight makes its entry cheap.

    Returns
    -------
    array (n,)

    Warns
    -----
    UserWarning
        where no x fits and rows differ in size by so much that least squares does not see the smallest; where LSMR
        leaves gradients of more than 1e-9 of the norms of y and of columns

    Examples
    --------
    >>> ff.baselines.least_norm([[1.0, 0.5]], [1.0]).round(6).tolist()
    [0.8, 0.4]
    """
    if is_operator(matrix):
        operator, observed = as_measured_by(matrix, values, stacklevel=2)
        n = operator.shape[1]
        roots = np.ones(n) if weights is None else np.sqrt(as_weights(weights, n))
        return _by_lsmr(operator, observed.astype(np.float64), np.arange(n), roots)
    assert not isinstance(matrix, Operator)
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


def _by_lsmr(operator: Operator, values: FloatArray, places: NDArray[np.int64], scale: FloatArray) -> FloatArray:
    """Least squares over some columns, of least norm in units of a scale, by products; what LSMR leaves is told of."""
    columns = products_of(operator).columns(places, scale)
    x = np.zeros(operator.shape[1])
    x[places] = scale * heard(operator.rows * len(places), lambda: columns.least_squares(values))
    left = slopes_left(operator, values, x, places)
    if left > CONSISTENT:
        fall_short(
            f"least squares by products was solved only to a relative gradient of {left:.1g}: the operator is "
            "ill-conditioned",
            stacklevel=3,
        )
    return x


def oracle_least_squares(matrix: ArrayLike | Operator, values: ArrayLike, support: ArrayLike) -> FloatArray:
    """``min ||A x - y||^2`` over the x that vanish off a known support; of these the one of least norm.

    By a singular value decomposition: exact up to round-off times the condition of the columns on the support. Of an
    operator by LSMR.

    Parameters
    ----------
    matrix : array (m, n), A, or an operator (`fastflow.operators.as_operator`)
    values : array (m,), y, complex where an operator is
    support : bool array (n,), or int array of places in 0 .. n - 1

    Returns
    -------
    array (n,)

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and places that there are not

    Warns
    -----
    UserWarning
        where LSMR leaves gradients of more than 1e-9 of the norms of y and of columns

    Examples
    --------
    >>> ff.baselines.oracle_least_squares([[1.0, 0.5]], [1.0], support=[1]).round(6).tolist()
    [0.0, 2.0]
    """
    if is_operator(matrix):
        operator, observed = as_measured_by(matrix, values, stacklevel=2)
        places = _places(support, operator.shape[1])
        return _by_lsmr(operator, observed.astype(np.float64), places, np.ones(len(places)))
    assert not isinstance(matrix, Operator)
    a, y = as_system(matrix, values, RESTRICTED, "oracle_least_squares")
    places = _places(support, a.shape[1])
    x = np.zeros(a.shape[1])
    x[places] = heard(a.size, lambda: np.linalg.lstsq(a[:, places], y, rcond=None)[0])
    return x


def _places(support: ArrayLike, n: int) -> NDArray[np.int64]:
    """A support as places, in order, each once."""
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
    return np.unique(places)
