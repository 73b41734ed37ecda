"""Checks at the boundary: every message names the argument, what came, and what was expected."""

from __future__ import annotations

import dataclasses
import difflib
import operator
import reprlib
from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.arrays import FloatArray as FloatArray
from fastflow.arrays import as_array, as_real

FloatDType = np.dtype[np.float32 | np.float64]
"""One of these precisions."""

NumberArray = NDArray[np.float32 | np.float64 | np.int64]
"""An array of such numbers, or of whole ones."""

Numbers = float | FloatArray
"""A number, or an array of such where the arguments are arrays or stacks."""


def kind_of(value: object) -> str:
    """What a value is, for messages: its class, or that it is one."""
    return f"the class {value.__name__}, not one of it" if isinstance(value, type) else type(value).__name__


def shown(value: object) -> str:
    """How a value is shown in a message: its repr on one line, cut short where it is long."""
    if isinstance(value, np.ndarray):
        if value.ndim > 1 and value.size > 6:
            return f"an array of shape {value.shape}"
        value = value.tolist()
    return printable(" ".join(_BRIEF.repr(value).split()))


def printable(text: str) -> str:
    """A text in which every character that a terminal would obey, such as the one of escape sequences, is spelled."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60


def brief_repr(thing: object) -> str:
    """The repr of a dataclass without what is left at its default, arrays by their shapes."""
    assert dataclasses.is_dataclass(thing)
    parts = []
    for field in dataclasses.fields(thing):
        if not field.repr:
            continue
        value = getattr(thing, field.name)
        if isinstance(value, np.ndarray):
            parts.append(f"{field.name}=<array {value.shape}>")
        elif value is not field.default and value != field.default:
            parts.append(f"{field.name}={value!r}")
    return f"{type(thing).__name__}({', '.join(parts)})"


def as_floats(
    name: str, value: ArrayLike, ndim: int | tuple[int, ...] | None, *, nan_allowed: bool = False, finite: bool = True
) -> FloatArray:
    """A float array with one of the given numbers of dimensions and no empty axis; see `as_real`.

    ``ndim=None`` takes numbers and arrays of any number of dimensions. Where NaN is allowed it is what is missing, as
    masked entries are.

    Raises
    ------
    TypeError, ValueError
        as `as_real`
    ValueError
        for another number of dimensions, an empty axis, or an entry that is not finite
    """
    array = as_real(name, value, gaps=nan_allowed)
    wanted = (ndim,) if isinstance(ndim, int) else ndim
    if wanted is not None and array.ndim not in wanted:
        dimensions = " or ".join(map(str, wanted))
        raise ValueError(f"{name} must have {dimensions} dimension(s), got shape {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"{name} is empty: shape {array.shape}")
    if finite:
        bad = np.isinf(array) if nan_allowed else ~np.isfinite(array)
        if bad.any():
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(f"{name} must be finite, got {array[where]} at index {where}")
    return array


def as_real_form(name: str, value: ArrayLike, ndim: int) -> tuple[FloatArray, bool]:
    """Finite numbers as `as_floats`, complex ones by their real parts and then, along the first axis, imaginary ones.

    Returns
    -------
    array, of complex numbers new and read-only; and whether they were complex

    Raises
    ------
    TypeError, ValueError
        as `as_floats`
    """
    array = as_array(name, value)
    if array.dtype.kind != "c":
        return as_floats(name, value, ndim), False
    parts = [as_floats(name, part, ndim) for part in (array.real, array.imag)]
    stacked = np.concatenate(parts)
    stacked.flags.writeable = False
    return stacked, True


LARGEST = 2**63 - 1
"""The largest integer that arrays hold."""


def as_count(name: str, value: object, least: int, most: int | None = LARGEST) -> int:
    """An integer from ``least`` to ``most``, without end for None."""
    try:
        if isinstance(value, bool | np.bool_) or not isinstance(value, SupportsIndex):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        if isinstance(value, float) and value.is_integer():
            number = int(value)  # 1e6 is how people write a million steps
        else:
            raise TypeError(f"{name} must be an integer, got {shown(value)}") from None
    if number < least:
        raise ValueError(f"{name} must be at least {least}, got {shown(number)}")
    if most is not None and number > most:
        raise ValueError(f"{name} must be at most {most}, got {shown(number)}")
    return number


Seed = int | np.random.Generator | None
"""What random numbers are drawn from."""


def as_seed(seed: Seed) -> int:
    """A seed: the integer itself, one that a generator draws, or for None one from the entropy of the system."""
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(LARGEST))
    if seed is None:
        return int(np.random.default_rng().integers(LARGEST))
    try:
        return as_count("seed", seed, 0, None)
    except TypeError:
        raise TypeError(f"seed must be an integer, a numpy.random.Generator or None, got {shown(seed)}") from None


def as_depth(name: str, value: object, shallowest: float, deepest: int | None) -> float:
    """The depth L of a flow ``u' = -g u^{L-1}``: 1, 2, or any number from ``shallowest``, above 2, on.

    An int where it is whole; at most ``deepest``, unless that is None.
    """
    if not isinstance(value, float | np.floating) or float(value).is_integer():
        return as_count(name, value, 1, deepest)
    depth = as_number(name, float(value), least=1)
    if depth < 2:
        raise ValueError(
            f"{name} must be 1 or at least 2, got {depth:g}: between, factors can reach 0 in finite time, from where "
            "on their flow is not determined"
        )
    if depth < shallowest:
        raise ValueError(f"{name} must be 2 or at least {shallowest:g}, got {depth!r}, so near to 2: take 2")
    if deepest is not None and depth > deepest:
        raise ValueError(f"{name} must be at most {deepest}, got {depth:g}")
    return depth


def as_number(
    name: str,
    value: ArrayLike,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
) -> float:
    """A finite real number, greater than ``above`` or at least ``least``, and less than ``below``."""
    if type(value) is not float and type(value) is not int:
        array = as_array(name, value)
        if array.ndim or array.dtype.kind not in "fiuO":
            raise TypeError(f"{name} must be a number, got {shown(value)}")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {shown(value)}") from None
    except OverflowError:
        raise ValueError(f"{name} must be within the range of float64, got {shown(value)}") from None
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    if above is not None and not number > above:
        raise ValueError(f"{name} must be greater than {above:g}, got {number:g}")
    if least is not None and not number >= least:
        raise ValueError(f"{name} must be at least {least:g}, got {number:g}")
    if below is not None and not number < below:
        raise ValueError(f"{name} must be less than {below:g}, got {number:g}")
    return number


def broadcast(**arrays: FloatArray) -> tuple[FloatArray, ...]:
    """The arrays in their common shape."""
    try:
        return np.broadcast_arrays(*arrays.values())
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in arrays.values())
        raise ValueError(f"{' and '.join(arrays)} do not broadcast: shapes {shapes}") from None


def as_times(name: str, value: ArrayLike) -> FloatArray:
    """Times (k,), at least 0 and not decreasing; infinity is allowed."""
    times = as_floats(name, value, 1, finite=False).astype(np.float64)
    if not np.all(times >= 0):
        raise ValueError(f"{name} must be at least 0, got {times[~(times >= 0)][0]:g}")
    falls = np.flatnonzero(times[1:] < times[:-1])
    if falls.size:
        raise ValueError(f"{name} must not decrease, got {times[falls[0]]:g} before {times[falls[0] + 1]:g}")
    return times


def one_of(name: str, value: object, choices: Iterable[str]) -> str:
    """One of a few words."""
    allowed = tuple(choices)
    if value not in allowed:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, allowed))}, got {shown(value)}{meant(value, allowed)}"
        )
    return str(value)


def meant(value: object, choices: Iterable[str]) -> str:
    """What ends a message where a word is nearly one of these: which of them is meant."""
    allowed = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(value.lower(), allowed, n=1) if isinstance(value, str) else []
    return f": did you mean {allowed[near[0]]!r}?" if near else ""


def frozen(array: FloatArray) -> FloatArray:
    """A read-only array of these entries, so that what was checked stays as it was.

    That is a copy, unless the array itself is read-only, in C order and the owner of its memory.
    """
    flags = array.flags
    if flags.owndata and flags.c_contiguous and flags.aligned and not flags.writeable:
        return array
    copy = array.copy()
    copy.flags.writeable = False
    return copy
