"""Groups of runs of a diagonal network: what `descend` does with a deep linear one, for ``x`` a Hadamard product.

A group is one run by the rows of its measurement matrix, or up to `ROWS` runs one after the other in Gram form, for
which the matrix is read once. (`networks.together` has many runs by the rows of one matrix.) The product x is
kept in step with the factors: each step writes it anew, in the same pass over memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal, kernel_overload, kernel_overload_inline
from fastflow.kernels.losses.formulas import (
    LossWorkspace,
    RegressionByGram,
    Sensing,
    scratch_size,
)
from fastflow.kernels.losses.shared_matrix import SharedMatrix
from fastflow.kernels.networks.groups import (
    ROWS,
    backward,
    balancedness,
    extract_member,
    forward,
    group_places,
    load_member,
    measure,
    move,
    of_members,
    square_norms,
)
from fastflow.kernels.networks.hadamard import Form, hadamard_gradient, hadamard_product, hadamard_step
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy, dot, half_square_at, subtract
from fastflow.kernels.vectors.inner import measure_rows
from fastflow.kernels.vectors.layouts import address, integer_at, item_bytes, set_integer
from fastflow.kernels.vectors.products import multiply


class Row(NamedTuple):
    """One member's ``product`` x, (n,), and scratch for its ``gradient`` by the factors, (parameters,)."""

    product: np.ndarray
    gradient: np.ndarray


class DiagonalGroup(NamedTuple):
    """The members of a group of runs of a diagonal network; `networks.groups.Group` says what is what.

    ``factors`` (members * parameters,), ``product`` x (members * columns,), of which n entries each and then zeros, if
    the matrix has columns of zeros (`padded_columns`).
    """

    problem: Any
    data: np.ndarray
    form: Form
    factors: np.ndarray
    product: np.ndarray
    work: LossWorkspace
    row_factors: np.ndarray
    row: Row
    run: np.ndarray
    idle: np.ndarray
    record: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    least: np.ndarray
    step: np.ndarray
    moved: np.ndarray
    norm: np.ndarray


