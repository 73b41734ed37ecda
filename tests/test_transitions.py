"""Crossings: that intervals cover, slices without a transition, and basis pursuit at the statistical dimension."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit, ndtr

import fastflow as ff
from fastflow.studies.predictions import predicted
from fastflow.studies.transitions import Boundary, Crossing, boundary, compare
from fastflow.threads import one_blas_thread

VALUES = np.arange(31.0)


COUNT = 300
ERROR = np.sqrt(0.95 * 0.05 / COUNT)


@pytest.mark.parametrize(
    ("trials", "width", "level"),
    [(100, 1.0, 0.5), (20, 0.4, 0.5), (20, 0.1, 0.5), (5, 1.0, 0.5), (2, 0.02, 0.5), (20, 1.0, 0.1), (20, 0.1, 0.9)],
)
def test_intervals_cover_as_often_as_they_say(rng, trials, width, level):
    """Of 300 slices 95% of the intervals, up to 4 standard errors; more where slices are sharp, never less."""
    middle = rng.uniform(8, 22, COUNT)
    rates = expit((VALUES - middle[:, None]) / width)
    found = boundary(VALUES, rng.binomial(trials, rates), trials, level, resamples=300)
    truth = middle + width * logit(level)
    covered = np.mean((found.low <= truth) & (truth <= found.high))
    assert covered > 0.95 - 4 * ERROR
    assert covered < 0.95 + 4 * ERROR or np.mean(found.status == Crossing.SEPARATED) > 0.1
    assert np.median(found.high - found.low) < (3.2 if width < 0.1 else 6.5 * width / np.sqrt(trials) + 2.1)
    assert np.mean(found.value - truth) == pytest.approx(0, abs=0.2 + 4 / np.sqrt(COUNT) * width)


def test_coverage_where_the_curve_is_not_logistic_but_symmetric(rng):
    middle = rng.uniform(8, 22, COUNT)
    found = boundary(VALUES, rng.binomial(50, ndtr(VALUES - middle[:, None])), 50, resamples=300)
    assert np.mean((found.low <= middle) & (middle <= found.high)) > 0.95 - 4 * ERROR


def test_the_width_and_its_interval(rng):
    rates = expit((VALUES - rng.uniform(12, 18, COUNT)[:, None]) / 1.5)
    found = boundary(VALUES, rng.binomial(40, rates), 40, resamples=300)
    width = 2 * np.log(9) * 1.5
    assert found.width.mean() == pytest.approx(width, rel=0.02)
    covered = np.mean((found.width_low <= width) & (width <= found.width_high))
    assert covered == pytest.approx(0.95, abs=4 * ERROR)


@pytest.mark.parametrize(("trials", "noticed"), [(20, 0.2), (50, 0.6), (100, 0.9)])
def test_a_bad_fit_is_noticed(rng, trials, noticed):
    """As often as its documentation says, less what 150 slices leave open; a logistic curve as seldom as it should."""
    middle = rng.uniform(12, 18, 150)
    places = VALUES - middle[:, None]
    logistic = boundary(VALUES, rng.binomial(trials, expit(places / 2)), trials, resamples=200)
    skewed = boundary(VALUES, rng.binomial(trials, 1 - np.exp(-np.exp(places / 2))), trials, resamples=200)
    assert np.mean(logistic.misfit < 0.05) < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 150)
    assert np.mean(skewed.misfit < 0.05) > noticed


def slices(*rows, trials=20, rising=True, **options):
    return boundary(VALUES, np.array(rows), trials, rising=rising, **options)


def test_slices_that_only_fail_or_only_succeed():
    nothing, everything = 0 * VALUES, 0 * VALUES + 20
    up, down = slices(nothing, everything), slices(nothing, everything, rising=False)
    np.testing.assert_array_equal(up.value, [np.inf, -np.inf])
    np.testing.assert_array_equal(down.value, [-np.inf, np.inf])
    np.testing.assert_array_equal(up.status, [Crossing.AFTER, Crossing.BEFORE])
    np.testing.assert_array_equal(down.status, [Crossing.BEFORE, Crossing.AFTER])
    for found in (up, down):
        after = found.value > 0
        np.testing.assert_array_equal(found.low, np.where(after, 30, -np.inf))
        np.testing.assert_array_equal(found.high, np.where(after, np.inf, 0))
        assert np.isnan(found.width).all()
    # Alone they do not say which way; beside another slice they do.
    assert slices(nothing, rising=None).status == Crossing.UNCLEAR
    assert np.isnan(slices(everything, rising=None).value).all()
    beside = slices(nothing, 20 * (VALUES > 9), everything, rising=None).value
    np.testing.assert_allclose(beside, [np.inf, 9.5, -np.inf], rtol=1e-12)


@pytest.mark.parametrize("trials", [2, 20, 1000])
def test_perfect_separation_is_bracketed(trials):
    found = slices(trials * (VALUES >= 16), trials * (VALUES >= 1), trials * (VALUES >= 30), trials=trials)
    np.testing.assert_array_equal(found.status, Crossing.SEPARATED)
    np.testing.assert_allclose(found.value, [15.5, 0.5, 29.5], rtol=0, atol=0.1)
    assert (found.low <= [15, 0, 29]).all()
    assert (found.high >= [16, 1, 30]).all()
    if trials >= 20:  # each cell alone is evidence enough
        np.testing.assert_array_equal(found.low, [15, 0, 29])
        np.testing.assert_array_equal(found.high, [16, 1, 30])
    else:
        assert 12 < found.low[0] < 15
    np.testing.assert_array_equal(found.width_low, 0)


def test_one_mixed_cell_is_bracketed_by_its_neighbours():
    """At 2 of 20 the curve crosses 50% above that cell for sure; at 9 of 20 on either side."""
    found = slices(20 * (VALUES > 15) + 2 * (VALUES == 15), 20 * (VALUES > 15) + 9 * (VALUES == 15))
    np.testing.assert_array_equal(found.status, Crossing.SEPARATED)
    np.testing.assert_array_equal(found.low, [15, 14])
    np.testing.assert_array_equal(found.high, [16, 16])
    assert 15 < found.value[0] < 15.5
    assert 15 < found.value[1] < 15.1


def test_crossings_outside_of_the_values():
    late, early = np.round(20 * expit(VALUES - 33)), np.round(20 * expit(VALUES + 3))
    found = slices(late, early, np.round(20 * expit(VALUES - 29.6)))
    np.testing.assert_array_equal(found.value[:2], [np.inf, -np.inf])
    np.testing.assert_array_equal(found.low[:2], [30, -np.inf])
    np.testing.assert_array_equal(found.high[:2], [np.inf, 0])
    assert 29 < found.low[2] < found.value[2] < 30
    assert found.high[2] == np.inf  # some resamples cross after the last value


def test_slices_that_turn_the_other_way():
    """Unclear if they pass the level, but if all rates are below it, it comes later for sure."""
    found = slices(20 * (VALUES > 15), 20 * (VALUES < 15), 1 * (VALUES == 0), 20 - (VALUES == 30))
    np.testing.assert_array_equal(found.status, [Crossing.SEPARATED, Crossing.UNCLEAR, Crossing.AFTER, Crossing.BEFORE])
    assert np.isnan(found.value[1])
    assert np.isnan([found.low[1], found.high[1], found.width[1], found.misfit[1]]).all()


def test_values_without_trials_do_not_count(rng):
    """A slice with holes is the slice of the values that it has; in any order of the values."""
    k = rng.binomial(20, expit((VALUES - 12) / 2))
    there = (VALUES > 5) & (rng.random(31) < 0.7)
    holes, short = boundary(VALUES, k * there, 20 * there), boundary(VALUES[there], k[there], 20)
    for name in ("value", "width", "slope", "intercept"):
        assert getattr(holes, name) == pytest.approx(getattr(short, name), rel=1e-9)
    order = rng.permutation(31)
    mixed = boundary(VALUES[order], (k * there)[order], (20 * there)[order])
    assert (mixed.value, mixed.low, mixed.high) == (holes.value, holes.low, holes.high)
    tried = np.array([[0, 0, 0], [5, 0, 0], [20, 20, 0]])
    few = boundary([1, 2, 3], [[0, 0, 0], [1, 0, 0], [20, 20, 0]], tried, rising=False)
    np.testing.assert_array_equal(few.status, [Crossing.UNKNOWN, Crossing.UNKNOWN, Crossing.AFTER])
    np.testing.assert_array_equal(few.low, [np.nan, np.nan, 2])


def test_a_slice_has_the_same_interval_in_any_company(rng):
    k = rng.binomial(20, expit(VALUES - rng.uniform(5, 25, (2, 3, 1))))
    found = boundary(VALUES, k, 20, resamples=100, seed=3)
    assert found.value.shape == found.low.shape == found.status.shape == (2, 3)
    alone = boundary(VALUES, k[1, 2], 20, resamples=100, rising=True, seed=3)
    assert (alone.value, alone.low, alone.high, alone.misfit) == tuple(
        getattr(found, name)[1, 2] for name in ("value", "low", "high", "misfit")
    )
    other = boundary(VALUES, k, 20, resamples=100, seed=4)
    np.testing.assert_array_equal(other.value, found.value)
    assert (other.low != found.low).any()


def test_logarithmic_values(rng):
    """A curve in log10(alpha): the crossing and its interval are powers of those in the exponent."""
    exponents = np.linspace(-8, 0, 17)
    k = rng.binomial(20, expit(-2 * (exponents + 3.3)), (4, 17))
    found = boundary(10**exponents, k, 20, logarithmic=True)
    plain = boundary(exponents, k, 20)
    np.testing.assert_allclose(found.value, 10**plain.value, rtol=1e-9)
    np.testing.assert_allclose(found.rates(10**exponents), plain.rates(exponents), rtol=0, atol=1e-9)
    middle, half = -found.intercept / found.slope, np.log(9) / np.abs(found.slope)
    np.testing.assert_allclose(found.width, np.exp(middle + half) - np.exp(middle - half), rtol=1e-9)
    assert (found.low < found.value).all()
    assert (found.value < found.high).all()


def test_the_curve_passes_the_level_at_the_crossing(rng):
    k = rng.binomial(30, expit((VALUES - rng.uniform(10, 20, (5, 1))) / 2))
    for level in (0.1, 0.5, 0.9):
        found = boundary(VALUES, k, 30, level, resamples=0)
        np.testing.assert_allclose(np.diagonal(found.rates(found.value)), level, rtol=1e-9)
        assert np.isnan([found.low, found.high, found.width_low, found.misfit]).all()


def test_comparison_with_theory():
    nan = np.full(4, np.nan)
    found = Boundary(
        value=np.array([10.0, 10.0, np.inf, np.nan]), low=np.array([9.0, 9.0, 30.0, np.nan]),
        high=np.array([11.0, 11.0, np.inf, np.nan]), width=nan, width_low=nan, width_high=nan, misfit=nan,
        status=np.array([0, 0, 2, 4]), intercept=nan, slope=nan, level=0.5, confidence=0.95, logarithmic=False,
    )  # fmt: skip
    against = compare(found, [10.5, 13.0, 31.0, 5.0])
    np.testing.assert_array_equal(against.difference, [-0.5, -3.0, np.inf, np.nan])
    np.testing.assert_array_equal(against.relative[:2], [-0.5, -3.0])
    np.testing.assert_array_equal(against.within, [True, False, True, False])


def test_what_makes_no_slices():
    with pytest.raises(ValueError, match=r"last axis of the 3 values, got shape \(2,\)"):
        boundary([1, 2, 3], [0, 1], 1)
    with pytest.raises(ValueError, match=r"values must be distinct, got \[1.0, 1.0, 2.0\]"):
        boundary([1.0, 2, 1], [0, 1, 1], 1)
    with pytest.raises(ValueError, match="greater than 0 on a logarithmic axis, got 0"):
        boundary([0, 1, 2], [0, 1, 1], 1, logarithmic=True)
    for level in (0, 1):
        with pytest.raises(ValueError, match="level must be"):
            boundary([1, 2, 3], [0, 1, 1], 1, level)
    assert all(len(status.message) > 20 for status in Crossing)


@pytest.mark.filterwarnings("ignore:basis pursuit was solved only to")  # one in 1680 may have a gap just above 1e-8
def test_basis_pursuit_crosses_at_the_statistical_dimension(rng):
    """Gaussian matrices, n = 100: the 50% crossing by HiGHS, and the value of this size within its 99% interval."""
    n, trials, sparsities = 100, 80, np.array([5, 15, 30])
    dimensions = ff.theory.l1_finite_dimension(sparsities, n)
    offsets = np.arange(-6, 7, 2)
    counts = np.zeros((3, len(offsets)))
    measurements = np.round(dimensions)[:, None].astype(int) + offsets
    with one_blas_thread():
        for (i, j), m in np.ndenumerate(measurements):
            for _ in range(trials):
                matrix, truth = rng.standard_normal((m, n)), np.zeros(n)
                truth[: sparsities[i]] = rng.standard_normal(sparsities[i])
                error = ff.baselines.basis_pursuit(matrix, matrix @ truth) - truth
                counts[i, j] += np.linalg.norm(error) < 1e-5 * np.linalg.norm(truth)
    found = boundary(offsets, counts, trials, confidence=0.99)
    against = compare(found, dimensions - measurements[:, 3])
    print(found.value + measurements[:, 3], dimensions, found.high - found.low)
    assert against.within.all()
    assert (found.high - found.low < 3).all()
    assert (found.misfit > 0.001).all()


def test_predictions_invert_each_other():
    sparsities, n = np.array([1, 10, 50, 99]), 100
    for program in ("l1", "nonnegative l1"):
        m = predicted(program, "m", {"n": n, "sparsity": sparsities})
        np.testing.assert_allclose(
            m, ff.theory.l1_statistical_dimension(sparsities, n, nonnegative="n" in program), rtol=1e-14
        )
        rho = sparsities / m
        for along, known, expected in (
            ("sparsity", {"n": n, "m": m}, sparsities),
            ("rho", {"n": n, "ensemble.m": m}, rho),
            ("rho", {"n": n, "delta": m / n}, rho),
            ("m", {"n": n, "rho": rho}, m),
            ("ensemble.delta", {"n": n, "rho": rho, "method": "limit", "noise": None}, m / n),
            ("n", {"m": m, "sparsity": sparsities}, n),
        ):
            np.testing.assert_allclose(predicted(program, along, known), expected, rtol=1e-9)
    m = predicted("nuclear", "m", {"n": 20, "rank": np.array([3, 7])})
    np.testing.assert_allclose(m, ff.theory.nuclear_statistical_dimension([3, 7], (20, 20)), rtol=1e-14)
    np.testing.assert_allclose(predicted("nuclear", "rank", {"n": 20, "columns": None, "m": m}), [3, 7], rtol=1e-9)
    assert predicted("l1", "scale", {"n": 3, "m": 2}) is None
    assert predicted("l1", "m", {"n": 3}) is None
    assert predicted("nuclear", "m", {"n": 3}) is None
