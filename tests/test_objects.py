"""Words, results and exceptions are values: equal to what they are copied or pickled to, and no trap to compare."""

from __future__ import annotations

import concurrent.futures
import copy
import inspect
import multiprocessing
import pickle
from typing import NamedTuple

import numpy as np
import pytest

import fastflow as ff
from fastflow import baselines, ensembles, inits, theory
from fastflow.equality import same
from fastflow.studies.tasks import TrialError

EYE = np.eye(3)


class Own(NamedTuple):
    """A user's problem."""

    target: np.ndarray


def own(problem, index, product, gradient):
    loss = 0.0
    for i in range(product.size):
        gradient[i] = product[i] - problem.target[index, i]
        loss += gradient[i] ** 2 / 2
    return loss


def drawn(rng, m=3):
    return ff.CompressedSensing(rng.standard_normal((m, 5)), np.ones(m))


def custom(target):
    ff.kernels.add_problem(Own, own)
    return ff.CustomProblem((3, 3), Own(target.ravel()))


A, Y = np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0])
STEPS = np.array([0.1, 0.2])

WORDS = {
    "estimation": lambda x=1.0: ff.MatrixEstimation(x * EYE, truth=EYE),
    "completion": lambda x=1.0: ff.MatrixCompletion((3, 3), [0, 1], [1, 2], [x, 2.0], warn=False),
    "sensing": lambda x=1.0: ff.MatrixSensing(np.ones((2, 3, 3)), [x, 2.0]),
    "regression": lambda x=1.0: ff.LinearRegression(np.ones((3, 5)), np.full((3, 5), x), samples="columns"),
    "compressed": lambda x=1.0: ff.CompressedSensing(A, x * Y),
    "custom": lambda x=1.0: custom(x * EYE),
    "deep": lambda x=1.0: ff.DeepLinear(int(2 + x)),
    "widths": lambda x=1.0: ff.DeepLinear(widths=(3, int(2 + x), 3)),
    "diagonal": lambda x=1.0: ff.DiagonalLinear(int(1 + x)),
    "gaussian": lambda x=1.0: inits.Gaussian(x),
    "uniform": lambda x=1.0: inits.Uniform(x, of="factor"),
    "orthogonal": lambda x=1.0: inits.Orthogonal(x),
    "identity": lambda x=1.0: inits.Identity(x),
    "balanced": lambda x=1.0: inits.Balanced(x),
    "constant": lambda x=1.0: inits.Constant(x * np.ones(3)),
    "descent": lambda x=1.0: ff.GradientDescent(x),
    "sequence": lambda x=1.0: ff.GradientDescent(x * STEPS),
    "edge": lambda x=1.0: ff.GradientDescent(x / 10 * theory.edge),
    "decreasing": lambda x=1.0: ff.GradientDescent(ff.Decreasing(x)),
    "momentum": lambda x=1.0: ff.Momentum(x, momentum=0.5, weight_decay=x),
    "adam": lambda x=1.0: ff.Adam(ff.Cyclic(x, (1, 2))),
    "layerwise": lambda x=1.0: ff.LayerwiseDescent(x, multiples=(1, x)),
    "rmsprop": lambda x=1.0: ff.RMSprop(x, average=0.5),
    "shared rate": lambda x=1.0: ff.SharedRate(ff.Piecewise(x, (3,), (2,))),
    "normalized": lambda x=1.0: ff.NormalizedDescent(x),
    "long steps": lambda x=1.0: ff.BarzilaiBorwein(x),
    "signs": lambda x=1.0: ff.SignDescent(x * STEPS),
    "muon": lambda x=1.0: ff.Muon(x, iterations=5),
    "weight normalization": lambda x=1.0: ff.WeightNormalization(x, ratio=2 * x),
    "flow of it": lambda x=1.0: ff.WeightNormalizationFlow([x], ratio=2 * x),
    "early stopping": lambda x=1.0: ff.EarlyStopping(ff.Adam(x), every=3),
    "rule along batches": lambda x=1.0: ff.StochasticGradientDescent(x, 2, update=ff.Momentum(momentum=0.5)),
    "sharpness": lambda x=1.0: ff.SharpnessAware(x, radius=x),
    "stochastic": lambda x=1.0: ff.StochasticGradientDescent(0.1, order=[[1, int(x) + 2]], label_noise=x * STEPS[:1]),
    "flow": lambda x=1.0: ff.GradientFlow([0, x]),
    "product flow": lambda x=1.0: ff.ProductFlow([0, x]),
    "limit": lambda x=1.0: ff.FlowLimit(x / 1e9),
    "record": lambda x=1.0: ff.Record([0, int(x)], singular_values=True),
    "success": lambda x=1.0: ff.Success("loss", x),
    "sparse": lambda x=1.0: ensembles.Sparse(n=10, m=4, sparsity=int(x)),
    "low rank": lambda x=1.0: ensembles.LowRank(n=4, rank=1, m=int(9 + x)),
    "draws": lambda x=1.0: ensembles.Custom(drawn, 1, m=int(2 + x)),
    "basis pursuit": lambda x=1.0: baselines.BasisPursuit(x * np.ones(3)),
    "least norm": lambda x=1.0: baselines.LeastNorm(),
    "study": lambda x=1.0: ff.Study(ensembles.Sparse(n=10, sparsity=2), axes={"m": [4, int(5 + x)]}, trials=2),
}

