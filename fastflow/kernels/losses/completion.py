"""Completion of a matrix from some of its entries."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import Zeros, for_one_run, formula, half_square, load_lane, loss_hessian, to_lanes
from fastflow.kernels.vectors.elementwise import residual_known

SPARSE = 10
"""A `Completion` that observes more than one entry in so many is faster as `KnownEntries` (measured)."""


class Completion(NamedTuple):
    """Data of ``r = W[entry] - value`` over observed entries.

    Problem p owns ``entries[bounds[p]:bounds[p + 1]]`` and the values at the same places.

    Attributes
    ----------
    entries : int array (observed,), flat indices ``row * columns + column``
    values : array (observed,)
    bounds : int array (problems + 1,)
    """

    entries: np.ndarray
    values: np.ndarray
    bounds: np.ndarray


class KnownEntries(NamedTuple):
    """`Completion`, to the same bits, as matrices with gaps: NaN where nothing is observed.

    target (problems, rows * columns), or one run per lane (1, rows * columns, lanes).
    """

    target: np.ndarray


@formula(Completion)
def _completion(problem, index, product, columns, work):
    gradient = work.gradient
    gradient[:] = 0
    for i in range(problem.bounds[index], problem.bounds[index + 1]):
        entry = problem.entries[i]
        gradient[entry] = product[entry] - problem.values[i]
    # Summed over all of E: zeros change nothing, and the order of the entries does not matter.
    half_square(gradient, product.size, work.loss)


@formula(KnownEntries)
def _known_entries(problem, index, product, columns, work):
    residual_known(work.gradient, product, problem.target[index], len(product), work.loss)


@implements(loss_hessian, Completion, inline=True)
def _hessian(problem, index, product, direction, columns, work):
    gradient = work.gradient
    gradient[:] = 0
    for i in range(problem.bounds[index], problem.bounds[index + 1]):
        gradient[problem.entries[i]] = direction[problem.entries[i]]


@implements(loss_hessian, KnownEntries, inline=True)
def _hessian_of_known(problem, index, product, direction, columns, work):
    known, gradient = problem.target[index], work.gradient
    for i in range(direction.size):
        gradient[i] = 0 if np.isnan(known[i]) else direction[i]


@to_lanes.register(Completion)
def _to_lanes(problem: Completion, size: int, lanes: int, zeros: Zeros = np.zeros) -> KnownEntries:
    return KnownEntries(zeros((1, size, lanes), problem.values.dtype))


@implements(load_lane, KnownEntries)
def _load_lane(laid_out, lane, problem, index):
    for element in range(laid_out.target.shape[1]):
        laid_out.target[0, element, lane] = np.nan
    for i in range(problem.bounds[index], problem.bounds[index + 1]):
        laid_out.target[0, problem.entries[i], lane] = problem.values[i]


@for_one_run.register(Completion)
def _for_one_run(problem: Completion, size: int) -> Completion | KnownEntries:
    problems = len(problem.bounds) - 1
    if SPARSE * len(problem.entries) < size * problems:
        return problem
    targets = np.full((problems, size), np.nan, problem.values.dtype)
    targets[np.repeat(np.arange(problems), np.diff(problem.bounds)), problem.entries] = problem.values
    return KnownEntries(targets)
