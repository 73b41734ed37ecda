"""Specifications: a study and its words as plain tables of numbers and strings, for stores and for TOML files.

An object is a table of its fields under a ``kind``, its class: ``{"kind": "Constant", "scale": 1e-6}``. A multiple of
`theory.edge` is the string "0.5 edge", which stands for it wherever a step does.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastflow.baselines import BASELINES
from fastflow.baselines.base import Solver
from fastflow.checks import meant, printable, shown
from fastflow.each import Each
from fastflow.ensembles import ENSEMBLES, Custom
from fastflow.ensembles.base import digest
from fastflow.ensembles.custom import title_of
from fastflow.inits import INITS
from fastflow.methods import METHODS
from fastflow.networks import ARCHITECTURES
from fastflow.studies import following
from fastflow.studies.asked import Event, Named, Outcome, as_label
from fastflow.studies.following import FOLLOWING, Follows
from fastflow.studies.outcomes import Field, as_field, fields_with
from fastflow.studies.success import Success
from fastflow.theory import Edge

WORDS = ("ensemble", "network", "init", "method")
"""What a study is made of."""

KEPT_ENTRIES = 10_000
"""Longer arrays are kept by their digest alone."""

Table = Mapping[str, Any]
"""A table of numbers, strings, lists and tables, as JSON and TOML have it."""

_PARTS = tuple(dict.fromkeys(part for method in METHODS for part in method.parts))

KINDS_OF: dict[str, dict[str, type]] = {
    word: {cls.__name__: cls for cls in classes}
    for word, classes in {
        "ensemble": ENSEMBLES,
        "network": tuple(ARCHITECTURES),
        "init": INITS,
        "method": (*METHODS, *BASELINES),
        "": (*_PARTS, Success, Event),
    }.items()
}
"""The classes of each word, by the names that tables have for them; under "" those of what stands within a word."""

KINDS: dict[str, type] = {name: cls for kinds in KINDS_OF.values() for name, cls in kinds.items()}


def describe(thing: object) -> Any:
    """An object as a table, and what it holds likewise.

    Raises
    ------
    TypeError
        for what is neither a number, a string, an array, a dataclass, nor a user's baseline
    """
    if isinstance(thing, np.generic):
        return describe(thing.item())
    if thing is None or isinstance(thing, bool | int | str):
        return thing
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else {"float": repr(thing)}
    if isinstance(thing, np.ndarray):
        if thing.size > KEPT_ENTRIES:
            return {"array": digest(thing), "shape": list(thing.shape)}
        return describe(thing.tolist())
    if isinstance(thing, list | tuple):
        return [describe(item) for item in thing]
    if isinstance(thing, Mapping):
        return {str(name): describe(value) for name, value in thing.items()}
    if isinstance(thing, Custom):
        fields = {"function": thing.title, "version": thing.version, "parameters": describe(thing.parameters)}
        test = {} if thing.test is None else {"test": title_of(thing.test)}
        return {"kind": "Custom", **fields, **test}
    if isinstance(thing, Edge):
        return str(thing)
    if isinstance(thing, Each):
        raise TypeError(f"{thing} is for the runs of one call of train: in a study its values are an axis")
    if isinstance(thing, Named):
        return thing.name
    if isinstance(thing, Outcome):
        shape = None if thing.shape is None else list(thing.shape)
        what = {"function": thing.title, "version": thing.version, "shape": shape, "dtype": thing.dtype}
        when = {"history": list(thing.history), "steps": describe(thing.steps), "spacing": thing.spacing}
        return {"kind": "Outcome", **what, **(when if thing.history else {})}
    if isinstance(thing, Success):
        return _describe_success(thing)
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        cls = type(thing)
        kind = cls.__name__ if KINDS.get(cls.__name__) is cls else f"{cls.__module__}:{cls.__qualname__}"
        return {"kind": kind, **{f.name: describe(getattr(thing, f.name)) for f in dataclasses.fields(cls) if f.init}}
    if isinstance(thing, Solver) and not isinstance(thing, type):  # a user's own baseline, of whatever class
        own, held = type(thing), getattr(thing, "__dict__", {})
        return {"kind": f"{own.__module__}:{own.__qualname__}", **{name: describe(held[name]) for name in held}}
    raise TypeError(f"a study is made of dataclasses, numbers, strings and arrays, got {shown(thing)}")


def _describe_success(success: Success) -> dict[str, Any]:
    if success.is_function:
        return {"kind": "Success", "function": success.title, "version": success.version}
    bounds = {"below": success.below, "at_least": success.at_least}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    return {"kind": "Success", "quantity": success.title, **given}


def as_table(where: str, value: object) -> Table:
    """A table, which names have that are strings.

    Raises
    ------
    TypeError
        for what is none
    """
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"{where} must be a table, name: value, got {shown(value)}")
    return value


def foreign_names(table: object) -> Iterator[str]:
    """The names of functions and classes in a table, ``module:name``, whose import would run code that is not ours.

    Those of modules of the user's own that are imported already are none: he has run them himself.
    """
    if isinstance(table, Mapping):
        for key, value in table.items():
            if key in ("kind", "function", "test") and isinstance(value, str) and ":" in value and not _is_own(value):
                yield value
            yield from foreign_names(value)
    elif isinstance(table, list | tuple):
        for item in table:
            yield from foreign_names(item)


def _is_own(name: str) -> bool:
    """Whether a name is of what the user defined in a module that he has imported, which is none of a package."""
    module, _, path = name.partition(":")
    found: object = sys.modules.get(module)
    file = getattr(found, "__file__", None)
    for part in path.split("."):
        found = getattr(found, part, None)
    if getattr(found, "__module__", None) != module:  # what the module has imported itself, such as os.system
        return False
    if module == "__main__":
        return True
    if file is None or module.partition(".")[0] == __name__.partition(".")[0]:
        return False
    installed = {sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not any(Path(file).resolve().is_relative_to(Path(folder).resolve()) for folder in installed)


def build(table: object, where: str = "the study") -> Any:
    """The object that a table describes, whose names of functions and classes are trusted.

    Raises
    ------
    ValueError, TypeError
        for kinds and fields that there are not, in words that name the place
    """
    if isinstance(table, list | tuple):
        return [build(item, where) for item in table]
    if not isinstance(table, Mapping):
        return table
    as_table(where, table)
    if set(table) == {"float"}:
        return _as_float(table["float"], where)
    if set(table) == {"array", "shape"}:
        raise ValueError(f"{where}: an array of shape {table['shape']} was kept by its digest alone; give it anew")
    if "kind" not in table:
        raise ValueError(f"{where} needs a kind, one of {_names(where)}")
    kind, fields = table["kind"], {name: value for name, value in table.items() if name != "kind"}
    if kind == "Custom":
        if not {"function", "version"} <= set(fields):
            raise ValueError(f"{where}: a Custom ensemble needs a function, 'module:name', and a version")
        function = _imported(fields.pop("function"), where)
        parameters = as_table(f"{where}.parameters", fields.pop("parameters", {}))
        if ":" in str(fields.get("test", "")):
            fields["test"] = _imported(fields["test"], where)
        return Custom(function, fields.pop("version"), **{**parameters, **fields})
    cls = Outcome if kind == Outcome.__name__ else KINDS.get(kind) if isinstance(kind, str) else None
    if cls in (Outcome, Success) and "function" in fields:
        function = _imported(fields.pop("function"), where)
        fields = {("function" if cls is Outcome else "quantity"): function, **fields}
    if cls is None and isinstance(kind, str) and ":" in kind:
        cls = _imported(kind, where)
    if cls is None:
        raise ValueError(f"{where}: kind must be one of {_names(where)}, got {shown(kind)}{meant(kind, KINDS)}")
    known = (
        [field.name for field in dataclasses.fields(cls) if field.init]
        if dataclasses.is_dataclass(cls)
        else (list(inspect.signature(cls).parameters))
    )
    for name in fields:
        if name not in known:
            has = f"{', '.join(known) or 'no fields'}{meant(name, known)}"
            raise ValueError(f"{where}: {kind} has no {name!r}; it has {has}")
    missing = [name for name, parameter in inspect.signature(cls).parameters.items() if _is_needed(parameter)]
    missing = [name for name in missing if name not in fields]
    if missing:
        raise ValueError(f"{where}: {kind} needs {' and '.join(missing)}, some value also where axes replace it")
    try:
        return cls(**{name: build(value, f"{where}.{printable(name)}") for name, value in fields.items()})
    except (ValueError, TypeError) as error:
        raise type(error)(f"{where}: {error}") from error


def _is_needed(parameter: inspect.Parameter) -> bool:
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in several


def build_follower(name: str, table: object) -> Any:
    """What moves along with axes, by a table: ``of`` and ``values``, or a ``function``, whose name is trusted.

    Raises
    ------
    ValueError, TypeError
        for what is neither
    """
    fields = as_table(f"axes.{name}", table)
    if set(fields) == {"function"}:
        function = _imported(fields["function"], f"axes.{name}")
        if not callable(function):
            raise TypeError(f"axes.{name}: {fields['function']!r} is no function")
        return function
    if set(fields) != {"of", "values"} or not isinstance(fields["values"], list | tuple):
        raise ValueError(
            f"axes.{name}: what follows axes has of, their names, and values, a list, or function = 'module:name' "
            f"alone, got {shown(dict(fields))}"
        )
    of = [fields["of"]] if isinstance(fields["of"], str) else fields["of"]
    if not isinstance(of, list | tuple) or not all(isinstance(one, str) for one in of):
        raise TypeError(f"axes.{name}: of must be the name of an axis, or a list of them, got {shown(of)}")
    return Follows(tuple(of), build(fields["values"], f"axes.{name}"))


def success_of(table: Table) -> Success:
    """The success that a study's table has, of which nothing is imported.

    Raises
    ------
    ValueError, TypeError
        for what is none
    """
    fields = {name: value for name, value in as_table("success", table["success"]).items() if name != "kind"}
    kind = table["success"].get("kind", "Success")
    known = {"function", "version"} if "function" in fields else {"quantity", "below", "at_least"}
    if kind != "Success" or not set(fields) <= known or not isinstance(fields.get("function", ":"), str):
        raise ValueError(f"success must be a Success, got {shown(dict(fields))}")
    if "function" in fields:
        if ":" not in fields["function"]:
            raise ValueError(f"success: expected a name such as 'module:name', got {shown(fields['function'])}")
        if not set(foreign_names(fields)):  # of a module of the user's own, which he has imported
            fields["function"] = _imported(fields["function"], "success")
        return Success(fields["function"], version=fields.get("version"))
    return Success(**fields)


def fields_of(table: Table) -> dict[str, Field]:
    """What the trials of a study's table have, as far as that is stated; nothing of it is imported.

    Raises
    ------
    ValueError, TypeError
        for outcomes that there are not
    """
    found = {name: _field_of(name, one) for name, one in asked_of(table).items()}
    return fields_with({name: field for name, field in found.items() if field is not None})


def asked_of(table: Table) -> Table:
    """The outcomes that a study's table asks for, by their labels.

    Raises
    ------
    ValueError, TypeError
        for labels that are none
    """
    asked = as_table("outcomes", table.get("outcomes", {}))
    for label in asked:
        if as_label(label) in table["axes"]:
            raise ValueError(f"the outcome {label!r} has the name of an axis: give it another, label: outcome")
    return asked


def _field_of(label: str, one: object) -> Field | None:
    """What an outcome is of one trial, None where that is not stated."""
    if isinstance(one, str):
        return Named(one).field
    fields = as_table(f"outcomes.{label}", one)
    if fields.get("kind") == Event.__name__:
        return as_field()
    if fields.get("kind") != Outcome.__name__ or not isinstance(fields.get("function"), str):
        raise ValueError(f"outcomes.{label} must be a name, an Event or an Outcome, got {shown(dict(fields))}")
    dtype, shape = fields.get("dtype"), fields.get("shape")
    return None if dtype is None or shape is None else as_field(dtype, shape)


def meaning_of(table: Table, label: str) -> str:
    """What an outcome is, in words."""
    one = asked_of(table)[label]
    if isinstance(one, str):
        return Named(one).meaning
    return ", ".join(f"{name} = {value}" for name, value in one.items() if name != "kind" and value is not None)


def _as_float(text: object, where: str) -> float:
    """A float that is kept as its repr, since JSON has none that is not finite."""
    try:
        return float(str(text))
    except ValueError:
        raise ValueError(f"{where}: float must be one in words, such as 'inf', got {shown(text)}") from None


def _names(where: str) -> str:
    """The kinds that may stand at a place of a study's table."""
    first, *rest = where.split(".")
    word = rest[0] if first == "axes" and len(rest) == 2 else first if not rest else ""
    return ", ".join(sorted(KINDS_OF.get(word, KINDS)) + ["Custom"] * (word == "ensemble"))


