"""The error of the gradient flow against SciPy at 20 times, for each problem and network, as the tolerance falls."""

from __future__ import annotations

import itertools
from functools import partial
from typing import NamedTuple

import naive
import numpy as np
import pytest

import fastflow as ff
from fastflow.methods.gradient_flow import _LayerFlow

TIMES = np.geomspace(0.02, 50, 20)
TOLERANCES = [1e-4, 1e-5, 1e-6, 1e-7, 1e-8]
REFERENCE = 2e-9
"""What the reference may err by."""
BETTER = 0.1
"""An error over the tolerance that is as good as a smaller one."""
WIDTHS = {1: (4, 5), 2: (5, 3, 4), 3: (4, 4, 3, 5), 4: (4, 3, 3, 3, 4)}
KINDS = ["estimation", "completion", "sensing", "regression by gram", "regression by samples", "autoencoder"]


def flat(factors):
    return np.concatenate([np.ravel(factor) for factor in factors])


def end_gradient_of(problem):
    """``grad f`` by W of a quadratic loss as a function of W: the oracle's, as the affine map that it is."""
    rows, columns = problem.shape
    at_zero = naive.loss_gradient(problem, np.zeros((rows, columns)))[1]
    images = [naive.loss_gradient(problem, unit.reshape(rows, columns))[1] - at_zero for unit in np.eye(rows * columns)]
    hessian = naive.weight(problem) * np.array([image.ravel() for image in images]).T
    constant = naive.weight(problem) * at_zero.ravel()
    return lambda product: (hessian @ product.ravel() + constant).reshape(rows, columns)


def solve(velocity, start, times=TIMES):
    """The factors at times by LSODA at rtol 1e-11, which DOP853 must agree with to `REFERENCE`."""
    from scipy.integrate import solve_ivp

    ends, atol = [], 1e-14 * np.abs(start).max()
    for method, rtol in (("LSODA", 1e-11), ("DOP853", 1e-12)):
        solution = solve_ivp(velocity, (0, times[-1]), start, method, t_eval=times, rtol=rtol, atol=atol)
        assert solution.success
        ends.append(solution.y.T)
    assert largest_error(*ends) < REFERENCE
    return ends[0]


def largest_error(got, wanted):
    """The error in norm at the worst time, over the largest norm."""
    got, wanted = np.reshape(got, (len(got), -1)), np.reshape(wanted, (len(wanted), -1))
    return np.linalg.norm(got - wanted, axis=1).max() / np.linalg.norm(wanted, axis=1).max()


def start_of(problem, network, init):
    """The factors of run 0."""
    runs = ff.train(problem, network, init, ff.GradientFlow([0.0], t_max=1e-9), runs=1)
    return [factor[0] for factor in runs.factors]


def check_errors(problem, network, init, wanted, wanted_factors=None, times=TIMES, most=10):
    """Below ``most`` rtol at every tolerance, and falling by 4.5 a decade or more, down to the error of the reference.

    The fall is that of the line of least squares through the logarithms; an error of less than `BETTER` rtol counts for
    as much.
    """
    errors, of_factors = [], []
    for rtol in TOLERANCES:
        method = ff.GradientFlow(times, t_max=times[-1], rtol=rtol, tol=0)
        record = ff.Record(product=True, factors=wanted_factors is not None)
        history = ff.train(problem, network, init, method, runs=1, record=record).history
        errors.append(largest_error(history.product[0], wanted))
        if wanted_factors is not None:
            got = np.array([flat([factor[0, k] for factor in history.factors]) for k in range(len(times))])
            of_factors.append(largest_error(got, wanted_factors))
    for found in filter(None, (errors, of_factors)):
        over = np.divide(found, TOLERANCES)
        print("error / rtol", np.round(over, 2))
        assert np.all(over < most)
        count = max(3, np.count_nonzero(np.array(found) > REFERENCE))
        counted = np.maximum(over[:count], BETTER) * TOLERANCES[:count]
        fall = np.polyfit(np.log10(TOLERANCES[:count]), np.log10(counted), 1)[0]
        assert fall > np.log10(4.5)


