"""What all problems share: the shape of the unknown, the truth, the normalization of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.arrays import as_real
from fastflow.checks import FloatArray, Seed, as_count, as_floats, as_seed, brief_repr, frozen, kind_of, one_of
from fastflow.equality import by_value
from fastflow.kernels.losses.shared_matrix import stays
from fastflow.kernels.vectors.aligned import only_read
from fastflow.operators.base import Operator
from fastflow.problems.least_squares import fitted, least_loss_by_products, solve_by_products, solve_least_squares
from fastflow.problems.minimum import Minimum
from fastflow.streams import stream

NORMALIZATIONS = ("sum", "mean")

DATA_COPIES = 2
"""Copies of problems' data that there are while kernels are given theirs, where nothing better is known."""


@by_value()
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Problem:
    """What is observed of an unknown, a matrix W or a vector x.

    Attributes
    ----------
    truth : array of the unknown's shape, or None
        What errors are measured against; never used for training.
    test : Problem or None
        Measurements of the same unknown that are held out, for the record "test_loss" and `EarlyStopping`; never used
        for training. `hold_out` makes them of the problem's own.
    normalization : "sum" or "mean"
        The loss is ``1/2 sum r_i^2``, or ``1/m sum r_i^2`` over the m residuals.
    """

    truth: ArrayLike | None = None
    test: Problem | None = None
    normalization: str = "sum"

    name: ClassVar[str]
    unknown: ClassVar[str]
    """How the unknown is called, W or x."""
    has_gradient: ClassVar[bool] = True
    """Whether `gradient` and `residual` can be called outside of compiled code."""
    is_least_squares: ClassVar[bool] = True
    """Whether the loss is that of residuals ``M W - y`` with a linear M, so that it is convex in the unknown."""

    if TYPE_CHECKING:  # a field in one subclass, so it must not be an attribute of this class

        @property
        def shape(self) -> tuple[int, ...]:
            """The shape of the unknown: (d_N, d_0) of W, or (n,) of x."""

    def __repr__(self) -> str:
        return brief_repr(self)

    def __setstate__(self, state: dict[str, object]) -> None:
        """Arrays that come from a pickle, or a copy, are as read-only as those that were checked."""
        self.__dict__.update(state)
        for value in state.values():
            for array in value if isinstance(value, tuple) else (value,):
                if isinstance(array, np.ndarray):
                    array.flags.writeable = False

    @property
    def is_matrix_free(self) -> bool:
        """Whether what is measured is known by products alone, see `fastflow.operators`."""
        return False

    def rationed(self, gradients: int) -> Self:
        """The problem for an inquiry that must not cost more than so many gradients.

        It may raise ValueError once it has cost that; where an inquiry costs nearly nothing it is the problem itself.

        Parameters
        ----------
        gradients : int
        """
        return self

    @property
    def title(self) -> str:
        """The problem in words, for summaries."""
        return f"{type(self).__name__} {' x '.join(map(str, self.shape))}"

    @property
    def residual_count(self) -> int:
        """The number m of residuals."""
        raise NotImplementedError

    @property
    def sample_count(self) -> int:
        """The number of samples that a step of `StochasticGradientDescent` can take or leave.

        Raises
        ------
        TypeError
            for a problem that is not made of samples
        """
        return self.residual_count

    @classmethod
    def kernel_samples(cls, problems: Sequence[Self], dtype: DTypeLike) -> NamedTuple:
        """What the kernels are told of problems of this class and one shape, sample by sample.

        Parameters
        ----------
        problems : sequence of problems, as the network poses them
        dtype : of all numbers
        """
        return cls.kernel_data(problems, dtype)

    @property
    def weight(self) -> float:
        """The loss over ``1/2 sum r_i^2``: 1, or 2/m with ``normalization="mean"``."""
        return 1.0 if self.normalization == "sum" else 2.0 / self.residual_count

    def hold_out(self, count: int, seed: Seed = 0) -> Self:
        """This problem without some of its samples, which are drawn at random and become its ``test``.

        Parameters
        ----------
        count : int, how many: at least 1, and fewer than there are
        seed : int, Generator or None, as that of `fastflow.train`

        Returns
        -------
        problem of the same class, whose ``test`` has ``normalization="mean"``

        Raises
        ------
        TypeError
            for a problem that is not made of samples that can be left out
        ValueError
            for more than there are

        Examples
        --------
        >>> import numpy as np, fastflow as ff
        >>> problem = ff.CompressedSensing(np.eye(5), np.arange(5.0)).hold_out(2)
        >>> problem.matrix.shape, problem.test.matrix.shape
        ((3, 5), (2, 5))
        """
        total = self.sample_count
        if as_count("count", count, 1) >= total:
            raise ValueError(f"count must be less than {total}, the samples that there are, got {count}")
        order = stream(as_seed(seed), "test", total).permutation(total)
        test = replace(self._part(np.sort(order[:count])), normalization="mean", test=None)
        return replace(self._part(np.sort(order[count:])), test=test)

    def _part(self, samples: NDArray[np.int64]) -> Self:
        """This problem with some of its samples alone."""
        raise TypeError(f"{type(self).__name__} has no measurements that can be held out")

    def residual(self, product: ArrayLike) -> FloatArray:
        """The residuals r where the unknown has such a value.

        Parameters
        ----------
        product : array of the unknown's shape

        Returns
        -------
        array (m,)

        Raises
        ------
        TypeError, ValueError
            for an array of another shape, and for a problem that has no residuals outside of compiled code
        """
        raise NotImplementedError

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        """``M^T M Z`` for a direction Z, where M is the derivative of the residuals by the unknown.

        Parameters
        ----------
        direction : array of the unknown's shape, Z

        Returns
        -------
        array of the unknown's shape
        """
        raise NotImplementedError

    def explained(self, residual: FloatArray) -> FloatArray:
        """The part of residuals that some change of the unknown fits: their projection on the range of M.

        Parameters
        ----------
        residual : array (m,)

        Returns
        -------
        array (m,)
        """
        raise NotImplementedError

    def estimate(self) -> FloatArray:
        """An estimate of the unknown from the data alone, which is exact where they determine it.

        Returns
        -------
        array of the unknown's shape

        Raises
        ------
        ValueError
            for a problem of whose solution nothing is known
        """
        raise NotImplementedError

    def gradient(self, product: ArrayLike) -> FloatArray:
        """The gradient of the loss by the unknown where that has such a value.

        Parameters
        ----------
        product : array of the unknown's shape

        Returns
        -------
        array of the unknown's shape

        Raises
        ------
        TypeError, ValueError
            as `residual`
        """
        raise NotImplementedError

    def loss(self, product: ArrayLike) -> float:
        """The loss where the unknown has such a value.

        Parameters
        ----------
        product : array of the unknown's shape

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            as `residual`
        """
        return 0.5 * self.weight * float(np.sum(self.residual(product) ** 2))

    @property
    def loss_flops(self) -> int:
        """Floating-point operations of one loss with its gradient by the unknown, those of products only."""
        return 0

    def minimum(self, rank: int) -> Minimum | None:
        """The minimum of the loss over matrices of at most a rank.

        Parameters
        ----------
        rank : int >= 0

        Returns
        -------
        Minimum, or None where no closed form is known
        """
        return None

    def zero_loss(self) -> float | None:
        """The loss where the unknown is 0: the size of the data, in units of the loss.

        Returns
        -------
        float, or None for a loss that only compiled code knows
        """
        return self.loss(np.zeros(self.shape)) if self.has_gradient else None

    def of_matrix(self) -> MatrixProblem:
        """The problem as one of a matrix W, which a DeepLinear network needs.

        Returns
        -------
        MatrixProblem

        Raises
        ------
        TypeError
            when it is none
        """
        raise TypeError(f"a DeepLinear network factors a matrix; {type(self).__name__} needs a DiagonalLinear network")

    def of_vector(self) -> VectorProblem:
        """The problem as ``1/2 ||A x - y||^2`` of a vector x, which a DiagonalLinear network needs.

        Returns
        -------
        VectorProblem

        Raises
        ------
        TypeError, ValueError
            when it is none
        """
        raise TypeError(
            "a DiagonalLinear network factors a vector, so it needs CompressedSensing, or LinearRegression with one "
            f"output; {type(self).__name__} needs a DeepLinear network"
        )

    @classmethod
    def examples(cls, width: int) -> Sequence[Self | list[Self]]:
        """Small problems to compile with, one for each layout of memory that kernels know.

        Parameters
        ----------
        width : int, that of W

        Returns
        -------
        sequence of problems, and of lists of one where data that are not shared are laid out otherwise
        """
        return ()

    def is_worth_sharing(self, runs: int) -> bool:
        """Whether data are to be laid out for all runs at once, where so many read them, rather than stay as they are.

        Parameters
        ----------
        runs : int
        """
        return True

    @property
    def entries_count(self) -> int:
        """How many numbers the arrays of the problem have."""
        fields = [field for value in vars(self).values() for field in (value if isinstance(value, tuple) else (value,))]
        return sum(field.size for field in fields if isinstance(field, np.ndarray))

    @classmethod
    def kernel_bytes(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> int:
        """What `kernel_data` takes of memory, at most, beside the data of the problems.

        Parameters
        ----------
        problems, dtype, shared : as `kernel_data` takes them
        """
        return DATA_COPIES * np.dtype(dtype).itemsize * sum(problem.entries_count for problem in problems)

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        """Problems of this class as the NamedTuple of arrays that the kernels take.

        Parameters
        ----------
        problems : sequence of problems of this class and one shape
        dtype : of all arithmetic
        shared : bool
            Whether the one problem given is everybody's: data that all runs read may then be laid out for that.

        Returns
        -------
        NamedTuple

        Raises
        ------
        ValueError
            for problems whose data do not stack
        """
        raise NotImplementedError

    def _set(self, **fields: object) -> None:
        for name, value in fields.items():
            object.__setattr__(self, name, frozen(value) if isinstance(value, np.ndarray) else value)

    def _check_common(self) -> None:
        one_of("normalization", self.normalization, NORMALIZATIONS)
        if self.truth is not None:
            truth = as_floats("truth", self.truth, len(self.shape))
            if truth.shape != self.shape:
                raise ValueError(f"truth must have the shape {self.shape} of {self.unknown}, got {truth.shape}")
            if not truth.any():
                kind = "matrix" if truth.ndim == 2 else "vector"
                raise ValueError(f"truth is the zero {kind}: no error is relative to it")
            self._set(truth=truth)
        if self.test is not None:
            if not isinstance(self.test, Problem):
                raise TypeError(f"test must be a problem, got {kind_of(self.test)}")
            if self.test.shape != self.shape or not self.test.has_gradient:
                raise ValueError(f"test must be of the same {self.unknown} of shape {self.shape}, got {self.test!r}")

    def _residuals(self, residual: ArrayLike) -> FloatArray:
        array = as_real("residual", residual)
        if array.shape != (self.residual_count,):
            raise ValueError(f"residual must have shape {(self.residual_count,)}, got {array.shape}")
        return array

    def _of_shape(self, product: ArrayLike, name: str | None = None) -> FloatArray:
        """The unknown, or what else has its shape and is called otherwise."""
        name = name or self.unknown
        array = as_real(name, product)
        if array.shape != self.shape:
            raise ValueError(f"{name} must have shape {self.shape}, got {array.shape}")
        return array


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MatrixProblem(Problem):
    """What is observed of a matrix W (d_N, d_0)."""

    unknown: ClassVar[str] = "W"
    knows_minimum: ClassVar[bool] = False
    """Whether `minimum` has a closed form."""

    if TYPE_CHECKING:

        @property
        def shape(self) -> tuple[int, int]:
            """The shape (d_N, d_0) of W."""

    def of_matrix(self) -> MatrixProblem:
        return self

    def expected_solution(self, rank: int) -> FloatArray:
        """The `estimate` cut to a rank: what the default step is sized for.

        Parameters
        ----------
        rank : int

        Returns
        -------
        array (d_N, d_0)
        """
        left, values, right = np.linalg.svd(self.estimate().astype(np.float64), full_matrices=False)
        solution: FloatArray = (left[:, :rank] * values[:rank]) @ right[:rank]
        return solution

    def spectrum(self) -> FloatArray | None:
        """The singular values of M, the derivative of the residuals by W, where the data may determine W.

        Returns
        -------
        array (k,), largest first, each value at least once; None where M is not known, or where there are too few
        residuals to determine W, so that 0 is a singular value of M on matrices
        """
        return None

    @property
    def estimate_flops(self) -> int:
        """What `estimate` costs, about."""
        return 2 * self.entries_count

    def least_squares(self) -> FloatArray:
        """The W of least loss, where the data determine W (`spectrum`).

        Returns
        -------
        array (d_N, d_0) in float64
        """
        return self.estimate().astype(np.float64)

    def least_loss(self, rank: int) -> float:
        """A lower bound of the loss over matrices of at most a rank: its minimum where a formula or the data tell it.

        Parameters
        ----------
        rank : int >= 0

        Returns
        -------
        float
        """
        minimum = self.minimum(rank)
        if minimum is not None:
            return minimum.value
        return 0.0 if self.spectrum() is None else self.loss(self.least_squares())

    def direct_target(self) -> FloatArray | None:
        """The Y of a loss ``weight/2 ||W - Y||_F^2``, of which much more is known than of others.

        Returns
        -------
        array (d_N, d_0), or None for any other loss
        """
        return None


class VectorProblem(Problem):
    """Linear measurements of a vector x (n,): ``1/2 ||A x - y||^2``.

    A subclass has A as ``matrix`` (m, n), an array or an `Operator`, and y as ``values``, one for each of its rows.
    """

    unknown: ClassVar[str] = "x"

    if TYPE_CHECKING:  # fields of subclasses, as the shape is

        @property
        def matrix(self) -> FloatArray | Operator:
            """A, (m, n)."""

        @property
        def values(self) -> FloatArray:
            """y, (m,)."""

    @property
    def shape(self) -> tuple[int]:
        """The shape (n,) of x."""
        return (self.matrix.shape[1],)

    @property
    def is_matrix_free(self) -> bool:
        return isinstance(self.matrix, Operator)

    def entries(self, purpose: str) -> FloatArray:
        """All entries of A, (m, n), where there are any.

        Parameters
        ----------
        purpose : str, what they are for, in words that begin a message

        Raises
        ------
        ValueError
            where A is known by its products alone
        """
        if isinstance(self.matrix, Operator):
            raise ValueError(
                f"{purpose} needs all entries of A, which is a {type(self.matrix).__name__} and known by its products: "
                "where there is room for them give A.toarray(), of ff.operators.as_operator(A)"
            )
        return self.matrix

    def measured(self, vector: FloatArray) -> FloatArray:
        """``A x``, in real form, of a vector (n,)."""
        if isinstance(self.matrix, Operator):
            return self.matrix.forward(np.ascontiguousarray(vector)[None])[0]
        return self.matrix @ vector

    def transposed(self, residual: FloatArray) -> FloatArray:
        """``A^T r``, of the real form of A."""
        if isinstance(self.matrix, Operator):
            return self.matrix.adjoint(np.array(residual)[None])[0]
        return residual @ self.matrix

    def of_vector(self) -> VectorProblem:
        return self

    def least_squares(self) -> FloatArray:
        """An x of least loss.

        Returns
        -------
        array (n,) in float64
        """
        return self.solved()[0]

    def solved(self) -> tuple[FloatArray, int]:
        """The least-squares solution of least norm, in float64, and the rank of A."""
        if isinstance(self.matrix, Operator):
            return solve_by_products(self.matrix, self.values), self.matrix.rank
        return solve_least_squares(self.matrix, self.values)

    def least_loss(self) -> float:
        """A lower bound of the loss: its minimum where there are more measurements than unknowns, else 0.

        Where A is known by its products, what these come to, less what they may err by (`least_loss_by_products`).

        Returns
        -------
        float
        """
        if self.values.size <= self.shape[0]:
            return 0.0
        if isinstance(self.matrix, Operator):
            return self.weight * least_loss_by_products(self.matrix, self.values)
        return self.loss(self.least_squares())

    @property
    def residual_count(self) -> int:
        return self.values.size

    def residual(self, product: ArrayLike) -> FloatArray:
        return self.measured(self._of_shape(product)) - self.values

    def gradient(self, product: ArrayLike) -> FloatArray:
        return self.weight * self.transposed(self.residual(product))

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        return self.transposed(self.measured(self._of_shape(direction, "direction")))

    def explained(self, residual: FloatArray) -> FloatArray:
        if isinstance(self.matrix, Operator):
            return self.measured(solve_by_products(self.matrix, self._residuals(residual)))
        return fitted(self.matrix, self._residuals(residual))


def stacked(arrays: Sequence[FloatArray], dtype: DTypeLike) -> FloatArray:
    """The arrays flat, one row each, C-contiguous in ``dtype``; one that `stays` is taken as it is."""
    if stays(arrays, dtype):
        return only_read(arrays[0].reshape(1, -1))
    rows = np.empty((len(arrays), arrays[0].size), dtype)
    for row, array in zip(rows, arrays, strict=True):
        row[:] = array.ravel()
    return rows


def stacked_bytes(arrays: Sequence[FloatArray], dtype: DTypeLike) -> int:
    """What `stacked` takes of memory."""
    return 0 if stays(arrays, dtype) else len(arrays) * arrays[0].size * np.dtype(dtype).itemsize
