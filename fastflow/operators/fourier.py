"""Rows of the Fourier and of the cosine transform, by fast transforms."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray
from fastflow.operators.base import Operator, as_rows, as_size


class PartialFourier(Operator):
    """Rows of the discrete Fourier transform, ``A_kj = exp(-2 pi i rows_k j / n) / sqrt(m)``: columns have norm 1.

    Parameters
    ----------
    n : int, the length of x
    rows : int array (m,), the frequencies that are measured, from 0 to n - 1, no two equal

    Raises
    ------
    TypeError, ValueError
        for rows that are none of the transform, or given twice

    Examples
    --------
    >>> import numpy as np, fastflow as ff
    >>> A, x = ff.operators.PartialFourier(6, [0, 1, 4]), np.arange(6.0)
    >>> np.allclose(A @ x, np.fft.fft(x)[[0, 1, 4]] / np.sqrt(3))
    True
    """

    is_complex = True

    def __init__(self, n: int, rows: ArrayLike) -> None:
        n = as_size(n)
        self.frequencies = as_rows(rows, n)
        self.shape = len(self.frequencies), n
        # Of a real x the frequencies k and n - k are conjugates, so half of the spectrum tells all.
        self._folded = np.minimum(self.frequencies, n - self.frequencies)
        upper = self.frequencies > n - self.frequencies
        self._signs = np.where(upper, -1.0, 1.0)
        # Back: which measurement adds to each frequency of that half, as it is and as its conjugate, and how much. Each
        # stands for half of what irfft makes of the pair, but for frequencies that are their own conjugates.
        self._sources = np.zeros((2, n // 2 + 1), np.int64)
        self._shares = np.zeros((2, n // 2 + 1))
        for half, places in enumerate((np.flatnonzero(~upper), np.flatnonzero(upper))):
            self._sources[half, self._folded[places]] = places
            self._shares[half, self._folded[places]] = 0.5 / math.sqrt(len(upper))
        self._shares[:, [0, n // 2] if n % 2 == 0 else [0]] *= 2

    @property
    def rank(self) -> int:
        n = self.shape[1]
        real = (self._folded == 0) | (2 * self._folded == n)  # frequencies without an imaginary part
        return int(2 * len(np.unique(self._folded[~real])) + len(np.unique(self._folded[real])))

    @property
    def flops(self) -> int:
        n = self.shape[1]
        return int(2.5 * n * math.log2(max(n, 2)))

    def forward(self, vectors: FloatArray) -> FloatArray:
        from scipy import fft

        m = self.shape[0]
        spectrum = fft.rfft(vectors)
        measured = np.empty((len(vectors), 2 * m), vectors.dtype)
        scale = vectors.dtype.type(1 / math.sqrt(m))
        signs = self._signs.astype(vectors.dtype, copy=False)
        np.take(spectrum.real * scale, self._folded, axis=1, out=measured[:, :m], mode="clip")
        np.take(spectrum.imag * scale, self._folded, axis=1, out=measured[:, m:], mode="clip")
        measured[:, m:] *= signs
        return measured

    def adjoint(self, residuals: FloatArray) -> FloatArray:
        from scipy import fft

        m, n = self.shape
        spectrum = np.empty((len(residuals), n // 2 + 1), np.result_type(residuals.dtype, np.complex64))
        shares = self._shares.astype(residuals.dtype, copy=False)
        for part, given, sign in ((spectrum.real, residuals[:, :m], 1), (spectrum.imag, residuals[:, m:], -1)):
            own, conjugate = (np.take(given, places, axis=1, mode="clip") for places in self._sources)
            own *= shares[0]
            conjugate *= sign * shares[1]
            np.add(own, conjugate, out=part)
        return fft.irfft(spectrum, n, norm="forward")


class PartialCosine(Operator):
    """Rows of the orthonormal cosine transform (DCT-II) times ``sqrt(n / m)``.

    Parameters
    ----------
    n : int, the length of x
    rows : int array (m,), the frequencies that are measured, from 0 to n - 1, no two equal

    Raises
    ------
    TypeError, ValueError
        for rows that are none of the transform, or given twice

    Examples
    --------
    >>> from scipy.fft import dct
    >>> A, x = ff.operators.PartialCosine(4, [0, 2]), np.arange(4.0)
    >>> np.allclose(A @ x, dct(x, norm="ortho")[[0, 2]] * np.sqrt(2))
    True
    """

    is_complex = False

    def __init__(self, n: int, rows: ArrayLike) -> None:
        n = as_size(n)
        self.frequencies = as_rows(rows, n)
        self.shape = len(self.frequencies), n

    @property
    def flops(self) -> int:
        n = self.shape[1]
        return int(2.5 * n * math.log2(max(n, 2)))

    def _scale(self, dtype: np.dtype[np.float32 | np.float64]) -> np.float32 | np.float64:
        return dtype.type(math.sqrt(self.shape[1] / self.shape[0]))

    def forward(self, vectors: FloatArray) -> FloatArray:
        from scipy import fft

        measured: FloatArray = np.take(fft.dct(vectors, norm="ortho"), self.frequencies, axis=1)
        measured *= self._scale(vectors.dtype)
        return measured

    def adjoint(self, residuals: FloatArray) -> FloatArray:
        from scipy import fft

        spectrum = np.zeros((len(residuals), self.shape[1]), residuals.dtype)
        spectrum[:, self.frequencies] = residuals
        spectrum *= self._scale(residuals.dtype)
        return fft.idct(spectrum, norm="ortho", overwrite_x=True)
