"""Where coordinates are, at L > 2: their z by its distances from the ends of its domain, as floats and exactly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray
from fastflow.dual.exact import Integers, fixed, floating
from fastflow.dual.vectors import angles_at, vectors_at


class Place(NamedTuple):
    """Where coordinates are: the distances of z from the ends of its domain, and their difference.

    Each has a small relative error of its own. One-sided coordinates have ``low`` and ``gap`` infinite.

    Attributes
    ----------
    up, low : arrays (n,), ``c_a - z`` and ``c_b + z``
    gap : array (n,), ``low - up``
    """

    up: FloatArray
    low: FloatArray
    gap: FloatArray

    @property
    def room(self) -> FloatArray:
        """The distances from the nearer ends."""
        return np.minimum(self.up, self.low)

    @property
    def in_middle(self) -> NDArray[np.bool_]:
        """Where the difference says more than the distances."""
        return np.isfinite(self.gap) & (np.abs(self.gap) < (self.up + self.low) / 2)

    def moved(self, change: FloatArray) -> Place:
        """Where z is larger by a change."""
        both = np.isfinite(self.gap)
        width = np.where(both, self.up + self.low, 1.0)
        gap = np.where(both, self.gap + 2 * change, self.gap)
        up, low = self.up - change, self.low + change
        middle = both & (np.abs(gap) < width / 2)
        return Place(
            np.where(middle, (width - gap) / 2, np.where(both & (low < up), width - low, up)),
            np.where(middle, (width + gap) / 2, np.where(both & (up < low), width - up, low)),
            np.where(middle | ~both, gap, low - up),
        )

    def point(self, depth: float) -> tuple[FloatArray, FloatArray]:
        """x and dx/dz, x without the cancellation of its two sides."""
        k, width = depth - 2, np.where(np.isfinite(self.gap), self.up + self.low, 1.0)
        u, v = ((k * side) ** (-1 / k) for side in (self.up, self.low))
        middle = self.in_middle
        ratio = np.where(
            middle, 2 * np.arctanh(np.where(middle, self.gap, 0.0) / width), np.log(self.low) - np.log(self.up)
        )
        ratio *= depth / k
        x = np.where(ratio > 0, u**depth, -(v**depth)) * -np.expm1(-np.abs(ratio))
        return x, depth * (u ** (2 * depth - 2) + v ** (2 * depth - 2))

    @classmethod
    def of(cls, depth: float, positive: FloatArray, negative: FloatArray, x: FloatArray) -> Place:
        """Where coordinates from these starts have this x."""
        k, both = depth - 2, negative > 0
        with np.errstate(divide="ignore"):
            up, low = (side ** float(-k) / k for side in vectors_at(depth, positive, negative, x))
        angles = angles_at(depth, positive, np.where(both, negative, positive), np.where(both, x, 0.0))[1]
        gap = np.where(both, (up + low) * np.copysign(np.tanh(angles), x), np.inf)
        return cls(up, low, gap)


class Ends(NamedTuple):
    """Where the domains of z end, c_a and c_b, as integers at ``bits``; 0 for an end that there is not."""

    upper: Integers
    lower: Integers
    bits: int

    def residual(self, z: Integers, place: Place) -> FloatArray:
        """``z`` less that of a place, measured from the nearer end, or from the middle; correctly rounded."""
        up, low, gap = (
            fixed(np.where(np.isfinite(part), part, 0.0), self.bits) for part in (place.up, place.low, place.gap)
        )
        twice = np.where(
            place.in_middle,
            2 * z - self.upper + self.lower - gap,
            np.where(place.up <= place.low, 2 * (z - self.upper + up), 2 * (z + self.lower - low)),
        )
        return floating(twice, self.bits + 1)
