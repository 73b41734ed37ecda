"""The mirror map where every coordinate has two sides, for L >= 2: whole vectors of coordinates at once.

The formulas are those of `mirror`; so are the names.
"""

from __future__ import annotations

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.vectors.elementary import asinh, exp, expm1, log, log1p, power
from fastflow.kernels.vectors.formulas import copysign, elementwise, elementwise_with_maxima, larger, smaller

ROOM = 12.0
"""How much further out theta goes at most: what a float can still tell from the end of the domain."""


@elementwise
def _point_at_2(theta, scale):
    grown = expm1(2 * abs(theta))
    shrunk = 1 / (1 + grown)
    return copysign(scale * (grown * (1 + shrunk)), theta), 2 * scale * (1 + grown + shrunk)


@elementwise
def _point_beyond_2(theta, scale, upper, lower, growth):
    large, minus = exp(2 * abs(theta)), expm1(-2 * growth * abs(theta))
    value = scale * power(1 + large, growth)
    slope = growth * value * (1 + large) * (1 + (1 + minus) / large) / (upper + lower)
    return copysign(-value * minus, theta), slope


@jit_inline
def point_of_two(mirror, growth, theta, x, slope):
    """`mirror.mirror_point`; growth is P."""
    if mirror.depth == 2:
        _point_at_2(theta.size, (theta, mirror.scale), (), (x, slope))
    else:
        _point_beyond_2(theta.size, (theta, mirror.scale, mirror.upper, mirror.lower), (growth,), (x, slope))


@elementwise
def _move(theta, change, upper, lower):
    share, large = change / (upper + lower), exp(2 * theta)
    return (theta + 0.5 * (log1p(share * (1 + 1 / large)) - log1p(-share * (1 + large))),)


@jit_inline
def move_two(mirror, change, theta):
    """`mirror.mirror_move` for L > 2."""
    _move(theta.size, (theta, change, mirror.upper, mirror.lower), (), (theta,))


@elementwise
def _inverse_of_sinh(x, scale, boost, growth, flat):
    return (copysign(asinh(abs(x) / (boost * scale) * flat) / (2 * growth), x),)


@elementwise
def _nearer(theta, x, scale, boost, growth):
    # A Newton step for log x.
    size = abs(theta)
    large, minus = exp(2 * size), expm1(-2 * growth * size)
    share = -minus * (1 + large) / (2 * growth * (large + 1 + minus))
    size = size + share * (log(abs(x) / (boost * scale) / -minus) - growth * log1p(large))
    return (copysign((abs(theta) > 0.0).choose(size, abs(theta)), x),)


@jit_inline
def inverse_of_two(mirror, growth, boost, newton_steps, x, theta):
    """`mirror.mirror_inverse`; growth is P, and there are Newton steps for L > 2."""
    _inverse_of_sinh(theta.size, (x, mirror.scale), (boost, growth, 0.5**growth), (theta,))
    if mirror.depth > 2:
        for _ in range(newton_steps):
            _nearer(theta.size, (theta, x, mirror.scale), (boost, growth), (theta,))


@elementwise_with_maxima(2)
def _secants_at_2(theta, other, x, point, tangent, boost, near):
    apart = theta - other
    slope = (abs(apart) > near).choose((boost * point - x) / apart, boost * tangent)
    return slope, abs(apart), abs(x)


@elementwise_with_maxima(2)
def _secants_beyond_2(theta, other, x, point, tangent, upper, lower, boost, near):
    apart = theta - other
    secant = (boost * point - x) / ((upper + lower) * _dual_share(exp(2 * theta), exp(2 * other)))
    return (abs(apart) > near).choose(secant, boost * tangent), abs(apart), abs(x)


def _dual_share(large, other):
    """``z(s) - z(t)`` over the width of the domain, from ``large = e^{2s}`` and ``other = e^{2t}``."""
    return (large - other) / ((1 + large) * (1 + other))


@jit_inline
def secants_of_two(mirror, boost, near, work):
    """Set the slopes of `limit_step.secants`, tangents where x and z are so near; how far these are apart at most, and
    the largest x.
    """
    points = (work.theta, work.other, work.x, work.point, work.tangent)
    if mirror.depth == 2:
        return _secants_at_2(work.theta.size, points, (boost, near), (work.slope,))
    return _secants_beyond_2(work.theta.size, (*points, mirror.upper, mirror.lower), (boost, near), (work.slope,))


def _far(out, log_scale, unit, rate, reach):
    """How far out theta may go."""
    return larger(out + unit, rate * (reach - log_scale))


@elementwise_with_maxima(1)
def _parts_at_2(theta, change, log_scale, unit, rate, reach):
    out = (change > 0.0).choose(theta, -theta)
    return (abs(change) / (_far(out, log_scale, unit, rate, reach) - out),)


@elementwise_with_maxima(1)
def _parts_beyond_2(theta, change, log_scale, upper, lower, unit, rate, reach):
    out = (change > 0.0).choose(theta, -theta)
    far = smaller(_far(out, log_scale, unit, rate, reach), out + ROOM)
    return (abs(change) / ((upper + lower) * _dual_share(exp(2 * far), exp(2 * out))),)


@jit_inline
def share_of_two(mirror, log_scale, theta, change, unit, rate, reach):
    """`limit_step.share_of_step`, for its ``rate``."""
    limits = (unit, rate, reach)
    if mirror.depth == 2:
        (parts,) = _parts_at_2(theta.size, (theta, change, log_scale), limits, ())
    else:
        (parts,) = _parts_beyond_2(theta.size, (theta, change, log_scale, mirror.upper, mirror.lower), limits, ())
    return 1 / max(1.0, parts)


@elementwise
def _logarithm(x):
    return (log(x),)


@jit_inline
def logarithms(x, out):
    """``out = log(x)``."""
    _logarithm(x.size, (x,), (), (out,))
