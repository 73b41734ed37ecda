"""Overloads of Numba's that are typed once for each choice of types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core.typing.templates import Signature, infer, infer_global, make_overload_template


def overload(
    function: Callable[..., object], choose: Callable[..., object], inline: bool, options: dict[str, Any]
) -> None:
    """What `numba.extending.overload` does, of which ``choose`` would be the decorated function.

    Numba finds the types of an overload that is always inlined again for each call, in each round in which it finds
    those of the caller, with all that the overload calls: where such overloads call each other, that is most of what
    compiling takes.
    """
    given = {"no_cpython_wrapper": True, "nopython": True, **options}
    template = make_overload_template(function, choose, given, strict=True, inline="always" if inline else "never")
    if inline:
        template = type(template)(template.__name__, (template,), {"generic": _typed_once, "_signatures": {}})
    infer(template)
    infer_global(function, types.Function(template))


def _typed_once(template: Any, arguments: tuple[types.Type, ...], named: dict[str, types.Type]) -> Signature | None:
    """The signature of a template for some types; what the template keeps of the first time serves the next."""
    kernel, _ = template._get_impl(arguments, named)
    key = kernel, tuple(arguments), tuple(named.items())
    if key not in template._signatures:
        template._signatures[key] = super(type(template), template).generic(arguments, named)
    signature: Signature | None = template._signatures[key]
    return signature
