"""A user's formula is tried out before it is believed: on guarded arrays, and against differences of its losses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import CellType, FunctionType
from typing import NamedTuple

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from fastflow.kernels.compile.jit import Kernel
from fastflow.kernels.losses.taught import formula_of

PLACE = 1
"""Which problem the formula is asked for: the one between two of which it should read nothing."""

WIDTHS = (6e-6, 1e-6)
"""Of central differences, relative to the size of W; where they disagree the loss is not smooth there."""

DIRECTIONS = 3
"""A gradient is wrong if it is in all of so many directions."""


class FormulaError(ValueError):
    """What is wrong with a formula, in one line."""


def try_formula(problem: NamedTuple, size: int) -> None:
    """Try the formula that was told of a problem.

    Parameters
    ----------
    problem : its data, with an axis of length 1 in front of every array
    size : int, the entries of W

    Raises
    ------
    FormulaError
        where it cannot be compiled, raises, reads or writes past its arrays, reads the data of other problems, does not
        fill the gradient, changes what it is given, returns no number, or has a gradient that is not that of its loss
    """
    formula = formula_of(type(problem))
    name = getattr(formula, "__name__", "the formula")
    try:
        trial = _Trial(guarded(formula), problem, size)
        for product in _points(problem, size):
            trial.look(product)
    except FormulaError as error:
        raise FormulaError(f"{name} of {type(problem).__name__} {error}") from error.__cause__


def _points(problem: NamedTuple, size: int) -> Iterator[np.ndarray]:
    """Random W, of the size of the data and of size 1."""
    rng = np.random.default_rng(0)
    floats = [np.ravel(array) for array in problem if array.dtype.kind == "f" and array.size >= size]
    known = np.concatenate(floats) if floats else np.ones(1)
    scale = float(np.sqrt(np.mean(known[np.isfinite(known)] ** 2))) if np.isfinite(known).any() else 1.0
    yield rng.standard_normal(size)
    if np.isfinite(scale) and scale > 0:
        yield scale * rng.standard_normal(size)


class _Trial:
    """A formula, and the data of a problem between those of two others."""

    def __init__(self, formula: Callable[..., object], problem: NamedTuple, size: int) -> None:
        self.formula, self.size = formula, size
        kind: Callable[..., NamedTuple] = type(problem)
        self.alone = kind(*(_between(array, None) for array in problem))
        self.among = kind(*(_between(array, array) for array in problem))

    def look(self, product: np.ndarray) -> None:
        """Whether all is right at a W."""
        loss, gradient = self.evaluate(product, self.alone, np.nan)
        for data, filling, wrong in (
            (self.alone, 0.0, "does not fill the gradient"),
            (self.among, np.nan, "reads the data of another problem: problem.field[index] is what it should read"),
        ):
            other, again = self.evaluate(product, data, filling)
            if not (np.array_equal(again, gradient, equal_nan=True) and _same(other, loss)):
                raise FormulaError(wrong)
        if np.isfinite(loss) and np.isfinite(gradient).all():
            self.compare(product, loss, gradient)

    def evaluate(self, product: np.ndarray, data: NamedTuple, filling: float) -> tuple[float, np.ndarray]:
        """The loss and its gradient, which is filled with something before."""
        given, gradient = product.copy(), np.full(self.size, filling)
        before = [array.copy() for array in data]
        try:
            loss = self.formula(data, PLACE, given, gradient)
        except NumbaError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip() and "nopython mode" not in line]
            raise FormulaError(f"cannot be compiled: {lines[0] if lines else error}") from error
        except IndexError as error:
            raise FormulaError("reads or writes past the end of an array") from error
        except Exception as error:
            raise FormulaError(f"raises {error!r}") from error
        if isinstance(loss, bool) or not isinstance(loss, int | float | np.number):
            raise FormulaError(f"must return the loss, a number, and returns {loss!r}")
        kept = all(
            np.array_equal(*pair, equal_nan=pair[0].dtype.kind == "f") for pair in zip(data, before, strict=True)
        )
        if not (kept and np.array_equal(given, product)):
            raise FormulaError("changes the product or the data that it is given")
        return float(loss), gradient

    def compare(self, product: np.ndarray, loss: float, gradient: np.ndarray) -> None:
        """The gradient with differences of the loss, along random directions."""
        rng = np.random.default_rng(1)
        found = (0.0, 0.0)
        for _ in range(DIRECTIONS):
            direction = rng.standard_normal(self.size)
            length = float(np.linalg.norm(product) / np.linalg.norm(direction))
            slopes, losses = [], [abs(loss)]
            for width in WIDTHS:
                moved = (product + sign * width * length * direction for sign in (1, -1))
                ahead, behind = (self.evaluate(at, self.alone, 0.0)[0] for at in moved)
                slopes.append((ahead - behind) / (2 * width * length))
                losses += [abs(ahead), abs(behind)]
            slope, claimed = slopes[0], float(gradient @ direction)
            noise = 200 * np.finfo(float).eps * max(losses) / (WIDTHS[1] * length)
            unsure = 10 * abs(slopes[0] - slopes[1]) + 1e-6 * max(abs(slope), abs(claimed)) + noise
            if not abs(slope - claimed) > unsure:  # also where a loss is not finite
                return
            found = (claimed, slope)
        raise FormulaError(
            f"has a wrong gradient: along a random direction it is {found[0]:.6g}, and differences of the loss "
            f"give {found[1]:.6g}"
        )


def _same(first: float, second: float) -> bool:
    return first == second or (np.isnan(first) and np.isnan(second))


def _between(array: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """An array of one problem between two, of others or of what gives no number and is no index."""
    if other is None:
        nothing = np.nan if array.dtype.kind == "f" else False if array.dtype.kind == "b" else np.iinfo(array.dtype).max
        other = np.full_like(array, nothing)
    return np.ascontiguousarray(np.concatenate([other, array, other]))


@functools.lru_cache(32)
def guarded(function: Callable[..., object]) -> Dispatcher:
    """A function, and all that it calls of the user's, compiled so that every index is looked at."""
    python = function.py_func if isinstance(function, Dispatcher) else function
    used = {name: python.__globals__[name] for name in python.__code__.co_names if name in python.__globals__}
    called = {name: guarded(value) for name, value in used.items() if _is_users(value, function)}
    cells = tuple(
        CellType(guarded(cell.cell_contents)) if _is_users(cell.cell_contents, function) else cell
        for cell in python.__closure__ or ()
    )
    copy = FunctionType(
        python.__code__, python.__globals__ | called, python.__name__, python.__defaults__, cells or None
    )
    return numba.njit(boundscheck=True, error_model="numpy")(copy)


def _is_users(value: object, caller: Callable[..., object]) -> bool:
    """Whether a value is a compiled function that is not fastflow's, nor the one that calls it."""
    return isinstance(value, Dispatcher) and not isinstance(value, Kernel) and value is not caller
