"""The gradient flow to a given time at a given measured error: fastflow beside diffrax and SciPy, and gradient descent.

Matrix completion, target of rank 2 and norm 1, half of the entries observed, from Gaussian starts whose product has the
scale 1e-3. Every solver takes the loosest tolerance (of a decade and its half) at which the largest error of the
product, over the largest entry, stays below the bound on some of the runs. Peers solve fewer runs than fastflow, and
are scaled to as many: for a batch in lockstep that is to their favour.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastflow as ff
from benchmarks.report import Table, number
from benchmarks.tasks import Array

RUNS, PEER_RUNS, CHECKED = 64, 8, 4
LOSSES = (1e-2, 1e-6, 1e-10)
ERRORS = (1e-4, 1e-7)
GOALS = {1e-4: 100, 1e-7: 30}
SCALE = 1e-3
TOLERANCES = 10.0 ** -np.arange(2.0, 11.1, 0.5)
FEW_RUNS = 16
"""Runs of the longest descent, of which one takes seconds."""
SECONDS = 40.0
"""A peer's solve of some runs that would take longer than this is left out."""


class Setting(NamedTuple):
    """A problem and the starts of its runs, flat."""

    depth: int
    width: int
    problem: ff.MatrixCompletion
    starts: Array
    target: Array
    mask: Array

    @property
    def network(self) -> ff.DeepLinear:
        return ff.DeepLinear(self.depth)

    @property
    def init(self) -> ff.inits.Gaussian:
        return ff.inits.Gaussian(SCALE)


@functools.cache
def setting(depth: int, width: int) -> Setting:
    """The same one at each call."""
    rng = np.random.default_rng([depth, width])
    target = rng.standard_normal((width, 2)) @ rng.standard_normal((2, width))
    target /= np.linalg.norm(target, 2)
    mask = rng.random((width, width)) < 0.5
    problem = ff.MatrixCompletion.from_dense(np.where(mask, target, np.nan))
    method = ff.GradientFlow([0.0], t_max=1e-9)
    first = ff.train(problem, ff.DeepLinear(depth), ff.inits.Gaussian(SCALE), method, runs=RUNS)
    return Setting(depth, width, problem, first.flat_factors, target, mask.astype(float))


def flow(one: Setting, until: float, rtol: float, runs: int, threads: int) -> tuple[Array, float]:
    """fastflow's products (runs, d, d) at a time, and the seconds it took without drawing the starts."""
    method = ff.GradientFlow(t_max=until, rtol=rtol, tol=0, gradient_tol=0)
    found = ff.train(one.problem, one.network, one.init, method, runs=runs, threads=threads, progress=False)
    return found.solution, found.seconds


@functools.cache
def crossings(depth: int, width: int) -> tuple[float, ...]:
    """When the reference loss of the first run comes down to each of `LOSSES`."""
    one, times = setting(depth, width), np.geomspace(1, 1e7, 400)
    method = ff.GradientFlow(times, t_max=times[-1], rtol=1e-9, tol=min(LOSSES) / 10)
    record = ff.Record(singular_values=False, effective_rank=False, balancedness=False, gradient_norm=False)
    history = ff.train(one.problem, one.network, one.init, method, runs=1, record=record).history
    assert history is not None
    assert history.loss is not None
    losses = np.maximum(history.loss[0], min(LOSSES) / 1e3)
    return tuple(float(np.exp(np.interp(-np.log(loss), -np.log(losses), np.log(times)))) for loss in LOSSES)


def largest_error(products: Array, wanted: Array) -> float:
    """Over the largest entry."""
    return float(np.max(np.abs(products - wanted[: len(products)])) / np.max(np.abs(wanted)))


def _velocity(one: Setting) -> Callable[[float, Array], Array]:
    depth, width = one.depth, one.width

    def velocity(_: float, w: Array) -> Array:
        factors = w.reshape(depth, width, width)
        partial = [factors[0]]
        for factor in factors[1:]:
            partial.append(factor @ partial[-1])
        sweep, rate = one.mask * (one.target - partial[-1]), np.empty_like(factors)
        for j in range(depth - 1, 0, -1):
            rate[j] = sweep @ partial[j - 1].T
            sweep = factors[j].T @ sweep
        rate[0] = sweep
        return rate.ravel()

    return velocity


