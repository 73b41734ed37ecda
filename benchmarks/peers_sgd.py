"""Stochastic gradient descent, every run with batches of its own: fastflow beside JAX, PyTorch and NumPy.

Diagonal networks ``x = u o u - v o v`` of one measurement matrix, and completion by ``W_2 W_1``, from many starts. A
peer does what is cheapest for it: a batch of its rows, or of its entries, and no product of matrices. Plain takes all
runs at once, ``jit(vmap(fori_loop))`` in JAX, and tuned one run after the other on a device for each thread
(``lax.map``). Peers are given the order of samples of every run; fastflow draws it. Where all runs have one order all
must come to the same products. Times are CPU seconds, so that neighbours on a shared machine count little.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastflow as ff
from benchmarks.report import Table, number, stamp_of_load
from benchmarks.tasks import Array

RUNS = 64
BATCHES = (1, 8)
GOAL = 10
SECONDS = 0.3
"""CPU seconds of one measurement, of which there are `REPETITIONS`."""
REPETITIONS = 5
CHECKED = 200
"""Steps after which all must be at the same place."""
LONGEST = 5000
"""Steps of the order that peers are given; longer descents begin it anew."""

Advance = Callable[[int], Array]
"""Takes so many steps and returns the products of all runs, flat."""


class Task(NamedTuple):
    """``kind`` diagonal: rows (m, n) and values (m,). Completion: entries (m, 2) and values (m,).

    ``order`` (runs, steps, batch), the samples of each run.
    """

    kind: str
    starts: list[Array]
    rows: Array
    values: Array
    order: Array

    @property
    def batch(self) -> int:
        """The samples of a step."""
        return int(self.order.shape[2])

    @property
    def scale(self) -> float:
        """What multiplies the gradient of a batch."""
        return self.step * len(self.values) / self.batch

    def in_one_order(self) -> Task:
        """The same with the order of the first run for all."""
        return self._replace(order=np.repeat(self.order[:1], len(self.order), axis=0))

    @property
    def step(self) -> float:
        """Small enough that every run is still on its way."""
        return 1e-3 / len(self.values)


def diagonal(size: int, measurements: int, batch: int, runs: int = RUNS) -> Task:
    """Gaussian measurements of a sparse vector."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((measurements, size)) / np.sqrt(measurements)
    values = rows @ np.where(rng.random(size) < 0.05, 1.0, 0.0)
    starts = [rng.uniform(0.05, 0.15, (runs, size)) for _ in range(2)]
    return Task("diagonal", starts, rows, values, rng.integers(0, measurements, (runs, LONGEST, batch)))


def completion(width: int, batch: int, runs: int = RUNS) -> Task:
    """A matrix of rank 5 with 20% of its entries observed."""
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((width, 5)) @ rng.standard_normal((5, width)) / width
    entries = np.argwhere(rng.random((width, width)) < 0.2)
    starts = [rng.standard_normal((runs, width, width)) / np.sqrt(width) for _ in range(2)]
    return Task(
        "completion", starts, entries, truth[tuple(entries.T)], rng.integers(0, len(entries), (runs, LONGEST, batch))
    )


def of_fastflow(task: Task) -> tuple[Any, Any]:
    """The problem and the network of a task."""
    if task.kind == "diagonal":
        return ff.CompressedSensing(task.rows, task.values), ff.DiagonalLinear()
    width = task.starts[0].shape[1]
    return ff.MatrixCompletion((width, width), *task.rows.T, task.values, warn=False), ff.DeepLinear(2)


def fastflow(task: Task, threads: int, given: bool = False) -> Advance:
    """By one call of `fastflow.train`, in orders that it draws, or in that of the first run."""
    (problem, network), init = of_fastflow(task), ff.inits.Explicit(task.starts)

    def advance(steps: int) -> Array:
        taken: dict[str, Any] = {"batch_size": task.batch, "replacement": True}
        if given:
            taken = {"order": np.resize(task.order[0], (steps, task.batch))}
        method = ff.StochasticGradientDescent(task.step, max_steps=steps, tol=0, **taken)
        runs = ff.train(problem, network, init, method, threads=threads, progress=False)
        return np.asarray(runs.solution).reshape(len(runs.solution), -1)

    return advance


