"""Where the gradient flow and gradient descent end, as far as theorems say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow import metrics
from fastflow.checks import FloatArray, as_count, as_floats
from fastflow.dual import allowed_starts, as_two_vectors, wrong_starts
from fastflow.equality import by_value
from fastflow.networks import EXACTLY, Architecture, Chain, Hadamard, chain_product
from fastflow.problems import MatrixProblem, Minimum, Problem, VectorProblem
from fastflow.theory.arguments import as_chain, as_problem
from fastflow.theory.sparsity import l1_excess_bound, normalized_excess_bound

SYMMETRIC = 1e-14
"""The largest difference of mirrored entries of a symmetric matrix, relative to its largest entry."""

NEGATIVE = 1e-12
"""Eigenvalues below this share of minus the norm count as negative."""

FITS = 4.0
"""What a truth that fits the data leaves of a value, in epsilons for each entry of it."""

ALIGNED = 1e-12
"""What of a matrix may be off singular vectors that it has, relative to its norm."""

GOLDEN = (5**0.5 - 1) / 2
"""How much of one matrix is added to another to find the singular vectors that both have: no ratio that values have."""


@by_value(hashable=False)
class Limit(NamedTuple):
    """Where a run is predicted to end.

    Attributes
    ----------
    solution : array (d_N, d_0)
    value : float, of the loss there
    reason : str, why, and for which starts

    Examples
    --------
    >>> limit = ff.theory.predicted_limit(ff.MatrixEstimation(np.diag([3.0, -1])), [0.1 * np.eye(2)] * 2)
    >>> limit.solution.round(12).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """

    solution: FloatArray
    value: float
    reason: str


@metrics.quiet
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

    Examples
    --------
    >>> minimum = ff.theory.global_minimum(ff.MatrixEstimation(np.diag([3.0, 1])), rank=1)
    >>> minimum.value, minimum.solution.round(12).tolist()
    (0.5, [[3.0, 0.0], [0.0, 0.0]])
    """
    posed = as_problem(problem)
    minimum = posed.minimum(min(posed.shape) if rank is None else as_count("rank", rank, 0))
    if minimum is None:
        raise TypeError(
            "the global minimum over a rank is known for problems such as MatrixEstimation and LinearRegression, "
            f"got {type(problem).__name__}"
        )
    return minimum


@metrics.quiet
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

    Examples
    --------
    >>> ff.theory.positive_part(np.diag([3.0, -1])).round(12).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
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


