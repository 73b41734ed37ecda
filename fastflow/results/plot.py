"""Pictures of runs, as ``fastflow.plot``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fastflow.arrays import as_array
from fastflow.checks import FloatArray, as_floats, shown
from fastflow.problems import CompressedSensing
from fastflow.results.pictures import draw_images, draw_recovery
from fastflow.results.runs import Runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_images", "plot_recovery", "plot_runs"]


def plot_runs(runs: Runs) -> Figure:
    """Draw what was recorded of runs: see `Runs.plot`.

    Parameters
    ----------
    runs : Runs with a history

    Returns
    -------
    matplotlib.figure.Figure
    """
    return _as_runs(runs).plot()


def plot_recovery(runs: Runs, problem: CompressedSensing, alphas: Sequence[float] = ()) -> Figure:
    """Draw the recovered vector beside basis pursuit and the truth, and how l1 norm and error came about.

    These are drawn against steps or times where there is a history, else against alpha where there are several. The
    vector is that of the run from the smallest alpha. Without a truth errors are distances to basis pursuit.

    Parameters
    ----------
    runs : Runs of one DiagonalLinear network on the problem
    problem : CompressedSensing
    alphas : where each run started; as many as there are runs, or none

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        when every run diverged, or there are not as many alphas as runs
    ImportError
        without matplotlib
    """
    starts = as_floats("alphas", alphas, 1).tolist() if as_array("alphas", alphas).size else []
    if not isinstance(problem, CompressedSensing):
        raise TypeError(f"problem must be a CompressedSensing, got {shown(problem)}")
    if len(starts) not in (0, len(_as_runs(runs))):
        raise ValueError(f"alphas must be one for each of the {len(runs)} runs, got {len(starts)}")
    nonnegative = len(runs.architecture.sides) == 1
    return draw_recovery(
        runs.solution, runs.steps, runs.history, problem, runs.description, starts, nonnegative=nonnegative
    )


def plot_images(images: Mapping[str, FloatArray]) -> Figure:
    """Grey pictures side by side, all in the scale of the first, each under its name.

    Parameters
    ----------
    images : name -> array (rows, columns)

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        for what is no matrix of real numbers, and for none at all
    ImportError
        without matplotlib
    """
    if not isinstance(images, Mapping):
        raise TypeError(f"images must be a dict, name: matrix, got {shown(images)}")
    if not images:
        raise ValueError("images is empty")
    return draw_images({name: as_floats(f"image {name!r}", image, 2, finite=False) for name, image in images.items()})


def _as_runs(runs: object) -> Runs:
    if not isinstance(runs, Runs):
        raise TypeError(f"runs must be Runs, as train gives them, got {shown(runs)}")
    return runs
