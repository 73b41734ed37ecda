"""Results of studies: every trial's outcome, and what they say together."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, printable, shown
from fastflow.ensembles import Ensemble
from fastflow.equality import by_value
from fastflow.memory import require_memory
from fastflow.notebooks import as_html
from fastflow.status import Status
from fastflow.studies import exports, stated
from fastflow.studies.axes import Value
from fastflow.studies.design import Design
from fastflow.studies.errors import StoreError
from fastflow.studies.following import coordinates
from fastflow.studies.held import Held
from fastflow.studies.layout import require_zarr, store_path
from fastflow.studies.locks import locked
from fastflow.studies.nodes import Node
from fastflow.studies.outcomes import NEVER, NOT_DONE, Arrays, bytes_of, numbers_of
from fastflow.studies.paired import Paired, differences
from fastflow.studies.pilot import pilot_of
from fastflow.studies.predictions import predicted
from fastflow.studies.quantiles import Quantiles, quantiles
from fastflow.studies.selection import check_names, place_on, positions_of
from fastflow.studies.spec import Table, describe, fields_of, narrowed, restricted, success_of
from fastflow.studies.statistics import wilson
from fastflow.studies.store import create, recover
from fastflow.studies.success import Success

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.figure import Figure

    from fastflow.studies.transitions import Boundary, Comparison

HORIZONTAL = ("m", "delta", "samples")
"""Axes along which success sets in, if a study has one of them."""


@by_value("table", "success", "fixed", "outcomes", hashable=False)
class StudyResult:
    """What the trials of a study came to; the first axes of every array are those of the study.

    Attributes
    ----------
    table : dict, the study as `Study.describe` gives it, from which ``Study.from_table`` makes it again
    axes : dict, name -> values or labels, in order
    outcomes : arrays ``(*cells, trials)``, ``error``, ``loss``, ``steps``, ``status`` (see `Status`), ``seconds``
        And those that the study asks for, ``(*cells, trials, *shape)``, by their labels. Where a trial is not done
        ``status`` and ``steps`` are -1, and the others what no result is (`fields`): ``result["sharpness"]`` is that
        outcome with NaN there.
    fields : dict, label -> the dtype, the shape of one trial, and what stands for what is not done, or for no number
    success : Success, what counts as one; see `with_success`
    fixed : dict, the axes of a larger result that this is one part of, and where
    adaptive : bool
        Whether the first 20 trials of each cell, a pilot, have decided how many it has, and so count in no rate.
    seconds, computed : float and int
        Wall time of the run that gave this, and how many trials it computed; NaN and 0 of a store.
    left : int, how many trials that run should have computed and has not; 0 of a store

    Examples
    --------
    >>> study = ff.Study(
    ...     ff.ensembles.Sparse(n=20, sparsity=2), method=ff.baselines.BasisPursuit(), axes={"m": [4, 12]}, trials=5
    ... )
    >>> result = study.run(threads=1)
    >>> result["error"].shape, bool(result.rates[1] > result.rates[0])
    ((2, 5), True)
    >>> result.sel(m=slice(10, 20)).trials.tolist()
    [5]
    """

    def __init__(
        self,
        table: Table,
        outcomes: Arrays,
        held: Held | None = None,
        design: Design | None = None,
        seconds: float = np.nan,
        computed: int = 0,
        *,
        adaptive: bool = False,
        makers: tuple[Node, ...] = (),
    ) -> None:
        self.adaptive, self._makers = adaptive, makers
        self.table: Table = dict(table)
        self.seconds, self.computed, self.left = seconds, computed, 0
        self.axes: dict[str, tuple[Value, ...]] = {name: tuple(values) for name, values in table["axes"].items()}
        self.success, self.fields = success_of(table), fields_of(table)
        self.fixed: dict[str, object] = {}
        self._design = design
        self._held = Held(tuple(map(len, self.axes.values()))) if held is None else held
        self._own = dict(outcomes)

    @functools.cached_property
    def outcomes(self) -> Arrays:
        """Arrays ``(*cells, trials)`` of every trial's outcome; of a share made for all cells when asked for."""
        if self._held.cells is None:
            return self._own
        shape = (*self._held.shape, self.table["trials"])
        require_memory(
            math.prod(shape) * bytes_of(self.fields), "the outcomes of all cells", "count them by trials and successes"
        )
        return {name: self._held.spread(array, self.fields[name].fill) for name, array in self._own.items()}

    @property
    def design(self) -> Design:
        """The design of the study, made again from what the store says of it where need be.

        Raises
        ------
        ValueError
            when it has a function or a class of others, which ``Study.from_table(result.table, trust=True)`` imports
        """
        if self._design is None:
            self._design = Design.from_table(self.table)
        return self._design

    @property
    def ensemble(self) -> Ensemble | None:
        """The ensemble of the study, None where ensembles are an axis."""
        return cast(Ensemble | None, self.design.words["ensemble"])

    @property
    def setting(self) -> dict[str, object]:
        """What a picture should state of the parameters that are no axes: sizes, noise, depth, start, method."""
        return stated.setting_of(self.table)

    @property
    def has_alpha(self) -> bool:
        """Whether the scale of the starts is alpha, the entry of every factor."""
        return stated.has_alpha(self.table)

    @property
    def methods(self) -> tuple[str, ...]:
        """The labels of the methods that are compared, if any."""
        return tuple(map(str, self.axes.get("method", ())))

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which trials are done, ``(*cells, trials)``."""
        return np.asarray(self.outcomes["status"] != NOT_DONE)

    @property
    def _own_done(self) -> NDArray[np.bool_]:
        """`done` of the cells that are held."""
        return np.asarray(self._own["status"] != NOT_DONE)

    @property
    def _pilot(self) -> int:
        """How many first trials of each cell count in no rate."""
        return pilot_of(self.table["trials"], self.adaptive)

    @property
    def complete(self) -> bool:
        """Whether all are."""
        return self._held.is_whole and bool(np.all(self._own_done))

    @property
    def partly_done(self) -> int:
        """How many cells have some of the trials that they should have, and not all; 0 of a share."""
        if not self._held.is_whole:
            return 0
        counts, whole = np.count_nonzero(self._own_done, axis=-1), [0, self.table["trials"]]
        return int(np.count_nonzero(~np.isin(counts, [*whole, 2 * self._pilot])))

    @property
    def trials(self) -> NDArray[np.int64]:
        """How many trials count in each cell: those that are done, of an adaptive study without the pilot."""
        return self._held.spread(np.count_nonzero(self._own_done[..., self._pilot :], axis=-1))

    @property
    def successes(self) -> NDArray[np.int64]:
        """How many of them succeeded."""
        return self._held.spread(np.count_nonzero(self.success.of(self._own)[..., self._pilot :], axis=-1))

    @property
    def rates(self) -> FloatArray:
        """Rates of success of the cells, NaN without trials."""
        trials = self.trials
        return np.where(trials > 0, self.successes / np.maximum(trials, 1), np.nan)

    def intervals(self, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Wilson's intervals of the rates.

        Parameters
        ----------
        confidence : float in (0, 1), how often an interval should hold the probability of success

        Returns
        -------
        low, high : arrays over the cells; 0 and 1 without trials
        """
        return wilson(self.successes, self.trials, confidence)

    def with_success(self, success: Success) -> StudyResult:
        """The same outcomes, with another idea of success.

        Raises
        ------
        TypeError
            for what is no `Success`
        ValueError
            for one by the error where no trial has an error, since the problems had no truth, and for one by an outcome
            that the study does not keep
        """
        if not isinstance(success, Success):
            raise TypeError(f"success must be a Success, such as Success(below=0.01), got {shown(success)}")
        success.check(self.fields)
        ended = self._own_done & ~np.isin(self._own["status"], NEVER)
        if success.needs_truth and ended.any() and np.isnan(self._own["error"][ended]).all():
            raise ValueError(
                f"no trial has an error, since the problems have no truth, so none could succeed by {success}"
            )
        table = {**self.table, "success": describe(success)}
        design = copy.copy(self._design)
        if design is not None:
            design.success = success
        result = StudyResult(
            table,
            self._own,
            self._held,
            design,
            self.seconds,
            self.computed,
            adaptive=self.adaptive,
            makers=self._makers,
        )
        result.success = success
        result.fixed = dict(self.fixed)
        return result

    @overload
    def __getitem__(self, chosen: str) -> FloatArray: ...
    @overload
    def __getitem__(self, chosen: Mapping[str, object]) -> StudyResult: ...

    def __getitem__(self, chosen: str | Mapping[str, object]) -> StudyResult | FloatArray:
        """An outcome by its label, or the part with some values of some axes, as `sel` has it.

        ``result["sharpness"]`` is an array ``(*cells, trials, *shape)`` in floats, NaN of a trial that is not done, or
        has no such number; ``result[{"method": "limit"}]`` is a `StudyResult`.

        Raises
        ------
        KeyError
            for an outcome that there is not, and as `sel`
        """
        if isinstance(chosen, str):
            if chosen not in self.fields:
                raise KeyError(f"there is no outcome {chosen!r}; there are {', '.join(self.fields)}")
            return numbers_of(self.outcomes, chosen, self.fields[chosen])
        if not isinstance(chosen, Mapping):
            raise TypeError(f'expected a dict, axis: value, such as {{"m": 20}}, got {shown(chosen)}')
        return self.sel(chosen)

    def sel(self, chosen: Mapping[str, object] | None = None, /, **named: object) -> StudyResult:
        """The part with some values of some axes: ``result.sel(m=slice(8, 24), method=["limit", "descent"])``.

        Parameters
        ----------
        chosen : dict, axis: values, for names that are no words of Python, such as ``{"init.scale": 1e-3}``
        **named : axis=values
            One value, which takes the axis away; a list of values, in whose order they come; or ``slice(first, last)``,
            all values from one number to another, both included, as xarray and pandas have it; None is no end.

        Returns
        -------
        StudyResult

        Raises
        ------
        KeyError
            for an axis or a value that there is not, where nothing lies in a slice, and where no axis would be left
        TypeError, ValueError
            for a slice of labels, or with a step, and for what is asked for twice
        """
        twice = sorted(set(chosen or ()) & set(named))
        if twice:
            raise ValueError(f"axis {twice[0]!r} is asked for twice")
        wanted = {**(chosen or {}), **named}
        check_names(wanted, self.axes)
        outcomes, table, fixed = self.outcomes, self.table, dict(self.fixed)
        for name, value in wanted.items():
            places = positions_of(name, self.axes[name], value)
            axis = list(table["axes"]).index(name)
            outcomes = {key: np.take(array, places, axis=axis) for key, array in outcomes.items()}
            if isinstance(places, int):
                fixed[name] = self.axes[name][places]
                table = restricted(table, name, self.axes[name][places])
            else:
                table = narrowed(table, name, [self.axes[name][at] for at in places])
        if not table["axes"]:
            raise KeyError("one axis must be left")
        part = StudyResult(table, outcomes, adaptive=self.adaptive, makers=self._makers)
        part.success, part.fixed = self.success, fixed
        return part

    def quantiles(self, outcome: str, q: ArrayLike = (0.1, 0.5, 0.9), confidence: float = 0.95) -> Quantiles:
        """Quantiles of an outcome over the trials of each cell that count, with intervals.

        Parameters
        ----------
        outcome : label of a number; trials that have none (NaN) do not count
        q : float or array (k,), in [0, 1]
        confidence : float in (0, 1), how often an interval should hold the quantile

        Returns
        -------
        Quantiles
            Arrays ``(*cells,)``, or ``(*cells, k)``.

        Raises
        ------
        KeyError, ValueError
            for an outcome that there is not, or is no number
        """
        values = self[outcome]
        if self.fields[outcome].shape:
            raise ValueError(f"of {outcome!r} each trial has an array {self.fields[outcome].shape}, no number")
        return quantiles(values[..., self._pilot :], q, confidence)

    def parameters(self) -> dict[str, int | float]:
        """The numbers of the ensemble that are no axes."""
        return stated.parameters_of(self.table)

    @property
    def program(self) -> str | None:
        """The convex program whose statistical dimension belongs into the picture: "l1", "nuclear", ... or None."""
        return stated.program_of(self.table)

    def boundary(self, level: float = 0.5, along: str | None = None, **options: Any) -> Boundary:
        """Where the rate of success comes to a level, by a logistic fit to each slice along an axis.

        Parameters
        ----------
        level : float in (0, 1)
        along : an axis of numbers; default m, delta or samples if there is one, else the last one
        **options : those of `fastflow.studies.transitions.boundary`
            ``confidence`` and ``resamples`` of the intervals, ``rising``, ``logarithmic`` and ``seed``.

        Returns
        -------
        Boundary
            Its arrays have the other axes.

        Raises
        ------
        ValueError
            where the axis is none of numbers, or an option has a wrong value
        """
        from fastflow.studies.transitions import boundary  # not at the start, which it would make slower

        along = self.along(along)
        at = list(self.axes).index(along)
        successes, trials = (np.moveaxis(array, at, -1) for array in (self.successes, self.trials))
        found = boundary(self.axes[along], successes, trials, level, **options)
        slices = {name: values for name, values in self.axes.items() if name != along}
        return dataclasses.replace(found, along=along, slices=slices)

    def along(self, name: str | None = None) -> str:
        """The axis along which success is said to set in: the one that is named, or the default of `boundary`.

        Raises
        ------
        ValueError
            when it is none of numbers
        """
        numeric = [axis for axis, values in self.axes.items() if not any(isinstance(v, str | bool) for v in values)]
        if name is None:
            if not numeric:
                raise ValueError("no axis is one of numbers")
            return next((axis for axis in numeric if axis.rpartition(".")[2] in HORIZONTAL), numeric[-1])
        if name not in numeric:
            raise ValueError(f"along must be an axis of numbers, one of {', '.join(numeric) or 'none'}, got {name!r}")
        return name

    def theory(self, along: str | None = None) -> FloatArray | None:
        """Where the statistical dimension expects the boundary along an axis; None if it says nothing.

        Parameters
        ----------
        along : as in `boundary`

        Returns
        -------
        array over the other axes (Amelunxen, Lotz, McCoy, Tropp, arXiv:1303.6672), see `program`
        """
        if self.program is None:
            return None
        along = self.along(along)
        others = [name for name in self.axes if name != along]
        shape = [len(self.axes[name]) for name in others]
        known: dict[str, object] = {**self.parameters()}
        for i, name in enumerate(others):
            values = np.asarray(self.axes[name])
            if values.dtype.kind in "iuf":
                known[name.rpartition(".")[2]] = values.reshape([-1 if j == i else 1 for j in range(len(others))])
        found = predicted(self.program, along.rpartition(".")[2], known)
        return None if found is None else np.broadcast_to(found, shape)

    def compare(
        self, theory: ArrayLike | None = None, level: float = 0.5, along: str | None = None, **options: Any
    ) -> Comparison:
        """Where the boundary lies beside where theory expects it.

        Parameters
        ----------
        theory : number or array over the other axes; default the statistical dimension
        level, along, **options : as in `boundary`

        Returns
        -------
        Comparison
            Its arrays have the other axes.

        Raises
        ------
        ValueError
            without a theory, where no statistical dimension is known
        """
        from fastflow.studies.transitions import compare

        if theory is None:
            theory = self.theory(along)
        if theory is None:
            raise ValueError("no statistical dimension is known for this study: give a theory")
        return compare(self.boundary(level, along, **options), theory)

    def paired(
        self,
        first: object = None,
        second: object = None,
        axis: str = "method",
        outcome: str = "error",
        confidence: float = 0.95,
    ) -> Paired:
        """How two methods, or two values of another axis, differ trial by trial on the problems that they share.

        Parameters
        ----------
        first, second : labels or values of the axis; default the two that it has
        axis : one along which the trials of a number have the same problem: of the network, the init or the method
        outcome : label of a number, whose differences are looked at
        confidence : float in (0, 1), of the intervals

        Returns
        -------
        Paired
            Its arrays have the other axes: the median of the differences, the effect, McNemar's exact test.

        Raises
        ------
        KeyError
            for an axis, a value or an outcome that there is not
        ValueError
            for an axis of the ensemble, whose trials share no problems, and without two values
        """
        check_names({axis: None}, self.axes)
        if axis in stated.drawing_axes(self.table):
            raise ValueError(
                f"the trials along {axis!r} draw different problems, so there are no pairs: compare the rates, or take "
                "an axis of the network, the init or the method"
            )
        if (first is None) != (second is None) or (first is None and len(self.axes[axis]) != 2):
            raise ValueError(f"paired needs two values of {axis!r}, of {shown(list(self.axes[axis]))}")
        at = list(self.axes).index(axis)
        one, other = (0, 1) if first is None else (place_on(axis, self.axes[axis], value) for value in (first, second))
        if one == other:
            raise ValueError(f"paired needs two different values of {axis!r}, got {shown(first)} twice")
        numbers = self[outcome]
        if self.fields[outcome].shape:
            raise ValueError(f"of {outcome!r} each trial has an array {self.fields[outcome].shape}, no number")
        arrays = (numbers, self.success.of(self.outcomes), self.done)
        left, right = ([np.take(a, i, axis=at)[..., self._pilot :] for a in arrays] for i in (one, other))
        made = differences(left[0], right[0], (left[1], right[1]), left[2] & right[2], confidence)
        others = {name: values for name, values in self.axes.items() if name != axis}
        values = self.axes[axis]
        return Paired(axis, values[one], values[other], outcome, others, **made, confidence=confidence)  # type: ignore[arg-type]

    def plot_paired(self, first: object = None, second: object = None, axis: str = "method", **options: Any) -> Figure:
        """A picture of where two methods differ: the difference of their rates of success on common draws.

        A map where two of the other axes are numbers, else lines with intervals; dots where McNemar's exact test,
        adjusted for the number of cells, tells the rates apart.

        Parameters
        ----------
        first, second, axis : as in `paired`
        **options : ``x``, ``y``, ``along`` and ``ax``, as in `plot`

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        KeyError, ValueError
            as `paired`, and where no other axis is left
        ImportError
            without matplotlib
        """
        from fastflow.studies import pictures

        found = self.paired(first, second, axis)
        if not found.axes:
            raise ValueError("no other axis is left to draw along: `paired` has the numbers")
        return pictures.difference_map(self.sel({axis: found.first}), found, **options)

    def plot(self, kind: str | None = None, **options: Any) -> Figure:
        """A picture of the study.

        Parameters
        ----------
        kind : "map", "slices", or the label of an outcome that is a number, such as "seconds" or "error"
            A map of rates with fitted curves and the statistical dimension; rates along one axis with intervals; or of
            an outcome a map of its medians, or where there are no two axes of numbers its medians along one with the
            band from its 10% to its 90% quantile. Default a map of rates where two axes are numbers, else slices.
        **options : which axes are where: ``x``, ``y`` and ``along`` of maps, ``along`` of slices
            ``ax`` are matplotlib axes of your own to draw into: one, or as many as there are panels. More in
            `fastflow.studies.pictures`, such as other results to draw ``beside``.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ValueError
            where no cell has trials, or the study has not the axes for it
        ImportError
            without matplotlib
        """
        from fastflow.studies import pictures

        return pictures.plot(self, kind, **{"program": self.program, "parameters": self.parameters(), **options})

    def status_counts(self) -> dict[Status, int]:
        """How many trials ended in which way."""
        values, counts = np.unique(self._own["status"][self._own_done], return_counts=True)
        return {Status(value): int(count) for value, count in zip(values, counts, strict=True)}

    def summary(self) -> str:
        """What was done, in some lines."""
        done, cells = int(np.count_nonzero(self._own_done)), math.prod(self._held.shape)
        share = "" if self._held.is_whole else f" ({self._held.count} of them here)"
        axes = " x ".join(f"{len(values)} {printable(name)}" for name, values in self.axes.items())
        ended = ", ".join(f"{count} {status.label}" for status, count in self.status_counts().items())
        total = self._own["status"].size
        lines = [f"{axes} = {cells} cells{share}, {done} of {total} trials done; {ended or 'none has ended'}"]
        if done:
            seconds = float(np.sum(self._own["seconds"][self._own_done], dtype=np.float64))
            lines.append(
                f"{int(self.successes.sum())} succeeded ({self.success}); all threads together computed for "
                f"{seconds:.3g} s"
            )
        partly = self.partly_done
        if partly:
            lines.append(
                f"{partly} cells are partly done; where time or an interrupt ended the run, trials that take long are "
                "missing in them, so their rates lean to fast ones: go on until they are whole"
            )
        if self._pilot:
            lines.append(
                f"adaptive: the first {self._pilot} trials of each cell decide how many follow, and do not count"
            )
        if self.computed:
            rate = self.computed / max(self.seconds, 1e-9)
            lines.append(
                f"this run: {self.computed} trials in {self.seconds:.3g} s, {rate:.{0 if rate >= 100 else 2}f} trials/s"
            )
        return "\n".join(lines)

    def to_xarray(self) -> xarray.Dataset:
        """An `xarray.Dataset` over the axes and the trial; NaN, and status -1, where a trial is not done.

        Of an adaptive study the attribute ``pilot`` says how many first trials do not count in successes and trials.

        Raises
        ------
        ImportError
            without xarray
        """
        return exports.to_xarray(
            self.axes, coordinates(self.table), self.outcomes, self.fields, self.success, self._pilot
        )

    def to_dataframe(self) -> pandas.DataFrame:
        """A `pandas.DataFrame` with a row for each trial that is done, of an adaptive study without the pilots.

        An outcome that is an array has a column for each of its entries, ``alpha_0`` and so on.

        Raises
        ------
        ImportError
            without pandas
        """
        return exports.to_dataframe(
            self.axes, coordinates(self.table), self.outcomes, self.fields, self.success, self._pilot
        )

    def save(self, store: str | Path) -> Path:
        """Write the result to a new store; `fastflow.open_study` reads it back.

        Raises
        ------
        StoreError
            when there is something at this place already, or it cannot be written
        """
        path = store_path(store).resolve()  # not a link, which would have a lock of its own
        require_zarr()
        with locked(path) as lock:
            recover(path)
            if path.exists():
                raise StoreError(f"{path} exists already")
            make = functools.partial(create, adaptive=self.adaptive, makers=self._makers)
            lock.keeping(functools.partial(make, path, self.table, self._own, self._held, lock))
        return path

    def __repr__(self) -> str:
        return f"<StudyResult: {self.summary()}>"

    def _repr_html_(self) -> str:
        return as_html(self.summary())
