"""Ctrl-C in the middle of long work: back soon, finished work kept, and a loop around `train` stopped too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest

import fastflow as ff
from fastflow import scheduling, threads
from fastflow.baselines import apart

SCRIPT = """
import sys, time
import numpy as np
import fastflow as ff

threads = int(sys.argv[1])
# Runs 0 to 5 start at the solution and end at once; the others could go on for hours.
first = np.tile(np.eye(3), (12, 1, 1))
second = first.copy()
second[6:] *= 2
problem, network, init = ff.MatrixEstimation(np.eye(3)), ff.DeepLinear(2), ff.inits.Explicit([first, second])
record = ff.Record([0, 10**6, 2 * 10**9])
ff.warmup(problem, network)
done = 0
try:
    for _ in range(3):
        print("started", flush=True)
        method = ff.GradientDescent(1e-12, 10**10, tol=1e-4)
        ff.train(problem, network, init, method, threads=threads, record=record, progress=True)
        done += 1
except Exception:
    print("swallowed")
except KeyboardInterrupt as stop:
    print("caught", time.process_time(), type(stop).__name__, done)
    print(*np.bincount(stop.runs.status, minlength=6))
    begun = (stop.runs.status != ff.Status.RUNNING) | (stop.runs.steps > 0)  # some may still wait for a free lane
    print(np.isfinite(stop.runs.loss).all(), begun.sum() > 6, np.isfinite(stop.runs.history.loss[begun, 0]).all())
"""


@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_stops_a_loop_around_train_and_keeps_what_was_done(count):
    command, pipe = [sys.executable, "-c", SCRIPT, str(count)], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "started\n"
        seen = b""
        while b"6/12" not in seen:  # the progress bar
            more = os.read(process.stderr.fileno(), 1024)
            assert more, seen
            seen += more
        sent = sum(psutil.Process(process.pid).cpu_times()[:2])
        process.send_signal(signal.SIGINT)
        caught, counts, finite = process.stdout.read().splitlines()
        assert process.wait() == 0
    assert caught.split()[0::2] == ["caught", "Interrupted"]
    assert caught.split()[3] == "0"  # the loop went no further
    assert counts == "6 6 0 0 0 0"
    assert finite == "True True True"
    assert float(caught.split()[1]) - sent < 5  # of computing time, which a busy machine does not change; measured: 0.1


@pytest.mark.parametrize("count", [1, 2])
def test_a_press_is_heard_that_numpy_loses(count):
    """NumPy clears whatever is raised while it asks an operand's class what that knows of arrays."""
    presses, found = [], []

    class Asked(type):
        def __getattr__(cls, name):
            if not presses:
                presses.append(name)
                signal.raise_signal(signal.SIGINT)
            raise AttributeError(name)

    class One(int, metaclass=Asked):  # as an `enum.IntEnum` is in Python 3.11
        pass

    def lose():
        if not found:
            found.append(np.any(np.arange(3) == One(1)))

    def worker(should_stop):
        while not should_stop():
            threading.Event().wait(0.01)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        threads.run_workers(worker, count, lose)
    assert found == [True]
    assert len(presses) == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_what_hears_no_ctrl_c_is_left_behind_and_told():
    """What is left behind stops where it asks, and keeps the settings of the one who called."""
    begun, told, seen = threading.Event(), threading.Event(), []

    def work():
        seen.append(np.geterr()["over"])
        begun.set()
        try:
            threads.run_workers(lambda should_stop: [should_stop() for _ in iter(int, 1)], 1, lambda: None)
        except KeyboardInterrupt:
            told.set()

    with np.errstate(over="raise"), threads.stopped_by(begun.is_set), pytest.raises(KeyboardInterrupt):
        threads.interruptibly(work)
    assert told.wait(60)
    assert seen == ["raise"]
    with pytest.raises(ZeroDivisionError):
        threads.interruptibly(lambda: 1 // 0)


def test_active_sets_of_large_matrices_are_found_where_they_can_be_ended(monkeypatch, rng):
    """In a process of their own, with the same bits, and the same error; it ends when it is told to."""
    a, y = rng.standard_normal((8, 12)), rng.standard_normal(8)
    expected = apart.active_sets(a, y, 100)
    monkeypatch.setattr(apart, "LARGE", 1)
    assert np.array_equal(apart.active_sets(a, y, 100), expected)
    with pytest.raises(RuntimeError, match="did not settle in 1 steps"):
        apart.active_sets(a, y, 1)
    with pytest.raises(OSError, match="ended with 1: ValueError"):
        apart.active_sets(a, y[1:], 1)
    with threads.stopped_by(lambda: True), pytest.raises(KeyboardInterrupt):
        apart.active_sets(a, y, 100)


def test_threads_of_a_pool_are_not_waited_for_where_they_hear_nothing():
    begun, end = threading.Event(), threading.Event()

    def work(should_stop):
        threads.interruptibly(lambda: [begun.set(), end.wait(60)])

    def poll():
        if begun.is_set():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        threads.run_workers(work, 2, poll)
    end.set()


def test_a_study_whose_time_is_up_leaves_a_trial_that_hangs():
    end = threading.Event()

    class Hanging:
        def solve(self, problem):
            end.wait(60)
            return np.zeros(problem.shape)

    study = ff.Study(ff.ensembles.Sparse(4, sparsity=1), method=Hanging(), axes={"m": [2]}, trials=3)
    result = study.run(threads=1, max_seconds=0.1, progress=False)
    assert not end.is_set()
    assert not result.done.any()
    end.set()


def test_large_problems_have_the_bits_of_small_slices(monkeypatch, rng):
    """Whether slices are taken in this thread or in others that may be left behind."""
    matrix = rng.standard_normal((6, 12))
    matrix[:, 1] = matrix[:, 0]  # a tie, which takes care
    values = matrix[:, 0] + matrix[:, 3]
    expected = ff.flow_limit(matrix, values, 1e-6, 3, threads=1), ff.gradient_flow(matrix, values, 1e-3, [1, np.inf], 3)
    monkeypatch.setattr(scheduling, "SLOW", 1e-9)
    found = ff.flow_limit(matrix, values, 1e-6, 3, threads=2), ff.gradient_flow(matrix, values, 1e-3, [1, np.inf], 3)
    assert found[0].x.tobytes() == expected[0].x.tobytes()
    assert found[1].x.tobytes() == expected[1].x.tobytes()
