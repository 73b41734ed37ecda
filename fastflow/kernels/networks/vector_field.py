"""The gradient of a network's loss by all its factors, for integrators.

A field is a NamedTuple of a class of its own for each network, with a file beside this one. It has

* ``problem``, an `AnyLoss` or a user's own, and ``weights`` (problems,) of the losses;
* ``product``, where `slope` writes W or x;
* ``curvature``, a point of `networks.curvature`.
"""

from __future__ import annotations

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.compile.protocol import protocol


@protocol
def slope(field, index, factors, gradient):
    """Write the gradient of the loss of problem ``index`` to ``gradient``, W to ``field.product``; returns the loss.

    Flat arrays (parameters,).
    """


@jit_internal
def slope_of(field, index, factors, gradient):
    """`slope` as a function of its own, for where it is called seldom."""
    return slope(field, index, factors, gradient)


@protocol
def field_balancedness(field, factors):
    """The balancedness of the factors."""


@protocol
def copies(field):
    """How many equal factors each parameter stands for."""
