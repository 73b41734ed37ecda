"""Losses of a product, for users' calls: see `losses.loss`."""

from __future__ import annotations

import operator
from typing import NamedTuple

import numpy as np
from numba import types
from numpy.typing import DTypeLike

from fastflow.kernels.compile.arguments import INTEGERS, check_array, check_integer, check_like, check_tuple, shown
from fastflow.kernels.compile.cache import PACKAGE
from fastflow.kernels.compile.jit import jit_inline, jit_public
from fastflow.kernels.compile.protocol import chooses, implements, protocol
from fastflow.kernels.losses import loss
from fastflow.kernels.losses.completion import Completion
from fastflow.kernels.losses.estimation import Estimation
from fastflow.kernels.losses.loss import LossWorkspace
from fastflow.kernels.losses.regression import RegressionByGram, RegressionBySamples
from fastflow.kernels.losses.sensing import Sensing
from fastflow.kernels.losses.taught import has_formula

DIMENSIONS: dict[type, dict[str, int]] = {
    Estimation: {"target": 2},
    Completion: {"entries": 1, "values": 1, "bounds": 1},
    Sensing: {"operators": 2, "values": 2},
    RegressionBySamples: {"inputs": 2, "outputs": 2},
    RegressionByGram: {"centre": 2, "gram": 2, "offset": 2, "floor": 2, "root": 2, "rest": 2, "least": 2},
}
"""The problems that are everybody's, and how many dimensions their arrays have."""

WHOLE, DOUBLE = ("entries", "bounds"), ("root", "rest", "least")
"""The arrays of whole numbers, and those of float64 whatever W is."""


def loss_workspace(problem: NamedTuple, size: int, dtype: DTypeLike) -> LossWorkspace:
    """Make memory for `loss_gradient` of one run.

    Parameters
    ----------
    problem : the NamedTuple of a problem
    size : int, the entries of W
    dtype : float64 or float32, that of W

    Returns
    -------
    LossWorkspace

    Raises
    ------
    TypeError, ValueError
        for what is no problem, no size and no such dtype

    Examples
    --------
    >>> problem = ff.kernels.Estimation(np.array([[3.0, 0, 0, 1]]))  # of one problem
    >>> work = ff.kernels.loss_workspace(problem, 4, np.float64)
    >>> ff.kernels.loss_gradient(problem, 0, np.zeros(4), 2, work)
    >>> work.loss.tolist(), work.gradient.tolist()
    ([5.0], [-3.0, 0.0, 0.0, -1.0])
    """
    if not isinstance(problem, tuple) or not has_formula(type(problem)):
        raise TypeError(f"problem must be a NamedTuple that kernels know a formula of, got {type(problem).__name__}")
    if isinstance(size, bool) or operator.index(size) < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    if np.dtype(dtype) not in (np.float64, np.float32):
        raise TypeError(f"dtype must be float64 or float32, got {np.dtype(dtype)}")
    return loss.loss_workspace(problem, size, dtype)


def _check_loss(
    problem: types.Type, index: types.Type, product: types.Type, columns: types.Type, work: types.Type
) -> None:
    like = check_array("product", product, (1,), contiguous=True)
    check_integer("index", index)
    check_integer("columns", columns)
    for name, field in check_tuple("work", work, LossWorkspace).items():
        check_like(f"work.{name}", field, like, "product", contiguous=True, writable=True)
    kind = problem.instance_class if isinstance(problem, types.NamedTuple | types.NamedUniTuple) else None
    if kind in DIMENSIONS:
        for name, field in check_tuple("problem", problem, kind).items():
            dtypes = INTEGERS if name in WHOLE else (types.float64 if name in DOUBLE else like.dtype,)
            check_array(f"problem.{name}", field, (DIMENSIONS[kind][name],), dtypes, contiguous=True)
    elif kind is None or kind.__module__.split(".", 1)[0] == PACKAGE or not has_formula(kind):
        names = ", ".join(known.__name__ for known in DIMENSIONS)
        raise TypeError(
            f"problem must be one of {names}, or of a class that add_problem was told, got {shown(problem)}"
        )
    elif not all(isinstance(field, types.Array) for field in problem):
        raise TypeError(f"problem must be a NamedTuple of arrays, got {shown(problem)}")


