"""What is known beforehand: steps, how sparse or of how low a rank a recovery can be, how small a start it takes."""

from fastflow.theory.critical import CriticalPoint, critical_point
from fastflow.theory.sparsity import l1_excess_bound, l1_excess_scale
from fastflow.theory.statistical_dimension import (
    l1_critical_sparsity,
    l1_statistical_dimension,
    nuclear_critical_rank,
    nuclear_statistical_dimension,
)
from fastflow.theory.steps import metric_inverse, monotone_step, stability_edge

__all__ = [
    "CriticalPoint",
    "critical_point",
    "l1_critical_sparsity",
    "l1_excess_bound",
    "l1_excess_scale",
    "l1_statistical_dimension",
    "metric_inverse",
    "monotone_step",
    "nuclear_critical_rank",
    "nuclear_statistical_dimension",
    "stability_edge",
]
