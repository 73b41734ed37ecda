"""The tasks in JAX: one ``jit`` around all, the steps a ``fori_loop``, gradients by hand (autodiff is no faster).

``plain`` is ``jit(vmap(fori_loop))``. ``tuned`` shards the runs over one CPU device per thread and takes them in groups
whose memory stays in cache; for small widths also with the runs of a group as the last axis, so that XLA's vectors run
over runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peer_numpy import diagonal_product
from benchmarks.tasks import Array, DiagonalTask, Formulation, Task

WIDEST_RUNS_LAST = 12
GROUP_SIZES = {"runs last": (4, 16), "vmap": (1, 8)}
"""Runs in a group, beside all runs of a device at once."""


def _jax(threads: int) -> Any:
    """JAX with float64, and as many CPU devices as threads."""
    flag = f"--xla_force_host_platform_device_count={threads}"
    if flag not in os.environ.get("XLA_FLAGS", ""):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flag}"
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    return jax


def _data(task: Task) -> dict[str, Array]:
    """The arrays of the problem, by name."""
    if task.operators is not None:
        assert task.values is not None
        return {"operators": task.operators.reshape(len(task.operators), -1), "values": task.values}
    assert task.target is not None
    return {"target": task.target} | ({} if task.mask is None else {"mask": task.mask})


def _residual(product: Any, data: dict[str, Any]) -> Any:
    """The gradient by W, for one run or for a batch of runs."""
    if "operators" in data:
        flat = product.reshape(*product.shape[:-2], -1)
        residual = flat @ data["operators"].T - data["values"]
        return (residual @ data["operators"]).reshape(product.shape)
    gradient = product - data["target"]
    return gradient * data["mask"] if "mask" in data else gradient


def _gradients(factors: Any, residual: Callable[[Any], Any], multiply: Callable[..., Any]) -> list[Any]:
    """The gradients by all factors; ``multiply(a, b, "tn")`` is ``a^T b``, and so on."""
    partial = [factors[0]]
    for factor in factors[1:]:
        partial.append(multiply(factor, partial[-1], "nn"))
    sweep, gradients = residual(partial[-1]), []
    for j in range(len(factors) - 1, 0, -1):
        gradients.append(multiply(sweep, partial[j - 1], "nt"))
        sweep = multiply(factors[j], sweep, "tn")
    return [sweep, *reversed(gradients)]


def _matmul(a: Any, b: Any, kind: str) -> Any:
    return {"nn": lambda: a @ b, "tn": lambda: a.mT @ b, "nt": lambda: a @ b.mT}[kind]()


def _runs_last(a: Any, b: Any, kind: str) -> Any:
    """Products of (d, d, runs) arrays as elementwise products and sums, which XLA fuses."""
    if kind == "nn":
        return (a[:, :, None] * b[None]).sum(1)
    if kind == "tn":
        return (a[:, :, None] * b[:, None]).sum(0)
    return (a[:, None] * b[None]).sum(2)


def _descent(multiply: Callable[..., Any], residual: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The whole descent of one run, or of an array of runs."""
    from jax import lax

    def descend(factors: Any, data: Any, steps: Any, step: Any) -> Any:
        def body(_: Any, factors: Any) -> Any:
            gradients = _gradients(factors, lambda product: residual(product, data), multiply)
            return tuple(factor - step * gradient for factor, gradient in zip(factors, gradients, strict=True))

        return lax.fori_loop(0, steps, body, factors)

    return descend


def _formulation(how: str, function: Any, factors: Any, data: Any, task: Task, runs_first: Any) -> Formulation:
    import jax

    def advance(steps: int, step: float) -> Any:
        return jax.block_until_ready(function(factors, data, steps, task.dtype.type(step)))

    def product(result: Any) -> Array:
        arrays = [runs_first(np.asarray(factor)) for factor in result]
        value = arrays[0]
        for factor in arrays[1:]:
            value = factor @ value
        return value

    return Formulation("JAX", how, advance, product)


def plain(task: Task, threads: int) -> Formulation:
    """``jit(vmap(fori_loop))``."""
    jax = _jax(threads)
    one = _descent(_matmul, _residual)
    function = jax.jit(jax.vmap(one, in_axes=(0, None, None, None)))
    factors = tuple(map(jax.numpy.asarray, task.starts))
    data = {name: jax.numpy.asarray(array) for name, array in _data(task).items()}
    return _formulation("jit(vmap)", function, factors, data, task, lambda array: array)


