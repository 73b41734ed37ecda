"""Step sizes that the theory gives: the edge of stability at the solution, the monotone step of identical starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastflow.checks import as_count, as_number
from fastflow.networks import DeepLinear, DiagonalLinear, Network
from fastflow.problems import CompressedSensing, MatrixEstimation, Problem
from fastflow.streams import stream
from fastflow.theory.arguments import as_posed
from fastflow.theory.metric import singular_bases


@dataclass(frozen=True)
class Edge:
    """A multiple of the stability edge: ``0.9 * ff.theory.edge`` stands where a step does, for each problem its own.

    In files and on the command line, and as `str` has it, it is written "0.9 edge".

    Attributes
    ----------
    multiple : float > 0
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
        """What "0.9 edge", "0.9edge", "0.9 * edge" or "edge" says; None for other words.

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
        """The step for a problem."""
        return self.multiple * stability_edge(problem, network)


edge = Edge()
"""The edge of linear stability at the expected solution, a symbol to multiply; `stability_edge` is its value."""


def stability_edge(problem: Problem, network: Network, rtol: float = 1e-11) -> float:
    """The largest step at which gradient descent is linearly stable at the balanced expected solution.

    That is ``2 / lambda_max``, where ``lambda_max`` is the largest eigenvalue of the Hessian by all factors, which at
    a balanced point with vanishing residual is that of ``Z -> A_W(M^T M Z)`` (M the derivative of the residuals by
    W); ``2 / (N ||W||_2^{2-2/N})`` for matrix estimation. W is the problem's `expected_solution` of the rank that
    the network can reach; residuals that remain there are taken as zero. For a DiagonalLinear network see
    `diagonal_stability_edge`.

    Parameters
    ----------
    problem, network : as they are trained
    rtol : float > 0
        Where power iteration must find the eigenvalue (completion, sensing, regression), it ends when a turn changes it
        by less than this share.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        when the expected solution is 0, where a network of depth 2 and more has no such edge
    """
    posed = as_posed(problem, network)
    if isinstance(network, DiagonalLinear):
        return diagonal_stability_edge(posed, network)
    assert isinstance(network, DeepLinear)
    widths = network.widths_for(posed.shape)
    depth, rank = len(widths) - 1, min(widths)
    solution = posed.expected_solution(rank).astype(np.float64)
    if not solution.any() and depth > 1:
        raise ValueError(
            "the data point to the solution W = 0, where a product of factors has no stability edge: give a step"
        )
    if isinstance(posed, MatrixEstimation):
        return 2 / (posed.weight * depth * float(np.linalg.norm(solution, 2)) ** (2 - 2 / depth))
    bases = singular_bases(solution, depth)
    # Power iteration from the leading singular pair, and enough of everything else that no eigenvector is missed.
    noise = stream("stability edge", posed.shape).standard_normal(posed.shape)
    direction = np.outer(bases.left[:, 0], bases.right[0]) + 0.1 * noise / np.linalg.norm(noise)
    largest = 0.0
    for _ in range(1000):
        image = posed.normal_operator(direction)
        moved = bases.scale(image, bases.eigenvalues)
        estimate = float(np.sum(image * moved) / np.sum(direction * image))
        converged = abs(estimate - largest) <= rtol * estimate
        largest = estimate
        if converged:
            break
        direction = moved / np.linalg.norm(moved)
    return 2 / (posed.weight * largest)


def diagonal_stability_edge(problem: CompressedSensing, network: DiagonalLinear) -> float:
    """`stability_edge` of a diagonal network, ``2 / lambda_max(A diag(s) A^T)``.

    Near a solution the residual moves by ``r <- (I - step A diag(s) A^T) r``, where ``s_i`` is the sum of squares of
    the derivatives of ``x_i`` by all factors: ``s_i = L (u_i^{2L-2} + v_i^{2L-2})`` where all L factors of each side
    are equal, and ``L |x_i|^{2-2/L}`` (2 for L = 1) where they come from a small start, so that only one side has
    grown. A large start needs a smaller step. x is the `estimate` of the problem, without its negative entries if the
    network is not signed.

    Raises
    ------
    ValueError
        when that x is 0, where a product of two or more factors has no such edge
    """
    depth, solution = network.depth, problem.estimate()
    if not network.signed:
        solution = np.maximum(solution, 0)
    if depth > 1 and not solution.any():
        raise ValueError(
            "the data point to the solution x = 0, where a product of factors has no stability edge: give a step"
        )
    slopes = depth * np.abs(solution) ** (2 - 2 / depth)
    if depth == 1:
        slopes = np.full(len(solution), 2.0 if network.signed else 1.0)
    scaled = problem.matrix.astype(np.float64) * np.sqrt(slopes)
    gram = scaled @ scaled.T if scaled.shape[0] <= scaled.shape[1] else scaled.T @ scaled
    largest = float(np.linalg.eigvalsh(gram)[-1])
    if largest <= 0:
        raise ValueError("the measurement matrix is zero, so that no step is too large: give a step")
    return 2 / (problem.weight * largest)


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
    """
    depth = as_count("depth", depth, 2)
    scale, norm = as_number("scale", scale, above=0), as_number("norm", norm, least=0)
    return float(1 / ((3 * depth - 2) * max(scale, norm ** (1 / depth)) ** (2 * depth - 2)))
