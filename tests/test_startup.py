"""What importing and long training cost: no work at import, and no growth of memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import psutil
import pytest

import fastflow as ff


def test_import_loads_nothing_heavy_that_numba_does_not():
    code = (
        "import sys, numba; before = set(sys.modules); import fastflow; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "fastflow" in loaded
    assert not {"scipy", "matplotlib", "xarray", "zarr", "pandas", "sklearn", "tqdm", "dask"} & set(loaded)


def test_import_compiles_nothing():
    code = (
        "from numba.core import event; recorder = event.RecordingListener(); "
        "event.register('numba:compile', recorder); import fastflow; print(len(recorder.buffer))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


WARM_STUDY = """
import fastflow as ff
from fastflow.kernels.descent.descend import descend
from fastflow.kernels.dual.dual_flow import flow_slice
from fastflow.kernels.dual.limit import limit_slice

methods = {"limit": ff.FlowLimit(), "descent": ff.GradientDescent(max_steps=50), "l1": ff.baselines.BasisPursuit()}
axes = {"method": methods, "m": [4, 8, 14]}
study = ff.Study(ff.ensembles.Sparse(n=12, sparsity=2), init=ff.inits.Constant(1e-2), axes=axes, trials=2)
kernels = descend, limit_slice, flow_slice
ff.warmup(study)
print(*(len(kernel.signatures) for kernel in kernels))
study.run(threads=1)
print(*(len(kernel.signatures) for kernel in kernels))
"""


def test_a_warm_study_compiles_nothing():
    """By the rows of A and in Gram form, both at the ends of the axis of m."""
    done = subprocess.run([sys.executable, "-c", WARM_STUDY], capture_output=True, text=True, check=True)
    before, after = done.stdout.splitlines()
    assert before == after
    assert min(map(int, before.split())) > 0
    study = ff.Study(ff.ensembles.Sparse(n=12, sparsity=2), axes={"m": [4]})
    with pytest.raises(ValueError, match="a study has its own network"):
        ff.warmup(study, method=ff.FlowLimit())


@pytest.mark.parametrize("width", [3, 60])
def test_memory_does_not_grow_with_the_steps(width):
    """10^6 steps in lanes and 10^4 of one run at a time leave the process as large as it was."""
    problem = ff.MatrixEstimation(np.eye(width))
    steps = {3: 10**6, 60: 10**4}[width]

    def train(max_steps: int) -> None:
        method = ff.GradientDescent(step=1e-6, max_steps=max_steps, tol=0)
        ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.1), method, runs=8, threads=1)

    train(10)
    before = psutil.Process().memory_info().rss
    train(steps)
    assert psutil.Process().memory_info().rss - before < 5e6