def tuned(task: Task, threads: int) -> list[Formulation]:
    """One device per thread; groups of runs of several sizes, by ``vmap`` or with the runs last."""
    formulations = []
    for layout, sizes in GROUP_SIZES.items():
        if layout == "runs last" and (task.width > WIDEST_RUNS_LAST or task.kind == "sensing"):
            continue
        for size in (*sizes, task.runs // threads):
            if size > 0 and task.runs % (size * threads) == 0:
                formulations.append(_sharded(task, threads, layout, size))
    return formulations


def _sharded(task: Task, threads: int, layout: str, size: int) -> Formulation:
    jax = _jax(threads)
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(jax.devices()[:threads]), ("runs",))
    by_runs, copied = PartitionSpec("runs"), PartitionSpec()
    width = task.width
    if layout == "runs last":
        group = _descent(_runs_last, lambda w, data: _residual(w.transpose(2, 0, 1), data).transpose(1, 2, 0))
    elif task.kind == "sensing":
        group = _descent(_matmul, _residual)
    else:
        group = jax.vmap(_descent(_matmul, _residual), in_axes=(0, None, None, None))

    def all_groups(factors: Any, data: Any, steps: Any, step: Any) -> Any:
        if task.runs == size * threads:  # a loop of one turn would cost XLA its choice of threads
            first = tuple(factor[0] for factor in factors)
            return tuple(factor[None] for factor in group(first, data, steps, step))
        return jax.lax.map(lambda factors: group(factors, data, steps, step), factors)

    def grouped(array: Array) -> Any:
        array = array.reshape(-1, size, width, width)
        array = np.moveaxis(array, 1, -1) if layout == "runs last" else array
        return jax.device_put(np.ascontiguousarray(array), NamedSharding(mesh, by_runs))

    def runs_first(array: Array) -> Array:
        array = np.moveaxis(array, -1, 1) if layout == "runs last" else array
        return array.reshape(-1, width, width)

    sharded = jax.shard_map(
        all_groups, mesh=mesh, in_specs=(by_runs, copied, copied, copied), out_specs=by_runs, check_vma=False
    )
    data = {name: jax.device_put(array, NamedSharding(mesh, copied)) for name, array in _data(task).items()}
    how = f"a device per thread, {layout}, groups of {size}"
    return _formulation(how, jax.jit(sharded), tuple(map(grouped, task.starts)), data, task, runs_first)


def _diagonal_descent(start: Any, matrix: Any, values: Any, steps: Any, step: Any) -> Any:
    """The whole descent of one run, or of a batch of runs that share the matrix."""
    from jax import lax

    def body(_: Any, start: Any) -> Any:
        u, v = start
        g = step * (((u * u - v * v) @ matrix.T - values) @ matrix)
        return u - g * u, v + g * v

    return lax.fori_loop(0, steps, body, start)


def _diagonal_formulation(task: DiagonalTask, how: str, function: Any, arrays: Any) -> Formulation:
    import jax

    def advance(steps: int, step: float) -> Any:
        return jax.block_until_ready(function(*arrays, steps, task.dtype.type(step)))

    def product(result: Any) -> Array:
        return diagonal_product([[np.asarray(vector).reshape(task.starts[0].shape) for vector in result]])

    return Formulation("JAX", how, advance, product)


def plain_diagonal(task: DiagonalTask, threads: int) -> Formulation:
    """``jit(vmap(fori_loop))``."""
    jax = _jax(threads)
    data = None if task.shared else 0
    function = jax.jit(jax.vmap(_diagonal_descent, in_axes=(0, data, data, None, None)))
    arrays = jax.tree.map(jax.numpy.asarray, (tuple(task.starts), task.matrix, task.values))
    return _diagonal_formulation(task, "jit(vmap)", function, arrays)


def tuned_diagonal(task: DiagonalTask, threads: int) -> list[Formulation]:
    """One device per thread; the runs of a device one after the other, or in groups that share a product."""
    sizes = (16, task.runs // threads) if task.shared else (1,)
    return [_sharded_diagonal(task, threads, size) for size in sizes if task.runs % (size * threads) == 0]


def _sharded_diagonal(task: DiagonalTask, threads: int, size: int) -> Formulation:
    jax = _jax(threads)
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(np.array(jax.devices()[:threads]), ("runs",))
    by_runs, copied = PartitionSpec("runs"), PartitionSpec()
    data = copied if task.shared else by_runs

    def all_groups(start: Any, matrix: Any, values: Any, steps: Any, step: Any) -> Any:
        if task.shared:
            return jax.lax.map(lambda group: _diagonal_descent(group, matrix, values, steps, step), start)
        return jax.lax.map(lambda one: _diagonal_descent(*one, steps, step), (start, matrix, values))

    shape = (-1, size, task.starts[0].shape[1]) if task.shared else task.starts[0].shape
    starts = tuple(jax.device_put(start.reshape(shape), NamedSharding(mesh, by_runs)) for start in task.starts)
    arrays = (starts, *(jax.device_put(array, NamedSharding(mesh, data)) for array in (task.matrix, task.values)))
    specs = (by_runs, data, data, copied, copied)
    sharded = jax.shard_map(all_groups, mesh=mesh, in_specs=specs, out_specs=by_runs, check_vma=False)
    how = f"a device per thread, groups of {size}"
    return _diagonal_formulation(task, how, jax.jit(sharded), arrays)
