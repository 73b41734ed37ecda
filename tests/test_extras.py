"""Extras: what needs one says which, in one line; everything else works without any."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

BARE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("zarr", "xarray", "pandas", "matplotlib", "sklearn", "dask", "distributed"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import numpy as np
import fastflow as ff
from fastflow import shell

study = ff.Study(ff.ensembles.Sparse(n=6, sparsity=1), method=ff.baselines.LeastNorm(), axes={"m": (3, 4)}, trials=2)
"""
"""A process in which no package of an extra can be imported, as after a bare installation."""

RESULT = "result = study.run(threads=1, progress=False)\n"
RUNS = "runs = ff.train(ff.MatrixEstimation(np.eye(2)), method=ff.GradientDescent(max_steps=3), record=ff.Record())\n"
EMPTY = "ff.CompressedSensing(np.ones((1, 2)), np.ones(1))"

FEATURES = {
    "study.run(store='s.zarr', threads=1, progress=False)": "a store needs zarr: pip install 'fastflow[study]'",
    RESULT + "result.save('s.zarr')": "a store needs zarr: pip install 'fastflow[study]'",
    "import os; os.mkdir('t.zarr'); ff.open_study('t.zarr')": "a store needs zarr: pip install 'fastflow[study]'",
    "import os; os.mkdir('u.zarr'); ff.merge(['u.zarr'])": "a store needs zarr: pip install 'fastflow[study]'",
    RESULT + "result.plot()": "plotting needs matplotlib: pip install 'fastflow[study]'",
    RESULT + "result.to_xarray()": "to_xarray needs xarray: pip install 'fastflow[study]'",
    RESULT + "result.to_dataframe()": "to_dataframe needs pandas: pip install 'fastflow[study]'",
    RUNS + "runs.plot()": "plotting needs matplotlib: pip install 'fastflow[study]'",
    RUNS + "ff.plot.plot_runs(runs)": "plotting needs matplotlib: pip install 'fastflow[study]'",
    RUNS + "runs.to_xarray()": "to_xarray needs xarray: pip install 'fastflow[study]'",
    "ff.plot.plot_images({'a': np.eye(2)})": "plotting needs matplotlib: pip install 'fastflow[study]'",
    "ff.plot.plot_recovery(ff.train(problem := " + EMPTY + ", method=ff.FlowLimit()), problem)": (
        "plotting needs matplotlib: pip install 'fastflow[study]'"
    ),
    "ff.baselines.lasso_path(np.ones((1, 2)), np.ones(1))": (
        "the lasso path needs scikit-learn: pip install 'fastflow[baselines]'"
    ),
}

COMMANDS = {
    "phase --n 8 --m 4 --sparsity 1 --trials 2": (
        2,
        "fastflow: error: a store needs zarr: pip install 'fastflow[study]'",
    ),
    "study a.toml": (2, "fastflow: error: a store needs zarr: pip install 'fastflow[study]'"),
    "phase --n 8 --m 4 --sparsity 1 --scheduler tcp://nowhere:1": (2, "pip install 'fastflow["),
    "train m.npy --runs 2 --depth 2 --max-steps 3": (
        0,
        "no picture: plotting needs matplotlib: pip install 'fastflow[",
    ),
    "phase --n 8 --m 4 --sparsity 1 --trials 2 --cost": (0, ""),
    "info": (0, ""),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each feature raises, and each command says, in one process."""
    code = BARE
    for feature in FEATURES:
        body = "\n".join("    " + line for line in feature.splitlines())
        code += f"try:\n{body}\n    print('nothing')\nexcept ImportError as error:\n    print(error)\n"
    code += "np.save('m.npy', np.eye(2))\n"
    toml = 'ensemble = {kind = "Sparse", n = 6, sparsity = 1}\nmethod = {kind = "LeastNorm"}\naxes = {m = [3]}'
    code += f"open('a.toml', 'w').write({toml!r})\n"
    for command in COMMANDS:
        code += f"print(shell.main({command.split()!r}), file=sys.stderr)\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    folder = tmp_path_factory.mktemp("bare")
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    complaints, errors = [], []
    for line in done.stderr.splitlines():
        if line.isdigit():
            errors.append((int(line), complaints))
            complaints = []
        else:
            complaints.append(line)
    words = done.stdout.splitlines()[: len(FEATURES)]
    return dict(zip(FEATURES, words, strict=True)), dict(zip(COMMANDS, errors, strict=True))


@pytest.mark.parametrize("feature", FEATURES)
def test_what_needs_an_extra_says_which(said, feature):
    assert said[0][feature] == FEATURES[feature]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_it_in_one_line(said, command):
    code, lines = said[1][command]
    wanted, message = COMMANDS[command]
    assert code == wanted
    assert len(lines) == bool(message)
    assert message in "".join(lines)
