"""Normals made in a kernel are NumPy's, bit for bit, and the generator goes on as after NumPy's own."""

from __future__ import annotations

import numpy as np
import pytest
from numba.np.random import _constants

import fastflow as ff
from fastflow.kernels.random import normals
from fastflow.kernels.random.normals import FEWEST, TOGETHER, WORDS, fill_from, standard_normals, ziggurat


def generators(key, before):
    """Two generators that are at the same place, somewhere within a block and within a word."""
    pair = [np.random.Generator(np.random.Philox(key=key)) for _ in range(2)]
    for rng in pair:
        rng.permutation(5 + before)
        rng.standard_normal(before)
        rng.integers(0, 2, before, np.int32)
    return pair


def assert_alike(one, other):
    assert str(one.bit_generator.state) == str(other.bit_generator.state)
    assert one.integers(2**40) == other.integers(2**40)
    assert np.array_equal(one.standard_normal(3), other.standard_normal(3))


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("size", [1, TOGETHER - 1, TOGETHER, TOGETHER + 1, WORDS - 1, WORDS, WORDS + 5, 4321])
def test_any_number_of_them_from_anywhere(size, before):
    ours, its = generators(size, before)
    found = np.empty(size)
    assert fill_from(ours.bit_generator, ziggurat(), found)
    assert np.array_equal(found, its.standard_normal(size))
    assert_alike(ours, its)


def test_a_million_of_them_with_all_of_the_tail():
    ours, its = generators(1, 3)
    found = np.empty((1000, 1000))
    standard_normals(ours, found)
    expected = its.standard_normal((1000, 1000))
    assert np.array_equal(found, expected)
    assert np.sum(np.abs(expected) > ziggurat().edge) > 200
    assert_alike(ours, its)


@pytest.mark.parametrize("advanced", [2**40, 2**63, 2**66, 2**130])
def test_far_along_a_stream(advanced):
    ours, its = (np.random.Generator(np.random.Philox(key=7).advance(advanced)) for _ in range(2))
    found = np.empty(FEWEST)
    standard_normals(ours, found)
    assert np.array_equal(found, its.standard_normal(FEWEST))
    assert_alike(ours, its)


def test_other_generators_and_few_numbers_are_left_to_numpy():
    for make in (lambda: np.random.default_rng(3), lambda: np.random.Generator(np.random.Philox(3))):
        for size in (3, 2 * FEWEST):
            ours, its, found = make(), make(), np.empty(size)
            standard_normals(ours, found)
            assert np.array_equal(found, its.standard_normal(size))
            assert_alike(ours, its)


def test_tables_that_are_not_numpys_are_not_used(monkeypatch):
    expected = ff.ensembles.Sparse(n=100, m=50, sparsity=5).draw(np.random.Generator(np.random.Philox(key=1)))
    wrong = _constants.wi_double.copy()
    wrong[77] = np.nextafter(wrong[77], 1)
    monkeypatch.setattr(_constants, "wi_double", wrong)
    normals.ziggurat.cache_clear()
    try:
        assert normals.ziggurat() is None
        found = ff.ensembles.Sparse(n=100, m=50, sparsity=5).draw(np.random.Generator(np.random.Philox(key=1)))
    finally:
        normals.ziggurat.cache_clear()
    assert np.array_equal(found.matrix, expected.matrix)


def test_matrices_of_ensembles_are_those_of_numpy():
    key, n, m, s = 5, 80, 40, 6
    drawn = ff.ensembles.Sparse(n=n, m=m, sparsity=s).draw(np.random.Generator(np.random.Philox(key=key)))
    rng = np.random.Generator(np.random.Philox(key=key))
    rng.permutation(n)
    rng.standard_normal(s)
    assert np.array_equal(drawn.matrix, rng.standard_normal((m, n)) * (1 / np.sqrt(m)))
