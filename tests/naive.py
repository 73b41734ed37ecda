"""The oracle: what fastflow computes, in plain NumPy, under the kernels' names.

Nothing here is clever, fast, or shared with the package: where the two agree, they agree for different reasons. Factors
are lists, first to last; ``W = W_N ... W_1``.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

import fastflow as ff

Factors = list[Any]
Step = float | np.ndarray | Callable[[int], float]


def product_nn(a, b):
    """``A B``."""
    return a @ b


def product_tn(a, b):
    """``A^T B``."""
    return a.T @ b


def product_nt(a, b):
    """``A B^T``."""
    return a @ b.T


def rounded(x: Fraction, bits: int) -> float:
    """The float of ``bits`` significant bits nearest to x, ties to even; for x in the normal range."""
    if x == 0:
        return 0.0
    shift = x.numerator.bit_length() - x.denominator.bit_length() - bits
    while abs(x) >= Fraction(2) ** (shift + bits):
        shift += 1
    while abs(x) < Fraction(2) ** (shift + bits - 1):
        shift -= 1
    return float(round(x / Fraction(2) ** shift) * Fraction(2) ** shift)


def fma_product(a, b):
    """``A B`` where each element is the chain ``acc = fma(a_ik, b_kj, acc)`` in the order of k, from 0."""
    bits = np.finfo(a.dtype).nmant + 1
    c = np.zeros((a.shape[0], b.shape[1]), a.dtype)
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            accumulator = 0.0
            for k in range(a.shape[1]):
                accumulator = rounded(Fraction(float(a[i, k])) * Fraction(float(b[k, j])) + Fraction(accumulator), bits)
            c[i, j] = accumulator
    return c


def chain_product(factors: Factors):
    """``W_N ... W_1``."""
    product = factors[0]
    for factor in factors[1:]:
        product = factor @ product
    return product


def chain_gradient(factors: Factors, end_gradient) -> Factors:
    """``G_j = (W_N ... W_{j+1})^T E (W_{j-1} ... W_1)^T`` from the definition, every product anew."""
    gradients = []
    for j in range(len(factors)):
        gradient = end_gradient
        for factor in reversed(factors[j + 1 :]):
            gradient = factor.T @ gradient
        for factor in factors[:j]:
            gradient = gradient @ factor.T
        gradients.append(gradient)
    return gradients


def multiplications(widths, *, from_left: bool) -> int:
    """Scalar multiplications of a sweep over suffixes (from the left) or prefixes and of the sweep back, counted."""
    count, depth = 0, len(widths) - 1
    for j in range(1, depth):  # the factor j + 1 from the right, the factor depth - j from the left
        if from_left:
            count += 3 * widths[depth] * widths[depth - j] * widths[depth - j - 1]
        else:
            count += 3 * widths[0] * widths[j] * widths[j + 1]
    return count


def balancedness_defects(factors: Factors) -> Factors:
    """``C_j = W_{j+1}^T W_{j+1} - W_j W_j^T``."""
    return [upper.T @ upper - lower @ lower.T for lower, upper in pairwise(factors)]


def chain_balancedness(factors: Factors) -> float:
    """``max_j ||C_j||_F``, 0 for one factor."""
    return max([float(np.sqrt(np.sum(defect**2))) for defect in balancedness_defects(factors)], default=0.0)


def loss_gradient(problem, product):
    """``1/2 sum r_i^2``, without the normalization, and its gradient by W."""
    gradient, loss = np.zeros_like(product), 0.0
    match problem:
        case ff.MatrixEstimation():
            gradient = product - problem.target
            loss = np.sum(gradient**2) / 2
        case ff.MatrixCompletion():
            for row, col, value in zip(problem.rows, problem.cols, problem.values, strict=True):
                gradient[row, col] = product[row, col] - value
                loss += gradient[row, col] ** 2 / 2
        case ff.MatrixSensing():
            for operator, value in zip(problem.operators, problem.values, strict=True):
                residual = np.sum(operator * product) - value
                gradient = gradient + residual * operator
                loss += residual**2 / 2
        case ff.LinearRegression():
            for x, y in zip(problem.inputs.T, problem.outputs.T, strict=True):
                residual = product @ x - y
                gradient = gradient + np.outer(residual, x)
                loss += np.sum(residual**2) / 2
        case _:
            raise TypeError(type(problem))
    return loss, gradient


def residual_count(problem) -> int:
    """How many residuals there are."""
    match problem:
        case ff.MatrixEstimation():
            return problem.target.size
        case ff.LinearRegression():
            return problem.outputs.size
        case _:
            return len(problem.values)


def weight(problem) -> float:
    """1 for the sum of squares over 2, 2/m for their mean."""
    return 2 / residual_count(problem) if problem.normalization == "mean" else 1.0


def loss(problem, factors: Factors) -> float:
    """The loss of a chain of factors, normalization and all."""
    return weight(problem) * loss_gradient(problem, chain_product(factors))[0]


def gradient(problem, factors: Factors) -> Factors:
    """The gradient of `loss` by every factor."""
    end_gradient = weight(problem) * loss_gradient(problem, chain_product(factors))[1]
    return chain_gradient(factors, end_gradient)


def hessian_times(problem, factors: Factors, direction: Factors) -> Factors:
    """The Hessian of `loss` by all factors times a direction: the exact polynomial in t of the gradient at
    ``factors + t direction``, differentiated at 0 through its values at Chebyshev points.

    The gradient is a polynomial in t of degree 2N - 1, so interpolation at 2N points loses nothing.
    """
    nodes = np.polynomial.chebyshev.chebpts1(2 * len(factors))
    flat = []
    for t in nodes:
        moved = [factor + t * change for factor, change in zip(factors, direction, strict=True)]
        flat.append(np.concatenate([part.ravel() for part in gradient(problem, moved)]))
    coefficients = np.polynomial.chebyshev.chebfit(nodes, np.array(flat), len(nodes) - 1)
    slope = np.polynomial.chebyshev.chebval(0.0, np.polynomial.chebyshev.chebder(coefficients, axis=0))
    bounds = np.cumsum([0, *(factor.size for factor in factors)])
    return [slope[a:b].reshape(f.shape) for (a, b), f in zip(pairwise(bounds), factors, strict=True)]


def numerical_gradient(function: Callable[[Factors], float], factors: Factors, width: float = 1e-3) -> Factors:
    """Five-point differences of a function of factors, entry by entry: error of the order ``width^4``."""
    gradients = [np.zeros_like(factor) for factor in factors]
    for j, factor in enumerate(factors):
        for entry in np.ndindex(factor.shape):

            def at(shift: float, j: int = j, entry: tuple[int, ...] = entry) -> float:
                moved = [f.copy() for f in factors]
                moved[j][entry] += shift
                return function(moved)

            central = (at(width) - at(-width)) * 8 - (at(2 * width) - at(-2 * width))
            gradients[j][entry] = central / (12 * width)
    return gradients


class Descent(NamedTuple):
    """A run of gradient descent: where it ended, how, and ``losses[k]`` and ``path[k]`` (factors) for every step k."""

    factors: Factors
    loss: float
    steps: int
    status: str
    losses: list[float]
    path: list[Factors]


def gradient_descent(
    problem, factors: Factors, step: Step, max_steps: int, tol: float = 0.0, gradient_tol: float = 0.0
) -> Descent:
    """``W_j <- W_j - step_k G_j`` to its end.

    At step k, in this order: the loss is not finite: "diverged"; it is at most tol: "converged"; the gradient norm is
    at most gradient_tol (0: never): "critical"; k is max_steps: "max steps"; the step changes no bit: "stalled" (but
    not with an explicit sequence, whose next step may be larger).
    """
    factors = [factor.copy() for factor in factors]
    losses, path = [], []
    k = 0
    while True:
        now = loss(problem, factors)
        losses.append(now)
        path.append([factor.copy() for factor in factors])
        if not np.isfinite(now):
            status = "diverged"
            break
        gradients = gradient(problem, factors)
        norm = np.sqrt(sum(np.sum(g**2) for g in gradients))
        if now <= tol:
            status = "converged"
            break
        if gradient_tol > 0 and norm <= gradient_tol:
            status = "critical"
            break
        if k >= max_steps:
            status = "max steps"
            break
        size = step(k) if callable(step) else step if np.ndim(step) == 0 else step[k]
        moved = [f - size * g for f, g in zip(factors, gradients, strict=True)]
        changed = any(np.any(after != before) for before, after in zip(factors, moved, strict=True))
        if not changed and not isinstance(step, np.ndarray):
            status = "stalled"
            break
        factors = moved
        k += 1
    return Descent(factors, losses[-1], k, status, losses, path)


# Diagonal networks: sides are u and, if signed, v; each a list of L vectors (n,)

Sides = list[list[Any]]


def descend_by(rule: str, gradients, factors: Factors, step: Step, count: int, alike: int = 1, **options) -> Factors:
    """So many steps of an update rule, by its textbook; ``gradients(factors)`` is a list like the factors.

    ``step`` is a number, or a function of k; ``alike`` is how many factors each of these stands for. Options are those
    of fastflow's methods.
    """
    factors = [np.array(factor, np.float64) for factor in factors]
    size = len(factors)
    first, second = [np.zeros_like(f) for f in factors], [np.zeros_like(f) for f in factors]
    shared, last, mu = 0.0, 0.0, options.get("weight_decay", 0.0)
    for k in range(count):
        h, g = step(k) if callable(step) else step, gradients(factors)
        norm = np.sqrt(alike * sum(np.sum(x**2) for x in g))
        match rule:
            case "momentum":
                b, nesterov = options["momentum"], options.get("nesterov", False)
                before, now = (max(k - 1, 0) / (k + 2), k / (k + 3)) if isinstance(b, str) else (b, b)
                g = [x + mu * f for x, f in zip(g, factors, strict=True)]
                first = [before * v - h * x for v, x in zip(first, g, strict=True)]
                for j in range(size):
                    factors[j] = factors[j] - h * g[j] + now * first[j] if nesterov else factors[j] + first[j]
            case "layerwise":
                moved = zip(factors, options["multiples"], g, strict=True)
                factors = [f - h * multiple * x for f, multiple, x in moved]
            case "sign":
                factors = [f - h * np.sign(x) for f, x in zip(factors, g, strict=True)]
            case "rmsprop":
                b = options["average"]
                for j in range(size):
                    first[j] = b * first[j] + (1 - b) * g[j] ** 2
                    factors[j] = (1 - h * mu) * factors[j] - h * g[j] / (np.sqrt(first[j]) + options["epsilon"])
            case "adam":
                b, c = options["averages"]
                for j in range(size):
                    first[j], second[j] = b * first[j] + (1 - b) * g[j], c * second[j] + (1 - c) * g[j] ** 2
                    mean, square = first[j] / (1 - b ** (k + 1)), second[j] / (1 - c ** (k + 1))
                    factors[j] = (1 - h * mu) * factors[j] - h * mean / (np.sqrt(square) + options["epsilon"])
            case "normalized":
                factors = [f - h / norm * x for f, x in zip(factors, g, strict=True)]
            case "shared-rate":
                b = options["average"]
                shared = b * shared + (1 - b) * norm**2
                h /= np.sqrt(shared / (1 - b ** (k + 1))) + options["epsilon"]
                factors = [f - h * x for f, x in zip(factors, g, strict=True)]
            case "barzilai-borwein":
                if k > 0:  # s = -last * old gradient, y = change of the gradient
                    s = np.concatenate([-last * x.ravel() for x in first])
                    y = np.concatenate([(x - old).ravel() for x, old in zip(g, first, strict=True)])
                    if s @ y > 0:
                        h = s @ s / (s @ y) if options["kind"] == "long" else s @ y / (y @ y)
                first, last = g, h
                factors = [f - h * x for f, x in zip(factors, g, strict=True)]
            case "sharpness-aware":
                away = [f + options["radius"] * x / norm for f, x in zip(factors, g, strict=True)]
                factors = [f - h * x for f, x in zip(factors, gradients(away), strict=True)]
            case "muon":
                b = options["momentum"]
                for j in range(size):
                    first[j] = b * first[j] + g[j]
                    left, _, right = np.linalg.svd(
                        g[j] + b * first[j] if options.get("nesterov") else first[j], full_matrices=False
                    )
                    factors[j] = (1 - h * mu) * factors[j] - h * left @ right
            case "weight-normalization":
                if k == 0:
                    first = [f / np.linalg.norm(f) for f in factors]
                    radii = [np.linalg.norm(f) for f in factors]
                for j in range(size):
                    r, u, length = radii[j], first[j], np.linalg.norm(first[j])
                    along = g[j] @ u / length
                    radii[j] = r - h * along
                    first[j] = u - h * options["ratio"] * r / length * (g[j] - along * u / length)
                    factors[j] = radii[j] * first[j] / np.linalg.norm(first[j])
            case _:
                raise ValueError(rule)
    return factors


def stabilised_step(slope, w, table, which: int, h: float):
    """The point, and the estimate of the error, of method ``which`` of a `Chebyshev` for ``w' = -slope(w)``."""
    rows = table.rows[table.first[which] : table.first[which + 1]]
    stages = [w, w - h * rows[1, 3] * slope(w)]
    for mu, nu, rest, move, lag, _, _ in rows[2:]:
        change = -h * (move * slope(stages[-1]) + lag * slope(w))
        stages.append(mu * stages[-1] + nu * stages[-2] + rest * w + change)
    slopes = [-h * slope(stage) for stage in stages]
    new = w + np.dot(rows[:, 5], slopes)
    return new, np.dot(rows[:, 6], slopes) - h * table.last[which] * slope(new)


