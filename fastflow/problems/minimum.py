"""Minima over matrices of bounded rank, where they are known in closed form."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.checks import FloatArray
from fastflow.equality import by_value

TIE = 1e-12
"""The largest difference, relative to the largest one, of singular values that count as equal."""


@by_value(hashable=False)
class Minimum(NamedTuple):
    """A minimum over matrices of bounded rank.

    Attributes
    ----------
    value : float, of the loss
    solution : array (d_N, d_0), of least norm among the minimisers if they differ where the data do not see
    unique : bool
        Whether it is the only one: no singular values tie there, and the data determine W.
    determined : bool
        Whether the data determine W: ``X X^T`` is invertible.

    Examples
    --------
    >>> minimum = ff.theory.global_minimum(ff.MatrixEstimation(np.diag([3.0, 1])), rank=1)
    >>> minimum.value, minimum.solution.round(12).tolist()
    (0.5, [[3.0, 0.0], [0.0, 0.0]])
    """

    value: float
    solution: FloatArray
    unique: bool
    determined: bool


def minimum_over_rank(seen: FloatArray, back: FloatArray, rest: float, weight: float, rank: int) -> Minimum:
    """The minimum of ``weight/2 (||W U - Q||_F^2 + rest)`` over matrices W of at most a rank.

    Parameters
    ----------
    seen : array (d_N, k), Q
    back : array (k, d_0), the pseudoinverse of U (d_0, k), which has rank k
    rest : float, what no W changes
    weight : float
    rank : int >= 0

    Returns
    -------
    Minimum
    """
    first, sizes, second = np.linalg.svd(seen, full_matrices=False)
    solution = (first[:, :rank] * sizes[:rank]) @ second[:rank] @ back
    value = 0.5 * weight * (float(np.sum(sizes[rank:] ** 2)) + rest)
    tied = 0 < rank < len(sizes) and sizes[rank - 1] - sizes[rank] <= TIE * sizes[0] and sizes[rank] > 0
    determined = len(back) == back.shape[1]
    return Minimum(value, solution, bool(determined and not tied), determined)
