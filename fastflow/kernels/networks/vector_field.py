"""The gradient of a network's loss by all its factors, for integrators.

A field is a NamedTuple of a class of its own for each network, with a file beside this one. It has

* ``problem``, an `AnyLoss` or a user's own, and ``weights`` (problems,) of the losses;
* ``product``, where `slope` writes W or x;
* ``curvature``, a point of `networks.curvature`.

It serves one run, or several, its members, whose gradients it may evaluate together.
"""

from __future__ import annotations

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.compile.protocol import implements, protocol


@protocol
def slope(field, index, factors, gradient):
    """Write the gradient of the loss of problem ``index`` to ``gradient``, W to ``field.product``; returns the loss.

    Flat arrays (parameters,).
    """


@jit_internal
def slope_of(field, index, factors, gradient):
    """`slope` as a function of its own, compiled once for all places where it is called."""
    return slope(field, index, factors, gradient)


@protocol
def load_problem(field, member, index):
    """Give a member the problem of that index."""


@protocol
def slopes_together(field, vectors, asked, losses):
    """`slope` of all members at once, where that is faster than one after the other; returns whether it was done.

    Parameters
    ----------
    field : one of several members
    vectors : array (members, rows, parameters), of factors and gradients
    asked : int64 array (2, members), the row of a member's factors, negative where there is no run, and that to which
        the gradient goes
    losses : array (members,), to which the losses go
    """


@protocol
def bring_product(field, member):
    """Bring the W of a member to ``field.product``, after `slopes_together`."""


@implements(load_problem, tuple, inline=True)
def _load_no_problem(field, member, index):
    pass


@implements(slopes_together, tuple, inline=True)
def _one_after_the_other(field, vectors, asked, losses):
    return False


@implements(bring_product, tuple, inline=True)
def _is_there(field, member):
    pass


@protocol
def field_balancedness(field, factors):
    """The balancedness of the factors."""


@protocol
def copies(field):
    """How many equal factors each parameter stands for."""
