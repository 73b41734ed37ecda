"""Which integrator the gradient flow should have: gradient evaluations at measured errors, in plain NumPy.

RKC2, ROCK4, the weighted stages of `fastflow.kernels.flow.chebyshev`, and the exponential Rosenbrock method exprb32
(Hochbruck, Ostermann, Acta Numerica 19, 2010) whose functions of the Jacobian come from Lanczos' method; a product of
the Hessian with a vector counts as two evaluations. Each method goes alone from the start; fastflow's flow has order 8
or 5 while nothing is stiff, and then the weighted stages. Run it: ``python -m benchmarks.integrators``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastflow as ff
from benchmarks.peers_flow import LOSSES, setting
from benchmarks.report import Table
from benchmarks.rock4 import rock4
from benchmarks.tasks import Array
from fastflow.kernels.flow.chebyshev import ERROR_WEIGHT, MOVE, WEIGHT, chebyshev
from fastflow.theory.hessian import Hessian

ERRORS = (1e-4, 1e-7)
TOLERANCES = 10.0 ** -np.arange(2.0, 9.1, 0.5)
EVERY = 25
"""Steps between two looks at the largest eigenvalue."""

LARGEST_SPACE = 300
"""Vectors in a Krylov space."""


class Counted:
    """The velocity of the factors and its Jacobian, with a count of gradient evaluations."""

    def __init__(self, problem: ff.problems.Problem, network: ff.DeepLinear, start: Array) -> None:
        self.problem, self.network, self.start, self.count = problem, network, start, 0

    def velocity(self, w: Array) -> Array:
        self.count += 1
        return -Hessian(self.problem, self.network, w).gradient

    def jacobian(self, w: Array) -> Callable[[Array], Array]:
        at = Hessian(self.problem, self.network, w)

        def times(v: Array) -> Array:
            self.count += 2
            return -at.times(v)

        return times

    def rate(self, w: Array, v: Array, turns: int) -> tuple[float, Array]:
        times = self.jacobian(w)
        for _ in range(turns):
            v = times(v / np.linalg.norm(v))
        return 1.1 * float(np.linalg.norm(v)), v


Step = Callable[[Counted, Array, Array, float, float, float], tuple[Array, Array, Array]]


def rkc2(field: Counted, w: Array, speed: Array, h: float, rate: float, _tol: float) -> tuple[Array, Array, Array]:
    s = max(2, int(np.sqrt(1 + 1.54 * h * rate)) + 1)
    w0 = 1 + 2 / 13 / s**2
    root = np.sqrt(w0 * w0 - 1)
    angle = s * np.log(w0 + root)
    w1 = np.sinh(angle) * root**2 / (np.cosh(angle) * s * root - w0 * np.sinh(angle))
    b1 = b2 = 1 / (2 * w0) ** 2
    y2, y1 = w, w + w1 * b1 * h * speed
    t1, t2, d1, d2, e1, e2 = w0, 1.0, 1.0, 0.0, 0.0, 0.0
    for _ in range(2, s + 1):
        t, d, e = 2 * w0 * t1 - t2, 2 * w0 * d1 - d2 + 2 * t1, 2 * w0 * e1 - e2 + 4 * d1
        b, a = e / d**2, 1 - t1 * b1
        mu, nu = 2 * w0 * b / b1, -b / b2
        move = mu * w1 / w0 * h * (field.velocity(y1) - a * speed)
        y2, y1 = y1, mu * y1 + nu * y2 + (1 - mu - nu) * w + move
        b2, b1, t2, t1, d2, d1, e2, e1 = b1, b, t1, t, d1, d, e1, e
    after = field.velocity(y1)
    return y1, after, 0.8 * (w - y1) + 0.4 * h * (speed + after)


def fourth(field: Counted, w: Array, speed: Array, h: float, rate: float, _tol: float) -> tuple[Array, Array, Array]:
    table = rock4()
    i = int(np.searchsorted(table.length, h * rate))
    if i == len(table.length):
        return w, speed, np.full_like(w, np.inf)
    rows = table.recurrence[table.first[i] : table.first[i + 1]]
    before, now = w, w + rows[0, 0] * h * speed
    for mu, nu, kappa in rows[1:]:
        before, now = now, mu * h * field.velocity(now) + nu * now + kappa * before
    slopes: list[Array] = []
    for j in range(4):
        slopes.append(field.velocity(now + h * sum((table.inner[i, j, k] * slopes[k] for k in range(j)), 0 * w)))
    new = now + h * sum((table.outer[i, k] * slopes[k] for k in range(4)), 0 * w)
    slopes.append(field.velocity(new))
    return new, slopes[-1], 0.05 * h * sum((table.error[i, k] * slopes[k] for k in range(5)), 0 * w)


def third(field: Counted, w: Array, speed: Array, h: float, rate: float, _tol: float) -> tuple[Array, Array, Array]:
    table = chebyshev()
    i = int(np.searchsorted(table.length, h * rate))
    if i == len(table.length):
        return w, speed, np.full_like(w, np.inf)
    rows = table.rows[table.first[i] : table.first[i + 1]]
    before, now = w, w + rows[1, MOVE] * h * speed
    new, error = w + rows[0, WEIGHT] * h * speed, rows[0, ERROR_WEIGHT] * h * speed
    for j, row in enumerate(rows[1:], 2):
        slope = h * field.velocity(now)
        new, error = new + row[WEIGHT] * slope, error + row[ERROR_WEIGHT] * slope
        if j < len(rows):
            mu, nu, rest, move, lag = rows[j, :5]
            before, now = now, mu * now + nu * before + rest * w + move * slope + lag * h * speed
    after = field.velocity(new)
    return new, after, 2 * (error + table.last[i] * h * after)


def _phi(order: int, z: Array) -> Array:
    """``phi_1`` or ``phi_3`` of real numbers: the quotients where they do not cancel, else the series."""
    small = np.abs(z) < 1
    safe, series = np.where(small, 1.0, z), np.zeros_like(z)
    term = np.full_like(z, 1 / (1, 1, 2, 6)[order])
    for k in range(1, 25):
        series, term = series + term, term * np.where(small, z, 0.0) / (k + order)
    full = np.expm1(safe) / safe if order == 1 else (np.expm1(safe) - safe - safe**2 / 2) / safe**3
    return np.where(small, series, full)


def _krylov(times: Callable[[Array], Array], b: Array, h: float, order: int, tol: float) -> Array:
    """``h phi(h J) b`` by Lanczos' method; stops when the last coefficient says that it has converged."""
    from scipy.linalg import eigh_tridiagonal

    size = float(np.linalg.norm(b))
    if size == 0:
        return np.zeros_like(b)
    basis, diagonal, beside = [b / size], [], []
    while True:
        r = times(basis[-1]) - (beside[-1] * basis[-2] if beside else 0)
        diagonal.append(float(basis[-1] @ r))
        r = r - diagonal[-1] * basis[-1]
        beside.append(float(np.linalg.norm(r)))
        values, vectors = eigh_tridiagonal(np.array(diagonal), np.array(beside[:-1]))
        weights = vectors @ (_phi(order, h * values) * vectors[0])
        if h * size * h * beside[-1] * abs(weights[-1]) < tol or len(basis) == LARGEST_SPACE:
            return h * size * (np.array(basis).T @ weights)
        basis.append(r / beside[-1])


