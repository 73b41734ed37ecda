"""Groups of runs of a diagonal network that share a measurement matrix: one run per SIMD lane, in strips of lanes.

The coordinates of factors, x and gradients lie in the order of the matrix's panels (`networks.panels`); only
what is loaded into a member or extracted from it has the order that the user knows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import LossWorkspace
from fastflow.kernels.losses.shared_matrix import SharedMatrix, lanes_of_vector
from fastflow.kernels.networks.diagonal_group import (
    DiagonalGroup,
    Row,
    balancedness_of_sides,
    gradient_norm_of,
    make_diagonal_group,
)
from fastflow.kernels.networks.group import (
    backward,
    backward_by,
    balancedness,
    compare_gradient,
    compare_gradients,
    extract_member,
    forward,
    gather_all,
    gather_entries,
    gather_gradient,
    gradient_norms,
    group_places,
    load_member,
    measure,
    move,
    move_by,
    of_members,
    place_entries,
    radial_slope,
    roots,
    set_all,
    set_factors,
)
from fastflow.kernels.networks.hadamard import (
    Form,
    hadamard_gradient,
    hadamard_product,
    hadamard_rule_step,
    hadamard_squares,
    hadamard_step,
)
from fastflow.kernels.networks.panels import (
    block_room,
    descend_together,
    partial_room,
    residuals,
    slope_room,
)
from fastflow.kernels.rules.rule import places_of
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy
from fastflow.kernels.vectors.inner import has_digits
from fastflow.kernels.vectors.layouts import VECTOR_BYTES, OfLanes, address, keep
from fastflow.kernels.vectors.transposes import lanes_from_rows, rows_from_lanes

MEMBERS = 64
"""Runs of a group: enough that reading A from beyond the second-level cache costs little."""

FEWEST = 4
"""With fewer runs than this share of a strip each goes alone."""


class TogetherGroup(NamedTuple):
    """Runs of a diagonal network in strips of lanes, a `networks.group`.

    ``places`` (n,): at which column of the panels each coordinate lies. ``factors`` (strips, parameters / n, panel
    columns, lanes); ``product`` and ``work.gradient`` (strips, panel
    columns, lanes); ``work.scratch``, the residuals, (strips, panel rows, lanes); ``partial``, ``slope`` and ``block``
    scratch, of which the last is empty where the matrix has panels.
    """

    problem: SharedMatrix
    data: np.ndarray
    form: Form
    factors: np.ndarray
    product: np.ndarray
    partial: np.ndarray
    slope: np.ndarray
    block: np.ndarray
    work: LossWorkspace
    row_factors: np.ndarray
    row: Row
    places: np.ndarray
    run: np.ndarray
    idle: np.ndarray
    record: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    least: np.ndarray
    step: np.ndarray
    moved: np.ndarray
    norm: np.ndarray


def make_vector_group(
    problem: NamedTuple, size: int, parameters: int, form: tuple[int, bool, bool], like: np.ndarray, runs: int
) -> TogetherGroup | DiagonalGroup:
    """Memory for the runs of a diagonal network that go together; parameters as for `make_diagonal_group`."""
    dtype = like.dtype
    lanes = lanes_of_vector(dtype)
    if not isinstance(problem, SharedMatrix) or runs * FEWEST < lanes:
        return make_diagonal_group(problem, size, parameters, form, like, runs)
    members = -(-runs // -(-runs // max(MEMBERS, lanes)))
    strips = -(-members // lanes)
    members, columns, rows = strips * lanes, problem.order.size, problem.panel_values.size
    return TogetherGroup(
        problem=problem,
        data=np.zeros(1, np.int64),
        form=Form(*form),
        factors=aligned_zeros((strips, parameters // size, columns, lanes), dtype),
        product=aligned_zeros((strips, columns, lanes), dtype),
        partial=aligned_zeros((partial_room(dtype),), dtype),
        slope=aligned_zeros((slope_room(dtype),), dtype),
        block=aligned_zeros((0 if problem.panels.size else block_room(rows, columns),), dtype),
        work=LossWorkspace(
            aligned_zeros((strips, columns, lanes), dtype),
            aligned_zeros((strips, rows, lanes), dtype),
            aligned_zeros((members,), dtype),
            aligned_zeros((members,), dtype),
        ),
        row_factors=aligned_zeros((parameters,), dtype),
        row=Row(aligned_zeros((size,), dtype), aligned_zeros((parameters,), dtype)),
        places=np.argsort(np.where(problem.order < 0, columns, problem.order), kind="stable")[:size],
        **of_members(members, dtype),
    )


class TogetherPlaces(NamedTuple):
    """Where a group's memory begins: addresses."""

    factors: int
    product: int
    gradient: int
    residual: int
    loss: int
    partial: int
    slope: int
    step: int
    moved: int
    panels: int
    values: int


@implements(group_places, TogetherGroup)
def _group_places(group, widths):
    return TogetherPlaces(
        address(group.factors, 0),
        address(group.product, 0),
        address(group.work.gradient, 0),
        address(group.work.scratch, 0),
        address(group.work.loss, 0),
        address(group.partial, 0),
        address(group.slope, 0),
        address(group.step, 0),
        address(group.moved, 0),
        address(group.problem.panels, 0),
        address(group.problem.panel_values, 0),
    )


