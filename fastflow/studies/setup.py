"""Setups: what the trials of one cell draw, and how they are solved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from fastflow.baselines import Baseline
from fastflow.ensembles import Ensemble
from fastflow.inits import Init
from fastflow.methods import Method
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.streams import Key, stream
from fastflow.studies.asked import Asked

NUMBER_BYTES = 8
"""Bytes of an entry of what is drawn."""


class Setup(NamedTuple):
    """What the trials of a cell draw, and how they are solved: small, and the same in every process.

    Attributes
    ----------
    ensemble : Ensemble
    network, init : Network and Init; None for a baseline
    method : Method or Baseline
    seed : int
    fresh : bool, whether every trial has a problem of its own
    starts : int, of each trial
    asked : label -> what is asked of each trial beside what is always kept
    """

    ensemble: Ensemble
    network: Network | None
    init: Init | None
    method: Method | Baseline
    seed: int
    fresh: bool
    starts: int
    asked: Mapping[str, Asked] = {}

    def problem(self, trial: int) -> Problem:
        """The problem of a trial; where all trials share one, that.

        Parameters
        ----------
        trial : int
        """
        problem = draw_problem(self.ensemble, self.seed, trial if self.fresh else None)
        if isinstance(self.method, Method) and self.method.needs_test and self.ensemble.test_size:
            problem = replace(problem, test=self._draw_test(trial, problem))
        return problem

    @property
    def test(self) -> Callable[[int], Problem] | None:
        """What draws the measurements that are held out for a trial, by its number; None where there are none."""
        return self._test_problem if self.ensemble.test_size else None

    def _test_problem(self, trial: int) -> Problem:
        return self._draw_test(trial, self.problem(trial))

    def _draw_test(self, trial: int, problem: Problem) -> Problem:
        key = self.seed, "test", self.ensemble.key(), self.ensemble.test_size
        of_problem = problem_key(self.ensemble, self.seed)
        rng, drawn = (stream(*one, trial) if self.fresh else stream(*one) for one in (key, of_problem))
        return self.ensemble.draw_test(rng, problem, drawn)


def problem_key(ensemble: Ensemble, seed: int) -> tuple[Key, ...]:
    """What the streams are keyed by that problems of an ensemble are drawn from, but for the trial."""
    return seed, "problem", ensemble.key()


def draw_problem(ensemble: Ensemble, seed: int, trial: int | None) -> Problem:
    """The problem of an ensemble for a trial; None for the one that trials share."""
    key = problem_key(ensemble, seed)
    return ensemble.draw(stream(*key) if trial is None else stream(*key, trial))
