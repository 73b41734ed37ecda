"""Pictures of studies: what is drawn is what was counted, cells that are not there stay empty, no text is cut."""

from __future__ import annotations

import sys
import types

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from scipy.special import expit

import fastflow as ff
from fastflow.studies import pictures
from fastflow.studies.pictures.arrangement import MOST_PANELS, edges_of, is_logarithmic, named
from fastflow.studies.predictions import PROGRAMS
from fastflow.studies.statistics import wilson
from fastflow.studies.transitions import boundary

M, S, ALPHAS = np.arange(4, 33, 4), np.arange(2, 33, 5), (1e-8, 1e-2)


def as_result(axes, rates, trials, rng):
    """A result with the rates and trials of its cells, and 30 trials at most."""
    done = np.arange(30) < np.asarray(trials)[..., None]
    error = np.where(rng.random(done.shape) < np.asarray(rates)[..., None], 1e-6, 1.0)
    return types.SimpleNamespace(
        axes=axes, trials=np.count_nonzero(done, axis=-1), success="relative_error < 1e-3",
        setting={"n": 32, "scale": 1e-4}, has_alpha=True,
        successes=np.count_nonzero(done & (error < 1e-3), axis=-1),
        outcomes={
            "seconds": np.where(done, 1e-3 * (1 + np.arange(30)), -np.inf), "error": np.where(done, error, -np.inf),
            "steps": np.where(done, 7, -1), "loss": np.where(done, np.inf, -np.inf),
        },
    )  # fmt: skip


@pytest.fixture
def triangle(rng):
    """Sparsity by measurements for two alphas, no cells where s > m, fewer trials in the last column."""
    middles = ff.theory.l1_statistical_dimension(S, 32)[:, None, None] + np.array([0, 4])
    rates = expit((M[:, None] - middles) / 1.5)
    trials = np.where(S[:, None] > M, 0, np.where(M == 32, 20, 30))[..., None] * np.ones(2, int)
    axes = {"sparsity": tuple(S.tolist()), "m": tuple(M.tolist()), "init.scale": ALPHAS}
    return as_result(axes, rates, trials, rng)


def part(result, **chosen):
    """One value of some axes."""
    at = tuple(chosen.get(name.rpartition(".")[2], slice(None)) for name in result.axes)
    return types.SimpleNamespace(
        axes={name: values for name, values in result.axes.items() if name.rpartition(".")[2] not in chosen},
        successes=result.successes[at], trials=result.trials[at], success=result.success, setting=result.setting,
        has_alpha=result.has_alpha, outcomes={name: values[at] for name, values in result.outcomes.items()},
    )  # fmt: skip


