"""Networks: how the unknown is factored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastflow.networks.base import Architecture, Network
from fastflow.networks.deep_linear import Chain, DeepLinear, chain_product
from fastflow.networks.diagonal_linear import DiagonalLinear, Hadamard

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Chain",
    "DeepLinear",
    "DiagonalLinear",
    "Hadamard",
    "Network",
    "architecture_of",
    "chain_product",
]

ARCHITECTURES: Mapping[type[Network], type[Architecture]] = {DeepLinear: Chain, DiagonalLinear: Hadamard}
"""Every network that there is, and its architecture."""


def architecture_of(attributes: Mapping[str, Any]) -> Architecture:
    """The architecture with these `Architecture.attributes`; others among them are ignored.

    Raises
    ------
    KeyError
        when they are those of no architecture
    """
    for kind in ARCHITECTURES.values():
        found = kind.read(attributes)
        if found is not None:
            return found
    raise KeyError("widths")