def restricted(table: Table, axis: str, value: object) -> dict[str, Any]:
    """The table of the part of a study at one value, or label, of an axis."""
    left, fixed = following.restricted(table, axis, list(table["axes"][axis]).index(value))
    found = _with_value(_following_as(table, left), axis, value)
    for name, own in fixed.items():
        found = _with_value(found, name, own)
    return found


def _following_as(table: Table, left: Table) -> dict[str, Any]:
    """The table with this, or nothing, that moves along."""
    found = {name: value for name, value in table.items() if name != FOLLOWING}
    return {**found, FOLLOWING: left} if left else found


def _with_value(table: Table, axis: str, value: object) -> dict[str, Any]:
    """The table with one value of a field, or one of the whole objects of an axis, instead of an axis of them."""
    axes = {name: values for name, values in table["axes"].items() if name != axis}
    if isinstance(table["axes"].get(axis), Mapping):
        return {**table, axis: table["axes"][axis][value], "axes": axes}
    field, word = axis.rpartition(".")[2], word_of(table, axis)
    objects = {"": table[word]} if word in table else axes[word]
    changed = {label: _with(one, field, value) for label, one in objects.items()}
    if word in axes:
        axes[word] = changed
        return {**table, "axes": axes}
    return {**table, word: changed[""], "axes": axes}


