"""Chains of matrices ``W = W_N ... W_1``: their product, and the gradient of a function of it by every factor.

The factors of one run are one flat array: ``W_1`` first, each row-major, ``W_j`` of shape ``(widths[j], widths[j-1])``.
All but the workspace and the balancedness also work on one run per lane, arrays (elements, lanes).
With the gradient ``E`` by the product, ``G_j = (W_N ... W_{j+1})^T E (W_{j-1} ... W_1)^T``. A sweep of partial products
and a sweep back cost 3(N-1) products in all; they can run from either end:

* from the right, over prefixes ``P_j = W_j ... W_1``: everything has ``d_0`` columns;
* from the left, over suffixes ``Q_j = W_N ... W_{j+1}``: everything has ``d_N`` rows.

`sweeps_from_left` picks the cheaper one from the widths alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.elementwise import copy, take_steps
from fastflow.kernels.jit import jit, jit_inline
from fastflow.kernels.products import multiply, multiply_nt, multiply_tn


class ChainWorkspace(NamedTuple):
    """Memory for the sweeps over one chain; its contents mean nothing between calls, but for those that say so.

    ``product`` (d_N d_0), ``partial`` the partial products one after the other, ``sweep_a``, ``sweep_b`` and
    ``transposed`` scratch for one matrix of any width, ``gradient`` like the factors.
    """

    product: np.ndarray
    partial: np.ndarray
    sweep_a: np.ndarray
    sweep_b: np.ndarray
    transposed: np.ndarray
    gradient: np.ndarray


@jit
def sweeps_from_left(widths):
    """Whether the sweep over suffixes is the cheaper one.

    It costs ``3 d_N sum_{j<N} d_j d_{j-1}`` multiplications, the one over prefixes ``3 d_0 sum_{j>1} d_j d_{j-1}``.
    """
    depth = widths.size - 1
    total = 0
    for j in range(depth):
        total += widths[j + 1] * widths[j]
    right = widths[0] * (total - widths[1] * widths[0])
    left = widths[depth] * (total - widths[depth] * widths[depth - 1])
    return left < right


@jit
def parameter_count(widths):
    """The number of entries of all factors together."""
    count = 0
    for j in range(widths.size - 1):
        count += widths[j + 1] * widths[j]
    return count


@jit
def chain_workspace(widths, like):
    """A `ChainWorkspace` for one run with factors of these widths, of the dtype of the array ``like``."""
    widest, total = 0, 0
    for width in widths:
        widest = max(widest, width)
        total += width
    square, ends = widest * widest, max(widths[0], widths[-1])
    dtype = like.dtype
    return ChainWorkspace(
        np.zeros(widths[-1] * widths[0], dtype),
        np.zeros(total * ends, dtype),
        np.zeros(square, dtype),
        np.zeros(square, dtype),
        np.zeros(square, dtype),
        np.zeros(parameter_count(widths), dtype),
    )


@jit_inline
def chain_product(factors, widths, work):
    """Write ``W_N ... W_1`` to ``work.product``, and what `chain_gradient` needs to ``work.partial``.

    Parameters
    ----------
    factors : array (parameter_count(widths),)
    widths : int64 array (N + 1,), ``d_0 ... d_N``
    work : ChainWorkspace
    """
    depth = widths.size - 1
    if depth == 1:
        copy(work.product, factors, len(factors))
    elif sweeps_from_left(widths):
        _suffix_products(factors, widths, work)
    else:
        _prefix_products(factors, widths, work)


@jit_inline
def _prefix_products(factors, widths, work):
    # P_j (d_j, d_0) for j = 2 .. N-1 lies in partial at d_0 * (d_2 + ... + d_{j-1}); P_1 = W_1, P_N = product.
    depth, columns = widths.size - 1, widths[0]
    last, last_at, at = factors, 0, 0
    factor_at = widths[1] * widths[0]
    for j in range(2, depth + 1):
        rows, inner = widths[j], widths[j - 1]
        if j == depth:
            target, at = work.product, 0
        else:
            target = work.partial
        multiply(target, at, factors, factor_at, last, last_at, rows, inner, columns)
        factor_at += rows * inner
        last, last_at = target, at
        at += rows * columns


@jit_inline
def _suffix_products(factors, widths, work):
    # Q_j (d_N, d_j) for j = N-2 .. 1 lies in partial at d_N * (d_{N-2} + ... + d_{j+1}); Q_{N-1} = W_N, Q_0 = product.
    depth, rows = widths.size - 1, widths[-1]
    factor_at = len(factors) - rows * widths[depth - 1]
    last, last_at, at = factors, factor_at, 0
    for j in range(depth - 2, -1, -1):
        inner, columns = widths[j + 1], widths[j]
        factor_at -= inner * columns
        if j == 0:
            target, at = work.product, 0
        else:
            target = work.partial
        multiply(target, at, last, last_at, factors, factor_at, rows, inner, columns)
        last, last_at = target, at
        at += rows * columns


@jit_inline
def chain_gradient(factors, widths, end_gradient, work):
    """Write the gradient by every factor to ``work.gradient``, given the gradient ``end_gradient`` by the product.

    `chain_product` must have run on the same factors and ``work`` before: its partial products are used.

    Parameters
    ----------
    factors : array (parameter_count(widths),)
    widths : int64 array (N + 1,), ``d_0 ... d_N``
    end_gradient : array (d_N * d_0,)
    work : ChainWorkspace
    """
    nothing = np.zeros(0, np.int64)
    chain_sweep_back(factors, widths, end_gradient, work, work.product, nothing, False)


@jit_inline
def chain_sweep_back(factors, widths, end_gradient, work, steps, moved, now):
    """`chain_gradient`; or, if ``now``, one step of gradient descent, in which each gradient is used while it is hot.

    With ``now`` each factor takes its step as soon as the sweep has no more use for it, ``work.gradient`` is left
    undefined, and ``steps`` and ``moved`` are those of `take_steps`; else these two are ignored.
    """
    depth = widths.size - 1
    if depth == 1:
        if now:
            take_steps(factors, 0, end_gradient, 0, steps, moved, len(factors))
        else:
            copy(work.gradient, end_gradient, len(factors))
    elif sweeps_from_left(widths):
        _sweep_from_left(factors, widths, end_gradient, work, steps, moved, now)
    else:
        _sweep_from_right(factors, widths, end_gradient, work, steps, moved, now)


@jit_inline
def _sweep_from_right(factors, widths, end_gradient, work, steps, moved, now):
    depth, columns = widths.size - 1, widths[0]
    factor_at = len(factors)
    partial_at = 0
    for j in range(2, depth):
        partial_at += widths[j] * columns
    sweep = end_gradient
    for j in range(depth, 1, -1):
        rows, inner = widths[j], widths[j - 1]
        factor_at -= rows * inner
        gradient_at = 0 if now else factor_at
        # G_j = S_j P_{j-1}^T
        if j == 2:
            prefix, prefix_at = factors, 0
        else:
            partial_at -= inner * columns
            prefix, prefix_at = work.partial, partial_at
        multiply_nt(work.gradient, gradient_at, sweep, 0, prefix, prefix_at, rows, columns, inner, work.transposed)
        # S_{j-1} = W_j^T S_j, the last of which is G_1
        if j == 2 and not now:
            target = work.gradient
        elif j % 2 == 0:
            target = work.sweep_a
        else:
            target = work.sweep_b
        multiply_tn(target, 0, factors, factor_at, sweep, 0, inner, rows, columns)
        if now:
            take_steps(factors, factor_at, work.gradient, 0, steps, moved, rows * inner)
        sweep = target
    if now:
        take_steps(factors, 0, sweep, 0, steps, moved, widths[1] * columns)


@jit_inline
def _sweep_from_left(factors, widths, end_gradient, work, steps, moved, now):
    depth, rows = widths.size - 1, widths[-1]
    factor_at = 0
    partial_at = 0
    for j in range(1, depth - 1):
        partial_at += widths[j] * rows
    sweep = end_gradient
    last_at = len(factors) - rows * widths[depth - 1]
    for j in range(1, depth):
        inner, columns = widths[j], widths[j - 1]
        gradient_at = 0 if now else factor_at
        # G_j = Q_j^T T_{j-1}
        if j == depth - 1:
            suffix, suffix_at = factors, last_at
        else:
            partial_at -= inner * rows
            suffix, suffix_at = work.partial, partial_at
        multiply_tn(work.gradient, gradient_at, suffix, suffix_at, sweep, 0, inner, rows, columns)
        # T_j = T_{j-1} W_j^T, the last of which is G_N
        target_at = 0
        if j == depth - 1 and not now:
            target, target_at = work.gradient, last_at
        elif j % 2 == 0:
            target = work.sweep_a
        else:
            target = work.sweep_b
        multiply_nt(target, target_at, sweep, 0, factors, factor_at, rows, columns, inner, work.transposed)
        if now:
            take_steps(factors, factor_at, work.gradient, 0, steps, moved, inner * columns)
        factor_at += inner * columns
        sweep = target
    if now:
        take_steps(factors, last_at, sweep, 0, steps, moved, rows * widths[depth - 1])


@jit_inline
def chain_balancedness(factors, widths, work):
    """``max_j ||W_{j+1}^T W_{j+1} - W_j W_j^T||_F`` of one run, 0 for one factor; uses the scratch in ``work``."""
    worst = 0.0
    at = 0
    for j in range(1, widths.size - 1):
        before, width, after = widths[j - 1], widths[j], widths[j + 1]
        upper_at = at + width * before
        upper, lower = work.sweep_a, work.sweep_b
        multiply_tn(upper, 0, factors, upper_at, factors, upper_at, width, after, width)
        multiply_nt(lower, 0, factors, at, factors, at, width, before, width, work.transposed)
        total = 0.0
        for i in range(width * width):
            total += np.float64(upper[i] - lower[i]) ** 2
        worst = max(worst, np.sqrt(total))
        at = upper_at
    return worst
