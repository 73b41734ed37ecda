"""Records: when what is kept of every run."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.arrays import as_array
from fastflow.checks import as_count, meant, one_of, shown
from fastflow.equality import by_value
from fastflow.mapping import as_folder
from fastflow.networks import Architecture
from fastflow.records.quantities import NAMED, QUANTITIES, Shape

STEPS, SPACING = 200, "log"
"""What a `Record` takes if it is told nothing of steps."""
LAST = "last"
SPACINGS = ("log", "linear", LAST)


@by_value("steps", "spacing", "folder", "wanted")
class Record:
    __doc__ = (
        """When and what to record of every run.

    Parameters
    ----------
    steps : int or increasing int array
        How many steps, spread over 0 .. max_steps with both ends in, or which ones. (Spread steps that round to the
        same integer are taken once.)
    spacing : "log" or "linear", how a number of steps is spread; or "last"
        The last so many before ``max_steps``, one step apart, as `Runs.periods` needs them.
    folder : path of a folder, default None
        Where what is recorded lies in a file that is gone when nobody uses it any more, whatever its size. None: in
        memory, or, if it takes more than half of that, in the folder of temporary files (TMPDIR).
"""
        + "".join(
            f"    {quantity.name} : bool, default {quantity.default}\n"
            + textwrap.indent(textwrap.fill(quantity.meaning, 100), " " * 8)
            + "\n"
            for quantity in QUANTITIES
        )
        + """
    Notes
    -----
    What does not apply to a network or problem is left out.

    Examples
    --------
    >>> record = ff.Record(steps=[0, 50, 100], product=True)
    >>> problem, method = ff.MatrixEstimation(np.diag([3.0, 1])), ff.GradientDescent(max_steps=100, tol=0)
    >>> runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.1), method, runs=4, threads=1, record=record)
    >>> runs.history.steps.tolist(), runs.history.product.shape, runs.history.effective_rank.shape
    ([0, 50, 100], (4, 3, 2, 2), (4, 3))
    """
    )

    def __init__(
        self,
        steps: int | ArrayLike = STEPS,
        spacing: str = SPACING,
        *,
        folder: str | Path | None = None,
        **quantities: bool,
    ) -> None:
        self.steps: int | NDArray[np.int64]
        array = as_array("steps", steps)
        if array.ndim == 0:
            self.steps = as_count("steps", steps, 2)
        else:
            if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
                raise ValueError(f"steps must be a number of steps or an array of integers, got {shown(steps)}")
            if array[0] < 0 or np.any(np.diff(array.astype(np.int64)) <= 0):
                raise ValueError("steps must be nonnegative and strictly increasing")
            self.steps = array.astype(np.int64)
            self.steps.flags.writeable = False
        self.spacing = one_of("spacing", spacing, SPACINGS)
        self.folder = None if folder is None else as_folder("folder", folder)
        for name in quantities:
            if name not in NAMED:
                raise TypeError(f"a Record has no {name!r}; it has {', '.join(NAMED)}{meant(name, NAMED)}")
        self.wanted = tuple(q.name for q in QUANTITIES if quantities.get(q.name, q.default))

    def __repr__(self) -> str:
        steps = self.steps if isinstance(self.steps, int) else f"<{self.steps.size} steps>"
        folder = "" if self.folder is None else f", folder={str(self.folder)!r}"
        changed = "".join(f", {q.name}={not q.default}" for q in QUANTITIES if (q.name in self.wanted) != q.default)
        return f"Record(steps={steps}, spacing={self.spacing!r}{folder}{changed})"

    def with_product(self) -> Record:
        """This record, and the product."""
        return self.also("product")

    def also(self, *names: str) -> Record:
        """This record, and other quantities of the table."""
        chosen = {name: name in self.wanted or name in names for name in NAMED}
        return Record(self.steps, self.spacing, folder=self.folder, **chosen)

    @property
    def says_when(self) -> bool:
        """Whether steps or their spacing were chosen."""
        return not isinstance(self.steps, int) or (self.steps, self.spacing) != (STEPS, SPACING)

    def grid(self, max_steps: int) -> NDArray[np.int64]:
        """The steps at which a run of ``max_steps`` steps is recorded."""
        if isinstance(self.steps, np.ndarray):
            return self.steps
        if self.spacing == LAST:
            return np.arange(max(0, max_steps + 1 - self.steps), max_steps + 1)
        if self.spacing == "linear" or max_steps <= 1 or self.steps == 2:
            points = np.linspace(0, max_steps, self.steps)
        else:
            points = np.concatenate([[0.0], np.geomspace(1, max_steps, self.steps - 1)])
        return np.unique(np.rint(points).astype(np.int64))

    def shapes(self, architecture: Architecture, *, has_truth: bool = True) -> dict[str, Shape]:
        """What is kept per run and moment, by name, each with its shape."""
        shapes = {name: NAMED[name].shape(architecture) for name in self.wanted}
        return {
            name: shape
            for name, shape in shapes.items()
            if shape is not None and (has_truth or not NAMED[name].needs_truth)
        }

    def nbytes(
        self,
        architecture: Architecture,
        runs: int,
        max_steps: int,
        dtype: DTypeLike = np.float64,
        *,
        has_truth: bool = True,
    ) -> int:
        """Bytes that the histories of so many runs will take."""
        shapes = self.shapes(architecture, has_truth=has_truth)
        return bytes_per_moment(shapes, np.dtype(dtype).itemsize) * runs * len(self.grid(max_steps))


def _signature() -> inspect.Signature:
    """The arguments of a `Record` by name, for help and completion."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    given = [p for p in inspect.signature(Record.__init__).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    given.append(inspect.Parameter("folder", keyword, default=None, annotation=str | Path | None))
    of_table = [inspect.Parameter(q.name, keyword, default=q.default, annotation=bool) for q in QUANTITIES]
    return inspect.Signature([*given, *of_table])


Record.__signature__ = _signature()  # type: ignore[attr-defined]


def bytes_per_moment(shapes: Mapping[str, Shape], itemsize: int) -> int:
    """Bytes that one run takes at one moment: arrays in the precision of the runs, numbers in float64."""
    return sum(int(np.prod(shape, dtype=np.int64)) * (itemsize if shape else 8) for shape in shapes.values())
