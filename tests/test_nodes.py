"""Nodes of different kinds: where they meet in one study, one line says so, once."""

from __future__ import annotations

import concurrent.futures
import os
import re
import subprocess
import sys
import warnings

import pytest
from test_studies import small

import fastflow as ff
from fastflow.studies import driver, tasks
from fastflow.studies.nodes import difference, this_node

OTHER = {**this_node(), "BLAS": "openblas Prescott"}


def told(call):
    """What a call warns of."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in seen]


@pytest.fixture
def stores(tmp_path, monkeypatch):
    """Two shares of a study, of which another kind of node made the first."""
    for i in range(2):
        with monkeypatch.context() as patch:
            if i == 0:
                patch.setattr(tasks, "this_node", lambda: OTHER)
                patch.setattr(driver, "this_node", lambda: OTHER)
            small().run(store=tmp_path / f"{i}.zarr", shard=(i, 2), progress=False)
    return [tmp_path / "0.zarr", tmp_path / "1.zarr"]


def test_a_node_is_what_its_libraries_say():
    """The BLAS is the one that the processor gets, or that OpenBLAS is told to be."""
    code = "from fastflow.studies.nodes import this_node; print(this_node()['BLAS'])"
    environment = {**os.environ, "OPENBLAS_CORETYPE": "Prescott"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    if this_node()["BLAS"] in ("openblas Haswell", "openblas SkylakeX", "openblas Zen"):
        assert said.stdout.strip() in ("openblas Prescott", "openblas Katmai")  # two names of one
        assert re.fullmatch(r"BLAS openblas Prescott \(not .+\)", difference(OTHER, this_node()))
    assert difference(this_node(), this_node()) == ""


def test_who_opens_or_resumes_another_nodes_store_is_told_once(stores):
    expected = r".*0\.zarr was made by BLAS openblas Prescott \(not .+\): its last bits may differ from today's"
    for call in (lambda: ff.open_study(stores[0]), lambda: small().run(store=stores[0], shard=(0, 2), progress=False)):
        (line,) = told(call)
        assert re.fullmatch(expected, line)
    assert told(lambda: ff.open_study(stores[1])) == []


def test_who_merges_stores_of_two_nodes_is_told_once(stores):
    (line,) = told(lambda: ff.merge(stores))
    assert re.match(r"1 of 2 stores were not, or not wholly, made as .*0\.zarr was, the first .*1\.zarr by BLAS ", line)
    assert told(lambda: ff.merge(stores[1:])) == []


def test_a_store_knows_all_who_made_it(stores, tmp_path):
    """Whoever goes on with it, makes it grow, merges or copies it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        small(trials=30).run(store=stores[0], shard=(0, 2), progress=False)
        ff.merge(stores, into=tmp_path / "both.zarr")
        ff.open_study(stores[0]).save(tmp_path / "copy.zarr")
    for name in ("0.zarr", "both.zarr", "copy.zarr"):
        (line,) = told(lambda name=name: ff.open_study(tmp_path / name))
        assert re.match(rf".*{name} was made in part by BLAS openblas Prescott \(not .+\): its last bits", line)
    assert re.match(r"2 of 2 stores .* the first .*0\.zarr by BLAS ", told(lambda: ff.merge(stores))[0])
    assert told(lambda: ff.merge(stores[1:])) == []


def test_workers_of_another_kind_are_told_of_once(monkeypatch):
    class Elsewhere(concurrent.futures.ThreadPoolExecutor):
        def submit(self, function, /, *arguments):
            return super().submit(lambda: function(*arguments)._replace(node=OTHER))

    with Elsewhere(2) as pool:
        (line,) = told(lambda: small().run(pool, progress=False, task_seconds=1e-6))
    assert re.match(r"some trials were computed by BLAS openblas Prescott \(not .+\): their last bits may differ", line)
    assert tasks.run_task([]).node == this_node()
