"""Batches: what `descent.descend_by_batches` asks of a network, beside what a `networks.group` is asked.

A NamedTuple of a class of its own for each network has a ``group`` of one member, whose factors it moves, and
``samples``, a `losses.samples.Samples`. At every step it is known by its places, a NamedTuple of addresses and numbers
alone, since the reference counts of arrays would cost more than small steps do.
"""

from __future__ import annotations

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import protocol
from fastflow.kernels.vectors.layouts import item_bytes, number_at


@protocol
def batch_places(batches, batch, at):
    """Where the memory lies; all must be kept alive while the places are in use.

    Parameters
    ----------
    batches : the network's
    batch : `descent.order.Batch`, what a step takes
    at : `group_places` of its group
    """


@protocol
def batch_begin(places, zero, widths):
    """Before some steps: bring the factors to where `batch_step` has them."""


@protocol
def batch_step(places, zero, widths, step, size):
    """Take a step along the gradient of ``1/2 sum r^2`` over a batch of so many samples, ``step`` long.

    ``zero`` is of the numbers' type, as ``step`` is. Returns whether the residuals are finite; where they are not, it
    may have taken no step.
    """


@protocol
def batch_rest(places, zero, widths):
    """After some steps: have factors and product where the group has them."""


@jit_inline
def are_finite(zero, numbers, count):
    """Whether so many numbers at an address are."""
    nothing = zero
    for i in range(count):
        number = number_at(zero, numbers + i * item_bytes(zero))
        nothing += number - number
    return nothing == 0
