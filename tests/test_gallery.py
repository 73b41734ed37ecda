"""The gallery: every entry at its tiny size, and its command."""

from __future__ import annotations

import inspect
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastflow import shell
from fastflow.gallery import ENTRIES, Entry, Verdict, entry, files_of, pilot, reproduce

BROKEN = {
    "trajectories": lambda data: {"rank 3": data["rank 3"] + 0.2},
    "step-sizes": lambda data: {"rise": data["rise"] + 1},
    "sparse-recovery": lambda data: {"excess": data["excess"] + data["bound"]},
    "nonnegative-fourier": lambda data: {"off": data["off"] + 1},
    "matrix-completion": lambda data: {"completion": data["completion"][:, ::-1]},
    "unobserved-entry": lambda data: {"entry 3": 0.5 * data["entry 3"]},
    "rank-reached": lambda data: {"loss": data["loss"] * 1.001},
    "kernel-to-rich": lambda data: {"l1": data["l1"] * [[[1]], [[1.001]], [[1]]]},
    "large-steps": lambda data: {"test_loss": data["test_loss"][:, ::-1]},
    "sharpness": lambda data: {"sharpness": data["sharpness"] * 1.2},
    "divergence": lambda data: {"sharpness": data["sharpness"] * 0.8},
    "bifurcations": lambda data: {"period": np.ones_like(data["period"])},
    "early-stopping": lambda data: {"average_off": data["iterate_off"]},
    "weight-normalisation": lambda data: {"excess": data["excess"] + data["bound"]},
    "saddle-to-saddle": lambda data: {"distance": data["distance"][::-1]},
    "which-minimiser": lambda data: {"t": data["t"] + 0.01},
    "label-noise": lambda data: {"error 3": 0 * data["error 3"]},
    "images": lambda data: {"patch, L = 3": 2 * data["patch, L = 3"]},
}
"""Of entries, by name, data in which the claim does not hold."""


def sharpness(data):
    """Steps far below the critical one find what the flow finds."""
    small = data["step"] < 0.2
    assert small.any()
    assert np.isfinite(data["l1_norm"][small]).all()
    assert data["l1_norm"][small] == pytest.approx(1, rel=0.1)


def large_steps(data):
    """``sum_k q(step g_k)`` is that of more and larger gradients along single samples, and grows with the step."""
    gain = data["gain"][..., 1]  # the median over coordinates
    both = np.isfinite(gain).all(axis=1)
    assert both.sum() >= 4
    assert np.all(gain[:, 0][both] > 0)
    assert np.all(gain[:, 1][both] > gain[:, 0][both])
    rising = np.diff(gain[:, 0], axis=0)
    assert np.all(rising[np.isfinite(rising)] > 0)


def kernel_to_rich(data):
    """The excess of the l1 norm falls as the starts do, that of the l2 norm as they grow."""
    assert np.all(data["l1"] > -1e-7)
    assert np.all(data["l2"] > -1e-7)
    assert np.all(np.diff(data["l1"], axis=1) > 0)
    assert np.all(np.diff(data["l2"], axis=1) < 0)


def divergence(data):
    """Steps that no minimum survives diverge, the smallest ones never."""
    rates = np.mean(data["diverged"], axis=(1, 2))
    assert rates[0] == 0
    assert rates[-1] > 0.5
    assert not np.any(np.isfinite(data["sharpness"]) & (data["diverged"] == 1))


LAWS = {
    "sharpness": sharpness,
    "large-steps": large_steps,
    "kernel-to-rich": kernel_to_rich,
    "divergence": divergence,
}
"""What theorems say of data beyond the claims of their entries, by name."""

FOLDER = os.environ.get("FASTFLOW_GALLERY")
"""Where what is drawn here stays, for the manual's build to take; CI names it."""


