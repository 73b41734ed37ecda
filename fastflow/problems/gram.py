"""Least squares through the Gram matrix: the data of ``1/2 ||W X - Y||^2`` when samples are many."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import DTypeLike

from fastflow.checks import FloatArray
from fastflow.kernels.losses.regression import RegressionByGram
from fastflow.problems.base import stacked


def regression_by_gram(pairs: Iterable[tuple[FloatArray, FloatArray]], dtype: DTypeLike) -> RegressionByGram:
    """The kernels' data of problems (X, Y), X (d_0, samples) and Y (d_N, samples)."""
    centres, grams, offsets, floors = [], [], [], []
    for x, y in pairs:
        inputs, outputs = x.astype(np.float64), y.astype(np.float64)
        # A centre of moderate size, whatever the conditioning: weak directions stay in the offset.
        centre = np.linalg.lstsq(inputs.T, outputs.T, rcond=1e-5)[0].T
        rest = outputs - centre @ inputs
        centres.append(centre)
        grams.append(inputs @ inputs.T)
        offsets.append(rest @ inputs.T)
        floors.append([0.5 * np.sum(rest**2)])
    return RegressionByGram(
        stacked(centres, dtype), stacked(grams, dtype), stacked(offsets, dtype), np.array(floors, dtype)
    )
