"""The design of a study: its words, axes, cells and trials, stated once; everything about it but how it is run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fastflow.baselines import as_baseline
from fastflow.checks import Seed, as_count, as_seed, kind_of, one_of, printable, shown
from fastflow.ensembles import Ensemble
from fastflow.equality import by_value
from fastflow.inits import Init
from fastflow.methods import DEFAULT_METHOD, Method
from fastflow.networks import Network
from fastflow.setting import default_init, default_network
from fastflow.studies.asked import Asked, Event, Outcome, as_asked
from fastflow.studies.axes import Axis, Follower, spread_values
from fastflow.studies.compatibility import PER_TRIAL, PROBLEMS, check_cells
from fastflow.studies.following import FOLLOWING
from fastflow.studies.grid import Grid
from fastflow.studies.outcomes import as_field
from fastflow.studies.setup import Setup
from fastflow.studies.spec import WORDS, Table, as_table, build, build_follower, describe, fields_of, foreign_names
from fastflow.studies.success import Success


@by_value("words", "axes", "followers", "trials", "success", "seed", "problem", "starts", "asked")
class Design:
    """What a study asks: one to four axes, and in each cell of their product so many trials.

    `fastflow.Study`, which takes the same parameters, is a design that runs.

    Parameters
    ----------
    ensemble, network, init, method, axes, trials, success, seed, problem, starts, outcomes
        As those of `fastflow.Study`.

    Attributes
    ----------
    words : name -> object, the ensemble, network, init and method; None for what is not needed, or is an axis
    axes : tuple of Axis
    trials, seed, starts : int
    problem : str
    success : Success
    asked : label -> what is asked of each trial beside what is always kept

    Raises
    ------
    ValueError, TypeError
        for what is wrong or does not combine, in any cell
    """

    def __init__(
        self,
        ensemble: Ensemble | None = None,
        network: Network | None = None,
        init: Init | None = None,
        method: object = None,
        *,
        axes: Mapping[str, object],
        trials: int = 100,
        success: Success | None = None,
        seed: Seed = 0,
        problem: str = PER_TRIAL,
        starts: int = 1,
        outcomes: object = None,
    ) -> None:
        self.trials, self.seed = as_count("trials", trials, 1), as_seed(seed)
        self.starts, self.problem = as_count("starts", starts, 1), one_of("problem", problem, PROBLEMS)
        self.success = Success() if success is None else success
        if not isinstance(self.success, Success):
            raise TypeError(f"success must be a Success, got {shown(success)}")
        words: dict[str, object] = {"ensemble": ensemble, "network": network, "init": init, "method": method}
        _set_defaults(words, axes)
        self._grid = Grid(words, axes)
        self._ask(as_asked(outcomes))
        check_cells(self._grid, self.problem, self.starts, self.seed, self.success, self.asked)
        self.describe()

    def _ask(self, asked: Mapping[str, Asked]) -> None:
        self.asked = asked
        labels = {label: describe(one) for label, one in asked.items()}
        self.fields = fields_of({"axes": [axis.name for axis in self.axes], "outcomes": labels})
        unstated = {label: as_field() for label, one in asked.items() if not one.is_stated}
        self.success.check(self.fields | unstated)  # of which the first trial will tell

    def asking(self, asked: Mapping[str, Asked]) -> Self:
        """The design that asks for the same outcomes, as it is now known what they are.

        Raises
        ------
        ValueError
            where one that decides about success is no number
        """
        told = copy.copy(self)
        told._ask(asked)
        return told

    @classmethod
    def from_table(cls, table: Table, *, trust: bool = False) -> Self:
        """The design, or study, of a table such as `describe` makes, or a TOML file holds.

        Parameters
        ----------
        table : dict
        trust : bool
            Whether functions and classes that the table names may be imported, which runs their code. Without it those
            of your own modules that are imported already may be named, and nothing else outside of fastflow.

        Raises
        ------
        ValueError, TypeError
            for what is missing, unknown or wrong in the table, or not trusted
        """
        known = (*WORDS, "axes", FOLLOWING, "trials", "seed", "problem", "starts", "outcomes", "success")
        as_table("a study", table)
        try:
            named = [] if trust else sorted(set(foreign_names(table)))
        except RecursionError:
            raise ValueError("the tables of the study lie too deep in each other") from None
        if named:
            raise ValueError(
                f"the study names code outside of fastflow, {', '.join(map(shown, named))}: trust=True (--trust in the "
                "shell) imports and runs it"
            )
        for name in table:
            if name not in known:
                raise ValueError(f"a study has no {shown(name)}; it has {', '.join(known)}")
        if "axes" not in table:
            raise ValueError("a study needs axes")
        axes: dict[str, object] = {}
        for name, values in as_table("axes", table["axes"]).items():
            if name in WORDS:
                options = as_table(f"axes.{name}", values)
                axes[name] = {label: build(one, f"axes.{name}.{printable(label)}") for label, one in options.items()}
            elif isinstance(values, Mapping) and {"of", "function"} & set(values):
                axes[name] = build_follower(name, values)
            else:
                axes[name] = spread_values(name, values) if isinstance(values, Mapping) else build(values)
        for name, values in as_table(FOLLOWING, table.get(FOLLOWING, {})).items():
            if name in axes:
                raise ValueError(f"axis {name!r} is among the axes and among what follows them: leave one out")
            axes[name] = build_follower(name, values)
        given = {word: build(table[word], word) for word in WORDS if word in table}
        given |= {name: table[name] for name in ("trials", "seed", "problem", "starts") if name in table}
        if "outcomes" in table:
            given["outcomes"] = _asked_in(table["outcomes"])
        if "success" in table:
            given["success"] = build({"kind": "Success", **as_table("success", table["success"])}, "success")
        return cls(**given, axes=axes)

    @property
    def words(self) -> Mapping[str, object]:
        """The ensemble, network, init and method; None for what is not needed, or is an axis."""
        return self._grid.words

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes, in order."""
        return self._grid.axes

    @property
    def followers(self) -> tuple[Follower, ...]:
        """What moves along with the axes."""
        return self._grid.followers

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return self._grid.shape

    @property
    def cells(self) -> int:
        """The number of cells."""
        return self._grid.cells

    def setup(self, cell: int) -> Setup:
        """What the trials of a cell draw, and how they are solved.

        Parameters
        ----------
        cell : int, its position in the flat array of cells
        """
        place = self._grid.place(cell)
        ensemble, method = self._grid.at("ensemble", place), self._grid.at("method", place)
        assert isinstance(ensemble, Ensemble)
        fresh = self.problem == PER_TRIAL
        if not isinstance(method, Method):
            return Setup(ensemble, None, None, as_baseline(method), self.seed, fresh, self.starts, self.asked)
        network, init = self._grid.at("network", place), self._grid.at("init", place)
        assert isinstance(network, Network)
        assert isinstance(init, Init)
        return Setup(ensemble, network, init, method, self.seed, fresh, self.starts, self.asked)

    def where(self, cell: int) -> str:
        """A cell in words, by its position in the flat array of cells."""
        return self._grid.described(self._grid.place(cell))

    @property
    def has_twins(self) -> bool:
        """Whether any two cells have the same outcomes."""
        baselines = not all(isinstance(method, Method) for method in self._grid.each("method").values())
        return baselines and bool(self._free)

    def twins(self, cell: int) -> NDArray[np.int64]:
        """The cells that have the outcomes of a cell, itself among them: a baseline knows neither network nor init."""
        place = self._grid.place(cell)
        if not self._free or isinstance(self._grid.at("method", place), Method):
            return np.array([cell])
        values = [
            range(size) if i in self._free else [at] for i, (at, size) in enumerate(zip(place, self.shape, strict=True))
        ]
        return np.ravel_multi_index(np.ix_(*values), self.shape).ravel()

    @property
    def _free(self) -> list[int]:
        """The axes that a baseline does not know."""
        known = {*self._grid.axes_of("ensemble"), *self._grid.axes_of("method")}
        return sorted({*self._grid.axes_of("network"), *self._grid.axes_of("init")} - known)

    def describe(self) -> dict[str, object]:
        """The design as a table of numbers and strings, from which `from_table` makes it again."""
        words = {word: describe(thing) for word, thing in self.words.items() if thing is not None}
        axes = {
            axis.name: list(axis.values)
            if axis.field
            else dict(zip(axis.values, map(describe, axis.objects), strict=True))
            for axis in self.axes
        }
        rest: dict[str, object] = {name: getattr(self, name) for name in ("trials", "seed", "problem", "starts")}
        if self.asked:
            rest["outcomes"] = {label: describe(one) for label, one in self.asked.items()}
        along = {
            follower.axis.name: {
                "of": [self.axes[i].name for i in follower.of],
                "values": list(map(describe, follower.axis.values)),
            }
            for follower in self.followers
        }
        if along:
            rest[FOLLOWING] = along
        return {**words, "axes": axes, **rest, "success": describe(self.success)}

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis.name}: {len(axis.values)}" for axis in self.axes)
        axes += "".join(f", {follower.axis.name} along" for follower in self.followers)
        words = ", ".join(repr(thing) for thing in self.words.values() if thing is not None)
        asked = f", outcomes={list(self.asked)}" if self.asked else ""
        trials = f"trials={self.trials}{asked}"
        return f"{type(self).__name__}({words}, axes=({axes}), {trials}, {self.success!r}, seed={self.seed})"


