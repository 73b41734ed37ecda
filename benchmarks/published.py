"""Published studies, each in some lines, and what their theorems say of the results.

    python -m benchmarks.published sharpness --out sharpness.png

draws one of `STUDIES` at about the size of the paper; ``tests/test_published.py`` asks smaller ones for the laws.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import fastflow as ff
from fastflow.studies.ends import Trial


def flattest(trial: Trial) -> float:
    """A lower bound of the sharpness of every minimum of a network of one output.

    ``L a ||w||^(2 - 2/L)`` with ``a = ||X^T w||^2 / ||w||^2``, w the least-squares solution (Marion, Chizat 2024,
    for ``1/2 ||r||^2``): the gradients of the output by the L factors have norms whose product is at least
    ``||w||^(L - 1)``.
    """
    factors, problem = trial.factors, trial.problem
    assert factors is not None
    assert isinstance(problem, ff.LinearRegression)
    w, depth = problem.least_squares().ravel(), len(factors)
    size = np.linalg.norm(w)
    return float(depth * np.sum((w @ problem.inputs) ** 2) / size**2 * size ** (2 - 2 / depth))


def sharpness_by_step(
    n: int = 100, m: int = 40, trials: int = 20, steps: int = 13, alpha: float = 0.1
) -> ff.StudyResult:
    """Final sharpness and l1 norm against the step, over the critical one of the flow (Fojtik et al. 2025)."""
    words = ff.ensembles.Sparse(n, m, 5), ff.DiagonalLinear(2), ff.inits.Constant(alpha)
    asked = {"outcomes": ["sharpness", "l1_norm"], "trials": trials}
    flow = ff.Study(*words, ff.FlowLimit(), axes={"m": [m]}, **asked).run(progress=False)
    critical = 2 / np.median(flow["sharpness"])
    axes = {"step": (critical * np.geomspace(0.25, 4, steps)).tolist()}
    return ff.Study(*words, ff.GradientDescent(max_steps=200_000), axes=axes, **asked).run(progress=False)


def excess_l1(n: int = 1000, m: int = 100, trials: int = 20, alphas: int = 9) -> ff.StudyResult:
    """The l1 norm of the limit by the starts of u and v, beside the least one (Azulay et al. 2021)."""
    scales = np.geomspace(1e-4, 1, alphas).tolist()
    methods = {"limit": ff.FlowLimit(), "least": ff.baselines.BasisPursuit()}
    words = ff.ensembles.Sparse(n, m, max(1, m // 20)), ff.DiagonalLinear(2), ff.inits.Constant(negative=1e-3)
    axes = {"init.scale": scales, "init.negative": scales, "method": methods}
    return ff.Study(*words, axes=axes, trials=trials, outcomes=["l1_norm"]).run(progress=False)


def divergence(n: int = 5, samples: int = 50, depth: int = 10, trials: int = 50, steps: int = 13) -> ff.StudyResult:
    """Whether descent diverges, by step and scale of the start (Marion, Chizat 2024: deep networks of one output)."""
    axes = {"step": np.geomspace(1e-5, 1e-1, steps).tolist(), "init.scale": [0.2, 0.4, 0.6]}
    return ff.Study(
        ff.ensembles.Regression(n, samples=samples, noise=0.1),
        ff.DeepLinear(depth),
        ff.inits.Gaussian(of="factor"),
        ff.GradientDescent(max_steps=20_000),
        axes=axes,
        trials=trials,
        outcomes={"sharpness": "sharpness", "flattest": flattest},
    ).run(progress=False)


def rank_reached(
    n: int = 10, samples: int = 40, trials: int = 1000, most: int = 5, method: ff.methods.Method | None = None
) -> ff.StudyResult:
    """The rank that flows of autoencoders come to, over starts and widths of the bottleneck (Bah et al. 2019)."""
    networks = {f"bottleneck {r}": ff.DeepLinear(widths=(n, r, n)) for r in range(1, most + 1)}
    return ff.Study(
        ff.ensembles.Autoencoder(n, samples, rank=n),
        init=ff.inits.Gaussian(0.1),
        method=ff.GradientFlow() if method is None else method,
        axes={"network": networks},
        trials=trials,
        problem="shared",
        outcomes=["numerical_rank", "limit_distance"],
    ).run(progress=False)


def held_out_loss_by_step(n: int = 100, m: int = 40, trials: int = 20, steps: int = 9) -> ff.StudyResult:
    """The test loss of descent and of its stochastic kin against the step (Even et al. 2023)."""
    methods = {"GD": ff.GradientDescent(max_steps=200_000), "SGD": ff.StochasticGradientDescent(max_steps=200_000)}
    return ff.Study(
        ff.ensembles.Sparse(n, m, 5, test=1000),
        ff.DiagonalLinear(2),
        ff.inits.Constant(0.1),
        axes={"method.step": np.geomspace(0.01, 0.5, steps).tolist(), "method": methods},
        trials=trials,
        outcomes=["test_loss", "gain"],
    ).run(progress=False)


def _divergence_picture(result: ff.StudyResult) -> Figure:
    return result.with_success(ff.Success("loss", below=1e300)).plot("slices", along="step")


STUDIES: dict[str, tuple[Callable[[], ff.StudyResult], Callable[[ff.StudyResult], Figure]]] = {
    "sharpness": (sharpness_by_step, lambda result: result.plot("sharpness")),
    "l1": (sharpness_by_step, lambda result: result.plot("l1_norm")),
    "excess": (excess_l1, lambda result: result[{"method": "limit"}].plot("l1_norm")),
    "divergence": (divergence, _divergence_picture),
    "rank": (rank_reached, lambda result: result.plot("numerical_rank")),
    "test-loss": (held_out_loss_by_step, lambda result: result.plot("test_loss", along="method.step")),
}


def main() -> None:
    """Run one of the studies, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--out", type=Path, default=Path("published.png"))
    options = parser.parse_args()
    run, draw = STUDIES[options.study]
    result = run()
    print(result.summary())
    draw(result).savefig(options.out, dpi=150)


if __name__ == "__main__":
    main()
