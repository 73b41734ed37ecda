"""Steps that are known to be safe before a run starts: from bounds that hold all along it.

Here ``f(W) = 1/2 ||M W - y||^2`` with a linear M that W can be recovered from (estimation; regression with invertible
``X X^T``; enough measurements): ``l ||Z||_F^2 <= ||M Z||^2 <= L ||Z||_F^2``, l > 0. W* is the least-squares solution,
and ``e = f - f(W*) = 1/2 ||M (W - W*)||^2`` the excess. ``normalization`` counts as part of M.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow import metrics
from fastflow.checks import FloatArray, Numbers, as_number
from fastflow.equality import by_value
from fastflow.networks import chain_product
from fastflow.problems import MatrixProblem
from fastflow.theory.arguments import as_chain
from fastflow.theory.roots import invert

WHITE = 1e-9
"""By how much, relative to the largest, eigenvalues of whitened data may differ."""

RATE_STEP, RATE_BALANCE = 6144, 256
"""The constants of arXiv:1810.02281, theorem 1: of the largest step, and of the largest defect of balance."""


@by_value(hashable=False)
class Region(NamedTuple):
    """What a run of gradient descent with constant or decreasing steps up to ``step`` does not leave.

    Attributes
    ----------
    step : float or array
    smoothness : float or array, B, a bound of ``||Hess||_2``
    factor_norm : float or array, a bound of every ``||W_j||_2``
    product_norm : float or array, a bound of ``||W||_2``

    Examples
    --------
    >>> X = np.eye(2)
    >>> problem = ff.LinearRegression(X, 2 * X, samples="columns")
    >>> region = ff.theory.descent_region(problem, [0.1 * X, 0.1 * X])
    >>> bool(0 < region.step < 0.1), bool(region.product_norm > 2)
    (True, True)
    """

    step: Numbers
    smoothness: Numbers
    factor_norm: Numbers
    product_norm: Numbers


@by_value(hashable=False)
class LinearRate(NamedTuple):
    """What `linear_rate` promises; ``step`` is 0 where it promises nothing.

    Attributes
    ----------
    step : float or array, the largest step
    decay : float or array
        ``excess(k) <= excess(0) exp(-decay * step * k)`` for any step up to that.
    margin : float or array, ``c = sigma_min(W*) - ||W(0) - W*||_F``, must be positive
    balancedness, allowed : float or array
        ``max_j ||C_j||_F`` at the start, and how large it may be.

    Examples
    --------
    >>> rate = ff.theory.linear_rate(ff.MatrixEstimation(np.eye(2)), [0.9 * np.eye(2)] * 2)
    >>> bool(rate.step > 0), round(float(rate.margin), 3)
    (True, 0.731)
    """

    step: Numbers
    decay: Numbers
    margin: Numbers
    balancedness: Numbers
    allowed: Numbers


@by_value(hashable=False)
class Observation(NamedTuple):
    """How much of W the data of a loss ``f(W) = 1/2 ||M W - y||^2`` determine, ``normalization`` being part of M.

    Attributes
    ----------
    largest, smallest : float, L and l in ``l ||Z||_F^2 <= ||M Z||^2 <= L ||Z||_F^2``
    solution : array (d_N, d_0), W*, which minimises f
    floor : float, f(W*)
    """

    largest: float
    smallest: float
    solution: FloatArray
    floor: float


@metrics.quiet
def descent_region(problem: MatrixProblem, factors: Sequence[ArrayLike], *, sigma: float = 0.5) -> Region:
    """A step from which on gradient descent lowers the loss at every step, and the region in which it then stays.

    The loss falls by at least ``sigma step ||grad||^2`` at each step, so gradients tend to 0 for constant steps and for
    decreasing ones whose sum is infinite. The structure is that of Nguegnang, Rauhut, Terstiege, arXiv:2108.02040; the
    constants are these:

    * Where all ``||W_j||_2^2 <= K`` and ``f <= f(0)``, the second derivative in a direction (V_1, ..., V_N) is
      ``||M sum_j W_N .. V_j .. W_1||^2 + 2 sum_{i<j} <E, W_N .. V_j .. V_i .. W_1>`` with ``||E||_F <= sqrt(2 L e)``:
      ``||Hess||_2 <= B = N K^{N-1} L + (N-1) K^{N/2-1} sqrt(2 L e(0))``.
    * Steps up to ``2 (1 - sigma) / B`` along which this holds lower f by ``sigma step ||grad||^2``.
    * ``||W||_2 <= ||W*||_2 + sqrt(2 e(0) / l)`` where ``f <= f(0)``.
    * ``||W_j||_2^2 <= ||W||_2^{2/N} + 3/2 Delta`` with ``Delta = sum_j ||C_j||_2``,
      ``C_j = W_{j+1}^T W_{j+1} - W_j W_j^T``. (With ``a_j = ||W_j||_2^2``, following the top singular vector of W_N
      down the chain gives ``||W||_2^2 >= prod_i (a_N - Delta_i)``, Delta_i the sum of the last i norms, so that
      ``a_N <= ||W||_2^{2/N} + Delta``; a_1 likewise; and a_j is at most ``Delta/2`` above one of the two.)
    * A step changes C_j by ``step^2 (G_{j+1}^T G_{j+1} - G_j G_j^T)`` and so Delta by no more than
      ``min(N-1, 2) step^2 ||grad||^2``: over a run that keeps descending, by ``min(N-1, 2) step e(0) / sigma`` in all.

    These close: the step is the root of ``step B(K(step)) = 2 (1 - sigma)``, where
    ``K = (||W*||_2 + sqrt(2 e(0)/l))^{2/N} + 3/2 (Delta(0) + min(N-1, 2) step e(0) / sigma)``. All holds at every point
    between two steps as well, by continuity.

    Parameters
    ----------
    problem : MatrixEstimation, LinearRegression with ``X X^T`` invertible, or one that observes W entirely
    factors : sequence of arrays, the start: (d_j, d_{j-1}), or stacks (runs, d_j, d_{j-1})
    sigma : float between 0 and 1

    Returns
    -------
    Region

    Raises
    ------
    ValueError
        where W is not determined by the data, so that the loss bounds no W

    Examples
    --------
    >>> X = np.eye(2)
    >>> problem = ff.LinearRegression(X, 2 * X, samples="columns")
    >>> region = ff.theory.descent_region(problem, [0.1 * X, 0.1 * X])
    >>> bool(0 < region.step < 0.1), bool(region.product_norm > 2)
    (True, True)
    """
    if not 0 < as_number("sigma", sigma) < 1:
        raise ValueError(f"sigma must be between 0 and 1, got {sigma:g}")
    arrays = as_chain(problem, factors)
    seen, depth = observe(problem), len(arrays)
    excess = np.maximum(_losses(problem, chain_product(arrays)) - seen.floor, 0)
    norm = np.linalg.norm(seen.solution, 2) + np.sqrt(2 * excess / seen.smallest)
    delta = np.zeros(np.shape(excess))
    for defect in metrics.balancedness_defects(arrays):
        delta = delta + metrics.singular_values(defect)[..., 0]
    growth = min(depth - 1, 2) * excess / sigma

    def squares(step: Numbers) -> Numbers:
        return norm ** (2 / depth) + 1.5 * (delta + growth * step)

    def smoothness(step: Numbers) -> Numbers:
        k = squares(step)
        curved = (depth - 1) * k ** (depth / 2 - 1) * np.sqrt(2 * seen.largest * excess) if depth > 1 else 0
        return depth * k ** (depth - 1) * seen.largest + curved

    largest = 2 * (1 - sigma) / smoothness(0.0)
    share = invert(lambda s: s * largest * smoothness(s * largest), np.asarray(largest * smoothness(0.0)), 0.0, 1.0)
    step = share * largest
    return Region(*(np.asarray(v)[()] for v in (step, smoothness(step), np.sqrt(squares(step)), norm)))


@metrics.quiet
def linear_rate(problem: MatrixProblem, factors: Sequence[ArrayLike]) -> LinearRate:
    """A step at which gradient descent converges at a linear rate, from a start near enough to the solution.

    For whitened data, ``X X^T`` a multiple of the identity (matrix estimation is such), hidden widths at least
    ``min(d_0, d_N)``, a margin ``c > 0`` and ``||C_j(0)||_F <= c^2 / (256 N^3 ||W*||_F^{2(N-1)/N})``, any
    ``step <= c^{(4N-2)/N} / (6144 N^3 ||W*||_F^{(6N-4)/N})`` (both for ``X X^T = I``) makes the excess fall as
    ``exp(-step c^{2(N-1)/N} k)``.

    Parameters
    ----------
    problem : MatrixEstimation or LinearRegression
    factors : sequence of arrays, the start, or stacks (runs, ...) of them

    Returns
    -------
    LinearRate

    Raises
    ------
    ValueError
        for data that are not whitened

    References
    ----------
    S. Arora, N. Cohen, N. Golowich, W. Hu, A convergence analysis of gradient descent for deep linear neural networks,
    arXiv:1810.02281, theorem 1.

    Examples
    --------
    >>> rate = ff.theory.linear_rate(ff.MatrixEstimation(np.eye(2)), [0.9 * np.eye(2)] * 2)
    >>> bool(rate.step > 0), round(float(rate.margin), 3)
    (True, 0.731)
    """
    arrays = as_chain(problem, factors)
    seen, depth = observe(problem), len(arrays)
    if seen.largest - seen.smallest > WHITE * seen.largest:
        raise ValueError(
            "the linear rate is known for whitened data, X X^T a multiple of the identity; "
            f"its eigenvalues go from {seen.smallest / problem.weight:.3g} to {seen.largest / problem.weight:.3g}"
        )
    solution = seen.solution
    size = float(np.linalg.norm(solution))
    distance = np.linalg.norm(chain_product(arrays) - solution, axis=(-2, -1))
    margin = np.linalg.svd(solution, compute_uv=False)[-1] - distance
    c = np.maximum(margin, 0)
    wide = min((array.shape[-2] for array in arrays[:-1]), default=min(solution.shape)) >= min(solution.shape)
    defect = metrics.balancedness(arrays)
    with np.errstate(divide="ignore", invalid="ignore"):
        allowed = c**2 / (RATE_BALANCE * depth**3 * size ** (2 * (depth - 1) / depth))
        white_step = c ** ((4 * depth - 2) / depth) / (RATE_STEP * depth**3 * size ** ((6 * depth - 4) / depth))
        step = white_step / seen.largest
    holds = (margin > 0) & (defect <= allowed) & wide
    decay = seen.largest * c ** (2 * (depth - 1) / depth)
    return LinearRate(np.where(holds, step, 0.0)[()], decay[()], margin[()], defect, allowed[()])


def observe(problem: MatrixProblem) -> Observation:
    """How much of W the data determine.

    Raises
    ------
    ValueError
        where they do not determine all of it
    """
    shape, weight, spectrum = problem.shape, problem.weight, problem.spectrum()
    if spectrum is None or spectrum[-1] <= max(shape) * np.finfo(float).eps * spectrum[0]:
        raise ValueError(
            f"the data of this {type(problem).__name__} do not determine W, so its loss bounds no W and no step is "
            "known to be safe beforehand: use step=None, or a multiple of the edge such as '0.9 edge'"
        )
    largest, smallest = float(spectrum[0]) ** 2, float(spectrum[-1]) ** 2
    solution = problem.least_squares()
    return Observation(weight * largest, weight * smallest, solution, problem.loss(solution))


def _losses(problem: MatrixProblem, products: FloatArray) -> FloatArray:
    """The loss at products (..., d_N, d_0)."""
    flat = products.reshape(-1, *products.shape[-2:])
    return np.array([problem.loss(product) for product in flat]).reshape(products.shape[:-2])
