"""The limit of the gradient flow of diagonal networks: against integration, many digits, and the theorems about it."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import time

import hypothesis
import naive
import numpy as np
import psutil
import pytest
from hypothesis import strategies as st

import fastflow as ff

DEPTHS = (1, 2, 3, 4)


def draw(rng, m, n, sparsity=None, nonnegative=False):
    """A matrix, a truth (dense for sparsity None), and its values, Gaussian but for their few digits.

    With these the values are exact, and in the range of the columns that the truth selects.
    """
    matrix, truth = np.round(64 * rng.standard_normal((m, n))) / 64, np.zeros(n)
    support = rng.choice(n, sparsity or n, replace=False)
    truth[support] = np.ceil(16 * rng.standard_normal(support.size)) / 16 + 1 / 64
    if nonnegative:
        truth = abs(truth)
    return matrix, matrix @ truth, truth


def relative(x, expected):
    return np.linalg.norm(x - expected) / np.linalg.norm(expected)


def check_ends(result, matrix, values):
    """Converged, with ``A x = y`` to 1e-10, or to round-off where x is much larger than y; the residual is true."""
    assert result.converged.all()
    residual = np.linalg.norm(np.einsum("...mn,...n->...m", matrix, result.x) - values, axis=-1)
    size, large = (np.linalg.norm(v, axis=-1) for v in (values, result.x))
    round_off = 1e-14 * np.linalg.norm(matrix, axis=(-2, -1)) * large
    assert np.all(residual <= 1e-10 * size + round_off)
    assert np.all(abs(result.residual - residual) <= 1e-13 * size + round_off)


# Against an integrator


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "nonnegative"])
@pytest.mark.parametrize("alpha", [1.0, 0.3, 0.1, 0.01])
@pytest.mark.parametrize("depth", DEPTHS)
def test_against_lsoda(depth, alpha, signed, rng):
    """From unequal starts too; the integrator's own error is what its residual and a looser tolerance show."""
    n, m = 6, 3
    matrix, values, _ = draw(rng, m, n, nonnegative=not signed)
    for spread in (0.0, 0.5):
        positive = alpha * np.exp(spread * rng.uniform(-1, 1, n))
        negative = alpha * np.exp(spread * rng.uniform(-1, 1, n)) if signed else None
        result = ff.flow_limit(matrix, values, positive, depth, signed=signed, negative=negative)
        time = 1e3 * alpha ** min(0, 4 - 2 * depth)
        fine, coarse = (
            naive.flow(matrix, values, positive, negative, depth, time, rtol=rtol, atol=1e-3 * rtol * alpha)
            for rtol in (1e-11, 1e-9)
        )
        own = np.linalg.norm(fine - coarse) + 100 * np.linalg.norm(matrix @ fine - values)
        print(depth, alpha, signed, spread, relative(result.x, fine), own)
        assert np.linalg.norm(result.x - fine) <= 1e-7 * np.linalg.norm(fine) + own
        assert own <= 1e-5 * np.linalg.norm(fine)


# Against many digits


