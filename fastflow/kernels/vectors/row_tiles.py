"""Products of one run from the register tiles: panels of B, tiles of a panel, the order in which they are taken."""

from __future__ import annotations

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.compile.levels import LEVELS
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.layouts import CROWDED_BYTES, VECTOR_BYTES, item_bytes
from fastflow.kernels.vectors.tiles import (
    MOST_VECTORS,
    PANEL_BYTES,
    PANEL_DEPTH,
    PANELS,
    pack_columns,
    pack_rows,
    panel_memory,
    tile_column,
)

TILE_ROWS, TILE_VECTORS = SHAPE.tile_rows, SHAPE.tile_vectors
WIDE_ROWS = max(SHAPE.wide_rows, 1)

LARGE = LEVELS.second
"""Bytes of an A that is far away again before it meets the next panel of B (measured)."""

PACKED_ROWS = 16
"""From so many rows of A on, a panel of B is copied to where it is contiguous before it is multiplied (measured)."""


@jit_inline
def row_product(zero, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n):
    """``C = A B`` of one run at addresses, C (m, n) with a row stride, A and B with two strides, one of B's being 1."""
    o = np.intp(0)
    row_tiles(zero, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, False, False, o, o, o)


@jit_internal
def row_tiles(zero, c, c_row, a, a_row, a_col, b, b_row, b_col, m, k, n, resume, whole, factor, steps, moved):
    """`row_product`; with ``resume`` the chains go on from what C holds.

    With ``whole`` C has room for whole vectors in each row, and what is in that padding is undefined. Where ``factor``
    is not 0, it is the address of a W of the same form that takes a step by the product instead, see `tile_column`; C
    is then undefined.

    Panels of B, of as many columns as a tile has, share them evenly, and tiles of a panel the rows: a tile that is thin
    does not hide the latency of an FMA. Panels are taken from the last to the first and in blocks of `PANEL_DEPTH`
    rows, and packed where that pays: where columns lie along k, or where many rows of A use vectors that straddle cache
    lines or meet in few of its places. Where A is `LARGE`, each tile of its rows meets `PANELS` of them before the next
    tile does.
    """
    size = item_bytes(zero)
    lanes = VECTOR_BYTES // size
    memory = panel_memory(zero)
    whole_vectors = (n + lanes - 1) // lanes
    panels = (whole_vectors + MOST_VECTORS - 1) // MOST_VECTORS
    # The last panels of B, which come first, have one vector more.
    narrowest = whole_vectors // panels
    wider = whole_vectors - narrowest * panels
    # A last vector that is not whole may spill into the row of C below, which is written later, if there is one.
    spills = c_row == n and n >= lanes and k <= PANEL_DEPTH and not resume
    in_lines = (b | (b_row * size)) % VECTOR_BYTES == 0 and (b_row * size) % CROWDED_BYTES != 0
    together = PANELS if is_large(zero, m, k) else 1
    done = 0
    while done < panels:
        some = min(together, panels - done)
        tiles = (m + TILE_ROWS - 1) // TILE_ROWS
        if narrowest + (done < wider) > TILE_VECTORS:
            tiles = (m + WIDE_ROWS - 1) // WIDE_ROWS
        fewest = m // tiles
        fuller = m - fewest * tiles
        first = 0
        while first < k:
            depth = min(k - first, PANEL_DEPTH)
            for p in range(some):
                j, vectors, tail = _panel(done + p, whole_vectors, narrowest, wider, n, lanes)
                if _packs(b_col, in_lines, tail, lanes, m):
                    b_at = b + (first * b_row + j * b_col) * size
                    _pack(zero, memory + p * PANEL_BYTES, b_at, b_row, b_col, depth, vectors, tail)
            stepped = factor if first + depth == k else 0
            i = 0
            while i < m:
                rows, end = fewest, m
                if i < fuller * (fewest + 1):
                    rows, end = fewest + 1, fuller * (fewest + 1)
                count = (end - i) // rows
                if some > 1:
                    count = 1
                elif spills and count > 1 and end == m:
                    count -= 1  # nothing is below the last
                a_at = a + (i * a_row + first * a_col) * size
                for p in range(some):
                    j, vectors, tail = _panel(done + p, whole_vectors, narrowest, wider, n, lanes)
                    b_at, b_step = b + (first * b_row + j * b_col) * size, b_row
                    if _packs(b_col, in_lines, tail, lanes, m):
                        b_at, b_step = memory + p * PANEL_BYTES, vectors * lanes
                    place = (i * c_row + j) * size
                    written, factor_at = tail, 0
                    if stepped != 0:
                        factor_at = stepped + place
                    elif whole or (spills and i + count * rows < m):
                        written = lanes
                    tile_column(
                        zero,
                        count,
                        rows,
                        vectors,
                        tail,
                        c + place,
                        c_row,
                        a_at,
                        a_row,
                        a_col,
                        b_at,
                        b_step,
                        depth,
                        written,
                        resume or first > 0,
                        factor_at,
                        steps,
                        moved,
                    )
                i += count * rows
            first += depth
        done += some


@jit_inline
def _panel(number, whole_vectors, narrowest, wider, n, lanes):
    """The first column of a panel of B, counted from the last one, its vectors, and the columns of the last of them."""
    vectors = narrowest + (number < wider)
    j = (whole_vectors - (number + 1) * narrowest - min(number + 1, wider)) * lanes
    return j, vectors, min(n - j, vectors * lanes) - (vectors - 1) * lanes


@jit_inline
def is_large(zero, m, k):
    """Whether an A (m, k) is far away again before it meets the next panel of B."""
    return m * k * item_bytes(zero) >= LARGE


@jit_inline
def _packs(b_col, in_lines, tail, lanes, m):
    """Whether a panel of B is packed."""
    return b_col != 1 or (not in_lines and (tail < lanes or m >= PACKED_ROWS))


@jit_inline
def _pack(zero, panel, b, b_row, b_col, depth, vectors, tail):
    """Copy a panel of B, at an address, to where it is contiguous."""
    size = item_bytes(zero)
    lanes = VECTOR_BYTES // size
    if b_col == 1:
        pack_rows(zero, panel, b, b_row, depth, vectors, tail)
    else:
        lines = depth
        if (b | (b_col * size)) % VECTOR_BYTES == 0:  # what is read behind the last is in the same row
            lines = (depth + lanes - 1) // lanes * lanes
        for v in range(vectors):
            columns = tail if v == vectors - 1 else lanes
            source = b + v * lanes * b_col * size
            pack_columns(zero, panel + v * VECTOR_BYTES, vectors * lanes, source, b_col, lines, columns)
