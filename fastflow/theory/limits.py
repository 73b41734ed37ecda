"""Where the gradient flow and gradient descent end, as far as theorems say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow import metrics
from fastflow.checks import FloatArray, as_count, as_floats
from fastflow.problems import LinearRegression, MatrixEstimation, Problem
from fastflow.theory.arguments import as_chain

BALANCED = 1e-9
"""The largest defect of a start that is balanced but for round-off, over the largest squared norm of a factor."""


class Minimum(NamedTuple):
    """A minimum over matrices of bounded rank.

    Attributes
    ----------
    value : float, of the loss
    solution : array (d_N, d_0), of least norm among the minimisers if they differ where the data do not see
    unique : bool
        Whether it is the only one: no singular values tie there, and the data determine W.
    determined : bool
        Whether the data determine W: ``X X^T`` is invertible.
    """

    value: float
    solution: FloatArray
    unique: bool
    determined: bool


class Limit(NamedTuple):
    """Where a run is predicted to end.

    Attributes
    ----------
    solution : array (d_N, d_0)
    value : float, of the loss there
    reason : str, why, and for which starts
    """

    solution: FloatArray
    value: float
    reason: str


def global_minimum(problem: Problem, rank: int | None = None) -> Minimum:
    """The minimum of the loss over matrices of at most a rank, for estimation, regression and the autoencoder.

    With ``X = U S V^T`` of rank k, ``Q = Y V = sum_i sigma_i u_i v_i^T`` (which is ``Y X^T (X X^T)^{-1/2}`` but for a
    rotation) the loss is ``1/2 ||W U S - Q||_F^2 + 1/2 ||Y (I - V V^T)||_F^2``. So its minimum is
    ``1/2 (sum_{i > r} sigma_i^2 + ||Y (I - V V^T)||_F^2)``, at ``W = Q_r S^{-1} U^T`` with Q_r the leading r terms. For
    the autoencoder that is ``1/2 sum_{i > r} lambda_i(X X^T)``, at the projector on the leading r eigenvectors. (Bah,
    Rauhut, Terstiege, Westdickenberg, arXiv:1910.05505, where ``X X^T`` is invertible.)

    Parameters
    ----------
    problem : MatrixEstimation or LinearRegression
    rank : int, default ``min(d_0, d_N)``; for a network the least of its widths

    Returns
    -------
    Minimum

    Raises
    ------
    TypeError
        for other problems, whose minimum over a rank is in general hard to find
    """
    if isinstance(problem, MatrixEstimation):
        inputs, outputs = None, np.asarray(problem.target, np.float64)
    elif isinstance(problem, LinearRegression):
        inputs, outputs = problem.inputs.astype(np.float64), problem.outputs.astype(np.float64)
    else:
        raise TypeError(
            "the global minimum over a rank is known for MatrixEstimation and LinearRegression, "
            f"got {type(problem).__name__}"
        )
    rank = min(problem.shape) if rank is None else as_count("rank", rank, 0)
    columns = problem.shape[1]
    rest, seen, back = 0.0, outputs, np.eye(columns)
    if inputs is not None:
        left, values, right = np.linalg.svd(inputs, full_matrices=False)
        known = values > max(inputs.shape) * np.finfo(float).eps * values[0]
        left, values, right = left[:, known], values[known], right[known]
        seen = outputs @ right.T
        rest = float(np.sum((outputs - seen @ right) ** 2))
        back = (left / values).T
    first, sizes, second = np.linalg.svd(seen, full_matrices=False)
    solution = (first[:, :rank] * sizes[:rank]) @ second[:rank] @ back
    value = 0.5 * problem.weight * (float(np.sum(sizes[rank:] ** 2)) + rest)
    tied = 0 < rank < len(sizes) and sizes[rank - 1] - sizes[rank] <= 1e-12 * sizes[0] and sizes[rank] > 0
    determined = len(back) == columns
    return Minimum(value, solution, determined and not tied, determined)


def positive_part(matrix: ArrayLike) -> FloatArray:
    """The nearest positive semidefinite matrix to a symmetric one: its eigenvalues above 0.

    Parameters
    ----------
    matrix : array (d, d), symmetric

    Returns
    -------
    array (d, d)

    Raises
    ------
    TypeError, ValueError
        for what is no symmetric matrix
    """
    array = as_floats("matrix", matrix, 2).astype(np.float64)
    if not is_symmetric(array):
        raise ValueError("matrix must be symmetric")
    values, vectors = np.linalg.eigh((array + array.T) / 2)
    part: FloatArray = (vectors * np.maximum(values, 0)) @ vectors.T
    return part


def is_symmetric(matrix: FloatArray) -> bool:
    """Whether a matrix is square and symmetric but for round-off."""
    return matrix.shape[0] == matrix.shape[1] and bool(
        np.abs(matrix - matrix.T).max() <= 1e-14 * max(np.abs(matrix).max(), np.finfo(float).tiny)
    )


def identical_scale(factors: Sequence[FloatArray]) -> float | None:
    """The alpha if every factor is ``alpha I``, alpha > 0, and square; else None."""
    first = factors[0]
    alpha = float(first[0, 0])
    if alpha <= 0 or any(f.shape != first.shape or not np.array_equal(f, alpha * np.eye(len(first))) for f in factors):
        return None
    return alpha if first.shape[0] == first.shape[1] else None


def predicted_limit(problem: Problem, factors: Sequence[ArrayLike]) -> Limit | None:
    """Where the gradient flow, and gradient descent with small enough a step, end from a start; None if unknown.

    * Estimation of a symmetric matrix from equal factors ``alpha I``, N >= 2: its positive part (Chou, Gieshoff, Maly,
      Rauhut, arXiv:2011.13772).
    * Estimation, and regression with ``X X^T`` invertible, N <= 2: the global minimum over the rank that the widths
      allow, or that a balanced start has, which the flow keeps, from almost every start (Bah, Rauhut, Terstiege,
      Westdickenberg, arXiv:1910.05505).
    * The same, N >= 3: almost every start ends at the minimum over some rank up to that; the one over the full rank is
      what is given.

    Parameters
    ----------
    problem : as it is trained
    factors : sequence of arrays (d_j, d_{j-1}), the start

    Returns
    -------
    Limit or None
    """
    arrays = as_chain(problem, factors)
    if arrays[0].ndim > 2:
        raise ValueError("predicted_limit takes one start, [factor[run] for factor in factors], got a stack of them")
    depth = len(arrays)
    if isinstance(problem, MatrixEstimation) and depth > 1:
        target = np.asarray(problem.target, np.float64)
        alpha = identical_scale(arrays)
        if alpha is not None and is_symmetric(target):
            part = positive_part(target)
            reason = f"every factor starts at {alpha:g} I: the positive part of the target"
            if np.linalg.eigvalsh(target)[0] < -1e-12 * np.linalg.norm(target):
                reason += ", a saddle, where round-off lets a run rest only if the target is diagonal"
            return Limit(part, problem.loss(part), reason)
    if not isinstance(problem, MatrixEstimation | LinearRegression):
        return None
    rank, of_start = min(min(array.shape) for array in arrays), ""
    if depth > 1 and metrics.balancedness(arrays) <= BALANCED * max(np.sum(array**2) for array in arrays):
        kept = int(min(np.linalg.matrix_rank(array) for array in arrays))
        if kept < rank:
            rank, of_start = kept, ", that of the balanced start, which the flow keeps"
    minimum = global_minimum(problem, rank)
    if not minimum.determined:
        return None
    if depth == 1:
        return Limit(minimum.solution, minimum.value, "the loss is convex: its minimum, from every start")
    if depth == 2:
        reason = f"two factors: the minimum over rank {rank}{of_start}, from almost every start"
    else:
        reason = f"the minimum over rank {rank}{of_start}, or over a smaller one, from almost every start"
    return Limit(minimum.solution, minimum.value, reason)
