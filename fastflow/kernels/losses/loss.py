"""Losses ``f = 1/2 sum r_i^2`` of a product W, and their gradients ``E`` by W: what kernels ask of a problem.

A problem is a plain NamedTuple of arrays whose first axis runs over problems, so that one compiled function serves data
shared by all runs (length 1) and data of one problem per run. Matrices are stored flat and row-major; ``W`` is
(rows, columns) = (d_N, d_0). Each problem has a file of its own beside this one, with its data and what it implements.
It must have a `formula`; the rest has defaults.

Where runs travel one per SIMD lane, `to_lanes` lays the data of each lane's problem out beside the others' as arrays
(1, elements, lanes), and the same formulas then hold for all lanes at once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import implements, protocol
from fastflow.kernels.vectors.elementwise import dot

Function = TypeVar("Function", bound=Callable[..., None])


class Zeros(Protocol):
    """How to allocate: as `numpy.zeros` does."""

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike, /) -> np.ndarray: ...


class LossWorkspace(NamedTuple):
    """Memory for `loss_gradient`, for one run (elements,) or one run per lane (elements, lanes).

    Attributes
    ----------
    gradient : array (rows * columns,), E
    scratch : array of `scratch_size` elements
    loss, number : arrays, one entry for each run

    Examples
    --------
    >>> problem = ff.kernels.Estimation(np.array([[3.0, 0, 0, 1]]))  # of one problem
    >>> work = ff.kernels.loss_workspace(problem, 4, np.float64)
    >>> ff.kernels.loss_gradient(problem, 0, np.zeros(4), 2, work)
    >>> work.loss.tolist(), work.gradient.tolist()
    ([5.0], [-3.0, 0.0, 0.0, -1.0])
    """

    gradient: np.ndarray
    scratch: np.ndarray
    loss: np.ndarray
    number: np.ndarray


def loss_workspace(problem: NamedTuple, size: int, dtype: DTypeLike) -> LossWorkspace:
    """Make memory for `loss_gradient` of one run.

    Parameters
    ----------
    problem : the NamedTuple of a problem
    size : int, the entries of W
    dtype : that of W

    Returns
    -------
    LossWorkspace
    """
    scratch = np.zeros(scratch_size(problem, size), dtype)
    return LossWorkspace(np.zeros(size, dtype), scratch, np.zeros(1, dtype), np.zeros(1, dtype))


@protocol
def loss_gradient(problem, index, product, columns, work):
    """Write the loss of one problem at W to ``work.loss``, and its gradient by W to ``work.gradient``.

    Parameters
    ----------
    problem : the NamedTuple of a problem, as `Estimation`, or one that `add_problem` has taught
    index : int, which of the problems; 0 for problems laid out in lanes
    product : array (rows * columns,), W; or (rows * columns, lanes)
    columns : int
    work : LossWorkspace
    """


@protocol
def inline_loss_gradient(problem, index, product, columns, work):
    """`loss_gradient`, as a part of the kernel that calls it."""


def formula(*problem_classes: type) -> Callable[[Function], Function]:
    """Decorate what `loss_gradient` does of problems of these classes."""

    def register(function: Function) -> Function:
        implements(inline_loss_gradient, *problem_classes, inline=True)(function)
        return implements(loss_gradient, *problem_classes)(function)

    return register


@protocol
def loss_hessian(problem, index, product, direction, columns, work):
    """Write the Hessian of the loss by W, times a direction, to ``work.gradient``; `loss_gradient` says what is what.

    Problems that have none of their own get differences of gradients.
    """


@protocol
def settled_loss(problem, index, product, columns, loss):
    """The loss of one problem at W, as it is recorded and as ends are judged by it; ``loss`` by `loss_gradient`.

    Problems whose `loss_gradient` has all the digits that the data have leave it at that.
    """


@implements(settled_loss, tuple, inline=True)
def _as_it_is(problem, index, product, columns, loss):
    return loss


@protocol
def group_loss_gradient(problem, products, columns, work):
    """`loss_gradient` of a group of runs one after the other that share the data of their problem.

    Only of problems where one product serves all runs.

    Parameters
    ----------
    problem : the NamedTuple of a problem, without an axis of problems
    products : array (members * rows * columns,)
    columns : int
    work : LossWorkspace, with room for all members
    """


@functools.singledispatch
def scratch_size(problem: NamedTuple, size: int) -> int:
    """How many elements of scratch `loss_gradient` needs for a W of ``size`` entries."""
    return size


@functools.singledispatch
def padded_size(problem: NamedTuple, size: int) -> int:
    """The entries that x has with the zeros behind it that measuring it by whole vectors wants."""
    return size


@functools.singledispatch
def to_lanes(problem: NamedTuple, size: int, lanes: int, zeros: Zeros = np.zeros) -> NamedTuple | None:
    """Room for the data of one problem per lane, which `load_lane` fills; None if the problem has no formula in lanes.

    Parameters
    ----------
    problem : the NamedTuple of a problem
    size : int, the number of entries of W
    lanes : int
    zeros : how to allocate
    """
    return None


@functools.singledispatch
def widest_in_lanes(problem: NamedTuple) -> float:
    """The widest factors of runs that travel in lanes, as far as that is the problem's to say."""
    return math.inf


@functools.singledispatch
def for_one_run(problem: NamedTuple, size: int) -> NamedTuple:
    """The problem as one run alone wants it, with an axis of problems, for a W or x of ``size`` entries."""
    return problem


@protocol
def load_lane(laid_out, lane, problem, index):
    """Copy the data of problem ``index`` into one lane of what `to_lanes` made."""


def arrays_in_lanes(*problem_classes: type) -> None:
    """Let runs of problems of these classes travel in lanes, with each array (problems, elements) laid out in lanes."""

    def room(problem: NamedTuple, size: int, lanes: int, zeros: Zeros = np.zeros) -> NamedTuple:
        return problem._make(zeros((1, array.shape[1], lanes), array.dtype) for array in problem)

    for each in problem_classes:
        to_lanes.register(each)(room)
    implements(load_lane, *problem_classes)(_load_all)


def _load_all(laid_out, lane, problem, index):
    load_arrays(laid_out, lane, problem, index)


@jit_inline
def load_arrays(laid_out, lane, arrays, index):
    """`load_lane` of each array of a tuple, (problems, elements), to that of another one, (1, elements, lanes)."""
    for array in range(len(arrays)):
        for element in range(arrays[array].shape[1]):
            laid_out[array][0, element, lane] = arrays[array][index, element]


@jit_inline
def half_square(x, size, result):
    """``result = 1/2 sum x_i^2``, per run."""
    dot(x, x, size, result)
    half = x.dtype.type(0.5)
    for run in range(result.size):
        result[run] *= half
