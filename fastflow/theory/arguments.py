"""What the theory's functions are given, checked: a problem, a network, the factors of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from fastflow.arrays import as_list
from fastflow.checks import FloatArray, as_floats, shown
from fastflow.memory import require_work
from fastflow.networks import as_network
from fastflow.problems import Problem

COPIES = 6
"""Of factors that what is computed of them takes (measured)."""


def as_problem(problem: object) -> Problem:
    """A problem.

    Raises
    ------
    TypeError
        for what is none
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be one problem such as MatrixEstimation(matrix), got {type(problem).__name__}")
    return problem


def as_posed(problem: object, network: object) -> Problem:
    """A problem as a network sees it.

    Raises
    ------
    TypeError, ValueError
        for what is no problem or no network, and for what does not combine
    """
    given = as_problem(problem)
    return as_network(network).pose(given)


def as_chain(problem: object, factors: Sequence[ArrayLike]) -> list[FloatArray]:
    """Factors (d_j, d_{j-1}), or stacks (runs, d_j, d_{j-1}), that chain to a problem's W.

    Raises
    ------
    TypeError, ValueError
        for a problem of no matrix, and for factors whose shapes do not chain
    """
    shape = as_problem(problem).of_matrix().shape
    given = as_list("factors", factors)
    if not given:
        raise TypeError("factors must be a sequence of matrices, first to last, got none")
    require_work(sum(factor.size for factor in given if isinstance(factor, np.ndarray)), COPIES, "factors")
    # What has diverged has factors, too.
    arrays: list[FloatArray] = [
        as_floats(f"factor {j + 1}", f, (2, 3), finite=False).astype(np.float64) for j, f in enumerate(given)
    ]
    shapes = [array.shape for array in arrays]
    ends = [(size[-1], size[-2]) for size in shapes]
    chained = all(first[1] == second[0] for first, second in pairwise(ends))
    if not chained or (ends[-1][1], ends[0][0]) != shape or len({size[:-2] for size in shapes}) > 1:
        raise ValueError(
            f"factors must chain to W, which is {shape[0]} x {shape[1]}: each (d_j, d_(j-1)), first to last, or all "
            f"stacks (runs, ...) of such; got shapes {shown(shapes)}"
        )
    return arrays
