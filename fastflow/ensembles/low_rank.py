"""Low rank: a matrix of low rank, and linear measurements or some entries of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import as_number, one_of, shown
from fastflow.ensembles.base import Ensemble, as_spectrum, low_rank_matrix, spectrum_key
from fastflow.kernels.random.normals import standard_normals
from fastflow.problems import MatrixCompletion, MatrixEstimation, MatrixSensing, Problem
from fastflow.streams import Key

OBSERVED = ("sensing", "completion", "estimation")


@dataclass(frozen=True, eq=False, repr=False)
class LowRank(Ensemble):
    """A matrix W (n, columns) of a rank, of which m measurements are observed.

    Parameters
    ----------
    n : int >= 1, the rows of W
    columns : int >= 1, default n
    rank : int in 1 .. min(n, columns)
    m : int >= 1; of entries at most n columns
        Estimation observes all entries and takes none. What is missing of rank and m must be an axis of the study.
    observed : "sensing", "completion" or "estimation"
        ``<A_i, W>`` with independent A_i of N(0, 1/m) entries; m entries, drawn without replacement; or all entries.
    spectrum : "gaussian", "power", "flat", or array (rank,) of singular values, largest first
        ``U V^T`` of Gaussian factors, or singular values ``k^-decay``, or 1, or the given ones, between Haar frames.
    decay : float >= 0, for ``spectrum="power"``
    symmetric : bool, for a positive semidefinite W
    norm : float > 0, the Frobenius norm of W; default ``sqrt(n columns)``, of a given spectrum that of its own
    noise : float >= 0, the standard deviation of the Gaussian noise of each measurement
    test : int >= 1, how many measurements are held out, for the outcome "test_loss"; default none
        Of sensing more are drawn alike; of completion they are entries that are not observed.

    Examples
    --------
    >>> problem = ff.ensembles.LowRank(n=4, rank=1, m=12).draw(np.random.default_rng(0))
    >>> type(problem).__name__, int(np.linalg.matrix_rank(problem.truth))
    ('MatrixSensing', 1)
    """

    n: int
    columns: int | None = None
    rank: int | None = None
    m: int | None = None
    observed: str = "sensing"
    spectrum: str | ArrayLike = "gaussian"
    decay: float = 1.0
    symmetric: bool = False
    norm: float | None = None
    noise: float = 0.0
    test: int | None = None

    def __post_init__(self) -> None:
        self._counts(n=self.n, columns=self.columns, rank=self.rank, m=self.m, test=self.test)
        one_of("observed", self.observed, OBSERVED)
        spectrum, decay = as_spectrum(self.spectrum, self.decay)
        self._set(spectrum=spectrum, decay=decay, noise=as_number("noise", self.noise, least=0))
        if not isinstance(self.symmetric, bool | np.bool_):
            raise TypeError(f"symmetric must be True or False, got {shown(self.symmetric)}")
        if self.norm is not None:
            self._set(norm=as_number("norm", self.norm, above=0))
        rows, columns = self.shape
        if self.symmetric and rows != columns:
            raise ValueError(f"a symmetric matrix is square, got {rows} x {columns}")
        if not isinstance(spectrum, str):
            if self.rank not in (None, spectrum.size):
                raise ValueError(f"rank is {self.rank}, but the spectrum has {spectrum.size} singular values")
            self._set(rank=spectrum.size)
        if self.rank is not None and self.rank > min(rows, columns):
            raise ValueError(f"rank must be at most {min(rows, columns)}, got {self.rank}")
        if self.observed == "estimation" and self.m is not None:
            raise ValueError("estimation observes all entries, so m must be left out")
        if self.observed == "estimation" and self.test is not None:
            raise ValueError("estimation observes all entries, so none is left for a test")
        if self.observed == "completion" and self.test is not None and (self.m or 0) + self.test > rows * columns:
            raise ValueError(f"m and test must be at most the {rows * columns} entries of the matrix together")
        if self.observed == "completion" and self.m is not None and self.m > rows * columns:
            raise ValueError(f"m must be at most the {rows * columns} entries of the matrix, got {self.m}")

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (n, columns) of W."""
        return self.n, self.n if self.columns is None else self.columns

    def check(self) -> None:
        self._required(rank=self.rank)
        if self.observed != "estimation":
            self._required(m=self.m)

    def key(self) -> tuple[Key, ...]:
        self.check()
        assert self.rank is not None
        norm = self.norm or ("given" if not isinstance(self.spectrum, str) else "entries")
        of_matrix = (*self.shape, self.rank, spectrum_key(self.spectrum, self.decay), bool(self.symmetric), norm)
        return ("LowRank", *of_matrix, self.observed, self.m or 0, self.noise)

    def form(self) -> tuple[Key, ...]:
        return (*self.shape, self.observed)

    @property
    def entries(self) -> int:
        sensed = (self.m or 0) if self.observed == "sensing" else 1
        return (1 + sensed) * self.shape[0] * self.shape[1]

    @classmethod
    def program(cls, parameters: Mapping[str, object]) -> str | None:
        sensed = parameters.get("observed", "sensing") == "sensing"
        return "nuclear" if sensed and not parameters.get("noise") else None

    def draw(self, rng: np.random.Generator) -> MatrixSensing | MatrixCompletion | MatrixEstimation:
        self.check()
        assert self.rank is not None
        (rows, columns), m = self.shape, self.m or 0
        truth = low_rank_matrix(rng, self.shape, self.rank, self.spectrum, self.decay, bool(self.symmetric))
        if self.norm is not None or isinstance(self.spectrum, str):
            truth *= (self.norm or math.sqrt(rows * columns)) / math.sqrt(float(np.sum(truth * truth)))
        if self.observed == "estimation":
            noise = self.noise * rng.standard_normal(self.shape) if self.noise else 0.0
            return MatrixEstimation(truth + noise, truth=truth)
        if self.observed == "completion":
            places = np.sort(rng.permutation(rows * columns)[:m])
            values = truth.ravel()[places]
        else:
            operators = standard_normals(rng, np.empty((m, rows, columns))) / math.sqrt(m)
            values = np.sum(operators * truth, axis=(1, 2))
        if self.noise:
            values = values + self.noise * rng.standard_normal(m)
        if self.observed == "completion":
            return MatrixCompletion(self.shape, *np.divmod(places, columns), values, truth=truth, warn=False)
        return MatrixSensing(operators, values, truth=truth)

    @property
    def test_size(self) -> int:
        return self.test or 0

    def draw_test(
        self, rng: np.random.Generator, problem: Problem, drawn: np.random.Generator
    ) -> MatrixSensing | MatrixCompletion:
        truth, count = np.asarray(problem.truth), self.test_size
        if isinstance(problem, MatrixCompletion):
            rows, columns = self.shape
            observed = problem.rows * columns + problem.cols
            places = np.sort(rng.permutation(np.setdiff1d(np.arange(rows * columns), observed))[:count])
            values = truth.ravel()[places]
        else:
            assert self.m is not None
            operators = standard_normals(rng, np.empty((count, *self.shape))) / math.sqrt(self.m)
            values = np.sum(operators * truth, axis=(1, 2))
        if self.noise:
            values = values + self.noise * rng.standard_normal(count)
        if isinstance(problem, MatrixCompletion):
            where = np.divmod(places, self.shape[1])
            return MatrixCompletion(self.shape, *where, values, truth=truth, normalization="mean", warn=False)
        return MatrixSensing(operators, values, truth=truth, normalization="mean")
