"""What a flow is at a time within a step: the interpolants of the methods of `stabilised`."""

from __future__ import annotations

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_internal
from fastflow.kernels.flow.dormand_prince import ROWS, SLOPES, add_slopes
from fastflow.kernels.networks.vector_field import slope
from fastflow.kernels.vectors.combine import combine_at
from fastflow.kernels.vectors.layouts import address, keep

FIRST_ROW = ROWS[0]
"""Of the slope before the step."""


@jit_internal
def more_slopes(field, index, table, step, length):
    """The further slopes that the interpolant of `nonstiff_step` needs: after the step, before it is taken."""
    n, slopes = step.state.size, step.slopes
    for stage in range(table.stages + 1, table.slopes):
        add_slopes(
            step.a, 1.0, step.state, table.points[stage], -length, slopes, table.first[stage], stage, step.factors
        )
        slope(field, index, step.a, slopes[stage * n : (stage + 1) * n])


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
    """Write to ``step.a`` where `nonstiff_step` is after a share of its length."""
    nonstiff_weights(step.weights, table, share)
    first = table.first[table.stages]
    add_slopes(step.a, 1.0, step.state, step.weights, -length, step.slopes, first, table.slopes, step.factors)


@jit_internal
def stabilised_point(step, length, share):
    """Write to ``step.a`` where `stabilised_step` is after a share of its length: by Hermite's cubic."""
    x, y, h, i = share, 1 - share, length, np.intp
    sources = (
        address(step.state, i(0)),
        address(step.point, i(0)),
        address(step.gradient, i(0)),
        address(step.slope, i(0)),
    )
    factors = (y * y * (1 + 2 * x), x * x * (3 - 2 * x), -h * x * y * y, h * x * x * y)
    combine_at(address(step.a, i(0)), factors, sources, (), (), step.state.size)
    keep(step)
