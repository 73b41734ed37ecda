"""Compiling ahead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from fastflow import kernels
from fastflow.methods import GradientDescent
from fastflow.networks import Network
from fastflow.problems import (
    CompressedSensing,
    LinearRegression,
    MatrixCompletion,
    MatrixEstimation,
    MatrixSensing,
    Problem,
)
from fastflow.train import train


def warmup(
    problem: Problem | Sequence[Problem] | None = None,
    network: Network | None = None,
    *,
    dtype: DTypeLike = np.float64,
) -> None:
    """Compile what `train` will need, into Numba's cache on disk, so that neither this process nor later ones must.

    Parameters
    ----------
    problem, network : as they will be trained; by default everything that fastflow has, which takes a few minutes
    dtype : float64 or float32
    """
    kinds: list[Problem | Sequence[Problem]] = []
    if problem is not None:
        kinds.append(problem)
    else:
        for width in (2, kernels.LANE_WIDTH + 1):
            square, column = np.ones((width, width)), np.ones((width, 1))
            sensing = MatrixSensing(square[None], np.ones(1))
            kinds += [MatrixEstimation(square), MatrixCompletion.from_dense(square), sensing, [sensing]]
            kinds += [LinearRegression(square, square), LinearRegression(column, column)]
        wide = CompressedSensing(np.ones((1, 2)), np.ones(1))
        kinds += [wide, [wide], CompressedSensing(np.ones((1, 1)), np.ones(1))]
    method = GradientDescent(step=1e-9, max_steps=0)  # no step is taken: any number will do to compile with
    for kind in kinds:
        train(kind, network, method=method, runs=1, dtype=dtype, progress=False)
