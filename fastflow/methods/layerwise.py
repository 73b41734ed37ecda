"""Gradient descent with a step of its own for each factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from fastflow.checks import FloatArray, as_floats
from fastflow.kernels.rules.layerwise import Layerwise
from fastflow.methods.stepping import SteppingMethod
from fastflow.networks import Architecture, Network
from fastflow.problems import Problem


@dataclass(frozen=True, eq=False, repr=False)
class LayerwiseDescent(SteppingMethod):
    """``W_j <- W_j - step multiples[j] G_j``: gradient descent with a step of its own for each factor.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `GradientDescent`
        Without ``"safe"``; None for ``gradient_tol`` is 0. The edge is that of equal steps.
    multiples : a float >= 0 for each factor, first to last, or None
        For a DiagonalLinear network as many as ``runs.factors`` has: of identical factors for u and v. 0 keeps a
        factor as it is; None is 1 for each, which are the bits of gradient descent.

    Notes
    -----
    Its flow conserves ``W_{j+1}^T W_{j+1} / multiples[j+1] - W_j W_j^T / multiples[j]``.

    Examples
    --------
    >>> method = ff.LayerwiseDescent(multiples=(1.0, 0.1))
    """

    multiples: Sequence[float] | None = None

    label: ClassVar[str] = "layerwise"
    title: ClassVar[str] = "descent with a step for each factor"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.multiples is not None:
            multiples = tuple(map(float, as_floats("multiples", self.multiples, 1)))
            if not multiples or min(multiples) < 0:
                raise ValueError(f"multiples must be at least 0, got {multiples}")
            object.__setattr__(self, "multiples", multiples)

    def check_problem(self, network: Network, problem: Problem) -> None:
        self.memory(network.architecture(network.pose(problem)))

    @property
    def rule(self) -> NamedTuple:
        return Layerwise()

    @property
    def stable_share(self) -> float:
        return 1.0 if self.multiples is None else math.inf

    def memory(self, architecture: Architecture) -> FloatArray | float:
        if self.multiples is None:
            return 1.0
        sizes = [int(np.prod(shape)) for shape in architecture.factor_shapes]
        if len(sizes) != len(self.multiples):
            raise ValueError(f"multiples must be one for each of the {len(sizes)} factors, got {len(self.multiples)}")
        return np.repeat(np.array(self.multiples), sizes)
