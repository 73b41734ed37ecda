"""The largest step that some theorem lets a run start with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import Numbers
from fastflow.equality import by_value
from fastflow.metrics import quiet
from fastflow.networks import Network
from fastflow.problems import Problem
from fastflow.theory.arguments import as_chain, as_posed
from fastflow.theory.limits import identical_scale, is_symmetric
from fastflow.theory.regions import descent_region
from fastflow.theory.steps import monotone_step

BELOW = 0.999
"""Theorems want steps strictly below their bounds."""


@by_value(hashable=False)
class SafeStep(NamedTuple):
    """A step from which on the loss is known to fall at every step.

    Attributes
    ----------
    step : float, or array (runs,) of a stack of starts
    reason : str, the bound that says so; of a stack a list of them

    Examples
    --------
    >>> safe = ff.theory.safe_step(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2), [0.1 * np.eye(2)] * 2)
    >>> round(float(safe.step), 3)
    0.25
    """

    step: Numbers
    reason: str | list[str]


@quiet
def safe_step(problem: Problem, network: Network, factors: Sequence[ArrayLike]) -> SafeStep:
    """The largest constant step with which, or with any smaller one, the loss is known to fall at every step.

    Of two bounds the larger: `monotone_step`, for estimation of a symmetric matrix from equal factors ``alpha I``, and
    `descent_region`. Decreasing steps may begin with that step, too.

    Parameters
    ----------
    problem, network : as they are trained
    factors : sequence of arrays (d_j, d_{j-1}), the start, or stacks (runs, d_j, d_{j-1})

    Returns
    -------
    SafeStep
        The step, and why it is known; of stacks an array (runs,) and a list.

    Raises
    ------
    ValueError
        where no such step is known: for diagonal networks, and where the data do not determine W

    Examples
    --------
    >>> safe = ff.theory.safe_step(ff.MatrixEstimation(np.eye(2)), ff.DeepLinear(2), [0.1 * np.eye(2)] * 2)
    >>> round(float(safe.step), 3)
    0.25
    """
    as_posed(problem, network)
    check_knows_safe_steps(network)
    posed, arrays = problem.of_matrix(), as_chain(problem, factors)
    one = arrays[0].ndim == 2
    stacks = [array[None] for array in arrays] if one else arrays
    steps = np.asarray(BELOW * descent_region(posed, stacks).step)
    reasons = ["the region that a run with such steps does not leave (theory.descent_region)"] * len(steps)
    target = posed.direct_target()
    if len(arrays) > 1 and target is not None and is_symmetric(np.asarray(target, np.float64)):
        norm = float(np.linalg.norm(target, 2))
        for run in range(len(steps)):
            alpha = identical_scale([stack[run] for stack in stacks])
            bound = 0.0 if alpha is None else BELOW * monotone_step(len(arrays), alpha, norm) / posed.weight
            if bound > steps[run]:
                steps[run], reasons[run] = bound, "equal factors on a symmetric target (theory.monotone_step)"
    return SafeStep(float(steps[0]), reasons[0]) if one else SafeStep(steps, reasons)


def check_knows_safe_steps(network: Network) -> None:
    """Refuse a network for which no safe step is known.

    Raises
    ------
    ValueError
        for a network that is no chain of matrices
    """
    if not network.is_chain:
        raise ValueError(
            f"no step is known to be safe for a {type(network).__name__} network: use a number, step=None, or a "
            "multiple of the edge such as '0.9 edge'"
        )