@implements(forward, TogetherGroup, inline=True)
def _forward(group, at, widths):
    i, strips = np.intp, group.product.shape[0]
    rows, columns, measurements = group.work.scratch.shape[1], group.product.shape[1], group.problem.values.size
    residuals(
        group.row_factors.dtype.type(0),
        at.panels,
        group.problem.matrix,
        group.block,
        at.values,
        i(rows),
        i(columns),
        i(strips),
        at.product,
        at.residual,
        at.gradient,
        at.partial,
        at.loss,
        i(measurements),
    )


@implements(measure, TogetherGroup, inline=True)
def _measure(group, columns):
    pass  # by `forward`


@implements(backward, TogetherGroup, inline=True)
def _backward(group, at, widths, now):
    if group.block.size > 0:  # `forward` has the gradients
        if now:
            move(group, at)
        return
    if now:
        group.moved[:] = 0
    i, strips, rows, columns = np.intp, group.product.shape[0], group.work.scratch.shape[1], group.product.shape[1]
    descend_together(
        group.row_factors.dtype.type(0),
        at.panels,
        i(rows),
        i(columns),
        i(strips),
        at.residual,
        at.slope if now else at.gradient,
        at.factors,
        at.product,
        at.step,
        at.moved,
        i(group.factors.shape[1]),
        group.form,
        bool(now),
    )


@jit_internal
def step_strips(zero, at, n, count, strips, lanes, form):
    """One step of every member by the gradients, and what changed, to ``moved``."""
    for strip in range(strips):
        x, factors = strip * n * VECTOR_BYTES, strip * count * n * VECTOR_BYTES
        step, moved = at.step + strip * VECTOR_BYTES, at.moved + strip * lanes * 8
        hadamard_step(OfLanes(zero), at.factors + factors, at.product + x, at.gradient + x, step, moved, n, n, form)


@implements(move, TogetherGroup)
def _move(group, at):
    group.moved[:] = 0
    i, (strips, columns, lanes) = np.intp, group.product.shape
    zero, count = group.row_factors.dtype.type(0), group.factors.shape[1]
    step_strips(zero, at, i(columns), i(count), i(strips), i(lanes), group.form)


@jit_internal
def step_strips_by(zero, rule, at, n, count, strips, lanes, memory, slot_bytes, numbers, number_bytes, form):
    """`step_strips` by the formula of a rule."""
    for strip in range(strips):
        x, its = strip * n * VECTOR_BYTES, strip * count * n * VECTOR_BYTES
        hadamard_rule_step(
            OfLanes(zero),
            rule,
            at.factors + its,
            at.product + x,
            at.gradient + x,
            memory + its,
            slot_bytes,
            numbers + strip * VECTOR_BYTES,
            number_bytes,
            at.moved + strip * lanes * 8,
            n,
            n,
            form,
        )


@implements(move_by, TogetherGroup)
def _move_by(group, at, rule, mover):
    group.moved[:] = 0
    i, (strips, columns, lanes) = np.intp, group.product.shape
    zero, count = group.row_factors.dtype.type(0), group.factors.shape[1]
    memory, slot_bytes, numbers, number_bytes = places_of(mover)
    step_strips_by(
        zero,
        rule,
        at,
        i(columns),
        i(count),
        i(strips),
        i(lanes),
        memory,
        slot_bytes,
        numbers,
        number_bytes,
        group.form,
    )


@implements(backward_by, TogetherGroup, inline=True)
def _backward_by(group, at, widths, now, rule, mover):
    backward(group, at, widths, False)
    if now:
        move_by(group, at, rule, mover)


@implements(place_entries, TogetherGroup)
def _place_entries(group, laid_out, member, flat):
    order, size, lanes = group.problem.order, group.row.product.size, group.product.shape[2]
    strip, lane = member // lanes, member % lanes
    for j in range(laid_out.shape[1]):
        for q in range(order.size):
            laid_out[strip, j, q, lane] = flat[j * size + order[q]] if order[q] >= 0 else 0


