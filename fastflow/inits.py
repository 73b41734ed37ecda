"""Inits: the factors at step 0.

Each draws unscaled and then scales, so that starts of different scales share their random numbers. ``of="factor"``
multiplies N(0, 1) entries, U(-1, 1) entries, the identity or an orthonormal Q by ``scale``; ``of="product"`` makes
``E ||W||_F^2 = scale^2 min_j d_j``, as ``W = scale I`` has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, as_floats, as_number, frozen, one_of, shown
from fastflow.networks import factor_shapes

Factors = list[FloatArray]


@dataclass(frozen=True)
class ScaledInit:
    """What the random and the identity starts share.

    Parameters
    ----------
    scale : float > 0
    of : "product" or "factor", whose scale it is (see the module)
    """

    scale: float = 1e-3
    of: str = "product"

    random: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", as_number("scale", self.scale, above=0))
        one_of("of", self.of, ("factor", "product"))

    def draw(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        """Unscaled factors: what ``of="factor"`` multiplies."""
        raise NotImplementedError

    def product_energy(self, widths: Sequence[int]) -> float:
        """``E ||W||_F^2`` of the product of unscaled factors."""
        raise NotImplementedError

    def factor_scale(self, widths: Sequence[int]) -> float:
        """What each factor is multiplied by."""
        if self.of == "factor":
            return self.scale
        depth = len(widths) - 1
        return (self.scale * math.sqrt(min(widths) / self.product_energy(widths))) ** (1 / depth)

    def factors(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        """The factors of one run, first to last."""
        scale = self.factor_scale(widths)
        return [scale * factor for factor in self.draw(widths, rng)]


@dataclass(frozen=True)
class Gaussian(ScaledInit):
    """Independent N(0, 1) entries, scaled."""

    def draw(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        return [rng.standard_normal(shape) for shape in factor_shapes(widths)]

    def product_energy(self, widths: Sequence[int]) -> float:
        return float(math.prod(widths))


@dataclass(frozen=True)
class Uniform(ScaledInit):
    """Independent U(-1, 1) entries, scaled."""

    def draw(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        return [rng.uniform(-1, 1, shape) for shape in factor_shapes(widths)]

    def product_energy(self, widths: Sequence[int]) -> float:
        return math.prod(widths) / 3.0 ** (len(widths) - 1)


@dataclass(frozen=True)
class Orthogonal(ScaledInit):
    """Independent Haar matrices with orthonormal rows or columns (whichever are fewer), scaled."""

    def draw(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        return [_haar(rows, columns, rng) for rows, columns in factor_shapes(widths)]

    def product_energy(self, widths: Sequence[int]) -> float:
        # A factor that lowers the dimension from d to d' keeps d'/d of the squared norm on average, others all of it.
        shrink = (min(1.0, rows / columns) for rows, columns in factor_shapes(widths))
        return widths[0] * math.prod(shrink)


@dataclass(frozen=True)
class Identity(ScaledInit):
    """Scaled identities (rectangular ones where the widths differ), the same in every run.

    Parameters
    ----------
    scale, of : see `ScaledInit`
    perturbation : float >= 0
        The last factor is smaller by this multiple of the identity: ``(alpha - perturbation) I`` beside ``alpha I``.
        Any positive value lets a product of two or more factors reach negative eigenvalues, which an exactly
        identical start never does (Chou, Gieshoff, Maly, Rauhut, arXiv:2011.13772).
    """

    perturbation: float = 0.0

    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "perturbation", as_number("perturbation", self.perturbation, least=0))

    def draw(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        return [np.eye(*shape) for shape in factor_shapes(widths)]

    def product_energy(self, widths: Sequence[int]) -> float:
        return float(min(widths))

    def factors(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        factors = super().factors(widths, rng)
        if self.perturbation:
            alpha = self.factor_scale(widths)
            if self.perturbation >= alpha:
                raise ValueError(
                    f"perturbation must be less than the scale {alpha:g} of a factor, got {self.perturbation:g}"
                )
            factors[-1] = (alpha - self.perturbation) * np.eye(*factors[-1].shape)
        return factors


@dataclass(frozen=True, eq=False)
class Balanced(ScaledInit):
    """Exactly balanced factors, ``W_{j+1}^T W_{j+1} = W_j W_j^T``, of a given or a random product.

    ``W_N ... W_1 = U S V^T`` is split into ``W_j = F_j S^{1/N} F_{j-1}^T`` with ``F_0 = V``, ``F_N = U`` and the
    first columns of the identity between.

    Parameters
    ----------
    scale, of : see `ScaledInit`; they multiply the product by ``scale`` or by ``scale**N``. With a given product the
        default scale is 1.
    product : array (d_N, d_0) of rank at most ``min_j d_j``, the same start in every run; or None, a random one in
        every run: the leading part of rank ``min_j d_j`` of a Gaussian matrix, normalised to
        ``||W||_F^2 = scale^2 min_j d_j`` exactly
    """

    scale: float | None = None  # type: ignore[assignment]
    product: ArrayLike | None = None

    def __post_init__(self) -> None:
        if self.scale is None:
            object.__setattr__(self, "scale", 1.0 if self.product is not None else ScaledInit.scale)
        super().__post_init__()
        if self.product is not None:
            object.__setattr__(self, "product", frozen(as_floats("product", self.product, 2)))

    @property
    def random(self) -> bool:  # type: ignore[override]
        return self.product is None

    def factors(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        depth, rank = len(widths) - 1, min(widths)
        shape = (widths[-1], widths[0])
        assert self.scale is not None
        if self.product is None:
            matrix = rng.standard_normal(shape)
        else:
            matrix = np.asarray(self.product)
            if matrix.shape != shape:
                raise ValueError(f"product must have the shape {shape} of W, got {matrix.shape}")
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        if self.product is None:
            values[:rank] *= math.sqrt(rank / np.sum(values[:rank] ** 2))
        elif np.any(values[rank:] > 1e-12 * values[0]):
            raise ValueError(f"product has rank above the smallest width {rank}, so these factors cannot have it")
        roots = values[:rank] ** (1 / depth) * (self.scale if self.of == "factor" else self.scale ** (1 / depth))
        frames = [right[:rank].T, *(np.eye(width, rank) for width in widths[1:-1]), left[:, :rank]]
        return [(after * roots) @ before.T for before, after in pairwise(frames)]


@dataclass(frozen=True, eq=False)
class Explicit:
    """Factors that the user gives.

    Parameters
    ----------
    arrays : sequence of N arrays, first to last: (d_j, d_{j-1}) for one start, (runs, d_j, d_{j-1}) for a start a run
    steps : int array (runs,) or None
        The steps that each run has already taken, so that schedules, records and ``max_steps`` go on from there.
    """

    arrays: Sequence[ArrayLike]
    steps: NDArray[np.int64] | None = None

    random: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.arrays, Sequence) or len(self.arrays) == 0:
            raise TypeError("arrays must be a sequence of factors, first to last")
        # What a run has come to may have diverged; what a user makes up may not.
        going_on = self.steps is not None
        checked = [
            as_floats(f"factor {j + 1}", array, (2, 3), finite=not going_on) for j, array in enumerate(self.arrays)
        ]
        if len({array.ndim for array in checked}) > 1:
            raise ValueError("factors must all be matrices, or all stacks (runs, d_j, d_{j-1})")
        if len({len(array) for array in checked if array.ndim == 3}) > 1:
            raise ValueError(f"factors have different numbers of runs: {[len(array) for array in checked]}")
        for j, (first, second) in enumerate(pairwise(checked), start=1):
            if first.shape[-2] != second.shape[-1]:
                raise ValueError(
                    f"factors do not chain: factor {j} has {first.shape[-2]} rows, "
                    f"factor {j + 1} has {second.shape[-1]} columns"
                )
        if not going_on:
            checked = [frozen(array) for array in checked]
        object.__setattr__(self, "arrays", tuple(checked))
        if self.steps is not None:
            steps = np.asarray(self.steps)
            if self.runs is None:
                raise ValueError("steps belong to stacks of factors, one start a run; these are one start for all runs")
            if steps.dtype.kind not in "iu" or steps.shape != (self.runs,) or np.any(steps < 0):
                raise ValueError(f"steps must be {self.runs} nonnegative integers, got {shown(self.steps)}")

    @property
    def runs(self) -> int | None:
        """The number of runs, or None for one start that every run shares."""
        first: Any = self.arrays[0]
        return len(first) if first.ndim == 3 else None

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths (d_0, ..., d_N) of the factors."""
        shapes = [np.shape(array)[-2:] for array in self.arrays]
        return (shapes[0][1], *(shape[0] for shape in shapes))

    def flat(self) -> FloatArray:
        """The factors in flat storage, (runs or 1, parameters)."""
        return np.concatenate([np.reshape(array, (self.runs or 1, -1)) for array in self.arrays], axis=1)


def _haar(rows: int, columns: int, rng: np.random.Generator) -> FloatArray:
    """A matrix from the Haar measure, with orthonormal columns if rows >= columns, else orthonormal rows."""
    gaussian = rng.standard_normal((rows, columns) if rows >= columns else (columns, rows))
    q, r = np.linalg.qr(gaussian)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if rows >= columns else np.ascontiguousarray(q.T)


Init = ScaledInit | Explicit
"""Any of the inits of this module."""