def _asked_in(table: object) -> object:
    """Outcomes as a table has them: a list of names and tables, or a table of them by label."""
    if isinstance(table, Mapping):
        return {label: _one_asked(one, f"outcomes.{printable(str(label))}") for label, one in table.items()}
    if isinstance(table, list | tuple):
        return [_one_asked(one, f"outcomes[{i}]") for i, one in enumerate(table)]
    raise TypeError(f"outcomes must be a list of names, or a table, label: outcome, got {shown(table)}")


def _one_asked(one: object, where: str) -> object:
    if isinstance(one, Mapping):
        kind = Outcome.__name__ if "function" in one else Event.__name__
        return build({"kind": kind, **one}, where)
    return one


def _set_defaults(words: dict[str, object], axes: Mapping[str, object]) -> None:
    """Set what was left out to what `train` would have, but for what is an axis."""
    given = axes if isinstance(axes, Mapping) else {}

    def options(word: str) -> list[object]:
        along = given.get(word, {"": words[word]})
        return list(along.values()) if isinstance(along, Mapping) else []

    if words["ensemble"] is None and "ensemble" not in given:
        raise ValueError("a study needs an ensemble, such as ensembles.Sparse(n=100, m=50, sparsity=5)")
    for word in words:
        for value in options(word):
            if isinstance(value, type):
                raise TypeError(f"{word} must be {value.__name__}(...), got {kind_of(value)}")
    for ensemble in options("ensemble"):
        if not isinstance(ensemble, Ensemble):
            raise TypeError(f"ensemble must be an ensemble such as ensembles.Sparse(n=100), got {shown(ensemble)}")
    if words["method"] is None and "method" not in given:
        words["method"] = DEFAULT_METHOD()
    if not any(isinstance(method, Method) for method in options("method")):
        return
    first = next(iter(options("ensemble")), None)
    if words["network"] is None and "network" not in given and isinstance(first, Ensemble):
        words["network"] = default_network(first)
    if words["init"] is None and "init" not in given:
        words["init"] = default_init(next(iter(options("network")), None))
