"""Pictures: what is drawn are the quantiles over the runs, whole and readable."""

from __future__ import annotations

import dataclasses
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import fastflow as ff
from fastflow import plot
from fastflow.records import NAMED
from fastflow.results import pictures

TARGET = np.diag([10.0, 5.0, 1.0] + [0.0] * 9)


@pytest.fixture(scope="module")
def runs():
    """Nine runs whose products come from Y = diag(10, 5, 1, 0, ...), with a truth so that there is an error."""
    return ff.train(
        ff.MatrixEstimation(TARGET, truth=TARGET),
        ff.DeepLinear(depth=3),
        ff.inits.Gaussian(1e-3),
        ff.GradientDescent(max_steps=2000),
        runs=9,
        threads=1,
        record=ff.Record(steps=60),
    )


def with_history(runs, **changes):
    history = runs.history
    recorded = {name: getattr(history, name) for name in history.recorded} | changes
    moments = {name: recorded.pop(name, getattr(history, name)) for name in ("steps", "times")}
    return dataclasses.replace(runs, history=ff.History(**moments, **recorded))


def only(runs, *names):
    """The runs as if only this had been recorded."""
    others = {name: None for name in runs.history.recorded if name not in names}
    return with_history(runs, **others)


def panel(figure, label):
    (axes,) = [axes for axes in figure.axes if axes.get_ylabel().startswith(label)]
    return axes


def median_line(axes, at=0):
    return axes.lines[at].get_xdata(), axes.lines[at].get_ydata()


