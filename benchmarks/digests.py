"""Digests of results, to see that a change of the code's structure changes no bit: ``python -m benchmarks.digests``.

Bits are promised on one machine and build, so digests are compared, not kept: print them before a change and after it.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

import fastflow as ff

RNG = np.random.default_rng(0)
TARGET = np.diag([3.0, 1.0, 0.5, 0.0, 0.0])
RECTANGLE = RNG.standard_normal((4, 6))
LOW_RANK = RNG.standard_normal((8, 2)) @ RNG.standard_normal((2, 8))
OBSERVED = np.where(RNG.random((8, 8)) < 0.6, LOW_RANK, np.nan)
OPERATORS = RNG.standard_normal((40, 8, 8))
INPUTS = RNG.standard_normal((5, 30))
A = RNG.standard_normal((12, 30)) / np.sqrt(12)
SPARSE = np.where(np.arange(30) < 3, 1.0 + np.arange(30), 0.0)
TALL = RNG.standard_normal((30, 10))
EVERYTHING = {
    "product": True,
    "factors": True,
    "numerical_rank": True,
    "determinant_sign": True,
    "sharpness": True,
    "limit_distance": True,
}


def problems() -> dict[str, ff.MatrixEstimation]:
    """The problems of the settings, by name."""
    return {
        "estimation": ff.MatrixEstimation(TARGET, truth=TARGET),
        "rectangle": ff.MatrixEstimation(RECTANGLE),
        "completion": ff.MatrixCompletion.from_dense(OBSERVED, truth=LOW_RANK),
        "sensing": ff.MatrixSensing(OPERATORS, np.einsum("mij,ij->m", OPERATORS, LOW_RANK), truth=LOW_RANK),
        "gram": ff.LinearRegression(INPUTS, RECTANGLE[:, :5] @ INPUTS, normalization="mean", samples="columns"),
        "samples": ff.LinearRegression(INPUTS[:, :2], INPUTS[:3, :2], samples="columns"),
        "autoencoder": ff.LinearRegression.autoencoder(INPUTS, samples="columns"),
        "compressed": ff.CompressedSensing(A, A @ SPARSE, truth=SPARSE),
        "tall": ff.CompressedSensing(TALL, TALL @ np.abs(SPARSE[:10]), truth=np.abs(SPARSE[:10])),
    }


def settings() -> Iterator[tuple[str, Callable[[], ff.Runs]]]:
    """The names of settings, and what runs each."""
    given = problems()
    descent, record = ff.GradientDescent(max_steps=3000), ff.Record(20, **EVERYTHING)
    flow = ff.GradientFlow([0.5, 2.0, 8.0], t_max=10)
    matrices = [name for name, problem in given.items() if problem.unknown == "W"]
    vectors = [name for name, problem in given.items() if problem.unknown == "x"]
    unknown_limit = ("completion", "sensing", "samples")
    for dtype in ("float64", "float32"):
        for name in matrices:
            for depth in (1, 2, 3, 5):
                kept = ff.Record(20, product=True, factors=True) if name in unknown_limit or depth == 5 else record
                yield (
                    f"descent {name} {depth} {dtype}",
                    lambda n=name, d=depth, k=kept, t=dtype: ff.train(
                        given[n], ff.DeepLinear(d), ff.inits.Gaussian(0.1), descent, 19, record=k, dtype=t
                    ),
                )
        for name in vectors:
            for network in (
                ff.DiagonalLinear(1),
                ff.DiagonalLinear(2),
                ff.DiagonalLinear(3, signed=False),
                ff.DiagonalLinear(3, identical=False),
                ff.DiagonalLinear(2, identical=False),
            ):
                plain = ff.Record(20, product=True, factors=True, sharpness=True)
                yield (
                    f"descent {name} {network} {dtype}",
                    lambda n=name, w=network, k=plain, t=dtype: ff.train(
                        given[n], w, ff.inits.Gaussian(0.1), descent, 19, record=k, dtype=t
                    ),
                )
    steps = {
        "safe": "safe",
        "decreasing": ff.Decreasing("0.5 edge", 0.6),
        "edge": "0.3 edge",
        "given": np.full(50, 0.01),
    }
    for name in ("estimation", "gram", "completion"):
        for words, step in steps.items():
            if name != "completion" or words != "safe":
                yield (
                    f"descent {name} step {words}",
                    lambda n=name, s=step: ff.train(
                        given[n], ff.DeepLinear(2), ff.inits.Orthogonal(0.5), ff.GradientDescent(s, 50), 9
                    ),
                )
    yield (
        "list of estimation",
        lambda: ff.train(
            [ff.MatrixEstimation(c * TARGET, truth=TARGET) for c in (1, 2, 3)],
            ff.DeepLinear(widths=(5, 7, 6, 5)),
            ff.inits.Uniform(0.1),
            descent,
            5,
            seed=7,
            record=record,
        ),
    )
    yield (
        "list of compressed",
        lambda: ff.train(
            [ff.CompressedSensing(c * A, A @ SPARSE, truth=SPARSE) for c in (1, 2, 3)],
            ff.DiagonalLinear(2),
            ff.inits.Constant(0.01),
            descent,
        ),
    )
    for name in matrices:
        if name in unknown_limit:
            kept = ff.Record(product=True, factors=True)
        else:
            kept = ff.Record(**EVERYTHING)
        for depth in (2, 3, 4):
            yield (
                f"flow {name} {depth}",
                lambda n=name, d=depth, k=kept: ff.train(
                    given[n], ff.DeepLinear(d), ff.inits.Gaussian(0.3), flow, 5, record=k
                ),
            )
        yield (
            f"product flow {name}",
            lambda n=name, k=kept: ff.train(
                given[n],
                ff.DeepLinear(2),
                ff.inits.Balanced(0.3),
                ff.ProductFlow([0.5, 2.0], t_max=3, rtol=1e-5),
                3,
                record=k,
            ),
        )
    for name in vectors:
        for network in (
            ff.DiagonalLinear(1),
            ff.DiagonalLinear(2),
            ff.DiagonalLinear(4),
            ff.DiagonalLinear(2, signed=False),
            ff.DiagonalLinear(2, identical=False),
            ff.DiagonalLinear(3, identical=False),
        ):
            dual = network.identical or network.depth < 3
            kept = ff.Record(product=True, factors=True, sharpness=True, limit_distance=dual)
            yield (
                f"flow {name} {network}",
                lambda n=name, w=network, k=kept: ff.train(given[n], w, ff.inits.Gaussian(0.1), flow, 5, record=k),
            )
            if dual:
                yield (
                    f"limit {name} {network}",
                    lambda n=name, w=network: ff.train(given[n], w, ff.inits.Gaussian(0.1), ff.FlowLimit(), 5),
                )
    yield (
        "flow of a list",
        lambda: ff.train(
            [ff.CompressedSensing(c * A, A @ SPARSE, truth=SPARSE, normalization="mean") for c in (1, 2)],
            ff.DiagonalLinear(3),
            ff.inits.Constant(0.1),
            flow,
        ),
    )


def studies() -> Iterator[tuple[str, ff.Study]]:
    """The names of studies, and each of them."""
    sparse = ff.ensembles.Sparse(n=24)
    axes = {"m": [6, 12, 18], "sparsity": [2, 5]}
    yield (
        "study of limits",
        ff.Study(
            sparse,
            ff.DiagonalLinear(2),
            ff.inits.Constant(1e-4),
            axes={"method": {"limit": ff.FlowLimit(), "l1": ff.baselines.BasisPursuit()}, **axes},
            trials=5,
        ),
    )
    yield (
        "study of random limits",
        ff.Study(sparse, ff.DiagonalLinear(3), ff.inits.Gaussian(1e-2), ff.FlowLimit(), axes=axes, trials=5),
    )
    yield (
        "study of descent",
        ff.Study(
            ff.ensembles.LowRank(n=6, rank=1),
            ff.DeepLinear(),
            ff.inits.Gaussian(1e-2),
            ff.GradientDescent(max_steps=2000),
            axes={"m": [12, 24], "depth": [2, 3]},
            trials=4,
            starts=2,
        ),
    )
    yield (
        "study of one problem",
        ff.Study(
            ff.ensembles.LowRank(n=6, m=24, rank=1),
            init=ff.inits.Gaussian(1e-2),
            method=ff.GradientFlow(t_max=20),
            axes={"depth": [2, 3]},
            trials=6,
            problem="per cell",
        ),
    )


def digest(*arrays: ArrayLike) -> str:
    """A short digest of the bits of arrays."""
    whole = hashlib.blake2b(digest_size=8)
    for array in map(np.asarray, arrays):
        whole.update(f"{array.dtype.str}{array.shape}".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


def labels(status: ArrayLike) -> np.ndarray:
    """Statuses by their names, whose numbers may change."""
    names = [ff.Status(value).name for value in np.ravel(status)]
    return np.array(names, "S16")


def of_runs(runs: ff.Runs) -> dict[str, str]:
    """The digests of what `train` gives."""
    error = np.zeros(0) if runs.error is None else runs.error
    found = {
        "solution": digest(runs.solution, runs.flat_factors),
        "ends": digest(runs.loss, labels(runs.status), runs.steps, error, runs.step),
    }
    if runs.history is not None:
        for name in sorted(runs.history.recorded):
            values = getattr(runs.history, name)
            found[name] = digest(*values) if isinstance(values, list) else digest(values)
    return found


def of_study(study: ff.Study) -> dict[str, str]:
    """The digests of a study's store."""
    import zarr

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.zarr"
        study.run(store=path, progress=False)
        group = zarr.open_group(path, mode="r")
        return {name: digest(group[name][...]) for name in sorted(group.array_keys()) if name != "seconds"}


