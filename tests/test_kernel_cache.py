"""The cache on disk goes stale when any file changes that compiled code comes from, and is never just believed."""

from __future__ import annotations

import ast
import collections
import errno
import importlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numba
import pytest
from numba.core.caching import CacheImpl
from numba.core.compiler import CompileResult
from numba.core.event import Listener, install_listener

import fastflow
from fastflow.kernels import endings
from fastflow.kernels.compile import cache, turns
from fastflow.kernels.compile.cache import kernels_stamp
from fastflow.kernels.compile.jit import jit
from fastflow.kernels.compile.watch import watching_compilation
from fastflow.kernels.vectors import products

KERNELS = Path(fastflow.kernels.__file__).parent


@pytest.fixture
def copied(tmp_path):
    """A copy of the folder of all kernels."""
    return Path(shutil.copytree(KERNELS, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__")))


def test_the_stamp_is_that_of_the_contents(copied):
    assert kernels_stamp(copied) == kernels_stamp()
    assert kernels_stamp.__wrapped__(copied) == kernels_stamp(copied)


@pytest.mark.parametrize("name", sorted(str(path.relative_to(KERNELS)) for path in KERNELS.rglob("*.py")))
def test_the_stamp_changes_with_every_file(copied, name):
    """In every folder, that of the statuses' numbers included."""
    before = kernels_stamp.__wrapped__(copied)
    path = copied / name
    path.write_text(path.read_text().replace("\n", "\n# edited\n", 1))
    edited = kernels_stamp.__wrapped__(copied)
    path.rename(path.with_name("renamed.py"))
    assert len({before, edited, kernels_stamp.__wrapped__(copied)}) == 3


def test_the_stamp_changes_with_a_new_file_in_a_folder(copied):
    before = kernels_stamp.__wrapped__(copied)
    (copied / "vectors" / "new.py").write_text("")
    assert kernels_stamp.__wrapped__(copied) != before


def test_no_constant_comes_from_outside_of_what_the_stamp_covers():
    """Kernels import nothing of fastflow's but kernels, and the door for arrays, of which nothing is compiled."""
    for path in KERNELS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            ours = [name for name in modules if name is not None and name.split(".")[0] == "fastflow"]
            assert all(name.startswith("fastflow.kernels.") or name == "fastflow.arrays" for name in ours), path
            assert not isinstance(node, ast.ImportFrom) or node.level == 0, path
    assert {status.name: int(status) for status in fastflow.Status} == {
        name: number for name, number in vars(endings).items() if name.isupper()
    }


# Files that do not hold what they should, and folders that are not what they should be

SOURCE = """
def twice(x):
    return 2 * x

def thrice(x):
    return 3 * x
"""


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """``processes()`` gives kernels as a new process would have them, with a cache of their own, and its files."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    monkeypatch.setattr(CacheImpl, "_locator_classes", CacheImpl._locator_classes[:1])
    (tmp_path / "kept_kernels.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "kept_kernels", raising=False)
    functions = importlib.import_module("kept_kernels")

    def start():
        monkeypatch.setattr(cache, "_said", set())
        cache._is_private.cache_clear()
        return jit(functions.twice), jit(functions.thrice)

    start.folder = folder
    start.files = lambda: sorted(folder.rglob("*.nbc"))
    yield start
    cache._is_private.cache_clear()


LINKED = """
from fastflow.kernels.compile.jit import jit, jit_internal

@jit_internal
def twice(x):
    return 2 * x

@jit_internal
def four_times(x):
    return twice(twice(x))

@jit
def eight_times(x):
    return twice(four_times(x))

@jit
def five_times(x):
    return four_times(x) + x
"""


def test_what_is_linked_in_comes_from_the_cache_too(processes, tmp_path, monkeypatch):
    """It has no machine code of its own, is code for those that link it in later, and nobody else may call it."""
    (tmp_path / "linked_kernels.py").write_text(LINKED)

    def begin():
        monkeypatch.delitem(sys.modules, "linked_kernels", raising=False)
        return importlib.import_module("linked_kernels")

    first = begin()
    assert first.eight_times(3) == 24
    then = begin()
    assert (then.eight_times(3), then.five_times(3.0)) == (24, 15.0)
    assert (hits(then.eight_times), hits(then.four_times)) == (1, 0)  # this machine code needs no other
    last = begin()
    assert last.five_times(3) == 15
    assert (hits(last.four_times), hits(last.five_times)) == (1, 0)
    for module in (first, then, last):
        with pytest.raises(TypeError, match="four_times is for compiled code"):
            module.four_times(3)
        for compiled in module.four_times.overloads.values():
            assert not compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def hits(kernel):
    """How many versions came from the cache."""
    return sum(kernel.stats.cache_hits.values())


def use(start, *, found=True):
    """Two kernels of a new process give what they should, from the cache or not."""
    twice, thrice = start()
    assert (twice(3), twice(1.5), thrice(3)) == (6, 3.0, 9)
    assert [hits(twice), hits(thrice)] == ([2, 1] if found else [0, 0])


def flip(path, rng):
    content = bytearray(path.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    path.write_bytes(content)


DAMAGE = {
    "one bit": lambda path, rng: flip(path, rng),
    "empty": lambda path, rng: path.write_bytes(b""),
    "cut": lambda path, rng: path.write_bytes(path.read_bytes()[: rng.integers(1, path.stat().st_size)]),
    "longer": lambda path, rng: path.write_bytes(path.read_bytes() + b"."),
    "something else": lambda path, rng: path.write_bytes(rng.bytes(1000)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_noticed_and_compiled_anew(processes, rng, damage):
    """Once said, and whole again for the next process."""
    use(processes, found=False)
    use(processes)
    for path in processes.files():
        for _ in range(3):
            DAMAGE[damage](path, rng)
            twice, thrice = processes()
            with pytest.warns(UserWarning, match="damaged") as warned:
                assert (twice(3), twice(1.5), thrice(3)) == (6, 3.0, 9)
            assert len(warned) == 1
            assert hits(twice) + hits(thrice) == 2
            use(processes)


def test_swapped_files_are_noticed(processes):
    """Each of them is whole, and the code of another function, or for other types."""
    use(processes, found=False)
    files = processes.files()
    assert len(files) == 3
    for first, second in itertools.combinations(files, 2):
        one, other = first.read_bytes(), second.read_bytes()
        first.write_bytes(other)
        second.write_bytes(one)
        twice, thrice = processes()
        with pytest.warns(UserWarning, match="damaged") as warned:
            assert (twice(3), twice(1.5), thrice(3)) == (6, 3.0, 9)
        assert len(warned) == 1
        use(processes)


def test_a_file_that_links_no_more_is_compiled_anew(processes, monkeypatch):
    use(processes, found=False)
    twice, thrice = processes()
    monkeypatch.setattr(CompileResult, "_rebuild", lambda *_: 1 / 0)
    with pytest.warns(UserWarning, match="cannot be read") as warned:
        assert (twice(3), thrice(3)) == (6, 9)
    assert len(warned) == 1


def test_a_cache_that_cannot_be_written_is_read(processes, monkeypatch):
    use(processes, found=False)
    mode = [path.chmod(0o555) for path in processes.folder.rglob("*") if path.is_dir()]
    assert mode
    monkeypatch.setattr(cache, "_write", lambda folder, *_: pytest.fail("there is nothing to write"))
    use(processes)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_under_the_cache_ends_nothing(processes, monkeypatch, error):
    """And leaves nothing behind."""

    def full(source, target):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "replace", full)
    twice, thrice = processes()
    with pytest.warns(UserWarning, match=os.strerror(error)) as warned:
        assert (twice(3), thrice(3)) == (6, 9)
    assert len(warned) == 1
    assert not [path for path in processes.folder.rglob("*") if path.is_file()]


@pytest.mark.skipif(os.name != "posix", reason="the bits of POSIX")
def test_a_cache_that_anybody_can_write_is_not_run(processes):
    """Nor written: not the folder itself, not one whose place anybody can take, not a single file."""
    use(processes, found=False)
    (inner,) = {path.parent for path in processes.files()}
    for folder, mode, warns in [(inner, 0o777, 1), (inner, 0o1777, 1), (processes.folder, 0o777, 1)]:
        before = folder.stat().st_mode
        folder.chmod(mode)
        with pytest.warns(UserWarning, match="can be written by anybody") as warned:
            use(processes, found=False)
        assert len(warned) == warns
        folder.chmod(before)
        use(processes)
    processes.folder.chmod(0o1777)  # as /tmp, where nobody can take the place of what is another's
    use(processes)
    for path in processes.files():
        assert not path.stat().st_mode & 0o002
        path.chmod(0o666)
    with pytest.warns(UserWarning, match="can be written by anybody") as warned:
        use(processes, found=False)
    assert len(warned) == 1
    use(processes)


@pytest.mark.skipif(os.name != "posix", reason="the owners of POSIX")
def test_a_cache_of_another_user_is_not_run(processes, monkeypatch):
    """Who owns the folder, or a file in it, could have put anything there, whatever the permissions."""
    use(processes, found=False)
    use(processes)
    owned = cache._is_of_trusted
    inner = {path.parent for path in processes.files()}
    for foreign in ({processes.folder}, inner, set(processes.files())):
        theirs = {path.stat().st_ino for path in foreign}
        monkeypatch.setattr(cache, "_is_of_trusted", lambda about, of=theirs: owned(about) and about.st_ino not in of)
        with pytest.warns(UserWarning, match="belongs to another user") as warned:
            use(processes, found=False)
        assert len(warned) == 1
        monkeypatch.setattr(cache, "_is_of_trusted", owned)
        use(processes)
    monkeypatch.setattr(cache, "_trusted_users", lambda: frozenset({os.geteuid() + 1}))
    assert not cache._is_of_trusted(processes.folder.stat())


def test_an_open_umask_makes_no_open_cache(processes):
    before = os.umask(0)
    try:
        use(processes, found=False)
    finally:
        os.umask(before)
    assert not any(path.stat().st_mode & 0o002 for path in [processes.folder, *processes.folder.rglob("*")])
    use(processes)


def test_what_was_compiled_from_other_sources_goes(processes, monkeypatch):
    use(processes, found=False)
    before = processes.files()
    monkeypatch.setattr(cache, "kernels_stamp", lambda: "edited")
    use(processes, found=False)
    assert len(processes.files()) == len(before)
    assert not set(processes.files()) & set(before)


def test_classes_of_one_name_are_told_apart():
    first, second = (numba.typeof(step(1, 2, 3)) for step in (products.Step, collections.namedtuple("Step", "a b c")))
    assert cache._full_name(first) != cache._full_name(second)
    assert "fastflow.kernels.vectors.products.Step" in cache._full_name(numba.typeof((products.Step(1, 2, 3), 1)))


def test_processes_that_start_together_compile_each_kernel_once(tmp_path):
    """Six of them: all get their number, one has compiled it, and the seventh finds everything."""
    code = (
        "import numpy as np; from fastflow.kernels import parameter_count as count; "
        "print(count(np.array([2, 3, 4])), sum(count.stats.cache_misses.values()))"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    pipe = subprocess.PIPE
    start = [sys.executable, "-W", "error", "-c", code]
    together = [subprocess.Popen(start, env=environment, stdout=pipe, stderr=pipe, text=True) for _ in range(6)]
    compiled = 0
    for process in together:
        said, complained = process.communicate()
        assert said.split()[0] == "18", complained
        assert not complained
        compiled += int(said.split()[1])
    assert compiled == 1
    assert subprocess.run(start, env=environment, capture_output=True, text=True, check=True).stdout == "18 0\n"
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".nbc"]


HOLDING = """
import sys, time
from pathlib import Path
from fastflow.kernels.compile.turns import turn_to_compile

with turn_to_compile(Path(sys.argv[1]), 0o664):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held(processes, monkeypatch):
    """The path of a lock that another process has taken while it compiles `twice`, and that process."""
    monkeypatch.setattr(turns, "_waited_in_vain", False)
    twice, _ = processes()
    twice(3)
    (file,) = processes.files()
    file.unlink()
    path = file.with_name(f"{file.name}.lock")
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.communicate()


class Waiting(Listener):
    """Starts a timer when this process begins to wait for another one, and has seen nothing before."""

    def __init__(self, do, seconds=0.3):
        self.timer, self.begun = threading.Timer(seconds, do), False

    def on_start(self, event):
        self.begun = True
        self.timer.start()

    def on_end(self, event):
        self.timer.join()


def test_a_lock_dies_with_its_process(processes, held):
    path, process = held
    twice, _ = processes()
    waiting = Waiting(process.kill)
    with install_listener(turns.WAITING, waiting):
        assert twice(3) == 6
    assert waiting.begun
    assert path.with_suffix("").exists()
    assert not path.exists()


def test_who_waits_finds_what_the_other_has_compiled(processes, held):
    """As another process would, a timer puts the file there and lets the lock go; who waits is told that it does."""
    path, process = held
    elsewhere, _ = processes()
    file = path.with_suffix("")
    file.write_bytes(b"")  # whatever is there, it is not waited for
    with pytest.warns(UserWarning, match="damaged"):
        elsewhere(3)
    content = file.read_bytes()
    file.unlink()
    twice, _ = processes()
    told = threading.Event()

    def finish():
        assert told.wait(60)
        file.write_bytes(content)
        process.kill()

    with watching_compilation(told.set, 0.1), install_listener(turns.WAITING, Waiting(finish)):
        assert twice(3) == 6
    assert sum(twice.stats.cache_hits.values()) == 1
    assert not twice.stats.cache_misses
    assert told.is_set()


def test_a_stopped_process_is_not_waited_for_again(processes, held, monkeypatch):
    path, _ = held
    monkeypatch.setattr(turns, "PATIENCE", 0.3)
    twice, _ = processes()
    assert twice(3) == 6
    assert path.with_suffix("").exists()
    assert path.exists()  # and held as before
    path.with_suffix("").unlink()
    monkeypatch.setattr(turns, "PATIENCE", 600.0)
    assert processes()[0](3) == 6


def test_an_interrupt_ends_waiting(processes, held):
    path, _ = held
    twice, _ = processes()
    waiting = Waiting(lambda: signal.raise_signal(signal.SIGINT))
    with install_listener(turns.WAITING, waiting), pytest.raises(KeyboardInterrupt):
        twice(3)
    assert waiting.begun
    assert not path.with_suffix("").exists()


@pytest.mark.skipif(turns.fcntl is None, reason="there are no locks here")
def test_a_lock_is_let_go_where_a_forked_process_has_its_descriptor(tmp_path, monkeypatch):
    opened, before = [], turns._open
    monkeypatch.setattr(turns, "_open", lambda *given: opened.append(before(*given)) or opened[-1])
    path = tmp_path / "lock"
    with turns.turn_to_compile(path, 0o664):
        forked, other = os.dup(opened[0]), os.open(path, os.O_RDWR)
        assert not turns._lock(other)
    assert turns._lock(other)
    os.close(forked)
    os.close(other)


def test_a_folder_that_cannot_be_searched_is_no_cache(processes, monkeypatch):
    """As it is for any other user than root."""

    kernels_stamp()

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    twice, _ = processes()
    with monkeypatch.context() as there:
        there.setattr(Path, "stat", refuse)
        there.setattr(cache, "_make", refuse)
        with pytest.warns(UserWarning, match="cannot be kept"):
            assert twice(3) == 6


SENT = """
import sys
from pathlib import Path
from numba.core.serialize import dumps
import fastflow as ff

def make(factor):
    @ff.kernels.jit
    def scaled(x):
        return factor * x
    return scaled

@ff.kernels.jit
def total(x):
    return 2 * x

Path(sys.argv[1]).write_bytes(dumps((make(3.0), total)))
"""

RECEIVED = """
import pickle, sys
from pathlib import Path
import fastflow
print(*(kernel(2.0) for kernel in pickle.loads(Path(sys.argv[1]).read_bytes())))
"""


def test_a_kernel_that_is_sent_by_value_compiles_elsewhere(tmp_path):
    """One of a script, or made in a function: other processes cannot find it by its name."""
    (tmp_path / "script.py").write_text(SENT)
    run = {"capture_output": True, "text": True, "check": False}
    sent = subprocess.run([sys.executable, str(tmp_path / "script.py"), str(tmp_path / "sent")], **run)
    assert sent.returncode == 0, sent.stderr
    received = subprocess.run([sys.executable, "-c", RECEIVED, str(tmp_path / "sent")], **run)
    assert received.stdout == "6.0 4.0\n", received.stderr


@pytest.mark.parametrize("lacking", ["fcntl", "flock"])
def test_without_locks_every_process_compiles(processes, held, monkeypatch, lacking):
    """Where the system or the file system has none."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(*(turns, "fcntl", None) if lacking == "fcntl" else (turns.fcntl, "flock", flock))
    assert processes()[0](3) == 6


def test_without_a_compiler_there_is_one_clear_line():
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    start = [sys.executable, "-c", "import fastflow"]
    done = subprocess.run(start, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "ImportError: fastflow is compiled by Numba, which NUMBA_DISABLE_JIT"
    )
