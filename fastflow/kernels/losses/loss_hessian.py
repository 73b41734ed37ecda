"""The Hessian of a loss by the product W, times a direction; `kernels.losses` has the losses themselves."""

from __future__ import annotations

import numpy as np
from numba import types

from fastflow.kernels.compile.jit import jit_internal, kernel_overload_inline
from fastflow.kernels.losses.any_loss import COMPLETION, ESTIMATION, KNOWN, SAMPLES, SENSING, AnyLoss
from fastflow.kernels.losses.formulas import loss_gradient
from fastflow.kernels.vectors.elementwise import copy
from fastflow.kernels.vectors.inner import norm, times, transposed_times
from fastflow.kernels.vectors.products import multiply, multiply_nt


def loss_hessian(problem, index, product, direction, columns, work):
    """Write the Hessian of the loss by W, times a direction, to ``work.gradient``; `loss_gradient` says what is what.

    ``problem`` is an `AnyLoss`, for which it is exact, or a user's own (`add_problem`): differences of gradients then.
    """
    raise TypeError(f"loss_hessian is for compiled code; no formula is known for {type(problem).__name__}")


@kernel_overload_inline(loss_hessian)
def _loss_hessian(problem, index, product, direction, columns, work):
    if not isinstance(problem, types.NamedTuple | types.NamedUniTuple):
        return None
    if problem.instance_class is AnyLoss:
        return lambda problem, index, product, direction, columns, work: any_loss_hessian(
            problem, index, direction, columns, work
        )
    return _by_differences


@jit_internal
def any_loss_hessian(problem, index, direction, columns, work):
    """`loss_hessian` of an `AnyLoss`."""
    gradient, scratch, size = work.gradient, work.scratch, direction.size
    rows = size // columns
    if problem.kind == ESTIMATION:
        copy(gradient, direction, size)
    elif problem.kind == COMPLETION:
        gradient[:] = 0
        for i in range(problem.bounds[index], problem.bounds[index + 1]):
            gradient[problem.entries[i]] = direction[problem.entries[i]]
    elif problem.kind == KNOWN:
        known = problem.first[index]
        for i in range(size):
            gradient[i] = 0 if np.isnan(known[i]) else direction[i]
    elif problem.kind == SENSING:
        matrix, m = problem.first[index], problem.second.shape[1]
        times(matrix, m, size, direction, scratch)
        transposed_times(matrix, m, size, scratch, gradient)
    elif problem.kind == SAMPLES:
        inputs, samples = problem.first[index], problem.second.shape[1] // rows
        multiply(scratch, 0, direction, 0, inputs, 0, rows, columns, samples)
        multiply_nt(gradient, 0, scratch, 0, inputs, 0, rows, samples, columns)
    else:
        multiply(gradient, 0, direction, 0, problem.second[index], 0, rows, columns, columns)


def _by_differences(problem, index, product, direction, columns, work):
    size, length = product.size, norm(direction)
    moved, difference = np.empty_like(product), np.zeros_like(product)
    if length > 0:
        width = 6e-6 * max(norm(product), 1e-3) / length
        for sign in (1, -1):
            for i in range(size):
                moved[i] = product[i] + sign * width * direction[i]
            loss_gradient(problem, index, moved, columns, work)
            for i in range(size):
                difference[i] += sign * work.gradient[i] / (2 * width)
    copy(work.gradient, difference, size)
