"""Groups of runs of a diagonal network: what `descend` does with a deep linear one, for ``x`` a Hadamard product.

A group is one run with a measurement matrix of its own, or up to `ROWS` runs one after the other that share one, which
is then read once for all of them. The product x is kept in step with the factors: each step writes it anew, in the
same pass over memory.
"""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np

from fastflow.kernels.elementwise import copy, dot, subtract
from fastflow.kernels.groups import (
    ROWS,
    aligned_zeros,
    backward,
    balancedness,
    extract_member,
    forward,
    group_places,
    load_member,
    measure,
    move,
    square_norms,
)
from fastflow.kernels.hadamard import Form, hadamard_gradient, hadamard_product, hadamard_step
from fastflow.kernels.inner import SharedMatrix, measure_shared, partial_size
from fastflow.kernels.jit import jit_inline, kernel_overload
from fastflow.kernels.losses import (
    LossWorkspace,
    RegressionByGram,
    half_square,
    inline_loss_gradient,
    scratch_size,
)
from fastflow.kernels.products import multiply


class Row(NamedTuple):
    """One member's ``product`` x, (n,), and scratch for its ``gradient`` by the factors, (parameters,)."""

    product: np.ndarray
    gradient: np.ndarray


class DiagonalGroup(NamedTuple):
    """The members of a group of runs of a diagonal network; `fastflow.kernels.groups.Group` says what is what.

    ``factors`` (members * parameters,), ``product`` x (members * n,), ``partial`` scratch of `partial_size`.
    """

    problem: Any
    data: np.ndarray
    form: Form
    factors: np.ndarray
    product: np.ndarray
    partial: np.ndarray
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
    problem : NamedTuple of `fastflow.kernels.losses`
    size : int, n
    parameters : int, the entries of all factors of a run
    form : depth, signed, identical; see `fastflow.kernels.hadamard.Form`
    like : array of the dtype of all arithmetic
    runs : int, how many runs there are for this group
    """
    dtype = like.dtype
    shared = isinstance(problem, SharedMatrix) or (isinstance(problem, RegressionByGram) and len(problem.centre) == 1)
    members = min(ROWS, runs) if shared else 1
    scratch = problem.values.size if isinstance(problem, SharedMatrix) else scratch_size(problem, size)

    def room(length: int) -> np.ndarray:
        return aligned_zeros((length * members,), dtype)

    integers = np.zeros((5, members), np.int64)
    return DiagonalGroup(
        problem=problem,
        data=np.zeros(1, np.int64),
        form=Form(*form),
        factors=room(parameters),
        product=room(size),
        partial=aligned_zeros((partial_size(members, dtype),), dtype),
        work=LossWorkspace(room(size), room(scratch), np.zeros(members, dtype), np.zeros(members, dtype)),
        row_factors=aligned_zeros((parameters,), dtype),
        row=Row(aligned_zeros((size,), dtype), aligned_zeros((parameters,), dtype)),
        run=integers[0],
        idle=integers[1],
        record=integers[2],
        offset=integers[3],
        weight=np.zeros(members),
        least=np.zeros(members),
        step=np.zeros(members, dtype),
        moved=integers[4],
        norm=np.zeros(members, dtype),
    )


def _for_diagonal(function):
    """Overload what a group does, for `DiagonalGroup`."""

    def register(implementation):
        def choose(group, *arguments):
            return implementation if group.instance_class is DiagonalGroup else None

        choose.__signature__ = inspect.signature(implementation)
        return kernel_overload(function)(choose)

    return register


@jit_inline
def _step_all(group):
    parameters, n, members = group.row_factors.size, group.row.product.size, group.run.size
    for member in range(members):
        group.moved[member] = hadamard_step(
            group.factors,
            member * parameters,
            group.product,
            member * n,
            group.work.gradient,
            member * n,
            group.step[member],
            n,
            group.form,
        )


@_for_diagonal(group_places)
def _group_places(group, widths):
    return 0  # arrays will do: a step is one pass over them


@_for_diagonal(forward)
def _forward(group, at, widths):
    pass  # the product is there: whatever changes factors writes it


@kernel_overload(measure)
def _measure(group, columns):
    if group.instance_class is not DiagonalGroup:
        return None

    def by_shared_matrix(group, columns):
        problem, work, members = group.problem, group.work, group.run.size
        measurements = problem.values.size
        measure_shared(problem, group.product, members, work.scratch, work.gradient, group.partial)
        for member in range(members):
            residual = work.scratch[member * measurements : (member + 1) * measurements]
            half_square(residual, measurements, work.loss[member : member + 1])

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

    def by_own_matrix(group, columns):
        inline_loss_gradient(group.problem, group.data[0], group.product, columns, group.work)

    formulas = {SharedMatrix: by_shared_matrix, RegressionByGram: by_gram}
    return formulas.get(group[group.fields.index("problem")].instance_class, by_own_matrix)


@_for_diagonal(backward)
def _backward(group, at, widths, now):
    if now:
        _step_all(group)


@_for_diagonal(move)
def _move(group, at):
    _step_all(group)


@_for_diagonal(square_norms)
def _square_norms(group):
    parameters, n = group.row_factors.size, group.row.product.size
    for member in range(group.run.size):
        factors = group.factors[member * parameters : (member + 1) * parameters]
        g = group.work.gradient[member * n : (member + 1) * n]
        hadamard_gradient(factors, g, group.row.gradient, group.form)
        dot(group.row.gradient, group.row.gradient, parameters, group.norm[member : member + 1])
        if group.form.identical:  # each of the L equal factors has this gradient
            group.norm[member] *= group.form.depth


@_for_diagonal(load_member)
def _load_member(group, member, factors, problem, index):
    group.data[0] = index
    parameters, n = group.row_factors.size, group.row.product.size
    copy(group.factors[member * parameters : (member + 1) * parameters], factors, parameters)
    hadamard_product(factors, group.product[member * n : (member + 1) * n], group.form)


@_for_diagonal(extract_member)
def _extract_member(group, member):
    parameters, n = group.row_factors.size, group.row.product.size
    copy(group.row_factors, group.factors[member * parameters : (member + 1) * parameters], parameters)
    copy(group.row.product, group.product[member * n : (member + 1) * n], n)


@_for_diagonal(balancedness)
def _balancedness(group, widths):
    return 0.0  # it is not recorded