@pytest.mark.parametrize("name", ENTRIES)
def test_an_entry_at_its_tiny_size(name, tmp_path):
    """All of an entry in one test, so that it is computed and drawn once.

    The verdict is the one that is stated, also of the data as stored; data in which the claim is broken are told from
    those in which it holds; and laws that go beyond the claim hold.
    """
    entry, folder = ENTRIES[name], tmp_path if FOLDER is None else Path(FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    verdict = reproduce(entry, folder, "tiny")
    assert verdict.holds == entry.holds, verdict
    files = files_of(entry, folder)
    assert [path.suffix for path in files if path.exists()] == [".npz", ".png", ".txt"]
    assert not set(tmp_path.iterdir()) - set(files)
    with np.load(files[0]) as stored:
        data = dict(stored)
    assert entry.check(data) == verdict
    assert not entry.check(data | BROKEN[name](data)).holds
    LAWS.get(name, lambda _: None)(data)
    assert all(entry.counted in size for size in entry.sizes.values())


@pytest.mark.parametrize("name", ["sharpness", "large-steps", "kernel-to-rich", "divergence", "rank-reached"])
def test_studies_of_fifteen_lines(name):
    assert len(inspect.getsource(ENTRIES[name].compute).splitlines()) <= 15  # with the name and a line on what it is


class Clock:
    """A clock that stands still while nothing works."""

    now = 0.0

    def perf_counter(self):
        return self.now


def made(clock, once=0):
    """An entry of 3 s for each trial, and some once, whose claim is that its numbers are all 1."""

    def compute(trials, seed):
        clock.now += once + 3 * trials
        return {"numbers": np.full(trials, 1.0 - seed)}

    def draw(data):
        from fastflow.gallery.style import panel

        return panel("numbers", "trial", "number")[0]

    def check(data):
        return Verdict(bool(np.all(data["numbers"] == 1)), "numbers")

    sizes = {"tiny": {"trials": 1}, "default": {"trials": 2}, "full": {"trials": 1000}}
    return Entry("made", "source", "All is one.", "nothing", "all", sizes, "trials", compute, draw, check)


@pytest.mark.parametrize("once", [0, 1.5, 400])
def test_a_pilot_predicts_what_the_full_size_takes(once, monkeypatch):
    """Also where most of what a few pieces take is taken once."""
    clock = Clock()
    monkeypatch.setattr(entry, "time", clock)
    found = pilot(made(clock, once))
    assert found.done < 20 < found.of == 1000
    assert found.predicted == pytest.approx(once + 3000)


def test_command(capsys, tmp_path, monkeypatch):
    assert shell.main(["reproduce", "--list"]) == shell.DONE
    listed = capsys.readouterr().out
    assert all(name in listed for name in ENTRIES)
    assert shell.main(["reproduce", "nothing"]) == shell.WRONG_INPUT
    assert shell.main(["reproduce", "bifurcations", "--seed", "1"]) == shell.WRONG_INPUT
    assert "no random numbers" in capsys.readouterr().err

    clock = Clock()
    monkeypatch.setattr(entry, "time", clock)
    monkeypatch.setitem(ENTRIES, "made", made(clock))
    call = ["reproduce", "made", "--out", str(tmp_path)]
    assert shell.main(call) == shell.DONE
    assert "\nholds" in capsys.readouterr().out
    assert shell.main(call) == shell.WRONG_INPUT
    assert "--overwrite" in capsys.readouterr().err
    assert shell.main([*call, "--overwrite", "--seed", "1"]) == shell.DONE
    assert "does not hold: numbers (unlike before, when it held)" in capsys.readouterr().out
    monkeypatch.setitem(ENTRIES, "made", replace(ENTRIES["made"], holds=False))
    assert shell.main([*call, "--overwrite", "--full", "--seed", "1"]) == shell.DONE
    said = capsys.readouterr().out
    assert said.startswith("timing a part of the full size, trials = 1000, seed = 1\n4 of 1000 trials took 12 s, so ")
    assert "so computing the full size takes about 3000 s here\ncomputing made, trials = 1000, seed = 1\n" in said
    assert "does not hold: numbers (as was found before)" in said
    with np.load(tmp_path / "made.npz") as stored:
        assert stored["numbers"].shape == (1000,)
