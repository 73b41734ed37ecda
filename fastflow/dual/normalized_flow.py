"""The flow of a diagonal network with weight normalisation, in time, by the dual of `dual.normalized`.

``lam' = 2 kappa s (y - A x(A^T lam))`` from 0, where ||u(0)|| = 1 and r moves at rate 1: m unknowns, stiff where s is
large. x itself is a closed form of ``z = A^T lam``, so that nothing drifts from what the flow conserves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import LSODA

from fastflow.checks import FloatArray, as_count, as_number, as_times
from fastflow.dual.flow import Flow
from fastflow.dual.limit import DEFAULT_STEPS, DEFAULT_TOL
from fastflow.dual.normalized import Potential, as_normalized, limit_of
from fastflow.metrics import quiet
from fastflow.status import Status
from fastflow.threads import one_blas_thread

SHARE = 0.01
"""What steps may err by, in z, of what entries of x may: errors of steps add up."""

LEAST_RTOL, LEAST_STEP_RTOL = 1e-12, 3e-14
"""The least rtol for entries of x, and that of steps, below which LSODA sees round-off alone."""


class Ends(NamedTuple):
    """How a flow is followed, and when it ends: at a loss of ``tol``, of ``weight`` times ``1/2 ||A x - y||^2``."""

    rtol: float
    tol: float
    max_steps: int
    weight: float = 1.0


class Followed(NamedTuple):
    """x at all times, (times, n), NaN where they were not reached; how it ended, and after how many steps."""

    x: FloatArray
    status: Status
    steps: int


@quiet
def normalized_flow(
    matrix: ArrayLike,
    values: ArrayLike,
    start: ArrayLike,
    times: ArrayLike,
    ratio: ArrayLike = 1.0,
    *,
    rtol: float = 1e-8,
    tol: float = 0.0,
    max_steps: int = 100_000,
) -> Flow:
    """The gradient flow of ``1/2 ||A x - y||^2`` with weight normalisation, ``x = w o w``, in time.

    ``w = r u / ||u||`` from ``||u|| = 1``, and ``r' = -<g o w, u>``, ``u' = -ratio r (g o w - <g o w, u> u)``, with
    ``g = A^T (A x - y)``. One step of gradient descent with a small step h is the time h.

    Parameters
    ----------
    matrix : array (..., m, n), A
    values : array (..., m), y
    start : float, array (n,) or array (..., n)
        x(0), from 1e-24 to 1e6, or 0, where x stays 0.
    times : array (times,)
        At least 0 and not decreasing; infinity stands for the limit, which `normalized_limit` finds.
    ratio : float from 1e-9 to 1e9, or array (...), what the rate of u is of that of r
    rtol : float >= 1e-12, for the error of an entry of x, relative to itself
    tol : float >= 0
        The flow ends when its loss is at most this (absolute); its end is its value at later times.
    max_steps : int >= 1, of the integrator

    Returns
    -------
    `Flow`

    Raises
    ------
    ValueError, TypeError
        for arrays that are not finite or do not fit together, and starts and ratios that are none
    MemoryError
        when the work takes more memory than there is

    Notes
    -----
    ||u|| is conserved, so that the flow of the dual is all of it; by LSODA of SciPy.

    References
    ----------
    H.-H. Chou, H. Rauhut, R. Ward, Robust implicit regularization via weight normalization, arXiv:2305.05448.

    Examples
    --------
    >>> flow = fastflow.normalized_flow([[1.0, 2, 3]], [1.0], [1 / 200, 1 / 300, 1 / 600], [1.0, 10.0, np.inf])
    >>> flow.x[-1].round(6)
    array([0.215553, 0.194593, 0.131754])
    """
    moments = as_times("times", times)
    ends = Ends(
        as_number("rtol", rtol, least=LEAST_RTOL), as_number("tol", tol, least=0), as_count("max_steps", max_steps, 1)
    )
    posed = as_normalized(matrix, values, start, ratio)
    with one_blas_thread():
        found = [follow_normalized(*one, moments, ends) for one in posed.each()]
    x = np.array([one.x for one in found]).reshape(*posed.batch, len(moments), posed.starts.shape[-1])
    residuals = np.einsum("kmn,ktn->ktm", posed.matrices, np.array([one.x for one in found])) - posed.values[:, None]
    loss = 0.5 * np.sum(residuals**2, axis=-1).reshape(*posed.batch, len(moments))
    statuses, steps = (np.array([one[i] for one in found], np.int64).reshape(posed.batch) for i in (1, 2))
    return Flow(moments, x, loss, statuses, steps)


def follow_normalized(
    a: FloatArray, y: FloatArray, start: FloatArray, kappa: float, times: FloatArray, ends: Ends
) -> Followed:
    """Follow one flow to the last of its times, or to its limit if that is infinity."""
    x = np.full((len(times), len(start)), np.nan)
    path = _Path(a, y, start, kappa, ends.weight)
    reached = int(np.searchsorted(times, 0.0, side="right"))
    x[:reached] = start
    if path.loss(start) <= ends.tol:
        x[reached:] = start
        return Followed(x, Status.CONVERGED, 0)
    finite, steps = int(np.isfinite(times).sum()), 0
    if reached < finite:
        rtol = max(SHARE * ends.rtol, LEAST_STEP_RTOL)
        atol = rtol / max(float(np.abs(a).sum(axis=0).max()), np.finfo(float).tiny)
        solver = LSODA(path.slope, 0.0, np.zeros(len(y)), times[finite - 1], rtol=rtol, atol=atol, jac=path.jacobian)
        while reached < finite:
            if steps == ends.max_steps:
                return Followed(x, Status.MAX_STEPS, steps)
            solver.step()
            steps += 1
            if solver.status == "failed":
                return Followed(x, Status.INACCURATE, steps)
            passed = int(np.searchsorted(times[:finite], solver.t, side="right"))
            if passed > reached:
                between = solver.dense_output()
                x[reached:passed] = [path.x(between(time)) for time in times[reached:passed]]
                reached = passed
            now = path.x(solver.y)
            if path.loss(now) <= ends.tol:
                x[reached:] = now
                return Followed(x, Status.CONVERGED, steps)
    if finite == len(times):
        return Followed(x, Status.MAX_TIME, steps)
    limit = limit_of(a, y, start, kappa, DEFAULT_TOL, DEFAULT_STEPS)
    x[reached:] = limit[0]
    return Followed(x, Status(limit[2]), steps + limit[3])


class _Path:
    """The field of lam, and x where lam is."""

    def __init__(self, a: FloatArray, y: FloatArray, start: FloatArray, kappa: float, weight: float) -> None:
        self.matrix, self.values, self.weight = a, y, weight
        self.keep = start > 0
        self.part = np.ascontiguousarray(a[:, self.keep])
        self.potential, self.pace = Potential.of(start, self.keep, kappa), 2 * kappa * weight

    def slope(self, _: float, lam: FloatArray) -> FloatArray:
        """The derivative of lam; 0 past where s is, which only a step too long comes to."""
        point = self.potential.at(self.part.T @ lam)
        if point is None:
            return np.zeros_like(lam)
        return self.pace * point.size * (self.values - point.size * (self.part @ point.share))

    def jacobian(self, _: float, lam: FloatArray) -> FloatArray:
        """The derivative of `slope`."""
        point = self.potential.at(self.part.T @ lam)
        if point is None:
            return np.zeros((len(lam), len(lam)))
        mean = self.part @ point.share
        grown = np.outer(self.values - point.size * mean, mean) / self.potential.kappa
        return self.pace * (grown - point.size * self.potential.curvature(self.part, point))

    def x(self, lam: FloatArray) -> FloatArray:
        """x where lam is, NaN past where s is 0."""
        x = np.zeros(len(self.keep))
        point = self.potential.at(self.part.T @ lam)
        x[self.keep] = np.nan if point is None else point.size * point.share
        return x

    def loss(self, x: FloatArray) -> float:
        """The loss of x."""
        return 0.5 * self.weight * float(np.sum((self.matrix @ x - self.values) ** 2))
