"""Runs whose steps outlast Ctrl-C are worked on in copies: the same bits, and nothing is torn or waited for."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import fastflow as ff
from fastflow import scheduling
from fastflow.methods import gradient_flow, stepping, stochastic

TARGET = np.array([[2.0, 0.5, -1.0], [0.3, 1.0, 0.2], [0.1, -0.4, -1.5]])
PROBLEMS = {
    "one": ff.MatrixEstimation(TARGET, truth=TARGET),
    "rows": ff.MatrixSensing(np.arange(36.0).reshape(4, 3, 3) / 36, np.ones(4)),
}
BATCHES = ff.StochasticGradientDescent(0.01, 2, max_steps=40, look=9, label_noise=0.1)
METHODS = {
    "descent": (ff.GradientDescent(0.01, 40), stepping, "descend"),
    "batches": (BATCHES, stochastic, "descend_by_batches"),
    "flow": (ff.GradientFlow([0.0, 0.4, 0.8], t_max=1.0), gradient_flow, "layer_flow_slice"),
}


def train(problem, method, threads=1):
    steps = {"steps": range(0, 40, 7)} if not isinstance(method, ff.GradientFlow) else {}
    record = ff.Record(**steps, product=True, factors=True)
    init = ff.inits.Gaussian(0.3)
    return ff.train(PROBLEMS[problem], ff.DeepLinear(2), init, method, 3, threads=threads, record=record)


def same(first, second):
    names = ("solution", "loss", "status", "steps", "flat_factors")
    return first.history == second.history and all(np.array_equal(getattr(first, n), getattr(second, n)) for n in names)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_aside_there_are_the_same_bits(problem, method, monkeypatch):
    expected = train(problem, METHODS[method][0])
    monkeypatch.setattr(scheduling, "SLOW", 1e-9)
    for threads in (1, 2):
        assert same(train(problem, METHODS[method][0], threads), expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("method", METHODS)
def test_a_slice_that_hangs_is_left_behind_and_tears_nothing(method, threads, monkeypatch):
    """The third slice does its work after Ctrl-C: nobody sees it, and going on gives what was never stopped."""
    chosen, module, kernel = METHODS[method]
    expected = train("one", chosen)
    monkeypatch.setattr(scheduling, "SLOW", 1e-9)
    slices, hangs, go_on, ended = [], threading.Event(), threading.Event(), threading.Event()
    before = getattr(module, kernel)

    def hang(*arguments):
        if threading.current_thread().name != "fastflow solver":
            return before(*arguments)
        slices.append(1)
        if len(slices) > 2:
            hangs.set()
            go_on.wait(60)
        try:
            return before(*arguments)
        finally:
            if len(slices) > 2:
                ended.set()

    def interrupt(asked):
        if hangs.is_set():
            raise KeyboardInterrupt
        return asked

    waits = ff.threads.wait
    monkeypatch.setattr(module, kernel, hang)
    monkeypatch.setattr(ff.threads, "wait", lambda *given, **options: interrupt(waits(*given, **options)))
    started = time.perf_counter()
    with pytest.raises(ff.Interrupted) as caught:
        train("one", chosen, threads)
    assert time.perf_counter() - started < 30  # it would wait for a minute
    monkeypatch.undo()
    runs = caught.value.runs
    copies = [runs.flat_factors.copy(), runs.loss.copy(), runs.history.loss.copy(), runs.history.product.copy()]
    go_on.set()
    assert ended.wait(60)
    for array, copy in zip(
        (runs.flat_factors, runs.loss, runs.history.loss, runs.history.product), copies, strict=True
    ):
        np.testing.assert_array_equal(array, copy)
    if method != "flow":
        on = ff.train(PROBLEMS["one"], ff.DeepLinear(2), runs.last, chosen)
        np.testing.assert_array_equal(on.flat_factors, expected.flat_factors)
        steps = np.array(expected.history.steps)
        for run in range(3):
            kept = np.isfinite(runs.history.loss[run])
            assert not kept[steps > runs.steps[run]].any() or runs.status[run] != ff.Status.RUNNING
            np.testing.assert_array_equal(runs.history.loss[run, kept], expected.history.loss[run, kept])
            np.testing.assert_array_equal(runs.history.product[run, kept], expected.history.product[run, kept])


def test_what_takes_too_long_to_evaluate_is_nan(monkeypatch):
    """After Ctrl-C nobody waits for losses of runs that have not begun."""

    def interrupted(worker, count, on_poll):
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduling, "run_workers", interrupted)
    for method in (METHODS[name][0] for name in METHODS):
        with pytest.raises(ff.Interrupted) as caught:
            train("one", method)
        assert np.isfinite(caught.value.runs.loss).all()
    monkeypatch.setattr(scheduling, "SLOW", 1e-9)
    for method in (METHODS[name][0] for name in METHODS):
        with pytest.raises(ff.Interrupted) as caught:
            train("one", method)
        runs = caught.value.runs
        assert np.isnan(runs.loss).all()
        assert np.isnan(runs.solution).all()
        assert np.isfinite(runs.flat_factors).all()
        assert "3 running" in repr(runs)
        runs.summary()
