"""Estimation of a matrix, all entries of which are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.protocol import implements
from fastflow.kernels.losses.loss import arrays_in_lanes, formula, loss_hessian
from fastflow.kernels.vectors.elementwise import copy, residual


class Estimation(NamedTuple):
    """Data of ``r = W - target``.

    Attributes
    ----------
    target : array (problems, rows * columns)

    Examples
    --------
    >>> problem = ff.kernels.Estimation(np.array([[3.0, 0, 0, 1]]))  # of one problem
    >>> work = ff.kernels.loss_workspace(problem, 4, np.float64)
    >>> ff.kernels.loss_gradient(problem, 0, np.zeros(4), 2, work)
    >>> work.loss.tolist(), work.gradient.tolist()
    ([5.0], [-3.0, 0.0, 0.0, -1.0])
    """

    target: np.ndarray


@formula(Estimation)
def _estimation(problem, index, product, columns, work):
    residual(work.gradient, product, problem.target[index], len(product), work.loss)


@implements(loss_hessian, Estimation, inline=True)
def _hessian(problem, index, product, direction, columns, work):
    copy(work.gradient, direction, direction.size)


arrays_in_lanes(Estimation)
