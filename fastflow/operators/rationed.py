"""Operators for inquiries that must not cost much."""

from __future__ import annotations

from fastflow.checks import FloatArray
from fastflow.operators.base import Operator


class Rationed(Operator):
    """An operator that is good for so many products.

    Parameters
    ----------
    operator : Operator
    left : int, products of vectors; then it raises ValueError
    """

    def __init__(self, operator: Operator, left: int) -> None:
        self.operator, self.left = operator, left
        self.shape, self.is_complex = operator.shape, operator.is_complex
        self.unknown_shape = operator.unknown_shape

    def _take(self, vectors: FloatArray) -> None:
        self.left -= len(vectors)
        if self.left < 0:
            raise ValueError("as many products were made as this inquiry may cost")

    @property
    def rank(self) -> int:
        return self.operator.rank

    def forward(self, vectors: FloatArray) -> FloatArray:
        self._take(vectors)
        return self.operator.forward(vectors)

    def adjoint(self, residuals: FloatArray) -> FloatArray:
        self._take(residuals)
        return self.operator.adjoint(residuals)
