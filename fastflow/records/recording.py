"""Recordings: the histories of the runs of one call, while these go on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray, FloatDType, NumberArray
from fastflow.mapping import Sizes, folder_for, full_of_nan
from fastflow.memory import require_memory
from fastflow.networks import Architecture
from fastflow.problems import Problem
from fastflow.records.history import History
from fastflow.records.quantities import NAMED, Shape, Source
from fastflow.records.record import Record, bytes_per_moment
from fastflow.records.snapshot import Snapshot, Subject

AXES: Mapping[str, type[np.int64 | np.float64]] = {"steps": np.int64, "times": np.float64}
"""What moments are on each axis."""


class Recording:
    """The histories of the runs of one call: arrays to write into, and what makes of products what goes there.

    Parameters
    ----------
    axis : "steps" or "times"
    moments : array (moments,), of steps or times
    shapes : what is kept per run and moment, as `Record.shapes` has it
    chosen : the folder for what is kept, where the user names one

    Attributes
    ----------
    folder : the folder in whose file the histories lie; None in memory
    histories : dict, name: array (runs, moments, *shape), full of NaN until written
    taken : int array (runs,), the steps that runs have taken; None where moments are times
    """

    def __init__(
        self, axis: str, moments: NumberArray, shapes: Mapping[str, Shape], chosen: Path | None = None
    ) -> None:
        # A copy of one type for each axis: kernels would be compiled anew for what is read-only, or empty integers.
        self.axis, self.shapes = axis, dict(shapes)
        self.moments: NumberArray = np.array(moments, AXES[axis])
        self.folder, self._chosen = chosen, chosen
        self.histories: dict[str, FloatArray] = {}
        self._subject: Subject | None = None
        self.taken: NDArray[np.int64] | None = None

    def nbytes(self, runs: int, dtype: FloatDType) -> int:
        """Bytes that the histories of so many runs take."""
        return bytes_per_moment(self.shapes, dtype.itemsize) * runs * len(self.moments)

    def open(self, runs: int, dtype: FloatDType, beside: int, work: Sizes) -> dict[str, FloatArray]:
        """Make the arrays.

        Parameters
        ----------
        runs : int
        dtype : of the runs
        beside : int, bytes that will be taken, too
        work : name: (shape, dtype) of arrays that the work needs for all moments, and that lie where the histories do

        Returns
        -------
        dict, name: array of ``work``, full of NaN

        Raises
        ------
        MemoryError
            where not even the rest fits into memory, or the disk has no room for the histories
        """
        what = f"the results of {runs} runs"
        size = self.nbytes(runs, dtype) + sum(math.prod(shape) * kind.itemsize for shape, kind in work.values())
        self.folder = folder_for(size, beside, self._chosen)
        require_memory(beside + (size if self.folder is None else 0), what, "take fewer runs, or record less")
        number = np.dtype(np.float64)  # numbers are float64, arrays of the dtype of the runs
        sizes = {
            name: ((runs, len(self.moments), *shape), dtype if shape else number) for name, shape in self.shapes.items()
        }
        arrays = full_of_nan({**sizes, **work}, self.folder, what)
        self.histories = {name: arrays[name] for name in sizes}
        return {name: arrays[name] for name in work}

    def prepare(
        self,
        problems: Sequence[Problem],
        architecture: Architecture,
        problem_index: NDArray[np.int64],
        truths: FloatArray,
        starts: FloatArray,
    ) -> None:
        """Learn what the runs are, and from where they start.

        Raises
        ------
        ValueError
            when something is to be recorded that is not known of them
        """
        self._subject = Subject(problems, architecture, problem_index, truths, starts, self.axis)
        for name in self.shapes:
            prepare = NAMED[name].prepare
            if prepare is not None:
                prepare(self._subject)

    def needs(self, source: Source) -> bool:
        """Whether anything that is recorded is made from that."""
        return any(NAMED[name].source is source for name in self.shapes)

    @property
    def is_costly(self) -> bool:
        """Whether one moment takes milliseconds."""
        return any(NAMED[name].costly for name in self.shapes)

    def of_kernel(self, name: str) -> FloatArray:
        """The history that kernels write themselves, or an empty array where it is not wanted."""
        return self.histories.get(name, np.zeros((0, 0)))

    def write(self, run: int, moments: NDArray[np.int64], made: Mapping[str, FloatArray]) -> None:
        """Write what was made elsewhere at such moments of a run, as far as it is wanted."""
        for name, values in made.items():
            if name in self.histories:
                self.histories[name][run, moments] = values

    def keep(
        self,
        runs: NDArray[np.int64],
        moments: NDArray[np.int64],
        flat_products: FloatArray,
        flat_factors: FloatArray,
    ) -> None:
        """Write what is made of products and factors, flat, at such moments of such runs."""
        assert self._subject is not None
        products = flat_products.reshape(-1, *self._subject.architecture.solution_shape)
        seen = Snapshot(self._subject, runs, products, flat_factors, self._entries(runs, moments))
        for name, values in self.histories.items():
            make = NAMED[name].make
            if make is not None:
                values[runs, moments] = make(seen)

    def _entries(self, runs: NDArray[np.int64], moments: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which entries these are, -1 for what repeats where a run has ended before the moment."""
        if self.taken is None:
            return moments
        return np.where(self.moments[moments] <= self.taken[runs], moments, -1)

    def forget(self, run: int, entry: int) -> None:
        """Take back what was written of a run at a moment."""
        for values in self.histories.values():
            values[run, entry] = np.nan

    def repeat_last(self, run: int, recorded: int) -> None:
        """Let the history of a run that is at rest repeat the last of so many values."""
        if 0 < recorded < len(self.moments):
            for values in self.histories.values():
                values[run, recorded:] = values[run, recorded - 1]

    def history(self, architecture: Architecture, stacklevel: int) -> History | None:
        """What was recorded, None if that was nothing; warns of what should not be.

        Parameters
        ----------
        architecture : Architecture
        stacklevel : int, of a warning, from the caller of this method
        """
        if not len(self.moments):
            return None
        for name, values in self.histories.items():
            review = NAMED[name].review
            if review is not None and self._subject is not None:
                wrong = review(self._subject, values, self.moments)
                if wrong is not None:
                    warnings.warn(wrong, stacklevel=stacklevel + 1)
        kept: dict[str, Any] = {self.axis: self.moments, **self.histories}
        if "factors" in kept:
            kept["factors"] = architecture.unpack(self.histories["factors"])
        return History(**kept)


def no_recording(axis: str) -> Recording:
    """A recording of nothing."""
    return Recording(axis, np.zeros(0, np.int64), {})


def recording_at_steps(record: Record | None, architecture: Architecture, max_steps: int, has_truth: bool) -> Recording:
    """The recording of methods that count steps."""
    if record is None:
        return no_recording("steps")
    shapes = record.shapes(architecture, has_truth=has_truth)
    return Recording("steps", record.grid(max_steps), shapes, record.folder)


def recording_at_times(
    record: Record | None, architecture: Architecture, times: FloatArray, has_truth: bool
) -> Recording:
    """The recording of methods that follow time; by default of everything and of the product."""
    if not times.size:
        return no_recording("times")
    record = Record(product=True) if record is None else record
    return Recording("times", times, record.shapes(architecture, has_truth=has_truth), record.folder)