def _products(task: Task, factors: Any) -> Array:
    first, second = (
        np.asarray(factor).reshape(start.shape) for factor, start in zip(factors, task.starts, strict=True)
    )
    if task.kind == "diagonal":
        return np.asarray(first**2 - second**2)
    return np.asarray(second @ first).reshape(len(first), -1)


def numpy_plain(task: Task, threads: int) -> Advance:
    """All runs in one batch."""

    def advance(steps: int) -> Array:
        a, b = (start.copy() for start in task.starts)
        each = np.arange(len(a))
        for k in range(steps):
            picked = task.order[:, k % LONGEST]
            if task.kind == "diagonal":
                rows = task.rows[picked]
                left = (rows @ (a * a - b * b)[:, :, None])[:, :, 0] - task.values[picked]
                g = task.scale * (left[:, None] @ rows)[:, 0]
                a, b = a - g * a, b + g * b
            else:
                i, j = np.moveaxis(task.rows[picked], 2, 0)
                columns, rows = a[each[:, None], :, j], b[each[:, None], i]
                left = task.scale * ((rows * columns).sum(2) - task.values[picked])
                for q in range(task.batch):
                    b[each, i[:, q]] -= left[:, q, None] * columns[:, q]
                    a[each, :, j[:, q]] -= left[:, q, None] * rows[:, q]
        return _products(task, (a, b))

    return advance


def torch_plain(task: Task, threads: int) -> Advance:
    """All runs in one batch."""
    import torch

    rows, values, order = map(torch.from_numpy, (task.rows, task.values, task.order))
    each = torch.arange(len(order))[:, None]

    def advance(steps: int) -> Array:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            a, b = (torch.from_numpy(start.copy()) for start in task.starts)
            for k in range(steps):
                picked = order[:, k % LONGEST]
                if task.kind == "diagonal":
                    its = rows[picked]
                    left = torch.baddbmm(values[picked][:, :, None], its, (a * a - b * b)[:, :, None], beta=-1)
                    g = torch.bmm(left.mT, its)[:, 0].mul_(task.scale)
                    a.addcmul_(g, a, value=-1)
                    b.addcmul_(g, b)
                else:
                    i, j = rows[picked].unbind(2)
                    columns, lines = a[each, :, j], b[each, i]
                    left = ((lines * columns).sum(2) - values[picked]).mul_(-task.scale)[:, :, None]
                    b.index_put_((each, i), left * columns, accumulate=True)
                    a.mT.index_put_((each, j), left * lines, accumulate=True)
            return _products(task, (a, b))

    return advance


def _jax_descent(task: Task) -> Any:
    """The descent of one run, given its start and its order."""
    import jax.numpy as jnp
    from jax import lax

    rows, values = jnp.asarray(task.rows), jnp.asarray(task.values)

    def descend(start: Any, order: Any, steps: Any) -> Any:
        def body(k: Any, factors: Any) -> Any:
            a, b = factors
            picked = order[k % LONGEST]
            if task.kind == "diagonal":
                its = rows[picked]
                g = task.scale * ((its @ (a * a - b * b) - values[picked]) @ its)
                return a - g * a, b + g * b
            i, j = rows[picked].T
            columns, lines = a[:, j], b[i]
            left = task.scale * ((lines * columns.T).sum(1) - values[picked])
            return a.at[:, j].add(-(left * lines.T)), b.at[i].add(-left[:, None] * columns.T)

        return lax.fori_loop(0, steps, body, start)

    return descend


