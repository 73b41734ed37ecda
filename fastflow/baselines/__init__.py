"""The convex programs and least-squares problems that the ends of a gradient flow are compared with.

Plain functions on arrays, in float64. The classes stand where a method stands: ``BasisPursuit().solve(problem)`` gives
the solution that is compared with the problem's truth.
"""

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
    "BasisPursuit",
    "BestRank",
    "LassoPath",
    "LeastNorm",
    "NonnegativeLeastSquares",
    "NuclearNorm",
    "NuclearNormSolution",
    "OracleLeastSquares",
    "basis_pursuit",
    "best_rank",
    "lasso_path",
    "least_norm",
    "nonnegative_least_squares",
    "nuclear_norm_completion",
    "nuclear_norm_sensing",
    "oracle_least_squares",
]
