"""Measures of arrays, for users' calls."""

from __future__ import annotations

from numba import types

from fastflow.kernels.compile.arguments import check_array
from fastflow.kernels.compile.jit import jit_public
from fastflow.kernels.trace import relative_error as measured_error


def _check_two(x: types.Type, truth: types.Type) -> None:
    check_array("x", x, (1,))
    check_array("truth", truth, (1,))


@jit_public(_check_two)
def relative_error(x, truth):
    """Measure ``||x - truth|| / ||truth||``, summed in float64.

    Parameters
    ----------
    x, truth : arrays (size,)

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        for other types, and for two sizes

    Examples
    --------
    >>> float(ff.kernels.relative_error(np.array([3.0, 4.0]), np.array([3.0, 0.0]))) == 4 / 3
    True
    """
    if x.size != truth.size:
        raise ValueError("relative_error: x and truth must have one size")
    return measured_error(x, truth)
