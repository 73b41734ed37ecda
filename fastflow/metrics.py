"""Measures of a matrix or of a stack of matrices (..., rows, columns): one number, or an array (...).

Rank-like measures of the zero matrix are 0; of a matrix with an entry that is not finite a measure is NaN, whatever its
company in a stack. `balancedness` measures a chain of factors. Those from `support` on measure a vector or a stack of
vectors (..., n). Norms do not overflow or vanish where they themselves are numbers of the arrays' type.

All raise `TypeError` for entries that are not real, `ValueError` for too few dimensions or an empty axis, and
`MemoryError` before they begin where there is no room for what they take.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.arrays import as_array, as_list, as_real
from fastflow.checks import FloatArray, Numbers, as_number
from fastflow.memory import require_work

__all__ = [
    "balancedness",
    "balancedness_defects",
    "balancedness_of_vectors",
    "effective_alpha",
    "effective_rank",
    "effective_rank_of_values",
    "entropy_rank",
    "l1_norm",
    "l2_norm",
    "nuclear_norm",
    "numerical_rank",
    "numerical_rank_of_values",
    "relative_error",
    "schatten_norm",
    "singular_values",
    "stable_rank",
    "support",
    "support_recovery",
]

COPIES = 2
"""What a measure takes for each of its arrays, in copies of it: squares, magnitudes, differences (measured)."""

SQUARES_LOSE = 1e4
"""Up to so many roots of the least normal number squares may lose digits of a norm."""

Given = ParamSpec("Given")
Result = TypeVar("Result")


def quiet(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Decorate what is right where terms of it overflow, vanish or are NaN, whatever `numpy.seterr` makes of these."""

    @functools.wraps(function)
    def call(*arguments: Given.args, **options: Given.kwargs) -> Result:
        with np.errstate(all="ignore"):
            return function(*arguments, **options)

    return call


@quiet
def singular_values(matrix: ArrayLike) -> FloatArray:
    """Singular values, largest first: (..., min(rows, columns)).

    Parameters
    ----------
    matrix : array (..., rows, columns)

    Returns
    -------
    array (..., min(rows, columns))
        NaN of a matrix that is not finite.

    Examples
    --------
    >>> ff.metrics.singular_values(np.diag([1.0, -3])).round(12).tolist()
    [3.0, 1.0]
    """
    array = _matrices(matrix)
    finite = np.isfinite(array).all(axis=(-2, -1))
    if finite.all():
        values: FloatArray = np.linalg.svd(array, compute_uv=False)
        return values
    values = np.full((*array.shape[:-2], min(array.shape[-2:])), np.nan, array.dtype)
    values[finite] = np.linalg.svd(array[finite], compute_uv=False)
    return values


@quiet
def effective_rank(matrix: ArrayLike) -> Numbers:
    """``||W||_* / ||W||_2``, between 1 and the rank (Chou, Gieshoff, Maly, Rauhut, arXiv:2011.13772).

    Parameters
    ----------
    matrix : array (..., rows, columns)

    Returns
    -------
    float, or array (...) of a stack

    Examples
    --------
    >>> float(ff.metrics.effective_rank(np.diag([10.0, 5, 1])))
    1.6
    """
    return effective_rank_of_values(singular_values(matrix))


@quiet
def effective_rank_of_values(values: FloatArray) -> Numbers:
    """Effective rank, `effective_rank`, from singular values.

    Parameters
    ----------
    values : array (..., k), the singular values, largest first

    Returns
    -------
    float, or array (...)

    Examples
    --------
    >>> float(ff.metrics.effective_rank_of_values(np.array([10.0, 5, 1])))
    1.6
    """
    values = _vectors(values, "values")
    return _ratio(values.sum(axis=-1), values[..., 0])


@quiet
def entropy_rank(matrix: ArrayLike) -> Numbers:
    """``exp(H(p))`` with ``p = s / sum s`` and H the entropy in nats (Roy, Vetterli 2007).

    Parameters
    ----------
    matrix : array (..., rows, columns)

    Returns
    -------
    float, or array (...) of a stack

    Examples
    --------
    >>> round(float(ff.metrics.entropy_rank(np.eye(3))), 12)
    3.0
    """
    values = singular_values(matrix)
    total = values.sum(axis=-1, keepdims=True)
    shares = values / np.where(total > 0, total, 1)
    logs = np.log(np.where(shares > 0, shares, 1))
    return np.where(total[..., 0] == 0, 0.0, np.exp(-np.sum(shares * logs, axis=-1)))[()]


