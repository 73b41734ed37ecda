"""The tasks in PyTorch: ``bmm`` and ``baddbmm`` into preallocated tensors, gradients by hand, no autograd."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.peer_numpy import diagonal_groups, diagonal_product, groups
from benchmarks.tasks import Array, DiagonalTask, Formulation, Task


def _residual(task: Task, runs: int) -> Callable[[Any, Any], None]:
    """A function ``f(W, E)`` that writes the gradient by W to E."""
    import torch

    if task.operators is None:
        target = torch.from_numpy(task.target)
        mask = None if task.mask is None else torch.from_numpy(task.mask)

        def dense(product: Any, out: Any) -> None:
            torch.sub(product, target, out=out)
            if mask is not None:
                out.mul_(mask)

        return dense
    size = task.width**2
    operators, values = torch.from_numpy(task.operators.reshape(-1, size)), torch.from_numpy(task.values)
    transposed, residual = operators.T, torch.empty(runs, len(operators), dtype=operators.dtype)

    def sensed(product: Any, out: Any) -> None:
        torch.addmm(values, product.view(runs, size), transposed, beta=-1, out=residual)
        torch.mm(residual, operators, out=out.view(runs, size))

    return sensed


def _descend(task: Task, chosen: slice, steps: int, step: float, fused: bool) -> list[Any]:
    import torch

    with torch.inference_mode():
        factors = [torch.from_numpy(start[chosen].copy()) for start in task.starts]
        gradient, sweep, other = (torch.empty_like(factors[0]) for _ in range(3))
        partial = [factors[0], *(torch.empty_like(factors[0]) for _ in factors[1:])]
        residual = _residual(task, len(factors[0]))
        transposed = [tensor.mT for tensor in factors]
        partial_transposed = [tensor.mT for tensor in partial]
        for _ in range(steps):
            for j in range(1, task.depth):
                torch.bmm(factors[j], partial[j - 1], out=partial[j])
            residual(partial[-1], sweep)
            for j in range(task.depth - 1, 0, -1):
                torch.bmm(transposed[j], sweep, out=other)
                if fused:
                    factors[j].baddbmm_(sweep, partial_transposed[j - 1], alpha=-step)
                else:
                    torch.bmm(sweep, partial_transposed[j - 1], out=gradient)
                    factors[j].sub_(gradient, alpha=step)
                sweep, other = other, sweep
            factors[0].sub_(sweep, alpha=step)
    return factors


def _product(parts: list[list[Any]]) -> Array:
    products = []
    for factors in parts:
        product = factors[0].numpy()
        for factor in factors[1:]:
            product = factor.numpy() @ product
        products.append(product)
    return np.concatenate(products)


def _whole(task: Task, threads: int, how: str, fused: bool) -> Formulation:
    import torch

    def advance(steps: int, step: float) -> list[list[Any]]:
        torch.set_num_threads(threads)
        return [_descend(task, slice(None), steps, step, fused)]

    return Formulation("PyTorch", how, advance, _product)


def plain(task: Task, threads: int) -> Formulation:
    """All runs in one batch; PyTorch has the threads."""
    return _whole(task, threads, "bmm", fused=False)


def tuned(task: Task, threads: int) -> list[Formulation]:
    """The step fused into ``baddbmm``, and groups of runs in Python threads, one PyTorch thread each."""
    import torch

    def advance(steps: int, step: float) -> list[list[Any]]:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(lambda chosen: _descend(task, chosen, steps, step, True), groups(task, threads)))

    return [
        _whole(task, threads, "baddbmm", fused=True),
        Formulation("PyTorch", "baddbmm, groups of runs in Python threads", advance, _product),
    ]


def _descend_diagonal(task: DiagonalTask, chosen: slice, steps: int, step: float) -> list[Any]:
    import torch

    with torch.inference_mode():
        u, v = (torch.from_numpy(start[chosen].copy()) for start in task.starts)
        x, g = torch.empty_like(u), torch.empty_like(u)
        part = slice(None) if task.shared else chosen
        matrix, values = torch.from_numpy(task.matrix[part]), torch.from_numpy(task.values[part])
        transposed, residual = matrix.mT, torch.empty((len(u), matrix.shape[-2]), dtype=u.dtype)
        for _ in range(steps):
            torch.mul(u, u, out=x)
            x.addcmul_(v, v, value=-1)
            if task.shared:
                torch.addmm(values, x, transposed, beta=-1, out=residual)
                torch.mm(residual, matrix, out=g)
            else:
                torch.bmm(matrix, x[:, :, None], out=residual[:, :, None])
                residual.sub_(values)
                torch.bmm(residual[:, None, :], matrix, out=g[:, None, :])
            u.addcmul_(g, u, value=-step)
            v.addcmul_(g, v, value=step)
    return [u, v]


def plain_diagonal(task: DiagonalTask, threads: int) -> Formulation:
    """All runs in one batch; PyTorch has the threads."""
    import torch

    def advance(steps: int, step: float) -> list[list[Any]]:
        torch.set_num_threads(threads)
        return [_descend_diagonal(task, slice(None), steps, step)]

    return Formulation("PyTorch", "mm" if task.shared else "bmm", advance, diagonal_product)


def tuned_diagonal(task: DiagonalTask, threads: int) -> list[Formulation]:
    """Groups of runs in Python threads, one PyTorch thread each."""
    import torch

    def advance(steps: int, step: float) -> list[list[Any]]:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            chosen = diagonal_groups(task, threads)
            return list(pool.map(lambda group: _descend_diagonal(task, group, steps, step), chosen))

    return [Formulation("PyTorch", "groups of runs in Python threads", advance, diagonal_product)]
