"""Small dense products on flat, row-major storage, from the register tiles.

Factors of any shapes share one buffer and one compiled function, so matrices are named by where they begin: by an array
and an offset (`multiply`), or by an address (`nn_at`), in either of the layouts of `vectors.layouts`.

An element of a product is one FMA chain in the order of the inner index, in either layout.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import types

from fastflow.kernels.compile.arguments import check_array, check_like
from fastflow.kernels.compile.jit import jit, jit_inline, jit_internal, jit_public
from fastflow.kernels.compile.protocol import chooses, implements, protocol
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.layouts import (
    VECTOR_BYTES,
    OfLanes,
    Padded,
    address,
    is_padded,
    keep,
    kind_of,
    pitch,
)
from fastflow.kernels.vectors.row_tiles import row_tiles
from fastflow.kernels.vectors.team import SHARED_WORK, shared_tiles
from fastflow.kernels.vectors.tiles import lane_tile

LANE_ROWS, LANE_COLUMNS = SHAPE.lane_rows, SHAPE.lane_columns


@jit_inline
def share(left, most):
    """What the next tile takes of what is left: no sliver at the end that is too thin to hide the latency of an FMA."""
    share = left
    if left >= 2 * most:
        share = most
    elif left > most:
        share = (left + 1) >> 1
    return share


@jit_internal
def lane_product(zero, c, a, a_row, a_col, b, b_row, b_col, m, k, n, factor, steps, moved):
    """``C = A B`` of one run per lane, C (m, n) row-major, A and B with two strides each; at addresses, see `tile`.

    Where ``factor`` is not 0, see `row_tiles`.
    """
    i = 0
    while i < m:
        rows = share(m - i, LANE_ROWS)
        j = 0
        while j < n:
            columns = share(n - j, LANE_COLUMNS)
            place = (i * n + j) * VECTOR_BYTES
            a_at, b_at = a + i * a_row * VECTOR_BYTES, b + j * b_col * VECTOR_BYTES
            factor_at = factor + place if factor != 0 else 0
            lane_tile(
                zero, rows, columns, c + place, n, a_at, a_row, a_col, b_at, b_row, b_col, k, factor_at, steps, moved
            )
            j += columns
        i += rows


class Step(NamedTuple):
    """A step that a product is to take instead of being stored: the address of the factors (0: none), and the rest of
    `take_steps_at`."""

    factor: int
    steps: int
    moved: int


@jit_inline
def no_step():
    """A `Step` that is none."""
    return Step(np.intp(0), np.intp(0), np.intp(0))


@protocol
def product_at(kind, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, step):
    """``C = A B`` at addresses: C[i, j] element ``i*c_row + j`` from ``c``, A[i, j] element ``i*a_row + j*a_col`` from
    ``a``, B likewise.

    One of B's strides must be 1, and ``c_row`` must be n for lanes. ``step`` is a `Step`, for a ``c_row`` that is the
    `pitch` of n only; with one, C is undefined. Of matrices it is `product_nn`.
    """


# The casts to intp strip Numba's literal types, each of which would compile the tiles anew.


@implements(product_at, OfLanes, inline=True)
def _product_of_lanes(kind, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, step):
    i = np.intp
    w, s, moved = i(step.factor), i(step.steps), i(step.moved)
    lane_product(kind.zero, c, a, i(a_row), i(a_col), b, i(b_row), i(b_col), i(m), i(k), i(n), w, s, moved)


@chooses(product_at, types.Float, Padded, inline=True)
def _product_of_one(kind, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, step):
    padded = is_padded(kind)

    def of_one(kind, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, step):
        i, zero = np.intp, kind
        w, s, moved = i(step.factor), i(step.steps), i(step.moved)
        ar, ac, br, bc = i(a_row), i(a_col), i(b_row), i(b_col)
        row_tiles(zero, c, i(c_row), a, ar, ac, b, br, bc, i(m), i(k), i(n), False, False, w, s, moved)

    def of_team(kind, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, step):
        i, zero = np.intp, kind.zero
        whole = c_row == pitch(kind, n)
        w, s, moved = i(step.factor), i(step.steps), i(step.moved)
        ar, ac, br, bc = i(a_row), i(a_col), i(b_row), i(b_col)
        if m * k * n < SHARED_WORK:
            row_tiles(zero, c, i(c_row), a, ar, ac, b, br, bc, i(m), i(k), i(n), False, whole, w, s, moved)
        else:
            shared_tiles(zero, i(kind.team), c, i(c_row), a, ar, ac, b, br, bc, i(m), i(k), i(n), whole, w, s, moved)

    return of_team if padded else of_one


@jit_inline
def nn_at(kind, c, a, b, m, k, n):
    """``C = A B`` at addresses, A (m, k) and B (k, n) row-major."""
    product_at(kind, c, n, a, k, 1, b, n, 1, m, k, n, no_step())


@jit_inline
def tn_at(kind, c, a, b, m, k, n):
    """``C = A^T B`` at addresses, A (k, m) and B (k, n) row-major."""
    product_at(kind, c, n, a, 1, m, b, n, 1, m, k, n, no_step())


@jit_inline
def nt_at(kind, c, a, b, m, k, n):
    """``C = A B^T`` at addresses, A (m, k) and B (n, k) row-major."""
    product_at(kind, c, n, a, k, 1, b, 1, k, m, k, n, no_step())


@jit_inline
def multiply(c, c0, a, a0, b, b0, m, k, n):
    """``C = A B`` for A (m, k), B (k, n), C (m, n) at the given offsets in arrays of either layout."""
    i = np.intp
    nn_at(kind_of(c), address(c, i(c0)), address(a, i(a0)), address(b, i(b0)), m, k, n)
    keep(a)
    keep(b)


@jit_inline
def multiply_tn(c, c0, a, a0, b, b0, m, k, n):
    """``C = A^T B`` for A (k, m), B (k, n), C (m, n) at the given offsets in arrays of either layout."""
    i = np.intp
    tn_at(kind_of(c), address(c, i(c0)), address(a, i(a0)), address(b, i(b0)), m, k, n)
    keep(a)
    keep(b)


@jit_inline
def multiply_nt(c, c0, a, a0, b, b0, m, k, n):
    """``C = A B^T`` for A (m, k), B (n, k), C (m, n) at the given offsets in arrays of either layout."""
    i = np.intp
    nt_at(kind_of(c), address(c, i(c0)), address(a, i(a0)), address(b, i(b0)), m, k, n)
    keep(a)
    keep(b)


@jit
def transpose(c, a, rows, columns):
    """``C = A^T`` of flat arrays, A (rows, columns) row-major."""
    for i in range(rows):
        for j in range(columns):
            c[j * rows + i] = a[i * columns + j]


def _check_two(a: types.Type, b: types.Type) -> None:
    like = check_array("a", a, (2,))
    check_like("b", b, like, "a")


@jit_public(_check_two)
def product_nn(a, b):
    """``A B``, each element one FMA chain in the order of k, whatever the shapes.

    Parameters
    ----------
    a : array (m, k)
    b : array (k, n), of the same float type; any memory layouts

    Returns
    -------
    array (m, n)

    Raises
    ------
    TypeError, ValueError
        for other types, and where the inner dimensions differ

    Examples
    --------
    >>> a, b = np.array([[1.0, 2], [3, 4]]), np.array([[5.0, 6], [7, 8]])
    >>> ff.kernels.product_nn(a, b).tolist()
    [[19.0, 22.0], [43.0, 50.0]]
    """
    (m, k), n = a.shape, b.shape[1]
    if b.shape[0] != k:
        raise ValueError("product_nn: the inner dimensions differ")
    c = np.zeros((m, n), a.dtype)
    if m * k * n > 0:
        multiply(c.ravel(), 0, flat(a), 0, flat(b), 0, m, k, n)
    return c


@jit_public(_check_two)
def product_tn(a, b):
    """``A^T B``, each element one FMA chain in the order of k, whatever the shapes.

    Parameters
    ----------
    a : array (k, m)
    b : array (k, n), of the same float type; any memory layouts

    Returns
    -------
    array (m, n)

    Raises
    ------
    TypeError, ValueError
        for other types, and where the inner dimensions differ

    Examples
    --------
    >>> a, b = np.array([[1.0, 2], [3, 4]]), np.array([[5.0, 6], [7, 8]])
    >>> ff.kernels.product_tn(a, b).tolist()
    [[26.0, 30.0], [38.0, 44.0]]
    """
    (k, m), n = a.shape, b.shape[1]
    if b.shape[0] != k:
        raise ValueError("product_tn: the inner dimensions differ")
    c = np.zeros((m, n), a.dtype)
    if m * k * n > 0:
        multiply_tn(c.ravel(), 0, flat(a), 0, flat(b), 0, m, k, n)
    return c


@jit_public(_check_two)
def product_nt(a, b):
    """``A B^T``, each element one FMA chain in the order of k, whatever the shapes.

    Parameters
    ----------
    a : array (m, k)
    b : array (n, k), of the same float type; any memory layouts

    Returns
    -------
    array (m, n)

    Raises
    ------
    TypeError, ValueError
        for other types, and where the inner dimensions differ

    Examples
    --------
    >>> a, b = np.array([[1.0, 2], [3, 4]]), np.array([[5.0, 6], [7, 8]])
    >>> ff.kernels.product_nt(a, b).tolist()
    [[17.0, 23.0], [39.0, 53.0]]
    """
    (m, k), n = a.shape, b.shape[0]
    if b.shape[1] != k:
        raise ValueError("product_nt: the inner dimensions differ")
    c = np.zeros((m, n), a.dtype)
    if m * k * n > 0:
        multiply_nt(c.ravel(), 0, flat(a), 0, flat(b), 0, m, k, n)
    return c


@jit
def flat(a):
    """The elements of an array in row-major order, as one contiguous dimension (a view where the layout allows)."""
    return np.ascontiguousarray(a).ravel()
