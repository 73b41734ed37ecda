"""Sharpness-aware minimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from fastflow.kernels.rules.sharpness import SharpnessRule
from fastflow.methods.stepping import SteppingMethod


@dataclass(frozen=True, eq=False, repr=False)
class SharpnessAware(SteppingMethod):
    """``W <- W - step G(W + radius G(W) / ||G(W)||)``, with the full gradient at both places.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `GradientDescent`
        Without ``"safe"``; None for ``gradient_tol`` is 0.
    radius : float >= 0
        How far the factors, all together, go up before their gradient is taken.

    Notes
    -----
    Foret et al., arXiv:2010.01412. A step measures the loss twice. Losses and gradient norms are those at W.

    Examples
    --------
    >>> method = ff.SharpnessAware(radius=0.1)
    """

    radius: float = 0.05

    label: ClassVar[str] = "sharpness-aware"
    title: ClassVar[str] = "sharpness-aware descent"
    gradients: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_number("radius", least=0)

    @property
    def rule(self) -> NamedTuple:
        return SharpnessRule(self.radius)
