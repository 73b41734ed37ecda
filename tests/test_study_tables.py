"""Tables of studies, as a file may hold them: whatever is in one, it is a study or one line says what is wrong."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest

import fastflow as ff
from fastflow import shell
from fastflow.studies.axes import MOST_VALUES
from fastflow.studies.spec import KINDS

TABLES = (
    {
        "ensemble": {"kind": "Sparse", "n": 8, "sparsity": 2},
        "network": {"kind": "DiagonalLinear", "depth": 2},
        "init": {"kind": "Constant", "scale": 1e-3},
        "method": {"kind": "FlowLimit"},
        "axes": {"m": [3, 4], "scale": [1e-3, 1e-2]},
        "trials": 3,
        "seed": 0,
        "success": {"quantity": "relative_error", "below": 0.1},
        "problem": "per trial",
        "starts": 1,
    },
    {
        "ensemble": {"kind": "LowRank", "n": 4, "rank": 1},
        "network": {"kind": "DeepLinear", "depth": 2},
        "init": {"kind": "Gaussian", "scale": 0.1},
        "axes": {
            "m": {"from": 6, "to": 14, "step": 8},
            "method": {
                "descent": {"kind": "GradientDescent", "step": "0.5 edge", "max_steps": 30},
                "nuclear": {"kind": "NuclearNorm", "tol": 1e-3},
            },
        },
        "trials": 2,
    },
    {
        "ensemble": {"kind": "Regression", "n": 4, "samples": 9},
        "method": {"kind": "GradientDescent", "step": {"kind": "Decreasing", "first": 0.01}, "max_steps": 10},
        "axes": {"noise": [0.0, 0.1], "depth": [2, 3]},
    },
)

VALUES = (
    None, True, False, 0, 1, -1, 2, 3.5, float("nan"), float("inf"), -float("inf"), 1e308, 10**9, 2**63, -(2**63) - 1,
    2**64, 10**30, 10**400, "", "a", "limit", "nan", "0.5 edge", "edge", "\x1b[31m", "a" * 3000, b"x", (1, 2),
    [], [1], [1, 2], ["a"], [[1]], [[1, 2], [3]], [None], [True, False], [1, 1.0], [2**63, 2**64], [float("nan")],
    {}, {"a": 1}, {1: 2}, {"kind": "Sparse"}, {"kind": 3}, {"kind": [1]}, {"kind": "x:y"}, {"float": "nan"},
    {"float": "x"}, {"float": [1]}, {"array": "x", "shape": [3]}, {"a": {"kind": "FlowLimit"}}, {"a": 3},
    {"from": 1, "to": 10**9, "step": 1}, {"from": 0, "to": 1, "step": 1e-9}, {"from": 1, "to": 2, "count": 10**9},
    {"from": 1, "to": 1e308, "step": 1}, {"from": -1e308, "to": 1e308, "step": 1}, {"from": 1, "to": 3},
    {"from": 0, "to": float("nan"), "step": 1}, {"from": 1, "to": 5, "count": float("nan")},
    {"from": 0, "to": 10**400, "step": 1}, {"kind": "Decreasing", "first": 0.1},
)  # fmt: skip

FIELDS = sorted(
    {field.name for kind in KINDS.values() for field in dataclasses.fields(kind)}
    | {"kind", "axes", "trials", "success"}
)


def places(table):
    """Every table and list within a table, with each of its keys."""
    keys = list(table) if isinstance(table, dict) else range(len(table)) if isinstance(table, list) else ()
    for key in keys:
        yield table, key
        yield from places(table[key])


def mutated(rng):
    """One of the tables with some of its values others, missing, or more."""
    table = copy.deepcopy(TABLES[rng.integers(len(TABLES))])
    for _ in range(rng.integers(1, 4)):
        there = list(places(table))
        holder, key = there[rng.integers(len(there))] if there else (table, "axes")
        what, value = rng.integers(4), copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, dict):
            holder[FIELDS[rng.integers(len(FIELDS))]] = value
        elif what == 2:
            holder[key] = {"kind": sorted(KINDS)[rng.integers(len(KINDS))]}
        else:
            holder[key] = value
    return table


def test_every_table_is_a_study_or_one_clear_error(rng):
    """Which takes no longer than the rest: nothing is made before it is counted."""
    for table in TABLES:
        ff.Study.from_table(table)
    made, count = 0, 800
    for _ in range(count):
        table = mutated(rng)
        try:
            ff.Study.from_table(table)
            made += 1
        except (ValueError, TypeError, MemoryError) as error:
            text = str(error)
            assert text, table
            assert text.isprintable(), table  # on one line, and without control characters
            assert len(text) < 1000, table
    assert 0.02 * count < made < 0.9 * count


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"axes": [1, 2]}, "axes must be a table, name: value, got [1, 2]"),
        ({"axes": 3}, "axes must be a table, name: value, got 3"),
        ({"axes": "m"}, "axes must be a table, name: value, got 'm'"),
        ({"axes": {"method": "limit"}}, "axes.method must be a table, name: value, got 'limit'"),
        ({"axes": {"method": 2}}, "axes.method must be a table, name: value, got 2"),
        ({"success": "loss"}, "success must be a table, name: value, got 'loss'"),
        ({"trials": float("nan")}, "trials must be an integer, got nan"),
        ({"trials": 2**63}, "trials must be at most 9223372036854775807, got 9223372036854775808"),
        ({"starts": 10**30}, "starts must be at most 9223372036854775807"),
        ({"success": {"below": 10**400}}, "below must be within the range of float64"),
        ({"axes": {"m": {"from": 1, "to": 10**9, "step": 1}}}, f"'m' has 1e+09 values, more than the {MOST_VALUES}"),
        ({"axes": {"m": {"from": 1, "to": 9, "count": 10**9}}}, f"has 1e+09 values, more than the {MOST_VALUES}"),
        ({"axes": {"scale": {"from": -1e308, "to": 1e308, "step": 1}}}, "axis 'scale' has inf values"),
        (
            {"axes": {"m": {"from": 1, "to": 9e4, "step": 1}, "scale": {"from": 1, "to": 9e4, "step": 1}}},
            "the axes have 8100000000 cells together, more than the 1000000",
        ),
        ({"ensemble": {"kind": "Sparse", "n": 10**10, "sparsity": 1}}, "a problem of Sparse(n=10000000000"),
    ],
)  # fmt: skip
def test_what_a_table_says_wrongly_is_named(change, message):
    with pytest.raises((ValueError, TypeError, MemoryError)) as caught:
        ff.Study.from_table({**TABLES[0], **change})
    assert message in str(caught.value)


def test_seeds_may_be_larger_than_what_arrays_hold():
    study = ff.Study.from_table({**TABLES[0], "seed": 2**70})
    assert study.run(threads=1, progress=False).complete
    assert np.any(study.setup(0).problem(0).matrix != ff.Study.from_table(TABLES[0]).setup(0).problem(0).matrix)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("inf", "expected whole numbers from 1 on, got 'inf'"),
        ("nan", "expected whole numbers from 1 on, got 'nan'"),
        ("9" * 400, "expected whole numbers from 1 on, got '99999"),
        ("9" * 5000, "expected whole numbers from 1 on, got '99999"),
        ("1:9:1000000000", "the count must be at most 100000, got 1000000000"),
        ("1:1000000000:1000000", "the count must be at most 100000, got 1000000"),
    ],
)
def test_values_on_the_command_line_are_counted_before_they_are_made(tmp_path, capsys, values, message):
    assert shell.main(["phase", "--m", values, "--out", str(tmp_path / "x")]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert len(errors) < 1000
