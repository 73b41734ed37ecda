"""Compiled kernels, callable from a user's own ``@numba.njit`` code: without the GIL and without global state.

`product_nn`, `product_tn` and `product_nt` take matrices. Everything about chains of factors works on flat storage: the
factors of one run are one array, ``W_1`` first, each row-major, beside ``widths = (d_0, ..., d_N)`` as int64.
"""

from fastflow.kernels.compile.jit import jit
from fastflow.kernels.compile.target import SHAPE, SimdShape, simd_shape
from fastflow.kernels.descent.descend import Ends, RunState, StepRule, Trace, descend, relative_error
from fastflow.kernels.dual.dual_flow import FlowControl, Flows, flow_slice, flow_workspace
from fastflow.kernels.dual.limit import LimitProblems, Limits, LimitWorkspace, limit_slice, limit_workspace
from fastflow.kernels.dual.limit_step import LimitPath
from fastflow.kernels.dual.mirror import (
    Mirror,
    make_mirror,
    mirror_dual,
    mirror_inverse,
    mirror_move,
    mirror_point,
    mirror_row,
    mirror_theta,
)
from fastflow.kernels.losses.any_loss import AnyLoss, as_any_loss, loss_workspace
from fastflow.kernels.losses.formulas import (
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
from fastflow.kernels.losses.loss_hessian import loss_hessian
from fastflow.kernels.losses.shared_matrix import SharedMatrix, padded_columns, share_matrix
from fastflow.kernels.networks.chain import (
    ChainWorkspace,
    chain_balancedness,
    chain_gradient,
    chain_product,
    chain_workspace,
    parameter_count,
    sweeps_from_left,
)
from fastflow.kernels.networks.curvature import (
    ChainCurvature,
    HadamardCurvature,
    chain_curvature,
    curve,
    hadamard_curvature,
    visit,
)
from fastflow.kernels.networks.diagonal import DiagonalGroup
from fastflow.kernels.networks.groups import LANE_WIDTH, Group, choose_layout, make_group
from fastflow.kernels.networks.together import TogetherGroup, make_vector_group
from fastflow.kernels.vectors.peak import fma_peak
from fastflow.kernels.vectors.products import product_nn, product_nt, product_tn

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
