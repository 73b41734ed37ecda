"""Stacks of problems and starts of diagonal networks, as kernels take them: from arrays, or from posed problems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow import kernels
from fastflow.checks import FloatArray, as_depth, as_floats
from fastflow.dual.vectors import as_two_vectors
from fastflow.kernels.dual.limit import LimitProblems
from fastflow.kernels.dual.mirror import SHALLOWEST, make_mirror
from fastflow.kernels.networks.hadamard import DEEPEST
from fastflow.memory import require_memory
from fastflow.networks import Hadamard
from fastflow.problems import Problem

SMALLEST, LARGEST = 1e-12, 1e3

NUMBER_BYTES = 8
MIRROR_ARRAYS = 14
"""Arrays of the size of all starts that there are while mirror maps are made."""

FEWER = "give fewer problems at once"


def as_problems(
    matrix: ArrayLike,
    values: ArrayLike,
    alpha: ArrayLike,
    depth: float,
    signed: bool,
    negative: ArrayLike | None,
) -> tuple[LimitProblems, tuple[int, ...]]:
    """The problems as kernels take them, and the leading axes of all arguments, broadcast.

    Parameters
    ----------
    matrix : array (..., m, n), A
    values : array (..., m), y
    alpha : float, array (n,) or array (..., n), 0 or from 1e-12 to 1e3, any number if L = 1: the start of u
    depth : number, L: 1, 2, or from 2.01 to 8
    signed : bool; False leaves v out
    negative : like alpha, the start of v, by default that of u
    """
    depth = as_depth("depth", depth, SHALLOWEST, DEEPEST)
    a, y = as_systems(matrix, values)
    (m, n), batches = a.shape[-2:], {"matrix": a.shape[:-2], "values": y.shape[:-1]}
    positive = _starts("alpha", alpha, n, depth)
    batches["alpha"] = positive.shape[:-1]
    if not signed:
        if negative is not None:
            raise ValueError("negative is the start of v, which signed=False leaves out: give one of the two")
        other = None
    else:
        other = positive if negative is None else _starts("negative", negative, n, depth)
        batches["negative"] = other.shape[:-1]
    batch = common_axes(batches)
    starts = np.broadcast_shapes(positive.shape, () if other is None else other.shape)
    numbers = a.size + y.size + MIRROR_ARRAYS * math.prod(starts)
    require_memory(NUMBER_BYTES * numbers, f"problems of shape {a.shape}", FEWER)
    if other is not None:
        positive, other = np.broadcast_arrays(positive, other)
    mirrors = make_mirror(positive.reshape(-1, n), other if other is None else other.reshape(-1, n), depth)
    problems = LimitProblems(
        np.array(a, np.float64, order="C").reshape(-1, m * n),
        np.array(y, np.float64, order="C").reshape(-1, m),
        mirrors,
        *(_index(shape, batch) for shape in (batches["matrix"], batches["values"], positive.shape[:-1])),
    )
    return problems, batch


def as_systems(matrix: ArrayLike, values: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """A (..., m, n) and y (..., m), checked."""
    a, y = as_floats("matrix", matrix, (2, 3, 4, 5, 6)), as_floats("values", values, (1, 2, 3, 4, 5))
    if y.shape[-1] != a.shape[-2]:
        raise ValueError(
            f"values must have one entry for each of the {a.shape[-2]} rows of matrix, got shape {y.shape}"
        )
    return a, y


def common_axes(batches: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The leading axes of arguments, by their names, broadcast."""
    try:
        return np.broadcast_shapes(*batches.values())
    except ValueError:
        shapes = ", ".join(f"{name} {shape}" for name, shape in batches.items())
        raise ValueError(f"the leading axes do not broadcast: {shapes}") from None


def check_identical(identical: bool, depth: float, whose: str) -> None:
    """Refuse a diagonal network whose flow is none of the form ``x = u^L - v^L``.

    Raises
    ------
    ValueError
        for three and more independent factors
    """
    if not identical and depth > 2:
        raise ValueError(
            f"{whose} needs identical factors, or two independent ones, got {depth} independent ones: use "
            "DiagonalLinear(identical=True), or GradientFlow"
        )


