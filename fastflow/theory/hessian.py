"""The Hessian of the loss by all factors, as an operator: never formed, and exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from fastflow.arrays import as_list, as_real
from fastflow.checks import FloatArray, shown
from fastflow.kernels.losses.any_loss import as_any_loss
from fastflow.kernels.networks.hessian import curve_alone, visit_alone
from fastflow.memory import require_work
from fastflow.networks import Architecture, Network
from fastflow.problems import Problem
from fastflow.theory.hessian_by_products import HessianByProducts

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator


CURVATURE = 12
"""Copies of the factors that products with the Hessian take."""


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
        posed = network.pose(problem)
        architecture = network.architecture(posed)
        if architecture.independent != architecture:
            raise ValueError(
                f"the Hessian is that of independent factors: use {architecture.independent.network} and give all of "
                "them"
            )
        check_has_hessian(network)
        require_work(architecture.parameter_count, CURVATURE, "the Hessian at factors")
        flat = flatten(architecture, factors)
        self.size, self.factors = flat.size, flat
        self._by_products = HessianByProducts(posed, architecture, flat) if posed.is_matrix_free else None
        if self._by_products is not None:
            self.loss, self.gradient = self._by_products.loss, self._by_products.gradient
            return
        self._problem = as_any_loss(posed.kernel_data([posed], np.float64), math.prod(architecture.solution_shape))
        self._weight = float(posed.weight)
        self._point = architecture.make_curvature(self._problem, flat)
        self._point.factors[:] = flat
        self.loss = float(visit_alone(self._point, self._problem, self._weight))
        self.gradient = self._point.gradient.copy()

    def times(self, direction: ArrayLike) -> FloatArray:
        """``H v`` for a direction v, flat: (parameters,)."""
        v = np.ascontiguousarray(as_real("direction", direction), np.float64).ravel()
        if v.size != self.size:
            raise ValueError(f"direction must have {self.size} entries, got {v.size}")
        if self._by_products is not None:
            return self._by_products.times(v)
        out = np.empty(self.size)
        curve_alone(self._point, self._problem, self._weight, v, out)
        return out

    def operator(self) -> LinearOperator:
        """What `scipy.sparse.linalg` takes."""
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator((self.size, self.size), self.times, self.times, dtype=np.float64)


def check_has_hessian(network: Network) -> None:
    """Refuse a network whose Hessian is not known.

    Raises
    ------
    TypeError
    """
    if not network.is_counted:
        raise ValueError(f"Hessians are by all factors, of which {network} has no whole number: take a whole depth")
    if not network.has_hessian:
        raise TypeError(f"the Hessian by the factors of a {type(network).__name__} network is not known")


def as_arrays(factors: ArrayLike | Sequence[ArrayLike]) -> list[FloatArray]:
    """The factors in float64, one array each."""
    given = as_list("factors", factors)
    return [as_real(f"factor {j + 1}", factor).astype(np.float64) for j, factor in enumerate(given)]


def flatten(architecture: Architecture, factors: ArrayLike | Sequence[ArrayLike]) -> FloatArray:
    """The factors of one run in flat storage (parameters,).

    Raises
    ------
    TypeError, ValueError
        for factors that are not those of the architecture, or not finite
    """
    parameters, shapes = architecture.parameter_count, architecture.factor_shapes
    flat: FloatArray
    if isinstance(factors, np.ndarray) and factors.ndim == 1 and len(shapes) > 1:
        flat = as_real("factors", factors).astype(np.float64)
        if flat.size != parameters:
            raise ValueError(f"factors must have {parameters} entries, got {flat.size}")
    else:
        arrays = as_arrays(factors)
        if [array.shape for array in arrays] != shapes:
            raise ValueError(f"factors must have the shapes {shapes}, got {shown([a.shape for a in arrays])}")
        flat = np.concatenate([array.ravel() for array in arrays])
    if not np.isfinite(flat).all():
        raise ValueError("factors must be finite")
    return flat
