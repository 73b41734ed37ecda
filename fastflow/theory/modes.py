"""One eigenvalue of symmetric estimation under the flow from an identical start: its value in time, its time of rise.

With Y symmetric and every factor started at ``alpha I`` the factors stay equal, diagonal in the eigenbasis of Y, and
each eigenvalue y of the product follows an equation of its own (Chou, Gieshoff, Maly, Rauhut, arXiv:2011.13772)

    y' = N y^{2-2/N} (lambda - y),   y(0) = alpha^N.

With ``p = 1 - 2/N`` and a variable s the time is ``t = |lambda|^{2/N-2} / N  int k(s) ds``,

    k = (1 + e^{-s})^p,  s = log(y / (lambda - y))       rising, 0 < y < lambda
    k = (1 - e^{-s})^p,  s = log(y / (y - lambda))       falling, 0 < lambda < y
    k = (e^s - 1)^p,     s = log((y - lambda) / y)       dying, lambda < 0

and ``(y^{2/N-2} - alpha^{2-2N}) / (2N-2)`` for lambda = 0. For N = 2 k is 1. Otherwise what is large of k is
integrated in closed form, and the rest, smooth in ``e^{-s}`` or in an N-th root of it or of s, by Gauss's rule.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, Numbers, as_count, as_floats, as_number, broadcast
from fastflow.memory import require_work
from fastflow.metrics import quiet

NODES = 64
"""Points of Gauss's rule."""
TINY = np.finfo(float).tiny
"""Starts ``alpha^N`` below this have lost digits, or are 0: their logarithms are taken."""
ITERATIONS = 1200
"""After so many turns Newton's method ends with what it has: halving takes no more for any float64."""
FAR = 1e15
"""Times, in units of s, that are long for halvings to count them."""
RISING, FALLING, DYING = 0, 1, 2
"""What an eigenvalue does: it grows to lambda, falls to lambda, or falls to 0."""
LOWEST = -700.0
"""Below this s its ``e^{-s}`` is none that float64 has."""
QUADRATURE = 420
"""Copies of its arguments that an integral takes: its nodes (measured)."""

SPLIT = np.array([0.0, 1.0, 1.0])
"""Between which two forms of k the integral is split, in s."""


@quiet
def mode_time(value: ArrayLike, eigenvalue: ArrayLike, alpha: ArrayLike, depth: int) -> Numbers:
    """When an eigenvalue of the product comes to a value, of the flow of ``1/2 ||W - Y||_F^2`` from ``alpha I``.

    Parameters
    ----------
    value : float or array, y
    eigenvalue : float or array, lambda, of Y; of either sign
    alpha : float > 0 or array, what every factor starts at, so that ``y(0) = alpha^N``
    depth : int, N

    Returns
    -------
    float or array
        Infinity for the limit itself and for what is never reached. With ``normalization="mean"`` times are longer by
        m/2, m the number of entries of Y.

    Examples
    --------
    >>> round(float(ff.theory.mode_time(0.5, 1.0, 1e-3, depth=2)), 3)
    6.908
    """
    depth = as_count("depth", depth, 1)
    values, lam, alphas = _arrays(alpha, value=value, eigenvalue=eigenvalue)
    return _mode_times(values, lam, alphas, depth)[()]


def _mode_times(values: FloatArray, lam: FloatArray, alphas: FloatArray, depth: int) -> FloatArray:
    start = alphas**depth
    limit = lam if depth == 1 else np.maximum(lam, 0)
    ahead = np.where(start < limit, (values > start) & (values < limit), (values < start) & (values > limit))
    times = np.where(values == start, 0.0, np.inf)
    times[ahead] = _times(values[ahead], lam[ahead], alphas[ahead], depth)
    return times


