"""Selection: which values of the axes of a study are meant, by themselves, in lists, or between two others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from fastflow.checks import shown
from fastflow.studies.axes import Value, as_plain, is_number

Positions = int | list[int]
"""Where on an axis: one place, which takes the axis away, or several."""


def positions_of(name: str, values: Sequence[Value], chosen: object) -> Positions:
    """The places on an axis that are meant.

    Parameters
    ----------
    name, values : of the axis
    chosen : one of the values; a list of them, in whose order they come; or ``slice(first, last)``, all from one number
        to another, both included

    Raises
    ------
    KeyError
        for what the axis does not have
    TypeError, ValueError
        for the same value twice, and for a slice with a step, or of what are no numbers
    """
    if isinstance(chosen, slice):
        return _between(name, values, chosen)
    if isinstance(chosen, np.ndarray) and chosen.ndim:
        chosen = chosen.tolist()
    if isinstance(chosen, list | tuple | range):
        places = [place_on(name, values, one) for one in chosen]
        if not places:
            raise KeyError(f"axis {name!r}: the list of values is empty; it has {shown(list(values))}")
        if len(set(places)) < len(places):
            twice = next(values[at] for at in places if places.count(at) > 1)
            raise ValueError(f"axis {name!r}: the value {shown(twice)} is asked for twice")
        return places
    return place_on(name, values, chosen)


def place_on(name: str, values: Sequence[Value], chosen: object) -> int:
    """Where a value is."""
    value = as_plain(chosen)
    if value not in cast(Sequence[object], values):
        raise KeyError(f"axis {name!r} has no {shown(value)}; it has {shown(list(values))}")
    return list(values).index(cast(Value, value))


def _between(name: str, values: Sequence[Value], wanted: slice[object, object, object]) -> list[int]:
    """Where the values are from one number to another."""
    if not all(map(is_number, values)):
        raise TypeError(
            f"axis {name!r} has labels, between which nothing lies: name them in a list, of {shown(list(values))}"
        )
    if wanted.step is not None:
        raise ValueError(f"axis {name!r}: a slice of values has no step, got {wanted!r}: name the values in a list")
    ends = [as_plain(end) for end in (wanted.start, wanted.stop)]
    for end in ends:
        if end is not None and not (is_number(end) and end == end):
            raise TypeError(
                f"axis {name!r}: a slice is from one number to another, such as slice(8, 24), got {wanted!r}"
            )
    low, high = (-np.inf if ends[0] is None else ends[0]), (np.inf if ends[1] is None else ends[1])
    numbers = cast(Sequence[float], values)
    places = [at for at, value in enumerate(numbers) if cast(float, low) <= value <= cast(float, high)]
    if not places:
        raise KeyError(f"axis {name!r} has no value from {shown(low)} to {shown(high)}; it has {shown(list(values))}")
    return places


def check_names(chosen: Mapping[str, object], axes: Mapping[str, object]) -> None:
    """That there are such axes.

    Raises
    ------
    KeyError
        for one that there is not
    """
    for name in chosen:
        if name not in axes:
            raise KeyError(f"there is no axis {name!r}; there are {', '.join(axes)}")
