"""Files, command lines and arguments at random: what is wrong is an error in words, soon, and within memory.

FUZZ=20 in the environment draws twenty times as many, as a long run wants.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import os
import random
import resource
import signal
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from test_arrays import CALLS
from test_documentation import is_result, members

import fastflow as ff
from fastflow import memory, shell
from fastflow.networks import Chain
from fastflow.records import History
from fastflow.shell import tables
from fastflow.shell.arrays import Reading

TIMES = int(os.environ.get("FUZZ", "1"))
SECONDS = 10
"""Of processor time, for one of anything."""
GRANTED = 256 * 2**20
"""What a call is told there is of memory."""
COMPILING = int(os.environ.get("FUZZ_COMPILING", "120"))
"""Seconds more, where kernels may be compiled on the way."""
COMPILED = 512 * 2**20 if TIMES > 1 else 0
"""What the compiler may leave; of 10,000 draws the first 3,000 compile all, and the others leave nothing."""
CLEAN = (OSError, ValueError, TypeError, MemoryError, ImportError)


class HangError(BaseException):
    """Something took too long."""


@pytest.fixture
def chance(request, monkeypatch):
    """A generator whose seed is printed, in a world of little memory."""
    seed = zlib.crc32(request.node.name.encode())
    print(f"seed = {seed}")
    monkeypatch.setattr(memory, "available_memory", lambda: GRANTED)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield random.Random(seed)
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 2 * GRANTED + COMPILED


@contextlib.contextmanager
def soon(what, seconds=SECONDS):
    """A block that ends within so many seconds, whose exceptions say what was asked."""

    def hang(*_):
        raise HangError(what)

    previous = signal.signal(signal.SIGVTALRM, hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (AssertionError, HangError):
        raise
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error} of {what!r}") from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


# Bytes

HOSTILE = (
    b"1e400", b"inf", b"-nan", b"NA", b"\0", b"\x1b[31m", b'"', b'""', b",", b",,", b"\n", b"\r", b";", b"\t",
    b"9" * 400, b"0x1", b"1_0", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"\xff", b"-1", b"'", b"1,000", b"i",
    b"\xd9\xa3", b"1e-400", b" ",
)  # fmt: skip


def mutated(chance, data):
    """Bytes, in one to four places changed, cut out, doubled, put in or cut off."""
    data = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(data) + 1), chance.choice([1, 1, 2, 8, 64])
        what = chance.randrange(6)
        if what == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            data[at : at + length] = chance.randbytes(length)
        elif what == 2:
            del data[at : at + length]
        elif what == 3:
            data[at:at] = data[at : at + length]
        elif what == 4:
            data[at:at] = chance.choice(HOSTILE)
        elif chance.random() < 0.2:
            del data[at:]
    return bytes(data)


# Tables

TEXTS = (
    b"1,2,3\n4,5,6\n7,8,10\n",
    b"a,b,c\n1.5,,3\n4,NA,6\n",
    b"row,column,value\n1,1,2.5\n2,1,-1\n2,3,4\n",
    b'"1,000",2\n3,"4,5"\n',
    b",x,y\n0,1,2\n1,3,4\n2,5,6\n",
    b"1;2\n3;4\n",
)
OPTIONS = {
    "header": ("yes", "no"),
    "row_numbers": ("drop", "keep"),
    "comma": ("thousands", "decimal"),
    "layout": ("matrix", "triplets"),
    "mask": ("missing", "observed"),
}


def read(chance, path):
    """What a file is made of, or a clean error; another file may be its truth."""
    reading = Reading(**{name: chance.choice((None, None, None, *words)) for name, words in OPTIONS.items()})
    kind = chance.choice((None, None, *tables.PROBLEMS))
    with contextlib.suppress(OSError, ValueError, TypeError, MemoryError):
        truth = path if chance.random() < 0.1 else None
        data = tables.read_problem(path, kind, reading=reading, truth=truth, hide=chance.choice((None, None, 0.3)))
        repr(data.problem)
        assert np.isfinite(data.problem.loss(np.zeros(data.problem.shape))) or kind


def test_tables(chance, tmp_path):
    path = tmp_path / "a.csv"
    for _ in range(250 * TIMES):
        text = mutated(chance, chance.choice(TEXTS))
        path.write_bytes(text)
        with soon(text):
            read(chance, path)


# Archives of arrays

ARRAYS = {
    "matrix": np.arange(12.0).reshape(3, 4),
    "mask": np.eye(3, 4, dtype=bool),
    "truth": np.ones((3, 4)),
    "inputs": np.ones((4, 5)),
    "outputs": np.ones((3, 5)),
    "operators": np.ones((2, 3, 4)),
    "values": np.ones(2),
    "A": np.ones((2, 4)),
    "y": np.ones(2),
    "shape": np.array([3, 4]),
    "rows": np.array([0, 2]),
    "cols": np.array([1, 3]),
}
OTHERS = (
    np.array(3.0),
    np.array([]),
    np.array(["a", "\x1b[31m"]),
    np.array([1j, 2]),
    np.array([np.inf, np.nan]),
    np.array([-1, 2**62]),
    np.array([2**63], np.uint64),
    np.zeros((2, 3), np.float16),
    np.zeros(2, "M8[s]"),
    np.zeros(2, [("a", float)]),
    np.zeros((0, 3)),
    np.full((2, 2), 1e308),
    np.array([{"a": 1}], object),
)


def header(chance, shape, descr="<f8"):
    """The header of an array that is larger, or another, than what follows."""
    size = chance.choice([10**9, 10**13, 2**63, 2**64, 10**30, -1, 0, True])
    text = chance.choice(
        [
            f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({size},), }}",
            f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({size}, {size}), }}",
            f"{{'descr': '|O', 'fortran_order': False, 'shape': {shape}, }}",
            f"{{'descr': '|V0', 'fortran_order': False, 'shape': ({size},), }}",
            f"{{'descr': '<U{size}', 'fortran_order': False, 'shape': {shape}, }}",
            f"{{'descr': ('<f8', ({size},)), 'fortran_order': 1, 'shape': {shape}, }}",
            "(" * 3000,
            "-" * 5000 + "1",
            "{[]: 1}",
            "__import__('os').system('touch ran')",
        ]
    )
    text += "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(chance.choice([0, 8, 96]))


def archive(chance, arrays):
    """A whole archive of arrays of which some are others, or have headers that lie."""
    buffer, members = io.BytesIO(), {}
    for name, array in arrays.items():
        what = chance.randrange(10)
        if what == 0:
            array = chance.choice((*OTHERS, *arrays.values()))
        elif what == 1:
            array = array.reshape((*array.shape[1:], *array.shape[:1]))
        elif what == 2:
            array = array[:-1] if array.ndim else array[None]
        elif what == 3:
            name = chance.choice([*arrays, "x", "", "../../x", "\x1b[31m", "meta"])
        member = io.BytesIO()
        np.lib.format.write_array(member, np.asarray(array))
        members[name] = header(chance, array.shape) if chance.random() < 0.05 else member.getvalue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(buffer, "w", chance.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as file:
            for name, data in members.items():
                file.writestr(name + chance.choice([".npy"] * 20 + [".", ".txt"]), data)
    return buffer.getvalue()


def test_archives_of_data(chance, tmp_path):
    for _ in range(125 * TIMES):
        names = chance.sample(list(ARRAYS), chance.randint(1, 4))
        data = archive(chance, {name: ARRAYS[name] for name in names})
        if chance.random() < 0.5:
            data = mutated(chance, data)
        path = tmp_path / chance.choice(["a.npz", "a.npz", "a.npz", "a.npy"])
        if path.suffix == ".npy":
            data = mutated(chance, chance.choice([header(chance, (2,)), data]))
        path.write_bytes(data)
        with soon(data):
            read(chance, path)
    assert os.listdir(tmp_path) <= ["a.npy", "a.npz"]


# Files of runs


@pytest.fixture
def saved(tmp_path):
    """A file of two runs with a history."""
    chain, whole = Chain((3, 2, 4)), np.zeros(2, np.int64)
    runs = ff.Runs(
        solution=np.ones((2, 4, 3)),
        loss=np.array([0.5, 2.0]),
        status=np.array([1, 4]),
        steps=np.array([3, 9]),
        error=np.ones(2),
        step=np.ones(2),
        problem_index=whole,
        run_index=np.arange(2),
        architecture=chain,
        history=History(np.array([0, 2, 9]), loss=np.ones((2, 3)), factors=chain.unpack(np.ones((2, 3, 14)))),
        seconds=0.5,
        threads=1,
        flops=1.0,
        description={"problem": "P", "network": "N", "init": "I", "method": "M", "seed": "5"},
        flat_factors=np.ones((2, 14)),
    )
    return runs.save(tmp_path / "runs.npz")


def loaded(path):
    """Runs as a whole, or nothing where `load` refuses the file in the way that it promises."""
    try:
        runs = ff.load(path)
    except (ValueError, MemoryError):
        return None
    assert runs.solution.shape == (len(runs), *runs.architecture.solution_shape)
    assert [f.shape[1:] for f in runs.factors] == list(runs.architecture.factor_shapes)
    assert {getattr(runs, name).shape for name in ("loss", "status", "steps", "step")} == {(len(runs),)}
    assert sum(runs.status_counts().values()) == len(runs)
    for text in (repr(runs), *runs.summary().split("\n"), repr(runs.last), repr(runs.history)):
        assert text.isprintable()
    if runs.history is not None:
        for name in runs.history.recorded:
            values = getattr(runs.history, name)
            for array in values if isinstance(values, list) else [values]:
                assert array.shape[:2] == (len(runs), len(runs.history.axis[1]))
    return runs


METAS = (
    lambda meta, other: meta.pop(next(iter(meta))),
    lambda meta, other: meta.update(widths=other),
    lambda meta, other: meta.update(widths=[3, other, 4]),
    lambda meta, other: meta.update(description=other),
    lambda meta, other: meta["description"].update(network=other),
    lambda meta, other: meta["description"].update({"x": other}),
    lambda meta, other: meta["description"].update(seed=other),
    lambda meta, other: meta.update(seconds=other, threads=other),
    lambda meta, other: meta.update(flops=other),
    lambda meta, other: meta.update(format=other),
    lambda meta, other: [meta.pop("widths"), meta.update(size=3, depth=other, signed=1, identical=other)],
)
VALUES = (None, True, -1, 0, 2, 1.5, 2**70, float("nan"), float("inf"), "x", "\x1b[31m", [], {}, [3, 4], [[3]], 1e300)


def test_files_of_runs(chance, saved):
    whole = saved.read_bytes()
    with np.load(saved) as file:
        arrays = dict(file)
    accepted = 0
    for _ in range(375 * TIMES):
        data = whole
        if chance.random() < 0.5:
            meta = json.loads(str(arrays["meta"]))
            for change in chance.sample(METAS, chance.randint(0, 2)):
                with contextlib.suppress(KeyError, AttributeError, TypeError):
                    change(meta, chance.choice(VALUES))
            data = archive(chance, arrays | {"meta": np.array(json.dumps(meta))})
        if data is whole or chance.random() < 0.2:
            data = mutated(chance, data)
        saved.write_bytes(data)
        with soon(data):
            accepted += loaded(saved) is not None
    print(f"{accepted} were taken")
    saved.write_bytes(whole)
    assert loaded(saved) is not None


@pytest.mark.parametrize(
    "name", ["solution", "loss", "status", "step", "flat_factors", "history_loss", "history_steps"]
)
def test_what_is_of_another_shape_or_type_is_refused(saved, name):
    with np.load(saved) as file:
        arrays = dict(file)
    for other in (arrays[name][:1], arrays[name][..., None], arrays[name].astype(np.int8), -1 - arrays[name]):
        if other.dtype == np.int8 or other.shape != arrays[name].shape or other.dtype == np.int64:
            np.savez(saved, **(arrays | {name: other}))
            with pytest.raises(ValueError, match=r"runs\.npz is not a file of fastflow runs"):
                ff.load(saved)


class Planted:
    """What is made again by running code."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_a_strangers_arrays_run_nothing(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Planted()], object)
    if suffix == ".npz":
        np.savez("a.npz", matrix=objects, meta=objects)
    else:
        np.save("a.npy", objects)
    with pytest.raises(ValueError, match=f"^a{suffix}: holds Python objects, expected arrays of numbers$"):
        tables.read_problem(f"a{suffix}")
    with pytest.raises(ValueError, match="is not a file of fastflow runs"):
        ff.load(f"a{suffix}")
    assert os.listdir() == [f"a{suffix}"]


