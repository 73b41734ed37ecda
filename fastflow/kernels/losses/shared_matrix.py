"""A measurement matrix A that many runs share, laid out for products with the vectors of all of them at once.

A is packed once, into panels of `PANEL_ROWS` rows in which entry (j, q) lies beside entry (j + 1, q). From these the
products of `networks.panels` read A as scalars, in blocks that lie together. A large A is not copied: there they pack
some rows at a time, in every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.losses.loss import for_one_run, padded_size, scratch_size
from fastflow.kernels.losses.sensing import Sensing
from fastflow.kernels.vectors.aligned import CACHE_LINE, aligned_zeros, only_read
from fastflow.kernels.vectors.elementwise import PARTIAL_BYTES
from fastflow.kernels.vectors.layouts import VECTOR_BYTES

PANEL_ROWS = 1 << (SHAPE.tile_rows.bit_length() - 1)
"""Rows of a panel, a power of 2: those of a register tile."""

LARGE = 2**26
"""Bytes from which on a matrix is not packed as a whole, nor copied for the sake of where its rows begin."""


class SharedMatrix(NamedTuple):
    """``r = A x - y`` with one A and y for every run, so that a product serves all members of a group.

    ``matrix`` (m * columns,), A row-major with rows that may be longer than n, and ``values`` (m,), y. The same once
    more for many runs: ``panels``, none of a matrix that is `LARGE`, ``panel_values`` (their rows,), and ``order``,
    `panel_order`.
    """

    matrix: np.ndarray
    values: np.ndarray
    panels: np.ndarray
    panel_values: np.ndarray
    order: np.ndarray


def parts_of(dtype: np.dtype) -> int:
    """How many partial sums an inner product has."""
    return PARTIAL_BYTES // dtype.itemsize


def lanes_of_vector(dtype: np.dtype) -> int:
    """Runs in a strip: one for each lane of a vector."""
    return VECTOR_BYTES // dtype.itemsize


def panel_order(n: int, dtype: np.dtype) -> np.ndarray:
    """Which of n coordinates lies at each place of a panel, -1 where none does; int64 array.

    Those of one partial sum follow each other, and the numbers of the sums are in the order of reversed bits, in which
    the tree adds neighbours first.
    """
    parts = parts_of(dtype)
    bits = parts.bit_length() - 1
    numbers = [int(f"{part:0{bits}b}"[::-1], 2) for part in range(parts)]
    order = np.array(numbers)[:, None] + parts * np.arange(-(-n // parts))
    return np.where(order < n, order, -1).ravel()


def padded_columns(matrices: Sequence[np.ndarray], dtype: DTypeLike) -> np.ndarray:
    """Matrices (m, n) of one shape flat, one row each, with zeros behind every row up to a whole cache line.

    A product with a vector that ends in zeros as well has the same bits and no vector that straddles two lines. One
    that is `LARGE` and lies by rows is taken as it is.
    """
    m, n = matrices[0].shape
    if stays(matrices, dtype):
        return only_read(matrices[0].reshape(1, -1))
    padded = aligned_zeros((len(matrices), m, _padded(n, dtype)), dtype)
    for i, matrix in enumerate(matrices):
        padded[i, :, :n] = matrix
    return padded.reshape(len(matrices), -1)


def padded_bytes(matrices: Sequence[np.ndarray], dtype: DTypeLike) -> int:
    """What `padded_columns` takes of memory: 0 of one matrix that it takes as it is."""
    m, n = matrices[0].shape
    return 0 if stays(matrices, dtype) else len(matrices) * m * _padded(n, dtype) * np.dtype(dtype).itemsize


def stays(arrays: Sequence[np.ndarray], dtype: DTypeLike) -> bool:
    """Whether kernels read an array where its owner has it: one alone, `LARGE`, in C order and of that dtype."""
    first = arrays[0]
    return len(arrays) == 1 and first.nbytes >= LARGE and first.dtype == dtype and first.flags.c_contiguous


def _padded(n: int, dtype: DTypeLike) -> int:
    """So many entries of whole cache lines, at least n."""
    per_line = CACHE_LINE // np.dtype(dtype).itemsize
    return -(-n // per_line) * per_line


def packed_bytes(shape: tuple[int, int], dtype: DTypeLike) -> int:
    """What the panels of a matrix of such a shape take of memory, 0 where there are none."""
    dtype = np.dtype(dtype)
    if shape[0] * shape[1] * dtype.itemsize >= LARGE:
        return 0
    return -(-shape[0] // PANEL_ROWS) * PANEL_ROWS * _padded(shape[1], dtype) * dtype.itemsize


def share_matrix(matrix: np.ndarray, values: np.ndarray, dtype: DTypeLike) -> SharedMatrix:
    """A (m, n) and y (m,), as many runs will want them."""
    dtype = np.dtype(dtype)
    m, n = matrix.shape
    order, panels = panel_order(n, dtype), -(-m // PANEL_ROWS)
    kept = panels if packed_bytes(matrix.shape, dtype) else 0
    packed = aligned_zeros((kept, len(order), PANEL_ROWS), dtype)
    used = order >= 0
    for panel in range(kept):
        rows = matrix[panel * PANEL_ROWS : (panel + 1) * PANEL_ROWS]
        packed[panel, used, : len(rows)] = rows.T[order[used]]
    panel_values = np.zeros(panels * PANEL_ROWS, dtype)
    panel_values[:m] = values
    return SharedMatrix(padded_columns([matrix], dtype)[0], values.astype(dtype), packed.ravel(), panel_values, order)


@scratch_size.register(SharedMatrix)
def _scratch_size(problem: SharedMatrix, size: int) -> int:
    return problem.values.size


@padded_size.register(SharedMatrix)
def _padded_size(problem: SharedMatrix, size: int) -> int:
    return problem.matrix.size // problem.values.size


@for_one_run.register(SharedMatrix)
def _for_one_run(problem: SharedMatrix, size: int) -> NamedTuple:
    return for_one_run(Sensing(problem.matrix[None], problem.values[None]), size)