@pytest.mark.parametrize("alpha", [1e3, 1.0, 1e-2, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_against_sixty_digits(depth, alpha, rng):
    """Dense and sparse truths, equal and unequal starts, to 1e-10 of the norm of x."""
    m, n = 3, 6
    for sparsity in (None, 1, 2):
        for spread in (0.0, 0.7):
            matrix, values, _ = draw(rng, m, n, sparsity)
            shift = -spread if alpha > 1 else spread  # the two ends of what is allowed
            positive, negative = (alpha * np.exp(shift * rng.uniform(0, 1, n)) for _ in range(2))
            result = ff.flow_limit(matrix, values, positive, depth, negative=negative)
            check_ends(result, matrix, values)
            expected = naive.exact_flow_limit(matrix, values, positive, negative, depth, result.x)
            print(depth, alpha, sparsity, spread, relative(result.x, expected))
            assert relative(result.x, expected) <= 1e-10


@pytest.mark.parametrize("seed", [872, 1088, 1300, 1485, 2146])
def test_starts_spread_over_five_orders(seed):
    """u(0) and v(0) at random over e^12, depth 6 to 8: draws whose slopes, over 80 orders, once drowned each other."""
    rng = np.random.default_rng(seed)
    depth, alpha = int(rng.integers(6, 9)), 10.0 ** rng.integers(-10, -2)
    m = int(rng.integers(4, 9))
    n = m + int(rng.integers(2, 9))
    matrix, values, _ = draw(rng, m, n)
    positive, negative = (alpha * np.exp(12 * rng.uniform(0, 1, n)) for _ in range(2))
    result = ff.flow_limit(matrix, values, positive, depth, negative=negative)
    check_ends(result, matrix, values)
    assert result.steps < 3000, "the flow had to be followed"
    expected = naive.exact_flow_limit(matrix, values, positive, negative, depth, result.x)
    print(depth, alpha, m, n, result.steps, relative(result.x, expected))
    assert relative(result.x, expected) <= 1e-10


@pytest.mark.parametrize("alpha", [10.0, 0.3, 1e-4, 1e-12])
@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_nonnegative_against_sixty_digits(depth, alpha, rng):
    m, n = 3, 6
    matrix, values, _ = draw(rng, m, n, nonnegative=True)
    result = ff.flow_limit(matrix, values, alpha, depth, signed=False)
    check_ends(result, matrix, values)
    expected = naive.exact_flow_limit(matrix, values, np.full(n, alpha), None, depth, result.x)
    print(depth, alpha, relative(result.x, expected))
    assert relative(result.x, expected) <= 1e-10


# What is known about the limit


def least_l1(matrix, values, nonnegative=False):
    """A solution of ``A x = y`` of least l1 norm, by HiGHS, and that norm."""
    from scipy.optimize import linprog

    both = matrix if nonnegative else np.hstack([matrix, -matrix])
    found = linprog(np.ones(both.shape[1]), A_eq=both, b_eq=values, method="highs")
    n = matrix.shape[1]
    return found.x[:n] - (0 if nonnegative else found.x[n:]), found.fun


def stack(rng, count, m, n, **options):
    """Arrays (count, m, n) and (count, m)."""
    matrices, values, _ = zip(*(draw(rng, m, n, **options) for _ in range(count)), strict=True)
    return np.array(matrices), np.array(values)


def test_small_starts_reach_basis_pursuit(rng):
    for _ in range(5):
        matrix, values, _ = draw(rng, 10, 25, 4)
        expected, least = least_l1(matrix, values)
        gaps = [relative(ff.flow_limit(matrix, values, alpha).x, expected) for alpha in (1e-1, 1e-3, 1e-6, 1e-12)]
        assert all(after < before for before, after in itertools.pairwise(gaps))
        for depth in (3, 4, 8):
            x = ff.flow_limit(matrix, values, 1e-12, depth).x
            assert relative(x, expected) < 1e-8
            assert np.sum(abs(x)) == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "nonnegative"])
def test_bounds_on_the_excess_of_l1(depth, signed, rng):
    """``||x||_1 - Q`` over 500 draws, with ``||u^L||_1 + ||v^L||_1`` and 2n for signed ones (MATH.md, section 2)."""
    m, n = 4, 9
    for alpha in (0.5, 0.3, 0.1, 0.03, 0.01):
        matrices, values = stack(rng, 100, m, n, nonnegative=not signed)
        result = ff.flow_limit(matrices, values, alpha, depth, signed=signed)
        check_ends(result, matrices, values)
        for matrix, y, x, dual in zip(matrices, values, result.x, result.dual, strict=True):
            least, size = least_l1(matrix, y, nonnegative=not signed)[1], n
            norm = np.sum(abs(x))
            if signed:
                z, size = matrix.T @ dual, 2 * n
                factors = [naive.mirror_factor(alpha, sign * entry, depth) for entry in z for sign in (1, -1)]
                norm = np.sum(np.array(factors) ** depth)
            if depth == 2:
                bound = (least**2 + size / np.e) / (2 * np.log(1 / alpha) - 1)
            else:
                bound = depth / 2 * alpha ** (depth - 2) * size ** (1 - 2 / depth) * norm ** (2 / depth)
            assert -1e-9 * least <= norm - least <= bound * (1 + 1e-9)


@pytest.mark.parametrize("depth", [2, 3, 5, 8])
def test_large_starts_reach_the_weighted_least_norm(depth, rng):
    """``min sum x_i^2 / alpha_i^{2L-2}``."""
    matrix, values, _ = draw(rng, 4, 9)
    alpha = rng.uniform(500, 1000, 9)
    weights = (alpha / 1000) ** (2 * depth - 2)
    expected = weights * (matrix.T @ np.linalg.solve(matrix * weights @ matrix.T, values))
    assert relative(ff.flow_limit(matrix, values, alpha, depth).x, expected) < 1e-9


