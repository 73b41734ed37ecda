"""The Hessian of a loss by all factors, for one problem alone: `visit` and `curve` as functions of Python."""

from __future__ import annotations

from fastflow.kernels.compile.jit import jit
from fastflow.kernels.networks.curvature import curve, visit


@jit
def visit_alone(point, problem, weight):
    """`visit` for the one problem that there is: the loss, and the gradient at the point.

    Parameters
    ----------
    point : `ChainCurvature`, `HadamardCurvature`, or that of another network
    problem : `AnyLoss`, or a user's own NamedTuple, of one problem
    weight : float, of the loss

    Returns
    -------
    float, the loss
    """
    return visit(point, problem, 0, weight)


@jit
def curve_alone(point, problem, weight, direction, out):
    """`curve` for the one problem that there is: ``out = H direction`` at the point that `visit_alone` visited.

    Parameters
    ----------
    point, problem, weight : as `visit_alone` takes them
    direction, out : arrays (parameters,)
    """
    curve(point, problem, 0, weight, direction, out)
