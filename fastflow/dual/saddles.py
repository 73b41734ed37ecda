"""From saddle to saddle: where the flow of a diagonal network goes as its start tends to 0, by active sets.

With ``u(0) = v(0) = alpha`` each coordinate of ``x = u^L - v^L`` is known by ``z = A^T lam``, ``lam' = y - A x``
(`kernels.dual.mirror`). Let ``s = z / T``, where T is the z at which a factor of size alpha has come to size 1,

    T = log(1/alpha)  (L = 2),    T = alpha^{2-L} / (L - 2)  (L > 2),

and measure time in T. As alpha tends to 0 an entry of x is 0 while ``|s_i| < 1``, and can be positive only where
``s_i = 1``, negative only where ``s_i = -1``; x jumps, and stays between jumps, where s moves along straight lines,

    s' = A^T (y - A x).

When a coordinate comes to its threshold, x jumps to least squares among all x with ``x_i >= 0`` where ``s_i = 1``,
``x_i <= 0`` where ``s_i = -1``, and 0 elsewhere: where the flow of those coordinates ends, while the others
are still of the order of a power of alpha. (Pesme, Flammarion, arXiv:2304.00488, for L = 2; nothing else changes for
L > 2, where ``u = alpha (1 - s)^{-1/(L-2)}`` while x_i is 0.) So s is a subgradient of the l1 norm all along, and where
the path ends with ``A x = y`` it ends at least l1 norm.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.baselines.nonnegative import signed_least_squares
from fastflow.checks import FloatArray, as_count, as_depth, as_number
from fastflow.dual.stacks import FEWER, NUMBER_BYTES, as_systems, common_axes
from fastflow.equality import by_value
from fastflow.kernels.dual.mirror import SHALLOWEST
from fastflow.kernels.networks.hadamard import DEEPEST
from fastflow.memory import require_memory
from fastflow.metrics import quiet
from fastflow.status import Status
from fastflow.threads import one_blas_thread

NOTHING = 1e-12
"""A slope ``a_i^T r`` of this share of ``||a_i|| ||y||`` is 0."""

DECIDED = 1e-9
"""What is nearer to another case than this, relative to what is compared, is not decided by floats."""

DEFAULT_JUMPS = 10_000


@by_value(hashable=False)
class SaddlePath(NamedTuple):
    """Paths from saddle to saddle; the leading axes are those of the stack of problems.

    Attributes
    ----------
    points : array (..., jumps + 1, n)
        The saddles, first to last: 0, from which all begin, and the end; NaN after that, where others jump more often.
    times : array (..., jumps + 1), when each is jumped to, in units of T; NaN likewise
    jumps : int array (...)
    x : array (..., n), the end
    status : int array (...), see `Status`
        CONVERGED; INACCURATE where floats do not decide, at some jump, which coordinates come to their thresholds first
        or what least squares they allow (a tie), so that the path may be another one from there on; MAX_STEPS where
        there would be more jumps

    Examples
    --------
    >>> path = ff.saddle_paths([[1.0, 0.5, 0.7, 0], [0.5, 1, 0.1, 0.7]], [1.0, 0.0])
    >>> path.points.shape[-1], path.x.round(3).tolist()
    (4, [0.0, 0.0, 1.429, -0.204])
    """

    points: FloatArray
    times: FloatArray
    jumps: NDArray[np.int64]
    x: FloatArray
    status: NDArray[np.int64]

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Where ``status`` is ``Status.CONVERGED``."""
        return np.asarray(self.status == Status.CONVERGED)

    def in_time(self, alpha: float, depth: float = 2) -> FloatArray:
        """About when the flow from ``u(0) = v(0) = alpha`` jumps, in its own time: ``times`` in units of T.

        Parameters
        ----------
        alpha : float in (0, 1)
        depth : number, L: 2, or from 2.01 to 8

        Returns
        -------
        array (..., jumps + 1)

        Raises
        ------
        ValueError, TypeError
            for a start that is none, and for depth 1, which has no saddles
        """
        alpha, depth = as_number("alpha", alpha, above=0), as_depth("depth", depth, SHALLOWEST, DEEPEST)
        if alpha >= 1:
            raise ValueError(f"alpha must be less than 1, got {alpha:g}")
        if depth == 1:
            raise ValueError("depth must be at least 2, got 1: a linear flow has no saddles")
        return self.times * (-np.log(alpha) if depth == 2 else alpha ** (2.0 - depth) / (depth - 2))


