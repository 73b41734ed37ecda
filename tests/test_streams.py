"""Streams: equal keys give equal draws, different keys different ones, for ever."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastflow.streams import encode, stream

scalars = st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=8)


def exact(key):
    """A key as nested tuples that are equal only if types, bits and nesting are."""
    if isinstance(key, tuple):
        return ("tuple", *map(exact, key))
    return (type(key).__name__, key.hex() if isinstance(key, float) else key)


@given(first=keys, second=keys)
def test_different_keys_have_different_encodings(first, second):
    assert (encode(first) == encode(second)) == (exact(first) == exact(second))


def test_keys_that_look_alike():
    alike = [
        (1, 2),
        (12,),
        ("1", 2),
        ("1,2",),
        ((1,), 2),
        (1, (2,)),
        ((1, 2),),
        (1.0, 2),
        (1, 2.0),
        (True, 2),
        ("i1,i2",),
        ("i1", "i2"),
        (),
        ("",),
        (0.0,),
        (-0.0,),
        (np.nextafter(1.0, 2.0), 2),
        (-1, 2),
        (1, -2),
        (2, 1),
    ]
    for first, second in combinations(alike, 2):
        assert encode(first) != encode(second), (first, second)
        assert stream(*first).integers(2**63) != stream(*second).integers(2**63), (first, second)


def test_numpy_scalars_and_lists_are_the_values_that_they_hold():
    wanted = encode((7, 0.1, "seven", (3, 4)))
    for integer in (np.int8, np.int32, np.int64, np.uint16, np.intp):
        assert encode((integer(7), np.float64(0.1), np.str_("seven"), [integer(3), 4])) == wanted
    assert encode(np.float32(0.1)) == encode(float(np.float32(0.1)))
    assert encode(np.True_) == encode(True)


@pytest.mark.parametrize("key", [None, 1j, {"a": 1}, np.zeros(2), pytest.param(object(), id="object")], ids=repr)
def test_what_is_no_value_is_no_key(key):
    with pytest.raises(TypeError, match="a stream is keyed by"):
        stream("init", key)


def test_known_answers():
    """The words of a stream are part of every result that was published with a seed: they never change."""
    assert stream(0, "init", (4, 4, 5), 0, 17).bit_generator.random_raw(3).tolist() == [
        15309565231505763736,
        16450387295956086019,
        13645323447786622430,
    ]
    assert stream(2**100, "problem", 0.5).bit_generator.random_raw(3).tolist() == [
        8943901932177260531,
        15260177934404563963,
        16879483027742102328,
    ]


def test_known_normals():
    """NumPy does not promise how it makes normals of words: if this alone fails, NumPy and all starts have changed."""
    draws = stream(0, "init", (4, 4, 5), 0, 17).standard_normal(3)
    assert [float(x).hex() for x in draws] == [
        "-0x1.16ba8c92364c2p+0",
        "-0x1.7126155bbc74ep-5",
        "-0x1.15f4cad654099p+1",
    ]


def test_a_stream_is_independent_of_the_one_before_it():
    first = stream(0, "init", 0).standard_normal(20_000)
    second = stream(0, "init", 1).standard_normal(20_000)
    # A correlation of independent draws has standard deviation 1/sqrt(20000): 5 of them.
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(20_000)


def test_drawing_leaves_numpys_global_state_alone():
    before = np.random.get_state(legacy=False)["state"]["pos"]  # noqa: NPY002
    stream(1).standard_normal(10)
    assert np.random.get_state(legacy=False)["state"]["pos"] == before  # noqa: NPY002
