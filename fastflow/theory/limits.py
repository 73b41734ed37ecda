"""Where the gradient flow and gradient descent end, as far as theorems say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_count, as_floats
from fastflow.dual import allowed_starts, wrong_starts
from fastflow.equality import by_value
from fastflow.metrics import quiet
from fastflow.networks import Architecture, Chain
from fastflow.problems import Minimum, Problem, VectorProblem
from fastflow.theory.arguments import as_chain, as_problem
from fastflow.theory.sparsity import l1_excess_bound

SYMMETRIC = 1e-14
"""The largest difference of mirrored entries of a symmetric matrix, relative to its largest entry."""

NEGATIVE = 1e-12
"""Eigenvalues below this share of minus the norm count as negative."""

FITS = 1e-9
"""The norm of what a truth that fits the data leaves of them, relative to their norm."""


@by_value(hashable=False)
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


@quiet
def global_minimum(problem: Problem, rank: int | None = None) -> Minimum:
    """The minimum of the loss over matrices of at most a rank, for estimation, regression and the autoencoder.

    With ``X = U S V^T`` of rank k, ``Q = Y V = sum_i sigma_i u_i v_i^T`` (which is ``Y X^T (X X^T)^{-1/2}`` but for a
    rotation) the loss is ``1/2 ||W U S - Q||_F^2 + 1/2 ||Y (I - V V^T)||_F^2``. So its minimum is
    ``1/2 (sum_{i > r} sigma_i^2 + ||Y (I - V V^T)||_F^2)``, at ``W = Q_r S^{-1} U^T`` with Q_r the leading r terms. For
    the autoencoder that is ``1/2 sum_{i > r} lambda_i(X X^T)``, at the projector on the leading r eigenvectors. (Bah,
    Rauhut, Terstiege, Westdickenberg, arXiv:1910.05505, where ``X X^T`` is invertible.)

    Parameters
    ----------
    problem : MatrixEstimation, LinearRegression, or another that knows the minimum
    rank : int, default ``min(d_0, d_N)``; for a network the least of its widths

    Returns
    -------
    Minimum

    Raises
    ------
    TypeError
        for other problems, whose minimum over a rank is in general hard to find
    """
    posed = as_problem(problem)
    minimum = posed.minimum(min(posed.shape) if rank is None else as_count("rank", rank, 0))
    if minimum is None:
        raise TypeError(
            "the global minimum over a rank is known for problems such as MatrixEstimation and LinearRegression, "
            f"got {type(problem).__name__}"
        )
    return minimum


@quiet
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
        np.abs(matrix - matrix.T).max() <= SYMMETRIC * max(np.abs(matrix).max(), np.finfo(float).tiny)
    )


def identical_scale(factors: Sequence[FloatArray]) -> float | None:
    """The alpha if every factor is ``alpha I``, alpha > 0, and square; else None."""
    first = factors[0]
    alpha = float(first[0, 0])
    if alpha <= 0 or any(f.shape != first.shape or not np.array_equal(f, alpha * np.eye(len(first))) for f in factors):
        return None
    return alpha if first.shape[0] == first.shape[1] else None


@quiet
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

    Raises
    ------
    TypeError, ValueError
        for a problem of no matrix, and for factors that do not chain to W
    """
    arrays = as_chain(problem, factors)
    if arrays[0].ndim > 2:
        raise ValueError("predicted_limit takes one start, [factor[run] for factor in factors], got a stack of them")
    depth, posed = len(arrays), problem.of_matrix()
    direct = posed.direct_target()
    if direct is not None and depth > 1:
        target = np.asarray(direct, np.float64)
        alpha = identical_scale(arrays)
        if alpha is not None and is_symmetric(target):
            part = positive_part(target)
            reason = f"every factor starts at {alpha:g} I: the positive part of the target"
            if np.linalg.eigvalsh(target)[0] < -NEGATIVE * np.linalg.norm(target):
                reason += ", a saddle, where round-off lets a run rest only if the target is diagonal"
            return Limit(part, posed.loss(part), reason)
    rank, of_start = min(min(array.shape) for array in arrays), ""
    if depth > 1 and Chain.of(arrays).balanced(arrays):
        kept = int(min(np.linalg.matrix_rank(array) for array in arrays))
        if kept < rank:
            rank, of_start = kept, ", that of the balanced start, which the flow keeps"
    minimum = posed.minimum(rank)
    if minimum is None or not minimum.determined:
        return None
    if depth == 1:
        return Limit(minimum.solution, minimum.value, "the loss is convex: its minimum, from every start")
    if depth == 2:
        reason = f"two factors: the minimum over rank {rank}{of_start}, from almost every start"
    else:
        reason = f"the minimum over rank {rank}{of_start}, or over a smaller one, from almost every start"
    return Limit(minimum.solution, minimum.value, reason)


@quiet
def describe_limit(
    problem: Problem, architecture: Architecture, factors: Sequence[FloatArray]
) -> tuple[Limit | None, str]:
    """The `predicted_limit` from a start, where there is one beforehand, and a sentence that says where the flow ends.

    Parameters
    ----------
    problem : as the network poses it
    architecture : Architecture
    factors : sequence of arrays, the start

    Returns
    -------
    tuple of Limit or None and str
    """
    if architecture.network.is_chain:
        limit = predicted_limit(problem, factors)
        if limit is None:
            return None, "Limit: none is known beforehand for such data."
        return limit, f"Limit: loss {limit.value:.6g}; {limit.reason}."
    if architecture.sides:
        return None, _describe_limit_of_vectors(problem.of_vector(), architecture, factors)
    return None, "Limit: none is known beforehand for such a network."


def _describe_limit_of_vectors(
    problem: VectorProblem, architecture: Architecture, factors: Sequence[FloatArray]
) -> str:
    """Of products of vectors, where it takes Newton steps to compute the limit."""
    depth, signed = architecture.factors_multiplied, len(architecture.sides) == 2
    identical = depth == 1 or architecture.independent != architecture
    if not identical and depth > 2:
        return f"Limit: none is known beforehand for {depth} independent factors; for identical ones FlowLimit has it."
    if identical and wrong_starts(np.concatenate(factors), depth).size:
        return f"Limit: none is known beforehand but from starts of u and v that are {allowed_starts(depth)}."
    words = "Limit: the flow from this start ends where FlowLimit says, in some Newton steps"
    if depth == 1:
        return f"{words}: at the least-squares solution nearest to the start."
    words += "; the smaller the start, the nearer it is to the least l1 norm"
    alpha = float(factors[0].flat[0])
    equal = identical and alpha > 0 and all(np.all(factor == alpha) for factor in factors)
    if problem.truth is None or not equal:
        return words + " (theory.l1_excess_bound)."
    truth = np.asarray(problem.truth)
    fits = np.linalg.norm(problem.residual(truth)) <= FITS * np.linalg.norm(problem.values)
    if not fits or (not signed and np.min(truth) <= 0):
        return words + " (theory.l1_excess_bound)."
    size = float(np.abs(truth).sum())
    bound = l1_excess_bound(depth, alpha, len(truth), size, signed=signed)
    return words + f": ||x||_1 is at most {bound:.3g} above the {size:.4g} of the truth (theory.l1_excess_bound)."
