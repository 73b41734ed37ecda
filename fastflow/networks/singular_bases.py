"""Singular bases of a matrix W, in which the metric of the balanced flow of W and its inverse ``A_W`` are diagonal.

The eigenvalue of ``A_W`` on ``u_r v_s^T`` is

    lambda_rs = sum_{j=1}^N s_r^{2(N-j)/N} s_s^{2(j-1)/N},

where a singular value that is missing (W has no more columns, or rows) counts as 0, and the power 0 is 1 also at 0. The
sum has no cancellation, unlike ``(s_r^2 - s_s^2) / (s_r^{2/N} - s_s^{2/N})``, which it equals. Powers are taken of the
singular values of W: through ``eigh`` of ``W^T W`` a round-off eigenvalue 1e-16 would become 5e-6 at power 1/3. What is
below the round-off of the largest one is 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastflow.checks import FloatArray


class SingularBases(NamedTuple):
    """Full singular bases of matrices W (..., d_N, d_0), and the eigenvalues of ``A_W`` there.

    Attributes
    ----------
    left : array (..., d_N, d_N), u_r its columns
    right : array (..., d_0, d_0), v_s^T its rows
    eigenvalues : array (..., d_N, d_0)
    normal : bool array (..., d_N, d_0)
        Whether ``u_r v_s^T`` is normal to the matrices of the rank of W: both singular values are 0.
    """

    left: FloatArray
    right: FloatArray
    eigenvalues: FloatArray
    normal: NDArray[np.bool_]

    def scale(self, direction: FloatArray, by: FloatArray | NDArray[np.bool_]) -> FloatArray:
        """Every component of a direction (..., d_N, d_0) in these bases times its entry of ``by``."""
        components = np.swapaxes(self.left, -1, -2) @ direction @ np.swapaxes(self.right, -1, -2)
        scaled: FloatArray = self.left @ (components * by) @ self.right
        return scaled


def singular_bases(product: FloatArray, depth: int) -> SingularBases:
    """The `SingularBases` of matrices W (..., d_N, d_0) that are a product of ``depth`` factors."""
    left, values, right = np.linalg.svd(product)
    rows, columns = product.shape[-2:]
    floor = max(rows, columns) * np.finfo(values.dtype).eps * values[..., :1]
    roots = np.where(values > floor, values, 0) ** (2 / depth)
    first, second = _padded(roots, rows), _padded(roots, columns)
    return SingularBases(left, right, *eigenvalues(first, second, depth))


def eigenvalues(first: FloatArray, second: FloatArray, depth: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """``sum_j first_r^{N-j} second_s^{j-1}`` of arrays (..., rows) and (..., columns), and where both are 0."""
    first, second = first[..., :, None], second[..., None, :]
    total, power = np.ones(np.broadcast_shapes(first.shape, second.shape)), np.ones_like(second)
    for _ in range(depth - 1):
        power = power * second
        total = total * first + power
    return total, (first == 0) & (second == 0)


def _padded(values: FloatArray, size: int) -> FloatArray:
    padded = np.zeros((*values.shape[:-1], size))
    padded[..., : values.shape[-1]] = values
    return padded
