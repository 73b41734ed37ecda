"""Regression: outputs are linear in inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastflow.checks import FloatArray, as_floats
from fastflow.kernels.losses.regression import RegressionBySamples, SharedSamples
from fastflow.problems.base import MatrixProblem, fitted, stacked
from fastflow.problems.compressed import CompressedSensing
from fastflow.problems.gram import regression_by_gram
from fastflow.problems.minimum import Minimum, minimum_over_rank


@dataclass(frozen=True, eq=False, repr=False)
class LinearRegression(MatrixProblem):
    """Outputs are linear in inputs: ``1/2 ||W X - Y||_F^2``, one sample a column. `autoencoder` is the case Y = X.

    Parameters
    ----------
    inputs : array (d_0, samples), X
    outputs : array (d_N, samples), Y
    truth : array (d_N, d_0) or None, what errors are measured against
    normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and entries that are not finite real numbers

    Notes
    -----
    With one output it also combines with a DiagonalLinear network, whose x is the one row of W.
    """

    inputs: FloatArray
    outputs: FloatArray
    name: ClassVar[str] = "regression"

    def __post_init__(self) -> None:
        inputs, outputs = as_floats("inputs", self.inputs, 2), as_floats("outputs", self.outputs, 2)
        if inputs.shape[1] != outputs.shape[1]:
            raise ValueError(
                "inputs and outputs must have one column a sample, "
                f"got {inputs.shape[1]} and {outputs.shape[1]} columns (shapes {inputs.shape}, {outputs.shape})"
            )
        self._set(inputs=inputs, outputs=outputs)
        self._check_common()

    @classmethod
    def autoencoder(
        cls, inputs: ArrayLike, *, truth: ArrayLike | None = None, normalization: str = "sum"
    ) -> LinearRegression:
        """``1/2 ||W X - X||_F^2``, where the outputs are the inputs.

        Parameters
        ----------
        inputs : array (d_0, samples), X
        truth : array (d_0, d_0) or None, what errors are measured against
        normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum

        Returns
        -------
        LinearRegression
        """
        array = as_floats("inputs", inputs, 2)
        return cls(array, array, truth=truth, normalization=normalization)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (d_N, d_0) of W."""
        return self.outputs.shape[0], self.inputs.shape[0]

    @property
    def residual_count(self) -> int:
        return self.outputs.size

    def residual(self, product: ArrayLike) -> FloatArray:
        return (self._of_shape(product) @ self.inputs - self.outputs).ravel()

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * (self._of_shape(product) @ self.inputs - self.outputs) @ self.inputs.T

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return (direction @ self.inputs) @ self.inputs.T

    def explained(self, residual: FloatArray) -> FloatArray:
        return fitted(self.inputs.T, residual.reshape(self.outputs.shape).T).T.ravel()

    def estimate(self) -> FloatArray:
        """The least-squares solution of least norm."""
        solution: FloatArray = np.linalg.lstsq(self.inputs.T, self.outputs.T, rcond=None)[0].T
        return solution

    def expected_solution(self, rank: int) -> FloatArray:
        """The least-squares solution of a rank: `estimate` projected on the leading left singular vectors of W X."""
        solution = self.estimate().astype(np.float64)
        leading = np.linalg.svd(solution @ self.inputs, full_matrices=False)[0][:, :rank]
        return leading @ (leading.T @ solution)

    def spectrum(self) -> FloatArray | None:
        """The singular values of X, each d_N times; None of fewer samples than inputs have entries."""
        if self.inputs.shape[1] < self.inputs.shape[0]:
            return None
        values: FloatArray = np.linalg.svd(self.inputs.astype(np.float64), compute_uv=False)
        return values

    def minimum(self, rank: int) -> Minimum:
        """With ``X = U S V^T``: of ``||W U S - Y V||_F^2``, and of what Y is outside of the rows of X."""
        inputs, outputs = self.inputs.astype(np.float64), self.outputs.astype(np.float64)
        left, values, right = np.linalg.svd(inputs, full_matrices=False)
        known = values > max(inputs.shape) * np.finfo(float).eps * values[0]
        left, values, right = left[:, known], values[known], right[known]
        seen = outputs @ right.T
        rest = float(np.sum((outputs - seen @ right) ** 2))
        return minimum_over_rank(seen, (left / values).T, rest, self.weight, rank)

    def of_vector(self) -> CompressedSensing:
        """With one output: A is X^T, y the output, x the one row of W."""
        if len(self.outputs) > 1:
            raise ValueError(
                f"a DiagonalLinear network factors a vector, so it needs LinearRegression with one output, got "
                f"{len(self.outputs)} outputs; a DeepLinear network takes any number"
            )
        truth = None if self.truth is None else np.ravel(self.truth)
        return CompressedSensing(self.inputs.T, self.outputs[0], truth=truth, normalization=self.normalization)

    @property
    def prefers_gram(self) -> bool:
        """Whether one product with ``X X^T`` (d_0^2 d_N) costs less than two with X (2 d_0 d_N samples)."""
        return self.inputs.shape[0] < 2 * self.inputs.shape[1]

    @property
    def loss_flops(self) -> int:
        return 2 * self.shape[0] * self.shape[1] * min(self.shape[1], 2 * self.inputs.shape[1])

    @classmethod
    def examples(cls, width: int) -> Sequence[Self | list[Self]]:
        square, column = np.ones((width, width)), np.ones((width, 1))
        return cls(square, square), cls(column, column)

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        if not all(p.prefers_gram for p in problems):
            if len({p.inputs.shape[1] for p in problems}) > 1:
                raise ValueError("problems in one list must have the same number of samples")
            kind = SharedSamples if shared else RegressionBySamples
            return kind(stacked([p.inputs for p in problems], dtype), stacked([p.outputs for p in problems], dtype))
        return regression_by_gram([(p.inputs, p.outputs) for p in problems], dtype)