PROBLEMS = ("estimation", "completion", "sensing", "regression", "compressed", "custom")


def copies(thing):
    yield copy.copy(thing)
    yield copy.deepcopy(thing)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        yield pickle.loads(pickle.dumps(thing, protocol))


@pytest.mark.parametrize("name", WORDS)
def test_words_are_equal_where_what_they_hold_is(name):
    """Made twice, copied or pickled; of another value, or of another class, they are not. The hash goes along."""
    make = WORDS[name]
    word = make()
    for again in (make(), *copies(word)):
        assert again == word
        assert (again != word) is False
        assert hash(again) == hash(word)
        assert repr(again) == repr(word)
    assert len({word, make()}) == 1
    other = make(2.0)
    assert (other == word) == (name == "least norm")
    for thing in (None, 3, "text", EYE[0, 0], (1,), *(WORDS[each]() for each in ("descent", "gaussian", "sparse"))):
        if type(thing) is not type(word):
            assert word != thing
            assert bool(word == thing) is False  # to a number of NumPy's some versions compare by one of its own


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_stay_as_they_were_checked_where_they_are_copied_to(name):
    for again in copies(WORDS[name]()):
        arrays = [value for value in vars(again).values() if isinstance(value, np.ndarray)]
        arrays += list(getattr(again, "data", ()))
        assert arrays
        assert not any(array.flags.writeable for array in arrays)


def test_given_factors_are_equal_by_value_and_have_no_hash():
    first, second = inits.Explicit([EYE]), inits.Explicit([EYE.copy()])
    assert first == second != inits.Explicit([2 * EYE])
    with pytest.raises(TypeError, match="unhashable"):
        hash(first)


def test_every_word_is_among_those():
    made = {type(make()) for make in WORDS.values()}
    words = {kind for kind in (ff.methods.METHODS + ff.ensembles.ENSEMBLES) if not inspect.isabstract(kind)}
    words |= {
        getattr(ff, name) for name in (*ff.problems.__all__, *ff.networks.__all__) if inspect.isclass(getattr(ff, name))
    }
    words |= {getattr(inits, name) for name in inits.__all__ if inspect.isclass(getattr(inits, name))}
    rest = {ensembles.Regression, ensembles.Autoencoder, inits.Init, inits.Explicit}  # the last has a test of its own
    assert words - made <= rest


def results():
    problem, network = ff.MatrixEstimation(np.diag([2.0, 1.0]), truth=np.diag([2.0, 1.0])), ff.DeepLinear(2)
    runs = ff.train(problem, network, inits.Gaussian(0.1), runs=3, threads=1, record=ff.Record(5))
    system = ff.CompressedSensing(A, Y)
    yield "runs", runs
    yield "history", runs.history
    yield "last", runs.last
    yield "limit", ff.flow_limit(A, Y, 1e-3)
    yield "saddles", ff.saddle_paths(A, Y)
    yield "flow", ff.gradient_flow(A, Y, 0.1, [0.0, 1.0])
    yield "distance", ff.flow_distance(problem, network, runs=2, threads=1, method=ff.GradientDescent(0.01, 20))
    yield "guarantees", ff.check(problem, network, inits.Gaussian(0.1))
    yield "critical point", theory.critical_point(problem, network, [np.zeros((2, 2))] * 2)
    yield "predicted", theory.predicted_limit(problem, [0.1 * EYE[:2, :2]] * 2)
    yield "safe", theory.safe_step(problem, network, [EYE[:2, :2]] * 2)
    yield "minimum", problem.minimum(1)
    yield "path", baselines.lasso_path(system.matrix, system.values)
    study = ff.Study(ensembles.Sparse(n=10, sparsity=2), axes={"m": [4, 6]}, method=baselines.LeastNorm(), trials=4)
    yield "study", study.run(threads=1, progress=False)
    yield "cost", study.cost(trials=1, threads=1)


@pytest.fixture(scope="module")
def all_results():
    return dict(results())


