"""The gradient of a network's loss by all its factors, for integrators: chains and diagonal networks alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal, kernel_overload, kernel_overload_inline
from fastflow.kernels.losses.any_loss import ESTIMATION, KNOWN, AnyLoss
from fastflow.kernels.losses.formulas import loss_gradient
from fastflow.kernels.networks.chain import (
    ChainPlaces,
    ChainWorkspace,
    chain_balancedness,
    chain_product_at,
    chain_sweep_back,
    chain_workspace,
    sweeps_from_left,
)
from fastflow.kernels.networks.curvature import ChainCurvature, HadamardCurvature, chain_curvature, hadamard_curvature
from fastflow.kernels.networks.hadamard import hadamard_gradient, hadamard_product
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import residual_known
from fastflow.kernels.vectors.layouts import address, keep, kind_of


class ChainField(NamedTuple):
    """Of a DeepLinear network: its problem, the ``weights`` of its losses (problems,), and memory."""

    problem: Any
    weights: np.ndarray
    product: np.ndarray
    chain: ChainWorkspace
    curvature: ChainCurvature


class HadamardField(NamedTuple):
    """Of a DiagonalLinear network with independent factors: as `ChainField`."""

    problem: Any
    weights: np.ndarray
    product: np.ndarray
    curvature: HadamardCurvature


def chain_field(problem: Any, weights: np.ndarray, widths: Any, like: np.ndarray) -> ChainField:
    """Memory for a network of these widths; ``problem`` is an `AnyLoss`, or a user's own."""
    rooms = chain_workspace.py_func(np.asarray(widths, np.int64), like)
    chain = ChainWorkspace(*(aligned_zeros(room.shape, room.dtype) for room in rooms))
    return ChainField(problem, weights, chain.product, chain, chain_curvature(problem, widths, like))


def hadamard_field(
    problem: Any, weights: np.ndarray, size: int, form: tuple[int, bool, bool], like: np.ndarray
) -> HadamardField:
    """Memory for a network of this size and `Form`; ``problem`` is an `AnyLoss`."""
    curvature = hadamard_curvature(problem, size, form, like)
    return HadamardField(problem, weights, curvature.end, curvature)


def slope(field, index, factors, gradient):
    """Write the gradient of the loss of problem ``index`` to ``gradient``, W to ``field.product``; returns the loss.

    Flat arrays (parameters,).
    """
    raise TypeError("slope is for compiled code")


@kernel_overload_inline(slope)
def _slope(field, index, factors, gradient):
    return _of_chain if field.instance_class is ChainField else _of_hadamard


@jit_internal
def slope_of(field, index, factors, gradient):
    """`slope` as a function of its own, for where it is called seldom."""
    return slope(field, index, factors, gradient)


def _of_chain(field, index, factors, gradient):
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
    chain_loss_gradient(field.problem, index, product, widths[0], work)
    if weight != 1:
        for k in range(end.size):
            end[k] *= weight
    chain_sweep_back(kind, widths, address(end, i(0)), places, 0, 0, False)
    keep(factors)
    keep(gradient)
    keep(product)
    keep(partial)
    keep(sweep_a)
    keep(sweep_b)
    keep(end)
    return weight * work.loss[0]


def chain_loss_gradient(problem, index, product, columns, work):
    """`loss_gradient`, without passing all of the problem on where its kind is a frequent one."""
    raise TypeError("chain_loss_gradient is for compiled code")


@kernel_overload_inline(chain_loss_gradient)
def _chain_loss_gradient(problem, index, product, columns, work):
    if problem.instance_class is AnyLoss:
        return _known_or_any_loss
    return lambda problem, index, product, columns, work: loss_gradient(problem, index, product, columns, work)


def _known_or_any_loss(problem, index, product, columns, work):
    if problem.kind == KNOWN or problem.kind == ESTIMATION:
        residual_known(work.gradient, product, problem.first[index], product.size, work.loss)
    else:
        loss_gradient(problem, index, product, columns, work)


def _of_hadamard(field, index, factors, gradient):
    return hadamard_slope(field, index, factors, gradient)


@jit_internal
def hadamard_slope(field, index, factors, gradient):
    """`slope` of a `HadamardField`. (Numba cannot inline it twice into one kernel.)"""
    product, work, form, weight = field.product, field.curvature.loss, field.curvature.form, field.weights[index]
    g = work.gradient
    hadamard_product(factors, product, form)
    loss_gradient(field.problem, index, product, product.size, work)
    for k in range(g.size):
        g[k] *= weight
    hadamard_gradient(factors, g, gradient, form)
    return weight * work.loss[0]


def field_balancedness(field, factors):
    """`chain_balancedness` of the factors of a chain; 0 of a diagonal network."""
    raise TypeError("field_balancedness is for compiled code")


@kernel_overload(field_balancedness)
def _field_balancedness(field, factors):
    if field.instance_class is ChainField:
        return lambda field, factors: chain_balancedness(factors, field.curvature.widths, field.chain)
    return lambda field, factors: 0.0
