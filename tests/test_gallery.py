"""The gallery: every entry at its tiny size, and its command."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from fastflow import shell
from fastflow.gallery import ENTRIES, Entry, Verdict, entry, pilot, reproduce

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


@functools.cache
def tiny(name):
    """The data of an entry at its tiny size, which several tests look at."""
    return ENTRIES[name].run(ENTRIES[name].sizes["tiny"])


@pytest.mark.parametrize("name", ENTRIES)
def test_the_verdict_at_a_tiny_size_is_the_one_that_is_stated(name, tmp_path):
    entry = replace(ENTRIES[name], compute=lambda **_: tiny(name))
    verdict = reproduce(entry, tmp_path, "tiny")
    assert verdict.holds == entry.holds, verdict
    with np.load(tmp_path / f"{name}.npz") as stored:
        assert entry.check(dict(stored)) == verdict
    assert {path.suffix for path in tmp_path.iterdir()} == {".npz", ".png", ".txt"}
    assert all(entry.counted in size for size in entry.sizes.values())


@pytest.mark.parametrize("name", ENTRIES)
def test_checks_can_fail(name):
    """Data in which the claim is broken are told from those in which it holds."""
    data = tiny(name)
    assert not ENTRIES[name].check(data | BROKEN[name](data)).holds


class Clock:
    """A clock that stands still while nothing works."""

    now = 0.0

    def perf_counter(self):
        return self.now


def made(clock, name="made"):
    """An entry of 3 s for each trial, whose claim is that its numbers are all 1."""

    def compute(trials, seed):
        clock.now += 3 * trials
        return {"numbers": np.full(trials, 1.0 - seed)}

    def draw(data):
        from fastflow.gallery.style import panel

        return panel("numbers", "trial", "number")[0]

    def check(data):
        return Verdict(bool(np.all(data["numbers"] == 1)), "numbers")

    sizes = {"tiny": {"trials": 1}, "default": {"trials": 2}, "full": {"trials": 1000}}
    return Entry(name, "source", "All is one.", "nothing", "all", sizes, "trials", compute, draw, check)


def test_a_pilot_predicts_what_the_full_size_takes(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(entry, "time", clock)
    found = pilot(made(clock))
    assert found.done < found.of == 1000
    assert found.predicted == pytest.approx(3000)


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
    assert said.startswith("2 of 1000 trials took 6 s, so computing the full size takes about 3000 s here\n")
    assert "does not hold: numbers (as was found before)" in said
    with np.load(tmp_path / "made.npz") as stored:
        assert stored["numbers"].shape == (1000,)
