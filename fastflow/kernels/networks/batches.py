"""Batches: what `descent.descend_by_batches` asks of a network, beside what a `networks.group` is asked.

A NamedTuple of a class of its own for each network has a ``group`` of one member, whose factors it moves, and
``samples``, a `losses.samples.Samples`.
"""

from __future__ import annotations

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import protocol
from fastflow.kernels.vectors.layouts import item_bytes, number_at


@protocol
def batch_places(batches, batch, at):
    """Where the memory lies: a NamedTuple of addresses; all must be kept alive while they are in use.

    Parameters
    ----------
    batches : the network's
    batch : `descent.order.Batch`, what a step takes
    at : `group_places` of its group
    """


@protocol
def batch_step(batches, places, at, widths, step, size):
    """Take a step along the gradient of ``1/2 sum r^2`` over a batch of so many samples, ``step`` long.

    Returns whether the residuals are finite; where they are not, it may have taken no step.
    """


@jit_inline
def are_finite(zero, numbers, count):
    """Whether so many numbers at an address are."""
    largest = zero
    for i in range(count):
        number = number_at(zero, numbers + i * item_bytes(zero))
        largest += number - number
    return largest == 0
