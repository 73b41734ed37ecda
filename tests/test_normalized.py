"""Weight normalisation ``w = r u / ||u||``, ``x = w o w``: the limit of its flow against many digits and the flow."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar

import fastflow as ff
from fastflow.dual.normalized import normalized_limit
from fastflow.status import Status


def sparse(rng, m, n, s):
    """Gaussian measurements of s entries above 0."""
    truth = np.zeros(n)
    truth[rng.choice(n, s, replace=False)] = 0.5 + rng.random(s)
    matrix = rng.standard_normal((m, n)) / np.sqrt(m)
    return matrix, matrix @ truth, truth


def exact_limit(matrix, values, start, kappa, dual):
    """The limit to 60 digits: Newton for ``A x(A^T lam) = y`` from a given lam, no z by more than 2 in a step."""
    with mpmath.workdps(120):
        a, y = mpmath.matrix(matrix.tolist()), mpmath.matrix(values.tolist())
        begin, lam = [mpmath.mpf(v) for v in start.tolist()], mpmath.matrix(dual.tolist())
        size, kappa = mpmath.fsum(begin), mpmath.mpf(kappa)
        for _ in range(500):
            weights = [b / size * mpmath.exp(z) for b, z in zip(begin, a.T * lam, strict=True)]
            total = mpmath.fsum(weights)
            s = size + mpmath.log(total) / kappa
            p = mpmath.matrix([weight / total for weight in weights])
            curvature = s * (mpmath.diag(p) - p * p.T) + p * p.T / kappa
            change = mpmath.lu_solve(a * curvature * a.T, y - a * (s * p))
            largest = mpmath.norm(a.T * change, mpmath.inf)
            lam += change * min(1, 2 / largest)
            if largest <= mpmath.mpf(10) ** -40:
                break
        else:
            raise ValueError("no solution")
        return np.array([float(s * share) for share in p])


def flow_end(matrix, values, r, u, rates, time):
    """r and u of the flow of ``1/2 ||A (w o w) - y||^2`` at a time; w moves by ``-g o w``, which has no factor 2."""

    def field(_, state):
        r, u = state[0], state[1:]
        length = np.linalg.norm(u)
        unit = u / length
        slope = matrix.T @ (matrix @ (r * unit) ** 2 - values) * r * unit
        along = slope @ unit
        return np.append(-rates[0] * along, -rates[1] * r / length * (slope - along * unit))

    end = solve_ivp(field, (0, time), np.append(r, u), method="LSODA", rtol=1e-12, atol=1e-14).y[:, -1]
    return end[0], end[1:]


@pytest.mark.parametrize(
    ("radius", "expected"),
    [
        (0.1, (0.215552570418, 0.19459310478, 0.131753740008)),
        (0.5, (0.247383965527, 0.198008723399, 0.118866195891)),
    ],
)
def test_the_fixtures(radius, expected):
    """Of MATH.md, to the digits that are given there."""
    limit = normalized_limit([[1.0, 2, 3]], [1.0], radius**2 * np.array([1 / 2, 1 / 3, 1 / 6]))
    np.testing.assert_allclose(limit.x, expected, rtol=0, atol=1e-12)
    assert limit.converged


@pytest.mark.parametrize("kappa", [0.05, 1.0, 100.0])
@pytest.mark.parametrize("scale", [1e-6, 0.02, 1.0])
def test_against_sixty_digits(scale, kappa, rng):
    """Of values of dense x, and of nearly sparse ones: to the stated error, which is at most 1e-9."""
    for small in (1e-3, 1.0):
        matrix, _, truth = sparse(rng, 5, 12, 12)
        values = matrix @ (truth * np.where(np.arange(12) < 2, 1.0, small))
        start = scale * (0.5 + rng.random(12))
        limit = normalized_limit(matrix, values, start, kappa)
        assert limit.converged
        expected = exact_limit(matrix, values, start, kappa, limit.dual)
        print(scale, kappa, small, np.abs(limit.x - expected).max(), float(limit.error), int(limit.steps))
        assert np.abs(limit.x - expected).max() <= limit.error * expected.max()
        assert limit.error <= 1e-9


def test_long_flows_end_there_and_conserve_the_norm_of_u(rng):
    """The flow of r and u itself, at unequal rates and from ||u|| = 2; ||u|| stays."""
    matrix, values, _ = sparse(rng, 3, 6, 6)
    u = rng.random(6) + 0.5
    u *= 2 / np.linalg.norm(u)
    for rates in ((1.0, 1.0), (0.3, 3.0)):
        r, after = flow_end(matrix, values, 0.7, u, rates, 2000.0)
        assert np.linalg.norm(after) == pytest.approx(2, rel=1e-9)
        limit = normalized_limit(matrix, values, (0.7 * u / 2) ** 2, rates[1] / rates[0] / 4)
        np.testing.assert_allclose((r * after / np.linalg.norm(after)) ** 2, limit.x, rtol=0, atol=1e-8)


def test_large_starts_recover_where_plain_ones_fail(rng):
    """From w(0) = .1 of all 40 entries, whose sum of squares is a tenth of the truth's."""
    draws = [sparse(rng, 16, 40, 3) for _ in range(20)]
    matrices, values, truths = (np.array(part) for part in zip(*draws, strict=True))
    normalized = normalized_limit(matrices, values, 0.01, 300.0)
    plain = ff.flow_limit(matrices, values, 0.1, signed=False)
    assert np.all(normalized.converged & plain.converged)
    recovered, plainly = (
        np.linalg.norm(x - truths, axis=1) <= 1e-3 * np.linalg.norm(truths, axis=1) for x in (normalized.x, plain.x)
    )
    assert recovered.sum() >= 15
    assert plainly.sum() == 0


