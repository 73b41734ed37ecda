"""Rules for the size of each run's step, which is then a step of gradient descent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.rules.rule import slot_count

NORMALIZED, SHARED, LONG, SHORT = range(4)


class Rate(NamedTuple):
    """The step for all factors at once, by ``kind``, ``||G||`` being the norm of the gradient by all of them.

    * `NORMALIZED`: ``h / ||G||``, 0 where G is 0
    * `SHARED`: ``h / (sqrt(v') + eps)``, ``v <- b v + (1-b) ||G||^2``, v' being v over the sum of its weights; b is
      ``average``
    * `LONG` and `SHORT`, the steps of Barzilai and Borwein: ``<s, s> / <s, y>`` and ``<s, y> / <y, y>``, s being the
      last change of the factors and y that of the gradient; h at first, and where ``<s, y>`` is not positive
    """

    kind: int
    average: float
    epsilon: float


@slot_count.register
def _slots(rule: Rate) -> int:
    return 1 if rule.kind in (LONG, SHORT) else 0


@jit_inline
def normalized_rate(size, norm):
    """The step of `NORMALIZED`."""
    return size / norm if norm != 0 else 0.0


@jit_inline
def shared_rates(rule, rates, weights, norms, sizes, steps):
    """The steps of `SHARED`, times the weights; ``rates`` (2, members) are v and the sum of its weights."""
    # Each loop has few arrays, and no branch: so LLVM sees that members can go by vectors.
    b = rule.average
    for member in range(sizes.size):
        norm = weights[member] * norms[member]
        rates[0, member] = b * rates[0, member] + (1 - b) * (norm * norm)
    for member in range(sizes.size):
        rates[1, member] = b * rates[1, member] + (1 - b)
    for member in range(sizes.size):
        rate = sizes[member] / (np.sqrt(rates[0, member] / rates[1, member]) + rule.epsilon)
        steps[member] = weights[member] * rate


@jit_inline
def rate_of_change(rule, last, size, before, across, now):
    """The step of `LONG` and `SHORT`, given the last one, ``||G_old||^2``, ``<G_old, G>`` and ``||G||^2``."""
    slope, step = before - across, size  # <s, y> over the last step
    if slope > 0:
        if rule.kind == LONG:
            step = last * before / slope
        else:
            step = last * slope / (slope + (now - across))
    return step
