"""What a notebook shows, and what somebody types there first: words, bars, seeds, and messages that help."""

from __future__ import annotations

import html
import re
import sys
import types

import numpy as np
import pytest
import tqdm.auto

import fastflow as ff
from fastflow.scheduling import progress_bar

PROBLEM, METHOD = ff.MatrixEstimation(np.diag([3.0, 1])), ff.GradientDescent(max_steps=50)
STUDY = ff.Study(ff.ensembles.Sparse(n=9, sparsity=2), method=ff.baselines.LeastNorm(), axes={"m": [3, 5]}, trials=2)


def trained(**options):
    return ff.train(PROBLEM, ff.DeepLinear(2), ff.inits.Gaussian(0.1), METHOD, runs=3, threads=1, **options)


def shown(thing):
    """What a notebook shows, as it is read."""
    text = thing._repr_html_()
    assert text.startswith("<pre>")
    assert text.endswith("</pre>")
    assert "<" not in text[5:-6]
    return html.unescape(text[5:-6])


def test_results_show_what_they_print():
    runs, result, cost = trained(), STUDY.run(threads=1), STUDY.cost(cells=2, trials=1)
    check = ff.check(PROBLEM, ff.DeepLinear(2), ff.inits.Gaussian(0.1), METHOD)
    assert shown(runs) == runs.summary()
    assert shown(result) == result.summary()
    assert shown(cost) == str(cost)
    assert shown(check) == str(check)
    assert repr(cost) == f"<Cost: {cost}>"
    assert "Edge of stability" in repr(check)


def test_no_character_of_a_result_is_markup():
    runs = trained()
    runs.description["problem"] = "<script>alert('&')</script>"
    assert "<script>alert('&')</script>" in shown(runs)


def test_a_notebook_has_a_bar_unasked(monkeypatch):
    with progress_bar(None, 3) as bar:
        assert bar.disable  # standard error is no terminal here
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    with progress_bar(None, 3) as bar:
        assert not bar.disable
        assert isinstance(bar, tqdm.auto.tqdm)
    with progress_bar(False, 3) as bar:
        assert bar is None


def test_the_summary_says_which_effective_rank():
    assert "effective rank: nuclear over operator norm" in trained().summary()


def test_a_generator_draws_the_seed():
    runs = trained(seed=np.random.default_rng(5))
    again = trained(seed=np.random.default_rng(5))
    assert runs.seed == again.seed == np.random.default_rng(5).integers(2**63 - 1)
    assert np.array_equal(runs.solution, again.solution)
    assert np.array_equal(runs.solution, trained(seed=runs.seed).solution)


def test_a_seed_that_nobody_knows_can_be_repeated():
    runs, other = trained(seed=None), trained(seed=None)
    assert runs.seed != other.seed
    assert np.array_equal(trained(seed=runs.seed).solution, runs.solution)
    assert f"seed {runs.seed}" in runs.summary()


def test_flows_are_compared_with_descent_from_the_same_starts():
    found = ff.flow_distance(PROBLEM, ff.DeepLinear(2), ff.inits.Gaussian(0.1), ff.GradientDescent(1e-3, 20), 2, None)
    assert np.all(found.distance[:, 0] == 0)


@pytest.mark.parametrize("seed", [1.5, "7", np.random.RandomState(0)])
def test_what_is_no_seed(seed):
    with pytest.raises(TypeError, match=r"seed must be an integer, a numpy\.random\.Generator or None"):
        trained(seed=seed)


SPARSE, AXES = ff.ensembles.Sparse(n=9, sparsity=2), {"m": [3, 5]}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ff.Study(ff.ensembles.Sparse, axes=AXES), "ensemble must be Sparse(...), got the class Sparse"),
        (lambda: ff.Study(SPARSE, ff.DiagonalLinear, axes=AXES), "network must be DiagonalLinear(...), got the class"),
        (lambda: ff.Study("Sparse", axes=AXES), "ensemble must be an ensemble such as"),
        (lambda: STUDY.run("x.zarr"), "a store is store='x.zarr'"),
        (lambda: STUDY.run("tcp://host:8786"), "a dask scheduler there is dask.distributed.Client('tcp://host:8786')"),
        (lambda: ff.inits.Gaussian(of="products"), "got 'products': did you mean 'product'?"),
        (lambda: ff.Study(SPARSE, axes={"sparsty": [3]}), ": did you mean 'sparsity'?"),
        (lambda: ff.Study.from_table({"ensemble": {"kind": "sparse"}, "axes": AXES}), ": did you mean 'Sparse'?"),
        (lambda: ff.Study.from_table({"ensemble": {"kind": "Sparse", "N": 9}, "axes": AXES}), ": did you mean 'n'?"),
        (lambda: ff.Record(los=True), ": did you mean 'loss'?"),
        (
            lambda: ff.kernels.chain_workspace([2, 2], np.ones(4)),
            "widths must be an array of int64 with 1 dimension(s), got a list",
        ),
        (lambda: ff.Study.from_table({"ensemble": {"kind": "Sparse"}, "axes": AXES}), "ensemble: Sparse needs n"),
    ],
)
def test_messages_name_what_was_meant(call, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        call()
