"""Studies: cells are what `train` and baselines give, bits depend on a trial alone, what is wrong is named at once."""

from __future__ import annotations

import concurrent.futures
import signal
import threading
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

import fastflow as ff
from fastflow.ensembles import Custom, LowRank, Sparse
from fastflow.streams import stream
from fastflow.studies import driver
from fastflow.studies.nodes import this_node
from fastflow.studies.outcomes import FIELDS, make_outcomes
from fastflow.studies.tasks import Finished, Report
from fastflow.studies.transitions import boundary

SPARSE = Sparse(n=24, sparsity=3)
BITS = tuple(name for name in FIELDS if name != "seconds")


def small(trials=20, m=(8, 14, 18), alphas=(1e-2, 1e-4), **options):
    """A study of the flow's limit with 6 cells."""
    axes = {"m": m, "init.scale": alphas}
    words = (SPARSE, ff.DiagonalLinear(2), ff.inits.Constant(), ff.FlowLimit())
    return ff.Study(*words, axes=axes, trials=trials, success=ff.Success(below=1e-2), **options)


def failing(rng, m=3):
    """A user's ensemble that cannot draw some of its problems."""
    if m == 5 and rng.random() < 0.5:
        raise ZeroDivisionError("no such problem")
    return Sparse(n=8, m=m, sparsity=1).draw(rng)


class Undescribed:
    """A baseline that holds what no store could keep."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def solve(self, problem):
        return np.zeros(problem.shape)


def same_bits(first, second):
    """Whether two results have the same bits in every array but the times."""
    return all(
        np.array_equal(first.outcomes[name], second.outcomes[name], equal_nan=FIELDS[name][0].startswith("f"))
        for name in BITS
    )


@pytest.fixture(scope="module")
def reference():
    """The results of the small study, by one thread."""
    return small().run(threads=1, progress=False)


def test_cells_are_what_train_gives(reference):
    for i, m in enumerate((8, 14, 18)):
        for j, alpha in enumerate((1e-2, 1e-4)):
            ensemble = Sparse(n=24, m=m, sparsity=3)
            problems = [ensemble.draw(stream(0, "problem", ensemble.key(), trial)) for trial in range(20)]
            runs = ff.train(problems, ff.DiagonalLinear(2), ff.inits.Constant(alpha), ff.FlowLimit(), threads=1)
            found = {name: array[i, j] for name, array in reference.outcomes.items()}
            for name in ("error", "steps", "status"):
                assert np.array_equal(found[name], getattr(runs, name)), name
            assert found["loss"] == pytest.approx(runs.loss, rel=1e-6, abs=1e-25)
            successes = np.sum(runs.error <= 1e-2)
            assert reference.successes[i, j] == successes
            assert reference.rates[i, j] == successes / 20
    assert reference.complete
    assert np.all(reference.outcomes["seconds"] > 0)


@pytest.mark.parametrize(
    ("ensemble", "network"),
    [
        (Sparse(n=8, sparsity=2, noise=0.1), ff.DiagonalLinear(2)),
        (Sparse(n=8, sparsity=2), ff.DiagonalLinear(3, signed=False)),
        (Sparse(n=8, sparsity=2, matrix=np.ones((3, 8)), noise=0.1), ff.DiagonalLinear(2)),
    ],
    ids=["more measurements than unknowns", "a truth that is not nonnegative", "dependent rows"],
)
def test_what_no_vector_reaches(ensemble, network):
    """Where only part of y can be reached the outcomes are those of `train`, too."""
    axes = {"m": (12,)} if ensemble.m is None else {"sparsity": (2,)}
    study = ff.Study(ensemble, network, ff.inits.Constant(1e-3), ff.FlowLimit(), axes=axes, trials=3)
    result = study.run(threads=1, progress=False)
    problems = [study.setup(0).problem(trial) for trial in range(3)]
    runs = ff.train(problems, network, ff.inits.Constant(1e-3), ff.FlowLimit(), threads=1)
    for name in ("error", "steps", "status"):
        assert np.array_equal(result.outcomes[name][0], getattr(runs, name)), name
    assert result.outcomes["loss"][0] == pytest.approx(runs.loss, rel=1e-9)
    assert np.all(runs.loss > 1e-6)


def test_random_starts_are_those_of_train():
    """Of trial t start r is what `train` calls start r of problem t."""
    study = ff.Study(
        LowRank(n=4, rank=1, m=12),
        ff.DeepLinear(2),
        ff.inits.Gaussian(1e-2),
        ff.GradientDescent(max_steps=200),
        axes={"scale": (1e-2, 1e-1)},
        trials=6,
        starts=3,
    )
    result = study.run(threads=2, progress=False)
    ensemble = LowRank(n=4, rank=1, m=12)
    problems = [ensemble.draw(stream(0, "problem", ensemble.key(), trial)) for trial in range(6)]
    runs = ff.train(problems, ff.DeepLinear(2), ff.inits.Gaussian(1e-1), study.words["method"], runs=3, threads=1)
    best = np.arange(6) * 3 + np.argmin(runs.loss.reshape(6, 3), axis=1)
    assert np.array_equal(result.outcomes["error"][1], runs.error[best])
    assert np.array_equal(result.outcomes["loss"][1], runs.loss[best])
    assert np.array_equal(result.outcomes["steps"][1], runs.steps.reshape(6, 3).sum(axis=1))


@pytest.mark.parametrize("problem", ["per cell", "shared"])
def test_one_problem_for_all_trials(problem):
    study = ff.Study(
        SPARSE if problem == "per cell" else Sparse(n=24, m=14, sparsity=3),
        ff.DiagonalLinear(2),
        ff.inits.Uniform(1e-2, "factor"),
        ff.FlowLimit(),
        axes={"m": (10, 14)} if problem == "per cell" else {"scale": (1e-3, 1e-2)},
        trials=5,
        problem=problem,
    )
    result = study.run(threads=1, progress=False)
    ensemble = Sparse(n=24, m=14, sparsity=3)
    shared = ensemble.draw(stream(0, "problem", ensemble.key()))
    runs = ff.train([shared] * 5, study.words["network"], study.words["init"], ff.FlowLimit(), runs=1, threads=1)
    assert result.outcomes["error"][1] == pytest.approx(runs.error, rel=1e-9)
    assert len(np.unique(result.outcomes["error"][1])) == 5


def test_baselines_stand_where_methods_stand(reference):
    """On the same draws; where networks and starts vary, a baseline's outcomes do not."""
    methods = {"limit": ff.FlowLimit(), "pursuit": ff.baselines.BasisPursuit(), "norm": ff.baselines.LeastNorm()}
    axes = {"method": methods, "init.scale": (1e-2, 1e-4), "m": (8, 14, 18)}
    study = ff.Study(SPARSE, ff.DiagonalLinear(2), axes=axes, trials=4, success=ff.Success(below=1e-2))
    result = study.run(threads=2, progress=False)
    assert result.methods == ("limit", "pursuit", "norm")
    limit = result[{"method": "limit"}]
    assert np.array_equal(limit.outcomes["error"], reference.outcomes["error"].transpose(1, 0, 2)[..., :4])
    ensemble = Sparse(n=24, m=14, sparsity=3)
    for trial in range(4):
        problem = ensemble.draw(stream(0, "problem", ensemble.key(), trial))
        x = ff.baselines.basis_pursuit(problem.matrix, problem.values)
        error = np.linalg.norm(x - problem.truth) / np.linalg.norm(problem.truth)
        assert result.outcomes["error"][1, :, 1, trial] == pytest.approx([error, error], rel=1e-12, abs=1e-15)
    for label in ("pursuit", "norm"):
        part = result[{"method": label}]
        assert np.array_equal(part.outcomes["seconds"][0], part.outcomes["seconds"][1])  # computed once


