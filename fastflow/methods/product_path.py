"""The balanced flow of the product, ``dW/dt = -A_W(E)``, on the matrices of one rank: a reference for that of layers.

W of rank k is kept as ``U S V^T``, with U (d_N, k) and V (d_0, k) orthonormal and S (k, k) invertible, so that no
round-off can change the rank; S by its root R, which has the singular vectors P, Q of S and the N-th roots sigma of its
singular values, so that small ones keep their digits. With ``F = P^T U^T E V Q``, entry by entry,

    R' = -P [ (s_r + s_s)/(sigma_r + sigma_s) (F + F^T)/2 + sum_j sigma_r^{N-j} sigma_s^{j-1} (F - F^T)/2 ] Q^T,
    U' = -(I - U U^T) E V Q sigma^{N-2} P^T,      V' = -(I - V V^T) E^T U P sigma^{N-2} Q^T,     s = sigma^N.

(``S' = U^T W' V``, and R is an odd function of S; ``(I - U U^T) A_W(E)`` keeps only the term j = N of A_W.) Nothing is
divided by what can vanish. Per evaluation: the gradient by W, the SVD of one (k, k) matrix, and some products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fastflow.checks import FloatArray
from fastflow.inits.base import balanced_factors
from fastflow.metrics import balancedness
from fastflow.networks import Chain
from fastflow.networks.singular_bases import eigenvalues
from fastflow.status import Status

if TYPE_CHECKING:
    from scipy.integrate import OdeSolver, Radau

REST = 1e-12
"""Where the gradient by the factors, relative to what its norm could be, counts as 0."""
SAFETY = 0.1
"""The tolerance of a step relative to the one that is asked for."""
FIRST = 1e-6
"""The first step, over the time in which the unknowns would double, where none is found."""
FINEST = 3e-14
"""The least tolerance that SciPy's solvers keep to."""
CHECKED, STIFF, TURNS = 20, 4.0, 12
"""After how many steps of the explicit method it is looked whether a step passes so many of the fastest times, by how
many turns of a power iteration. Where it does, stability and not accuracy bounds its steps."""
DIFFERENCE = 1e-7
"""The width of differences of the velocity, relative to all unknowns."""
PATIENCE = 10
"""How many Jacobians of the implicit method could be formed with what such steps have cost before it takes over."""


class Ends(NamedTuple):
    """When a flow ends: at t_max, a loss of tol, a gradient of gradient_tol (None: where rounding hides it), or after
    max_steps; its tolerances, ``atol`` relative to the scale.
    """

    t_max: float
    rtol: float
    atol: float
    tol: float
    gradient_tol: float | None
    max_steps: int


class Followed(NamedTuple):
    """Products at the times wanted, NaN where not reached; the unknowns and the time at the end; how it ended."""

    products: FloatArray
    end: FloatArray
    time: float
    status: Status
    steps: int


