"""Groups: the runs that go through their steps together, and what `descent.descend` asks of them.

A group is a NamedTuple of a class of its own for each network and layout of memory, with a file beside this one. It has

* what every group has of its members, see `of_members`;
* ``work``, a `LossWorkspace` with one loss per member;
* ``row_factors`` (parameters,) and ``row.product`` (d_N * d_0,) or (n,): where `extract_member` brings one member's.

Its file implements what follows for it. Most is called at every step, with the places of `group_places`, since reading
arrays would cost more than small steps do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import implements, protocol
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy, dot


def of_members(members: int, dtype: DTypeLike) -> dict[str, np.ndarray]:
    """What every group has of its members, one entry each, by the names of its fields.

    ``run`` (-1: free), ``idle`` (1: free), ``record`` (next record), ``offset`` (the run's step less the group's tick),
    ``moved`` (whether the last step changed anything); ``weight`` of its loss, ``least`` (the unweighted loss from
    which it may have converged), ``norm`` (of the gradient); ``step``, of the group's dtype.
    """
    integers, doubles = (("run", "idle", "record", "offset", "moved"), ("weight", "least", "norm"))
    kinds = dict.fromkeys(integers, np.int64) | dict.fromkeys(doubles, np.float64) | {"step": dtype}
    return {name: aligned_zeros((members,), kind) for name, kind in kinds.items()}


@jit_inline
def part_of(array, member, members):
    """The part of a flat array that belongs to one member."""
    return array[member * (array.size // members) : (member + 1) * (array.size // members)]


@jit_inline
def roots(norms, squares):
    """The square root of each member's number, in float64; no branch, so that members go by vectors."""
    for member in range(norms.size):
        norms[member] = np.sqrt(np.float64(squares[member]))


@jit_inline
def inner(x, y):
    """The inner product of flat arrays, summed in float64."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * y[i]
    return total


@protocol
def group_places(group, widths):
    """Where a group's memory lies: a NamedTuple of addresses; the group must be kept alive while they are in use."""


@protocol
def load_member(group, member, factors, problem, index):
    """Give a member of the group a run's factors and the problem of that index."""


@protocol
def forward(group, at, widths):
    """Evaluate the networks of all members; ``at`` are the group's places."""


@protocol
def measure(group, columns):
    """Write the losses of all members and their gradients by the products to ``group.work``; after `forward`."""


@protocol
def backward(group, at, widths, now):
    """Find the gradients of all members by their factors; after `measure`.

    With ``now`` every member takes a step instead, as `move` would.
    """


@protocol
def backward_by(group, at, widths, now, rule, mover):
    """`backward`, which with ``now`` moves as `move_by` would, while gradients are hot."""


@protocol
def gradient_norms(group):
    """Write the norms of the gradients by the factors to ``group.norm``; after `backward` without ``now``."""


@protocol
def radial_slope(group, member):
    """``<E, W>`` of a member, the derivative of its loss as its product grows; after `backward` without ``now``."""


@protocol
def move(group, at):
    """Take one step of every member, ``group.step`` long; what changed, to ``group.moved``; after `backward`."""


@protocol
def move_by(group, at, rule, mover):
    """`move` by the formula of a rule, see `rules.elementwise`; a change of what it remembers also counts."""


@protocol
def place_entries(group, laid_out, member, flat):
    """Write numbers (parameters,) that lie as a run's factors into a member's part of what lies as the group's."""


@protocol
def gather_entries(group, laid_out, member, flat):
    """What `place_entries` has written, back to ``flat``."""


@protocol
def gather_gradient(group, member):
    """Bring a member's gradient by the factors to ``group.row.gradient``; after `backward` without ``now``."""


@protocol
def gather_all(group, rows):
    """Bring the factors of all members to ``rows[0]`` and the gradients by them to ``rows[1]``; after `backward`.

    Of groups in lanes; ``rows`` (2, members, at least parameters).
    """


@protocol
def set_all(group, rows):
    """Give all members the factors in ``rows[0]``, where `gather_all` has brought them, with their products."""


@protocol
def compare_gradients(group, last, rows, squares, across):
    """Write ``<G, G>`` and ``<last, G>`` of each member's gradient by the factors; after `backward` without ``now``.

    Parameters
    ----------
    group : the group
    last : array of as many numbers as the gradients of all members have, whose layout is the group's own affair
        That of the last time, which becomes this one.
    rows : array (2, members, parameters) of groups in lanes, scratch
    squares, across : float64 arrays (members,), of which those of members without a run mean nothing
    """


@protocol
def place_last(group, last, member, flat):
    """Write a member's gradient (parameters,) where `compare_gradients` looks for it."""


@protocol
def gather_last(group, last, member, flat):
    """What `place_last` or `compare_gradients` has written, back to ``flat``."""


@protocol
def set_factors(group, member):
    """Give a member the factors in ``group.row_factors``, with its product where that is kept."""


@protocol
def extract_member(group, member):
    """Bring a member's factors and product to ``group.row_factors`` and ``group.row.product``, without padding."""


@protocol
def balancedness(group, widths):
    """The balancedness of the factors that `extract_member` brought."""


# Where gradients of members do not lie as one array, the last ones do: (members, parameters).


@implements(compare_gradients, tuple)
def _compare_one_by_one(group, last, rows, squares, across):
    for member in range(group.run.size):
        if group.run[member] >= 0:
            gather_gradient(group, member)
            compare_gradient(group, last, group.row.gradient, squares, across, member)


@jit_inline
def compare_gradient(group, last, now, squares, across, member):
    """`compare_gradients` of one member, whose gradient is at hand; the last ones are (members, parameters)."""
    before, number = part_of(last, member, group.run.size), group.work.number[member:]
    dot(now, now, now.size, number)
    squares[member] = number[0]
    dot(now, before, now.size, number)
    across[member] = number[0]
    copy(before, now, now.size)


@implements(place_last, tuple)
def _place_apart(group, last, member, flat):
    copy(part_of(last, member, group.run.size), flat, flat.size)


@implements(gather_last, tuple)
def _gather_apart(group, last, member, flat):
    copy(flat, part_of(last, member, group.run.size), flat.size)
