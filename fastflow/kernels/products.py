"""Small dense products on flat, row-major storage, from the register tile.

Everything below works on one-dimensional contiguous arrays and offsets into them: factors of any shapes then share
one buffer and one compiled function. An element of a product is one FMA chain in the order of the inner index.
"""

from __future__ import annotations

import numpy as np

from fastflow.kernels.jit import jit, jit_inline
from fastflow.kernels.simd import tile, vector_lanes
from fastflow.kernels.target import SHAPE

TILE_ROWS, TILE_VECTORS = SHAPE.tile_rows, SHAPE.tile_vectors


@jit
def strided_product(c, c0, a, a0, a_row, a_col, b, b0, m, k, n):
    """``C = A B`` with C (m, n) at ``c[c0:]``, B (k, n) at ``b[b0:]`` and ``A[i, l] = a[a0 + i*a_row + l*a_col]``."""
    lanes = vector_lanes(c)
    vectors = (n + lanes - 1) // lanes
    panels = (vectors + TILE_VECTORS - 1) // TILE_VECTORS
    blocks = (m + TILE_ROWS - 1) // TILE_ROWS
    v = 0
    for panel in range(panels):
        # Even shares, so that no panel and no block is left with a sliver too thin to hide the latency of an FMA.
        panel_vectors = (vectors - v + panels - panel - 1) // (panels - panel)
        j = v * lanes
        tail = min(n - j, panel_vectors * lanes) - (panel_vectors - 1) * lanes
        i = 0
        for block in range(blocks):
            rows = (m - i + blocks - block - 1) // (blocks - block)
            tile(rows, panel_vectors, c, c0 + i * n + j, n, a, a0 + i * a_row, a_row, a_col, b, b0 + j, n, k, tail)
            i += rows
        v += panel_vectors


@jit_inline
def multiply(c, c0, a, a0, b, b0, m, k, n):
    """``C = A B`` for A (m, k), B (k, n), C (m, n) at the given offsets."""
    # The casts strip Numba's literal types, each of which would compile the tiles anew.
    intp = np.intp
    strided_product(c, intp(c0), a, intp(a0), intp(k), intp(1), b, intp(b0), intp(m), intp(k), intp(n))


@jit_inline
def multiply_tn(c, c0, a, a0, b, b0, m, k, n):
    """``C = A^T B`` for A (k, m), B (k, n), C (m, n) at the given offsets."""
    intp = np.intp
    strided_product(c, intp(c0), a, intp(a0), intp(1), intp(m), b, intp(b0), intp(m), intp(k), intp(n))


@jit_inline
def copy(c, c0, a, a0, size):
    """``c[c0 + i] = a[a0 + i]`` for ``i < size``. (A slice assignment would compile Numba's formatting of its error.)"""
    for i in range(size):
        c[c0 + i] = a[a0 + i]


@jit_inline
def transpose(c, c0, a, a0, rows, columns):
    """``C = A^T`` with A (rows, columns) at ``a[a0:]`` and C (columns, rows) at ``c[c0:]``."""
    for i0 in range(0, rows, 8):
        for j in range(columns):
            for i in range(i0, min(i0 + 8, rows)):
                c[c0 + j * rows + i] = a[a0 + i * columns + j]


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
