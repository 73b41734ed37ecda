"""The types of the arguments of kernels that users call, checked when Numba is about to compile for them."""

from __future__ import annotations

from collections.abc import Collection

from numba import types

FLOATS = (types.float64, types.float32)
INTEGERS = (types.int64,)


def check_array(
    name: str,
    given: types.Type,
    dimensions: Collection[int],
    dtypes: Collection[types.Type] = FLOATS,
    *,
    contiguous: bool = False,
    writable: bool = False,
) -> types.Array:
    """An array with one of these numbers of dimensions and of one of these types.

    Raises
    ------
    TypeError
        for anything else, in words that name the argument
    """
    wanted = " or ".join(map(str, dtypes))
    right = isinstance(given, types.Array) and given.dtype in dtypes and given.ndim in dimensions and given.aligned
    if not right or (contiguous and given.layout != "C") or (writable and not given.mutable):
        kind = f"{'a writable ' if writable else 'a ' if contiguous else 'an '}{'C-contiguous ' * contiguous}array"
        axes = " or ".join(map(str, sorted(dimensions)))
        raise TypeError(f"{name} must be {kind} of {wanted} with {axes} dimension(s), got {shown(given)}")
    return given


def check_like(
    name: str, given: types.Type, like: types.Array, of: str, *, contiguous: bool = False, writable: bool = False
) -> None:
    """An array of the type and number of dimensions of another one, which is called ``of``.

    Raises
    ------
    TypeError
        for anything else
    """
    array = check_array(name, given, (1, 2), contiguous=contiguous, writable=writable)
    if array.dtype != like.dtype or array.ndim != like.ndim:
        raise TypeError(f"{name} must be of the type of {of}, {shown(like)}, got {shown(given)}")


def check_integer(name: str, given: types.Type) -> None:
    """A whole number.

    Raises
    ------
    TypeError
        for anything else
    """
    if not isinstance(given, types.Integer) or not given.signed:
        raise TypeError(f"{name} must be an integer, got {shown(given)}")


def check_float(name: str, given: types.Type) -> None:
    """A number.

    Raises
    ------
    TypeError
        for anything else
    """
    if not isinstance(given, types.Integer | types.Float):
        raise TypeError(f"{name} must be a number, got {shown(given)}")


def check_tuple(name: str, given: types.Type, kind: type) -> dict[str, types.Type]:
    """The types of the fields of a NamedTuple of a class.

    Raises
    ------
    TypeError
        for anything else
    """
    if not isinstance(given, types.NamedTuple | types.NamedUniTuple) or given.instance_class is not kind:
        raise TypeError(f"{name} must be a {kind.__name__}, got {shown(given)}")
    return dict(zip(given.fields, given, strict=True))


def shown(given: types.Type) -> str:
    """A type as it is named in messages, in words of Python, on one line and not too long."""
    if isinstance(given, types.List | types.ListType):
        return "a list"
    if given is types.none:
        return "None"
    text = "what Numba has no type for" if given is types.pyobject else " ".join(str(given).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
