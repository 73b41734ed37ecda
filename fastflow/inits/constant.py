"""The start of diagonal networks that the literature takes: alpha in every coordinate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from fastflow.arrays import as_array
from fastflow.checks import as_floats, as_number, frozen, one_of, shown
from fastflow.each import Each
from fastflow.inits.base import WHOSE, Factors, Init
from fastflow.networks import Architecture, DiagonalLinear, Hadamard, Network


@dataclass(frozen=True, eq=False)
class Constant(Init):
    """Every factor of a DiagonalLinear network starts at alpha in every coordinate; the same in every run.

    Parameters
    ----------
    scale : float > 0, or array (n,), one for each coordinate, of numbers > 0, or 0, where u (and v) stays 0 for L >= 2
        Or `fastflow.each` of numbers > 0, one for each run.
    of : "factor" or "product"
        Whose scale it is: ``alpha = scale``, as the literature states it, or ``alpha = scale^{1/L}``, so that the
        product of the L factors is ``scale``.
    negative : None, float >= 0 or array (n,) of them
        The start of v where it differs from that of u, likewise of a factor or of the product; x then starts at
        ``alpha^L - negative^L`` instead of 0. Where it is 0 v stays 0 for L >= 2.

    Examples
    --------
    >>> architecture = ff.DiagonalLinear(2).architecture(ff.CompressedSensing([[1.0, 0.5]], [1.0]))
    >>> u, v = ff.inits.Constant(0.1).draw(architecture, np.random.default_rng(0))
    >>> u.tolist(), v.tolist()
    ([0.1, 0.1], [0.1, 0.1])
    """

    scale: float | Each | ArrayLike = 1e-3
    of: str = "factor"
    negative: float | ArrayLike | None = None

    networks: ClassVar[tuple[type[Network], ...]] = (DiagonalLinear,)

    @property
    def random(self) -> bool:
        return False

    @property
    def per_run(self) -> tuple[Each, ...]:
        return (self.scale,) if isinstance(self.scale, Each) else ()

    def of_run(self, run: int) -> Init:
        return replace(self, scale=float(self.scale.values[run])) if isinstance(self.scale, Each) else self

    def __post_init__(self) -> None:
        one_of("of", self.of, WHOSE)
        for name in ("scale", "negative"):
            value = getattr(self, name)
            if name == "scale" and isinstance(value, Each):
                continue
            if value is not None and as_array(name, value).ndim:
                value = frozen(as_floats(name, value, 1))
                if value.min() < 0:
                    raise ValueError(f"every entry of {name} must be at least 0, got {value.min():g}")
            elif name == "scale":
                value = as_number(name, value, above=0)
            elif value is not None:
                value = as_number(name, value, least=0)
            object.__setattr__(self, name, value)

    def draw(self, architecture: Architecture, rng: np.random.Generator) -> Factors:
        form = architecture
        assert isinstance(form, Hadamard)
        if isinstance(self.scale, Each):
            raise TypeError(f"scale is {self.scale}, and one start has one scale: take init.of_run(i)")
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
        scale = repr(self.scale) if isinstance(self.scale, Each) else shown(self.scale)
        return f"Constant(scale={scale}, of={self.of!r}{negative})"
