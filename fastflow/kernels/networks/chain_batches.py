"""Steps of a chain of matrices along some of its samples.

There are two ways. By matrices: the product W, the gradient E of the batch by it, and a sweep back as all chains do.
By vectors: ``E = sum_q a_q b_q^T`` over the samples, with ``p_j = W_j ... W_1 b`` and ``s_j = W_{j+1}^T ... W_N^T a``
for each, so that ``G_j = sum_q s_j p_{j-1}^T``: products of matrices with vectors, none of matrices. For an
observed entry a and b are multiples of unit vectors, so that of W_1 a column alone moves, and of W_N a row. From the
first such step to the last W_1 lies transposed, so that both are vectors in memory.

`most_by_vectors` decides by the shapes alone. A measurement of W has no such vectors, and goes by matrices, as one
factor does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.samples import ENTRIES, MEASUREMENTS, Samples, add_sample
from fastflow.kernels.networks.batches import are_finite, batch_begin, batch_places, batch_rest, batch_step
from fastflow.kernels.networks.chain import chain_product_at, chain_sweep_back
from fastflow.kernels.networks.chain_group import ChainGroup, GroupPlaces
from fastflow.kernels.networks.chain_steps import BySteps
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import (
    ROWS_AT_ONCE,
    add_scaled_at,
    clear_at,
    copy_at,
    rows_together,
    scale_at,
)
from fastflow.kernels.vectors.inner import (
    add_combination_at,
    add_rows_at,
    dot_rows_at,
    measure_picked,
    times_at,
    transposed_times_at,
)
from fastflow.kernels.vectors.layouts import (
    Padded,
    address,
    integer_at,
    item_bytes,
    number_at,
    number_of,
    padded_width,
    pitch,
    set_integer,
    set_number,
)

SLOWER = 4
"""How many operations of a product of matrices take as long as one of a product with a vector (measured)."""


class ChainBatches(NamedTuple):
    """A run of a chain, a `networks.batches`.

    ``residuals`` (largest batch * outputs,); ``forward`` and ``back``, for each width d_j in turn the vectors p_j and
    s_j of all samples, rows of `padded_width`; ``shares`` (largest batch,), what each sample adds to a row. ``most`` is
    `most_by_vectors`, and no more than there are. Of entries, where some go by vectors: ``across`` (d_0, `padded_width`
    of d_1), W_1 transposed, ``turned`` (1,), whether W_1 lies there, and ``spots`` (samples, 2), at how many bytes its
    row of W_N and its row of ``across`` begin.
    """

    group: ChainGroup
    samples: Samples
    residuals: np.ndarray
    forward: np.ndarray
    back: np.ndarray
    shares: np.ndarray
    across: np.ndarray
    turned: np.ndarray
    spots: np.ndarray
    most: int


def most_by_vectors(kind: int, widths: Sequence[int]) -> int:
    """The samples of the largest batch that is taken by vectors."""
    if kind == MEASUREMENTS:
        return 0
    sizes = [after * before for before, after in pairwise(widths)]
    whole = 6 * min(widths[0] * sum(sizes[1:]), widths[-1] * sum(sizes[:-1]))
    each = 6 * sum(sizes[1:-1] if kind == ENTRIES else sizes) + 6 * (widths[0] + widths[-1])
    return whole // (SLOWER * each)


def chain_batches(group: ChainGroup, samples: Samples, widths: Sequence[int], largest: int) -> ChainBatches:
    """Memory for one run at a time.

    Parameters
    ----------
    group : of one run
    samples : of its problems
    widths : (d_0, ..., d_N)
    largest : int, the samples of the largest batch
    """
    dtype = group.row_factors.dtype
    most = min(most_by_vectors(samples.kind, widths), largest)
    padded = [int(padded_width.py_func(width, dtype.itemsize)) for width in widths]
    length, spots = most * sum(padded), np.zeros((0, 2), np.int64)
    if samples.kind == ENTRIES and most > 0:
        pitches = np.array([padded[-2], padded[1]], np.int64) * dtype.itemsize
        spots = np.stack(np.divmod(samples.entries, widths[0]), axis=1) * pitches
    return ChainBatches(
        group,
        samples,
        np.zeros(largest * samples.outputs, dtype),
        aligned_zeros((length,), dtype),
        aligned_zeros((length,), dtype),
        np.zeros(largest, dtype),
        aligned_zeros((widths[0] * padded[1] if len(spots) else 0,), dtype),
        np.zeros(1, np.int64),
        spots.ravel(),
        most,
    )


class ChainBatchPlaces(NamedTuple):
    """Where the memory lies: addresses, with those of the group, the kind of samples, and ``most`` by vectors."""

    group: GroupPlaces
    rows: int
    labels: int
    picked: int
    entries: int
    residuals: int
    forward: int
    back: int
    shares: int
    across: int
    turned: int
    spots: int
    kind: int
    most: int


@implements(batch_places, ChainBatches)
def _batch_places(batches, batch, at):
    return ChainBatchPlaces(
        at,
        address(batches.samples.rows, 0),
        address(batch.labels, 0),
        address(batch.picked, 0),
        address(batches.samples.entries, 0),
        address(batches.residuals, 0),
        address(batches.forward, 0),
        address(batches.back, 0),
        address(batches.shares, 0),
        address(batches.across, 0),
        address(batches.turned, 0),
        address(batches.spots, 0),
        batches.samples.kind,
        batches.most,
    )


@implements(batch_step, ChainBatchPlaces, inline=True)
def _batch_step(places, zero, widths, step, size):
    factors = places.group.chain.factors
    along = size <= places.most
    _turn(Padded(zero, np.intp(0)), widths, places, int(along and places.kind == ENTRIES))
    if not along:
        finite = _by_matrices(Padded(zero, np.intp(0)), widths, places, step, size)
    elif places.kind == ENTRIES:
        finite = _along_entries(Padded(zero, np.intp(0)), widths, places, factors, step, size)
    else:
        finite = _along_columns(Padded(zero, np.intp(0)), widths, places, factors, step, size)
    return finite


@implements(batch_begin, ChainBatchPlaces, inline=True)
def _batch_begin(places, zero, widths):
    pass  # by the first step, if it wants them elsewhere


@implements(batch_rest, ChainBatchPlaces, inline=True)
def _batch_rest(places, zero, widths):
    _turn(Padded(zero, np.intp(0)), widths, places, 0)


@jit_inline
def _turn(layout, widths, places, wanted):
    """Have W_1 transposed (1), or as the group has it (0)."""
    if integer_at(places.turned) != wanted:
        set_integer(places.turned, wanted)
        _turn_first(layout, widths, places.group.chain.factors, places.across, wanted)


@jit_internal
def _turn_first(layout, widths, factors, across, wanted):
    zero, columns, rows, depth = number_of(layout), widths[0], widths[1], widths.size - 1
    row, own, size = pitch(layout, columns), pitch(layout, rows), item_bytes(zero)
    for i in range(rows):
        for j in range(columns):
            here, there = factors + (i * row + j) * size, across + (j * own + i) * size
            if wanted:
                set_number(zero, there, number_at(zero, here))
            else:
                set_number(zero, here, number_at(zero, there))
    if wanted:
        # Steps go over whole vectors: a run before may have left NaN in the padding, 0 times what was infinite.
        for j in range(columns):
            clear_at(zero, across + (j * own + rows) * size, own - rows)
        last, width = _last_of(layout, widths, factors), widths[depth - 1]
        for i in range(widths[depth]):
            clear_at(zero, last + (i * pitch(layout, width) + width) * size, pitch(layout, width) - width)


@jit_inline
def _last_of(layout, widths, factors):
    """The address of W_N."""
    for j in range(1, widths.size - 1):
        factors += widths[j] * pitch(layout, widths[j - 1]) * item_bytes(number_of(layout))
    return factors


@jit_inline
def _by_matrices(layout, widths, places, step, count):
    zero, at = number_of(layout), places.group
    set_number(zero, at.step, step)
    chain_product_at(layout, widths, at.chain)
    finite = _batch_gradient(zero, places.kind, widths, places, at, count)
    if finite:
        chain_sweep_back(layout, widths, at.end_gradient, at.chain, BySteps(at.step, at.moved), True)
    return finite


@jit_internal
def _batch_gradient(zero, kind, widths, places, at, count):
    """The gradient of a batch by the product; whether its residuals are finite."""
    bytes_each, columns, rows = item_bytes(zero), widths[0], widths[widths.size - 1]
    size, residuals, product, gradient = rows * columns, places.residuals, at.chain.product, at.end_gradient
    clear_at(zero, gradient, size)
    outputs = 1
    if kind == MEASUREMENTS:
        first = 0
        while first < count:
            together, part = rows_together(count - first, ROWS_AT_ONCE), first * bytes_each
            picked = places.picked + 8 * first
            measure_picked(
                zero,
                residuals + part,
                places.labels + part,
                places.rows,
                picked,
                size,
                together,
                product,
                gradient,
            )
            first += together
    elif kind == ENTRIES:
        for q in range(count):
            place = integer_at(places.entries + 8 * integer_at(places.picked + 8 * q)) * bytes_each
            left = number_at(zero, product + place) - number_at(zero, places.labels + q * bytes_each)
            set_number(zero, residuals + q * bytes_each, left)
            set_number(zero, gradient + place, number_at(zero, gradient + place) + left)
    else:
        outputs = rows
        for q in range(count):
            row = places.rows + integer_at(places.picked + 8 * q) * columns * bytes_each
            left, labels = residuals + q * rows * bytes_each, places.labels + q * rows * bytes_each
            add_sample(zero, row, labels, columns, rows, product, left, gradient)
    return are_finite(zero, residuals, count * outputs)


@jit_inline
def _subtract_at(zero, a, b, count):
    for i in range(count):
        place = i * item_bytes(zero)
        set_number(zero, a + place, number_at(zero, a + place) - number_at(zero, b + place))


@jit_internal
def _along_columns(layout, widths, places, factors, step, count):
    zero, vectors = number_of(layout), places.most
    bytes_each, depth = item_bytes(zero), widths.size - 1
    columns, rows = widths[0], widths[depth]
    # Each sample's p_j, and its residuals.
    for q in range(count):
        sample = integer_at(places.picked + 8 * q)
        factor, place = factors, vectors * pitch(layout, columns) * bytes_each
        before = places.forward + q * pitch(layout, columns) * bytes_each
        copy_at(zero, before, places.rows + sample * columns * bytes_each, columns)
        for j in range(1, depth):
            inner, width = pitch(layout, widths[j - 1]), widths[j]
            target = places.forward + place + q * pitch(layout, width) * bytes_each
            times_at(zero, factor, inner, width, widths[j - 1], before, target)
            factor += width * inner * bytes_each
            place += vectors * pitch(layout, width) * bytes_each
            before = target
        inner, width = pitch(layout, widths[depth - 1]), widths[depth - 1]
        left = places.residuals + q * rows * bytes_each
        times_at(zero, factor, inner, rows, width, before, left)
        _subtract_at(zero, left, places.labels + q * rows * bytes_each, rows)
        # Its s_j, down to the one that moves W_1.
        later = places.back + place + q * pitch(layout, rows) * bytes_each
        copy_at(zero, later, left, rows)
        for j in range(depth, 1, -1):
            inner, width = pitch(layout, widths[j - 1]), widths[j - 1]
            place -= vectors * inner * bytes_each
            target = places.back + place + q * inner * bytes_each
            transposed_times_at(zero, factor, inner, widths[j], width, later, target)
            factor -= width * pitch(layout, widths[j - 2]) * bytes_each
            later = target
    finite = are_finite(zero, places.residuals, count * rows)
    if finite:
        _move_by_vectors(layout, widths, places, factors, 1, depth, step, count)
    return finite


@jit_internal
def _along_entries(layout, widths, places, factors, step, count):
    # As `_along_columns`, where p_1 is a row of the transposed W_1, and s_{N-1} a multiple of one of W_N. Of these
    # whole vectors are taken: the padding is 0.
    zero, vectors = number_of(layout), places.most
    bytes_each, depth = item_bytes(zero), widths.size - 1
    own, inner, last = pitch(layout, widths[1]), pitch(layout, widths[depth - 1]), _last_of(layout, widths, factors)
    first = vectors * pitch(layout, widths[0]) * bytes_each
    end = first
    for j in range(1, depth - 1):
        end += vectors * pitch(layout, widths[j]) * bytes_each
    for q in range(count):
        spot = places.spots + 16 * integer_at(places.picked + 8 * q)
        row, target = last + integer_at(spot), places.forward + first + q * own * bytes_each
        copy_at(zero, target, places.across + integer_at(spot + 8), own)
        factor, place, before = factors + widths[1] * pitch(layout, widths[0]) * bytes_each, first, target
        for j in range(2, depth):
            between, width = pitch(layout, widths[j - 1]), widths[j]
            place += vectors * between * bytes_each
            target = places.forward + place + q * pitch(layout, width) * bytes_each
            times_at(zero, factor, between, width, widths[j - 1], before, target)
            factor += width * between * bytes_each
            before = target
        left = places.residuals + q * bytes_each
        dot_rows_at(zero, left, row, inner, inner, 1, before)
        residual = number_at(zero, left) - number_at(zero, places.labels + q * bytes_each)
        set_number(zero, left, residual)
        later = places.back + end + q * inner * bytes_each
        scale_at(zero, later, residual, row, inner)
        for j in range(depth - 1, 1, -1):
            between, width = pitch(layout, widths[j - 1]), widths[j - 1]
            factor -= widths[j] * between * bytes_each
            place -= vectors * between * bytes_each
            target = places.back + place + q * between * bytes_each
            transposed_times_at(zero, factor, between, widths[j], width, later, target)
            later = target
    finite = are_finite(zero, places.residuals, count)
    if finite:
        for q in range(count):
            spot = places.spots + 16 * integer_at(places.picked + 8 * q)
            set_number(zero, places.shares, -step * number_at(zero, places.residuals + q * bytes_each))
            before = places.forward + end + q * inner * bytes_each
            add_rows_at(zero, last + integer_at(spot), places.shares, before, inner, inner, 1)
            its = places.back + first + q * own * bytes_each
            add_scaled_at(zero, places.across + integer_at(spot + 8), -step, its, own)
        if depth > 2:
            _move_by_vectors(layout, widths, places, factors, 2, depth - 1, step, count)
    return finite


@jit_internal
def _move_by_vectors(layout, widths, places, factors, lowest, highest, step, count):
    """``W_j <- W_j - step sum_q s_j p_{j-1}^T`` of some j, where nothing is known to be zero."""
    zero, vectors = number_of(layout), places.most
    bytes_each = item_bytes(zero)
    factor, place = factors, 0
    for j in range(1, highest + 1):
        inner, width = pitch(layout, widths[j - 1]), widths[j]
        after = place + vectors * inner * bytes_each
        if j >= lowest:
            own = pitch(layout, width)
            for i in range(width):
                for q in range(count):
                    share = -step * number_at(zero, places.back + after + (q * own + i) * bytes_each)
                    set_number(zero, places.shares + q * bytes_each, share)
                target = factor + i * inner * bytes_each
                add_combination_at(zero, target, places.shares, places.forward + place, inner, widths[j - 1], count)
        factor += width * inner * bytes_each
        place = after
