"""What a picture of a study states of the parameters that are no axes, and which theory belongs into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastflow.studies.spec import KINDS

STATED = {
    "method": ("kind",),
    "ensemble": ("n", "columns", "m", "sparsity", "delta", "rho", "rank", "samples", "noise"),
    "network": ("depth",),
    "init": ("scale",),
}
"""The parameters of each word without which a picture cannot be read."""

DECISIVE = {"network", "noise", "matrix", "observed", "signed", "nonnegative"}
"""Axes along which the convex program is not always the same, or its theory does not always hold."""


def setting_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """What a picture should state: sizes, noise, depth, start, method."""
    axes = {name.rpartition(".")[2] for name in table["axes"]}
    stated: dict[str, Any] = {}
    baseline = hasattr(KINDS.get(table.get("method", {}).get("kind")), "solve")
    for word, fields in STATED.items():
        if baseline and word in ("network", "init"):
            continue
        given = table.get(word)
        if word not in table["axes"] and given is not None:
            values = {"kind": given["kind"], **_fields(given)}
            stated |= {name: values[name] for name in fields if values.get(name)}
    return {name: value for name, value in stated.items() if name not in axes}


def parameters_of(table: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the ensemble that are no axes."""
    ensemble = table.get("ensemble", {})
    return {name: value for name, value in _fields(ensemble).items() if isinstance(value, int | float)}


def program_of(table: Mapping[str, Any]) -> str | None:
    """The convex program whose statistical dimension belongs into the picture: "l1", "nuclear", ... or None."""
    ensemble, method = table.get("ensemble", {}), table.get("method", {})
    axes = {name.rpartition(".")[2] for name in table["axes"]}
    if axes & DECISIVE or ensemble.get("noise", 0) or method.get("weights") is not None:
        return None
    if ensemble.get("kind") == "LowRank":
        return "nuclear" if ensemble.get("observed") == "sensing" else None
    if ensemble.get("kind") == "Sparse" and ensemble.get("matrix") in ("gaussian", "rademacher", "dct"):
        signed = table.get("network", {}).get("signed", True)
        return "l1" if signed and not method.get("nonnegative") else "nonnegative l1"
    return None


def _fields(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters in the table of an object, those of a `Custom` ensemble's function too."""
    return table["parameters"] if table.get("kind") == "Custom" else table
