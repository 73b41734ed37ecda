"""Methods: which dynamics takes the factors from their start to the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_count, as_floats, as_number, as_times, frozen
from fastflow.theory import Edge

SAFE = "safe"


@dataclass(frozen=True)
class Decreasing:
    """The decreasing steps ``first / (1 + k / scale) ** power``, k = 0, 1, ...

    Parameters
    ----------
    first : float > 0, "safe", or a multiple of ``theory.edge``, also as "0.5 edge"; see `GradientDescent`
    power : float > 0; up to 1 the steps sum to infinity, which convergence theorems ask for
    scale : float > 0, the number of steps after which the step has fallen by ``2**power``
    """

    first: float | str | Edge
    power: float = 0.5
    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "first", _as_step("first", self.first))
        for name in ("power", "scale"):
            object.__setattr__(self, name, as_number(name, getattr(self, name), above=0))
        if self.first == SAFE and self.power > 1:
            raise ValueError(
                f"steps that fall with power {self.power:g} have a finite sum, so gradients need not tend to 0: "
                "with first='safe', power must be at most 1"
            )


def _as_step(name: str, step: Any) -> float | str | Edge:
    """One step: a number, or what stands for one."""
    if isinstance(step, str) and step != SAFE:
        words, step = step, Edge.read(step)
        if step is None:
            raise TypeError(f"{name} must be a number, {SAFE!r}, or like '0.5 edge', got {words!r}")
    return step if isinstance(step, str | Edge) else as_number(name, step, above=0)


@dataclass(frozen=True, eq=False)
class GradientDescent:
    """``W_j <- W_j - step * G_j`` for all factors at once.

    Parameters
    ----------
    step : None, float > 0, "safe", ``c * theory.edge``, `Decreasing`, or array (K,) of positive steps
        None takes half the linear stability edge at the expected solution (`theory.stability_edge`), from the data of
        each problem, ``c * theory.edge`` (in words "0.9 edge") any multiple; ``runs.summary()`` shows it. "safe" is the
        step from which on the loss is known to fall at every step, from each run's start (`theory.safe_step`); it is
        much smaller. An array is the explicit sequence of the first K steps.
    max_steps : int >= 0
        A run ends at this step, counted from its very start; None means 100,000, or K for an explicit sequence.
    tol : float >= 0
        A run ends when its loss is at most this (absolute).
    gradient_tol : float >= 0
        A run ends when the norm of its gradient by all factors is at most this; 0 switches the test off, which saves
        its cost.
    """

    step: float | str | Edge | Decreasing | ArrayLike | None = None
    max_steps: int | None = None
    tol: float = 1e-10
    gradient_tol: float = 0.0

    def __post_init__(self) -> None:
        step: Any = self.step
        limit = 100_000
        if step is not None and not isinstance(step, Decreasing):
            if isinstance(step, str | Edge) or np.ndim(step) == 0:
                step = _as_step("step", step)
            else:
                step = frozen(as_floats("step", step, 1).astype(np.float64))
                if step.min() <= 0:
                    raise ValueError(f"every step must be greater than 0, got {step.min():g}")
                limit = step.size
        max_steps = limit if self.max_steps is None else as_count("max_steps", self.max_steps, 0)
        if isinstance(step, np.ndarray) and max_steps > step.size:
            raise ValueError(f"max_steps is {max_steps}, but the sequence of steps has only {step.size} entries")
        object.__setattr__(self, "step", step)
        object.__setattr__(self, "max_steps", max_steps)
        object.__setattr__(self, "tol", as_number("tol", self.tol, least=0))
        object.__setattr__(self, "gradient_tol", as_number("gradient_tol", self.gradient_tol, least=0))

    @property
    def sequence(self) -> FloatArray:
        """The explicit steps, empty if there are none."""
        return self.step if isinstance(self.step, np.ndarray) else np.zeros(0)

    @property
    def first_step(self) -> Any:
        """The first step: None, a number, or what stands for one; of an explicit sequence NaN."""
        if isinstance(self.step, Decreasing):
            return self.step.first
        return math.nan if isinstance(self.step, np.ndarray) else self.step

    def __repr__(self) -> str:
        if isinstance(self.step, np.ndarray):
            step = f"<{self.step.size} steps>"
        else:
            step = repr(self.step)
        return (
            f"GradientDescent(step={step}, max_steps={self.max_steps}, "
            f"tol={self.tol:g}, gradient_tol={self.gradient_tol:g})"
        )


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """The flow ``W_j' = -(gradient by W_j)`` of all factors, in time, by an integrator that controls its error.

    Of identical or two independent diagonal factors by the dual (`fastflow.gradient_flow`); of all else by explicit
    steps of order 8 and, where the flow is stiff, stabilised ones of order 3, each run with steps of its own
    (`fastflow.kernels.flow.layer_flow`).

    Parameters
    ----------
    times : array (times,), at least 0 and not decreasing
        When the history is recorded; none by default. Steps end at them, or, where many fall within a step, they are
        interpolated within the same error.
    t_max : float > 0
        A run ends at this time; infinity, the default, is where the flow comes to rest (which can be far, see Notes).
    rtol, atol : float
        Tolerances. By the dual: for the error of an entry of the product, ``atol + rtol |x_i|``; None for atol takes
        rtol times the size that the data ask for. Else: for the error of all factors of a run in norm, ``atol + rtol
        ||(W_1, ..., W_N)||_F`` in each step, and where the gradient grows 8 rtol of the step itself, so that a flow
        leaves a saddle when it should; from four layers on 3/N of that. None for atol is 0. Factors and product then
        come out wrong by about rtol of their largest norm along the run, mostly by less than 10 rtol; by more where the
        flow itself amplifies errors, as it does after long rests near saddles.
    tol : float >= 0
        A run ends when its loss is at most this (absolute).
    gradient_tol : None or float >= 0
        A run ends when the norm of its gradient by all factors is at most this. None is where the flow rests as far as
        rounding tells: 1e-12 times the largest eigenvalue of the Hessian and the norm of the factors. Not of the dual.
    max_steps : int >= 1
        Steps of the integrator, those that it rejects included.

    Notes
    -----
    What a run came to rest at may be a minimum or a saddle: `theory.critical_point` says which. A flow that starts
    within rounding of a saddle's stable set, such as `inits.Identity` for a matrix with negative eigenvalues, leaves
    the saddle by rounding or not at all. A run that goes on from ``runs.last`` starts at time 0 again.

    What the data do not determine, and what a zero eigenvalue of the target leaves, may die like a power of time: by
    itself a mode y of N balanced factors falls like ``t^{-N / (2 N - 2)}``, and the gradient, like ``1/t`` times the
    factor's distance from rest, takes until ``t = 10^7`` and later to fall to the default ``gradient_tol``. Steps of
    such a flow grow to 57,000 over the largest eigenvalue and no further, so a run may need all of ``max_steps``,
    which its status then says. A ``t_max``, or ``gradient_tol=1e-6``, ends it where nothing visible happens any more.
    """

    times: ArrayLike = ()
    t_max: float = math.inf
    rtol: float = 1e-8
    atol: float | None = None
    tol: float = 1e-20
    max_steps: int = 100_000
    gradient_tol: float | None = None

    def __post_init__(self) -> None:
        times = as_times("times", self.times) if np.size(self.times) else np.zeros(0)
        t_max = math.inf if self.t_max == math.inf else as_number("t_max", self.t_max, above=0)
        if times.size and times[-1] > t_max:
            raise ValueError(f"times go to {times[-1]:g}, past t_max = {t_max:g}")
        object.__setattr__(self, "times", frozen(times))
        object.__setattr__(self, "t_max", t_max)
        object.__setattr__(self, "rtol", as_number("rtol", self.rtol, least=1e-13))
        if self.atol is not None:
            object.__setattr__(self, "atol", as_number("atol", self.atol, least=0))
        object.__setattr__(self, "tol", as_number("tol", self.tol, least=0))
        object.__setattr__(self, "max_steps", as_count("max_steps", self.max_steps, 1))
        if self.gradient_tol is not None:
            object.__setattr__(self, "gradient_tol", as_number("gradient_tol", self.gradient_tol, least=0))

    def __repr__(self) -> str:
        atol = "" if self.atol is None else f", atol={self.atol:g}"
        rest = "" if self.gradient_tol is None else f", gradient_tol={self.gradient_tol:g}"
        return (
            f"{type(self).__name__}(times=<{np.size(self.times)} times>, t_max={self.t_max:g}, "
            f"rtol={self.rtol:g}{atol}, tol={self.tol:g}, max_steps={self.max_steps}{rest})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class ProductFlow(GradientFlow):
    """The flow of the product W alone, ``dW/dt = -A_W(E)``, that balanced factors have (`theory.metric_inverse`).

    A reference for the flow of the layers of a DeepLinear network, in NumPy: on the matrices of the rank of the start,
    which it keeps exactly, with the sign of the determinant of a square W. Its fields are those of `GradientFlow`.

    Notes
    -----
    A start that is not balanced is refused: its product has no flow of its own. ``runs.factors`` are balanced factors
    of the product, not the ones that the flow of layers, which turns what is hidden, comes to.

    A step costs 12 gradients by W and as many singular value decompositions of a matrix (rank, rank): a millisecond for
    small ones. Where the flow is stiff for long, steps are implicit, and one costs as many gradients as there are
    unknowns, now and then, and the factorisation of a matrix of that size.
    """


@dataclass(frozen=True)
class FlowLimit:
    """The limit of the gradient flow of a diagonal network, without following it: see `fastflow.flow_limit`.

    Parameters
    ----------
    tol : float > 0; a run has converged when ``||A x - y|| <= tol ||y||``
    max_steps : int >= 1, Newton steps
    """

    tol: float = 1e-10
    max_steps: int = 200

    def __post_init__(self) -> None:
        object.__setattr__(self, "tol", as_number("tol", self.tol, above=0))
        object.__setattr__(self, "max_steps", as_count("max_steps", self.max_steps, 1))


Method = GradientDescent | GradientFlow | FlowLimit  # a ProductFlow is a GradientFlow
"""Any of the methods of this module."""
