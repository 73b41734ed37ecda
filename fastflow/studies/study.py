"""Studies: cells x trials of one question, stated once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import as_count, as_number, one_of, shown
from fastflow.ensembles import Ensemble
from fastflow.inits import Constant, Gaussian
from fastflow.methods import GradientDescent, Method
from fastflow.networks import DeepLinear, DiagonalLinear
from fastflow.setting import check_words
from fastflow.studies.axes import Axis, parse_axes
from fastflow.studies.spec import WORDS, build, describe
from fastflow.studies.success import Success
from fastflow.studies.tasks import Setup, draw_problem

if TYPE_CHECKING:
    from fastflow.studies.cost import Cost
    from fastflow.studies.result import StudyResult

PROBLEMS = ("per trial", "per cell", "shared")


class Study:
    """A Monte Carlo study: one to four axes, and in each cell of their product so many trials.

    Parameters
    ----------
    ensemble : an ensemble of `fastflow.ensembles`, how a trial draws its problem
    network, init, method : as those of `fastflow.train`, with its defaults
        The method may be a baseline, such as ``ff.baselines.BasisPursuit()``, which needs neither network nor init: an
        object whose ``solve(problem)`` gives the solution, and whose ``check(problem)``, if it has one, raises for a
        problem of another kind.
    axes : dict, name: values
        A field of ensemble, network, init or method, by its bare name if only one of them has it, else by
        ``"init.scale"`` and the like. Or ``"method": {label: method, ...}``, and so for the other three.
    trials : int >= 1, for each cell
    success : Success
    seed : int >= 0
    problem : "per trial", "per cell" or "shared"
        Whether every trial draws a problem, or all that have the same ensemble share one, or all of the study do (which
        then has no axis in the ensemble); of the last two trials differ by their start.
    starts : int >= 1
        Starts of each trial, of which the one with the least loss counts.

    Raises
    ------
    ValueError, TypeError
        for what is wrong or does not combine, in any cell, before any work

    Notes
    -----
    Random numbers are keyed by values (`fastflow.streams`): the draw of a problem by (seed, "problem", the ensemble's
    values, trial), that of a start by (seed, "init", shapes, trial, start). So methods, scales and depths share draws,
    and more values or trials change nothing of what there is.
    """

    def __init__(
        self,
        ensemble: Ensemble | None = None,
        network: Any = None,
        init: Any = None,
        method: Any = None,
        *,
        axes: Mapping[str, Any],
        trials: int = 100,
        success: Success | None = None,
        seed: int = 0,
        problem: str = "per trial",
        starts: int = 1,
    ) -> None:
        self.trials, self.seed = as_count("trials", trials, 1), as_count("seed", seed, 0)
        self.starts, self.problem = as_count("starts", starts, 1), one_of("problem", problem, PROBLEMS)
        self.success = Success() if success is None else success
        if not isinstance(self.success, Success):
            raise TypeError(f"success must be a Success, got {shown(success)}")
        words: dict[str, Any] = {"ensemble": ensemble, "network": network, "init": init, "method": method}
        self._set_defaults(words, axes)
        self.words: Mapping[str, Any] = words
        self.axes: tuple[Axis, ...] = parse_axes(axes, words)
        self._of_word = {word: [i for i, axis in enumerate(self.axes) if axis.word == word] for word in WORDS}
        self._made: dict[tuple[str, tuple[int, ...]], Any] = {}
        self._check()

    @property
    def shape(self) -> tuple[int, ...]:
        """How many values each axis has."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def cells(self) -> int:
        """The number of cells."""
        return math.prod(self.shape)

    def setup(self, cell: int) -> Setup:
        """What the trials of a cell, by its place in the flat array of cells, draw and how they are solved."""
        place = np.unravel_index(cell, self.shape)
        ensemble, method = self._make("ensemble", place), self._make("method", place)
        network = init = None
        if isinstance(method, Method):
            network, init = self._make("network", place), self._make("init", place)
        return Setup(ensemble, network, init, method, self.seed, self.problem == "per trial", self.starts)

    def where(self, cell: int) -> str:
        """A cell in words."""
        place = np.unravel_index(cell, self.shape)
        return ", ".join(f"{axis.name} = {axis.values[i]!r}" for axis, i in zip(self.axes, place, strict=True))

    @property
    def has_twins(self) -> bool:
        """Whether any two cells have the same outcomes."""
        baselines = not all(isinstance(method, Method) for method in self._each("method").values())
        return baselines and bool(self._of_word["network"] + self._of_word["init"])

    def twins(self, cell: int) -> NDArray[np.int64]:
        """The cells that have the same outcomes, itself among them: a baseline knows neither network nor init."""
        free = self._of_word["network"] + self._of_word["init"]
        place = np.unravel_index(cell, self.shape)
        if not free or isinstance(self._make("method", place), Method):
            return np.array([cell])
        values = [
            range(size) if i in free else [at] for i, (at, size) in enumerate(zip(place, self.shape, strict=True))
        ]
        return np.ravel_multi_index(np.ix_(*values), self.shape).ravel()

    def describe(self) -> dict[str, Any]:
        """The study as a table: what `build_study` makes it from again."""
        words = {word: describe(thing) for word, thing in self.words.items() if thing is not None}
        axes = {
            axis.name: list(axis.values)
            if axis.field
            else dict(zip(axis.values, map(describe, axis.objects), strict=True))
            for axis in self.axes
        }
        rest = {"trials": self.trials, "seed": self.seed, "problem": self.problem, "starts": self.starts}
        return {**words, "axes": axes, **rest, "success": describe(self.success)}

    def run(
        self,
        executor: Any = None,
        store: str | Path | None = None,
        *,
        threads: int | None = None,
        shard: tuple[int, int] | None = None,
        max_seconds: float | None = None,
        progress: bool | None = None,
        adaptive: bool = False,
        repair: bool = False,
        task_seconds: float | None = None,
    ) -> StudyResult:
        """Compute the trials that are not yet done.

        Parameters
        ----------
        executor : anything with ``submit(f, *args)`` that gives a future, or a dask ``Client``; default threads
            It is not shut down. Each task uses one thread.
        store : folder of a Zarr store; default none, and all is lost with the process
            One that exists goes on: outcomes that are there are not computed again. It may have fewer trials, fewer
            values of axes and another success than the study, nothing else.
        threads : int, without an executor; default the CPUs that this process may use
        shard : (i, k), of the k shares of the cells that number i alone, from 0 on; `merge` puts stores together
        max_seconds : float, after which no more tasks are handed out; the result is then not complete
        progress : show a bar on standard error; default: if that is a terminal, after a second
            With a store it counts what is stored. Cells come in random order, so the time that it expects is an honest
            one.
        adaptive : spend trials where the transition is
            A cell has 20 trials, and twice as many as long as the 95% interval of its rate of success meets (0.2,
            0.8), up to the trials of the study. Only the cell's own trials decide.
        repair : take trials whose part of the store is damaged for not done
        task_seconds : float, what a task should take, default a quarter of a second
            More where the executor has hundreds of workers; no bit depends on it.

        Returns
        -------
        StudyResult

        Raises
        ------
        StoreError
            when the store is damaged, in use, of another study, or cannot be written
        StudyError
            when a trial raises, or the executor lost its workers
        StudyInterrupted
            on Ctrl-C, a `KeyboardInterrupt`
        MemoryError
            when the outcomes take more memory than there is
        """
        from fastflow.studies.driver import run_study

        return run_study(self, executor, store, threads, shard, max_seconds, progress, adaptive, repair, task_seconds)

    def cost(self, cells: int = 64, trials: int = 2, threads: int | None = None) -> Cost:
        """What the study will cost in time and memory; nothing is kept.

        Parameters
        ----------
        cells, trials : int >= 1
            How many cells are probed, drawn at random, and how many trials of each, computed together.
        threads : int, default the CPUs that this process may use

        Returns
        -------
        Cost
            Its interval knows the spread of the trials that were probed, not what compiling will take.
        """
        from fastflow.studies.cost import predict_cost

        return predict_cost(self, cells, trials, threads)

    def _make(self, word: str, place: Sequence[Any]) -> Any:
        """An object of a cell, made once for all cells that share it."""
        axes = self._of_word[word]
        key = (word, tuple(int(place[i]) for i in axes))
        if key not in self._made:
            thing = self.words[word]
            for i in sorted(axes, key=lambda i: self.axes[i].field is not None):
                thing = self.axes[i].applied(thing, key[1][axes.index(i)])
            self._made[key] = thing
        return self._made[key]

    @staticmethod
    def _set_defaults(words: dict[str, Any], axes: Mapping[str, Any]) -> None:
        """What was left out, as `train` has it, but for what is an axis."""
        given = axes if isinstance(axes, Mapping) else {}
        if words["ensemble"] is None and "ensemble" not in given:
            raise ValueError("a study needs an ensemble, such as ensembles.Sparse(n=100, m=50, sparsity=5)")
        if words["method"] is None and "method" not in given:
            words["method"] = GradientDescent()
        methods = given.get("method", {0: words["method"]})
        if not isinstance(methods, Mapping) or not any(isinstance(method, Method) for method in methods.values()):
            return
        ensembles = given.get("ensemble", {0: words["ensemble"]})
        first = next(iter(ensembles.values())) if isinstance(ensembles, Mapping) and ensembles else None
        if words["network"] is None and "network" not in given:
            words["network"] = DiagonalLinear() if type(first).__name__ == "Sparse" else DeepLinear()
        if words["init"] is None and "init" not in given:
            networks = given.get("network", {0: words["network"]})
            vector = isinstance(networks, Mapping) and isinstance(next(iter(networks.values()), None), DiagonalLinear)
            words["init"] = Constant() if vector else Gaussian()

    def _check(self) -> None:
        """That every cell can be made, and that what stands in it combines."""
        for axis in self.axes:
            if axis.word == "ensemble" and self.problem == "shared":
                raise ValueError(f"with problem='shared' no axis can be one of the ensemble, got {axis.name!r}")
        ensembles = self._each("ensemble")
        for place, ensemble in ensembles.items():
            if not isinstance(ensemble, Ensemble):
                raise TypeError(f"ensemble must be one of fastflow.ensembles, got {shown(ensemble)}")
            try:
                ensemble.check()
                ensemble.key()
            except ValueError as error:
                raise ValueError(f"{self._words_of('ensemble', place)}{error}") from error
        for method in self._each("method").values():
            if isinstance(method, Method):
                for network in self._each("network").values():
                    for init in self._each("init").values():
                        check_words(network, init)
                        method.check(network, init)
                        self._check_start(init)
            elif not callable(getattr(method, "solve", None)):
                raise TypeError(f"method must be a method or a baseline with solve(problem), got {shown(method)}")
            elif self.problem != "per trial":
                raise ValueError(f"with problem={self.problem!r} all trials of {type(method).__name__} would be equal")
        self._check_problems()
        self.describe()

    def _check_start(self, init: Any) -> None:
        if init.random:
            return
        if self.starts > 1:
            raise ValueError(
                f"{type(init).__name__} starts alike, so all {self.starts} starts would be equal: starts=1"
            )
        if self.problem != "per trial":
            raise ValueError(
                f"with problem={self.problem!r} trials differ by their start, and {type(init).__name__} starts alike"
            )

    def _check_problems(self) -> None:
        """Draw a problem of each kind, and see whether networks and baselines take it."""
        whole = {axis.word: i for i, axis in enumerate(self.axes) if axis.field is None}
        seen = set()
        for place in self._each("ensemble"):
            ensemble = self._make("ensemble", self._full("ensemble", place))
            kind = (
                type(ensemble),
                place[self._of_word["ensemble"].index(whole["ensemble"])] if "ensemble" in whole else 0,
            )
            if kind in seen:
                continue
            seen.add(kind)
            problem = draw_problem(Setup(ensemble, None, None, None, self.seed, True, 1), 0)
            for method in self._each("method").values():
                if not isinstance(method, Method) and hasattr(
                    method, "check"
                ):  # a baseline that can say whether it fits
                    method.check(problem)
            if any(isinstance(method, Method) for method in self._each("method").values()):
                for network in self._each("network").values():
                    network.architecture(problem)

    def _each(self, word: str) -> dict[tuple[int, ...], Any]:
        """All objects of a word, by their places on its axes."""
        sizes = [self.shape[i] for i in self._of_word[word]]
        return {place: self._make(word, self._full(word, place)) for place in np.ndindex(*sizes)}

    def _full(self, word: str, place: Sequence[int]) -> list[int]:
        """A place on all axes from one on those of a word."""
        full = [0] * len(self.axes)
        for i, at in zip(self._of_word[word], place, strict=True):
            full[i] = at
        return full

    def _words_of(self, word: str, place: Sequence[int]) -> str:
        """Where on the axes of a word, for a message."""
        axes = [self.axes[i] for i in self._of_word[word]]
        return "".join(f"{axis.name} = {axis.values[at]!r}, " for axis, at in zip(axes, place, strict=True)).rstrip(
            " ,"
        ) + (": " if axes else "")

    def __repr__(self) -> str:
        axes = ", ".join(f"{axis.name}: {len(axis.values)}" for axis in self.axes)
        words = ", ".join(repr(thing) for thing in self.words.values() if thing is not None)
        return f"Study({words}, axes=({axes}), trials={self.trials}, {self.success!r}, seed={self.seed})"


