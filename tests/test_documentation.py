"""Docstrings of everything public: numpydoc's rules, of which ours are the ones below."""

from __future__ import annotations

import doctest
import enum
import inspect
import re

import numpy as np
import pytest
from numpydoc.validate import validate

import fastflow
import fastflow as ff

MODULES = (ff, ff.baselines, ff.ensembles, ff.inits, ff.kernels, ff.metrics, ff.operators, ff.plot, ff.theory)

RULES = {
    "GL01": "the summary starts on the line of the quotes",
    "GL03": "no double blank lines",
    "GL05": "no tabs",
    "GL06": "sections have numpydoc's names",
    "GL07": "and its order",
    "SS01": "there is a summary",
    "SS02": "which starts with a capital letter",
    "SS03": "ends in a period",
    "SS04": "has no leading blanks",
    "SS06": "and fits in one line",
    "PR01": "every parameter is documented",
    "PR02": "nothing else is",
    "PR03": "in the order of the signature",
    "PR05": "types end in no period",
    "PR10": "a blank stands before a colon",
    "RT01": "what is returned is documented",
    "RT05": "in sentences",
    "YD01": "and what is yielded",
}

PROSE = {"PR01", "RT01"}
"""What the summary line may say instead, in methods and properties, and in results whose fields are attributes."""


def members():
    """Every public function and class by its full name, and the public methods that these classes define."""
    for module in MODULES:
        for name in module.__all__:
            member = getattr(module, name)
            if not callable(member) or inspect.ismodule(member):
                continue
            yield f"{module.__name__}.{name}", member, None
            if inspect.isclass(member):
                for method, value in vars(member).items():
                    function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                    if not method.startswith("_") and inspect.isfunction(function):
                        yield f"{module.__name__}.{name}.{method}", function, member


MEMBERS = {name: (member, owner) for name, member, owner in members()}


def is_result(member):
    """Whether a class is a result or an enumeration, which is read and not made."""
    doc = inspect.getdoc(member) or ""
    return inspect.isclass(member) and (issubclass(member, enum.Enum) or "Attributes\n" in doc)


@pytest.mark.parametrize("name", MEMBERS)
def test_docstring(name):
    member, owner = MEMBERS[name]
    if owner is not None and not member.__doc__:
        inherited = [getattr(base, member.__name__, None) for base in owner.__mro__[1:]]
        assert any(getattr(found, "__doc__", None) for found in inherited), f"{name} has no docstring, nor has a base"
        return
    wrong = {code: message for code, message in validate(name)["errors"] if code in RULES}
    if owner is not None or is_result(member):
        wrong = {code: message for code, message in wrong.items() if code not in PROSE}
    assert not wrong, wrong


@pytest.mark.parametrize("name", [name for name, (_, owner) in MEMBERS.items() if owner is None])
def test_docstring_stands_alone(name):
    """A tooltip shows the summary without its neighbours: no pronoun whose noun stands next door."""
    summary = (inspect.getdoc(MEMBERS[name][0]) or "").split("\n\n")[0]
    assert not summary.startswith(("It ", "They ", "This ", "These ", "Them ", "Likewise", "The same", "Its ", "As "))


FORMULA = re.compile(r"``[^`]*(\|\||\^|<-|->|<=|sum | = |u'|\[index\])[^`]*``")
"""Signs that stand in formulas, and in no code that is quoted."""


@pytest.mark.parametrize("name", [name for name, (_, owner) in MEMBERS.items() if owner is None])
def test_there_is_an_example_or_a_formula(name):
    doc = inspect.getdoc(MEMBERS[name][0]) or ""
    assert ">>> " in doc or FORMULA.search(" ".join(doc.split()))


@pytest.mark.parametrize("name", [name for name, (member, _) in MEMBERS.items() if ">>> " in (member.__doc__ or "")])
def test_examples(name, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    known = {"np": np, "ff": ff, "fastflow": fastflow, "__name__": "__main__"}
    test = doctest.DocTestParser().get_doctest(inspect.getdoc(MEMBERS[name][0]), known, name, None, 0)
    said: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(test, out=said.append).failed == 0, "".join(said)
