"""Groups of runs of chains of matrices.

There are three layouts, each with a class; what they do is the same, and so are the bits:

* `ChainGroup`: one run, the rows of whose matrices are `Padded`;
* `ChainLanes`: one run per SIMD lane, arrays (elements, lanes). Small matrices waste most of a vector when it runs
  along a row, and nothing when it runs across runs; large ones do not fit the cache eight at a time;
* `ChainRows`: runs as in `ChainGroup` one after the other, which meet in a product with a matrix that they share
  (sensing operators, samples), so that the matrix is read once for all of them.

`choose_layout` decides by the shapes alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.compile.protocol import implements, is_implemented, protocol
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.losses.loss import (
    LossWorkspace,
    group_loss_gradient,
    inline_loss_gradient,
    load_lane,
    scratch_size,
    to_lanes,
    widest_in_lanes,
)
from fastflow.kernels.networks.chain import (
    ChainPlaces,
    ChainWorkspace,
    chain_balancedness,
    chain_places,
    chain_product_at,
    chain_sweep_back,
    chain_workspace,
    copy_factors,
    step_factors,
)
from fastflow.kernels.networks.chain_steps import ByFormula, BySteps
from fastflow.kernels.networks.group import (
    backward,
    backward_by,
    balancedness,
    compare_gradients,
    extract_member,
    forward,
    gather_all,
    gather_entries,
    gather_gradient,
    gather_last,
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
    place_last,
    radial_slope,
    roots,
    set_all,
    set_factors,
)
from fastflow.kernels.rules.elementwise import take_rule_steps_at
from fastflow.kernels.rules.rule import places_of
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy, dot
from fastflow.kernels.vectors.inner import has_digits, norm, norm_of
from fastflow.kernels.vectors.layouts import Padded, address, element_bytes, kind_of, padded_width
from fastflow.kernels.vectors.steps import take_steps_at
from fastflow.kernels.vectors.team import SHARED_WORK, make_board
from fastflow.kernels.vectors.transposes import lanes_from_rows, rows_from_lanes

LANE_WIDTH = 50
"""Chains whose widths are all at most this travel in lanes, but for those that fill their vectors (measured)."""

LEAST_FILLED = {64: 2, 32: 20}
"""By the bytes of a vector, from which width on the tile of one run can be faster than lanes (measured; others: never).
Not below two vectors."""


def least_share(lanes: int) -> float:
    """From which share of its vectors in use on a row is no waste of them: the tile of one run is then faster than
    lanes, whose runs have so many times the memory (measured with 4 and 8 lanes)."""
    return 0.94 if lanes <= 4 else 0.88


ROWS = 32
"""Runs that share a product with operators or samples: enough to reuse a panel of them from the second-level cache."""


class ChainGroup(NamedTuple):
    """One run at a time, a `networks.group`.

    ``problem``: the problem as the members' layout has it, ``data[0]`` the index into it, ``data[1:]`` the widths.
    ``factors``, ``chain``, ``work``: memory in that layout. ``row_factors``, ``row``: one member's factors and
    workspace without padding. ``places``: where each parameter lies among the elements of lanes. ``board``: that of
    `vectors.team`. The rest is that of `of_members`.
    """

    problem: NamedTuple
    data: np.ndarray
    factors: np.ndarray
    chain: ChainWorkspace
    work: LossWorkspace
    row_factors: np.ndarray
    row: ChainWorkspace
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
    board: np.ndarray


def board_of(group: object) -> np.ndarray | None:
    """The board of a group of one run, some of whose products are worth sharing with other threads; else None."""
    if type(group) is not ChainGroup:
        return None
    widths = group.data[1:]
    most = int((widths[1:] * widths[:-1]).max() * min(widths[0], widths[-1]))
    return group.board if most >= SHARED_WORK else None


class ChainLanes(ChainGroup):
    """One run per lane: ``factors``, ``chain`` and ``work`` are arrays (elements, lanes), and so is the problem."""

    __slots__ = ()


class ChainRows(ChainGroup):
    """Runs one after the other: all arrays flat with the members first, but for the sweeps, which are common."""

    __slots__ = ()


LAYOUTS = {"one": ChainGroup, "lanes": ChainLanes, "rows": ChainRows}


def _fill_vectors(widths: Sequence[int], itemsize: int) -> bool:
    """Whether rows of all these widths waste so little of their vectors that one run at a time is faster than lanes."""
    lanes, least = SHAPE.vector_bytes // itemsize, LEAST_FILLED.get(SHAPE.vector_bytes, math.inf)
    return all(w >= max(least, 2 * lanes) and w >= least_share(lanes) * lanes * -(-w // lanes) for w in widths)


def gain_in_lanes(problem: NamedTuple, widths: Sequence[int], itemsize: int, widest: float) -> bool:
    """Whether runs of chains of these widths are faster in lanes, where those of at most ``widest`` can be."""
    return max(widths) <= widest and not _fill_vectors(widths, itemsize) and to_lanes(problem, 1, 1) is not None


def choose_layout(problem: NamedTuple, widths: Sequence[int], itemsize: int = 8) -> str:
    """``"lanes"``, ``"rows"`` or ``"one"``, by the kind of problem, the widths, and the bytes of a number."""
    widest = min(LANE_WIDTH, widest_in_lanes(problem))
    if gain_in_lanes(problem, widths, itemsize, widest):
        return "lanes"
    return "rows" if is_implemented(group_loss_gradient, type(problem)) else "one"


def make_group(
    problem: NamedTuple, widths: Sequence[int], like: np.ndarray, runs: int, layout: str | None = None
) -> ChainGroup:
    """Memory for the runs that go together.

    Parameters
    ----------
    problem : the NamedTuple of a problem, see `losses.loss`
    widths : (d_0, ..., d_N)
    like : array of the dtype of all arithmetic
    runs : int, how many runs there are for this group
    layout : "one", "lanes" or "rows"; default `choose_layout`
    """
    layout = layout or choose_layout(problem, widths, like.dtype.itemsize)
    dtype = like.dtype
    row = ChainWorkspace(*(aligned_zeros(a.shape, dtype) for a in chain_workspace.py_func(np.asarray(widths), like)))
    size, parameters, scratch = (row.product.size, row.gradient.size, scratch_size(problem, row.product.size))
    members = {"one": 1, "lanes": SHAPE.vector_bytes // dtype.itemsize, "rows": min(ROWS, runs)}[layout]

    def room(length: int) -> np.ndarray:
        return aligned_zeros((length, members) if layout == "lanes" else (length * members,), dtype)

    laid_out: NamedTuple | None = problem
    if layout == "lanes":
        chain, factors = (ChainWorkspace(*(room(array.size) for array in row)), room(parameters))
        laid_out = to_lanes(problem, size, members, aligned_zeros)
    else:
        padded = chain_workspace.py_func(np.array([padded_width.py_func(w, dtype.itemsize) for w in widths]), like)
        sweep_a, sweep_b = (aligned_zeros(array.shape, dtype) for array in (padded.sweep_a, padded.sweep_b))
        chain = ChainWorkspace(room(size), room(padded.partial.size), sweep_a, sweep_b, room(padded.gradient.size))
        factors = room(padded.gradient.size)
    assert laid_out is not None
    return LAYOUTS[layout](
        problem=laid_out,
        data=np.array([0, *widths], np.int64),
        factors=factors,
        chain=chain,
        work=LossWorkspace(room(size), room(scratch), *(aligned_zeros((members,), dtype) for _ in range(2))),
        row_factors=aligned_zeros((parameters,), dtype),
        row=row,
        places=np.arange(parameters if layout == "lanes" else 0),
        board=make_board(),
        **of_members(members, dtype),
    )


@protocol
def group_kind(group):
    """The kind of storage of a group's factors."""


