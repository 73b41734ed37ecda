"""A value for each run of one call: the bits are those of calls with one value each."""

from __future__ import annotations

import numpy as np
import pytest

import fastflow as ff

TARGET = np.diag([10.0, 5.0, 1.0] + [0.0] * 9)
PROBLEM = ff.MatrixEstimation(TARGET, truth=TARGET)
STEPS = np.geomspace(1e-3, 4e-3, 5)
LOW_RANK = ff.ensembles.LowRank(n=4, m=9, rank=1)
RECORD = ff.Record(steps=60)


def descend(step, init=None, runs=None, problem=PROBLEM, **options):
    method = ff.GradientDescent(step, max_steps=60, **options)
    init = ff.inits.Gaussian(1e-2) if init is None else init
    return ff.train(problem, ff.DeepLinear(depth=3), init, method, runs, threads=1, record=RECORD)


def same_run(several, i, one):
    return all(
        np.array_equal(getattr(several, name)[i], getattr(one, name)[0]) for name in ("solution", "loss", "step")
    )


def test_every_run_has_its_own_step():
    runs = descend(ff.each(STEPS))
    assert np.array_equal(runs.step, STEPS)
    assert np.array_equal(runs.run_index, np.arange(5))
    for i, step in enumerate(STEPS):
        assert same_run(runs, i, descend(step, runs=[i]))
    alike = descend(ff.each(STEPS), runs=[3] * 5)
    assert same_run(alike, 4, descend(STEPS[4], runs=[3]))
    falling = descend(ff.methods.Decreasing(ff.each(STEPS), scale=10.0))
    assert same_run(falling, 1, descend(ff.methods.Decreasing(STEPS[1], scale=10.0), runs=[1]))


@pytest.mark.parametrize("init", [ff.inits.Gaussian, ff.inits.Orthogonal, ff.inits.Balanced, ff.inits.Identity])
def test_every_run_has_its_own_scale(init):
    scales = np.array([1e-1, 1e-2, 1e-3, 1e-2, 1e-1])
    runs = descend(STEPS[0], init(ff.each(scales)))
    for i in (0, 2):
        one = init(scales[i])
        assert same_run(runs, i, descend(STEPS[0], one, runs=[i] if one.random else None))


def test_problems_share_the_values_out():
    """Run p * starts + s, as everywhere."""
    other = ff.MatrixEstimation(TARGET.T[::-1], truth=TARGET)
    runs = descend(ff.each(STEPS[:4]), ff.inits.Identity(ff.each([0.1, 0.2, 0.3, 0.4])), problem=[PROBLEM, other])
    assert np.array_equal(runs.problem_index, [0, 0, 1, 1])
    assert same_run(runs, 3, descend(STEPS[3], ff.inits.Identity(0.4), problem=other))


def test_diagonal_starts():
    """No kernel: the starts themselves, drawn."""
    form = ff.DiagonalLinear(2).architecture(ff.CompressedSensing(np.eye(3), np.ones(3)))
    several, one = np.zeros((2, form.parameter_count)), np.zeros((1, form.parameter_count))
    zero = np.zeros(2, np.int64)
    ff.inits.Constant(ff.each([0.1, 0.3])).fill(form, 0, zero, zero, several)
    ff.inits.Constant(0.3).fill(form, 0, zero[:1], zero[:1], one)
    assert np.array_equal(several[1], one[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: descend(ff.each(STEPS), runs=4),
            "a value for every run: it has 5, and there are 4 runs",
        ),
        (lambda: descend(ff.each(STEPS), ff.inits.Gaussian(ff.each([1e-2] * 3))), "got 3 and 5 of them"),
        (lambda: ff.each([0.1, 0.0]), "each must have values greater than 0"),
        (lambda: ff.each([]), "each"),
        (lambda: ff.each([[0.1]]), "each"),
        (lambda: ff.check(PROBLEM, ff.DeepLinear(2), ff.inits.Identity(ff.each([0.1, 0.2]))), "check looks at one run"),
        (lambda: ff.flow_distance(PROBLEM, method=ff.GradientDescent(ff.each(STEPS))), "at the same times"),
        (lambda: ff.Study(LOW_RANK, init=ff.inits.Gaussian(ff.each(STEPS)), axes={"m": [9]}), "its values are an axis"),
    ],
)
def test_what_values_are_not_for_is_said(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