def _product(one: Setting, w: Array) -> Array:
    factors = w.reshape(one.depth, one.width, one.width)
    return functools.reduce(lambda before, factor: factor @ before, factors)


def scipy_solver(one: Setting, until: float, name: str) -> Callable[[float], tuple[Array, float]]:
    """Products of one run, and seconds of `PEER_RUNS` on one thread."""
    from scipy.integrate import solve_ivp

    velocity, deadline = _velocity(one), [0.0]

    def watched(t: float, w: Array) -> Array:
        if time.perf_counter() > deadline[0]:
            raise TimeoutError
        return velocity(t, w)

    def solve(rtol: float) -> tuple[Array, float]:
        started = time.perf_counter()
        deadline[0] = started + SECONDS
        found = solve_ivp(watched, (0, until), one.starts[0], name, t_eval=[until], rtol=rtol, atol=rtol / 10)
        seconds = time.perf_counter() - started
        return _product(one, found.y[:, -1])[None], seconds * PEER_RUNS

    return solve


def diffrax_solver(one: Setting, until: float, name: str) -> Callable[[float], tuple[Array, float]]:
    """Products and seconds of `PEER_RUNS` together, jitted and vmapped, on all of JAX's threads."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    import diffrax

    jnp: Any = jax.numpy
    depth, width, mask, target = one.depth, one.width, one.mask, one.target

    def velocity(_t: Any, w: Any, _args: Any) -> Any:
        factors = [w[j] for j in range(depth)]
        partial = [factors[0]]
        for factor in factors[1:]:
            partial.append(factor @ partial[-1])
        sweep, rate = mask * (target - partial[-1]), []
        for j in range(depth - 1, 0, -1):
            rate.append(sweep @ partial[j - 1].T)
            sweep = factors[j].T @ sweep
        return jnp.stack([sweep, *reversed(rate)])

    solver, starts = getattr(diffrax, name)(), one.starts[:PEER_RUNS].reshape(-1, depth, width, width)

    @jax.jit
    def together(starts: Any, rtol: float, most: int) -> Any:
        def alone(start: Any) -> Any:
            control = diffrax.PIDController(rtol=rtol, atol=rtol / 10)
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(velocity), solver, 0.0, until, None, start, stepsize_controller=control, throw=False,
                max_steps=10**7, saveat=diffrax.SaveAt(t1=True),
            )  # fmt: skip
            return solution.ys[0]

        return jax.vmap(alone)(starts)

    def solve(rtol: float) -> tuple[Array, float]:
        together(starts, 1e-1, 0).block_until_ready()
        started = time.perf_counter()
        ends = np.asarray(together(starts, rtol, 0))
        return np.array([_product(one, w) for w in ends]), time.perf_counter() - started

    return solve


SOLVERS = {
    "SciPy": (scipy_solver, ("DOP853", "RK45", "LSODA")),
    "diffrax, explicit": (diffrax_solver, ("Dopri8", "Tsit5")),
    "diffrax, implicit": (diffrax_solver, ("Kvaerno5",)),
}
LARGEST_IMPLICIT = 800
"""Unknowns: dense Jacobians of more take longer, a run, than all else here."""


def fastest(
    solve: Callable[[float], tuple[Array, float]], wanted: Array, bound: float, budget: float
) -> tuple[float, float]:
    """The seconds and the error at the loosest tolerance that meets the bound; NaN where none does in time."""
    for rtol in TOLERANCES[30 * bound >= TOLERANCES]:
        try:
            products, seconds = solve(float(rtol))
        except TimeoutError:
            break
        if largest_error(products, wanted) <= bound:
            again = solve(float(rtol))[1] if seconds < budget else seconds
            return min(seconds, again), largest_error(products, wanted)
        if seconds > budget:
            break
    return float("nan"), float("nan")


def compare(depth: int, width: int, threads: int, losses: tuple[float, ...] = LOSSES) -> list[list[str]]:
    """Rows of the table for one setting."""
    one, rows = setting(depth, width), []
    for loss, until in zip(LOSSES, crossings(depth, width), strict=True):
        if loss not in losses:
            continue
        wanted = flow(one, until, 1e-11, PEER_RUNS, threads)[0]
        for bound in ERRORS:
            rtol = next(
                rtol
                for rtol in TOLERANCES
                if largest_error(flow(one, until, rtol, CHECKED, threads)[0], wanted) < bound
            )
            ours = min(flow(one, until, rtol, RUNS, threads)[1] for _ in range(5)) / RUNS
            cells = []
            for title, (make, names) in SOLVERS.items():
                implicit = title.endswith("implicit")
                skip = implicit and one.starts.shape[1] > LARGEST_IMPLICIT
                taken = [(float("nan"), "")]
                for name in () if skip else names:
                    seconds = fastest(make(one, until, name), wanted, bound, SECONDS)[0] / PEER_RUNS
                    taken.append((seconds / (threads if make is scipy_solver else 1), name))
                seconds, name = min((pair for pair in taken if pair[0] == pair[0]), default=(float("nan"), ""))
                cells.append(f"{number(seconds / ours)} {name}".strip())
            rows.append([str(depth), str(width), f"{loss:g}", f"{until:.0f}", f"{bound:g}", number(1e3 * ours), *cells])
            print(rows[-1], flush=True)
    return rows


def descent_ratio(depth: int, width: int, threads: int) -> list[str]:
    """fastflow's gradient descent at half the stability edge over its flow, both to the last loss."""
    one, tol = setting(depth, width), min(LOSSES)
    count = RUNS if depth * width < 150 else FEW_RUNS
    words = (one.problem, one.network, one.init)
    for max_steps in (10, 10**7):  # the first compiles
        method = ff.GradientDescent(tol=tol, max_steps=max_steps)
        down = ff.train(*words, method, runs=count, threads=threads, progress=False)
    taken = []
    for _ in range(3):
        flow = ff.GradientFlow(rtol=1e-3, tol=tol)
        taken.append(ff.train(*words, flow, runs=count, threads=threads, progress=False).seconds)
    steps = f"{np.median(down.steps):.0f}"
    return [str(depth), str(width), steps, number(1e3 * down.seconds / count), number(down.seconds / min(taken))]


