"""Steps of a diagonal network along some rows of its measurement matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.samples import Samples
from fastflow.kernels.networks.batches import are_finite, batch_places, batch_step
from fastflow.kernels.networks.diagonal_group import DiagonalGroup
from fastflow.kernels.networks.hadamard import hadamard_step
from fastflow.kernels.vectors.elementwise import ROWS_AT_ONCE, clear_at, rows_together
from fastflow.kernels.vectors.inner import measure_picked
from fastflow.kernels.vectors.layouts import address, item_bytes


class DiagonalBatches(NamedTuple):
    """A run of a diagonal network, a `networks.batches`; ``residuals`` (largest batch,)."""

    group: DiagonalGroup
    samples: Samples
    residuals: np.ndarray


def diagonal_batches(group: DiagonalGroup, samples: Samples, largest: int) -> DiagonalBatches:
    """Memory for one run at a time.

    Parameters
    ----------
    group : of one run
    samples : of its problems, whose rows are as long as those of the group's matrix
    largest : int, the samples of the largest batch
    """
    return DiagonalBatches(group, samples, np.zeros(largest, group.product.dtype))


class DiagonalBatchPlaces(NamedTuple):
    """Where the memory lies: addresses."""

    factors: int
    product: int
    gradient: int
    step: int
    moved: int
    rows: int
    labels: int
    picked: int
    residuals: int


@implements(batch_places, DiagonalBatches)
def _batch_places(batches, batch, at):
    return DiagonalBatchPlaces(
        at.factors,
        at.product,
        at.gradient,
        at.step,
        at.moved,
        address(batches.samples.rows, 0),
        address(batch.labels, 0),
        address(batch.picked, 0),
        address(batches.residuals, 0),
    )


@implements(batch_step, DiagonalBatches, inline=True)
def _batch_step(batches, places, at, widths, step, size):
    group, i = batches.group, np.intp
    group.step[0] = step
    return _step_along(group.product.dtype.type(0), places, i(size), i(batches.samples.width), i(widths[0]), group.form)


@jit_internal
def _step_along(zero, places, count, columns, n, form):
    size, first = item_bytes(zero), 0
    clear_at(zero, places.gradient, n)
    while first < count:
        rows, at = rows_together(count - first, ROWS_AT_ONCE), first * size
        residuals, labels, picked = places.residuals + at, places.labels + at, places.picked + 8 * first
        measure_picked(zero, residuals, labels, places.rows, picked, columns, rows, places.product, places.gradient)
        first += rows
    finite = are_finite(zero, places.residuals, count)
    if finite:
        hadamard_step(zero, places.factors, places.product, places.gradient, places.step, places.moved, n, n, form)
    return finite