def drawn(figure):
    """Draw, and check that nothing is cut off."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    renderer = canvas.get_renderer()
    for artist in (*figure.texts, *figure.axes, *figure.legends):
        box = artist.get_tightbbox(renderer)
        assert box.x0 >= -1, artist
        assert box.y0 >= -1, artist
        assert box.x1 <= width + 1, artist
        assert box.y1 <= height + 1, artist
    return canvas


def cells(axes):
    """The values of the cells, and their edges."""
    (mesh,) = [item for item in axes.collections if hasattr(item, "get_coordinates")]
    corners = mesh.get_coordinates()
    return mesh.get_array(), corners[0, :, 0], corners[:, 0, 1]


def line(axes, label):
    (found,) = [item for item in axes.lines if item.get_label() == label]
    return np.array(found.get_data())


def test_a_map_shows_the_rates_of_the_cells_that_are_there(triangle):
    figure = pictures.plot(part(triangle, scale=0), program="l1", parameters={"n": 32})
    drawn(figure)
    axes, bar = figure.axes
    values, x, y = cells(axes)
    result = part(triangle, scale=0)
    there = result.trials > 0
    np.testing.assert_array_equal(values.mask, ~there)
    np.testing.assert_array_equal(values[there], (result.successes / np.maximum(result.trials, 1))[there])
    np.testing.assert_array_equal(x, np.arange(2, 35, 4))
    np.testing.assert_array_equal(y, np.arange(-0.5, 35, 5))
    assert axes.patch.get_hatch()
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == (
        "measurements m", "sparsity s", "rate of success",
    )  # fmt: skip
    assert " ".join(figure.get_suptitle().split()) == (
        r"n = 32, $\alpha$ = $10^{-4}$ success: relative_error < 1e-3; 20 to 30 trials per cell"
    )


def test_the_curves_of_a_map_are_the_fits_and_the_statistical_dimension(triangle):
    result = part(triangle, scale=0)
    axes = pictures.rate_map(result, program="l1", parameters={"n": 32}).axes[0]
    found = boundary(M, result.successes, result.trials, resamples=0).value
    finite = np.isfinite(found)
    assert 3 <= finite.sum() < len(S)  # at s = 32 nothing is left to fit
    np.testing.assert_array_equal(line(axes, "50%, fitted"), [np.where(finite, found, np.nan), S])
    low, high = (item.get_xdata() for item in axes.lines if item.get_linestyle() != "-")
    for level, curve in ((0.1, low), (0.9, high)):
        expected = boundary(M, result.successes, result.trials, level, resamples=0).value
        np.testing.assert_array_equal(curve, np.where(np.isfinite(expected), expected, np.nan))
    x, y = line(axes, PROGRAMS["l1"])
    np.testing.assert_allclose(x, ff.theory.l1_statistical_dimension(np.clip(y, 0, 32), 32), rtol=1e-12)
    assert y[-1] == 34.5
    turned = pictures.rate_map(result, x="sparsity", y="m", along="m").axes[0]
    np.testing.assert_array_equal(line(turned, "50%, fitted"), line(axes, "50%, fitted")[::-1])
    np.testing.assert_array_equal(cells(turned)[0].filled(-1), cells(axes)[0].filled(-1).T)


def test_values_in_any_order_give_the_same_map(triangle, rng):
    result = part(triangle, scale=1)
    rows, columns = rng.permutation(len(S)), rng.permutation(len(M))
    mixed = types.SimpleNamespace(
        axes={"m": tuple(M[columns].tolist()), "sparsity": tuple(S[rows].tolist())}, success=result.success,
        setting=result.setting, has_alpha=result.has_alpha,
        successes=result.successes[rows][:, columns].T, trials=result.trials[rows][:, columns].T, outcomes={},
    )  # fmt: skip
    one, other = pictures.plot(result).axes[0], pictures.plot(mixed).axes[0]
    for a, b in zip(cells(one), cells(other), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(line(one, "50%, fitted"), line(other, "50%, fitted"))


def test_kinds_of_pictures(triangle):
    one = part(triangle, scale=0)
    for kind, draw in (("map", pictures.rate_map), ("slices", pictures.slices), ("steps", pictures.time_map)):
        options = {"quantity": "steps"} if kind == "steps" else {}
        assert len(pictures.plot(one, kind).axes) == len(draw(one, **options).axes)
    assert pictures.plot(one, "seconds").axes[-1].get_ylabel() == "median seconds per trial"
    assert pictures.plot(one, y="m").axes[0].get_xlabel() == "sparsity s"
    with pytest.raises(ValueError, match="kind must be one of 'map', 'slices', 'seconds'"):
        pictures.plot(one, "times")


def test_titles_break_between_parameters(triangle):
    setting = {"n": 100, "m": 40, "sparsity": 8, "noise": 0.001, "depth": 2, "kind": "GradientDescent", "scale": 1e-4}
    figure = pictures.slices(types.SimpleNamespace(**vars(part(triangle, scale=0)) | {"setting": setting}))
    first, second, *_ = figure.get_suptitle().split("\n")
    assert first + ", " + second == ", ".join(
        named("alpha" if name == "scale" else name, value) for name, value in setting.items()
    )


def test_no_ticks_between_integers(rng):
    figure = pictures.plot(as_result({"depth": (2, 3), "m": (3, 4, 5)}, np.eye(2, 3), np.full((2, 3), 9), rng))
    drawn(figure)
    for axis in (figure.axes[0].xaxis, figure.axes[0].yaxis):
        assert np.all(axis.get_majorticklocs() % 1 == 0)


def test_other_axes_are_panels(triangle):
    figure = pictures.plot(triangle, program="l1", parameters={"n": 32})
    drawn(figure)
    assert [axes.get_title() for axes in figure.axes] == [r"$\alpha$ = $10^{-8}$", r"$\alpha$ = 0.01", ""]
    for i, axes in enumerate(figure.axes[:2]):
        alone = pictures.plot(part(triangle, scale=i)).axes[0]
        np.testing.assert_array_equal(cells(axes)[0].filled(-1), cells(alone)[0].filled(-1))
    with pytest.raises(ValueError, match=r"x must be one of 'sparsity', 'm', 'init.scale'"):
        pictures.rate_map(triangle, x="n")


def test_curves_of_other_results_lie_beside(triangle):
    other = part(triangle, scale=1)
    axes = pictures.rate_map(triangle, beside={"basis pursuit": other}).axes[0]
    own = pictures.rate_map(other).axes[0]
    np.testing.assert_array_equal(line(axes, "50%, basis pursuit"), line(own, "50%, fitted"))
    with pytest.raises(ValueError, match=r"must have the axes m and sparsity, got sparsity, m, init\.scale"):
        pictures.rate_map(other, beside={"both": triangle})


def test_the_map_of_times_has_the_medians_of_what_was_done(triangle):
    figure = pictures.time_map(part(triangle, scale=0))
    drawn(figure)
    values = cells(figure.axes[0])[0]
    trials = part(triangle, scale=0).trials
    np.testing.assert_array_equal(values.mask, trials == 0)
    np.testing.assert_allclose(values[trials == 30], 1e-3 * 15.5, rtol=1e-12)
    np.testing.assert_allclose(values[trials == 20], 1e-3 * 10.5, rtol=1e-12)
    steps = cells(pictures.time_map(part(triangle, scale=0), "steps").axes[0])[0]
    assert (steps[trials > 0] == 7).all()
    drawn(pictures.time_map(triangle, "error"))
    drawn(pictures.time_map(triangle, "loss"))  # infinite everywhere
    with pytest.raises(ValueError, match="quantity must be one of 'seconds'"):
        pictures.time_map(triangle, "time")


def test_slices_show_rates_with_their_intervals_and_fits(triangle):
    result = part(triangle, scale=0)
    figure = pictures.slices(result, program="l1", parameters={"n": 32})
    drawn(figure)
    (axes,) = figure.axes
    bars = {container.get_label(): container for container in axes.containers}
    assert list(bars) == [f"s = {s}" for s in S[[0, 1, 2, 4, 5, 6]]]
    for s, container in bars.items():
        i = S.tolist().index(int(s[4:]))
        there = result.trials[i] > 0
        k, n = result.successes[i][there], result.trials[i][there]
        np.testing.assert_array_equal(container[0].get_data(), [M[there], k / n])
        segments = np.array(container[2][0].get_segments())[:, :, 1]
        np.testing.assert_allclose(segments.T, wilson(k, n), rtol=0, atol=1e-12)
    fit = next(item for item in axes.lines if len(item.get_xdata()) == 400)
    x, y = fit.get_data()
    whole = boundary(M, result.successes, result.trials, resamples=0)
    np.testing.assert_allclose(y, whole.rates(x)[0], rtol=0, atol=1e-9)
    assert (x[0], x[-1]) == (4, 32)
    dotted = line(axes, PROGRAMS["l1"])[0]
    np.testing.assert_allclose(dotted, ff.theory.l1_statistical_dimension(2, 32), rtol=1e-12)


def test_one_axis_is_a_curve_and_a_method_gives_a_line(triangle, rng):
    alone = part(triangle, scale=0, sparsity=1)
    figure = pictures.plot(alone)
    drawn(figure)
    (axes,) = figure.axes
    (bar,) = axes.containers
    np.testing.assert_array_equal(bar[0].get_ydata(), (alone.successes / np.maximum(alone.trials, 1))[alone.trials > 0])
    several = part(triangle, sparsity=1)
    several.axes = {"m": several.axes["m"], "method": ("limit", "basis pursuit")}
    figure = pictures.plot(several)
    drawn(figure)
    assert [container.get_label() for container in figure.axes[0].containers] == ["limit", "basis pursuit"]
    labels = part(several, m=5)
    labels.axes = {"method": ("limit", "basis pursuit")}
    figure = pictures.plot(labels)
    drawn(figure)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["limit", "basis pursuit"]


def test_values_over_decades_are_on_a_logarithmic_axis(rng):
    alphas = 10.0 ** np.arange(-8, 1)
    rates = expit(np.arange(20, 29)[:, None] - 24 + np.log(alphas))
    figure = pictures.plot(as_result({"m": tuple(range(20, 29)), "scale": tuple(alphas)}, rates, rates * 0 + 30, rng))
    drawn(figure)
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("linear", "log", "measurements m")
    np.testing.assert_allclose(cells(axes)[2], 10.0 ** np.arange(-8.5, 1), rtol=1e-12)
    figure = pictures.slices(as_result({"scale": tuple(alphas)}, expit(-np.log(alphas) - 9), [30] * 9, rng))
    assert figure.axes[0].get_xscale() == "log"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2, 3], False), ([1e-8, 1e-2], True), ([1, 100], False), ([0, 1e-8, 1], False), ([1, 10, 100], True),
     ([1, 50, 100], False), ([3], False), (list(range(4, 129, 4)), False), ([1e-2, 1e-4, 1e-8], True)],
    ids=str,
)  # fmt: skip
def test_which_values_are_spread_over_decades(values, expected):
    assert is_logarithmic(np.array(values)) == expected


def test_edges_and_names():
    np.testing.assert_array_equal(edges_of(np.array([3])), [2.5, 3.5])
    np.testing.assert_array_equal(edges_of(np.array([1, 2, 5])), [0.5, 1.5, 3.5, 6.5])
    assert named("alpha", 1e-4) == r"$\alpha$ = $10^{-4}$"
    assert named("init.scale", 1e-4) == "scale = $10^{-4}$"
    assert named("m", 1000) == "m = $10^{3}$"
    assert named("network", "depth 2") == "depth 2"
    assert named("signed", True) == "True"


def test_axes_of_objects_are_panels_with_their_text(triangle):
    networks = part(triangle)
    networks.axes = {**part(triangle, scale=0).axes, "network": (ff.DiagonalLinear(2), ff.DiagonalLinear(3))}
    figure = pictures.plot(networks)
    drawn(figure)
    assert [axes.get_title()[:14] for axes in figure.axes[:2]] == ["DiagonalLinear"] * 2


def test_many_panels_are_a_choice_of_them(rng):
    axes = {"m": (1, 2, 3), "sparsity": (1, 2), "depth": tuple(range(1, 6)), "method": ("a", "b", "c", "d", "e")}
    rates = rng.random((3, 2, 5, 5))
    figure = pictures.plot(as_result(axes, rates, rates * 0 + 10, rng))
    drawn(figure)
    assert len(figure.axes) == MOST_PANELS + 1


def test_what_cannot_be_drawn_is_said(triangle, monkeypatch):
    with pytest.raises(ValueError, match="no cell has trials yet"):
        pictures.plot(as_result({"m": (1, 2)}, [0, 0], [0, 0], np.random.default_rng(0)))
    with pytest.raises(ValueError, match="a map needs two axes of numbers, got m: slices draws one"):
        pictures.rate_map(part(triangle, scale=0, sparsity=0))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (pictures.plot, pictures.slices, pictures.time_map):
        with pytest.raises(ImportError, match=r"pip install 'fastflow\[study\]'"):
            draw(triangle)


def test_no_global_state_is_touched(triangle):
    before = dict(matplotlib.rcParams)
    drawn(pictures.plot(triangle))
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_slices_of_integer_lines_have_ticks_of_rates(triangle):
    """Which lie between 0 and 1, whatever the lines are."""
    axes = pictures.slices(part(triangle, scale=0)).axes[0]
    ticks = axes.yaxis.get_majorticklocs()
    assert np.count_nonzero((ticks >= 0) & (ticks <= 1)) >= 4
    assert np.all(axes.xaxis.get_majorticklocs() % 1 == 0)


def test_a_map_without_a_crossing_has_no_curve(rng):
    """And no name of one in its legend; but for the one that there is."""
    axes = {"m": (8, 12, 16), "sparsity": (1, 2)}
    for rate, labels in ((0.0, []), (1.0, [])):
        figure = pictures.rate_map(as_result(axes, np.full((3, 2), rate), np.full((3, 2), 20), rng))
        drawn(figure)
        assert not figure.axes[0].lines
        assert [text.get_text() for text in figure.legends[0].get_texts()] == labels
    rates = np.array([[0.0, 0.0], [0.2, 0.0], [0.3, 0.1]])  # which comes to 10%, to no half
    figure = pictures.rate_map(as_result(axes, rates, np.full((3, 2), 30), np.random.default_rng(3)))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["10% and 90%"]


@pytest.mark.parametrize(
    ("init", "label", "title"),
    [
        (ff.inits.Constant(1e-3), r"scale $\alpha$ of the start", r"$\alpha$ = $10^{-3}$"),
        (ff.inits.Constant(1e-3, of="product"), "scale of the start", "scale = $10^{-3}$"),
        (ff.inits.Gaussian(1e-3), "scale of the start", "scale = $10^{-3}$"),
    ],
)
def test_alpha_is_the_entry_of_every_factor_and_nothing_else(init, label, title):
    words = (ff.ensembles.Sparse(n=8, sparsity=1), ff.DiagonalLinear(2), init, ff.FlowLimit())
    result = ff.Study(*words, axes={"m": (3, 6), "scale": (1e-4, 1e-3)}, trials=2).run(threads=1, progress=False)
    assert result.plot(x="m", y="scale").axes[0].get_ylabel() == label
    fixed = ff.Study(*words, axes={"m": (3, 6)}, trials=2).run(threads=1, progress=False)
    assert title in fixed.plot().get_suptitle()


def test_notebooks_show_a_figure_and_pyplot_takes_it(triangle):
    figure = pictures.plot(triangle)
    assert figure._repr_png_().startswith(b"\x89PNG")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    backend = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    try:
        assert pyplot.figure(figure) is figure
        assert pyplot.gcf() is figure
        pyplot.close(figure)
        other = pictures.plot(triangle)
        other.show(warn=False)
        assert pyplot.gcf() is other
        pyplot.close(other)
    finally:
        pyplot.switch_backend(backend)


def test_ipython_shows_a_figure(triangle):
    formatters = pytest.importorskip("IPython.core.formatters")
    data, _ = formatters.DisplayFormatter().format(pictures.plot(triangle))
    assert data["image/png"].startswith(b"\x89PNG")


def test_axes_of_the_users_own_hold_panels(triangle):
    """A map and slices side by side in a figure of the user's, each with its legend; as many axes as panels."""
    one = part(triangle, scale=0)
    figure = matplotlib.figure.Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert pictures.plot(one, program="l1", parameters={"n": 32}, ax=left) is figure
    assert pictures.plot(one, "slices", ax=right) is figure
    drawn(figure)
    assert not figure.get_suptitle()
    assert not figure.legends
    assert left.get_legend() is not None
    assert right.get_ylabel() == "rate of success"  # which panels of a figure of our own would not all have
    own = pictures.plot(one).axes[0]
    np.testing.assert_array_equal(line(left, "50%, fitted"), line(own, "50%, fitted"))
    with pytest.raises(ValueError, match="one for each of the 2 panels"):
        pictures.plot(triangle, ax=left)
    pictures.plot(triangle, ax=figure.subplots(1, 2))
