"""Groups: the runs that go through their steps together, and where their memory is.

A group has one of three layouts, which Numba tells apart by its type; what it does is the same, and so are the bits:

* one run;
* one run per SIMD lane, arrays (elements, lanes). Small matrices waste most of a vector when it runs along a row, and
  nothing when it runs across runs; large ones do not fit the cache eight at a time;
* `Rows`: runs one after the other, which meet in a product with a matrix that they share (sensing operators, samples),
  so that the matrix is read once for all of them.

`choose_layout` decides by the shapes alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastflow.kernels.chain import (
    ChainPlaces,
    ChainWorkspace,
    chain_balancedness,
    chain_places,
    chain_product_at,
    chain_sweep_back,
    chain_workspace,
)
from fastflow.kernels.elementwise import copy, dot, take_steps_at
from fastflow.kernels.jit import jit_inline, kernel_overload, kernel_overload_inline
from fastflow.kernels.layouts import address, element_bytes, kind_of
from fastflow.kernels.losses import (
    LossWorkspace,
    SharedSamples,
    SharedSensing,
    group_loss_gradient,
    inline_loss_gradient,
    load_lane,
    scratch_size,
    to_lanes,
)
from fastflow.kernels.target import SHAPE

LANE_WIDTH = 50
"""Chains whose widths are all at most this travel in lanes, but for those of `FILLED` (measured)."""

FILLED = 0.84
"""From which share of its vectors in use on, of two vectors at least, a row is no waste of 512-bit registers: the tile
of one run is then faster than lanes, whose runs have eight times the memory (measured). Not so on narrower ones."""

SENSING_LANE_WIDTH = 6
"""The same where runs share sensing operators, whose products want more columns than there are lanes (measured)."""

ROWS = 32
"""Runs that share a product with operators or samples: enough to reuse a panel of them from the second-level cache."""

CACHE_LINE = 64


class Group(NamedTuple):
    """The members of a group; arrays of numbers have one per member.

    ``problem``: the problem as the members' layout has it, ``data[0]`` the index into it. ``factors``, ``chain``,
    ``work``: memory in that layout. ``row_factors``, ``row``: one member's factors and workspace in the layout of one
    run, where `extract_member` puts them. ``run`` (-1: free), ``idle`` (1: free), ``record`` (next record), ``offset``
    (the run's step less the group's tick), ``weight`` of its loss, ``least`` (the unweighted loss from which it
    may have converged), ``step``, ``moved`` (whether the last step changed anything), ``norm`` (squared, of the
    gradient).
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
    """A group of runs one after the other: factors (members, parameters), all else flat with the members first."""

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
    problem : NamedTuple of `fastflow.kernels.losses`
    widths : (d_0, ..., d_N)
    like : array of the dtype of all arithmetic
    runs : int, how many runs there are for this group
    layout : "one", "lanes" or "rows"; default `choose_layout`
    """
    layout = layout or choose_layout(problem, widths, like.dtype.itemsize)
    dtype = like.dtype
    row = ChainWorkspace(
        *(aligned_zeros(array.shape, dtype) for array in chain_workspace.py_func(np.asarray(widths, np.int64), like))
    )
    size, parameters, scratch = (row.product.size, row.gradient.size, scratch_size(problem, row.product.size))
    members = {"one": 1, "lanes": SHAPE.vector_bytes // dtype.itemsize, "rows": min(ROWS, runs)}[layout]

    def room(length: int) -> np.ndarray:
        return aligned_zeros((length, members) if layout == "lanes" else (length * members,), dtype)

    chain, factors, row_factors = (row, aligned_zeros((parameters,), dtype), aligned_zeros((parameters,), dtype))
    if layout == "one":
        row_factors = factors
    elif layout == "lanes":
        chain, factors = (ChainWorkspace(*(room(array.size) for array in row)), room(parameters))
    else:
        chain = row._replace(product=room(size), partial=room(row.partial.size), gradient=room(parameters))
        factors = aligned_zeros((members, parameters), dtype)
    integers = np.zeros((5, members), np.int64)
    return (Rows if layout == "rows" else Group)(
        problem=to_lanes(problem, size, members, aligned_zeros) if layout == "lanes" else problem,
        data=np.zeros(1, np.int64),
        factors=factors,
        chain=chain,
        work=LossWorkspace(room(size), room(scratch), np.zeros(members, dtype), np.zeros(members, dtype)),
        row_factors=row_factors,
        row=row,
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


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that start on a cache line, so that no vector of a lane straddles two (NumPy aligns to 16 bytes)."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(count + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + count].view(dtype).reshape(shape)


def layout_of(group: Any) -> str:
    """The layout of a group, from its Numba type."""
    if group.instance_class is Rows:
        return "rows"
    return "one" if group[group.fields.index("factors")].ndim == 1 else "lanes"


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
    length = array.size // members
    return array[member * length : (member + 1) * length]


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
    def places(group, widths):
        chain = chain_places(group.factors, widths, group.chain)
        return GroupPlaces(chain, address(group.work.gradient, 0), address(group.step, 0), address(group.moved, 0))

    return places


@jit_inline
def _member_places(group, at, member):
    """The places of one member of `Rows`; scratch is common."""
    size, members = element_bytes(kind_of(group.chain.product)), group.run.size
    number = member * size
    chain = ChainPlaces(
        at.chain.factors + number * group.row_factors.size,
        at.chain.product + number * (group.chain.product.size // members),
        at.chain.partial + number * (group.chain.partial.size // members),
        at.chain.sweep_a,
        at.chain.sweep_b,
        at.chain.gradient + number * group.row_factors.size,
        at.chain.from_left,
    )
    end_gradient = at.end_gradient + number * (group.work.gradient.size // members)
    return GroupPlaces(chain, end_gradient, at.step + number, at.moved + 8 * member)


def forward(group, at, widths):
    """The products of all members, to ``group.chain``; ``at`` are the group's `GroupPlaces`."""
    raise TypeError("forward is for compiled code")


