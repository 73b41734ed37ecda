"""The house: who may name whom. The layers themselves are import-linter's contracts in ``pyproject.toml``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fastflow
from fastflow.methods import METHODS

PACKAGE = Path(fastflow.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
MAY_NAME_METHODS = ("__init__.py", "gallery/", "methods/", "shell/")
"""The face, the methods themselves, the shell, which has options of theirs, and the gallery, which uses them."""
FOREIGN = ("threads.py", "kernels/losses/taught.py", "studies/executors.py")
"""Where what Python, a user or another library gives is asked for what it has."""


def names_in(path):
    """The names that a module's code uses, not its words."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_else_names_a_method(path):
    where = path.relative_to(PACKAGE).as_posix()
    if where.startswith(MAY_NAME_METHODS):
        return
    named = {kind.__name__ for kind in METHODS}.intersection(names_in(path))
    assert not named, f"{where} names {named}: ask METHODS, DEFAULT_METHOD or the method itself"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_type_is_told_by_its_name_or_its_attributes(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            text = ast.unparse(node)
            assert "__name__ ==" not in text, text
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "hasattr":
            assert path.relative_to(PACKAGE).as_posix() in FOREIGN, ast.unparse(node)