def nonstiff_step(slope, w, h: float, shares, order: int):
    """The point, SciPy's estimate of the error, the interpolant at shares of a step, of DOP853 or RK45, and a rate.

    That is the change of the slope from the last stage to the end, over the change of the point.
    """
    from scipy.integrate import DOP853, RK45

    kind = {8: DOP853, 5: RK45}[order]
    solver = kind(lambda _, w: -slope(w), 0.0, w, h, first_step=h, rtol=1e3, atol=1e3)
    solver.step()
    assert solver.t == h
    size = len(w) ** 0.5  # the norm is a root mean square
    dense = solver.dense_output()
    error = size * solver._estimate_error_norm(solver.K, h, np.ones_like(w))
    last = w + h * solver.A[-1, : solver.n_stages - 1] @ solver.K[:-2]
    rate = np.linalg.norm(solver.K[-1] - solver.K[-2]) / np.linalg.norm(solver.y - last)
    return solver.y, error, [dense(share * h) for share in shares], rate


def hadamard_product(sides: Sides):
    """``u_1 o ... o u_L``, less ``v_1 o ... o v_L`` where there is a v."""
    products = [np.prod(side, axis=0) for side in sides]
    return products[0] - products[1] if len(sides) == 2 else products[0]


def hadamard_gradient(sides: Sides, g) -> Sides:
    """The gradient by every vector, from the definition, given the gradient ``g`` by the product."""
    return [
        [
            sign * g * np.prod([w for k, w in enumerate(side) if k != j] or [np.ones_like(g)], axis=0)
            for j in range(len(side))
        ]
        for sign, side in zip((1, -1), sides, strict=False)
    ]


