"""Limits at ties: a Newton method for ``A x(A^T lam) = y``, L > 2, whose dual residual is exact.

Where the columns that an l1 minimiser may use are dependent, x depends on the digits of ``z = A^T lam`` that its
distances ``c_a - z``, ``c_b + z`` to the ends of its domain have after the cancellation (`kernels.dual.certainty`).
Here lam is an integer at a fixed point, fine enough for these, and so is c; the distances are floats of their own, each
with a small relative error; and what separates them from lam, ``A^T lam - z``, is exact. So x is that of the floats
A, y and of the starts as they stand.

A step solves ``A diag(x') dz = y - A x``, ``dz = A^T dlam + (A^T lam - z)`` by a factorisation of
``diag(x')^{1/2} A^T`` that keeps the orders of magnitude of x' apart (`equations`). At small starts it would have far
to go. So the limit from starts that are larger by a power of 2, where doubles do, is continued to the starts that are
meant: at an exact tie x hardly moves, and lam by the power's power.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np

from fastflow.checks import FloatArray
from fastflow.dual.accuracy import measure
from fastflow.dual.equations import Equations
from fastflow.dual.exact import (
    Integers,
    exact_residual,
    fixed,
    fixed_end,
    fixed_matrix,
    floating,
    multiplied,
)
from fastflow.dual.places import Ends, Place
from fastflow.kernels.dual.certainty import EPSILON

SPARE_BITS = 100
"""Bits of lam beyond those that the smallest distance from an end needs."""

EASY = 1e9
"""``(u/alpha)^k`` up to which a start is taken from doubles."""

FIRST_JUMP = 24
"""Bits of c by which starts first shrink from one problem of the continuation to the next."""

STEPS = 60
"""Newton steps for one start."""

SETTLED, MET = 1e-13, 1e-6
"""A step this small relative to x is the last, where z and ``A^T lam`` differ by this share of the distances."""

ALONE, ALIGNED = 4, 1e-9
"""Steps of lam alone, at most, until ``A^T lam - z`` is this share of the distances on the pivots."""

LEFT = 0.1
"""What a step leaves at least of a distance, and of an entry that must keep its sign."""


class Refined(NamedTuple):
    """A limit; ``error`` and ``condition`` as in `LimitResult`.

    Attributes
    ----------
    x : array (n,)
    dual : array (m,)
    slope : array (n,), ``dx/dz``
    steps : int
    error, condition : float
    """

    x: FloatArray
    dual: FloatArray
    slope: FloatArray
    steps: int
    error: float
    condition: float


class _Newton(NamedTuple):
    """Where Newton steps for one start have come to."""

    x: FloatArray
    place: Place
    exact_dual: Integers
    steps: int
    settled: bool


class Refinement:
    """One problem ``A x = y`` with A of full row rank, of coordinates with u(0) > 0.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y
    positive, negative : arrays (n,), u(0) > 0 and v(0) >= 0
    depth : number, L > 2
    rounded : array (m,), what the values may be off by
    max_steps : int, Newton steps for all starts
    """

    def __init__(
        self,
        matrix: FloatArray,
        values: FloatArray,
        positive: FloatArray,
        negative: FloatArray,
        depth: float,
        rounded: FloatArray,
        max_steps: int,
    ) -> None:
        self.matrix, self.values, self.depth, self.k = matrix, values, depth, depth - 2
        self.positive, self.negative, self.rounded, self.max_steps = positive, negative, rounded, max_steps
        self.integers, self.matrix_bits = fixed_matrix(matrix)

    def run(
        self, find: Callable[[int], Generator[None, None, FloatArray | None]]
    ) -> Generator[None, None, Refined | None]:
        """The limit, or None where it is not found; yields between steps.

        Parameters
        ----------
        find : function of j that finds the limit from starts multiplied by ``2^j``, or None
        """
        largest = max(self.positive.max(), self.negative.max())
        first = yield from find(0)
        if first is not None and not first.any():
            return None
        size = np.max(np.abs(first)) if first is not None else self._size()
        easy = size ** (1 / self.depth) / largest * EASY ** (-1 / self.k)
        j = math.ceil(math.log2(easy)) if easy > 1 else 0
        start = first if j == 0 else (yield from find(j))
        for _ in range(3):
            if start is not None or j == 0:
                break
            j += 4
            start = yield from find(j)
        if start is None:
            return None
        # The unit of lam: distances do not depend on the starts where entries have been found.
        reach = max(np.max(np.abs(start)) ** (1 / self.depth) * 8, largest)
        closest = reach ** (-self.k) / self.k
        columns = float(np.abs(self.matrix).sum(axis=0).max())
        self.bits = max(0, math.ceil(math.log2(columns / closest))) + SPARE_BITS
        dual = np.array([0] * len(self.values), object)
        jump = max(1, int(FIRST_JUMP // self.k))
        found = yield from self._newton(j, start, dual)
        total = found.steps
        while j > 0:
            if total > self.max_steps:
                return None
            smaller = max(0, j - jump)
            scaled = multiplied(found.exact_dual, (j - smaller) * self.k)
            nearer = yield from self._newton(smaller, found.x, scaled)
            total += nearer.steps
            if nearer.settled or jump == 1:
                j, found = smaller, nearer
                jump = jump + 1 if nearer.steps < 12 else jump
            else:
                jump = max(1, jump // 2)
        if not found.settled or total > self.max_steps:
            return None
        return self._result(found, total)

    def _size(self) -> float:
        """About how large x is."""
        return float(np.linalg.norm(self.values) / np.linalg.norm(self.matrix, axis=0).max())

    def _ends(self, j: int) -> Ends:
        bits = self.bits + self.matrix_bits
        upper, lower = (
            [fixed_end(a * 2.0**j, self.k, bits) if a > 0 else 0 for a in starts]
            for starts in (self.positive.tolist(), self.negative.tolist())
        )
        return Ends(np.array(upper, object), np.array(lower, object), bits)

    def _newton(self, j: int, x: FloatArray, dual: Integers) -> Generator[None, None, _Newton]:
        """Newton steps for starts multiplied by ``2^j`` from an x and an exact lam."""
        ends, a, b = self._ends(j), self.positive * 2.0**j, self.negative * 2.0**j
        least_start = np.where(b > 0, np.minimum(a, b), a)
        one_sided = b == 0
        place = Place.of(self.depth, a, b, x)
        settled, steps = False, 0
        while steps < STEPS and not settled:
            yield
            steps += 1
            x, slope = place.point(self.depth)
            largest = float(np.abs(x).max())
            system = Equations(self.matrix, slope)
            apart = ends.residual(self._image(dual), place)
            for _ in range(ALONE):
                if np.max(np.abs(apart[system.columns]) / place.room[system.columns], initial=0) < ALIGNED:
                    break
                dual = dual + fixed(system.only_dual(apart), self.bits)
                apart = ends.residual(self._image(dual), place)
            noise = 8 * EPSILON * len(self.values) * float(np.linalg.norm(self.values))
            step = system.solve(exact_residual(self.matrix, self.values, x), apart, noise)
            moved = slope * step.point
            size, met = float(np.abs(moved).max()) / largest, float(np.max(np.abs(apart) / place.room))
            after = place.moved(step.point)
            if np.any(after.up <= LEFT * place.up) or np.any(after.low <= LEFT * place.low):
                new_x, losing = x + moved, np.sign(x) * (x + moved) < LEFT * np.abs(x)
                losing &= ~one_sided & (np.abs(x) > 1e3 * least_start**self.depth)
                if losing.any():
                    share = min(1.0, float(np.min((1 - LEFT) * np.abs(x[losing]) / np.abs(moved[losing]))))
                    new_x = x + share * moved
                after = Place.of(self.depth, a, b, np.where(one_sided, np.maximum(new_x, LEFT * x), new_x))
            place, dual = after, dual + fixed(step.dual, self.bits)
            settled = size < SETTLED and met < MET
            if not np.isfinite(size):
                break
        return _Newton(place.point(self.depth)[0], place, dual, steps, settled)

    def _image(self, dual: Integers) -> Integers:
        image: Integers = dual @ self.integers
        return image

    def _result(self, found: _Newton, steps: int) -> Refined:
        x, slope = found.place.point(self.depth)
        dual = floating(found.exact_dual, self.bits)
        sure = measure(self.matrix, self.values, x, slope, dual, found.place.room, self.rounded, exact=True)
        return Refined(x, dual, slope, steps, sure.error + 10 * SETTLED, sure.condition)