def jax_plain(task: Task, threads: int) -> Advance:
    """``jit(vmap(fori_loop))``."""
    from benchmarks.peer_jax import _jax

    jax = _jax(threads)
    function = jax.jit(jax.vmap(_jax_descent(task), in_axes=(0, 0, None)))
    starts, order = tuple(map(jax.numpy.asarray, task.starts)), jax.numpy.asarray(task.order)
    return lambda steps: _products(task, jax.block_until_ready(function(starts, order, steps)))


def jax_tuned(task: Task, threads: int) -> Advance:
    """One run after the other on each of as many devices as threads."""
    from benchmarks.peer_jax import _jax

    jax = _jax(threads)
    one = _jax_descent(task)
    function = jax.jit(lambda starts, order, steps: jax.lax.map(lambda run: one(*run, steps), (starts, order)))
    parts = [(tuple(start[i::threads] for start in task.starts), task.order[i::threads]) for i in range(threads)]
    placed = [jax.device_put(part, device) for part, device in zip(parts, jax.devices(), strict=False)]

    def advance(steps: int) -> Array:
        done = [function(*part, steps) for part in placed]
        factors = [np.empty_like(start) for start in task.starts]
        for i, part in enumerate(done):
            for factor, array in zip(factors, part, strict=True):
                factor[i::threads] = array
        return _products(task, factors)

    return advance


PEERS = {"NumPy": numpy_plain, "PyTorch": torch_plain, "JAX": jax_plain, "JAX tuned": jax_tuned}


def _cpu_seconds(advance: Advance, steps: int) -> float:
    started = time.process_time()
    advance(steps)
    return time.process_time() - started


def _calibrate(advance: Advance) -> int:
    steps = 20
    advance(steps)
    while (seconds := _cpu_seconds(advance, steps)) < SECONDS / 3:
        steps = min(4 * steps, int(steps * SECONDS / max(seconds, 1e-3)) + 1)
    return max(20, int(steps * SECONDS / seconds))


def seconds_a_step(task: Task, threads: int) -> dict[str, float]:
    """CPU seconds of one step of one run, by everybody who is here."""
    contenders, same = {"fastflow": fastflow(task, threads)}, task.in_one_order()
    expected = fastflow(same, threads, given=True)(CHECKED)
    for name, make in PEERS.items():
        try:
            there = make(same, threads)(CHECKED)
        except ImportError as error:
            print(f"{name} is skipped: {error}", file=sys.stderr)
            continue
        np.testing.assert_allclose(there, expected, rtol=1e-8, atol=1e-10, err_msg=name)
        contenders[name] = make(task, threads)
    steps = {name: _calibrate(advance) for name, advance in contenders.items()}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(REPETITIONS):
        for name, advance in contenders.items():
            taken[name].append(_cpu_seconds(advance, steps[name]) / steps[name] / len(task.starts[0]))
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def tables(threads: int) -> Table:
    """Nanoseconds of CPU for a step of one run."""
    header = ["task", "batch", "fastflow", *PEERS, "times the fastest", "goal", "times the tuned"]
    table = Table(f"Stochastic gradient descent, {RUNS} runs, nanoseconds of CPU for a step of a run, float64", header)
    for batch in BATCHES:
        for name, task in {
            "diagonal, n = 100, m = 40": diagonal(100, 40, batch),
            "diagonal, n = 400, m = 200": diagonal(400, 200, batch),
            "completion, d = 50, depth 2": completion(50, batch),
        }.items():
            seconds = seconds_a_step(task, threads)
            plain = [seconds[peer] for peer in PEERS if peer in seconds and "tuned" not in peer]
            cells = [number(1e9 * seconds[peer], 3) if peer in seconds else "-" for peer in ("fastflow", *PEERS)]
            cells += [number(min(plain) / seconds["fastflow"], 2) if plain else "-", f"{GOAL}"]
            cells.append(number(seconds["JAX tuned"] / seconds["fastflow"], 2) if "JAX tuned" in seconds else "-")
            table.rows.append([name, str(batch), *cells])
            print(dict(zip(header, table.rows[-1], strict=True)), flush=True)
    table.remarks = stamp_of_load()
    return table
