"""How nearly minimal the l1 norm is that a diagonal network ends at, and the start that a wanted excess requires.

Among all z >= 0 with ``A z = y`` (attained by some z > 0) the flow of a nonnegative network of depth L >= 2, started at
``alpha > 0`` in every factor, ends at the x that minimises ``sum H(x_i)``, where

    H(x) = x log(x / alpha^2) - x              (L = 2)
    H(x) = 2 x / (L alpha^{L-2}) - x^{2/L}     (L > 2)

up to factors (Chou, Maly, Rauhut, arXiv:2112.11027). Let z be any other solution, and X and Q the l1 norms of x and z.
H is convex and H(0) = 0, so of all vectors of one l1 norm n equal entries have the least ``sum H``, one nonzero entry
has the largest: ``n H(X / n) <= sum H(x_i) <= sum H(z_i) <= H(Q)``. This bounds X by the larger root of
``n H(X / n) = H(Q)``, an equation that gives alpha in closed form. A signed network is a nonnegative one of 2n
coordinates, the entries of ``u^L`` and ``v^L``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, Numbers, as_count, as_floats, as_number, broadcast
from fastflow.metrics import quiet
from fastflow.theory.roots import invert

LOGS = (-700.0, 650.0)
"""Between which the logarithm of an excess is sought: all that float64 holds, with some room for the terms."""


@quiet
def l1_excess_bound(depth: float, scale: ArrayLike, n: int, norm: ArrayLike, *, signed: bool = True) -> Numbers:
    """A bound, known before the run, of ``||x||_1 - ||z||_1`` where the gradient flow from a start alpha ends.

    Here x is the limit of the flow and z any solution of ``A z = y`` (``z >= 0`` unless signed): the sparse truth, or
    one of least l1 norm, which `fastflow.baselines.basis_pursuit` finds. For signed networks it bounds even
    ``||u^L||_1 + ||v^L||_1 - ||z||_1``. With ``X = Q + excess`` it is the largest solution (2n for n if signed) of

        X log(X / n) - Q log Q = (1 + 2 log alpha) excess                      (L = 2)
        (L / 2) alpha^{L-2} (n^{1-2/L} X^{2/L} - Q^{2/L}) = excess             (L > 2)

    and never more than ``(Q^2 + n/e) / (2 log(1/alpha) - 1)``, where ``alpha < e^{-1/2}``, and
    ``(L/2) alpha^{L-2} n^{1-2/L} X^{2/L}``, as in Chou, Maly, Rauhut, arXiv:2112.11027.

    Parameters
    ----------
    depth : number, L >= 2
    scale : float > 0 or array, alpha: what every factor starts at (``of="factor"``)
    n : int, the number of unknowns
    norm : float >= 0 or array, ``Q = ||z||_1``
    signed : bool
        Whether ``x = u^L - v^L``, or ``x = w^L >= 0``, where the flow must be able to fit: ``A z = y`` for some z > 0.

    Returns
    -------
    float, or array where scale or norm are arrays

    Examples
    --------
    >>> bool(ff.theory.l1_excess_bound(3, 1e-6, n=100, norm=5.0) < ff.theory.l1_excess_bound(2, 1e-6, n=100, norm=5.0))
    True
    """
    depth, coordinates = _network(depth, n, signed)
    scales, norms = broadcast(scale=_amounts("scale", scale, above=True), norm=_amounts("norm", norm))
    solved = invert(lambda log: _log_scale(np.exp(log), depth, coordinates, norms), np.log(scales), *LOGS)
    return np.exp(solved)[()]


@quiet
def l1_excess_scale(depth: float, excess: ArrayLike, n: int, norm: ArrayLike, *, signed: bool = True) -> Numbers:
    """The start alpha at which `l1_excess_bound` is ``excess``: from this and smaller starts the excess is no larger.

    Parameters
    ----------
    depth : number, L >= 2
    excess : float > 0 or array, the wanted ``||x||_1 - ||z||_1``, in the units of ``norm``
    n, norm, signed : as in `l1_excess_bound`

    Returns
    -------
    float, or array where excess or norm are arrays

    Raises
    ------
    ValueError
        where that start is smaller than any number in float64, as happens for depth 2

    Examples
    --------
    >>> scale = ff.theory.l1_excess_scale(3, 0.1, n=100, norm=5.0)
    >>> round(float(ff.theory.l1_excess_bound(3, scale, n=100, norm=5.0)), 6)
    0.1
    """
    depth, coordinates = _network(depth, n, signed)
    wanted, norms = broadcast(excess=_amounts("excess", excess, above=True), norm=_amounts("norm", norm))
    logs = _log_scale(wanted, depth, coordinates, norms)
    least = np.min(logs)
    if least < np.log(np.finfo(np.float64).tiny):
        raise ValueError(
            f"an excess of {wanted[logs == least][0]:g} over {norms[logs == least][0]:g} requires a start of "
            f"10^{least / np.log(10):.0f} at depth {depth:g}, which float64 cannot hold: take a larger excess or depth"
        )
    return np.exp(logs)[()]


@quiet
def normalized_excess_bound(ratio: ArrayLike, start: ArrayLike, norm: ArrayLike) -> Numbers:
    """A bound, known before the run, of ``||x||_1 - ||z||_1`` where the flow with weight normalisation ends.

    Here x is `fastflow.normalized_limit` and ``z >= 0`` any solution of ``A z = y``. With ``Q = ||z||_1``, ``s_0 = sum
    x(0)`` and ``K = log(s_0 / min x_i(0))``, which is log n for equal entries, it is

        sqrt((Q - s_0)^2 + 2 Q K / kappa) - (Q - s_0)     (at most Q K / (kappa (Q - s_0)) for s_0 < Q)

    So where s_0 is less than Q a large start will do, with a large ratio of rates.

    Parameters
    ----------
    ratio : float > 0 or array, kappa
    start : array (n,), x(0), numbers > 0
    norm : float >= 0 or array, Q

    Returns
    -------
    float, or array where ratio or norm are arrays

    Notes
    -----
    x minimises ``s KL(x/s || x_0/s_0) + kappa/2 (s - s_0)^2``, in which KL is at least 0, and at z at most K.

    Examples
    --------
    >>> bool(ff.theory.normalized_excess_bound(100.0, np.full(10, 0.1), 2.0) < 1)
    True
    """
    begin = _amounts("start", start, above=True)
    kappa, norms = broadcast(ratio=_amounts("ratio", ratio, above=True), norm=_amounts("norm", norm))
    apart = norms - begin.sum()
    spread = 2 * norms * np.log(begin.sum() / begin.min()) / kappa
    root = np.hypot(apart, np.sqrt(spread))
    # Of a difference of nearly equal numbers the other form.
    return np.where(apart > 0, spread / (root + np.abs(apart)), root - apart)[()]


def _log_scale(excess: FloatArray, depth: float, n: int, norm: FloatArray) -> FloatArray:
    """``log alpha`` of the equations, increasing in the excess; written so that a small excess does not cancel."""
    from scipy.special import xlog1py

    total = norm + excess
    with np.errstate(divide="ignore", over="ignore"):
        ratio = excess / norm
        if depth == 2:
            return 0.5 * ((xlog1py(norm, ratio) - total * np.log(n)) / excess + np.log(total) - 1)
        power = 2 / depth
        spread = total**power * (n ** (1 - power) - 1 - np.expm1(-power * np.log1p(ratio)))
        return np.log(power * excess / spread) / (depth - 2)


def _network(depth: float, n: int, signed: bool) -> tuple[float, int]:
    """The depth, and the number of coordinates of the nonnegative network."""
    return as_number("depth", depth, least=2), as_count("n", n, 1) * (2 if signed else 1)


def _amounts(name: str, value: ArrayLike, above: bool = False) -> FloatArray:
    array = as_floats(name, value, None).astype(np.float64)
    if array.min() < 0 or (above and array.min() == 0):
        raise ValueError(f"{name} must be {'greater than' if above else 'at least'} 0, got {array.min():g}")
    return array
