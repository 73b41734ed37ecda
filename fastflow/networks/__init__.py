"""Networks: how the unknown is factored."""

from __future__ import annotations

from collections.abc import Mapping

from fastflow.checks import kind_of
from fastflow.networks.base import EXACTLY as EXACTLY
from fastflow.networks.base import Architecture as Architecture
from fastflow.networks.base import Attributes
from fastflow.networks.base import Network as Network
from fastflow.networks.deep_linear import Chain as Chain
from fastflow.networks.deep_linear import DeepLinear
from fastflow.networks.deep_linear import chain_product as chain_product
from fastflow.networks.diagonal_linear import DiagonalLinear
from fastflow.networks.diagonal_linear import Hadamard as Hadamard

__all__ = ["DeepLinear", "DiagonalLinear"]

ARCHITECTURES: Mapping[type[Network], type[Architecture]] = {DeepLinear: Chain, DiagonalLinear: Hadamard}
"""Every network that there is, and its architecture."""


def as_network(network: object) -> Network:
    """A network.

    Raises
    ------
    TypeError
        for what is none
    """
    if not isinstance(network, Network):
        names = [f"a {kind.__name__}" for kind in ARCHITECTURES]
        raise TypeError(f"network must be {', '.join(names[:-1])} or {names[-1]}, got {kind_of(network)}")
    return network


def architecture_of(attributes: Attributes) -> Architecture:
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
