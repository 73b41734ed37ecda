"""Small dense products on flat, row-major storage, from the register tiles.

Everything below works on contiguous arrays and offsets into them, so that factors of any shapes share one buffer and
one compiled function. Arrays have one of two layouts, which Numba's types tell apart:

* one run: (elements,);
* one run per lane: (elements, lanes), lanes as many as a vector register holds. Offsets count elements in both.

An element of a product is one FMA chain in the order of the inner index, in either layout.
"""

from __future__ import annotations

import numpy as np
from numba.extending import overload

from fastflow.kernels.elementwise import vector_lanes
from fastflow.kernels.jit import jit, jit_inline
from fastflow.kernels.target import SHAPE
from fastflow.kernels.tiles import address, item_bytes, keep, lane_tile, tile, transpose_block

TILE_ROWS, TILE_VECTORS, LANE_TILE = SHAPE.tile_rows, SHAPE.tile_vectors, SHAPE.lane_tile
VECTOR_BYTES = SHAPE.vector_bytes


@jit_inline
def share(left, most):
    """What the next tile takes of what is left: no sliver at the end that is too thin to hide the latency of an FMA."""
    share = left
    if left >= 2 * most:
        share = most
    elif left > most:
        share = (left + 1) >> 1
    return share


@jit
def row_product(zero, c, a, a_row, a_col, b, m, k, n):
    """``C = A B`` of one run, C (m, n) and B (k, n) row-major, A (m, k) with two strides; at addresses, see `tile`."""
    size = item_bytes(zero)
    lanes = VECTOR_BYTES // size
    j = 0
    while j < n:
        vectors = share((n - j + lanes - 1) // lanes, TILE_VECTORS)
        tail = min(n - j, vectors * lanes) - (vectors - 1) * lanes
        i = 0
        while i < m:
            rows = share(m - i, TILE_ROWS)
            c_at, a_at = c + (i * n + j) * size, a + i * a_row * size
            tile(zero, rows, vectors, c_at, n, a_at, a_row, a_col, b + j * size, n, k, tail)
            i += rows
        j += vectors * lanes


@jit
def lane_product(zero, c, a, a_row, a_col, b, b_row, b_col, m, k, n):
    """``C = A B`` of one run per lane, C (m, n) row-major, A and B with two strides each; at addresses, see `tile`."""
    i = 0
    while i < m:
        rows = share(m - i, LANE_TILE)
        j = 0
        while j < n:
            columns = share(n - j, LANE_TILE)
            c_at = c + (i * n + j) * VECTOR_BYTES
            a_at, b_at = a + i * a_row * VECTOR_BYTES, b + j * b_col * VECTOR_BYTES
            lane_tile(zero, rows, columns, c_at, n, a_at, a_row, a_col, b_at, b_row, b_col, k)
            j += columns
        i += rows


@jit_inline
def transpose(c, c0, a, a0, rows, columns):
    """``C = A^T`` of one run, A (rows, columns) at ``a[a0:]``, C (columns, rows) at ``c[c0:]``."""
    lanes = vector_lanes(c)
    for i in range(0, rows, lanes):
        for j in range(0, columns, lanes):
            transpose_block(
                c,
                c0 + j * rows + i,
                rows,
                a,
                a0 + i * columns + j,
                columns,
                min(lanes, rows - i),
                min(lanes, columns - j),
            )


def multiply(c, c0, a, a0, b, b0, m, k, n):
    """``C = A B`` for A (m, k), B (k, n), C (m, n) at the given offsets; either layout."""
    raise TypeError("multiply is for compiled code; product_nn takes matrices")


def multiply_tn(c, c0, a, a0, b, b0, m, k, n):
    """``C = A^T B`` for A (k, m), B (k, n), C (m, n) at the given offsets; either layout."""
    raise TypeError("multiply_tn is for compiled code; product_tn takes matrices")


def multiply_nt(c, c0, a, a0, b, b0, m, k, n, scratch):
    """``C = A B^T`` for A (m, k), B (n, k), C (m, n) at the given offsets; either layout; ``scratch`` takes a B^T."""
    raise TypeError("multiply_nt is for compiled code; product_nt takes matrices")


@jit_inline
def _rows_at(c, c0, a, a0, a_row, a_col, b, b0, m, k, n):
    # The casts to intp strip Numba's literal types, each of which would compile the tiles anew.
    i = np.intp
    at_c, at_a, at_b = address(c, i(c0)), address(a, i(a0)), address(b, i(b0))
    row_product(c.dtype.type(0), at_c, at_a, i(a_row), i(a_col), at_b, i(m), i(k), i(n))
    keep(a)
    keep(b)


@jit_inline
def _lanes_at(c, c0, a, a0, a_row, a_col, b, b0, b_row, b_col, m, k, n):
    i = np.intp
    at_c, at_a, at_b = address(c, i(c0)), address(a, i(a0)), address(b, i(b0))
    lane_product(c.dtype.type(0), at_c, at_a, i(a_row), i(a_col), at_b, i(b_row), i(b_col), i(m), i(k), i(n))


@overload(multiply, inline="always")
def _multiply(c, c0, a, a0, b, b0, m, k, n):
    if c.ndim == 1:
        return lambda c, c0, a, a0, b, b0, m, k, n: _rows_at(c, c0, a, a0, k, 1, b, b0, m, k, n)
    return lambda c, c0, a, a0, b, b0, m, k, n: _lanes_at(c, c0, a, a0, k, 1, b, b0, n, 1, m, k, n)


@overload(multiply_tn, inline="always")
def _multiply_tn(c, c0, a, a0, b, b0, m, k, n):
    if c.ndim == 1:
        return lambda c, c0, a, a0, b, b0, m, k, n: _rows_at(c, c0, a, a0, 1, m, b, b0, m, k, n)
    return lambda c, c0, a, a0, b, b0, m, k, n: _lanes_at(c, c0, a, a0, 1, m, b, b0, n, 1, m, k, n)


@overload(multiply_nt, inline="always")
def _multiply_nt(c, c0, a, a0, b, b0, m, k, n, scratch):
    if c.ndim == 1:

        def of_one(c, c0, a, a0, b, b0, m, k, n, scratch):
            transpose(scratch, 0, b, b0, n, k)
            _rows_at(c, c0, a, a0, k, 1, scratch, 0, m, k, n)

        return of_one
    return lambda c, c0, a, a0, b, b0, m, k, n, scratch: _lanes_at(c, c0, a, a0, k, 1, b, b0, 1, k, m, k, n)


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
        multiply(c.ravel(), 0, flat(a), 0, flat(b.T), 0, m, k, n)
    return c


@jit
def flat(a):
    """The elements of an array in row-major order, as one contiguous dimension (a view where the layout allows)."""
    return np.ascontiguousarray(a).ravel()
