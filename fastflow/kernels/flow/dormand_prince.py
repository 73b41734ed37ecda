"""The explicit method of order 8 of Dormand and Prince, for the time in which a flow is not stiff.

Twelve gradients a step, the one at the new point included; stable down to ``z = -6.39``. Its coefficients are SciPy's
(Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, 1993, code DOP853).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.vectors.elementwise import ROWS_AT_ONCE, add_rows, copy, rows_together

STAGES, SLOPES = 12, 16
"""Gradients of a step, and those that its dense output needs: the one before it, and three more after it."""

ROWS = (2, 1, 0, *range(3, SLOPES))
"""Where the slope of each stage is: so that those that a stage needs lie side by side."""

STABLE = 6.39
"""How far down ``|R| <= 1`` holds."""


class DormandPrince(NamedTuple):
    """Coefficients of slopes, each in the column of its row (`ROWS`); those before ``first`` are 0.

    ``points`` (16, 16) of the stages, the new point (12) and the further stages of dense output, ``first`` (16,);
    ``errors`` (2, 16) of the estimates of order 5 and 3; ``dense`` (4, 16) of the last four coefficients of the
    interpolant.
    """

    points: np.ndarray
    first: np.ndarray
    errors: np.ndarray
    dense: np.ndarray


@functools.cache
def dormand_prince() -> DormandPrince:
    """The coefficients, from SciPy, made once."""
    from scipy.integrate import DOP853

    points, errors, dense = np.zeros((SLOPES, SLOPES)), np.zeros((2, SLOPES)), np.zeros((4, SLOPES))
    places = np.array(ROWS)
    points[:12, places[:12]] = DOP853.A
    points[12, places[:12]] = DOP853.B
    points[13:, places] = DOP853.A_EXTRA
    errors[:, places[:13]] = DOP853.E5, DOP853.E3
    dense[:, places] = DOP853.D
    first = np.argmax(points != 0, axis=1)
    for array in (points, first, errors, dense):
        array.flags.writeable = False
    return DormandPrince(points, first, errors, dense)


@jit_inline
def add_slopes(target, start, weights, scale, slopes, first, end, factors):
    """``target = start + scale sum_k weights[k] slopes[k]`` over the rows ``first <= k < end``, in their order.

    Flat arrays; ``factors`` is scratch of `ROWS_AT_ONCE`.
    """
    size = start.size
    copy(target, start, size)
    row = first
    while row < end:
        rows = rows_together(end - row, ROWS_AT_ONCE)
        for k in range(rows):
            factors[k] = scale * weights[row + k]
        add_rows(target, factors, slopes, row, size, rows)
        row += rows