def test_more_of_anything_changes_nothing_of_what_there_is(reference):
    larger = small(trials=25, m=(8, 10, 18, 14), alphas=(1e-4, 1e-1, 1e-2)).run(threads=2, progress=False)
    for name in BITS:
        part = larger.outcomes[name][np.ix_((0, 3, 2), (2, 0), range(20))]
        assert np.array_equal(part, reference.outcomes[name])


def test_methods_and_depths_share_draws():
    study = ff.Study(SPARSE, axes={"depth": (2, 3), "m": (4,)}, method=ff.FlowLimit(), trials=3)
    first, second = (study.setup(cell) for cell in (0, 1))
    assert (first.network.depth, second.network.depth) == (2, 3)
    assert first.ensemble is second.ensemble


def test_other_seeds_are_other_draws(reference):
    other = small(seed=1).run(threads=1, progress=False)
    assert not np.any(other.outcomes["error"] == reference.outcomes["error"])


def test_steps_may_be_multiples_of_the_edge_and_safe_ones():
    """On an axis and as a field; kept as words, from which the study is made again, and found by the object, too."""
    edge = ff.theory.edge
    ensemble = ff.ensembles.LowRank(4, rank=1, observed="estimation")
    method = ff.GradientDescent(step=ff.Decreasing(0.3 * edge), max_steps=60)
    fixed = ff.Study(ensemble, ff.DeepLinear(2), ff.inits.Gaussian(0.1), method, axes={"scale": (0.1, 1.0)}, trials=2)
    assert fixed.describe()["method"]["step"] == {"kind": "Decreasing", "first": "0.3 edge", "power": 0.5, "scale": 1.0}
    words, method = (ensemble, ff.DeepLinear(2), ff.inits.Gaussian()), ff.GradientDescent(max_steps=60)
    steps = [0.1 * 3 * edge, "safe", 0.02, "0.9edge"]
    study = ff.Study(*words, method, axes={"method.step": steps, "scale": (0.1,)}, trials=2)
    assert study.axes[0].values == ("0.30000000000000004 edge", "safe", 0.02, "0.9edge")
    for one in (fixed, study):
        assert ff.Study.from_table(one.describe()).describe() == one.describe()
    result = ff.Study.from_table(study.describe()).run(threads=1, progress=False)
    for step in steps:
        alone = ff.Study(*words, replace(method, step=step), axes={"scale": (0.1,)}, trials=2)
        assert same_bits(result[{"method.step": step}], alone.run(threads=1, progress=False))
    with pytest.raises(ValueError, match=r"'method.step' has the value '0.3 edge' twice"):
        ff.Study(ensemble, axes={"method.step": [0.3 * edge, "0.3 edge"]})
    with pytest.raises(ValueError, match="no step is known to be safe for a DiagonalLinear"):
        ff.Study(ff.ensembles.Sparse(9, 5), method=ff.GradientDescent("safe"), axes={"sparsity": (1, 2)})


def test_a_study_is_made_again_from_its_table(reference):
    for study in (small(), ff.Study(Custom(failing, 2), method=ff.baselines.LeastNorm(), axes={"m": (3, 4)})):
        table = study.describe()
        assert ff.Study.from_table(table).describe() == table
    assert same_bits(ff.Study.from_table(small().describe()).run(threads=2, progress=False), reference)


