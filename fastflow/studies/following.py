"""What moves along with the axes of a study: fields whose values belong to those of axes, and are no axes themselves.

A study's table has them beside its axes: ``{"n": {"of": ["m"], "values": [64, 128]}}``, the values in the order of the
cells of the axes that they belong to. How they were computed is not kept: cells are known by values alone.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastflow.checks import shown
from fastflow.ensembles.custom import importable
from fastflow.equality import by_value
from fastflow.studies.errors import StoreError

Table = Mapping[str, Any]
"""A table of numbers, strings, lists and tables."""

FOLLOWING = "following"
"""Where a study's table has what moves along."""


@by_value(hashable=False)
@dataclasses.dataclass(frozen=True, eq=False)
class Follows:
    """Values that belong to those of axes.

    Parameters
    ----------
    of : names of the axes
    values : nested sequences over these axes, or flat ones, in the order of their cells
    """

    of: tuple[str, ...]
    values: Sequence[object]


def together(axes: Mapping[str, object] | None = None, /, **named: object) -> dict[str, object]:
    """Axes that move together: the first is the axis of the result, the others have their value in each place of it.

    Parameters
    ----------
    axes : dict, name: values, for names that are no words of Python, such as ``{"init.scale": [1e-2, 1e-4]}``
    **named : name=values
        As many values as the first has, which must be different ones there alone. Instead of values a function of the
        first, at the top level of a module.

    Returns
    -------
    dict
        For the ``axes`` of `fastflow.Study`, alone or with others: ``axes={**together(...), "sparsity": [2, 4]}``.

    Raises
    ------
    ValueError, TypeError
        for fewer than two, and for numbers of values that differ

    Examples
    --------
    >>> axes = fastflow.together(m=[20, 40, 80], n=[50, 100, 200])
    >>> study = fastflow.Study(fastflow.ensembles.Sparse(n=50, sparsity=4), axes=axes, trials=10)
    >>> study.cells
    3
    """
    given = {**(axes or {}), **named}
    if len(given) < 2:
        raise ValueError("together needs two or more axes, name=values, such as together(m=[20, 40], n=[50, 100])")
    first, *others = given
    lead = _sequence(first, given[first])
    found: dict[str, object] = {first: given[first]}
    for name in others:
        values = given[name]
        if callable(values):
            values = [called(name, values, [first], [value]) for value in lead]
        belonging = _sequence(name, values)
        if len(belonging) != len(lead):
            raise ValueError(f"together: {first!r} has {len(lead)} values and {name!r} has {len(belonging)}")
        found[name] = Follows((first,), belonging)
    return found


def _sequence(name: str, values: object) -> list[object]:
    """The values of one of what moves together."""
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"together: {name!r} must be a sequence of values, or a function, got {shown(values)}")
    return list(values)


def called(name: str, function: Callable[..., object], of: Sequence[str], values: Sequence[object]) -> object:
    """What a function gives for values of axes.

    Raises
    ------
    TypeError
        for a lambda and the like, which another process, or who reads the study later, could not import
    ValueError
        where the function raises, with the values
    """
    try:
        importable(function)
    except TypeError as error:
        raise TypeError(
            f"axis {name!r}: {error}. Name it, so that a TOML file can, and a reader sees where values come from, or "
            "give the values themselves, with together(...)"
        ) from None
    try:
        return function(*values)
    except Exception as error:
        where = ", ".join(f"{axis} = {shown(value)}" for axis, value in zip(of, values, strict=True))
        raise ValueError(f"axis {name!r}: its function raised at {where}: {type(error).__name__}: {error}") from error


def leaders(name: str, function: Callable[..., object], axes: Sequence[str]) -> tuple[str, ...]:
    """The axes that the parameters of a function name.

    Raises
    ------
    TypeError, ValueError
        for what is no function of axes alone
    """
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        raise TypeError(f"axis {name!r}: {shown(function)} does not say what it is a function of") from None
    found = []
    for parameter in parameters:
        fitting = [axis for axis in axes if parameter in (axis, axis.rpartition(".")[2])]
        if len(fitting) != 1:
            raise ValueError(
                f"axis {name!r}: the parameter {parameter!r} of its function must name one axis with values of its "
                f"own, one of {', '.join(axes) or 'none'}"
            )
        found += fitting
    if not found:
        raise ValueError(f"axis {name!r}: its function must have parameters, which name the axes that it follows")
    return tuple(found)


