"""Hessian-vector products of chains.

For ``W = W_N ... W_1`` with prefixes ``P_j``, the gradient ``E`` by the product and the back-propagated ``S_N = E``,
``S_{j-1} = W_j^T S_j``, ``G_j = S_j P_{j-1}^T``, a direction V gives

    dP_j = V_j P_{j-1} + W_j dP_{j-1},   dS_N = E'(dP_N),   dS_{j-1} = V_j^T S_j + W_j^T dS_j,
    (H V)_j = dS_j P_{j-1}^T + S_j dP_{j-1}^T.

Where the sweep over suffixes is the cheaper one, the same is done to the transposed chain ``W_1^T ... W_N^T``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow.kernels.compile.jit import jit_internal
from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import LossWorkspace, loss_gradient, loss_hessian, loss_workspace
from fastflow.kernels.networks.chain import parameter_count, sweeps_from_left
from fastflow.kernels.networks.curvature import curve, visit
from fastflow.kernels.vectors.layouts import address, element_bytes, keep, kind_of
from fastflow.kernels.vectors.products import no_step, nt_at, product_at, transpose


class ChainCurvature(NamedTuple):
    """A point of a chain and memory for directions there; what `visit` and `curve` write is what they say.

    ``factors`` of the point and ``gradient`` there, (parameters,); ``partial`` P_j and ``swept`` S_j for j = 1 .. N one
    after the other, ``tangent`` the dP_j; ``sweep_a``, ``sweep_b``, ``scratch`` one matrix of any width each; ``end``
    and ``end_tangent`` the product and its derivative; ``loss`` and ``change`` for E and its derivative.
    """

    widths: np.ndarray
    factors: np.ndarray
    gradient: np.ndarray
    partial: np.ndarray
    tangent: np.ndarray
    swept: np.ndarray
    sweep_a: np.ndarray
    sweep_b: np.ndarray
    scratch: np.ndarray
    end: np.ndarray
    end_tangent: np.ndarray
    loss: LossWorkspace
    change: LossWorkspace


def chain_curvature(problem: NamedTuple, widths: ArrayLike, like: np.ndarray) -> ChainCurvature:
    """A `ChainCurvature` for factors of these widths, of the dtype of ``like``."""
    widths, dtype = np.asarray(widths, np.int64), like.dtype
    parameters, size = parameter_count.py_func(widths), int(widths[-1] * widths[0])
    total, square = int(widths.sum() * max(widths[0], widths[-1])), int(max(widths) ** 2)

    def room(length: int) -> np.ndarray:
        return np.zeros(length, dtype)

    return ChainCurvature(
        widths,
        room(parameters),
        room(parameters),
        room(total),
        room(total),
        room(total),
        room(square),
        room(square),
        room(square),
        room(size),
        room(size),
        loss_workspace(problem, size, dtype),
        loss_workspace(problem, size, dtype),
    )


# With ``flip`` the chain is the transposed one, of which factor j is the transpose of W_{N+1-j}.


@jit_internal
def _width(widths, j, flip):
    return widths[widths.size - 1 - j] if flip else widths[j]


@jit_internal
def _factor_place(widths, j, flip):
    """Where factor j of the chain lies in flat storage."""
    before = widths.size - 1 - j if flip else j - 1
    place = 0
    for k in range(before):
        place += widths[k + 1] * widths[k]
    return place


@jit_internal
def _sweep_place(widths, j, flip):
    """Where P_j and S_j lie among all of them."""
    place = 0
    for k in range(1, j):
        place += _width(widths, k, flip) * _width(widths, 0, flip)
    return place


@jit_internal
def _forth(kind, c, factor, b, rows, inner, columns, flip):
    """``C = W_j B`` at addresses, for factor j (rows, inner) of the chain, which is stored transposed if ``flip``."""
    if flip:
        product_at(kind, c, columns, factor, 1, rows, b, columns, 1, rows, inner, columns, no_step())
    else:
        product_at(kind, c, columns, factor, inner, 1, b, columns, 1, rows, inner, columns, no_step())


@jit_internal
def _back(kind, c, factor, b, rows, inner, columns, flip):
    """``C = W_j^T B``, see `_forth`."""
    if flip:
        product_at(kind, c, columns, factor, rows, 1, b, columns, 1, inner, rows, columns, no_step())
    else:
        product_at(kind, c, columns, factor, 1, inner, b, columns, 1, inner, rows, columns, no_step())


@jit_internal
def _outer(kind, c, s, p, rows, inner, columns, flip):
    """``C = S P^T`` at addresses, stored as factor j is; S (rows, columns), P (inner, columns)."""
    if flip:
        nt_at(kind, c, p, s, inner, columns, rows)
    else:
        nt_at(kind, c, s, p, rows, columns, inner)


@jit_internal
def _add(c, place, b, size):
    for i in range(size):
        c[place + i] += b[i]


@jit_internal
def _place(c, c0, a, a0, rows, columns, flip):
    """Copy a matrix to (rows, columns) from the layout of the same, or of its transpose if ``flip``."""
    if flip:
        transpose(c[c0:], a[a0:], columns, rows)
    else:
        for i in range(rows * columns):
            c[c0 + i] = a[a0 + i]


@jit_internal
def _stored_place(c, c0, a, a0, rows, columns, flip):
    """`_place` of a matrix (rows, columns) of the chain to where it is stored as factors are."""
    if flip:
        _place(c, c0, a, a0, columns, rows, flip)
    else:
        _place(c, c0, a, a0, rows, columns, flip)


@implements(visit, ChainCurvature, inline=True)
def _visit_chain(curvature, problem, index, weight):
    widths, factors, partial, swept = curvature.widths, curvature.factors, curvature.partial, curvature.swept
    gradient, end, end_gradient = curvature.gradient, curvature.end, curvature.loss.gradient
    kind, flip, depth = kind_of(factors), sweeps_from_left(widths), widths.size - 1
    size, columns = element_bytes(kind), _width(widths, 0, flip)
    i = np.intp
    w, p, s, g = address(factors, i(0)), address(partial, i(0)), address(swept, i(0)), address(gradient, i(0))
    _place(partial, 0, factors, _factor_place(widths, 1, flip), _width(widths, 1, flip), columns, flip)
    for j in range(2, depth + 1):
        rows, inner = _width(widths, j, flip), _width(widths, j - 1, flip)
        here, before = _sweep_place(widths, j, flip) * size, _sweep_place(widths, j - 1, flip) * size
        factor = w + _factor_place(widths, j, flip) * size
        _forth(kind, p + here, factor, p + before, rows, inner, columns, flip)
    last = _sweep_place(widths, depth, flip)
    _place(end, 0, partial, last, widths[depth], widths[0], flip)
    loss_gradient(problem, index, end, widths[0], curvature.loss)
    for k in range(end.size):
        end_gradient[k] *= weight
    _place(swept, last, end_gradient, 0, _width(widths, depth, flip), columns, flip)
    for j in range(depth, 1, -1):
        rows, inner = _width(widths, j, flip), _width(widths, j - 1, flip)
        here, before = _sweep_place(widths, j, flip) * size, _sweep_place(widths, j - 1, flip) * size
        factor = _factor_place(widths, j, flip) * size
        _outer(kind, g + factor, s + here, p + before, rows, inner, columns, flip)
        _back(kind, s + before, w + factor, s + here, rows, inner, columns, flip)
    _stored_place(gradient, _factor_place(widths, 1, flip), swept, 0, _width(widths, 1, flip), columns, flip)
    keep(factors)
    keep(partial)
    keep(swept)
    keep(gradient)
    return weight * curvature.loss.loss[0]


@implements(curve, ChainCurvature, inline=True)
def _curve_chain(curvature, problem, index, weight, direction, out):
    widths, factors, partial, swept = curvature.widths, curvature.factors, curvature.partial, curvature.swept
    tangent, end, change = curvature.tangent, curvature.end, curvature.change.gradient
    scratch, sweep_a, sweep_b, end_tangent = (
        curvature.scratch,
        curvature.sweep_a,
        curvature.sweep_b,
        curvature.end_tangent,
    )
    kind, flip, depth = kind_of(factors), sweeps_from_left(widths), widths.size - 1
    size, columns = element_bytes(kind), _width(widths, 0, flip)
    i = np.intp
    w, v, g = address(factors, i(0)), address(direction, i(0)), address(out, i(0))
    p, dp, s, extra = address(partial, i(0)), address(tangent, i(0)), address(swept, i(0)), address(scratch, i(0))
    _place(tangent, 0, direction, _factor_place(widths, 1, flip), _width(widths, 1, flip), columns, flip)
    for j in range(2, depth + 1):
        rows, inner = _width(widths, j, flip), _width(widths, j - 1, flip)
        here, before = _sweep_place(widths, j, flip), _sweep_place(widths, j - 1, flip)
        factor = _factor_place(widths, j, flip) * size
        _forth(kind, dp + here * size, v + factor, p + before * size, rows, inner, columns, flip)
        _forth(kind, extra, w + factor, dp + before * size, rows, inner, columns, flip)
        _add(tangent, here, scratch, rows * columns)
    _place(end_tangent, 0, tangent, _sweep_place(widths, depth, flip), widths[depth], widths[0], flip)
    loss_hessian(problem, index, end, end_tangent, widths[0], curvature.change)
    for k in range(end.size):
        change[k] *= weight
    _place(sweep_a, 0, change, 0, _width(widths, depth, flip), columns, flip)
    sweep, other = sweep_a, sweep_b
    for j in range(depth, 1, -1):
        rows, inner = _width(widths, j, flip), _width(widths, j - 1, flip)
        here, before = _sweep_place(widths, j, flip) * size, _sweep_place(widths, j - 1, flip) * size
        place = _factor_place(widths, j, flip)
        factor = place * size
        ds, next_ds = address(sweep, i(0)), address(other, i(0))
        _outer(kind, g + factor, ds, p + before, rows, inner, columns, flip)
        _outer(kind, extra, s + here, dp + before, rows, inner, columns, flip)
        _add(out, place, scratch, rows * inner)
        _back(kind, next_ds, w + factor, ds, rows, inner, columns, flip)
        _back(kind, extra, v + factor, s + here, rows, inner, columns, flip)
        _add(other, 0, scratch, inner * columns)
        sweep, other = other, sweep
    _stored_place(out, _factor_place(widths, 1, flip), sweep, 0, _width(widths, 1, flip), columns, flip)
    keep(factors)
    keep(direction)
    keep(partial)
    keep(tangent)
    keep(swept)
    keep(scratch)
    keep(sweep_a)
    keep(sweep_b)
    keep(out)