@quiet
def stable_rank(matrix: ArrayLike) -> Numbers:
    """``||W||_F^2 / ||W||_2^2``, between 1 and the rank.

    Parameters
    ----------
    matrix : array (..., rows, columns)

    Returns
    -------
    float, or array (...) of a stack

    Examples
    --------
    >>> round(float(ff.metrics.stable_rank(np.diag([2.0, 1]))), 12)
    1.25
    """
    values = singular_values(matrix)
    largest = values[..., :1]
    return np.sum((values / np.where(largest > 0, largest, 1)) ** 2, axis=-1)[()]


@quiet
def numerical_rank(matrix: ArrayLike, tol: float | None = None) -> Numbers | NDArray[np.int64]:
    """How many singular values exceed ``tol`` times the largest; by default ``max(rows, columns)`` machine epsilons.

    Parameters
    ----------
    matrix : array (..., rows, columns)
    tol : float >= 0, of the largest singular value; default ``max(rows, columns)`` machine epsilons

    Returns
    -------
    int, or array (...) of a stack; in float64 where a matrix is not finite, whose rank is NaN

    Examples
    --------
    >>> int(ff.metrics.numerical_rank(np.diag([3.0, 1, 0])))
    2
    """
    array = _matrices(matrix)
    return numerical_rank_of_values(singular_values(array), array.shape[-2:], tol)


@quiet
def numerical_rank_of_values(
    values: FloatArray, shape: tuple[int, ...], tol: float | None = None
) -> Numbers | NDArray[np.int64]:
    """Numerical rank, `numerical_rank`, from singular values.

    Parameters
    ----------
    values : array (..., k), the singular values, largest first
    shape : (rows, columns) of the matrices
    tol : float >= 0, what counts as 0 relative to the largest; default round-off

    Returns
    -------
    int, or array (...); in float64 where a matrix is not finite, whose rank is NaN

    Examples
    --------
    >>> int(ff.metrics.numerical_rank_of_values(np.array([3.0, 1, 0]), (3, 3)))
    2
    """
    values = _vectors(values, "values")
    if tol is None:
        tol = max(shape) * float(np.finfo(values.dtype).eps)
    else:
        tol = as_number("tol", tol, least=0)
    ranks = np.sum(values > tol * values[..., :1], axis=-1)
    unknown = np.isnan(values[..., 0])
    return (np.where(unknown, np.nan, ranks) if unknown.any() else ranks)[()]


@quiet
def nuclear_norm(matrix: ArrayLike) -> Numbers:
    """The sum of the singular values.

    Parameters
    ----------
    matrix : array (..., rows, columns)

    Returns
    -------
    float, or array (...) of a stack

    Examples
    --------
    >>> round(float(ff.metrics.nuclear_norm(np.diag([3.0, -1]))), 12)
    4.0
    """
    return singular_values(matrix).sum(axis=-1)[()]


@quiet
def schatten_norm(matrix: ArrayLike, p: float) -> Numbers:
    """``(sum s_i^p)^(1/p)`` for p > 0, a quasi-norm below 1; ``p = inf`` is the spectral norm.

    Parameters
    ----------
    matrix : array (..., rows, columns)
    p : float > 0, or inf

    Returns
    -------
    float, or array (...) of a stack

    Examples
    --------
    >>> round(float(ff.metrics.schatten_norm(np.diag([3.0, 4]), 2)), 12)
    5.0
    """
    values = singular_values(matrix)
    if p == np.inf:
        return values[..., 0][()]
    p = as_number("p", p, above=0)
    largest = values[..., :1]
    shares = values / np.where(largest > 0, largest, 1)
    return (largest[..., 0] * np.sum(shares**p, axis=-1) ** (1 / p))[()]


@quiet
def balancedness(factors: Sequence[ArrayLike]) -> Numbers:
    """``max_j ||W_{j+1}^T W_{j+1} - W_j W_j^T||_F`` of factors first to last, each (..., d_j, d_{j-1}).

    0 for one factor. Conserved by the gradient flow; 0 for a balanced start (Arora, Cohen, Hazan 2018).

    Parameters
    ----------
    factors : sequence of arrays, first to last

    Returns
    -------
    float, or array (...) of a stack

    Raises
    ------
    ValueError
        without any factor

    Examples
    --------
    >>> float(ff.metrics.balancedness([np.diag([3.0, 0]), np.diag([2.0, 0])]))
    5.0
    """
    defects = balancedness_defects(factors)
    worst = np.zeros(as_array("factor 1", factors[0]).shape[:-2])
    for defect in defects:
        worst = np.maximum(worst, frobenius_norms(defect))
    return worst[()]


