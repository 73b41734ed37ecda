"""Steps beyond the edge of stability: periods, the orbits of one mode, and the sharpness that a flow goes by."""

from __future__ import annotations

import numpy as np
import outcomes_of_users
import pytest

import fastflow as ff
from fastflow.theory import Period, bifurcation, period

ONE = ff.MatrixEstimation([[1.0]])
UNEQUAL = ff.inits.Explicit([np.array([[3.0]]), np.array([[0.05]])])
FLOW_SHARPNESS = np.sqrt((9 - 0.05**2) ** 2 + 4)
"""At the end of the flow of ``a b -> 1`` from (3, .05), and the largest along it."""


def orbit(init, step, **options):
    """A run of 4000 steps of two numbers ``a b -> 1`` that is recorded at its first 31 and its last 80."""
    record = ff.Record(steps=np.r_[:32, 3920:4001], product=True, factors=True, **options)
    return ff.train(ONE, ff.DeepLinear(2), init, ff.GradientDescent(step, 4000, 0, 0), record=record)


def test_periods_of_one_mode_lie_where_the_law_puts_them():
    """N = 2, lambda = 1: 2 on (1, sqrt 5 - 1), 4 until 1.287, then 8; chaos beyond about 1.30, bounded until 2."""
    golden = np.sqrt(5) - 1
    steps = [0.5, 0.99, 1.01, golden - 1e-3, golden + 1e-3, 1.28, 1.289, 1.31, 1.5, 1.99, 2.01]
    found = bifurcation(2, steps)
    assert found.period.tolist() == [1, 1, 2, 2, 4, 4, 8, 0, 0, 0, -1]
    np.testing.assert_allclose(found.values[:2], 1, rtol=1e-12)
    h = found.steps[2:4]
    d = np.sqrt(found.values[2:4, -2:])
    np.testing.assert_allclose(d.prod(axis=1), 1 / h, rtol=1e-10)
    np.testing.assert_allclose((d**2).sum(axis=1), 1 + 1 / h, rtol=1e-10)
    assert np.all(found.lyapunov[:7] < 0)
    assert np.all(found.lyapunov[8:10] > 0.1)
    assert np.isfinite(found.values[:-1]).all()


def test_chaos_that_passes_by_a_cycle_has_no_period():
    """These orbits are near a cycle in their last moments, and leave it."""
    found = bifurcation(2, [1.37131429, 1.37388571, 1.4979])
    assert found.period.tolist() == [0, 0, 0]
    assert np.all(found.lyapunov > 0.1)
    passing = 1e-6 * 1.5 ** np.arange(8.0)
    path = np.r_[np.linspace(1, 3, 57) ** 2, 5 + passing[:7]]
    assert period(path[None]).tolist() == [0]


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("eigenvalue", [1.0, 5.0])
def test_the_edge_of_every_depth(depth, eigenvalue):
    """``2 / (N lambda^{2-2/N})``: 1 below, 2 above; and the picture over it does not depend on lambda."""
    edge = 2 / (depth * eigenvalue ** (2 - 2 / depth))
    found = bifurcation(depth, edge * np.array([0.5, 0.98, 1.02, 1.2, 1.27, 1.4]), eigenvalue)
    assert found.edge == pytest.approx(edge)
    assert found.period.tolist() == [1, 1, 2, 2, 4, 0]
    other = bifurcation(depth, 2 / depth * np.array([0.5, 0.98, 1.02, 1.2, 1.27, 1.4]))
    np.testing.assert_allclose(found.values[:5] / eigenvalue, other.values[:5], rtol=1e-8)


@pytest.mark.filterwarnings("ignore:step .* is above the linear stability edge")
def test_descent_has_the_periods_of_the_map():
    """`Runs.periods` of gradient descent itself, from balanced starts, beside the map of one number."""
    equal = ff.inits.Explicit([np.array([[0.9]])] * 2)
    for step, expected in ((0.9, Period.ONE), (1.1, Period.TWO), (1.26, Period.FOUR), (1.4, Period.APERIODIC)):
        runs = orbit(equal, step)
        assert runs.periods().tolist() == [expected]
        if expected in (Period.TWO, Period.FOUR):
            one = np.sort(runs.history.product[0, -4:, 0, 0])
            np.testing.assert_allclose(one, np.sort(bifurcation(2, [step]).values[0, -4:]), rtol=1e-9)
    assert orbit(equal, 2.5).periods().tolist() == [Period.DIVERGED]


