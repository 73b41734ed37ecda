"""Experiments on other dynamics than gradient descent, at the size of their papers.

    python -m benchmarks.dynamics recovery
    python -m benchmarks.dynamics completion --instances 10
    python -m benchmarks.dynamics noise --trials 200

`recovery`: sparse vectors from a large start by weight normalisation and by plain descent (Chou, Rauhut, Ward,
arXiv:2305.05448). `completion`: matrix completion by one shared adaptive rate, depths 1 to 4, beside the least nuclear
norm (Arora, Cohen, Hu, Luo, arXiv:1905.13655, with longer steps than theirs). `noise`: l1 norms by label noise from a
large start, which are below those of gradient descent (HaoChen, Wei, Lee, Ma, arXiv:2006.08680) and rise with depth.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

import fastflow as ff
from fastflow.studies.statistics import wilson

RATIO, START = 300.0, 0.1


def recovery(trials: int = 200, n: int = 40, m: int = 16, sparsity: int = 3, threads: int | None = None) -> None:
    """How often s-sparse x >= 0 are recovered to 1% from w(0) = .1, with 95% intervals."""
    rng, network, init = np.random.default_rng(0), ff.DiagonalLinear(2, signed=False), ff.inits.Constant(START)
    problems = []
    for _ in range(trials):
        truth, matrix = np.zeros(n), rng.standard_normal((m, n)) / np.sqrt(m)
        truth[rng.choice(n, sparsity, replace=False)] = 0.5 + rng.random(sparsity)
        problems.append(ff.CompressedSensing(matrix, matrix @ truth, truth=truth))
    methods = {
        "weight normalization": ff.WeightNormalization(0.5 / RATIO, 50_000, ratio=RATIO),
        "its flow's limit": ff.WeightNormalizationFlow(ratio=RATIO),
        "plain descent": ff.GradientDescent(0.05, 50_000),
        "plain flow's limit": ff.FlowLimit(),
    }
    print(f"{trials} trials, n = {n}, m = {m}, {sparsity} nonzeros, w(0) = {START}, ratio of rates {RATIO:g}")
    for name, method in methods.items():
        runs = ff.train(problems, network, init, method, runs=1, threads=threads)
        assert runs.error is not None
        count = int(np.sum(runs.error <= 1e-2))
        low, high = wilson(count, trials)
        print(
            f"{name:22} {count / trials:6.3f}  [{low:.3f}, {high:.3f}]  median error {np.median(runs.error):.2g}, "
            f"{runs.seconds:.1f} s",
            flush=True,
        )


def completion(
    instances: int = 10, depths: Sequence[int] = (1, 2, 3, 4), step: float = 5e-3, threads: int | None = None
) -> None:
    """Relative errors of 100 x 100 matrices of rank 5 from 2000 entries, instance by instance."""
    n, rank, entries, scale = 100, 5, 2000, 1e-3
    problems, dense = [], []
    for instance in range(instances):
        rng = np.random.default_rng((5, instance))
        truth = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n))
        truth *= n / np.linalg.norm(truth)
        rows, cols = np.divmod(np.sort(rng.permutation(n * n)[:entries]), n)
        problems.append(
            ff.MatrixCompletion((n, n), rows, cols, truth[rows, cols], truth=truth, normalization="mean", warn=False)
        )
        dense.append(np.full((n, n), np.nan))
        dense[-1][rows, cols] = truth[rows, cols]
    print(f"{instances} instances, step {step:g}, scale {scale:g}; errors: least, median, largest; then all")
    for depth in depths:
        method = ff.SharedRate(step, 100_000, tol=1e-5, gradient_tol=0)
        init = ff.inits.Gaussian(scale ** (1 / depth) / np.sqrt(n), of="factor")
        runs = ff.train(problems, ff.DeepLinear(depth), init, method, runs=1, threads=threads, dtype=np.float32)
        assert runs.error is not None
        _show(f"depth {depth}", runs.error, f"{int(np.median(runs.steps))} steps, {runs.seconds:.0f} s")
    started, errors = time.perf_counter(), []
    for problem, known in zip(problems, dense, strict=True):
        found = ff.baselines.nuclear_norm_completion(known, tol=1e-4).solution
        errors.append(np.linalg.norm(found - problem.truth) / np.linalg.norm(problem.truth))
    _show("nuclear norm", np.array(errors), f"{time.perf_counter() - started:.0f} s")


def noise(trials: int = 200, n: int = 20, m: int = 10, sparsity: int = 2, threads: int | None = None) -> None:
    """l1 norms of what label noise and gradient descent find from alpha = 1; differences with 95% intervals."""
    rng, init = np.random.default_rng(3), ff.inits.Constant(1.0)
    problems = []
    for _ in range(trials):
        matrix, truth = rng.standard_normal((m, n)) / np.sqrt(m), np.zeros(n)
        truth[:sparsity] = rng.choice([-1.0, 1.0], sparsity)
        problems.append(ff.CompressedSensing(matrix, matrix @ truth, truth=truth))
    steps, deviation = 50_000, np.repeat([1.0, 0.0], [40_000, 10_000])
    print(f"{trials} problems, n = {n}, m = {m}, {sparsity} nonzeros of size 1, {steps} steps, noise 1 in 40,000")
    norms = {}
    for depth, step in ((2, 0.01), (3, 0.007), (4, 0.005)):
        network = ff.DiagonalLinear(depth)
        method = ff.StochasticGradientDescent(step, 1, label_noise=deviation, tol=0)
        noisy = ff.train(problems, network, init, method, runs=1, threads=threads)
        plain = ff.train(problems, network, init, ff.GradientDescent(step, steps), runs=1, threads=threads)
        for name, runs in (("noise", noisy), ("descent", plain)):
            norms[name, depth] = np.abs(runs.solution).sum(1)
            ended = int(np.sum(runs.status == ff.Status.DIVERGED))
            print(f"L = {depth}, {name}: l1 norm {norms[name, depth].mean():.3f}, {ended} diverged", flush=True)
    pairs = [(("descent", depth), ("noise", depth)) for depth in (2, 3, 4)]
    for larger, smaller in [*pairs, (("noise", 3), ("noise", 2)), (("noise", 4), ("noise", 3))]:
        gap = norms[larger] - norms[smaller]
        half = 1.96 * gap.std(ddof=1) / np.sqrt(trials)
        names = " less ".join(f"{name} L = {depth}" for name, depth in (larger, smaller))
        print(f"{names}: {gap.mean():.3f} [{gap.mean() - half:.3f}, {gap.mean() + half:.3f}]")


def _show(name: str, errors: np.ndarray, rest: str) -> None:
    least, middle, largest = np.quantile(errors, (0, 0.5, 1))
    every = " ".join(f"{error:.3f}" for error in errors)
    print(f"{name:14} {least:.3f} {middle:.3f} {largest:.3f}  ({rest})  {every}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", choices=("recovery", "completion", "noise"))
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--instances", type=int, default=10)
    parser.add_argument("--depths", type=int, nargs="+", default=(1, 2, 3, 4))
    parser.add_argument("--step", type=float, default=5e-3)
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    if given.experiment == "recovery":
        recovery(given.trials, threads=given.threads)
    elif given.experiment == "noise":
        noise(given.trials, threads=given.threads)
    else:
        completion(given.instances, given.depths, given.step, given.threads)