def test_sizes_are_held_against_the_file_and_against_memory(tmp_path, monkeypatch):
    """Before any array is made: one of 10^13 numbers that is not there, and one of many numbers that are."""
    lie = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }\n"
    lie = b"\x93NUMPY\x01\x00" + len(lie).to_bytes(2, "little") + lie + bytes(80)
    (tmp_path / "a.npy").write_bytes(lie)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("matrix.npy", lie)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(ValueError, match=f"is not a whole {name[1:]} file of NumPy arrays"):
            tables.read_problem(tmp_path / name)
    monkeypatch.setattr(memory, "available_memory", lambda: 10**6)
    np.savez_compressed(tmp_path / "b.npz", matrix=np.zeros((1000, 1000)))
    assert (tmp_path / "b.npz").stat().st_size < 10**5
    np.save(tmp_path / "b.npy", np.zeros((1000, 1000)))
    (tmp_path / "b.csv").write_text("1,2\n" * 10**4)
    for name in ("b.npz", "b.npy", "b.csv"):
        with pytest.raises(MemoryError, match=f"{name}: reading .* would take"):
            tables.read_problem(tmp_path / name)


# Lines of the shell

WORDS = (
    "inf", "nan", "-1", "0", "1", "2", "3", "0.5", "9" * 400, "9" * 5000, "1e400", "1e-400", "", " ",
    "\x1b[31m", "a\nb", "x" * 300, "\ud800", "x\0y", "1,2", "1:3:2", "1:9" + "9" * 30, "1:2:inf", "0.5edge",
    "infedge", "none", "safe", "../x", "0/2", "-1/0", "inf/nan", "--", "-", "@x", "a.csv", "a.toml", "$x$",
)  # fmt: skip
EDITS = (
    "inf", "nan", "-1", "0", "3", "2.5", "9" * 400, "1e400", "true", '""', '"x"', '"\\u001b[31m"', '"limit"',
    "[]", "{}", "[[1]]", "[1, 1]", '["a", 2]', '{ kind = "FlowLimit" }', '{ kind = "os:system" }',
    "{ from = 1, to = 1e300 }", "1979-05-27", "{ a = 1 }", "{ from = 1, to = inf, step = 1e-300 }",
    "{ from = 3, to = 5, count = 9999999999 }", '"0.5 edge"', '{ "\\u001b[2J" = { kind = 3 } }',
)  # fmt: skip
TOML = {
    "trials": "2",
    "seed": "0",
    "starts": "1",
    "problem": '"fresh"',
    "axes": "{ m = [3, 5], sparsity = [1, 2] }",
    "axes.m": "[2, 3]",
    "axes.method": '{ a = { kind = "LeastNorm" }, b = { kind = "BasisPursuit" } }',
    "ensemble": '{ kind = "Sparse", n = 8, m = 4, sparsity = 1 }',
    "ensemble.kind": '"Sparse"',
    "ensemble.n": "8",
    "ensemble.m": "4",
    "network": '{ kind = "DiagonalLinear", depth = 2 }',
    "init": '{ kind = "Constant", scale = 1e-3 }',
    "method": '{ kind = "LeastNorm" }',
    "success": "{ below = 1e-3 }",
}
KEPT = ("trials", "axes", "ensemble", "method")


