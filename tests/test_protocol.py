"""Protocols of compiled code: the implementation of the class, or of its nearest base, and what is told last."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numba import TypingError, types
from numba.core.typing.templates import _OverloadFunctionTemplate

from fastflow.kernels.compile.jit import jit
from fastflow.kernels.compile.protocol import chooses, implements, is_implemented, protocol


class Shape(NamedTuple):
    sizes: np.ndarray


class Square(Shape):
    __slots__ = ()


class Other(NamedTuple):
    sizes: np.ndarray


@protocol
def area(shape, unit):
    """The area of a shape."""


@protocol
def inline_area(shape, unit):
    """The area of a shape."""


def of_shape(shape, unit):
    return unit * shape.sizes[0] * shape.sizes[1]


def of_square(shape, unit):
    return unit * shape.sizes[0] ** 2


for function, inline in ((area, False), (inline_area, True)):
    implements(function, Shape, inline=inline)(of_shape)
    implements(function, Square, inline=inline)(of_square)


@chooses(area, types.Array)
def _area(shape, unit):
    dimensions = shape.ndim
    return lambda shape, unit: unit * dimensions


@jit
def _both(shape, unit):
    return area(shape, unit), inline_area(shape, unit)


@jit
def _one(shape, unit):
    return area(shape, unit)


def test_a_class_has_its_own_implementation_or_that_of_its_base():
    sizes = np.array([2.0, 3.0])
    assert _both(Shape(sizes), 1.0) == (6.0, 6.0)
    assert _both(Square(sizes), 1.0) == (4.0, 4.0)
    assert _one(np.zeros((2, 2)), 1.0) == 2.0
    with pytest.raises(TypingError, match="area"):
        _one(Other(sizes), 1.0)
    assert [is_implemented(area, each) for each in (Shape, Square, Other)] == [True, True, False]


def test_what_is_told_last_counts():
    class Late(NamedTuple):
        sizes: np.ndarray

    implements(area, Late)(of_shape)
    implements(area, Late)(of_square)
    assert _one(Late(np.array([2.0, 3.0])), 1.0) == 4.0


def test_a_protocol_is_for_compiled_code_and_for_its_own_arguments():
    with pytest.raises(TypeError, match="area is for compiled code"):
        area(Shape(np.zeros(2)), 1.0)
    with pytest.raises(TypeError, match=r"area takes \['shape', 'unit'\]"):
        implements(area, Shape)(lambda figure, unit: 0.0)
    assert area.__doc__ == "The area of a shape."


def test_what_is_inlined_is_typed_once_however_often_it_is_called(monkeypatch):
    """Where Numba types it anew for each call, in each round in which it types the caller."""
    typed, generic = [], _OverloadFunctionTemplate.generic

    def count(template, arguments, named):
        typed.append(template.key.__name__)
        return generic(template, arguments, named)

    monkeypatch.setattr(_OverloadFunctionTemplate, "generic", count)

    class Fresh(Square):
        __slots__ = ()

    @jit
    def total(shape):
        unit = 0.0
        for _ in range(2):  # in whose first round Numba has no type for what comes last
            unit = inline_area(shape, unit) + inline_area(shape, 1.0)
        return unit

    assert total(Fresh(np.array([3.0]))) == 90.0
    assert typed.count("inline_area") == 1
