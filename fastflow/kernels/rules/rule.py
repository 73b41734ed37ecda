"""Update rules: what `descent.descend` asks of one, and the memory that it works with.

A rule is a NamedTuple of numbers, of a class of its own; Numba's types tell them apart. There are three kinds:

* a `formula` for each entry of the factors alone, emitted as vectors for all layouts, in one pass over factors,
  gradient and memory (`rules.elementwise`);
* a rule for the size of the step of each run, which is then one of gradient descent (`rules.rates`);
* an update of all factors of one run, flat (`rules.whole`), which may be a user's own.

Gradient descent itself remembers nothing and keeps its own step, which is taken where the gradient still is in
registers. A formula is taken factor by factor, as soon as its gradient is there.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import protocol
from fastflow.kernels.vectors.layouts import address, item_bytes


class Descent(NamedTuple):
    """``W <- W - step * G``; ``nothing`` is 0, as a NamedTuple must have a field."""

    nothing: float = 0.0


class Mover(NamedTuple):
    """A rule, and what it works with for the members of a group.

    Attributes
    ----------
    rule : the NamedTuple of a rule
    memory : array of the group's dtype, (slots, *), each slot laid out as the factors of the group are; of a rule
        without a formula (members, slots, parameters), or as `group.compare_gradients` has it
    numbers : array (`number_count`, members) of the group's dtype, what a formula is told of each member's step
    rates : float64 array (`RATES`, members), what a rule remembers of a member beside that
    begun : int64 array (members,), the step at which a member's memory began
    rows : array (2, members, parameters) of that dtype, or (2, 0, 0), for rules and groups in lanes that want factors
        and gradients member by member
    sizes : float64 array (members,), of the step, as the user says it; 0 where there is no run
    written : float64 array (members,), the size for which numbers were written last, NaN: for none; or scratch
    """

    rule: NamedTuple
    memory: np.ndarray
    numbers: np.ndarray
    rates: np.ndarray
    rows: np.ndarray
    begun: np.ndarray
    sizes: np.ndarray
    written: np.ndarray


@jit_inline
def places_of(mover):
    """The addresses of the first slot and of the first number, and the bytes from one to the next."""
    memory, slot, number = 0, 0, item_bytes(mover.numbers.dtype.type(0))
    if len(mover.memory) > 0:
        memory = address(mover.memory[0], 0)
        slot = mover.memory[0].size * number
    return memory, slot, address(mover.numbers, 0), mover.numbers.shape[1] * number


RATES = 2
"""How many numbers of a run a rule may remember beside its slots."""


@functools.singledispatch
def slot_count(rule: NamedTuple) -> int:
    """How many numbers a rule remembers for each entry of the factors."""
    return 0


@functools.singledispatch
def number_count(rule: NamedTuple) -> int:
    """How many numbers the formula of a rule is told of each step."""
    return 0


@protocol
def tell_numbers(rule, mover, group, ticks):
    """Before each step, once: bring what a formula is told of it up to date."""


@protocol
def sweep_back(rule, mover, group, at, widths, ticks, now):
    """`group.backward`; whether that was a step of every member, as is wished ``now``, and rules can that are fused."""


@protocol
def take_steps(rule, mover, group, at, widths, ticks):
    """One step of every member of a group, after `backward` without ``now``; what changed, to ``group.moved``."""
