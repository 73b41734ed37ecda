"""Axes: which field of which word of a study takes which values."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import numpy as np

from fastflow.checks import as_count, as_number, meant, shown
from fastflow.ensembles import Ensemble
from fastflow.equality import by_value
from fastflow.studies.asked import TAKEN
from fastflow.studies.following import Follows, called, leaders
from fastflow.studies.spec import WORDS, Table
from fastflow.theory import Edge

MOST_AXES = 4

MOST_VALUES = 100_000
"""Of one axis."""

Value = int | float | str | bool


@by_value()
@dataclasses.dataclass(frozen=True, eq=False)
class Axis:
    """One axis of a study.

    Attributes
    ----------
    name : as the user wrote it
    values : what stands along it; of a whole word labels
    word : "ensemble", "network", "init" or "method"
    field : which of its fields; None where whole objects take turns
    objects : those, in the order of the labels
    """

    name: str
    values: tuple[Value, ...]
    word: str
    field: str | None
    objects: tuple[object, ...] = ()


@by_value()
class Follower(NamedTuple):
    """What moves along with axes.

    Attributes
    ----------
    axis : its name, word and field, and its values in the order of the cells of these axes
    of : their positions
    """

    axis: Axis
    of: tuple[int, ...]


def applied(thing: object, chosen: Sequence[tuple[Axis, int]]) -> object:
    """The object with other values of some fields.

    Parameters
    ----------
    thing : object
    chosen : axes of its fields, and a position on each

    Raises
    ------
    ValueError, TypeError
        for values that the object does not take, with the axes
    """
    if not chosen:
        return thing
    try:
        return _replaced(thing, chosen)
    except (ValueError, TypeError) as error:
        for axis, position in chosen:
            try:
                _replaced(thing, [(axis, position)])
            except (ValueError, TypeError) as alone:
                raise type(alone)(f"axis {axis.name!r} at {shown(axis.values[position])}: {alone}") from error
        where = ", ".join(f"{axis.name} = {shown(axis.values[position])}" for axis, position in chosen)
        raise type(error)(f"{where}: {error}") from error


def _replaced(thing: object, chosen: Sequence[tuple[Axis, int]]) -> object:
    changes = {axis.field: axis.values[position] for axis, position in chosen if axis.field is not None}
    if isinstance(thing, Ensemble):
        return thing.replaced(**changes)
    assert dataclasses.is_dataclass(thing)
    assert not isinstance(thing, type)
    return dataclasses.replace(thing, **changes)


def fields_of(thing: object) -> tuple[str, ...]:
    """What of an object may be an axis."""
    if isinstance(thing, Ensemble):
        return thing.names
    if dataclasses.is_dataclass(thing):
        return tuple(field.name for field in dataclasses.fields(thing) if field.init)
    return ()


def parse_axes(
    axes: Mapping[str, object], words: Mapping[str, object]
) -> tuple[tuple[Axis, ...], tuple[Follower, ...]]:
    """The axes that a user asks for, where ``words`` are the objects of the study, and what moves along with them.

    Raises
    ------
    ValueError, TypeError
        for names that no word or several words have, for values that are none or the same twice
    """
    if not isinstance(axes, Mapping):
        raise ValueError(f"axes must be a dict of one to four axes, name: values, got {shown(axes)}")
    along = {name: values for name, values in axes.items() if isinstance(values, Follows) or _is_function(values)}
    leading = {name: values for name, values in axes.items() if name not in along}
    if not 1 <= len(leading) <= MOST_AXES:
        raise ValueError(f"axes must be a dict of one to four axes, name: values, got {shown(axes)}")
    for name in axes:
        if name in TAKEN:
            raise ValueError(f"axis {name!r} would have the name of what a result keeps: write 'ensemble.{name}'")
        if name in along and name in WORDS:
            raise TypeError(f"axis {name!r} must be a dict, label: {name}; it follows no other axis")
    whole = {name: _whole(name, values, words) for name, values in leading.items() if name in WORDS}
    options = {word: whole[word].objects if word in whole else (thing,) for word, thing in words.items()}
    made = [whole[name] if name in whole else _of_field(name, values, options) for name, values in leading.items()]
    followers = [_follower(name, values, made, options) for name, values in along.items()]
    fields: dict[tuple[str, str | None], str] = {}
    for axis in (*made, *(follower.axis for follower in followers)):
        if axis.field is not None and fields.setdefault((axis.word, axis.field), axis.name) != axis.name:
            raise ValueError(f"{fields[axis.word, axis.field]!r} and {axis.name!r} are the same axis: leave one out")
    return tuple(made), tuple(followers)


def _is_function(values: object) -> bool:
    return callable(values) and not isinstance(values, type)


def _follower(name: str, given: object, axes: Sequence[Axis], options: Mapping[str, Sequence[object]]) -> Follower:
    """What moves along: by values, or by a function of axes, which is asked for every cell of these."""
    names = [axis.name for axis in axes]
    if isinstance(given, Follows):
        for one in given.of:
            if one not in names:
                raise ValueError(f"axis {name!r} follows {one!r}, which is no axis with values of its own")
        of = tuple(names.index(one) for one in given.of)
        values: list[object] = np.ravel(np.array(list(given.values), object)).tolist()
    else:
        assert callable(given)
        of = tuple(names.index(one) for one in leaders(name, given, names))
        places = itertools.product(*(axes[i].values for i in of))
        values = [called(name, given, [names[i] for i in of], place) for place in places]
    if len(set(of)) < len(of) or not of:
        raise ValueError(f"axis {name!r} must follow one or more axes, each once, got {[names[i] for i in of]}")
    count = math.prod(len(axes[i].values) for i in of)
    if len(values) != count:
        cells = " x ".join(f"{len(axes[i].values)} {axes[i].name}" for i in of)
        raise ValueError(f"axis {name!r} must have a value for each of {cells}, got {len(values)} values")
    axis = _of_field(name, (0,), options)
    return Follower(dataclasses.replace(axis, values=tuple(_as_value(name, value) for value in values)), of)


def _whole(name: str, values: object, words: Mapping[str, object]) -> Axis:
    """An axis of whole objects, by labels."""
    if not isinstance(values, Mapping) or not values or not all(isinstance(label, str) for label in values):
        raise TypeError(f"axis {name!r} must be a dict, label: {name}, got {shown(values)}")
    if words[name] is not None:
        raise ValueError(f"{name} is given and an axis, too: leave one of them out")
    return Axis(name, tuple(values), name, None, tuple(values.values()))


def _of_field(name: str, values: object, options: Mapping[str, Sequence[object]]) -> Axis:
    """An axis of values of a field."""
    word, _, field = name.rpartition(".")
    if word:
        if word not in WORDS:
            raise ValueError(f"axis {name!r}: before the dot stands one of {', '.join(WORDS)}")
        homes = [word]
    else:
        homes = [home for home in WORDS if any(field in fields_of(thing) for thing in options[home])]
        if len(homes) > 1:
            which = " or ".join(f"'{home}.{field}'" for home in homes)
            raise ValueError(f"axis {name!r} is a field of {' and of '.join(homes)}: write {which}")
    lacking = [t for home in homes for t in options[home] if field not in fields_of(t)]
    if not homes or lacking:
        known = {home: sorted({f for thing in options[home] for f in fields_of(thing)}) for home in homes or WORDS}
        names = "; ".join(f"{home}: {', '.join(fields) or 'none'}" for home, fields in known.items())
        whose = f" of {type(lacking[0]).__name__}" if lacking and lacking[0] is not None else ""
        near = meant(field, [one for fields in known.values() for one in fields])
        raise ValueError(f"axis {name!r} is no field{whose}; fields are: {names}{near}")
    return Axis(name, _values(name, values), homes[0], field)


def _values(name: str, values: object) -> tuple[Value, ...]:
    """Values as numbers and strings of Python, different ones."""
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence | np.ndarray | range):
        raise TypeError(f"axis {name!r} must be a sequence of values, got {shown(values)}")
    _check_length(name, len(values))
    plain = tuple(as_plain(value) for value in values)
    if not plain:
        raise ValueError(f"axis {name!r} has no values")
    found = tuple(_as_value(name, value) for value in plain)
    if len(set(map(_exact, found))) < len(found):
        twice = next(value for value in found if found.count(value) > 1)
        raise ValueError(f"axis {name!r} has the value {shown(twice)} twice")
    return found


def _as_value(name: str, given: object) -> Value:
    """A value as a number or string of Python."""
    value = as_plain(given)
    if not isinstance(value, int | float | str) or value != value:
        raise TypeError(
            f"axis {name!r} must have numbers or strings as values, got {shown(value)}; of whole objects an axis "
            "is 'ensemble', 'network', 'init' or 'method', a dict of them by label"
        )
    return value


def _check_length(name: str, count: float) -> None:
    """Before that many values are made."""
    if count > MOST_VALUES:
        raise ValueError(f"axis {name!r} has {count:.6g} values, more than the {MOST_VALUES} that an axis may have")


def as_plain(value: object) -> object:
    """A value as a number or a string, if it is one."""
    if isinstance(value, np.generic):
        return cast(object, value.item())
    return str(value) if isinstance(value, Edge) else value


def is_number(value: object) -> bool:
    """Whether a value of an axis is a number; truth values are labels."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _exact(value: Value) -> tuple[str, str]:
    """A key that two values share only if they are equal in type and bits."""
    return type(value).__name__, value.hex() if isinstance(value, float) else repr(value)


