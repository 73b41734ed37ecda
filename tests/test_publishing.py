"""What is published beside the code says what the code says."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import fastflow as ff
from fastflow._versions import NEEDED, described_versions

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
YAML = [*ROOT.glob("*.cff"), *ROOT.glob(".*.yaml"), *ROOT.glob(".github/*/*.y*ml")]


@pytest.mark.parametrize("path", YAML, ids=lambda path: path.name)
def test_tables_can_be_read(path):
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_one_version_and_one_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    recipe = yaml.safe_load((ROOT / ".github/conda/recipe.yaml").read_text())
    assert PROJECT["version"] == ff.__version__ == citation["version"] == recipe["context"]["version"]
    assert PROJECT["license"] == citation["license"] == recipe["about"]["license"]


def test_the_recipe_needs_what_the_wheel_needs():
    recipe = yaml.safe_load((ROOT / ".github/conda/recipe.yaml").read_text())
    run = {line.replace(" ", "") for line in recipe["requirements"]["run"] if not line.startswith("python ")}
    assert run == set(PROJECT["dependencies"])


def test_the_oldest_versions_that_are_tested_are_those_that_are_promised():
    workflow = (ROOT / ".github/workflows/tests.yml").read_text()
    lowest = dict(re.findall(r"(\w+)==([\d.]+)", workflow))
    promised = dict(re.findall(r"(\w+)>=([\d.]+)", " ".join(PROJECT["dependencies"])))
    for name, number in lowest.items():
        assert number.startswith(promised[name])


def test_a_report_says_what_is_installed(capsys):
    ff.show_versions()
    said = capsys.readouterr().out
    assert said == described_versions() + "\n"
    assert {line.split()[0] for line in said.splitlines()} >= {"python", "fastflow", "blas", "cpu", *NEEDED}