def test_success_changes_afterwards(reference):
    strict = reference.with_success(ff.Success(below=1e-6))
    assert np.array_equal(strict.successes, np.sum(reference.outcomes["error"] <= 1e-6, axis=-1))
    assert np.all(strict.successes <= reference.successes)
    quick = reference.with_success(ff.Success("steps", below=12))
    assert np.array_equal(quick.successes, np.sum(reference.outcomes["steps"] <= 12, axis=-1))


def test_results_as_tables(reference):
    data = reference.to_xarray()
    assert data.error.dims == ("m", "init.scale", "trial")
    assert data.error.sel({"m": 14, "init.scale": 1e-4}).values == pytest.approx(reference.outcomes["error"][1, 1])
    frame = reference.to_dataframe()
    assert len(frame) == 120
    assert (
        frame.groupby(["m", "init.scale"], sort=False).success.sum().to_numpy().tolist()
        == reference.successes.ravel().tolist()
    )
    assert "6 cells, 120 of 120 trials done" in reference.summary()


def test_the_boundary_is_that_of_the_counts(reference):
    low, high = reference.intervals()
    assert np.all((low <= reference.rates) & (reference.rates <= high))
    found = reference.boundary(resamples=0)
    assert found.value.shape == (2,)
    assert np.all((found.value > 8) & (found.value < 18))


@pytest.mark.parametrize(
    ("axis", "program"),
    [
        ({"depth": (2, 3)}, "l1"),
        ({"coefficients": ("flat", "sign")}, "l1"),
        ({"matrix": ("gaussian", "correlated")}, None),
        ({"noise": (0.0, 0.1)}, None),
        ({"signed": (True, False)}, None),
    ],
)
def test_theory_is_said_only_where_it_holds_for_all(axis, program):
    words = (SPARSE, ff.DiagonalLinear(2), ff.inits.Constant(1e-3), ff.FlowLimit())
    result = ff.Study(*words, axes={"m": (8, 14), **axis}, trials=1).run(threads=1, progress=False)
    assert result.program == program
    assert (result.theory() is None) == (program is None)


def test_time_is_kept(reference, monkeypatch):
    """What was done before the time was up is what it would have been; by a clock that each trial moves by a second."""
    keep, kept = driver.Driver._keep, []

    def keep_and_count(self, finished):
        keep(self, finished)
        kept.extend(finished.outcomes["status"])

    monkeypatch.setattr(driver.Driver, "_keep", keep_and_count)
    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: float(len(kept))))
    result = small().run(threads=2, max_seconds=30, task_seconds=1e-9, progress=False)
    done = result.done
    assert 30 <= done.sum() <= 50  # when the time was up five tasks of at most four trials were handed out
    for name in BITS:
        assert np.array_equal(result.outcomes[name][done], reference.outcomes[name][done])
        assert np.all(result.outcomes[name][~result.done] == FIELDS[name][1])


def test_shares_are_disjoint_and_together_all(reference):
    parts = [small().run(threads=2, shard=(i, 4), progress=False) for i in range(4)]
    assert np.array_equal(sum(part.done.astype(int) for part in parts), np.ones((3, 2, 20)))
    for part in parts:
        assert np.array_equal(part.outcomes["error"][part.done], reference.outcomes["error"][part.done])


def test_adaptive_spends_trials_where_the_transition_is(tmp_path):
    """By a pilot, which the store knows of, too, and which counts in no rate."""
    study = small(trials=160, m=(4, 12, 14, 22))
    full, spare = (study.run(threads=2, progress=False, adaptive=adaptive) for adaptive in (False, True))
    assert set(spare.done.sum(axis=-1).ravel()) == {40, 160}
    assert spare.done.sum() < 0.8 * full.done.sum()
    assert np.array_equal(spare.outcomes["error"][spare.done], full.outcomes["error"][spare.done])
    assert np.array_equal(spare.trials, spare.done.sum(axis=-1) - 20)
    assert np.array_equal(
        spare.successes, np.sum((spare.outcomes["error"] <= 1e-2)[..., 20:] & spare.done[..., 20:], -1)
    )
    assert spare.trials[0].tolist() == [20, 20]
    assert np.all(spare.trials[(full.rates > 0.35) & (full.rates < 0.65)] == 140)
    low, high = full.boundary().low, full.boundary().high
    value = spare.boundary(resamples=0).value
    assert np.all((low <= value) & (value <= high))
    assert "the first 20 trials of each cell decide" in spare.summary()
    assert len(spare.to_dataframe()) == spare.trials.sum()
    store = tmp_path / "s.zarr"
    study.run(threads=2, progress=False, adaptive=True, store=store, max_seconds=1e-9)
    assert same_bits(study.run(threads=2, progress=False, adaptive=True, store=store), spare)
    found = ff.open_study(store)
    for result in (found, found.with_success(ff.Success(below=1e-2)), found[{"m": 12}], ff.merge([store])):
        assert result.adaptive
        assert np.array_equal(result.trials, result.done.sum(axis=-1) - 20)
    assert study.run(threads=2, progress=False, adaptive=True, store=store).computed == 0
    plain = study.run(threads=2, progress=False, store=store)
    assert same_bits(plain, full)
    assert not plain.adaptive  # since no outcome has decided how many trials there are
    assert np.all(ff.open_study(store).trials == 160)


def test_a_study_too_small_for_a_pilot_has_none():
    result = small(trials=40).run(threads=2, progress=False, adaptive=True)
    assert result.complete
    assert np.all(result.trials == 40)


