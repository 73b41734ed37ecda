"""The Hessian of the loss by all factors, as an operator: never formed, exact (see `kernels.networks.curvature`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, shown
from fastflow.kernels.compile.jit import jit
from fastflow.kernels.losses.any_loss import as_any_loss
from fastflow.kernels.networks.curvature import curve, visit
from fastflow.networks import Architecture, DiagonalLinear, Network
from fastflow.problems import Problem

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


class Hessian:
    """The Hessian of the loss by all factors where they are ``factors``, by its products with vectors.

    Parameters
    ----------
    problem, network : as they are trained
        The factors of a DiagonalLinear network must be independent (``identical=False``).
    factors : sequence of arrays as ``runs.factors`` has them for one run, or flat (parameters,)

    Attributes
    ----------
    loss : float
    factors, gradient : arrays (parameters,)
    size : int, the number of parameters

    Raises
    ------
    TypeError, ValueError
        for a network that does not fit the problem, or factors that do not fit the network
    """

    def __init__(self, problem: Problem, network: Network, factors: ArrayLike | Sequence[ArrayLike]) -> None:
        if isinstance(network, DiagonalLinear) and network.identical and network.depth > 1:
            raise ValueError(
                "the Hessian is that of independent factors: use DiagonalLinear(identical=False) and give all of them"
            )
        posed: Any = network.pose(problem)
        architecture = network.architecture(posed)
        flat = flatten(architecture, factors)
        self._problem = as_any_loss(
            type(posed).kernel_data([posed], np.float64), math.prod(architecture.solution_shape)
        )
        self._weight, self.size = float(posed.weight), flat.size
        self._point: Any = architecture.make_curvature(self._problem, flat)
        self._point.factors[:] = flat
        self.loss = float(_visit(self._point, self._problem, self._weight))
        self.factors: FloatArray = flat
        self.gradient: FloatArray = self._point.gradient.copy()

    def times(self, direction: ArrayLike) -> FloatArray:
        """``H v`` for a direction v, flat: (parameters,)."""
        v = np.ascontiguousarray(direction, np.float64).ravel()
        if v.size != self.size:
            raise ValueError(f"direction must have {self.size} entries, got {v.size}")
        out = np.empty(self.size)
        _curve(self._point, self._problem, self._weight, v, out)
        return out

    def operator(self) -> LinearOperator:
        """What `scipy.sparse.linalg` takes."""
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator((self.size, self.size), self.times, self.times, dtype=np.float64)


def flatten(architecture: Architecture, factors: ArrayLike | Sequence[ArrayLike]) -> FloatArray:
    """The factors of one run in flat storage; also checks them."""
    parameters, shapes = architecture.parameter_count, architecture.factor_shapes
    flat: FloatArray
    if isinstance(factors, np.ndarray) and factors.ndim == 1 and len(shapes) > 1:
        flat = np.array(factors, np.float64)
        if flat.size != parameters:
            raise ValueError(f"factors must have {parameters} entries, got {flat.size}")
    else:
        listed: Any = factors
        arrays = [np.asarray(factor, np.float64) for factor in listed]
        if [array.shape for array in arrays] != shapes:
            raise ValueError(f"factors must have the shapes {shapes}, got {shown([a.shape for a in arrays])}")
        flat = np.concatenate([array.ravel() for array in arrays])
    if not np.isfinite(flat).all():
        raise ValueError("factors must be finite")
    return flat


@jit
def _visit(point: Any, problem: Any, weight: float) -> float:
    return visit(point, problem, 0, weight)


@jit
def _curve(point: Any, problem: Any, weight: float, direction: FloatArray, out: FloatArray) -> None:
    curve(point, problem, 0, weight, direction, out)
