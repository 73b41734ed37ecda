"""A problem of your own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastflow.checks import FloatArray, as_count
from fastflow.kernels.losses.taught import has_formula
from fastflow.problems.base import MatrixProblem


@dataclass(frozen=True, eq=False, repr=False)
class CustomProblem(MatrixProblem):
    """A problem of your own, whose loss and gradient `fastflow.kernels.add_problem` has been taught.

    Parameters
    ----------
    shape : (d_N, d_0), the shape of W
    data : the NamedTuple of arrays of the problem
    truth : array (d_N, d_0) or None, what errors are measured against
    normalization : "sum", as the loss is what your formula returns

    Notes
    -----
    ``tol``, records and all else mean what they do elsewhere; ``GradientDescent`` needs a step, as nothing is known of
    the Hessian.
    """

    shape: tuple[int, int]
    data: NamedTuple
    name: ClassVar[str] = "custom"
    has_gradient: ClassVar[bool] = False
    is_least_squares: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not has_formula(type(self.data)):
            raise TypeError(
                f"no formula is known for {type(self.data).__name__}: register it with fastflow.kernels.add_problem"
            )
        if self.normalization != "sum":
            raise ValueError("a CustomProblem has the loss that its formula returns: normalization must be 'sum'")
        self._set(shape=(as_count("shape[0]", self.shape[0], 1), as_count("shape[1]", self.shape[1], 1)))
        self._check_common()

    @property
    def residual_count(self) -> int:
        raise _only_compiled("residuals")

    def residual(self, product: ArrayLike) -> FloatArray:
        raise _only_compiled("residuals")

    def normal_operator(self, direction: FloatArray) -> FloatArray:
        raise _only_compiled("residuals")

    def gradient(self, product: ArrayLike) -> FloatArray:
        raise _only_compiled("gradient outside compiled code")

    def estimate(self) -> FloatArray:
        raise ValueError("nothing is known of the solution of a CustomProblem: give a step")

    @classmethod
    def kernel_data(cls, problems: Sequence[Self], dtype: DTypeLike, *, shared: bool = False) -> NamedTuple:
        kind: Callable[..., NamedTuple] = type(problems[0].data)
        fields = zip(*(problem.data for problem in problems), strict=True)
        return kind(*(_stack_fields(field, dtype) for field in fields))


def _only_compiled(lacks: str) -> TypeError:
    return TypeError(
        f"a CustomProblem is known by its formula alone and has no {lacks}: what needs them works with fastflow's own "
        "problems (train and the loss of its runs work with yours)"
    )


def _stack_fields(arrays: Sequence[ArrayLike], dtype: DTypeLike) -> NDArray[np.generic]:
    """The arrays along a new first axis; real numbers in ``dtype``, integers as they are."""
    stacked = np.stack([np.asarray(array) for array in arrays])
    return np.ascontiguousarray(stacked, dtype if stacked.dtype.kind == "f" else None)