def make_diagonal_group(
    problem: Any, size: int, parameters: int, form: tuple[int, bool, bool], like: np.ndarray, runs: int
) -> DiagonalGroup:
    """Memory for the runs that go together.

    Parameters
    ----------
    problem : NamedTuple of `kernels.losses`
    size : int, n
    parameters : int, the entries of all factors of a run
    form : depth, signed, identical; see `networks.hadamard.Form`
    like : array of the dtype of all arithmetic
    runs : int, how many runs there are for this group
    """
    dtype = like.dtype
    shared = isinstance(problem, RegressionByGram) and len(problem.centre) == 1
    members = -(-runs // -(-runs // ROWS)) if shared else 1
    columns, scratch = size, scratch_size(problem, size)
    if isinstance(problem, SharedMatrix):
        columns, scratch = problem.matrix.size // problem.values.size, problem.values.size
    elif isinstance(problem, Sensing):
        columns = problem.operators.shape[1] // problem.values.shape[1]

    def room(length: int) -> np.ndarray:
        return aligned_zeros((length * members,), dtype)

    return DiagonalGroup(
        problem=problem,
        data=np.zeros(1, np.int64),
        form=Form(*form),
        factors=room(parameters),
        product=room(columns),
        work=LossWorkspace(room(columns), room(scratch), np.zeros(members, dtype), np.zeros(members, dtype)),
        row_factors=aligned_zeros((parameters,), dtype),
        row=Row(aligned_zeros((size,), dtype), aligned_zeros((parameters,), dtype)),
        **of_members(members, dtype),
    )


def for_groups(group_class: type, register_with: Any = kernel_overload) -> Callable[..., Any]:
    """Overload what a group does, for a class of groups, by one implementation for all types of its arrays."""

    def of_function(function):
        def register(implementation):
            def choose(group, *arguments):
                return implementation if group.instance_class is group_class else None

            choose.__signature__ = inspect.signature(implementation)
            return register_with(function)(choose)

        return register

    return of_function


_for_diagonal = for_groups(DiagonalGroup)


class DiagonalPlaces(NamedTuple):
    """Where the members' memory begins: addresses, which reading arrays at every step would cost more than small steps.

    ``matrix`` and ``values`` are those of the first problem, ``which`` holds the number of theirs; 0 in Gram form.
    """

    factors: int
    product: int
    gradient: int
    residual: int
    loss: int
    step: int
    moved: int
    which: int
    matrix: int
    values: int


@jit_internal
def step_members(zero, at, n, columns, parameters, members, form):
    """One step of every member, and what changed, to ``moved``."""
    size = item_bytes(zero)
    for i in range(members):
        x, factors = i * columns * size, at.factors + i * parameters * size
        moved = at.moved + 8 * i
        set_integer(moved, 0)
        hadamard_step(zero, factors, at.product + x, at.gradient + x, at.step + i * size, moved, n, n, form)


@jit_inline
def _step_all(group, at):
    members, i = group.run.size, np.intp
    columns = group.product.size // members
    step_members(
        group.product.dtype.type(0),
        at,
        i(group.row.product.size),
        i(columns),
        i(group.row_factors.size),
        i(members),
        group.form,
    )


@_for_diagonal(group_places)
def _group_places(group, widths):
    matrix, values = flat_data(group.problem)
    return DiagonalPlaces(
        address(group.factors, 0),
        address(group.product, 0),
        address(group.work.gradient, 0),
        address(group.work.scratch, 0),
        address(group.work.loss, 0),
        address(group.step, 0),
        address(group.moved, 0),
        address(group.data, 0),
        address(matrix, 0),
        address(values, 0),
    )


def flat_data(problem):
    """The matrices and the values of a problem as flat arrays, empty ones where it is not measured by its rows."""
    raise TypeError("flat_data is for compiled code")


@kernel_overload_inline(flat_data)
def _flat_data(problem):
    if problem.instance_class is SharedMatrix:
        return lambda problem: (problem.matrix, problem.values)
    if problem.instance_class is Sensing:
        return lambda problem: (problem.operators.ravel(), problem.values.ravel())
    return lambda problem: (np.zeros(0), np.zeros(0))


@kernel_overload_inline(forward)
def _forward(group, at, widths):
    """Measure, where that is by the rows of A: the product is there, whatever changes factors writes it."""
    if group.instance_class is not DiagonalGroup:
        return None
    if group[group.fields.index("problem")].instance_class not in (SharedMatrix, Sensing):
        return lambda group, at, widths: None

    def by_rows(group, at, widths):
        zero, columns, m = group.product.dtype.type(0), group.product.size, group.problem.values.shape[-1]
        i, number = np.intp, integer_at(at.which) * m * item_bytes(zero)
        matrix, values = at.matrix + number * columns, at.values + number
        measure_rows(zero, matrix, values, i(m), i(columns), at.product, at.residual, at.gradient)
        half_square_at(zero, at.residual, i(m), at.loss)

    return by_rows


@kernel_overload(measure)
def _measure(group, columns):
    if group.instance_class is not DiagonalGroup:
        return None

    def measured(group, columns):
        pass  # by `forward`

    def by_gram(group, columns):
        # As `RegressionByGram` for one member, whose bits a product of several rows keeps.
        problem, members, index, n = group.problem, group.run.size, group.data[0], columns
        deviation, gradient, losses, numbers = (
            group.work.scratch,
            group.work.gradient,
            group.work.loss,
            group.work.number,
        )
        half, floor, offset = gradient.dtype.type(0.5), problem.floor[index, 0], problem.offset[index]
        for member in range(members):
            at = member * n
            subtract(deviation[at:], group.product[at:], problem.centre[index], n)
        multiply(gradient, 0, deviation, 0, problem.gram[index], 0, members, n, n)
        for member in range(members):
            at = member * n
            dot(deviation[at:], gradient[at:], n, losses[member:])
            dot(deviation[at:], offset, n, numbers[member:])
            subtract(gradient[at:], gradient[at:], offset, n)
            losses[member] = half * losses[member] - numbers[member] + floor

    return by_gram if group[group.fields.index("problem")].instance_class is RegressionByGram else measured


@_for_diagonal(backward)
def _backward(group, at, widths, now):
    if now:
        _step_all(group, at)


@_for_diagonal(move)
def _move(group, at):
    _step_all(group, at)


@_for_diagonal(square_norms)
def _square_norms(group):
    parameters, n = group.row_factors.size, group.row.product.size
    for member in range(group.run.size):
        at = member * (group.product.size // group.run.size)
        factors = group.factors[member * parameters : (member + 1) * parameters]
        square_norm_of(factors, group.work.gradient[at : at + n], group, member)


@jit_inline
def square_norm_of(factors, g, group, member):
    """The squared norm of a member's gradient, given that by x."""
    hadamard_gradient(factors, g, group.row.gradient, group.form)
    dot(group.row.gradient, group.row.gradient, group.row.gradient.size, group.norm[member : member + 1])
    if group.form.identical:  # each of the L equal factors has this gradient
        group.norm[member] *= group.form.depth


@_for_diagonal(load_member)
def _load_member(group, member, factors, problem, index):
    group.data[0] = index
    parameters, n = group.row_factors.size, group.row.product.size
    copy(group.factors[member * parameters : (member + 1) * parameters], factors, parameters)
    at = member * (group.product.size // group.run.size)
    hadamard_product(factors, group.product[at : at + n], group.form)


@_for_diagonal(extract_member)
def _extract_member(group, member):
    parameters, n = group.row_factors.size, group.row.product.size
    copy(group.row_factors, group.factors[member * parameters : (member + 1) * parameters], parameters)
    at = member * (group.product.size // group.run.size)
    copy(group.row.product, group.product[at : at + n], n)


@_for_diagonal(balancedness)
def _balancedness(group, widths):
    return balancedness_of_sides(group)


@jit_inline
def balancedness_of_sides(group):
    """``max_j ||u_{j+1}^2 - u_j^2||`` of both sides; 0 where factors are identical."""
    n, worst = group.row.product.size, 0.0
    count = 1 if group.form.identical else group.form.depth
    for side in range(2 if group.form.signed else 1):
        for j in range(1, count):
            at, total = (side * count + j) * n, 0.0
            for i in range(at, at + n):
                total += (np.float64(group.row_factors[i]) ** 2 - np.float64(group.row_factors[i - n]) ** 2) ** 2
            worst = max(worst, np.sqrt(total))
    return worst