def check_chain(problem, network, init, end_gradient, times=TIMES, most=10):
    start = start_of(problem, network, init)
    shapes = [factor.shape for factor in start]
    cuts = np.cumsum([factor.size for factor in start])[:-1]

    def unpack(w):
        return [part.reshape(shape) for part, shape in zip(np.split(w, cuts), shapes, strict=True)]

    def velocity(_, w):
        factors = unpack(w)
        return -flat(naive.chain_gradient(factors, end_gradient(naive.chain_product(factors))))

    factors = solve(velocity, flat(start), times)
    wanted = [naive.chain_product(unpack(w)) for w in factors]
    check_errors(problem, network, init, wanted, factors, times, most)


@pytest.mark.parametrize("depth", list(WIDTHS))
@pytest.mark.parametrize("kind", KINDS)
def test_of_layers(kind, depth, make_problem, rng):
    widths = WIDTHS[depth]
    if kind == "autoencoder":
        widths = (*widths[:-1], widths[0])
        problem = ff.LinearRegression.autoencoder(rng.standard_normal((widths[0], 12)) / 3, samples="columns")
    else:
        problem = make_problem(kind, (widths[-1], widths[0]), normalization="mean" if depth == 3 else "sum")
    check_chain(problem, ff.DeepLinear(widths=widths), ff.inits.Gaussian(0.3), end_gradient_of(problem))


@pytest.mark.parametrize(("depth", "scale", "last"), [(2, 1e-3, 100), (2, 1e-6, 100), (3, 1e-3, 600)])
@pytest.mark.parametrize("kind", ["estimation", "completion", "sensing", "regression by gram"])
def test_of_small_starts(kind, depth, scale, last, make_problem):
    """Past the saddles, where an error is one in the time of escape, which three layers have more to gather for."""
    widths = WIDTHS[depth]
    problem, times = make_problem(kind, (widths[-1], widths[0])), np.geomspace(0.02, last, 20)
    network, most = ff.DeepLinear(widths=widths), 10 if depth == 2 else 20
    check_chain(problem, network, ff.inits.Gaussian(scale), end_gradient_of(problem), times, most)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_of_identical_layers(depth, rng):
    """Estimation of a definite matrix: of others the limit is a saddle, and the escape from it one of round-off."""
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    target = (basis * [2.0, 1.0, 0.5, 0.1]) @ basis.T
    problem = ff.MatrixEstimation((target + target.T) / 2)
    check_chain(problem, ff.DeepLinear(depth), ff.inits.Identity(0.1), end_gradient_of(problem))


class Steep(NamedTuple):
    """A user's problem: ``sum r^2/2 + r^4/4 + least``, r = W - target."""

    target: np.ndarray
    least: np.ndarray


def steep(problem, index, product, gradient):
    loss = problem.least[index, 0]
    for i in range(product.size):
        r = product[i] - problem.target[index, i]
        gradient[i] = r + r**3
        loss += r**2 / 2 + r**4 / 4
    return loss


def test_of_a_problem_of_the_users_own(rng):
    ff.kernels.add_problem(Steep, steep)
    target = rng.standard_normal((4, 5))
    problem = ff.CustomProblem((4, 5), Steep(target.ravel(), np.zeros(1)))
    network = ff.DeepLinear(widths=(5, 3, 4))
    check_chain(problem, network, ff.inits.Gaussian(0.3), lambda w: (w - target) + (w - target) ** 3)


@pytest.mark.parametrize("tol", [None, 0.0, 1e-10])
@pytest.mark.parametrize("width", [2, 20])
def test_a_negative_loss_is_no_end(tol, width):
    """Whatever the tolerance, as of descent (`test_custom`)."""
    ff.kernels.add_problem(Steep, steep)
    target = np.diag(np.linspace(1, 2, width))
    problem = ff.CustomProblem((width, width), Steep(target.ravel(), np.array([-2.5])), truth=target)
    method = ff.GradientFlow(tol=tol, gradient_tol=1e-9)
    runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Identity(1.0, of="factor"), method, threads=1)
    assert [ff.Status(status) for status in runs.status] == [ff.Status.CRITICAL]
    assert runs.loss[0] == pytest.approx(-2.5, rel=1e-9)
    np.testing.assert_allclose(runs.solution[0], target, rtol=0, atol=1e-6)
    assert " tol" not in repr(ff.GradientFlow(tol=None))


