"""Sensing: linear measurements of a matrix, or of a vector."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import (
    Zeros,
    for_one_run,
    formula,
    group_loss_gradient,
    half_square,
    load_lane,
    loss_hessian,
    padded_size,
    scratch_size,
    to_lanes,
    widest_in_lanes,
)
from fastflow.kernels.vectors.inner import measure_rows, times, transposed_times
from fastflow.kernels.vectors.layouts import address, flattened, item_bytes, keep
from fastflow.kernels.vectors.products import multiply, multiply_tn
from fastflow.kernels.vectors.row_tiles import row_product, row_tiles

SENSING_LANE_WIDTH = 6
"""Runs that share operators travel in lanes up to this width: their products want more columns than there are lanes
(measured)."""

SENSING_BLOCK = 128
"""Most measurements of a block of shared operators."""


class Sensing(NamedTuple):
    """Data of ``r_i = <A_i, W> - values_i``.

    Attributes
    ----------
    operators : array (problems, measurements * rows * columns), row-major
    values : array (problems, measurements)

    Examples
    --------
    >>> operators = np.array([[[1.0, 0, 0, 0], [0, 0, 0, 1]]])  # of one problem, flat
    >>> problem = ff.kernels.Sensing(operators, np.array([[3.0, 1.0]]))
    """

    operators: np.ndarray
    values: np.ndarray


class SharedSensing(NamedTuple):
    """`Sensing` with the same operators for every run, so that a product serves all members of a group.

    operators (measurements * rows * columns,), row-major; values (measurements,).
    """

    operators: np.ndarray
    values: np.ndarray


@formula(Sensing)
def _sensing(problem, index, product, columns, work):
    operators, values, i = problem.operators[index], problem.values[index], np.intp
    residual, gradient = work.scratch, work.gradient
    measure_rows(
        product.dtype.type(0),
        address(operators, i(0)),
        address(values, i(0)),
        i(values.size),
        i(len(product)),
        address(product, i(0)),
        address(residual, i(0)),
        address(gradient, i(0)),
    )
    keep(operators)
    keep(values)
    half_square(residual, values.size, work.loss)


@formula(SharedSensing)
def _shared_sensing(problem, index, product, columns, work):
    # One run per lane: the lanes are the columns of a matrix, which the operators multiply from the left.
    measurements, size, lanes = problem.values.size, len(product), work.loss.size
    residual = flattened(work.scratch)
    multiply(residual, 0, problem.operators, 0, flattened(product), 0, measurements, size, lanes)
    for i in range(measurements):
        for lane in range(lanes):
            residual[i * lanes + lane] -= problem.values[i]
    multiply_tn(flattened(work.gradient), 0, problem.operators, 0, residual, 0, size, measurements, lanes)
    half_square(work.scratch, measurements, work.loss)


@implements(group_loss_gradient, SharedSensing)
def _sensing_of_group(problem, products, columns, work):
    # The operators are a matrix (measurements, size), and the products of all members another. A block of the operators
    # serves both products with them while it is in the second-level cache.
    measurements, members, residuals, i = problem.values.size, work.loss.size, work.scratch, np.intp
    zero = products.dtype.type(0)
    bytes_each, size, nowhere = item_bytes(zero), products.size // members, i(0)
    at, x, r = address(problem.operators, i(0)), address(products, i(0)), address(residuals, i(0))
    g = address(work.gradient, i(0))
    block = (measurements - 1) // (1 + (measurements - 1) // SENSING_BLOCK) // 8 * 8 + 8
    first = 0
    while first < measurements:
        count = min(block, measurements - first)
        part, row, one = r + first * bytes_each, i(measurements), i(1)
        row_product(zero, part, row, x, i(size), one, at, one, i(size), i(members), i(size), i(count))
        for member in range(members):
            for k in range(first, first + count):
                residuals[member * measurements + k] -= problem.values[k]
        resume = first > 0
        row_tiles(
            zero,
            g,
            i(size),
            part,
            row,
            one,
            at,
            i(size),
            one,
            i(members),
            i(count),
            i(size),
            resume,
            False,
            nowhere,
            nowhere,
            nowhere,
        )
        first += count
        at += count * size * bytes_each
    for member in range(members):
        part_of_member = residuals[member * measurements : (member + 1) * measurements]
        half_square(part_of_member, measurements, work.loss[member : member + 1])
    keep(problem)
    keep(products)
    keep(residuals)
    keep(work)


@implements(loss_hessian, Sensing, inline=True)
def _hessian(problem, index, product, direction, columns, work):
    matrix, m, size = problem.operators[index], problem.values.shape[1], direction.size
    times(matrix, m, size, direction, work.scratch)
    transposed_times(matrix, m, size, work.scratch, work.gradient)


@scratch_size.register(Sensing)
@scratch_size.register(SharedSensing)
def _scratch_size(problem: Sensing | SharedSensing, size: int) -> int:
    return max(size, problem.values.shape[-1])


@padded_size.register(Sensing)
def _padded_size(problem: Sensing, size: int) -> int:
    return problem.operators.shape[1] // problem.values.shape[1]


@to_lanes.register(SharedSensing)
def _to_lanes(problem: SharedSensing, size: int, lanes: int, zeros: Zeros = np.zeros) -> SharedSensing:
    return problem


@implements(load_lane, SharedSensing)
def _load_lane(laid_out, lane, problem, index):
    pass


@widest_in_lanes.register(SharedSensing)
def _widest_in_lanes(problem: SharedSensing) -> float:
    return SENSING_LANE_WIDTH


@for_one_run.register(Sensing)
def _for_one_run(problem: Sensing, size: int) -> Sensing:
    """Rows lose what `padded_columns` has added."""
    operators, values = problem
    rows = operators.reshape(*values.shape, -1)[..., :size]
    return Sensing(np.ascontiguousarray(rows).reshape(len(operators), -1), values)


@for_one_run.register(SharedSensing)
def _alone(problem: SharedSensing, size: int) -> Sensing:
    return _for_one_run(Sensing(problem.operators[None], problem.values[None]), size)
