"""Step sizes that the theory gives: the edge of stability at the solution, the monotone step of identical starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastflow.checks import FloatArray, as_count, as_number
from fastflow.inits.base import balanced_factors
from fastflow.memory import require_work
from fastflow.metrics import quiet
from fastflow.networks import Chain, Network
from fastflow.problems import MatrixProblem, Problem
from fastflow.theory.arguments import as_posed
from fastflow.theory.curvature import sharpness

EDGE_RTOL = 1e-11
"""How accurately the stability edge is found where a power iteration must find it."""

LANCZOS_RTOL = 1e-8
"""The least accuracy asked of Lanczos, whose eigenvalues err by the square of it where they stand alone."""

DECOMPOSED = 10
"""Copies of the product that its decompositions take (measured)."""

BY_LANCZOS = 500
"""Gradients that cost what that minimum does, and Lanczos there, where this is not to cost much (measured)."""

VANISHES = 1e-12
"""The gradient by W at a minimum, relative to that at 0, up to which no residual counts there."""


@dataclass(frozen=True)
class Edge:
    """A multiple of the stability edge: ``0.9 * ff.theory.edge`` stands where a step does, for each problem its own.

    In files and on the command line, and as `str` has it, it is written "0.9 edge".

    Attributes
    ----------
    multiple : float > 0

    Examples
    --------
    >>> step = 0.9 * ff.theory.edge
    >>> step.step(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2))
    0.9
    """

    multiple: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "multiple", as_number("multiple", self.multiple, above=0))

    def __mul__(self, factor: float) -> Edge:
        return Edge(self.multiple * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Edge:
        return Edge(self.multiple / divisor)

    def __repr__(self) -> str:
        return f"{self.multiple:g} * fastflow.theory.edge"

    def __str__(self) -> str:
        return f"{self.multiple!r} edge"

    @classmethod
    def read(cls, text: str) -> Edge | None:
        """What "0.9 edge", "0.9edge", "0.9 * edge" or "edge" says.

        Parameters
        ----------
        text : str

        Returns
        -------
        Edge, or None for other words

        Raises
        ------
        ValueError
            for a multiple that is not above 0
        """
        number, found, rest = text.strip().partition("edge")
        if not found or rest:
            return None
        try:
            multiple = float(number.strip().removesuffix("*") or 1)
        except ValueError:
            return None
        return cls(multiple)

    def step(self, problem: Problem, network: Network) -> float:
        """The step for a problem: this multiple of its `stability_edge`.

        Parameters
        ----------
        problem, network : as they are trained

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            where no stability edge is known
        """
        return self.multiple * stability_edge(problem, network)


edge = Edge()
"""The edge of linear stability at the expected solution, a symbol to multiply; `stability_edge` is its value."""


@quiet
def stability_edge(problem: Problem, network: Network, rtol: float = EDGE_RTOL, operations: float = math.inf) -> float:
    """The largest step at which gradient descent is linearly stable at the balanced expected solution.

    That is ``2 / lambda_max``, where ``lambda_max`` is the largest eigenvalue of the Hessian by all factors at a
    balanced point of the solution that the data point to, of the rank that the network can reach. Residuals that remain
    there count where it is known to be the minimum, in regression through a bottleneck; elsewhere they are taken as
    zero. With M the derivative of the residuals by W, and without residuals, it is that of ``Z -> A_W(M^T M Z)``
    (`metric_inverse`), so that the edge is ``2 / (N ||W||_2^{2-2/N})`` for matrix estimation. For a DiagonalLinear
    network it is that of ``A diag(s) A^T`` with ``s_i = L |x_i|^{2-2/L}`` (for L = 1 the number of sides), as at the
    end of a small start; a large start needs a smaller step.

    Parameters
    ----------
    problem, network : as they are trained
    rtol : float > 0
        Where power iteration must find the eigenvalue (completion, sensing, regression), it ends when a turn changes it
        by less than this share.
    operations : float
        For a DeepLinear network, how many operations of floating point it may cost, about.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        for what is no problem or no network
    ValueError
        when the expected solution is 0, where a network of depth 2 and more has no such edge, or is not known; where it
        costs more operations

    Examples
    --------
    >>> round(ff.theory.stability_edge(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2)), 9)
    1.0
    """
    posed = as_posed(problem, network)
    architecture = network.architecture(posed)
    require_work(math.prod(posed.shape), DECOMPOSED, "the stability edge of a product")
    if isinstance(architecture, Chain):
        gradient = max(architecture.gradient_flops + posed.loss_flops, 1)
        factors = _balanced_minimum(posed.of_matrix(), architecture, operations / gradient)
        if factors is not None:
            return 2 / float(sharpness(posed, factors, network, rtol=max(rtol, LANCZOS_RTOL)))
    return 2 / architecture.largest_curvature(posed, rtol, operations)


def _balanced_minimum(posed: MatrixProblem, architecture: Chain, gradients: float) -> list[FloatArray] | None:
    """Balanced factors of the minimum over the rank that a bottleneck leaves, where residuals there count.

    None where they vanish, or change no largest eigenvalue, as for a direct target. ValueError where these, and the
    eigenvalue, cost more than so many gradients.
    """
    rank, depth = min(architecture.widths), architecture.factors_multiplied
    if rank == min(posed.shape) or posed.direct_target() is not None:
        return None
    if posed.knows_minimum and gradients < BY_LANCZOS:
        raise ValueError("the largest eigenvalue at a minimum of bounded rank costs more than it may")
    minimum = posed.minimum(rank)
    if minimum is None or not minimum.solution.any():
        return None
    at_zero = np.linalg.norm(posed.gradient(np.zeros(posed.shape)))
    if np.linalg.norm(posed.gradient(minimum.solution)) <= VANISHES * at_zero:
        return None
    left, values, right = np.linalg.svd(minimum.solution, full_matrices=False)
    return balanced_factors(left[:, :rank], values[:rank] ** (1 / depth), right[:rank], architecture.widths)


@quiet
def monotone_step(depth: int, scale: float, norm: float) -> float:
    """``1 / ((3N - 2) max(alpha, ||Y||_2^{1/N})^{2N-2})``: below it the loss falls at every step.

    For ``1/2 ||W_N ... W_1 - Y||_F^2`` with Y symmetric and every factor started at ``alpha I``; the eigenvalues stay
    positive and tend to the positive part of Y (Chou, Gieshoff, Maly, Rauhut, arXiv:2011.13772).

    Parameters
    ----------
    depth : int, N >= 2
    scale : float > 0, alpha
    norm : float >= 0, ``||Y||_2``

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        for what is not of these types and in these ranges

    Examples
    --------
    >>> ff.theory.monotone_step(2, scale=0.1, norm=1.0)
    0.25
    """
    depth = as_count("depth", depth, 2)
    scale, norm = as_number("scale", scale, above=0), as_number("norm", norm, least=0)
    largest = np.float64(max(scale, norm ** (1 / depth)))
    return float(1 / ((3 * depth - 2) * largest ** (2 * depth - 2)))