def of_functions() -> dict[str, str]:
    """The digests of functions of stacks of arrays."""
    stack = np.stack([A, 2 * A])
    values = np.stack([A @ SPARSE, A @ SPARSE])
    flow = ff.gradient_flow(stack, values, 0.1, [0.0, 1.0, 10.0, np.inf], 3)
    found = {"gradient_flow": digest(flow.x, flow.loss, labels(flow.status), flow.steps)}
    for depth in (1, 2, 5):
        limit = ff.flow_limit(stack, values, 1e-3, depth)
        found[f"flow_limit {depth}"] = digest(limit.x, limit.dual, limit.steps, limit.residual)
    limit = ff.flow_limit(TALL, TALL @ SPARSE[:10] - 1, 1e-2, 2, signed=False)
    found["flow_limit of a face"] = digest(limit.x, limit.dual, limit.steps, limit.residual)
    distance = ff.flow_distance(ff.MatrixEstimation(TARGET), ff.DeepLinear(2), ff.inits.Balanced(0.1), None, 3, steps=9)
    return found | {"flow_distance": digest(*distance)}


def main() -> None:
    """Print a line for each setting that the arguments are part of; with none for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", help="only settings with one of these words in their names")
    wanted = parser.parse_args().words

    def show(name: str, make: Callable[[], dict[str, str]]) -> None:
        if not wanted or any(word in name for word in wanted):
            for what, value in make().items():
                print(f"{name}: {what} {value}", flush=True)

    warnings.simplefilter("ignore")
    for name, run in settings():
        show(name, lambda run=run: of_runs(run()))
    for name, study in studies():
        show(name, lambda study=study: of_study(study))
    show("functions", of_functions)


if __name__ == "__main__":
    main()
