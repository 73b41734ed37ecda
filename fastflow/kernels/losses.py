"""Losses ``f = 1/2 sum r_i^2`` of a product W, and their gradients ``E`` by W: the problems as the kernels see them.

A problem is a plain NamedTuple of arrays whose first axis runs over problems, so that one compiled function serves data
shared by all runs (length 1) and data of one problem per run. `loss_gradient` picks the formula by the NamedTuple's type
when it is compiled. Matrices are stored flat and row-major; ``W`` is (rows, columns) = (d_N, d_0).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from fastflow.kernels.jit import jit
from fastflow.kernels.products import multiply
from fastflow.kernels.simd import dot


class Estimation(NamedTuple):
    """``r = W - target``; target (problems, rows * columns)."""

    target: np.ndarray


class Completion(NamedTuple):
    """``r = W[entry] - value`` over observed entries, flat indices ``row * columns + column``.

    Problem p owns ``entries[bounds[p]:bounds[p + 1]]`` and the values at the same places.
    """

    entries: np.ndarray
    values: np.ndarray
    bounds: np.ndarray


class Sensing(NamedTuple):
    """``r_i = <A_i, W> - values_i``; operators (problems, measurements, rows * columns), values (problems, measurements)."""

    operators: np.ndarray
    values: np.ndarray


class RegressionBySamples(NamedTuple):
    """``r = W X - Y``; inputs X (problems, columns * samples), inputs_transposed, outputs Y (problems, rows * samples)."""

    inputs: np.ndarray
    inputs_transposed: np.ndarray
    outputs: np.ndarray


class RegressionByGram(NamedTuple):
    """``r = W X - Y`` through ``D = W - centre``: ``E = D gram - offset``, ``f = 1/2 <D, E - offset> + floor``.

    ``centre`` is (close to) a least-squares solution, ``gram = X X^T``, ``offset = (Y - centre X) X^T`` and
    ``floor = 1/2 ||Y - centre X||^2``. Measured from there the loss keeps its relative accuracy down to the floor, which
    ``1/2 <W, W X X^T - 2 Y X^T> + 1/2 ||Y||^2`` loses to cancellation. Arrays (problems, ...), flat.
    """

    centre: np.ndarray
    gram: np.ndarray
    offset: np.ndarray
    floor: np.ndarray


class LossWorkspace(NamedTuple):
    """Memory for `loss_gradient`: ``gradient`` E (rows * columns), and ``scratch`` of `scratch_size` elements."""

    gradient: np.ndarray
    scratch: np.ndarray


def loss_gradient(problem, index, product, columns, work):
    """The loss of one problem at W, and its gradient by W in ``work.gradient``.

    Parameters
    ----------
    problem : one of the NamedTuples of this module
    index : int, which of the problems
    product : array (rows * columns,), W
    columns : int
    work : LossWorkspace

    Returns
    -------
    float, ``1/2 sum r_i^2``
    """
    raise TypeError(f"loss_gradient is for compiled code; no formula is known for {type(problem).__name__}")


def scratch_size(problem: NamedTuple, size: int) -> int:
    """How many elements of scratch `loss_gradient` needs for a W of ``size`` entries."""
    samples = problem.outputs.shape[1] if isinstance(problem, RegressionBySamples) else 0
    return max(size, samples)


_FORMULAS = {}


def _formula(problem_class):
    def register(function):
        _FORMULAS[problem_class] = function
        return function

    return register


@overload(loss_gradient, inline="always", jit_options={"error_model": "numpy"})
def _loss_gradient(problem, index, product, columns, work):
    if isinstance(problem, types.NamedTuple | types.NamedUniTuple):
        return _FORMULAS.get(problem.instance_class)
    return None


@_formula(Estimation)
def _estimation(problem, index, product, columns, work):
    residual, target = work.gradient, problem.target[index]
    for i in range(residual.size):
        residual[i] = product[i] - target[i]
    return residual.dtype.type(0.5) * dot(residual, 0, residual, 0, residual.size)


@_formula(Completion)
def _completion(problem, index, product, columns, work):
    gradient, residual = work.gradient, work.scratch
    gradient[:] = 0
    first = problem.bounds[index]
    count = problem.bounds[index + 1] - first
    for i in range(count):
        entry = problem.entries[first + i]
        residual[i] = product[entry] - problem.values[first + i]
        gradient[entry] = residual[i]
    return gradient.dtype.type(0.5) * dot(residual, 0, residual, 0, count)


@_formula(Sensing)
def _sensing(problem, index, product, columns, work):
    gradient, operators, values = work.gradient, problem.operators[index], problem.values[index]
    gradient[:] = 0
    loss = gradient.dtype.type(0)
    for i in range(values.size):
        # One pass: the operator is still in the first-level cache when its multiple is added.
        operator = operators[i]
        residual = dot(operator, 0, product, 0, product.size) - values[i]
        for j in range(product.size):
            gradient[j] += residual * operator[j]
        loss += residual * residual
    return gradient.dtype.type(0.5) * loss


@_formula(RegressionBySamples)
def _regression_by_samples(problem, index, product, columns, work):
    inputs, inputs_transposed = problem.inputs[index], problem.inputs_transposed[index]
    outputs, residual = problem.outputs[index], work.scratch
    rows, samples = product.size // columns, inputs.size // columns
    multiply(residual, 0, product, 0, inputs, 0, rows, columns, samples)
    for i in range(outputs.size):
        residual[i] -= outputs[i]
    multiply(work.gradient, 0, residual, 0, inputs_transposed, 0, rows, samples, columns)
    return residual.dtype.type(0.5) * dot(residual, 0, residual, 0, outputs.size)


@_formula(RegressionByGram)
def _regression_by_gram(problem, index, product, columns, work):
    centre, offset = problem.centre[index], problem.offset[index]
    gradient, deviation = work.gradient, work.scratch
    rows = product.size // columns
    for i in range(product.size):
        deviation[i] = product[i] - centre[i]
    multiply(gradient, 0, deviation, 0, problem.gram[index], 0, rows, columns, columns)
    quadratic = dot(deviation, 0, gradient, 0, product.size)
    linear = dot(deviation, 0, offset, 0, product.size)
    for i in range(product.size):
        gradient[i] -= offset[i]
    half = gradient.dtype.type(0.5)
    return half * quadratic - linear + problem.floor[index]
