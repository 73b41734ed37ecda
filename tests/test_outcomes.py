"""Outcomes that are asked for: they are what they say, keep every promise that studies make, and fail by their name."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import pickle
import warnings

import numpy as np
import outcomes_of_users as users
import pytest

import fastflow as ff
from fastflow.ensembles import Autoencoder, Custom, LowRank, Regression, Sparse
from fastflow.studies.asked import Outcome, as_asked, record_for
from fastflow.studies.measures import MEASURES, Needs
from fastflow.studies.outcomes import numbers_of
from fastflow.studies.quantiles import quantiles

STATED = {"shape": (), "dtype": "float64"}
VECTOR_NAMES = ["l1_norm", "l2_norm", "support_size", "support_recovery"]
MATRIX_NAMES = [
    "effective_rank",
    "numerical_rank",
    "determinant_sign",
    "entropy_rank",
    "stable_rank",
    "nuclear_norm",
    "spectral_norm",
    "frobenius_norm",
]
ASKED = {
    "l1_norm": "l1_norm",
    "test_loss": "test_loss",
    "largest": users.largest,
    "pair": ff.Outcome(users.first_two, 1, shape=(2,), dtype="int64"),
    "alpha": "effective_alpha",
}


def vectors(outcomes=ASKED, trials=6, m=(8, 14), **options):
    """A study of limits, by stacks."""
    words = (Sparse(n=24, sparsity=3, test=30), ff.DiagonalLinear(2), ff.inits.Constant(), ff.FlowLimit())
    return ff.Study(*words, axes={"m": m, "init.scale": (1e-2, 1e-4)}, trials=trials, outcomes=outcomes, **options)


def matrices(outcomes, trials=4, scales=(0.1, 0.3), **options):
    """A study of descent."""
    words = (LowRank(n=3, rank=1, observed="estimation"), ff.DeepLinear(2), ff.inits.Gaussian())
    method = ff.GradientDescent(max_steps=300)
    return ff.Study(*words, method, axes={"scale": scales}, trials=trials, outcomes=outcomes, **options)


def run(study, **options):
    return study.run(**{"threads": 1, "progress": False, **options})


def same(first, second):
    """Whether two results have the same bits in all they have but the times."""
    assert set(first.outcomes) == set(second.outcomes)
    return all(
        np.array_equal(array, second.outcomes[name], equal_nan=array.dtype.kind == "f")
        for name, array in first.outcomes.items()
        if name != "seconds"
    )


@pytest.fixture(scope="module")
def reference():
    return run(vectors())


@pytest.fixture(scope="module")
def bare():
    return run(vectors(None))


@pytest.fixture(scope="module")
def descents():
    event = ff.Event("loss", below=0.1, steps=40)
    history = ff.Outcome(users.loss_in_between, history=["loss"], steps=(0, 10, 20))
    asked = {name: name for name in (*MATRIX_NAMES, "sharpness", "limit_distance", "balancedness")}
    return run(matrices({**asked, "event": event, "between": history, "residual": users.residual}, starts=2))


def test_measures_of_vectors_are_those_of_their_limits(reference):
    ensemble = Sparse(n=24, m=14, sparsity=3, test=30)
    setup = reference.design.setup(2)
    problems = [setup.problem(trial) for trial in range(6)]
    runs = ff.train(problems, ff.DiagonalLinear(2), ff.inits.Constant(1e-2), ff.FlowLimit(), threads=1)
    assert np.array_equal(reference["l1_norm"][1, 0], ff.metrics.l1_norm(runs.solution))
    assert np.array_equal(reference["largest"][1, 0], np.abs(runs.solution).max(axis=1))
    assert np.array_equal(reference["pair"][1, 0], np.column_stack([np.arange(6), runs.steps]))
    assert reference["alpha"] == pytest.approx(np.broadcast_to([[[1e-2]], [[1e-4]]], (2, 6, 3)) * np.ones((2, 1, 1, 1)))
    # The loss of what was held out, by arithmetic of the test's own.
    tests = [setup.test(trial) for trial in range(6)]
    for trial, (problem, test) in enumerate(zip(problems, tests, strict=True)):
        assert test.matrix.shape == (30, 24)
        assert np.std(test.matrix) == pytest.approx(14**-0.5, rel=0.2)
        assert np.array_equal(test.truth, problem.truth)
        assert not np.isin(test.matrix, problem.matrix).any()
        expected = np.mean((test.matrix @ runs.solution[trial] - test.values) ** 2)
        assert reference["test_loss"][1, 0, trial] == pytest.approx(expected, rel=1e-10, abs=1e-30)
    assert ensemble.key() == Sparse(n=24, m=14, sparsity=3).key()


def test_measures_of_matrices_are_those_of_their_runs(descents):
    setup = descents.design.setup(1)
    problems = [setup.problem(trial) for trial in range(4)]
    words = (ff.DeepLinear(2), ff.inits.Gaussian(0.3), ff.GradientDescent(max_steps=300))
    record = ff.Record(steps=np.arange(301), product=True)
    runs = ff.train(problems, *words, runs=2, threads=1, record=record)
    chosen = np.arange(4) * 2 + np.argmin(runs.loss.reshape(4, 2), axis=1)
    values = np.linalg.svd(runs.solution[chosen], compute_uv=False)
    p = values / values.sum(axis=1, keepdims=True)
    expected = {
        "effective_rank": values.sum(axis=1) / values[:, 0],
        "numerical_rank": np.linalg.matrix_rank(runs.solution[chosen]),
        "determinant_sign": np.sign(np.linalg.det(runs.solution[chosen])),
        "entropy_rank": np.exp(-np.sum(p * np.log(p), axis=1)),
        "stable_rank": np.sum(values**2, axis=1) / values[:, 0] ** 2,
        "nuclear_norm": values.sum(axis=1),
        "spectral_norm": values[:, 0],
        "frobenius_norm": np.sqrt(np.sum(values**2, axis=1)),
        "balancedness": ff.metrics.balancedness([factor[chosen] for factor in runs.factors]),
        "residual": np.sqrt(2 * runs.loss[chosen]),
        "event": [
            np.flatnonzero(loss <= 0.1)[0] if (loss <= 0.1).any() else np.nan for loss in runs.history.loss[chosen]
        ],
        "between": runs.history.loss[chosen, 10],
        "sharpness": [
            ff.theory.sharpness(problem, [factor[run] for factor in runs.factors])
            for problem, run in zip(problems, chosen, strict=True)
        ],
    }
    grid = ff.Record(steps=40).grid(300)
    expected["event"] = [grid[np.searchsorted(grid, step)] for step in expected["event"]]
    for name, wanted in expected.items():
        assert descents[name][1] == pytest.approx(np.asarray(wanted, float), rel=1e-9), name
    starts = _starts(words, problems)
    limits = [ff.theory.predicted_limit(problems[r // 2], [factor[r] for factor in starts]) for r in chosen]
    wanted = [np.linalg.norm(runs.solution[r] - limit.solution) for r, limit in zip(chosen, limits, strict=True)]
    assert descents["limit_distance"][1] == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def _starts(words, problems):
    method, record = ff.GradientDescent(max_steps=1), ff.Record(np.array([0]), factors=True)
    begun = ff.train(problems, *words[:2], method, runs=2, threads=1, record=record)
    return [factor[:, 0] for factor in begun.history.factors]


def test_limits_from_given_starts():
    """A study of stacks takes factors that are given, here unequal ones, as a single call does."""
    network, init = ff.DiagonalLinear(2, identical=False), ff.inits.Explicit([np.full(24, 0.2), np.full(24, 0.1)] * 2)
    axes = {"m": (8, 14), "init": {"given": init}}
    options = {"method": ff.FlowLimit(), "axes": axes, "trials": 2, "outcomes": ["l1_norm"]}
    study = ff.Study(Sparse(n=24, sparsity=3), network, **options)
    problems = [study.setup(1).problem(trial) for trial in range(2)]
    runs = ff.train(problems, network, init, ff.FlowLimit(), threads=1)
    assert np.array_equal(run(study)["l1_norm"][1, 0], ff.metrics.l1_norm(runs.solution))


def test_the_table_is_whole():
    assert set(VECTOR_NAMES) | set(MATRIX_NAMES) <= {measure.name for measure in MEASURES}
    assert all(measure.meaning.endswith(".") for measure in MEASURES)
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)


def test_asking_changes_no_other_bit(reference, bare):
    for name, array in bare.outcomes.items():
        assert name == "seconds" or np.array_equal(array, reference.outcomes[name], equal_nan=True), name
    plain = run(matrices(None))
    asked = run(matrices({"event": ff.Event("loss", below=0.1), "sharpness": "sharpness"}))
    for name, array in plain.outcomes.items():
        assert name == "seconds" or np.array_equal(array, asked.outcomes[name], equal_nan=True), name


def test_an_event_is_the_same_in_any_company():
    """Its moments are its own, whatever else is recorded."""
    event = ff.Event("loss", below=0.1, steps=20)
    alone = run(matrices({"event": event}))
    finer = run(matrices({"event": event, "all": ff.Event("loss", below=0.1, steps=301, spacing="linear")}))
    assert np.array_equal(alone["event"], finer["event"], equal_nan=True)
    assert np.all(finer["all"] <= finer["event"])
    assert np.any(finer["all"] < finer["event"])


@pytest.mark.parametrize("way", ["threads", "processes"])
def test_no_executor_and_no_size_of_tasks_changes_a_bit(reference, way):
    if way == "threads":
        assert same(reference, run(vectors(), threads=3, task_seconds=1e-4))
        return
    with concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        assert same(reference, vectors().run(pool, progress=False))


def test_a_store_keeps_them_grows_and_is_merged(tmp_path, reference):
    path = tmp_path / "s.zarr"
    run(vectors(trials=4, m=(14,)), store=path)
    grown = run(vectors(), store=path)
    assert same(grown, reference)
    assert grown.computed == 24 - 8
    found = ff.open_study(path)
    assert same(found, reference)
    assert found.fields == reference.fields
    shares = [tmp_path / f"{i}.zarr" for i in range(3)]
    for i, share in enumerate(shares):
        run(vectors(), store=share, shard=(i, 3))
    merged = ff.merge(shares, into=tmp_path / "merged.zarr")
    assert same(merged, reference)
    assert same(ff.open_study(tmp_path / "merged.zarr"), reference)
    assert ff.Study.from_table(found.table) == grown.design


def test_xarray_reads_what_a_store_has(tmp_path, reference):
    import xarray

    path = tmp_path / "s.zarr"
    reference.save(path)
    with xarray.open_zarr(path) as read:
        for name in ASKED:
            assert np.array_equal(read[name], reference[name], equal_nan=True), name
        assert read["pair"].dims == ("m", "init.scale", "trial", "pair_0")
        assert read["l1_norm"].attrs["long_name"].startswith("Of a vector")
        assert "outcomes_of_users:first_two" in read["pair"].attrs["long_name"]
    made = reference.to_xarray()
    assert np.array_equal(made["alpha"], reference["alpha"])
    table = reference.to_dataframe()
    assert np.array_equal(table["pair_1"], reference["pair"][..., 1].ravel())
    assert list(table["alpha_0"]) == list(reference["alpha"][..., 0].ravel())


def test_an_outcome_is_added_afterwards(tmp_path, reference, bare):
    path = tmp_path / "s.zarr"
    first = run(vectors(None), store=path)
    assert first.computed == 24
    with pytest.warns(UserWarning, match=rf"24 trials that the store has lack outcomes \({', '.join(ASKED)}\): they"):
        whole = run(vectors(), store=path)
    assert same(whole, reference)
    assert np.array_equal(whole.outcomes["seconds"], first.outcomes["seconds"])
    assert same(ff.open_study(path), reference)
    # Without it, it stays; and new trials lack it until it is asked for.
    less = run(vectors(["l1_norm"], trials=8), store=path)
    assert less.computed == 8
    assert np.isnan(less["largest"][..., 6:]).all()
    assert np.array_equal(less["largest"][..., :6], reference["largest"])
    assert np.array_equal(ff.open_study(path)["largest"], less["largest"], equal_nan=True)
    with pytest.warns(
        UserWarning, match=r"8 trials that the store has lack outcomes \(test_loss, largest, pair, alpha\)"
    ):
        again = run(vectors(trials=8), store=path)
    assert again.computed == 8
    assert same(again, run(vectors(trials=8)))


def test_an_outcome_is_added_to_an_adaptive_study(tmp_path):
    """Pilots decide again as they did, whatever decides, and where the study was left in between."""
    asked = {"l1_norm": "l1_norm", "largest": ff.Outcome(users.largest, **STATED)}
    for success in (None, ff.Success("largest", at_least=2.05)):
        study, path = vectors(asked, trials=50, success=success), tmp_path / f"{success is None}.zarr"
        whole = run(study, adaptive=True)
        assert len(np.unique(whole.trials)) > 1
        run(vectors(None, trials=50), store=path, adaptive=True)
        with pytest.warns(UserWarning, match="trials that the store has lack outcomes"):
            left = run(study, store=path, adaptive=True, max_seconds=1e-9)
        assert left.computed < whole.trials.sum()
        with pytest.warns(UserWarning, match="trials that the store has lack outcomes"):
            found = run(study, store=path, adaptive=True, threads=2, task_seconds=1e-3)
        done = whole.outcomes["status"] >= 0  # by another success the store may have more
        for name, array in whole.outcomes.items():
            assert name == "seconds" or np.array_equal(found.outcomes[name][done], array[done], equal_nan=True), name
        assert success is not None or same(found, whole)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore" if success else "error")  # of trials that its cells need no more
            assert run(study, store=path, adaptive=True).computed == 0


def test_what_is_run_again_must_come_out_the_same(tmp_path, bare):
    path = tmp_path / "s.zarr"
    forged = {name: array.copy() for name, array in bare.outcomes.items()}
    forged["loss"][0, 1, 3] *= 1 + 1e-9
    ff.StudyResult(bare.table, forged).save(path)
    with (
        pytest.warns(UserWarning, match="24 trials"),
        pytest.raises(ff.StudyError, match=r"m = 8, init.scale = 0.0001, trial 3 came to another loss") as caught,
    ):
        run(vectors(["l1_norm"]), store=path)
    assert caught.value.result.outcomes["loss"][0, 1, 3] == forged["loss"][0, 1, 3]
    assert np.array_equal(ff.open_study(path).outcomes["loss"], forged["loss"])


def test_another_version_is_another_outcome(tmp_path):
    path = tmp_path / "s.zarr"
    run(vectors({"x": ff.Outcome(users.largest, 1)}, trials=1), store=path)
    with pytest.raises(ff.StoreError, match=r"outcomes\.x\.version is 1 there and 2 here"):
        run(vectors({"x": ff.Outcome(users.largest, 2)}, trials=1), store=path)


def test_a_lost_chunk_of_an_outcome_is_found(tmp_path, reference):
    path = tmp_path / "s.zarr"
    run(vectors(), store=path)
    next((path / "pair").rglob("c/0/0/0/0")).unlink()
    with pytest.raises(ff.StoreError, match="is missing, or older than the status"):
        ff.open_study(path)
    assert same(run(vectors(), store=path, repair=True), reference)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (users.raises, {}, r"the outcome 'x': trial 2: ZeroDivisionError: no such number"),
        (
            users.has_another_shape,
            STATED,
            r"the outcome 'x': trial 0: ValueError: it gives an array of shape \(24,\), not",
        ),
        (users.is_complex, STATED, "the outcome 'x': trial 0: TypeError: it gives complex128, not float64"),
        (
            users.is_a_fraction,
            {"shape": (), "dtype": "int64"},
            "the outcome 'x': trial 0: TypeError: it gives float64, not int64",
        ),
        (users.misspells, STATED, "AttributeError: a trial has no 'solutions'; it has number, solution, truth, loss, "),
        (
            users.looks_back,
            STATED,
            r"ValueError: nothing was recorded: ask for it, as in Outcome\(function, version, hist",
        ),
        (users.writes, STATED, "the outcome 'x': trial 0: ValueError: assignment destination is read-only"),
    ],
)
def test_an_outcome_that_fails_is_named_and_takes_nothing_along(function, options, message, bare, tmp_path):
    path = tmp_path / "s.zarr"
    study = vectors({"x": ff.Outcome(function, **options), "l1_norm": "l1_norm"})
    with pytest.raises(ff.StudyError, match=message):
        run(study, store=path)
    with pytest.warns(UserWarning, match=r"of this run have no outcome 'x'; the first: .*the outcome 'x'"):
        result = run(study, store=path, on_error="record")
    assert result.complete
    assert np.isnan(result["x"]).any()
    for name, array in bare.outcomes.items():
        assert name == "seconds" or np.array_equal(array, result.outcomes[name], equal_nan=True), name
    assert not np.isnan(result["l1_norm"]).any()
    assert run(study, store=path).computed == 0  # none is the outcome, for good


@pytest.mark.filterwarnings("ignore:.*have no outcome 'whole'")
def test_what_nobody_states_the_first_trial_tells(tmp_path):
    """Shares, resumed studies, sizes of tasks and processes agree on it; stating it changes no bit."""
    unstated = {"pair": ff.Outcome(users.first_two), "whole": users.whole_or_nan, "largest": users.largest}
    found = run(vectors(unstated))
    assert {label: (found.fields[label].dtype, found.fields[label].shape) for label in unstated} == {
        "pair": ("int64", (2,)),
        "whole": ("int64", ()),
        "largest": ("float64", ()),
    }
    assert np.array_equal(found["whole"][1, 1], [0, np.nan, 2, np.nan, 4, np.nan], equal_nan=True)
    pair = ff.Outcome(users.first_two, shape=(2,), dtype="int64")
    assert same(found, run(vectors({**unstated, "pair": pair}), threads=2, task_seconds=1e-4))
    shares = [tmp_path / f"{i}.zarr" for i in range(3)]
    for i, share in enumerate(shares):
        run(vectors(unstated, trials=2), store=share, shard=(i, 3))
    path = tmp_path / "s.zarr"
    assert ff.merge(shares, into=path).table == run(vectors(unstated, trials=2)).table
    assert same(run(vectors(unstated), store=path), found)
    # A store that has other numbers than the function gives today is asked, not the function.
    run(vectors({"x": ff.Outcome(users.largest, shape=(), dtype="float32")}, trials=1), store=tmp_path / "x.zarr")
    assert run(vectors({"x": users.largest}, trials=2), store=tmp_path / "x.zarr")["x"].dtype == np.float32


def test_trials_without_an_outcome_do_not_tell_what_it_is():
    words = (LowRank(n=3, rank=1, observed="estimation"), ff.DeepLinear(2), ff.inits.Gaussian(0.5))
    axes, asked = {"step": (10.0, 1e-2)}, {"x": users.of_some}
    study = ff.Study(*words, ff.GradientDescent(max_steps=200), axes=axes, trials=3, outcomes=asked)
    with pytest.warns(UserWarning, match="have no outcome 'x'; the first: step = 0.01, trial 0: .* no such array"):
        found = run(study, on_error="record")
    assert (found.fields["x"].dtype, found.fields["x"].shape) == ("float32", (2,))
    assert np.isnan(found["x"][0]).all()  # they diverged
    assert np.array_equal(found["x"][1, 1:, 0], [1, 2])
    with pytest.raises(ff.StudyError, match=r"step = 0.01, trial 0.*: the outcome 'x': trial 0: ZeroDivisionError"):
        run(study)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (users.is_none, {}, r"m = 8, init.scale = 0.01, trial 0: the outcome 'x': trial 0: TypeError: it gives None"),
        (users.is_complex, {}, r"trial 0: the outcome 'x': trial 0: TypeError: it gives complex128, which is no real"),
        (
            users.is_none,
            {"on_error": "record"},
            "no trial of the first 8 has told what the outcome 'x' is, since m = 8,",
        ),
        (
            users.thinks_for_a_second,
            {"max_seconds": 1e-9},
            "time was up before the first trial, m = 8, init.scale = 0.01, had told",
        ),
        (users.as_many_as_measurements, {}, r"m = 14, .* it gives an array of shape \(14,\), not \(8,\)"),
    ],
)
def test_what_no_trial_tells_is_named(function, options, message):
    with pytest.raises(ff.StudyError, match=message) as caught:
        run(vectors({"x": function}), **options)
    assert not caught.value.result.complete


def test_an_array_decides_about_no_success():
    with pytest.raises(ValueError, match=r"success is by 'x', of which each trial has an array \(2,\), no number"):
        run(vectors({"x": users.first_two}, success=ff.Success("x", below=1.0)))
    found = run(vectors({"x": users.largest}, success=ff.Success("x", below=1.0)))
    assert np.array_equal(found.successes, np.sum(found["x"] <= 1, axis=-1))


def test_nan_is_kept_and_told():
    with pytest.warns(
        UserWarning, match=r"4 trials of this run have no outcome 'x'; .*, trial 1: the outcome 'x' is NaN"
    ):
        result = run(vectors({"x": users.is_nan}))
    assert np.array_equal(np.isnan(result["x"]), np.broadcast_to(np.arange(6) == 1, (2, 2, 6)))


def test_a_function_that_a_worker_cannot_import_is_named():
    asked = Outcome(users.largest)
    sent = pickle.loads(pickle.dumps(asked))
    assert sent == asked
    sent.title = "no_such_module:largest"
    study = vectors({"x": sent})
    with pytest.raises(
        ff.StudyError, match=r"the outcome 'x': no_such_module:largest cannot be imported here: No module"
    ):
        run(study, on_error="record")


def test_trials_that_diverge_have_none():
    words = (LowRank(n=3, rank=1, observed="estimation"), ff.DeepLinear(2), ff.inits.Gaussian(0.5))
    asked = {"norm": "nuclear_norm", "x": ff.Outcome(users.first_two, shape=(2,), dtype="int64"), "s": "sharpness"}
    axes = {"step": (1e-2, 10.0)}
    result = run(ff.Study(*words, ff.GradientDescent(max_steps=200), axes=axes, trials=3, outcomes=asked))
    lost = result.outcomes["status"] == ff.Status.DIVERGED
    assert np.array_equal(lost, [[False] * 3, [True] * 3])
    assert np.array_equal(np.isnan(result["norm"]), lost)
    assert np.array_equal(np.isnan(result["s"]), lost)
    assert np.isnan(ff.theory.sharpness(ff.MatrixEstimation(np.eye(3)), [1e200 * np.eye(3)] * 2))
    assert np.array_equal(np.isnan(result["x"]).all(axis=-1), lost)
    assert not result.with_success(ff.Success("norm", at_least=0)).successes[1]


def test_events_at_other_steps_in_the_midst_of_many():
    """Steps that differ where an array of them is printed as dots are different steps."""
    even, odd = np.arange(0, 4000, 2), np.arange(0, 4000, 2)
    odd[1000] += 1
    asked = {"even": ff.Event("loss", below=1, steps=even), "odd": ff.Event("loss", below=1, steps=odd)}
    record = record_for(as_asked(asked), ff.GradientDescent(max_steps=4000))
    assert record.steps.tolist() == np.union1d(even, odd).tolist()


def test_success_on_any_outcome(reference, tmp_path):
    found = reference.with_success(ff.Success("l1_norm", below=2.0, at_least=1.0))
    between = (reference["l1_norm"] >= 1) & (reference["l1_norm"] <= 2)
    assert np.array_equal(found.successes, between.sum(axis=-1))
    assert ff.Success("relative_error", 1e-2) == ff.Success("error", below=1e-2)
    judged = reference.with_success(ff.Success(users.of_two, version=1))
    expected = (reference["error"] <= 1e-2) | (reference["largest"] < 1)
    assert np.array_equal(judged.successes, expected.sum(axis=-1))
    path = tmp_path / "s.zarr"
    judged.save(path)
    assert np.array_equal(ff.open_study(path).successes, judged.successes)
    for success, message in (
        (ff.Success("sharpness"), "success is by 'sharpness', which is no outcome of the study"),
        (ff.Success("alpha"), r"each trial has an array \(3,\), no number"),
    ):
        with pytest.raises(ValueError, match=message):
            reference.with_success(success)
        with pytest.raises(ValueError, match=message):
            vectors(success=success)


def test_a_strangers_code_is_not_imported(reference, tmp_path):
    from fastflow.studies.spec import success_of

    table = dict(reference.table)
    table["outcomes"] = {**table["outcomes"], "largest": {**table["outcomes"]["largest"], "function": "nobody_s:code"}}
    ff.StudyResult(table, reference.outcomes).save(tmp_path / "s.zarr")
    found = ff.open_study(tmp_path / "s.zarr")
    assert np.array_equal(found["largest"], reference["largest"])
    with pytest.raises(ValueError, match="the study names code outside of fastflow, 'nobody_s:code'"):
        _ = found.design
    success = success_of({"success": {"kind": "Success", "function": "nobody_s:judge", "version": 1}})
    with pytest.raises(ValueError, match="success is decided by nobody_s:judge, code of the store"):
        success.of(reference.outcomes)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: vectors(["effective_rank"]),
            r"m = 8, init.scale = 0.01: solutions of shape .* of a Diagonal",
        ),
        (lambda: vectors(["no_such"]), "an outcome must be one of 'l1_norm'"),
        (lambda: vectors({"loss": "l1_norm"}), "cannot be called 'loss'"),
        (lambda: vectors({"a b": "l1_norm"}), "must be called by letters"),
        (lambda: vectors({"m": "l1_norm"}), "the outcome 'm' has the name of an axis"),
        (lambda: vectors(["l1_norm", "l1_norm"]), "two outcomes would be called 'l1_norm'"),
        (lambda: vectors([lambda trial: 1.0]), "at the top level of a module"),
        (lambda: vectors({"e": ff.Event("loss", below=1)}), "FlowLimit has no history"),
        (lambda: vectors({"x": ff.Outcome(users.largest, shape=(1000,))}), "each of shape must be at most 256"),
        (lambda: vectors({"x": ff.Outcome(users.largest, dtype="complex128")}), "dtype must be one of"),
        (lambda: ff.Event("loss"), "needs one of below="),
        (lambda: vectors(["period"]), "the outcome 'period' needs a method that takes at least 31 steps"),
        (
            lambda: ff.Study(Sparse(8, sparsity=1), axes={"m": (4,)}, outcomes=["test_loss"]),
            r"needs measurements that are held out, such as Sparse\(\.\.\., test=1000\)",
        ),
        (
            lambda: ff.Study(
                Sparse(8, sparsity=1), method=ff.baselines.LeastNorm(), axes={"m": (4,)}, outcomes=["sharpness"]
            ),
            "needs factors and a start, which a baseline has not",
        ),
    ],
)
def test_what_cannot_be_had_is_refused_before_any_work(ask, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ask()


def test_baselines_give_outcomes_of_their_solution():
    methods = {"least norm": ff.baselines.LeastNorm(), "pursuit": ff.baselines.BasisPursuit()}
    ensemble = Sparse(n=8, m=4, sparsity=1, test=5)
    study = ff.Study(ensemble, method=None, axes={"method": methods}, trials=3, outcomes=[*VECTOR_NAMES, "test_loss"])
    result = run(study)
    problems = [study.setup(0).problem(trial) for trial in range(3)]
    solutions = [ff.baselines.least_norm(problem.matrix, problem.values) for problem in problems]
    assert np.array_equal(result["l1_norm"][0], [np.abs(x).sum() for x in solutions])
    assert np.all(result["l1_norm"][1] <= result["l1_norm"][0] + 1e-12)
    assert np.all(result["test_loss"] >= 0)


@pytest.mark.parametrize(
    ("ensemble", "held_out"),
    [
        (Regression(n=4, samples=6, outputs=2, noise=0.1, test=7), 7),
        (LowRank(n=4, rank=1, m=6, test=7), 7),
        (LowRank(n=4, rank=1, m=6, observed="completion", test=7), 7),
        (Autoencoder(n=4, samples=40, rank=2, spectrum=[3.0, 1.0], noise=0.1, test=50), 50),
        (Custom(users.draws, 1, test=users.draws_more), 7),
    ],
)
def test_what_is_held_out_is_of_the_same_unknown(ensemble, held_out):
    rng = np.random.default_rng(0)
    problem = ensemble.draw(rng)
    test = ensemble.draw_test(np.random.default_rng(1), problem, np.random.default_rng(0))
    assert np.array_equal(test.truth, problem.truth)
    outputs = {Regression: 2, Autoencoder: 4}
    assert test.residual_count == held_out * outputs.get(type(ensemble), 1)
    exact = np.sqrt(test.loss(test.truth))
    assert exact == pytest.approx(0.1, rel=0.5) if getattr(ensemble, "noise", 0) else exact < 1e-12
    if isinstance(problem, ff.MatrixCompletion):
        seen = set(zip(problem.rows.tolist(), problem.cols.tolist(), strict=True))
        assert not seen & set(zip(test.rows.tolist(), test.cols.tolist(), strict=True))


def test_a_function_draws_what_is_held_out_of_a_custom_ensemble(tmp_path):
    """It changes nothing else, is part of a store's study, and is named where it fails."""

    def study(test, outcomes=("test_loss",)):
        custom = Custom(users.draws, 1, **({} if test is None else {"test": test}))
        return ff.Study(custom, method=ff.baselines.LeastNorm(), axes={"m": (4, 6)}, trials=3, outcomes=outcomes)

    result, path = run(study(users.draws_more)), tmp_path / "s.zarr"
    setup = result.design.setup(1)
    for trial in range(3):
        problem, test = setup.problem(trial), setup.test(trial)
        solution = ff.baselines.least_norm(problem.matrix, problem.values)
        expected = np.mean((test.matrix @ solution - test.values) ** 2)
        assert result["test_loss"][1, trial] == pytest.approx(expected, rel=1e-9)
    plain = run(study(None, ()))
    assert np.array_equal(plain["error"], result["error"])
    result.save(path)
    assert ff.Study.from_table(ff.open_study(path).table) == study(users.draws_more)
    with pytest.raises(
        ff.StoreError, match=r"ensemble.test is 'outcomes_of_users:draws_more' there and .*too_much' here"
    ):
        run(study(users.draws_too_much), store=path)
    with pytest.raises(ff.StudyError, match="outcomes_of_users:draws_too_much must return a problem whose unknown has"):
        run(study(users.draws_too_much))
    table = study(users.draws_more).describe()
    table["ensemble"]["test"] = "nobody_s:code"
    with pytest.raises(ValueError, match="the study names code outside of fastflow, 'nobody_s:code'"):
        ff.Study.from_table(table)
    with pytest.raises(ValueError, match=r"or those of a function, Custom\(\.\.\., test=function\)"):
        study(None)