class Bernoulli:
    """An executor that answers at once: every trial succeeds with a probability, whatever it is a trial of."""

    num_workers = 2

    def __init__(self, p, rng):
        self.p, self.rng = p, rng

    def submit(self, function, pieces):
        finished = []
        for piece in pieces:
            error = np.where(self.rng.random(piece.last - piece.first) < self.p, 0.0, 1.0)
            outcomes = make_outcomes(error, error, 0 * error, error, 0 * error + ff.Status.CONVERGED)
            finished.append(Finished(piece.cell, piece.first, outcomes))
        future = concurrent.futures.Future()
        future.set_result(Report(finished, 1e-3, this_node()))
        return future


@pytest.mark.parametrize("p", [0.05, 0.1, 0.2, 0.5])
def test_rates_of_adaptive_studies_are_unbiased_and_their_intervals_cover(p, rng):
    """Of 2000 cells, up to 4 standard errors of their mean, and of a coverage of 93% (Wilson's is 95% on average)."""
    words = (SPARSE, ff.DiagonalLinear(2), ff.inits.Constant(), ff.FlowLimit())
    study = ff.Study(*words, axes={"m": range(1, 21), "scale": np.geomspace(1e-6, 1, 100)}, trials=200)
    result = study.run(Bernoulli(p, rng), progress=False, adaptive=True)
    assert result.done.sum() < result.done.size or p == 0.5
    error = np.sqrt(p * (1 - p) * np.mean(1 / result.trials) / 2000)
    assert abs(result.rates.mean() - p) < 4 * error
    low, high = result.intervals()
    assert np.mean((low <= p) & (p <= high)) > 0.93 - 4 * np.sqrt(0.07 * 0.93 / 2000)


def test_costs_are_predicted():
    cost = small(trials=50).cost(cells=6, threads=1)
    assert (cost.trials, cost.threads, cost.probed) == (300, 1, 12)
    assert 0 <= cost.seconds_low <= cost.seconds <= cost.seconds_high
    assert cost.memory == 300 * 29
    assert "300 trials: about" in str(cost)


class Compiled:
    """A baseline whose first solution takes long: half a second by a clock that each reading moves by a millisecond."""

    known: ClassVar[list[int]] = []
    now: ClassVar[list[float]] = [0.0]

    def solve(self, problem):
        if not self.known:
            self.now[0] += 0.5
            self.known.append(1)
        return np.zeros(problem.shape)

    @classmethod
    def perf_counter(cls):
        cls.now[0] += 1e-3
        return cls.now[0]


def test_costs_have_no_compiling_in_them(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", Compiled.perf_counter)
    methods = {"zero": ff.baselines.LeastNorm(), "slow once": dataclass(Compiled)()}
    cost = ff.Study(SPARSE, axes={"method": methods, "m": (4, 8)}, trials=100).cost(cells=4, threads=1)
    assert Compiled.known
    assert cost.seconds < 12  # with it 25


def test_what_a_run_did_is_told_from_what_there_is(tmp_path):
    path = tmp_path / "small.zarr"
    first, again, more = (small(trials=trials).run(threads=1, store=path, progress=False) for trials in (5, 5, 7))
    assert [first.computed, again.computed, more.computed, ff.open_study(path).computed] == [30, 0, 12, 0]
    assert f"this run: 12 trials in {more.seconds:.3g} s" in more.summary()
    assert "this run" not in again.summary()


@pytest.mark.parametrize("chosen", [{"m": 14}, {"method": "limit"}, {"method": "l1", "init.scale": 1e-2}])
def test_a_part_of_a_result_is_that_of_a_study_of_its_own(chosen):
    axes = {"m": (8, 14), "init.scale": (1e-2, 1e-4)}
    methods = {"limit": ff.FlowLimit(), "l1": ff.baselines.BasisPursuit()}
    whole = ff.Study(SPARSE, ff.DiagonalLinear(2), axes={"method": methods, **axes}, trials=3)
    part = whole.run(threads=1, progress=False)[chosen].with_success(ff.Success(below=0.1))
    assert same_bits(part, ff.Study.from_table(part.table).run(threads=1, progress=False))
    assert part.fixed == chosen
    assert part.setting["n"] == 24
    assert part.setting.get("m") == chosen.get("m")
    assert ("depth" in part.setting) == (chosen.get("method") != "l1")  # of which a convex program knows nothing


def test_selection_is_by_values(reference):
    """By one value, lists in their order, and slices whose ends are both included; what is left is a study of it."""
    part = reference.sel({"init.scale": [1e-4]}, m=slice(9, None))
    assert part.axes == {"m": (14, 18), "init.scale": (1e-4,)}
    assert np.array_equal(part.outcomes["error"], reference.outcomes["error"][1:, 1:])
    assert same_bits(part, ff.Study.from_table(part.table).run(threads=1, progress=False))
    assert reference.sel(m=slice(8, 14)).axes["m"] == (8, 14)
    turned = reference.sel(m=np.array([18, 8]))
    assert turned.axes["m"] == (18, 8)
    assert np.array_equal(turned.successes, reference.successes[[2, 0]])
    assert same_bits(reference.sel(m=14), reference[{"m": 14}])
    assert reference.sel(m=14).fixed == {"m": 14}
    assert np.array_equal(reference[{"m": [8]}].rates, reference.rates[:1])


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        ({"m": 9}, KeyError, r"axis 'm' has no 9; it has \[8, 14, 18\]"),
        ({"m": [8, 9]}, KeyError, "axis 'm' has no 9"),
        ({"m": []}, KeyError, "the list of values is empty"),
        ({"m": [8, 8]}, ValueError, "the value 8 is asked for twice"),
        ({"m": slice(9, 13)}, KeyError, "no value from 9 to 13"),
        ({"m": slice(8, 18, 2)}, ValueError, "a slice of values has no step"),
        ({"m": slice("a", None)}, TypeError, "from one number to another"),
        ({"n": 8}, KeyError, "there is no axis 'n'; there are m, init.scale"),
        ({"m": 8, "init.scale": 1e-2}, KeyError, "one axis must be left"),
    ],
)
def test_what_cannot_be_selected_is_said(reference, chosen, error, message):
    with pytest.raises(error, match=message):
        reference.sel(chosen)


