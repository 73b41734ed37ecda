"""Equality by value: words and results are equal where all that they hold is, arrays and NaN included."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import numpy as np

Class = TypeVar("Class", bound=type)

HASHED_ENTRIES = 16
"""Of an array so many entries are part of a hash."""


def by_value(*names: str, hashable: bool = True) -> Callable[[Class], Class]:
    """Decorate a class, the objects of which are equal if they are of one class and what they hold is the same.

    Parameters
    ----------
    *names : the attributes that count
        Without any those of the class that an object is of: the fields of a NamedTuple or a dataclass, else all that an
        object has.
    hashable : bool
        Whether objects never change, so that they may have a hash.
    """

    def held(thing: object) -> Iterable[object]:
        if names:
            return [getattr(thing, name) for name in names]
        if isinstance(thing, tuple):
            return thing
        if dataclasses.is_dataclass(thing):
            return [getattr(thing, field.name) for field in dataclasses.fields(thing) if field.compare]
        return [vars(thing)]

    def equal(self: object, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self is other or same(list(held(self)), list(held(other)))

    def unequal(self: object, other: object) -> bool:  # a tuple has one of its own
        return NotImplemented if type(other) is not type(self) else not equal(self, other)

    def hash_by_value(self: object) -> int:
        return hash((type(self), *map(_hash_of, held(self))))

    def decorate(cls: Class) -> Class:
        for name, function in {"__eq__": equal, "__ne__": unequal}.items():
            setattr(cls, name, function)
        cls.__hash__ = hash_by_value if hashable else None  # type: ignore[method-assign, assignment]
        return cls

    return decorate


def same(first: object, second: object) -> bool:
    """Whether two things are equal, of one type and in all that they hold; NaN is equal to NaN.

    Parameters
    ----------
    first, second : numbers, strings, arrays, or sequences and mappings of such
    """
    if first is second:
        return True
    if type(first) is not type(second):
        return False
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=first.dtype.kind in "fc")
    if type(first).__eq__ in (tuple.__eq__, list.__eq__):
        assert isinstance(first, tuple | list)
        assert isinstance(second, tuple | list)
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(same(value, second[name]) for name, value in first.items())
    if isinstance(first, float | np.floating) and isinstance(second, float | np.floating):
        return bool(first == second or (np.isnan(first) and np.isnan(second)))
    return bool(first == second)


def _hash_of(thing: object) -> int:
    """A hash that is the same for what is the `same`."""
    if isinstance(thing, np.ndarray):
        return hash((thing.shape, thing.dtype.str, _hash_of(thing.flat[:HASHED_ENTRIES].tolist())))
    if isinstance(thing, list) or type(thing).__hash__ is tuple.__hash__:
        assert isinstance(thing, tuple | list)
        return hash(tuple(map(_hash_of, thing)))
    if isinstance(thing, Mapping):
        return hash(frozenset((name, _hash_of(value)) for name, value in thing.items()))
    return 0 if thing != thing else hash(thing)
