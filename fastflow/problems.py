"""Problems: what is observed of a matrix W, and the loss ``1/2 sum r_i^2`` of the residuals.

A problem is a frozen dataclass, checked when it is made. It knows its own loss and gradient in plain NumPy
(``loss(W)``, ``gradient(W)``), its Gauss-Newton operator, and how to hand itself, alone or in a list, to the compiled
kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow import kernels
from fastflow.checks import FloatArray, as_count, as_floats, frozen, one_of, shown

NORMALIZATIONS = ("sum", "mean")


@dataclass(frozen=True, eq=False, kw_only=True)
class MatrixProblem:
    """What the matrix problems share: the shape of W, the truth, the normalization of the loss.

    Attributes
    ----------
    truth : array (d_N, d_0) or None
        The matrix that errors are measured against; never used for training.
    normalization : "sum" or "mean"
        The loss is ``1/2 sum r_i^2``, or ``1/m sum r_i^2`` over the m residuals.
    """

    truth: ArrayLike | None = None
    normalization: str = "sum"

    name: ClassVar[str]

    if TYPE_CHECKING:  # a field in one subclass, so it must not be an attribute of this class

        @property
        def shape(self) -> tuple[int, int]:
            """The shape (d_N, d_0) of W."""

    @property
    def residual_count(self) -> int:
        """The number m of residuals."""
        raise NotImplementedError

    @property
    def weight(self) -> float:
        """The loss over ``1/2 sum r_i^2``: 1, or 2/m with ``normalization="mean"``."""
        return 1.0 if self.normalization == "sum" else 2.0 / self.residual_count

    def residual(self, product: ArrayLike) -> FloatArray:
        """The residuals r at W = ``product`` (d_N, d_0), as one vector (m,)."""
        raise NotImplementedError

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        """``M^T M Z`` for a direction Z (d_N, d_0), where M is the derivative of the residuals by W."""
        raise NotImplementedError

    def estimate(self) -> FloatArray:
        """An estimate of W from the data alone, (d_N, d_0), of any rank."""
        raise NotImplementedError

    def expected_solution(self, rank: int) -> FloatArray:
        """`estimate` cut to a rank, (d_N, d_0): what the default step is sized for."""
        left, values, right = np.linalg.svd(self.estimate().astype(np.float64), full_matrices=False)
        solution: FloatArray = (left[:, :rank] * values[:rank]) @ right[:rank]
        return solution

    def gradient(self, product: ArrayLike) -> FloatArray:
        """The gradient of the loss by W at W = ``product``, (d_N, d_0)."""
        raise NotImplementedError

    def loss(self, product: ArrayLike) -> float:
        """The loss at W = ``product``."""
        return 0.5 * self.weight * float(np.sum(self.residual(product) ** 2))

    @property
    def loss_flops(self) -> int:
        """Floating-point operations of one loss with its gradient by W, those of products only."""
        return 0

    @classmethod
    def kernel_data(cls, problems: Sequence[Any], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        """The problems, all of this class and one shape, as the NamedTuple of arrays that the kernels take.

        ``shared`` says that the one problem given is everybody's: data that all runs read may then be laid out for
        that.
        """
        raise NotImplementedError

    def _set(self, **fields: Any) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, frozen(value) if isinstance(value, np.ndarray) else value)

    def _check_common(self) -> None:
        one_of("normalization", self.normalization, NORMALIZATIONS)
        if self.truth is not None:
            truth = as_floats("truth", self.truth, 2)
            if truth.shape != self.shape:
                raise ValueError(f"truth must have the shape {self.shape} of W, got {truth.shape}")
            if not truth.any():
                raise ValueError("truth is the zero matrix: no error is relative to it")
            self._set(truth=truth)

    def _matrix(self, product: ArrayLike) -> FloatArray:
        matrix = np.asarray(product)
        if matrix.shape != self.shape:
            raise ValueError(f"W must have shape {self.shape}, got {matrix.shape}")
        return matrix


def _stack(arrays: Sequence[FloatArray], dtype: DTypeLike) -> FloatArray:
    """The arrays flat, one row each, C-contiguous in ``dtype``."""
    return np.ascontiguousarray([np.ascontiguousarray(a, dtype=dtype).ravel() for a in arrays])


@dataclass(frozen=True, eq=False)
class MatrixEstimation(MatrixProblem):
    """All of a matrix is observed: ``1/2 ||W - target||_F^2``.

    Parameters
    ----------
    target : array (d_N, d_0)
    """

    target: FloatArray
    name: ClassVar[str] = "estimation"

    def __post_init__(self) -> None:
        self._set(target=as_floats("target", self.target, 2))
        self._check_common()

    @property
    def shape(self) -> tuple[int, int]:
        return self.target.shape[0], self.target.shape[1]

    @property
    def residual_count(self) -> int:
        return self.target.size

    def residual(self, product: ArrayLike) -> FloatArray:
        return (self._matrix(product) - self.target).ravel()

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * (self._matrix(product) - self.target)

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return direction

    def estimate(self) -> FloatArray:
        return self.target

    @classmethod
    def kernel_data(cls, problems: Sequence[MatrixEstimation], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        return kernels.Estimation(_stack([p.target for p in problems], dtype))


@dataclass(frozen=True, eq=False)
class MatrixCompletion(MatrixProblem):
    """Some entries are observed: ``1/2 sum (W[row, col] - value)^2``.

    Parameters
    ----------
    shape : (d_N, d_0), the shape of W
    rows, cols : integer arrays (m,), each place at most once
    values : array (m,)
    """

    shape: tuple[int, int]
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]
    values: FloatArray
    name: ClassVar[str] = "completion"

    def __post_init__(self) -> None:
        shape = tuple(np.atleast_1d(self.shape).tolist())
        if len(shape) != 2 or any(not isinstance(d, int) or d < 1 for d in shape):
            raise ValueError(f"shape must be two positive integers, got {shown(self.shape)}")
        if np.size(self.values) == 0:
            raise ValueError("no entry is observed: rows, cols and values are empty")
        values = as_floats("values", self.values, 1)
        places = {}
        for axis, (name, size) in enumerate((("rows", shape[0]), ("cols", shape[1]))):
            index = np.asarray((self.rows, self.cols)[axis])
            if index.dtype.kind not in "iu":
                raise TypeError(f"{name} must be integers, got dtype {index.dtype}")
            if index.shape != values.shape:
                raise ValueError(f"{name} must have the shape {values.shape} of values, got {index.shape}")
            if index.min() < 0 or index.max() >= size:
                outside = index[(index < 0) | (index >= size)][0]
                raise ValueError(f"{name} must be in 0 .. {size - 1}, got {outside}")
            places[name] = index.astype(np.int64)
        self._set(shape=shape, values=values, **places)
        entries, counts = np.unique(self._entries(), return_counts=True)
        if counts.max() > 1:
            row, col = divmod(int(entries[counts > 1][0]), shape[1])
            raise ValueError(f"entry ({row}, {col}) is observed {counts.max()} times; each may be given once")
        self._check_common()

    @classmethod
    def from_dense(cls, matrix: ArrayLike, **options: Any) -> MatrixCompletion:
        """From a matrix (d_N, d_0) whose unobserved entries are NaN."""
        dense = as_floats("matrix", matrix, 2, nan_allowed=True)
        rows, cols = np.nonzero(~np.isnan(dense))
        if rows.size == 0:
            raise ValueError("no entry is observed: every entry of the matrix is NaN")
        return cls((dense.shape[0], dense.shape[1]), rows, cols, dense[rows, cols], **options)

    def _entries(self) -> NDArray[np.int64]:
        return self.rows * self.shape[1] + self.cols

    @property
    def residual_count(self) -> int:
        return self.values.size

    def residual(self, product: ArrayLike) -> FloatArray:
        return self._matrix(product)[self.rows, self.cols] - self.values

    def _scatter(self, values: FloatArray) -> FloatArray:
        dense = np.zeros(self.shape, values.dtype)
        dense[self.rows, self.cols] = values
        return dense

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * self._scatter(self.residual(product))

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return self._scatter(direction[self.rows, self.cols])

    def estimate(self) -> FloatArray:
        """The observed entries over the observed fraction: unbiased when entries are missing at random."""
        return self._scatter(self.values) * (self.shape[0] * self.shape[1] / self.values.size)

    @classmethod
    def kernel_data(cls, problems: Sequence[MatrixCompletion], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        return kernels.Completion(
            np.concatenate([p._entries() for p in problems]),
            np.concatenate([p.values for p in problems]).astype(dtype),
            np.cumsum([0] + [p.values.size for p in problems], dtype=np.int64),
        )


@dataclass(frozen=True, eq=False)
class MatrixSensing(MatrixProblem):
    """Linear measurements are observed: ``1/2 sum (<A_i, W> - values_i)^2``.

    Parameters
    ----------
    operators : array (m, d_N, d_0)
    values : array (m,)
    """

    operators: FloatArray
    values: FloatArray
    name: ClassVar[str] = "sensing"

    def __post_init__(self) -> None:
        operators, values = as_floats("operators", self.operators, 3), as_floats("values", self.values, 1)
        if values.shape != operators.shape[:1]:
            raise ValueError(f"values must have one entry for each of {len(operators)} operators, got {values.shape}")
        self._set(operators=operators, values=values)
        self._check_common()

    @property
    def shape(self) -> tuple[int, int]:
        return self.operators.shape[1], self.operators.shape[2]

    @property
    def residual_count(self) -> int:
        return self.values.size

    def _flat(self) -> FloatArray:
        return self.operators.reshape(len(self.operators), -1)

    def residual(self, product: ArrayLike) -> FloatArray:
        return self._flat() @ self._matrix(product).ravel() - self.values

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * (self.residual(product) @ self._flat()).reshape(self.shape)

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return ((self._flat() @ direction.ravel()) @ self._flat()).reshape(self.shape)

    def estimate(self) -> FloatArray:
        """``sum values_i A_i`` over ``sum ||A_i||^2 / (d_N d_0)``: unbiased for operators with independent entries."""
        scale = self.shape[0] * self.shape[1] / max(float(np.sum(self.operators**2)), np.finfo(float).tiny)
        return scale * (self.values @ self._flat()).reshape(self.shape)

    @property
    def loss_flops(self) -> int:
        return 4 * self.operators.size

    @classmethod
    def kernel_data(cls, problems: Sequence[MatrixSensing], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        if shared:
            (problem,) = problems
            return kernels.SharedSensing(problem.operators.astype(dtype).ravel(), problem.values.astype(dtype))
        return kernels.Sensing(
            _stack([p.operators for p in problems], dtype), _stack([p.values for p in problems], dtype)
        )


@dataclass(frozen=True, eq=False)
class LinearRegression(MatrixProblem):
    """Outputs are linear in inputs: ``1/2 ||W X - Y||_F^2``, one sample a column. `autoencoder` is the case Y = X.

    Parameters
    ----------
    inputs : array (d_0, samples), X
    outputs : array (d_N, samples), Y
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
    def autoencoder(cls, inputs: ArrayLike, **options: Any) -> LinearRegression:
        """``1/2 ||W X - X||_F^2`` for X (d_0, samples)."""
        array = as_floats("inputs", inputs, 2)
        return cls(array, array, **options)

    @property
    def shape(self) -> tuple[int, int]:
        return self.outputs.shape[0], self.inputs.shape[0]

    @property
    def residual_count(self) -> int:
        return self.outputs.size

    def residual(self, product: ArrayLike) -> FloatArray:
        return (self._matrix(product) @ self.inputs - self.outputs).ravel()

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * (self._matrix(product) @ self.inputs - self.outputs) @ self.inputs.T

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return (direction @ self.inputs) @ self.inputs.T

    def estimate(self) -> FloatArray:
        """The least-squares solution of least norm."""
        solution: FloatArray = np.linalg.lstsq(self.inputs.T, self.outputs.T, rcond=None)[0].T
        return solution

    def expected_solution(self, rank: int) -> FloatArray:
        """The least-squares solution of a rank: `estimate` projected on the leading left singular vectors of W X."""
        solution = self.estimate().astype(np.float64)
        leading = np.linalg.svd(solution @ self.inputs, full_matrices=False)[0][:, :rank]
        return leading @ (leading.T @ solution)

    @property
    def prefers_gram(self) -> bool:
        """Whether one product with ``X X^T`` (d_0^2 d_N) costs less than two with X (2 d_0 d_N samples)."""
        return self.inputs.shape[0] < 2 * self.inputs.shape[1]

    @property
    def loss_flops(self) -> int:
        return 2 * self.shape[0] * self.shape[1] * min(self.shape[1], 2 * self.inputs.shape[1])

    @classmethod
    def kernel_data(cls, problems: Sequence[LinearRegression], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        if not all(p.prefers_gram for p in problems):
            if len({p.inputs.shape[1] for p in problems}) > 1:
                raise ValueError("problems in one list must have the same number of samples")
            kind = kernels.SharedSamples if shared else kernels.RegressionBySamples
            return kind(_stack([p.inputs for p in problems], dtype), _stack([p.outputs for p in problems], dtype))
        centres, grams, offsets, floors = [], [], [], []
        for problem in problems:
            inputs, outputs = problem.inputs.astype(np.float64), problem.outputs.astype(np.float64)
            # A centre of moderate size, whatever the conditioning: weak directions stay in the offset.
            centre = np.linalg.lstsq(inputs.T, outputs.T, rcond=1e-5)[0].T
            rest = outputs - centre @ inputs
            centres.append(centre)
            grams.append(inputs @ inputs.T)
            offsets.append(rest @ inputs.T)
            floors.append([0.5 * np.sum(rest**2)])
        return kernels.RegressionByGram(
            _stack(centres, dtype), _stack(grams, dtype), _stack(offsets, dtype), np.array(floors, dtype)
        )


@dataclass(frozen=True, eq=False)
class CustomProblem(MatrixProblem):
    """A problem of your own, whose loss and gradient `fastflow.kernels.add_problem` has been taught.

    Parameters
    ----------
    shape : (d_N, d_0), the shape of W
    data : the NamedTuple of arrays of the problem

    Notes
    -----
    ``tol``, records and all else mean what they do elsewhere; ``GradientDescent`` needs a step, as nothing is known of
    the Hessian. ``normalization`` does not apply: the loss is what your formula returns.
    """

    shape: tuple[int, int]
    data: Any
    name: ClassVar[str] = "custom"

    def __post_init__(self) -> None:
        if not kernels.has_formula(type(self.data)):
            raise TypeError(
                f"no formula is known for {type(self.data).__name__}: register it with fastflow.kernels.add_problem"
            )
        if self.normalization != "sum":
            raise ValueError("a CustomProblem has the loss that its formula returns: normalization must be 'sum'")
        self._set(shape=(as_count("shape[0]", self.shape[0], 1), as_count("shape[1]", self.shape[1], 1)))
        self._check_common()

    def estimate(self) -> FloatArray:
        raise ValueError("nothing is known of the solution of a CustomProblem: give a step")

    @classmethod
    def kernel_data(cls, problems: Sequence[CustomProblem], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        kind = type(problems[0].data)
        fields = zip(*(problem.data for problem in problems), strict=True)
        data: NamedTuple = kind(*(_stack_fields(field, dtype) for field in fields))
        return data


def _stack_fields(arrays: Sequence[ArrayLike], dtype: DTypeLike) -> NDArray[Any]:
    """The arrays along a new first axis; real numbers in ``dtype``, integers as they are."""
    stacked = np.stack([np.asarray(array) for array in arrays])
    return np.ascontiguousarray(stacked, dtype if stacked.dtype.kind == "f" else None)


Problem = MatrixEstimation | MatrixCompletion | MatrixSensing | LinearRegression | CustomProblem
"""Any of the problems of this module."""
