"""What linear measurements are given as: real or complex, as arrays or as operators."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastflow.checks import FloatArray, as_real_form
from fastflow.kernels.losses.measured import Measured, measured_by, subtract_values
from fastflow.operators import Operator
from fastflow.operators.users import adapted
from fastflow.problems.base import stacked


def as_measurements(name: str, rows: ArrayLike, ndim: int, values: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Measurements and what they observe of a real unknown; complex ones in real form (`as_real_form`).

    Parameters
    ----------
    name : what the measurements are called in messages
    rows : array (m, ...) with so many axes
    ndim : int
    values : array (m,)

    Returns
    -------
    arrays (m, ...) and (m,), or (2m, ...) and (2m,) where they are complex

    Raises
    ------
    TypeError, ValueError
        for shapes that do not match, entries that are not finite numbers, and where one is complex and the other real
    """
    measurements, is_complex = as_real_form(name, rows, ndim)
    observed, is_observed_complex = as_real_form("values", values, 1)
    check_alike(name, is_complex, is_observed_complex)
    if observed.shape != measurements.shape[:1]:
        parts = 1 + is_complex
        raise ValueError(
            f"values must have one entry for each of the {len(measurements) // parts} rows of {name}, "
            f"got shape {(observed.size // parts,)}"
        )
    return measurements, observed


def check_alike(name: str, is_complex: bool, is_observed_complex: bool) -> None:
    """Refuse values that are complex where measurements are real, or the other way round.

    Raises
    ------
    TypeError
    """
    if is_observed_complex and not is_complex:
        raise TypeError(
            f"values are complex and {name} is real, so that no real unknown has imaginary parts to fit: give .real "
            "where the imaginary parts do not count"
        )
    if is_complex and not is_observed_complex:
        raise TypeError(f"{name} is complex and values are real: give .astype(complex) if their imaginary parts are 0")


def as_measured_by(
    operator: object, values: ArrayLike, stacklevel: int = 1, name: str = "matrix"
) -> tuple[Operator, FloatArray]:
    """An operator and what it observes of a real unknown, in real form.

    Parameters
    ----------
    operator : what `fastflow.operators.as_operator` takes
    values : array (m,), complex where the operator is, or in real form
    stacklevel : int, of a warning of the operator, from the caller of this function
    name : what the operator is called in messages

    Raises
    ------
    TypeError, ValueError
        as `as_measurements`, and for what is no operator
    """
    made = adapted(operator, stacklevel=stacklevel + 1)
    observed, is_observed_complex = as_real_form("values", values, 1)
    is_real_form = made.is_complex and not is_observed_complex and observed.size == made.rows
    if not is_real_form:
        check_alike(name, made.is_complex, is_observed_complex)
    if observed.size != made.rows:
        raise ValueError(
            f"values must have one entry for each of the {made.shape[0]} rows of {name}, "
            f"got shape {(observed.size // (1 + made.is_complex),)}"
        )
    return made, observed


def measured_by_operators(
    matrices: Sequence[FloatArray | Operator], observed: Sequence[FloatArray], dtype: DTypeLike
) -> Measured:
    """What the kernels are told of problems whose measurements Python makes.

    Parameters
    ----------
    matrices : those of the problems
    observed : sequence of arrays (rows,), what these measure
    dtype : of all arithmetic

    Raises
    ------
    ValueError
        for problems of which some have an array, or another number of measurements
    """
    operators = [matrix for matrix in matrices if isinstance(matrix, Operator)]
    if len(operators) < len(matrices):
        raise ValueError("either every problem of a list has an operator for its matrix, or none")
    if len({array.size for array in observed}) > 1:
        raise ValueError("problems in one list must have the same number of measurements")
    values = stacked(observed, dtype)
    nothing = np.zeros_like(values[0])

    def measure(index: int, products: FloatArray, gradients: FloatArray, losses: FloatArray) -> None:
        operator, seen = (operators[index], values[index]) if index >= 0 else (operators[~index], nothing)
        residuals = operator.forward(products)
        subtract_values(residuals, seen, losses)
        gradients[:] = operator.adjoint(residuals)

    return measured_by(measure, values, operators[0].shape[1])
