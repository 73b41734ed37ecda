"""Problems of a user's own: what is wrong with a formula is found before it is trained with."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
import textwrap
from typing import NamedTuple

import numba
import numpy as np
import pytest

import fastflow as ff

SHAPE = (3, 4)


class Data(NamedTuple):
    """A target, and which of its entries count."""

    target: np.ndarray
    entries: np.ndarray


TARGET = np.arange(12.0)
DATA = Data(TARGET, np.array([0, 5, 11]))


@numba.njit
def entry(values, i):
    return values[i]


def right(problem, index, product, gradient):
    loss = 0.0
    gradient[:] = 0
    for i in problem.entries[index]:
        r = product[i] - entry(problem.target[index], i)
        gradient[i] = r**3
        loss += r**4 / 4
    return loss


def reads_past(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        gradient[i] = product[i] - problem.entries[index, i]
        loss += gradient[i] ** 2 / 2
    return loss


def reads_past_in_a_helper(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        gradient[i] = product[i] - entry(problem.target[index], i + 1)
        loss += gradient[i] ** 2 / 2
    return loss


def writes_past(problem, index, product, gradient):
    gradient[:] = 0
    gradient[product.size] = 1.0
    return 0.0


def twice_the_gradient(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        gradient[i] = 2 * (product[i] - problem.target[index, i])
        loss += gradient[i] ** 2 / 8
    return loss


def one_wrong_sign(problem, index, product, gradient):
    loss = twice_the_gradient_right(problem, index, product, gradient)
    gradient[7] *= -1
    return loss


@numba.njit
def twice_the_gradient_right(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        gradient[i] = 2 * (product[i] - problem.target[index, i])
        loss += gradient[i] ** 2 / 4
    return loss


def fills_a_part(problem, index, product, gradient):
    loss = 0.0
    for i in problem.entries[index]:
        gradient[i] = product[i] - problem.target[index, i]
        loss += gradient[i] ** 2 / 2
    return loss


def of_another(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        gradient[i] = product[i] - problem.target[0, i]
        loss += gradient[i] ** 2 / 2
    return loss


def changes_the_product(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        product[i] -= problem.target[index, i]
        gradient[i] = product[i]
        loss += gradient[i] ** 2 / 2
    return loss


def returns_nothing(problem, index, product, gradient):
    gradient[:] = 0


def does_not_compile(problem, index, product, gradient):
    gradient[:] = problem.width[index]
    return 0.0


def raises(problem, index, product, gradient):
    raise ArithmeticError("no")


WRONG = {
    reads_past: "reads or writes past the end of an array",
    reads_past_in_a_helper: "reads or writes past the end of an array",
    writes_past: "reads or writes past the end of an array",
    twice_the_gradient: "has a wrong gradient: along a random direction it is",
    one_wrong_sign: "has a wrong gradient",
    fills_a_part: "does not fill the gradient",
    of_another: "reads the data of another problem",
    changes_the_product: "changes the product or the data",
    returns_nothing: "must return the loss, a number, and returns None",
    does_not_compile: "cannot be compiled: .*width",
    raises: "raises ArithmeticError",
}


@pytest.mark.parametrize("formula", WRONG, ids=lambda formula: formula.__name__)
def test_a_wrong_formula_is_found_when_the_problem_is_made(formula):
    """In one line, that names it."""
    ff.kernels.add_problem(Data, formula)
    with pytest.raises(ValueError, match=f"^{formula.__name__} of Data {WRONG[formula]}") as caught:
        ff.CustomProblem(SHAPE, DATA)
    assert len(str(caught.value).splitlines()) == 1


def absolute(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        r = product[i] - problem.target[index, i]
        gradient[i] = np.sign(r)
        loss += abs(r)
    return loss


def linear(problem, index, product, gradient):
    gradient[:] = problem.target[index]
    return np.sum(product * problem.target[index]) - 100.0


def barrier(problem, index, product, gradient):
    """Finite where all entries are positive only."""
    loss = 0.0
    for i in range(product.size):
        gradient[i] = -1 / product[i]
        loss -= math.log(product[i]) if product[i] > 0 else np.nan
    return loss


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("formula", [right, numba.njit(right), absolute, linear, barrier, twice_the_gradient_right])
def test_a_right_formula_is_believed(formula, scale):
    """Also of losses with kinks, without bounds, or without a value at random matrices."""
    ff.kernels.add_problem(Data, formula)
    ff.CustomProblem(SHAPE, Data(scale * TARGET, DATA.entries))


def test_kinks_of_large_problems_are_no_wrong_gradients():
    ff.kernels.add_problem(Data, absolute)
    for seed in range(5):
        target = np.random.default_rng(seed).standard_normal(90_000)
        ff.CustomProblem((300, 300), Data(target, DATA.entries))


def test_data_stay_as_they_were_tried():
    ff.kernels.add_problem(Data, right)
    target = TARGET.copy()
    problem = ff.CustomProblem(SHAPE, Data(target, [0, 5, 11]))
    target[:] = 0
    assert np.array_equal(problem.data.target, TARGET)
    with pytest.raises(ValueError, match="read-only"):
        problem.data.target[0] = 1
    with pytest.raises(TypeError, match="target of Data must be an array of real numbers"):
        ff.CustomProblem(SHAPE, Data(TARGET * 1j, DATA.entries))
    with pytest.raises(TypeError, match="shape must be"):
        ff.CustomProblem(3, DATA)


# Other processes

SCRIPT = """
import concurrent.futures, multiprocessing, sys
from typing import NamedTuple
import numpy as np
import fastflow as ff

