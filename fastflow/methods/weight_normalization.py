"""Weight normalisation: gradient descent on a diagonal network in polar coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from fastflow.checks import FloatArray
from fastflow.kernels.rules.polar import PolarRule
from fastflow.methods.stepping import FreeStepMethod
from fastflow.methods.weight_normalization_flow import WeightNormalizationFlow
from fastflow.networks import DiagonalLinear, Network


@dataclass(frozen=True, eq=False, repr=False)
class WeightNormalization(FreeStepMethod):
    """Gradient descent on r and u, where each vector w of a diagonal network is ``w = r u / ||u||``.

    ``r <- r - step df/dr``, ``u <- u - step ratio df/du`` for each vector, from ``u = w / ||w||``; factors are the w.

    Parameters
    ----------
    step, max_steps, tol, gradient_tol : those of `SignDescent`
        Near a solution steps are stable up to ``2 / lambda`` over the larger of 1 and ``ratio ||w||^2 / ||u||^2``,
        lambda being the largest eigenvalue of the Hessian by w.
    ratio : float > 0
        What the rate of u is of that of r. Directions that turn fast beside the length find sparse solutions from large
        starts.

    Notes
    -----
    u is orthogonal to its gradient, so ``||u||^2`` grows by exactly ``step^2 ratio^2 ||df/du||^2`` at every step, and
    turns the less the longer it is. A vector that is 0 has no direction, and stays. Gradient norms are those by w. Its
    flow, with ``x = w o w``, is `WeightNormalizationFlow`.

    H.-H. Chou, H. Rauhut, R. Ward, Robust implicit regularization via weight normalization, arXiv:2305.05448.

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> A = np.random.default_rng(0).standard_normal((12, 30)) / np.sqrt(12)
    >>> problem, network = ff.CompressedSensing(A, A[:, 0], truth=np.eye(30)[0]), ff.DiagonalLinear(2, signed=False)
    >>> init, descent = ff.inits.Constant(0.1), ff.GradientDescent(max_steps=20_000)
    >>> bool(ff.train(problem, network, init, descent, threads=1).error[0] > 0.05)
    True
    >>> normalized = ff.WeightNormalization(0.01, 20_000, ratio=30)
    >>> bool(ff.train(problem, network, init, normalized, threads=1).error[0] < 1e-4)
    True
    """

    ratio: float = 1.0

    label: ClassVar[str] = "weight-normalization"
    title: ClassVar[str] = "descent with weight normalization"
    networks: ClassVar[tuple[type[Network], ...]] = (DiagonalLinear,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_number("ratio", above=0)

    @property
    def remembers(self) -> str:
        return type(self).__name__

    @property
    def rule(self) -> NamedTuple:
        return PolarRule(self.ratio)

    def matching_flow(self, times: FloatArray, rtol: float) -> WeightNormalizationFlow:
        t_max = max(float(times[-1]), np.nextafter(0, 1))
        return WeightNormalizationFlow(times, t_max=t_max, rtol=rtol, tol=0, ratio=self.ratio)