@quiet
def mode_value(t: ArrayLike, eigenvalue: ArrayLike, alpha: ArrayLike, depth: int) -> Numbers:
    """An eigenvalue of the product at a time, of the flow of ``1/2 ||W - Y||_F^2`` from ``alpha I``.

    The eigenvalue tends to ``max(lambda, 0)`` (for N = 1 to lambda). For N = 2 it is
    ``lambda a^2 / (lambda e^{-2 lambda t} + a^2 (1 - e^{-2 lambda t}))``, ``a = alpha``; else the inverse of
    `mode_time`.

    Parameters
    ----------
    t : float >= 0 or array; infinity is allowed
    eigenvalue : float or array, lambda, of Y; of either sign
    alpha : float > 0 or array, what every factor starts at
    depth : int, N

    Returns
    -------
    float or array

    Raises
    ------
    TypeError, ValueError
        as `mode_time`, and where t is negative

    Examples
    --------
    >>> round(float(ff.theory.mode_value(6.907754, 1.0, 1e-3, depth=2)), 4)
    0.5
    """
    depth = as_count("depth", depth, 1)
    times, lam, alphas = _arrays(alpha, t=t, eigenvalue=eigenvalue)
    if not np.all(times >= 0):
        raise ValueError(f"t must be at least 0, got {np.min(times):g}")
    start = alphas**depth
    if depth == 1:
        return (start * np.exp(-times) - lam * np.expm1(-times))[()]
    if depth == 2:
        decay = np.where(lam == 0, 1.0, np.exp(-2 * lam * times))
        passed = np.where(lam == 0, 2 * times, -np.expm1(-2 * lam * times) / np.where(lam == 0, 1, lam))
        value = np.where(np.isinf(decay), 0.0, start / (decay + start * passed))
        grown = np.where(lam == 0, 0.0, 2 * lam * times) + depth * np.log(alphas)  # log(start / decay)
        value = np.where((start >= TINY) & np.isfinite(start), value, 1 / (np.exp(-grown) + passed))
        return np.where(np.exp(grown) < TINY, np.exp(grown), value)[()]
    power = 2 / depth - 2
    result = np.asarray((start**power + (2 * depth - 2) * times) ** (1 / power))
    moving = (lam != start) & (np.abs(lam) > np.finfo(float).eps * result) & (times > 0)
    result[times == 0] = start[times == 0]
    result[lam == start] = lam[lam == start]
    ended = moving & np.isinf(times)
    result[ended] = np.maximum(lam[ended], 0)
    moving &= ~ended & ((start >= TINY) | (lam > start))
    result[moving] = _values(times[moving], lam[moving], alphas[moving], depth)
    return result[()]


@quiet
def half_time(eigenvalue: ArrayLike, alpha: ArrayLike, depth: int) -> Numbers:
    """When an eigenvalue of the product has grown to half of lambda, of the flow from ``alpha I``.

    In the units of time of `mode_time`.

    Parameters
    ----------
    eigenvalue : float or array, lambda, of Y; of either sign
    alpha : float > 0 or array, what every factor starts at
    depth : int, N

    Returns
    -------
    float or array
        0 where it starts above, infinity where lambda <= 0.

    Raises
    ------
    TypeError, ValueError
        as `mode_time`

    Examples
    --------
    >>> round(float(ff.theory.half_time(1.0, 1e-3, depth=2)), 3)
    6.908
    """
    return escape_time(eigenvalue, alpha, depth, share=0.5)


