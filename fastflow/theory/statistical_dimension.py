"""Statistical dimensions of descent cones: how many Gaussian measurements a convex program needs.

The program ``min f(x) subject to A x = y`` with a Gaussian A of m rows recovers x with a probability that switches from
0 to 1 as m passes the statistical dimension delta of the descent cone of f at x, within about the square root of the
ambient dimension (Amelunxen, Lotz, McCoy, Tropp, arXiv:1303.6672). What is computed is the upper bound

    delta <= min_t E dist^2(g, t * subdifferential of f at x),   g standard Gaussian,

in the limit of large sizes; for the l1 norm it exceeds delta by at most ``2 sqrt(n / s)``.

The expectation is always ``base + curvature t^2 + weight E (g - t)_+^2``, where g is now what is off the support: half
of a Gaussian, its absolute value, or a singular value of a Gaussian matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from fastflow.arrays import as_array
from fastflow.checks import FloatArray, Numbers, as_count, as_floats, broadcast, shown
from fastflow.metrics import quiet
from fastflow.theory.roots import invert

CLOSE = 1e-8
"""The step of Newton's method, relative to t, after which t is near enough: its error is squared in the minimum."""

Moments = Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray]]


@quiet
def l1_statistical_dimension(sparsity: ArrayLike, n: ArrayLike, *, nonnegative: bool = False) -> Numbers:
    """The number of measurements at which basis pursuit begins to recover s-sparse vectors of length n.

    That of the descent cone of the l1 norm, or of the l1 norm on ``x >= 0``, at a vector with s nonzeros: the
    asymptotic value, an upper bound at any size (arXiv:1303.6672, section 4). 0 at s = 0, n at s = n.

    Parameters
    ----------
    sparsity, n : numbers or arrays that broadcast, ``0 <= sparsity <= n``, n > 0
        Not only integers: with n = 1 these are fractions, and so is the result.
    nonnegative : bool
        Whether the program knows that ``x >= 0``.

    Returns
    -------
    float, or array of the common shape

    Examples
    --------
    >>> round(float(ff.theory.l1_statistical_dimension(10, 100)), 4)
    32.8794
    """
    sparsity, n = _within("sparsity", sparsity, n)
    return (n * _l1_fraction(sparsity / n, nonnegative))[()]


@quiet
def l1_critical_sparsity(measurements: ArrayLike, n: ArrayLike, *, nonnegative: bool = False) -> Numbers:
    """The sparsity up to which m measurements suffice: the inverse of `l1_statistical_dimension`.

    Parameters
    ----------
    measurements, n : numbers or arrays that broadcast, ``0 <= measurements <= n``, n > 0
    nonnegative : bool

    Returns
    -------
    float, or array of the common shape, between 0 and n

    Examples
    --------
    >>> round(float(ff.theory.l1_critical_sparsity(32.8794, 100)), 3)
    10.0
    """
    measurements, n = _within("measurements", measurements, n)
    return (n * invert(lambda share: _l1_fraction(share, nonnegative), measurements / n, 0.0, 1.0))[()]


@quiet
def nuclear_statistical_dimension(rank: ArrayLike, shape: tuple[int, int]) -> Numbers:
    """The number of measurements at which nuclear-norm minimisation begins to recover matrices of a rank.

    That of the descent cone of the nuclear norm at a matrix (p, q) of that rank: the asymptotic value for large p and q
    of fixed ratio (arXiv:1303.6672, section 4). 0 at rank 0, p q at full rank.

    Parameters
    ----------
    rank : number or array, between 0 and min(p, q); not only integers
    shape : (p, q), in either order

    Returns
    -------
    float, or array of the shape of ``rank``

    Examples
    --------
    >>> round(float(ff.theory.nuclear_statistical_dimension(1, (10, 10))), 3)
    35.114
    """
    rows, columns = as_shape(shape)
    ranks, _ = _within("rank", rank, min(rows, columns))
    return _nuclear(ranks, rows, columns)[()]


@quiet
def nuclear_critical_rank(measurements: ArrayLike, shape: tuple[int, int]) -> Numbers:
    """The rank up to which m measurements suffice: the inverse of `nuclear_statistical_dimension`.

    Parameters
    ----------
    measurements : number or array, between 0 and p q
    shape : (p, q), in either order

    Returns
    -------
    float, or array of the shape of ``measurements``, between 0 and min(p, q)

    Examples
    --------
    >>> round(float(ff.theory.nuclear_critical_rank(0.351144 * 100, (10, 10))), 3)
    1.0
    """
    rows, columns = as_shape(shape)
    wanted, _ = _within("measurements", measurements, rows * columns)
    return invert(lambda rank: _nuclear(rank, rows, columns), wanted, 0.0, float(min(rows, columns)))[()]


