"""Groups of runs of a diagonal network, whose ``x`` is a Hadamard product of factors.

A group is one run by the rows of its measurement matrix, or up to `ROWS` runs one after the other: by the rows of one
large matrix, or in Gram form, for which the matrix is read once, or measured by Python (`losses.measured`).
(`networks.diagonal_together` has many runs by the rows of one matrix.) The product x is kept in step with the factors:
each step writes it anew, in the same pass over memory.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.compile.protocol import chooses, implements, protocol
from fastflow.kernels.losses.loss import LossWorkspace, loss_gradient, padded_size, scratch_size
from fastflow.kernels.losses.measured import Measured, call_back, members_of
from fastflow.kernels.losses.regression import RegressionByGram
from fastflow.kernels.losses.sensing import Sensing
from fastflow.kernels.losses.shared_matrix import LARGE, SharedMatrix
from fastflow.kernels.networks.group import (
    backward,
    backward_by,
    balancedness,
    extract_member,
    forward,
    gather_entries,
    gather_gradient,
    gradient_norms,
    group_places,
    inner,
    load_member,
    measure,
    move,
    move_by,
    of_members,
    part_of,
    place_entries,
    radial_slope,
    set_factors,
)
from fastflow.kernels.networks.hadamard import (
    Form,
    hadamard_gradient,
    hadamard_product,
    hadamard_rule_step,
    hadamard_step,
)
from fastflow.kernels.rules.rule import places_of
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy, dot, half_square_at, subtract
from fastflow.kernels.vectors.inner import has_digits, measure_rows, measure_rows_for_all, norm_of
from fastflow.kernels.vectors.layouts import address, flattened, integer_at, item_bytes, keep, set_integer
from fastflow.kernels.vectors.products import multiply

ROWS = 32
"""Runs that share a product with a Gram matrix, or go over rows of a large one together: enough to reuse a part of it
from the second-level cache."""


class Row(NamedTuple):
    """One member's ``product`` x, (n,), and scratch for its ``gradient`` by the factors, (parameters,)."""

    product: np.ndarray
    gradient: np.ndarray