def test_depth_one_projects_the_start(rng):
    matrix, values, _ = draw(rng, 4, 9)
    start, other = rng.uniform(0.1, 1, (2, 9))
    for signed in (True, False):
        x0 = start - other if signed else start
        result = ff.flow_limit(matrix, values, start, 1, signed=signed, negative=other if signed else None)
        np.testing.assert_allclose(result.x, x0 + np.linalg.pinv(matrix) @ (values - matrix @ x0), atol=1e-13)


# Nonnegative least squares


def test_a_boundary_that_the_truth_alone_reaches(rng):
    """Enough equations that the truth, which has zeros, is the only nonnegative solution."""
    matrix, values, truth = draw(rng, 9, 12, 2, nonnegative=True)
    for depth in (2, 3, 4, 8):
        result = ff.flow_limit(matrix, values, 0.1, depth, signed=False)
        check_ends(result, matrix, values)
        assert relative(result.x, truth) < 1e-9
        assert np.all(result.x >= 0)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_values_out_of_reach(depth, rng):
    """Columns that come twice share their part of the least-squares solution as their starts say.

    ``H'(x)`` is the same for both: ``x / a^2`` at L = 2, ``x^{-k/L} - a^{-k}``, ``k = L - 2``, above.
    """
    from scipy.optimize import nnls

    for _ in range(5):
        half = rng.standard_normal((6, 5))
        values = rng.standard_normal(6) + half @ abs(rng.standard_normal(5))
        expected = nnls(half, values)[0]
        a, b = rng.uniform(0.1, 0.5, (2, 5))
        result = ff.flow_limit(np.hstack([half, half]), values, np.concatenate([a, b]), depth, signed=False)
        assert result.converged
        x, y = result.x[:5], result.x[5:]
        np.testing.assert_allclose(x + y, expected, atol=1e-9)
        positive = expected > 0
        assert positive.any()
        x, y, a, b = (v[positive] for v in (x, y, a, b))
        if depth == 2:
            np.testing.assert_allclose(x / a**2, y / b**2, rtol=1e-8)
        else:
            k = depth - 2
            np.testing.assert_allclose(x ** (-k / depth) - a**-k, y ** (-k / depth) - b**-k, rtol=1e-8, atol=1e-8)


def test_the_flow_goes_where_nonnegative_least_squares_says(rng):
    half = rng.standard_normal((3, 4))
    matrix, values = np.vstack([half, half]), rng.standard_normal(6)
    for depth in (2, 3):
        result = ff.flow_limit(matrix, values, 0.3, depth, signed=False)
        followed = naive.flow(matrix, values, np.full(4, 0.3), None, depth, 1e7, rtol=1e-10, atol=1e-14)
        assert result.converged
        np.testing.assert_allclose(result.x, followed, atol=1e-5)


# Symmetries


problems = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "shape": st.sampled_from([(1, 1), (1, 4), (2, 5), (3, 3), (4, 9), (5, 6)]),
        "depth": st.sampled_from([1, 2, 3, 4, 8]),
        "logarithm": st.floats(-12, 2),
        "signed": st.booleans(),
    }
)


@hypothesis.given(problems)
def test_symmetries(case):
    """Columns in another order or sign, and A, y and alpha in other units, change x as they must."""
    rng, (m, n), depth, signed = np.random.default_rng(case["seed"]), case["shape"], case["depth"], case["signed"]
    matrix, values, _ = draw(rng, m, n, nonnegative=not signed)
    a, b = 10 ** case["logarithm"] * rng.uniform(1, 2, (2, n))

    def limit(matrix, values, a, b):
        result = ff.flow_limit(matrix, values, a, depth, signed=signed, negative=b if signed else None)
        check_ends(result, matrix, values)
        return result.x

    x = limit(matrix, values, a, b)
    tolerance = {"rtol": 0, "atol": 1e-8 * np.linalg.norm(x)}
    order = rng.permutation(n)
    np.testing.assert_allclose(limit(matrix[:, order], values, a[order], b[order]), x[order], **tolerance)
    if signed:
        flip = rng.random(n) < 0.5
        signs = np.where(flip, -1, 1)
        swapped = limit(matrix * signs, values, np.where(flip, b, a), np.where(flip, a, b))
        np.testing.assert_allclose(swapped, signs * x, **tolerance)
    unit, size = 10 ** rng.uniform(-3, 3), 10 ** rng.uniform(0, 0.3)
    scaled = limit(unit * matrix, unit * size**depth * values, size * a, size * b)
    np.testing.assert_allclose(scaled, size**depth * x, rtol=0, atol=1e-8 * np.linalg.norm(size**depth * x))


