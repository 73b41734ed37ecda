"""Growth: outcomes of one study put into a larger one, and whether two are parts of one."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from fastflow.studies import following
from fastflow.studies.held import Held
from fastflow.studies.outcomes import Arrays, empty_outcomes, rows_of
from fastflow.studies.spec import Table, differences, fields_of

FREE = ("success", "trials", "axes", "outcomes", following.FOLLOWING)


def conflict(old: Table, new: Table) -> str | None:
    """In words, why outcomes of one study cannot stand in the other's; None if they can.

    Trials, values of axes, outcomes and success may differ, but not what one name stands for.
    """
    for name in dict.fromkeys((*old, *new)):
        if name not in FREE:
            for place, before, after in differences(old.get(name), new.get(name), name):
                return f"{place} is {before!r} there and {after!r} here"
    asked, others = old.get("outcomes", {}), new.get("outcomes", {})
    for name in asked:
        if name in others:
            for place, before, after in differences(asked[name], others[name], f"outcomes.{name}"):
                return f"{place} is {before!r} there and {after!r} here"
    if list(old["axes"]) != list(new["axes"]):
        return f"the axes are {', '.join(old['axes'])} there and {', '.join(new['axes'])} here"
    for name, values in old["axes"].items():
        others = new["axes"][name]
        if isinstance(values, Mapping) and isinstance(others, Mapping):
            for label in values:
                if label in others:
                    for place, before, after in differences(values[label], others[label], f"axes.{name}.{label}"):
                        return f"{place} is {before!r} there and {after!r} here"
    return following.conflict(old, new)


def lacking(old: Table, new: Table) -> str | None:
    """In words, what of one study the other has no place for; None if it has for all."""
    if old["trials"] > new["trials"]:
        return f"it has {old['trials']} trials, more than the {new['trials']} here"
    for name, values in old["axes"].items():
        missing = [value for value, place in zip(values, _places(values, new["axes"][name]), strict=True) if place < 0]
        if missing:
            return f"it has {name} = {missing[0]!r}, which is no value here"
    return None


def union(first: Table, second: Table) -> Table:
    """The table of the study of all values and trials of two; increasing values stay so.

    Raises
    ------
    StoreError
        where it is not known what moves along in a cell of both together
    """
    axes: dict[str, object] = {}
    for name, values in first["axes"].items():
        others = second["axes"][name]
        if isinstance(values, Mapping):
            axes[name] = {**values, **others}
            continue
        both = [*values, *(value for value, at in zip(others, _places(others, values), strict=True) if at < 0)]
        rising = all(list(one) == sorted(one) for one in (values, others) if not any(isinstance(v, str) for v in one))
        axes[name] = sorted(both) if rising and not any(isinstance(v, str) for v in both) else both
    along = following.union(first, second, axes)
    whole = {**first, "axes": axes, "trials": max(first["trials"], second["trials"])}
    return with_outcomes({**whole, following.FOLLOWING: along} if along else whole, second)


def with_outcomes(table: Table, other: Table) -> Table:
    """A table that asks for the outcomes of another one, too."""
    asked = {**table.get("outcomes", {}), **other.get("outcomes", {})}
    return {**table, "outcomes": asked} if asked else table


def shape_of(table: Table) -> tuple[int, ...]:
    """How many values each axis of a study has."""
    return tuple(len(values) for values in table["axes"].values())


def moved_cells(cells: NDArray[np.int64], old: Table, new: Table) -> NDArray[np.int64]:
    """Which cells of one study are cells of another, by their places in the flat arrays of all cells."""
    places = [np.array(_places(values, new["axes"][name])) for name, values in old["axes"].items()]
    at = np.unravel_index(cells, shape_of(old))
    return np.ravel_multi_index(tuple(place[i] for place, i in zip(places, at, strict=True)), shape_of(new))


def moved(arrays: Arrays, held: Held, old: Table, new: Table, wanted: Held) -> tuple[Arrays, Held]:
    """The outcomes of one study in the places that they have in another, and the cells that there are places for.

    Those are the ones that are wanted, and, where these are a share, those that there are outcomes of.
    """
    cells = moved_cells(held.all_cells, old, new)
    if wanted.cells is not None:
        wanted = Held(wanted.shape, None if held.cells is None else np.union1d(wanted.cells, cells))
    fields = fields_of(new)
    alike = _axes_of(old) == _axes_of(new) and old["trials"] == new["trials"] and held.count == wanted.count
    if alike and set(fields) == set(arrays):
        return arrays, held
    larger = empty_outcomes(wanted.array_shape(new["trials"]), fields)
    rows, into = np.searchsorted(wanted.all_cells, cells), rows_of(larger, wanted.count, new["trials"])
    for name, array in rows_of(arrays, held.count, old["trials"]).items():
        into[name][rows, : old["trials"]] = array
    return larger, wanted


def _axes_of(table: Table) -> list[list[object]]:
    return [list(values) for values in table["axes"].values()]


def _places(values: Collection[object], others: Collection[object]) -> list[int]:
    """Where each value stands among others, -1 if it does not; 1 and 1.0 are different values."""
    where = {(type(value), value): i for i, value in enumerate(others)}
    return [where.get((type(value), value), -1) for value in values]
