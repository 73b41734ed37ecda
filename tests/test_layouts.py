"""The layouts in which runs travel (one, lanes, rows) agree bit for bit, and so do the shapes of other processors."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import fastflow as ff
from fastflow.kernels.compile.target import SHAPE, target_features
from fastflow.kernels.losses import sensing
from fastflow.kernels.networks import chain_group
from fastflow.kernels.networks.chain_group import choose_layout

RECORD = ff.Record(12, product=True, factors=True)
METHOD = ff.GradientDescent(max_steps=150, tol=1e-3)


def problem_of(kind: str, rows: int, columns: int, seed: int) -> object:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((rows, columns))
    if kind == "estimation":
        return ff.MatrixEstimation(matrix, truth=matrix)
    if kind == "completion":
        known = rng.random(matrix.shape) < 0.6
        known[0, 0] = True
        return ff.MatrixCompletion.from_dense(np.where(known, matrix, np.nan), truth=matrix, normalization="mean")
    if kind == "sensing":
        operators = rng.standard_normal((13, rows, columns)) / 4
        return ff.MatrixSensing(operators, np.einsum("mij,ij->m", operators, matrix))
    samples = {"samples": 1, "gram": 40}[kind]
    inputs = rng.standard_normal((columns, samples)) / np.sqrt(samples)
    return ff.LinearRegression(inputs, matrix @ inputs, samples="columns")


def assert_same(first: ff.Runs, second: ff.Runs) -> None:
    for name in ("solution", "loss", "status", "steps", "flat_factors"):
        assert np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True), name
    assert first.history is not None
    assert second.history is not None
    for name in first.history.recorded:
        one, other = getattr(first.history, name), getattr(second.history, name)
        pairs = zip(one, other, strict=True) if name == "factors" else [(one, other)]
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in pairs), name


KINDS = ("estimation", "completion", "sensing", "samples", "gram")
IN_FLOAT32 = KINDS if "FASTFLOW_WHOLE" in os.environ else KINDS[:1]
"""The other kinds differ from it in what is compared elsewhere (`test_kernels`)."""


@pytest.mark.parametrize(
    ("kind", "dtype"), [(kind, np.float64) for kind in KINDS] + [(kind, np.float32) for kind in IN_FLOAT32]
)
def test_lanes_agree_with_one_run_at_a_time(kind, dtype, monkeypatch):
    # The first is wide enough for chains of FMAs in several blocks, the last of which takes the step; the rows of the
    # next have no padding, so that sweeps from either end use the memory of products again. Tiny ones have code of
    # their own in lanes.
    wide = [(130, 3, 2, 131), (16, 24, 8, 24), (24, 8, 24, 16)] if kind == "estimation" else []
    tiny = [(2,) * 3, (3,) * 4, (4,) * 5, (5,) * 3, (5,) * 6] if kind == "estimation" else [(3,) * 3]
    for widths in ((5, 4, 7), (3, 6, 2, 9, 4), (2, 3), *wide, *tiny):
        problem = problem_of(kind, widths[-1], widths[0], seed=len(widths))
        results = []
        for lane_width in (0, max(chain_group.LANE_WIDTH, *widths)):
            monkeypatch.setattr(chain_group, "LANE_WIDTH", lane_width)
            monkeypatch.setattr(sensing, "SENSING_LANE_WIDTH", lane_width)
            # 19 runs that end at different steps: lanes are refilled, and the last are left empty.
            runs = ff.train(
                problem, ff.DeepLinear(widths=widths), ff.inits.Gaussian(0.3), METHOD, 19, record=RECORD, dtype=dtype
            )
            results.append(runs)
        assert_same(*results)


@pytest.mark.parametrize("kind", ["estimation", "completion", "gram"])
def test_lanes_of_different_problems_agree_with_one_run_at_a_time(kind, monkeypatch):
    network = ff.DeepLinear(widths=(5, 3, 6))
    problems = [problem_of(kind, 6, 5, seed) for seed in range(7)]
    results = []
    for lane_width in (0, chain_group.LANE_WIDTH):
        monkeypatch.setattr(chain_group, "LANE_WIDTH", lane_width)
        results.append(ff.train(problems, network, ff.inits.Gaussian(0.3), METHOD, 2, record=RECORD))
    assert_same(*results)


@pytest.mark.parametrize("kind", ["sensing", "samples"])
def test_a_group_of_rows_agrees_whatever_its_size(kind, monkeypatch):
    problem = problem_of(kind, 6, 5, 0)
    monkeypatch.setattr(chain_group, "LANE_WIDTH", 0)
    results = []
    for members in (1, 4, 32):
        monkeypatch.setattr(chain_group, "ROWS", members)
        results.append(ff.train(problem, ff.DeepLinear(2), ff.inits.Gaussian(0.3), METHOD, 10, record=RECORD))
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])


@pytest.mark.parametrize("lane_width", [0, chain_group.LANE_WIDTH])
def test_a_diverging_neighbour_changes_no_bit(lane_width, monkeypatch):
    monkeypatch.setattr(chain_group, "LANE_WIDTH", lane_width)
    rng = np.random.default_rng(5)
    problem = ff.MatrixEstimation(rng.standard_normal((4, 4)))
    calm = [0.3 * rng.standard_normal((9, 4, 4)) for _ in range(2)]
    wild = [factor.copy() for factor in calm]
    for factor in wild:
        factor[::2] *= 50  # every other run diverges
    network, method = ff.DeepLinear(2), ff.GradientDescent(step=0.05, max_steps=300, tol=0)
    alone = ff.train(problem, network, ff.inits.Explicit(calm), method)
    beside = ff.train(problem, network, ff.inits.Explicit(wild), method)
    assert set(beside.status[::2]) == {ff.Status.DIVERGED}
    assert set(beside.status[1::2]) == {ff.Status.MAX_STEPS}
    assert np.array_equal(alone.flat_factors[1::2], beside.flat_factors[1::2])
    assert np.array_equal(alone.loss[1::2], beside.loss[1::2])


def test_the_layout_depends_on_shapes_alone():
    estimation = ff.MatrixEstimation.kernel_data([ff.MatrixEstimation(np.eye(3))], np.float64, shared=True)
    problem = ff.MatrixSensing(np.ones((2, 3, 3)), np.ones(2))
    shared = ff.MatrixSensing.kernel_data([problem], np.float64, shared=True)
    own = ff.MatrixSensing.kernel_data([problem], np.float64)
    regression = ff.LinearRegression(np.ones((3, 1)), np.ones((3, 1)), samples="columns")
    samples = ff.LinearRegression.kernel_data([regression], np.float64, shared=True)
    small, middle, large = ((width,) * 3 for width in (3, sensing.SENSING_LANE_WIDTH + 1, chain_group.LANE_WIDTH + 1))
    assert [choose_layout(estimation, w) for w in (small, large)] == ["lanes", "one"]
    assert [choose_layout(shared, w) for w in (small, middle, large)] == ["lanes", "rows", "rows"]
    assert [choose_layout(samples, w) for w in (small, middle, large)] == ["lanes", "lanes", "rows"]
    assert [choose_layout(own, w) for w in (small, large)] == ["one", "one"]
    # Rows that fill vectors of 256 or 512 bits are no waste of them.
    filling = {
        "AVX-512": {(24, 8): "one", (28, 8): "lanes", (16, 8): "one", (24, 4): "lanes", (48, 4): "one"},
        "AVX2": {(24, 8): "one", (30, 8): "lanes", (16, 8): "lanes", (24, 4): "one", (20, 4): "lanes"},
    }.get(SHAPE.name, {(24, 8): "lanes", (48, 4): "lanes"})
    for (width, itemsize), layout in filling.items():
        assert choose_layout(estimation, (width,) * 3, itemsize) == layout, (width, itemsize)
    assert choose_layout(estimation, (24, 3, 24)) == "lanes"


SCRIPT = """
import re
import sys
import numba
import numpy as np
import fastflow as ff
from fastflow.kernels.compile.target import SHAPE
from fastflow.kernels.descent.descend import descend
from fastflow.kernels.losses.shared_matrix import share_matrix
from fastflow.kernels.networks import chain_group
from fastflow.kernels.networks.diagonal_together import make_vector_group
from fastflow.kernels.networks.group import backward, forward, group_places

