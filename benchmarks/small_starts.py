"""How the limit of the gradient flow comes to basis pursuit as its start becomes small: maps of the rate of recovery.

    python -m benchmarks.small_starts --out small-starts.png

draws (m, s) maps of the flow limit at three sizes of the start and depths 2 and 3, with the 50% curve of basis pursuit
on the same problems in each, and prints by how many measurements each lies above it. With ``--store FOLDER`` it may be
stopped, and goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import fastflow as ff
from fastflow.studies import pictures

N = 100
AXES = {"sparsity": list(range(2, 51, 2)), "m": list(range(4, N + 1, 4))}
SCALES = [1e-2, 1e-4, 1e-8]
DEPTHS = [2, 3]


def main() -> None:
    """Run both studies, draw, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=20, help="in each cell")
    parser.add_argument("--out", type=Path, default=Path("small-starts.png"))
    parser.add_argument("--store", type=Path, help="folder that keeps what is done")
    options = parser.parse_args()
    flow = ff.Study(
        ff.ensembles.Sparse(n=N),
        ff.DiagonalLinear(),
        ff.inits.Constant(),
        ff.FlowLimit(),
        axes={"depth": DEPTHS, "scale": SCALES, **AXES},
        trials=options.trials,
    )
    pursuit = ff.Study(ff.ensembles.Sparse(n=N), method=ff.baselines.BasisPursuit(), axes=AXES, trials=options.trials)
    results = []
    for name, study in (("flow", flow), ("pursuit", pursuit)):
        store = None if options.store is None else options.store / f"{name}.zarr"
        results.append(study.run(store=store))
        print(results[-1].summary())
    limits, reference = results
    figure = pictures.rate_map(limits, program="l1", parameters={"n": N}, beside={"basis pursuit": reference})
    figure.savefig(options.out, dpi=110)
    print(f"\nmeasurements at the 50% crossing beyond those of basis pursuit, in the mean over s: {options.out}")
    base = reference.boundary(along="m", resamples=0).value
    found = limits.boundary(along="m", resamples=0).value
    for i, depth in enumerate(DEPTHS):
        for j, scale in enumerate(SCALES):
            gap = found[i, j] - base
            gap = gap[np.isfinite(gap)]
            print(f"depth {depth}, alpha {scale:g}: {gap.mean():5.1f}, at most {gap.max():5.1f} ({gap.size} slices)")


if __name__ == "__main__":
    main()
