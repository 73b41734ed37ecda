"""The blocks of README.md, in order, in an empty folder, as somebody would paste them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
ELSEWHERE = {"pip install": "installs", "asv ": "builds environments", "$SLURM": "is a job array's"}
"""What marks commands that are not for a test, and why."""


def blocks():
    """The language and the text of each block."""
    return re.findall(r"^```(\w+)\n(.*?)^```", README.read_text(), re.M | re.S)


def test_every_kind_of_block_is_run():
    assert {language for language, _ in blocks()} == {"python", "sh", "toml"}


def test_the_blocks_of_the_readme_run_in_order(tmp_path):
    """Python in one session, commands in between, a table as a study's file; each says nothing on standard error."""
    script = []
    for language, text in blocks():
        if language == "python":
            script.append(text)
        elif language == "toml":
            script += [f"open('ranks.toml', 'w').write({text!r})", "run('fastflow study ranks.toml --cost')"]
        else:
            for line in text.splitlines():
                if not any(mark in line for mark in ELSEWHERE):
                    script.append(f"run({line!r})")
    session = "\n".join(["import subprocess", "def run(line): subprocess.run(line, shell=True, check=True)", *script])
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "MPLBACKEND": "agg", "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", session], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for made in ("target.npy", "low-rank", "sparse.npz", "sparse", "study.zarr", "study.png", "digits"):
        assert (tmp_path / made).exists(), f"{made} is missing"


@pytest.mark.parametrize("mark", ELSEWHERE)
def test_what_is_left_out_is_there(mark):
    assert mark in README.read_text()