def test_labels_have_nothing_between_them():
    study = ff.Study(SPARSE, axes={"m": (8, 14), "method": {"a": ff.FlowLimit(), "b": ff.FlowLimit()}}, trials=1)
    result = study.run(threads=1, progress=False)
    assert result.sel(method=["b"]).methods == ("b",)
    with pytest.raises(TypeError, match="has labels, between which nothing lies"):
        result.sel(method=slice("a", "b"))


def test_a_boundary_is_a_table_with_the_names_of_the_axes(reference):
    found = reference.boundary(resamples=0)
    frame = found.to_dataframe()
    assert frame.columns[:3].tolist() == ["init.scale", "along", "level"]
    assert frame["init.scale"].tolist() == [1e-2, 1e-4]
    assert frame["along"].tolist() == ["m", "m"]
    assert frame["crossing"].tolist() == found.value.tolist()
    assert set(frame["status"]) <= {"fitted", "separated"}
    nameless = boundary([1, 2, 3], [[0, 5, 9], [1, 5, 9]], 10, resamples=0).to_dataframe()
    assert nameless["axis_0"].tolist() == [0, 1]
    assert len(boundary([1, 2, 3], [0, 5, 9], 10, resamples=0).to_dataframe()) == 1


def test_a_trial_that_raises_is_named_and_takes_nothing_along():
    study = ff.Study(Custom(failing, 1), method=ff.baselines.LeastNorm(), axes={"m": (3, 4, 5)}, trials=8, seed=4)
    with pytest.raises(ff.StudyError, match=r"m = 5, trial 0.*ZeroDivisionError: no such problem") as caught:
        study.run(threads=1, progress=False)
    result = caught.value.result
    assert isinstance(result, ff.StudyResult)
    assert not result.done[2].all()


def test_an_interrupt_gives_what_is_done(reference, monkeypatch):
    study, before = small(trials=20_000), threading.active_count()
    keep, numbers = driver.Driver._keep, iter([signal.SIGINT])

    def keep_and_interrupt(self, finished):
        keep(self, finished)
        for number in numbers:
            signal.raise_signal(number)

    monkeypatch.setattr(driver.Driver, "_keep", keep_and_interrupt)
    with pytest.raises(ff.StudyInterrupted, match="of 120000 trials are done") as caught:
        study.run(threads=2, progress=False)
    assert threading.active_count() == before
    result = caught.value.result
    assert result.trials.sum() == result.computed > 0
    done = result.done[..., :20]
    assert np.array_equal(caught.value.result.outcomes["error"][..., :20][done], reference.outcomes["error"][done])


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"tol": (1e-3,), "scale": ()}, "axis 'scale' has no values"),
        ({"width": (1,)}, "axis 'width' is no field; fields are: ensemble: .*sparsity"),
        ({"init.depth": (1,)}, "axis 'init.depth' is no field of Constant"),
        ({"start.scale": (1,)}, "before the dot stands one of ensemble, network, init, method"),
        ({"m": (8, 8)}, "axis 'm' has the value 8 twice"),
        ({"m": (8, 0)}, "axis 'm' at 0: m must be at least 1, got 0"),
        ({"m": (8,), "sparsity": (3, 25)}, "axis 'sparsity' at 25: sparsity must be at most n = 24"),
        ({"scale": (1e-3,)}, "needs m"),
        ({"m": (8,), "scale": (1e-3, float("nan"))}, "must have numbers or strings"),
        ({}, "one to four axes"),
        ({"m": 8}, "must be a sequence of values"),
        ({"trial": (1, 2)}, "would have the name of what a result keeps: write 'ensemble.trial'"),
        ({"method": (ff.FlowLimit(),)}, "must be a dict, label: method"),
        ({"method": {"limit": ff.FlowLimit()}}, "method is given and an axis, too"),
    ],
)
def test_wrong_axes_are_named(axes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ff.Study(SPARSE, ff.DiagonalLinear(2), ff.inits.Constant(), ff.FlowLimit(), axes=axes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ff.Study(axes={"m": (1,)}), "needs an ensemble"),
        (lambda: ff.Study(SPARSE, ff.DeepLinear(2), axes={"m": (4,)}), "Constant|DeepLinear"),
        (
            lambda: ff.Study(LowRank(n=4, rank=1), method=ff.baselines.BasisPursuit(), axes={"m": (4,)}),
            "BasisPursuit solves",
        ),
        (
            lambda: ff.Study(SPARSE, method=ff.baselines.NuclearNorm(), axes={"m": (4,)}),
            "NuclearNorm solves MatrixComp",
        ),
        (lambda: ff.Study(SPARSE, method=ff.ProductFlow(), axes={"m": (4,)}), "ProductFlow needs a DeepLinear network"),
        (lambda: ff.Study(LowRank(n=4, rank=1), method=ff.FlowLimit(), axes={"m": (4,)}), "needs a DiagonalLinear"),
        (lambda: ff.Study(SPARSE, method=ff.FlowLimit(), axes={"m": (4,)}, problem="shared"), "no axis can be one of"),
        (lambda: ff.Study(SPARSE, method=ff.FlowLimit(), axes={"m": (4,)}, problem="per cell"), "starts alike"),
        (lambda: ff.Study(SPARSE, method=ff.FlowLimit(), axes={"m": (4,)}, starts=3), "starts alike"),
        (lambda: ff.Study(SPARSE, method="newton", axes={"m": (4,)}), "must be a method or a baseline"),
        (lambda: ff.Study("sparse", method=ff.FlowLimit(), axes={"seed": (4,)}), "must be an ensemble such as"),
        (lambda: ff.Study(SPARSE, method=Undescribed(), axes={"m": (4,)}), "made of dataclasses"),
        (lambda: small().run(shard=(2, 2)), "i in 0 .. k - 1"),
        (lambda: small().run(shard=(0, 200)), "6 cells of 20 trials make no 200 shares"),
        (lambda: small().run(executor=3), "must have submit"),
        (lambda: ff.Study.from_table({"axes": {"m": [1]}, "trails": 3}), "has no 'trails'"),
        (lambda: ff.Study.from_table({"axes": {"m": [1]}, "ensemble": {"n": 3}}), "ensemble needs a kind"),
        (lambda: ff.Study.from_table({"axes": {"m": [1]}, "ensemble": {"kind": "Spare"}}), "kind must be one of"),
        (
            lambda: ff.Study.from_table({"axes": {"m": [1]}, "ensemble": {"kind": "Sparse", "k": 1}}),
            "Sparse has no 'k'",
        ),
    ],
)
def test_what_does_not_combine_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


