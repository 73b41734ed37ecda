"""Sharpness-aware steps: by the gradient of a place further up."""

from __future__ import annotations

from typing import NamedTuple

from fastflow.kernels.rules.elementwise import formula


class SharpnessAware(NamedTuple):
    """``W <- W - h G(W + radius G(W) / ||G(W)||)``: the slot holds W while the factors are elsewhere."""

    radius: float


@formula(SharpnessAware, numbers=1, slots=1, elsewhere=True)
def _emit(a, numbers, w, g, slots):
    after = a.fma(numbers[0], g, slots[0])
    return after, (after,)
