"""Networks: how the unknown is factored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastflow.checks import as_count, shown


@dataclass(frozen=True)
class DeepLinear:
    """``W = W_N ... W_1`` with ``W_j`` of shape ``(d_j, d_{j-1})``.

    Parameters
    ----------
    depth : int, the number N of factors; the hidden widths are then ``min(d_0, d_N)``
    widths : (d_0, ..., d_N), instead of a depth
    """

    depth: int | None = None
    widths: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        depth, widths = self.depth, self.widths
        if widths is not None:
            if isinstance(widths, str) or not isinstance(widths, Sequence | np.ndarray) or len(widths) < 2:
                raise ValueError(f"widths must be (d_0, ..., d_N) with at least two entries, got {shown(widths)}")
            widths = tuple(as_count(f"widths[{j}]", width, 1) for j, width in enumerate(widths))
            if depth is not None and as_count("depth", depth, 1) != len(widths) - 1:
                raise ValueError(
                    f"depth {depth} contradicts widths {shown(widths)}, which have depth {len(widths) - 1}"
                )
            depth = len(widths) - 1
        else:
            depth = 3 if depth is None else as_count("depth", depth, 1)
        object.__setattr__(self, "depth", depth)
        object.__setattr__(self, "widths", widths)

    def widths_for(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """The widths (d_0, ..., d_N) for a product of the given shape (d_N, d_0).

        Raises
        ------
        ValueError
            when the widths that were given do not end in that shape
        """
        rows, columns = shape
        if self.widths is None:
            assert self.depth is not None
            return (columns, *[min(shape)] * (self.depth - 1), rows)
        if (self.widths[-1], self.widths[0]) != (rows, columns):
            raise ValueError(
                f"widths {shown(self.widths)} do not chain to the problem: W is {rows} x {columns}, "
                f"so widths must start with {columns} and end with {rows}"
            )
        return self.widths


def factor_shapes(widths: Sequence[int]) -> list[tuple[int, int]]:
    """The shapes (d_j, d_{j-1}) of the factors, first to last."""
    return [(after, before) for before, after in pairwise(widths)]


def parameter_count(widths: Sequence[int]) -> int:
    """The number of entries of all factors together."""
    return sum(rows * columns for rows, columns in factor_shapes(widths))


def gradient_flops(widths: Sequence[int]) -> int:
    """Floating-point operations of the product and its gradient by every factor, swept from the cheaper side."""
    sizes = [rows * columns for rows, columns in factor_shapes(widths)]
    return 6 * min(widths[0] * sum(sizes[1:]), widths[-1] * sum(sizes[:-1]))


def unpack_factors(flat: Any, widths: Sequence[int]) -> list[Any]:
    """Views of the factors in flat storage (..., parameters), first to last, each (..., d_j, d_{j-1})."""
    factors, at = [], 0
    for rows, columns in factor_shapes(widths):
        factors.append(flat[..., at : at + rows * columns].reshape(*flat.shape[:-1], rows, columns))
        at += rows * columns
    return factors
