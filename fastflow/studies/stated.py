"""What a picture of a study states of the parameters that are no axes, and which theory belongs into it."""

from __future__ import annotations

from fastflow.baselines import Baseline
from fastflow.ensembles import Ensemble
from fastflow.inits import Constant
from fastflow.studies.following import FOLLOWING
from fastflow.studies.spec import KINDS, Table, word_of

STATED = {
    "method": ("kind",),
    "ensemble": ("n", "columns", "m", "sparsity", "delta", "rho", "rank", "samples", "noise"),
    "network": ("depth",),
    "init": ("scale",),
}
"""The parameters of each word without which a picture cannot be read."""

ALPHA_INIT = Constant
"""The start whose scale is alpha, if it is that of a factor."""

DECISIVE = {"network", "noise", "matrix", "observed", "signed", "nonnegative"}
"""Axes along which the convex program is not always the same, or its theory does not always hold."""


def setting_of(table: Table) -> dict[str, object]:
    """What a picture should state: sizes, noise, depth, start, method."""
    axes = _varied(table)
    stated: dict[str, object] = {}
    baseline = issubclass(_class_of(table.get("method", {})), Baseline)
    for word, fields in STATED.items():
        if baseline and word in ("network", "init"):
            continue
        given = table.get(word)
        if word not in table["axes"] and given is not None:
            values = {"kind": given["kind"], **_fields(given)}
            stated |= {name: values[name] for name in fields if values.get(name)}
    return {name: value for name, value in stated.items() if name not in axes}


def has_alpha(table: Table) -> bool:
    """Whether the scale of the starts is alpha, the entry of every factor, in all cells."""
    axes = _varied(table)
    init = table.get("init", {})
    return init.get("kind") == ALPHA_INIT.__name__ and init.get("of") == "factor" and "of" not in axes


def parameters_of(table: Table) -> dict[str, int | float]:
    """The numbers of the ensemble that are no axes."""
    fields, varied = _fields(table.get("ensemble", {})), _varied(table)
    return {name: value for name, value in fields.items() if isinstance(value, int | float) and name not in varied}


def program_of(table: Table) -> str | None:
    """The convex program whose statistical dimension belongs into the picture: "l1", "nuclear", ... or None.

    None, too, where parameters follow the axes: the curve of one is then no longer that of the others given.
    """
    ensemble, method = table.get("ensemble", {}), table.get("method", {})
    axes = _varied(table)
    drawn = _class_of(ensemble)
    if FOLLOWING in table or axes & DECISIVE or method.get("weights") is not None or not issubclass(drawn, Ensemble):
        return None
    program = drawn.program(ensemble)
    if program == "l1" and (method.get("nonnegative") or not table.get("network", {}).get("signed", True)):
        return "nonnegative l1"
    return program


def drawing_axes(table: Table) -> set[str]:
    """The axes along which trials draw different problems: those that a field of the ensemble is, or follows."""
    along = table.get(FOLLOWING, {})
    of = {name: {name} for name in table["axes"]} | {name: set(along[name]["of"]) for name in along}
    return {axis for name, axes in of.items() if word_of(table, name) == "ensemble" for axis in axes}


def _varied(table: Table) -> set[str]:
    """The fields that have several values: those of the axes, and what moves along with them."""
    return {name.rpartition(".")[2] for name in (*table["axes"], *table.get(FOLLOWING, {}))}


def _class_of(table: Table) -> type:
    """The class of the object in a table; `object` where it is a user's own."""
    return KINDS.get(table.get("kind", ""), object)


def _fields(table: Table) -> Table:
    """The parameters in the table of an object, those of a `Custom` ensemble's function too."""
    return table["parameters"] if table.get("kind") == "Custom" else table