@quiet
def balancedness_defects(factors: Sequence[ArrayLike]) -> list[FloatArray]:
    """``W_{j+1}^T W_{j+1} - W_j W_j^T``, j = 1 .. N-1, of factors first to last, each (..., d_j, d_{j-1}).

    Parameters
    ----------
    factors : sequence of arrays, first to last

    Returns
    -------
    list of arrays (..., d_j, d_j)

    Raises
    ------
    ValueError
        without any factor

    Examples
    --------
    >>> ff.metrics.balancedness_defects([np.diag([3.0, 0]), np.diag([2.0, 0])])[0].tolist()
    [[-5.0, 0.0], [0.0, 0.0]]
    """
    arrays = [_matrices(factor, f"factor {j + 1}") for j, factor in enumerate(as_list("factors", factors))]
    if not arrays:
        raise ValueError("factors is empty")
    return [
        np.swapaxes(upper, -1, -2) @ upper - lower @ np.swapaxes(lower, -1, -2) for lower, upper in pairwise(arrays)
    ]


@quiet
def balancedness_of_vectors(factors: Sequence[ArrayLike]) -> Numbers:
    """``max_j ||u_{j+1}^2 - u_j^2||_2``, of vectors (..., n): `balancedness` of diagonal matrices.

    Parameters
    ----------
    factors : sequence of arrays, each (..., n)

    Returns
    -------
    float, or array (...) of a stack

    Raises
    ------
    ValueError
        without any factor

    Examples
    --------
    >>> float(ff.metrics.balancedness_of_vectors([[3.0, 1.0], [2.0, 1.0]]))
    5.0
    """
    arrays = [_vectors(factor, f"factor {j + 1}") for j, factor in enumerate(as_list("factors", factors))]
    if not arrays:
        raise ValueError("factors is empty")
    worst = np.zeros(arrays[0].shape[:-1])
    for lower, upper in pairwise(arrays):
        worst = np.maximum(worst, l2_norm(upper**2 - lower**2))
    return worst[()]


@quiet
def relative_error(matrix: ArrayLike, truth: ArrayLike) -> Numbers:
    """``||W - truth||_F / ||truth||_F``.

    Parameters
    ----------
    matrix, truth : arrays (..., rows, columns)

    Returns
    -------
    float, or array (...) of a stack

    Raises
    ------
    ValueError
        for matrices of different shapes, and a truth that is zero

    Examples
    --------
    >>> round(float(ff.metrics.relative_error([[3.0, 4]], [[3.0, 0]])), 6)
    1.333333
    """
    array, reference = _matrices(matrix), _matrices(truth, "truth")
    if array.shape[-2:] != reference.shape[-2:]:
        raise ValueError(f"matrix and truth must have the same shape, got {array.shape} and {reference.shape}")
    size = frobenius_norms(reference)
    if np.any(size == 0):
        raise ValueError("truth is the zero matrix: no error is relative to it")
    return (frobenius_norms(array - reference) / size)[()]


@quiet
def relative_errors(solutions: FloatArray, truths: FloatArray, problem_index: NDArray[np.int64]) -> FloatArray:
    """``||x - truth|| / ||truth||`` of flat solutions (runs, size), each of such a truth of (problems, size)."""
    differences = solutions.astype(np.float64) - truths[problem_index]  # of runs that diverged not finite
    errors: FloatArray = euclidean_norms(differences) / euclidean_norms(truths.astype(np.float64))[problem_index]
    return errors


@quiet
def support(vector: ArrayLike, tol: float = 1e-3) -> NDArray[np.bool_]:
    """Which entries exceed ``tol`` times the largest in magnitude: bool, (..., n). The zero vector has none.

    Parameters
    ----------
    vector : array (..., n)
    tol : float >= 0

    Returns
    -------
    bool array (..., n)

    Examples
    --------
    >>> ff.metrics.support([1.0, 1e-9, -0.5]).tolist()
    [True, False, True]
    """
    tol, magnitude = as_number("tol", tol, least=0), np.abs(_vectors(vector))
    return magnitude > tol * magnitude.max(axis=-1, keepdims=True)


@quiet
def support_recovery(vector: ArrayLike, truth: ArrayLike, tol: float = 1e-3) -> Numbers:
    """``|S n T| / |S u T|`` for S the `support` of the vector and T the nonzero entries of the truth: 1 iff equal.

    Parameters
    ----------
    vector, truth : arrays (..., n)
    tol : float >= 0, as that of `support`

    Returns
    -------
    float, or array (...) of a stack

    Raises
    ------
    ValueError
        for vectors of different lengths

    Examples
    --------
    >>> float(ff.metrics.support_recovery([1.0, 0.5, 0], [1.0, 0, 0]))
    0.5
    """
    array, reference = _vectors(vector), _vectors(truth, "truth")
    if array.shape[-1] != reference.shape[-1]:
        raise ValueError(f"vector and truth must have the same length, got {array.shape} and {reference.shape}")
    found, there = support(array, tol), reference != 0
    return _ratio(np.sum(found & there, axis=-1), np.sum(found | there, axis=-1))


