"""Children that are forked while other threads work do not wait for what only those could release."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

FORK = """
import os, sys, threading
import numpy as np
import fastflow as ff
from fastflow.threads import one_blas_thread

problem = ff.MatrixEstimation(np.eye(3))
method = ff.GradientDescent(max_steps=3)
expected = ff.train(problem, method=method, progress=False, threads=1).solution


def child():
    same = np.array_equal(ff.train(problem, method=method, progress=False, threads=1).solution, expected)
    os._exit(0 if same else 1)


def fork():
    pid = os.fork()
    if pid == 0:
        child()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


{how}
"""

HELD = """
held, done = threading.Event(), threading.Event()
def hold():
    with one_blas_thread._lock:
        held.set()
        done.wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
sys.exit(fork())
"""

INSIDE = """
with one_blas_thread():
    pid = os.fork()
if pid == 0:
    child()
assert one_blas_thread._users == 0
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.parametrize("how", [HELD, INSIDE], ids=["while another thread enters", "from inside"])
def test_a_child_trains(how):
    code = FORK.format(how=how)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
