"""What a Newton step of `dual.limit` is made of: the slopes, how much of it is taken, how boost goes on."""

from __future__ import annotations

import math
from typing import NamedTuple

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.dual.mirror import BOTH, DOWN, NEITHER, UP, all_two_sided, growth
from fastflow.kernels.dual.two_sided import ROOM, secants_of_two, share_of_two

NEAR = 0.3
"""Within this of each other (in theta, by `unit`) x and z have met: the tangent serves better than the secant."""

# The places of `dual.limit.LimitWorkspace.numbers`.
BOOST, REDUCTION, SHARE, RESIDUAL, BEFORE, GAP, REACH, VALUES, MATRIX, SHORT = range(10)


class LimitPath(NamedTuple):
    """How fast boost goes to 1, how far past the largest x a step may take z, and when equations are rotated.

    ``shrink`` is the factor of log boost for a step at L = 2, ``reduction`` that of ``boost^(-k/L)`` at L > 2;
    ``overshoot`` is a distance in theta, by `unit`; ``rotates`` says whether every step rotates the equations by its
    own slopes, or only when nothing else helps; ``near`` is the distance of x and z, measured likewise, up to which
    tangents serve.
    """

    shrink: float
    reduction: float
    overshoot: float
    rotates: bool
    near: float = NEAR


@jit_inline
def unit(depth):
    """What distances in theta are measured by: 1, or, between L = 2 and 3, where P has no bound, ``3/P``."""
    return min(1.0, 3 / growth(depth))


@jit_inline
def on_its_side(sides, moved, x, depth):
    """A one-sided x keeps its sign: it loses at most nine tenths of itself."""
    if sides == BOTH or depth == 1:
        return moved
    return sides * max(sides * moved, 0.1 * abs(x))


@jit_internal
def next_boost(depth, path, numbers):
    """The logarithm of the next boost: nearer to 0, the faster the more of the last step could be taken."""
    now, share = numbers[BOOST], numbers[SHARE]
    if depth <= 2:
        factor = path.shrink if share > 0.9 else math.sqrt(path.shrink) if share > 0.5 else 1.0
        return now * factor if abs(now) > 1 else 0.0
    reduction = 1.0
    if share > 0.9:
        reduction = max(numbers[REDUCTION], path.reduction)
        numbers[REDUCTION] = min(reduction**1.5, 1e6)
    else:
        numbers[REDUCTION] = 0.0
        if share > 0.6:
            reduction = math.sqrt(path.reduction)
    return math.copysign(max(abs(now) - growth(depth) * unit(depth) * math.log(reduction), 0.0), now)


@jit_internal
def secants(mirror, boost, path, work):
    """The slopes of the lines through the curve at z and at x; how far apart these are, and the largest x."""
    depth, theta, other = mirror.depth, work.theta, work.other
    gap, largest = 0.0, 0.0
    two_sided = all_two_sided(mirror)
    if two_sided:
        gap, largest = secants_of_two(mirror, boost, path.near * unit(depth), work)
    for i in range(0 if two_sided else theta.size):
        sides = mirror.sides[i]
        work.slope[i] = boost * work.tangent[i]
        if depth == 1 or sides == NEITHER:
            continue
        largest = max(largest, abs(work.x[i]))
        apart = theta[i] - other[i]
        gap = max(gap, abs(apart))
        if abs(apart) > path.near * unit(depth):
            if depth > 2:
                apart = _dual_difference(mirror, i, sides, UP, math.exp(2 * theta[i]), math.exp(2 * other[i]))
            work.slope[i] = (boost * work.point[i] - work.x[i]) / apart
    work.numbers[GAP] = gap
    work.numbers[REACH] = math.log(largest / boost) + 2 * growth(depth) * unit(depth) * path.overshoot


@jit_inline
def _dual_difference(mirror, i, sides, sign, large, other):
    """``z(s) - z(t)``, L > 2, from ``large = e^{2s}`` and ``other = e^{2t}``; for sign `DOWN` of the mirrored map."""
    if sides == BOTH:
        return (mirror.upper[i] + mirror.lower[i]) * ((large - other) / ((1 + large) * (1 + other)))
    if sides == sign:
        return (mirror.upper[i] if sign == UP else mirror.lower[i]) * (1 / other - 1 / large)
    return (mirror.lower[i] if sign == UP else mirror.upper[i]) * (large - other)


@jit_internal
def share_of_step(mirror, log_scale, theta, change, reach):
    """The largest share of a change of z that takes no x past ``e^reach``, or no theta out by more than `unit`."""
    share = 1.0
    if mirror.depth == 1:
        return share
    rate = 1 / (2 * growth(mirror.depth))
    if all_two_sided(mirror):
        return share_of_two(mirror, log_scale, theta, change, unit(mirror.depth), rate, reach)
    for i in range(theta.size):
        sides, sign = mirror.sides[i], UP if change[i] > 0 else DOWN
        if sides != BOTH and sides != sign:
            continue
        out = sign * theta[i]
        far = max(out + unit(mirror.depth), rate * (reach - log_scale[i]))
        if mirror.depth == 2:
            room = far - out
        else:
            far = min(far, out + ROOM)
            room = _dual_difference(mirror, i, sides, sign, math.exp(2 * far), math.exp(2 * out))
        if room < share * abs(change[i]):
            share = room / abs(change[i])
    return share
