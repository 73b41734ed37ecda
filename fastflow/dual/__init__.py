"""Duals: limits and flows of diagonal networks ``x = u^L - v^L`` as functions on stacks of arrays."""

from fastflow.dual.flow import Flow, FlowSearch, gradient_flow
from fastflow.dual.limit import LimitResult, LimitSearch, find_limits, flow_limit, limits_from
from fastflow.dual.normalized import normalized_limit
from fastflow.dual.normalized_flow import normalized_flow
from fastflow.dual.saddles import SaddlePath, saddle_paths
from fastflow.dual.stacks import allowed_starts, check_identical, mirrors_of, pose_runs, wrong_starts
from fastflow.dual.vectors import as_two_vectors, factors_at

__all__ = [
    "Flow",
    "FlowSearch",
    "LimitResult",
    "LimitSearch",
    "SaddlePath",
    "allowed_starts",
    "as_two_vectors",
    "check_identical",
    "factors_at",
    "find_limits",
    "flow_limit",
    "gradient_flow",
    "limits_from",
    "mirrors_of",
    "normalized_flow",
    "normalized_limit",
    "pose_runs",
    "saddle_paths",
    "wrong_starts",
]
