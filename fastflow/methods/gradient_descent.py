"""Gradient descent: a constant step, a schedule, a sequence, or a step that is known to be safe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastflow.checks import FloatArray
from fastflow.methods.gradient_flow import GradientFlow
from fastflow.methods.stepping import SteppingMethod


@dataclass(frozen=True, eq=False, repr=False)
class GradientDescent(SteppingMethod):
    """``W_j <- W_j - step * G_j`` for all factors at once.

    Parameters
    ----------
    step : None, float > 0, "safe", ``c * theory.edge``, a schedule, `fastflow.each`, or array (K,) of positive steps
        A schedule is `Decreasing`, `Cyclic` or `Piecewise`. None takes half the linear stability edge at the expected
        solution (`theory.stability_edge`), from the data of each problem, ``c * theory.edge`` (in words "0.9 edge") any
        multiple; ``runs.summary()`` shows it. "safe" is the step from which on the loss is known to fall at every step,
        from each run's start (`theory.safe_step`); it is much smaller. ``fastflow.each(values)`` gives every run a step
        of its own. An array is the explicit sequence of the first K steps, the same for all runs.
    max_steps : int >= 0
        A run ends at this step, counted from its very start; None means 100,000, or K for an explicit sequence.
    tol : None or float >= 0
        A run ends when its loss is at most this (absolute). None takes 1e-10 times the loss of the product 0, above the
        least loss where a formula or the data tell it, whatever the units of the data; nothing of a CustomProblem.
    gradient_tol : None or float >= 0
        A run ends when the norm of its gradient by all factors is at most this; 0 switches the test off. None is 0
        where ``tol`` is given, and else ends runs of which only what dies like a power of time is left: at every 1000th
        step, those whose loss is at most 1e-6 times that of the product 0, above the least loss as for ``tol``; falls
        so slowly that at the rate of this step ``max_steps`` more would not divide that excess by ``e^4``; and would
        fall if the product shrank, ``<E, W>`` being at least the excess. That is not so on a plateau, where something
        has still to grow: a plateau is never taken for an end.

    Examples
    --------
    >>> method = ff.GradientDescent("0.9 edge", max_steps=1000)
    """

    label: ClassVar[str] = "descent"
    is_common: ClassVar[bool] = True
    title: ClassVar[str] = "gradient descent"

    def matching_flow(self, times: FloatArray, rtol: float) -> GradientFlow:
        return GradientFlow(times, t_max=max(float(times[-1]), np.nextafter(0, 1)), rtol=rtol, tol=0)
