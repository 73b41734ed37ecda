"""Where success sets in: crossings of fitted curves, slice by slice, with intervals, and beside theory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.arrays import as_real
from fastflow.checks import FloatArray, as_count, as_floats, broadcast, shown
from fastflow.equality import by_value
from fastflow.streams import stream
from fastflow.studies.frames import frame_of_cells
from fastflow.studies.statistics import (
    as_probability,
    as_tallies,
    deviances,
    fit_logistic,
    share_as_extreme,
    skewness,
    wilson,
)

if TYPE_CHECKING:
    import pandas

BLOCK = 200_000
"""How many counts are fitted at once: so many that NumPy's calls do not cost, so few that they stay in the cache."""


class Crossing(IntEnum):
    """What is known of a slice's crossing; `message` says what that means and what to try."""

    FITTED = 0
    SEPARATED = 1
    AFTER = 2
    BEFORE = 3
    UNCLEAR = 4
    UNKNOWN = 5

    @property
    def message(self) -> str:
        """What the status means, and what to try."""
        return _MESSAGES[self]


_MESSAGES = {
    Crossing.FITTED: "The fitted curve crosses the level within the values.",
    Crossing.SEPARATED: "All trials fail on one side and succeed on the other, with at most one value between them "
    "that has both: the crossing lies between two values, the width is at most that of the fit. Add values there.",
    Crossing.AFTER: "The rate comes to the level only after the last value that has trials: add larger values.",
    Crossing.BEFORE: "The rate is past the level at the first value that has trials already: add smaller values.",
    Crossing.UNCLEAR: "The rate does not change with the values in the direction of the other slices, or in any: add "
    "trials or values.",
    Crossing.UNKNOWN: "Fewer than two values have trials.",
}


_COLUMNS = {
    "value": "crossing",
    "low": "crossing_low",
    "high": "crossing_high",
    "width": "transition_width",
    "width_low": "transition_width_low",
    "width_high": "transition_width_high",
    "misfit": "misfit",
    "intercept": "intercept",
    "slope": "slope",
}
"""How a table calls the arrays of a boundary: a width may be an axis."""


