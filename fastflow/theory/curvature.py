"""The ends of the spectrum of the loss's Hessian by all factors.

Matrix-free, by Lanczos on exact Hessian-vector products, from a start vector that depends on the size alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from fastflow import metrics
from fastflow.checks import FloatArray, Numbers, shown
from fastflow.memory import require_work
from fastflow.networks import Architecture, Chain, Network
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
BESIDE = 8
"""Vectors that it takes beside these (measured)."""
LARGEST, SMALLEST = "LA", "SA"
"""Ends of a spectrum, as SciPy calls them."""


class SymmetricOperator(Protocol):
    """A symmetric matrix (size, size), by its products with vectors."""

    @property
    def size(self) -> int:
        """The number of rows."""

    def times(self, direction: ArrayLike) -> FloatArray:
        """The product with a vector (size,)."""


@metrics.quiet
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
    float, or of a stack of runs an array (runs,), NaN for those whose factors, or Hessians, are not finite

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> root = np.diag([2.0, 1.0]) ** (1 / 3)
    >>> round(ff.theory.sharpness(ff.MatrixEstimation(root**3), [root] * 3), 6) == round(3 * 2 ** (4 / 3), 6)
    True
    """
    return _extreme(problem, factors, network, LARGEST, rtol)


@metrics.quiet
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
    float, or of a stack of runs an array (runs,), NaN for those whose factors are not finite

    Examples
    --------
    >>> round(float(ff.theory.smallest_curvature(ff.MatrixEstimation(np.eye(2)), [np.zeros((2, 2))] * 2)), 6)
    -1.0
    """
    return _extreme(problem, factors, network, SMALLEST, rtol)


def _extreme(
    problem: Problem, factors: ArrayLike | Sequence[ArrayLike], network: Network | None, which: str, rtol: float
) -> Numbers:
    if network is None:
        architecture: Architecture = _chain_of(problem, factors)
    else:
        posed = as_posed(problem, network)
        architecture = network.architecture(posed)
    stack, independent, runs = as_runs(architecture, factors)
    # A run of a stack that has diverged costs the others nothing; one alone is refused as wrong input.
    values = [
        np.nan if stack and not is_finite(one) else end_of_spectrum(Hessian(problem, independent, one), which, rtol)[0]
        for one in runs
    ]
    return np.array(values) if stack else float(values[0])


def is_finite(factors: Sequence[FloatArray]) -> bool:
    """Whether all factors of a run are finite."""
    return all(bool(np.isfinite(factor).all()) for factor in factors)


def end_of_spectrum(hessian: SymmetricOperator, which: str, rtol: float) -> tuple[float, FloatArray]:
    """The `LARGEST` or `SMALLEST` eigenvalue, and a unit eigenvector; NaN where the Hessian leaves float64."""
    at = -1 if which == LARGEST else 0
    if hessian.size <= DENSE:
        matrix = np.array([hessian.times(row) for row in np.eye(hessian.size)])
        if not np.isfinite(matrix).all():
            return np.nan, np.full(hessian.size, np.nan)
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        return float(values[at]), vectors[:, at]
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    require_work(hessian.size, min(hessian.size, BASIS) + BESIDE, "Lanczos on vectors")
    start = stream("curvature", hessian.size).standard_normal(hessian.size)
    first = hessian.times(start)
    if not np.isfinite(first).all():
        return np.nan, np.full(hessian.size, np.nan)
    if not first.any():
        return 0.0, start / np.linalg.norm(start)  # Lanczos would find no direction to go on in
    size, shift = (hessian.size, hessian.size), 0.0
    operator = LinearOperator(size, hessian.times, hessian.times, dtype=np.float64)
    if which == SMALLEST:
        # The smallest is 0 at most minima, many times over, and nothing is accurate relative to that: so the largest
        # eigenvalue of what the Hessian lacks of its own largest.
        shift = abs(end_of_spectrum(hessian, LARGEST, COARSE)[0]) * (1 + COARSE)
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


def as_runs(
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
