"""Stores: what is in them is what was computed, whatever happened on the way; what they cannot keep they say."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray
from test_studies import BITS, SPARSE, same_bits, small

import fastflow as ff
from fastflow.ensembles import Sparse
from fastflow.studies import document, driver, running, store
from fastflow.studies.locks import locked
from fastflow.studies.outcomes import FIELDS


@pytest.fixture(scope="module")
def reference():
    return small(trials=50).run(threads=2, progress=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s.zarr"


def run(study, path, **options):
    return study.run(store=path, threads=2, progress=False, **options)


def test_what_is_stored_is_what_was_computed(path, reference):
    result = run(small(trials=50), path)
    assert same_bits(result, reference)
    found = ff.open_study(path)
    assert same_bits(found, reference)
    assert np.array_equal(found.outcomes["seconds"], result.outcomes["seconds"])
    assert found.axes == reference.axes
    assert found.success == ff.Success(below=1e-2)
    assert found.design.describe() == small(trials=50).describe()
    assert sorted(p.name for p in path.parent.iterdir()) == ["s.zarr"]


def test_xarray_opens_a_store(path, reference):
    run(small(trials=50), path)
    with xarray.open_zarr(path, consolidated=False) as data:
        assert data.error.dims == ("m", "init.scale", "trial")
        assert (
            data.error.sel({"m": 14, "init.scale": 1e-4}).values.tolist() == reference.outcomes["error"][1, 1].tolist()
        )


def test_a_store_is_read_while_it_is_written(path, monkeypatch):
    """What a reader sees is done for good, and has the values of the end."""
    monkeypatch.setattr(driver, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(driver, "FLUSH_SHARE", 1.0)
    study, seen, write, noticed = small(trials=300), [], store.Store.write, threading.Event()

    def write_and_be_noticed(self, arrays, dirty):
        write(self, arrays, dirty)
        if dirty:  # else it is still being made
            noticed.wait(60)

    monkeypatch.setattr(store.Store, "write", write_and_be_noticed)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, study, path, task_seconds=0.01)
        while not running.done():
            if path.exists():
                seen.append(ff.open_study(path))
                if seen[-1].done.any():
                    noticed.set()  # of what was written first; from now on neither waits for the other
            time.sleep(0.01)
        result = running.result()
    assert result.complete
    assert any(not one.complete and one.done.any() for one in seen)
    for before, after in itertools.pairwise([*seen, result]):
        assert np.all(after.done[before.done])
        for name in FIELDS:
            assert np.array_equal(before.outcomes[name][before.done], result.outcomes[name][before.done])


def test_a_finished_study_computes_nothing_again(path, monkeypatch):
    first = run(small(), path)
    monkeypatch.setattr("fastflow.studies.executors.run_task", print)
    again = run(small(), path)
    for name in FIELDS:
        assert np.array_equal(again.outcomes[name], first.outcomes[name])


def test_it_goes_on_where_time_was_up(path, reference):
    study, rounds = small(trials=50), 0
    while not run(study, path, max_seconds=1e-6).complete and rounds < 3:
        rounds += 1
    assert same_bits(run(study, path), reference)


def test_it_grows_by_trials_values_and_axes_in_the_middle(path, reference):
    """From 20 to 50 trials, and by new values of both axes; what is there is not computed again."""
    first = run(small(trials=20, m=(8, 18), alphas=(1e-4,)), path)
    grown = run(small(trials=50), path)
    assert same_bits(grown, reference)
    assert same_bits(ff.open_study(path), reference)
    old = np.ix_((0, 2), (1,), range(20))
    assert np.array_equal(grown.outcomes["seconds"][old], first.outcomes["seconds"])


def test_a_new_success_is_kept(path):
    run(small(), path)
    study = small()
    study.success = ff.Success(below=1e-5)
    assert run(study, path).complete
    assert ff.open_study(path).success.below == 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"trials": 10}, "it has 20 trials, more than the 10 here"),
        ({"m": (8, 14)}, "it has m = 18, which is no value here"),
        ({"alphas": (1e-2, 1e-3)}, "it has init.scale = 0.0001, which is no value here"),
    ],
)
def test_another_study_is_refused_by_naming_the_difference(path, change, message):
    run(small(), path)
    with pytest.raises(ff.StoreError, match=message):
        run(small(**change), path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (Sparse(n=24, sparsity=4), ff.DiagonalLinear(2), ff.inits.Constant(), ff.FlowLimit()),
            "ensemble.sparsity is 3",
        ),
        ((SPARSE, ff.DiagonalLinear(3), ff.inits.Constant(), ff.FlowLimit()), "network.depth is 2 there and 3 here"),
        ((SPARSE, ff.DiagonalLinear(2), ff.inits.Constant(of="product"), ff.FlowLimit()), "init.of is 'factor' there"),
        ((SPARSE, ff.DiagonalLinear(2), ff.inits.Constant(), ff.FlowLimit(tol=1e-8)), "method.tol is 1e-10 there"),
    ],
)
def test_other_words_are_refused(path, words, message):
    run(small(), path)
    with pytest.raises(ff.StoreError, match=message):
        run(ff.Study(*words, axes={"m": (8, 14, 18), "init.scale": (1e-2, 1e-4)}, trials=20), path)


def test_what_is_no_store_is_refused(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    with pytest.raises(ff.StoreError, match="is not a store of a fastflow study"):
        run(small(), path)
    assert (path / "notes.txt").read_text() == "mine"
    with pytest.raises(ff.StoreError, match="there is no store"):
        ff.open_study(path.with_name("other"))


def test_shards_are_merged(tmp_path, reference):
    parts = [tmp_path / f"part{i}" for i in range(3)]
    for i, part in enumerate(parts):
        run(small(trials=50), part, shard=(i, 3))
    assert not ff.open_study(parts[0]).complete
    merged = ff.merge(parts, into=tmp_path / "all")
    assert same_bits(merged, reference)
    assert same_bits(ff.open_study(tmp_path / "all"), reference)
    with pytest.raises(ff.StoreError, match="exists already"):
        ff.merge(parts, into=tmp_path / "all")


def same_where_done(part, whole):
    """Whether what a part has done has the bits of the whole, and the rest says that it is not done."""
    return all(
        np.array_equal(part.outcomes[name][part.done], whole.outcomes[name][part.done])
        and np.all(part.outcomes[name][~part.done] == FIELDS[name][1])
        for name in BITS
    )


def test_a_share_holds_and_stores_its_own_cells_alone(path, reference):
    xarray = pytest.importorskip("xarray")
    share = run(small(trials=50), path, shard=(1, 3))
    assert share.summary().startswith("3 m x 2 init.scale = 6 cells (2 of them here), 100 of 100 trials done")
    for result in (share, ff.open_study(path)):
        assert {array.shape for array in result._own.values()} == {(2, 50)}
        assert result.trials.sum() == 100
        assert np.array_equal(result.successes, np.where(result.trials > 0, reference.successes, 0))
        assert not result.complete
        assert same_where_done(result, reference)
    with xarray.open_zarr(path, consolidated=False) as data:
        assert data.error.dims == ("cell", "trial")
        for i, cell in enumerate(data.cell.values):
            at = np.unravel_index(cell, (3, 2))
            place = reference.axes["m"][at[0]], reference.axes["init.scale"][at[1]]
            assert (data.m.values[i], data["init.scale"].values[i]) == place
            assert np.array_equal(data.error.values[i], reference.outcomes["error"][at])


def test_a_share_grows(tmp_path, reference):
    """By trials and by values of an axis, by another share, and into the whole; and a whole store takes a share."""
    path = tmp_path / "share"
    first = run(small(trials=20, m=(8, 18)), path, shard=(1, 3))
    more = run(small(trials=50), path, shard=(1, 3))
    assert np.all(more.trials[[0, 2]] >= first.trials)
    assert more.computed < more.trials.sum()
    assert same_where_done(more, reference)
    both = run(small(trials=50), path, shard=(0, 3))
    assert both._own["status"].shape[0] == np.count_nonzero(both.trials) > 2
    assert same_where_done(both, reference)
    assert ff.open_study(path).trials.tolist() == both.trials.tolist()
    whole = run(small(trials=50), path)
    assert same_bits(whole, reference)
    assert whole.computed == 300 - both.trials.sum()
    run(small(trials=50, m=(14,)), tmp_path / "whole")
    share = run(small(trials=50), tmp_path / "whole", shard=(1, 3))
    assert share._own["status"].shape == (3, 2, 50)
    assert same_where_done(share, reference)


def test_shares_of_cells_with_equal_outcomes(tmp_path):
    """A baseline, which knows nothing of depths: each share has all the cells that it has computed."""
    words = {"axes": {"method": {"limit": ff.FlowLimit(), "least": ff.baselines.LeastNorm()}, "depth": (2, 3)}}
    study = ff.Study(Sparse(n=12, m=6, sparsity=1), trials=4, **words)
    parts = [run(study, tmp_path / f"{i}", shard=(i, 3)) for i in range(3)]
    assert sum(part._own["status"].shape[0] for part in parts) == 4
    assert same_bits(ff.merge([tmp_path / f"{i}" for i in range(3)]), study.run(threads=1, progress=False))


def test_different_parts_are_merged_and_contradictions_refused(tmp_path, reference):
    one, two = tmp_path / "one", tmp_path / "two"
    run(small(trials=50, m=(14,)), one)
    run(small(trials=20, m=(8, 18)), two)
    merged = ff.merge([one, two])
    assert merged.axes["m"] == (8, 14, 18)
    assert merged.trials.tolist() == [[20, 20], [50, 50], [20, 20]]
    for name in BITS:
        assert np.array_equal(merged.outcomes[name][merged.done], reference.outcomes[name][merged.done])
    three = tmp_path / "three"
    run(small(trials=20, m=(8, 18), seed=5), three)
    with pytest.raises(ff.StoreError, match="of different studies: seed is 5 there and 0 here"):
        ff.merge([one, two, three])
    forged = ff.open_study(two)
    forged.outcomes["error"][0, 0, 3] += 1e-9
    forged.save(tmp_path / "forged")
    with pytest.raises(ff.StoreError, match="has another error than the others"):
        ff.merge([two, tmp_path / "forged"])


def damage(file, how):
    data = bytearray(file.read_bytes())
    if how == "flipped":
        data[len(data) // 2] ^= 4
    file.write_bytes(data[: len(data) // 2] if how == "truncated" else data)
    if how == "missing":
        file.unlink()


@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
@pytest.mark.parametrize("name", ["error", "status"])
def test_damage_is_found_and_repaired(path, reference, how, name):
    study = small(trials=50)
    run(study, path)
    (file,) = (path / name / "c").rglob("0/0/0")
    damage(file, how)
    for read in (lambda: ff.open_study(path), lambda: run(study, path)):
        with pytest.raises(ff.StoreError, match=rf"{name}.c.0.0.0 is (damaged|missing).*repair=True"):
            read()
    assert same_bits(run(study, path, repair=True), reference)
    assert same_bits(ff.open_study(path), reference)


def test_a_half_made_change_is_undone(path, reference):
    """A driver killed between moving the old store away and the new one in."""
    run(small(trials=50), path)
    path.rename(path.with_name(".s.zarr.fastflow-old"))
    path.with_name(".s.zarr.fastflow-new").mkdir()
    assert same_bits(run(small(trials=50), path, max_seconds=1e-9), reference)
    assert sorted(p.name for p in path.parent.iterdir()) == ["s.zarr"]


def test_two_drivers_do_not_share_a_store(path):
    with locked(path), pytest.raises(ff.StoreError, match=f"is being written by process {os.getpid()} on "):
        run(small(), path)
    assert run(small(), path).complete
    assert not path.with_name("s.zarr.lock").exists()


def test_no_room(path, reference, monkeypatch):
    """The disk is full at the third writing of a chunk: what was stored stays, and it goes on when there is room."""
    from fastflow.studies import synced

    put, calls = synced.put, []

    def full(file, data):
        calls.append(file)
        if len(calls) > 7:
            raise OSError(28, "No space left on device")
        return put(file, data)

    study = small(trials=50)
    monkeypatch.setattr(driver, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(driver, "TASK_SECONDS", 1e-3)
    with monkeypatch.context() as patch:
        patch.setattr(synced, "put", full)
        with pytest.raises(ff.StoreError, match=r"s\.zarr cannot be written: No space left on device") as caught:
            run(study, path)
    assert isinstance(caught.value.result, ff.StudyResult)
    done = ff.open_study(path).done
    assert done.any()
    assert not done.all()
    assert same_bits(run(study, path), reference)


DRIVERS = """
import os, signal, sys
import zarr
from fastflow.studies import driver
from test_studies import small
driver.FLUSH_SECONDS, driver.FLUSH_SHARE, driver.TASK_SECONDS = 0.0, 1.0, 0.002
study = small(trials=2000)
small(trials=1).run(threads=2, progress=False)

