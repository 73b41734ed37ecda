"""Regression and autoencoders: data that a matrix of low rank explains, up to noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_number
from fastflow.ensembles.base import Ensemble, as_spectrum, low_rank_matrix, sizes_of, spectrum_key
from fastflow.kernels.random.normals import standard_normals
from fastflow.problems import LinearRegression, Problem
from fastflow.streams import Key


@dataclass(frozen=True, eq=False, repr=False)
class Regression(Ensemble):
    """``Y = W X + noise`` with Gaussian inputs X and a W of a rank; the truth is W, of Frobenius norm ``sqrt(n)``.

    Parameters
    ----------
    n : int >= 1, the inputs d_0
    samples : int >= 1; missing, it must be an axis of the study
    outputs : int >= 1, d_N, default 1
    rank : int, at most min(n, outputs), default that
    spectrum, decay : as those of `LowRank`
    noise : float >= 0, the standard deviation of the noise of each entry of Y
    test : int >= 1, how many more samples are drawn alike and held out, for the outcome "test_loss"; default none

    Examples
    --------
    >>> problem = ff.ensembles.Regression(n=4, samples=10, outputs=3, rank=2).draw(np.random.default_rng(0))
    >>> type(problem).__name__, problem.shape
    ('LinearRegression', (3, 4))
    """

    n: int
    samples: int | None = None
    outputs: int = 1
    rank: int | None = None
    spectrum: str | ArrayLike = "gaussian"
    decay: float = 1.0
    noise: float = 0.0
    test: int | None = None

    def __post_init__(self) -> None:
        self._counts(n=self.n, samples=self.samples, outputs=self.outputs, rank=self.rank, test=self.test)
        spectrum, decay = as_spectrum(self.spectrum, self.decay)
        self._set(spectrum=spectrum, decay=decay, noise=as_number("noise", self.noise, least=0))
        if not isinstance(spectrum, str) and self._rank != spectrum.size:
            raise ValueError(f"rank is {self._rank}, but the spectrum has {spectrum.size} singular values")
        if self._rank > min(self.n, self.outputs):
            raise ValueError(f"rank must be at most {min(self.n, self.outputs)}, got {self._rank}")

    @property
    def _rank(self) -> int:
        return self.rank or min(self.n, self.outputs)

    def check(self) -> None:
        self._required(samples=self.samples)

    def key(self) -> tuple[Key, ...]:
        self.check()
        spectrum = spectrum_key(self.spectrum, self.decay)
        return ("Regression", self.n, self.samples or 0, self.outputs, self._rank, spectrum, self.noise)

    def form(self) -> tuple[Key, ...]:
        return (self.n, self.outputs)

    @property
    def entries(self) -> int:
        return (self.n + self.outputs) * (self.samples or 0) + self.n * self.outputs

    def draw(self, rng: np.random.Generator) -> LinearRegression:
        self.check()
        assert self.samples is not None
        truth = low_rank_matrix(rng, (self.outputs, self.n), self._rank, self.spectrum, self.decay)
        truth *= math.sqrt(self.n / float(np.sum(truth * truth)))
        return self._observed(rng, truth, self.samples, "sum")

    @property
    def test_size(self) -> int:
        return self.test or 0

    def draw_test(self, rng: np.random.Generator, problem: Problem, drawn: np.random.Generator) -> LinearRegression:
        return self._observed(rng, np.asarray(problem.truth), self.test_size, "mean")

    def _observed(
        self, rng: np.random.Generator, truth: FloatArray, samples: int, normalization: str
    ) -> LinearRegression:
        inputs = standard_normals(rng, np.empty((self.n, samples)))
        outputs = truth @ inputs
        if self.noise:
            outputs += self.noise * rng.standard_normal(outputs.shape)
        return LinearRegression(inputs, outputs, truth=truth, normalization=normalization, samples="columns")


@dataclass(frozen=True, eq=False, repr=False)
class Autoencoder(Ensemble):
    """Samples near a subspace: ``X = U diag(sizes) G + noise``, G Gaussian; the problem is the autoencoder of X.

    The truth is ``U_r U_r^T``, the projection on the r leading left singular vectors of X, the best W of rank r.

    Parameters
    ----------
    n : int >= 1, d_0
    samples : int >= rank; missing, it must be an axis of the study
    rank : int in 1 .. n, of the subspace; missing, it must be an axis of the study
    spectrum : "power", "flat" or array (rank,) of the sizes
    decay : float >= 0, for ``spectrum="power"``, sizes ``k^-decay``
    noise : float >= 0, the standard deviation of the noise of each entry of X
    test : int >= 1, how many more samples are drawn alike and held out, for the outcome "test_loss"; default none

    Examples
    --------
    >>> ff.ensembles.Autoencoder(n=4, samples=10, rank=2).draw(np.random.default_rng(0)).shape
    (4, 4)
    """

    n: int
    samples: int | None = None
    rank: int | None = None
    spectrum: str | ArrayLike = "flat"
    decay: float = 1.0
    noise: float = 0.0
    test: int | None = None

    def __post_init__(self) -> None:
        self._counts(n=self.n, samples=self.samples, rank=self.rank, test=self.test)
        spectrum, decay = as_spectrum(self.spectrum, self.decay)
        if isinstance(spectrum, str) and spectrum == "gaussian":
            raise ValueError("spectrum of an Autoencoder must be 'power', 'flat' or an array of sizes")
        self._set(spectrum=spectrum, decay=decay, noise=as_number("noise", self.noise, least=0))
        if not isinstance(spectrum, str):
            if self.rank not in (None, spectrum.size):
                raise ValueError(f"rank is {self.rank}, but the spectrum has {spectrum.size} sizes")
            self._set(rank=spectrum.size)
        if self.rank is not None and self.rank > min(self.n, self.samples or self.n):
            raise ValueError(f"rank must be at most n and samples, got {self.rank}")

    def check(self) -> None:
        self._required(samples=self.samples, rank=self.rank)

    def key(self) -> tuple[Key, ...]:
        self.check()
        spectrum = spectrum_key(self.spectrum, self.decay)
        return ("Autoencoder", self.n, self.samples or 0, self.rank or 0, spectrum, self.noise)

    def form(self) -> tuple[Key, ...]:
        return (self.n,)

    @property
    def entries(self) -> int:
        return self.n * (self.samples or 0) + self.n * self.n

    def draw(self, rng: np.random.Generator) -> LinearRegression:
        self.check()
        assert self.samples is not None
        inputs = self._sampled(rng, self._directions(rng), self.samples)
        leading = np.linalg.svd(inputs, full_matrices=False)[0][:, : self.rank]
        return LinearRegression.autoencoder(inputs, truth=leading @ leading.T, samples="columns")

    @property
    def test_size(self) -> int:
        return self.test or 0

    def draw_test(self, rng: np.random.Generator, problem: Problem, drawn: np.random.Generator) -> LinearRegression:
        inputs = self._sampled(rng, self._directions(drawn), self.test_size)
        return LinearRegression.autoencoder(inputs, truth=problem.truth, normalization="mean", samples="columns")

    def _directions(self, rng: np.random.Generator) -> FloatArray:
        """``U diag(sizes)``, array (n, rank), the first of what is drawn."""
        assert self.rank is not None
        left = np.linalg.qr(rng.standard_normal((self.n, self.rank)))[0]
        return np.asarray(left * sizes_of(self.spectrum, self.decay, self.rank))

    def _sampled(self, rng: np.random.Generator, directions: FloatArray, samples: int) -> FloatArray:
        inputs = directions @ standard_normals(rng, np.empty((directions.shape[1], samples)))
        if self.noise:
            inputs += self.noise * rng.standard_normal(inputs.shape)
        return np.asarray(inputs)
