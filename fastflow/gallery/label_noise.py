"""Label noise leads descent to sparse solutions from starts that are not small, and less so with depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS, START, NOISE = (2, 3, 4), 1.0, 1.0


def compute(n: int, m: int, sparsity: int, steps: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """Errors and l1 norms along noisy descent by depth, and of the limits of the flow, which has no noise."""
    rng = np.random.default_rng(seed)
    A, truth = rng.standard_normal((trials, m, n)) / np.sqrt(m), np.zeros((trials, n))
    truth[:, :sparsity] = 1
    problems = [ff.CompressedSensing(a, a @ x, truth=x) for a, x in zip(A, truth, strict=True)]
    moments = np.linspace(0, steps, 51).astype(int)
    record = ff.Record(moments, error=True, l1_norm=True)
    data: Data = {"step": moments.astype(float)}
    noise = np.where(np.arange(steps) < 0.8 * steps, NOISE, 0.0)
    method = ff.StochasticGradientDescent(0.2 / n, batch_size=1, label_noise=noise, tol=0, look=steps // 50)
    for depth in DEPTHS:
        words = problems, ff.DiagonalLinear(depth), ff.inits.Constant(START)
        options = {"runs": 1, "seed": seed, "threads": threads}
        noisy, plain = ff.train(*words, method, record=record, **options), ff.train(*words, ff.FlowLimit(), **options)
        data[f"error {depth}"], data[f"l1 {depth}"] = noisy.history.error, noisy.history.l1_norm / sparsity
        data[f"plain error {depth}"] = np.asarray(plain.error)
        data[f"plain l1 {depth}"] = np.asarray(ff.metrics.l1_norm(plain.solution)) / sparsity
    return data


def draw(data: Data) -> Figure:
    """Draw errors and l1 norms along the steps, and those without noise."""
    from fastflow.gallery.style import SERIES, medians, panels

    figure, axes = panels(
        ("From alpha = 1, noise until 80% of the steps", "steps", "relative l2 error"),
        ("The same runs", "steps", "l1 norm / that of the truth"),
    )
    shown = data["step"][::2]
    for one, name in zip(axes, ("error", "l1"), strict=True):
        for place, (depth, series) in enumerate(zip(DEPTHS, SERIES, strict=False)):
            beside = 0.2 * (place - 1) * shown[1]  # so that no bar hides another
            medians(one, shown + beside, data[f"{name} {depth}"].T[::2], series, f"L = {depth}, label noise")
            plain = np.median(data[f"plain {name} {depth}"])
            one.axhline(plain, color=series.color, linestyle=series.line, linewidth=1, label=f"L = {depth}, without")
        one.axvline(0.8 * data["step"][-1], color="0.6", linewidth=0.8)
        one.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
    axes[0].set(ylim=(0, None))
    title = "medians over trials, 95% intervals"
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, title=title)
    return figure


def check(data: Data) -> Verdict:
    """Compare the ends with those without noise, and depths with each other."""
    error = np.array([np.median(data[f"error {depth}"][:, -1]) for depth in DEPTHS])
    plain = np.array([np.median(data[f"plain error {depth}"]) for depth in DEPTHS])
    norm = np.array([np.median(data[f"l1 {depth}"][:, -1]) for depth in DEPTHS])
    words = (
        f"errors with noise are {', '.join(f'{one:.2g}' for one in error)} for L = 2, 3, 4, without it "
        f"{', '.join(f'{one:.2g}' for one in plain)}; l1 norms {', '.join(f'{one:.3g}' for one in norm)} of the truth's"
    )
    grows = bool(np.all(np.diff(error) > 0) and np.all(np.diff(norm) > 0))
    return Verdict(bool(error[0] < 0.1 and plain[0] > 0.3 and grows), words)


LABEL_NOISE = Entry(
    name="label-noise",
    source="HaoChen, Wei, Lee, Ma 2020, arXiv:2006.08680",
    claim="From a start of size 1 stochastic descent with label noise finds the sparse solution that the flow "
    "misses; with more than two layers it does not.",
    taken="n = 100, 40 Gaussian measurements, 5 nonzeros, alpha = 1, batches of one with label noise",
    chosen="x = u^L - v^L and depths 3 and 4, entries 1, noise 1 until 80% of the steps, step 0.2 / n, number of "
    "steps; the flow's limit stands for descent without noise",
    sizes={
        TINY: {"n": 20, "m": 12, "sparsity": 2, "steps": 40_000, "trials": 3},
        DEFAULT: {"n": 100, "m": 40, "sparsity": 5, "steps": 400_000, "trials": 8},
        FULL: {"n": 100, "m": 40, "sparsity": 5, "steps": 4_000_000, "trials": 50},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