def die_after(moves, seconds):
    def count(event, arguments):
        nonlocal moves
        if event == "os.rename":
            moves -= 1
            if moves == 0:
                signal.setitimer(signal.ITIMER_PROF, seconds)
    sys.addaudithook(count)

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        moves, seconds = line.split()
        die_after(int(moves), float(seconds))
        study.run(store=sys.argv[1], threads=2, progress=False)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""A process that has compiled, and becomes a driver for each line that it is sent.

The line says after how many files moved to their places, and how much computing time after that, the driver dies: of
SIGPROF, which nobody handles and so is as sudden as SIGKILL. How busy the machine is changes neither.
"""


def test_killed_at_random_moments(path, rng):
    """20 times, and resumed each time: no trial that the store had is lost, and all have the bits of one clean run."""
    study = small(trials=2000)
    before = np.zeros((3, 2, 2000), bool)
    kept, partial, killed = {}, 0, 0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    command, pipe = [sys.executable, "-c", DRIVERS, str(path)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True, bufsize=1) as parent:
        for _ in range(20):
            parent.stdin.write(f"{rng.integers(1, 30)} {rng.uniform(1e-6, 0.02)}\n")
            code = int(parent.stdout.readline())
            assert code in (-signal.SIGPROF, 0)  # a driver that has nothing left to do ends by itself
            killed += code != 0
            if not path.exists():
                continue
            found = ff.open_study(path)
            assert np.all(found.done[before])
            for name, values in kept.items():
                assert np.array_equal(found.outcomes[name][before], values[before])
            before, kept = found.done, found.outcomes
            partial += bool(before.any() and not before.all())
    assert min(partial, killed) > 0
    assert same_bits(run(study, path), study.run(threads=2, progress=False))
    assert not list(path.parent.rglob("*.partial"))


ORPHAN = """
import os, signal, sys, time
from pathlib import Path
from fastflow.studies.locks import locked
with locked(Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        os.close(1), os.close(2)
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
"""A driver whose forked worker lives on when it is killed, as those of process pools do."""


def test_workers_that_outlive_a_driver_do_not_keep_its_lock(path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    driver = subprocess.run([sys.executable, "-c", ORPHAN, str(path)], capture_output=True, text=True, env=environment)
    assert driver.returncode == -signal.SIGKILL
    try:
        assert path.with_name("s.zarr.lock").exists()
        with locked(path):
            pass
    finally:
        os.kill(int(driver.stdout), signal.SIGKILL)


def test_a_file_system_without_locks_is_warned_about(path, monkeypatch):
    def flock(handle, how):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match="has no locks .Operation not supported.: keep other drivers off"):
        assert run(small(), path).complete


def test_a_link_has_the_lock_of_its_store(path):
    run(small(), path)
    path.with_name("link").symlink_to(path)
    with locked(path), pytest.raises(ff.StoreError, match="is being written by process"):
        run(small(), path.with_name("link"))


def test_copies_beside_a_store_are_left_alone(path):
    """Whatever they are called: s.zarr.old, s.zarr.partial."""
    run(small(), path)
    for name in ("s.zarr.old", "s.zarr.partial"):
        shutil.copytree(path, path.with_name(name))
    run(small(trials=30), path)
    for name in ("s.zarr.old", "s.zarr.partial"):
        assert ff.open_study(path.with_name(name)).complete
    assert ff.open_study(path).trials.min() == 30


@pytest.mark.parametrize("name", ["error", "status", ""])
@pytest.mark.parametrize("how", ["shape", "cut", "missing"])
def test_damaged_metadata_are_named_and_restored(path, reference, name, how):
    """Of an array, and the document itself, of which there is a copy."""
    run(small(trials=50), path)
    file = path / name / "zarr.json"
    text = file.read_text()
    if how == "missing":
        file.unlink()
    else:
        file.write_text(re.sub(r"50(\s*\])", r"10\1", text, count=1) if how == "shape" else text[:99])
        assert file.read_text() != text
    for read in (lambda: ff.open_study(path), lambda: run(small(trials=50), path)):
        with pytest.raises(ff.StoreError, match=rf"{name}/?zarr.json is damaged \(.*repair=True"):
            read()
    again = run(small(trials=50), path, repair=True)
    assert again.computed == 0
    assert same_bits(again, reference)
    assert same_bits(ff.open_study(path), reference)


def test_xarray_opens_a_store_without_a_word_and_masks_what_is_not_done(path, reference, tmp_path):
    """As users open it, whose coordinates may be texts, too; and netCDF takes what it gives."""
    study = ff.Study(
        SPARSE,
        ff.DiagonalLinear(2),
        axes={"method": {"limit": ff.FlowLimit(), "least norm": ff.baselines.LeastNorm()}, "m": (8, 14)},
        trials=30,
    )
    result = run(study, path, max_seconds=1e-9)
    assert not result.complete
    with xarray.open_zarr(path) as data:
        for name in ("error", "loss", "steps", "seconds"):
            assert np.array_equal(np.isnan(data[name].values), ~result.done), name
        assert np.array_equal(data.status.values, result.outcomes["status"])
        assert data.method.values.tolist() == ["limit", "least norm"]
        data.to_netcdf(tmp_path / "s.nc")
    with xarray.open_dataset(tmp_path / "s.nc") as data:
        assert np.array_equal(data.error.values[result.done], result.outcomes["error"][result.done])
        assert np.array_equal(np.isnan(data.error.values), ~result.done)
    run(study, path)
    with xarray.open_zarr(path) as data:
        assert not np.isnan(data.error.values).any()
        assert data.steps.values.tolist() == ff.open_study(path).outcomes["steps"].tolist()


def forged(path, change):
    """The document of a store with another text, under a digest that fits."""
    facts, metadata = document.read((path / "zarr.json").read_bytes())
    table = json.loads(json.dumps(facts.table))
    change(table, metadata)
    (path / "zarr.json").write_bytes(document.written(facts._replace(table=table), metadata))


HOSTILE = {
    "an ensemble": lambda table, _: table.update(
        ensemble={"kind": "Custom", "function": "planted:f", "version": 1, "parameters": {}}
    ),
    "a method": lambda table, _: table.update(method={"kind": "planted:f"}),
    "an axis": lambda table, _: table["axes"].update(m=[{"kind": "planted:f"}, 14, 18]),
    "a success": lambda table, _: table["success"].update(kind="planted:f"),
    "a codec": lambda _, metadata: metadata["error"]["codecs"].append({"name": "numcodecs.pickle"}),
    "a size": lambda table, metadata: (
        table.update(trials=10**13),
        [array["shape"].__setitem__(2, 10**13) for name, array in metadata.items() if name in FIELDS],
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_strangers_store_runs_nothing(path, tmp_path, monkeypatch, what):
    """It is refused, or read and drawn without importing what its table names."""
    run(small(), path)
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    forged(path, HOSTILE[what])
    with contextlib.suppress(ff.StoreError, MemoryError):
        result = ff.open_study(path)
        result.plot()
        result.summary()
        result.to_xarray()
        ff.merge([path])
        assert what in ("an ensemble", "a method")
        with pytest.raises(ValueError, match="the study names code outside of fastflow, 'planted:f'"):
            result.design  # noqa: B018
    assert "planted" not in sys.modules


def test_where_a_store_may_lie(path, monkeypatch):
    """In the home folder by its sign; not behind an address."""
    monkeypatch.setenv("HOME", str(path.parent))
    run(small(), "~/s.zarr")
    assert ff.open_study("~/s.zarr").complete
    assert ff.merge(["~/s.zarr"], into="~/t.zarr").complete
    assert sorted(p.name for p in path.parent.iterdir()) == ["s.zarr", "t.zarr"]
    monkeypatch.chdir(path.parent)
    for address in ("s3://bucket/s.zarr", "gs://b/s", "file:///tmp/s", "https://x.org/s", Path("s3://bucket/s.zarr")):
        for use in (lambda at=address: run(small(), at), lambda at=address: ff.open_study(at)):
            with pytest.raises(ValueError, match="store must be a folder of a file system, got"):
                use()
    with pytest.raises(ValueError, match="store: "):
        ff.open_study("~nobody-of-this-name/s.zarr")
    assert len(list(path.parent.iterdir())) == 2


def test_a_full_disk_for_real(tmp_path):
    """A file system of 64 kB, where one may be mounted."""
    room = tmp_path / "room"
    room.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(room)]
    if os.getuid() != 0 or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        with pytest.raises(ff.StoreError, match="No space left on device"):
            run(small(trials=1000), room / "s.zarr")  # of 6000 trials 29 bytes each, mostly random ones
    finally:
        subprocess.run(["umount", str(room)], check=True)


def test_a_store_that_grows_is_read_as_of_one_moment(path):
    """While it is replaced by a larger one, again and again, and while its success changes."""
    small_one, large_one = small(trials=3, m=(8,)), small(trials=5)
    results = [study.run(threads=2, progress=False) for study in (small_one, large_one)]
    kept, seen, stop = path.with_name("kept"), [], threading.Event()
    run(small_one, path)
    shutil.copytree(path, kept)

    def read():
        while not stop.is_set():
            seen.append(ff.open_study(path))

    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        try:
            for i in range(6):
                large_one.success = ff.Success(below=0.1 + i)
                run(large_one, path)
                with locked(path) as lock:  # back to what it was, as a driver does it
                    found = ff.open_study(kept)
                    store.create(path, found.table, found.outcomes, found._held, lock)
        finally:
            stop.set()
        for future in reading:
            future.result()
    assert {len(one.axes["m"]) for one in seen} == {1, 3}
    for one in seen:
        whole = results[len(one.axes["m"]) == 3]
        assert one.outcomes["error"].shape == whole.outcomes["error"].shape
        assert same_where_done(one, whole)


def test_files_are_synced_before_they_are_moved_and_their_folders_after(path, monkeypatch):
    """In a model of a loss of power: what a name points to is on the disk before the name is."""
    run(small(trials=3), path)
    synced, moved = set(), []
    fsync, replace = os.fsync, os.rename

    def sync(handle):
        fsync(handle)
        synced.add(os.path.realpath(f"/proc/self/fd/{handle}"))

    def watch(event, arguments):
        if watching and event == "os.rename":
            source, target = map(str, arguments[:2])
            if source.startswith(str(path.parent)):
                inside = (
                    [source] if os.path.isfile(source) else [str(p) for p in path.parent.joinpath(source).rglob("*")]
                )
                moved.append((source, target, all(p in synced for p in inside)))

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("this system does not say what a handle is of")
    watching = True
    sys.addaudithook(watch)
    monkeypatch.setattr(os, "fsync", sync)
    run(small(trials=4), path)  # which grows
    study = small(trials=4)
    study.success = ff.Success(below=0.5)
    run(study, path)
    watching = False
    assert replace is os.rename
    assert len(moved) > 10
    fresh = ".s.zarr.fastflow-new"
    assert any(source.endswith(fresh) for source, _, _ in moved)
    for source, target, was_synced in moved:
        if f"{fresh}/" not in source and not source.endswith("s.zarr"):  # the old store, which has been there
            assert was_synced, (source, target)
    assert str(path.parent) in synced
    assert str(path / "status" / "c" / "0" / "0") in synced


def test_presses_of_ctrl_c_during_a_write_wait_for_its_last_byte(path, monkeypatch):
    """And the lock is held until then; what was reported done is there."""
    from fastflow.studies import synced

    put, pressed, held = synced.put, [], []

    def slowly(file, data):
        if len(pressed) < 8 and "/c/" in str(file):
            pressed.append(file)
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.02)
            held.append(path.with_name("s.zarr.lock").exists())
        put(file, data)

    monkeypatch.setattr(driver, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(synced, "put", slowly)
    study = small(trials=2000)
    with pytest.raises(ff.StudyInterrupted) as caught:
        run(study, path)
    assert pressed
    assert all(held)
    assert not path.with_name("s.zarr.lock").exists()
    assert np.array_equal(ff.open_study(path).done, caught.value.result.done)
    assert caught.value.result.done.any()


def test_a_writer_that_is_left_behind_keeps_the_lock(path):
    begun, end = threading.Event(), threading.Event()
    with locked(path) as lock:
        left = threading.Thread(target=lock.held_for, args=[lambda: [begun.set(), end.wait(60)]])
        left.start()
        assert begun.wait(60)
    with pytest.raises(ff.StoreError, match="is being written by process"), locked(path):
        pass
    end.set()
    left.join()
    with pytest.raises(ff.StoreError, match="was given up before"):
        lock.held_for(lambda: None)
    with locked(path):
        pass


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("moved", "was moved or deleted while it was written"),
        ("deleted", "was moved or deleted while it was written"),
        ("replaced", "is another store than the one that was written until now"),
        ("unlocked", r"the lock file of .*s\.zarr was removed while it was written"),
    ],
)
def test_a_store_that_is_no_longer_ours_is_left_alone(path, monkeypatch, what, message):
    """Whatever happens to it in mid-run there is an error with what was done, and nothing of another's is written."""
    other = path.with_name("other")
    run(small(trials=2, m=(8,)), other)
    before = {file: file.read_bytes() for file in other.rglob("*") if file.is_file()}
    keep = driver.Driver._keep

    def keep_and_change(self, finished):
        keep(self, finished)
        if what == "unlocked":
            path.with_name("s.zarr.lock").unlink(missing_ok=True)
        elif path.exists() and not path.with_name("gone").exists():
            shutil.rmtree(path) if what == "deleted" else path.rename(path.with_name("gone"))
            if what == "replaced":
                other.rename(path)

    monkeypatch.setattr(driver, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(driver.Driver, "_keep", keep_and_change)
    with pytest.raises(ff.StoreError, match=message) as caught:
        run(small(trials=200), path)
    assert caught.value.result.done.any()
    if what == "replaced":
        assert {
            other / file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()
        } == before
    elif what in ("moved", "deleted"):
        assert not path.exists()


@pytest.mark.parametrize("error", [OSError, ValueError, RuntimeError])
def test_an_executor_that_takes_no_more_leaves_what_is_done(path, error):
    with ThreadPoolExecutor(1) as pool:
        left = [4]

        class Tired:
            num_workers = 1

            def submit(self, *arguments):
                if not left[0]:
                    raise error("too tired")
                left[0] -= 1
                return pool.submit(*arguments)

        with pytest.raises(ff.StudyError, match=r"the executor failed: .*too tired") as caught:
            small(trials=200).run(Tired(), path, progress=False)
    done = caught.value.result.done
    assert 0 < done.sum() < done.size
    assert np.array_equal(ff.open_study(path).done, done)


def test_a_success_that_cannot_be_written_leaves_what_was_there(path, monkeypatch):
    run(small(), path)
    study = small()
    study.success = ff.Success(below=1e-5)

    def full(file, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store, "put", full)
        with pytest.raises(ff.StoreError, match="cannot be written: No space left") as caught:
            run(study, path)
    assert caught.value.result.complete
    assert ff.open_study(path).success.below == 1e-2
    assert run(study, path).computed == 0


def test_no_lock_is_taken_through_a_link(path):
    target = path.with_name("mine.txt")
    target.write_text("mine")
    path.with_name("s.zarr.lock").symlink_to(target)
    with pytest.raises(ff.StoreError, match="is a link"):
        run(small(), path)
    assert target.read_text() == "mine"


def test_who_opens_a_store_takes_away_the_lock_of_a_dead_process(path):
    run(small(trials=1), path)
    lock, here = path.with_name("s.zarr.lock"), socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    for holder, stays in [
        (f"process {os.getpid()} on {here}\n", True),
        (f"process {process.pid} on another\n", True),
        ("what is this?", True),
        (f"process {process.pid} on {here}\n", False),
    ]:
        lock.write_text(holder)
        ff.open_study(path)
        assert lock.exists() == stays


@pytest.mark.parametrize("where", ["held_by", "read_store", "create", "Plan"])
def test_ctrl_c_before_the_first_trial_has_a_result_too(path, reference, monkeypatch, where):
    """What the store had it has."""
    if where == "read_store":
        run(small(trials=50), path)

    def pressed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(running, where, pressed)
        with pytest.raises(ff.StudyInterrupted, match="before any trial was begun") as caught:
            run(small(trials=50), path)
    assert caught.value.result.done.shape == (3, 2, 50)
    assert not caught.value.result.done.any()
    assert not path.with_name("s.zarr.lock").exists()
    if where == "read_store":
        assert same_bits(ff.open_study(path), reference)


def test_cells_of_equal_outcomes_are_made_equal_when_a_study_goes_on(path):
    """After a crash between their chunks; and new values of the axis that a baseline does not know."""
    axes = {"method": {"limit": ff.FlowLimit(), "least": ff.baselines.LeastNorm()}, "depth": (3,)}
    run(ff.Study(Sparse(n=12, m=6, sparsity=1), trials=4, axes=axes), path)
    study = ff.Study(Sparse(n=12, m=6, sparsity=1), trials=4, axes=axes | {"depth": (2, 3)})
    expected = study.run(threads=1, progress=False)
    grown = run(study, path)
    assert grown.computed == 4  # of the limit at the new depth
    assert same_bits(grown, expected)
    assert same_bits(ff.open_study(path), expected)
    found = ff.open_study(path)
    for values in found.outcomes.values():
        values[1, 0, 2:] = -1 if values.dtype.kind == "i" else -np.inf
    shutil.rmtree(path)
    found.save(path)
    again = run(study, path)
    assert again.computed == 0
    assert same_bits(ff.open_study(path), expected)
