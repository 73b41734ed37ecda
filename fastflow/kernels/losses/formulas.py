"""Losses ``f = 1/2 sum r_i^2`` of a product W, and their gradients ``E`` by W: the problems as the kernels see them.

A problem is a plain NamedTuple of arrays whose first axis runs over problems, so that one compiled function serves data
shared by all runs (length 1) and data of one problem per run. `loss_gradient` picks the formula by the NamedTuple's
type when it is compiled. Matrices are stored flat and row-major; ``W`` is (rows, columns) = (d_N, d_0).

Where runs travel one per SIMD lane, `to_lanes` lays the data of each lane's problem out beside the others' as arrays
(1, elements, lanes), and the same formulas then hold for all lanes at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core.dispatcher import Dispatcher

from fastflow.kernels.compile.jit import PACKAGE, jit_inline, kernel_overload, kernel_overload_inline
from fastflow.kernels.vectors.elementwise import dot, residual, residual_known, subtract
from fastflow.kernels.vectors.inner import measure_rows
from fastflow.kernels.vectors.layouts import address, keep
from fastflow.kernels.vectors.products import multiply, multiply_nt, multiply_tn


class Estimation(NamedTuple):
    """``r = W - target``; target (problems, rows * columns)."""

    target: np.ndarray


class Completion(NamedTuple):
    """``r = W[entry] - value`` over observed entries, flat indices ``row * columns + column``.

    Problem p owns ``entries[bounds[p]:bounds[p + 1]]`` and the values at the same places.
    """

    entries: np.ndarray
    values: np.ndarray
    bounds: np.ndarray


class CompletionOfLanes(NamedTuple):
    """`Completion` one run per lane: target (1, rows * columns, lanes), NaN where a lane's problem observes nothing.

    Of one run: (problems, rows * columns).
    """

    target: np.ndarray


class Sensing(NamedTuple):
    """``r_i = <A_i, W> - values_i``.

    operators (problems, measurements * rows * columns), row-major, values (problems, measurements).
    """

    operators: np.ndarray
    values: np.ndarray


class SharedSensing(NamedTuple):
    """`Sensing` with the same operators for every run, so that a product serves all members of a group.

    operators (measurements * rows * columns,), row-major; values (measurements,).
    """

    operators: np.ndarray
    values: np.ndarray


class RegressionBySamples(NamedTuple):
    """``r = W X - Y``; inputs X (problems, columns * samples), outputs Y (problems, rows * samples)."""

    inputs: np.ndarray
    outputs: np.ndarray


class SharedSamples(NamedTuple):
    """`RegressionBySamples` of one problem for every run, so that a product serves all members of a group."""

    inputs: np.ndarray
    outputs: np.ndarray


class RegressionByGram(NamedTuple):
    """``r = W X - Y`` through ``D = W - centre``: ``E = D gram - offset``, ``f = 1/2 <D, D gram> - <D, offset> +
    floor``.

    ``centre`` is (close to) a least-squares solution, ``gram = X X^T``, ``offset = (Y - centre X) X^T`` and
    ``floor = 1/2 ||Y - centre X||^2``. Measured from there the loss keeps its relative accuracy down to the floor,
    which ``1/2 <W, W X X^T - 2 Y X^T> + 1/2 ||Y||^2`` loses to cancellation. Arrays (problems, ...), flat.
    """

    centre: np.ndarray
    gram: np.ndarray
    offset: np.ndarray
    floor: np.ndarray


class LossWorkspace(NamedTuple):
    """Memory for `loss_gradient`, for one run (elements,) or one run per lane (elements, lanes).

    ``gradient`` E (rows * columns), ``scratch`` of `scratch_size` elements, ``loss`` and ``number`` one per run.
    """

    gradient: np.ndarray
    scratch: np.ndarray
    loss: np.ndarray
    number: np.ndarray


def loss_gradient(problem, index, product, columns, work):
    """Write the loss of one problem at W to ``work.loss``, and its gradient by W to ``work.gradient``.

    Parameters
    ----------
    problem : one of the NamedTuples of this module
    index : int, which of the problems; 0 for problems laid out in lanes
    product : array (rows * columns,), W; or (rows * columns, lanes)
    columns : int
    work : LossWorkspace
    """
    raise TypeError(f"loss_gradient is for compiled code; no formula is known for {type(problem).__name__}")


def scratch_size(problem: Any, size: int) -> int:
    """How many elements of scratch `loss_gradient` needs for a W of ``size`` entries."""
    if isinstance(problem, RegressionBySamples | SharedSamples):
        return max(size, problem.outputs.shape[1])
    if isinstance(problem, Sensing | SharedSensing):
        return max(size, problem.values.shape[-1])
    return size


_FORMULAS: dict[type, Callable[..., Any]] = {}


def formula(problem_class):
    """Make a function what `loss_gradient` does of a problem of fastflow's own."""

    def register(function):
        _FORMULAS[problem_class] = function
        return function

    return register