def word_of(table: Table, axis: str) -> str:
    """The word whose field an axis, or what follows one, is; a name that nothing else has is a function's parameter."""
    word, _, field = axis.rpartition(".")
    if word or axis in WORDS:
        return word or axis
    axes = table["axes"]
    objects = {
        name: axes[name] if name in axes else {"": table[name]} for name in WORDS if name in axes or name in table
    }
    return next((name for name in objects if any(field in one for one in objects[name].values())), "ensemble")


def narrowed(table: Table, axis: str, chosen: Sequence[object]) -> dict[str, Any]:
    """The table of the part of a study at some values, or labels, of an axis, in their order."""
    values = table["axes"][axis]
    places = [list(values).index(value) for value in chosen]
    left = {label: values[label] for label in chosen} if isinstance(values, Mapping) else list(chosen)
    along = following.narrowed(table, axis, places)
    return {**_following_as(table, along), "axes": {**table["axes"], axis: left}}


def _with(table: Table, field: str, value: object) -> Table:
    if table["kind"] == "Custom":
        return {**table, "parameters": {**table["parameters"], field: describe(value)}}
    return {**table, field: describe(value)}


def _imported(name: object, where: str) -> Any:
    if not isinstance(name, str) or ":" not in name:
        raise ValueError(f"{where}: expected a name such as 'module:name', got {shown(name)}")
    module, _, path = name.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{where}: {name!r} cannot be imported: {error}") from error
    return found


def differences(first: object, second: object, place: str = "") -> Iterator[tuple[str, object, object]]:
    """Where two tables differ, and what each has there."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in dict.fromkeys((*first, *second)):
            yield from differences(first.get(name), second.get(name), f"{place}.{name}".lstrip("."))
    elif type(first) is not type(second) or first != second:
        yield place, first, second
