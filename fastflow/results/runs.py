"""Runs: what training gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastflow.arrays import AnyArray
from fastflow.checks import FloatArray, NumberArray
from fastflow.equality import by_value
from fastflow.inits import Explicit
from fastflow.inits.base import RuleMemory
from fastflow.kernels.vectors.peak import measured_peak
from fastflow.networks import Architecture, Chain
from fastflow.notebooks import as_html
from fastflow.records import History
from fastflow.results import pictures
from fastflow.results.figures import Given
from fastflow.results.files import MEMORY, Facts, read_runs, write_runs
from fastflow.results.tables import dataset_of
from fastflow.status import Status
from fastflow.theory.large_steps import FEWEST, period

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

QUANTILES = (0.1, 0.5, 0.9)
MEASURED_BYTES = 2**22
"""Of so many bytes of solutions at a time is measured what a summary says."""


@by_value(hashable=False)
@dataclass(eq=False, repr=False)
class Runs:
    """The runs of one call of `train`; the first axis of every array is the run.

    Attributes
    ----------
    solution : array (runs, d_N, d_0) or (runs, n), the product W or x at the end
    loss : array (runs,), the loss at the end
    status : int array (runs,) of `Status`
    steps : int array (runs,), steps taken; those of a `FlowLimit` are Newton's
    error : array (runs,) or None, ``||W - truth||_F / ||truth||_F`` (of x likewise) where the problem has a truth
    step : array (runs,), the (first) step that was used; NaN for an explicit sequence
    problem_index, run_index : int arrays (runs,), which problem of the list, which of its starts
    architecture : Architecture, where factors lie; ``architecture.widths`` of a DeepLinear network
    history : `History`, or None without a record
    seconds : float, wall time of the training itself, without drawing and compiling
    threads : int, that were used
    flops : float, floating-point operations of the products in that time
    description : dict of str, how the runs were made, in words
    memory : what the update rule remembers, such as velocities, ``(rule, slots, rates, begun)``; None of what has none
        ``memory.slots`` is (runs, slots * parameters), factors laid out as in ``flat_factors``.

    Examples
    --------
    >>> problem, method = ff.MatrixEstimation(np.diag([3.0, 1])), ff.GradientDescent(max_steps=2000)
    >>> runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.1), method, runs=4, threads=1)
    >>> runs.solution.shape, [factor.shape for factor in runs.factors]
    ((4, 2, 2), [(4, 2, 2), (4, 2, 2)])
    >>> {status.label: count for status, count in runs.status_counts().items()}
    {'converged': 4}
    >>> bool(np.allclose(runs.solution, problem.target, atol=1e-4))
    True
    """

    solution: FloatArray
    loss: FloatArray
    status: NDArray[np.int64]
    steps: NDArray[np.int64]
    error: FloatArray | None
    step: FloatArray
    problem_index: NDArray[np.int64]
    run_index: NDArray[np.int64]
    architecture: Architecture
    history: History | None
    seconds: float
    threads: int
    flops: float
    description: dict[str, str]
    flat_factors: FloatArray = field(repr=False)
    memory: RuleMemory | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.loss)

    def __repr__(self) -> str:
        ended = ", ".join(f"{count} {status.label}" for status, count in self.status_counts().items())
        what = f"{len(self)} runs of {self.description['network']} on {self.description['problem']}"
        return f"<Runs: {what}; {ended}; median loss {np.median(self.loss):.4g}>"

    @property
    def factors(self) -> list[FloatArray]:
        """The factors at the end, first to last: views (runs, d_j, d_{j-1}) of one array.

        Of a DiagonalLinear network u and v, (runs, n), or u_1, ..., u_L, v_1, ..., v_L if they are not identical.
        """
        return self.architecture.unpack(self.flat_factors)

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths (d_0, ..., d_N) of a DeepLinear network.

        Raises
        ------
        AttributeError
            for a network without widths
        """
        if not isinstance(self.architecture, Chain):
            raise AttributeError(f"{self.architecture.title} has no widths")
        return self.architecture.widths

    @property
    def last(self) -> Explicit:
        """Where every run is: ``train(problem, network, runs.last, ...)`` goes on from here, counting steps on.

        By a method of the same class it goes on with what the update rule remembers, such as velocities: with the bits
        of never having stopped. By another one that begins anew.
        """
        return Explicit(self.factors, steps=self.steps).remembering(self.memory)

    def status_counts(self) -> dict[Status, int]:
        """How many runs ended in which way."""
        values, counts = np.unique(self.status, return_counts=True)
        return {Status(value): int(count) for value, count in zip(values, counts, strict=True)}

    def periods(self) -> NDArray[np.int64]:
        """After how many steps each run was where it had been: (runs,) of `theory.Period`.

        Of the last records of the product, which must be one step apart: ``Record(64, "last", product=True)``. See
        `theory.period`.

        Raises
        ------
        ValueError
            when they are not, or no product was recorded
        """
        history = self.history
        if history is None or history.product is None or history.steps is None:
            raise ValueError("periods are those of the product, step by step: record it, with Record(product=True)")
        together = np.flatnonzero(np.diff(history.steps) != 1)
        first = int(together[-1]) + 1 if together.size else 0
        if len(history.steps) - first < FEWEST:
            raise ValueError(
                f"periods need the product after at least {FEWEST} successive steps, the last ones, got "
                f"{len(history.steps) - first}: take Record(64, 'last', product=True)"
            )
        return period(history.product[:, first:])

    @property
    def seed(self) -> int:
        """What random starts, batches and noise were drawn from: ``train(..., seed=runs.seed)`` draws the same."""
        return int(self.description["seed"])

    def _repr_html_(self) -> str:
        return as_html(self.summary())

    def summary(self) -> str:
        """A table: quantiles over the runs that did not diverge, and how the runs ended."""
        kept = self.status != Status.DIVERGED
        rows: list[tuple[str, NumberArray]] = [("loss", self.loss), ("steps", self.steps)]
        if kept.any():
            for name, values in self._measures(kept).items():
                rows.insert(-1, (name, values))
        if self.error is not None:
            rows.insert(-1, ("error", self.error))
        if not np.isnan(self.step).any():
            rows.append(("step size", self.step))
        lines = [f"{len(self)} runs of {self.description['network']} on {self.description['problem']}"]
        lines += [f"from {self.description['init']} by {self.description['method']}, seed {self.seed}"]
        lines += [f"{'':16}" + "".join(f"{name:>12}" for name in ("10%", "median", "90%"))]
        for name, values in rows:
            if kept.any():
                numbers = np.quantile(values[kept].astype(np.float64), QUANTILES)
                lines.append(f"{name:16}" + "".join(f"{number:12.4g}" for number in numbers))
        if kept.any() and self.architecture.measured:
            lines.append(self.architecture.measured)
        for status, count in self.status_counts().items():
            lines.append(f"{count:6d} {status.label}: {status.message}")
        lines.append(f"{self.seconds:.3g} s, {self.steps.sum():.4g} steps in all{self._speed()}")
        return "\n".join(lines)

    def _measures(self, kept: NDArray[np.bool_]) -> dict[str, NumberArray]:
        """What the architecture measures of some runs, NaN of the others; a few at a time, for little memory."""
        few = max(1, MEASURED_BYTES // max(1, self.solution[0].nbytes))
        chosen, values = np.flatnonzero(kept), dict[str, NumberArray]()
        for first in range(0, len(chosen), few):
            runs = chosen[first : first + few]
            for name, measured in self.architecture.measures(self.solution[runs]).items():
                values.setdefault(name, np.full(len(self), np.nan))[runs] = measured
        return values

    def _speed(self) -> str:
        """What the machine did and could do, where the time is long enough to say."""
        if self.flops == 0 or self.seconds < 0.01:
            return ""
        rate, peak = self.flops / self.seconds, measured_peak(self.solution.dtype.name, self.threads)
        return f", {rate / 1e9:.3g} GFLOP/s, {rate / peak:.0%} of the FMA peak of {self.threads} thread(s)"

    def plot(self, quantities: str | Sequence[str] | None = None, *, ax: Given = None) -> Figure:
        """Draw what was recorded against steps or times: median and 10-90% band over the runs that did not diverge.

        Loss, error, and of matrices singular values and effective rank, of vectors l1 norm and support size each have
        a panel where they were recorded; of the singular values the `pictures.MOST_VALUES` largest are drawn.
        Several runs in one picture draws `fastflow.plot.plot_runs`.

        Parameters
        ----------
        quantities : which of them have a panel, such as "loss" or ``["loss", "effective_rank"]``; default all
        ax : matplotlib axes of your own to draw into, one for each panel: one, or a sequence of them

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it, ``figure.savefig("runs.png")`` writes it, ``figure.show()`` hands it to pyplot.

        Raises
        ------
        ValueError
            without a history, when none of these quantities or not the one asked for was recorded, when every run
            diverged, and for another number of axes than of panels
        ImportError
            without matplotlib
        """
        return pictures.draw_history({"": drawn_of(self)}, quantities, ax)

    def to_xarray(self) -> xarray.Dataset:
        """An `xarray.Dataset` with the dimensions run, row, column and, with a record, record.

        Its coordinate is record_step, of a flow record_time. Of a DiagonalLinear network, coordinate stands where row
        and column do.

        Raises
        ------
        ImportError
            without xarray
        """
        numbers = {"loss": self.loss, "status": self.status, "steps": self.steps, "step_size": self.step}
        if self.error is not None:
            numbers["error"] = self.error
        coordinates = {"problem": self.problem_index, "start": self.run_index}
        attributes = {**self.description, **self.architecture.attributes, "seconds": self.seconds}
        return dataset_of(self.solution, numbers, coordinates, self.architecture, self.history, attributes)

    def save(self, path: str | Path) -> Path:
        """Write everything to a ``.npz`` file (NumPy arrays and one JSON text, no pickle); `load` reads it back.

        The file appears whole or not at all.

        Returns
        -------
        the path, with ``.npz`` appended if it was missing
        """
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.error is not None:
            arrays["error"] = self.error
        if self.memory is not None:
            arrays |= {f"{MEMORY}{name}": np.asarray(part) for name, part in self.memory._asdict().items()}
        facts = Facts(seconds=self.seconds, threads=self.threads, flops=self.flops, description=self.description)
        return write_runs(path, arrays, self.architecture, self.history, facts)

    @classmethod
    def load(cls, path: str | Path) -> Runs:
        """Read what `save` wrote.

        Parameters
        ----------
        path : str or Path, of the .npz file

        Returns
        -------
        Runs

        Raises
        ------
        ValueError
            when the file is not one that `save` wrote

        Examples
        --------
        >>> import tempfile
        >>> problem, method = ff.MatrixEstimation(np.diag([3.0, 1])), ff.GradientDescent(max_steps=2000)
        >>> runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.1), method, runs=4, threads=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = ff.load(runs.save(f"{folder}/runs.npz"))
        >>> np.array_equal(again.solution, runs.solution)
        True
        """
        arrays, architecture, history, facts = read_runs(path)
        return cls(
            **{name: arrays[name] for name in _ARRAYS},
            **facts,
            error=arrays.get("error"),
            architecture=architecture,
            history=history,
            memory=_memory_of(arrays),
        )


def drawn_of(runs: Runs) -> pictures.Drawn:
    """What a picture shows of runs, those that did not diverge.

    Raises
    ------
    ValueError
        without a history
    """
    if runs.history is None:
        raise ValueError("these runs have no history to draw: train(..., record=ff.Record())")
    return pictures.Drawn(runs.history, runs.status != Status.DIVERGED, runs.steps, runs.description)


def _memory_of(arrays: Mapping[str, AnyArray]) -> RuleMemory | None:
    """What a rule remembers, of the arrays of a file."""
    if f"{MEMORY}rule" not in arrays:
        return None
    slots, rates, begun = (arrays[f"{MEMORY}{name}"] for name in ("slots", "rates", "begun"))
    return RuleMemory(str(arrays[f"{MEMORY}rule"]), slots, rates, begun)


_ARRAYS = ("solution", "loss", "status", "steps", "step", "problem_index", "run_index", "flat_factors")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during `train`, a `KeyboardInterrupt`, so a loop around `train` stops too.

    Attributes
    ----------
    runs : `Runs`, everything that was done so far, ended or not
        Of runs that had not begun loss and solution are NaN where finding them would take longer than half a second.

    Examples
    --------
    >>> try:
    ...     runs = ff.train(ff.MatrixEstimation(np.eye(3)), method=ff.GradientDescent(max_steps=0), runs=4, threads=1)
    ... except ff.Interrupted as interrupted:  # after Ctrl-C
    ...     runs = interrupted.runs
    >>> len(runs)
    4
    """

    def __init__(self, runs: Runs) -> None:
        super().__init__(runs)  # what is made again of what it was made of
        self.runs = runs

    def __str__(self) -> str:
        done = int(np.sum(self.runs.status != Status.RUNNING))
        return f"interrupted: {done} of {len(self.runs)} runs had ended; .runs has them all"


class OperatorError(RuntimeError):
    """An operator of a problem raised during `train`, what it raised being the cause of this.

    Attributes
    ----------
    runs : `Runs`, everything that was done before, ended or not, as of `Interrupted`
    raised : str, what was raised, in words, which other processes have as well

    Examples
    --------
    >>> class Broken:
    ...     shape = (1, 2)
    ...     def matvec(self, x):
    ...         raise OSError("no device")
    ...     def rmatvec(self, r):
    ...         raise OSError("no device")
    >>> try:
    ...     ff.train(ff.CompressedSensing(Broken(), [1.0]), method=ff.GradientDescent(0.1), threads=1)
    ... except (ff.OperatorError, OSError) as error:
    ...     print(error)
    no device
    """

    def __init__(self, runs: Runs, raised: str) -> None:
        super().__init__(runs, raised)  # what is made again of what it was made of
        self.runs, self.raised = runs, raised

    def __str__(self) -> str:
        done = int(np.sum(self.runs.status != Status.RUNNING))
        return (
            f"the operator of the problem raised {self.raised}; {done} of {len(self.runs)} runs had ended; .runs has "
            "them all, and train(..., init=error.runs.last) goes on"
        )
