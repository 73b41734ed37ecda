"""What is recorded of runs, at steps or at times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.vectors.elementwise import copy
from fastflow.kernels.vectors.inner import has_digits, norm


class Trace(NamedTuple):
    """What is recorded at the given moments.

    ``moments`` (records,), not decreasing: steps (int64), of which none is given twice, or times (float64). ``loss``,
    ``gradient_norm``, ``balancedness``, ``error``: (runs, records), or (0, 0) if not wanted. ``truths`` (problems,
    d_N * d_0), or (0, 0).
    Products and factors go to ``pending_products`` and ``pending_factors`` (capacity, ...), for which
    ``pending_at[i] = (run, record)`` and ``pending_count[0]`` say what they are; the caller empties them.
    """

    moments: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    balancedness: np.ndarray
    error: np.ndarray
    truths: np.ndarray
    pending_products: np.ndarray
    pending_factors: np.ndarray
    pending_at: np.ndarray
    pending_count: np.ndarray


@jit_inline
def has_room(trace, records):
    """Whether so many more records find room for their products and factors."""
    capacity = max(trace.pending_products.shape[0], trace.pending_factors.shape[0])
    # Without a branch: `or` would keep Numba from dropping the reference counts of all arrays, ten atomic pairs a step.
    return (capacity == 0) | (trace.pending_count[0] + records <= capacity)


@jit_inline
def next_record(trace, record, k):
    """The first record from this one on that is not due before moment k."""
    while record < trace.moments.size and trace.moments[record] < k:
        record += 1
    return record


@jit_internal
def write_record(trace, run, record, index, loss, norm, product, factors):
    """One record of a run, all but its balancedness; ``index`` is that of its problem."""
    if trace.loss.size > 0:
        trace.loss[run, record] = loss
    if trace.gradient_norm.size > 0:
        trace.gradient_norm[run, record] = norm
    if trace.error.size > 0:
        trace.error[run, record] = relative_error(product, trace.truths[index])
    pending = trace.pending_count[0]
    if trace.pending_products.size > 0:
        copy(trace.pending_products[pending], product, product.size)
    if trace.pending_factors.size > 0:
        copy(trace.pending_factors[pending], factors, factors.size)
    if trace.pending_products.size + trace.pending_factors.size > 0:
        trace.pending_at[pending, 0], trace.pending_at[pending, 1] = run, record
        trace.pending_count[0] = pending + 1


@jit_inline
def relative_error(x, truth):
    """`fastflow.kernels.relative_error` of arrays of one size."""
    difference, size = 0.0, 0.0
    for i in range(x.size):
        difference += np.float64(x[i] - truth[i]) ** 2
        size += np.float64(truth[i]) ** 2
    if difference < np.inf and has_digits(size) and (difference == 0 or has_digits(difference)):
        return np.sqrt(difference) / np.sqrt(size)
    apart = np.empty(x.size)
    for i in range(x.size):
        apart[i] = np.float64(x[i]) - np.float64(truth[i])
    return norm(apart) / norm(truth)
