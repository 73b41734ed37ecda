"""Where the flow of a diagonal network with weight normalisation ends: a convex program, by Newton on its dual.

``x = w o w``, ``w = r u / ||u||``: polar coordinates, which the flow moves at rates eta_r and eta_u. With
``s = sum x = r^2``, ``p = x / s``, ``kappa = eta_u / (eta_r ||u_0||^2)``, and lam the integral of ``s (y - A x)`` times
``2 eta_u / ||u_0||^2``,

    p = p_0 e^z / sum p_0 e^z,    kappa (s - s_0) = log sum p_0 e^z =: l(z),    z = A^T lam,

all along the flow, which conserves ||u||. So its limit is the minimum of ``s KL(p || p_0) + kappa/2 (s - s_0)^2`` over
``{x >= 0, A x = y}`` (Chou, Rauhut, Ward, arXiv:2305.05448), and lam that of ``Phi(A^T lam) - <y, lam>``, where

    Phi = s_0 l + l^2 / (2 kappa),    grad Phi = x,    Hess Phi = s (diag p - p p^T) + p p^T / kappa,    l > -kappa s_0.

Where only some coordinates can be positive in ``{x >= 0, A x = y}``, or nothing fits, the limit lies among these, or at
nonnegative least squares, as that of a plain network does (`dual.face`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, as_count, as_floats, as_number
from fastflow.dual.careful import ACCURATE, NOTHING, range_of
from fastflow.dual.face import sign_face
from fastflow.dual.limit import DEFAULT_STEPS, DEFAULT_TOL, LimitResult
from fastflow.dual.stacks import FEWER, LARGEST, NUMBER_BYTES, SMALLEST, as_systems, common_axes
from fastflow.kernels.dual.certainty import DRIFT, EPSILON, FLOOR
from fastflow.kernels.dual.mirror import NEITHER, UP
from fastflow.memory import require_memory
from fastflow.metrics import quiet
from fastflow.status import Status
from fastflow.threads import one_blas_thread

MOST_RATIO = 1e9
"""The largest ratio of rates, and one over the smallest."""

GOAL = 1e-15
"""A residual, relative to y, that is not improved on."""

WEAKEST = 1e-15
"""Curvatures of the dual below this share of the largest count as this."""

ARMIJO, HALVINGS = 1e-4, 60
"""What of the slope a step must gain, and how often it is halved for that."""

GROWTH, EASY_GOAL = 3.0, 1e-2
"""By how much kappa grows from one problem of the path to the next, and the residual at which all but the last end."""

FARTHEST = 30.0
"""The largest change of an entry of z in a step."""


ONE_LIMIT = 5
"""Copies of its matrix that finding one limit takes (measured)."""


@quiet
def normalized_limit(
    matrix: ArrayLike,
    values: ArrayLike,
    start: ArrayLike,
    ratio: ArrayLike = 1.0,
    *,
    tol: float = DEFAULT_TOL,
    max_steps: int = DEFAULT_STEPS,
) -> LimitResult:
    """The limit of the gradient flow of ``1/2 ||A x - y||^2`` with weight normalisation, ``x = w o w``.

    ``w = r u / ||u||``, and the flow moves r and u at rates eta_r and eta_u. Where ``kappa (Q - s_0)`` is large, Q the
    least l1 norm of all ``x >= 0`` that fit and ``s_0 = sum x(0) < Q``, it ends near the x of that norm: so from starts
    as large as that and a large ratio of rates, where that of ``x = w o w`` itself needs ``log(1/x(0))`` to be large.

    Parameters
    ----------
    matrix : array (..., m, n), A
    values : array (..., m), y
    start : float, array (n,) or array (..., n)
        x(0), from 1e-24 to 1e6, or 0, where x stays 0.
    ratio : float from 1e-9 to 1e9, or array (...)
        ``kappa = eta_u / (eta_r ||u(0)||^2)``.
    tol : float > 0
        A problem has converged when ``||A x - y|| <= tol ||y||``, and when the estimated error of x is at most 1e-8 (or
        tol, if that is larger) of its largest entry.
    max_steps : int >= 1, Newton steps

    Returns
    -------
    LimitResult
        Leading axes are those of all arguments, broadcast; ``dual`` is lam, with ``x = x(A^T lam)``.

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, entries that are not finite, and starts and ratios that are none

    Notes
    -----
    The limit minimises ``s KL(x/s || x_0/s_0) + kappa/2 (s - s_0)^2``, ``s = sum x``, over what fits: the
    entropy that the limit of plain networks has beside ``s log(1/alpha^2)``, here beside a pull of s to its start.

    References
    ----------
    H.-H. Chou, H. Rauhut, R. Ward, Robust implicit regularization via weight normalization, arXiv:2305.05448.

    Examples
    --------
    >>> fastflow.normalized_limit([[1.0, 2, 3]], [1.0], [1 / 200, 1 / 300, 1 / 600]).x.round(6)
    array([0.215553, 0.194593, 0.131754])
    """
    tol, max_steps = as_number("tol", tol, above=0), as_count("max_steps", max_steps, 1)
    posed = as_normalized(matrix, values, start, ratio)
    with one_blas_thread():
        found = [limit_of(*one, tol, max_steps) for one in posed.each()]
    columns = [np.array(column) for column in zip(*found, strict=True)]
    return LimitResult(*(column.reshape((*posed.batch, *column.shape[1:])) for column in columns))


class Posed(NamedTuple):
    """Problems with weight normalisation, the leading axes of which are one: A, y, x(0) and kappa, and those axes."""

    matrices: FloatArray
    values: FloatArray
    starts: FloatArray
    ratios: FloatArray
    batch: tuple[int, ...]

    def each(self) -> Iterator[tuple[FloatArray, FloatArray, FloatArray, float]]:
        """One problem after the other."""
        return zip(self.matrices, self.values, self.starts, self.ratios.tolist(), strict=True)


def as_normalized(matrix: ArrayLike, values: ArrayLike, start: ArrayLike, ratio: ArrayLike) -> Posed:
    """The arguments of `normalized_limit`, checked and broadcast.

    Raises
    ------
    ValueError, TypeError, MemoryError
        for what they cannot be
    """
    a, y = as_systems(matrix, values)
    m, n = a.shape[-2:]
    begin, kappa = normalized_starts(start, n), as_floats("ratio", ratio, (0, 1, 2, 3, 4)).astype(np.float64)
    wrong = kappa[~((kappa >= 1 / MOST_RATIO) & (kappa <= MOST_RATIO))]
    if wrong.size:
        raise ValueError(f"ratio must be from {1 / MOST_RATIO:g} to {MOST_RATIO:g}, got {wrong[0]:g}")
    shapes = {"matrix": a.shape[:-2], "values": y.shape[:-1], "start": begin.shape[:-1], "ratio": kappa.shape}
    batch = common_axes(shapes)
    count = math.prod(batch)
    numbers = (count + ONE_LIMIT) * m * n + 3 * count * (m + n)
    require_memory(NUMBER_BYTES * numbers, f"{count} problems of shape {(m, n)}", FEWER)
    a = np.broadcast_to(a, (*batch, m, n)).reshape(count, m, n).astype(np.float64)
    y, begin = (np.broadcast_to(v, (*batch, v.shape[-1])).reshape(count, -1).astype(np.float64) for v in (y, begin))
    return Posed(a, y, begin, np.broadcast_to(kappa, batch).ravel(), batch)


def normalized_starts(start: ArrayLike, n: int) -> FloatArray:
    """Starts as an array (..., n)."""
    array = as_floats("start", start, (0, 1, 2, 3, 4, 5)).astype(np.float64)
    if array.ndim == 0:
        array = np.full(n, array)
    if array.shape[-1] != n:
        raise ValueError(f"start must be a number or have one entry for each of the {n} columns, got {array.shape}")
    wrong = array[~((array == 0) | ((array >= SMALLEST**2) & (array <= LARGEST**2)))]
    if wrong.size:
        raise ValueError(f"start must be 0 or from {SMALLEST**2:g} to {LARGEST**2:g}, got {wrong[0]:g}")
    if not array.any(axis=-1).all():
        raise ValueError("start must have an entry that is not 0, which nothing would leave")
    return array


class Point(NamedTuple):
    """Where z is: ``l``, s, p and Phi."""

    level: float
    size: float
    share: FloatArray
    potential: float


class Potential(NamedTuple):
    """Phi of the coordinates of a start."""

    log_share: FloatArray
    size: float
    kappa: float

    @classmethod
    def of(cls, start: FloatArray, keep: NDArray[np.bool_], kappa: float) -> Potential:
        """That of the coordinates of a start that are kept, where it is positive."""
        return cls(np.log(start[keep] / start.sum()), float(start.sum()), kappa)

    def at(self, z: FloatArray) -> Point | None:
        """The point at z, None where s is not positive."""
        exponents = self.log_share + z
        largest = float(exponents.max())
        weights = np.exp(exponents - largest)
        total = float(weights.sum())
        level = largest + math.log(total)
        size = self.size + level / self.kappa
        if not size > 0:
            return None
        return Point(level, size, weights / total, self.size * level + level * level / (2 * self.kappa))

    def curvature(self, rows: FloatArray, point: Point) -> FloatArray:
        """``rows Hess Phi rows^T``, without the cancellation of ``diag p - p p^T``."""
        mean = rows @ point.share
        apart = (rows - mean[:, None]) * np.sqrt(point.share)
        return point.size * (apart @ apart.T) + np.outer(mean, mean) / self.kappa


def limit_of(
    a: FloatArray, y: FloatArray, start: FloatArray, kappa: float, tol: float, max_steps: int
) -> tuple[FloatArray, FloatArray, int, int, float, float, float, int]:
    """The fields of `LimitResult` for one problem."""
    m, n = a.shape
    reached, keep, doubtful = sign_face(a, y, np.where(start > 0, UP, NEITHER).astype(np.int64))
    part = np.ascontiguousarray(a[:, keep])
    seen = range_of(part)
    rank, x, dual = len(seen.rows), np.zeros(n), np.zeros(m)
    reached = seen.basis @ (seen.basis.T @ reached) if rank < m else reached
    if np.linalg.norm(reached) <= NOTHING * np.linalg.norm(y):
        reached = np.zeros(m)
    potential = Potential.of(start, keep, kappa)
    if rank == 0:  # what moves tends to 0, and A sees nothing of the rest
        point = potential.at(np.zeros(int(keep.sum()))) if keep.any() else None
        if point is not None:
            x[keep] = point.size * point.share
        status = Status.INACCURATE if doubtful else Status.CONVERGED
        return x, dual, int(status), 0, 0.0, np.inf if doubtful else FLOOR, 1.0, rank
    basis, sizes, right = np.linalg.svd(part * seen.units[:, None], full_matrices=False)
    basis, rows = basis[:, :rank] / sizes[:rank] * seen.units[:, None], right[:rank]
    lam, point, steps = _path(potential, rows, basis.T @ reached, max_steps)
    x[keep] = point.size * point.share
    dual = basis @ lam
    missed = a @ x - reached
    residual, allowed = float(np.linalg.norm(missed)), tol * float(np.linalg.norm(y))
    allowed += 1e-13 * float(np.linalg.norm(np.abs(a) @ x))
    error, condition = _certainty(potential, rows, basis, part, dual, point, missed, y)
    good = residual <= allowed and error <= max(ACCURATE, tol) and not doubtful and not seen.unsure
    status = Status.CONVERGED if good else Status.INACCURATE
    return x, dual, int(status), steps, residual, error, condition, rank


def _path(potential: Potential, rows: FloatArray, values: FloatArray, max_steps: int) -> tuple[FloatArray, Point, int]:
    """The minimum of ``Phi(rows^T lam) - <values, lam>``, for orthonormal rows, as far as steps lead to it.

    From a kappa for which it is easy; as kappa grows lam grows like it, and what is left of p moves little. (Where s is
    positive it stays so, as l is convex, and at most 0 for lam = 0.) To a lam where s is positive first: the
    values are ``rows x`` of an x > 0, so that along them some z grows, and with it l.
    """
    kappa, lam, steps = min(potential.kappa, 1 / max(potential.size, float(np.linalg.norm(values)))), 0 * values, 0
    towards = values / max(float(np.abs(rows.T @ values).max()), np.finfo(float).tiny)
    while potential._replace(kappa=kappa).at(rows.T @ lam) is None:
        lam = 2 * lam + towards
    while True:
        last = kappa == potential.kappa
        goal = GOAL if last else EASY_GOAL
        lam, point, taken = _newton(potential._replace(kappa=kappa), rows, values, lam, goal, max_steps - steps)
        steps += taken
        if last or steps >= max_steps:
            return lam if last else lam * (potential.kappa / kappa), point, steps
        after = min(potential.kappa, GROWTH * kappa)
        lam, kappa = lam * (after / kappa), after


def _newton(
    potential: Potential, rows: FloatArray, values: FloatArray, lam: FloatArray, goal: float, max_steps: int
) -> tuple[FloatArray, Point, int]:
    """Newton steps from a lam, until the residual is this share of the values, or gets no smaller."""
    best, step = np.inf, 0
    point = potential.at(rows.T @ lam)
    assert point is not None  # s is positive where steps begin, and where they lead
    kept = lam, point
    while True:
        gradient = rows @ (point.size * point.share) - values
        residual = float(np.linalg.norm(gradient))
        if residual < best:
            kept, best, since = (lam, point), residual, step
        if best <= goal * np.linalg.norm(values) or step >= max_steps or step > since + 10:
            return *kept, step
        sizes, vectors = np.linalg.eigh(potential.curvature(rows, point))
        change = -vectors @ ((vectors.T @ gradient) / np.maximum(sizes, WEAKEST * sizes[-1]))
        moved = rows.T @ change
        share = min(1.0, FARTHEST / float(np.abs(moved).max()))
        slope, value = float(gradient @ change), point.potential - float(values @ lam)
        step += 1
        for _ in range(HALVINGS):
            after = potential.at(rows.T @ (lam + share * change))
            if after is not None:
                fell = after.potential - float(values @ (lam + share * change)) <= value + ARMIJO * share * slope
                closer = np.linalg.norm(rows @ (after.size * after.share) - values) < 0.5 * residual
                if fell or closer:
                    break
            share /= 2
        else:
            return *kept, step
        lam, point = lam + share * change, after


def _certainty(
    potential: Potential,
    rows: FloatArray,
    basis: FloatArray,
    part: FloatArray,
    dual: FloatArray,
    point: Point,
    missed: FloatArray,
    values: FloatArray,
) -> tuple[float, float]:
    """What an entry of x may be off by, relative to the largest, and the condition; estimates.

    What is missed of y, and the rounding of ``A x``, entry by entry, move x by ``Hess Phi rows^T (rows Hess Phi
    rows^T)^{-1}`` of them; the rounding of z moves it by at most ``Hess Phi`` of that, of which the part that A sees is
    taken back. Neither is told apart from what curvatures below round-off would do, which count as infinite.
    """
    x = point.size * point.share
    largest = float(x.max())
    curvature = potential.curvature(rows, point)
    sizes, vectors = np.linalg.eigh(curvature)
    sizes = np.maximum(sizes, WEAKEST * sizes[-1])
    mean = rows @ point.share
    pushed = x[:, None] * (rows - mean[:, None]).T + np.outer(point.share, mean) / potential.kappa
    reach = np.abs(pushed @ (vectors / sizes) @ vectors.T @ basis.T)
    noise = np.abs(missed) + 8 * EPSILON * (np.abs(part) @ x + np.abs(values))
    amplified = float(np.max(np.abs(part).T @ np.abs(dual) * x)) / largest
    error = FLOOR + 2 * float((reach @ noise).max()) / largest + DRIFT * amplified
    return error, max(1.0, amplified)
