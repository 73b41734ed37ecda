"""What a new process pays: importing fastflow, and the first call of `train` on an empty and on a warm cache."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import NamedTuple

PROGRAM = """
import json, time
start = time.perf_counter()
import fastflow as ff
imported = time.perf_counter()
import numpy as np
problem = ff.MatrixEstimation(np.random.default_rng(0).standard_normal((10, 10)))
times = []
for _ in range(2):
    before = time.perf_counter()
    ff.train(problem, ff.DeepLinear(3), runs=64, method=ff.GradientDescent(1e-3, max_steps=10), progress=False)
    times.append(time.perf_counter() - before)
print(json.dumps([imported - start, *times]))
"""


class Times(NamedTuple):
    """Seconds in a new process: the import, the first call of `train`, the second."""

    imported: float
    first: float
    second: float


def _new_process(cache: str) -> Times:
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, cwd=cache, capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise RuntimeError(f"the new process failed:\n{finished.stderr}")
    return Times(*json.loads(finished.stdout.splitlines()[-1]))


def first_calls(repetitions: int) -> dict[str, Times]:
    """Medians over new processes, with an empty cache and with the one that the process before has left."""
    empty, warm = [], []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as cache:
            empty.append(_new_process(cache))
            warm.append(_new_process(cache))
    medians = {"empty": empty, "warm": warm}
    return {
        name: Times(*(statistics.median(values) for values in zip(*times, strict=True)))
        for name, times in medians.items()
    }


_TRAIN = """
import numpy as np
import fastflow as ff
ff.train(ff.MatrixEstimation(np.eye(10)), ff.DeepLinear(3), runs=2,
         method=ff.GradientDescent(1e-3, max_steps=10), progress=False)
"""

_EMPTY_CACHE = """
import os, tempfile
folder = tempfile.TemporaryDirectory()
os.environ["NUMBA_CACHE_DIR"] = folder.name
"""


class _NewProcess:
    timeout = 300
    number = 1
    repeat = (1, 5, 60.0)
    warmup_time = 0


class EmptyCache(_NewProcess):
    """What the very first process pays."""

    def timeraw_import(self) -> str:
        """``import fastflow``, in a process that has imported nothing."""
        return "import fastflow"

    def timeraw_train(self) -> str:
        """Import, compilation of everything that a small estimation needs, and the call."""
        return _EMPTY_CACHE + _TRAIN


class WarmCache(_NewProcess):
    """What every further process pays."""

    def setup(self) -> None:
        subprocess.run([sys.executable, "-c", _TRAIN], check=True)

    def timeraw_train(self) -> str:
        """Import, all kernels from the cache on disk, and the call."""
        return _TRAIN
