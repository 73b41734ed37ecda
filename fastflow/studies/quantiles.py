"""Quantiles of outcomes over the trials of each cell, with intervals that assume nothing of their distribution."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_floats
from fastflow.equality import by_value
from fastflow.studies.statistics import as_probability


@by_value(hashable=False)
class Quantiles(NamedTuple):
    """Quantiles over trials; NaN without any.

    Attributes
    ----------
    value : array (*cells,) or (*cells, k), the quantiles of the trials that there are
    low, high : arrays of that shape
        An interval that holds the quantile of the distribution as often as was asked for: order statistics. Minus, or
        plus, infinity where so few trials do not bound it.
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray


def quantiles(values: ArrayLike, q: ArrayLike = (0.1, 0.5, 0.9), confidence: float = 0.95) -> Quantiles:
    """Quantiles over the last axis, NaN left out, with intervals.

    The number of values at most the quantile of a distribution is binomial: with l and u the largest and the least with
    ``P(B < l) <= (1 - c)/2`` and ``P(B >= u) <= (1 - c)/2``, B of n trials of probability q, the interval from the
    l-th to the u-th least value holds it with probability c at least (David, Nagaraja 2003, section 7.1).

    Parameters
    ----------
    values : array (..., trials)
    q : float or array (k,), in [0, 1]
    confidence : float in (0, 1)

    Returns
    -------
    Quantiles
        Arrays (...), or (..., k).

    Raises
    ------
    ValueError, TypeError
        for a q or a confidence that is no probability
    """
    from scipy.stats import binom

    confidence = as_probability("confidence", confidence)
    wanted = as_floats("q", q, (0, 1)).astype(np.float64)
    if np.any((wanted < 0) | (wanted > 1)):
        raise ValueError(f"q must be in [0, 1], got {wanted[(wanted < 0) | (wanted > 1)][0]:g}")
    array = np.asarray(values, np.float64)
    ordered = np.sort(array, axis=-1)  # NaN come last
    counts = np.count_nonzero(~np.isnan(array), axis=-1)
    shape = (*counts.shape, wanted.size)
    found = Quantiles(*(np.full(shape, np.nan) for _ in range(3)))
    tail = 0.5 * (1 - confidence)
    for count in np.unique(counts[counts > 0]).tolist():
        cells = counts == count
        there = ordered[cells][:, :count]
        padded = np.pad(there, ((0, 0), (1, 1)), constant_values=((0, 0), (-np.inf, np.inf)))
        for i, share in enumerate(wanted.ravel().tolist()):
            below = binom.cdf(np.arange(-1, count + 1), count, share)  # P(B < l), l = 0 .. n + 1
            first = int(np.searchsorted(below, tail, side="right")) - 1
            last = int(np.searchsorted(below, 1 - tail, side="left"))
            found.value[cells, i] = _quantile(there, share)
            found.low[cells, i], found.high[cells, i] = padded[:, max(first, 0)], padded[:, min(last, count + 1)]
    return found if wanted.ndim else Quantiles(*(one[..., 0] for one in found))


def _quantile(ordered: FloatArray, share: float) -> FloatArray:
    """Of sorted rows: between the two values beside it; infinite ones without arithmetic on them."""
    at = share * (ordered.shape[1] - 1)
    left = int(np.floor(at))
    right = min(left + 1, ordered.shape[1] - 1)
    low, high = ordered[:, left], ordered[:, right]
    weight = at - left
    with np.errstate(invalid="ignore"):
        between = low + weight * (high - low)
    return np.where((weight == 0) | (low == high), low, between)
