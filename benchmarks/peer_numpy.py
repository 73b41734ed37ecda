"""The tasks in NumPy: batched ``matmul`` into preallocated arrays, gradients by hand."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.tasks import Array, DiagonalTask, Formulation, Task

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


def diagonal_groups(task: DiagonalTask, threads: int) -> list[slice]:
    """As `groups`, where a run's memory is its measurement matrix, or its vectors beside a shared one."""
    bytes_per_run = task.dtype.itemsize * (sum(task.matrix.shape[1:]) if task.shared else task.matrix[0].size)
    size = min(max(1, L2_BYTES // bytes_per_run), -(-task.runs // threads))
    return [slice(first, min(first + size, task.runs)) for first in range(0, task.runs, size)]


def _descend_diagonal(task: DiagonalTask, chosen: slice, steps: int, step: float) -> list[Array]:
    u, v = (start[chosen].copy() for start in task.starts)
    x, scratch, g = (np.empty_like(u) for _ in range(3))
    matrix, values = (task.matrix, task.values) if task.shared else (task.matrix[chosen], task.values[chosen])
    residual = np.empty((len(u), matrix.shape[-2]), task.dtype)
    scale = task.dtype.type(step)
    for _ in range(steps):
        np.multiply(u, u, out=x)
        np.multiply(v, v, out=scratch)
        np.subtract(x, scratch, out=x)
        if task.shared:
            np.matmul(x, matrix.T, out=residual)
        else:
            np.matmul(matrix, x[:, :, None], out=residual[:, :, None])
        np.subtract(residual, values, out=residual)
        if task.shared:
            np.matmul(residual, matrix, out=g)
        else:
            np.matmul(residual[:, None, :], matrix, out=g[:, None, :])
        np.multiply(g, scale, out=g)
        np.multiply(g, u, out=scratch)
        np.subtract(u, scratch, out=u)
        np.multiply(g, v, out=scratch)
        np.add(v, scratch, out=v)
    return [u, v]


def diagonal_product(parts: list[list[Array]]) -> Array:
    """``u o u - v o v`` of all runs."""
    return np.concatenate([np.asarray(u) ** 2 - np.asarray(v) ** 2 for u, v in parts])


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


def plain_diagonal(task: DiagonalTask, threads: int) -> Formulation:
    """All runs in one batch; BLAS has the threads."""

    def advance(steps: int, step: float) -> list[list[Array]]:
        with threadpool_limits(threads):
            return [_descend_diagonal(task, slice(None), steps, step)]

    return Formulation("NumPy", "matmul", advance, diagonal_product)


def tuned_diagonal(task: DiagonalTask, threads: int) -> list[Formulation]:
    """Groups of runs in Python threads, one BLAS thread each."""

    def advance(steps: int, step: float) -> list[list[Array]]:
        with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
            chosen = diagonal_groups(task, threads)
            return list(pool.map(lambda group: _descend_diagonal(task, group, steps, step), chosen))

    return [Formulation("NumPy", "matmul, groups of runs in Python threads", advance, diagonal_product)]
