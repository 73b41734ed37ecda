"""Measurements by products: operators against their dense forms, and descent on them as on dense matrices."""

from __future__ import annotations

import _thread
import dataclasses
import pickle
import threading

import naive
import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import solve_ivp
from scipy.sparse.linalg import LinearOperator, aslinearoperator

import fastflow as ff
from fastflow.kernels.losses.measured import subtract_values
from fastflow.operators import as_operator

SIZES = {"fourier": (1, 2, 7, 12, 64), "cosine": (1, 2, 7, 12, 64), "circulant": (1, 2, 7, 12), "hadamard": (1, 2, 64)}
KINDS = {
    "fourier": (ff.operators.PartialFourier, naive.partial_fourier),
    "cosine": (ff.operators.PartialCosine, naive.partial_cosine),
    "circulant": (ff.operators.Circulant, naive.circulant),
    "hadamard": (ff.operators.SubsampledHadamard, naive.subsampled_hadamard),
}
NONNEGATIVE = ff.DiagonalLinear(2, signed=False)
START = ff.inits.Constant(0.1, of="factor")
SQUARE = sparse.coo_array(np.eye(4))


def drawn(rng, kind, n, m):
    """An operator of a kind, and its dense form."""
    make, dense = KINDS[kind]
    rows = rng.permutation(n)[:m]
    given = (rng.standard_normal(n), rows) if kind == "circulant" else (n, rows)
    return make(*given), dense(*given)


def real_form(matrix):
    return np.vstack([matrix.real, matrix.imag]) if np.iscomplexobj(matrix) else matrix


def check_products(operator, dense, rng, tolerance=1e-13):
    """Products, the adjoint identity, and the bits of each vector whatever stands beside it."""
    real, size = real_form(dense), max(1.0, np.linalg.norm(dense))
    assert operator.shape == dense.shape
    assert operator.rows == len(real)
    np.testing.assert_allclose(operator.toarray(), dense, rtol=0, atol=tolerance * size)
    x, r = rng.standard_normal((3, operator.shape[1])), rng.standard_normal((3, operator.rows))
    forward, back = operator.forward(x), operator.adjoint(r.copy())
    np.testing.assert_allclose(forward, x @ real.T, rtol=0, atol=10 * tolerance * size)
    np.testing.assert_allclose(back, r @ real, rtol=0, atol=10 * tolerance * size)
    np.testing.assert_allclose(np.sum(forward * r, 1), np.sum(x * back, 1), rtol=0, atol=100 * tolerance * size)
    for i in range(3):
        np.testing.assert_array_equal(operator.forward(x[i : i + 1])[0], forward[i])
        np.testing.assert_array_equal(operator.adjoint(r[i : i + 1].copy())[0], back[i])
    half = operator.forward(x.astype(np.float32)), operator.adjoint(r.astype(np.float32))
    assert [array.dtype for array in half] == [np.float32, np.float32]
    np.testing.assert_allclose(half[0], forward, rtol=0, atol=1e-4 * size)
    np.testing.assert_allclose(half[1], back, rtol=0, atol=1e-4 * size)


