"""Baselines for a matrix: least nuclear norm, and the best approximation of a rank."""

from __future__ import annotations

import functools
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.baselines.accuracy import fall_short
from fastflow.baselines.systems import RowSpace, heard, row_space
from fastflow.checks import FloatArray, as_count, as_floats, as_number
from fastflow.equality import by_value
from fastflow.memory import require_work

STEPPED, MEASURED, DECOMPOSED = 11, 7, 9
"""Copies of what they are given that solvers take at their peak (measured)."""

MIXED = 130
"""Copies of the matrix that the acceleration has: at most 20 earlier points and moves, and what is made of them."""


@by_value(hashable=False)
class NuclearNormSolution(NamedTuple):
    """A matrix of least nuclear norm, and the proof.

    Attributes
    ----------
    solution : array (p, q), W; it fits the values to round-off
    multipliers : array (m,), one for each value: ``Y = sum_i multipliers_i A_i`` has ``||Y||_2 <= 1``
    gap : float
        ``(||W||_* - <Y, W>) / ||W||_*``: no matrix that fits has a nuclear norm under ``(1 - gap) ||W||_*``.
    steps : int

    Examples
    --------
    >>> found = ff.baselines.nuclear_norm_completion([[1.0, 1], [1, np.nan]])
    >>> found.solution.round(3).tolist(), bool(found.gap < 1e-6)
    ([[1.0, 1.0], [1.0, 1.0]], True)
    """

    solution: FloatArray
    multipliers: FloatArray
    gap: float
    steps: int


def nuclear_norm_completion(matrix: ArrayLike, *, tol: float = 1e-7, max_steps: int = 20_000) -> NuclearNormSolution:
    """``min ||W||_*`` subject to ``W = matrix`` at the observed entries (Candes, Recht, arXiv:0805.4471).

    Parameters
    ----------
    matrix : array (p, q) whose unobserved entries are NaN
    tol : float > 0, the relative duality gap to reach
    max_steps : int, of one singular value decomposition each

    Returns
    -------
    NuclearNormSolution
        The multipliers are in the order of ``np.nonzero`` of the observed entries.

    Raises
    ------
    ValueError, TypeError
        for what is no real matrix, and where no entry is observed

    Warns
    -----
    UserWarning
        where ``tol`` is not met

    Examples
    --------
    >>> found = ff.baselines.nuclear_norm_completion([[1.0, 1], [1, np.nan]])
    >>> found.solution.round(3).tolist(), bool(found.gap < 1e-6)
    ([[1.0, 1.0], [1.0, 1.0]], True)
    """
    given = as_floats("matrix", matrix, 2, nan_allowed=True)
    require_work(given.size, STEPPED, "nuclear_norm_completion of a matrix")
    dense = given.astype(np.float64)
    observed = ~np.isnan(dense)
    if not observed.any():
        raise ValueError("no entry is observed: every entry of the matrix is NaN")
    return _minimise(_Entries(np.where(observed, dense, 0), observed), tol, max_steps)


def nuclear_norm_sensing(
    operators: ArrayLike, values: ArrayLike, *, tol: float = 1e-7, max_steps: int = 20_000
) -> NuclearNormSolution:
    """``min ||W||_*`` subject to ``<A_i, W> = values_i`` (Recht, Fazel, Parrilo, arXiv:0706.4138).

    Parameters
    ----------
    operators : array (m, p, q), of any rank
    values : array (m,)
    tol : float > 0, the relative duality gap to reach
    max_steps : int, of one singular value decomposition each

    Returns
    -------
    NuclearNormSolution

    Raises
    ------
    ValueError
        where no W fits

    Warns
    -----
    UserWarning
        where ``tol`` is not met

    Examples
    --------
    >>> found = ff.baselines.nuclear_norm_sensing([np.diag([1.0, 0])], [2.0])
    >>> found.solution.round(3).tolist()
    [[2.0, 0.0], [0.0, 0.0]]
    """
    a, y = as_floats("operators", operators, 3), as_floats("values", values, 1).astype(np.float64)
    require_work(a.size, MEASURED, "nuclear_norm_sensing with operators")
    a = a.astype(np.float64)
    if y.shape != a.shape[:1]:
        raise ValueError(f"values must have one entry for each of {len(a)} operators, got {y.shape}")
    return _minimise(_Measurements(row_space(a.reshape(len(a), -1), y, "W"), a.shape[1:]), tol, max_steps)


def best_rank(matrix: ArrayLike, rank: int) -> FloatArray:
    """The nearest matrix of a rank, in the Frobenius and every other unitarily invariant norm (Eckart, Young 1936).

    By a singular value decomposition: exact up to round-off.

    Parameters
    ----------
    matrix : array (p, q)
    rank : int, between 0 and min(p, q)

    Returns
    -------
    array (p, q); one of them where ``s_rank = s_{rank+1}``

    Raises
    ------
    ValueError, TypeError
        for what is no finite real matrix, and ranks that it cannot have

    Examples
    --------
    >>> ff.baselines.best_rank(np.diag([3.0, 1]), 1).round(6).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """
    given = as_floats("matrix", matrix, 2)
    require_work(given.size, DECOMPOSED, "best_rank of a matrix")
    array = given.astype(np.float64)
    rank = as_count("rank", rank, 0)
    if rank > min(array.shape):
        raise ValueError(f"rank must be at most {min(array.shape)}, got {rank}")
    left, values, right = heard(array.size, lambda: np.linalg.svd(array, full_matrices=False))
    result: FloatArray = (left[:, :rank] * values[:rank]) @ right[:rank]
    return result


