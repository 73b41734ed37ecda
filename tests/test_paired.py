"""Paired comparisons: what is counted are trials on common draws, the tests are those of the books."""

from __future__ import annotations

import dataclasses

import matplotlib.figure
import numpy as np
import pytest
from scipy.stats import binom, binomtest

import fastflow as ff
from fastflow.studies.paired import differences, holm, mcnemar, rate_interval


@dataclasses.dataclass(frozen=True)
class LeastNorm:
    """The solution of least 2-norm, which is sparse where there are as many measurements as unknowns."""

    def solve(self, problem):
        return np.linalg.lstsq(problem.matrix, problem.values, rcond=None)[0]


METHODS = {"pursuit": ff.baselines.BasisPursuit(), "least norm": LeastNorm()}


@pytest.fixture(scope="module")
def result():
    axes = {"m": [4, 8, 12], "method": METHODS, "sparsity": [1, 3]}
    study = ff.Study(ff.ensembles.Sparse(n=12), axes=axes, trials=20)
    return study.run(threads=1, progress=False)


def test_pairs_are_trials_of_one_number(result):
    found = result.paired()
    assert (found.first, found.second) == ("pursuit", "least norm")
    assert list(found.axes) == ["m", "sparsity"]
    error, success = result["error"], result.success.of(result.outcomes)
    apart = error[:, 0] - error[:, 1]
    assert np.array_equal(found.median, np.median(apart, axis=-1))
    assert np.array_equal(found.smaller, ((apart < 0) + 0.5 * (apart == 0)).mean(axis=-1))
    only = success[:, 0] & ~success[:, 1]
    assert np.array_equal(found.first_alone, only.sum(axis=-1))
    assert np.array_equal(found.rate, success[:, 0].mean(axis=-1) - success[:, 1].mean(axis=-1))
    assert np.all((found.low <= found.median) & (found.median <= found.high))
    assert np.all((found.rate_low <= found.rate) & (found.rate <= found.rate_high))
    assert found.p_adjusted[1, 0] < 0.01  # pursuit recovers one entry from 8 of 12
    assert np.all(found.p_adjusted[2] == 1)  # where the system is square both do
    back = result.paired("least norm", "pursuit")
    assert np.array_equal(back.median, -found.median)
    assert np.array_equal(back.p_value, found.p_value)
    frame = found.to_dataframe()
    assert frame[["m", "sparsity"]].to_numpy().tolist() == [[m, s] for m in (4, 8, 12) for s in (1, 3)]
    assert frame["rate"].tolist() == found.rate.ravel().tolist()
    lone = result.sel(m=8, sparsity=1).paired()
    assert lone.p_value == found.p_value[1, 0]
    assert len(lone.to_dataframe()) == 1


def test_success_and_numbers_that_are_missing():
    first = np.array([[1.0, np.nan, 3.0, np.inf, 5.0]])
    second = np.array([[2.0, 1.0, 3.0, np.inf, 0.0]])
    yes, no = np.ones((1, 5), bool), np.zeros((1, 5), bool)
    both = np.array([[True, True, True, True, False]])
    found = differences(first, second, (yes, no), both)
    assert (found["pairs"], found["missing"], found["first_alone"]) == (4, 1, 4)
    assert found["median"] == 0  # of -1, 0 and 0: two infinite losses are equal
    assert found["smaller"] == pytest.approx(2 / 3)
    nothing = differences(first, second, (yes, no), no)
    assert np.isnan(nothing["median"])
    assert (nothing["p_value"], nothing["p_adjusted"], nothing["rate_low"], nothing["rate_high"]) == (1, 1, -1, 1)


def test_mcnemars_test_is_the_exact_one():
    b, c = np.meshgrid(np.arange(9), np.arange(9))
    expected = [binomtest(int(i), int(i + j)).pvalue if i + j else 1.0 for i, j in zip(b.flat, c.flat, strict=True)]
    np.testing.assert_allclose(mcnemar(b, c).ravel(), expected, rtol=1e-12)


def test_holm_is_the_step_down_of_bonferroni():
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.5])
    asked = np.array([True, True, True, True, False])
    np.testing.assert_allclose(holm(p, asked), [0.03, 0.06, 0.06, 0.02, 1.0])


@pytest.mark.parametrize(("only_first", "only_second"), [(0.1, 0.1), (0.3, 0.05), (0.02, 0.0), (0.5, 0.2)])
def test_intervals_of_rates_cover(only_first, only_second):
    """Summed exactly over all tables of 30 pairs: near 95%, never under 92%."""
    n = 30
    b, c = np.meshgrid(np.arange(n + 1), np.arange(n + 1))
    rest = 1 - only_first
    weight = binom.pmf(b, n, only_first) * binom.pmf(c, n - b, only_second / rest)
    low, high = rate_interval(b, c, np.full(b.shape, n), 0.95)
    truth = only_first - only_second
    assert np.sum(weight * ((low <= truth) & (truth <= high))) >= 0.92


def test_what_cannot_be_paired_is_said(result):
    with pytest.raises(ValueError, match="draw different problems"):
        result.paired(4, 8, axis="m")
    with pytest.raises(KeyError, match="there is no axis 'depth'"):
        result.paired(axis="depth")
    with pytest.raises(KeyError, match="axis 'method' has no 'x'"):
        result.paired("x", "pursuit")
    with pytest.raises(ValueError, match="two different values"):
        result.paired("pursuit", "pursuit")
    with pytest.raises(ValueError, match="needs two values"):
        result.paired("pursuit")
    with pytest.raises(ValueError, match="no other axis is left"):
        result.sel(m=8, sparsity=1).plot_paired()


def test_the_picture_shows_where_they_differ(result):
    found = result.paired()
    figure = result.plot_paired()
    (mesh,) = [item for item in figure.axes[0].collections if hasattr(item, "get_coordinates")]
    np.testing.assert_array_equal(mesh.get_array(), found.rate.T)
    at = np.column_stack(figure.axes[0].lines[0].get_data())
    expected = [[m, s] for i, m in enumerate((4, 8, 12)) for j, s in enumerate((1, 3)) if found.p_adjusted[i, j] < 0.05]
    assert sorted(map(tuple, at.tolist())) == sorted(map(tuple, expected))
    assert "McNemar" in figure.get_suptitle()
    own = matplotlib.figure.Figure()
    assert result.plot_paired(along="m", ax=own.subplots()) is own
    assert [line.get_label() for line in own.axes[0].lines[:3:2]] == ["s = 1", "s = 3"]
