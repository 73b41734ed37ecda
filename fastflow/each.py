"""A value for each run of one call of `train`, where a field otherwise has one for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_floats, frozen
from fastflow.equality import by_value


@by_value()
@dataclass(frozen=True, eq=False)
class Each:
    """A value of a field for each run of one call, in the order of the runs: what `fastflow.each` makes.

    Attributes
    ----------
    values : array (runs,), greater than 0
    """

    values: FloatArray

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"each(<{len(self)} values, {self.values.min():.3g} .. {self.values.max():.3g}>)"


def each(values: ArrayLike) -> Each:
    """A value for each run of one call of `train`, instead of one for all.

    Parameters
    ----------
    values : array (runs,) of numbers greater than 0
        As many as the call has runs, which are as many as these by default; of a list of problems run
        ``p * starts + s`` is start s of problem p.

    Returns
    -------
    Each
        For the ``step`` of `GradientDescent`, the ``first`` of its decreasing steps, and the ``scale`` of an init.

    Raises
    ------
    ValueError, TypeError
        for what are no such numbers

    Notes
    -----
    Run i has the bits of a call with the i-th value alone, and its start: ``runs=[i]``. Random starts differ from run
    to run; ``runs=[0] * k`` has the same for all. In a study values are an axis instead.

    Examples
    --------
    >>> steps = ff.each(np.geomspace(1e-3, 1e-1, 8))
    >>> words = ff.MatrixEstimation(np.diag([3.0, 1])), ff.DeepLinear(2), ff.inits.Gaussian(0.1)
    >>> runs = ff.train(*words, ff.GradientDescent(steps, max_steps=100), runs=[0] * 8, threads=1)
    >>> runs.step.shape
    (8,)
    """
    found = as_floats("each", values, 1).astype(np.float64)
    if not found.size or not found.min() > 0:
        raise ValueError(f"each must have values greater than 0, got {found.min() if found.size else 'none'}")
    return Each(frozen(found))


def count_of(several: Sequence[Each]) -> int | None:
    """How many runs these are values of; None without any.

    Raises
    ------
    ValueError
        where they differ
    """
    counts = sorted({len(one) for one in several})
    if len(counts) > 1:
        raise ValueError(f"each must have one value for every run, got {' and '.join(map(str, counts))} of them")
    return counts[0] if counts else None
