"""Nonnegative least squares by the flow, by active sets, and by SciPy's Lawson and Hanson: accuracy and time by size.

    python -m benchmarks.nonnegative

Gaussian matrices (m, n), of two kinds of values: those of a nonnegative x with n / 20 nonzeros, and the same with a
tenth of noise. Printed are, medians over `--seeds`: CPU seconds (of the call, and of the process that active sets of
large matrices have), the largest violation of the optimality conditions, ``max(-g_i, |g_i| where x_i > 0)`` over
``||a_i|| ||y||``, and the excess of ``||A x - y||^2`` over the least of the three, relative to ``||y||^2``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import psutil
from scipy.optimize import nnls

import fastflow as ff

SIZES, LARGE_SIZES = ((50, 100), (150, 300), (300, 600)), ((600, 1200), (1000, 800))

Solver = Callable[[np.ndarray, np.ndarray], np.ndarray]

SOLVERS: dict[str, Solver] = {
    "flow": lambda a, y: ff.baselines.nonnegative_least_squares(a, y, method="flow"),
    "active-set": lambda a, y: ff.baselines.nonnegative_least_squares(a, y, method="active-set"),
    "SciPy": lambda a, y: nnls(a, y, maxiter=100 * a.shape[1])[0],
}


def draw(m: int, n: int, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix and values."""
    rng = np.random.default_rng([m, n, seed])
    a, x = rng.standard_normal((m, n)), np.zeros(n)
    x[rng.choice(n, max(1, n // 20), replace=False)] = rng.uniform(0.5, 1.5, max(1, n // 20))
    y = a @ x
    return a, y + noise * np.linalg.norm(y) / m**0.5 * rng.standard_normal(m)


def cpu_seconds() -> float:
    """What this process has taken of the CPUs, and those that it has begun."""
    children = (child.cpu_times() for child in psutil.Process().children(recursive=True))
    return time.process_time() + sum(times.user + times.system for times in children)


def violation(a: np.ndarray, y: np.ndarray, x: np.ndarray) -> float:
    """Of the optimality conditions, relative to the columns and the values."""
    gradient = a.T @ (a @ x - y) / (np.linalg.norm(a, axis=0) * np.linalg.norm(y))
    return float(max(np.max(-gradient), np.max(np.abs(gradient[x > 0]), initial=0.0)))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--large", action="store_true", help="larger sizes, too, of which the flow takes minutes")
    asked = parser.parse_args()
    seeds = asked.seeds
    print("| m x n | values | solver | CPU s | violation | excess |\n|---|---|---|---|---|---|")
    for m, n in SIZES + LARGE_SIZES * asked.large:
        for noise in (0.0, 0.1):
            rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SOLVERS}
            for seed in range(seeds):
                a, y = draw(m, n, noise, seed)
                found = {}
                for name, solve in SOLVERS.items():
                    before = cpu_seconds()
                    with warnings.catch_warnings(record=True) as told:
                        warnings.simplefilter("always")
                        x = solve(a, y)
                    found[name] = (cpu_seconds() - before, violation(a, y, x), float(np.sum((a @ x - y) ** 2)))
                    if told:
                        print(f"{name}, {m} x {n}, noise {noise}, seed {seed}: {told[0].message}")
                least = min(squares for _, _, squares in found.values())
                for name, (seconds, missed, squares) in found.items():
                    rows[name].append((seconds, missed, (squares - least) / np.sum(y**2)))
            for name, row in rows.items():
                seconds, missed, excess = np.median(row, axis=0)
                words = "with noise" if noise else "exact"
                print(f"| {m} x {n} | {words} | {name} | {seconds:.3f} | {missed:.1e} | {excess:.1e} |", flush=True)


if __name__ == "__main__":
    main()
