"""Executors: the same bits from all of them; and what happens when their workers die."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import outcomes_of_users
import pytest
import test_leaving
import test_outcomes
from test_studies import same_bits, small

import fastflow as ff
from fastflow import shell
from fastflow.ensembles import Custom, Sparse
from fastflow.studies.nodes import this_node
from fastflow.studies.outcomes import make_outcomes
from fastflow.studies.tasks import Finished, Report


@pytest.fixture(scope="module")
def reference():
    return small(trials=50).run(threads=1, progress=False)


@pytest.fixture(scope="module")
def processes():
    """A pool of two processes that are started anew, as on every system."""
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="module")
def client():
    """A dask client with two worker processes."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(2, threads_per_worker=1, processes=True, dashboard_address="localhost:0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def fatal(rng, m=3, flag="", driver=0):
    """A user's ensemble whose 20th draw outside the driver kills its process, and leaves the number of that behind."""
    if os.getpid() != driver:
        with open(f"{flag}.draws", "ab", buffering=0) as draws:
            draws.write(b".")
            drawn = draws.tell()
        if drawn >= 20 and not os.path.exists(flag):
            with contextlib.suppress(FileExistsError), open(flag, "x") as file:
                file.write(str(os.getpid()))
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
    return Sparse(n=8, m=m, sparsity=1).draw(rng)


def fatal_study(flag, trials=25):
    users = outcomes_of_users
    return ff.Study(
        Custom(fatal, 1, flag=str(flag), driver=os.getpid()),
        method=ff.baselines.LeastNorm(),
        axes={"m": (3, 4, 5, 6)},
        trials=trials,
        outcomes={"norm": "l1_norm", "largest": users.largest, "pair": ff.Outcome(users.first_two, 1, shape=(2,))},
    )


@pytest.mark.parametrize("seconds", [1e-9, 0.01, 10.0])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_sizes_of_tasks(reference, seconds, threads):
    """From one trial a task to all in one."""
    assert same_bits(small(trials=50).run(threads=threads, task_seconds=seconds, progress=False), reference)


def test_a_process_pool(reference, processes, tmp_path):
    assert same_bits(small(trials=50).run(processes, tmp_path / "s.zarr", progress=False), reference)
    assert processes.submit(os.getpid).result() != os.getpid()  # it was not shut down


def test_loky(reference):
    loky = pytest.importorskip("loky")
    executor = loky.get_reusable_executor(max_workers=2)
    try:
        assert same_bits(small(trials=50).run(executor, progress=False), reference)
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def test_dask(reference, client, tmp_path):
    """By the client itself and by its executor; extended on the way."""
    small(trials=20, m=(14,)).run(client, tmp_path / "s.zarr", progress=False)
    assert same_bits(small(trials=50).run(client, tmp_path / "s.zarr", progress=False), reference)
    assert same_bits(small(trials=50).run(client.get_executor(), progress=False), reference)
    assert client.status == "running"


def test_the_shell_uses_a_running_scheduler(reference, client, tmp_path, capfd):
    arguments = ["--n", "24", "--m", "6,10", "--sparsity", "2", "--trials", "9", "--out", str(tmp_path / "phase")]
    assert shell.main(["phase", *arguments, "--scheduler", client.scheduler.address]) == 0
    result = ff.open_study(tmp_path / "phase.zarr")
    assert same_bits(result, ff.Study.from_table(result.table).run(threads=2, progress=False))


def test_a_dask_worker_killed_in_mid_study(client, tmp_path):
    """Another does its work, and the bits are the same."""
    flag = tmp_path / "pid"
    study = fatal_study(flag)
    pids = client.run(os.getpid)
    result = study.run(client, task_seconds=0.05, progress=False)
    assert int(flag.read_text()) in pids.values()
    assert result.complete
    expected = fatal_study(flag).run(threads=2, progress=False)
    assert same_bits(result, expected)
    assert test_outcomes.same(result, expected)


def test_a_dask_scheduler_that_is_lost_ends_the_study(tmp_path):
    """Its tasks never come back, and nothing says so but the client, once it has looked for the scheduler in vain."""
    distributed = pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    words = ["--scheduler-file", str(file), "--port", "0", "--no-dashboard"]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *words]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as scheduler:
        while not file.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        with distributed.Client(scheduler_file=str(file), timeout=2) as client:
            threading.Timer(1.0, scheduler.kill).start()
            with pytest.raises(ff.StudyError, match=r"has lost its scheduler.*0 of 300 trials are done") as caught:
                small(trials=50).run(client, tmp_path / "s.zarr", progress=False)
    assert not caught.value.result.complete