@quiet
def escape_time(eigenvalue: ArrayLike, alpha: ArrayLike, depth: int, share: float = 0.1) -> Numbers:
    """When an eigenvalue of the product leaves the saddle near 0: when it has grown to a share of lambda.

    As alpha tends to 0 this time grows like ``log(lambda / alpha^2) / (2 lambda)`` (N = 2) and
    ``alpha^{2-N} / ((N-2) lambda)`` (N >= 3).

    Parameters
    ----------
    eigenvalue : float or array, lambda, of Y; of either sign
    alpha : float > 0 or array, what every factor starts at
    depth : int, N
    share : float between 0 and 1

    Returns
    -------
    float or array
        0 where it starts above, infinity where lambda <= 0.

    Raises
    ------
    TypeError, ValueError
        as `mode_time`, and where share is not between 0 and 1

    Examples
    --------
    >>> round(float(ff.theory.escape_time(1.0, 1e-3, depth=2)), 3)
    5.809
    """
    if not 0 < as_number("share", share) < 1:
        raise ValueError(f"share must be between 0 and 1, got {share:g}")
    depth = as_count("depth", depth, 1)
    lam, alphas = _arrays(alpha, eigenvalue=eigenvalue)
    times = _mode_times(share * lam, lam, alphas, depth)
    return np.where(lam <= 0, np.inf, np.where(alphas**depth >= share * lam, 0.0, times))[()]


def _arrays(alpha: ArrayLike, **others: ArrayLike) -> tuple[FloatArray, ...]:
    """The arguments in their common shape, alpha last."""
    arrays = {name: as_floats(name, array, None, finite=name != "t") for name, array in others.items()}
    starts = as_floats("alpha", alpha, None).astype(np.float64)
    if starts.min() <= 0:
        raise ValueError(f"alpha must be greater than 0, got {starts.min():g}")
    together = broadcast(**arrays, alpha=starts)
    require_work(together[0].size, QUADRATURE, "modes")
    return tuple(array.astype(np.float64) for array in together)


def _times(y: FloatArray, lam: FloatArray, alphas: FloatArray, depth: int) -> FloatArray:
    """`mode_time` of values strictly between start and limit, flat arrays."""
    start = alphas**depth
    if depth == 1:
        times: FloatArray = np.log1p((y - start) / (lam - y))
        return times
    power = 2 / depth - 2
    null = np.abs(lam) <= np.finfo(float).eps * np.minimum(y, start)
    times = -(y**power) * np.expm1(power * np.log(start / y)) / (2 * depth - 2)
    y, lam, alphas = y[~null], lam[~null], alphas[~null]
    case, first = _first(lam, alphas, depth)
    last = _places(case, y, lam)
    times[~null] = np.abs(lam) ** power / depth * _integral(case, first, last, depth)
    return times


def _values(times: FloatArray, lam: FloatArray, alphas: FloatArray, depth: int) -> FloatArray:
    """`mode_value` for N >= 3, lambda neither 0 nor the start, and finite times, flat arrays.

    By Newton's method for s, halving a bracket where it leaves it.
    """
    p, (case, first) = 1 - 2 / depth, _first(lam, alphas, depth)
    wanted = times * depth * np.abs(lam) ** (2 - 2 / depth)
    low, later = first, np.maximum(first, 1)
    room = wanted / (1 - np.exp(-1)) ** p  # from where s is above 1, k is at least that share of its large form
    high = np.where(
        case == RISING,
        first + wanted,
        np.where(case == FALLING, later + room, later + np.log1p(p * room * np.exp(-p * later)) / p),
    )
    # From far below it is reached no later than if k were e^{-ps} alone, which leaves little to halve.
    share = p * wanted * np.exp(p * first)
    sooner = np.where(share < 1, first - np.log1p(-share) / p, high)
    high = np.where((case == RISING) & (wanted > FAR), np.minimum(high, sooner), high)
    place = 0.5 * (low + high)
    for _ in range(ITERATIONS):
        excess = _integral(case, first, place, depth) - wanted
        low, high = np.where(excess < 0, place, low), np.where(excess < 0, high, place)
        moved = place - excess / _kernel(case, place, p)
        moved = np.where((moved > low) & (moved < high), moved, 0.5 * (low + high))
        done = np.abs(moved - place) <= np.spacing(np.abs(place))
        place = moved
        if done.all():
            break
    growth = np.exp(-place)
    risen = lam / np.where(case == RISING, 1 + growth, -np.expm1(-place))
    values: FloatArray = np.where(case == DYING, -lam * growth / -np.expm1(-place), risen)
    return values


