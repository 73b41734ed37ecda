"""The vector field of diagonal networks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import loss_gradient
from fastflow.kernels.networks.diagonal_curvature import HadamardCurvature, hadamard_curvature
from fastflow.kernels.networks.hadamard import hadamard_gradient, hadamard_product
from fastflow.kernels.networks.vector_field import copies, field_balancedness, slope


class HadamardField(NamedTuple):
    """The field of a diagonal network: its problem, the ``weights`` of its losses (problems,), and memory."""

    problem: NamedTuple
    weights: np.ndarray
    product: np.ndarray
    curvature: HadamardCurvature

    @property
    def members(self) -> int:
        """How many runs go together."""
        return 1


def hadamard_field(
    problem: NamedTuple, weights: np.ndarray, size: int, form: tuple[int, bool, bool], like: np.ndarray
) -> HadamardField:
    """Memory for a network of this size and `Form`; ``problem`` is an `AnyLoss`."""
    curvature = hadamard_curvature(problem, size, form, like)
    return HadamardField(problem, weights, curvature.end, curvature)


@implements(slope, HadamardField, inline=True)
def _slope(field, index, factors, gradient):
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


@implements(field_balancedness, HadamardField)
def _balancedness(field, factors):
    return 0.0


@implements(copies, HadamardField, inline=True)
def _copies(field):
    return 1 + field.curvature.form.identical * (field.curvature.form.depth - 1)
