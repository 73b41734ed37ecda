"""Chains of matrices ``W = W_N ... W_1``: their product, and the gradient of a function of it by every factor.

The factors of one run are one flat array: ``W_1`` first, each row-major, ``W_j`` of shape ``(widths[j], widths[j-1])``.
All but the workspace and the balancedness also work on one run per lane, arrays (elements, lanes). At addresses, rows
of the factors and of all that is derived from them can be padded; the product and the gradient by it never are.
With the gradient ``E`` by the product, ``G_j = (W_N ... W_{j+1})^T E (W_{j-1} ... W_1)^T``. A sweep of partial products
and a sweep back cost 3(N-1) products in all; they can run from either end:

* from the right, over prefixes ``P_j = W_j ... W_1``: everything has ``d_0`` columns;
* from the left, over suffixes ``Q_j = W_N ... W_{j+1}``: everything has ``d_N`` rows.

`sweeps_from_left` picks the cheaper one from the widths alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal
from fastflow.kernels.networks.chain_steps import step_behind, step_last, step_of_product
from fastflow.kernels.networks.tiny_chain import tiny_products, tiny_sweep_back, tiny_width
from fastflow.kernels.vectors.elementwise import copy_at, dot
from fastflow.kernels.vectors.inner import has_digits, norm
from fastflow.kernels.vectors.layouts import address, element_bytes, kind_of, pitch
from fastflow.kernels.vectors.products import no_step, product_at


class ChainWorkspace(NamedTuple):
    """Memory for the sweeps over one chain; its contents mean nothing between calls, but for those that say so.

    Attributes
    ----------
    product : array (d_N d_0,)
    partial : array, the partial products one after the other
    sweep_a, sweep_b : arrays, scratch for one matrix of any width
    gradient : array like the factors

    Examples
    --------
    >>> widths, factors = np.array([2, 2, 2]), np.array([1.0, 0, 0, 2, 3, 0, 0, 1])  # diag(1, 2), diag(3, 1)
    >>> work = ff.kernels.chain_workspace(widths, factors)
    >>> ff.kernels.chain_product(factors, widths, work)
    >>> work.product.tolist()
    [3.0, 0.0, 0.0, 2.0]
    >>> ff.kernels.chain_gradient(factors, widths, np.array([1.0, 0, 0, 0]), work)
    >>> work.gradient.tolist()
    [3.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """

    product: np.ndarray
    partial: np.ndarray
    sweep_a: np.ndarray
    sweep_b: np.ndarray
    gradient: np.ndarray


class ChainPlaces(NamedTuple):
    """Where a `ChainWorkspace` and the factors lie, as addresses: what the sweeps take.

    An array costs its reference count at each assignment and nine words at each call, as much as a product of tiny
    matrices. ``from_left`` says which sweep is the cheaper one, see `sweeps_from_left`; ``tiny`` is `tiny_width`.
    """

    factors: int
    product: int
    partial: int
    sweep_a: int
    sweep_b: int
    gradient: int
    from_left: bool
    tiny: int


@jit_inline
def chain_places(factors, widths, work):
    """The `ChainPlaces` of factors and workspace, which must be kept alive while they are in use."""
    return ChainPlaces(
        address(factors, 0),
        address(work.product, 0),
        address(work.partial, 0),
        address(work.sweep_a, 0),
        address(work.sweep_b, 0),
        address(work.gradient, 0),
        sweeps_from_left(widths),
        tiny_width(kind_of(factors), widths),
    )


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
    """`fastflow.kernels.parameter_count` of widths that are some."""
    count = 0
    for j in range(widths.size - 1):
        count += widths[j + 1] * widths[j]
    return count


@jit
def chain_workspace(widths, like):
    """`fastflow.kernels.chain_workspace` of widths that are some."""
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
        np.zeros(parameter_count(widths), dtype),
    )


@jit_internal
def chain_product_at(kind, widths, at):
    """Multiply factors of a `kind` of storage out, at the addresses of a `ChainPlaces`; the product is never padded."""
    depth = widths.size - 1
    if depth == 1:
        copy_rows(kind, at.product, widths[0], at.factors, pitch(kind, widths[0]), widths[1], widths[0])
    elif at.tiny > 0:
        tiny_products(kind, at.tiny, depth, at)
    elif at.from_left:
        _suffix_products(kind, widths, at)
    else:
        _prefix_products(kind, widths, at)


@jit_inline
def copy_rows(kind, c, c_row, a, a_row, rows, columns):
    """Copy a matrix at addresses from rows one distance apart to rows another distance apart."""
    size = element_bytes(kind)
    for i in range(rows):
        copy_at(kind, c + i * c_row * size, a + i * a_row * size, columns)


@jit_inline
def _prefix_products(kind, widths, at):
    # P_j (d_j, d_0) for j = 2 .. N-1 lie in partial one after the other; P_1 = W_1, P_N = product.
    size = element_bytes(kind)
    depth, columns = widths.size - 1, widths[0]
    last, target, row = at.factors, at.partial, pitch(kind, columns)
    c_row = row
    factor = at.factors + widths[1] * row * size
    for j in range(2, depth + 1):
        rows, inner = widths[j], widths[j - 1]
        if j == depth:
            target, c_row = at.product, columns
        product_at(kind, target, c_row, factor, pitch(kind, inner), 1, last, row, 1, rows, inner, columns, no_step())
        factor += rows * pitch(kind, inner) * size
        last = target
        target += rows * row * size


@jit_inline
def _suffix_products(kind, widths, at):
    # Q_j (d_N, d_j) for j = N-2 .. 1 lie in partial one after the other; Q_{N-1} = W_N, Q_0 = product.
    size = element_bytes(kind)
    depth, rows = widths.size - 1, widths[-1]
    factor = _last_factor(kind, widths, at)
    last, target = factor, at.partial
    for j in range(depth - 2, -1, -1):
        inner, columns = widths[j + 1], widths[j]
        row = pitch(kind, columns)
        factor -= inner * row * size
        c_row = row
        if j == 0:
            target, c_row = at.product, columns
        product_at(kind, target, c_row, last, pitch(kind, inner), 1, factor, row, 1, rows, inner, columns, no_step())
        last = target
        target += rows * row * size


@jit_inline
def _last_factor(kind, widths, at):
    """The address of W_N."""
    factor = at.factors
    for j in range(1, widths.size - 1):
        factor += widths[j] * pitch(kind, widths[j - 1]) * element_bytes(kind)
    return factor


@jit_internal
def chain_sweep_back(kind, widths, end_gradient, at, how, now):
    """The gradient by every factor, given that by the product; or, with ``now``, one step of each.

    Each gradient is used while it is hot. The gradient by the product is never padded. With ``now`` each factor takes
    its step as soon as the sweep has no more use for it, by a `chain_steps.BySteps` or `ByFormula`, which says ``how``;
    the gradient, the product and its partial products are left undefined: the sweep goes into the memory of those that
    it has used, so that a group of narrow chains stays in the first-level cache.
    """
    if widths.size == 2:
        copy_rows(kind, at.gradient, pitch(kind, widths[0]), end_gradient, widths[0], widths[1], widths[0])
        if now:
            step_last(how, kind, at.factors, at.gradient, widths[1], widths[0], False)
    elif at.tiny > 0:
        tiny_sweep_back(kind, at.tiny, widths.size - 1, end_gradient, at, how, now)
    elif at.from_left:
        _sweep_from_left(kind, widths, end_gradient, at, how, now)
    else:
        _sweep_from_right(kind, widths, end_gradient, at, how, now)


@jit_inline
def _sweep_from_right(kind, widths, end_gradient, at, how, now):
    size = element_bytes(kind)
    depth, columns = widths.size - 1, widths[0]
    row = pitch(kind, columns)
    # Both are behind what is used next: they come down by one matrix a turn.
    factor, prefix = at.factors + widths[1] * row * size, at.partial
    for j in range(2, depth + 1):
        factor += widths[j] * pitch(kind, widths[j - 1]) * size
        if j < depth:
            prefix += widths[j] * row * size
    sweep, sweep_row = end_gradient, columns
    spent, room = at.product, 0
    if row == columns:
        room = widths[depth] * columns
    for j in range(depth, 1, -1):
        rows, inner = widths[j], widths[j - 1]
        factor_row = pitch(kind, inner)
        factor -= rows * factor_row * size
        # S_{j-1} = W_j^T S_j, the last of which is G_1
        if j == 2 and not now:
            target = at.gradient
        elif now and inner * row <= room:
            target = spent
        elif j % 2 == 0:
            target = at.sweep_a
        else:
            target = at.sweep_b
        product_at(kind, target, row, factor, 1, factor_row, sweep, sweep_row, 1, inner, rows, columns, no_step())
        # G_j = S_j P_{j-1}^T
        gradient, step = at.gradient, no_step()
        if now:
            step = step_of_product(how, factor)
        else:
            gradient += factor - at.factors
        if j == 2:
            prefix = at.factors
        else:
            prefix -= inner * row * size
        product_at(kind, gradient, factor_row, sweep, sweep_row, 1, prefix, 1, row, rows, columns, inner, step)
        if now:
            step_behind(how, kind, factor, gradient, rows, inner)
        sweep, sweep_row = target, row
        spent, room = prefix, inner * row
    if now:  # the padding of S_1 is 0, as that of the gradient by the product is taken to be: it moves nothing
        step_last(how, kind, at.factors, sweep, widths[1], columns, True)


@jit_inline
def _sweep_from_left(kind, widths, end_gradient, at, how, now):
    size = element_bytes(kind)
    depth, rows = widths.size - 1, widths[-1]
    last = _last_factor(kind, widths, at)
    factor, suffix = at.factors, at.partial  # suffix is behind what is used next: it comes down by one matrix a turn
    for j in range(1, depth - 1):
        suffix += rows * pitch(kind, widths[j]) * size
    sweep, sweep_row = end_gradient, widths[0]
    spent, spent_row = at.product, widths[0]
    for j in range(1, depth):
        inner, columns = widths[j], widths[j - 1]
        row, target_row = pitch(kind, columns), pitch(kind, inner)
        # T_j = T_{j-1} W_j^T, the last of which is G_N
        if j == depth - 1 and not now:
            target = at.gradient + (last - at.factors)
        elif now and target_row <= spent_row:
            target = spent
        elif j % 2 == 0:
            target = at.sweep_a
        else:
            target = at.sweep_b
        product_at(kind, target, target_row, sweep, sweep_row, 1, factor, 1, row, rows, columns, inner, no_step())
        # G_j = Q_j^T T_{j-1}
        gradient, step = at.gradient, no_step()
        if now:
            step = step_of_product(how, factor)
        else:
            gradient += factor - at.factors
        if j == depth - 1:
            suffix = last
        else:
            suffix -= rows * target_row * size
        product_at(kind, gradient, row, suffix, 1, target_row, sweep, sweep_row, 1, inner, rows, columns, step)
        if now:
            step_behind(how, kind, factor, gradient, inner, columns)
        factor += inner * row * size
        sweep, sweep_row = target, target_row
        spent, spent_row = suffix, target_row
    if now:
        step_last(how, kind, last, sweep, rows, widths[depth - 1], False)


@jit_internal
def copy_factors(kind, widths, to, to_padded, source, source_padded):
    """Copy the factors of one run at addresses, each as a `kind` has them or without padding."""
    size = element_bytes(kind)
    for j in range(widths.size - 1):
        columns = widths[j]
        row = pitch(kind, columns)
        to_row = row if to_padded else columns
        source_row = row if source_padded else columns
        copy_rows(kind, to, to_row, source, source_row, widths[j + 1], columns)
        to += widths[j + 1] * to_row * size
        source += widths[j + 1] * source_row * size


@jit_internal
def step_factors(kind, widths, at, how):
    """Move all factors of a `ChainPlaces` by their gradients, as `chain_sweep_back` would."""
    place = 0
    for j in range(widths.size - 1):
        step_last(how, kind, at.factors + place, at.gradient + place, widths[j + 1], widths[j], False)
        place += widths[j + 1] * pitch(kind, widths[j]) * element_bytes(kind)


@jit_internal
def chain_balancedness(factors, widths, work):
    """Measure by how much neighbouring factors differ: ``max_j ||W_{j+1}^T W_{j+1} - W_j W_j^T||_F``.

    Parameters
    ----------
    factors : array (parameter_count(widths),)
    widths : int64 array (N + 1,), ``d_0 ... d_N``
    work : ChainWorkspace, whose scratch is used

    Returns
    -------
    float; 0 for one factor
    """
    # Not by register tiles: a record is seldom, and a kernel that has no other use for them would compile them for it.
    worst = 0.0
    at = 0
    upper, number = work.sweep_a, work.sweep_b
    for j in range(1, widths.size - 1):
        before, width, after = widths[j - 1], widths[j], widths[j + 1]
        upper_at = at + width * before
        upper[: width * width] = 0
        for row in range(after):
            first = upper_at + row * width
            for i in range(width):
                for k in range(width):
                    upper[i * width + k] += factors[first + i] * factors[first + k]
        total = 0.0
        for i in range(width):
            for k in range(width):
                dot(factors[at + i * before :], factors[at + k * before :], before, number)
                upper[i * width + k] -= number[0]
                total += np.float64(upper[i * width + k]) ** 2
        worst = max(worst, np.sqrt(total) if has_digits(total) else norm(upper[: width * width]))
        at = upper_at
    return worst
