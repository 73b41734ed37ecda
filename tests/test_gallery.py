"""The gallery: every entry at its tiny size, and its command."""

from __future__ import annotations

import numpy as np
import pytest

from fastflow import shell
from fastflow.gallery import ENTRIES, reproduce


@pytest.mark.parametrize("name", ENTRIES)
def test_the_claim_holds_at_a_tiny_size(name, tmp_path):
    entry = ENTRIES[name]
    verdict = reproduce(entry, tmp_path, "tiny")
    assert verdict.holds, verdict
    with np.load(tmp_path / f"{name}.npz") as stored:
        assert entry.check(dict(stored)) == verdict
    assert {path.suffix for path in tmp_path.iterdir()} == {".npz", ".png", ".txt"}


def test_checks_can_fail():
    """Data in which the claim is broken are told from those in which it is not."""
    entry = ENTRIES["weight-normalisation"]
    data = entry.compute(**entry.sizes["tiny"])
    assert not entry.check(data | {"excess": data["excess"] + data["bound"]}).holds
    entry = ENTRIES["bifurcations"]
    data = entry.compute(**entry.sizes["tiny"])
    assert not entry.check(data | {"period": np.ones_like(data["period"])}).holds


def test_command(capsys):
    assert shell.main(["reproduce", "--list"]) == shell.DONE
    listed = capsys.readouterr().out
    assert all(name in listed for name in ENTRIES)
    assert shell.main(["reproduce", "nothing"]) == shell.WRONG_INPUT
