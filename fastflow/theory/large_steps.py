"""Steps beyond the edge of stability: periods of what descent does there, and the orbits of one mode.

A balanced chain of N factors moves a mode of the target lambda by ``d <- d - h d^{N-1} (d^N - lambda)``, where d^N is
the singular value of the product. Its end ``d^N = lambda`` is stable for ``h < 2 / (N lambda^{2-2/N})``; beyond, the
period doubles, again and again, until there is none. For N = 2, lambda = 1 the period is 2 for ``1 < h < sqrt 5 - 1``,
with ``d_1 d_2 = 1/h`` and ``d_1^2 + d_2^2 = 1 + 1/h``, then 4 until about 1.287; d is bounded until h = 2.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, as_count, as_floats, as_number
from fastflow.equality import by_value
from fastflow.metrics import quiet

WINDOW = 64
"""Of a path so many moments are looked at, the last ones."""

FEWEST = 32
"""As many as two periods of 8, and as many to see whether they stay."""

ROUND_OFF = 1e-11
"""What differs by less than this share of the largest value does not differ."""

SETTLED = 1e-3
"""What a path may still move until it is periodic, relative to what makes the period twice as long as a shorter one."""


class Period(IntEnum):
    """After how many steps descent is where it was; `message` says what that means.

    Numbers that are a period are this period.

    Examples
    --------
    >>> ff.theory.Period(int(ff.theory.period([[1.0, 2.0] * 32])[0])).name
    'TWO'
    """

    DIVERGED = -1
    APERIODIC = 0
    ONE = 1
    TWO = 2
    FOUR = 4
    EIGHT = 8

    @property
    def message(self) -> str:
        """What the period means."""
        return _MESSAGES[self]

    @property
    def label(self) -> str:
        """The period as it is printed."""
        return self.name.lower() if self <= 0 else f"period {int(self)}"


_MESSAGES = {
    Period.DIVERGED: "The last values are not finite.",
    Period.APERIODIC: "There is no period of 1, 2, 4 or 8: chaos, another period, or a path that has not settled yet; "
    "take more steps to tell these apart.",
    Period.ONE: "It has come to rest, or goes there ever more slowly.",
    Period.TWO: "It jumps between two places.",
    Period.FOUR: "It goes through four places in turn.",
    Period.EIGHT: "It goes through eight places in turn.",
}

PERIODS = (Period.ONE, Period.TWO, Period.FOUR, Period.EIGHT)


@quiet
def period(path: ArrayLike) -> NDArray[np.int64]:
    """The period of paths, step by step: 1, 2, 4, 8, or that there is none, or that they diverge.

    Parameters
    ----------
    path : array (runs, moments, ...)
        At least 32 moments that are one step apart, such as ``runs.history.product`` or ``.factors[0]`` with
        ``Record(steps=numpy.arange(k - 64, k + 1))``. The last 64 are looked at. (`Runs.periods` checks the steps.)

    Returns
    -------
    int array (runs,), see `Period`
        Periodic is a path that repeats itself but for round-off, or that by the rate at which it approaches will move
        by no more than 1e-3 of what tells the period from half of it.

    Raises
    ------
    ValueError, TypeError
        for fewer moments, and for what is no array of numbers

    Examples
    --------
    >>> fastflow.theory.period([[1.0, 2.0] * 32, [3.0] * 64])
    array([2, 1])
    """
    values = as_floats("path", path, None, finite=False).astype(np.float64)
    if values.ndim < 2 or values.shape[1] < FEWEST:
        raise ValueError(
            f"path must have shape (runs, moments, ...) with at least {FEWEST} moments, got {values.shape}"
        )
    values = values[:, -WINDOW:].reshape(*values[:, -WINDOW:].shape[:2], -1)
    found = np.full(len(values), int(Period.APERIODIC))
    size = np.abs(values).max(axis=(1, 2), initial=0)
    for each in reversed(PERIODS):
        # The smallest is taken last.
        found[_has_period(values, int(each), size)] = int(each)
    found[~np.isfinite(values).all(axis=(1, 2))] = int(Period.DIVERGED)
    return found


def _has_period(values: FloatArray, p: int, size: FloatArray) -> NDArray[np.bool_]:
    """Which paths (runs, moments, entries) have settled to this period, or a part of it."""
    moved = np.abs(values[:, p:] - values[:, :-p]).max(axis=2)
    first, last = moved[:, :p].max(axis=1), moved[:, -p:].max(axis=1)
    half = (
        np.abs(values[:, p // 2 :] - values[:, : len(values[0]) - p // 2])[:, -p:].max(axis=(1, 2)) if p > 1 else size
    )
    rate = (last / first) ** (p / (moved.shape[1] - p))  # by which a period moves it less than the one before
    leaves = last > moved[:, -2 * p : -p].max(axis=1)  # a cycle that does not attract, and that it came by
    settles = (rate < 1) & ~leaves & (last <= SETTLED * (1 - rate) * half)
    return (last <= ROUND_OFF * size) | settles


@by_value(hashable=False)
class Bifurcation(NamedTuple):
    """Where one mode of a balanced chain goes, step size by step size.

    Attributes
    ----------
    depth : int, N
    eigenvalue : float, lambda
    steps : array (steps,), the step sizes h
    values : array (steps, kept), d^N in the last steps; not finite where it diverges
    period : int array (steps,), see `Period`
    lyapunov : array (steps,)
        The mean of ``log |1 - h d^{N-2} ((2N-1) d^N - (N-1) lambda)|`` over the last steps: how fast neighbours part,
        positive in chaos
    edge : float, the largest stable step, ``2 / (N lambda^{2-2/N})``

    Examples
    --------
    >>> orbits = ff.theory.bifurcation(2, [0.9, 1.1])
    >>> orbits.edge, orbits.period.tolist()
    (1.0, [1, 2])
    """

    depth: int
    eigenvalue: float
    steps: FloatArray
    values: FloatArray
    period: NDArray[np.int64]
    lyapunov: FloatArray
    edge: float


@quiet
def bifurcation(
    depth: int,
    steps: ArrayLike,
    eigenvalue: float = 1.0,
    *,
    start: float | None = None,
    settle: int = 20_000,
    kept: int = 128,
) -> Bifurcation:
    """The orbits of ``d <- d - h d^{N-1} (d^N - lambda)``, a mode of gradient descent on a balanced chain, for steps h.

    Parameters
    ----------
    depth : int, N >= 2
    steps : array (steps,) of numbers > 0
    eigenvalue : float, lambda > 0
    start : float, d at step 0, by default 0.9 of where it rests
    settle : int >= 0, steps that are not kept
    kept : int >= 64, those that are

    Returns
    -------
    Bifurcation
        `fastflow.plot.plot_bifurcation` draws it.

    Raises
    ------
    ValueError, TypeError
        for arguments that are none of these

    Examples
    --------
    >>> fastflow.theory.bifurcation(2, [0.9, 1.1, 1.25, 1.5, 2.5]).period
    array([ 1,  2,  4,  0, -1])
    """
    depth, sizes = as_count("depth", depth, 2), as_floats("steps", steps, 1).astype(np.float64)
    lam, settle = as_number("eigenvalue", eigenvalue, above=0), as_count("settle", settle, 0)
    kept = as_count("kept", kept, WINDOW)
    if sizes.min() <= 0:
        raise ValueError(f"steps must be greater than 0, got {sizes.min():g}")
    rest = lam ** (1 / depth)
    d = np.full(sizes.shape, 0.9 * rest if start is None else as_number("start", start))
    orbit = np.empty((kept, sizes.size))
    for k in range(settle + kept):
        power = d ** (depth - 1)
        d = d - sizes * power * (power * d - lam)
        if k >= settle:
            orbit[k - settle] = d
    slopes = 1 - sizes * orbit ** (depth - 2) * ((2 * depth - 1) * orbit**depth - (depth - 1) * lam)
    with np.errstate(divide="ignore"):
        parting = np.log(np.abs(slopes)).mean(axis=0)
    periods = period(orbit.T)
    for each in PERIODS:
        # A chaotic orbit that is next to a cycle at its end; what attracts has a product of slopes of at most 1.
        periods[(periods == each) & (np.abs(slopes[-int(each) :].prod(axis=0)) > 1 + SETTLED)] = Period.APERIODIC
    return Bifurcation(depth, lam, sizes, orbit.T**depth, periods, parting, 2 / (depth * lam ** (2 - 2 / depth)))
