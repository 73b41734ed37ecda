"""A batch: some samples of a problem as a problem of its own, with labels of its own.

What moves by the gradient of a loss moves by that of a batch, if this stands where the problem stood.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.losses.loss import formula, half_square, scratch_size
from fastflow.kernels.losses.samples import ENTRIES, MEASUREMENTS, Samples, add_sample
from fastflow.kernels.vectors.elementwise import ROWS_AT_ONCE, clear_at, rows_together
from fastflow.kernels.vectors.inner import measure_picked
from fastflow.kernels.vectors.layouts import address, item_bytes, keep


class BatchLoss(NamedTuple):
    """``1/2 sum r^2`` over the first ``taken[0]`` of the samples ``picked`` (largest,), whose labels are ``labels``."""

    samples: Samples
    picked: np.ndarray
    labels: np.ndarray
    taken: np.ndarray


@scratch_size.register
def _scratch_size(problem: BatchLoss, size: int) -> int:
    return max(size, len(problem.labels))


@formula(BatchLoss)
def _of_batch(problem, index, product, columns, work):
    samples, picked, labels, count = problem.samples, problem.picked, problem.labels, problem.taken[0]
    residuals, gradient, zero, i = work.scratch, work.gradient, product.dtype.type(0), np.intp
    bytes_each, outputs, size = item_bytes(zero), samples.outputs, len(product)
    rows, left, e = address(samples.rows, 0), address(residuals, 0), address(gradient, 0)
    clear_at(zero, e, i(size))
    if samples.kind == ENTRIES:
        for q in range(count):
            entry = samples.entries[picked[q]]
            residuals[q] = product[entry] - labels[q]
            gradient[entry] += residuals[q]
    elif samples.kind == MEASUREMENTS:
        first = 0
        while first < count:
            together, part = rows_together(count - first, ROWS_AT_ONCE), first * bytes_each
            its_labels, its_picked = address(labels, 0) + part, address(picked, 0) + 8 * first
            measure_picked(zero, left + part, its_labels, rows, its_picked, i(size), together, address(product, 0), e)
            first += together
    else:
        for q in range(count):
            row, part = rows + picked[q] * columns * bytes_each, q * outputs * bytes_each
            its_labels = address(labels, 0) + part
            add_sample(zero, row, its_labels, i(columns), i(outputs), address(product, 0), left + part, e)
    keep(problem)
    keep(product)
    half_square(residuals, count * outputs, work.loss)
