"""Steps of a diagonal network along some rows of its measurement matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.samples import Samples
from fastflow.kernels.networks.batches import are_finite, batch_places, batch_rest, batch_step
from fastflow.kernels.networks.diagonal_group import DiagonalGroup
from fastflow.kernels.networks.hadamard import Form, hadamard_step_along
from fastflow.kernels.vectors.elementwise import ROWS_AT_ONCE, clear_at, rows_together
from fastflow.kernels.vectors.inner import measure_picked
from fastflow.kernels.vectors.layouts import address, integer_at, item_bytes, number_at


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
    """Where the memory lies: addresses, and the n of x, the columns of a row, and the form of the network."""

    factors: int
    product: int
    gradient: int
    rows: int
    labels: int
    picked: int
    residuals: int
    size: int
    columns: int
    form: Form


@implements(batch_places, DiagonalBatches)
def _batch_places(batches, batch, at):
    return DiagonalBatchPlaces(
        at.factors,
        at.product,
        at.gradient,
        address(batches.samples.rows, 0),
        address(batch.labels, 0),
        address(batch.picked, 0),
        address(batches.residuals, 0),
        batches.group.row.product.size,
        batches.samples.width,
        batches.group.form,
    )


@implements(batch_step, DiagonalBatchPlaces, inline=True)
def _batch_step(places, zero, widths, step, size):
    return _step_along(zero, places, step, size)


@implements(batch_rest, DiagonalBatchPlaces, inline=True)
def _batch_rest(places, zero, widths):
    pass  # x is kept in step


@jit_internal
def _step_along(zero, places, step, count):
    """A batch of one goes along its row, others along the sum of theirs."""
    size, n, columns, first = item_bytes(zero), np.intp(places.size), np.intp(places.columns), 0
    slope, gradient, share = places.gradient, places.gradient, zero + 1
    if count == 1:
        gradient, slope = 0, places.rows + integer_at(places.picked) * columns * size
    else:
        clear_at(zero, gradient, columns)
    while first < count:
        rows, at = rows_together(count - first, ROWS_AT_ONCE), first * size
        residuals, labels, picked = places.residuals + at, places.labels + at, places.picked + 8 * first
        measure_picked(zero, residuals, labels, places.rows, picked, columns, rows, places.product, gradient)
        first += rows
    finite = are_finite(zero, places.residuals, count)
    if finite:
        if count == 1:
            share = number_at(zero, places.residuals)
        hadamard_step_along(zero, places.factors, places.product, slope, share, step, n, n, places.form)
    return finite
