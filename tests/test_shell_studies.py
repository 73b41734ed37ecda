"""``fastflow phase`` and ``fastflow study``: what they write is what the study gives, what they refuse they name."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time

import numpy as np
import pytest
from test_studies import same_bits

import fastflow as ff
from fastflow import shell
from fastflow.studies.spec import foreign_names

SMALL = ("--n", "24", "--m", "6:18:4", "--sparsity", "2,4", "--trials", "10", "--threads", "1")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def expected(trials=10, m=(6, 10, 14, 18), **options):
    axes = {"m": m, "sparsity": (2, 4)}
    words = (ff.ensembles.Sparse(n=24), ff.DiagonalLinear(2), ff.inits.Constant(1e-6), ff.FlowLimit())
    return ff.Study(*words, axes=axes, trials=trials, **options)


def test_phase_writes_what_the_study_gives(here, capsys):
    assert shell.main(["phase", *SMALL]) == 0
    result = ff.open_study("phase.zarr")
    assert result.design.describe() == expected().describe()
    assert same_bits(result, expected().run(threads=1, progress=False))
    output, errors = capsys.readouterr()
    assert errors == ""
    assert "4 m x 2 sparsity = 8 cells, 80 of 80 trials done" in output
    found, theory = result.boundary(), result.theory()
    assert theory == pytest.approx(ff.theory.l1_statistical_dimension([2, 4], 24))
    for s, value, wanted in zip((2, 4), found.value, theory, strict=True):
        (line,) = [line for line in output.splitlines() if line.startswith(f"{s:>14} ")]
        assert float(line.split()[1]) == pytest.approx(value, abs=0.006)
        assert float(line.split()[-1]) == pytest.approx(wanted, abs=0.006)
    assert sorted(os.listdir()) == ["phase.png", "phase.zarr"]
    with open("phase.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_every_option_reaches_the_study(here):
    options = ["--matrix", "correlated", "--correlation", "0.3", "--scaling", "columns", "--coefficients", "flat"]
    options += ["--noise", "0.01", "--depth", "3", "--nonnegative", "--alpha", "1e-3", "--below", "0.1", "--seed", "4"]
    options += ["--outcomes", "l1_norm,support_recovery"]
    assert shell.main(["phase", *SMALL, *options, "--out", "other", "--max-steps", "50"]) == 0
    study = ff.open_study("other.zarr").design
    wanted = ff.ensembles.Sparse(
        n=24, matrix="correlated", correlation=0.3, scaling="columns", coefficients="flat", noise=0.01
    )
    assert repr(study.words["ensemble"]) == repr(wanted)
    assert study.words["network"] == ff.DiagonalLinear(3, signed=False)
    assert study.words["init"].scale == 1e-3
    assert study.words["method"] == ff.FlowLimit(max_steps=50)
    assert (study.seed, study.success) == (4, ff.Success(below=0.1))
    assert list(study.asked) == ["l1_norm", "support_recovery"]


@pytest.mark.parametrize(
    ("method", "wanted"), [("pursuit", "BasisPursuit"), ("descent", "GradientDescent"), ("flow", "GradientFlow")]
)
def test_other_methods(here, method, wanted):
    options = ["--m", "10", "--sparsity", "1", "--trials", "2"]
    options += [] if method == "pursuit" else ["--max-steps", "30"]
    assert shell.main(["phase", *SMALL, *options, "--method", method]) == 0
    assert type(ff.open_study("phase.zarr").design.words["method"]).__name__ == wanted


def test_the_default_is_a_full_map():
    from fastflow.shell import phase

    study = phase.study_of(shell._parser().parse_args(["phase"]))
    assert study.shape == (31, 31)
    assert study.trials == 50
    assert study.words["ensemble"].n == 128
    assert study.words["method"] == ff.FlowLimit()
    assert study.axes[0].values == tuple(range(4, 125, 4))
    assert study.axes[1].values == tuple(range(2, 63, 2))


def test_an_existing_store_is_kept_resumed_and_grown(here, capsys):
    assert shell.main(["phase", *SMALL]) == 0
    capsys.readouterr()
    assert shell.main(["phase", *SMALL]) == 2
    assert capsys.readouterr().err == (
        "fastflow: error: phase.zarr exists: --resume goes on with it, --out takes another name\n"
    )
    assert shell.main(["phase", *SMALL, "--trials", "15", "--m", "6,10,12,14,18", "--resume"]) == 0
    grown = expected(15, (6, 10, 12, 14, 18)).run(threads=1, progress=False)
    assert same_bits(ff.open_study("phase.zarr"), grown)
    assert shell.main(["phase", *SMALL, "--depth", "3", "--trials", "15", "--m", "6,10,12,14,18", "--resume"]) == 2
    assert "network.depth is 2 there and 3 here" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_it_and_nothing_is_lost(here, capsys, number):
    def stop_it():
        while not (here / "phase.zarr").exists():  # before that SIGTERM would end the tests
            time.sleep(0.01)
        time.sleep(0.2)
        signal.raise_signal(number)

    stopping = threading.Thread(target=stop_it, daemon=True)
    stopping.start()
    assert shell.main(["phase", *SMALL, "--trials", "20000"]) == 130
    stopping.join()
    output, errors = capsys.readouterr()
    assert "interrupted; --resume goes on from phase.zarr" in errors
    result = ff.open_study("phase.zarr")
    assert f"{result.trials.sum()} of 160000 trials done" in output


STUDY = """
trials = 6
[ensemble]
kind = "LowRank"
n = 4
[network]
kind = "DeepLinear"
[init]
kind = "Gaussian"
scale = 0.1
[success]
below = 0.1
[axes]
m = { from = 6, to = 14, step = 8 }
rank = [1, 2]
depth = [2, 3]
[axes.method]
descent = { kind = "GradientDescent", step = "0.5 edge", max_steps = 300 }
nuclear = { kind = "NuclearNorm", tol = 1e-3 }
"""


def test_crossings_that_there_are_not_are_said_in_words(here, capsys):
    assert shell.main(["phase", *SMALL, "--m", "2,3"]) == 0
    output = capsys.readouterr().out
    assert " nan" not in output
    assert " inf" not in output
    rows = [line.split() for line in output.splitlines() if line.startswith(" " * 13)]
    assert [row[:-1] for row in rows] == [["2", "after", "from", "3.00", "on"], ["4", "after", "from", "3.00", "on"]]
    assert "after: The rate comes to the level only after the last value" in output


def test_a_study_from_a_file(here, capsys):
    (here / "maps.toml").write_text(STUDY)
    assert shell.main(["study", "maps.toml"]) == 0
    result = ff.open_study("maps.zarr")
    assert result.complete
    assert {name: len(values) for name, values in result.axes.items()} == {"m": 2, "rank": 2, "depth": 2, "method": 2}
    axes = {
        "m": (6, 14),
        "rank": (1, 2),
        "depth": (2, 3),
        "method": {
            "descent": ff.GradientDescent(0.5 * ff.theory.edge, max_steps=300),
            "nuclear": ff.baselines.NuclearNorm(tol=1e-3),
        },
    }
    study = ff.Study(
        ff.ensembles.LowRank(n=4),
        ff.DeepLinear(),
        ff.inits.Gaussian(0.1),
        axes=axes,
        trials=6,
        success=ff.Success(below=0.1),
    )
    assert same_bits(result, study.run(threads=2, progress=False))
    nuclear = result[{"method": "nuclear"}]
    assert np.array_equal(nuclear.outcomes["error"][:, :, 0], nuclear.outcomes["error"][:, :, 1])
    assert os.path.exists("maps.png")


def test_functions_beside_the_file(here, monkeypatch, capsys):
    """Are code of others, which runs with leave alone, and takes the place of no other module."""
    monkeypatch.setattr("sys.path", [path for path in sys.path if path not in ("", str(here))])
    (here / "mine.py").write_text(
        "import fastflow as ff\n\ndef draw(rng, m, n=9):\n    return ff.ensembles.Sparse(n, m, 1).draw(rng)\n"
    )
    (here / "a.toml").write_text(
        'trials = 3\nmethod = { kind = "LeastNorm" }\naxes = { m = [3, 5] }\n'
        'ensemble = { kind = "Custom", function = "mine:draw", version = 1 }\n'
    )
    (here / "tqdm.py").write_text("raise SystemExit('imported')")
    assert shell.main(["study", "a.toml"]) == 2
    message = "the study names code outside of fastflow, 'mine:draw': trust=True (--trust in the shell)"
    assert message in capsys.readouterr().err
    assert "mine" not in sys.modules
    assert shell.main(["study", "a.toml", "--trust"]) == 0
    assert ff.open_study("a.zarr").complete
    del sys.modules["mine"]


def test_what_a_module_of_ours_has_imported_is_not_ours(here, monkeypatch, capsys):
    """os.spawnv by the name of a module that is trusted, or by what is no name of a function."""
    (here / "trusted.py").write_text("import os\n\ndef draw(rng, m):\n    raise AssertionError\n")
    (here / "planted.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(here)
    monkeypatch.setitem(sys.modules, "trusted", importlib.import_module("trusted"))
    for name in (
        '"trusted:os.spawnv"',
        '"__main__:sys.exit"',
        '"trusted:draw.__globals__"',
        '"planted"',
        '["planted:f"]',
    ):
        (here / "a.toml").write_text(
            'trials = 3\nmethod = { kind = "LeastNorm" }\naxes = { m = [3, 5] }\n'
            f'ensemble = {{ kind = "Custom", function = {name}, version = 1 }}\n'
        )
        assert shell.main(["study", "a.toml", "--cost"]) == 2
        errors = capsys.readouterr().err
        assert "outside of fastflow" in errors or "expected a name such as 'module:name'" in errors
    assert "planted" not in sys.modules
    assert not list(foreign_names({"kind": "Custom", "function": "trusted:draw"}))


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "fastflow.shell:main", "numpy:save", "nowhere:f"])
@pytest.mark.parametrize("place", ["function", "baseline", "cost"])
def test_a_strangers_file_runs_nothing(here, capsys, name, place):
    (here / "a.toml").write_text(
        f'trials = 3\nmethod = {{ kind = "{name if place == "baseline" else "LeastNorm"}" }}\naxes = {{ m = [3, 5] }}\n'
        + (f'ensemble = {{ kind = "Custom", function = "{name}", version = 1 }}\n' if place != "baseline" else "")
    )
    assert shell.main(["study", "a.toml", *(["--cost"] if place == "cost" else [])]) == 2
    errors = capsys.readouterr().err
    assert f"the study names code outside of fastflow, '{name}'" in errors
    assert errors.count("\n") == 1


def test_adaptive_says_what_it_saves(here, capsys):
    assert shell.main(["phase", *SMALL, "--trials", "80", "--adaptive"]) == 0
    trials = ff.open_study("phase.zarr").done.sum(axis=-1)
    assert set(trials.ravel()) <= {40, 80}
    assert f"adaptive: {1 - trials.mean() / 80:.0%} of the trials were saved" in capsys.readouterr().out


def test_where_nothing_or_everything_succeeds_no_crossing_is_asked_for(here, capsys):
    assert shell.main(["phase", *SMALL, "--depth", "1"]) == 0
    assert "m at 50%: nowhere, as no trial succeeded" in capsys.readouterr().out
    assert shell.main(["phase", *SMALL, "--depth", "1", "--below", "10", "--out", "all"]) == 0
    assert "m at 50%: nowhere, as every trial succeeded" in capsys.readouterr().out


def test_costs_and_shares(here, capsys):
    assert shell.main(["phase", *SMALL, "--cost"]) == 0
    assert "80 trials: about" in capsys.readouterr().out
    assert os.listdir() == []
    for i in range(2):
        assert shell.main(["phase", *SMALL, "--shard", f"{i}/2", "--out", f"part{i}"]) == 0
    assert same_bits(ff.merge(["part0.zarr", "part1.zarr"]), expected().run(threads=1, progress=False))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["phase", "--m", "9:3"], "expected FIRST:LAST"),
        (["phase", "--m", "0,3"], "expected whole numbers from 1 on, got '0'"),
        (["phase", "--shard", "3"], "expected I/K"),
        (["phase", "--shard", "3/3"], "expected share I of K with I in 0 .. K-1, got '3/3'"),
        (["phase", "--cost", "--shard", "0/3"], "--cost is that of the whole study: leave out --shard"),
        (["phase", "--n", "8", "--sparsity", "9", "--m", "4"], "axis 'sparsity' at 9: sparsity must be at most n = 8"),
        (["phase", "--scheduler", "nowhere"], "no dask scheduler answers at nowhere"),
        (["study", "none.toml"], "error: none.toml: No such file"),
        (["phase", "--method", "pursuit", "--depth", "3"], "--depth has no meaning for --method pursuit"),
        (["phase", "--correlation", "0.3"], "--correlation is that of --matrix correlated"),
    ],
)
def test_mistakes_are_one_line(here, capsys, arguments, message):
    assert shell.main([*arguments, "--out", "x"]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert os.listdir() == []


def test_a_scheduler_that_does_not_answer_leaves_dask_as_it_was(here, capsys):
    """Neither one whose address is none, nor one that is not there, nor what is no scheduler but answers."""
    dask = pytest.importorskip("dask")
    distributed = pytest.importorskip("distributed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def answer():
            with server.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        for address in ("nowhere", f"127.0.0.1:{port}"):
            assert shell.main(["phase", "--scheduler", address, "--out", "x"]) == 2
            left = [one for one in gc.get_objects() if type(one) is distributed.Client and one.status != "closed"]
            assert not left  # which, collected while another one is made, once had dask wait for itself
            assert f"no dask scheduler answers at {address}" in capsys.readouterr().err
            assert dask.config.get("scheduler", None) is None
            with pytest.raises(ValueError, match="No clients"):
                distributed.default_client()
        answering.join()


def test_a_wrong_file_is_named(here, capsys):
    for text, message in [
        ("trials = ", "is no TOML file"),
        ("trials = 3", "a study needs axes"),
        (
            STUDY.replace('"LowRank"', '"LowRnk"'),
            "ensemble: kind must be one of Autoencoder, LowRank, Regression, Sparse, C",
        ),
        (STUDY.replace('"DeepLinear"', "3"), "network: kind must be one of DeepLinear, DiagonalLinear, got 3"),
        (STUDY.replace("step = 8", "step = 0"), "axis 'm': no steps of 0 lead from 6 to 14"),
        (STUDY.replace("step = 8", "step = -8"), "axis 'm': no steps of -8 lead from 6 to 14"),
        (STUDY.replace("from = 6", 'from = "6"'), "axis 'm': from must be a number, got '6'"),
        (STUDY.replace("from = 6", "from = 0").replace("step = 8", "log = true"), "from and to must be greater than 0"),
        (STUDY.replace("max_steps", "maxsteps"), "axes.method.descent: GradientDescent has no 'maxsteps'"),
    ]:
        (here / "a.toml").write_text(text)
        assert shell.main(["study", "a.toml"]) == 2
        assert message in capsys.readouterr().err
