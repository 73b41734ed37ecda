"""Outcomes: what is kept of every trial, and what stands where a trial has not been done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Arrays = dict[str, NDArray[np.float32 | np.float64 | np.int8 | np.int64]]
"""Arrays of one shape by the names of outcomes, each in its dtype."""

NOT_DONE = -1
"""The status and the steps of a trial that has not been done."""

FIELDS: dict[str, tuple[str, float]] = {
    "error": ("float64", -np.inf),
    "loss": ("float64", -np.inf),
    "steps": ("int64", NOT_DONE),
    "seconds": ("float32", -np.inf),
    "status": ("int8", NOT_DONE),
}
"""Names, dtypes and fill values, which no result has; ``status`` comes last, as it says that the others are there."""

BYTES = sum(np.dtype(dtype).itemsize for dtype, _ in FIELDS.values())
"""Bytes of one trial."""


class Outcomes(NamedTuple):
    """What is kept of some trials, arrays (trials,).

    ``error`` is ``||x - truth|| / ||truth||`` (NaN without a truth, or diverged), ``loss`` and ``steps`` those at the
    end, ``status`` a `Status`, and ``seconds`` the time of computing, shared out evenly among trials that were
    computed together.
    """

    error: NDArray[np.float64]
    loss: NDArray[np.float64]
    steps: NDArray[np.int64]
    seconds: NDArray[np.float32]
    status: NDArray[np.int8]


def make_outcomes(
    error: ArrayLike, loss: ArrayLike, steps: ArrayLike, seconds: ArrayLike, status: ArrayLike
) -> Outcomes:
    """Outcomes in their dtypes, and -inf, which stands for what is not done, as NaN."""
    arrays = [
        np.asarray(a, FIELDS[f][0])
        for f, a in zip(Outcomes._fields, (error, loss, steps, seconds, status), strict=True)
    ]
    made = Outcomes._make(arrays)
    return made._replace(error=_told_apart(made.error), loss=_told_apart(made.loss))


def _told_apart(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values with NaN for -inf, which stands for what is not done."""
    return np.where(values == -np.inf, np.nan, values)


def joined(parts: Iterable[Outcomes]) -> Outcomes:
    """Outcomes one after the other."""
    return Outcomes._make(map(np.concatenate, zip(*parts, strict=True)))


def empty_outcomes(shape: tuple[int, ...]) -> Arrays:
    """Arrays of a shape in which no trial is done."""
    return {name: np.full(shape, fill, dtype) for name, (dtype, fill) in FIELDS.items()}
