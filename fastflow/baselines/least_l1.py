"""Basis pursuit and the lasso with an operator, whose answers are held against their duals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.baselines.accuracy import fall_short
from fastflow.baselines.multipliers import FITTED, Multipliers
from fastflow.baselines.nonnegative_flow import descend_on_squares
from fastflow.checks import FloatArray
from fastflow.memory import require_work
from fastflow.operators import Operator
from fastflow.operators.products import MatrixProducts, products_of, typical_column

FLOORS = (1e-6, 1e-9, 0.0)
"""Entries of x up to such shares of the largest are tried as round-off."""

TIGHT = 1e-6
"""Inequalities of the dual that are equations up to this are taken for such when its multipliers are polished."""

VECTORS = 40
"""Copies of a vector that the solvers take."""

PURSUED = 2000
"""Newton steps of basis pursuit, at most."""

SOLVED = 1e-12
"""The gap, and the residual, at which it is not gone on."""

UNFIT = 1e-7
"""What least squares must leave of y for no x to fit."""


class Scaled(NamedTuple):
    """``A x = y`` with columns of about norm 1 over their costs, and y of norm 1.

    Attributes
    ----------
    whole : MatrixProducts
    y : array (m,)
    units : array (n,), what an x of it is multiplied by
    """

    whole: MatrixProducts
    y: FloatArray
    units: FloatArray


def scaled(operator: Operator, values: FloatArray, cost: FloatArray) -> Scaled:
    """A system in its own units.

    Raises
    ------
    MemoryError
        where there is no room for vectors
    """
    require_work(2 * len(cost) + operator.rows, VECTORS, "least l1 norms with vectors")
    size, scale = float(np.linalg.norm(values)) or 1.0, 1 / (cost * typical_column(operator))
    return Scaled(products_of(operator).columns(np.arange(len(cost)), scale), values / size, size * scale)


def steepest(slopes: FloatArray, nonnegative: bool) -> float:
    """The largest slope that the dual bounds."""
    return float(slopes.max() if nonnegative else np.abs(slopes).max())


class Pursued(NamedTuple):
    """A solution of basis pursuit.

    Attributes
    ----------
    x : array (n,)
    missed : float, ``||A x - y|| / ||y||``
    gap : float, the duality gap, relative
    multipliers : array (m,), u: ``|A^T u| <= c`` with that gap, or ``A^T u <= c`` if nonnegative
    """

    x: FloatArray
    missed: float
    gap: float
    multipliers: FloatArray


def pursue(operator: Operator, values: FloatArray, cost: FloatArray, nonnegative: bool) -> Pursued:
    """``min sum c_i |x_i|`` subject to ``A x = y``, and ``x >= 0`` if nonnegative; y is not 0.

    Raises
    ------
    ValueError
        where no x fits
    """
    whole, y, units = scaled(operator, values, cost)
    left = float(np.linalg.norm(whole.times(whole.least_squares(y)) - y))
    if left > UNFIT:
        raise ValueError(f"no x fits the values: the best misses {left:.2g} of their norm")
    method = Multipliers(whole, y, 1.0, FITTED, nonnegative, None)
    best = Pursued(np.zeros(len(units)), 1.0, np.inf, np.zeros(len(y)))
    while method.found.steps < PURSUED and max(best.missed, best.gap) > SOLVED:
        method.step()
        x = _refined(whole, y, method.found.x, nonnegative)
        norm = float(np.abs(x).sum())
        u = _feasible(whole, y, method.found.u, x, nonnegative)
        gap = abs(1 - float(y @ u) / norm) if norm else np.inf
        found = Pursued(x, float(np.linalg.norm(whole.times(x) - y)), gap, u)
        if max(found.missed, found.gap) < max(best.missed, best.gap):
            best = found
    if nonnegative and best.missed > UNFIT:
        nearest = descend_on_squares(whole, y, 1.0, SOLVED).x
        left = float(np.linalg.norm(whole.times(nearest) - y))
        if left > UNFIT:
            raise ValueError(
                f"no x >= 0 fits the values: the best misses {left:.2g} of their norm, and is what "
                "nonnegative_least_squares finds"
            )
    return best._replace(x=best.x * units, multipliers=best.multipliers / typical_column(operator))


def _refined(whole: MatrixProducts, y: FloatArray, x: FloatArray, nonnegative: bool) -> FloatArray:
    """Least squares on the support of x, where the signs stay and that fits as well."""
    missed = np.linalg.norm(whole.times(x) - y)
    for floor in FLOORS:
        places = np.flatnonzero(np.abs(x) > floor * np.abs(x).max())
        if len(places) > len(y):
            continue
        refined = np.zeros_like(x)
        columns = whole.columns(places, np.ones(len(places)))
        refined[places] = x[places] + columns.least_squares(y - columns.times(x[places]))
        if np.all(refined * x >= 0) and np.linalg.norm(whole.times(refined) - y) <= missed:
            return refined
    return x


def _feasible(whole: MatrixProducts, y: FloatArray, u: FloatArray, x: FloatArray, nonnegative: bool) -> FloatArray:
    """Feasible multipliers near u with the largest ``<y, u>``, which no solution has a smaller norm than.

    Nearer than those of the method come those that satisfy the equations of the dual on the support of x, and where it
    is nearly tight.
    """
    slopes = whole.transposed(u)
    signs = np.where(x != 0, np.sign(x), np.sign(slopes))
    candidates = [u]
    for fitted in (x != 0, (x != 0) | ((slopes if nonnegative else signs * slopes) > 1 - TIGHT)):
        places = np.flatnonzero(fitted)
        rows = whole.columns(places, np.ones(len(places))).turned
        candidates.append(u + rows.least_squares(signs[places] - slopes[places]))
    scaled_down = [v / max(1.0, steepest(whole.transposed(v), nonnegative)) for v in candidates]
    return max(scaled_down, key=lambda v: float(y @ v))


class Level(NamedTuple):
    """The lasso at one penalty.

    Attributes
    ----------
    x : array (n,)
    gap : float, duality gap
    """

    x: FloatArray
    gap: float


def lasso_levels(
    operator: Operator, values: FloatArray, penalties: FloatArray, nonnegative: bool, tol: float, max_steps: int
) -> list[Level]:
    """``min 1/2 ||A x - y||^2 + penalty ||x||_1`` for penalties, largest first, each from the one before.

    Until gaps are at most ``tol ||y||^2``.

    Warns
    -----
    UserWarning
        where they are not after ``max_steps`` Newton steps
    """
    whole, y, units = scaled(operator, values, np.ones(operator.shape[1]))
    size, levels, found = float(np.linalg.norm(values)), [], None
    for penalty in penalties.tolist():
        level = penalty * float(units[0]) / size**2 if size else 1.0
        method = Multipliers(whole, y, level, 1.0, nonnegative, found)
        found = method.found
        gap = _gap(whole, y, level, found.x, nonnegative)
        while gap > tol and method.found.steps < max_steps:
            method.step()
            gap = _gap(whole, y, level, method.found.x, nonnegative)
        found = method.found
        if gap > tol:
            fall_short(
                f"the lasso with penalty {penalty:.3g} came to a duality gap of {gap:.1g} ||y||^2 in {found.steps} "
                f"steps, not to {tol:.1g}: give more max_steps or a larger tol",
                stacklevel=3,
            )
        levels.append(Level(found.x * units, gap * size**2))
    return levels


def _gap(whole: MatrixProducts, y: FloatArray, level: float, x: FloatArray, nonnegative: bool) -> float:
    """The duality gap of the lasso, from the residual scaled until it is feasible."""
    residual = y - whole.times(x)
    slope = steepest(whole.transposed(residual), nonnegative)
    dual = residual * min(1.0, level / slope) if slope > 0 else residual
    primal = 0.5 * float(residual @ residual) + level * float(np.abs(x).sum())
    return primal - 0.5 * float(y @ y - (y - dual) @ (y - dual))