@metrics.quiet
def predicted_limit(problem: Problem, factors: Sequence[ArrayLike]) -> Limit | None:
    """Where the gradient flow, and gradient descent with small enough a step, end from a start; None if unknown.

    Rank and sign, which the flow keeps, finite steps and round-off keep only as long as they do not leave a saddle.

    * Estimation of a symmetric matrix from equal factors ``alpha I``, N >= 2: its positive part (Chou, Gieshoff, Maly,
      Rauhut, arXiv:2011.13772).
    * Estimation from a balanced start that has the singular vectors of the target, N >= 2: each of its singular values
      goes to the one of the target, or to 0 where that is 0 or has the other sign.
    * Estimation, and regression with ``X X^T`` invertible, N <= 2: the global minimum over the rank that the widths
      allow, or that a balanced start has, which the flow keeps, from almost every start (Bah, Rauhut, Terstiege,
      Westdickenberg, arXiv:1910.05505). From a balanced start it keeps the sign of ``det W``, too: where the minimum
      over the full rank has the other one, it ends at the minimum over a rank less by 1.
    * The same, N >= 3: almost every start ends at the minimum over some rank up to that; the one over that rank is what
      is given.

    * Any problem, from a start where the gradient by every factor is 0: that start.

    Where several matrices are equally low, no one of them is predicted.

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

    Examples
    --------
    >>> limit = ff.theory.predicted_limit(ff.MatrixEstimation(np.diag([3.0, -1])), [0.1 * np.eye(2)] * 2)
    >>> limit.solution.round(12).tolist()
    [[3.0, 0.0], [0.0, 0.0]]
    """
    arrays = as_chain(problem, factors)
    if arrays[0].ndim > 2:
        raise ValueError("predicted_limit takes one start, [factor[run] for factor in factors], got a stack of them")
    depth, posed = len(arrays), problem.of_matrix()
    direct, shape = posed.direct_target(), posed.shape
    if depth > 1 and not all(np.isfinite(array).all() for array in arrays):
        return None
    if posed.has_gradient and _rests(posed, arrays):
        start = chain_product(arrays)
        return Limit(start, posed.loss(start), "the gradient by every factor is 0 at the start, where the flow stays")
    balanced = depth > 1 and bool(Chain.of(arrays).balanced(arrays, EXACTLY))
    if direct is not None and balanced:
        target = np.asarray(direct, np.float64)
        alpha = identical_scale(arrays)
        if alpha is not None and is_symmetric(target):
            part = positive_part(target)
            reason = f"every factor starts at {alpha:g} I: the positive part of the target"
            if np.linalg.eigvalsh(target)[0] < -NEGATIVE * np.linalg.norm(target):
                reason += ", a saddle, where round-off lets a run rest only if the target is diagonal"
            return Limit(part, posed.loss(part), reason)
        aligned = _aligned_limit(posed, chain_product(arrays), target)
        if aligned is not None:
            return aligned
    rank, of_start = min(min(array.shape) for array in arrays), ""
    if balanced:
        kept = int(min(np.linalg.matrix_rank(array) for array in arrays))
        if kept < rank:
            rank, of_start = kept, ", that of the balanced start, which the flow keeps"
    minimum = posed.minimum(rank)
    if balanced and minimum is not None and minimum.determined and rank == shape[0] == shape[1]:
        sign = np.linalg.slogdet(minimum.solution)[0]
        invertible = metrics.numerical_rank(minimum.solution) == rank
        if invertible and sign * _sign_of_determinant(arrays) < 0:
            rank -= 1
            minimum = posed.minimum(rank)
            of_start = ", since the flow keeps the sign of the determinant that the balanced start has"
    if minimum is None or not minimum.unique:
        return None
    if depth == 1:
        return Limit(minimum.solution, minimum.value, "the loss is convex: its minimum, from every start")
    if depth == 2:
        reason = f"two factors: the minimum over rank {rank}{of_start}, from almost every start"
    else:
        reason = f"the minimum over rank {rank}{of_start}, or over a smaller one, from almost every start"
    return Limit(minimum.solution, minimum.value, reason)


def _rests(posed: MatrixProblem, factors: Sequence[FloatArray]) -> bool:
    """Whether the gradient by every factor is 0."""
    slope = posed.gradient(chain_product(factors))
    for j in range(len(factors)):
        above = chain_product(factors[j + 1 :]).T @ slope if j + 1 < len(factors) else slope
        if np.any(above @ chain_product(factors[:j]).T if j else above):
            return False
    return True


def _sign_of_determinant(factors: Sequence[FloatArray]) -> float:
    """The sign of the determinant of a product, of the factors where they are square: there it has more digits."""
    if all(factor.shape[0] == factor.shape[1] for factor in factors):
        return float(np.prod([np.linalg.slogdet(factor)[0] for factor in factors]))
    return float(np.linalg.slogdet(chain_product(factors))[0])


def _aligned_limit(posed: MatrixProblem, start: FloatArray, target: FloatArray) -> Limit | None:
    """The limit of estimation from a balanced product with the singular vectors of the target; None without these."""
    sizes = [float(np.linalg.norm(matrix)) for matrix in (start, target)]
    if 0 in sizes:
        return None
    # Of both at once: where singular values of one are equal, the other one tells the vectors apart.
    left, _, right = np.linalg.svd(start / sizes[0] + GOLDEN * target / sizes[1], full_matrices=False)
    inner = [left.T @ matrix @ right.T for matrix in (start, target)]
    diagonals = [np.diag(matrix) for matrix in inner]
    for whole, diagonal, size in zip((start, target), diagonals, sizes, strict=True):
        if np.linalg.norm(whole - (left * diagonal) @ right) > ALIGNED * size:
            return None
    begun, wanted = diagonals
    present = np.abs(begun) > max(start.shape) * np.finfo(float).eps * np.abs(begun).max()
    reached = np.where(present & (begun * wanted > 0), wanted, 0)
    solution = (left * reached) @ right
    reason = "the start has the singular vectors of the target: each singular value goes to that of the target"
    if np.any((reached == 0) & (np.abs(wanted) > NEGATIVE * np.abs(wanted).max())):
        reason += ", or to 0 where the start has none or the other sign, a saddle that round-off may leave"
    return Limit(solution, posed.loss(solution), reason)


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
        assert isinstance(architecture, Hadamard)
        return None, _describe_limit_of_vectors(problem.of_vector(), architecture, factors)
    return None, "Limit: none is known beforehand for such a network."