VECTORS = Sparse(n=8, m=5, sparsity=2)
MATRICES = LowRank(n=4, rank=1, m=12)
MISMATCHES = {
    "a tolerance that the dual flow has not": (
        lambda **axes: ff.Study(VECTORS, method=ff.GradientFlow(gradient_tol=1e-9), **axes),
        {"scale": (1e-3, 1e-2)},
        "in the cell scale = 0.001: gradient_tol does not apply",
    ),
    "a network whose flow has a dual, in the last cell": (
        lambda **axes: ff.Study(
            VECTORS,
            ff.DiagonalLinear(3, identical=False),
            ff.inits.Gaussian(),
            ff.GradientFlow(gradient_tol=1e-9),
            **axes,
        ),
        {"scale": (1e-3, 1e-2), "depth": (4, 3, 2)},
        "in the cell scale = 0.001, depth = 2: gradient_tol does not apply",
    ),
    "three independent factors, in the last cell": (
        lambda **axes: ff.Study(
            VECTORS, ff.DiagonalLinear(identical=False), ff.inits.Gaussian(), ff.FlowLimit(), **axes
        ),
        {"depth": (1, 2, 3)},
        "in the cell depth = 3: FlowLimit needs identical factors",
    ),
    "starts that are not balanced": (
        lambda **axes: ff.Study(MATRICES, init=ff.inits.Gaussian(), method=ff.ProductFlow(t_max=1), **axes),
        {"scale": (0.1, 0.2)},
        "in the cell scale = 0.1: .*balanced",
    ),
    "starts that are not balanced, in the last cell": (
        lambda **axes: ff.Study(MATRICES, method=ff.ProductFlow(t_max=1), **axes),
        {"m": (12, 13), "init": {"balanced": ff.inits.Balanced(0.1), "Gaussian": ff.inits.Gaussian(0.1)}},
        "in the cell m = 12, init = 'Gaussian': .*balanced",
    ),
    "a method for vectors, as the last": (
        lambda **axes: ff.Study(MATRICES, **axes),
        {"method": {"descent": ff.GradientDescent(), "limit": ff.FlowLimit()}},
        "in the cell method = 'limit': FlowLimit needs a DiagonalLinear network, got DeepLinear",
    ),
    "widths that are those of the first cell": (
        lambda **axes: ff.Study(LowRank(n=4, rank=1, m=12), ff.DeepLinear(widths=(4, 5, 4)), **axes),
        {"n": (4, 6)},
        "in the cell n = 6: .*widths",
    ),
    "factors that are those of the first cell": (
        lambda **axes: ff.Study(
            VECTORS, ff.DiagonalLinear(2), ff.inits.Explicit([np.ones(8)] * 2), ff.FlowLimit(), **axes
        ),
        {"n": (8, 9)},
        r"in the cell n = 9: the factors given have shapes \[\(8,\), \(8,\)\]",
    ),
    "starts that are not those of a trial": (
        lambda **axes: ff.Study(
            VECTORS, ff.DiagonalLinear(2), ff.inits.Explicit([np.ones((3, 8))] * 2), ff.FlowLimit(), **axes
        ),
        {"m": (5, 6)},
        "in the cell m = 5: .*give one start",
    ),
    "two outputs for a diagonal network, in the last cell": (
        lambda **axes: ff.Study(ff.ensembles.Regression(n=5, samples=9), ff.DiagonalLinear(2), **axes),
        {"outputs": (1, 2)},
        "in the cell outputs = 2: a DiagonalLinear network factors a vector",
    ),
    "a baseline that does not solve the last cell": (
        lambda **axes: ff.Study(method=ff.baselines.NuclearNorm(), **axes),
        {"ensemble": {"sensing": MATRICES, "all": LowRank(n=4, rank=1, observed="estimation")}, "n": (4, 5)},
        "in the cell ensemble = 'all', n = 4: NuclearNorm solves MatrixCompletion",
    ),
    "a word of a user's function, in the last cell": (
        lambda **axes: ff.Study(Custom(of_kind, 1), method=ff.baselines.LeastNorm(), **axes),
        {"m": (4, 5), "kind": ("vector", "matrix")},
        "in the cell m = 4, kind = 'matrix': LeastNorm solves CompressedSensing",
    ),
}


