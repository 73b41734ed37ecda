"""What a study asks of each trial beside what it always keeps: measures by name, functions of a user, events."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.arrays import as_array
from fastflow.checks import as_number, one_of, shown
from fastflow.ensembles.custom import importable
from fastflow.equality import by_value
from fastflow.methods import Method
from fastflow.records import NAMED, Record
from fastflow.status import Status
from fastflow.studies.ends import Ends, Trial
from fastflow.studies.measures import MEASURED, Case
from fastflow.studies.outcomes import DTYPES, FIELDS, LABEL, Field, Values, as_field, lacks, nothing

STEPS, SPACING = 200, "log"
"""At how many steps a history is recorded that says nothing of it."""


_NUMBER = as_field()


class NotImportable(ImportError):
    """A function that a process cannot import, which says nothing of any trial."""


class Asked(ABC):
    """What a study asks of each trial."""

    is_function: ClassVar[bool] = False
    """Whether its errors name the trial."""
    may_lack: ClassVar[bool] = False
    """Whether that a trial has no such number is nothing to warn of."""

    @property
    def is_stated(self) -> bool:
        """Whether it is known what it is of one trial, before there is any."""
        return True

    @property
    @abstractmethod
    def field(self) -> Field:
        """What it is of one trial, if that is stated."""

    @property
    @abstractmethod
    def label(self) -> str:
        """How it is called where nobody says it."""

    @property
    @abstractmethod
    def meaning(self) -> str:
        """What it is, in words."""

    @property
    def record(self) -> Record | None:
        """What must be recorded for it; None for nothing."""
        return None

    def check(self, case: Case) -> None:  # noqa: B027, since not everything needs something
        """Ask whether the trials of a case have it.

        Raises
        ------
        ValueError
            where they have not
        """

    @abstractmethod
    def evaluate(self, ends: Ends) -> Values:
        """The values ``(trials, *shape)`` of its `field`; what a trial does not have is the field's none."""


@dataclass(frozen=True)
class Named(Asked):
    """A measure of the table `MEASURES`.

    Attributes
    ----------
    name : str
    """

    name: str

    def __post_init__(self) -> None:
        one_of("an outcome", self.name, MEASURED)

    @property
    def field(self) -> Field:
        return MEASURED[self.name].field

    @property
    def label(self) -> str:
        return self.name

    @property
    def meaning(self) -> str:
        return MEASURED[self.name].meaning

    @property
    def record(self) -> Record | None:
        return MEASURED[self.name].record

    def check(self, case: Case) -> None:
        MEASURED[self.name].check(case)

    def evaluate(self, ends: Ends) -> Values:
        measure = MEASURED[self.name]
        made = nothing(self.field, len(ends))
        has = np.flatnonzero(ends.kept["status"] != Status.FAILED) if measure.of_diverged else ends.ended
        made[has] = np.asarray(measure.make(ends))[has]
        return made


