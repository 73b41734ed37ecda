"""Histories of more than memory should hold lie in a file: the same numbers, and nothing is left of the file."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import tracemalloc
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

import fastflow as ff
from fastflow import mapping, memory, scheduling
from fastflow.results import archives

MATRIX = ff.MatrixEstimation(np.diag([2.0, 1.0, -1.0]), truth=np.eye(3))
VECTOR = ff.CompressedSensing([[1.0, 2.0, -1.0], [0.5, 1.0, 3.0]], [1.0, 2.0])
STEPS, TIMES = range(0, 40, 4), [0.0, 0.5, 1.0]
SETTINGS = {
    "descent": (MATRIX, ff.DeepLinear(2), ff.inits.Gaussian(0.1), ff.GradientDescent(0.1, 40), {"steps": STEPS}),
    "flow of layers": (MATRIX, ff.DeepLinear(2), ff.inits.Gaussian(0.1), ff.GradientFlow(TIMES), {}),
    "dual flow": (VECTOR, ff.DiagonalLinear(2), ff.inits.Gaussian(0.1), ff.GradientFlow(TIMES), {}),
    "flow of the product": (MATRIX, ff.DeepLinear(2), ff.inits.Balanced(0.1), ff.ProductFlow(TIMES), {}),
}
LINUX = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="a process's files can be read on Linux alone")


def train(setting, **where):
    problem, network, init, method, steps = SETTINGS[setting]
    with_factors = {"factors": setting != "flow of the product"}
    record = ff.Record(**steps, **where, product=True, **with_factors)
    return ff.train(problem, network, init, method, 5, record=record, threads=2, progress=False)


def mapped(folder):
    """The files of a folder that this process has mapped, deleted ones included."""
    gc.collect()
    return [line for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line]


@LINUX
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_file_holds_the_same_numbers_and_is_gone(setting, tmp_path):
    expected, found = train(setting), train(setting, folder=tmp_path)
    assert found.history == expected.history
    assert all(type(getattr(found.history, name)) in (np.ndarray, list) for name in found.history.recorded)
    assert mapped(tmp_path)
    assert not list(tmp_path.iterdir())  # it has no name
    loss = found.history.loss
    del found
    assert mapped(tmp_path)
    np.testing.assert_array_equal(loss, expected.history.loss)
    del loss
    assert not mapped(tmp_path)


@LINUX
def test_what_is_more_than_a_share_of_memory_lies_in_a_file(tmp_path, monkeypatch):
    """Also where a file of these runs is read."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    expected = train("descent")
    assert not mapped(tmp_path)
    path = expected.save(tmp_path / "runs.npz")
    monkeypatch.setattr(mapping, "SHARE", 1e-9)
    found = train("descent")
    assert mapped(tmp_path)
    assert found.history == expected.history
    del found
    assert not mapped(tmp_path)
    loaded = ff.load(path)
    assert mapped(tmp_path)
    assert loaded == expected
    monkeypatch.setattr(memory, "available_memory", lambda: 100)
    monkeypatch.setattr(memory, "UNASKED", 0)
    with pytest.raises(MemoryError, match=r"results of 5 runs would take .* take fewer runs, or record less"):
        train("descent", folder=tmp_path)
    with pytest.raises(MemoryError, match="reading the arrays"):
        ff.load(path)


def test_an_interrupted_call_keeps_its_file_and_goes_on(tmp_path, monkeypatch):
    problem, network, init, _, _ = SETTINGS["descent"]
    record = ff.Record(STEPS, folder=tmp_path)
    expected = train("descent")

    def until(steps, start):
        method = ff.GradientDescent(0.1, steps, tol=0)
        return ff.train(problem, network, start, method, None if start is not init else 5, record=record)

    half = until(20, init)
    rest = until(40, half.last)
    np.testing.assert_array_equal(half.history.loss[:, :5], expected.history.loss[:, :5])
    np.testing.assert_array_equal(rest.history.loss[:, 5:], expected.history.loss[:, 5:])

    def interrupted(worker, count, on_poll):
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduling, "run_workers", interrupted)
    with pytest.raises(ff.Interrupted) as caught:
        until(40, half.last)
    assert np.isnan(caught.value.runs.history.loss).all()
    assert not list(tmp_path.iterdir())


def test_saving_makes_no_second_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "PIECE", 2**20)
    runs = ff.train(
        ff.MatrixEstimation(np.eye(40)), ff.DeepLinear(widths=(40, 5, 40)), ff.inits.Gaussian(0.1),
        ff.GradientDescent(0.1, 60), 60, record=ff.Record(range(60), factors=True, folder=tmp_path), progress=False,
    )  # fmt: skip
    size = sum(factor.nbytes for factor in runs.history.factors)
    tracemalloc.start()
    try:
        path = runs.save(tmp_path / "runs.npz")
        assert tracemalloc.get_traced_memory()[1] < 0.7 * size, size
    finally:
        tracemalloc.stop()
    assert ff.load(path) == runs


Usage = namedtuple("Usage", "total used free")


def test_a_full_disk_is_told_at_the_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(type(SETTINGS["descent"][2]), "fill", lambda *_: pytest.fail("starts were drawn"))
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda folder: Usage(10**6, 10**6, 99))
        with pytest.raises(MemoryError, match=r"the disk of .* only 99 B more; take fewer runs, .* Record\(folder="):
            train("descent", folder=tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(mapping, "_write_nan", full)
    with pytest.raises(MemoryError, match=r"only less \(No space left on device\) more"):
        train("descent", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_disk_in_memory_is_memory(tmp_path, monkeypatch):
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "mounts").write_text(f"dev / ext4 rw 0 0\nnone {tmp_path.resolve()} tmpfs rw 0 0\n")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "UNASKED", 0)
    assert mapping._lies_in_memory(tmp_path / "self")
    assert not mapping._lies_in_memory(Path("/"))
    (tmp_path / "meminfo").write_text("MemAvailable: 8 kB\n")
    with pytest.raises(MemoryError, match="lies in memory, too"):
        train("descent", folder=tmp_path)


@pytest.mark.parametrize(("folder", "error"), [("none/such", ValueError), ("x\0y", ValueError), (3, TypeError)])
def test_a_folder_is_one(folder, error):
    with pytest.raises(error, match="folder must be the path of a folder"):
        ff.Record(folder=folder)


def test_a_record_says_its_folder(tmp_path):
    record = ff.Record(3, folder=str(tmp_path))
    assert repr(record) == f"Record(steps=3, spacing='log', folder={str(tmp_path)!r})"
    assert record.with_product().folder == tmp_path
    assert record != ff.Record(3)


@LINUX
def test_ctrl_c_while_starts_are_drawn_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(SETTINGS["descent"][2]), "fill", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        train("descent", folder=tmp_path)
    assert type(caught.value) is KeyboardInterrupt  # nothing was done that Interrupted could have
    del caught
    assert not list(tmp_path.iterdir())
    assert not mapped(tmp_path)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_ctrl_c_while_saving_leaves_the_file_that_was_there(moment, tmp_path, monkeypatch):
    first, second = train("descent"), train("flow of layers")
    path = first.save(tmp_path / "runs")
    before = path.read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync") if moment == "fsync" else (Path, "replace")), interrupted)
        with pytest.raises(KeyboardInterrupt):
            second.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert ff.load(second.save(path)) == second
