"""Chains of square matrices of at most five rows, one run per SIMD lane: their product and their sweep back.

A call and the dispatch by shape for each product would cost as much as the product. Here there is one of either kind
for the whole chain, and one straight line of code for the two products of a turn of the sweep; the order of all sums,
and so all bits, are those of `networks.chain`.
"""

from __future__ import annotations

from numba import types

from fastflow.kernels.compile.protocol import implements, protocol
from fastflow.kernels.networks.chain_steps import step_behind, step_last, step_of_product
from fastflow.kernels.vectors.layouts import OfLanes, Padded, element_bytes
from fastflow.kernels.vectors.products import no_step
from fastflow.kernels.vectors.tiny import NARROWEST, WIDEST, tiny_product, tiny_turn


@protocol
def tiny_width(kind, widths):
    """The width of a chain of a `kind` of storage that is here, 0 of any other."""


@protocol
def tiny_products(kind, width, depth, at):
    """Multiply the factors of a tiny chain out, at the addresses of a `ChainPlaces`."""


@protocol
def tiny_sweep_back(kind, width, depth, end_gradient, at, how, now):
    """`chain_sweep_back` of a tiny chain."""


@implements(tiny_width, OfLanes)
def _tiny_width(kind, widths):
    width = widths[0]
    for other in widths:
        if other != width:
            width = 0
    return width if NARROWEST <= width <= WIDEST else 0


@implements(tiny_products, OfLanes)
def _tiny_products(kind, width, depth, at):
    # P_j for j = 2 .. N-1 lie in partial one after the other; P_1 = W_1, P_N = product.
    size = width * width * element_bytes(kind)
    factor, last, target = at.factors, at.factors, at.partial
    for j in range(2, depth + 1):
        factor += size
        if j == depth:
            target = at.product
        tiny_product(kind.zero, width, target, factor, last)
        last = target
        target += size


@implements(tiny_sweep_back, OfLanes)
def _tiny_sweep_back(kind, width, depth, end_gradient, at, how, now):
    size = width * width * element_bytes(kind)
    factor, prefix = at.factors + (depth - 1) * size, at.partial + (depth - 3) * size
    sweep, spent = end_gradient, at.product
    for j in range(depth, 1, -1):
        # S_{j-1} = W_j^T S_j, the last of which is G_1, and G_j = S_j P_{j-1}^T
        if j == 2:
            prefix = at.factors
        gradient, step = at.gradient, no_step()
        if now:
            target, step = spent, step_of_product(how, factor)
        else:
            gradient += factor - at.factors
            if j == 2:
                target = at.gradient
            elif j % 2 == 0:
                target = at.sweep_a
            else:
                target = at.sweep_b
        tiny_turn(kind.zero, width, target, factor, sweep, prefix, gradient, step.factor, step.steps, step.moved)
        if now:
            step_behind(how, kind, factor, gradient, width, width)
        sweep, spent = target, prefix
        factor -= size
        prefix -= size
    if now:
        step_last(how, kind, at.factors, sweep, width, width, True)


@implements(tiny_width, types.Float, Padded, inline=True)
def _no_tiny_width(kind, widths):
    return 0


@implements(tiny_products, types.Float, Padded, inline=True)
def _no_tiny_products(kind, width, depth, at):
    pass


@implements(tiny_sweep_back, types.Float, Padded, inline=True)
def _no_tiny_sweep_back(kind, width, depth, end_gradient, at, how, now):
    pass
