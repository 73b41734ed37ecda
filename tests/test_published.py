"""Published studies that the gallery redoes, in fifteen lines each: what theorems say of what their studies keep."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from test_gallery import tiny

from fastflow.gallery import ENTRIES

NAMES = ("sharpness", "large-steps", "kernel-to-rich", "divergence", "rank-reached")


def test_steps_far_below_the_critical_one_find_what_the_flow_finds():
    data = tiny("sharpness")
    small = data["step"] < 0.2
    assert small.any()
    assert np.isfinite(data["l1_norm"][small]).all()
    assert data["l1_norm"][small] == pytest.approx(1, rel=0.1)


def test_noise_gains_more_than_steps_alone():
    """``sum_k q(step g_k)`` is that of more and larger gradients along single samples, and grows with the step."""
    data = tiny("large-steps")
    gain = data["gain"][..., 1]  # the median over coordinates
    both = np.isfinite(gain).all(axis=1)
    assert both.sum() >= 4
    assert np.all(gain[:, 0][both] > 0)
    assert np.all(gain[:, 1][both] > gain[:, 0][both])
    rising = np.diff(gain[:, 0], axis=0)
    assert np.all(rising[np.isfinite(rising)] > 0)


def test_the_excess_falls_as_the_starts_do():
    data = tiny("kernel-to-rich")
    assert np.all(data["l1"] > -1e-7)
    assert np.all(data["l2"] > -1e-7)
    assert np.all(np.diff(data["l1"], axis=1) > 0)
    assert np.all(np.diff(data["l2"], axis=1) < 0)


def test_steps_that_no_minimum_survives_diverge():
    data = tiny("divergence")
    rates = np.mean(data["diverged"], axis=(1, 2))
    assert rates[0] == 0
    assert rates[-1] > 0.5
    assert not np.any(np.isfinite(data["sharpness"]) & (data["diverged"] == 1))


@pytest.mark.parametrize("name", NAMES)
def test_each_is_fifteen_lines(name):
    assert len(inspect.getsource(ENTRIES[name].compute).splitlines()) <= 15  # with the name and a line on what it is
