"""Living inside other code: threads, forks, process pools, a user's own compiled code, and nothing global changed."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import NamedTuple

import load
import numba
import numpy as np
import pytest
from threadpoolctl import threadpool_info

import fastflow as ff
from fastflow import kernels

MATRIX = np.diag([3.0, 1, 0.5, 0])
METHOD = ff.GradientDescent(max_steps=200)


def solve(seed: int, threads: int | None = 1) -> np.ndarray:
    runs = ff.train(
        ff.MatrixEstimation(MATRIX), init=ff.inits.Gaussian(0.1), method=METHOD, runs=8, seed=seed, threads=threads
    )
    return runs.solution


def global_state() -> tuple[object, ...]:
    return (
        [(info["filepath"], info["num_threads"]) for info in threadpool_info()],
        numba.config.NUMBA_NUM_THREADS,
        list(warnings.filters),
        [np.asarray(part).tolist() for part in np.random.get_state()],  # noqa: NPY002
        np.geterr(),
        signal.getsignal(signal.SIGINT),
        signal.getsignal(signal.SIGTERM),
        dict(os.environ),
    )


def test_eight_python_threads_at_once_get_what_each_would_get_alone():
    solve(0)
    before = global_state()
    alone = [solve(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda seed: solve(seed, threads=2), range(8)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert global_state() == before


def test_sixteen_threads_that_call_everything_at_once_get_what_each_would_get_alone():
    """Of every public function that computes a small call, twice, in any order."""
    for call in load.calls().values():
        call()  # which imports what brings threads and filters of its own
    before = global_state()
    assert load.differing(load.THREADS, 2) == []
    assert global_state() == before


def test_blas_threads_come_back_after_an_error_and_after_overlapping_calls():
    before = global_state()
    diverging = ff.inits.Gaussian(1e200)
    with pytest.raises(ValueError, match="zero or not finite"):
        ff.train(ff.MatrixEstimation(MATRIX), init=diverging, method=METHOD, runs=2, dtype=np.float32)
    assert global_state() == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_works_after_its_parent_has():
    expected = solve(3, threads=2)
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        assert np.array_equal(pool.apply(solve, (3, 2)), expected)


def test_a_process_pool_works_with_one_thread_each():
    expected = [solve(seed) for seed in range(3)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(solve, range(3)))
    assert all(np.array_equal(a, b) for a, b in zip(expected, results, strict=True))


@numba.njit
def power(matrix, exponent):
    """A user's function on top of the kernels."""
    result = np.eye(matrix.shape[0])
    for _ in range(exponent):
        result = kernels.product_nn(matrix, result)
    return result


@numba.njit
def norm_of_gradient(factors, widths, end_gradient):
    """A user's function on top of the chain."""
    work = kernels.chain_workspace(widths, factors)
    kernels.chain_product(factors, widths, work)
    kernels.chain_gradient(factors, widths, end_gradient, work)
    return np.sqrt(np.sum(work.gradient**2)), work.product


def test_kernels_are_callable_from_a_users_compiled_code():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((5, 5))
    assert np.allclose(power(matrix, 3), np.linalg.matrix_power(matrix, 3), rtol=1e-12)
    assert np.allclose(power(np.asfortranarray(matrix), 3), np.linalg.matrix_power(matrix, 3), rtol=1e-12)
    first, second, end = rng.standard_normal((3, 4)), rng.standard_normal((2, 3)), rng.standard_normal((2, 4))
    norm, product = norm_of_gradient(np.concatenate([first.ravel(), second.ravel()]), np.array([4, 3, 2]), end.ravel())
    assert np.allclose(product.reshape(2, 4), second @ first)
    assert np.isclose(norm, np.sqrt(np.sum((second.T @ end) ** 2) + np.sum((end @ first.T) ** 2)))


class Quartic(NamedTuple):
    """A user's problem: ``1/4 sum (W - target)^4``."""

    target: np.ndarray


def quartic(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        residual = product[i] - problem.target[index, i]
        gradient[i] = residual**3
        loss += residual**4 / 4
    return loss


def test_a_users_problem_trains():
    kernels.add_problem(Quartic, quartic)
    problem = ff.CustomProblem((4, 4), Quartic(MATRIX.ravel()), truth=MATRIX)
    method = ff.GradientDescent(step=0.02, max_steps=1)
    start = [np.full((1, 4, 4), 0.1), np.full((1, 4, 4), 0.2)]
    runs = ff.train(problem, ff.DeepLinear(2), ff.inits.Explicit(start), method)
    first, second = start[0][0], start[1][0]
    end = (second @ first - MATRIX) ** 3
    assert np.allclose(runs.factors[0][0], first - 0.02 * second.T @ end, rtol=1e-13)
    assert np.allclose(runs.factors[1][0], second - 0.02 * end @ first.T, rtol=1e-13)
    assert np.isclose(runs.loss[0], np.sum((runs.solution[0] - MATRIX) ** 4) / 4)
    with pytest.raises(ValueError, match="give a step"):
        ff.train(problem)
    for use in (problem.loss, problem.residual, problem.gradient, problem.normal_operator):
        with pytest.raises(TypeError, match="known by its formula alone"):
            use(MATRIX)


def test_a_problem_must_be_a_foreign_namedtuple_with_a_function():
    with pytest.raises(TypeError, match="NamedTuple class"):
        kernels.add_problem(dict, quartic)
    with pytest.raises(TypeError, match="must be a function"):
        kernels.add_problem(Quartic, 3)
    with pytest.raises(ValueError, match="fastflow's own"):
        kernels.add_problem(kernels.Estimation, quartic)
    with pytest.raises(TypeError, match="add_problem"):
        ff.CustomProblem((2, 2), (1, 2))


USER_SCRIPT = """
from typing import NamedTuple
import numpy as np
import fastflow as ff

class Mine(NamedTuple):
    target: np.ndarray

def mine(problem, index, product, gradient):
    loss = 1.0
    for i in range(product.size):
        gradient[i] = {factor} * (product[i] - problem.target[index, i])
        loss += {factor} / 2 * (product[i] - problem.target[index, i]) ** 2
    return loss

ff.kernels.add_problem(Mine, mine)
problem = ff.CustomProblem((2, 2), Mine(np.zeros(4)))
start = ff.inits.Explicit([np.eye(2)])
print(ff.train(problem, ff.DeepLinear(1), start, ff.GradientDescent(step=0.25, max_steps=1)).solution[0, 0, 0])
"""


def test_an_edited_formula_takes_effect_and_a_script_without_it_still_runs(tmp_path):
    """In a cache of their own, which begins with what other tests have compiled where these have a folder for it."""
    cache = tmp_path / "cache"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    if os.path.isdir(os.environ.get("NUMBA_CACHE_DIR", "")):
        shutil.copytree(os.environ["NUMBA_CACHE_DIR"], cache, ignore=shutil.ignore_patterns("*.tmp.*"))
    before = set(cache.rglob("*descend*"))

    def run(code: str) -> str:
        (tmp_path / "script.py").write_text(textwrap.dedent(code))
        done = subprocess.run(
            [sys.executable, str(tmp_path / "script.py")], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert run(USER_SCRIPT.format(factor="1.0")) == "0.75"
    assert run(USER_SCRIPT.format(factor="2.0")) == "0.5"
    assert set(cache.rglob("*descend*")) == before  # nothing that holds the user's class was kept
    plain = "import numpy as np, fastflow as ff\nprint(ff.train(ff.MatrixEstimation(np.eye(2))).status[0])"
    assert run(plain) == "1"
    assert run(plain) == "1"
