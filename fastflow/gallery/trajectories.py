"""Eigenvalues and effective rank along gradient descent: one mode after the other, and plateaus between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import fastflow as ff
from fastflow.gallery.entry import DEFAULT, FULL, TINY, Data, Entry, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEPTHS, END = (2, 3, 4), 60.0
MODES, START, STEP = np.array([10.0, 5, 1]), 1e-4, 0.01
LEVELS, WITHIN = np.array([1.0, 1.5, 1.6]), 0.02
"""Effective ranks of the best approximations of rank 1, 2, 3, and how near counts as there."""

SETTLED = {2: 20, 3: 400, 4: 20_000}
"""By depth, a time at which the perturbed start has long come to the eigenvalue -1."""


def compute(n: int, runs: int, seed: int = 0, threads: int | None = None) -> Data:
    """Effective ranks and eigenvalues from ``alpha I`` and Gaussian starts, and the eigenvalue -1 by both starts."""
    target = np.diag(np.concatenate([MODES, np.zeros(n - len(MODES))]))
    steps = np.unique(np.geomspace(1, END / STEP, 300).astype(int))
    late_steps = np.unique(np.geomspace(1, 1e5, 200).astype(int))
    record, late = ff.Record(steps, product=True), ff.Record(late_steps, product=True)
    method, data = ff.GradientDescent(STEP, int(END / STEP), tol=0), {"time": STEP * steps, "late": 1e-5 * late_steps}
    for depth in DEPTHS:
        network, words = ff.DeepLinear(depth), {"seed": seed, "threads": threads}
        problem = ff.MatrixEstimation(target)
        equal = ff.train(problem, network, ff.inits.Identity(START), method, record=record, **words)
        random = ff.train(problem, network, ff.inits.Gaussian(START), method, runs, record=record, **words)
        data[f"value {depth}"] = np.linalg.eigvalsh(equal.history.product[0])[:, : -1 - len(MODES) : -1]
        data[f"rank {depth}"] = equal.history.effective_rank[0]
        data[f"random {depth}"] = random.history.effective_rank
        last = np.array([0.1, 0.1 - 1e-3]).reshape(2, 1, 1)  # of a factor, the others begin at 0.1
        starts = ff.inits.Explicit([np.full((2, 1, 1), 0.1)] * (depth - 1) + [last])
        slow = ff.GradientDescent(SETTLED[depth] / 1e5, 100_000, tol=0)
        signed = ff.train(ff.MatrixEstimation([[-1.0]]), network, starts, slow, record=late, threads=threads)
        data[f"signed {depth}"] = signed.history.product[:, :, 0, 0]
    return data


def on_plateau(depth: int, time: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where theory has the effective rank at each of the levels, from its first drop on: (levels, moments)."""
    value = np.asarray(ff.theory.mode_value(time[:, None], MODES, START ** (1 / depth), depth))
    rank, dropped = value.sum(axis=1) / value.max(axis=1), value.max(axis=1) > 0.5 * MODES[0]
    near = np.abs(rank - LEVELS[:, None]) < WITHIN
    return near & dropped & (np.maximum.accumulate(rank * dropped) < LEVELS[:, None] + WITHIN)


