"""Networks: how the unknown is factored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastflow.architectures import Chain, Hadamard
from fastflow.checks import as_count, shown

if TYPE_CHECKING:
    from fastflow.problems import Problem

DEEPEST = 8
"""The most factors of a DiagonalLinear network: each depth has kernels of its own."""


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

    def architecture(self, problem: Problem) -> Chain:
        """The chain of factors for a problem of a matrix."""
        return Chain(self.widths_for(problem.of_matrix().shape))

    def pose(self, problem: Problem) -> Problem:
        """The problem as this network sees it."""
        return problem.of_matrix()


@dataclass(frozen=True)
class DiagonalLinear:
    """``x = u_1 o ... o u_L``, an entrywise product; if signed less another one, ``v_1 o ... o v_L``.

    This is `DeepLinear` with diagonal matrices. From a small start gradient descent finds (nearly) the solution of
    least l1 norm (Woodworth et al., arXiv:2002.09277; Chou, Maly, Rauhut, arXiv:2112.11027).

    Parameters
    ----------
    depth : int in 1 .. 8, the number L of factors
    signed : bool
        Without it x is the one product, and stays nonnegative if factors are identical, L >= 2 and the start is
        nonnegative.
    identical : bool
        Factors that start equal stay equal, and then run as one vector u (and one v), ``x = u^L - v^L``, with the
        dynamics that the L equal factors have, each with a gradient of its own::

            u' = -g o u^{L-1},   v' = +g o v^{L-1},   g = A^T (A x - y)

        One shared variable with the loss ``1/2 ||A u^L - y||^2`` would have L times this gradient: L times the step.
        Without ``identical`` every factor has a start of its own.

    Notes
    -----
    For even L the sign of an entry of u changes nothing; for odd L >= 3 an identical network can never change it, so
    that a coordinate that starts at ``u < 0`` keeps ``u^L <= 0``. Random starts of identical factors are
    therefore positive, unless L = 1. An entry that starts at 0 stays there for L >= 2.
    """

    depth: int = 2
    signed: bool = True
    identical: bool = True

    def __post_init__(self) -> None:
        depth = as_count("depth", self.depth, 1)
        if depth > DEEPEST:
            raise ValueError(f"depth of a DiagonalLinear network must be at most {DEEPEST}, got {depth}")
        object.__setattr__(self, "depth", depth)
        for name in ("signed", "identical"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise TypeError(f"{name} must be True or False, got {shown(getattr(self, name))}")
            object.__setattr__(self, name, bool(getattr(self, name)))

    def architecture(self, problem: Problem) -> Hadamard:
        """The vectors for a problem of a vector."""
        return Hadamard(problem.of_vector().shape[0], self.depth, self.signed, self.identical)

    def pose(self, problem: Problem) -> Problem:
        """The problem as this network sees it."""
        return problem.of_vector()


Network = DeepLinear | DiagonalLinear
"""Any of the networks of this module."""
