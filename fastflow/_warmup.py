"""Compiling ahead."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from fastflow._train import train
from fastflow.kernels.networks.chain_group import LANE_WIDTH
from fastflow.methods import DEFAULT_METHOD, METHODS, Method, as_method
from fastflow.networks import Network
from fastflow.problems import (
    CompressedSensing,
    LinearRegression,
    MatrixCompletion,
    MatrixEstimation,
    MatrixSensing,
    Problem,
)
from fastflow.setting import default_init, default_network
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
        By default everything that fastflow has, which takes a few minutes; for a problem what `train` takes by
        default. A `Study` stands alone: what its cells need is compiled.
    dtype : float64 or float32
    """
    if isinstance(problem, Study):
        if network is not None or method is not None or np.dtype(dtype) != np.float64:
            raise ValueError("a study has its own network and method, and works in float64: give it alone")
        _warm_study(problem)
        return
    methods = [kind() for kind in METHODS] if method is None and problem is None else [_as_given(method)]
    for posed in _every_problem() if problem is None else [problem]:
        for one in methods:
            kind = posed if isinstance(posed, Problem) else posed[0]
            brief = one.briefest()
            taken = default_network(kind) if network is None else network
            try:
                brief.check(taken, default_init(taken), None, dtype, kind)
            except (TypeError, ValueError):
                if problem is not None:
                    raise
                continue
            train(posed, taken, method=brief, runs=1, dtype=dtype, progress=False)


def _as_given(method: Method | None) -> Method:
    return as_method(DEFAULT_METHOD() if method is None else method)


def _every_problem() -> list[Problem | list[Problem]]:
    """A small problem for each layout of memory that kernels know."""
    kinds: list[Problem | list[Problem]] = []
    for width in (2, LANE_WIDTH + 1):
        square, column = np.ones((width, width)), np.ones((width, 1))
        sensing = MatrixSensing(square[None], np.ones(1))
        kinds += [MatrixEstimation(square), MatrixCompletion.from_dense(square), sensing, [sensing]]
        kinds += [LinearRegression(square, square), LinearRegression(column, column)]
    wide = CompressedSensing(np.ones((1, 2)), np.ones(1))
    return [*kinds, wide, [wide], CompressedSensing(np.ones((1, 1)), np.ones(1))]


def _warm_study(study: Study) -> None:
    """One trial of no step, or of as few as there must be, in the cells at the ends of the axes of every combination.

    Which kernels a problem takes changes once, if at all, along an axis of sizes.
    """
    places = [{0, len(axis.values) - 1} if axis.field else range(len(axis.values)) for axis in study.axes]
    for place in itertools.product(*places):
        setup = study.setup(int(np.ravel_multi_index(place, study.shape)))
        if isinstance(setup.method, Method):
            run_piece(setup._replace(method=setup.method.briefest()), 0, 1)
