"""Samples: the residuals of a problem one after the other, so that a step can take some of them.

A sample is an entry of W that is observed, a measurement of W or x, or a column of inputs and of outputs. Its loss is
half the square of its residuals.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastflow.kernels.losses.completion import Completion
from fastflow.kernels.losses.estimation import Estimation
from fastflow.kernels.losses.regression import RegressionBySamples
from fastflow.kernels.losses.sensing import Sensing

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
    return Samples(ENTRIES, bounds.astype(np.int64), np.zeros(0, values.dtype), values, entries.astype(np.int64), 0, 1)


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
    return Samples(kind, bounds.astype(np.int64), rows, labels, entries, rows.size // total, labels.size // total)
