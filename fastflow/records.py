"""Records: at which steps of a run what is kept, and the histories that come of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.architectures import NEED_TRUTH, Architecture
from fastflow.checks import FloatArray, as_count, one_of, shown


@dataclass(frozen=True, eq=False)
class Record:
    """When and what to record of every run.

    Parameters
    ----------
    steps : int or increasing int array
        How many steps, spread over 0 .. max_steps with both ends in, or which ones. (Spread steps that round to the
        same integer are taken once.)
    spacing : "log" or "linear", how a number of steps is spread
    loss, gradient_norm : bool
        The loss, and the norm of its gradient by all factors (by all L of them where L identical ones run as one).
    singular_values, effective_rank, balancedness : bool
        Of a matrix: the singular values of the product, their effective rank, and
        ``max_j ||W_{j+1}^T W_{j+1} - W_j W_j^T||_F``.
    l1_norm, l2_norm, support_size : bool
        Of a vector: ``sum |x_i|``, ``sqrt(sum x_i^2)``, and how many entries exceed a thousandth of the largest in
        magnitude (`metrics.support`).
    support_recovery : bool
        Of a vector, where the problem has a truth: ``|S n T| / |S u T|`` for S the support counted by ``support_size``
        and T the nonzero entries of the truth; 1 iff they are equal (`metrics.support_recovery`).
    effective_alpha : bool
        Of a signed DiagonalLinear network: least, median and largest over coordinates of ``sqrt(|u v|)``, or of the
        geometric mean of all 2L factors where they are not identical (`metrics.effective_alpha`).
    error : bool
        The relative error ``||W - truth||_F / ||truth||_F`` (``||x - truth||_2 / ||truth||_2``), where the problem has
        a truth.
    product, factors : bool
        The product W or x itself; the factors themselves.
    numerical_rank, determinant_sign : bool
        Of a matrix: how many singular values are not round-off (`metrics.numerical_rank`); if it is square, the sign of
        its determinant. Where that changes in a run that started balanced, a warning says so: the flow keeps it.
    sharpness : bool
        The largest eigenvalue of the Hessian by all factors (`theory.sharpness`), against which ``2 / step`` is the
        edge of stability. It costs some dozens of gradients in NumPy a record.
    limit_distance : bool
        ``||W - W_limit||_F`` to the limit that theorems predict (`theory.predicted_limit`), or ``||x - x_limit||_2`` to
        the limit of a diagonal network's flow (`FlowLimit`).

    Notes
    -----
    What does not apply to a network or problem is left out. The last four are off unless asked for.
    """

    steps: int | ArrayLike = 200
    spacing: str = "log"
    loss: bool = True
    gradient_norm: bool = True
    singular_values: bool = True
    effective_rank: bool = True
    balancedness: bool = True
    l1_norm: bool = True
    l2_norm: bool = True
    support_size: bool = True
    support_recovery: bool = True
    effective_alpha: bool = True
    error: bool = True
    product: bool = False
    factors: bool = False
    numerical_rank: bool = False
    determinant_sign: bool = False
    sharpness: bool = False
    limit_distance: bool = False

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

    def shapes(self, architecture: Architecture, *, has_truth: bool = True) -> dict[str, tuple[int, ...]]:
        """What is kept per run and step, by name, each with its shape."""
        return {
            name: shape
            for name, shape in architecture.record_shapes.items()
            if getattr(self, name) and (has_truth or name not in NEED_TRUTH)
        }

    def nbytes(
        self, architecture: Architecture, runs: int, max_steps: int, dtype: Any = np.float64, *, has_truth: bool = True
    ) -> int:
        """Bytes that the histories of so many runs will take."""
        per_step = 0
        for shape in self.shapes(architecture, has_truth=has_truth).values():
            per_step += int(np.prod(shape, dtype=np.int64)) * (np.dtype(dtype).itemsize if shape else 8)
        return per_step * runs * len(self.grid(max_steps))


@dataclass(eq=False)
class History:
    """What was recorded: every array has the runs as its first axis, ``steps`` (of a flow ``times``) as its second.

    After a run's end its history repeats its last value, or is NaN if it diverged. Entries before the step at which a
    continued run went on, and after the step at which an interrupted run was, are NaN. What was not asked for is None.

    Attributes
    ----------
    steps : int array (records,), of a flow None
    times : array (records,), of a flow; else None
    loss, gradient_norm, and all that are not below : arrays (runs, records)
    singular_values : array (runs, records, min(d_N, d_0)), largest first
    effective_alpha : array (runs, records, 3), its least, median and largest value over the coordinates
    product : array (runs, records, d_N, d_0) or (runs, records, n)
    factors : list of arrays (runs, records, d_j, d_{j-1}), first to last; of a DiagonalLinear network (runs, records,
        n)

    Notes
    -----
    `Record` says what each of them is.
    """

    steps: NDArray[np.int64] | None = None
    times: FloatArray | None = None
    loss: FloatArray | None = None
    gradient_norm: FloatArray | None = None
    singular_values: FloatArray | None = None
    effective_rank: FloatArray | None = None
    balancedness: FloatArray | None = None
    l1_norm: FloatArray | None = None
    l2_norm: FloatArray | None = None
    support_size: FloatArray | None = None
    support_recovery: FloatArray | None = None
    effective_alpha: FloatArray | None = None
    error: FloatArray | None = None
    product: FloatArray | None = None
    factors: list[FloatArray] | None = None
    numerical_rank: FloatArray | None = None
    determinant_sign: FloatArray | None = None
    sharpness: FloatArray | None = None
    limit_distance: FloatArray | None = None

    @property
    def axis(self) -> tuple[str, FloatArray | NDArray[np.int64]]:
        """``"step"`` and the steps, or ``"time"`` and the times."""
        if self.times is not None:
            return "time", self.times
        assert self.steps is not None
        return "step", self.steps

    @property
    def recorded(self) -> list[str]:
        """The names of what was recorded."""
        return [f.name for f in fields(self) if f.name not in ("steps", "times") and getattr(self, f.name) is not None]


def empty_histories(shapes: dict[str, tuple[int, ...]], runs: int, records: int, dtype: Any) -> dict[str, FloatArray]:
    """Arrays full of NaN for what `Record.shapes` says: arrays in ``dtype``, numbers in float64."""
    return {
        name: np.full((runs, records, *shape), np.nan, dtype if shape else np.float64) for name, shape in shapes.items()
    }
