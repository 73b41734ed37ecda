"""Inits: the factors at step 0.

Each draws unscaled and then scales, so that starts of different scales share their random numbers. ``of="factor"``
multiplies N(0, 1) entries, U(-1, 1) entries, the identity or an orthonormal Q by ``scale``; ``of="product"`` makes
``E ||W||_F^2 = scale^2 min_j d_j``, as ``W = scale I`` has. In a DiagonalLinear network that is said of each of the
products ``u_1 o ... o u_L`` and ``v_1 o ... o v_L``: ``E ||.||^2 = scale^2 n``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.architectures import Architecture, Hadamard
from fastflow.checks import FloatArray, as_floats, as_number, frozen, one_of, shown
from fastflow.networks import DeepLinear, DiagonalLinear

__all__ = ["Balanced", "Constant", "Explicit", "Gaussian", "Identity", "Orthogonal", "Uniform"]

Factors = list[FloatArray]
WHOSE = ("factor", "product")


def factor_shapes(widths: Sequence[int]) -> list[tuple[int, int]]:
    """The shapes (d_j, d_{j-1}) of the factors of a chain, first to last."""
    return [(after, before) for before, after in pairwise(widths)]


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
    networks: ClassVar[tuple[type, ...]] = (DeepLinear,)
    """What it can start."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", as_number("scale", self.scale, above=0))
        one_of("of", self.of, WHOSE)

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
        """The factors of one run of a DeepLinear network, first to last."""
        scale = self.factor_scale(widths)
        return [scale * factor for factor in self.draw(widths, rng)]

    def vectors(self, form: Hadamard, rng: np.random.Generator) -> Factors:
        """The vectors of one run of a DiagonalLinear network, in the order of its architecture."""
        raise TypeError(f"{type(self).__name__} does not start a DiagonalLinear network")