@pytest.mark.filterwarnings("ignore:step .* is above the linear stability edge")
def test_the_period_is_an_outcome_of_a_study():
    """That of the map of one number, whatever else is recorded beside its last steps."""
    steps = [0.9, 1.1, 1.26, 1.289, 1.4, 2.5]
    event = ff.Event("loss", below=1e-3, steps=(0, 10, 100))
    study = ff.Study(
        ff.ensembles.Custom(outcomes_of_users.draws_one, 1),
        ff.DeepLinear(2),
        ff.inits.Identity(0.9, of="factor"),
        ff.GradientDescent(max_steps=4000, tol=0, gradient_tol=0),
        axes={"step": steps},
        trials=2,
        outcomes={"period": "period", "event": event},
    )
    result = study.run(threads=1, progress=False)
    assert np.array_equal(result["period"], np.repeat(bifurcation(2, steps).period[:, None], 2, axis=1))
    assert result["period"][:, 0].tolist() == [1, 2, 4, 8, 0, -1]
    assert result.with_success(ff.Success("period", at_least=1)).successes.tolist() == [2, 2, 2, 2, 0, 0]
    assert np.isfinite(result["event"][0]).all()


def test_the_last_steps():
    assert ff.Record(3, "last").grid(10).tolist() == [8, 9, 10]
    assert ff.Record(64, "last").grid(2).tolist() == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:step .* is above the linear stability edge")
def test_two_unequal_numbers():
    """``a^2 - b^2`` shrinks by ``1 - h^2 (ab - 1)^2`` a step; the final sharpness is at most 2/h, as MATH.md has it."""
    for share, expected in ((0.5, 9.142), (0.9, 8.674), (1.05, 7.370), (1.2, 5.130), (1.5, 2.033)):
        step = share * 2 / FLOW_SHARPNESS
        runs = orbit(UNEQUAL, step, sharpness=True)
        a, b = (factor[0, :, 0, 0] for factor in runs.history.factors)
        delta = a**2 - b**2
        kept = slice(0, 31)
        np.testing.assert_allclose(
            delta[1:][kept], (delta * (1 - step**2 * (a * b - 1) ** 2))[:-1][kept], rtol=1e-12, atol=1e-12
        )
        last = runs.history.sharpness[0, -1]
        assert last == pytest.approx(expected, abs=1e-3)
        assert last <= 2 / step
        assert runs.periods().tolist() == [Period.ONE]


def test_the_largest_sharpness_along_a_flow():
    """Of two numbers, the end; and of a mode that overshoots nothing, the larger of start and end."""
    found = ff.flow_sharpness(ONE, ff.DeepLinear(2), UNEQUAL, times=np.geomspace(1e-3, 10, 20))
    assert found.sharpness[0] == pytest.approx(FLOW_SHARPNESS, rel=1e-8)
    assert found.edge[0] == pytest.approx(2 / FLOW_SHARPNESS, rel=1e-8)
    # From (2, 2) it falls at once: the Hessian [[b^2, 2ab - 1], [2ab - 1, a^2]] has 4 + 7 there.
    large = ff.inits.Explicit([np.array([[2.0]])] * 2)
    falls = ff.flow_sharpness(ONE, ff.DeepLinear(2), large, times=[0.1, 5.0])
    assert falls.sharpness[0] == pytest.approx(11)
    assert falls.time[0] == 0