@by_value("title", "version", "shape", "dtype", "history", "steps", "spacing")
class Outcome(Asked):
    """An outcome of your own: a function of where a trial has ended, ``function(trial) -> number or small array``.

    Parameters
    ----------
    function : a function at the top level of a module
        Other processes import it. It is given a `fastflow.studies.ends.Trial`, which has ``solution``, ``factors``,
        ``problem``, ``test``, ``truth``, ``history``, ``status``, ``steps``, ``loss`` and ``error``; not called for
        trials that diverged or failed, which have NaN instead.
    version : int or str
        Change it when the function changes what it gives: outcomes of two versions are never put into one store.
    shape : tuple of int, of what the function gives; () is a number
    dtype : "float64", "float32", "int64" or "int8"
        What is none of that kind raises. Integers have no NaN: the least but one stands for it, where the function
        gives NaN, too. Shape and dtype that are not stated are those of what the function gives of the study's first
        trial, which is computed once more for it when there is no store yet that knows; whole numbers are int64 then.
    history : names of what `Record` has, which are recorded for the function
    steps, spacing : when, as those of `Record`

    Raises
    ------
    ValueError, TypeError
        for a function that cannot be imported, and for what is no small array

    Examples
    --------
    >>> study = ff.Study(
    ...     ff.ensembles.Sparse(n=20, sparsity=2), method=ff.baselines.LeastNorm(), axes={"m": [5, 10]}, trials=3,
    ...     outcomes={"largest": ff.Outcome(largest, version=1)},  # largest(trial) gives abs(trial.solution).max()
    ... )  # doctest: +SKIP
    >>> study.run()["largest"].shape  # doctest: +SKIP
    (2, 3)
    """

    is_function: ClassVar[bool] = True

    def __init__(
        self,
        function: Callable[[Trial], ArrayLike],
        version: int | str = 0,
        *,
        shape: Sequence[int] | None = None,
        dtype: str | None = None,
        history: Sequence[str] = (),
        steps: int | ArrayLike = STEPS,
        spacing: str = SPACING,
    ) -> None:
        importable(function)
        self.function: Callable[[Trial], ArrayLike] | None = function
        self.title = f"{function.__module__}:{function.__qualname__}"
        if len(inspect.signature(function).parameters) < 1:
            raise TypeError(f"{self.title} must take a trial")
        if not isinstance(version, int | str) or isinstance(version, bool):
            raise TypeError(f"version must be an integer or a string, got {shown(version)}")
        self.version = version
        field = as_field("float64" if dtype is None else dtype, () if shape is None else shape)
        self.shape, self.dtype = None if shape is None else field.shape, None if dtype is None else field.dtype
        names = [history] if isinstance(history, str) else history
        self.history = tuple(one_of("each of history", name, NAMED) for name in names)
        self.steps, self.spacing = _as_steps(steps), spacing
        _record_of(self.history, self.steps, spacing)

    def __getstate__(self) -> dict[str, object]:
        # By its name: a process that cannot import it says so where the outcome is known. What is in a script has none.
        return {**vars(self), "function": self.function if self.title.startswith("__main__:") else None}

    @property
    def is_stated(self) -> bool:
        return self.shape is not None and self.dtype is not None

    @property
    def field(self) -> Field:
        if self.shape is None or self.dtype is None:
            raise ValueError(f"shape and dtype of {self.title} are not stated, and no trial has told them")
        return as_field(self.dtype, self.shape)

    def as_of(self, dtype: str, shape: tuple[int, ...]) -> Outcome:
        """The outcome with these where it states none."""
        told = copy.copy(self)
        told.__dict__.update(vars(self))  # with the function, which a pickle has not
        told.dtype = dtype if self.dtype is None else self.dtype
        told.shape = shape if self.shape is None else self.shape
        return told

    @property
    def label(self) -> str:
        return self.title.rpartition(":")[2].rpartition(".")[2]

    @property
    def meaning(self) -> str:
        return f"{self.title}, version {self.version}"

    @property
    def record(self) -> Record | None:
        return _record_of(self.history, self.steps, self.spacing) if self.history else None

    def check(self, case: Case) -> None:
        if self.history and case.init is None:
            raise ValueError(f"the outcome {self.title} needs a history, which a baseline has not")

    def evaluate(self, ends: Ends) -> Values:
        function, record = self._call(), self.record
        field = self.field if self.is_stated else None
        values = None if field is None else nothing(field, len(ends))
        trials = ends.each
        if record is not None:
            moments = _moments(record, ends)
            trials = {place: Trial(ends, place, moments) for place in trials}
        for place, trial in trials.items():
            try:
                value = function(trial)
                if field is None or values is None:
                    field = self._field_of(value)
                    values = nothing(field, len(ends))
                values[place] = self._as_value(value, field)
            except (MemoryError, OSError):
                raise
            except Exception as error:
                raise RuntimeError(f"trial {trial.number}: {type(error).__name__}: {error}") from error
        return nothing(as_field(), len(ends)) if values is None else values

    def _call(self) -> Callable[[Trial], ArrayLike]:
        if self.function is not None:
            return self.function
        module, _, path = self.title.partition(":")
        try:
            found: object = importlib.import_module(module)
            for part in path.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError) as error:
            raise NotImportable(f"{self.title} cannot be imported here: {error}") from error
        return cast(Callable[[Trial], ArrayLike], found)

    def _field_of(self, value: ArrayLike) -> Field:
        """What the function gives, by the first value."""
        if value is None:
            raise TypeError("it gives None, which has no shape: give NaN where there is no such number")
        array = as_array("what it gives", value)
        kinds = {"b": "int8", "i": "int64", "u": "int64", "f": "float64"}
        found = str(array.dtype) if str(array.dtype) in DTYPES else kinds.get(array.dtype.kind)
        if found is None and self.dtype is None:
            raise TypeError(f"it gives {array.dtype}, which is no real number")
        told = self.as_of(found or "", array.shape)
        return as_field(told.dtype, told.shape)

    def _as_value(self, value: ArrayLike, field: Field) -> Values | float:
        """What the function has given, if it is of the field."""
        if field == _NUMBER and isinstance(value, float | int | np.floating | np.integer):
            number = float(value)  # most values pass here, without more ado
            if number == value and number > field.fill:
                return number
        if value is None:
            raise TypeError("it gives None: give NaN where there is no such number")
        array = as_array("what it gives", value)
        if array.shape != field.shape:
            raise ValueError(f"it gives an array of shape {array.shape}, not {field.shape}: say shape={array.shape}")
        whole = np.dtype(field.dtype).kind == "i"
        if whole and array.dtype.kind == "f" and np.isnan(array).all():
            return nothing(field, 1)[0]
        if array.dtype.kind != "b" and not (
            array.dtype.kind in "iuf" and np.can_cast(array.dtype, field.dtype, "same_kind")
        ):
            raise TypeError(f"it gives {array.dtype}, not {field.dtype}: say another dtype")
        with np.errstate(over="ignore", invalid="ignore"):
            made = cast(Values, array.astype(field.dtype))
        if array.dtype.kind in "iu" and np.any(made != array):
            raise ValueError(f"it gives {shown(array)}, which {field.dtype} does not hold")
        if np.any(lacks(made, field)):
            raise ValueError(f"it gives {field.fill:g}, which stands for what is not done")
        return made

    def __repr__(self) -> str:
        stated = {"shape": self.shape, "dtype": self.dtype}
        of_field = "".join(f", {name}={value!r}" for name, value in stated.items() if value is not None)
        return f"Outcome({self.title}, version={self.version!r}{of_field})"