@by_value(hashable=False)
@dataclass(frozen=True, eq=False)
class Boundary:
    """Where rates of success cross a level; every array has the shape of the slices.

    Attributes
    ----------
    value : array
        The crossing; ``inf`` after the last value, ``-inf`` before the first one, NaN where unclear or unknown.
    low, high : array
        The interval of the crossing, as far as the values reach: ``high`` is ``inf`` where the crossing may lie after
        the last value with trials.
    width, width_low, width_high : array
        From the 10% to the 90% crossing of the fitted curve, which may reach beyond the values, and its interval; NaN
        where the value is not finite.
    misfit : array
        How often data drawn from the fitted curve would fit it as badly as these do, by their deviance or their skew:
        small where it is not logistic, and value and interval may be off. With few trials it is seldom small: of
        transitions as skewed as the complementary log-log, over 31 values, it is under 0.05 for about a third at 20
        trials, for four fifths at 50, for nearly all at 100.
    status : int array, see `Crossing`
    intercept, slope : array
        Of the fitted curve ``1 / (1 + exp(-(intercept + slope v)))``, v the value or its logarithm.
    level, confidence : float
    logarithmic : bool
    along : str, the name of the values; "value" where it is not known
    slices : dict, axis -> values, along which the slices lie; empty where it is not known
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray
    width: FloatArray
    width_low: FloatArray
    width_high: FloatArray
    misfit: FloatArray
    status: NDArray[np.int64]
    intercept: FloatArray
    slope: FloatArray
    level: float
    confidence: float
    logarithmic: bool
    along: str = "value"
    slices: Mapping[str, Sequence[object]] = field(default_factory=dict)

    def to_dataframe(self) -> pandas.DataFrame:
        """A `pandas.DataFrame` with a row for each slice: its place on the other axes, the crossing, and all about it.

        The other axes have their names; without names they are ``axis_0`` and so on, by positions. ``along`` is the
        axis that is crossed, ``crossing`` the value, ``transition_width`` the width, with their intervals, and
        ``status`` the name of a `Crossing`.

        Raises
        ------
        ImportError
            without pandas
        """
        shape = self.value.shape
        slices = self.slices or {f"axis_{i}": range(size) for i, size in enumerate(shape)}
        columns: dict[str, ArrayLike | Sequence[str]] = {
            "along": np.full(shape, self.along),
            "level": np.full(shape, self.level),
            **{column: getattr(self, name) for name, column in _COLUMNS.items()},
            "status": [Crossing(int(status)).name.lower() for status in np.ravel(self.status)],
        }
        frame = frame_of_cells(slices, shape, columns)
        frame.attrs["confidence"] = self.confidence
        return frame

    def rates(self, values: ArrayLike) -> FloatArray:
        """The fitted curves at values (k,): array (..., k), NaN where a slice has none."""
        from scipy.special import expit

        places = as_real("values", values).astype(np.float64)
        places = np.log(places) if self.logarithmic else places
        return np.asarray(expit(self.intercept[..., None] + self.slope[..., None] * places))


@by_value(hashable=False)
@dataclass(frozen=True, eq=False)
class Comparison:
    """How crossings compare with predicted ones; every array has the shape of the slices.

    Attributes
    ----------
    theory : array
    difference : array, the crossing minus theory; infinite or NaN where the crossing is
    relative : array, the difference over half the length of its interval
    within : bool array, whether theory lies in the interval
    """

    theory: FloatArray
    difference: FloatArray
    relative: FloatArray
    within: NDArray[np.bool_]


def boundary(
    values: ArrayLike,
    successes: ArrayLike,
    trials: ArrayLike,
    level: float = 0.5,
    confidence: float = 0.95,
    resamples: int = 1000,
    *,
    rising: bool | None = None,
    logarithmic: bool = False,
    seed: int = 0,
) -> Boundary:
    """Where the rate of success crosses a level, by a logistic fit to each slice, with bootstrap intervals.

    A slice is the last axis. Its curve maximises the likelihood with Firth's penalty (`fit_logistic`), which is finite
    for all data. The interval lies between quantiles of the crossings fitted to ``resamples`` slices drawn from the
    fitted curve. Where all trials fail up to some value and succeed from the next or the next but one, a bootstrap
    knows too little: there the interval also reaches to the nearest value on either side at which a Wilson interval
    excludes a crossing, that of all trials from this value on to the change.

    Parameters
    ----------
    values : array (k,), distinct, in any order
    successes, trials : integer arrays (..., k); where there are no trials the value does not count
    level : float in (0, 1)
    confidence : float in (0, 1)
    resamples : int >= 0; with 0 there are no intervals: they are NaN
    rising : bool or None
        Whether success becomes more likely as values grow; None asks all slices together.
    logarithmic : bool
        Whether the curve is logistic in the logarithms of the values, which must be positive.
    seed : int
        A slice's resamples depend on it and on the slice's own data, and on nothing else.

    Returns
    -------
    Boundary

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, what are no counts, repeated values, levels outside of (0, 1)
    """
    level, confidence = as_probability("level", level), as_probability("confidence", confidence)
    resamples = as_count("resamples", resamples, 0)
    axis, k, n = _as_slices(values, successes, trials, logarithmic)
    shape = k.shape[:-1]
    k, n = k.reshape(-1, k.shape[-1]), n.reshape(-1, k.shape[-1])
    if rising is None:
        rising = _rises(axis.x, k, n)
    known = np.count_nonzero(n, axis=1) > 1
    curves = np.full((len(k), 2), np.nan)
    curves[known] = fit_logistic(axis.x, k[known], n[known]).curves
    crossing = _crossings(curves, axis, k, n, level, rising)
    sharp = known & np.array([_is_sharp(*row, rising) for row in zip(k, n, strict=True)], np.bool_)
    for i in np.flatnonzero(sharp & np.isfinite(crossing)):
        # How steep such a curve is nobody knows; where it passes the level is not further than the next cells.
        crossing[i] = np.clip(crossing[i], *_bracket(axis.x, k[i], n[i], level, None, rising))

    status = np.full(len(k), Crossing.FITTED)
    status[sharp] = Crossing.SEPARATED
    status[crossing == np.inf] = Crossing.AFTER
    status[crossing == -np.inf] = Crossing.BEFORE
    status[np.isnan(crossing)] = Crossing.UNCLEAR
    status[~known] = Crossing.UNKNOWN

    ends, widths = np.full((2, len(k), 2), np.nan)
    misfit = np.full(len(k), np.nan)
    if resamples:
        clear = np.flatnonzero(~np.isnan(crossing))
        block = max(1, BLOCK // (resamples * k.shape[1]))
        for part in (clear[i : i + block] for i in range(0, len(clear), block)):
            samples, trials_each = _resampled(axis, curves[part], k[part], n[part], resamples, seed)
            starts = np.repeat(curves[part], resamples, axis=0)
            fits = fit_logistic(axis.x, samples, trials_each, starts, tol=1e-8).curves
            found = _crossings(fits, axis, samples, trials_each, level, rising, resampled=True)
            ends[part] = _central(found.reshape(len(part), -1), confidence)
            widths[part] = _central(axis.width(fits).reshape(len(part), -1), confidence)
            extremes = []
            for statistic in (deviances, skewness):
                own = statistic(axis.x, k[part], n[part], curves[part])
                drawn = statistic(axis.x, samples, trials_each, fits).reshape(len(part), -1)
                extremes.append(np.column_stack([own, drawn]))
            misfit[part] = share_as_extreme(extremes)
        for i in np.flatnonzero(sharp & ~np.isnan(crossing)):
            below, above = _bracket(axis.x, k[i], n[i], level, confidence, rising)
            ends[i] = min(ends[i, 0], below), max(ends[i, 1], above)
            widths[i, 0] = 0.0
        # Of a crossing beyond the values nothing more is known than that.
        first, last = axis.tried(n)
        ends[:, 0], ends[:, 1] = np.minimum(ends[:, 0], last), np.maximum(ends[:, 1], first)
    width = np.where(np.isfinite(crossing), axis.width(curves), np.nan)
    widths[np.isnan(width)] = np.nan
    results = {
        "value": axis.back(crossing),
        "low": axis.back(ends[:, 0]),
        "high": axis.back(ends[:, 1]),
        "width": width,
        "width_low": widths[:, 0],
        "width_high": widths[:, 1],
        "misfit": misfit,
        "status": status,
        "intercept": curves[:, 0] - curves[:, 1] * axis.middle / axis.scale,
        "slope": curves[:, 1] / axis.scale,
    }
    shaped = {name: array.reshape(shape) for name, array in results.items()}
    return Boundary(**shaped, level=level, confidence=confidence, logarithmic=logarithmic)  # type: ignore[arg-type]


def compare(found: Boundary, theory: ArrayLike) -> Comparison:
    """How crossings compare with predicted ones.

    Parameters
    ----------
    found : Boundary
    theory : number or array that broadcasts with the slices; NaN where nothing is predicted

    Returns
    -------
    Comparison
    """
    predicted = as_floats("theory", theory, None, nan_allowed=True)
    expected, value = broadcast(theory=predicted, crossings=found.value)
    low, high = (np.broadcast_to(end, value.shape) for end in (found.low, found.high))
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = value - expected
        relative = difference / (0.5 * (high - low))
    return Comparison(expected, difference, relative, (low <= expected) & (expected <= high))


class _Axis(NamedTuple):
    """Values in increasing order, or their logarithms, as ``middle + scale x`` with x (k,) in -1 .. 1."""

    x: FloatArray
    middle: float
    scale: float
    logarithmic: bool

    def back(self, x: FloatArray) -> FloatArray:
        """Values at x; infinities stay."""
        places: FloatArray = self.middle + self.scale * x
        if not self.logarithmic:
            return places
        with np.errstate(over="ignore"):
            return np.where(np.isinf(places), places, np.exp(places))

    def width(self, curves: FloatArray) -> FloatArray:
        """From the 10% to the 90% crossing of curves (N, 2)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            middle, half = -curves[:, 0] / curves[:, 1], math.log(9) / np.abs(curves[:, 1])
            return self.back(middle + half) - self.back(middle - half)

    def tried(self, trials: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The first and the last x that have trials, (N,) each."""
        tried = trials > 0
        return self.x[tried.argmax(axis=1)], self.x[::-1][tried[:, ::-1].argmax(axis=1)]


def _as_slices(
    values: ArrayLike, successes: ArrayLike, trials: ArrayLike, logarithmic: bool
) -> tuple[_Axis, FloatArray, FloatArray]:
    """The axis, and counts in the order of increasing values."""
    places = as_floats("values", values, 1).astype(np.float64)
    k, n = as_tallies(successes, trials)
    if k.ndim == 0 or k.shape[-1] != len(places):
        raise ValueError(f"successes must have a last axis of the {len(places)} values, got shape {k.shape}")
    if logarithmic:
        if places.min() <= 0:
            raise ValueError(f"values must be greater than 0 on a logarithmic axis, got {places.min():g}")
        places = np.log(places)
    order = np.argsort(places)
    places = places[order]
    if np.any(np.diff(places) == 0):
        raise ValueError(f"values must be distinct, got {shown(np.sort(np.asarray(values)))}")
    scale = 0.5 * (places[-1] - places[0]) if len(places) > 1 else 1.0
    middle = 0.5 * (places[0] + places[-1])
    return _Axis((places - middle) / scale, float(middle), float(scale), logarithmic), k[..., order], n[..., order]


def _rises(x: FloatArray, k: FloatArray, n: FloatArray) -> bool | None:
    """Whether successes (N, k) come with large x more than with small ones within their slices; None if neither."""
    total = np.maximum(n.sum(axis=1, keepdims=True), 1)
    moment = float(np.sum((k - n * k.sum(axis=1, keepdims=True) / total) * x))
    return None if abs(moment) <= 1e-9 * n.sum() else moment > 0


def _crossings(
    curves: FloatArray,
    axis: _Axis,
    k: FloatArray,
    n: FloatArray,
    level: float,
    rising: bool | None,
    *,
    resampled: bool = False,
) -> FloatArray:
    """Where curves (N, 2) come to the level: x, infinite outside of what has trials; NaN where they turn the wrong way.

    A slice that only fails or only succeeds has a curve without direction, and where no cell is on the other side of
    the level a wrong one is an accident. A resample that turns the wrong way counts by its mean.
    """
    if rising is None:
        return np.full(len(k), np.nan)
    sense = 1.0 if rising else -1.0
    first, last = axis.tried(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = (math.log(level / (1 - level)) - curves[:, 0]) / curves[:, 1]
    crossing = np.where(crossing > last, np.inf, np.where(crossing < first, -np.inf, crossing))
    total, share = k.sum(axis=1), level * n
    if resampled:
        fails, succeeds = total < share.sum(axis=1), total >= share.sum(axis=1)
    else:
        fails, succeeds = np.all((k < share) | (n == 0), axis=1), np.all((k > share) | (n == 0), axis=1)
    outside = np.where(fails, sense * np.inf, np.where(succeeds, -sense * np.inf, np.nan))
    constant = (total == 0) | (total == n.sum(axis=1))
    result = np.where(constant | ~(curves[:, 1] * sense > 0), outside, crossing)
    return np.where(np.count_nonzero(n, axis=1) > 1, result, np.nan)


def _resampled(
    axis: _Axis, curves: FloatArray, k: FloatArray, n: FloatArray, resamples: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Successes drawn from the curves, and their trials, (N * resamples, k) both."""
    from scipy.special import expit

    rates = expit(curves[:, :1] + curves[:, 1:] * axis.x)
    samples = np.empty((len(k), resamples, len(axis.x)))
    for i, (rate, count) in enumerate(zip(rates, n.astype(np.int64), strict=True)):
        # Keyed by the slice's own data, so that no other slice can change its interval.
        generator = stream("boundary", seed, axis.x.tolist(), k[i].tolist(), n[i].tolist())
        samples[i] = generator.binomial(count, rate, samples.shape[1:])
    return samples.reshape(-1, len(axis.x)), np.repeat(n, resamples, axis=0)


def _central(samples: FloatArray, confidence: float) -> FloatArray:
    """The central interval (N, 2) of samples (N, R), between order statistics, since some are infinite."""
    lower, upper = 0.5 - 0.5 * confidence, 0.5 + 0.5 * confidence
    low = np.quantile(samples, lower, axis=1, method="lower")
    return np.column_stack([low, np.quantile(samples, upper, axis=1, method="higher")])


def _sides(k: FloatArray, n: FloatArray, rising: bool | None) -> tuple[NDArray[np.int64], FloatArray, FloatArray]:
    """The positions of one slice that have trials, from failure to success, and their successes and trials."""
    there = np.flatnonzero(n)
    there = there if rising or rising is None else there[::-1]
    return there, k[there], n[there]


def _is_sharp(k: FloatArray, n: FloatArray, rising: bool | None) -> bool:
    """Whether a slice only fails, then has at most one value with both outcomes, then only succeeds."""
    _, k, n = _sides(k, n, rising)
    fails = int(np.argmax(np.append(k, 1) > 0))
    return bool(np.all(k[fails + 1 :] == n[fails + 1 :]))


def _bracket(
    x: FloatArray, k: FloatArray, n: FloatArray, level: float, confidence: float | None, rising: bool | None
) -> tuple[float, float]:
    """Between which two x a sharp slice must cross, infinite where nothing excludes a crossing beyond all.

    If it crossed before some x, all trials from that x on to the change would have a rate above the level: what a
    Wilson interval of that confidence excludes. None trusts the rates themselves.
    """
    there, k, n = _sides(k, n, rising)
    changes = int(np.count_nonzero(k < level * n))
    ends = []
    for side, other in ((np.arange(changes)[::-1], -np.inf), (np.arange(changes, len(k)), np.inf)):
        end = other if rising else -other
        if len(side):
            successes, trials = np.cumsum(k[side]), np.cumsum(n[side])
            low, high = (successes / trials,) * 2 if confidence is None else wilson(successes, trials, confidence)
            excluded = np.flatnonzero(high < level if other < 0 else low > level)
            end = float(x[there[side[excluded[0]]]]) if len(excluded) else end
        ends.append(end)
    return (ends[0], ends[1]) if rising else (ends[1], ends[0])
