"""Small dense products on flat, row-major storage, from the register tiles.

Factors of any shapes share one buffer and one compiled function, so matrices are named by where they begin: by an array
and an offset (`multiply`), or by an address (`nn_at`), in either of the layouts of `fastflow.kernels.layouts`.

An element of a product is one FMA chain in the order of the inner index, in either layout.
"""

from __future__ import annotations

import numpy as np
from numba import types

from fastflow.kernels.jit import jit, jit_inline, jit_internal, kernel_overload_inline
from fastflow.kernels.layouts import address, item_bytes, keep, kind_of
from fastflow.kernels.target import SHAPE
from fastflow.kernels.tiles import (
    PANEL_DEPTH,
    TINY,
    lane_tile,
    pack_columns,
    pack_rows,
    panel_memory,
    tile,
    tiny_lane_product,
)

TILE_ROWS, TILE_VECTORS = SHAPE.tile_rows, SHAPE.tile_vectors
LANE_ROWS, LANE_COLUMNS = SHAPE.lane_rows, SHAPE.lane_columns
VECTOR_BYTES = SHAPE.vector_bytes

PACKED_ROWS = 16
"""From so many rows of A on, a panel of B is copied to where it is contiguous before it is multiplied (measured)."""


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
def row_product(zero, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n):
    """``C = A B`` of one run at addresses, C (m, n) with a row stride, A and B with two strides, one of B's being 1.

    Panels of B, of as many columns as a tile has, are taken from the last to the first and in blocks of `PANEL_DEPTH`
    rows, and packed where that pays: where columns lie along k, or do not fill a vector, or are used by many rows of A.
    """
    size = item_bytes(zero)
    lanes = VECTOR_BYTES // size
    panel = panel_memory(zero)
    left = (n + lanes - 1) // lanes
    while left > 0:
        vectors = share(left, TILE_VECTORS)
        left -= vectors
        j = left * lanes
        tail = min(n - j, vectors * lanes) - (vectors - 1) * lanes
        packs = b_col != 1 or tail < lanes or m >= PACKED_ROWS
        # A last vector that is not whole may spill into the row of C below, which is written later, if there is one.
        spills = c_row == n and n >= lanes and k <= PANEL_DEPTH
        first = 0
        while first < k:
            depth = min(k - first, PANEL_DEPTH)
            b_at, b_step = b + (first * b_row + j * b_col) * size, b_row
            if packs:
                if b_col == 1:
                    pack_rows(zero, panel, b_at, b_row, depth, vectors, tail)
                else:
                    for v in range(vectors):
                        columns = tail if v == vectors - 1 else lanes
                        source = b_at + v * lanes * b_col * size
                        pack_columns(zero, panel + v * VECTOR_BYTES, vectors * lanes, source, b_col, depth, columns)
                b_at, b_step = panel, vectors * lanes
            i = 0
            while i < m:
                rows = share(m - i, TILE_ROWS)
                written = lanes if spills and i + rows < m else tail
                c_at, a_at = c + (i * c_row + j) * size, a + (i * a_row + first * a_col) * size
                tile(zero, rows, vectors, c_at, c_row, a_at, a_row, a_col, b_at, b_step, depth, written, first > 0)
                i += rows
            first += depth


@jit_internal
def lane_product(zero, c, a, a_row, a_col, b, b_row, b_col, m, k, n):
    """``C = A B`` of one run per lane, C (m, n) row-major, A and B with two strides each; at addresses, see `tile`."""
    if m == k and k == n and 2 <= n <= TINY:
        tiny_lane_product(zero, n, c, a, a_col != 1, b, b_col != 1)
        return
    i = 0
    while i < m:
        rows = share(m - i, LANE_ROWS)
        j = 0
        while j < n:
            columns = share(n - j, LANE_COLUMNS)
            c_at = c + (i * n + j) * VECTOR_BYTES
            a_at, b_at = a + i * a_row * VECTOR_BYTES, b + j * b_col * VECTOR_BYTES
            lane_tile(zero, rows, columns, c_at, n, a_at, a_row, a_col, b_at, b_row, b_col, k)
            j += columns
        i += rows


def product_at(kind, c, a, a_row, a_col, b, b_row, b_col, m, k, n):
    """``C = A B`` at addresses: C (m, n) row-major, A[i, j] element ``i*a_row + j*a_col`` from ``a``, B likewise.

    One of B's strides must be 1.
    """
    raise TypeError("product_at is for compiled code; product_nn takes matrices")


@kernel_overload_inline(product_at)
def _product_at(kind, c, a, a_row, a_col, b, b_row, b_col, m, k, n):
    # The casts to intp strip Numba's literal types, each of which would compile the tiles anew.
    if isinstance(kind, types.Float):

        def of_one(kind, c, a, a_row, a_col, b, b_row, b_col, m, k, n):
            i = np.intp
            row_product(kind, c, i(n), a, i(a_row), i(a_col), b, i(b_row), i(b_col), i(m), i(k), i(n))

        return of_one

    def of_lanes(kind, c, a, a_row, a_col, b, b_row, b_col, m, k, n):
        i = np.intp
        lane_product(kind.zero, c, a, i(a_row), i(a_col), b, i(b_row), i(b_col), i(m), i(k), i(n))

    return of_lanes


@jit_inline
def nn_at(kind, c, a, b, m, k, n):
    """``C = A B`` at addresses, A (m, k) and B (k, n) row-major."""
    product_at(kind, c, a, k, 1, b, n, 1, m, k, n)


@jit_inline
def tn_at(kind, c, a, b, m, k, n):
    """``C = A^T B`` at addresses, A (k, m) and B (k, n) row-major."""
    product_at(kind, c, a, 1, m, b, n, 1, m, k, n)


@jit_inline
def nt_at(kind, c, a, b, m, k, n):
    """``C = A B^T`` at addresses, A (m, k) and B (n, k) row-major."""
    product_at(kind, c, a, k, 1, b, 1, k, m, k, n)


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


@jit
def product_nn(a, b):
    """``A B`` for matrices (m, k) and (k, n) of one float type; any memory layout.

    Returns
    -------
    array (m, n)
    """
    (m, k), n = a.shape, b.shape[1]
    if b.shape[0] != k:
        raise ValueError("product_nn: the inner dimensions differ")
    c = np.zeros((m, n), a.dtype)
    if m * k * n > 0:
        multiply(c.ravel(), 0, flat(a), 0, flat(b), 0, m, k, n)
    return c


@jit
def product_tn(a, b):
    """``A^T B`` for matrices (k, m) and (k, n) of one float type; any memory layout.

    Returns
    -------
    array (m, n)
    """
    (k, m), n = a.shape, b.shape[1]
    if b.shape[0] != k:
        raise ValueError("product_tn: the inner dimensions differ")
    c = np.zeros((m, n), a.dtype)
    if m * k * n > 0:
        multiply_tn(c.ravel(), 0, flat(a), 0, flat(b), 0, m, k, n)
    return c


@jit
def product_nt(a, b):
    """``A B^T`` for matrices (m, k) and (n, k) of one float type; any memory layout.

    Returns
    -------
    array (m, n)
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
