"""Muon: momentum whose singular values are made equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from fastflow.checks import as_count, shown
from fastflow.kernels.rules.whole import MuonRule
from fastflow.methods.stepping import FreeStepMethod
from fastflow.networks import DeepLinear, Network

QUICK, EXACT = 12, 7
"""Rounds of both iterations that make singular values equal down to ``3.4^-12`` of the norm, to 1e-12."""


@dataclass(frozen=True, eq=False, repr=False)
class Muon(FreeStepMethod):
    """``M <- momentum M + G``, then ``W <- W - step O(M)``, factor by factor; O makes all singular values 1.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `SignDescent`
    momentum : float in [0, 1)
    nesterov : bool
        ``O(G + momentum M)`` with the new M
    iterations : int >= 1 or None
        None is O up to round-off, ``O(U S V^T) = U V^T``, of all singular values above about 1e-6 of the Frobenius
        norm: twelve rounds ``X <- 3.4445 X - 4.775 X X^T X + 2.0315 (X X^T)^2 X`` from ``M / ||M||_F``, then seven
        ``X <- 1.5 X - 0.5 X X^T X``. A number is so many of the first alone, after which singular values lie between
        about 0.7 and 1.2; 5 is the Muon of K. Jordan et al. (2024).
    weight_decay : float mu >= 0
        Of the factors themselves, which are multiplied by ``1 - step mu`` at every step.

    Notes
    -----
    Singular values that are 0 stay 0. Constant steps do not converge: decreasing ones do.

    Examples
    --------
    >>> method = ff.Muon(0.01)
    """

    momentum: float = 0.95
    nesterov: bool = False
    iterations: int | None = None
    weight_decay: float = 0.0

    label: ClassVar[str] = "muon"
    title: ClassVar[str] = "Muon"
    networks: ClassVar[tuple[type[Network], ...]] = (DeepLinear,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_number("momentum", least=0, below=1)
        self._check_number("weight_decay", least=0)
        if not isinstance(self.nesterov, bool):
            raise TypeError(f"nesterov must be True or False, got {shown(self.nesterov)}")
        if self.iterations is not None:
            object.__setattr__(self, "iterations", as_count("iterations", self.iterations, 1))

    @property
    def remembers(self) -> str:
        return type(self).__name__

    @property
    def rule(self) -> NamedTuple:
        quick, exact = (QUICK, EXACT) if self.iterations is None else (self.iterations, 0)
        return MuonRule(self.momentum, self.nesterov, self.weight_decay, quick, exact)