def build_study(table: Mapping[str, Any]) -> Study:
    """The study of a table such as `Study.describe` makes, or a TOML file holds.

    Raises
    ------
    ValueError, TypeError
        for what is missing, unknown or wrong in it
    """
    known = (*WORDS, "axes", "trials", "seed", "problem", "starts", "success")
    for name in table:
        if name not in known:
            raise ValueError(f"a study has no {name!r}; it has {', '.join(known)}")
    if "axes" not in table:
        raise ValueError("a study needs axes")
    words = {word: build(table[word], word) for word in WORDS if word in table}
    axes: dict[str, Any] = {}
    for name, values in table["axes"].items():
        if name in WORDS:
            axes[name] = {label: build(one, f"axes.{name}.{label}") for label, one in values.items()}
        else:
            axes[name] = _spread(name, values) if isinstance(values, Mapping) else build(values)
    options = {name: table[name] for name in ("trials", "seed", "problem", "starts") if name in table}
    if "success" in table:
        options["success"] = build({"kind": "Success", **table["success"]}, "success")
    return Study(**words, axes=axes, **options)


def _spread(name: str, table: Mapping[str, Any]) -> list[int | float]:
    """Values from one to another: ``{from, to, step}`` or ``{from, to, count, log}``."""
    what = f"axis {name!r}"
    if not {"from", "to"} <= set(table) <= {"from", "to", "step", "count", "log"} or {"step", "count"} <= set(table):
        raise ValueError(f"{what}: a table has from, to, and step or count (and log), got {shown(dict(table))}")
    first, last = table["from"], table["to"]
    for key in ("from", "to"):
        as_number(f"{what}: {key}", table[key])
    if "step" in table:
        step = table["step"]
        if as_number(f"{what}: step", step) == 0 or (last - first) * step < 0:
            raise ValueError(f"{what}: no steps of {step:g} lead from {first:g} to {last:g}")
        count = math.floor((last - first) / step + 1e-9) + 1
        return [first + i * step for i in range(count)]
    count = as_count(f"{what}: count", table.get("count", 2), 1)
    if table.get("log") and not (first > 0 and last > 0):
        raise ValueError(f"{what}: with log from and to must be greater than 0, got {first:g} and {last:g}")
    values = np.geomspace(first, last, count) if table.get("log") else np.linspace(first, last, count)
    whole = all(isinstance(end, int) for end in (first, last)) and not table.get("log")
    return sorted({round(value) for value in values.tolist()}) if whole else values.tolist()
