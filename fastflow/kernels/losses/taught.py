"""Problems of a user's own: what kernels are taught of them, and what they do where they have not been taught."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher

from fastflow.kernels.compile.cache import PACKAGE
from fastflow.kernels.compile.protocol import implements, is_implemented
from fastflow.kernels.losses import loss
from fastflow.kernels.losses.loss import loss_gradient, loss_hessian
from fastflow.kernels.vectors.elementwise import copy
from fastflow.kernels.vectors.inner import norm


def add_problem(problem_class: type, formula: Callable[..., float]) -> None:
    """Teach the kernels a problem of your own.

    Parameters
    ----------
    problem_class : a NamedTuple class of arrays, the data of the problem. The kernels see each array with one more
        axis in front, which runs over problems.
    formula : function ``(problem, index, product, gradient) -> loss`` in the part of Python that Numba compiles
        ``product`` is W, flat and row-major; ``gradient``, flat, must be filled with the gradient of the loss by W.
        ``problem.field[index]`` is what the problem at hand has for a field.

    Raises
    ------
    TypeError
        for what is not a NamedTuple class, or not a function
    ValueError
        for a class of fastflow's own

    Notes
    -----
    Train a problem of that class through `fastflow.CustomProblem`, which tries the formula first. Worker processes must
    know it as well: call ``add_problem`` at the top level of a module, beside the class and outside of ``if __name__ ==
    "__main__"``. Code specialised on a class that is not fastflow's is never cached on disk: it is compiled in each
    process (10 to 20 s of CPU), and what you edit takes effect in the next.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> class Quartic(NamedTuple):
    ...     target: np.ndarray
    >>> def quartic(problem, index, product, gradient):
    ...     loss = 0.0
    ...     for i in range(product.size):
    ...         r = product[i] - problem.target[index, i]
    ...         gradient[i] = r**3
    ...         loss += 0.25 * r**4
    ...     return loss
    >>> ff.kernels.add_problem(Quartic, quartic)
    >>> ff.CustomProblem((2, 2), Quartic(np.eye(2).ravel())).shape
    (2, 2)
    """
    compiled = compiled_for("problem_class", problem_class, "formula", formula)
    setattr(problem_class, CARRIED, formula)

    @loss.formula(problem_class)
    def _(problem, index, product, columns, work):
        work.loss[0] = compiled(problem, index, product, work.gradient)


def compiled_for(class_name: str, kind: type, function_name: str, function: Callable[..., object]) -> Dispatcher:
    """A user's function compiled, for a NamedTuple class of theirs; both by the names that messages have for them.

    Raises
    ------
    TypeError
        for what is not a NamedTuple class, or not a function
    ValueError
        for a class of fastflow's own
    """
    if not is_named_tuple(kind):
        raise TypeError(f"{class_name} must be a NamedTuple class, got {kind!r}")
    if not isinstance(function, FunctionType | Dispatcher):
        raise TypeError(f"{function_name} must be a function, got {function!r}")
    if kind.__module__.split(".", 1)[0] == PACKAGE:
        raise ValueError(f"{kind.__name__} is one of fastflow's own {class_name.removesuffix('_class')}s")
    return function if isinstance(function, Dispatcher) else numba.njit(nogil=True, error_model="numpy")(function)


def is_named_tuple(kind: object) -> bool:
    """Whether it is a NamedTuple class."""
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


CARRIED = "_fastflow_formula"
"""The attribute of a class in which its formula travels with it, to a process that has made the class anew."""


def has_formula(problem_class: type) -> bool:
    """Whether the kernels know a problem's formula; they learn it where the class brings it along."""
    if not is_implemented(loss_gradient, problem_class) and CARRIED in vars(problem_class):
        add_problem(problem_class, formula_of(problem_class))
    return is_implemented(loss_gradient, problem_class)


def formula_of(problem_class: type) -> Callable[..., float]:
    """The formula that kernels were told of a user's class."""
    formula: Callable[..., float] = vars(problem_class)[CARRIED]
    return formula


@implements(loss_hessian, tuple, inline=True)
def _by_differences(problem, index, product, direction, columns, work):
    size, length = product.size, norm(direction)
    moved, difference = np.empty_like(product), np.zeros_like(product)
    if length > 0:
        width = 6e-6 * max(norm(product), 1e-3) / length
        for sign in (1, -1):
            for i in range(size):
                moved[i] = product[i] + sign * width * direction[i]
            loss_gradient(problem, index, moved, columns, work)
            for i in range(size):
                difference[i] += sign * work.gradient[i] / (2 * width)
    copy(work.gradient, difference, size)
