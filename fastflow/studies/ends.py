"""Ends: where some trials have ended, as outcomes see them, together or one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray
from fastflow.networks import Architecture
from fastflow.problems import Problem
from fastflow.records import History
from fastflow.records.snapshot import Snapshot, Subject
from fastflow.results import Runs
from fastflow.setting import Setting
from fastflow.status import Status
from fastflow.studies.outcomes import NEVER, Arrays


class Trained(NamedTuple):
    """Trials as the runs of a method.

    Attributes
    ----------
    setting, runs : of one call
    chosen : int array (trials,), the run of each trial that counts
    """

    setting: Setting
    runs: Runs
    chosen: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Ends:
    """Where the trials first, first + 1, ... of a cell have ended.

    Attributes
    ----------
    first : int
    kept : what every study keeps of them, arrays (trials,)
    solution : array (trials, *shape)
    truths : array (trials, size), flat, or None
    problem_of : the problem of a trial, by its number
    test_of : problems of measurements that were held out, by the number of a trial; None where there are none
    architecture_of : makes the architecture whose products the solutions are; of a baseline that of a default network
    train : gives the runs, of which some may have to be run for it; None for a baseline
    most_steps : int, over which the steps of records are spread
    """

    first: int
    kept: Arrays
    solution: FloatArray
    truths: FloatArray | None
    problem_of: Callable[[int], Problem]
    test_of: Callable[[int], Problem] | None
    architecture_of: Callable[[], Architecture]
    train: Callable[[], Trained] | None
    most_steps: int = 0

    def __len__(self) -> int:
        return len(self.solution)

    @cached_property
    def trained(self) -> Trained:
        """The runs.

        Raises
        ------
        ValueError
            for a baseline, which has none
        """
        if self.train is None:
            raise ValueError("a baseline has no factors, only a solution")
        return self.train()

    @cached_property
    def solutions(self) -> FloatArray:
        """The solutions, NaN of trials that have none, wherever they diverged to."""
        return self._where_ended(self.solution)

    def _where_ended(self, values: FloatArray) -> FloatArray:
        """Values (trials, ...), NaN of trials that have no solution."""
        kept = np.full_like(values, np.nan)
        kept[self.ended] = values[self.ended]
        return kept

    @cached_property
    def seen(self) -> Snapshot:
        """The solutions, and the truths where there are any, as quantities of records see them."""
        truths = np.zeros((0, 0)) if self.truths is None else self.truths
        each = np.arange(len(self))
        nothing = np.zeros((0, 0))
        return Snapshot(Subject((), self.architecture_of(), each, truths, nothing), each, self.solutions, nothing)

    @cached_property
    def seen_whole(self) -> Snapshot:
        """Problems, starts and factors, too."""
        setting, runs, chosen = self.trained
        starts = np.zeros_like(runs.flat_factors)
        setting.draw(starts)
        subject = Subject(
            setting.problems, setting.architecture, setting.problem_index[chosen], setting.truths, starts[chosen]
        )
        factors = self._where_ended(runs.flat_factors[chosen])
        return Snapshot(subject, np.arange(len(self)), self.solutions, factors)

    @cached_property
    def ended(self) -> NDArray[np.int64]:
        """The places of the trials that have a solution: they have neither diverged nor failed."""
        return np.flatnonzero(~np.isin(self.kept["status"], NEVER))

    @cached_property
    def shown(self) -> tuple[FloatArray, FloatArray | None, dict[str, list[float]]]:
        """Solutions and truths as arrays (trials, *shape) that cannot be written, and what is kept as Python's numbers.

        Made for all trials at once, since each of them would take some microseconds.
        """
        truths = None if self.truths is None else _locked(self.truths.reshape(self.solution.shape))
        return _locked(self.solution), truths, {name: values.tolist() for name, values in self.kept.items()}

    @cached_property
    def each(self) -> dict[int, Trial]:
        """Those trials, by their places, as functions see them that need no history."""
        return {place: Trial(self, place) for place in self.ended.tolist()}

    def history(self, place: int, moments: NDArray[np.int64] | None = None) -> History | None:
        """The history of a trial, by its place: arrays (records, ...), at those of the steps that are given."""
        if self.train is None or self.trained.runs.history is None:
            return None
        whole, run = self.trained.runs.history, int(self.trained.chosen[place])
        at = slice(None) if moments is None or whole.steps is None else np.isin(whole.steps, moments)
        recorded = {name: getattr(whole, name) for name in whole.recorded}
        parts = {
            name: [part[run, at] for part in values] if isinstance(values, list) else values[run, at]
            for name, values in recorded.items()
        }
        steps = None if whole.steps is None else whole.steps[at]
        return History(steps, whole.times, **parts)


class Trial:
    """A trial of a study, as a function of yours sees it that makes an outcome of it.

    Arrays are read-only. What takes time, the problem and, where the method finds none on its way, the factors, is made
    when it is asked for.

    Parameters
    ----------
    ends : Ends, those of its company
    place : int, its place among them
    moments : int array, the steps that its history has; None for all

    Attributes
    ----------
    number : int, of the trial, by which its random numbers are keyed
    solution : array of the unknown's shape, W or x at the end
    truth : array of that shape, or None
    loss, error : float, as a study keeps them
    steps : int
    status : Status
    """

    def __init__(self, ends: Ends, place: int, moments: NDArray[np.int64] | None = None) -> None:
        self._ends, self._place, self._moments = ends, place, moments
        solutions, truths, kept = ends.shown
        self.number = ends.first + place
        self.solution = solutions[place]
        self.truth = None if truths is None else truths[place]
        self.loss, self.error = kept["loss"][place], kept["error"][place]
        self.steps, self.status = int(kept["steps"][place]), Status(int(kept["status"][place]))

    @cached_property
    def problem(self) -> Problem:
        """The problem, as the ensemble draws it."""
        return self._ends.problem_of(self.number)

    @cached_property
    def test(self) -> Problem | None:
        """The measurements that were held out, as a problem, or None."""
        return None if self._ends.test_of is None else self._ends.test_of(self.number)

    @cached_property
    def factors(self) -> list[FloatArray] | None:
        """The factors at the end, first to last; None for a baseline, which has none."""
        if self._ends.train is None:
            return None
        runs, at = self._ends.trained.runs, int(self._ends.trained.chosen[self._place])
        return [_locked(factor[at]) for factor in runs.factors]

    @cached_property
    def history(self) -> History:
        """What was recorded, arrays (records, ...); a ValueError where nothing was."""
        found = self._ends.history(self._place, self._moments)
        if found is None:
            raise ValueError("nothing was recorded: ask for it, as in Outcome(function, version, history=['loss'])")
        return found

    def __getattr__(self, name: str) -> NoReturn:
        has = [*vars(self), *(one for one in vars(type(self)) if isinstance(vars(type(self))[one], cached_property))]
        raise AttributeError(f"a trial has no {name!r}; it has {', '.join(one for one in has if one[0] != '_')}")


def _locked(array: FloatArray) -> FloatArray:
    """A view that cannot be written."""
    view = array.view()
    view.flags.writeable = False
    return view
