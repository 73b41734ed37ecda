"""Limits that rounding decides: ties of least l1 norm, ranks, faces, units; by many digits, or said to be unsure."""

from __future__ import annotations

import itertools
import warnings
from fractions import Fraction

import naive
import numpy as np
import pytest
import scipy.optimize
from scipy.fft import dct
from scipy.linalg import hadamard

import fastflow as ff
from fastflow.baselines.nonnegative import signed_least_squares
from fastflow.dual.exact import exact_rank, fixed, floating
from fastflow.dual.face import sign_face
from fastflow.kernels.dual.mirror import BOTH, DOWN, UP
from fastflow.kernels.vectors.revealing import even_rows, pivot_solutions, reveal_rank
from fastflow.status import Status

TIE, OF_TIE = np.array([[1.0, 1, 1], [3, 0, 1]]), np.array([3.0, 3])


def tie_limit(depth):
    """Which of the solutions ``(1 - t, 2 (1 - t), 3 t)`` the limit for small starts is (MATH.md, section 5)."""
    t = 1 / (1 + (3 ** (2 / depth) / (1 + 2 ** (2 / depth))) ** (-depth / (depth - 2)))
    return np.array([1 - t, 2 * (1 - t), 3 * t])


def off(result, expected):
    """The error, as results state it."""
    return np.abs(result.x - expected).max() / max(np.abs(expected).max(), 1e-300)


def reference(matrix, values, positive, negative, depth, x):
    """The limit to many digits, from near x: where that is far, by what of x is no rounding."""
    for least in (0.0, 1e-12):
        near = np.where(np.abs(x) < least * np.abs(x).max(), 0.0, x)
        try:
            return naive.exact_flow_limit(matrix, values, positive, negative, depth, near)
        except ValueError:
            continue
    raise ValueError("no solution from there")


def check(matrix, values, alpha, depth, *, negative=None, signed=True, of=None, may_be_unsure=False):
    """Right by many digits to what is stated; and CONVERGED, unless it may say that it is not sure."""
    result = ff.flow_limit(matrix, values, alpha, depth, signed=signed, negative=negative)
    n = matrix.shape[1]
    positive = np.broadcast_to(np.asarray(alpha, float), n)
    other = None if not signed else positive if negative is None else negative
    if not result.converged:
        assert may_be_unsure
        assert result.error > 1e-8
        return result
    exact_matrix, exact_values = (matrix, values) if of is None else of
    expected = reference(exact_matrix, exact_values, positive, other, depth, result.x)
    print(depth, float(positive[0]), off(result, expected), float(result.error), float(result.condition))
    assert off(result, expected) <= result.error <= 1e-8
    return result


# The tie of which there is a closed form


@pytest.mark.parametrize("alpha", [1e-3, 1e-5, 1e-6, 1e-8, 1e-12])
@pytest.mark.parametrize("depth", [2.5, 3, 4, 5, 6, 7.5, 8])
def test_the_closed_form(depth, alpha):
    """At L = 4, 1e-8 an entry was off by .78, at L = 5, 1e-6 by 2.0, at L = 8, 1e-3 by 1.0, and CONVERGED."""
    result = check(TIE, OF_TIE, alpha, depth)
    assert off(result, tie_limit(depth)) <= 1e-12 + 100 * alpha  # what the finite start leaves
    # Which relative change of an entry changes x by how much.
    size = (np.abs(result.x).max() ** (1 / depth) / alpha) ** (depth - 2)
    assert 0.1 * size <= result.condition <= 100 * size


def test_the_last_bit_of_an_entry_decides():
    """So much does the limit depend on the numbers as they stand: there is no tie without the last bit."""
    matrix = TIE.copy()
    matrix[0, 2] = np.nextafter(1, 2)
    result = check(matrix, OF_TIE, 1e-12, 6)
    assert off(result, tie_limit(6)) > 0.1


# Families


