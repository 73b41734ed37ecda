"""Linear regression, by its samples or by their Gram matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import (
    arrays_in_lanes,
    for_one_run,
    formula,
    group_loss_gradient,
    loss_hessian,
    scratch_size,
)
from fastflow.kernels.vectors.elementwise import dot, residual, subtract
from fastflow.kernels.vectors.products import multiply, multiply_nt


class RegressionBySamples(NamedTuple):
    """Data of ``r = W X - Y``, sample by sample.

    Attributes
    ----------
    inputs : array (problems, columns * samples), X
    outputs : array (problems, rows * samples), Y
    """

    inputs: np.ndarray
    outputs: np.ndarray


class SharedSamples(NamedTuple):
    """`RegressionBySamples` of one problem for every run, so that a product serves all members of a group."""

    inputs: np.ndarray
    outputs: np.ndarray


class RegressionByGram(NamedTuple):
    """Data of ``r = W X - Y`` by ``X X^T``, measured from near the solution.

    With ``D = W - centre``: ``E = D gram - offset`` and ``f = 1/2 <D, D gram> - <D, offset> + floor``. Measured from
    there the loss keeps its relative accuracy down to the floor, which ``1/2 <W, W X X^T - 2 Y X^T> + 1/2 ||Y||^2``
    loses to cancellation.

    Attributes
    ----------
    centre : array (problems, rows * columns), (close to) a least-squares solution
    gram : array (problems, columns^2), ``X X^T``
    offset : array (problems, rows * columns), ``(Y - centre X) X^T``
    floor : array (problems, 1), ``1/2 ||Y - centre X||^2``
    """

    centre: np.ndarray
    gram: np.ndarray
    offset: np.ndarray
    floor: np.ndarray


@formula(RegressionBySamples, SharedSamples)
def _by_samples(problem, index, product, columns, work):
    outputs, residuals = problem.outputs[index], work.scratch
    rows = len(product) // columns
    samples = len(outputs) // rows
    multiply(residuals, 0, product, 0, problem.inputs[index], 0, rows, columns, samples)
    residual(residuals, residuals, outputs, len(outputs), work.loss)
    multiply_nt(work.gradient, 0, residuals, 0, problem.inputs[index], 0, rows, samples, columns)


@formula(RegressionByGram)
def _by_gram(problem, index, product, columns, work):
    offset, floor = problem.offset[index], problem.floor[index].ravel()
    gradient, deviation, loss, linear = (work.gradient, work.scratch, work.loss, work.number)
    size = len(product)
    subtract(deviation, product, problem.centre[index], size)
    multiply(gradient, 0, deviation, 0, problem.gram[index], 0, size // columns, columns, columns)
    dot(deviation, gradient, size, loss)
    dot(deviation, offset, size, linear)
    subtract(gradient, gradient, offset, size)
    half = gradient.dtype.type(0.5)
    for run in range(loss.size):
        loss[run] = half * loss[run] - linear[run] + floor[run]


@implements(group_loss_gradient, SharedSamples)
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


@implements(loss_hessian, RegressionBySamples, inline=True)
def _hessian_by_samples(problem, index, product, direction, columns, work):
    inputs, rows, scratch = problem.inputs[index], direction.size // columns, work.scratch
    samples = problem.outputs.shape[1] // rows
    multiply(scratch, 0, direction, 0, inputs, 0, rows, columns, samples)
    multiply_nt(work.gradient, 0, scratch, 0, inputs, 0, rows, samples, columns)


@implements(loss_hessian, RegressionByGram, inline=True)
def _hessian_by_gram(problem, index, product, direction, columns, work):
    rows = direction.size // columns
    multiply(work.gradient, 0, direction, 0, problem.gram[index], 0, rows, columns, columns)


@scratch_size.register(RegressionBySamples)
@scratch_size.register(SharedSamples)
def _scratch_size(problem: RegressionBySamples | SharedSamples, size: int) -> int:
    return max(size, problem.outputs.shape[1])


@for_one_run.register(SharedSamples)
def _for_one_run(problem: SharedSamples, size: int) -> RegressionBySamples:
    return RegressionBySamples(*problem)


arrays_in_lanes(RegressionBySamples, SharedSamples, RegressionByGram)
