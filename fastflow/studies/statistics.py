"""Binomial intervals, and logistic curves fitted to counts of successes, many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, as_floats, as_number, broadcast
from fastflow.equality import by_value

MOST_STEPS = 500


def wilson(successes: ArrayLike, trials: ArrayLike, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Wilson's score interval of a probability of success.

    The p with ``|k/n - p| <= z sqrt(p (1 - p) / n)``, z the normal quantile of ``(1 + confidence) / 2`` (Wilson 1927;
    Brown, Cai, DasGupta 2001): inside 0 .. 1, not empty where no trial or every trial succeeds, 0 .. 1 without trials.

    Parameters
    ----------
    successes, trials : integers or arrays that broadcast, ``0 <= successes <= trials``
    confidence : float in (0, 1), how often the interval should hold the probability

    Returns
    -------
    low, high : floats, or arrays of the common shape

    Raises
    ------
    ValueError, TypeError
        for what are no counts, and more successes than trials
    """
    from scipy.special import ndtri

    confidence = as_probability("confidence", confidence)
    k, n = as_tallies(successes, trials)
    z = float(ndtri(0.5 * (1 + confidence)))
    spread = k * (n - k) / np.maximum(n, 1)
    half = z * np.sqrt(spread + 0.25 * z * z)
    middle = k + 0.5 * z * z
    low = np.where(k == 0, 0.0, (middle - half) / (n + z * z))
    high = np.where(k == n, 1.0, (middle + half) / (n + z * z))
    return low[()], high[()]


@by_value(hashable=False)
class Logistic(NamedTuple):
    """Fitted curves ``1 / (1 + exp(-(intercept + slope x)))``.

    Attributes
    ----------
    curves : array (N, 2), intercepts and slopes
    converged : bool array (N,), False where `MOST_STEPS` steps did not suffice
    """

    curves: FloatArray
    converged: NDArray[np.bool_]


def fit_logistic(
    x: FloatArray,
    successes: FloatArray,
    trials: FloatArray,
    start: FloatArray | None = None,
    tol: float = 1e-20,
) -> Logistic:
    """Logistic curves of N data sets by Firth's penalised likelihood, which exists for every data set.

    What is maximised is ``sum k_i log p_i + (n_i - k_i) log(1 - p_i) + 1/2 log det I``, I the Fisher information of
    intercept and slope. The penalty, Jeffreys' prior, removes the first order of the bias of maximum likelihood, and
    keeps the slope finite where failures and successes are separated (Firth 1993; Heinze, Schemper 2002).

    Parameters
    ----------
    x : array (k,), best of order 1
    successes, trials : arrays (N, k) with ``0 <= successes <= trials``, trials at two or more x in each row
    start : array (N, 2), curves to start from, if known
    tol : float
        A curve has converged when the square of the next step, in standard errors, is at most this.

    Returns
    -------
    Logistic
    """
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    if start is None:
        share = (k.sum(axis=1) + 0.5) / (n.sum(axis=1) + 1)
        start = np.column_stack([np.log(share / (1 - share)), np.zeros(len(k))])
    curve = start.copy()
    step, value, decrement = _scoring(x, k, n, curve)
    active = np.flatnonzero(~(decrement <= tol))
    k, n = k[active], n[active]
    base, step, value = curve[active], step[active], value[active]
    for _ in range(MOST_STEPS):
        if not len(active):
            break
        candidate = base + step
        following, reached, decrement = _scoring(x, k, n, candidate)
        # Fisher's scoring climbs, if its step is not too long; at the top the value only changes by round-off.
        better = reached >= value - 1e-12 * np.abs(value)
        base = np.where(better[:, None], candidate, base)
        step = np.where(better[:, None], following, 0.5 * step)
        value = np.where(better, reached, value)
        goes_on = ~(better & (decrement <= tol))
        curve[active] = base
        if not goes_on.all():
            active, k, n = active[goes_on], k[goes_on], n[goes_on]
            base, step, value = base[goes_on], step[goes_on], value[goes_on]
    converged = np.ones(len(curve), np.bool_)
    converged[active] = False
    return Logistic(curve, converged)