def test_a_peak_between_the_times_is_found():
    """Of a diagonal network at an early time: against the same search at a hundred times as many times."""
    problem = ff.CompressedSensing(np.array([[1.0, 0.5, 0.7, 0], [0.5, 1, 0.1, 0.7]]), np.array([1.0, 0.0]))
    network, init = ff.DiagonalLinear(2), ff.inits.Constant(0.01)
    fine = np.linspace(0, 40, 401)
    path = ff.train(problem, network, init, ff.GradientFlow(fine, t_max=40), record=ff.Record(sharpness=True))
    found = ff.flow_sharpness(problem, network, init, times=np.linspace(2, 40, 20))
    assert found.sharpness[0] >= path.history.sharpness.max() * (1 - 1e-9)
    assert found.sharpness[0] == pytest.approx(path.history.sharpness.max(), rel=1e-4)


def test_periods_of_arrays():
    """Of any shape; what is near a period but still on its way is none; NaN; and what repeats but for round-off."""
    k = np.arange(100)
    three = np.array([1.0, 2.0, 5.0])[k % 3]
    slow = 1 + (-1.0) ** k * (1 + k) ** -0.5  # falls like a power of time: at the end of a window the rate is near 1
    paths = np.array([np.ones(100), 3 + (-0.9) ** k, 2 + (-1.0) ** k, k % 4, k % 8, three, slow, 0 * k, 1e-3 * k])
    assert period(paths).tolist() == [1, 1, 2, 4, 8, 0, 0, 1, 0]
    noisy = (2 + (-1.0) ** k) * (1 + 1e-15 * np.random.default_rng(0).standard_normal(100))
    assert period(np.stack([noisy, np.where(k == 99, np.nan, noisy)])[:, :, None] * np.ones(3)).tolist() == [2, -1]
    assert Period(2).label == "period 2"
    assert all(each.message for each in Period)


def test_studies_over_steps_beyond_the_edge():
    """``"1.3 edge"`` is a step like any other, on an axis, too."""
    study = ff.Study(
        ff.ensembles.Sparse(n=12, m=10, sparsity=2),
        ff.DiagonalLinear(2),
        ff.inits.Constant(0.1),
        ff.GradientDescent(max_steps=2000),
        axes={"step": ["0.5 edge", "1.3 edge"]},
        trials=4,
        success=ff.Success(below=0.1),
    )
    result = study.run(threads=1, progress=False)
    assert result.complete
    assert result["loss"].shape == (2, 4)
    assert np.all(result["loss"][0] < 1e-3)
    assert result["steps"].shape == (2, 4)


def test_the_picture_has_a_panel_for_each_depth(tmp_path):
    orbits = [bifurcation(depth, 2 / depth * np.linspace(0.9, 1.3, 41), settle=2000) for depth in (2, 3, 4)]
    figure = ff.plot.plot_bifurcation(*orbits)
    assert [axes.get_title() for axes in figure.axes] == ["depth 2", "depth 3", "depth 4"]
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels[:3] == ["period 1", "period 2", "period 4"]
    figure.savefig(tmp_path / "bifurcation.png")
    with pytest.raises(TypeError, match="orbits must be Bifurcations"):
        ff.plot.plot_bifurcation(orbits)
    with pytest.raises(ValueError, match="there is nothing to draw"):
        ff.plot.plot_bifurcation()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: period(np.ones((2, 31))), "at least 32 moments"),
        (lambda: period(np.ones(64)), "path must have shape"),
        (lambda: bifurcation(1, [0.1]), "depth must be at least 2, got 1"),
        (lambda: bifurcation(2, [0.0]), "steps must be greater than 0, got 0"),
        (lambda: bifurcation(2, [0.1], -1.0), "eigenvalue must be greater than 0"),
        (lambda: bifurcation(2, [0.1], kept=8), "kept must be at least 64"),
        (lambda: ff.train(ONE, ff.DeepLinear(2), UNEQUAL).periods(), "record it, with Record"),
        (
            lambda: ff.train(
                ONE, ff.DeepLinear(2), UNEQUAL, ff.GradientDescent(0.1, 100, 0, 0), record=ff.Record(20, product=True)
            ).periods(),
            "at least 32 successive steps, the last ones, got",
        ),
        (lambda: ff.flow_sharpness(ONE, ff.DeepLinear(2), UNEQUAL, times=[-1.0]), "times must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