class Bases(NamedTuple):
    """P, sigma and Q^T of ``R = P sigma Q^T``, and the singular vectors ``U P`` and ``V Q`` of W."""

    first: FloatArray
    sigma: FloatArray
    second: FloatArray
    upper: FloatArray
    lower: FloatArray

    def product(self, depth: int) -> FloatArray:
        """W."""
        return (self.upper * self.sigma**depth) @ self.lower.T

    def split(self, slope: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """F, and what is normal to U of ``E V Q``, to V of ``E^T U P``."""
        forward, backward = slope @ self.lower, slope.T @ self.upper
        inner = self.upper.T @ forward
        return inner, forward - self.upper @ inner, backward - self.lower @ inner.T


def check_balanced(factors: Sequence[FloatArray]) -> None:
    """Refuse a start whose product has no flow of its own.

    Raises
    ------
    ValueError
        for factors that are not balanced
    """
    if not Chain.of(factors).balanced(factors):
        raise ValueError(
            "ProductFlow needs a balanced start, W_(j+1)^T W_(j+1) = W_j W_j^T; here they differ by "
            f"{float(balancedness(factors)):.2g}, so the product has no flow of its own: take inits.Balanced, or "
            "GradientFlow or GradientDescent, which take any start"
        )


class ProductPath:
    """The equation of one run: what its unknowns are, their velocity, and the product that they make.

    Parameters
    ----------
    gradient : function of W, E
    factors : the balanced start, (d_j, d_{j-1}) each

    Raises
    ------
    ValueError
        for a start that is not balanced, or 0
    """

    def __init__(self, gradient: Callable[[FloatArray], FloatArray], factors: Sequence[FloatArray]) -> None:
        self.gradient, self.depth = gradient, len(factors)
        self.shapes: list[tuple[int, ...]]
        check_balanced(factors)
        if self.depth == 1:
            self.shapes, self.start = [factors[0].shape], np.ravel(factors[0])
            return
        # From the factors, where roots are, not from their product, where small singular values lose their digits.
        frame, roots, self.right = np.linalg.svd(factors[0], full_matrices=False)
        kept = roots > max(map(max, (f.shape for f in factors))) * np.finfo(float).eps * roots[0]
        if not kept.any():
            raise ValueError("ProductFlow starts at W = 0, where it rests: take another scale")
        frame, roots, self.right = frame[:, kept], roots[kept], self.right[kept].T
        for factor in factors[1:]:
            frame = factor @ frame / roots
        first, _, second = np.linalg.svd(frame, full_matrices=False)
        self.left = first @ second
        self.roots = roots
        rank = len(roots)
        self.moves = [rank < len(side) for side in (self.left, self.right)]  # else U or V spans everything, and rests
        moving = [side for side, moves in zip(self.sides, self.moves, strict=True) if moves]
        self.shapes = [(rank, rank), *(side.shape for side in moving)]
        self.start = np.concatenate([np.diag(roots).ravel(), *(side.ravel() for side in moving)])

    @property
    def sides(self) -> list[FloatArray]:
        """U and V at the start."""
        return [self.left, self.right]

    def parts(self, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """R, U and V."""
        arrays, at = [], 0
        for shape in self.shapes:
            size = shape[0] * shape[1]
            arrays.append(y[at : at + size].reshape(shape))
            at += size
        root, *moving = arrays
        left, right = (moving.pop(0) if moves else side for side, moves in zip(self.sides, self.moves, strict=True))
        return root, left, right

    def bases(self, y: FloatArray) -> Bases:
        """The singular bases of R and of W, for N >= 2."""
        root, left, right = self.parts(y)
        first, sigma, second = np.linalg.svd(root)
        return Bases(first, sigma, second, left @ first, right @ second.T)

    def product(self, y: FloatArray) -> FloatArray:
        """W."""
        if self.depth == 1:
            return y.reshape(self.shapes[0])
        return self.bases(y).product(self.depth)

    def velocity(self, _: float, y: FloatArray) -> FloatArray:
        """The derivative of the unknowns by time; NaN, which solvers take for a step too long, where they overflow."""
        if not np.isfinite(y).all():
            return np.full_like(y, np.nan)
        if self.depth == 1:
            return -self.gradient(y.reshape(self.shapes[0])).ravel()
        bases = self.bases(y)
        first, sigma, second = bases[:3]
        inner, outer, across = bases.split(self.gradient(bases.product(self.depth)))
        values = sigma**self.depth
        total = sigma[:, None] + sigma
        even = (values[:, None] + values) / np.where(total > 0, total, 1)
        odd = eigenvalues(sigma, sigma, self.depth)[0]
        change = 0.5 * (even * (inner + inner.T) + odd * (inner - inner.T))
        velocities = [-(first @ change @ second).ravel()]
        power = sigma ** (self.depth - 2)
        if self.moves[0]:
            velocities.append(-((outer * power) @ first.T).ravel())
        if self.moves[1]:
            velocities.append(-((across * power) @ second).ravel())
        return np.concatenate(velocities)

    def gradient_norm(self, y: FloatArray) -> tuple[float, float]:
        """The norm ``sqrt(<E, A_W(E)>)`` of the gradient by the factors, and the largest possible for such E and W."""
        slope = self.gradient(self.product(y))
        if self.depth == 1:
            norm = float(np.linalg.norm(slope))
            return norm, norm
        bases = self.bases(y)
        inner, outer, across = bases.split(slope)
        weights = eigenvalues(bases.sigma**2, bases.sigma**2, self.depth)[0]
        ends = bases.sigma ** (2 * self.depth - 2)
        squares = np.sum(weights * inner**2) + np.sum(ends * outer**2) + np.sum(ends * across**2)
        return float(np.sqrt(squares)), float(np.sqrt(self.depth * ends[0]) * np.linalg.norm(slope))

    def held(self, y: FloatArray, before: FloatArray, floor: float) -> FloatArray | None:
        """The unknowns with every mode as it was turned a step before; None if all are.

        The flow takes no mode through 0, but round-off can, and there it may grow again. Modes below ``floor`` times
        the largest, whose singular vectors are no longer known, keep their directions at that size.
        """
        if self.depth == 1 or not np.isfinite(y).all():
            return None
        root = self.parts(y)[0]
        first, sigma, second = np.linalg.svd(root)
        earlier = np.linalg.svd(self.parts(before)[0])
        turned = first.T @ earlier[0] @ earlier[2] @ second.T
        sides, low = np.diag(turned), sigma < floor * sigma[0]
        if np.all(sides > np.where(low, 0.9, 0)):
            return None
        middle = np.diag(np.where(low, 0, np.sign(sides) * sigma))
        inner, _, outer = np.linalg.svd(turned[np.ix_(low, low)])
        middle[np.ix_(low, low)] = floor * sigma[0] * inner @ outer
        changed = y.copy()
        changed[: root.size] = (first @ middle @ second).ravel()
        return changed

    def rests(self, y: FloatArray, size: float, tol: float | None) -> bool:
        """Whether the gradient is at most tol, or counts as 0; ``size`` is ``||E||_F`` at W = 0."""
        norm, largest = self.gradient_norm(y)
        if tol is not None:
            return norm <= tol
        slope = np.linalg.norm(self.gradient(self.product(y)))
        return norm <= REST * largest or bool(slope <= 1e-2 * REST * size)

    def factors(self, y: FloatArray, widths: Sequence[int]) -> list[FloatArray]:
        """Balanced factors of the product."""
        if self.depth == 1:
            return [y.reshape(self.shapes[0])]
        bases = self.bases(y)
        (left, upper), (right, lower) = np.linalg.qr(bases.upper), np.linalg.qr(bases.lower)
        first, values, second = np.linalg.svd(upper * bases.sigma**self.depth @ lower.T)
        return balanced_factors(left @ first, values ** (1 / self.depth), second @ right.T, widths)


def follow(
    path: ProductPath, loss: Callable[[FloatArray], float], scale: float, times: FloatArray, ends: Ends
) -> Followed:
    """Follow a flow to its end: by DOP853, and from where stability bounds its steps by Radau IIA of order 5 (SciPy).

    Radau forms the Jacobian by differences, one evaluation of the velocity for each unknown, and factors it.

    Parameters
    ----------
    path : ProductPath
    loss : function of W
    scale : float, the size of W at the end, or at the start if that is larger
    times : array (times,), not decreasing; infinity stands for the end
    ends : Ends
    """
    solver = _Solver(path, scale, ends)
    products = np.full((len(times), *path.product(path.start).shape), np.nan)
    size = float(np.linalg.norm(path.gradient(np.zeros_like(path.product(path.start)))))
    done, status = 0, Status.RUNNING
    while True:
        while done < len(times) and times[done] <= solver.t:
            products[done] = path.product(solver.at(float(times[done])))
            done += 1
        product = path.product(solver.y) if np.isfinite(solver.y).all() else None
        if product is None:
            status = Status.DIVERGED
        elif loss(product) <= ends.tol:
            status = Status.CONVERGED
        elif path.rests(solver.y, size, ends.gradient_tol):
            status = Status.CRITICAL
        elif solver.t >= ends.t_max:
            status = Status.MAX_TIME
        elif solver.steps >= ends.max_steps:
            status = Status.MAX_STEPS
        elif not solver.step():
            status = Status.INACCURATE
        if status != Status.RUNNING:
            break
    if status in (Status.CONVERGED, Status.CRITICAL):
        products[done:] = product
    return Followed(products, solver.y, solver.t, status, solver.steps)


class _Solver:
    """Steps of SciPy's solvers, and the change from the explicit to the implicit one."""

    def __init__(self, path: ProductPath, scale: float, ends: Ends) -> None:
        from scipy.integrate import DOP853

        self.path, self.steps, self.suspect = path, 0, 0
        sizes, share = np.full(len(path.start), scale), 1.0
        if path.depth > 1:
            # Entries of R mix all modes, so the smallest is only as accurate as all of them are in comparison with it.
            least, root = float(path.roots.min()), scale ** (1 / path.depth)
            share = min(1.0, least / root)
            sizes[:] = 1
            sizes[: len(path.roots) ** 2] = np.clip(least, 1e-3 * root, root)
        rtol = max(SAFETY * ends.rtol * share, FINEST)
        self.options = {"rtol": rtol, "atol": SAFETY * ends.atol * sizes}
        self.floor = rtol
        self.is_explicit = True
        with np.errstate(over="ignore", invalid="ignore"):
            self.solver: OdeSolver = DOP853(path.velocity, 0.0, path.start, ends.t_max, **self.options)
        if not math.isfinite(self.solver.h_abs):  # the point where it looked for a first step overflowed
            self.solver.h_abs = FIRST * np.linalg.norm(path.start) / np.linalg.norm(self.solver.f)
        self.earlier = (0.0, path.start)
        self.vector = np.ones(len(path.start))

    @property
    def t(self) -> float:
        """The time."""
        return float(self.solver.t)

    @property
    def y(self) -> FloatArray:
        """The unknowns at the time."""
        unknowns: FloatArray = self.solver.y
        return unknowns

    def step(self) -> bool:
        """Go on by a step; False where none is small enough."""
        self.earlier = self.t, self.y
        with np.errstate(over="ignore", invalid="ignore"):
            self.solver.step()
            self.steps += 1
            held = self.path.held(self.y, self.earlier[1], self.floor) if self.solver.status != "failed" else None
            if held is not None:
                self.solver.y, self.solver.f = held, self.path.velocity(self.t, held)
            if self.solver.status == "running" and self.is_explicit and self.steps % CHECKED == 0:
                bound = self.solver.h_abs * self._fastest() > STIFF
                self.suspect = self.suspect + 1 if bound else 0
                if self.suspect * CHECKED * self.solver.n_stages >= PATIENCE * len(self.y):
                    self.solver = self._radau(self.t, self.y, self.solver.t_bound, self.solver.h_abs)
                    self.is_explicit = False  # of DOP853
        return bool(self.solver.status != "failed")

    def at(self, time: float) -> FloatArray:
        """The unknowns at a time since the earlier step, by steps of its own: no error is known of what joins steps."""
        from scipy.integrate import DOP853

        before, y = self.earlier
        if time >= self.t:
            return self.y
        if self.is_explicit:
            side = DOP853(self.path.velocity, before, y, time, first_step=time - before, **self.options)
        else:
            side = self._radau(before, y, time, time - before)
        with np.errstate(over="ignore", invalid="ignore"):
            while side.status == "running":
                side.step()
        reached: FloatArray = side.y if side.status == "finished" else np.full_like(y, np.nan)
        return reached

    def _radau(self, t: float, y: FloatArray, bound: float, first: float) -> Radau:
        from scipy.integrate import Radau

        first = min(first, bound - t)
        return Radau(self.path.velocity, t, y, bound, first_step=first, jac=self._jacobian, **self.options)

    def _jacobian(self, time: float, y: FloatArray) -> FloatArray:
        """The velocity's Jacobian by differences as wide as the unknowns are large together.

        SciPy's own are as wide as each unknown is large: of one near 0 they are round-off, and Newton fails.
        """
        rate, width = self.path.velocity(time, y), DIFFERENCE * np.linalg.norm(y)
        jacobian = np.empty((len(y), len(y)))
        for i in range(len(y)):
            moved = y.copy()
            moved[i] += width
            jacobian[:, i] = (self.path.velocity(time, moved) - rate) / width
        return jacobian

    def _fastest(self) -> float:
        """The largest eigenvalue of the velocity's Jacobian, in magnitude, by differences."""
        y, rate, largest = self.y, self.path.velocity(0.0, self.y), 0.0
        width = DIFFERENCE * np.linalg.norm(y)
        for _ in range(TURNS):
            self.vector /= np.linalg.norm(self.vector)
            self.vector = (self.path.velocity(0.0, y + width * self.vector) - rate) / width
            largest = float(np.linalg.norm(self.vector))
            if largest == 0:
                self.vector = np.ones(len(y))
                break
        return largest
