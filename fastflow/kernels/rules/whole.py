"""Rules that see all factors of a run at once: flat, W_1 first, each row-major."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.compile.protocol import implements, protocol
from fastflow.kernels.rules.rule import slot_count
from fastflow.kernels.vectors.products import multiply, multiply_nt


@protocol
def update(rule, factors, gradient, memory, widths, step, k):
    """Move the factors of one run.

    Parameters
    ----------
    rule : the NamedTuple of a rule
    factors : array (parameters,), to be changed in place
    gradient : array (parameters,), that of the loss; scratch afterwards
    memory : array (slots, parameters), what is remembered: 0 at first, to be changed in place
    widths : int64 array (d_0, ..., d_N)
    step : float
    k : int, how many steps have been taken since the memory was 0
    """


class Muon(NamedTuple):
    """``M <- b M + G``, then ``W <- (1 - h mu) W - h O(M)``, factor by factor; of Nesterov ``O(b M + G)``.

    O makes all singular values equal, by `orthogonalize`; ``quick`` rounds of the first iteration, then ``exact`` ones
    of the second.
    """

    momentum: float
    nesterov: bool
    decay: float
    quick: int
    exact: int


@slot_count.register
def _slots_of_muon(rule: Muon) -> int:
    return 1


QUICK = (3.4445, -4.7750, 2.0315)
"""``x -> a x + b x^3 + c x^5`` of K. Jordan et al. (Muon, 2024): it lifts small singular values fast, and keeps those
between 0.7 and 1.2 there."""

EXACT = (1.5, -0.5, 0.0)
"""The iteration of Newton and Schulz, which takes singular values between 0 and ``sqrt(3)`` to 1."""


@jit_internal
def _round(x, square, power, work, rows, columns, a, b, c):
    """``X <- a X + b (X X^T) X + c (X X^T)^2 X``, rows at most columns."""
    multiply_nt(square, 0, x, 0, x, 0, rows, columns, rows)
    if c != 0:
        multiply(power, 0, square, 0, square, 0, rows, rows, rows)
        for i in range(rows * rows):
            square[i] = b * square[i] + c * power[i]
    else:
        for i in range(rows * rows):
            square[i] *= b
    for i in range(rows):
        square[i * rows + i] += a
    multiply(work, 0, square, 0, x, 0, rows, rows, columns)
    x[: rows * columns] = work[: rows * columns]


@implements(update, Muon)
def _muon(rule, factors, gradient, memory, widths, step, k):
    at, number = 0, factors.dtype.type
    momentum, kept, down = number(rule.momentum), number(1 - step * rule.decay), number(step)
    for j in range(widths.size - 1):
        columns, rows = widths[j], widths[j + 1]
        size, shorter, longer = rows * columns, min(rows, columns), max(rows, columns)
        x, work = np.empty(size, factors.dtype), np.empty(size, factors.dtype)
        square, power = np.empty(shorter * shorter, factors.dtype), np.empty(shorter * shorter, factors.dtype)
        peak = number(0)
        for i in range(size):
            g = gradient[at + i]
            memory[0, at + i] = momentum * memory[0, at + i] + g
            value = g + momentum * memory[0, at + i] if rule.nesterov else memory[0, at + i]
            x[i if rows <= columns else (i % columns) * rows + i // columns] = value
            peak = max(peak, abs(value)) if value == value else value
        if peak > 0 or peak != peak:
            total = 0.0
            for i in range(size):
                x[i] /= peak
                total += np.float64(x[i]) ** 2
            for i in range(size):
                x[i] /= number(np.sqrt(total))
        for _ in range(rule.quick):
            _round(x, square, power, work, shorter, longer, number(QUICK[0]), number(QUICK[1]), number(QUICK[2]))
        for _ in range(rule.exact):
            _round(x, square, power, work, shorter, longer, number(EXACT[0]), number(EXACT[1]), number(EXACT[2]))
        for i in range(size):
            move = x[i if rows <= columns else (i % columns) * rows + i // columns]
            factors[at + i] = kept * factors[at + i] - down * move
        at += size
