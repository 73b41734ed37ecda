"""Shares of cells and of trials, what joins them in the shell, and what is told of a study that runs for long."""

from __future__ import annotations

import logging
import os
import sys

import numpy as np
import pytest

import fastflow as ff
from fastflow import journal, shell
from fastflow.studies.locks import locked
from fastflow.studies.outcomes import FIELDS

BITS = tuple(name for name in FIELDS if name != "seconds")

STUDY = """
trials = 5
ensemble = { kind = "Sparse", n = 12, sparsity = 2 }
method = { kind = "BasisPursuit" }
[axes]
m = [6, 9]
"""


def study(trials=5, **options):
    ensemble = ff.ensembles.Sparse(n=12, sparsity=2)
    return ff.Study(ensemble, method=ff.baselines.BasisPursuit(), axes={"m": [6, 9]}, trials=trials, **options)


def same_bits(first, second):
    return all(np.array_equal(first.outcomes[name], second.outcomes[name], equal_nan=True) for name in BITS)


@pytest.fixture(scope="module")
def reference():
    return study().run(threads=1, progress=False)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with the study in a file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


@pytest.mark.parametrize("shares", [1, 2, 3, 7, 10])
def test_shares_split_trials_where_they_are_more_than_the_cells(reference, shares):
    parts = [study().run(threads=1, shard=(i, shares), progress=False) for i in range(shares)]
    assert np.array_equal(sum(part.done.astype(int) for part in parts), np.ones((2, 5)))
    counts = [int(part.done.sum()) for part in parts]
    assert max(counts) - min(counts) <= (5 if shares == 1 else 5 - 5 // 2)
    for part in parts:
        assert part.left == 0
        for name in BITS:
            assert np.array_equal(part.outcomes[name][part.done], reference.outcomes[name][part.done], equal_nan=True)


def test_shares_that_there_cannot_be():
    with pytest.raises(ValueError, match="2 cells of 5 trials make no 11 shares"):
        study().run(shard=(0, 11))
    with pytest.raises(ValueError, match="make no 3 shares of an adaptive study"):
        study(trials=50).run(shard=(0, 3), adaptive=True)


def test_the_shell_merges_shares_of_which_none_draws_a_picture(here, capsys, reference):
    for i in range(4):
        assert shell.main(["study", "study.toml", "--shard", f"{i}/4", "--out", f"part{i}", "--threads", ""]) == 0
    assert not [name for name in os.listdir() if name.endswith(".png")]
    assert shell.main(["merge", "part0.zarr", "part2.zarr", "--out", "some"]) == 3
    assert "trials are in none of these stores" in capsys.readouterr().out
    assert shell.main(["merge", *(f"part{i}.zarr" for i in range(4)), "part1.zarr", "--out", "all"]) == 0
    assert same_bits(ff.open_study("all.zarr"), reference)
    assert os.path.exists("all.png")
    assert "10 of 10 trials done" in capsys.readouterr().out
    assert shell.main(["merge", "part0.zarr", "--out", "all"]) == 2
    assert "all.zarr exists" in capsys.readouterr().err


def test_stores_that_disagree_are_not_merged(tmp_path, reference):
    reference.save(tmp_path / "a")
    other = reference.sel(m=slice(None, None))
    other.outcomes["error"][1, 2] += 1e-300 + other.outcomes["error"][1, 2]
    other.save(tmp_path / "b")
    with pytest.raises(ff.StoreError, match="has another error than the others for some of the same trials"):
        ff.merge([tmp_path / "a", tmp_path / "b"])


def test_a_study_that_its_time_ended_has_an_exit_code_of_its_own(here, capsys):
    assert shell.main(["study", "study.toml", "--max-seconds", "1e-9", "--threads", "1"]) == shell.INCOMPLETE == 3
    assert "10 trials are left: --resume goes on from" in capsys.readouterr().out
    assert shell.main(["study", "study.toml", "--resume", "--threads", "1"]) == 0


def test_status_says_how_a_store_stands(here, capsys):
    study(trials=3).run(store="some.zarr", threads=1, progress=False)
    assert shell.main(["study", "--status", "some.zarr"]) == 0
    output = capsys.readouterr().out
    assert "6 of 6 trials done" in output
    assert "100% of 6 trials; last written" in output
    assert "nobody is writing" in output
    with locked((here / "some.zarr").resolve()):
        assert shell.main(["study", "--status", "some.zarr"]) == 0
    assert f"process {os.getpid()} on" in capsys.readouterr().out
    (here / "some.zarr.lock").write_text("process 999999999 on " + os.uname().nodename)
    assert shell.main(["study", "--status", "some.zarr"]) == 0
    assert "nobody is writing" in capsys.readouterr().out  # it was killed
    for wrong in (["study", "--status", "some.zarr", "study.toml"], ["study"]):
        assert shell.main(wrong) == 2


def test_a_line_from_time_to_time_where_there_is_no_terminal(caplog, monkeypatch):
    monkeypatch.setattr(journal, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO, "fastflow"):
        study().run(threads=1, progress=False)
        assert not caplog.records
        study().run(threads=1)
        ff.train(ff.MatrixEstimation([[1.0]]), ff.DeepLinear(1), runs=3, threads=1)
    first, *_, last = [line for line in caplog.messages if "trials" in line]
    assert "of 10 trials done" in first
    assert caplog.messages[-1].startswith("3 of 3 runs done")
    assert last.startswith("10 of 10 trials done")
    assert last.endswith("about 0 s left; 0 failed or diverged")


def test_the_first_lines_come_soon(caplog, monkeypatch):
    """After 10 s, and 20 and 40 more, then once a minute; before anything is done there is no rate."""
    clock = [0.0]
    monkeypatch.setattr(journal.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    told, said = [], journal.Journal(None, "studies", "trial")
    with caplog.at_level(logging.INFO, "fastflow"):
        for second in range(200):
            clock[0] = float(second)
            if said.is_due:
                told.append(second)
                said.tell(max(second - 10, 0), max(second - 10, 0), 100)
    assert told == [10, 30, 70, 130, 190]
    assert caplog.messages[0] == "0 of 100 trials done after 10 s"
    assert caplog.messages[1] == "20 of 120 trials done, 1 a second, about 100 s left"


def test_the_shell_prints_these_lines(here, capsys, monkeypatch):
    monkeypatch.setattr(journal, "EVERY_SECONDS", 0.0)
    assert shell.main(["study", "study.toml", "--threads", "1"]) == 0
    assert "10 of 10 trials done" in capsys.readouterr().err
    assert not logging.getLogger("fastflow").handlers


def test_cells_that_are_partly_done_are_counted(reference):
    """Their rates lean to fast trials, where time ended the run."""
    assert reference.partly_done == 0
    assert "partly done" not in reference.summary()
    stopped = reference.sel(m=slice(None, None))
    for values in stopped.outcomes.values():
        values[1, 3:] = -1
    assert stopped.partly_done == 1
    assert "1 cells are partly done; where time or an interrupt ended the run" in stopped.summary()
