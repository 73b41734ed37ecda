"""What all ensembles share, and how they draw vectors, frames and spectra."""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.checks import FloatArray, as_count, as_floats, as_number, brief_repr, frozen, one_of, shown
from fastflow.equality import by_value
from fastflow.problems import Problem
from fastflow.streams import Key


@by_value()
class Ensemble(ABC):
    """A distribution of problems.

    Each is a frozen dataclass whose fields may be axes of a `fastflow.Study`; `Custom` takes a function of yours.

    Examples
    --------
    >>> ff.ensembles.Sparse(n=20).names[:3]
    ('n', 'm', 'sparsity')
    """

    unknown: ClassVar[str] = "W"
    """How the unknown of its problems is called, W or x, from which a study takes its default network."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its parameters, each of which may be an axis of a study."""
        assert dataclasses.is_dataclass(self)
        return tuple(field.name for field in dataclasses.fields(self) if field.init)

    def replaced(self, **changes: object) -> Self:
        """The ensemble with other values of some parameters, by name.

        Raises
        ------
        ValueError, TypeError
            for values that are wrong
        """
        assert dataclasses.is_dataclass(self)
        return dataclasses.replace(self, **changes)

    def check(self) -> None:  # noqa: B027, since not every ensemble can lack something
        """Raise `ValueError` where a parameter is still missing that may be left to an axis of a study."""

    @abstractmethod
    def key(self) -> tuple[Key, ...]:
        """The values that decide what is drawn: two ensembles of one key draw alike.

        Raises
        ------
        ValueError
            where one is still missing
        """

    @abstractmethod
    def form(self) -> tuple[Key, ...]:
        """The values that decide the class and the shape of the problems that are drawn.

        Of ensembles of one class and form a network, an init and a method take either all problems or none, so a study
        asks these about one problem of each form.
        """

    @classmethod
    def program(cls, parameters: Mapping[str, object]) -> str | None:
        """The convex program whose statistical dimension such problems have, see `fastflow.studies.predictions`.

        Parameters
        ----------
        parameters : name -> value, of an ensemble of this class

        Returns
        -------
        "l1", "nuclear" or None
        """
        return None

    @property
    def entries(self) -> int:
        """About how many numbers a problem is, in memory; 0 where nobody knows."""
        return 0

    @property
    def system_shape(self) -> tuple[int, int] | None:
        """The shape (m, n) of A where problems are systems ``A x = y`` that `fill` draws into arrays, else None."""
        return None

    @property
    def rows_independent(self) -> bool:
        """Whether the rows of a system's A are independent for all that is known, if they are no more than columns."""
        return False

    def fill(
        self, rng: np.random.Generator, matrix: NDArray[np.float64], values: FloatArray, truth: FloatArray
    ) -> None:
        """Draw a system into arrays: what `draw` would make an object of, at a fraction of the cost.

        Parameters
        ----------
        rng : numpy.random.Generator
        matrix : array (m, n), set to A
        values : array (m,), set to y
        truth : array (n,) of zeros, set to x

        Raises
        ------
        TypeError
            for an ensemble that has no `system_shape`
        """
        raise TypeError(f"{type(self).__name__} does not draw into arrays")

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> Problem:
        """A problem with its truth, of which each call draws another.

        Parameters
        ----------
        rng : numpy.random.Generator

        Raises
        ------
        ValueError
            where a parameter is still missing
        """

    @property
    def test_size(self) -> int:
        """How many measurements a problem's test has, which are held out of it; 0 for none."""
        return 0

    def draw_test(self, rng: np.random.Generator, problem: Problem, drawn: np.random.Generator) -> Problem:
        """Measurements of the same unknown as a problem's that are held out of it, by ``normalization="mean"``.

        Parameters
        ----------
        rng : numpy.random.Generator, of a stream of their own: nothing else changes where a test is drawn
        problem : as `draw` gives it
        drawn : numpy.random.Generator, as `draw` was given it, for what the problem does not tell

        Raises
        ------
        TypeError
            for an ensemble that holds nothing out
        """
        raise TypeError(f"{type(self).__name__} holds no measurements out")

    def __repr__(self) -> str:
        return brief_repr(self)

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def _counts(self, least: int = 1, **fields: object) -> None:
        self._set(**{name: None if value is None else as_count(name, value, least) for name, value in fields.items()})

    def _required(self, **fields: object) -> None:
        for name, value in fields.items():
            if value is None:
                raise ValueError(f"{type(self).__name__} needs {name}, or a study with an axis of that name")


SPECTRA = ("gaussian", "power", "flat")


def digest(array: FloatArray) -> str:
    """A key for an array that a user gave: a digest of its shape and its float64 entries."""
    data = np.ascontiguousarray(array, "<f8")
    return hashlib.blake2b(repr(data.shape).encode() + data.tobytes(), digest_size=16).hexdigest()


def as_spectrum(spectrum: str | ArrayLike, decay: float) -> tuple[str | FloatArray, float]:
    """A spectrum by name, or singular values (rank,), largest first; and the decay of the power law."""
    decay = as_number("decay", decay, least=0)
    if isinstance(spectrum, str):
        return one_of("spectrum", spectrum, SPECTRA), decay
    values = as_floats("spectrum", spectrum, 1).astype(np.float64)
    if values.min() <= 0 or np.any(np.diff(values) > 0):
        raise ValueError(
            f"spectrum must be one of {SPECTRA}, or singular values > 0, largest first, got {shown(values)}"
        )
    return frozen(values), decay


def spectrum_key(spectrum: str | ArrayLike, decay: float) -> tuple[Key, ...]:
    """The part of a spectrum in a key."""
    if not isinstance(spectrum, str):
        return ("given", digest(np.asarray(spectrum)))
    return (spectrum, decay) if spectrum == "power" else (spectrum,)


def sizes_of(spectrum: str | ArrayLike, decay: float, rank: int) -> FloatArray:
    """Singular values (rank,) of a spectrum other than the Gaussian one."""
    if not isinstance(spectrum, str):
        return np.asarray(spectrum)
    return np.arange(1.0, rank + 1) ** (-decay if spectrum == "power" else 0.0)


def frame(rng: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Orthonormal columns (rows, columns) from the Haar measure."""
    q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
    directed: FloatArray = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    return directed


def low_rank_matrix(
    rng: np.random.Generator,
    shape: Sequence[int],
    rank: int,
    spectrum: str | ArrayLike,
    decay: float,
    symmetric: bool = False,
) -> FloatArray:
    """``U V^T`` of Gaussian factors, or singular values between Haar frames; ``V = U`` if symmetric."""
    rows, columns = shape
    if isinstance(spectrum, str) and spectrum == "gaussian":
        factor = rng.standard_normal((rows, rank))
        return factor @ (factor if symmetric else rng.standard_normal((columns, rank))).T
    left = frame(rng, rows, rank)
    right = left if symmetric else frame(rng, columns, rank)
    return (left * sizes_of(spectrum, decay, rank)) @ right.T
