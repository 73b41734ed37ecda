"""Whether a critical point is a minimum or a saddle, from more than the second derivatives where these do not tell.

The Hessian by the factors has zeros at every such point, and where several factors vanish it may be 0 altogether. What
decides then is the loss as a function of the product, which for all problems but a user's own is ``1/2 ||M W - y||^2``:

* Where no W fits better, ``M^T (M W - y) = 0``, the point is a global minimum.
* Elsewhere a chain of less than full rank is at a saddle (Trager, Kohn, Bruna, arXiv:1910.01671), and so is a diagonal
  network: where the slope g_i by x_i is not 0, two of the factors of that entry are 0 and moving all that are 0 by t
  changes the loss by the first power of ``g_i t^k``, of either sign.
* At full rank r the product runs over all matrices of rank r nearby, whichever way the factors move. With
  ``W = U S V^T`` and its tangents ``Z = U A V^T + U' B V^T + U C V'^T`` the second derivative there is
  ``||M Z||^2 + 2 <U'^T E V', B S^{-1} C>``, which has no zeros of the factors' making: its sign decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastflow import metrics
from fastflow.checks import FloatArray, as_number
from fastflow.equality import by_value
from fastflow.networks import Architecture, Hadamard, Network, chain_product
from fastflow.problems import MatrixProblem, Problem, VectorProblem
from fastflow.theory.arguments import as_posed
from fastflow.theory.curvature import LARGEST, RTOL, SMALLEST, as_runs, end_of_spectrum, is_finite
from fastflow.theory.hessian import Hessian

MINIMUM, SADDLE, UNDECIDED, NOT_CRITICAL = "minimum", "saddle", "undecided", "not critical"


@by_value(hashable=False)
@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """What is known of a critical point.

    Attributes
    ----------
    kind : "minimum", "saddle", "undecided" or "not critical"
        From a saddle there is a way down, which its second derivatives may not show (as at W = 0 for N >= 3). A minimum
        is a local one. Undecided: neither the second derivatives nor the loss as a function of the product tell,
        within ``tol``. Not critical: the gradient does not vanish.
    smallest, largest : float, eigenvalues of the Hessian, the smallest to a tenth of ``tol`` times the largest
    gradient_norm : float, by all factors
    direction : array (parameters,), a unit eigenvector of the smallest, down which the loss falls if that is negative

    Examples
    --------
    >>> problem, zero = ff.MatrixEstimation(np.eye(2)), [np.zeros((2, 2)), np.zeros((2, 2))]
    >>> found = ff.theory.critical_point(problem, ff.DeepLinear(2), zero)
    >>> found.kind, round(found.smallest, 6)
    ('saddle', -1.0)
    """

    kind: str
    smallest: float
    largest: float
    gradient_norm: float
    direction: FloatArray


@metrics.quiet
def critical_point(
    problem: Problem, network: Network, factors: ArrayLike | Sequence[ArrayLike], tol: float = 1e-6
) -> CriticalPoint | list[CriticalPoint]:
    """Whether a critical point is a minimum or a saddle, or that this is undecided.

    The second derivatives decide where they can; elsewhere the loss as a function of the product, which has no zeros of
    the factors' making. Of a user's own problem only the former are known.

    Parameters
    ----------
    problem, network : as they are trained
    factors : as ``runs.factors``, of all runs or of one, or flat of one (parameters,)
        Equal factors of an identical network count as L factors, which may move apart.
    tol : float > 0
        Up to which the gradient (over the largest curvature and the norm of the factors), a negative curvature (over
        the largest), a singular value of W (over the largest) and what some W fits better (the norm of that part of the
        residuals over the norm of the data) are 0.

    Returns
    -------
    CriticalPoint, or of a stack of runs a list of them
        Of a run of a stack that is not finite the kind is undecided, and all numbers are NaN.

    References
    ----------
    M. Trager, K. Kohn, J. Bruna, Pure and spurious critical points, arXiv:1910.01671: where the loss is convex in W, no
    local minimum has a rank below the least width and a gradient by W that does not vanish.

    Examples
    --------
    >>> problem, zero = ff.MatrixEstimation(np.eye(2)), [np.zeros((2, 2)), np.zeros((2, 2))]
    >>> found = ff.theory.critical_point(problem, ff.DeepLinear(2), zero)
    >>> found.kind, round(found.smallest, 6)
    ('saddle', -1.0)
    """
    tol, posed = as_number("tol", tol, above=0), as_posed(problem, network)
    architecture = network.architecture(posed)
    if isinstance(factors, np.ndarray) and factors.ndim == 1:
        factors = architecture.unpack(factors)
    stack, independent, runs = as_runs(architecture, factors)
    points = []
    for one in runs:
        if stack and not is_finite(one):
            nowhere = np.full(sum(factor.size for factor in one), np.nan)
            points.append(CriticalPoint(UNDECIDED, np.nan, np.nan, np.nan, nowhere))
        else:
            points.append(_judged(posed, independent, one, tol))
    return points if stack else points[0]


def _judged(posed: Problem, network: Network, one: list[FloatArray], tol: float) -> CriticalPoint:
    """`critical_point` of one run, with independent factors."""
    hessian = Hessian(posed, network, one)
    (smallest, direction), (largest, _) = (
        end_of_spectrum(hessian, SMALLEST, 0.1 * tol),
        end_of_spectrum(hessian, LARGEST, RTOL),
    )
    gradient_norm = float(metrics.l2_norm(hessian.gradient))
    scale = max(abs(smallest), abs(largest))
    if gradient_norm > tol * scale * float(metrics.l2_norm(hessian.factors)):
        kind = NOT_CRITICAL
    elif smallest < -tol * scale:
        kind = SADDLE
    elif smallest > tol * scale:
        kind = MINIMUM
    else:
        kind = _by_product(posed, network.architecture(posed), one, tol)
    return CriticalPoint(kind, smallest, largest, gradient_norm, direction)


def _by_product(posed: Problem, architecture: Architecture, one: list[FloatArray], tol: float) -> str:
    """The kind of a critical point whose Hessian has zeros but no negative eigenvalue."""
    sides: list[list[FloatArray]] = []
    if not posed.is_least_squares:
        return UNDECIDED
    if architecture.network.is_chain:
        product = chain_product(one)
    elif isinstance(architecture, Hadamard):
        sides = architecture.sides_of(one)
        positive, *negative = (np.prod(side, axis=0) for side in sides)
        product = positive - negative[0] if negative else positive
    else:
        return UNDECIDED
    size = float(metrics.l2_norm(posed.residual(np.zeros(posed.shape))))
    left = posed.explained(posed.residual(product))
    if metrics.l2_norm(left) <= tol * size:
        return MINIMUM
    if architecture.factors_multiplied == 1:
        return UNDECIDED  # convex in the one factor: a gradient that ``tol`` takes for 0
    if sides:
        return _of_vectors(posed.of_vector(), sides, left, tol)
    return _of_chain(posed.of_matrix(), one, product, tol, size)


def _of_chain(posed: MatrixProblem, one: list[FloatArray], product: FloatArray, tol: float, size: float) -> str:
    """The kind where some W fits better than this product."""
    rank = min(min(factor.shape) for factor in one)
    if metrics.numerical_rank(product, tol) < rank:
        return SADDLE
    minimum = posed.minimum(rank)
    if minimum is not None and posed.loss(product) - minimum.value <= 0.5 * posed.weight * (tol * size) ** 2:
        return MINIMUM  # also where several are equally low, so that the second derivatives have zeros
    curvature = _OnRank(posed, product, rank)
    smallest = end_of_spectrum(curvature, SMALLEST, 0.1 * tol)[0]
    scale = max(abs(smallest), abs(end_of_spectrum(curvature, LARGEST, RTOL)[0]))
    if abs(smallest) <= tol * scale:
        return UNDECIDED
    return MINIMUM if smallest > 0 else SADDLE


def _of_vectors(posed: VectorProblem, sides: list[list[FloatArray]], left: FloatArray, tol: float) -> str:
    """The kind where some x leaves less than this one, of residuals of which ``left`` could be fitted."""
    sizes = [np.abs(side) for side in sides]
    largest = max(side.max() for side in sizes)
    matrix = posed.entries("the kind of a critical point")
    columns = metrics.euclidean_norms(matrix.T.astype(np.float64))
    slopes = np.abs(left @ matrix) > tol * columns * metrics.l2_norm(left)
    for side in sizes:
        others = np.prod(np.sort(side, axis=0)[1:] / (largest or 1), axis=0)
        if np.any(slopes & (others <= np.sqrt(tol))):
            return SADDLE
    return UNDECIDED


class _OnRank:
    """The Hessian of the loss on the matrices of the rank of W, in the coordinates (A, B, C) of their tangents."""

    def __init__(self, posed: MatrixProblem, product: FloatArray, rank: int) -> None:
        left, values, right = np.linalg.svd(product)
        self.posed, self.values = posed, values[:rank]
        self.left, self.outer_left = left[:, :rank], left[:, rank:]
        self.right, self.outer_right = right[:rank], right[rank:]
        self.slope = self.outer_left.T @ posed.gradient(product) @ self.outer_right.T
        self.shapes = [(rank, rank), (self.outer_left.shape[1], rank), (rank, len(self.outer_right))]
        self.size = sum(rows * columns for rows, columns in self.shapes)

    def times(self, direction: ArrayLike) -> FloatArray:
        """The Hessian times the coordinates of a tangent."""
        flat, parts, at = np.ravel(direction), [], 0
        for rows, columns in self.shapes:
            parts.append(flat[at : at + rows * columns].reshape(rows, columns))
            at += rows * columns
        inner, down, across = parts
        tangent = (self.left @ inner + self.outer_left @ down) @ self.right + self.left @ across @ self.outer_right
        change = self.posed.weight * self.posed.normal_operator(tangent)
        turned = self.left.T @ change
        return np.concatenate(
            [
                (turned @ self.right.T).ravel(),
                (self.outer_left.T @ change @ self.right.T + self.slope @ across.T / self.values).ravel(),
                (turned @ self.outer_right.T + (down / self.values).T @ self.slope).ravel(),
            ]
        )
