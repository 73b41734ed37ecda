"""What this machine can do, and what fastflow does with it."""

from __future__ import annotations

import numpy as np

from fastflow._train import train
from fastflow.kernels.vectors.peak import measured_peak
from fastflow.methods import GradientDescent
from fastflow.networks import DeepLinear
from fastflow.problems import MatrixEstimation
from fastflow.threads import thread_count

WIDTHS = (4, 10, 20, 50, 100)
RUNS = 64
SECONDS = 0.2


def speed_table(threads: int | None = None) -> str:
    """The measured FMA peak, and gradient descent on ``1/2 ||W_3 W_2 W_1 - Y||^2`` as a fraction of it, by width.

    Takes about ten seconds, more where kernels are compiled first.

    Parameters
    ----------
    threads : int, default the CPUs that this process may use
    """
    threads = thread_count(threads)
    lines = []
    for dtype in ("float64", "float32"):
        peak = measured_peak(dtype, threads)
        lines.append(f"{dtype}: FMA peak of {threads} thread(s) {peak / 1e9:.1f} GFLOP/s")
        for width in WIDTHS:
            problem = MatrixEstimation(np.eye(width))
            steps = 10
            while True:
                method = GradientDescent(step=0.01, max_steps=steps, tol=0)
                runs = train(problem, DeepLinear(3), None, method, RUNS, threads=threads, dtype=dtype, progress=False)
                if runs.seconds > SECONDS:
                    break
                steps = int(steps * min(10.0, 1.5 * SECONDS / max(runs.seconds, 1e-3)) + 1)
            rate = runs.flops / runs.seconds
            lines.append(f"  d = {width:4d}: {rate / 1e9:6.1f} GFLOP/s, {rate / peak:4.0%} of the peak")
    return "\n".join(lines)
