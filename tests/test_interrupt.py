"""Ctrl-C in the middle of long work: back soon, finished work kept, and a loop around `train` stopped too."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil
import pytest

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


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_stops_a_loop_around_train_and_keeps_what_was_done(threads):
    command, pipe = [sys.executable, "-c", SCRIPT, str(threads)], subprocess.PIPE
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