def _l1_fraction(share: FloatArray, nonnegative: bool) -> FloatArray:
    """delta / n at s / n."""
    from scipy.special import erfc

    sides = 1 if nonnegative else 2

    def moments(t: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        density = sides * np.exp(-0.5 * t * t) / np.sqrt(2 * np.pi)
        above = 0.5 * sides * erfc(t / np.sqrt(2))
        return density - t * above, (1 + t * t) * above - t * density, above

    result = np.array(share)  # what it is at both ends
    inner = (result > 0) & (result < 1)
    share = result[inner]
    result[inner] = _least_distance(share, share, 1 - share, moments)
    return np.minimum(result, 1)  # in spite of round-off


def _nuclear(rank: FloatArray, rows: int, columns: int) -> FloatArray:
    """delta at a rank, with rho = rank / q and nu = p / q where q is the larger side."""
    small, large = min(rows, columns), max(rows, columns)
    result = np.where(rank < small, 0.0, float(rows * columns))
    inner = np.asarray((rank > 0) & (rank < small))
    rank = np.asarray(rank)[inner]
    rho, ratio = rank / large, (small - rank) / (large - rank)
    # Per entry of (p - r, q - r), of the bulk's p - r singular values over sqrt(q - r).
    base, curvature = rho * (small / large + 1 - rho), rho * (1 - rho)
    result[inner] = large**2 * _least_distance(base, curvature, (1 - rho) ** 2, _singular_value_moments(ratio))
    return np.minimum(result, rows * columns)  # in spite of round-off


def _singular_value_moments(ratio: FloatArray) -> Moments:
    """Moments ``y E (sigma - t)_+^k``, k = 1, 2, 0, of the singular values of a Gaussian matrix with sides 1 : y.

    Their squares x have the Marchenko-Pastur density ``sqrt((b - x)(x - a)) / (2 pi y x)``, ``a, b = (1 -+ sqrt y)^2``.
    """
    # In the angle of x = 1 + y - 2 sqrt(y) cos(angle) there is no edge; what is left near it, the branch points where
    # x = 0 (on it for a square matrix), is for the double exponential rule, which does not mind singular ends.
    grid = np.linspace(-3.2, 3.2, 129)
    places = 1 / (1 + np.exp(-np.pi * np.sinh(grid)))
    weights = (grid[1] - grid[0]) * np.pi * np.cosh(grid) * places * (1 - places)
    root = np.sqrt(ratio)[:, None]

    def moments(t: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        cut = t[:, None]
        first = 2 * np.arcsin(np.sqrt(np.clip((cut**2 - (1 - root) ** 2) / (4 * root), 0, 1)))
        angle = first + (np.pi - first) * places
        square = (1 - root) ** 2 + 4 * root * np.sin(0.5 * angle) ** 2
        mass = weights * (np.pi - first) * (2 / np.pi) * root**2 * np.sin(angle) ** 2 / square
        excess = np.sqrt(square) - cut
        return np.sum(mass * excess, axis=1), np.sum(mass * excess**2, axis=1), np.sum(mass, axis=1)

    return moments


def _least_distance(base: FloatArray, curvature: FloatArray, weight: FloatArray, moments: Moments) -> FloatArray:
    """``min_t base + curvature t^2 + weight E (g - t)_+^2``, from the moments of order 1, 2 and 0 of (g - t)_+.

    Half the derivative, ``curvature t - weight E (g - t)_+``, is concave and negative at 0, so Newton's steps from 0
    climb to its zero and never pass it.
    """
    t = np.zeros_like(base)
    while True:
        first, second, above = moments(t)
        step = (weight * first - curvature * t) / (weight * above + curvature)
        if np.all(step <= CLOSE * t):
            return base + curvature * t**2 + weight * second
        t = t + np.maximum(step, 0)


def _within(name: str, value: ArrayLike, most: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both as float64 of one shape, with ``0 <= value <= most``."""
    amounts: FloatArray = as_floats(name, value, None).astype(np.float64)
    limits: FloatArray = as_floats("n", most, None).astype(np.float64)
    if limits.min() <= 0:
        raise ValueError(f"n must be greater than 0, got {limits.min():g}")
    amounts, limits = broadcast(**{name: amounts, "n": limits})
    outside = (amounts < 0) | (amounts > limits)
    if outside.any():
        raise ValueError(f"{name} must be between 0 and {limits[outside][0]:g}, got {amounts[outside][0]:g}")
    return amounts, limits


def as_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Two positive integers."""
    if as_array("shape", shape).shape != (2,):
        raise ValueError(f"shape must be two positive integers, got {shown(shape)}")
    return as_count("shape[0]", shape[0], 1), as_count("shape[1]", shape[1], 1)