def add_problem(problem_class: type, formula: Callable[..., Any]) -> None:
    """Teach the kernels a problem of your own.

    Parameters
    ----------
    problem_class : a NamedTuple class of arrays, the data of the problem. The kernels see each array with one more
        axis in front, which runs over problems.
    formula : function ``(problem, index, product, gradient) -> loss`` in the part of Python that Numba compiles
        ``product`` is W, flat and row-major; ``gradient``, flat, must be filled with the gradient of the loss by W.
        ``problem.field[index]`` is what the problem at hand has for a field.

    Notes
    -----
    Train it through `fastflow.CustomProblem`. Code specialised on a class that is not fastflow's is never cached on
    disk: it is compiled in each process (some seconds), and what you edit takes effect in the next one.

    Raises
    ------
    TypeError
        for what is not a NamedTuple class, or not a function
    ValueError
        for a class of fastflow's own
    """
    if not (isinstance(problem_class, type) and issubclass(problem_class, tuple) and hasattr(problem_class, "_fields")):
        raise TypeError(f"problem_class must be a NamedTuple class, got {problem_class!r}")
    if not callable(formula):
        raise TypeError(f"formula must be a function, got {formula!r}")
    if problem_class.__module__.split(".", 1)[0] == PACKAGE:
        raise ValueError(f"{problem_class.__name__} is one of fastflow's own problems")
    compiled = formula if isinstance(formula, Dispatcher) else numba.njit(nogil=True, error_model="numpy")(formula)

    def call(problem, index, product, columns, work):
        work.loss[0] = compiled(problem, index, product, work.gradient)

    _FORMULAS[problem_class] = call


def has_formula(problem_class: type) -> bool:
    """Whether the kernels know a problem's formula."""
    return problem_class in _FORMULAS


def inline_loss_gradient(problem, index, product, columns, work):
    """`loss_gradient`, as a part of the kernel that calls it."""
    raise TypeError("inline_loss_gradient is for compiled code")


@kernel_overload(loss_gradient)
@kernel_overload_inline(inline_loss_gradient)
def _loss_gradient(problem, index, product, columns, work):
    if isinstance(problem, types.NamedTuple | types.NamedUniTuple):
        return _FORMULAS.get(problem.instance_class)
    return None


@jit_inline
def half_square(x, size, result):
    """``result = 1/2 sum x_i^2``, per run."""
    dot(x, x, size, result)
    half = x.dtype.type(0.5)
    for run in range(result.size):
        result[run] *= half


@formula(Estimation)
def _estimation(problem, index, product, columns, work):
    residual(work.gradient, product, problem.target[index], len(product), work.loss)


@formula(Completion)
def _completion(problem, index, product, columns, work):
    gradient = work.gradient
    gradient[:] = 0
    for i in range(problem.bounds[index], problem.bounds[index + 1]):
        entry = problem.entries[i]
        gradient[entry] = product[entry] - problem.values[i]
    # Summed over all of E: zeros change nothing, and the order of the entries does not matter.
    half_square(gradient, product.size, work.loss)


@formula(CompletionOfLanes)
def _completion_of_lanes(problem, index, product, columns, work):
    residual_known(work.gradient, product, problem.target[index], len(product), work.loss)


