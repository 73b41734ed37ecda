"""Nonnegative recovery from partial Fourier measurements that are never formed: n = 10,000, m = 8,810.

    python -m benchmarks.partial_fourier --out partial-fourier.png

The setting of Chou, Maly, Verdun (arXiv:2207.08437): gradient descent on two equal nonnegative factors with step 0.2
from alpha = 1e-6, ..., 1e-2, all five at once. It draws the errors along the way and what is left of zeros at the end,
and prints CPU time for a step beside that of plain NumPy and SciPy, which make the same steps one run after the other.
Sides are timed in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import fft

import fastflow as ff

N, M, SPARSITY = 10_000, 8_810, 50
ALPHAS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]
STEP, STEPS = 0.2, 10_000
NETWORK = ff.DiagonalLinear(2, signed=False)
START = ff.inits.Constant(ff.each(ALPHAS), of="factor")


def posed() -> tuple[ff.CompressedSensing, np.ndarray]:
    """The problem, and the frequencies that it observes."""
    np.random.seed(1)  # noqa: NPY002, since the published code draws so
    truth = np.zeros(N)
    truth[:SPARSITY] = np.abs(np.random.randn(SPARSITY))  # noqa: NPY002
    rows = np.random.choice(N, M, replace=False)  # noqa: NPY002
    operator = ff.operators.PartialFourier(N, rows)
    return ff.CompressedSensing(operator, operator @ truth, truth=truth), rows


def plain(problem: ff.CompressedSensing, rows: np.ndarray, steps: int, forward: Callable, back: Callable) -> np.ndarray:
    """The same steps by the complex FFTs of a library, (alphas, n)."""
    values = problem.values[:M] + 1j * problem.values[M:]
    ends = []
    for alpha in ALPHAS:
        w, spectrum = np.full(N, alpha), np.zeros(N, complex)
        for _ in range(steps):
            spectrum[rows] = forward(w * w)[rows] / np.sqrt(M) - values
            w = w - STEP * w * back(spectrum).real * (N / np.sqrt(M))
        ends.append(w * w)
    return np.array(ends)


def ours(problem: ff.CompressedSensing, steps: int, threads: int | None = 1, **options: object) -> ff.Runs:
    """All five runs of `fastflow.train`."""
    return ff.train(problem, NETWORK, START, ff.GradientDescent(STEP, steps, tol=0), threads=threads, **options)


def per_step(function: Callable[[int], object], steps: int) -> float:
    """CPU seconds of a step of all runs: those of a long call less those of a short one."""
    seconds = []
    for count in (1, steps + 1):
        begun = time.process_time()
        function(count)
        seconds.append(time.process_time() - begun)
    return (seconds[1] - seconds[0]) / steps


def main() -> None:
    """Time, run, draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--timed", type=int, default=200, help="steps of each timing")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each side")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    problem, rows = posed()
    sides: dict[str, Callable[[int], object]] = {
        "fastflow": lambda steps: ours(problem, steps),
        "scipy.fft": lambda steps: plain(problem, rows, steps, fft.fft, fft.ifft),
        "numpy.fft": lambda steps: plain(problem, rows, steps, np.fft.fft, np.fft.ifft),
    }
    ours(problem, 1)
    apart = np.abs(ours(problem, 100).solution - plain(problem, rows, 100, fft.fft, fft.ifft)).max()
    print(f"after 100 steps solutions differ by at most {apart:.1e}")
    found = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            found[name].append(per_step(side, options.timed))
    medians = {name: float(np.median(seconds)) for name, seconds in found.items()}
    for name, seconds in medians.items():
        share = medians["fastflow"] / seconds
        print(
            f"{name:10s} {1e6 * seconds / len(ALPHAS):7.0f} us of CPU a step and run (fastflow takes {share:.2f} of it)"
        )
    moments = np.unique(np.geomspace(1, options.steps, 200).astype(int))
    wall, cpu = time.perf_counter(), time.process_time()
    runs = ours(problem, options.steps, options.threads, record=ff.Record(moments, error=True))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{options.steps} steps of {len(ALPHAS)} runs: {wall:.1f} s, {cpu:.1f} s of CPU, {runs.threads} threads")
    for alpha, error, loss in zip(ALPHAS, runs.error, runs.loss, strict=True):
        print(f"alpha {alpha:g}: relative error {error:.3e}, loss {loss:.3e}")
    cpu = time.process_time()
    limits = ff.train(problem, NETWORK, START, ff.FlowLimit(), threads=options.threads)
    cpu = time.process_time() - cpu
    print(f"FlowLimit: {limits.seconds:.1f} s, {cpu:.1f} s of CPU, {limits.status_counts()}")
    for alpha, limit, steps in zip(ALPHAS, limits.solution, limits.steps, strict=True):
        residual = np.linalg.norm(problem.residual(limit)) / np.linalg.norm(problem.values)
        print(f"alpha {alpha:g}: {steps} Newton steps, relative residual {residual:.1e}")
    if options.out is not None:
        draw(runs, options.out)


def draw(runs: ff.Runs, out: Path) -> None:
    """Errors along the way, and the entries at the end that the truth has not."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    errors, rest = figure.subplots(1, 2)
    for alpha, error, solution in zip(ALPHAS, runs.history.error, runs.solution, strict=True):
        errors.loglog(runs.history.steps, error, label=f"alpha = {alpha:g}")
        rest.hist(np.log10(np.maximum(solution[SPARSITY:], 1e-30)), 60, histtype="step")
    errors.set(xlabel="step", ylabel="relative l2 error")
    errors.legend()
    rest.set(xlabel="log10 of entries off the support, at the end", ylabel="entries")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
