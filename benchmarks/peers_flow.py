"""The gradient flow to a given time at a given measured error: fastflow beside diffrax and SciPy, and gradient descent.

Matrix completion, target of rank 2 and norm 1, half of the entries observed, from Gaussian starts whose product has the
scale 1e-3. Every solver takes the loosest tolerance (of a decade and its half) at which the largest error of the
product, over the largest entry, stays below the bound on some of the runs. Peers solve fewer runs than fastflow, and
are scaled to as many: for a batch in lockstep that is to their favour. SciPy solves one on one core, as if as many
processes as there are threads were that many times faster. An explicit peer that would take too long is extrapolated
from the two earlier times, in proportion to time, as it is where stability limits its steps: such numbers have a tilde.
"""

from __future__ import annotations

import functools
import itertools
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
SECONDS = 8.0
"""A peer's solve that would take longer than this is extrapolated, or left out."""
IMPLICIT_RUNS, LARGEST_IMPLICIT = 1, 1200
"""An implicit solver's dense Jacobians take seconds a run; of more unknowns than this, longer than all else here."""


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


class Solved(NamedTuple):
    """A peer's products (runs, d, d) at a time, seconds a run on all threads, and gradients a run (0: not known)."""

    products: Array
    seconds: float
    gradients: int


Solver = Callable[[float, float], Solved]


def scipy_solver(one: Setting, name: str, threads: int) -> Solver:
    """One run, to a time at a tolerance."""
    from scipy.integrate import solve_ivp
    from threadpoolctl import threadpool_limits

    velocity, deadline = _velocity(one), [0.0]

    def watched(t: float, w: Array) -> Array:
        if time.perf_counter() > deadline[0]:
            raise TimeoutError
        return velocity(t, w)

    def solve(until: float, rtol: float) -> Solved:
        with threadpool_limits(1):
            started = time.perf_counter()
            deadline[0] = started + 2 * SECONDS
            found = solve_ivp(watched, (0, until), one.starts[0], name, t_eval=[until], rtol=rtol, atol=rtol / 10)
            seconds = time.perf_counter() - started
        return Solved(_product(one, found.y[:, -1])[None], seconds / threads, found.nfev)

    return solve


def diffrax_solver(one: Setting, name: str, _threads: int) -> Solver:
    """`PEER_RUNS` together, jitted and vmapped, on all of JAX's threads; of an implicit solver fewer."""
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

    solver = getattr(diffrax, name)()
    runs = IMPLICIT_RUNS if isinstance(solver, diffrax.AbstractImplicitSolver) else PEER_RUNS
    starts = one.starts[:runs].reshape(-1, depth, width, width)

    @jax.jit
    def together(starts: Any, until: float, rtol: float) -> Any:
        def alone(start: Any) -> Any:
            control = diffrax.PIDController(rtol=rtol, atol=rtol / 10)
            solution = diffrax.diffeqsolve(
                diffrax.ODETerm(velocity), solver, 0.0, until, None, start, stepsize_controller=control, throw=False,
                max_steps=10**7, saveat=diffrax.SaveAt(t1=True),
            )  # fmt: skip
            return solution.ys[0]

        return jax.vmap(alone)(starts)

    together(starts, 1e-3, 1e-1).block_until_ready()

    def solve(until: float, rtol: float) -> Solved:
        started = time.perf_counter()
        ends = np.asarray(together(starts, until, rtol))
        seconds = (time.perf_counter() - started) / runs
        return Solved(np.array([_product(one, w) for w in ends]), seconds, 0)

    return solve


SOLVERS = {
    "SciPy": (scipy_solver, ("DOP853", "RK45", "LSODA")),
    "diffrax, explicit": (diffrax_solver, ("Dopri8", "Tsit5")),
    "diffrax, implicit": (diffrax_solver, ("Kvaerno5",)),
}


class Fastest(NamedTuple):
    """A peer's seconds a run at the loosest tolerance that meets the bound, that tolerance, and its gradients a run."""

    seconds: float
    rtol: float
    gradients: int
    extrapolated: bool = False


LOST = Fastest(float("nan"), float("nan"), 0)


def fastest(solve: Solver, until: float, wanted: Array, bound: float, loosest: float, runs: int) -> Fastest:
    """From a tolerance on; ``runs`` are solved together."""
    for rtol in TOLERANCES[1.01 * loosest >= TOLERANCES]:
        try:
            found = solve(until, float(rtol))
        except TimeoutError:
            break
        long = found.seconds * runs > SECONDS / 4
        if largest_error(found.products, wanted) <= bound:
            again = found if long else solve(until, float(rtol))
            return Fastest(min(found.seconds, again.seconds), float(rtol), found.gradients)
        if found.seconds * runs > SECONDS:
            break
    return LOST


