"""Laws that theorems state exactly, or with constants: gradient descent as trained here must obey them."""

from __future__ import annotations

import naive
import numpy as np
import pytest

import fastflow as ff

EVERY_STEP = {"spacing": "linear", "singular_values": False, "effective_rank": False}


def factors_at(runs, run, record):
    """The factors of a run at a record, first to last."""
    return [factor[run, record] for factor in runs.history.factors]


# Balancedness


@pytest.mark.parametrize("widths", [(4, 5), (5, 3, 4), (3, 6, 5, 2), (4, 4, 4, 4, 4)], ids=str)
def test_drift_of_balancedness(kind, widths, make_problem, make_factors):
    """``C_j(k+1) - C_j(k) = step^2 (G_{j+1}^T G_{j+1} - G_j G_j^T)``, to 1e-14 of what is subtracted."""
    problem, step = make_problem(kind, (widths[-1], widths[0])), 0.1
    method = ff.GradientDescent(step=np.full(5, step), tol=0)
    record = ff.Record(steps=6, factors=True, **EVERY_STEP)
    start = ff.inits.Explicit(make_factors(widths))
    runs = ff.train(problem, ff.DeepLinear(widths=widths), start, method, record=record)
    for k in range(5):
        before, after = factors_at(runs, 0, k), factors_at(runs, 0, k + 1)
        gradients = naive.gradient(problem, before)
        for j in range(len(widths) - 2):
            drift = naive.balancedness_defects(after)[j] - naive.balancedness_defects(before)[j]
            lower, upper = gradients[j], gradients[j + 1]
            expected = step**2 * (upper.T @ upper - lower @ lower.T)
            size = max(np.sum(f**2) for f in (*before, *after)) + step**2 * max(np.sum(g**2) for g in gradients)
            assert np.abs(drift - expected).max() <= 1e-14 * size


def test_recorded_balancedness_and_gradient_norm(make_problem, make_factors):
    widths = (3, 6, 5, 2)
    problem = make_problem("sensing", (2, 3))
    method = ff.GradientDescent(step=0.05, max_steps=20, tol=0)
    record = ff.Record(steps=[0, 3, 20], factors=True)
    runs = ff.train(
        [problem], ff.DeepLinear(widths=widths), ff.inits.Explicit(make_factors(widths)), method, record=record
    )
    for i in range(3):
        factors = factors_at(runs, 0, i)
        norm = np.sqrt(sum(np.sum(g**2) for g in naive.gradient(problem, factors)))
        assert runs.history.gradient_norm[0, i] == pytest.approx(norm, rel=1e-12)
        assert runs.history.balancedness[0, i] == pytest.approx(naive.chain_balancedness(factors), rel=1e-12)


def test_the_defect_stays_under_its_bound_along_a_monotone_run(make_problem, make_factors):
    """``||C_j(k)||_F <= ||C_j(0)||_F + step (f(0) - f(k)) / sigma`` when each step gains ``sigma step ||grad||^2``."""
    widths, sigma = (5, 4, 4, 3), 0.5
    problem = make_problem("completion", (3, 5))
    method = ff.GradientDescent(step=0.02, max_steps=2000, tol=0)
    record = ff.Record(steps=2001, factors=True, **EVERY_STEP)
    start = ff.inits.Explicit(make_factors(widths))
    runs = ff.train(problem, ff.DeepLinear(widths=widths), start, method, record=record)
    losses, norms = runs.history.loss[0], runs.history.gradient_norm[0]
    assert np.all(losses[:-1] - losses[1:] >= sigma * 0.02 * norms[:-1] ** 2 - 1e-15 * losses[0])
    initial = [np.linalg.norm(c) for c in naive.balancedness_defects(factors_at(runs, 0, 0))]
    for k in range(0, 2001, 100):
        for c, first in zip(naive.balancedness_defects(factors_at(runs, 0, k)), initial, strict=True):
            assert np.linalg.norm(c) <= first + 0.02 * (losses[0] - losses[k]) / sigma + 1e-13


# Estimation from identical starts (Chou, Gieshoff, Maly, Rauhut, arXiv:2011.13772)


def scalar_recursion(eigenvalues, alpha, depth, step, records):
    """``d - step d^{N-1} (d^N - lambda)`` at the given steps, (records, eigenvalues)."""
    values = np.full(len(eigenvalues), alpha)
    kept, at = [], 0
    for k in records:
        while at < k:
            power = values ** (depth - 1)
            values = values - step * power * (power * values - eigenvalues)
            at += 1
        kept.append(values)
    return np.array(kept)


