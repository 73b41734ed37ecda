"""One type for the losses of all problems, told apart at run time: a kernel over it is compiled once for all."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.losses.formulas import (
    Completion,
    CompletionOfLanes,
    Estimation,
    LossWorkspace,
    RegressionByGram,
    RegressionBySamples,
    Sensing,
    SharedSamples,
    SharedSensing,
    formula,
    loss_gradient,
    scratch_size,
)
from fastflow.kernels.losses.shared_matrix import SharedMatrix

ESTIMATION, COMPLETION, SENSING, SAMPLES, GRAM, KNOWN = range(6)
KINDS = (Estimation, Completion, Sensing, RegressionBySamples, RegressionByGram)

SPARSE = 10
"""A `Completion` that observes more than one entry in so many is faster as a matrix with gaps (measured)."""


class AnyLoss(NamedTuple):
    """One of the losses, the one that ``kind`` says.

    ``first`` to ``fourth`` are its arrays in their order, (problems, ...), or empty; those of `Completion` are
    ``entries``, ``bounds`` and the only row of ``first``. Of the kind `KNOWN`, a completion that is not sparse,
    ``first`` is (problems, rows * columns), NaN where nothing is observed: to the same bits.
    """

    kind: int
    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    fourth: np.ndarray
    entries: np.ndarray
    bounds: np.ndarray


def as_any_loss(problem: Any, size: int) -> Any:
    """The data of a problem as an `AnyLoss`; those of a user's own problem as they are.

    Parameters
    ----------
    problem : NamedTuple of `kernels.losses`, or `SharedMatrix`
    size : int, entries of W or x; rows of measurement matrices lose what `padded_columns` has added
    """
    if isinstance(problem, SharedSensing | SharedMatrix):
        problem = Sensing(*(array[None] for array in problem[:2]))
    if isinstance(problem, Sensing):
        operators, values = problem
        rows = operators.reshape(*values.shape, -1)[..., :size]
        problem = Sensing(np.ascontiguousarray(rows).reshape(len(operators), -1), values)
    if isinstance(problem, SharedSamples):
        problem = RegressionBySamples(*problem)
    if type(problem) not in KINDS:
        return problem
    integers, kind = [np.zeros(0, np.int64)] * 2, KINDS.index(type(problem))
    if not isinstance(problem, Completion):
        arrays = list(problem)
    elif SPARSE * len(problem.entries) < size * (len(problem.bounds) - 1):
        arrays, integers = [problem.values[None]], [problem.entries, problem.bounds]
    else:
        arrays, kind = [_with_gaps(problem, size)], KNOWN
    arrays += [np.zeros((0, 0), arrays[0].dtype)] * (4 - len(arrays))
    return AnyLoss(kind, *arrays, *integers)


def _with_gaps(problem: Completion, size: int) -> np.ndarray:
    """The observed entries in matrices (problems, size) of NaN."""
    targets = np.full((len(problem.bounds) - 1, size), np.nan, problem.values.dtype)
    targets[np.repeat(np.arange(len(targets)), np.diff(problem.bounds)), problem.entries] = problem.values
    return targets


def loss_workspace(problem: Any, size: int, dtype: Any) -> LossWorkspace:
    """A `LossWorkspace` for one run of a problem, also of an `AnyLoss`, whose W has ``size`` entries."""
    scratch = scratch_size(problem, size)
    if isinstance(problem, AnyLoss) and problem.kind in (SENSING, SAMPLES):
        scratch = max(size, problem.second.shape[1])
    return LossWorkspace(np.zeros(size, dtype), np.zeros(scratch, dtype), np.zeros(1, dtype), np.zeros(1, dtype))


@formula(AnyLoss)
def _any_loss(problem, index, product, columns, work):
    any_loss_gradient(problem, index, product, columns, work)


@jit_internal
def any_loss_gradient(problem, index, product, columns, work):
    """`loss_gradient` of an `AnyLoss`."""
    if problem.kind == KNOWN:
        loss_gradient(CompletionOfLanes(problem.first), index, product, columns, work)
    elif problem.kind == ESTIMATION:
        loss_gradient(Estimation(problem.first), index, product, columns, work)
    elif problem.kind == COMPLETION:
        entries = Completion(problem.entries, problem.first[0], problem.bounds)
        loss_gradient(entries, index, product, columns, work)
    elif problem.kind == SENSING:
        loss_gradient(Sensing(problem.first, problem.second), index, product, columns, work)
    elif problem.kind == SAMPLES:
        loss_gradient(RegressionBySamples(problem.first, problem.second), index, product, columns, work)
    else:
        gram = RegressionByGram(problem.first, problem.second, problem.third, problem.fourth)
        loss_gradient(gram, index, product, columns, work)