@quiet
def saddle_paths(
    matrix: ArrayLike, values: ArrayLike, *, signed: bool = True, max_jumps: int = DEFAULT_JUMPS
) -> SaddlePath:
    """Where the gradient flow of ``1/2 ||A x - y||^2``, ``x = u^L - v^L``, goes as its start alpha tends to 0.

    It rests at saddles, in times of the order of T (``log(1/alpha)`` for L = 2, ``alpha^{2-L} / (L - 2)`` for L > 2),
    and between them it jumps. The saddles are the same for every L >= 2.

    Parameters
    ----------
    matrix : array (..., m, n), A
    values : array (..., m), y
    signed : bool
        False leaves v out: ``x = u^L``, which is nonnegative.
    max_jumps : int >= 1

    Returns
    -------
    SaddlePath
        Leading axes are those of both arguments, broadcast.

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and entries that are not finite

    Notes
    -----
    A path ends where no slope is left that anything follows: at ``A x = y`` with the least l1 norm (the solution of
    `baselines.basis_pursuit`, where that has one), or at least squares where no x fits.

    References
    ----------
    S. Pesme, N. Flammarion, Saddle-to-saddle dynamics in diagonal linear networks, arXiv:2304.00488, Algorithm 1.

    Examples
    --------
    >>> path = fastflow.saddle_paths([[1, 0.5, 0.7, 0], [0.5, 1, 0.1, 0.7]], [1, 0])
    >>> path.points.round(4).tolist()[1:]
    [[0.8, 0.0, 0.0, 0.0], [0.0, 0.0, 1.4, 0.0], [0.0, 0.0, 1.4286, -0.2041]]
    """
    max_jumps = as_count("max_jumps", max_jumps, 1)
    a, y = as_systems(matrix, values)
    (m, n), batch = a.shape[-2:], common_axes({"matrix": a.shape[:-2], "values": y.shape[:-1]})
    count = math.prod(batch)
    require_memory(NUMBER_BYTES * count * m * n, f"{count} problems of shape {(m, n)}", FEWER)
    a = np.broadcast_to(a, (*batch, m, n)).reshape(count, m, n).astype(np.float64)
    y = np.broadcast_to(y, (*batch, m)).reshape(count, m).astype(np.float64)
    with one_blas_thread():
        found = [_path(a[i], y[i], bool(signed), max_jumps) for i in range(count)]
    longest = max((len(times) for _, times, _ in found), default=1)
    points, moments = np.full((count, longest, n), np.nan), np.full((count, longest), np.nan)
    for i, (visited, times, _) in enumerate(found):
        points[i, : len(times)], moments[i, : len(times)] = visited, times
    jumps = np.array([len(times) - 1 for _, times, _ in found], np.int64)
    return SaddlePath(
        points.reshape(*batch, longest, n),
        moments.reshape(*batch, longest),
        jumps.reshape(batch),
        points[np.arange(count), jumps].reshape(*batch, n),
        np.array([status for _, _, status in found], np.int64).reshape(batch),
    )


def _path(a: FloatArray, y: FloatArray, signed: bool, max_jumps: int) -> tuple[list[FloatArray], list[float], int]:
    """The saddles of one problem, their times, and how it ended."""
    # In units in which squares are floats.
    of_matrix, of_values = (math.ldexp(0.5, int(np.frexp(np.abs(array).max())[1])) for array in (a, y))
    a, y = a / of_matrix, y / of_values
    points, times, status = _steps(a, y, signed, max_jumps)
    return [x * (of_values / of_matrix) for x in points], [t / of_matrix / of_values for t in times], status


def _steps(a: FloatArray, y: FloatArray, signed: bool, max_jumps: int) -> tuple[list[FloatArray], list[float], int]:
    x: FloatArray = np.zeros(a.shape[1])
    s, status = np.zeros(a.shape[1]), Status.CONVERGED
    points, times = [x], [0.0]
    lengths, size = np.linalg.norm(a, axis=0), float(np.linalg.norm(y))
    while True:
        slopes = a.T @ (y - a @ x)
        slopes[(x != 0) | (np.abs(slopes) <= NOTHING * lengths * size)] = 0
        ahead = np.sign(slopes)
        moving = (slopes != 0) & (signed | (slopes > 0))
        if not moving.any():
            return points, times, int(status)
        if len(times) > max_jumps:
            return points, times, int(Status.MAX_STEPS)
        waits = np.full_like(s, np.inf)
        waits[moving] = (ahead[moving] - s[moving]) / slopes[moving]
        wait = float(waits.min())
        before, s = s, s + wait * slopes
        # Those that come to their thresholds with the first, but for rounding: the times of two jumps, and who is in
        # the first, are then not decided.
        arrived = moving & (ahead * s >= 1 - DECIDED)
        if arrived.sum() > 1 or not np.all(ahead[arrived] * before[arrived] < 1 - DECIDED):
            status = Status.INACCURATE
        s[arrived] = ahead[arrived]
        waiting = (slopes == 0) & ((s == 1) | (signed & (s == -1)))
        allowed = arrived | (x != 0) | waiting
        after, sure = _least_squares(a, y, np.where(allowed, np.sign(s), 0))
        if not sure:
            status = Status.INACCURATE
        if not np.linalg.norm(y - a @ after) < np.linalg.norm(y - a @ x):
            return points, times, int(Status.INACCURATE)  # rounding is all that is left
        x = after
        points.append(x)
        times.append(times[-1] + wait)


def _least_squares(a: FloatArray, y: FloatArray, signs: FloatArray) -> tuple[FloatArray, bool]:
    """Least squares among x with these signs, 0 where that is 0; and whether floats decide which that is."""
    allowed = np.flatnonzero(signs)
    columns = a[:, allowed] * signs[allowed]
    found = signed_least_squares(columns, y, np.zeros(allowed.size, bool))
    lengths, size = np.linalg.norm(columns, axis=0), np.linalg.norm(y)
    slopes, taken = columns.T @ (y - columns @ found.x), found.x * lengths > NOTHING * size
    x = np.zeros(a.shape[1])
    x[allowed] = np.where(taken, signs[allowed] * found.x, 0)
    # An entry of 0 without a slope of its own could be positive as well: a solution is unique with its column alone.
    doubtful = ~taken & (slopes > -DECIDED * lengths * size)
    either = columns[:, taken | doubtful] / lengths[taken | doubtful]
    weakest = np.linalg.svd(either, compute_uv=False).min(initial=1.0) if either.shape[1] <= len(y) else 0.0
    fits = np.linalg.norm(y - columns @ found.x) <= NOTHING * size
    sure = found.missed <= NOTHING and weakest > DECIDED and np.all((found.x * lengths)[taken] > DECIDED * size)
    return x, bool(sure and (fits or not doubtful.any()))
