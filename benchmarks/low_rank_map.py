"""Maps of low-rank recovery: rank by measurements, for sensing and completion, by networks of depth 1 to 3.

    python -m benchmarks.low_rank_map --out low-rank-map.png

draws the rate at which gradient descent from a small start recovers a matrix, with the fitted curves, the 50% curve of
nuclear-norm minimisation on the same problems, and the statistical dimension of the nuclear norm, which speaks of
sensing and is there for completion to compare with. With ``--store FOLDER`` it may be stopped, and goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fastflow as ff
from fastflow.studies import pictures

OBSERVED = {"sensing": 1e-2, "completion": 1e-2}
"""What is observed, and the relative error of a success: descent ends long before it has the last digits."""


def studies(n: int, trials: int, max_steps: int, observed: str) -> tuple[ff.Study, ff.Study]:
    """Gradient descent at three depths, and nuclear-norm minimisation, on the same problems."""
    ensemble = ff.ensembles.LowRank(n=n, observed=observed)
    axes = {"m": [n * k for k in range(1, n + 1)], "rank": list(range(1, n // 2 + 2))}
    options = {"trials": trials, "success": ff.Success(below=OBSERVED[observed])}
    descent = ff.Study(
        ensemble,
        ff.DeepLinear(),
        ff.inits.Gaussian(1e-3),
        ff.GradientDescent(max_steps=max_steps, tol=1e-10),
        axes={"depth": [1, 2, 3], **axes},
        **options,
    )
    return descent, ff.Study(ensemble, method=ff.baselines.NuclearNorm(tol=1e-5), axes=axes, **options)


def main() -> None:
    """Run the studies, draw, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=10, help="rows and columns of the matrix")
    parser.add_argument("--trials", type=int, default=10, help="in each cell")
    parser.add_argument("--max-steps", type=int, default=20_000, help="of gradient descent")
    parser.add_argument("--out", type=Path, default=Path("low-rank-map.png"), help="sensing and completion are added")
    parser.add_argument("--store", type=Path, help="folder that keeps what is done")
    options = parser.parse_args()
    for observed in OBSERVED:
        results = []
        pair = studies(options.n, options.trials, options.max_steps, observed)
        for name, study in zip(("descent", "nuclear"), pair, strict=True):
            store = None if options.store is None else options.store / f"{observed}-{name}.zarr"
            results.append(study.run(store=store))
            print(results[-1].summary())
        descent, nuclear = results
        beside = {"nuclear norm": nuclear}
        figure = pictures.rate_map(descent, program="nuclear", parameters={"n": options.n}, beside=beside)
        out = options.out.with_name(f"{options.out.stem}-{observed}{options.out.suffix}")
        figure.savefig(out, dpi=150)
        base = nuclear.boundary(along="m", resamples=0).value
        found = descent.boundary(along="m", resamples=0).value
        print(f"\n{observed}: measurements at the 50% crossing, rank 1, 2, ...: {out}")
        print(f"{'nuclear norm':14}" + "".join(f"{value:8.1f}" for value in base))
        for depth, values in zip(descent.axes["depth"], found, strict=True):
            print(f"{f'depth {depth}':14}" + "".join(f"{value:8.1f}" for value in values))
        expected = ff.theory.nuclear_statistical_dimension(nuclear.axes["rank"], (options.n, options.n))
        print(f"{'theory':14}" + "".join(f"{value:8.1f}" for value in expected) + "\n")


if __name__ == "__main__":
    main()