@jit_public(_check_loss)
def loss_gradient(problem, index, product, columns, work):
    """Write the loss of one problem at W to ``work.loss``, and its gradient by W to ``work.gradient``.

    Parameters
    ----------
    problem : the NamedTuple of a problem, as `Estimation`, or one that `add_problem` has taught
    index : int, which of the problems
    product : array (rows * columns,), W, C-contiguous
    columns : int
    work : LossWorkspace

    Raises
    ------
    TypeError, ValueError
        for other types, and for arrays that do not fit together

    Notes
    -----
    What a formula of yours reads of its arrays is looked at by `fastflow.CustomProblem`.

    Examples
    --------
    >>> problem = ff.kernels.Estimation(np.array([[3.0, 0, 0, 1]]))  # of one problem
    >>> work = ff.kernels.loss_workspace(problem, 4, np.float64)
    >>> ff.kernels.loss_gradient(problem, 0, np.zeros(4), 2, work)
    >>> work.loss.tolist(), work.gradient.tolist()
    ([5.0], [-3.0, 0.0, 0.0, -1.0])
    """
    size = product.size
    fits = columns > 0 and size > 0 and work.gradient.size == size and work.loss.size == 1 and work.number.size == 1
    if not fits or size % columns != 0 or work.scratch.size < size:
        raise ValueError("loss_gradient: columns must divide the size of product, and work be made for it")
    if index < 0 or not _fits(problem, index, size, columns, work.scratch.size):
        raise ValueError("loss_gradient: the arrays of problem do not fit index, product, columns and work")
    loss.loss_gradient(problem, index, product, columns, work)


@protocol
def _fits(problem, index, size, columns, scratch):
    """Whether the arrays of a problem hold what the formula reads there for such a W, with so much scratch."""


@implements(_fits, Estimation, inline=True)
def _estimation(problem, index, size, columns, scratch):
    return index < problem.target.shape[0] and problem.target.shape[1] == size


@implements(_fits, Completion, inline=True)
def _completion(problem, index, size, columns, scratch):
    entries, bounds = problem.entries, problem.bounds
    fits = index < bounds.size - 1 and problem.values.size == entries.size
    if fits:
        first, last = bounds[index], bounds[index + 1]
        fits = first >= 0 and first <= last and last <= entries.size
        if fits:
            for i in range(first, last):
                fits &= entries[i] >= 0 and entries[i] < size
    return fits


@implements(_fits, Sensing, inline=True)
def _sensing(problem, index, size, columns, scratch):
    operators, values = problem.operators, problem.values
    fits = index < values.shape[0] and operators.shape[0] == values.shape[0] and scratch >= values.shape[1]
    return fits and operators.shape[1] == values.shape[1] * size


@implements(_fits, RegressionBySamples, inline=True)
def _by_samples(problem, index, size, columns, scratch):
    inputs, outputs, rows = problem.inputs, problem.outputs, size // columns
    fits = index < outputs.shape[0] and inputs.shape[0] == outputs.shape[0] and scratch >= outputs.shape[1]
    fits &= outputs.shape[1] % rows == 0
    return fits and inputs.shape[1] == columns * (outputs.shape[1] // rows)


@implements(_fits, RegressionByGram, inline=True)
def _by_gram(problem, index, size, columns, scratch):
    centre, gram, offset, floor = problem.centre, problem.gram, problem.offset, problem.floor
    fits = index < centre.shape[0] and gram.shape[0] == centre.shape[0] and offset.shape[0] == centre.shape[0]
    fits &= floor.shape[0] == centre.shape[0] and floor.shape[1] == 1
    root, rest, least = problem.root, problem.rest, problem.least
    fits &= root.shape[0] == centre.shape[0] and rest.shape[0] == centre.shape[0] and least.shape[0] == centre.shape[0]
    fits &= root.shape[1] == columns * columns and rest.shape[1] == size and least.shape[1] == 1
    return fits and centre.shape[1] == size and offset.shape[1] == size and gram.shape[1] == columns * columns


@chooses(_fits, tuple, inline=True)
def _of_user(problem, index, size, columns, scratch):
    has_index = _index_within(len(problem))
    return lambda problem, index, size, columns, scratch: has_index(problem, index)


def _index_within(arrays):
    """Whether the first so many arrays of a problem have an entry at an index of their first axis."""
    if arrays == 0:
        return jit_inline(lambda problem, index: True)
    before, last = _index_within(arrays - 1), arrays - 1
    return jit_inline(lambda problem, index: index < problem[last].shape[0] and before(problem, index))
