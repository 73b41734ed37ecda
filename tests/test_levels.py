"""The sizes of caches, as an operating system has them, and where it says nothing, or nonsense."""

from __future__ import annotations

import sys

import pytest

from fastflow.kernels.compile.levels import LEAST, LEVELS, MOST, USUAL, Levels, cache_levels

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="of files, which Linux has")


def write(folder, index, level, kind, size):
    (folder / f"index{index}").mkdir()
    for name, value in (("level", level), ("type", kind), ("size", size)):
        (folder / f"index{index}" / name).write_text(f"{value}\n")


def test_caches_of_data_are_found_and_those_of_code_are_not(tmp_path):
    write(tmp_path, 0, 1, "Data", "48K")
    write(tmp_path, 1, 1, "Instruction", "64K")
    write(tmp_path, 2, 2, "Unified", "2048K")
    write(tmp_path, 3, 3, "Unified", "32768K")
    assert cache_levels(tmp_path) == Levels(48 * 1024, 2**21)


@pytest.mark.parametrize("size", ["0K", "", "32768M", "-1K", "some", "1K", "1048576K"])
def test_what_is_no_cache_is_not_believed(tmp_path, size):
    assert cache_levels(tmp_path) == USUAL
    write(tmp_path, 0, 1, "Data", size)
    write(tmp_path, 1, 2, "Unified", size)
    (tmp_path / "index2").mkdir()
    assert cache_levels(tmp_path) == USUAL


def test_this_machine_has_some():
    assert all(least <= found <= most for least, found, most in zip(LEAST, LEVELS, MOST, strict=True))
