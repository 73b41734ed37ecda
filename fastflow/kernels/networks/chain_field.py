"""The vector field of chains: of one run, and of several narrow ones, a run in each SIMD lane.

In lanes the point and the gradient of a run are rows, as integrators have them; they are brought to the lanes and back,
which costs little beside what the vectors of a narrow chain would waste. The bits are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.losses.any_loss import frequent_loss_gradient
from fastflow.kernels.losses.loss import load_lane
from fastflow.kernels.networks.chain import (
    ChainPlaces,
    ChainWorkspace,
    chain_balancedness,
    chain_product_at,
    chain_sweep_back,
    chain_workspace,
    sweeps_from_left,
)
from fastflow.kernels.networks.chain_curvature import ChainCurvature, chain_curvature
from fastflow.kernels.networks.chain_group import ChainGroup, gain_in_lanes, make_group
from fastflow.kernels.networks.chain_steps import no_steps
from fastflow.kernels.networks.group import backward, forward, gather_entries, group_places, measure
from fastflow.kernels.networks.vector_field import (
    bring_product,
    copies,
    field_balancedness,
    load_problem,
    slope,
    slopes_together,
)
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.layouts import address, keep, kind_of
from fastflow.kernels.vectors.transposes import lanes_from_rows, rows_from_lanes

LANE_WIDTH = {64: 20, 32: 11}
"""By the bytes of a vector: chains whose widths are all at most this travel in lanes, but for those that fill their
vectors (measured; others: never)."""

ALL_LANES = 20
"""Lanes are faster than one run after the other where the share of them in use is that of the width in this one
(measured)."""


class ChainField(NamedTuple):
    """The field of a deep linear network: its problem, the ``weights`` of its losses (problems,), and memory."""

    problem: NamedTuple
    weights: np.ndarray
    product: np.ndarray
    chain: ChainWorkspace
    curvature: ChainCurvature

    @property
    def members(self) -> int:
        """How many runs go together."""
        return 1


class ChainLaneField(NamedTuple):
    """The field of several runs of narrow networks: that of one run, and a ``group`` whose lanes have one each.

    ``least``, how many lanes in use make them worth it; ``columns`` (2, lanes), scratch.
    """

    problem: NamedTuple
    weights: np.ndarray
    product: np.ndarray
    chain: ChainWorkspace
    curvature: ChainCurvature
    group: ChainGroup
    least: int
    columns: np.ndarray

    @property
    def members(self) -> int:
        """How many runs go together."""
        return self.group.run.size


def chain_field(
    problem: NamedTuple, weights: np.ndarray, widths: Sequence[int], like: np.ndarray
) -> ChainField | ChainLaneField:
    """Memory for networks of these widths; ``problem`` is an `AnyLoss`, or a user's own."""
    one = one_chain_field(problem, weights, widths, like)
    if not gain_in_lanes(problem, widths, like.dtype.itemsize, LANE_WIDTH.get(SHAPE.vector_bytes, 0)):
        return one
    group = make_group(problem, widths, like, 1, "lanes")
    group.weight[:] = 1
    lanes = group.run.size
    return ChainLaneField(*one, group, -(-lanes * max(widths) // ALL_LANES), np.zeros((2, lanes), np.int64))


def one_chain_field(problem: NamedTuple, weights: np.ndarray, widths: ArrayLike, like: np.ndarray) -> ChainField:
    """Memory for a network of these widths, one run after the other."""
    rooms = chain_workspace.py_func(np.asarray(widths, np.int64), like)
    chain = ChainWorkspace(*(aligned_zeros(room.shape, room.dtype) for room in rooms))
    return ChainField(problem, weights, chain.product, chain, chain_curvature(problem, widths, like))


@implements(slope, ChainField, ChainLaneField, inline=True)
def _slope(field, index, factors, gradient):
    widths, chain, work, weight, i = (
        field.curvature.widths,
        field.chain,
        field.curvature.loss,
        field.weights[index],
        np.intp,
    )
    product, partial, sweep_a, sweep_b, end = (
        chain.product,
        chain.partial,
        chain.sweep_a,
        chain.sweep_b,
        work.gradient,
    )
    places = ChainPlaces(
        address(factors, i(0)),
        address(product, i(0)),
        address(partial, i(0)),
        address(sweep_a, i(0)),
        address(sweep_b, i(0)),
        address(gradient, i(0)),
        sweeps_from_left(widths),
        i(0),
    )
    kind = kind_of(factors)
    chain_product_at(kind, widths, places)
    frequent_loss_gradient(field.problem, index, product, widths[0], work)
    if weight != 1:
        for k in range(end.size):
            end[k] *= weight
    chain_sweep_back(kind, widths, address(end, i(0)), places, no_steps(), False)
    keep(factors)
    keep(gradient)
    keep(product)
    keep(partial)
    keep(sweep_a)
    keep(sweep_b)
    keep(end)
    return weight * work.loss[0]


@implements(load_problem, ChainLaneField)
def _load_problem(field, member, index):
    field.group.weight[member] = field.weights[index]
    load_lane(field.group.problem, member, field.problem, index)


@implements(slopes_together, ChainLaneField)
def _slopes_together(field, vectors, asked, losses):
    group, widths, parameters, active, plain = field.group, field.curvature.widths, vectors.shape[2], 0, True
    lanes = group.run.size
    for lane in range(lanes):
        has_run = asked[0, lane] >= 0
        active += has_run
        # What a lane without a run is given is where its last one ended, and the gradient goes to a row beside that.
        field.columns[0, lane] = asked[0, lane] * parameters if has_run else 0
        field.columns[1, lane] = asked[1, lane] * parameters if has_run else parameters
        plain &= group.weight[lane] == 1
    if active < field.least:
        return False
    end, at = group.work.gradient, group_places(group, widths)
    lanes_from_rows(group.factors, group.places, vectors, field.columns[0])
    forward(group, at, widths)
    measure(group, widths[0])
    if not plain:
        for k in range(len(end)):
            for lane in range(lanes):
                end[k, lane] *= group.weight[lane]
    backward(group, at, widths, False)
    rows_from_lanes(group.chain.gradient, group.places, vectors, field.columns[1])
    for lane in range(lanes):
        losses[lane] = group.weight[lane] * group.work.loss[lane]
    return True


@implements(bring_product, ChainLaneField)
def _bring_product(field, member):
    gather_entries(field.group, field.group.chain.product, member, field.product)


@implements(field_balancedness, ChainField, ChainLaneField)
def _balancedness(field, factors):
    return chain_balancedness(factors, field.curvature.widths, field.chain)


@implements(copies, ChainField, ChainLaneField, inline=True)
def _copies(field):
    return 1
