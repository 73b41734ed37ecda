"""Operators: measurement matrices that are known by their products with vectors, not by their entries.

They stand where a matrix stands in a problem. `as_operator` makes one of a sparse matrix, and of what has products of
its own, as a ``scipy.sparse.linalg.LinearOperator``; problems ask it for themselves.
"""

from fastflow.operators.base import Operator
from fastflow.operators.circulant import Circulant
from fastflow.operators.fourier import PartialCosine, PartialFourier
from fastflow.operators.hadamard import SubsampledHadamard
from fastflow.operators.matrices import OnMatrices, RankOne
from fastflow.operators.users import as_operator
from fastflow.operators.users import is_operator as is_operator

__all__ = [
    "Circulant",
    "OnMatrices",
    "Operator",
    "PartialCosine",
    "PartialFourier",
    "RankOne",
    "SubsampledHadamard",
    "as_operator",
]
