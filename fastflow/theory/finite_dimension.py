"""Statistical dimensions at a given size, where `statistical_dimension` has the limit of large ones.

The statistical dimension of a descent cone is ``E min_{t >= 0} dist^2(g, t * subdifferential)``, g standard Gaussian
(Amelunxen, Lotz, McCoy, Tropp, arXiv:1303.6672, sections 2 and 4): the minimum inside of the expectation, outside of
which it gives the upper bound ``min_t E``. For the l1 norm at s nonzeros of n, with ``G = sum of g_i sign(x_i)`` over
the support, and for the nuclear norm at rank r of (p, q), with G the trace of a Gaussian (r, r) corner and f the
singular values of a Gaussian (p - r, q - r),

    dist^2 = base - 2 t G + k t^2 + sum_i (f_i - t)_+^2,    G ~ N(0, k),

k = s or r, E base = s or r (p + q - r), f_i the ``|g_i|`` off the support (``g_i`` if ``x >= 0`` is known). Every
minimum is found exactly, up to round-off; the mean is over draws.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, Numbers, as_count, as_floats
from fastflow.metrics import quiet
from fastflow.streams import stream
from fastflow.theory.statistical_dimension import as_shape

ENTRIES = 1_000_000
"""How many Gaussian entries are held at once."""
PILOTS = 500
"""From how many draws the t is taken near which all minima lie."""
CLOSE = 1e-12
"""The step of Newton's method, relative to ``1 + t``, after which a minimum is found."""


@quiet
def l1_finite_dimension(
    sparsity: ArrayLike, n: int, *, nonnegative: bool = False, samples: int = 20_000, seed: int = 0
) -> Numbers:
    """The statistical dimension of the descent cone of the l1 norm at an s-sparse vector of length n.

    At this m basis pursuit on m Gaussian measurements recovers about half of the vectors, at any n: the probability of
    success is that of a random integer of mean delta, the cone's intrinsic dimension, to be below m (a tie counts half,
    to a very good approximation; arXiv:1303.6672, section 5).

    Parameters
    ----------
    sparsity : int or array of ints, 0 .. n
    n : int >= 1
    nonnegative : bool, whether the program knows that ``x >= 0``
    samples : int >= 2
        The standard error is about ``1 / sqrt(samples)``, since only the distance to the upper bound is sampled.
    seed : int

    Returns
    -------
    float, or array of the shape of ``sparsity``

    Examples
    --------
    >>> bool(ff.theory.l1_finite_dimension(10, 100) < ff.theory.l1_statistical_dimension(10, 100))
    True
    """
    from scipy.special import erfc

    n, samples = as_count("n", n, 1), as_count("samples", samples, 2)
    supports = _integers("sparsity", sparsity, n)
    result = np.zeros(supports.shape)
    for i, support in np.ndenumerate(supports):
        s = int(support)
        if s == 0:
            continue
        rng = stream("l1 dimension", seed, n, s, nonnegative)
        # What is sampled is how far the minimum lies below the distance at one t near all minima, whose mean is known.
        t = float(_nearest(*_l1_draws(rng, PILOTS, s, n, nonnegative)).mean())
        excess = 0.0
        for count in _parts(samples, n):
            linear, curvature, free = _l1_draws(rng, count, s, n, nonnegative)
            nearest = _nearest(linear, curvature, free)
            excess += float(np.sum(_distance(t, linear, s, free) - _distance(nearest, linear, s, free)))
        sides = 1 if nonnegative else 2
        above = sides * (0.5 * (1 + t * t) * erfc(t / np.sqrt(2)) - t * np.exp(-0.5 * t * t) / np.sqrt(2 * np.pi))
        result[i] = s * (1 + t * t) + (n - s) * above - excess / samples
    return result[()]


@quiet
def nuclear_finite_dimension(rank: ArrayLike, shape: tuple[int, int], *, samples: int = 500, seed: int = 0) -> Numbers:
    """The statistical dimension of the descent cone of the nuclear norm at a matrix (p, q) of a rank.

    Parameters
    ----------
    rank : int or array of ints, 0 .. min(p, q)
    shape : (p, q), in either order
    samples : int >= 2, matrices whose singular values are computed
    seed : int

    Returns
    -------
    float, or array of the shape of ``rank``

    Examples
    --------
    >>> bool(ff.theory.nuclear_finite_dimension(1, (10, 10)) < 100)
    True
    """
    rows, columns = as_shape(shape)
    samples = as_count("samples", samples, 2)
    ranks = _integers("rank", rank, min(rows, columns))
    result = np.zeros(ranks.shape)
    for i, rank_at in np.ndenumerate(ranks):
        r = int(rank_at)
        if r == 0:
            continue
        rng = stream("nuclear dimension", seed, rows, columns, r)
        sides = rows - r, columns - r
        distances, squares = [], []
        for count in _parts(samples, rows * columns):
            linear = np.sqrt(r) * rng.standard_normal(count)
            free = np.linalg.svd(rng.standard_normal((count, *sides)), compute_uv=False)
            distances.append(_distance(_nearest(linear, r, free), linear, r, free))
            squares.append(np.sum(free**2, axis=1))
        # The squared norm of the matrix, whose mean is known, explains most of the spread.
        distance, square = np.concatenate(distances), np.concatenate(squares)
        known = sides[0] * sides[1]
        share = np.cov(distance, square)[0, 1] / square.var(ddof=1) if known else 0.0
        mean = distance.mean() - share * (square.mean() - known)
        result[i] = r * (rows + columns - r) + mean
    return result[()]


def _l1_draws(
    rng: np.random.Generator, count: int, s: int, n: int, nonnegative: bool
) -> tuple[FloatArray, int, FloatArray]:
    """G, k and f of so many draws."""
    linear, free = np.sqrt(s) * rng.standard_normal(count), rng.standard_normal((count, n - s))
    return linear, s, free if nonnegative else np.abs(free)


def _distance(t: FloatArray | float, linear: FloatArray, curvature: float, free: FloatArray) -> FloatArray:
    """``-2 t G + k t^2 + sum (f - t)_+^2`` for each draw."""
    above = np.maximum(free - np.reshape(t, (-1, 1)), 0)
    return curvature * np.square(t) - 2 * t * linear + np.sum(above**2, axis=1)


def _nearest(linear: FloatArray, curvature: float, free: FloatArray) -> FloatArray:
    """The t >= 0 of the least distance, for each draw.

    Half the derivative, ``k t - G - sum (f - t)_+``, is concave, increasing and piecewise linear: Newton's steps from 0
    never pass its zero and end there after finitely many.
    """
    t = np.zeros(len(linear))
    while True:
        above = free > t[:, None]
        slope = curvature + np.count_nonzero(above, axis=1)
        step = (linear + np.sum(np.where(above, free - t[:, None], 0), axis=1) - curvature * t) / slope
        if np.all(step <= CLOSE * (1 + t)):
            return t
        t += np.maximum(step, 0)


def _parts(samples: int, size: int) -> Iterator[int]:
    """How many draws are made at once."""
    most = max(1, ENTRIES // size)
    while samples > 0:
        yield min(samples, most)
        samples -= most


def _integers(name: str, value: ArrayLike, most: int) -> NDArray[np.int64]:
    amounts = as_floats(name, value, None)
    if amounts.min() < 0 or amounts.max() > most or np.any(amounts != np.round(amounts)):
        wrong = amounts[(amounts < 0) | (amounts > most) | (amounts != np.round(amounts))][0]
        raise ValueError(f"{name} must be an integer in 0 .. {most}, got {wrong:g}")
    return amounts.astype(np.int64)