def vector_loss_gradient(problem, x):
    """The loss of compressed sensing, normalization and all, and its gradient by x."""
    residual = problem.matrix @ x - problem.values
    scale = 2 / len(problem.values) if problem.normalization == "mean" else 1.0
    return scale * np.sum(residual**2) / 2, scale * problem.matrix.T @ residual


def diagonal_descent(problem, sides: Sides, step: float, count: int) -> tuple[Sides, list[float]]:
    """So many steps ``w <- w - step * gradient`` of every vector; the sides then, and the loss at every step."""
    losses = []
    for _ in range(count):
        loss, g = vector_loss_gradient(problem, hadamard_product(sides))
        losses.append(loss)
        gradients = hadamard_gradient(sides, g)
        sides = [[w - step * h for w, h in zip(*pair, strict=True)] for pair in zip(sides, gradients, strict=True)]
    losses.append(vector_loss_gradient(problem, hadamard_product(sides))[0])
    return sides, losses


# Diagonal networks x = u^L - v^L (signed) or u^L, in any arithmetic: numbers may be mpmath's.


def mirror_factor(start, z, depth: int):
    """``U_a(z)``: the factor that started at a >= 0, where the integral of its negative gradient is z."""
    if depth == 1:
        return start + z
    if start == 0:
        return start
    if depth == 2:
        return start * _exp(z)
    k = depth - 2
    return (start ** (-k) - k * z) ** (-_one(z) / k)