def _first(lam: FloatArray, alphas: FloatArray, depth: int) -> tuple[NDArray[np.int64], FloatArray]:
    """What each eigenvalue does, and s at its start."""
    start = alphas**depth
    case = np.where(lam < 0, DYING, np.where(start < lam, RISING, FALLING))
    logs = depth * np.log(alphas) - np.log(np.abs(lam))  # of a start so small that float64 loses digits of it
    return case, np.where((start < TINY) & (case == RISING), logs, _places(case, start, lam))


def _places(case: NDArray[np.int64], y: FloatArray, lam: FloatArray) -> FloatArray:
    """s where the eigenvalue is y."""
    rising, falling, dying = np.log(y / (lam - y)), -np.log1p(-lam / y), np.log1p(-lam / y)
    return np.where(case == RISING, rising, np.where(case == FALLING, falling, dying))


def _kernel(case: NDArray[np.int64], s: FloatArray, p: float) -> FloatArray:
    """k(s)."""
    low = (case == RISING) & (s < LOWEST)  # where e^{-s} overflows, the 1 beside it does not count
    size = np.where(case == RISING, 1 + np.exp(-np.where((case == RISING) & ~low, s, 0)), -np.expm1(-np.abs(s)))
    kernel: FloatArray = np.where(low, np.exp(-p * s), size**p * np.exp(np.where(case == DYING, p * s, 0)))
    return kernel


def _integral(case: NDArray[np.int64], first: FloatArray, last: FloatArray, depth: int) -> FloatArray:
    """``int k(s) ds`` from first to last, flat arrays."""
    if depth == 2:
        return last - first
    split = SPLIT[case]
    total = np.zeros(len(case))
    for high in (False, True):
        a = np.maximum(first, split) if high else np.minimum(first, split)
        b = np.maximum(last, split) if high else np.minimum(last, split)
        for kind in (RISING, FALLING, DYING):
            part = (case == kind) & (b > a)
            if part.any():
                total[part] += _piece(kind, high, a[part], b[part], depth)
    return total


def _piece(kind: int, high: bool, a: FloatArray, b: FloatArray, depth: int) -> FloatArray:
    """``int k(s) ds`` from a to b on one side of the split."""
    p, sign = 1 - 2 / depth, 1 if kind == RISING else -1

    def rest(z: FloatArray) -> FloatArray:
        """``((1 + sign z)^p - 1) / z``."""
        positive = np.where(z > 0, z, 1)
        return np.where(z > 0, np.expm1(p * np.log1p(sign * positive)) / positive, sign * p)

    if kind != RISING and not high:  # k is s^p times something smooth

        def smooth(q: FloatArray) -> FloatArray:
            s = q**depth
            size = np.expm1(s) if kind == DYING else -np.expm1(-s)
            return depth * q ** (2 * depth - 3) * (size / s) ** p

        return _gauss(smooth, a ** (1 / depth), b ** (1 / depth))
    if kind == FALLING or (kind == RISING and high):  # k is nearly 1
        return b - a + _gauss(rest, np.exp(-b), np.exp(-a))
    if kind == RISING:
        a, b = -b, -a
    # k is nearly e^{ps}, with the rest e^{ps} z rest(z), z = e^{-s} = q^N.
    steep = np.exp(p * a) * np.expm1(p * (b - a)) / p
    return steep + _gauss(lambda q: depth * q * rest(q**depth), np.exp(-b / depth), np.exp(-a / depth))


def _gauss(function: Callable[[FloatArray], FloatArray], low: FloatArray, high: FloatArray) -> FloatArray:
    """The integrals of a function of arrays from low to high (k,), by Gauss's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    half = 0.5 * (high - low)
    integral: FloatArray = half * (function(low[:, None] + half[:, None] * (1 + nodes)) @ weights)
    return integral