@quiet
def l1_norm(vector: ArrayLike) -> Numbers:
    """The sum of the magnitudes.

    Parameters
    ----------
    vector : array (..., n)

    Returns
    -------
    float, or array (...) of a stack

    Examples
    --------
    >>> float(ff.metrics.l1_norm([3.0, -4.0]))
    7.0
    """
    return np.abs(_vectors(vector)).sum(axis=-1)[()]


@quiet
def l2_norm(vector: ArrayLike) -> Numbers:
    """The Euclidean norm.

    Parameters
    ----------
    vector : array (..., n)

    Returns
    -------
    float, or array (...) of a stack

    Examples
    --------
    >>> float(ff.metrics.l2_norm([3.0, -4.0]))
    5.0
    """
    return euclidean_norms(_vectors(vector))[()]


@quiet
def effective_alpha(factors: Sequence[ArrayLike], depth: float) -> FloatArray:
    """The scale that a signed diagonal network has come to, per coordinate: (..., n).

    That is the geometric mean of the magnitudes of all 2L factors, ``sqrt(|u v|)`` for identical ones. For L = 2 the
    flow conserves it, and gradient descent lowers it: ``alpha^2 prod (1 - (step g)^2)``.

    Parameters
    ----------
    factors : u and v, or u_1, ..., u_L, v_1, ..., v_L, each (..., n)
    depth : number, L

    Returns
    -------
    array (..., n)

    Raises
    ------
    ValueError
        for another number of factors

    Examples
    --------
    >>> ff.metrics.effective_alpha([[4.0, 1.0], [1.0, 1.0]], depth=2).tolist()
    [2.0, 1.0]
    """
    given = as_list("factors", factors)
    if len(given) not in (2, 2 * depth):
        raise ValueError(f"a signed network of depth {depth} has 2 or {2 * depth} vectors, got {len(given)}")
    arrays = [np.abs(_vectors(factor, f"factor {j + 1}")) for j, factor in enumerate(given)]
    return np.prod([array ** (1 / len(arrays)) for array in arrays], axis=0)


@quiet
def euclidean_norms(vectors: FloatArray) -> FloatArray:
    """The Euclidean norms of vectors (..., n), (...): also of those whose squares overflow or vanish."""
    return beyond_squares(np.asarray(np.linalg.norm(vectors, axis=-1)), vectors)


@quiet
def sums_of_squares(vectors: FloatArray) -> FloatArray:
    """``sum x_i^2`` of vectors (..., n), (...), infinite or 0 where squares are."""
    return np.asarray(np.sum(vectors**2, axis=-1))


@quiet
def frobenius_norms(matrices: FloatArray) -> FloatArray:
    """The Frobenius norms of matrices (..., rows, columns), (...), as `euclidean_norms` has those of vectors."""
    norms = np.asarray(np.sqrt(np.sum(matrices**2, axis=(-2, -1))))
    return beyond_squares(norms, matrices.reshape(*matrices.shape[:-2], -1))


def beyond_squares(norms: FloatArray, vectors: FloatArray) -> FloatArray:
    """The norms of vectors (..., n), found anew where their squares are not numbers or not normal ones."""
    lost = ~((norms > SQUARES_LOSE * np.finfo(norms.dtype).tiny ** 0.5) & np.isfinite(norms))
    if lost.any():
        largest = np.max(np.abs(vectors[lost]), axis=-1)
        unit = np.where((largest > 0) & np.isfinite(largest), largest, 1)
        norms[lost] = unit * np.linalg.norm(vectors[lost] / unit[:, None], axis=-1)
    return norms


def _vectors(vector: ArrayLike, name: str = "vector") -> FloatArray:
    array = as_real(name, vector)
    if array.ndim < 1 or array.shape[-1] == 0:
        raise ValueError(f"{name}: expected a vector or a stack (..., n), got shape {array.shape}")
    require_work(array.size, COPIES, "a measure")
    return array


def _matrices(matrix: ArrayLike, name: str = "matrix") -> FloatArray:
    array = as_real(name, matrix)
    if array.ndim < 2 or 0 in array.shape[-2:]:
        raise ValueError(f"{name}: expected a matrix or a stack (..., rows, columns), got shape {array.shape}")
    require_work(array.size, COPIES, "a measure")
    return array


def _ratio(numerator: FloatArray, denominator: FloatArray) -> Numbers:
    return np.where(denominator != 0, numerator / np.where(denominator != 0, denominator, 1), 0.0)[()]
