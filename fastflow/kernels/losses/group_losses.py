"""Losses of a group of runs that share the data of their problem, so that one product serves them all."""

from __future__ import annotations

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, kernel_overload
from fastflow.kernels.losses.formulas import SharedSamples, SharedSensing, half_square
from fastflow.kernels.vectors.elementwise import residual
from fastflow.kernels.vectors.layouts import address, item_bytes, keep
from fastflow.kernels.vectors.products import multiply, multiply_nt, row_product, row_tiles

SENSING_BLOCK = 128
"""Most measurements of a block of shared operators."""


def group_loss_gradient(problem, products, columns, work):
    """`loss_gradient` of a group of runs one after the other that share the data of their problem.

    Parameters
    ----------
    problem : SharedSensing or SharedSamples
    products : array (members * rows * columns,)
    columns : int
    work : LossWorkspace, with room for all members
    """
    raise TypeError("group_loss_gradient is for compiled code")


@kernel_overload(group_loss_gradient)
def _group_loss_gradient(problem, products, columns, work):
    return {SharedSensing: _sensing_of_group, SharedSamples: _samples_of_group}[problem.instance_class]


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


def _samples_of_group(problem, products, columns, work):
    # The rows of all members are the rows of one matrix, which the inputs multiply from the right.
    inputs, outputs, members, residual = problem.inputs[0], problem.outputs[0], work.loss.size, work.scratch
    size = products.size // members
    samples, rows = inputs.size // columns, members * (size // columns)
    multiply(residual, 0, products, 0, inputs, 0, rows, columns, samples)
    for member in range(members):
        _member_residual(residual, member, outputs, work.loss)
    multiply_nt(work.gradient, 0, residual, 0, inputs, 0, rows, samples, columns)


@jit_inline
def _member_residual(residuals, member, observed, loss):
    """``r = r - observed`` in one member's part of the residuals, and the loss of that member."""
    size = observed.size
    part = residuals[member * size : (member + 1) * size]
    residual(part, part, observed, size, loss[member : member + 1])
