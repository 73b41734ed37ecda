"""Binomial intervals and logistic curves: against their equations, other implementations, and what they promise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import binom, binomtest
from sklearn.linear_model import LogisticRegression

from fastflow.studies.statistics import deviances, fit_logistic, wilson


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_wilson_is_scipys(level):
    for n in (1, 2, 7, 50, 1000):
        k = np.unique([0, 1, n // 3, n - 1, n])
        expected = [binomtest(int(i), n).proportion_ci(level, method="wilson") for i in k]
        np.testing.assert_allclose(np.transpose(wilson(k, n, level)), expected, rtol=1e-12, atol=1e-15)


def test_wilson_at_both_ends_and_without_trials():
    low, high = wilson([0, 0, 30], [0, 30, 30])
    np.testing.assert_array_equal(low[:2], 0)
    np.testing.assert_array_equal(high[[0, 2]], 1)
    assert 0 < high[1] < 0.12
    assert low[2] == pytest.approx(1 - high[1], rel=1e-12)
    assert all(type(end) is np.float64 for end in wilson(1, 3))


@pytest.mark.parametrize("n", [20, 100])
def test_wilson_covers(n):
    """In the mean over all p the coverage is 95%, by exact sums over the binomial law; at n = 20 never below 0.83."""
    p = np.linspace(0.001, 0.999, 999)
    k = np.arange(n + 1)
    low, high = wilson(k, n)
    coverage = np.sum(binom.pmf(k, n, p[:, None]) * ((low <= p[:, None]) & (p[:, None] <= high)), axis=1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.006)
    assert coverage.min() > 0.83


def test_what_are_no_tallies():
    with pytest.raises(ValueError, match="successes must be at most trials, got 4 of 3"):
        wilson([1, 4], 3)
    with pytest.raises(ValueError, match=r"successes must be counts, got 0\.5"):
        wilson(0.5, 1)
    with pytest.raises(ValueError, match="trials must be counts, got -1"):
        wilson(0, -1)
    with pytest.raises(ValueError, match="confidence must be less than 1, got 1"):
        wilson(1, 2, 1.0)
    with pytest.raises(ValueError, match=r"do not broadcast: shapes \(2,\), \(3,\)"):
        wilson([1, 2], [3, 4, 5])


X = np.linspace(-1, 1, 13)


def drawn(rng, count, trials):
    """Tallies of curves with all kinds of crossings and slopes of both signs."""
    curves = np.column_stack([rng.uniform(-3, 3, count), rng.uniform(-9, 9, count)])
    return rng.binomial(trials, expit(curves[:, :1] + curves[:, 1:] * X)).astype(float)


def penalised(curve, k, n):
    """Minus the log-likelihood with Jeffreys' penalty, written out."""
    predictor = curve[0] + curve[1] * X
    weight = n * expit(predictor) * expit(-predictor)
    information = np.array([[weight.sum(), weight @ X], [weight @ X, weight @ X**2]])
    return -np.sum(k * predictor - n * np.logaddexp(0, predictor)) - 0.5 * np.linalg.slogdet(information)[1]


def test_the_fit_maximises_the_penalised_likelihood(rng):
    n = rng.integers(1, 9, X.size).astype(float)
    k = drawn(rng, 20, n.astype(int))
    k[0], k[1], k[2] = 0, n, n * (X > 0.2)
    found = fit_logistic(X, k, n)
    assert found.converged.all()
    for curve, row in zip(found.curves, k, strict=True):
        best = minimize(penalised, curve + 0.3, (row, n), "Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-12})
        assert penalised(curve, row, n) <= best.fun + 1e-10
        np.testing.assert_allclose(curve, best.x, rtol=0, atol=2e-5)


def test_with_many_trials_the_penalty_vanishes_and_the_fit_is_scikit_learns(rng):
    """The maximum of the likelihood, up to an error of order 1 / trials."""
    for trials, accuracy in ((300, 0.05), (30_000, 0.0005)):
        k = drawn(rng, 5, trials)
        for curve, row in zip(fit_logistic(X, k, np.full(13, float(trials))).curves, k, strict=True):
            labels, places = np.repeat([1, 0], 13), np.tile(X, 2)[:, None]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of how no penalty is spelt
                model = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky")
                model.fit(places, labels, np.concatenate([row, trials - row]))
            expected = np.array([model.intercept_[0], model.coef_[0, 0]])
            np.testing.assert_allclose(curve, expected, rtol=0, atol=accuracy * np.abs(expected).max())


def test_fits_know_nothing_of_each_other_or_of_where_they_start(rng):
    n = np.full(13, 6.0)
    k = drawn(rng, 50, 6)
    together = fit_logistic(X, k, n).curves
    alone = np.concatenate([fit_logistic(X, row[None], n).curves for row in k])
    np.testing.assert_array_equal(together, alone)
    elsewhere = fit_logistic(X, k, n, together + rng.standard_normal(together.shape)).curves
    np.testing.assert_allclose(elsewhere, together, rtol=0, atol=1e-7)


def test_mirrored_data_have_the_mirrored_curve(rng):
    n = np.full(13, 5.0)
    k = drawn(rng, 10, 5)
    curves = fit_logistic(X, k, n).curves
    np.testing.assert_allclose(fit_logistic(X, 5 - k, n).curves, -curves, rtol=0, atol=1e-8)
    np.testing.assert_allclose(fit_logistic(X, k[:, ::-1], n).curves, curves * [1, -1], rtol=0, atol=1e-8)


def test_the_deviance_by_its_formula():
    k, n, curves = np.array([[0.0, 1.0, 4.0]]), np.array([[2.0, 3.0, 4.0]]), np.array([[0.3, 1.5]])
    p, rate = expit(0.3 + 1.5 * np.array([-1.0, 0.0, 1.0])), k / n
    expected = 2 * (np.sum(np.log(binom.pmf(k, n, rate))) - np.sum(np.log(binom.pmf(k, n, p))))
    assert deviances(np.array([-1.0, 0.0, 1.0]), k, n, curves) == pytest.approx(expected, rel=1e-12)
