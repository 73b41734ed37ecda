"""SciPy's active sets, which let no other thread run: in a process of their own, so that Ctrl-C is heard here."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile

import numpy as np

from fastflow.checks import FloatArray
from fastflow.memory import require_work
from fastflow.threads import POLL_SECONDS, is_told_to_stop

LARGE = 1_000_000
"""Entries of a matrix from which on active sets may take longer than a second, and than a process needs to begin."""

UNSETTLED = 3
"""How the process exits where the steps were too few."""

SOLVE = f"""
import os, sys
import numpy as np
from scipy.optimize import nnls
if sys.platform == "linux":  # end with the thread that asked (PR_SET_PDEATHSIG, SIGKILL), which may be at any moment
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[2]):
        sys.exit()
a, y = np.load(sys.stdin.buffer), np.load(sys.stdin.buffer)
try:
    x = nnls(a, y, maxiter=int(sys.argv[1]))[0]
except RuntimeError:
    sys.exit({UNSETTLED})
np.save(sys.stdout.buffer, x)
"""


def active_sets(a: FloatArray, y: FloatArray, most: int) -> FloatArray:
    """The minimum of ``||A x - y||`` over ``x >= 0`` by SciPy's `nnls`; of large matrices where Ctrl-C can end it.

    Raises
    ------
    RuntimeError
        where it does not settle in so many steps
    OSError
        where the process fails
    MemoryError
        where the copies for the process are more than the memory that there is
    """
    if a.size < LARGE or not sys.executable:
        from scipy.optimize import nnls

        x: FloatArray = nnls(a, y, maxiter=most)[0]
        return x
    require_work(a.size, 2, "nonnegative least squares in a process of its own, with a matrix")
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SOLVE, str(most), str(os.getpid())]
    with tempfile.TemporaryFile() as sent:
        np.save(sent, a)
        np.save(sent, y)
        sent.seek(0)
        with subprocess.Popen(command, stdin=sent, stdout=pipe, stderr=pipe, start_new_session=True) as process:
            try:
                brought = None
                while brought is None:
                    try:
                        brought, said = process.communicate(timeout=POLL_SECONDS)
                    except subprocess.TimeoutExpired:
                        if is_told_to_stop():
                            raise KeyboardInterrupt from None
            except BaseException:
                process.kill()
                raise
    if process.returncode == UNSETTLED:
        raise RuntimeError(f"nonnegative least squares did not settle in {most} steps")
    if process.returncode != 0:
        last = said.decode(errors="replace").strip().rsplit("\n", 1)[-1]
        raise OSError(f"the process of nonnegative least squares ended with {process.returncode}: {last}")
    found: FloatArray = np.load(io.BytesIO(brought))
    return found
