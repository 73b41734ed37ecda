"""The cache on disk goes stale when any file changes that compiled code or its constants come from."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest

import fastflow
from fastflow.kernels import endings
from fastflow.kernels.compile.jit import kernels_stamp

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
    """Kernels import nothing of fastflow's but kernels; the statuses get their numbers from them."""
    for path in KERNELS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            ours = [name for name in modules if name is not None and name.split(".")[0] == "fastflow"]
            assert all(name.startswith("fastflow.kernels.") for name in ours), path
            assert not isinstance(node, ast.ImportFrom) or node.level == 0, path
    assert {status.name: int(status) for status in fastflow.Status} == {
        name: number for name, number in vars(endings).items() if name.isupper()
    }
