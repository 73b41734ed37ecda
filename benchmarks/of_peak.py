"""What fraction of the FMA peak whole calls of `train` reach, without peers: ``python -m benchmarks.of_peak``.

With the code of AVX2 where a processor has more: ``NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES=+avx,+avx2,+fma``. About
three minutes; the machine should be quiet.
"""

from __future__ import annotations

import numpy as np

from benchmarks import tasks, timing
from benchmarks.report import Table, number
from benchmarks.tasks import DiagonalTask, Task
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.peak import fma_peak

SECONDS, REPETITIONS = 0.6, 5
THREADS = 2

CASES: dict[str, tuple[Task | DiagonalTask, float]] = {
    **{
        f"descent, d = {width}": (tasks.estimation(width, 64), goal)
        for width, goal in ((4, 0.45), (10, 0.6), (20, 0.7), (32, 0.8), (50, 0.8), (100, 0.9))
    },
    "descent, d = 300, 8 runs": (tasks.estimation(300, 8), 0.9),
    "completion, d = 100": (tasks.completion(), 0.8),
    "sensing, d = 30": (tasks.sensing(), float("nan")),
    **{
        f"A shared by 256 runs, n = {size}, m = {count}": (tasks.diagonal(size, count, 256, shared=True), 0.75)
        for size, count in ((100, 40), (400, 200), (1000, 250))
    },
}
"""Tasks, with the fractions that are wanted of them."""


def fractions_of_peak() -> Table:
    """Of the peak by two threads, and how many times as fast as one."""
    peaks = {threads: max(fma_peak(np.dtype(np.float64), threads) for _ in range(3)) for threads in (THREADS, 1)}
    remarks = f"{SHAPE.name}, 64 runs unless it is said; the FMA peak is {peaks[THREADS] / 1e9:.0f} GFLOP/s."
    header = ["task", "GFLOP/s", "of peak", "goal", "times one thread"]
    table = Table("Fractions of the FMA peak, two threads", header, [], remarks)
    for name, (task, goal) in CASES.items():
        contenders = {str(threads): tasks.fastflow(task, threads).advance for threads in peaks}
        measured = timing.interleaved(contenders, SECONDS, REPETITIONS, timing.Neighbours())
        rate = task.flops / measured[str(THREADS)].median
        times = timing.ratio(measured["1"], measured[str(THREADS)])
        row = [name, number(rate / 1e9), number(rate / peaks[THREADS]), number(goal), number(times)]
        table.rows.append(row)
        print(row, flush=True)
    return table


if __name__ == "__main__":
    timing.pin(THREADS)
    print(fractions_of_peak().markdown())