def test_quantiles_are_order_statistics(rng):
    """Of 19 trials the median lies between the 5th and the 15th with probability 98%, of the 6th to 14th 93.6%."""
    values = rng.permutation(np.arange(1.0, 20))
    found = quantiles(values, 0.5)
    assert (found.value, found.low, found.high) == (10, 5, 15)
    short = quantiles([1.0, 2.0, np.nan], [0.5, 1.0])
    assert np.array_equal(short.value, [1.5, 2])
    assert np.array_equal(short.low, [-np.inf, 2])
    assert np.array_equal(short.high, [np.inf, np.inf])
    assert np.isnan(quantiles([np.nan], 0.5).value)
    draws = quantiles(rng.random((2000, 30)), 0.3)
    held = np.mean((draws.low <= 0.3) & (draws.high >= 0.3))
    assert held >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / 2000)


def test_pictures_of_outcomes(reference):
    for options in ({}, {"along": "init.scale"}):
        reference.plot("l1_norm", **options).canvas.draw()
    with pytest.raises(ValueError, match="kind must be one of"):
        reference.plot("alpha")


def test_outcomes_in_files():
    table = vectors(["l1_norm"]).describe()
    table["outcomes"] = ["l1_norm", {"function": "outcomes_of_users:largest", "version": 3}]
    study = ff.Study.from_table(table)
    assert study.asked["largest"] == ff.Outcome(users.largest, 3)
    table["outcomes"] = {"x": {"function": "nobody_s:code"}}
    with pytest.raises(ValueError, match="the study names code outside of fastflow, 'nobody_s:code'"):
        ff.Study.from_table(table)


def test_integers_have_a_none_of_their_own():
    field = ff.Outcome(users.first_two, shape=(), dtype="int8").field
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arrays = {"status": np.array([-1, 1, 1], np.int8), "x": np.array([field.fill, field.none, 5], np.int8)}
        assert np.array_equal(numbers_of(arrays, "x", field), [np.nan, np.nan, 5], equal_nan=True)
    assert {measure.needs for measure in MEASURES} == set(Needs)
