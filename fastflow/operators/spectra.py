"""The largest eigenvalue of ``A^T A``, by products."""

from __future__ import annotations

import numpy as np

from fastflow.checks import FloatArray
from fastflow.memory import require_work
from fastflow.operators.base import Operator
from fastflow.streams import stream

BASIS = 20
"""How many vectors Lanczos keeps."""
SMALLEST_RTOL = 1e-14
"""Nearer to 0 round-off decides whether Lanczos ends."""


def largest_of_gram(operator: Operator, weights: FloatArray, rtol: float) -> float:
    """The largest eigenvalue of ``D A^T A D`` with D = diag(weights), of the real form of A.

    Power iteration that keeps what it has seen (Lanczos), from a vector that depends on the shape alone.

    Parameters
    ----------
    operator : Operator
    weights : array (n,)
    rtol : float > 0
        It ends when the residual of the eigenvector, and with it the error, is at most this share of the eigenvalue.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        where it does not come there
    """
    n = operator.shape[1]

    def times(vector: FloatArray) -> FloatArray:
        scaled = np.ascontiguousarray(weights * np.ravel(vector), np.float64)[None]
        return np.asarray(weights * operator.adjoint(operator.forward(scaled))[0], np.float64)

    start = stream("largest eigenvalue", *operator.shape).standard_normal(n)
    first = times(start)
    if n == 1 or not first.any():
        return float(first[0] / start[0]) if n == 1 else 0.0
    if n == 2:  # for which Lanczos has no room
        return float(np.linalg.eigvalsh(np.array([times(row) for row in np.eye(2)]))[-1])
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    require_work(n, BASIS + 4, "Lanczos on vectors")
    try:
        values = eigsh(
            LinearOperator((n, n), times, times, dtype=np.float64),
            1,
            which="LA",
            v0=start,
            tol=max(rtol, SMALLEST_RTOL),
            ncv=min(n, BASIS),
            return_eigenvectors=False,
        )
    except ArpackNoConvergence:
        raise ValueError(
            f"Lanczos did not find the stability edge to {rtol:g}, which many eigenvalues of nearly its size can "
            "cause: give a step"
        ) from None
    return float(values[0])
