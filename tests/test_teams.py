"""Products of chains that threads without a run share: the same bits, whoever computes which part."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow.kernels.networks import chain_group
from fastflow.kernels.vectors import team
from fastflow.methods import helping

WIDE = 100


def trained(depth, runs, threads, dtype=np.float64):
    rng = np.random.default_rng(depth)
    problem = ff.MatrixEstimation(rng.standard_normal((WIDE + 3, WIDE)) / WIDE)
    method = ff.GradientDescent(1e-2, 12, tol=0.0)
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
