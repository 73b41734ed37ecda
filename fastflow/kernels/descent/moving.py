"""How the members of a group move by a rule: what `descend` asks of each kind of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import implements, protocol
from fastflow.kernels.networks.chain_group import ChainLanes
from fastflow.kernels.networks.diagonal_together import TogetherGroup
from fastflow.kernels.networks.group import (
    backward,
    backward_by,
    compare_gradients,
    forward,
    gather_all,
    gather_entries,
    gather_gradient,
    gather_last,
    gradient_norms,
    measure,
    move,
    move_by,
    place_entries,
    place_last,
    set_all,
    set_factors,
)
from fastflow.kernels.rules.adaptive import AdamRule, RMSpropRule, SignRule
from fastflow.kernels.rules.elementwise import FORMULAS, varies, vary_numbers, write_numbers
from fastflow.kernels.rules.layerwise import Layerwise
from fastflow.kernels.rules.momentum import MomentumRule
from fastflow.kernels.rules.rates import NORMALIZED, SHARED, Rate, normalized_rate, rate_of_change, shared_rates
from fastflow.kernels.rules.rule import (
    RATES,
    Descent,
    Mover,
    number_count,
    slot_count,
    sweep_back,
    take_steps,
    tell_numbers,
)
from fastflow.kernels.rules.sharpness import SharpnessRule
from fastflow.kernels.rules.whole import update
from fastflow.kernels.vectors.aligned import aligned_zeros
from fastflow.kernels.vectors.elementwise import copy
from fastflow.kernels.vectors.layouts import flattened

BY_FORMULA = (MomentumRule, Layerwise, SignRule, RMSpropRule, AdamRule)


def make_mover(rule: NamedTuple, factors: np.ndarray, members: int, parameters: int) -> Mover:
    """Memory for the members of a group to move by a rule.

    Parameters
    ----------
    rule : the NamedTuple of a rule
    factors : array, those of the group, as it lays them out
    members : int
    parameters : int, how many entries the factors of one member have
    """
    slots, has_formula = slot_count(rule), type(rule) in FORMULAS
    shape = (slots, *factors.shape) if has_formula else (members, slots, parameters)
    apart = factors.ndim > 1 and not has_formula and (slots > 0 or not isinstance(rule, Rate | Descent))
    return Mover(
        rule=rule,
        memory=aligned_zeros(shape, factors.dtype),
        numbers=aligned_zeros((number_count(rule), members), factors.dtype),
        rates=np.zeros((RATES, members)),
        rows=aligned_zeros((2, members, parameters) if apart else (2, 0, 0), factors.dtype),
        begun=np.zeros(members, np.int64),
        sizes=np.zeros(members),
        written=np.full(members, np.nan),
    )


@protocol
def load_memory(rule, mover, group, member, memory, rates, begun):
    """Give a member what its run remembers: ``memory`` (slots * parameters,), ``rates`` (`RATES`,), ``begun``."""


@protocol
def keep_memory(rule, mover, group, member, memory, rates):
    """What `load_memory` gave, as it is now."""


@implements(sweep_back, Descent, inline=True)
def _sweep_and_descend(rule, mover, group, at, widths, ticks, now):
    backward(group, at, widths, now)
    return now


@implements(sweep_back, tuple, inline=True)
def _sweep_only(rule, mover, group, at, widths, ticks, now):
    backward(group, at, widths, False)
    return False


@implements(sweep_back, *BY_FORMULA, inline=True)
def _sweep_by_formula(rule, mover, group, at, widths, ticks, now):
    backward_by(group, at, widths, now, rule, mover)
    return now


@implements(take_steps, Descent, inline=True)
def _descend(rule, mover, group, at, widths, ticks):
    move(group, at)


@implements(load_memory, Descent, inline=True)
def _nothing_to_load(rule, mover, group, member, memory, rates, begun):
    pass


@implements(keep_memory, Descent, inline=True)
def _nothing_to_keep(rule, mover, group, member, memory, rates):
    pass


@implements(take_steps, *BY_FORMULA, inline=True)
def _by_formula(rule, mover, group, at, widths, ticks):
    move_by(group, at, rule, mover)


@implements(tell_numbers, tuple, inline=True)
def _nothing_to_tell(rule, mover, group, ticks):
    pass


# No variable has two values in what follows: it is inlined twice, where Numba would warn of that.


@implements(tell_numbers, *BY_FORMULA, inline=True)
def _tell_numbers(rule, mover, group, ticks):
    for member in range(group.run.size):
        size = mover.sizes[member]
        if size != mover.written[member]:
            mover.written[member] = size
            write_numbers(rule, mover.numbers, member, size, group.weight[member])
    if varies(rule):
        for member in range(group.run.size):
            size, weight, k = mover.sizes[member], group.weight[member], _steps_since(mover, group, member, ticks)
            like_before = (member > 0) & (size == mover.sizes[member - 1]) & (weight == group.weight[member - 1])
            alike = like_before & (k == _steps_since(mover, group, member - 1, ticks))
            vary_numbers(rule, mover.numbers, mover.rates, member, size, weight, k, alike)


@jit_inline
def _steps_since(mover, group, member, ticks):
    """The steps since a member's memory began; what it is where there is no run means nothing."""
    return max(group.offset[member] + ticks - mover.begun[member], 0)


@implements(load_memory, *BY_FORMULA, SharpnessRule)
def _load_laid_out(rule, mover, group, member, memory, rates, begun):
    size = group.row_factors.size
    for slot in range(len(mover.memory)):
        place_entries(group, mover.memory[slot], member, memory[slot * size : (slot + 1) * size])
    mover.written[member] = np.nan
    for i in range(RATES):
        mover.rates[i, member] = rates[i]
    mover.begun[member] = begun


