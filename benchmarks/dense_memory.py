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

KINDS = ("compressed", "overdetermined", "sensing")


def posed(kind: str, entries: int) -> tuple[int, ff.problems.Problem, ff.networks.Network]:
    """How many bytes the data of a problem have, the problem, and a network."""
    rng = np.random.default_rng(0)
    if kind == "sensing":
        d = max(2, min(32, int(entries**0.25)))
        shape: tuple[int, ...] = (max(1, entries // d**2), d, d)
    else:
        short = max(8, int((entries / 4) ** 0.5) // 8 * 8)
        shape = (short, 4 * short) if kind == "compressed" else (4 * short, short)
    data = rng.standard_normal(shape)
    data.flags.writeable = False
    if kind == "sensing":
        return data.nbytes, ff.MatrixSensing(data, np.ones(len(data))), ff.DeepLinear(2)
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
    parser.add_argument("--tol", type=float, help="of GradientDescent: where not given, the least loss is asked for")
    asked = parser.parse_args()
    train(*posed(asked.kind, 4000)[1:], asked.runs, asked.tol)
    before = memory("VmRSS")
    size, problem, network = posed(asked.kind, int(asked.megabytes * 1e6 / 8))
    train(problem, network, asked.runs, asked.tol)
    times = (memory("VmHWM") - before) / size
    print(f"{asked.kind}, runs {asked.runs}, tol {asked.tol}: {size / 1e6:.0f} MB of data, peak {times:.2f} times that")


if __name__ == "__main__":
    main()
