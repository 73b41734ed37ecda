"""The convex programs and least-squares problems that the ends of a gradient flow are compared with.

Plain functions on arrays, in float64. The classes, each a `Baseline`, stand where a method stands:
``BasisPursuit().solve(problem)`` gives the solution that is compared with the problem's truth.
"""

from fastflow.baselines.accuracy import fall_short, shortfalls
from fastflow.baselines.base import Baseline, as_baseline
from fastflow.baselines.low_rank import (
    NuclearNormSolution,
    best_rank,
    nuclear_norm_completion,
    nuclear_norm_sensing,
)
from fastflow.baselines.methods import (
    BasisPursuit,
    BestRank,
    LeastNorm,
    NonnegativeLeastSquares,
    NuclearNorm,
    OracleLeastSquares,
)
from fastflow.baselines.sparse import (
    LassoPath,
    basis_pursuit,
    lasso_path,
    least_norm,
    nonnegative_least_squares,
    oracle_least_squares,
)

__all__ = [
    "BASELINES",
    "Baseline",
    "BasisPursuit",
    "BestRank",
    "LassoPath",
    "LeastNorm",
    "NonnegativeLeastSquares",
    "NuclearNorm",
    "NuclearNormSolution",
    "OracleLeastSquares",
    "as_baseline",
    "basis_pursuit",
    "best_rank",
    "fall_short",
    "lasso_path",
    "least_norm",
    "nonnegative_least_squares",
    "nuclear_norm_completion",
    "nuclear_norm_sensing",
    "oracle_least_squares",
    "shortfalls",
]

BASELINES: tuple[type[Baseline], ...] = (
    BasisPursuit,
    LeastNorm,
    NonnegativeLeastSquares,
    OracleLeastSquares,
    NuclearNorm,
    BestRank,
)
"""Every baseline that there is: the kinds that files name, and the labels of pictures."""
