"""Hessian-vector products: the exact derivative of the gradient by all factors in a direction, forward over reverse.

A point is visited once (`visit`), then any number of directions follow (`curve`), at the cost of two gradients each.
Everything is that of one run, in the layout of one run. What stands for a point is a NamedTuple of a class of its own
for each network, with a file beside this one. It has ``factors``, the point, and ``gradient`` there, (parameters,).
"""

from __future__ import annotations

from fastflow.kernels.compile.protocol import protocol


@protocol
def visit(curvature, problem, index, weight):
    """Evaluate the loss, which it returns, and ``curvature.gradient`` at ``curvature.factors``; before any `curve`.

    Parameters
    ----------
    curvature : `ChainCurvature`, `HadamardCurvature`, or that of another network
    problem : `AnyLoss`, or a user's own NamedTuple
    index : int, which of the problems
    weight : float, of the loss
    """


@protocol
def curve(curvature, problem, index, weight, direction, out):
    """``out = H direction`` at the point that `visit` visited; arrays (parameters,)."""
