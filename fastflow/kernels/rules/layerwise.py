"""A step of its own for each factor."""

from __future__ import annotations

from typing import NamedTuple

from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.rules.elementwise import formula, write_numbers


class Layerwise(NamedTuple):
    """``W <- W - h c G``: the slot holds c for each entry, and stays; ``nothing`` is 0, as there must be a field."""

    nothing: float = 0.0


@implements(write_numbers, Layerwise, inline=True)
def _write(rule, numbers, member, step, weight):
    numbers[0, member] = -(weight * step)


@formula(Layerwise, numbers=1, slots=1)
def _emit(a, numbers, w, g, slots):
    return a.fma(numbers[0], a.mul(slots[0], g), w), (slots[0],)
