"""The explicit methods of Dormand and Prince, for the time in which a flow is not stiff: of order 8, and of order 5.

Twelve gradients a step, and six, the one at the new point included; stable down to ``z = -6.39`` and ``-3.31``. Their
coefficients are SciPy's (Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, 1993, codes DOP853 and
DOPRI5), and both have the form of DOP853: the other one's has zeros where it has less.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.vectors.combine import combine_rows_at
from fastflow.kernels.vectors.layouts import address, keep

SLOPES = 16
"""Slopes that a step and its dense output need at most, the one before it included."""

ROWS = (2, 1, 0, *range(3, SLOPES))
"""Where the slope of each stage is: so that those that a stage needs lie side by side."""

ORDERS = (8, 5)
"""The orders that there are."""

STABLE = {8: 6.39, 5: 3.30}
"""How far down ``|R| <= 1`` holds, by order."""

TRUSTED = {8: 4.0, 5: 3.0}
"""The step times the rate up to which the estimate of the error is trusted, by order; it is stable beyond."""


class DormandPrince(NamedTuple):
    """A method: its ``order``, how many ``stages`` it has and ``estimates`` of its error, and coefficients of slopes.

    A slope's coefficients are in the column of its row. ``slopes`` are those that dense output needs: that of each
    stage, of the new point, and of further stages; ``trusted`` is of `TRUSTED`. ``points`` (16, 16) of the stages, of
    the new point in row ``stages``, and of the further stages; those before ``first`` (16,) are 0, and in the rest
    those before that of the new point. ``errors`` (2, 16) of the estimates of order 5 and 3, or that of order 4 alone;
    ``dense`` (4, 16) of the last coefficients of the interpolant.
    """

    stages: int
    slopes: int
    order: int
    estimates: int
    trusted: float
    points: np.ndarray
    first: np.ndarray
    errors: np.ndarray
    dense: np.ndarray


@functools.cache
def dormand_prince(order: int) -> DormandPrince:
    """The coefficients of one of `ORDERS`, from SciPy, made once."""
    from scipy.integrate import DOP853, RK45

    points, errors, dense = np.zeros((SLOPES, SLOPES)), np.zeros((2, SLOPES)), np.zeros((4, SLOPES))
    places = np.array(ROWS)
    if order == 8:
        stages, slopes, estimates = 12, SLOPES, 2
        points[:stages, places[:stages]], points[stages, places[:stages]] = DOP853.A, DOP853.B
        points[stages + 1 :, places] = DOP853.A_EXTRA
        errors[:, places[: stages + 1]] = DOP853.E5, DOP853.E3
        dense[:, places] = DOP853.D
    else:
        stages, slopes, estimates = 6, 7, 1
        points[:stages, places[: stages - 1]], points[stages, places[:stages]] = RK45.A, RK45.B
        errors[0, places[:slopes]] = RK45.E
        dense[0, places[:slopes]] = RK45.P[:, 3]  # of the share to the power 4, which the rest has not
    first = np.argmax(points != 0, axis=1)
    for array in (points, first, errors, dense):
        array.flags.writeable = False
    return DormandPrince(stages, slopes, order, estimates, TRUSTED[order], points, first, errors, dense)


@jit_internal
def add_slopes(target, share, start, weights, scale, slopes, first, end, factors, size):
    """``target = share start + scale sum_k weights[k] slopes[k]`` over the rows ``first <= k < end``, in their order.

    Addresses of ``size`` numbers each, none of which are slopes but ``slopes``, whose rows lie side by side;
    ``factors`` is scratch of `SLOPES`.
    """
    i = np.intp
    for k in range(end - first):
        factors[k] = scale * weights[first + k]
    rows = slopes + 8 * first * size
    combine_rows_at(target, share, start, address(factors, i(0)), rows, size, end - first)
    keep(factors)