def family(name, rng, m, n, sparsity):
    """A matrix and values: those of a sparse truth, but for nonnegative ones, whose truth is dense."""
    truth, support = np.zeros(n), rng.choice(n, sparsity, replace=False)
    truth[support] = np.ceil(16 * rng.standard_normal(sparsity)) / 16 + 1 / 32
    matrix = np.round(64 * rng.standard_normal((m, n))) / 64
    i, j = support[0], np.setdiff1d(np.arange(n), support)[0]
    match name:
        case "signs":
            matrix, truth[support] = rng.choice([-1.0, 1.0], (m, n)), rng.choice([-1.0, 1.0], sparsity)
        case "signs, Gaussian truth":
            matrix = rng.choice([-1.0, 1.0], (m, n))
        case "0 and 1":
            matrix, truth[support] = 1.0 * (rng.random((m, n)) < 0.5), rng.choice([-1.0, 1.0], sparsity)
        case "integers":
            matrix = rng.integers(-2, 3, (m, n)).astype(float)
        case "cosines":
            rows = np.sort(rng.choice(n, m, replace=False))
            matrix, truth[support] = dct(np.eye(n), axis=0, norm="ortho")[rows], rng.choice([-1.0, 1.0], sparsity)
        case "Hadamard":
            matrix = hadamard(16).astype(float)[np.sort(rng.choice(16, m, replace=False))][:, :n]
        case "repeated column":
            matrix[:, j] = matrix[:, i]
        case "negated column":
            matrix[:, j] = -matrix[:, i]
        case _ if name.startswith("nearly"):
            matrix[:, j] = matrix[:, i] + float(name.split()[-1]) * rng.standard_normal(m)
    return matrix, matrix @ truth


FAMILIES = [
    "Gaussian",
    "signs",
    "signs, Gaussian truth",
    "0 and 1",
    "integers",
    "cosines",
    "Hadamard",
    "repeated column",
    "negated column",
]


@pytest.mark.parametrize("name", FAMILIES)
def test_families(name, rng):
    """With starts over the whole range and all depths that have ties; a rank that is short by accident is said."""
    for depth, alpha in ((3, 1e-9), (4, 1e-6), (5, 1e-3), (6, 1e-8), (8, 1e-12), (8, 0.1)):
        matrix, values = family(name, rng, 5, 10, 3)
        rank = exact_rank(matrix)
        of = (matrix, values) if rank == 5 else independent_rows(matrix, values)
        result = check(matrix, values, alpha, depth, of=of)
        assert result.rank == rank


def independent_rows(matrix, values):
    """The first rows that say something new."""
    rows = []
    for j in range(len(matrix)):
        if exact_rank(matrix[[*rows, j]]) > len(rows):
            rows.append(j)
    return matrix[rows], values[rows]


@pytest.mark.parametrize("distance", ["1e-4", "1e-7", "1e-10", "1e-13", "1e-15"])
def test_nearly_repeated_columns(distance, rng):
    """Right to what is stated, or said to be unsure: y itself does not decide x."""
    for depth, alpha in ((3, 1e-9), (4, 1e-6), (6, 1e-3), (8, 1e-8)):
        matrix, values = family(f"nearly {distance}", rng, 5, 10, 3)
        check(matrix, values, alpha, depth, may_be_unsure=float(distance) < 1e-4)


def test_rows_and_starts_in_other_units(rng):
    """Rows times powers of 2 change no x; starts times powers of 2 keep ties, random ones have none."""
    for depth, alpha in ((3, 1e-8), (4, 1e-5), (6, 1e-3), (8, 1e-6)):
        matrix, values = family("signs, Gaussian truth", rng, 5, 10, 3)
        of = independent_rows(matrix, values)
        units = 2.0 ** rng.integers(-40, 40, 5)
        check(matrix * units[:, None], values * units, alpha, depth, of=of)
        check(matrix, values, alpha * 2.0 ** rng.integers(-2, 3, 10), depth, negative=np.full(10, alpha / 4), of=of)
        starts = alpha * np.exp(rng.uniform(0, 1, (2, 10)))
        check(matrix, values, starts[0], depth, negative=starts[1], of=of)


@pytest.mark.parametrize("name", ["signs", "0 and 1", "integers"])
def test_nonnegative_ties(name, rng):
    for depth, alpha in ((3, 1e-9), (4, 1e-6), (6, 1e-3), (8, 1e-8)):
        matrix = family(name, rng, 4, 9, 3)[0]
        values = matrix @ (rng.integers(1, 9, 9) / 8)
        check(matrix, values, alpha, depth, signed=False, of=independent_rows(matrix, values))


def test_integers_of_the_audit():
    """Was off by .93."""
    check(np.array([[2.0, 3, -3, 3], [2, 1, 3, -1]]), np.array([4.0, -2]), 1e-6, 5)