def test_bits_do_not_depend_on_threads_or_company(rng):
    matrices, values = stack(rng, 20, 5, 11, sparsity=2)
    for depth in (2, 3):
        together = ff.flow_limit(matrices, values, 1e-4, depth, threads=2)
        inline = ff.flow_limit(matrices, values, 1e-4, depth, threads=1)
        alone = [ff.flow_limit(matrix, y, 1e-4, depth) for matrix, y in zip(matrices, values, strict=True)]
        for name in together._fields:
            np.testing.assert_array_equal(getattr(together, name), getattr(inline, name))
            np.testing.assert_array_equal(getattr(together, name), [getattr(one, name) for one in alone])


def test_leading_axes_broadcast(rng):
    matrix, _, _ = draw(rng, 3, 7)
    values = rng.standard_normal((2, 1, 3))
    alpha = np.array([[0.1], [0.2], [1.0]]) * np.ones(7)
    result = ff.flow_limit(np.asfortranarray(matrix), values, alpha, 3)
    assert result.x.shape == (2, 3, 7)
    assert result.dual.shape == (2, 3, 3)
    assert result.status.shape == result.steps.shape == result.residual.shape == (2, 3)
    for i, j in np.ndindex(2, 3):
        np.testing.assert_array_equal(result.x[i, j], ff.flow_limit(matrix, values[i, 0], alpha[j], 3).x)


# Edges


@pytest.mark.parametrize("depth", DEPTHS)
def test_edges(depth, rng):
    matrix, values, _ = draw(rng, 4, 7)
    a, b = rng.uniform(0.1, 0.5, (2, 7))
    # A zero column leaves its coordinate at its start.
    zeroed = matrix * np.array([1, 1, 0, 1, 1, 1, 1])
    result = ff.flow_limit(zeroed, values, a, depth, negative=b)
    check_ends(result, zeroed, values)
    assert result.x[2] == pytest.approx(a[2] ** depth - b[2] ** depth, abs=1e-15)
    # Rows that come twice, consistent or not.
    x = ff.flow_limit(matrix, values, a, depth, negative=b).x
    twice = np.vstack([matrix, matrix])
    for shift in (0, 0.3):
        result = ff.flow_limit(twice, np.concatenate([values + shift, values - shift]), a, depth, negative=b)
        assert result.converged
        np.testing.assert_allclose(result.x, x, atol=1e-10)
    # More rows than columns: least squares, whatever the start.
    tall, right = rng.standard_normal((9, 3)), rng.standard_normal(9)
    result = ff.flow_limit(tall, right, 0.2, depth)
    assert result.converged
    np.testing.assert_allclose(result.x, np.linalg.lstsq(tall, right, rcond=None)[0], atol=1e-10)
    # One equation, one unknown; values that are 0.
    assert ff.flow_limit([[2.0]], [3.0], 0.1, depth).x[0] == pytest.approx(1.5, rel=1e-12)
    assert not ff.flow_limit(matrix, 0 * values, 0.1, depth).x.any()
    result = ff.flow_limit(matrix, 0 * values, a, depth, negative=b)
    assert result.converged
    assert np.linalg.norm(matrix @ result.x) < 1e-13
    # No equation that says anything.
    np.testing.assert_allclose(
        ff.flow_limit(0 * matrix, values, a, depth, negative=b).x, a**depth - b**depth, rtol=1e-12
    )