def test_results_are_equal_to_what_they_are_copied_to(all_results):
    for name, result in all_results.items():
        for again in copies(result):
            assert again == result, name
            assert (again != result) is False, name
        for other, thing in all_results.items():
            assert (thing == result) is (other == name)
            assert (thing != result) is (other != name)


def test_no_public_tuple_is_a_trap_to_compare():
    """Tuples compare what they hold, of which arrays say neither yes nor no."""
    modules = (ff, baselines, ensembles, inits, ff.metrics, ff.plot, theory)
    members = {getattr(module, name) for module in modules for name in module.__all__}
    public = {member for member in members if inspect.isclass(member)}
    for kind in public:
        if issubclass(kind, tuple):
            assert kind.__eq__ is not tuple.__eq__, kind
            assert kind.__ne__ is not tuple.__ne__, kind
        assert kind.__eq__ is not object.__eq__ or issubclass(kind, BaseException), kind


def interrupted():
    return ff.Interrupted(ff.train(ff.MatrixEstimation(EYE), ff.DeepLinear(2), runs=2, threads=1))


def study_error(kind):
    study = ff.Study(ensembles.Sparse(n=10, sparsity=2), axes={"m": [4, 6]}, method=baselines.LeastNorm(), trials=2)
    error = kind("said")
    error.result = study.run(threads=1, progress=False)
    return error


@pytest.mark.parametrize(
    ("make", "holds"),
    [
        (interrupted, "runs"),
        (lambda: study_error(ff.StudyError), "result"),
        (lambda: study_error(ff.StudyInterrupted), "result"),
        (lambda: study_error(ff.StoreError), "result"),
        (lambda: TrialError("a trial"), None),
    ],
)
def test_exceptions_travel_with_what_they_hold(make, holds):
    error = make()
    for again in copies(error):
        assert type(again) is type(error)
        assert str(again) == str(error) != ""
        assert holds is None or getattr(again, holds) == getattr(error, holds)
    assert error != make()  # as exceptions do
    assert error == error


def raise_interrupted():
    raise interrupted()


def test_a_worker_that_is_interrupted_breaks_no_pool():
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(ff.Interrupted, match="2 of 2 runs had ended") as caught:
            pool.submit(raise_interrupted).result()
        assert len(caught.value.runs) == 2
        assert pool.submit(int, 3).result() == 3


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        (np.nan, np.nan, True),
        (np.array([1, np.nan]), np.array([1, np.nan]), True),
        (np.ones(2), np.ones(2, np.float32), False),
        (np.ones(2), np.ones((2, 1)), False),
        ([np.ones(2)], [np.ones(2)], True),
        ({"a": np.ones(2)}, {"a": np.zeros(2)}, False),
        ({"a": 1}, {"b": 1}, False),
        (1, 1.0, False),
        ((1, (2.0, np.nan)), (1, (2.0, np.nan)), True),
        (Own(np.ones(2)), (np.ones(2),), False),
        (np.array(["a"]), np.array(["a"]), True),
    ],
)
def test_what_is_the_same(first, second, equal):
    assert same(first, second) is equal


class Scaled:
    """A user's own baseline that is no dataclass."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def solve(self, problem):
        return self.factor * np.linalg.lstsq(problem.matrix, problem.values, rcond=None)[0]


class OwnBaseline(baselines.Baseline):
    """A subclass that is no dataclass."""

    label = "own"

    def solve(self, problem):
        return Scaled().solve(problem)


@pytest.mark.parametrize("method", [Scaled(), Scaled(2.0), OwnBaseline()])
def test_any_object_that_solves_stands_where_a_method_does(method, tmp_path):
    """With a store, which knows it again by what it holds, and from which the study is made again."""

    def study(method):
        ensemble = ensembles.Sparse(n=6, sparsity=1)
        return ff.Study(ensemble, method=method, axes={"m": [4, 5]}, trials=3, success=ff.Success(below=0.5))

    result = study(method).run(store=tmp_path / "s.zarr", threads=1, progress=False)
    least = study(baselines.LeastNorm()).run(threads=1, progress=False)
    if getattr(method, "factor", 1.0) == 1.0:
        np.testing.assert_allclose(result.outcomes["error"], least.outcomes["error"], rtol=1e-9)
    assert study(method).run(store=tmp_path / "s.zarr", threads=1, progress=False).computed == 0
    again = ff.open_study(tmp_path / "s.zarr").design
    assert again.describe() == study(method).describe()
    with pytest.raises(ff.StoreError, match="another study"):
        study(Scaled(3.0)).run(store=tmp_path / "s.zarr", threads=1, progress=False)