def test_repeated_rows_and_values_that_no_x_has(rng):
    """Rows that come twice, with values that differ: least squares, which are the mean (was off by .24)."""
    twice = np.vstack([TIE, TIE])
    for depth, alpha in ((4, 1e-6), (5, 1e-5), (8, 1e-3)):
        for shift in (0.0, 0.25):
            values = np.concatenate([OF_TIE + shift, OF_TIE - shift])
            result = check(twice, values, alpha, depth, of=(TIE, OF_TIE))
            assert result.rank == 2
            assert result.dual == pytest.approx(np.tile(result.dual[:2], 2), abs=1e-9 * np.abs(result.dual).max())


def test_tiny_structured_systems(rng):
    """No entry is wrong and CONVERGED: of 3,902 such systems 78 once were."""
    entries, count = (-1.0, 0.0, 1.0), 0
    for _ in range(60):
        matrix = rng.choice(entries, (2, 4))
        if exact_rank(matrix) < 2:
            continue
        depth, alpha = int(rng.integers(3, 9)), 10.0 ** -rng.integers(2, 9)
        check(matrix, matrix @ rng.integers(-2, 3, 4), alpha, depth)
        count += 1
    assert count > 40


def test_bits_at_ties_do_not_depend_on_company(rng):
    matrices = rng.choice([-1.0, 1.0], (6, 4, 9))
    values = np.einsum("kmn,n->km", matrices, np.array([1.0, -1, 0.5, 0, 0, 0, 0, 0, 0]))
    together = ff.flow_limit(matrices, values, 1e-5, 6, threads=2)
    for i in range(6):
        alone = ff.flow_limit(matrices[i], values[i], 1e-5, 6)
        for name in together._fields:
            np.testing.assert_array_equal(getattr(together, name)[i], getattr(alone, name))


# Units, faces, ranks


def test_columns_in_very_different_units():
    """Once (0, 2), at a loss of 2e9, and CONVERGED."""
    matrix = np.array([[-1e4, 3e-5], [0, 2e-5], [-3e4, -1e-5]])
    values = np.array([-19999.99994, 4e-05, -60000.00002])
    result = ff.flow_limit(matrix, values, 1e-3, 4, signed=False)
    assert result.converged
    exact = [[Fraction(entry) for entry in row] for row in matrix.tolist()]
    gram = [[sum(row[i] * row[j] for row in exact) for j in range(2)] for i in range(2)]
    right = [sum(row[i] * Fraction(y) for row, y in zip(exact, values.tolist(), strict=True)) for i in range(2)]
    determinant = gram[0][0] * gram[1][1] - gram[0][1] ** 2
    expected = [
        float((right[0] * gram[1][1] - right[1] * gram[0][1]) / determinant),
        float((right[1] * gram[0][0] - right[0] * gram[0][1]) / determinant),
    ]
    np.testing.assert_allclose(result.x, expected, rtol=1e-9)


def test_noisy_blurs(rng):
    """The solution of nonnegative least squares, where HiGHS fails: 0, at a loss of 11, was once called the limit."""
    t, centres = np.linspace(0, 1, 60), np.linspace(0, 1, 40)
    matrix, truth = np.exp(-0.5 * ((t[:, None] - centres) / 0.03) ** 2), np.zeros(40)
    truth[[5, 17, 30]] = 1, 2, 1.5
    for _ in range(5):
        values = matrix @ truth + 0.01 * rng.standard_normal(60)
        result = ff.flow_limit(matrix, values, 0.1, 3, signed=False)
        assert result.converged
        slopes = matrix.T @ (matrix @ result.x - values)
        assert np.all(slopes > -1e-9)
        assert np.abs(slopes @ result.x) < 1e-9
        assert np.sum((matrix @ result.x - values) ** 2) < 0.02


