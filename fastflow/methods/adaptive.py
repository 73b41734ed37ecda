"""Rates for each entry of the factors, which see the basis, as gradient descent does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from fastflow.checks import as_number
from fastflow.kernels.rules.adaptive import AdamRule, RMSpropRule, SignRule
from fastflow.methods.stepping import FreeStepMethod


@dataclass(frozen=True, eq=False, repr=False)
class SignDescent(FreeStepMethod):
    """``W <- W - step sign(G)``, entry by entry: every entry moves by exactly one step.

    Parameters
    ----------
    step : None, float > 0, `Decreasing`, `Cyclic`, `Piecewise` or array (K,) of positive steps
        None is 1e-3. Constant steps end in a circle of about their size around a minimum: decreasing ones converge.
    max_steps, tol, gradient_tol : those of `GradientDescent`; None for ``gradient_tol`` is 0

    Notes
    -----
    It depends on the basis: from ``(U Q, Q^T V)`` with Q orthogonal the product goes another way than from ``(U, V)``.
    An entry whose gradient is 0 stays.

    Examples
    --------
    >>> method = ff.SignDescent(ff.Decreasing(0.01, power=0.5))
    """

    label: ClassVar[str] = "sign"
    title: ClassVar[str] = "sign descent"

    @property
    def rule(self) -> NamedTuple:
        return SignRule()


@dataclass(frozen=True, eq=False, repr=False)
class RMSprop(FreeStepMethod):
    """``v <- average v + (1 - average) G^2``, ``W <- W - step G / (sqrt(v) + epsilon)``, entry by entry.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `SignDescent`
    average : float in [0, 1), 0.99
    epsilon : float > 0
    weight_decay : float mu >= 0
        Of the factors themselves, which are multiplied by ``1 - step mu`` at every step; losses and ends are
        those of f.

    Notes
    -----
    Without correction of the bias of v, as in Tieleman and Hinton (2012).

    Examples
    --------
    >>> method = ff.RMSprop(1e-3, average=0.9)
    """

    average: float = 0.99
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    label: ClassVar[str] = "rmsprop"
    title: ClassVar[str] = "RMSprop"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_number("average", least=0, below=1)
        self._check_number("epsilon", above=0)
        self._check_number("weight_decay", least=0)

    @property
    def remembers(self) -> str:
        return type(self).__name__

    @property
    def rule(self) -> NamedTuple:
        return RMSpropRule(self.average, self.epsilon, self.weight_decay)


@dataclass(frozen=True, eq=False, repr=False)
class Adam(FreeStepMethod):
    """Adam, ``W <- W - step m' / (sqrt(v') + epsilon)`` with the averages m' of G and v' of G^2, entry by entry.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `SignDescent`
    averages : two floats in [0, 1), (0.9, 0.999), of m and of v
    epsilon : float > 0
    weight_decay : float mu >= 0
        Of the factors themselves, which are multiplied by ``1 - step mu`` at every step (AdamW); losses and ends are
        those of f.

    Notes
    -----
    m' and v' are corrected for their start at 0 (Kingma, Ba, arXiv:1412.6980).

    Examples
    --------
    >>> method = ff.Adam(1e-3, averages=(0.9, 0.99), max_steps=1000)
    """

    averages: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0

    label: ClassVar[str] = "adam"
    title: ClassVar[str] = "Adam"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_number("epsilon", above=0)
        self._check_number("weight_decay", least=0)
        if not isinstance(self.averages, tuple | list) or len(self.averages) != 2:
            raise TypeError(f"averages must be two numbers, of the gradient and of its square, got {self.averages!r}")
        averages = tuple(as_number(f"averages[{i}]", self.averages[i], least=0, below=1) for i in range(2))
        object.__setattr__(self, "averages", averages)

    @property
    def remembers(self) -> str:
        return type(self).__name__

    @property
    def rule(self) -> NamedTuple:
        return AdamRule(*self.averages, self.epsilon, self.weight_decay)