def test_outcomes_of_a_user_by_dask(client, tmp_path):
    """As by threads: what nobody states a worker tells, one that fails is named, and what is left is done."""
    path = tmp_path / "s.zarr"
    study = test_outcomes.vectors()
    test_outcomes.vectors(trials=2, m=(14,)).run(client, path, progress=False)
    result = study.run(client, path, task_seconds=0.01, progress=False)
    assert test_outcomes.same(result, test_outcomes.run(study))
    assert result.fields["largest"].dtype == "float64"
    failing = test_outcomes.vectors({"x": outcomes_of_users.raises})
    with pytest.raises(ff.StudyError, match="the outcome 'x': trial 2: ZeroDivisionError: no such number"):
        failing.run(client, progress=False)


def test_a_dask_worker_that_is_told_to_end(client, tmp_path):
    """It hands back what it has, another does the rest, and the bits are the same."""
    study = test_leaving.asked(tmp_path / "flag")
    result = study.run(client, task_seconds=10.0, max_task_seconds=600.0, progress=False)
    assert (tmp_path / "flag").exists()
    assert result.complete
    assert same_bits(result, study.run(threads=1, progress=False))


def test_a_killed_pool_loses_nothing(tmp_path):
    """A process pool breaks when a worker dies: another like it goes on, and the bits are the same."""
    flag, store = tmp_path / "pid", tmp_path / "s.zarr"
    study = fatal_study(flag)
    with (
        concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool,
        pytest.warns(UserWarning, match="workers died 1 time; what they were at was tried again"),
    ):
        result = study.run(pool, store, task_seconds=0.05, progress=False)
    assert flag.exists()
    expected = fatal_study(flag).run(threads=2, progress=False)
    assert same_bits(result, expected)
    assert test_outcomes.same(result, expected)
    assert same_bits(ff.open_study(store), expected)


def test_an_interface_like_that_of_mpi4py(reference):
    """What mpi4py's MPIPoolExecutor has: submit, num_workers, and futures of concurrent.futures."""

    class Pool:
        num_workers = 3

        def submit(self, function, *arguments):
            future = concurrent.futures.Future()
            future.set_running_or_notify_cancel()
            future.set_result(function(*arguments))
            return future

    assert same_bits(small(trials=50).run(Pool(), progress=False), reference)


class Answer:
    """An executor that answers a task at once, without any work, from its trials' numbers."""

    num_workers = 4

    def submit(self, function, pieces):
        finished = []
        for piece in pieces:
            numbers = np.arange(piece.first, piece.last)
            outcomes = make_outcomes(numbers / 7, numbers / 3, numbers, numbers * 1e-3, np.ones(len(numbers)))
            finished.append(Finished(piece.cell, piece.first, outcomes))
        future = concurrent.futures.Future()
        future.set_running_or_notify_cancel()
        seconds = 1e-5 * sum(piece.last - piece.first for piece in pieces)
        future.set_result(Report(finished, seconds, this_node()))
        return future


MEMORY = """
import re, sys
from pathlib import Path
import numpy as np
from test_executors import Answer
from test_studies import SPARSE
import fastflow as ff
from fastflow import shell
words = (SPARSE, ff.DiagonalLinear(2), ff.inits.Constant(), ff.FlowLimit())
study = ff.Study(*words, axes={"m": range(1, 101), "scale": np.geomspace(1e-6, 1, 100)}, trials=100)
result = study.run(Answer(), sys.argv[1], progress=False)
assert result.complete
assert np.all(result.outcomes["steps"] == np.arange(100))
# Not getrusage, which counts what the process was before it became this one.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(peak * 1024 - sum(array.nbytes for array in result.outcomes.values()))
"""


def test_the_driver_of_a_million_trials_stays_small(tmp_path):
    """Under 300 MB beyond the results, with everything that Python has loaded."""
    if not os.path.exists("/proc/self/status"):
        pytest.skip("this system does not say how much memory a process had at most")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "s.zarr")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300e6
