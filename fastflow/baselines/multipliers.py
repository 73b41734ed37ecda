"""Basis pursuit and the lasso by products: the proximal method of multipliers, by Newton's method in the dual.

``min c ||x||_1 + 1/2 ||A x - y||^2``, or subject to ``A x = y``, has the dual ``max <y, u> - delta/2 ||u||^2`` with
``|A^T u| <= c``, delta = 1 or 0. With P the soft threshold at ``s c``, a step is ``x <- P(x + s A^T u)``, where u is
the minimum of

    ||P(x + s A^T u)||^2 / (2 s) - <y, u> + delta/2 ||u||^2 + ||u - u_0||^2 / (2 t),

smooth and convex; its Newton systems have ``s A_S A_S^T`` and a multiple of the identity, S being where P is not 0, and
conjugate gradients solve them (Li, Sun, Toh 2018). There are finitely many S, and so steps, up to round-off.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.checks import FloatArray
from fastflow.operators.products import MatrixProducts

GROWTH, FALL = 3.0, 10.0
"""s becomes so much larger after a step that was found, and so much smaller after one that was not."""

LARGEST = 1e5
"""How far it grows, from the size of ``A^T y``."""

NEARNESS = 1e4
"""What t is, in the same unit."""

FIRST, SHARPER, SHARPEST = 1e-2, 0.3, 1e-14
"""How accurately steps are found: the first, each relative to the one before, and at best; in units of y."""

NEWTON, FIRST_NEWTON, HALVINGS = 50, 200, 30
"""Newton steps for one step, and for the first; how often one is halved."""

FORCING, SHARPEST_FORCING = 0.1, 1e-4
"""How accurately Newton's systems are solved, far away and near."""

SPARE_TURNS = 50
"""Turns of conjugate gradients beyond those that exact numbers would need."""

FITTED = 0.0
"""The delta of constraints."""


class Found(NamedTuple):
    """Where the method has come to.

    Attributes
    ----------
    x : array (n,)
    u : array (m,), the dual
    steps : int, Newton's, so far
    """

    x: FloatArray
    u: FloatArray
    steps: int


class Multipliers:
    """The method, which goes on from where it is.

    Parameters
    ----------
    products : MatrixProducts, with columns of norm about 1
    y : array (m,), of norm 1
    level : float > 0, c
    delta : 1 for the lasso, `FITTED` for basis pursuit
    nonnegative : bool, whether x >= 0
    start : Found, or None for 0
    """

    def __init__(
        self,
        products: MatrixProducts,
        y: FloatArray,
        level: float,
        delta: float,
        nonnegative: bool,
        start: Found | None,
    ) -> None:
        self.products, self.y, self.level, self.delta, self.nonnegative = products, y, level, delta, nonnegative
        m, n = products.shape
        self.found = Found(np.zeros(n), np.zeros(m), 0) if start is None else start._replace(steps=0)
        self.slopes = products.transposed(self.found.u)
        self.unit = float(np.abs(products.transposed(y)).max()) or 1.0
        self.s, self.steps_taken = self.unit, 0

    def shrunk(self, points: FloatArray) -> FloatArray:
        """P: the soft threshold."""
        if self.nonnegative:
            return np.maximum(points - self.s * self.level, 0)
        return np.sign(points) * np.maximum(np.abs(points) - self.s * self.level, 0)

    def step(self) -> None:
        """One step of the method of multipliers; where it is not found, it will be shorter."""
        x, before, slopes = self.found.x, self.found.u, self.slopes
        s, delta, y = self.s, self.delta, self.y
        near = 1 / (NEARNESS * self.unit)
        accuracy = max(SHARPEST, FIRST * SHARPER**self.steps_taken)
        u = before.copy()

        def at(u: FloatArray, slopes: FloatArray) -> tuple[FloatArray, FloatArray]:
            point = self.shrunk(x + s * slopes)
            return point, self.products.times(point) - y + delta * u + near * (u - before)

        point, gradient = at(u, slopes)
        newton, most = 0, NEWTON if self.steps_taken else FIRST_NEWTON
        while np.linalg.norm(gradient) > accuracy and newton < most:
            newton += 1
            change = self._newton(point != 0, gradient, delta + near)
            moved, down, share = self.products.transposed(change), float(gradient @ change), 1.0
            for _ in range(HALVINGS):
                tried, left = at(u + share * change, slopes + share * moved)
                if left @ change <= 0.5 * abs(down):
                    break
                share /= 2
            u, slopes, point, gradient = u + share * change, slopes + share * moved, tried, left
        self.steps_taken += 1
        steps = self.found.steps + max(newton, 1)
        if np.linalg.norm(gradient) > accuracy and accuracy > SHARPEST:
            self.s /= FALL
            self.found = self.found._replace(steps=steps)
            return
        self.s = min(GROWTH * s, LARGEST * self.unit)
        self.found, self.slopes = Found(point, u, steps), slopes

    def _newton(self, kept: FloatArray, gradient: FloatArray, level: float) -> FloatArray:
        """What solves ``(s A_S A_S^T + level) d = -gradient``, nearly, by conjugate gradients."""
        change, residual = np.zeros_like(gradient), -gradient
        direction, square = residual.copy(), float(residual @ residual)
        size = float(np.sqrt(square))
        wanted = min(FORCING, max(size, SHARPEST_FORCING)) * size
        for _ in range(min(len(gradient), int(kept.sum())) + SPARE_TURNS):
            back = np.where(kept, self.products.transposed(direction), 0)
            image = self.s * self.products.times(back) + level * direction
            share = square / float(direction @ image)
            change += share * direction
            residual = residual - share * image
            before, square = square, float(residual @ residual)
            if np.sqrt(square) <= wanted:
                break
            direction = residual + (square / before) * direction
        return change