@implements(gather_entries, TogetherGroup)
def _gather_entries(group, laid_out, member, flat):
    lanes = group.product.shape[2]
    gather(laid_out, member // lanes, member % lanes, group.problem.order, group.row.product.size, flat)


@implements(gather_gradient, TogetherGroup)
def _gather_gradient(group, member):
    lanes = group.product.shape[2]
    strip, lane = member // lanes, member % lanes
    gather(group.factors, strip, lane, group.problem.order, group.row.product.size, group.row_factors)
    for q in range(group.problem.order.size):
        if group.problem.order[q] >= 0:
            group.row.product[group.problem.order[q]] = group.work.gradient[strip, q, lane]
    hadamard_gradient(group.row_factors, group.row.product, group.row.gradient, group.form)


@implements(gather_all, TogetherGroup)
def _gather_all(group, rows):
    (strips, count, _, lanes), size, x = group.factors.shape, group.row.product.size, group.row.product
    for strip in range(strips):
        factors, gradients = rows[0, strip * lanes : (strip + 1) * lanes], rows[1, strip * lanes : (strip + 1) * lanes]
        for j in range(count):
            rows_from_lanes(group.factors[strip, j], group.places, factors, j * size)
        rows_from_lanes(group.work.gradient[strip], group.places, gradients, 0)
    for member in range(group.run.size):
        copy(x, rows[1, member], size)
        hadamard_gradient(rows[0, member, : count * size], x, rows[1, member], group.form)


@implements(compare_gradients, TogetherGroup)
def _compare_from_lanes(group, last, rows, squares, across):
    gather_all(group, rows)
    for member in range(group.run.size):
        if group.run[member] >= 0:
            compare_gradient(group, last, rows[1, member], squares, across, member)


@implements(set_all, TogetherGroup)
def _set_all(group, rows):
    (strips, count, _, lanes), size = group.factors.shape, group.row.product.size
    for member in range(group.run.size):
        hadamard_product(rows[0, member], rows[1, member, :size], group.form)
    for strip in range(strips):
        factors, products = rows[0, strip * lanes : (strip + 1) * lanes], rows[1, strip * lanes : (strip + 1) * lanes]
        for j in range(count):
            lanes_from_rows(group.factors[strip, j], group.places, factors, j * size)
        lanes_from_rows(group.product[strip], group.places, products, 0)


@implements(set_factors, TogetherGroup)
def _set_factors(group, member):
    order, lanes = group.problem.order, group.product.shape[2]
    place_entries(group, group.factors, member, group.row_factors)
    hadamard_product(group.row_factors, group.row.product, group.form)
    for q in range(order.size):
        group.product[member // lanes, q, member % lanes] = group.row.product[order[q]] if order[q] >= 0 else 0


@implements(gradient_norms, TogetherGroup)
def _gradient_norms(group):
    zero, i = group.row_factors.dtype.type(0), np.intp
    strips, columns = group.product.shape[:2]
    n, form, squares = group.row.product.size, group.form, group.work.number
    factors, g, result = address(group.factors, 0), address(group.work.gradient, 0), address(squares, 0)
    sides = 2 if form.signed else 1
    for strip in range(strips):
        its = factors + strip * group.factors.shape[1] * columns * VECTOR_BYTES
        at, to = g + strip * columns * VECTOR_BYTES, result + strip * VECTOR_BYTES
        hadamard_squares(OfLanes(zero), its, at, i(n), i(columns), i(sides), form, to)
    keep(group)
    if form.identical:  # each of the L equal factors has this gradient
        for member in range(squares.size):
            squares[member] *= form.depth
    roots(group.norm, squares)
    for member in range(squares.size):
        if group.run[member] >= 0 and not has_digits(squares[member]):
            _norm_of_member(group, member)


@jit_internal
def _norm_of_member(group, member):
    lanes = group.product.shape[2]
    gather(
        group.factors,
        member // lanes,
        member % lanes,
        group.problem.order,
        group.row.product.size,
        group.row_factors,
    )
    for q in range(group.problem.order.size):
        if group.problem.order[q] >= 0:
            group.row.product[group.problem.order[q]] = group.work.gradient[member // lanes, q, member % lanes]
    gradient_norm_of(group.row_factors, group.row.product, group, member)


@implements(radial_slope, TogetherGroup)
def _radial_slope(group, member):
    lanes, total = group.product.shape[2], 0.0
    strip, lane = member // lanes, member % lanes
    for q in range(group.product.shape[1]):
        total += np.float64(group.work.gradient[strip, q, lane]) * group.product[strip, q, lane]
    return total


@jit_inline
def gather(laid_out, strip, lane, order, size, factors):
    """The factors of one member in the user's order."""
    for j in range(laid_out.shape[1]):
        for q in range(order.size):
            if order[q] >= 0:
                factors[j * size + order[q]] = laid_out[strip, j, q, lane]


@implements(load_member, TogetherGroup)
def _load_member(group, member, factors, problem, index):
    order, size, lanes = group.problem.order, group.row.product.size, group.product.shape[2]
    strip, lane = member // lanes, member % lanes
    copy(group.row_factors, factors, group.row_factors.size)
    hadamard_product(group.row_factors, group.row.product, group.form)
    for q in range(order.size):
        k = order[q]
        # Where no coordinate lies there are zeros, also after a run that diverged.
        group.product[strip, q, lane] = group.row.product[k] if k >= 0 else 0
        for j in range(group.factors.shape[1]):
            group.factors[strip, j, q, lane] = factors[j * size + k] if k >= 0 else 0


@implements(extract_member, TogetherGroup)
def _extract_member(group, member):
    order, lanes = group.problem.order, group.product.shape[2]
    strip, lane = member // lanes, member % lanes
    gather(group.factors, strip, lane, order, group.row.product.size, group.row_factors)
    for q in range(order.size):
        if order[q] >= 0:
            group.row.product[order[q]] = group.product[strip, q, lane]


@implements(balancedness, TogetherGroup)
def _balancedness(group, widths):
    return balancedness_of_sides(group)
