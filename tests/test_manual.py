"""The blocks of README.md and of the manual's pages, in order, in an empty folder, as somebody would paste them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fastflow as ff

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
LISTS = ("CHANGELOG.md", "STORE.md", "measured.md")
"""Pages of the manual that have no blocks."""
PAGES = [README, *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in LISTS)]
ELSEWHERE = {"pip install": "installs", "asv ": "builds environments", "$SLURM": "is a job array's"}
"""What marks commands that are not for a test, and why."""
ROW = "<!-- a row -->"
"""What stands before the block that is a part of one of the package's own files."""


def blocks(page):
    """The language, the text, and what stands in the line before, of each block."""
    return [
        (language, text, before)
        for before, language, text in re.findall(r"^([^\n]*)\n```(\w+)\n(.*?)^```", page.read_text(), re.M | re.S)
    ]


def script(page):
    """What a session does for a page."""
    yield f"# {page.name}"
    for language, text, before in blocks(page):
        named = re.match(r"# (\w+\.py)\n", text)
        if before == ROW:
            continue
        if language == "python" and named:
            yield f"Path({named[1]!r}).write_text({text!r})"
        elif language == "python":
            yield text
        elif language == "toml":
            yield f"Path('ranks.toml').write_text({text!r})"
            yield "run('fastflow study ranks.toml --cost')"
        else:
            for line in text.splitlines():
                if not any(mark in line for mark in ELSEWHERE):
                    yield f"run({line!r})"


def run_session(text, folder, **variables):
    """A session of Python in a folder, in which a warning is an error; what it prints."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "MPLBACKEND": "agg", "PYTHONWARNINGS": "error"} | variables
    begin = "import subprocess\nfrom pathlib import Path\ndef run(line): subprocess.run(line, shell=True, check=True)\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + text], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_kind_of_block_is_run():
    assert {language for page in PAGES for language, _, _ in blocks(page)} == {"python", "sh", "toml"}
    for page in PAGES:
        assert len(re.findall(r"^```\w", page.read_text(), re.M)) == len(blocks(page)), page


MADE = {
    "start.md": ("target.npy", "low-rank", "runs.png", "sparse.npz", "sparse", "digits"),
    "studies.md": ("study.zarr", "study.png", "sharpness.png"),
    "embed.md": ("spikes.py",),
}
"""What pages write, by their own account."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_of_a_page_run_in_order(page, tmp_path):
    """Python in one session, commands in between, a table as a study's file."""
    run_session("\n".join(script(page)), tmp_path)
    for made in MADE.get(page.name, ()):
        assert (tmp_path / made).exists(), f"{made} is missing"


def test_a_row_of_the_table_of_quantities_is_all_that_one_takes(tmp_path):
    """The row that the manual shows, put where it says, in a copy of the package."""
    (row,) = [text for page in PAGES for _, text, before in blocks(page) if before == ROW]
    shutil.copytree(Path(ff.__file__).parent, tmp_path / "fastflow", ignore=shutil.ignore_patterns("__pycache__"))
    table = tmp_path / "fastflow/records/quantities.py"
    head, tail = table.read_text().split('    Quantity(\n        "numerical_rank"')
    table.write_text(head + row + '    Quantity(\n        "numerical_rank"' + tail)
    said = run_session(
        "import numpy as np, fastflow as ff\n"
        "words = ff.MatrixEstimation(np.diag([3.0, 1])), ff.DeepLinear(2), ff.inits.Identity(1e-2)\n"
        "flow = ff.ProductFlow(times=[0.0, 20.0], t_max=20.0)\n"
        "print(ff.train(*words, flow, record=ff.Record(stable_rank=True)).history.stable_rank[0].tolist())",
        tmp_path,
        PYTHONPATH=str(tmp_path),
    )
    first, last = map(float, said.strip("[]\n").split(","))
    assert first == pytest.approx(2)
    assert last == pytest.approx(10 / 9, rel=1e-3)


@pytest.mark.parametrize("mark", ELSEWHERE)
def test_what_is_left_out_is_there(mark):
    assert any(mark in page.read_text() for page in PAGES)


def test_the_table_of_statuses_is_whole():
    page = (ROOT / "docs/start.md").read_text()
    assert all(f"| {status.label} |" in page for status in ff.Status)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_links_to_is_there(page):
    """Files, and headings of pages; what the build makes lies in folders of its own."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        if name.startswith(("http", "gallery/", "reference/")):
            continue
        found = page.parent / name if name else page
        assert found.exists(), target
        headings = re.findall(r"^#+ (.*)$", found.read_text(), re.M) if heading else []
        slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in headings}
        assert not heading or heading in slugs, target
