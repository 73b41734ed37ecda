"""Limits at ties: a Newton method for ``A x(A^T lam) = y``, L >= 3, whose dual residual is exact.

Where the columns that an l1 minimiser may use are dependent, x depends on the digits of ``z = A^T lam`` that its
distances ``c_a - z``, ``c_b + z`` to the ends of its domain have after the cancellation (`kernels.dual.certainty`). Here
lam is an integer at a fixed point, fine enough for these, and so is c; the distances are floats of their own, each with
a small relative error; and what separates them from lam, ``A^T lam - z``, is exact. So x is that of the floats A, y and
of the starts as they stand.

A step solves ``A diag(x') dz = y - A x``, ``dz = A^T dlam + (A^T lam - z)`` by a factorisation of ``diag(x')^{1/2} A^T``
that keeps the orders of magnitude of x' apart (`kernels.vectors.revealing`). At small starts it would have far to go.
So the limit from starts that are larger by a power of 2, where doubles do, is continued to the starts that are meant:
at an exact tie x hardly moves, and lam by the power's power.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from fastflow.checks import FloatArray
from fastflow.dual.exact import Integers, exact_rank, fixed, fixed_fraction, fixed_matrix, floating
from fastflow.dual.vectors import angles_at, vectors_at
from fastflow.kernels.dual.certainty import EPSILON, FLOOR, FOUND, NEARLY, TIED, Certainty
from fastflow.kernels.vectors.revealing import reveal_rank

SPARE_BITS = 100
"""Bits of lam beyond those that the smallest distance from an end needs."""

PRIMAL_BITS = 160
"""Bits of x below its largest entry, in ``y - A x``."""

EASY = 1e9
"""``(u/alpha)^k`` up to which a start is taken from doubles."""

FIRST_JUMP = 24
"""Bits of c by which starts first shrink from one problem of the continuation to the next."""

STEPS = 60
"""Newton steps for one start."""

SETTLED, MET = 1e-13, 1e-6
"""A step this small relative to x is the last, where z and ``A^T lam`` differ by this share of the distances at most."""

NEAR_SPAN = 1e-6
"""A column nearer to the span of others, relative to its norm, is dependent on them, exactly or but for round-off."""

ALONE, ALIGNED = 4, 1e-9
"""Steps of lam alone, at most, until ``A^T lam - z`` is this share of the distances on the pivots."""

LEFT = 0.1
"""What a step leaves at least of a distance, and of an entry that must keep its sign."""


class Start(NamedTuple):
    """The limit from starts multiplied by a power of 2, by doubles."""

    x: FloatArray
    steps: int


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


class Place(NamedTuple):
    """Where coordinates are: the distances of z from the ends of its domain, and their difference.

    Each has a small relative error of its own. One-sided coordinates have ``low`` and ``gap`` infinite.

    Attributes
    ----------
    up, low : arrays (n,), ``c_a - z`` and ``c_b + z``
    gap : array (n,), ``low - up``
    """

    up: FloatArray
    low: FloatArray
    gap: FloatArray

    @property
    def room(self) -> FloatArray:
        """The distances from the nearer ends."""
        return np.minimum(self.up, self.low)

    @property
    def in_middle(self) -> NDArray[np.bool_]:
        """Where the difference says more than the distances."""
        return np.isfinite(self.gap) & (np.abs(self.gap) < (self.up + self.low) / 2)

    def moved(self, change: FloatArray) -> Place:
        """Where z is larger by a change."""
        both = np.isfinite(self.gap)
        width = np.where(both, self.up + self.low, 1.0)
        gap = np.where(both, self.gap + 2 * change, self.gap)
        up, low = self.up - change, self.low + change
        middle = both & (np.abs(gap) < width / 2)
        return Place(
            np.where(middle, (width - gap) / 2, np.where(both & (low < up), width - low, up)),
            np.where(middle, (width + gap) / 2, np.where(both & (up < low), width - up, low)),
            np.where(middle | ~both, gap, low - up),
        )

    def point(self, depth: int) -> tuple[FloatArray, FloatArray]:
        """x and dx/dz, x without the cancellation of its two sides."""
        k, width = depth - 2, np.where(np.isfinite(self.gap), self.up + self.low, 1.0)
        u, v = ((k * side) ** (-1 / k) for side in (self.up, self.low))
        middle = self.in_middle
        ratio = np.where(
            middle, 2 * np.arctanh(np.where(middle, self.gap, 0.0) / width), np.log(self.low) - np.log(self.up)
        )
        ratio *= depth / k
        x = np.where(ratio > 0, u**depth, -(v**depth)) * -np.expm1(-np.abs(ratio))
        return x, depth * (u ** (2 * depth - 2) + v ** (2 * depth - 2))

    @classmethod
    def of(cls, depth: int, positive: FloatArray, negative: FloatArray, x: FloatArray) -> Place:
        """Where coordinates from these starts have this x."""
        k, both = depth - 2, negative > 0
        with np.errstate(divide="ignore"):
            up, low = (side ** float(-k) / k for side in vectors_at(depth, positive, negative, x))
        angles = angles_at(depth, positive, np.where(both, negative, positive), np.where(both, x, 0.0))[1]
        gap = np.where(both, (up + low) * np.copysign(np.tanh(angles), x), np.inf)
        return cls(up, low, gap)


class Ends(NamedTuple):
    """Where the domains of z end, c_a and c_b, as integers at ``bits``; 0 for an end that there is not."""

    upper: Integers
    lower: Integers
    bits: int

    def residual(self, z: Integers, place: Place) -> FloatArray:
        """``z`` less that of a place, measured from the nearer end, or from the middle; correctly rounded."""
        up, low, gap = (
            fixed(np.where(np.isfinite(part), part, 0.0), self.bits) for part in (place.up, place.low, place.gap)
        )
        twice = np.where(
            place.in_middle,
            2 * z - self.upper + self.lower - gap,
            np.where(place.up <= place.low, 2 * (z - self.upper + up), 2 * (z + self.lower - low)),
        )
        return floating(twice, self.bits + 1)


class _Step(NamedTuple):
    """One solve: the changes of z and lam, and the parts that make the error's estimate."""

    point: FloatArray
    dual: FloatArray


