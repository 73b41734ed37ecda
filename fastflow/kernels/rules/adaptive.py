"""Rules that look at each entry of the gradient alone: coordinatewise adaptive rates, and signs.

These depend on the basis: a product ``U V`` and ``(U Q)(Q^T V)`` go different ways.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.rules.elementwise import formula, varies, vary_numbers, write_numbers


class SignRule(NamedTuple):
    """``W <- W - h sign(G)``; ``nothing`` is 0, as a NamedTuple must have a field."""

    nothing: float = 0.0


class RMSpropRule(NamedTuple):
    """``v <- b v + (1-b) G^2``, then ``W <- (1 - h mu) W - h G / (sqrt(v) + eps)``, entry by entry."""

    average: float
    epsilon: float
    decay: float


class AdamRule(NamedTuple):
    """``m <- b m + (1-b) G``, ``v <- c v + (1-c) G^2``, ``W <- (1 - h mu) W - h m' / (sqrt(v') + eps)``.

    Entry by entry; m' and v' are m and v over the sums of their weights, ``1 - b^k`` and ``1 - c^k`` at the k-th step.
    """

    first: float
    second: float
    epsilon: float
    decay: float


@implements(varies, AdamRule, inline=True)
def _varies(rule):
    return True


@implements(write_numbers, SignRule, inline=True)
def _write_sign(rule, numbers, member, step, weight):
    numbers[0, member] = step


@formula(SignRule, numbers=1)
def _emit_sign(a, numbers, w, g, slots):
    return a.sub(w, a.with_sign(numbers[0], g)), ()


STEP, EPSILON, KEPT, OLD_SQUARE, ROOT, OLD = range(6)
"""What stands before the quotient; eps; ``1 - h mu``; c; what stands before the root; b.

The slots hold m over ``w (1-b)`` and v over ``w^2 (1-c)``, w being the weight of the loss, so that a gradient as it is
goes to them; STEP and ROOT make up for that. RMSprop has no b.
"""

LEAST = float(np.finfo(np.float64).tiny)
"""That eps is at least: see `elementwise.Arithmetic.over`."""


@jit_inline
def _write_common(numbers, member, step, epsilon, decay, average):
    numbers[EPSILON, member] = max(epsilon, LEAST)
    numbers[KEPT, member] = 1 - step * decay
    numbers[OLD_SQUARE, member] = average


@implements(write_numbers, RMSpropRule, inline=True)
def _write_rmsprop(rule, numbers, member, step, weight):
    _write_common(numbers, member, step, rule.epsilon, rule.decay, rule.average)
    numbers[STEP, member] = -(weight * step)
    numbers[ROOT, member] = weight * np.sqrt(1 - rule.average)


@formula(RMSpropRule, numbers=5, slots=1)
def _emit_rmsprop(a, numbers, w, g, slots):
    square = a.fma(numbers[OLD_SQUARE], slots[0], a.mul(g, g))
    move = a.over(g, a.fma(a.sqrt(square), numbers[ROOT], numbers[EPSILON]))
    return a.fma(numbers[STEP], move, a.mul(numbers[KEPT], w)), (square,)


@implements(write_numbers, AdamRule, inline=True)
def _write_adam(rule, numbers, member, step, weight):
    _write_common(numbers, member, step, rule.epsilon, rule.decay, rule.second)
    numbers[OLD, member] = rule.first


@implements(vary_numbers, AdamRule, inline=True)
def _vary_adam(rule, numbers, rates, member, step, weight, k, alike):
    # The sums of weights as the averages themselves are summed: what is constant has itself as its average.
    rates[0, member] = rule.first * rates[0, member] + (1 - rule.first)
    rates[1, member] = rule.second * rates[1, member] + (1 - rule.second)
    if alike:
        numbers[STEP, member], numbers[ROOT, member] = numbers[STEP, member - 1], numbers[ROOT, member - 1]
    else:
        numbers[STEP, member] = -(weight * step) * ((1 - rule.first) / rates[0, member])
        numbers[ROOT, member] = weight * np.sqrt((1 - rule.second) / rates[1, member])


@formula(AdamRule, numbers=6, slots=2)
def _emit_adam(a, numbers, w, g, slots):
    mean = a.fma(numbers[OLD], slots[0], g)
    square = a.fma(numbers[OLD_SQUARE], slots[1], a.mul(g, g))
    move = a.over(mean, a.fma(a.sqrt(square), numbers[ROOT], numbers[EPSILON]))
    return a.fma(numbers[STEP], move, a.mul(numbers[KEPT], w)), (mean, square)
