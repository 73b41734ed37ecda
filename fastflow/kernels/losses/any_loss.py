"""One type for the losses of all problems, told apart at run time: a kernel over it is compiled once for all.

A problem that is not among them is one for which such kernels are compiled again. Those that can travel in lanes have
such a type for lanes, too.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.compile.protocol import implements, protocol
from fastflow.kernels.losses.completion import Completion, KnownEntries
from fastflow.kernels.losses.estimation import Estimation
from fastflow.kernels.losses.loss import (
    Zeros,
    for_one_run,
    formula,
    load_arrays,
    load_lane,
    loss_gradient,
    loss_hessian,
    scratch_size,
    to_lanes,
)
from fastflow.kernels.losses.measured import Measured, failure_of
from fastflow.kernels.losses.regression import RegressionByRoot, RegressionBySamples
from fastflow.kernels.losses.sensing import Sensing
from fastflow.kernels.vectors.elementwise import residual_known

KINDS = (Estimation, Completion, Sensing, RegressionBySamples, RegressionByRoot, KnownEntries, Measured)
ESTIMATION, COMPLETION, SENSING, SAMPLES, ROOT, KNOWN, MEASURED = range(len(KINDS))


class AnyLoss(NamedTuple):
    """One of the losses, the one that ``kind`` says.

    ``first`` to ``fourth`` are its arrays of numbers in their order, (problems, ...), or empty; ``entries`` and
    ``bounds`` are those of `Completion`, whose values are the only row of ``first``; ``entries`` is the handle of
    `Measured`.
    """

    kind: int
    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    fourth: np.ndarray
    entries: np.ndarray
    bounds: np.ndarray


def as_any_loss(problem: NamedTuple, size: int) -> NamedTuple | AnyLoss:
    """The data of a problem as an `AnyLoss`, those of a user's own problem as they are; W or x has ``size`` entries."""
    problem = for_one_run(problem, size)
    if type(problem) not in KINDS:
        return problem
    integers, arrays = [np.zeros(0, np.int64)] * 2, list(problem)
    if isinstance(problem, Completion):
        integers, arrays = [problem.entries, problem.bounds], [problem.values[None]]
    elif isinstance(problem, Measured):
        integers, arrays = [problem.handle, integers[0]], [problem.values]
    arrays += [np.zeros((0, 0), arrays[0].dtype)] * (4 - len(arrays))
    return AnyLoss(KINDS.index(type(problem)), *arrays, *integers)


@scratch_size.register(AnyLoss)
def _scratch_size(problem: AnyLoss, size: int) -> int:
    return max(size, problem.second.shape[1]) if problem.kind in (SENSING, SAMPLES) else size


@failure_of.register
def _failure_of(problem: AnyLoss) -> BaseException | None:
    return failure_of(Measured(problem.entries, problem.first)) if problem.kind == MEASURED else None


class AnyLanes(NamedTuple):
    """An `AnyLoss` of one run per lane, whose arrays are (1, elements, lanes); a `COMPLETION` is one of `KNOWN`."""

    kind: int
    first: np.ndarray
    second: np.ndarray
    third: np.ndarray
    fourth: np.ndarray


@to_lanes.register(AnyLoss)
def _to_lanes(problem: AnyLoss, size: int, lanes: int, zeros: Zeros = np.zeros) -> AnyLanes | None:
    if problem.kind in (SENSING, MEASURED):
        return None
    lengths = [array.shape[1] for array in (problem.first, problem.second, problem.third, problem.fourth)]
    if problem.kind == COMPLETION:
        lengths[0] = size
    kind = KNOWN if problem.kind == COMPLETION else problem.kind
    return AnyLanes(kind, *(zeros((1, length, lanes), problem.first.dtype) for length in lengths))


