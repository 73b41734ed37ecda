"""Samples: the residuals of a problem one after the other, so that a step can take some of them.

A sample is an entry of W that is observed, a measurement of W or x, or a column of inputs and of outputs. Its loss is
half the square of its residuals. All samples of a problem together are a problem as others are, one type for all kinds.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.losses.completion import Completion
from fastflow.kernels.losses.estimation import Estimation
from fastflow.kernels.losses.loss import formula, half_square, scratch_size
from fastflow.kernels.losses.regression import RegressionBySamples
from fastflow.kernels.losses.sensing import Sensing
from fastflow.kernels.vectors.inner import add_combination_at, measure_rows, times_at
from fastflow.kernels.vectors.layouts import address, item_bytes, keep, number_at, set_number

ENTRIES, MEASUREMENTS, COLUMNS = range(3)


class Samples(NamedTuple):
    """The samples of all problems, numbered through; problem p owns those from ``bounds[p]`` to ``bounds[p + 1] - 1``.

    Attributes
    ----------
    kind : int
        ``ENTRIES``, ``MEASUREMENTS`` (``<row, W> - label``) or ``COLUMNS`` (``W row - labels``)
    bounds : int64 array (problems + 1,)
    rows : array (samples * width,), what each sample multiplies; of entries empty
    labels : array (samples * labels of one,)
    entries : int64 array (samples,), the flat index of each in W; else empty
    width, outputs : int, the numbers of a row and of labels that a sample has
    """

    kind: int
    bounds: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    entries: np.ndarray
    width: int
    outputs: int


@functools.singledispatch
def samples_of(problem: NamedTuple, columns: int) -> Samples:
    """The samples of problems, of whose W or x a row has so many columns.

    Parameters
    ----------
    problem : `Estimation`, `Completion`, `Sensing` or `RegressionBySamples`
    columns : int
    """
    raise TypeError(f"a {type(problem).__name__} has no samples")


@samples_of.register
def _of_estimation(problem: Estimation, columns: int) -> Samples:
    problems, size = problem.target.shape
    bounds, entries = size * np.arange(problems + 1), np.tile(np.arange(size), problems)
    return _of_entries(bounds, problem.target.ravel(), entries)


@samples_of.register
def _of_completion(problem: Completion, columns: int) -> Samples:
    return _of_entries(problem.bounds, problem.values, problem.entries)


def _of_entries(bounds: np.ndarray, values: np.ndarray, entries: np.ndarray) -> Samples:
    return Samples(ENTRIES, bounds, np.zeros(0, values.dtype), values, entries, 0, 1)


@samples_of.register
def _of_sensing(problem: Sensing, columns: int) -> Samples:
    problems, count = problem.values.shape
    rows, labels = problem.operators.ravel(), problem.values.ravel()
    return _of_rows(MEASUREMENTS, count * np.arange(problems + 1), rows, labels)


@samples_of.register
def _of_regression(problem: RegressionBySamples, columns: int) -> Samples:
    problems, count = len(problem.inputs), problem.inputs.shape[1] // columns
    rows, labels = (
        np.ascontiguousarray(array.reshape(problems, -1, count).transpose(0, 2, 1)).ravel() for array in problem
    )
    return _of_rows(COLUMNS, count * np.arange(problems + 1), rows, labels)


def _of_rows(kind: int, bounds: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> Samples:
    total, entries = int(bounds[-1]), np.zeros(0, np.int64)
    return Samples(kind, bounds, rows, labels, entries, rows.size // total, labels.size // total)


@scratch_size.register
def _scratch_size(problem: Samples, size: int) -> int:
    return max(size, int(np.diff(problem.bounds).max()) * problem.outputs)


@formula(Samples)
def _all_samples(problem, index, product, columns, work):
    first, count, size, i = (
        problem.bounds[index],
        problem.bounds[index + 1] - problem.bounds[index],
        len(product),
        np.intp,
    )
    residuals, gradient, zero = work.scratch, work.gradient, product.dtype.type(0)
    bytes_each = item_bytes(zero)
    rows = address(problem.rows, 0) + first * problem.width * bytes_each
    labels = address(problem.labels, 0) + first * problem.outputs * bytes_each
    if problem.kind == ENTRIES:
        gradient[:] = 0
        for k in range(count):
            entry = problem.entries[first + k]
            residuals[k] = product[entry] - problem.labels[first + k]
            gradient[entry] = residuals[k]
    elif problem.kind == MEASUREMENTS:
        left, e = address(residuals, 0), address(gradient, 0)
        measure_rows(zero, rows, labels, i(count), i(size), address(product, 0), left, e)
    else:
        gradient[:] = 0
        left, e = address(residuals, 0), address(gradient, 0)
        for k in range(count):
            its, outputs = left + k * problem.outputs * bytes_each, k * problem.outputs * bytes_each
            row = rows + k * columns * bytes_each
            add_sample(zero, row, labels + outputs, i(columns), i(problem.outputs), address(product, 0), its, e)
    keep(problem)
    keep(product)
    half_square(residuals, count * problem.outputs, work.loss)


@jit_internal
def add_sample(zero, row, labels, columns, outputs, product, residual, gradient):
    """The residuals ``W row - labels`` of a sample, and ``residual row^T`` added to the gradient; at addresses."""
    bytes_each = item_bytes(zero)
    times_at(zero, product, columns, outputs, columns, row, residual)
    for i in range(outputs):
        at = i * bytes_each
        set_number(zero, residual + at, number_at(zero, residual + at) - number_at(zero, labels + at))
        add_combination_at(zero, gradient + columns * at, residual + at, row, columns, columns, 1)
