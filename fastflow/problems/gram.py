"""Least squares through the Gram matrix: the data of ``1/2 ||W X - Y||^2`` when samples are many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastflow.checks import FloatArray
from fastflow.kernels.losses.regression import RegressionByGram
from fastflow.kernels.losses.shared_matrix import LARGE
from fastflow.problems.reduced import BLOCK, reduced, rows_at_a_time, solved

MODERATE = 1e-5
"""Weaker directions of the data, relative to the strongest, are left out of the centre."""

BESIDE = 0.2
"""What is kept of a large matrix beside it takes at most this share of its memory."""


def is_small_beside(matrix: FloatArray) -> bool:
    """Whether ``A^T A`` and its root, of A (m, n), may be kept beside A: always, but where A is large."""
    m, n = matrix.shape
    return matrix.nbytes < LARGE or 2 * n <= BESIDE * m


def gram_bytes(pairs: Sequence[tuple[FloatArray, FloatArray]], dtype: DTypeLike) -> int:
    """What `regression_by_gram` takes of memory."""
    (inputs, _), (outputs, _) = (array.shape for array in pairs[0])
    size, small = np.dtype(dtype).itemsize, inputs * outputs
    each = (size + 8) * inputs**2 + (2 * size + 16) * small
    # A copy of the root, by which the centre is found; one Gram matrix in float64 where it is not to stay so; blocks.
    return len(pairs) * each + 8 * (inputs**2 * (2 if size < 8 else 1) + 4 * small + 4 * BLOCK)


def regression_by_gram(pairs: Sequence[tuple[FloatArray, FloatArray]], dtype: DTypeLike) -> RegressionByGram:
    """The kernels' data of problems (X, Y), X (d_0, samples) and Y (d_N, samples), all of one d_0 and d_N."""
    count, size, rows = len(pairs), len(pairs[0][0]), len(pairs[0][1])
    centres, offsets = np.empty((count, rows, size), dtype), np.empty((count, rows, size), dtype)
    grams, floors = np.empty((count, size, size), dtype), np.empty((count, 1), dtype)
    # Zeros that nobody has touched take no memory yet.
    roots, rests, leasts = np.zeros((count, size, size)), np.empty((count, rows, size)), np.empty((count, 1))
    for i, (inputs, outputs) in enumerate(pairs):
        found = reduced(inputs.T, outputs.T, roots[i].T)
        # A centre of moderate size, whatever the conditioning: weak directions stay in the offset. As the kernels
        # have it, so that what is measured from there is not off by its rounding.
        centres[i] = solved(found, MODERATE)[0].T
        centre = centres[i].astype(np.float64)
        rests[i] = (found.seen - found.root @ centre.T).T
        leasts[i] = 0.5 * found.rest
        floors[i], offsets[i] = _from(centre, inputs, outputs)
        grams[i] = _gram(inputs, grams[i])
    return RegressionByGram(
        centres.reshape(count, -1),
        grams.reshape(count, -1),
        offsets.reshape(count, -1),
        floors,
        roots.reshape(count, -1),
        rests.reshape(count, -1),
        leasts,
    )


def _samples(array: FloatArray, per_block: int) -> list[slice]:
    return [slice(first, first + per_block) for first in range(0, array.shape[1], per_block)]


def _from(centre: NDArray[np.float64], inputs: FloatArray, outputs: FloatArray) -> tuple[float, NDArray[np.float64]]:
    """``1/2 ||Y - C X||^2`` and ``(Y - C X) X^T``."""
    floor, offset = 0.0, np.zeros_like(centre)
    for some in _samples(inputs, rows_at_a_time(len(inputs) + len(outputs))):
        block = inputs[:, some].astype(np.float64)
        left = outputs[:, some].astype(np.float64) - centre @ block
        floor += 0.5 * float(np.sum(left**2))
        offset += left @ block.T
    return floor, offset


def _gram(inputs: FloatArray, room: FloatArray) -> FloatArray:
    """``X X^T``, in that room if it is of float64."""
    from scipy.linalg import blas

    size = len(inputs)
    gram = room if room.dtype == np.float64 else np.empty((size, size))
    gram[:] = 0
    for some in _samples(inputs, rows_at_a_time(size)):
        block = np.asfortranarray(inputs[:, some].T, np.float64)
        # The lower triangle, which of the transpose, as BLAS sees it, is the upper one.
        blas.dsyrk(1.0, block, 1.0, gram.T, trans=1, overwrite_c=1)
    for first in range(0, size, 64):
        rows = slice(first, first + 64)
        gram[:first, rows] = gram[rows, :first].T
        gram[rows, rows] = np.tril(gram[rows, rows]) + np.tril(gram[rows, rows], -1).T
    return gram
