"""What tests share: seeds that are printed, problems of every kind, and the settings of hypothesis."""

from __future__ import annotations

import itertools
import os
import signal
import zlib

import hypothesis
import numpy as np
import pytest

import fastflow as ff

# Examples are the same in every run and leave no folder behind; compilation makes the first one slow.
hypothesis.settings.register_profile("fastflow", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("fastflow")

# Under some launchers (a job in the background of a script) interrupts are ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Several processes share the CPUs: where each had as many threads for linear algebra, they would wait in turns."""
    if getattr(config.option, "numprocesses", None):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # which the processes inherit


KINDS = ("estimation", "completion", "sensing", "regression by gram", "regression by samples")


@pytest.fixture
def rng(request):
    """A generator whose seed is made from the test's name, and printed."""
    seed = zlib.crc32(request.node.name.encode())
    print(f"seed = {seed}")
    return np.random.default_rng(seed)


@pytest.fixture(params=KINDS)
def kind(request):
    """Every kind of problem; the two regressions take different formulas."""
    return request.param


@pytest.fixture(params=["float64", "float32"])
def dtype(request):
    """Both dtypes that kernels are compiled for."""
    return np.dtype(request.param)


@pytest.fixture
def make_problem(rng):
    """``make_problem(kind, shape, truth=None, **options)``: a random problem of any kind with a W of that shape.

    With a ``truth`` the data are those of this matrix, so that the loss is 0 there; otherwise they are random.
    """

    def make(kind, shape, truth=None, **options):
        rows, columns = shape
        if kind == "estimation":
            target = rng.standard_normal(shape) if truth is None else truth
            return ff.MatrixEstimation(target, truth=truth, **options)
        if kind == "completion":
            observed = rng.random(shape) < 0.6
            observed[rng.integers(rows), rng.integers(columns)] = True
            at = np.nonzero(observed)
            values = rng.standard_normal(len(at[0])) if truth is None else truth[at]
            order = rng.permutation(len(values))
            return ff.MatrixCompletion(
                shape, at[0][order], at[1][order], values[order], truth=truth, warn=False, **options
            )
        if kind == "sensing":
            operators = rng.standard_normal((max(1, rows * columns // 2), *shape)) / np.sqrt(rows * columns)
            values = rng.standard_normal(len(operators))
            if truth is not None:
                values = np.sum(operators * truth, axis=(1, 2))
            return ff.MatrixSensing(operators, values, truth=truth, **options)
        samples = {"regression by gram": 2 * columns + 3, "regression by samples": max(1, columns // 2)}[kind]
        inputs = rng.standard_normal((columns, samples)) / np.sqrt(samples)
        outputs = rng.standard_normal((rows, samples)) if truth is None else truth @ inputs
        problem = ff.LinearRegression(inputs, outputs, truth=truth, **options, samples="columns")
        assert problem.prefers_gram == (kind == "regression by gram") or columns == 1
        return problem

    return make


@pytest.fixture
def make_factors(rng):
    """``make_factors(widths, size=1.0)``: random factors whose products keep a moderate size."""

    def make(widths, size=1.0):
        return [
            size * rng.standard_normal((after, before)) / np.sqrt(before)
            for before, after in itertools.pairwise(widths)
        ]

    return make
