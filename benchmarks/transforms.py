"""Phase diagrams of partial Fourier and cosine measurements by the limit of the flow, without a matrix: n = 4096.

    python -m benchmarks.transforms --out transforms.png

draws (m, s) maps of the rate at which the limit from alpha = 1e-4 recovers a sparse vector of n = 4096 entries, and
prints trials a second and the peak of memory. A Fourier measurement is two real ones. With ``--store FOLDER`` it may be
stopped, and goes on.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

import fastflow as ff
from fastflow.studies import pictures


def main() -> None:
    """Run both studies, draw, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=4096)
    parser.add_argument("--cells", type=int, default=8, help="along each axis")
    parser.add_argument("--trials", type=int, default=5, help="in each cell")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--store", type=Path, help="folder that keeps what is done")
    options = parser.parse_args()
    shares = (np.arange(options.cells) + 1) / (options.cells + 1)
    for kind, most in (("fourier", options.n // 2), ("cosine", options.n)):
        axes = {
            "sparsity": np.unique((shares * options.n / 4).astype(int)).tolist(),
            "m": np.unique((shares * most).astype(int)).tolist(),
        }
        study = ff.Study(
            ff.ensembles.Sparse(n=options.n, matrix=kind),
            ff.DiagonalLinear(),
            ff.inits.Constant(1e-4, of="factor"),
            ff.FlowLimit(),
            axes=axes,
            trials=options.trials,
        )
        store = None if options.store is None else options.store / f"{kind}.zarr"
        begun, cpu = time.perf_counter(), time.process_time()
        result = study.run(store=store, threads=options.threads)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
        count = options.trials * len(axes["sparsity"]) * len(axes["m"])
        print(result.summary())
        print(f"{kind}: {count / wall:.2f} trials a second, {count / cpu:.2f} a second of CPU")
        if options.out is not None:
            out = options.out.with_stem(f"{options.out.stem}-{kind}")
            pictures.rate_map(result).savefig(out, dpi=110)
    print(f"peak of memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