@formula(Sensing)
def _sensing(problem, index, product, columns, work):
    operators, values, i = problem.operators[index], problem.values[index], np.intp
    residual, gradient = work.scratch, work.gradient
    measure_rows(
        product.dtype.type(0),
        address(operators, i(0)),
        address(values, i(0)),
        i(values.size),
        i(len(product)),
        address(product, i(0)),
        address(residual, i(0)),
        address(gradient, i(0)),
    )
    keep(operators)
    keep(values)
    half_square(residual, values.size, work.loss)


@formula(SharedSensing)
def _shared_sensing(problem, index, product, columns, work):
    # One run per lane: the lanes are the columns of a matrix, which the operators multiply from the left.
    measurements, size, lanes = problem.values.size, len(product), work.loss.size
    residual = work.scratch.ravel()
    multiply(residual, 0, problem.operators, 0, product.ravel(), 0, measurements, size, lanes)
    for i in range(measurements):
        for lane in range(lanes):
            residual[i * lanes + lane] -= problem.values[i]
    multiply_tn(work.gradient.ravel(), 0, problem.operators, 0, residual, 0, size, measurements, lanes)
    half_square(work.scratch, measurements, work.loss)


@formula(RegressionBySamples)
def _regression_by_samples(problem, index, product, columns, work):
    outputs, residuals = problem.outputs[index], work.scratch
    rows = len(product) // columns
    samples = len(outputs) // rows
    multiply(residuals, 0, product, 0, problem.inputs[index], 0, rows, columns, samples)
    residual(residuals, residuals, outputs, len(outputs), work.loss)
    multiply_nt(work.gradient, 0, residuals, 0, problem.inputs[index], 0, rows, samples, columns)


formula(SharedSamples)(_regression_by_samples)


@formula(RegressionByGram)
def _regression_by_gram(problem, index, product, columns, work):
    offset, floor = problem.offset[index], problem.floor[index].ravel()
    gradient, deviation, loss, linear = (work.gradient, work.scratch, work.loss, work.number)
    size = len(product)
    subtract(deviation, product, problem.centre[index], size)
    multiply(gradient, 0, deviation, 0, problem.gram[index], 0, size // columns, columns, columns)
    dot(deviation, gradient, size, loss)
    dot(deviation, offset, size, linear)
    subtract(gradient, gradient, offset, size)
    half = gradient.dtype.type(0.5)
    for run in range(loss.size):
        loss[run] = half * loss[run] - linear[run] + floor[run]


def to_lanes(problem: Any, size: int, lanes: int, zeros: Callable[..., np.ndarray] = np.zeros) -> Any:
    """Room for the data of one problem per lane, which `load_lane` fills; None if the problem has no formula in lanes.

    Parameters
    ----------
    problem : one of the NamedTuples of this module
    size : int, the number of entries of W
    lanes : int
    zeros : how to allocate
    """

    def room(array: np.ndarray) -> np.ndarray:
        return zeros((1, array.shape[1], lanes), array.dtype)

    if isinstance(problem, Completion):
        return CompletionOfLanes(zeros((1, size, lanes), problem.values.dtype))
    if isinstance(problem, SharedSensing):
        return problem
    if isinstance(problem, Estimation | RegressionByGram | RegressionBySamples | SharedSamples):
        return type(problem)(*map(room, problem))
    return None


def load_lane(laid_out, lane, problem, index):
    """Copy the data of problem ``index`` into one lane of what `to_lanes` made."""
    raise TypeError("load_lane is for compiled code")


@kernel_overload(load_lane)
def _load_lane(laid_out, lane, problem, index):
    if problem.instance_class is SharedSensing:
        return lambda laid_out, lane, problem, index: None
    if problem.instance_class is Completion:

        def load_entries(laid_out, lane, problem, index):
            for element in range(laid_out.target.shape[1]):
                laid_out.target[0, element, lane] = np.nan
            for i in range(problem.bounds[index], problem.bounds[index + 1]):
                laid_out.target[0, problem.entries[i], lane] = problem.values[i]

        return load_entries

    def load_arrays(laid_out, lane, problem, index):
        for array in range(len(problem)):
            for element in range(problem[array].shape[1]):
                laid_out[array][0, element, lane] = problem[array][index, element]

    return load_arrays