class Refinement:
    """One problem ``A x = y`` with A of full row rank, of coordinates with u(0) > 0.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y
    positive, negative : arrays (n,), u(0) > 0 and v(0) >= 0
    depth : int, L >= 3
    max_steps : int, Newton steps for all starts
    """

    def __init__(
        self,
        matrix: FloatArray,
        values: FloatArray,
        positive: FloatArray,
        negative: FloatArray,
        depth: int,
        max_steps: int,
    ) -> None:
        self.matrix, self.values, self.depth, self.k = matrix, values, depth, depth - 2
        self.positive, self.negative, self.max_steps = positive, negative, max_steps
        self.integers, self.matrix_bits = fixed_matrix(matrix)
        self.exact_values, self.value_bits = fixed_matrix(values)
        self.round_off = 64 * len(matrix) * EPSILON

    def run(self, find: Callable[[int], Generator[None, None, Start | None]]) -> Generator[None, None, Refined | None]:
        """The limit, or None where it is not found; yields between steps.

        Parameters
        ----------
        find : function of j that finds the limit from starts multiplied by ``2^j``, or None
        """
        x, j, total = np.zeros(0), 0, 0
        largest = max(self.positive.max(), self.negative.max())
        first = yield from find(0)
        if first is not None and not first.x.any():
            return None
        size = np.max(np.abs(first.x)) if first is not None else self._size()
        j = max(0, math.ceil(math.log2(size ** (1 / self.depth) / largest * EASY ** (-1 / self.k))))
        start = first if j == 0 else (yield from find(j))
        for _ in range(3):
            if start is not None or j == 0:
                break
            j += 4
            start = yield from find(j)
        if start is None:
            return None
        x, total = start.x, start.steps
        # The unit of lam: distances do not depend on the starts where entries have been found.
        reach = max(np.max(np.abs(x)) ** (1 / self.depth) * 8, largest)
        closest = reach ** (-self.k) / self.k
        columns = float(np.abs(self.matrix).sum(axis=0).max())
        self.bits = max(0, math.ceil(math.log2(columns / closest))) + SPARE_BITS
        dual = np.array([0] * len(self.values), object)
        jump = max(1, FIRST_JUMP // self.k)
        found = yield from self._newton(j, x, dual)
        total += found.steps
        while j > 0:
            if total > self.max_steps:
                return None
            smaller = max(0, j - jump)
            scaled = found.exact_dual * (1 << ((j - smaller) * self.k))
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
            [fixed_fraction(1 / (self.k * (Fraction(a) * 2**j) ** self.k), bits) if a > 0 else 0 for a in starts]
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
        for steps in range(1, STEPS + 1):
            yield
            x, slope = place.point(self.depth)
            largest = float(np.abs(x).max())
            system = _System(self.matrix, slope, self.round_off)
            apart = ends.residual(self._image(dual), place)
            for _ in range(ALONE):
                if np.max(np.abs(apart[system.columns]) / place.room[system.columns], initial=0) < ALIGNED:
                    break
                dual = dual + fixed(system.only_dual(apart), self.bits)
                apart = ends.residual(self._image(dual), place)
            noise = 8 * EPSILON * len(self.values) * np.linalg.norm(self.values)
            step = system.solve(self.residual(x), apart, noise)
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
            if settled or not np.isfinite(size):
                break
        return _Newton(place.point(self.depth)[0], place, dual, steps, settled)

    def _image(self, dual: Integers) -> Integers:
        image: Integers = dual @ self.integers
        return image

    def residual(self, x: FloatArray) -> FloatArray:
        """``y - A x``, exact but for what x has more than `PRIMAL_BITS` below its largest entry."""
        bits = max(PRIMAL_BITS - int(np.frexp(np.abs(x).max())[1]), self.value_bits - self.matrix_bits, 0)
        all_bits = bits + self.matrix_bits
        return floating(
            self.exact_values * (1 << (all_bits - self.value_bits)) - self.integers @ fixed(x, bits), all_bits
        )

    def _result(self, found: _Newton, steps: int) -> Refined:
        x, slope = found.place.point(self.depth)
        dual = floating(found.exact_dual, self.bits)
        sure = measure(self.matrix, self.values, x, slope, dual, found.place.room, exact=True)
        return Refined(x, dual, slope, steps, sure.error + 10 * SETTLED, sure.condition)


def measure(
    matrix: FloatArray,
    values: FloatArray,
    x: FloatArray,
    slope: FloatArray,
    dual: FloatArray,
    room: FloatArray,
    *,
    exact: bool = False,
) -> Certainty:
    """What `kernels.dual.certainty` estimates, more slowly and more sharply: entry by entry of ``A x - y``.

    Parameters
    ----------
    matrix : array (m, n), A
    values : array (m,), y
    x, slope : arrays (n,), the limit and dx/dz there
    dual : array (m,), lam
    room : array (n,), the distances of z from the ends of its domain
    exact : bool, whether z is known better than lam
    """
    largest = float(np.abs(x).max())
    if largest == 0:
        return Certainty(0.0, 1.0)
    round_off, size = 64 * len(matrix) * EPSILON, np.abs(matrix).T @ np.abs(dual)
    amplified = float(np.max(size * slope)) / largest
    found = np.abs(x) > FOUND * largest
    active = found | (room <= TIED * size)
    noise = 8 * EPSILON * (np.abs(matrix) @ np.abs(x) + np.abs(values)) + np.abs(matrix @ x - values)
    if not exact:
        noise += np.abs(matrix[:, ~active]) @ (EPSILON * size * slope)[~active]
    order = np.argsort(-np.abs(x), kind="stable")
    basis, weakest, dependent = _independent(matrix, order[active[order]])
    shortest = float(np.linalg.norm(matrix[:, active], axis=0).min())
    error = float(_System(matrix, slope, round_off).reach(noise).max())
    if weakest < NEAR_SPAN or not (dependent or exact):
        error = max(error, float(np.linalg.norm(noise)) / (weakest * shortest) if weakest > 0 else np.inf)
    # What is not quite tied may take the place of what was found, where that is hardly seen in A x.
    basis = _independent(matrix, order[found[order]])[0]
    for i in np.flatnonzero(~found & (room <= NEARLY * size)):
        length, tied = float(np.linalg.norm(matrix[:, i])), room[i] <= TIED * size[i]
        distance = float(np.linalg.norm(_apart(matrix[:, i] / length, basis)))
        if tied and distance < NEAR_SPAN and exact_rank(matrix[:, [*np.flatnonzero(found), i]]) <= basis.shape[1]:
            continue
        if basis.shape[1] < len(matrix):
            apart = distance if tied else max(distance, room[i] / size[i])
            error = max(error, float(np.linalg.norm(noise)) / (apart * length))
    error = FLOOR + 2 * error / largest
    if not dependent:
        return Certainty(error, max(1.0, 1 / weakest))
    return Certainty(error if exact else error + 8 * EPSILON * amplified, max(1.0, amplified))


def _independent(matrix: FloatArray, order: NDArray[np.intp]) -> tuple[FloatArray, float, bool]:
    """Of columns, an orthonormal basis; the least distance of one from the span of those before; and is one in it?

    Distances are relative to the norm of the column. Those that are in the span by exact arithmetic do not count.
    """
    weakest, dependent, basis, independent = 1.0, False, np.zeros((len(matrix), 0)), np.zeros(0, np.intp)
    for i in order:
        column = _apart(matrix[:, i] / np.linalg.norm(matrix[:, i]), basis)
        distance, together = float(np.linalg.norm(column)), np.append(independent, i)
        if basis.shape[1] == len(matrix) or (
            distance < NEAR_SPAN and exact_rank(matrix[:, together]) < len(together)
        ):
            dependent = True
            continue
        weakest, independent, basis = min(weakest, distance), together, np.column_stack([basis, column / distance])
    return basis, weakest, dependent


def _apart(vector: FloatArray, basis: FloatArray) -> FloatArray:
    """What of a vector is orthogonal to a basis."""
    for _ in range(2):
        vector = vector - basis @ (basis.T @ vector)
    return vector


class _Newton(NamedTuple):
    """Where Newton steps for one start have come to."""

    x: FloatArray
    place: Place
    exact_dual: Integers
    steps: int
    settled: bool


class _System:
    """The equations of a Newton step, factored: ``diag(weights) A^T = Q R diag(scales) U``."""

    def __init__(self, matrix: FloatArray, slope: FloatArray, round_off: float) -> None:
        self.m, self.weights = len(matrix), np.sqrt(slope)
        found = reveal_rank(matrix, self.weights, round_off)
        self.columns, self.rows, self.pivots = found.columns, found.rows, found.pivots
        self.square, self.upper = found.lower[found.columns], found.upper[:, found.rows]
        self.scales = self.weights[found.columns] * found.pivots
        scaled = found.lower * self.weights[:, None] / self.weights[found.columns]
        self.q, self.r = np.linalg.qr(scaled)

    def only_dual(self, apart: FloatArray) -> FloatArray:
        """The change of lam that makes ``A^T lam - z`` vanish on the pivots, whatever their sizes."""
        right = solve_triangular(self.square, -apart[self.columns], lower=True, unit_diagonal=True)
        return self._spread(solve_triangular(self.upper, right / self.pivots, unit_diagonal=True))

    def solve(self, residual: FloatArray, apart: FloatArray, noise: float) -> _Step:
        """The step for ``y - A x`` and ``A^T lam - z``; of the first, what is below noise is 0."""
        image = solve_triangular(self.upper.T, residual[self.rows], lower=True, unit_diagonal=True)
        image = np.where(np.abs(image) <= noise, 0.0, image) / self.scales
        inside = solve_triangular(self.r, image, trans="T")
        weighted = self.weights * apart
        point = self.q @ inside + (weighted - self.q @ (self.q.T @ weighted))
        point = point - self.q @ (self.q.T @ point - inside)
        right = solve_triangular(self.r, inside - self.q.T @ weighted) / self.scales
        dual = self._spread(solve_triangular(self.upper, right, unit_diagonal=True))
        return _Step(point / self.weights, dual)

    def reach(self, noise: FloatArray) -> FloatArray:
        """What errors of ``A x - y`` of these sizes, of any sign, can do to the entries of x that are pivots."""
        inverse = solve_triangular(self.upper.T, np.eye(len(self.rows)), lower=True, unit_diagonal=True)
        inverse = solve_triangular(self.square, inverse / self.pivots[:, None], lower=True, unit_diagonal=True, trans="T")
        reach: FloatArray = np.abs(inverse) @ noise[self.rows]
        return reach

    def _spread(self, part: FloatArray) -> FloatArray:
        whole = np.zeros(self.m)
        whole[self.rows] = part
        return whole
