"""Groups: the runs that go through their steps together, and where their memory is.

A group has one of three layouts, which Numba tells apart by its type; what it does is the same, and so are the bits:

* one run, the rows of whose matrices are `Padded`;
* one run per SIMD lane, arrays (elements, lanes). Small matrices waste most of a vector when it runs along a row, and
  nothing when it runs across runs; large ones do not fit the cache eight at a time;
* `Rows`: such runs one after the other, which meet in a product with a matrix that they share (sensing operators,
  samples), so that the matrix is read once for all of them.

`choose_layout` decides by the shapes alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, kernel_overload, kernel_overload_inline
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.losses.formulas import (
    LossWorkspace,
    SharedSamples,
    SharedSensing,
    inline_loss_gradient,
    load_lane,
    scratch_size,
    to_lanes,
)
from fastflow.kernels.losses.group_losses import group_loss_gradient
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
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy, dot
from fastflow.kernels.vectors.layouts import Padded, address, element_bytes, kind_of, padded_width
from fastflow.kernels.vectors.steps import take_steps_at

LANE_WIDTH = 50
"""Chains whose widths are all at most this travel in lanes, but for those of `FILLED` (measured)."""

FILLED = 0.88
"""From which share of its vectors in use on, of two vectors at least, a row is no waste of 512-bit registers: the tile
of one run is then faster than lanes, whose runs have eight times the memory (measured). Not so on narrower ones."""

SENSING_LANE_WIDTH = 6
"""The same where runs share sensing operators, whose products want more columns than there are lanes (measured)."""

ROWS = 32
"""Runs that share a product with operators or samples: enough to reuse a panel of them from the second-level cache."""


class Group(NamedTuple):
    """The members of a group; arrays of numbers have one per member.

    ``problem``: the problem as the members' layout has it, ``data[0]`` the index into it, ``data[1:]`` the widths.
    ``factors``, ``chain``, ``work``: memory in that layout. ``row_factors``, ``row``: one member's factors and
    workspace without padding, where `extract_member` puts them. ``run`` (-1: free), ``idle`` (1: free), ``record``
    (next record), ``offset`` (the run's step less the group's tick), ``weight`` of its loss, ``least`` (the unweighted
    loss from which it may have converged), ``step``, ``moved`` (whether the last step changed anything), ``norm``
    (squared, of the gradient).
    """

    problem: Any
    data: np.ndarray
    factors: np.ndarray
    chain: ChainWorkspace
    work: LossWorkspace
    row_factors: np.ndarray
    row: ChainWorkspace
    run: np.ndarray
    idle: np.ndarray
    record: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    least: np.ndarray
    step: np.ndarray
    moved: np.ndarray
    norm: np.ndarray


class Rows(Group):
    """A group of runs one after the other: all arrays flat with the members first."""

    __slots__ = ()


def _fill_vectors(widths: Sequence[int], itemsize: int) -> bool:
    lanes = SHAPE.vector_bytes // itemsize
    return SHAPE.vector_bytes == 64 and all(w >= 2 * lanes and w >= FILLED * lanes * -(-w // lanes) for w in widths)


def choose_layout(problem: Any, widths: Sequence[int], itemsize: int = 8) -> str:
    """``"lanes"``, ``"rows"`` or ``"one"``, by the kind of problem, the widths, and the bytes of a number."""
    widest = min(LANE_WIDTH, SENSING_LANE_WIDTH) if isinstance(problem, SharedSensing) else LANE_WIDTH
    if max(widths) <= widest and not _fill_vectors(widths, itemsize) and to_lanes(problem, 1, 1) is not None:
        return "lanes"
    return "rows" if isinstance(problem, SharedSensing | SharedSamples) else "one"


def make_group(problem: Any, widths: Sequence[int], like: np.ndarray, runs: int, layout: str | None = None) -> Group:
    """Memory for the runs that go together.

    Parameters
    ----------
    problem : NamedTuple of `kernels.losses`
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

    if layout == "lanes":
        chain, factors = (ChainWorkspace(*(room(array.size) for array in row)), room(parameters))
    else:
        padded = chain_workspace.py_func(np.array([padded_width.py_func(w, dtype.itemsize) for w in widths]), like)
        sweep_a, sweep_b = (aligned_zeros(array.shape, dtype) for array in (padded.sweep_a, padded.sweep_b))
        chain = ChainWorkspace(room(size), room(padded.partial.size), sweep_a, sweep_b, room(padded.gradient.size))
        factors = room(padded.gradient.size)
    return (Rows if layout == "rows" else Group)(
        problem=to_lanes(problem, size, members, aligned_zeros) if layout == "lanes" else problem,
        data=np.array([0, *widths], np.int64),
        factors=factors,
        chain=chain,
        work=LossWorkspace(room(size), room(scratch), np.zeros(members, dtype), np.zeros(members, dtype)),
        row_factors=aligned_zeros((parameters,), dtype),
        row=row,
        **of_members(members, dtype),
    )


