"""What every operator brings: its shape, and its products with stacks of real vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastflow.arrays import as_array
from fastflow.checks import FloatArray, as_count, as_floats
from fastflow.equality import by_value
from fastflow.memory import require_work
from fastflow.streams import stream

PROBES = 32
"""Vectors of random signs from which the size of an operator is told."""

Entries = NDArray[np.float32 | np.float64 | np.complex64 | np.complex128]
"""Measurements, or a matrix of them."""


@by_value()
class Operator(ABC):
    """A measurement matrix A (m, n) that is known by its products.

    The unknown is real. A complex A acts in real form, as ``[Re A; Im A]``, so that what it measures is 2m numbers:
    first the real parts, then the imaginary ones.

    A subclass sets ``shape`` and ``is_complex``, and has `forward` and `adjoint`. These are called from several threads
    at once, and must give every vector of a stack the bits that it has alone.

    Attributes
    ----------
    shape : (m, n)
    is_complex : bool
    unknown_shape : (d_N, d_0) of an operator on matrices, whose rows lie one after the other; None of one on vectors

    Examples
    --------
    >>> A = ff.operators.PartialCosine(4, [0, 2])
    >>> isinstance(A, ff.operators.Operator), A.shape, A.toarray().shape
    (True, (2, 4), (2, 4))
    """

    shape: tuple[int, int]
    is_complex: bool
    unknown_shape: tuple[int, int] | None = None

    @abstractmethod
    def forward(self, vectors: FloatArray) -> FloatArray:
        """The measurements of each vector of a stack.

        Parameters
        ----------
        vectors : array (k, n), C-contiguous, float64 or float32; not to be written to

        Returns
        -------
        array (k, rows), new
        """

    @abstractmethod
    def adjoint(self, residuals: FloatArray) -> FloatArray:
        """The transpose of what `forward` does, ``Re(A^H r)``.

        Parameters
        ----------
        residuals : array (k, rows), C-contiguous, float64 or float32; may be written to

        Returns
        -------
        array (k, n)
        """

    @property
    def rows(self) -> int:
        """How many real numbers are measured: m, or 2m of a complex A."""
        return self.shape[0] * (1 + self.is_complex)

    @property
    def rank(self) -> int:
        """The rank of the real form, or what it is where no rows or columns depend on each other."""
        return min(self.rows, self.shape[1])

    @property
    def energy(self) -> float:
        """About the sum of the squares of all entries: exact for few columns, else within some percent."""
        n = self.shape[1]
        if n <= PROBES:
            return float(np.sum(self.forward(np.eye(n)) ** 2))
        probes = stream("energy", *self.shape).choice([-1.0, 1.0], (PROBES, n))
        return float(np.sum(self.forward(probes) ** 2)) / PROBES

    @property
    def flops(self) -> int:
        """Floating-point operations of one product; 0 where that is not known."""
        return 0

    @property
    def stored(self) -> int:
        """How many numbers it keeps."""
        return sum(value.size for value in vars(self).values() if isinstance(value, np.ndarray))

    def toarray(self) -> Entries:
        """All entries, complex if A is.

        Returns
        -------
        array (m, n)

        Raises
        ------
        MemoryError
            where there is no room for them
        """
        m, n = self.shape
        require_work(self.rows * n, 4, "the entries of an operator")
        columns = self.forward(np.eye(n))
        if self.is_complex:
            return np.ascontiguousarray((columns[:, :m] + 1j * columns[:, m:]).T)
        return np.ascontiguousarray(columns.T)

    def __matmul__(self, vector: ArrayLike) -> Entries:
        """``A x`` of a real vector (n,): what it measures, (m,), complex if A is."""
        x = np.ascontiguousarray(as_floats("vector", vector, 1))
        m, n = self.shape
        if x.shape != (n,):
            raise ValueError(f"vector must have {n} entries, got shape {x.shape}")
        measured = self.forward(x[None])[0]
        return measured[:m] + 1j * measured[m:] if self.is_complex else measured

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape[0]} x {self.shape[1]}>"


def as_rows(rows: ArrayLike, count: int) -> NDArray[np.int64]:
    """Which rows of a transform of so many are measured, each at most once, in the order given; read-only.

    Raises
    ------
    TypeError, ValueError
        for what are no such numbers
    """
    given = as_array("rows", rows)
    if given.ndim != 1 or given.size == 0 or given.dtype.kind not in "iu":
        raise TypeError(f"rows must be a sequence of integers, got {given.dtype} of shape {given.shape}")
    if given.min() < 0 or given.max() >= count:
        raise ValueError(f"rows must be from 0 to {count - 1}, got {given[(given < 0) | (given >= count)][0]}")
    chosen = given.astype(np.int64)
    if np.bincount(chosen).max() > 1:
        raise ValueError(f"rows must differ, got {np.argmax(np.bincount(chosen))} more than once")
    chosen.flags.writeable = False
    return chosen


def as_size(n: object) -> int:
    """The length of a vector."""
    return as_count("n", n, 1)
