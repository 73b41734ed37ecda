"""Inverses of increasing functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastflow.checks import FloatArray


def invert(function: Callable[[FloatArray], FloatArray], target: FloatArray, low: float, high: float) -> FloatArray:
    """Up to where an increasing function of arrays, entry by entry, stays at or below ``target``, in ``low .. high``.

    By halving, to an epsilon of the larger end; the ends themselves are exact.
    """
    below, above = np.full(np.shape(target), low), np.full(np.shape(target), high)
    while np.any(above - below > np.spacing(max(abs(low), abs(high)))):
        middle = 0.5 * (below + above)
        passed = function(middle) > target
        below, above = np.where(passed, below, middle), np.where(passed, middle, above)
    return np.where(above == high, above, below)
