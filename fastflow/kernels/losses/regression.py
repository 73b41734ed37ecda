"""Linear regression, by its samples, by their Gram matrix, or by a root of that.

One product with ``X X^T`` is the cheapest gradient, but squares the condition of X: where W is wrong along weak
directions only, its loss is a small difference of large numbers, and may even be negative. So steps are taken by it,
and what is said of them, a record, an end, is the loss by a root L of ``X X^T = L L^T`` (`settled_loss`), a sum of
squares. Flows, which come to where weak directions count, take the gradient from there as well.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import (
    Zeros,
    arrays_in_lanes,
    for_one_run,
    formula,
    group_loss_gradient,
    load_lane,
    loss_hessian,
    scratch_size,
    settled_loss,
    to_lanes,
)
from fastflow.kernels.vectors.elementwise import dot, residual, subtract
from fastflow.kernels.vectors.layouts import flattened
from fastflow.kernels.vectors.products import multiply, multiply_nt

IN_LANES = ("centre", "gram", "offset", "floor")
"""What steps by a Gram matrix read of `RegressionByGram`."""


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
    there the loss keeps its accuracy down to the floor, which ``1/2 <W, W X X^T - 2 Y X^T> + 1/2 ||Y||^2`` loses to
    cancellation, but for weak directions of X: what is said is ``f = 1/2 ||D root - rest||^2 + least``.

    Attributes
    ----------
    centre : array (problems, rows * columns), (close to) a least-squares solution
    gram : array (problems, columns^2), ``X X^T``
    offset : array (problems, rows * columns), ``(Y - centre X) X^T``
    floor : array (problems, 1), ``1/2 ||Y - centre X||^2``
    root : float64 array (problems, columns^2), the transpose of R in ``X^T = Q R``
    rest : float64 array (problems, rows * columns), ``(Y - centre X) Q``
    least : float64 array (problems, 1), half the square of what ``Y - centre X`` is off the range of Q
    """

    centre: np.ndarray
    gram: np.ndarray
    offset: np.ndarray
    floor: np.ndarray
    root: np.ndarray
    rest: np.ndarray
    least: np.ndarray


class RegressionByRoot(NamedTuple):
    """Data of ``r = (W - centre) root - rest`` with the loss ``1/2 ||r||^2 + least``, see `RegressionByGram`."""

    centre: np.ndarray
    root: np.ndarray
    rest: np.ndarray
    least: np.ndarray


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
    offset, floor = problem.offset[index], flattened(problem.floor[index])
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


@implements(settled_loss, RegressionByGram)
def _settled(problem, index, product, columns, loss):
    centre, root, rest = problem.centre[index], problem.root[index], problem.rest[index]
    squares, left = 0.0, np.zeros(columns)
    for row in range(product.size // columns):
        for k in range(columns):
            left[k] = -rest[row * columns + k]
        for j in range(columns):
            deviation = np.float64(product[row * columns + j]) - np.float64(centre[row * columns + j])
            for k in range(j + 1):  # the root is lower triangular
                left[k] += deviation * root[j * columns + k]
        for k in range(columns):
            squares += left[k] * left[k]
    return 0.5 * squares + problem.least[index, 0]


@formula(RegressionByRoot)
def _by_root(problem, index, product, columns, work):
    root, gradient, residuals, size = problem.root[index], work.gradient, work.scratch, len(product)
    subtract(gradient, product, problem.centre[index], size)
    multiply(residuals, 0, gradient, 0, root, 0, size // columns, columns, columns)
    residual(residuals, residuals, problem.rest[index], size, work.loss)
    multiply_nt(gradient, 0, residuals, 0, root, 0, size // columns, columns, columns)
    least = flattened(problem.least[index])
    for run in range(work.loss.size):
        work.loss[run] += least[run]


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


@implements(loss_hessian, RegressionByRoot, inline=True)
def _hessian_by_root(problem, index, product, direction, columns, work):
    rows, root = direction.size // columns, problem.root[index]
    multiply(work.scratch, 0, direction, 0, root, 0, rows, columns, columns)
    multiply_nt(work.gradient, 0, work.scratch, 0, root, 0, rows, columns, columns)


@scratch_size.register(RegressionBySamples)
@scratch_size.register(SharedSamples)
def _scratch_size(problem: RegressionBySamples | SharedSamples, size: int) -> int:
    return max(size, problem.outputs.shape[1])


@for_one_run.register(SharedSamples)
def _for_one_run(problem: SharedSamples, size: int) -> RegressionBySamples:
    return RegressionBySamples(*problem)


@for_one_run.register(RegressionByGram)
def _root_for_one_run(problem: RegressionByGram, size: int) -> RegressionByRoot:
    return RegressionByRoot(problem.centre, problem.root, problem.rest, problem.least)


arrays_in_lanes(RegressionBySamples, SharedSamples, RegressionByRoot)


@to_lanes.register(RegressionByGram)
def _gram_to_lanes(problem: RegressionByGram, size: int, lanes: int, zeros: Zeros = np.zeros) -> RegressionByGram:
    """Without what `settled_loss` wants, which sees the problem as it is."""
    room = {name: zeros((1, getattr(problem, name).shape[1], lanes), problem.gram.dtype) for name in IN_LANES}
    return problem._replace(**room)


@implements(load_lane, RegressionByGram)
def _load_gram(laid_out, lane, problem, index):
    for k in range(problem.gram.shape[1]):
        laid_out.gram[0, k, lane] = problem.gram[index, k]
    for k in range(problem.centre.shape[1]):
        laid_out.centre[0, k, lane], laid_out.offset[0, k, lane] = problem.centre[index, k], problem.offset[index, k]
    laid_out.floor[0, 0, lane] = problem.floor[index, 0]
