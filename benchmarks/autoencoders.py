"""Where the flow of linear autoencoders ends: d = 8, 24 samples, 1000 starts of each kind, two layers and three.

MATH.md's theorems: for two layers almost every start reaches the global minimum, half the sum of the discarded
eigenvalues, at the projector on the leading eigenvectors; for three layers almost every start reaches the
minimum over some rank k <= 3. Run it: ``python -m benchmarks.autoencoders``.
"""

from __future__ import annotations

import sys

import numpy as np

import fastflow as ff
from benchmarks.report import Table

WIDTHS = ((8, 3, 8), (8, 3, 5, 8))
INITS = (ff.inits.Balanced(0.3), ff.inits.Gaussian(0.3), ff.inits.Gaussian(0.01))
CLOSE = 1e-8


def ends(runs: int, threads: int | None = None) -> Table:
    """How many starts end at the minimum over each rank, value and minimiser to `CLOSE`, and elsewhere."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((8, 24)) * np.linspace(1, 2, 8)[:, None] / 4
    problem = ff.LinearRegression.autoencoder(inputs, samples="columns")
    values, vectors = np.linalg.eigh(inputs @ inputs.T)
    header = ["widths", "init", "rank 3", "2", "1", "0", "elsewhere", "largest defect of the value", "seconds"]
    table = Table(f"Where {runs} autoencoders end", header)
    for widths in WIDTHS:
        for init in INITS:
            made = ff.train(
                problem, ff.DeepLinear(widths=widths), init, ff.GradientFlow(rtol=1e-4), runs=runs, threads=threads
            )
            counts, left, worst = [], np.ones(runs, bool), 0.0
            for rank in (3, 2, 1, 0):
                keep = vectors[:, 8 - rank :]
                value = values[: 8 - rank].sum() / 2
                distance = np.abs(made.solution - keep @ keep.T).max(axis=(1, 2))
                there = left & (np.abs(made.loss - value) < CLOSE) & (distance < CLOSE)
                worst = max([worst, *np.abs(made.loss[there] - value)])
                counts.append(str(int(there.sum())))
                left &= ~there
            row = [str(widths), repr(init), *counts, str(int(left.sum())), f"{worst:.1e}", f"{made.seconds:.1f}"]
            table.rows.append(row)
            print(row, {ff.Status(s).name: int((made.status == s).sum()) for s in set(made.status)}, flush=True)
    return table


if __name__ == "__main__":
    print(ends(int(sys.argv[1]) if len(sys.argv) > 1 else 1000).markdown())