def test_solvers_that_give_up_or_err_are_not_believed(monkeypatch):
    """SciPy's nnls raises, or ends elsewhere (SciPy 1.15 on this matrix): another solver is asked, and one may fail."""
    matrix, values = np.array([[-2.0, 0], [3, 2]]), np.array([1.0, 3])
    truth = np.array([0, 1.5])

    def wrong(a, y, *arguments, **options):
        return np.zeros(a.shape[1]), np.linalg.norm(y)

    def gives_up(*arguments, **options):
        raise RuntimeError("too many iterations")

    for replacement in (scipy.optimize.nnls, wrong, gives_up):
        monkeypatch.setattr(scipy.optimize, "nnls", replacement)
        result = ff.flow_limit(matrix, values, 0.1, 3, signed=False)
        assert result.converged
        np.testing.assert_allclose(result.x, truth, atol=1e-12)
    monkeypatch.setattr(scipy.optimize, "lsq_linear", gives_up)
    stack = np.array([values, [1.0, 0.0], matrix @ [1.0, 1.0]])
    result = ff.flow_limit(matrix, stack, 0.1, 3, signed=False)
    assert result.status[0] == Status.INACCURATE
    assert result.converged[2], "the others of a call go on"


def test_polynomials():
    """A Vandermonde matrix on which SciPy's nnls raised, and took every problem of the call with it."""
    matrix = np.vander(np.linspace(0, 1, 34), 17)
    values = np.random.default_rng(0).standard_normal((3, 34))
    for result, y in zip(ff.flow_limit(matrix, values, 0.1, 3, signed=False).x, values, strict=True):
        slopes = matrix.T @ (matrix @ result - y)
        assert np.all(slopes > -1e-8)
        assert np.all(result >= 0)


def test_faces_by_enumeration(rng):
    """Which entries some least-squares solution has positive, by linear programs over exact small integers."""
    for _ in range(40):
        m, n = int(rng.integers(2, 4)), int(rng.integers(2, 6))
        matrix, sides = rng.integers(-2, 3, (m, n)).astype(float), rng.choice([UP, DOWN, BOTH], n, p=[0.6, 0.2, 0.2])
        values = rng.integers(-3, 4, m).astype(float)
        face = sign_face(matrix, values, sides)
        assert not face.doubtful
        bounds = [(None, None) if side == BOTH else (0, None) if side == UP else (None, 0) for side in sides]
        best = scipy.optimize.lsq_linear(
            matrix,
            values,
            (np.where(sides == UP, 0, -np.inf), np.where(sides == DOWN, 0, np.inf)),
            method="bvls",
        )
        np.testing.assert_allclose(face.reached, matrix @ best.x, atol=1e-9)
        for i in range(n):
            if sides[i] != BOTH and matrix[:, i].any():
                cost = np.zeros(n)
                cost[i] = -sides[i]
                capped = [
                    (low, high) if k != i else (0, 1) if sides[i] == UP else (-1, 0)
                    for k, (low, high) in enumerate(bounds)
                ]
                found = scipy.optimize.linprog(cost, A_eq=matrix, b_eq=face.reached, bounds=capped)
                if found.status == 0:
                    assert face.keep[i] == (-found.fun > 1e-7), (matrix, values, sides, i)


def test_signed_least_squares_without_columns():
    assert signed_least_squares(np.zeros((3, 0)), np.ones(3), np.zeros(0, bool)).missed == 0
    assert not signed_least_squares(np.ones((3, 2)), np.zeros(3), np.zeros(2, bool)).x.any()


def test_a_rank_that_rounding_decides_is_said():
    """A third row that is the sum of others but for its last bits: full rank by exact arithmetic."""
    rows = np.vstack([TIE, 0.1 * TIE[0] + 0.7 * TIE[1]])
    values = rows @ [1.0, 1, 1]
    with pytest.warns(UserWarning, match="round-off decides the rank of the matrix in 1 of 1 problems") as caught:
        result = ff.flow_limit(rows, values, 1e-4, 4)
    assert caught[0].filename == __file__
    assert result.rank == 2 < exact_rank(rows)
    problem = ff.CompressedSensing(rows, values)
    with pytest.warns(UserWarning, match="round-off decides the rank") as caught:
        ff.train(problem, ff.DiagonalLinear(depth=4), ff.inits.Constant(1e-4), ff.FlowLimit(), runs=1)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ff.flow_limit(np.vstack([TIE, TIE]), np.tile(OF_TIE, 2), 1e-4, 4)  # short of rank, but plainly


# The flow in time