@dataclass(frozen=True)
class EntryInit(ScaledInit):
    """Independent entries, scaled. Those of identical factors are positive (`DiagonalLinear`), unless L = 1."""

    networks: ClassVar[tuple[type, ...]] = (DeepLinear, DiagonalLinear)

    def entries(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        """Unscaled entries."""
        raise NotImplementedError

    def moment(self, order: int) -> float:
        """``E |w|^order`` of an unscaled entry w, for an even order."""
        raise NotImplementedError

    def draw(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        return [self.entries(shape, rng) for shape in factor_shapes(widths)]

    def product_energy(self, widths: Sequence[int]) -> float:
        return math.prod(widths) * self.moment(2) ** (len(widths) - 1)

    def vectors(self, form: Hadamard, rng: np.random.Generator) -> Factors:
        drawn = [self.entries(shape, rng) for shape in form.factor_shapes]
        if form.identical and form.depth > 1:
            drawn = [np.abs(vector) for vector in drawn]
        scale = self.scale
        if self.of == "product":
            energy = self.moment(2 * form.depth) if form.identical else self.moment(2) ** form.depth
            scale = (scale / math.sqrt(energy)) ** (1 / form.depth)
        return [scale * vector for vector in drawn]


@dataclass(frozen=True)
class Gaussian(EntryInit):
    """Independent N(0, 1) entries, scaled; their magnitudes for identical factors of a DiagonalLinear network.

    Parameters
    ----------
    scale : float > 0
    of : "product" or "factor", whose scale it is: see `fastflow.inits`
    """

    def entries(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        return rng.standard_normal(shape)

    def moment(self, order: int) -> float:
        return float(math.prod(range(order - 1, 0, -2)))


@dataclass(frozen=True)
class Uniform(EntryInit):
    """Independent U(-1, 1) entries, scaled; their magnitudes for identical factors of a DiagonalLinear network.

    Parameters
    ----------
    scale : float > 0
    of : "product" or "factor", whose scale it is: see `fastflow.inits`
    """

    def entries(self, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
        return rng.uniform(-1, 1, shape)

    def moment(self, order: int) -> float:
        return 1 / (order + 1)


@dataclass(frozen=True, eq=False)
class Constant:
    """Every factor of a DiagonalLinear network starts at alpha in every coordinate; the same in every run.

    Parameters
    ----------
    scale : float > 0, or array (n,), one for each coordinate, of numbers > 0, or 0, where u (and v) stays 0 for L >= 2
    of : "factor" or "product"
        Whose scale it is: ``alpha = scale``, as the literature states it, or ``alpha = scale^{1/L}``, so that the
        product of the L factors is ``scale``.
    negative : None, float >= 0 or array (n,) of them
        The start of v where it differs from that of u, likewise of a factor or of the product; x then starts at
        ``alpha^L - negative^L`` instead of 0. Where it is 0 v stays 0 for L >= 2.
    """

    scale: float | ArrayLike = 1e-3
    of: str = "factor"
    negative: float | ArrayLike | None = None

    random: ClassVar[bool] = False
    networks: ClassVar[tuple[type, ...]] = (DiagonalLinear,)

    def __post_init__(self) -> None:
        one_of("of", self.of, WHOSE)
        for name in ("scale", "negative"):
            value = getattr(self, name)
            if np.ndim(value) != 0:
                value = frozen(as_floats(name, value, 1))
                if value.min() < 0:
                    raise ValueError(f"every entry of {name} must be at least 0, got {value.min():g}")
            elif name == "scale":
                value = as_number(name, value, above=0)
            elif value is not None:
                value = as_number(name, value, least=0)
            object.__setattr__(self, name, value)

    def factors(self, widths: Sequence[int], rng: np.random.Generator) -> Factors:
        """Constant starts no DeepLinear network."""
        raise TypeError("Constant does not start a DeepLinear network")

    def vectors(self, form: Hadamard, rng: np.random.Generator) -> Factors:
        """The vectors of one run of a DiagonalLinear network, in the order of its architecture."""
        if self.negative is not None and not form.signed:
            raise ValueError("negative is the start of v, which a network with signed=False does not have")
        starts = {"u": self.scale, "v": self.scale if self.negative is None else self.negative}
        vectors = []
        for side in form.sides:
            alpha = np.asarray(starts[side], np.float64) ** (1 / form.depth if self.of == "product" else 1)
            if alpha.ndim and alpha.shape != form.solution_shape:
                name = "scale" if side == "u" or self.negative is None else "negative"
                raise ValueError(
                    f"{name} must be a number or have the shape {form.solution_shape} of x, got {alpha.shape}"
                )
            vectors += [np.full(form.size, alpha)] * (len(form.factor_shapes) // len(form.sides))
        return vectors

    def __repr__(self) -> str:
        negative = "" if self.negative is None else f", negative={shown(self.negative)}"
        return f"Constant(scale={shown(self.scale)}, of={self.of!r}{negative})"


@dataclass(frozen=True)
class Orthogonal(ScaledInit):
    """Independent Haar matrices with orthonormal rows or columns (whichever are fewer), scaled.

    Parameters
    ----------
    scale : float > 0
    of : "product" or "factor", whose scale it is: see `fastflow.inits`
    """

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
    scale : float > 0
    of : "product" or "factor", whose scale it is: see `fastflow.inits`
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
    scale, of : as those of `Gaussian`; they multiply the product by ``scale`` or by ``scale**N``. With a given product
        the default scale is 1.
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
        # What is 0 but for round-off must be 0: its root, 5e-6 of 1e-16 at depth 3, would be seen.
        values[values <= max(shape) * np.finfo(float).eps * values[0]] = 0
        roots = values[:rank] ** (1 / depth) * (self.scale if self.of == "factor" else self.scale ** (1 / depth))
        return balanced_factors(left[:, :rank], roots, right[:rank], widths)


def balanced_factors(left: FloatArray, roots: FloatArray, right: FloatArray, widths: Sequence[int]) -> Factors:
    """Balanced factors of ``left diag(roots^N) right``, left and right with orthonormal columns and rows."""
    hidden = (np.eye(width, len(roots)) for width in widths[1:-1])
    return [(after * roots) @ before.T for before, after in pairwise([right.T, *hidden, left])]


@dataclass(frozen=True, eq=False)
class Explicit:
    """Factors that the user gives.

    Parameters
    ----------
    arrays : sequence of arrays
        For a DeepLinear network its N factors, first to last: (d_j, d_{j-1}) for one start, (runs, d_j, d_{j-1}) for a
        start a run. For a DiagonalLinear network u and v, or u_1, ..., u_L, v_1, ..., v_L if factors are not
        identical: (n,) or (runs, n); without those of v if it is not signed.
    steps : int array (runs,) or None
        The steps that each run has already taken, so that schedules, records and ``max_steps`` go on from there.
    """

    arrays: Sequence[ArrayLike]
    steps: NDArray[np.int64] | None = None

    random: ClassVar[bool] = False
    networks: ClassVar[tuple[type, ...]] = (DeepLinear, DiagonalLinear)

    def __post_init__(self) -> None:
        if not isinstance(self.arrays, Sequence) or len(self.arrays) == 0:
            raise TypeError("arrays must be a sequence of factors, first to last")
        # What a run has come to may have diverged; what a user makes up may not.
        going_on = self.steps is not None
        checked = [
            as_floats(f"factor {j + 1}", array, (1, 2, 3), finite=not going_on) for j, array in enumerate(self.arrays)
        ]
        if len({array.ndim for array in checked}) > 1:
            raise ValueError("factors must all be one start, or all stacks (runs, ...) of starts")
        if len({len(array) for array in checked if array.ndim == 3}) > 1:
            raise ValueError(f"factors have different numbers of runs: {[len(array) for array in checked]}")
        # Arrays (k, n) of one shape may be vectors of k runs, too.
        if checked[0].ndim == 3 or (checked[0].ndim == 2 and len({array.shape for array in checked}) > 1):
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
            steps, runs = np.asarray(self.steps), len(checked[0])
            if steps.dtype.kind not in "iu" or steps.shape != (runs,) or np.any(steps < 0):
                raise ValueError(f"steps must be {runs} nonnegative integers, got {shown(self.steps)}")

    def count(self, architecture: Architecture) -> int | None:
        """The number of runs, or None for one start that every run shares.

        Raises
        ------
        ValueError
            when these are no factors of this architecture
        """
        given, needed = [np.shape(array) for array in self.arrays], architecture.factor_shapes
        stacks = len(given[0]) > len(needed[0])
        if [shape[stacks:] for shape in given] != needed:
            raise ValueError(
                f"the factors given have shapes {shown(given)}, the network needs {shown(needed)}, or stacks "
                "(runs, ...) of them"
            )
        if self.steps is not None and not stacks:
            raise ValueError("steps belong to stacks of factors, one start a run; these are one start for all runs")
        return given[0][0] if stacks else None

    def flat(self, architecture: Architecture) -> FloatArray:
        """The factors in flat storage, (runs or 1, parameters)."""
        runs = self.count(architecture) or 1
        return np.concatenate([np.reshape(array, (runs, -1)) for array in self.arrays], axis=1)


def _haar(rows: int, columns: int, rng: np.random.Generator) -> FloatArray:
    """A matrix from the Haar measure, with orthonormal columns if rows >= columns, else orthonormal rows."""
    gaussian = rng.standard_normal((rows, columns) if rows >= columns else (columns, rows))
    q, r = np.linalg.qr(gaussian)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if rows >= columns else np.ascontiguousarray(q.T)


Drawn = ScaledInit | Constant
"""The inits that draw or make up their factors."""

Init = Drawn | Explicit
"""Any of the inits of this module."""