def test_where_not_everything_can_be_positive(rng):
    """One x >= 0 alone fits, or none: nonnegative least squares; and starts of 0, which stay."""
    matrix, values, truth = np.array([[1.0, 1, 2], [1, 0, 1], [0, 1, 1]]), np.array([1.0, 1, 0]), [1, 0, 0]
    limit = normalized_limit(matrix, values, [0.5, 0.2, 0.3])
    assert limit.converged
    np.testing.assert_allclose(limit.x, truth, rtol=0, atol=1e-12)
    none = normalized_limit([[1.0, 2.0], [0.0, 0.0]], [1.0, 1.0], 0.5)
    assert none.x @ [1, 2] == pytest.approx(1)
    zero = normalized_limit([[1.0, 2.0, 3.0]], [1.0], [0.1, 0.0, 0.2])
    two = normalized_limit([[1.0, 3.0]], [1.0], [0.1, 0.2])
    assert zero.x[1] == 0
    np.testing.assert_allclose(zero.x[[0, 2]], two.x, rtol=1e-12)
    away = normalized_limit([[1.0, 2.0]], [-1.0], 0.5)
    assert not away.x.any()
    # On a face: the program itself, along its one free coordinate, with shares and size of the whole start.
    start, kappa = np.array([0.1, 0.3, 0.2, 0.4]), 0.7
    face = normalized_limit([[1.0, 1, 0, 0], [0, 0, 1, 2]], [0.0, 1.0], start, kappa)

    def program(last):
        x = np.array([1 - 2 * last, last])
        return np.sum(x * np.log(x / x.sum() / start[2:] * start.sum())) + kappa / 2 * (x.sum() - start.sum()) ** 2

    least = minimize_scalar(program, bounds=(1e-9, 0.5 - 1e-9), method="bounded", options={"xatol": 1e-12}).x
    assert face.converged
    np.testing.assert_allclose(face.x, [0, 0, 1 - 2 * least, least], rtol=0, atol=1e-7)
    unseen = normalized_limit([[1.0, 0.0]], [0.0], [0.5, 0.5], 2.0)  # s + log(1/2) / 2, of the entry that A is blind to
    np.testing.assert_allclose(unseen.x, [0, 1 - np.log(2) / 2], rtol=1e-14)
    gone = normalized_limit([[1.0, 0.0]], [0.0], [0.5, 0.5], 0.1)
    assert not gone.x.any()
    null = normalized_limit([[1.0, -1.0]], [0.0], [0.5, 0.1], 1.0)
    assert null.converged
    assert null.x[0] == pytest.approx(null.x[1], rel=1e-12)
    blind = normalized_limit([[0.0, 0.0, 1.0]], [1.0], [0.1, 0.2, 0.0])
    np.testing.assert_allclose(blind.x, [0.1, 0.2, 0.0], rtol=1e-15)


