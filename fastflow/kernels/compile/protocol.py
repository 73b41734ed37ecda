"""Protocols: functions of compiled code that are explained once, and implemented for each class where it is at home.

::

    @protocol
    def forward(group, at, widths):
        'The products of all members.'

    @implements(forward, ChainGroup, inline=True)
    def _forward(group, at, widths): ...

Compiled code that calls ``forward`` gets the implementation for the class of the first argument: of a NamedTuple its
own class, of anything else the class of its Numba type (`numba.types.Array`, `numba.types.Float`). Where there is none
for the class itself, its bases are asked. An implementation takes the arguments by the names that they have in the
protocol, and belongs to the kernels that call it: it is compiled with them, or, with ``inline``, becomes part of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CodeType
from typing import NamedTuple, TypeVar

from numba import types

from fastflow.kernels.compile.compiler import NothingAlone
from fastflow.kernels.compile.jit import OPTIONS
from fastflow.kernels.compile.overloads import overload

Function = TypeVar("Function", bound=Callable[..., object])
Choice = TypeVar("Choice", bound=Callable[..., Callable[..., object] | None])


class Implementation(NamedTuple):
    """What a protocol does for a class: ``choose`` takes Numba's types of the arguments and returns a function."""

    choose: Callable[..., Callable[..., object] | None]
    inline: bool


_IMPLEMENTATIONS: dict[Callable[..., object], dict[type, Implementation]] = {}


def protocol(function: Function) -> Function:
    """Make a function, of which the signature and the docstring count, a protocol without implementations."""

    @functools.wraps(function)
    def refuse(*arguments: object) -> object:
        raise TypeError(f"{function.__name__} is for compiled code")

    _IMPLEMENTATIONS[refuse] = {}
    return refuse  # type: ignore[return-value]


def _offer(function: Callable[..., object], inline: bool) -> None:
    """Tell Numba of the implementations of a protocol that are inlined, or of those that are not."""
    options = OPTIONS | ({"pipeline_class": NothingAlone} if inline else {"no_cpython_wrapper": True})

    @functools.wraps(function)
    def choose(*arguments: types.Type) -> Callable[..., object] | None:
        found = _find(function, _class_of(arguments[0]))
        return found.choose(*arguments) if found is not None and found.inline == inline else None

    overload(function, choose, inline, options)


def _parameters(function: Callable[..., object]) -> tuple[str, ...]:
    """The names of a function's arguments; `inspect.signature` would take a tenth of the time that importing does."""
    plain = getattr(function, "py_func", getattr(function, "__wrapped__", function))
    code: CodeType = plain.__code__
    return code.co_varnames[: code.co_argcount]


def implements(function: Callable[..., object], *classes: type, inline: bool = False) -> Callable[[Function], Function]:
    """Decorate what a protocol does where its first argument is of one of these classes; the last one told counts."""

    def register(implementation: Function) -> Function:
        names, wanted = _parameters(implementation), _parameters(function)
        if names != wanted:
            raise TypeError(f"{function.__name__} takes {list(wanted)}, and the implementation {list(names)}")
        chooses(function, *classes, inline=inline)(lambda *arguments: implementation)
        return implementation

    return register


def chooses(function: Callable[..., object], *classes: type, inline: bool = False) -> Callable[[Choice], Choice]:
    """As `implements`, for a function that takes Numba's types of the arguments and returns the implementation."""

    def register(choose: Choice) -> Choice:
        known = _IMPLEMENTATIONS[function]
        if not any(told.inline == inline for told in known.values()):
            _offer(function, inline)
        for each in classes:
            known[each] = Implementation(choose, inline)
        return choose

    return register


def is_implemented(function: Callable[..., object], of: type) -> bool:
    """Whether a protocol has an implementation for a class or one of its bases."""
    return _find(function, of) is not None


def _find(function: Callable[..., object], of: type) -> Implementation | None:
    known = _IMPLEMENTATIONS[function]
    return next((known[each] for each in of.__mro__ if each in known), None)


def _class_of(numba_type: types.Type) -> type:
    if isinstance(numba_type, types.NamedTuple | types.NamedUniTuple):
        of: type = numba_type.instance_class
        return of
    return type(numba_type)