def drawn(figure):
    """The figure's canvas and renderer, after everything has been laid out and drawn."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas, canvas.get_renderer()


@pytest.mark.parametrize(("name", "label"), [("loss", "loss"), ("effective_rank", "effective"), ("error", "relative")])
def test_median_and_band_are_the_quantiles_over_the_runs(runs, name, label):
    axes = panel(runs.plot(), label)
    low, median, high = np.quantile(getattr(runs.history, name), (0.1, 0.5, 0.9), axis=0)
    steps, line = median_line(axes)
    assert np.array_equal(steps, runs.history.steps)
    assert np.array_equal(line, median)
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    for bound in (low, high):
        expected = np.column_stack([steps, bound])
        assert all((corners == point).all(axis=1).any() for point in expected)


def test_the_ten_largest_singular_values_are_drawn(runs):
    axes = panel(runs.plot(), "singular values")
    assert len(axes.lines) == len(axes.collections) == pictures.MOST_VALUES < runs.history.singular_values.shape[-1]
    medians = np.median(runs.history.singular_values, axis=0)
    lines = [line.get_ydata() for line in axes.lines]
    for value in range(pictures.MOST_VALUES):
        assert any(np.array_equal(medians[:, value], line) for line in lines)


def test_values_at_round_off_do_not_squeeze_the_others(runs):
    """Ten decades of noise below the start add nothing to the axis, which still shows where the largest came from."""
    values = runs.history.singular_values.copy()
    before = panel(runs.plot(), "singular values").get_ylim()
    values[..., 3:] = 1e-17
    after = panel(with_history(runs, singular_values=values).plot(), "singular values").get_ylim()
    assert after == before
    assert 1e-6 < after[0] < np.median(values[:, 0, 0])
    assert after[1] > values.max()


def test_loss_far_below_the_data_is_cut(runs):
    loss = runs.history.loss.copy()
    loss[:, -5:] = 1e-30
    bottom, top = panel(with_history(runs, loss=loss).plot(), "loss").get_ylim()
    assert bottom == pytest.approx(1e-12 * top / 2)


def test_diverged_runs_are_left_out_and_counted(runs):
    status = runs.status.copy()
    status[[2, 5]] = ff.Status.DIVERGED
    history = {name: getattr(runs.history, name).copy() for name in ("loss", "effective_rank", "singular_values")}
    for values in history.values():
        values[[2, 5], 10:] = np.nan
    figure = dataclasses.replace(with_history(runs, **history), status=status).plot()
    kept = np.delete(runs.history.loss, [2, 5], axis=0)
    assert np.array_equal(median_line(panel(figure, "loss"))[1], np.median(kept, axis=0))
    title = " ".join(figure.get_suptitle().split())
    assert "band of 7 runs" in title
    assert "2 more diverged and are not drawn" in title


def test_one_run_has_no_band():
    runs = ff.train(
        ff.MatrixEstimation(TARGET),
        ff.DeepLinear(depth=2),
        ff.inits.Identity(1e-3),
        ff.GradientDescent(max_steps=50),
        threads=1,
        record=ff.Record(steps=10),
    )
    figure = runs.plot()
    assert figure.get_suptitle().startswith("One run of")
    assert not any(axes.collections for axes in figure.axes)
    assert np.array_equal(median_line(panel(figure, "loss"))[1], runs.history.loss[0])


def test_interrupted_runs_are_drawn_as_far_as_they_came(runs):
    loss = runs.history.loss.copy()
    loss[:, 40:] = np.nan
    loss[0, 20:] = np.nan
    figure = only(with_history(runs, loss=loss), "loss").plot()
    line = median_line(panel(figure, "loss"))[1]
    assert np.array_equal(line[:20], np.median(loss[:, :20], axis=0))
    assert np.array_equal(line[20:40], np.median(loss[1:, 20:40], axis=0))
    assert np.isnan(line[40:]).all()
    drawn(figure)


def test_the_axis_ends_where_the_last_run_did(runs):
    ended = dataclasses.replace(runs, steps=np.minimum(runs.steps, 100))
    steps = median_line(panel(ended.plot(), "loss"))[0]
    assert steps[-2] < 100 <= steps[-1]


def test_step_zero_is_on_a_logarithmic_axis(runs):
    axes = panel(runs.plot(), "loss")
    assert axes.get_xscale() == "symlog"
    assert axes.get_xlim()[0] == 0
    linear = np.linspace(0, 2000, len(runs.history.steps)).astype(np.int64)
    assert panel(with_history(runs, steps=linear).plot(), "loss").get_xscale() == "linear"


NAMES = ("loss", "singular_values", "effective_rank", "error")


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("diverged", [0, 3])
def test_panels_are_what_was_recorded_and_no_text_is_cut_or_covered(runs, count, diverged):
    status = runs.status.copy()
    status[:diverged] = ff.Status.DIVERGED
    figure = only(dataclasses.replace(runs, status=status), *NAMES[-count:]).plot()
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == [NAMED[name].label for name in NAMES[-count:]]
    canvas, renderer = drawn(figure)
    width, height = canvas.get_width_height()
    for artist in (*figure.texts, *figure.axes):  # the title, and panels with their labels
        box = artist.get_tightbbox(renderer)
        assert box.x0 >= 0, artist
        assert box.y0 >= 0, artist
        assert box.x1 <= width, artist
        assert box.y1 <= height, artist
    for axes in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_every_singular_value_is_named_once(runs):
    """Labels of curves that end close together become one: sigma_4, ..., sigma_7."""
    names = [text.get_text() for text in panel(runs.plot(), "singular values").texts]
    covered = []
    for name in names:
        numbers = [int(part.split("}")[0]) for part in name.split("_{")[1:]]
        covered += range(numbers[0], numbers[-1] + 1)
    assert sorted(covered) == list(range(1, pictures.MOST_VALUES + 1))


def test_one_record_and_vanishing_values_can_be_drawn(runs):
    """A single step, a product that is exactly zero, a loss that is exactly zero: no warning, no error."""
    zero = {name: np.zeros_like(getattr(runs.history, name)) for name in NAMES}
    drawn(with_history(runs, **zero).plot())
    first = {name: getattr(runs.history, name)[:, :1] for name in NAMES}
    drawn(with_history(runs, steps=runs.history.steps[:1], **first).plot())


def test_what_cannot_be_drawn_is_said(runs):
    with pytest.raises(ValueError, match=r"no history to draw: train\(..., record=ff.Record\(\)\)"):
        dataclasses.replace(runs, history=None).plot()
    with pytest.raises(
        ValueError, match="record one of loss, singular_values, effective_rank, error, l1_norm, support_size"
    ):
        only(runs, "balancedness").plot()
    with pytest.raises(ValueError, match="every run diverged"):
        dataclasses.replace(runs, status=np.full_like(runs.status, ff.Status.DIVERGED)).plot()


def test_without_matplotlib_the_extra_is_named(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'fastflow\[study\]'"):
        runs.plot()


def test_no_global_state_is_touched(runs, tmp_path):
    before = dict(matplotlib.rcParams)
    runs.plot().savefig(tmp_path / "runs.png")
    assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


# The recovery of a vector


@pytest.fixture
def sensing(rng):
    matrix, truth = rng.standard_normal((12, 30)) / np.sqrt(12), np.zeros(30)
    truth[[3, 11, 20]] = 1.0, -2.0, 0.5
    return ff.CompressedSensing(matrix, matrix @ truth, truth=truth)


def points(axes, name):
    (line,) = [line for line in axes.lines if line.get_label().startswith(name)]
    return np.array(line.get_data())


def test_the_recovered_vector_beside_basis_pursuit_and_the_truth(sensing):
    runs = ff.train(sensing, ff.DiagonalLinear(), ff.inits.Constant(1e-4), ff.FlowLimit())
    (axes,) = plot.plot_recovery(runs, sensing, [1e-4]).axes
    assert np.array_equal(points(axes, "recovered")[1], runs.solution[0])
    assert np.array_equal(points(axes, "truth"), [[3, 11, 20], [1.0, -2.0, 0.5]])
    pursuit = ff.baselines.basis_pursuit(sensing.matrix, sensing.values)
    assert np.array_equal(points(axes, "basis pursuit")[1], pursuit[pursuit != 0])


def test_norm_and_error_against_alpha(sensing):
    alphas = [1e-4, 1.0, 1e-2]
    starts = np.array(alphas)[:, None] * np.ones(30)
    runs = ff.train(sensing, ff.DiagonalLinear(), ff.inits.Explicit([starts, starts]), ff.FlowLimit())
    figure = plot.plot_recovery(runs, sensing, alphas)
    drawn(figure)
    vectors, norms, errors = figure.axes
    assert np.array_equal(points(vectors, "recovered")[1], runs.solution[0])
    order = [1, 2, 0]
    for axes, values in ((norms, np.abs(runs.solution).sum(axis=1)), (errors, runs.error)):
        assert axes.get_xscale() == "log"
        x, y = median_line(axes)
        assert np.array_equal(x, np.array(alphas)[order])
        np.testing.assert_allclose(y, values[order], rtol=1e-14)


@pytest.mark.parametrize("method", [ff.GradientDescent(max_steps=1000), ff.GradientFlow([0.0, 1.0, 10.0, np.inf])])
def test_norm_and_error_against_steps_and_times(sensing, method):
    """Without a truth the error is the distance to basis pursuit."""
    blind = ff.CompressedSensing(sensing.matrix, sensing.values)
    limit = isinstance(method, ff.GradientDescent)
    runs = ff.train(blind, ff.DiagonalLinear(), method=method, record=ff.Record(20, product=True) if limit else None)
    figure = plot.plot_recovery(runs, blind)
    drawn(figure)
    _, norms, errors = figure.axes
    assert norms.get_xlabel() == errors.get_xlabel() == ("step" if limit else "time")
    assert errors.get_ylabel() == "relative error of x, to basis pursuit"
    pursuit = ff.baselines.basis_pursuit(sensing.matrix, sensing.values)
    x, y = median_line(errors)
    products = runs.history.product[0][: len(x)]
    assert np.isfinite(x).all()
    np.testing.assert_allclose(y, np.linalg.norm(products - pursuit, axis=1) / np.linalg.norm(pursuit), rtol=1e-13)
    np.testing.assert_allclose(median_line(norms)[1], np.abs(products).sum(axis=1), rtol=1e-13)


def test_values_that_nothing_fits_are_drawn_without_basis_pursuit(sensing):
    tall = ff.CompressedSensing(sensing.matrix.T, np.arange(30.0))
    runs = ff.train(tall, ff.DiagonalLinear(), ff.inits.Constant(0.1), ff.FlowLimit())
    (axes,) = plot.plot_recovery(runs, tall).axes
    assert [line.get_label() for line in axes.lines] == ["recovered"]
    with pytest.raises(ValueError, match="alphas must be one for each of the 1 runs, got 2"):
        plot.plot_recovery(runs, tall, [1.0, 2.0])


def test_axes_of_the_users_own_are_drawn_into(runs):
    """The same curves, in his figure, whose title stays his."""
    figure = matplotlib.figure.Figure()
    left, right = figure.subplots(1, 2)
    assert runs.plot("loss", ax=left) is figure
    assert plot.plot_images({"target": TARGET}, ax=right) is figure
    assert np.array_equal(median_line(left), median_line(panel(runs.plot(), "loss")))
    assert figure.get_suptitle() == ""
    both = figure.add_subfigure(figure.add_gridspec(1, 1)[0]).subplots(1, 2)
    assert runs.plot(["error", "loss"], ax=both) is figure
    assert [axes.get_ylabel()[:4] for axes in both] == ["rela", "loss"]
    with pytest.raises(ValueError, match="one for each of the 4 panels of this picture, got 2"):
        runs.plot(ax=both)
    with pytest.raises(TypeError, match="must be matplotlib axes"):
        runs.plot("loss", ax=3)
    with pytest.raises(ValueError, match="quantities must be one of 'loss'"):
        runs.plot("sharpness")


def test_several_runs_in_one_picture_have_a_line_and_a_band_each(runs):
    fewer = dataclasses.replace(runs, status=np.where(np.arange(9) == 4, ff.Status.DIVERGED, runs.status))
    figure = plot.plot_runs({"all": runs, "without one": fewer})
    drawn(figure)
    for name in ("loss", "effective_rank", "error"):
        axes = panel(figure, {"effective_rank": "effective", "error": "relative"}.get(name, name))
        assert [line.get_label() for line in axes.lines] == ["all", "without one"]
        for line, kept in zip(axes.lines, (np.arange(9), np.delete(np.arange(9), 4)), strict=True):
            assert np.array_equal(line.get_ydata(), np.median(getattr(runs.history, name)[kept], axis=0))
        assert len(axes.collections) == 2
        assert axes.lines[0].get_color() != axes.lines[1].get_color()
    title = " ".join(figure.get_suptitle().split())
    assert "band of 8 to 9 runs each of DeepLinear" in title
    assert title.endswith("1 more diverged and is not drawn")
    assert figure.axes[0].get_legend() is not None
    flow = dataclasses.replace(with_history(runs, steps=None, times=np.arange(len(runs.history.steps)) * 1.0))
    with pytest.raises(ValueError, match="recorded against the same, got step and time"):
        plot.plot_runs({"descent": runs, "flow": flow})
    with pytest.raises(ValueError, match="there are no runs to draw"):
        plot.plot_runs({})


def test_an_image_that_is_larger_than_memory_is_refused_at_once():
    with pytest.raises(MemoryError, match="a picture of image 'target'"):
        plot.plot_images({"target": np.broadcast_to(1.0, (10**6, 10**6))})
