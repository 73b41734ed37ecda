"""What a flow is at a time within a step: the interpolants of the methods of `stabilised`."""

from __future__ import annotations

from fastflow.kernels.compile.jit import jit, jit_internal
from fastflow.kernels.flow.dormand_prince import ROWS, SLOPES, add_slopes
from fastflow.kernels.flow.stabilised import FIRST_SLOPE, GRADIENT, HERE, POINT, SLOPE, STATE, place_of
from fastflow.kernels.vectors.combine import combine_at
from fastflow.kernels.vectors.layouts import keep

FIRST_ROW = ROWS[0]
"""Of the slope before the step."""


@jit_internal
def lay_out_further(table, step, length, stage):
    """Write the point of a further stage, which the interpolant of a `DormandPrince` needs, to `HERE`.

    After a step, before it is taken; ``table.stages < stage < table.slopes``. Its slope belongs in row ``stage``.
    """
    size, slopes = step.vectors.shape[1], place_of(step, FIRST_SLOPE)
    weights, first = table.points[stage], table.first[stage]
    here, state = place_of(step, HERE), place_of(step, STATE)
    add_slopes(here, 1.0, state, weights, -length, slopes, first, stage, step.factors, size)
    keep(step)


@jit
def nonstiff_weights(weights, table, share):
    """Write what slopes of `nonstiff_step` weigh at a share of its length, to order 7 or 4; in the order of `ROWS`."""
    x, y = share, 1 - share
    line, first, bend = x, x * y, x * x * y
    for k in range(SLOPES):
        weights[k] = (line - first + 2 * bend) * table.points[table.stages, k]
    weights[FIRST_ROW] += first - bend
    weights[table.stages] -= bend
    factor = bend
    for power in range(4):
        factor *= y if power % 2 == 0 else x
        for k in range(SLOPES):
            weights[k] += factor * table.dense[power, k]


@jit_internal
def nonstiff_point(table, step, length, share):
    """Write to `HERE` where the step of a `DormandPrince` is after a share of its length."""
    nonstiff_weights(step.weights, table, share)
    size, first = step.vectors.shape[1], table.first[table.stages]
    here, state, slopes = place_of(step, HERE), place_of(step, STATE), place_of(step, FIRST_SLOPE)
    add_slopes(here, 1.0, state, step.weights, -length, slopes, first, table.slopes, step.factors, size)
    keep(step)


@jit_internal
def stabilised_point(step, length, share):
    """Write to `HERE` where a stabilised step is after a share of its length: by Hermite's cubic."""
    x, y, h = share, 1 - share, length
    sources = (place_of(step, STATE), place_of(step, POINT), place_of(step, GRADIENT), place_of(step, SLOPE))
    factors = (y * y * (1 + 2 * x), x * x * (3 - 2 * x), -h * x * y * y, h * x * x * y)
    combine_at(place_of(step, HERE), factors, sources, (), (), step.vectors.shape[1])
    keep(step)