def _shape(table: Table, of: Sequence[str], without: str = "") -> tuple[int, ...]:
    """How many values these axes have."""
    return tuple(len(table["axes"][name]) for name in of if name != without)


def values_at(table: Table, follower: Table) -> np.ndarray[Any, Any]:
    """The values of what moves along, an array of objects over the axes that it belongs to."""
    array = np.empty(math.prod(_shape(table, follower["of"])), object)
    array[:] = follower["values"]
    return array.reshape(_shape(table, follower["of"]))


def narrowed(table: Table, axis: str, places: Sequence[int]) -> dict[str, Any]:
    """What moves along in the part of a study at some places of an axis."""
    found = {}
    for name, follower in table.get(FOLLOWING, {}).items():
        values = values_at(table, follower)
        if axis in follower["of"]:
            values = np.take(values, places, axis=follower["of"].index(axis))
        found[name] = {**follower, "values": values.ravel().tolist()}
    return found


def restricted(table: Table, axis: str, place: int) -> tuple[dict[str, Any], dict[str, object]]:
    """What still moves along at one place of an axis, and what no longer does, with its value there."""
    left, fixed = {}, {}
    for name, follower in table.get(FOLLOWING, {}).items():
        if axis not in follower["of"]:
            left[name] = follower
            continue
        values = np.take(values_at(table, follower), place, axis=follower["of"].index(axis))
        of = [one for one in follower["of"] if one != axis]
        if of:
            left[name] = {**follower, "of": of, "values": values.ravel().tolist()}
        else:
            fixed[name] = values[()] if isinstance(values, np.ndarray) else values
    return left, fixed


def coordinates(table: Table) -> dict[str, tuple[tuple[str, ...], np.ndarray[Any, Any]]]:
    """What moves along, as coordinates: the names of the axes that each belongs to, and an array over these."""
    return {
        name: (tuple(follower["of"]), np.array(values_at(table, follower).tolist()))
        for name, follower in table.get(FOLLOWING, {}).items()
    }


Cell = tuple[tuple[type, object], ...]
"""Values of axes, each with its type: 1 and 1.0 are different ones."""


def by_cells(table: Table, follower: Table) -> dict[Cell, object]:
    """The values of what moves along by those of the axes that it belongs to."""
    values = values_at(table, follower)
    axes = [list(table["axes"][name]) for name in follower["of"]]
    cells = (
        tuple((type(axis[i]), axis[i]) for axis, i in zip(axes, at, strict=True)) for at in np.ndindex(*values.shape)
    )
    return dict(zip(cells, follower["values"], strict=True))


def _where(follower: Table, cell: Cell) -> str:
    return ", ".join(f"{axis} = {value!r}" for axis, (_, value) in zip(follower["of"], cell, strict=True))


def conflict(old: Table, new: Table) -> str | None:
    """In words, why what moves along in two studies cannot be one thing; None if it can."""
    ours, theirs = old.get(FOLLOWING, {}), new.get(FOLLOWING, {})
    if list(ours) != list(theirs):
        return (
            f"what follows the axes is {', '.join(ours) or 'nothing'} there and {', '.join(theirs) or 'nothing'} here"
        )
    for name, follower in ours.items():
        if list(follower["of"]) != list(theirs[name]["of"]):
            return f"{name} follows {', '.join(follower['of'])} there and {', '.join(theirs[name]['of'])} here"
        others = by_cells(new, theirs[name])
        for key, value in by_cells(old, follower).items():
            other = others.get(key, value)
            if type(other) is not type(value) or other != value:
                return f"{name} at {_where(follower, key)} is {value!r} there and {other!r} here"
    return None


def union(first: Table, second: Table, axes: Table) -> dict[str, Any]:
    """What moves along in the study of all values of two that do not conflict.

    Raises
    ------
    StoreError
        where neither has a value for a cell of both together
    """
    found = {}
    for name, follower in first.get(FOLLOWING, {}).items():
        known = {**by_cells(second, second[FOLLOWING][name]), **by_cells(first, follower)}
        count = math.prod(len(axes[one]) for one in follower["of"])
        keys = list(by_cells({"axes": axes}, {**follower, "values": [None] * count}))
        missing = next((key for key in keys if key not in known), None)
        if missing is not None:
            where = _where(follower, missing)
            raise StoreError(f"no store says which {name} belongs to {where}: merge those that have these cells, too")
        found[name] = {**follower, "values": [known[key] for key in keys]}
    return found
