"""Outcomes: what is kept of every trial, and what stands where a trial has not been done, or has no such number."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import as_count, one_of, shown
from fastflow.status import Status

Values = NDArray[np.float32 | np.float64 | np.int8 | np.int64]
"""Those of one outcome."""

Arrays = dict[str, Values]
"""Arrays by the names of outcomes: of one shape for all but for the axes that an outcome has of its own."""

NOT_DONE = -1
"""The status and the steps of a trial that has not been done."""

NEVER = (Status.DIVERGED, Status.FAILED)
"""How no trial ends that has a solution."""

MOST_ENTRIES = 256
"""Of one outcome of one trial."""

LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""What an outcome may be called: stores have an array, and data frames a column, of that name."""


class Field(NamedTuple):
    """What an outcome is of one trial.

    Attributes
    ----------
    dtype : str
    fill : what stands where a trial has not been done, which no result is
    shape : of one trial
    none : what stands where a trial that is done has no such number
    """

    dtype: str
    fill: float
    shape: tuple[int, ...] = ()
    none: float = np.nan

    @property
    def nbytes(self) -> int:
        """Bytes of one trial."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


FIELDS: dict[str, Field] = {
    "error": Field("float64", -np.inf),
    "loss": Field("float64", -np.inf),
    "steps": Field("int64", NOT_DONE, (), 0),
    "seconds": Field("float32", -np.inf),
    "status": Field("int8", NOT_DONE, (), Status.FAILED),
}
"""What every study keeps; ``status`` comes last, as it says that the others are there."""

DTYPES = ("float64", "float32", "int64", "int8")
"""Those that other outcomes may have."""


def as_field(dtype: object = "float64", shape: object = ()) -> Field:
    """The field of an outcome that a study asks for.

    No result is the most negative number of its type, which stands for what is not done; of integers the next one
    stands for what there is not, of floats NaN.

    Raises
    ------
    ValueError, TypeError
        for a dtype that is none of `DTYPES`, and for a shape that is none of a small array
    """
    kind = one_of("dtype", dtype if isinstance(dtype, str) else getattr(dtype, "__name__", dtype), DTYPES)
    if not isinstance(shape, tuple | list):
        raise TypeError(f"shape must be a tuple of whole numbers, () for a number, got {shown(shape)}")
    sizes = tuple(as_count("each of shape", size, 1, MOST_ENTRIES) for size in shape)
    if math.prod(sizes) > MOST_ENTRIES:
        raise ValueError(f"shape must have at most {MOST_ENTRIES} entries together, got {shown(shape)}")
    if np.dtype(kind).kind == "f":
        return Field(kind, float(np.finfo(kind).min), sizes)
    least = int(np.iinfo(kind).min)
    return Field(kind, least, sizes, least + 1)


def fields_with(asked: Mapping[str, Field]) -> dict[str, Field]:
    """What a study keeps that asks for more: ``status`` comes last."""
    rest = {name: field for name, field in FIELDS.items() if name != "status"}
    return {**rest, **asked, "status": FIELDS["status"]}


def bytes_of(fields: Mapping[str, Field]) -> int:
    """Bytes of one trial."""
    return sum(field.nbytes for field in fields.values())


def make_outcomes(error: ArrayLike, loss: ArrayLike, steps: ArrayLike, seconds: ArrayLike, status: ArrayLike) -> Arrays:
    """What every study keeps, of some trials, in its dtypes, and -inf, which stands for what is not done, as NaN.

    Parameters
    ----------
    error : ``||x - truth|| / ||truth||``, NaN without a truth, or diverged
    loss, steps : those at the end
    seconds : of computing, shared out evenly among trials that were computed together
    status : a `Status`
    """
    given = {"error": error, "loss": loss, "steps": steps, "seconds": seconds, "status": status}
    made: Arrays = {name: np.asarray(values, FIELDS[name].dtype) for name, values in given.items()}
    return made | {name: np.where(made[name] == -np.inf, np.nan, made[name]) for name in ("error", "loss")}


def with_asked(made: Arrays, asked: Arrays) -> Arrays:
    """Outcomes with others that were asked for: ``status`` comes last."""
    return {**{name: values for name, values in made.items() if name != "status"}, **asked, "status": made["status"]}


def joined(parts: Iterable[Arrays]) -> Arrays:
    """Outcomes one after the other."""
    listed = list(parts)
    return {name: np.concatenate([part[name] for part in listed]) for name in listed[0]}


def empty_outcomes(shape: tuple[int, ...], fields: Mapping[str, Field] = FIELDS) -> Arrays:
    """Arrays over trials of which none is done."""
    return {name: np.full((*shape, *field.shape), field.fill, field.dtype) for name, field in fields.items()}


def nothing(field: Field, trials: int) -> Values:
    """What stands where so many trials have no such number."""
    return np.full((trials, *field.shape), field.none, field.dtype)


def lacks(values: Values, field: Field) -> NDArray[np.bool_]:
    """Which trials have not got an outcome, of an array (..., trials, *shape): that over the trials."""
    missing = values == field.fill
    return np.asarray(missing.any(axis=tuple(range(missing.ndim - len(field.shape), missing.ndim))))


def has_none(values: Values, field: Field) -> NDArray[np.bool_]:
    """Which trials have no such number, of an array (..., trials, *shape): that over the trials."""
    missing = np.isnan(values) if np.dtype(field.dtype).kind == "f" else values == field.none
    return np.asarray(missing.any(axis=tuple(range(missing.ndim - len(field.shape), missing.ndim))))


def rows_of(arrays: Arrays, rows: int, trials: int) -> Arrays:
    """Views (rows, trials, *shape) of arrays over cells and trials."""
    axes = arrays["status"].ndim
    return {name: array.reshape(rows, trials, *array.shape[axes:]) for name, array in arrays.items()}


def over(mask: NDArray[np.bool_], field: Field) -> NDArray[np.bool_]:
    """A mask over trials that broadcasts over an outcome of them."""
    return mask.reshape(mask.shape + (1,) * len(field.shape))


def partial_of(arrays: Arrays, fields: Mapping[str, Field]) -> tuple[str, ...]:
    """The names of outcomes that some trials lack which are done."""
    done = arrays["status"] != NOT_DONE
    asked = [name for name in fields if name not in FIELDS]
    return tuple(name for name in asked if np.any(lacks(arrays[name], fields[name]) & done))


def is_whole(arrays: Arrays, fields: Mapping[str, Field], rows: int | list[int] | None = None) -> NDArray[np.bool_]:
    """Which trials, of some rows of the arrays, are done, and lack none of the outcomes of some fields."""
    at = ... if rows is None else rows
    whole = np.asarray(arrays["status"][at] != NOT_DONE)
    for name, field in fields.items():
        if name not in FIELDS:
            whole = whole & ~lacks(arrays[name][at], field)
    return whole


def fill_up(into: Arrays, values: Arrays, fields: Mapping[str, Field]) -> None:
    """Set what trials lack in arrays (trials, ...) to what others have there; the status last."""
    fresh = into["status"] == NOT_DONE
    for name, found in values.items():
        new = fresh if name in FIELDS else fresh | lacks(into[name], fields[name])
        into[name][new] = found[new]


def numbers_of(arrays: Arrays, name: str, field: Field) -> NDArray[np.float32 | np.float64]:
    """An outcome in floats, NaN where a trial is not done, or has no such number."""
    values = arrays[name]
    missing = over(arrays["status"] == NOT_DONE, field) | (values == field.fill)
    if values.dtype.kind != "f":
        missing = missing | (values == field.none) if name not in FIELDS else missing
        return np.where(missing, np.nan, values.astype(np.float64))
    return np.where(missing, values.dtype.type(np.nan), values)