def table_of_flow(threads: int, quick: bool) -> Table:
    """Time to a time and an error, over that of fastflow."""
    header = ["depth", "d", "loss there", "time", "error", "fastflow, ms a run", *SOLVERS]
    remarks = f"{RUNS} runs; times slower than fastflow. Goals: " + ", ".join(
        f"{goal} at {e:g}" for e, goal in GOALS.items()
    )
    table = Table("Gradient flow: seconds at equal error, over fastflow's", header, remarks=remarks)
    for depth, width in ((2, 20),) if quick else ((2, 20), (3, 20), (2, 50), (3, 50)):
        table.rows += compare(depth, width, threads, LOSSES[:1] if quick else LOSSES)
    return table


def table_of_descent(threads: int, quick: bool) -> Table:
    """Gradient descent over the flow."""
    header = ["depth", "d", "steps of descent", "descent, ms a run", "over the flow"]
    remarks = "To loss 1e-10, descent at half the stability edge, the flow at rtol 1e-3. Goal: 50."
    remarks += f" {RUNS} runs, of the last row {FEW_RUNS}."
    table = Table("Gradient descent beside the flow", header, remarks=remarks)
    for depth, width in ((2, 20),) if quick else ((2, 20), (3, 20), (2, 50), (3, 50)):
        table.rows.append(descent_ratio(depth, width, threads))
        print(table.rows[-1], flush=True)
    return table


if __name__ == "__main__":
    import sys

    for make in (table_of_flow, table_of_descent):
        print(make(2, "--quick" in sys.argv).markdown(), "\n")