def draw(data: Data) -> Figure:
    """Draw effective ranks by depth above, eigenvalues below: of the target, and -1 from both starts."""
    from fastflow.gallery.style import OTHER, POINTS, THEORY, panels

    time, moment = data["time"], "time = step size x steps"
    ranks = [(f"N = {depth}", moment, r"effective rank $\|W\|_* / \|W\|_2$") for depth in DEPTHS]
    values = [("", moment, "eigenvalues of W") for _ in DEPTHS]
    figure, axes = panels(*ranks, *values, columns=len(DEPTHS))
    for depth, rank, value in zip(DEPTHS, axes[: len(DEPTHS)], axes[len(DEPTHS) :], strict=True):
        for level in on_plateau(depth, time):
            rank.axvspan(time[level].min(), time[level].max(), color="0.88", linewidth=0)
        low, middle, high = np.quantile(data[f"random {depth}"], (0.1, 0.5, 0.9), axis=0)
        rank.fill_between(time, low, high, color=OTHER, alpha=0.4, linewidth=0, label="Gaussian starts, 10 to 90%")
        rank.plot(time, middle, color=OTHER, linestyle="--", label="their median")
        rank.plot(time[::3], data[f"rank {depth}"][::3], "o", color=POINTS, markersize=2.5, label="from alpha I")
        rank.set(xscale="log", xlim=(0.1, END), ylim=(0.9, 4))
        known = ff.theory.mode_value(time[:, None], MODES, START ** (1 / depth), depth)
        value.plot(time, known, color=THEORY, linewidth=1)
        value.plot(time[::4], data[f"value {depth}"][::4], "o", color=POINTS, markersize=2.5)
        late, (equal, perturbed) = SETTLED[depth] * data["late"], data[f"signed {depth}"]
        value.plot(late[::3], perturbed[::3], "^", color=OTHER, markersize=3, label="-1, one factor from 0.099 I")
        value.plot(late[::3], equal[::3], "v", color="0.5", markersize=3, label="-1, all factors from 0.1 I")
        value.plot([], [], "o", color=POINTS, markersize=2.5, label="10, 5, 1, from alpha I; line: flow")
        value.set(xscale="log", xlim=(0.1, max(END, SETTLED[depth])), ylim=(-2, 11))
    axes[0].axvspan(0, 0, color="0.88", label="flow from alpha I within 0.02 of 1, 1.5, 1.6")
    axes[0].legend(loc="upper right", fontsize="small")
    axes[-1].legend(loc="center right", bbox_to_anchor=(1, 0.74), fontsize="small")  # between the eigenvalues 5 and 10
    return figure


def check(data: Data) -> Verdict:
    """Whether effective ranks rest where theory has plateaus, longer the deeper, and what becomes of -1."""
    time, off, lengths, near = data["time"], 0.0, [], 0.0
    for depth in DEPTHS:
        levels = on_plateau(depth, time)
        for level, there in zip(LEVELS, levels, strict=True):
            inner = np.flatnonzero(there)[2:-2]  # descent is later than the flow by some steps
            off = max(off, float(np.abs(data[f"rank {depth}"][inner] - level).max()))
        lengths.append([np.ptp(time[there]) for there in levels[:2]])
        median = np.median(data[f"random {depth}"], axis=0)
        near = max(near, *(float(np.abs(median - level).min()) for level in LEVELS))
    longer = bool(np.all(np.diff(lengths, axis=0) > 0))
    ends = np.array([data[f"signed {depth}"][:, -1] for depth in DEPTHS])
    reached = bool(np.all(np.abs(ends[:, 1] + 1) < 0.01) and np.all(ends[:, 0] >= 0))
    words = (
        f"on the plateaus, {'longer' if longer else 'not longer'} with depth, effective ranks are off by at most "
        f"{off:.3f}, medians from Gaussian starts come to within {near:.3f}; -1 is "
        f"{'' if reached else 'not '}reached from the perturbed start alone"
    )
    return Verdict(off < 2 * WITHIN and near < 0.1 and longer and reached, words)


TRAJECTORIES = Entry(
    name="trajectories",
    source="Chou, Gieshoff, Maly, Rauhut 2020, arXiv:2011.13772",
    claim="From small starts eigenvalues are learned one after the other, so the effective rank rests at plateaus, "
    "longer the deeper the network; negative ones are reached only if one factor starts apart.",
    taken="diag(10, 5, 1, 0, ..., 0), product started at 1e-4 I, N = 2, 3, 4; alpha = 0.1 and one factor at 0.099 "
    "for -1",
    chosen="n, step 0.01 to time 60; effective rank is nuclear over operator norm; shaded where the flow's is within "
    "0.02",
    sizes={TINY: {"n": 5, "runs": 2}, DEFAULT: {"n": 20, "runs": 32}, FULL: {"n": 20, "runs": 1000}},
    counted="runs",
    compute=compute,
    draw=draw,
    check=check,
)
