"""asv: the public kernels, called from compiled code as a user's own ``@njit`` function would."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastflow import kernels
from fastflow.kernels import jit

FLOPS = 2e8
"""Work of one measurement: some milliseconds."""


@jit
def _repeat_nn(a, b, times):
    total = 0.0
    for _ in range(times):
        total += kernels.product_nn(a, b)[0, 0]
    return total


@jit
def _repeat_tn(a, b, times):
    total = 0.0
    for _ in range(times):
        total += kernels.product_tn(a, b)[0, 0]
    return total


@jit
def _repeat_nt(a, b, times):
    total = 0.0
    for _ in range(times):
        total += kernels.product_nt(a, b)[0, 0]
    return total


@jit
def _repeat_chain(factors, widths, work, times):
    for _ in range(times):
        kernels.chain_product(factors, widths, work)
        kernels.chain_gradient(factors, widths, work.product, work)


class Products:
    """Small dense products."""

    params = (["nn", "tn", "nt"], [4, 16, 100], ["float64", "float32"])
    param_names = ("product", "width", "dtype")

    def setup(self, product: str, width: int, dtype: str) -> None:
        rng = np.random.default_rng(0)
        self.a, self.b = (rng.standard_normal((width, width)).astype(dtype) for _ in range(2))
        self.repeat_product = {"nn": _repeat_nn, "tn": _repeat_tn, "nt": _repeat_nt}[product]
        self.times = max(1, int(FLOPS / (2 * width**3)))
        self.repeat_product(self.a, self.b, 1)

    def time_product(self, *_: Any) -> None:
        self.repeat_product(self.a, self.b, self.times)


class ChainGradient:
    """The product of a chain and the gradients by its factors, without a loss."""

    params = ([2, 3, 5], [4, 50], ["float64", "float32"])
    param_names = ("depth", "width", "dtype")

    def setup(self, depth: int, width: int, dtype: str) -> None:
        self.widths = np.full(depth + 1, width, np.int64)
        self.factors = np.random.default_rng(0).standard_normal(depth * width**2).astype(dtype)
        self.work = kernels.chain_workspace(self.widths, self.factors)
        self.times = max(1, int(FLOPS / (6 * (depth - 1) * width**3)))
        _repeat_chain(self.factors, self.widths, self.work, 1)

    def time_chain_gradient(self, *_: Any) -> None:
        _repeat_chain(self.factors, self.widths, self.work, self.times)