@implements(load_lane, AnyLanes)
def _load_lane(laid_out, lane, problem, index):
    if problem.kind == COMPLETION:
        observed = Completion(problem.entries, problem.first[0], problem.bounds)
        load_lane(KnownEntries(laid_out.first), lane, observed, index)
    else:
        rooms = (laid_out.first, laid_out.second, laid_out.third, laid_out.fourth)
        load_arrays(rooms, lane, (problem.first, problem.second, problem.third, problem.fourth), index)


@formula(AnyLanes)
def _any_lanes(problem, index, product, columns, work):
    gradient_in_either(problem, index, product, columns, work)


@jit_internal
def gradient_in_either(problem, index, product, columns, work):
    """`loss_gradient` of an `AnyLanes`, and of an `AnyLoss` of the kinds that lanes have."""
    if problem.kind == KNOWN:
        loss_gradient(KnownEntries(problem.first), index, product, columns, work)
    elif problem.kind == ESTIMATION:
        loss_gradient(Estimation(problem.first), index, product, columns, work)
    elif problem.kind == SAMPLES:
        loss_gradient(RegressionBySamples(problem.first, problem.second), index, product, columns, work)
    else:
        root = RegressionByRoot(problem.first, problem.second, problem.third, problem.fourth)
        loss_gradient(root, index, product, columns, work)


@formula(AnyLoss)
def _any_loss(problem, index, product, columns, work):
    any_loss_gradient(problem, index, product, columns, work)


@jit_internal
def any_loss_gradient(problem, index, product, columns, work):
    """`loss_gradient` of an `AnyLoss`."""
    if problem.kind == COMPLETION:
        entries = Completion(problem.entries, problem.first[0], problem.bounds)
        loss_gradient(entries, index, product, columns, work)
    elif problem.kind == SENSING:
        loss_gradient(Sensing(problem.first, problem.second), index, product, columns, work)
    elif problem.kind == MEASURED:
        loss_gradient(Measured(problem.entries, problem.first), index, product, columns, work)
    else:
        gradient_in_either(problem, index, product, columns, work)


@implements(loss_hessian, AnyLoss, inline=True)
def _any_hessian(problem, index, product, direction, columns, work):
    any_loss_hessian(problem, index, product, direction, columns, work)


@jit_internal
def any_loss_hessian(problem, index, product, direction, columns, work):
    """`loss_hessian` of an `AnyLoss`."""
    if problem.kind == KNOWN:
        loss_hessian(KnownEntries(problem.first), index, product, direction, columns, work)
    elif problem.kind == ESTIMATION:
        loss_hessian(Estimation(problem.first), index, product, direction, columns, work)
    elif problem.kind == COMPLETION:
        entries = Completion(problem.entries, problem.first[0], problem.bounds)
        loss_hessian(entries, index, product, direction, columns, work)
    elif problem.kind == SENSING:
        loss_hessian(Sensing(problem.first, problem.second), index, product, direction, columns, work)
    elif problem.kind == SAMPLES:
        samples = RegressionBySamples(problem.first, problem.second)
        loss_hessian(samples, index, product, direction, columns, work)
    elif problem.kind == MEASURED:
        loss_hessian(Measured(problem.entries, problem.first), index, product, direction, columns, work)
    else:
        root = RegressionByRoot(problem.first, problem.second, problem.third, problem.fourth)
        loss_hessian(root, index, product, direction, columns, work)


@protocol
def frequent_loss_gradient(problem, index, product, columns, work):
    """`loss_gradient`, without passing all of the problem on where its kind is a frequent one."""


@implements(frequent_loss_gradient, AnyLoss, inline=True)
def _frequent(problem, index, product, columns, work):
    if problem.kind == KNOWN or problem.kind == ESTIMATION:
        residual_known(work.gradient, product, problem.first[index], product.size, work.loss)
    else:
        loss_gradient(problem, index, product, columns, work)


@implements(frequent_loss_gradient, tuple, inline=True)
def _of_own_type(problem, index, product, columns, work):
    loss_gradient(problem, index, product, columns, work)