def _scoring(
    x: FloatArray, k: FloatArray, n: FloatArray, curve: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The step of Fisher's scoring (N, 2), the penalised log-likelihood (N,), the step's square in standard errors."""
    predictor = curve[:, :1] + curve[:, 1:] * x
    small = np.exp(-np.abs(predictor))
    rate = np.where(predictor >= 0, 1.0, small) / (1 + small)
    weight = n * small / (1 + small) ** 2
    likelihood = np.sum(k * predictor - n * (np.maximum(predictor, 0) + np.log1p(small)), axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        total = weight.sum(axis=1)
        centre = np.sum(weight * x, axis=1) / total  # no BLAS: the same bits in any company
        offset = x - centre[:, None]  # in which the information is diagonal
        spread = np.sum(weight * offset**2, axis=1)
        value = likelihood + 0.5 * (np.log(total) + np.log(spread))
        leverage = weight * (1 / total[:, None] + offset**2 / spread[:, None])
        residual = k - n * rate + leverage * (0.5 - rate)
        score, moment = residual.sum(axis=1), np.sum(residual * offset, axis=1)
        slope = moment / spread
        step = np.column_stack([score / total - slope * centre, slope])
        decrement = score**2 / total + moment**2 / spread
    return step, value, decrement


def deviances(x: FloatArray, successes: FloatArray, trials: FloatArray, curves: FloatArray) -> FloatArray:
    """Twice the log-likelihood that curves (N, 2) fall short of the rates themselves by, (N,)."""
    from scipy.special import expit, rel_entr

    k, n = successes, trials
    rates = expit(curves[:, :1] + curves[:, 1:] * x)
    return np.asarray(2 * np.sum(rel_entr(k, n * rates) + rel_entr(n - k, n * (1 - rates)), axis=1))


def skewness(x: FloatArray, successes: FloatArray, trials: FloatArray, curves: FloatArray) -> FloatArray:
    """How far rates bend away from curves (N, 2) as those of a transition that is steeper on one side do, (N,).

    The score for a term in the square of the predictor, in standard errors (Pregibon 1980; Stukel 1988), which notices
    with fewer trials than `deviances` what is not symmetric.
    """
    from scipy.special import expit

    predictor = curves[:, :1] + curves[:, 1:] * x
    rate = expit(predictor)
    weight = trials * rate * (1 - rate)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        total = weight.sum(axis=1, keepdims=True)
        offset = predictor - np.sum(weight * predictor, axis=1, keepdims=True) / total
        square = offset**2
        # What of the square neither a constant nor the predictor itself can be.
        square = square - np.sum(weight * square, axis=1, keepdims=True) / total
        slope = np.sum(weight * square * offset, axis=1, keepdims=True) / np.sum(
            weight * offset**2, axis=1, keepdims=True
        )
        square = square - slope * offset
        score = np.sum((successes - trials * rate) * square, axis=1) / np.sqrt(np.sum(weight * square**2, axis=1))
    return np.where(np.isfinite(score), np.abs(score), 0.0)


def share_as_extreme(statistics: Sequence[FloatArray]) -> FloatArray:
    """How often data are as extreme as the first ones, in whatever statistic they are most so, (N,).

    Parameters
    ----------
    statistics : arrays (N, 1 + R), large where extreme: of the data, and of R that were drawn as the data should be
    """
    least: FloatArray | None = None
    for values in statistics:
        ordered = np.sort(values, axis=1)
        above = [values.shape[1] - np.searchsorted(row, own) for row, own in zip(ordered, values, strict=True)]
        share = np.array(above) / values.shape[1]
        least = share if least is None else np.minimum(least, share)
    assert least is not None
    return np.asarray(np.mean(least <= least[:, :1], axis=1))


def as_tallies(successes: ArrayLike, trials: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Counts of successes and of trials in float64 and their common shape."""
    k, n = as_floats("successes", successes, None), as_floats("trials", trials, None)
    k, n = broadcast(successes=k.astype(np.float64), trials=n.astype(np.float64))
    for name, count in (("successes", k), ("trials", n)):
        if count.min() < 0 or np.any(count != np.floor(count)):
            raise ValueError(f"{name} must be counts, got {count[(count < 0) | (count != np.floor(count))][0]:g}")
    if np.any(k > n):
        raise ValueError(f"successes must be at most trials, got {k[k > n][0]:g} of {n[k > n][0]:g}")
    return k, n


def as_probability(name: str, value: float) -> float:
    """A number strictly between 0 and 1."""
    number = as_number(name, value, above=0)
    if number >= 1:
        raise ValueError(f"{name} must be less than 1, got {number:g}")
    return number
