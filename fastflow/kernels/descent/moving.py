"""How the members of a group move by a rule: what `descend` asks of each kind of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.protocol import implements, protocol
from fastflow.kernels.networks.group import gather_entries, move, move_by, place_entries
from fastflow.kernels.rules.elementwise import FORMULAS, write_numbers
from fastflow.kernels.rules.momentum import Momentum
from fastflow.kernels.rules.rule import (
    RATES,
    Descent,
    Mover,
    is_fused,
    number_count,
    slot_count,
    take_steps,
)
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy

BY_FORMULA = (Momentum,)


def make_mover(rule: NamedTuple, group: NamedTuple) -> Mover:
    """Memory for the members of a `networks.group` to move by a rule."""
    factors, members = group.factors, len(group.run)
    shape = factors.shape if type(rule) in FORMULAS else (members, group.row_factors.size)
    return Mover(
        rule=rule,
        memory=aligned_zeros((slot_count(rule), *shape), factors.dtype),
        numbers=aligned_zeros((number_count(rule), members), factors.dtype),
        rates=np.zeros((members, RATES)),
        begun=np.zeros(members, np.int64),
    )


@protocol
def load_memory(rule, mover, group, member, memory, rates, begun):
    """Give a member what its run remembers: ``memory`` (slots * parameters,), ``rates`` (`RATES`,), ``begun``."""


@protocol
def keep_memory(rule, mover, group, member, memory, rates):
    """What `load_memory` gave, as it is now."""


@implements(is_fused, Descent, inline=True)
def _fused(rule):
    return True


@implements(is_fused, tuple, inline=True)
def _not_fused(rule):
    return False


@implements(take_steps, Descent, inline=True)
def _descend(rule, mover, group, at, widths, ticks):
    move(group, at)


@implements(load_memory, Descent, inline=True)
def _nothing_to_load(rule, mover, group, member, memory, rates, begun):
    pass


@implements(keep_memory, Descent, inline=True)
def _nothing_to_keep(rule, mover, group, member, memory, rates):
    pass


@implements(take_steps, *BY_FORMULA)
def _by_formula(rule, mover, group, at, widths, ticks):
    for member in range(group.run.size):
        weight, k = 1.0, 0
        if group.run[member] >= 0:
            weight, k = group.weight[member], group.offset[member] + ticks - mover.begun[member]
        write_numbers(rule, mover.numbers, member, group.step[member], weight, k)
    move_by(group, at, rule, mover)


@implements(load_memory, *BY_FORMULA)
def _load_laid_out(rule, mover, group, member, memory, rates, begun):
    size = group.row_factors.size
    for slot in range(len(mover.memory)):
        place_entries(group, mover.memory[slot], member, memory[slot * size : (slot + 1) * size])
    mover.begun[member] = begun


@implements(keep_memory, *BY_FORMULA)
def _keep_laid_out(rule, mover, group, member, memory, rates):
    size = group.row_factors.size
    for slot in range(len(mover.memory)):
        gather_entries(group, mover.memory[slot], member, memory[slot * size : (slot + 1) * size])


@implements(load_memory, tuple)
def _load_flat(rule, mover, group, member, memory, rates, begun):
    size = group.row_factors.size
    for slot in range(len(mover.memory)):
        copy(mover.memory[slot, member], memory[slot * size : (slot + 1) * size], size)
    mover.rates[member] = rates
    mover.begun[member] = begun


@implements(keep_memory, tuple)
def _keep_flat(rule, mover, group, member, memory, rates):
    size = group.row_factors.size
    for slot in range(len(mover.memory)):
        copy(memory[slot * size : (slot + 1) * size], mover.memory[slot, member], size)
    rates[:] = mover.rates[member]
