"""Momentum: a velocity V for each entry of the factors."""

from __future__ import annotations

from typing import NamedTuple

from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.rules.elementwise import formula, varies, vary_numbers, write_numbers

HEAVY_BALL, NESTEROV, BY_THE_BOOK = range(3)


class MomentumRule(NamedTuple):
    """``V <- b V - h G'``, then ``W <- W + V`` (heavy ball) or ``W <- W - h G' + b V`` (Nesterov).

    ``G' = G + mu W``; b is ``momentum``, mu is ``decay``, and ``kind`` says which. Nesterov's W is the point that looks
    ahead; `BY_THE_BOOK` has ``b = (k-1)/(k+2)`` at its k-th step, that of the step before in front of the old V, that
    of this one in front of the new V. Where b and mu are 0 these are the bits of gradient descent.
    """

    kind: int
    momentum: float
    decay: float


DOWN, DECAY, OF_BEFORE, OLD, NEW = range(5)
"""Minus h, minus h mu, and what stands in front of the old V in the new V, and of the old and the new V in W."""


@implements(varies, MomentumRule, inline=True)
def _varies(rule):
    return rule.kind == BY_THE_BOOK


@implements(write_numbers, MomentumRule, inline=True)
def _write(rule, numbers, member, step, weight):
    ahead = 1.0 * (rule.kind == NESTEROV)
    numbers[DOWN, member] = -(weight * step)
    numbers[DECAY, member] = -step * rule.decay
    numbers[OF_BEFORE, member] = rule.momentum
    numbers[OLD, member] = (1.0 - ahead) * rule.momentum
    numbers[NEW, member] = ahead * rule.momentum


@implements(vary_numbers, MomentumRule, inline=True)
def _vary(rule, numbers, rates, member, step, weight, k, alike):
    # By the book, which counts from 1, and whose first step has no V before it.
    before, new = max(k - 1, 0) / (k + 2), k / (k + 3)
    numbers[OF_BEFORE, member] = before
    numbers[OLD, member] = 0.0
    numbers[NEW, member] = new


@formula(MomentumRule, numbers=5, slots=1)
def _emit(a, numbers, w, g, slots):
    (v,) = slots
    after = a.fma(numbers[DOWN], g, a.fma(numbers[DECAY], w, a.mul(numbers[OF_BEFORE], v)))
    # One FMA brings the gradient in, as in gradient descent: adding the new V would round twice.
    base = a.fma(numbers[OLD], v, a.fma(numbers[NEW], after, a.fma(numbers[DECAY], w, w)))
    return a.fma(numbers[DOWN], g, base), (after,)