class DiagonalGroup(NamedTuple):
    """Runs of a diagonal network one after the other, a `networks.group`.

    ``problem``, and ``data[0]`` the index into it; ``factors`` (members * parameters,), ``product`` x (members *
    columns,), of which n entries each and then zeros, if the matrix has columns of zeros (`padded_columns`).
    """

    problem: NamedTuple
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
    problem: NamedTuple, size: int, parameters: int, form: tuple[int, bool, bool], like: np.ndarray, runs: int
) -> DiagonalGroup:
    """Memory for the runs that go together.

    Parameters
    ----------
    problem : the NamedTuple of a problem, see `losses.loss`
    size : int, n
    parameters : int, the entries of all factors of a run
    form : depth, signed, identical; see `networks.hadamard.Form`
    like : array of the dtype of all arithmetic
    runs : int, how many runs there are for this group
    """
    dtype = like.dtype
    shared = isinstance(problem, RegressionByGram) and len(problem.centre) == 1
    if isinstance(problem, Sensing) and len(problem.operators) == 1:
        shared = problem.operators.nbytes >= LARGE
    members = -(-runs // -(-runs // ROWS)) if shared else 1
    if isinstance(problem, Measured):
        members = members_of(runs, len(problem.values), size, ROWS)
    columns, scratch = padded_size(problem, size), scratch_size(problem, size)

    def room(length: int) -> np.ndarray:
        return aligned_zeros((length * members,), dtype)

    return DiagonalGroup(
        problem=problem,
        data=np.zeros(1, np.int64),
        form=Form(*form),
        factors=room(parameters),
        product=room(columns),
        work=LossWorkspace(room(columns), room(scratch), *(aligned_zeros((members,), dtype) for _ in range(2))),
        row_factors=aligned_zeros((parameters,), dtype),
        row=Row(aligned_zeros((size,), dtype), aligned_zeros((parameters,), dtype)),
        **of_members(members, dtype),
    )


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


@implements(group_places, DiagonalGroup)
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


@protocol
def flat_data(problem):
    """The matrices and the values of a problem as flat arrays, empty ones where it is not measured by its rows."""


@implements(flat_data, SharedMatrix, inline=True)
def _flat_matrix(problem):
    return problem.matrix, problem.values


@implements(flat_data, Sensing, inline=True)
def _flat_operators(problem):
    return flattened(problem.operators), flattened(problem.values)


@implements(flat_data, tuple, inline=True)
def _no_flat_data(problem):
    return np.zeros(0), np.zeros(0)


# The product is there, whatever changes factors writes it. Where x is measured by the rows of A, that needs no arrays,
# and is done in `forward`; else in `measure`.


BY_ROWS = (SharedMatrix, Sensing)
"""Problems that are measured by the rows of A, at the group's `DiagonalPlaces`."""


def _is_by_rows(group):
    """Whether the problem of a group, of which this is Numba's type, is measured by the rows of A."""
    return group[group.fields.index("problem")].instance_class in BY_ROWS


# Chosen by the group's type, not by its problem as an argument, which would cost its arrays' reference counts a step.
@chooses(forward, DiagonalGroup, inline=True)
def _forward(group, at, widths):
    return _measure_rows if _is_by_rows(group) else _measure_later


def _measure_rows(group, at, widths):
    zero, members, m = group.product.dtype.type(0), group.run.size, group.problem.values.shape[-1]
    columns, i, size = group.product.size // members, np.intp, item_bytes(zero)
    number = integer_at(at.which) * m * size
    matrix, values = at.matrix + number * columns, at.values + number
    if members == 1:
        measure_rows(zero, matrix, values, i(m), i(columns), at.product, at.residual, at.gradient)
    else:
        measure_rows_for_all(zero, matrix, values, i(m), i(columns), i(members), at.product, at.residual, at.gradient)
    for member in range(members):
        half_square_at(zero, at.residual + member * m * size, i(m), at.loss + member * size)


def _measure_later(group, at, widths):
    pass


@chooses(measure, DiagonalGroup)
def _measure(group, columns):
    return _have_measured if _is_by_rows(group) else _measure_now


def _have_measured(group, columns):
    pass


def _measure_now(group, columns):
    measure_members(group.problem, group, columns)


@protocol
def measure_members(problem, group, columns):
    """`measure` of all other problems."""


@implements(measure_members, RegressionByGram, inline=True)
def _measure_by_gram(problem, group, columns):
    # As `RegressionByGram` for one member, whose bits a product of several rows keeps.
    members, index, n = group.run.size, group.data[0], columns
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


@implements(measure_members, Measured)
def _measure_by_python(problem, group, columns):
    i = np.intp
    call_back(
        problem.handle,
        group.data[0],
        address(group.product, i(0)),
        address(group.work.gradient, i(0)),
        address(group.work.loss, i(0)),
        group.run.size,
        address(group.idle, i(0)),
    )
    keep(group)


@implements(measure_members, tuple, inline=True)
def _measure_one(problem, group, columns):
    loss_gradient(problem, group.data[0], group.product, columns, group.work)


@implements(backward, DiagonalGroup)
def _backward(group, at, widths, now):
    if now:
        _step_all(group, at)


@implements(move, DiagonalGroup)
def _move(group, at):
    _step_all(group, at)


@jit_internal
def step_members_by(zero, rule, at, n, columns, parameters, members, memory, slot_bytes, numbers, number_bytes, form):
    """`step_members` by the formula of a rule."""
    size = item_bytes(zero)
    for i in range(members):
        x, its = i * columns * size, i * parameters * size
        moved = at.moved + 8 * i
        set_integer(moved, 0)
        hadamard_rule_step(
            zero,
            rule,
            at.factors + its,
            at.product + x,
            at.gradient + x,
            memory + its,
            slot_bytes,
            numbers + i * size,
            number_bytes,
            moved,
            n,
            n,
            form,
        )


@implements(move_by, DiagonalGroup)
def _move_by(group, at, rule, mover):
    members, i = group.run.size, np.intp
    memory, slot_bytes, numbers, number_bytes = places_of(mover)
    step_members_by(
        group.product.dtype.type(0),
        rule,
        at,
        i(group.row.product.size),
        i(group.product.size // members),
        i(group.row_factors.size),
        i(members),
        memory,
        slot_bytes,
        numbers,
        number_bytes,
        group.form,
    )


@implements(backward_by, DiagonalGroup, inline=True)
def _backward_by(group, at, widths, now, rule, mover):
    if now:
        move_by(group, at, rule, mover)


@implements(place_entries, DiagonalGroup)
def _place_entries(group, laid_out, member, flat):
    copy(laid_out[member * flat.size : (member + 1) * flat.size], flat, flat.size)


@implements(gather_entries, DiagonalGroup)
def _gather_entries(group, laid_out, member, flat):
    copy(flat, laid_out[member * flat.size : (member + 1) * flat.size], flat.size)


@implements(gather_gradient, DiagonalGroup)
def _gather_gradient(group, member):
    parameters, n = group.row_factors.size, group.row.product.size
    at = member * (group.product.size // group.run.size)
    factors = group.factors[member * parameters : (member + 1) * parameters]
    hadamard_gradient(factors, group.work.gradient[at : at + n], group.row.gradient, group.form)


@implements(set_factors, DiagonalGroup)
def _set_factors(group, member):
    parameters, n = group.row_factors.size, group.row.product.size
    copy(group.factors[member * parameters : (member + 1) * parameters], group.row_factors, parameters)
    at = member * (group.product.size // group.run.size)
    hadamard_product(group.row_factors, group.product[at : at + n], group.form)


@implements(gradient_norms, DiagonalGroup)
def _gradient_norms(group):
    parameters, n = group.row_factors.size, group.row.product.size
    for member in range(group.run.size):
        at = member * (group.product.size // group.run.size)
        factors = group.factors[member * parameters : (member + 1) * parameters]
        gradient_norm_of(factors, group.work.gradient[at : at + n], group, member)


@jit_inline
def gradient_norm_of(factors, g, group, member):
    """The norm of a member's gradient, given that by x."""
    hadamard_gradient(factors, g, group.row.gradient, group.form)
    square = group.work.number[member:]
    size = norm_of(group.row.gradient, square)
    if group.form.identical:  # each of the L equal factors has this gradient
        square[0] *= group.form.depth
        size = np.sqrt(np.float64(square[0])) if has_digits(square[0]) else size * np.sqrt(group.form.depth)
    group.norm[member] = size


@implements(radial_slope, DiagonalGroup)
def _radial_slope(group, member):
    return inner(part_of(group.work.gradient, member, group.run.size), part_of(group.product, member, group.run.size))


@implements(load_member, DiagonalGroup)
def _load_member(group, member, factors, problem, index):
    group.data[0] = index
    parameters, n = group.row_factors.size, group.row.product.size
    copy(group.factors[member * parameters : (member + 1) * parameters], factors, parameters)
    at = member * (group.product.size // group.run.size)
    hadamard_product(factors, group.product[at : at + n], group.form)


@implements(extract_member, DiagonalGroup)
def _extract_member(group, member):
    parameters, n = group.row_factors.size, group.row.product.size
    copy(group.row_factors, group.factors[member * parameters : (member + 1) * parameters], parameters)
    at = member * (group.product.size // group.run.size)
    copy(group.row.product, group.product[at : at + n], n)


@implements(balancedness, DiagonalGroup)
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
            size = np.sqrt(total)
            if not has_digits(total):
                size = 0.0
                for i in range(at, at + n):
                    apart = np.float64(group.row_factors[i]) ** 2 - np.float64(group.row_factors[i - n]) ** 2
                    size = np.hypot(size, apart)
            worst = max(worst, size)
    return worst
