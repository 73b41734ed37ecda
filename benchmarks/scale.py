"""Studies of many cells: what driving them costs, with trials that cost nothing, or next to nothing.

    python -m benchmarks.scale --cells 100000 --trials 2                     # a stub answers every task at once
    python -m benchmarks.scale --cells 100000 --trials 2 --by threads        # trials of a baseline that does nothing
    python -m benchmarks.scale --cells 10000 --trials 20 --by dask           # as well, by a local cluster

Each line says how long it took, how much of that this process was at work (with the scheduler of the local cluster,
which is a thread of it), its main thread alone (the driver), and what that is for a million trials.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastflow as ff
from benchmarks.studies import Nothing
from fastflow.studies.nodes import this_node
from fastflow.studies.outcomes import make_outcomes
from fastflow.studies.tasks import Finished, Piece, Report

AXIS = 10_000
"""So many values the longer axis has."""


class Stub:
    """An executor that answers a task at once, from the numbers of its trials."""

    num_workers = 4
    tasks = 0

    def submit(self, function: Any, pieces: Sequence[Piece]) -> concurrent.futures.Future[Report]:
        self.tasks += 1
        finished = []
        for piece in pieces:
            numbers = np.arange(piece.first, piece.last)
            outcomes = make_outcomes(numbers / 7, numbers / 3, numbers, numbers * 1e-3, np.ones(len(numbers)))
            finished.append(Finished(piece.cell, piece.first, outcomes))
        future: concurrent.futures.Future[Report] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        seconds = 1e-5 * sum(piece.last - piece.first for piece in pieces)
        future.set_result(Report(finished, seconds, this_node()))
        return future


class Counting:
    """An executor that counts what another one is given."""

    def __init__(self, executor: Any, workers: int) -> None:
        self._executor, self.num_workers, self.tasks = executor, workers, 0

    def submit(self, *arguments: Any) -> Any:
        self.tasks += 1
        return self._executor.submit(*arguments)


@contextlib.contextmanager
def _executor(by: str, workers: int) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        if by == "stub":
            yield Stub()
        elif by == "threads":
            yield Counting(stack.enter_context(concurrent.futures.ThreadPoolExecutor(workers)), workers)
        else:
            from distributed import Client, LocalCluster

            options = {"threads_per_worker": 1, "processes": True, "dashboard_address": None}
            client = stack.enter_context(Client(stack.enter_context(LocalCluster(workers, **options))))
            yield Counting(client.get_executor(pure=False), workers)


def study_of(cells: int, trials: int) -> ff.Study:
    """A study of so many cells, of small problems that nobody solves."""
    first = min(cells, AXIS)
    axes = {"noise": np.linspace(0, 1, first), "m": range(1, cells // first + 1)}
    return ff.Study(ff.ensembles.Sparse(n=cells // first, sparsity=1), method=Nothing(), axes=axes, trials=trials)


def main() -> None:
    """Run one study, and say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--trials", type=int, default=2)
    parser.add_argument("--by", choices=("stub", "threads", "dask"), default="stub")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--task-seconds", type=float)
    options = parser.parse_args()
    study = study_of(options.cells, options.trials)
    with tempfile.TemporaryDirectory() as folder, _executor(options.by, options.workers) as executor:
        study_of(10, 2).run(executor, progress=False)  # imports and starts what there is
        executor.tasks = 0
        wall, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
        result = study.run(executor, Path(folder) / "s.zarr", task_seconds=options.task_seconds, progress=False)
        wall, process, thread = (
            time.perf_counter() - wall,
            time.process_time() - process,
            time.thread_time() - thread,
        )
    trials = result.computed
    print(
        f"{options.by}: {study.cells} cells x {study.trials} trials in {wall:.1f} s, {executor.tasks} tasks, "
        f"{executor.tasks / wall:.0f} a second; CPU of this process {process:.1f} s, of its main thread {thread:.1f} "
        f"s, {1e6 * thread / trials:.1f} s a million trials"
    )


if __name__ == "__main__":
    main()