@for_chains(forward, kernel_overload_inline)
def _forward(group, at, widths):
    if layout_of(group) != "rows":
        return lambda group, at, widths: chain_product_at(kind_of(group.chain.product), widths, at.chain)

    def of_rows(group, at, widths):
        for member in range(group.run.size):
            chain_product_at(kind_of(group.chain.product), widths, _member_places(group, at, member).chain)

    return of_rows


def measure(group, columns):
    """The losses of all members and their gradients by the product, to ``group.work``."""
    raise TypeError("measure is for compiled code")


@for_chains(measure)
def _measure(group, columns):
    if layout_of(group) != "rows":
        return lambda group, columns: inline_loss_gradient(
            group.problem, group.data[0], group.chain.product, columns, group.work
        )
    return lambda group, columns: group_loss_gradient(group.problem, group.chain.product, columns, group.work)


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
            kind = kind_of(group.chain.product)
            chain_sweep_back(kind, widths, at.end_gradient, at.chain, at.step, at.moved, now)

        return at_once

    def of_rows(group, at, widths, now):
        if now:
            group.moved[:] = 0
        for member in range(group.run.size):
            kind, its = kind_of(group.chain.product), _member_places(group, at, member)
            chain_sweep_back(kind, widths, its.end_gradient, its.chain, its.step, its.moved, now)

    return of_rows


def square_norms(group):
    """The squared norms of the gradients, to ``group.norm``."""
    raise TypeError("square_norms is for compiled code")


@for_chains(square_norms, kernel_overload_inline)
def _square_norms(group):
    if layout_of(group) != "rows":
        return lambda group: dot(group.chain.gradient, group.chain.gradient, len(group.factors), group.norm)

    def of_rows(group):
        for member in range(group.run.size):
            gradient = _part(group.chain.gradient, member, group.run.size)
            dot(gradient, gradient, gradient.size, group.norm[member : member + 1])

    return of_rows


def move(group, at):
    """One step of every member, ``group.step`` long, by ``group.chain.gradient``; what changed, to ``group.moved``."""
    raise TypeError("move is for compiled code")


@for_chains(move)
def _move(group, at):
    if layout_of(group) != "rows":

        def at_once(group, at):
            group.moved[:] = 0
            kind, chain = kind_of(group.chain.product), at.chain
            take_steps_at(kind, chain.factors, chain.gradient, at.step, at.moved, len(group.factors))

        return at_once

    def of_rows(group, at):
        group.moved[:] = 0
        for member in range(group.run.size):
            kind, its = kind_of(group.chain.product), _member_places(group, at, member)
            take_steps_at(kind, its.chain.factors, its.chain.gradient, its.step, its.moved, group.row_factors.size)

    return of_rows


def load_member(group, member, factors, problem, index):
    """Give a member of the group a run's factors and problem."""
    raise TypeError("load_member is for compiled code")


@for_chains(load_member)
def _load_member(group, member, factors, problem, index):
    def alone(group, member, factors, problem, index):
        group.data[0] = index
        copy(group.factors, factors, factors.size)

    def in_lane(group, member, factors, problem, index):
        for element in range(factors.size):
            group.factors[element, member] = factors[element]
        load_lane(group.problem, member, problem, index)

    def in_row(group, member, factors, problem, index):
        copy(group.factors[member], factors, factors.size)

    return {"one": alone, "lanes": in_lane, "rows": in_row}[layout_of(group)]


def extract_member(group, member):
    """Bring a member's factors and product to ``group.row_factors`` and ``group.row.product``."""
    raise TypeError("extract_member is for compiled code")


@for_chains(extract_member)
def _extract_member(group, member):
    def alone(group, member):
        pass  # they are there: one run shares its memory with the row

    def from_lane(group, member):
        for element in range(group.row_factors.size):
            group.row_factors[element] = group.factors[element, member]
        for element in range(group.row.product.size):
            group.row.product[element] = group.chain.product[element, member]

    def from_row(group, member):
        copy(group.row_factors, group.factors[member], group.row_factors.size)
        product = _part(group.chain.product, member, group.run.size)
        copy(group.row.product, product, product.size)

    return {"one": alone, "lanes": from_lane, "rows": from_row}[layout_of(group)]


def balancedness(group, widths):
    """The balancedness of the factors that `extract_member` brought."""
    raise TypeError("balancedness is for compiled code")


@for_chains(balancedness, kernel_overload_inline)
def _balancedness(group, widths):
    return lambda group, widths: chain_balancedness(group.row_factors, widths, group.row)
