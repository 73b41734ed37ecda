"""One step for all factors at once, of a size that the run itself has: these are gradient descent at other steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from fastflow.checks import one_of
from fastflow.kernels.rules.rates import LONG, NORMALIZED, SHARED, SHORT, Rate
from fastflow.methods.stepping import FreeStepMethod, SteppingMethod


@dataclass(frozen=True, eq=False, repr=False)
class NormalizedDescent(FreeStepMethod):
    """Gradient descent with steps ``step / ||G||``, the norm being that of the gradient by all factors together.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `SignDescent`
        ``step`` is the distance that the factors go. Where the gradient is 0 they stay.

    Examples
    --------
    >>> method = ff.NormalizedDescent(0.01)
    """

    label: ClassVar[str] = "normalized"
    title: ClassVar[str] = "normalized gradient descent"

    @property
    def rule(self) -> NamedTuple:
        return Rate(NORMALIZED, 0.0, 0.0)


@dataclass(frozen=True, eq=False, repr=False)
class SharedRate(FreeStepMethod):
    """Gradient descent with one adaptive step ``step / (sqrt(v') + epsilon)`` for all parameters together.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `SignDescent`
    average : float in [0, 1), 0.99
        v is the running mean of the squared gradient norm, ``v <- average v + (1 - average) ||G||^2``, and v' is v
        corrected for its start at 0.
    epsilon : float > 0

    Notes
    -----
    The optimizer of Arora, Cohen, Hu, Luo (arXiv:1905.13655, their GroupRMSprop). Unlike rates for each entry it keeps
    what gradient descent keeps: its runs are gradient descent with the steps that it took, bit for bit, which follow
    from ``history.gradient_norm``.

    Examples
    --------
    >>> method = ff.SharedRate(1e-3)
    """

    average: float = 0.99
    epsilon: float = 1e-4

    label: ClassVar[str] = "shared-rate"
    title: ClassVar[str] = "descent with one adaptive rate"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_number("average", least=0, below=1)
        self._check_number("epsilon", above=0)

    @property
    def remembers(self) -> str:
        return type(self).__name__

    @property
    def rule(self) -> NamedTuple:
        return Rate(SHARED, self.average, self.epsilon)


@dataclass(frozen=True, eq=False, repr=False)
class BarzilaiBorwein(SteppingMethod):
    """Gradient descent with the steps of Barzilai and Borwein (1988), from the last change s, and that y of G.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `GradientDescent`
        ``step`` is the first one, and is taken again where ``<s, y>`` is not positive: where the loss curves down.
        Without ``"safe"``; None for ``gradient_tol`` is 0.
    kind : "long" or "short"
        ``<s, s> / <s, y>`` or ``<s, y> / <y, y>``

    Notes
    -----
    The loss does not fall at every step, and nothing keeps a run from diverging.

    Examples
    --------
    >>> method = ff.BarzilaiBorwein(kind="short", max_steps=1000)
    """

    kind: str = "long"

    label: ClassVar[str] = "barzilai-borwein"
    title: ClassVar[str] = "Barzilai-Borwein descent"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("kind", self.kind, ("long", "short"))

    @property
    def remembers(self) -> str:
        return type(self).__name__

    @property
    def rule(self) -> NamedTuple:
        return Rate(LONG if self.kind == "long" else SHORT, 0.0, 0.0)
