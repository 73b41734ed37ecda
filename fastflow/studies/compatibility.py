"""Compatibility: whether what stands in every cell of a study combines, asked before any work.

Methods and baselines answer for themselves, in every cell: once for each combination of objects, and of ensembles once
for all whose problems have one form.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from fastflow.baselines import as_baseline
from fastflow.checks import shown
from fastflow.ensembles import Ensemble
from fastflow.inits import Init
from fastflow.memory import require_memory
from fastflow.methods import Method
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.setting import check_words, default_network
from fastflow.streams import encode
from fastflow.studies.asked import Asked, record_for
from fastflow.studies.grid import Grid, Place
from fastflow.studies.measures import Case
from fastflow.studies.setup import NUMBER_BYTES, draw_problem
from fastflow.studies.success import Success

PER_TRIAL, PER_CELL, SHARED = "per trial", "per cell", "shared"
PROBLEMS = (PER_TRIAL, PER_CELL, SHARED)
"""Which trials have a problem of their own, or share one."""


def check_cells(
    grid: Grid, problem: str, starts: int, seed: int, success: Success, asked: Mapping[str, Asked] | None = None
) -> None:
    """Ask whether every cell of a grid can be made, and whether what stands there combines.

    Parameters
    ----------
    grid : Grid
    problem : one of `PROBLEMS`
    starts : int, of each trial
    seed : int, of the study
    success : Success, which must be one that the outcomes can tell
    asked : label -> what is asked of each trial beside what is always kept, which all trials must have

    Raises
    ------
    ValueError, TypeError
        for what does not, with a cell where it stands
    """
    if problem == SHARED and grid.axes_of("ensemble"):
        name = grid.axes[grid.axes_of("ensemble")[0]].name
        raise ValueError(f"with problem='shared' no axis can be one of the ensemble, got {name!r}")
    problems, asked = _problems(grid, seed), {} if asked is None else asked
    for place, drawn in problems.items():
        if success.needs_truth and drawn.truth is None:
            raise ValueError(
                f"in the cell {grid.where({'ensemble': place})}: the problems have no truth, so no trial could succeed "
                f"by {success}: give them a truth, or take another success, such as Success('loss', below=1e-10)"
            )
    posed: dict[tuple[Place, Place], Problem] = {}
    for at_method, method in grid.each("method").items():
        if isinstance(method, Method):
            record = record_for(asked, method)
            most_steps = (method.max_steps or 0) if method.has_steps else 0
            words = itertools.product(grid.each("network").items(), grid.each("init").items(), problems.items())
            for (at_network, network), (at_init, init), (at_ensemble, drawn) in words:
                try:
                    check_words(network, init)
                    assert isinstance(network, Network)
                    assert isinstance(init, Init)
                    if (at_network, at_ensemble) not in posed:
                        posed[at_network, at_ensemble] = network.pose(drawn)
                    seen = posed[at_network, at_ensemble]
                    _check_start(init, network, seen, problem, starts)
                    ensemble = cast(Ensemble, grid.each("ensemble")[at_ensemble])
                    if method.needs_test and ensemble.test_size:
                        seen = replace(seen, test=seen)  # which every trial will have: what it is says nothing here
                    case = Case(ensemble, seen, network.architecture(seen), init, most_steps)
                    for one in asked.values():
                        one.check(case)
                    method.check(network, init, record, problem=seen)
                except (ValueError, TypeError) as error:
                    places = {"ensemble": at_ensemble, "network": at_network, "init": at_init, "method": at_method}
                    raise _told(error, grid, places) from error
            continue
        baseline = as_baseline(method)
        if problem != PER_TRIAL:
            raise ValueError(f"with problem={problem!r} all trials of {baseline.kind.__name__} would be equal")
        for at_ensemble, drawn in problems.items():
            try:
                baseline.check(drawn)
                if asked:
                    network = default_network(drawn)
                    seen = network.pose(drawn)
                    case = Case(
                        cast(Ensemble, grid.each("ensemble")[at_ensemble]), seen, network.architecture(seen), None
                    )
                    for one in asked.values():
                        one.check(case)
            except (ValueError, TypeError) as error:
                raise _told(error, grid, {"ensemble": at_ensemble, "method": at_method}) from error


def _problems(grid: Grid, seed: int) -> dict[Place, Problem]:
    """A problem of each form, by the first place on the axes of the ensemble that has it."""
    problems: dict[Place, Problem] = {}
    known: set[tuple[type, str]] = set()
    for place, ensemble in grid.each("ensemble").items():
        if not isinstance(ensemble, Ensemble):
            raise TypeError(f"ensemble must be one of fastflow.ensembles, got {shown(ensemble)}")
        try:
            ensemble.check()
            ensemble.key()
        except ValueError as error:
            raise _told(error, grid, {"ensemble": place}) from error
        form = type(ensemble), encode(ensemble.form())
        if form not in known:
            known.add(form)
            require_memory(NUMBER_BYTES * ensemble.entries, f"a problem of {ensemble}", "take a smaller one")
            problems[place] = draw_problem(ensemble, seed, 0)
    return problems


def _check_start(init: Init, network: Network, problem: Problem, sharing: str, starts: int) -> None:
    """Ask whether an init gives the starts of trials, for a problem as the network sees it."""
    given = init.count(network.architecture(problem))
    if given is not None:
        raise ValueError(f"{init} is {given} starts, of which no trial has one of its own: give one start")
    if init.random:
        return
    alike = f"{type(init).__name__} starts alike"
    if starts > 1:
        raise ValueError(f"{alike}, so all {starts} starts would be equal: starts=1")
    if sharing != PER_TRIAL:
        raise ValueError(f"with problem={sharing!r} trials differ by their start, and {alike}")


def _told(error: Exception, grid: Grid, places: dict[str, Place]) -> Exception:
    """The error with the first cell that has these places."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    return kind(f"in the cell {grid.where(places)}: {error}")
