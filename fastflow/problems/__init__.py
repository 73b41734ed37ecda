"""Problems: what is observed of an unknown matrix W or vector x, and the loss ``1/2 sum r_i^2`` of the residuals.

A problem is a frozen dataclass, checked when it is made. It knows its own loss and gradient in plain NumPy
(``loss(W)``, ``gradient(W)``), its Gauss-Newton operator, and how to hand itself, alone or in a list, to the compiled
kernels.
"""

from fastflow.problems.base import NORMALIZATIONS as NORMALIZATIONS
from fastflow.problems.base import MatrixProblem as MatrixProblem
from fastflow.problems.base import Problem as Problem
from fastflow.problems.base import VectorProblem as VectorProblem
from fastflow.problems.completion import MatrixCompletion
from fastflow.problems.compressed import CompressedSensing
from fastflow.problems.custom import CustomProblem
from fastflow.problems.estimation import MatrixEstimation
from fastflow.problems.minimum import Minimum as Minimum
from fastflow.problems.regression import LinearRegression
from fastflow.problems.sensing import MatrixSensing

__all__ = [
    "CompressedSensing",
    "CustomProblem",
    "LinearRegression",
    "MatrixCompletion",
    "MatrixEstimation",
    "MatrixSensing",
]
