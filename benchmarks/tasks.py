"""The computations that are measured: data, starts, and what they cost, as plain NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Task:
    """Gradient descent on a chain of square factors, from many starts.

    Attributes
    ----------
    kind : "estimation", "completion", "sensing"
    starts : the factors, first to last, each (runs, d, d)
    target : (d, d), the observed matrix (estimation), or its observed entries and 0 elsewhere (completion)
    mask : (d, d) of 0 and 1, for completion
    operators, values : (m, d, d) and (m,), for sensing
    """

    kind: str
    starts: list[Array]
    target: Array | None = None
    mask: Array | None = None
    operators: Array | None = None
    values: Array | None = None

    @property
    def runs(self) -> int:
        return len(self.starts[0])

    @property
    def width(self) -> int:
        return self.starts[0].shape[-1]

    @property
    def depth(self) -> int:
        return len(self.starts)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.starts[0].dtype

    @property
    def flops(self) -> float:
        """Useful floating-point operations of one step of all runs: 3(N-1) products, and those with the operators."""
        each = 6.0 * (self.depth - 1) * self.width**3
        if self.operators is not None:
            each += 4.0 * self.operators.size
        return each * self.runs


@dataclass(frozen=True)
class DiagonalTask:
    """Gradient descent on ``x = u o u - v o v`` for ``1/2 ||A x - y||^2``, from many starts.

    Attributes
    ----------
    starts : u and v, each (runs, n)
    matrix, values : (runs, m, n) and (runs, m), one of each a run; or (m, n) and (m,), shared
    """

    starts: list[Array]
    matrix: Array
    values: Array

    @property
    def shared(self) -> bool:
        return self.matrix.ndim == 2

    @property
    def runs(self) -> int:
        return len(self.starts[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.starts[0].dtype

    @property
    def flops(self) -> float:
        """Useful floating-point operations of one step of all runs: one product with A and one with A^T."""
        m, n = self.matrix.shape[-2:]
        return 4.0 * m * n * self.runs


@dataclass(frozen=True)
class Formulation:
    """One way to do a task.

    Attributes
    ----------
    library, how : names
    advance : ``advance(steps, step)`` goes that far from the starts and returns the library's own result
    product : the product W (runs, d, d) of that result
    """

    library: str
    how: str
    advance: Callable[[int, float], Any]
    product: Callable[[Any], Array]


def _starts(rng: np.random.Generator, runs: int, width: int, depth: int, dtype: Any) -> list[Array]:
    return [(rng.standard_normal((runs, width, width)) / np.sqrt(width)).astype(dtype) for _ in range(depth)]


def estimation(width: int, runs: int, dtype: Any = np.float64, depth: int = 3) -> Task:
    """``1/2 ||W_N ... W_1 - Y||^2``."""
    rng = np.random.default_rng(0)
    target = (rng.standard_normal((width, width)) / np.sqrt(width)).astype(dtype)
    return Task("estimation", _starts(rng, runs, width, depth, dtype), target)


def completion(width: int = 100, runs: int = 64, dtype: Any = np.float64, depth: int = 3) -> Task:
    """A matrix of rank 5 with 20% of its entries observed."""
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((width, 5)) @ rng.standard_normal((5, width)) / width
    mask = (rng.random((width, width)) < 0.2).astype(dtype)
    return Task("completion", _starts(rng, runs, width, depth, dtype), truth.astype(dtype) * mask, mask)


def sensing(width: int = 30, runs: int = 64, dtype: Any = np.float64, depth: int = 2, count: int = 300) -> Task:
    """Gaussian measurements of a matrix of rank 3, the same for all runs."""
    rng = np.random.default_rng(2)
    truth = rng.standard_normal((width, 3)) @ rng.standard_normal((3, width)) / width
    operators = rng.standard_normal((count, width, width)) / np.sqrt(count)
    values = np.tensordot(operators, truth, 2).astype(dtype)
    starts = _starts(rng, runs, width, depth, dtype)
    return Task("sensing", starts, operators=operators.astype(dtype), values=values)


def diagonal(
    size: int, measurements: int, runs: int = 64, shared: bool = False, dtype: Any = np.float64
) -> DiagonalTask:
    """Gaussian measurements of a sparse vector, one matrix a run or one for all."""
    rng = np.random.default_rng(3)
    stack = () if shared else (runs,)
    matrix = rng.standard_normal((*stack, measurements, size)) / np.sqrt(measurements)
    truth = np.where(rng.random((*stack, size)) < 0.05, 1.0, 0.0)
    values = (matrix @ truth[..., None])[..., 0]
    starts = [rng.uniform(0.05, 0.15, (runs, size)).astype(dtype) for _ in range(2)]
    return DiagonalTask(starts, matrix.astype(dtype), values.astype(dtype))


def problem(task: Task) -> Any:
    """The task's problem, as fastflow's object."""
    import fastflow as ff

    if task.kind == "estimation":
        return ff.MatrixEstimation(task.target)
    if task.kind == "completion":
        assert task.mask is not None
        return ff.MatrixCompletion.from_dense(np.where(task.mask == 1, task.target, np.nan))
    return ff.MatrixSensing(task.operators, task.values)


def problem_and_network(task: Task | DiagonalTask) -> tuple[Any, Any]:
    import fastflow as ff

    if isinstance(task, Task):
        return problem(task), ff.DeepLinear(task.depth)
    if task.shared:
        return ff.CompressedSensing(task.matrix, task.values), ff.DiagonalLinear()
    pairs = zip(task.matrix, task.values, strict=True)
    return [ff.CompressedSensing(matrix, values) for matrix, values in pairs], ff.DiagonalLinear()


def fastflow(task: Task | DiagonalTask, threads: int) -> Formulation:
    """The task by one call of `fastflow.train` with fixed steps and no record."""
    import fastflow as ff

    (observed, network), init = problem_and_network(task), ff.inits.Explicit(task.starts)

    def advance(steps: int, step: float) -> Any:
        method = ff.GradientDescent(step, max_steps=steps, tol=0)
        runs = ff.train(observed, network, init, method, threads=threads, dtype=task.dtype, progress=False)
        if np.any(runs.steps != steps):
            raise RuntimeError(f"fastflow ended before {steps} steps: {runs.status_counts()}")
        return runs

    return Formulation("fastflow", f"{threads} threads", advance, lambda runs: np.asarray(runs.solution))
