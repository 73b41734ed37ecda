"""Memory that calls take beside what they have asked for beforehand: at most 1.3 of it, and some MB whatever it is.

Large dense data are not copied.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOM, WHATEVER = 1.3, 16e6

SCRIPT = """
import os, sys
from pathlib import Path
import numpy as np
import fastflow as ff
from fastflow import memory

asked = 0

def count(size, what, advice):
    global asked
    asked += int(size)

for name, module in list(sys.modules.items()):
    if name.startswith("fastflow") and hasattr(module, "require_memory"):
        module.require_memory = count

def field(name):
    return 1024 * memory._fields(Path("/proc/self/status"))[name]

rng = np.random.default_rng(0)
draw = rng.standard_normal

def train(d, runs, method, **options):
    ff.train(ff.MatrixEstimation(draw((d, d))), ff.DeepLinear(3), ff.inits.Gaussian(0.1), method, runs=runs,
             progress=False, **options)

def study(trials):
    return ff.Study(ff.ensembles.Sparse(4, sparsity=1), method=ff.FlowLimit(), axes={"m": [2, 3]}, trials=trials)

def measure(code):
    global asked
    exec("def call(small):\\n    " + code, globals())
    call(True)
    asked = 0
    Path("/proc/self/clear_refs").write_text("5")
    before = field("VmRSS")
    call(False)
    print(asked, field("VmHWM") - before, flush=True)

for line in sys.stdin:
    folder, code = eval(line)
    child = os.fork()
    if child == 0:
        path = Path(folder)
        measure(code)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print("failed", flush=True)