def of_kind(rng, m=3, kind="vector"):
    """A user's ensemble of two kinds of problems."""
    return (Sparse(n=8, m=m, sparsity=1) if kind == "vector" else LowRank(n=4, rank=1, m=m)).draw(rng)


@pytest.mark.parametrize("case", MISMATCHES)
def test_every_cell_is_asked_before_any_work(case):
    make, axes, message = MISMATCHES[case]
    with pytest.raises((ValueError, TypeError), match=message):
        make(axes=axes)


def test_what_combines_in_every_cell_is_made():
    networks = {"dual": ff.DiagonalLinear(2), "layers": ff.DiagonalLinear(3, identical=False)}
    ff.Study(VECTORS, init=ff.inits.Gaussian(), method=ff.GradientFlow(t_max=1), axes={"network": networks})
    ff.Study(MATRICES, init=ff.inits.Balanced(0.1), method=ff.ProductFlow(t_max=1), axes={"depth": (2, 3)})


def test_an_ensemble_is_asked_once_for_all_problems_of_one_form(monkeypatch):
    """So a study of many cells draws few problems before it is run."""
    drawn = []
    draw = Sparse.draw
    monkeypatch.setattr(Sparse, "draw", lambda self, rng: drawn.append(self.n) or draw(self, rng))
    ff.Study(Sparse(n=30), method=ff.FlowLimit(), axes={"m": range(5, 25), "sparsity": range(1, 21), "n": (30, 40)})
    assert drawn == [30, 40]


def test_axes_of_one_object_change_it_at_once():
    """A value need not fit what another axis replaces; where none is wrong alone all are named."""
    study = ff.Study(SPARSE, method=ff.FlowLimit(), axes={"sparsity": (30, 40), "n": (50, 60), "m": (20,)})
    assert study.setup(0).ensemble.n == 50
    with pytest.raises(ValueError, match="n = 20, sparsity = 21: sparsity must be at most n = 20, got 21"):
        ff.Study(Sparse(n=24, m=5), method=ff.FlowLimit(), axes={"n": (22, 20), "sparsity": (21,)})


@dataclass(frozen=True)
class Scaled:
    """A user's baseline without any base class."""

    factor: float = 1.0

    def solve(self, problem):
        return self.factor * np.asarray(problem.truth)


@dataclass(frozen=True)
class Choosy(Scaled):
    """One that says beforehand what it solves."""

    def check(self, problem):
        if problem.unknown != "x":
            raise TypeError("Choosy solves vectors")


def test_a_users_object_stands_where_a_baseline_does():
    study = ff.Study(VECTORS, method=Choosy(), axes={"factor": (1.0, 1.5), "m": (5, 6)}, trials=2)
    result = study.run(threads=1, progress=False)
    assert result.outcomes["error"][:, 0, 0] == pytest.approx([0.0, 0.5])
    assert ff.Study.from_table(result.table).words["method"] == Choosy()
    ff.Study(MATRICES, method=Scaled(), axes={"factor": (1.0,)})
    with pytest.raises(TypeError, match=r"in the cell factor = 1.0: Choosy solves vectors"):
        ff.Study(MATRICES, method=Choosy(), axes={"factor": (1.0,)})
    for nothing, said in ((3, "a method or a baseline with solve"), (Scaled, r"Scaled\(...\), got the class Scaled")):
        with pytest.raises(TypeError, match=f"must be {said}"):
            ff.Study(VECTORS, method=nothing, axes={"m": (5, 6)})


def test_defaults_are_those_of_train():
    for ensemble, network, init in (
        (VECTORS, ff.DiagonalLinear(), ff.inits.Constant()),
        (MATRICES, ff.DeepLinear(), ff.inits.Gaussian()),
    ):
        words = ff.Study(ensemble, axes={"m": (12,)}).words
        assert words["network"] == network
        assert repr(words["init"]) == repr(init)
        assert isinstance(words["method"], ff.GradientDescent)


@dataclass(frozen=True)
class Troubled:
    """A user's baseline that ends in every way: what it does with a problem depends on the sign of its first value."""

    trouble: str = "nothing"

    def solve(self, problem):
        if problem.values[0] > 0:
            if self.trouble == "nan":
                return np.full(problem.shape, np.nan)
            if self.trouble == "huge":
                return np.full(problem.shape, 1e300)
            if self.trouble == "short":
                ff.baselines.fall_short("came to 1e-3 only")
            elif self.trouble != "nothing":
                raise {"runtime": RuntimeError, "linear": np.linalg.LinAlgError, "key": KeyError}[self.trouble]("why")
        return np.asarray(problem.truth)