def test_the_flow_waits_for_weak_directions():
    """It once came to rest, CRITICAL, at (1, 5.4e-11), and at .784 for .968."""
    for weak in (1e-5, 1e-6, 1e-7):
        matrix, values = np.diag([1, weak]), np.array([1, weak])
        end = ff.gradient_flow(matrix, values, 0.1, [np.inf])
        assert end.status == Status.CRITICAL
        np.testing.assert_allclose(end.x[0], [1, 1], atol=1e-7)
        # The second entry alone: x' = 2 weak^2 (1 - x) hypot(x, 2 alpha^2), in time weak^-2.
        later = ff.gradient_flow(matrix, values, 0.1, [4 / weak**2])
        alone = ff.gradient_flow([[1.0]], [1.0], 0.1, [4.0], rtol=1e-11)
        np.testing.assert_allclose(later.x[0], [1, alone.x[0, 0]], atol=1e-7)
    # A weak direction that is no coordinate.
    matrix = np.array([[1, 1], [1, 1 + 1e-4]])
    end = ff.gradient_flow(matrix, matrix @ [1.0, 0.25], 0.1, [np.inf])
    np.testing.assert_allclose(end.x[0], [1, 0.25], atol=1e-6)


@pytest.mark.parametrize(("depth", "alpha"), [(4, 1e-8), (5, 1e-6), (6, 1e-4), (8, 1e-3)])
def test_the_flow_ends_at_ties_where_the_limit_is(depth, alpha):
    """At L = 6, alpha = 1e-4 it was off by .74 and CONVERGED; in between it says that it is not sure."""
    limit = check(TIE, OF_TIE, alpha, depth).x
    flow = ff.gradient_flow(TIE, OF_TIE, alpha, [np.inf], depth)
    assert flow.status == Status.CRITICAL
    np.testing.assert_allclose(flow.x[0], limit, rtol=1e-9)
    runs = ff.train(
        ff.CompressedSensing(TIE, OF_TIE),
        ff.DiagonalLinear(depth=depth),
        ff.inits.Constant(alpha),
        ff.GradientFlow(),
        runs=1,
    )
    assert runs.status[0] in (Status.CRITICAL, Status.CONVERGED)
    np.testing.assert_allclose(runs.solution[0], limit, rtol=1e-8)
    early, late = (
        ff.gradient_flow(TIE, OF_TIE, alpha, [1.0], depth),
        ff.gradient_flow(TIE, OF_TIE, alpha, [1e100], depth),
    )
    assert early.status == Status.MAX_TIME
    assert late.status == Status.INACCURATE


# What they are made of


def test_arithmetic_without_rounding(rng):
    values = np.concatenate([rng.standard_normal(20) * 10.0 ** rng.integers(-30, 30, 20), [0.0, 5e-324, -1e300]])
    for bits in (0, 53, 1100):
        expected = [int(Fraction(value) * 2**bits) for value in values.tolist()]
        assert abs(fixed(values, bits) - expected).max() <= 1
    np.testing.assert_array_equal(floating(fixed(values, 1100), 1100), values)
    for m, n, rank in itertools.product((1, 3, 5), (2, 4), (1, 2)):
        matrix = rng.integers(-3, 4, (m, rank)) @ rng.integers(-3, 4, (rank, n)) * 2.0**-40
        assert exact_rank(matrix) == np.linalg.matrix_rank(matrix)
    matrix = np.array([[1.0, 1], [1, 1 + 2.0**-52]])
    assert exact_rank(matrix) == 2
    assert exact_rank(np.zeros((2, 3))) == 0


def test_factors_that_reveal_the_rank(rng):
    """``A^T = L diag(p) U``, whatever the weights; rows of powers of 2; least squares by the pivots."""
    for rank in (1, 3, 4):
        matrix = rng.standard_normal((4, rank)) @ rng.standard_normal((rank, 7))
        weights = 10.0 ** rng.uniform(-60, 10, 7)
        found = reveal_rank(matrix, weights, 1e-13)
        assert len(found.pivots) == rank
        np.testing.assert_allclose(found.lower * found.pivots @ found.upper, matrix.T, atol=1e-11)
        right = rng.standard_normal((4, 2))
        expected = np.linalg.lstsq(matrix[:, found.columns], right, rcond=None)[0]
        np.testing.assert_allclose(pivot_solutions(found, right), expected, rtol=1e-8)
    units = np.zeros(3)
    even_rows(np.array([1e9, 0, 0, 0, 3e-9, 4e-9]), 3, 2, units)
    np.testing.assert_array_equal(units, [2.0**-30, 1, 2.0**27])
    even_rows(np.array([1.0, 2, 3, 4, 5, 6]), 3, 2, units)
    np.testing.assert_array_equal(units, 1)
