"""The limit of the gradient flow of a diagonal network where A is known by its products: Newton's method on the dual.

The steps are those of the dense solvers, ``A diag(dx/dz) A^T`` times a step being what ``y - A x`` lacks, are found by
conjugate gradients. Small starts spread ``dx/dz`` over many orders of magnitude; the few entries where it is largest,
those of the support, are solved for exactly beside a multiple of the identity, and that is the preconditioner.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import numpy as np

from fastflow import kernels
from fastflow.checks import FloatArray
from fastflow.dual.by_support import limit_by_support
from fastflow.memory import require_memory
from fastflow.operators import Operator
from fastflow.problems import VectorProblem
from fastflow.status import Status

BOLD = 1.5
"""What theta, of which x is an exponential, may move by in a step."""

FORCING, SHARPEST = 0.1, 1e-4
"""How accurately a step is found while residuals are large, and near the end: the residual of its system, relative."""

TURNS, SPARE = 2000, 50
"""Turns of conjugate gradients for a step, at most; and how many it may need beyond those that exact numbers would."""

UNSOLVED = 6
"""Steps whose system round-off does not let solve, after which no more are tried."""

DIRECT = 256
"""Entries that the preconditioner solves for, at most."""

STANDS_OUT = 10.0
"""An entry is one of them where dx/dz is so many times its median."""

HALVINGS = 60
"""How often a step is halved until it ends where the dual has not risen."""

ACCURATE = 1e-8
"""What the last step may have moved an entry of x by, relative to the largest, where that has converged."""

PATIENCE = 30
"""Steps after which the residual must have become less."""

REACHED = 1e-7
"""What least squares by products may leave of values, relative to them, that can be reached."""

VECTORS = 16
"""Arrays of rows and of columns that it works with."""


class ProductsLimit(NamedTuple):
    """The limit of one flow.

    Attributes
    ----------
    x : array (n,)
    status : Status
    steps : int, Newton's
    residual : float, the norm of ``A x - y``
    error : float, what the last step moved an entry of x by, relative to the largest
    """

    x: FloatArray
    status: Status
    steps: int
    residual: float
    error: float


def reached_values(problem: VectorProblem) -> FloatArray:
    """What of y some x reaches: y itself, unless least squares by products leave more of it than they err by.

    Parameters
    ----------
    problem : VectorProblem, whose matrix is an `Operator`
    """
    values: FloatArray = problem.values.astype(np.float64)
    if isinstance(problem.matrix, Operator) and problem.matrix.rank < problem.matrix.rows:
        reached = problem.explained(values).astype(np.float64)
        if np.linalg.norm(values - reached) > REACHED * np.linalg.norm(values):
            return reached
    return values


class LimitByProducts:
    """The search for the limit of one flow, in slices.

    Parameters
    ----------
    operator : Operator, A
    values : array (rows,), y
    mirror : Mirror of n coordinates
    tol : float > 0, the residual that is asked for, relative to y
    max_steps : int >= 1, Newton steps

    Raises
    ------
    MemoryError
        where there is no room for its vectors
    """

    def __init__(
        self, operator: Operator, values: FloatArray, mirror: kernels.Mirror, tol: float, max_steps: int
    ) -> None:
        rows, n = operator.rows, operator.shape[1]
        require_memory(8 * (VECTORS * (rows + n) + 2 * DIRECT**2), "the limit of a flow", "take fewer threads")
        self.operator, self.mirror, self.tol, self.max_steps = operator, mirror, tol, max_steps
        self.values: FloatArray = values.astype(np.float64)
        self.theta: FloatArray = mirror.rest.copy()
        self.x, self.slope = self._at(self.theta)
        self.residual = self.values - self.forward(self.x)
        self.steps, self.turns, self.error = 0, 0, np.inf
        self.status = Status.RUNNING

    def forward(self, vector: FloatArray) -> FloatArray:
        """``A v``."""
        return self.operator.forward(vector[None])[0]

    def adjoint(self, residual: FloatArray) -> FloatArray:
        """``A^T r``."""
        return self.operator.adjoint(residual[None].copy())[0]

    def _at(self, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        """x and dx/dz."""
        x, slope = np.empty_like(theta), np.empty_like(theta)
        kernels.mirror_point(self.mirror, theta, x, slope)
        return x, slope

    @property
    def found(self) -> ProductsLimit:
        """What has been found."""
        residual = float(np.linalg.norm(self.residual))
        return ProductsLimit(self.x, self.status, self.steps, residual, self.error)

    def search(self) -> Iterator[None]:
        """Go to the end, a slice of work for each item."""
        yield from self._search()
        if self.status != Status.INACCURATE or self.steps >= self.max_steps:
            return
        found = limit_by_support(self.operator, self.values, self.mirror)
        yield
        if found is None:
            return
        residual = self.values - self.forward(found.x)
        if found.error <= ACCURATE and np.linalg.norm(residual) <= self.tol * np.linalg.norm(self.values):
            self.x, self.residual, self.error, self.status = found.x, residual, found.error, Status.CONVERGED
            return
        self.theta = found.theta
        self.x, self.slope = self._at(self.theta)
        self.residual = self.values - self.forward(self.x)
        yield from self._search()

    def _search(self) -> Iterator[None]:
        """Newton steps to the limit, or until they lead no nearer."""
        size = float(np.linalg.norm(self.values)) or float(np.linalg.norm(self.residual))
        if not size:  # x = 0 from the start, and nothing to reach
            self.error, self.status = 0.0, Status.CONVERGED
            return
        best, since, unsolved = np.inf, 0, 0
        # About the eigenvalue of A A^T, were they all one.
        frame = self.operator.energy / self.operator.rank
        while self.steps < self.max_steps:
            left = float(np.linalg.norm(self.residual)) / size
            if not np.isfinite(left):
                self.status = Status.DIVERGED
                return
            best, since = (left, 0) if left < 0.9 * best else (best, since + 1)
            if since > PATIENCE or unsolved > UNSOLVED:
                break
            direction = np.zeros_like(self.values)
            rtol = max(SHARPEST, min(FORCING, np.sqrt(left)))
            unsolved += not (yield from self._conjugate_gradients(direction, rtol, frame))
            yield
            if not self._move(direction):
                break
            self.steps += 1
            if np.linalg.norm(self.residual) <= self.tol * size and self.error <= ACCURATE:
                self.status = Status.CONVERGED
                return
        self.status = Status.INACCURATE

    def _move(self, direction: FloatArray) -> bool:
        """Take a step, or a part of it; False where no part of it leads down."""
        change, down = self.adjoint(direction), float(self.residual @ direction)
        if not (down > 0 and np.isfinite(change).all()):
            return False
        share = 1.0
        for _ in range(HALVINGS):
            theta = self.theta.copy()
            kernels.mirror_move(self.mirror, share * change, theta)
            moved = float(np.abs(theta - self.theta).max())
            if not moved <= BOLD:
                share *= 0.5 if not np.isfinite(moved) else max(0.05, min(0.9, BOLD / moved))
                continue
            x, slope = self._at(theta)
            residual = self.values - self.forward(x)
            if residual @ direction >= -0.5 * down:
                largest = float(np.abs(x).max())
                self.error = float(np.abs(x - self.x).max()) / largest / share if largest else 0.0
                self.theta, self.x, self.slope, self.residual = theta, x, slope, residual
                return True
            share /= 2
        return False

    def _conjugate_gradients(self, solution: FloatArray, rtol: float, frame: float) -> Generator[None, None, bool]:
        """Solve ``A diag(dx/dz) A^T v = y - A x`` up to a residual of so much of the right-hand side, if it can be."""
        precondition = yield from self._preconditioner(frame)
        residual = self.residual.copy()
        wanted = rtol * float(np.linalg.norm(residual))
        better = precondition(residual)
        direction, square = better.copy(), float(residual @ better)
        for _ in range(min(TURNS, min(self.operator.rows, self.operator.shape[1]) + SPARE)):
            image = self.forward(self.slope * self.adjoint(direction))
            curvature = float(direction @ image)
            if not curvature > 0 or not np.isfinite(square):
                return False
            share = square / curvature
            solution += share * direction
            residual -= share * image
            self.turns += 1
            if np.linalg.norm(residual) <= wanted:
                return True
            better = precondition(residual)
            before, square = square, float(residual @ better)
            direction *= square / before
            direction += better
            yield
        return False

    def _preconditioner(self, frame: float) -> Generator[None, None, Callable[[FloatArray], FloatArray]]:
        """What is nearly the inverse of ``A diag(dx/dz) A^T``: exact on the entries that stand out."""
        slope = self.slope
        order = np.argsort(-slope, kind="stable")[: min(DIRECT, len(self.values) // 2)]
        places = order[slope[order] > STANDS_OUT * np.median(slope)]
        rest = np.delete(slope, places)
        level = float(rest.mean()) * frame or 1.0
        if not places.size:
            return lambda residual: residual / level
        gram = np.empty((places.size, places.size))
        units = np.zeros((1, slope.size))
        for row, place in zip(gram, places, strict=True):
            units[0, place] = 1
            row[:] = self.operator.adjoint(self.operator.forward(units))[0, places]
            units[0, place] = 0
            yield
        inner = (gram + gram.T) / 2 + np.diag(level / (slope[places] - level / frame))
        inverse = np.linalg.inv(inner)

        def precondition(residual: FloatArray) -> FloatArray:
            spread = np.zeros(slope.size)
            spread[places] = inverse @ self.adjoint(residual)[places]
            return (residual - self.forward(spread)) / level

        return precondition
