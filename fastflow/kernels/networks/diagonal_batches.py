"""Steps of a diagonal network along some rows of its measurement matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.samples import Samples
from fastflow.kernels.networks.batches import are_finite, batch_begin, batch_places, batch_rest, batch_step
from fastflow.kernels.networks.diagonal_group import DiagonalGroup
from fastflow.kernels.networks.hadamard import Form, hadamard_step_along
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import ROWS_AT_ONCE, clear_at, copy_at, rows_together
from fastflow.kernels.vectors.inner import dot_rows_at, measure_picked
from fastflow.kernels.vectors.layouts import address, integer_at, item_bytes, number_at


class DiagonalBatches(NamedTuple):
    """A run of a diagonal network, a `networks.batches`.

    ``residuals`` (largest batch,); ``factors`` (parameters / n, columns), where the run's are while it takes steps,
    with zeros behind each as behind x and the rows of the matrix.
    """

    group: DiagonalGroup
    samples: Samples
    residuals: np.ndarray
    factors: np.ndarray


def diagonal_batches(group: DiagonalGroup, samples: Samples, largest: int) -> DiagonalBatches:
    """Memory for one run at a time.

    Parameters
    ----------
    group : of one run
    samples : of its problems, whose rows are as long as those of the group's matrix
    largest : int, the samples of the largest batch
    """
    dtype, count = group.product.dtype, group.row_factors.size // group.row.product.size
    return DiagonalBatches(group, samples, np.zeros(largest, dtype), aligned_zeros((count * samples.width,), dtype))


class DiagonalBatchPlaces(NamedTuple):
    """Where the memory lies: addresses, and the number of factors, the n of x, the columns of a row, and the form.

    ``factors`` are those that the steps move, ``its_factors`` those of the group.
    """

    factors: int
    its_factors: int
    product: int
    gradient: int
    rows: int
    labels: int
    picked: int
    residuals: int
    factor_count: int
    size: int
    columns: int
    form: Form


@implements(batch_places, DiagonalBatches)
def _batch_places(batches, batch, at):
    size = batches.group.row.product.size
    return DiagonalBatchPlaces(
        address(batches.factors, 0),
        at.factors,
        at.product,
        at.gradient,
        address(batches.samples.rows, 0),
        address(batch.labels, 0),
        address(batch.picked, 0),
        address(batches.residuals, 0),
        batches.group.row_factors.size // size,
        size,
        batches.samples.width,
        batches.group.form,
    )


@implements(batch_begin, DiagonalBatchPlaces, inline=True)
def _batch_begin(places, zero, widths):
    _copy_all(zero, places, places.factors, places.columns, places.its_factors, places.size)


@implements(batch_rest, DiagonalBatchPlaces, inline=True)
def _batch_rest(places, zero, widths):
    _copy_all(zero, places, places.its_factors, places.size, places.factors, places.columns)


@jit_internal
def _copy_all(zero, places, to, to_row, source, source_row):
    for j in range(places.factor_count):
        copy_at(zero, to + j * to_row * item_bytes(zero), source + j * source_row * item_bytes(zero), places.size)


@implements(batch_step, DiagonalBatchPlaces, inline=True)
def _batch_step(places, zero, widths, step, size):
    return _step_along(zero, places, step, size)


@jit_internal
def _step_along(zero, places, step, count):
    """A batch of one goes along its row, others along the sum of theirs."""
    size, columns, first = item_bytes(zero), np.intp(places.columns), 0
    slope, gradient, share = places.gradient, places.gradient, zero + 1
    if count == 1:
        gradient, slope = 0, row_of_sample(places, zero)
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
        step_to(zero, places, places.product, slope, share, step, slope)
    return finite


@jit_inline
def row_of_sample(places, zero):
    """The address of the row of the one sample that is picked."""
    return places.rows + integer_at(places.picked) * places.columns * item_bytes(zero)


@jit_inline
def label_of_sample(places, zero):
    """The label of the one sample that is picked."""
    return number_at(zero, places.labels)


@jit_internal
def product_with_row(zero, places, row):
    """``<row, x>``, of x as the last step or the group has written it."""
    columns = np.intp(places.columns)
    dot_rows_at(zero, places.residuals, row, columns, columns, 1, places.product)
    return number_at(zero, places.residuals)


@jit_inline
def step_to(zero, places, x, g, share, step, row):
    """A step along ``share`` times g, x after it to its address unless that is 0, and ``<row, x>``."""
    return _step_to(zero, places.factors, x, g, row, np.intp(places.columns), share, step, places.form)


@jit_internal
def _step_to(zero, factors, x, g, row, columns, share, step, form):
    # Numbers apart, as all places would go through the stack at each step.
    return hadamard_step_along(zero, factors, x, g, share, step, row, columns, form)