def exprb32(field: Counted, w: Array, speed: Array, h: float, _rate: float, tol: float) -> tuple[Array, Array, Array]:
    times, tol = field.jacobian(w), 0.1 * tol * float(np.linalg.norm(w))
    euler = w + _krylov(times, speed, h, 1, tol)
    rest = field.velocity(euler) - speed - times(euler - w)
    error = 2 * _krylov(times, rest, h, 3, tol)
    return euler + error, field.velocity(euler + error), error


METHODS: dict[str, tuple[Step, int]] = {
    "RKC2": (rkc2, 3),
    "ROCK4": (fourth, 4),
    "order 3": (third, 4),
    "exprb32": (exprb32, 3),
}


def integrate(field: Counted, name: str, until: float, rtol: float) -> Array:
    """The factors at a time."""
    step, order = METHODS[name]
    w, t, since = field.start, 0.0, 0
    speed = field.velocity(w)
    rate, v = field.rate(w, np.random.default_rng(0).standard_normal(w.size), 20)
    h = 0.01 / rate
    while t < until * (1 - 1e-13):
        if since >= EVERY:
            (rate, v), since = field.rate(w, v, 3), 0
        h = min(h, until - t)
        new, after, estimate = step(field, w, speed, h, rate, rtol)
        error = float(np.linalg.norm(estimate)) / (rtol * max(np.linalg.norm(w), np.linalg.norm(new)))
        if error <= 1:
            t, w, speed, since = t + h, new, after, since + 1
        else:
            since = EVERY
        h *= min(5.0, max(0.1, 0.8 * max(error, 1e-8) ** (-1 / order))) if np.isfinite(error) else 0.1
    return w


