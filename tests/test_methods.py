"""What every entry of `METHODS` must do, whatever its dynamics: a new one is tested here by its line there alone."""

from __future__ import annotations

import dataclasses
import inspect
import pickle

import numpy as np
import pytest

import fastflow as ff
from fastflow import memory, scheduling
from fastflow.methods import DEFAULT_METHOD, METHODS, Execution
from fastflow.networks import ARCHITECTURES
from fastflow.shell.choices import LABELS
from fastflow.studies.spec import KINDS_OF

RNG = np.random.default_rng(5)
A = RNG.standard_normal((6, 14)) / np.sqrt(6)
SPARSE = np.where(np.arange(14) < 2, 1.0, 0.0)
MATRIX = ff.MatrixEstimation(np.diag([2.0, 1.0, 0.5]), truth=np.diag([2.0, 1.0, 0.5]))
VECTOR = ff.CompressedSensing(A, A @ SPARSE, truth=SPARSE)
SETTINGS = {
    "matrix": (MATRIX, ff.DeepLinear(3), ff.inits.Balanced(0.3)),
    "vector": (VECTOR, ff.DiagonalLinear(2), ff.inits.Gaussian(0.1)),
    "vector of depth 3": (VECTOR, ff.DiagonalLinear(3), ff.inits.Gaussian(0.1)),
    "vector of independent factors": (VECTOR, ff.DiagonalLinear(3, identical=False), ff.inits.Gaussian(0.1)),
    "nonnegative vector": (VECTOR, ff.DiagonalLinear(2, signed=False), ff.inits.Gaussian(0.1)),
    "vector with a test": (VECTOR.hold_out(1), ff.DiagonalLinear(2), ff.inits.Gaussian(0.1)),
}
FEW = ("matrix", "vector", "nonnegative vector", "vector with a test")
EXACT = ("solution", "loss", "status", "steps", "step", "flat_factors", "error")


def takes(kind, setting):
    """Whether a method takes a setting, by its own word."""
    problem, network, init = SETTINGS[setting]
    try:
        kind().check(network, init, None, np.float64, problem)
    except (TypeError, ValueError):
        return False
    return True


def settings_of(kind):
    """All that a common method takes; of others a matrix or a vector in turn: `test_rules` has each in all layouts."""
    taken = [name for name in SETTINGS if takes(kind, name)]
    few = [name for name in FEW if name in taken]
    if kind.is_common:
        return taken[: 4 if kind is DEFAULT_METHOD else 3]
    return few[METHODS.index(kind) % 2 :][:1] if "matrix" in few else few[:1]


PAIRS = [pytest.param(kind, name, id=f"{kind.label} of a {name}") for kind in METHODS for name in settings_of(kind)]
kinds = pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.label)
pairs = pytest.mark.parametrize(("kind", "setting"), PAIRS)


def short(kind, **options):
    """A method that ends soon, and that records if it can be told when."""
    fields = {field.name for field in dataclasses.fields(kind)}
    if kind is ff.EarlyStopping:
        return kind(**{"method": ff.GradientDescent(max_steps=300), "every": 30, "patience": 3} | options)
    if "times" in fields:
        options = {"times": [0.1, 0.5], "t_max": 1.0} | options
    if "batch_size" in fields or not kind.is_common:  # whose steps are many, or go round a minimum
        options = {"max_steps": 300} | options
    return kind(**options)


def assert_same(first, second, rows=slice(None)):
    for name in EXACT:
        np.testing.assert_array_equal(getattr(first, name)[rows], getattr(second, name), name)
    assert (first.history is None) == (second.history is None)
    if first.history is not None:
        assert first.history.recorded == second.history.recorded
        for name in first.history.recorded:
            ours, theirs = getattr(first.history, name), getattr(second.history, name)
            for a, b in zip(ours, theirs, strict=True) if name == "factors" else [(ours, theirs)]:
                np.testing.assert_array_equal(a[rows], b, name)


def record_of(kind, setting):
    """A record if the method keeps any."""
    problem, network, init = SETTINGS[setting]
    record = ff.Record(product=True, factors=True)
    try:
        short(kind).check(network, init, record, np.float64, problem)
    except ValueError:
        return None
    return record


def test_every_method_has_a_name_everywhere():
    labels = [kind.label for kind in METHODS]
    assert len(set(labels)) == len(labels)
    assert set(LABELS.values()) == set(METHODS)
    assert DEFAULT_METHOD in METHODS
    for kind in METHODS:
        assert getattr(ff, kind.__name__) is kind
        assert KINDS_OF["method"][kind.__name__] is kind
        assert any(takes(kind, name) for name in SETTINGS)


@kinds
def test_words(kind):
    one = short(kind)
    assert repr(one).startswith(kind.__name__ + "(")
    again = pickle.loads(pickle.dumps(one))
    assert repr(again) == repr(one)
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        one.max_steps = 3


@pairs
def test_bits_do_not_depend_on_threads_or_company(kind, setting, monkeypatch):
    problem, network, init = SETTINGS[setting]
    options = {"method": short(kind), "record": record_of(kind, setting)}
    whole = ff.train(problem, network, init, runs=7, threads=1, **options)
    assert np.all(whole.status != ff.Status.RUNNING)
    assert_same(whole, ff.train(problem, network, init, runs=7, threads=3, **options))
    assert_same(whole, ff.train(problem, network, init, runs=[5, 2], threads=2, **options), [5, 2])
    monkeypatch.setattr(scheduling, "SLICE_SECONDS", 0.0)
    assert_same(whole, ff.train(problem, network, init, runs=7, threads=2, **options))


