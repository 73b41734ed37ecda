"""Groups: the runs that go through their steps together, and where their memory is.

A group has one of three layouts, which Numba tells apart by its type; what it does is the same, and so are the bits:

* one run;
* one run per SIMD lane, arrays (elements, lanes). Small matrices waste most of a vector when it runs along a row, and
  nothing when it runs across runs; large ones do not fit the cache eight at a time;
* `Rows`: runs one after the other, which meet in a product with a matrix that they share (sensing operators), so that
  the matrix is read once for all of them.

`choose_layout` decides by the shapes alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from fastflow.kernels.chain import ChainWorkspace, chain_balancedness, chain_product, chain_sweep_back, chain_workspace
from fastflow.kernels.elementwise import copy, dot, take_steps
from fastflow.kernels.jit import jit_inline
from fastflow.kernels.losses import (
    LossWorkspace,
    SharedSensing,
    load_lane,
    loss_gradient,
    scratch_size,
    shared_sensing_of_rows,
    to_lanes,
)
from fastflow.kernels.target import SHAPE

LANE_WIDTH = 50
"""Chains whose widths are all at most this travel in lanes (measured; see `benchmarks/README.md`)."""

ROWS = 32
"""Runs that share a product with the sensing operators: enough to reuse a panel of them from the second-level cache."""

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


def choose_layout(problem: Any, widths: Sequence[int]) -> str:
    """``"lanes"``, ``"rows"`` or ``"one"``, by the kind of problem and the widths."""
    if max(widths) <= LANE_WIDTH and to_lanes(problem, 1, 1) is not None:
        return "lanes"
    return "rows" if isinstance(problem, SharedSensing) else "one"


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
    layout = layout or choose_layout(problem, widths)
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


def for_chains(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`overload` of what a group does, for the groups of this module; other modules have groups of their own."""

    def register(implement):
        @functools.wraps(implement)
        def choose(group, *arguments):
            return implement(group, *arguments) if issubclass(group.instance_class, Group) else None

        return overload(function, **options)(choose)

    return register


@jit_inline
def _part(array, member, members):
    """The part of a flat array that belongs to one member."""
    length = array.size // members
    return array[member * length : (member + 1) * length]


@jit_inline
def _member_chain(group, member):
    """The workspace of one member of `Rows`; scratch is common."""
    chain, members = group.chain, group.run.size
    return ChainWorkspace(
        _part(chain.product, member, members),
        _part(chain.partial, member, members),
        chain.sweep_a,
        chain.sweep_b,
        chain.transposed,
        _part(chain.gradient, member, members),
    )


def forward(group, widths):
    """The products of all members, to ``group.chain``."""
    raise TypeError("forward is for compiled code")


@for_chains(forward)
def _forward(group, widths):
    if layout_of(group) != "rows":
        return lambda group, widths: chain_product(group.factors, widths, group.chain)

    def of_rows(group, widths):
        for member in range(group.run.size):
            chain_product(group.factors[member], widths, _member_chain(group, member))

    return of_rows


def measure(group, columns):
    """The losses of all members and their gradients by the product, to ``group.work``."""
    raise TypeError("measure is for compiled code")


@for_chains(measure)
def _measure(group, columns):
    if layout_of(group) != "rows":
        return lambda group, columns: loss_gradient(
            group.problem, group.data[0], group.chain.product, columns, group.work
        )
    return lambda group, columns: shared_sensing_of_rows(group.problem, group.chain.product, group.work)


def backward(group, widths, now):
    """The gradients of all members by their factors, to ``group.chain.gradient``; after `forward` and `measure`.

    With ``now`` every member takes a step instead, as `move` would.
    """
    raise TypeError("backward is for compiled code")


@for_chains(backward)
def _backward(group, widths, now):
    if layout_of(group) != "rows":

        def at_once(group, widths, now):
            if now:
                group.moved[:] = 0
            chain_sweep_back(group.factors, widths, group.work.gradient, group.chain, group.step, group.moved, now)

        return at_once

    def of_rows(group, widths, now):
        if now:
            group.moved[:] = 0
        for member in range(group.run.size):
            end_gradient = _part(group.work.gradient, member, group.run.size)
            chain, here = _member_chain(group, member), slice(member, member + 1)
            chain_sweep_back(
                group.factors[member], widths, end_gradient, chain, group.step[here], group.moved[here], now
            )

    return of_rows


def square_norms(group):
    """The squared norms of the gradients, to ``group.norm``."""
    raise TypeError("square_norms is for compiled code")


@for_chains(square_norms, inline="always")
def _square_norms(group):
    if layout_of(group) != "rows":
        return lambda group: dot(group.chain.gradient, group.chain.gradient, len(group.factors), group.norm)

    def of_rows(group):
        for member in range(group.run.size):
            gradient = _part(group.chain.gradient, member, group.run.size)
            dot(gradient, gradient, gradient.size, group.norm[member : member + 1])

    return of_rows


def move(group):
    """One step of every member, ``group.step`` long, by ``group.chain.gradient``; what changed, to ``group.moved``."""
    raise TypeError("move is for compiled code")


@for_chains(move)
def _move(group):
    if layout_of(group) != "rows":

        def at_once(group):
            group.moved[:] = 0
            take_steps(group.factors, 0, group.chain.gradient, 0, group.step, group.moved, len(group.factors))

        return at_once

    def of_rows(group):
        group.moved[:] = 0
        for member in range(group.run.size):
            gradient = _part(group.chain.gradient, member, group.run.size)
            here = slice(member, member + 1)
            take_steps(group.factors[member], 0, gradient, 0, group.step[here], group.moved[here], gradient.size)

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


@for_chains(balancedness)
def _balancedness(group, widths):
    return lambda group, widths: chain_balancedness(group.row_factors, widths, group.row)
