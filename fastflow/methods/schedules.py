"""Schedules: steps that change as a run goes on, and what a user may say for one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_count, as_floats, as_number, shown
from fastflow.each import Each
from fastflow.theory import Edge

SAFE = "safe"
"""The word for the step that is known to be safe."""


def as_step(name: str, step: Edge | Each | ArrayLike) -> float | str | Edge | Each:
    """One step: a number, or what stands for one."""
    if isinstance(step, str) and step != SAFE:
        read = Edge.read(step)
        if read is None:
            raise TypeError(f"{name} must be a number, {SAFE!r}, or like '0.5 edge', got {shown(step)}")
        return read
    return step if isinstance(step, str | Edge | Each) else as_number(name, step, above=0)


class Schedule(ABC):
    """Steps that follow from a first one.

    Attributes
    ----------
    first : float > 0, a multiple of ``theory.edge``, `fastflow.each` of numbers, or where it `takes_safe` "safe"
    """

    first: float | str | Edge | Each

    takes_safe: ClassVar[bool] = False
    """Whether its first step may be the one that is known to be safe."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", as_step("first", self.first))
        if self.first == SAFE and not self.takes_safe:
            raise ValueError(f"first={SAFE!r} is for Decreasing and constant steps")

    def multiples(self, count: int) -> FloatArray:
        """What so many steps are of the first, (count,)."""
        return self.sizes(1.0, count)

    @abstractmethod
    def sizes(self, first: float, count: int) -> FloatArray:
        """So many steps from the start on, (count,)."""


@dataclass(frozen=True)
class Decreasing(Schedule):
    """The decreasing steps ``first / (1 + k / scale) ** power``, k = 0, 1, ...

    Parameters
    ----------
    first : float > 0, "safe", a multiple of ``theory.edge``, also as "0.5 edge", or `fastflow.each` of numbers
        See `GradientDescent`.
    power : float > 0; up to 1 the steps sum to infinity, which convergence theorems ask for
    scale : float > 0, the number of steps after which the step has fallen by ``2**power``

    Examples
    --------
    >>> method = ff.GradientDescent(ff.Decreasing(0.1, power=0.5))
    """

    first: float | str | Edge | Each
    power: float = 0.5
    scale: float = 1.0

    takes_safe: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("power", "scale"):
            object.__setattr__(self, name, as_number(name, getattr(self, name), above=0))
        if self.first == SAFE and self.power > 1:
            raise ValueError(
                f"steps that fall with power {self.power:g} have a finite sum, so gradients need not tend to 0: "
                "with first='safe', power must be at most 1"
            )

    def sizes(self, first: float, count: int) -> FloatArray:
        sizes: FloatArray = first / (1 + np.arange(count) / self.scale) ** self.power
        return sizes


def _as_factors(name: str, factors: ArrayLike) -> tuple[float, ...]:
    array = as_floats(name, factors, 1)
    if array.size == 0 or array.min() <= 0:
        raise ValueError(f"{name} must be numbers greater than 0, got {shown(factors)}")
    return tuple(map(float, array))


@dataclass(frozen=True)
class Cyclic(Schedule):
    """The steps ``first * factors[k mod P]``, k = 0, 1, ...: one cycle after the other.

    Parameters
    ----------
    first : float > 0, a multiple of ``theory.edge``, also as "0.5 edge", or `fastflow.each` of numbers
    factors : P floats > 0

    Examples
    --------
    >>> method = ff.GradientDescent(ff.Cyclic(0.1, (1.0, 0.5)))
    """

    first: float | str | Edge | Each
    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "factors", _as_factors("factors", self.factors))

    def sizes(self, first: float, count: int) -> FloatArray:
        return first * np.resize(np.array(self.factors), count)


@dataclass(frozen=True)
class Piecewise(Schedule):
    """The step ``first`` up to a step, then a multiple of it: ``first * factors[i]`` from step ``starts[i]`` on.

    Parameters
    ----------
    first : float > 0, a multiple of ``theory.edge``, also as "0.5 edge", or `fastflow.each` of numbers
    starts : increasing ints >= 1
    factors : as many floats > 0

    Examples
    --------
    >>> method = ff.GradientDescent(ff.Piecewise(0.1, (500, 1000), (0.5, 0.1)))
    """

    first: float | str | Edge | Each
    starts: tuple[int, ...]
    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "factors", _as_factors("factors", self.factors))
        if not isinstance(self.starts, list | tuple | np.ndarray) or len(self.starts) != len(self.factors):
            raise ValueError(f"starts must be {len(self.factors)} steps, as many as factors, got {shown(self.starts)}")
        starts = tuple(as_count(f"starts[{i}]", start, 1) for i, start in enumerate(self.starts))
        if any(later <= start for start, later in pairwise(starts)):
            raise ValueError(f"starts must increase, got {starts}")
        object.__setattr__(self, "starts", starts)

    def sizes(self, first: float, count: int) -> FloatArray:
        which = np.searchsorted(self.starts, np.arange(count), side="right")
        return first * np.array((1.0, *self.factors))[which]
