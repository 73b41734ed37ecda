"""Update rules of a user's own: what kernels are taught of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba.core.errors import NumbaError

from fastflow.kernels.compile.protocol import implements, is_implemented
from fastflow.kernels.losses.taught import compiled_for
from fastflow.kernels.losses.trial import FormulaError, guarded
from fastflow.kernels.rules.rule import slot_count
from fastflow.kernels.rules.whole import update

CARRIED = "_fastflow_update"
"""The attribute of a class in which its function and its slots travel with it, to a process that has made it anew."""

SIZE = 7
"""Parameters of a trial."""


def add_rule(rule_class: type, function: Callable[..., None], slots: int = 0) -> None:
    """Teach the kernels an update rule of your own.

    Parameters
    ----------
    rule_class : a NamedTuple class of numbers or arrays, what the rule is made of, such as its momentum
    function : function ``(rule, factors, gradient, memory, step, k)`` in the part of Python that Numba compiles
        It moves the factors of one run, (parameters,), in place: W_1 first, each row-major, of diagonal networks u,
        then v. ``gradient`` (parameters,) is that of the loss by all factors, ``memory`` (slots, parameters) is 0 at
        first and yours to change. ``k`` counts the steps from there, ``step`` is that of the method.
    slots : int, how many numbers the rule remembers for each parameter

    Raises
    ------
    TypeError
        for what is not a NamedTuple class, or not a function
    ValueError
        for a class of fastflow's own

    Notes
    -----
    Train by it through `fastflow.CustomRule`, which tries the function first. As for `add_problem`, worker processes
    must know it as well, and its code is never cached on disk.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> class Sign(NamedTuple):
    ...     share: float
    >>> def sign(rule, factors, gradient, memory, step, k):
    ...     for i in range(factors.size):
    ...         factors[i] -= step * rule.share * np.sign(gradient[i])
    >>> ff.kernels.add_rule(Sign, sign)
    >>> method = ff.CustomRule(1e-3, update=Sign(0.5))
    """
    compiled = compiled_for("rule_class", rule_class, "function", function)
    if not isinstance(slots, int) or isinstance(slots, bool) or slots < 0:
        raise ValueError(f"slots must be an integer, at least 0, got {slots!r}")
    setattr(rule_class, CARRIED, (function, slots))
    slot_count.register(rule_class)(lambda rule: slots)

    @implements(update, rule_class)
    def _(rule, factors, gradient, memory, widths, step, k):
        compiled(rule, factors, gradient, memory, step, k)


def has_rule(rule_class: type) -> bool:
    """Whether the kernels know a rule; they learn it where the class brings it along."""
    if not is_implemented(update, rule_class) and CARRIED in vars(rule_class):
        add_rule(rule_class, *vars(rule_class)[CARRIED])
    return is_implemented(update, rule_class)


def try_rule(rule: NamedTuple) -> None:
    """Try the function that was told of a rule, compiled so that every index is looked at.

    Raises
    ------
    FormulaError
        where it cannot be compiled, raises, reads or writes past its arrays, or returns something
    """
    function, slots = vars(type(rule))[CARRIED]
    name = f"{getattr(function, '__name__', 'the function')} of {type(rule).__name__}"
    rng = np.random.default_rng(0)
    factors, memory = rng.standard_normal(SIZE), np.zeros((slots, SIZE))
    for k in range(2):
        try:
            returned = guarded(function)(rule, factors, rng.standard_normal(SIZE), memory, 1e-3, k)
        except NumbaError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip() and "nopython mode" not in line]
            raise FormulaError(f"{name} cannot be compiled: {lines[0] if lines else error}") from error
        except IndexError as error:
            raise FormulaError(f"{name} reads or writes past the end of an array") from error
        except Exception as error:
            raise FormulaError(f"{name} raises {error!r}") from error
        if returned is not None:
            raise FormulaError(f"{name} must change factors and memory in place, and returns {returned!r}")
