"""Critical points of the loss by all factors: minimum or saddle, by the smallest eigenvalue of the Hessian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_number
from fastflow.hessian import Hessian
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.streams import stream

DENSE = 64
"""Up to so many parameters the Hessian is formed."""


class CriticalPoint(NamedTuple):
    """What `critical_point` finds.

    Attributes
    ----------
    kind : "minimum", "saddle", "degenerate" or "not critical"
        ``"minimum"``: no eigenvalue of the Hessian is below ``-tol`` times the largest in magnitude. As the product
        stays the same along many directions, this is a statement of second order. ``"degenerate"``: the Hessian
        vanishes, as it does where all factors do and N >= 3.
    gradient_norm : float, by all factors
    smallest, largest : float, eigenvalues of the Hessian
    direction : array (parameters,), a unit eigenvector of the smallest, down which a saddle is left
    """

    kind: str
    gradient_norm: float
    smallest: float
    largest: float
    direction: FloatArray


def critical_point(
    problem: Problem, network: Network, factors: ArrayLike | Sequence[ArrayLike], tol: float = 1e-6
) -> CriticalPoint:
    """Whether factors at which the gradient vanishes, such as those of a run that came to rest, are a saddle's.

    Lanczos' method (`scipy.sparse.linalg.eigsh`) on exact Hessian-vector products.

    Parameters
    ----------
    problem, network : as they are trained; factors of a DiagonalLinear network independent
    factors : those of one run, ``[factor[i] for factor in runs.factors]``, or flat (parameters,)
    tol : float > 0
        Eigenvalues and the gradient (over the largest eigenvalue and the norm of the factors) are zero up to this.

    Raises
    ------
    TypeError, ValueError
        for arguments that do not combine
    """
    tol, hessian = as_number("tol", tol, above=0), Hessian(problem, network, factors)
    if hessian.size <= DENSE:
        matrix = np.array([hessian.times(unit) for unit in np.eye(hessian.size)])
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        smallest, largest, direction = float(values[0]), float(values[-1]), vectors[:, 0]
    else:
        from scipy.sparse.linalg import eigsh

        operator, start = hessian.operator(), stream(0, "critical point", hessian.size).standard_normal(hessian.size)
        largest = float(eigsh(operator, 1, which="LA", v0=start, tol=1e-3, return_eigenvectors=False)[0])
        value, vector = eigsh(operator, 1, which="SA", v0=start, tol=tol, ncv=min(hessian.size, 40))
        smallest, direction = float(value[0]), vector[:, 0]
    norm = float(np.linalg.norm(hessian.gradient))
    scale = max(abs(smallest), abs(largest))
    size = float(np.linalg.norm(hessian.factors))
    if norm > tol * scale * size:
        kind = "not critical"
    elif scale == 0:
        kind = "degenerate"
    else:
        kind = "saddle" if smallest < -tol * scale else "minimum"
    return CriticalPoint(kind, norm, smallest, largest, direction)
