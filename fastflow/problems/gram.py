"""Least squares through the Gram matrix: the data of ``1/2 ||W X - Y||^2`` when samples are many."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import DTypeLike

from fastflow.checks import FloatArray
from fastflow.kernels.losses.regression import RegressionByGram
from fastflow.memory import require_work
from fastflow.problems.base import stacked

REDUCED = 4
"""Copies of the data that their reduction takes at its peak, which is within the QR decomposition (measured)."""

SQUARES = 5.3
"""Matrices (d_0, d_0) that it takes after that, beside two copies of the data (measured)."""


def regression_by_gram(pairs: Iterable[tuple[FloatArray, FloatArray]], dtype: DTypeLike) -> RegressionByGram:
    """The kernels' data of problems (X, Y), X (d_0, samples) and Y (d_N, samples)."""
    centres, grams, offsets, floors, roots, rests, leasts = [], [], [], [], [], [], []
    for x, y in pairs:
        copies = max(REDUCED, 2 + SQUARES * len(x) ** 2 / x.size)
        require_work(x.size + y.size, copies, "the Gram matrix of data")
        inputs, outputs = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
        # A centre of moderate size, whatever the conditioning: weak directions stay in the offset. As the kernels
        # have it, so that what is measured from there is not off by its rounding.
        centre = np.linalg.lstsq(inputs.T, outputs.T, rcond=1e-5)[0].T.astype(dtype).astype(np.float64)
        left = outputs - centre @ inputs
        basis, upper = np.linalg.qr(inputs.T)
        seen = left @ basis
        missing = ((0, 0), (0, len(inputs) - len(upper)))  # columns of zeros where samples are fewer than inputs
        centres.append(centre)
        grams.append(inputs @ inputs.T)
        offsets.append(left @ inputs.T)
        floors.append([0.5 * np.sum(left**2)])
        roots.append(np.pad(upper.T, missing))
        rests.append(np.pad(seen, missing))
        leasts.append([0.5 * np.sum((left - seen @ basis.T) ** 2)])
    return RegressionByGram(
        stacked(centres, dtype),
        stacked(grams, dtype),
        stacked(offsets, dtype),
        np.array(floors, dtype),
        stacked(roots, np.float64),
        stacked(rests, np.float64),
        np.array(leasts),
    )
