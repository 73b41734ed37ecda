"""Pictures of runs, as ``fastflow.plot``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fastflow.arrays import as_array
from fastflow.checks import FloatArray, as_floats, shown
from fastflow.memory import require_work
from fastflow.problems import CompressedSensing
from fastflow.results.bifurcations import draw_bifurcations
from fastflow.results.figures import Given
from fastflow.results.pictures import draw_history, draw_images, draw_recovery
from fastflow.results.runs import Runs, drawn_of
from fastflow.theory import Bifurcation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_bifurcation", "plot_images", "plot_recovery", "plot_runs"]

PICTURE_COPIES = 10
"""What Matplotlib takes to draw an image and to write it, in copies of it (measured)."""


def plot_runs(
    runs: Runs | Mapping[str, Runs], quantities: str | Sequence[str] | None = None, *, ax: Given = None
) -> Figure:
    """Draw what was recorded of runs, or of several calls of `train` in one picture.

    Each has the median over its runs and the band from their 10% to their 90% quantile, as `Runs.plot` has.

    Parameters
    ----------
    runs : Runs with a history, or a dict, label -> Runs, all recorded against steps or all against times
    quantities : which panels there are, such as "loss" or ``["loss", "effective_rank"]``; default what was recorded of
        all
    ax : matplotlib axes of your own to draw into, one for each panel: one, or a sequence of them

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        for what are no Runs, and as `Runs.plot`
    ImportError
        without matplotlib

    Examples
    --------
    >>> words = ff.MatrixEstimation(np.diag([3.0, 1])), ff.DeepLinear(2), ff.inits.Gaussian(0.1)
    >>> steps = {"half the edge": ff.GradientDescent(max_steps=500), "safe": ff.GradientDescent("safe", max_steps=500)}
    >>> runs = {label: ff.train(*words, by, runs=4, threads=1, record=ff.Record()) for label, by in steps.items()}
    >>> figure = ff.plot.plot_runs(runs, "loss")
    """
    if not isinstance(runs, Mapping):
        return _as_runs(runs).plot(quantities, ax=ax)
    if not runs:
        raise ValueError("there are no runs to draw: give a dict, label: Runs")
    return draw_history({str(label): drawn_of(_as_runs(one)) for label, one in runs.items()}, quantities, ax)


def plot_recovery(runs: Runs, problem: CompressedSensing, alphas: Sequence[float] = (), *, ax: Given = None) -> Figure:
    """Draw the recovered vector beside basis pursuit and the truth, and how l1 norm and error came about.

    These are drawn against steps or times where there is a history, else against alpha where there are several. The
    vector is that of the run from the smallest alpha. Without a truth errors are distances to basis pursuit.

    Parameters
    ----------
    runs : Runs of one DiagonalLinear network on the problem
    problem : CompressedSensing
    alphas : where each run started; as many as there are runs, or none
    ax : matplotlib axes of your own to draw into, one for each panel

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        when every run diverged, or there are not as many alphas as runs
    ImportError
        without matplotlib

    Examples
    --------
    >>> problem = ff.CompressedSensing([[1.0, 0.5]], [1.0], truth=[1.0, 0.0])
    >>> init = ff.inits.Constant(ff.each([1.0, 1e-2]))
    >>> runs = ff.train(problem, ff.DiagonalLinear(2), init, ff.FlowLimit(), threads=1)
    >>> figure = ff.plot.plot_recovery(runs, problem, alphas=[1.0, 1e-2])
    """
    starts = as_floats("alphas", alphas, 1).tolist() if as_array("alphas", alphas).size else []
    if not isinstance(problem, CompressedSensing):
        raise TypeError(f"problem must be a CompressedSensing, got {shown(problem)}")
    if len(starts) not in (0, len(_as_runs(runs))):
        raise ValueError(f"alphas must be one for each of the {len(runs)} runs, got {len(starts)}")
    nonnegative = len(runs.architecture.sides) == 1
    return draw_recovery(
        runs.solution, runs.steps, runs.history, problem, runs.description, starts, nonnegative=nonnegative, ax=ax
    )


def plot_bifurcation(*orbits: Bifurcation, ax: Given = None) -> Figure:
    """Draw where steps beyond the edge of stability lead, against the step, in the colours of periods.

    Parameters
    ----------
    *orbits : Bifurcation, as `theory.bifurcation` gives them: a panel for each
    ax : matplotlib axes to draw into, one for each; None for a new figure

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        for anything else, and for nothing
    ImportError
        without matplotlib

    Examples
    --------
    >>> orbits = ff.theory.bifurcation(2, np.linspace(0.8, 1.5, 200))
    >>> figure = ff.plot.plot_bifurcation(orbits)
    """
    if not orbits:
        raise ValueError("there is nothing to draw: give what theory.bifurcation gives")
    for orbit in orbits:
        if not isinstance(orbit, Bifurcation):
            raise TypeError(f"orbits must be Bifurcations, as theory.bifurcation gives them, got {shown(orbit)}")
    return draw_bifurcations(orbits, ax)


def plot_images(images: Mapping[str, FloatArray], *, ax: Given = None) -> Figure:
    """Grey pictures side by side, all in the scale of the first, each under its name.

    Parameters
    ----------
    images : name -> array (rows, columns)
    ax : matplotlib axes of your own to draw into, one for each image

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        for what is no matrix of real numbers, and for none at all
    MemoryError
        for an image that is larger than what can be drawn
    ImportError
        without matplotlib

    Examples
    --------
    >>> figure = ff.plot.plot_images({"target": np.eye(8), "found": np.ones((8, 8))})
    """
    if not isinstance(images, Mapping):
        raise TypeError(f"images must be a dict, name: matrix, got {shown(images)}")
    if not images:
        raise ValueError("images is empty")
    checked = {name: as_floats(f"image {name!r}", image, 2, finite=False) for name, image in images.items()}
    for name, image in checked.items():
        require_work(image.size, PICTURE_COPIES, f"a picture of image {name!r}")
    return draw_images(checked, ax)


def _as_runs(runs: object) -> Runs:
    if not isinstance(runs, Runs):
        raise TypeError(f"runs must be Runs, as train gives them, got {shown(runs)}")
    return runs
