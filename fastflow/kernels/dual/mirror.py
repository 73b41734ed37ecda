"""The mirror map of a diagonal network: where the gradient flow of a Hadamard product is, as a function of ``A^T lam``.

The flow of ``x = u^L - v^L`` (by ``u' = -g u^{L-1}``, ``v' = +g v^{L-1}``, ``g = A^T (A x - y)``) from ``u(0) = a``,
``v(0) = b`` depends on its past through ``z = A^T lam``, ``lam' = y - A x``, alone: ``u = U_a(z)``, ``v = U_b(-z)``,

* L = 1: ``U_a(z) = a + z``,
* L = 2: ``U_a(z) = a e^z``,
* L > 2: ``U_a(z) = (k (c_a - z))^{-1/k}``, ``k = L - 2``, ``c_a = a^{-k} / k``, for ``z < c_a``.

L need not be whole: the flow asks for ``u^{L-1}`` alone. Where ``1 < L < 2`` the last formula still solves it, for
``z > c_a``, now negative. At the end of that domain u is 0, which one side reaches in finite time where the other is to
grow beyond ``2^{1/(2-L)} a``; there ``u^{L-1}`` is not Lipschitz: u may stay 0 or leave, and there is no one flow.

For small a and L > 2 the entries that the flow has found lie so near the end of the domain that ``c_a - z`` is lost
when z is formed. So a coordinate is held by ``theta``, which runs over all numbers and in which both sides are exact
to the last few bits: with ``P = L/k`` and ``alpha^{-k} = (a^{-k} + b^{-k}) / 2``,

* L = 1: ``x = sides theta``, ``z = theta - rest``,
* L = 2: ``x = 2 a b sinh(2 theta)``, ``z = theta - rest``,
* L > 2: ``x = 2 alpha^L cosh^P(theta) sinh(P theta)``, ``z = (c_a - c_b)/2 + (c_a + c_b)/2 tanh(theta)``.

Starts a != b only shift z and change alpha. Where ``b = 0`` and L >= 2, v stays 0 and the coordinate has one side:
``x = a^L e^{2 P theta}``, ``z = c_a (1 - e^{-2 theta})`` (L = 2: ``x = a^2 e^{2 theta}``, ``z = theta``); a = 0 is its
mirror image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.dual.two_sided import inverse_of_two, move_two, point_of_two

BOTH, UP, DOWN, NEITHER = 2, 1, -1, 0
"""The sides of a coordinate: ``u^L - v^L``, ``u^L`` alone, ``-v^L`` alone, and none, where x stays 0. Of one side the
number is the sign of x."""


SHALLOWEST = 2.01
"""The least depth above 2: nearer to it P has no bound, and ``2^{-P}`` and ``e^{2 P theta}`` have no float."""


NEWTON_STEPS, STEEP_STEPS = 1, 4
"""Newton steps of `mirror_inverse` from L = 3 on, and below, where what is near in theta may be far in x."""


class Mirror(NamedTuple):
    """The mirror maps of n coordinates; arrays (n,), or (problems, n) for a stack of which `mirror_row` takes one.

    Attributes
    ----------
    depth : float, L, also where it is whole: kernels are compiled once
    sides : int array, `BOTH`, `UP`, `DOWN` or `NEITHER`
    scale : array, the factor of x (``2^{-P} alpha^L`` for two sides and L > 2)
    rest : array, theta where ``z = 0``
    upper, lower : arrays, ``c_a`` and ``c_b`` (L > 2)
    positive, negative : arrays, a and b

    Examples
    --------
    >>> mirror = ff.kernels.make_mirror(np.full(2, 0.1), np.full(2, 0.1), 2)
    >>> x, slope = np.zeros(2), np.zeros(2)
    >>> ff.kernels.mirror_point(mirror, np.zeros(2), x, slope)
    >>> x.tolist()  # the start: u = v
    [0.0, 0.0]
    """

    depth: float
    sides: np.ndarray
    scale: np.ndarray
    rest: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


def make_mirror(positive: np.ndarray, negative: np.ndarray | None, depth: float) -> Mirror:
    """`fastflow.kernels.make_mirror` of arrays that were checked: (n,) or (problems, n), C-contiguous in the result."""
    depth = float(depth)
    a = np.array(positive, np.float64, order="C")
    b = np.zeros_like(a) if negative is None else np.array(negative, np.float64, order="C")
    if depth == 1:
        sides = np.full(a.shape, UP if negative is None else BOTH, np.int8)
        return Mirror(depth, sides, np.ones_like(a), (a - b) / sides, np.zeros_like(a), np.zeros_like(a), a, b)
    both = (a > 0) & (b > 0)
    sides = np.where(both, BOTH, (a > 0) * UP + (b > 0) * DOWN).astype(np.int8)
    large, small, k = np.maximum(a, b), np.where(both, np.minimum(a, b), np.maximum(a, b)), depth - 2
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.where(both, (k or 1) / 2 * np.log(a / b), 0.0)
        if depth == 2:
            return Mirror(depth, sides, large * small, rest, np.full_like(a, np.inf), np.full_like(a, np.inf), a, b)
        scale = small**depth * np.where(both, (1 + (small / large) ** k) ** (-depth / k), 1.0)
        return Mirror(depth, sides, scale, rest, a ** float(-k) / k, b ** float(-k) / k, a, b)


@jit_inline
def mirror_row(mirrors, i):
    """The maps of problem i of a stack."""
    return Mirror(
        mirrors.depth,
        mirrors.sides[i],
        mirrors.scale[i],
        mirrors.rest[i],
        mirrors.upper[i],
        mirrors.lower[i],
        mirrors.positive[i],
        mirrors.negative[i],
    )


@jit_inline
def growth(depth):
    """P: x grows like ``e^{2 P theta}``."""
    return depth / (depth - 2) if depth > 2 else 1.0


@jit_internal
def all_two_sided(mirror):
    """Whether every coordinate has two sides, and depth is 2 or more: they go by whole vectors (`two_sided`)."""
    others = 0
    for sides in mirror.sides:
        others += sides != BOTH
    return others == 0 and mirror.depth >= 2


@jit
def mirror_point(mirror, theta, x, slope):
    """Evaluate x and its slope where the coordinates are.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    theta : array (n,)
    x, slope : arrays (n,) that are filled with x and ``dx/dz``, infinite where x is too large for a float
    """
    if all_two_sided(mirror):
        point_of_two(mirror, growth(mirror.depth), theta, x, slope)
        return
    depth = mirror.depth
    power = growth(depth)
    for i in range(theta.size):
        sides, scale = mirror.sides[i], mirror.scale[i]
        if depth == 1:
            x[i], slope[i] = sides * theta[i], sides
        elif sides == NEITHER:
            x[i], slope[i] = 0.0, 0.0
        elif sides != BOTH:
            large = math.exp(2 * sides * theta[i])
            value = scale * large**power
            x[i] = sides * value
            if depth == 2:
                slope[i] = 2 * value
            else:
                slope[i] = power * value * large / (mirror.upper[i] if sides == UP else mirror.lower[i])
        elif depth == 2:
            grown = math.expm1(2 * abs(theta[i]))
            x[i] = math.copysign(scale * (grown * (1 + 1 / (1 + grown))), theta[i])
            slope[i] = 2 * scale * (1 + grown + 1 / (1 + grown))
        else:
            large = math.exp(2 * abs(theta[i]))
            minus = math.expm1(-2 * power * abs(theta[i]))
            value = scale * (1 + large) ** power
            x[i] = math.copysign(-value * minus, theta[i])
            width = mirror.upper[i] + mirror.lower[i]
            slope[i] = power * value * (1 + large) * (1 + (1 + minus) / large) / width


@jit
def mirror_dual(mirror, theta, z):
    """Find z where the coordinates are: exact to the last bits of z, or of ``c_a`` and ``c_b`` near them.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    theta : array (n,)
    z : array (n,) that is filled
    """
    for i in range(theta.size):
        if mirror.depth <= 2 or mirror.sides[i] == NEITHER:
            z[i] = theta[i] - mirror.rest[i]
        elif mirror.sides[i] == UP:
            z[i] = -mirror.upper[i] * math.expm1(-2 * theta[i])
        elif mirror.sides[i] == DOWN:
            z[i] = mirror.lower[i] * math.expm1(2 * theta[i])
        else:
            rest = (mirror.upper[i] + mirror.lower[i]) / (1 + math.exp(2 * abs(theta[i])))
            z[i] = mirror.upper[i] - rest if theta[i] > 0 else rest - mirror.lower[i]


@jit
def mirror_theta(mirror, z, theta):
    """Find theta from z, near the ends of the domain with a loss that `mirror_move` has not.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    z : array (n,)
    theta : array (n,) that is filled; NaN where z is outside of the domain
    """
    for i in range(theta.size):
        theta[i] = mirror.rest[i]
    mirror_move(mirror, z, theta)


@jit
def mirror_move(mirror, change, theta):
    """Move to where z is larger by a change, without forming z.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    change : array (n,)
    theta : array (n,) that is moved; NaN where the domain ends before
    """
    if mirror.depth > 2 and all_two_sided(mirror):
        move_two(mirror, change, theta)
        return
    for i in range(theta.size):
        if mirror.depth <= 2 or mirror.sides[i] == NEITHER:
            theta[i] += change[i]
        elif mirror.sides[i] == UP:
            theta[i] -= 0.5 * math.log1p(-change[i] * math.exp(2 * theta[i]) / mirror.upper[i])
        elif mirror.sides[i] == DOWN:
            theta[i] += 0.5 * math.log1p(change[i] * math.exp(-2 * theta[i]) / mirror.lower[i])
        else:
            share = change[i] / (mirror.upper[i] + mirror.lower[i])
            large = math.exp(2 * theta[i])
            theta[i] += 0.5 * (math.log1p(share * (1 + 1 / large)) - math.log1p(-share * (1 + large)))


@jit
def mirror_inverse(mirror, boost, x, theta):
    """Find theta where ``boost x(theta)`` is x: exact but for two sides and L > 2, where it is off by at most 0.004.

    Parameters
    ----------
    mirror : Mirror of n coordinates
    boost : float > 0
    x : array (n,), of which one-sided coordinates must have their sign
    theta : array (n,) that is filled
    """
    depth = mirror.depth
    power = growth(depth)
    if all_two_sided(mirror):
        inverse_of_two(mirror, power, boost, NEWTON_STEPS if depth >= 3 else STEEP_STEPS, x, theta)
        return
    for i in range(theta.size):
        sides = mirror.sides[i]
        if depth == 1:
            theta[i] = x[i] / (boost * sides)
        elif sides == NEITHER:
            theta[i] = 0.0
        elif sides != BOTH:
            theta[i] = sides * math.log(sides * x[i] / (boost * mirror.scale[i])) / (2 * power)
        else:
            ratio = abs(x[i]) / (boost * mirror.scale[i])
            value = math.asinh(ratio * 0.5**power) / (2 * power)
            if depth > 2 and value > 0:
                # The asinh is right near 0, and off by (P - 1) log(2) / (2 P) far out: Newton steps for log x.
                for _ in range(NEWTON_STEPS if depth >= 3 else STEEP_STEPS):
                    large, minus = math.exp(2 * value), math.expm1(-2 * power * value)
                    share = -minus * (1 + large) / (2 * power * (large + 1 + minus))
                    value += share * math.log(ratio / (-minus * (1 + large) ** power))
            theta[i] = math.copysign(value, x[i])
