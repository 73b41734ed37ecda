"""Records: at which steps of a run what is kept, and the histories that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, as_count, one_of, shown
from fastflow.networks import parameter_count


@dataclass(frozen=True, eq=False)
class Record:
    """When and what to record of every run.

    Parameters
    ----------
    steps : int or increasing int array
        How many steps, spread over 0 .. max_steps with both ends in, or which ones. (Spread steps that round to the
        same integer are taken once.)
    spacing : "log" or "linear", how a number of steps is spread
    loss, gradient_norm, singular_values, effective_rank, balancedness : bool
        The loss, the norm of its gradient by all factors, the singular values of the product, their effective rank,
        and ``max_j ||W_{j+1}^T W_{j+1} - W_j W_j^T||_F``.
    error : bool
        The relative error ``||W - truth||_F / ||truth||_F``, where the problem has a truth.
    product, factors : bool
        The product W itself; the factors themselves.
    """

    steps: int | ArrayLike = 200
    spacing: str = "log"
    loss: bool = True
    gradient_norm: bool = True
    singular_values: bool = True
    effective_rank: bool = True
    balancedness: bool = True
    error: bool = True
    product: bool = False
    factors: bool = False

    def __post_init__(self) -> None:
        one_of("spacing", self.spacing, ("log", "linear"))
        if np.ndim(self.steps) == 0:
            object.__setattr__(self, "steps", as_count("steps", self.steps, 2))
            return
        steps = np.asarray(self.steps)
        if steps.ndim != 1 or steps.size == 0 or steps.dtype.kind not in "iu":
            raise ValueError(f"steps must be a number of steps or an array of integers, got {shown(self.steps)}")
        if steps[0] < 0 or np.any(np.diff(steps.astype(np.int64)) <= 0):
            raise ValueError("steps must be nonnegative and strictly increasing")
        object.__setattr__(self, "steps", steps.astype(np.int64))

    def grid(self, max_steps: int) -> NDArray[np.int64]:
        """The steps at which a run of ``max_steps`` steps is recorded."""
        if isinstance(self.steps, np.ndarray):
            return self.steps
        count = int(self.steps)  # type: ignore[arg-type]
        if self.spacing == "linear" or max_steps <= 1 or count == 2:
            points = np.linspace(0, max_steps, count)
        else:
            points = np.concatenate([[0.0], np.geomspace(1, max_steps, count - 1)])
        return np.unique(np.rint(points).astype(np.int64))

    def shapes(self, widths: Sequence[int], *, has_truth: bool = True) -> dict[str, tuple[int, ...]]:
        """What is kept per run and step, by name, each with its shape."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name in ("loss", "gradient_norm", "balancedness", "effective_rank"):
            if getattr(self, name):
                shapes[name] = ()
        if self.error and has_truth:
            shapes["error"] = ()
        if self.singular_values:
            shapes["singular_values"] = (min(widths[0], widths[-1]),)
        if self.product:
            shapes["product"] = (widths[-1], widths[0])
        if self.factors:
            shapes["factors"] = (parameter_count(widths),)
        return shapes

    def nbytes(
        self, widths: Sequence[int], runs: int, max_steps: int, dtype: Any = np.float64, *, has_truth: bool = True
    ) -> int:
        """Bytes that the histories of so many runs will take."""
        per_step = 0
        for name, shape in self.shapes(widths, has_truth=has_truth).items():
            itemsize = np.dtype(dtype).itemsize if name in ("singular_values", "product", "factors") else 8
            per_step += int(np.prod(shape, dtype=np.int64)) * itemsize
        return per_step * runs * len(self.grid(max_steps))


@dataclass(eq=False)
class History:
    """What was recorded: every array has the runs as its first axis and ``steps`` as its second.

    After a run's end its history repeats its last value, or is NaN if it diverged. Entries before the step at which a
    continued run went on, and after the step at which an interrupted run was, are NaN. What was not asked for is None.
    """

    steps: NDArray[np.int64]
    loss: FloatArray | None = None
    gradient_norm: FloatArray | None = None
    singular_values: FloatArray | None = None
    effective_rank: FloatArray | None = None
    balancedness: FloatArray | None = None
    error: FloatArray | None = None
    product: FloatArray | None = None
    factors: list[FloatArray] | None = None

    @property
    def recorded(self) -> list[str]:
        """The names of what was recorded."""
        return [f.name for f in fields(self) if f.name != "steps" and getattr(self, f.name) is not None]


def empty_histories(shapes: dict[str, tuple[int, ...]], runs: int, records: int, dtype: Any) -> dict[str, FloatArray]:
    """Arrays full of NaN for what `Record.shapes` says: matrices in ``dtype``, numbers in float64."""
    return {
        name: np.full((runs, records, *shape), np.nan, dtype if shape else np.float64) for name, shape in shapes.items()
    }
