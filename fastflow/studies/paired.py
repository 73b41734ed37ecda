"""Two methods, or two values of an axis, on common draws: paired differences of outcomes and of success."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray
from fastflow.equality import by_value
from fastflow.studies.frames import frame_of_cells
from fastflow.studies.quantiles import quantiles
from fastflow.studies.statistics import as_probability

if TYPE_CHECKING:
    import pandas


@by_value(hashable=False)
@dataclass(frozen=True, eq=False)
class Paired:
    """How two values of an axis differ trial by trial; every array has the shape of the cells.

    Attributes
    ----------
    axis, first, second : the axis, and its two values or labels
    outcome : str, the label of what is subtracted
    axes : dict, the other axes -> their values
    pairs : int array, trials that both have and that count
    missing : int array, those of them without a difference, since either has no such number: it diverged or failed
    median, low, high : array
        The median of the outcome of the first minus that of the second, and an interval that holds the median of the
        distribution: order statistics, which assume nothing (see `fastflow.StudyResult.quantiles`).
    smaller : array
        The effect: how often the first has the smaller outcome, ties as one half; 0.5 where nothing differs.
    first_alone, second_alone : int arrays, pairs of which only the first, or only the second succeeds
    rate, rate_low, rate_high : array
        The rate of success of the first minus that of the second, and its interval (Agresti, Min 2005).
    p_value : array
        McNemar's exact test of equal rates: twice the tail of a binomial of the pairs that only one succeeds on; 1
        where there are none.
    p_adjusted : array, by Holm over all cells: those below 0.05 all differ, but for a chance of 0.05 together
    confidence : float, of the intervals, each for itself
    """

    axis: str
    first: object
    second: object
    outcome: str
    axes: Mapping[str, Sequence[object]]
    pairs: NDArray[np.int64]
    missing: NDArray[np.int64]
    median: FloatArray
    low: FloatArray
    high: FloatArray
    smaller: FloatArray
    first_alone: NDArray[np.int64]
    second_alone: NDArray[np.int64]
    rate: FloatArray
    rate_low: FloatArray
    rate_high: FloatArray
    p_value: FloatArray
    p_adjusted: FloatArray
    confidence: float = field(default=0.95)

    def to_dataframe(self) -> pandas.DataFrame:
        """A `pandas.DataFrame` with a row for each cell: its place on the other axes, and every array.

        Raises
        ------
        ImportError
            without pandas
        """
        frame = frame_of_cells(self.axes, self.pairs.shape, {name: getattr(self, name) for name in _ARRAYS})
        frame.attrs |= {name: getattr(self, name) for name in ("axis", "first", "second", "outcome", "confidence")}
        return frame


_ARRAYS = (
    "pairs", "missing", "median", "low", "high", "smaller", "first_alone", "second_alone", "rate", "rate_low",
    "rate_high", "p_value", "p_adjusted",
)  # fmt: skip


def differences(
    first: FloatArray,
    second: FloatArray,
    succeeds: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    both: NDArray[np.bool_],
    confidence: float = 0.95,
) -> dict[str, FloatArray | NDArray[np.int64]]:
    """The arrays of `Paired`.

    Parameters
    ----------
    first, second : arrays (*cells, trials) of an outcome, NaN without
    succeeds : bool arrays of that shape, whether the first and the second succeeds
    both : bool array of that shape, which trials count as pairs
    confidence : float in (0, 1)
    """
    confidence = as_probability("confidence", confidence)
    cells = both.shape[:-1]
    with np.errstate(invalid="ignore"):
        apart = np.where(both, first - second, np.nan)
        order = np.sign(first - second)
    equal = both & (first == second)  # infinite ones, too
    apart[equal] = 0.0
    order[equal] = 0.0
    there = both & ~np.isnan(apart)
    pairs, told = np.count_nonzero(both, axis=-1), np.count_nonzero(there, axis=-1)
    middle = quantiles(apart.reshape(-1, apart.shape[-1]), 0.5, confidence)
    wins = np.count_nonzero(there & (order < 0), axis=-1) + 0.5 * np.count_nonzero(there & (order == 0), axis=-1)
    alone = [
        np.asarray(np.count_nonzero(both & one & ~other, axis=-1))
        for one, other in (succeeds, (succeeds[1], succeeds[0]))
    ]
    low, high = rate_interval(alone[0], alone[1], pairs, confidence)
    p_value = mcnemar(alone[0], alone[1])
    return {
        "pairs": np.asarray(pairs),
        "missing": np.asarray(pairs - told),
        "median": middle.value.reshape(cells),
        "low": middle.low.reshape(cells),
        "high": middle.high.reshape(cells),
        "smaller": np.where(told > 0, wins / np.maximum(told, 1), np.nan),
        "first_alone": alone[0],
        "second_alone": alone[1],
        "rate": np.where(pairs > 0, (alone[0] - alone[1]) / np.maximum(pairs, 1), np.nan),
        "rate_low": low,
        "rate_high": high,
        "p_value": p_value,
        "p_adjusted": holm(p_value, np.asarray(pairs) > 0),
    }


def mcnemar(first_alone: NDArray[np.int64], second_alone: NDArray[np.int64]) -> FloatArray:
    """McNemar's exact test: how often a fair coin falls as unevenly as the pairs that only one of two succeeds on.

    Parameters
    ----------
    first_alone, second_alone : counts that broadcast

    Returns
    -------
    array of p-values, 1 where both are 0
    """
    from scipy.stats import binom

    b, c = np.broadcast_arrays(np.asarray(first_alone), np.asarray(second_alone))
    return np.asarray(np.minimum(1.0, 2 * binom.cdf(np.minimum(b, c), b + c, 0.5)))


def rate_interval(
    first_alone: NDArray[np.int64], second_alone: NDArray[np.int64], pairs: NDArray[np.int64], confidence: float
) -> tuple[FloatArray, FloatArray]:
    """Intervals of the difference of two rates of success on the same trials, -1 .. 1 without trials.

    Wald's with one half of a pair more in each of the four cells of the table (Agresti, Min, Statistics in Medicine 24,
    2005), which covers well for few pairs, too.
    """
    from scipy.special import ndtri

    b, c, n = first_alone + 0.5, second_alone + 0.5, pairs + 2.0
    middle = (b - c) / n
    half = float(ndtri(0.5 * (1 + confidence))) * np.sqrt(b + c - (b - c) ** 2 / n) / n
    low, high = np.clip(middle - half, -1, 1), np.clip(middle + half, -1, 1)
    return np.where(pairs > 0, low, -1.0), np.where(pairs > 0, high, 1.0)


def holm(p_values: FloatArray, asked: NDArray[np.bool_]) -> FloatArray:
    """Holm's adjustment for as many tests as are asked; 1 elsewhere.

    Parameters
    ----------
    p_values, asked : arrays of one shape
    """
    own = p_values[asked]
    order = np.argsort(own)
    adjusted = np.empty(own.size)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(own[order] * np.arange(own.size, 0, -1)))
    found = np.ones(p_values.shape)
    found[asked] = adjusted
    return found
