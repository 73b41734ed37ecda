"""A process that harms studies and their stores, and says what is then wrong.

Run as a script:

``crashes.py FOLDER STRIDE OFFSET [SCENARIO ...]`` crashes before every so many-th operation on files, and resumes; for
each scenario it prints ``name|points|failures``.

``crashes.py FOLDER presses STRIDE OFFSET [SCENARIO ...]`` presses Ctrl-C there instead, and
``crashes.py FOLDER full STRIDE OFFSET [SCENARIO ...]`` has the disk full from there on.

``crashes.py FOLDER kills COUNT SEED`` sends SIGKILL at random moments of random scenarios, and resumes:
``kills|count|failures``.

``crashes.py FOLDER copies COUNT SEED`` copies stores while studies write them, file after file, and resumes the copies:
``copies|count|consistent|refused|failures``.

``crashes.py FOLDER flips COUNT SEED`` flips random bits of all files of stores:
``flips|count|detected|harmless|repaired|wrong``.

Every crash and every resumption is a fork of this process, which itself never starts the thread that Zarr has.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import signal
import sys
import time
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
SAID = 100
"""Kills and flips are counted aloud as often."""


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


def die():
    os._exit(CRASHED)


def press():
    """Ctrl-C, which the main thread hears, whoever is at the files."""
    signal.raise_signal(signal.SIGINT)


def fill():
    """The disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def crash_at(point, folder, how=die):
    """Die, or the like, before so many operations on files of a folder; count them where that is none.

    A disk that is full stays so, but for what takes no place.
    """
    count, sync = [0], os.fsync

    def step(takes_place):
        count[0] += 1
        if count[0] == point or (how is fill and takes_place and 0 < point <= count[0]):
            how()

    def watch(event, arguments):
        if event in EVENTS and str(arguments[0]).startswith(str(folder)):
            step(event == "os.mkdir")
        elif event == "open" and str(arguments[0]).startswith(str(folder)):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes:
                step(True)

    def synced(handle):
        step(True)
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