class _Constraint(Protocol):
    """The set ``{W : A(W) = y}``."""

    def least_norm(self) -> FloatArray:
        """Its point of least Frobenius norm."""

    def project(self, matrix: FloatArray) -> FloatArray:
        """Its nearest point."""

    def normal_part(self, matrix: FloatArray) -> FloatArray:
        """The projection of a matrix on the range of ``A^*``."""

    def multipliers(self, normal: FloatArray) -> FloatArray:
        """The lambda with ``A^*(lambda) = normal``, of least norm."""


class _Entries(NamedTuple):
    filled: FloatArray
    observed: NDArray[np.bool_]

    def least_norm(self) -> FloatArray:
        return self.filled

    def project(self, matrix: FloatArray) -> FloatArray:
        return np.where(self.observed, self.filled, matrix)

    def normal_part(self, matrix: FloatArray) -> FloatArray:
        return np.where(self.observed, matrix, 0)

    def multipliers(self, normal: FloatArray) -> FloatArray:
        return normal[self.observed]


class _Measurements(NamedTuple):
    space: RowSpace
    shape: tuple[int, ...]

    def least_norm(self) -> FloatArray:
        return (self.space.image @ self.space.basis).reshape(self.shape)

    def project(self, matrix: FloatArray) -> FloatArray:
        return matrix - self.normal_part(matrix) + self.least_norm()

    def normal_part(self, matrix: FloatArray) -> FloatArray:
        basis = self.space.basis
        return ((basis @ matrix.ravel()) @ basis).reshape(self.shape)

    def multipliers(self, normal: FloatArray) -> FloatArray:
        return self.space.left @ ((self.space.basis @ normal.ravel()) / self.space.singular)


def _minimise(constraint: _Constraint, tol: float, max_steps: int) -> NuclearNormSolution:
    """Douglas and Rachford's splitting, over-relaxed and accelerated: shrink singular values, reflect, project.

    W is feasible throughout. What the shrinkage takes off, divided by it, is a subgradient of the nuclear norm; its
    part in the range of ``A^*``, scaled to norm 1 where it exceeds that, is feasible in the dual, and gives the gap.
    """
    tol, max_steps = as_number("tol", tol, above=0), as_count("max_steps", max_steps, 1)
    w = shrunk = constraint.least_norm()
    if not w.any():
        return NuclearNormSolution(w, constraint.multipliers(w), 0.0, 0)
    require_work(w.size, MIXED, "minimising the nuclear norm of a matrix")
    point, shrinkage, mixing = w, 0.1 * np.linalg.norm(w, 2), _AndersonMixing()
    for step in range(1, max_steps + 1):
        left, values, right = heard(point.size, functools.partial(np.linalg.svd, point, full_matrices=False))
        before, shrunk = shrunk, (left * np.maximum(values - shrinkage, 0)) @ right
        off = point - shrunk
        w = constraint.project(shrunk - off)
        if step % 10 == 0 or step == max_steps:
            normal = constraint.normal_part(off) / shrinkage
            normal /= max(1.0, float(np.linalg.norm(normal, 2)))
            norm = np.linalg.norm(w, "nuc")
            gap = float((norm - np.sum(normal * w)) / norm)
            if gap <= tol:
                break
        if step <= 500 and step % 50 == 0:
            # Balances the relative residuals of primal and dual. From then on it is fixed, as convergence needs.
            primal = np.linalg.norm(w - shrunk) / np.linalg.norm(w)
            dual = np.linalg.norm(shrunk - before) / np.linalg.norm(off)
            ratio = float(np.clip(np.sqrt((dual + 1e-16) / (primal + 1e-16)), 0.2, 5))
            shrinkage, point, mixing = shrinkage * ratio, shrunk + ratio * off, _AndersonMixing()
        else:
            point = mixing.advance(point, 1.6 * (w - shrunk))
    else:
        fall_short(
            f"nuclear-norm minimisation came to a relative duality gap of {gap:.1g} in {max_steps} steps, "
            f"not to {tol:.1g}: give more max_steps or a larger tol",
            stacklevel=3,
        )
    return NuclearNormSolution(w, constraint.multipliers(normal), gap, step)


class _AndersonMixing:
    """Anderson's acceleration of a fixed-point iteration, from up to 20 earlier moves.

    (For this splitting: Fu, Zhang, Boyd 2019.)
    Where a move comes out twice as large as the one before, it goes back to the plain step from there and starts anew.
    """

    def __init__(self) -> None:
        self.points: list[FloatArray] = []
        self.moves: list[FloatArray] = []

    def advance(self, point: FloatArray, move: FloatArray) -> FloatArray:
        """The point after ``point``, from where the iteration would go to ``point + move``."""
        if self.moves and np.linalg.norm(move) > 2 * np.linalg.norm(self.moves[-1]):
            plain = self.points[-1] + self.moves[-1]
            self.points, self.moves = [], []
            return plain
        self.points, self.moves = [*self.points[-20:], point], [*self.moves[-20:], move]
        points = np.diff([p.ravel() for p in self.points], axis=0)
        moves = np.diff([m.ravel() for m in self.moves], axis=0)
        # The second term keeps the weights moderate, also where the moves are all alike.
        gram = moves @ moves.T + 1e-10 * (np.sum(points**2) + np.sum(moves**2)) * np.eye(len(moves))
        weights = np.linalg.lstsq(gram, moves @ move.ravel(), rcond=None)[0]
        return point + move - (weights @ (points + moves)).reshape(point.shape)
