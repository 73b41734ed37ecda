"""What is known beforehand.

Of deep linear networks: steps that are stable or safe, limits, the metric of the balanced flow, and modes in
time. Of recovery: how sparse, or of how low a rank, and how small a start it takes.
"""

from fastflow.problems import Minimum
from fastflow.theory.critical_points import CriticalPoint, critical_point
from fastflow.theory.curvature import sharpness, smallest_curvature
from fastflow.theory.finite_dimension import l1_finite_dimension, nuclear_finite_dimension
from fastflow.theory.large_steps import Bifurcation, Period, bifurcation, period
from fastflow.theory.limits import Limit, global_minimum, positive_part, predicted_limit
from fastflow.theory.metric import metric, metric_inverse
from fastflow.theory.modes import escape_time, half_time, mode_time, mode_value
from fastflow.theory.regions import LinearRate, Region, descent_region, linear_rate
from fastflow.theory.saddles import saddle_path
from fastflow.theory.safety import SafeStep, safe_step
from fastflow.theory.sparsity import l1_excess_bound, l1_excess_scale, normalized_excess_bound
from fastflow.theory.statistical_dimension import (
    l1_critical_sparsity,
    l1_statistical_dimension,
    nuclear_critical_rank,
    nuclear_statistical_dimension,
)
from fastflow.theory.steps import Edge, edge, monotone_step, stability_edge

__all__ = [
    "Bifurcation",
    "CriticalPoint",
    "Edge",
    "Limit",
    "LinearRate",
    "Minimum",
    "Period",
    "Region",
    "SafeStep",
    "bifurcation",
    "critical_point",
    "descent_region",
    "edge",
    "escape_time",
    "global_minimum",
    "half_time",
    "l1_critical_sparsity",
    "l1_excess_bound",
    "l1_excess_scale",
    "l1_finite_dimension",
    "l1_statistical_dimension",
    "linear_rate",
    "metric",
    "metric_inverse",
    "mode_time",
    "mode_value",
    "monotone_step",
    "normalized_excess_bound",
    "nuclear_critical_rank",
    "nuclear_finite_dimension",
    "nuclear_statistical_dimension",
    "period",
    "positive_part",
    "predicted_limit",
    "saddle_path",
    "safe_step",
    "sharpness",
    "smallest_curvature",
    "stability_edge",
]