def options_of(command):
    """The options of a command, and the words that they know."""
    (commands,) = [action for action in shell._parser()._actions if action.choices]
    return [
        (action.option_strings[-1], list(action.choices or ()), action.nargs == 0)
        for action in commands.choices[command]._actions
        if action.option_strings and action.option_strings[-1] not in ("--help", "--scheduler", "--bench")
    ]


def line(chance):
    """The words of a command line, short work if it is right, of which some are wrong."""
    command = chance.choice(["train", "train", "phase", "study", "info"])
    words = {
        "train": ["train", "a.csv", "--max-steps", "3", "--runs", "2", "--record", "0", "--overwrite"],
        "phase": ["phase", "--n", "8", "--m", "3,5", "--sparsity", "1,2", "--trials", "1", "--cost"],
        "study": ["study", "a.toml", "--cost"],
        "info": ["info"],
    }[command]
    options = options_of(command)
    for name, known, alone in chance.sample(options, min(len(options), chance.randint(0, 3))):
        if name in ("--resume", "--repair", "--adaptive", "--trust") and chance.random() < 0.5:
            continue
        words += [name] if alone else [name, chance.choice([*WORDS, *known, *known])]
    for _ in range(chance.choice([0, 0, 1, 2])):
        at = chance.randrange(len(words))
        if not words[at].startswith("--cost"):
            words[at] = chance.choice(WORDS)
    return words


