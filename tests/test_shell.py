"""The command: what it writes is what `train` gives, what it refuses it refuses in one line before any work."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastflow as ff
from fastflow import shell
from fastflow.kernels.compile.target import SHAPE
from fastflow.shell import tables
from fastflow.shell import train as train_command

RNG = np.random.default_rng(7)
TARGET = RNG.standard_normal((6, 2)) @ RNG.standard_normal((2, 5))
SMALL = ("--runs", "4", "--max-steps", "200", "--threads", "1")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with the data file m.npy."""
    monkeypatch.chdir(tmp_path)
    np.save("m.npy", TARGET)
    return tmp_path


def numbers(output, row):
    """The numbers of a row of the table."""
    (line,) = re.findall(rf"^{row} .*$", output, re.MULTILINE)
    return [float(number) for number in re.findall(r"[-+.\de]*\d", line.removeprefix(row).split("(")[0])]


def test_train_writes_what_train_gives(here, capsys):
    arguments = ["train", "m.npy", "--depth", "2", "--init", "uniform", "--scale", "1e-2", "--of", "factor"]
    arguments += ["--runs", "5", "--seed", "3", "--step", "0.01", "--max-steps", "3e2", "--tol", "1e-3"]
    arguments += [
        "--gradient-tol",
        "1e-4",
        "--normalization",
        "mean",
        "--record",
        "30",
        "--out",
        "a/b",
        "--threads",
        "2",
    ]
    assert shell.main(arguments) == 0
    runs = ff.load("a/b/runs.npz")
    expected = ff.train(
        ff.MatrixEstimation(TARGET, normalization="mean"),
        ff.DeepLinear(2),
        ff.inits.Uniform(1e-2, "factor"),
        ff.GradientDescent(0.01, 300, 1e-3, 1e-4),
        runs=5,
        seed=3,
        threads=1,
        record=ff.Record(30),
    )
    for name in ("solution", "loss", "status", "steps", "flat_factors"):
        assert np.array_equal(getattr(runs, name), getattr(expected, name))
    assert runs.history is not None
    assert np.array_equal(runs.history.loss, expected.history.loss)
    output, errors = capsys.readouterr()
    assert errors == ""
    assert "m.npy: estimation, W is 6 x 5" in output
    assert f"the record of {len(expected.history.steps)} steps takes " in output
    table = runs.summary().splitlines()[:-1]  # without the time
    assert "\n".join(table) in output
    assert f"wrote {os.path.join('a', 'b', 'runs.npz')} (" in output
    assert f"wrote {os.path.join('a', 'b', 'runs.png')}" in output
    with open("a/b/runs.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_widths_dtype_and_no_record(here, capsys):
    assert shell.main(["train", "m.npy", "--widths", "5,3,2,6", "--dtype", "float32", "--record", "0", *SMALL]) == 0
    runs = ff.load("runs/runs.npz")
    assert runs.widths == (5, 3, 2, 6)
    assert runs.solution.dtype == np.float32
    assert runs.history is None
    assert "record" not in capsys.readouterr().out
    assert os.listdir("runs") == ["runs.npz"]


@pytest.mark.parametrize("name", sorted(train_command.INITS))
def test_every_init(here, name):
    """The identity, which is the same in every run, makes one run by default."""
    arguments = ["train", "m.npy", "--init", name, "--max-steps", "5", "--threads", "1", "--record", "0"]
    assert shell.main(arguments) == 0
    runs = ff.load("runs/runs.npz")
    assert len(runs) == (1 if name == "identity" else 256)
    assert runs.description["init"].lower().startswith(name)


def test_missing_entries_become_completion(here, capsys):
    gappy = TARGET.copy()
    gappy[1, 2] = gappy[4, 0] = np.nan
    lines = [",".join("" if np.isnan(x) else repr(float(x)) for x in row) for row in gappy]
    (here / "m.csv").write_text("\n".join(["a,b,c,d,e", *lines]))
    assert shell.main(["train", "m.csv", "--truth", "m.npy", *SMALL]) == 0
    output = capsys.readouterr().out
    assert "m.csv: completion, W is 6 x 5\n  2 of 30 entries are missing, so this is completion" in output
    runs = ff.load("runs/runs.npz")
    assert "MatrixCompletion" in runs.description["problem"]
    assert np.array_equal(runs.error, ff.metrics.relative_error(runs.solution, TARGET))
    assert numbers(output, "error") == pytest.approx(np.quantile(runs.error, (0.1, 0.5, 0.9)), rel=1e-3)


def test_hidden_entries_are_compared(here, capsys):
    assert shell.main(["train", "m.npy", "--hide", "0.3", "--seed", "5", *SMALL]) == 0
    output = capsys.readouterr().out
    hidden = tables.read_problem("m.npy", hide=0.3, seed=5).hidden
    places = hidden.rows, hidden.cols
    solutions = ff.load("runs/runs.npz").solution
    errors = [np.linalg.norm((w - TARGET)[places]) / np.linalg.norm(TARGET[places]) for w in solutions]
    assert "9 of 30 entries are hidden (seed 5)" in output
    assert "on 9 hidden entries" in output
    assert numbers(output, "hidden error") == pytest.approx(np.quantile(errors, (0.1, 0.5, 0.9)), rel=1e-3)


def test_regression_from_arrays(here, capsys):
    inputs = RNG.standard_normal((20, 3))
    np.savez("r.npz", inputs=inputs, outputs=inputs @ RNG.standard_normal((3, 4)))
    assert shell.main(["train", "r.npz", *SMALL]) == 0
    assert "r.npz: regression, W is 4 x 3" in capsys.readouterr().out
    assert shell.main(["train", "r.npz", "--problem", "autoencoder", "--widths", "3,1,3", "--overwrite", *SMALL]) == 0
    assert "r.npz: autoencoder, W is 3 x 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "the following arguments are required"),
        ("fly", "invalid choice: 'fly'"),
        ("train", "the following arguments are required: DATA"),
        ("train m.npy --bogus", "unrecognized arguments: --bogus"),
        ("train none.npy", "none.npy: no such file"),
        ("train m.txt", "m.txt: expected a .npy, .npz or .csv file"),
        ("train words.csv", "words.csv: line 2, column 2: 'two' is not a number"),
        ("train words.npy", "the matrix must be an array of real numbers, got dtype <U1"),
        ("train broken.npz", "broken.npz: is not a whole .npz file"),
        ("train names.npz", "estimation needs an array named matrix or target, or a single array; the file has a, b"),
        ("train gaps.csv --problem estimation", "1 of 4 entries are missing, so this is --problem completion"),
        ("train gaps.csv --problem autoencoder", "gaps.csv: inputs: 1 of 4 entries are missing"),
        ("train gaps.csv --problem regression", "regression needs an .npz file"),
        ("train gaps.csv --problem sensing", "sensing needs an .npz file"),
        ("train gaps.npz", "gaps.npz: inputs: 1 of 30 entries are missing, the first in row 2, column 4"),
        ("train m.npy --problem magic", "argument --problem: invalid choice: 'magic'"),
        ("train m.npy --samples columns", "only autoencoder and regression have samples"),
        ("train m.npy --truth none.npy", "none.npy: no such file"),
        ("train m.npy --truth gaps.csv", "gaps.csv: truth: 1 of 4 entries are missing"),
        ("train gaps.csv --truth m.npy", "truth must have the shape (2, 2) of W, got (6, 5)"),
        ("train m.npy --hide 0", "argument --hide: the value must be greater than 0"),
        ("train m.npy --hide 1", "the fraction to hide must be less than 1"),
        ("train m.npy --depth 0", "argument --depth: the value must be at least 1, got 0"),
        ("train m.npy --depth two", "argument --depth: expected a number, got 'two'"),
        ("train m.npy --depth 2 --widths 5,6", "not allowed with argument"),
        ("train m.npy --widths 5", "argument --widths: widths must be (d_0, ..., d_N) with at least two"),
        ("train m.npy --widths 5,0,6", "argument --widths: each width must be at least 1, got 0"),
        ("train m.npy --widths 5,,6", "argument --widths: expected a number, got ''"),
        ("train m.npy --widths 6,3,5", "widths must start with 5 and end with 6"),
        ("train m.npy --init magic", "argument --init: invalid choice: 'magic'"),
        ("train m.npy --scale -1", "argument --scale/--alpha: the value must be greater than 0, got -1"),
        ("train m.npy --scale nan", "argument --scale/--alpha: the value must be finite, got nan"),
        ("train m.npy --runs 0", "argument --runs: the value must be at least 1, got 0"),
        ("train m.npy --runs 2.5", "argument --runs: the value must be an integer, got 2.5"),
        ("train m.npy --seed -1", "argument --seed: the value must be at least 0, got -1"),
        ("train m.npy --init identity --runs 2", "Identity starts every run at the same factors"),
        ("train m.npy --step 0", "argument --step: the value must be greater than 0, got 0"),
        ("train m.npy --step tiny", "argument --step: expected a number, safe, or like 0.5edge, got 'tiny'"),
        ("train m.npy --step 0edge", "argument --step: multiple must be greater than 0, got 0"),
        ("train m.npy --step safe --method flow", "--step safe is for --method descent"),
        ("train m.npy --momentum 0.9", "--momentum is for --method sgd, momentum, muon"),
        ("train m.npy --method momentum --momentum 1", "argument --momentum: the value must be less than 1, got 1"),
        ("train m.npy --method momentum --momentum (k-1)", "momentum must be a number or '(k-1)/(k+2)', got '(k-1)'"),
        ("train m.npy --method adam --step 0.9edge", "step of Adam must be a number"),
        ("train m.npy --method flow --batch 2", "--batch-size is for --method descent, sgd, momentum"),
        ("train m.npy --method early-stopping", "--method early-stopping needs --hold-out"),
        ("train m.npy --hold-out 2", "MatrixEstimation has no measurements that can be held out"),
        ("train m.npy --ratio 2", "--ratio is for --method weight-normalization, weight-normalization-flow"),
        ("train m.npy --method weight-normalization", "WeightNormalization needs a DiagonalLinear network"),
        ("train m.npy --method adam --batch 31", "batch_size must be at most 30, the samples that there are, got 31"),
        ("train m.npy --method adam --batch 2 --step 0.5edge", "step of Adam must be a number"),
        ("train m.npy --method sgd --batch 31", "batch_size must be at most 30, the samples that there are, got 31"),
        ("train m.npy --max-steps -1", "argument --max-steps: the value must be at least 0, got -1"),
        ("train m.npy --tol -1", "argument --tol: the value must be at least 0, got -1"),
        ("train m.npy --gradient-tol inf", "argument --gradient-tol: the value must be finite, got inf"),
        ("train m.npy --threads 0", "argument --threads: the value must be at least 1, got 0"),
        ("train m.npy --dtype float16", "argument --dtype: invalid choice: 'float16'"),
        ("train m.npy --record 1", "argument --record: steps must be at least 2, got 1"),
        ("train m.npy --runs 1e6 --max-steps 1e9 --record 1e5", "the results of 1000000 runs would take"),
        ("train m.npy --out m.npy", "cannot write to the folder m.npy: "),
        ("train m.npy --out m.npy/results", "cannot write to the folder m.npy"),
        ("train zeros.npy", "the data point to the solution W = 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(here, capsys, arguments, complaint):
    (here / "words.csv").write_text("1,2\n3,two\n")
    (here / "gaps.csv").write_text("1,2\n3,\n")
    (here / "broken.npz").write_bytes(b"PK\x03\x04")
    np.save("words.npy", np.array([["a"]]))
    np.save("zeros.npy", np.zeros((3, 3)))
    np.savez("names.npz", a=TARGET, b=TARGET)
    gappy = TARGET.copy()
    gappy[1, 3] = np.nan
    np.savez("gaps.npz", inputs=gappy, outputs=TARGET)
    assert shell.main(arguments.split()) == 2
    errors = capsys.readouterr().err
    assert complaint in errors
    assert errors.startswith("fastflow")
    assert errors.count("\n") == 1
    assert not list(here.rglob("runs.npz"))


def test_results_that_cannot_be_written_still_show_the_table(here, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ff.Runs, "save", full)
    assert shell.main(["train", "m.npy", *SMALL]) == 1
    output, errors = capsys.readouterr()
    assert "effective rank" in output
    assert "the results could not be written: " in errors
    assert "No space left on device" in errors


def test_without_matplotlib_the_results_are_saved(here, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert shell.main(["train", "m.npy", *SMALL]) == 0
    assert "pip install 'fastflow[study]'" in capsys.readouterr().err
    assert os.listdir("runs") == ["runs.npz"]


@pytest.mark.parametrize(
    ("words", "step"), [("safe", "safe"), ("0.9edge", 0.9 * ff.theory.edge), ("0.3 edge", 0.3 * ff.theory.edge)]
)
def test_steps_in_words(here, words, step):
    assert shell.main(["train", "m.npy", "--step", words, "--record", "0", *SMALL]) == 0
    method = ff.GradientDescent(step, max_steps=200)
    expected = ff.train(ff.MatrixEstimation(TARGET), method=method, runs=4)
    runs = ff.load("runs/runs.npz")
    np.testing.assert_array_equal(runs.step, expected.step)
    np.testing.assert_array_equal(runs.solution, expected.solution)


@pytest.mark.filterwarnings("default:step")
def test_a_step_that_is_too_large_is_warned_of_in_one_line(here, capsys):
    assert shell.main(["train", "m.npy", "--step", "1e6", *SMALL]) == shell.FAILED
    output, errors = capsys.readouterr()
    warning, picture = errors.splitlines()
    assert warning.startswith("fastflow: warning: step 1e+06 is above the linear stability edge")
    assert picture.startswith("fastflow: no picture: every run diverged")
    assert "4 diverged" in output
    assert len(ff.load("runs/runs.npz")) == 4


def test_results_of_before_are_kept_or_replaced(here, capsys):
    """An interrupted run leaves no picture; one of earlier runs beside its results would be a lie."""
    assert shell.main(["train", "m.npy", *SMALL]) == 0
    assert sorted(os.listdir("runs")) == ["runs.npz", "runs.png"]
    before = (here / "runs" / "runs.npz").read_bytes()
    arguments = ["train", "m.npy", "--record", "0", "--depth", "1", *SMALL]
    capsys.readouterr()
    assert shell.main(arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert f"{os.path.join('runs', 'runs.npz')} exists: --overwrite replaces it, --out takes another folder" in errors
    assert (here / "runs" / "runs.npz").read_bytes() == before
    (here / "runs" / "runs.npz").unlink()
    assert shell.main(arguments) == 2
    assert "runs.png exists" in capsys.readouterr().err
    assert shell.main([*arguments, "--overwrite"]) == 0
    assert os.listdir("runs") == ["runs.npz"]
    assert ff.load("runs/runs.npz").widths == (5, 6)


def test_another_signal_does_not_stop_the_saving(here, capsys, monkeypatch):
    """Ctrl-C, and then Ctrl-C and SIGTERM while the results are written: they are there, and the handlers are back."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    train, save = train_command.train, ff.Runs.save

    def interrupted(*arguments, **options):
        raise ff.Interrupted(train(*arguments, **options))

    def slow_save(runs, path):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        return save(runs, path)

    monkeypatch.setattr(train_command, "train", interrupted)
    monkeypatch.setattr(ff.Runs, "save", slow_save)
    assert shell.main(["train", "m.npy", *SMALL]) == 130
    output, errors = capsys.readouterr()
    assert "wrote " in output
    assert "interrupted when 4 of 4 runs had ended" in errors
    assert os.listdir("runs") == ["runs.npz"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_sigterm_before_anything_is_done(here, capsys, monkeypatch):
    monkeypatch.setattr(train_command, "train", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert shell.main(["train", "m.npy", *SMALL]) == 130
    assert capsys.readouterr().err == "fastflow: interrupted\n"
    assert os.listdir("runs") == []


def test_main_outside_the_main_thread(here):
    """Signals cannot be handled there; everything else works."""
    codes = []
    thread = threading.Thread(target=lambda: codes.append(shell.main(["train", "m.npy", "--record", "0", *SMALL])))
    thread.start()
    thread.join()
    assert codes == [0]
    assert os.listdir("runs") == ["runs.npz"]


def test_info(capsys):
    assert shell.main(["info"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["fastflow"] == ff.__version__
    assert rows["numpy"] == np.__version__
    assert rows["simd"].startswith(SHAPE.name)
    assert int(rows["threads"]) >= 1
    assert {"python", "numba", "llvmlite", "scipy", "cpu", "kernel"} <= set(rows)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--version"], f"fastflow {ff.__version__}"),
        (["--help"], "train"),
        (["train", "--help"], "--gradient-tol TOL"),
    ],
)
def test_help_and_version(capsys, arguments, expected):
    assert shell.main(arguments) == 0
    assert expected in capsys.readouterr().out


def run_python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, check=False, **options
    )


def test_the_module_is_the_command(here):
    result = run_python("-m", "fastflow", "--version")
    assert (result.returncode, result.stdout) == (0, f"fastflow {ff.__version__}\n")
    result = run_python("-m", "fastflow", "train", "none.csv")
    assert result.returncode == 2
    assert result.stderr == "fastflow: error: none.csv: no such file\n"


def test_a_reader_that_leaves_is_no_error(here):
    """``fastflow train ... | head -1``: no traceback, and the results are there."""
    command = [sys.executable, "-m", "fastflow", "train", "m.npy", *SMALL]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert len(ff.load("runs/runs.npz")) == 4


def test_the_shell_is_light(here):
    """Matplotlib is imported to draw, and pyplot never."""
    code = (
        "import sys, fastflow.shell\n"
        "heavy = {'matplotlib', 'xarray', 'zarr', 'dask', 'pandas', 'scipy.optimize', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        f"assert fastflow.shell.main(['train', 'm.npy', *{SMALL}]) == 0\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules\n"
    )
    result = run_python("-c", code)
    assert result.returncode == 0, result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal and its signals")
@pytest.mark.parametrize(("number", "threads"), [(signal.SIGINT, 1), (signal.SIGTERM, 2)])
def test_interrupted_from_a_terminal(here, number, threads):
    """In the middle of 10^9 steps, known from the progress bar: what is done is saved, and the exit code is 130."""
    import termios

    # Where the tests run in the background SIGINT is ignored, and children would inherit that.
    code = "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from fastflow.shell import main\nsys.exit(main())"
    arguments = ["train", "m.npy", "--runs", "8", "--max-steps", "1e9", "--tol", "0", "--threads", str(threads)]
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        seen = b""
        while b"0/8" not in seen:
            seen += os.read(ours, 1024)
        process.send_signal(number)
        output = process.communicate()[0]
        while b"interrupted when 0 of 8 runs had ended" not in seen:
            seen += os.read(ours, 1024)
        os.close(ours)
    assert process.returncode == 130
    assert "8 running" in output
    assert os.listdir("runs") == ["runs.npz"]
    runs = ff.load("runs/runs.npz")
    assert (runs.status == ff.Status.RUNNING).all()
    assert runs.steps.max() > 0
    assert np.isfinite(runs.loss).all()
    again = ff.train(
        ff.MatrixEstimation(TARGET), init=runs.last, method=ff.GradientDescent(max_steps=int(runs.steps.max()), tol=0.0)
    )
    assert (again.steps == runs.steps.max()).all()


@pytest.mark.filterwarnings("default:step")
def test_all_runs_diverged_is_a_failure(here, capsys):
    """With a picture to draw and without."""
    for record in ("20", "0"):
        arguments = ["train", "m.npy", "--step", "1e6", "--record", record, "--out", f"out{record}", *SMALL]
        assert shell.main(arguments) == shell.FAILED
        assert "every run diverged" in capsys.readouterr().err
        assert (ff.load(f"out{record}/runs.npz").status == ff.Status.DIVERGED).all()


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("thousands.csv", "--comma thousands", "estimation, W is 2 x 2"),
        ("numbers.csv", "--row-numbers drop", "the first column, of row numbers, is left out"),
        ("counted.csv", "--header yes", "the first line names the columns: '0', '1', '2'"),
        ("triplets.csv", "--layout triplets", "triplets: 4 entries of a 2 x 2 matrix, rows and columns counted from 0"),
        ("mask.npz", "--mask observed", "1 of 30 entries are missing, so this is completion"),
        ("table.npy", "--problem autoencoder --samples rows", "autoencoder, W is 5 x 5"),
    ],
)
def test_what_can_be_read_in_two_ways(here, capsys, name, option, said):
    """Refused with the options in the message; with one of them it is said how it was read."""
    (here / "thousands.csv").write_text('"1,000","2,000"\n3,4\n')
    (here / "numbers.csv").write_text('"","V1","V2"\n"1",0.5,1\n"2",2.5,2\n')
    (here / "counted.csv").write_text("0,1,2\n1.5,2.5,3.5\n2.5,1.5,1.0\n")
    (here / "triplets.csv").write_text("0,0,1.5\n0,1,2.5\n1,0,1\n1,1,4\n")
    np.savez("mask.npz", matrix=TARGET, mask=np.arange(30).reshape(6, 5) != 7)
    np.savez("numbers.npz", matrix=TARGET, mask=(np.arange(30).reshape(6, 5) != 7).astype(int))
    np.save("table.npy", TARGET)
    without = option.split()[:2] if "--problem" in option else []
    refused = "numbers.npz" if name == "mask.npz" else name
    assert shell.main(["train", refused, *without, *SMALL]) == 2
    assert f"say {option.split()[-2]} " in capsys.readouterr().err
    assert shell.main(["train", name, *option.split(), *SMALL]) == 0
    assert said in capsys.readouterr().out


# Compressed sensing


@pytest.fixture
def sensing(here):
    """A file with measurements of a nonnegative vector with 3 nonzero entries of 30."""
    matrix, truth = RNG.standard_normal((12, 30)) / np.sqrt(12), np.zeros(30)
    truth[[3, 11, 20]] = 1.0, 2.0, 0.5
    np.savez("s.npz", A=matrix, y=matrix @ truth, truth=truth)
    return ff.CompressedSensing(matrix, matrix @ truth, truth=truth)


@pytest.mark.parametrize(
    ("arguments", "network", "method"),
    [
        ([], ff.DiagonalLinear(), ff.GradientDescent()),
        (["--method", "limit", "--depth", "3"], ff.DiagonalLinear(3), ff.FlowLimit()),
        (["--method", "limit", "--nonnegative"], ff.DiagonalLinear(signed=False), ff.FlowLimit()),
        (
            ["--method", "limit", "--tol", "1e-3", "--max-steps", "7"],
            ff.DiagonalLinear(),
            ff.FlowLimit(tol=1e-3, max_steps=7),
        ),
        (
            ["--method", "sgd", "--batch", "2", "--label-noise", "0.1", "--step", "1e-2", "--max-steps", "500"],
            ff.DiagonalLinear(),
            ff.StochasticGradientDescent(1e-2, 2, label_noise=0.1, max_steps=500),
        ),
        (
            ["--method", "momentum", "--momentum", "(k-1)/(k+2)", "--nesterov", "--weight-decay", "0.1"],
            ff.DiagonalLinear(),
            ff.Momentum(momentum="(k-1)/(k+2)", nesterov=True, weight_decay=0.1, max_steps=100_000),
        ),
        (
            ["--method", "weight-normalization-flow", "--nonnegative", "--ratio", "3", "--record", "0"],
            ff.DiagonalLinear(signed=False),
            ff.WeightNormalizationFlow(ratio=3),
        ),
        (["--method", "flow", "--record", "0", "--tol", "1e-6"], ff.DiagonalLinear(), ff.GradientFlow(tol=1e-6)),
    ],
)
def test_compressed_sensing(sensing, capsys, arguments, network, method):
    assert shell.main(["train", "s.npz", "--alpha", "1e-2", *arguments]) == 0
    runs = ff.load("runs/runs.npz")
    expected = ff.train(sensing, network, ff.inits.Constant(1e-2), method)
    for name in ("solution", "loss", "status", "steps", "error"):
        assert np.array_equal(getattr(runs, name), getattr(expected, name))
    output, errors = capsys.readouterr()
    assert errors == ""
    assert "s.npz: compressed-sensing, x is 30" in output
    assert "\n".join(expected.summary().splitlines()[:-1]) in output
    assert "from alpha = 0.01" in output
    with open("runs/runs.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_the_flow_of_a_matrix(here, capsys):
    """Recorded at the times of gradient descent's steps; the picture and the tables take times for steps."""
    arguments = ["--method", "flow", "--depth", "2", "--record", "9", "--step", "0.1edge", "--runs", "3"]
    assert shell.main(["train", "m.npy", *arguments, "--max-steps", "1000"]) == 0
    runs = ff.load("runs/runs.npz")
    step = 0.1 * ff.theory.stability_edge(ff.MatrixEstimation(TARGET), ff.DeepLinear(2))
    times = step * ff.Record(9).grid(1000)
    method, problem = ff.GradientFlow(times), ff.MatrixEstimation(TARGET)
    expected = ff.train(problem, ff.DeepLinear(2), method=method, runs=3, record=ff.Record())
    for name in ("solution", "loss", "status", "steps"):
        np.testing.assert_array_equal(getattr(runs, name), getattr(expected, name), name)
    np.testing.assert_array_equal(runs.history.singular_values, expected.history.singular_values)
    assert "\n".join(expected.summary().splitlines()[:-1]) in capsys.readouterr().out


def test_several_alphas_are_one_run_each(sensing, capsys):
    """Of the product, too, and alpha is that of a factor; the flow is recorded at the times of gradient descent's."""
    arguments = ["--of", "product", "--scale", "1,1e-2,1e-4", "--method", "flow", "--record", "9", "--step", "0.5"]
    assert shell.main(["train", "s.npz", *arguments, "--max-steps", "1000"]) == 0
    runs = ff.load("runs/runs.npz")
    assert "from alpha = 1, 0.1, 0.01" in capsys.readouterr().out
    for run, alpha in enumerate([1.0, 0.1, 0.01]):
        method = ff.GradientFlow(runs.history.times)
        expected = ff.train(sensing, ff.DiagonalLinear(), ff.inits.Constant(alpha), method)
        np.testing.assert_allclose(runs.solution[run], expected.solution[0], rtol=0, atol=1e-9)
    assert np.array_equal(runs.history.times, 0.5 * ff.Record(9).grid(1000))


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"A": None}, [], "compressed-sensing needs an .npz file with the arrays A and y; the file has truth, y"),
        ({"y": None}, [], "compressed-sensing needs an .npz file with the arrays A and y; the file has A, truth"),
        ({"y": np.ones(11)}, [], "y must have one entry for each of the 12 rows of A, got 11"),
        ({"y": np.full(12, np.nan)}, [], "y must be finite, got nan at index"),
        ({"truth": np.ones(29)}, [], "truth must have the shape \\(30,\\) of x"),
        (
            {},
            ["--runs", "3", "--widths", "3,3"],
            "--widths and --runs are for matrices: a diagonal network has one run",
        ),
        ({}, ["--init", "gaussian", "--seed", "3"], "--init and --seed are for matrices"),
        ({}, ["--method", "limit", "--gradient-tol", "1"], "--gradient-tol is for --method descent"),
        ({}, ["--method", "flow", "--dtype", "float32"], "--dtype is for --method descent"),
        ({}, ["--method", "limit", "--step", "1", "--record", "5"], "--step and --record are for --method descent and"),
        ({}, ["--method", "limit", "--tol", "0"], "--tol of --method limit, relative to the norm of y, must be"),
        ({}, ["--alpha", "1,0"], "the value must be greater than 0, got 0"),
        (
            {},
            ["--alpha", "1,1e-13", "--method", "limit"],
            "FlowLimit needs starts u and v that are 0 or from 1e-12 to 1000",
        ),
        ({}, ["--hide", "0.5"], "only entries of a matrix can be hidden, and this is compressed-sensing"),
        (
            {"A": None, "y": None, "truth": None, "m": TARGET},
            ["--method", "limit"],
            "--method limit is for compressed sensing",
        ),
        ({"A": None, "y": None, "truth": None, "m": TARGET}, ["--scale", "1,2"], "several values of --scale are for"),
    ],
)
def test_wrong_compressed_sensing(sensing, capsys, changes, arguments, message):
    arrays = {"A": sensing.matrix, "y": sensing.values, "truth": sensing.truth} | changes
    np.savez("s.npz", **{name: array for name, array in arrays.items() if array is not None})
    assert shell.main(["train", "s.npz", *arguments]) == 2
    output, errors = capsys.readouterr()
    assert output.count("\n") <= 3
    assert re.search(message, errors)
    assert errors.count("\n") == 1


def test_a_truth_from_a_file_of_its_own(sensing):
    np.savez("s.npz", A=sensing.matrix, y=sensing.values[:, None])
    np.save("t.npy", sensing.truth)
    assert shell.main(["train", "s.npz", "--truth", "t.npy", "--method", "limit"]) == 0
    runs = ff.load("runs/runs.npz")
    np.testing.assert_allclose(runs.error[0], np.linalg.norm(runs.solution - sensing.truth) / np.sqrt(5.25), rtol=1e-12)