@dataclass(frozen=True)
class Event(Asked):
    """The first recorded moment at which a recorded quantity is on one side of a threshold, NaN where it never is.

    It has happened after the moment before: the moments at which it is looked for are its resolution, and part of what
    a store has under its name.

    Parameters
    ----------
    quantity : a number that `Record` has, such as "effective_rank"
    below, at_least : float, the quantity is at most, or at least, this
    within, of : float, the quantity differs from ``of`` by at most ``within``
        One of these three conditions.
    steps, spacing : when the quantity is recorded, as those of `Record`; a flow records at its times

    Raises
    ------
    ValueError, TypeError
        for what is no quantity, and for no condition or several

    Examples
    --------
    >>> import fastflow as ff
    >>> str(ff.Event("effective_rank", within=0.05, of=2))
    'first moment with effective_rank within 0.05 of 2'
    """

    quantity: str
    below: float | None = None
    at_least: float | None = None
    within: float | None = None
    of: float | None = None
    steps: int | tuple[int, ...] = STEPS
    spacing: str = SPACING

    may_lack: ClassVar[bool] = True

    def __post_init__(self) -> None:
        one_of("quantity", self.quantity, NAMED)
        given = [name for name in ("below", "at_least", "within") if getattr(self, name) is not None]
        if len(given) != 1 or (self.of is None) != (self.within is None):
            raise ValueError("an Event needs one of below=, at_least=, and within= with of=")
        for name in (*given, *(["of"] if self.of is not None else [])):
            object.__setattr__(self, name, as_number(name, getattr(self, name)))
        object.__setattr__(self, "steps", _as_steps(self.steps))
        _record_of((self.quantity,), self.steps, self.spacing)

    def __str__(self) -> str:
        if self.within is not None:
            condition = f"within {self.within:g} of {self.of:g}"
        elif self.below is not None:
            condition = f"at most {self.below:g}"
        else:
            condition = f"at least {self.at_least:g}"
        return f"first moment with {self.quantity} {condition}"

    @property
    def field(self) -> Field:
        return as_field()

    @property
    def label(self) -> str:
        return f"first_{self.quantity}"

    @property
    def meaning(self) -> str:
        when = f"{self.steps} steps, {self.spacing}" if isinstance(self.steps, int) else f"{len(self.steps)} steps"
        return f"{self}, of those recorded ({when}; of a flow its times)"

    @property
    def record(self) -> Record:
        return _record_of((self.quantity,), self.steps, self.spacing)

    def check(self, case: Case) -> None:
        if case.init is None:
            raise ValueError(f"the event ({self}) needs a history, which a baseline has not")
        shape = self.record.shapes(case.architecture, has_truth=case.problem.truth is not None).get(self.quantity)
        if shape != ():
            raise ValueError(f"the event ({self}): no such number is recorded of these problems and networks")
        prepare = NAMED[self.quantity].prepare
        if prepare is not None:
            prepare(case.subject(case.init))

    def evaluate(self, ends: Ends) -> Values:
        history = ends.trained.runs.history
        assert history is not None
        values = getattr(history, self.quantity)[ends.trained.chosen]
        moments = np.asarray(history.axis[1], np.float64)
        if history.steps is not None:
            at = np.isin(history.steps, self.record.grid(ends.most_steps))
            values, moments = values[:, at], moments[at]
        with np.errstate(invalid="ignore"):
            if self.within is not None:
                met = np.abs(values - self.of) <= self.within
            else:
                met = values <= self.below if self.below is not None else values >= self.at_least
        return np.where(met.any(axis=1), moments[np.argmax(met, axis=1)], np.nan)


