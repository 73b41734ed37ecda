"""Runs in lanes brought to rows and back: every number where it belongs, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest

from fastflow.kernels.compile.jit import jit
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.vectors.transposes import lanes_from_rows, rows_from_lanes

BEFORE, BEHIND, UNUSED = 1, 2, 5
FIRST = np.arange(BEFORE, BEFORE + 64) % (BEFORE + BEHIND + 1)
"""Where numbers of each lane begin, where each has a place of its own."""


@jit
def to_rows(laid_out, places, rows, column):
    rows_from_lanes(laid_out, places, rows, column)


@jit
def to_lanes(laid_out, places, rows, column):
    lanes_from_rows(laid_out, places, rows, column)


@pytest.mark.parametrize("column", [BEFORE, FIRST], ids=["common", "of each lane"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1, 3, 4, 7, 8, 9, 16, 17, 50])
def test_rows_are_the_lanes_at_their_places(size, dtype, column):
    rng = np.random.default_rng(size)
    lanes = SHAPE.vector_bytes // np.dtype(dtype).itemsize
    laid_out = rng.standard_normal((size + UNUSED, lanes)).astype(dtype)
    places = rng.permutation(size + UNUSED)[:size].astype(np.int64)
    rows = np.full((lanes, BEFORE + size + BEHIND), np.nan, dtype)
    to_rows(laid_out, places, rows, column)
    expected = np.full_like(rows, np.nan)
    for lane, first in enumerate(np.broadcast_to(column, len(FIRST))[:lanes]):
        expected[lane, first : first + size] = laid_out[places, lane]
    np.testing.assert_array_equal(rows, expected)

    back = np.full_like(laid_out, np.nan)
    to_lanes(back, places, rows, column)
    expected = np.full_like(laid_out, np.nan)
    expected[places] = laid_out[places]
    np.testing.assert_array_equal(back, expected)