class Scene:
    """A scenario in a folder, as it goes where nothing harms it.

    Attributes
    ----------
    points : int, how many operations on files there are
    seconds : float, how long it takes
    """

    def __init__(self, name, root):
        self.name, self.root, self.folder, self.template = name, root, root / "work", root / "template"
        self.prepare, self.act, made = SCENARIOS[name]
        shutil.rmtree(self.template, ignore_errors=True)
        self.template.mkdir(parents=True)
        if self.prepare is not None:
            assert forked(lambda: self.prepare(self.template) and None) == 0
        self.expected = made().run(threads=1, progress=False)
        self.fresh()
        assert forked(self._count) == 0
        self.points, self._whole, self.seconds = map(float, (root / "count").read_text().split())

    def _count(self):
        count = crash_at(-1, self.folder)
        started = time.monotonic()
        result = self.act(self.folder)
        seconds = time.monotonic() - started
        (self.root / "count").write_text(f"{count[0]} {result.done.sum()} {seconds}")

    def fresh(self):
        """Put the folder into the state before."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.template, self.folder)

    def begin(self, rng):
        """Put the folder into the state before; a fork that acts there, at a random moment of that."""
        self.fresh()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                self.act(self.folder)
                os._exit(0)
            os._exit(1)
        time.sleep(rng.uniform(0, self.seconds))
        return child

    def done_in(self, found):
        """What is done in a store, as far as it has the axes of the end."""
        there = self.expected.done.shape
        return found.done if found.done.shape == there else np.zeros(there, bool)

    def resume(self):
        """Look what there is, do it again, and check what there is then."""
        path = self.folder / "s.zarr"
        before = np.zeros(self.expected.done.shape, bool)
        if self.prepare is not None and self.name not in ("merge", "repair"):
            ff.open_study(path)  # what was there is there, wherever the crash was
        try:
            before = self.done_in(ff.open_study(path))
        except ff.StoreError as error:
            if "there is no store" not in str(error) and self.name != "repair":
                raise
        done = self.act(self.folder)
        assert done.done.sum() == self._whole, f"{done.done.sum()} of {self._whole} trials"
        check(done, self.expected, self.folder, before)


def crash_everywhere(name, root, stride, offset, how=die):
    """Crash a scenario, or the like, before every so many-th operation, and count where that fails."""
    scene, failures = Scene(name, root), 0

    def crashed(point):
        there = scene.expected.done.shape
        crash_at(point, scene.folder, how)
        try:
            scene.act(scene.folder)
        except ff.StudyInterrupted as stop:
            return CRASHED if stop.result.done.shape == there else 1
        except KeyboardInterrupt:
            assert name == "merge"  # which runs nothing
            return CRASHED
        except (ff.StudyError, ff.StoreError) as error:
            why = how is fill and os.strerror(errno.ENOSPC) in str(error)
            return CRASHED if why and (error.result is None or error.result.done.shape == there) else 1

    for point in range(1 + offset, int(scene.points) + 1, stride):
        scene.fresh()
        code = forked(lambda point=point: crashed(point))
        assert code == CRASHED, code
        if forked(scene.resume) != 0:
            print(f"{name}: failed after a crash at {point} of {scene.points:g}", flush=True)
            failures += 1
    print(f"{name}|{scene.points:g}|{failures}", flush=True)


def _scenes(root):
    """The scene of a name, made when first asked for."""
    return functools.cache(lambda name: Scene(name, root / name))


def kill_anywhere(root, count, rng):
    """Kill scenarios at random moments, so often that so many were not yet at their end; count where that fails."""
    scene_of, names = _scenes(root), list(SCENARIOS)
    killed = failures = 0
    while killed < count:
        scene = scene_of(names[rng.integers(len(names))])
        child = scene.begin(rng)
        os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        killed += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL) or forked(scene.resume) != 0:
            print(f"{scene.name}: failed after SIGKILL ({code})", flush=True)
            failures += 1
        if killed % SAID == 0 or killed == count:
            print(f"kills|{killed}|{failures}", flush=True)


def copy_torn(source, target, rng):
    """Copy what is in a folder, in random order, with what happens there meanwhile; what has gone is not copied."""
    pending = [source]
    while pending:
        path = pending.pop(rng.integers(len(pending)))
        there = target / path.relative_to(source)
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir():
                there.mkdir(exist_ok=True)
                pending += path.iterdir()
            elif not path.name.endswith(".lock"):
                shutil.copy(path, there)
        time.sleep(rng.exponential(1e-4))


def copy_anytime(root, count, rng):
    """Copy stores in the middle of scenarios, open the copies, resume them, and count where that fails."""
    scene_of, names = _scenes(root), [name for name in SCENARIOS if name != "merge"]
    consistent = refused = failures = 0

    def resumed(scene, folder):
        """Whether the copy opened; whatever it has is right, and resuming it computes or repairs the rest."""
        path, before = folder / "s.zarr", np.zeros(scene.expected.done.shape, bool)
        try:
            before, opened = scene.done_in(ff.open_study(path)), True
        except ff.StoreError:
            opened = False
        shard = {"share": (0, 2), "shares": (1, 2)}.get(scene.name)
        done = run(SCENARIOS[scene.name][2](), path, repair=not opened, shard=shard)
        assert shard or done.complete, "trials are missing"
        check(done, scene.expected, folder, before)
        return 0 if opened else CRASHED

    for copied in range(1, count + 1):
        scene, copy = scene_of(names[rng.integers(len(names))]), root / "copy"
        child = scene.begin(rng)
        shutil.rmtree(copy, ignore_errors=True)
        copy_torn(scene.folder, copy, rng)
        os.waitpid(child, 0)
        code = forked(lambda scene=scene, copy=copy: resumed(scene, copy))
        consistent += code == 0
        refused += code == CRASHED
        if code not in (0, CRASHED):
            print(f"{scene.name}: a copy failed", flush=True)
            failures += 1
        if copied % SAID == 0 or copied == count:
            print(f"copies|{copied}|{consistent}|{refused}|{failures}", flush=True)


def flip_bits(root, count, rng, each=10):
    """Flip random bits of all files of some stores; of those that are detected repair one of so many."""
    stores = {"whole": (asking(), None), "share": (study(), (1, 2)), "twins": (twins(), None)}
    paths = {name: root / f"{name}.zarr" for name in stores}
    wholes = {name: run(asked, paths[name], shard=shard) for name, (asked, shard) in stores.items()}
    files = [(name, file) for name, path in paths.items() for file in sorted(path.rglob("*")) if file.is_file()]
    detected = harmless = repaired = wrong = 0

    def same(found, whole, names):
        return found.table == whole.table and all(
            np.array_equal(found.outcomes[name], whole.outcomes[name], equal_nan=True) for name in names
        )

    for path in paths.values():
        shutil.copytree(path, path.with_suffix(".copy"))
    for flipped in range(1, count + 1):
        name, file = files[rng.integers(len(files))]
        path, whole, (asked, shard) = paths[name], wholes[name], stores[name]
        kept = file.read_bytes()
        data = bytearray(kept)
        bit = int(rng.integers(8 * len(data)))
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        message = ""
        try:
            try:
                assert same(ff.open_study(path), whole, whole.outcomes), "another result"
                harmless += 1
            except ff.StoreError as error:
                message = str(error)
                detected += 1
            assert not message or f"{file} is damaged" in message or f"{file} is missing" in message, message
            if message and detected % each == 0:
                bits = whole.outcomes.keys() - {"seconds"}
                assert same(run(asked, path, shard=shard, repair=True), whole, bits), "not repaired"
                assert same(ff.open_study(path), whole, bits), "not stored"
                repaired += 1
                shutil.rmtree(path)
                shutil.copytree(path.with_suffix(".copy"), path)
        except Exception as error:
            print(f"{file.relative_to(root)}: bit {bit}: {error!r}", flush=True)
            wrong += 1
        file.write_bytes(kept)
        if flipped % SAID == 0 or flipped == count:
            print(f"flips|{flipped}|{detected}|{harmless}|{repaired}|{wrong}", flush=True)


if __name__ == "__main__":
    driver.FLUSH_SECONDS = 0.0
    driver.FLUSH_SHARE = 1.0
    layout.CHUNK_ENTRIES = 4
    folder, what, number, *rest = sys.argv[1:]
    place = Path(folder).resolve()
    place.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which background jobs of a shell ignore
    if what in ("kills", "copies", "flips"):
        act = {"kills": kill_anywhere, "copies": copy_anytime, "flips": flip_bits}[what]
        act(place, int(number), np.random.default_rng(int(rest[0])))
    else:
        how = {"presses": press, "full": fill}.get(what, die)
        stride, offset, *names = [what, number, *rest] if how is die else [number, *rest]
        for scenario in names or SCENARIOS:
            crash_everywhere(scenario, place, int(stride), int(offset), how)
