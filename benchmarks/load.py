"""Much at once: a million tiny runs, a study over four axes, sixteen threads that call everything, and processes.

    python -m benchmarks.load

Each line says how long it took, or what was the same. Of threads and processes the numbers are compared, bit for bit,
with those of one thread that did the same alone.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastflow as ff

THREADS = 16
Call = Callable[[], object]


def calls() -> dict[str, Call]:
    """A small call of each public function that computes, each of which answers with arrays."""
    rng = np.random.default_rng(0)
    a, factors = rng.standard_normal((6, 12)), [rng.standard_normal((3, 3)) for _ in range(2)]
    x = np.where(np.arange(12) < 2, 1.0, 0.0)
    y, w = a @ x, np.diag([2.0, 1.0, 0.5])
    matrix, vector = ff.MatrixEstimation(w), ff.CompressedSensing(a, y)
    small, quiet = ff.inits.Gaussian(0.1), {"progress": False}

    def train(method: ff.Method) -> Call:
        if isinstance(method, ff.FlowLimit):
            return lambda: ff.train(vector, ff.DiagonalLinear(2), small, method, runs=3, **quiet).solution
        return lambda: ff.train(matrix, ff.DeepLinear(2), small, method, runs=9, **quiet).solution

    def study(**options: Path) -> object:
        asked = ff.Study(ff.ensembles.Sparse(8, sparsity=1), method=ff.FlowLimit(), axes={"m": [2, 4]}, trials=5)
        return asked.run(**options, **quiet).outcomes["error"]

    def stored() -> object:
        with tempfile.TemporaryDirectory() as folder:
            return study(store=Path(folder) / "s.zarr")

    def product() -> object:
        widths, flat = np.array([3, 3, 3]), np.concatenate([factor.ravel() for factor in factors])
        work = ff.kernels.chain_workspace(widths, flat)
        ff.kernels.chain_product(flat, widths, work)
        return work.product

    return {
        "descent": train(ff.GradientDescent(max_steps=300)),
        "momentum": train(ff.Momentum(max_steps=300)),
        "flow": train(ff.GradientFlow(t_max=1.0)),
        "limit": train(ff.FlowLimit()),
        "flow_limit": lambda: ff.flow_limit(a, y, 1e-3).x,
        "gradient_flow": lambda: ff.gradient_flow(a, y, 0.1, [0.0, 1.0]).x,
        "flow_distance": lambda: ff.flow_distance(matrix, None, small, ff.GradientDescent(0.01, 50), 2).distance,
        "study": study,
        "study, stored": stored,
        "basis pursuit": lambda: ff.baselines.basis_pursuit(a, y),
        "least norm": lambda: ff.baselines.least_norm(a, y),
        "lasso path": lambda: ff.baselines.lasso_path(a, y).solutions,
        "nonnegative": lambda: ff.baselines.nonnegative_least_squares(a, y),
        "nuclear norm": lambda: ff.baselines.NuclearNorm().solve(ff.MatrixSensing(a.reshape(6, 3, 4), y)),
        "check": lambda: str(ff.check(matrix, ff.DeepLinear(2), small, ff.GradientDescent(0.1))),
        "edge": lambda: ff.theory.stability_edge(matrix, ff.DeepLinear(2)),
        "measures": lambda: ff.metrics.effective_rank(factors[0]),
        "kernels": product,
    }


def differing(threads: int, rounds: int) -> list[str]:
    """The names of calls that gave another answer when so many threads called all of them at once, in any order."""
    asked = calls()
    alone = {name: call() for name, call in asked.items()}
    names = [name for name in asked for _ in range(rounds)]
    random.Random(0).shuffle(names)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        together = list(pool.map(lambda name: asked[name](), names))
    return [name for name, found in zip(names, together, strict=True) if not _same(alone[name], found)]


def _same(first: object, second: object) -> bool:
    if isinstance(first, str):
        return first == second
    return np.array_equal(np.asarray(first), np.asarray(second), equal_nan=True)


def _study() -> ff.Study:
    return ff.Study(ff.ensembles.Sparse(16, sparsity=2), method=ff.FlowLimit(), axes={"m": [4, 8, 12]}, trials=200)


def main() -> None:
    started = time.perf_counter()
    ff.train(ff.MatrixEstimation(np.eye(2)), method=ff.GradientDescent(max_steps=1), runs=10, progress=False)
    print(f"a first call                         {time.perf_counter() - started:6.1f} s")
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    method = ff.GradientDescent(max_steps=10)
    ff.train(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2), method=method, runs=10**6, progress=False)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"10^6 runs, d = 2, 10 steps           {time.perf_counter() - started:6.1f} s, {grown:.0f} MB")

    axes = {"m": [4, 8, 12, 16], "sparsity": [1, 2, 3, 4], "noise": [0.0, 0.01, 0.1], "init.scale": [1e-6, 1e-4, 1e-2]}
    asked = ff.Study(ff.ensembles.Sparse(20), method=ff.FlowLimit(), axes=axes, trials=50)
    started = time.perf_counter()
    result = asked.run(progress=False)
    seconds = time.perf_counter() - started
    print(f"a study over 4 axes, 144 cells x 50  {seconds:6.1f} s, {result.done.sum() / seconds:.0f} trials a second")

    started = time.perf_counter()
    others = differing(THREADS, 20)
    count = 20 * len(calls())
    print(f"{count} calls by {THREADS} threads          {time.perf_counter() - started:10.1f} s, {len(others)} differ")

    expected = _study().run(threads=1, progress=False).outcomes["error"]
    for how in multiprocessing.get_all_start_methods():
        started = time.perf_counter()
        with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context(how)) as pool:
            found = _study().run(executor=pool, progress=False).outcomes["error"]
        same = "the same bits" if np.array_equal(found, expected) else "OTHER BITS"
        print(f"a study by a pool, {how:<12}      {time.perf_counter() - started:6.1f} s, {same}")


if __name__ == "__main__":
    main()
