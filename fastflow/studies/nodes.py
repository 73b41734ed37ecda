"""Kinds of nodes: what the last bits of results depend on, which executors and job arrays may mix."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from fastflow.checks import shown
from fastflow.kernels.compile.target import SHAPE, cpu_name
from fastflow.threads import blas_libraries
from fastflow.version import __version__

Node = Mapping[str, str]
"""What a node is, in words, by what decides bits: versions of packages, the kind of BLAS, the CPU."""


@functools.cache
def this_node() -> Node:
    """The kind of node that this process runs on."""
    blas = {f"{library['internal_api']} {library.get('architecture', '')}".strip() for library in blas_libraries()}
    return {
        "fastflow": __version__,
        **{name: version(name) for name in ("numpy", "numba", "scipy")},
        "BLAS": " and ".join(sorted(blas)) or "unknown",
        "CPU": f"{cpu_name()} with {SHAPE.name}",
    }


def differences(makers: Iterable[Node], here: Node) -> str:
    """In words, what kinds of nodes there are among some beside this one, empty where there are none."""
    return "; and by ".join(dict.fromkeys(other for maker in makers if (other := difference(maker, here))))


def difference(there: Node, here: Node) -> str:
    """In words what of one kind of node is other than of another, empty where nothing is; it may be a stranger's."""
    return ", ".join(
        f"{shown(name)} {shown(what)} (not {shown(here[name])})".replace("'", "")
        for name, what in there.items()
        if name in here and here[name] != what
    )
