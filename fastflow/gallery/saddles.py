"""From saddle to saddle: the flow of a diagonal network as its start tends to 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALPHAS = np.array([1e-2, 1e-4, 1e-8, 1e-12])
MOMENTS = 300


def compute(n: int, m: int, sparsity: int, trials: int, seed: int = 0, threads: int | None = None) -> Data:
    """Flows of sparse problems by alpha, their time over log(1/alpha), and the path on which they are in the limit."""
    rng = np.random.default_rng(seed)
    A, truth = rng.standard_normal((trials, m, n)) / np.sqrt(m), np.zeros((trials, n))
    truth[:, :sparsity] = rng.choice([-1, 1], (trials, sparsity)) * rng.uniform(0.5, 1.5, (trials, sparsity))
    y = np.einsum("tmn,tn->tm", A, truth)
    path = ff.saddle_paths(A, y)
    time = np.linspace(0, 1.2 * np.nanmax(path.times), MOMENTS)
    at = np.sum(path.times[:, None, :] <= time[:, None], axis=-1) - 1  # the saddle that was last jumped to
    saddles = path.points[np.arange(trials)[:, None], at]
    flows = [ff.gradient_flow(A, y, a, np.log(1 / a) * time, threads=threads).x for a in ALPHAS]
    distance = [np.linalg.norm(x - saddles, axis=-1) / np.linalg.norm(truth, axis=-1)[:, None] for x in flows]
    first = np.argsort(-np.abs(truth[0]))[:sparsity]
    return {
        "time": time,
        "distance": np.array(distance).mean(axis=-1),  # (alphas, trials), over all time
        "shown": np.array([flows[0][0], flows[-1][0]])[..., first],  # (2, moments, entries) of the first problem
        "path": saddles[0][:, first],
        "converged": path.converged.astype(float),
    }


def draw(data: Data) -> Figure:
    """Draw entries of one problem in time, and the distance from the path against alpha."""
    from fastflow.gallery.style import SERIES, THEORY, medians, panels

    figure, (flow, far) = panels(
        ("Entries of x, one problem", "time / log(1/alpha) (no unit)", "x_i"),
        ("All problems", "start alpha (no unit)", "mean distance from the path / |truth|"),
    )
    flow.plot(data["time"], data["path"], color=THEORY, linewidth=1, drawstyle="steps-post")
    for x, alpha, series in zip(data["shown"], ALPHAS[[0, -1]], SERIES, strict=False):
        flow.plot(data["time"][::6], x[::6], series.marker, color=series.color, markersize=2.5)
        flow.plot([], [], series.marker, color=series.color, label=f"flow, alpha = {alpha:g}")
    flow.plot([], [], color=THEORY, label="alpha to 0")
    flow.legend()
    medians(far, ALPHAS, data["distance"], SERIES[0], "median over problems, 95% interval")
    alpha = np.geomspace(ALPHAS[0], ALPHAS[-1], 100)
    rate: NDArray[np.float64] = np.median(data["distance"][-1]) * np.log(ALPHAS[-1]) / np.log(alpha)
    far.loglog(alpha, rate, color=THEORY, label="1 / log(1/alpha), through the last")
    far.legend()
    return figure


def check(data: Data) -> Verdict:
    """Whether flows come nearer to their paths with every alpha."""
    middle = np.median(data["distance"], axis=1)
    nearer = bool(np.all(np.diff(data["distance"], axis=0) < 0))
    words = ", ".join(f"{far:.2g} at {alpha:g}" for far, alpha in zip(middle, ALPHAS, strict=True))
    words = f"mean distances are {words}; {'every' if nearer else 'not every'} flow comes nearer with every alpha"
    return Verdict(bool(nearer and middle[-1] < 0.5 * middle[0] and data["converged"].all()), words)


SADDLES = Entry(
    name="saddle-to-saddle",
    source="Pesme, Flammarion 2023, arXiv:2304.00488",
    claim="As the start tends to 0 the flow of a diagonal network tends to a path that jumps from saddle to saddle.",
    taken="x = u^2 - v^2 from u = v = alpha, time in units of log(1/alpha), the path by active sets (Algorithm 1)",
    chosen="Gaussian measurements, nonzeros between 0.5 and 1.5 in size, sizes; the distance is the mean over time",
    sizes={
        TINY: {"n": 20, "m": 12, "sparsity": 2, "trials": 3},
        DEFAULT: {"n": 60, "m": 25, "sparsity": 4, "trials": 20},
        FULL: {"n": 100, "m": 40, "sparsity": 5, "trials": 200},
    },
    counted="trials",
    compute=compute,
    draw=draw,
    check=check,
)