def toml(chance):
    """A study as a file, of which some values are others."""
    names = [name for name in TOML if name in KEPT or ("." not in name and chance.random() < 0.3)]
    for name in chance.sample(list(TOML), chance.choice([0, 1, 2])):
        word = name.partition(".")[0]
        names = [kept for kept in names if kept != word or kept == name] + [name]
    values = {name: TOML[name] if chance.random() < 0.8 else chance.choice(EDITS) for name in names}
    text = "".join(f"{name} = {value}\n" for name, value in values.items())
    return mutated(chance, text.encode()) if chance.random() < 0.2 else text.encode()


def test_lines_of_the_shell(chance, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    codes = dict.fromkeys((0, 1, 2), 0)
    for _ in range(200 * TIMES):
        (tmp_path / "a.csv").write_bytes(mutated(chance, TEXTS[0]) if chance.random() < 0.2 else TEXTS[0])
        (tmp_path / "a.toml").write_bytes(toml(chance))
        words = line(chance)
        with soon((words, (tmp_path / "a.toml").read_bytes()), SECONDS + COMPILING):
            code = shell.main(words)
        said = capsys.readouterr()
        codes[code] += 1
        for text in (said.out + said.err).split("\n"):
            assert text.isprintable(), (words, text)
        if code == 2:
            assert said.err.rstrip("\n").split("\n")[-1].startswith("fastflow"), (words, said.err)
    with capsys.disabled():
        print(codes)


# What a terminal and a picture obey


def test_a_strangers_words_are_shown_and_not_obeyed(saved, tmp_path, monkeypatch, capsys):
    with np.load(saved) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays["meta"]))
    meta["description"] |= {"network": "\x1b[2J\u202eN", "problem": "a\nb"}
    np.savez(saved, **(arrays | {"meta": np.array(json.dumps(meta))}))
    assert repr(ff.load(saved)).startswith("<Runs: 2 runs of \\x1b[2J\\u202eN on a\\nb; ")
    monkeypatch.chdir(tmp_path)
    for words in (["train", "\x1b[31m.csv"], ["study", "\udcff\n\r.toml"], ["\x1b[2J"], ["phase", "--m", "\u202e"]):
        assert shell.main(words) == 2
        said = capsys.readouterr()
        assert not said.out
        assert said.err.endswith("\n")
        assert said.err[:-1].isprintable()