rng = np.random.default_rng(0)
matrix = rng.standard_normal((11, 7))
problem = ff.MatrixEstimation(matrix, truth=matrix)
method = ff.GradientDescent(step=0.05, max_steps=100)
file, widths, look = sys.argv[1], sys.argv[2].split(), sys.argv[3:]
arrays, compiled = {}, {}
for lane_width in widths:
    chain_group.LANE_WIDTH = int(lane_width)
    runs = ff.train(problem, ff.DeepLinear(3), ff.inits.Gaussian(0.3), method, 9, record=ff.Record(8))
    found = {"end": runs.solution, "loss": runs.loss, "losses": runs.history.loss, "b": runs.history.balancedness}
    arrays |= {f"{name} at {lane_width}": values for name, values in found.items()}
    if look:
        (new,) = (types for types in descend.signatures if types not in compiled)
        compiled[new] = descend.inspect_asm(new)
        print(SHAPE.name, "zmm" in compiled[new], "ymm" in compiled[new])
np.savez(file, **arrays)


@numba.njit
def step_together(group):
    at = group_places(group, group.data)
    forward(group, at, group.data)
    backward(group, at, group.data, True)


if look:
    shared = share_matrix(matrix, matrix[:, 0], np.float64)
    step_together(make_vector_group(shared, 7, 14, (2, True, True), matrix, 16))
    tiles, on_stack = 0, []
    for text in (*compiled.values(), *step_together.inspect_asm().values()):
        for _, body in re.findall(r"^(\\.\\w+):\\n((?:(?!\\.LBB).*\\n)*?)\\tj\\w+\\t\\1\\n", text, re.M):
            if max(6, body.count("\\n") / 5) <= body.count("vfmadd") <= 24:  # longer ones are of tiny matrices
                tiles += 1
                on_stack += [line for line in body.splitlines() if "rsp" in line and "mm" in line]
    print(tiles, on_stack)
"""


@pytest.mark.skipif("avx2" not in target_features(), reason="the AVX2 shape needs AVX2")
def test_the_avx2_shape_gives_the_bits_of_this_machines_shape(tmp_path):
    """In a subprocess compiled for Haswell, into a cache of its own, and without a 512-bit register in its tiles.

    And no loop of a tile, of which a fifth at least are FMAs, keeps a sum on the stack: that made the product with a
    shared A^T take 1.4 times as long.
    """
    haswell = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}
    haswell["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")  # what a cache already has is not compiled, and not to be read
    widths, results, said = (0, chain_group.LANE_WIDTH), [], []
    for name, settings, look in (("native", {}, []), ("haswell", haswell, ["look"])):
        file = tmp_path / f"{name}.npz"
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(file), " ".join(map(str, widths)), *look],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.splitlines())
        with np.load(file) as arrays:
            results.append(dict(arrays))
    assert said[0] == []
    assert said[1][:-1] == ["AVX2 False True"] * len(widths)
    tiles, on_stack = said[1][-1].split(" ", 1)
    assert int(tiles) >= 10
    assert on_stack == "[]"
    assert len(results[0]) == 4 * len(widths)
    for name, values in results[0].items():
        assert np.array_equal(values, results[1][name]), name
