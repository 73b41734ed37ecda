"""Products of chains that threads without a run share: the same bits, whoever computes which part."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow.kernels.compile.jit import jit
from fastflow.kernels.networks import chain_group
from fastflow.kernels.vectors import team
from fastflow.kernels.vectors.aligned import CACHE_LINE, aligned_zeros
from fastflow.kernels.vectors.layouts import address, keep
from fastflow.methods import helping

WIDE = 100


@jit
def parts_of(m, k, n, workers):
    return team.parts_of(0.0, m, k, n, workers)


@jit
def in_parts(c, a, b, part, across, down):
    (m, k), n, o = a.shape, b.shape[1], np.intp(0)
    places = (address(c, 0), np.intp(n), address(a, 0), np.intp(k), np.intp(1), address(b, 0), np.intp(n), np.intp(1))
    team.part_tiles(0.0, part, across, down, *places, m, k, n, False, o, o, o)
    keep(a)
    keep(b)


def trained(depth, runs, threads, dtype=np.float64, width=WIDE, steps=12):
    rng = np.random.default_rng(depth)
    problem = ff.MatrixEstimation(rng.standard_normal((width + 3, width)) / width)
    method = ff.GradientDescent(1e-2, steps, tol=0.0)
    init = ff.inits.Gaussian(0.1)
    return ff.train(problem, ff.DeepLinear(depth), init, method, runs=runs, threads=threads, dtype=dtype)


@pytest.mark.parametrize(("runs", "threads"), [(1, 2), (1, 5), (2, 3), (3, 2)])
def test_threads_without_a_run_change_no_bit(runs, threads, monkeypatch):
    parts = []
    assist = helping.assist
    monkeypatch.setattr(helping, "assist", lambda *words: parts.append(assist(*words)))
    alone, together = trained(3, runs, 1), trained(3, runs, threads)
    assert together.threads == threads
    np.testing.assert_array_equal(together.loss, alone.loss)
    for one, other in zip(together.factors, alone.factors, strict=True):
        np.testing.assert_array_equal(one, other)
    print(f"{sum(filter(None, parts))} parts were done by helpers")


@pytest.mark.parametrize(("width", "dtype"), [(397, np.float64), (560, np.float32)])
def test_large_products_in_parts_of_rows_and_columns_change_no_bit(width, dtype):
    """Alone and by helpers; and they are the steps of the formula."""
    alone = trained(2, 1, 1, dtype, width, 3)
    for threads in (2, 5):
        together = trained(2, 1, threads, dtype, width, 3)
        for one, other in zip(together.factors, alone.factors, strict=True):
            np.testing.assert_array_equal(one, other)
    first, second = trained(2, 1, 1, dtype, width, 0).factors
    first, second = first[0].astype(np.float64), second[0].astype(np.float64)
    target = np.random.default_rng(2).standard_normal((width + 3, width)) / width
    for _ in range(3):
        gradient = second @ first - target
        first, second = first - 1e-2 * second.T @ gradient, second - 1e-2 * gradient @ first.T
    for one, other in zip(alone.factors, (first, second), strict=True):
        np.testing.assert_allclose(one[0], other, rtol=0, atol=1e3 * np.finfo(dtype).eps)


def test_memory_that_is_not_there_is_a_memory_error():
    """Whoever maps it is told by an OSError."""
    with pytest.raises(MemoryError):
        aligned_zeros((2**44,), np.float64)
    room = aligned_zeros((3, 2**18), np.float64)
    assert room.ctypes.data % CACHE_LINE == 0
    assert not room.any()
    room += 1


@pytest.mark.parametrize("rows", [40, 512, 700, 1030])
def test_parts_of_a_product_cover_it_once(rows, rng):
    a, b = rng.standard_normal((rows, 300)), rng.standard_normal((300, 170))
    for workers in (1, 2, 7):
        across, down = parts_of(rows, 300, 170, workers)
        assert 1 <= across * down <= team.MOST_PARTS
        c = np.full((rows, 170), np.nan)
        for part in rng.permutation(across * down):
            in_parts(c, a, b, part, across, down)
        np.testing.assert_array_equal(c, ff.kernels.product_nn(a, b))


@pytest.mark.parametrize(("parts", "taken"), [(1, 0), (4, 0), (13, 5)])
def test_helpers_do_the_parts_that_nobody_has_taken(parts, taken, rng):
    m, k, n = 9, 30, 100
    a, b, c = rng.standard_normal((m, k)), rng.standard_normal((k, n)), np.full((m, n), np.nan)
    board = team.make_board()
    words = {team.C: c, team.A: a, team.B: b}
    for place, array in words.items():
        board[team.PRODUCT + place] = array.ctypes.data
    for place, value in {
        team.C_ROW: n,
        team.A_ROW: k,
        team.A_COL: 1,
        team.B_ROW: n,
        team.B_COL: 1,
        team.M: m,
        team.K: k,
        team.N: n,
        team.ACROSS: parts,
    }.items():
        board[team.PRODUCT + place] = value
    board[team.TICKET] = (7 << 2 * team.PARTS_BITS) | (parts << team.PARTS_BITS) | taken
    assert team.assist(0.0, board, 3) == board[team.DONE] == parts - taken
    lanes = team.VECTOR_BYTES // 8
    first = taken * -(-n // lanes) // parts * lanes
    assert np.isnan(c[:, :first]).all()
    np.testing.assert_array_equal(c[:, first:], ff.kernels.product_nn(a, b)[:, first:])
    assert team.assist(0.0, board, 3) == 0


def test_narrow_chains_and_lanes_have_nothing_to_share():
    problem = ff.MatrixEstimation(np.eye(20))
    data = problem.kernel_data([problem], np.float64)
    group = ff.DeepLinear(2).architecture(problem).make_group(data, np.zeros(1), 1)
    assert chain_group.board_of(group) is None
    runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.1), ff.GradientDescent(1e-2, 3), runs=1, threads=4)
    assert runs.threads == 1