def fields() -> dict[str, Counted]:
    """Completion of depth 2 and 3, d = 20, from small starts, and a stiff regression."""
    made = {}
    for depth in (2, 3):
        one = setting(depth, 20)
        made[f"completion, depth {depth}"] = Counted(one.problem, one.network, one.starts[0])
    rng = np.random.default_rng(1)
    inputs = np.linalg.qr(rng.standard_normal((10, 10)))[0] * np.geomspace(1, 1 / 30, 10)
    target = rng.standard_normal((10, 10))
    outputs = target / np.linalg.norm(target, 2) @ inputs
    start = 0.03 * rng.standard_normal(200)
    made["regression, condition 900"] = Counted(
        ff.LinearRegression(inputs, outputs, samples="columns"), ff.DeepLinear(2), start
    )
    return made


def _product(field: Counted, w: Array) -> Array:
    factors: Any = field.network.architecture(field.problem).unpack(w)
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    return np.asarray(product)


def comparison() -> Table:
    """Evaluations until the loss is `LOSSES`, at the loosest tolerance whose error is below `ERRORS`."""
    table = Table("Integrators: gradient evaluations", ["problem", "loss there", "error", *METHODS])
    for title, field in fields().items():
        times = np.geomspace(1, 1e6, 300)
        method = ff.GradientFlow(times, t_max=1e6, rtol=1e-9, tol=min(LOSSES) / 10)
        start = ff.inits.Explicit(field.network.architecture(field.problem).unpack(field.start))
        history = ff.train(field.problem, field.network, start, method).history
        assert history is not None
        assert history.loss is not None
        for loss in LOSSES[:2]:
            until = float(times[np.argmax(history.loss[0] < loss)])
            exact = ff.GradientFlow(t_max=until, rtol=1e-11, tol=0, gradient_tol=0)
            wanted = ff.train(field.problem, field.network, start, exact).solution[0]
            counts: dict[str, dict[float, str]] = {name: dict.fromkeys(ERRORS, "-") for name in METHODS}
            for name, found in counts.items():
                for rtol in TOLERANCES:
                    field.count = 0
                    error = np.abs(_product(field, integrate(field, name, until, rtol)) - wanted).max()
                    for bound in ERRORS:
                        if error < bound * np.abs(wanted).max() and found[bound] == "-":
                            found[bound] = str(field.count)
                    if "-" not in found.values():
                        break
            for bound in ERRORS:
                table.rows.append([title, f"{loss:g}", f"{bound:g}", *(counts[name][bound] for name in METHODS)])
                print(table.rows[-1], flush=True)
    return table


if __name__ == "__main__":
    print(comparison().markdown())
