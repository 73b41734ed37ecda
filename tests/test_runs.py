"""Runs: what a result says of itself, and that it comes back from a file as it was."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import fastflow as ff
from fastflow.results import files
from fastflow.results import runs as of_runs
from fastflow.status import Status

RECORD = ff.Record(steps=20, product=True, factors=True)


@pytest.fixture
def runs(make_problem, rng):
    """Twelve runs with everything recorded, of which some converge."""
    problem = make_problem("completion", (4, 3), rng.standard_normal((4, 3)))
    method = ff.GradientDescent(max_steps=300, tol=1e-2)
    return ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.1), method, 12, record=RECORD)


@pytest.fixture
def plain(make_problem):
    """Three runs with nothing recorded and no truth."""
    return ff.train(make_problem("estimation", (3, 3)), runs=3, method=ff.GradientDescent(max_steps=20))


def assert_equal(first, second):
    """Everything that a result holds."""
    for name in ("solution", "loss", "status", "steps", "step", "error", "problem_index", "run_index", "flat_factors"):
        ours, theirs = getattr(first, name), getattr(second, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs, name)
    for name in ("widths", "seconds", "threads", "flops", "description"):
        assert getattr(first, name) == getattr(second, name)
    assert (first.history is None) == (second.history is None)
    if first.history is not None:
        np.testing.assert_array_equal(first.history.steps, second.history.steps)
        assert first.history.recorded == second.history.recorded
        for name in first.history.recorded:
            ours, theirs = getattr(first.history, name), getattr(second.history, name)
            for a, b in zip(ours, theirs, strict=True) if name == "factors" else [(ours, theirs)]:
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b, name)


def test_save_and_load_with_everything(runs, tmp_path):
    path = runs.save(tmp_path / "result.npz")
    assert path == tmp_path / "result.npz"
    loaded = ff.load(path)
    assert_equal(runs, loaded)
    assert loaded.summary() == runs.summary()
    assert_equal(runs, ff.Runs.load(str(path)))


def test_save_and_load_without_a_history(plain, tmp_path):
    path = plain.save(str(tmp_path / "plain"))
    assert path == tmp_path / "plain.npz"
    assert_equal(plain, ff.load(path))


def test_save_and_load_float32_and_diverged(tmp_path):
    problem = ff.MatrixEstimation([[1.0]])
    runs = ff.train(
        problem,
        ff.DeepLinear(2),
        ff.inits.Explicit([[[[5.0]], [[0.5]]]] * 2),
        ff.GradientDescent(step=np.full(30, 1.0)),
        dtype=np.float32,
        record=RECORD,
    )
    assert runs.status[0] == Status.DIVERGED
    assert_equal(runs, ff.load(runs.save(tmp_path / "diverged.npz")))


def test_a_loaded_result_goes_on(runs, make_problem, tmp_path):
    loaded = ff.load(runs.save(tmp_path / "a.npz"))
    problem = make_problem("completion", (4, 3))
    method = ff.GradientDescent(max_steps=400)
    first, second = (ff.train(problem, ff.DeepLinear(2), r.last, method) for r in (runs, loaded))
    np.testing.assert_array_equal(first.flat_factors, second.flat_factors)


def test_a_file_needs_no_pickle_and_no_fastflow(runs, tmp_path):
    with np.load(runs.save(tmp_path / "a.npz"), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["solution"], runs.solution)
        np.testing.assert_array_equal(file["history_loss"], runs.history.loss)
        meta = json.loads(str(file["meta"]))
    assert tuple(meta["widths"]) == runs.widths


def test_save_appends_to_names_with_dots(plain, tmp_path):
    assert plain.save(tmp_path / "scale.1e-3").name == "scale.1e-3.npz"
    assert_equal(plain, ff.load(tmp_path / "scale.1e-3.npz"))


def test_a_save_that_fails_leaves_what_was_there(runs, plain, tmp_path, monkeypatch):
    path = plain.save(tmp_path / "a.npz")

    def half(file, arrays):
        file.write(b"half")
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_npz", half)
        with pytest.raises(OSError, match="no space left"):
            runs.save(path)
        with pytest.raises(OSError, match="no space left"):
            runs.save(tmp_path / "b.npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz"]
    assert_equal(plain, ff.load(path))
    assert_equal(runs, ff.load(runs.save(path)))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz"]


def wrong_files(folder):
    """Files that are not of fastflow, by what they are."""
    np.savez(folder / "other.npz", a=np.zeros(3))
    np.savez(folder / "format.npz", meta=np.array(json.dumps({"format": 999})))
    np.savez(folder / "meta.npz", meta=np.array("not JSON"))
    np.save(folder / "array.npy", np.zeros(3))
    (folder / "text.npz").write_text("loss,steps\n1,2\n")
    (folder / "empty.npz").write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other.npz", "not a file of fastflow runs"),
        ("format.npz", "format 999"),
        ("meta.npz", "not a file of fastflow runs"),
        ("array.npy", "not a file of fastflow runs"),
        ("text.npz", "not a file of fastflow runs"),
        ("empty.npz", "not a file of fastflow runs"),
        ("truncated.npz", "not a file of fastflow runs"),
    ],
)
def test_load_of_a_wrong_file(name, message, plain, tmp_path):
    wrong_files(tmp_path)
    whole = plain.save(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "truncated.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=message) as caught:
        ff.load(tmp_path / name)
    assert name in str(caught.value)


def test_load_of_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        ff.load(tmp_path / "nothing.npz")


def test_factors_multiply_to_the_solution(runs):
    first, second = runs.factors
    assert first.shape == (12, 3, 3)
    np.testing.assert_allclose(second @ first, runs.solution, rtol=0, atol=1e-14)
    assert len(runs) == 12


def test_summary_shows_quantiles_and_statuses(runs):
    text = runs.summary()
    lines = text.splitlines()
    assert "12 runs of DeepLinear(widths=(3, 3, 4)) on MatrixCompletion 4 x 3" in lines[0]
    assert "Gaussian(scale=0.1, of='product')" in text
    assert "GradientDescent(step=None, max_steps=300" in text
    ranks = ff.metrics.effective_rank(runs.solution)
    rows = {
        "loss": runs.loss,
        "effective rank": ranks,
        "error": runs.error,
        "steps": runs.steps,
        "step size": runs.step,
    }
    for name, values in rows.items():
        found = re.search(rf"^{name} +(\S+) +(\S+) +(\S+)$", text, re.MULTILINE)
        assert found is not None, name
        expected = np.quantile(values, (0.1, 0.5, 0.9))
        np.testing.assert_allclose([float(found[i]) for i in (1, 2, 3)], expected, rtol=1e-3)
    for status, count in runs.status_counts().items():
        assert re.search(rf"^ *{count} {status.label}: {re.escape(status.message)}$", text, re.MULTILINE)
    assert sum(runs.status_counts().values()) == 12


def test_summary_leaves_out_what_is_not_there(plain):
    text = plain.summary()
    assert not re.search(r"^error", text, re.MULTILINE)
    assert re.search(r"^loss", text, re.MULTILINE)


def test_summary_of_quantiles_over_the_runs_that_did_not_diverge():
    starts = np.array([[[5.0]], [[0.5]], [[0.6]]])
    method = ff.GradientDescent(step=np.full(30, 0.5))
    runs = ff.train(ff.MatrixEstimation([[1.0]]), ff.DeepLinear(2), ff.inits.Explicit([starts, starts]), method)
    assert runs.status_counts()[Status.DIVERGED] == 1
    text = runs.summary()
    found = re.search(r"^loss +(\S+) +(\S+) +(\S+)$", text, re.MULTILINE)
    np.testing.assert_allclose(
        [float(found[i]) for i in (1, 2, 3)], np.quantile(runs.loss[1:], (0.1, 0.5, 0.9)), rtol=1e-3
    )
    assert re.search(r"^ +1 diverged: .*smaller step", text, re.MULTILINE)


def test_summary_where_every_run_diverged():
    method = ff.GradientDescent(step=np.full(30, 0.5))
    start = ff.inits.Explicit([[[5.0]], [[5.0]]])
    text = ff.train(ff.MatrixEstimation([[1.0]]), ff.DeepLinear(2), start, method).summary()
    assert "1 diverged" in text
    assert "nan" not in text


def test_to_xarray(runs):
    pytest.importorskip("xarray")
    data = runs.to_xarray()
    assert dict(data.sizes)["run"] == 12
    for name in ("solution", "loss", "status", "steps", "error"):
        np.testing.assert_array_equal(data[name].values, getattr(runs, name))
    assert data["solution"].dims == ("run", "row", "column")
    np.testing.assert_array_equal(data["record_step"].values, runs.history.steps)
    assert data["history_singular_values"].dims == ("run", "record", "rank")
    for name in runs.history.recorded:
        if name != "factors":
            np.testing.assert_array_equal(data[f"history_{name}"].values, getattr(runs.history, name))
    for j, factor in enumerate(runs.history.factors, start=1):
        np.testing.assert_array_equal(data[f"history_factor_{j}"].values, factor)
    assert data.attrs["network"] == "DeepLinear(widths=(3, 3, 4))"
    assert data.attrs["widths"] == [3, 3, 4]
    assert data["problem"].values.tolist() == [0] * 12
    assert data["start"].values.tolist() == list(range(12))


def test_to_xarray_with_hidden_widths_of_many_sizes(make_problem):
    pytest.importorskip("xarray")
    network = ff.DeepLinear(widths=(3, 5, 2, 4))
    runs = ff.train(
        make_problem("estimation", (4, 3)), network, runs=2, method=ff.GradientDescent(max_steps=5), record=RECORD
    )
    data = runs.to_xarray()
    assert data["history_factor_2"].shape == (2, len(runs.history.steps), 2, 5)


def test_to_xarray_without_a_history(plain):
    pytest.importorskip("xarray")
    data = plain.to_xarray()
    assert not [name for name in data.variables if str(name).startswith("history")]
    assert "error" not in data


def test_what_is_printed_is_one_line_without_arrays():
    problem = ff.MatrixEstimation(np.eye(3), truth=np.eye(3))
    runs = ff.train(problem, runs=4, method=ff.GradientDescent(max_steps=5), record=ff.Record(3, product=True))
    assert repr(problem) == "MatrixEstimation(truth=<array (3, 3)>, target=<array (3, 3)>)"
    assert repr(ff.ensembles.Sparse(20, sparsity=2, matrix=np.ones((4, 20)))) == (
        "Sparse(n=20, m=4, sparsity=2, matrix=<array (4, 20)>)"
    )
    assert repr(runs.last) == "Explicit(<arrays (4, 3, 3), (4, 3, 3), (4, 3, 3)>)"
    assert repr(runs.history).startswith("<History: loss, gradient_norm, singular_values, ")
    assert repr(runs.history).endswith("error, product at 3 steps>")
    assert repr(runs) == (
        "<Runs: 4 runs of DeepLinear(widths=(3, 3, 3, 3)) on MatrixEstimation 3 x 3; 4 max steps; "
        f"median loss {np.median(runs.loss):.4g}>"
    )
    assert repr(ff.baselines.BasisPursuit(np.ones(9))) == "BasisPursuit(weights=<array (9,)>)"


def test_a_summary_measures_a_few_runs_at_a_time(monkeypatch):
    """With the same words: what it takes does not grow with the runs."""
    options = {"method": ff.GradientDescent(max_steps=20), "runs": 30}
    results = [
        ff.train(ff.MatrixEstimation(np.diag([2.0, 1.0, 0.0])), ff.DeepLinear(2), **options),
        ff.train(ff.CompressedSensing(np.eye(2, 3), [1.0, 0]), ff.DiagonalLinear(2), ff.inits.Gaussian(), **options),
    ]
    results[0].status[3] = ff.Status.DIVERGED
    whole = [runs.summary() for runs in results]
    monkeypatch.setattr(of_runs, "MEASURED_BYTES", 100)
    assert [runs.summary() for runs in results] == whole