def as_asked(outcomes: object) -> dict[str, Asked]:
    """What a user asks for, by its labels: a list of names and outcomes, or a dict with labels.

    Raises
    ------
    ValueError, TypeError
        for what is no outcome, and for labels that are no names or have another meaning
    """
    if outcomes is None:
        return {}
    if isinstance(outcomes, Mapping):
        given = [(label, one) for label, one in outcomes.items()]
    elif isinstance(outcomes, list | tuple):
        given = [(None, one) for one in outcomes]
    else:
        raise TypeError(f"outcomes must be a list, or a dict, label: outcome, got {shown(outcomes)}")
    asked: dict[str, Asked] = {}
    for label, one in given:
        made = _as_one(one)
        name = as_label(made.label if label is None else label)
        if name in asked:
            raise ValueError(f"two outcomes would be called {name!r}: give a dict, label: outcome")
        asked[name] = made
    return asked


def _as_one(one: object) -> Asked:
    if isinstance(one, Asked):
        return one
    if isinstance(one, str):
        return Named(one)
    if callable(one) and not isinstance(one, type):
        return Outcome(one)
    raise TypeError(
        f"an outcome is one of {', '.join(MEASURED)}, an Event, or a function, as Outcome(function, version), got "
        f"{shown(one)}"
    )


def as_label(label: object) -> str:
    """What an outcome may be called.

    Raises
    ------
    ValueError
        for what is no name, and for that of something else
    """
    if not isinstance(label, str) or not LABEL.fullmatch(label):
        raise ValueError(f"an outcome must be called by letters, digits and _, such as 'sharpness', got {shown(label)}")
    if label in TAKEN:
        raise ValueError(f"an outcome cannot be called {label!r}, which results have for something else")
    return label


TAKEN = ("trial", "cell", "trials", "success", "successes", "relative_error", *FIELDS)
"""Names that stores, tables and results have for something else."""


def record_for(asked: Mapping[str, Asked], method: Method) -> Record | None:
    """One record that has what all of them need; None where none needs any."""
    records = [record for record in (one.record for one in asked.values()) if record is not None]
    if not records:
        return None
    wanted = {name for record in records for name in record.wanted}
    steps: int | NDArray[np.int64] = records[0].steps
    grids = [record.grid(method.max_steps or 0) for record in records]
    if not all(np.array_equal(grid, grids[0]) for grid in grids):
        steps = np.unique(np.concatenate(grids))
    return Record(steps, records[0].spacing, folder=None, **{name: name in wanted for name in NAMED})


def _moments(record: Record, ends: Ends) -> NDArray[np.int64] | None:
    """The steps at which a record looks at the runs, whatever else was recorded."""
    history = ends.trained.runs.history
    return None if history is None or history.steps is None else record.grid(ends.most_steps)


def _as_steps(steps: int | ArrayLike) -> int | tuple[int, ...]:
    """Steps as a `Record` takes them, which can be compared and hashed."""
    asked = Record(steps).steps
    return asked if isinstance(asked, int) else tuple(asked.tolist())


@functools.lru_cache(64)
def _record_of(names: tuple[str, ...], steps: int | tuple[int, ...], spacing: str) -> Record:
    when = steps if isinstance(steps, int) else np.array(steps)
    return Record(when, spacing, folder=None, **{name: name in names for name in NAMED})
