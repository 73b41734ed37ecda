"""How the factors of a chain move: by steps of gradient descent, or by the formula of a rule."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline, jit_internal
from fastflow.kernels.compile.protocol import implements, protocol
from fastflow.kernels.rules.elementwise import take_rule_steps_at
from fastflow.kernels.vectors.layouts import element_bytes, pitch
from fastflow.kernels.vectors.products import Step, no_step
from fastflow.kernels.vectors.steps import take_steps_at


class BySteps(NamedTuple):
    """How a sweep moves factors: by steps of gradient descent, with the addresses that `take_steps_at` takes."""

    steps: int
    moved: int


class ByFormula(NamedTuple):
    """How a sweep moves factors: by the formula of a rule, with what `take_rule_steps_at` takes.

    The memory of an entry lies ``beyond`` it by so many bytes.
    """

    rule: NamedTuple
    beyond: int
    slot_bytes: int
    numbers: int
    number_bytes: int
    moved: int


@jit_inline
def no_steps():
    """How a sweep moves factors that it does not move."""
    return BySteps(np.intp(0), np.intp(0))


@protocol
def step_of_product(how, factor):
    """The `Step` that the product takes which is the gradient of the factor at an address."""


@protocol
def step_behind(how, kind, factor, gradient, rows, columns):
    """Move a factor by its gradient, both at addresses, where the product that is the gradient has not done so."""


@protocol
def step_last(how, kind, factor, gradient, rows, columns, clean):
    """`step_behind`, where the gradient has come with no step; ``clean``: its padding is 0, as that of the factor."""


@jit_inline
def step_rows(kind, factor, gradient, rows, columns, steps, moved):
    """`take_steps_at` of a matrix, its padding left out."""
    step = pitch(kind, columns) * element_bytes(kind)
    for i in range(rows):
        take_steps_at(kind, factor + i * step, gradient + i * step, steps, moved, columns)


@jit_internal
def step_rows_by(kind, how, factor, gradient, rows, columns):
    """`step_rows` by a `ByFormula`."""
    row, lines, length = pitch(kind, columns), rows, columns
    if row == columns:  # no padding between them
        lines, length = 1, rows * columns
    for i in range(lines):
        place = i * row * element_bytes(kind)
        take_rule_steps_at(
            kind,
            how.rule,
            factor + place,
            gradient + place,
            factor + place + how.beyond,
            how.slot_bytes,
            how.numbers,
            how.number_bytes,
            how.moved,
            length,
        )


@implements(step_of_product, BySteps, inline=True)
def _in_registers(how, factor):
    return Step(factor, how.steps, how.moved)


@implements(step_behind, BySteps, inline=True)
def _is_done(how, kind, factor, gradient, rows, columns):
    pass


@implements(step_last, BySteps, inline=True)
def _step_by_steps(how, kind, factor, gradient, rows, columns, clean):
    if clean:
        take_steps_at(kind, factor, gradient, how.steps, how.moved, rows * pitch(kind, columns))
    else:
        step_rows(kind, factor, gradient, rows, columns, how.steps, how.moved)


@implements(step_of_product, ByFormula, inline=True)
def _not_in_registers(how, factor):
    return no_step()


@implements(step_behind, ByFormula, inline=True)
def _step_behind(how, kind, factor, gradient, rows, columns):
    step_rows_by(kind, how, factor, gradient, rows, columns)


@implements(step_last, ByFormula, inline=True)
def _step_last(how, kind, factor, gradient, rows, columns, clean):
    step_rows_by(kind, how, factor, gradient, rows, columns)