@pytest.mark.parametrize("kind", KINDS)
def test_an_operator_is_its_dense_form(kind, rng):
    for n in SIZES[kind]:
        for m in {1, n // 2 + 1, n}:
            operator, dense = drawn(rng, kind, n, m)
            check_products(operator, dense, rng)
            assert operator.rank >= np.linalg.matrix_rank(real_form(dense)) == min(operator.rank, n)
            np.testing.assert_allclose(operator @ np.ones(n), dense @ np.ones(n), rtol=0, atol=1e-12 * max(n, 1))


def test_what_users_have_is_its_dense_form(rng):
    for dense in (rng.standard_normal((5, 8)), rng.standard_normal((5, 8)) + 1j * rng.standard_normal((5, 8))):
        thin = np.where(rng.random((5, 8)) < 0.5, dense, 0)
        check_products(as_operator(sparse.coo_array(thin)), thin, rng)
        check_products(as_operator(sparse.csc_matrix(thin)), thin, rng)
        check_products(as_operator(aslinearoperator(dense)), dense, rng)
        whole = as_operator(aslinearoperator(dense), together=True)
        x = rng.standard_normal((2, 8))
        np.testing.assert_allclose(whole.forward(x), x @ real_form(dense).T, rtol=0, atol=1e-13)
        r = rng.standard_normal((2, whole.rows))
        np.testing.assert_allclose(whole.adjoint(r.copy()), r @ real_form(dense), rtol=0, atol=1e-13)


def rank_one(rng, m=9, shape=(3, 4)):
    """Measurements ``a_i^T W b_i``, and the same as matrices."""
    left, right = rng.standard_normal((m, shape[0])), rng.standard_normal((m, shape[1]))
    return ff.operators.RankOne(left, right), np.einsum("mi,mj->mij", left, right)


def test_operators_on_matrices_are_their_dense_form(rng):
    operator, dense = rank_one(rng)
    check_products(operator, dense.reshape(9, 12), rng)
    check_products(ff.operators.OnMatrices(sparse.csr_array(dense.reshape(9, 12)), (3, 4)), dense.reshape(9, 12), rng)
    assert operator.energy == pytest.approx(np.sum(dense**2), rel=1e-13)
    values, product = rng.standard_normal(9), rng.standard_normal((3, 4))
    expected = ff.MatrixSensing(dense, values)
    for given in (operator, ff.operators.OnMatrices(aslinearoperator(dense.reshape(9, 12)), (3, 4))):
        problem = ff.MatrixSensing(given, values)
        assert problem.shape == (3, 4)
        for name in ("residual", "gradient", "normal_operator"):
            np.testing.assert_allclose(getattr(problem, name)(product), getattr(expected, name)(product), atol=1e-12)
        np.testing.assert_allclose(problem.estimate(), expected.estimate(), rtol=0, atol=1e-12)
        edges = [ff.theory.stability_edge(each, ff.DeepLinear(2)) for each in (problem, expected)]
        assert edges[0] == pytest.approx(edges[1], rel=1e-9)
    with pytest.raises(ValueError, match=r"needs all entries of A.*toarray\(\)"):
        ff.baselines.NuclearNorm().solve(problem)


def test_descent_on_rank_one_measurements_is_that_of_the_formula(rng):
    operator, dense = rank_one(rng)
    values, step = rng.standard_normal(9), 1e-3
    first, second = rng.standard_normal((2, 3, 4)) / 2, rng.standard_normal((2, 3, 3)) / 2
    runs = ff.train(
        ff.MatrixSensing(operator, values),
        ff.DeepLinear(2),
        ff.inits.Explicit([first, second]),
        ff.GradientDescent(step, 40, tol=0.0),
    )
    for run in range(2):
        w1, w2 = first[run], second[run]
        for _ in range(40):
            gradient = np.tensordot(np.tensordot(dense, w2 @ w1) - values, dense, 1)
            w1, w2 = w1 - step * w2.T @ gradient, w2 - step * gradient @ w1.T
        np.testing.assert_allclose(runs.solution[run], w2 @ w1, rtol=0, atol=1e-12)


def test_subtract_values(rng):
    residuals, values, losses = rng.standard_normal((3, 7)), rng.standard_normal(7), np.zeros(3)
    left, halves = naive.subtract_values(residuals, values)
    subtract_values(residuals, values, losses)
    np.testing.assert_array_equal(residuals, left)
    np.testing.assert_allclose(losses, halves, rtol=1e-14)


def problem_of(rng, kind="fourier", n=16, m=9):
    """A problem with an operator and the same with a dense matrix; two positive entries are looked for."""
    operator, dense = drawn(rng, kind, n, m)
    truth = np.zeros(n)
    truth[rng.permutation(n)[:2]] = 1.0, 2.0
    return ff.CompressedSensing(operator, dense @ truth, truth=truth), ff.CompressedSensing(dense, dense @ truth)


def test_a_problem_of_an_operator_is_that_of_its_dense_form(rng):
    for kind in KINDS:
        problem, dense = problem_of(rng, kind)
        x = rng.standard_normal(16)
        for name in ("residual", "gradient", "normal_operator"):
            np.testing.assert_allclose(getattr(problem, name)(x), getattr(dense, name)(x), rtol=0, atol=1e-12)
        residual = rng.standard_normal(problem.residual_count)
        np.testing.assert_allclose(problem.explained(residual), dense.explained(residual), rtol=0, atol=1e-8)
        np.testing.assert_allclose(problem.estimate(), dense.estimate(), rtol=0, atol=1e-8)
        assert problem.loss(x) == pytest.approx(dense.loss(x), rel=1e-12)
        assert (problem.is_matrix_free, dense.is_matrix_free) == (True, False)
        assert pickle.loads(pickle.dumps(problem)) == problem == dataclasses.replace(problem) != dense
        assert hash(problem) == hash(dataclasses.replace(problem))


def test_the_edge_is_found_by_products_as_accurately_as_asked(rng):
    problem, dense = problem_of(rng, "circulant", 64, 40)
    exact = ff.theory.stability_edge(dense, NONNEGATIVE)
    assert ff.theory.stability_edge(problem, NONNEGATIVE) == pytest.approx(exact, rel=1e-8)
    assert ff.theory.stability_edge(problem, NONNEGATIVE, rtol=1e-2) == pytest.approx(exact, rel=1e-2)
    runs = ff.train(problem, NONNEGATIVE, START, ff.GradientDescent(0.5 * ff.theory.edge, 3))
    assert runs.step[0] == pytest.approx(exact / 2, rel=1e-8)


def test_noise_that_no_x_fits_is_known_by_products(rng):
    """More measurements than unknowns: runs converge at the least loss, as they do with the entries."""
    matrix, noise = rng.standard_normal((15, 9)), rng.standard_normal(15)
    method = ff.GradientDescent(0.3 * ff.theory.edge)
    for scale in (1.0, 1e-6):
        values = matrix[:, 2] + scale * noise
        dense, problem = ff.CompressedSensing(matrix, values), ff.CompressedSensing(aslinearoperator(matrix), values)
        assert problem.least_loss() == pytest.approx(dense.least_loss(), rel=1e-9)
        assert problem.least_loss() <= dense.least_loss() * (1 + 1e-12)
        runs = ff.train(problem, ff.DiagonalLinear(2), START, method)
        assert runs.status[0] == ff.train(dense, ff.DiagonalLinear(2), START, method).status[0] == ff.Status.CONVERGED
    operator, arrays = rank_one(rng, 20)
    values = rng.standard_normal(20)
    least = ff.MatrixSensing(arrays, values).least_loss(3)
    assert ff.MatrixSensing(operator, values).least_loss(3) == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("identical", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_descent_on_an_operator_is_descent_on_its_dense_form(signed, identical, rng):
    problem, dense = problem_of(rng)
    for depth in (1, 2, 3):
        network = ff.DiagonalLinear(depth, signed=signed, identical=identical)
        init, method = ff.inits.Uniform(0.5, of="factor"), ff.GradientDescent(0.1, 60, tol=0.0)
        record = ff.Record(range(0, 61, 20), loss=True, gradient_norm=True, balancedness=not identical, product=True)
        runs = ff.train(problem, network, init, method, 3, record=record)
        expected = ff.train([dense], network, init, method, 3, record=record)
        for name in ("solution", "loss", "flat_factors"):
            np.testing.assert_allclose(getattr(runs, name), getattr(expected, name), rtol=0, atol=1e-12)
        np.testing.assert_allclose(runs.history.gradient_norm, expected.history.gradient_norm, rtol=0, atol=1e-12)
        np.testing.assert_allclose(runs.history.product, expected.history.product, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(runs.status, expected.status)


def same(first, second):
    names = ("solution", "loss", "status", "steps", "flat_factors")
    return first.history == second.history and all(np.array_equal(getattr(first, n), getattr(second, n)) for n in names)


def test_bits_depend_on_no_company_and_on_no_threads(rng):
    problem, _ = problem_of(rng)
    init, method = ff.inits.Uniform(0.5, of="factor"), ff.GradientDescent(0.2, 200, tol=1e-8)
    record = ff.Record([0, 50, 100])
    whole = ff.train(problem, NONNEGATIVE, init, method, 5, threads=1, record=record)
    assert same(ff.train(problem, NONNEGATIVE, init, method, 5, threads=2, record=record), whole)
    alone = ff.train(problem, NONNEGATIVE, init, method, [3], record=record)
    np.testing.assert_array_equal(alone.solution[0], whole.solution[3])
    np.testing.assert_array_equal(alone.history.loss[0], whole.history.loss[3])
    listed = ff.train([problem, problem], NONNEGATIVE, init, method, [3], record=record)
    np.testing.assert_array_equal(listed.solution[0], whole.solution[3])
    long = ff.train(problem, NONNEGATIVE, init, ff.GradientDescent(0.2, tol=1e-8), [3])
    assert long.status_counts() == {ff.Status.CONVERGED: 1}


class Counted(LinearOperator):
    """Products with a dense matrix, of which one does something else."""

    def __init__(self, matrix, at=None, happens=None):
        self.matrix, self.at, self.happens, self.calls = matrix, at, happens, 0
        super().__init__(matrix.dtype, matrix.shape)

    def _matvec(self, x):
        self.calls += 1
        if self.at is not None and self.calls == self.at:
            self.at = None
            return self.happens(self.matrix @ x)
        return self.matrix @ x

    def _rmatvec(self, r):
        return self.matrix.conj().T @ r


def counted(rng, at=None, happens=None):
    matrix = rng.standard_normal((5, 9)) / 4
    return ff.CompressedSensing(Counted(matrix, at, happens), matrix @ (np.arange(9) == 3))


def test_a_step_that_is_a_number_costs_nothing_beforehand(rng):
    """No decomposition, no power iteration: the products of the probe, of the data's size, of the steps and the end."""
    problem = counted(rng)
    ff.train(problem, NONNEGATIVE, START, ff.GradientDescent(0.01, 20))
    assert problem.matrix.products.calls <= 20 + 10


def test_a_step_above_the_edge_is_warned_of_where_the_run_is_long(rng):
    problem = counted(rng)
    edge = ff.theory.stability_edge(problem, NONNEGATIVE)
    before = problem.matrix.products.calls
    with pytest.warns(UserWarning, match="above the linear stability edge"):
        ff.train(problem, NONNEGATIVE, START, ff.GradientDescent(1.5 * edge, 20_000, tol=1e9))
    assert problem.matrix.products.calls - before <= 200


def once(array, error):
    raise error


def test_what_an_operator_raises_loses_nothing(rng):
    """The runs are in the error, the cause is what was raised, and going on gives what would have been."""
    seed = rng.integers(2**31)
    method = ff.GradientDescent(0.05, 2000, tol=0.0)
    expected = ff.train(counted(np.random.default_rng(seed)), NONNEGATIVE, START, method)
    problem = counted(np.random.default_rng(seed), 1500, lambda array: once(array, OSError("lost the connection")))
    with pytest.raises(ff.OperatorError, match="raised OSError: lost the connection; 0 of 1 runs had ended") as caught:
        ff.train(problem, NONNEGATIVE, START, method)
    assert isinstance(caught.value.__cause__, OSError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    stopped = caught.value.runs
    assert stopped.status[0] == ff.Status.RUNNING
    assert 100 < stopped.steps[0] < 1500
    assert np.isfinite(stopped.loss[0])
    assert same(ff.train(problem, NONNEGATIVE, stopped.last, method), expected)


def test_ctrl_c_during_a_product_loses_nothing(rng):
    seed = rng.integers(2**31)
    method = ff.GradientDescent(0.05, 2000, tol=0.0)
    expected = ff.train(counted(np.random.default_rng(seed)), NONNEGATIVE, START, method)
    go_on = threading.Event()

    def interrupt(array):
        _thread.interrupt_main()
        go_on.wait(10)
        return array

    problem = counted(np.random.default_rng(seed), 1000, interrupt)
    with pytest.raises(ff.Interrupted) as caught:
        ff.train(problem, NONNEGATIVE, START, method)
    go_on.set()
    assert same(ff.train(problem, NONNEGATIVE, caught.value.runs.last, method), expected)


def test_nan_once_ends_the_run_as_diverged_and_no_other(rng):
    problem = counted(rng, 100, lambda array: array * np.nan)
    init = ff.inits.Uniform(0.5, of="factor")
    runs = ff.train(problem, NONNEGATIVE, init, ff.GradientDescent(0.05, 200, tol=0.0), 3, threads=1)
    assert sorted(runs.status) == [ff.Status.MAX_STEPS, ff.Status.MAX_STEPS, ff.Status.DIVERGED]
    fine = runs.status == ff.Status.MAX_STEPS
    again = ff.train(problem, NONNEGATIVE, init, ff.GradientDescent(0.05, 200, tol=0.0), 3, threads=1)
    np.testing.assert_array_equal(runs.solution[fine], again.solution[fine])


def test_a_run_that_diverges_asks_nothing_of_the_operator(rng):
    """SciPy's own checks raise on what is not finite: the run has diverged, and nothing else has happened."""
    matrix = rng.standard_normal((5, 9))
    plain = LinearOperator(
        (5, 9), lambda x: matrix @ np.asarray_chkfinite(x), rmatvec=lambda r: matrix.T @ r, dtype=float
    )
    runs = ff.train(ff.CompressedSensing(plain, np.ones(5)), NONNEGATIVE, START, ff.GradientDescent(50.0, 100))
    assert runs.status_counts() == {ff.Status.DIVERGED: 1}


@pytest.mark.parametrize("identical", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_the_flow_on_an_operator_is_that_on_its_dense_form(signed, identical, rng):
    """Which goes by the dual where factors are identical, or two."""
    problem, dense = problem_of(rng)
    method = ff.GradientFlow(times=[0.0, 0.5, 2.0, 8.0], t_max=8.0, rtol=1e-10)
    record = ff.Record(loss=True, gradient_norm=True, balancedness=not identical, product=True)
    for depth in (1, 2, 3, 5):
        network, init = ff.DiagonalLinear(depth, signed=signed, identical=identical), ff.inits.Uniform(0.7, of="factor")
        runs = ff.train(problem, network, init, method, 3, record=record)
        expected = ff.train([dense], network, init, method, 3, record=record)
        for name in ("product", "loss", "gradient_norm"):
            first, second = getattr(runs.history, name), getattr(expected.history, name)
            np.testing.assert_allclose(first, second, rtol=1e-7, atol=1e-8)
        for name in ("solution", "loss", "flat_factors"):
            np.testing.assert_allclose(getattr(runs, name), getattr(expected, name), rtol=1e-7, atol=1e-8)
        np.testing.assert_array_equal(runs.status, expected.status)


def test_the_flow_of_identical_factors_on_an_operator_is_that_of_the_formula(rng):
    """``u' = -u^{L-1} g``, of each of L equal factors, by SciPy; and the norm of the gradient by all of them."""
    problem, _ = problem_of(rng)
    start, matrix = rng.uniform(0.3, 1.0, 16), problem.matrix.toarray()

    def slope(_, u):
        return -(u**3) * np.real(matrix.conj().T @ (matrix @ u**4 - problem.matrix @ problem.truth))

    far = solve_ivp(slope, (0, 3.0), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    init, network = ff.inits.Explicit([start[None]]), ff.DiagonalLinear(4, signed=False)
    method = ff.GradientFlow(times=[3.0], t_max=3.0, rtol=1e-11)
    runs = ff.train(problem, network, init, method, record=ff.Record(gradient_norm=True))
    np.testing.assert_allclose(runs.solution[0], far**4, rtol=1e-8)
    norm = 2 * np.linalg.norm(slope(0, far))
    assert runs.history.gradient_norm[0, 0] == pytest.approx(norm, rel=1e-7)
    ends = [
        ff.train(problem, network, init, ff.GradientFlow(gradient_tol=tol, t_max=3.0)).status[0]
        for tol in (1.01 * norm, 0.99 * norm)
    ]
    assert ends == [ff.Status.CRITICAL, ff.Status.MAX_TIME]


def test_the_flow_on_measurements_of_matrices_is_that_on_their_dense_form(rng):
    operator, dense = rank_one(rng)
    values, method = rng.standard_normal(9), ff.GradientFlow(times=[1.0, 5.0], t_max=5.0, rtol=1e-10)
    product = ff.ProductFlow(times=[1.0, 5.0], t_max=5.0, rtol=1e-10)
    for flow, depth, init in ((method, 3, ff.inits.Gaussian(0.4)), (product, 2, ff.inits.Balanced(0.3))):
        first, second = (
            ff.train(ff.MatrixSensing(given, values), ff.DeepLinear(depth), init, flow, 2, record=ff.Record())
            for given in (operator, dense)
        )
        np.testing.assert_allclose(first.solution, second.solution, rtol=0, atol=1e-8)
        np.testing.assert_allclose(first.history.gradient_norm, second.history.gradient_norm, rtol=1e-6)


def test_the_flow_on_an_operator_comes_to_its_limit(rng):
    """Stiff at the end, where stabilised steps go by products with the Hessian.

    Loss and gradient come to what counts for nothing within a factor of two there: either may be first.
    """
    problem, _ = problem_of(rng, "cosine", 32, 20)
    network, init = ff.DiagonalLinear(2), ff.inits.Constant(1e-2, of="factor")
    runs = ff.train(problem, network, init, ff.GradientFlow(rtol=1e-9))
    limit = ff.train(problem, network, init, ff.FlowLimit())
    assert limit.status == ff.Status.CONVERGED
    assert runs.status in (ff.Status.CONVERGED, ff.Status.CRITICAL)
    assert runs.loss < 1e-19 * np.sum(problem.values**2)
    np.testing.assert_allclose(runs.solution, limit.solution, rtol=0, atol=1e-7)


def test_the_flow_on_an_operator_has_its_bits_in_any_company(rng):
    problem, _ = problem_of(rng)
    init, method = ff.inits.Uniform(0.5, of="factor"), ff.GradientFlow(times=[1.0, 4.0], t_max=4.0)
    whole = ff.train(problem, NONNEGATIVE, init, method, 5, threads=1)
    assert same(ff.train(problem, NONNEGATIVE, init, method, 5, threads=2), whole)
    alone = ff.train(problem, NONNEGATIVE, init, method, [3])
    np.testing.assert_array_equal(alone.solution[0], whole.solution[3])


@pytest.mark.parametrize("interrupts", [True, False])
def test_a_flow_that_an_operator_ends_loses_nothing(interrupts, rng):
    """By an error, or by Ctrl-C while it is at work: what has ended has, what has not is where it was."""
    seed, init, method = rng.integers(2**31), ff.inits.Uniform(0.5, of="factor"), ff.GradientFlow(t_max=50.0)
    fine = counted(np.random.default_rng(seed))
    expected = ff.train(fine, NONNEGATIVE, init, method, 3, threads=1)
    go_on = threading.Event()

    def interrupt(array):
        _thread.interrupt_main()
        go_on.wait(10)
        return array

    happens = interrupt if interrupts else lambda array: once(array, OSError("lost the connection"))
    problem = counted(np.random.default_rng(seed), fine.matrix.products.calls - 40, happens)
    with pytest.raises(ff.Interrupted if interrupts else ff.OperatorError) as caught:
        ff.train(problem, NONNEGATIVE, init, method, 3, threads=1)
    go_on.set()
    runs = caught.value.runs
    ended = runs.status != ff.Status.RUNNING
    assert 1 <= np.count_nonzero(ended) < 3
    np.testing.assert_array_equal(runs.solution[ended], expected.solution[ended])
    assert (runs.loss[~ended] >= expected.loss[~ended]).all() if interrupts else np.isnan(runs.loss[~ended]).any()


def test_a_flow_takes_a_step_again_that_an_operator_spoiled_and_diverges_where_all_are(rng):
    seed, method = rng.integers(2**31), ff.GradientFlow(t_max=5.0, rtol=1e-9)
    expected = ff.train(counted(np.random.default_rng(seed)), NONNEGATIVE, START, method)
    once_spoiled = counted(np.random.default_rng(seed), 30, lambda array: array * np.nan)
    runs = ff.train(once_spoiled, NONNEGATIVE, START, method)
    np.testing.assert_allclose(runs.solution, expected.solution, rtol=0, atol=1e-7)
    assert runs.status_counts() == expected.status_counts()
    spoiled = counted(np.random.default_rng(seed))
    spoiled.matrix.products.matrix[:] = np.nan
    assert ff.train(spoiled, NONNEGATIVE, START, method).status_counts() == {ff.Status.DIVERGED: 1}


class Wrong:
    """Products of any kind."""

    def __init__(self, matvec, rmatvec, shape=(5, 9)):
        self.shape, self.matvec, self.rmatvec = shape, matvec, rmatvec


MATRIX = np.arange(45.0).reshape(5, 9)


def test_a_wrong_adjoint_is_told_of():
    with pytest.warns(UserWarning, match="rmatvec of Wrong is not the adjoint of its matvec") as told:
        ff.CompressedSensing(Wrong(lambda x: MATRIX @ x, lambda r: 2 * (MATRIX.T @ r)), np.ones(5))
    assert told[0].filename == __file__
    phases = MATRIX * np.exp(1j * MATRIX)
    with pytest.warns(UserWarning, match="is not the adjoint") as told:
        as_operator(Wrong(lambda x: phases @ x, lambda r: phases.T @ r))
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Wrong(lambda x: x, lambda r: r), ValueError, r"matvec of Wrong gave .* \(9,\), expected \(5,\)"),
        (lambda: Wrong(lambda x: MATRIX @ x, lambda r: r), ValueError, r"rmatvec .* \(5,\), expected \(9,\)"),
        (lambda: Wrong(lambda x: MATRIX @ x * np.nan, lambda r: MATRIX.T @ r), ValueError, "not finite"),
        (lambda: Wrong(abs, abs, shape=(5,)), TypeError, r"Wrong.shape must be \(m, n\)"),
        (lambda: Wrong(abs, abs, shape=(0, 9)), ValueError, "must be at least"),
        (lambda: Wrong(lambda x: once(x, OSError("gone")), abs), OSError, "gone"),
        (lambda: sparse.csr_array(np.diag([1.0, np.inf])), ValueError, "must be finite, got inf"),
        (lambda: MATRIX.tolist(), TypeError, "an operator is a sparse matrix of SciPy, or has shape"),
    ],
)
def test_what_is_no_operator_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        as_operator(make())


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: ff.operators.PartialFourier(4, [0, 4]), ValueError, "rows must be from 0 to 3, got 4"),
        (lambda: ff.operators.PartialFourier(4, [1, 1]), ValueError, "rows must differ, got 1 more than once"),
        (lambda: ff.operators.PartialCosine(4, [0.5]), TypeError, "rows must be a sequence of integers"),
        (lambda: ff.operators.SubsampledHadamard(6, [0]), ValueError, "n must be a power of 2, got 6"),
        (lambda: ff.operators.Circulant([1.0, np.nan]), ValueError, "kernel must be finite"),
        (lambda: ff.operators.PartialCosine(4, [0]) @ np.ones(3), ValueError, "vector must have 4 entries"),
        (lambda: ff.operators.RankOne(np.eye(2), np.ones((3, 2))), ValueError, "as many rows, got 2 and 3"),
        (lambda: ff.operators.OnMatrices(SQUARE, (2, 3)), ValueError, "must have 6 columns, got 4"),
        (
            lambda: ff.MatrixSensing(SQUARE, np.ones(4)),
            TypeError,
            r"OnMatrices\(operators, \(d_N, d_0\)\)",
        ),
        (
            lambda: ff.CompressedSensing(ff.operators.RankOne(np.eye(2), np.eye(2)), np.ones(2)),
            TypeError,
            "give it to MatrixSensing",
        ),
        (
            lambda: ff.CompressedSensing(ff.operators.PartialFourier(4, [0, 1]), np.ones(2)),
            TypeError,
            "matrix is complex and values are real",
        ),
        (
            lambda: ff.CompressedSensing(ff.operators.PartialFourier(4, [0, 1]), np.ones(3) * 1j),
            ValueError,
            "each of the 2 rows of matrix",
        ),
    ],
)
def test_wrong_rows_and_values_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_curvatures_by_products_are_those_of_the_entries(rng):
    problem, dense = problem_of(rng)
    operator, arrays = rank_one(rng)
    values, chain = rng.standard_normal(9), list(rng.standard_normal((2, 3, 3)))
    chain[0] = rng.standard_normal((3, 4))
    for given, entries, network, factors in (
        (problem, dense, ff.DiagonalLinear(2, identical=False), list(rng.standard_normal((4, 16)))),
        (ff.MatrixSensing(operator, values), ff.MatrixSensing(arrays, values), ff.DeepLinear(2), chain),
    ):
        for measure in (ff.theory.sharpness, ff.theory.smallest_curvature):
            expected = measure(entries, factors, network)
            assert measure(given, factors, network) == pytest.approx(expected, rel=1e-7)
    gone = counted(rng, 10, lambda array: once(array, OSError("gone")))
    with pytest.raises(OSError, match="gone"):
        ff.theory.sharpness(gone, list(rng.standard_normal((4, 9))), ff.DiagonalLinear(2, identical=False))
    record = ff.Record([0, 3], sharpness=True)
    both = [ff.train(p, NONNEGATIVE, START, ff.GradientDescent(0.1, 3), record=record) for p in (problem, dense)]
    np.testing.assert_allclose(both[0].history.sharpness, both[1].history.sharpness, rtol=1e-9)