def of_members(members: int, dtype: Any) -> dict[str, np.ndarray]:
    """What every kind of group has of its members, by the names of `Group`."""
    integers = {name: np.zeros(members, np.int64) for name in ("run", "idle", "record", "offset", "moved")}
    doubles = {name: np.zeros(members) for name in ("weight", "least")}
    return integers | doubles | {name: np.zeros(members, dtype) for name in ("step", "norm")}


def layout_of(group: Any) -> str:
    """The layout of a group, from its Numba type."""
    if group.instance_class is Rows:
        return "rows"
    return "one" if group[group.fields.index("factors")].ndim == 1 else "lanes"


def group_kind(group):
    """The kind of storage of a group's factors."""
    raise TypeError("group_kind is for compiled code")


@kernel_overload_inline(group_kind)
def _group_kind(group):
    if layout_of(group) == "lanes":
        return lambda group: kind_of(group.factors)
    return lambda group: Padded(group.row_factors.dtype.type(0))


def for_chains(function: Callable[..., Any], register_with: Any = kernel_overload) -> Callable[..., Any]:
    """Overload what a group does for the groups of this module; other modules have groups of their own."""

    def register(implement):
        @functools.wraps(implement)
        def choose(group, *arguments):
            return implement(group, *arguments) if issubclass(group.instance_class, Group) else None

        return register_with(function)(choose)

    return register


