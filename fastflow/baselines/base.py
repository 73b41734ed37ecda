"""What every baseline brings, and how a user's own object becomes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from numpy.typing import ArrayLike

from fastflow.arrays import as_real
from fastflow.checks import FloatArray, shown
from fastflow.equality import by_value
from fastflow.problems import Problem


@by_value()
class Baseline(ABC):
    """What stands where a method stands in a study, and needs neither network nor init.

    Examples
    --------
    >>> class Zero:
    ...     def solve(self, problem):
    ...         return np.zeros(problem.shape)
    >>> isinstance(ff.baselines.as_baseline(Zero()), ff.baselines.Baseline)
    True
    """

    label: ClassVar[str]
    """The baseline in words, for titles of pictures."""

    @property
    def kind(self) -> type:
        """The class of what solves: that of the baseline, or of the user's object that it was made of."""
        return type(self)

    def check(self, problem: Problem) -> None:  # noqa: B027, since some solve all problems
        """Whether this baseline solves a problem, without solving it.

        Parameters
        ----------
        problem : Problem

        Raises
        ------
        TypeError, ValueError
            for a problem that it does not solve, with those that it does
        """

    @abstractmethod
    def solve(self, problem: Problem) -> FloatArray:
        """The solution of a problem, an array of the unknown's shape.

        Parameters
        ----------
        problem : Problem

        Raises
        ------
        TypeError, ValueError
            for a problem that this baseline does not solve
        """


@runtime_checkable
class Solver(Protocol):
    """A user's own baseline: any object that solves problems."""

    def solve(self, problem: Problem) -> ArrayLike:
        """The solution of a problem."""


@runtime_checkable
class Checker(Protocol):
    """A user's own baseline that can say beforehand whether it solves a problem."""

    def check(self, problem: Problem) -> None:
        """Raise an exception for a problem that it does not solve."""


@dataclass(frozen=True, eq=False)
class _OfUser(Baseline):
    """A user's own object as a baseline."""

    solver: Solver

    @property
    def kind(self) -> type:
        return type(self.solver)

    def check(self, problem: Problem) -> None:
        if isinstance(self.solver, Checker):
            self.solver.check(problem)

    def solve(self, problem: Problem) -> FloatArray:
        return as_real(f"the solution of {self.kind.__name__}", self.solver.solve(problem))


def as_baseline(thing: object) -> Baseline:
    """Take a baseline, or a user's own object with ``solve(problem)`` as one.

    Parameters
    ----------
    thing : Baseline, or any object with ``solve(problem)``

    Returns
    -------
    Baseline

    Raises
    ------
    TypeError
        for what is neither

    Examples
    --------
    >>> class Zero:
    ...     def solve(self, problem):
    ...         return np.zeros(problem.shape)
    >>> isinstance(ff.baselines.as_baseline(Zero()), ff.baselines.Baseline)
    True
    """
    if isinstance(thing, Baseline):
        return thing
    if isinstance(thing, Solver) and not isinstance(thing, type):
        return _OfUser(thing)
    raise TypeError(f"method must be a method or a baseline with solve(problem), got {shown(thing)}")
