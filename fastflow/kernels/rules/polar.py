"""Weight normalisation: each vector of a diagonal network in polar coordinates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.rules.rule import slot_count
from fastflow.kernels.rules.whole import update


class PolarRule(NamedTuple):
    """``w = r u / ||u||``, then ``r <- r - h <G, e>`` and ``u <- u - h ratio r / ||u|| (G - <G, e> e)``, e = u / ||u||.

    G is the gradient by w; the slot holds u, which begins as ``w / ||w||``. A w of 0 stays.
    """

    ratio: float


@slot_count.register
def _slots(rule: PolarRule) -> int:
    return 1


@implements(update, PolarRule)
def _polar(rule, factors, gradient, memory, widths, step, k):
    n, number = widths[0], factors.dtype.type
    for first in range(0, factors.size, n):
        square = 0.0
        for i in range(first, first + n):
            square += np.float64(memory[0, i]) ** 2
        if square == 0:
            for i in range(first, first + n):
                square += np.float64(factors[i]) ** 2
            if square == 0:
                continue
            for i in range(first, first + n):
                memory[0, i] = number(factors[i] / np.sqrt(square))
            square = 1.0
        length = np.sqrt(square)
        radius, slope = 0.0, 0.0
        for i in range(first, first + n):
            unit = memory[0, i] / length
            radius += factors[i] * unit
            slope += gradient[i] * unit
        across = step * rule.ratio * radius / length
        square = 0.0
        for i in range(first, first + n):
            moved = memory[0, i] - across * (gradient[i] - slope * memory[0, i] / length)
            square += moved**2
            memory[0, i] = number(moved)
        scale = (radius - step * slope) / np.sqrt(square)
        for i in range(first, first + n):
            factors[i] = number(scale * memory[0, i])
