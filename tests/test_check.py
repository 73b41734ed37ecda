"""`ff.check`: what is said of settings whose facts are known."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff
from fastflow import theory
from fastflow.networks import Chain


def test_a_setting_of_which_all_is_known():
    target = np.diag([2.0, 1.0, -0.5])
    problem, network, init = ff.MatrixEstimation(target), ff.DeepLinear(3), ff.inits.Identity(0.2, of="factor")
    setting = ff.check(problem, network, init, ff.GradientDescent(step="safe"))
    assert setting.balanced
    assert setting.balancedness == 0
    assert setting.edge == pytest.approx(2 / (3 * 2 ** (4 / 3)))
    assert setting.safe.step == setting.step == pytest.approx(0.999 * theory.monotone_step(3, 0.2, 2.0))
    np.testing.assert_allclose(setting.limit.solution, np.diag([2.0, 1.0, 0.0]), atol=1e-14)
    assert setting.rate.margin == pytest.approx(0.5 - np.linalg.norm(0.008 * np.eye(3) - target))
    text = str(setting)
    for words in (
        "keeps its rank 3 and the sign of its determinant",
        "the positive part of the target",
        "is not > 0",
        "monotone_step",
        "the loss falls at every step",
    ):
        assert words in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 102


def test_a_setting_of_which_little_is_known(make_problem):
    problem, network = make_problem("completion", (4, 3)), ff.DeepLinear(3)
    init = ff.inits.Gaussian(0.1)
    edge = theory.stability_edge(problem, network)
    setting = ff.check(problem, network, init, ff.GradientDescent(step=1.5 * theory.edge), seed=3, run=5)
    start = ff.train(problem, network, init, ff.GradientDescent(max_steps=0), runs=[5], seed=3)
    assert setting.balancedness == pytest.approx(ff.metrics.balancedness(start.factors)[0])
    assert not setting.balanced
    assert (setting.safe, setting.rate, setting.limit) == (None, None, None)
    assert setting.step == pytest.approx(1.5 * edge)
    text = " ".join(str(setting).split())
    for words in ("not balanced", "do not determine W", "none is known beforehand", "1.5 times the edge"):
        assert words in text


def test_steps_are_judged(make_problem):
    problem, network = make_problem("regression by gram", (3, 3)), ff.DeepLinear(2)
    for step, words in (
        (None, "stable at the expected solution; no theorem"),
        (1e-9, "the loss falls at every step"),
        (np.array([1e-9, 1e9]), "times the edge of stability"),
        (ff.Decreasing(1e-9), "the loss falls at every step"),
    ):
        setting = ff.check(problem, network, ff.inits.Gaussian(0.1), ff.GradientDescent(step=step))
        assert words in setting.notes[-1]


def test_a_start_near_the_solution_and_a_solution_of_zero():
    target = np.diag([2.0, 1.5])
    near = ff.check(ff.MatrixEstimation(target), ff.DeepLinear(2), ff.inits.Balanced(product=target + 0.01))
    assert near.rate.step > 0
    assert "bring the excess down" in str(near)
    zero = ff.check(ff.MatrixEstimation(np.zeros((2, 2))), ff.DeepLinear(2), ff.inits.Identity(0.1))
    assert zero.edge is None
    assert "no stability edge" in " ".join(str(zero).split())


@pytest.mark.parametrize(
    ("network", "init", "words"),
    [
        (ff.DiagonalLinear(2), ff.inits.Constant(1e-3), "2 factors of each side start with equal squares"),
        (ff.DiagonalLinear(2), ff.inits.Constant(1e-3), "above the 3 of the truth"),
        (
            ff.DiagonalLinear(3, signed=False),
            ff.inits.Constant(0.1),
            "nearer to the least l1 norm of all x >= 0 that fit",
        ),
        (ff.DiagonalLinear(2, identical=False), ff.inits.Gaussian(0.1), "ends where FlowLimit says"),
        (ff.DiagonalLinear(3, identical=False), ff.inits.Gaussian(0.1), "none is known beforehand for 3 independent"),
        (ff.DiagonalLinear(1), ff.inits.Gaussian(0.1), "least-squares solution nearest to the start"),
        (ff.DiagonalLinear(2), ff.inits.Explicit([-np.ones(3)] * 2), "from starts of u and v that are 0 or from"),
    ],
)
def test_diagonal_networks(network, init, words):
    truth = np.array([1.0, 0.0, -2.0])
    problem = ff.CompressedSensing(np.eye(2, 3) + 0.1, (np.eye(2, 3) + 0.1) @ truth, truth=truth)
    setting = ff.check(problem, network, init)
    assert words in " ".join(str(setting).split())
    assert setting.balanced == (network.identical or network.depth == 1)
    assert (setting.limit, setting.safe) == (None, None)
    if "above the" in words:
        bound = theory.l1_excess_bound(2, 1e-3, 3, 3.0)
        assert f"at most {bound:.3g} above" in " ".join(str(setting).split())
        limit = ff.train(problem, network, init, ff.FlowLimit()).solution[0]
        assert np.abs(limit).sum() - 3 <= bound


def test_what_one_factor_and_a_deficient_start_keep(rng):
    problem = ff.MatrixEstimation(rng.standard_normal((4, 3)))
    one = ff.check(problem, ff.DeepLinear(1), ff.inits.Gaussian(0.1))
    assert "keeps neither rank nor sign" in one.notes[0]
    start = ff.inits.Balanced(product=0.1 * np.outer(rng.standard_normal(4), rng.standard_normal(3)))
    deficient = ff.check(problem, ff.DeepLinear(2), start)
    assert "keeps its rank 1" in deficient.notes[0]
    assert "rank 1, that of the balanced start" in deficient.notes[-1]
    assert deficient.limit.value == pytest.approx(theory.global_minimum(problem, 1).value)
    flow = ff.train(problem, ff.DeepLinear(2), start, ff.ProductFlow())
    np.testing.assert_allclose(flow.solution[0], deficient.limit.solution, atol=1e-8)


def test_one_start_of_many_and_methods_without_a_step(rng):
    problem, network = ff.MatrixEstimation(rng.standard_normal((3, 3))), ff.DeepLinear(2)
    starts = [rng.standard_normal((4, 3, 3)) for _ in range(2)]
    setting = ff.check(problem, network, ff.inits.Explicit(starts), ff.GradientFlow(rtol=1e-6), run=2)
    assert setting.balancedness == pytest.approx(ff.metrics.balancedness([start[2] for start in starts]))
    assert setting.step is None
    assert "GradientFlow has none" in setting.notes[-1]
    assert "rtol = 1e-06" in setting.notes[-1]
    with pytest.raises(ValueError, match="run must be less than 4"):
        ff.check(problem, network, ff.inits.Explicit(starts), run=4)
    for arguments, words in (
        ((np.eye(3), network, ff.inits.Gaussian()), "check takes one problem"),
        (([problem], network, ff.inits.Gaussian()), "check takes one problem"),
        ((problem, 2, ff.inits.Gaussian()), "network must be"),
        ((problem, network, 0.1), "init must be"),
        ((problem, network, ff.inits.Gaussian(), 0.1), "method must be"),
        ((problem, network, ff.inits.Constant()), "Constant does not start a DeepLinear"),
    ):
        with pytest.raises(TypeError, match=words):
            ff.check(*arguments)


def said(setting, subject):
    """The sentence on a subject, on one line."""
    return next(note for note in setting.notes if note.startswith(subject))


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("kind", ["estimation", "regression by gram"])
def test_the_sign_of_the_determinant_decides_where_the_flow_ends(depth, kind, make_problem):
    """Half of the balanced starts have the other sign than the minimum: they end at one of rank less by 1."""
    problem, init, seen = make_problem(kind, (2, 2)), ff.inits.Balanced(0.5), set()
    network = ff.DeepLinear(depth)
    runs = ff.train(problem, network, init, ff.ProductFlow(t_max=1e5), runs=6)
    for run in range(6):
        setting = ff.check(problem, network, init, run=run)
        assert runs.loss[run] == pytest.approx(setting.limit.value, abs=1e-7)
        np.testing.assert_allclose(runs.solution[run], setting.limit.solution, atol=1e-5)
        seen.add(np.linalg.matrix_rank(setting.limit.solution, tol=1e-8))
    assert seen == {1, 2}


def test_the_issue_s_start_of_the_wrong_sign():
    problem, init = ff.MatrixEstimation(np.diag([2.0, 1.0])), ff.inits.Balanced(0.5)
    setting = ff.check(problem, ff.DeepLinear(2), init)
    assert "the sign of its determinant" in said(setting, "Balance")
    assert setting.limit.value == pytest.approx(0.5)
    assert "over rank 1, since the flow keeps the sign" in said(setting, "Limit")
    # A start that is not balanced turns its sign.
    free = ff.check(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.5))
    assert free.limit.value == pytest.approx(0, abs=1e-28)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_starts_with_the_singular_vectors_of_the_target(depth, rng):
    """Special among all starts, and often given: each singular value goes its own way."""
    left, right = (np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(2))
    wanted, begun = np.array([3.0, -1.0, 1.0]), np.array([0.5, 0.5, -0.5])
    for target, start in ((wanted, begun), (wanted, np.array([0.1, -0.3, 0])), (-np.ones(3), 0.2 * np.ones(3))):
        problem = ff.MatrixEstimation((left * target) @ right)
        init, network = ff.inits.Balanced(product=(left * start) @ right), ff.DeepLinear(depth)
        limit = ff.check(problem, network, init).limit
        reached = np.where(target * start > 0, target, 0)
        np.testing.assert_allclose(limit.solution, (left * reached) @ right, atol=1e-13)
        assert limit.value == pytest.approx(0.5 * np.sum((target - reached) ** 2), abs=1e-12)
        assert "singular vectors of the target" in limit.reason
    # Every factor -alpha I, N odd: what is negative is reached.
    if depth == 3:
        minus = ff.inits.Explicit([-0.5 * np.eye(3)] * 3)
        limit = ff.check(ff.MatrixEstimation(np.diag([2.0, -1.0, -3.0])), ff.DeepLinear(3), minus).limit
        np.testing.assert_allclose(limit.solution, np.diag([0.0, -1.0, -3.0]), atol=1e-13)


def test_a_start_where_the_flow_rests(make_problem):
    """Two of three factors at 0: every gradient vanishes, whatever the third one is, and whatever the problem."""
    start = [np.zeros((2, 2)), np.zeros((2, 2)), np.eye(2)]
    for problem in (ff.MatrixEstimation(np.diag([2.0, 1.0])), make_problem("completion", (2, 2))):
        setting = ff.check(problem, ff.DeepLinear(3), ff.inits.Explicit(start))
        np.testing.assert_array_equal(setting.limit.solution, 0)
        assert setting.limit.value == pytest.approx(problem.loss(np.zeros((2, 2))))
        assert "where the flow stays" in said(setting, "Limit")
    moves = ff.check(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2), ff.inits.Explicit(start[1:]))
    assert moves.limit.value == pytest.approx(0, abs=1e-28)


def test_of_several_equal_minima_none_is_predicted():
    setting = ff.check(ff.MatrixEstimation(np.eye(3)), ff.DeepLinear(widths=(3, 1, 3)), ff.inits.Gaussian(0.1))
    assert setting.limit is None
    assert "none is known" in said(setting, "Limit")


def test_nearly_balanced_is_not_balanced():
    """A weak mode off by 3e-12 of the whole crosses 0, so that neither rank nor sign is kept."""
    start = [np.diag([1.0, 1e-6]), np.diag([1.0, -2e-6])]
    setting = ff.check(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2), ff.inits.Explicit(start))
    assert not setting.balanced
    flow = ff.train(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2), ff.inits.Explicit(start), ff.GradientFlow())
    np.testing.assert_allclose(flow.solution[0], setting.limit.solution, atol=1e-5)
    vectors = [np.array([1.0, 1e-6]), np.array([1.0, -2e-6])]
    problem = ff.CompressedSensing(np.eye(2), np.ones(2))
    network = ff.DiagonalLinear(2, signed=False, identical=False)
    setting = ff.check(problem, network, ff.inits.Explicit(vectors))
    assert not setting.balanced
    assert "conserves these differences" in said(setting, "Balance")


@pytest.mark.parametrize("depth", [2, 3])
def test_the_edge_through_a_bottleneck_where_the_residual_stays(depth, rng):
    """From beside the minimum: below the edge descent comes back, above it does not."""
    problem = ff.LinearRegression(np.diag([1.0, 1.5]), np.array([[2.0, 0.1], [0.0, 2.0]]), samples="columns")
    widths = (2, *[1] * (depth - 1), 2)
    network, minimum = ff.DeepLinear(widths=widths), problem.minimum(1)
    edge = ff.check(problem, network, ff.inits.Gaussian(0.1)).edge
    factors = ff.inits.Balanced(product=minimum.solution).draw(Chain(widths), rng)
    assert edge == pytest.approx(2 / theory.sharpness(problem, factors), rel=1e-9)
    if depth == 2:
        assert edge == pytest.approx(0.3196, abs=1e-4)
    beside = ff.inits.Explicit([factor + 1e-6 * rng.standard_normal(factor.shape) for factor in factors])
    for share, returns in ((0.97, True), (1.03, False)):
        method = ff.GradientDescent(step=np.full(4000, share * edge), tol=0)
        end = ff.train(problem, network, beside, method).loss[0]
        assert (abs(end - minimum.value) < 1e-10) == returns


def test_steps_that_fall_below_the_edge():
    problem, network, init = ff.MatrixEstimation(np.diag([2.0, 1.0])), ff.DeepLinear(2), ff.inits.Gaussian(0.1)
    for step, words in (
        (ff.Decreasing(1.5 * theory.edge, power=0.5), "after step 1 it is stable"),
        (np.r_[np.full(3, 1.2), np.full(50, 0.1)] * 0.5, "after step 2 it is stable"),
        (np.r_[np.full(50, 0.1), 1.2] * 0.5, "the last of these is the last step of all"),
        (1.5 * theory.edge, "1.5 times the edge of stability: it oscillates or diverges"),
    ):
        sentence = said(ff.check(problem, network, init, ff.GradientDescent(step=step)), "Step")
        assert words in sentence
        assert ("oscillates" in sentence) == (step == 1.5 * theory.edge if isinstance(step, theory.Edge) else False)
    converges = ff.train(problem, network, init, ff.GradientDescent(step=ff.Decreasing(1.5 * theory.edge)), runs=4)
    assert converges.loss.max() < 1e-9
    # At the linear rate only with a constant step.
    near = ff.inits.Balanced(product=np.diag([2.01, 1.01]))
    rate = ff.check(problem, network, near).rate.step
    for step, linear in ((0.5 * rate, True), (ff.Decreasing(0.5 * rate), False)):
        assert (
            "linear rate" in said(ff.check(problem, network, near, ff.GradientDescent(step=step)), "Step")
        ) == linear


SYSTEM = ff.CompressedSensing(np.array([[1.0, 0.5, 0.3], [0.2, 1.0, -0.4]]), np.array([1.0, 0.7]))


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize("signed", [True, False])
def test_what_small_starts_tend_to(depth, signed):
    """The least l1 norm from equal starts and for L = 2; else by the weights of the start; sides at 0 stay there."""
    weights = np.array([1.0, 0.2, 3.0])
    for start, words in (
        (np.ones(3), "least l1 norm"),
        (weights, "least l1 norm" if depth == 2 else f"least sum of alpha_i^{2 - depth} |x_i|"),
        (np.array([1.0, 0.0, 1.0]), "a side that starts at 0 stays there"),
    ):
        scale = 1e-9 if depth == 2 else 1e-4
        init = ff.inits.Explicit([scale * start] * (2 if signed else 1))
        sentence = said(ff.check(SYSTEM, ff.DiagonalLinear(depth, signed), init), "Limit")
        assert words in sentence
        assert ("x >= 0" in sentence) == (not signed)
        if start is weights:
            limit = ff.train(SYSTEM, ff.DiagonalLinear(depth, signed), init, ff.FlowLimit()).solution[0]
            cost = np.ones(3) if depth == 2 else weights ** (2.0 - depth)
            best = ff.baselines.basis_pursuit(SYSTEM.matrix, SYSTEM.values, cost, nonnegative=not signed)
            assert cost @ np.abs(limit) == pytest.approx(cost @ np.abs(best), rel=0.05)


def test_a_truth_that_fits_nearly_bounds_nothing():
    """(1, 0) leaves 1e-9 of y, and (1, 1) is the one solution, of twice the l1 norm."""
    matrix, values = np.diag([1.0, 1e-9]), np.array([1.0, 1e-9])
    init = ff.inits.Constant(1e-6)
    nearly = ff.CompressedSensing(matrix, values, truth=np.array([1.0, 0.0]))
    assert "of the truth" not in said(ff.check(nearly, ff.DiagonalLinear(3), init), "Limit")
    exactly = ff.CompressedSensing(matrix, values, truth=np.ones(2))
    assert "above the 2 of the truth" in said(ff.check(exactly, ff.DiagonalLinear(3), init), "Limit")


MATRIX, VECTOR = ff.MatrixEstimation(np.eye(4)), ff.CompressedSensing(np.eye(2, 3), np.ones(2))
FACTORS, NETWORK = [np.eye(4)] * 2, ff.DeepLinear(2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: theory.stability_edge(np.eye(4), NETWORK), TypeError, "problem must be one problem"),
        (lambda: theory.stability_edge(MATRIX, 2), TypeError, "network must be a DeepLinear or"),
        (lambda: theory.sharpness("x", FACTORS), TypeError, "problem must be one problem"),
        (lambda: theory.sharpness(MATRIX, []), ValueError, "factors is empty"),
        (lambda: theory.critical_point([MATRIX], NETWORK, FACTORS), TypeError, "problem must be one problem"),
        (lambda: theory.safe_step(MATRIX, None, FACTORS), TypeError, "network must be"),
        (lambda: theory.safe_step(MATRIX, NETWORK, [np.eye(3)] * 2), ValueError, "chain to W, which is 4 x 4"),
        (lambda: theory.descent_region(VECTOR, FACTORS), TypeError, "DeepLinear network factors a matrix"),
        (lambda: theory.descent_region(MATRIX, "ab"), TypeError, "factors must be a sequence, first to last, got str"),
        (lambda: theory.descent_region(MATRIX, [np.eye(4), np.ones((2, 4, 4))]), ValueError, "or all stacks"),
        (lambda: theory.linear_rate(MATRIX, [np.eye(4), np.ones((4, 3))]), ValueError, "chain to W"),
        (lambda: theory.linear_rate(MATRIX, [np.eye(4) * 1j]), TypeError, "factor 1 must be an array of real"),
        (lambda: theory.predicted_limit(MATRIX, [np.ones((2, 4, 4))] * 2), ValueError, "takes one start"),
        (lambda: theory.predicted_limit(3, FACTORS), TypeError, "problem must be one problem"),
    ],
)
def test_wrong_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()