def test_a_start_of_zero_stays_zero(rng):
    """Coordinates with and without v in one problem, at depth 2 and 3."""
    matrix, values, _ = draw(rng, 3, 8, nonnegative=True)
    a, b = rng.uniform(0.1, 0.5, (2, 8))
    b[::2] = 0
    for depth in (2, 3):
        result = ff.flow_limit(matrix, values, a, depth, negative=b)
        check_ends(result, matrix, values)
        assert np.all(result.x[::2] >= 0)
        followed = naive.flow(matrix, values, a, b, depth, 1e4, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(result.x, followed, atol=1e-8)


def test_factors_that_differ(rng):
    """Gradient descent on ``x = w_1 w_2`` with tiny steps goes where the notes say."""
    matrix, values, _ = draw(rng, 2, 5)
    first, second = rng.uniform(-1, 1, (2, 5))
    result = ff.flow_limit(matrix, values, abs(first + second) / 2, negative=abs(first - second) / 2)
    step = 1e-4
    for _ in range(100_000):
        g = matrix.T @ (matrix @ (first * second) - values)
        first, second = first - step * g * second, second - step * g * first
    np.testing.assert_allclose(result.x, first * second, atol=1e-3)


BAD = [
    ({"matrix": [[np.nan, 1.0]]}, ValueError, "matrix must be finite"),
    ({"values": [np.inf]}, ValueError, "values must be finite"),
    ({"values": [1.0, 2.0]}, ValueError, "values must have one entry for each of the 1 rows"),
    ({"matrix": [1.0, 2.0]}, ValueError, "matrix must have 2 or 3"),
    ({"matrix": np.ones((3, 1, 2)), "values": np.ones((2, 1))}, ValueError, "do not broadcast"),
    ({"matrix": [["a", "b"]]}, TypeError, "matrix must be an array of real numbers"),
    ({"alpha": 1e-13}, ValueError, "alpha must be 0 or from 1e-12 to 1000"),
    ({"alpha": -0.1}, ValueError, "alpha must be 0 or from 1e-12 to 1000"),
    ({"alpha": 1e-13}, ValueError, "where float64 holds the answer"),
    ({"alpha": 1e4}, ValueError, "got 10000"),
    ({"alpha": [0.1, 0.1, 0.1]}, ValueError, "one entry for each of the 2 columns"),
    ({"alpha": np.nan}, ValueError, "alpha must be finite"),
    ({"negative": -0.1}, ValueError, "negative must be 0 or from"),
    ({"negative": 0.1, "signed": False}, ValueError, "leaves out"),
    ({"depth": 0}, ValueError, "depth must be at least 1"),
    ({"depth": 9}, ValueError, "depth must be at most 8"),
    ({"depth": 1.5}, ValueError, "depth must be 1 or at least 2"),
    ({"depth": "2"}, TypeError, "depth must be an integer"),
    ({"tol": 0.0}, ValueError, "tol must be greater than 0"),
    ({"max_steps": 0}, ValueError, "max_steps must be at least 1"),
    ({"threads": 0}, ValueError, "threads must be at least 1"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_bad_input(change, error, message):
    arguments = {"matrix": [[1.0, 2.0]], "values": [1.0], "alpha": 0.1} | change
    with pytest.raises(error, match=message):
        ff.flow_limit(**arguments)


def test_what_was_not_reached_is_said(rng):
    matrix, values, _ = draw(rng, 5, 12)
    result = ff.flow_limit(matrix, values, 1e-6, 8, max_steps=1)
    assert result.status == ff.Status.INACCURATE
    assert not result.converged
    assert "max_steps" in ff.Status(int(result.status)).message
    with pytest.raises(ValueError, match="tol must be greater than 0"):
        ff.FlowLimit(tol=-1)
    assert ff.FlowLimit() == ff.FlowLimit(tol=1e-10, max_steps=200)


SCRIPT = """
import sys, time
import numpy as np
import fastflow as ff

matrix, values = np.random.default_rng(0).standard_normal((20, 40)), np.ones(20)
ff.flow_limit(matrix, values, 1e-6)
many = np.broadcast_to(values, (400_000, 20)) * np.linspace(1, 2, 400_000)[:, None]
try:
    print("started", flush=True)
    ff.flow_limit(matrix, many, 1e-6, threads=int(sys.argv[1]))
except KeyboardInterrupt:
    print("caught", time.process_time())
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_stops_a_long_stack(threads):
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(threads)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        child = psutil.Process(process.pid)
        begun = sent = sum(child.cpu_times()[:2])
        while sent < begun + 2:  # seconds of computing, however long a busy machine takes for them
            time.sleep(0.01)
            sent = sum(child.cpu_times()[:2])
        process.send_signal(signal.SIGINT)
        word, caught = process.stdout.read().split()
        assert process.wait() == 0
    assert word == "caught"
    assert float(caught) - sent < 5  # of computing, too


def test_starts_that_differ_at_random_over_orders():
    """Where Newton's method does not find the limit, the flow leads there: its own end, and ``A x = y``."""
    rng = np.random.default_rng(3)
    matrix, values = rng.standard_normal((12, 30)) / np.sqrt(12), rng.standard_normal(12)
    alpha, negative = (1e-2 * np.exp(9 * (rng.random((6, 30)) - 0.5)) for _ in range(2))
    for depth in (6, 8):
        found = ff.flow_limit(matrix, values, alpha, depth, negative=negative)
        assert np.all(found.converged)
        np.testing.assert_allclose(found.x @ matrix.T, np.tile(values, (6, 1)), rtol=0, atol=1e-9)
        flow = ff.gradient_flow(matrix, values, alpha[:2], [np.inf], depth, negative=negative[:2])
        np.testing.assert_allclose(found.x[:2], flow.x[:, 0], rtol=0, atol=1e-6)