class Mine(NamedTuple):
    target: np.ndarray

def mine(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        gradient[i] = product[i] - problem.target[index, i]
        loss += gradient[i] ** 2 / 2
    return loss

{outside}

def train(problem):
    start, method = ff.inits.Explicit([np.eye(2)]), ff.GradientDescent(0.25, max_steps=1)
    return float(ff.train(problem, ff.DeepLinear(1), start, method, threads=1).solution[0, 0, 0])

if __name__ == "__main__":
    {inside}
    problem = ff.CustomProblem((2, 2), Mine(np.zeros(4)))
    if sys.argv[1] == "spawn":
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            print(pool.submit(train, problem).result())
    else:
        import distributed
        with distributed.LocalCluster(1, processes=True, dashboard_address="localhost:0") as cluster:
            with distributed.Client(cluster) as client:
                print(client.submit(train, problem).result())
"""

ADD = "ff.kernels.add_problem(Mine, mine)"


@pytest.mark.parametrize(("executor", "inside"), [("spawn", False), ("spawn", True), ("dask", True)])
def test_a_script_with_a_problem_of_its_own_and_worker_processes(tmp_path, executor, inside):
    """Where workers run the script they know its top level; where they are sent the class they know its formula."""
    if executor == "dask":
        pytest.importorskip("distributed")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(outside="" if inside else ADD, inside=ADD if inside else "pass"))
    done = subprocess.run(
        [sys.executable, str(script), executor], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    if executor == "spawn" and inside:
        assert done.returncode != 0
        assert "TypeError: no formula is known for Mine: register it with fastflow.kernels.add_problem" in done.stderr
        assert "outside of if __name__ == '__main__'" in done.stderr
    else:
        assert done.stdout.splitlines()[-1:] == ["0.75"], textwrap.shorten(done.stderr, 3000)


def test_a_custom_problem_survives_pickle():
    ff.kernels.add_problem(Data, right)
    problem = ff.CustomProblem(SHAPE, DATA)
    again = pickle.loads(pickle.dumps(problem))
    assert again.shape == problem.shape
    assert all(map(np.array_equal, again.data, problem.data))


def test_a_formula_knows_no_samples():
    ff.kernels.add_problem(Data, right)
    with pytest.raises(TypeError, match="not that of some samples: take GradientDescent"):
        ff.train(ff.CustomProblem(SHAPE, DATA), method=ff.StochasticGradientDescent(0.1), runs=1)


def well(problem, index, product, gradient):
    """``1/2 ||W||^2 - <target, W>``, least at the target, where it is ``-1/2 ||target||^2``."""
    loss = 0.0
    for i in range(product.size):
        gradient[i] = product[i] - problem.target[index, i]
        loss += product[i] * (product[i] / 2 - problem.target[index, i])
    return loss


class Well(NamedTuple):
    """The data of `well`."""

    target: np.ndarray


@pytest.mark.parametrize("tol", [None, 0.0, 1e-10])
@pytest.mark.parametrize("width", [2, 20])
def test_a_negative_loss_is_no_end(tol, width):
    """Whatever the tolerance: the runs go to the minimum, and none is called converged on the way."""
    ff.kernels.add_problem(Well, well)
    target = np.diag(np.linspace(1, 2, width))
    problem = ff.CustomProblem((width, width), Well(target.ravel()), truth=target)
    start, method = ff.inits.Identity(1.0, of="factor"), ff.GradientDescent(0.2, tol=tol, gradient_tol=1e-9)
    runs = ff.train(problem, ff.DeepLinear(2), start, method, threads=1, record=ff.Record(5))
    assert runs.plot().axes[0].get_yscale() == "linear"  # a logarithmic axis would hide most of it
    assert [ff.Status(status) for status in runs.status] == [ff.Status.CRITICAL]
    assert runs.loss[0] == pytest.approx(-0.5 * np.sum(target**2), rel=1e-9)
    assert " tol" not in repr(ff.GradientDescent(tol=None))