@implements(group_kind, ChainLanes, inline=True)
def _kind_of_lanes(group):
    return kind_of(group.factors)


@implements(group_kind, ChainGroup, inline=True)
def _kind_of_padded(group):
    return Padded(group.row_factors.dtype.type(0), address(group.board, 0))


class GroupPlaces(NamedTuple):
    """Where a group's memory lies, as addresses (see `ChainPlaces`); of `ChainRows`, that of the first member."""

    chain: ChainPlaces
    end_gradient: int
    step: int
    moved: int


@implements(group_places, ChainGroup, inline=True)
def _group_places(group, widths):
    return GroupPlaces(
        chain_places(group.factors, widths, group.chain),
        address(group.work.gradient, 0),
        address(group.step, 0),
        address(group.moved, 0),
    )


@jit_inline
def _member_places(group, at, member):
    """The places of one member of `ChainRows`; scratch is common."""
    size, members = element_bytes(group_kind(group)), group.run.size
    number, chain = member * size, at.chain
    its = ChainPlaces(
        chain.factors + number * (group.factors.size // members),
        chain.product + number * (group.chain.product.size // members),
        chain.partial + number * (group.chain.partial.size // members),
        chain.sweep_a,
        chain.sweep_b,
        chain.gradient + number * (group.chain.gradient.size // members),
        chain.from_left,
        chain.tiny,
    )
    end_gradient = at.end_gradient + number * (group.work.gradient.size // members)
    return GroupPlaces(its, end_gradient, at.step + number, at.moved + 8 * member)


@implements(forward, ChainGroup, inline=True)
def _forward(group, at, widths):
    chain_product_at(group_kind(group), widths, at.chain)


@implements(forward, ChainRows, inline=True)
def _forward_rows(group, at, widths):
    for member in range(group.run.size):
        chain_product_at(group_kind(group), widths, _member_places(group, at, member).chain)


@implements(measure, ChainGroup)
def _measure(group, columns):
    inline_loss_gradient(group.problem, group.data[0], group.chain.product, columns, group.work)


@implements(measure, ChainRows)
def _measure_rows(group, columns):
    group_loss_gradient(group.problem, group.chain.product, columns, group.work)


@implements(backward, ChainGroup, inline=True)
def _backward(group, at, widths, now):
    if now:
        group.moved[:] = 0
    chain_sweep_back(group_kind(group), widths, at.end_gradient, at.chain, BySteps(at.step, at.moved), now)


@implements(backward, ChainRows, inline=True)
def _backward_rows(group, at, widths, now):
    if now:
        group.moved[:] = 0
    for member in range(group.run.size):
        its = _member_places(group, at, member)
        chain_sweep_back(group_kind(group), widths, its.end_gradient, its.chain, BySteps(its.step, its.moved), now)


@jit_inline
def _by_formula(group, at, rule, mover, member):
    """The `ByFormula` of a member of a group, or of all members in lanes."""
    memory, slot_bytes, numbers, number_bytes = places_of(mover)
    number = element_bytes(group_kind(group)) * member
    return ByFormula(rule, memory - at.chain.factors, slot_bytes, numbers + number, number_bytes, at.moved + 8 * member)


@implements(backward_by, ChainGroup, inline=True)
def _backward_by(group, at, widths, now, rule, mover):
    if now:
        group.moved[:] = 0
    how = _by_formula(group, at, rule, mover, 0)
    chain_sweep_back(group_kind(group), widths, at.end_gradient, at.chain, how, now)


@implements(backward_by, ChainRows, inline=True)
def _backward_rows_by(group, at, widths, now, rule, mover):
    if now:
        group.moved[:] = 0
    for member in range(group.run.size):
        its, how = _member_places(group, at, member), _by_formula(group, at, rule, mover, member)
        chain_sweep_back(group_kind(group), widths, its.end_gradient, its.chain, how, now)


@implements(gradient_norms, ChainLanes, inline=True)
def _gradient_norms_of_lanes(group):
    gradient, squares = group.chain.gradient, group.work.number
    dot(gradient, gradient, len(gradient), squares)
    roots(group.norm, squares)
    for lane in range(group.run.size):
        if group.run[lane] >= 0 and not has_digits(squares[lane]):
            _norm_of_lane(group, lane)


@jit_internal
def _norm_of_lane(group, lane):
    flat = group.row.gradient
    gather_gradient(group, lane)
    group.norm[lane] = norm(flat)


@implements(gradient_norms, ChainGroup, inline=True)
def _gradient_norms(group):
    flat = group.row.gradient
    for member in range(group.run.size):
        gradient = address(part_of(group.chain.gradient, member, group.run.size), 0)
        copy_factors(group_kind(group), group.data[1:], address(flat, 0), False, gradient, True)
        group.norm[member] = norm_of(flat, group.work.number[member:])


@implements(radial_slope, ChainLanes)
def _radial_slope_of_lane(group, member):
    total = 0.0
    for element in range(len(group.chain.product)):
        total += np.float64(group.work.gradient[element, member]) * group.chain.product[element, member]
    return total


@implements(radial_slope, ChainGroup)
def _radial_slope(group, member):
    return inner(
        part_of(group.work.gradient, member, group.run.size), part_of(group.chain.product, member, group.run.size)
    )


@implements(move, ChainLanes)
def _move_lanes(group, at):
    group.moved[:] = 0
    chain = at.chain
    take_steps_at(group_kind(group), chain.factors, chain.gradient, at.step, at.moved, len(group.factors))


@implements(move, ChainGroup)
def _move(group, at):
    group.moved[:] = 0
    for member in range(group.run.size):
        its = _member_places(group, at, member)
        step_factors(group_kind(group), group.data[1:], its.chain, BySteps(its.step, its.moved))


@implements(move_by, ChainLanes)
def _move_lanes_by(group, at, rule, mover):
    group.moved[:] = 0
    chain = at.chain
    memory, slot_bytes, numbers, number_bytes = places_of(mover)
    take_rule_steps_at(
        group_kind(group),
        rule,
        chain.factors,
        chain.gradient,
        memory,
        slot_bytes,
        numbers,
        number_bytes,
        at.moved,
        len(group.factors),
    )


@implements(move_by, ChainGroup)
def _move_by(group, at, rule, mover):
    group.moved[:] = 0
    for member in range(group.run.size):
        its, how = _member_places(group, at, member), _by_formula(group, at, rule, mover, member)
        step_factors(group_kind(group), group.data[1:], its.chain, how)


@implements(place_entries, ChainLanes)
def _place_lane(group, laid_out, member, flat):
    for element in range(flat.size):
        laid_out[element, member] = flat[element]


@implements(place_entries, ChainGroup)
def _place_entries(group, laid_out, member, flat):
    its = address(part_of(laid_out, member, group.run.size), 0)
    copy_factors(group_kind(group), group.data[1:], its, True, address(flat, 0), False)


@implements(gather_entries, ChainLanes)
def _gather_lane(group, laid_out, member, flat):
    for element in range(flat.size):
        flat[element] = laid_out[element, member]


@implements(gather_entries, ChainGroup)
def _gather_entries(group, laid_out, member, flat):
    its = address(part_of(laid_out, member, group.run.size), 0)
    copy_factors(group_kind(group), group.data[1:], address(flat, 0), False, its, True)


@implements(gather_gradient, ChainGroup, inline=True)
def _gather_gradient(group, member):
    gather_entries(group, group.chain.gradient, member, group.row.gradient)


@implements(gather_all, ChainLanes)
def _gather_all_lanes(group, rows):
    rows_from_lanes(group.factors, group.places, rows[0], 0)
    rows_from_lanes(group.chain.gradient, group.places, rows[1], 0)


@implements(set_all, ChainLanes)
def _set_all_lanes(group, rows):
    lanes_from_rows(group.factors, group.places, rows[0], 0)


@implements(compare_gradients, ChainLanes)
def _compare_lanes(group, last, rows, squares, across):
    now, numbers = group.chain.gradient, group.work.number
    before = last.reshape(now.shape)
    dot(now, now, len(now), numbers)
    for lane in range(numbers.size):
        squares[lane] = numbers[lane]
    dot(now, before, len(now), numbers)
    for lane in range(numbers.size):
        across[lane] = numbers[lane]
    copy(before, now, len(now))


@implements(place_last, ChainLanes)
def _place_last_of_lane(group, last, member, flat):
    place_entries(group, last.reshape(group.chain.gradient.shape), member, flat)


@implements(gather_last, ChainLanes)
def _gather_last_of_lane(group, last, member, flat):
    gather_entries(group, last.reshape(group.chain.gradient.shape), member, flat)


@implements(set_factors, ChainGroup, inline=True)
def _set_factors(group, member):
    place_entries(group, group.factors, member, group.row_factors)


@implements(load_member, ChainLanes)
def _load_lane(group, member, factors, problem, index):
    for element in range(factors.size):
        group.factors[element, member] = factors[element]
    load_lane(group.problem, member, problem, index)


@implements(load_member, ChainGroup)
def _load_member(group, member, factors, problem, index):
    group.data[0] = index
    its = address(part_of(group.factors, member, group.run.size), 0)
    copy_factors(group_kind(group), group.data[1:], its, True, address(factors, 0), False)


@implements(extract_member, ChainLanes)
def _extract_lane(group, member):
    for element in range(group.row_factors.size):
        group.row_factors[element] = group.factors[element, member]
    for element in range(group.row.product.size):
        group.row.product[element] = group.chain.product[element, member]


@implements(extract_member, ChainGroup)
def _extract_member(group, member):
    factors, its = address(group.row_factors, 0), address(part_of(group.factors, member, group.run.size), 0)
    copy_factors(group_kind(group), group.data[1:], factors, False, its, True)
    product = part_of(group.chain.product, member, group.run.size)
    copy(group.row.product, product, product.size)


@implements(balancedness, ChainGroup, inline=True)
def _balancedness(group, widths):
    return chain_balancedness(group.row_factors, widths, group.row)