@pytest.mark.parametrize("method", [ff.WeightNormalizationFlow(), ff.StochasticGradientDescent(0.1, batch_size=1)])
def test_methods_that_need_the_entries_say_so(method, rng):
    problem, _ = problem_of(rng)
    with pytest.raises(ValueError, match=r"needs all entries of A, .* use GradientDescent, .* A.toarray\(\)"):
        ff.train(problem, NONNEGATIVE, START, method)


def test_the_flow_of_a_depth_that_is_not_whole_needs_the_entries(rng):
    problem, dense = problem_of(rng)
    with pytest.raises(ValueError, match=r"goes by factors, of which .* has no whole number: .* A.toarray\(\)"):
        ff.train(problem, ff.DiagonalLinear(2.5), START, ff.GradientFlow(t_max=1.0))
    assert np.isfinite(ff.train(dense, ff.DiagonalLinear(2.5), START, ff.GradientFlow(t_max=1.0)).loss).all()


def test_functions_that_need_the_entries_say_so(rng):
    problem, _ = problem_of(rng)
    for ask in (
        lambda: ff.theory.saddle_path(problem),
        lambda: ff.baselines.NonnegativeLeastSquares("active-set").solve(problem),
    ):
        with pytest.raises(ValueError, match=r"needs all entries of A.*toarray\(\)"):
            ask()
    assert ff.check(problem, ff.DiagonalLinear(2), START, ff.GradientDescent()).edge > 0
