"""The tasks in NumPy: batched ``matmul`` into preallocated arrays, gradients by hand."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.tasks import Array, Formulation, Task

L2_BYTES = 2**20
"""Working memory of a group of runs that a thread takes through all of its steps at once."""


def groups(task: Task, threads: int) -> list[slice]:
    """The runs in groups whose working memory stays in the second-level cache; no fewer groups than threads."""
    bytes_per_run = (2 * task.depth + 3) * task.width**2 * task.dtype.itemsize
    size = min(max(1, L2_BYTES // bytes_per_run), -(-task.runs // threads))
    return [slice(first, min(first + size, task.runs)) for first in range(0, task.runs, size)]


def _residual(task: Task, runs: int) -> Callable[[Array, Array], None]:
    """A function ``f(W, E)`` that writes the gradient by W to E."""
    if task.operators is None:
        target, mask = task.target, task.mask

        def dense(product: Array, out: Array) -> None:
            np.subtract(product, target, out=out)
            if mask is not None:
                np.multiply(out, mask, out=out)

        return dense
    size = task.width**2
    operators, values = task.operators.reshape(-1, size), task.values
    residual = np.empty((runs, len(operators)), task.dtype)

    def sensed(product: Array, out: Array) -> None:
        np.matmul(product.reshape(runs, size), operators.T, out=residual)
        np.subtract(residual, values, out=residual)
        np.matmul(residual, operators, out=out.reshape(runs, size))

    return sensed


def _descend(task: Task, chosen: slice, steps: int, step: float) -> list[Array]:
    factors = [start[chosen].copy() for start in task.starts]
    gradient, sweep, other = (np.empty_like(factors[0]) for _ in range(3))
    partial = [factors[0], *(np.empty_like(factors[0]) for _ in factors[1:])]
    residual = _residual(task, len(factors[0]))
    transposed = [np.swapaxes(array, 1, 2) for array in factors]
    partial_transposed = [np.swapaxes(array, 1, 2) for array in partial]
    scale = task.dtype.type(step)
    for _ in range(steps):
        for j in range(1, task.depth):
            np.matmul(factors[j], partial[j - 1], out=partial[j])
        residual(partial[-1], sweep)
        for j in range(task.depth - 1, 0, -1):
            np.matmul(sweep, partial_transposed[j - 1], out=gradient)
            np.matmul(transposed[j], sweep, out=other)
            np.multiply(gradient, scale, out=gradient)
            np.subtract(factors[j], gradient, out=factors[j])
            sweep, other = other, sweep
        np.multiply(sweep, scale, out=sweep)
        np.subtract(factors[0], sweep, out=factors[0])
    return factors


def _product(parts: list[list[Array]]) -> Array:
    products = []
    for factors in parts:
        product = factors[0]
        for factor in factors[1:]:
            product = factor @ product
        products.append(product)
    return np.concatenate(products)


def plain(task: Task, threads: int) -> Formulation:
    """All runs in one batch; BLAS has the threads."""

    def advance(steps: int, step: float) -> list[list[Array]]:
        with threadpool_limits(threads, user_api="blas"):
            return [_descend(task, slice(None), steps, step)]

    return Formulation("NumPy", "matmul", advance, _product)


def tuned(task: Task, threads: int) -> list[Formulation]:
    """Groups of runs in Python threads, one BLAS thread each."""

    def advance(steps: int, step: float) -> list[list[Array]]:
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda chosen: _descend(task, chosen, steps, step), groups(task, threads)))

    return [Formulation("NumPy", "matmul, groups of runs in Python threads", advance, _product)]
