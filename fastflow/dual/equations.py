"""The linear equations of a Newton step on the dual, with weights over all orders of magnitude."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.checks import FloatArray
from fastflow.kernels.dual.certainty import EPSILON
from fastflow.kernels.vectors.revealing import reveal_rank


def round_off(matrix: FloatArray) -> float:
    """What of a column, relative to its norm, is round-off after an elimination."""
    return 64 * len(matrix) * EPSILON


class Step(NamedTuple):
    """The changes of z and of lam."""

    point: FloatArray
    dual: FloatArray


class Equations:
    """The equations of a Newton step, factored: ``diag(weights) A^T = Q R diag(scales) U``.

    Parameters
    ----------
    matrix : array (m, n), A
    slope : array (n,), dx/dz, the squares of the weights
    """

    def __init__(self, matrix: FloatArray, slope: FloatArray) -> None:
        self.m, self.weights = len(matrix), np.sqrt(slope)
        found = reveal_rank(matrix, self.weights, round_off(matrix))
        self.columns, self.rows, self.pivots = found.columns, found.rows, found.pivots
        self.square, self.upper = found.lower[found.columns], found.upper[:, found.rows]
        self.scales = self.weights[found.columns] * found.pivots
        scaled = found.lower * self.weights[:, None] / self.weights[found.columns]
        self.q, self.r = np.linalg.qr(scaled)

    def only_dual(self, apart: FloatArray) -> FloatArray:
        """The change of lam that makes ``A^T lam - z`` vanish on the pivots, whatever their sizes."""
        right = _solve(self.square, -apart[self.columns], lower=True, unit_diagonal=True)
        return self._spread(_solve(self.upper, right / self.pivots, unit_diagonal=True))

    def solve(self, residual: FloatArray, apart: FloatArray, noise: float) -> Step:
        """The step for ``y - A x`` and ``A^T lam - z``; of the first, what is below noise is 0."""
        image = _solve(self.upper.T, residual[self.rows], lower=True, unit_diagonal=True)
        image = np.where(np.abs(image) <= noise, 0.0, image) / self.scales
        inside = _solve(self.r, image, trans="T")
        weighted = self.weights * apart
        point = self.q @ inside + (weighted - self.q @ (self.q.T @ weighted))
        point = point - self.q @ (self.q.T @ point - inside)
        right = _solve(self.r, inside - self.q.T @ weighted) / self.scales
        dual = self._spread(_solve(self.upper, right, unit_diagonal=True))
        return Step(point / self.weights, dual)

    def reach(self, noise: FloatArray) -> FloatArray:
        """What errors of ``A x - y`` of these sizes, of any sign, can do to the entries of x that are pivots."""
        inverse = _solve(self.upper.T, np.eye(len(self.rows)), lower=True, unit_diagonal=True)
        inverse = _solve(self.square, inverse / self.pivots[:, None], lower=True, unit_diagonal=True, trans="T")
        reach: FloatArray = np.abs(inverse) @ noise[self.rows]
        return reach

    def _spread(self, part: FloatArray) -> FloatArray:
        whole = np.zeros(self.m)
        whole[self.rows] = part
        return whole


def _solve(triangle: FloatArray, right: FloatArray, **options: bool | str) -> FloatArray:
    """`scipy.linalg.solve_triangular`, which importing fastflow does not wait for."""
    from scipy.linalg import solve_triangular

    solution: FloatArray = solve_triangular(triangle, right, **options)
    return solution
