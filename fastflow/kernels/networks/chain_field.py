"""The vector field of chains."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.any_loss import frequent_loss_gradient
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
from fastflow.kernels.networks.chain_steps import no_steps
from fastflow.kernels.networks.vector_field import copies, field_balancedness, slope
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.layouts import address, keep, kind_of


class ChainField(NamedTuple):
    """The field of a deep linear network: its problem, the ``weights`` of its losses (problems,), and memory."""

    problem: NamedTuple
    weights: np.ndarray
    product: np.ndarray
    chain: ChainWorkspace
    curvature: ChainCurvature


def chain_field(problem: NamedTuple, weights: np.ndarray, widths: ArrayLike, like: np.ndarray) -> ChainField:
    """Memory for a network of these widths; ``problem`` is an `AnyLoss`, or a user's own."""
    rooms = chain_workspace.py_func(np.asarray(widths, np.int64), like)
    chain = ChainWorkspace(*(aligned_zeros(room.shape, room.dtype) for room in rooms))
    return ChainField(problem, weights, chain.product, chain, chain_curvature(problem, widths, like))


@implements(slope, ChainField, inline=True)
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


@implements(field_balancedness, ChainField)
def _balancedness(field, factors):
    return chain_balancedness(factors, field.curvature.widths, field.chain)


@implements(copies, ChainField, inline=True)
def _copies(field):
    return 1
