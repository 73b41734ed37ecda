"""Convolutions: rows of a circulant matrix."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from fastflow.checks import FloatArray, as_floats
from fastflow.operators.base import Operator, as_rows


class Circulant(Operator):
    """Rows of the circulant matrix ``C_kj = kernel_{(k - j) mod n}``: samples of a circular convolution with a kernel.

    Parameters
    ----------
    kernel : array (n,), the first column of C
    rows : int array (m,) or None, the entries of the convolution that are measured, no two equal; None for all

    Raises
    ------
    TypeError, ValueError
        for a kernel that is no vector of finite numbers, and rows that are none of C, or given twice

    Examples
    --------
    >>> A = ff.operators.Circulant([1.0, 2.0, 0.0])
    >>> (A @ [1.0, 0.0, 0.0]).round(12).tolist()
    [1.0, 2.0, 0.0]
    """

    is_complex = False

    def __init__(self, kernel: ArrayLike, rows: ArrayLike | None = None) -> None:
        self.kernel = as_floats("kernel", kernel, 1).astype(np.float64)
        self.kernel.flags.writeable = False
        n = self.kernel.size
        self.places = as_rows(np.arange(n) if rows is None else rows, n)
        self.shape = len(self.places), n
        self._spectrum = np.fft.rfft(self.kernel)

    @property
    def flops(self) -> int:
        n = self.shape[1]
        return int(5 * n * math.log2(max(n, 2)))

    def forward(self, vectors: FloatArray) -> FloatArray:
        from scipy import fft

        spectrum = fft.rfft(vectors)
        spectrum *= self._spectrum.astype(spectrum.dtype, copy=False)
        return np.take(fft.irfft(spectrum, self.shape[1]), self.places, axis=1)

    def adjoint(self, residuals: FloatArray) -> FloatArray:
        from scipy import fft

        spread = np.zeros((len(residuals), self.shape[1]), residuals.dtype)
        spread[:, self.places] = residuals
        spectrum = fft.rfft(spread)
        spectrum *= self._spectrum.conj().astype(spectrum.dtype, copy=False)
        return fft.irfft(spectrum, self.shape[1])
