"""What is asked of a dual flow, and the memory of the problem under way: what its steps and its ends share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastflow.kernels.compile.jit import jit_inline
from fastflow.kernels.dual.rosenbrock import STAGES
from fastflow.kernels.vectors.cholesky import NormalWorkspace, normal_workspace

ROUNDING = 1e-14
"""What the rounding of x does to a step, relative to x."""


class FlowControl(NamedTuple):
    """What is asked of a flow: ``times`` (k,), not decreasing; how accurately; when to stop (see `gradient_flow`).

    A negative ``tol`` is a share of the loss of x = 0.
    """

    times: np.ndarray
    rtol: float
    atol: float
    tol: float
    max_steps: int


class FlowWorkspace(NamedTuple):
    """The problem under way, and scratch.

    ``at`` and ``numbers`` have the places named below.
    ``theta``, ``x``, ``slope`` (n,), ``residual`` (m,), ``push = A^T residual`` (n,) belong to where the flow is; the
    ``new_`` ones to the point under trial, ``slow`` (m,) and ``slow_push`` (n,) are f_s of `rosenbrock` and
    ``A^T f_s``. ``stages`` (8, m) are the v_j of `rosenbrock`; ``step`` (m,) and ``change`` (n,) are scratch.
    ``summed`` (n,) is the sum over all steps of the absolute values that made z. ``matrix`` (m n) and ``values`` (m,)
    are A and y, multiplied by an orthogonal matrix where `_rotate` has been.
    """

    at: np.ndarray
    numbers: np.ndarray
    theta: np.ndarray
    x: np.ndarray
    slope: np.ndarray
    new_theta: np.ndarray
    new_x: np.ndarray
    new_slope: np.ndarray
    push: np.ndarray
    slow_push: np.ndarray
    change: np.ndarray
    summed: np.ndarray
    residual: np.ndarray
    slow: np.ndarray
    step: np.ndarray
    stages: np.ndarray
    matrix: np.ndarray
    values: np.ndarray
    normal: NormalWorkspace


BEGUN, PASSED = 1, 2
"""The places of `FlowWorkspace.at` after `PLACE`: whether the problem has begun, and how many times it has passed."""

# The places of `FlowWorkspace.numbers`: the time in two floats, the next step, whether the last one was rejected, the
# largest norm of a column, the size of x that y asks for, its tolerance over what an error in z does to it, ||y||, the
# largest rate.
TIME, TIME_REST, LENGTH, REJECTED, COLUMN, SIZE, LATER, VALUES, STIFF = range(9)


def flow_workspace(m: int, n: int) -> FlowWorkspace:
    """Memory for one problem of shape (m, n) at a time."""
    return FlowWorkspace(
        at=np.zeros(PASSED + 1, np.int64),
        numbers=np.zeros(STIFF + 1),
        theta=np.zeros(n),
        x=np.zeros(n),
        slope=np.zeros(n),
        new_theta=np.zeros(n),
        new_x=np.zeros(n),
        new_slope=np.zeros(n),
        push=np.zeros(n),
        slow_push=np.zeros(n),
        change=np.zeros(n),
        summed=np.zeros(n),
        residual=np.zeros(m),
        slow=np.zeros(m),
        step=np.zeros(m),
        stages=np.zeros((STAGES, m)),
        matrix=np.zeros(m * n),
        values=np.zeros(m),
        normal=normal_workspace(m, n),
    )


@jit_inline
def allowed_error(control, x, size):
    """The error that an entry may have."""
    return (control.atol if control.atol >= 0 else control.rtol * size) + control.rtol * x
