"""References are counted where a kernel makes arrays or hands them on, and nowhere else; none is lost or kept."""

from __future__ import annotations

import gc
import re
import sys
import weakref
from typing import NamedTuple

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys
from numba.typed import List

import fastflow as ff
from fastflow.kernels.compile.jit import jit, jit_internal
from fastflow.kernels.vectors.layouts import flattened


class Pair(NamedTuple):
    first: np.ndarray
    second: np.ndarray


@jit_internal
def larger(pair):
    return pair.first if pair.first[0] > pair.second[0] else pair.second


@jit_internal
def doubled(x):
    return 2 * x


@jit
def of_its_caller(pair, n):
    """Fields, parts, columns, pairs, and names that change places."""
    here, there = pair.first, pair.second
    for i in range(n):
        here, there = there, here
        part = here[i % 2 :]
        part[0] += i
        for value in there[:2]:
            part[-1] += value
    other = Pair(here, there)
    return other.second[0] + other.first[-1]


@jit
def flat_sum(x):
    total = 0.0
    for value in flattened(x):
        total += value
    return total


@jit
def made(x, n):
    total = 0.0
    for i in range(n):
        y = np.zeros(x.size)
        y[:] = x
        total += y[i % y.size] + np.sort(x)[0]
    return total


@jit
def of_a_sum(x, y):
    return (x + y)[0]


@jit
def handed_over(pair, n):
    total = 0.0
    for _ in range(n):
        best = larger(pair)
        total += best[0] + doubled(best)[0]
    return total


@jit
def handed_back(x):
    return x[1:]


@jit
def over_itself(x, n):
    for _ in range(n):
        x[1:] = x[:-1]
    return x[0]


@jit
def chosen(x, places):
    return x[places][0] + x[x > 1][0]


@jit
def ravelled(x):
    return x.ravel()[0]  # Numba compiles this apart, and hands a reference over


@jit
def every_other(x):
    return x[:, ::2].ravel()[0]


@jit
def of_a_list(x):
    listed = [x, x[1:]]
    return listed[1][0]


@jit
def failing(x):
    if x[0] > 0:
        raise ValueError(f"{x.size} numbers")
    return 0.0


def counts(kernel) -> bool:
    """Whether a kernel has kept a count anywhere: in its code or in the code by which Python enters it."""
    return bool(re.search(r"@NRT_(incref|decref)\(", kernel.inspect_llvm(kernel.signatures[0])))


X, Y = np.arange(6.0), np.arange(6.0) + 10


def test_a_kernel_that_makes_no_arrays_counts_nothing():
    results = []
    for function in (of_its_caller.py_func, of_its_caller):
        pair = Pair(X.copy(), Y.copy())
        results.append((function(pair, 9), pair.first.tolist(), pair.second.tolist()))
    assert results[0] == results[1]
    assert not counts(of_its_caller)
    assert flat_sum(X.reshape(1, 2, 3)) == X.sum()
    assert not counts(flat_sum)


@jit
def of_a_typed_list(listed):
    return listed[1][0]


CALLS = {
    made: ((X + 1, 7), 29.0),
    of_a_sum: ((X, Y), 10.0),
    handed_over: ((Pair(X, Y), 5), 150.0),
    over_itself: ((X + 1, 3), 1.0),
    chosen: ((X, np.array([2, 3])), 4.0),
    ravelled: ((X.reshape(2, 3) + 1,), 1.0),
    every_other: ((X.reshape(2, 3) + 1,), 1.0),
    of_a_list: ((X,), 1.0),
    of_a_typed_list: ((List([X, Y]),), 10.0),
}


@pytest.mark.parametrize("kernel", CALLS, ids=lambda kernel: kernel.__name__)
def test_one_that_does_counts(kernel):
    given, expected = CALLS[kernel]
    assert kernel(*given) == expected
    assert counts(kernel)


def test_what_a_kernel_returns_keeps_what_it_is_a_part_of():
    x = np.arange(1000.0)
    alive = weakref.ref(x)
    part = handed_back(x)
    before = sys.getrefcount(x)
    for _ in range(100):
        handed_back(x)
    assert sys.getrefcount(x) == before
    del x
    gc.collect()
    assert alive() is not None
    assert part.sum() == 999 * 500
    del part
    gc.collect()
    assert alive() is None


def test_arguments_are_given_back_also_where_a_kernel_raises():
    x = np.ones(3)
    before = sys.getrefcount(x)
    for _ in range(10):
        with pytest.raises(ValueError, match="3 numbers"):
            failing(x)
        of_its_caller(Pair(x, np.ones(3)), 2)
    assert sys.getrefcount(x) == before


class Drag(NamedTuple):
    share: float


def drag(rule, factors, gradient, memory, step, k):
    """An update that makes arrays of its own, and hands some on."""
    move = step * (1 - rule.share) * gradient
    factors[:] = factors - move
    kept = factors[:2]
    memory[0, :2] = kept


ff.kernels.add_rule(Drag, drag, slots=1)

SPARSE = ff.CompressedSensing(np.random.default_rng(0).standard_normal((4, 8)), np.ones(4))
MATRIX = ff.MatrixCompletion.from_dense(np.array([[1.0, np.nan, 2], [3, 1, np.nan], [np.nan, 2, 2]]))
METHODS = [
    (SPARSE, ff.GradientDescent(1e-3, max_steps=50)),
    (SPARSE, ff.StochasticGradientDescent(1e-3, 2, max_steps=50)),
    (SPARSE, ff.GradientFlow([0.5, 1], t_max=1)),
    (SPARSE, ff.FlowLimit()),
    (MATRIX, ff.GradientFlow([0.5, 1], t_max=50)),
    (MATRIX, ff.Adam(1e-3, max_steps=50)),
    (MATRIX, ff.BarzilaiBorwein(1e-3, max_steps=50)),
    (MATRIX, ff.Muon(1e-3, max_steps=50)),
    (MATRIX, ff.CustomRule(1e-3, update=Drag(0.5), max_steps=50)),
]


@pytest.mark.parametrize(("problem", "method"), METHODS, ids=lambda one: type(one).__name__)
def test_training_gives_back_what_its_kernels_have_made(problem, method):
    network = ff.DiagonalLinear(2) if problem is SPARSE else ff.DeepLinear(2)
    init = ff.inits.Uniform(0.1) if problem is SPARSE else ff.inits.Gaussian(0.3)
    _nrt_python.memsys_enable_stats()
    try:
        before = rtsys.get_allocation_stats()
        runs = ff.train(problem, network, init, method, runs=3, progress=False)
        del runs
        gc.collect()
        after = rtsys.get_allocation_stats()
    finally:
        _nrt_python.memsys_disable_stats()
    assert after.mi_alloc - before.mi_alloc == after.mi_free - before.mi_free
    assert after.alloc - before.alloc == after.free - before.free