def _describe_limit_of_vectors(problem: VectorProblem, architecture: Hadamard, factors: Sequence[FloatArray]) -> str:
    """Of products of vectors, where it takes Newton steps to compute the limit."""
    depth, signed = architecture.factors_multiplied, len(architecture.sides) == 2
    identical = depth == 1 or architecture.identical
    if not identical and depth > 2:
        return f"Limit: none is known beforehand for {depth} independent factors; for identical ones FlowLimit has it."
    if identical and wrong_starts(np.concatenate(factors), depth).size:
        return f"Limit: none is known beforehand but from starts of u and v that are {allowed_starts(depth)}."
    words = "Limit: the flow from this start ends where FlowLimit says, in some Newton steps"
    if depth == 1:
        return f"{words}: at the least-squares solution nearest to the start."
    words += f"; scaled down, such starts end ever nearer to {_least_of_small_starts(architecture, factors)}"
    alpha = float(factors[0].flat[0])
    equal = identical and alpha > 0 and all(np.all(factor == alpha) for factor in factors)
    if problem.truth is None or not equal:
        return words + "."
    truth = np.asarray(problem.truth, np.float64)
    size = float(np.abs(truth).sum())
    if not _fits(problem, truth):
        return words + "."
    if depth == 2 and not signed and np.min(truth) >= 0:
        words += _with_normalisation(np.asarray(factors[0], np.float64) ** 2, size)
    if not signed and np.min(truth) <= 0:
        return words + "."
    bound = l1_excess_bound(depth, alpha, len(truth), size, signed=signed)
    return words + f": ||x||_1 is at most {bound:.3g} above the {size:.4g} of the truth (theory.l1_excess_bound)."


def _with_normalisation(start: FloatArray, size: float) -> str:
    """Whether a start x(0) is small enough for weight normalisation, where the truth has this l1 norm, in words."""
    if start.sum() >= size:
        return (
            f" (so must it be with weight normalisation, as sum x(0) = {start.sum():.3g} is not below its {size:.4g})"
        )
    excess = normalized_excess_bound(100.0, start, size)
    return (
        " (with weight normalisation, normalized_limit, this start will do: at a ratio of rates of 100 ||x||_1 is at "
        f"most {excess:.3g} above the {size:.4g} of the truth)"
    )


def _least_of_small_starts(architecture: Hadamard, factors: Sequence[FloatArray]) -> str:
    """What the limits of starts ``scale * factors`` tend to as the scale tends to 0, for L >= 2, in words."""
    depth = architecture.depth
    positive, negative = as_two_vectors(architecture, list(factors))
    sides = np.abs(np.array([positive] if negative is None else [positive, negative]))
    started = sides[sides > 0]
    if depth == 2 or not started.size or np.all(started == started[0]):
        words = "the least l1 norm"
    else:
        words = f"the least sum of alpha_i^{2 - depth} |x_i|, alpha_i what the side of x_i (u or v) starts at,"
    words += " of all x that fit as well" if negative is not None else " of all x >= 0 that fit as well"
    if started.size < sides.size:
        words += ", where a side that starts at 0 stays there"
    return words


def _fits(problem: VectorProblem, truth: FloatArray) -> bool:
    """Whether a truth fits every value but for the round-off of its row."""
    values = problem.values.astype(np.float64)
    if problem.is_matrix_free:  # of which no row is known
        measured, eps = problem.measured(truth.astype(np.float64)), np.finfo(problem.values.dtype).eps
        sizes = float(np.linalg.norm(measured) + np.linalg.norm(values))
        return bool(np.linalg.norm(measured - values) <= len(truth) * FITS * eps * sizes)
    matrix = problem.entries("a truth").astype(np.float64)
    floor = FITS * np.finfo(problem.entries("a truth").dtype).eps * (np.abs(matrix) @ np.abs(truth) + np.abs(values))
    return bool(np.all(np.abs(matrix @ truth - values) <= len(truth) * floor))
