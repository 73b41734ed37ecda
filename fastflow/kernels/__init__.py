"""Compiled kernels, callable from a user's own ``@numba.njit`` code: without the GIL and without global state.

`product_nn`, `product_tn` and `product_nt` take matrices. Everything about chains of factors works on flat storage: the
factors of one run are one array, ``W_1`` first, each row-major, beside ``widths = (d_0, ..., d_N)`` as int64.
"""

from fastflow.kernels.any_loss import AnyLoss, as_any_loss, loss_workspace
from fastflow.kernels.chain import (
    ChainWorkspace,
    chain_balancedness,
    chain_gradient,
    chain_product,
    chain_workspace,
    parameter_count,
    sweeps_from_left,
)
from fastflow.kernels.curvature import (
    ChainCurvature,
    HadamardCurvature,
    chain_curvature,
    curve,
    hadamard_curvature,
    visit,
)
from fastflow.kernels.descent import Ends, RunState, StepRule, Trace, descend, relative_error
from fastflow.kernels.diagonal import DiagonalGroup
from fastflow.kernels.dual_flow import FlowControl, Flows, flow_slice, flow_workspace
from fastflow.kernels.groups import LANE_WIDTH, Group, choose_layout, make_group
from fastflow.kernels.jit import jit
from fastflow.kernels.limit import LimitProblems, Limits, LimitWorkspace, limit_slice, limit_workspace
from fastflow.kernels.limit_step import LimitPath
from fastflow.kernels.loss_hessian import loss_hessian
from fastflow.kernels.losses import (
    Completion,
    Estimation,
    LossWorkspace,
    RegressionByGram,
    RegressionBySamples,
    Sensing,
    SharedSamples,
    SharedSensing,
    add_problem,
    has_formula,
    loss_gradient,
    scratch_size,
)
from fastflow.kernels.mirror import (
    Mirror,
    make_mirror,
    mirror_dual,
    mirror_inverse,
    mirror_move,
    mirror_point,
    mirror_row,
    mirror_theta,
)
from fastflow.kernels.panels import SharedMatrix, padded_columns, share_matrix
from fastflow.kernels.peak import fma_peak
from fastflow.kernels.products import product_nn, product_nt, product_tn
from fastflow.kernels.target import SHAPE, SimdShape, simd_shape
from fastflow.kernels.together import TogetherGroup, make_vector_group

__all__ = [
    "LANE_WIDTH",
    "SHAPE",
    "AnyLoss",
    "ChainCurvature",
    "ChainWorkspace",
    "Completion",
    "DiagonalGroup",
    "Ends",
    "Estimation",
    "FlowControl",
    "Flows",
    "Group",
    "HadamardCurvature",
    "LimitPath",
    "LimitProblems",
    "LimitWorkspace",
    "Limits",
    "LossWorkspace",
    "Mirror",
    "RegressionByGram",
    "RegressionBySamples",
    "RunState",
    "Sensing",
    "SharedMatrix",
    "SharedSamples",
    "SharedSensing",
    "SimdShape",
    "StepRule",
    "TogetherGroup",
    "Trace",
    "add_problem",
    "as_any_loss",
    "chain_balancedness",
    "chain_curvature",
    "chain_gradient",
    "chain_product",
    "chain_workspace",
    "choose_layout",
    "curve",
    "descend",
    "flow_slice",
    "flow_workspace",
    "fma_peak",
    "hadamard_curvature",
    "has_formula",
    "jit",
    "limit_slice",
    "limit_workspace",
    "loss_gradient",
    "loss_hessian",
    "loss_workspace",
    "make_group",
    "make_mirror",
    "make_vector_group",
    "mirror_dual",
    "mirror_inverse",
    "mirror_move",
    "mirror_point",
    "mirror_row",
    "mirror_theta",
    "padded_columns",
    "parameter_count",
    "product_nn",
    "product_nt",
    "product_tn",
    "relative_error",
    "scratch_size",
    "share_matrix",
    "simd_shape",
    "sweeps_from_left",
    "visit",
]
