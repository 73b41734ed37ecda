"""A process that crashes studies before chosen operations on files, resumes them, and says what is then wrong.

Run as a script, with a folder and the names of scenarios: for each it prints ``name points failures``. Every crash and
every resumption is a fork of this process, which itself never starts the thread that Zarr has.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import outcomes_of_users as users
import zarr  # noqa: F401, so that no fork imports it

import fastflow as ff
from fastflow.studies import driver, layout

EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
CRASHED = 77


@dataclass(frozen=True)
class Mean:
    """A baseline that is quick, and depends on the problem."""

    def solve(self, problem):
        return np.full(problem.shape, problem.values.mean())


ASKED = {"l1_norm": "l1_norm", "pair": ff.Outcome(users.first_two, shape=(2,), dtype="int64")}


def study(m=(3, 4), trials=3, below=0.9, outcomes=None):
    """One without twins."""
    ensemble = ff.ensembles.Sparse(n=6, sparsity=1)
    success = ff.Success(below=below)
    return ff.Study(
        ensemble, method=Mean(), axes={"m": m, "noise": (0.0, 0.1)}, trials=trials, success=success, outcomes=outcomes
    )


def twins(depths=(2, 3, 4), trials=3):
    """One all of whose depths have the same outcomes."""
    axes = {"method": {"mean": Mean(), "least norm": ff.baselines.LeastNorm()}, "network.depth": depths, "m": (3, 4)}
    return ff.Study(ff.ensembles.Sparse(n=6, sparsity=1), ff.DiagonalLinear(2), axes=axes, trials=trials)


def asking():
    return study(outcomes=ASKED)


def run(asked, path, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ trials that the store has lack outcomes")
        return asked.run(store=path, threads=1, progress=False, task_seconds=1e-9, **options)


def merged(folder):
    parts = [folder / "a.zarr", folder / "b.zarr"]
    whole = folder / "s.zarr"
    return ff.open_study(whole) if whole.exists() else ff.merge(parts, into=whole)


def damaged(folder):
    run(study(), folder / "s.zarr")
    file = next((folder / "s.zarr" / "loss").rglob("c/0/0/0"))
    file.write_bytes(file.read_bytes()[:-3])


SCENARIOS = {
    "creation": (None, lambda f: run(study(), f / "s.zarr"), study),
    "trials": (lambda f: run(study(trials=2), f / "s.zarr"), lambda f: run(study(), f / "s.zarr"), study),
    "values": (lambda f: run(study(m=(4,)), f / "s.zarr"), lambda f: run(study(), f / "s.zarr"), study),
    "success": (lambda f: run(study(below=0.5), f / "s.zarr"), lambda f: run(study(), f / "s.zarr"), study),
    "outcomes": (lambda f: run(study(trials=2), f / "s.zarr"), lambda f: run(asking(), f / "s.zarr"), asking),
    "share": (
        lambda f: run(study(trials=2), f / "s.zarr", shard=(0, 2)),
        lambda f: run(study(), f / "s.zarr", shard=(0, 2)),
        study,
    ),
    "shares": (
        lambda f: run(study(), f / "s.zarr", shard=(0, 2)),
        lambda f: run(study(), f / "s.zarr", shard=(1, 2)),
        study,
    ),
    "merge": (
        lambda f: [run(study(), f / f"{name}.zarr", shard=(i, 2)) for i, name in enumerate("ab")],
        merged,
        study,
    ),
    "twins": (None, lambda f: run(twins(), f / "s.zarr"), twins),
    "more twins": (lambda f: run(twins((3,)), f / "s.zarr"), lambda f: run(twins(), f / "s.zarr"), twins),
    "repair": (damaged, lambda f: run(study(), f / "s.zarr", repair=True), study),
}
"""What is there before, what is done, and the study whose results there are then."""


def crash_at(point, folder):
    """Die before so many operations on files of a folder; count them where that is none."""
    count, sync = [0], os.fsync

    def step():
        count[0] += 1
        if count[0] == point:
            os._exit(CRASHED)

    def watch(event, arguments):
        if event in EVENTS and str(arguments[0]).startswith(str(folder)):
            step()
        elif event == "open" and str(arguments[0]).startswith(str(folder)):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes:
                step()

    def synced(handle):
        step()
        sync(handle)

    os.fsync = synced
    sys.addaudithook(watch)
    return count


def forked(function):
    """The code with which a fork ends that calls the function; what it raises is printed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = function() or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check(done, expected, folder, before):
    """Whether a result has the bits of an undisturbed run, and nothing is left over."""
    found = ff.open_study(folder / "s.zarr")
    for result in (done, found):
        there = result.done
        assert (there & before == before).all(), "trials are lost"
        assert set(result.outcomes) == set(expected.outcomes)
        for name, array in result.outcomes.items():
            if name != "seconds":
                assert np.array_equal(array[there], expected.outcomes[name][there], equal_nan=True), f"another {name}"
    assert np.array_equal(found.done, done.done)
    assert found.success == done.success
    names = {path.name for path in folder.iterdir()}
    assert names <= {"s.zarr", "a.zarr", "b.zarr"}, names
    assert not list(folder.rglob("*.partial"))


def crash_everywhere(name, root, stride, offset):
    """How many crash points there are, and how many fail."""
    prepare, act, made = SCENARIOS[name]
    template, folder = root / "template", root / "work"

    def fresh():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(template, folder)

    shutil.rmtree(template, ignore_errors=True)
    template.mkdir(parents=True)
    if prepare is not None:
        assert forked(lambda: prepare(template) and None) == 0
    expected = made().run(threads=1, progress=False)

    def counted():
        count = crash_at(-1, folder)
        result = act(folder)
        (root / "count").write_text(str(count[0]))
        (root / "whole").write_text(str(int(result.done.sum())))

    fresh()
    assert forked(counted) == 0
    points, whole = int((root / "count").read_text()), int((root / "whole").read_text())
    failures = 0

    def crashed(point):
        crash_at(point, folder)
        act(folder)

    def resumed():
        path = folder / "s.zarr"
        before = np.zeros(expected.done.shape, bool)
        if prepare is not None and name not in ("merge", "repair"):
            ff.open_study(path)  # what was there is there, wherever the crash was
        try:
            found = ff.open_study(path)
            if found.done.shape == before.shape:
                before = found.done
        except ff.StoreError as error:
            if "there is no store" not in str(error) and name != "repair":
                raise
        done = act(folder)
        assert done.done.sum() == whole, f"{done.done.sum()} of {whole} trials"
        check(done, expected, folder, before)

    for point in range(1 + offset, points + 1, stride):
        fresh()
        code = forked(lambda point=point: crashed(point))
        assert code == CRASHED, code
        if forked(resumed) != 0:
            print(f"{name}: failed after a crash at {point} of {points}", flush=True)
            failures += 1
    print(f"{name}|{points}|{failures}", flush=True)


if __name__ == "__main__":
    driver.FLUSH_SECONDS = driver.FLUSH_SHARE = 0.0
    driver.FLUSH_SHARE = 1.0
    layout.CHUNK_ENTRIES = 4
    folder, stride, offset, *names = sys.argv[1:]
    for scenario in names or SCENARIOS:
        crash_everywhere(scenario, Path(folder).resolve(), int(stride), int(offset))