@pytest.mark.parametrize("observed", ["compressed sensing", "one output"])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_of_diagonal_networks(depth, signed, observed, rng):
    """Independent factors of any sign, and identical ones; two of the first and all of the second go by the dual."""
    n, sides = 6, 2 if signed else 1
    if observed == "one output":
        inputs, outputs = rng.standard_normal((n, 12)) / 3, rng.standard_normal((1, 12))
        problem, seen = (
            ff.LinearRegression(inputs, outputs, samples="columns"),
            ff.CompressedSensing(inputs.T, outputs[0]),
        )
    else:
        problem = ff.CompressedSensing(
            rng.standard_normal((4, n)) / 2, rng.standard_normal(4), normalization="mean" if signed else "sum"
        )
        seen = problem
    for identical in (False, True):
        network = ff.DiagonalLinear(depth, signed=signed, identical=identical)
        init = ff.inits.Constant(0.4) if identical else ff.inits.Gaussian(0.6)
        start = start_of(problem, network, init)
        power = depth if identical else 1

        def vectors(w, power=power):
            """The L vectors of each side."""
            return [list(side) * power for side in w.reshape(sides, -1, n)]

        def velocity(_, w, power=power, vectors=vectors):
            parts = vectors(w)
            g = naive.vector_loss_gradient(seen, naive.hadamard_product(parts))[1]
            # Equal factors stay equal: one of each side stands for all.
            rates = [side[: len(side) // power] for side in naive.hadamard_gradient(parts, g)]
            return -flat(itertools.chain(*rates))

        factors = solve(velocity, flat(start))
        wanted = [naive.hadamard_product(vectors(w)) for w in factors]
        check_errors(problem, network, init, wanted, None if identical or depth <= 2 else factors)


def products_of(depth, starts):
    """The products of flat factors (runs, depth * d * d)."""
    side = np.sqrt(starts.shape[1] // depth).astype(int)
    return np.array([np.linalg.multi_dot([*w[::-1], np.eye(side)]) for w in starts.reshape(-1, depth, side, side)])


@pytest.mark.parametrize("depth", [2, 3])
def test_no_more_gradients_than_scipys_best_at_equal_error(depth, rng, monkeypatch):
    """Past the saddles, where SciPy's RK45 or DOP853, at the loosest tolerance of each that is enough, need fewest."""
    from scipy.integrate import solve_ivp

    side, until, evaluations = 16, {2: 14.0, 3: 40.0}[depth], []
    target = rng.standard_normal((side, 2)) @ rng.standard_normal((2, side))
    target /= np.linalg.norm(target, 2)
    observed = rng.random(target.shape) < 0.5
    problem = ff.MatrixCompletion.from_dense(np.where(observed, target, np.nan))
    settle = _LayerFlow.settle
    monkeypatch.setattr(_LayerFlow, "settle", lambda flow: (settle(flow), evaluations.append(flow.state.evaluations)))

    def flows(rtol, t_max=until):
        method = ff.GradientFlow(t_max=t_max, rtol=rtol, tol=0, gradient_tol=0)
        return ff.train(problem, ff.DeepLinear(depth), ff.inits.Gaussian(1e-2), method, runs=4)

    def velocity(_, w):
        factors = list(w.reshape(depth, side, side))
        return -flat(naive.gradient(problem, factors))

    def error(products):
        return np.abs(products.reshape(wanted.shape) - wanted).max() / np.abs(wanted).max()

    starts, wanted = flows(1e-8, 1e-9).flat_factors, flows(1e-12).solution

    def scipys(name, rtol):
        with np.errstate(over="ignore", invalid="ignore"):
            ends = [solve_ivp(velocity, (0, until), w, name, rtol=rtol, atol=rtol / 10) for w in starts]
        return error(products_of(depth, np.array([end.y[:, -1] for end in ends]))), np.mean([end.nfev for end in ends])

    def ours(rtol):
        return error(flows(rtol).solution), evaluations[-1].mean()

    def fewest(solve, bound):
        found = map(solve, 10.0 ** -np.arange(2.5, 10.1, 0.5))
        return next(count for error, count in found if error < bound)

    for bound in (1e-4, 1e-7):
        counts = [fewest(solve, bound) for solve in (ours, partial(scipys, "RK45"), partial(scipys, "DOP853"))]
        print(bound, counts)
        assert counts[0] < 1.25 * min(counts[1:])