@jit_inline
def _part(array, member, members):
    """The part of a flat array that belongs to one member."""
    return array[member * (array.size // members) : (member + 1) * (array.size // members)]


class GroupPlaces(NamedTuple):
    """Where a group's memory lies, as addresses (see `ChainPlaces`); of `Rows`, the memory of the first member."""

    chain: ChainPlaces
    end_gradient: int
    step: int
    moved: int


def group_places(group, widths):
    """The `GroupPlaces` of a group, which must be kept alive while they are in use."""
    raise TypeError("group_places is for compiled code")


@for_chains(group_places, kernel_overload_inline)
def _group_places(group, widths):
    return lambda group, widths: GroupPlaces(
        chain_places(group.factors, widths, group.chain),
        address(group.work.gradient, 0),
        address(group.step, 0),
        address(group.moved, 0),
    )


@jit_inline
def _member_places(group, at, member):
    """The places of one member of `Rows`; scratch is common."""
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
    )
    end_gradient = at.end_gradient + number * (group.work.gradient.size // members)
    return GroupPlaces(its, end_gradient, at.step + number, at.moved + 8 * member)


def forward(group, at, widths):
    """The products of all members, to ``group.chain``; ``at`` are the group's `GroupPlaces`."""
    raise TypeError("forward is for compiled code")


@for_chains(forward, kernel_overload_inline)
def _forward(group, at, widths):
    if layout_of(group) != "rows":
        return lambda group, at, widths: chain_product_at(group_kind(group), widths, at.chain)

    def of_rows(group, at, widths):
        for member in range(group.run.size):
            chain_product_at(group_kind(group), widths, _member_places(group, at, member).chain)

    return of_rows


def measure(group, columns):
    """The losses of all members and their gradients by the product, to ``group.work``."""
    raise TypeError("measure is for compiled code")


@for_chains(measure)
def _measure(group, columns):
    def apart(group, columns):
        inline_loss_gradient(group.problem, group.data[0], group.chain.product, columns, group.work)

    def together(group, columns):
        group_loss_gradient(group.problem, group.chain.product, columns, group.work)

    return together if layout_of(group) == "rows" else apart


def backward(group, at, widths, now):
    """The gradients of all members by their factors, to ``group.chain.gradient``; after `forward` and `measure`.

    With ``now`` every member takes a step instead, as `move` would.
    """
    raise TypeError("backward is for compiled code")


@for_chains(backward, kernel_overload_inline)
def _backward(group, at, widths, now):
    if layout_of(group) != "rows":

        def at_once(group, at, widths, now):
            if now:
                group.moved[:] = 0
            chain_sweep_back(group_kind(group), widths, at.end_gradient, at.chain, at.step, at.moved, now)

        return at_once

    def of_rows(group, at, widths, now):
        if now:
            group.moved[:] = 0
        for member in range(group.run.size):
            its = _member_places(group, at, member)
            chain_sweep_back(group_kind(group), widths, its.end_gradient, its.chain, its.step, its.moved, now)

    return of_rows


def square_norms(group):
    """The squared norms of the gradients, to ``group.norm``."""
    raise TypeError("square_norms is for compiled code")


@for_chains(square_norms, kernel_overload_inline)
def _square_norms(group):
    if layout_of(group) == "lanes":
        return lambda group: dot(group.chain.gradient, group.chain.gradient, len(group.factors), group.norm)

    def of_padded(group):
        flat = group.row.gradient
        for member in range(group.run.size):
            gradient = address(_part(group.chain.gradient, member, group.run.size), 0)
            copy_factors(group_kind(group), group.data[1:], address(flat, 0), False, gradient, True)
            dot(flat, flat, flat.size, group.norm[member : member + 1])

    return of_padded


def move(group, at):
    """One step of every member, ``group.step`` long, by ``group.chain.gradient``; what changed, to ``group.moved``."""
    raise TypeError("move is for compiled code")


@for_chains(move)
def _move(group, at):
    def of_lanes(group, at):
        group.moved[:] = 0
        chain = at.chain
        take_steps_at(group_kind(group), chain.factors, chain.gradient, at.step, at.moved, len(group.factors))

    def of_rows(group, at):
        group.moved[:] = 0
        for member in range(group.run.size):
            its = _member_places(group, at, member)
            step_factors(group_kind(group), group.data[1:], its.chain, its.step, its.moved)

    return of_lanes if layout_of(group) == "lanes" else of_rows


def load_member(group, member, factors, problem, index):
    """Give a member of the group a run's factors and problem."""
    raise TypeError("load_member is for compiled code")


@for_chains(load_member)
def _load_member(group, member, factors, problem, index):
    def in_lane(group, member, factors, problem, index):
        for element in range(factors.size):
            group.factors[element, member] = factors[element]
        load_lane(group.problem, member, problem, index)

    def padded(group, member, factors, problem, index):
        group.data[0] = index
        its = address(_part(group.factors, member, group.run.size), 0)
        copy_factors(group_kind(group), group.data[1:], its, True, address(factors, 0), False)

    return in_lane if layout_of(group) == "lanes" else padded


def extract_member(group, member):
    """Bring a member's factors and product to ``group.row_factors`` and ``group.row.product``."""
    raise TypeError("extract_member is for compiled code")


@for_chains(extract_member)
def _extract_member(group, member):
    def from_lane(group, member):
        for element in range(group.row_factors.size):
            group.row_factors[element] = group.factors[element, member]
        for element in range(group.row.product.size):
            group.row.product[element] = group.chain.product[element, member]

    def padded(group, member):
        factors, its = address(group.row_factors, 0), address(_part(group.factors, member, group.run.size), 0)
        copy_factors(group_kind(group), group.data[1:], factors, False, its, True)
        product = _part(group.chain.product, member, group.run.size)
        copy(group.row.product, product, product.size)

    return from_lane if layout_of(group) == "lanes" else padded


def balancedness(group, widths):
    """The balancedness of the factors that `extract_member` brought."""
    raise TypeError("balancedness is for compiled code")


@for_chains(balancedness, kernel_overload_inline)
def _balancedness(group, widths):
    return lambda group, widths: chain_balancedness(group.row_factors, widths, group.row)