def spread_values(name: str, table: Table) -> list[int | float]:
    """Values from one to another: ``{from, to, step}`` or ``{from, to, count, log}``."""
    what = f"axis {name!r}"
    if not {"from", "to"} <= set(table) <= {"from", "to", "step", "count", "log"} or {"step", "count"} <= set(table):
        raise ValueError(f"{what}: a table has from, to, and step or count (and log), got {shown(dict(table))}")
    first, last = table["from"], table["to"]
    for key in ("from", "to"):
        as_number(f"{what}: {key}", table[key])
    if "step" in table:
        step = table["step"]
        if as_number(f"{what}: step", step) == 0 or (last - first) * step < 0:
            raise ValueError(f"{what}: no steps of {step:g} lead from {first:g} to {last:g}")
        steps = (float(last) - float(first)) / step + 1e-9
        _check_length(name, steps + 1)
        return [first + i * step for i in range(math.floor(steps) + 1)]
    count = as_count(f"{what}: count", table.get("count", 2), 1)
    _check_length(name, count)
    log = table.get("log", False)
    if not isinstance(log, bool):
        raise TypeError(f"{what}: log must be true or false, got {shown(log)}")
    if log and not (first > 0 and last > 0):
        raise ValueError(f"{what}: with log from and to must be greater than 0, got {first:g} and {last:g}")
    values = np.geomspace(first, last, count) if log else np.linspace(first, last, count)
    whole = all(isinstance(end, int) for end in (first, last)) and not log
    return sorted({round(value) for value in values.tolist()}) if whole else values.tolist()
