"""Whether descent on a deep network of one output diverges, by its step and the scale of its start."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCALES, N, SAMPLES = (0.25, 0.4, 0.55), 5, 50
"""Standard deviations of the entries of the factors, and the sizes of the problem."""

START = ff.inits.Gaussian(of="factor")

METHOD = ff.GradientDescent(max_steps=50_000, tol=0)
"""With a tolerance runs would end where they only pass by a minimum."""


def flattest(problem: object, depth: int) -> float:
    """A lower bound of the sharpness of every minimum: ``2 L a ||w||^{2 - 2/L}`` for the mean of the squared residuals.

    With ``a = ||X^T w||^2 / (samples ||w||^2)`` and w the least-squares solution: the gradients of the output by the L
    factors have norms whose product is at least ``||w||^{L - 1}``.
    """
    assert isinstance(problem, ff.LinearRegression)
    w = problem.least_squares().ravel()
    return float(2 * depth * np.mean((w @ problem.inputs) ** 2) * np.linalg.norm(w) ** (-2 / depth))


def compute(depth: int, steps: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """How trials end by step and scale, and how sharp the minima are, in units of the mean of the squared residuals."""
    step = np.geomspace(0.01, 1, steps)  # of the mean; fastflow's loss is half the sum
    words = ff.ensembles.Regression(N, SAMPLES, noise=0.1), ff.DeepLinear(depth, width=N), START
    options = {"trials": trials, "seed": seed, "problem": "shared", "outcomes": ["sharpness", "period"]}
    axes = {"step": (step * 2 / SAMPLES).tolist(), "init.scale": list(SCALES)}
    study = ff.Study(*words, METHOD, axes=axes, **options)
    with warnings.catch_warnings(action="ignore"):  # of steps beyond the edge, which is what is asked about
        result = study.run(threads=threads)
    problem = study.setup(0).problem(0)
    least = ff.theory.global_minimum(problem).value
    sharp = np.where(result["loss"] <= least * (1 + 1e-6), result["sharpness"] * 2 / SAMPLES, np.nan)
    diverged = (result.outcomes["status"] == ff.Status.DIVERGED).astype(float)
    found = {"sharpness": sharp, "diverged": diverged, "period": result["period"]}
    return {"step": step, "bound": np.array(flattest(problem, depth)), **found}


def draw(data: Data) -> Figure:
    """Draw the probability of divergence, what is undecided, and the sharpness of the minima beside both bounds."""
    from fastflow.gallery.style import SERIES, THEORY, panels, rates

    trials = data["sharpness"].shape[-1]
    x = "step (of the mean squared residual)"
    figure, (lost, sharp) = panels(
        (f"{trials} starts each, 95% intervals", x, "probability of divergence"),
        ("minima that were found", x, "sharpness"),
    )
    edge = 2 / float(data["bound"])
    for i, (scale, series) in enumerate(zip(SCALES, SERIES, strict=False)):
        gone, found = data["diverged"][:, i].sum(axis=-1), np.isfinite(data["sharpness"][:, i]).sum(axis=-1)
        lost.fill_between(data["step"], gone / trials, 1 - found / trials, color=series.color, alpha=0.15, linewidth=0)
        rates(lost, data["step"] * 1.02 ** (i - 1), gone, trials, series, "")
        place, found = np.repeat(data["step"] * 1.02 ** (i - 1), trials), data["sharpness"][:, i].ravel()
        sharp.plot(place, found, series.marker, color=series.color, markersize=2.5, label=f"entries of size {scale:g}")
    for axes in (lost, sharp):
        axes.axvline(edge, color=THEORY, linestyle="--", linewidth=1, label="1/(L a)")
        axes.set(xscale="log")
    lost.fill_between([], [], [], color="0.6", alpha=0.3, label="oscillates")
    lost.set(ylim=(-0.03, 1.03))
    lost.legend(loc="lower right")
    sharp.plot(data["step"], 2 / data["step"], color=THEORY, label="2/step")
    sharp.axhline(float(data["bound"]), color=THEORY, linestyle=":", label="2 L a, least of any")
    sharp.set(yscale="log")
    sharp.legend(loc="lower left", fontsize="small")
    return figure


def check(data: Data) -> Verdict:
    """Compare sharpness with both bounds, and divergence of the smallest starts with the step that they give."""
    step, sharp, bound = data["step"], data["sharpness"], float(data["bound"])
    found = np.isfinite(sharp)
    least, most = float(np.nanmin(sharp) / bound), float(np.nanmax(sharp * step[:, None, None]) / 2)
    beyond = int(np.count_nonzero(found[step > 2 / bound]))
    small = float(np.mean(data["diverged"][step < 1 / bound, 0]))
    neither = ~found & (data["diverged"] == 0)
    rest = float(np.mean(data["period"][neither] == 1)) if neither.any() else 0.0
    words = (
        f"minima are at least {least:.3f} times 2 L a and at most {most:.3f} times 2/step sharp; {beyond} found beyond "
        f"1/(L a); below half of it {small:.1%} of the smallest starts diverge; {neither.mean():.1%} of all trials do "
        f"neither, of which {rest:.1%} have come to rest"
    )
    return Verdict(bool(least > 1 - 1e-6 and most < 1 + 1e-3 and beyond == 0 and small < 0.05), words)


DIVERGENCE = Entry(
    name="divergence",
    source="Marion, Chizat 2024, arXiv:2405.13456",
    claim="No minimum is flatter than 2 L a, so descent finds none with steps beyond 1/(L a); from small starts it "
    "does not diverge well below that.",
    taken="regression of one output, 50 samples, 5 inputs, depth 10, Gaussian starts, the mean of squared residuals",
    chosen="width 5, noise of 0.1, one problem, the three scales, steps from 0.01 to 1, up to 50,000 of them, however "
    "small the loss",
    sizes={
        TINY: {"depth": 4, "steps": 4, "trials": 4},
        DEFAULT: {"depth": 10, "steps": 17, "trials": 50},
        FULL: {"depth": 10, "steps": 33, "trials": 500},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
