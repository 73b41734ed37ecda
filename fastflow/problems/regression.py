"""Regression: outputs are linear in inputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.checks import FloatArray, as_floats, one_of
from fastflow.kernels.losses.regression import RegressionBySamples, SharedSamples
from fastflow.problems.base import MatrixProblem, stacked, stacked_bytes
from fastflow.problems.compressed import CompressedSensing
from fastflow.problems.gram import gram_bytes, is_small_beside, regression_by_gram
from fastflow.problems.least_squares import fitted, singular_values, solve_least_squares
from fastflow.problems.minimum import Minimum, minimum_over_rank
from fastflow.problems.reduced import reduced

ROWS, COLUMNS = "rows", "columns"
SAMPLES = (ROWS, COLUMNS)
"""Along which axis of a table samples lie one after the other."""


class Orientation(NamedTuple):
    """How tables of samples lie.

    Attributes
    ----------
    samples : "rows" or "columns", what samples are
    reason : how that was found out where nobody said it, in words; empty where there is nothing to say
    open : whether the other one would have been possible
    """

    samples: str
    reason: str = ""
    open: bool = False


def orientation(samples: str | None, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Orientation:
    """How inputs and outputs of such shapes lie: as they were said to, else as their shapes allow, else in columns.

    Raises
    ------
    ValueError
        for another word, and for numbers of samples that differ
    """
    if samples is not None:
        axis = SAMPLES.index(one_of("samples", samples, SAMPLES))
        if inputs[axis] != outputs[axis]:
            other = SAMPLES[1 - axis]
            hint = f"; if samples are {other}: samples={other!r}" if inputs[1 - axis] == outputs[1 - axis] else ""
            raise ValueError(
                f"inputs and outputs must have one {samples[:-1]} a sample, got {inputs[axis]} and {outputs[axis]} "
                f"{samples} (shapes {inputs}, {outputs}){hint}"
            )
        return Orientation(samples)
    if inputs == outputs:
        reason = f"both axes of the {inputs[0]} x {inputs[1]} tables could be samples: columns are taken for them"
        return Orientation(COLUMNS, reason, open=True)
    if inputs[0] == outputs[0]:
        return Orientation(ROWS, f"samples are the {inputs[0]} rows, since only their numbers agree")
    return orientation(COLUMNS, inputs, outputs)


@dataclass(frozen=True, eq=False, repr=False)
class LinearRegression(MatrixProblem):
    """Outputs are linear in inputs: ``1/2 ||W X - Y||_F^2``, one sample a column. `autoencoder` is the case Y = X.

    Parameters
    ----------
    inputs : array (d_0, samples), X; with samples as rows (samples, d_0)
    outputs : array (d_N, samples), Y; with samples as rows (samples, d_N)
    truth : array (d_N, d_0) or None, what errors are measured against
    test : problem of the same unknown, or None: measurements that are held out (`Problem.hold_out`)
    normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum
    samples : "columns", "rows", or None
        What samples are in the tables that are given. None is columns, as in ``W X``, or rows where these alone agree
        in number. The problem keeps its tables with samples as columns.

    Raises
    ------
    ValueError, TypeError
        for shapes that do not match, and entries that are not finite real numbers

    Warns
    -----
    UserWarning
        with ``samples=None`` where the shapes leave it open, or say that samples are rows

    Notes
    -----
    With one output it also combines with a DiagonalLinear network, whose x is the one row of W.

    Examples
    --------
    >>> inputs = np.eye(3)
    >>> problem = ff.LinearRegression(inputs, 2 * inputs, samples="columns")
    >>> problem.shape, problem.loss(2 * np.eye(3))
    ((3, 3), 0.0)
    """

    inputs: FloatArray
    outputs: FloatArray
    _: KW_ONLY
    samples: str | None = field(default=None, repr=False)
    name: ClassVar[str] = "regression"
    knows_minimum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        inputs, outputs = as_floats("inputs", self.inputs, 2), as_floats("outputs", self.outputs, 2)
        found = orientation(self.samples, inputs.shape, outputs.shape)
        if found.reason:
            _say(found.reason, stacklevel=4)
        if found.samples == ROWS:
            inputs, outputs = inputs.T, outputs.T
        self._set(inputs=inputs, outputs=outputs, samples=COLUMNS)
        self._check_common()

    @classmethod
    def autoencoder(
        cls,
        inputs: ArrayLike,
        *,
        truth: ArrayLike | None = None,
        normalization: str = "sum",
        samples: str | None = None,
    ) -> LinearRegression:
        """``1/2 ||W X - X||_F^2``, where the outputs are the inputs.

        Parameters
        ----------
        inputs : array (d_0, samples), X; with samples as rows (samples, d_0)
        truth : array (d_0, d_0) or None, what errors are measured against
        normalization : "sum", or "mean" for the mean of the squared residuals instead of half their sum
        samples : "columns", "rows", or None
            What samples are in the table; None is columns, with a warning, since no shape can tell.

        Returns
        -------
        LinearRegression
        """
        array = as_floats("inputs", inputs, 2)
        found = orientation(samples, array.shape, array.shape)
        if found.reason:
            _say(found.reason, stacklevel=3)
        return cls(array, array, truth=truth, normalization=normalization, samples=found.samples)

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
        return (self._of_shape(direction, "direction") @ self.inputs) @ self.inputs.T

    def explained(self, residual: FloatArray) -> FloatArray:
        return fitted(self.inputs.T, self._residuals(residual).reshape(self.outputs.shape).T).T.ravel()

    def estimate(self) -> FloatArray:
        """The least-squares solution of least norm."""
        return solve_least_squares(self.inputs.T, self.outputs.T)[0].T

    @property
    def estimate_flops(self) -> int:
        return 4 * self.entries_count * min(self.inputs.shape)

    def expected_solution(self, rank: int) -> FloatArray:
        """The least-squares solution of a rank: `estimate` projected on the leading left singular vectors of W X."""
        solution = self.estimate().astype(np.float64)
        leading = np.linalg.svd(solution @ self._condensed()[0], full_matrices=False)[0][:, :rank]
        return leading @ (leading.T @ solution)

    def spectrum(self) -> FloatArray | None:
        """The singular values of X, each d_N times; None of fewer samples than inputs have entries."""
        if self.inputs.shape[1] < self.inputs.shape[0]:
            return None
        return singular_values(self.inputs.T)

    def _condensed(self) -> tuple[FloatArray, FloatArray, float]:
        """Inputs and outputs of no more samples than inputs have entries, and a number: the loss, up to its weight.

        That is ``1/2 (||W X' - Y'||^2 + rest)``; X' has the left singular vectors and values of X.
        """
        if self.inputs.shape[1] <= self.inputs.shape[0]:
            return self.inputs.astype(np.float64), self.outputs.astype(np.float64), 0.0
        root, seen, rest = reduced(self.inputs.T, self.outputs.T)
        return root.T, seen.T, rest

    def minimum(self, rank: int) -> Minimum:
        """With ``X = U S V^T``: of ``||W U S - Y V||_F^2``, and of what Y is outside of the rows of X."""
        inputs, outputs, rest = self._condensed()
        left, values, right = np.linalg.svd(inputs, full_matrices=False)
        known = values > max(self.inputs.shape) * np.finfo(float).eps * values[0]
        left, values, right = left[:, known], values[known], right[known]
        seen = outputs @ right.T
        rest += float(np.sum((outputs - seen @ right) ** 2))
        return minimum_over_rank(seen, (left / values).T, rest, self.weight, rank)

    def of_vector(self) -> CompressedSensing:
        """With one output: A is X^T, y the output, x the one row of W."""
        if len(self.outputs) > 1:
            raise ValueError(
                f"a DiagonalLinear network factors a vector, so it needs LinearRegression with one output, got "
                f"{len(self.outputs)} outputs; a DeepLinear network takes any number"
            )
        truth = None if self.truth is None else np.ravel(self.truth)
        test = None if self.test is None else self.test.of_vector()
        return CompressedSensing(
            self.inputs.T, self.outputs[0], truth=truth, normalization=self.normalization, test=test
        )

    def _part(self, samples: NDArray[np.int64]) -> Self:
        return replace(self, inputs=self.inputs[:, samples], outputs=self.outputs[:, samples])

    @property
    def sample_count(self) -> int:
        return self.inputs.shape[1]

    @classmethod
    def kernel_samples(cls, problems: Sequence[Self], dtype: DTypeLike) -> NamedTuple:
        if len({p.inputs.shape[1] for p in problems}) > 1:
            raise ValueError("problems in one list must have the same number of samples")
        return RegressionBySamples(
            stacked([p.inputs for p in problems], dtype), stacked([p.outputs for p in problems], dtype)
        )

    @property
    def prefers_gram(self) -> bool:
        """Whether one product with ``X X^T`` (d_0^2 d_N) costs less than two with X (2 d_0 d_N samples).

        Of a large X it is made where it, and its root, are small beside X.
        """
        return self.inputs.shape[0] < 2 * self.inputs.shape[1] and is_small_beside(self.inputs.T)

    @property
    def loss_flops(self) -> int:
        size, samples = self.inputs.shape
        return 2 * len(self.outputs) * size * (size if self.prefers_gram else 2 * samples)

    @classmethod
    def examples(cls, width: int) -> Sequence[Self | list[Self]]:
        square, column = np.ones((width, width)), np.ones((width, 1))
        return cls(square, square, samples=COLUMNS), cls(column, column, samples=COLUMNS)

    @classmethod
    def kernel_bytes(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> int:
        if not all(p.prefers_gram for p in problems):
            tables = [p.inputs for p in problems], [p.outputs for p in problems]
            return sum(stacked_bytes(table, dtype) for table in tables)
        return gram_bytes([(p.inputs, p.outputs) for p in problems], dtype)

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        if not all(p.prefers_gram for p in problems):
            by_samples = cls.kernel_samples(problems, dtype)
            return SharedSamples(*by_samples) if shared else by_samples
        return regression_by_gram([(p.inputs, p.outputs) for p in problems], dtype)


def _say(reason: str, stacklevel: int) -> None:
    warnings.warn(f'{reason}; say samples="rows" or samples="columns"', stacklevel=stacklevel)
