"""Sparse recovery: a sparse vector, and linear measurements of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, as_floats, as_number, frozen, one_of
from fastflow.ensembles.base import Ensemble, digest
from fastflow.kernels.random.normals import standard_normals
from fastflow.operators import PartialCosine, PartialFourier
from fastflow.problems import CompressedSensing, Problem
from fastflow.streams import Key

MATRICES = ("gaussian", "rademacher", "dct", "correlated", "fourier", "cosine")
TRANSFORMS = {"fourier": PartialFourier, "cosine": PartialCosine}
"""Matrices that are drawn as operators, of random rows each."""
ROWS_OF_TRANSFORMS = ("dct", *TRANSFORMS)
"""Matrices of which there are n rows to draw from."""
SCALINGS = ("entries", "columns")
COEFFICIENTS = ("gaussian", "sign", "flat", "decaying", "positive")
UNIVERSAL = ("gaussian", "rademacher", "dct", "cosine")
"""Matrices whose phase transition is that of Gaussian ones."""


@dataclass(frozen=True, eq=False, repr=False)
class Sparse(Ensemble):
    """``y = A x + noise`` with an x that has ``sparsity`` nonzero entries, on a support drawn uniformly.

    Parameters
    ----------
    n : int >= 1, the length of x
    m : int >= 1, the number of measurements
    sparsity : int in 1 .. n
    delta : float > 0, instead of m: ``m = round(delta n)``, at least 1
    rho : float > 0, instead of the sparsity: ``sparsity = round(rho m)``, at least 1
        What is missing of m and sparsity must be an axis of the study.
    matrix : "gaussian", "rademacher", "dct", "correlated", "fourier", "cosine", or array (m, n)
        Independent N(0, 1) or +-1 entries; m rows, drawn without replacement, of the orthonormal cosine transform
        (DCT-II) times ``sqrt(n)``; Gaussian rows of covariance ``correlation^|i - j|``; or a matrix that all trials
        share. "fourier" and "cosine" are m random rows as operators, for methods that take those, with
        ``scaling="entries"``: of the discrete Fourier transform (`fastflow.operators.PartialFourier`), m complex
        measurements, and of the cosine transform, the "dct" without its entries.
    scaling : "entries" or "columns"
        Entries of variance 1/m, that is the above over ``sqrt(m)``; or every column divided by its norm. A matrix that
        was given stays as it is with "entries".
    coefficients : "gaussian", "sign", "flat", "decaying" or "positive"
        The nonzero entries: N(0, 1); +-1; 1; ``+-k^-decay``, k = 1, ..., sparsity; or ``|N(0, 1)|``.
    noise : float >= 0, the standard deviation of the Gaussian noise of each measurement, of complex ones of both parts
    correlation : float in (-1, 1), for ``matrix="correlated"``
    decay : float >= 0, for ``coefficients="decaying"``
    test : int >= 1, how many more measurements are drawn alike and held out, for the outcome "test_loss"; default none
        Of random rows with ``scaling="entries"``: of a partial DCT and a given matrix nothing is left to draw.

    Raises
    ------
    ValueError, TypeError
        for values that are wrong or contradict each other

    Examples
    --------
    >>> ensemble = ff.ensembles.Sparse(n=20, m=10, sparsity=2, matrix="rademacher")
    >>> problem = ensemble.draw(np.random.default_rng(0))
    >>> problem.matrix.shape, int(np.count_nonzero(problem.truth))
    ((10, 20), 2)
    """

    n: int
    m: int | None = None
    sparsity: int | None = None
    delta: float | None = None
    rho: float | None = None
    matrix: str | ArrayLike = "gaussian"
    scaling: str = "entries"
    coefficients: str = "gaussian"
    noise: float = 0.0
    correlation: float = 0.5
    decay: float = 1.0
    test: int | None = None

    unknown: ClassVar[str] = "x"

    def __post_init__(self) -> None:
        self._counts(n=self.n, m=self.m, sparsity=self.sparsity, test=self.test)
        for name, count in (("delta", "m"), ("rho", "sparsity")):
            share = getattr(self, name)
            if share is not None:
                if getattr(self, count) is not None:
                    raise ValueError(f"give {count} or {name}, not both")
                self._set(**{name: as_number(name, share, above=0)})
                if getattr(self, name) > self.n:
                    raise ValueError(f"{name} must be at most n = {self.n}, got {share:g}")
        if isinstance(self.matrix, str):
            one_of("matrix", self.matrix, MATRICES)
        else:
            matrix = as_floats("matrix", self.matrix, 2).astype(np.float64, copy=False)
            if matrix.shape[1] != self.n:
                raise ValueError(f"matrix must have n = {self.n} columns, got shape {matrix.shape}")
            if self.delta is not None or self.m not in (None, len(matrix)):
                raise ValueError(f"m is {self.measurements}, but the matrix has {len(matrix)} rows")
            self._set(matrix=frozen(matrix), m=len(matrix))
        one_of("scaling", self.scaling, SCALINGS)
        one_of("coefficients", self.coefficients, COEFFICIENTS)
        self._set(noise=as_number("noise", self.noise, least=0), decay=as_number("decay", self.decay, least=0))
        correlation = as_number("correlation", self.correlation, above=-1)
        if correlation >= 1:
            raise ValueError(f"correlation must be less than 1, got {correlation:g}")
        self._set(correlation=correlation)
        if self.test is not None and (self.scaling != "entries" or self.matrix_name in (*ROWS_OF_TRANSFORMS, "given")):
            raise ValueError("test needs rows that are drawn, with scaling='entries': more of them are held out")
        if self.matrix_name in TRANSFORMS and self.scaling != "entries":
            raise ValueError(f"the columns of matrix={self.matrix_name!r} are not divided: scaling must be 'entries'")
        self._check_rows(self.m or 1)
        if self.sparsity is not None and self.sparsity > self.n:
            raise ValueError(f"sparsity must be at most n = {self.n}, got {self.sparsity}")

    @property
    def matrix_name(self) -> str:
        """The kind of matrix, "given" for one that was."""
        return self.matrix if isinstance(self.matrix, str) else "given"

    @property
    def measurements(self) -> int:
        """The number m of measurements, given as such or by delta."""
        if self.delta is not None:
            return max(1, round(self.delta * self.n))
        self._required(**{"m (or delta)": self.m})
        assert self.m is not None
        return self.m

    @property
    def nonzeros(self) -> int:
        """The sparsity, given as such or by rho."""
        if self.rho is not None:
            return max(1, round(self.rho * self.measurements))
        self._required(**{"sparsity (or rho)": self.sparsity})
        assert self.sparsity is not None
        return self.sparsity

    def check(self) -> None:
        m, s = self.measurements, self.nonzeros
        if s > self.n:
            raise ValueError(f"sparsity must be at most n = {self.n}, got {s}")
        self._check_rows(m)

    def _check_rows(self, m: int) -> None:
        if self.matrix_name in ROWS_OF_TRANSFORMS and m > self.n:
            what = "Fourier transform" if self.matrix_name == "fourier" else "DCT"
            raise ValueError(f"a partial {what} has at most n = {self.n} rows, got m = {m}")

    def key(self) -> tuple[Key, ...]:
        matrix: tuple[Key, ...] = (self.matrix_name,)
        if self.matrix_name == "correlated":
            matrix += (self.correlation,)
        elif self.matrix_name == "given":
            matrix += (digest(np.asarray(self.matrix)),)
        coefficients = (self.coefficients, *((self.decay,) if self.coefficients == "decaying" else ()))
        return ("Sparse", self.n, self.measurements, self.nonzeros, matrix, self.scaling, coefficients, self.noise)

    def form(self) -> tuple[Key, ...]:
        return (self.n, "operator") if self.matrix_name in TRANSFORMS else (self.n,)

    @classmethod
    def program(cls, parameters: Mapping[str, object]) -> str | None:
        universal = parameters.get("matrix", "gaussian") in UNIVERSAL
        return "l1" if universal and not parameters.get("noise") else None

    @property
    def entries(self) -> int:
        return self.n + self.measurements if self.matrix_name in TRANSFORMS else self.measurements * self.n

    @property
    def system_shape(self) -> tuple[int, int] | None:
        return None if self.matrix_name in TRANSFORMS else (self.measurements, self.n)

    @property
    def rows_independent(self) -> bool:
        return self.matrix_name != "given"

    def draw(self, rng: np.random.Generator) -> CompressedSensing:
        m = self.measurements
        if self.matrix_name in TRANSFORMS:
            return self._draw_transform(rng)
        matrix, values, truth = np.empty((m, self.n)), np.empty(m), np.zeros(self.n)
        self.fill(rng, matrix, values, truth)
        return CompressedSensing(matrix, values, truth=truth)

    def fill(
        self, rng: np.random.Generator, matrix: NDArray[np.float64], values: FloatArray, truth: FloatArray
    ) -> None:
        support = self._fill_truth(rng, truth)
        self._fill_matrix(rng, matrix)
        # No BLAS, whose way to sum could depend on its threads.
        np.add.reduce(matrix[:, support] * truth[support], axis=1, out=values)
        if self.noise:
            values += self.noise * rng.standard_normal(len(values))

    def _fill_truth(self, rng: np.random.Generator, truth: FloatArray) -> NDArray[np.int64]:
        """Set the nonzero entries of a vector of zeros; where they are."""
        s = self.nonzeros
        support: NDArray[np.int64] = rng.permutation(self.n)[:s]
        truth[support] = self._coefficients(rng, s)
        return support

    def _draw_transform(self, rng: np.random.Generator) -> CompressedSensing:
        """`draw` of a matrix that is an operator: what is random is drawn as for a "dct"."""
        truth: FloatArray = np.zeros(self.n)
        self._fill_truth(rng, truth)
        operator = TRANSFORMS[self.matrix_name](self.n, rng.permutation(self.n)[: self.measurements])
        values = operator.forward(truth[None])[0]
        if self.noise:
            values += self.noise * rng.standard_normal(len(values))
        return CompressedSensing(operator, values, truth=truth)

    @property
    def test_size(self) -> int:
        return self.test or 0

    def draw_test(self, rng: np.random.Generator, problem: Problem, drawn: np.random.Generator) -> CompressedSensing:
        assert problem.truth is not None
        truth, matrix = np.asarray(problem.truth), np.empty((self.test_size, self.n))
        self._fill_matrix(rng, matrix)
        matrix *= math.sqrt(self.test_size / self.measurements)  # entries as those of the problem
        values = np.sum(matrix * truth, axis=1)
        if self.noise:
            values += self.noise * rng.standard_normal(len(values))
        return CompressedSensing(matrix, values, truth=truth, normalization="mean")

    def _coefficients(self, rng: np.random.Generator, s: int) -> FloatArray | float:
        if self.coefficients == "flat":
            return 1.0
        if self.coefficients in ("gaussian", "positive"):
            normal = rng.standard_normal(s)
            return normal if self.coefficients == "gaussian" else np.abs(normal)
        signs: FloatArray = 2.0 * rng.integers(0, 2, s) - 1
        return signs if self.coefficients == "sign" else signs * np.arange(1.0, s + 1) ** -self.decay

    def _fill_matrix(self, rng: np.random.Generator, matrix: NDArray[np.float64]) -> None:
        kind, (m, n) = self.matrix_name, matrix.shape
        if kind == "given":
            matrix[:] = np.asarray(self.matrix)
        elif kind == "rademacher":
            matrix[:] = 2.0 * rng.integers(0, 2, (m, n), np.int8) - 1
        elif kind == "dct":
            matrix[:] = _cosines(n)[rng.permutation(n)[:m]]
        else:
            standard_normals(rng, matrix)
            if kind == "correlated":
                fresh = math.sqrt(1 - self.correlation**2)
                for j in range(1, n):
                    matrix[:, j] = self.correlation * matrix[:, j - 1] + fresh * matrix[:, j]
        if self.scaling == "columns":
            matrix /= np.sqrt(np.sum(matrix * matrix, axis=0))
        elif kind != "given":
            matrix *= 1 / math.sqrt(m)


@functools.lru_cache(8)
def _cosines(n: int) -> FloatArray:
    """The orthonormal DCT-II of size n, times ``sqrt(n)``."""
    from scipy.fft import dct

    return frozen(math.sqrt(n) * dct(np.eye(n), norm="ortho", axis=0))