@pytest.mark.parametrize(
    ("trouble", "status", "text"),
    [
        ("nan", ff.Status.DIVERGED, "ended as diverged; the first: m = 5, trial {}: the solution of Troubled, or its"),
        ("huge", ff.Status.DIVERGED, "ended as diverged; the first: m = 5, trial {}: the solution of Troubled, or its"),
        ("short", ff.Status.INACCURATE, "ended as inaccurate; the first: m = 5, trial {}: came to 1e-3 only"),
        ("runtime", ff.Status.FAILED, "ended as failed; the first: m = 5, trial {}: RuntimeError: why"),
        ("linear", ff.Status.FAILED, "ended as failed; the first: m = 5, trial {}: LinAlgError: why"),
        ("key", ff.Status.FAILED, "ended as failed; the first: m = 5, trial {}: KeyError: 'why'"),
    ],
)
def test_how_a_baseline_ended_is_kept_and_told(trouble, status, text, tmp_path):
    """In each trial by itself, whatever it is computed together with; what is not finite never succeeds."""
    study = ff.Study(VECTORS, method=Troubled(trouble), axes={"m": (5,)}, trials=12, success=ff.Success("steps", 5))
    positive = np.array([study.setup(0).problem(trial).values[0] > 0 for trial in range(12)])
    assert 0 < positive.sum() < 12
    for options in ({"task_seconds": 1e-9}, {"task_seconds": 10.0, "store": tmp_path / "s.zarr"}):
        with pytest.warns(UserWarning, match=f"{positive.sum()} trials of this run " + text.format(positive.argmax())):
            result = study.run(threads=1, progress=False, on_error="record", **options)
        assert result.outcomes["status"][0].tolist() == np.where(positive, status, ff.Status.CONVERGED).tolist()
        lost = positive & (status != ff.Status.INACCURATE)
        assert np.array_equal(~np.isfinite(result.outcomes["loss"][0]), lost)
        assert result.successes[0] == 12 - lost.sum()
    assert study.run(threads=1, progress=False, on_error="record", store=tmp_path / "s.zarr").computed == 0
    if status == ff.Status.FAILED:
        with pytest.raises(ff.StudyError, match=r"m = 5, trial.*why'?; on_error='record'"):
            study.run(threads=1, progress=False)


def test_draws_that_raise_are_recorded_as_failed():
    study = ff.Study(Custom(failing, 1), method=ff.baselines.LeastNorm(), axes={"m": (4, 5)}, trials=8, seed=4)
    with pytest.warns(UserWarning, match="ended as failed; the first: m = 5, trial 1: ZeroDivisionError: no such"):
        result = study.run(threads=1, progress=False, on_error="record")
    assert result.complete
    assert np.all(result.outcomes["status"][0] == ff.Status.CONVERGED)
    assert 0 < np.count_nonzero(result.outcomes["status"][1] == ff.Status.FAILED) < 8


def test_a_solution_of_another_shape_is_no_solution():
    @dataclass(frozen=True)
    class Scalar:
        def solve(self, problem):
            return 0.0

    study = ff.Study(VECTORS, method=Scalar(), axes={"m": (5,)}, trials=1)
    with pytest.raises(ff.StudyError, match=r"the solution must have the shape \(8,\), got \(\)"):
        study.run(threads=1, progress=False)


@pytest.mark.parametrize(
    ("baseline", "ensemble"),
    [
        (ff.baselines.NuclearNorm(tol=1e-12, max_steps=20), LowRank(n=4, rank=1, m=12)),
        (ff.baselines.NuclearNorm(tol=1e-12, max_steps=20), LowRank(n=4, rank=1, m=12, observed="completion")),
    ],
)
def test_a_baseline_that_misses_its_tolerance_is_inaccurate(baseline, ensemble):
    study = ff.Study(ensemble, method=baseline, axes={"m": (11,)}, trials=2)
    with pytest.warns(UserWarning, match="2 trials of this run ended as inaccurate; the first: m = 11, trial 0: nu"):
        result = study.run(threads=1, progress=False)
    assert result.status_counts() == {ff.Status.INACCURATE: 2}


def test_basis_pursuit_with_a_gap_is_inaccurate(monkeypatch):
    """Its message says by how much, and blames nobody."""
    monkeypatch.setattr("fastflow.baselines.sparse.GAP", -1.0)
    study = ff.Study(VECTORS, method=ff.baselines.BasisPursuit(), axes={"m": (5,)}, trials=3)
    with pytest.warns(UserWarning, match="3 trials .* ended as inaccurate; .* gap of .*, not to 1e-09 and -1$"):
        result = study.run(threads=1, progress=False)
    assert result.status_counts() == {ff.Status.INACCURATE: 3}
    problem = study.setup(0).problem(0)
    with pytest.warns(UserWarning, match="basis pursuit was solved only to"):
        x = ff.baselines.basis_pursuit(problem.matrix, problem.values)
    assert np.linalg.norm(problem.matrix @ x - problem.values) < 1e-9


def untrue(rng, m=3, kind="bare"):
    """A user's ensemble, some of whose problems have no truth."""
    problem = Sparse(n=8, m=m, sparsity=1).draw(rng)
    return ff.CompressedSensing(problem.matrix, problem.values) if kind == "bare" else problem


def test_a_success_that_no_trial_can_have_is_refused():
    """By the error where there is no truth, in any cell, with the default and with one that is given."""
    words = {"method": ff.baselines.LeastNorm()}
    for success in (None, ff.Success(below=0.1)):
        with pytest.raises(ValueError, match=r"in the cell m = 3: the problems have no truth, .*Success\('loss'"):
            ff.Study(Custom(untrue, 1), axes={"m": (3, 4)}, success=success, **words)
        with pytest.raises(ValueError, match="in the cell kind = 'bare', m = 3: the problems have no truth"):
            ff.Study(Custom(untrue, 1), axes={"kind": ("true", "bare"), "m": (3, 4)}, success=success, **words)
    study = ff.Study(Custom(untrue, 1), axes={"m": (3, 4)}, success=ff.Success("loss", 1e-20), trials=4, **words)
    result = study.run(threads=1, progress=False)
    assert result.successes.tolist() == [4, 4]
    with pytest.raises(ValueError, match="no trial has an error"):
        result.with_success(ff.Success())
    ff.Study(Custom(untrue, 1, kind="true"), axes={"m": (3, 4)}, **words)
