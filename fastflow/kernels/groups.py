"""Groups: the runs that go through their steps together, and where their memory is.

A group has one member, or one member per SIMD lane. The kernels that it goes through are the same; the layout of its
arrays, (elements,) or (elements, lanes), tells Numba which tiles to use. Small matrices waste most of a vector when it
runs along a row, and nothing when it runs across runs; large ones do not fit the cache eight at a time. `runs_in_lanes`
decides by the widths alone, and either way gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from fastflow.kernels.chain import ChainWorkspace, chain_workspace
from fastflow.kernels.elementwise import copy
from fastflow.kernels.losses import LossWorkspace, load_lane, scratch_size, to_lanes
from fastflow.kernels.target import SHAPE

LANE_WIDTH = 16
"""Chains whose widths are all at most this travel in lanes (measured; `benchmarks/README.md`)."""

CACHE_LINE = 64


class Group(NamedTuple):
    """The members of a group; arrays of numbers have one per member.

    ``problem``: the problem as the members' layout has it, ``data[0]`` the index into it. ``factors``, ``chain``,
    ``work``: memory in that layout. ``row_factors``, ``row``: one member's factors and workspace in the layout of one
    run, where `extract_member` puts them. ``run`` (-1: free), ``idle`` (1: free), ``record`` (next record), ``offset``
    (the run's step less the group's tick), ``weight`` of its loss, ``least`` (the unweighted loss at which it has
    converged), ``step``, ``moved`` (whether the last step changed anything), ``norm`` (scratch).
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


def runs_in_lanes(problem: Any, widths: Sequence[int]) -> bool:
    """Whether runs of these widths travel one per SIMD lane."""
    return max(widths) <= LANE_WIDTH and to_lanes(problem, 1, 1) is not None


def make_group(problem: Any, widths: Sequence[int], like: np.ndarray, lanes: bool | None = None) -> Group:
    """Memory for the runs that go together.

    Parameters
    ----------
    problem : NamedTuple of `fastflow.kernels.losses`
    widths : (d_0, ..., d_N)
    like : array of the dtype of all arithmetic
    lanes : whether in lanes; default `runs_in_lanes`
    """
    if lanes is None:
        lanes = runs_in_lanes(problem, widths)
    dtype = like.dtype
    row = ChainWorkspace(
        *(aligned_zeros(array.shape, dtype) for array in chain_workspace(np.asarray(widths, np.int64), like))
    )
    size, parameters = row.product.size, row.gradient.size
    members = SHAPE.vector_bytes // dtype.itemsize if lanes else 1

    def in_layout(length: int) -> np.ndarray:
        return aligned_zeros((length, members) if lanes else (length,), dtype)

    chain = ChainWorkspace(*(in_layout(array.size) for array in row)) if lanes else row
    factors = in_layout(parameters)
    integers = np.zeros((5, members), np.int64)
    return Group(
        problem=to_lanes(problem, size, members, aligned_zeros) if lanes else problem,
        data=np.zeros(1, np.int64),
        factors=factors,
        chain=chain,
        work=LossWorkspace(
            in_layout(size), in_layout(scratch_size(problem, size)), np.zeros(members, dtype), np.zeros(members, dtype)
        ),
        row_factors=np.zeros(parameters, dtype) if lanes else factors,
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


def _is_one_run(group: Any) -> bool:
    """The layout of a group, from its Numba type."""
    return bool(group[group.fields.index("factors")].ndim == 1)


def aligned_zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that start on a cache line, so that no vector of a lane straddles two (NumPy aligns to 16 bytes)."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(count + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + count].view(dtype).reshape(shape)


def load_member(group, member, factors, problem, index):
    """Give a member of the group a run's factors and problem."""
    raise TypeError("load_member is for compiled code")


@overload(load_member, inline="always")
def _load_member(group, member, factors, problem, index):
    if _is_one_run(group):

        def alone(group, member, factors, problem, index):
            group.data[0] = index
            copy(group.factors, factors, factors.size)

        return alone

    def in_lane(group, member, factors, problem, index):
        for element in range(factors.size):
            group.factors[element, member] = factors[element]
        load_lane(group.problem, member, problem, index)

    return in_lane


def extract_member(group, member):
    """Bring a member's factors and product to ``group.row_factors`` and ``group.row.product``."""
    raise TypeError("extract_member is for compiled code")


@overload(extract_member, inline="always")
def _extract_member(group, member):
    if _is_one_run(group):
        return lambda group, member: None  # they are there: one run shares its memory with the row

    def from_lane(group, member):
        for element in range(group.row_factors.size):
            group.row_factors[element] = group.factors[element, member]
        for element in range(group.row.product.size):
            group.row.product[element] = group.chain.product[element, member]

    return from_lane
