"""Public kernels look at what they are given: nothing wrong is computed, nothing is written where it should not be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import naive
import numba
import numpy as np
import pytest

from fastflow import kernels

CALLS = 100_000 if "FASTFLOW_WHOLE" in os.environ else 10_000
NOT_KERNELS = ("ChainWorkspace", "LossWorkspace", "Mirror", "Completion", "Estimation", "Sensing")
NOT_KERNELS += ("RegressionByGram", "RegressionBySamples")
"""The classes of what kernels are given."""


def checked_memory():
    """The environment in which the C library looks at its heap, and fills what is free with nonsense."""
    environment = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165"}
    if sys.platform == "linux" and os.path.exists("/lib/x86_64-linux-gnu/libc_malloc_debug.so.0"):
        environment["LD_PRELOAD"] = "libc_malloc_debug.so.0"
    return environment


def test_random_wrong_calls_are_all_refused():
    """By a TypeError or ValueError: no number, no other exception, and no process that is aborted."""
    script = Path(__file__).with_name("random_calls.py")
    start = [sys.executable, "-X", "faulthandler", str(script), str(CALLS), "7"]
    done = subprocess.run(start, env=checked_memory(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [str(CALLS)], done.stdout[-3000:]


def test_every_public_kernel_is_called_at_random():
    names = {name for name, *_ in __import__("random_calls").cases()}
    assert names == set(kernels.__all__) - set(NOT_KERNELS)


@numba.njit
def _product(a, b):
    return kernels.product_nn(a, b)


def test_compiled_code_of_a_user_is_refused_in_the_same_words():
    with pytest.raises(TypeError, match=r"product_nn: b must be of the type of a, .*float64.*, got .*float32"):
        _product(np.eye(2), np.eye(2, dtype=np.float32))
    with pytest.raises(ValueError, match="product_nn: the inner dimensions differ"):
        _product(np.eye(2), np.eye(3))


@pytest.mark.parametrize("shape", [(4, 3), (1, 5), (3, 1)])
def test_loss_gradient_of_every_public_problem(kind, shape, make_problem, rng):
    """Called from Python, against the oracle."""
    problems = [make_problem(kind, shape) for _ in range(3)]
    data = type(problems[0]).kernel_data(problems, np.float64)
    product, work = rng.standard_normal(shape), kernels.loss_workspace(data, shape[0] * shape[1], np.float64)
    for index, problem in enumerate(problems):
        kernels.loss_gradient(data, index, product.ravel(), shape[1], work)
        loss, gradient = naive.loss_gradient(problem, product)
        np.testing.assert_allclose(work.loss[0], loss, rtol=1e-12)
        np.testing.assert_allclose(work.gradient.reshape(shape), gradient, rtol=0, atol=1e-12 * np.abs(gradient).max())
    with pytest.raises(ValueError, match="do not fit"):
        kernels.loss_gradient(data, 3, product.ravel(), shape[1], work)
