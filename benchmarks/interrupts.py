"""Seconds from Ctrl-C to the prompt, for every public call that may take long, at three sizes.

Each call runs in a process of its own that is sent SIGINT while it works; what counts is the time until its
`KeyboardInterrupt` has been raised. The figure is the longest of the moments tried.

    python benchmarks/interrupts.py                 # all calls, about twenty minutes
    python benchmarks/interrupts.py train study     # those whose names have one of these words in them
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

MOMENTS = (0.3, 1.0, 2.5)
"""Seconds after which Ctrl-C comes."""


class Call(NamedTuple):
    """A call, as text with a size ``n`` in it, at three sizes."""

    sizes: tuple[int, int, int]
    code: str


MATRIX = "a, x = rng.standard_normal((n // 2, n)), np.where(np.arange(n) < n // 20, 1.0, 0.0); y = a @ x"
TARGET = "w = rng.standard_normal((n, n))"
TRAIN = "ff.train(ff.MatrixEstimation(w), ff.DeepLinear(3), ff.inits.Gaussian(0.1), {}, runs=8, progress=False)"
STUDY = "ff.Study(ff.ensembles.Sparse(n, sparsity=n // 20), method={}, axes={{'m': [n // 2]}}, trials=10**6)"

CALLS = {
    "train, gradient descent": Call(
        (100, 300, 1000), f"{TARGET}; " + TRAIN.format("ff.GradientDescent(1e-6, max_steps=10**9, tol=0)")
    ),
    "train, gradient flow": Call((30, 100, 300), f"{TARGET}; " + TRAIN.format("ff.GradientFlow(t_max=1e9, tol=0)")),
    "train, product flow": Call(
        (10, 30, 60),
        f"{TARGET}; ff.train(ff.MatrixEstimation(w), ff.DeepLinear(3), ff.inits.Balanced(0.1), "
        "ff.ProductFlow(), runs=10**5, progress=False)",
    ),
    "flow_limit": Call((300, 1000, 3000), f"{MATRIX}; repeat(lambda: ff.flow_limit(a, y, 1e-6, 3))"),
    "flow_limit with care": Call(
        (100, 300, 1000), f"{MATRIX}; a = np.sign(a); y = a @ x; repeat(lambda: ff.flow_limit(a, y, 1e-6, 3))"
    ),
    "gradient_flow": Call(
        (100, 300, 1000), f"{MATRIX}; repeat(lambda: ff.gradient_flow(a, y, 1e-6, [1.0, np.inf], 3))"
    ),
    "basis_pursuit": Call((200, 800, 2000), f"{MATRIX}; repeat(lambda: ff.baselines.basis_pursuit(a, y))"),
    "lasso_path": Call((200, 800, 2000), f"{MATRIX}; repeat(lambda: ff.baselines.lasso_path(a, y))"),
    "nonnegative_least_squares": Call(
        (200, 800, 3000), f"{MATRIX}; repeat(lambda: ff.baselines.nonnegative_least_squares(a, y))"
    ),
    "least_norm": Call((200, 1000, 3000), f"{MATRIX}; repeat(lambda: ff.baselines.least_norm(a, y))"),
    "nuclear_norm_completion": Call(
        (50, 200, 800),
        f"{TARGET}; w[rng.random((n, n)) < 0.5] = np.nan; "
        "repeat(lambda: ff.baselines.nuclear_norm_completion(w, max_steps=100))",
    ),
    "study of limits": Call((100, 1000, 6000), STUDY.format("ff.FlowLimit()") + ".run(progress=False)"),
    "study of basis pursuit": Call(
        (100, 400, 1000), STUDY.format("ff.baselines.BasisPursuit()") + ".run(progress=False)"
    ),
    "study of gradient descent": Call(
        (100, 300, 1000),
        STUDY.format("ff.GradientDescent(max_steps=10**9, tol=0, gradient_tol=0)") + ".run(progress=False)",
    ),
}

SCRIPT = """
import signal
import warnings
import numpy as np
import fastflow as ff

signal.signal(signal.SIGINT, signal.default_int_handler)  # which background jobs of a shell ignore
warnings.simplefilter("ignore")
rng, n = np.random.default_rng(0), {n}

def repeat(call):
    while True:
        call()

{warm}
print("begun", flush=True)
try:
    {code}
except KeyboardInterrupt:
    print("stopped", flush=True)
else:
    print("ended", flush=True)
"""

COLD = "compiling a study"
"""The row of a study in a process without compiled kernels."""


def seconds_to_stop(code: str, n: int, moment: float, *, cold: bool = False) -> float | None:
    """Seconds from Ctrl-C at a moment until the call has stopped; None if it had ended before."""
    lines = SCRIPT.format(n=n, code=code, warm="" if cold else "ff.warmup(ff.MatrixEstimation(np.eye(3)))")
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryDirectory() as empty,
        subprocess.Popen(
            [sys.executable, "-c", lines],
            stdout=pipe,
            stderr=pipe,
            text=True,
            env={**os.environ, "NUMBA_CACHE_DIR": empty} if cold else None,
        ) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moment)
        sent = time.perf_counter()
        process.send_signal(signal.SIGINT)
        said = process.stdout.readline().strip()
        seconds = time.perf_counter() - sent
        process.kill()
    return seconds if said == "stopped" else None


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of names of calls; default all")
    parser.add_argument("--sizes", type=int, default=3, help="how many of the sizes, from the smallest on")
    chosen = parser.parse_args()
    print("| call | sizes | seconds to the prompt |\n|---|---|---|")
    for name, call in {**CALLS, COLD: CALLS["study of gradient descent"]}.items():
        if chosen.words and not any(word in name for word in chosen.words):
            continue
        worst = []
        for n in call.sizes[: chosen.sizes]:
            taken = [seconds_to_stop(call.code, n, moment, cold=name == COLD) for moment in MOMENTS]
            known = [seconds for seconds in taken if seconds is not None]
            worst.append(f"{max(known):.2f}" if known else "ended")
        print(f"| {name} | {', '.join(map(str, call.sizes[: chosen.sizes]))} | {', '.join(worst)} |", flush=True)


if __name__ == "__main__":
    main()
