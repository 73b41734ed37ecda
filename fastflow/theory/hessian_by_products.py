"""Products with the Hessian by all factors where a problem is known by its products, in NumPy: exact, as by kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fastflow.checks import FloatArray
from fastflow.networks import Architecture, Hadamard
from fastflow.problems import Problem

Pair = tuple[FloatArray, FloatArray]
"""A product of factors, and its derivative in a direction."""


def _matrices(left: Pair, right: Pair) -> Pair:
    return left[0] @ right[0], left[1] @ right[0] + left[0] @ right[1]


def _vectors(left: Pair, right: Pair) -> Pair:
    return left[0] * right[0], left[1] * right[0] + left[0] * right[1]


class HessianByProducts:
    """The point at which products with the Hessian are made.

    Parameters
    ----------
    posed : Problem, of W or of x
    architecture : of independent factors, which are multiplied
    flat : array (parameters,), the factors

    Attributes
    ----------
    loss : float
    gradient : array (parameters,)
    """

    def __init__(self, posed: Problem, architecture: Architecture, flat: FloatArray) -> None:
        self._posed, self._architecture, self._flat = posed, architecture, flat
        self._is_vector = isinstance(architecture, Hadamard)
        product = self._along(np.zeros_like(flat))[0]
        self.loss = posed.loss(product)
        self._slope = posed.gradient(product)
        self.gradient = self._back(np.zeros_like(flat), np.zeros_like(self._slope))[0]

    def times(self, direction: FloatArray) -> FloatArray:
        """``H v``."""
        change = self._along(direction)[1]
        return self._back(direction, self._posed.weight * self._posed.normal_operator(change))[1]

    def _chains(self, direction: FloatArray) -> list[tuple[float, list[Pair]]]:
        """The factors that are multiplied, first to last, each with its direction; and the sign of their product."""
        unpack = self._architecture.unpack
        pairs = list(zip(unpack(self._flat), unpack(direction), strict=True))
        if not self._is_vector:
            return [(1.0, pairs)]
        assert isinstance(self._architecture, Hadamard)
        depth = int(self._architecture.depth)
        return [(1.0 - 2.0 * side, pairs[side * depth : (side + 1) * depth]) for side in range(len(pairs) // depth)]

    def _along(self, direction: FloatArray) -> Pair:
        """The product, and its derivative."""
        whole, change = np.zeros(self._posed.shape), np.zeros(self._posed.shape)
        for sign, pairs in self._chains(direction):
            product = pairs[0]
            for pair in pairs[1:]:
                product = self._multiply(pair, product)
            whole += sign * product[0]
            change += sign * product[1]
        return whole, change

    @property
    def _multiply(self) -> Callable[[Pair, Pair], Pair]:
        return _vectors if self._is_vector else _matrices

    def _back(self, direction: FloatArray, change: FloatArray) -> Pair:
        """The gradient by all factors, and its derivative, where that by the product changes by so much."""
        made: list[Pair] = []
        for sign, pairs in self._chains(direction):
            slope = sign * self._slope, sign * change
            for j in range(len(pairs)):
                made.append(self._between(pairs[j + 1 :], slope, pairs[:j]))
        return np.concatenate([one[0].ravel() for one in made]), np.concatenate([one[1].ravel() for one in made])

    def _between(self, later: Sequence[Pair], slope: Pair, earlier: Sequence[Pair]) -> Pair:
        """``L^T G R^T`` of what is multiplied from the left and from the right, and its derivative."""
        multiply, result = self._multiply, slope
        for factor, moved in reversed(later):
            result = multiply((factor.T, moved.T), result)
        for factor, moved in earlier:
            result = multiply(result, (factor.T, moved.T))
        return result