def test_dollars_in_labels_are_letters():
    """Between two of them matplotlib sees a formula, which `a_b_c` is not."""
    study = ff.Study(
        ff.ensembles.Sparse(8, 4, 1),
        axes={"method": {"costs $a_b_c$": ff.baselines.LeastNorm(), "$": ff.baselines.BasisPursuit()}, "m": [3, 6]},
        trials=2,
    )
    result = study.run(threads=1)
    for figure in (result.plot("slices", along="m"), result.plot("slices", along="method")):
        figure.canvas.draw()
        texts = [text.get_text() for axes in figure.axes for text in axes.findobj(lambda a: hasattr(a, "get_text"))]
        texts += [text.get_text() for text in figure.findobj(lambda a: hasattr(a, "get_text"))]
        assert any(r"costs \$a_b_c\$" in text for text in texts)


# Arguments

PROBLEMS = (
    ff.MatrixEstimation(np.eye(2)),
    ff.MatrixCompletion((2, 2), [0, 1], [0, 1], [1.0, 2.0], warn=False),
    ff.CompressedSensing(np.ones((1, 2)), [1.0]),
)
ODD = (
    *OTHERS, None, True, False, -1, 0, 1, 2, 2.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), 10**400,
    2**63, -(2**63), "", "x", "\x1b[31m", "$x$", "\ud800", b"x", (), [], {}, [1], [[1.0], [1.0, 2.0]],
    [[float("nan")]], [None], [[]], {1: 2}, {"m": [1, 2]}, 1j, object(), int, len, Ellipsis, range(3),
    range(10**12), np.float32(1), np.int8(-1), np.ones((2, 2)), np.ones((1, 2, 2)), np.ones(3),
    np.broadcast_to(1.0, (10**6, 10**6)), np.broadcast_to(1.0, (10**6,) * 3), [np.eye(2)] * 2,
    [np.ones(2)] * 2, *PROBLEMS, ff.DeepLinear(2), ff.DiagonalLinear(2), ff.inits.Gaussian(1e-3),
    ff.inits.Constant(1e-3), ff.FlowLimit(), ff.GradientDescent(0.1, 2), ff.Record(3),
    ff.ensembles.Sparse(8, 4, 1), ff.theory.edge, ff.Success(),
)  # fmt: skip
RIGHT = {
    "problem": PROBLEMS,
    "network": (ff.DeepLinear(2), ff.DiagonalLinear(2)),
    "init": (ff.inits.Gaussian(1e-3), ff.inits.Constant(1e-3)),
    "method": (ff.GradientDescent(0.1, 2), ff.FlowLimit()),
    "ensemble": (ff.ensembles.Sparse(8, 4, 1),),
    "axes": ({"m": [2, 3]},),
    "matrix": (np.ones((1, 2)), np.eye(2)),
    "values": ([1.0], [1.0, 2.0]),
    "factors": ([np.eye(2)] * 2, [np.ones(2)] * 2),
    "shape": ((2, 2),),
}
SMALL = (0.5, 1, 2, 3)
SLOW = ("fastflow.warmup", "fastflow.kernels.")


