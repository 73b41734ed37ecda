"""Hessian-vector products of diagonal networks.

Of identical factors it is the derivative of the gradient by one of them as all of them move: the Hessian by all, on
directions that are the same in each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import LossWorkspace, loss_gradient, loss_hessian, loss_workspace
from fastflow.kernels.networks.curvature import curve, visit
from fastflow.kernels.networks.hadamard import Form, hadamard_gradient, hadamard_product


class HadamardCurvature(NamedTuple):
    """A point of a diagonal network and memory for directions there.

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
    """A `HadamardCurvature` of n = ``size`` for a `Form`, of the dtype of ``like``."""
    depth, signed, identical = form
    parameters, dtype = size * (1 if identical else depth) * (2 if signed else 1), like.dtype
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
def _product_but(factors, direction, at, apart, depth, left_out):
    """The product of all factors of a coordinate but one, and its derivative in a direction.

    The first of them is at ``at``, each as far from the one before it as ``apart`` says.
    """
    product, slope = 1.0, 0.0
    for k in range(depth):
        if k != left_out:
            place = at + k * apart
            slope = slope * factors[place] + product * direction[place]
            product *= factors[place]
    return product, slope


@implements(curve, HadamardCurvature, inline=True)
def _curve_hadamard(curvature, problem, index, weight, direction, out):
    factors, form, end, g = curvature.factors, curvature.form, curvature.end, curvature.loss.gradient
    change, tangent, n, depth = curvature.change.gradient, curvature.end_tangent, end.size, form.depth
    sides = 2 if form.signed else 1
    count, apart = (1, 0) if form.identical else (depth, n)
    for i in range(n):
        tangent[i] = 0
        for side in range(sides):
            _, slope = _product_but(factors, direction, side * count * n + i, apart, depth, -1)
            tangent[i] += slope if side == 0 else -slope
    loss_hessian(problem, index, end, tangent, n, curvature.change)
    for i in range(n):
        for side in range(sides):
            sign = 1.0 if side == 0 else -1.0
            for j in range(count):
                at = side * count * n + i
                product, slope = _product_but(factors, direction, at, apart, depth, j)
                out[at + j * n] = sign * (weight * change[i] * product + g[i] * slope)
