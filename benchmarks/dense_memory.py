"""The peak of memory of a call of `train` beside the data of a large dense problem: Linux only.

    python -m benchmarks.dense_memory sensing --megabytes 1000

makes read-only data in float64 and C order, and prints the peak of resident memory since before the data were there,
over their size, for two steps of `--runs` runs (1). Kernels are compiled before, where small problems take the same
ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import fastflow as ff

KINDS = ("compressed", "overdetermined", "regression", "sensing")


def posed(kind: str, entries: int, ratio: int) -> tuple[int, ff.problems.Problem, ff.networks.Network]:
    """How many bytes the data of a problem have, the problem, and a network."""
    rng = np.random.default_rng(0)
    if kind == "sensing":
        d = max(2, min(32, int(entries**0.25)))
        shape: tuple[int, ...] = (max(1, entries // d**2), d, d)
    else:
        short = max(8, int((entries / ratio) ** 0.5) // 8 * 8)
        shape = (ratio * short, short) if kind == "overdetermined" else (short, ratio * short)
    data = rng.standard_normal(shape)
    data.flags.writeable = False
    if kind == "sensing":
        return data.nbytes, ff.MatrixSensing(data, np.ones(len(data))), ff.DeepLinear(2)
    if kind == "regression":
        outputs = np.ones((1, data.shape[1]))
        return data.nbytes, ff.LinearRegression(data, outputs, samples="columns"), ff.DeepLinear(2)
    return data.nbytes, ff.CompressedSensing(data, np.ones(len(data))), ff.DiagonalLinear(2)


def train(problem: ff.problems.Problem, network: ff.networks.Network, runs: int, tol: float | None) -> None:
    """Two steps of some runs."""
    method = ff.GradientDescent(1e-9, 2, tol=tol)
    ff.train(problem, network, ff.inits.Uniform(0.1, of="factor"), method, runs=runs, threads=1)


def memory(field: str) -> int:
    """A line of what Linux says of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--ratio", type=int, default=4, help="of the sides of a matrix (4)")
    parser.add_argument("--tol", type=float, help="of GradientDescent: where not given, the least loss is asked for")
    asked = parser.parse_args()
    train(*posed(asked.kind, 4000, asked.ratio)[1:], asked.runs, asked.tol)
    before = memory("VmRSS")
    size, problem, network = posed(asked.kind, int(asked.megabytes * 1e6 / 8), asked.ratio)
    train(problem, network, asked.runs, asked.tol)
    times = (memory("VmHWM") - before) / size
    words = f"{asked.kind}, ratio {asked.ratio}, runs {asked.runs}, tol {asked.tol}"
    print(f"{words}: {size / 1e6:.0f} MB of data, peak {times:.2f} times that")


if __name__ == "__main__":
    main()
