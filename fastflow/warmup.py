"""Compiling ahead."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from fastflow.kernels.networks.chain_group import LANE_WIDTH
from fastflow.methods import FlowLimit, GradientDescent, GradientFlow, Method
from fastflow.networks import Network
from fastflow.problems import (
    CompressedSensing,
    LinearRegression,
    MatrixCompletion,
    MatrixEstimation,
    MatrixSensing,
    Problem,
)
from fastflow.studies.study import Study
from fastflow.studies.tasks import run_piece
from fastflow.train import train


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
        By default everything that fastflow has, which takes a few minutes; for a problem `GradientDescent`. A `Study`
        stands alone: what its cells need is compiled.
    dtype : float64 or float32
    """
    if isinstance(problem, Study):
        if network is not None or method is not None or np.dtype(dtype) != np.float64:
            raise ValueError("a study has its own network and method, and works in float64: give it alone")
        _warm_study(problem)
        return
    descent = GradientDescent(step=1e-9, max_steps=0)  # no step is taken: any number will do to compile with
    flows: list[Method] = [FlowLimit(max_steps=1), GradientFlow([1.0], max_steps=1)]
    pairs: list[tuple[Problem | Sequence[Problem], Method]] = []
    if problem is not None:
        flows = [flow for flow in flows if type(flow) is type(method)]
        pairs += [(problem, flow) for flow in flows] or [(problem, descent)]
    else:
        for width in (2, LANE_WIDTH + 1):
            square, column = np.ones((width, width)), np.ones((width, 1))
            sensing = MatrixSensing(square[None], np.ones(1))
            kinds: list[Problem | Sequence[Problem]] = [MatrixEstimation(square), MatrixCompletion.from_dense(square)]
            kinds += [sensing, [sensing]]
            kinds += [LinearRegression(square, square), LinearRegression(column, column)]
            pairs += [(kind, descent) for kind in kinds]
        wide = CompressedSensing(np.ones((1, 2)), np.ones(1))
        pairs += [(kind, descent) for kind in (wide, [wide], CompressedSensing(np.ones((1, 1)), np.ones(1)))]
        if np.dtype(dtype) == np.float64:
            pairs += [(wide, flow) for flow in flows]
        pairs = [pair for pair in pairs if method is None or type(pair[1]) is type(method)]
    for kind, taken in pairs:
        train(kind, network, method=taken, runs=1, dtype=dtype, progress=False)


def _warm_study(study: Study) -> None:
    """One trial of no step, or of as few as there must be, in the cells at the ends of the axes of every combination.

    Which kernels a problem takes changes once, if at all, along an axis of sizes.
    """
    places = [{0, len(axis.values) - 1} if axis.field else range(len(axis.values)) for axis in study.axes]
    for place in itertools.product(*places):
        setup = study.setup(int(np.ravel_multi_index(place, study.shape)))
        if isinstance(setup.method, GradientDescent | GradientFlow | FlowLimit):
            steps = 0 if isinstance(setup.method, GradientDescent) else 1
            run_piece(setup._replace(method=dataclasses.replace(setup.method, max_steps=steps)), 0, 1)