def mirrors_of(architecture: Hadamard, starts: FloatArray, whose: str) -> kernels.Mirror:
    """The mirror maps of starts (runs, parameters).

    Raises
    ------
    ValueError
        for starts that no flow of the form ``x = u^L - v^L`` has
    """
    check_identical(architecture.identical, architecture.depth, whose)
    positive, negative = as_two_vectors(architecture, architecture.unpack(starts))
    sides = [positive] if negative is None else [positive, negative]
    wrong = wrong_starts(np.concatenate(sides, axis=None), architecture.depth)
    if wrong.size:
        identical = architecture.identical or architecture.depth == 1
        of = "u and v" if identical else "of (u_1 + u_2)/2 and (u_1 - u_2)/2"
        raise ValueError(
            f"{whose} needs starts {of} that are {allowed_starts(architecture.depth)}; got "
            f"{wrong[0]:g}: GradientDescent takes any start"
        )
    return kernels.make_mirror(positive, negative, architecture.depth)


def pose_runs(
    problems: Sequence[Problem],
    architecture: Hadamard,
    problem_index: NDArray[np.int64],
    starts: FloatArray,
    whose: str,
    *,
    weighted: bool = False,
) -> LimitProblems:
    """Runs of posed problems from starts (runs, parameters), each of such a problem, as kernels take them.

    Parameters
    ----------
    problems : sequence of posed problems of a vector, of one shape
    architecture : Hadamard
    problem_index : int array (runs,)
    starts : array (runs, parameters)
    whose : what needs starts of a certain kind, for messages
    weighted : whether A and y are multiplied by the root of a problem's weight, so that time is that of its loss

    Raises
    ------
    ValueError
        for starts, and factors, that no flow of the form ``x = u^L - v^L`` has
    """
    numbers = MIRROR_ARRAYS * len(starts) * architecture.size
    require_memory(NUMBER_BYTES * numbers, f"the mirror maps of {len(starts)} runs", "take fewer runs")
    posed = [problem.of_vector() for problem in problems]
    if len({problem.matrix.shape for problem in posed}) > 1:
        raise ValueError("problems in one list must have the same number of measurements")
    mirrors = mirrors_of(architecture, starts, whose)
    m, n = posed[0].matrix.shape
    matrices, values = np.empty((len(problems), m * n)), np.empty((len(problems), m))
    for i, problem in enumerate(posed):
        root = np.sqrt(problem.weight) if weighted else 1.0
        matrices[i] = problem.entries("the dual of a flow").ravel() * root
        values[i] = problem.values * root
    return LimitProblems(
        matrices, values, mirrors, problem_index, problem_index, np.arange(len(starts), dtype=np.int64)
    )


def _starts(name: str, value: ArrayLike, n: int, depth: float) -> FloatArray:
    """Starts as an array (..., n)."""
    array = as_floats(name, value, (0, 1, 2, 3, 4, 5)).astype(np.float64)
    if array.ndim == 0:
        array = np.full(n, array)
    if array.shape[-1] != n:
        raise ValueError(f"{name} must be a number or have one entry for each of the {n} columns, got {array.shape}")
    bad = wrong_starts(array, depth)
    if bad.size:
        raise ValueError(f"{name} must be {allowed_starts(depth)}; got {bad[0]:g}")
    return array


def wrong_starts(starts: FloatArray, depth: float) -> FloatArray:
    """Those starts of u or v that float64 has no flow for."""
    if depth == 1:
        return starts[abs(starts) > LARGEST]
    return starts[~((starts == 0) | ((starts >= SMALLEST) & (starts <= LARGEST)))]


def allowed_starts(depth: float) -> str:
    """Which starts float64 has a flow for, in words."""
    if depth == 1:
        return f"from {-LARGEST:g} to {LARGEST:g}"
    return f"0 or from {SMALLEST:g} to {LARGEST:g}, where float64 holds the answer at every depth up to {DEEPEST}"


def _index(shape: tuple[int, ...], batch: tuple[int, ...]) -> NDArray[np.int64]:
    """Which of an argument's entries each problem of the broadcast batch takes."""
    own = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    return np.array(np.broadcast_to(own, batch)).ravel()  # a copy: a read-only view would compile the kernel anew