"""
"""A process that has imported everything, of which each call that it reads is a fork."""


@pytest.fixture(scope="module")
def measured():
    """``measured(code, folder)``: bytes that a call has asked for, and that it has taken."""
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def measure(code, folder):
            print((str(folder), code), file=process.stdin, flush=True)
            return tuple(map(int, process.stdout.readline().split()))

        yield measure
        process.stdin.close()


CALLS = {  # the small ones have what the others need compiled: layouts go by the width
    "flow_limit": "m = 9 if small else 1000; a = draw((m, 2 * m)); ff.flow_limit(a, a[:, 0], 1e-3, 3)",
    "flow_limit, many": """k = 9 if small else 10000
    a = draw((4, 400)); ff.flow_limit(a, draw((k, 4)), np.full((k, 400), 1e-3))""",
    "gradient_flow": """m = 9 if small else 1000
    a = draw((m, 2 * m)); ff.gradient_flow(a, a[:, 0], 1e-1, [1.0], max_steps=3)""",
    "gradient_flow, many": """k = 9 if small else 2000
    ff.gradient_flow(draw((4, 60)), draw((k, 4)), 1e-1, np.linspace(0, 1, 100))""",
    "train": "train(*((20, 9) if small else (20, 20000)), ff.GradientDescent(1e-6, 10))",
    "train, few large runs": "train(*((100, 2) if small else (400, 4)), ff.GradientDescent(1e-6, 3))",
    "train, recorded": """train(*((20, 9) if small else (20, 2000)), ff.GradientDescent(1e-6, 10),
          record=ff.Record(range(10), product=True))""",
    "train, flow": "train(*((3, 9) if small else (300, 8)), ff.GradientFlow(t_max=1e-9))",
    "train, many problems": """k, d = (3, 100) if small else (200, 200)
    ff.train([ff.MatrixEstimation(draw((d, d))) for _ in range(k)], ff.DeepLinear(1), ff.inits.Gaussian(0.1),
             ff.GradientDescent(1e-6, 2), runs=1, progress=False)""",
    "train, limits": """k, n = (3, 4) if small else (10000, 200)
    a = draw((3, n)); ff.train(ff.CompressedSensing(a, a[:, 0]), ff.DiagonalLinear(2), ff.inits.Gaussian(0.1),
             ff.FlowLimit(), runs=k, progress=False)""",
    "train, dual flow": """k, n = (3, 4) if small else (2000, 100)
    a = draw((3, n)); ff.train(ff.CompressedSensing(a, a[:, 0]), ff.DiagonalLinear(2), ff.inits.Gaussian(0.1),
             ff.GradientFlow(np.linspace(0, 1e-3, 40)), runs=k, progress=False)""",
    "measures": """k = 9 if small else 900; w, z = draw((k, 2 * k)), draw((k, 2 * k))
    ff.metrics.singular_values(w), ff.metrics.relative_error(w, z), ff.metrics.effective_alpha([w, z], 2)""",
    "basis_pursuit": "m = 9 if small else 120; a = draw((m, 40 * m)); ff.baselines.basis_pursuit(a, a[:, 0])",
    "least_norm": "m = 9 if small else 650; a = draw((m, 3 * m)); ff.baselines.least_norm(a, a[:, 0])",
    "best_rank": "m = 9 if small else 1000; ff.baselines.best_rank(draw((m, m)), 2)",
    "check": """m = 150 if small else 650
    a = draw((m, 2 * m)); ff.check(ff.CompressedSensing(a, a[:, 0]), ff.DiagonalLinear(3), ff.inits.Constant(0.1))""",
    "flow_distance": """ff.flow_distance(ff.MatrixEstimation(draw((60, 60))), ff.DeepLinear(2), ff.inits.Gaussian(0.1),
                     ff.GradientDescent(1e-6, 20), runs=2 if small else 100, steps=range(20))""",
    "normalized_limit": """m = 200 if small else 800
    a = abs(draw((m, 2 * m))); ff.normalized_limit(a, a[:, 0], 0.5)""",
    "mode_value": "k = 9 if small else 20000; ff.theory.mode_value(np.linspace(0, 1, k), 1.0, 1e-2, 3)",
    "study": "study(9 if small else 10**6).run(max_seconds=0.1, progress=False)",
    "study, limits": """n = 400 if small else 1100
    words = ff.ensembles.Sparse(n, sparsity=2), ff.DiagonalLinear(2), ff.inits.Constant(1e-2), ff.FlowLimit(max_steps=2)
    ff.Study(*words, axes={"m": [n // 2]}, trials=1).run(threads=1, progress=False)""",
    "study, descent": """n = 380 if small else 400
    ensemble = ff.ensembles.LowRank(n, rank=1, m=4 * n, observed="completion")
    ff.Study(ensemble, ff.DeepLinear(2), ff.inits.Identity(0.1), ff.GradientDescent(1e-9, 2),
             axes={"init.scale": [0.1]}, trials=1).run(threads=1, progress=False)""",
    "study, baseline": """n = 60 if small else 2000
    ff.Study(ff.ensembles.Sparse(n, sparsity=2), method=ff.baselines.LeastNorm(), axes={"m": [n // 2]},
             trials=1).run(threads=1, progress=False)""",
    "study, program": """n = 60 if small else 400
    ff.Study(ff.ensembles.Sparse(n, sparsity=2), method=ff.baselines.BasisPursuit(), axes={"m": [n // 2]},
             trials=1).run(threads=1, progress=False)""",
    "nuclear norm": """n = 20 if small else 200
    w = np.outer(draw(n), draw(n)); w[draw((n, n)) > 0] = np.nan
    ff.baselines.nuclear_norm_completion(w, max_steps=25)""",
    "open_study": """store = path / str(small)
    if small:
        for size in (10, 10**6):
            study(size).run(store=path / str(size == 10), max_seconds=0.1, progress=False)
    ff.open_study(store)""",
    "merge": """stores = [path / f"{small} {i}" for i in range(2)]
    if small:
        for size in (10, 10**6):
            for i in range(2):
                study(size).run(store=path / f"{size == 10} {i}", shard=(i, 2), max_seconds=0.1, progress=False)
    ff.merge(stores)""",
}


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of a process can be read on Linux alone"
)
@pytest.mark.parametrize("name", CALLS)
def test_calls_take_what_they_have_asked_for(name, measured, tmp_path):
    asked, taken = measured(CALLS[name], tmp_path)
    print(f"{name}: asked for {asked / 1e6:.0f} MB, took {taken / 1e6:.0f} MB")
    assert taken <= ROOM * asked + WHATEVER


LYING = {
    "CompressedSensing": """global a
    if small:
        a = draw((1000, 8704)); a.flags.writeable = False
    ff.train(ff.CompressedSensing(a, a[:, 0]), ff.DiagonalLinear(2), ff.inits.Constant(0.1),
             ff.GradientDescent(1e-9, 2), runs=1, threads=1, progress=False)""",
    "CompressedSensing, many runs": """global a
    if small:
        a = draw((1000, 8701)); a.flags.writeable = False
    ff.train(ff.CompressedSensing(a, a[:, 0]), ff.DiagonalLinear(2), ff.inits.Uniform(0.1),
             ff.GradientDescent(1e-9, 2), runs=9, threads=1, progress=False)""",
    "CompressedSensing, as many equations": """global a
    if small:
        a = draw((3000, 2900)); a.flags.writeable = False
    ff.train(ff.CompressedSensing(a, a[:, 0]), ff.DiagonalLinear(2), ff.inits.Uniform(0.1),
             ff.GradientDescent(1e-9, 2, tol=0.0), runs=9, threads=1, progress=False)""",
    "LinearRegression": """global a
    if small:
        a = draw((2900, 3000)); a.flags.writeable = False
    ff.train(ff.LinearRegression(a, a[:1], samples="columns"), ff.DeepLinear(1), ff.inits.Gaussian(0.1),
             ff.GradientDescent(1e-9, 2, tol=0.0), runs=1, threads=1, progress=False)""",
    "MatrixSensing": """global a
    if small:
        a = draw((34000, 16, 16)); a.flags.writeable = False
    ff.train(ff.MatrixSensing(a, a[:, 0, 0]), ff.DeepLinear(2), ff.inits.Gaussian(0.1),
             ff.GradientDescent(1e-9, 2, tol=0.0), runs=1, threads=1, progress=False)""",
}
"""Calls that read 70 MB of a user where they lie."""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of a process can be read on Linux alone"
)
@pytest.mark.parametrize("name", LYING)
def test_large_dense_data_are_read_where_they_lie(name, measured, tmp_path):
    _, taken = measured(LYING[name], tmp_path)
    print(f"{name}: took {taken / 1e6:.0f} MB beside its data")
    assert taken <= 0.3 * 70e6
