"""A completion problem in which all norms go to infinity as the loss goes to 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS, STEP, START, TOL = (2, 3, 4), 3e-3, 1e-2, 1e-4
OBSERVED = np.array([[np.nan, 1.0], [1.0, 0.0]])


def compute(runs: int, steps: int, seed: int = 0, threads: int | None = None) -> Data:
    """The unobserved entry and the largest error of the others, along runs from starts of positive determinant."""
    problem, data = ff.MatrixCompletion.from_dense(OBSERVED, normalization="mean"), {}
    moments = np.unique(np.geomspace(1, steps, 300).astype(int))
    for depth in DEPTHS:
        descent = ff.GradientDescent(STEP, steps, tol=TOL)
        flow = ff.ProductFlow(STEP * moments, t_max=STEP * steps, tol=TOL)  # descent loses the sign of det W
        found = ff.train(
            problem,
            ff.DeepLinear(depth),
            ff.inits.Balanced(START),
            flow if depth == 2 else descent,
            3 * runs,
            seed,
            threads,
            record=None if depth == 2 else ff.Record(moments, product=True),
        ).history.product
        found = found[np.linalg.det(found[:, 0]) > 0][:runs]
        data[f"entry {depth}"] = found[..., 0, 0]
        data[f"error {depth}"] = np.nanmax(np.abs(found - OBSERVED), axis=(2, 3))
        data[f"determinant {depth}"] = np.linalg.det(found)
    return data


def draw(data: Data) -> Figure:
    """Draw the unobserved entry against the largest error, and what theory has it exceed."""
    from fastflow.gallery.style import SERIES, THEORY, panel

    figure, axes = panel(
        "W12 = W21 = 1, W22 = 0 observed", "largest error e of an observed entry", "|W11|, not observed"
    )
    for depth, series in zip(DEPTHS, SERIES, strict=False):
        error, entry = data[f"error {depth}"], np.abs(data[f"entry {depth}"])
        axes.plot(error.ravel(), entry.ravel(), series.marker, color=series.color, markersize=3, alpha=0.6)
        axes.plot([], [], series.marker, color=series.color, markersize=4, label=f"N = {depth}, every run and moment")
    e = np.geomspace(5e-3, 0.9, 100)
    axes.plot(e, (1 - e) ** 2 / e, color=THEORY, label="(1 - e)^2 / e, which it exceeds")
    axes.set(xscale="log", yscale="log", ylim=(1e-2, 500))
    axes.invert_xaxis()
    axes.legend(fontsize="small")
    return figure


def check(data: Data) -> Verdict:
    """Whether the entry is above its bound at every moment, and grows as the errors fall."""
    above, kept, last, errors = np.inf, True, [], []
    for depth in DEPTHS:
        error, entry = data[f"error {depth}"], np.abs(data[f"entry {depth}"])
        fitted = error < 0.99
        above = min(above, float((entry[fitted] * error[fitted] / (1 - error[fitted]) ** 2).min()))
        kept = kept and bool(np.all(data[f"determinant {depth}"] > -1e-9))  # it tends to 0
        last.append(float(entry[:, -1].min()))
        errors.append(float(error[:, -1].max()))
    words = (
        f"the entry is at least {above:.4f} of the bound in all runs, and at the end {min(last):.3g} at least, where "
        f"observed entries are off by {max(errors):.2g} at most; det W {'keeps' if kept else 'does not keep'} its sign"
    )
    return Verdict(above > 1 - 1e-6 and kept and min(last) > 10 and max(errors) < 0.1, words)


UNOBSERVED = Entry(
    name="unobserved-entry",
    source="Razin, Cohen 2020, arXiv:2005.06398",
    claim="Where this completion's loss falls to 0 the entry that is not observed goes to infinity, and every norm "
    "with it: what is implicit is no least norm.",
    taken="2 x 2, W12 = W21 = 1, W22 = 0, mean-square loss, N = 2, 3, 4, balanced starts with det W > 0, step 3e-3, "
    "ends at loss 1e-4 or after 5 million steps",
    chosen="products of scale 0.01 at the start; the balanced flow of the product for N = 2, where descent flips det W",
    sizes={
        TINY: {"runs": 2, "steps": 1_000_000},
        DEFAULT: {"runs": 6, "steps": 5_000_000},
        FULL: {"runs": 20, "steps": 5_000_000},
    },
    counted="runs",
    compute=compute,
    draw=draw,
    check=check,
)