@implements(keep_memory, *BY_FORMULA, SharpnessRule)
def _keep_laid_out(rule, mover, group, member, memory, rates):
    size = group.row_factors.size
    for slot in range(len(mover.memory)):
        gather_entries(group, mover.memory[slot], member, memory[slot * size : (slot + 1) * size])
    for i in range(RATES):
        rates[i] = mover.rates[i, member]


@implements(load_memory, Rate)
def _load_last(rule, mover, group, member, memory, rates, begun):
    if memory.size > 0:
        place_last(group, flattened(mover.memory), member, memory)
    for i in range(RATES):
        mover.rates[i, member] = rates[i]
    mover.begun[member] = begun


@implements(keep_memory, Rate)
def _keep_last(rule, mover, group, member, memory, rates):
    if memory.size > 0:
        gather_last(group, flattened(mover.memory), member, memory)
    for i in range(RATES):
        rates[i] = mover.rates[i, member]


@implements(load_memory, tuple)
def _load_flat(rule, mover, group, member, memory, rates, begun):
    for slot in range(mover.memory.shape[1]):
        for i in range(mover.memory.shape[2]):
            mover.memory[member, slot, i] = memory[slot * mover.memory.shape[2] + i]
    for i in range(RATES):
        mover.rates[i, member] = rates[i]
    mover.begun[member] = begun


@implements(keep_memory, tuple)
def _keep_flat(rule, mover, group, member, memory, rates):
    for slot in range(mover.memory.shape[1]):
        for i in range(mover.memory.shape[2]):
            memory[slot * mover.memory.shape[2] + i] = mover.memory[member, slot, i]
    for i in range(RATES):
        rates[i] = mover.rates[i, member]


@implements(take_steps, Rate, inline=True)
def _by_rate(rule, mover, group, at, widths, ticks):
    if rule.kind == NORMALIZED or rule.kind == SHARED:
        gradient_norms(group)
        _rates_of_norms(rule, mover, group)
    else:
        _rates_of_changes(rule, mover, group, ticks)
    move(group, at)
    if rule.kind != NORMALIZED:
        group.moved[:] = 1  # the next step may be larger


@jit_inline
def _rates_of_norms(rule, mover, group):
    # The size of a member without a run is 0.
    sizes, weights, norms = mover.sizes, group.weight, group.norm
    if rule.kind == NORMALIZED:
        for member in range(sizes.size):
            group.step[member] = weights[member] * normalized_rate(sizes[member], weights[member] * norms[member])
    else:
        shared_rates(rule, mover.rates, weights, norms, sizes, group.step)
    for member in range(sizes.size):
        if group.run[member] < 0:
            group.step[member] = 0


@jit_inline
def _rates_of_changes(rule, mover, group, ticks):
    squares, across = group.norm, mover.written
    compare_gradients(group, flattened(mover.memory), mover.rows, squares, across)
    for member in range(group.run.size):
        if group.run[member] >= 0:
            size, square = mover.sizes[member], squares[member]
            step = size
            if group.offset[member] + ticks > mover.begun[member]:
                last, before = mover.rates[0, member], mover.rates[1, member]
                step = rate_of_change(rule, last, size, before, across[member], square)
            mover.rates[0, member], mover.rates[1, member] = step, square
            group.step[member] = group.weight[member] * step


@implements(take_steps, tuple)
def _as_a_whole(rule, mover, group, at, widths, ticks):
    update_all(group, rule, mover, widths, ticks)
    group.moved[:] = 1  # what a rule does next may depend on more than factors that have not changed


@protocol
def update_all(group, rule, mover, widths, ticks):
    """`update` every member of a group that has a run."""


@implements(update_all, tuple)
def _one_by_one(group, rule, mover, widths, ticks):
    for member in range(group.run.size):
        if group.run[member] >= 0:
            gather_gradient(group, member)
            gather_entries(group, group.factors, member, group.row_factors)
            _update(rule, mover, group, member, group.row_factors, group.row.gradient, widths, ticks)
            set_factors(group, member)


@implements(update_all, ChainLanes, TogetherGroup)
def _from_lanes(group, rule, mover, widths, ticks):
    factors, gradients = mover.rows[0], mover.rows[1]
    gather_all(group, mover.rows)
    for member in range(group.run.size):
        if group.run[member] >= 0:
            _update(rule, mover, group, member, factors[member], gradients[member], widths, ticks)
    set_all(group, mover.rows)


@jit_inline
def _update(rule, mover, group, member, factors, gradient, widths, ticks):
    weight = gradient.dtype.type(group.weight[member])
    for i in range(gradient.size):
        gradient[i] *= weight
    k = group.offset[member] + ticks - mover.begun[member]
    update(rule, factors, gradient, mover.memory[member], widths, mover.sizes[member], k)


@implements(take_steps, SharpnessRule)
def _against_sharpness(rule, mover, group, at, widths, ticks):
    gradient_norms(group)
    for member in range(group.run.size):
        mover.numbers[0, member] = -(group.weight[member] * mover.sizes[member])
        if group.run[member] >= 0:
            norm = group.norm[member]
            group.step[member] = -(rule.radius / norm) if norm != 0 else 0.0
    copy(flattened(mover.memory[0]), flattened(group.factors), group.factors.size)
    move(group, at)
    forward(group, at, widths)
    measure(group, widths[0])
    backward(group, at, widths, False)
    move_by(group, at, rule, mover)
