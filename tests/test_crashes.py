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

STRIDE = 50


@pytest.mark.parametrize("name", SCENARIOS)
def test_crashes_lose_nothing(name, tmp_path, rng):
    """At every 50th operation, from a random one on."""
    script = Path(__file__).with_name("crashes.py")
    stride, offset = (4, 0) if name == "success" else (STRIDE, int(rng.integers(STRIDE)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(script.parent), *sys.path])}
    command = [sys.executable, str(script), str(tmp_path), str(stride), str(offset), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    scenario, points, failures = done.stdout.splitlines()[-1].split("|")
    assert (scenario, int(failures)) == (name, 0), done.stdout + done.stderr
    assert int(points) > 10
