"""What stopping a study early does to rates: those of cells that are partly done lean to fast trials.

A cell of 100 trials, handed out in tasks of 4, one after the other, to some workers; half of the trials succeed, and
failures take several times as long. At a random time all stops, and what is at work is lost. Printed is the mean rate
of what is done minus 1/2, by how many trials are done.
"""

from __future__ import annotations

import heapq

import numpy as np

TRIALS, TASK, REPEATS = 100, 4, 30_000
BINS = (1, 20, 40, 60, 80)


def stopped(workers: int, slowness: float, rng: np.random.Generator) -> tuple[int, int]:
    """Successes and trials that are done at a random time."""
    succeeds = rng.random((TRIALS // TASK, TASK)) < 0.5
    seconds = np.where(succeeds, 1.0, slowness).sum(axis=1)
    end = rng.random() * TRIALS * (1 + slowness) / 2 / workers
    free, successes, trials = [0.0] * workers, 0, 0
    for task, took in zip(succeeds, seconds, strict=True):
        begun = heapq.heappop(free)
        heapq.heappush(free, begun + took)
        if begun + took <= end:
            successes, trials = successes + int(task.sum()), trials + TASK
    return successes, trials


def main() -> None:
    """Print a line for each number of workers and each slowness."""
    rng = np.random.default_rng(1)
    for workers in (1, 8):
        for slowness in (3.0, 10.0):
            found = np.array([stopped(workers, slowness, rng) for _ in range(REPEATS)])
            successes, trials = found[found[:, 1] > 0].T
            lean, which = successes / trials - 0.5, np.digitize(trials, BINS)
            means = ", ".join(f"from {low}: {lean[which == i + 1].mean():+.3f}" for i, low in enumerate(BINS))
            print(f"{workers} workers, failures take {slowness:g} times as long: {means}")


if __name__ == "__main__":
    main()
