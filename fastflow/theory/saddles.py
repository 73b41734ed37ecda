"""The saddles that a diagonal network goes by from a vanishing start: `dual.saddles` of a problem."""

from __future__ import annotations

import numpy as np

from fastflow.dual.saddles import DEFAULT_JUMPS, SaddlePath, saddle_paths
from fastflow.metrics import quiet
from fastflow.problems import Problem
from fastflow.theory.arguments import as_problem


@quiet
def saddle_path(problem: Problem, *, signed: bool = True, max_jumps: int = DEFAULT_JUMPS) -> SaddlePath:
    """The saddles by which the flow of a `DiagonalLinear` network goes, as its start tends to 0.

    Parameters
    ----------
    problem : a problem of a vector x, such as CompressedSensing
    signed : bool, whether ``x = u^L - v^L`` or ``x = u^L``
    max_jumps : int >= 1

    Returns
    -------
    SaddlePath
        Of one problem: ``points`` (jumps + 1, n), the saddles and the end, the same for every depth L >= 2; ``times``
        (jumps + 1,), in units that ``in_time(alpha, depth)`` multiplies.

    Raises
    ------
    TypeError, ValueError
        for what is no problem of a vector

    References
    ----------
    S. Pesme, N. Flammarion, Saddle-to-saddle dynamics in diagonal linear networks, arXiv:2304.00488.

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> problem = ff.CompressedSensing(np.array([[1.0, 0.5, 0.7, 0], [0.5, 1, 0.1, 0.7]]), np.array([1.0, 0.0]))
    >>> ff.theory.saddle_path(problem).times.round(4).tolist()
    [0.0, 1.0, 4.0, 5.6327]
    """
    posed = as_problem(problem).of_vector()
    root = np.sqrt(posed.weight)
    return saddle_paths(
        root * posed.entries("the path over saddles"), root * posed.values, signed=signed, max_jumps=max_jumps
    )
