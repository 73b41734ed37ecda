"""Histories: what was recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray
from fastflow.equality import by_value
from fastflow.records.quantities import NAMED


@by_value(hashable=False)
class History:
    """What was recorded: every array has the runs as its first axis, ``steps`` (of a flow ``times``) as its second.

    After a run's end its history repeats its last value, or is NaN if it diverged. Entries before the step at which a
    continued run went on, and after the step at which an interrupted run was, are NaN. What was not asked for is None.

    Attributes
    ----------
    steps : int array (records,), of a flow None
    times : array (records,), of a flow; else None
    loss, gradient_norm, and all else that `Record` names : arrays (runs, records, ...)
        Numbers are (runs, records); ``singular_values`` (runs, records, min(d_N, d_0)), largest first;
        ``effective_alpha`` and ``gain`` (runs, records, 3), the least, median and largest value over the coordinates;
        ``product`` (runs, records, d_N, d_0) or (runs, records, n).
    factors : list of arrays (runs, records, d_j, d_{j-1}), first to last; of a DiagonalLinear network (runs, records,
        n)

    Notes
    -----
    `Record` says what each of them is.

    Examples
    --------
    >>> record = ff.Record(steps=[0, 50, 100], product=True)
    >>> problem, method = ff.MatrixEstimation(np.diag([3.0, 1])), ff.GradientDescent(max_steps=100, tol=0)
    >>> runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.1), method, runs=4, threads=1, record=record)
    >>> runs.history.steps.tolist(), runs.history.product.shape, runs.history.effective_rank.shape
    ([0, 50, 100], (4, 3, 2, 2), (4, 3))
    """

    def __init__(
        self,
        steps: NDArray[np.int64] | None = None,
        times: FloatArray | None = None,
        **recorded: FloatArray | list[FloatArray] | None,
    ) -> None:
        unknown = [name for name in recorded if name not in NAMED]
        if unknown:
            raise TypeError(f"a History has no {unknown[0]!r}")
        self.steps, self.times = steps, times
        self._recorded = {name: recorded[name] for name in NAMED if recorded.get(name) is not None}

    def __getattr__(self, name: str) -> Any:
        if name in NAMED:
            return self.__dict__.get("_recorded", {}).get(name)
        raise AttributeError(f"a History has no {name!r}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *NAMED]

    def __repr__(self) -> str:
        name, moments = self.axis
        return f"<History: {', '.join(self.recorded) or 'nothing'} at {len(moments)} {name}s>"

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
        return list(self._recorded)
