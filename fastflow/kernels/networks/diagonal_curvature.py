"""Hessian-vector products of diagonal networks with independent factors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import LossWorkspace, loss_gradient, loss_hessian, loss_workspace
from fastflow.kernels.networks.curvature import curve, visit
from fastflow.kernels.networks.hadamard import Form, hadamard_gradient, hadamard_product


class HadamardCurvature(NamedTuple):
    """A point of a diagonal network with independent factors and memory for directions there.

    ``factors`` of the point and ``gradient`` there, (parameters,); ``end`` and ``end_tangent`` x and its derivative
    (n,); ``loss`` and ``change`` for the gradient by x and its derivative.
    """

    form: Form
    factors: np.ndarray
    gradient: np.ndarray
    end: np.ndarray
    end_tangent: np.ndarray
    loss: LossWorkspace
    change: LossWorkspace


def hadamard_curvature(
    problem: NamedTuple, size: int, form: tuple[int, bool, bool], like: np.ndarray
) -> HadamardCurvature:
    """A `HadamardCurvature` of n = ``size`` for a `Form` with independent factors, of the dtype of ``like``."""
    depth, signed, identical = form
    if identical and depth > 1:
        raise ValueError("the Hessian is that of independent factors")
    parameters, dtype = size * depth * (2 if signed else 1), like.dtype
    return HadamardCurvature(
        Form(depth, signed, identical),
        np.zeros(parameters, dtype),
        np.zeros(parameters, dtype),
        np.zeros(size, dtype),
        np.zeros(size, dtype),
        loss_workspace(problem, size, dtype),
        loss_workspace(problem, size, dtype),
    )


@implements(visit, HadamardCurvature, inline=True)
def _visit_hadamard(curvature, problem, index, weight):
    factors, form, end, g = curvature.factors, curvature.form, curvature.end, curvature.loss.gradient
    hadamard_product(factors, end, form)
    loss_gradient(problem, index, end, end.size, curvature.loss)
    for k in range(end.size):
        g[k] *= weight
    hadamard_gradient(factors, g, curvature.gradient, form)
    return weight * curvature.loss.loss[0]


@jit_inline
def _product_but(factors, direction, at, n, depth, left_out):
    """The product of all factors of a coordinate but one, and its derivative in a direction."""
    product, slope = 1.0, 0.0
    for k in range(depth):
        if k != left_out:
            place = at + k * n
            slope = slope * factors[place] + product * direction[place]
            product *= factors[place]
    return product, slope


@implements(curve, HadamardCurvature, inline=True)
def _curve_hadamard(curvature, problem, index, weight, direction, out):
    factors, form, end, g = curvature.factors, curvature.form, curvature.end, curvature.loss.gradient
    change, tangent, n, depth = curvature.change.gradient, curvature.end_tangent, end.size, form.depth
    sides = 2 if form.signed else 1
    for i in range(n):
        tangent[i] = 0
        for side in range(sides):
            _, slope = _product_but(factors, direction, side * depth * n + i, n, depth, -1)
            tangent[i] += slope if side == 0 else -slope
    loss_hessian(problem, index, end, tangent, n, curvature.change)
    for i in range(n):
        for side in range(sides):
            sign = 1.0 if side == 0 else -1.0
            for j in range(depth):
                at = side * depth * n + i
                product, slope = _product_but(factors, direction, at, n, depth, j)
                out[at + j * n] = sign * (weight * change[i] * product + g[i] * slope)
