"""The ends of the spectrum of the loss's Hessian by all factors: sharpness, and whether a critical point is a saddle.

Matrix-free, by Lanczos on exact Hessian-vector products, from a start vector that depends on the size alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastflow import metrics
from fastflow.checks import FloatArray, Numbers, as_number, shown
from fastflow.equality import by_value
from fastflow.networks import Architecture, Chain, Network, chain_product
from fastflow.problems import Problem
from fastflow.streams import stream
from fastflow.theory.arguments import as_posed, as_problem
from fastflow.theory.hessian import Hessian, as_arrays

DENSE = 48
"""Up to how many parameters the Hessian is formed."""
RTOL, SMALLEST_RTOL = 1e-12, 1e-8
"""Accuracies of the largest eigenvalue, relative to it, and of the smallest, relative to the largest."""
COARSE = 1e-2
"""How accurately, relative to it, the largest eigenvalue is found from which a spectrum is turned over."""
BASIS = 60
"""How many vectors Lanczos keeps."""
LARGEST, SMALLEST = "LA", "SA"
"""Ends of a spectrum, as SciPy calls them."""


@by_value(hashable=False)
@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """What the second derivatives, and for a chain the rank, say of a critical point.

    Attributes
    ----------
    kind : "minimum", "saddle", "degenerate" or "not critical"
        A saddle has a direction of negative curvature, or is a chain of less than full rank whose gradient by the
        product does not vanish (for N >= 3 its Hessian may have no negative eigenvalue, as at W = 0). A minimum has
        neither; its zero eigenvalues, which every product of factors has, are taken to be flat. Degenerate: the
        Hessian vanishes, and rank and gradient do not tell. Not critical: the gradient does not vanish.
    smallest, largest : float, eigenvalues of the Hessian, the smallest to a tenth of ``tol`` times the largest
    gradient_norm : float, by all factors
    direction : array (parameters,), a unit eigenvector of the smallest, down which a saddle may be left
    """

    kind: str
    smallest: float
    largest: float
    gradient_norm: float
    direction: FloatArray


def sharpness(
    problem: Problem, factors: ArrayLike | Sequence[ArrayLike], network: Network | None = None, *, rtol: float = RTOL
) -> Numbers:
    """The largest eigenvalue of the Hessian of the loss by all factors: steps below 2 over it are stable there.

    Parameters
    ----------
    problem : as it is trained
    factors : sequence of arrays, first to last, as ``runs.factors``: one start or a stack (runs, ...)
    network : Network, needed for a DiagonalLinear one
        Equal factors of an identical network count as L factors, with a direction for each.
    rtol : float, relative accuracy at which Lanczos ends

    Returns
    -------
    float, or array (runs,)

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> root = np.diag([2.0, 1.0]) ** (1 / 3)
    >>> round(ff.theory.sharpness(ff.MatrixEstimation(root**3), [root] * 3), 6) == round(3 * 2 ** (4 / 3), 6)
    True
    """
    return _extreme(problem, factors, network, LARGEST, rtol)


def smallest_curvature(
    problem: Problem,
    factors: ArrayLike | Sequence[ArrayLike],
    network: Network | None = None,
    *,
    rtol: float = SMALLEST_RTOL,
) -> Numbers:
    """The smallest eigenvalue of the Hessian of the loss by all factors; negative only off minima.

    Lanczos ends when the residual is at most rtol times the largest eigenvalue (in magnitude), and with it the error;
    where the smallest stands alone the error is about the square of that.

    Parameters
    ----------
    problem, factors, network, rtol : as `sharpness` takes them

    Returns
    -------
    float, or of a stack of runs an array (runs,)
    """
    return _extreme(problem, factors, network, SMALLEST, rtol)


def critical_point(
    problem: Problem, network: Network, factors: ArrayLike | Sequence[ArrayLike], tol: float = 1e-6
) -> CriticalPoint | list[CriticalPoint]:
    """Whether a critical point is a minimum or a saddle.

    Parameters
    ----------
    problem, network : as they are trained
    factors : as ``runs.factors``, of all runs or of one, or flat of one (parameters,)
    tol : float > 0
        Up to which the gradient (over the largest curvature and the norm of the factors), a negative curvature (over
        the largest), a singular value of W (over the largest) and the gradient by W (over that at W = 0) are 0.

    Returns
    -------
    CriticalPoint, or of a stack of runs a list of them

    References
    ----------
    M. Trager, K. Kohn, J. Bruna, Pure and spurious critical points, arXiv:1910.01671: where the loss is convex in W, no
    local minimum has a rank below the least width and a gradient by W that does not vanish.
    """
    tol, posed = as_number("tol", tol, above=0), as_posed(problem, network)
    architecture = network.architecture(posed)
    if isinstance(factors, np.ndarray) and factors.ndim == 1:
        factors = architecture.unpack(factors)
    stack, independent, runs = _as_runs(architecture, factors)
    points = [_judged(posed, independent, one, tol) for one in runs]
    return points if stack else points[0]


def _judged(posed: Problem, network: Network, one: list[FloatArray], tol: float) -> CriticalPoint:
    """`critical_point` of one run, with independent factors."""
    hessian = Hessian(posed, network, one)
    (smallest, direction), (largest, _) = _end(hessian, SMALLEST, 0.1 * tol), _end(hessian, LARGEST, RTOL)
    gradient_norm = float(np.linalg.norm(hessian.gradient))
    scale = max(abs(smallest), abs(largest))
    kind = "degenerate" if scale == 0 else "saddle" if smallest < -tol * scale else "minimum"
    if gradient_norm > tol * scale * np.sqrt(sum(np.sum(factor**2) for factor in one)):
        kind = "not critical"
    elif network.is_chain:
        product = chain_product(one)
        at_zero = np.linalg.norm(posed.gradient(np.zeros_like(product)))
        deficient = metrics.numerical_rank(product, tol) < min(min(factor.shape) for factor in one)
        if deficient and np.linalg.norm(posed.gradient(product)) > tol * at_zero:
            kind = "saddle"
    return CriticalPoint(kind, smallest, largest, gradient_norm, direction)


def _extreme(
    problem: Problem, factors: ArrayLike | Sequence[ArrayLike], network: Network | None, which: str, rtol: float
) -> Numbers:
    if network is None:
        architecture: Architecture = _chain_of(problem, factors)
    else:
        architecture = network.architecture(as_posed(problem, network))
    stack, independent, runs = _as_runs(architecture, factors)
    values = np.array([_end(Hessian(problem, independent, one), which, rtol)[0] for one in runs])
    return values if stack else float(values[0])


def _end(hessian: Hessian, which: str, rtol: float) -> tuple[float, FloatArray]:
    """The `LARGEST` or `SMALLEST` eigenvalue, and a unit eigenvector."""
    at = -1 if which == LARGEST else 0
    if hessian.size <= DENSE:
        matrix = np.array([hessian.times(row) for row in np.eye(hessian.size)])
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        return float(values[at]), vectors[:, at]
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    start = stream("curvature", hessian.size).standard_normal(hessian.size)
    if not hessian.times(start).any():
        return 0.0, start / np.linalg.norm(start)  # Lanczos would find no direction to go on in
    operator, shift = hessian.operator(), 0.0
    if which == SMALLEST:
        # The smallest is 0 at most minima, many times over, and nothing is accurate relative to that: so the largest
        # eigenvalue of what the Hessian lacks of its own largest.
        shift = abs(_end(hessian, LARGEST, COARSE)[0]) * (1 + COARSE)
        size = (hessian.size, hessian.size)
        operator = LinearOperator(size, lambda v: shift * np.ravel(v) - hessian.times(v), dtype=np.float64)
    try:
        values, vectors = eigsh(operator, 1, which=LARGEST, v0=start, tol=rtol, ncv=min(hessian.size, BASIS))
    except ArpackNoConvergence as error:
        raise RuntimeError(
            f"Lanczos did not find the eigenvalue to {rtol:g}, which many of nearly its size can cause: take a larger "
            "rtol"
        ) from error
    return float(shift - values[0] if which == SMALLEST else values[0]), vectors[:, 0]


def _chain_of(problem: Problem, factors: ArrayLike | Sequence[ArrayLike]) -> Chain:
    """The chain that has these factors, whose network nobody named."""
    if as_problem(problem).unknown != "W":
        raise ValueError("the factors of a vector do not say what network they are of: give the network")
    arrays = as_arrays(factors)
    if not arrays:
        raise ValueError("factors is empty")
    if any(array.ndim not in (2, 3) for array in arrays):
        raise ValueError(f"factors must be matrices or stacks of them, got shapes {shown([a.shape for a in arrays])}")
    return Chain.of(arrays)


def _as_runs(
    architecture: Architecture, factors: ArrayLike | Sequence[ArrayLike]
) -> tuple[bool, Network, list[list[FloatArray]]]:
    """Whether factors are a stack of runs, the network that has them as independent ones, and those of every run."""
    arrays, independent = as_arrays(factors), architecture.independent
    if not arrays:
        raise ValueError("factors is empty")
    if independent != architecture:
        names = [name.removeprefix("factor_") for name in architecture.factor_axes]
        if len(arrays) != len(names):
            raise ValueError(f"factors of {architecture.network} are {' and '.join(names)}, got {len(arrays)} vectors")
        arrays = architecture.independent_factors(arrays)
    if arrays[0].ndim <= len(architecture.factor_shapes[0]):
        return False, independent.network, [arrays]
    return True, independent.network, [[array[run] for array in arrays] for run in range(len(arrays[0]))]
