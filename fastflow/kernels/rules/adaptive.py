"""Rules that look at each entry of the gradient alone: coordinatewise adaptive rates, and signs.

These depend on the basis: a product ``U V`` and ``(U Q)(Q^T V)`` go different ways.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.rules.elementwise import formula, varies, write_numbers


class SignDescent(NamedTuple):
    """``W <- W - h sign(G)``; ``nothing`` is 0, as a NamedTuple must have a field."""

    nothing: float = 0.0


class RMSprop(NamedTuple):
    """``v <- b v + (1-b) G^2``, then ``W <- (1 - h mu) W - h G / (sqrt(v) + eps)``, entry by entry."""

    average: float
    epsilon: float
    decay: float


class Adam(NamedTuple):
    """``m <- b m + (1-b) G``, ``v <- c v + (1-c) G^2``, ``W <- (1 - h mu) W - h m' / (sqrt(v') + eps)``.

    Entry by entry; m' and v' are m and v over the sums of their weights, ``1 - b^k`` and ``1 - c^k`` at the k-th step.
    """

    first: float
    second: float
    epsilon: float
    decay: float


@implements(varies, SignDescent, RMSprop, inline=True)
def _constant(rule):
    return False


@implements(varies, Adam, inline=True)
def _varies(rule):
    return True


@implements(write_numbers, SignDescent, inline=True)
def _write_sign(rule, numbers, rates, member, step, weight, k):
    numbers[0, member] = step


@formula(SignDescent, numbers=1)
def _emit_sign(a, numbers, w, g, slots):
    return a.sub(w, a.with_sign(numbers[0], g)), ()


WEIGHT, STEP, EPSILON, KEPT, OLD_SQUARE, NEW_SQUARE, OLD, NEW, ROOT = range(9)
"""Of the loss; h, of Adam over ``1 - b^k``; eps; ``1 - h mu``; c and 1 - c; b and 1 - b; ``(1 - c^k)^(-1/2)``."""


@implements(write_numbers, RMSprop, inline=True)
def _write_rmsprop(rule, numbers, rates, member, step, weight, k):
    numbers[WEIGHT, member] = weight
    numbers[STEP, member] = -step
    numbers[EPSILON, member] = rule.epsilon
    numbers[KEPT, member] = 1 - step * rule.decay
    numbers[OLD_SQUARE, member] = rule.average
    numbers[NEW_SQUARE, member] = 1 - rule.average


@formula(RMSprop, numbers=6, slots=1)
def _emit_rmsprop(a, numbers, w, g, slots):
    g = a.mul(numbers[WEIGHT], g)
    square = a.fma(numbers[OLD_SQUARE], slots[0], a.mul(numbers[NEW_SQUARE], a.mul(g, g)))
    move = a.div(g, a.add(a.sqrt(square), numbers[EPSILON]))
    return a.fma(numbers[STEP], move, a.mul(numbers[KEPT], w)), (square,)


@implements(write_numbers, Adam, inline=True)
def _write_adam(rule, numbers, rates, member, step, weight, k):
    # The sums of weights as the averages themselves are summed: what is constant has itself as its average.
    rates[member, 0] = rule.first * rates[member, 0] + (1 - rule.first)
    rates[member, 1] = rule.second * rates[member, 1] + (1 - rule.second)
    numbers[WEIGHT, member] = weight
    numbers[STEP, member] = -step / rates[member, 0]
    numbers[EPSILON, member] = rule.epsilon
    numbers[KEPT, member] = 1 - step * rule.decay
    numbers[OLD_SQUARE, member] = rule.second
    numbers[NEW_SQUARE, member] = 1 - rule.second
    numbers[OLD, member] = rule.first
    numbers[NEW, member] = 1 - rule.first
    numbers[ROOT, member] = 1 / np.sqrt(rates[member, 1])


@formula(Adam, numbers=9, slots=2)
def _emit_adam(a, numbers, w, g, slots):
    g = a.mul(numbers[WEIGHT], g)
    mean = a.fma(numbers[OLD], slots[0], a.mul(numbers[NEW], g))
    square = a.fma(numbers[OLD_SQUARE], slots[1], a.mul(numbers[NEW_SQUARE], a.mul(g, g)))
    move = a.div(mean, a.fma(a.sqrt(square), numbers[ROOT], numbers[EPSILON]))
    return a.fma(numbers[STEP], move, a.mul(numbers[KEPT], w)), (mean, square)