@pytest.mark.parametrize(("kind", "setting"), [pair for pair in PAIRS if pair.values[0].is_common])
def test_a_list_of_problems_is_each_of_them(kind, setting):
    problem, network, init = SETTINGS[setting]
    other = dataclasses.replace(problem, normalization="mean")
    both = ff.train([problem, other], network, init, short(kind), runs=2)
    alone = ff.train(problem, network, init, short(kind), runs=2)
    for name in ("solution", "loss", "status"):
        np.testing.assert_array_equal(getattr(both, name)[:2], getattr(alone, name), name)


@pairs
def test_interrupted_and_continued(kind, setting, monkeypatch):
    """What had ended is kept bit for bit, all else can go on from where it is."""
    problem, network, init = SETTINGS[setting]
    method, record = short(kind), record_of(kind, setting)
    whole = ff.train(problem, network, init, method, 6, record=record, threads=1)
    monkeypatch.setattr(scheduling, "SLICE_SECONDS", 0.0)
    polls = []

    def interrupted(worker, count, on_poll):
        def should_stop():
            polls.append(None)
            if len(polls) == 6:
                raise KeyboardInterrupt
            return False

        worker(should_stop)

    with monkeypatch.context() as patch:
        patch.setattr(scheduling, "run_workers", interrupted)
        with pytest.raises(ff.Interrupted) as caught:
            ff.train(problem, network, init, method, 6, record=record, threads=1)
    part = caught.value.runs
    ended = part.status != ff.Status.RUNNING
    assert not ended.all()
    assert np.isfinite(part.loss).all()
    np.testing.assert_array_equal(part.flat_factors[ended], whole.flat_factors[ended])
    np.testing.assert_array_equal(part.solution[ended], whole.solution[ended])
    onwards = ff.train(problem, network, part.last, method)
    assert np.all(onwards.status != ff.Status.RUNNING)
    if kind.has_steps and kind is not ff.EarlyStopping:  # what the rule remembers goes along
        for name in ("flat_factors", "solution", "loss", "status", "steps"):
            np.testing.assert_array_equal(getattr(onwards, name), getattr(whole, name), name)
    else:
        assert np.all(onwards.loss <= part.loss * (1 + 1e-9) + 1e-30)


@pairs
def test_what_had_not_begun_has_its_record_at_the_start(kind, setting, monkeypatch):
    problem, network, init = SETTINGS[setting]
    record = record_of(kind, setting)
    if record is None or kind.has_steps:
        return

    def interrupted(worker, count, on_poll):
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduling, "run_workers", interrupted)
    with pytest.raises(ff.Interrupted) as caught:
        ff.train(problem, network, init, kind([0.0, 0.5]), 3, record=record)
    runs = caught.value.runs
    assert np.all(runs.status == ff.Status.RUNNING)
    np.testing.assert_array_equal(runs.history.loss[:, 0], runs.loss)
    np.testing.assert_array_equal(runs.history.product[:, 0], runs.solution)
    for name in runs.history.recorded:
        values = getattr(runs.history, name)
        for array in values if isinstance(values, list) else [values]:
            assert np.isfinite(array[:, 0]).all(), name
            assert np.isnan(array[:, 1]).all(), name


@pairs
def test_memory_is_asked_for_before_any_work(kind, setting, monkeypatch):
    problem, network, init = SETTINGS[setting]
    monkeypatch.setattr(memory, "available_memory", lambda: 1000)
    monkeypatch.setattr(memory, "UNASKED", 0)
    monkeypatch.setattr(type(init), "fill", lambda *_: pytest.fail("starts were drawn"))
    with pytest.raises(MemoryError, match="take fewer runs, or record less"):
        ff.train(problem, network, init, short(kind), 100)


@pairs
def test_records_are_kept_or_refused(kind, setting, monkeypatch):
    problem, network, init = SETTINGS[setting]
    record = ff.Record()
    if record_of(kind, setting) is not None:
        runs = ff.train(problem, network, init, short(kind), 2, record=record)
        assert runs.history.loss.shape == (2, len(runs.history.axis[1]))
        np.testing.assert_allclose(runs.history.error[:, -1] >= 0, True)
        return
    monkeypatch.setattr(Execution, "run", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ValueError, match="record"):
        ff.train(problem, network, init, short(kind), 2, record=record)


@kinds
def test_what_a_method_does_not_take_is_refused_with_a_way_out(kind, monkeypatch):
    monkeypatch.setattr(Execution, "run", lambda *_: pytest.fail("work was done"))
    for problem, network, init in SETTINGS.values():
        if not isinstance(network, kind.networks):
            with pytest.raises(TypeError, match=rf"{kind.__name__} needs .*{type(network).__name__}.*: use "):
                ff.train(problem, network, init, short(kind), 1)
        elif "float32" not in kind.dtypes and takes(kind, "matrix") is isinstance(network, ff.DeepLinear):
            with pytest.raises(ValueError, match=rf"{kind.__name__} computes in float64, got dtype float32"):
                ff.train(problem, network, init, short(kind), 1, dtype=np.float32)
    assert all(isinstance(network, type) for network in ARCHITECTURES)


@pairs
def test_the_briefest_ends_at_once_and_compiles_the_same(kind, setting):
    problem, network, init = SETTINGS[setting]
    brief = short(kind).briefest()
    assert type(brief) is kind
    runs = ff.train(problem, network, init, brief, 1)
    assert runs.status[0] != ff.Status.RUNNING


@pairs
def test_check_says_something_of_its_step(kind, setting):
    problem, network, init = SETTINGS[setting]
    assert "Step: " in str(ff.check(problem, network, init, short(kind)))


@kinds
def test_documentation(kind):
    text = inspect.getdoc(kind)
    assert text.splitlines()[0].endswith((".", ",", "the"))
    for field in dataclasses.fields(kind):
        assert field.name in text or "those of `GradientFlow`" in text, field.name
