"""Gradient descent with momentum: heavy ball and Nesterov."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from fastflow.checks import shown
from fastflow.kernels.rules.momentum import BY_THE_BOOK, HEAVY_BALL, NESTEROV, MomentumRule
from fastflow.methods.stepping import SteppingMethod

GROWING = "(k-1)/(k+2)"


@dataclass(frozen=True, eq=False, repr=False)
class Momentum(SteppingMethod):
    """``V <- momentum V - step G``, then ``W <- W + V``, the heavy ball; or Nesterov's variant of it.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `GradientDescent`
        Without ``"safe"``; None for ``gradient_tol`` is 0, as the rate at which the loss falls is not that of one step.
    momentum : float in [0, 1), or "(k-1)/(k+2)" with ``nesterov``
        At 0 these are the bits of gradient descent. Steps small beside the edge go ``1 / (1 - momentum)`` times as far.
        "(k-1)/(k+2)" grows with the number k = 1, 2, ... of the step.
    nesterov : bool
        ``W <- W - step G + momentum V`` with the new V: W is the point that looks ahead, and the gradient is taken
        there.
    weight_decay : float mu >= 0
        The gradient is that of ``f + mu/2 sum_j ||W_j||_F^2``, while losses and ends are those of f.

    Notes
    -----
    At a minimum with the largest eigenvalue lambda of the Hessian, steps are linearly stable up to
    ``2 (1 + momentum) / lambda``, with ``nesterov`` up to ``2 (1 + momentum) / ((1 + 2 momentum) lambda)``.

    Examples
    --------
    >>> method = ff.Momentum(momentum=0.9, nesterov=True)
    """

    momentum: float | str = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0

    label: ClassVar[str] = "momentum"
    title: ClassVar[str] = "descent with momentum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.nesterov, bool):
            raise TypeError(f"nesterov must be True or False, got {shown(self.nesterov)}")
        if isinstance(self.momentum, str):
            if self.momentum.replace(" ", "") != GROWING:
                raise ValueError(f"momentum must be a number or {GROWING!r}, got {shown(self.momentum)}")
            if not self.nesterov:
                raise ValueError(f"momentum={GROWING!r} is Nesterov's: it needs nesterov=True")
            object.__setattr__(self, "momentum", GROWING)
        else:
            self._check_number("momentum", least=0, below=1)
        self._check_number("weight_decay", least=0)

    @property
    def remembers(self) -> str:
        return type(self).__name__

    @property
    def rule(self) -> NamedTuple:
        if isinstance(self.momentum, str):
            return MomentumRule(BY_THE_BOOK, 0.0, self.weight_decay)
        return MomentumRule(NESTEROV if self.nesterov else HEAVY_BALL, self.momentum, self.weight_decay)

    @property
    def stable_share(self) -> float:
        b = 1.0 if isinstance(self.momentum, str) else self.momentum
        return (1 + b) / (1 + 2 * b) if self.nesterov else 1 + b