def peer(
    solve: Solver, name: str, ends: tuple[float, ...], wanted: list[Array], bound: float, runs: int
) -> list[Fastest]:
    """At each of the times; what would take too long is extrapolated, or lost."""
    results: list[Fastest] = []
    for k, until in enumerate(ends):
        explicit = name not in ("LSODA", "Kvaerno5")
        last, before = (results[-1] if k > 0 else LOST), (results[-2] if k > 1 else LOST)
        if (
            explicit
            and last.seconds * runs * until / ends[max(k - 1, 0)] > SECONDS
            and before.seconds == before.seconds
        ):
            share = (until - ends[k - 2]) / (ends[k - 1] - ends[k - 2])
            seconds = before.seconds + (last.seconds - before.seconds) * share
            gradients = round(before.gradients + (last.gradients - before.gradients) * share)
            results.append(Fastest(seconds, last.rtol, gradients, True))
        elif k > 0 and not (last.seconds * runs < SECONDS):
            results.append(LOST)
        else:
            loosest = min(30 * bound, 10 * last.rtol) if last.rtol == last.rtol else 30 * bound
            results.append(fastest(solve, until, wanted[k], bound, loosest, runs))
    return results


def gradient_seconds(one: Setting, threads: int) -> float:
    """Of one run, by descent: what a gradient of fastflow costs at best."""
    method = ff.GradientDescent(1e-3, max_steps=1000, tol=0)
    words = (one.problem, one.network, one.init, method)
    return min(ff.train(*words, runs=RUNS, threads=threads, progress=False).seconds / (1000 * RUNS) for _ in range(3))


def compare(depth: int, width: int, threads: int, count: int = len(LOSSES)) -> list[list[str]]:
    """Rows of the table for one setting, the first losses."""
    one, ends = setting(depth, width), crossings(depth, width)[:count]
    wanted = [flow(one, until, 1e-11, PEER_RUNS, threads)[0] for until in ends]
    gradient = gradient_seconds(one, threads)
    rows: dict[tuple[float, float], list[str]] = {}
    ours: dict[tuple[float, float], float] = {}
    for (loss, until, exact), bound in itertools.product(zip(LOSSES, ends, wanted, strict=False), ERRORS):
        rtol = next(r for r in TOLERANCES if largest_error(flow(one, until, r, CHECKED, threads)[0], exact) < bound)
        mine = min(flow(one, until, rtol, RUNS, threads)[1] for _ in range(3)) / RUNS
        ours[loss, bound] = mine
        rows[loss, bound] = [str(depth), str(width), f"{loss:g}", f"{until:.0f}", f"{bound:g}", number(1e3 * mine)]
    for title, (make, names) in SOLVERS.items():
        implicit = title.endswith("implicit")
        runs = {"SciPy": threads}.get(title, IMPLICIT_RUNS if implicit else PEER_RUNS)
        skip = implicit and one.starts.shape[1] > LARGEST_IMPLICIT
        found: dict[tuple[float, float], list[tuple[Fastest, str]]] = {key: [] for key in rows}
        for name in () if skip else names:
            solve = make(one, name, threads)
            for bound in ERRORS:
                for loss, result in zip(LOSSES, peer(solve, name, ends, wanted, bound, runs), strict=False):
                    if result.seconds == result.seconds:
                        found[loss, bound].append((result, name))
        for key, results in found.items():
            best, name = min(results, default=(LOST, ""))
            mark = "~" if best.extrapolated else ""
            rows[key].append(f"{mark}{number(best.seconds / ours[key])} {name}".strip())
            if title == "SciPy":
                reach = best.seconds / (best.gradients * gradient) if best.gradients else float("nan")
                bounds = [number(GOALS[key[1]], 1).rstrip("."), number(reach)]
                rows[key][6:6] = bounds
    for row in rows.values():
        print(row, flush=True)
    return list(rows.values())


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
    return [str(depth), str(width), steps, number(1e3 * down.seconds / count), number(down.seconds / min(taken)), "50"]


def table_of_flow(threads: int, quick: bool) -> Table:
    """Time to a time and an error, over that of fastflow."""
    header = ["depth", "d", "loss there", "time", "error", "fastflow, ms a run", "goal", "one gradient", *SOLVERS]
    remarks = (
        f"{RUNS} runs; how many times slower than fastflow. One gradient: how many times longer SciPy's best takes for"
        " each of its gradients, integrator included, than fastflow's descent for a step: where nothing is stiff, and"
        " all methods need about as many, no integrator can do better. A tilde: extrapolated in time."
    )
    table = Table("Gradient flow: seconds at equal error, over fastflow's", header, remarks=remarks)
    for depth, width in ((2, 20),) if quick else ((2, 20), (3, 20), (2, 50), (3, 50)):
        table.rows += compare(depth, width, threads, 1 if quick else len(LOSSES))
    return table


def table_of_descent(threads: int, quick: bool) -> Table:
    """Gradient descent over the flow."""
    header = ["depth", "d", "steps of descent", "descent, ms a run", "over the flow", "goal"]
    remarks = "To loss 1e-10, descent at half the stability edge, the flow at rtol 1e-3."
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