def identical_start(target, alpha, depth, step, max_steps, steps=200):
    method = ff.GradientDescent(step=step, max_steps=max_steps, tol=0)
    record = ff.Record(steps=steps, product=True, factors=True, singular_values=False, effective_rank=False)
    init = ff.inits.Identity(alpha, of="factor")
    return ff.train(ff.MatrixEstimation(target), ff.DeepLinear(depth), init, method, record=record)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_diagonal_target_is_the_scalar_recursion(depth):
    """Over 10^5 steps, to 1e-12, for positive, zero and negative eigenvalues; off the diagonal stays exactly 0."""
    eigenvalues, alpha, step = np.array([3.0, 1.0, 0.2, 0.0, -0.5, -2.0]), 0.1, 0.01
    runs = identical_start(np.diag(eigenvalues), alpha, depth, step, 10**5)
    expected = scalar_recursion(eigenvalues, alpha, depth, step, runs.history.steps)
    diagonal = np.eye(6, dtype=bool)
    for factor in runs.history.factors:
        assert not factor[0][:, ~diagonal].any()
        np.testing.assert_allclose(factor[0][:, diagonal], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(runs.history.product[0][:, diagonal], expected**depth, rtol=0, atol=1e-12)
    # The limit is the positive part, approached by a power of time where the eigenvalue is not positive.
    np.testing.assert_allclose(runs.solution[0][diagonal][:3], eigenvalues[:3], atol=1e-10)
    assert np.all(runs.solution[0][diagonal][3:] >= 0)
    assert np.all(runs.solution[0][diagonal][3:] < 2e-3)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_positive_semidefinite_target_is_the_scalar_recursion_in_its_eigenbasis(depth, rng):
    """Over 10^5 steps, to 1e-12, below the monotone step; the factors, where roundings add up, to 5e-12."""
    eigenvalues, alpha = np.array([3.0, 1.0, 1.0, 0.2, 0.0]), 0.1
    basis = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    target = basis * eigenvalues @ basis.T
    step = 0.9 * ff.theory.monotone_step(depth, alpha, 3.0)
    runs = identical_start((target + target.T) / 2, alpha, depth, step, 10**5, steps=100)
    expected = scalar_recursion(eigenvalues, alpha, depth, step, runs.history.steps)
    products = basis * (expected**depth)[:, None, :] @ basis.T
    np.testing.assert_allclose(runs.history.product[0], products, rtol=0, atol=1e-12)
    for factor in runs.history.factors:
        np.testing.assert_allclose(factor[0], basis * expected[:, None, :] @ basis.T, rtol=0, atol=5e-12)


@pytest.mark.parametrize("eigenvalue", [2.0, 0.5, 0.0, -1.0])
def test_depth_two_follows_the_closed_form_of_the_flow(eigenvalue):
    """``lambda a^2 / (lambda e^{-2 lambda t} + a^2 (1 - e^{-2 lambda t}))``, up to an error linear in the step."""
    alpha, errors = 0.3, []
    for step in (1e-3, 5e-4):
        count = round(4 / step)
        runs = identical_start([[eigenvalue]], alpha, 2, step, count, steps=np.arange(0, count + 1, count // 40))
        t = step * runs.history.steps
        if eigenvalue:
            decay = np.exp(-2 * eigenvalue * t)
            exact = eigenvalue * alpha**2 / (eigenvalue * decay + alpha**2 * (1 - decay))
        else:
            exact = alpha**2 / (1 + 2 * alpha**2 * t)
        errors.append(np.abs(runs.history.product[0, :, 0, 0] - exact).max())
    assert errors[0] < 3e-3
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.02)


# First and last time at which the effective rank is within .02 of each plateau, after the first drop; and the time at
# which it is smallest.
PLATEAUS = {
    2: ([(1.0, 0.422, 0.760), (1.5, 1.400, 3.906), (1.6, 5.294, np.inf)], 0.582),
    3: ([(1.0, 1.956, 3.972), (1.5, 4.344, 20.014), (1.6, 21.224, np.inf)], 2.196),
    4: ([(1.0, 4.852, 9.784), (1.5, 10.06, 49.11), (1.6, 50.156, np.inf)], 5.05),
}


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_plateaus_of_the_effective_rank(depth):
    """Y = diag(10, 5, 1, 0, ...), n = 20, product started at 1e-4 I: ranks 1, 2, 3 are learned one after the other."""
    plateaus, smallest_at = PLATEAUS[depth]
    target = np.zeros((20, 20))
    target[[0, 1, 2], [0, 1, 2]] = 10, 5, 1
    step = 2e-4 if depth == 2 else 1e-3
    last = plateaus[-1][1] * 1.3
    grid = np.unique(np.rint(np.linspace(0, last / step, 4000)).astype(int))
    method = ff.GradientDescent(step=step, max_steps=int(grid[-1]), tol=0)
    record = ff.Record(steps=grid, loss=False, gradient_norm=False, balancedness=False, singular_values=False)
    runs = ff.train(ff.MatrixEstimation(target), ff.DeepLinear(depth), ff.inits.Identity(1e-4), method, record=record)
    t, rank = step * runs.history.steps, runs.history.effective_rank[0]
    assert rank[0] == pytest.approx(20)

    smallest = int(np.argmin(rank))
    assert t[smallest] == pytest.approx(smallest_at, rel=0.02)
    # From there on it increases, up to what null modes that still decay take away.
    assert np.max(np.maximum.accumulate(rank[smallest:]) - rank[smallest:]) < 2e-4

    after_drop = np.arange(len(t)) >= np.argmax(rank < 1.02)
    for value, first, final in plateaus:
        inside = np.flatnonzero(after_drop & (np.abs(rank - value) <= 0.02))
        assert np.array_equal(inside, np.arange(inside[0], inside[-1] + 1)), value
        assert t[inside[0]] == pytest.approx(first, rel=0.005), value
        assert t[inside[-1]] == pytest.approx(min(final, t[-1]), rel=0.005), value


@pytest.mark.parametrize("basis", ["diagonal", "rotated"])
@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_the_loss_falls_at_every_step_below_the_monotone_step(depth, basis, rng):
    """500 random draws of Y and alpha: no loss increases, every eigenvalue of every factor stays positive.

    The draws are scaled to ``max(alpha, ||Y||_2^{1/N}) = 1``, where their steps agree; `monotone_step` scales as the
    recursion does, ``W_j -> c W_j, Y -> c^N Y, step -> c^{2-2N} step``.
    """
    draws, size = 500, 4
    eigenvalues = rng.uniform(-1, 1, (draws, size))
    eigenvalues /= np.abs(eigenvalues).max(axis=1, keepdims=True)
    alphas = 10.0 ** rng.uniform(-3, 0, draws)
    eigenvalues[::2] *= rng.uniform(0, 1, (draws, 1))[::2]
    alphas[::2] = 1
    steps = [ff.theory.monotone_step(depth, a, np.abs(e).max()) for a, e in zip(alphas, eigenvalues, strict=True)]
    np.testing.assert_allclose(steps, 1 / (3 * depth - 2), rtol=1e-12)
    for c in (0.1, 7.0):
        scaled = ff.theory.monotone_step(depth, c * alphas[1], c**depth * np.abs(eigenvalues[1]).max())
        assert scaled == pytest.approx(c ** (2 - 2 * depth) * steps[1], rel=1e-12)

    bases = np.tile(np.eye(size), (draws, 1, 1))
    if basis == "rotated":
        bases = np.linalg.qr(rng.standard_normal((draws, size, size)))[0]
    targets = bases * eigenvalues[:, None, :] @ np.swapaxes(bases, 1, 2)
    problems = [ff.MatrixEstimation((target + target.T) / 2) for target in targets]
    start = ff.inits.Explicit([alphas[:, None, None] * np.eye(size)] * depth)
    # Where Y is not diagonal, round-off grows like exp(|lambda| t) beside a negative eigenvalue: stop before it shows.
    count = 400 if basis == "diagonal" else 12 * depth
    method = ff.GradientDescent(step=steps[0] * (1 - 1e-9), max_steps=count, tol=0)
    runs = ff.train(
        problems, ff.DeepLinear(depth), start, method, record=ff.Record(steps=count + 1, factors=True, **EVERY_STEP)
    )
    losses = runs.history.loss
    assert np.all(losses[:, 1:] <= losses[:, :-1] + 1e-15)
    for factor in runs.history.factors:
        if basis == "diagonal":
            assert np.all(np.diagonal(factor, axis1=2, axis2=3) > 0)
        else:
            assert np.linalg.eigvalsh((factor + np.swapaxes(factor, 2, 3)) / 2).min() > -1e-10


@pytest.mark.parametrize(("depth", "time"), [(2, 9.9), (3, 213.0)])
def test_the_perturbed_identity_reaches_a_negative_eigenvalue(depth, time):
    """lambda = -1, alpha = 0.1: with beta = 1e-3 within 1% of -1 at the time of the theory, with beta = 0 never."""
    target, step = np.diag([-1.0, 2.0, 0.5]), 1e-3
    grid = np.arange(0, round(1.1 * time / step), round(0.001 * time / step))
    method = ff.GradientDescent(step=step, max_steps=int(grid[-1]), tol=0)
    record = ff.Record(steps=grid, product=True, **EVERY_STEP)
    values = {}
    for beta in (1e-3, 0.0):
        init = ff.inits.Identity(0.1, of="factor", perturbation=beta)
        runs = ff.train(ff.MatrixEstimation(target), ff.DeepLinear(depth), init, method, record=record)
        values[beta] = runs.history.product[0, :, 0, 0]
        np.testing.assert_allclose(np.diag(runs.solution[0])[1:], [2.0, 0.5], rtol=1e-3)
    reached = np.abs(values[1e-3] + 1) < 0.01
    assert step * grid[np.argmax(reached)] == pytest.approx(time, rel=0.01)
    assert np.all(reached[np.argmax(reached) :])
    assert np.all(values[0.0] >= 0)
    assert values[0.0][-1] < 1e-4


def test_the_unperturbed_identity_stays_at_the_saddle_of_a_diagonal_target():
    """Long after the time at which a perturbed one has left it (1.0e4 for depth 4)."""
    runs = identical_start([[-1.0]], 0.1, 4, 0.1, 2 * 10**5)
    assert 0 <= runs.solution[0, 0, 0] < 1e-6


# Regression: what the minimum is


@pytest.mark.parametrize("rank", [1, 3])
def test_the_autoencoder_of_depth_two_reaches_the_sum_of_the_discarded_eigenvalues(rank, rng):
    """``1/2 sum_{i > r} lambda_i(XX^T)`` at ``U_r U_r^T``, from random starts; ``W_2 = W_1^T`` from a balanced one."""
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    eigenvalues = np.array([5.0, 3.0, 2.0, 0.5, 0.3, 0.1])
    inputs = basis * np.sqrt(eigenvalues) @ np.linalg.qr(rng.standard_normal((20, 6)))[0].T
    problem, network = ff.LinearRegression.autoencoder(inputs, samples="columns"), ff.DeepLinear(widths=(6, rank, 6))
    expected = basis[:, :rank] @ basis[:, :rank].T
    for init in (ff.inits.Gaussian(0.1), ff.inits.Balanced(0.1)):
        runs = ff.train(problem, network, init, ff.GradientDescent(max_steps=10_000, tol=0), runs=20)
        np.testing.assert_allclose(runs.loss, 0.5 * eigenvalues[rank:].sum(), rtol=1e-10)
        np.testing.assert_allclose(runs.solution, np.broadcast_to(expected, (20, 6, 6)), atol=1e-6)
    # The last runs are balanced but for a drift of the order of the step.
    first, second = runs.factors
    small = ff.train(problem, network, init, ff.GradientDescent(step=1e-3, max_steps=100_000, tol=0), runs=3)
    difference = [np.abs(b - np.swapaxes(a, 1, 2)).max() for a, b in ((first, second), tuple(small.factors))]
    assert difference[1] < 1e-3
    assert difference[1] < 0.1 * difference[0]


def test_regression_reaches_the_best_approximation_of_low_rank(rng):
    """``1/2 (||Y||^2 - sum_{i <= r} sigma_i^2)``, sigma_i the singular values of ``Y X^T (XX^T)^{-1/2}``."""
    inputs, outputs = rng.standard_normal((5, 30)), rng.standard_normal((4, 30))
    values, vectors = np.linalg.eigh(inputs @ inputs.T)
    sigma = np.linalg.svd(outputs @ inputs.T @ (vectors / np.sqrt(values)) @ vectors.T, compute_uv=False)
    problem = ff.LinearRegression(inputs, outputs, samples="columns")
    for rank in (1, 2, 4):
        network = ff.DeepLinear(widths=(5, rank, 4))
        runs = ff.train(problem, network, ff.inits.Gaussian(0.1), ff.GradientDescent(max_steps=20_000, tol=0), runs=10)
        optimum = 0.5 * (np.sum(outputs**2) - np.sum(sigma[:rank] ** 2))
        assert np.all(runs.loss >= optimum * (1 - 1e-12))
        np.testing.assert_allclose(runs.loss, optimum, rtol=1e-9)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_singular_values_move_as_in_the_balanced_flow(depth, rng, make_problem):
    """``ds_r/dt = -N s_r^{2-2/N} <E, u_r v_r^T>``, from one small step."""
    problem, step = make_problem("completion", (4, 4)), 1e-7
    left, right = (np.linalg.qr(rng.standard_normal((4, 4)))[0] for _ in range(2))
    values = np.array([2.0, 1.2, 0.5, 0.1])
    start = left * values @ right.T
    method = ff.GradientDescent(step=step, max_steps=1, tol=0)
    runs = ff.train(problem, ff.DeepLinear(depth), ff.inits.Balanced(product=start), method, record=ff.Record([0, 1]))
    speed = np.diff(runs.history.singular_values[0], axis=0)[0] / step
    forces = np.einsum("ir,ij,jr->r", left, problem.gradient(start), right)
    expected = -depth * values ** (2 - 2 / depth) * forces
    np.testing.assert_allclose(speed, expected, rtol=0, atol=3e-6 * np.abs(expected).max())