def test_stacks_and_what_is_not_reached(rng):
    matrix, values, _ = sparse(rng, 4, 9, 9)
    kappas, starts = np.array([0.5, 2.0]), np.array([[[0.1]], [[1.0]], [[3.0]]]) * np.ones(9)
    limits = normalized_limit(matrix, values, starts, kappas)
    assert limits.x.shape == (3, 2, 9)
    assert limits.rank.tolist() == [[4, 4]] * 3
    for i, j in ((0, 1), (2, 0)):
        np.testing.assert_array_equal(limits.x[i, j], normalized_limit(matrix, values, starts[i, 0], kappas[j]).x)
    assert normalized_limit(matrix, values, 0.1, 1.0, max_steps=1).status == Status.INACCURATE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2]], [1.0], -0.1), "start must be 0 or from 1e-24 to 1e[+]06, got -0.1"),
        (([[1.0, 2]], [1.0], 0.0), "start must have an entry that is not 0"),
        (([[1.0, 2]], [1.0], [1.0, 2, 3]), "start must be a number or have one entry for each of the 2 columns"),
        (([[1.0, 2]], [1.0], 0.1, 0.0), "ratio must be from 1e-09 to 1e[+]09, got 0"),
        (([[1.0, 2]], [1.0, 2], 0.1), "values must have one entry for each of the 1 rows"),
        (([[1.0, 2]] * 2, [[1.0]] * 3, 0.1), "values must have one entry"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        normalized_limit(*arguments)


def test_the_bound_on_the_excess(rng):
    """Over 60 problems, starts and ratios; sharper than ``Q K / (kappa (Q - s_0))``; and said by `ff.check`."""
    for _ in range(60):
        matrix, values, truth = sparse(rng, 8, 20, 3)
        kappa, start = 10 ** rng.uniform(-1, 3), 10 ** rng.uniform(-6, 0) * (0.5 + rng.random(20))
        limit = normalized_limit(matrix, values, start, kappa)
        bound = ff.theory.normalized_excess_bound(kappa, start, truth.sum())
        assert limit.converged
        assert limit.x.sum() - truth.sum() <= bound * (1 + 1e-9) + 1e-9
        if start.sum() < truth.sum():
            simple = truth.sum() * np.log(start.sum() / start.min()) / (kappa * (truth.sum() - start.sum()))
            assert bound <= simple * (1 + 1e-12)
    network, problem = ff.DiagonalLinear(2, signed=False), ff.CompressedSensing(matrix, values, truth=truth)
    assert "this start will do" in str(ff.check(problem, network, ff.inits.Constant(0.1))).replace("\n ", "")
    assert "is not below its" in str(ff.check(problem, network, ff.inits.Constant(1.0))).replace("\n ", "")
    with pytest.raises(ValueError, match="ratio must be greater than 0, got 0"):
        ff.theory.normalized_excess_bound(0.0, [0.1], 1.0)


# The flow in time, and descent


def test_the_flow_of_the_dual_is_that_of_r_and_u(rng):
    """At all times, to the error that was asked for; and what starts at 0 stays there."""
    matrix, values, _ = sparse(rng, 4, 9, 9)
    times = [0.0, 0.1, 1.0, 10.0]
    for kappa, scale, rtol in ((0.3, 0.01, 1e-9), (1.0, 1.0, 1e-6), (30.0, 1.0, 1e-9)):
        start = scale * (0.5 + rng.random(9))
        start[3] = 0
        r = np.sqrt(start.sum())
        flow = ff.normalized_flow(matrix, values, start, times, kappa, rtol=rtol)
        np.testing.assert_array_equal(flow.x[0], start)
        for time, x, loss in zip(times[1:], flow.x[1:], flow.loss[1:], strict=True):
            radius, u = flow_end(matrix, values, r, np.sqrt(start) / r, (1.0, kappa), time)
            np.testing.assert_allclose(x, (radius * u / np.linalg.norm(u)) ** 2, rtol=max(rtol, 1e-9), atol=1e-11)
            assert loss == pytest.approx(0.5 * np.sum((matrix @ x - values) ** 2))


def test_long_flows_end_at_the_limit(rng):
    """To 1e-8, over ratios and starts; at infinity they are it."""
    for m, n, s in ((3, 6, 6), (10, 24, 3)):
        matrix, values, _ = sparse(rng, m, n, s)
        starts = np.array([[1e-4], [0.01], [1.0]]) * (0.5 + rng.random(n))
        for kappa in (0.1, 1.0, 30.0):
            flow = ff.normalized_flow(matrix, values, starts, [1e9, np.inf], kappa)
            limit = normalized_limit(matrix, values, starts, kappa)
            assert limit.converged.all()
            np.testing.assert_allclose(flow.x[:, 0], limit.x, rtol=0, atol=1e-8)
            np.testing.assert_array_equal(flow.x[:, 1], limit.x)
            assert np.all(flow.status == Status.CONVERGED)


NONNEGATIVE = ff.DiagonalLinear(2, signed=False)


def test_descent_follows_the_flow_and_both_end_at_the_limit(rng):
    """In `train`: by steps h the distance to the flow is of the order of h, and halves with it."""
    matrix, values, truth = sparse(rng, 4, 9, 9)
    problem, init, kappa = ff.CompressedSensing(matrix, values, truth=truth), ff.inits.Constant(0.3), 2.0
    distances = [
        ff.flow_distance(problem, NONNEGATIVE, init, ff.WeightNormalization(h, int(4 / h), ratio=kappa)).distance.max()
        for h in (0.02, 0.01)
    ]
    assert distances[0] < 0.05
    assert distances[0] / distances[1] == pytest.approx(2, rel=0.1)
    limit = normalized_limit(matrix, values, 0.09, kappa).x
    flow = ff.train(problem, NONNEGATIVE, init, ff.WeightNormalizationFlow([1.0, 50.0], ratio=kappa))
    np.testing.assert_array_equal(flow.solution[0], limit)
    np.testing.assert_allclose(flow.factors[0][0] ** 2, limit, rtol=1e-12)
    assert flow.history.error.shape == (1, 2)
    ended = ff.train(problem, NONNEGATIVE, init, ff.WeightNormalizationFlow(t_max=1.0, ratio=kappa))
    np.testing.assert_allclose(ended.solution[0], flow.history.product[0, 0], rtol=1e-7)
    assert ended.status[0] == Status.MAX_TIME


def test_the_direction_grows_by_its_law(rng):
    """``||u||^2`` by ``h^2 ratio^2 ||df/du||^2`` a step, since u is orthogonal to that; u is what `runs.memory` has."""
    matrix, values, _ = sparse(rng, 4, 9, 9)
    problem, h, kappa, start = ff.CompressedSensing(matrix, values), 0.05, 4.0, 0.2 + rng.random(9)
    init = ff.inits.Explicit([start])
    kept = [
        ff.train(problem, NONNEGATIVE, init, ff.WeightNormalization(h, k, ratio=kappa, tol=0)) for k in range(1, 41)
    ]
    u, length = np.array([runs.memory.slots[0] for runs in kept]), []
    w = np.array([runs.factors[0][0] for runs in kept])
    for k in range(39):
        length.append(u[k] @ u[k])
        unit, r = u[k] / np.linalg.norm(u[k]), np.linalg.norm(w[k])
        slope = w[k] * (matrix.T @ (matrix @ w[k] ** 2 - values))
        across = r / np.linalg.norm(u[k]) * (slope - slope @ unit * unit)
        assert u[k + 1] @ u[k + 1] == pytest.approx(u[k] @ u[k] + (h * kappa) ** 2 * across @ across, rel=1e-13)
    assert length[-1] > 1.01 * length[0]


def recovered(seed, trials, ratio=300.0, n=40, m=16):
    """How many of so many sparse vectors weight normalization and plain descent recover from w(0) = .1, to 1e-2."""
    counts = [0, 0]
    for trial in range(trials):
        matrix, values, truth = sparse(np.random.default_rng((seed, trial)), m, n, 3)
        problem = ff.CompressedSensing(matrix, values, truth=truth)
        methods = (ff.WeightNormalization(0.5 / ratio, 50_000, ratio=ratio), ff.GradientDescent(0.05, 50_000))
        for i, method in enumerate(methods):
            runs = ff.train(problem, NONNEGATIVE, ff.inits.Constant(0.1), method, threads=1)
            counts[i] += int(runs.error[0] <= 1e-2)
    return counts


def test_descent_recovers_from_large_starts_where_plain_descent_fails():
    normalized, plain = recovered(0, 12)
    assert normalized >= 9
    assert plain == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ff.WeightNormalization(ratio=0), "ratio must be greater than 0, got 0"),
        (lambda: ff.WeightNormalization("0.5 edge"), "step of WeightNormalization must be a number"),
        (lambda: ff.WeightNormalizationFlow(ratio=1e10), r"ratio must be at most 1e\+09"),
        (lambda: ff.WeightNormalizationFlow(gradient_tol=1e-3), "gradient_tol does not apply"),
        (lambda: ff.WeightNormalizationFlow(rtol=1e-13), "rtol must be at least 1e-12"),
        (lambda: train_flow(ff.DiagonalLinear(2), 0.1), r"is that of x = w o w, DiagonalLinear\(2, signed=False\)"),
        (lambda: train_flow(NONNEGATIVE, 1e-13), "start must be 0 or from 1e-24"),
        (lambda: train_flow(NONNEGATIVE, [np.zeros(2)]), "start must have an entry that is not 0"),
    ],
)
def test_methods_refuse_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def train_flow(network, start):
    init = ff.inits.Explicit(start) if isinstance(start, list) else ff.inits.Constant(start)
    return ff.train(ff.CompressedSensing([[1.0, 2.0]], [1.0]), network, init, ff.WeightNormalizationFlow())
