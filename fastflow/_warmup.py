"""Compiling ahead."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from fastflow.inits import Balanced
from fastflow.kernels.networks.chain_group import LANE_WIDTH
from fastflow.methods import DEFAULT_METHOD, METHODS, Method, as_method, execute
from fastflow.networks import Network
from fastflow.problems import PROBLEMS, Problem
from fastflow.setting import pose
from fastflow.studies.study import Study
from fastflow.studies.tasks import run_piece


def warmup(
    problem: Problem | Sequence[Problem] | Study | None = None,
    network: Network | None = None,
    method: Method | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> None:
    """Compile what `train` will need, into Numba's cache on disk, so that neither this process nor later ones must.

    Parameters
    ----------
    problem, network, method : as they will be trained
        By default every problem and method, which takes a few minutes, but for methods that move by update rules of
        their own, such as `Adam`: these are compiled where they are named. For a problem what `train` takes by default.
        A `Study` stands alone: what its cells need is compiled.
    dtype : float64 or float32

    Examples
    --------
    >>> ff.warmup(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2), ff.GradientDescent())
    """
    if isinstance(problem, Study):
        if network is not None or method is not None or np.dtype(dtype) != np.float64:
            raise ValueError("a study has its own network and method, and works in float64: give it alone")
        _warm_study(problem)
        return
    if problem is not None:
        _warm(problem, network, as_method(DEFAULT_METHOD() if method is None else method), dtype)
        return
    methods = [kind() for kind in METHODS if kind.is_common] if method is None else [as_method(method)]
    for given, one in itertools.product(_every_problem(), methods):
        with contextlib.suppress(TypeError, ValueError):  # not everything combines
            _warm(given, network, one, dtype)


def _warm(
    problem: Problem | Sequence[Problem], network: Network | None, method: Method, dtype: DTypeLike = np.float64
) -> None:
    """Run the method as briefly as may be, from the default start or, if it takes no other, from a balanced one."""
    brief = method.briefest()
    default = pose(problem, network, runs=1, dtype=dtype)
    brief.check(default.network, None, None, default.dtype, default.problems[0])
    try:
        brief.check(default.network, default.init, None, default.dtype, default.problems[0])
    except ValueError:
        default = pose(problem, network, Balanced(), runs=1, dtype=dtype)
    execute(default, brief)


def _every_problem() -> list[Problem | list[Problem]]:
    """A small problem for each layout of memory that kernels know."""
    return [example for width in (2, LANE_WIDTH + 1) for kind in PROBLEMS for example in kind.examples(width)]


def _warm_study(study: Study) -> None:
    """One trial of no step, or of as few as there must be, in the cells at the ends of the axes of every combination.

    Which kernels a problem takes changes once, if at all, along an axis of sizes.
    """
    places = [{0, len(axis.values) - 1} if axis.field else range(len(axis.values)) for axis in study.axes]
    for place in itertools.product(*places):
        setup = study.setup(int(np.ravel_multi_index(place, study.shape)))
        if isinstance(setup.method, Method):
            # Functions of the user's own, which compile nothing here, are not asked about what is no solution.
            asked = {label: one for label, one in setup.asked.items() if not one.is_function}
            run_piece(setup._replace(method=setup.method.briefest(), asked=asked), 0, 1)
