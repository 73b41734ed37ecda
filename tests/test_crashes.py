"""Crashes before operations on files: what a study had is there, it resumes, and ends with the bits of a clean run.

Some of all points; ``python tests/crashes.py FOLDER 1 0`` tries every one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from crashes import SCENARIOS

STRIDE = 150


def harm(folder, *arguments):
    """What the process prints last."""
    script = Path(__file__).with_name("crashes.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(script.parent), *sys.path])}
    command = [sys.executable, str(script), str(folder), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout, done.stderr)
    name, *numbers = done.stdout.splitlines()[-1].split("|")
    return name, *map(int, numbers)


@pytest.mark.parametrize("name", SCENARIOS)
def test_crashes_lose_nothing(name, tmp_path, rng):
    """At every 150th operation, from a random one on."""
    stride, offset = (4, 0) if name == "success" else (STRIDE, int(rng.integers(STRIDE)))
    scenario, points, failures = harm(tmp_path, stride, offset, name)
    assert (scenario, failures) == (name, 0)
    assert points > 10


@pytest.mark.parametrize("name", ["creation", "values"])
def test_ctrl_c_at_an_operation_loses_nothing(name, tmp_path, rng):
    """And ends with `StudyInterrupted`, also while a store is made, opened or grown."""
    scenario, _, failures = harm(tmp_path, "presses", STRIDE, int(rng.integers(STRIDE)), name)
    assert (scenario, failures) == (name, 0)


@pytest.mark.parametrize("name", ["trials", "success"])
def test_a_disk_that_is_full_from_an_operation_on_loses_nothing(name, tmp_path, rng):
    """And ends with an error that says so, and has what there is."""
    scenario, _, failures = harm(tmp_path, "full", STRIDE if name == "trials" else 4, int(rng.integers(4)), name)
    assert (scenario, failures) == (name, 0)


def test_copies_of_stores_that_are_written_are_right_or_refused(tmp_path, rng):
    """File after file; 150 of them by ``python tests/crashes.py FOLDER copies 150 SEED``."""
    name, count, consistent, refused, failures = harm(tmp_path, "copies", 4, int(rng.integers(10**6)))
    assert (name, count, consistent + refused, failures) == ("copies", 4, 4, 0)


def test_kills_lose_nothing(tmp_path, rng):
    """At random moments; 500 of them by ``python tests/crashes.py FOLDER kills 500 SEED``."""
    assert harm(tmp_path, "kills", 4, int(rng.integers(10**6))) == ("kills", 4, 0)


def test_every_flipped_bit_is_found_and_repaired(tmp_path, rng):
    """Or changes nothing; 10,000 of them by ``python tests/crashes.py FOLDER flips 10000 SEED``."""
    name, count, detected, _, repaired, wrong = harm(tmp_path, "flips", 50, int(rng.integers(10**6)))
    assert (name, count, wrong) == ("flips", 50, 0)
    assert detected > 25
    assert repaired > 1