def takers():
    """Every public function and class that is made by a call."""
    for name, member, owner in members():
        if owner is not None or name.startswith(SLOW) or (is_result(member) and not issubclass(member, ff.Study)):
            continue
        with contextlib.suppress(ValueError):
            yield name, member, inspect.signature(member).parameters


def drawn(chance, parameters):
    """Arguments for a signature, right or not."""
    named = {}
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if parameter.default is not parameter.empty and chance.random() < 0.7:
            continue
        named[name] = chance.choice(RIGHT.get(name, SMALL) if chance.random() < 0.6 else ODD)
    return named


def test_arguments(chance, tmp_path, monkeypatch):
    """Of public functions: several at random; and of each array that they take, one among others that are right."""
    monkeypatch.chdir(tmp_path)
    functions, worked = list(takers()), 0
    for _ in range(500 * TIMES):
        if chance.random() < 0.5:
            name, function, parameters = chance.choice(functions)
            arguments = drawn(chance, parameters)
        else:
            name = chance.choice(list(CALLS))
            function, arguments = CALLS[name].call, {"a": chance.choice(ODD)}
            arguments = {next(iter(inspect.signature(function).parameters)): arguments["a"]}
        with soon((name, arguments), SECONDS + COMPILING), contextlib.suppress(*CLEAN):
            function(**arguments)
            worked += 1
    print(f"{worked} were taken")


def test_starts_are_counted_within_64_bits():
    with pytest.raises(ValueError, match="each of runs must be at most 9223372036854775807"):
        ff.train(PROBLEMS[0], runs=[2**63])