def mirror_point(positive, negative, z, depth: int):
    """``x(z)`` and ``x'(z)`` of one coordinate; ``negative`` is None for the network ``x = u^L``."""
    u = mirror_factor(positive, z, depth)
    x, slope = u**depth, depth * u ** (2 * depth - 2)
    if negative is not None:
        v = mirror_factor(negative, -z, depth)
        x, slope = x - v**depth, slope + depth * v ** (2 * depth - 2)
    return x, slope


def _exp(z):
    return z.context.exp(z) if hasattr(z, "context") else np.exp(z)


def _one(z):
    return z * 0 + 1


def exact_flow_limit(matrix, values, positive, negative, depth: int, x, digits: int = 200):
    """The limit of the flow to many digits: Newton for ``A x(z) = y``, ``z = A^T lam``, from near a given x.

    The solution is unique, so it does not depend on the x from which it is found. Returns floats, and raises
    ValueError where the equations are not solved.
    """
    import mpmath

    with mpmath.workdps(digits):
        mpf, a = mpmath.mpf, mpmath.matrix(np.asarray(matrix).tolist())
        y, n, m = mpmath.matrix(list(map(float, values))), a.cols, a.rows
        starts = [
            (mpf(float(p)), None if negative is None else mpf(float(negative[i]))) for i, p in enumerate(positive)
        ]
        z = mpmath.matrix([_exact_dual(*starts[i], float(x[i]), depth) for i in range(n)])
        lam = mpmath.matrix(m, 1)
        for _ in range(200):
            points = [mirror_point(*starts[i], z[i], depth) for i in range(n)]
            slopes = mpmath.diag([slope for _, slope in points])
            primal = y - a * mpmath.matrix([point for point, _ in points])
            dual = a.T * lam - z
            change = mpmath.lu_solve(a * slopes * a.T, primal - a * (slopes * dual))
            step, share = a.T * change + dual, mpf(1)
            while not all(_inside(*starts[i], z[i] + share * step[i], depth) for i in range(n)):
                share /= 2
            lam, z = lam + share * change, z + share * step
            if all(abs(step[i]) <= mpf(10) ** (-digits // 2) * max(map(abs, z)) for i in range(n)):
                break
        else:
            raise ValueError("no solution")
        return np.array([float(mirror_point(*starts[i], z[i], depth)[0]) for i in range(n)])


def _inside(start, other, z, depth: int) -> bool:
    k = depth - 2
    return k <= 0 or (k * z < start ** (-k) and (not other or -k * z < other ** (-k)))


def _exact_dual(start, other, x: float, depth: int):
    """The z of an x, to 30 digits, by bisection in the logarithm of the distance from the ends of its domain."""
    import mpmath

    def dual(t):
        if depth <= 2:
            return t
        k = depth - 2
        upper = start ** (-k) / k
        if not other:
            return upper * -mpmath.expm1(-2 * t)
        lower = other ** (-k) / k
        return upper - (upper + lower) / (1 + mpmath.exp(2 * t))

    low, high = mpmath.mpf(-1e7 if depth == 1 else -300), mpmath.mpf(1e7 if depth == 1 else 300)
    for _ in range(130):
        middle = (low + high) / 2
        if mirror_point(start, other, dual(middle), depth)[0] < x:
            low = middle
        else:
            high = middle
    return dual((low + high) / 2)


def flow(matrix, values, positive, negative, depth: int, times, **options):
    """x at a time, or at each of many, by the flow of the factors themselves; without v if its start is None."""
    from scipy.integrate import solve_ivp

    n, signed = matrix.shape[1], negative is not None

    def product(w):
        return w[:n] ** depth - w[n:] ** depth if signed else w**depth

    def velocity(_, w):
        g = matrix.T @ (matrix @ product(w) - values)
        u_rate = -g * w[:n] ** (depth - 1)
        return np.concatenate([u_rate, g * w[n:] ** (depth - 1)]) if signed else u_rate

    start = np.concatenate([np.broadcast_to(a, n) for a in (positive, negative) if a is not None])
    distinct, places = np.unique(times, return_inverse=True)
    solution = solve_ivp(velocity, (0, distinct[-1]), start, "LSODA", t_eval=distinct, **options)
    assert solution.success
    return np.array([product(w) for w in solution.y.T])[places.reshape(np.shape(times))]


def derivative(problem) -> np.ndarray:
    """The dense derivative M of the residuals by the entries of the unknown, (m, entries): residuals are affine."""
    zero = np.zeros(problem.shape)
    columns = []
    for entry in np.ndindex(problem.shape):
        unit = zero.copy()
        unit[entry] = 1
        columns.append(problem.residual(unit) - problem.residual(zero))
    return np.array(columns).T


def partial_fourier(n, rows):
    """The rows of the discrete Fourier transform that are measured, over the root of their number."""
    angles = np.outer(rows, np.arange(n)) * (2 * np.pi / n)
    return np.exp(-1j * angles) / np.sqrt(len(rows))


def partial_cosine(n, rows):
    """The rows of the orthonormal DCT-II times ``sqrt(n / m)``."""
    whole = np.sqrt(2 / n) * np.cos(np.pi * np.outer(np.arange(n), np.arange(n) + 0.5) / n)
    whole[0] /= np.sqrt(2)
    return np.sqrt(n / len(rows)) * whole[rows]


def circulant(kernel, rows):
    """``C_kj = kernel_{(k - j) mod n}``, the rows that are measured."""
    n = len(kernel)
    return np.array([[kernel[(k - j) % n] for j in range(n)] for k in rows])


def subsampled_hadamard(n, rows):
    """``(-1)^b / sqrt(m)``, b the number of binary digits that are 1 in both numbers."""
    return np.array([[(-1.0) ** (int(k) & j).bit_count() for j in range(n)] for k in rows]) / np.sqrt(len(rows))


def subtract_values(residuals, values):
    """``r - y`` in each row, and half of its squared norm."""
    left = residuals - values
    return left, 0.5 * np.sum(left**2, axis=1)
